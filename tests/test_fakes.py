"""The fake upstream must be as bad as it is told to be, or the tests that lean on it prove nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes import (
    DONE,
    HANG,
    HANG_UP,
    RESET,
    BadRequest,
    FakeClock,
    FakeUpstream,
    Sleep,
    Until,
    Write,
    answer,
    black_hole,
    chat_answer,
    chat_chunk,
    chat_stream,
    dead_port,
    flood,
    gemini_answer,
    gemini_stream,
    gzip_bomb,
    interim,
    json_answer,
    json_array,
    parse_answer,
    raw,
    raw_call,
    raw_request,
    redirect,
    sse,
    status,
    tool_call,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


async def test_a_script_answers_line_by_line(upstream: FakeUpstream) -> None:
    """One line of the script answers one request."""
    upstream.script(status(429, headers={"retry-after": "1"}), json_answer({"ok": True}))

    first, second = await raw_call(upstream.port, "GET", "/"), await raw_call(upstream.port, "GET", "/")

    assert (429, "1") == (first.code, first.header("retry-after"))
    assert (200, {"ok": True}) == (second.code, second.json())
    assert 0 == upstream.unused


async def test_a_request_is_kept_as_it_came(upstream: FakeUpstream) -> None:
    """Target, header spelling and order, and body are recorded byte for byte."""
    upstream.always(json_answer())

    await raw_request(
        upstream.port,
        b"POST //a/%2e/../b?x=1 HTTP/1.1\r\nzZ: 1\r\nHost: x\r\nAa:2\r\nContent-Length: 3\r\n\r\nabc",
    )

    request = upstream.requests[0]
    assert ("POST", "//a/%2e/../b?x=1", b"abc") == (request.method, request.target, request.body)
    assert [("zZ", "1"), ("Host", "x"), ("Aa", "2"), ("Content-Length", "3")] == request.headers
    assert (1, 1) == (request.turn, request.connection.number)
    assert ("//a/%2e/../b", "x=1") == (request.path, request.query)


async def test_a_chunked_request_is_read_whole(upstream: FakeUpstream) -> None:
    """Chunk framing is taken off a request body."""
    upstream.always(json_answer())

    await raw_request(
        upstream.port,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )

    assert b"abcde" == upstream.requests[0].body


async def test_one_connection_takes_several_requests(upstream: FakeUpstream) -> None:
    """Requests on a kept connection are told apart by their turn."""
    upstream.always(lambda request: RESET if request.turn > 1 else json_answer())
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    first = await reader.readuntil(b"{}")
    writer.write(GET)

    with pytest.raises(ConnectionResetError):
        await reader.read()

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [1, 2] == [request.turn for request in upstream.requests]
    assert 1 == len(upstream.connections)
    writer.close()


async def test_the_end_of_the_script_is_a_failure() -> None:
    """A request that no line answers fails the test that made it."""
    with pytest.raises(AssertionError, match="request 1 came after the end"):
        async with FakeUpstream() as upstream:
            reply = await raw_call(upstream.port, "GET", "/")

            assert 501 == reply.code


async def test_a_mistake_in_a_handler_is_not_lost() -> None:
    """What a handler raises reaches the test."""
    with pytest.raises(ZeroDivisionError):
        async with FakeUpstream() as upstream:
            upstream.always(lambda request: status(1 // 0))
            await raw_request(upstream.port, GET)


async def test_a_request_with_two_framings_is_a_failure() -> None:
    """A sender that frames a body twice is caught, whatever it wanted."""
    with pytest.raises(BadRequest):
        async with FakeUpstream() as upstream:
            upstream.always(json_answer())
            await raw_request(
                upstream.port,
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_framings(upstream: FakeUpstream, framing: str) -> None:
    """The same body arrives under each framing."""
    upstream.script(answer(200, b"ab", b"cd", framing=framing))  # type: ignore[arg-type]

    reply = await raw_call(upstream.port, "GET", "/")

    assert b"abcd" == reply.body
    assert {"length": ("4", None), "chunked": (None, "chunked"), "close": (None, None)}[framing] == (
        reply.header("content-length"),
        reply.header("transfer-encoding"),
    )


async def test_reset_and_hang_up_are_told_apart(upstream: FakeUpstream) -> None:
    """A reset is an error to the reader, a hang-up an early end."""
    upstream.script(RESET, HANG_UP)
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()

    assert b"" == await raw_request(upstream.port, GET)


async def test_a_stream_can_break_after_some_events(upstream: FakeUpstream) -> None:
    """What was written before a reset arrives, and no last chunk."""
    upstream.script(sse(chat_chunk("a"), chat_chunk("b"), RESET))

    received = await raw_request(upstream.port, GET)

    assert 2 == received.count(b"data: {")
    assert not received.endswith(b"0\r\n\r\n")
    assert parse_answer(received) is None


async def test_body_shorter_than_its_length(upstream: FakeUpstream) -> None:
    """A length may promise more than comes; a cut counts from the end of the head."""
    upstream.script(json_answer({"a": 1}, headers={"content-length": "99"}).then(HANG_UP))
    upstream.script(json_answer({"a": 1}).cut_body(3))

    long = await raw_request(upstream.port, GET)
    cut = await raw_request(upstream.port, GET)

    assert long.endswith(b'content-length: 99\r\n\r\n{"a":1}')
    assert cut.endswith(b'\r\n\r\n{"a')


async def test_hang_records_when_the_caller_left(upstream: FakeUpstream) -> None:
    """A hanging answer ends when the caller leaves, and the time is kept."""
    upstream.script(HANG)
    _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    request = await upstream.asked()
    open_before = request.connection.open
    before = time.monotonic()
    writer.close()
    left = await request.connection.left()

    assert open_before
    assert before <= left < before + 0.5
    assert not request.connection.open


async def test_a_sleeping_answer_notices_that_the_caller_left(upstream: FakeUpstream) -> None:
    """A long pause does not outlive its caller."""
    upstream.script(sse("a", Sleep(30), "b"))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    await reader.readuntil(b"data: a\n\n")
    writer.close()

    assert await upstream.requests[0].connection.left() > 0


async def test_events_come_when_they_are_due(upstream: FakeUpstream) -> None:
    """An event is on the wire before the next one is due."""
    gate = asyncio.Event()
    upstream.script(sse("a", Until(gate), "b", DONE))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    first = await asyncio.wait_for(reader.readuntil(b"data: a\n\n\r\n"), 1)
    gate.set()
    rest = await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    assert b"data: b" not in first
    assert b"data: b\n\n" in rest
    assert b"data: [DONE]\n\n" in rest


async def test_drip_sends_each_byte_alone(upstream: FakeUpstream) -> None:
    """A dripped answer is the same bytes in many packets."""
    upstream.script(raw(b"0123456789", HANG_UP).dripped(pause=0.005))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    pieces = []
    while piece := await reader.read(100):
        pieces.append(piece)
    writer.close()

    assert b"0123456789" == b"".join(pieces)
    assert len(pieces) > 5


async def test_gzip_bodies(upstream: FakeUpstream) -> None:
    """Whole bodies and single events can be compressed; each event can be read when it arrives."""
    upstream.script(json_answer({"a": 1}, gzip=True), sse(*chat_stream("a", "b"), gzip=True))

    whole = await raw_call(upstream.port, "GET", "/")
    stream = await raw_call(upstream.port, "GET", "/")

    assert {"a": 1} == json.loads(gzip.decompress(whole.body))
    assert gzip.decompress(stream.body).endswith(DONE)


async def test_gzip_bomb_is_small_on_the_wire(upstream: FakeUpstream) -> None:
    """A bomb grows by hundreds of times when it is decoded."""
    upstream.script(gzip_bomb(3_000_000, start=b"[1,"))

    reply = await raw_call(upstream.port, "GET", "/")
    decoded = gzip.decompress(reply.body)

    assert len(reply.body) < 10_000
    assert (3_000_003, b"[1, ") == (len(decoded), decoded[:4])


async def test_flood_is_counted_as_it_is_taken(upstream: FakeUpstream) -> None:
    """A caller who stops reading holds the flood back, and the count shows how far it came."""
    upstream.script(flood(512 << 20))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, limit=4096)
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    connection = upstream.connections[0]
    taken = -1
    while connection.sent > taken:
        taken = connection.sent
        await asyncio.sleep(0.2)
    writer.transport.abort()
    await connection.left()

    assert 0 < taken < 32 << 20


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_flood_is_well_framed(upstream: FakeUpstream, framing: str) -> None:
    """A flood that is taken whole is a good answer."""
    upstream.script(flood(200_000, start=b"[", end=b"]", framing=framing))  # type: ignore[arg-type]

    reply = await raw_call(upstream.port, "GET", "/")

    assert b"[" + b"x" * 200_000 + b"]" == reply.body


async def test_interim_answers_come_first(upstream: FakeUpstream) -> None:
    """1xx heads stand before the answer, and the raw caller steps over them."""
    upstream.script(json_answer({"a": 1}).after(interim(100), interim(103, {"Link": "</x>"})))

    received = await raw_request(upstream.port, GET)
    parsed = parse_answer(received)

    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    assert parsed is not None
    assert (200, {"a": 1}) == (parsed.code, parsed.json())


async def test_bytes_after_the_end(upstream: FakeUpstream) -> None:
    """Bytes may follow a whole answer on a connection that stays open."""
    upstream.script(json_answer({"a": 1}).then(Write(b"HTTP/1.1 200 OK\r\n"), Sleep(0.2)))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    received = await reader.readuntil(b'{"a":1}HTTP/1.1 200 OK\r\n')
    writer.close()

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_early_answer_does_not_wait_for_the_body(upstream: FakeUpstream) -> None:
    """An answer at once is there while the request's body is still to come."""
    upstream.script(status(413).at_once())

    received = await raw_request(upstream.port, b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\nab")

    assert received.startswith(b"HTTP/1.1 413 ")


async def test_garbage_and_redirects(upstream: FakeUpstream) -> None:
    """Bytes that are no HTTP, odd codes, repeated headers and redirects go out as told."""
    upstream.script(raw(b"SSH-2.0-x\r\n"), redirect("http://127.0.0.1:1/"), answer(999))
    upstream.script(answer(200, b"ab", headers=[("Content-Length", "2"), ("content-length", "3")]).then(HANG_UP))

    assert b"SSH-2.0-x\r\n" == await raw_request(upstream.port, GET)
    moved = await raw_call(upstream.port, "GET", "/")
    assert (307, "http://127.0.0.1:1/") == (moved.code, moved.header("location"))
    assert 999 == (await raw_call(upstream.port, "GET", "/")).code
    assert b"Content-Length: 2\r\ncontent-length: 3\r\n" in await raw_request(upstream.port, GET)


async def test_a_restart_closes_idle_connections(upstream: FakeUpstream) -> None:
    """Idle connections can be closed from the test."""
    upstream.always(json_answer())
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(GET)
    await reader.readuntil(b"{}")
    upstream.hang_up()
    rest = await asyncio.wait_for(reader.read(), 1)
    writer.close()

    assert b"" == rest


async def test_asked_says_what_did_not_come(upstream: FakeUpstream) -> None:
    """Waiting for a request that never comes fails with the count."""
    with pytest.raises(AssertionError, match="0 of 1 requests"):
        await upstream.asked(within=0.02)


async def test_dead_port_and_black_hole() -> None:
    """One refuses, the other keeps waiting."""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", dead_port())
    async with black_hole() as port:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 0.2)


async def test_a_stopped_upstream_refuses() -> None:
    """After `stop` nothing listens, and what was open is reset."""
    async with FakeUpstream() as upstream:
        upstream.script(HANG)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(GET)
        await upstream.asked()
        await upstream.stop()

        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.close()


async def test_answers_of_upstreams_have_their_shapes() -> None:
    """The builders say what the vendors' answers say where it matters."""
    chat = chat_answer("Hi", usage=(1, 2), tool_calls=[tool_call("f", {"a": 1})])
    assert "Hi" == chat["choices"][0]["message"]["content"]
    assert '{"a":1}' == chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3} == chat["usage"]

    *chunks, done = chat_stream("a", "b", usage=(1, 2))
    assert ["", "a", "b", None] == [c["choices"][0]["delta"].get("content") for c in chunks if c["choices"]]
    assert ([], 3) == (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"])
    assert DONE == done

    gemini = gemini_answer("Hi", parts=[{"functionCall": {"name": "f", "args": {}}}])
    parts = gemini["candidates"][0]["content"]["parts"]
    assert [{"text": "Hi"}, {"functionCall": {"name": "f", "args": {}}}] == parts
    assert [None, "STOP"] == [c["candidates"][0].get("finishReason") for c in gemini_stream("a", "b")]


async def test_json_array_stream(upstream: FakeUpstream) -> None:
    """A streamed array is one JSON document over all chunks."""
    upstream.script(json_array({"a": 1}, Sleep(0.001), {"b": 2}))

    assert [{"a": 1}, {"b": 2}] == (await raw_call(upstream.port, "GET", "/")).json()


async def test_the_clock_moves_only_when_told() -> None:
    """Sleeping moves the clock and is noted."""
    clock = FakeClock(now=10.0)
    clock.advance(1.5)
    await clock.sleep(2)

    assert (13.5, [2]) == (clock(), clock.slept)


async def test_aiohttp_understands_the_good_answers(upstream: FakeUpstream) -> None:
    """A real client reads what is meant to be good, and keeps the connection."""
    import aiohttp

    upstream.script(json_answer({"a": 1}), sse("x", DONE, gzip=True), json_answer({"b": 2}, version="HTTP/1.0"))
    async with aiohttp.ClientSession() as session:
        texts = []
        for _ in range(3):
            async with session.get(upstream.url) as reply:
                texts.append(await reply.text())

    assert ['{"a":1}', "data: x\n\ndata: [DONE]\n\n", '{"b":2}'] == texts
    assert 1 == len(upstream.connections)
