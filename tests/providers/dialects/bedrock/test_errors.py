"""What a refusal of the service means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical import errors as tree
from providers.dialect import WireResponse
from providers.dialects.bedrock.errors import decode_error, decode_exception
from tests import corpus

Json = Any


def refused(status: int, message: str = "no", kind: str = "", **headers: str) -> tree.UpstreamError:
    told = {"x-amzn-errortype": kind} if kind else {}
    body = json.dumps({"message": message}).encode()
    return decode_error(WireResponse(status=status, headers={**told, **headers}, body=body))


@pytest.mark.parametrize(
    ("status", "kind", "message", "error", "ours"),
    [
        (400, "ValidationException", "no", tree.UpstreamRejected, 400),
        (
            400,
            "ValidationException:http://internal/coral/",
            "Input is too long for requested model.",
            tree.ContextTooLong,
            400,
        ),
        (400, "ValidationException", "The provided model identifier is invalid.", tree.ModelNotFound, 404),
        (
            400,
            "ValidationException",
            "Invocation of model ID x with on-demand throughput isn\u2019t supported.",
            tree.ModelNotFound,
            404,
        ),
        (400, "ServiceQuotaExceededException", "no", tree.UpstreamDenied, 502),
        (
            400,
            "ValidationException",
            "The generated text has been blocked by our content filters.",
            tree.ContentBlocked,
            400,
        ),
        (401, "", "no", tree.UpstreamDenied, 502),
        (403, "AccessDeniedException", "no", tree.UpstreamDenied, 502),
        (403, "com.amazon.coral#ExpiredTokenException", "no", tree.UpstreamDenied, 502),
        (404, "ResourceNotFoundException", "no", tree.ModelNotFound, 404),
        (408, "ModelTimeoutException", "no", tree.UpstreamFailed, 504),
        (424, "ModelErrorException", "no", tree.UpstreamFailed, 502),
        (424, "", "no", tree.UpstreamFailed, 502),
        (429, "ThrottlingException", "Too many tokens, please wait", tree.UpstreamBusy, 429),
        (429, "ModelNotReadyException", "no", tree.UpstreamBusy, 429),
        (429, "", "no", tree.UpstreamBusy, 429),
        (429, "NewException", "no", tree.UpstreamBusy, 429),
        (500, "InternalServerException", "no", tree.UpstreamFailed, 502),
        (503, "ServiceUnavailableException", "no", tree.UpstreamFailed, 503),
        (504, "", "no", tree.UpstreamFailed, 504),
        (529, "", "no", tree.UpstreamFailed, 503),
        (413, "", "no", tree.UpstreamRejected, 413),
    ],
)
def test_a_refusal(status: int, kind: str, message: str, error: type[Exception], ours: int) -> None:
    """By its class, wherever that stands, then by its status; the words decide where both leave it open."""
    found = refused(status, message, kind)

    assert (error, ours, status) == (type(found), found.status, found.upstream_status)
    assert kind.partition(":")[0].rpartition("#")[2] == (found.upstream_code or "")


def test_the_class_may_stand_in_the_body() -> None:
    """`__type` says what the header does not; `Message` is how some services write it."""
    body = b'{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow down"}'
    found = decode_error(WireResponse(status=400, body=body))

    assert (tree.UpstreamBusy, "slow down") == (type(found), found.message)


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[1]", b'{"message": 3}', b"\xff\xfe", b"plain words"])
def test_a_body_that_says_nothing(body: bytes) -> None:
    """The status is enough."""
    found = decode_error(WireResponse(status=502, body=body))

    assert isinstance(found, tree.UpstreamFailed)
    assert found.message in ("the upstream answered 502", "plain words", "\ufffd\ufffd")


def test_a_signature_is_not_told() -> None:
    """The service repeats the request that it wanted signed, with the session's token: nobody else sees it."""
    text = (
        "The request signature we calculated does not match.\n\nThe Canonical String was\nx-amz-security-token:SECRET"
    )
    found = refused(403, text, "InvalidSignatureException")

    assert (tree.UpstreamDenied, "The request signature we calculated does not match.") == (type(found), found.message)


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("Fri, 1 Jan", None), ("-1", None)])
def test_when_to_come_again(text: str, seconds: float | None) -> None:
    """Seconds are understood; a date needs a clock."""
    assert seconds == refused(429, kind="ThrottlingException", **{"retry-after": text}).retry_after


@pytest.mark.parametrize(
    ("kind", "error", "ours"),
    [
        ("throttlingException", tree.UpstreamBusy, 429),
        ("modelStreamErrorException", tree.UpstreamFailed, 502),
        ("internalServerException", tree.UpstreamFailed, 502),
        ("serviceUnavailableException", tree.UpstreamFailed, 503),
        ("modelTimeoutException", tree.UpstreamFailed, 504),
        ("validationException", tree.UpstreamRejected, 400),
        ("accessDeniedException", tree.UpstreamDenied, 502),
        ("newException", tree.UpstreamFailed, 502),
    ],
)
def test_an_exception_in_a_stream(kind: str, error: type[Exception], ours: int) -> None:
    """It has no status of its own: the class says all."""
    headers = {":message-type": "exception", ":exception-type": kind}
    found = decode_exception(headers, b'{"message":"no"}')

    assert (error, ours, 200, "no") == (type(found), found.status, found.upstream_status, found.message)


def test_an_error_frame() -> None:
    """Errors of the framing have their words in the headers."""
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "it broke"}
    found = decode_exception(headers, b"")

    assert (tree.UpstreamFailed, "it broke") == (type(found), found.message)


@given(st.integers(400, 599), st.text(max_size=20), st.binary(max_size=60))
def test_whatever_comes_is_an_error(status: int, kind: str, body: bytes) -> None:
    """Reading a refusal never fails."""
    found = decode_error(WireResponse(status=status, headers={"x-amzn-errortype": kind}, body=body))

    assert isinstance(found, tree.UpstreamError)
    assert 400 <= found.status <= 599


RECORDED = [case for case in corpus.cases("bedrock") if case["api"].startswith("converse") and case["status"] != 200]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_recorded_refusals(case: Json) -> None:
    """Real refusals keep their words; a bad key is ours, a bad model may be good elsewhere."""
    body = json.dumps(case["response_body"]).encode()
    found = decode_error(WireResponse(status=case["status"], headers=case["response_headers"], body=body))

    assert case["response_body"]["message"] == found.message
    assert ("elsewhere" == found.retry) == (case["status"] == 403 or "identifier" in found.message)
