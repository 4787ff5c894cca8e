"""Google's error envelope, written and read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import (
    BadUpstreamBytes,
    Bug,
    ConnectionLost,
    ContextTooLong,
    Detail,
    LimitExceeded,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotAllowed,
    NotAuthenticated,
    Overloaded,
    RouteNotFound,
    RouterError,
    UnsupportedParameter,
    Untranslatable,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamNotAllowed,
    UpstreamRejected,
    UpstreamTimeout,
)
from providers.dialect import WireResponse
from tests.corpus import cases, schema
from tests.providers.dialects.gemini.spoken import GEMINI, Json


def written(error: RouterError) -> tuple[WireResponse, Json]:
    wire = GEMINI.encode_error(error)
    body = json.loads(wire.body)
    schema("gemini.v1beta.response", "GoogleErrorResponse").validate(body)
    return wire, body["error"]


def upstream(kind: type[UpstreamError], **fields: Any) -> UpstreamError:
    return kind("no", upstream_status=fields.pop("upstream_status", 500), **fields)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (MalformedRequest("x"), 400, "INVALID_ARGUMENT"),
        (UnsupportedParameter("x", param="a"), 400, "INVALID_ARGUMENT"),
        (Untranslatable("x"), 422, "INVALID_ARGUMENT"),
        (NotAuthenticated(), 401, "UNAUTHENTICATED"),
        (NotAllowed("x"), 403, "PERMISSION_DENIED"),
        (UpstreamNotAllowed(), 403, "PERMISSION_DENIED"),
        (RouteNotFound("x"), 404, "NOT_FOUND"),
        (LimitExceeded("x", retry_after=3), 429, "RESOURCE_EXHAUSTED"),
        (Overloaded("x", retry_after=1), 503, "UNAVAILABLE"),
        (upstream(UpstreamDenied), 502, "INTERNAL"),
        (upstream(UpstreamDenied, status=401), 401, "UNAUTHENTICATED"),
        (upstream(UpstreamRejected), 400, "INVALID_ARGUMENT"),
        (upstream(UpstreamRejected, status=409), 409, "ABORTED"),
        (upstream(ModelNotFound), 404, "NOT_FOUND"),
        (upstream(UpstreamBusy), 429, "RESOURCE_EXHAUSTED"),
        (upstream(UpstreamFailed), 502, "UNAVAILABLE"),
        (upstream(UpstreamFailed, status=503), 503, "UNAVAILABLE"),
        (ConnectionLost("x"), 502, "UNAVAILABLE"),
        (UpstreamTimeout("x"), 504, "DEADLINE_EXCEEDED"),
        (BadUpstreamBytes("x"), 502, "INTERNAL"),
        (Bug(), 500, "INTERNAL"),
    ],
)
def test_status_words(error: RouterError, status: int, word: str) -> None:
    """Status and word follow the error map; the gateway's own code is the reason of an ErrorInfo."""
    wire, body = written(error)
    info = next(one for one in body["details"] if one.get("@type", "").endswith("ErrorInfo"))

    assert (status, status, word) == (wire.status, body["code"], body["status"])
    assert error.code == info["reason"]


def test_validation_names_its_fields_first() -> None:
    """details[0] is the offending field, as the published form has it."""
    _, body = written(MalformedRequest("no", param="contents", details=(Detail("contents", "is required"),)))

    assert {"field": "contents", "description": "is required"} == body["details"][0]


def test_a_parameter_is_a_field_too() -> None:
    """A refusal with `param` alone names it in the details as well."""
    _, body = written(UnsupportedParameter("no", param="tools"))

    assert {"field": "tools", "description": "no"} == body["details"][0]


def test_a_bug_says_server_error() -> None:
    """A 500 carries the type that the published form has."""
    assert "server_error" == written(Bug())[1]["type"]


def test_delays_are_given_in_three_ways() -> None:
    """Whole seconds rounded up, milliseconds, and RetryInfo in the body."""
    wire, body = written(upstream(UpstreamBusy, retry_after=34.4))

    assert ("35", "34400") == (wire.headers["retry-after"], wire.headers["retry-after-ms"])
    assert "34.4s" == body["details"][-1]["retryDelay"]


def test_headers_of_their_own() -> None:
    """401 says how to authenticate, 405 what is allowed."""
    assert 'Bearer error="invalid_token"' == GEMINI.encode_error(NotAuthenticated()).headers["www-authenticate"]
    assert "GET, POST" == GEMINI.encode_error(MethodNotAllowed("x", allow=("GET", "POST"))).headers["allow"]


# ── reading ────────────────────────────────────────────────────────────────────────────


def error_body(status: int, message: str, word: str = "INVALID_ARGUMENT", *details: Json) -> Json:
    return {"error": {"code": status, "message": message, "status": word, "details": list(details)}}


def read(status: int, body: Json, **headers: str) -> UpstreamError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return GEMINI.decode_error(WireResponse(status=status, headers=names, body=data))


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "ours"),
    [
        (400, error_body(400, "API key not valid.", "INVALID_ARGUMENT", BAD_KEY), UpstreamDenied, 502),
        (401, error_body(401, "no", "UNAUTHENTICATED"), UpstreamDenied, 502),
        (402, error_body(402, "out of credits", "RESOURCE_EXHAUSTED"), UpstreamDenied, 502),
        (403, error_body(403, "no", "PERMISSION_DENIED"), UpstreamDenied, 502),
        (400, error_body(400, "User location is not supported", "FAILED_PRECONDITION"), UpstreamDenied, 502),
        (400, error_body(400, "Please enable billing", "FAILED_PRECONDITION"), UpstreamDenied, 502),
        (400, error_body(400, "The input token count (9) exceeds the maximum number of tokens"), ContextTooLong, 400),
        (400, error_body(400, "Invalid value"), UpstreamRejected, 400),
        (404, error_body(404, "models/x is not found for API version v1beta", "NOT_FOUND"), ModelNotFound, 404),
        (404, error_body(404, "CachedContent not there", "NOT_FOUND"), UpstreamRejected, 404),
        (409, error_body(409, "x", "ABORTED"), UpstreamRejected, 409),
        (429, error_body(429, "Quota exceeded", "RESOURCE_EXHAUSTED"), UpstreamBusy, 429),
        (500, error_body(500, "x", "INTERNAL"), UpstreamFailed, 502),
        (503, [error_body(503, "The model is overloaded.", "UNAVAILABLE")], UpstreamFailed, 503),
        (504, error_body(504, "x", "DEADLINE_EXCEEDED"), UpstreamFailed, 504),
        (502, b"<html>Bad Gateway</html>", UpstreamFailed, 502),
        (500, b"", UpstreamFailed, 502),
        (400, {"error": "just a text"}, UpstreamRejected, 400),
        (200, error_body(429, "x", "RESOURCE_EXHAUSTED"), UpstreamBusy, 429),
        (200, {"error": {"message": "x"}}, UpstreamFailed, 502),
    ],
)
def test_classes(status: int, body: Json, kind: type[UpstreamError], ours: int) -> None:
    """Status first, the body only where the status leaves it open."""
    error = read(status, body)

    assert (kind, ours) == (type(error), error.status)


def test_what_the_upstream_said_is_kept() -> None:
    """Message, word, the field that it names, and the delay of RetryInfo."""
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    field = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents"}]}
    error = read(400, error_body(400, "Wrong", "INVALID_ARGUMENT", delay, field))

    assert ("Wrong", "INVALID_ARGUMENT", "contents", 34.4) == (
        error.message,
        error.upstream_type,
        error.param,
        error.retry_after,
    )


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "7", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "-1e400 banana"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_delays_of_headers(headers: dict[str, str], delay: float | None) -> None:
    """Headers count where the body says nothing; what is no number is not there."""
    assert delay == read(429, error_body(429, "x"), **headers).retry_after


def test_keys_are_masked() -> None:
    """A key in an error text does not reach the caller."""
    assert "AIza" not in read(400, error_body(400, "key AIzaSyD-1234567890 is bad")).message


def test_recorded_errors() -> None:
    """Every recorded error is one of the caller's or the upstream's, with its own text."""
    for case in cases("gemini"):
        if case["status"] >= 400 and case["api"].endswith("enerateContent"):
            error = read(case["status"], case["response_body"])

            assert error.status == (case["status"] if case["status"] != 403 else 502)
            assert error.message
