"""router/line.py: kept connections. What they do in whole exchanges is told in test_isolation and test_transport."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from providers.dialect import WireRequest
from router import line as lines
from router.line import Answer, Line, Lost
from tests.fakes import FakeUpstream, Reply, Sleep, Write, answer, interim, json_answer, raw, status

CLOCK = aiohttp.ClientTimeout(total=None, sock_connect=1.0)
WIRE = WireRequest(path="/x", headers={"content-type": "application/json"}, body=b"{}")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as made:
        yield made


@pytest.fixture
async def line(session: aiohttp.ClientSession, upstream: FakeUpstream) -> AsyncIterator[Line]:
    made = Line(session, URL(upstream.url), keeps=True)
    yield made
    made.close()


async def whole(line: Line, *, fresh: bool = False) -> tuple[Answer, bytes]:
    """One call to its end, its connection given back."""
    found = await line.send("/x", WIRE, CLOCK, fresh=fresh)
    try:
        return found, await found.content.read()
    finally:
        found.close()


def connections(upstream: FakeUpstream) -> int:
    return len({id(request.connection) for request in upstream.requests})


@pytest.mark.parametrize(
    "first",
    [
        json_answer({"a": 1}),
        answer(200, b"abc", framing="chunked"),
        answer(200, gzip.compress(b"abc"), headers={"content-encoding": "gzip"}),
        answer(200, b"abc").after(interim(102)),
        status(503, {"error": "later"}),
        answer(204, b"", framing="none"),
    ],
    ids=["length", "chunked", "gzip", "after-102", "error", "204"],
)
async def test_a_connection_serves_again_after_any_whole_answer(
    first: Reply, line: Line, upstream: FakeUpstream
) -> None:
    """The parser that read one answer reads the next one as if it were the first."""
    upstream.script(first, json_answer({"second": True}))
    one, _ = await whole(line)
    two, body = await whole(line)

    assert (1, b'{"second":true}') == (connections(upstream), body)
    assert one.took is not None and two.took is None


@pytest.mark.parametrize(
    "first",
    [
        answer(200, b"abc", headers={"connection": "close"}),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=["connection-close", "http-1.0", "one-answer-too-many"],
)
async def test_a_connection_that_is_used_up_is_not_kept(first: Reply, line: Line, upstream: FakeUpstream) -> None:
    """Closed by its upstream, or with bytes on it that belong to no request: the next call gets a new one."""
    upstream.script(first, json_answer({"second": True}))
    await whole(line)
    two, body = await whole(line)

    assert (2, b'{"second":true}') == (connections(upstream), body)
    assert two.took is not None


async def test_what_comes_on_an_idle_connection_answers_no_call(line: Line, upstream: FakeUpstream) -> None:
    """An answer that nobody asked for is not given to whoever calls next."""
    stray = Write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
    upstream.script(json_answer({}).then(Sleep(0.05), stray), json_answer({"second": True}))
    await whole(line)
    await asyncio.sleep(0.15)
    _, body = await whole(line)

    assert (2, b'{"second":true}') == (connections(upstream), body)


async def test_an_answer_that_was_not_read_to_its_end_is_cut(line: Line, upstream: FakeUpstream) -> None:
    """Its rest would be taken for the next answer."""
    upstream.script(answer(200, b"abc").cut_body(1, Sleep(1.0)), json_answer({}))
    cut = await line.send("/x", WIRE, CLOCK)
    cut.close()
    cut.close()  # a second time changes nothing
    await whole(line)

    assert 2 == connections(upstream)


async def test_a_lost_connection_says_whether_it_was_a_kept_one(line: Line, upstream: FakeUpstream) -> None:
    """Only a kept connection may have gone stale; a new one that is lost is the upstream's failure."""
    upstream.script(json_answer({}), raw(b""), raw(b""))
    await whole(line)
    with pytest.raises(Lost) as kept:
        await whole(line)
    with pytest.raises(Lost) as new:
        await whole(line, fresh=True)

    assert kept.value.took is None
    assert new.value.took is not None


async def test_the_connection_used_last_is_used_first(line: Line, upstream: FakeUpstream) -> None:
    """Those that a burst needed grow old together, and are closed."""
    upstream.always(json_answer({}))
    first, second = await line.send("/x", WIRE, CLOCK), await line.send("/x", WIRE, CLOCK)
    for each in (first, second):
        await each.content.read()
        each.close()
    await whole(line)

    assert upstream.requests[2].connection is upstream.requests[1].connection


async def test_idle_connections_are_closed(
    session: aiohttp.ClientSession, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After their time, although nobody calls; and all of them when the line is closed."""
    upstream.always(json_answer({}))
    monkeypatch.setattr(lines, "KEEP_ALIVE", 0.1)
    line = Line(session, URL(upstream.url), keeps=True)
    await whole(line)
    await asyncio.sleep(0.3)
    after_their_time = len(upstream.open_connections)
    await whole(line)
    line.close()
    await asyncio.sleep(0.05)

    assert (0, 0) == (after_their_time, len(upstream.open_connections))


async def test_a_line_that_keeps_nothing_uses_the_connectors_pool(
    session: aiohttp.ClientSession, upstream: FakeUpstream
) -> None:
    """For addresses that callers name: one pool bounds them all. A connection from it counts as kept."""
    upstream.always(json_answer({}))
    line = Line(session, URL(upstream.url), keeps=False)
    one, _ = await whole(line)
    two, _ = await whole(line)

    assert 1 == connections(upstream)
    assert one.took is not None and two.took is None


async def test_no_header_breaks_out_of_its_line(line: Line, upstream: FakeUpstream) -> None:
    """A line break in a value is refused before a connection is taken."""
    wire = WireRequest(path="/x", headers={"x-a": "1\r\nx-b: 2"}, body=b"{}")
    with pytest.raises(ValueError, match="line break"):
        await line.send("/x", wire, CLOCK)

    assert [] == upstream.requests
