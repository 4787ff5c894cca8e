"""Breakers, on a clock that the test holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.policy.breaker import Breaker
from router.table import BreakerSettings

SETTINGS = BreakerSettings(failures=3, within=10.0, cool=5.0)


def failing(times: int, at: float = 0.0) -> Breaker:
    """A breaker that so many calls have failed behind."""
    breaker = Breaker(SETTINGS)
    for _ in range(times):
        assert breaker.admit(at)
        breaker.failed(at, at)
    return breaker


def test_it_opens_after_so_many_failures() -> None:
    """Not after one less."""
    assert failing(2).admit(0.0)
    assert not failing(3).admit(0.0)


def test_failures_that_are_long_past_do_not_count() -> None:
    """Only those within the window."""
    breaker = failing(2)
    breaker.failed(10.0, 10.0)

    assert "closed" == breaker.state(10.0)


def test_a_busy_upstream_may_fail_now_and_then() -> None:
    """Failures open it only when they are at least half of the calls."""
    breaker = Breaker(SETTINGS)
    for number in range(100):
        (breaker.failed if number % 10 == 0 else breaker.succeeded)(0.0, 0.0)

    assert "closed" == breaker.state(0.0)


def test_one_call_finds_out_and_others_wait_for_it() -> None:
    """After the pause a single probe goes through, until it has come out."""
    breaker = failing(3)

    assert ("open", 1.0) == (breaker.state(4.0), breaker.wait(4.0))
    assert not breaker.admit(4.9)
    assert breaker.admit(5.0) and not breaker.admit(5.0)
    breaker.failed(5.5, 5.0)
    assert not breaker.admit(10.0) and breaker.admit(10.5)
    breaker.succeeded(11.0, 10.5)
    assert "closed" == breaker.state(11.0) and breaker.admit(11.0) and breaker.admit(11.0)


def test_a_probe_whose_caller_left_gives_its_place_back() -> None:
    """It told nothing: the next call finds out."""
    breaker = failing(3)
    assert breaker.admit(5.0)
    breaker.left(5.0)

    assert breaker.admit(5.0)


def test_a_probe_that_nobody_heard_of_is_forgotten() -> None:
    """No breaker stays shut for a call that was lost."""
    breaker = failing(3)
    assert breaker.admit(5.0)

    assert not breaker.admit(64.0) and breaker.admit(65.0)


def test_calls_from_before_it_opened_say_nothing() -> None:
    """Neither do they close it, nor do they make its pause longer."""
    breaker = failing(3)
    breaker.succeeded(1.0, 0.0)
    breaker.failed(4.0, 0.0)

    assert "open" == breaker.state(4.9) and breaker.admit(5.0)


def test_a_call_from_before_it_opened_is_not_taken_for_the_probe() -> None:
    """However late it ends: it neither decides, nor gives the place of the call that finds out to another one."""
    breaker = failing(3)
    assert breaker.admit(5.0)
    breaker.left(0.0)
    breaker.succeeded(5.1, 0.0)
    breaker.failed(5.2, 0.0)

    assert "half_open" == breaker.state(5.2) and not breaker.admit(5.2)
    breaker.succeeded(6.0, 5.0)
    assert "closed" == breaker.state(6.0)


def test_a_probe_that_had_been_forgotten_still_tells() -> None:
    """Else an upstream whose answers all take longer than that would never be found well; its place is not its own
    any more."""
    breaker = failing(3)
    assert breaker.admit(5.0) and breaker.admit(65.0)
    breaker.left(5.0)
    assert not breaker.admit(66.0)
    breaker.succeeded(90.0, 5.0)

    assert "closed" == breaker.state(90.0)


def test_it_recovers_slowly() -> None:
    """Its share of the calls grows from a tenth to all of them over the length of the pause."""
    breaker = failing(3)
    assert 0.0 == breaker.share(4.0)
    assert breaker.admit(5.0)
    breaker.succeeded(5.0, 5.0)

    assert [0.1, 0.5, 1.0] == [breaker.share(at) for at in (5.0, 7.5, 10.0)]


def test_the_call_that_finds_out_is_not_left_to_others() -> None:
    """Once the pause is over the target has its usual turn, for one call: behind others that work it would never be
    asked again."""
    breaker = failing(3)

    assert (0.0, 1.0) == (breaker.share(4.9), breaker.share(5.0))
    assert breaker.admit(5.0) and 0.0 == breaker.share(5.0)
    breaker.left(5.0)
    assert 1.0 == breaker.share(5.0)


def test_it_can_be_opened_by_hand() -> None:
    """Whatever the calls have been; from then on it is as one that failures have opened."""
    breaker = Breaker(SETTINGS)
    breaker.succeeded(0.0, 0.0)
    breaker.trip(1.0)

    assert ("open", False) == (breaker.state(5.9), breaker.admit(5.9))
    assert breaker.admit(6.0)
    breaker.succeeded(6.0, 6.0)
    assert ("closed", 0.1) == (breaker.state(6.0), breaker.share(6.0))
    probed = failing(3)
    assert probed.admit(5.0)
    probed.trip(6.0)
    assert probed.admit(11.0)  # what was under way finds nothing out any more


@given(
    st.lists(st.tuples(st.floats(0, 4, allow_nan=False), st.sampled_from(["fail", "succeed", "leave"]))),
    st.integers(1, 5),
)
def test_every_breaker_that_opens_closes_again(calls: list[tuple[float, str]], failures: int) -> None:
    """Whatever has happened: once the upstream works, one pause and one call later everything goes through."""
    breaker, now = Breaker(BreakerSettings(failures=failures, within=10.0, cool=5.0)), 0.0
    for wait, end in calls:
        now += wait
        if breaker.admit(now):
            {"fail": breaker.failed, "succeed": breaker.succeeded}.get(end, lambda _, began: breaker.left(began))(
                now, now
            )
    now += 5.0
    assert breaker.admit(now)
    breaker.succeeded(now, now)

    assert "closed" == breaker.state(now) and 1.0 == breaker.share(now + 5.1)


@given(st.lists(st.booleans(), max_size=200))
def test_open_means_enough_failures(ends: list[bool]) -> None:
    """It is open exactly once the failures of the window were enough and half of all."""
    breaker = Breaker(SETTINGS)
    failed = 0
    for number, fails in enumerate(ends, 1):
        failed += fails
        (breaker.failed if fails else breaker.succeeded)(1.0, 1.0)
        due = fails and failed >= 3 and failed * 2 >= number
        assert due == (breaker.state(1.0) == "open")
        if due:
            break
