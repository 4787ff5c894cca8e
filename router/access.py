"""Who may call: gateway keys and tokens, and which of a request's credentials is whose.

    headers, query ── split_credentials() ──┬── the gateway's ── verify() ── Caller ── allow()
                                             └── the caller's own key for an upstream that it names

A key is known by its SHA-256 only; tokens are `router/tokens.py`. Whatever is wrong, the caller learns only
that it is not authenticated; `reason` (one of REASONS) is for log and metric. What was verified is remembered
by the digest of the whole credential, and not longer than it is valid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec
from multidict import MultiMapping

from providers.auth import is_sendable
from providers.canonical.errors import MalformedRequest, NotAllowed, NotAuthenticated
from router.settings import AccessSettings, Budget, JwtSettings, KeyRow, Unit
from router.table import fits_star
from router.tokens import LONGEST_TOKEN, Tokens

MOST_REMEMBERED = 4096
KEY_PREFIX = "sk-isthmus-"  # looks like a key, so that everything which masks keys masks it

#: Why a credential was refused. Closed: it is a metric label.
REASONS = (
    *("missing", "several", "scheme", "unknown_key", "too_large", "malformed", "header", "algorithm", "kid"),
    *("signature", "claims", "expired", "not_yet", "issuer", "audience"),
)

Place: TypeAlias = Literal["authorization", "x-api-key", "x-goog-api-key", "key"]


# ── values ─────────────────────────────────────────────────────────────────────────────


class Credential(msgspec.Struct, frozen=True):
    """What a caller shows, and where it stood. Never printed."""

    value: str
    place: Place = "authorization"

    def __repr__(self) -> str:
        return f"Credential(***, {self.place!r})"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. `name` is the key's, or `jwt`, or `local`; chats belong to (`issuer`, `subject`)."""

    name: str
    subject: str
    issuer: str | None = None
    key: KeyRow | None = None
    models: tuple[str, ...] = ("*",)
    limits: Mapping[Unit, int] | None = None  # the key's
    budget: Budget | None = None  # the key's

    @property
    def owner(self) -> str:
        """Whose memories these are: no two issuers share a subject, and no token's subject is a key."""
        kind = "key" if self.key is not None else self.name
        return f"{kind}\0{self.issuer or ''}\0{self.subject}"


LOCAL = Caller(name="local", subject="local")


# ── which credential is whose ──────────────────────────────────────────────────────────


def credential(headers: MultiMapping[str], query: Mapping[str, str]) -> Credential | None:
    """The caller's own: the first of `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, `?key=`.

    `headers` ignores case. NotAuthenticated for an Authorization of another scheme or without a token, and
    for a header that is there twice: of two readers each might take another.
    """
    if (text := _single(headers, "authorization")) is not None:
        scheme, _, token = text.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated(reason="scheme")
        if not (token := token.strip(" ")):
            raise NotAuthenticated(reason="missing")
        return Credential(token, "authorization")
    if text := _single(headers, "x-api-key"):
        return Credential(text, "x-api-key")
    if text := _single(headers, "x-goog-api-key"):
        return Credential(text, "x-goog-api-key")
    if text := query.get("key"):
        return Credential(text, "key")
    return None


def _single(headers: MultiMapping[str], name: str) -> str | None:
    found = headers.getall(name, ())
    if len(found) > 1:
        raise NotAuthenticated(reason="several")
    return found[0] if found else None


def split_credentials(
    headers: MultiMapping[str],
    query: Mapping[str, str],
    *,
    named: bool,
    is_open: bool = False,
    path_key: str | None = None,
    key_header: str | None = None,
) -> tuple[Credential | None, str | None]:
    """The gateway's credential and, on a `to: named` route, the caller's own key for the upstream.

    The upstream's key is the first of: the key in the path, `x-upstream-api-key` and, for callers whose
    dialect writes its key into a header of its own (`key_header`), that header and `?key=`. None: the
    configured one.

    Without `Authorization` what stands in `key_header` or `?key=` is the gateway's, and so not the
    upstream's, which then needs a configured key; only an open gateway (`is_open`) has no credential of its
    own. The gateway's credential is never an upstream's key, wherever else it stands.

    NotAuthenticated as in `credential`; MalformedRequest for a key that cannot stand in a header.
    """
    gateway = None if is_open else credential(headers, query)
    if not named or (gateway is None and not is_open):
        return gateway, None  # without a credential the answer is 401, whatever else is wrong
    places = [path_key, _single(headers, "x-upstream-api-key")]
    if key_header is not None:
        places += [_single(headers, key_header), query.get("key")]
    for key in places:
        if key and (gateway is None or key != gateway.value):
            return gateway, _checked(key)
    return gateway, None


def _checked(key: str) -> str:
    if not is_sendable(key) or len(key) > LONGEST_TOKEN:
        raise MalformedRequest("the key for the upstream is not valid", code="invalid_proxy_key")
    return key


# ── verifying ──────────────────────────────────────────────────────────────────────────


class Access:
    """The door for callers, built once per table. Without settings everybody is `local`.

    ValueError says what is wrong with the settings.
    """

    def __init__(self, settings: AccessSettings | None) -> None:
        self.is_open = settings is None
        self._rows = [(row.hash, _caller(row)) for row in settings.keys] if settings else []
        self._tokens = Tokens(settings.jwt) if settings and settings.jwt else None
        self._remembered: dict[bytes, tuple[Caller, float]] = {}

    def verify(self, shown: Credential | None, now: float) -> Caller:
        """Whose credential it is; `now` in Unix seconds. NotAuthenticated for every kind of bad one."""
        if self.is_open:
            return LOCAL
        if shown is None:
            raise NotAuthenticated(reason="missing")
        digest = blake2b(shown.value.encode("utf-8", "surrogatepass")).digest()
        if found := self._remembered.get(digest):
            if now < found[1]:
                return found[0]
            del self._remembered[digest]
        caller, until = self._verify(shown.value, _digest(shown.value), now)
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = (caller, until)
        return caller

    def _verify(self, value: str, digest: bytes, now: float) -> tuple[Caller, float]:
        if caller := self._by_key(digest):
            return caller, float("inf")
        if self._tokens is None or "." not in value:
            raise NotAuthenticated(reason="unknown_key")
        claims = self._tokens.verify(value, now)
        return Caller(name="jwt", subject=claims.subject, issuer=claims.issuer), claims.expires

    def _by_key(self, digest: bytes) -> Caller | None:
        """Compares with every row, so that the time does not tell which one was near."""
        found = None
        for known, caller in self._rows:
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def is_own(self, value: str) -> bool:
        """Is the text one of our keys? Then it is never sent upstream."""
        return self._by_key(_digest(value)) is not None

    def allow(self, caller: Caller, model: str) -> None:
        """NotAllowed unless the caller may name the model."""
        if not allowed(caller, model):
            raise NotAllowed("this key may not use this model")


def allowed(caller: Caller, model: str) -> bool:
    """May the caller name this model? `*` in the key's patterns stands for any text."""
    return "*" in caller.models or any(fits_star(pattern, model) for pattern in caller.models)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _caller(row: KeyRow) -> Caller:
    subject = f"key:{row.name}"
    return Caller(name=row.name, subject=subject, key=row, models=row.models, limits=row.limits, budget=row.budget)


# ── for the command line ───────────────────────────────────────────────────────────────


def new_key(random_bytes: bytes) -> tuple[str, str]:
    """A caller key, to be shown once, and its `hash` for `access.keys`. ValueError for less than 32 bytes."""
    if len(random_bytes) < 32:
        raise ValueError("a key needs 32 random bytes")
    key = KEY_PREFIX + base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")
    return key, f"sha256:{_digest(key).hex()}"


def issue_token(settings: JwtSettings, subject: str, ttl: float, now: float) -> str:
    """A token that the gateway takes for `ttl` seconds. ValueError where `access.jwt` cannot make one."""
    return Tokens(settings).issue(subject, ttl, now)
