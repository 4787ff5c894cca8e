"""Errors: what an upstream's no means, and how a caller is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical import errors as tree
from providers.canonical.errors import RouterError
from tests.corpus import schema
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, answered, recorded


def openai(message: str = "no", kind: str | None = None, code: Any = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "ours", "retry"),
    [
        (400, openai("bad", "invalid_request_error", None, "stop"), tree.UpstreamRejected, 400, "never"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}, tree.UpstreamRejected, 422, "never"),
        (409, openai(), tree.UpstreamRejected, 409, "never"),
        (413, openai(), tree.UpstreamRejected, 413, "never"),
        (400, openai(code="context_length_exceeded"), tree.ContextTooLong, 400, "never"),
        (400, openai("too long", "too_many_prompt_tokens", 400), tree.ContextTooLong, 400, "never"),
        (400, openai("This endpoint's maximum context length is 9", None, 400), tree.ContextTooLong, 400, "never"),
        (400, openai("exceeds", "exceed_context_size_error", 400), tree.ContextTooLong, 400, "never"),
        (413, openai("Max size: 9 tokens.", code="tokens_limit_reached"), tree.ContextTooLong, 413, "never"),
        (
            400,
            openai("This model's maximum context length is 9 tokens.", code="invalid_request_error"),
            tree.ContextTooLong,
            400,
            "never",
        ),
        (400, {"code": "bad", "error": "This model's maximum prompt length is 9"}, tree.ContextTooLong, 400, "never"),
        (500, openai("the request exceeds the available context size"), tree.ContextTooLong, 400, "never"),
        (400, openai(code="content_filter"), tree.ContentBlocked, 400, "never"),
        (
            403,
            {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"], "flagged_input": "y"}}},
            tree.ContentBlocked,
            403,
            "never",
        ),
        (200, openai(code="context_length_exceeded"), tree.ContextTooLong, 400, "never"),
        (200, openai(code="content_filter"), tree.ContentBlocked, 400, "never"),
        (
            400,
            {"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            tree.ContentBlocked,
            400,
            "never",
        ),
        (404, openai(code="model_not_found"), tree.ModelNotFound, 404, "elsewhere"),
        (404, {"error": "model 'x' not found"}, tree.ModelNotFound, 404, "elsewhere"),
        (404, openai("nothing here"), tree.UpstreamRejected, 404, "never"),
        (400, openai(code="tool_use_failed"), tree.UpstreamRejected, 400, "same"),
        (401, openai(code="invalid_api_key"), tree.UpstreamDenied, 502, "elsewhere"),
        (402, openai(), tree.UpstreamDenied, 502, "elsewhere"),
        (403, openai(), tree.UpstreamDenied, 502, "elsewhere"),
        (429, openai(kind="insufficient_quota", code="insufficient_quota"), tree.UpstreamDenied, 502, "elsewhere"),
        (
            400,
            [{"error": {"code": 400, "message": "API key not valid", "details": [{"reason": "API_KEY_INVALID"}]}}],
            tree.UpstreamDenied,
            502,
            "elsewhere",
        ),
        (429, openai(kind="requests", code="rate_limit_exceeded"), tree.UpstreamBusy, 429, "elsewhere"),
        (408, openai(), tree.UpstreamFailed, 504, "same"),
        (504, openai(), tree.UpstreamFailed, 504, "same"),
        (500, openai(), tree.UpstreamFailed, 502, "same"),
        (503, openai(), tree.UpstreamFailed, 503, "same"),
        (529, openai(), tree.UpstreamFailed, 503, "same"),
        (520, b"<html>", tree.UpstreamFailed, 502, "same"),
    ],
)
def test_classes(status: int, body: Any, kind: type, ours: int, retry: str) -> None:
    """Status first, the body where one status has several meanings; our credential is never the caller's."""
    error = CHAT.decode_error(answered(body, status))

    assert (kind, ours, status, retry) == (type(error), error.status, error.upstream_status, error.retry)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (openai("plain"), "plain"),
        ({"message": "m", "object": "error"}, "m"),
        ({"detail": "Invalid API Key"}, "Invalid API Key"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra"}, {"msg": "More"}]}, "body.seed: Extra; More"),
        ({"error": "text"}, "text"),
        ([{"error": {"code": 503, "message": "in a list"}}], "in a list"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "slow"}}},
            "Provider returned error: slow",
        ),
        (b"<html><script>x()</script><h1>Bad &amp; Gateway</h1></html>", "Bad & Gateway"),
        (b"just words", "just words"),
        (b"", "the upstream answered with status 500"),
        ({}, "the upstream answered with status 500"),
        (openai("key sk-abcdefghijkl is bad"), "key *** is bad"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_messages(body: Any, message: str) -> None:
    """The first text that is there, without markup, without keys."""
    assert message == CHAT.decode_error(answered(body, 500)).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5),
        ({"retry_after": "banana"}, None),
        ({"retry_after": "-1e400"}, None),
        ({"retry_after": "1e400"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry_after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds before seconds before a date, which counts from the answer's own; nonsense counts as absent."""
    assert seconds == CHAT.decode_error(answered(openai(), 429, **headers)).retry_after


@pytest.mark.parametrize(
    ("status", "word", "retry"),
    [(500, "false", "never"), (500, "true", "same"), (400, "true", "same"), (429, "false", "elsewhere")],
)
def test_the_upstream_may_say_whether_to_retry(status: int, word: str, retry: str) -> None:
    """`x-should-retry` is about the same upstream; another may still be tried."""
    assert retry == CHAT.decode_error(answered(openai(), status, x_should_retry=word)).retry


@pytest.mark.parametrize("file", ALL)
def test_recorded_errors(file: str) -> None:
    """Every recorded no is read, keeps its text and is told in the envelope."""
    for case in recorded(file):
        if case["status"] >= 400:
            error = CHAT.decode_error(answered(case["response_body"], case["status"]))
            schema("openai.chat.response", "ErrorResponse").validate(json.loads(CHAT.encode_error(error).body))

            assert case["status"] == error.upstream_status
            assert not error.message.startswith("the upstream answered with")


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.text(max_size=3) | st.integers(),
        lambda x: (
            st.lists(x, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "message", "detail", "code", "type", "metadata", "details", "innererror", "loc", "msg"]
                ),
                x,
                max_size=3,
            )
        ),
    ),
    st.integers(200, 599),
)
def test_any_body_is_an_error(body: Any, status: int) -> None:
    """Reading an error never fails."""
    error = CHAT.decode_error(answered(body, status))

    assert 400 <= error.status <= 599
    assert "<" not in error.message or not isinstance(body, bytes) or b"<" not in body


# ── writing ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (tree.MalformedRequest("x", param="messages"), 400, "invalid_request_error", "invalid_request"),
        (tree.MalformedRequest("x", code="invalid_messages"), 400, "invalid_request_error", "invalid_messages"),
        (tree.RequestTooLarge("x"), 413, "invalid_request_error", "payload_too_large"),
        (tree.UnsupportedParameter("x"), 400, "invalid_request_error", "unsupported_parameter"),
        (tree.Untranslatable("x"), 422, "invalid_request_error", "untranslatable"),
        (tree.NotAuthenticated(), 401, "authentication_error", "invalid_token"),
        (tree.NotAllowed("x"), 403, "permission_error", "forbidden"),
        (tree.UpstreamNotAllowed(), 403, "permission_error", "upstream_not_allowed"),
        (tree.RouteNotFound("x"), 404, "not_found_error", "not_found"),
        (tree.UnknownModel("x"), 404, "not_found_error", "model_not_found"),
        (tree.LimitExceeded("x"), 429, "rate_limit_error", "rate_limited"),
        (tree.Overloaded("x"), 503, "overloaded_error", "gateway_overloaded"),
        (tree.Bug(), 500, "server_error", "internal_error"),
        (tree.UpstreamDenied("x", upstream_status=401), 502, "upstream_error", "upstream_denied"),
        (tree.UpstreamBusy("x", upstream_status=429), 429, "rate_limit_error", "rate_limit_exceeded"),
        (tree.UpstreamFailed("x", upstream_status=500), 502, "upstream_error", "upstream_5xx"),
        (tree.UpstreamTimeout("x"), 504, "timeout_error", "upstream_timeout"),
        (tree.BadUpstreamBytes("x"), 502, "upstream_error", "upstream_invalid_response"),
        (tree.StreamTruncated("x"), 502, "upstream_error", "upstream_truncated"),
        (
            tree.UpstreamRejected(
                "x", upstream_status=400, dialect="openai.chat", upstream_type="t", upstream_code="c"
            ),
            400,
            "t",
            "c",
        ),
        (
            tree.ModelNotFound("x", upstream_status=404, dialect="gemini", upstream_type="NOT_FOUND"),
            404,
            "not_found_error",
            "model_not_found",
        ),
    ],
)
def test_the_envelope(error: RouterError, status: int, kind: str, code: str) -> None:
    """Four keys always; an upstream's own words only where they are this dialect's."""
    wire = CHAT.encode_error(error)

    assert (status, "application/json") == (wire.status, wire.headers["content-type"])
    expected = {"message": error.message, "type": kind, "param": error.param, "code": code}
    assert {"error": expected} == json.loads(wire.body)


def test_headers() -> None:
    """How long to wait, rounded up; how to authenticate; which methods there are."""
    busy = CHAT.encode_error(tree.UpstreamBusy("x", upstream_status=429, retry_after=34.4)).headers

    assert ("35", "34400") == (busy["retry-after"], busy["retry-after-ms"])
    assert "1" == CHAT.encode_error(tree.Overloaded("x")).headers["retry-after"]
    assert "retry-after" not in CHAT.encode_error(tree.Bug()).headers
    assert 'Bearer error="invalid_token"' == CHAT.encode_error(tree.NotAuthenticated()).headers["www-authenticate"]
    assert "GET, POST" == CHAT.encode_error(tree.MethodNotAllowed("x", allow=("GET", "POST"))).headers["allow"]
