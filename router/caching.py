"""Calls on routes with `cache`: answered from what is kept, or asked once for all who ask the same at that time.

    kept      the answer as it was given before, with an `age`; nobody is called
    under way the answer of a call that somebody else has begun, live: the same bytes, as they come
    neither   the call is made, in a task of its own: what it says is heard by whoever listens (`state/flights.py`), its
              own caller among them, who may leave or read slowly without harm to the others

An answer is kept when all of it has been said and nothing went wrong. A call that fails before it has said anything
fails nobody else: one of those who wait makes it anew. What a call used and cost is told of the one that made it; the
others count as requests of their keys, and as nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from providers.canonical.chat import ChatResponse, Finish, Usage
from providers.canonical.errors import Overloaded, RouterError, UpstreamError
from providers.canonical.stream import ChoiceEnd, StreamEvent
from providers.dialect import Asked, StreamDecoder, StreamRelay, WireResponse
from router import targeting
from router.admission import Plan
from router.alarm import Alarm, over, waiting
from router.answers import kept_none, stream_end_of
from router.exchange import Exchange
from router.limiting import Charge
from router.mended import MendedExchange
from router.record import AttemptRecord
from router.relay import CallerGone, Door, Passing
from router.shaped import ShapedExchange
from router.spending import Spend
from router.state.cache import Kept
from router.state.flights import End, Flight, Hearing, Terms, few
from router.state.seals import Note, SealTape
from router.streaming import Translated
from router.table import CacheSettings, Limits

MOST_FAILED = 2  # calls that may fail before those who wait for them go on by themselves, all at once
#: What of an answer's head belongs to the answer, and is the same for everyone who gets it.
_SAME = frozenset({"content-type", "cache-control", "x-accel-buffering"})
_SAME |= {"x-isthmus-provider", "x-isthmus-model", "x-isthmus-lane", "x-isthmus-loss"}
#: Of a query what says whose call it is, and how it is made.
_ASIDE = frozenset({"key", "nice"})
#: Fields of a body that name what an upstream remembers: the same question is another one there the second time.
_REMEMBERED = ("background", "container", "conversation")
#: What is asked in a talk; without any of it an Ollama server loads a model, or lets go of it.
_TALKS, _ASKS = ("chat", "generate"), ("messages", "prompt", "images", "input")


class Wish(NamedTuple):
    """What a request's `cache-control` says: may it be answered with what is kept, no older than `newest` seconds?
    May its answer be kept?"""

    looks: bool = True
    keeps: bool = True
    newest: float | None = None


def wish(headers: Any) -> Wish:
    """`no-cache`, `no-store` and `max-age=SECONDS` (RFC 9111, 5.2.1); other directives say nothing here."""
    looks, keeps, newest = True, True, None
    for value in headers.getall("cache-control", ()):
        for directive in value.lower().split(","):
            name, _, seconds = directive.strip().partition("=")
            if name == "no-cache":
                looks = False
            elif name == "no-store":
                keeps = False
            elif name == "max-age" and seconds.isascii() and seconds.isdigit():
                newest = float(seconds[:9])
    return Wish(looks, keeps, newest)


def is_aside(said: Wish, asked: Asked, plan: Plan) -> bool:
    """Has a call nothing to do with what is kept? Its caller wants it so, or brings a key of its own for the upstream;
    or it means something that only the upstream knows, and which it may change; or it asks for no answer."""
    fields = asked.fields
    return (
        not said.keeps
        or plan.own_key is not None
        or any(fields.get(name) not in (None, False) for name in _REMEMBERED)
        or any(type(tool) is dict and isinstance(tool.get("container"), str) for tool in fields.get("tools") or ())
        or (asked.task in _TALKS and not asked.usual and not any(fields.get(name) for name in _ASKS))
    )


def key_of(exchange: Exchange, asked: Asked, plan: Plan, cache: CacheSettings) -> bytes:
    """All that may make another answer of a call. Its body counts byte for byte: the order of a schema's properties is
    the order in which a model writes them."""
    admission = exchange.admission
    who, named, incoming = admission.who, admission.named, admission.incoming
    owner = None if cache.scope == "all" else (who.owner, who.key.hash if who.key is not None else None)
    meant = (
        None if admission.match is None else admission.match.route.path,
        owner,
        admission.dialect.name,
        asked.task,
        asked.model,
        sorted(asked.params.items()),
        sorted((name, value) for name, value in incoming.query.items() if name not in _ASIDE),
        [(name, incoming.headers.getall(name, ())) for name in sorted(admission.dialect.passes)],
        None if named is None else (named.listed, named.default),
        sorted({(target.provider, target.model or "") for target in targeting.taking(asked, plan, exchange)}),
        plan.on_loss,
    )
    digest = blake2b(repr(meant).encode("utf-8", "backslashreplace"), digest_size=32)
    digest.update(b"\0")
    digest.update(asked.wire.body)
    return digest.digest()


class CachedExchange(Exchange):
    """One call, which may have been answered before."""

    _cache: CacheSettings | None = None
    _counted: Charge | None = None  # a request that has been counted, whatever becomes of it
    _age: int | None = None  # seconds, of an answer that was made for another call

    # ── which way ──────────────────────────────────────────────────────────────────
    async def _attempts(self, asked: Asked, plan: Plan) -> None:
        match = self.admission.match
        cache = self._cache = None if match is None else match.route.cache
        if cache is None:
            return await super()._attempts(asked, plan)
        said = wish(self.incoming.headers)
        if is_aside(said, asked, plan):
            self.record.cache = "bypass"
            self._pay(asked, plan)
            return await super()._attempts(asked, plan)
        self.record.cache = "miss"
        await self._find(asked, plan, said, key_of(self, asked, plan, cache))

    async def _find(self, asked: Asked, plan: Plan, said: Wish, key: bytes) -> None:
        answers, failed = self.generation.answers, 0
        while said.looks:
            kept = answers.find(key, self.gateway.clock(), said.newest)
            if kept is not None:
                return await self._give_again(kept)
            flight = answers.flights.get(key)
            if flight is None or failed >= MOST_FAILED or not flight.suits(self._terms(plan)):
                break
            if await self._follow(flight, asked, plan):
                return
            failed += 1
        await self._lead(asked, plan, key)

    def _terms(self, plan: Plan) -> Terms:
        """How a call of this caller's is made."""
        return Terms(nice=plan.nice, seconds=round(plan.ends - self.record.started, 3))

    # ── limits of the caller's key ─────────────────────────────────────────────────
    def _set_aside(self, asked: Asked, plan: Plan) -> None:
        """Later, where it depends on whether anybody is asked."""
        match = self.admission.match
        if match is None or match.route.cache is None:
            super()._set_aside(asked, plan)

    def _take_turn(self) -> None:
        """Room for a call that takes nothing but its place among the requests. LimitExceeded."""
        who = self.admission.who
        if who.limits is not None and self._counted is None:
            self._counted = Charge(self.gateway.accounts.of(who.name, who.limits), self.gateway.clock)
            self.charges = (self._counted,)
            self._counted.count()
        if who.budget is not None and self.record.operation != "count_tokens":  # it is told what is left
            spend = Spend(self.gateway.budgets, who.name, who.budget, {}, self.gateway.wall)
            self.charges = (*self.charges[: who.limits is not None], spend)

    def _pay(self, asked: Asked, plan: Plan) -> None:
        """Room for a call that is made, within limits and budget. LimitExceeded and its kin."""
        if self._counted is None:
            return super()._set_aside(asked, plan)
        self._kept = kept_none
        self._counted.weigh_in(asked, self.record.operation, self._understand)
        self._spend(asked, plan)

    # ── what is kept ───────────────────────────────────────────────────────────────
    async def _give_again(self, kept: Kept) -> None:
        """An answer that was given before."""
        self._take_turn()
        self._is_again(int(self.gateway.clock() - kept.made))
        self.losses = list(kept.losses)
        self._seal_again(kept.seals)
        headers = self._headers_again(kept.headers)
        if not kept.streamed:
            return await self.door.whole(200, headers, b"".join(kept.pieces))
        answers = self.generation.answers
        answers.hold(kept)
        try:
            await self._replay(kept.pieces, headers)
        finally:
            answers.release(kept)

    async def _replay(self, pieces: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self.record.stream = True
        await self.door.begin(200, headers, self.alarm)
        given = 0
        while some := few(pieces, given):
            await self.door.write(b"".join(some))
            given += len(some)
        self.record.stream_end = "done"
        await self.door.end()

    def _is_again(self, age: int) -> None:
        """The answer is one that was made for another call."""
        self.record.cache, self.record.status, self._age = "hit", 200, age

    def _seal_again(self, seals: Sequence[Note]) -> None:
        """What is sealed in it is remembered for this caller, too."""
        for note in seals:
            self.gateway.seals.keep(self.admission.who.owner, note)

    def _headers_again(self, same: Mapping[str, str]) -> dict[str, str]:
        self.watch.lap("answer")
        headers = {**same, "x-isthmus-attempts": "0", **self._head()}
        if self.generation.prices and self.incoming.headers.get("x-isthmus-cost") == "true":
            headers["x-isthmus-cost"] = "0"
        return headers

    def _head(self) -> dict[str, str]:
        headers = super()._head()
        if self.record.cache is not None:
            headers["x-isthmus-cache"] = self.record.cache
        if self._age is not None:
            headers["age"] = str(self._age)
        return headers

    # ── what is under way ──────────────────────────────────────────────────────────
    async def _follow(self, flight: Flight, asked: Asked, plan: Plan) -> bool:
        """The answer of a call that somebody else has made. False: it came to none, and nothing has been given out."""
        self._take_turn()
        hearing = Hearing(flight)
        try:
            with waiting(self.alarm, plan.deadline, "total"):
                opened = await hearing.opened()
            self.watch.lap("wait")
            if not opened:
                return False
            if not flight.streamed:
                return await self._follow_whole(hearing, plan)
            self._is_again(0)
            await self._follow_stream(hearing, self._headers_again(flight.same), asked, plan)
            return True
        finally:
            hearing.leave()

    async def _follow_whole(self, hearing: Hearing, plan: Plan) -> bool:
        flight = hearing.flight
        with waiting(self.alarm, plan.deadline, "total"):
            body = await hearing.whole()
        if flight.end is None:
            return False
        self._is_again(0)
        self.losses = list(flight.losses)
        self._seal_again(flight.seals)
        await self.door.whole(200, self._headers_again(flight.same), body)
        return True

    async def _follow_stream(self, hearing: Hearing, headers: Mapping[str, str], asked: Asked, plan: Plan) -> None:
        flight, record = hearing.flight, self.record
        record.stream = True
        # Reads along, so that an error can be told in a stream which somebody else began.
        along = self.dialect.stream_relay(asked, limit=self.generation.settings.limits.sse_event)
        await self.door.begin(200, headers, self.alarm)
        try:
            given = 0
            while pieces := hearing.ready(given) or await self._more(hearing, plan):
                data = b"".join(pieces)
                await self.door.write(data)
                self._read_along(along, data)
                given = len(pieces)
        except RouterError as error:  # a clock of this call, or the end of the process
            self._note_error(error)
            record.stream_end = stream_end_of(error)
            await self.door.write(along.error(error))
            return await self.door.end()
        if flight.end is None:  # it broke, and that has been told; a clean end would be taken for a whole answer
            self.door.cut()
            raise CallerGone("limit")
        self._seal_again(flight.seals)
        record.losses = list(flight.losses)
        record.outcome, record.error, record.code, record.stream_end = flight.end
        await self.door.end()

    def _read_along(self, along: StreamRelay, data: bytes) -> None:
        try:
            along.feed(data)
        except RouterError as error:  # the upstream's, which is told as it came
            error.with_traceback(None)  # what its frames hold must not wait for the collector of cycles

    async def _more(self, hearing: Hearing, plan: Plan) -> list[bytes]:
        with waiting(self.alarm, plan.ends, "total"):
            return await hearing.next()

    # ── what is asked ──────────────────────────────────────────────────────────────
    async def _lead(self, asked: Asked, plan: Plan, key: bytes) -> None:
        """The call is made, for this caller and whoever joins."""
        self._pay(asked, plan)
        flight = Flight(self.generation.answers, key, self._terms(plan))
        hearing = Hearing(flight)
        door, alarm = self.door, self.alarm
        self.door = _Said(door, flight)
        call = asyncio.create_task(self._call_out(asked, plan, flight))
        try:
            try:
                await self._hear(hearing, door, alarm)
                await asyncio.wait([call])
            except (asyncio.CancelledError, CallerGone):
                hearing.leave()
                while flight.hearings and not call.done():  # it goes on for the others
                    with contextlib.suppress(asyncio.CancelledError):
                        await flight.changed()
                raise
            call.result()
        finally:
            hearing.leave()
            call.cancel()
            try:
                await over(call)
            finally:
                if not call.cancelled():
                    call.exception()  # has been told
                del call  # it holds what it has failed of, and so this frame
                self.door, self.alarm = door, alarm

    async def _call_out(self, asked: Asked, plan: Plan, flight: Flight) -> None:
        """The attempts, whose answer is said to the flight."""
        alarm = self.alarm = Alarm()
        tape = self.seals = SealTape(self.gateway.seals)
        flight.seals = tape.notes
        try:
            await super()._attempts(asked, plan)
            record = self.record
            flight.losses = self.losses
            flight.end = End(record.outcome, record.error, record.code, record.stream_end)
            is_good = self._is_good(flight) and not await self._says_failed(flight)
            flight.land(self._to_keep(flight) if is_good else None, self.gateway.clock())
            self.gateway.metrics.cache_bytes(self.generation.answers.size)
        finally:
            flight.fail()
            alarm.stop()

    def _is_good(self, flight: Flight) -> bool:
        """Is the answer complete, and nothing wrong with it?"""
        record = self.record
        is_whole = record.stream_end == "done" if flight.streamed else record.status == 200
        return flight.keeps and is_whole and record.outcome == "ok" and self.sound

    def _translated(self, asked: Asked, response: ChatResponse) -> WireResponse:
        if any(_failed(choice.finish) for choice in response.choices):
            self.sound = False
        return super()._translated(asked, response)

    def _translating(self, decoder: StreamDecoder, asked: Asked, attempt: AttemptRecord) -> Translated:
        return super()._translating(_Heeded(decoder, self), asked, attempt)

    async def _says_failed(self, flight: Flight) -> bool:
        """Does an answer that is complete say itself that it failed? Where it can be read, in its caller's dialect: one
        that was translated has been looked at before, for many dialects have no word for it.
        """
        if self.record.operation != "chat":
            return False
        try:
            if not flight.streamed:
                wire = WireResponse(status=200, headers=dict(flight.same), body=b"".join(flight.pieces))
                return any(_failed(choice.finish) for choice in self.dialect.decode_response(wire).choices)
            decoder = self.dialect.stream_decoder(limit=self.generation.settings.limits.sse_event)
            read = 0
            while pieces := few(flight.pieces, read):
                read += len(pieces)
                if any(_ends_failed(event) for event in decoder.feed(b"".join(pieces))):
                    return True
                await asyncio.sleep(0)
            return any(_ends_failed(event) for event in decoder.close())
        except RouterError as error:
            error.with_traceback(None)
            return isinstance(error, UpstreamError)

    def _to_keep(self, flight: Flight) -> Kept:
        now = self.gateway.clock()
        return Kept(
            headers=flight.same,
            pieces=tuple(flight.pieces),
            streamed=flight.streamed,
            made=now,
            until=now + (self._cache.ttl if self._cache is not None else 0.0),
            number=flight.number,
            losses=tuple(self.losses),
            seals=tuple(flight.seals),
        )

    async def _hear(self, hearing: Hearing, door: Door, alarm: Alarm) -> None:
        """What is said, to the caller for whom it is."""
        flight = hearing.flight
        if not await hearing.opened():
            return
        if not flight.streamed:
            body = b"".join(await hearing.next())
            hearing.leave()  # however slowly this caller takes it, the call is over
            return await door.whole(200, flight.head, body)
        await door.begin(200, flight.head, alarm)
        given = 0
        while pieces := await hearing.next(given):
            await door.write(b"".join(pieces))
            given = len(pieces)
        if flight.end is not None:
            await door.end()


class _Heeded:
    """The decoder of a stream that is translated, and whether its answer says that it failed."""

    def __init__(self, decoder: StreamDecoder, exchange: Exchange) -> None:
        self._decoder = decoder
        self._exchange = exchange
        self.finished = decoder.finished

    @property
    def counted(self) -> Usage | None:
        return self._decoder.counted

    def feed(self, data: bytes) -> Sequence[StreamEvent]:
        events = self._looked_at(self._decoder.feed(data))
        self.finished = self._decoder.finished
        return events

    def close(self) -> Sequence[StreamEvent]:
        return self._looked_at(self._decoder.close())

    def _looked_at(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        for event in events:
            if type(event) is ChoiceEnd and _failed(event.finish):
                self._exchange.sound = False
        return events


class _Said:
    """The door of a call whose answer several may hear."""

    def __init__(self, door: Door, flight: Flight) -> None:
        self._door = door
        self._flight = flight
        self._alarm: Alarm | None = None  # of the attempt that answers

    @property
    def began(self) -> bool:
        return self._flight.state != "held"

    async def body(self, limits: Limits, alarm: Alarm) -> bytes:
        return await self._door.body(limits, alarm)

    async def passing(self, limits: Limits) -> Passing:
        return await self._door.passing(limits)

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._begin(headers, streamed=False)
        await self._flight.say(body)

    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None:
        self._alarm = alarm
        self._begin(headers, streamed=True)

    def _begin(self, headers: Mapping[str, str], *, streamed: bool) -> None:
        same = {name: value for name, value in headers.items() if name in _SAME}
        self._flight.begin(headers, same, streamed=streamed)

    async def write(self, data: bytes) -> None:
        """Overloaded where the process ends while one who reads slowly is waited for."""
        try:
            if data:
                await self._flight.say(data)
        except asyncio.CancelledError:
            if self._alarm is not None and self._alarm.forgive():
                raise Overloaded("the gateway is shutting down", retry_after=1.0) from None
            raise

    async def end(self) -> None:
        """The call itself comes to its end."""

    def quiet(self) -> None:
        """Whoever listens has heartbeats of its own."""

    def cut(self) -> None:
        """Nothing is connected here."""


def _failed(finish: Finish | None) -> bool:
    return finish is not None and (finish.failed or finish.reason == "error")


def _ends_failed(event: StreamEvent) -> bool:
    return isinstance(event, ChoiceEnd) and _failed(event.finish)


class CachedShaped(CachedExchange, ShapedExchange):
    """The same where answers are looked at."""


class CachedMended(CachedExchange, MendedExchange):
    """The same where answers are changed."""
