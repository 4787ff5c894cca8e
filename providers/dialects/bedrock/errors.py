"""Errors of the service: the status, a class in `x-amzn-errortype` or `__type`, and a message; in streams exceptions.

Classes and statuses: botocore 1.44.5 (bedrock-runtime), recorded errors. They are named `ThrottlingException`, with a
namespace before `#` or an address behind `:`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from providers.canonical.errors import (
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
from providers.dialects.bedrock.words import NAME, Object
from providers.wire.json import decode_upstream

_KEEP = 64 << 10
_LONGEST = 2000

_BUSY = frozenset({"throttlingexception", "toomanyrequestsexception", "modelnotreadyexception", "throttling"})
_DENIED = frozenset(
    {"accessdeniedexception", "unrecognizedclientexception", "expiredtokenexception", "servicequotaexceededexception"}
    | {"missingauthenticationtokenexception", "optinrequired", "notauthorized", "invalidclienttokenid"}
)
_SIGNATURE = frozenset({"invalidsignatureexception", "signaturedoesnotmatch", "incompletesignatureexception"})
#: class -> the status that it has, for exceptions in a stream, which have none.
_FAILED = {
    "modeltimeoutexception": 504,
    "modelerrorexception": 502,
    "modelstreamerrorexception": 502,
    "internalserverexception": 502,
    "internalfailure": 502,
    "serviceunavailableexception": 503,
    "serviceunavailable": 503,
}
_TOO_LONG = re.compile(
    r"input (?:is too long|tokens exceeded)|prompt is too long|too many (?:input )?tokens"
    r"|maximum (?:context|input|number of (?:input )?tokens)|context (?:length|window)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model identifier is invalid|on-demand throughput isn.t supported|end of (?:its )?life"
    r"|could not resolve the foundation model|model .{0,120}(?:not found|doesn.t exist)",
    re.IGNORECASE,
)
_BLOCKED = re.compile(r"blocked by (?:our |the )?content filter", re.IGNORECASE)


def decode_error(wire: WireResponse) -> UpstreamError:
    """The error that an answer means, also one with status 200. Never raises."""
    said = _body(wire.body)
    word = wire.headers.get("x-amzn-errortype") or said.get("__type") or said.get("code")
    status = wire.status if wire.status >= 400 else 0
    return _error(wire.status, status, str(word or ""), said, wire.body, _delay(wire.headers))


def decode_exception(headers: Mapping[str, str], payload: bytes) -> UpstreamError:
    """The error that an exception, or an error frame, in a stream means."""
    said = _body(payload)
    word = headers.get(":exception-type") or headers.get(":error-code") or ""
    if ":error-message" in headers:
        said["message"] = headers[":error-message"]
    return _error(200, 0, word, said, payload, None)


def _body(data: bytes) -> Object:
    try:
        body = decode_upstream(data)
    except RouterError:
        return {"message": data[:_LONGEST].decode("utf-8", "replace") if b"<" not in data[:1] else ""}
    return body if type(body) is dict else {}


def _error(told: int, status: int, word: str, said: Object, raw: bytes, delay: float | None) -> UpstreamError:
    kind = word.partition(":")[0].rpartition("#")[2]
    message = said.get("message") or said.get("Message") or said.get("originalMessage") or ""
    message = message[:_LONGEST] if type(message) is str else ""
    low = kind.lower()
    if low in _SIGNATURE:
        message = message.partition("\n")[0]  # what follows repeats the request that was signed, its token included
    fields: dict[str, Any] = {
        "upstream_status": told,
        "raw": raw[:_KEEP],
        "dialect": NAME,
        "upstream_type": kind or None,
        "upstream_code": kind or None,
        "retry_after": delay,
    }
    return _classify(status, low, message, message or f"the upstream answered {kind or told}", fields)


def _classify(status: int, kind: str, said: str, message: str, fields: dict[str, Any]) -> UpstreamError:
    if kind in _BUSY or (status == 429 and not kind):
        return UpstreamBusy(message, **fields)
    if kind in _DENIED or kind in _SIGNATURE or status in (401, 402, 403):
        return UpstreamDenied(message, **fields)
    if kind in _FAILED:
        return UpstreamFailed(message, status=_FAILED[kind], **fields)
    if status == 429:
        return UpstreamBusy(message, **fields)
    if status in (408, 424) or status >= 500:
        return UpstreamFailed(message, status={408: 504, 503: 503, 504: 504, 529: 503}.get(status, 502), **fields)
    if _TOO_LONG.search(said):
        return ContextTooLong(message, **fields)
    if _BLOCKED.search(said):
        return ContentBlocked(message, **fields)
    if kind == "resourcenotfoundexception" or status == 404 or _NO_MODEL.search(said):
        return ModelNotFound(message, **fields)
    if kind == "validationexception" or status:
        return UpstreamRejected(message, status=status or 400, **fields)
    return UpstreamFailed(message, status=502, **fields)


def _delay(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,6}(?:\.\d{1,3})?", text) else None
