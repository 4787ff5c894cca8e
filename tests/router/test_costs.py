"""What calls cost, through the real server: metric, log line, header, and the choice by price."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router import validating
from router.explain import Question, explain
from tests.answers import chat_answer, chat_chunk, chat_stream, gemini_answer, gemini_stream
from tests.fakes import FakeUpstream, Reply, json_answer, sse, status
from tests.running import Answer, Running, running

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  chat: {base_url: "$up/v1", speaks: [openai.chat, openai.embeddings], auth: none}
  other: {base_url: "$up", speaks: [gemini], auth: none}
models:
  relayed: [{provider: chat, model: small}]
  translated: [{provider: other, model: small}]
  unpriced: [{provider: chat, model: unknown}]
  vectors: [{provider: chat, model: embed}]
  covered: [{provider: chat, model: small}, {provider: other, model: small}]
  cheapest:
    choose: cheapest
    to: [{provider: chat, model: unknown}, {provider: chat, model: small}, {provider: other, model: small}]
prices:
  chat/embed: {input: 0.02}
  chat/small: {input: 0.25, output: 2, request: 0.001}
  other/*: {input: 0.1, output: 0.4}
policies:
  default: {attempts: $attempts, check_schema: $mode, wait: {first: 1ms, most: 1ms}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models}
  - {path: "/named/{u:url}/{k:secret}/chat/completions", speaks: openai.chat, to: named, egress: {listed: [chat]}}
"""
ASK = {"x-isthmus-cost": "true"}
RELAYED = "0.00100825"  # 9 tokens at 0.25 and 3 at 2, in millionths, and the call
HELLO = [{"role": "user", "content": "Hello!"}]


@contextlib.asynccontextmanager
async def before(
    says: Reply, *first: Reply, mode: str = "off", attempts: int = 3
) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream:
        upstream.script(*first)
        upstream.always(says)
        async with running(TABLE, up=upstream.url, mode=f'"{mode}"', attempts=attempts) as gateway:
            yield gateway, upstream


async def chat(gateway: Running, model: str, headers: dict[str, str] = ASK, **more: Any) -> Answer:
    return await gateway.post("/v1/chat/completions", {"model": model, "messages": HELLO, **more}, headers=headers)


# ── whole answers ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "says", "usd"),
    [("relayed", chat_answer(), RELAYED), ("translated", gemini_answer(), "0.0000021")],
)
async def test_an_answer_costs_what_its_tokens_do(model: str, says: Any, usd: str) -> None:
    """The same in the header, to the last digit, in the log and in the metric."""
    async with before(json_answer(says)) as (gateway, _):
        answer = await chat(gateway, model)
        line = (await gateway.lines())[0]

        assert (200, usd) == (answer.status, answer.headers["x-isthmus-cost"])
        assert float(usd) == line["cost_usd"]
        assert float(usd) == gateway.metric("isthmus_cost_usd_total", model="small", key="none")


async def test_vectors_cost_what_was_read() -> None:
    """Nothing is written where vectors are asked for: a price of input is enough."""
    vectors = {
        "object": "list",
        "model": "embed",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    async with before(json_answer(vectors)) as (gateway, _):
        answer = await gateway.post("/v1/embeddings", {"model": "vectors", "input": "Hello!"}, headers=ASK)

        assert (200, "0.00000016") == (answer.status, answer.headers["x-isthmus-cost"])


@pytest.mark.parametrize("headers", [{}, {"x-isthmus-cost": "false"}])
async def test_only_who_asks_is_told(headers: dict[str, str]) -> None:
    """What an answer costs is nobody's business who did not ask; it is counted all the same."""
    async with before(json_answer(chat_answer())) as (gateway, _):
        answer = await chat(gateway, "relayed", headers)

        assert "x-isthmus-cost" not in answer.headers
        assert float(RELAYED) == gateway.metric("isthmus_cost_usd_total")


@pytest.mark.parametrize(
    ("model", "says"),
    [("unpriced", chat_answer()), ("relayed", chat_answer(usage=None)), ("translated", gemini_answer(usage=None))],
)
async def test_what_is_not_known_is_not_told(model: str, says: Any) -> None:
    """A target without a price, an answer without usage: no header, no number in the log, no series; never 0."""
    async with before(json_answer(says)) as (gateway, _):
        answer = await chat(gateway, model)
        line = (await gateway.lines())[0]

        assert 200 == answer.status and "x-isthmus-cost" not in answer.headers
        assert "cost_usd" not in line and "isthmus_cost_usd_total{" not in gateway.metrics_text()


async def test_a_callers_own_key_costs_us_nothing() -> None:
    """Whoever brings a key of the upstream's pays there: it is not counted here, nor told as zero."""
    async with before(json_answer(chat_answer())) as (gateway, upstream):
        path = f"/named/{upstream.url}/v1/sk-of-the-caller/chat/completions"
        answer = await gateway.post(path, {"model": "small", "messages": HELLO}, headers=ASK)

        assert 200 == answer.status and "x-isthmus-cost" not in answer.headers
        assert "isthmus_cost_usd_total{" not in gateway.metrics_text()


async def test_prices_of_calls_are_for_answers() -> None:
    """What an upstream refuses is not paid for; the target that answers in its place is."""
    async with before(json_answer(gemini_answer()), status(429)) as (gateway, _):
        answer = await chat(gateway, "covered")

        assert ("2", "0.0000021") == (answer.headers["x-isthmus-attempts"], answer.headers["x-isthmus-cost"])
        assert 0.0 == gateway.metric("isthmus_cost_usd_total", provider="chat")


async def test_failures_that_told_their_tokens_count() -> None:
    """A stream that broke after its usage was said has used it, and the call was answered."""
    broken = sse(chat_chunk("Hi"), chat_chunk(usage=(9, 3)))
    async with before(broken) as (gateway, _):
        await chat(gateway, "relayed", stream=True)
        line = (await gateway.lines())[0]

        assert "ok" != line["outcome"]
        assert float(RELAYED) == line["cost_usd"] == gateway.metric("isthmus_cost_usd_total", provider="chat")


async def test_a_refused_call_says_no_cost() -> None:
    """Nothing was answered, so nothing is known."""
    async with before(status(400)) as (gateway, _):
        answer = await chat(gateway, "relayed")
        line = (await gateway.lines())[0]

        assert "x-isthmus-cost" not in answer.headers and "cost_usd" not in line


@pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
@pytest.mark.parametrize("second", ['{"a": 1}', '{"a": "z"}'])
async def test_a_second_question_costs_too(second: str) -> None:
    """Where an answer broke its schema and the model was asked again, both were paid for, whichever is given."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wish = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    first = json_answer(chat_answer('{"a": "x"}'))
    async with before(json_answer(chat_answer(second)), first, mode="repair") as (gateway, upstream):
        answer = await chat(gateway, "relayed", response_format=wish)

        assert 2 == len(upstream.requests)
        assert "0.0020165" == answer.headers["x-isthmus-cost"]
        assert 0.0020165 == pytest.approx(gateway.metric("isthmus_cost_usd_total"))


# ── streams ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "says", "usd"),
    [
        ("relayed", sse(*chat_stream("Hi", "!", usage=(9, 3))), float(RELAYED)),
        ("translated", sse(*gemini_stream("Hi", "!")), 0.0000021),
    ],
)
async def test_streams_are_counted_at_their_end(model: str, says: Reply, usd: float) -> None:
    """Their heads go out before anybody knows: no header, but log and metric."""
    async with before(says) as (gateway, _):
        answer = await chat(gateway, model, stream=True)
        line = (await gateway.lines())[0]

        assert 200 == answer.status and "x-isthmus-cost" not in answer.headers
        assert usd == line["cost_usd"] == gateway.metric("isthmus_cost_usd_total", model="small")


# ── the choice by price ────────────────────────────────────────────────────────────────


async def test_the_cheapest_is_called() -> None:
    """By tokens and calls together; what has no price comes last, though it stands first in the file."""
    async with before(json_answer(gemini_answer())) as (gateway, _):
        answer = await chat(gateway, "cheapest")

        assert "other" == answer.headers["x-isthmus-provider"]


async def test_the_next_cheapest_stands_in() -> None:
    """In the order of their prices, the unknown at the very end."""
    async with before(json_answer(chat_answer()), status(429), status(429)) as (gateway, upstream):
        answer = await chat(gateway, "cheapest")
        asked = [request.json().get("model") for request in upstream.requests]

        assert 200 == answer.status and [None, "small", "unknown"] == asked


async def test_explain_tells_what_a_call_would_cost() -> None:
    """Of each target that has a price, and of the chosen one for which tokens and by whose word."""
    async with before(json_answer(gemini_answer())) as (gateway, upstream):
        body = {"model": "cheapest", "messages": HELLO, "max_tokens": 100}
        told = await explain(gateway.life.gateway, Question(path="/v1/chat/completions", body=body))
        tokens = {"input": 5, "output": 100}
        line = 1 + TABLE.splitlines().index("  other/*: {input: 0.1, output: 0.4}")

        assert [] == upstream.requests
        assert ["other", "chat", "chat"] == [row["provider"] for row in told["candidates"]]
        assert [0.0000405, 0.00120125, None] == [row.get("estimated_usd") for row in told["candidates"]]
        assert {
            "usd": 0.0000405,
            "tokens": tokens,
            "price": {"source": f"routes.yaml, line {line}", "as_of": None},
        } == told["estimated_cost"]


async def test_what_only_the_target_understands_is_weighed_by_its_length() -> None:
    """A choice by price needs no request that can be understood."""
    async with before(json_answer(chat_answer())) as (gateway, _):
        audio = {"type": "input_audio", "input_audio": {"data": "eA==", "format": "unheard-of"}}
        body = {"model": "cheapest", "messages": [{"role": "user", "content": [audio]}]}
        told = await explain(gateway.life.gateway, Question(path="/v1/chat/completions", body=body))

        assert told["candidates"]
