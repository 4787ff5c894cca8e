"""What both halves of the dialect share: finish reasons, signatures, citations."""

from __future__ import annotations

import base64
import binascii

from providers.canonical.chat import Citation, Finish, FinishReason, Seal
from providers.dialects._openai.values import Json, Object

NAME = "openai.chat"
FAMILY = "openai"

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
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
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
    reason: FinishReason = _REASONS.get(word.lower(), "other" if word else "stop")
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
        return "function_call", not finish.failed
    return _WORDS.get(finish.reason, "stop"), finish.reason in _WORDS and not finish.failed


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


# ── sound ──────────────────────────────────────────────────────────────────────────────


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
