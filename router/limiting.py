"""What a call takes of its key's limits: set aside before anything is sent upstream, made good at its end.

A call that is let through counts as one request, however it ends. Tokens are set aside by rule of thumb: the input, and
the output that the caller allows for where it says so. At the end what the upstream counted takes their place: input,
what was read from a cache included, and output. Nothing counts where the upstream said no or was not reached. Where one
may have worked and nobody said how much (the caller left, a stream broke off, the upstream does not count), the
estimate stands, or the chunks that were seen if they are more. An attempt that was cut off because another one answered
first is counted by estimate besides that one: its input, and of a whole answer the output, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from providers.canonical.chat import ChatRequest, Usage
from providers.canonical.count import CHARACTERS_PER_TOKEN, USUAL_OUTPUT, estimate_inputs, foreseen
from providers.canonical.embeddings import EmbeddingsRequest
from providers.canonical.errors import (
    CallerError,
    ConnectFailed,
    EgressDenied,
    LimitExceeded,
    UpstreamError,
    tree,
)
from providers.dialect import Asked
from router.policy.quota import Account, Full, Taken
from router.record import OUTPACED, AttemptRecord, Record
from router.settings import Unit

Understand: TypeAlias = Callable[[Asked], ChatRequest | EmbeddingsRequest]

_WEIGHED = frozenset({"chat", "embeddings"})  # operations that use tokens


class Weight(NamedTuple):
    """About how many tokens a call is. `output` 0: it does not say."""

    input: int = 0
    output: int = 0


class Charge:
    """One call's."""

    __slots__ = ("_account", "_clock", "_taken", "_weight")

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._taken: Mapping[Unit, Taken] = {}
        self._weight = Weight()

    def set_aside(self, asked: Asked, operation: str, understand: Understand) -> None:
        """LimitExceeded where there is no room."""
        self._take({"requests": 1, **self._amounts(asked, operation, understand)})

    def count(self) -> None:
        """The request alone, of a call that may need no other. LimitExceeded."""
        self._take({"requests": 1})

    def weigh_in(self, asked: Asked, operation: str, understand: Understand) -> None:
        """The rest of a request that has been counted. LimitExceeded."""
        self._take(self._amounts(asked, operation, understand))

    def _amounts(self, asked: Asked, operation: str, understand: Understand) -> dict[Unit, float]:
        """What the call takes besides its place among the requests."""
        if operation not in _WEIGHED or "tokens" not in self._account.limits:
            return {}
        self._weight = weigh(asked, understand)
        return {"tokens": sum(self._weight)}

    def _take(self, amounts: Mapping[Unit, float]) -> None:
        taken = self._account.take(amounts, self._clock())
        if isinstance(taken, Full):
            limit = self._account.limits[taken.unit]
            message = f"this key's limit is reached: {limit} {taken.unit} a minute"
            raise LimitExceeded(message, retry_after=taken.wait, reason=taken.unit)
        self._taken = {**self._taken, **taken}

    def settle(self, record: Record) -> None:
        """The call is over, however it came out."""
        tokens = self._taken.get("tokens")
        if tokens is not None:
            tokens.settle(used(record, self._weight, tokens.amount), self._clock())

    def headers(self) -> dict[str, str]:
        """What is left, as OpenAI tells it: numbers, and the time until all of it is there again (`6m0s`)."""
        now, told = self._clock(), {}
        for unit, window in self._account.windows.items():
            told[f"x-ratelimit-limit-{unit}"] = str(window.limit)
            told[f"x-ratelimit-remaining-{unit}"] = str(math.floor(window.left(now)))
            told[f"x-ratelimit-reset-{unit}"] = span(window.reset(now))
        return told


def likely(asked: Asked, understand: Understand, usual: int = USUAL_OUTPUT) -> dict[str, int]:
    """About how many tokens a call takes, by kind: by rule of thumb, by its length where only the upstream understands
    it. `usual`: of an answer for which the caller names no most."""
    try:
        meant = understand(asked)
    except CallerError:
        return {"input": -(-len(asked.wire.body) // CHARACTERS_PER_TOKEN), "output": usual}
    return {"input": estimate_inputs(meant)} if isinstance(meant, EmbeddingsRequest) else foreseen(meant, usual)


def weigh(asked: Asked, understand: Understand) -> Weight:
    """What is set aside. A caller that does not say how much it may be answered has that counted at the end."""
    counts = likely(asked, understand, usual=0)
    return Weight(counts["input"], counts.get("output", 0))


def used(record: Record, weight: Weight, taken: float) -> float:
    """How many tokens a call that is over counts. `taken`: what was set aside for it."""
    if not any(map(may_have_used, record.attempts)):
        return 0
    outpaced = sum(attempt.error == OUTPACED for attempt in record.attempts)
    beside = outpaced * (weight.input if record.stream else sum(weight))
    said = None if record.usage is None else _total(record.usage, weight)
    if said is not None and (record.outcome == "ok" or _went_on(record)):
        return said + beside
    seen = sum(attempt.chunks + (attempt.first_chunk is not None) for attempt in record.attempts)
    return max(taken, weight.input + seen, said or 0) + beside


def _went_on(record: Record) -> bool:
    """Did the call come to its end for others, after its caller had left?"""
    return record.outcome == "client_left" and record.attempts[-1].error is None


def may_have_used(attempt: AttemptRecord) -> bool:
    """Not if the upstream said no, or was not reached."""
    return attempt.error not in _USED_NOTHING or attempt.first_chunk is not None


_USED_NOTHING = frozenset(error.kind for error in (*tree(UpstreamError), *tree(ConnectFailed), *tree(EgressDenied)))


def _total(usage: Usage, weight: Weight) -> int | None:
    """Input and output, or their sum; an input that was not told is as long as it was taken for. None where the
    upstream said none of them."""
    asked, answered, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if total is not None and (asked is None or answered is None):
        return max(0, total, asked or 0, answered or 0)
    if asked is None and answered is None:
        return None
    return max(0, weight.input if asked is None else asked) + max(0, answered or 0)


def span(seconds: float) -> str:
    """`0s`, `59s`, `6m0s`, `1h0m0s`: whole seconds, rounded up."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
