"""Exchanges whose answers are changed on the way: what a row's quirks ask for, and its `on_invalid_json`.

What is changed is `providers/mending.py`; here it is put between an upstream's answer and the caller's dialect. Such an
answer cannot be relayed byte for byte: it is read and written again, in the caller's own dialect, too. The request is
not: what the row lets through goes as the caller wrote it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from providers.adherence import Breach
from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import RouterError, UnwantedAnswer
from providers.dialect import Asked, Dialect, StreamDecoder, WireRequest, WireResponse
from providers.dialects import ANSWERS
from providers.mending import Mended, Mending, Promised, mended, mending, unwrapped
from providers.provider import Provider
from router.admission import Plan
from router.record import AttemptRecord
from router.shaped import ShapedExchange
from router.streaming import Source, Translated
from router.table import CheckSchema
from router.transport import UpstreamCall


class MendedExchange(ShapedExchange):
    """One call, whose answer is changed where the row of its target says so."""

    _quirks: frozenset[str] = frozenset()  # these five of the attempt under way
    _mending: Mending | None = None
    _promise: Promised | None = None
    _mended: Mended | None = None
    _refuses = False  # an answer that is not the JSON that was asked for is an error
    _usual_mode: CheckSchema | None = None  # what route and policy say, whatever the target

    def _encoded(self, asked: Asked, upstream: Dialect, provider: Provider, model: str, plan: Plan) -> WireRequest:
        self._aside(provider)
        wire = super()._encoded(asked, upstream, provider, model, plan)
        if self.record.operation == "chat" and (self._quirks & ANSWERS or provider.on_invalid_json is not None):
            request = self._canonical(asked)
            # Tools that are asked for in words are none that the upstream could call.
            told = msgspec.structs.replace(request, tools=()) if "tools" in self._emulated else request
            self._mending = mending(told, self._quirks)
            self._promise = Promised.of(request, self._quirks)
            if self._rewrites(asked):
                self.record.lane = "translate"
        return wire

    def _aside(self, provider: Provider) -> None:
        """Forgets the target before, and takes what the row of this one says of answers that are no JSON."""
        if self._usual_mode is None:
            self._usual_mode = self._mode
        self._quirks = frozenset(provider.quirks)
        self._mending = self._promise = self._mended = None
        said = provider.on_invalid_json
        self._refuses = said == "error"
        self._mode = self._usual_mode
        if said == "retry_once":
            self._mode = "repair"
        elif said is not None and self._mode == "off":
            self._mode = "flag"

    def _promised(self, asked: Asked) -> ChatRequest:
        request = super()._promised(asked)
        return request if self._promise is None else self._promise.request(request)

    def _rewrites(self, asked: Asked) -> bool:
        """Is the answer read and written, though both sides speak the same?"""
        return self._mending is not None or (self._refuses and self._is_checked(asked)) or super()._rewrites(asked)

    # ── whole answers ──────────────────────────────────────────────────────────────
    async def _answer(self, asked: Asked, upstream: Dialect, wire: WireResponse) -> None:
        wire = self._taken(wire)
        if self._caught is not None or self._is_checked(asked) or not self._rewrites(asked):
            return await super()._answer(asked, upstream, wire)
        response = self._understood(asked, upstream.decode_response(wire))
        answer = self._translated(asked, response)
        self.watch.lap("answer")
        await self._give(200, {**answer.headers, **self._kept(wire.headers, self._secret)}, answer.body)

    def _taken(self, wire: WireResponse) -> WireResponse:
        """The answer as the upstream's dialect has it."""
        return unwrapped(wire) if "unwrap_list" in self._quirks else wire

    def _understood(self, asked: Asked, response: ChatResponse) -> ChatResponse:
        if self._mending is not None:
            response = mended(self._mending, response)
        return super()._understood(asked, response)

    def _flag(self, found: list[Breach]) -> None:
        if found and self._refuses:
            raise UnwantedAnswer("the upstream's answer is not the JSON that was asked for")
        super()._flag(found if self._promise is None else self._promise.breaches(found))

    # ── streams ────────────────────────────────────────────────────────────────────
    def _source(self, asked: Asked, upstream: Dialect, attempt: AttemptRecord) -> Source:
        if self._emulated or upstream is not self.dialect or not self._rewrites(asked):
            return super()._source(asked, upstream, attempt)
        decoder = upstream.stream_decoder(limit=self.generation.settings.limits.sse_event)
        return self._translating(decoder, asked, attempt)

    def _arriving(self, call: UpstreamCall) -> AsyncIterator[bytes]:
        chunks = super()._arriving(call)
        return self._while_wanted(chunks) if self._mending is not None and self._mending.stops else chunks

    async def _while_wanted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A connection that is lost when the answer has been cut already has just ended."""
        try:
            async for data in chunks:
                yield data
        except RouterError:
            if self._mended is None or not self._mended.settled:
                raise

    def _translating(self, decoder: StreamDecoder, asked: Asked, attempt: AttemptRecord) -> Translated:
        if self._mending is not None and not self._emulated:  # what is emulated is changed before it is looked at
            decoder = self._mended = Mended(decoder, self._mending)
        return super()._translating(decoder, asked, attempt)
