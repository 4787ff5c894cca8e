"""Two attempts of one call at once: who answers first is heard, the other one is cut off.

Each runs in a task of its own, with an alarm and a record of its own, on a copy of the exchange (`Exchange._apart`).
All they share is the way to the caller, and the first to use it has won: from then on the other one gets nowhere. When
and where a second attempt begins is decided in `policy/hedging.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from providers.canonical.errors import RouterError
from providers.dialect import Asked
from router import targeting
from router.admission import Plan
from router.alarm import Alarm, over
from router.gateway import UNLISTED, Gateway, Generation
from router.policy.hedging import patience, second
from router.policy.retries import Attempt, is_refusal
from router.record import OUTPACED, AttemptRecord, Hedged, Record
from router.relay import Door, Passing
from router.table import Limits, Target
from router.vocabulary import CLIENT_LEFT


class Attempts(list[AttemptRecord]):
    """The attempts of a call as one side of a race has them: its own last. What the other side begins is seen here,
    too, so that both know how many there have been."""

    def __init__(self, before: list[AttemptRecord], *, hedge: bool = False) -> None:
        super().__init__(before)
        self.own: list[AttemptRecord] = []
        self.twin: Attempts | None = None
        self._hedge = hedge

    def append(self, attempt: AttemptRecord) -> None:
        attempt.hedge = self._hedge
        self.own.append(attempt)
        super().append(attempt)
        if self.twin is not None:
            self.twin.insert(len(self.twin) - len(self.twin.own), attempt)


class Side:
    """One of the two: what it does, and how that has come out."""

    def __init__(self, record: Record, attempts: Attempts) -> None:
        self.record = record
        self.attempts = attempts
        self.alarm: Alarm | None = None
        self.task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.was_cut = False

    @property
    def is_open(self) -> bool:
        return self.task is not None and not self.task.done()

    def cut(self) -> None:
        """Ends it now, its connection with it."""
        if self.task is not None and self.is_open:
            self.was_cut = True
            self.task.cancel()

    def settle(self) -> None:
        """It is over: what came of it, and was it cut off for the other one?"""
        task = self.task
        if task is not None and not task.cancelled():
            self.error = task.exception()
        for attempt in self.attempts.own:
            if self.was_cut and attempt.error == CLIENT_LEFT:
                attempt.error = OUTPACED


class Race:
    """The two of one call. `alarm` is that of the call, `door` its way to the caller."""

    def __init__(self, alarm: Alarm, door: Door) -> None:
        self.sides: list[Side] = []
        self.winner: Side | None = None
        self._alarm = alarm
        self._door = door

    def side(self, record: Record, now: float, *, hedge: bool) -> Side:
        """One of the two: the first as the call stands, or the second, as the first stands."""
        attempts = Attempts(record.attempts, hedge=hedge)
        mine = msgspec.structs.replace(record, attempts=attempts, phases=dict(record.phases), queued=[], resent=0)
        if hedge:
            first = self.sides[0].attempts
            attempts.twin, first.twin = first, attempts
            mine.upstream_seconds += now - self.began(now)
        return Side(mine, attempts)

    def began(self, now: float) -> float:
        """When the first was sent; now, if it is still to be."""
        own = self.sides[0].attempts.own
        return own[0].started if own else now

    @property
    def is_undecided(self) -> bool:
        """Has the first neither answered nor failed?"""
        return self.winner is None and self.sides[0].is_open

    def begin(self, side: Side, run: Callable[[Alarm], Awaitable[None]]) -> None:
        """Lets one run, on an alarm of its own."""

        async def live() -> None:
            side.alarm = Alarm()
            try:
                await run(side.alarm)
            finally:
                side.alarm.stop()

        self.sides.append(side)
        side.task = asyncio.create_task(live())

    def gate(self, side: Side) -> Gate:
        return Gate(self, side, self._door)

    def win(self, side: Side) -> bool:
        """Is it the first to have an answer? The other one is cut off then."""
        if self.winner is None:
            self.winner = side
            for other in self.sides:
                if other is not side:
                    other.cut()
        return self.winner is side

    @property
    def open(self) -> list[asyncio.Task[None]]:
        return [side.task for side in self.sides if side.task is not None and side.is_open]

    async def wait(self, seconds: float | None = None) -> None:
        """Until one of them is over, or for so long. A call that is ended from outside ends both."""
        try:
            await asyncio.wait(self.open, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            phase = self._alarm.phase
            if self._alarm.forgive():  # the gateway stops: whoever is under way says so itself
                for side in self.sides:
                    if side.alarm is not None and side.is_open:
                        side.alarm.ring(phase)
                return
            for task in self.open:
                task.cancel()
            await self._all()
            raise
        finally:
            for side in self.sides:
                if not side.is_open:
                    side.settle()

    async def _all(self) -> None:
        try:
            await over(*self.open)
        finally:
            for side in self.sides:
                side.settle()

    async def close(self) -> None:
        """Whoever is still under way is cut off."""
        for side in self.sides:
            side.cut()
        await self._all()

    def look(self, is_final: Callable[[RouterError], bool]) -> None:
        """After a wait: how did those come out that are over? An error of the first that is final for the call ends the
        second, too. Raises what is no failure of an attempt: bugs, callers who left."""
        for side in self.sides:
            if side.is_open or side.was_cut:
                continue
            if side.task is not None and side.task.cancelled():
                raise asyncio.CancelledError
            if side.error is None:
                self.win(side)
            elif not isinstance(side.error, RouterError):
                raise side.error
            elif side is self.sides[0] and is_final(side.error):
                for other in self.sides[1:]:
                    other.cut()

    def release(self) -> BaseException | None:
        """How the call has come out: the fault of the winner or of the first. Lets go of everything else: what tasks,
        faults and twins hold of each other (bodies, connections) must not wait for the collector of cycles."""
        error = (self.winner or self.sides[0]).error
        for side in self.sides:
            side.task = side.alarm = side.error = side.attempts.twin = None
        return error

    def lost(self, *targets: Target | None) -> Iterator[tuple[Target, float]]:
        """Who was cut off while it worked, and how many seconds it had had. `targets` of the two."""
        for side, target in zip(self.sides, targets, strict=False):
            if target is not None and side.attempts.own and side.attempts.own[-1].error == OUTPACED:
                yield target, side.attempts.own[-1].ended - side.attempts.own[-1].started

    def write_down(self, record: Record, chosen: Record) -> None:
        """Into the record of the call, how it stands: as the one says that was chosen, with what both have done."""
        sides = [side.record for side in self.sides]
        together = {
            "attempts": self._in_order(record.attempts, chosen.attempts),
            "queued": [*record.queued, *(wait for side in sides for wait in side.queued)],
            "resent": record.resent + sum(side.resent for side in sides),
            "hedges": [*record.hedges, *self._hedged()],
        }
        for name in record.__struct_fields__:
            setattr(record, name, together[name] if name in together else getattr(chosen, name))

    def _in_order(self, before: list[AttemptRecord], chosen: list[AttemptRecord]) -> list[AttemptRecord]:
        """The one that answered last: it is the call's own. Where none did, as they began."""
        if self.winner is not None:
            return list(chosen)
        return [*before, *sorted(chosen[len(before) :], key=lambda attempt: attempt.started)]

    def _hedged(self) -> list[tuple[str, Hedged]]:
        """Of which provider the second attempt was and how it came out, if it was made and somebody waited for it."""
        if len(self.sides) < 2 or not self.sides[1].attempts.own:
            return []
        second = self.sides[1]
        provider = second.attempts.own[0].provider
        if self.winner is second:
            return [(provider, "won")]
        if second.was_cut:
            return [(provider, "lost")]
        return [(provider, "failed")] if second.error is not None else []


class Gate:
    """The way to the caller for one of the two."""

    def __init__(self, race: Race, side: Side, door: Door) -> None:
        self._race = race
        self._side = side
        self._door = door

    @property
    def began(self) -> bool:
        return self._door.began

    async def _pass(self) -> None:
        if not self._race.win(self._side):
            await asyncio.get_running_loop().create_future()  # it has been cut off, and learns it here

    async def body(self, limits: Limits, alarm: Alarm) -> bytes:
        return await self._door.body(limits, alarm)

    async def passing(self, limits: Limits) -> Passing:
        return await self._door.passing(limits)

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self._pass()
        await self._door.whole(status, headers, body)

    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None:
        await self._pass()
        await self._door.begin(status, headers, alarm)

    async def write(self, data: bytes) -> None:
        await self._door.write(data)

    async def end(self) -> None:
        await self._door.end()

    def quiet(self) -> None:
        self._door.quiet()

    def cut(self) -> None:
        self._door.cut()


# ── the race of a call ─────────────────────────────────────────────────────────────────


class Racer(Protocol):
    """An exchange, as far as a race goes."""

    gateway: Gateway
    generation: Generation
    alarm: Alarm
    door: Door

    @property
    def can_hedge(self) -> bool: ...

    def beside(self, race: Race, asked: Asked, plan: Plan, target: Target, *, hedge: bool = False) -> Racer:
        """The same exchange once more, making one attempt of the race."""
        ...

    def adopt(self, other: Any, race: Race) -> None:
        """Goes on as that one."""
        ...


def patience_with(racer: Racer, asked: Asked, plan: Plan, target: Target) -> float | None:
    """After how many seconds another target is asked besides this one; None: never."""
    hedge = plan.policy.hedge
    if hedge is None or not racer.can_hedge or len(plan.targets) == 1 or target.provider == UNLISTED:
        return None
    p95 = None
    if hedge.after is None:
        p95 = targeting.seen(racer.gateway, asked, plan, target).p95(racer.gateway.clock(), stream=asked.stream)
    return patience(plan.policy, p95)


async def race(
    racer: Racer,
    after: float,
    asked: Asked,
    plan: Plan,
    targets: Sequence[Target],
    target: Target,
    history: list[Attempt],
) -> None:
    """One attempt, and another one beside it when it is late. When neither answers the error of the first is raised,
    and that of the second is in the history."""
    run, clock = Race(racer.alarm, racer.door), racer.gateway.clock
    first = racer.beside(run, asked, plan, target)
    beside: Racer | None = None
    other: Target | None = None
    is_alone = True
    try:
        while run.open:
            at = run.began(clock()) + after if is_alone and run.is_undecided else math.inf
            if at <= clock():
                is_alone = False
                calls = max(1, len(run.sides[0].attempts.own))
                other = _other(racer, asked, plan, targets, target, history, calls)
                if other is not None:
                    beside = first.beside(run, asked, plan, other, hedge=True)
                continue
            await run.wait(None if at == math.inf else at - clock())
            run.look(lambda error: error.retry == "never" and not is_refusal(error, plan.policy))
    finally:
        try:
            await run.close()
        finally:
            racer.adopt(first if beside is None or run.winner is not run.sides[1] else beside, run)
            for where, seconds in run.lost(target, other):
                targeting.seen(racer.gateway, asked, plan, where).outpaced(seconds, clock(), stream=asked.stream)
    if run.winner is None and other is not None and isinstance(failure := run.sides[1].error, RouterError):
        calls = len(run.sides[1].attempts.own)
        history.append(Attempt(target=other, error=failure.with_traceback(None), calls=calls))
        del failure
    error = run.release()
    if error is not None:
        try:
            raise error
        finally:
            del error


def _other(
    racer: Racer,
    asked: Asked,
    plan: Plan,
    targets: Sequence[Target],
    first: Target,
    history: Sequence[Attempt],
    calls: int,
) -> Target | None:
    """The target that is asked as well, if there is one. It counts against its budget."""
    gateway, generation, now = racer.gateway, racer.generation, racer.gateway.clock()
    found = second(
        targets,
        history,
        first,
        plan.policy,
        calls=calls,
        now=now,
        deadline=plan.deadline,
        rows=generation.rows,
        budgets=generation.budgets,
        ready=lambda target: targeting.is_ready(gateway, asked, plan, target, now),
    )
    if found is not None:
        generation.budget(found.provider, plan.policy.retry_budget).note_retry(now)
    return found
