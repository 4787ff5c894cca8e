"""What has lately been seen of the upstreams: breakers, calls under way, how fast they are, until when they rest.

One entry for each provider and model that the configuration names. It outlives a reload: what is known of an upstream
does not change with the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from providers.canonical.errors import (
    CircuitOpen,
    RouterError,
    TransportError,
    UnwantedAnswer,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
)
from router.policy.balance import Known, PeakEwma
from router.policy.breaker import Breaker, State
from router.table import BreakerSettings

_LONGEST_REST = 60.0  # seconds that a Retry-After, or a key that is refused, may keep a target behind the others


class Upstream:
    """One model of one provider. Of every call: `enter`, then once `ended` or `left`."""

    __slots__ = ("_all", "_rests", "breaker", "running", "streams", "wholes")

    def __init__(self, settings: BreakerSettings | None, every: Upstreams | None = None) -> None:
        self._all = every
        self.breaker = None if settings is None else Breaker(settings)
        self.running = 0
        self.streams, self.wholes = PeakEwma(), PeakEwma()  # their first tokens come at different times
        self._rests: dict[str | None, float] = {}  # by key, until then

    def share(self, now: float, key: str | None = None) -> float:
        """How much of its usual part of the calls it should get, with that key of its row."""
        if self._rests and now < self._rests.get(key, 0.0):
            return 0.0
        return 1.0 if self.breaker is None else self.breaker.share(now)

    def is_well(self, now: float) -> bool:
        """Neither left alone, nor recovering, nor resting with any key."""
        return all(until <= now for until in self._rests.values()) and self.share(now) >= 1.0

    def known(self, now: float, *, stream: bool, key: str | None = None) -> Known:
        return Known(
            share=self.share(now, key), running=self.running, expected=(self.streams if stream else self.wholes).value
        )

    def check(self, now: float) -> None:
        """CircuitOpen while no call at all may be made: known before any work is done for one."""
        if self.breaker is not None and (wait := self.breaker.wait(now)) > 0:
            raise _left_alone(wait)

    def enter(self, now: float) -> None:
        """A call begins. CircuitOpen when it must not."""
        if self.breaker is not None and not self.breaker.admit(now):
            raise _left_alone(self.breaker.wait(now))
        self.running += 1

    def ended(self, error: RouterError | None, now: float, key: str | None = None, *, own: bool = False) -> None:
        """How the call came out; None: well. `key`: which of its row's it was made with; `own`: one of the caller's."""
        self.running -= 1
        if error is not None and self._all is not None:
            self._all.calm = False
        if not own and isinstance(error, UpstreamBusy | UpstreamDenied):
            self._rests[key] = now + _rest(error)
        if self.breaker is None:
            return
        if error is None:
            self.breaker.succeeded(now)
        elif is_its_fault(error):
            self.breaker.failed(now)
        else:
            self.breaker.left()

    def left(self) -> None:
        """The call ended without telling anything of the upstream: the caller went, or has a clock of its own."""
        self.running -= 1
        if self.breaker is not None:
            self.breaker.left()


def _rest(error: UpstreamBusy | UpstreamDenied) -> float:
    """Seconds for which other keys and targets come first."""
    if isinstance(error, UpstreamDenied):
        return _LONGEST_REST
    return min(error.retry_after or 1.0, _LONGEST_REST)


def _left_alone(wait: float) -> CircuitOpen:
    """`wait`: seconds until it is asked again; a probe may be under way."""
    return CircuitOpen("this upstream fails, and is left alone for a while", retry_after=max(1.0, math.ceil(wait)))


def is_its_fault(error: RouterError) -> bool:
    """Does an error say that the upstream does not work? Not what it says of a request, of a limit, or of a key, nor an
    answer that a caller's question can bring about: nobody may shut a target for everybody else."""
    if isinstance(error, UpstreamError):
        return error.upstream_status >= 500
    return isinstance(error, TransportError) and not isinstance(error, UnwantedAnswer)


class Upstreams:
    """All of them, by provider and model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Upstream] = {}
        self.calm = True  # nothing has failed since all were found well: no target has to be looked at
        self._looked = -math.inf

    def settle(self, now: float) -> None:
        """Looks whether all are well again, once a second: there may be many."""
        if now >= self._looked + 1.0:
            self._looked = now
            self.calm = all(one.is_well(now) for one in self._known.values())

    def of(self, provider: str, model: str, settings: BreakerSettings | None) -> Upstream:
        """The one, with the settings of the policy that asks."""
        found = self._known.get((provider, model))
        if found is None:
            found = self._known[provider, model] = Upstream(settings, self)
        elif settings is None:
            found.breaker = None
        elif found.breaker is None:
            found.breaker = Breaker(settings)
        else:
            found.breaker.settings = settings
        return found

    def states(self, now: float) -> Iterator[tuple[str, str, State]]:
        """Provider, model and state of every breaker, for metrics and readiness."""
        for (provider, model), one in self._known.items():
            if one.breaker is not None:
                yield provider, model, one.breaker.state(now)
