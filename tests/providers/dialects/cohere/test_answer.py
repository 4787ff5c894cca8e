"""Whole answers, read."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import ChatResponse, Reasoning, Text, ToolCall
from providers.canonical.errors import BadUpstreamBytes, ContextTooLong, UpstreamFailed
from tests.corpus import schema
from tests.providers.dialects.cohere.speak import COHERE, USAGE, answered, recorded

ANSWER = schema("cohere.v2.response", "V2ChatResponse")
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def body(reason: str = "COMPLETE", **message: Any) -> dict[str, Any]:
    return {"id": "r1", "finish_reason": reason, "message": {"role": "assistant", **message}, "usage": USAGE}


def read(value: Any) -> ChatResponse:
    return COHERE.decode_response(answered(value))


def test_recorded_answers_are_understood() -> None:
    """Texts, thinking, plans, calls, citations, counts: as a plain reading of the JSON says."""
    count = 0
    for case in recorded():
        if "response_body" not in case or case["status"] >= 400:
            continue
        raw = case["response_body"]
        message = raw["message"]
        ANSWER.validate(raw)
        [choice] = read(raw).choices
        content = message.get("content") or []
        thoughts = [item["thinking"] for item in content if "thinking" in item] + [message.get("tool_plan") or ""]
        count += 1

        assert "".join(item.get("text", "") for item in content) == "".join(
            part.text for part in choice.parts if isinstance(part, Text)
        ), case["id"]
        assert "".join(thoughts) == "".join(part.text for part in choice.parts if isinstance(part, Reasoning))
        assert [(call["id"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()] == [
            (part.id, part.arguments) for part in choice.parts if isinstance(part, ToolCall)
        ]
        sources = sum(len(one["sources"]) for one in message.get("citations") or ())
        assert sources == sum(len(part.citations) for part in choice.parts if isinstance(part, Text))
        assert choice.finish and raw["finish_reason"] == choice.finish.raw
    assert count >= 25


def test_what_an_answer_says() -> None:
    """Id, parts in order, why it ended, counts."""
    response = read(
        body(
            "TOOL_CALL",
            content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}],
            tool_plan="I will.",
            tool_calls=[CALL],
        )
    )
    [choice] = response.choices

    assert ("r1", None) == (response.id, response.model)
    assert [Reasoning, Text, Reasoning, ToolCall] == [type(part) for part in choice.parts]
    assert choice.finish and "tool_calls" == choice.finish.reason
    assert response.usage and (10, 20, 30) == (
        response.usage.input_tokens,
        response.usage.output_tokens,
        response.usage.total_tokens,
    )


def test_citations_stand_with_their_text() -> None:
    """By the index of the content, else with the first text; what belongs to no text is kept beside."""
    source = {"type": "document", "id": "d", "document": {"url": "https://a"}}
    cited = [
        {"start": 0, "end": 1, "sources": [source], "type": "TEXT_CONTENT", "content_index": 2},
        {"start": 0, "end": 2, "sources": [source]},
        {"start": 0, "end": 3, "sources": [source], "type": "PLAN"},
    ]
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    [choice] = read(body(content=content, citations=cited)).choices

    assert [[2], [1]] == [[one.end for one in part.citations] for part in choice.parts if isinstance(part, Text)]
    assert choice.extra and [cited[2]] == choice.extra["message"]["citations"]


def test_odd_answers() -> None:
    """Content as a string, calls without arguments, nothing at all, fields that nobody knows."""
    call = {"id": "c1", "function": {"name": "f"}}

    assert ["Hi"] == [part.text for part in read(body(content="Hi")).choices[0].parts if isinstance(part, Text)]
    assert ["{}"] == [
        part.arguments for part in read(body(tool_calls=[call])).choices[0].parts if isinstance(part, ToolCall)
    ]
    assert () == read(body()).choices[0].parts
    assert {"novel": 1} == read({**body(content="Hi"), "novel": 1}).extra


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", BadUpstreamBytes),
        ([], BadUpstreamBytes),
        ({}, BadUpstreamBytes),
        ({"message": {"content": [5]}}, BadUpstreamBytes),
        ({"message": {"tool_calls": [{}]}}, BadUpstreamBytes),
        ({"message": "it broke"}, UpstreamFailed),
        ({"message": "too many tokens: size limit exceeded"}, ContextTooLong),
        (body("ERROR"), UpstreamFailed),
        (body("TIMEOUT"), UpstreamFailed),
    ],
)
def test_what_is_no_answer(value: Any, error: type[Exception]) -> None:
    """An error under 200, a model that failed with nothing to show, anything else."""
    with pytest.raises(error):
        read(value)


def test_a_failure_with_something_to_show() -> None:
    """What was said is kept."""
    [choice] = read(body("ERROR", content=[{"type": "text", "text": "Hi"}])).choices

    assert choice.finish and ("error", 1) == (choice.finish.reason, len(choice.parts))


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": 3}]},
        {"content": [{"type": "thinking", "thinking": True}]},
        {"tool_plan": 7},
        {"tool_calls": [{"id": 2, "function": {"name": "f", "arguments": "{}"}}]},
        {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": True}}]},
    ],
)
def test_texts_are_texts(message: Any) -> None:
    """Anything else in their place is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        read({"message": message})
