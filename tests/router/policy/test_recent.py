"""The latest calls of a target, on a clock that the test holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.policy.recent import LEAST, MOST, Recent


def took(*times: float, at: float = 0.0) -> Recent:
    recent = Recent()
    for seconds in times:
        recent.note(at, failed=False, seconds=seconds)
    return recent


def test_only_what_is_recent_counts() -> None:
    """Of the window that is asked for; failures without a time count as calls alone."""
    recent = Recent()
    for at, failed, seconds in ((0.0, True, None), (5.0, False, 0.1), (6.0, True, None), (7.0, False, 0.3)):
        recent.note(at, failed=failed, seconds=seconds)

    assert (4, 2) == recent.outcomes(7.0, 60.0)
    assert (3, 1) == recent.outcomes(7.0, 7.0)
    assert (0.3, None) == (recent.median(7.0, 60.0, 2), recent.median(7.0, 60.0, 3))
    assert None is recent.median(100.0, 60.0, 0)


def test_a_p95_is_made_of_enough_calls() -> None:
    """The slowest of a few calls is no p95."""
    few = took(*[1.0] * (LEAST - 1))

    assert None is few.p95(0.0)
    few.took(0.0, 2.0)
    assert 2.0 == few.p95(0.0)
    assert 1.0 == took(*[1.0] * LEAST).p95(0.0)


def test_a_p95_is_exceeded_by_one_in_twenty() -> None:
    """Of a hundred times that differ, the ninety-sixth."""
    assert 96.0 == took(*map(float, range(1, 101))).p95(0.0)


def test_a_call_that_was_given_up_counts_as_slow() -> None:
    """How long it was waited for is less than it would have taken: that lifts the p95, and is no outcome."""
    recent = took(*[0.1] * LEAST)
    for _ in range(LEAST // 2):
        recent.took(0.0, 2.0)

    assert (2.0, (LEAST, 0)) == (recent.p95(0.0), recent.outcomes(0.0, 1.0))


def test_what_is_long_past_tells_nothing() -> None:
    """A p95 is that of the last ten minutes."""
    recent = took(*[9.0] * LEAST)
    for _ in range(LEAST):
        recent.note(700.0, failed=False, seconds=1.0)

    assert 1.0 == recent.p95(700.0)


def test_forgotten_is_forgotten() -> None:
    """No call from before counts."""
    recent = took(*[1.0] * LEAST)
    assert 1.0 == recent.p95(0.0)
    recent.forget()

    assert ((0, 0), None, None) == (recent.outcomes(0.0, 1.0), recent.median(0.0, 1.0, 1), recent.p95(0.0))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=400))
def test_it_is_bounded_and_one_in_twenty_is_slower_than_the_p95(times: list[float]) -> None:
    """Whatever was noted: the latest calls are kept, and at most one in twenty of them took longer."""
    recent = took(*times)
    latest = times[-MOST:]
    p95 = recent.p95(0.0)

    assert (len(latest), 0) == recent.outcomes(0.0, 1.0)
    assert (p95 is None) == (len(latest) < LEAST)
    assert p95 is None or (p95 in latest and sum(seconds > p95 for seconds in latest) * 20 <= len(latest))
