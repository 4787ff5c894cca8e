"""Messages, written for an upstream: one text each, raw images, results in the order of their calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import (
    CacheMark,
    Citation,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import in_callers_words
from providers.dialect import WireRequest
from providers.dialects import DIALECTS
from tests.providers.dialects.ollama.speak import OLLAMA, PIXEL, foreign, written

IMAGE = Media(kind="image", mime_type="image/png", base64=PIXEL, at="messages[0].content[1].image_url")
PARIS = ToolCall(id="call_1", name="get_weather", arguments='{"city":"Paris"}', at="messages[1].tool_calls[0]")
ROME = ToolCall(id="call_2", name="get_weather", arguments='{"city":"Rome"}', at="messages[1].tool_calls[1]")


def text(words: str, **more: Any) -> Text:
    return Text(text=words, **more)


def sent(*messages: Message) -> tuple[list[Any], list[str]]:
    body, losses = written(foreign(messages=messages))
    return body["messages"], losses


def user(*parts: Any) -> list[Any]:
    """What a user message with these parts becomes; nothing is lost."""
    messages, losses = sent(Message(role="user", parts=parts, at="messages[0]"))

    assert [] == losses
    return messages


def result(call: str, *parts: Any, **more: Any) -> Message:
    return Message(
        role="tool", parts=(ToolResult(call_id=call, parts=parts, at="messages[2]", **more),), at="messages[2]"
    )


def assistant(*parts: Any) -> Message:
    return Message(role="assistant", parts=parts, at="messages[1]")


# ── content ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("parts", "messages"),
    [
        ((text("Hi"),), [("Hi", 0)]),
        ((), [("", 0)]),
        ((text("What is it?"), IMAGE), [("What is it?", 1)]),
        ((IMAGE, IMAGE, text("What are they?")), [("What are they?", 2)]),
        ((text("a"), text("b")), [("a", 0), ("b", 0)]),
        ((text("a"), IMAGE, text("b"), IMAGE), [("a", 1), ("b", 1)]),
        ((IMAGE, text("a"), IMAGE, text("b")), [("a", 1), ("b", 1)]),
    ],
)
def test_each_text_is_a_message(parts: Any, messages: list[tuple[str, int]]) -> None:
    """With the images that stand with it; order and borders are kept, so nothing is lost."""
    found = user(*parts)

    assert messages == [(one["content"], len(one.get("images", ()))) for one in found]
    assert {"user"} == {one["role"] for one in found}


def test_what_the_model_said_in_pieces_is_one_text() -> None:
    """Clients of other dialects keep a stream as it came."""
    pieces = [Message(role="assistant", parts=(text(one),)) for one in ("Hel", "lo")]

    assert ([{"role": "assistant", "content": "Hello"}], []) == sent(*pieces)


def test_thinking_goes_back() -> None:
    """Under its own name; what is sealed or comes from elsewhere has its seal named."""
    messages, losses = sent(
        assistant(
            Reasoning(text="hm", seal=Seal(value="x", origin="gemini", at="a.signature"), at="a"),
            Reasoning(redacted=True, at="b"),
            text("Hi"),
        )
    )

    assert [{"role": "assistant", "content": "Hi", "thinking": "hm"}] == messages
    assert ["a.signature=dropped", "b=dropped"] == losses


@pytest.mark.parametrize(
    ("part", "loss"),
    [
        (text("x", cache=CacheMark(at="c")), "c=dropped"),
        (text("x", citations=(Citation(url="u", at="cited"),)), "cited=dropped"),
        (Media(kind="image", base64=PIXEL, detail="high", at="i"), "i.detail=dropped"),
        (Media(kind="image", base64=PIXEL, name="a.png", at="i"), "i.filename=dropped"),
        (Opaque(dialect="anthropic.messages", kind="server_tool_use", raw={}, at="o"), "o=dropped"),
        (Refusal(text="No.", at="r"), "r=approximated"),
        (Reasoning(text="hm", at="t"), "t=dropped"),
    ],
)
def test_what_has_no_place_is_named(part: Any, loss: str) -> None:
    """By its own path."""
    assert [loss] == sent(Message(role="user", parts=(part,)))[1]


def test_a_name_of_a_participant_is_lost() -> None:
    """There is no place for it."""
    assert ["messages[0].name=dropped"] == sent(Message(role="user", parts=(text("x"),), name="Ann", at="messages[0]"))[
        1
    ]


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", url="https://a.example/x.png", at="p"),
        Media(kind="image", file_id="f", at="p"),
        Media(kind="audio", base64="AAAA", at="p"),
        Media(kind="file", base64="AAAA", mime_type="application/pdf", at="p"),
    ],
)
def test_what_cannot_be_read_is_refused(media: Media) -> None:
    """URLs, sounds, films and documents: the answer would be about something else."""
    with pytest.raises(UnsupportedParameter) as refusal:
        user(media)

    assert "p" == refusal.value.param


def test_a_data_url_is_data() -> None:
    """The prefix comes off."""
    assert PIXEL == user(Media(kind="image", url=f"data:image/png;base64,{PIXEL}"))[0]["images"][0]


# ── calls ──────────────────────────────────────────────────────────────────────────────


def test_calls_and_results() -> None:
    """Without ids, which only servers of this kind make; results in the order of the calls, by the tool's name."""
    messages, losses = sent(
        assistant(PARIS, ROME),
        result("call_2", text("sunny")),
        result("call_1", text('{"temp":15}')),
        Message(role="user", parts=(text("And in one word?"),)),
    )

    function = {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert {"function": function} == messages[0]["tool_calls"][0]
    assert [
        {"role": "tool", "tool_name": "get_weather", "content": '{"temp":15}'},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
        {"role": "user", "content": "And in one word?"},
    ] == messages[1:]
    assert [] == losses


def test_an_id_of_such_a_server_goes_back() -> None:
    """It knows its own call by it, and the result by the same."""
    call = ToolCall(id="call_gsiiy8py", name="f", arguments="{}")
    messages, _ = sent(assistant(call), result("call_gsiiy8py", text("1")))

    assert ["call_gsiiy8py", "call_gsiiy8py"] == [messages[0]["tool_calls"][0]["id"], messages[1]["tool_call_id"]]


def test_arguments_go_byte_for_byte() -> None:
    """Numbers and order as the model wrote them."""
    call = ToolCall(id="c", name="f", arguments='{"b":1.0,"a":12345678901234567890}')
    wire = OLLAMA.encode_request(foreign(messages=(assistant(call),)), [])

    assert b'"arguments":{"b":1.0,"a":12345678901234567890}' in wire.body


@pytest.mark.parametrize(
    ("call", "arguments", "losses"),
    [
        (ToolCall(id="c", name="f", arguments=" "), {}, []),
        (ToolCall(id="c", name="f", arguments="[1]", at="x"), {"value": [1]}, ["x=approximated"]),
        (ToolCall(id="c", name="f", arguments="free", kind="custom", at="x"), {"input": "free"}, ["x=approximated"]),
    ],
)
def test_arguments_that_are_no_object(call: ToolCall, arguments: Any, losses: list[str]) -> None:
    """They stand in one, which is named."""
    messages, named = sent(assistant(call))

    assert (arguments, losses) == (messages[0]["tool_calls"][0]["function"]["arguments"], named)


def test_arguments_that_are_no_json_are_refused() -> None:
    """The target reads an object: there is none to send."""
    with pytest.raises(MalformedRequest) as refusal:
        sent(assistant(ToolCall(id="c", name="f", arguments='{"a":', at="x")))

    assert "x" == refusal.value.param


def test_a_result_in_parts() -> None:
    """Texts are joined, which is named; images stand beside them; a failure is said in the text."""
    failed = result("call_1", text("no"), text("such city", at="messages[2].content[1]"), IMAGE, is_error=True)
    messages, losses = sent(assistant(PARIS), failed)

    assert ("Error: no\n\nsuch city", [PIXEL]) == (messages[1]["content"], messages[1]["images"])
    assert ["messages[2].content[1]=approximated", "messages[2]=approximated"] == losses


def test_a_conversation_may_end_with_calls() -> None:
    """Then there are no results yet."""
    assert 1 == len(sent(assistant(PARIS))[0])


def test_what_stands_beside_results_follows_them() -> None:
    """Other dialects hold results and the next question in one message."""
    both = Message(role="user", parts=(*result("call_1", text("1")).parts, text("And now?")))
    messages, losses = sent(assistant(PARIS), both)

    assert (["assistant", "tool", "user"], []) == ([one["role"] for one in messages], losses)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ((assistant(PARIS, ROME), result("call_1", text("1"))), MalformedRequest),
        ((assistant(PARIS), Message(role="user", parts=(text("Hi"),))), MalformedRequest),
        ((assistant(PARIS), result("call_1", text("1")), result("call_9", text("?"))), UnsupportedParameter),
        ((result("call_1", text("1")),), UnsupportedParameter),
    ],
)
def test_calls_and_results_must_fit(messages: tuple[Message, ...], error: type[Exception]) -> None:
    """Pairing by order needs every result, and no other."""
    with pytest.raises(error):
        sent(*messages)


def test_text_behind_a_call_moves() -> None:
    """A message has its text before all else."""
    assert ["messages[1]=approximated"] == sent(assistant(text("a"), PARIS, text("b")))[1]


def test_a_conversation_of_an_openai_client() -> None:
    """As the project's guide has it: the same conversation in both languages."""
    chat = DIALECTS["openai.chat"]
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": c})},
        }
        for i, c in enumerate(("Paris", "Rome"), 1)
    ]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": schema}}]
    body = {
        "model": "llama3",
        "messages": [
            {"role": "user", "content": "Weather in Paris and Rome?"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"temp":15}'},
            {"role": "tool", "tool_call_id": "call_2", "content": "sunny"},
            {"role": "user", "content": "And in one word?"},
        ],
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "max_tokens": 64,
    }
    request = chat.decode_request(chat.read(WireRequest(path="/", body=json.dumps(body).encode()), {}))
    losses: list[Any] = []
    sent_body = json.loads(OLLAMA.encode_request(request, losses).body)

    assert {
        "model": "llama3",
        "stream": False,
        "messages": [
            {"role": "user", "content": "Weather in Paris and Rome?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"function": {"name": "get_weather", "arguments": {"city": city}}} for city in ("Paris", "Rome")
                ],
            },
            {"role": "tool", "tool_name": "get_weather", "content": '{"temp":15}'},
            {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
            {"role": "user", "content": "And in one word?"},
        ],
        "tools": tools,
        "options": {"num_predict": 64},
    } == sent_body
    assert {"tool_choice", "parallel_tool_calls"} == {
        loss.field for loss in in_callers_words(losses, request, chat.paths)
    }


def test_an_image_is_base64() -> None:
    """What the server could not read is refused before it is sent."""
    with pytest.raises(MalformedRequest, match="not base64"):
        user(Media(kind="image", base64="ha th", at="messages[0].content[0]"))
