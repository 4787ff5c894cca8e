"""How much of something may be used in a span of time. Pure: times are passed in, in seconds of a clock that never goes
back.

A sliding window, in slots of a sixtieth of the span. Amounts are whatever is counted: requests, tokens, money.

    take    before the use: an estimate is set aside, if there is room; never more than the limit, so that a call which
            alone may take more waits for an empty window
    settle  after it: what was set aside for nothing is given back, what was used beyond counts from then on

A slot counts until all of it is a span ago, so that what is set aside within any span is never more than the limit: a
bucket that fills up would let twice as much through after a quiet minute. What is used beyond what was set aside cannot
be known before. What of it has no room in the present window is a debt that takes the room of the next ones: over time
no more than the limit is used for each span. A debt is at most `MOST_SPANS` limits: one wrong number of an upstream
must not shut a caller out for good.

The bound: within any span, the limit and what the calls that ended in it had used beyond what was set aside for them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import msgspec

from router.settings import Unit

MINUTE = 60.0
SLOTS = 60  # of a span
MOST_SPANS = 60  # that a debt takes
_LEAST_WAIT = 0.001  # seconds: where there is no room, no rounding makes some


class _Slot:
    """What counts since one sixtieth of the span."""

    __slots__ = ("amount", "at")

    def __init__(self, at: int, amount: float) -> None:
        self.at = at
        self.amount = amount


class Window:
    """One limit. `limit` may be changed at any time: it holds from the next question on."""

    __slots__ = ("_debt", "_slots", "_used", "_width", "limit")

    def __init__(self, limit: float, span: float = MINUTE) -> None:
        self.limit = limit
        self._width = span / SLOTS
        self._slots: deque[_Slot] = deque()
        self._used: float = 0  # the sum of the slots
        self._debt: float = 0

    def left(self, now: float) -> float:
        """How much may still be taken."""
        self._pass(now)
        return max(0, self.limit - self._used - self._debt)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until there is room for an amount; 0 when there is."""
        self._pass(now)
        over = self._used + self._debt + min(amount, self.limit) - self.limit
        return self._until(over, now) if amount > 0 and over > 0 else 0.0

    def reset(self, now: float) -> float:
        """Seconds until nothing counts any more, if nothing is taken meanwhile."""
        self._pass(now)
        over = self._used + self._debt
        return self._until(over, now) if over > 0 else 0.0

    def take(self, amount: float, now: float) -> Taken:
        """Sets an amount aside, for which there must be room (`wait`)."""
        amount = min(amount, self.limit)
        return Taken(self, self._book(self._pass(now), amount), amount)

    def settle(self, slot: _Slot, taken: float, used: float, now: float) -> None:
        """What became of an amount that was `taken` in a slot."""
        at = self._pass(now)
        if used > taken:
            self._debt = min(self._debt + used - taken, MOST_SPANS * self.limit)
        else:
            back = min(taken - used, slot.amount)  # nothing of a slot that has gone
            slot.amount -= back
            self._used -= back
        self._pay(at)

    def _pass(self, now: float) -> int:
        """Lets go of what is more than a span ago. Gives the present slot's number."""
        at = int(now // self._width)
        slots = self._slots
        while slots and slots[0].at + SLOTS < at:
            old = slots.popleft()
            self._used = self._used - old.amount if slots else 0
            old.amount = 0
            self._pay(old.at + SLOTS + 1)
        self._pay(at)
        return at

    def _pay(self, at: int) -> None:
        """The debt takes what room there is."""
        paid = min(self._debt, self.limit - self._used)
        if paid > 0:
            self._debt -= paid
            self._book(at, paid)

    def _book(self, at: int, amount: float) -> _Slot:
        slots = self._slots
        if not slots or slots[-1].at < at:
            slots.append(_Slot(at, 0))
        slots[-1].amount += amount
        self._used += amount
        return slots[-1]

    def _until(self, over: float, now: float) -> float:
        """Seconds until so much has gone. While there is a debt every slot comes again, a span after it went."""
        rounds = max(0, math.ceil(over / self._used) - 1)
        rest = over - rounds * self._used
        at = 0
        for slot in self._slots:
            at = slot.at
            rest -= slot.amount
            if rest <= 0:
                break
        return max(_LEAST_WAIT, (at + (rounds + 1) * (SLOTS + 1)) * self._width - now)


class Taken:
    """What one call has taken from one window."""

    __slots__ = ("_slot", "_window", "amount")

    def __init__(self, window: Window, slot: _Slot, amount: float) -> None:
        self._window = window
        self._slot = slot
        self.amount = amount

    def settle(self, used: float, now: float) -> None:
        """Once, at the end of the call."""
        self._window.settle(self._slot, self.amount, used, now)


class Full(msgspec.Struct, frozen=True):
    """There is no room: of what, and for how many seconds."""

    unit: Unit
    wait: float


class Account:
    """All limits of one caller: a call takes of each, or of none."""

    def __init__(self) -> None:
        self.limits: Mapping[Unit, int] = {}
        self.windows: dict[Unit, Window] = {}

    def adopt(self, limits: Mapping[Unit, int]) -> None:
        """Other limits than before; what has been used under those that stay counts."""
        self.limits = limits
        kept = self.windows
        self.windows = {unit: kept.get(unit) or Window(limit) for unit, limit in limits.items()}
        for unit, limit in limits.items():
            self.windows[unit].limit = limit

    def take(self, amounts: Mapping[Unit, float], now: float) -> dict[Unit, Taken] | Full:
        """What is limited of these amounts. Where there is no room: what takes longest to have it."""
        asked = [(unit, window, amounts[unit]) for unit, window in self.windows.items() if unit in amounts]
        waits = [Full(unit, window.wait(amount, now)) for unit, window, amount in asked]
        longest = max(waits, key=lambda full: full.wait, default=None)
        if longest is not None and longest.wait > 0:
            return longest
        return {unit: window.take(amount, now) for unit, window, amount in asked}
