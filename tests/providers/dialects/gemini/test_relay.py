"""The lane that changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import (
    BadUpstreamBytes,
    ConnectionLost,
    RouterError,
    StreamTruncated,
    UnsupportedParameter,
    UpstreamBusy,
    UpstreamFailed,
)
from providers.dialect import Traits, WireResponse
from tests.corpus import cases
from tests.providers.dialects.gemini.spoken import (
    GEMINI,
    HI,
    Json,
    asked,
    candidate,
    recorded_request,
    recorded_stream,
    sse,
)

STREAMED = [case for case in cases("gemini") if case["api"] == "streamGenerateContent" and case["status"] == 200]
ODD = b'{ "contents" : [{"parts":[{"text":"\\u0048i"}]}], "x": 1.10 }'


# ── requests ───────────────────────────────────────────────────────────────────────────


def test_the_body_is_untouched() -> None:
    """Byte for byte, whatever it holds; the model stands in the path, the key nowhere."""
    one = asked(ODD, version="v1")
    one.wire.query["key"] = "secret"
    wire = GEMINI.relay_request(one, "gemini-x", [])

    assert ODD == wire.body
    assert ("/v1/models/gemini-x:generateContent", {}) == (wire.path, wire.query)


def test_alt_is_passed_on() -> None:
    """The answer comes in the form that the caller wants."""
    other = asked(HI, task="streamGenerateContent", **{"$alt": "sse"})

    assert "text/event-stream" == GEMINI.stream_relay(other).content_type
    assert {"alt": "sse"} == GEMINI.decode_request(other).form
    assert {"alt": "sse"} == GEMINI.relay_request(asked(HI, task="streamGenerateContent", alt="sse"), "m", []).query


@pytest.mark.parametrize("key", ["safetySettings", "safety_settings"])
def test_a_threshold_is_spelled_as_the_service_does(key: str) -> None:
    """T-1.13: BLOCK_HIGH_AND_ABOVE is sent as BLOCK_ONLY_HIGH, and nothing else changes."""
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_HIGH_AND_ABOVE"}, {"category": "X"}]
    wire = GEMINI.relay_request(asked(ODD[:-1] + b',"%s":%s}' % (key.encode(), json.dumps(settings).encode())), "m", [])

    assert "BLOCK_ONLY_HIGH" == json.loads(wire.body)[key][0]["threshold"]
    assert b'[{"parts":[{"text":"\\u0048i"}]}]' in wire.body
    assert b'"x":1.10' in wire.body


def test_a_name_inside_the_body_follows_the_path() -> None:
    """Embeddings and counts repeat the model's name."""
    batch = {"requests": [{"model": "models/a", "content": {"parts": [{"text": "x"}]}}]}
    count = {"generateContentRequest": {**HI, "model": "models/a"}}
    one = GEMINI.relay_request(asked(batch, task="batchEmbedContents", model="a"), "b", [])
    two = GEMINI.relay_request(asked(count, task="countTokens", model="a"), "b", [])

    assert "models/b" == json.loads(one.body)["requests"][0]["model"]
    assert "models/b" == json.loads(two.body)["generateContentRequest"]["model"]


def test_what_a_row_ignores_or_rejects() -> None:
    """Left out and named, also inside generationConfig; or refused."""
    body = {**HI, "store": True, "generation_config": {"top_k": 3, "topP": 1}}
    losses: list[Any] = []
    wire = GEMINI.relay_request(asked(body), "m", losses, Traits(ignores=frozenset({"store", "generationConfig.topK"})))
    with pytest.raises(UnsupportedParameter):
        GEMINI.relay_request(asked(body), "m", [], Traits(rejects=frozenset({"store"})))

    assert {**HI, "generation_config": {"topP": 1}} == json.loads(wire.body)
    assert {"store", "top_k"} == {loss.field for loss in losses}


# ── answers ────────────────────────────────────────────────────────────────────────────


def taken(body: Json, task: str = "generateContent") -> Any:
    request = {
        "embedContent": {"content": {"parts": [{"text": "x"}]}},
        "batchEmbedContents": {"requests": [{"content": {"parts": [{"text": "x"}]}}]},
    }.get(task, HI)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.relay_response(WireResponse(status=200, body=data), asked(request, task=task))


def test_usage_is_read() -> None:
    """Of answers, counts and embeddings."""
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2}

    assert 5 == taken({"candidates": [candidate({"text": "x"})], "usageMetadata": usage}).input_tokens
    assert 31 == taken({"totalTokens": 31}, "countTokens").input_tokens
    assert (
        5
        == taken({"embedding": {"values": [1]}, "usageMetadata": {"promptTokenCount": 5}}, "embedContent").input_tokens
    )
    assert None is taken({"embeddings": []}, "batchEmbedContents")


@pytest.mark.parametrize(
    ("body", "task", "kind"),
    [
        (b"<html>", "generateContent", BadUpstreamBytes),
        (b"[]", "countTokens", BadUpstreamBytes),
        ({}, "countTokens", BadUpstreamBytes),
        ({}, "embedContent", BadUpstreamBytes),
        ({}, "generateContent", UpstreamFailed),
        ({"error": {"code": 429}}, "generateContent", UpstreamBusy),
        ({"error": {"code": 429}}, "countTokens", UpstreamBusy),
        ({"candidates": [{"finishReason": "OTHER"}]}, "generateContent", UpstreamFailed),
    ],
)
def test_what_is_no_answer_is_not_passed_on(body: Json, task: str, kind: type[RouterError]) -> None:
    """The relay lane raises what the translate lane would."""
    with pytest.raises(kind):
        taken(body, task)


# ── streams ────────────────────────────────────────────────────────────────────────────


def relay(alt: str = "sse") -> Any:
    return GEMINI.stream_relay(asked(HI, task="streamGenerateContent", alt=alt))


def passed(tap: Any, data: bytes, step: int) -> bytes:
    return b"".join(tap.feed(data[i : i + step]) for i in range(0, len(data), step)) + tap.close()


@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case["id"])
def test_recorded_streams_pass_byte_for_byte(case: Any) -> None:
    """SSE and arrays, at any cut; the last usage is known."""
    data = recorded_stream(case)
    alt = "sse" if "response_sse" in case else "json"
    for step in (len(data), 7 if len(data) < 20000 else 997):
        tap = relay(alt)

        assert data == passed(tap, data, step)
        assert tap.started
        assert tap.usage is not None


def test_recorded_requests_are_untouched() -> None:
    """No recorded request changes in this lane."""
    for case in STREAMED:
        if case["request_body"] is not None:
            one = recorded_request(case)

            assert one.wire.body == GEMINI.relay_request(one, "m", []).body


CHUNK = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "index": 0}]}
LAST = {"candidates": [candidate({"text": ""})]}


@pytest.mark.parametrize(
    ("alt", "data"),
    [("json", sse(CHUNK, LAST)), ("sse", json.dumps([CHUNK, LAST]).encode()), ("sse", json.dumps(LAST).encode())],
)
def test_another_form_than_asked_is_written_as_asked(alt: str, data: bytes) -> None:
    """A caller that wants SSE gets SSE, one that wants an array gets an array."""
    out = passed(relay(alt), data, 9)
    bodies = json.loads(out) if alt == "json" else [json.loads(one[6:]) for one in out.split(b"\n\n") if one]

    assert LAST == bodies[-1]


@pytest.mark.parametrize(
    ("alt", "data", "kind"),
    [
        ("sse", sse(CHUNK), StreamTruncated),
        ("sse", sse(CHUNK) + b'data: {"cand', StreamTruncated),
        ("json", json.dumps([CHUNK]).encode(), StreamTruncated),
        ("sse", b"", StreamTruncated),
        ("sse", sse(CHUNK, {"error": {"code": 429}}), UpstreamBusy),
        ("json", json.dumps([CHUNK, {"error": {"code": 429}}]).encode(), UpstreamBusy),
        ("json", b'{"error":{"code":429}}', UpstreamBusy),
        ("sse", sse(CHUNK) + b"data: oops\n\n", BadUpstreamBytes),
        ("sse", sse({"usageMetadata": {}}), UpstreamFailed),
    ],
)
def test_faults(alt: str, data: bytes, kind: type[RouterError]) -> None:
    """What is broken is not passed on; what came before it is."""
    tap = relay(alt)
    out = b""
    with pytest.raises(kind):
        out += tap.feed(data)
        out += tap.close()

    assert (b'"x"' in out) == (json.dumps(CHUNK).encode() in data)
    assert b"error" not in out
    assert b"oops" not in out


@pytest.mark.parametrize("alt", ["sse", "json"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_fault_of_ours_ends_the_stream(alt: str, before: int) -> None:
    """In the stream's own form, after what went out already."""
    tap = relay(alt)
    data = json.dumps([CHUNK, LAST]).encode()[:-1] if alt == "json" else sse(CHUNK)
    out = tap.feed(data[: len(data) // 2 + 30] if alt == "json" else data) if before else b""
    out += tap.error(ConnectionLost("the connection broke"))
    bodies = (
        json.loads(out)
        if alt == "json"
        else [json.loads(one[6:]) for one in out.replace(b"\r", b"").split(b"\n\n") if one]
    )

    assert before + 1 == len(bodies)
    assert "UNAVAILABLE" == bodies[-1]["error"]["status"]


def test_usage_can_be_counted_elsewhere() -> None:
    """Whoever knows better may set it."""
    tap = relay()
    tap.feed(sse({**CHUNK, "usageMetadata": {"promptTokenCount": 1}}))
    tap.usage = None

    assert None is tap.usage


@pytest.mark.parametrize("candidates", [True, 1, [{"index": {"a": 1}}], [{"index": [0]}]])
def test_candidates_that_are_none(candidates: Any) -> None:
    """They are the upstream's fault, not ours."""
    with pytest.raises(BadUpstreamBytes):
        relay().feed(b"data: " + json.dumps({"candidates": candidates}).encode() + b"\n\n")


def test_half_an_emoji_in_another_form() -> None:
    """An array is passed on as events, even where only the lenient reader takes an element."""
    out = relay().feed(b'[{"candidates":[{"content":{"parts":[{"text":"\\ud83d"}]}}]}')

    assert b'data: {"candidates":[{"content":{"parts":[{"text":"\xef\xbf\xbd"}]}}]}\n\n' == out


@pytest.mark.parametrize("rest", [b",D", b"]", b"\n\n"])
def test_what_follows_the_array_is_not_passed_on(rest: bytes) -> None:
    """In the same packet or in the next."""
    data = b'[{"candidates":[{"finishReason":"STOP","index":0}]}]'
    one, other = relay("json"), relay("json")

    assert one.feed(data + rest) + one.close() == other.feed(data) + other.close() == data
