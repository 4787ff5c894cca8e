"""The only door out: sends a WireRequest to an address and gives the answer back as it arrives.

One method wide, so that the demo upstream and tests can stand in for the network. What goes wrong comes out as a
TransportError of the tree, never as a library's exception. No redirects, no cookies, no proxies from the environment,
one moving clock per call (router/alarm.py) instead of the library's timeouts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Protocol, cast

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from providers.canonical import errors
from providers.canonical.errors import (
    BadUpstreamBytes,
    ConnectFailed,
    ConnectionLost,
    RouterError,
    TransportError,
)
from providers.dialect import WireRequest
from providers.provider import Provider
from router.alarm import Alarm, waiting
from router.egress import EgressDenied

KEEP_ALIVE = 60.0
DNS_TTL = 60
READ_BUFFER = 128 << 10
MOST_LINES = 256


class Clocks(msgspec.Struct, kw_only=True):
    """How long a call may take, in seconds; `deadline` is an instant of the loop's clock. `alarm` is the exchange's."""

    connect: float
    first_byte: float
    idle: float
    deadline: float
    alarm: Alarm
    connected: float | None = None  # out: seconds that a fresh connection took
    resent: bool = False  # out: a stale kept connection was replaced silently


class UpstreamCall(Protocol):
    """An answer under way. Header names are lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read(self, limit: int) -> bytes: ...
    async def close(self) -> None: ...


class Transport(Protocol):
    """Raises TransportError for whatever keeps an answer from arriving."""

    async def send(self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks) -> UpstreamCall: ...
    async def close(self) -> None: ...


# ── HTTP ───────────────────────────────────────────────────────────────────────────────


class _Note:
    """What a call and the connector tell each other."""

    __slots__ = ("fresh", "took")

    def __init__(self) -> None:
        self.fresh = False  # asked: no kept connection, please
        self.took: float | None = None  # told: seconds that a new connection took


_NOTE: ContextVar[_Note | None] = ContextVar("connection_note", default=None)


class NotingConnector(aiohttp.TCPConnector):
    """Tells each call whether its connection is new: a kept one may be stale, which is nobody's failure."""

    async def _get(self, key: Any, traces: Any) -> Any:
        note = _NOTE.get()
        return None if note is not None and note.fresh else await super()._get(key, traces)

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        started = self._loop.time()
        connection = await super()._create_connection(*args, **kwargs)
        note = _NOTE.get()
        if note is not None:
            note.took = self._loop.time() - started
        return connection


class Answer:
    """What `Line.send` got: as much of aiohttp's ClientResponse as a call needs."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(self, connection: Connection, message: RawResponseMessage, content: aiohttp.StreamReader) -> None:
        self._connection = connection
        self.status = message.code
        self.headers = message.headers
        self.content = content
        content.on_eof(self._release)

    def _release(self) -> None:
        """The connection is kept, unless the upstream answered before it had taken the whole request."""
        connection = self._connection
        transport = connection.transport
        if transport is None or transport.get_write_buffer_size() or self.status == 101:
            connection.close()
        else:
            connection.release()

    def close(self) -> None:
        self._connection.close()


class Line:
    """The way to one base URL: aiohttp's pool and parser, without what its session does for each request anew.

    The session builds URL, headers, cookies, timers, a writer's task and a response object for every call, half of what
    a proxied call costs. Requests here are one write of bytes that are known beforehand; connections and answers are
    aiohttp's own, as strict as ever.
    """

    def __init__(self, session: aiohttp.ClientSession, base: URL) -> None:
        self._connector = cast("aiohttp.BaseConnector", session.connector)
        # What the connector wants to know of a request is where it goes.
        self._request = aiohttp.ClientRequest(
            hdrs.METH_POST, base, loop=asyncio.get_running_loop(), session=session, ssl=True
        )
        self._host = self._request.headers[hdrs.HOST]

    async def send(self, path: str, wire: WireRequest, clock: aiohttp.ClientTimeout) -> Answer:
        """Posts the request. Raises what ClientSession.request would."""
        lines = [f"{wire.method} {path} HTTP/1.1\r\nhost: {self._host}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in wire.headers.items()]
        lines.append(f"content-length: {len(wire.body)}\r\n\r\n")
        head = "".join(lines)
        if head.count("\n") != len(lines) + 2 or head.count("\r") != len(lines) + 2 or "\0" in head:
            raise ValueError("a line break in a header")
        try:
            connection = await self._connector.connect(self._request, traces=[], timeout=clock)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(read_until_eof=True, read_bufsize=READ_BUFFER)
            transport.write(head.encode() + wire.body)
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code <= 199 or message.code == 101:
                    return Answer(connection, message, content)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise


class HttpTransport:
    """aiohttp's client, pooled. One session for each way of reaching upstreams (TLS files, proxy)."""

    def __init__(self, connector: aiohttp.TCPConnector | None = None) -> None:
        self._connector = connector  # for upstreams that a caller names: its addresses are checked
        self._sessions: dict[tuple[str | None, str | None], aiohttp.ClientSession] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._lines: dict[tuple[str, str | None, str | None], Line] = {}

    async def send(self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks) -> UpstreamCall:
        note = _Note()
        _NOTE.set(note)
        try:
            response = await self._request(wire, url, provider, clocks)
        except ConnectionLost:
            if note.took is not None or not provider.resend_stale:
                raise
            clocks.resent = note.fresh = True
            response = await self._request(wire, url, provider, clocks)
        clocks.connected = note.took
        return HttpCall(response, clocks)

    async def _request(
        self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks
    ) -> Answer | aiohttp.ClientResponse:
        at = min(asyncio.get_running_loop().time() + clocks.first_byte, clocks.deadline)
        timeout = self._timeout(clocks.connect)
        where = URL(url, encoded=True) if "?" in url else _parsed(url)  # a query may hold a key
        try:
            with waiting(clocks.alarm, at, "first_byte"):
                if provider.proxy is None and wire.method == hdrs.METH_POST:
                    return await self._line(provider, where).send(where.raw_path_qs, wire, timeout)
                return await self._session(provider).request(
                    wire.method,
                    where,
                    data=wire.body if wire.method != hdrs.METH_GET else None,
                    headers=wire.headers,
                    allow_redirects=False,
                    proxy=provider.proxy,
                    timeout=timeout,
                )
        except EgressDenied as error:
            raise errors.EgressDenied(reason=error.reason) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(error) from error

    def _line(self, provider: Provider, where: URL) -> Line:
        key = (provider.base_url, provider.ca_file, provider.client_cert)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= MOST_LINES:  # base URLs that callers named
                self._lines.clear()
            line = self._lines[key] = Line(self._session(provider), where)
        return line

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        found = self._timeouts.get(connect)
        if found is None:
            found = aiohttp.ClientTimeout(total=None, sock_connect=connect)
            self._timeouts[connect] = found
        return found

    def _session(self, provider: Provider) -> aiohttp.ClientSession:
        key = (provider.ca_file, provider.client_cert)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._new_session(provider)
        return session

    def _new_session(self, provider: Provider) -> aiohttp.ClientSession:
        connector = self._connector or NotingConnector(
            limit=0,
            ttl_dns_cache=DNS_TTL,
            keepalive_timeout=KEEP_ALIVE,
            ssl=_tls(provider),
            resolver=aiohttp.ThreadedResolver(),  # as the system resolves: hosts file, search domains
        )
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
            read_bufsize=READ_BUFFER,
            trust_env=False,
        )

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        if self._connector is not None:
            await self._connector.close()


@lru_cache(maxsize=1024)
def _parsed(url: str) -> URL:
    """The same few addresses, again and again."""
    return URL(url, encoded=True)


def _tls(provider: Provider) -> ssl.SSLContext | bool:
    """True: the system's roots. A row may name its own roots and a client certificate."""
    if provider.ca_file is None and provider.client_cert is None:
        return True
    context = ssl.create_default_context(cafile=provider.ca_file)
    if provider.client_cert is not None:
        context.load_cert_chain(provider.client_cert)
    return context


class HttpCall:
    """An answer of aiohttp's client."""

    __slots__ = ("_clocks", "_response", "headers", "status")

    def __init__(self, response: Answer | aiohttp.ClientResponse, clocks: Clocks) -> None:
        self._response = response
        self._clocks = clocks
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def chunks(self) -> AsyncIterator[bytes]:
        """What has arrived, as it arrives. UpstreamTimeout between chunks and at the deadline."""
        clocks = self._clocks
        loop = asyncio.get_running_loop()
        content = self._response.content
        while True:
            at = loop.time() + clocks.idle
            phase = "idle"
            if at > clocks.deadline:
                at, phase = clocks.deadline, "total"
            try:
                with waiting(clocks.alarm, at, phase):
                    data = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise translated(error) from error
            if not data:
                return
            yield data

    async def read(self, limit: int) -> bytes:
        """The whole body. More than `limit` bytes after decompression: BadUpstreamBytes, and the rest is not taken."""
        content = self._response.content
        if content.is_eof() and content.total_bytes <= limit and content.exception() is None:
            return content.read_nowait()  # it came with its head
        pieces: list[bytes] = []
        size = 0
        async for data in self.chunks():
            size += len(data)
            if size > limit:
                await self.close()
                raise BadUpstreamBytes("the upstream's answer is larger than the limit")
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Gives the connection back when the answer was read to its end, else cuts it."""
        self._response.close()


def translated(error: BaseException) -> RouterError:
    """A library's exception as the most specific class of the tree."""
    for kinds, translate in _TRANSLATIONS:
        if isinstance(error, kinds):
            return translate(error)
    return TransportError("the upstream could not be called")


def _payload_fault(error: BaseException) -> RouterError:
    """A body that broke off is a lost connection; one that was garbled is a bad answer."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        if type(cause).__name__ in _GARBLED and "Not enough data" not in text:
            return BadUpstreamBytes("the upstream's answer is badly encoded")
        cause = cause.__cause__ or cause.__context__
    return ConnectionLost("the connection to the upstream was lost before the answer was complete")


# aiohttp's own names; it says TransferEncodingError also of a body that just ends ("Not enough data …").
_GARBLED = frozenset({"ContentEncodingError", "TransferEncodingError", "DecompressSizeError", "BadHttpMessage"})


def _late(_: BaseException) -> RouterError:
    return ConnectFailed("the upstream could not be reached in time", status=504, code="upstream_timeout")


def _unreachable(_: BaseException) -> RouterError:
    return ConnectFailed("no connection to the upstream could be made")


def _lost(_: BaseException) -> RouterError:
    return ConnectionLost("the connection to the upstream was lost")


def _not_http(_: BaseException) -> RouterError:
    return BadUpstreamBytes("the upstream's answer is not valid HTTP")


#: The first row that fits: most specific first.
_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Callable[[BaseException], RouterError]], ...] = (
    ((aiohttp.ConnectionTimeoutError,), _late),
    ((aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError), _unreachable),
    ((aiohttp.ClientPayloadError,), _payload_fault),
    ((aiohttp.ClientResponseError,), _not_http),
    ((aiohttp.ClientConnectionError, OSError), _lost),
    ((aiohttp.ClientError, ValueError), _not_http),
)
