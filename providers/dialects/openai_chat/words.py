"""What both halves of the dialect share: words, small shapes, and how a value is taken apart without losing a key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from providers.canonical.chat import CacheMark, Citation, Finish, FinishReason, Media, Seal

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "openai.chat"
FAMILY = "openai"

# Values that say nothing. They are kept as a spelling (`form`), so that leaving them out elsewhere is no loss.
_EMPTY: tuple[Json, ...] = (None, "", [], {})

# ── finish reasons (canonical table, section 4, and words seen from compatible servers) ────

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "model_length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "error": "error",
    "network_error": "error",
    "insufficient_system_resource": "error",
}
_OFFICIAL = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})  # all that clients know
_WORDS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


def finish_of(raw: Json, *, calls: bool, refused: bool) -> Finish:
    """What a finish_reason means. Some servers say `stop`, or nothing, although they call tools."""
    word = raw if isinstance(raw, str) else ""
    reason: FinishReason = _REASONS.get(word, "other" if word else "stop")
    if reason == "stop":
        reason = "tool_calls" if calls else "refusal" if refused else "stop"
    return Finish(reason=reason, raw=word or None)


def finish_word(finish: Finish, own: bool, legacy: bool = False) -> tuple[str, bool]:
    """The finish_reason to write, and whether it says the same. `own`: words of this dialect come back as they were."""
    if own and finish.raw in _OFFICIAL:
        meant = _REASONS[finish.raw]
        if meant == finish.reason or (finish.reason, meant) == ("refusal", "stop"):
            return finish.raw, True
    if finish.reason == "tool_calls" and legacy:
        return "function_call", True
    return _WORDS.get(finish.reason, "stop"), finish.reason in _WORDS


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


# ── signatures ─────────────────────────────────────────────────────────────────────────


def take_seal(rest: Object) -> Seal | None:
    """A Google thought signature at `extra_content.google.thought_signature`, where Google's own endpoint has it."""
    content = rest.get("extra_content")
    google = content.get("google") if isinstance(content, dict) else None
    value = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(value, str) or not isinstance(content, dict) or not isinstance(google, dict):
        return None
    others = {key: other for key, other in google.items() if key != "thought_signature"}
    around = {key: other for key, other in content.items() if key != "google"} | ({"google": others} if others else {})
    if around:
        rest["extra_content"] = around
    else:
        del rest["extra_content"]
    return Seal(value=value, origin="gemini")


def put_seal(out: Object, seal: Seal) -> None:
    """Writes a thought signature where `take_seal` finds it."""
    content = dict(out.get("extra_content") or {})
    content["google"] = {**(content.get("google") or {}), "thought_signature": seal.value}
    out["extra_content"] = content


# ── cache marks ────────────────────────────────────────────────────────────────────────

_MARKS = ("prompt_cache_breakpoint", "cache_control")  # OpenAI's; that of Anthropic's models behind routers


def take_mark(rest: Object, at: str) -> tuple[CacheMark | None, Object | None]:
    """A cache mark, and how it was written."""
    key = next((key for key in _MARKS if isinstance(rest.get(key), dict)), None)
    if key is None:
        return None, None
    mark = rest.pop(key)
    written = {key: mark}  # a second mark stays where it is, and is named on its own
    ttl = mark.get("ttl")
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None, at=f"{at}.{key}"), written


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


def join_base64(pieces: list[str]) -> str:
    """Base64 texts, each padded on its own, as one."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


# ── citations ──────────────────────────────────────────────────────────────────────────


def read_citation(raw: Json) -> Citation:
    """One of `annotations`. What is no URL citation is kept whole."""
    cited = raw.get("url_citation") if isinstance(raw, dict) else None
    if not isinstance(cited, dict):
        return Citation(extra={"annotation": raw})
    rest = dict(cited)
    values: Object = {}
    for name, key, kind in (
        ("url", "url", str),
        ("title", "title", str),
        ("start", "start_index", int),
        ("end", "end_index", int),
    ):
        if isinstance(rest.get(key), kind):
            values[name] = rest.pop(key)
    around = {key: value for key, value in raw.items() if key not in ("type", "url_citation")}
    extra = ({"url_citation": rest} if rest else {}) | around
    return Citation(extra=extra or None, **values)


def write_citation(citation: Citation, own: bool, before: int = 0, length: int = 0) -> Object | None:
    """A citation as an annotation; `before` characters stand before its part. None: the dialect has no form for it."""
    extra = dict(citation.extra or {}) if own else {}
    if "annotation" in extra:
        raw: Object = extra["annotation"]
        return raw
    if citation.url is None:
        return None
    start = citation.start if citation.start is not None else 0
    end = citation.end if citation.end is not None else length
    inner: Object = {
        "url": citation.url,
        "title": citation.title or "",
        "start_index": start + before,
        "end_index": end + before,
    }
    if own:
        inner |= extra.pop("url_citation", {})
    return {"type": "url_citation", "url_citation": inner, **extra}
