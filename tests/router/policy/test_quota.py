"""Limits of a caller, on a clock that the test holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from router.policy.quota import MOST_SPANS, SLOTS, Account, Full, Taken, Window


class Call(NamedTuple):
    """`after` seconds since the one before; it sets an amount aside, uses another, and `lasts`."""

    after: float
    asks: int
    uses: int
    lasts: float


def calls(beyond: bool) -> st.SearchStrategy[list[Call]]:
    """`beyond`: may they use more than they ask for?"""
    times = st.floats(0, 90, allow_nan=False)

    def call(after: float, asks: int, uses: int, lasts: float) -> Call:
        return Call(after, asks, uses, lasts) if beyond else Call(after, asks % 11, min(asks % 11, uses), lasts)

    return st.lists(st.builds(call, times, st.integers(0, 15), st.integers(0, 40), times), max_size=30)


class Let(NamedTuple):
    """A call that was let through, and when it ended."""

    at: float
    ended: float
    set_aside: float
    used: int


def play(window: Window, script: Sequence[Call]) -> list[Let]:
    """Every call that finds room is made, and settled when its time has come."""
    now = 1000.0
    let: list[Let] = []
    running: list[tuple[float, Taken, Call]] = []
    for call in script:
        now += call.after
        for end, taken, one in sorted(running, key=lambda each: each[0]):
            if end <= now:
                taken.settle(one.uses, end)
        running = [each for each in running if each[0] > now]
        if window.wait(call.asks, now) == 0:
            taken = window.take(call.asks, now)
            running.append((now + call.lasts, taken, call))
            let.append(Let(now, now + call.lasts, taken.amount, call.uses))
    for end, taken, one in sorted(running, key=lambda each: each[0]):
        taken.settle(one.uses, end)
    return let


def most(events: Sequence[tuple[float, float]], span: float = 60.0) -> float:
    """The largest sum of amounts within any span of time: one that begins with an event."""
    return max((sum(amount for at, amount in events if 0 <= at - start < span) for start, _ in events), default=0)


@given(calls(beyond=False))
def test_no_minute_has_more_than_the_limit(script: list[Call]) -> None:
    """Whatever 60 seconds one looks at: what the calls that began in them used is within it."""
    let = play(Window(10), script)

    assert most([(one.at, one.used) for one in let]) <= 10


@given(calls(beyond=True))
def test_the_bound_on_what_goes_beyond(script: list[Call]) -> None:
    """The limit, and what the calls that ended within the minute used beyond what was set aside."""
    let = play(Window(10), script)
    within = [(one.at, min(one.used, one.set_aside)) for one in let]
    beyond = [(one.ended, max(0.0, one.used - one.set_aside)) for one in let]

    for start, _ in within + beyond:
        inside = sum(amount for at, amount in within + beyond if 0 <= at - start < 60)
        excess = sum(amount for at, amount in beyond if 0 <= at - start < 60)

        assert inside <= 10 + excess


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40))
def test_what_goes_beyond_is_paid_for_in_the_end(uses: list[int]) -> None:
    """A caller that asks for 1 and uses more, and comes back as soon as it may, uses the limit a minute over time."""
    window, now, used = Window(10), 1000.0, 0
    for amount in uses:
        now += window.wait(1, now)
        window.take(1, now).settle(amount, now)
        used += amount

    assert used - uses[-1] <= 10 * ((now - 1000) / 60 + 1)


@given(calls(beyond=True), st.integers(1, 30))
def test_the_wait_is_as_long_as_it_says(script: list[Call], amount: int) -> None:
    """Then there is room, and one slot before there was none."""
    window = Window(10)
    now = max([1000.0, *(one.ended for one in play(window, script))])
    wait = window.wait(amount, now)
    just_before = window.wait(amount, now + wait - 1.01) if wait > 1.01 else 1

    assert just_before > 0
    assert window.wait(amount, now + wait + 0.001) == 0


@given(calls(beyond=True))
def test_after_the_reset_everything_is_there_again(script: list[Call]) -> None:
    """And not a slot sooner."""
    window = Window(10)
    now = max([1000.0, *(one.ended for one in play(window, script))])
    reset = window.reset(now)

    assert reset <= 61 * (MOST_SPANS + 1)
    assert (reset > 0) == (window.left(now) < 10)
    assert 10 == window.left(now + reset + 0.001)


def test_a_slot_counts_until_all_of_it_is_a_minute_ago() -> None:
    """What was taken late in a second is kept as long as what came early."""
    window = Window(2)
    window.take(1, 10.99)

    assert (1, 1, 2) == (window.left(11.0), window.left(70.99), window.left(71.0))


def test_what_was_set_aside_for_nothing_is_given_back() -> None:
    """At once; but not what has gone out of the window meanwhile."""
    window = Window(10)
    early, late = window.take(6, 0.0), window.take(4, 50.0)

    early.settle(2, 30.0)
    assert 4 == window.left(30.0)
    late.settle(0, 200.0)
    assert 10 == window.left(200.0)


def test_a_call_that_is_larger_than_the_limit_waits_for_an_empty_window() -> None:
    """It takes all of it; what it uses beyond that counts on."""
    window = Window(10)
    window.take(1, 0.0).settle(1, 0.0)

    assert 61.0 == window.wait(500, 0.0)
    window.take(500, 61.0).settle(25, 61.0)
    assert (61.0, 122.0, 183.0) == (window.wait(0.5, 61.0) - 61.0, window.reset(61.0) - 61.0, window.reset(61.0))


def test_a_debt_has_an_end() -> None:
    """A number that cannot be true shuts a caller out for about an hour, not for good."""
    window = Window(10)
    window.take(1, 0.0).settle(10**18, 0.0)

    assert 61.0 * MOST_SPANS <= window.reset(0.0) <= 61.0 * (MOST_SPANS + 1)


def test_another_limit_holds_at_once() -> None:
    """What was used before counts under it."""
    window = Window(10)
    window.take(8, 0.0)

    window.limit = 5
    assert (0, 61.0) == (window.left(1.0), window.wait(5, 0.0))
    window.limit = 20
    assert 12 == window.left(1.0)


def test_other_spans() -> None:
    """A slot is a sixtieth of any span; amounts need not be whole."""
    window = Window(0.5, span=3600.0)
    window.take(0.25, 60.0)
    window.take(0.25, 119.0)

    assert (0, 0.5) == (window.left(60.0 * SLOTS + 119.9), window.left(60.0 * SLOTS + 120.0))


def test_a_call_takes_of_every_limit_or_of_none() -> None:
    """What is not limited is not counted; who is refused learns of what takes longest."""
    account = Account()
    account.adopt({"requests": 2, "tokens": 10})

    assert {"requests", "tokens"} == set(account.take({"requests": 1, "tokens": 10}, 0.0))  # type: ignore[arg-type]
    assert Full("tokens", 60.0) == account.take({"requests": 1, "tokens": 1}, 1.0)
    assert {"requests"} == set(account.take({"requests": 1}, 30.0))  # type: ignore[arg-type]
    assert Full("requests", 31.0) == account.take({"requests": 1}, 30.0)
    assert (0, 10) == (account.windows["requests"].left(60.9), account.windows["tokens"].left(61.0))


def test_limits_that_stay_remember() -> None:
    """One that goes is forgotten, one that comes begins with nothing used."""
    account = Account()
    account.adopt({"requests": 2})
    account.take({"requests": 1}, 0.0)
    account.adopt({"requests": 5, "tokens": 10})

    assert (4, 10) == (account.windows["requests"].left(0.0), account.windows["tokens"].left(0.0))
    account.adopt({"tokens": 10})
    assert {"tokens"} == set(account.windows)
