"""Streams that bring too little, seen from callers of every language."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes import Drip, FakeUpstream, Sleep
from tests.lanes import ANSWERING, KEYS, LANES, TABLE, Lane
from tests.running import Running, running

CHAT = LANES[0]
#: Within 400 ms, the idle clock of this table, something always comes: only the rate is too low.
SLOW = TABLE.replace("total: 5s}", "total: 20s, min_rate: $rate, rate_over: 1s}")
TWO = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
models:
  m: [{provider: one, model: a}, {provider: two, model: b}]
policies:
  default: {timeouts: {min_rate: 1KiB, rate_over: 500ms}}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""


@contextlib.asynccontextmanager
async def between(rate: str) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(SLOW, KEYS, up=upstream.url, attempts=1, rate=rate) as gateway:
        yield gateway, upstream


@pytest.mark.parametrize("lane", [*LANES, *ANSWERING], ids=lambda lane: lane.name)
async def test_a_stream_that_dribbles_ends_as_a_timeout_of_its_upstream(lane: Lane) -> None:
    """In the caller's own words, with what it had got; the upstream's connection is closed."""
    async with between("4KiB") as (gateway, upstream):
        pieces = [step for _ in range(100) for step in (lane.chunk("x"), Sleep(0.2))]
        upstream.script(lane.sent(*lane.opening("Hel"), *pieces))
        began = time.monotonic()
        answer = await gateway.post(lane.path(stream=True), lane.body(stream=True))
        heard = lane.hear(answer.body)

        assert 200 == answer.status and heard.text.startswith("Hel") and not heard.complete
        assert 0.9 < time.monotonic() - began < 5.0
        assert 1.0 == gateway.metric("isthmus_stream_end_total", reason="idle")
        assert 1.0 == gateway.metric("isthmus_attempts_total", outcome="timeout")
        if lane.caller != "ollama":
            assert "upstream_timeout" == lane.code(heard.error)


async def test_a_stream_that_is_quick_enough_is_left_alone() -> None:
    """The same stream under a lower rate."""
    async with between("50") as (gateway, upstream):
        pieces = [step for _ in range(12) for step in (CHAT.chunk("x"), Sleep(0.2))]
        upstream.script(CHAT.sent(*CHAT.opening("Hel"), *pieces, *CHAT.events("lo")[1:]))
        heard = CHAT.hear((await gateway.post(CHAT.path(stream=True), CHAT.body(stream=True))).body)

        assert ("Hel" + "x" * 12 + "lo", True) == (heard.text, heard.complete)


async def test_a_whole_answer_has_no_rate() -> None:
    """It is not given on until all of it is there: its clocks are the others."""
    async with between("4KiB") as (gateway, upstream):
        body = CHAT.whole("Hi!")
        upstream.script(body.dripped(pause=0.05, size=len(body.data()) // 30))
        answer = await gateway.post(CHAT.path(), CHAT.body())

        assert (200, "Hi!") == (answer.status, CHAT.text_of(answer.json))


async def test_before_its_first_word_a_stream_that_dribbles_is_tried_elsewhere() -> None:
    """Nothing has reached the caller."""
    async with FakeUpstream() as one, FakeUpstream() as two:
        one.script(CHAT.sent(Drip(b": keep-alive\n\n" * 200, pause=0.02)))
        two.script(CHAT.stream("Hi!"))
        async with running(TWO, one=one.url, two=two.url) as gateway:
            answer = await gateway.post(CHAT.path(stream=True), CHAT.body(stream=True) | {"model": "m"})

        assert ("Hi!", "2") == (CHAT.hear(answer.body).text, answer.headers["x-isthmus-attempts"])


async def test_a_caller_who_reads_slowly_is_not_taken_for_a_slow_upstream() -> None:
    """It takes nothing for longer than the window, and then all that there is."""
    text = "x" * 20_000
    table = SLOW.replace("write_stall: 1s", "write_stall: 30s")
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=1, rate="4KiB") as gateway:
        upstream.script(CHAT.sent(*CHAT.opening(text), *[CHAT.chunk(text)] * 600, *CHAT.events("end")[1:]))
        call = gateway.session.post(gateway.url + CHAT.path(stream=True), json=CHAT.body(stream=True), read_bufsize=999)
        async with call as response:
            await asyncio.sleep(2.5)
            heard = CHAT.hear(await response.read())

        assert heard.complete and heard.text.endswith("end")
