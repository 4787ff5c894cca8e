"""What callers' keys have spent of their budgets, by the key's name, and how that is written down.

It outlives a reload; with a file (`ledger.py`) it outlives the process, too. Of a key the file has its name, never the
key or its hash. What is set aside for calls under way counts as spent, by estimate, when the file is read: whoever
wrote it may have been killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import msgspec

from providers.canonical.prices import total, written
from router.policy.budget import NOTHING, Purse, Spending, minus, period
from router.settings import Budget, Coin, Per
from router.shares import portion

_LARGEST = Decimal("1e18")  # no sum of money, so no file of ours


class CoinRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One coin of a key, in the file. `estimated` is a part of `spent`."""

    spent: Decimal
    estimated: Decimal
    reserved: Decimal

    def __post_init__(self) -> None:
        for amount in (self.spent, self.estimated, self.reserved):
            if not amount.is_finite() or not 0 <= amount < _LARGEST:
                raise ValueError("expected an amount")


class KeyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, in the file: what it has spent in the period that began at `since`."""

    per: Per
    since: Annotated[datetime, msgspec.Meta(tz=True)]
    coins: dict[Coin, CoinRow]

    def __post_init__(self) -> None:
        period(self.per, self.since.timestamp())


KeyRows: TypeAlias = Mapping[str, KeyRow]


class Budgets:
    """One account for each key that has a budget and has called, or of which a file tells.

    `changed` is called with every change; it must be quick.
    """

    def __init__(self) -> None:
        self.changed: Callable[[], None] = _nothing
        self._of: dict[str, Spending] = {}

    def of(self, name: str, budget: Budget, now: float) -> Spending:
        """The key's, with the budget of the table that the call began with. `now`: Unix time, here and below."""
        found = self._of.get(name)
        if found is None:
            found = self._of[name] = Spending()
        found.adopt(budget, now)
        return found

    def rows(self, now: float) -> dict[str, KeyRow]:
        """What is to be kept: of keys with something spent in a period that is not over."""
        found: dict[str, KeyRow] = {}
        for name, account in self._of.items():
            account.turn(now)
            coins = {coin: _row(purse) for coin, purse in account.purses.items() if purse.spent or purse.reserved}
            if coins:
                since = datetime.fromtimestamp(account.period.begins, UTC)
                found[name] = KeyRow(per=account.budget.per, since=since, coins=coins)
        return found

    def add(self, rows: KeyRows, before: KeyRows) -> None:
        """What was kept, as if it had been spent here; but for what was read `before`, and so is here already."""
        for name, row in rows.items():
            here = self._of.get(name)
            known = before.get(name)
            if here is None or here.period.begins < row.since.timestamp():
                self._of[name] = _account(row, here)
            elif here.period == period(row.per, row.since.timestamp()):
                for coin, kept in row.coins.items():
                    _add(here.purses[coin], kept, known.coins.get(coin) if known and known.since == row.since else None)

    def shown(self, keys: Mapping[str, Budget], now: float) -> list[dict[str, Any]]:
        """Of each key that has a budget what it is, and what of it is used, as JSON values with exact amounts."""
        return [_shown(name, self.of(name, budget, now)) for name, budget in keys.items()]

    def gauges(self, keys: Mapping[str, Budget], now: float) -> list[tuple[str, Coin, float, float]]:
        """Key, coin, limit, and what is spent."""
        return [
            (name, coin, float(purse.limit), float(purse.spent))
            for name, budget in keys.items()
            for coin, purse in self.of(name, budget, now).purses.items()
            if purse.limit is not None
        ]


def shared_out(rows: KeyRows, parts: int) -> list[dict[str, KeyRow]]:
    """For each of several processes its part; they sum to the whole exactly."""
    found: list[dict[str, KeyRow]] = [{} for _ in range(parts)]
    for name, row in rows.items():
        coins = {coin: _split(kept, parts) for coin, kept in row.coins.items()}
        for number, part in enumerate(found):
            part[name] = KeyRow(
                per=row.per, since=row.since, coins={coin: each[number] for coin, each in coins.items()}
            )
    return found


def _split(row: CoinRow, parts: int) -> list[CoinRow]:
    """What was set aside is told as spent, by estimate."""
    spent, guess = total((row.spent, row.reserved)), total((row.estimated, row.reserved))
    amounts = ((portion(spent, number, parts), portion(guess, number, parts)) for number in range(parts))
    return [CoinRow(spent=each, estimated=min(each, part), reserved=NOTHING) for each, part in amounts]


def _nothing() -> None:
    """Nobody wants to know."""


def _row(purse: Purse) -> CoinRow:
    return CoinRow(spent=purse.spent, estimated=purse.estimated, reserved=purse.reserved)


def _add(purse: Purse, kept: CoinRow, before: CoinRow | None) -> None:
    """What was set aside then is spent, by estimate."""
    spent, guess = total((kept.spent, kept.reserved)), total((kept.estimated, kept.reserved))
    if before is not None:
        spent = minus(spent, total((before.spent, before.reserved)))
        guess = minus(guess, total((before.estimated, before.reserved)))
    purse.spent = max(NOTHING, total((purse.spent, spent)))
    purse.estimated = min(purse.spent, max(NOTHING, total((purse.estimated, guess))))


def _account(row: KeyRow, here: Spending | None) -> Spending:
    """As the row tells; with what is `here` of an earlier period only in its calls under way."""
    account = here or Spending()
    account.budget = Budget(per=row.per)
    account.period = period(row.per, row.since.timestamp())
    for coin, purse in account.purses.items():
        purse.spent = purse.estimated = NOTHING
        if (kept := row.coins.get(coin)) is not None:
            _add(purse, kept, None)
    return account


def _shown(name: str, account: Spending) -> dict[str, Any]:
    begins, ends = (datetime.fromtimestamp(at, UTC).isoformat() for at in account.period)
    told: dict[str, Any] = {"key": name, "per": account.budget.per, "since": begins, "until": ends}
    for coin, purse in account.purses.items():
        if purse.limit is not None:
            amounts = {
                "limit": purse.limit,
                "spent": purse.spent,
                "estimated": purse.estimated,
                "reserved": purse.reserved,
                "left": purse.left(),
            }
            told[coin] = {word: written(amount) for word, amount in amounts.items()}
    return told
