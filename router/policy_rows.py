"""`policies` of routes.yaml: what its rows may say, how hard a call is tried."""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from router import table
from router.kinds import (
    CheckSchema,
    Count,
    Duration,
    OnLoss,
    Positive,
    Rate,
    Refusals,
    Rows,
    Share,
    as_float,
)
from router.reference import Says
from router.table import BreakerSettings, OutlierSettings, PolicySettings, Timeouts
from router.units import DURATION, read_after

_POLICY = PolicySettings()
_BREAKER = BreakerSettings()
_OUTLIERS = OutlierSettings()
_TIMEOUTS = Timeouts()

Choose: TypeAlias = Annotated[table.Choose, Says(", ".join(f"`{name}`" for name in get_args(table.Choose)))]


class TimeoutsRow(Rows):
    connect: Positive = Field(_TIMEOUTS.connect, description="for the connection, TLS included")
    first_byte: Positive = Field(_TIMEOUTS.first_byte, description="for the head of the upstream's answer")
    idle: Positive = Field(_TIMEOUTS.idle, description="between two chunks of an answer")
    total: Positive = Field(_TIMEOUTS.total, description="for the whole exchange")
    min_rate: Rate | None = Field(
        _TIMEOUTS.min_rate,
        description="bytes a second that a stream must bring while it is waited for, from its first window on",
    )
    rate_over: Positive = Field(_TIMEOUTS.rate_over, description="the window of `min_rate`")


class WaitRow(Rows):
    first: Duration = Field(_POLICY.wait_first, description="longest wait before the second attempt; doubles with each")
    most: Duration = Field(_POLICY.wait_most, description="longest wait of all")


class BreakerRow(Rows):
    failures: Count = Field(
        _BREAKER.failures, description="failures that open it, when they are half of the target's calls of that time"
    )
    within: Positive = Field(_BREAKER.within, description="the time in which they are counted")
    cool: Positive = Field(_BREAKER.cool, description="how long no call is made, and how long it then takes to recover")


_TIMES_AS_BAD = Annotated[float, BeforeValidator(as_float), Field(ge=1.5, le=1000), Says("number")]


class OutliersRow(Rows):
    errors: _TIMES_AS_BAD | None = Field(
        _OUTLIERS.errors, description="so many times the others' share of failures, or of 5 % where theirs is less"
    )
    latency: _TIMES_AS_BAD | None = Field(
        _OUTLIERS.latency, description="so many times the others' usual time to the first token, or of 50 ms"
    )
    calls: Annotated[int, Field(ge=5, le=100), Says("number")] = Field(
        _OUTLIERS.calls, description="calls of a target that are needed to compare it"
    )
    within: Positive = Field(_OUTLIERS.within, description="the time of which they are looked at")
    cool: Positive = Field(
        _OUTLIERS.cool, description="how long a target is passed over, and how long it then takes to recover"
    )


class HedgeRow(Rows):
    after: Annotated[
        float | None,
        BeforeValidator(read_after),
        WithJsonSchema({"type": "string", "pattern": f"^(p95|{DURATION.pattern})$"}),
        Says("duration or `p95`"),
    ] = Field(
        ...,
        description="how long the first is waited for; `p95`: as long as 19 of 20 answers of its target take to begin, "
        "once 20 are known",
    )


class PolicyRow(Rows):
    attempts: Annotated[int, Field(ge=1, le=20), Says("number")] = Field(
        _POLICY.attempts, description="calls of upstreams for one call, over all targets"
    )
    within: Positive = Field(
        _POLICY.within, description="one deadline over all attempts, until the first byte goes to the caller"
    )
    wait: WaitRow = Field(WaitRow.model_construct(), description="waits between attempts, random up to these")
    timeouts: TimeoutsRow = Field(TimeoutsRow.model_construct(), description="of one attempt, `total` of the exchange")
    choose: Choose = Field("in_order", description="which target comes first")
    retry_budget: Share = Field(
        _POLICY.retry_budget,
        description="share of an upstream's calls of the last 10 s that may be retries; 10 always may",
    )
    fallback_on: Refusals = Field(
        list(_POLICY.fallback_on),
        description="refusals after which the next target is tried that may take the call; where none does, the "
        "caller reads the first",
    )
    breaker: BreakerRow | None = Field(
        BreakerRow.model_construct(),
        description="when a target that fails is left alone, until one call finds out that it works; null: never",
    )
    outliers: OutliersRow | None = Field(
        None,
        description="when a target is passed over that does far worse than the others of its model, of which at most "
        "half are at a time; null: never",
    )
    on_loss: OnLoss = Field(
        _POLICY.on_loss,
        description="what becomes of a call that cannot be translated whole: said, done silently, refused",
    )
    check_schema: CheckSchema = Field(
        _POLICY.check_schema,
        description="whether answers and arguments of calls are checked against the caller's own schemas: a breach is "
        "named as a loss, or the model is asked once more before that; needs the extra `schema`",
    )
    nice: Share = Field(
        _POLICY.nice, description="share of its time that a nice call may wait for a place (`x-isthmus-nice: true`)"
    )
    hedge: HedgeRow | None = Field(
        None,
        description="a second attempt, at another target, while the first has not begun to answer: who answers first "
        "is heard, the other one is cut off; null: never",
    )
