"""Failures inside a good answer: errors in a stream or in a response that says `failed`, both ways.

The types say `{"type": "error", "code", "message", "param"}`; what OpenAI sends nests these under `error`, as every
other error of its. Both are read. Written is one event that is both: it fits the schema, and the official client,
which raises on `error` alone, raises.
"""

from __future__ import annotations

from providers.canonical.errors import RouterError, UpstreamError
from providers.dialect import WireResponse
from providers.dialects._openai.errors import decode_error, told
from providers.dialects._openai.values import Json, Object
from providers.wire.json import encode, escape_lines
from providers.wire.sse import encode_event

from .words import NAME

# The codes of a failed response are a closed list: (code, the status that it would have had).
_STATUSES = {
    "rate_limit_exceeded": 429,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
    "content_filter": 400,
}


def fault(error: Json, status: int = 200) -> UpstreamError:
    """The error that a stream or a failed response tells; `status` is what the answer had."""
    inner: Json = error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    if not inner.get("message"):
        inner = {**inner, "message": "the upstream's model failed"}
    code = inner.get("code")
    meant = _STATUSES.get(code, status) if isinstance(code, str) else status
    if isinstance(code, str) and ("image" in code or code == "invalid_value"):
        meant = 400
    found = decode_error(WireResponse(status=meant, body=encode({"error": inner})), NAME)
    found.upstream_status = status
    return found


def event_fault(event: Object) -> UpstreamError:
    """The error of an `error` event, nested or flat."""
    nested = event.get("error")
    if nested:
        return fault(nested)
    return fault({key: event.get(key) for key in ("code", "message", "param") if event.get(key) is not None})


def error_event(error: RouterError, number: int) -> bytes:
    """A fault of a stream as its last event but one, or as its last."""
    said = told(error)
    event = {
        "type": "error",
        "code": said["code"],
        "message": said["message"],
        "param": said["param"],
        "sequence_number": number,
        "error": said,
    }
    return encode_event(escape_lines(encode(event)), b"error")


def failure(error: RouterError) -> Object:
    """The `error` of a response that failed: its codes are the schema's."""
    code = "rate_limit_exceeded" if error.status == 429 else "invalid_prompt" if error.status < 500 else "server_error"
    return {"code": code, "message": error.message}
