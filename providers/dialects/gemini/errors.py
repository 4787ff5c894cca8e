"""Google's error envelope, both ways: `{"error": {"code", "message", "status", "details": […]}}`.

Sources: google-genai 3.3.0 `errors.py`; the error table of ai.google.dev; the recorded errors. A wrong API key is a 400
with reason API_KEY_INVALID, an empty prepaid account 402, and the time to wait stands only in the body (RetryInfo).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
from providers.dialects.gemini.names import NAME, Json
from providers.wire import json as wire_json
from providers.wire.hints import refusal_headers, retry_after
from providers.wire.sse import stray

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_RAW_LIMIT = 64 << 10
_MESSAGE_LIMIT = 4000

#: category -> status word; `upstream_unavailable` and the rest of the tree follow the project's error map.
_BY_CATEGORY: Mapping[str, str] = {
    "invalid_request": "INVALID_ARGUMENT",
    "authentication": "UNAUTHENTICATED",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "too_large": "INVALID_ARGUMENT",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "overloaded": "UNAVAILABLE",
    "upstream": "INTERNAL",
    "upstream_unavailable": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
    "internal": "INTERNAL",
}
#: For errors of the upstream that keep its status.
_BY_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
}
_TOO_LONG = re.compile(
    r"token count.{0,80}exceed|exceeds? the maximum number of tokens|context (?:length|window)", re.IGNORECASE
)
_BILLING = re.compile(
    r"billing|prepa(?:id|yment)|user location is not supported|free tier is not available", re.IGNORECASE
)
_NO_MODEL = re.compile(r"models?[ /].{0,200}not (?:found|supported)|not found.{0,80}model", re.IGNORECASE)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s?")


# ── writing ────────────────────────────────────────────────────────────────────────────


def status_word(error: RouterError) -> str:
    """Google's word for an error."""
    if isinstance(error, UpstreamRejected | UpstreamDenied) and error.status in _BY_STATUS:
        return _BY_STATUS[error.status]
    return _BY_CATEGORY[error.category]


def envelope(error: RouterError) -> dict[str, Json]:
    """The error as a body. Our stable code is the `reason` of an ErrorInfo detail."""
    details: list[Json] = [{"field": one.field, "description": one.description} for one in error.details]
    if not details and error.param:
        details.append({"field": error.param, "description": error.message})
    info: dict[str, Json] = {"@type": _ERROR_INFO, "reason": error.code, "domain": "isthmus"}
    if isinstance(error, UpstreamError) and error.upstream_code:
        info["metadata"] = {"upstream": error.upstream_code}
    details.append(info)
    if error.retry_after is not None:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{error.retry_after:.3f}".rstrip("0").rstrip(".") + "s"})
    body: dict[str, Json] = {
        "code": error.status,
        "message": error.message,
        "status": status_word(error),
        "details": details,
    }
    if error.status == 500:
        body["type"] = "server_error"
    return {"error": body}


def encode_error(error: RouterError) -> WireResponse:
    return WireResponse(status=error.status, headers=refusal_headers(error), body=wire_json.encode(envelope(error)))


# ── reading ────────────────────────────────────────────────────────────────────────────


class _Said:
    """What an error body says, whatever its shape."""

    def __init__(self, body: bytes) -> None:
        self.message = ""
        self.word: str | None = None
        self.code: int | None = None
        self.reason: str | None = None
        self.delay: float | None = None
        self.param: str | None = None
        try:
            value = wire_json.decode_upstream(body)
        except RouterError:
            return
        self._read(value[0] if isinstance(value, list) and value else value)

    def _read(self, value: Json) -> None:
        error = value.get("error", value) if isinstance(value, dict) else value
        if isinstance(error, str):
            self.message = error
        if not isinstance(error, dict):
            return
        message = error.get("message") or error.get("detail")
        self.message = message if isinstance(message, str) else ""
        self.word = error["status"] if isinstance(error.get("status"), str) else None
        self.code = error["code"] if isinstance(error.get("code"), int) else None
        for detail in error.get("details") or () if isinstance(error.get("details"), list) else ():
            if isinstance(detail, dict):
                self._read_detail(detail)

    def _read_detail(self, detail: dict[str, Json]) -> None:
        if isinstance(detail.get("reason"), str):
            self.reason = detail["reason"]
        if isinstance(detail.get("retryDelay"), str):
            self.delay = _seconds(detail["retryDelay"])
        violations = detail.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            field = violations[0].get("field")
            self.param = field if isinstance(field, str) and field else None


def _seconds(text: str) -> float | None:
    match = _SECONDS.fullmatch(text.strip())
    return float(match[1]) if match else None


def is_error(body: Json) -> bool:
    """Is a good answer, or an event of a stream, an error all the same? Some of the service's stand in a list."""
    said = body[0] if type(body) is list and body else body
    return type(said) is dict and bool(said.get("error"))


def read_payload(payload: bytes, read: Callable[[bytes], Json] = wire_json.decode_upstream) -> dict[str, Json]:
    """An event as an object. UpstreamError for one that says an error, BadUpstreamBytes for what is none."""
    body = read(payload)
    if type(body) is not dict or body.get("error"):
        if is_error(body):
            raise decode_error(WireResponse(status=200, body=payload))
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream's stream holds something that is no object")
    return body


def stray_error(raw: bytes) -> UpstreamError:
    """The error that stands where an event should be: a stream may turn into a bare JSON text. BadUpstreamBytes for
    what is none."""
    text = stray(raw, seen=False)
    wire_json.decode_upstream(text)
    return decode_error(WireResponse(status=200, body=text))


def decode_error(wire: WireResponse) -> UpstreamError:
    """An answer that is an error, by status first, by body only where the status leaves it open."""
    said = _Said(wire.body)
    status = wire.status if wire.status >= 400 else said.code if said.code and 400 <= said.code < 600 else 502
    header = retry_after(wire.headers)
    fields: dict[str, Any] = {
        "upstream_status": status,
        "raw": wire.body[:_RAW_LIMIT],
        "dialect": NAME,
        "upstream_type": said.word,
        "upstream_code": said.reason or said.word,
        "retry_after": said.delay if said.delay is not None else header,
    }
    message = said.message[:_MESSAGE_LIMIT] or f"the upstream answered {status}"
    return _classify(status, said, message, fields)


def _classify(status: int, said: _Said, message: str, fields: dict[str, Any]) -> UpstreamError:
    if status in (401, 402, 403) or said.reason == "API_KEY_INVALID":
        return UpstreamDenied(message, **fields)
    if said.word == "FAILED_PRECONDITION" and _BILLING.search(message):
        return UpstreamDenied(message, **fields)
    if status in (400, 413, 500) and _TOO_LONG.search(message):
        return ContextTooLong(message, param=said.param, **fields)
    if status == 429:
        return UpstreamBusy(message, **fields)
    if status in (408, 504):
        return UpstreamFailed(message, status=504, **fields)
    if status >= 500 or status == 499:
        return UpstreamFailed(message, status=503 if status in (503, 529) else 502, **fields)
    if status == 404 and (_NO_MODEL.search(message) or not said.message):
        return ModelNotFound(message, **fields)
    code = "not_found" if status == 404 else None
    return UpstreamRejected(message, param=said.param, status=status, code=code, **fields)
