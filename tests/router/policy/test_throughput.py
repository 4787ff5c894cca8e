"""How fast a stream must be, on a clock that the test holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.policy.throughput import Throughput


def dribbled(*arrivals: tuple[float, int]) -> Throughput:
    """100 bytes a second over 10 s are asked for; so many bytes come after so many seconds each."""
    pace = Throughput(100.0, 10.0)
    for waited, size in arrivals:
        pace.arrived(waited, size)
    return pace


def test_the_first_window_is_waited_for_whole() -> None:
    """Nothing is too slow before there was time to be fast."""
    assert 10.0 == dribbled().patience()
    assert 4.0 == dribbled((6.0, 1)).patience()


def test_a_stream_that_dribbles_is_too_slow() -> None:
    """The window is over, and less than its part has come."""
    assert 0.0 == dribbled(*[(1.0, 99)] * 10).patience()
    assert 0.0 < dribbled(*[(1.0, 101)] * 10).patience()


def test_what_came_at_once_is_used_up_after_a_window() -> None:
    """However much it was, from then on nothing has come."""
    assert 10.0 == dribbled((1.0, 10**9)).patience()
    assert 3.0 == dribbled((1.0, 10**9), (7.0, 1)).patience()


def test_the_time_of_the_caller_does_not_count() -> None:
    """What lies there already when it is read next has been waited for by nobody."""
    pace = dribbled(*[(0.0, 10)] * 1000)

    assert 10.0 == pace.patience()


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 2000)), max_size=200), st.floats(0, 20))
def test_it_gives_up_when_a_window_has_brought_too_little(arrivals: list[tuple[float, int]], wait: float) -> None:
    """Never while the window before has brought enough, and always once it has not, but for a slot of the window."""
    pace, now = Throughput(100.0, 10.0), 0.0
    times: list[tuple[float, int]] = []
    for waited, size in arrivals:
        now += waited
        times.append((now, size))
        pace.arrived(waited, size)
    late = now + wait
    came = sum(size for at, size in times if at > late - 10.0 + 1e-6)
    came_about = sum(size for at, size in times if at > late - 10.0 - 10.0 / 32 - 1e-6)

    if late >= 10.0 and came_about < 1000:
        assert pace.patience() <= wait + 1e-6
    if came >= 1000 or late < 10.0 - 1e-6:
        assert pace.patience() > wait - 1e-6


@given(st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 9)), max_size=500))
def test_what_it_remembers_is_bounded(arrivals: list[tuple[float, int]]) -> None:
    """A few numbers for each stream, whatever its pieces are like."""
    pace = dribbled(*arrivals)

    assert len(pace._arrived) <= 34
