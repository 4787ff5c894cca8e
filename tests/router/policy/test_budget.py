"""Budgets of a caller, on a wall clock that the test holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.budget import NOTHING, Aside, Period, Short, Spending, period
from router.settings import Budget, Coin, Per


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOON = at("2026-11-28T12:00:00")
NONE: Mapping[Coin, Decimal] = {}


def usd(amount: str | int) -> dict[Coin, Decimal]:
    return {"usd": Decimal(amount)}


def account(limit: str | int = 10, per: Per = "month", now: float = NOON) -> Spending:
    found = Spending()
    found.adopt(Budget(usd=Decimal(limit), per=per), now)
    return found


def taken(spending: Spending, amounts: Mapping[Coin, Decimal], now: float = NOON) -> Aside:
    found = spending.take(amounts, now)
    assert isinstance(found, Aside)
    return found


def refused(spending: Spending, amounts: Mapping[Coin, Decimal], now: float = NOON) -> Short:
    found = spending.take(amounts, now)
    assert isinstance(found, Short)
    return found


def spend(spending: Spending, amount: str | int, now: float = NOON) -> None:
    taken(spending, usd(amount), now).settle(usd(amount), NONE, now)


# ── periods ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("per", "now", "begins", "ends"),
    [
        ("hour", "2026-11-28T12:59:59.999", "2026-11-28T12:00:00", "2026-11-28T13:00:00"),
        ("day", "2026-11-28T00:00:00", "2026-11-28T00:00:00", "2026-11-29T00:00:00"),
        ("week", "2026-11-29T23:59:59", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
        ("week", "2026-11-30T00:00:00", "2026-11-30T00:00:00", "2026-12-07T00:00:00"),
        ("month", "2026-11-30T23:59:59", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
        ("month", "2026-12-31T12:00:00", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("day", "2026-03-29T01:30:00", "2026-03-29T00:00:00", "2026-03-30T00:00:00"),  # summer time in Europe
    ],
)
def test_periods_are_those_of_the_calendar_in_utc(per: Per, now: str, begins: str, ends: str) -> None:
    """Weeks begin on Monday; no day has 23 hours."""
    assert Period(int(at(begins)), int(at(ends))) == period(per, at(now))


@given(st.sampled_from(["hour", "day", "week", "month"]), st.floats(0, 4e9))
def test_periods_cover_all_of_time_without_a_gap(per: Per, now: float) -> None:
    """The moment before a period lies in the one that ends with it."""
    found = period(per, now)

    assert found.begins <= now < found.ends
    assert found.begins == period(per, found.begins - 0.5).ends if found.begins else True
    assert found == period(per, found.begins)


# ── taking and settling ────────────────────────────────────────────────────────────────


class Call(NamedTuple):
    """`after` seconds since the one before; it sets cents aside, costs others, and `lasts`."""

    after: float
    asks: int
    costs: int
    lasts: float


times = st.floats(0, 3000, allow_nan=False)
scripts = st.lists(st.builds(Call, times, st.integers(0, 400), st.integers(0, 600), times), max_size=40)


class Ended(NamedTuple):
    at: float
    aside: Decimal
    cost: Decimal
    let_in: float


def play(spending: Spending, script: Sequence[Call]) -> list[Ended]:
    """Every call that finds room is made, and settled when its time has come. After each step nothing set aside has
    passed the limit."""
    now, ended = NOON, []
    running: list[tuple[float, Aside, Ended]] = []

    def settle(until: float) -> None:
        for end, aside, one in sorted(running, key=lambda each: each[0]):
            if end <= until:
                aside.settle({"usd": one.cost}, NONE, end)
                ended.append(one)
        running[:] = [each for each in running if each[0] > until]

    for call in script:
        now += call.after
        settle(now)
        asks, costs = Decimal(call.asks) / 100, Decimal(call.costs) / 100
        found = spending.take({"usd": asks}, now)
        if isinstance(found, Aside):
            running.append((now + call.lasts, found, Ended(now + call.lasts, asks, costs, now)))
            purse = spending.purses["usd"]
            assert purse.spent + purse.reserved <= 10
    settle(now + 3001)
    return ended


@given(scripts)
def test_no_more_is_spent_than_the_limit_but_for_what_was_not_foreseen(script: list[Call]) -> None:
    """In each period: the limit, and what the calls under way when the last one was let in cost beyond what was set
    aside for them."""
    ended = play(account(per="hour"), script)

    for hour in {period("hour", one.at) for one in ended}:
        here = [one for one in ended if period("hour", one.at) == hour]
        last = max(one.let_in for one in here)
        beyond = sum((max(NOTHING, one.cost - one.aside) for one in here if one.at >= last), NOTHING)
        assert sum(one.cost for one in here) <= 10 + beyond


@given(scripts)
def test_when_all_has_ended_nothing_is_set_aside_and_every_cent_is_counted(script: list[Call]) -> None:
    """Exactly, however calls overlap."""
    spending = account(limit=10, per="month")
    ended = play(spending, script)

    assert (sum((one.cost for one in ended), NOTHING), NOTHING) == (
        spending.purses["usd"].spent,
        spending.purses["usd"].reserved,
    )


def test_amounts_are_exact() -> None:
    """Ten calls of next to nothing are ten times that, beside a large amount: no digit is rounded away."""
    spending = account(limit="999999999.0000001")
    spend(spending, 999999999)
    for _ in range(10):
        spend(spending, "0.00000000000000000000000001")
    short = refused(spending, usd("0.0000001"))

    assert Decimal("999999999.0000000000000000000000001") == spending.purses["usd"].spent
    assert (False, Decimal("0.0000000999999999999999999")) == (short.soon, short.unspent)


def test_a_call_that_may_cost_more_than_is_left_is_refused_and_a_smaller_one_is_not() -> None:
    """What it was told: how much it may cost, and how much is left."""
    spending = account()
    spend(spending, 9)
    short = refused(spending, usd(2))
    taken(spending, usd(1))

    assert (2, 1, 10, False) == (short.amount, short.unspent, short.limit, short.soon)
    assert at("2026-12-01T00:00:00") - NOON == short.wait


def test_where_only_calls_under_way_are_in_the_way_there_may_be_room_soon() -> None:
    """And there is, when they have cost less than was set aside."""
    spending = account()
    first = taken(spending, usd(9))
    short = refused(spending, usd(2))
    first.settle(usd(1), NONE, NOON)

    assert short.soon
    assert isinstance(spending.take(usd(2), NOON), Aside)


def test_an_unknown_cost_is_let_in_while_anything_is_left() -> None:
    """It sets nothing aside; a coin that a call does not cost is not asked for."""
    spending = account()
    taken(spending, usd(0))
    spend(spending, 10)

    assert isinstance(spending.take(usd(0), NOON), Short)
    assert isinstance(spending.take(NONE, NOON), Aside)


def test_of_two_coins_a_call_takes_both_or_none() -> None:
    """Each has a limit of its own."""
    spending = Spending()
    spending.adopt(Budget(usd=Decimal(1), credits=Decimal(3)), NOON)
    taken(spending, {"usd": Decimal("0.1"), "credits": Decimal(2)}).settle({"credits": Decimal(2)}, NONE, NOON)
    short = refused(spending, {"usd": Decimal("0.1"), "credits": Decimal(2)})

    assert ("credits", 1, NOTHING) == (short.coin, short.unspent, spending.purses["usd"].reserved)


def test_what_nobody_counted_is_told_apart() -> None:
    """It is a part of what is spent."""
    spending = account()
    taken(spending, usd(2)).settle(usd(1), usd("0.5"), NOON)

    assert (Decimal("1.5"), Decimal("0.5")) == (spending.purses["usd"].spent, spending.purses["usd"].estimated)


# ── time ───────────────────────────────────────────────────────────────────────────────


def test_a_new_period_begins_with_nothing_spent() -> None:
    """At its first second; what is set aside for calls under way stays, and counts where they end."""
    spending = account()
    spend(spending, 8)
    under_way = taken(spending, usd(2))
    end = at("2026-12-01T00:00:00")
    refused(spending, usd(1), end - 0.001)
    spend(spending, 8, end)
    short = refused(spending, usd(1), end)
    under_way.settle(usd(2), NONE, end)

    assert (True, 10) == (short.soon, spending.purses["usd"].spent)


def test_a_clock_that_is_set_back_a_little_gives_nothing_back() -> None:
    """Across a border: the later period goes on, in which nothing is forgotten when the border comes again."""
    spending = account()
    end = at("2026-12-01T00:00:00")
    spend(spending, 10, end + 5)
    refused(spending, usd(1), end - 60)
    short = refused(spending, usd(1), end + 60)

    assert at("2027-01-01T00:00:00") - end - 60 == short.wait


def test_a_clock_that_was_years_ahead_shuts_nobody_out_for_years() -> None:
    """What was spent then counts in the period that is now."""
    spending = account(now=at("2036-01-01T00:00:00"))
    spend(spending, 10, at("2036-01-01T00:00:00"))
    short = refused(spending, usd(1), NOON)
    spend(spending, 10, at("2026-12-01T00:00:00"))

    assert at("2026-12-01T00:00:00") - NOON == short.wait


# ── another budget ─────────────────────────────────────────────────────────────────────


def test_another_limit_holds_at_once_for_what_was_spent_before() -> None:
    """Lower or higher."""
    spending = account()
    spend(spending, 5)
    spending.adopt(Budget(usd=Decimal(5)), NOON)
    refused(spending, usd(1))
    spending.adopt(Budget(usd=Decimal(7)), NOON)
    taken(spending, usd(2))

    assert isinstance(spending.take(usd("0.01"), NOON), Short)


def test_a_coin_that_is_limited_later_counts_from_then_on() -> None:
    """And one that is limited no more has no limit."""
    spending = account()
    spending.adopt(Budget(credits=Decimal(2)), NOON)
    taken(spending, usd(1000))

    assert isinstance(spending.take({"credits": Decimal(3)}, NOON), Short)


def test_another_kind_of_period_takes_over_what_was_spent() -> None:
    """Until it ends; what was spent in a period that is over is not taken over."""
    spending = account(per="hour")
    spend(spending, 6)
    spending.adopt(Budget(usd=Decimal(10), per="day"), NOON)
    refused(spending, usd(5))
    spending.adopt(Budget(usd=Decimal(10), per="hour"), NOON + 86400)

    assert NOTHING == spending.purses["usd"].spent
