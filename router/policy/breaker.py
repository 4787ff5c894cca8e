"""When is an upstream left alone, and when is it asked again? Pure: times are passed in, in seconds.

closed      calls go through. `failures` of them within `within` seconds, and at least half of all calls of that
            time, open the breaker: a busy upstream may fail now and then, one that fails every time is soon known
open        no calls for `cool` seconds
half-open   one call at a time finds out: a success closes the breaker, a failure opens it for `cool` more
recovering  closed again, but for `cool` seconds others are preferred, less and less (`share` grows to 1), so that
            what has just got up is not knocked over by everybody at once
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from router.table import BreakerSettings

State: TypeAlias = Literal["closed", "half_open", "open"]

_LONGEST_PROBE = 60.0  # a probe of which nothing was heard for so long has been forgotten
_LEAST_SHARE = 0.1
_MOST_NOTED = 512  # results that are remembered: where there are more within the window, the latest are enough


class Breaker:
    """One upstream's model. Every call that `admit` lets through is told of once: `succeeded`, `failed`, `left`, with
    the time that it began: calls from before it opened say nothing of what came after, however late they end."""

    __slots__ = ("_failed", "_opened", "_probe", "_recovered", "_results", "settings")

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self._results: deque[tuple[float, bool]] = deque(maxlen=_MOST_NOTED)  # time, was it a failure?
        self._failed = 0  # of them
        self._opened: float | None = None
        self._probe: float | None = None  # when the call that finds out was let through
        self._recovered: float | None = None

    def state(self, now: float) -> State:
        if self._opened is None:
            return "closed"
        return "open" if now < self._opened + self.settings.cool else "half_open"

    def admit(self, now: float) -> bool:
        """May a call be made now? In the half-open state this one is the probe."""
        state = self.state(now)
        if state == "closed":
            return True
        if state == "open" or self._is_probed(now):
            return False
        self._probe = now
        return True

    def _is_probed(self, now: float) -> bool:
        """Is a call under way that finds out?"""
        return self._probe is not None and now < self._probe + _LONGEST_PROBE

    def wait(self, now: float) -> float:
        """Seconds until the next call may be let through; 0 when it may now."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self.settings.cool - now)

    def trip(self, now: float) -> None:
        """Opens it, whatever the calls have been."""
        self._opened, self._probe, self._recovered = now, None, None

    def share(self, now: float) -> float:
        """How much of its usual part of the calls it should get: 1, less while it recovers, 0 while it is open.

        In the half-open state it is 1 until a call finds out: behind others that work nobody would ask it again.
        """
        if self._opened is not None:
            return 1.0 if self.state(now) == "half_open" and not self._is_probed(now) else 0.0
        if self._recovered is None or self.settings.cool <= 0:
            return 1.0
        grown = (now - self._recovered) / self.settings.cool
        if grown >= 1:
            self._recovered = None
            return 1.0
        return max(_LEAST_SHARE, grown)

    def succeeded(self, now: float, began: float) -> None:
        if self._opened is not None:
            if not self._finds_out(began):
                return
            self._opened = self._probe = None
            self._recovered = now
            self._results.clear()
            self._failed = 0
        self._note(now, failed=False)

    def failed(self, now: float, began: float) -> None:
        if self._opened is not None:
            if self._finds_out(began):
                self._opened, self._probe = now, None
            return
        self._note(now, failed=True)
        if self._failed >= self.settings.failures and self._failed * 2 >= len(self._results):
            self._opened, self._recovered = now, None

    def left(self, began: float) -> None:
        """A call ended that says nothing of the upstream: its caller went, or was at fault."""
        if began == self._probe:
            self._probe = None

    def _finds_out(self, began: float) -> bool:
        """Is it the probe, or one that had been forgotten?"""
        return self._probe is not None and self.is_news(began)

    def is_news(self, began: float) -> bool:
        """Did a call begin since it opened?"""
        return self._opened is not None and began > self._opened

    def _note(self, now: float, *, failed: bool) -> None:
        if len(self._results) == _MOST_NOTED:
            self._failed -= self._results[0][1]
        self._results.append((now, failed))
        self._failed += failed
        while self._results[0][0] <= now - self.settings.within:
            self._failed -= self._results.popleft()[1]
