"""Errors, both ways: an upstream's answer to what it means, and our errors in OpenAI's envelope.

Reading accepts any shape that servers of these dialects send (OpenAI's, FastAPI's `detail`, Google's list, plain text,
pages of HTML). Status first; the body decides only where one status has several meanings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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
from providers.wire.hints import plain_text, refusal_headers, retry_after
from providers.wire.json import decode_upstream, encode, escape_lines

from .values import Json, Object

_FAMILY = frozenset({"openai.chat", "openai.embeddings", "openai.responses"})  # their words are the same, and are kept
_KEEP = 64 << 10  # of an upstream's error body
_LONGEST = 2000  # of its text

# ── reading ────────────────────────────────────────────────────────────────────────────

_BILLING = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_exhausted",
    "insufficient_credits",
}
_BAD_KEY = {"invalid_api_key", "API_KEY_INVALID", "invalid_authentication"}
_TOO_LONG = {
    "context_length_exceeded",
    "too_many_prompt_tokens",
    "TOO_MANY_TOKENS",
    "exceed_context_size_error",  # llama.cpp
    "tokens_limit_reached",  # Azure's models for GitHub
    "model_max_prompt_tokens_exceeded",
}
#: All that many servers say of it, under codes of all kinds: vLLM, OpenRouter, DeepSeek, Mistral, xAI, llama.cpp.
_CONTEXT = re.compile(
    r"maximum (?:context|prompt) length|model'?s context (?:length|window)|exceeds the (?:available )?context"
    r"|prompt is too long",
    re.IGNORECASE,
)
_BLOCKED = {
    "content_filter",
    "content_policy_violation",
    "ResponsibleAIPolicyViolation",
    "moderation_blocked",
    "data_inspection_failed",  # Alibaba
}
_NO_MODEL = {"model_not_found", "DeploymentNotFound", "unknown_model", "invalid_model"}


class Said(dict[str, Any]):
    """What an error body says: message, type, code, param, words (all codes in it)."""


def decode_error(wire: WireResponse, dialect: str) -> UpstreamError:
    """The error that an answer of an upstream, which speaks `dialect`, means. Never raises."""
    said = _said(wire)
    status = wire.status
    if status < 400:
        status = said["status"]  # an error under 200: servers that had begun to answer
    error = _classify(status, said)
    kept: Object = {
        "upstream_status": wire.status,
        "raw": wire.body[:_KEEP],
        "dialect": dialect,
        "upstream_type": said["type"],
        "upstream_code": said["code"],
        "param": said["param"],
        "retry_after": retry_after(wire.headers),
    }
    kind, more = error
    found = kind(said["message"] or f"the upstream answered with status {wire.status}", **kept, **more)
    _heed(found, wire.headers.get("x-should-retry"), said)
    return found


def _classify(status: int, said: Said) -> tuple[type[UpstreamError], Object]:
    words = said["words"]
    if words & _BLOCKED and status in (400, 403, 422):
        return ContentBlocked, {"status": status}
    if words & _BILLING or status in (401, 402, 403, 407, 498) or (status == 400 and words & _BAD_KEY):
        return UpstreamDenied, {}
    if status == 429:
        return UpstreamBusy, {}
    if words & _TOO_LONG or (status in (400, 413, 422, 500) and _CONTEXT.search(said["message"])):
        return ContextTooLong, {"status": status if status < 500 else 400}
    if status in (408, 504, 522, 524):
        return UpstreamFailed, {"status": 504}
    if status in (503, 529):
        return UpstreamFailed, {"status": 503}
    if status >= 500 or status < 400:
        return UpstreamFailed, {"status": 502}
    if words & _NO_MODEL or (status == 404 and _names_model(said["message"])):
        return ModelNotFound, {"status": status}
    return UpstreamRejected, {"status": status}


def _names_model(message: str) -> bool:
    lowered = message.lower()
    return "model" in lowered or "deployment" in lowered


def _heed(error: UpstreamError, should_retry: str | None, said: Said) -> None:
    """What the upstream itself says about trying again; Groq's models write bad calls that go well the next time."""
    if should_retry == "false" and error.retry == "same":
        error.retry = "never"
    elif (should_retry == "true" or "tool_use_failed" in said["words"]) and error.retry == "never":
        error.retry = "same"


def _said(wire: WireResponse) -> Said:
    try:
        body = decode_upstream(wire.body)
    except BadUpstreamBytes:
        return Said(message=plain_text(wire.body), type=None, code=None, param=None, words=set(), status=502)
    return read_body(body)


def read_body(body: Json) -> Said:
    """Takes the first of error.message, message, detail, error, text that is there."""
    if isinstance(body, list) and body:
        body = body[0]
    outer = body if isinstance(body, dict) else {"message": body if isinstance(body, str) else ""}
    inner = outer.get("error")
    error = inner if isinstance(inner, dict) else outer
    candidates = (error.get("message"), outer.get("message"), outer.get("detail"), inner, outer.get("text"))
    message = next((text for text in map(_sentence, candidates) if text), "")
    metadata = error.get("metadata")
    code = error.get("code")
    kind = error.get("type")
    words = {word for word in (code, kind, error.get("status"), error.get("error_type")) if isinstance(word, str)}
    words |= _inner_words(error)
    if isinstance(metadata, dict):
        if isinstance(metadata.get("raw"), str):
            message = f"{message}: {metadata['raw']}"  # a router repeats what the model's server said
        if "flagged_input" in metadata:
            words.add("content_filter")  # OpenRouter's moderation has no code for it
    return Said(
        message=message[:_LONGEST],
        type=kind if isinstance(kind, str) else None,
        code=code if isinstance(code, str) else None,
        param=error["param"] if isinstance(error.get("param"), str) else None,
        words=words,
        status=400 if words & (_TOO_LONG | _BLOCKED) else _status(code),
    )


def _inner_words(error: Object) -> set[str]:
    inner = error.get("innererror")
    found = [inner.get("code")] if isinstance(inner, dict) else []
    details = error.get("details")
    if isinstance(details, list):
        found += [detail.get("reason") for detail in details if isinstance(detail, dict)]
    return {word for word in found if isinstance(word, str)}


def _status(code: Json) -> int:
    """The status that an error under 200 carries as its code; 502 where it has none."""
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    return code if type(code) is int and 400 <= code <= 599 else 502


def _sentence(value: Json) -> str:
    if isinstance(value, dict):  # Mistral: {"detail": […]} in the place of a message
        value = value.get("detail")
    if isinstance(value, str):
        return plain_text(value.encode("utf-8", "replace")) if "<html" in value[:500].lower() else value
    if isinstance(value, list):  # FastAPI: a list of {loc, msg}
        parts = [_complaint(item) for item in value if isinstance(item, dict)]
        return "; ".join(part for part in parts if part)
    return ""


def _complaint(item: Object) -> str:
    where = item.get("loc")
    path = ".".join(str(step) for step in where) if isinstance(where, list) else ""
    text = item.get("msg") or item.get("message") or ""
    return f"{path}: {text}" if path and text else str(text)


# ── writing ────────────────────────────────────────────────────────────────────────────

_TYPES: Mapping[Category, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "upstream": "upstream_error",
    "upstream_unavailable": "upstream_error",
    "timeout": "timeout_error",
    "internal": "server_error",
}


def envelope(error: RouterError) -> bytes:
    """`{"error": {message, type, param, code}}`, all four keys always."""
    return escape_lines(encode({"error": told(error)}))


def told(error: RouterError) -> Object:
    """What a caller learns of an error: message, type, param, code."""
    kind: str = _TYPES[error.category]
    code: str | None = error.code
    if isinstance(error, UpstreamRejected) and error.dialect in _FAMILY:
        kind = error.upstream_type or kind
        code = error.upstream_code or code
    return {"message": error.message, "type": kind, "param": error.param, "code": code}


def encode_error(error: RouterError) -> WireResponse:
    return WireResponse(status=error.status, headers=refusal_headers(error), body=envelope(error))
