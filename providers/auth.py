"""How a call is signed for its upstream: one short function per way, chosen by a row's `auth`. No I/O.

bearer          authorization: Bearer SECRET                 (RFC 6750)
header:NAME     NAME: SECRET
query:NAME      ?NAME=SECRET
google_key      x-goog-api-key: SECRET                       (Gemini API; also taken as ?key=)
google_token    authorization: Bearer SECRET                 (an OAuth access token)
anthropic_key   x-api-key: SECRET, anthropic-version unless it is there
azure_key       api-key: SECRET
none            nothing
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TypeAlias

from providers.dialect import WireRequest

#: The version that an upstream gets when nobody asked for one; it is the one that all its models understand.
ANTHROPIC_VERSION = "2023-06-01"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_SENDABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# Names that frame the message or belong to the connection: a credential there would break it.
_NOT_FOR_SECRETS = frozenset(
    [
        "accept",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_LATER = frozenset({"aws_sigv4"})

Signer: TypeAlias = Callable[[WireRequest, str, str], WireRequest]


def sign(auth: str, wire: WireRequest, secret: str) -> WireRequest:
    """The request with its credential, as a new value; `wire` stays as it was.

    ValueError for an `auth` that `check` complains about, and for a secret that cannot stand in a header
    (empty, control characters, not ASCII, blanks around it). The message never holds the secret.
    """
    name, _, argument = auth.partition(":")
    if problem := check(auth):
        raise ValueError(problem)
    if name != "none" and not is_sendable(secret):
        raise ValueError("the upstream's secret is empty or holds characters that a header cannot carry")
    return _SIGNERS[name](wire, secret, argument)


@functools.lru_cache(maxsize=256)
def check(auth: str) -> str | None:
    """What is wrong with a row's `auth`, for whoever wrote it; None when nothing is."""
    name, colon, argument = auth.partition(":")
    if name in _LATER:
        return f"auth {name!r} is not available yet"
    if name not in _SIGNERS:
        return f"unknown auth {auth!r}; known: {', '.join(KNOWN)}"
    if name == "header":
        if not _TOKEN.fullmatch(argument) or argument.lower() in _NOT_FOR_SECRETS:
            return f"auth 'header:' needs the name of a header that can hold a secret, not {argument!r}"
    elif name == "query":
        if not _QUERY_NAME.fullmatch(argument):
            return f"auth 'query:' needs the name of a query parameter, not {argument!r}"
    elif colon:
        return f"auth {name!r} takes no argument"
    return None


def is_sendable(secret: str) -> bool:
    """Can the text stand as a header's value: printable ASCII, no blanks around it, not empty?"""
    return _SENDABLE.fullmatch(secret) is not None


def _with_headers(wire: WireRequest, headers: dict[str, str]) -> WireRequest:
    return _copy(wire, {**wire.headers, **headers}, dict(wire.query))


def _copy(wire: WireRequest, headers: dict[str, str], query: dict[str, str]) -> WireRequest:
    """Copies what stays as it is, too: the next target is signed from the same request."""
    return WireRequest(method=wire.method, path=wire.path, query=query, headers=headers, body=wire.body)


def _bearer(wire: WireRequest, secret: str, _: str) -> WireRequest:
    return _with_headers(wire, {"authorization": f"Bearer {secret}"})


def _header(wire: WireRequest, secret: str, name: str) -> WireRequest:
    return _with_headers(wire, {name.lower(): secret})


def _query(wire: WireRequest, secret: str, name: str) -> WireRequest:
    return _copy(wire, dict(wire.headers), {**wire.query, name: secret})


def _google_key(wire: WireRequest, secret: str, _: str) -> WireRequest:
    return _with_headers(wire, {"x-goog-api-key": secret})


def _anthropic_key(wire: WireRequest, secret: str, _: str) -> WireRequest:
    version = wire.headers.get("anthropic-version", ANTHROPIC_VERSION)
    return _with_headers(wire, {"x-api-key": secret, "anthropic-version": version})


def _azure_key(wire: WireRequest, secret: str, _: str) -> WireRequest:
    return _with_headers(wire, {"api-key": secret})


def _none(wire: WireRequest, secret: str, _: str) -> WireRequest:
    return _with_headers(wire, {})


_SIGNERS: dict[str, Signer] = {
    "bearer": _bearer,
    "header": _header,
    "query": _query,
    "google_key": _google_key,
    "google_token": _bearer,
    "anthropic_key": _anthropic_key,
    "azure_key": _azure_key,
    "none": _none,
}

#: Where callers of a dialect with such a key put it. `bearer` is not here: that place is the gateway's own.
KEY_HEADERS = {"google_key": "x-goog-api-key", "anthropic_key": "x-api-key", "azure_key": "api-key"}

KNOWN = tuple({"header": "header:NAME", "query": "query:NAME"}.get(name, name) for name in _SIGNERS)
