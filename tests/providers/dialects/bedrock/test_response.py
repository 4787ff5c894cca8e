"""Whole answers of the service, recorded ones among them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Citation, Media, Opaque, Reasoning, Seal, Text, ToolCall, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, UpstreamError, UpstreamFailed
from tests import corpus
from tests.providers.dialects.bedrock.spoken import BEDROCK, answer, answered, service

Json = Any

WORDS = st.sampled_from(
    [
        "text",
        "toolUse",
        "toolUseId",
        "name",
        "input",
        "reasoningContent",
        "reasoningText",
        "redactedContent",
        "citationsContent",
        "content",
        "citations",
        "location",
        "image",
        "source",
        "bytes",
        "inputTokens",
        "cacheDetails",
    ]
)


def parts(*content: Json) -> Json:
    return BEDROCK.decode_response(answer(*content)).choices[0].parts


# ── blocks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"text": "a"}, Text(text="a")),
        ({"type": "text", "text": "a"}, Text(text="a")),
        (
            {"toolUse": {"toolUseId": "t", "name": "isthmus_my-2e-tool", "input": {"a": 1}}},
            ToolCall(id="t", name="my.tool", arguments='{"a":1}'),
        ),
        ({"toolUse": {"toolUseId": "t", "name": "f"}}, ToolCall(id="t", name="f", arguments="{}")),
        (
            {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "server_tool_use"}},
            Opaque(
                dialect="bedrock.converse",
                kind="toolUse",
                raw={"toolUseId": "t", "name": "f", "input": {}, "type": "server_tool_use"},
            ),
        ),
        (
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "EpYF"}}},
            Reasoning(text="hm", seal=Seal(value="EpYF", origin="bedrock")),
        ),
        ({"reasoningContent": {"reasoningText": {"text": "hm"}}}, Reasoning(text="hm")),
        (
            {"reasoningContent": {"redactedContent": "QUJD"}},
            Reasoning(redacted=True, seal=Seal(value="QUJD", origin="bedrock")),
        ),
        (
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
            Media(kind="image", mime_type="image/png", base64="AAAA"),
        ),
        (
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/x"}}}},
            Opaque(
                dialect="bedrock.converse",
                kind="image",
                raw={"format": "png", "source": {"s3Location": {"uri": "s3://b/x"}}},
            ),
        ),
        ({"novelty": {"a": 1}}, Opaque(dialect="bedrock.converse", kind="novelty", raw={"a": 1})),
    ],
)
def test_each_kind_of_block(block: Json, part: Json) -> None:
    """What is known is understood, what is not is kept as it is."""
    assert (part,) == parts(block)


def test_citations() -> None:
    """The text that they stand on, and where it is from: a place in the source, kept as it is."""
    web = {"title": "T", "location": {"web": {"url": "https://x", "domain": "x"}}}
    page = {"location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}, "sourceContent": [{"text": "s"}]}
    found = parts({"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": [web, page]}})
    location = {"location": web["location"]}

    assert (
        Text(text="ab", citations=(Citation(url="https://x", title="T", extra=location), Citation(extra=page))),
    ) == found


def test_arguments_are_as_the_model_wrote_them() -> None:
    """Numbers keep their digits and keys their order."""
    body = b'{"output":{"message":{"content":[{"text":"a"},{"toolUse":{"toolUseId":"t","name":"f",'
    body += b'"input":{"b": 1.50, "a": 12345678901234567890}}}]}},"stopReason":"tool_use"}'
    wire = answered({})
    wire.body = body
    call = BEDROCK.decode_response(wire).choices[0].parts[1]

    assert isinstance(call, ToolCall)
    assert '{"b":1.50,"a":12345678901234567890}' == call.arguments


# ── how it ended ───────────────────────────────────────────────────────────────────────────

CALL = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}


@pytest.mark.parametrize(
    ("word", "block", "reason"),
    [
        ("end_turn", {"text": "a"}, "stop"),
        ("end_turn", CALL, "tool_calls"),
        ("tool_use", CALL, "tool_calls"),
        ("tool_use", {"text": "a"}, "stop"),
        ("max_tokens", CALL, "length"),
        ("model_context_window_exceeded", {"text": "a"}, "length"),
        ("stop_sequence", {"text": "a"}, "stop"),
        ("guardrail_intervened", {"text": "a"}, "content_filter"),
        ("content_filtered", {"text": "a"}, "content_filter"),
        ("malformed_tool_use", {"text": "a"}, "error"),
        ("malformed_tool_use", CALL, "tool_calls"),
        ("new_word", {"text": "a"}, "other"),
    ],
)
def test_why_it_ended(word: str, block: Json, reason: str) -> None:
    """In our word, and in the service's."""
    finish = BEDROCK.decode_response(answer(block, stop=word)).choices[0].finish

    assert finish is not None
    assert (reason, word) == (finish.reason, finish.raw)
    assert finish.failed == (word == "malformed_tool_use" and block is CALL)


@pytest.mark.parametrize("content", [[], [{"text": ""}], [{"reasoningContent": {"reasoningText": {"text": "hm"}}}]])
def test_a_failure_with_nothing_to_show(content: Json) -> None:
    """Another attempt may do better."""
    with pytest.raises(UpstreamFailed, match="malformed_model_output"):
        BEDROCK.decode_response(answer(*content, stop="malformed_model_output"))


@pytest.mark.parametrize(
    "body", [[], {}, {"output": 3}, {"output": {"message": None}}, {"output": {"message": {"content": [3]}}}]
)
def test_an_answer_that_is_none(body: Json) -> None:
    """What holds no message is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        BEDROCK.decode_response(answered(body))


@pytest.mark.parametrize(
    "body", [{"message": "not today"}, {"__type": "x#ThrottlingException", "message": "not today"}]
)
def test_an_error_with_a_good_status_is_one(body: Json) -> None:
    """Its words are kept; what has no status of its own is the upstream's failure."""
    with pytest.raises(UpstreamError, match="not today") as caught:
        BEDROCK.decode_response(answered(body))

    assert (502 if len(body) == 1 else 429) == caught.value.status


def test_what_else_is_said_is_kept() -> None:
    """Traces, metrics and fields of the model; the tier has a place of its own."""
    more = {"metrics": {"latencyMs": 5}, "trace": {"guardrail": {}}, "serviceTier": {"type": "flex"}}
    response = BEDROCK.decode_response(answer({"text": "a"}, **more))

    assert ({"metrics": {"latencyMs": 5}, "trace": {"guardrail": {}}}, "flex") == (
        response.extra,
        response.service_tier,
    )


# ── what was counted ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ({"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, (3, 2, 5, None, None, None)),
        ({"inputTokens": 3, "outputTokens": 2}, (3, 2, 5, None, None, None)),
        (
            {
                "inputTokens": 3,
                "outputTokens": 121,
                "totalTokens": 2072,
                "cacheReadInputTokens": 1712,
                "cacheWriteInputTokens": 236,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 36}, {"ttl": "1h", "inputTokens": 200}],
            },
            (1951, 121, 2072, 1712, 236, 200),
        ),
        (
            {"inputTokens": 100, "outputTokens": 5, "totalTokens": 105, "cacheReadInputTokens": 90},
            (100, 5, 105, 90, None, None),
        ),
        ({"inputTokens": None}, (None,) * 6),
    ],
)
def test_counts_are_inclusive(told: Json, counts: Json) -> None:
    """Cached tokens stand beside the input there; a total that shows otherwise is believed."""
    usage = BEDROCK.decode_response(answer({"text": "a"}, usage=told)).usage

    assert usage is not None
    assert counts == (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
    )


def test_nothing_counted() -> None:
    """No usage is no usage."""
    assert BEDROCK.decode_response(answer({"text": "a"}, usage=None)).usage is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(WORDS, JSON, max_size=2), max_size=3), JSON, JSON)
def test_whatever_a_service_sends_is_an_answer_or_a_fault(content: Json, usage: Json, stop: Json) -> None:
    """Blocks of the wrong shape never break the reader."""
    with contextlib.suppress(RouterError):
        assert len(content) == len(BEDROCK.decode_response(answer(*content, usage=usage, stop=stop)).choices[0].parts)


# ── recorded ───────────────────────────────────────────────────────────────────────────────


def is_botocores(case: Json) -> bool:
    """Some recordings went through another SDK and hold blocks with two keys, which botocore refuses."""
    return all(len(block) == 1 for block in case["response_body"]["output"]["message"]["content"])


RECORDED = [
    case
    for case in corpus.cases("bedrock")
    if case["api"] == "converse" and case["status"] == 200 and is_botocores(case)
]


def test_there_is_recorded_traffic() -> None:
    """The test below does not pass for want of cases."""
    assert len(RECORDED) >= 80


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_recorded_answers_say_what_botocore_reads(case: Json) -> None:
    """Texts, calls, thinking, the end and the count of real answers, against Amazon's own reader."""
    body = case["response_body"]
    response = BEDROCK.decode_response(answered(body))
    raw = {"status_code": 200, "headers": {}, "body": json.dumps(body).encode()}
    theirs = create_parser("rest-json").parse(raw, service().operation_model("Converse").output_shape)
    blocks = theirs["output"]["message"]["content"]
    found = response.choices[0].parts

    assert len(blocks) == len(found)
    assert [one["toolUse"]["input"] for one in blocks if "toolUse" in one and "type" not in one["toolUse"]] == [
        json.loads(part.arguments) for part in found if isinstance(part, ToolCall)
    ] or any("type" in one.get("toolUse", {}) for one in body["output"]["message"]["content"])
    assert "".join(one.get("text", "") for one in blocks) == "".join(
        part.text for part in found if isinstance(part, Text) and not part.citations
    )
    assert theirs["stopReason"] == (response.choices[0].finish and response.choices[0].finish.raw)
    assert isinstance(response.usage, Usage)
    assert theirs["usage"]["outputTokens"] == response.usage.output_tokens
    assert response.usage.total_tokens == (response.usage.input_tokens or 0) + (response.usage.output_tokens or 0)
