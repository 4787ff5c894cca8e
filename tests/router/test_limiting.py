"""Limits of callers' keys, by conversation: the running gateway in front of a scripted upstream."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from providers.canonical.chat import Usage
from providers.canonical.errors import (
    ConnectFailed,
    EgressDenied,
    MalformedRequest,
    StreamTruncated,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamTimeout,
)
from providers.dialect import Asked, WireRequest
from router.config import load
from router.explain import Question, explain
from router.gateway import Generation
from router.limiting import Weight, span, used, weigh
from router.policy.quota import Account
from router.record import OUTPACED, AttemptRecord, Outcome, Record
from tests.answers import chat_answer, chat_chunk, chat_stream
from tests.fakes import HANG, FakeUpstream, Sleep, json_answer, sse, status
from tests.running import Answer as Given
from tests.running import Running, running

PLAIN, SECRET = "sk-isthmus-plain", "canary-" * 6
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
access:
  keys:
    - {name: limited, hash: "$limited", $limits}
    - {name: plain, hash: "$plain"}
  jwt: {secret: env:JWT_SECRET, algorithms: [HS256], audience: isthmus}
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat, openai.embeddings], auth: none}
  gone: {base_url: "http://127.0.0.1:9/v1", speaks: [openai.chat], auth: none}
  lossy: {base_url: "$up/v1", speaks: [openai.chat], auth: none, ignores: [reasoning, max_output_tokens]}
models:
  lossy: [{provider: lossy, model: gpt-4o-mini}]
  m: [{provider: up, model: gpt-4o-mini}]
  e: [{provider: up, model: text-embedding-3-small}]
  gone: [{provider: gone, model: gpt-4o-mini}]
policies: {default: {attempts: 1, breaker: null, timeouts: {first_byte: 3s, idle: 1s}}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: /v1/messages/count_tokens, speaks: anthropic.messages, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: "/v1/audio/*", speaks: opaque, to: [{provider: up}]}
chats:
  store: "sqlite:$store"
  default: maya
  personas: {maya: {model: m, system: Hi.}}
"""
CHAT = "/v1/chat/completions"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "x" * 28}], "max_tokens": 90}  # 7 + 3 + 90 tokens
COUNTED = json_answer(chat_answer("Hello!", usage=(9, 3)))


def _hash(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@contextlib.asynccontextmanager
async def limited(limits: str) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    """A gateway whose key `sk-isthmus-limited` has these limits."""
    names = {"limits": limits, "limited": _hash("sk-isthmus-limited"), "plain": _hash(PLAIN), "store": "chats.db"}
    async with FakeUpstream() as upstream, running(TABLE, {"JWT_SECRET": SECRET}, up=upstream.url, **names) as gateway:
        upstream.always(COUNTED)
        yield gateway, upstream


async def ask(gateway: Running, path: str = CHAT, body: Any = None, *, key: str = "sk-isthmus-limited") -> Given:
    headers = {"authorization": f"Bearer {key}"}
    return await gateway.post(path, QUESTION if body is None else body, headers=headers)


def left(gateway: Running, unit: str) -> float:
    """What the key has left now."""
    account: Account = gateway.life.gateway.accounts.of("limited", _limits(gateway))
    return account.windows[unit].left(gateway.life.gateway.clock())  # type: ignore[index]


def _limits(gateway: Running) -> Any:
    access = gateway.life.gateway.generation.settings.access
    assert access is not None
    return access.keys[0].limits


# ── refusals ───────────────────────────────────────────────────────────────────────────


async def test_past_its_requests_a_key_is_refused() -> None:
    """429 with the time to wait, before anything is sent, and counted as rejected."""
    async with limited("rpm: 2") as (gateway, upstream):
        good = [await ask(gateway) for _ in range(2)]
        refused = await ask(gateway)
        line = (await gateway.lines())[-1]

        assert [200, 200, 429] == [answer.status for answer in [*good, refused]] and 2 == len(upstream.requests)
        assert "rate_limit_error" == refused.json["error"]["type"] and "rate_limited" == refused.json["error"]["code"]
        assert "this key's limit is reached: 2 requests a minute" == refused.json["error"]["message"]
        assert "caller" == refused.headers["x-isthmus-fault"] and 58 <= int(refused.headers["retry-after"]) <= 61
        assert ["1", "0", "0"] == [answer.headers["x-ratelimit-remaining-requests"] for answer in [*good, refused]]
        assert 1 == gateway.metric("isthmus_rejected_total", reason="rate_limited")
        assert 1 == gateway.metric("isthmus_key_requests_total", key="limited", outcome="rejected")
        assert ("rejected", "rate_limited", "requests") == (line["outcome"], line["error"], line["reason"])


CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]
MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, QUESTION | {"stream": True}, ["rate_limit_error", "rate_limited"]),
        ("/v1/responses", {"model": "m", "input": "Hi"}, ["rate_limit_error", "rate_limited"]),
        ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": MESSAGES}, ["rate_limit_error", "rate_limited"]),
        ("/v1/messages/count_tokens", {"model": "m", "messages": MESSAGES}, ["rate_limit_error", "rate_limited"]),
        ("/v1beta/models/m:generateContent", {"contents": CONTENTS}, ["RESOURCE_EXHAUSTED", "RetryInfo"]),
        ("/v1beta/models/m:streamGenerateContent", {"contents": CONTENTS}, ["RESOURCE_EXHAUSTED", "RetryInfo"]),
        ("/ollama/api/chat", {"model": "m", "messages": MESSAGES}, ["rate_limited"]),
        ("/v1/embeddings", {"model": "e", "input": "Hi"}, ["rate_limit_error", "rate_limited"]),
        ("/v1/audio/speech", {"input": "Hi"}, ["rate_limit_error", "rate_limited"]),
        ("/api/v1/chat", {"chat_history": MESSAGES}, ["Too Many Requests", "rate_limited"]),
        ("/api/v1/chat/generate", {"chat_history": MESSAGES}, ["Too Many Requests", "rate_limited"]),
        ("/api/v1/chat/generate/stream", {"chat_history": MESSAGES}, ["Too Many Requests", "rate_limited"]),
    ],
)
async def test_every_way_in_is_limited(path: str, body: Any, words: list[str]) -> None:
    """The chat service and what is passed on unread, too; each refuses in its own language."""
    async with limited("rpm: 1") as (gateway, upstream):
        await ask(gateway)
        refused = await ask(gateway, path, body)
        text = refused.body.decode()

        assert 429 == refused.status and 1 == len(upstream.requests)
        assert [word for word in words if word not in text] == []
        assert 58 <= int(refused.headers["retry-after"]) <= 61
        assert ("1", "0") == tuple(refused.headers[f"x-ratelimit-{word}-requests"] for word in ("limit", "remaining"))


async def test_past_its_tokens_a_key_is_refused() -> None:
    """By what a call may come to: its input, and the output that it allows for."""
    async with limited("tpm: 250") as (gateway, upstream):
        upstream.always(COUNTED.after(Sleep(0.2)))
        first, second = asyncio.create_task(ask(gateway)), asyncio.create_task(ask(gateway))
        await asyncio.sleep(0.1)
        refused = await ask(gateway)

        assert [200, 200, 429] == [(await first).status, (await second).status, refused.status]
        assert 2 == len(upstream.requests) and "250 tokens a minute" in refused.json["error"]["message"]
        assert ("50", "250") == tuple(refused.headers[f"x-ratelimit-{word}-tokens"] for word in ("remaining", "limit"))
        assert "x-ratelimit-limit-requests" not in refused.headers
        assert 250 - 2 * 12 == left(gateway, "tokens")


# ── what is told ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
async def test_good_answers_tell_what_is_left(stream: bool) -> None:
    """As OpenAI does; what the upstream says of its own limits is not this key's."""
    async with limited("rpm: 600, tpm: 1000") as (gateway, upstream):
        theirs = {"x-ratelimit-limit-tokens": "7", "x-ratelimit-theirs": "7"}
        upstream.always(
            sse(*chat_stream("Hi", usage=(9, 3)), headers=theirs)
            if stream
            else json_answer(chat_answer(), headers=theirs)
        )
        answer = await ask(gateway, body=QUESTION | {"stream": stream})
        told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
        resets = {told.pop("x-ratelimit-reset-requests"), told.pop("x-ratelimit-reset-tokens")}

        assert 200 == answer.status and resets <= {"1m0s", "1m1s"}
        assert {
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-remaining-requests": "599",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "900",
        } == told


async def test_who_has_no_limits_gets_the_upstreams_headers() -> None:
    """A key without limits, and a token: nothing of theirs is counted, nothing is refused."""
    async with limited("rpm: 1") as (gateway, upstream):
        upstream.always(json_answer(chat_answer(), headers={"x-ratelimit-limit-tokens": "7"}))
        claims = {"sub": "limited", "aud": "isthmus", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        answers = [await ask(gateway, key=key) for key in (PLAIN, PLAIN, token, token)]

        assert [200] * 4 == [answer.status for answer in answers]
        assert {"7"} == {answer.headers["x-ratelimit-limit-tokens"] for answer in answers}
        assert 200 == (await ask(gateway)).status


async def test_limits_change_nothing_else() -> None:
    """What is understood for the estimate changes no name of what a relayed call loses."""
    async with limited("tpm: 10000") as (gateway, _):
        body = QUESTION | {"model": "lossy", "reasoning": {"effort": "low"}, "max_output_tokens": 5}
        answers = [await ask(gateway, body=body, key=key) for key in ("sk-isthmus-limited", PLAIN)]

        assert {"reasoning=dropped, max_output_tokens=dropped"} == {one.headers["x-isthmus-loss"] for one in answers}


async def test_what_is_explained_does_not_count() -> None:
    """Nobody is called."""
    async with limited("rpm: 1") as (gateway, _):
        question = Question(path=CHAT, headers={"authorization": "Bearer sk-isthmus-limited"}, body=QUESTION)
        answers = [await explain(gateway.life.gateway, question) for _ in range(2)]

        assert ["limited", "limited"] == [answer["caller"] for answer in answers]
        assert not any("refused" in answer for answer in answers) and 1 == left(gateway, "requests")


# ── what counts ────────────────────────────────────────────────────────────────────────


UNCOUNTED = json_answer(chat_answer(usage=None))
BROKEN = sse(chat_chunk("a", role="assistant"), HANG)


@pytest.mark.parametrize(
    ("reply", "body", "code", "tokens"),
    [
        (COUNTED, QUESTION, 200, 12),
        (sse(*chat_stream("Hi", usage=(9, 3))), QUESTION | {"stream": True}, 200, 12),
        (json_answer(chat_answer(usage=(900, 800))), QUESTION, 200, 1700),
        (UNCOUNTED, QUESTION, 200, 100),
        (UNCOUNTED, {**QUESTION, "max_tokens": None}, 200, 10),
        (UNCOUNTED, {**QUESTION, "n": 3}, 200, 280),
        (status(500), QUESTION, 502, 0),
        (status(429), QUESTION, 429, 0),
        (status(400), QUESTION, 400, 0),
        (HANG, QUESTION | {"stream": True}, 504, 100),
        (COUNTED, {**QUESTION, "model": "gone"}, 502, 0),
        (BROKEN, QUESTION | {"stream": True}, 200, 100),
        (BROKEN, {**QUESTION, "max_tokens": None, "stream": True}, 200, 11),
        (COUNTED, {**QUESTION, "model": "unknown"}, 404, 0),
    ],
)
async def test_what_a_call_counts(reply: Any, body: Any, code: int, tokens: int) -> None:
    """What the upstream counted; nothing where it said no or was not reached; else the estimate."""
    async with limited("rpm: 9, tpm: 10000") as (gateway, upstream):
        upstream.always(reply)
        answer = await ask(gateway, body={name: value for name, value in body.items() if value is not None})

        assert (code, 10_000 - tokens) == (answer.status, left(gateway, "tokens"))
        assert (9 if code == 404 else 8) == left(gateway, "requests")


@pytest.mark.parametrize(("most", "tokens"), [({"max_tokens": 90}, 100), ({}, 15)])
async def test_a_caller_who_leaves_pays_the_estimate(most: dict[str, int], tokens: int) -> None:
    """Or what was seen, where that is more."""
    async with limited("tpm: 10000") as (gateway, upstream):
        more = [each for _ in range(4) for each in (Sleep(0.05), chat_chunk("b"))]
        upstream.always(sse(chat_chunk("a", role="assistant"), *more, HANG))
        body = {"model": "m", "messages": QUESTION["messages"], "stream": True, **most}
        headers = {"authorization": "Bearer sk-isthmus-limited"}
        async with gateway.session.post(gateway.url + CHAT, json=body, headers=headers) as response:
            heard = b""
            while heard.count(b'"b"') < 4:
                heard += await response.content.readany()
            assert 10_000 - (100 if most else 10) == left(gateway, "tokens")
        await upstream.requests[0].connection.left()
        await asyncio.sleep(0.05)

        assert 10_000 - tokens == left(gateway, "tokens")
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


async def test_translated_calls_count_the_same() -> None:
    """Whatever the caller speaks; the estimate of a count of tokens is no use of them."""
    async with limited("rpm: 9, tpm: 10000") as (gateway, _):
        asked = {"model": "m", "messages": MESSAGES}
        await ask(gateway, "/v1/messages", {**asked, "max_tokens": 5})
        counted = await ask(gateway, "/v1/messages/count_tokens", asked)

        assert 200 == counted.status
        assert (7, 10_000 - 12) == (left(gateway, "requests"), left(gateway, "tokens"))


async def test_embeddings_count_their_inputs() -> None:
    """They have no output in tokens."""
    async with limited("tpm: 10000") as (gateway, upstream):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        upstream.always(json_answer({"object": "list", "data": [vector], "model": "e", "usage": usage}))
        answer = await ask(gateway, "/v1/embeddings", {"model": "e", "input": "Hello"})

        assert (200, 9_992, "9998") == (
            *(answer.status, left(gateway, "tokens")),
            answer.headers["x-ratelimit-remaining-tokens"],
        )


async def test_what_is_passed_on_unread_counts_as_a_request() -> None:
    """Its tokens are nobody's to know: a limit of tokens alone does not hold it up."""
    async with limited("rpm: 9, tpm: 100") as (gateway, upstream):
        await ask(gateway)
        upstream.always(json_answer({"text": "Hi"}))
        answer = await ask(gateway, "/v1/audio/speech", {"input": "Hi"})

        assert (200, 7, 88) == (answer.status, left(gateway, "requests"), left(gateway, "tokens"))
        assert "7" == answer.headers["x-ratelimit-remaining-requests"]


async def test_the_chat_service_counts_its_generations() -> None:
    """Whole and streamed, by what the model used; not its lists and histories."""
    async with limited("rpm: 9, tpm: 10000") as (gateway, upstream):
        body = {"chat_history": MESSAGES}
        whole = await ask(gateway, "/api/v1/chat/generate", body)
        upstream.always(sse(*chat_stream("Hi", usage=(9, 3))))
        stream = await ask(gateway, "/api/v1/chat/generate/stream", body)
        headers = {"authorization": "Bearer sk-isthmus-limited"}
        personas = await gateway.get("/api/v1/personas", headers=headers)

        assert [201, 200, 200] == [answer.status for answer in (whole, stream, personas)]
        assert ["8", "7"] == [answer.headers["x-ratelimit-remaining-requests"] for answer in (whole, stream)]
        assert (7, 10_000 - 24) == (left(gateway, "requests"), left(gateway, "tokens"))
        assert "x-ratelimit-limit-requests" not in personas.headers


async def test_an_answer_that_is_given_again_uses_no_tokens() -> None:
    """No model is asked: it is one request more, and a limit that is reached comes first."""
    async with limited("rpm: 2, tpm: 10000") as (gateway, upstream):
        headers = {"authorization": "Bearer sk-isthmus-limited", "idempotency-key": "once"}
        body = {"chat_history": MESSAGES}
        answers = [await gateway.post("/api/v1/chat/generate", body, headers=headers) for _ in range(3)]

        assert [201, 201, 429] == [answer.status for answer in answers] and 1 == len(upstream.requests)
        assert answers[0].json["chatId"] == answers[1].json["chatId"]
        assert 10_000 - 12 == left(gateway, "tokens")


# ── many at once, and other tables ─────────────────────────────────────────────────────


async def test_fifty_at_once_do_not_pass_the_limit_of_requests() -> None:
    """As many as it says are let through, however they come."""
    async with limited("rpm: 20") as (gateway, upstream):
        upstream.always(COUNTED.after(Sleep(0.05)))
        answers = await asyncio.gather(*(ask(gateway) for _ in range(50)))

        assert 20 == len(upstream.requests)
        assert [200] * 20 + [429] * 30 == sorted(answer.status for answer in answers)


@pytest.mark.parametrize("stream", [False, True])
async def test_fifty_at_once_do_not_pass_the_limit_of_tokens(stream: bool) -> None:
    """What all of them together use is within it, when each keeps to what it asked for: here 100 tokens, all used."""
    async with limited("tpm: 1234") as (gateway, upstream):
        reply = sse(*chat_stream("Hi", usage=(10, 90))) if stream else json_answer(chat_answer(usage=(10, 90)))
        upstream.always(reply.after(Sleep(0.05)))
        answers = await asyncio.gather(*(ask(gateway, body=QUESTION | {"stream": stream}) for _ in range(50)))
        answers += [await ask(gateway) for _ in range(3)]

        assert 12 == len(upstream.requests) == [answer.status for answer in answers].count(200)
        assert 34 == left(gateway, "tokens")


async def test_fifty_at_once_pass_it_by_no_more_than_they_hid() -> None:
    """Calls that do not say how much they may answer: the limit, and what they used beyond their estimates."""
    async with limited("tpm: 100") as (gateway, upstream):
        upstream.always(json_answer(chat_answer(usage=(10, 50))).after(Sleep(0.2)))
        body = {"model": "m", "messages": QUESTION["messages"]}
        answers = await asyncio.gather(*(ask(gateway, body=body) for _ in range(50)))
        refused = await ask(gateway, body=body)

        assert 10 == len(upstream.requests) == [answer.status for answer in answers].count(200)
        assert 429 == refused.status and 600 == 100 + 10 * 50
        assert 5 * 60 < int(refused.headers["retry-after"]) <= 6 * 61 + 1


async def test_a_reload_changes_a_limit() -> None:
    """For the next call; what was used stays used, and calls under way are counted at their end."""
    async with limited("rpm: 2, tpm: 10000") as (gateway, upstream):
        upstream.always(COUNTED.after(Sleep(0.2)))
        running_call = asyncio.create_task(ask(gateway))
        await asyncio.sleep(0.1)
        _reload(gateway, "rpm: 2, tpm: 10000", "rpm: 3, tpm: 10000")
        answers = [await ask(gateway) for _ in range(3)]
        await running_call
        _reload(gateway, "rpm: 3, tpm: 10000", "nice: false")

        assert [200, 200, 429] == [answer.status for answer in answers]
        told = answers[0].headers
        assert ("3", "1") == (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"])
        assert "x-ratelimit-limit-requests" not in (await ask(gateway)).headers
        _reload(gateway, "nice: false", "rpm: 4, tpm: 10000")
        assert 10_000 - 3 * 12 == left(gateway, "tokens")


def _reload(gateway: Running, before: str, after: str) -> None:
    path: Path = gateway.life.path
    path.write_text(path.read_text().replace(before, after))
    loaded = load(path, {"JWT_SECRET": SECRET})
    assert loaded.settings is not None
    gateway.life._take(Generation(gateway.life.gateway.generation.number + 1, loaded.settings))


# ── the parts ──────────────────────────────────────────────────────────────────────────


def _record(outcome: Outcome = "ok", usage: Usage | None = None, **attempt: Any) -> Record:
    made = AttemptRecord(provider="p", model="m", operation="chat", started=0.0, **attempt)
    return Record(id="1", method="POST", path="/", started=0.0, outcome=outcome, usage=usage, attempts=[made])


@pytest.mark.parametrize(
    ("record", "tokens"),
    [
        (_record(usage=Usage(input_tokens=4, output_tokens=5, cache_read_tokens=3)), 9),
        (_record(usage=Usage(input_tokens=4)), 4),
        (_record(usage=Usage(total_tokens=4)), 4),
        (_record(usage=Usage(input_tokens=-4, output_tokens=5)), 5),
        (_record(usage=Usage(output_tokens=5)), 15),
        (_record(usage=Usage(output_tokens=5, total_tokens=90)), 90),
        (_record(usage=Usage()), 20),
        (_record(), 20),
        (_record("upstream_error", error=UpstreamFailed.kind), 0),
        (_record("upstream_error", error=UpstreamBusy.kind, status=200), 0),
        (_record("upstream_error", error=UpstreamFailed.kind, first_chunk=1.0), 20),
        (_record("upstream_error", error=ConnectFailed.kind), 0),
        (_record("rejected", error=EgressDenied.kind), 0),
        (_record("timeout", error=UpstreamTimeout.kind), 20),
        (_record("upstream_error", error=StreamTruncated.kind, first_chunk=1.0, chunks=99), 110),
        (_record("client_left", Usage(input_tokens=400, output_tokens=1), error="client_left", first_chunk=1.0), 401),
        (_record("client_left", Usage(input_tokens=4, output_tokens=1)), 5),
        (Record(id="1", method="POST", path="/", started=0.0, outcome="rejected"), 0),
    ],
)
def test_how_many_tokens_count(record: Record, tokens: int) -> None:
    """Of an input of 10 with an output of 10 at most."""
    assert tokens == used(record, Weight(10, 10), 20)


@pytest.mark.parametrize(("stream", "tokens"), [(True, 9 + 10), (False, 9 + 20)])
def test_an_attempt_that_was_cut_off_counts_by_estimate(stream: bool, tokens: int) -> None:
    """Besides the answer that came first: its input, and the output where it may have had all of it."""
    record = _record(usage=Usage(input_tokens=4, output_tokens=5))
    record.stream = stream
    record.attempts.insert(0, AttemptRecord(provider="p", model="m", operation="chat", started=0.0, error=OUTPACED))

    assert tokens == used(record, Weight(10, 10), 20)


def test_what_only_the_upstream_understands_is_weighed_by_its_length() -> None:
    """Four bytes a token."""

    def understand(asked: Asked) -> Any:
        raise MalformedRequest("what is this?")

    wire = WireRequest(path="/", body=b"x" * 41)
    asked = Asked(wire=wire, params={}, fields={}, top={}, model="m", task="chat")

    assert Weight(11, 0) == weigh(asked, understand)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.2, "1s"), (60, "1m0s"), (359.5, "6m0s"), (3600, "1h0m0s"), (3723, "1h2m3s")]
)
def test_how_a_time_is_told(seconds: float, text: str) -> None:
    """As OpenAI writes it, in whole seconds."""
    assert text == span(seconds)
