"""The way to one base URL: aiohttp's connections and parser, without what its session does for each request anew.

The session builds URL, headers, cookies, timers, a writer's task and a response object for every call, and its pool
takes a connection through five objects; together more than half of what a proxied call costs. Requests here are one
write of bytes that are known beforehand, and a connection that has served goes back on a stack with its parser, which
reads its next answer. Connections are still made by aiohttp's connector (names, TLS, the check of addresses) and
answers read by its C parser, as strict as ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from providers.dialect import WireRequest

KEEP_ALIVE = 60.0  # seconds that an idle connection is kept
READ_BUFFER = 128 << 10


class Answer:
    """What `Line.send` got: as much of aiohttp's ClientResponse as a call needs. `close` it in any case.

    `took`: seconds that a new connection took; None where a kept one served.
    """

    __slots__ = ("_connection", "_line", "content", "headers", "status", "took")

    def __init__(
        self,
        line: Line,
        connection: Connection,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        took: float | None,
    ) -> None:
        self._line = line
        self._connection: Connection | None = connection
        self.status = message.code
        self.headers = message.headers
        self.content = content
        self.took = took

    def close(self) -> None:
        """The connection is kept when the answer was read to its end, else cut."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        transport = connection.transport
        # An upstream that answers before it has taken the whole request would read the rest as the next one.
        is_used_up = self.status == 101 or transport is None or transport.get_write_buffer_size()
        if is_used_up or not self.content.is_eof() or self.content.exception() is not None:
            connection.close()
        else:
            self._line.keep(connection)


class Line:
    """Calls of one base URL. `keeps`: idle connections wait here; else in the connector's own pool."""

    def __init__(self, session: aiohttp.ClientSession, base: URL, *, keeps: bool) -> None:
        connector = session.connector
        if connector is None:
            raise RuntimeError("the session is closed")
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        # What the connector wants to know of a request is where it goes.
        self._request = aiohttp.ClientRequest(hdrs.METH_POST, base, loop=self._loop, session=session, ssl=True)
        self._host = self._request.headers[hdrs.HOST]
        self._keeps = keeps
        self._closed = False
        self._idle: deque[tuple[Connection, float]] = deque()  # longest idle first
        self._sweep: asyncio.TimerHandle | None = None
        self._served: WeakSet[ResponseHandler] = WeakSet()  # what may come back from the connector's pool

    async def send(self, path: str, wire: WireRequest, clock: aiohttp.ClientTimeout, *, fresh: bool = False) -> Answer:
        """Posts the request; `fresh`: on a new connection. Raises Lost, and what ClientSession.request would."""
        data = self._written(path, wire)
        connection = None if fresh else self._kept()
        took: float | None = None
        if connection is None:
            connection, took = await self._connected(clock)
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            transport.write(data)
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code <= 199 or message.code == 101:
                    return Answer(self, connection, message, content, took)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message
            ) from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            connection.close()
            raise Lost(took) from error
        except BaseException:
            connection.close()
            raise

    def _written(self, path: str, wire: WireRequest) -> bytes:
        lines = "\r\n".join(map(": ".join, wire.headers.items()))
        start = f"{wire.method} {path} HTTP/1.1\r\nhost: {self._host}\r\n"
        head = f"{start}{lines}\r\ncontent-length: {len(wire.body)}\r\n\r\n"
        breaks = len(wire.headers) + 4
        if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
            raise ValueError("a line break in a header")
        return head.encode() + wire.body

    # ── connections ────────────────────────────────────────────────────────────────
    async def _connected(self, clock: aiohttp.ClientTimeout) -> tuple[Connection, float | None]:
        """A connection from the connector, ready to read an answer, and how long it took; None if it was kept there."""
        started = self._loop.time()
        try:
            connection = await self._connector.connect(self._request, traces=[], timeout=clock)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        protocol = connection.protocol
        if protocol is None or protocol in self._served:
            return connection, None
        protocol.set_response_params(read_until_eof=True, read_bufsize=READ_BUFFER)
        if not self._keeps:
            self._served.add(protocol)
        return connection, self._loop.time() - started

    def _kept(self) -> Connection | None:
        """The connection that was used last: it is the least likely to have gone stale."""
        idle = self._idle
        oldest = self._loop.time() - KEEP_ALIVE
        while idle:
            connection, since = idle.pop()
            protocol = connection.protocol
            if since > oldest and protocol is not None and protocol.is_connected() and not protocol.should_close:
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """For the next call."""
        protocol = connection.protocol
        if self._closed:
            connection.close()
        elif not self._keeps or self._connector.closed:
            connection.release()
        elif protocol is None or protocol.should_close or not protocol.is_connected():
            connection.close()
        else:
            self._idle.append((connection, self._loop.time()))
            if self._sweep is None:
                self._sweep = self._loop.call_later(KEEP_ALIVE, self._swept)

    def _swept(self) -> None:
        """Closes what has been idle for too long."""
        self._sweep = None
        idle = self._idle
        oldest = self._loop.time() - KEEP_ALIVE
        while idle and (idle[0][1] <= oldest or idle[0][0].closed):
            idle.popleft()[0].close()
        if idle:
            self._sweep = self._loop.call_at(idle[0][1] + KEEP_ALIVE, self._swept)

    def close(self) -> None:
        """No connection waits here any more; those in use come back to be closed."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._idle.pop()[0].close()


class Lost(aiohttp.ClientConnectionError):
    """The connection was lost before an answer came. `took` as in Answer."""

    def __init__(self, took: float | None) -> None:
        super().__init__("the connection was lost")
        self.took = took
