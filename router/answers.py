"""What every answer of ours carries, and how failures are told and counted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

import msgspec

from providers.canonical.errors import (
    BudgetSpent,
    CallerError,
    Category,
    Overloaded,
    RouterError,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
    is_trace,
    mask,
)
from providers.canonical.loss import header
from providers.canonical.prices import written
from providers.dialect import Dialect, WireResponse
from router.record import Outcome, Record, StreamEnd
from router.secrets import scrubbed

_KEPT_ANSWER_HEADERS = "x-ratelimit-"
_LONGEST_RATE = 12  # characters: what is longer is no number and no span of time
_SECRET_PATH_HEADERS = {"referrer-policy": "no-referrer", "cache-control": "no-store"}


def head(record: Record, *, secret_path: bool, losses: bool = True) -> dict[str, str]:
    """The headers of every answer (contract: HTTP surface). Written last, when all of the record's phases are known.

    `losses`: is the caller told of them (`on_loss: allow` says no)?
    """
    headers = {"server": "isthmus", "x-request-id": record.id}
    if record.route != "none":
        headers["x-isthmus-route"] = record.route
    if record.lane != "none":
        headers["x-isthmus-provider"] = record.provider
        if record.upstream_model is not None:
            headers["x-isthmus-model"] = _printable(record.upstream_model)
        headers["x-isthmus-attempts"] = str(len(record.attempts))
        headers["x-isthmus-lane"] = record.lane
    if losses and record.losses:
        headers["x-isthmus-loss"] = header(record.losses)
    if secret_path:
        headers.update(_SECRET_PATH_HEADERS)
    headers["server-timing"] = _timing_form(tuple(record.phases)) % record.milliseconds()
    return headers


def cost(record: Record) -> dict[str, str]:
    """The header for those who ask what their answer cost, in US dollars; none where that is not known."""
    if not record.attempts:
        return {}
    record.settle()
    usd = record.cost()
    return {} if usd is None else {"x-isthmus-cost": written(usd)}


@lru_cache(256)
def _timing_form(names: tuple[str, ...]) -> str:
    """A server-timing header, to be filled in with milliseconds by `%`."""
    return ", ".join([f"{name};dur=%s" for name in names])


def kept(headers: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """What of an upstream's headers the caller gets: its rate limits, without the `secret` that it was sent.

    Everything else is between us and it.
    """
    found = {name: value for name, value in headers.items() if name.startswith(_KEPT_ANSWER_HEADERS)}
    return {
        name: value if len(value) <= _LONGEST_RATE or secret is None else scrubbed(value, secret)
        for name, value in found.items()
        if value.isascii() and value.isprintable()
    }


def kept_none(headers: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """In the place of `kept` where the caller has limits of its own."""
    return {}


def is_final(record: Record, error: RouterError) -> bool:
    """Is it useless that the caller tries again what clients try again by themselves?

    So where a budget is used up; and where we have tried what there is to try, so that its attempts were multiplied by
    ours. Not where one attempt is all that the policy allows, or the upstream has said when it will be ready.
    """
    if isinstance(error, BudgetSpent):
        return True
    if error.fault != "upstream" or not record.attempts or not (error.status in _TRIED_AGAIN or error.status >= 500):
        return False
    why = record.denied_retries[-1] if record.denied_retries else "attempts"
    return why != "retry_after" and (why != "attempts" or len(record.attempts) > 1)


_TRIED_AGAIN = frozenset({408, 409, 429})  # by the official clients, besides 5xx


def own_body(error: UpstreamError, dialect: Dialect) -> WireResponse | None:
    """The upstream's own error body with keys masked; None when a caller of `dialect` could not read it."""
    if error.dialect != dialect.name:
        return None
    text = error.raw.decode("utf-8", "replace")
    if is_trace(text):
        return None
    body = mask(text).encode()
    try:
        if type(msgspec.json.decode(body)) is not dict:
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    headers = dialect.encode_error(error).headers
    return WireResponse(status=error.status, headers=headers, body=body)


def outcome_of(error: RouterError) -> Outcome:
    """The one outcome that a failed exchange counts as."""
    if isinstance(error, Overloaded):
        return "shed"
    if isinstance(error, CallerError):
        return "rejected"
    if isinstance(error, UpstreamTimeout) or error.status == 504:
        return "timeout"
    return "upstream_error" if error.fault == "upstream" else "bug"


def stream_end_of(error: RouterError) -> StreamEnd:
    """How a stream that failed is counted."""
    if isinstance(error, UpstreamTimeout):
        return "idle"
    return "drain" if isinstance(error, Overloaded) else "upstream_error"


def with_own_status(error: UpstreamError) -> UpstreamError:
    """The error with the upstream's own status, for callers who brought their own key.

    An error told in a good answer (an event of a stream, a body with status 200) has no status of its own.
    """
    status = error.upstream_status
    if status < 400:
        return error
    own = UpstreamRejected(
        error.message,
        upstream_status=status,
        raw=error.raw,
        dialect=error.dialect,
        upstream_type=error.upstream_type,
        upstream_code=error.upstream_code,
        param=error.param,
        retry_after=error.retry_after,
        status=status,
    )
    own.category = _CATEGORIES.get(status, "upstream" if status >= 500 else "invalid_request")
    own.code = error.upstream_code or error.code
    return own


_CATEGORIES: dict[int, Category] = {
    401: "authentication",
    402: "permission",
    403: "permission",
    404: "not_found",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
}


def _printable(text: str) -> str:
    """A header value that cannot break the head: printable ASCII, of a bounded length."""
    if len(text) > 256:
        text = text[:256]
    return text if text.isascii() and text.isprintable() else quote(text)
