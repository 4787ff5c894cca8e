"""The route table as values: what a path means, and where its calls may go.

Compiled from routes.yaml by `router.config` and swapped whole on reload; nothing here changes after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from providers.provider import Provider

Choose: TypeAlias = Literal["in_order", "weighted", "least_busy", "fastest", "cheapest"]
OnLoss: TypeAlias = Literal["report", "allow", "reject"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream to try. `model` None: the one that the caller asked for."""

    provider: str
    model: str | None = None
    weight: int = 1


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `first_byte`: of the upstream's answer head; `idle`: between chunks; `total`: the whole exchange."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try. `within`: seconds over all attempts, until the first byte goes to the caller."""

    attempts: int = 3
    within: float = 90.0
    wait_first: float = 0.25
    wait_most: float = 8.0
    timeouts: Timeouts = Timeouts()
    choose: Choose = "in_order"
    retry_budget: float = 0.2
    on_loss: OnLoss = "report"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may name. `name` may hold `*`."""

    name: str
    to: tuple[Target, ...]
    policy: str | None = None


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """Which upstreams a caller may name on a `to: named` route."""

    listed: tuple[str, ...] = ()
    unlisted: bool | tuple[str, ...] = False  # or host patterns: "api.example.com", "*.example.com"
    default: tuple[Target, ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, bytes and counts (the project's reliability requirements, section 1)."""

    head: float = 10.0
    body: float = 30.0
    max_body: int = 32 << 20
    json_depth: int = 64
    messages: int = 2048
    tools: int = 512
    concurrency: int = 1000
    upstream_body: int = 32 << 20
    sse_event: int = 16 << 20
    stream_buffer: int = 256 << 10
    write_stall: float = 60.0


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `routes`. `speaks` is the dialect of whoever calls it."""

    path: str
    speaks: str
    to: Literal["models", "named"] | tuple[Target, ...]
    policy: str | None = None
    on_loss: OnLoss | None = None
    egress: Egress | None = None
    methods: tuple[str, ...] = ("POST",)
    line: int = 0  # in routes.yaml


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A route that fits a request. Secrets among `params` (`{x:secret}`) are never logged."""

    route: Route
    params: Mapping[str, str]
    secret_params: frozenset[str] = frozenset()


Providers: TypeAlias = Mapping[str, Provider]
