"""The error envelope, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import (
    BadUpstreamBytes,
    Bug,
    ContentBlocked,
    ContextTooLong,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotAllowed,
    NotAuthenticated,
    Overloaded,
    RequestTooLarge,
    RouterError,
    UnknownModel,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from providers.dialect import WireResponse
from tests.corpus import schema
from tests.providers.dialects.anthropic.spoken import ANTHROPIC, Json, recorded


def read(status: int, body: Json, **headers: str) -> UpstreamError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ANTHROPIC.decode_error(WireResponse(status=status, headers=named, body=data))


def envelope(kind: str, message: str = "No.", **more: Json) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "expected", "told"),
    [
        (400, envelope("invalid_request_error"), UpstreamRejected, 400),
        (400, envelope("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), ContextTooLong, 400),
        (400, envelope("invalid_request_error", "Output blocked by content filtering policy"), ContentBlocked, 400),
        (200, envelope("invalid_request_error", "Output blocked by content filtering policy"), ContentBlocked, 400),
        (400, envelope("invalid_request_error", "Your credit balance is too low"), UpstreamDenied, 502),
        (401, envelope("authentication_error", "invalid x-api-key"), UpstreamDenied, 502),
        (402, envelope("billing_error"), UpstreamDenied, 502),
        (403, envelope("permission_error"), UpstreamDenied, 502),
        (404, envelope("not_found_error", "model: x"), ModelNotFound, 404),
        (404, envelope("not_found_error", "file: x"), UpstreamRejected, 404),
        (409, envelope("conflict_error"), UpstreamRejected, 409),
        (413, envelope("request_too_large"), UpstreamRejected, 413),
        (429, envelope("rate_limit_error"), UpstreamBusy, 429),
        (
            429,
            envelope("rate_limit_error", details={"error_code": "workspace_spend_limit_reached"}),
            UpstreamDenied,
            502,
        ),
        (408, b"", UpstreamFailed, 504),
        (500, envelope("api_error"), UpstreamFailed, 502),
        (503, b"<html><b>busy</b></html>", UpstreamFailed, 503),
        (504, envelope("timeout_error"), UpstreamFailed, 504),
        (529, envelope("overloaded_error", "Overloaded"), UpstreamFailed, 503),
        (200, envelope("overloaded_error"), UpstreamFailed, 503),
        (200, envelope("rate_limit_error"), UpstreamBusy, 429),
        (200, envelope("invalid_request_error"), UpstreamRejected, 400),
        (200, envelope("authentication_error"), UpstreamDenied, 502),
        (200, {"error": "odd"}, UpstreamFailed, 502),
    ],
)
def test_what_an_upstreams_no_means(status: int, body: Json, expected: type, told: int) -> None:
    """By status; by type where there is none; by the text where one status means several things."""
    error = read(status, body)

    assert (expected, told) == (type(error), error.status)


def test_the_upstreams_words_are_kept() -> None:
    """Message, type and finer code, whatever the shape of the body."""
    error = read(400, envelope("invalid_request_error", "messages: bad", details={"error_code": "fine"}))

    assert ("messages: bad", "invalid_request_error", "fine") == (
        error.message,
        error.upstream_type,
        error.upstream_code,
    )
    assert "plain words" == read(400, {"detail": "plain words"}).message
    assert "busy & gone" == read(502, b"<html><body>busy &amp; gone</body></html>").message
    assert "the upstream answered with status 500" == read(500, b"").message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "7", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 9.0),
        ({"retry_after": "Thu, 01 Jan 2026 00:00:09 GMT"}, None),
        ({"retry_after": "banana"}, None),
        ({"retry_after": "-1"}, None),
        ({}, None),
    ],
)
def test_when_to_try_again(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds or a date counted from the answer's own; anything else is nothing."""
    assert seconds == read(429, envelope("rate_limit_error"), **headers).retry_after


def test_whether_to_try_again() -> None:
    """The service may say so itself."""
    assert "never" == read(500, envelope("api_error"), x_should_retry="false").retry
    assert "same" == read(400, envelope("invalid_request_error"), x_should_retry="true").retry


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (MalformedRequest("bad", param="messages"), 400, "invalid_request_error"),
        (NotAuthenticated(), 401, "authentication_error"),
        (NotAllowed("no"), 403, "permission_error"),
        (UnknownModel("no", param="model"), 404, "not_found_error"),
        (RequestTooLarge("big"), 413, "request_too_large"),
        (Overloaded("busy", retry_after=1), 503, "overloaded_error"),
        (Bug(), 500, "api_error"),
        (UpstreamTimeout("slow"), 504, "timeout_error"),
        (BadUpstreamBytes("odd"), 502, "api_error"),
        (UpstreamDenied("no", upstream_status=401), 502, "api_error"),
        (UpstreamBusy("slow", upstream_status=429), 429, "rate_limit_error"),
        (UpstreamFailed("busy", upstream_status=503, status=503), 503, "overloaded_error"),
        (MethodNotAllowed("no", allow=("POST",)), 405, "invalid_request_error"),
    ],
)
def test_our_errors_in_this_dialect(error: RouterError, status: int, kind: str) -> None:
    """Status and type agree, for clients choose their class by both; our stable code is the finer code."""
    wire = ANTHROPIC.encode_error(error)
    body = json.loads(wire.body)

    assert (status, kind, error.code) == (wire.status, body["error"]["type"], body["error"]["details"]["error_code"])
    assert (error.message, error.param) == (body["error"]["message"], body["error"]["details"].get("param"))
    if kind != "request_too_large":  # the service has it, the types of its package do not
        schema("anthropic.messages.response", "ErrorResponse").validate(body)


def test_headers_of_errors() -> None:
    """When to come back, how to authenticate, what is allowed."""
    busy = ANTHROPIC.encode_error(UpstreamBusy("slow", upstream_status=429, retry_after=1.2)).headers

    assert ("2", "1200") == (busy["retry-after"], busy["retry-after-ms"])
    assert "1" == ANTHROPIC.encode_error(Overloaded("busy")).headers["retry-after"]
    assert "www-authenticate" in ANTHROPIC.encode_error(NotAuthenticated()).headers
    assert "POST" == ANTHROPIC.encode_error(MethodNotAllowed("no", allow=("POST",))).headers["allow"]


def test_a_refusal_of_the_same_dialect_keeps_its_type() -> None:
    """A caller with a key of its own sees what the service said."""
    told: Any = json.loads(ANTHROPIC.encode_error(read(409, envelope("conflict_error"))).body)

    assert "conflict_error" == told["error"]["type"]


def test_recorded_errors() -> None:
    """Each recorded refusal has its class and its text."""
    found = {
        (case["status"], type(read(case["status"], case["response_body"])).__name__)
        for case in recorded()
        if case["status"] != 200
    }

    assert {(400, "UpstreamRejected"), (401, "UpstreamDenied"), (404, "ModelNotFound")} == found
