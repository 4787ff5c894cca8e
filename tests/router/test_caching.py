"""Routes that keep answers, by conversation: the running gateway in front of a scripted upstream."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from multidict import CIMultiDict

from router.caching import Wish, wish
from router.config import load
from router.exchange import Exchange
from router.explain import Question, explain
from router.state.flights import Flight
from tests.answers import (
    chat_answer,
    chat_chunk,
    chat_stream,
    gemini_answer,
    ollama_answer,
    openai_error,
    responses_answer,
)
from tests.fakes import DONE, HANG_UP, FakeUpstream, Sleep, Until, json_answer, sse, status
from tests.lanes import ANSWERING, KEYS, LANES, Lane, data_lines
from tests.lanes import TABLE as LANES_TABLE
from tests.running import Answer, Running, running

ONE, OTHER = "sk-isthmus-one", "sk-isthmus-other"
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s, limits: {write_stall: 1s}}
access:
  keys:
    - {name: one, hash: "$one", $limits}
    - {name: other, hash: "$other"}
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat, openai.embeddings], auth: none, credits: {gpt-4o-mini: 2}}
  twin: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  narrow: {base_url: "$up/v1", speaks: [openai.chat], auth: none, concurrency: 1, queue: 9}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: none}
  responses-up: {base_url: "$up/v1", speaks: [openai.responses], auth: none}
  ollama-up: {base_url: "$up", speaks: [ollama.chat], auth: none}
models:
  m: [{provider: up, model: gpt-4o-mini}]
  n: [{provider: up, model: gpt-4o-mini}]
  narrow: [{provider: narrow, model: gpt-4o-mini}]
  e: [{provider: up, model: text-embedding-3-small}]
  g: [{provider: gemini-up, model: gemini-3-pro}]
  r: [{provider: responses-up, model: gpt-5}]
  o: [{provider: ollama-up, model: qwen3}]
  w:
    - {provider: up, model: gpt-4o-mini, when: {key: one, header: {x-tier: {equals: gold}}}}
    - {provider: twin, model: gpt-4o}
  h: {policy: hedged, to: [{provider: up, model: gpt-4o-mini}, {provider: twin, model: gpt-4o-mini}]}
prices: {up/gpt-4o-mini: {input: 1, output: 2}}
policies:
  hedged: {attempts: 2, hedge: {after: 100ms}}
  default: {attempts: 1, breaker: null, timeouts: {first_byte: 3s, idle: 2s, total: 10s}}
cache: {most: $most}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models, cache: {$cache}}
  - {path: /shared/v1/chat/completions, speaks: openai.chat, to: models, cache: {scope: all}}
  - {path: /plain/v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /checked/v1/chat/completions, speaks: openai.chat, to: models, cache: {}, check_schema: flag}
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models, cache: {}}
  - {path: /v1/messages, speaks: anthropic.messages, to: models, cache: {}}
  - {path: /shared/v1/messages, speaks: anthropic.messages, to: models, cache: {scope: all}}
  - {path: /v1/messages/count_tokens, speaks: anthropic.messages, to: models, cache: {}}
  - {path: /v1/responses, speaks: openai.responses, to: models, cache: {}}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models, cache: {}}
  - {path: /api/chat, speaks: ollama.chat, to: models, cache: {}}
  - path: "/named/{url:url}/chat/completions"
    speaks: openai.chat
    to: named
    egress: {listed: [up, twin]}
    cache: {scope: all}
"""
CHAT = "/v1/chat/completions"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}
STREAM = {**QUESTION, "stream": True}


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@contextlib.asynccontextmanager
async def caching(
    *, cache: str = "", limits: str = "models: ['*']", most: str = "1MiB"
) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    """A gateway whose routes keep answers. Every call of the upstream is answered with another text."""
    hashes = {"one": digest(ONE), "other": digest(OTHER)}
    async with (
        FakeUpstream() as upstream,
        running(TABLE, up=upstream.url, cache=cache, limits=limits, most=most, **hashes) as gateway,
    ):
        upstream.always(lambda request: _said(request.json(), len(upstream.requests)))
        yield gateway, upstream


def _said(body: Any, number: int) -> Any:
    if "input" in body:
        return json_answer(VECTORS)
    if "contents" in body:
        return json_answer(gemini_answer(f"answer {number}"))
    if body.get("stream"):
        return sse(*chat_stream("answer ", str(number), usage=(9, 3)))
    return json_answer(chat_answer(f"answer {number}", usage=(9, 3)))


VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


async def ask(
    gateway: Running, body: Any = None, path: str = CHAT, *, key: str = ONE, headers: dict[str, str] | None = None
) -> Answer:
    own = {"authorization": f"Bearer {key}", **(headers or {})}
    return await gateway.post(path, QUESTION if body is None else body, headers=own)


def said(answer: Answer) -> str:
    assert 200 == answer.status, answer.body
    return str(answer.headers["x-isthmus-cache"])


def clock(gateway: Running, seconds: float) -> None:
    """The gateway's own clock goes on by so much."""
    before = gateway.life.gateway.clock
    gateway.life.gateway.clock = lambda: before() + seconds


# ── hits ───────────────────────────────────────────────────────────────────────────────


async def test_the_same_question_is_asked_once() -> None:
    """The second answer is the first one, byte for byte, with its age, an id of its own request, and no attempt."""
    async with caching() as (gateway, upstream):
        first = await ask(gateway)
        clock(gateway, 42)
        second = await ask(gateway, headers={"x-request-id": "mine"})
        third = await ask(gateway, {**QUESTION, "messages": [{"role": "user", "content": "Bye!"}]})

        assert ["miss", "hit", "miss"] == [said(answer) for answer in (first, second, third)]
        assert first.body == second.body != third.body and 2 == len(upstream.requests)
        assert ("1", None) == (first.headers["x-isthmus-attempts"], first.headers.get("age"))
        assert ("0", "42", "mine") == tuple(second.headers[n] for n in ("x-isthmus-attempts", "age", "x-request-id"))
        same = ("content-type", "x-isthmus-provider", "x-isthmus-model", "x-isthmus-lane", "x-isthmus-route")
        assert [first.headers[name] for name in same] == [second.headers[name] for name in same]


async def test_after_its_time_the_question_is_asked_again() -> None:
    """`ttl`, counted from the end of the answer."""
    async with caching(cache="ttl: 1m") as (gateway, upstream):
        await ask(gateway)
        clock(gateway, 59)
        before = await ask(gateway)
        clock(gateway, 2)
        after = await ask(gateway)

        assert ["hit", "miss"] == [said(before), said(after)] and 2 == len(upstream.requests)


async def test_what_is_over_its_time_goes_while_nobody_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """From memory, and from the figure of it."""
    monkeypatch.setattr("router.server.SWEEP", 0.01)
    async with caching() as (gateway, _):
        await ask(gateway)
        before = gateway.metric("isthmus_cache_bytes")
        clock(gateway, 601)
        async with asyncio.timeout(2):
            while gateway.metric("isthmus_cache_bytes"):
                await asyncio.sleep(0.01)

        assert before > 0 and 0 == gateway.life.gateway.generation.answers.size


@pytest.mark.parametrize("lane", [*LANES, *ANSWERING], ids=lambda lane: lane.name)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_language_gets_the_same_again(lane: Lane, stream: bool) -> None:
    """Whole or as the same stream, relayed or translated, usage as it was; what is asked as a stream is another."""
    table = LANES_TABLE.replace("to: models}", "to: models, cache: {}}")
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=1) as gateway:
        upstream.script(lane.stream("Hel", "lo") if stream else lane.whole("Hello"))
        answers = [
            await gateway.post(lane.path(stream=stream), lane.body(stream=stream, **more))
            for more in ({}, {})
            for _ in range(1)
        ]
        upstream.script(lane.whole("whole") if stream else lane.stream("stre", "am"))
        other = await gateway.post(lane.path(stream=not stream), lane.body(stream=not stream))

        assert ["miss", "hit", "miss"] == [said(answer) for answer in [*answers, other]]
        assert answers[0].body == answers[1].body and 2 == len(upstream.requests)
        assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
        if stream:
            heard = lane.hear(answers[1].body)
            assert "Hello" == heard.text and heard.complete
        else:
            assert "Hello" == lane.text_of(answers[1].json)


async def test_a_stream_that_is_given_again_reads_well_in_its_own_client() -> None:
    """OpenAI's and Anthropic's SDKs read it to its end, event by event, twice the same."""
    async with caching() as (gateway, upstream):
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=ONE, max_retries=0) as client:
            chats = [
                [
                    chunk.model_dump()
                    async for chunk in await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
                    )
                ]
                for _ in range(2)
            ]
        texts = []
        async with anthropic.AsyncAnthropic(base_url=gateway.url, auth_token=ONE, max_retries=0) as other:
            for _ in range(2):
                async with other.messages.stream(
                    model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
                ) as messages:
                    texts.append((await messages.get_final_message()).model_dump())

        assert chats[0] == chats[1] and "stop" == chats[1][-1]["choices"][0]["finish_reason"]
        assert (
            texts[0] == texts[1]
            and "answer 2" == texts[1]["content"][0]["text"]
            and "end_turn" == texts[1]["stop_reason"]
        )
        assert 2 == len(upstream.requests)


async def test_vectors_and_counts_are_kept_too() -> None:
    """Whatever a dialect is asked for on a route with `cache`."""
    async with caching() as (gateway, upstream):
        vectors = [await ask(gateway, {"model": "e", "input": "Hi"}, "/v1/embeddings") for _ in range(2)]
        question = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        counts = [await ask(gateway, question, "/v1/messages/count_tokens") for _ in range(2)]

        assert ["miss", "hit"] * 2 == [said(answer) for answer in [*vectors, *counts]]
        assert vectors[0].body == vectors[1].body and counts[0].body == counts[1].body
        assert "input_tokens=approximated" == counts[1].headers["x-isthmus-loss"] and 1 == len(upstream.requests)


# ── whose ──────────────────────────────────────────────────────────────────────────────


async def test_keys_do_not_share() -> None:
    """Unless the file says `scope: all`."""
    async with caching() as (gateway, upstream):
        own = [await ask(gateway, key=key) for key in (ONE, OTHER, ONE, OTHER)]
        shared = [await ask(gateway, path=f"/shared{CHAT}", key=key) for key in (ONE, OTHER)]

        assert ["miss", "miss", "hit", "hit"] == [said(answer) for answer in own]
        assert own[0].body == own[2].body != own[1].body == own[3].body
        assert ["miss", "hit"] == [said(answer) for answer in shared] and shared[0].body == shared[1].body
        assert 3 == len(upstream.requests)


async def test_who_brings_a_key_for_the_upstream_is_given_nothing_that_is_kept() -> None:
    """Nor is its answer kept, whatever the scope; with the configured key each upstream has its own answers."""
    async with caching() as (gateway, upstream):
        path = f"/named/{upstream.url}/v1/chat/completions"
        mine = [await ask(gateway, path=path, headers={"x-upstream-api-key": "sk-mine"}) for _ in range(2)]
        ours = [await ask(gateway, path=f"/named/{name}/chat/completions") for name in ("up", "twin", "up")]

        assert ["bypass"] * 2 == [said(answer) for answer in mine]
        assert ["miss", "miss", "hit"] == [said(answer) for answer in ours]
        assert 4 == len(upstream.requests)


async def test_calls_that_may_go_elsewhere_are_other_questions() -> None:
    """Where it depends on key or headers which targets there are (`when`), also for those who share."""
    async with caching() as (gateway, upstream):
        body, path = {**QUESTION, "model": "w"}, f"/shared{CHAT}"
        tiers = [("gold", ONE), ("gold", ONE), ("tin", ONE), ("gold", OTHER), ("lead", OTHER)]
        answers = [await ask(gateway, body, path, key=key, headers={"x-tier": tier}) for tier, key in tiers]

        assert ["miss", "hit", "miss", "hit", "hit"] == [said(answer) for answer in answers]
        assert ["up"] * 2 + ["twin"] * 3 == [answer.headers["x-isthmus-provider"] for answer in answers]
        assert 2 == len(upstream.requests)


HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "other",
    [
        {"body": {**QUESTION, "model": "n"}},
        {"body": {**QUESTION, "temperature": 0}},
        {"body": {"messages": QUESTION["messages"], "model": "m"}},  # the order of keys is a part of it
        {"body": b'{"model": "m", "messages": [{"role":"user","content":"Hello!"}]}'},
        {"path": f"/shared{CHAT}"},
        {"path": f"{CHAT}?x=1"},
        {"headers": {"openai-beta": "b"}},
        {"headers": {"x-isthmus-on-loss": "allow"}},
    ],
)
async def test_whatever_may_change_an_answer_makes_another_question(other: dict[str, Any]) -> None:
    """Route, path, query, body byte for byte, the headers that go on, and what is done about losses."""
    async with caching() as (gateway, upstream):
        first = await ask(gateway)
        second = await ask(gateway, **other)
        third = await ask(gateway, **other)

        assert ["miss", "miss", "hit"] == [said(answer) for answer in (first, second, third)]
        assert 2 == len(upstream.requests)


async def test_all_values_of_a_header_count() -> None:
    """Of two that hold `anthropic-beta` the second one, too."""
    async with caching() as (gateway, _):
        body = {"model": "m", "max_tokens": 9, "messages": HI}
        heads = [[("anthropic-beta", "a"), ("anthropic-beta", last)] for last in ("b", "c", "b")]
        answers = []
        for head in heads:
            headers = CIMultiDict([*head, ("authorization", f"Bearer {ONE}"), ("content-type", "application/json")])
            async with gateway.session.post(f"{gateway.url}/v1/messages", json=body, headers=headers) as response:
                answers.append(response.headers["x-isthmus-cache"])

        assert ["miss", "miss", "hit"] == answers


@pytest.mark.parametrize(
    "same",
    [
        {"x-request-id": "another"},
        {"idempotency-key": "another"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"user-agent": "another"},
        {"x-isthmus-timeout": "9s"},
        {"cache-control": "max-age=60"},
        {"cache-control": "only-words, that=nobody, max-age=x"},
    ],
)
async def test_what_cannot_change_an_answer_makes_no_other_question(same: dict[str, str]) -> None:
    """Ids, traces, clocks of the request."""
    async with caching() as (gateway, _):
        await ask(gateway)

        assert "hit" == said(await ask(gateway, headers=same))


async def test_what_an_upstream_remembers_is_never_kept() -> None:
    """The same question is another one in a conversation that the upstream holds."""
    async with caching() as (gateway, upstream):
        body = {"model": "m", "messages": HI, "max_tokens": 9, "container": None}
        plain = [await ask(gateway, body, "/v1/messages") for _ in range(2)]
        held = [await ask(gateway, {**QUESTION, "conversation": "conv_1"}) for _ in range(2)]

        assert ["miss", "hit", "bypass", "bypass"] == [said(answer) for answer in [*plain, *held]]
        assert 3 == len(upstream.requests)


@pytest.mark.parametrize(
    ("path", "body", "answer", "result"),
    [
        (
            "/v1/responses",
            {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
            responses_answer(),
            "bypass",
        ),
        (
            "/v1/responses",
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
            responses_answer(),
            "hit",
        ),
        ("/v1/responses", {"previous_response_id": "resp_1"}, responses_answer(), "hit"),
        ("/api/chat", {"messages": [], "keep_alive": 0, "stream": False}, ollama_answer(""), "bypass"),
        ("/api/chat", {"keep_alive": "1h"}, ollama_answer(""), "bypass"),
        ("/api/chat", {"messages": HI, "keep_alive": 0, "stream": False}, ollama_answer(), "hit"),
    ],
)
async def test_what_changes_something_is_done_each_time(path: str, body: Any, answer: Any, result: str) -> None:
    """A container that the caller names has files of its own; without messages a model is loaded or let go of."""
    async with caching() as (gateway, upstream):
        upstream.always(lambda request: json_answer(answer))
        more = {"model": "r", "input": "Hi"} if path == "/v1/responses" else {"model": "o"}
        answers = [await ask(gateway, {**more, **body}, path) for _ in range(2)]

        assert result == said(answers[1]) and (2 if result == "bypass" else 1) == len(upstream.requests)


# ── wishes of requests ─────────────────────────────────────────────────────────────────


async def test_a_caller_may_want_a_fresh_answer() -> None:
    """`no-cache`: asked again, and kept; `no-store`: asked again, and neither looked up nor kept; `max-age`."""
    async with caching() as (gateway, _):
        answers = [
            await ask(gateway, headers=None if wanted is None else {"cache-control": wanted})
            for wanted in (None, "no-cache", None, "No-Store", None)
        ]
        clock(gateway, 30)
        old = [await ask(gateway, headers={"cache-control": f"max-age={seconds}"}) for seconds in (31, 29, 0)]

        assert ["miss", "miss", "hit", "bypass", "hit"] == [said(answer) for answer in answers]
        texts = [answer.json["choices"][0]["message"]["content"] for answer in [*answers, *old]]
        assert [f"answer {n}" for n in (1, 2, 2, 3, 2, 2, 4, 5)] == texts
        assert ["hit", "miss", "miss"] == [said(answer) for answer in old]


def test_wishes_are_read_as_the_standard_has_them() -> None:
    """In any case, in several headers, with others beside them."""
    headers = CIMultiDict([("cache-control", "no-transform, MAX-AGE=5"), ("Cache-Control", " no-cache ")])

    assert Wish(looks=False, newest=5.0) == wish(headers) and Wish() == wish(CIMultiDict())
    assert Wish() == wish(CIMultiDict([("cache-control", "max-age=-1, max-age=²")]))


# ── what is not kept ───────────────────────────────────────────────────────────────────


async def test_errors_are_not_kept() -> None:
    """Whoever asks next gets the answer."""
    async with caching() as (gateway, upstream):
        upstream.script(status(500), status(400), sse(openai_error("it broke")), json_answer({"choices": []}))
        bad = [await ask(gateway, body) for body in (QUESTION, QUESTION, STREAM, QUESTION)]
        good = [await ask(gateway, body) for body in (QUESTION, STREAM)]

        assert all(answer.status >= 400 and "miss" == answer.headers["x-isthmus-cache"] for answer in bad)
        assert ["miss", "miss"] == [said(answer) for answer in good] and 6 == len(upstream.requests)


@pytest.mark.parametrize(
    "end",
    [HANG_UP, Sleep(3.0), b"data: {\n\n", b'data: {"error": {"message": "it broke"}}\n\n'],
    ids=["truncated", "stalled", "garbage", "error"],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"], ids=["relay", "translate"])
async def test_a_stream_that_breaks_is_not_kept(end: Any, path: str) -> None:
    """It ended in an error for whoever was there, and is asked anew for the next."""
    async with caching() as (gateway, upstream):
        upstream.script(sse(chat_chunk("half"), end))
        body = {**STREAM, "max_tokens": 9}
        broken, next_ = await ask(gateway, body, path), await ask(gateway, body, path)

        assert ["miss", "miss"] == [said(broken), said(next_)] and 2 == len(upstream.requests)
        assert b"half" in broken.body and b"error" in broken.body and b"error" not in next_.body


async def test_an_answer_that_says_itself_that_it_failed_is_not_kept() -> None:
    """Complete, with status 200, and no use to anybody else; whole and as a stream."""
    async with caching() as (gateway, upstream):
        whole = json_answer(chat_answer("half", finish="error"))
        stream = sse(chat_chunk("half"), chat_chunk(finish="error"), DONE)
        upstream.script(whole, whole, stream, stream)
        answers = [await ask(gateway, body) for body in (QUESTION, QUESTION, STREAM, STREAM)]

        assert ["miss"] * 4 == [said(answer) for answer in answers] and all(
            b"half" in answer.body for answer in answers
        )


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "gemini"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_failure_that_the_callers_dialect_has_no_word_for_is_not_kept(path: str, stream: bool) -> None:
    """Gemini says that the model failed, after some words; most callers are told that it stopped, and of the loss."""
    task = "streamGenerateContent?alt=sse" if stream else "generateContent"
    path = path if path != "gemini" else f"/v1beta/models/g:{task}"
    called = [{"functionCall": {"name": "f", "args": {}}}] if stream else []
    answer = gemini_answer("half", parts=called, finish="MALFORMED_FUNCTION_CALL")
    body = {"model": "g", "max_tokens": 9, "messages": QUESTION["messages"], "input": "Hi", "stream": stream}
    if path.startswith("/v1beta"):
        body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    async with caching() as (gateway, upstream):
        once = sse(answer) if stream else json_answer(answer)
        upstream.script(once, once)
        first, second = await ask(gateway, body, path), await ask(gateway, body, path)

        assert ["miss", "miss"] == [said(first), said(second)] and 2 == len(upstream.requests)
        assert b"half" in first.body and stream == (first.headers["content-type"].startswith("text/event-stream"))


async def test_an_answer_that_breaks_its_schema_is_not_kept() -> None:
    """Whoever asks again hopes for a better one."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with caching() as (gateway, upstream):
        upstream.script(json_answer(chat_answer("no json")), json_answer(chat_answer('{"a": 1}')))
        answers = [await ask(gateway, {**QUESTION, "response_format": form}, f"/checked{CHAT}") for _ in range(3)]

        assert ["miss", "miss", "hit"] == [said(answer) for answer in answers]
        assert "x-isthmus-loss" in answers[0].headers and "x-isthmus-loss" not in answers[2].headers


async def test_a_route_that_does_not_say_so_keeps_nothing() -> None:
    """And says nothing of it."""
    async with caching() as (gateway, upstream):
        answers = [await ask(gateway, path=f"/plain{CHAT}") for _ in range(2)]

        assert all("x-isthmus-cache" not in answer.headers for answer in answers) and 2 == len(upstream.requests)
        assert "/plain" not in [line for line in gateway.metrics_text().splitlines() if "isthmus_cache" in line]
        assert "cache" not in (await gateway.lines())[-1]


async def test_what_is_too_large_is_given_and_not_kept() -> None:
    """An eighth of the budget at most, for one; whole and as a stream. Memory stays within the budget."""
    async with caching(most="64KiB") as (gateway, upstream):
        long = "x" * 9000
        upstream.always(
            lambda request: (
                sse(*chat_stream(*[long[:500]] * 18))
                if request.json().get("stream")
                else json_answer(chat_answer(long))
            )
        )
        answers = [await ask(gateway, body) for body in (QUESTION, QUESTION, STREAM, STREAM)]
        together = await asyncio.gather(*[ask(gateway, STREAM) for _ in range(5)])

        assert ["miss"] * 4 == [said(answer) for answer in answers]
        assert all(long[:500].encode() in answer.body for answer in answers)
        assert 1 == len({answer.body for answer in [*answers[2:], *together]})
        assert 0 == gateway.metric("isthmus_cache_bytes") == gateway.life.gateway.generation.answers.size


async def test_the_budget_holds_for_many_answers() -> None:
    """The least recently used go."""
    async with caching(most="16KiB") as (gateway, _):
        for number in range(30):
            await ask(gateway, {**QUESTION, "seed": number})
        last, first = await ask(gateway, {**QUESTION, "seed": 29}), await ask(gateway, {**QUESTION, "seed": 0})

        assert ["hit", "miss"] == [said(last), said(first)]
        assert 8 << 10 < gateway.metric("isthmus_cache_bytes") <= 16 << 10


# ── at the same time ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [QUESTION, STREAM], ids=["whole", "stream"])
async def test_fifty_at_once_make_one_call(body: Any) -> None:
    """All get the same, each with the id of its own request; one of them is the miss."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        streamed = sse(chat_chunk("begun"), Until(go), *chat_stream("all", usage=(9, 3)))
        upstream.script(streamed if "stream" in body else json_answer(chat_answer("all")).after(Until(go)))
        calls = [asyncio.create_task(ask(gateway, body)) for _ in range(50)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < 50:
            await asyncio.sleep(0.01)
        go.set()
        answers = await asyncio.gather(*calls)

        assert 1 == len(upstream.requests) and 1 == len({answer.body for answer in answers})
        assert ["hit"] * 49 + ["miss"] == sorted(map(said, answers))
        assert 50 == len({answer.headers["x-request-id"] for answer in answers})
        assert ["0"] * 49 == [answer.headers["age"] for answer in answers if "hit" == said(answer)]


async def first_words(response: Any) -> bytes:
    return bytes(await response.content.readuntil(b"\n\n"))


async def opened(gateway: Running, body: Any = STREAM) -> Any:
    """A stream whose head has come."""
    headers = {"authorization": f"Bearer {ONE}", "content-type": "application/json"}
    return await gateway.session.post(gateway.url + CHAT, data=msgspec.json.encode(body), headers=headers)


async def test_a_stream_under_way_is_heard_live() -> None:
    """Who comes later gets at once what has been said, and the rest as it comes; then all is kept."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(sse(chat_chunk("one"), Until(go), *chat_stream("two")))
        first = await opened(gateway)
        late = await opened(gateway)
        heard = await first_words(first), await first_words(late)
        go.set()
        rest = await first.read(), await late.read()
        again = await ask(gateway, STREAM)

        assert heard[0] == heard[1] and b"one" in heard[0] and rest[0] == rest[1] and b"[DONE]" in rest[0]
        assert heard[0] + rest[0] == again.body and 1 == len(upstream.requests)


async def left_to_others(gateway: Running, upstream: FakeUpstream, body: Any, go: asyncio.Event) -> Answer:
    """The answer of a call whose first caller leaves while another waits for it; `go`: then the upstream goes on."""
    first = asyncio.create_task(ask(gateway, body))
    await upstream.asked(1)
    late = asyncio.create_task(ask(gateway, body))
    while gateway.metric("isthmus_inflight") < 2:
        await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.sleep(0.1)
    go.set()
    answer = await late
    while gateway.metric("isthmus_inflight"):
        await asyncio.sleep(0.01)
    return answer


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "stream"])
async def test_who_began_may_leave(whole: bool) -> None:
    """The call goes on for those who wait, who get all of it; what it used is told of the one who began it."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        body = QUESTION if whole else STREAM
        upstream.script(
            json_answer(chat_answer("all", usage=(9, 3))).after(Until(go))
            if whole
            else sse(chat_chunk("one"), Until(go), *chat_stream("two", usage=(9, 3)))
        )
        answer = await left_to_others(gateway, upstream, body, go)
        again = await ask(gateway, body)
        left = next(line for line in await gateway.lines() if line["cache"] == "miss")

        assert "hit" == said(answer) == said(again) and answer.body == again.body and 1 == len(upstream.requests)
        assert b'"all"' in answer.body if whole else b"two" in answer.body and b"[DONE]" in answer.body
        assert ("client_left", 9, 3) == (left["outcome"], left["usage"]["input"], left["usage"]["output"])


async def test_when_all_have_left_nobody_is_asked_any_more() -> None:
    """The upstream's connection is closed, and nothing is kept."""
    async with caching() as (gateway, upstream):
        upstream.script(sse(chat_chunk("one"), Sleep(30), DONE))
        both = [await opened(gateway), await opened(gateway)]
        for response in both:
            await first_words(response)
            response.close()
        await upstream.requests[0].connection.left(2.0)

        assert "miss" == said(await ask(gateway, STREAM)) and {} == gateway.life.gateway.generation.answers.flights


async def test_a_call_that_fails_fails_nobody_else() -> None:
    """One of those who wait makes it anew for all of them."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(status(500).after(Until(go)))
        calls = [asyncio.create_task(ask(gateway)) for _ in range(10)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < 10:
            await asyncio.sleep(0.01)
        go.set()
        answers = await asyncio.gather(*calls)

        assert [200] * 9 + [502] == sorted(answer.status for answer in answers) and 2 == len(upstream.requests)
        assert 1 == len({answer.body for answer in answers if answer.status == 200})


async def test_those_who_wait_do_not_wait_for_one_failure_after_the_other() -> None:
    """After the second one each makes its own call, as it would without a cache."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        all_there = asyncio.Event()
        upstream.always(lambda request: status(500).after(Until(go if len(upstream.requests) < 3 else all_there)))
        calls = [asyncio.create_task(ask(gateway)) for _ in range(8)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < 8:
            await asyncio.sleep(0.01)
        go.set()
        await upstream.asked(8)
        all_there.set()
        answers = await asyncio.gather(*calls)

        assert {502} == {answer.status for answer in answers} and 8 == len(upstream.requests)


async def test_everybody_waits_for_as_long_as_it_says_itself() -> None:
    """A deadline of one is none of the others', before the first word and within a stream."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(json_answer(chat_answer("late")).after(Until(go)))
        patient = asyncio.create_task(ask(gateway))
        await upstream.asked(1)
        hasty = await ask(gateway, headers={"x-isthmus-timeout": "200ms"})
        go.set()

        assert (504, 200) == (hasty.status, (await patient).status) and 1 == len(upstream.requests)


STREAMS = [
    ("/api/chat", {"model": "m", "messages": HI}),
    (CHAT, STREAM),
    ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": HI, "stream": True}),
    ("/v1/responses", {"model": "m", "input": "Hi", "stream": True}),
    ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
    ("/v1beta/models/m:streamGenerateContent", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
]


@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_a_deadline_within_a_stream_is_told_in_its_own_language(path: str, body: Any) -> None:
    """An error event ends it for the one whose time is over; the others hear the rest."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(sse(chat_chunk("one"), Until(go), *chat_stream("two")))
        patient = asyncio.create_task(ask(gateway, body, path))
        await upstream.asked(1)
        hasty = await ask(gateway, body, path, headers={"x-isthmus-timeout": "1s"})
        go.set()
        whole = await patient
        lines = await gateway.lines()

        assert b"one" in hasty.body and b"did not finish in time" in hasty.body and b"two" not in hasty.body
        assert b"two" in whole.body and b"error" not in whole.body.replace(b'"error":null', b"")
        hit = next(line for line in lines if line["cache"] == "hit")
        assert ("timeout", "idle") == (hit["outcome"], hit["stream_end"])
        if path.endswith("Content"):
            assert 2 <= len(hasty.json)  # an array of JSON to its end


async def test_who_has_more_time_joins_no_call_that_has_less() -> None:
    """The deadline of the one who began would end the stream for all. Later ones join the call that has more."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.always(lambda request: sse(chat_chunk("one"), Until(go), *chat_stream("two")))
        hasty = asyncio.create_task(ask(gateway, STREAM, headers={"x-isthmus-timeout": "1s"}))
        await upstream.asked(1)
        patient = [asyncio.create_task(ask(gateway, STREAM)) for _ in range(3)]
        late = await hasty
        go.set()
        answers = await asyncio.gather(*patient)

        assert b"did not finish in time" in late.body and 2 == len(upstream.requests)
        assert ["hit", "hit", "miss"] == sorted(map(said, answers)) and all(b"[DONE]" in one.body for one in answers)


@pytest.mark.parametrize("how", ["header", "query"])
async def test_nobody_waits_in_the_place_of_a_nice_call(how: str) -> None:
    """A call that yields its place is not joined by one that does not, while it waits; the other way round it is."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.always(lambda request: json_answer(chat_answer(request.json()["messages"][0]["content"])))
        upstream.script(json_answer(chat_answer("busy")).after(Until(go)))
        headers, path = ({"x-isthmus-nice": "true"}, CHAT) if how == "header" else ({}, f"{CHAT}?nice=true")
        body = {**QUESTION, "model": "narrow"}
        calls = [asyncio.create_task(ask(gateway, {**body, "seed": 1}))]
        await upstream.asked(1)
        for each in ((path, headers), (CHAT, {}), (CHAT, {}), (path, headers)):
            running = gateway.metric("isthmus_inflight")
            calls.append(asyncio.create_task(ask(gateway, body, each[0], headers=each[1])))
            while gateway.metric("isthmus_inflight") == running:
                await asyncio.sleep(0.01)
        go.set()
        answers = await asyncio.gather(*calls)

        assert ["miss", "miss", "miss", "hit", "hit"] == [said(one) for one in answers]
        for priority in ("nice", "normal"):
            assert 1 == gateway.metric("isthmus_queued_total", priority=priority, outcome="served")
        assert "hit" == said(await ask(gateway, body, path, headers=headers))


@pytest.mark.parametrize("size", [10, 5000], ids=["kept", "too large"])
@pytest.mark.parametrize(("path", "body"), STREAMS)
async def test_the_end_of_the_process_is_told_to_all_who_hear_a_stream(path: str, body: Any, size: int) -> None:
    """Each in its own language, however large the answer is."""
    async with caching(most="16KiB") as (gateway, upstream):
        upstream.script(sse(*[chat_chunk("x" * size)] * 3, Sleep(9)))
        calls = [asyncio.create_task(ask(gateway, body, path)) for _ in range(3)]
        await upstream.asked(1)
        await asyncio.sleep(0.2)
        for exchange in list(gateway.life.front.running):
            exchange.alarm.ring("drain")
        answers = await asyncio.gather(*calls)

        assert ["hit", "hit", "miss"] == sorted(map(said, answers))
        assert all(b"shutting down" in one.body for one in answers)


async def test_the_end_of_the_process_is_told_although_one_reads_slowly() -> None:
    """Who waits for the next piece of what is not kept, because another one has not taken the last, is told of it."""
    async with caching(most="16KiB") as (gateway, upstream):
        upstream.script(sse(chat_chunk("one"), Sleep(0.3), *[chat_chunk("x" * 50_000)] * 400, Sleep(9)))
        first = await opened(gateway)
        await first_words(first)
        writer = await reader(gateway, STREAM)
        reading = asyncio.create_task(first.read())
        await asyncio.sleep(0.8)
        for exchange in list(gateway.life.front.running):
            exchange.alarm.ring("drain")
        rest = await reading
        writer.close()

        assert b"shutting down" in rest[-300:] and len(rest) < 400 * 50_000


async def test_a_stream_that_breaks_is_told_to_all_who_hear_it() -> None:
    """Each gets the error event, and counts as what it is."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(sse(chat_chunk("one"), Until(go), HANG_UP))
        first, late = await opened(gateway), await opened(gateway)
        go.set()
        bodies = await first.read(), await late.read()
        lines = await gateway.lines()

        assert bodies[0] == bodies[1] and b"upstream_connection" in bodies[0]
        assert [("upstream_error", "upstream_error")] * 2 == [(line["outcome"], line["stream_end"]) for line in lines]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_of_two_upstreams_is_one_for_those_who_hear_it(stream: bool) -> None:
    """`hedge`: all get the answer that came first, with what it lost, and that one is kept."""
    async with caching() as (gateway, upstream):
        body = {"model": "h", "max_tokens": 9, "messages": HI, "top_k": 5, **({"stream": True} if stream else {})}
        never = asyncio.Event()
        upstream.script(_said(body, 1).after(Until(never)), _said(body, 2))
        both = await asyncio.gather(*[ask(gateway, body, "/v1/messages") for _ in range(2)])
        again = await ask(gateway, body, "/v1/messages")
        never.set()

        assert ["hit", "hit", "miss"] == sorted(map(said, [*both, again])) and 2 == len(upstream.requests)
        assert 1 == len({answer.body for answer in [*both, again]}) and b"2" in again.body
        assert {("twin", "top_k=dropped")} == {
            (answer.headers["x-isthmus-provider"], answer.headers["x-isthmus-loss"]) for answer in [*both, again]
        }


async def test_who_wants_a_fresh_answer_joins_nobody() -> None:
    """What is under way was begun before; its own answer is kept, and others may join it."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(json_answer(chat_answer("first")).after(Until(go)))
        first = asyncio.create_task(ask(gateway))
        await upstream.asked(1)
        fresh = await ask(gateway, headers={"cache-control": "no-cache"})
        kept = await ask(gateway)
        go.set()

        assert "answer 2" == fresh.json["choices"][0]["message"]["content"] and fresh.body == kept.body
        assert ["miss", "miss", "hit"] == [said(answer) for answer in (await first, fresh, kept)]
        assert fresh.body == (await ask(gateway)).body  # what was begun before does not take its place


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_one_who_reads_slowly_holds_up_nobody(stream: bool) -> None:
    """The one who began takes nothing; the others have all of it meanwhile."""
    async with caching(most="128MiB") as (gateway, upstream):
        piece, go = "x" * 50_000, asyncio.Event()
        many = sse(*[chat_chunk(piece)] * 200, *chat_stream("end"))
        upstream.script((many if stream else json_answer(chat_answer(piece * 200))).after(Until(go)))
        body = STREAM if stream else QUESTION
        writer = await reader(gateway, body)
        await upstream.asked(1)
        late = asyncio.create_task(ask(gateway, body))
        while gateway.metric("isthmus_inflight") < 2:
            await asyncio.sleep(0.01)
        go.set()
        other = await late

        assert "hit" == said(other) and 200 * len(piece) < len(other.body) and 1 == len(upstream.requests)
        writer.close()


async def reader(gateway: Running, body: Any) -> asyncio.StreamWriter:
    """One who asks, and takes nothing."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
    data = msgspec.json.encode(body)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ONE}\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    return writer


async def test_one_who_is_cut_off_for_reading_slowly_cuts_off_nobody() -> None:
    """The one who began takes nothing for too long; those who hear the same still get all of it."""
    async with caching(most="128MiB") as (gateway, upstream):
        go = asyncio.Event()
        many = [chat_chunk("x" * 50_000)] * 300  # more than sockets hold
        upstream.script(sse(chat_chunk("one"), Sleep(0.2), *many, Until(go), *chat_stream("end")))
        writer = await reader(gateway, STREAM)
        await upstream.asked(1)
        late = asyncio.create_task(ask(gateway, STREAM))
        await asyncio.sleep(1.8)  # longer than `write_stall`
        go.set()
        answer = await late
        while gateway.metric("isthmus_inflight"):
            await asyncio.sleep(0.01)
        slow = next(line for line in await gateway.lines() if line["cache"] == "miss")

        assert b"[DONE]" in answer.body and "hit" == said(answer) and 1 == len(upstream.requests)
        assert ("client_left", "limit") == (slow["outcome"], slow["stream_end"])
        writer.close()


def alive() -> list[Exchange | Flight]:
    return [one for one in gc.get_objects() if isinstance(one, Exchange | Flight)]


@pytest.mark.parametrize("how", ["fails", "breaks", "says so"])
async def test_nothing_is_left_of_a_call_that_fails(how: str) -> None:
    """Nor of those who waited for it."""
    async with caching() as (gateway, upstream):
        go, ends = asyncio.Event(), [chat_chunk(finish="error"), DONE] if how == "says so" else [HANG_UP]
        script = sse(chat_chunk("one"), Until(go), *ends) if how != "fails" else status(500).after(Until(go))
        upstream.always(lambda request: script)
        gc.collect()
        gc.disable()
        before = alive()
        try:
            calls = [asyncio.create_task(ask(gateway, STREAM)) for _ in range(3)]
            while gateway.metric("isthmus_inflight") < 3:
                await asyncio.sleep(0.01)
            go.set()
            await asyncio.gather(*calls)
            while gateway.metric("isthmus_inflight"):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            left = [type(one).__name__ for one in alive() if not any(one is other for other in before)]
        finally:
            gc.enable()

        assert [] == left


@pytest.mark.parametrize("how", ["cut off", "hangs up"])
async def test_nothing_is_left_of_a_call_whose_caller_is_gone(how: str) -> None:
    """Not its exchange, nor what was said: neither in the timer of alarms nor in a cycle."""
    async with caching(most="128MiB") as (gateway, upstream):
        upstream.always(lambda request: sse(*[chat_chunk("x" * 50_000)] * 300, *chat_stream("end")))
        gc.collect()
        gc.disable()
        before = alive()
        try:
            writers = [await reader(gateway, {**STREAM, "seed": seed}) for seed in range(2)]
            await asyncio.sleep(2.0 if how == "cut off" else 0.2)
            for writer in writers:
                writer.transport.abort()
            while gateway.metric("isthmus_inflight"):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            left = [type(one).__name__ for one in alive() if not any(one is other for other in before)]
        finally:
            gc.enable()

        assert [] == left


# ── counts ─────────────────────────────────────────────────────────────────────────────


async def test_a_hit_counts_as_a_request_and_nothing_else() -> None:
    """No attempt, no tokens, no cost, and it is said so; the answer tells the usage that it had."""
    async with caching() as (gateway, _):
        for body in (QUESTION, QUESTION, STREAM, STREAM):
            answer = await ask(gateway, body, headers={"x-isthmus-cost": "true"})
            if body is QUESTION:
                assert {"miss": "0.000015", "hit": "0"}[said(answer)] == answer.headers["x-isthmus-cost"]
                assert 12 == answer.json["usage"]["total_tokens"]
        metric, lines = gateway.metric, await gateway.lines()

        assert (2, 2, 4) == (
            metric("isthmus_cache_requests_total", route=CHAT, result="hit"),
            metric("isthmus_cache_requests_total", route=CHAT, result="miss"),
            metric("isthmus_requests_total", outcome="ok"),
        )
        assert (2, 24) == (metric("isthmus_attempts_total"), metric("isthmus_key_tokens_total", key="one"))
        assert 24 == metric("isthmus_tokens_total") and 4 == metric("isthmus_cost_credits_total")
        assert abs(metric("isthmus_cost_usd_total") - 0.00003) < 1e-9
        assert (
            2 == metric("isthmus_stream_end_total", reason="done") == metric("isthmus_requests_total", provider="none")
        )
        assert ["miss", "hit"] * 2 == [line["cache"] for line in lines]
        assert all("usage" not in line and "attempts" not in line for line in lines if line["cache"] == "hit")


async def test_a_hit_takes_a_place_among_the_requests_of_its_key_and_no_tokens() -> None:
    """Also where no token is left; past its requests it is refused as any other."""
    async with caching(limits="rpm: 4, tpm: 20") as (gateway, upstream):
        answers = [await ask(gateway) for _ in range(2)]
        refused = await ask(gateway, {**QUESTION, "max_tokens": 15})
        again = [await ask(gateway) for _ in range(3)]

        assert ["miss", "hit", "hit", "hit"] == [said(answer) for answer in [*answers, *again[:2]]]
        assert (429, 429) == (refused.status, again[2].status) and 1 == len(upstream.requests)
        assert ["15", "8"] == [answer.headers["x-ratelimit-remaining-tokens"] for answer in answers]
        assert ["3", "2", "1", "0"] == [
            answer.headers["x-ratelimit-remaining-requests"] for answer in [*answers, *again[:2]]
        ]


async def test_a_hit_takes_nothing_of_a_budget() -> None:
    """A key that has spent it still gets what is kept; one that waited and then makes the call has it set aside."""
    async with caching(limits="rpm: 100, budget: {usd: 0.001, per: month}") as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(status(500).after(Until(go)), json_answer(chat_answer("dear", usage=(9, 3000))))
        body = {**QUESTION, "max_tokens": 50}
        calls = [asyncio.create_task(ask(gateway, body)) for _ in range(2)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < 2:
            await asyncio.sleep(0.01)
        go.set()
        statuses = sorted([answer.status for answer in await asyncio.gather(*calls)])
        hit, refused = await ask(gateway, body), await ask(gateway, {**body, "seed": 1})

        assert [200, 502] == statuses and "hit" == said(hit) and 429 == refused.status
        assert 1 == len({one.headers["x-isthmus-budget-remaining-usd"] for one in (hit, refused)})
        assert abs(0.006009 - gateway.metric("isthmus_cost_usd_total", key="one")) < 1e-9


async def test_what_went_on_for_others_counts_as_what_it_used() -> None:
    """Limits and budgets of the one who began and left are told the same: what the upstream counted."""
    async with caching(limits="rpm: 100, tpm: 1000, budget: {usd: 1, per: month}") as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(sse(chat_chunk("one"), Until(go), *chat_stream("two", usage=(9, 3))))
        body = {**STREAM, "max_tokens": 500}
        await left_to_others(gateway, upstream, body, go)
        hit = await ask(gateway, body)

        assert ("hit", "988") == (said(hit), hit.headers["x-ratelimit-remaining-tokens"])
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


async def test_one_who_waited_and_then_makes_the_call_pays_for_it() -> None:
    """Its tokens are taken when it does; one request it is all the same."""
    async with caching(limits="rpm: 4, tpm: 100") as (gateway, upstream):
        go = asyncio.Event()
        upstream.script(status(500).after(Until(go)))
        calls = [asyncio.create_task(ask(gateway)) for _ in range(3)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < 3:
            await asyncio.sleep(0.01)
        go.set()
        statuses = sorted([answer.status for answer in await asyncio.gather(*calls)])
        last = await ask(gateway)

        assert [200, 200, 502] == statuses and "hit" == said(last)
        assert ("0", "88") == tuple(last.headers[f"x-ratelimit-remaining-{unit}"] for unit in ("requests", "tokens"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("later", [True, False], ids=["later", "at once"])
async def test_losses_are_told_again(stream: bool, later: bool) -> None:
    """They are of the answer: header, log and metric."""
    async with caching() as (gateway, upstream):
        body = {"model": "m", "max_tokens": 9, "messages": HI, "top_k": 5, **({"stream": True} if stream else {})}
        go = asyncio.Event()
        upstream.script(_said(body, 1).after(Until(go)))
        calls = [asyncio.create_task(ask(gateway, body, "/v1/messages")) for _ in range(1 if later else 2)]
        await upstream.asked(1)
        while gateway.metric("isthmus_inflight") < len(calls):
            await asyncio.sleep(0.01)
        go.set()
        answers = await asyncio.gather(*calls)
        if later:
            answers.append(await ask(gateway, body, "/v1/messages"))
        lines = await gateway.lines()

        assert ["hit", "miss"] == sorted(map(said, answers))
        assert ["top_k=dropped"] * 2 == [answer.headers["x-isthmus-loss"] for answer in answers]
        assert lines[0]["losses"] == lines[1]["losses"] and 2 == gateway.metric("isthmus_losses_total", field="top_k")


# ── what is sealed ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ["later", "at once", "forgotten"])
async def test_what_is_sealed_in_an_answer_is_remembered_for_whoever_gets_it(stream: bool, how: str) -> None:
    """For another key, later or while the call is made, and where that memory was lost: it goes back to the model."""
    call = {"functionCall": {"name": "look", "args": {"at": "x"}}, "thoughtSignature": "c2lnbmVk"}
    tools = [{"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}]
    body = {"model": "g", "max_tokens": 99, "messages": HI, "tools": tools, **({"stream": True} if stream else {})}
    async with caching() as (gateway, upstream):
        sealed = gemini_answer(None, parts=[call])
        go, key = asyncio.Event(), ONE if how == "forgotten" else OTHER
        upstream.script((sse(sealed) if stream else json_answer(sealed)).after(Until(go)))
        path = "/shared/v1/messages"
        first = asyncio.create_task(ask(gateway, body, path))
        await upstream.asked(1)
        late = asyncio.create_task(ask(gateway, body, path, key=key)) if how == "at once" else None
        await asyncio.sleep(0.05)
        go.set()
        await first
        if how == "forgotten":
            gateway.life.gateway.seals.__init__()  # type: ignore[misc]  # that memory, after a restart
        given = await (late or ask(gateway, body, path, key=key))
        if stream:
            start = next(e for e in _events(given.body) if e.get("content_block", {}).get("type") == "tool_use")
            identifier = start["content_block"]["id"]
        else:
            identifier = next(block for block in given.json["content"] if block["type"] == "tool_use")["id"]
        use = {"type": "tool_use", "id": identifier, "name": "look", "input": {"at": "x"}}
        result = {"type": "tool_result", "tool_use_id": identifier, "content": "seen"}
        history = [*HI, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        await ask(gateway, {**body, "messages": history}, path, key=key)

        assert "hit" == said(given)
        assert call == upstream.requests[1].json()["contents"][1]["parts"][0]


def _events(body: bytes) -> list[Any]:
    return [msgspec.json.decode(data) for data in data_lines(body)]


# ── the table ──────────────────────────────────────────────────────────────────────────


async def test_a_table_that_means_something_else_begins_with_nothing() -> None:
    """Other targets, another policy: nothing of what was kept, nor of what is under way, is given any more."""
    async with caching() as (gateway, upstream):
        go = asyncio.Event()
        await ask(gateway)
        upstream.script(json_answer(chat_answer("old")).after(Until(go)))
        running_ = asyncio.create_task(ask(gateway, {**QUESTION, "seed": 1}))
        await upstream.asked(2)
        path: Path = gateway.life.path
        path.write_text(path.read_text().replace("model: gpt-4o-mini}]\n  n:", "model: gpt-5-mini}]\n  n:"))
        gateway.life.reload()
        emptied = gateway.metric("isthmus_cache_bytes")
        other = await ask(gateway)
        go.set()
        old = await running_
        seeded = await ask(gateway, {**QUESTION, "seed": 1})

        assert ["miss"] * 3 == [said(answer) for answer in (other, old, seeded)] and 0 == emptied
        assert "gpt-5-mini" == other.headers["x-isthmus-model"]


async def test_a_table_that_means_the_same_keeps_what_it_has() -> None:
    """A new key, another price, a comment: answers do not depend on them."""
    async with caching() as (gateway, _):
        await ask(gateway)
        path: Path = gateway.life.path
        changed = path.read_text().replace("input: 1,", "input: 3,").replace("routes:", "# a line more\nroutes:")
        path.write_text(changed)
        gateway.life.reload()

        assert 2 == gateway.life.gateway.generation.number and "hit" == said(await ask(gateway))


async def test_a_key_that_was_changed_has_none_of_the_answers_of_the_one_before() -> None:
    """Its name may have gone to somebody else."""
    async with caching() as (gateway, _):
        await ask(gateway)
        path: Path = gateway.life.path
        path.write_text(path.read_text().replace(digest(ONE), digest("sk-isthmus-new")))
        gateway.life.reload()

        assert "miss" == said(await ask(gateway, key="sk-isthmus-new"))


BASE = """
providers: {{up: {{base_url: "http://127.0.0.1:9/v1", speaks: [openai.chat], {auth}}}}}
{top}
routes:
  - {route}
"""
CHATS = "path: /v1/chat/completions, speaks: openai.chat, to: models"
OPAQUE = "path: '/v1/audio/*', speaks: opaque, to: [{provider: up}]"
NAMED = "path: '/p/{u:url}/chat/completions', speaks: openai.chat, to: named, egress: {listed: [up]}"


@pytest.mark.parametrize(
    ("route", "top", "auth", "problem"),
    [
        (f"{{{OPAQUE}, cache: {{}}}}", "", "auth: none", "is not for `speaks: opaque`"),
        (f"{{{NAMED}, cache: {{}}}}", "", "auth: bearer", "every call brings its own key"),
        (f"{{{CHATS}, cache: {{ttl: 0s}}}}", "", "auth: none", "cache.ttl: "),
        (f"{{{CHATS}, cache: {{scope: us}}}}", "", "auth: none", "cache.scope: expected key or all"),
        (f"{{{CHATS}, cache: {{size: 1}}}}", "", "auth: none", "unknown key 'size'"),
        (f"{{{CHATS}, cache: true}}", "", "auth: none", "cache: expected a mapping"),
        (f"{{{CHATS}, cache: {{}}}}", "cache: {most: much}", "auth: none", "cache.most: "),
        (f"{{{CHATS}, cache: {{}}}}", "cache: {ttl: 1m}", "auth: none", "unknown key 'ttl'"),
    ],
)
def test_what_could_not_act_is_refused(tmp_path: Path, route: str, top: str, auth: str, problem: str) -> None:
    """With its place, when the file is read."""
    path = tmp_path / "routes.yaml"
    path.write_text(BASE.format(route=route, top=top, auth=auth))
    loaded = load(path, {})

    assert loaded.settings is None and 1 == len(loaded.problems)
    assert problem in str(loaded.problems[0]) and loaded.problems[0].line in (3, 5)


def test_a_budget_that_nobody_uses_is_a_warning(tmp_path: Path) -> None:
    """No route keeps answers."""
    path = tmp_path / "routes.yaml"
    path.write_text(BASE.format(route=f"{{{CHATS}}}", top="cache: {most: 1MiB}", auth="auth: none"))
    loaded = load(path, {})

    assert loaded.settings is not None
    assert ["has no effect: no route has `cache`"] == [
        warning.message for warning in loaded.warnings if "cache" in warning.message
    ]


async def test_explain_says_what_would_be_given() -> None:
    """Whether the route keeps answers, for whom and how long, and whether there is one; it uses none of it."""
    async with caching(cache="ttl: 1m") as (gateway, upstream):

        async def told(path: str = CHAT, **headers: str) -> Any:
            own = {"authorization": f"Bearer {ONE}", **headers}
            question = Question(path=path, headers=own, body=QUESTION)
            return (await explain(gateway.life.gateway, question))["cache"]

        before = await told()
        await gateway.post(CHAT, QUESTION, headers={"authorization": f"Bearer {ONE}"})
        clock(gateway, 5)

        route = {"ttl": 60.0, "scope": "key"}
        assert {**route, "result": "miss"} == before and {**route, "result": "hit", "age": 5} == await told()
        assert {**route, "result": "bypass"} == await told(**{"cache-control": "no-store"})
        assert {**route, "result": "miss"} == await told(**{"cache-control": "no-cache"})
        assert {**route, "result": "miss"} == await told(**{"cache-control": "max-age=1"})
        assert await told(f"/plain{CHAT}") is None and 1 == len(upstream.requests)


async def test_explain_knows_that_what_is_kept_is_given_whatever_is_left() -> None:
    """A key that has spent its budget is refused where somebody would have to be asked."""
    async with caching(limits="budget: {usd: 0.00005, per: month}") as (gateway, _):
        body, headers = {**QUESTION, "max_tokens": 15}, {"authorization": f"Bearer {ONE}"}
        await gateway.post(CHAT, body, headers=headers)
        told, refused = [
            await explain(gateway.life.gateway, Question(path=CHAT, headers=headers, body={**body, **more}))
            for more in ({}, {"max_tokens": 90})
        ]

        assert ("hit", None) == (told["cache"]["result"], told.get("refused"))
        assert ("miss", 429) == (refused["cache"]["result"], refused["refused"]["status"])
