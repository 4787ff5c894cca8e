"""The official SDKs talk to models on Amazon Bedrock: chats whole and streamed, with keys of both kinds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google import genai
from google.genai import types

from tests import corpus
from tests.fakes import HANG_UP, Answer, FakeUpstream, Received, answer, json_answer, status
from tests.providers.dialects.bedrock.spoken import BEGIN, CLAUDE, delta, end, frame, start, stop
from tests.running import Running, running

Json = Any
pytestmark = pytest.mark.clients

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  token: {base_url: "$up", speaks: [bedrock.converse], secret: "env:TOKEN", own: [guardrailConfig]}
  signed: {base_url: "$up", speaks: [bedrock.converse], auth: "aws_sigv4:eu-west-3", secret: "env:PAIR"}
models:
  token: [{provider: token, model: "$model"}]
  signed: [{provider: signed, model: "$model"}]
policies:
  default: {attempts: 1}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "IQoJb3JpZ2luX2VjEXAMPLE//=="
KEYS = {"TOKEN": "bedrock-api-key-EXAMPLE", "PAIR": f"{ACCESS_KEY}:{SECRET_KEY}:{SESSION}"}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Running, FakeUpstream, openai.AsyncOpenAI]]:
    async with FakeUpstream() as upstream, running(TABLE, KEYS, up=upstream.url, model=CLAUDE) as gateway:
        own: Json = {"base_url": f"{gateway.url}/v1", "api_key": "none", "max_retries": 0, "timeout": 10.0}
        async with openai.AsyncOpenAI(**own) as sdk:
            yield gateway, upstream, sdk


def told(*content: Json, stop_reason: str = "end_turn") -> Answer:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 6}
    output = {"message": {"role": "assistant", "content": list(content)}}
    return json_answer({"output": output, "stopReason": stop_reason, "usage": usage, "metrics": {"latencyMs": 1}})


def streamed(*frames: bytes | Json) -> Answer:
    headers = {"Content-Type": "application/vnd.amazon.eventstream"}
    return answer(200, *frames, headers=headers, framing="chunked")


def ask(model: str, text: str = "Hi", **more: Json) -> Json:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def test_a_whole_answer() -> None:
    """The request is valid and bears the API key; text, end and inclusive counts come back."""
    async with between() as (_, upstream, sdk):
        upstream.script(told({"text": "Hello!"}))
        found = await sdk.chat.completions.create(**ask("token", max_tokens=20, temperature=0.5))
        received = upstream.requests[0]

        corpus.schema("bedrock.converse.request", "ConverseRequest").validate(received.json())
        assert f"/model/{CLAUDE.replace(':', '%3A')}/converse" == received.target
        assert "Bearer bedrock-api-key-EXAMPLE" == received.header("authorization")
        assert ("Hello!", "stop") == (found.choices[0].message.content, found.choices[0].finish_reason)
        assert found.usage and (9, 2, 11) == (
            found.usage.prompt_tokens,
            found.usage.completion_tokens,
            found.usage.total_tokens,
        )


async def test_tools_there_and_back() -> None:
    """A call comes out with its arguments, and its result goes back behind it."""
    async with between() as (_, upstream, sdk):
        call = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Oslo"}}}
        upstream.script(told({"text": "I look."}, call, stop_reason="tool_use"), told({"text": "Rain."}))
        first = await sdk.chat.completions.create(**ask("token", tools=[WEATHER]))
        message = first.choices[0].message
        assert message.tool_calls is not None
        result: Json = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
        history: Json = [{"role": "user", "content": "Hi"}, message.model_dump(exclude_none=True), result]
        second = await sdk.chat.completions.create(model="token", messages=history, tools=[WEATHER])  # type: ignore[list-item]
        content = [block for turn in upstream.requests[1].json()["messages"] for block in turn["content"]]

        assert ("tool_calls", "Rain.") == (first.choices[0].finish_reason, second.choices[0].message.content)
        assert call in content
        assert {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "rain"}]}} in content


async def test_a_stream() -> None:
    """Binary frames become the events that the client reads to the end, usage included."""
    async with between() as (_, upstream, sdk):
        begin = start(1, toolUse={"toolUseId": "t", "name": "weather"})
        data = BEGIN + delta(0, text="Hel") + delta(0, text="lo!") + stop(0) + begin
        data += delta(1, toolUse={"input": '{"city":"Oslo"}'}) + stop(1) + end("tool_use")
        upstream.script(streamed(*(data[i : i + 50] for i in range(0, len(data), 50))))
        stream = await sdk.chat.completions.create(
            **ask("token", stream=True, tools=[WEATHER], stream_options={"include_usage": True})
        )
        chunks = [chunk async for chunk in stream]
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        received = upstream.requests[0]

        assert received.target.endswith("/converse-stream")
        assert "application/vnd.amazon.eventstream" == received.header("accept")
        assert "Hello!" == "".join(one.content or "" for one in deltas)
        arguments = [call.function.arguments for one in deltas for call in one.tool_calls or () if call.function]
        assert '{"city":"Oslo"}' == "".join(one or "" for one in arguments)
        assert ["tool_calls"] == [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
        assert chunks[-1].usage and 5 == chunks[-1].usage.total_tokens


async def test_googles_client() -> None:
    """Thinking with its signature, and the answer, in Gemini's words."""
    async with between() as (gateway, upstream, _):
        thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "EpYF"}}}
        upstream.script(told(thought, {"text": "Hello!"}))
        options = types.HttpOptions(base_url=gateway.url, timeout=10_000)
        async with genai.Client(api_key="none", http_options=options).aio as sdk:
            found = await sdk.models.generate_content(model="token", contents="Hi")

        assert "Hello!" == found.text
        assert ["hm"] == [part.text for part in found.parts or () if part.thought]


async def test_a_field_of_its_own() -> None:
    """Guardrails are asked for by callers of any dialect, where the row lets them."""
    async with between() as (gateway, upstream, sdk):
        guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
        upstream.script(told({"text": "No."}, stop_reason="guardrail_intervened"))
        found = await sdk.chat.completions.create(**ask("token"), extra_body={"guardrailConfig": guardrail})

        assert guardrail == upstream.requests[0].json()["guardrailConfig"]
        assert "content_filter" == found.choices[0].finish_reason
        assert [] == (await gateway.lines())[-1].get("losses", [])


# ── signatures ─────────────────────────────────────────────────────────────────────────────


def signature(received: Received, host: str) -> str:
    """What botocore would have signed of what came over the wire."""
    signed = str(received.header("authorization")).partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: str(received.header(name)) for name in signed if name != "host"}
    request = AWSRequest(method="POST", url=f"http://{host}{received.target}", headers=headers, data=received.body)
    request.context["timestamp"] = received.header("x-amz-date")
    oracle = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, SESSION), "bedrock", "eu-west-3")
    return str(oracle.signature(oracle.string_to_sign(request, oracle.canonical_request(request)), request))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_signed_call(stream: bool) -> None:
    """What arrives is what was signed: host, path, body and time; the key itself never goes out."""
    async with between() as (_, upstream, sdk):
        upstream.script(streamed(BEGIN, delta(0, text="a"), end()) if stream else told({"text": "a"}))
        found: Json = await sdk.chat.completions.create(**ask("signed", "Grüße", stream=stream))
        if stream:
            assert [chunk async for chunk in found]
        received = upstream.requests[0]
        credential = str(received.header("authorization"))

        assert credential.startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")
        assert "/eu-west-3/bedrock/aws4_request" in credential
        assert credential.endswith(f"Signature={signature(received, str(received.header('host')))}")
        assert SESSION == received.header("x-amz-security-token")
        assert SECRET_KEY not in str(received.headers) + received.body.decode()


async def test_a_signature_that_fails() -> None:
    """The service repeats what it wanted signed, token and all: the caller learns that our credential failed."""
    async with between() as (gateway, upstream, sdk):
        text = f"The signature does not match.\n\nThe Canonical String\nx-amz-security-token:{SESSION}"
        headers = [("x-amzn-ErrorType", "InvalidSignatureException:http://internal/")]
        upstream.script(status(403, {"message": text}, headers=headers))
        with pytest.raises(openai.InternalServerError) as refusal:
            await sdk.chat.completions.create(**ask("signed"))

        assert (502, "upstream_denied") == (refusal.value.status_code, refusal.value.code)
        assert SESSION not in str(refusal.value) + await gateway.log_text()


# ── failures ───────────────────────────────────────────────────────────────────────────────


def exception(kind: str) -> bytes:
    from providers.wire.eventstream import encode_frame

    return encode_frame({":message-type": "exception", ":exception-type": kind}, b'{"message":"slow down"}')


async def test_an_exception_before_the_first_word_keeps_its_status() -> None:
    """Nothing has gone out: the caller gets a status, not a broken stream."""
    async with between() as (_, upstream, sdk):
        upstream.script(streamed(BEGIN, exception("throttlingException")))
        with pytest.raises(openai.RateLimitError):
            await sdk.chat.completions.create(**ask("token", stream=True))


@pytest.mark.parametrize(
    "tail",
    [[exception("modelStreamErrorException")], [b"rubbish that is no frame"], [frame("metadata", {})], [HANG_UP]],
)
async def test_a_stream_that_breaks_never_ends_well(tail: Sequence[Json]) -> None:
    """After the first word a fault is an error event: no finish, no end mark."""
    async with between() as (_, upstream, sdk):
        upstream.script(streamed(BEGIN, delta(0, text="Hel"), *tail))
        stream = await sdk.chat.completions.create(**ask("token", stream=True))
        seen: list[Json] = []
        with pytest.raises(openai.APIError):
            async for chunk in stream:
                seen += [choice.finish_reason for choice in chunk.choices]

        assert [None] == list(dict.fromkeys(seen))


async def test_a_whole_answer_to_a_streams_question() -> None:
    """Understood, and given on as the stream that it would have been."""
    async with between() as (_, upstream, sdk):
        upstream.script(told({"text": "Hello!"}))
        stream = await sdk.chat.completions.create(**ask("token", stream=True))

        assert "Hello!" == "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_nobody_can_ask_in_it(tmp_path: Any) -> None:
    """A route that says so is a mistake in the file, and is told where it stands."""
    from router.config import load

    path = tmp_path / "routes.yaml"
    path.write_text(json.dumps({"routes": [{"path": "/x", "speaks": "bedrock.converse", "to": "models"}]}))

    assert ["the dialect 'bedrock.converse' is spoken to upstreams only"] == [
        problem.message for problem in load(path, {}).problems
    ]
