"""Whole answers and errors, read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import Text
from providers.canonical.errors import (
    BadUpstreamBytes,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.dialect import WireResponse
from providers.dialects import DIALECTS

CHAT = DIALECTS["alchemyst.chat"]


def wire(body: Any, status: int = 201) -> WireResponse:
    return WireResponse(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "result",
    [
        {"message": "Hi", "content": "other"},
        {"response": {"content": "Hi"}},
        {"response": {"lc": 1, "kwargs": {"content": "Hi"}}},
        {"message": None, "content": "Hi"},
        "Hi",
    ],
)
def test_the_text_is_found(result: Any) -> None:
    """In the first of its places; what else is told of the chat is kept."""
    response = CHAT.decode_response(wire({"result": result, "chatId": "c", "title": None, "researchMode": False}))

    assert ((Text(text="Hi"),), "stop") == (response.choices[0].parts, response.choices[0].finish.reason)  # type: ignore[union-attr]
    assert ({"chatId": "c", "researchMode": False}, None) == (response.extra, response.usage)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"result": {}}', b'{"result": {"message": 1}}'])
def test_an_answer_without_text_is_none(body: bytes) -> None:
    """Not an empty success."""
    with pytest.raises(BadUpstreamBytes):
        CHAT.decode_response(wire(body))


def test_an_error_in_a_good_answer_is_one() -> None:
    """Told under 201."""
    with pytest.raises(UpstreamError) as failed:
        CHAT.decode_response(wire({"error": "no credits"}))

    assert "no credits" == failed.value.message


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [
        (400, UpstreamRejected, 400),
        (401, UpstreamDenied, 502),
        (402, UpstreamDenied, 502),
        (403, UpstreamDenied, 502),
        (404, UpstreamFailed, 502),
        (429, UpstreamBusy, 429),
        (500, UpstreamFailed, 502),
    ],
)
@pytest.mark.parametrize("body", [{"message": "why"}, {"error": "why"}])
def test_errors(body: Any, status: int, kind: type, shown: int) -> None:
    """`message` or `error`. 404 is an answer that was not found, no path of the caller's."""
    error = CHAT.decode_error(wire(body, status))

    assert (kind, shown, "why", status) == (type(error), error.status, error.message, error.upstream_status)
