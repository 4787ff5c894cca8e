"""The door out: one call each, and every fault as an error of the tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from providers.canonical.errors import (
    BadUpstreamBytes,
    ConnectFailed,
    ConnectionLost,
    EgressDenied,
    RouterError,
    UpstreamTimeout,
)
from providers.dialect import WireRequest
from providers.provider import Provider
from router.alarm import Alarm
from router.egress import CallerNamedConnector
from router.policy.throughput import Throughput
from router.transport import Clocks, HttpTransport
from tests.fakes import HANG, HANG_UP, RESET, FakeUpstream, Until, dead_port, json_answer, raw, redirect, sse

ROW = Provider(name="up", base_url="http://x", speaks=("openai.chat",))
WIRE = WireRequest(path="/v1/x", headers={"content-type": "application/json"}, body=b"{}")


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.close()


def clocks(first_byte: float = 1.0, idle: float = 1.0, total: float = 5.0) -> Clocks:
    now = asyncio.get_running_loop().time()
    return Clocks(connect=1.0, first_byte=first_byte, idle=idle, deadline=now + total, alarm=Alarm())


async def fetch(transport: HttpTransport, upstream: FakeUpstream, *, limit: int = 1 << 20, **times: float) -> bytes:
    call = await transport.send(WIRE, upstream.url + "/v1/x", ROW, clocks(**times))
    try:
        return await call.read(limit)
    finally:
        await call.close()


async def test_a_call_goes_out_as_it_is_written(transport: HttpTransport) -> None:
    """Method, target, headers and body are those of the wire request; nothing is added but what HTTP needs."""
    async with FakeUpstream() as upstream:
        upstream.script(json_answer({"a": 1}))
        body = await fetch(transport, upstream)
        request = upstream.requests[0]

        assert (b'{"a":1}', "POST", "/v1/x", b"{}") == (body, request.method, request.target, request.body)
        assert {"host", "content-type", "content-length"} == {name.lower() for name, _ in request.headers}


async def test_a_connection_is_kept_for_the_next_call(transport: HttpTransport) -> None:
    """One connection, two calls; the second one knows that it waited for none."""
    async with FakeUpstream() as upstream:
        upstream.script(json_answer({}), json_answer({}))
        times = [clocks(), clocks()]
        for each in times:
            call = await transport.send(WIRE, upstream.url + "/v1/x", ROW, each)
            await call.read(100)
            await call.close()

        assert upstream.requests[0].connection is upstream.requests[1].connection
        assert times[0].connected is not None and times[1].connected is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [(RESET, ConnectionLost), (HANG_UP, ConnectionLost), (raw(b"SSH-2.0-x\r\n\r\n"), BadUpstreamBytes)],
    ids=["reset", "fin", "not-http"],
)
async def test_faults_before_the_head(transport: HttpTransport, fault: object, error: type[RouterError]) -> None:
    """Lost, or no HTTP at all."""
    async with FakeUpstream() as upstream:
        upstream.script(fault)  # type: ignore[arg-type]

        with pytest.raises(error):
            await fetch(transport, upstream)


async def test_faults_in_the_body(transport: HttpTransport) -> None:
    """A body that breaks off was lost; one over the limit or badly packed is no answer."""
    async with FakeUpstream() as upstream:
        upstream.script(
            json_answer({"a": "x" * 100}).cut_body(10, HANG_UP),
            json_answer({"a": "x" * 5000}),
            raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", HANG_UP),
        )
        with pytest.raises(ConnectionLost):
            await fetch(transport, upstream)
        for _ in range(3):
            with pytest.raises(BadUpstreamBytes):
                await fetch(transport, upstream, limit=1000)


async def test_the_clocks(transport: HttpTransport) -> None:
    """First byte, between chunks, and all in all: each its own limit."""
    async with FakeUpstream() as upstream:
        upstream.script(HANG, sse(b"data: 1\n\n", HANG), sse(*[b"data: 1\n\n"] * 100, every=0.03))
        with pytest.raises(UpstreamTimeout, match="begin"):
            await fetch(transport, upstream, first_byte=0.1)
        with pytest.raises(UpstreamTimeout, match="stopped sending"):
            await fetch(transport, upstream, idle=0.1)
        with pytest.raises(UpstreamTimeout, match="did not finish"):
            await fetch(transport, upstream, total=0.25)


async def test_a_stream_that_must_not_dribble(transport: HttpTransport) -> None:
    """Too few bytes over the window end it; time in which nobody waits for it does not count."""
    async with FakeUpstream() as upstream:
        slow, patient = clocks(), clocks()
        slow.pace, patient.pace = Throughput(1000.0, 0.3), Throughput(1000.0, 0.3)
        resumed = asyncio.Event()
        upstream.script(sse(*[b"data: 1\n\n"] * 100, every=0.03), sse(b"data: 1\n\n", Until(resumed), b"data: 2\n\n"))
        call = await transport.send(WIRE, upstream.url + "/v1/x", ROW, slow)
        with pytest.raises(UpstreamTimeout, match="too slowly"):
            [data async for data in call.chunks()]
        await call.close()
        call = await transport.send(WIRE, upstream.url + "/v1/x", ROW, patient)
        chunks = call.chunks()
        await anext(chunks)
        await asyncio.sleep(0.5)  # whoever reads it has other things to do
        asyncio.get_running_loop().call_later(0.1, resumed.set)

        assert b"data: 2\n\n" == await anext(chunks)
        await call.close()


async def test_nobody_is_there(transport: HttpTransport) -> None:
    """No connection: told apart from one that was lost."""
    with pytest.raises(ConnectFailed):
        await transport.send(WIRE, f"http://127.0.0.1:{dead_port()}/x", ROW, clocks())


async def test_a_redirect_is_an_answer_like_any_other(transport: HttpTransport) -> None:
    """It is given back, not followed."""
    async with FakeUpstream() as upstream, FakeUpstream() as canary:
        upstream.script(redirect(canary.url))
        call = await transport.send(WIRE, upstream.url + "/v1/x", ROW, clocks())
        await call.close()

        assert (307, []) == (call.status, canary.requests)


async def test_what_a_caller_names_is_checked_at_the_connection() -> None:
    """The checked connector's refusal comes out as an error of the tree, with its reason."""
    named = HttpTransport(CallerNamedConnector())
    async with FakeUpstream() as canary:
        url = canary.url.replace("http:", "https:")
        with pytest.raises(EgressDenied) as caught:
            await named.send(WIRE, f"https://127.0.0.1/{url[-1]}", ROW, clocks())

        assert ("loopback", []) == (caught.value.reason, canary.requests)
    await named.close()
