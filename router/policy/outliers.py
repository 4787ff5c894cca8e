"""Which target does far worse than its siblings, the other targets of the same model? Pure: what is known of each is
passed in.

A breaker knows a target that fails; this one is found by comparison: it fails, or takes its time, several times as
often or as long as the others do under the same calls. It is passed over for a while, and then asked again by one
call, as a breaker does it. It still comes before a refusal: with no other target it is called all the same.

The bound: at most half of the targets are out at any time, so there is always one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from router.table import OutlierSettings

Reason: TypeAlias = Literal["errors", "latency"]

# What every target may have: several times next to nothing is still next to nothing.
USUAL_ERRORS = 0.05
USUAL_SECONDS = 0.05


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target of late. `usual`: the median of seconds until the first token; None: too few know.
    Those count that were cut off for another one, too. In `calls` they do not: nobody knows how they would have ended.

    `share`: how much of its part of the calls it gets, below 1 when it is out already or comes back.
    """

    calls: int
    failed: int
    usual: float | None = None
    share: float = 1.0


class Outlier(NamedTuple):
    """`place` among the targets; `times` as bad as its siblings. `limit`: seconds until the first token from which on
    a target is too slow; None for `errors`."""

    place: int
    reason: Reason
    times: float
    limit: float | None = None


def outliers(seen: Sequence[Seen], settings: OutlierSettings) -> list[Outlier]:
    """Whom to pass over from now on, the worst first: no more than may still be."""
    room = len(seen) // 2 - sum(one.share < 1 for one in seen)
    if room <= 0:
        return []
    found = (_compared(seen, place, settings) for place in range(len(seen)))
    return sorted((one for one in found if one is not None), key=lambda one: -one.times)[:room]


def _compared(seen: Sequence[Seen], place: int, settings: OutlierSettings) -> Outlier | None:
    one = seen[place]
    siblings = [other for at, other in enumerate(seen) if at != place and other.share >= 1]
    if one.share < 1:
        return None
    return _failing(one, siblings, place, settings) or _late(one, siblings, place, settings)


def _failing(one: Seen, siblings: Sequence[Seen], place: int, settings: OutlierSettings) -> Outlier | None:
    shares = [other.failed / other.calls for other in siblings if other.calls >= settings.calls]
    if settings.errors is None or one.calls < settings.calls or not shares:
        return None
    times = one.failed / one.calls / max(median(shares), USUAL_ERRORS)
    return Outlier(place, "errors", times) if times >= settings.errors else None


def _late(one: Seen, siblings: Sequence[Seen], place: int, settings: OutlierSettings) -> Outlier | None:
    known = [other.usual for other in siblings if other.usual is not None]
    if settings.latency is None or one.usual is None or not known:
        return None
    usual = max(median(known), USUAL_SECONDS)
    times, limit = one.usual / usual, settings.latency * usual
    return Outlier(place, "latency", times, limit) if times >= settings.latency else None


def bounded(shares: Sequence[float]) -> list[float]:
    """Shares of a model's targets: those that are out because of other models' siblings come back where they would be
    more than half."""
    room = len(shares) // 2
    kept: list[float] = []
    for share in shares:
        room -= share < 1
        kept.append(share if room >= 0 else 1.0)
    return kept
