"""Answers that must have a shape: checked against the caller's own schemas, and asked for again where they break one.

`check_schema: flag` names a breach as a loss of the schema's field; `repair` first tells the model, once, what was
wrong, which is an attempt like any other. A stream cannot be taken back: its breaches are in log and metric at its end.

`emulate` of a route has JSON answers and tools asked for in words of targets that lack them, whole: what was asked for
as a stream is given as one when all of it is there. Such answers are checked and repaired in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from providers.adherence import Breach, asked_again, breaches, flags, usage_of_both, wanted, with_usage_of
from providers.canonical.chat import ChatRequest, ChatResponse, Usage
from providers.canonical.errors import BadUpstreamBytes, CallerError, RouterError
from providers.canonical.loss import Losses, blame, in_callers_words
from providers.canonical.stream import Fold, StreamEvent
from providers.dialect import Asked, Dialect, StreamDecoder, WireRequest, WireResponse
from providers.emulation import Emulated, instructed, needed, understood
from providers.provider import Provider
from router import validating
from router.admission import Plan
from router.exchange import Exchange
from router.record import AttemptRecord
from router.streaming import Source, Translated, Unfolding
from router.table import CheckSchema
from router.transport import UpstreamCall


class ShapedExchange(Exchange):
    """One call, whose answer is looked at where the route or its policy says so."""

    _mode: CheckSchema = "off"
    _aim: tuple[Plan, Provider, str | None] | None = None  # of the attempt under way
    _emulated: frozenset[Emulated] = frozenset()  # of the attempt under way
    _caught: list[ChatResponse] | None = None  # while the model is asked again: its answer comes in here
    _unheard: Usage | None = None  # what an answer used that was asked for again, and is no better

    def _apart(self) -> Self:
        """What is asked again on one side of a race is answered to that side alone."""
        other = super()._apart()
        other._caught = other._unheard = None
        return other

    async def _attempts(self, asked: Asked, plan: Plan) -> None:
        match = self.admission.match
        self._mode = (match.route.check_schema if match is not None else None) or plan.policy.check_schema
        await super()._attempts(asked, plan)

    def _encoded(self, asked: Asked, upstream: Dialect, provider: Provider, model: str, plan: Plan) -> WireRequest:
        self._emulated = self._lacking(asked, provider)
        if not self._emulated:
            return super()._encoded(asked, upstream, provider, model, plan)
        self.record.lane = "translate"
        losses: Losses = []
        request = self._canonical(asked)
        try:
            wire = self._written(request, upstream, provider, losses)
        except CallerError as error:
            blame(error, request, self.dialect.paths)
            raise
        self._note_losses(losses, plan)
        return wire

    def _lacking(self, asked: Asked, provider: Provider) -> frozenset[Emulated]:
        """What the caller wants, the target has not, and the route lets be emulated."""
        match = self.admission.match
        if match is None or not match.route.emulate or self.record.operation != "chat":
            return frozenset()
        traits = self._traits(provider, self.record.upstream_model or asked.model)
        return needed(self._canonical(asked), match.route.emulate, traits)

    def _written(
        self, request: ChatRequest, upstream: Dialect, provider: Provider, losses: Losses | None = None
    ) -> WireRequest:
        """The request in the target's dialect, in words where it must be, never as a stream then. Without `losses`
        they have been said before."""
        lost = losses if losses is not None else []
        model = self.record.upstream_model
        traits = self._traits(provider, model or request.model)
        request = self.gateway.seals.restore(self.admission.who.owner, request, upstream.seals(traits))
        if self._emulated:
            request = instructed(request, self._emulated, lost)
            # Without its spellings, too: they may hold options of streams.
            request = msgspec.structs.replace(request, stream=False, include_usage=False, form=None)
        if model is not None and model != request.model:
            request = msgspec.structs.replace(request, model=model)
        return upstream.encode_request(request, lost, traits)

    def _passed(self, upstream: Dialect) -> frozenset[str]:
        """What is asked again is another question: not the one that the caller's key stands for."""
        names = super()._passed(upstream)
        return names if self._caught is None else names - {"idempotency-key"}

    def _addressed(
        self, wire: WireRequest, upstream: Dialect, provider: Provider, secret: str | None, asked: Asked
    ) -> WireRequest:
        if self._emulated or self._caught is not None:
            asked = msgspec.structs.replace(asked, stream=False)
        return super()._addressed(wire, upstream, provider, secret, asked)

    async def _call(
        self,
        asked: Asked,
        plan: Plan,
        provider: Provider,
        upstream: Dialect,
        wire: WireRequest,
        secret: str | None,
    ) -> None:
        self._aim = (plan, provider, secret)
        if self._caught is not None:
            return await super()._call(asked, plan, provider, upstream, wire, secret)
        self._unheard = None
        try:
            await super()._call(asked, plan, provider, upstream, wire, secret)
        finally:
            self._count_unheard()

    def _count_unheard(self) -> None:
        if self._unheard is not None and self.record.usage is not None:
            self.record.usage = usage_of_both(self._unheard, self.record.usage)

    def _is_checked(self, asked: Asked) -> bool:
        if self.record.operation != "chat":
            return False
        return bool(self._emulated) or (self._mode != "off" and wanted(self._promised(asked)))

    def _promised(self, asked: Asked) -> ChatRequest:
        """The request by which the answer is judged."""
        return self._canonical(asked)

    def _rewrites(self, asked: Asked) -> bool:
        """Is an answer written anew in any case?"""
        return bool(self._emulated)

    # ── whole answers ──────────────────────────────────────────────────────────────
    async def _answer(self, asked: Asked, upstream: Dialect, wire: WireResponse) -> None:
        if self._caught is not None:
            return self._caught.append(self._understood(asked, upstream.decode_response(wire)))
        if not self._is_checked(asked):
            return await super()._answer(asked, upstream, wire)
        first = self._understood(asked, upstream.decode_response(wire))
        response = await self._best(asked, upstream, first)
        if response is first and not self._rewrites(asked):
            return await super()._answer(asked, upstream, wire)
        answer = self._translated(asked, response)
        self.watch.lap("answer")
        await self._give(200, {**answer.headers, **self._kept(wire.headers, self._secret)}, answer.body)

    def _understood(self, asked: Asked, response: ChatResponse) -> ChatResponse:
        self.record.attempts[-1].usage = response.usage  # before that of another answer is added to it
        return understood(self._canonical(asked), response, self._emulated) if self._emulated else response

    async def _best(self, asked: Asked, upstream: Dialect, response: ChatResponse) -> ChatResponse:
        """The answer, or a second one that is better; flagged where it is not good."""
        request = self._promised(asked)
        found = breaches(request, response, _check)
        if found and (self._emulated or self._mode == "repair"):
            better = await self._second(asked, upstream, request, response, found)
            if better is not None:
                return better
        self._flag(found)
        return response

    def _flag(self, found: list[Breach]) -> None:
        if found and self._request is not None:
            self.sound = False
            self.losses += in_callers_words(flags(found), self._request, self.dialect.paths)

    async def _second(
        self, asked: Asked, upstream: Dialect, request: ChatRequest, response: ChatResponse, found: Sequence[Breach]
    ) -> ChatResponse | None:
        """The answer to one more question, when that fits. None: the first one it is."""
        again = asked_again(self._canonical(asked), response, found)
        if again is None or self._aim is None:
            return None
        plan, provider, secret = self._aim
        if not self._may_ask_again(plan, provider):
            return None
        caught: list[ChatResponse] = []
        self._caught = caught
        self.record.attempts[-1].ended = self.gateway.clock()  # what comes now is another one
        try:
            wire = self._addressed(self._written(again, upstream, provider), upstream, provider, secret, asked)
            whole = msgspec.structs.replace(asked, stream=False)
            await self._call(whole, plan, provider, upstream, wire, secret)
        except RouterError as error:
            error.with_traceback(None)
            return None
        finally:
            self._caught = None
        second = caught[0]
        if breaches(request, second, _check):
            self._unheard = second.usage
            return None
        return with_usage_of(response, second)

    def _may_ask_again(self, plan: Plan, provider: Provider) -> bool:
        """Within the time and the attempts of the policy, and those of the row for this target."""
        if self.gateway.clock() >= plan.deadline:
            return False
        attempts = self.record.attempts
        here = [one for one in attempts if (one.provider, one.model) == (provider.name, attempts[-1].model)]
        return len(attempts) < plan.policy.attempts and (provider.attempts is None or len(here) < provider.attempts)

    # ── streams ────────────────────────────────────────────────────────────────────
    def _source(self, asked: Asked, upstream: Dialect, attempt: AttemptRecord) -> Source:
        if self._emulated:
            raise BadUpstreamBytes("the upstream sent a stream that it was not asked for")
        source = super()._source(asked, upstream, attempt)
        if upstream is not self.dialect or not self._is_checked(asked):
            return source  # a translated one is overheard where it is decoded
        limits = self.generation.settings.limits
        return _Shadowed(source, _Overheard(upstream.stream_decoder(limit=limits.sse_event), self._heard(asked)))

    def _translating(self, decoder: StreamDecoder, asked: Asked, attempt: AttemptRecord) -> Translated:
        if self._is_checked(asked):
            decoder = _Overheard(decoder, self._heard(asked))
        return super()._translating(decoder, asked, attempt)

    def _heard(self, asked: Asked) -> _Hearing:
        request = self._promised(asked)
        most = self.generation.settings.limits.upstream_body
        return _Hearing(most, lambda response: self._flag(breaches(request, response, _check)))

    async def _unfolded(
        self, asked: Asked, upstream: Dialect, call: UpstreamCall, first: bytes, attempt: AttemptRecord
    ) -> Source:
        """A whole answer, looked at before it is given on as a stream."""
        if not self._emulated:
            return await super()._unfolded(asked, upstream, call, first, attempt)
        body = first + await call.read(self.generation.settings.limits.upstream_body)
        wire = WireResponse(status=call.status, headers=dict(call.headers), body=body)
        response = self._understood(asked, upstream.decode_response(wire))
        response = await self._best(asked, upstream, response)
        return super()._translating(Unfolding(response), asked, attempt)


def _check(schema: Mapping[str, Any], value: Any) -> Sequence[str]:
    """Without the extra what is emulated is looked at for being JSON, and no closer."""
    return validating.check(schema, value) if validating.AVAILABLE else ()


class _Hearing:
    """What a stream says, kept until its end. A stream of more than `most` bytes is too much to keep."""

    def __init__(self, most: int, done: Callable[[ChatResponse], None]) -> None:
        self._fold: Fold | None = Fold()
        self._left = most
        self._done = done

    def hear(self, size: int, events: Sequence[StreamEvent]) -> None:
        self._left -= size
        if self._left < 0:
            self._fold = None
        if self._fold is not None:
            for event in events:
                self._fold.feed(event)

    def end(self) -> None:
        fold, self._fold = self._fold, None
        if fold is not None:
            self._done(fold.result())


class _Overheard:
    """A decoder somebody listens to."""

    def __init__(self, decoder: StreamDecoder, hearing: _Hearing) -> None:
        self._decoder = decoder
        self._hearing = hearing
        self.finished = decoder.finished

    @property
    def counted(self) -> Usage | None:
        return self._decoder.counted

    def feed(self, data: bytes) -> Sequence[StreamEvent]:
        events = self._decoder.feed(data)
        self.finished = self._decoder.finished
        self._hearing.hear(len(data), events)
        return events

    def close(self) -> Sequence[StreamEvent]:
        events = self._decoder.close()
        self._hearing.hear(0, events)
        self._hearing.end()
        return events


class _Shadowed:
    """A stream that is relayed untouched, and understood beside that. A fault of the shadow is nobody's."""

    def __init__(self, source: Source, shadow: _Overheard) -> None:
        self._source = source
        self._shadow: _Overheard | None = shadow
        self.content_type = source.content_type
        self.started = source.started

    @property
    def finished(self) -> bool:
        return self._source.finished

    def feed(self, data: bytes) -> bytes:
        out = self._source.feed(data)
        self.started = self._source.started
        self._follow(lambda shadow: shadow.feed(data))
        return out

    def close(self) -> bytes:
        out = self._source.close()
        self._follow(lambda shadow: shadow.close())
        return out

    def error(self, error: RouterError) -> bytes:
        return self._source.error(error)

    def _follow(self, step: Callable[[_Overheard], object]) -> None:
        if self._shadow is not None:
            try:
                step(self._shadow)
            except RouterError:
                self._shadow = None
