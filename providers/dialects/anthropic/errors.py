"""Errors, both ways: `{"type": "error", "error": {"type", "message", "details"?}, "request_id"}`.

Reading goes by status first, by `error.type` where there is none (events of a stream), by the text only where one
status has several meanings. Sources: package anthropic 2.10.0 (`_exceptions.py`, `_error_classes.py`), recorded errors.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from providers.canonical.errors import (
    BadUpstreamBytes,
    Category,
    ContextTooLong,
    MethodNotAllowed,
    ModelNotFound,
    NotAuthenticated,
    RouterError,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.dialect import WireResponse
from providers.dialects.anthropic.words import HEADERS, NAME, Json, Object
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
        return _plain(data), None, None
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


def _plain(data: bytes) -> str:
    """Text without markup, for pages of proxies."""
    text = html.unescape(_TAG.sub(" ", data[:_KEEP].decode("utf-8", "replace")))
    return " ".join(_TAG.sub(" ", text).replace("<", " ").replace(">", " ").split())[:1000]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: `retry-after-ms`, then `retry-after` in seconds or as a date, counted from the answer's own."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None or text is None:
        return seconds
    try:
        wait = (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


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
    headers = dict(HEADERS)
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    elif error.status in (429, 503):
        headers["retry-after"] = "1"  # promised with these statuses; nobody said how long
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = f'Bearer error="{error.code}"'
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    return WireResponse(status=error.status, headers=headers, body=envelope(error))
