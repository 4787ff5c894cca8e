"""Errors of the upstream: `{"message": "…", "id": "…"}`, newer ones with `error_type`."""

from __future__ import annotations

import re
from typing import Any

from providers.canonical.errors import (
    BadUpstreamBytes,
    ContextTooLong,
    ModelNotFound,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.dialect import WireResponse
from providers.wire.hints import retry_after
from providers.wire.json import decode_upstream

from .words import NAME, Json, Object

_KEEP = 64 << 10  # of an upstream's error body
_LONGEST = 2000  # of its text

_TOO_LONG = re.compile(r"too many tokens|exceeds? the (?:maximum|limit).{0,40}tokens", re.IGNORECASE)


def decode_error(wire: WireResponse) -> UpstreamError:
    """The error that an upstream's answer, or an event of its stream (status 200), means. Never raises."""
    message, word = _said(wire.body)
    kind, more = _classify(wire.status, message, word)
    fields: dict[str, Any] = {
        "upstream_status": wire.status,
        "raw": wire.body[:_KEEP],
        "dialect": NAME,
        "upstream_type": word,
        "upstream_code": word,
        "retry_after": retry_after(wire.headers),
        **more,
    }
    return kind(message or f"the upstream answered with status {wire.status}", **fields)


def _classify(status: int, message: str, word: str | None) -> tuple[type[UpstreamError], Object]:
    if status in (401, 402, 403, 407, 498):  # 498: a token that is not valid
        return UpstreamDenied, {}
    if status == 429:
        return UpstreamBusy, {}
    if status in (200, 400, 413, 422) and (word == "TOO_MANY_TOKENS" or _TOO_LONG.search(message)):
        return ContextTooLong, {}
    if status in (408, 504):
        return UpstreamFailed, {"status": 504}
    if status in (503, 529):
        return UpstreamFailed, {"status": 503}
    if status >= 499 or status < 400:
        return UpstreamFailed, {"status": 502}
    if status == 404 and "model" in message.lower():
        return ModelNotFound, {}
    return UpstreamRejected, {"status": status}


def _said(body: bytes) -> tuple[str, str | None]:
    try:
        said = decode_upstream(body)
    except BadUpstreamBytes:
        text = body[:_KEEP].decode("utf-8", "replace").strip()
        return ("" if text.startswith("<") else text[:_LONGEST]), None
    if type(said) is not dict:
        return "", None
    word = said.get("error_type")
    return _text(said)[:_LONGEST], word if type(word) is str else None


def _text(said: Object) -> str:
    found: Json = said.get("message") or said.get("error") or said.get("detail")
    if type(found) is dict:
        found = found.get("message")
    return found if type(found) is str else ""
