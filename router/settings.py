"""All of routes.yaml as plain values: what `router.config.load` hands to everybody else.

Frozen, made once per reload and swapped whole. Secrets are not in here but behind `secrets`, which resolves the
references that the values hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from providers.provider import Provider
from router.chats.personas import ChatSettings
from router.prices import PriceLists
from router.secrets import Secret, Secrets
from router.strict_yaml import Problem
from router.table import Limits, Model, PolicySettings, Table

Address: TypeAlias = tuple[str, int]  # host, port
Json: TypeAlias = Any
Unit: TypeAlias = Literal["requests", "tokens"]  # what is counted of a caller's key
Coin: TypeAlias = Literal["usd", "credits"]  # what it may spend
Per: TypeAlias = Literal["hour", "day", "week", "month"]  # of the calendar, in UTC


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may spend in each period: US dollars, credits of upstreams, or both. None: any amount.

    `unpriced`: may targets be called of which nobody knows what they cost? They count as nothing then.
    """

    usd: Decimal | None = None
    credits: Decimal | None = None
    per: Per = "month"
    unpriced: Literal["refuse", "allow"] = "refuse"

    def limits(self) -> dict[Coin, Decimal]:
        """What is limited at all."""
        said: dict[Coin, Decimal | None] = {"usd": self.usd, "credits": self.credits}
        return {coin: limit for coin, limit in said.items() if limit is not None}


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key. `hash` is the SHA-256 of the whole key; `models` are names or patterns with `*`.

    `nice`: its calls yield their place where calls wait for one. `limits`: how much of what it may use in a
    minute; None where nothing is limited. `budget`: how much it may spend; None: any amount.
    """

    name: str
    hash: bytes
    models: tuple[str, ...] = ("*",)
    nice: bool = False
    limits: Mapping[Unit, int] | None = None
    budget: Budget | None = None


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are verified. An HMAC `secret` goes with HS algorithms only, public keys with the others only.

    `public_keys` are PEM texts; `jwks` the usable keys of a JWK set (RFC 7517), as its JSON has them. `leeway` is
    in seconds. `issuer` and `audience` None: not checked.
    """

    algorithms: tuple[str, ...]
    secret: Secret | None = None
    public_keys: tuple[str, ...] = ()
    jwks: tuple[Mapping[str, Json], ...] = ()
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    leeway: float = 30.0


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call."""

    keys: tuple[KeyRow, ...] = ()
    jwt: JwtSettings | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One routes.yaml that is good. `access` None: anybody who can reach the (loopback) address may call."""

    path: str
    listen: Address
    admin: Address | None
    admin_token: Secret | None
    workers: int  # processes that share `listen` and `admin`; limits are those of all of them together
    drain: float  # seconds
    limits: Limits
    access: AccessSettings | None
    providers: Mapping[str, Provider]  # those that targets, egress lists and callers may name
    models: tuple[Model, ...]
    prices: PriceLists
    policies: Mapping[str, PolicySettings]  # always with "default"
    table: Table
    secrets: Secrets
    log: Literal["json", "text"]
    chats: ChatSettings | None  # None: there is no chat service
    state_file: Path | None  # where spending outlives the process; None: nowhere
    asked: Mapping[str, str]  # `listen`, `admin`, `workers` of the command line: a reload passes them to `load` again


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading a file. `settings` is None exactly when there are problems."""

    settings: Settings | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
