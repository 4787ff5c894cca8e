"""What is tried next, as a function of what has happened. No clock runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical import errors
from router.policy.retries import Attempt, GiveUp, RetryBudget, Row, Try, backoff, next_step
from router.table import PolicySettings, Refusal, Target

FAST = Target(provider="fast", model="a")
SPARE = Target(provider="spare", model="b")
THIRD = Target(provider="third", model="c")
POLICY = PolicySettings()


def failed(target: Target, error: errors.RouterError, *, sent: bool = True, committed: bool = False) -> Attempt:
    return Attempt(target=target, error=error, calls=int(sent), committed=committed)


def busy(retry_after: float | None = None) -> errors.RouterError:
    return errors.UpstreamBusy("busy", upstream_status=429, retry_after=retry_after)


def broken(retry_after: float | None = None) -> errors.RouterError:
    return errors.UpstreamFailed("broken", upstream_status=500, retry_after=retry_after)


def lost() -> errors.RouterError:
    return errors.ConnectionLost("lost")


def late() -> errors.RouterError:
    return errors.UpstreamTimeout("late")


def rejected() -> errors.RouterError:
    return errors.UpstreamRejected("no", upstream_status=400)


def too_long() -> errors.RouterError:
    return errors.ContextTooLong("too long", upstream_status=400)


def blocked() -> errors.RouterError:
    return errors.ContentBlocked("no", upstream_status=400)


def step(
    targets: Sequence[Target],
    history: Sequence[Attempt],
    *,
    policy: PolicySettings = POLICY,
    now: float = 1.0,
    dice: float = 0.5,
    rows: dict[str, Row] | None = None,
    budgets: dict[str, RetryBudget] | None = None,
) -> Try | GiveUp:
    return next_step(
        targets, history, policy, now=now, deadline=90.0, dice=lambda: dice, rows=rows or {}, budgets=budgets or {}
    )


def why(decision: Try | GiveUp) -> str:
    assert isinstance(decision, GiveUp), decision
    return decision.why


def test_the_first_target_is_called_first() -> None:
    """Without history the first target is called, at once."""

    assert Try(FAST) == step([FAST, SPARE], [])


def test_busy_target_is_left_for_the_next() -> None:
    """A 429 is retried elsewhere, at once, not on the target that said it."""
    history = [failed(FAST, busy(retry_after=30))]

    assert Try(SPARE, retry=True) == step([FAST, SPARE], history)


def test_busy_only_target_is_asked_again_after_its_retry_after() -> None:
    """With nowhere else to go a 429 waits as long as the upstream asked for."""

    assert Try(FAST, after=1.0, retry=True) == step([FAST], [failed(FAST, busy(retry_after=1.0))])


def test_a_long_retry_after_is_relayed() -> None:
    """More than ten seconds are not waited for: the caller is told at once."""

    assert "retry_after" == why(step([FAST], [failed(FAST, busy(retry_after=86400))]))


def test_a_5xx_is_tried_once_more_on_the_same_target_then_elsewhere() -> None:
    """Same, then elsewhere."""
    first = step([FAST, SPARE], [failed(FAST, broken())])
    second = step([FAST, SPARE], [failed(FAST, broken()), failed(FAST, broken())])

    assert isinstance(first, Try) and FAST == first.target and first.after > 0
    assert Try(SPARE, retry=True) == second


@pytest.mark.parametrize("retry_after", [1.0, 60.0])
def test_a_5xx_that_says_when_to_come_back_is_left_for_the_next(retry_after: float) -> None:
    """It is busy: as with a 429, nobody waits while another target is listed, nor is told to come back later."""
    assert Try(SPARE, retry=True) == step([FAST, SPARE], [failed(FAST, broken(retry_after))])
    assert "retry_after" == why(step([FAST], [failed(FAST, broken(60.0))]))


@pytest.mark.parametrize("is_late", [False, True])
def test_of_two_that_failed_side_by_side_the_one_that_may_be_asked_again_is(is_late: bool) -> None:
    """The other one wants a longer wait than is honoured, or no second call: whichever comes last in the history."""
    no = failed(FAST, late() if is_late else busy(60.0))
    for history in ([no, failed(SPARE, broken())], [failed(SPARE, broken()), no]):
        decision = step([FAST, SPARE], history)

        assert isinstance(decision, Try) and (SPARE, True) == (decision.target, decision.after > 0)


def test_a_lost_connection_goes_elsewhere_or_to_the_same() -> None:
    """A target that cannot be reached is left where another one is listed."""
    alone = step([FAST], [failed(FAST, lost())])

    assert Try(SPARE, retry=True) == step([FAST, SPARE], [failed(FAST, lost())])
    assert isinstance(alone, Try) and FAST == alone.target


def test_a_timeout_is_never_repeated_on_the_same_target() -> None:
    """A second wait would double the caller's time."""

    assert "no_target" == why(step([FAST], [failed(FAST, late())]))
    assert Try(SPARE, retry=True) == step([FAST, SPARE], [failed(FAST, late())])


def test_what_the_caller_must_change_is_not_tried_again() -> None:
    """An upstream's 400 is final, however many targets are listed."""

    assert "not_retryable" == why(step([FAST, SPARE], [failed(FAST, rejected())]))


def test_nothing_is_repeated_after_a_byte_went_out() -> None:
    """Committed means committed."""

    assert "committed" == why(step([FAST, SPARE], [failed(FAST, lost(), committed=True)]))


def test_a_target_that_was_passed_over_is_no_attempt() -> None:
    """A target that refuses a field before any call costs neither an attempt nor budget; the next is tried at once."""
    refusal = errors.UnsupportedParameter("no tools here", param="tools")

    assert Try(SPARE) == step([FAST, SPARE], [failed(FAST, refusal, sent=False)])


def test_the_last_answer_of_an_upstream_is_what_the_caller_hears() -> None:
    """When the remaining target was passed over, the upstream's own failure says more."""
    error = broken()
    refusal = errors.UnsupportedParameter("no tools here", param="tools")
    history = [failed(FAST, error), failed(FAST, error), failed(SPARE, refusal, sent=False)]
    decision = step([FAST, SPARE], history, policy=PolicySettings(attempts=2))

    assert GiveUp(error, "attempts") == decision


def test_a_target_that_was_passed_over_is_no_other_target() -> None:
    """What may pass at the one that was called is waited for as if it stood alone; once that is passed over, it is
    not."""
    rests = errors.CircuitOpen("it rests")
    for error, after in ((busy(2.0), 2.0), (lost(), 0.125), (broken(), 0.125)):
        history = [failed(FAST, error), failed(SPARE, rests, sent=False)]

        assert Try(FAST, after, retry=True) == step([FAST, SPARE], history)
        assert GiveUp(error, "no_target") == step([FAST, SPARE], [*history, failed(FAST, rests, sent=False)])
    assert "no_target" == why(step([FAST, SPARE], [failed(FAST, late()), failed(SPARE, rests, sent=False)]))
    assert "retry_after" == why(step([FAST, SPARE], [failed(FAST, busy(60.0)), failed(SPARE, rests, sent=False)]))


def test_a_row_may_narrow_what_is_repeated() -> None:
    """`retry_on` and `attempts` of a row hold for that row only."""
    rows = {"fast": Row(attempts=2, retry_on=frozenset({"503", "connection"}))}

    assert "no_target" == why(step([FAST], [failed(FAST, broken())], rows=rows))
    assert isinstance(step([FAST], [failed(FAST, lost())], rows=rows), Try)
    assert "no_target" == why(step([FAST], [failed(FAST, lost()), failed(FAST, lost())], rows=rows))


def test_a_connection_that_was_never_made_is_not_one_that_was_lost() -> None:
    """What was sent may have been done, and paid: a row may have only the other repeated."""
    rows = {"fast": Row(retry_on=frozenset({"connect"}))}

    assert isinstance(step([FAST], [failed(FAST, errors.ConnectFailed("no"))], rows=rows), Try)
    assert "no_target" == why(step([FAST], [failed(FAST, lost())], rows=rows))


def test_the_deadline_bounds_the_waits() -> None:
    """A wait that would end past the deadline is not begun."""

    assert "deadline" == why(step([FAST], [failed(FAST, busy(retry_after=5.0))], now=86.0))


def test_a_budget_bounds_the_retries_of_an_upstream() -> None:
    """At least ten retries in ten seconds, and a fifth of the calls beyond that."""
    budget = RetryBudget(0.2)
    for _ in range(10):
        assert budget.allow(0.0)
        budget.note_retry(0.0)

    assert not budget.allow(0.0)
    assert "budget" == why(step([FAST], [failed(FAST, lost())], now=0.0, budgets={"fast": budget}))
    for _ in range(100):
        budget.note_call(0.0)
    assert budget.allow(0.0)
    assert RetryBudget(0.2).allow(0.0) and budget.allow(10.1)


@given(failures=st.integers(1, 40), dice=st.floats(0, 0.999))
def test_backoff_is_full_jitter_below_a_doubling_ceiling(failures: int, dice: float) -> None:
    """Anything from nothing to 250 ms, 500 ms, … and never more than 8 s."""
    wait = backoff(POLICY, failures, lambda: dice)

    assert 0 <= wait <= min(8.0, 0.25 * 2 ** (failures - 1))


def test_a_context_that_is_too_long_goes_to_another_model() -> None:
    """At once, as an attempt like any other; the same model elsewhere, or with another key, has the same limit."""
    same = Target(provider="other", model="a")
    keyed = Target(provider="fast", model="a", secret="env:B")
    history = [failed(FAST, too_long())]

    assert Try(SPARE, retry=True) == step([FAST, keyed, same, SPARE], history)
    assert "no_target" == why(step([FAST, keyed, same], history))


def test_of_known_contexts_only_a_larger_one_is_tried() -> None:
    """Numbers decide where both targets have them: also between targets of one model."""
    first, small, large, unknown = (
        Target(provider=name, model=name, context=context)
        for name, context in (("first", 8000), ("small", 4000), ("large", 32000), ("unknown", None))
    )
    history = [failed(first, too_long())]

    assert Try(large, retry=True) == step([first, small, large], history)
    assert Try(unknown, retry=True) == step([first, small, unknown], history)
    assert "no_target" == why(step([first, small], history))
    assert "no_target" == why(step([first, unknown, small], [*history, failed(unknown, too_long())]))


def test_a_content_filter_is_another_targets_business_only_where_the_policy_says_so() -> None:
    """Else it is final, as every other refusal; the same target is never asked twice, another key of it neither."""
    policy = PolicySettings(fallback_on=frozenset({"content_filter"}))
    keyed = Target(provider="fast", model="a", secret="env:B")
    history = [failed(FAST, blocked())]

    assert "not_retryable" == why(step([FAST, SPARE], history))
    assert Try(SPARE, retry=True) == step([FAST, keyed, SPARE], history, policy=policy)
    assert "not_retryable" == why(step([FAST, SPARE], [failed(FAST, too_long())], policy=policy))


@pytest.mark.parametrize("code", [400, 401, 402, 403])
def test_a_refused_key_is_dead_for_the_call(code: int) -> None:
    """Of a row with several keys, whatever model it would be tried for next; the other keys are not."""
    a, b = (Target(provider="fast", model="a", secret=key) for key in ("env:A", "env:B"))
    other = Target(provider="fast", model="other", secret="env:A")
    denied = errors.UpstreamDenied("no", upstream_status=code)

    assert Try(b, retry=True) == step([a, other, b, SPARE], [failed(a, denied)])
    assert Try(SPARE, retry=True) == step([a, b, other, SPARE], [failed(a, denied), failed(b, denied)])


@pytest.mark.parametrize(("code", "expected"), [(401, SPARE), (402, SPARE), (403, Target(provider="fast", model="z"))])
def test_the_one_key_of_a_row_may_be_good_for_another_model(code: int, expected: Target) -> None:
    """403 may mean the model alone; a key that is wrong, or an account that is empty, is so for all."""
    denied = errors.UpstreamDenied("no", upstream_status=code)
    decision = step([FAST, Target(provider="fast", model="z"), SPARE], [failed(FAST, denied)])

    assert Try(expected, retry=True) == decision


def test_the_first_refusal_is_told_when_nobody_could_take_the_call() -> None:
    """It says what the caller can do about it; what befell the others does not."""
    error = too_long()
    for other in (too_long(), late(), rejected(), busy(retry_after=60)):
        decision = step([FAST, SPARE], [failed(FAST, error), failed(SPARE, other)])

        assert isinstance(decision, GiveUp) and error is decision.error


def test_a_refusal_after_the_first_byte_is_final() -> None:
    """Committed means committed, and what broke the stream is what its caller hears."""
    error = lost()
    decision = step([FAST, SPARE], [failed(FAST, too_long()), failed(SPARE, error, committed=True)])

    assert GiveUp(error, "committed") == decision
    assert "committed" == why(step([FAST, SPARE], [failed(FAST, too_long(), committed=True)]))


ERRORS = st.sampled_from([busy, broken, lost, late, rejected, too_long, blocked])


@given(
    kinds=st.lists(ERRORS, min_size=1, max_size=12),
    attempts=st.integers(1, 6),
    targets=st.lists(st.sampled_from([FAST, SPARE, THIRD]), min_size=1, max_size=3, unique=True),
    dice=st.floats(0, 0.999),
    fallback_on=st.frozensets(st.sampled_from(get_args(Refusal))),
)
def test_never_more_attempts_than_allowed_nor_past_the_deadline(
    kinds: list[type], attempts: int, targets: list[Target], dice: float, fallback_on: frozenset[Refusal]
) -> None:
    """Whatever fails in whatever order: at most `attempts` calls, all begun before the deadline."""
    policy = PolicySettings(attempts=attempts, fallback_on=fallback_on)
    history: list[Attempt] = []
    now, calls = 0.0, 0
    decision = step(targets, history, policy=policy, now=now, dice=dice)
    for kind in kinds:
        if isinstance(decision, GiveUp):
            break
        now += decision.after
        calls += 1
        assert now < 90.0
        history.append(failed(decision.target, kind()))
        decision = step(targets, history, policy=policy, now=now, dice=dice)

    assert calls <= attempts


@given(
    kinds=st.lists(ERRORS, min_size=1, max_size=8),
    targets=st.lists(st.sampled_from([FAST, SPARE, THIRD]), min_size=1, max_size=3, unique=True),
    dice=st.floats(0, 0.999),
    fallback_on=st.frozensets(st.sampled_from(get_args(Refusal))),
)
def test_never_after_commit(
    kinds: list[type], targets: list[Target], dice: float, fallback_on: frozenset[Refusal]
) -> None:
    """Whatever has failed, however: once a byte has gone out, what broke then is what its caller hears."""
    policy = PolicySettings(attempts=20, fallback_on=fallback_on)
    history = [failed(targets[number % len(targets)], kind()) for number, kind in enumerate(kinds)]
    last = msgspec.structs.replace(history[-1], committed=True)

    assert GiveUp(last.error, "committed") == step(targets, [*history[:-1], last], policy=policy, dice=dice)


@given(
    calls=st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300),
    share=st.floats(0, 1),
)
def test_a_budget_is_a_share_of_the_calls_and_never_less_than_ten(
    calls: list[tuple[float, bool]], share: float
) -> None:
    """In any ten seconds; and as soon as those are over there is room again."""
    budget, now = RetryBudget(share), 0.0
    made: list[float] = []
    retried: list[float] = []
    for wait, wants in calls:
        now += wait
        made.append(now)
        budget.note_call(now)
        recent_calls, recent = (sum(at > now - 10.0 for at in times) for times in (made, retried))
        allowed = budget.allow(now)
        assert (recent < max(10, share * recent_calls)) == allowed
        if wants and allowed:
            retried.append(now)
            budget.note_retry(now)

    assert budget.allow(now + 10.0)


@pytest.mark.parametrize("kind", [busy, broken, lost, late, rejected, too_long])
def test_one_attempt_means_one(kind: type) -> None:
    """With attempts: 1 nothing is ever tried again."""

    assert isinstance(step([FAST, SPARE], [failed(FAST, kind())], policy=PolicySettings(attempts=1)), GiveUp)
