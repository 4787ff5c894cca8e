"""The built-in demo upstream: a transport without a network, so that everything can be tried without a key.

It stands where `router/transport.py` stands and is an upstream like any other: it reads the request that was encoded
for it, in whichever dialect, with the caller's half of that dialect, and answers in it, whole or as a paced stream;
what it cannot read it refuses in that dialect. What it says is in `providers/demo_answers.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from providers.canonical.count import estimate
from providers.canonical.errors import BadUpstreamBytes, RouteNotFound, RouterError
from providers.canonical.stream import StreamEvent
from providers.demo_answers import answer, events, spoken_at, vectors
from providers.dialect import Asked, Dialect, StreamEncoder, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.provider import Provider
from router.alarm import waiting
from router.transport import Clocks

PAUSE = 0.02  # seconds between two words of a stream


class DemoTransport:
    """Answers what is sent to it. `wall` gives Unix seconds; `pause` is how long it takes over a word."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect] = DIALECTS,
        *,
        wall: Callable[[], float] = time.time,
        pause: float = PAUSE,
    ) -> None:
        self._dialects = dialects
        self._wall = wall
        self._pause = pause

    async def send(self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks) -> DemoCall:
        """The answer, also where it is a refusal: an upstream's trouble comes as a status."""
        spoken = spoken_at(wire.path)
        if spoken is None or spoken[0] not in self._dialects:
            return DemoCall(WireResponse(status=404, headers={"content-type": "text/plain"}, body=b"not found"))
        dialect = self._dialects[spoken[0]]
        try:
            return self._answer(dialect, dialect.read(wire, spoken[1]), clocks)
        except RouterError as error:
            return DemoCall(dialect.encode_error(error))

    async def close(self) -> None:
        """Nothing is held."""

    def _answer(self, dialect: Dialect, asked: Asked, clocks: Clocks) -> DemoCall:
        operation = dialect.operation(asked.task)
        if operation == "embeddings" and dialect.embeddings is not None:
            inputs = dialect.embeddings.decode_embeddings(asked)
            return DemoCall(dialect.embeddings.encode_embeddings(vectors(inputs), inputs, []))
        if operation not in ("chat", "count_tokens"):
            raise RouteNotFound("the demo upstream does not do this")
        request = dialect.decode_request(asked)
        if operation == "count_tokens":
            return DemoCall(dialect.encode_count(estimate(request)))
        response = answer(request, asked.wire.body, int(self._wall()))
        if not asked.stream:
            return DemoCall(dialect.encode_response(response, request, []))
        encoder = dialect.stream_encoder(request, [])
        head = WireResponse(status=200, headers={"content-type": encoder.content_type})
        return DemoCall(head, _pieces(encoder, events(response)), self._pause, clocks)


def _pieces(encoder: StreamEncoder, stream: Iterator[StreamEvent]) -> Iterator[bytes]:
    """What each event is on the wire; events without bytes of their own are passed over."""
    for event in stream:
        if data := encoder.feed(event):
            yield data
    if data := encoder.close():
        yield data


class DemoCall:
    """An answer under way: a whole body, or pieces with a pause before each but the first."""

    def __init__(
        self,
        head: WireResponse,
        pieces: Iterator[bytes] | None = None,
        pause: float = 0.0,
        clocks: Clocks | None = None,
    ) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._pieces = iter([head.body]) if pieces is None else pieces
        self._pause = pause
        self._clocks = clocks
        self._closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces in time. UpstreamTimeout at the exchange's deadline, as from any upstream."""
        first = True
        for piece in self._pieces:
            if not first:
                await self._rest()
            first = False
            if self._closed:
                return
            yield piece

    async def _rest(self) -> None:
        if self._clocks is None:
            return
        with waiting(self._clocks.alarm, self._clocks.deadline, "total"):
            await asyncio.sleep(self._pause)

    async def read(self, limit: int) -> bytes:
        """The whole body; BadUpstreamBytes past `limit` bytes."""
        body = b""
        async for piece in self.chunks():
            body += piece
            if len(body) > limit:
                await self.close()
                raise BadUpstreamBytes("the upstream's answer is larger than the limit")
        return body

    async def close(self) -> None:
        """No more pieces come."""
        self._closed = True
