"""Errors of the upstream."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.errors import (
    ContextTooLong,
    ModelNotFound,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from tests.providers.dialects.cohere.speak import COHERE, answered, recorded


def read(status: int, body: Any, **headers: str) -> UpstreamError:
    return COHERE.decode_error(answered(body, status, **headers))


def test_recorded_errors() -> None:
    """What the service said of itself."""
    found = [read(case["status"], case["response_body"]) for case in recorded() if case["status"] >= 400]

    assert [("TOO_MANY_TOKENS", True)] == [(one.upstream_code, "size limit exceeded" in one.message) for one in found]
    assert [ContextTooLong] == [type(one) for one in found]


@pytest.mark.parametrize(
    ("status", "text", "kind", "told"),
    [
        (400, "invalid request", UpstreamRejected, 400),
        (401, "invalid api token", UpstreamDenied, 502),
        (402, "no", UpstreamDenied, 502),
        (403, "no", UpstreamDenied, 502),
        (404, "model 'x' not found, make sure the correct model ID was used", ModelNotFound, 404),
        (404, "no route", UpstreamRejected, 404),
        (422, "unprocessable", UpstreamRejected, 422),
        (429, "trial key", UpstreamBusy, 429),
        (498, "invalid token", UpstreamDenied, 502),
        (499, "cancelled", UpstreamFailed, 502),
        (500, "broken", UpstreamFailed, 502),
        (503, "busy", UpstreamFailed, 503),
        (504, "slow", UpstreamFailed, 504),
        (529, "overloaded", UpstreamFailed, 503),
        (200, "broken", UpstreamFailed, 502),
    ],
)
def test_what_an_error_means(status: int, text: str, kind: type[UpstreamError], told: int) -> None:
    """By its status, 498 among them."""
    error = read(status, {"message": text, "id": "x"})

    assert (kind, told, text, "cohere.chat") == (type(error), error.status, error.message, error.dialect)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"detail": "no"}, "no"),
        (b"plain", "plain"),
        (b"<html>", "the upstream answered with status 500"),
        ([1], "the upstream answered with status 500"),
        ({"message": [1]}, "the upstream answered with status 500"),
    ],
)
def test_bodies_of_any_shape(body: Any, text: str) -> None:
    """Proxies write others."""
    assert text == read(500, body).message


def test_the_time_to_wait() -> None:
    """From its header."""
    assert 7.0 == read(429, {"message": "slow down"}, retry_after="7").retry_after
