"""Streams and their faults, over a real socket on each side (reliability requirements S01 to S26).

A stream ends in exactly one way: well, or with one error event. Never silence, never an invented finish.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.answers import to_json as as_json
from tests.fakes import HANG, HANG_UP, RESET, FakeUpstream, Sleep, event, flood, gzip_bomb, json_answer, sse
from tests.fakes import answer as plain
from tests.lanes import ANSWERING, ASKING, KEYS, LANES, TABLE, Heard, Lane, as_bytes
from tests.running import Answer, Running, running

EVERY = [*LANES, *ANSWERING]
every_lane = pytest.mark.parametrize("lane", EVERY, ids=[lane.name for lane in EVERY])
# What takes its time does not run for every pair: each language of callers and upstreams is there.
FEW = [*LANES, *ASKING[3:], Lane("ollama", "ollama")]
few_lanes = pytest.mark.parametrize("lane", FEW, ids=[lane.name for lane in FEW])


@asynccontextmanager
async def between(attempts: int = 3) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(TABLE, KEYS, up=upstream.url, attempts=attempts) as gateway:
        yield gateway, upstream


async def ask(gateway: Running, lane: Lane, **more: Any) -> Answer:
    return await gateway.post(lane.path(stream=True), lane.body(stream=True, **more))


async def heard(gateway: Running, lane: Lane) -> Heard:
    answer = await ask(gateway, lane)
    assert 200 == answer.status, answer.body
    return lane.hear(answer.body)


def broken_off(got: Heard, text: str) -> bool:
    """What came before the fault is there, then one error and no clean end."""
    return text == got.text and got.error is not None and got.finish is None and not got.after_end


@few_lanes
async def test_s01_a_good_stream_is_given_on_as_it_comes(lane: Lane) -> None:
    """Each chunk within 50 ms, one finish, the end mark last, and the head of an event stream."""
    async with between() as (gateway, upstream):
        upstream.script(lane.stream(*(f"w{i} " for i in range(8)), every=0.1))
        arrivals: list[float] = []
        body = b""
        async with gateway.session.post(gateway.url + lane.path(stream=True), json=lane.body(stream=True)) as response:
            async for data in response.content.iter_any():
                arrivals.append(time.monotonic())
                body += data
        got = lane.hear(body)

        assert "".join(f"w{i} " for i in range(8)) == got.text and got.complete
        assert response.headers["content-type"].startswith(lane.asks.streams_as)
        assert "no-cache" in response.headers["cache-control"] and "content-length" not in response.headers
        assert len(arrivals) >= 8 and arrivals[-1] - arrivals[0] > 0.5
        assert 1 == gateway.metric("isthmus_stream_end_total", reason="done")


@every_lane
@pytest.mark.parametrize(("code", "status"), [(401, 502), (429, 429), (500, 502), (400, 400)])
async def test_s02_what_fails_before_the_first_event_keeps_its_status(lane: Lane, code: int, status: int) -> None:
    """No 200 for a stream that never began."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.failure(code, "sorry about that"))
        answer = await ask(gateway, lane)

        assert status == answer.status
        assert b"sorry about that" in answer.body


@every_lane
async def test_s02_a_reset_before_the_first_event_is_tried_again(lane: Lane) -> None:
    """Two attempts, one stream, and the caller never learns."""
    async with between() as (gateway, upstream):
        upstream.script(RESET, lane.stream("fine"))
        got = await heard(gateway, lane)

        assert "fine" == got.text and got.complete
        assert 2 == len(upstream.requests) == gateway.metric("isthmus_attempts_total")


@every_lane
@pytest.mark.parametrize("end", [RESET, HANG_UP], ids=["s03-reset", "s04-fin"])
async def test_s03_s04_a_connection_lost_in_mid_stream_ends_in_an_error(lane: Lane, end: Any) -> None:
    """The chunks before it, then one error event with the stable code, no finish, no end mark."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a", "b", "c"), end))
        got = await heard(gateway, lane)

        assert broken_off(got, "abc")
        assert "upstream_connection" == lane.code(got.error)
        assert 1 == len(upstream.requests)


@every_lane
async def test_s05_a_clean_end_without_finish_is_a_truncation(lane: Lane) -> None:
    """A stream that just ends is never a cheerful stop."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a", "b")))
        got = await heard(gateway, lane)

        assert broken_off(got, "ab")
        assert "upstream_truncated" == lane.code(got.error)


@every_lane
async def test_s06_a_missing_end_mark_after_the_finish_is_forgiven(lane: Lane) -> None:
    """Finish came: it is complete, and our caller gets the end mark."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.talks.unmarked("a")))
        got = await heard(gateway, lane)

        assert "a" == got.text and got.complete


@every_lane
async def test_s07_half_an_event_is_not_given_on(lane: Lane) -> None:
    """The end came inside an event: an error, and nothing of the half."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a"), lane.talks.half(b'{"id": "half')))
        answer = await ask(gateway, lane)
        got = lane.hear(answer.body)

        assert broken_off(got, "a")
        assert b'"half' not in answer.body


@few_lanes
async def test_s08_a_stall_ends_at_the_idle_limit(lane: Lane) -> None:
    """An error event at the limit, and the upstream's connection is closed."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a", "b"), HANG))
        began = time.monotonic()
        got = await heard(gateway, lane)

        assert broken_off(got, "ab") and "upstream_timeout" == lane.code(got.error)
        assert 0.35 < time.monotonic() - began < 1.4
        await upstream.requests[0].connection.left(1.0)
        assert 1 == gateway.metric("isthmus_stream_end_total", reason="idle")


@few_lanes
async def test_s09_headers_and_then_nothing_is_a_504(lane: Lane) -> None:
    """Our head is held back until there is something to say."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.sent(HANG))
        answer = await ask(gateway, lane)

        assert 504 == answer.status


@every_lane
async def test_s10_an_error_event_is_told_in_the_callers_dialect(lane: Lane) -> None:
    """The upstream's words are kept, its clean end is not invented."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a"), lane.talks.fault("the model fell over")))
        got = await heard(gateway, lane)

        assert broken_off(got, "a")
        assert "the model fell over" in got.error["message"]


@every_lane
async def test_s11_an_event_that_cannot_be_read_is_never_given_on(lane: Lane) -> None:
    """Raw garbage of an upstream does not reach the caller."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a"), lane.talks.garbage(b"{nonsense"), *lane.events("b")))
        answer = await ask(gateway, lane)
        got = lane.hear(answer.body)

        assert b"nonsense" not in answer.body
        assert broken_off(got, "a") or ("ab" == got.text and got.complete)


@few_lanes
@pytest.mark.parametrize("ends", [b"\r\n", b"\r", b"\n"], ids=["crlf", "cr", "lf"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_s12_s14_any_line_end_in_any_packet_gives_the_same_text(lane: Lane, ends: bytes, size: int) -> None:
    """CRLF, CR, LF, cut anywhere, also inside an emoji."""
    if lane.talks.framing == "frames" or (lane.talks.framing == "lines" and ends == b"\r"):
        pytest.skip("this upstream's events do not end with such lines")
    async with between() as (gateway, upstream):
        data = b"".join(as_bytes(event) for event in lane.events("grün ", "👩‍👩‍👧 ", "ok")).replace(b"\n", ends)
        upstream.script(lane.sent(data).dripped(size=size))
        got = await heard(gateway, lane)

        assert "grün 👩‍👩‍👧 ok" == got.text and got.complete


@every_lane
async def test_s13_comments_names_and_other_fields_are_understood(lane: Lane) -> None:
    """BOM, pings, event and id lines, `data:` without a space, lines too many between events: the same text."""
    if lane.talks.framing != "sse":
        pytest.skip("this upstream does not talk in server-sent events")
    async with between() as (gateway, upstream):
        first, *rest = (as_bytes(event) for event in lane.events("a", "b"))
        data = (
            b"\xef\xbb\xbf\n\n: ping\n\nretry: 100\nid: 7\n"
            + first
            + b"\n\n\n: again\n\n"
            + b"\n\n".join(rest).replace(b"data: ", b"data:")
        )
        upstream.script(lane.sent(data))
        got = await heard(gateway, lane)

        assert "ab" == got.text and got.complete


@every_lane
async def test_s15_marks_inside_the_content_stay_content(lane: Lane) -> None:
    """Text that looks like framing is text."""
    text = "\n\ndata: [DONE]\n\n\u2028 \u0085 \r end"
    async with between() as (gateway, upstream):
        upstream.script(lane.stream(text, "!"), lane.whole(text))
        got = await heard(gateway, lane)
        whole = await gateway.post(lane.path(), lane.body())

        assert text + "!" == got.text and got.complete
        assert text == lane.text_of(whole.json)


@every_lane
async def test_s16_an_endless_event_is_cut_at_the_limit(lane: Lane) -> None:
    """An error, and the upstream is cut off near the limit."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(
            flood(64 << 20, start=b"data: ", headers=[("Content-Type", "text/event-stream")], framing="chunked")
        )
        answer = await ask(gateway, lane)

        assert 502 == answer.status
        await upstream.requests[0].connection.left(1.0)
        assert upstream.requests[0].connection.sent < 8 << 20


@every_lane
async def test_s17_nothing_after_the_end(lane: Lane) -> None:
    """The stream ends at its end mark although the upstream goes on."""
    if not lane.talks.has_end_mark:
        pytest.skip("this upstream has no end mark: it ends with its connection")
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.events("a"), *lane.opening("zombie"), HANG))
        got = await heard(gateway, lane)

        assert "a" == got.text and got.complete


@every_lane
async def test_s18_json_although_a_stream_was_asked_becomes_a_stream(lane: Lane) -> None:
    """The same answer as the stream that it would have been, whatever its label, with a byte order mark or without."""
    texts = [as_json(lane.answer("all at once")), b"\xef\xbb\xbf\n" + as_json(lane.answer("all at once"))]
    labels = [
        {"Content-Type": label} for label in ("application/json", "Text/JSON; x=y", "text/plain", lane.talks.kind)
    ]
    async with between() as (gateway, upstream):
        for text, label in [(texts[0], {}), (texts[1], labels[0]), *((texts[0], label) for label in labels)]:
            upstream.script(plain(200, text, headers=label))
            got = await heard(gateway, lane)

            assert "all at once" == got.text and got.complete, label


@every_lane
async def test_s18_an_error_under_200_is_an_error(lane: Lane) -> None:
    """A 200 with an error object keeps no 200."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(json_answer(lane.error_event("not today")))
        answer = await ask(gateway, lane)

        assert 502 == answer.status and b"not today" in answer.body


@every_lane
async def test_s19_a_stream_under_a_wrong_label_is_understood(lane: Lane) -> None:
    """Event stream bytes labelled as JSON are still a stream."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.events("a", "b"), headers=[("Content-Type", "application/json")]))
        got = await heard(gateway, lane)

        assert "ab" == got.text and got.complete


@every_lane
async def test_s20_a_stream_without_any_event_is_no_success(lane: Lane) -> None:
    """Nothing at all is a bad answer."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(lane.sent())
        answer = await ask(gateway, lane)

        assert 502 == answer.status


@every_lane
async def test_s21_a_compressed_stream_is_read(lane: Lane) -> None:
    """Not asked for, but understood."""
    async with between() as (gateway, upstream):
        events = lane.events("a", "b")
        upstream.script(lane.sent(*events, gzip=True))
        got = await heard(gateway, lane)

        assert "ab" == got.text and got.complete


@every_lane
async def test_s22_a_compressed_bomb_is_cut(lane: Lane) -> None:
    """An error, and the bomb does not go off."""
    async with between(attempts=1) as (gateway, upstream):
        upstream.script(gzip_bomb(256 << 20, headers=[("Content-Type", "text/event-stream")]))
        answer = await ask(gateway, lane)

        assert answer.status in (502, 504)


@every_lane
@pytest.mark.parametrize("before_first", [False, True], ids=["s23-mid-stream", "s24-before-the-first-token"])
async def test_s23_s24_a_caller_who_leaves_frees_the_upstream(lane: Lane, before_first: bool) -> None:
    """The upstream's connection is closed within a second, nothing is tried again, and it is counted as left."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*([] if before_first else lane.opening("a", "b")), Sleep(5)))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(_raw(lane))
        request = await upstream.asked(1)
        if not before_first:
            await reader.readuntil(b"200 OK")
            await asyncio.sleep(0.05)
        left = time.monotonic()
        writer.transport.abort()

        await request.connection.left(1.0)
        assert time.monotonic() - left < 1.0
        assert 1 == len(upstream.requests)
        lines = await gateway.lines(least=1)
        assert ["client_left"] == [line["outcome"] for line in lines]
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


@few_lanes
async def test_s25_a_caller_who_does_not_read_holds_back_the_upstream(lane: Lane) -> None:
    """Bounded buffers, the upstream waits, and after the stall limit the caller is dropped."""
    async with between() as (gateway, upstream):
        piece = as_bytes(lane.chunk("x" * 2000))
        upstream.script(flood(64 << 20, fill=piece, headers=[("Content-Type", "text/event-stream")], framing="chunked"))
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(_raw(lane))
        request = await upstream.asked(1)

        await request.connection.left(4.0)
        assert request.connection.sent < 16 << 20
        await asyncio.sleep(0.05)
        assert 1 == gateway.metric("isthmus_stream_end_total", reason="limit")
        writer.close()


@every_lane
async def test_s26_a_fault_after_bytes_is_not_tried_again(lane: Lane) -> None:
    """Exactly one attempt once something was given out."""
    async with between() as (gateway, upstream):
        upstream.script(lane.sent(*lane.opening("a"), RESET))
        await heard(gateway, lane)

        assert 1 == len(upstream.requests) == gateway.metric("isthmus_attempts_total")


@every_lane
@pytest.mark.parametrize("words", [(), ("",), ("", "")], ids=["opening", "empty", "empty-twice"])
async def test_s27_a_stall_before_the_first_word_goes_elsewhere(lane: Lane, words: tuple[str, ...]) -> None:
    """A role and empty words commit to nothing: the second target's answer is all that the caller sees."""
    twice = re.sub(r"\[\{(provider: [\w-]+), model: ([\w.-]+)\}\]", r"[{\1, model: \2}, {\1, model: other}]", TABLE)
    async with FakeUpstream() as upstream, running(twice, KEYS, up=upstream.url, attempts=2) as gateway:
        upstream.script(lane.sent(*lane.opening(*words), HANG), lane.stream("fine"))
        got = await heard(gateway, lane)

        assert ("fine", True) == (got.text, got.complete)
        assert 2 == len(upstream.requests)


@every_lane
async def test_a_caller_who_did_not_ask_for_usage_is_not_given_it_but_we_count(lane: Lane) -> None:
    """Usage is always obtained, and shown to an OpenAI caller only on request."""
    async with between() as (gateway, upstream):
        upstream.script(lane.stream("a"))
        got = await heard(gateway, lane)

        assert (got.usage is None) == (lane.caller == "openai")
        assert 1 == gateway.metric("gen_ai_client_token_usage_count", token_type="output")
        assert 3 == gateway.metric("gen_ai_client_token_usage_sum", token_type="output")


def _raw(lane: Lane) -> bytes:
    body = json.dumps(lane.body(stream=True)).encode()
    head = f"POST {lane.path(stream=True)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


_CHAT_HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_COUNTED = {
    "openai": [
        {
            **_CHAT_HEAD,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}],
        },
        {
            **_CHAT_HEAD,
            "choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        },
    ],
    "gemini": [
        {
            "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": count, "totalTokenCount": 9 + count},
        }
        for text, count in (("a", 1), ("b", 3))
    ],
    "anthropic": [
        {
            "type": "message_start",
            "message": {
                "id": "m1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "usage": {"input_tokens": 9, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ab"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 3}},
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "model": "m", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "i1", "type": "message", "role": "assistant", "content": [], "status": "in_progress"},
        },
        {
            "type": "response.content_part.added",
            "item_id": "i1",
            "output_index": 0,
            "content_index": 0,
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
        {
            "type": "response.output_text.delta",
            "item_id": "i1",
            "output_index": 0,
            "content_index": 0,
            "delta": "ab",
        },
        {
            "type": "response.failed",
            "response": {
                "id": "r1",
                "status": "failed",
                "model": "m",
                "output": [],
                "error": {"code": "server_error", "message": "it broke"},
                "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
            },
        },
    ],
}


@pytest.mark.parametrize("caller", ["itself", "another"])
@pytest.mark.parametrize("upstream", _COUNTED)
async def test_what_was_counted_before_a_stream_broke_off_counts(upstream: str, caller: str) -> None:
    """The last that the upstream told, whether its words are passed on or translated: input 9, output 3."""
    lane = Lane(upstream if caller == "itself" else {"openai": "gemini"}.get(upstream, "openai"), upstream)
    events = [to_event(said, lane.upstream) for said in _COUNTED[upstream]]
    async with between() as (gateway, fake):
        fake.script(sse(*events, HANG_UP))
        got = await heard(gateway, lane)
        line = (await gateway.lines())[0]

        assert got.error is not None
        assert (9, 3) == (line["usage"]["input"], line["usage"]["output"])
        assert 9 == gateway.metric("isthmus_tokens_total", token_type="input", source="provider")
        assert 3 == gateway.metric("isthmus_tokens_total", token_type="output", source="provider")


def to_event(said: Any, upstream: str) -> bytes:
    return event(said, said["type"] if upstream in ("anthropic", "responses") else None)
