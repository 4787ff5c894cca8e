"""In which order are a model's targets tried? Pure: dice and what is known of each target are passed in.

    in_order      as in the file
    weighted      drawn by weight, those that are left drawn again for the second place, and so on
    least_busy    the fewest calls under way for their weight first
    fastest       of two that are drawn, the one whose first token is expected earlier (peak-EWMA of the time to it,
                  times the calls under way): the best alone would be overrun by everybody at once
    cheapest      by what this call would cost there; those of which nobody knows it, after all others. Equals stay in
                  the order of the file

Whatever the order, targets that are resting (a breaker that is open, a limit that the upstream named) come last, and
one that recovers gives its turn away as often as its share says. Among those that are well a target that loses less of
the call comes before one that loses more, where that is asked for (`prefer: fidelity`); of the best of them the one
that the call sticks to comes first (`sticky`), then the one that stands in for it, the others as above. What would
refuse the call comes last of all.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from router.policy.affinity import favourites
from router.table import Choose, Target

Dice = Callable[[], float]  # 0 ≤ x < 1


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target.

    `share`: how much of its usual part of the calls it should get, 0 while it rests. `running`: calls under way.
    `expected`: seconds until the first token; None: never called. `usd`: what the call would cost; None: not known.
    `losses`: how many fields of the call it would not carry as they are; `REFUSED`: it would not take the call.
    """

    share: float = 1.0
    running: int = 0
    expected: float | None = None
    usd: Decimal | None = None
    losses: int = 0


REFUSED = sys.maxsize


def in_order(
    targets: Sequence[Target], known: Sequence[Known], choose: Choose, dice: Dice, sticks: bytes | None = None
) -> list[Target]:
    """All targets, the one to try first in front. `sticks`: what calls that belong together have in common."""
    if len(targets) == 1:
        return list(targets)
    places = _ORDERS[choose](targets, known, dice)
    return [targets[place] for place in _best_first(targets, places, known, dice, sticks)]


def _best_first(
    targets: Sequence[Target], places: Sequence[int], known: Sequence[Known], dice: Dice, sticks: bytes | None
) -> list[int]:
    groups = _by_health(places, known, dice)
    graded = any(one.losses for one in known)
    if graded:
        for group in groups:
            group.sort(key=lambda place: known[place].losses)
    ready = groups[0]
    if sticks is not None and ready:
        least = known[ready[0]].losses
        best = [place for place in ready if known[place].losses == least]
        own = favourites(sticks, targets, best)
        groups[0][:] = [*own, *(place for place in ready if place not in own)]
    order = [place for group in groups for place in group]
    return sorted(order, key=lambda place: known[place].losses == REFUSED) if graded else order


def _by_health(places: Sequence[int], known: Sequence[Known], dice: Dice) -> tuple[list[int], list[int], list[int]]:
    """Those that are well, those that give their turn away, and those that rest."""
    ready: list[int] = []
    later: list[int] = []
    resting: list[int] = []
    for place in places:
        share = known[place].share
        if share >= 1:
            ready.append(place)
        elif share <= 0:
            resting.append(place)
        else:
            (ready if dice() < share else later).append(place)
    return ready, later, resting


def _as_written(targets: Sequence[Target], known: Sequence[Known], dice: Dice) -> Sequence[int]:
    return range(len(targets))


def _weighted(targets: Sequence[Target], known: Sequence[Known], dice: Dice) -> Sequence[int]:
    """Each place gets a draw x^(1/w); sorted by it, the first place is won as often as its weight says, and so on."""
    draws = [(dice() or 1e-300) ** (1 / target.weight) for target in targets]
    return sorted(range(len(targets)), key=lambda place: -draws[place])


def _least_busy(targets: Sequence[Target], known: Sequence[Known], dice: Dice) -> Sequence[int]:
    load = [(known[place].running + 1) / target.weight for place, target in enumerate(targets)]
    ties = [dice() for _ in targets]
    return sorted(range(len(targets)), key=lambda place: (load[place], ties[place]))


def _fastest(targets: Sequence[Target], known: Sequence[Known], dice: Dice) -> Sequence[int]:
    drawn = sorted(range(len(targets)), key=lambda _: dice())
    first, second = drawn[:2]
    if _cost(known[second]) < _cost(known[first]):
        first, second = second, first
    return [first, second, *sorted(drawn[2:], key=lambda place: _cost(known[place]))]


def _cost(known: Known) -> float:
    """Nothing is expected of what has never been called: it is tried, and then known."""
    return (known.expected or 0.0) * (known.running + 1)


def _cheapest(targets: Sequence[Target], known: Sequence[Known], dice: Dice) -> Sequence[int]:
    prices = [(one.usd is None, one.usd or Decimal(0)) for one in known]
    return sorted(range(len(targets)), key=prices.__getitem__)


_ORDERS: dict[str, Callable[[Sequence[Target], Sequence[Known], Dice], Sequence[int]]] = {
    "in_order": _as_written,
    "weighted": _weighted,
    "least_busy": _least_busy,
    "fastest": _fastest,
    "cheapest": _cheapest,
}


class PeakEwma:
    """The time to the first token, of late: jumps up at once with a slow answer, comes down over `DECAY` seconds."""

    DECAY = 10.0

    __slots__ = ("_at", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._at = 0.0

    def note(self, seconds: float, now: float) -> None:
        if self.value is None or seconds >= self.value:
            self.value = seconds
        else:
            kept = math.exp(-max(0.0, now - self._at) / self.DECAY)
            self.value = self.value * kept + seconds * (1 - kept)
        self._at = now
