"""Recorded and documented errors of an upstream, told to callers of both dialects."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from providers.canonical.errors import mask
from providers.dialect import Dialect, WireResponse
from tests.corpus import schema

from .languages import LANGUAGES
from .neutral import Json
from .tally import account
from .through import CALLERS, CHAT, FILES, GEMINI, NAMES, caller_of, recorded

DIALECTS = [NAMES[name] for name in CALLERS]
#: An upstream's 401, 402, 403 is about a credential of ours: nothing that the caller could change.
OURS = (401, 402, 403)
_BILLING = ("insufficient_quota", "API_KEY_INVALID", "billing_hard_limit_reached")


def reason(body: Json) -> str:
    """What the upstream says went wrong, wherever its servers put it."""
    body = body[0] if isinstance(body, list) else body
    error = body.get("error", body)
    return str(error if isinstance(error, str) else error.get("message") or body.get("detail") or "")


def expected_status(status: int, body: Json) -> int:
    """The status that a caller gets: 502 for credentials of ours, its own faults as they are, a server's 502 to 504."""
    if "model identifier is invalid" in json.dumps(body):
        return 404  # Bedrock's word for a model that is not there
    if status in OURS or any(word in json.dumps(body) for word in _BILLING):
        return 502
    return {498: 502, 500: 502, 501: 502, 529: 503, 408: 504}.get(status, status)


def envelope_problems(body: Json, caller: Dialect) -> list[str]:
    entry = LANGUAGES[caller.name].error
    if entry is None:
        return [] if isinstance(body.get("error"), str) else [f"no error of Ollama's: {body}"]
    found = [f"schema: {error.json_path} {error.message}" for error in schema(*entry).iter_errors(body)]
    if caller.family == CHAT.family and body["error"].keys() != {"message", "type", "param", "code"}:
        found.append(f"keys {sorted(body['error'])}")
    return found


def told_error(upstream: Dialect, caller: Dialect, wire: WireResponse) -> tuple[int, dict[str, str], Json]:
    answer = caller.encode_error(upstream.decode_error(wire))
    return answer.status, answer.headers, json.loads(answer.body)


@pytest.mark.parametrize("caller", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize("file", FILES)
def test_recorded_errors_arrive(file: str, caller: Dialect) -> None:
    """The caller's envelope, the status class, and the upstream's own reason."""
    row = account("error", file, caller.name)
    for case in recorded(file):
        if case.status < 400:
            continue
        raw = case.raw["response_body"]
        status, _, body = told_error(case.dialect, caller, case.wire)
        found = envelope_problems(body, caller)
        if status != expected_status(case.status, raw):
            found.append(f"{case.status} became {status}")
        if caller is GEMINI and body["error"]["code"] != status:
            found.append("the code in the body is another")
        if mask(reason(raw))[:200] not in reason(body):
            found.append(f"the reason {reason(raw)[:80]!r} became {reason(body)[:80]!r}")
        row.judge(case.id, found, "errors")

    assert [] == row.surprises


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}


def google(code: int, word: str, message: str, *details: Json) -> Json:
    return {"error": {"code": code, "message": message, "status": word, "details": list(details)}}


def openai(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


#: Anthropic's word for a status.
ANTHROPIC = {
    400: "invalid_request_error",
    404: "not_found_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "api_error",
    503: "overloaded_error",
}


#: what it is: (dialect, status, headers, body) -> (status told, seconds to wait, OpenAI's type, Google's word)
DOCUMENTED: dict[str, tuple[tuple[str, int, dict[str, str], Json], tuple[int, float | None, str, str]]] = {
    "quota": (
        ("gemini", 429, {}, google(429, "RESOURCE_EXHAUSTED", "Quota exceeded", RETRY)),
        (429, 34.4, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "bad key": (
        ("gemini", 400, {}, google(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY)),
        (502, None, "upstream_error", "INTERNAL"),
    ),
    "prepaid is empty": (
        ("gemini", 402, {}, google(402, "RESOURCE_EXHAUSTED", "out of credits")),
        (502, None, "upstream_error", "INTERNAL"),
    ),
    "in a list": (
        ("gemini", 503, {}, [google(503, "UNAVAILABLE", "The model is overloaded.")]),
        (503, None, "upstream_error", "UNAVAILABLE"),
    ),
    "no quota left": (
        ("openai.chat", 429, {}, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota")),
        (502, None, "upstream_error", "INTERNAL"),
    ),
    "too long": (
        (
            "openai.chat",
            400,
            {},
            openai(
                "This model's maximum context length is 10",
                "invalid_request_error",
                "context_length_exceeded",
                "messages",
            ),
        ),
        (400, None, "invalid_request_error", "INVALID_ARGUMENT"),
    ),
    "milliseconds": (
        (
            "openai.chat",
            429,
            {"retry-after-ms": "1500", "retry-after": "7"},
            openai("slow", "requests", "rate_limit_exceeded"),
        ),
        (429, 1.5, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "seconds": (
        ("openai.chat", 503, {"retry-after": "7"}, openai("busy", "server_error")),
        (503, 7.0, "upstream_error", "UNAVAILABLE"),
    ),
    "server error": (
        ("openai.chat", 500, {}, openai("no", "server_error")),
        (502, None, "upstream_error", "UNAVAILABLE"),
    ),
    "no model": (
        ("openai.chat", 404, {}, openai("The model `x` does not exist", "invalid_request_error", "model_not_found")),
        (404, None, "", "NOT_FOUND"),
    ),
    "unprocessable": (
        ("openai.chat", 422, {}, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        (422, None, "invalid_request_error", "INVALID_ARGUMENT"),
    ),
    "overloaded": (
        ("anthropic.messages", 529, {}, anthropic("overloaded_error", "Overloaded")),
        (503, None, "upstream_error", "UNAVAILABLE"),
    ),
    "a pause": (
        ("anthropic.messages", 429, {"retry-after": "12"}, anthropic("rate_limit_error", "slow down")),
        (429, 12.0, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "no credit": (
        ("anthropic.messages", 400, {}, anthropic("invalid_request_error", "Your credit balance is too low to access")),
        (502, None, "upstream_error", "INTERNAL"),
    ),
    "a response that failed": (
        ("openai.responses", 500, {}, openai("The server had an error", "server_error", "server_error")),
        (502, None, "upstream_error", "UNAVAILABLE"),
    ),
    "no such model here": (
        ("ollama.chat", 404, {}, {"error": "model 'x' not found"}),
        (404, None, "", "NOT_FOUND"),
    ),
    "too many": (
        ("cohere.chat", 429, {}, {"message": "You are past the per minute request limit"}),
        (429, None, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "throttled": (
        (
            "bedrock.converse",
            429,
            {"x-amzn-errortype": "ThrottlingException:http://x/"},
            {"message": "Too many requests"},
        ),
        (429, None, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "wrong key": (
        (
            "openai.chat",
            401,
            {},
            openai("Incorrect API key provided: sk-abc***xyz", "invalid_request_error", "invalid_api_key"),
        ),
        (502, None, "upstream_error", "INTERNAL"),
    ),
}


@pytest.mark.parametrize("caller", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize("what", DOCUMENTED)
def test_documented_errors_arrive(what: str, caller: Dialect) -> None:
    """Class and words of the caller's dialect, and the hint when to try again in every form that its clients read."""
    (upstream, code, headers, raw), (status, wait, kind, word) = DOCUMENTED[what]
    wire = WireResponse(status=code, headers=headers, body=json.dumps(raw).encode())
    answered, sent, body = told_error(NAMES[upstream], caller, wire)
    error = body["error"] if isinstance(body["error"], dict) else {}

    assert [] == envelope_problems(body, caller)
    assert status == answered
    if caller is CHAT:
        assert error["type"] == kind or not kind
    if caller is GEMINI:
        assert error["status"] == word
    if caller.name == "anthropic.messages":
        assert error["type"] == ANTHROPIC[answered]
    assert "sk-abc" not in json.dumps(body)
    if wait is not None:
        assert (str(math.ceil(wait)), str(math.ceil(wait * 1000))) == (sent["retry-after"], sent["retry-after-ms"])
        hints = [detail["retryDelay"] for detail in error.get("details", ()) if "retryDelay" in detail]
        assert [] == hints if caller is not GEMINI else [wait] == [float(hint.removesuffix("s")) for hint in hints]


@pytest.mark.parametrize("upstream", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize("caller", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "body", [b"<html><h1>Bad Gateway</h1></html>", b"", b"\xff\xfe", b"[]", b'{"error":null}', b'"down"']
)
def test_any_body_becomes_an_error_of_the_callers(body: bytes, caller: Dialect, upstream: Dialect) -> None:
    """Pages of proxies, nothing, nonsense: the envelope is right, and no mark-up goes on."""
    status, _, told = told_error(upstream, caller, WireResponse(status=502, headers={}, body=body))

    assert 502 == status
    assert [] == envelope_problems(told, caller)
    assert "<h1>" not in reason(told)


@pytest.mark.parametrize("caller", DIALECTS, ids=lambda one: one.name)
def test_an_error_within_a_stream_is_the_callers_own(caller: Dialect) -> None:
    """After the first byte the error stands in an event of the stream, in the same envelope, and nothing follows it."""
    error = GEMINI.decode_error(
        WireResponse(status=503, headers={}, body=json.dumps(google(503, "UNAVAILABLE", "overloaded")).encode())
    )
    encoder: Any = caller.stream_encoder(caller_of(caller, stream=True), [])
    frame = encoder.error(error)
    body = json.loads(frame[frame.index(b"{") :].splitlines()[0])

    assert [] == envelope_problems(body, caller)
    assert "overloaded" in reason(body)
    assert b"[DONE]" not in frame
