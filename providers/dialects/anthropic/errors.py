"""Errors, both ways: `{"type": "error", "error": {"type", "message", "details"?}, "request_id"}`.

Reading goes by status first, by `error.type` where there is none (events of a stream), by the text only where one
status has several meanings. Sources: package anthropic 2.10.0 (`_exceptions.py`, `_error_classes.py`), recorded errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from providers.canonical.errors import (
    BadUpstreamBytes,
    Category,
    ContentBlocked,
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
from providers.dialects.anthropic.words import NAME, Json, Object
from providers.wire.hints import plain_text, refusal_headers, retry_after
from providers.wire.json import decode_upstream, encode, escape_lines

_KEEP = 64 << 10  # of an upstream's error body
_LONGEST = 2000  # of its text

#: error.type -> the status that it comes with.
_STATUS: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TOO_LONG = re.compile(
    r"prompt is too long|exceeds? (?:the )?(?:model'?s? )?(?:maximum )?context|context (?:window|length|limit)",
    re.IGNORECASE,
)
_BLOCKED = re.compile(r"blocked by (?:our |the )?content filter", re.IGNORECASE)
_BILLING = re.compile(r"credit balance|spend(?:ing)?[_ ]limit|usage limits?\b", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


# ── reading ────────────────────────────────────────────────────────────────────────────


def decode_error(wire: WireResponse) -> UpstreamError:
    """The error that an upstream's answer, or an event of its stream, means. Never raises."""
    message, kind, code = _said(wire.body)
    status = wire.status if wire.status >= 400 else _STATUS.get(kind or "", 502)
    error_class, more = _classify(status, message, code)
    found = error_class(
        message or f"the upstream answered with status {wire.status}",
        upstream_status=wire.status if wire.status >= 400 else status,
        raw=wire.body[:_KEEP],
        dialect=NAME,
        upstream_type=kind,
        upstream_code=code,
        retry_after=retry_after(wire.headers),
        **more,
    )
    should_retry = wire.headers.get("x-should-retry")
    if should_retry == "false" and found.retry == "same":
        found.retry = "never"
    elif should_retry == "true" and found.retry == "never":
        found.retry = "same"
    return found


def _classify(status: int, message: str, code: str | None) -> tuple[type[UpstreamError], Object]:
    if status in (401, 402, 403) or (status in (400, 429) and _BILLING.search(f"{message} {code}")):
        return UpstreamDenied, {}
    if status == 429:
        return UpstreamBusy, {}
    if status in (408, 504, 522, 524):
        return UpstreamFailed, {"status": 504}
    if status >= 500 or status == 499:
        return UpstreamFailed, {"status": 503 if status in (503, 529) else 502}
    if status in (400, 413) and _TOO_LONG.search(message):
        return ContextTooLong, {"status": status}
    if status == 400 and _BLOCKED.search(message):
        return ContentBlocked, {"status": status}
    if status == 404:
        if "model" in message.lower():
            return ModelNotFound, {}
        return UpstreamRejected, {"status": 404, "code": "not_found"}
    return UpstreamRejected, {"status": status, "code": "payload_too_large" if status == 413 else None}


def _said(data: bytes) -> tuple[str, str | None, str | None]:
    """Message, type and finer code of an error body, whatever its shape."""
    try:
        body = decode_upstream(data)
    except BadUpstreamBytes:
        return plain_text(data), None, None
    outer = body if isinstance(body, dict) else {"message": body}
    inner = outer.get("error")
    error = inner if isinstance(inner, dict) else outer
    candidates = (error.get("message"), outer.get("message"), outer.get("detail"), inner)
    message = next((text for text in candidates if isinstance(text, str) and text), "")
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else error.get("code")
    return message[:_LONGEST], _word(error.get("type")), _word(code)


def _word(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


# ── writing ────────────────────────────────────────────────────────────────────────────

_TYPES: Mapping[Category, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "upstream": "api_error",
    "upstream_unavailable": "api_error",
    "timeout": "timeout_error",
    "internal": "api_error",
}
#: Where the status says more than the kind of fault: clients choose their class of error by both.
_BY_STATUS: Mapping[int, str] = {
    402: "billing_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def envelope(error: RouterError) -> bytes:
    """The error as JSON. Our stable code is its finer code, with the field that is to blame beside it."""
    kind = _BY_STATUS.get(error.status) or _TYPES[error.category]
    code = error.code
    if isinstance(error, UpstreamRejected) and error.dialect == NAME:
        kind = error.upstream_type or kind
        code = error.upstream_code or code
    details: Object = {"error_code": code}
    if error.param is not None:
        details["param"] = error.param
    body = {
        "type": "error",
        "error": {"type": kind, "message": error.message, "details": details},
        "request_id": None,
    }
    return escape_lines(encode(body))


def encode_error(error: RouterError) -> WireResponse:
    return WireResponse(status=error.status, headers=refusal_headers(error), body=envelope(error))
