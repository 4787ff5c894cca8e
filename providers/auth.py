"""How a call is signed for its upstream: one short function per way, chosen by a row's `auth`. No I/O.

bearer          authorization: Bearer SECRET                 (RFC 6750)
header:NAME     NAME: SECRET
query:NAME      ?NAME=SECRET
google_key      x-goog-api-key: SECRET                       (Gemini API; also taken as ?key=)
google_token    authorization: Bearer SECRET                 (an OAuth access token)
anthropic_key   x-api-key: SECRET, anthropic-version unless it is there
azure_key       api-key: SECRET
aws_sigv4       a signature over method, host, path, query, body and time (AWS Signature Version 4)
none            nothing

aws_sigv4 takes the region from a host such as bedrock-runtime.REGION.amazonaws.com, else it is said, with the service
where that is not bedrock: `aws_sigv4:REGION`, `aws_sigv4:REGION/SERVICE`. Its secret is `ACCESS_KEY:SECRET_KEY`, or
`ACCESS_KEY:SECRET_KEY:SESSION_TOKEN`. Facts: AWS General Reference, Signature Version 4; botocore 1.44.5 `auth.py`.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

from providers.canonical.errors import UpstreamDenied
from providers.dialect import WireRequest
from providers.provider import address

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

Signer: TypeAlias = Callable[[WireRequest, str, str], WireRequest]


def sign(auth: str, wire: WireRequest, secret: str, *, base_url: str = "", now: float = 0.0) -> WireRequest:
    """The request with its credential, as a new value; `wire` stays as it was.

    `base_url` and `now` (Unix seconds) are part of what aws_sigv4 signs; no other way looks at them.

    UpstreamDenied for a secret that is none of aws_sigv4's.
    ValueError for an `auth` that `check` complains about, and for a secret that cannot stand in a header
    (empty, control characters, not ASCII, blanks around it). The message never holds the secret.
    """
    name, _, argument = auth.partition(":")
    if problem := check(auth, base_url):
        raise ValueError(problem)
    if name != "none" and not is_sendable(secret):
        raise ValueError("the upstream's secret is empty or holds characters that a header cannot carry")
    if name == _AWS:
        return _aws_sigv4(wire, secret, argument, base_url, now)
    return _SIGNERS[name](wire, secret, argument)


@functools.lru_cache(maxsize=256)
def check(auth: str, base_url: str = "") -> str | None:
    """What is wrong with a row's `auth`, for whoever wrote it; None when nothing is."""
    name, colon, argument = auth.partition(":")
    if name == _AWS:
        return _check_aws(argument if colon else None, base_url)
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


def check_secret(auth: str, secret: str) -> str | None:
    """What is wrong with the form of a secret; None when nothing is. The complaint does not repeat it."""
    if not is_sendable(secret):
        return "cannot be sent in a header"
    if auth.partition(":")[0] == _AWS and not _AWS_SECRET.fullmatch(secret):
        return "is not of the form ACCESS_KEY:SECRET_KEY or ACCESS_KEY:SECRET_KEY:SESSION_TOKEN"
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


# ── AWS ────────────────────────────────────────────────────────────────────────────────

_AWS = "aws_sigv4"
_AWS_SECRET = re.compile(r"[A-Za-z0-9_]{16,128}:[^:\s]{16,}(?::[^:\s]+)?")
_AWS_SCOPE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)(?:/([a-z][a-z0-9-]*))?")
_AWS_HOST = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.|api\.|vpce\.)")
_SERVICE = "bedrock"
_ALGORITHM = "AWS4-HMAC-SHA256"


def _aws_scope(argument: str | None, base_url: str) -> tuple[str, str] | None:
    """Region and service; None where nobody says the region."""
    if argument is not None:
        said = _AWS_SCOPE.fullmatch(argument)
        return (said[1], said[2] or _SERVICE) if said else None
    found = _AWS_HOST.search(urlsplit(base_url).hostname or "")
    return (found[1], _SERVICE) if found else None


def _check_aws(argument: str | None, base_url: str) -> str | None:
    if _aws_scope(argument, base_url) is not None:
        return None
    if argument is None:
        return "auth 'aws_sigv4' needs a region, which this base_url does not tell: aws_sigv4:us-east-1"
    return f"auth 'aws_sigv4:' needs a region such as us-east-1, or us-east-1/bedrock, not {argument!r}"


def _aws_sigv4(wire: WireRequest, secret: str, argument: str, base_url: str, now: float) -> WireRequest:
    """Signs host, content-type and all x-amz- headers; others may be changed on the way without harm."""
    scope = _aws_scope(argument or None, base_url)
    if scope is None or not _AWS_SECRET.fullmatch(secret):
        raise UpstreamDenied("the upstream's credential is not of the form that it takes", upstream_status=0)
    access_key, secret_key, *token = secret.split(":")
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    url = urlsplit(address(base_url, wire))
    headers = {**wire.headers, "x-amz-date": stamp}
    if token:
        headers["x-amz-security-token"] = token[0]
    signed = {name: value for name, value in headers.items() if name == "content-type" or name.startswith("x-amz-")}
    signed["host"] = _host(url.scheme, url.hostname or "", url.port)
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            wire.method,
            quote(_without_dots(url.path) or "/", safe="/~"),
            _aws_query(url.query),
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(wire.body).hexdigest(),
        ]
    )
    place = "/".join((stamp[:8], *scope, "aws4_request"))
    text = "\n".join((_ALGORITHM, stamp, place, hashlib.sha256(canonical.encode()).hexdigest()))
    signature = hmac.new(_aws_key(secret_key, place), text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={access_key}/{place}, SignedHeaders={names}, Signature={signature}"
    )
    return _copy(wire, headers, dict(wire.query))


def _aws_query(query: str) -> str:
    """The query, sorted by name and value, with blanks as %20."""
    pairs = [(quote(key, safe="~"), quote(value, safe="~")) for key, value in parse_qsl(query, True)]
    return "&".join(f"{key}={value}" for key, value in sorted(pairs))


def _host(scheme: str, host: str, port: int | None) -> str:
    """As it stands in the host header: the usual port is not named."""
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, {"https": 443, "http": 80}.get(scheme)) else f"{host}:{port}"


def _without_dots(path: str) -> str:
    """The path without empty, `.` and `..` segments (RFC 3986 section 5.2.4), as the signature counts it."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


@functools.lru_cache(maxsize=64)
def _aws_key(secret_key: str, place: str) -> bytes:
    """The key of a day, a region and a service."""
    key = f"AWS4{secret_key}".encode()
    for word in place.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key


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

KNOWN = (*({"header": "header:NAME", "query": "query:NAME"}.get(name, name) for name in _SIGNERS), "aws_sigv4:REGION")
