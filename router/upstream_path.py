"""The upstream that a caller names in our path: `/api/v1/proxy/https://api.example.com/v1/KEY/chat/completions`.

Clients send the same URL in a dozen spellings, proxies in between rewrite it, and attackers spell it so that
a checker and a connector see different hosts. So there is one parser, over the raw target, and nobody parses
again:

    raw target ─ characters ─ task, from the right ─ head
    head ─ reveal (percent signs) ─ scheme, host, port, path ─ a listed row, an unlisted upstream, or refused
    what the row's base URL leaves of the head ─ key

For a listed row no text of the caller becomes part of the outgoing URL: only the row's name comes back.
All refusals are `PathProblem` with a fixed text, so that nothing of a bad target is echoed; nothing else is
ever raised. Pure: no I/O, no clock. Addresses are checked where connections are made
(`router/egress.py`); here an unlisted upstream must be named by a public-looking host name, never an address.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

LONGEST = 4096
MASK = "***"

_TAILS: dict[str, str | None] = {
    "/v1/messages/count_tokens": "anthropic.messages",
    "/chat/completions": "openai.chat",
    "/v1/messages": "anthropic.messages",
    "/v1alpha/models": None,
    "/v1beta/models": None,
    "/api/generate": "ollama.chat",
    "/completions": None,
    "/embeddings": "openai.embeddings",
    "/responses": "openai.responses",
    "/api/chat": "ollama.chat",
    "/models": None,
}  # longest first
_KEYLESS_TAILS = ("/v1alpha/models", "/v1beta/models")
_VERSIONS = ("v1", "v1alpha", "v1beta")
_MODEL_PATH = re.compile(r"(.*)/(v1|v1alpha|v1beta)/(models|tunedModels)/([^/]+)", re.DOTALL)
_MODEL = re.compile(r"[A-Za-z0-9._~:@+*=,-]+(?:/[A-Za-z0-9._~:@+*=,-]+)*")
_BAD_CHARACTER = re.compile(r"[^\x21-\x5b\x5d-\x7e]")
_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_URL = re.compile(r"https?:/", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d{1,5}(?:/|$))")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_KEY = re.compile(r"[A-Za-z0-9._~:+=/|@!$*,-]{1,512}")
_UNLISTED_PATH = re.compile(r"(?:/[A-Za-z0-9._~:+=@!$*,-]+)*")
_PUBLIC_NAME = re.compile(r"(?=.{4,253}$)(?:[a-z0-9_-]{1,63}\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]{2,59})")
_LOCAL_NAME = re.compile(r"(?:.*\.)?(?:localhost|localdomain|local|internal|intranet|lan|home|corp|arpa)")
_KEY_LIKE = re.compile(r"[a-z0-9_-]{20,}|(?:^|\.)(?:sk-|sk_|aiza|eyj|gsk_|xai-)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CONFIGURED = ("", "-", "_")  # key parts that ask for the row's own key

Unlisted: TypeAlias = bool | tuple[str, ...]


class Listed(msgspec.Struct, frozen=True):
    """A provider row that the route's `egress.listed` names."""

    name: str
    base_url: str


class UpstreamPath(msgspec.Struct, frozen=True, kw_only=True):
    """What a path names: a listed row, the default target or an unlisted base URL; and what is asked of it.

    `tail` is the end of the path, decoded; it holds no text of the caller but the model's name and the task.
    `dialect` is the one whose callers end a path so; None where the tail does not tell (lists of models,
    Gemini's paths) and the route's row must. `model`, `task`, `version` come from Gemini's paths only; `task`
    is None where the path names a model and nothing to do with it. `key` is None where the configured key is
    meant.
    """

    tail: str
    dialect: str | None = None
    listed: str | None = None
    default: bool = False
    base_url: str | None = None
    key: str | None = None
    model: str | None = None
    task: str | None = None
    version: str | None = None

    def __repr__(self) -> str:
        """Every field but the key, which may be there or not."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "key")
        return f"UpstreamPath({', '.join(shown)}, key={None if self.key is None else MASK!r})"


class PathProblem(Exception):
    """A path that is refused. The text is fixed for each code: nothing that the caller sent is in it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def parse(raw_path: str, prefix: str, listed: Sequence[Listed], *, unlisted: Unlisted, default: bool) -> UpstreamPath:
    """Read a raw request target below `prefix`; `unlisted` may be host patterns (`a.example`, `*.example`).

    Raises `PathProblem`: 400 `invalid_proxy_url`, 400 `invalid_proxy_key`, 403 `upstream_not_allowed`, 404
    `not_found`.
    """
    rest = _after(raw_path, prefix)
    if rest is None:
        raise _not_found()
    rest = rest.rstrip("/")
    if len(rest) > LONGEST or _BAD_CHARACTER.search(rest):
        raise _bad_url()
    head, task = _task(rest)
    if _means_default(head, task):
        if not default:
            raise _not_found()
        return msgspec.structs.replace(task, default=True)
    place = _locate(head)
    match = _best(place, listed)
    if match is None:
        return _unlisted(head, place, task, unlisted)
    row, remainder = match
    if _is_keyless(task):
        if remainder.strip("/") not in ("", *_VERSIONS):
            raise _bad_url()
        return msgspec.structs.replace(task, listed=row.name)
    # What was revealed is decoded already, unless the whole URL, key included, was one encoded segment.
    key = remainder.strip("/")
    key = _decode(key) if place.passes == 0 or "/" not in head else key
    return msgspec.structs.replace(task, listed=row.name, key=_key(key))


def redacted(raw_path: str, prefix: str, listed: Sequence[Listed] | None = None) -> str:
    """What a log may say of a target: prefix, host, task; never a key, a model or a query, whatever was sent.

    With `listed` only the hosts of those rows are shown. Without, any host of an `https://…` that looks like
    one: then a caller who writes a key into the host name itself, short and without a prefix that keys have,
    is not protected from himself.
    """
    rest = _after(raw_path, prefix)
    if rest is None:
        return MASK
    try:
        head, task = _task(rest.rstrip("/"))
    except PathProblem:
        return prefix + MASK
    tail = f"/{task.version}/models/{MASK}" if task.version else task.tail
    if _means_default(head, task):
        return f"{prefix}default{tail}"
    host = _host_to_show(head, listed)
    if not host:
        return f"{prefix}{MASK}{tail}"
    return f"{prefix}{host}{tail}" if _is_keyless(task) else f"{prefix}{host}/{MASK}{tail}"


def _host_to_show(head: str, listed: Sequence[Listed] | None) -> str:
    """The host of a head that is surely a URL: a first segment alone may be a key that lost its URL."""
    try:
        place = _locate(head)
    except PathProblem:
        return ""
    if listed is not None:
        bases = (_base(row.base_url) for row in listed)
        return place.host if place.host in [base.host for base in bases if base] else ""
    surely = place.scheme and _PUBLIC_NAME.fullmatch(place.host) and not _KEY_LIKE.search(place.host)
    return place.host if surely else ""


# ── the task, from the right ─────────────────────────────────────────────────────────


def _after(raw_path: str, prefix: str) -> str | None:
    """The target behind the prefix, without its query; None when it does not start so."""
    path = raw_path.partition("?")[0]
    if not path.startswith("/"):
        path = _ABSOLUTE_FORM.sub("", path, count=1)
    return path[len(prefix) :] if path.startswith(prefix) else None


def _task(rest: str) -> tuple[str, UpstreamPath]:
    """Head, and what the end of the path asks for."""
    path = f"/{rest}"
    for tail, dialect in _TAILS.items():
        if path.endswith(tail):
            return path[1 : -len(tail)], UpstreamPath(dialect=dialect, tail=tail)
    found = _MODEL_PATH.fullmatch(path)
    if found is None:
        raise _not_found()
    head, version, collection, segment = found.groups()
    segment = _decode(segment)
    model, colon, task = segment.rpartition(":")
    if not colon:
        model = task
    if not _MODEL.fullmatch(model) or len(model) > 256 or _has_dots(model):
        raise _bad_url()
    if colon and not (task.isascii() and task.isalpha() and len(task) <= 64):
        raise _bad_url()
    asked = UpstreamPath(
        tail=f"/{version}/{collection}/{segment}",
        model=model,
        task=task if colon else None,
        version=version,
    )
    return head[1:], asked


def _is_keyless(task: UpstreamPath) -> bool:
    """Paths with a version and a model carry no key: what stands before them is a base URL to its end."""
    return task.version is not None or task.tail in _KEYLESS_TAILS


def _means_default(head: str, task: UpstreamPath) -> bool:
    return head == "default" or (_is_keyless(task) and head in [f"default/{version}" for version in _VERSIONS])


# ── the head ─────────────────────────────────────────────────────────────────────────


class _Place(msgspec.Struct, frozen=True):
    """A head taken apart. `authority` is as sent, for comparing with names; `passes` counts the decodings."""

    scheme: str | None
    authority: str
    host: str
    port: int | None  # None: the default one
    path: str
    passes: int


def _locate(head: str) -> _Place:
    text, passes = _reveal(head)
    if _BAD_CHARACTER.search(text) or "?" in text or "#" in text or _has_dots(text):
        raise _bad_url()
    scheme = None
    if found := _SCHEME.match(text):
        scheme = found[1].lower()
        if scheme not in _DEFAULT_PORTS or not _URL.match(text):
            raise _bad_url()
        # A proxy that merges slashes makes `https:/host` of `https://host`.
        text = text[found.end() :].removeprefix("/").removeprefix("/")
    authority, slash, path = text.partition("/")
    host, port = _host_and_port(authority)
    if scheme and port == _DEFAULT_PORTS[scheme]:
        port = None
    return _Place(scheme, authority, host, port, slash + path, passes)


def _reveal(head: str) -> tuple[str, int]:
    """Take percent signs off a head that hides its scheme: first off all of it, then off its first segment.

    The second pass is for a URL that was encoded twice; a key beside it must not be decoded twice as well.
    """
    if "%" not in head or _URL.match(head):
        return head, 0
    head = _decode(head)
    if "%" not in head or _URL.match(head):
        return head, 1
    first, slash, others = head.partition("/")
    return _decode(first) + slash + others, 2


def _host_and_port(authority: str) -> tuple[str, int | None]:
    text = re.sub(r"%5[bB]([0-9A-Fa-f:.]*)%5[dD]", r"[\1]", authority, count=1).lower()
    host, colon, digits = text, "", ""
    if not text.endswith("]"):
        bracketed = text.rpartition("]")
        host, colon, digits = bracketed[2].partition(":")
        host = bracketed[0] + bracketed[1] + host
    if colon and not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536):
        raise _bad_url()
    port = int(digits) if colon else None
    if host.startswith("[") and host.endswith("]"):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]", port
        except ValueError:
            raise _bad_url() from None
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise _bad_url()
    return host, port


def _has_dots(text: str) -> bool:
    """Is there a `.` or `..` segment, as it stands or under up to three layers of encoding?"""
    for _ in range(4):
        if any(segment in (".", "..") for segment in re.split(r"[/\\]", text)):
            return True
        if "%" not in text:
            return False
        text = _decode(text)
    return False


def _decode(text: str) -> str:
    # Latin-1, so that bytes above ASCII stay visible as characters above ASCII and are refused.
    return unquote_to_bytes(text).decode("latin-1") if "%" in text else text


# ── listed and unlisted ──────────────────────────────────────────────────────────────


def _best(place: _Place, listed: Sequence[Listed]) -> tuple[Listed, str] | None:
    """The row that fits closest, the first of equals, and what it leaves of the path."""
    best, best_fit, left = None, 0, ""
    for row in listed:
        fit, remainder = _fit(place, row)
        if fit > best_fit:
            best, best_fit, left = row, fit, remainder
    return None if best is None else (best, left)


def _fit(place: _Place, row: Listed) -> tuple[int, str]:
    """How closely a row fits (0: not), and the remainder: by name before base URL before bare host."""
    if place.scheme is None and place.authority == row.name:
        return LONGEST * 2, place.path
    base = _base(row.base_url)
    if base is None or place.host != base.host or place.scheme not in (None, base.scheme):
        return 0, ""
    default = _DEFAULT_PORTS[base.scheme or "https"]
    if (place.port or default) != (base.port or default):
        return 0, ""
    path = base.path.rstrip("/")
    if place.path == path or place.path.startswith(f"{path}/"):
        return 2 + len(path), place.path[len(path) :]
    return (1, place.path) if place.scheme is None else (0, "")


@functools.lru_cache(maxsize=1024)
def _base(base_url: str) -> _Place | None:
    """A configured base URL taken apart by the same rules; None for one that no path can name."""
    try:
        place = _locate(base_url)
    except PathProblem:
        return None
    return place if place.scheme else None


def _unlisted(head: str, place: _Place, task: UpstreamPath, unlisted: Unlisted) -> UpstreamPath:
    if not unlisted or not _may_call(place, unlisted):
        raise PathProblem(403, "upstream_not_allowed", "This upstream is not allowed.")
    key = ""
    if _is_keyless(task):
        path = place.path.rstrip("/")
        path = next((path[: -len(v) - 1] for v in _VERSIONS if path.endswith(f"/{v}")), path)
    elif not place.path.strip("/"):
        path = ""
    elif "/" in head:
        # The last raw slash divides: the key may hold encoded ones.
        url, _, key = head.rpartition("/")
        path, key = _locate(url).path, _decode(key)
    else:
        path, _, key = place.path.rpartition("/")
        key = _decode(key)
    path = path.rstrip("/")
    if not _UNLISTED_PATH.fullmatch(path):
        raise _bad_url()
    return msgspec.structs.replace(task, base_url=f"https://{place.host}{path}", key=_key(key))


def _may_call(place: _Place, unlisted: Unlisted) -> bool:
    if place.scheme != "https" or place.port is not None:
        return False
    if not _PUBLIC_NAME.fullmatch(place.host) or _LOCAL_NAME.fullmatch(place.host):
        return False
    if isinstance(unlisted, bool):
        return unlisted
    return any(_matches(place.host, pattern.lower()) for pattern in unlisted)


def _matches(host: str, pattern: str) -> bool:
    """`*.example` is every name below example, not example itself."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _key(key: str) -> str | None:
    if key in _CONFIGURED:
        return None
    if not _KEY.fullmatch(key) or _has_dots(key):
        raise PathProblem(400, "invalid_proxy_key", "The upstream key in the path is not valid.")
    return key


def _bad_url() -> PathProblem:
    return PathProblem(400, "invalid_proxy_url", "The upstream URL in the path is not valid.")


def _not_found() -> PathProblem:
    return PathProblem(404, "not_found", "There is nothing at this path.")
