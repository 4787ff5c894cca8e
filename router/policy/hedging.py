"""When does a second attempt begin before the first has failed, and where? Pure: times are passed in, in seconds.

The first has given nothing yet after the time that the policy names, or after that which 19 of 20 answers of its target
need. Then the next target is asked as well; whoever answers first is heard, the other one is cut off. What was sent
twice may be paid twice, so a second attempt

  * counts as any other: never more than `attempts` in all, within the retry budget of its upstream and the deadline;
  * goes to a target that has not been tried, is well and has a place free: it does not wait, nor try its luck;
  * is never made from or to a row that has calls repeated only after certain failures, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from router.policy.retries import Attempt, RetryBudget, Row, can_take, is_refusal
from router.table import PolicySettings, Target

_PLAIN = Row()


def patience(settings: PolicySettings, p95: float | None) -> float | None:
    """For how many seconds the first is waited for; None: until it is over. `p95`: of its target, None where too few
    calls tell of it."""
    if settings.hedge is None:
        return None
    return settings.hedge.after if settings.hedge.after is not None else p95


def second(
    targets: Sequence[Target],
    history: Sequence[Attempt],
    first: Target,
    settings: PolicySettings,
    *,
    calls: int = 1,
    now: float,
    deadline: float,
    rows: Mapping[str, Row],
    budgets: Mapping[str, RetryBudget],
    ready: Callable[[Target], bool],
) -> Target | None:
    """Where, if anywhere. `first` is under way, with so many `calls`, `history` what has failed before it; `ready`: is
    it well and free?"""
    made = calls + sum(attempt.calls for attempt in history)
    if made >= settings.attempts or now >= deadline or _is_narrowed(rows, first):
        return None
    tried = [first, *(attempt.target for attempt in history)]
    refusals = [attempt for attempt in history if is_refusal(attempt.error, settings)]
    for target in targets:
        if target in tried or _is_narrowed(rows, target) or not ready(target):
            continue
        if all(can_take(target, refusal) for refusal in refusals):
            budget = budgets.get(target.provider)
            return target if budget is None or budget.allow(now) else None
    return None


def _is_narrowed(rows: Mapping[str, Row], target: Target) -> bool:
    """Does a row keep calls from being repeated that have only not been answered yet?"""
    row = rows.get(target.provider, _PLAIN)
    return row.attempts == 1 or (row.retry_on is not None and "timeout" not in row.retry_on)
