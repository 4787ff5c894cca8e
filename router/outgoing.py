"""What goes to an upstream beside the body, and what its refusals become.

Headers are our own, those of the caller's that may go on, the row's and the credential; nothing else leaves. Of an
upstream's error as much is read as is worth reading, and the key that it was called with is taken out of its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.canonical.chat import ChatRequest
from providers.canonical.embeddings import EmbeddingsRequest
from providers.canonical.errors import (
    BadUpstreamBytes,
    MalformedRequest,
    RouterError,
    TransportError,
    UnsupportedMediaType,
    UnsupportedParameter,
    UpstreamDenied,
    UpstreamError,
)
from providers.canonical.loss import Losses
from providers.dialect import Dialect, EmbeddingsCodec, Traits, WireRequest, WireResponse
from router.secrets import scrubbed
from router.transport import UpstreamCall

ERROR_BODY = 64 << 10
_PASSED = frozenset({"idempotency-key", "traceparent", "tracestate"})
_LISTS = frozenset({"anthropic-beta", "openai-beta", "tracestate"})  # may stand in several headers (RFC 9110, 5.3)
_ANSWERS = frozenset({200, 201, 202, 203})
_JSON_TYPES = ("application/json", "text/json")


def check_type(headers: Mapping[str, str]) -> None:
    """A caller's body is JSON in UTF-8, or does not say what it is. UnsupportedMediaType."""
    header = headers.get("content-type")
    if header is None:
        return
    kind, _, parameters = header.partition(";")
    kind = kind.strip().lower()
    charset = _parameter(parameters, "charset") if parameters else ""
    if not (kind in _JSON_TYPES or kind.endswith("+json")) or charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("the body must be application/json in UTF-8")


def _parameter(parameters: str, name: str) -> str:
    """One parameter of a content type, in lower case; "" when it is not there."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == name:
            return value.strip(' "').lower()
    return ""


def passed(caller: Dialect, upstream: Dialect, *, own_key: bool) -> frozenset[str]:
    """Names of the caller's headers that go on. `own_key`: the credential is the caller's."""
    if upstream is not caller:
        return _PASSED
    names = _PASSED | upstream.passes
    return names | upstream.passes_with_key if own_key else names


def headers(incoming: Any, names: frozenset[str], *, request_id: str, stream: bool) -> dict[str, str]:
    """Our own headers, and those of the caller's with these names. MalformedRequest for what is not ASCII."""
    found = {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "isthmus",
        "x-request-id": request_id,
    }
    for name in names:
        if name in incoming and (value := said(incoming, name)) is not None:
            found[name] = value
    return found


def said(headers: Any, name: str) -> str | None:
    """A caller's header as it goes on; None where there is none. MalformedRequest for what is not ASCII."""
    value: str | None = headers.get(name)
    if value is None:
        return None
    if name in _LISTS:
        value = ", ".join(headers.getall(name))
    if not value.isascii():
        raise MalformedRequest(f"the header {name} must be ASCII", param=name)
    return value


def encoded(request: ChatRequest | EmbeddingsRequest, upstream: Dialect, losses: Losses, traits: Traits) -> WireRequest:
    if isinstance(request, ChatRequest):
        return upstream.encode_request(request, losses, traits)
    return codec(upstream).encode_embeddings_request(request, losses, traits)


def codec(dialect: Dialect) -> EmbeddingsCodec:
    """The embeddings of a dialect that has the operation."""
    codec = dialect.embeddings
    if codec is None:
        raise UnsupportedParameter("this target has no embeddings", param="model")
    return codec


async def check_status(call: UpstreamCall, upstream: Dialect, secret: str | None) -> None:
    """Raises what an answer means that is none: UpstreamError in its kinds, BadUpstreamBytes."""
    status = call.status
    if status in _ANSWERS:
        return
    if status < 400:
        raise BadUpstreamBytes("the upstream answered with something that is no answer")
    if status > 599:
        raise BadUpstreamBytes("the upstream answered with an unknown status")
    body = await _bounded(call, ERROR_BODY)
    if secret:
        body = scrubbed(body.decode("latin-1"), secret).encode("latin-1")
    raise upstream.decode_error(WireResponse(status=status, headers=dict(call.headers), body=body))


def scrub(error: RouterError, secret: str | None) -> None:
    """An upstream's words must not tell the key that it was called with."""
    if secret is None or not isinstance(error, UpstreamError):
        return
    error.message = scrubbed(error.message, secret)
    error.raw = scrubbed(error.raw.decode("latin-1"), secret).encode("latin-1")
    for name in ("upstream_type", "upstream_code", "param"):
        if type(told := getattr(error, name)) is str:
            setattr(error, name, scrubbed(told, secret))


def for_key(error: RouterError, own_key: str | None) -> RouterError:
    """With the caller's own key, a refusal of that key is nobody else's: it is not tried elsewhere."""
    if own_key is not None and isinstance(error, UpstreamDenied):
        error.retry = "never"
    return error


async def _bounded(call: UpstreamCall, limit: int) -> bytes:
    """The body of an error, as much of it as is worth reading."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for data in call.chunks():
            pieces.append(data)
            size += len(data)
            if size >= limit:
                break
    except TransportError:
        pass  # the status has been said; the text is a courtesy
    return b"".join(pieces)[:limit]
