"""Everything that can go wrong with a call, as one tree. First fork: whose fault.

    RouterError                         status  code                       tried again
      x CallerError                                                        never: the caller must change something
        + MalformedRequest              400     invalid_request
        + MethodNotAllowed              405     method_not_allowed
        + RequestTimeout                408     invalid_request
        + RequestTooLarge               413     payload_too_large
        + UnsupportedMediaType          415     unsupported_media_type
        + UnsupportedParameter          400     unsupported_parameter      elsewhere: this target refuses the field
        + Untranslatable                422     untranslatable             elsewhere (on_loss: reject)
        + NotAuthenticated              401     invalid_token
        + UpstreamKeyMissing            401     upstream_key_missing
        + NotAllowed                    403     forbidden
          - PriceUnknown                403     price_unknown
        + UpstreamNotAllowed            403     upstream_not_allowed
        + RouteNotFound                 404     not_found
        + UnknownModel                  404     model_not_found
        + LimitExceeded                 429     rate_limited
          - BudgetSpent                 429     insufficient_credits       (chats: 402)
        + LoopDetected                  508     loop_detected
      x GatewayError                                                       never
        + Overloaded                    503     gateway_overloaded
          - CircuitOpen                 503     circuit_open               elsewhere
        + Bug                           500     internal_error
      x UpstreamError                                                      the upstream answered, and it was no
        + UpstreamRejected              as upstream                        never: our request was wrong for it
          - ContextTooLong              400     context_length_exceeded    never; larger targets by `fallback_on`
          - ContentBlocked              400     content_filter             never; other targets by `fallback_on`
          - ModelNotFound               404     model_not_found            elsewhere
        + UpstreamDenied                502     upstream_denied            elsewhere: our credential failed there
        + UpstreamBusy                  429     rate_limit_exceeded        elsewhere, else the same later
        + UpstreamFailed                502-504 upstream_5xx               same, then elsewhere
      x TransportError                                                     it did not answer properly
        + ConnectFailed                 502     upstream_unreachable       same
        + ConnectionLost                502     upstream_connection        same
        + UpstreamTimeout               504     upstream_timeout           elsewhere
        + BadUpstreamBytes              502     upstream_invalid_response  elsewhere
          - UnwantedAnswer              502     upstream_invalid_response  elsewhere: it works, and says something else
        + StreamTruncated               502     upstream_truncated         elsewhere (never once a byte went out)

Statuses and codes: the project's reliability requirements, section 2. Each dialect turns `category` into its own
words (`invalid_request_error`, `INVALID_ARGUMENT`). `message` is for the caller: it never holds a key, an upstream
address or a traceback; whoever raises with foreign text masks it first (`mask`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

import msgspec

Retry: TypeAlias = Literal["same", "elsewhere", "never"]
Fault: TypeAlias = Literal["caller", "gateway", "upstream"]
Category: TypeAlias = Literal[
    "invalid_request",
    "authentication",
    "permission",
    "not_found",
    "too_large",
    "rate_limit",
    "overloaded",
    "upstream",
    "upstream_unavailable",
    "timeout",
    "internal",
]


class Detail(msgspec.Struct, frozen=True):
    """One offending field, for dialects whose envelope has a place for a list of them."""

    field: str
    description: str


class RouterError(Exception):
    """Base of the tree. `kind` is stable and is the metrics label `error_type`."""

    kind: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = "gateway"
    category: Category = "internal"
    status: int = 500
    code: str = "internal_error"
    retry: Retry = "never"
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        details: tuple[Detail, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.details = details
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if retry_after is not None:
            self.retry_after = retry_after


def tree(root: type[RouterError]) -> Iterator[type[RouterError]]:
    """A class of errors and all that are kinds of it."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


# ── the caller's fault ─────────────────────────────────────────────────────────────────


class CallerError(RouterError):
    """The caller must change something."""

    kind = "caller"
    fault = "caller"
    category: Category = "invalid_request"
    status = 400
    code = "invalid_request"


class MalformedRequest(CallerError):
    """The body or a field of it is not what the dialect asks for. `param` names the field."""

    kind = "malformed"


class MethodNotAllowed(CallerError):
    kind = "method_not_allowed"
    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(CallerError):
    kind = "request_timeout"
    status = 408


class RequestTooLarge(CallerError):
    kind = "too_large"
    category: Category = "too_large"
    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(CallerError):
    kind = "media_type"
    status = 415
    code = "unsupported_media_type"


class UnsupportedParameter(CallerError):
    """The target refuses the field, or cannot do what it asks for; another target may."""

    kind = "unsupported_parameter"
    code = "unsupported_parameter"
    retry: Retry = "elsewhere"


class Untranslatable(CallerError):
    """`on_loss: reject` and something would be lost."""

    kind = "untranslatable"
    status = 422
    code = "untranslatable"
    retry: Retry = "elsewhere"


class NotAuthenticated(CallerError):
    """No credential or a bad one. The message never says which check failed; `reason` is for the log."""

    kind = "not_authenticated"
    category: Category = "authentication"
    status = 401
    code = "invalid_token"

    def __init__(self, message: str = "Unauthorized", *, reason: str = "invalid", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.reason = reason


class UpstreamKeyMissing(CallerError):
    """A named upstream without a key: neither the caller nor the configuration has one."""

    kind = "upstream_key_missing"
    category: Category = "authentication"
    status = 401
    code = "upstream_key_missing"


class NotAllowed(CallerError):
    kind = "not_allowed"
    category: Category = "permission"
    status = 403
    code = "forbidden"


class PriceUnknown(NotAllowed):
    """The caller has a budget, and nobody knows what the call would cost."""

    kind = "price_unknown"
    code = "price_unknown"


class UpstreamNotAllowed(CallerError):
    """The caller named an upstream that may not be called. One text for every `reason`."""

    kind = "upstream_not_allowed"
    category: Category = "permission"
    status = 403
    code = "upstream_not_allowed"

    def __init__(self, *, reason: str = "not_listed") -> None:
        super().__init__("this upstream is not allowed")
        self.reason = reason


class RouteNotFound(CallerError):
    kind = "not_found"
    category: Category = "not_found"
    status = 404
    code = "not_found"


class UnknownModel(CallerError):
    kind = "model_not_found"
    category: Category = "not_found"
    status = 404
    code = "model_not_found"


class LimitExceeded(CallerError):
    """A limit of ours on this caller. `reason` is what it counts, for the log: a word of a closed set."""

    kind = "rate_limited"
    category: Category = "rate_limit"
    status = 429
    code = "rate_limited"

    def __init__(
        self, message: str, *, reason: str | None = None, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after)
        self.reason = reason


class BudgetSpent(LimitExceeded):
    """What this caller may spend is used up, or less is left than the call may cost. Trying again is useless for long:
    the amount must be raised, or its period end."""

    kind = "budget_spent"
    code = "insufficient_credits"


class LoopDetected(CallerError):
    """The request has been through this gateway before (RFC 5842 section 7.2)."""

    kind = "loop"
    status = 508
    code = "loop_detected"


# ── our fault ──────────────────────────────────────────────────────────────────────────


class GatewayError(RouterError):
    kind = "gateway"


class Overloaded(GatewayError):
    kind = "overloaded"
    category: Category = "overloaded"
    status = 503
    code = "gateway_overloaded"


class CircuitOpen(Overloaded):
    """The upstream failed so often of late that it is left alone for a while."""

    kind = "circuit_open"
    code = "circuit_open"
    retry: Retry = "elsewhere"


class Bug(GatewayError):
    """Something of ours broke. Logged with its traceback; the caller only learns that."""

    kind = "internal"

    def __init__(self, message: str = "internal error") -> None:
        super().__init__(message)


# ── the upstream said no ───────────────────────────────────────────────────────────────


class UpstreamError(RouterError):
    """The upstream answered, and it was no.

    `upstream_status` is what it said, `raw` its body (bounded), `dialect` the language of that body,
    `upstream_type`, `upstream_code` its own words. `status` is what our caller gets.
    """

    kind = "upstream"
    fault = "upstream"
    category: Category = "upstream"
    status = 502
    code = "upstream_5xx"

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        raw: bytes = b"",
        dialect: str = "",
        upstream_type: str | None = None,
        upstream_code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        told = "the upstream failed" if is_trace(message) else mask(message)
        super().__init__(told, param=param, retry_after=retry_after, status=status, code=code)
        self.upstream_status = upstream_status
        self.raw = raw
        self.dialect = dialect
        self.upstream_type = upstream_type
        self.upstream_code = upstream_code


class UpstreamRejected(UpstreamError):
    """Our request was wrong for it. Keeps the upstream's status and words."""

    kind = "upstream_rejected"
    category: Category = "invalid_request"
    status = 400
    code = "invalid_request"


class ContextTooLong(UpstreamRejected):
    kind = "context_too_long"
    code = "context_length_exceeded"


class ContentBlocked(UpstreamRejected):
    kind = "content_blocked"
    code = "content_filter"


class ModelNotFound(UpstreamRejected):
    kind = "upstream_model_not_found"
    category: Category = "not_found"
    status = 404
    code = "model_not_found"
    retry: Retry = "elsewhere"


class UpstreamDenied(UpstreamError):
    """Our credential or our account failed there. Never shown as the caller's own 401."""

    kind = "upstream_denied"
    code = "upstream_denied"
    category: Category = "upstream"
    retry: Retry = "elsewhere"


class UpstreamBusy(UpstreamError):
    kind = "upstream_busy"
    category: Category = "rate_limit"
    status = 429
    code = "rate_limit_exceeded"
    retry: Retry = "elsewhere"


class UpstreamFailed(UpstreamError):
    kind = "upstream_failed"
    category: Category = "upstream_unavailable"
    retry: Retry = "same"


# ── it did not answer properly ─────────────────────────────────────────────────────────


class TransportError(RouterError):
    kind = "transport"
    fault = "upstream"
    category: Category = "upstream_unavailable"
    status = 502
    code = "upstream_connection"
    retry: Retry = "same"


class ConnectFailed(TransportError):
    """No connection was made. `timed_out`: because the connect clock ran out."""

    kind = "connect"
    code = "upstream_unreachable"


class ConnectionLost(TransportError):
    """The connection was there and broke."""

    kind = "connection"


class UpstreamTimeout(TransportError):
    """A clock ran out: connect, first byte, between chunks, total."""

    kind = "timeout"
    category: Category = "timeout"
    status = 504
    code = "upstream_timeout"
    retry: Retry = "elsewhere"


class BadUpstreamBytes(TransportError):
    """An answer that cannot be used: not JSON, HTML, empty, broken framing, a redirect, too large."""

    kind = "bad_bytes"
    category: Category = "upstream"
    code = "upstream_invalid_response"
    retry: Retry = "elsewhere"


class UnwantedAnswer(BadUpstreamBytes):
    """An answer in good order that says nothing, or not what was asked for. Callers can bring it about with what they
    ask, so it is not held against the upstream (`router/state/upstreams.py`)."""


class StreamTruncated(TransportError):
    """The stream ended without its dialect's end."""

    kind = "truncated"
    code = "upstream_truncated"
    retry: Retry = "elsewhere"


class EgressDenied(UpstreamNotAllowed):
    """The address actually connected to may not be called."""

    kind = "egress_denied"


# ── masking ────────────────────────────────────────────────────────────────────────────

_SECRET = re.compile(
    r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_\-*.]{3,}"  # also the starred form of OpenAI's 401
    r"|AIza[A-Za-z0-9_\-]{6,}"  # Google API keys
    r"|ya29\.[A-Za-z0-9_\-.]+"  # Google OAuth tokens
    r"|gsk_[A-Za-z0-9]{6,}|xai-[A-Za-z0-9]{6,}|hf_[A-Za-z0-9]{6,}|r8_[A-Za-z0-9]{6,}|AKIA[A-Z0-9]{8,}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"  # JWT
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/=\-]{6,}"
    r"|(?i:\bkey=)[^&\s\"'\\]+"
)


_TRACE = re.compile(
    r"Traceback \(most recent call last\)"  # Python
    r"|(?:\s|\\[nrt])at [\w$.<>]+\([\w$]+\.(?:java|kt|scala):\d+\)"
    r"|(?:\s|\\[nrt])at (?:[\w$.<>\[\] ]{1,200} \()?(?:file://)?[\w./@\\:-]{1,200}\.[cm]?[jt]s:\d+:\d+"  # JavaScript
    r"|goroutine \d+ \[|\bstack backtrace:|\.cs:line \d+"  # Go, Rust, C#
)


def is_trace(text: str) -> bool:
    """Is it a stack trace of somebody's program? Those are told to nobody."""
    return _TRACE.search(text) is not None


def mask(text: str) -> str:
    """`text` with everything that looks like a key, a token or a `key=` query value replaced by `***`."""
    return _SECRET.sub("***", text)
