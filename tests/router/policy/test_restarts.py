"""When a process that ended is started again."""

from __future__ import annotations

from router.policy.restarts import HOPELESS, MOST, STEADY, Restarts


def test_the_first_time_at_once_then_later_and_later() -> None:
    """Whatever ends soon after it began is tried ever less often, up to a bound."""
    restarts = Restarts()
    waits = [restarts.ended(1.0, served=True) for _ in range(10)]

    assert [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, MOST, MOST, MOST] == waits


def test_one_that_has_served_for_long_begins_anew() -> None:
    """What happens once in a while is mended at once."""
    restarts = Restarts()
    waits = [restarts.ended(lived, served=True) for lived in (1.0, 1.0, 1.0, STEADY, 1.0, STEADY + 1)]

    assert [0.0, 0.5, 1.0, 0.0, 0.5, 0.0] == waits


def test_one_that_leaves_on_purpose_is_no_failure() -> None:
    """It is replaced at once, however often; but not when it never came to serve."""
    restarts = Restarts()
    waits = [restarts.ended(1.0, served=True, on_purpose=True) for _ in range(5)]
    never = [restarts.ended(1.0, served=False, on_purpose=True) for _ in range(3)]

    assert [0.0] * 5 == waits
    assert [0.0, 0.5, 1.0] == never


def test_one_that_never_comes_to_serve_is_hopeless() -> None:
    """So many starts in a row that came to nothing; one that served makes them forgotten."""
    restarts = Restarts()
    hopeless = []
    for _ in range(HOPELESS):
        restarts.ended(60.0, served=False)
        hopeless.append(restarts.hopeless)
    restarts.ended(1.0, served=True)

    assert [False] * (HOPELESS - 1) + [True] == hopeless
    assert not restarts.hopeless
