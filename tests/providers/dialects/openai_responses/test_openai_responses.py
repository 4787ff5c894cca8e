"""The dialect as the rest of the program sees it."""

from __future__ import annotations

import json

from providers.canonical.chat import TokenCount
from providers.canonical.errors import MalformedRequest, UpstreamRejected
from providers.dialects import DIALECTS
from tests.corpus import schema
from tests.providers.dialects.openai_responses.speak import RESPONSES, answered, decoded, recorded


def test_is_registered() -> None:
    """Under its own name."""
    assert "openai.responses" == DIALECTS["openai.responses"].name
    assert "chat" == RESPONSES.operation("chat")


def test_path() -> None:
    """`base_url` includes `/v1`, so only the rest is added."""
    wire = RESPONSES.encode_request(decoded(), [])

    assert ("POST", "/responses", "application/json") == (wire.method, wire.path, wire.headers["content-type"])


def test_a_count() -> None:
    """As the API's own count is written."""
    wire = RESPONSES.encode_count(TokenCount(total_tokens=7))

    assert {"object": "response.input_tokens", "input_tokens": 7} == json.loads(wire.body)


def test_errors_are_openais() -> None:
    """In its envelope, with our code; its own words come back to its own callers."""
    body = json.loads(RESPONSES.encode_error(MalformedRequest("no", param="input")).body)
    said = {"message": "no", "type": "odd_type", "param": "x", "code": "odd_code"}
    error = RESPONSES.decode_error(answered({"error": said}, status=400))

    schema("openai.chat.response", "ErrorResponse").validate(body)
    assert ("invalid_request", "input") == (body["error"]["code"], body["error"]["param"])
    assert isinstance(error, UpstreamRejected)
    assert {"error": said} == json.loads(RESPONSES.encode_error(error).body)
    assert {"error": said} == json.loads(DIALECTS["openai.chat"].encode_error(error).body)


def test_recorded_errors() -> None:
    """Keep their class, their words and the field that they name."""
    count = 0
    for case in recorded():
        if case["status"] >= 400:
            said = case["response_body"]["error"]
            found = RESPONSES.decode_error(answered(case["response_body"], status=case["status"]))
            count += 1

            assert (case["status"], said["param"]) == (found.upstream_status, found.param), case["id"]
    assert count >= 7
