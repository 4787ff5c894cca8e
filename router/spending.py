"""What a call takes of its key's budget: set aside before anything is sent upstream, made good at its end.

Set aside is what the dearest of its targets would cost: the input by rule of thumb, and all of the output that the
caller allows for, or a usual one where it does not say. At the end what its attempts did cost takes the place of that,
all of them together. Nothing is spent where an upstream said no or was not reached. Where one may have worked and
nobody said how much (the caller left, a stream broke off, the upstream does not count), the estimate stands, or the
chunks that were seen if they are more.

Targets of which nobody knows what they cost are passed over, unless the budget says otherwise. With the caller's own
key for an upstream nothing is spent here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from providers.canonical.errors import BudgetSpent, LimitExceeded, PriceUnknown
from providers.canonical.prices import Price, total, written
from providers.provider import Provider
from router.limiting import may_have_used
from router.policy.budget import NOTHING, Aside, Short
from router.prices import PriceLists, price_of
from router.record import OUTPACED, AttemptRecord, Record
from router.settings import Budget, Coin
from router.state.budgets import Budgets
from router.table import Target

#: What a refused caller is told at most: a budget may be raised at any time.
LONGEST_WAIT = 3600.0
_SOON = 1.0
_WORDS: dict[Coin, str] = {"usd": "US dollars", "credits": "credits"}


class Bill(NamedTuple):
    """What one call of one target comes to, by estimate. `usd` None: nobody knows."""

    usd: Decimal | None
    credits: Decimal | None


class Spend:
    """One call's, of a key with this name. `counts`: how many tokens of each kind it may take. `wall`: Unix time."""

    __slots__ = ("_account", "_aside", "_bills", "_budgets", "_counts", "_wall")

    def __init__(
        self, budgets: Budgets, name: str, budget: Budget, counts: Mapping[str, int], wall: Callable[[], float]
    ) -> None:
        self._budgets = budgets
        self._account = budgets.of(name, budget, wall())
        self._counts = counts
        self._wall = wall
        self._aside: Aside | None = None
        self._bills: dict[str, Bill] = {}  # the dearest, by provider

    def set_aside(
        self, targets: Sequence[Target], model: str, providers: Mapping[str, Provider], prices: PriceLists
    ) -> Sequence[Target]:
        """Those of the targets that may be called. `model`: the caller's own, for targets without one. PriceUnknown
        where there are none; BudgetSpent, LimitExceeded where there is no room."""
        allowed: list[Target] = []
        for target in targets:
            name = target.model or model or None
            bill = _bill(providers[target.provider], name, price_of(prices, target.provider, name), self._counts)
            if bill.usd is None and not self._may_be_unknown(bill):
                continue
            allowed.append(target)
            self._bills[target.provider] = _dearer(bill, self._bills.get(target.provider, bill))
        if not allowed:
            raise PriceUnknown("this key has a budget, and nobody knows what this would cost")
        taken = self._account.take(self._amounts(), self._wall())
        if isinstance(taken, Short):
            raise _refusal(taken)
        self._aside = taken
        self._budgets.changed()
        return targets if len(allowed) == len(targets) else allowed

    def _may_be_unknown(self, bill: Bill) -> bool:
        """Where dollars are not limited, or the budget takes its credits for them, or does not mind."""
        budget = self._account.budget
        return budget.usd is None or budget.unpriced == "allow" or (budget.credits is not None and bool(bill.credits))

    def _amounts(self) -> dict[Coin, Decimal]:
        """What is set aside of each coin that the call may cost; 0 for a cost that is not known."""
        bills = self._bills.values()
        found: dict[Coin, Decimal] = {}
        for coin in self._account.budget.limits():
            costs = [bill.usd if coin == "usd" else bill.credits for bill in bills]
            most = max((cost for cost in costs if cost is not None), default=NOTHING)
            if most or (coin == "usd" and any(bill.usd is None and not bill.credits for bill in bills)):
                found[coin] = most
        return found

    def settle(self, record: Record) -> None:
        """The call is over, however it came out."""
        aside, self._aside = self._aside, None
        if aside is None:
            return
        spent: dict[Coin, list[Decimal]] = {"usd": [], "credits": []}
        guessed: dict[Coin, list[Decimal]] = {"usd": [], "credits": []}
        for attempt in record.attempts:
            self._add(attempt, spent, guessed)
        aside.settle(_sums(spent), _sums(guessed), self._wall())
        self._budgets.changed()

    def _add(
        self, attempt: AttemptRecord, spent: dict[Coin, list[Decimal]], guessed: dict[Coin, list[Decimal]]
    ) -> None:
        bill = self._bills.get(attempt.provider, Bill(None, None))
        usd = attempt.cost()
        if usd is not None and _is_final(attempt):
            spent["usd"].append(usd)
        elif may_have_used(attempt):
            guessed["usd"].append(max(usd or NOTHING, bill.usd or NOTHING, self._seen(attempt)))
        if attempt.credits is not None:
            spent["credits"].append(_exact(attempt.credits))
        elif bill.credits and may_have_used(attempt):
            guessed["credits"].append(bill.credits)

    def _seen(self, attempt: AttemptRecord) -> Decimal:
        """What is known to have been said of an answer that was not counted, at least."""
        chunks = attempt.chunks + (attempt.first_chunk is not None)
        if attempt.price is None or not chunks:
            return NOTHING
        return attempt.price.of({**self._counts, "output": chunks}) or NOTHING

    def headers(self) -> dict[str, str]:
        """What is left, calls under way taken off, and when all of it is there again."""
        account = self._account
        account.turn(self._wall())
        told = {}
        for coin, purse in account.purses.items():
            if purse.limit is not None:
                told[f"x-isthmus-budget-limit-{coin}"] = written(purse.limit)
                told[f"x-isthmus-budget-remaining-{coin}"] = written(purse.left())
        told["x-isthmus-budget-reset"] = f"{datetime.fromtimestamp(account.period.ends, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return told


def _is_final(attempt: AttemptRecord) -> bool:
    """Is what was counted all of it? A stream that broke off, or was cut off, may have said only the beginning."""
    if attempt.error == OUTPACED:
        return False
    if attempt.usage is not None and attempt.usage.estimated:
        return False
    return attempt.error is None or attempt.first_chunk is None


def _bill(provider: Provider, model: str | None, price: Price | None, counts: Mapping[str, int]) -> Bill:
    credits = provider.credits.get(model or "")
    return Bill(None if price is None else price.of(counts), None if credits is None else _exact(credits))


def _exact(credits: float) -> Decimal:
    """As it was written."""
    return Decimal(str(credits))


def _dearer(one: Bill, other: Bill) -> Bill:
    return Bill(_most(one.usd, other.usd), _most(one.credits, other.credits))


def _most(*amounts: Decimal | None) -> Decimal | None:
    return max((amount for amount in amounts if amount is not None), default=None)


def _sums(amounts: Mapping[Coin, Sequence[Decimal]]) -> dict[Coin, Decimal]:
    return {coin: total(each) for coin, each in amounts.items()}


def _refusal(short: Short) -> LimitExceeded:
    if short.soon:
        message = "calls under way may use up the rest of this key's budget"
        return LimitExceeded(message, retry_after=_SOON, reason=short.coin)
    words = f"{written(short.limit)} {_WORDS[short.coin]} a {short.per}"
    message = f"this key's budget of {words} is used up"
    if short.unspent:
        message = (
            f"of this key's budget of {words} {written(short.unspent)} are left, and this call may cost "
            f"{written(short.amount)}"
        )
    return BudgetSpent(message, retry_after=min(short.wait, LONGEST_WAIT), reason=short.coin)
