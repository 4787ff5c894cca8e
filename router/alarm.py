"""One clock per exchange: a deadline that moves, for the price of one timer.

`asyncio.timeout` costs about 4 µs each time it is entered, and a call passes through many phases (connect, first
byte, between chunks, writing). An Alarm keeps one timer and only moves the instant at which it matters.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from providers.canonical.errors import Overloaded, UpstreamTimeout

DRAIN = "drain"


class Alarm:
    """Cancels its task when an instant passes; `expired` then tells that from a caller who left.

    Used by one task only, the one that made it. Instants are seconds of the loop's clock (monotonic).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an Alarm belongs to a task")
        self._task = task
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0.0
        self._at: float | None = None
        self.expired = False
        self.phase = ""

    def set(self, at: float, phase: str) -> None:
        """From now on, `at` is the instant. `phase` says what we wait for."""
        self._at = at
        self.phase = phase
        if self._handle is None or at < self._handle_at:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_at(at, self._ring)
            self._handle_at = at

    def pause(self) -> None:
        """Nothing to wait for."""
        self._at = None

    def stop(self) -> None:
        """The exchange is over."""
        self._at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        if self._at is None:
            return
        if self._at > self._loop.time():
            self._handle = self._loop.call_at(self._at, self._ring)
            self._handle_at = self._at
        else:
            self.expired = True
            self._task.cancel()

    def ring(self, phase: str) -> None:
        """Ends the wait now, whatever it was for."""
        self.expired = True
        self.phase = phase
        self._task.cancel()

    def forgive(self) -> bool:
        """After a CancelledError: was it ours? Then it is taken back, and the task may go on."""
        if not self.expired:
            return False
        self.expired = False
        self._at = None
        self._task.uncancel()
        return True


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


_MESSAGES = {
    "connect": "the upstream could not be reached in time",
    "first_byte": "the upstream did not begin to answer in time",
    "idle": "the upstream stopped sending",
    "total": "the upstream did not finish in time",
}
