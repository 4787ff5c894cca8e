"""Which targets a call tries first, by what is known of them and of the call, and a place among the calls of one.

when      a target that asks for other calls is left out                      (policy/fitting.py)
known     who rests, who is full, who is fast or cheap, who would lose what   (state/upstreams.py, the exchange)
order     by health, losses, what sticks together, and `choose`               (policy/balance.py)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from providers.canonical.errors import Overloaded, RouterError, UnsupportedParameter
from providers.canonical.loss import Loss
from providers.dialect import Asked
from providers.provider import Provider
from router import conditions
from router.admission import Admission, Plan
from router.alarm import Alarm
from router.gateway import Gateway
from router.policy import affinity, balance
from router.policy.balance import REFUSED, Known
from router.policy.fitting import Facts, Meant, unmet
from router.policy.outliers import bounded
from router.prices import price_of
from router.record import Priority, Record, Waited
from router.state.places import Places
from router.state.upstreams import Upstream
from router.table import OutlierSettings, Rules, Target


class Inquiry(Protocol):
    """What an exchange can say of its call, for whoever chooses."""

    def foreseen(self, asked: Asked) -> Mapping[str, int]:
        """About how many tokens of each kind the call may take; asked where it is chosen by price."""
        ...

    def facts(self, asked: Asked) -> Facts:
        """What conditions and stickiness look at; asked where there are some."""
        ...

    def losses_at(self, asked: Asked, plan: Plan, target: Target) -> Sequence[Loss]:
        """What a target would lose of the call. RouterError where it would refuse it. Asked for `prefer: fidelity`."""
        ...


def facts(admission: Admission, asked: Asked, operation: str, understand: Callable[[], Meant | None]) -> Facts:
    """What is known of a call. `understand`: its request, None where only the upstream understands it."""
    who, headers = admission.who, admission.incoming.headers
    return Facts(
        key=None if who.key is None else who.key.name,
        owner=who.owner,
        headers=lambda name: headers.getall(name, ()),
        model=asked.model,
        operation=operation,
        stream=asked.stream,
        size=len(asked.wire.body),
        understand=understand,
    )


class Choice(msgspec.Struct, kw_only=True):
    """How the targets of a call come to stand as they do.

    `targets`: in the order in which they are tried. `left_out`: those whose `when` does not hold, and why. Of the
    others, in the order of the file (`fit`): what is `known` of each, and what it would lose (`lost`: None where it
    refuses; empty where nobody asks). `sticks`: what calls that belong together have in common.
    """

    targets: Sequence[Target]
    left_out: Sequence[tuple[Target, str]]
    fit: Sequence[Target]
    known: Sequence[Known]
    lost: Sequence[Sequence[Loss] | None] = ()
    sticks: bytes | None = None

    def known_of(self, target: Target) -> Known:
        return self.known[self._place(target)]

    def lost_at(self, target: Target) -> Sequence[Loss] | None:
        return self.lost[self._place(target)] if self.lost else ()

    def home(self) -> Target | None:
        """Where calls that belong together go while all is well."""
        if self.sticks is None:
            return None
        return self.fit[affinity.favourites(self.sticks, self.fit, range(len(self.fit)))[0]]

    def _place(self, target: Target) -> int:
        return next(place for place, one in enumerate(self.fit) if one is target)


def in_order(gateway: Gateway, asked: Asked, plan: Plan, inquiry: Inquiry) -> Sequence[Target]:
    """The targets as they are to be tried: as the policy chooses, those last that rest.

    UnsupportedParameter when no target takes a call like this one.
    """
    targets = plan.targets
    if plan.rules is None:
        if len(targets) == 1:
            return targets
        _look(gateway, asked, plan)
        if (
            plan.choose == "in_order"
            and gateway.upstreams.calm
            and targets
            and not any(is_full(gateway, plan, one) for one in targets)
        ):
            return targets  # nearly always
    else:
        _look(gateway, asked, plan)
    chosen = choice(gateway, asked, plan, inquiry)
    if not chosen.targets:
        raise none_fits(chosen)
    return chosen.targets


def _look(gateway: Gateway, asked: Asked, plan: Plan) -> None:
    """How the targets are doing by now: does one do far worse than the others, has one recovered?"""
    if plan.policy.outliers is not None:
        _compare(gateway, asked, plan, plan.policy.outliers, gateway.clock())
    if not gateway.upstreams.calm:
        gateway.upstreams.settle(gateway.clock())


def none_fits(chosen: Choice) -> RouterError:
    """No target takes a call like this one. Told is what it depends on, not what they ask for."""
    names = conditions.asked(when for target, _ in chosen.left_out for when in target.when)
    why = f": that depends on {', '.join(names)}" if names else ""
    return UnsupportedParameter(f"no target takes a call like this one{why}", param="model")


def choice(gateway: Gateway, asked: Asked, plan: Plan, inquiry: Inquiry) -> Choice:
    """The order, and all that it is made of."""
    rules = plan.rules or Rules()
    facts = None if plan.rules is None else inquiry.facts(asked)
    fit: Sequence[Target] = plan.targets
    left_out: list[tuple[Target, str]] = []
    if rules.conditional and facts is not None:
        fit, left_out = fitting(plan.targets, facts)
    now = gateway.clock()
    known = [_known(gateway, asked, plan, target, now) for target in fit]
    if plan.policy.outliers is not None:
        known = _with_turns(gateway, asked, plan, fit, known, now)
    if plan.choose == "cheapest":
        counts = inquiry.foreseen(asked)
        bills = [usd(gateway, asked, target, counts) for target in fit]
        known = [msgspec.structs.replace(one, usd=bill) for one, bill in zip(known, bills, strict=True)]
    lost: list[Sequence[Loss] | None] = []
    if rules.prefer == "fidelity" and len(fit) > 1:
        lost = _lost(asked, plan, fit, inquiry)
        known = [msgspec.structs.replace(one, losses=weight(each)) for one, each in zip(known, lost, strict=True)]
    sticks = None if facts is None or len(fit) < 2 else affinity.key(rules.sticky, facts)
    targets = balance.in_order(fit, known, plan.choose, gateway.dice, sticks) if fit else ()
    return Choice(targets=targets, left_out=left_out, fit=fit, known=known, lost=lost, sticks=sticks)


def fitting(targets: Sequence[Target], facts: Facts) -> tuple[list[Target], list[tuple[Target, str]]]:
    """Those that take such a call, each upstream once, and the others with what speaks against them."""
    fit: dict[tuple[str, str | None, str | None], Target] = {}
    left_out: list[tuple[Target, str]] = []
    for target in targets:
        why = unmet(target.when, facts) if target.when else None
        if why is None:
            fit.setdefault((target.provider, target.model, target.secret), target)
        else:
            left_out.append((target, why))
    return list(fit.values()), left_out


def taking(asked: Asked, plan: Plan, inquiry: Inquiry) -> Sequence[Target]:
    """The targets that take part in the call: those of another caller, or of other headers, may be others."""
    if plan.rules is None or not plan.rules.conditional:
        return plan.targets
    return fitting(plan.targets, inquiry.facts(asked))[0]


def _lost(asked: Asked, plan: Plan, targets: Sequence[Target], inquiry: Inquiry) -> list[Sequence[Loss] | None]:
    """What each target would lose of the call; None where it would refuse it. Keys of one row lose alike."""
    found: dict[tuple[str, str | None], Sequence[Loss] | None] = {}
    for target in targets:
        name = (target.provider, target.model)
        if name not in found:
            try:
                found[name] = inquiry.losses_at(asked, plan, target)
            except RouterError:
                found[name] = None
    return [found[target.provider, target.model] for target in targets]


def weight(lost: Sequence[Loss] | None) -> int:
    """How many fields would not arrive as they are. What is added (`invented`) takes nothing away."""
    return REFUSED if lost is None else len({loss.field for loss in lost if loss.kind != "invented"})


def seen(gateway: Gateway, asked: Asked, plan: Plan, target: Target) -> Upstream:
    """What is known of a target."""
    model = gateway.generation.model_label(target, target.model or asked.model)
    return gateway.upstreams.of(target.provider, model, plan.policy.breaker)


def _siblings(gateway: Gateway, asked: Asked, plan: Plan, targets: Sequence[Target]) -> list[Upstream]:
    """What is known of each of these targets, once where its row has several keys."""
    return list({id(one): one for one in (seen(gateway, asked, plan, target) for target in targets)}.values())


def _compare(gateway: Gateway, asked: Asked, plan: Plan, settings: OutlierSettings, now: float) -> None:
    """Looks whether a target does far worse than the others of the call."""
    siblings = _siblings(gateway, asked, plan, plan.targets)
    if len(siblings) > 1:
        for one, outlier in gateway.upstreams.compare(siblings, settings, now):
            gateway.metrics.passed_over(*one.name, outlier.reason)


def _with_turns(
    gateway: Gateway, asked: Asked, plan: Plan, targets: Sequence[Target], known: Sequence[Known], now: float
) -> list[Known]:
    """What is known, with outliers passed over: never more than half of the targets."""
    siblings = _siblings(gateway, asked, plan, targets)
    turns = dict(zip(map(id, siblings), bounded([one.turn(now) for one in siblings]), strict=True))
    shares = [turns[id(seen(gateway, asked, plan, target))] for target in targets]
    return [
        one if share >= 1 else msgspec.structs.replace(one, share=min(one.share, share))
        for one, share in zip(known, shares, strict=True)
    ]


def is_ready(gateway: Gateway, asked: Asked, plan: Plan, target: Target, now: float) -> bool:
    """Is a target well, with a place free?"""
    one = seen(gateway, asked, plan, target)
    return min(one.share(now, target.secret), one.turn(now)) >= 1.0 and not is_full(gateway, plan, target)


def usd(gateway: Gateway, asked: Asked, target: Target, counts: Mapping[str, int]) -> Decimal | None:
    """What so many tokens cost at a target; None where nobody knows."""
    price = price_of(gateway.generation.prices, target.provider, target.model or asked.model or None)
    return None if price is None else price.of(counts)


def is_full(gateway: Gateway, plan: Plan, target: Target) -> bool:
    """Are all its places taken?"""
    provider = plan.providers[target.provider]
    return provider.concurrency is not None and gateway.places.is_full(provider.name, provider.concurrency)


def _known(gateway: Gateway, asked: Asked, plan: Plan, target: Target, now: float) -> Known:
    """What the choice depends on. A target that has no place free comes last, as one that rests."""
    known = seen(gateway, asked, plan, target).known(now, stream=asked.stream, key=target.secret)
    return msgspec.structs.replace(known, share=0.0) if is_full(gateway, plan, target) else known


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
    raise crowded()


def crowded() -> RouterError:
    """A target has no place for a call, nor lets it wait for one."""
    error = Overloaded("too many calls of this upstream at once", retry_after=1.0)
    error.retry = "elsewhere"
    return error
