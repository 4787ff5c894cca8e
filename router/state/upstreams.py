"""What has lately been seen of the upstreams: breakers, calls under way, how fast they are, until when they rest, and
which of them do far worse than others of the same model.

One entry for each provider and model that the configuration names. It outlives a reload: what is known of an upstream
does not change with the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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
from router.policy.outliers import Outlier, Seen, outliers
from router.policy.recent import Recent
from router.table import BreakerSettings, OutlierSettings

_LONGEST_REST = 60.0  # seconds that a Retry-After, or a key that is refused, may keep a target behind the others


class Upstream:
    """One model of one provider. Of every call: `enter`, then once `ended` or `left` with the time that it began."""

    __slots__ = ("_all", "_limit", "_rests", "breaker", "name", "outlier", "recent", "running", "streams", "wholes")

    def __init__(
        self, settings: BreakerSettings | None, every: Upstreams | None = None, name: tuple[str, str] = ("", "")
    ) -> None:
        self._all = every
        self.name = name  # provider and model
        self.breaker = None if settings is None else Breaker(settings)
        self.running = 0
        self.streams, self.wholes = PeakEwma(), PeakEwma()  # their first tokens come at different times
        self._rests: dict[str | None, float] = {}  # by key, until then
        self.recent: tuple[Recent, Recent] | None = None  # streams, whole answers; None: no policy looks at them
        self.outlier: Breaker | None = None  # it has done far worse than its siblings: open while it is passed over
        self._limit: float | None = None  # seconds until the first token that would show that it still is too slow

    def share(self, now: float, key: str | None = None) -> float:
        """How much of its usual part of the calls it should get, with that key of its row."""
        if self._rests and now < self._rests.get(key, 0.0):
            return 0.0
        return 1.0 if self.breaker is None else self.breaker.share(now)

    def is_well(self, now: float) -> bool:
        """Neither left alone, nor passed over, nor recovering, nor resting with any key."""
        if any(breaker is not None and breaker.state(now) != "closed" for breaker in (self.breaker, self.outlier)):
            return False
        return all(until <= now for until in self._rests.values()) and min(self.share(now), self.turn(now)) >= 1.0

    def turn(self, now: float) -> float:
        """How much of its usual part it should get beside its siblings: less while it is, or was, an outlier."""
        return 1.0 if self.outlier is None else self.outlier.share(now)

    def watch(self) -> tuple[Recent, Recent]:
        """From now on its latest calls are remembered: streams, whole answers."""
        if self.recent is None:
            self.recent = Recent(), Recent()
        return self.recent

    def seen(self, now: float, within: float, least: int) -> Seen:
        """What there is to be compared. `least`: calls that a usual time must be made of."""
        streams, wholes = self.watch()
        counts = [recent.outcomes(now, within) for recent in (streams, wholes)]
        # What waits for the call that finds out is out still: what it did before must not shut it again.
        is_out = self.outlier is not None and self.outlier.state(now) != "closed"
        return Seen(
            calls=sum(calls for calls, _ in counts),
            failed=sum(failed for _, failed in counts),
            usual=streams.median(now, within, least),
            share=0.0 if is_out else self.turn(now),
        )

    def pass_over(self, now: float, outlier: Outlier, cool: float) -> None:
        """Its siblings come first for `cool` seconds, then one call finds out."""
        self.outlier = Breaker(BreakerSettings(failures=1, within=cool, cool=cool))
        self.outlier.trip(now)
        self._limit = outlier.limit
        if self._all is not None:
            self._all.calm = False

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
        if self.outlier is not None:
            self.outlier.admit(now)  # called all the same when nobody else is left
        self.running += 1

    def ended(
        self,
        error: RouterError | None,
        now: float,
        began: float,
        key: str | None = None,
        *,
        own: bool = False,
        first: float | None = None,
        stream: bool = False,
    ) -> None:
        """How the call came out; None: well. `key`: which of its row's it was made with; `own`: one of the caller's.

        `first`: seconds until its answer began, if it did: the first token of a stream, all of a whole answer.
        """
        self.running -= 1
        if self.recent is not None:
            self._remember(error, now, began, first, stream=stream)
        if error is not None and self._all is not None:
            self._all.calm = False
        if not own and isinstance(error, UpstreamBusy | UpstreamDenied):
            self._rests[key] = now + _rest(error)
        if self.breaker is None:
            return
        if error is None:
            self.breaker.succeeded(now, began)
        elif is_its_fault(error):
            self.breaker.failed(now, began)
        else:
            self.breaker.left(began)

    def left(self, began: float) -> None:
        """The call ended without telling anything of the upstream: the caller went, or has a clock of its own."""
        self.running -= 1
        for breaker in (self.breaker, self.outlier):
            if breaker is not None:
                breaker.left(began)

    def p95(self, now: float, *, stream: bool) -> float | None:
        """Seconds after which 19 of 20 answers have begun; None until enough are known, from the first question on."""
        return self.watch()[not stream].p95(now)

    def outpaced(self, seconds: float, now: float, *, stream: bool) -> None:
        """An attempt was cut off for another one, after so long: its answer would have taken longer, and that is all
        that is known."""
        pace = self.streams if stream else self.wholes
        if pace.value is None or seconds > pace.value:
            pace.note(seconds, now)
        if self.recent is not None:
            self.recent[not stream].took(now, seconds)
        outlier = self.outlier
        if not stream or outlier is None or not self._is_slow(seconds):
            return
        if outlier.state(now) == "half_open" and outlier.is_news(now - seconds):
            outlier.trip(now)  # the call that found out, whose place has been given back

    def _remember(
        self, error: RouterError | None, now: float, began: float, first: float | None, *, stream: bool
    ) -> None:
        failed = error is not None and is_its_fault(error)
        if self.recent is not None and (error is None or failed):
            self.recent[not stream].note(now, failed=failed, seconds=first)
        if self.outlier is not None:
            says_nothing = (error is not None and not failed) or (self._limit is not None and not (stream or failed))
            self._judge(self.outlier, now, began, None if says_nothing else failed or self._is_slow(first))

    def _is_slow(self, first: float | None) -> bool:
        return self._limit is not None and first is not None and first >= self._limit

    def _judge(self, outlier: Breaker, now: float, began: float, bad: bool | None) -> None:
        """Does it still do worse than its siblings? None: this call does not tell."""
        if outlier.state(now) == "closed":
            if outlier.share(now) >= 1:
                self.outlier = None
        elif bad is None:
            outlier.left(began)
        elif bad:
            outlier.failed(now, began)
        else:
            outlier.succeeded(now, began)
            if outlier.state(now) == "closed":
                for recent in self.watch():
                    recent.forget()


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
        self._compared: dict[tuple[int, ...], float] = {}  # when which siblings were compared last

    def settle(self, now: float) -> None:
        """Looks whether all are well again, once a second: there may be many."""
        if now >= self._looked + 1.0:
            self._looked = now
            self.calm = all(one.is_well(now) for one in self._known.values())

    def compare(
        self, siblings: Sequence[Upstream], settings: OutlierSettings, now: float
    ) -> list[tuple[Upstream, Outlier]]:
        """Passes over those that do far worse than the others, and says which. Looks at the same ones once a second."""
        key = tuple(map(id, siblings))
        if now < self._compared.get(key, -math.inf) + 1.0:
            return []
        self._compared[key] = now
        found = outliers([one.seen(now, settings.within, settings.calls) for one in siblings], settings)
        for outlier in found:
            siblings[outlier.place].pass_over(now, outlier, settings.cool)
        return [(siblings[outlier.place], outlier) for outlier in found]

    def of(self, provider: str, model: str, settings: BreakerSettings | None) -> Upstream:
        """The one, with the settings of the policy that asks."""
        found = self._known.get((provider, model))
        if found is None:
            found = self._known[provider, model] = Upstream(settings, self, (provider, model))
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

    def passed_over(self, now: float) -> Iterator[tuple[str, str, State]]:
        """The same of every target that is compared with its siblings: open while it is passed over."""
        for (provider, model), one in self._known.items():
            if one.recent is not None:
                yield provider, model, "closed" if one.outlier is None else one.outlier.state(now)
