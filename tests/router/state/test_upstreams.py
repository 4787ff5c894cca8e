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
from router.table import BreakerSettings

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
    seen.ended(None, 1.0)
    seen.left()

    assert 1 == seen.running


def test_who_may_not_enter_is_not_counted() -> None:
    """CircuitOpen says when to come back, in whole seconds."""
    seen = Upstream(SETTINGS)
    seen.enter(0.0)
    seen.ended(ConnectFailed("x"), 0.0)
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
        seen.ended(UpstreamBusy("x", upstream_status=429, retry_after=asked), 0.0)
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
        seen.ended(error, 100.0)
        assert not upstreams.calm
        upstreams.settle(101.0)
        assert not upstreams.calm
    seen.enter(106.0)
    seen.ended(None, 106.0)
    upstreams.settle(108.0)
    assert not upstreams.calm  # it recovers
    upstreams.settle(111.0)

    assert upstreams.calm


def test_a_reload_keeps_what_is_known() -> None:
    """New settings hold from then on; without a breaker nothing is left alone."""
    upstreams = Upstreams()
    seen = upstreams.of("a", "m", SETTINGS)
    seen.enter(0.0)
    seen.ended(ConnectFailed("x"), 0.0)

    assert [("a", "m", "open")] == list(upstreams.states(1.0))
    assert upstreams.of("a", "m", BreakerSettings(failures=1, cool=1.0)) is seen
    assert [("a", "m", "half_open")] == list(upstreams.states(1.0))
    assert upstreams.of("a", "m", None).breaker is None and [] == list(upstreams.states(1.0))
