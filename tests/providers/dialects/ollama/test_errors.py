"""Errors, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import (
    ContextTooLong,
    LimitExceeded,
    MalformedRequest,
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
from tests.providers.dialects.ollama.speak import OLLAMA, answered


def read(status: int, body: Any, **headers: str) -> UpstreamError:
    return OLLAMA.decode_error(answered(body, status, **headers))


@pytest.mark.parametrize(
    ("status", "text", "kind", "told"),
    [
        (400, "invalid format", UpstreamRejected, 400),
        (400, '"llama3" does not support tools', UpstreamRejected, 400),
        (400, "the input length exceeds the context length", ContextTooLong, 400),
        (401, "unauthorized", UpstreamDenied, 502),
        (403, "no", UpstreamDenied, 502),
        (404, "model 'x' not found", ModelNotFound, 404),
        (404, 'model "x" not found, try pulling it first', ModelNotFound, 404),
        (404, "404 page not found", UpstreamRejected, 404),
        (408, "slow", UpstreamFailed, 504),
        (429, "too many", UpstreamBusy, 429),
        (500, "llama runner process has terminated", UpstreamFailed, 502),
        (503, "server busy, please try again", UpstreamFailed, 503),
        (504, "slow", UpstreamFailed, 504),
        (529, "overloaded", UpstreamFailed, 503),
        (200, "an error was encountered while running the model", UpstreamFailed, 502),
        (200, "server busy, please try again.  maximum pending requests exceeded", UpstreamFailed, 503),
        (200, "model 'x' not found", ModelNotFound, 404),
    ],
)
def test_what_an_error_means(status: int, text: str, kind: type[UpstreamError], told: int) -> None:
    """By its status, and by its text where that has several meanings (in a stream it has none)."""
    error = read(status, {"error": text})

    assert (kind, told, text, "ollama.chat") == (type(error), error.status, error.message, error.dialect)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        (b"404 page not found", "404 page not found"),
        (b"<html><title>Bad Gateway</title>", "the upstream answered with status 500"),
        (b"", "the upstream answered with status 500"),
        ([1], "the upstream answered with status 500"),
        ({"error": 5}, "the upstream answered with status 500"),
    ],
)
def test_bodies_of_any_shape(body: Any, text: str) -> None:
    """Servers and proxies write others, too."""
    assert text == read(500, body).message


def test_a_hint_and_a_secret() -> None:
    """The time to wait is kept, a key in the text is not."""
    error = read(429, {"error": "slow down, sk-abcdef123456"}, retry_after="7")

    assert (7.0, "slow down, ***") == (error.retry_after, error.message)


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            MalformedRequest("model must be a string", param="model"),
            400,
            {"error": "model must be a string", "code": "invalid_request", "param": "model"},
        ),
        (NotAuthenticated(), 401, {"error": "Unauthorized", "code": "invalid_token"}),
        (
            ModelNotFound("model 'x' not found", upstream_status=404),
            404,
            {"error": "model 'x' not found", "code": "model_not_found"},
        ),
    ],
)
def test_errors_are_written(error: RouterError, status: int, body: Any) -> None:
    """`error` is the text that clients show; the stable code beside it."""
    wire = OLLAMA.encode_error(error)

    assert (status, body) == (wire.status, json.loads(wire.body))


def test_headers_of_errors() -> None:
    """How to authenticate, what is allowed, when to come again."""
    assert "Bearer" in OLLAMA.encode_error(NotAuthenticated()).headers["www-authenticate"]
    assert "GET, HEAD" == OLLAMA.encode_error(MethodNotAllowed("no", allow=("GET", "HEAD"))).headers["allow"]
    headers = OLLAMA.encode_error(LimitExceeded("slow", retry_after=1.2), stream=True).headers
    assert ("2", "1200") == (headers["retry-after"], headers["retry-after-ms"])
