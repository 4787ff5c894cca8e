"""What happened in one exchange, collected while it runs and handed to metrics and log once, at its end."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.loss import Loss
from providers.canonical.prices import Price, total

Outcome: TypeAlias = Literal["ok", "rejected", "upstream_error", "timeout", "shed", "client_left", "bug"]
Priority: TypeAlias = Literal["normal", "nice"]
#: How a wait for a place ended: with one, refused because too many waited, too late, or its caller left.
Waited: TypeAlias = Literal["served", "full", "late", "left"]
#: Of a route that keeps answers: from there, asked anew, or a call that has nothing to do with it.
Cached: TypeAlias = Literal["hit", "miss", "bypass"]
StreamEnd: TypeAlias = Literal["done", "upstream_error", "idle", "client_left", "drain", "limit"]


#: How a second attempt came out: its answer was given, the first one's was, or it failed before that.
Hedged: TypeAlias = Literal["won", "lost", "failed"]
#: `AttemptRecord.error` of an attempt that was cut off because another one answered first.
OUTPACED = "outpaced"


class AttemptRecord(msgspec.Struct, kw_only=True):
    """One call of one target. Times are seconds of a monotonic clock."""

    provider: str  # a configured name, or "unlisted"
    model: str  # a configured name, or "other"
    operation: str  # "chat", "embeddings", "count_tokens"
    started: float
    ended: float = 0.0
    first_chunk: float | None = None  # when the first content of a stream came
    chunks: int = 0  # content chunks after the first
    last_chunk: float | None = None
    status: int | None = None  # the upstream's
    error: str | None = None  # RouterError.kind; None: it went well
    waited: float = 0.0  # before it
    hedge: bool = False  # begun while another one was under way
    credits: float | None = None  # what it cost, in the upstream's own unit
    price: Price | None = None  # of its target, once it has answered; None: not known, or nobody's whom we serve
    usage: Usage | None = None  # what it used itself, where it has a price

    def cost(self) -> Decimal | None:
        """US dollars; None where they are not known."""
        if self.price is None or self.operation == "count_tokens":
            return None
        # Of what failed later what it told counts; embeddings have no output.
        whole = self.error is None and self.operation != "embeddings"
        return self.price.cost(self.usage, whole=whole)


class Record(msgspec.Struct, kw_only=True):
    """One exchange. `phases` are seconds by name, in order; they sum to the time until the answer's head went out."""

    id: str
    method: str
    path: str  # redacted
    started: float
    route: str = "none"
    caller_dialect: str = "none"
    key: str | None = None  # name of a configured key; None: JWT, open gateway, or not verified
    operation: str = "chat"
    provider: str = "none"
    model: str = "other"  # of the last attempt, as a label: configured or "other"
    upstream_model: str | None = None  # as sent
    lane: str = "none"
    stream: bool = False
    cache: Cached | None = None  # None: the route keeps no answers
    attempts: list[AttemptRecord] = []
    queued: list[tuple[str, Priority, Waited]] = []  # waits for a place: of which provider, and how they ended
    hedges: list[tuple[str, Hedged]] = []  # second attempts: of which provider, and how they came out
    resent: int = 0  # silent re-sends after a stale kept connection
    denied_retries: list[str] = []  # reasons why a further attempt was not made: "budget", "deadline"
    losses: list[Loss] = []
    usage: Usage | None = None
    status: int = 0
    error: str | None = None  # RouterError.kind
    code: str | None = None  # RouterError.code
    reason: str | None = None  # closed sets: of a failed authentication, a denied egress
    outcome: Outcome = "ok"
    stream_end: StreamEnd | None = None
    phases: dict[str, float] = {}
    timing: tuple[tuple[float, ...], tuple[str, ...]] | None = None  # what `milliseconds` said last
    upstream_seconds: float = 0.0  # spent waiting for upstreams, of the whole
    bytes_in: int = 0
    bytes_out: int = 0
    ended: float = 0.0

    def settle(self) -> None:
        """What the attempt under way has used is its own, whatever comes after it."""
        attempt = self.attempts[-1]
        if attempt.usage is None and not attempt.ended:
            attempt.usage = self.usage

    def cost(self) -> Decimal | None:
        """US dollars of all attempts. Of those that failed what is known; None where an answer's own is not, nor that
        of one which was cut off while it worked."""
        known: list[Decimal] = []
        for attempt in self.attempts:
            if attempt.error == OUTPACED:
                return None
            if (usd := attempt.cost()) is not None:
                known.append(usd)
            elif attempt.error is None:
                return None
        return total(known) if known else None

    def milliseconds(self) -> tuple[str, ...]:
        """The lengths of the phases, in order, to a thousandth: headers and log say the same."""
        values = tuple(self.phases.values())
        if self.timing is None or self.timing[0] != values:
            self.timing = values, tuple([_milliseconds(micro) for micro in map(round, map(_MILLION, values))])
        return self.timing[1]


_MILLION = (1_000_000.0).__mul__
# Most phases are short, and to look a number up costs a fraction of writing it.
_SHORT = tuple([f"{micro // 1000}.{micro % 1000:03d}" for micro in range(4000)])


def _milliseconds(micro: int) -> str:
    return _SHORT[micro] if 0 <= micro < len(_SHORT) else f"{micro / 1000:.3f}"
