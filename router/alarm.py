"""One clock per exchange: a deadline that moves, for the price of a comparison.

`asyncio.timeout` costs about 4 µs each time it is entered, and a call passes through many phases (connect, first
byte, between chunks, writing). An Alarm only moves the instant at which it matters. Even one timer per call would be a
tenth of what a call costs, so all alarms share one, set for the earliest instant that any of them has named.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Any

from providers.canonical.errors import Overloaded, UpstreamTimeout

DRAIN = "drain"


class _Timer:
    """The one timer of a loop. When alarms have moved on it rings for nothing, and looks for the next instant."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.alarms: set[Alarm] = set()
        self.at = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def move(self, at: float) -> None:
        """To an earlier instant."""
        if self._handle is not None:
            self._handle.cancel()
        self.at = at
        self._handle = self.loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._handle, self.at = None, math.inf
        now = self.loop.time()
        for alarm in list(self.alarms):
            if alarm.at is not None and alarm.at <= now:
                alarm.due()
        waiting = [alarm.at for alarm in self.alarms if alarm.at is not None and alarm.at > now]
        if waiting:
            self.move(min(waiting))


_last: _Timer | None = None


def _timer() -> _Timer:
    """The timer of the running loop; a new one where another loop ran before (its alarms keep theirs)."""
    global _last
    loop = asyncio.get_running_loop()
    if _last is None or _last.loop is not loop:
        _last = _Timer(loop)
    return _last


class Alarm:
    """Cancels its task when an instant passes; `expired` then tells that from a caller who left.

    Used by one task only, the one that made it. Instants are seconds of the loop's clock (monotonic).
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an Alarm belongs to a task")
        self._task: asyncio.Task[object] | None = task
        self._timer = _timer()
        self._timer.alarms.add(self)
        self.at: float | None = None
        self.expired = False
        self.phase = ""
        self._rang = 0  # how often since it was last forgiven

    def set(self, at: float, phase: str) -> None:
        """From now on, `at` is the instant. `phase` says what we wait for."""
        self.at = at
        self.phase = phase
        if at < self._timer.at:
            self._timer.move(at)

    def pause(self) -> None:
        """Nothing to wait for."""
        self.at = None

    def stop(self) -> None:
        """The exchange is over. Lets go of the task, which holds what it has failed of, and so this alarm."""
        self.at = None
        self._task = None
        self._timer.alarms.discard(self)

    def due(self) -> None:
        """The instant has come."""
        self.at = None
        self._end_wait()

    def ring(self, phase: str) -> None:
        """Ends the wait now, whatever it was for."""
        self.phase = phase
        self._end_wait()

    def _end_wait(self) -> None:
        self.expired = True
        if self._task is not None:
            self._rang += 1
            self._task.cancel()

    def forgive(self) -> bool:
        """After a CancelledError: was it ours? Then it is taken back, and the task may go on.

        Not where somebody else has ended it as well: a caller who leaves at the last moment has left all the same.
        """
        if not self.expired:
            return False
        self.expired = False
        self.at = None
        rang, self._rang = self._rang, 0
        if self._task is None:
            return True
        for _ in range(rang):
            self._task.uncancel()
        return self._task.cancelling() == 0


class waiting:
    """The block must be done by `at`; else UpstreamTimeout naming the phase."""

    __slots__ = ("_alarm",)

    def __init__(self, alarm: Alarm, at: float, phase: str) -> None:
        alarm.set(at, phase)
        self._alarm = alarm

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        alarm = self._alarm
        if kind is not None and issubclass(kind, asyncio.CancelledError) and alarm.forgive():
            if alarm.phase == DRAIN:
                raise Overloaded("the gateway is shutting down", retry_after=1.0) from None
            raise UpstreamTimeout(_MESSAGES.get(alarm.phase, "the upstream took too long")) from None
        alarm.pause()


async def over(*tasks: asyncio.Task[Any]) -> None:
    """Until all of them are over. Whoever waits may be told to end meanwhile, once or more (a caller is found to have
    left, then its connection is lost): what the tasks have done is known first, and then CancelledError is raised."""
    told: asyncio.CancelledError | None = None
    while still := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(still)
        except asyncio.CancelledError as error:
            told = error
    if told is not None:
        try:
            raise told
        finally:
            del told


_MESSAGES = {
    "connect": "the upstream could not be reached in time",
    "first_byte": "the upstream did not begin to answer in time",
    "idle": "the upstream stopped sending",
    "rate": "the upstream sends too slowly",
    "total": "the upstream did not finish in time",
}
