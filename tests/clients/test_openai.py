"""The official OpenAI SDKs, Python and JavaScript, on every way to OpenAI and Gemini upstreams."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.clients.conftest import Client
from tests.clients.lanes import ALIAS, GATEWAY_KEY, Place, Usage, Way, place, valid, ways
from tests.fakes import HANG, RESET, Answer, Received, Until, json_answer, sse, status

Json = Any
pytestmark = pytest.mark.clients

LIBRARIES = ["openai_python", "openai_node"]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
QUESTION = [{"role": "user", "content": "What's the weather, and the time?"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
    "additionalProperties": False,
}


@pytest.fixture(params=LIBRARIES)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=ways("openai.chat"), ids=str)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as found:
        yield found


def tool(name: str, parameter: str) -> Json:
    parameters = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": parameters}}


TOOLS = [tool("get_weather", "location"), tool("get_time", "timezone")]


def said(answer: Json) -> Json:
    assert "raised" not in answer, answer["raised"]
    return answer["said"]


def text_of(chunks: list[Json]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def good_chunks(chunks: list[Json]) -> list[Json]:
    """The chunks of a whole stream: each as the schema says, one id, one finish."""
    for chunk in chunks:
        valid("openai.chat.response", "ChatCompletionChunk", chunk)
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert 1 == len([finish for finish in finishes if finish])
    assert 1 == len({chunk["id"] for chunk in chunks})
    return chunks


# ── chat ───────────────────────────────────────────────────────────────────────────────


async def test_a_chat_carries_texts_and_parameters_and_brings_the_answer_back(here: Place, client: Client) -> None:
    """T-1.1: the upstream hears every text in order and every parameter, and the SDK reads a whole completion."""
    here.upstream.script(here.voice.text("Bonjour – «ça va»? 👋", Usage(21, 9, thought=4, cached=16)))
    messages = [
        {"role": "system", "content": "You are a helpful AI."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Say it in French."},
    ]
    request = {"model": here.model, "messages": messages, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 7}

    answer = await client.ask(here.door(), "chat", request={**request, "max_completion_tokens": 900})

    [completion] = said(answer)
    valid("openai.chat.response", "ChatCompletion", completion)
    assert "Bonjour – «ça va»? 👋" == completion["choices"][0]["message"]["content"]
    assert "stop" == completion["choices"][0]["finish_reason"]
    usage = completion["usage"]
    assert (21, 9, 30) == tuple(usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert 4 == usage["completion_tokens_details"]["reasoning_tokens"]
    assert 16 == usage["prompt_tokens_details"]["cached_tokens"]
    body = here.heard()
    assert [(one["role"], one["content"]) for one in messages] == here.voice.texts(body)
    if here.way.upstream == "gemini":
        config = body["generationConfig"]
        named = ("temperature", "topP", "stopSequences", "seed", "maxOutputTokens")
        assert (0.5, 0.9, ["END"], 7, 900) == tuple(config.get(name) for name in named)
    else:
        assert {**request, "max_completion_tokens": 900, "model": here.voice.model} == body


async def test_a_field_that_openai_adds_tomorrow_passes_both_ways(client: Client) -> None:
    """T-1.8: in the relay lane a field that nobody knows arrives unchanged, and so does one of the answer."""
    async with place(Way("openai.chat", "relay", "proxy")) as here:
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [], "novel": {"a": [1]}}
        message = {"role": "assistant", "content": "Hi", "refusal": None}
        whole["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
        here.upstream.script(json_answer(whole))
        request = {"model": here.model, "messages": [{"role": "user", "content": "Hello!", "mood": "good"}]}

        answer = await client.ask(here.door(), "chat", request=request)

        assert [whole] == said(answer)
        assert request == here.upstream.requests[0].json()


async def test_an_answer_that_was_cut_short_says_so(here: Place, client: Client) -> None:
    """The limit of tokens is `finish_reason: length`, with the text until then."""
    here.upstream.script(here.voice.cut_short("Once upon"))

    answer = await client.ask(here.door(), "chat", request={"model": here.model, "messages": QUESTION})

    [completion] = said(answer)
    choice = completion["choices"][0]
    assert ("length", "Once upon") == (choice["finish_reason"], choice["message"]["content"])


async def test_an_answer_that_was_withheld_says_so(here: Place, client: Client) -> None:
    """What the provider blocked is `finish_reason: content_filter` without content, and no failure."""
    here.upstream.script(here.voice.refusing())

    answer = await client.ask(here.door(), "chat", request={"model": here.model, "messages": QUESTION})

    [completion] = said(answer)
    choice = completion["choices"][0]
    assert ("content_filter", None) == (choice["finish_reason"], choice["message"]["content"])


@pytest.mark.parametrize("do", ["chat", "gather"])
async def test_thoughts_are_not_mixed_into_the_text(here: Place, client: Client, do: str) -> None:
    """Reasoning text stands in `reasoning_content`, whole or streamed; the SDKs keep the field."""
    here.upstream.script(here.voice.thinking("Hm, let me see.", "Sunny.", stream=do == "gather"))

    answer = await client.ask(here.door(), do, request={"model": here.model, "messages": QUESTION})

    [completion] = said(answer)
    message = completion["choices"][0]["message"]
    assert ("Hm, let me see.", "Sunny.") == (message["reasoning_content"], message["content"])


async def test_callers_may_insist_that_nothing_is_lost(client: Client) -> None:
    """`x-isthmus-on-loss: reject`: 422 that names the field which the upstream cannot be told."""
    async with place(Way("openai.chat", "translate", "plain")) as here:
        door = {**here.door(), "headers": {"x-isthmus-on-loss": "reject"}}
        request = {"model": here.model, "messages": QUESTION, "logit_bias": {"50256": -100}}

        answer = await client.ask(door, "chat", request=request)

        raised = answer["raised"]
        assert ("UnprocessableEntityError", 422) == (raised["class"], raised["status"])
        assert "untranslatable" == raised["code"]
        assert "logit_bias" in raised["message"]
        assert [] == here.upstream.arrived


async def test_the_blocking_client_reads_answers_and_streams(here: Place) -> None:
    """Programs without an event loop use the SDK's other half."""
    here.upstream.script(here.voice.text("Hello!"), here.stream("Hel", "lo!"))

    def calls() -> list[str]:
        request: Json = {"model": here.model, "messages": QUESTION}
        with openai.OpenAI(**here.door(), max_retries=0, timeout=5.0) as sdk:
            whole = sdk.chat.completions.create(**request).choices[0].message.content
            chunks = [chunk.to_dict(mode="json") for chunk in sdk.chat.completions.create(**request, stream=True)]
        return [str(whole), text_of(chunks)]

    assert ["Hello!", "Hello!"] == await asyncio.to_thread(calls)


async def test_many_calls_at_once_get_their_own_answers(here: Place) -> None:
    """One client, thirty calls, streams among them: nobody reads another's answer."""
    here.upstream.always(lambda request: echo_of(here, request))

    async def call(sdk: openai.AsyncOpenAI, number: int) -> str:
        request: Json = {"model": here.model, "messages": [{"role": "user", "content": f"call {number}"}]}
        if number % 2:
            return str((await sdk.chat.completions.create(**request)).choices[0].message.content)
        stream = await sdk.chat.completions.create(**request, stream=True)
        return text_of([chunk.to_dict(mode="json") async for chunk in stream])

    async with openai.AsyncOpenAI(**here.door(), max_retries=0, timeout=10.0) as sdk:
        answers = await asyncio.gather(*(call(sdk, number) for number in range(30)))

    assert [f"call {number}" for number in range(30)] == answers


def echo_of(here: Place, request: Received) -> Answer:
    body = request.json()
    [(_, text)] = here.voice.texts(body)
    return here.stream(text) if body.get("stream") or "stream" in request.target else here.voice.text(text)


# ── stream ─────────────────────────────────────────────────────────────────────────────


async def test_a_stream_is_read_to_its_end(here: Place, client: Client) -> None:
    """All texts arrive in order with one finish, and no usage that was not asked for."""
    here.upstream.script(here.stream("Hel", "lo ", "👋 wörld"))
    request = {"model": here.model, "messages": QUESTION}

    answer = await client.ask(here.door(), "stream", request=request)

    chunks = good_chunks(said(answer))
    assert "Hello 👋 wörld" == text_of(chunks)
    assert "stop" == chunks[-1]["choices"][0]["finish_reason"]
    assert [] == [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert [("user", QUESTION[0]["content"])] == here.voice.texts(here.heard())


async def test_a_stream_tells_its_usage_when_asked(here: Place, client: Client) -> None:
    """With `include_usage` the last chunk has no choices and the whole count, in OpenAI's way of counting."""
    here.upstream.script(here.stream("Hel", "lo", usage=Usage(30, 12, thought=7, cached=8)))
    request = {"model": here.model, "messages": QUESTION, "stream_options": {"include_usage": True}}

    answer = await client.ask(here.door(), "stream", request=request)

    *_, last = good_chunks(said(answer))
    assert [] == last["choices"]
    usage = last["usage"]
    assert (30, 12, 42) == tuple(usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert 7 == usage["completion_tokens_details"]["reasoning_tokens"]
    assert 8 == usage["prompt_tokens_details"]["cached_tokens"]


async def test_the_sdk_gathers_a_stream_into_one_completion(here: Place, client: Client) -> None:
    """The SDK's accumulator, which is stricter than its chunk reader, ends with a whole message."""
    here.upstream.script(here.stream("Hel", "lo"))

    answer = await client.ask(here.door(), "gather", request={"model": here.model, "messages": QUESTION})

    [completion] = said(answer)
    assert "Hello" == completion["choices"][0]["message"]["content"]
    assert "stop" == completion["choices"][0]["finish_reason"]


async def test_a_chunk_reaches_the_sdk_before_the_upstream_says_more(here: Place) -> None:
    """T-1.14: nothing is held back until the end."""
    read = asyncio.Event()
    begun, whole = here.voice.begun("first"), here.voice.events("first", "second")
    here.upstream.script(sse(*begun, Until(read), *whole[len(begun) :]))
    texts = []

    async with openai.AsyncOpenAI(**here.door(), max_retries=0, timeout=5.0) as sdk:
        request: Json = {"model": here.model, "messages": QUESTION, "stream": True}
        async for chunk in await sdk.chat.completions.create(**request):
            texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            if texts:
                read.set()

    assert ["first", "second"] == texts


async def test_a_program_that_stops_reading_ends_the_upstreams_work(here: Place) -> None:
    """U28: when the SDK's stream is closed, the connection to the upstream is, and the call counts as `client_left`."""
    here.upstream.script(sse(*here.voice.begun("first"), HANG))

    async with openai.AsyncOpenAI(**here.door(), max_retries=0, timeout=5.0) as sdk:
        request: Json = {"model": here.model, "messages": QUESTION, "stream": True}
        stream = await sdk.chat.completions.create(**request)
        async with stream:
            async for _ in stream:
                break
        await left(here)

    assert 1.0 == here.gateway.metric("isthmus_requests_total", outcome="client_left")


async def left(here: Place) -> None:
    """Until the gateway has hung up on the upstream, a second at most."""
    for _ in range(100):
        if all(not connection.open for connection in here.upstream.connections):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the upstream still works")
    await asyncio.sleep(0.05)


# ── tools ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("echo", ["whole", "known"])
async def test_parallel_calls_and_their_results_over_two_turns(
    here: Place, client: Client, echo: str, stream: bool
) -> None:
    """The calls come back to the upstream as it made them: ids, arguments, order, and signatures too.

    Even where the client's history keeps nothing but what OpenAI documents (`known`), and so drops signatures.
    """
    voice = here.voice
    here.upstream.script(voice.calling(stream=stream), here.stream("Done.") if stream else voice.text("Done."))
    request = {"model": here.model, "messages": QUESTION, "tools": TOOLS}

    answer = await client.ask(here.door(), "tools", request=request, echo=echo, stream=stream)

    first, second = said(answer)
    assert "tool_calls" == first["choices"][0]["finish_reason"]
    calls = first["choices"][0]["message"]["tool_calls"]
    assert [(call.id, call.name, call.arguments) for call in voice.calls] == [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls
    ]
    assert "Done." == second["choices"][0]["message"]["content"]
    here.heard(0)
    # Gathered messages have a key `parsed`, which the SDKs send along.
    voice.check_results(here.heard(1, sdks_own=stream and echo == "whole"))


async def test_tools_reach_the_upstream_with_their_schemas(here: Place, client: Client) -> None:
    """Names, descriptions and parameter schemas arrive, and the forced choice of one."""
    here.upstream.script(here.voice.calling(), here.voice.text("Done."))
    choice = {"type": "function", "function": {"name": "get_time"}}
    request = {"model": here.model, "messages": QUESTION, "tools": TOOLS, "tool_choice": choice}

    await client.ask(here.door(), "tools", request=request, echo="whole")

    body = here.heard(0)
    wanted = [(one["function"]["name"], one["function"]["description"], one["function"]["parameters"]) for one in TOOLS]
    if here.way.upstream == "gemini":
        [tools] = body["tools"]
        assert wanted == [
            (one["name"], one["description"], one.get("parametersJsonSchema", one.get("parameters")))
            for one in tools["functionDeclarations"]
        ]
        assert {"mode": "ANY", "allowedFunctionNames": ["get_time"]} == body["toolConfig"]["functionCallingConfig"]
    else:
        assert (TOOLS, choice) == (body["tools"], body["tool_choice"])


@pytest.mark.parametrize("way", ways("openai.chat"), ids=str)
async def test_the_javascript_sdks_own_loop_runs_the_tools(way: Way, openai_node: Client) -> None:
    """`runTools` calls functions and keeps the history by itself."""
    async with place(way) as here:
        here.upstream.script(here.voice.calling(), here.voice.text("Done."))
        request = {"model": here.model, "messages": QUESTION, "tools": TOOLS}

        answer = await openai_node.ask(here.door(), "runTools", request=request)

        *_, last = said(answer)
        assert "Done." == last["choices"][0]["message"]["content"]
        here.voice.check_results(here.heard(1))


# ── images, schemas ────────────────────────────────────────────────────────────────────


async def test_an_image_goes_along_as_bytes_or_as_a_url(here: Place, client: Client) -> None:
    """A data URL arrives as the same bytes, an https URL as the same URL; nobody downloads anything."""
    here.upstream.script(here.voice.text("A pixel and a cat."))
    urls = [f"data:image/png;base64,{PIXEL}", "https://pictures.example/cat.png"]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What is this?"}, *parts]

    answer = await client.ask(
        here.door(), "chat", request={"model": here.model, "messages": [{"role": "user", "content": content}]}
    )

    assert "A pixel and a cat." == said(answer)[0]["choices"][0]["message"]["content"]
    body = here.heard()
    if here.way.upstream == "gemini":
        text, inline, file = body["contents"][0]["parts"]
        assert {"text": "What is this?"} == text
        assert "image/png" == inline["inlineData"]["mimeType"]
        assert base64.b64decode(PIXEL) == base64.b64decode(inline["inlineData"]["data"])
        assert {"fileUri": urls[1], "mimeType": "image/png"} == file["fileData"]
    else:
        assert content == body["messages"][0]["content"]


async def test_an_answer_in_a_json_schema(here: Place, client: Client) -> None:
    """The schema arrives whole, and the SDK parses the answer into the type that it was made from."""
    here.upstream.script(here.voice.text('{"name": "Bern", "country": "Switzerland"}'))
    request = {"model": here.model, "messages": QUESTION}

    answer = await client.ask(here.door(), "parse", request=request, schema=SCHEMA)

    assert [{"name": "Bern", "country": "Switzerland"}] == said(answer)
    body = here.heard()
    if here.way.upstream == "gemini":
        config = body["generationConfig"]
        assert "application/json" == config["responseMimeType"]
        schema = config["responseJsonSchema"]
    else:
        assert (True, "City") == tuple(body["response_format"]["json_schema"][key] for key in ("strict", "name"))
        schema = body["response_format"]["json_schema"]["schema"]
    assert ["name", "country"] == schema["required"] == list(schema["properties"])
    assert {"string"} == {one["type"] for one in schema["properties"].values()}


# ── errors ─────────────────────────────────────────────────────────────────────────────

#: What the upstream says; what the SDK raises on a plain route (our key), and on a proxy path (the caller's own key).
FAULTS = {
    "bad request": (400, "the messages are odd", ("BadRequestError", 400), ("BadRequestError", 400)),
    "bad key": (401, "no such key", ("InternalServerError", 502), ("AuthenticationError", 401)),
    "forbidden": (403, "not in this country", ("InternalServerError", 502), ("PermissionDeniedError", 403)),
    "no such model": (404, "no model of that name", ("NotFoundError", 404), ("NotFoundError", 404)),
    "too many": (429, "slow down, please", ("RateLimitError", 429), ("RateLimitError", 429)),
    "broken": (500, "something broke", ("InternalServerError", 502), ("InternalServerError", 500)),
    "overloaded": (503, "too busy now", ("InternalServerError", 503), ("InternalServerError", 503)),
}
CODES = {401: "upstream_denied", 403: "upstream_denied", 429: "rate_limit_exceeded", 500: "upstream_5xx"}
CODES |= {503: "upstream_5xx"}


@pytest.mark.parametrize(
    ("fault", "do"), [*((fault, "chat") for fault in FAULTS), ("too many", "stream"), ("overloaded", "stream")]
)
async def test_an_upstreams_error_is_the_sdks_own_exception(here: Place, client: Client, fault: str, do: str) -> None:
    """Status and class are those of the error map; the upstream's reason is the message; a stream keeps its status."""
    code, reason, ours, theirs = FAULTS[fault]
    headers = {"retry-after": "7"} if code == 429 else {}
    here.upstream.script(status(code, here.voice.error(code, reason), headers=headers))

    answer = await client.ask(here.door(), do, request={"model": here.model, "messages": QUESTION})

    raised = answer["raised"]
    assert (theirs if here.named else ours) == (raised["class"], raised["status"])
    assert [] == answer["said"]
    assert "upstream" == raised["headers"]["x-isthmus-fault"]
    if here.named or code not in (401, 403):
        assert reason in raised["message"]
    if not here.named:
        assert CODES.get(code, raised["code"]) == raised["code"]
    if code == 429:
        assert "7" == raised["headers"]["retry-after"]
    here.heard()


async def test_u15_an_error_under_a_good_status_is_one(here: Place, client: Client) -> None:
    """U15: status 200 with an error in the body, as some compatible servers send, is 502.

    Google's errors tell their status in the body too; with the caller's own key that is the one.
    """
    here.upstream.script(json_answer(here.voice.error(500, "the model fell asleep")))

    answer = await client.ask(here.door(), "chat", request={"model": here.model, "messages": QUESTION})

    raised = answer["raised"]
    told = here.named and here.way.upstream == "gemini"
    assert ("InternalServerError", 500 if told else 502) == (raised["class"], raised["status"])


async def test_an_error_in_the_middle_of_a_stream_is_raised_after_the_text_before_it(
    here: Place, client: Client
) -> None:
    """The text stays; the upstream's reason is raised; there is no finish."""
    events = [*here.voice.begun("Once upon"), here.voice.error(503, "the model fell asleep")]
    here.upstream.script(sse(*events))

    answer = await client.ask(here.door(), "stream", request={"model": here.model, "messages": QUESTION})

    assert "Once upon" == text_of(answer["said"])
    assert [] == [one["finish_reason"] for c in answer["said"] for one in c["choices"] if one["finish_reason"]]
    assert "APIError" == answer["raised"]["class"]
    told = here.named and here.way.upstream == "gemini"  # its 503 is told in the event
    assert ("overloaded_error" if told else "upstream_error") == answer["raised"]["type"]
    assert "the model fell asleep" in answer["raised"]["message"]


async def test_a_connection_that_breaks_in_a_stream_is_raised(here: Place, client: Client) -> None:
    """S03: never a silent end that looks like a whole answer."""
    here.upstream.script(sse(*here.voice.begun("Once upon"), RESET))

    answer = await client.ask(here.door(), "stream", request={"model": here.model, "messages": QUESTION})

    assert "APIError" == answer["raised"]["class"]
    assert "upstream_connection" == answer["raised"]["code"]


@pytest.mark.parametrize("way", ways("openai.chat"), ids=str)
async def test_a_key_that_nobody_knows_is_an_authentication_error(way: Way, client: Client) -> None:
    """401 `invalid_token`; the upstream is not asked."""
    async with place(way) as here:
        door = {**here.door(), "api_key": "sk-isthmus-wrong"}

        answer = await client.ask(door, "chat", request={"model": here.model, "messages": QUESTION})

        raised = answer["raised"]
        assert ("AuthenticationError", 401) == (raised["class"], raised["status"])
        assert ("authentication_error", "invalid_token") == (raised["type"], raised["code"])
        assert [] == here.upstream.arrived


async def test_a_model_that_nobody_serves_is_a_not_found_error(client: Client) -> None:
    """404 `model_not_found`; the upstream is not asked."""
    async with place(Way("openai.chat", "relay", "plain")) as here:
        answer = await client.ask(here.door(), "chat", request={"model": "gpt-99", "messages": QUESTION})

        raised = answer["raised"]
        assert ("NotFoundError", 404, "model_not_found") == (raised["class"], raised["status"], raised["code"])
        assert [] == here.upstream.arrived


async def test_an_upstream_that_is_not_listed_is_a_permission_error(client: Client) -> None:
    """403 `upstream_not_allowed` for a URL that the operator did not list."""
    async with place(Way("openai.chat", "relay", "proxy")) as here:
        base = f"{here.gateway.url}/api/v1/proxy/https://api.elsewhere.example/v1/sk-KEY"
        door = {"base_url": base, "api_key": GATEWAY_KEY}

        answer = await client.ask(door, "chat", request={"model": here.model, "messages": QUESTION})

        raised = answer["raised"]
        assert ("PermissionDeniedError", 403) == (raised["class"], raised["status"])
        assert ("permission_error", "upstream_not_allowed") == (raised["type"], raised["code"])
        assert [] == here.upstream.arrived


async def test_messages_that_are_none_are_a_bad_request(client: Client) -> None:
    """T-1.3: the field is named, and the upstream is not asked."""
    async with place(Way("openai.chat", "relay", "proxy")) as here:
        answer = await client.ask(here.door(), "chat", request={"model": here.model, "messages": []})

        raised = answer["raised"]
        assert ("BadRequestError", 400, "invalid_messages") == (raised["class"], raised["status"], raised["code"])
        assert "messages" in raised["message"]
        assert [] == here.upstream.arrived


# ── proxy paths, models ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["raw", "encoded", "name"])
async def test_the_forms_of_an_upstreams_url(client: Client, form: str) -> None:
    """T-1.2: raw (P1), percent-encoded (P2) and by name (P6), as the SDKs put them on the wire."""
    async with place(Way("openai.chat", "relay", "proxy")) as here:
        base = here.voice.base(here.upstream.url)
        url = {"raw": base, "encoded": base.replace(":", "%3A").replace("/", "%2F"), "name": "up"}[form]
        here.upstream.script(here.voice.text("Hello!"))
        door = {"base_url": f"{here.gateway.url}/api/v1/proxy/{url}/{here.voice.own_key}", "api_key": GATEWAY_KEY}

        answer = await client.ask(door, "chat", request={"model": here.model, "messages": QUESTION})

        assert "Hello!" == said(answer)[0]["choices"][0]["message"]["content"]
        here.heard()


async def test_a_dash_for_a_key_means_the_configured_one(client: Client) -> None:
    """1.3, 9: with `-` in the key's place the upstream gets the gateway's own key for it."""
    async with place(Way("openai.chat", "relay", "proxy")) as here:
        here.upstream.script(here.voice.text("Hello!"))
        here.upstream_key = here.voice.configured_key
        base = f"{here.gateway.url}/api/v1/proxy/{here.voice.base(here.upstream.url)}/-"

        answer = await client.ask(
            {"base_url": base, "api_key": GATEWAY_KEY}, "chat", request={"model": here.model, "messages": QUESTION}
        )

        said(answer)
        here.heard()


async def test_the_sdk_lists_the_models(client: Client) -> None:
    """What callers may name is listed in OpenAI's form, and found one by one."""
    async with place(Way("openai.chat", "relay", "plain")) as here:
        answer = await client.ask(here.door(), "models", model=ALIAS)

        listed, one = said(answer)
        assert (ALIAS, "model") == (listed["id"], listed["object"])
        assert listed == one
