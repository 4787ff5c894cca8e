"""Hostile HTTP and JSON (reliability requirements H01 to H14): cut short, never smuggled on, nobody else kept waiting.

Everything is sent over bare sockets. A tail with a MARKER follows each attack: where the attack's end is in doubt, it
must not become a request of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes import FakeUpstream
from tests.lanes import KEYS, LANES, TABLE, Lane
from tests.raw import RawAnswer, parse_answer, raw_request
from tests.running import Running, running

pytestmark = pytest.mark.usefixtures("short_collections")

LIMITED = TABLE.replace("limits: {", "limits: {body: 2s, head: 600ms, ").replace("sse_event: 64KiB, ", "")
CHAT = LANES[0]
BODY = json.dumps(CHAT.body()).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
_TAIL = json.dumps(CHAT.body("MARKER")).encode()
TAIL = HEAD + b"Content-Length: %d\r\n\r\n" % len(_TAIL) + _TAIL


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        fake.always(lambda request: (CHAT if "chat" in request.target else LANES[3]).whole())
        yield fake


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Running]:
    async with running(LIMITED, KEYS, up=upstream.url, attempts=1) as gateway:
        yield gateway


async def until_closed(port: int, data: bytes, within: float = 3.0) -> bytes:
    """All that comes back until the other side closes; fails when it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), within)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def another_caller(gateway: Running) -> AsyncIterator[list[float]]:
    """Somebody who asks for the health all the while; the waits, in seconds, are complete afterwards."""
    waits: list[float] = []
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set() or not waits:
            began = time.monotonic()
            await gateway.get("/healthz")
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.02)
    try:
        yield waits
    finally:
        over.set()
        await task


async def heavy(gateway: Running, body: bytes, more: bytes = b"") -> RawAnswer:
    """A large POST, which no client has an opinion about."""
    head = HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body)
    answer = parse_answer(await raw_request(gateway.port, head + body))
    assert answer is not None
    return answer


# ── H01, H02: what is no HTTP ──────────────────────────────────────────────────────────

SMUGGLED = {
    "cl-te": HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "te-cl": HEAD + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    "two-lengths": HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY,
    "same-length-twice": HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
    "length-list": HEAD + b"Content-Length: 5, 5\r\n\r\n" + BODY,
    "length-plus": HEAD + b"Content-Length: +5\r\n\r\n" + BODY,
    "length-underscore": HEAD + b"Content-Length: 1_0\r\n\r\n" + BODY,
    "length-negative": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "length-hex": HEAD + b"Content-Length: 0x5\r\n\r\n" + BODY,
    "length-empty": HEAD + b"Content-Length: \r\n\r\n" + BODY,
    "length-huge": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked-identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "chunked-twice": HEAD + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
    "te-vertical-tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "te-space-colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "te-folded": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "bare-lf": (HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "bare-lf-header": HEAD + b"X-A: b\nTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
    "bare-cr-header": HEAD + b"X-A: b\rTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
    "chunk-0x": HEAD + CHUNKED + b"\r\n0x" + CHUNKS,
    "chunk-plus": HEAD + CHUNKED + b"\r\n+" + CHUNKS,
    "chunk-minus": HEAD + CHUNKED + b"\r\n-" + CHUNKS,
    "chunk-space": HEAD + CHUNKED + b"\r\n " + CHUNKS,
    "chunk-lf": HEAD + CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n", b"\n"),
    "chunk-short": HEAD + CHUNKED + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY) - 3, BODY),
    "chunk-overflow": HEAD + CHUNKED + b"\r\nfffffffffffffffff\r\n" + BODY,
    "length-in-trailer": HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n",
    "http-1.0-chunked": HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS,
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_h01_where_a_body_ends_is_never_in_doubt(data: bytes, gateway: Running, upstream: FakeUpstream) -> None:
    """400, one answer, the connection closed; neither the request nor what follows it reaches the upstream."""
    got = await until_closed(gateway.port, data + TAIL)

    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")) and 1 == got.count(b"HTTP/1.")
    assert [] == upstream.requests


NO_HTTP = {
    "no-host": (HEAD.replace(b"Host: g\r\n", b""), 400),
    "two-hosts": (HEAD + b"Host: other\r\n", 400),
    "nul": (HEAD + b"X-A: SECRET\0b\r\n", 400),
    "control": (HEAD + b"X-A: SECRET\x01b\r\n", 400),
    "no-name": (HEAD + b": SECRET\r\n", 400),
    "long-header": (HEAD + b"X-A: " + b"SECRET" * 35_000 + b"\r\n", 431),
    "many-headers": (HEAD + b"".join(b"X-SECRET-%d: a\r\n" % i for i in range(5000)), 431),
    "101-headers": (HEAD + b"".join(b"X-SECRET-%d: a\r\n" % i for i in range(101)), 431),
    "long-target": (HEAD.replace(b"/v1", b"/SECRET" * 1200), 414),
    "version": (HEAD.replace(b"HTTP/1.1", b"HTTP/3.7"), 400),
    "http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", 400),
    "http-0.9": (b"GET /SECRET\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03SECRET", 400),
    "method": (HEAD.replace(b"POST", b"SECRET"), 400),
}


@pytest.mark.parametrize(("data", "status"), NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_h02_a_bad_head_is_refused_without_an_echo(
    data: bytes, status: int, gateway: Running, upstream: FakeUpstream
) -> None:
    """4xx within a second, closed, nothing of it in answer or log, counted as rejected."""
    began = time.monotonic()
    got = await until_closed(gateway.port, data + LENGTH + b"\r\n" + BODY + TAIL)

    assert time.monotonic() - began < 1.0
    assert got == b"" or status == int(got.split(b" ")[1]), got[:40]
    assert b"SECRET" not in got and "SECRET" not in await gateway.log_text()
    assert [] == upstream.requests and gateway.metric("isthmus_rejected_total") >= 1


# ── H03, H04: slow callers ─────────────────────────────────────────────────────────────


async def test_h03_150_dripped_heads_are_cut_and_nobody_waits(gateway: Running) -> None:
    """Each connection ends at the head limit, and the health of the gateway is told meanwhile."""

    async def drip() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in HEAD:
                writer.write(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(99), 0.1):
                        break
        writer.close()
        return time.monotonic() - began

    async with another_caller(gateway) as waits:
        lives = await asyncio.gather(*(drip() for _ in range(150)))

    assert 0.3 < min(lives) and max(lives) < 2.0  # the gateway's clock of 0.5 s starts before the caller's
    assert max(waits) < 1.0
    assert 150 == gateway.metric("isthmus_rejected_total", reason="head_timeout")


async def test_h03_the_second_head_of_a_connection_has_a_limit_too(gateway: Running) -> None:
    """Keep-alive is no way round it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n")
    assert parse_answer(await reader.read(4096)) is not None
    writer.write(b"GET /healthz HT")
    began = time.monotonic()
    rest = await asyncio.wait_for(reader.read(), 3)
    writer.close()

    assert b"" == rest and 0.4 < time.monotonic() - began < 2.0


async def test_h04_a_dripped_body_ends_at_its_limit(gateway: Running, upstream: FakeUpstream) -> None:
    """408 after the body's time, however lively the drip."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
    began, got = time.monotonic(), b""
    while b"\r\n\r\n" not in got and time.monotonic() - began < 6.0:
        writer.write(b" ")
        with contextlib.suppress(TimeoutError):
            got += await asyncio.wait_for(reader.read(4096), 0.05)
    writer.close()

    assert got.startswith(b"HTTP/1.1 408") and 1.5 < time.monotonic() - began < 4.0
    assert [] == upstream.requests


# ── H05 to H08: heavy bodies ───────────────────────────────────────────────────────────


async def test_h05_bombs_stop_at_the_limit_and_are_not_unpacked_further(gateway: Running) -> None:
    """413 each; four at once keep nobody waiting, and what is left of them is not decompressed."""
    bomb = gzip.compress(b" " * (200 << 20), 6)
    cpu = time.process_time()
    async with another_caller(gateway) as waits:
        answers = await asyncio.gather(*(heavy(gateway, bomb, b"Content-Encoding: gzip\r\n") for _ in range(4)))
        await asyncio.sleep(0.2)

    assert [413] * 4 == [answer.code for answer in answers]
    assert max(waits) < 1.0
    assert time.process_time() - cpu < 3.0  # all of it would be 800 MiB


async def test_h05_a_bomb_in_a_bomb_is_no_json(gateway: Running, upstream: FakeUpstream) -> None:
    """One layer is taken off; more layers by name are 415."""
    triple = gzip.compress(gzip.compress(gzip.compress(b" " * (8 << 20))))
    once = await gateway.post("/v1/chat/completions", triple, headers={"content-encoding": "gzip"})
    thrice = await gateway.post("/v1/chat/completions", triple, headers={"content-encoding": "gzip, gzip, gzip"})

    assert (400, 415) == (once.status, thrice.status)
    assert [] == upstream.requests


HEAVY = {
    "h06-lists": (b"[" * 100_000, 400),
    "h06-objects": (b'{"a":' * 100_000, 400),
    "h06-whole": (BODY[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "h07-integer": (BODY[:-1] + b', "seed": ' + b"7" * 100_000 + b"}", 400),
    "h08-messages": (
        json.dumps(CHAT.body() | {"messages": [{"role": "user", "content": "x"}] * 200_000}).encode(),
        400,
    ),
}


@pytest.mark.parametrize(("body", "status"), HEAVY.values(), ids=HEAVY.keys())
@pytest.mark.parametrize("lane", LANES[:2], ids=[lane.name for lane in LANES[:2]])
async def test_h06_h07_h08_heavy_json_is_refused_quickly(
    body: bytes, status: int, lane: Lane, gateway: Running, upstream: FakeUpstream
) -> None:
    """400 within a second; another caller waits for less than that."""
    body = body.replace(CHAT.model.encode(), lane.model.encode())
    async with another_caller(gateway) as waits:
        began = time.monotonic()
        answer = await heavy(gateway, body)
        took = time.monotonic() - began

    assert status == answer.code and took < 1.0
    assert max(waits) < 1.0
    assert [] == upstream.requests


async def test_h08_many_unknown_fields_cost_as_many_steps(gateway: Running, upstream: FakeUpstream) -> None:
    """Naming what was lost takes time in proportion to it: 90,000 fields of the caller's own make nobody wait."""
    lane = LANES[1]
    upstream.always(lane.whole())
    async with another_caller(gateway) as waits:
        answer = await heavy(gateway, json.dumps(lane.body() | {f"field-{i}": 1 for i in range(90_000)}).encode())

    assert 200 == answer.code and len(answer.header("x-isthmus-loss") or "") < 4096
    assert max(waits) < 1.5


# ── H09 to H14 ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    ["/v1beta/models/gemini-model%0d%0aX-Bad:%20MARKER:generateContent", "/v1beta/models/a%0aX-Bad:generateContent"],
)
async def test_h09_line_ends_in_a_path_go_nowhere(target: str, gateway: Running, upstream: FakeUpstream) -> None:
    """400, and no header of ours holds them."""
    body = json.dumps(LANES[3].body()).encode()
    head = f"POST {target} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    got = await raw_request(gateway.port, head + body)

    assert got.startswith(b"HTTP/1.1 400") and b"MARKER" not in got and b"X-Bad" not in got
    assert [] == upstream.requests


async def test_h09_line_ends_in_a_model_name_make_no_header() -> None:
    """A model that the upstream is asked for by the caller's own word is escaped in the answer's head."""
    table = LIMITED.replace("models:\n", 'models:\n  "any*": [{provider: openai-up}]\n')
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=1) as gateway:
        upstream.always(CHAT.whole())
        answer = await gateway.post(CHAT.path(), CHAT.body() | {"model": "any\r\nX-Bad: 1\r\n\r\nMARKER"})
        names = {name for request in upstream.requests for name, _ in request.headers}

    assert "x-bad" not in answer.headers and "X-Bad" not in names
    assert answer.status in (200, 400, 404)


async def test_h10_500_requests_at_once_on_one_connection(gateway: Running, upstream: FakeUpstream) -> None:
    """Answered in order, one after the other."""
    wanted = [f"r-{number}" for number in range(500)]
    asked = b"".join(HEAD + b"x-request-id: %b\r\n" % name.encode() + LENGTH + b"\r\n" + BODY for name in wanted)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(asked)
    got = b""
    while got.count(b"HTTP/1.1 200") < 500 or not got.endswith(b"}"):
        got += await asyncio.wait_for(reader.read(1 << 16), 5)
    writer.close()
    told = [line.split(b": ")[1].decode() for line in got.split(b"\r\n") if line.startswith(b"x-request-id")]

    assert wanted == told
    assert 500 == len(upstream.requests) and len(upstream.connections) < 5


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_h11_nothing_is_upgraded(protocol: bytes, gateway: Running, upstream: FakeUpstream) -> None:
    """No 101; a request inside the body is text; the connection serves the next request as before."""
    inner = json.dumps(CHAT.body(TAIL.decode())).encode()
    first = HEAD + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (protocol, len(inner)) + inner
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    answers = []
    for data in (first, HEAD + LENGTH + b"\r\n" + BODY):
        writer.write(data)
        got = b""
        while parse_answer(got) is None:
            got += await asyncio.wait_for(reader.read(1 << 16), 3)
        answers.append(got)
    writer.close()

    assert all(got.startswith(b"HTTP/1.1 200") for got in answers)
    assert [CHAT.body(TAIL.decode())["messages"], CHAT.body()["messages"]] == [
        request.json()["messages"] for request in upstream.requests
    ]


ODD_PATHS = [
    "//", "/../", "/..%2f..%2fetc/passwd", "/v1/../v1/chat/completions", "//v1/chat/completions",
    "/v1//chat/completions", "/v1%2fchat/completions", "/v1/%63hat/completions", "/%2e%2e/v1/chat/completions",
    "/v1/chat/completions%00", "/v1/chat/completions%c0%af", "/v1/chat/completions;a=b", "/" + "a" * 6000,
    "/v1beta/models/..%2f..%2fx:generateContent", "/v1beta/models/%2e%2e:generateContent",
    "/v1beta/models/%ff%fe:generateContent", "/v1beta/models/gemini-model%00:generateContent",
    "/v1beta/models/gemini-model/x:generateContent", "/v1/models/../../healthz", "*", "http://", "http:///v1/models",
]  # fmt: skip


@pytest.mark.parametrize("target", ODD_PATHS)
async def test_h12_an_odd_path_is_no_other_path(target: str, gateway: Running, upstream: FakeUpstream) -> None:
    """4xx in JSON; no route, file or traceback."""
    got = await raw_request(
        gateway.port, f"POST {target} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    )
    answer = parse_answer(got, ended=True)

    assert answer is not None and answer.code in (400, 404) and "error" in answer.json()
    assert b"Traceback" not in got and b"router/" not in got
    assert [] == upstream.requests


async def test_h14_no_origin_is_told_that_it_may_read(gateway: Running) -> None:
    """Answers carry no CORS headers at all."""
    answers = [
        await gateway.post(CHAT.path(), CHAT.body(), headers={"origin": "https://evil.example"}),
        await gateway.post(CHAT.path(), b"{", headers={"origin": "https://evil.example"}),
        await gateway.get("/v1/models", headers={"origin": "null"}),
    ]

    assert [] == [name for answer in answers for name in answer.headers if name.startswith("access-control")]


# ── odd, but as the standards allow ────────────────────────────────────────────────────

ODD_CALLERS = {
    "http-1.0": (b"POST /v1/chat/completions HTTP/1.0\r\n" + LENGTH + b"\r\n" + BODY, 200),
    "no-content-type": (b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n" + LENGTH + b"\r\n" + BODY, 200),
    "absolute-form": (HEAD.replace(b"/v1", b"http://other:99/v1") + LENGTH + b"\r\n" + BODY, 200),
    "empty-query": (HEAD.replace(b"completions ", b"completions? ") + LENGTH + b"\r\n" + BODY, 200),
    "odd-query": (HEAD.replace(b"completions ", b"completions?a=%zz&a=1&=&& ") + LENGTH + b"\r\n" + BODY, 200),
    "chunk-extension": (HEAD + CHUNKED + b"\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), 200),
    "trailer": (HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X-Checksum: 1\r\n\r\n", 200),
    "leading-line-ends": (b"\r\n\r\n" + HEAD + LENGTH + b"\r\n" + BODY, 200),
    "long-header": (HEAD + b"X-A: " + b"a" * 8000 + b"\r\n" + LENGTH + b"\r\n" + BODY, 200),
    "90-headers": (HEAD + b"".join(b"X-%d: a\r\n" % i for i in range(90)) + LENGTH + b"\r\n" + BODY, 200),
    "timeout-junk": (HEAD + b"x-isthmus-timeout: soon\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "timeout-negative": (HEAD + b"x-isthmus-timeout: -1s\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "timeout-other-digits": (HEAD + b"x-isthmus-timeout: \xd9\xa3s\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "trace-no-text": (HEAD + b"traceparent: \xff\xfe\r\n" + LENGTH + b"\r\n" + BODY, 400),
    "charset-then-more": (HEAD[:-2] + b"; charset=utf-8; profile=x\r\n" + LENGTH + b"\r\n" + BODY, 200),
    "charset-in-capitals": (HEAD[:-2] + b"; CHARSET=utf-16\r\n" + LENGTH + b"\r\n" + BODY, 415),
    "charset-spaced": (HEAD[:-2] + b' ; charset = "UTF-8"\r\n' + LENGTH + b"\r\n" + BODY, 200),
    "two-types": (HEAD + b"Content-Type: text/plain\r\n" + LENGTH + b"\r\n" + BODY, 400),
}


@pytest.mark.parametrize(("data", "status"), ODD_CALLERS.values(), ids=ODD_CALLERS.keys())
async def test_odd_callers(data: bytes, status: int, gateway: Running) -> None:
    """What is allowed is served; what is the caller's mistake is told as such, never as the upstream's."""
    answer = parse_answer(await raw_request(gateway.port, data), ended=True)

    assert answer is not None and status == answer.code, answer


async def test_a_stream_to_an_http_1_0_caller_ends_with_the_connection(
    gateway: Running, upstream: FakeUpstream
) -> None:
    """No chunks, which it could not read."""
    upstream.always(CHAT.stream("a", "b"))
    body = json.dumps(CHAT.body(stream=True)).encode()
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    head, _, text = (await until_closed(gateway.port, head + body)).partition(b"\r\n\r\n")

    assert b"chunked" not in head.lower()
    assert CHAT.hear(text).complete and "ab" == CHAT.hear(text).text


async def test_a_caller_is_told_to_go_on_before_it_sends_its_body(gateway: Running) -> None:
    """`Expect: 100-continue`: 100 first; for a body that is too long the refusal instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n")
    go_on = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)
    writer.write(BODY)
    final = await asyncio.wait_for(reader.readline(), 2)
    writer.close()
    refused = await raw_request(gateway.port, HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == go_on and final.startswith(b"HTTP/1.1 200")
    assert refused.startswith(b"HTTP/1.1 413")


async def test_a_connection_serves_on_after_refusals(gateway: Running) -> None:
    """404, 405, 400, 415 and a HEAD leave it usable: bodies are read to their ends."""
    refusals = [
        HEAD.replace(b"/v1", b"/nix"), HEAD.replace(b"POST", b"PUT"), HEAD.replace(b"json", b"xml"), HEAD
    ]  # fmt: skip
    bodies = [BODY, BODY, BODY, b"{" * len(BODY)]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    codes = []
    for head, body in zip([*refusals, HEAD], [*bodies, BODY], strict=True):
        writer.write(head + LENGTH + b"\r\n" + body)
        got = b""
        while (answer := parse_answer(got)) is None:
            got += await asyncio.wait_for(reader.read(1 << 16), 2)
        codes.append(answer.code)
    writer.close()

    assert [404, 405, 415, 400, 200] == codes


async def test_a_caller_who_has_said_all_may_close_its_side(gateway: Running, upstream: FakeUpstream) -> None:
    """Half-closed after the request: the caller counts as gone, and the gateway goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD + LENGTH + b"\r\n" + BODY)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 3)
    writer.close()

    assert 200 == (await gateway.post(CHAT.path(), CHAT.body())).status


async def test_it_listens_on_ipv6() -> None:
    """`[::1]:0` as address."""
    table = LIMITED.replace('"127.0.0.1:0"', '"[::1]:0"')
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=1) as gateway:
        upstream.always(CHAT.whole())

        assert gateway.url.startswith("http://[::1]:")
        assert 200 == (await gateway.post(CHAT.path(), CHAT.body())).status
