"""All of routes.yaml as plain values: what `router.config.load` hands to everybody else.

Frozen, made once per reload and swapped whole. Secrets are not in here but behind `secrets`, which resolves the
references that the values hold.
"""

from __future__ import annotations

from collections.abc import Mapping
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

MOST_KEPT = 64 << 20  # bytes


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key. `hash` is the SHA-256 of the whole key; `models` are names or patterns with `*`.

    `nice`: its calls yield their place where calls wait for one. `limits`: how much of what it may use in a
    minute; None where nothing is limited.
    """

    name: str
    hash: bytes
    models: tuple[str, ...] = ("*",)
    nice: bool = False
    limits: Mapping[Unit, int] | None = None


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
    kept: int  # bytes of answers that are kept for the same question, on routes with `cache`
    chats: ChatSettings | None  # None: there is no chat service
    asked: Mapping[str, str]  # `listen`, `admin` of the command line: a reload passes them to `load` again


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading a file. `settings` is None exactly when there are problems."""

    settings: Settings | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
