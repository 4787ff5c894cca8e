"""The latest calls of one target: how they came out, and how long it took until their answers began. Pure: times are
passed in, in seconds.

Bounded: of a busy target only the latest `MOST` calls are known, which is enough for a share and for a p95.
"""

from __future__ import annotations

from collections import deque

MOST = 128
LEAST = 20  # calls that a quantile must be made of: the p95 of fewer is the slowest of them
_SPAN = 600.0  # seconds after which a time tells nothing any more
_EVERY = 8  # times noted between two looks at all of them


class Recent:
    """Calls whose answers are comparable: streams, or whole answers."""

    __slots__ = ("_calls", "_noted", "_p95", "_times")

    def __init__(self) -> None:
        self._calls: deque[tuple[float, bool]] = deque(maxlen=MOST)  # when it ended, did it fail?
        self._times: deque[tuple[float, float]] = deque(maxlen=MOST)  # when it ended, how long it took to begin
        self._noted = 0
        self._p95: tuple[int, float | None] = (-_EVERY, None)

    def note(self, now: float, *, failed: bool, seconds: float | None = None) -> None:
        """A call that has come out. `seconds` until its answer began; None: it never did."""
        self._calls.append((now, failed))
        if seconds is not None:
            self.took(now, seconds)

    def took(self, now: float, seconds: float) -> None:
        """How long an answer took to begin. Of a call that was given up, how long it was waited for: a lower bound,
        which is all that a quantile wants to know of the slow ones."""
        self._times.append((now, seconds))
        self._noted += 1

    def outcomes(self, now: float, within: float) -> tuple[int, int]:
        """How many calls ended within so many seconds, and how many of them failed."""
        found = [failed for at, failed in self._calls if at > now - within]
        return len(found), sum(found)

    def median(self, now: float, within: float, least: int) -> float | None:
        """The usual time to begin within so many seconds; None where fewer than `least` calls tell of it."""
        times = sorted(seconds for at, seconds in self._times if at > now - within)
        return times[len(times) // 2] if times and len(times) >= least else None

    def p95(self, now: float) -> float | None:
        """The time after which 19 of 20 answers have begun; None where too few calls tell of it. Looked up anew after
        every few calls."""
        at, value = self._p95
        if self._noted >= at + _EVERY or (value is None and len(self._times) >= LEAST):
            times = sorted(seconds for ended, seconds in self._times if ended > now - _SPAN)
            value = times[len(times) * 95 // 100] if len(times) >= LEAST else None
            self._p95 = (self._noted, value)
        return value

    def forget(self) -> None:
        """What was before says nothing about what is to come."""
        self._calls.clear()
        self._times.clear()
        self._p95 = (self._noted - _EVERY, None)
