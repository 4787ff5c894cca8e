"""Conversations through the real server: what a caller sends, what the upstream gets, what comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.answers import chat_answer, gemini_answer, openai_error, tool_call
from tests.fakes import (
    DONE,
    HANG,
    HANG_UP,
    RESET,
    FakeUpstream,
    black_hole,
    dead_port,
    json_answer,
    raw,
    redirect,
    status,
)
from tests.lanes import ANSWERING, KEYS, LANES, TABLE, Lane, as_bytes
from tests.raw import raw_call, raw_request
from tests.running import Answer, Running, running

EVERY = [*LANES, *ANSWERING]
lanes = pytest.mark.parametrize("lane", EVERY, ids=[lane.name for lane in EVERY])


@asynccontextmanager
async def between(attempts: int = 3, table: str = TABLE) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=attempts) as gateway:
        yield gateway, upstream


async def ask(gateway: Running, lane: Lane, **more: Any) -> Answer:
    headers = more.pop("headers", {})
    return await gateway.post(lane.path(), lane.body(**more), headers=headers)


# ── a good call ────────────────────────────────────────────────────────────────────────


@lanes
async def test_a_call_reaches_its_target_and_comes_back(lane: Lane) -> None:
    """The target's model and our credential go out, the caller's do not; the answer is in the caller's dialect."""
    async with between() as (gateway, upstream):
        upstream.script(lane.whole("Hi there!"))
        answer = await ask(gateway, lane, headers={"authorization": "Bearer caller", "cookie": "a=b", "referer": "x"})
        request = upstream.requests[0]

        assert (200, "Hi there!") == (answer.status, lane.text_of(answer.json))
        lane.target(request)
        sent = {name.lower() for name, _ in request.headers}
        assert sent <= {
            "host", "content-type", "accept", "accept-encoding", "user-agent", "x-request-id", "content-length",
            "authorization", "x-goog-api-key", "x-api-key", "anthropic-version",
        }  # fmt: skip
        assert "caller" not in repr(request.headers)


@lanes
async def test_every_answer_tells_how_it_came_about(lane: Lane) -> None:
    """Route, provider, model, attempts, lane and phases stand in the head; the phases sum to the whole."""
    async with between() as (gateway, upstream):
        upstream.script(lane.whole())
        answer = await ask(gateway, lane, headers={"x-request-id": "my-own.id:7"})
        line = (await gateway.lines())[0]

        assert "my-own.id:7" == answer.headers["x-request-id"] == line["request_id"]
        assert f"{lane.upstream}-up" == answer.headers["x-isthmus-provider"]
        assert ("1", "relay" if lane.relayed else "translate") == (
            answer.headers["x-isthmus-attempts"],
            answer.headers["x-isthmus-lane"],
        )
        assert answer.headers["x-isthmus-route"] == line["route"]
        phases = {
            part.split(";dur=")[0]: float(part.split("=")[1]) for part in answer.headers["server-timing"].split(", ")
        }
        assert {"read", "access", "route", "encode", "first_byte"} <= phases.keys()
        assert abs(sum(phases.values()) - line["ms"]) < 25
        assert "isthmus" == answer.headers["server"]


async def test_a_request_id_that_is_not_sane_is_replaced() -> None:
    """Only plain characters, of a bounded length."""
    async with between() as (gateway, upstream):
        upstream.always(json_answer(chat_answer()))
        answer = await ask(gateway, LANES[0], headers={"x-request-id": "x" * 300})

        assert UUID(answer.headers["x-request-id"])


async def test_what_an_upstream_says_about_itself_stays_with_us() -> None:
    """Its cookies, server and policies are dropped, its rate limits kept; a cookie is never sent again."""
    async with between() as (gateway, upstream):
        odd = {"set-cookie": "s=1", "server": "nginx", "x-ratelimit-remaining-requests": "7", "x-powered-by": "y"}
        upstream.always(json_answer(chat_answer(), headers=odd))
        answer = await ask(gateway, LANES[0])
        await ask(gateway, LANES[0])

        assert "7" == answer.headers["x-ratelimit-remaining-requests"]
        assert not {"set-cookie", "x-powered-by"} & answer.headers.keys()
        assert None is upstream.requests[1].header("cookie")


async def test_metrics_and_log_tell_of_each_call_once() -> None:
    """One outcome a call, tokens by model, nothing of the caller's text."""
    async with between() as (gateway, upstream):
        upstream.script(json_answer(chat_answer(usage=(9, 3))), json_answer(gemini_answer(usage=(7, 2))))
        await ask(gateway, LANES[0])
        await ask(gateway, LANES[1])
        text = gateway.metrics_text()

        assert 2 == gateway.metric("isthmus_requests_total") == gateway.metric("isthmus_requests_total", outcome="ok")
        assert 9 == gateway.metric("gen_ai_client_token_usage_sum", request_model="gpt-4o-mini", token_type="input")
        assert 2 == gateway.metric("http_server_request_duration_seconds_count", status="200")
        assert 2 == len(await gateway.lines())
        assert "Hello!" not in text and "upstream-key" not in text + await gateway.log_text()


# ── losses ─────────────────────────────────────────────────────────────────────────────


async def test_what_could_not_be_carried_is_named_in_the_callers_words() -> None:
    """Header, log and metric name the fields of the caller's own body."""
    async with between() as (gateway, upstream):
        upstream.always(json_answer(gemini_answer()))
        answer = await ask(gateway, LANES[1], logit_bias={"50256": -100}, x_unknown=1)
        line = (await gateway.lines())[0]

        assert {"logit_bias=dropped", "x_unknown=dropped"} <= set(answer.headers["x-isthmus-loss"].split(", "))
        assert {"logit_bias", "x_unknown"} <= {loss["field"] for loss in line["losses"]}
        assert 1 == gateway.metric("isthmus_losses_total", field="logit_bias", kind="dropped")
        assert "logit_bias" not in upstream.requests[0].body.decode()


async def test_gemini_losses_are_named_in_gemini_words() -> None:
    """`generationConfig.topK`, not `top_k`."""
    async with between() as (gateway, upstream):
        upstream.always(json_answer(chat_answer()))
        answer = await ask(gateway, LANES[2], generationConfig={"topK": 7})

        assert "generationConfig.topK=dropped" == answer.headers["x-isthmus-loss"]


@lanes
async def test_nothing_lost_means_no_header(lane: Lane) -> None:
    """A plain call loses nothing in any lane."""
    async with between() as (gateway, upstream):
        upstream.script(lane.whole())

        assert "x-isthmus-loss" not in (await ask(gateway, lane)).headers


async def test_losses_can_be_refused() -> None:
    """`on_loss: reject` answers 422 naming the fields, and nothing is sent."""
    async with between() as (gateway, upstream):
        answer = await ask(gateway, LANES[1], logit_bias={"1": 1}, headers={"x-isthmus-on-loss": "reject"})

        assert (422, "untranslatable", "logit_bias") == (
            answer.status,
            answer.json["error"]["code"],
            answer.json["error"]["param"],
        )
        assert [] == upstream.requests


@pytest.mark.parametrize("stream", [False, True])
async def test_losses_can_be_taken_in_silence(stream: bool) -> None:
    """`on_loss: allow` leaves the header out; log and metric know of them all the same."""
    lane = LANES[1]
    async with between() as (gateway, upstream):
        upstream.script(lane.stream("a") if stream else lane.whole())
        body = lane.body(stream=stream, logit_bias={"1": 1})
        answer = await gateway.post(lane.path(), body, headers={"x-isthmus-on-loss": "allow"})
        line = (await gateway.lines())[0]

        assert 200 == answer.status and "x-isthmus-loss" not in answer.headers
        assert ["logit_bias"] == [loss["field"] for loss in line["losses"]]
        assert 1 == gateway.metric("isthmus_losses_total", field="logit_bias", kind="dropped")


async def test_a_word_for_losses_that_is_none_is_refused() -> None:
    """Also where nothing would be lost."""
    async with between() as (gateway, _):
        answer = await ask(gateway, LANES[0], headers={"x-isthmus-on-loss": "shrug"})

        assert 400 == answer.status


async def test_what_would_make_a_wrong_answer_is_refused_whatever_the_setting() -> None:
    """A part that the target cannot read: 400 naming it, before any call."""
    async with between() as (gateway, upstream):
        parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.gif"}}]
        body = {"model": "gemini-model", "messages": [{"role": "user", "content": parts}]}
        answer = await gateway.post("/v1/chat/completions", body)

        assert (400, "unsupported_parameter") == (answer.status, answer.json["error"]["code"])
        assert answer.json["error"]["param"].startswith("messages[0].content[0]")
        assert [] == upstream.requests


# ── token counting and lists ───────────────────────────────────────────────────────────


async def test_tokens_are_counted_by_the_upstream_or_estimated_and_said_so() -> None:
    """A Gemini upstream is asked; for another the answer is an estimate, named as one."""
    async with between() as (gateway, upstream):
        upstream.script(json_answer({"totalTokens": 31}))
        asked = await gateway.post("/v1beta/models/gemini-model:countTokens", LANES[3].body("x" * 400))
        guessed = await gateway.post("/v1beta/models/openai-model:countTokens", LANES[2].body("x" * 400))

        assert {"totalTokens": 31} == asked.json
        assert 80 < guessed.json["totalTokens"] < 130
        assert "totalTokens=approximated" == guessed.headers["x-isthmus-loss"]
        assert 1 == len(upstream.requests)


@pytest.mark.parametrize("task", ["embedContent", "batchEmbedContents", "predict", "nonsense"])
async def test_a_task_that_the_target_does_not_have_is_the_callers_affair(task: str) -> None:
    """4xx in dialect, and nothing is sent."""
    async with between() as (gateway, upstream):
        body = {"content": {"parts": [{"text": "x"}]}, "requests": [{"content": {"parts": [{"text": "x"}]}}]}
        answer = await gateway.post(f"/v1beta/models/openai-model:{task}", body)

        assert answer.status in (400, 404) and answer.json["error"]["message"]
        assert [] == upstream.requests


async def test_embeddings_are_relayed_where_both_sides_speak_them() -> None:
    """An operation that needs no translation goes through as it is."""
    async with between() as (gateway, upstream):
        upstream.script(json_answer({"embedding": {"values": [0.5]}}))
        body = {"content": {"parts": [{"text": "x"}]}}
        answer = await gateway.post("/v1beta/models/gemini-model:embedContent", body)

        assert {"embedding": {"values": [0.5]}} == answer.json
        assert ("/v1beta/models/gemini-2.5-flash:embedContent", body) == (
            upstream.requests[0].target,
            upstream.requests[0].json(),
        )


async def test_the_models_that_may_be_named_are_listed_in_the_callers_form() -> None:
    """OpenAI's form, and Gemini's for its paths and keys."""
    async with between() as (gateway, _):
        chat = await gateway.get("/v1/models")
        gemini = await gateway.get("/v1beta/models")
        by_key = await gateway.get("/v1/models", headers={"x-goog-api-key": "k"})
        one = await gateway.get("/v1/models/openai-model")
        none = await gateway.get("/v1/models/nope")

        assert ["openai-model", "gemini-model"] == [row["id"] for row in chat.json["data"]][:2]
        assert ["models/openai-model", "models/gemini-model"] == [row["name"] for row in gemini.json["models"]][:2]
        assert gemini.json == by_key.json
        assert ("openai-model", 404) == (one.json["id"], none.status)


async def test_a_refusal_of_a_list_is_in_its_form() -> None:
    """Whatever else the table serves near that path."""
    async with between() as (gateway, _):
        chat = await gateway.get("/v1/models/nope")
        gemini = await gateway.get("/v1/models/nope", headers={"x-goog-api-key": "k"})
        anthropic = await gateway.get("/v1/models/nope", headers={"anthropic-version": "2023-06-01"})
        wrong = await gateway.post("/v1/models", {})

        assert {"message", "type", "param", "code"} == chat.json["error"].keys()
        assert "NOT_FOUND" == gemini.json["error"]["status"]
        assert "not_found_error" == anthropic.json["error"]["type"] and "error" == anthropic.json["type"]
        assert (405, "GET, HEAD", "method_not_allowed") == (
            wrong.status,
            wrong.headers["allow"],
            wrong.json["error"]["code"],
        )


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/mess", "openai"),
        ("/v1/nothing", "openai"),
        ("/v1/messages/batches", "anthropic"),
        ("/v1beta/nothing", "gemini"),
        ("/ollama/nothing", "ollama"),
        ("http://else.where/ollama/nothing", "ollama"),
        ("/nothing", "openai"),
    ],
)
async def test_what_is_nowhere_is_told_as_the_nearest_route_tells(path: str, shape: str) -> None:
    """By whole segments: `/v1/mess` is not nearer to messages than to anything else."""
    async with between() as (gateway, _):
        answer = await raw_call(gateway.port, "POST", path, b"{}")

        assert 404 == answer.code
        assert Lane(shape, "openai").problem(answer.json(), 404)["message"]


# ── attempts ───────────────────────────────────────────────────────────────────────────

TWO = TABLE.replace(
    "  openai-model: [{provider: openai-up, model: gpt-4o-mini}]",
    "  openai-model: [{provider: openai-up, model: gpt-4o-mini}, {provider: gemini-up, model: gemini-2.5-flash}]",
)


@pytest.mark.parametrize("fault", [RESET, HANG_UP], ids=["reset", "fin"])
@lanes
async def test_u01_u02_a_lost_connection_is_tried_again(fault: Any, lane: Lane) -> None:
    """Reset once, then an answer: 200 after two attempts. Always: 502 after three."""
    async with between() as (gateway, upstream):
        upstream.script(fault, lane.whole("second"))
        good = await ask(gateway, lane)

        assert (200, "2", "second") == (good.status, good.headers["x-isthmus-attempts"], lane.text_of(good.json))
        assert 2 == len(upstream.requests) == gateway.metric("isthmus_attempts_total")
    async with between() as (gateway, upstream):
        upstream.always(fault)
        bad = await ask(gateway, lane)

        assert (502, "upstream") == (bad.status, bad.headers["x-isthmus-fault"])
        assert 3 == len(upstream.requests) == gateway.metric("isthmus_attempts_total")


@lanes
async def test_u03_half_an_answer_is_no_answer(lane: Lane) -> None:
    """A body shorter than it says, and one without its last chunk: 502."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.whole().cut_body(20, HANG_UP))
        short = await ask(gateway, lane)

        assert 502 == short.status


@lanes
async def test_u04_a_silent_upstream_is_waited_for_once(lane: Lane) -> None:
    """504 at the first-byte limit, not a multiple of it, and its connection is closed."""
    async with between() as (gateway, upstream):
        upstream.script(HANG)
        began = time.monotonic()
        answer = await ask(gateway, lane)

        assert 504 == answer.status and time.monotonic() - began < 2.5
        assert 1 == len(upstream.requests)
        await upstream.requests[0].connection.left(1.0)
        assert 1 == gateway.metric("isthmus_requests_total", outcome="timeout")


async def test_u06_a_dead_port_is_a_502() -> None:
    """Nobody listens: told soon."""
    table = TABLE.replace("$up", f"http://127.0.0.1:{dead_port()}")
    async with running(table, KEYS, attempts=2) as gateway:
        answer = await ask(gateway, LANES[0])

        assert (502, "upstream_unreachable") == (answer.status, answer.json["error"]["code"])


async def test_a_port_that_never_accepts_times_out() -> None:
    """The connect clock has its own limit."""
    async with black_hole() as hole:
        table = TABLE.replace("$up", f"http://127.0.0.1:{hole}").replace("connect: 5s", "connect: 300ms")
        async with running(table, KEYS, attempts=1) as gateway:
            answer = await ask(gateway, LANES[0])

            assert 504 == answer.status


@lanes
async def test_u07_a_busy_upstream_is_asked_again_when_it_says(lane: Lane) -> None:
    """429 with Retry-After 1, then an answer: we waited."""
    async with between() as (gateway, upstream):
        upstream.script(lane.failure(429, "slow down", headers=[("retry-after", "1")]), lane.whole())
        answer = await ask(gateway, lane)

        assert 200 == answer.status
        assert upstream.requests[1].at - upstream.requests[0].at >= 1.0


@lanes
async def test_u08_u09_a_retry_after_that_is_too_long_is_relayed(lane: Lane) -> None:
    """429 at once, with the upstream's own hint."""
    async with between() as (gateway, upstream):
        upstream.script(lane.failure(429, "slow down", headers=[("retry-after", "86400")]))
        began = time.monotonic()
        answer = await ask(gateway, lane)

        assert (429, "86400") == (answer.status, answer.headers["retry-after"])
        assert time.monotonic() - began < 1.0 and 1 == len(upstream.requests)


@pytest.mark.parametrize("hint", ["-1e400", "banana", "Fri, 01 Jan 1999 00:00:00 GMT", ""])
async def test_u09_a_retry_after_that_says_nothing_is_as_none(hint: str) -> None:
    """Treated as absent."""
    async with between() as (gateway, upstream):
        upstream.script(LANES[0].failure(429, headers=[("retry-after", hint)]), LANES[0].whole())

        assert 200 == (await ask(gateway, LANES[0])).status


@lanes
@pytest.mark.parametrize("code", [500, 503])
async def test_u10_a_passing_failure_is_tried_again(code: int, lane: Lane) -> None:
    """Twice broken, then well."""
    async with between() as (gateway, upstream):
        upstream.script(lane.failure(code), lane.failure(code), lane.whole())

        assert 200 == (await ask(gateway, lane)).status


@lanes
@pytest.mark.parametrize(("code", "status"), [(400, 400), (404, 404), (422, 422), (401, 502), (403, 502)])
async def test_u11_what_the_caller_or_we_must_change_is_said_once(code: int, status: int, lane: Lane) -> None:
    """One attempt, the upstream's words kept; our credential's failure is never the caller's 401."""
    async with between() as (gateway, upstream):
        upstream.always(lane.failure(code, "you must not do that"))
        answer = await ask(gateway, lane)

        assert status == answer.status
        assert "you must not do that" in lane.problem(answer.json, answer.status)["message"]
        assert 1 == len(upstream.requests)


@lanes
@pytest.mark.parametrize(("code", "status"), [(500, 502), (503, 503), (529, 503), (408, 504), (504, 504)])
async def test_u12_a_lasting_failure_ends_after_three_attempts(code: int, status: int, lane: Lane) -> None:
    """And has its status."""
    async with between() as (gateway, upstream):
        upstream.always(lane.failure(code))
        answer = await ask(gateway, lane)

        assert status == answer.status
        assert 3 == len(upstream.requests)


BAD_ANSWERS = {
    "html": json_answer("<html>oops</html>"),
    "truncated": raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": "x'),
    "empty": raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"),
    "array": json_answer([1]),
    "string": json_answer("hi"),
    "null": json_answer(None),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "999": raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "choices-null": json_answer({"choices": None, "candidates": None}),
    "nan": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"usage":NaN'),
    "not-http": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "redirect": redirect("http://127.0.0.1:1/"),
    "two-lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
}


@lanes
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_u13_u14_u15_u22_an_answer_that_cannot_be_used_is_a_502(name: str, lane: Lane) -> None:
    """Never a 200 with half an answer, never a 500."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(BAD_ANSWERS[name])
        answer = await ask(gateway, lane)

        assert 502 == answer.status, answer.body
        assert b"<html" not in answer.body and b"127.0.0.1" not in answer.body


def oddly(value: Any) -> Iterator[Any]:
    """The value with each of its parts, in turn, replaced by something of another kind."""
    if isinstance(value, dict | list):
        places = list(value) if isinstance(value, dict) else range(len(value))
        for place in places:
            for other in (*([[]], {"a": 1}, 7), *oddly(value[place])):
                changed = dict(value) if isinstance(value, dict) else list(value)
                changed[place] = other
                yield changed


def spoken(lane: Lane) -> Any:
    """A whole answer that also thinks and calls, where one of these has shown weak."""
    answer = lane.answer()
    if lane.upstream == "cohere":
        answer["message"] |= {"tool_calls": [tool_call("f", {"a": 1})], "tool_plan": "plan"}
        answer["message"]["content"].append({"type": "thinking", "thinking": "hm"})
        answer["message"]["citations"] = [{"start": 0, "end": 2, "text": "Hi", "sources": [], "content_index": 0}]
        answer["logprobs"] = [{"token_ids": [1], "text": "Hi!", "logprobs": [-0.1]}]
    if lane.upstream == "gemini":
        segment = {"startIndex": 0, "endIndex": 2, "text": "Hi"}
        supports = [{"segment": segment, "groundingChunkIndices": [0]}]
        chunks = [{"web": {"uri": "https://x.example", "title": "x"}}]
        token = {"token": "Hi", "logProbability": -0.1}
        answer["candidates"][0] |= {
            "groundingMetadata": {"groundingSupports": supports, "groundingChunks": chunks},
            "logprobsResult": {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]},
        }
    return answer


@pytest.mark.parametrize("lane", [*EVERY, Lane("responses", "gemini")], ids=lambda lane: lane.name)
async def test_u16_no_answer_makes_us_stumble(lane: Lane) -> None:
    """Whatever stands in the place of a value, whole or in a stream: an answer, or a fault of the upstream's."""
    async with between(attempts=1) as (gateway, upstream):
        statuses = set()
        for odd in oddly(spoken(lane)):
            upstream.script(json_answer(odd))
            statuses.add((await ask(gateway, lane)).status)
        events = lane.events("a", "b")
        for at, event in enumerate(events):
            value, written = lane.talks.opened(event) if event != DONE else ({}, as_bytes)
            for odd in oddly(value):
                upstream.script(lane.sent(*events[:at], written(odd), *events[at + 1 :]))
                answer = await gateway.post(lane.path(stream=True), lane.body(stream=True))
                statuses.add(answer.status)
                assert b"internal" not in answer.body, odd

        assert {200, 502} >= statuses - {400, 404, 429, 503, 504}


@lanes
async def test_u13_an_html_error_page_is_not_shown(lane: Lane) -> None:
    """502 in dialect, without the page."""
    async with between(attempts=1) as (gateway, upstream):
        page = b"<html><h1>502 Bad Gateway</h1>nginx</html>"
        upstream.script(
            raw(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
        )
        answer = await ask(gateway, lane)

        assert 502 == answer.status and b"<h" not in answer.body


@lanes
async def test_u20_an_answer_over_the_limit_is_cut(lane: Lane) -> None:
    """502, and the rest is not taken."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.whole("x" * 400_000))

        assert 502 == (await ask(gateway, lane)).status


async def test_u24_a_stale_kept_connection_is_nobodys_failure() -> None:
    """The upstream resets a reused connection: sent again on a fresh one, no attempt is counted."""
    async with between(attempts=1) as (gateway, upstream):

        def moody(request: Any) -> Any:
            return RESET if request.turn > 1 else json_answer(chat_answer("fresh"))

        upstream.always(moody)
        answers = [await ask(gateway, LANES[0]) for _ in range(4)]

        assert [200] * 4 == [answer.status for answer in answers]
        assert ["1"] * 4 == [answer.headers["x-isthmus-attempts"] for answer in answers]
        assert gateway.metric("isthmus_stale_resends_total") >= 1


@lanes
async def test_u28_a_caller_who_leaves_ends_the_call(lane: Lane) -> None:
    """The upstream's connection is closed within a second, nothing is tried again."""
    async with between() as (gateway, upstream):
        upstream.script(HANG)
        task = asyncio.create_task(ask(gateway, lane))
        request = await upstream.asked(1)
        task.cancel()

        await request.connection.left(1.0)
        await asyncio.sleep(0.05)
        assert 1 == len(upstream.requests)
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


async def test_the_next_target_takes_over_in_its_own_dialect() -> None:
    """A busy OpenAI upstream, a Gemini one behind it: the caller gets its own dialect all the same."""
    async with between(table=TWO) as (gateway, upstream):
        upstream.script(status(429, openai_error("busy")), json_answer(gemini_answer("from the other")))
        answer = await ask(gateway, LANES[0])

        assert (200, "from the other") == (answer.status, LANES[0].text_of(answer.json))
        assert ("gemini-up", "2", "translate") == tuple(
            answer.headers[f"x-isthmus-{name}"] for name in ("provider", "attempts", "lane")
        )
        assert 1 == gateway.metric("isthmus_retries_total", provider="gemini-up", reason="upstream_busy")


async def test_losses_are_those_of_the_target_that_answered() -> None:
    """A target that was tried before and would have lost something does not count."""
    swapped = TABLE.replace(
        "  openai-model: [{provider: openai-up, model: gpt-4o-mini}]",
        "  openai-model: [{provider: gemini-up, model: gemini-2.5-flash}, {provider: openai-up, model: gpt-4o-mini}]",
    )
    async with between(table=swapped) as (gateway, upstream):
        upstream.script(LANES[1].failure(429), json_answer(chat_answer()))
        answer = await ask(gateway, LANES[0], logit_bias={"1": 1})

        assert 200 == answer.status
        assert "x-isthmus-loss" not in answer.headers


async def test_a_caller_may_ask_for_less_time() -> None:
    """`x-isthmus-timeout` bounds the whole exchange; nonsense in it is a 400."""
    async with between() as (gateway, upstream):
        upstream.script(HANG)
        began = time.monotonic()
        answer = await ask(gateway, LANES[0], headers={"x-isthmus-timeout": "200ms"})
        odd = await ask(gateway, LANES[0], headers={"x-isthmus-timeout": "soon"})

        assert 504 == answer.status and time.monotonic() - began < 1.4
        assert 400 == odd.status


async def test_what_comes_too_late_is_not_asked_any_more() -> None:
    """The body took all the time that its caller gives: an answer could not be heard, and would be paid."""
    lane = LANES[0]
    data = json.dumps(lane.body("Hi")).encode()

    async def slowly() -> AsyncIterator[bytes]:
        yield data[:20]
        await asyncio.sleep(0.5)
        yield data[20:]

    async with between() as (gateway, upstream):
        upstream.always(lane.whole())
        await ask(gateway, lane)  # leaves a connection that is kept
        headers = {"content-type": "application/json", "x-isthmus-timeout": "300ms"}
        async with gateway.session.post(gateway.url + lane.path(), data=slowly(), headers=headers) as late:
            problem = lane.problem(await late.json(), late.status)
        await asyncio.sleep(0.1)

        assert (504, "upstream_timeout", 1) == (late.status, lane.code(problem), len(upstream.requests))


async def test_a_request_that_was_sent_again_counts_whatever_becomes_of_it() -> None:
    """The upstream has it twice, though nobody waits for the answer."""
    lane = LANES[0]
    async with between() as (gateway, upstream):
        upstream.script(lane.whole(), RESET, HANG)
        await ask(gateway, lane)  # leaves a connection that is kept
        late = await ask(gateway, lane, headers={"x-isthmus-timeout": "300ms"})

        assert (504, 3, "1") == (late.status, len(upstream.requests), late.headers["x-isthmus-attempts"])
        assert 1.0 == gateway.metric("isthmus_stale_resends_total")


async def test_more_calls_than_an_upstream_takes_are_shed() -> None:
    """`concurrency` of a row: 503 with Retry-After, at once."""
    table = TABLE.replace('secret: "env:OPENAI_UP"}', 'secret: "env:OPENAI_UP", concurrency: 1}')
    async with between(table=table) as (gateway, upstream):
        upstream.script(HANG)
        task = asyncio.create_task(ask(gateway, LANES[0]))
        await upstream.asked(1)
        began = time.monotonic()
        answer = await ask(gateway, LANES[0])

        assert (503, "gateway_overloaded") == (answer.status, answer.json["error"]["code"])
        assert "retry-after" in answer.headers and time.monotonic() - began < 1.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_signatures_survive_a_client_that_drops_them() -> None:
    """A call's thought signature comes back to the model although the caller echoes only what it knows."""
    table = TABLE.replace("model: gemini-2.5-flash", "model: gemini-3-pro")
    async with between(table=table) as (gateway, upstream):
        call = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2lnbmVk"}
        upstream.script(json_answer(gemini_answer(None, parts=[call])), json_answer(gemini_answer("22 °C")))
        tools = [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
        ]
        first = await ask(gateway, LANES[1], tools=tools)
        given = first.json["choices"][0]["message"]["tool_calls"][0]
        known = {"id": given["id"], "type": "function", "function": given["function"]}
        history = [
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": None, "tool_calls": [known]},
            {"role": "tool", "tool_call_id": given["id"], "content": "22 °C"},
        ]
        second = await gateway.post(
            "/v1/chat/completions", {"model": "gemini-model", "messages": history, "tools": tools}
        )
        sent = upstream.requests[1].json()["contents"]

        assert "22 °C" == LANES[1].text_of(second.json)
        assert "c2lnbmVk" == given["extra_content"]["google"]["thought_signature"]
        assert call == sent[1]["parts"][0]
        assert "get_weather" == sent[2]["parts"][0]["functionResponse"]["name"]
        assert "x-isthmus-loss" not in second.headers


async def test_what_only_the_upstream_understands_is_given_as_it_came() -> None:
    """A stream was asked for with state that the upstream holds, and the answer is whole: JSON, and nobody's fault."""
    lane = Lane("responses", "responses")
    async with between() as (gateway, upstream):
        upstream.script(lane.whole("all at once"))
        answer = await ask(gateway, lane, stream=True, previous_response_id="resp_1")

        assert (200, "application/json") == (answer.status, answer.headers["content-type"])
        assert "all at once" == lane.text_of(answer.json)
        assert 1 == gateway.metric("isthmus_requests_total", outcome="ok")


async def test_a_list_in_several_headers_arrives_whole() -> None:
    """Betas may be named one by one (RFC 9110 section 5.3)."""
    lane = Lane("anthropic", "anthropic")
    async with between() as (gateway, upstream):
        upstream.script(lane.whole())
        headers = [("anthropic-beta", "one,two"), ("anthropic-beta", "three"), ("content-type", "application/json")]
        async with gateway.session.post(gateway.url + lane.path(), json=lane.body(), headers=headers) as response:
            assert 200 == response.status

        assert "one,two, three" == upstream.requests[0].header("anthropic-beta")


@pytest.mark.parametrize("lane", LANES[1::2], ids=lambda lane: lane.name)
async def test_a_whole_answer_that_gives_no_reason_makes_a_stream_with_an_end(lane: Lane) -> None:
    """A stream ends with a finish or with an error, never with neither."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(json_answer(gemini_answer("hello", finish=None)))
        answer = await gateway.post(lane.path(stream=True), lane.body(stream=True))
        heard = lane.hear(answer.body)

        assert "hello" == heard.text and heard.complete


# ── smaller promises ───────────────────────────────────────────────────────────────────


@lanes
async def test_within_bounds_the_attempt_under_way(lane: Lane) -> None:
    """The deadline over all attempts holds inside an attempt too, as long as nothing has been said."""
    async with between(table=TABLE.replace("attempts: $attempts", "attempts: $attempts\n    within: 300ms")) as (
        gateway,
        upstream,
    ):
        upstream.script(HANG)
        began = time.monotonic()
        answer = await ask(gateway, lane)

        assert 504 == answer.status and time.monotonic() - began < 1.4


async def test_several_keys_of_one_account_take_turns() -> None:
    """`secrets` of a row: each call the next one."""
    table = TABLE.replace('secret: "env:OPENAI_UP"', 'secrets: ["env:OPENAI_UP", "env:SECOND"]')
    keys = KEYS | {"SECOND": "sk-second-upstream-key"}
    async with FakeUpstream() as upstream, running(table, keys, up=upstream.url, attempts=1) as gateway:
        upstream.always(json_answer(chat_answer()))
        for _ in range(4):
            await ask(gateway, LANES[0])
        used = [request.header("authorization") for request in upstream.requests]

        assert {f"Bearer {KEYS['OPENAI_UP']}", "Bearer sk-second-upstream-key"} == set(used[:2]) == set(used[2:])


async def test_lists_of_models_are_logged_and_counted() -> None:
    """Like every other call."""
    async with between() as (gateway, _):
        await gateway.get("/v1/models")
        await gateway.get("/v1/models/nope")

        assert [200, 404] == [line["status"] for line in await gateway.lines()]
        assert 2 == gateway.metric("isthmus_requests_total", route="/v1/models")


@lanes
async def test_busy_and_shed_always_say_when_to_come_back(lane: Lane) -> None:
    """429 and 503 carry retry-after even where nobody named a time."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.failure(429), lane.failure(503))

        assert ["1", "1"] == [(await ask(gateway, lane)).headers.get("retry-after") for _ in range(2)]


async def test_more_than_a_hundred_headers_are_refused() -> None:
    """431, in JSON."""
    async with between() as (gateway, _):
        head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"x-{i}: 1\r\n" for i in range(120)) + "\r\n"

        assert (await raw_request(gateway.port, head.encode())).startswith(b"HTTP/1.0 431")
