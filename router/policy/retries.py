"""Given what has happened, what next? A value in, a value out.

The order of things for one exchange (the project's reliability requirements, sections 1 and 2):

  * nothing is repeated once a byte has gone to the caller, and never more than `attempts` times in all;
  * what another upstream may do better (busy, denied, timed out, unusable) goes to the next target at once;
  * what may pass (lost connections, 5xx) goes to another target if there is one that has not been tried, else to
    the same after a wait: full jitter, doubling from `wait_first` up to `wait_most`, or what Retry-After says;
  * a 5xx is tried once more on the same target before the next one is taken, unless it says when (Retry-After);
  * a key that has been refused is not tried again, for another model of its row neither;
  * a refusal that another model may not make (`fallback_on`: the context is too long, a content filter) goes to the
    next target that can take the call; where none does, the caller hears the first refusal;
  * a Retry-After of more than 10 s, or one past the deadline, is relayed instead of waited for, unless another target
    that has been tried may be asked again;
  * retries of one upstream are at most a share of its recent calls (`RetryBudget`).

Waits come from tenacity (`wait_exponential` stands alone); the loop is ours, because targets, budgets and the commit
point are not its concepts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import msgspec
from tenacity import wait_exponential

from providers.canonical.errors import (
    ContentBlocked,
    ContextTooLong,
    RouterError,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
)
from router.table import PolicySettings, Refusal, Target

LONGEST_RETRY_AFTER = 10.0
BUDGET_WINDOW = 10.0
BUDGET_FLOOR = 10

REFUSALS: Mapping[Refusal, type[RouterError]] = {"context_too_long": ContextTooLong, "content_filter": ContentBlocked}

Denied: TypeAlias = Literal["attempts", "committed", "not_retryable", "deadline", "retry_after", "budget", "no_target"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of one target, and how it came out. `calls`: how many were made of it; 0: it was passed over before any,
    2: it was asked for a better answer as well."""

    target: Target
    error: RouterError
    calls: int = 1
    committed: bool = False  # a byte has reached the caller

    @property
    def sent(self) -> bool:
        return self.calls > 0


class Try(msgspec.Struct, frozen=True):
    """Call `target`, after `after` seconds. `retry`: it is a further attempt, and counts against a budget."""

    target: Target
    after: float = 0.0
    retry: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """Give the caller `error`. `why` is a closed set, for metrics."""

    error: RouterError
    why: Denied


Decision: TypeAlias = Try | GiveUp


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's row narrows the policy."""

    attempts: int | None = None
    retry_on: frozenset[str] | None = None


class RetryBudget:
    """Retries of one upstream as a share of its calls in the last 10 s, and at least 10 always. Times are passed in."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def note_call(self, now: float) -> None:
        self._calls.append(now)
        if len(self._calls) > 64:
            _forget(self._calls, now)

    def allow(self, now: float) -> bool:
        """May one more retry be made now?"""
        _forget(self._calls, now)
        _forget(self._retries, now)
        return len(self._retries) < max(BUDGET_FLOOR, self.share * len(self._calls))

    def note_retry(self, now: float) -> None:
        self._retries.append(now)


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - BUDGET_WINDOW:
        times.popleft()


class _Attempts(NamedTuple):
    """What tenacity's waits look at."""

    attempt_number: int


def backoff(settings: PolicySettings, failures: int, dice: Callable[[], float]) -> float:
    """Full jitter: anything between 0 and the exponential ceiling after so many failures. `dice` gives 0 ≤ x < 1."""
    ceiling = wait_exponential(multiplier=settings.wait_first, max=settings.wait_most)
    return dice() * float(ceiling(cast(Any, _Attempts(max(1, failures)))))


def next_step(
    targets: Sequence[Target],
    history: Sequence[Attempt],
    settings: PolicySettings,
    *,
    now: float,
    deadline: float,
    dice: Callable[[], float],
    rows: Mapping[str, Row],
    budgets: Mapping[str, RetryBudget],
) -> Decision:
    """The next thing to do. `targets` in order of preference; `deadline` is the end of `within`."""
    if not history:
        return Try(targets[0])
    last = history[-1]
    sent = [attempt for attempt in history if attempt.sent]
    calls = sum(attempt.calls for attempt in history)
    refusals = [attempt for attempt in history if is_refusal(attempt.error, settings)]
    told = last.error if last.committed else _worth_telling(history, refusals)
    stop = _must_stop(last, calls, settings)
    if stop is not None:
        return GiveUp(told, stop)
    if sent and not last.sent and all(attempt.sent for attempt in history if attempt.target == sent[-1].target):
        last = sent[-1]  # who was passed over since then is no other target for this call
    denied: list[Denied] = []
    for attempt in _latest(last, sent):
        step = _where(targets, history, attempt, refusals, rows)
        wait = None if step is None else _how_long(step, attempt, sent, settings, dice)
        if step is not None and wait is not None:
            break
        denied.append("no_target" if step is None else "retry_after")
    else:
        return GiveUp(told, denied[0])
    if now + wait >= deadline:
        return GiveUp(told, "deadline")
    retry = bool(sent)
    budget = budgets.get(step.provider)
    if retry and budget is not None and not budget.allow(now):
        return GiveUp(told, "budget")
    return Try(step, wait, retry)


def _latest(last: Attempt, sent: Sequence[Attempt]) -> Iterator[Attempt]:
    """From where the call may go on: the last attempt, then the latest one of each other target. Of two that failed
    side by side the one that may be asked again need not be the last."""
    seen: list[Target] = []
    for attempt in (last, *reversed(sent)):
        if attempt.target not in seen:
            seen.append(attempt.target)
            yield attempt


def _must_stop(last: Attempt, calls: int, settings: PolicySettings) -> Denied | None:
    if last.committed:
        return "committed"
    if last.error.retry == "never" and not is_refusal(last.error, settings):
        return "not_retryable"
    if calls >= settings.attempts:
        return "attempts"
    return None


def is_refusal(error: RouterError, settings: PolicySettings) -> bool:
    """Is it a refusal that the policy has taken to another model?"""
    return any(isinstance(error, REFUSALS[word]) for word in settings.fallback_on)


def can_take(target: Target, refusal: Attempt) -> bool:
    """May a target take what another one has refused? Of contexts the larger one, where both are known; else any
    other model."""
    refused = refusal.target
    if isinstance(refusal.error, ContextTooLong):
        if target.context is not None and refused.context is not None:
            return target.context > refused.context
        return target.model != refused.model
    return (target.provider, target.model) != (refused.provider, refused.model)


def _key(attempt: Attempt) -> tuple[str, str | None] | None:
    """Whose key has been refused, whatever it was asked for. None where it may be good for another model: a 403 of a
    row with one key may mean the model."""
    target, error = attempt.target, attempt.error
    about_model = target.secret is None and isinstance(error, UpstreamError) and error.upstream_status == 403
    return None if about_model else (target.provider, target.secret)


def _worth_telling(history: Sequence[Attempt], refusals: Sequence[Attempt]) -> RouterError:
    """A refusal that nobody took says what the caller can do. The last answer of an upstream says more than a target
    that was passed over."""
    if refusals:
        return refusals[0].error
    sent = [attempt for attempt in history if attempt.sent]
    return (sent or history)[-1].error


def _where(
    targets: Sequence[Target],
    history: Sequence[Attempt],
    last: Attempt,
    refusals: Sequence[Attempt],
    rows: Mapping[str, Row],
) -> Target | None:
    """The same target again, another one, or none."""
    tried = [attempt.target for attempt in history]
    dead = {_key(attempt) for attempt in history if isinstance(attempt.error, UpstreamDenied)} - {None}
    left = (one for one in targets if one not in tried and (one.provider, one.secret) not in dead)
    fresh = next((target for target in left if all(can_take(target, refusal) for refusal in refusals)), None)
    row = rows.get(last.target.provider, Row())
    times = sum(max(1, attempt.calls) for attempt in history if attempt.target == last.target)
    again = _may_repeat(last.error) and last.sent and _row_allows(row, last.error)
    if row.attempts is not None and times >= row.attempts:
        again = False
    if fresh is None:
        return last.target if again else None
    first_5xx = isinstance(last.error, UpstreamFailed) and times == 1 and last.error.retry_after is None
    return last.target if again and first_5xx else fresh


def _may_repeat(error: RouterError) -> bool:
    """May the same target be asked again? A second wait for a slow one would double the caller's time."""
    return error.retry == "same" or (isinstance(error, UpstreamError) and error.status == 429)


def _row_allows(row: Row, error: RouterError) -> bool:
    if row.retry_on is None:
        return True
    words = {error.kind, error.code}
    if isinstance(error, UpstreamError):
        words.add(str(error.upstream_status))
    return bool(words & row.retry_on)


def _how_long(
    step: Target, last: Attempt, sent: Sequence[Attempt], settings: PolicySettings, dice: Callable[[], float]
) -> float | None:
    """Seconds to wait before `step`; None when the upstream asks for more than we honour."""
    if step != last.target or not last.sent:
        return 0.0
    asked = last.error.retry_after
    if asked is not None:
        return asked if asked <= LONGEST_RETRY_AFTER else None
    return backoff(settings, len(sent), dice)
