"""Small things that a translation easily breaks: spellings of numbers, order of keys, odd names, streams in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.corpus import schema

from .neutral import Json
from .through import CALLERS, CHAT, GEMINI, NAMES, Sent, ask, send

RESPONSES = NAMES["openai.responses"]
HI: Json = {"role": "user", "content": "Hi"}
HELLO: Json = {"role": "user", "parts": [{"text": "Hi"}]}
ODD = '{"b":12345678901234567890,"a":1.0,"c":1e2,"é":"\\u00e9","d":{"z":1,"y":2}}'


def raw_sent(caller: Any, upstream: Any, body: bytes, model: str) -> bytes:
    """The very bytes that go upstream."""
    losses: list[Any] = []
    return bytes(upstream.encode_request(caller.decode_request(ask(caller, body)), losses).body)


def chat_call(arguments: str, name: str = "look", identifier: str = "call_1") -> Json:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def with_call(arguments: str, result: str = "seen", name: str = "look") -> Json:
    return {
        "model": "m",
        "messages": [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [chat_call(arguments, name)]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ],
    }


def gemini_parts(sent: Sent, index: int) -> Json:
    assert sent.error is None, sent.error
    return sent.body["contents"][index]["parts"]


def test_arguments_keep_every_spelling_towards_gemini() -> None:
    """Big integers, 1.0, 1e2, the order of keys and escapes stand upstream as the model wrote them."""
    out = raw_sent(CHAT, GEMINI, json.dumps(with_call(ODD)).encode(), "gemini-2.5-flash")

    assert f'"args":{ODD}'.encode() in out


def test_results_keep_every_spelling_towards_gemini() -> None:
    """A result that is an object goes as that object, byte for byte."""
    out = raw_sent(CHAT, GEMINI, json.dumps(with_call("{}", ODD)).encode(), "gemini-2.5-flash")

    assert f'"response":{ODD}'.encode() in out


def test_arguments_and_results_keep_every_spelling_towards_chat() -> None:
    """Gemini's objects become text without being written anew."""
    body = (
        '{"contents":[{"role":"user","parts":[{"text":"Hi"}]},'
        '{"role":"model","parts":[{"functionCall":{"name":"look","args":ODD}}]},'
        '{"role":"user","parts":[{"functionResponse":{"name":"look","response":ODD}}]}]}'
    ).replace("ODD", ODD)
    messages = json.loads(raw_sent(GEMINI, CHAT, body.encode(), "m"))["messages"]

    assert ODD == messages[1]["tool_calls"][0]["function"]["arguments"]
    assert ODD == messages[2]["content"]


@pytest.mark.parametrize(
    ("result", "response"),
    [
        ('{"$ref":"#/parts/0"}', {"output": '{"$ref":"#/parts/0"}'}),
        ('{"deep":[{"$ref":"x"}]}', {"output": '{"deep":[{"$ref":"x"}]}'}),
        ("[1,2]", {"output": "[1,2]"}),
        ("15", {"output": "15"}),
        ('{"half":', {"output": '{"half":'}),
        ("", {"output": ""}),
        ('{"ok":true}', {"ok": True}),
        ('"quoted"', {"output": '"quoted"'}),
    ],
)
def test_a_result_is_an_object_for_gemini(result: str, response: Json) -> None:
    """An object as it is; everything else, and an object with a pointer in it, as text under `output`."""
    sent = send(CHAT, GEMINI, with_call("{}", result), "gemini-2.5-flash")

    assert response == gemini_parts(sent, 2)[0]["functionResponse"]["response"]


@pytest.mark.parametrize("arguments", ['{"a":', "{'a':1}", "nonsense"])
def test_malformed_arguments_are_refused_by_their_place(arguments: str) -> None:
    """Gemini takes objects only: the call is named, nothing is guessed."""
    error = send(CHAT, GEMINI, with_call(arguments), "gemini-2.5-flash").error

    assert error is not None
    assert (400, "messages[1].tool_calls[0]") == (error.status, error.param)


def test_calls_without_arguments_have_an_empty_object() -> None:
    """Both ways: never "", never null."""
    towards = gemini_parts(send(CHAT, GEMINI, with_call(""), "gemini-2.5-flash"), 1)[0]["functionCall"]["args"]
    called = {"role": "model", "parts": [{"functionCall": {"name": "look"}}]}
    answered = {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]}
    back = send(GEMINI, CHAT, {"contents": [HELLO, called, answered]}, "m").body["messages"][1]

    assert {} == towards
    assert "{}" == back["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize("name", ["get weather", "1st", "a" * 64, "näme", "x/y", "-dash"])
def test_names_that_gemini_refuses_come_back_as_they_were(name: str) -> None:
    """A function's name is escaped reversibly: the caller is called by the name that it gave."""
    body = {"model": "m", "messages": [HI], "tools": [{"type": "function", "function": {"name": name}}]}
    sent = send(CHAT, GEMINI, body, "gemini-2.5-flash")
    written = sent.body["tools"][0]["functionDeclarations"][0]["name"]
    answer = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"functionCall": {"name": written}}]}, "finishReason": "STOP"}
        ]
    }
    from .through import WireResponse, tell

    told = json.loads(tell(GEMINI, CHAT, WireResponse(status=200, body=json.dumps(answer).encode())))

    assert schema("gemini.v1beta.request", "GenerateContentRequest").is_valid(sent.body)
    assert written.isascii() and written[0].isalpha()
    assert name == told["choices"][0]["message"]["tool_calls"][0]["function"]["name"]


def test_a_stream_kept_in_pieces_is_one_turn() -> None:
    """Gemini's clients keep each chunk as a content of its own: chat gets one message, its results after it."""
    pieces = [{"text": "Let "}, {"text": "me look."}]
    calls = [{"functionCall": {"name": "look", "args": {"n": n}, "id": f"id-{n}"}} for n in (1, 2)]
    results = [{"functionResponse": {"name": "look", "id": f"id-{n}", "response": {"n": n}}} for n in (1, 2)]
    turns = [{"role": "model", "parts": [part]} for part in (*pieces, *calls)]
    messages = send(GEMINI, CHAT, {"contents": [HELLO, *turns, {"role": "user", "parts": results}]}, "m").body[
        "messages"
    ]

    assert ["user", "assistant", "tool", "tool"] == [message["role"] for message in messages]
    assert "Let me look." == messages[1]["content"]
    assert ["id-1", "id-2"] == [call["id"] for call in messages[1]["tool_calls"]]
    assert ["id-1", "id-2"] == [message["tool_call_id"] for message in messages[2:]]


def test_parallel_calls_of_one_name_are_paired_by_order() -> None:
    """Without ids the first result belongs to the first call."""
    calls = [{"functionCall": {"name": "look", "args": {"n": n}}} for n in (1, 2)]
    results = [{"functionResponse": {"name": "look", "response": {"output": f"result {n}"}}} for n in (1, 2)]
    contents = [HELLO, {"role": "model", "parts": calls}, {"role": "user", "parts": results}]
    messages = send(GEMINI, CHAT, {"contents": contents}, "m").body["messages"]
    first, second = (call["id"] for call in messages[1]["tool_calls"])

    assert first != second
    assert [(first, "result 1"), (second, "result 2")] == [
        (one["tool_call_id"], one["content"]) for one in messages[2:]
    ]


def test_results_in_another_order_are_put_in_the_order_of_the_calls() -> None:
    """Gemini pairs by order; chat by id."""
    body = {
        "model": "m",
        "messages": [
            HI,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [chat_call('{"n":1}'), chat_call('{"n":2}', "see", "call_2")],
            },
            {"role": "tool", "tool_call_id": "call_2", "content": "second"},
            {"role": "tool", "tool_call_id": "call_1", "content": "first"},
            {"role": "user", "content": "So?"},
        ],
    }
    parts = gemini_parts(send(CHAT, GEMINI, body, "gemini-2.5-flash"), 2)

    assert [("look", "first"), ("see", "second")] == [
        (part["functionResponse"]["name"], part["functionResponse"]["response"]["output"]) for part in parts[:2]
    ]


@pytest.mark.parametrize(
    ("schema_", "sent"),
    [
        ({"type": "object", "properties": {}}, None),
        (
            {"type": "object", "properties": {"a": {"const": "x"}}},
            {"type": "object", "properties": {"a": {"enum": ["x"], "type": "string"}}},
        ),
        (
            {"$schema": "x", "type": "object", "properties": {"a": {"type": ["string", "null"]}}},
            {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
        ),
    ],
)
def test_schemas_that_say_the_same_lose_nothing(schema_: Json, sent: Json) -> None:
    """Other words for the same constraint are no loss."""
    body = {
        "model": "m",
        "messages": [HI],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema_}}],
    }
    out = send(CHAT, GEMINI, body, "gemini-2.5-flash")

    assert [] == out.losses
    assert sent == out.body["tools"][0]["functionDeclarations"][0].get("parametersJsonSchema")


@pytest.mark.parametrize(
    "keyword",
    [
        "pattern",
        "exclusiveMinimum",
        "uniqueItems",
        "multipleOf",
        "not",
        "if",
        "patternProperties",
        "minLength",
        "default",
    ],
)
def test_a_constraint_that_gemini_lacks_is_told_to_the_model_and_named(keyword: str) -> None:
    """It moves into the description, and the loss names the keyword by its path."""
    values: dict[str, Json] = {
        "exclusiveMinimum": 1.5,
        "uniqueItems": True,
        "multipleOf": 3,
        "not": {"type": "null"},
        "if": {"type": "null"},
        "minLength": 3,
        "pattern": "^a",
        "patternProperties": {"^x": {"type": "string"}},
        "default": "x",
    }
    inner = {keyword: values[keyword]}
    parameters = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    body = {
        "model": "m",
        "messages": [HI],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
    }
    out = send(CHAT, GEMINI, body, "gemini-2.5-flash")
    property_ = out.body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["properties"]["a"]
    kept = property_.get(keyword) == values[keyword]

    assert schema("gemini.v1beta.request", "GenerateContentRequest").is_valid(out.body)
    if not kept:
        assert any(
            loss.field.startswith("tools[0].function.parameters") and keyword in loss.field for loss in out.losses
        ), out.losses
        assert keyword in property_.get("description", "") or keyword == "default"


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro-preview"])
def test_a_system_message_in_the_middle_is_said_where_it_stood(model: str) -> None:
    """Gemini has system text at the start only: a later one is sent as text of the user, and named."""
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "A"},
            HI,
            {"role": "assistant", "content": "B"},
            {"role": "system", "content": "C"},
            HI,
        ],
    }
    out = send(CHAT, GEMINI, body, model)

    assert {"parts": [{"text": "A"}]} == out.body["systemInstruction"]
    assert ["user", "model", "user"] == [content["role"] for content in out.body["contents"]]
    assert [{"text": "C"}, {"text": "Hi"}] == out.body["contents"][2]["parts"]
    assert [("messages[3]", "approximated")] == [(loss.field, loss.kind) for loss in out.losses]


# ── every pair ─────────────────────────────────────────────────────────────────────────

#: A call and its result in each caller's language; ODD stands for the object itself, "TEXT" for its text.
CALLED: dict[str, str] = {
    "openai.chat": '{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,'
    '"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look","arguments":"TEXT"}}]},'
    '{"role":"tool","tool_call_id":"call_1","content":"TEXT"}]}',
    "openai.responses": '{"model":"m","input":[{"role":"user","content":"Hi"},'
    '{"type":"function_call","call_id":"call_1","name":"look","arguments":"TEXT"},'
    '{"type":"function_call_output","call_id":"call_1","output":"TEXT"}]}',
    "anthropic.messages": '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"},'
    '{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"look","input":ODD}]},'
    '{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"TEXT"}]}]}',
    "gemini": '{"contents":[{"role":"user","parts":[{"text":"Hi"}]},'
    '{"role":"model","parts":[{"functionCall":{"name":"look","args":ODD}}]},'
    '{"role":"user","parts":[{"functionResponse":{"name":"look","response":ODD}}]}]}',
    "ollama.chat": '{"model":"m","messages":[{"role":"user","content":"Hi"},'
    '{"role":"assistant","tool_calls":[{"function":{"name":"look","arguments":ODD}}]},'
    '{"role":"tool","tool_name":"look","content":"TEXT"}]}',
}
#: Where arguments and results are objects upstream; they are texts in all others.
OBJECTS = {"anthropic.messages": 1, "bedrock.converse": 1, "ollama.chat": 1, "gemini": 2}


@pytest.mark.parametrize(("caller", "upstream"), [(a, b) for a in CALLED for b in NAMES if a != b])
def test_arguments_and_results_keep_every_spelling(caller: str, upstream: str) -> None:
    """From every language to every other: whether they are objects or texts there, nobody writes them anew."""
    text = json.dumps(ODD, ensure_ascii=False)
    body = CALLED[caller].replace('"TEXT"', text).replace("ODD", ODD).encode()
    out = raw_sent(NAMES[caller], NAMES[upstream], body, "m").decode()
    objects, said = out.replace(text, "").count(ODD), out.count(text)

    assert (OBJECTS.get(upstream, 0), 2) == (objects, objects + said), out


# ── losses stand where the caller wrote what is lost ───────────────────────────────────

STRANGE = "call|1"  # Bedrock takes letters, digits and _.:- alone
CITED = {"type": "text", "text": "seen", "citations": [{"type": "char_location", "cited_text": "s"}]}
USED: Json = {"type": "tool_use", "id": STRANGE, "name": "look", "input": {}}


def with_id(caller: str) -> tuple[Json, list[str]]:
    """A call with a strange id and its result; where both are written."""
    call, result = chat_call("{}", identifier=STRANGE), {"role": "tool", "tool_call_id": STRANGE, "content": "seen"}
    turn = {"role": "assistant", "content": "So.", "tool_calls": [call]}
    match caller:
        case "openai.chat" | "ollama.chat":
            if caller == "ollama.chat":
                turn = {**turn, "tool_calls": [{"id": STRANGE, "function": {"name": "look", "arguments": {}}}]}
            return {"messages": [HI, turn, result]}, ["messages[1].tool_calls[0].id", "messages[2].tool_call_id"]
        case "anthropic.messages":
            answer = {"type": "tool_result", "tool_use_id": STRANGE, "content": [CITED]}
            turns = [{"role": "assistant", "content": [USED]}, {"role": "user", "content": [answer]}]
            places = ["messages[1].content[0].id", "messages[2].content[0].content[0].citations"]
            return {"messages": [HI, *turns]}, [*places, "messages[2].content[0].tool_use_id"]
        case "gemini":
            part = {"functionCall": {"name": "look", "args": {}, "id": STRANGE}}
            answer = {"functionResponse": {"name": "look", "response": {}, "id": STRANGE}}
            turns = [HELLO, {"role": "model", "parts": [part]}, {"role": "user", "parts": [answer]}]
            return {"contents": turns}, [
                "contents[1].parts[0].functionCall.id",
                "contents[2].parts[0].functionResponse.id",
            ]
    item = {"type": "function_call", "id": "fc_1", "call_id": STRANGE, "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": STRANGE, "output": "seen"}
    return {"input": [HI, item, output]}, ["input[1].call_id", "input[1].id", "input[2].call_id"]


@pytest.mark.parametrize("caller", CALLERS)
def test_what_is_lost_of_calls_and_results_is_named_where_it_stands(caller: str) -> None:
    """Every caller has its own words for the id of a call; and what is cited within a result is named, too."""
    body, places = with_id(caller)
    model = {} if caller == "gemini" else {"model": "m"}
    model |= {"max_tokens": 9} if caller == "anthropic.messages" else {}
    sent = send(NAMES[caller], NAMES["bedrock.converse"], {**model, **body}, "amazon.nova-lite-v1:0")

    assert places == sorted(one.field for one in sent.losses if one.kind != "invented")


@pytest.mark.parametrize(
    "item",
    [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "status": "incomplete",
        },
        {"type": "image_generation_call", "id": "ig_1", "result": "iVBORw0KGgo=", "status": "generating"},
    ],
    ids=lambda item: str(item["type"]),
)
def test_what_stands_beside_what_an_item_says_is_named(item: Json) -> None:
    """Items of the model that mean something elsewhere are more than that: each key of them has its loss."""
    more = {**item, "quality": "high", "tags": ["a"]}
    said = {"role": "assistant", "content": "So."}
    sent = send(RESPONSES, GEMINI, {"model": "m", "input": [HI, more, said, HI]}, "gemini-2.5-flash")
    named = {one.field for one in sent.losses}

    assert sent.error is None
    assert {"input[1].id", "input[1].status", "input[1].quality", "input[1].tags"} <= named


def test_an_empty_schema_is_one() -> None:
    """Ollama's callers ask for any JSON with it."""
    body = {"model": "m", "messages": [HI], "format": {}}
    sent = send(NAMES["ollama.chat"], CHAT, body, "m")

    assert {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}} == sent.body["response_format"]
    assert ["format"] == [one.field for one in sent.losses]
    assert (
        {} == json.loads(raw_sent(NAMES["ollama.chat"], NAMES["ollama.chat"], json.dumps(body).encode(), "m"))["format"]
    )


def test_a_choice_of_before_tools_is_named_as_it_was_written() -> None:
    """`function_call` is what `tool_choice` was called; Ollama has nothing like either."""
    body = {"model": "m", "messages": [HI], "functions": [{"name": "look"}], "function_call": {"name": "look"}}
    sent = send(CHAT, NAMES["ollama.chat"], body, "llama3.1")

    assert ["function_call"] == [one.field for one in sent.losses]
    assert body == json.loads(raw_sent(CHAT, CHAT, json.dumps(body).encode(), "m"))


def test_the_resolution_of_a_picture_in_the_instruction_is_named_as_it_was_written() -> None:
    """As that of one in a content is."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    part = picture | {"mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}}
    sent = send(GEMINI, NAMES["ollama.chat"], {"contents": [HELLO], "systemInstruction": {"parts": [part]}}, "llama3.1")

    assert ["systemInstruction.parts[0].mediaResolution"] == [one.field for one in sent.losses]
