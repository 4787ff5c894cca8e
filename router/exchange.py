"""ONE CALL'S LIFE - read this first.

    admit    route and credential: who calls, and what is that path?
    read     the body, checked in full by the caller's dialect: nothing malformed goes further
    plan     which targets, under which policy; room within the limits of the caller's key
    attempt  encode for the target's dialect, or relay when both sides speak the same; sign; send; read
    answer   whole, or as a stream from its first meaningful event on; errors in the caller's language

Until the first byte of an answer has gone out, a failure may be tried again (`router/policy/retries.py` says whether
and where). After that a fault ends the stream in the caller's dialect. Whatever happens is written into one Record,
which metrics and log get once, at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from copy import copy
from typing import Any, NamedTuple, Self

import msgspec

from providers import auth
from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount
from providers.canonical.count import estimate
from providers.canonical.embeddings import EmbeddingsRequest
from providers.canonical.errors import (
    Bug,
    CallerError,
    MalformedRequest,
    RouterError,
    UnsupportedParameter,
    Untranslatable,
    UpstreamError,
    UpstreamTimeout,
)
from providers.canonical.loss import Losses, approximated, blame, in_callers_words
from providers.dialect import Asked, Dialect, StreamDecoder, Traits, WireRequest, WireResponse
from providers.provider import Provider, address
from router import outgoing, racing, targeting
from router.admission import Admission, Incoming, Plan
from router.alarm import Alarm, waiting
from router.answers import cost, head, is_final, kept, kept_none, outcome_of, own_body, stream_end_of, with_own_status
from router.gateway import UNLISTED, Gateway
from router.limiting import Charge, likely
from router.policy.fitting import Facts
from router.policy.retries import Attempt, GiveUp, next_step
from router.policy.throughput import Throughput
from router.racing import Race
from router.record import AttemptRecord, Record
from router.relay import CallerGone, Door
from router.spending import Spend
from router.state.seals import Keeping, SealWatch
from router.state.upstreams import Upstream
from router.streaming import Relayed, Source, Translated, Unfolding, hold, is_whole_answer, opening, pump
from router.table import Match, Route, Target
from router.transport import Clocks, UpstreamCall

#: What is lost where a target is not asked for a count of tokens, for it cannot be.
COUNTED = approximated("totalTokens", "counted by rule of thumb: the target cannot be asked")


class Ready(NamedTuple):
    """A request that only has to be sent."""

    provider: Provider
    upstream: Dialect
    wire: WireRequest


class Stopwatch:
    """Splits the time until the answer's head into named phases that sum to the whole."""

    __slots__ = ("_clock", "_last", "phases")

    def __init__(self, clock: Any, started: float, phases: dict[str, float]) -> None:
        self._clock = clock
        self._last = started
        self.phases = phases

    def apart(self, phases: dict[str, float]) -> Stopwatch:
        """Another one that goes on from here."""
        return Stopwatch(self._clock, self._last, phases)

    def lap(self, phase: str) -> float:
        """The time since the last lap belongs to `phase`. Gives the present."""
        now: float = self._clock()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now
        return now


class Exchange:
    """One call. `run` from first byte in to last byte out; `record` tells afterwards what happened."""

    can_hedge = True  # may it be sent to two upstreams at once?

    def __init__(self, gateway: Gateway, incoming: Incoming, door: Door, record: Record) -> None:
        self.gateway = gateway
        self.generation = gateway.generation
        self.incoming = incoming
        self.door = door
        self.record = record
        self.watch = Stopwatch(gateway.clock, record.started, record.phases)
        self.alarm = Alarm()
        self.admission = Admission(gateway, incoming)
        self.dialect: Dialect = self.admission.dialect  # the caller's; known once the route is
        self.losses: Losses = []
        self.charges: tuple[Charge | Spend, ...] = ()  # of a key that has limits, a budget
        self.seals: Keeping = gateway.seals  # where what answers have sealed is kept
        self.sound = True  # nothing is wrong with the answer, so that it may be given to others, too
        self._kept = kept  # what of an upstream's headers goes on
        self._request: ChatRequest | None = None
        self._embedding: EmbeddingsRequest | None = None  # in its place, where vectors are asked for
        self._waited = 0.0  # before the attempt under way
        self._broke: RouterError | None = None  # what ended the stream under way before its end
        self._was_callers_clock = False  # that did so
        self._has_own_key = False
        self._names_losses = True  # to the caller; log and metric always learn of them
        self._secret: str | None = None  # what the attempt under way is signed with

    # ── the life ───────────────────────────────────────────────────────────────────
    async def run(self, busy: RouterError | None = None) -> None:
        """The whole exchange, or the refusal of one that we are too `busy` for. Raises only when the caller left."""
        try:
            await self._live(busy)
        except RouterError as error:
            await self._refuse(error)
        except CallerGone:
            raise
        except Exception as error:
            self.gateway.log.bug(error, request_id=self.record.id, route=self.record.route)
            if self.door.began:
                self.record.outcome, self.record.error = "bug", Bug.kind
                self.door.cut()  # a clean end would be taken for a whole answer
                raise CallerGone("client_left") from error
            await self._refuse(Bug())
        finally:
            self.alarm.stop()

    async def _live(self, busy: RouterError | None) -> None:
        match = self._admit()
        if busy is not None:
            raise busy
        with self.gateway.metrics.inflight(match.route.path):
            asked = await self._read(match)
            plan = self.admission.plan(match.route, asked, self.record.started)
            self._set_aside(asked, plan)
            self._has_own_key = plan.own_key is not None
            self._names_losses = plan.on_loss != "allow"
            await self._attempts(asked, plan)

    def _admit(self) -> Match:
        """Route and credential, in the order in which a stranger may learn of them."""
        admission, record = self.admission, self.record
        admission.find_route()
        self.dialect = admission.dialect
        if admission.match is not None:
            record.route = admission.match.route.path
            record.caller_dialect = admission.match.route.speaks
        self.watch.lap("route")
        admission.authenticate()
        key = admission.who.key
        record.key = key.name if key else None
        self.watch.lap("access")
        return admission.route()

    # ── read ───────────────────────────────────────────────────────────────────────
    async def _read(self, match: Match) -> Asked:
        """The body, whole and checked."""
        incoming, limits = self.incoming, self.generation.settings.limits
        outgoing.check_type(incoming.headers)
        body = await self.door.body(limits, self.alarm)
        self.record.bytes_in = len(body)
        self.watch.lap("read")
        said = {name: value for name in self.dialect.passes if (value := incoming.headers.get(name)) is not None}
        wire = WireRequest(method=incoming.method, path=match.route.path, query=incoming.query, headers=said, body=body)
        asked = self._checked(wire, self.admission.params(match), match.route)
        self.record.stream = asked.stream
        self.record.operation = self.dialect.operation(asked.task)
        self.watch.lap("decode")
        return asked

    def _checked(self, wire: WireRequest, params: Mapping[str, str], route: Route) -> Asked:
        limits = self.generation.settings.limits
        try:
            return self.dialect.read(
                wire,
                params,
                depth=limits.json_depth,
                values=limits.json_values,
                messages=limits.messages,
                tools=limits.tools,
            )
        except MalformedRequest as error:
            if route.to == "named" and error.param == "messages" and error.code == "invalid_request":
                error.code = "invalid_messages"
            raise

    def _set_aside(self, asked: Asked, plan: Plan) -> None:
        """Room for the call within limits and budget of its key, before anything is sent. LimitExceeded and its kin."""
        who = self.admission.who
        if who.limits is not None:
            charge = Charge(self.gateway.accounts.of(who.name, who.limits), self.gateway.clock)
            self.charges = (charge,)
            self._kept = kept_none  # the upstream's limits are not this key's
            charge.set_aside(asked, self.record.operation, self._understand)
            self.watch.lap("access")
        self._spend(asked, plan)

    def _spend(self, asked: Asked, plan: Plan) -> None:
        """Leaves those targets that the key's budget allows. BudgetSpent, PriceUnknown."""
        budget = self.admission.who.budget
        if budget is None or plan.own_key is not None or self.record.operation == "count_tokens":
            return
        taking = targeting.taking(asked, plan, self)
        if not taking:
            return  # which is told where they are chosen
        spend = Spend(self.gateway.budgets, self.admission.who.name, budget, self.foreseen(asked), self.gateway.wall)
        self.charges = (*self.charges, spend)
        plan.targets = spend.set_aside(taking, asked.model, plan.providers, self.generation.prices)
        self.watch.lap("access")

    # ── attempts ───────────────────────────────────────────────────────────────────
    async def _attempts(self, asked: Asked, plan: Plan) -> None:
        history: list[Attempt] = []
        targets = targeting.in_order(self.gateway, asked, plan, self)
        target = targets[0]
        while True:
            try:
                after = None if plan.policy.hedge is None else racing.patience_with(self, asked, plan, target)
                if after is None:
                    return await self._attempt(asked, plan, target)
                return await racing.race(self, after, asked, plan, targets, target, history)
            except RouterError as error:
                if self.door.began:
                    raise
                # Without its frames: what they hold (bodies) must not wait for the collector of cycles.
                error.with_traceback(None)
                calls = len(self.record.attempts) - sum(attempt.calls for attempt in history)
                history.append(Attempt(target=target, error=outgoing.for_key(error, plan.own_key), calls=calls))
            step = next_step(
                targets,
                history,
                plan.policy,
                now=self.gateway.clock(),
                deadline=plan.deadline,
                dice=self.gateway.dice,
                rows=self.generation.rows,
                budgets=self.generation.budgets,
            )
            if isinstance(step, GiveUp):
                self.record.denied_retries.append(step.why)
                history.clear()
                try:
                    raise step.error
                finally:
                    del step
            if step.retry:
                budget = self.generation.budget(step.target.provider, plan.policy.retry_budget)
                budget.note_retry(self.gateway.clock())
            self._waited = step.after
            if step.after:
                with waiting(self.alarm, plan.ends, "total"):
                    await asyncio.sleep(step.after)
            self.watch.lap("wait")
            target = step.target

    def beside(self, race: Race, asked: Asked, plan: Plan, target: Target, *, hedge: bool = False) -> Self:
        """This exchange once more, making one attempt of a race; what it writes down is its own."""
        other = self._apart()
        side = race.side(self.record, self.gateway.clock(), hedge=hedge)
        other.record = side.record
        other.watch = self.watch.apart(side.record.phases)
        other.door = race.gate(side)
        if hedge:
            other.watch.lap("wait")
            other._waited = 0.0

        async def run(alarm: Alarm) -> None:
            other.alarm = alarm
            await other._attempt(asked, plan, target)

        race.begin(side, run)
        return other

    def _apart(self) -> Self:
        """A copy whose attempt touches nothing of this one's."""
        return copy(self)

    def adopt(self, other: Any, race: Race) -> None:
        """Goes on as the one of a race whose answer was given, or as the first of them."""
        mine = {"record": self.record, "door": self.door, "alarm": self.alarm}
        vars(self).update({**vars(other), **mine})
        race.write_down(self.record, other.record)

    async def _attempt(self, asked: Asked, plan: Plan, target: Target) -> None:
        """One call of one target, up to the last byte of its answer to the caller."""
        seen = None if target.provider == UNLISTED else targeting.seen(self.gateway, asked, plan, target)
        if seen is not None:
            self.record.provider = target.provider
            seen.check(self.gateway.clock())
        ready = self._prepare(asked, plan, target)
        if ready is None:
            return await self._count(asked)
        provider = ready.provider
        try:
            places = await targeting.place(self.gateway, plan, provider, self.alarm, self.record)
        finally:
            if self.record.queued:
                self.watch.lap("queue")
        try:
            if self.gateway.clock() >= plan.deadline:
                raise UpstreamTimeout("no time is left to ask the upstream")
            if seen is None:
                await self._call(asked, plan, provider, ready.upstream, ready.wire, self._secret)
            else:
                await self._watched(asked, plan, ready, seen, target.secret)
        finally:
            if places is not None:
                places.give_back()

    async def _watched(self, asked: Asked, plan: Plan, ready: Ready, seen: Upstream, key: str | None) -> None:
        """The call, of which the upstream's breaker and pace learn how it came out. CircuitOpen."""
        provider, clock = ready.provider, self.gateway.clock
        began = clock()
        seen.enter(began)
        self._broke, self._was_callers_clock = None, False
        try:
            await self._call(asked, plan, provider, ready.upstream, ready.wire, self._secret)
        except RouterError as error:
            if self._is_callers_clock(error):
                seen.left(began)
            else:
                seen.ended(error, clock(), began, key, own=plan.own_key is not None, stream=self.record.stream)
            raise
        except BaseException:
            seen.left(began)
            raise
        first = self._note_pace(seen)
        if self._was_callers_clock:
            seen.left(began)
            return
        seen.ended(self._broke, clock(), began, first=first, stream=self.record.stream)

    def _is_callers_clock(self, error: RouterError) -> bool:
        """Did a time run out that the caller has set?"""
        is_late = isinstance(error, UpstreamTimeout) and self.alarm.phase == "total"
        return is_late and "x-isthmus-timeout" in self.incoming.headers

    def _note_pace(self, seen: Upstream) -> float | None:
        """How long the first token took; of a whole answer, all of it."""
        attempt = self.record.attempts[-1]
        if self.record.stream and attempt.first_chunk is None:
            return None
        until = attempt.ended if attempt.first_chunk is None else attempt.first_chunk
        (seen.streams if self.record.stream else seen.wholes).note(until - attempt.started, attempt.ended)
        return until - attempt.started

    def _prepare(self, asked: Asked, plan: Plan, target: Target) -> Ready | None:
        """The target's request, losses noted, signed and ready to send; None where we count ourselves instead."""
        record, gateway = self.record, self.gateway
        provider = plan.providers[target.provider]
        model = target.model or asked.model
        upstream = gateway.dialects[provider.dialect_for(self.dialect.name, record.operation, gateway.dialects)]
        record.provider, record.upstream_model = provider.name, model
        record.model = self.generation.model_label(target, model)
        secret = self._secret = plan.own_key or self.generation.secret(provider, target.secret)
        record.lane = "relay" if upstream is self.dialect else "translate"
        if upstream is not self.dialect and record.operation == "count_tokens":
            return None
        if record.operation not in upstream.operations:
            raise UnsupportedParameter(f"this target cannot be asked for {asked.task}", param="model")
        wire = self._encoded(asked, upstream, provider, model, plan)
        wire = self._addressed(wire, upstream, provider, secret, asked)
        self.watch.lap("encode")
        return Ready(provider, upstream, wire)

    async def _call(
        self,
        asked: Asked,
        plan: Plan,
        provider: Provider,
        upstream: Dialect,
        wire: WireRequest,
        secret: str | None,
    ) -> None:
        gateway = self.gateway
        now = gateway.clock()
        attempt = AttemptRecord(
            provider=provider.name,
            model=self.record.model,
            operation=self.record.operation,
            started=now,
            waited=self._waited,
        )
        self.record.attempts.append(attempt)
        self.record.usage = None  # of the attempt before
        if provider.name != UNLISTED:
            self.generation.budget(provider.name, plan.policy.retry_budget).note_call(now)
        clocks = self._clocks(plan, provider)
        call: UpstreamCall | None = None
        try:
            url = address(provider.base_url, wire)
            call = await gateway.transport(provider).send(wire, url, provider, clocks)
            attempt.status = call.status
            self._note_arrival(clocks)
            await self._check_status(call, upstream, secret)
            attempt.credits = provider.credits.get(self.record.upstream_model or "")
            prices = self.generation.prices.get(provider.name)
            if prices is not None and not self._has_own_key:
                attempt.price = prices.of(self.record.upstream_model)
            if asked.stream:
                times = plan.policy.timeouts
                if times.min_rate is not None:
                    clocks.pace = Throughput(times.min_rate, times.rate_over)
                await self._stream(asked, upstream, call, attempt, lambda: self._commit(clocks, plan))
            else:
                await self._whole(asked, upstream, call)
        except RouterError as error:
            attempt.error = error.kind
            outgoing.scrub(error, secret)
            self.watch.lap("first_byte" if call is None else "body")  # the wait was the upstream's, not ours
            raise
        except (asyncio.CancelledError, CallerGone):
            if not attempt.ended:  # else it went well, and it was something else that was under way
                attempt.error = "client_left"
            raise
        finally:
            if attempt.price is not None:
                self.record.settle()
            attempt.ended = attempt.ended or gateway.clock()
            self.record.resent += clocks.resent
            self.record.upstream_seconds += attempt.ended - attempt.started
            if call is not None:
                await call.close()

    def _clocks(self, plan: Plan, provider: Provider) -> Clocks:
        times, own = plan.policy.timeouts, provider.timeouts  # a row narrows, it never widens
        if not own:
            return Clocks(
                connect=times.connect,
                first_byte=times.first_byte,
                idle=times.idle,
                deadline=min(plan.deadline, self.gateway.clock() + times.total),
                alarm=self.alarm,
            )
        return Clocks(
            connect=min(times.connect, own.get("connect", times.connect)),
            first_byte=min(times.first_byte, own.get("first_byte", times.first_byte)),
            idle=min(times.idle, own.get("idle", times.idle)),
            deadline=min(plan.deadline, self.gateway.clock() + own.get("total", times.total)),
            alarm=self.alarm,
        )

    def _commit(self, clocks: Clocks, plan: Plan) -> None:
        """The first byte goes out: `within` has been kept, from now on only the whole counts."""
        own = plan.providers[self.record.provider].timeouts
        clocks.deadline = min(plan.ends, self.gateway.clock() + own.get("total", plan.policy.timeouts.total))

    def _note_arrival(self, clocks: Clocks) -> None:
        self.watch.lap("first_byte")
        phases = self.record.phases
        if clocks.connected:
            phases["first_byte"] -= clocks.connected
            phases["connect"] = phases.get("connect", 0.0) + clocks.connected

    async def _check_status(self, call: UpstreamCall, upstream: Dialect, secret: str | None) -> None:
        await outgoing.check_status(call, upstream, secret)

    # ── encode ─────────────────────────────────────────────────────────────────────
    def _encoded(self, asked: Asked, upstream: Dialect, provider: Provider, model: str, plan: Plan) -> WireRequest:
        """The request in the target's dialect; its losses are those of this attempt alone."""
        losses: Losses = []
        traits = self._traits(provider, model)
        if upstream is self.dialect:
            wire = upstream.relay_request(asked, model, losses, traits)
        else:
            request = self._meant(asked, upstream, traits)
            if model != request.model:
                request = msgspec.structs.replace(request, model=model)
            try:
                wire = outgoing.encoded(request, upstream, losses, traits)
            except CallerError as error:
                blame(error, request, self.dialect.paths)
                raise
        self._note_losses(losses, plan)
        return wire

    def _traits(self, provider: Provider, model: str) -> Traits:
        """What is known of the target; with the caller's wish to let others go first, where it has a place for it."""
        traits = self.generation.traits_of(provider, model)
        if "nice" in traits.quirks and (wish := self.admission.nice()) is not None:
            return msgspec.structs.replace(traits, nice=wish)
        return traits

    def _note_losses(self, losses: Losses, plan: Plan) -> None:
        """What this attempt loses. Untranslatable where nothing may be lost."""
        self.losses = losses
        if losses:
            understood = self._request or self._embedding
            if understood is not None and self.record.lane == "translate":
                self.losses = in_callers_words(losses, understood, self.dialect.paths)
            if plan.on_loss == "reject":
                fields = ", ".join(dict.fromkeys(loss.field for loss in self.losses))
                raise Untranslatable(f"the target cannot carry: {fields}", param=self.losses[0].field)

    def _meant(self, asked: Asked, upstream: Dialect, traits: Traits) -> ChatRequest | EmbeddingsRequest:
        """The request in canonical form, with what the target can read of earlier reasoning put back."""
        if self.record.operation == "embeddings":
            return self._vectors(asked)
        return self.gateway.seals.restore(self.admission.who.owner, self._canonical(asked), upstream.seals(traits))

    def _canonical(self, asked: Asked) -> ChatRequest:
        """The request, understood once however many targets are tried."""
        if self._request is None:
            self._request = self.dialect.decode_request(asked)
        return self._request

    def _understand(self, asked: Asked) -> ChatRequest | EmbeddingsRequest:
        return self._vectors(asked) if self.record.operation == "embeddings" else self._canonical(asked)

    def foreseen(self, asked: Asked) -> dict[str, int]:
        """About how many tokens the call will take, by kind: for whatever depends on its price."""
        return likely(asked, self._understand)

    def facts(self, asked: Asked) -> Facts:
        """What conditions of targets, and calls that stick together, look at."""
        return targeting.facts(self.admission, asked, self.record.operation, lambda: self._as_understood(asked))

    def _as_understood(self, asked: Asked) -> ChatRequest | EmbeddingsRequest | None:
        """The request; None where only the upstream understands it."""
        try:
            return self._understand(asked)
        except CallerError:
            return None

    def losses_at(self, asked: Asked, plan: Plan, target: Target) -> Losses:
        """What a target would lose of the call: made ready for it, and put away. Raises where it would refuse."""
        record = self.record
        was = record.provider, record.upstream_model, record.model, record.lane
        try:
            if self._prepare(asked, plan, target) is None:
                return [COUNTED]
            return self.losses
        finally:
            self.losses = []
            record.provider, record.upstream_model, record.model, record.lane = was

    def _vectors(self, asked: Asked) -> EmbeddingsRequest:
        """What is to be made into vectors, understood once."""
        if self._embedding is None:
            self._embedding = outgoing.codec(self.dialect).decode_embeddings(asked)
        return self._embedding

    def _passed(self, upstream: Dialect) -> frozenset[str]:
        """Names of the caller's headers that go on."""
        return outgoing.passed(self.dialect, upstream, own_key=self._has_own_key)

    def _addressed(
        self, wire: WireRequest, upstream: Dialect, provider: Provider, secret: str | None, asked: Asked
    ) -> WireRequest:
        """Headers: our own, what the caller may pass on, the row's, the credential. Nothing else goes out."""
        headers = outgoing.headers(
            self.incoming.headers, self._passed(upstream), request_id=self.record.id, stream=asked.stream
        )
        if provider.name == UNLISTED:
            headers["via"] = f"1.1 {self.gateway.instance}"
        headers.update(wire.headers)
        headers.update(provider.headers)
        wire.headers = headers
        if provider.query:
            wire.query = {**wire.query, **provider.query}
        if secret is None:
            return wire
        return auth.sign(provider.auth, wire, secret, base_url=provider.base_url, now=self.gateway.wall())

    # ── answers, whole ─────────────────────────────────────────────────────────────
    async def _count(self, asked: Asked) -> None:
        """No call: the target cannot be asked, so we count ourselves and say so."""
        request = self._canonical(asked)
        count: TokenCount = estimate(request)
        self.losses = in_callers_words([COUNTED], request, self.dialect.paths)
        answer = self.dialect.encode_count(count)
        self.watch.lap("encode")
        await self._give(answer.status, answer.headers, answer.body)

    async def _whole(self, asked: Asked, upstream: Dialect, call: UpstreamCall) -> None:
        body = await call.read(self.generation.settings.limits.upstream_body)
        self.watch.lap("body")
        await self._answer(asked, upstream, WireResponse(status=call.status, headers=dict(call.headers), body=body))

    async def _answer(self, asked: Asked, upstream: Dialect, wire: WireResponse) -> None:
        """What the upstream said, to the caller."""
        given, body = wire.headers, wire.body
        if upstream is self.dialect:
            self.record.usage = upstream.relay_response(wire, asked)
            headers = {"content-type": "application/json"}
        else:
            if self._embedding is None:
                wire = self._translated(asked, upstream.decode_response(wire))
            else:
                wire = self._embedded(asked, upstream, wire)
            body, headers = wire.body, wire.headers
        self.watch.lap("answer")
        await self._give(200, {**headers, **self._kept(given, self._secret)}, body)

    def _translated(self, asked: Asked, response: ChatResponse) -> WireResponse:
        response = self._completed(response)
        self.record.usage = response.usage
        self.seals.keep_all(self.admission.who.owner, response)
        return self.dialect.encode_response(response, self._canonical(asked), self.losses)

    def _embedded(self, asked: Asked, upstream: Dialect, wire: WireResponse) -> WireResponse:
        response = outgoing.codec(upstream).decode_embeddings_response(wire)
        self.record.usage = response.usage
        return outgoing.codec(self.dialect).encode_embeddings(response, self._vectors(asked), self.losses)

    def _completed(self, response: ChatResponse) -> ChatResponse:
        """Id and time where the upstream gave none: every answer has them in some dialects."""
        if response.id is not None and response.created is not None:
            return response
        return msgspec.structs.replace(
            response,
            id=response.id or self.record.id,
            created=int(self.gateway.wall()) if response.created is None else response.created,
        )

    async def _give(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.record.status = status
        head = self._head()
        if self.generation.prices and self.incoming.headers.get("x-isthmus-cost") == "true":
            head |= cost(self.record)
        await self.door.whole(status, {**headers, **head}, body)

    # ── answers, streamed ──────────────────────────────────────────────────────────
    async def _stream(
        self,
        asked: Asked,
        upstream: Dialect,
        call: UpstreamCall,
        attempt: AttemptRecord,
        commit: Callable[[], None],
    ) -> None:
        """Holds everything back until the first meaningful event, then gives it out as it comes."""
        chunks = self._arriving(call)
        first = await opening(chunks)
        if is_whole_answer(call.headers, first, upstream):
            if upstream is self.dialect and not self._is_understood(asked):
                return await self._as_it_came(asked, upstream, call, first)
            source: Source = await self._unfolded(asked, upstream, call, first, attempt)
            held, done = source.close(), True
        else:
            source = self._source(asked, upstream, attempt)
            held, done = await hold(source, first, chunks)
        self.watch.lap("first_chunk")
        commit()
        await self._begin(source, call)
        try:
            await self.door.write(held)
            if not done:
                async for out in pump(source, chunks):
                    await self.door.write(out)
            await self._told()
            self.record.stream_end = "done"
        except RouterError as error:
            attempt.error = error.kind
            outgoing.scrub(error, self._secret)
            self._broke = error.with_traceback(None)  # its frames hold this exchange
            self._was_callers_clock = self._is_callers_clock(error)
            self._note_error(error)
            self.record.stream_end = stream_end_of(error)
            await self.door.write(source.error(self._shown(error)))
        await self.door.end()

    def _arriving(self, call: UpstreamCall) -> AsyncIterator[bytes]:
        """The upstream's bytes as they come."""
        return call.chunks()

    async def _told(self) -> None:
        """All of a stream has been given out. For whoever has something to add: what fails here ends it in an error."""

    def _source(self, asked: Asked, upstream: Dialect, attempt: AttemptRecord) -> Source:
        limit = self.generation.settings.limits.sse_event
        if upstream is self.dialect:
            return Relayed(upstream.stream_relay(asked, limit=limit), self.record, attempt, self.gateway.clock)
        decoder = upstream.stream_decoder(limit=limit)
        return self._translating(decoder, asked, attempt)

    def _translating(self, decoder: StreamDecoder, asked: Asked, attempt: AttemptRecord) -> Translated:
        return Translated(
            decoder,
            self.dialect.stream_encoder(self._canonical(asked), self.losses),
            self.record,
            attempt,
            self.gateway.clock,
            watch=SealWatch(self.seals, self.admission.who.owner),
            id=self.record.id,
            created=int(self.gateway.wall()),
        )

    async def _unfolded(
        self, asked: Asked, upstream: Dialect, call: UpstreamCall, first: bytes, attempt: AttemptRecord
    ) -> Source:
        """A whole answer although a stream was asked for: given on as the stream that it would have been."""
        limit = self.generation.settings.limits.upstream_body
        body = first + await call.read(limit)
        response = upstream.decode_response(WireResponse(status=call.status, headers=dict(call.headers), body=body))
        return self._translating(Unfolding(response), asked, attempt)

    def _is_understood(self, asked: Asked) -> bool:
        """Can the request be read as more than something to be relayed?"""
        try:
            self._canonical(asked)
        except CallerError:
            return False
        return True

    async def _as_it_came(self, asked: Asked, upstream: Dialect, call: UpstreamCall, first: bytes) -> None:
        """A whole answer to what only the upstream understands: no stream can be made of it here."""
        self.record.stream = False
        body = first + await call.read(self.generation.settings.limits.upstream_body)
        await self._answer(asked, upstream, WireResponse(status=call.status, headers=dict(call.headers), body=body))

    async def _begin(self, source: Source, call: UpstreamCall) -> None:
        self.record.status = 200
        headers = {
            "content-type": source.content_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **self._kept(call.headers, self._secret),
            **self._head(),
        }
        await self.door.begin(200, headers, self.alarm)

    # ── errors ─────────────────────────────────────────────────────────────────────
    def _head(self) -> dict[str, str]:
        self.record.losses = self.losses
        headers = head(self.record, secret_path=self.admission.has_secret_path, losses=self._names_losses)
        headers[self.dialect.id_header] = self.record.id
        for charge in self.charges:
            headers.update(charge.headers())
        return headers

    def _note_error(self, error: RouterError) -> None:
        record = self.record
        record.error, record.code = error.kind, error.code
        record.reason = getattr(error, "reason", None)
        record.outcome = outcome_of(error)

    async def _refuse(self, error: RouterError) -> None:
        """The answer to a call that failed before any byte went out, in the caller's own dialect."""
        self._note_error(error)
        self.watch.lap("answer")
        shown = self._shown(error)
        answer = None
        if self._has_own_key and isinstance(shown, UpstreamError):
            answer = own_body(shown, self.dialect)
        if answer is None:
            answer = self.dialect.encode_error(shown, stream=self.record.stream)
        self.record.status = answer.status
        headers = {**answer.headers, **self._head(), "x-isthmus-fault": error.fault}
        if answer.status in (429, 503):
            headers.setdefault("retry-after", "1")  # nobody said how long; told all the same
        if is_final(self.record, error):
            headers["x-should-retry"] = "false"
        await self.door.whole(answer.status, headers, answer.body)

    def _shown(self, error: RouterError) -> RouterError:
        """What the caller may see: an upstream's own status when the key is the caller's own."""
        return with_own_status(error) if self._has_own_key and isinstance(error, UpstreamError) else error
