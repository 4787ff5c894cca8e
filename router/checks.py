"""What is allowed in a routes.yaml and yet is probably not meant: found in the finished values, said as warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeAlias

from router.conditions import may_meet
from router.prices import price_of, targets_of
from router.settings import Budget, Settings
from router.table import PolicySettings, Rules, Target, Timeouts, covers, fits_star, overlap

Path: TypeAlias = tuple[str | int, ...]
Finding: TypeAlias = tuple[Path, str]  # where (index of a route in the table), what

#: Paths that the server answers itself, before any route.
SERVED = frozenset({"/healthz", "/readyz"})
MOST_SERIES = 100_000
MOST_NAMED = 8  # targets, in one warning
_CHATS = re.compile(r"/api/v1/(?:chat(?:/.*)?|personas)")
_CHAT_PATHS = 11
#: Series that one row can make, at the worst: label values other than route, provider and model, and buckets.
_PER_ROUTE = 60
_PER_ROUTE_AND_MODEL = 8
_PER_MODEL = 180


def find(settings: Settings) -> Iterator[Finding]:
    """Everything there is to say, in no particular order."""
    yield from _routes(settings)
    for name, policy in settings.policies.items():
        yield from _policy(("policies", name), policy)
    yield from _rows(settings)
    yield from _choices(settings)
    if settings.workers > 1:
        yield ("server", "workers"), _workers(settings.workers)
    yield from _budgets(settings)
    yield from _rules(settings)
    count = series(settings)
    if count > MOST_SERIES:
        yield ("models",), f"metrics: up to {count} time series, which is a lot for one process"


def _workers(count: int) -> str:
    """What holds while there is no state that they share."""
    return (
        f"{count} workers share no state: each enforces 1/{count} of every limit (server.limits.concurrency, "
        "concurrency and queue of providers, limits and budgets of keys), and a connection reaches one of them; what "
        "is known of upstreams, and what is remembered of answers, is known to each alone"
    )


def _routes(settings: Settings) -> Iterator[Finding]:
    routes = settings.table.routes
    for index, route in enumerate(routes):
        if route.path in SERVED:
            yield ("routes", index, "path"), f"unreachable: {route.path} is answered by the gateway itself"
        if settings.chats is not None and _CHATS.fullmatch(route.path):
            yield ("routes", index, "path"), f"unreachable: {route.path} belongs to the chat service (`chats`)"
        if route.policy and route.to == "models" and all(model.policy for model in settings.models):
            yield ("routes", index, "policy"), "has no effect: every model has a policy of its own"
    for first, second in _pairs([route.path for route in routes]):
        one, other = routes[first], routes[second]
        if overlap(one.path, other.path) and not covers(one.path, other.path) and not covers(other.path, one.path):
            yield (
                ("routes", second, "path"),
                f"some paths fit {other.path} and {one.path} of line {one.line}: the longer literal beginning wins, "
                "then the longer literal end",
            )
    if any(route.to == "models" for route in routes) and not settings.models and not settings.providers:
        yield ("routes",), "there are no models and no providers: every call is answered 404"


def _pairs(paths: list[str]) -> Iterator[tuple[int, int]]:
    """Which of them can overlap at all: as long as each other, with parameters, and not apart from the first step."""
    groups: dict[tuple[int, str], list[int]] = {}
    for index, path in enumerate(paths):
        if "{" in path:
            groups.setdefault((path.count("/"), path.split("/")[1].partition("{")[0]), []).append(index)
    for (length, start), group in groups.items():
        yield from combinations(group, 2)
        for index in groups.get((length, ""), ()) if start else ():
            yield from ((min(index, other), max(index, other)) for other in group)


def _policy(path: Path, policy: PolicySettings) -> Iterator[Finding]:
    yield from _timeouts((*path, "timeouts"), policy.timeouts)
    if policy.within < policy.timeouts.first_byte:
        yield (
            (*path, "within"),
            "`within` ends before `timeouts.first_byte` can: the longer one has no effect",
        )
    if policy.wait_first > policy.wait_most:
        yield (*path, "wait"), "`wait.first` is longer than `wait.most`"
    if policy.hedge is not None and (policy.hedge.after or 0) >= policy.within:
        yield (*path, "hedge"), "`hedge.after` is not before the end of `within`: no second attempt is ever made"
    if policy.within > policy.timeouts.total:
        yield (*path, "within"), "`within` is longer than `timeouts.total`, which ends the call before"


def _choices(settings: Settings) -> Iterator[Finding]:
    """Choices by price between targets of which that is not known: they are tried after all others."""
    for model in settings.models:
        choose = model.choose or settings.policies[model.policy or "default"].choose
        unknown = [f"{one.provider}/{one.model or '*'}" for one in model.to if not _has_price(settings, one)]
        if choose == "cheapest" and len(model.to) > 1 and unknown:
            yield ("models", model.name), f"`choose: cheapest`: no price is known of {', '.join(unknown)}: tried last"


def _budgets(settings: Settings) -> Iterator[Finding]:
    """Budgets that a restart forgets, and targets that keys with one are not served by."""
    keys = settings.access.keys if settings.access else ()
    budgets = [(index, key, key.budget) for index, key in enumerate(keys) if key.budget is not None]
    if budgets and settings.state_file is None:
        names = ", ".join(key.name for _, key, _ in budgets)
        yield (
            ("access", "keys", budgets[0][0], "budget"),
            f"a restart forgets what {names} spent: `state: {{file: ...}}` keeps it",
        )
    for index, key, budget in budgets:
        if budget.usd is None or budget.unpriced == "allow":
            continue
        unknown = [name for name, target in _reached(settings, key.models) if not _has_cost(settings, target, budget)]
        if unknown:
            shown = ", ".join(unknown[:MOST_NAMED]) + (", ..." if len(unknown) > MOST_NAMED else "")
            message = f"not served to this key, for nobody knows what it costs: {shown}; expected `prices` of it"
            yield ("access", "keys", index, "budget"), message


def _reached(settings: Settings, patterns: tuple[str, ...]) -> Iterator[tuple[str, Target]]:
    """The targets that a key may reach by names of the file, each once."""
    models = [
        target
        for model in settings.models
        if any(fits_star(pattern, model.name) for pattern in patterns)
        for target in model.to
    ]
    for target in dict.fromkeys((*models, *targets_of((), settings.table.routes))):
        yield f"{target.provider}/{target.model or '*'}", target


def _has_cost(settings: Settings, target: Target, budget: Budget) -> bool:
    """In dollars, or in credits where the budget limits those, too."""
    credits = settings.providers[target.provider].credits if budget.credits is not None else {}
    return _has_price(settings, target) or (bool(credits) if target.model is None else target.model in credits)


def _rules(settings: Settings) -> Iterator[Finding]:
    """What is said of targets and has no effect, or not the one that was meant."""
    for model in settings.models:
        yield from _ruled(("models", model.name), model.rules, model.to, settings)
        for target in model.to:
            names = [when.model for when in target.when if when.model]
            if any(not any(may_meet(name, model.name) for name in each) for each in names):
                shown = f"{target.provider}/{target.model or '*'}"
                yield ("models", model.name), f"{shown} is never tried: its `when.model` does not fit this name"
    for index, route in enumerate(settings.table.routes):
        if route.to == "models":
            yield from _ruled(("routes", index), route.rules, None, settings)
        elif route.to == "named":
            yield from _ruled(("routes", index), route.rules, route.egress.default if route.egress else (), settings)
        else:
            yield from _ruled(("routes", index), route.rules, route.to, settings)


def _ruled(place: Path, rules: Rules | None, targets: Sequence[Target] | None, settings: Settings) -> Iterator[Finding]:
    """`targets` None: those of any model."""
    if rules is None:
        return
    said = {"sticky": rules.sticky, "prefer": rules.prefer}
    for name, value in said.items():
        if value not in (None, "off") and targets is not None and len(targets) < 2:
            yield (*place, name), f"{name}: has no effect, there is one target"
    if rules.sticky == "caller" and settings.access is None:
        yield (*place, "sticky"), "sticky: without `access` all callers are one: all calls go to the same target"


def _has_price(settings: Settings, target: Target) -> bool:
    """Of a target without a model of its own, a price for some: the caller's is not known yet."""
    if target.model is None:
        return target.provider in settings.prices
    return price_of(settings.prices, target.provider, target.model) is not None


def _timeouts(path: Path, timeouts: Timeouts) -> Iterator[Finding]:
    for name in ("connect", "first_byte", "idle"):
        if timeouts.total < getattr(timeouts, name):
            yield (
                (*path, "total"),
                f"`timeouts.total` is shorter than `timeouts.{name}`, which has no effect then",
            )
    if timeouts.min_rate is not None and timeouts.rate_over > timeouts.total:
        yield (*path, "rate_over"), "`timeouts.rate_over` is longer than `timeouts.total`: `min_rate` has no effect"
    if timeouts.first_byte < timeouts.connect:
        yield (*path, "first_byte"), "`timeouts.first_byte` is shorter than `timeouts.connect`"


def _rows(settings: Settings) -> Iterator[Finding]:
    """Rows that say more than the policies they narrow."""
    longest = {
        name: max(getattr(policy.timeouts, name) for policy in settings.policies.values())
        for name in ("connect", "first_byte", "idle", "total")
    }
    most = max(policy.attempts for policy in settings.policies.values())
    for name, provider in settings.providers.items():
        path: Path = ("providers", name)
        for key, seconds in provider.timeouts.items():
            if seconds > longest[key]:
                yield (
                    (*path, "timeouts", key),
                    f"longer than `timeouts.{key}` of every policy: a row can only narrow it",
                )
        if provider.attempts is not None and provider.attempts > most:
            yield (*path, "attempts"), "more than `attempts` of every policy: a row can only narrow it"


def series(settings: Settings) -> int:
    """How many time series the metrics can have, at the worst: callers cannot add to them."""
    targets = {(target.provider, target.model) for model in settings.models for target in model.to}
    for route in settings.table.routes:
        if not isinstance(route.to, str):
            targets |= {(target.provider, target.model) for target in route.to}
    models = len(targets) + len(settings.providers) + 2  # "other" of each provider, unlisted, none
    routes = len(settings.table.routes) + 1 + (_CHAT_PATHS if settings.chats is not None else 0)
    keys = len(settings.access.keys) + 1 if settings.access else 1
    return (
        routes * _PER_ROUTE + routes * models * _PER_ROUTE_AND_MODEL + models * (_PER_MODEL + 3 * keys) + keys * 14 + 50
    )
