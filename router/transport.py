"""The only door out: sends a WireRequest to an address and gives the answer back as it arrives.

One method wide, so that the demo upstream and tests can stand in for the network. What goes wrong comes out as a
TransportError of the tree, never as a library's exception. No redirects, no cookies, no proxies from the environment,
one moving clock per call (router/alarm.py) instead of the library's timeouts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Protocol

import aiohttp
import msgspec
from aiohttp import hdrs
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
from router.arrived import taken
from router.egress import EgressDenied
from router.line import KEEP_ALIVE, READ_BUFFER, Answer, Line, Lost
from router.policy.throughput import Throughput

DNS_TTL = 60
MOST_LINES = 256


class Clocks(msgspec.Struct, kw_only=True):
    """How long a call may take, in seconds; `deadline` is an instant of the loop's clock. `alarm` is the exchange's."""

    connect: float
    first_byte: float
    idle: float
    deadline: float
    alarm: Alarm
    pace: Throughput | None = None  # a stream that must not dribble
    connected: float | None = None  # out: seconds that a fresh connection took
    resent: bool = False  # out: a stale kept connection was replaced silently


class Upload(WireRequest, kw_only=True):
    """A request whose body is not held but read while it is sent, once; `body` is empty."""

    chunks: AsyncIterable[bytes]


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


class HttpTransport:
    """aiohttp's client, pooled. One session for each way of reaching upstreams (TLS files, proxy)."""

    def __init__(self, connector: aiohttp.TCPConnector | None = None) -> None:
        self._connector = connector  # for upstreams that a caller names: its addresses are checked, it has a pool
        self._sessions: dict[tuple[str | None, str | None, bool], aiohttp.ClientSession] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._lines: dict[tuple[str, str | None, str | None], Line] = {}

    async def send(self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks) -> UpstreamCall:
        at = min(asyncio.get_running_loop().time() + clocks.first_byte, clocks.deadline)
        where = URL(url, encoded=True) if "?" in url else _parsed(url)  # a query may hold a key
        try:
            with waiting(clocks.alarm, at, "first_byte"):
                if provider.proxy is None and wire.method == hdrs.METH_POST and not isinstance(wire, Upload):
                    answer = await self._post(wire, where, provider, clocks)
                    clocks.connected = answer.took
                    return HttpCall(answer, clocks)
                return HttpCall(await self._request(wire, where, provider, clocks), clocks)
        except EgressDenied as error:
            raise errors.EgressDenied(reason=error.reason) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(error) from error

    async def _post(self, wire: WireRequest, where: URL, provider: Provider, clocks: Clocks) -> Answer:
        """On a kept connection where there is one; should that have gone stale meanwhile, again on a new one."""
        line, timeout = self._line(provider, where), self._timeout(clocks.connect)
        try:
            return await line.send(where.raw_path_qs, wire, timeout)
        except Lost as lost:
            if lost.took is not None or not provider.resend_stale:
                raise
        clocks.resent = True
        return await line.send(where.raw_path_qs, wire, timeout, fresh=True)

    async def _request(
        self, wire: WireRequest, where: URL, provider: Provider, clocks: Clocks
    ) -> aiohttp.ClientResponse:
        """What a line does not do: other methods, ways through a proxy, uploads. Those cannot be sent again, should a
        kept connection have gone stale: they get one of their own."""
        upload = wire.chunks if isinstance(wire, Upload) else None
        return await self._session(provider, keeps=upload is None).request(
            wire.method,
            where,
            data=upload if upload is not None else wire.body or None,
            headers=wire.headers,
            allow_redirects=False,
            proxy=provider.proxy,
            timeout=self._timeout(clocks.connect),
        )

    def keep_only(self, providers: Iterable[Provider]) -> None:
        """Another table is in force: idle connections of rows that it does not have are closed, the others when they
        come back."""
        for key in self._lines.keys() - set(map(_way, providers)):
            self._lines.pop(key).close()

    def _line(self, provider: Provider, where: URL) -> Line:
        key = _way(provider)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= MOST_LINES:  # base URLs that callers named
                self._close_lines()
            line = self._lines[key] = Line(self._session(provider), where, keeps=self._connector is None)
        return line

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        found = self._timeouts.get(connect)
        if found is None:
            found = aiohttp.ClientTimeout(total=None, sock_connect=connect)
            self._timeouts[connect] = found
        return found

    def _session(self, provider: Provider, *, keeps: bool = True) -> aiohttp.ClientSession:
        key = (provider.ca_file, provider.client_cert, keeps)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._new_session(provider, keeps)
        return session

    def _new_session(self, provider: Provider, keeps: bool) -> aiohttp.ClientSession:
        connector = self._connector or aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=DNS_TTL,
            keepalive_timeout=KEEP_ALIVE if keeps else None,
            force_close=not keeps,
            ssl=_tls(provider),
            resolver=aiohttp.ThreadedResolver(),  # as the system resolves: hosts file, search domains
        )
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            read_bufsize=READ_BUFFER,
            trust_env=False,
        )

    def _close_lines(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()

    async def close(self) -> None:
        self._close_lines()
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        if self._connector is not None:
            await self._connector.close()


def _way(provider: Provider) -> tuple[str, str | None, str | None]:
    """What tells the connections of one row from those of another."""
    return provider.base_url, provider.ca_file, provider.client_cert


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
        clocks, pace = self._clocks, self._clocks.pace
        loop = asyncio.get_running_loop()
        content = self._response.content
        while True:
            began = loop.time()
            at = began + clocks.idle
            phase = "idle"
            if pace is not None and began + pace.patience() < at:
                at, phase = began + pace.patience(), "rate"
            if at > clocks.deadline:
                at, phase = clocks.deadline, "total"
            try:
                with waiting(clocks.alarm, at, phase):
                    data = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise translated(error) from error
            if not data:
                return
            if pace is not None:
                pace.arrived(loop.time() - began, len(data))
            yield data

    async def read(self, limit: int) -> bytes:
        """The whole body. More than `limit` bytes after decompression: BadUpstreamBytes, and the rest is not taken."""
        content = self._response.content
        if content.is_eof() and content.total_bytes <= limit and content.exception() is None:
            return taken(content)  # it came with its head
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
