"""Google's official SDKs, Python 2.x and 3.x and JavaScript, on every way to Gemini and OpenAI upstreams."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.clients.conftest import Client
from tests.clients.lanes import ALIAS, GATEWAY_KEY, Place, Usage, Way, place, valid, ways
from tests.fakes import RESET, Until, json_answer, sse, status

Json = Any
pytestmark = pytest.mark.clients

LIBRARIES = ["genai_3", "genai_2", "genai_node"]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
QUESTION = [{"role": "user", "parts": [{"text": "What's the weather, and the time?"}]}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
}


@pytest.fixture(params=LIBRARIES)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=ways("gemini"), ids=str)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as found:
        yield found


def declared(name: str, parameter: str) -> Json:
    parameters = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return {"name": name, "description": f"{name}.", "parametersJsonSchema": parameters}


DECLARED = [declared("get_weather", "location"), declared("get_time", "timezone")]
TOOLS = [{"functionDeclarations": DECLARED}]


def said(answer: Json) -> Json:
    assert "raised" not in answer, answer["raised"]
    return answer["said"]


def parts_of(responses: list[Json]) -> list[Json]:
    candidates = [one["candidates"][0] for one in responses if one.get("candidates")]
    return [part for candidate in candidates for part in candidate.get("content", {}).get("parts", [])]


def text_of(responses: list[Json]) -> str:
    return "".join(part.get("text", "") for part in parts_of(responses))


def finishes_of(responses: list[Json]) -> list[str]:
    candidates = [candidate for one in responses for candidate in one.get("candidates", [])]
    return [candidate["finishReason"] for candidate in candidates if "finishReason" in candidate]


def good(responses: list[Json]) -> list[Json]:
    for response in responses:
        valid("gemini.v1beta.response", "GenerateContentResponse", response)
    return responses


# ── generateContent ────────────────────────────────────────────────────────────────────


async def test_contents_and_config_arrive_and_the_answer_comes_back(here: Place, client: Client) -> None:
    """The upstream hears every text in order and every parameter, and the SDK reads a whole response."""
    here.upstream.script(here.voice.text("Bonjour – «ça va»? 👋", Usage(21, 9, thought=4, cached=16)))
    contents = [
        {"role": "user", "parts": [{"text": "Hello!"}]},
        {"role": "model", "parts": [{"text": "Hi."}]},
        {"role": "user", "parts": [{"text": "Say it in French."}]},
    ]
    config = {
        "systemInstruction": "You are a helpful AI.",
        "temperature": 0.5,
        "topP": 0.9,
        "seed": 7,
        "stopSequences": ["END"],
        "maxOutputTokens": 900,
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
    }

    answer = await client.ask(here.door(), "generate", model=here.model, contents=contents, config=config)

    [response] = good(said(answer))
    assert "Bonjour – «ça va»? 👋" == text_of([response])
    assert ["STOP"] == finishes_of([response])
    usage = response["usageMetadata"]
    counts = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")
    assert (21, 5, 4, 30, 16) == tuple(usage[name] for name in (*counts, "cachedContentTokenCount"))
    assert response["modelVersion"]
    assert response["responseId"]
    body = here.heard()
    texts = [("user", "Hello!"), ("assistant", "Hi."), ("user", "Say it in French.")]
    assert [("system", "You are a helpful AI."), *texts] == here.voice.texts(body)
    if here.way.upstream == "gemini":
        sent = body["generationConfig"]
        assert (0.5, 0.9, 7) == tuple(sent[name] for name in ("temperature", "topP", "seed"))
        assert (["END"], 900) == (sent["stopSequences"], sent["maxOutputTokens"])
        assert config["safetySettings"] == body["safetySettings"]
        assert [] == await here.losses()
    else:
        assert (0.5, 0.9, 7) == tuple(body[name] for name in ("temperature", "top_p", "seed"))
        assert (["END"], 900) == (body["stop"], body["max_completion_tokens"])
        assert ["safetySettings[0]"] == await here.losses()


async def test_a_stream_is_read_to_its_end(here: Place, client: Client) -> None:
    """All texts arrive in order, the finish once, the whole usage at the end."""
    here.upstream.script(here.stream("Hel", "lo ", "👋 wörld", usage=Usage(30, 12, thought=7, cached=8)))

    answer = await client.ask(here.door(), "stream", model=here.model, contents=QUESTION, config={})

    responses = good(said(answer))
    assert "Hello 👋 wörld" == text_of(responses)
    assert ["STOP"] == finishes_of(responses)
    usage = responses[-1]["usageMetadata"]
    counts = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")
    assert (30, 5, 7, 42, 8) == tuple(usage[name] for name in (*counts, "cachedContentTokenCount"))
    assert [("user", "What's the weather, and the time?")] == here.voice.texts(here.heard())


async def test_an_answer_that_was_cut_short_says_so(here: Place, client: Client) -> None:
    """The limit of tokens is `finishReason: MAX_TOKENS`, with the text until then."""
    here.upstream.script(here.voice.cut_short("Once upon"))

    answer = await client.ask(here.door(), "generate", model=here.model, contents=QUESTION, config={})

    responses = good(said(answer))
    assert (["MAX_TOKENS"], "Once upon") == (finishes_of(responses), text_of(responses))


async def test_an_answer_that_was_withheld_says_so(here: Place, client: Client) -> None:
    """What the provider blocked has no text and a reason, and is no failure."""
    here.upstream.script(here.voice.refusing())

    answer = await client.ask(here.door(), "generate", model=here.model, contents=QUESTION, config={})

    responses = good(said(answer))
    assert "" == text_of(responses)
    if here.way.upstream == "gemini":
        assert "PROHIBITED_CONTENT" == responses[0]["promptFeedback"]["blockReason"]
    else:
        assert ["SAFETY"] == finishes_of(responses)


@pytest.mark.parametrize("do", ["generate", "stream"])
async def test_thoughts_are_not_mixed_into_the_text(here: Place, client: Client, do: str) -> None:
    """Reasoning text stands in parts that are marked as thoughts, whole or streamed."""
    here.upstream.script(here.voice.thinking("Hm, let me see.", "Sunny.", stream=do == "stream"))
    config = {"thinkingConfig": {"includeThoughts": True}}

    answer = await client.ask(here.door(), do, model=here.model, contents=QUESTION, config=config)

    parts = [part for part in parts_of(good(said(answer))) if part.get("text")]
    assert [("Hm, let me see.", True), ("Sunny.", False)] == [(one["text"], one.get("thought", False)) for one in parts]


async def test_callers_may_insist_that_nothing_is_lost(client: Client) -> None:
    """`x-isthmus-on-loss: reject`: 422 that names the field which the upstream cannot be told."""
    async with place(Way("gemini", "translate", "plain")) as here:
        door = {**here.door(), "headers": {"x-isthmus-on-loss": "reject"}}

        answer = await client.ask(door, "generate", model=here.model, contents=QUESTION, config={"topK": 5})

        assert (422, "INVALID_ARGUMENT") == (answer["raised"]["code"], answer["raised"]["status"])
        assert "topK" in answer["raised"]["message"]
        assert [] == here.upstream.arrived


async def test_the_blocking_client_reads_answers_and_streams(here: Place) -> None:
    """Programs without an event loop use the SDK's other half, which has another HTTP library under it."""
    here.upstream.script(here.voice.text("Hello!"), here.stream("Hel", "lo!"))
    door = here.door()
    options = types.HttpOptions(base_url=door["base_url"], headers=door.get("headers"), timeout=5000)

    def calls() -> list[str]:
        with genai.Client(api_key=door["api_key"], http_options=options) as sdk:
            whole = sdk.models.generate_content(model=here.model, contents="Hello!").text
            chunks = [one.text or "" for one in sdk.models.generate_content_stream(model=here.model, contents="Hi!")]
        return [str(whole), "".join(chunks)]

    assert ["Hello!", "Hello!"] == await asyncio.to_thread(calls)


async def test_a_chunk_reaches_the_sdk_before_the_upstream_says_more(here: Place) -> None:
    """T-1.14: nothing is held back until the end."""
    read = asyncio.Event()
    begun, whole = here.voice.begun("first"), here.voice.events("first", "second")
    here.upstream.script(sse(*begun, Until(read), *whole[len(begun) :]))
    door = here.door()
    texts: list[str] = []
    options = types.HttpOptions(base_url=door["base_url"], headers=door.get("headers"), timeout=5000)

    async with genai.Client(api_key=door["api_key"], http_options=options).aio as sdk:
        async for response in await sdk.models.generate_content_stream(model=here.model, contents="Hello!"):
            texts += [response.text] if response.text else []
            if texts:
                read.set()

    assert ["first", "second"] == texts


# ── tools ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_parallel_calls_and_their_results_over_two_turns(here: Place, client: Client, stream: bool) -> None:
    """The SDK gets ids, and the calls come back to the upstream as it made them: ids, arguments, order, signatures."""
    voice = here.voice
    here.upstream.script(voice.calling(stream=stream), here.stream("Done.") if stream else voice.text("Done."))

    answer = await client.ask(
        here.door(),
        "tools",
        model=here.model,
        contents=QUESTION,
        config={"tools": TOOLS, "automaticFunctionCalling": {"disable": True}},
        echo="whole",
        stream=stream,
    )

    responses = good(said(answer))
    calls = [part["functionCall"] for part in parts_of(responses) if "functionCall" in part]
    assert [(call.id, call.name, call.arguments) for call in voice.calls] == [
        (call["id"], call["name"], call["args"]) for call in calls
    ]
    assert "Done." == text_of(responses)
    assert ["STOP", "STOP"] == finishes_of(responses)
    here.heard(0)
    voice.check_results(here.heard(1))


@pytest.mark.parametrize("entry", ["plain", "proxy"])
async def test_a_client_that_keeps_no_ids_and_no_signatures(client: Client, entry: str) -> None:
    """Each result is still paired with its call, in order, for an upstream that knows them by id only."""
    async with place(Way("gemini", "translate", entry)) as here:
        here.upstream.script(here.voice.calling(), here.voice.text("Done."))
        config = {"tools": TOOLS, "automaticFunctionCalling": {"disable": True}}

        answer = await client.ask(
            here.door(), "tools", model=here.model, contents=QUESTION, config=config, echo="known"
        )

        assert "Done." == text_of(said(answer))
        *_, called, first, second = here.heard(1)["messages"]
        calls = [(call["id"], call["function"]["name"]) for call in called["tool_calls"]]
        assert [call.name for call in here.voice.calls] == [name for _, name in calls]
        assert [id for id, _ in calls] == [first["tool_call_id"], second["tool_call_id"]]
        assert 2 == len({id for id, _ in calls})
        assert [call.result for call in here.voice.calls] == [json.loads(one["content"]) for one in (first, second)]


async def test_tools_reach_the_upstream_with_their_schemas(here: Place, client: Client) -> None:
    """Names, descriptions and parameter schemas arrive, and the forced choice of one."""
    here.upstream.script(here.voice.calling(), here.voice.text("Done."))
    choice = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_time"]}}
    config = {"tools": TOOLS, "toolConfig": choice, "automaticFunctionCalling": {"disable": True}}

    await client.ask(here.door(), "tools", model=here.model, contents=QUESTION, config=config, echo="whole")

    body = here.heard(0)
    if here.way.upstream == "gemini":
        assert (TOOLS, choice) == (body["tools"], body["toolConfig"])
    else:
        assert [(one["name"], one["description"], one["parametersJsonSchema"]) for one in DECLARED] == [
            (one["name"], one["description"], one["parameters"]) for one in (tool["function"] for tool in body["tools"])
        ]
        assert {"type": "function", "function": {"name": "get_time"}} == body["tool_choice"]


async def test_the_sdks_own_loop_runs_the_tools(here: Place, client: Client, request: pytest.FixtureRequest) -> None:
    """Automatic function calling: the SDK declares functions, calls them and keeps the history."""
    here.upstream.script(here.voice.calling(), here.voice.text("Done."))

    answer = await client.ask(here.door(), "automatic", model=here.model, contents=QUESTION)

    assert "Done." == text_of(said(answer))
    here.heard(0)
    if request.node.callspec.params["client"] == "genai_node":
        here.voice.check_results(here.heard(1))
    else:  # Python's loop wraps results, and leaves out the ids: we pair by name and order what needs them
        here.voice.check_results(here.heard(1), [{"result": call.result} for call in here.voice.calls], ids=False)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_chat_session_keeps_the_history(here: Place, client: Client, stream: bool) -> None:
    """`chats` sends its whole history: what the model said arrives as the model's."""
    here.upstream.script(*(here.stream("A", text) if stream else here.voice.text(f"A{text}") for text in ("h.", "ha.")))

    answer = await client.ask(
        here.door(), "session", model=here.model, texts=["One?", "Two?"], config={}, stream=stream
    )

    assert "Ah.Aha." == text_of(good(said(answer)))
    merged: list[tuple[str, str]] = []
    for role, text in here.voice.texts(here.heard(1)):  # some SDKs keep every chunk as a content of its own
        if merged and merged[-1][0] == role:
            merged[-1] = (role, merged[-1][1] + text)
        else:
            merged.append((role, text))
    assert [("user", "One?"), ("assistant", "Ah."), ("user", "Two?")] == merged


# ── images, schemas ────────────────────────────────────────────────────────────────────


async def test_an_image_goes_along_as_bytes_or_as_a_url(here: Place, client: Client) -> None:
    """Bytes arrive as the same bytes, an https URL as the same URL; nobody downloads anything."""
    here.upstream.script(here.voice.text("A pixel and a cat."))
    url = "https://pictures.example/cat.png"
    parts = [
        {"text": "What is this?"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"fileData": {"mimeType": "image/png", "fileUri": url}},
    ]

    answer = await client.ask(
        here.door(), "generate", model=here.model, contents=[{"role": "user", "parts": parts}], config={}
    )

    assert "A pixel and a cat." == text_of(said(answer))
    body = here.heard()
    if here.way.upstream == "gemini":
        text, inline, file = body["contents"][0]["parts"]
        assert (parts[0], parts[2]) == (text, file)
        assert "image/png" == inline["inlineData"]["mimeType"]
        data = inline["inlineData"]["data"]
        assert base64.b64decode(PIXEL) == base64.urlsafe_b64decode(data.replace("+", "-").replace("/", "_"))
    else:
        text, inline, file = body["messages"][0]["content"]
        assert {"type": "text", "text": "What is this?"} == text
        head, _, data = inline["image_url"]["url"].partition(",")
        assert ("data:image/png;base64", base64.b64decode(PIXEL)) == (head, base64.b64decode(data))
        assert url == file["image_url"]["url"]


@pytest.mark.parametrize("form", ["type", "json schema"])
async def test_an_answer_in_a_schema(here: Place, client: Client, form: str) -> None:
    """A schema made of a type (`responseSchema`, in Google's words) or given as JSON Schema arrives whole."""
    here.upstream.script(here.voice.text('{"name": "Bern", "country": "Switzerland"}'))
    given = {"schema": SCHEMA} if form == "json schema" else {}

    answer = await client.ask(here.door(), "parse", model=here.model, contents=QUESTION, **given)

    assert [{"name": "Bern", "country": "Switzerland"}] == said(answer)
    body = here.heard()
    if here.way.upstream == "gemini":
        config = body["generationConfig"]
        assert "application/json" == config["responseMimeType"]
        schema = config["responseJsonSchema" if given else "responseSchema"]
    else:
        assert "json_schema" == body["response_format"]["type"]
        schema = body["response_format"]["json_schema"]["schema"]
        assert "object" == schema["type"]
    assert ["name", "country"] == schema["required"] == list(schema["properties"])
    assert {"string"} == {one["type"].lower() for one in schema["properties"].values()}


# ── errors ─────────────────────────────────────────────────────────────────────────────

#: What the upstream says; what the SDK raises on a plain route (our key), and on a proxy path (the caller's own key).
FAULTS = {
    "bad request": (400, "the contents are odd", (400, "INVALID_ARGUMENT"), (400, "INVALID_ARGUMENT")),
    "bad key": (401, "no such key", (502, "INTERNAL"), (401, "UNAUTHENTICATED")),
    "forbidden": (403, "not in this country", (502, "INTERNAL"), (403, "PERMISSION_DENIED")),
    "no such model": (404, "no model of that name", (404, "NOT_FOUND"), (404, "NOT_FOUND")),
    "too many": (429, "slow down, please", (429, "RESOURCE_EXHAUSTED"), (429, "RESOURCE_EXHAUSTED")),
    "broken": (500, "something broke", (502, "UNAVAILABLE"), (500, "INTERNAL")),
    "overloaded": (503, "too busy now", (503, "UNAVAILABLE"), (503, "UNAVAILABLE")),
}


def classes_of(code: int) -> set[str]:
    """Python's class for the code; JavaScript has one for all."""
    return {"ApiError", "ClientError" if code < 500 else "ServerError"}


@pytest.mark.parametrize(
    ("fault", "do"), [*((fault, "generate") for fault in FAULTS), ("too many", "stream"), ("overloaded", "stream")]
)
async def test_an_upstreams_error_is_the_sdks_own_exception(here: Place, client: Client, fault: str, do: str) -> None:
    """Code and status are those of the error map; the upstream's reason is the message; a stream keeps its status."""
    code, reason, ours, theirs = FAULTS[fault]
    here.upstream.script(status(code, here.voice.error(code, reason)))

    answer = await client.ask(here.door(), do, model=here.model, contents=QUESTION, config={})

    raised = answer["raised"]
    assert (theirs if here.named else ours) == (raised["code"], raised["status"])
    assert raised["class"] in classes_of(raised["code"])
    assert [] == answer["said"]
    if here.named or code not in (401, 403):
        assert reason in raised["message"]
    here.heard()


async def test_an_error_in_the_middle_of_a_stream_is_raised_after_the_text_before_it(
    here: Place, client: Client
) -> None:
    """The text stays; the upstream's reason is raised; there is no finish."""
    events = [*here.voice.begun("Once upon"), here.voice.error(503, "the model fell asleep")]
    here.upstream.script(sse(*events))

    answer = await client.ask(here.door(), "stream", model=here.model, contents=QUESTION, config={})

    assert "Once upon" == text_of(answer["said"])
    assert [] == finishes_of(answer["said"])
    assert "the model fell asleep" in answer["raised"]["message"]


async def test_a_connection_that_breaks_in_a_stream_is_raised(here: Place, client: Client) -> None:
    """S03: never a silent end that looks like a whole answer."""
    here.upstream.script(sse(*here.voice.begun("Once upon"), RESET))

    answer = await client.ask(here.door(), "stream", model=here.model, contents=QUESTION, config={})

    assert "Once upon" == text_of(answer["said"])
    assert "UNAVAILABLE" == answer["raised"]["status"]


@pytest.mark.parametrize("way", ways("gemini"), ids=str)
async def test_a_key_that_nobody_knows_is_unauthenticated(way: Way, client: Client) -> None:
    """401 UNAUTHENTICATED; the upstream is not asked."""
    async with place(way) as here:
        door = here.door()
        door |= {"headers": {"Authorization": "Bearer sk-isthmus-wrong"}} if here.named else {"api_key": "AIzaWrong"}

        answer = await client.ask(door, "generate", model=here.model, contents=QUESTION, config={})

        assert (401, "UNAUTHENTICATED") == (answer["raised"]["code"], answer["raised"]["status"])
        assert [] == here.upstream.arrived


async def test_a_model_that_nobody_serves_is_not_found(client: Client) -> None:
    """404 NOT_FOUND; the upstream is not asked."""
    async with place(Way("gemini", "relay", "plain")) as here:
        answer = await client.ask(here.door(), "generate", model="gemini-99", contents=QUESTION, config={})

        assert (404, "NOT_FOUND") == (answer["raised"]["code"], answer["raised"]["status"])
        assert [] == here.upstream.arrived


async def test_an_upstream_that_is_not_listed_is_denied(client: Client) -> None:
    """403 PERMISSION_DENIED for a URL that the operator did not list."""
    async with place(Way("gemini", "relay", "proxy")) as here:
        door = {**here.door(), "base_url": f"{here.gateway.url}/api/v1/proxy/https://elsewhere.example"}

        answer = await client.ask(door, "generate", model=here.model, contents=QUESTION, config={})

        assert (403, "PERMISSION_DENIED") == (answer["raised"]["code"], answer["raised"]["status"])
        assert [] == here.upstream.arrived


# ── proxy paths and versions, counting, models ─────────────────────────────────────────


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
@pytest.mark.parametrize("entry", ["plain", "proxy"])
async def test_every_version_of_the_path(client: Client, entry: str, version: str | None) -> None:
    """T-1.10: the SDKs ask for v1 or v1beta; the version in the path is the one sent upstream, with the right key."""
    async with place(Way("gemini", "relay", entry)) as here:
        here.upstream.script(here.voice.text("Hello!"))

        answer = await client.ask(
            here.door(api_version=version), "generate", model=here.model, contents=QUESTION, config={}
        )

        assert "Hello!" == text_of(said(answer))
        here.heard()
        sent = here.upstream.requests[0].path.split("/")[1]
        assert sent in ("v1", "v1beta") if version is None else sent == version


@pytest.mark.parametrize("form", ["raw", "encoded", "name"])
async def test_the_forms_of_an_upstreams_url(client: Client, form: str) -> None:
    """T-1.2, P21: raw, percent-encoded and by name, as the SDKs put them on the wire."""
    async with place(Way("gemini", "relay", "proxy")) as here:
        base = here.upstream.url
        url = {"raw": base, "encoded": base.replace(":", "%3A").replace("/", "%2F"), "name": "up"}[form]
        here.upstream.script(here.voice.text("Hello!"))
        door = {**here.door(), "base_url": f"{here.gateway.url}/api/v1/proxy/{url}"}

        answer = await client.ask(door, "generate", model=here.model, contents=QUESTION, config={})

        assert "Hello!" == text_of(said(answer))
        here.heard()


async def test_one_key_alone_is_the_gateways_and_the_upstream_gets_the_configured_one(client: Client) -> None:
    """1.7: a gateway key in `x-goog-api-key` alone is accepted where the upstream has a configured key."""
    async with place(Way("gemini", "relay", "proxy")) as here:
        here.upstream.script(here.voice.text("Hello!"))
        here.upstream_key = here.voice.configured_key
        door = {"base_url": here.door()["base_url"], "api_key": GATEWAY_KEY}

        answer = await client.ask(door, "generate", model=here.model, contents=QUESTION, config={})

        assert "Hello!" == text_of(said(answer))
        here.heard()


@pytest.mark.parametrize("entry", ["plain", "proxy"])
async def test_tokens_are_counted_by_a_gemini_upstream(client: Client, entry: str) -> None:
    """countTokens is relayed, with the key that is right for the entry."""
    async with place(Way("gemini", "relay", entry)) as here:
        counted = {"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}]}
        here.upstream.script(json_answer(counted))

        answer = await client.ask(here.door(), "count", model=here.model, contents=QUESTION)

        assert [31] == [one["totalTokens"] for one in said(answer)]
        [request] = here.upstream.requests
        assert request.path.endswith(f"/models/{here.voice.model}:countTokens")
        assert here.upstream_key == request.header("x-goog-api-key")
        assert QUESTION == request.json()["contents"]


@pytest.mark.parametrize("entry", ["plain", "proxy"])
async def test_tokens_are_estimated_before_an_upstream_that_counts_none(client: Client, entry: str) -> None:
    """Longer contents count more, and nothing is sent."""
    async with place(Way("gemini", "translate", entry)) as here:
        long = [{"role": "user", "parts": [{"text": "What's the weather, and the time? " * 40}]}]

        answers = [await client.ask(here.door(), "count", model=here.model, contents=one) for one in (QUESTION, long)]

        few, many = (said(answer)[0]["totalTokens"] for answer in answers)
        assert 4 < few < 20 < many
        assert [] == here.upstream.arrived


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
async def test_the_sdk_lists_the_models(client: Client, version: str | None) -> None:
    """What callers may name is listed in Google's form, and found one by one."""
    async with place(Way("gemini", "relay", "plain")) as here:
        answer = await client.ask(here.door(api_version=version), "models", model=ALIAS)

        listed, one = said(answer)
        assert f"models/{ALIAS}" == listed["name"]
        assert listed == one
