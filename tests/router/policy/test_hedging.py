"""A second attempt before the first has failed, as a function of what is known. No clock runs here."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from providers.canonical import errors
from router.policy.hedging import patience, second
from router.policy.retries import Attempt, GiveUp, RetryBudget, Row, next_step
from router.table import HedgeSettings, PolicySettings, Target

FAST = Target(provider="fast", model="a")
KEYED = Target(provider="fast", model="a", secret="env:B")
SPARE = Target(provider="spare", model="b")
THIRD = Target(provider="third", model="c")
POLICY = PolicySettings(hedge=HedgeSettings(after=0.8))


def failed(target: Target, error: errors.RouterError | None = None, *, sent: bool = True) -> Attempt:
    return Attempt(target=target, error=error or errors.ConnectionLost("lost"), calls=int(sent))


def where(
    targets: Sequence[Target] = (FAST, SPARE),
    history: Sequence[Attempt] = (),
    *,
    first: Target = FAST,
    policy: PolicySettings = POLICY,
    now: float = 1.0,
    rows: dict[str, Row] | None = None,
    budgets: dict[str, RetryBudget] | None = None,
    ready: Sequence[Target] = (FAST, KEYED, SPARE, THIRD),
) -> Target | None:
    return second(
        targets,
        history,
        first,
        policy,
        now=now,
        deadline=90.0,
        rows=rows or {},
        budgets=budgets or {},
        ready=lambda target: target in ready,
    )


def test_the_first_is_waited_for_as_long_as_the_policy_names() -> None:
    """Without a word of it until it is over."""
    assert (0.8, None) == (patience(POLICY, 0.5), patience(PolicySettings(), 0.5))


def test_the_p95_of_its_target_is_waited_for_where_that_is_known() -> None:
    """Too few calls make no p95, and then there is no second attempt."""
    policy = PolicySettings(hedge=HedgeSettings())

    assert (0.5, None) == (patience(policy, 0.5), patience(policy, None))


def test_the_next_target_is_asked_never_the_same() -> None:
    """Another key of a row is another target; one that has failed before is none."""
    assert SPARE == where()
    assert KEYED == where([FAST, KEYED, SPARE])
    assert None is where([FAST])
    assert THIRD == where([FAST, SPARE, THIRD], [failed(FAST)], first=SPARE)
    assert None is where([FAST, SPARE], [failed(FAST)], first=SPARE)


def test_who_is_not_well_or_has_no_place_is_not_asked() -> None:
    """A second attempt does not wait, and does not find out whether somebody works again."""
    assert THIRD == where([FAST, SPARE, THIRD], ready=[THIRD])
    assert None is where(ready=[])


def test_it_counts_as_an_attempt() -> None:
    """Together with what has failed and what is under way."""
    two = PolicySettings(attempts=2, hedge=HedgeSettings(after=0.8))
    refusal = errors.UnsupportedParameter("no tools here", param="tools")

    assert None is where(policy=PolicySettings(attempts=1, hedge=HedgeSettings(after=0.8)))
    assert SPARE == where(policy=two)
    assert None is where([FAST, SPARE, THIRD], [failed(FAST)], first=SPARE, policy=two)
    assert THIRD == where([FAST, SPARE, THIRD], [failed(FAST, refusal, sent=False)], first=SPARE, policy=two)


def test_a_budget_bounds_it() -> None:
    """As it bounds retries, of the upstream that would be asked."""
    budget = RetryBudget(0.0)
    for _ in range(10):
        assert SPARE == where(budgets={"spare": budget})
        budget.note_retry(1.0)

    assert None is where(budgets={"spare": budget})
    assert SPARE == where(budgets={"fast": budget})


def test_rows_that_are_not_to_be_asked_twice_are_not() -> None:
    """Neither the one that is under way, whose call may have been done and paid, nor the other."""
    for row in (Row(attempts=1), Row(retry_on=frozenset({"429", "connect"}))):
        assert None is where(rows={"fast": row})
        assert THIRD == where([FAST, SPARE, THIRD], rows={"spare": row})
    for row in (Row(attempts=2), Row(retry_on=frozenset({"timeout"}))):
        assert SPARE == where(rows={"fast": row, "spare": row})


def test_what_was_refused_before_is_not_asked_of_the_same_kind() -> None:
    """A call too long for one model is not sent to a second target of it."""
    same = Target(provider="other", model="a")
    history = [failed(FAST, errors.ContextTooLong("x", upstream_status=400))]

    assert THIRD == where([FAST, SPARE, same, THIRD], history, first=SPARE, ready=[same, THIRD])


def test_nothing_begins_after_the_deadline() -> None:
    """However little has been tried."""
    assert None is where(now=90.0)


# ── the whole policy, in a made-up world ───────────────────────────────────────────────

TARGETS = [FAST, KEYED, SPARE, THIRD]
ENDS = st.sampled_from(["answer", "busy", "broken", "lost", "late", "rejected", "too_long"])
CALLS = st.lists(st.tuples(st.floats(0.01, 40.0), ENDS), min_size=12, max_size=12)


def error(kind: str) -> errors.RouterError:
    if kind == "lost":
        return errors.ConnectionLost("x")
    if kind == "late":
        return errors.UpstreamTimeout("x")
    kinds = {"busy": errors.UpstreamBusy, "broken": errors.UpstreamFailed, "rejected": errors.UpstreamRejected}
    return kinds.get(kind, errors.ContextTooLong)("x", upstream_status=500)


class World:
    """One exchange as it is lived: calls that take their time, a clock that jumps from one event to the next."""

    def __init__(self, policy: PolicySettings, targets: list[Target], calls: list[tuple[float, str]]) -> None:
        self.policy, self.targets, self.calls = policy, targets, iter(calls)
        self.now = 0.0
        self.deadline = policy.within
        self.begun: list[tuple[float, Target]] = []
        self.most_at_once = 0
        self.committed: Target | None = None
        self.budgets = {target.provider: RetryBudget(0.0) for target in targets}
        self.retries = 0

    def live(self) -> None:
        history: list[Attempt] = []
        while self.committed is None:
            step = next_step(
                self.targets,
                history,
                self.policy,
                now=self.now,
                deadline=self.deadline,
                dice=lambda: 0.5,
                rows={},
                budgets=self.budgets,
            )
            if isinstance(step, GiveUp):
                return
            self.now += step.after
            if step.retry:
                self._spend(step.target)
            history += self._attempt(step.target, history)

    def _spend(self, target: Target) -> None:
        self.budgets[target.provider].note_retry(self.now)
        self.retries += 1

    def _attempt(self, target: Target, history: list[Attempt]) -> list[Attempt]:
        """One call, and a second one while it has not begun to answer. Gives what failed."""
        order = count()
        open_calls = [(*self._call(target), next(order), target)]
        after = patience(self.policy, None)
        hedged_at = None if after is None else self.now + after
        failures: list[Attempt] = []
        while open_calls:
            self.most_at_once = max(self.most_at_once, len(open_calls))
            assert len(open_calls) == len({(who.provider, who.model, who.secret) for *_, who in open_calls})
            if hedged_at is not None and not failures and hedged_at < open_calls[0][0]:
                self.now, hedged_at = hedged_at, None
                other = second(
                    self.targets,
                    history,
                    target,
                    self.policy,
                    now=self.now,
                    deadline=self.deadline,
                    rows={},
                    budgets=self.budgets,
                    ready=lambda _: True,
                )
                if other is not None:
                    self._spend(other)
                    heapq.heappush(open_calls, (*self._call(other), next(order), other))
                continue
            self.now, kind, _, who = heapq.heappop(open_calls)
            if self.now < self.deadline and kind == "answer":
                self.committed = who
                return failures
            failures.append(failed(who, error("late" if self.now >= self.deadline else kind)))
        return failures

    def _call(self, target: Target) -> tuple[float, str]:
        self.begun.append((self.now, target))
        takes, kind = next(self.calls)
        return min(self.now + takes, self.deadline), kind


@given(
    calls=CALLS,
    attempts=st.integers(1, 6),
    within=st.floats(0.5, 90.0),
    after=st.none() | st.floats(0.01, 30.0),
    targets=st.lists(st.sampled_from(TARGETS), min_size=1, unique=True),
    spent=st.integers(0, 12),
)
def test_whatever_happens_the_bounds_hold(
    calls: list[tuple[float, str]],
    attempts: int,
    within: float,
    after: float | None,
    targets: list[Target],
    spent: int,
) -> None:
    """Never more attempts than allowed, hedges included, never one that begins past the deadline, never more
    than two at once, never the same target twice at once, and never more retries than the budgets allow."""
    hedge = None if after is None else HedgeSettings(after=after)
    world = World(PolicySettings(attempts=attempts, within=within, hedge=hedge), targets, calls)
    for budget in world.budgets.values():
        for _ in range(spent):
            budget.note_retry(0.0)
    world.live()

    assert 1 <= len(world.begun) <= attempts
    assert all(at < within for at, _ in world.begun)
    assert world.most_at_once <= (1 if hedge is None else 2)
    if within <= 10.0:  # of budgets only the last ten seconds count
        assert world.retries <= len(world.budgets) * max(0, 10 - spent)
