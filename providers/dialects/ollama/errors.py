"""Errors, both ways. An error is `{"error": "text"}`, with a status or as a line of a stream that began well.

Facts: client of the package ollama 0.6.3, which shows `error` and the status; recorded calls.
"""

from __future__ import annotations

import re
from typing import Any

from providers.canonical.errors import (
    BadUpstreamBytes,
    ContextTooLong,
    ModelNotFound,
    RouterError,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.dialect import WireResponse
from providers.wire.hints import refusal_headers, retry_after
from providers.wire.json import decode_upstream, encode, escape_lines

from .words import NAME, Json, Object

_KEEP = 64 << 10  # of an upstream's error body
_LONGEST = 2000  # of its text

_NO_MODEL = re.compile(r"\bmodel\b.{0,300}\bnot found\b|try pulling it first", re.IGNORECASE | re.DOTALL)
_TOO_LONG = re.compile(r"exceeds? the (?:available )?(?:context|maximum context)|context length", re.IGNORECASE)
_BUSY = re.compile(r"server busy|maximum pending requests", re.IGNORECASE)


# ── reading ────────────────────────────────────────────────────────────────────────────


def decode_error(wire: WireResponse) -> UpstreamError:
    """The error that an upstream's answer, or a line of its stream (status 200), means. Never raises."""
    message = _message(wire.body)
    kind, more = _classify(wire.status, message)
    fields: dict[str, Any] = {
        "upstream_status": wire.status,
        "raw": wire.body[:_KEEP],
        "dialect": NAME,
        "retry_after": retry_after(wire.headers),
        **more,
    }
    return kind(message or f"the upstream answered with status {wire.status}", **fields)


def _classify(status: int, message: str) -> tuple[type[UpstreamError], Object]:
    if status in (401, 402, 403, 407):
        return UpstreamDenied, {}
    if status == 429:
        return UpstreamBusy, {}
    if _NO_MODEL.search(message) and status in (200, 400, 404):
        return ModelNotFound, {}
    if _TOO_LONG.search(message) and status in (200, 400, 413, 500):
        return ContextTooLong, {}
    if status in (408, 504):
        return UpstreamFailed, {"status": 504}
    if status in (503, 529) or _BUSY.search(message):
        return UpstreamFailed, {"status": 503}
    if status >= 500 or status < 400:
        return UpstreamFailed, {"status": 502}
    return UpstreamRejected, {"status": status}


def _message(body: bytes) -> str:
    try:
        said = decode_upstream(body)
    except BadUpstreamBytes:
        text = body[:_KEEP].decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text[:_LONGEST]
    return _text(said)[:_LONGEST]


def _text(said: Json) -> str:
    if type(said) is dict:
        said = said.get("error") or said.get("message") or said.get("detail")
    if type(said) is dict:
        said = said.get("message")
    return said if type(said) is str else ""


# ── writing ────────────────────────────────────────────────────────────────────────────


def envelope(error: RouterError) -> bytes:
    """`error` is the text that clients show; `code`, and `param` where a field is meant, are ours."""
    body: Object = {"error": error.message, "code": error.code}
    if error.param is not None:
        body["param"] = error.param
    return escape_lines(encode(body))


def encode_error(error: RouterError) -> WireResponse:
    return WireResponse(status=error.status, headers=refusal_headers(error), body=envelope(error))
