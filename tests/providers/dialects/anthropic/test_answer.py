"""Whole answers: read from an upstream, written for a caller, looked at on their way through."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from providers.canonical.chat import (
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, UpstreamFailed
from providers.canonical.loss import Losses
from providers.dialect import WireResponse
from providers.dialects.anthropic.answer import read_usage, write_usage
from providers.dialects.anthropic.words import ANSWER_TOOL
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    HI,
    Json,
    answer,
    asked,
    foreign,
    message,
    recorded,
    request,
    told,
)

TEXT = {"type": "text", "text": "Hello."}


def test_recorded_answers_come_back_as_they_were() -> None:
    """decode, then encode for a caller of the same dialect: the same JSON, and no loss."""
    seen = 0
    for case in recorded():
        body = case.get("response_body")
        if case["status"] != 200 or case["api"] != "messages" or not isinstance(body, dict):
            continue
        losses: Losses = []
        wire = ANTHROPIC.encode_response(answer(body), request(), losses)
        seen += 1

        assert (body, []) == (json.loads(wire.body), losses), case["id"]
    assert 170 < seen


def test_an_answer() -> None:
    """Its parts in order, why it ended, and what it cost."""
    response = answer(
        message(
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            TEXT,
            {"type": "tool_use", "id": "toolu_1", "name": "isthmus_a-2e-b", "input": {}},
            stop_reason="tool_use",
        )
    )
    thought, text, call = response.choices[0].parts

    assert (
        Reasoning(text="hm", seal=Seal(value="EqQB", origin="anthropic", at="content[0].signature"), at="content[0]")
        == thought
    )
    assert Text(text="Hello.", at="content[1]") == text
    assert isinstance(call, ToolCall)
    assert ("a.b", "{}") == (call.name, call.arguments)
    assert Finish(reason="tool_calls", raw="tool_use") == response.choices[0].finish
    assert (9, 3, 12) == (
        response.usage and response.usage.input_tokens,
        response.usage and response.usage.output_tokens,
        response.usage and response.usage.total_tokens,
    )


def test_arguments_are_taken_as_they_were_written() -> None:
    """Numbers keep their spelling."""
    data = b'{"type":"message","content":[{"type":"tool_use","id":"t","name":"n","input":{"a":1.50}}]}'
    part = ANTHROPIC.decode_response(WireResponse(status=200, body=data)).choices[0].parts[0]

    assert isinstance(part, ToolCall)
    assert '{"a":1.50}' == part.arguments


def test_a_refusal_may_have_no_content() -> None:
    """The explanation is the message; details come back to callers of this dialect."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Blocked."}
    response = answer(message(stop_reason="refusal", stop_details=details))

    assert ((), "refusal", "Blocked.") == (
        response.choices[0].parts,
        response.choices[0].finish and response.choices[0].finish.reason,
        response.choices[0].finish and response.choices[0].finish.message,
    )
    assert details == told(response)["stop_details"]


def test_the_answer_of_our_own_tool_is_text() -> None:
    """The call that stands for a wanted schema is what was wanted; other calls stay calls."""
    given = {"type": "tool_use", "id": "t", "name": ANSWER_TOOL, "input": {"city": "Paris"}}
    other = {"type": "tool_use", "id": "u", "name": "look", "input": {}}
    alone, beside = (
        answer(message(given, stop_reason="tool_use")),
        answer(message(given, other, stop_reason="tool_use")),
    )

    assert [Text(text='{"city":"Paris"}', at="content[0]")] == list(alone.choices[0].parts)
    assert ["stop", "tool_calls"] == [one.choices[0].finish and one.choices[0].finish.reason for one in (alone, beside)]


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b'"x"', b"{}", b'{"content": null}', b'{"type": "message", "content": "x"}']
)
def test_what_is_no_message_cannot_be_used(data: bytes) -> None:
    """Another attempt may do better."""
    with pytest.raises(BadUpstreamBytes):
        ANTHROPIC.decode_response(WireResponse(status=200, body=data))


def test_an_error_under_a_good_status_is_one() -> None:
    """Some gateways answer so."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(UpstreamFailed):
        answer(body)


# ── usage ──────────────────────────────────────────────────────────────────────────────


def test_counts_are_inclusive_here_and_exclusive_there() -> None:
    """What came from the cache and went into it is no part of `input_tokens` on the wire."""
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        "service_tier": "priority",
    }
    usage = read_usage(raw)
    assert usage is not None
    assert (130, 30, 160) == (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    assert (100, 20, 5, 12) == (
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
    )
    assert raw == write_usage(usage, own=True)
    again = write_usage(msgspec.structs.replace(usage, raw=None), own=False)
    assert {key: raw[key] for key in again} == again
    assert set(raw) - set(again) == {"server_tool_use", "service_tier"}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, {"input_tokens": 0, "output_tokens": 0}),
        (Usage(output_tokens=3), {"input_tokens": 0, "output_tokens": 3}),
        (
            Usage(input_tokens=9, output_tokens=3, cache_read_tokens=12),
            {"input_tokens": 0, "cache_read_input_tokens": 9, "output_tokens": 3},
        ),
        (Usage(total_tokens=12, output_tokens=3), {"input_tokens": 9, "output_tokens": 3}),
        (Usage(cache_write_1h_tokens=2, output_tokens=3), {"input_tokens": 0, "output_tokens": 3}),
    ],
)
def test_counts_that_nobody_knows(usage: Usage | None, expected: Json) -> None:
    """Both totals are required; they are never negative, and their sum is what the upstream counted."""
    assert expected == write_usage(usage, own=False)


def test_what_is_kept_may_be_told_by_its_time_alone() -> None:
    """Its sum is what went into the cache, and part of the input."""
    usage = read_usage(
        {
            "input_tokens": 5,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 300},
        }
    )

    assert usage is not None
    assert (325, 320, 300) == (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens)


def test_missing_counts_stay_missing() -> None:
    """None is no zero."""
    assert read_usage({}) is None
    usage = read_usage({"output_tokens": 3})
    assert usage is not None and usage.input_tokens is None and usage.total_tokens is None


def test_the_tier_of_an_answer() -> None:
    """In the canonical word."""
    usage = {"input_tokens": 1, "output_tokens": 1}

    assert ["default", "priority", None] == [
        answer(message(TEXT, usage={**usage, "service_tier": tier})).service_tier
        for tier in ("standard", "priority", "batch")
    ]


# ── for callers ────────────────────────────────────────────────────────────────────────


def test_an_answer_of_another_dialect() -> None:
    """Thinking, text and calls are blocks; whatever the schema requires is there."""
    body = told(
        foreign(
            Reasoning(text="hm"),
            Text(text="Hello."),
            ToolCall(id="functions.look:0", name="look", arguments='{"a":1}'),
            finish="tool_calls",
            usage=Usage(input_tokens=9, output_tokens=12, cache_read_tokens=3, reasoning_tokens=4),
        )
    )

    assert [
        {"type": "thinking", "thinking": "hm", "signature": "isthmus.unsigned"},
        {"type": "text", "text": "Hello."},
        {"type": "tool_use", "id": "isthmus_functions-2e-look-3a-0", "name": "look", "input": {"a": 1}},
    ] == body["content"]
    assert ("tool_use", None) == (body["stop_reason"], body["stop_sequence"])
    assert {
        "input_tokens": 6,
        "cache_read_input_tokens": 3,
        "output_tokens": 12,
        "output_tokens_details": {"thinking_tokens": 4},
    } == body["usage"]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        (Reasoning(text="hm", seal=Seal(value="AA==", origin="gemini")), "signature", "isthmus.gemini.AA=="),
        (Reasoning(text="hm", seal=Seal(value="EqQB", origin="anthropic")), "signature", "EqQB"),
        (Reasoning(redacted=True, seal=Seal(value="AA==", origin="openai")), "data", "isthmus.openai.AA=="),
        (
            ToolCall(id="a", name="b", arguments="{}", seal=Seal(value="AA==", origin="gemini")),
            "signature",
            "isthmus.gemini.AA==",
        ),
    ],
)
def test_signatures_of_other_families_come_along_marked(part: Any, key: str, value: str) -> None:
    """Clients echo them, and we know them again."""
    losses: Losses = []

    assert value == told(foreign(part), losses)["content"][0][key]
    assert [] == losses


@pytest.mark.parametrize(
    ("part", "expected", "field"),
    [
        (
            Text(text="a", seal=Seal(value="A", origin="gemini")),
            [{"type": "text", "text": "a"}],
            "content[0].signature",
        ),
        (Text(text=""), [], None),
        (Refusal(text="No."), [{"type": "text", "text": "No."}], None),
        (Media(kind="image", base64="AA=="), [], "content[0].image"),
        (Media(kind="audio", base64="AA==", transcript="Hi"), [{"type": "text", "text": "Hi"}], "content[0].audio"),
        (Opaque(dialect="gemini", kind="executableCode", raw={}), [], "content[0].executableCode"),
        (
            ToolCall(id="a", name="b", arguments="", kind="function"),
            [{"type": "tool_use", "id": "a", "name": "b", "input": {}}],
            None,
        ),
        (
            ToolCall(id="a", name="b", arguments="ls", kind="custom"),
            [{"type": "tool_use", "id": "a", "name": "b", "input": {"input": "ls"}}],
            "content[0].input",
        ),
        (
            ToolCall(id="a", name="b", arguments='{"c":'),
            [{"type": "tool_use", "id": "a", "name": "b", "input": {"value": '{"c":'}}],
            "content[0].input",
        ),
        (
            Text(text="abc", citations=(Citation(url="https://a.example", start=0, end=2), Citation(title="T"))),
            [
                {
                    "type": "text",
                    "text": "abc",
                    "citations": [
                        {
                            "type": "web_search_result_location",
                            "cited_text": "ab",
                            "encrypted_index": "isthmus.unsigned",
                            "title": None,
                            "url": "https://a.example",
                        }
                    ],
                }
            ],
            "content[0].citations",
        ),
        (Text(text="", citations=(Citation(url="https://a.example"),)), [], "content[0].citations"),
    ],
)
def test_parts_of_other_dialects(part: Any, expected: Json, field: str | None) -> None:
    """Each has its block, or is named."""
    losses: Losses = []

    assert expected == told(foreign(part), losses)["content"]
    assert ([] if field is None else [field]) == [loss.field for loss in losses]


def test_why_an_answer_ended() -> None:
    """In this dialect's words; what has none is named."""
    losses: Losses = []
    stopped = ChatResponse(choices=(Choice(finish=Finish(reason="stop", stop_sequence="END")),))
    filtered = ChatResponse(choices=(Choice(finish=Finish(reason="content_filter", message="Unsafe.")),))

    assert ("stop_sequence", "END") == (told(stopped)["stop_reason"], told(stopped)["stop_sequence"])
    assert ("refusal", "Unsafe.") == (told(filtered)["stop_reason"], told(filtered)["stop_details"]["explanation"])
    assert "end_turn" == told(ChatResponse(choices=(Choice(),)), losses)["stop_reason"]
    assert ["stop_reason"] == [loss.field for loss in losses]


def test_a_blocked_prompt_is_a_refusal() -> None:
    """Without content, with the reason."""
    body = told(ChatResponse(blocked=Finish(reason="content_filter", raw="SAFETY", message="Blocked.")))

    assert ([], "refusal", "Blocked.") == (body["content"], body["stop_reason"], body["stop_details"]["explanation"])


def test_one_answer_of_several() -> None:
    """The first is told, the others are named as lost."""
    losses: Losses = []
    end = Finish(reason="stop")
    two = ChatResponse(
        choices=(Choice(parts=(Text(text="a"),), finish=end), Choice(index=1, parts=(Text(text="b"),), finish=end))
    )

    assert "a" == told(two, losses)["content"][0]["text"]
    assert ["choices"] == [loss.field for loss in losses]


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relayed(body: Json, path: str = "/v1/messages") -> Usage | None:
    return ANTHROPIC.relay_response(WireResponse(status=200, body=json.dumps(body).encode()), asked(HI, path))


def test_an_answer_on_its_way_is_looked_at() -> None:
    """Its usage is read; what is no answer, or is an error, is not passed on."""
    usage = relayed(message(TEXT))
    assert usage is not None and usage.input_tokens == 9
    with pytest.raises(BadUpstreamBytes):
        relayed({"a": 1})
    with pytest.raises(UpstreamFailed):
        relayed({"type": "error", "error": {"type": "api_error", "message": "x"}})


def test_a_count_on_its_way() -> None:
    """Its number is the usage."""
    path = "/v1/messages/count_tokens"
    usage = relayed({"input_tokens": 12}, path)

    assert usage is not None and usage.input_tokens == 12
    with pytest.raises(BadUpstreamBytes):
        relayed({"total": 12}, path)
    with pytest.raises(UpstreamFailed):
        relayed({"type": "error", "error": {"type": "api_error", "message": "x"}}, path)
