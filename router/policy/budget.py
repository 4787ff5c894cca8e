"""How much a key may spend in a period of the calendar. Pure: times are passed in, in seconds since 1970, UTC.

    take     before a call: what it may cost is set aside, if there is room
    settle   after it: what it did cost takes the place of that

Amounts are exact decimals. A call counts in the period in which it ends: what is known then is what is spent.

The bound: when a call is let in, what is spent and what is set aside are together never more than the limit. So no
more than the limit is spent in a period, but for what the calls that were under way when the last one was let in cost
beyond what was set aside for them.

Wall clocks are set back. By less than a period, that changes nothing: the later period goes on. By more, the clock was
wrong before, and what was spent counts in the period that is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from providers.canonical.prices import total
from router.settings import Budget, Coin, Per

NOTHING = Decimal(0)

_HOUR = 3600
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_MONDAY = 4 * _DAY  # the first one of 1970


class Period(NamedTuple):
    """Its first second, and that of the next one."""

    begins: int
    ends: int


def period(per: Per, now: float) -> Period:
    """The one that a time lies in."""
    if per == "month":
        day = datetime.fromtimestamp(now, UTC)
        return Period(_month(day.year, day.month), _month(day.year + day.month // 12, day.month % 12 + 1))
    length, first = {"hour": (_HOUR, 0), "day": (_DAY, 0), "week": (_WEEK, _MONDAY)}[per]
    begins = int((now - first) // length) * length + first
    return Period(begins, begins + length)


def _month(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def minus(one: Decimal, other: Decimal) -> Decimal:
    """The difference, exactly."""
    return total((one, other.copy_negate()))


class Purse:
    """One coin of one key. `estimated`: the part of `spent` that nobody counted, for which an estimate stands."""

    __slots__ = ("estimated", "limit", "reserved", "spent")

    def __init__(self, spent: Decimal = NOTHING, estimated: Decimal = NOTHING) -> None:
        self.limit: Decimal | None = None  # None: the budget names another coin
        self.spent = spent
        self.estimated = estimated
        self.reserved = NOTHING

    def left(self) -> Decimal:
        """What may still be set aside."""
        return max(NOTHING, minus(self.limit or NOTHING, total((self.spent, self.reserved))))

    def has_room(self, amount: Decimal) -> bool:
        """Not for nothing either, once all is spent: an amount of 0 is a cost that is not known."""
        return self.limit is None or (amount <= self.left() and self.spent < self.limit)

    def will_have_room(self, amount: Decimal) -> bool:
        """Where the calls under way turn out to cost nothing."""
        return self.limit is None or (total((self.spent, amount)) <= self.limit and self.spent < self.limit)


class Short(msgspec.Struct, frozen=True, kw_only=True):
    """There is no room for a call: of which coin, what it may cost and what of the limit is not spent.

    `soon`: only calls under way are in its way. `wait`: seconds until the period ends.
    """

    coin: Coin
    amount: Decimal
    limit: Decimal
    unspent: Decimal
    per: Per
    soon: bool
    wait: float


class Aside:
    """What one call has set aside."""

    __slots__ = ("_account", "amounts")

    def __init__(self, account: Spending, amounts: Mapping[Coin, Decimal]) -> None:
        self._account = account
        self.amounts = amounts

    def settle(self, cost: Mapping[Coin, Decimal], estimated: Mapping[Coin, Decimal], now: float) -> None:
        """Once, at the end of the call. `estimated`: what of its cost nobody counted, not in `cost`."""
        self._account.settle(self.amounts, cost, estimated, now)


class Spending:
    """One key's, of all coins. It begins without a budget: `adopt` gives it one, and another one at any time."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.period = Period(0, 0)
        self.purses: dict[Coin, Purse] = {"usd": Purse(), "credits": Purse()}

    def adopt(self, budget: Budget, now: float) -> None:
        """Another budget than before, which holds at once; what was spent counts. With another kind of period what
        was spent in the old one until now counts in the new one."""
        self.turn(now)
        if self.budget is budget:
            return
        if budget.per != self.budget.per:
            self.period = period(budget.per, now)
        self.budget = budget
        limits = budget.limits()
        for coin, purse in self.purses.items():
            purse.limit = limits.get(coin)

    def take(self, amounts: Mapping[Coin, Decimal], now: float) -> Aside | Short:
        """Sets aside what a call may cost: of every coin, or nothing. A coin that is not there it does not cost."""
        self.turn(now)
        if not all(self.purses[coin].has_room(amount) for coin, amount in amounts.items()):
            return self._short(amounts, now)
        for coin, amount in amounts.items():
            purse = self.purses[coin]
            purse.reserved = total((purse.reserved, amount))
        return Aside(self, amounts)

    def settle(
        self,
        amounts: Mapping[Coin, Decimal],
        cost: Mapping[Coin, Decimal],
        estimated: Mapping[Coin, Decimal],
        now: float,
    ) -> None:
        """What became of amounts that were set aside."""
        self.turn(now)
        for coin, purse in self.purses.items():
            guess = estimated.get(coin, NOTHING)
            purse.reserved = minus(purse.reserved, amounts.get(coin, NOTHING))
            purse.spent = total((purse.spent, cost.get(coin, NOTHING), guess))
            purse.estimated = total((purse.estimated, guess))

    def turn(self, now: float) -> None:
        """A new period begins with nothing spent."""
        if self.period.begins <= now < self.period.ends:
            return
        fresh = period(self.budget.per, now)
        if fresh.ends == self.period.begins:
            return  # the clock was set back a little
        if now >= self.period.ends:
            for purse in self.purses.values():
                purse.spent = purse.estimated = NOTHING
        self.period = fresh

    def _short(self, amounts: Mapping[Coin, Decimal], now: float) -> Short:
        """Why there is no room: before calls under way, what is spent."""
        used_up = [coin for coin, amount in amounts.items() if not self.purses[coin].will_have_room(amount)]
        full = [coin for coin, amount in amounts.items() if not self.purses[coin].has_room(amount)]
        coin = (used_up or full)[0]
        purse = self.purses[coin]
        limit = purse.limit or NOTHING
        return Short(
            coin=coin,
            amount=amounts[coin],
            limit=limit,
            unspent=max(NOTHING, minus(limit, purse.spent)),
            per=self.budget.per,
            soon=not used_up,
            wait=self.period.ends - now,
        )
