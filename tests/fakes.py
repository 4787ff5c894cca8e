"""An upstream that does what it is told, however bad, and remembers all it was sent.

`FakeUpstream` is a raw TCP server on loopback. It has no HTTP library inside, so it can break every rule that
one would keep: it hangs up half-way, frames wrongly, talks too early, floods, drips, or says nothing at all.
A test reads as a conversation:

    upstream.script(status(429, headers={"retry-after": "1"}), json_answer(chat_answer("Hello")))
    upstream.script(sse(chat_chunk("Hel"), chat_chunk("lo"), RESET))
    upstream.always(lambda request: RESET if request.turn > 1 else json_answer(chat_answer()))

One argument of `script` answers one request, in the order in which requests arrive. A request after the last
line of the script is a surprise: it gets a 501 and leaving the `async with` block fails the test. `always`
answers everything for which the script holds nothing.

    Answer     head and body as steps        answer() json_answer() status() sse() redirect() raw() flood() …
    Step       Write Drip Sleep Until Flood  and the three that end a connection's use: Close Reset Hang
    Received   one request as it came        method, target, headers in order, body, when, which connection

All times are `time.monotonic()` seconds, all sizes bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import socket
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from tests.answers import (
    Json,
    chat_answer,
    chat_chunk,
    chat_stream,
    chat_usage,
    gemini_answer,
    gemini_chunk,
    gemini_error,
    gemini_stream,
    openai_error,
    to_json,
    tool_call,
)
from tests.raw import Headers, RawAnswer, over, parse_answer, raw_call, raw_request

# One import serves a test of the wire: the vendors' answers and the raw caller are here as well.
__all__ = [
    "RawAnswer",
    "chat_answer",
    "chat_chunk",
    "chat_stream",
    "chat_usage",
    "gemini_answer",
    "gemini_chunk",
    "gemini_error",
    "gemini_stream",
    "openai_error",
    "parse_answer",
    "raw_call",
    "raw_request",
    "tool_call",
]

Framing: TypeAlias = Literal["length", "chunked", "close", "none"]

# ── steps ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Write:
    """Send these bytes as they are, in one write."""

    data: bytes


@dataclass(frozen=True)
class Drip:
    """Send these bytes in pieces of `size`, each its own packet, `pause` seconds apart."""

    data: bytes
    pause: float = 0.0
    size: int = 1


@dataclass(frozen=True)
class Sleep:
    """Say nothing for a while; ends early when the caller leaves."""

    seconds: float


@dataclass(frozen=True)
class Until:
    """Go on only when the test sets the event: for order without guessing at times."""

    event: asyncio.Event


@dataclass(frozen=True)
class Flood:
    """Send all that `pieces()` yields, holding one piece at most: what was sent is about what was taken."""

    pieces: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Close:
    """Hang up politely (FIN), wherever the answer stands."""


@dataclass(frozen=True)
class Reset:
    """Hang up rudely (RST). `settle` gives the other side time to read what was sent before."""

    settle: float = 0.01


@dataclass(frozen=True)
class Hang:
    """Never say anything again; over when the caller leaves, whose time is in `Connection.closed_at`."""


Step: TypeAlias = Write | Drip | Sleep | Until | Flood | Close | Reset | Hang
Piece: TypeAlias = bytes | Step
HANG_UP = Close()
RESET = Reset()
HANG = Hang()


@dataclass(frozen=True)
class Answer:
    """What one request gets: steps, played in order."""

    steps: tuple[Step, ...] = ()
    early: bool = False

    def after(self, *steps: Step) -> Answer:
        """The same, with these steps first: a delay, a 100 Continue."""
        return replace(self, steps=(*steps, *self.steps))

    def then(self, *steps: Step) -> Answer:
        """The same, with these steps last: bytes after the end, a hang-up."""
        return replace(self, steps=(*self.steps, *steps))

    def at_once(self) -> Answer:
        """The same, begun when the request's head is there, while its body is still on the way."""
        return replace(self, early=True)

    def cut(self, keep: int, *then: Step) -> Answer:
        """The first `keep` bytes of all, head included, then `then` (a hang-up when not given)."""
        kept: list[Step] = []
        for step in self.steps:
            if not isinstance(step, Write | Drip):
                kept.append(step)
            elif len(step.data) < keep:
                kept.append(step)
                keep -= len(step.data)
            else:
                kept.append(replace(step, data=step.data[:keep]))
                break
        return replace(self, steps=(*kept, *(then or (HANG_UP,))))

    def cut_body(self, keep: int, *then: Step) -> Answer:
        """As `cut`, counting from the end of the head (framing bytes of a chunked body count)."""
        return self.cut(len(self.data().partition(b"\r\n\r\n")[0]) + 4 + keep, *then)

    def dripped(self, pause: float = 0.0, size: int = 1) -> Answer:
        """The same bytes, `size` of them per packet."""
        return replace(self, steps=tuple(Drip(s.data, pause, size) if isinstance(s, Write) else s for s in self.steps))

    def data(self) -> bytes:
        """All bytes of the writes, for looking at."""
        return b"".join(step.data for step in self.steps if isinstance(step, Write | Drip))


Reply: TypeAlias = "Answer | Step | Sequence[Step]"
Handler: TypeAlias = "Callable[[Received], Reply]"


def _steps(reply: Reply) -> Sequence[Step]:
    if isinstance(reply, Answer):
        return reply.steps
    return reply if isinstance(reply, Sequence) else (reply,)


# ── answers ──────────────────────────────────────────────────────────────────────────


def answer(
    code: int,
    *pieces: Piece,
    headers: Headers = (),
    framing: Framing = "length",
    gzip: bool = False,
    every: float = 0.0,
    version: str = "HTTP/1.1",
) -> Answer:
    """Any answer. Bytes are body, framed as asked; steps between them are played as they stand.

    `headers` replace ours of the same name (a value of None removes it; a list of pairs may repeat a name).
    `every` puts a pause between pieces. A piece that hangs up ends the answer: no framing follows it.
    """
    own: dict[str, str | None] = {}
    if gzip:
        pieces = tuple(_gzipped(pieces))
        own["Content-Encoding"] = "gzip"
    if framing == "length":
        own["Content-Length"] = str(sum(len(piece) for piece in pieces if isinstance(piece, bytes)))
    elif framing == "chunked":
        own["Transfer-Encoding"] = "chunked"
    elif framing == "close":
        own["Connection"] = "close"
    steps: list[Step] = [Write(_head(code, own, headers, version))]
    for number, piece in enumerate(pieces):
        if every and number:
            steps.append(Sleep(every))
        if not isinstance(piece, bytes):
            steps.append(piece)
            if isinstance(piece, Close | Reset | Hang):
                return Answer(tuple(steps))
        elif piece:
            steps.append(Write(chunk(piece) if framing == "chunked" else piece))
    if framing == "chunked":
        steps.append(Write(LAST_CHUNK))
    if framing == "close":
        steps.append(HANG_UP)
    return Answer(tuple(steps))


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def json_answer(
    body: Json = None,
    code: int = 200,
    *,
    headers: Headers = (),
    framing: Framing = "length",
    gzip: bool = False,
    version: str = "HTTP/1.1",
) -> Answer:
    """A whole JSON answer. Bytes are sent as they are, so that bad JSON can be said to be JSON."""
    data = body if isinstance(body, bytes) else to_json({} if body is None else body)
    typed = over({"Content-Type": "application/json"}, headers)
    return answer(code, data, headers=typed, framing=framing, gzip=gzip, version=version)


def status(code: int, body: Json = None, *, headers: Headers = ()) -> Answer:
    """An answer whose point is its status; the body is an OpenAI-style error unless one is given."""
    said = openai_error(f"the fake upstream says {code}") if body is None else body
    return json_answer(said, code, headers=headers)


def redirect(location: str, code: int = 307) -> Answer:
    """A redirect that nobody should follow."""
    return answer(code, headers={"Location": location})


def raw(data: bytes, *then: Step) -> Answer:
    """Exactly these bytes, then `then` (a hang-up when not given): an SSH banner, broken framing."""
    return Answer((Write(data), *(then or (HANG_UP,))))


def interim(code: int, headers: Headers = ()) -> Write:
    """A 1xx head, to be sent before the answer: `json_answer(…).after(interim(100), interim(103))`."""
    return Write(_head(code, {}, headers, "HTTP/1.1"))


def event(data: Json, name: str | None = None) -> bytes:
    """One SSE event; `data` is JSON unless it is text already."""
    text = data if isinstance(data, str) else to_json(data).decode()
    lines = [f"event: {name}"] if name else []
    return "\n".join([*lines, *(f"data: {line}" for line in text.split("\n")), "", ""]).encode()


DONE = event("[DONE]")


def sse(
    *events: Json | Piece,
    headers: Headers = (),
    framing: Framing = "chunked",
    every: float = 0.0,
    gzip: bool = False,
) -> Answer:
    """A stream of events: values become `data:` lines, bytes go as they are, steps are played between them.

    Nothing is added: a stream that ends with `[DONE]` says so (`DONE`).
    """
    steps = Write | Drip | Sleep | Until | Flood | Close | Reset | Hang
    pieces = [piece if isinstance(piece, bytes | steps) else event(piece) for piece in events]
    typed = over({"Content-Type": "text/event-stream"}, headers)
    return answer(200, *pieces, headers=typed, framing=framing, every=every, gzip=gzip)


def json_array(*items: Json | Step, headers: Headers = (), every: float = 0.0) -> Answer:
    """A streamed JSON array, one element per chunk, as Gemini streams without `alt=sse`."""
    pieces: list[Piece] = []
    for item in items:
        if isinstance(item, Write | Drip | Sleep | Until | Flood | Close | Reset | Hang):
            pieces.append(item)
        else:
            pieces.append((b",\r\n" if any(isinstance(p, bytes) for p in pieces) else b"[") + to_json(item))
    if not pieces or not isinstance(pieces[-1], Close | Reset | Hang):
        pieces.append(b"]")
    typed = over({"Content-Type": "application/json"}, headers)
    return answer(200, *pieces, headers=typed, framing="chunked", every=every)


def flood(
    size: int,
    fill: bytes = b"x" * 65536,
    *,
    start: bytes = b"",
    end: bytes = b"",
    headers: Headers = (),
    framing: Framing = "length",
) -> Answer:
    """`start`, `size` bytes of `fill`, `end`, made while sent; `Connection.sent` tells how much was taken."""

    def pieces() -> Iterator[bytes]:
        yield start
        left = size
        while left > 0:
            yield fill[:left]
            left -= len(fill)
        yield end

    typed = over({"Content-Type": "application/json"}, headers)
    return _flooded(pieces, len(start) + size + len(end), typed, framing)


def gzip_bomb(size: int, *, start: bytes = b"", headers: Headers = (), framing: Framing = "chunked") -> Answer:
    """A body that is small on the wire and `size` bytes of spaces when decoded, after `start`."""

    def pieces() -> Iterator[bytes]:
        packer = _packer()
        yield packer.compress(start)
        for _ in range(size >> 20):
            yield packer.compress(b" " * (1 << 20))
        yield packer.compress(b" " * (size & ((1 << 20) - 1)))
        yield packer.flush()

    typed = over({"Content-Type": "application/json", "Content-Encoding": "gzip"}, headers)
    return _flooded(pieces, None, typed, framing)


def _flooded(pieces: Callable[[], Iterable[bytes]], size: int | None, headers: Headers, framing: Framing) -> Answer:
    if framing == "length" and size is not None:
        return answer(200, Flood(pieces), headers=over({"Content-Length": str(size)}, headers))
    if framing == "chunked":
        framed = lambda: (chunk(piece) for piece in pieces() if piece)  # noqa: E731
        return answer(200, Flood(framed), headers=headers, framing="chunked")
    return answer(200, Flood(pieces), headers=headers, framing="close")


def _head(code: int, own: Mapping[str, str | None], headers: Headers, version: str) -> bytes:
    try:
        reason = http.HTTPStatus(code).phrase
    except ValueError:
        reason = "Odd"
    lines = [f"{version} {code} {reason}", *(f"{name}: {value}" for name, value in over(own, headers))]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _packer() -> zlib._Compress:
    return zlib.compressobj(9, zlib.DEFLATED, 31)


def _gzipped(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Each piece of body compressed and flushed by itself, so that it can be read when it arrives."""
    packer = _packer()
    for piece in pieces:
        if isinstance(piece, bytes):
            yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield piece
            if isinstance(piece, Close | Reset | Hang):
                return
    yield packer.flush()


# ── what arrives ─────────────────────────────────────────────────────────────────────


@dataclass
class Received:
    """One request as it came over the wire; header names keep their spelling and order."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    connection: Connection
    turn: int  # 1 for the first request of its connection
    at: float
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The only value of a header; more than one is a mistake that a test must look at with `all`."""
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Json:
        return json.loads(self.body)


class BadRequest(Exception):
    """What arrived is not HTTP as a careful client sends it."""


class Connection(asyncio.Protocol):
    """One TCP connection to the fake, with its times and counts."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.number = 0
        self.opened_at = 0.0
        self.closed_at: float | None = None  # when the other side hung up, or the connection was lost
        self.received = 0
        self.requests = 0
        self._written = 0
        self._input = bytearray()
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.upstream.tls is None:  # asyncio's TLS never says that writing may go on once the limit is nothing
            transport.set_write_buffer_limits(high=0)
        self.opened_at = time.monotonic()
        self.upstream.connections.append(self)
        self.number = len(self.upstream.connections)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._input += data
        self._news.set()

    def eof_received(self) -> bool:
        self._over()
        return self.upstream.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        self._over()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _over(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
        self._left.set()
        self._news.set()
        self._writable.set()

    # the test's side

    @property
    def sent(self) -> int:
        """Bytes that the kernel has taken: more than the peer has read by at most the socket buffers."""
        return self._written - self._transport.get_write_buffer_size()

    @property
    def open(self) -> bool:
        return self.closed_at is None

    async def left(self, within: float = 2.0) -> float:
        """Wait until the other side is gone, and say when that was."""
        await asyncio.wait_for(self._left.wait(), within)
        assert self.closed_at is not None
        return self.closed_at

    def hang_up(self) -> None:
        """Close now (FIN)."""
        self._transport.close()

    def reset(self) -> None:
        """Close now (RST): what is unsent is thrown away."""
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError, AttributeError):  # a TLS transport that is closed has no socket left
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    # the conversation

    async def _serve(self) -> None:
        try:
            while (request := await self._head()) is not None:
                await self._answer(request)
                if self._transport.is_closing() or "close" in (request.header("connection") or "").lower():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.upstream.problems.append(error)
        finally:
            self._transport.close()

    async def _answer(self, request: Received) -> None:
        self.upstream._arrived(request)
        reply = self.upstream._next()
        early = isinstance(reply, Answer) and reply.early
        if not early:
            request.body = await self._body(request)
        self.upstream._complete(request)
        if callable(reply):
            reply = reply(request)
        for step in _steps(reply):
            await self._play(step)
        if early and not self._transport.is_closing():
            request.body = await self._body(request)

    async def _play(self, step: Step) -> None:
        match step:
            case Write(data):
                await self._write(data)
            case Drip(data, pause, size):
                for start in range(0, len(data), size):
                    await self._write(data[start : start + size])
                    await asyncio.sleep(pause)
            case Sleep(seconds):
                with contextlib.suppress(TimeoutError):
                    await self.left(seconds)
            case Until(event):
                await event.wait()
            case Flood(pieces):
                for piece in pieces():
                    await self._write(piece)
            case Close():
                self.hang_up()
            case Reset(settle):
                await asyncio.sleep(settle)
                self.reset()
            case Hang():
                await self._left.wait()
                self.hang_up()

    async def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError
        self._written += len(data)
        self._transport.write(data)
        await self._writable.wait()

    async def _head(self) -> Received | None:
        """The next request's head; None when the other side has no more to say."""
        while not self._input:
            if not await self._more():
                return None
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3:
            raise BadRequest(f"bad request line {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or "\n" in value or "\r" in value:
                raise BadRequest(f"bad header line {line!r}")
            headers.append((name, value.strip(" \t")))
        self.requests += 1
        return Received(words[0], words[1], words[2], headers, self, self.requests, time.monotonic())

    async def _body(self, request: Received) -> bytes:
        lengths, codings = request.all("content-length"), request.all("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise BadRequest("more than one framing")
        if lengths:
            return await self._exactly(int(lengths[0]))
        body = bytearray()
        while codings:
            size = int(await self._until(b"\r\n"), 16)
            body += await self._exactly(size)
            if await self._exactly(2) != b"\r\n":
                raise BadRequest("bad chunk")
            if size == 0:
                break
        return bytes(body)

    async def _more(self) -> bool:
        """Wait for input; False when there will be none."""
        if self._left.is_set():
            return False
        self._news.clear()
        await self._news.wait()
        return True

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._input.find(mark)) < 0:
            if not await self._more():
                raise ConnectionResetError
        return self._take(end, len(mark))

    async def _exactly(self, size: int) -> bytes:
        while len(self._input) < size:
            if not await self._more():
                raise ConnectionResetError
        return self._take(size, 0)

    def _take(self, size: int, skip: int) -> bytes:
        taken = bytes(self._input[:size])
        del self._input[: size + skip]
        return taken


# ── the fake ─────────────────────────────────────────────────────────────────────────


@dataclass
class FakeUpstream:
    """A scripted upstream: `async with FakeUpstream() as upstream: …`, then `upstream.url`.

    `requests` holds those whose body is complete (or whose answer began early), `arrived` every one whose
    head came.
    """

    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    arrived: list[Received] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    problems: list[Exception] = field(default_factory=list)
    _lines: list[Reply | Handler] = field(default_factory=list)
    _forever: Reply | Handler | None = None
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeUpstream:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # With the protocol named, asyncio switches Nagle off; else a chunk waits 40 ms for the ACK of the head.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small, so that `Connection.sent` stays near what the other side took.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        listener.bind((self.host, self.port))
        self.port = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, ssl=self.tls, backlog=1024)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.stop()
        if error is None and self.problems:
            raise self.problems[0]

    async def stop(self) -> None:
        """Stop listening and reset what is open; afterwards connections to `port` are refused."""
        if self._server is not None:
            self._server.close()
        tasks = [connection._task for connection in self.connections if connection._task]
        for connection, task in zip(self.connections, tasks, strict=True):
            connection.reset()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def script(self, *lines: Reply | Handler) -> None:
        """Answer the next requests with these, one each, after those that were scripted before."""
        self._lines.extend(lines)

    def always(self, line: Reply | Handler) -> None:
        """Answer every request for which the script holds nothing."""
        self._forever = line

    @property
    def unused(self) -> int:
        """How many lines of the script nobody asked for yet."""
        return len(self._lines)

    @property
    def open_connections(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.open]

    def hang_up(self, *, reset: bool = False) -> None:
        """Close every open connection now, idle or not: what a restarted upstream does."""
        for connection in self.open_connections:
            connection.reset() if reset else connection.hang_up()

    async def asked(self, count: int = 1, within: float = 2.0) -> Received:
        """Wait until `count` requests came in all, and give the last of them."""
        deadline = time.monotonic() + within
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} requests came in {within} s"
            await asyncio.sleep(0.002)
        return self.requests[count - 1]

    def _next(self) -> Reply | Handler:
        if self._lines:
            return self._lines.pop(0)
        if self._forever is not None:
            return self._forever
        self.problems.append(AssertionError(f"request {len(self.arrived)} came after the end of the script"))
        return status(501)

    def _arrived(self, request: Received) -> None:
        self.arrived.append(request)

    def _complete(self, request: Received) -> None:
        self.requests.append(request)


def dead_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A loopback port that takes no connection and refuses none: a connect to it waits."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        await asyncio.sleep(0.01)
        yield listener.getsockname()[1]


# ── a clock that stands still ────────────────────────────────────────────────────────


@dataclass
class FakeClock:
    """Time that moves only when told: `clock()` reads it, `advance` and `sleep` move it."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
