"""Anthropic's own Python SDK against the gateway: answers, streams, tools, counts and errors, in every direction."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from tests.answers import chat_answer, chat_chunk, gemini_answer, gemini_chunk, openai_error, tool_call
from tests.fakes import DONE, RESET, FakeUpstream, event, json_answer, sse, status
from tests.running import Running, running

anthropic = pytest.importorskip("anthropic", reason="the package anthropic is not installed")

pytestmark = pytest.mark.clients
Json = Any

TABLE = """
providers:
  demo: {}
  own: {base_url: "$url", speaks: [anthropic.messages], auth: anthropic_key, secret: "env:UP"}
  chat: {base_url: "$url/v1", speaks: [openai.chat], secret: "env:UP"}
  gemini: {base_url: "$url", speaks: [gemini], auth: google_key, secret: "env:UP"}
models:
  demo: [{provider: demo, model: isthmus-demo}]
  own: [{provider: own, model: claude-haiku-4-5}]
  chat: [{provider: chat, model: gpt-4.1}]
  gemini: [{provider: gemini, model: gemini-3-pro-preview}]
policies:
  default: {attempts: 1, timeouts: {first_byte: 2s, idle: 1s}}
routes:
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: /v1/messages/count_tokens, speaks: anthropic.messages, to: models}
"""
HI: Json = [{"role": "user", "content": "Hi"}]
LOOK: Json = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
UPSTREAMS = ["own", "chat", "gemini"]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Running]:
    async with running(TABLE, {"UP": "sk-up"}, url=upstream.url) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client:
        yield client


def message(*content: Json, reason: str = "end_turn") -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }


def spoken(*payloads: Json) -> list[bytes]:
    return [event(payload, payload["type"]) for payload in payloads]


def whole(name: str, text: str) -> Any:
    """An upstream's answer, in its own dialect."""
    bodies = {
        "own": message({"type": "text", "text": text}),
        "chat": chat_answer(text),
        "gemini": gemini_answer(text),
    }
    return json_answer(bodies[name])


def streamed(name: str, *texts: str) -> Any:
    if name == "own":
        start = {**message(), "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
        return sse(
            *spoken(
                {"type": "message_start", "message": start},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                *[
                    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
                    for text in texts
                ],
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {"output_tokens": 3},
                },
                {"type": "message_stop"},
            )
        )
    if name == "chat":
        return sse(*[chat_chunk(text) for text in texts], chat_chunk(finish="stop"), DONE)
    return sse(*[gemini_chunk(text) for text in texts], gemini_chunk("", finish="STOP"))


# ── the demo ───────────────────────────────────────────────────────────────────────────


async def test_the_demo_answers_whole_and_as_a_stream(client: Any) -> None:
    """Without any key: the same words both ways, counted."""
    answer = await client.messages.create(model="demo", max_tokens=100, messages=HI, system="Be nice.")
    async with client.messages.stream(model="demo", max_tokens=100, messages=HI) as stream:
        texts = [text async for text in stream.text_stream]
        final = await stream.get_final_message()

    assert answer.content[0].text.endswith("You said: Hi")
    assert answer.content[0].text == "".join(texts) == final.content[0].text
    assert ("message", "assistant", "end_turn") == (answer.type, answer.role, answer.stop_reason)
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        final.usage.input_tokens or 1,
        answer.usage.output_tokens,
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_over_two_turns(client: Any, stream: bool) -> None:
    """The model calls, the caller answers with the SDK's own objects, the model reads the result."""

    async def ask(messages: Json) -> Any:
        arguments: Json = {"model": "demo", "max_tokens": 200, "messages": messages, "tools": [LOOK]}
        if not stream:
            return await client.messages.create(**arguments)
        async with client.messages.stream(**arguments) as events:
            return await events.get_final_message()

    first = await ask(HI)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    second = await ask([*HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}])

    assert ("tool_use", "look", {"city": "Hi"}) == (first.stop_reason, call.name, call.input)
    assert "returned: sunny" in second.content[0].text


async def test_thinking_and_counting(client: Any) -> None:
    """Thoughts are blocks of their own; a count is a number."""
    answer = await client.messages.create(
        model="demo", max_tokens=4000, messages=HI, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    count = await client.messages.count_tokens(model="demo", messages=HI)

    assert ["thinking", "text"] == [block.type for block in answer.content]
    assert count.input_tokens > 0


# ── upstreams of every dialect ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_an_answer(name: str, client: Any, upstream: FakeUpstream) -> None:
    """Whoever answers, the SDK reads it."""
    upstream.script(whole(name, "Hello."))
    answer = await client.messages.create(
        model=name, max_tokens=50, system="Be brief.", messages=HI, stop_sequences=["END"]
    )
    sent = upstream.requests[0].json()

    assert ("Hello.", "end_turn") == (answer.content[0].text, answer.stop_reason)
    assert "Be brief." in json.dumps(sent) and "END" in json.dumps(sent)


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_a_stream(name: str, client: Any, upstream: FakeUpstream) -> None:
    """Piece by piece, to its end."""
    upstream.script(streamed(name, "Hel", "lo 🙂"))
    async with client.messages.stream(model=name, max_tokens=50, messages=HI) as stream:
        texts = [text async for text in stream.text_stream]
        final = await stream.get_final_message()

    assert (["Hel", "lo 🙂"], "end_turn") == (texts, final.stop_reason)


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_an_upstreams_error_is_the_sdks_own_exception(name: str, client: Any, upstream: FakeUpstream) -> None:
    """Its class goes by the status, its text is the upstream's."""
    bodies = {
        "own": {"type": "error", "error": {"type": "rate_limit_error", "message": "Too fast."}},
        "chat": openai_error("Too fast.", kind="rate_limit_error", code="rate_limit_exceeded"),
        "gemini": {"error": {"code": 429, "message": "Too fast.", "status": "RESOURCE_EXHAUSTED"}},
    }
    upstream.script(status(429, bodies[name], headers={"retry-after": "7"}))
    with pytest.raises(anthropic.RateLimitError, match="Too fast") as caught:
        await client.messages.create(model=name, max_tokens=50, messages=HI)

    assert "7" == caught.value.response.headers["retry-after"]
    assert "rate_limit_error" == caught.value.body["error"]["type"]


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_an_error_in_the_middle_of_a_stream(name: str, client: Any, upstream: FakeUpstream) -> None:
    """It is raised after the text before it."""
    upstream.script(_broken(name))
    texts = []
    with pytest.raises(anthropic.APIError):
        async with client.messages.stream(model=name, max_tokens=50, messages=HI) as stream:
            async for text in stream.text_stream:
                texts.append(text)

    assert ["Hel"] == texts


def _broken(name: str) -> Any:
    """A stream that breaks off after its first piece."""
    if name == "own":
        start = {**message(), "stop_reason": None}
        first = spoken(
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        )
        return sse(*first, *spoken({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
    return sse(chat_chunk("Hel") if name == "chat" else gemini_chunk("Hel"), RESET)


async def test_parallel_calls_of_a_chat_upstream(client: Any, upstream: FakeUpstream) -> None:
    """Two calls at once, two results in one message, in the upstream's own form."""
    calls = [tool_call("look", '{"city":"Paris"}', id="call_1"), tool_call("look", '{"city":"Rome"}', id="call_2")]
    upstream.script(json_answer(chat_answer(None, tool_calls=calls)), json_answer(chat_answer("Sunny.")))
    first = await client.messages.create(model="chat", max_tokens=50, messages=HI, tools=[LOOK])
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sun"} for block in first.content]
    second = await client.messages.create(
        model="chat",
        max_tokens=50,
        tools=[LOOK],
        messages=[*HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}],
    )
    sent = upstream.requests[1].json()["messages"]

    assert ([{"city": "Paris"}, {"city": "Rome"}], "tool_use") == (
        [block.input for block in first.content],
        first.stop_reason,
    )
    assert ["user", "assistant", "tool", "tool"] == [one["role"] for one in sent]
    assert ["call_1", "call_2"] == [one["tool_call_id"] for one in sent[2:]]
    assert "Sunny." == second.content[0].text


@pytest.mark.parametrize("stream", [False, True])
async def test_signatures_of_a_gemini_upstream_come_back(client: Any, upstream: FakeUpstream, stream: bool) -> None:
    """The SDK's own objects carry them: the model gets its signature with the history."""
    signed = {"functionCall": {"name": "look", "args": {"city": "Paris"}, "id": "g1"}, "thoughtSignature": "c2ln"}
    candidate = {"content": {"role": "model", "parts": [signed]}, "finishReason": "STOP", "index": 0}
    called = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 2}}
    upstream.script(sse(called) if stream else json_answer(called), json_answer(gemini_answer("Sunny.")))
    arguments: Json = {"model": "gemini", "max_tokens": 50, "messages": HI, "tools": [LOOK]}
    if stream:
        async with client.messages.stream(**arguments) as events:
            first = await events.get_final_message()
    else:
        first = await client.messages.create(**arguments)
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "sun"}
    content = [block.model_dump(exclude_none=True) for block in first.content]
    history = [*HI, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    await client.messages.create(model="gemini", max_tokens=50, tools=[LOOK], messages=history)
    sent = upstream.requests[1].json()["contents"]

    assert "isthmus.gemini.c2ln" == content[0]["signature"]
    assert ("c2ln", "g1") == (sent[1]["parts"][0]["thoughtSignature"], sent[1]["parts"][0]["functionCall"]["id"])


# ── what the gateway says itself ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "nobody"}, "NotFoundError"),
        ({"messages": []}, "BadRequestError"),
        ({"extra_body": {"temperature": 1}}, "BadRequestError"),
    ],
)
async def test_refusals_of_the_gateway(change: Json, expected: str, client: Any) -> None:
    """An unknown model, a bad body, and a field that the version of this SDK refuses."""
    arguments: Json = {"model": "demo", "max_tokens": 50, "messages": HI, **change}
    with pytest.raises(getattr(anthropic, expected)) as caught:
        await client.messages.create(**arguments)

    assert "error" == caught.value.body["type"]


async def test_the_sdk_finds_the_id_of_an_answer(client: Any, upstream: FakeUpstream) -> None:
    """It looks in a header of its own, and shows the id with answers and errors: what our log can be searched for."""
    upstream.script(whole("own", "Hello"), status(400, {"type": "error", "error": {"type": "x", "message": "no"}}))
    asked = {"model": "own/claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    answer = await client.messages.create(**asked)
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**asked)

    assert UUID(answer._request_id) and UUID(refused.value.request_id)


async def test_the_headers_of_the_sdk_go_to_its_own_upstream_only(client: Any, upstream: FakeUpstream) -> None:
    """Version and betas in the relay lane; another dialect's upstream sees none of them."""
    upstream.script(whole("own", "a"), whole("chat", "b"))
    for name in ("own", "chat"):
        await client.messages.create(model=name, max_tokens=50, messages=HI, extra_headers={"anthropic-beta": "x"})

    assert ["2026-10-21", None] == [request.header("anthropic-version") for request in upstream.requests]
    assert ["x", None] == [request.header("anthropic-beta") for request in upstream.requests]
    assert ["sk-up", None] == [request.header("x-api-key") for request in upstream.requests]


async def test_counts_of_an_upstream_of_its_own(client: Any, upstream: FakeUpstream) -> None:
    """It is asked; others are estimated."""
    upstream.script(json_answer({"input_tokens": 42}))
    own = await client.messages.count_tokens(model="own", messages=HI)
    other = await client.messages.with_raw_response.count_tokens(model="chat", messages=HI)

    assert (42, "/v1/messages/count_tokens") == (own.input_tokens, upstream.requests[0].path)
    assert (True, "input_tokens=approximated") == (
        (await other.parse()).input_tokens > 0,
        other.headers["x-isthmus-loss"],
    )
    assert 1 == len(upstream.requests)
