"""What is remembered of upstreams, and what counts against them."""

from __future__ import annotations

import pytest

from providers.canonical.errors import (
    BadUpstreamBytes,
    CircuitOpen,
    ConnectFailed,
    RouterError,
    UnwantedAnswer,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from router.state.upstreams import Upstream, Upstreams, is_its_fault
from router.table import BreakerSettings, OutlierSettings

SETTINGS = BreakerSettings(failures=1, within=10.0, cool=5.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectFailed("x"), True),
        (UpstreamTimeout("x"), True),
        (BadUpstreamBytes("x"), True),
        (UnwantedAnswer("x"), False),
        (UpstreamFailed("x", upstream_status=500), True),
        (UpstreamFailed("x", upstream_status=529), True),
        (UpstreamBusy("x", upstream_status=429), False),
        (UpstreamDenied("x", upstream_status=401), False),
        (UpstreamRejected("x", upstream_status=400), False),
    ],
)
def test_what_counts_against_an_upstream(error: RouterError, expected: bool) -> None:
    """That it does not work; not what it says of a request, a limit or a key."""
    assert expected == is_its_fault(error)


def test_calls_under_way_are_counted() -> None:
    """However they end."""
    seen = Upstream(SETTINGS)
    for _ in range(3):
        seen.enter(0.0)
    seen.ended(None, 1.0, 0.0)
    seen.left(0.0)

    assert 1 == seen.running


def test_who_may_not_enter_is_not_counted() -> None:
    """CircuitOpen says when to come back, in whole seconds."""
    seen = Upstream(SETTINGS)
    seen.enter(0.0)
    seen.ended(ConnectFailed("x"), 0.0, 0.0)
    with pytest.raises(CircuitOpen) as refusal:
        seen.enter(1.5)

    assert (4, 0) == (refusal.value.retry_after, seen.running)
    with pytest.raises(CircuitOpen):
        seen.check(1.5)
    seen.check(5.0)


def test_a_limit_makes_it_rest() -> None:
    """For as long as it says, a minute at most; it is a matter of order, nobody is refused."""
    seen = Upstream(SETTINGS)
    for asked, rests in ((7.0, 6.9), (None, 0.9), (3600.0, 59.9)):
        seen.enter(0.0)
        seen.ended(UpstreamBusy("x", upstream_status=429, retry_after=asked), 0.0, 0.0)
        seen.check(0.0)

        assert (0.0, 1.0) == (
            seen.known(rests, stream=False).share,
            seen.known(rests + 0.2, stream=False).share,
        )


def test_streams_and_whole_answers_have_their_own_pace() -> None:
    """A whole answer takes longer than a first token, and says nothing about it."""
    seen = Upstream(None)
    seen.streams.note(0.2, 0.0)
    seen.wholes.note(5.0, 0.0)

    assert (0.2, 5.0) == (seen.known(0.0, stream=True).expected, seen.known(0.0, stream=False).expected)


def test_it_is_known_when_nothing_is_the_matter() -> None:
    """One failure is enough to look at all; once they are well, nobody looks any more."""
    upstreams = Upstreams()
    seen = upstreams.of("a", "m", SETTINGS)
    for error in (UpstreamBusy("x", upstream_status=429, retry_after=7.0), ConnectFailed("x")):
        upstreams.calm = True
        seen.enter(100.0)
        seen.ended(error, 100.0, 100.0)
        assert not upstreams.calm
        upstreams.settle(101.0)
        assert not upstreams.calm
    seen.enter(106.0)
    seen.ended(None, 106.0, 106.0)
    upstreams.settle(108.0)
    assert not upstreams.calm  # it recovers
    upstreams.settle(111.0)

    assert upstreams.calm


def test_a_reload_keeps_what_is_known() -> None:
    """New settings hold from then on; without a breaker nothing is left alone."""
    upstreams = Upstreams()
    seen = upstreams.of("a", "m", SETTINGS)
    seen.enter(0.0)
    seen.ended(ConnectFailed("x"), 0.0, 0.0)

    assert [("a", "m", "open")] == list(upstreams.states(1.0))
    assert upstreams.of("a", "m", BreakerSettings(failures=1, cool=1.0)) is seen
    assert [("a", "m", "half_open")] == list(upstreams.states(1.0))
    assert upstreams.of("a", "m", None).breaker is None and [] == list(upstreams.states(1.0))


OUTLIERS = OutlierSettings(errors=3.0, latency=3.0, calls=5, within=60.0, cool=30.0)


def siblings(*firsts: float, failing: bool = False) -> tuple[Upstreams, list[Upstream]]:
    """Targets that are watched and have had ten streams each, so long until the first token; the last one fails."""
    upstreams = Upstreams()
    found = [upstreams.of(name, "m", None) for name, _ in zip("abc", firsts, strict=False)]
    assert [] == upstreams.compare(found, OUTLIERS, 0.0)
    for one, first in zip(found, firsts, strict=True):
        for _ in range(10):
            stream(one, first, error=ConnectFailed("x") if failing and one is found[-1] else None)
    return upstreams, found


def stream(one: Upstream, first: float | None, now: float = 1.0, error: RouterError | None = None) -> None:
    one.enter(now)
    one.ended(error, now, now, first=None if error else first, stream=True)


@pytest.mark.parametrize(
    ("firsts", "failing", "reason"), [((0.1, 0.9), False, "latency"), ((0.1, 0.1), True, "errors")]
)
def test_an_outlier_is_passed_over_and_then_finds_its_way_back(
    firsts: tuple[float, float], failing: bool, reason: str
) -> None:
    """Out for `cool`, one call finds out, and then its turn grows again; nobody is ever refused."""
    upstreams, (well, bad) = siblings(*firsts, failing=failing)

    assert [(bad, reason)] == [(one, found.reason) for one, found in upstreams.compare([well, bad], OUTLIERS, 2.0)]
    assert (1.0, 0.0, False) == (well.turn(2.0), bad.turn(2.0), upstreams.calm)
    assert [("a", "m", "closed"), ("b", "m", "open")] == list(upstreams.passed_over(31.9))
    stream(bad, 0.1, now=31.9)
    assert 0.0 == bad.turn(31.9)  # a call that nobody else took says nothing while it is out
    assert 1.0 == bad.turn(32.0)
    bad.enter(32.0)
    assert 0.0 == bad.turn(32.0)
    bad.ended(None, 32.0, 32.0, first=0.1, stream=True)
    assert [0.1, 0.5, 1.0] == [bad.turn(at) for at in (32.0, 47.0, 62.0)]
    stream(bad, 0.1, now=62.0)
    assert bad.outlier is None and [] == upstreams.compare([well, bad], OUTLIERS, 63.0)


def test_an_outlier_that_is_still_slow_stays_out() -> None:
    """The call that finds out is measured by what was usual; one that tells nothing leaves it to the next."""
    upstreams, (well, bad) = siblings(0.1, 0.9)
    upstreams.compare([well, bad], OUTLIERS, 2.0)
    stream(bad, 0.31, now=32.0)
    assert ("open", 0.0) == (bad.outlier and bad.outlier.state(32.0), bad.turn(61.9))
    for error, first in ((UpstreamBusy("x", upstream_status=429), None), (None, 5.0)):
        bad.enter(62.0)
        bad.ended(error, 62.0, 62.0, first=first)  # a whole answer: of those nobody knows what is usual
        assert 1.0 == bad.turn(62.0)
    bad.enter(62.0)
    bad.left(62.0)
    assert 1.0 == bad.turn(62.0)
    stream(bad, 0.29, now=62.0)

    assert 0.1 == bad.turn(62.0)


def test_what_an_outlier_did_before_it_came_back_is_forgotten() -> None:
    """Else it would be passed over again for the same calls."""
    upstreams, (well, bad) = siblings(0.1, 0.9)
    soon = OutlierSettings(errors=3.0, latency=3.0, calls=5, within=60.0, cool=5.0)
    assert 1 == len(upstreams.compare([well, bad], soon, 2.0))
    for at in (7.0, 12.0, 12.0, 12.0, 12.0):
        stream(bad, 0.1, now=at)

    assert 1.0 == bad.turn(13.0) and [] == upstreams.compare([well, bad], soon, 13.0)


def test_siblings_are_compared_once_a_second() -> None:
    """However many calls ask for it."""
    upstreams, (well, bad) = siblings(0.1, 0.1)
    assert [] == upstreams.compare([well, bad], OUTLIERS, 2.0)
    for _ in range(10):
        stream(bad, 5.0, now=2.0)

    assert [] == upstreams.compare([well, bad], OUTLIERS, 2.9)
    assert 1 == len(upstreams.compare([well, bad], OUTLIERS, 3.0))


def test_what_callers_bring_about_makes_no_outlier() -> None:
    """Refusals, limits and keys are no failures of the target, nor are they calls that went well."""
    upstreams, (well, other) = siblings(0.1, 0.1)
    for error in (UpstreamRejected("x", upstream_status=400), UpstreamBusy("x", upstream_status=429)) * 20:
        stream(other, None, error=error)

    assert [] == upstreams.compare([well, other], OUTLIERS, 2.0)
    assert (10, 0) == (other.seen(2.0, 60.0, 5).calls, other.seen(2.0, 60.0, 5).failed)


def test_who_is_not_compared_is_not_remembered() -> None:
    """A target that no policy watches keeps nothing of its calls."""
    seen = Upstream(None)
    stream(seen, 0.1)

    assert seen.recent is None


def test_a_half_open_breaker_is_not_well() -> None:
    """Somebody has to look which call is to find out."""
    upstreams = Upstreams()
    seen = upstreams.of("a", "m", SETTINGS)
    seen.enter(0.0)
    seen.ended(ConnectFailed("x"), 0.0, 0.0)
    upstreams.settle(100.0)

    assert (False, 1.0) == (upstreams.calm, seen.share(100.0))
