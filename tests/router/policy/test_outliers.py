"""Who does far worse than its siblings: by numbers that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.outliers import Outlier, Seen, bounded, outliers
from router.table import OutlierSettings

SETTINGS = OutlierSettings(errors=3.0, latency=3.0, calls=20)
WELL = Seen(calls=100, failed=0, usual=0.5)


def found(*seen: Seen, settings: OutlierSettings = SETTINGS) -> list[tuple[int, str]]:
    return [(one.place, one.reason) for one in outliers(seen, settings)]


def test_who_fails_far_more_often_is_an_outlier() -> None:
    """Three times as often as the others, or as one in twenty where they hardly fail at all."""
    assert [(1, "errors")] == found(WELL, Seen(calls=100, failed=16))
    assert [] == found(WELL, Seen(calls=100, failed=14))
    assert [] == found(Seen(calls=100, failed=10), Seen(calls=100, failed=29))
    assert [(1, "errors")] == found(Seen(calls=100, failed=10), Seen(calls=100, failed=31))


def test_who_is_far_slower_is_an_outlier() -> None:
    """Three times as long until the first token; a few milliseconds are no matter."""
    assert [(0, "latency")] == found(Seen(calls=100, failed=0, usual=1.5), WELL)
    assert [] == found(Seen(calls=100, failed=0, usual=1.4), WELL)
    assert [] == found(Seen(calls=100, failed=0, usual=0.1), Seen(calls=100, failed=0, usual=0.001))
    assert Outlier(0, "latency", 4.0, 1.5) == outliers([Seen(calls=20, failed=0, usual=2.0), WELL], SETTINGS)[0]


def test_a_comparison_needs_calls_on_both_sides() -> None:
    """Neither is anybody judged by a few calls, nor against siblings that nobody has called."""
    bad = Seen(calls=100, failed=100)
    few = Seen(calls=19, failed=0, usual=0.1)

    assert [] == found(bad, few)
    assert [] == found(WELL, Seen(calls=19, failed=19))
    assert [] == found(bad)


def test_what_everybody_does_is_usual() -> None:
    """An hour in which all are slow and fail has no outliers."""
    assert [] == found(*[Seen(calls=50, failed=25, usual=9.0)] * 4)


def test_what_is_not_looked_at_makes_no_outliers() -> None:
    """`errors: null` and `latency: null`."""
    bad = Seen(calls=100, failed=90, usual=9.0)

    assert [(0, "latency")] == found(bad, WELL, settings=OutlierSettings(errors=None))
    assert [] == found(bad, WELL, settings=OutlierSettings(errors=None, latency=None))


def test_the_worst_goes_first() -> None:
    """Where there is room for one, it is the one that is the most times as bad."""
    slow = Seen(calls=100, failed=0, usual=5.0)
    slower = Seen(calls=100, failed=0, usual=50.0)

    assert [(2, "latency"), (0, "latency")] == found(slow, WELL, slower, WELL, WELL)
    assert [(2, "latency")] == found(slow, WELL, slower, WELL, Seen(calls=9, failed=0, share=0.0))


SEEN = st.builds(
    lambda calls, share, failed, usual, turn: Seen(
        calls=calls, failed=round(calls * failed), usual=usual, share=turn or share
    ),
    st.integers(0, 128),
    st.floats(0, 1),
    st.floats(0, 1),
    st.none() | st.floats(0, 100),
    st.sampled_from([1.0, None]),
)


@given(st.lists(SEEN, max_size=9))
def test_at_most_half_are_out_and_one_is_always_in(seen: list[Seen]) -> None:
    """Whatever is known of them; and nobody who is out already is put out again."""
    out = {place for place, one in enumerate(seen) if one.share < 1}
    more = {one.place for one in outliers(seen, SETTINGS)}

    assert not more & out
    assert not more or len(out | more) <= len(seen) / 2
    assert not seen or len(more) < len(seen)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_others_siblings_cannot_put_more_than_half_out(shares: list[float]) -> None:
    """A target may stand in several models: of each, at most half are passed over, and no share is made smaller."""
    kept = bounded(shares)

    assert sum(share < 1 for share in kept) == min(sum(share < 1 for share in shares), len(shares) // 2)
    assert all(after in (before, 1.0) for before, after in zip(shares, kept, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_outlier_is_no_yardstick(share: float) -> None:
    """Who is out, or coming back, is neither compared nor compared with."""
    gone = Seen(calls=100, failed=0, usual=0.1, share=share)

    assert [] == found(gone, Seen(calls=100, failed=100, usual=9.0), Seen(calls=0, failed=0), Seen(calls=0, failed=0))
    assert [] == found(WELL, Seen(calls=100, failed=100, usual=9.0, share=share))
