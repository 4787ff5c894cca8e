"""Which targets a call tries first, by what is known of them, and a place among the calls of one.

The choice itself is made in `policy/balance.py`; here is what it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from providers.canonical.errors import Overloaded
from providers.dialect import Asked
from providers.provider import Provider
from router.admission import Plan
from router.alarm import Alarm
from router.gateway import Gateway
from router.policy import balance
from router.policy.balance import Known
from router.policy.outliers import bounded
from router.prices import price_of
from router.record import Priority, Record, Waited
from router.state.places import Places
from router.state.upstreams import Upstream
from router.table import OutlierSettings, Target


def in_order(
    gateway: Gateway, asked: Asked, plan: Plan, foreseen: Callable[[Asked], Mapping[str, int]]
) -> Sequence[Target]:
    """The targets as they are to be tried: as the policy chooses, those last that rest.

    `foreseen`: how many tokens of each kind the call may take; asked where it is chosen by price.
    """
    targets = plan.targets
    if len(targets) == 1:
        return targets
    now = gateway.clock()
    if plan.policy.outliers is not None:
        _compare(gateway, asked, plan, plan.policy.outliers, now)
    if not gateway.upstreams.calm:
        gateway.upstreams.settle(now)
    if (
        plan.choose == "in_order"
        and gateway.upstreams.calm
        and not any(_is_full(gateway, plan, one) for one in targets)
    ):
        return targets  # nearly always
    known = [_known(gateway, asked, plan, target, now) for target in targets]
    if plan.policy.outliers is not None:
        known = _with_turns(gateway, asked, plan, known, now)
    if plan.choose == "cheapest":
        counts = foreseen(asked)
        bills = [usd(gateway, asked, target, counts) for target in targets]
        known = [msgspec.structs.replace(one, usd=bill) for one, bill in zip(known, bills, strict=True)]
    return balance.in_order(targets, known, plan.choose, gateway.dice)


def seen(gateway: Gateway, asked: Asked, plan: Plan, target: Target) -> Upstream:
    """What is known of a target."""
    model = gateway.generation.model_label(target, target.model or asked.model)
    return gateway.upstreams.of(target.provider, model, plan.policy.breaker)


def _siblings(gateway: Gateway, asked: Asked, plan: Plan) -> list[Upstream]:
    """What is known of each target of a call, once where its row has several keys."""
    return list({id(one): one for one in (seen(gateway, asked, plan, target) for target in plan.targets)}.values())


def _compare(gateway: Gateway, asked: Asked, plan: Plan, settings: OutlierSettings, now: float) -> None:
    """Looks whether a target does far worse than the others of the call."""
    siblings = _siblings(gateway, asked, plan)
    if len(siblings) > 1:
        for one, outlier in gateway.upstreams.compare(siblings, settings, now):
            gateway.metrics.passed_over(*one.name, outlier.reason)


def _with_turns(gateway: Gateway, asked: Asked, plan: Plan, known: Sequence[Known], now: float) -> list[Known]:
    """What is known, with outliers passed over: never more than half of the targets."""
    siblings = _siblings(gateway, asked, plan)
    turns = dict(zip(map(id, siblings), bounded([one.turn(now) for one in siblings]), strict=True))
    shares = [turns[id(seen(gateway, asked, plan, target))] for target in plan.targets]
    return [
        one if share >= 1 else msgspec.structs.replace(one, share=min(one.share, share))
        for one, share in zip(known, shares, strict=True)
    ]


def is_ready(gateway: Gateway, asked: Asked, plan: Plan, target: Target, now: float) -> bool:
    """Is a target well, with a place free?"""
    one = seen(gateway, asked, plan, target)
    return min(one.share(now, target.secret), one.turn(now)) >= 1.0 and not _is_full(gateway, plan, target)


def usd(gateway: Gateway, asked: Asked, target: Target, counts: Mapping[str, int]) -> Decimal | None:
    """What so many tokens cost at a target; None where nobody knows."""
    price = price_of(gateway.generation.prices, target.provider, target.model or asked.model or None)
    return None if price is None else price.of(counts)


def _is_full(gateway: Gateway, plan: Plan, target: Target) -> bool:
    """Are all its places taken?"""
    provider = plan.providers[target.provider]
    return provider.concurrency is not None and gateway.places.is_full(provider.name, provider.concurrency)


def _known(gateway: Gateway, asked: Asked, plan: Plan, target: Target, now: float) -> Known:
    """What the choice depends on. A target that has no place free comes last, as one that rests."""
    known = seen(gateway, asked, plan, target).known(now, stream=asked.stream, key=target.secret)
    return msgspec.structs.replace(known, share=0.0) if _is_full(gateway, plan, target) else known


async def place(gateway: Gateway, plan: Plan, provider: Provider, alarm: Alarm, record: Record) -> Places | None:
    """A place among the provider's calls at once, waited for where its row lets calls wait. Overloaded.

    To be given back. None where there is no limit.
    """
    if provider.concurrency is None:
        return None
    places = gateway.places.of(provider.name, provider.concurrency)
    if places.take():
        return places
    end: Waited = "left"
    priority: Priority = "nice" if plan.nice else "normal"
    now = gateway.clock()
    patience = (plan.deadline - now) * (plan.policy.nice if plan.nice else 1.0)
    try:
        end = await places.wait(provider.queue, priority, alarm, now + patience)
    finally:
        record.queued.append((provider.name, priority, end))
    if end == "served":
        return places
    error = Overloaded("too many calls of this upstream at once", retry_after=1.0)
    error.retry = "elsewhere"
    raise error
