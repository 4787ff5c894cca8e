"""Failures inside a good answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import (
    ContextTooLong,
    Overloaded,
    StreamTruncated,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.dialects.openai_responses.faults import error_event, event_fault, failure, fault
from tests.corpus import schema

EVENT = schema("openai.responses.response", "ResponseErrorEvent")
ERROR = schema("openai.responses.response", "ResponseError")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"code": "server_error", "message": "no"}, UpstreamFailed, "no"),
        ({"code": "rate_limit_exceeded", "message": "no"}, UpstreamBusy, "no"),
        ({"code": "slow_down", "message": "no"}, UpstreamFailed, "no"),
        ({"code": "insufficient_quota", "message": "no"}, UpstreamDenied, "no"),
        ({"code": "context_length_exceeded", "message": "no"}, ContextTooLong, "no"),
        ({"code": "invalid_image_url", "message": "no"}, UpstreamRejected, "no"),
        ({}, UpstreamFailed, "the upstream's model failed"),
        (None, UpstreamFailed, "the upstream's model failed"),
        ("no", UpstreamFailed, "no"),
    ],
)
def test_what_a_failure_means(error: Any, kind: type[UpstreamError], message: str) -> None:
    """By its code, as if it had had a status; the one that it had is kept."""
    found = fault(error)

    assert (kind, message, 200) == (type(found), found.message, found.upstream_status)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "no", "param": "x"},
        {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "no", "param": "x"}},
    ],
)
def test_error_events_flat_and_nested(event: Any) -> None:
    """The types say the one, the service sends the other."""
    found = event_fault(event)

    assert ("no", "server_error", "x") == (found.message, found.upstream_code, found.param)


def test_our_event_is_both() -> None:
    """It fits the schema, and the official client raises on its `error`."""
    data = error_event(StreamTruncated("it just\u2028ended"), 7)
    name, line = data.rstrip(b"\n").split(b"\n")
    event = json.loads(line.removeprefix(b"data: "))

    EVENT.validate(event)
    assert b"event: error" == name
    assert (7, "upstream_truncated", "it just\u2028ended") == (
        event["sequence_number"],
        event["code"],
        event["message"],
    )
    assert {"message", "type", "param", "code"} == event["error"].keys()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StreamTruncated("x"), "server_error"),
        (Overloaded("x"), "server_error"),
        (UpstreamBusy("x", upstream_status=429), "rate_limit_exceeded"),
        (ContextTooLong("x", upstream_status=400), "invalid_prompt"),
    ],
)
def test_codes_of_failed_responses_are_a_closed_list(error: Any, code: str) -> None:
    """The nearest of them."""
    ERROR.validate(failure(error))
    assert code == failure(error)["code"]
