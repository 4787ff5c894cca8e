"""What keys have spent, remembered by name and written down."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from router.policy.budget import Aside, Spending
from router.settings import Budget
from router.state.budgets import Budgets, CoinRow, KeyRow

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
TEN = Budget(usd=Decimal(10), per="month")


def aside(account: Spending, amount: str, now: float = NOON) -> Aside:
    taken = account.take({"usd": Decimal(amount)}, now)
    assert isinstance(taken, Aside)
    return taken


def spend(budgets: Budgets, name: str, amount: str, now: float = NOON) -> None:
    aside(budgets.of(name, TEN, now), amount, now).settle({"usd": Decimal(amount)}, {}, now)


def spent(budgets: Budgets, name: str, now: float = NOON) -> Decimal:
    return budgets.of(name, TEN, now).purses["usd"].spent


def again(budgets: Budgets, now: float = NOON) -> Budgets:
    """As after a restart."""
    rows = msgspec.json.decode(msgspec.json.encode(budgets.rows(now)), type=dict[str, KeyRow])
    other = Budgets()
    other.add(rows, {})
    return other


def test_a_key_keeps_its_account_by_its_name() -> None:
    """Under another budget, too; nobody else's is touched."""
    budgets = Budgets()
    spend(budgets, "a", "4")
    spend(budgets, "b", "1")

    assert budgets.of("a", TEN, NOON) is budgets.of("a", Budget(usd=Decimal(5)), NOON)
    assert (4, 1) == (spent(budgets, "a"), spent(budgets, "b"))


def test_what_is_written_down_is_what_was_spent() -> None:
    """To the last digit, in the same period."""
    budgets = Budgets()
    spend(budgets, "a", "0.000000000000001")
    spend(budgets, "a", "4.1")
    other = again(budgets)

    assert Decimal("4.100000000000001") == spent(other, "a")
    assert budgets.of("a", TEN, NOON).period == other.of("a", TEN, NOON).period


def test_calls_under_way_are_written_down_as_spent() -> None:
    """By estimate, for whoever wrote it may be killed before they end; more than once they do not count."""
    budgets = Budgets()
    spend(budgets, "a", "1")
    aside(budgets.of("a", TEN, NOON), "2")
    twice = again(again(budgets))
    purse = twice.of("a", TEN, NOON).purses["usd"]

    assert (3, 2, 0) == (purse.spent, purse.estimated, purse.reserved)


def test_what_was_spent_in_a_period_that_is_over_is_forgotten() -> None:
    """It is not written down any more, and means nothing when it is read."""
    budgets = Budgets()
    spend(budgets, "a", "4")
    late = again(budgets)

    assert 0 == spent(late, "a", DECEMBER)
    assert {} == budgets.rows(DECEMBER)


def test_a_key_that_is_not_in_the_table_is_not_forgotten_before_its_period_ends() -> None:
    """Whoever takes a row out and puts it back gives nothing away."""
    budgets = Budgets()
    spend(budgets, "a", "4")

    assert {"a"} == again(again(budgets)).rows(NOON).keys()


def test_a_kept_period_of_another_kind_is_taken_over() -> None:
    """The budget was changed between two starts."""
    budgets = Budgets()
    spend(budgets, "a", "4")
    account = again(budgets).of("a", Budget(usd=Decimal(5), per="day"), NOON)

    assert 4 == account.purses["usd"].spent
    assert datetime(2026, 11, 29, tzinfo=UTC).timestamp() == account.period.ends


# ── another process ────────────────────────────────────────────────────────────────────


def test_what_another_process_has_added_counts_once() -> None:
    """Both began with 1; it has spent 2 more since, and 3 were spent here."""
    first = Budgets()
    spend(first, "a", "1")
    before = first.rows(NOON)
    second = Budgets()
    second.add(before, {})
    spend(first, "a", "2")
    spend(second, "a", "3")
    second.add(first.rows(NOON), before)

    assert 6 == spent(second, "a")


def test_what_it_had_set_aside_and_never_spent_is_given_back() -> None:
    """It was read while a call was under way there, which then cost nothing."""
    first = Budgets()
    under_way = aside(first.of("a", TEN, NOON), "5")
    before = first.rows(NOON)
    second = Budgets()
    second.add(before, {})
    under_way.settle({}, {}, NOON)
    spend(first, "a", "1")
    second.add(first.rows(NOON), before)

    assert (1, 0) == (spent(second, "a"), second.of("a", TEN, NOON).purses["usd"].estimated)


def test_of_two_periods_the_later_one_counts() -> None:
    """Whichever of the two is here."""
    old, new = Budgets(), Budgets()
    spend(old, "a", "4")
    spend(new, "a", "1", DECEMBER)
    late, early = Budgets(), Budgets()
    spend(late, "a", "2", DECEMBER)
    spend(early, "a", "3")
    late.add(old.rows(NOON), {})
    early.add(new.rows(DECEMBER), {})

    assert (2, 1) == (spent(late, "a", DECEMBER), spent(early, "a", DECEMBER))


# ── what is shown ──────────────────────────────────────────────────────────────────────


def test_what_operators_see() -> None:
    """Exact amounts of what is limited, and the period; a key that has not called is there, too."""
    budgets = Budgets()
    spend(budgets, "a", "4")
    aside(budgets.of("a", TEN, NOON), "1")
    shown = budgets.shown({"a": TEN, "b": Budget(credits=Decimal(3), per="hour")}, NOON)

    assert {
        "key": "a",
        "per": "month",
        "since": "2026-11-01T00:00:00+00:00",
        "until": "2026-12-01T00:00:00+00:00",
        "usd": {"limit": "10", "spent": "4", "estimated": "0", "reserved": "1", "left": "5"},
    } == shown[0]
    assert {"limit": "3", "spent": "0", "estimated": "0", "reserved": "0", "left": "3"} == shown[1]["credits"]


def test_what_metrics_show() -> None:
    """Limit and spending of each coin that is limited; a period that is over is over there, too."""
    budgets = Budgets()
    spend(budgets, "a", "4")

    assert [("a", "usd", 10.0, 4.0)] == budgets.gauges({"a": TEN}, NOON)
    assert [("a", "usd", 10.0, 0.0)] == budgets.gauges({"a": TEN}, DECEMBER)


# ── rows that are none ─────────────────────────────────────────────────────────────────

GOOD: dict[str, Any] = {
    "per": "day",
    "since": "2026-11-28T00:00:00Z",
    "coins": {"usd": {"spent": "1", "estimated": "0", "reserved": "0"}},
}


def test_a_good_row_is_read() -> None:
    """What the bad ones below are made of."""
    row = msgspec.convert(GOOD, KeyRow)

    assert CoinRow(spent=Decimal(1), estimated=Decimal(0), reserved=Decimal(0)) == row.coins["usd"]


@pytest.mark.parametrize(
    "bad",
    [
        {"per": "year"},
        {"since": "2026-11-28T00:00:00"},  # of which zone?
        {"since": "9999-12-31T00:00:00Z", "per": "month"},
        {"coins": {"eur": GOOD["coins"]["usd"]}},
        {"coins": {"usd": GOOD["coins"]["usd"] | {"spent": "-1"}}},
        {"coins": {"usd": GOOD["coins"]["usd"] | {"spent": "NaN"}}},
        {"coins": {"usd": GOOD["coins"]["usd"] | {"estimated": "Infinity"}}},
        {"coins": {"usd": GOOD["coins"]["usd"] | {"reserved": "1e999"}}},
        {"coins": {"usd": {"spent": "1"}}},
        {"key": "sk-isthmus-1"},
    ],
)
def test_rows_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    """Rather than to count with them."""
    with pytest.raises((msgspec.ValidationError, ValueError)):
        msgspec.convert(GOOD | bad, KeyRow)
