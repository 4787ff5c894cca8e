"""What both halves of the dialect share: words, names and ids, seals, cache marks, citations, small shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from providers.canonical.chat import CacheMark, Citation, Finish, FinishReason, Seal
from providers.canonical.errors import UnsupportedParameter

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "anthropic.messages"
FAMILY = "anthropic"  # origin of its seals
VERSION = "2023-06-01"  # sent where nobody says otherwise: the one that all models understand
STRICTER_VERSION = "2026-10-21"  # it refuses sampling fields, and more (notes on the wire, anthropic.md)
HEADERS = {"content-type": "application/json"}
CONTENT_TYPE = "text/event-stream; charset=utf-8"

#: Canonical parameter -> where a caller of this dialect writes it.
PATHS: Mapping[str, str] = {
    "max_output_tokens": "max_tokens",
    "stop": "stop_sequences",
    "end_user": "metadata.user_id",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "reasoning": "thinking",
    "show_reasoning": "thinking.display",
    "totalTokens": "input_tokens",  # of a count that is estimated
    "tools[].parameters": "tools[].input_schema",
    "messages[].content[].filename": "messages[].content[].title",
    "messages[].content[].content[].filename": "messages[].content[].content[].title",
    "messages[].content[].thought_signature": "messages[].content[].signature",
    "messages[].content[].called": "messages[].content[].id",
    "messages[].content[].answered": "messages[].content[].tool_use_id",
}

# ── taking apart, putting together ─────────────────────────────────────────────────────

# Values that say nothing. They are kept as a spelling (`form`), so that leaving them out elsewhere is no loss.
_EMPTY: tuple[Json, ...] = (None, "", [], {})


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


def form_of(value: Any) -> Mapping[str, Json]:
    return value.form or {}


def restore(out: Object, form: Mapping[str, Json]) -> Object:
    """Puts the keys that only stood there back where nothing else took their place."""
    for key, value in form.get("keep", {}).items():
        out.setdefault(key, value)
    return out


def refuse(field: str, reason: str) -> UnsupportedParameter:
    """The loss would make a wrong answer: nothing is sent."""
    return UnsupportedParameter(f"{field}: {reason}", param=field)


# ── why an answer ended (canonical table, section 4) ───────────────────────────────────

_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_WORDS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}


def finish_of(raw: Json, sequence: Json, details: Json) -> Finish:
    """What a stop_reason means; the explanation of a refusal stands in stop_details."""
    word = raw if isinstance(raw, str) and raw else None
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return Finish(
        reason=_REASONS.get(word, "other") if word else "stop",
        raw=word,
        message=explanation if isinstance(explanation, str) and explanation else None,
        stop_sequence=sequence if isinstance(sequence, str) else None,
    )


def finish_word(finish: Finish, own: bool) -> tuple[str, bool]:
    """The stop_reason to write, and whether it says the same. Words of this dialect come back as they were."""
    if own and finish.raw is not None and (_REASONS.get(finish.raw, "other") == finish.reason):
        return finish.raw, True
    if finish.reason == "stop" and finish.stop_sequence is not None:
        return "stop_sequence", True
    return _WORDS.get(finish.reason, "end_turn"), finish.reason in _WORDS and not finish.failed


def stop_details(finish: Finish) -> Object | None:
    """What a refusal is explained with, where another dialect's provider explained it."""
    if finish.reason not in ("refusal", "content_filter") or finish.message is None:
        return None
    return {"type": "refusal", "category": None, "explanation": finish.message}


# ── names and ids ──────────────────────────────────────────────────────────────────────

_FITS_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FITS_ID = re.compile(r"[a-zA-Z0-9_-]+")
_PREFIX = "isthmus_"
_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPED = re.compile(r"-([0-9a-f]{1,6})-")

#: The tool that stands for a wanted schema on models without structured output; no caller's tool can have this name,
#: for what `written_name` escapes never ends so.
ANSWER_TOOL = "isthmus_answer--"


def _escape(text: str) -> str:
    """In letters, digits, _ and - only, so that `_unescape` finds it again."""
    return _PREFIX + _OUTSIDE.sub(lambda match: f"-{ord(match[0]):x}-", text)


def _unescape(text: str) -> str:
    if not text.startswith(_PREFIX):
        return text
    try:
        original = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text[len(_PREFIX) :])
    except ValueError:
        return text
    return original if _escape(original) == text else text


def written_name(name: str, at: str) -> str:
    """A tool's name as this dialect takes it. UnsupportedParameter for one that is too long in any spelling."""
    if _FITS_NAME.fullmatch(name):
        return name
    escaped = _escape(name)
    if not name or not _FITS_NAME.fullmatch(escaped):
        raise refuse(at, "the target takes tool names of 1 to 128 letters, digits, _ and -")
    return escaped


def read_name(name: str) -> str:
    """The caller's name of a tool that `written_name` escaped."""
    original = _unescape(name)
    return name if not original or _FITS_NAME.fullmatch(original) else original


def written_id(identifier: str) -> str:
    """The id of a call as this dialect takes it."""
    return identifier if _FITS_ID.fullmatch(identifier) else _escape(identifier)


def read_id(identifier: str) -> str:
    """The id that `written_id` escaped, as it was."""
    original = _unescape(identifier)
    return identifier if _FITS_ID.fullmatch(original) else original


# ── seals ──────────────────────────────────────────────────────────────────────────────
# A signature of another family is given to callers of this dialect where their clients echo it: in `signature` of
# thinking, in `data` of redacted thinking, as an additional key of a call. It is marked with its origin, so that it is
# known again when it comes back, and never taken for one of this family.

_MARK = "isthmus."
MARK = b'"isthmus.'  # how a marked value begins in JSON
UNSIGNED = "isthmus.unsigned"


def told_seal(seal: Seal | None) -> str:
    """A seal as callers of this dialect are given it."""
    if seal is None:
        return UNSIGNED
    return seal.value if seal.origin == FAMILY else f"{_MARK}{seal.origin}.{seal.value}"


def read_seal(value: str, at: str) -> Seal | None:
    """What `told_seal` wrote, or this family's own; None for thinking that nobody signed."""
    if not value or value == UNSIGNED:
        return None
    if value.startswith(_MARK):
        origin, dot, rest = value[len(_MARK) :].partition(".")
        if dot and origin:
            return Seal(value=rest, origin=origin, at=at)
    return Seal(value=value, origin=FAMILY, at=at)


def is_marked(value: Json) -> bool:
    """Is it a signature that only we can read?"""
    return type(value) is str and value.startswith(_MARK)


# ── cache marks ────────────────────────────────────────────────────────────────────────


def take_mark(rest: Object, at: str) -> tuple[CacheMark | None, Json]:
    """A cache mark, and in a list how it was written."""
    mark = rest.get("cache_control")
    if not isinstance(mark, dict):
        return None, None
    del rest["cache_control"]
    ttl = mark.get("ttl")
    beside = tuple(key for key in mark if key not in ("type", "ttl"))
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None, at=f"{at}.cache_control", beside=beside), [mark]


# ── citations ──────────────────────────────────────────────────────────────────────────


def read_citation(raw: Json, at: str = "") -> Citation:
    """One of `citations`, kept whole; offsets there count within the source, not within our text."""
    if not isinstance(raw, dict):
        return Citation(extra={"citation": raw}, at=at)
    url = raw.get("url") or raw.get("source")
    title = raw.get("title") or raw.get("document_title")
    return Citation(
        url=url if isinstance(url, str) and url.startswith(("http://", "https://")) else None,
        title=title if isinstance(title, str) else None,
        extra={"citation": raw},
        at=at,
    )


def write_citation(citation: Citation, own: bool, text: str) -> Object | None:
    """A citation of `text`. Another dialect's becomes one of a web search; None where it has no URL."""
    raw = (citation.extra or {}).get("citation") if own else None
    if raw is not None:
        kept: Object = raw
        return kept
    if citation.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "cited_text": text[citation.start or 0 : citation.end],
        "encrypted_index": UNSIGNED,
        "title": citation.title,
        "url": citation.url,
    }
