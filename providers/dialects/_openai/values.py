"""Small shapes of both: taking values apart without losing a key, media, cache marks, tiers, log probabilities."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from providers.canonical.chat import CacheMark, Media, TokenLogprob
from providers.wire.json import as_number, as_text

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

# Values that say nothing. They are kept as a spelling (`form`), so that leaving them out elsewhere is no loss.
_EMPTY: tuple[Json, ...] = (None, "", [], {})

# ── service tiers ──────────────────────────────────────────────────────────────────────

TIERS = {"standard": "default", "standard_only": "default"}
TIER_WORDS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})

# ── taking apart, putting together ─────────────────────────────────────────────────────


def leftovers(rest: Mapping[str, Json]) -> tuple[Object | None, Object | None]:
    """What was not understood: keys that say something (`extra`), and keys that only stand there (`form`)."""
    if not rest:
        return None, None
    keep = {key: value for key, value in rest.items() if value in _EMPTY}
    extra = {key: value for key, value in rest.items() if key not in keep}
    return extra or None, keep or None


def make_form(**spelled: Json) -> Object | None:
    """A `form` of the spellings that differ from the usual one."""
    form = {key: value for key, value in spelled.items() if value}
    return form or None


def restore(out: Object, form: Mapping[str, Json] | None) -> Object:
    """Puts the keys that only stood there back where nothing else took their place."""
    if form and "keep" in form:
        for key, value in form["keep"].items():
            out.setdefault(key, value)
    return out


# ── cache marks ────────────────────────────────────────────────────────────────────────

_MARKS = ("prompt_cache_breakpoint", "cache_control")  # OpenAI's; that of Anthropic's models behind routers
#: What a mark says: its kind is the same everywhere.
_OF_MARKS = frozenset({"type", "mode", "ttl"})


def take_mark(rest: Object, at: str) -> tuple[CacheMark | None, Object | None]:
    """A cache mark, and how it was written."""
    key = next((key for key in _MARKS if isinstance(rest.get(key), dict)), None)
    if key is None:
        return None, None
    mark = rest.pop(key)
    written = {key: mark}  # a second mark stays where it is, and is named on its own
    ttl = mark.get("ttl")
    beside = tuple(name for name in mark if name not in _OF_MARKS)
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None, at=f"{at}.{key}", beside=beside), written


_OF_CHOICES = frozenset({"type", "name", "mode", "tools"})


def beyond_choice(raw: Json) -> Object | None:
    """What a choice of tools says beside names and mode, by the path in it."""
    if type(raw) is not dict:
        return None
    found: Object = {}
    for key, value in raw.items():
        if key in ("function", "custom", "allowed_tools") and type(value) is dict:
            found |= {f"{key}.{inner}": one for inner, one in value.items() if inner not in _OF_CHOICES}
        elif key not in _OF_CHOICES:
            found[key] = value
    return leftovers(found)[0]


# ── media ──────────────────────────────────────────────────────────────────────────────

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)


def from_url(url: str, **fields: Any) -> Media:
    """Media from a URL; a data URL is taken apart (RFC 2397), and how it was spelled is kept."""
    match = _DATA_URL.match(url)
    if match is None:
        return Media(url=url, **fields)
    mime, data = match[1] or "text/plain", url[match.end() :]
    if not match[3]:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    usual = url == f"data:{mime};base64,{data}"
    return Media(mime_type=mime, base64=data, form=None if usual else {"url": url}, **fields)


def to_url(media: Media, own: bool) -> str | None:
    """The URL of media, a data URL where we have its bytes; None where it is only known by an id."""
    if own and media.form and "url" in media.form:
        return str(media.form["url"])
    if media.base64 is not None:
        return f"data:{media.mime_type or 'application/octet-stream'};base64,{media.base64}"
    return media.url


# ── log probabilities ──────────────────────────────────────────────────────────────────


def read_token(raw: Object) -> TokenLogprob:
    """One token of an answer; TypeError, ValueError or KeyError for what is none."""
    rest = dict(raw)
    token, logprob = as_text(rest.pop("token")), as_number(rest.pop("logprob"))
    spelled = rest.pop("bytes", None)
    top = rest.pop("top_logprobs", None)
    return TokenLogprob(
        token=token,
        logprob=logprob,
        bytes=tuple(spelled) if spelled is not None else None,
        top=tuple(read_token(one) for one in top or ()),
        extra=rest or None,
    )


def write_token(token: TokenLogprob, top: bool = False) -> Object:
    """`bytes` are those of the token's text, unless the upstream says that it is only a piece of a character."""
    spelled = token.bytes if token.bytes is not None else tuple(token.token.encode())
    out: Object = {"token": token.token, "logprob": token.logprob, "bytes": list(spelled)}
    if not top:
        out["top_logprobs"] = [write_token(one, True) for one in token.top]
    return out | dict(token.extra or {})
