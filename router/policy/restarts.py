"""When is a process that ended started again? Pure: times are passed in, in seconds.

The first time at once; while it keeps ending soon after, later and later, so that what cannot run does not keep the
machine busy. One that has served for `STEADY` seconds begins anew. One that left on purpose is replaced at once.
"""

from __future__ import annotations

STEADY = 10.0
FIRST = 0.5
MOST = 30.0
HOPELESS = 5  # starts in a row that came to nothing


class Restarts:
    """Those of one worker."""

    __slots__ = ("_failures", "_unstarted")

    def __init__(self) -> None:
        self._failures = 0
        self._unstarted = 0

    @property
    def hopeless(self) -> bool:
        """It has not come to serve for so often that nobody need wait for it."""
        return self._unstarted >= HOPELESS

    def ended(self, lived: float, *, served: bool, on_purpose: bool = False) -> float:
        """Seconds until it is started again. `lived`: since it was started; `served`: whether it came so far."""
        self._unstarted = 0 if served else self._unstarted + 1
        if served and (on_purpose or lived >= STEADY):
            self._failures = 0
        if served and on_purpose:
            return 0.0
        self._failures += 1
        return 0.0 if self._failures == 1 else min(FIRST * 2.0 ** (self._failures - 2), MOST)
