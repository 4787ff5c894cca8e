"""The caller's side of an exchange on HTTP: taking the body, giving the answer, whole or as a stream.

Back-pressure is the caller's: a write returns when the connection has room again, and nothing is read from the
upstream meanwhile. A caller who takes nothing for `write_stall` is dropped; one who leaves cancels the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientError
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDict

from providers.canonical.errors import (
    CallerError,
    MalformedRequest,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedMediaType,
)
from providers.wire.sse import PING
from router.alarm import Alarm
from router.arrived import taken
from router.table import Limits

HEARTBEAT = 15.0
TURN = 1 << 20  # bytes of a body that are taken in one go
_READABLE = frozenset({"", "identity", "gzip", "deflate"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNREADABLE = (RequestPayloadError, HttpProcessingError, HTTPException, ClientError)


class CallerGone(Exception):
    """The caller has left, or takes nothing any more. `how` says which, as a stream's end: client_left, limit."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class _Sink:
    """Takes the rest of a compressed body as it is: to unpack what nobody reads would be the bomb's work."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        return False, b""

    def feed_eof(self) -> None:
        pass


class Door(Protocol):
    """Where a request comes from and its answer goes."""

    @property
    def began(self) -> bool:
        """The head of the answer has gone out."""
        ...

    async def body(self, limits: Limits, alarm: Alarm) -> bytes: ...
    async def passing(self, limits: Limits) -> Passing: ...
    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None: ...
    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None: ...
    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...
    def quiet(self) -> None: ...
    def cut(self) -> None: ...


class Passing:
    """A request's body that is not held: read, once, as fast as it is taken.

    `length` is in bytes, None where it is not known before. What ends it early is raised where it is read, and kept as
    `fault`, for it may be read by somebody who makes another error of it.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], limits: Limits, length: int | None) -> None:
        """`read` gives what has come; nothing at the end."""
        self.length = length
        self.begun = False
        self.taken = 0
        self.fault: CallerError | None = None
        self._read = read
        self._most = limits.max_body
        self._left = limits.body  # seconds that the caller may still keep us waiting

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        data = await self._next()
        self.taken += len(data)
        if self.taken > self._most:
            raise self._fail(RequestTooLarge(f"the body is larger than {self._most} bytes"))
        if not data:
            raise StopAsyncIteration
        return data

    async def _next(self) -> bytes:
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            async with asyncio.timeout(self._left):
                return await self._read()
        except TimeoutError:
            raise self._fail(RequestTimeout("the body did not arrive in time")) from None
        except _UNREADABLE:
            raise self._fail(MalformedRequest("the body cannot be read")) from None
        finally:
            self._left -= loop.time() - before

    def _fail(self, fault: CallerError) -> CallerError:
        self.fault = fault
        return fault


class _Gone(web.StreamResponse):
    """An answer that has been written already, on a connection that stays."""

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Nothing to do."""
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to do."""


class HttpDoor:
    """One request of aiohttp's server."""

    def __init__(self, request: web.BaseRequest, limits: Limits) -> None:
        self._request = request
        self._limits = limits
        self._alarm: Alarm | None = None
        self._response: web.StreamResponse | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._wrote_at = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._let = False  # the body was told to come
        self.sent = 0

    @property
    def began(self) -> bool:
        return self._response is not None

    @property
    def response(self) -> web.StreamResponse:
        if self._response is None:
            raise RuntimeError("no answer was given")
        return self._response

    # ── in ─────────────────────────────────────────────────────────────────────────
    async def body(self, limits: Limits, alarm: Alarm) -> bytes:
        """The whole body, decompressed. Refuses what is too long before it is read where its length is declared."""
        encoding = await self._let_in(limits)
        content = self._request.content
        if content.is_eof() and content.total_bytes <= limits.max_body:
            return taken(content) if not encoding else await self._slowly(limits, alarm)
        return await self._slowly(limits, alarm)

    async def passing(self, limits: Limits) -> Passing:
        """The body to be read while it is sent on. What its declared length forbids is refused here already."""
        request = self._request
        encoding = await self._let_in(limits)
        length = request.content_length if request.body_exists else 0
        return Passing(request.content.readany, limits, None if encoding else length)

    async def _let_in(self, limits: Limits) -> str:
        """Lets the body come, unless its head says that it cannot be taken. Gives its content-encoding."""
        request = self._request
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _READABLE:
            raise UnsupportedMediaType("this content-encoding is not supported")
        declared = request.content_length
        if declared is not None and declared > limits.max_body:
            raise RequestTooLarge(f"the body is larger than {limits.max_body} bytes")
        if not self._let and request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0
        self._let = True
        return encoding

    async def _slowly(self, limits: Limits, alarm: Alarm) -> bytes:
        pieces: list[bytes] = []
        size, rest = 0, TURN
        alarm.set(self._loop.time() + limits.body, "body")
        try:
            while data := await self._request.content.readany():
                size += len(data)
                if size > limits.max_body:
                    raise RequestTooLarge(f"the body is larger than {limits.max_body} bytes")
                pieces.append(data)
                if size >= rest:  # what is there already is unpacked without a pause: let others have their turn
                    rest = size + TURN
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if alarm.forgive():
                raise RequestTimeout("the body did not arrive in time") from None
            raise
        except _UNREADABLE:
            raise MalformedRequest("the body cannot be read") from None
        finally:
            alarm.pause()
        return b"".join(pieces)

    # ── out ────────────────────────────────────────────────────────────────────────
    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """One answer with a known length. An unread rest of the request's body closes the connection."""
        self.sent = len(body)
        request = self._request
        usual = status == 200 and request.method == "POST" and request.version == HttpVersion11
        if usual and request.keep_alive and request.content.is_eof():
            return await self._usual(headers, body)
        response = web.Response(status=status, body=body, headers=CIMultiDict(headers))
        if request.content.exception() is not None:
            request.content._exception = None  # told by this answer: the server that drains the rest need not log it
        if not request.content.is_eof():
            response.force_close()
            if request.headers.get("Content-Encoding"):
                request.protocol.set_parser(_Sink())  # type: ignore[arg-type]  # it has what is called
        self._response = response
        try:
            await response.prepare(self._request)
            await response.write_eof()
        except ConnectionError:
            raise CallerGone("client_left") from None

    async def _usual(self, headers: Mapping[str, str], body: bytes) -> None:
        """The usual answer in one write of bytes: what web.Response and its writer find out costs more than this."""
        self._response = _Gone()
        request = self._request
        lines = "\r\n".join(map(": ".join, headers.items()))
        date = rfc822_formatted_time()
        head = f"HTTP/1.1 200 OK\r\n{lines}\r\ncontent-length: {len(body)}\r\ndate: {date}\r\n\r\n"
        breaks = len(headers) + 4
        if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
            raise ValueError("a line break in a header")
        transport = request.transport
        if transport is None or transport.is_closing():
            raise CallerGone("client_left")
        transport.write(head.encode() + body)
        if request.protocol.writing_paused:
            try:
                await request.writer.drain()
            except ConnectionError:
                raise CallerGone("client_left") from None

    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None:
        """The head of a stream."""
        response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
        if self._request.version >= HttpVersion11 and "content-length" not in headers:
            response.enable_chunked_encoding()
        self._alarm = alarm
        self._response = response
        transport = self._request.transport
        if transport is not None:
            transport.set_write_buffer_limits(high=self._limits.stream_buffer)
        try:
            await response.prepare(self._request)
        except ConnectionError:
            raise CallerGone("client_left") from None
        self._wrote_at = self._loop.time()
        if headers.get("content-type", "").startswith("text/event-stream"):
            self._beat = self._loop.call_later(HEARTBEAT, self._maybe_beat)

    async def write(self, data: bytes) -> None:
        """Part of a stream. Returns when there is room for more."""
        alarm = self._alarm
        response = self._response
        if alarm is None or response is None:
            raise RuntimeError("write before begin")
        now = self._loop.time()
        self._wrote_at = now
        self.sent += len(data)
        alarm.set(now + self._limits.write_stall, "write")
        try:
            await response.write(data)
        except asyncio.CancelledError:
            if alarm.forgive():
                self.cut()
                raise CallerGone("limit") from None
            raise
        except ConnectionError:
            raise CallerGone("client_left") from None
        finally:
            alarm.pause()

    def _maybe_beat(self) -> None:
        """A comment when nothing has been said for a while, so that nobody in between takes us for dead."""
        quiet = self._loop.time() - self._wrote_at
        if quiet >= HEARTBEAT - 0.1:
            self._beating = self._loop.create_task(self._ping())
            quiet = 0.0
        self._beat = self._loop.call_later(HEARTBEAT - quiet, self._maybe_beat)

    async def _ping(self) -> None:
        try:
            await self.response.write(PING)
            self._wrote_at = self._loop.time()
        except (ConnectionError, RuntimeError):
            pass  # the exchange itself learns it at its next write

    async def end(self) -> None:
        """The stream is complete."""
        self.quiet()
        try:
            await self.response.write_eof()
        except ConnectionError:
            raise CallerGone("client_left") from None

    def quiet(self) -> None:
        """No more heartbeats."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def cut(self) -> None:
        """Drops the connection at once, with whatever was still to be written."""
        self.quiet()
        transport = self._request.transport
        if transport is not None:
            transport.abort()
