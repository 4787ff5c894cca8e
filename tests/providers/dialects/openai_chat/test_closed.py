"""Mistral's quirks: what its closed request objects take, and what becomes of the rest."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Message, Opaque, Reasoning, ReasoningConfig, Text, ToolCall
from providers.canonical.loss import Losses
from providers.catalog import catalog
from providers.dialect import Traits
from providers.dialects.openai_chat.closed import (
    any_tool,
    closed_messages,
    nine_character_ids,
    random_seed,
    short_id,
)
from tests.corpus import schema
from tests.providers.dialects.openai_chat.speak import CHAT, HI, answered, ask, decoded, recorded, written

MISTRAL = schema("mistral.chat.request", "ChatCompletionRequest")
ROW = catalog()["mistral"]
TRAITS = Traits(
    own=frozenset(ROW["own"]),
    ignores=frozenset(ROW["ignores"]),
    quirks=frozenset(ROW["quirks"]),
)
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a caller's request becomes in the relay lane; it fits Mistral's closed schema, and the caller's stays."""
    asked = ask(body)
    before = copy.deepcopy(asked.body)
    losses: Losses = []
    out = json.loads(CHAT.relay_request(asked, body["model"], losses, TRAITS).body)
    MISTRAL.validate(out)

    assert before == asked.body
    return out, [f"{loss.field}={loss.kind}" for loss in losses]


def message(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    """One message, after the quirk."""
    body: dict[str, Any] = {"model": fields.pop("model", "mistral-small"), "messages": [fields]}
    losses: Losses = []
    closed_messages(body, losses, True)
    return body["messages"][0], [f"{loss.field}={loss.kind}" for loss in losses]


# ── the row as a whole ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["mistral", "openai-chat"])
def test_recorded_requests_fit(file: str) -> None:
    """What programs send to anybody fits Mistral's closed objects; what it was sent itself stays as it was."""
    # Sound is taken as OpenAI writes it (a recorded call of Mistral's), though its types say otherwise.
    odd = {"file_id", "custom", "functions", "function_call", "input_audio"}
    count = 0
    for case in recorded(file):
        body = case["request_body"]
        text = json.dumps(body)
        if not body or case["status"] >= 400 or any(f'"{word}"' in text for word in odd):
            continue
        if file == "mistral":
            out, losses = sent({"model": "m", **body})
            assert [] == [loss for loss in losses if not loss.endswith("strict=dropped")], case["id"]
            assert len(body["messages"]) == len(out["messages"])
        else:
            sent({"model": "m", **body})
        count += 1
    assert count >= 10


def test_a_request_of_another_dialect_fits() -> None:
    """In the translate lane, too: thinking goes as a chunk to a model that thinks, a seed under its name."""
    parts = (Reasoning(text="hm"), Text(text="Hi"), ToolCall(id="toolu_1", name="f", arguments=""))
    messages = (
        Message(role="system", parts=(Text(text="S"),)),
        Message(role="user", parts=(Text(text="Hi"),), name="Ann"),
        Message(role="assistant", parts=parts),
    )
    request = decoded()
    request = type(request)(
        dialect="elsewhere", model="magistral-medium", messages=messages, seed=7, max_output_tokens=9, stream=True,
        include_usage=True, reasoning=ReasoningConfig(effort="high"),
    )  # fmt: skip
    body, losses = written(request, TRAITS)
    MISTRAL.validate(body)

    assert (7, 9, "high") == (body["random_seed"], body["max_tokens"], body["reasoning_effort"])
    assert {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]} == body["messages"][2]["content"][0]
    assert "stream_options" not in body
    assert ["messages.name=dropped"] == losses


# ── answers ────────────────────────────────────────────────────────────────────────────


def test_content_in_chunks_is_read() -> None:
    """Thinking, text and references in turns; references are nobody else's."""
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": one} for one in "hm"], "closed": True},
        {"type": "text", "text": "Hi"},
        {"type": "reference", "reference_ids": [1]},
    ]
    choice = {"index": 0, "finish_reason": "model_length", "message": {"role": "assistant", "content": content}}
    found = CHAT.decode_response(answered({"id": "x", "choices": [choice]})).choices[0]

    assert ["hm", "Hi"] == [part.text for part in found.parts if isinstance(part, Reasoning | Text)]
    assert ["reference"] == [part.kind for part in found.parts if isinstance(part, Opaque)]
    assert found.finish and "length" == found.finish.reason


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": "Invalid API Key"}, "Invalid API Key"),
        ({"detail": [{"loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]}, "body.user: Extra inputs"),
        (
            {
                "object": "error",
                "message": {"detail": [{"loc": ["body"], "msg": "bad"}]},
                "type": "invalid_request_error",
            },
            "body: bad",
        ),
        (
            {"object": "error", "message": "Tool call id was x", "type": "invalid_function_call", "code": 3280},
            "Tool call",
        ),
    ],
)
def test_errors_are_read(body: Any, text: str) -> None:
    """In each of the shapes that it sends."""
    assert CHAT.decode_error(answered(body, 422)).message.startswith(text)


# ── parameters ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"seed": 7}, {"random_seed": 7}),
        ({"seed": 7, "random_seed": 8}, {"random_seed": 8}),
        ({"seed": 7, "random_seed": None}, {"random_seed": 7}),
        ({}, {}),
    ],
)
def test_seeds(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Its own field wins."""
    random_seed(body, [], True)

    assert expected == body


ODD = {"type": "function", "function": {"name": {}}}
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("required", "any", ["f", "g"]),
        ("auto", "auto", ["f", "g"]),
        ({"type": "function", "function": {"name": "f"}},) * 2 + (["f", "g"],),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": TOOLS[1:]}}, "any", ["g"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS[:1]}}, "auto", ["f"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [*TOOLS[1:], ODD]}}, "auto", ["g"]),
    ],
)
def test_choices_of_tools(choice: Any, expected: Any, names: list[str]) -> None:
    """`any`; and several tools by what is offered."""
    body = {"tool_choice": choice, "tools": TOOLS}
    any_tool(body, [], True)

    assert (expected, names) == (body["tool_choice"], [tool["function"]["name"] for tool in body["tools"]])


# ── ids ────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=40))
def test_short_ids(call_id: str) -> None:
    """Nine letters and digits, always the same; a short one stays."""
    found = short_id(call_id)

    assert re.fullmatch(r"[A-Za-z0-9]{9}", found)
    assert found == short_id(found) == short_id(call_id)


def test_ids_that_mistral_made_stay() -> None:
    """Of both kinds: it looks for its own."""
    assert ["wVug6SNgl", "chatcmpl-tool-9f149c74c42f265b"] == [
        short_id("wVug6SNgl"),
        short_id("chatcmpl-tool-9f149c74c42f265b"),
    ]


def test_calls_and_results_keep_together() -> None:
    """The same id in the call and in its result; everything else is the caller's."""
    messages = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1"}, HI[0], 5]
    body: dict[str, Any] = {"messages": messages}
    nine_character_ids(body, [], True)

    assert body["messages"][0]["tool_calls"][0]["id"] == body["messages"][1]["tool_call_id"] == short_id("call_1")
    assert messages[2:] == body["messages"][2:]
    assert "call_1" == messages[1]["tool_call_id"]  # type: ignore[index]


# ── messages ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "expected", "losses"),
    [
        ({"role": "developer", "content": "S"}, {"role": "system", "content": "S"}, []),
        (
            {"role": "user", "content": "Hi", "name": "Ann"},
            {"role": "user", "content": "Hi"},
            ["messages[0].name=dropped"],
        ),
        ({"role": "user", "content": "Hi", "name": ""}, {"role": "user", "content": "Hi"}, []),
        ({"role": "tool", "content": "1", "name": "f"}, {"role": "tool", "content": "1", "name": "f"}, []),
        (
            {
                "role": "assistant",
                "content": "Hi",
                "refusal": None,
                "annotations": [],
                "tool_calls": None,
                "prefix": True,
            },
            {"role": "assistant", "content": "Hi", "prefix": True},
            [],
        ),
        (
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
            ["messages[0].refusal=approximated"],
        ),
        (
            {"role": "assistant", "content": "Hi", "reasoning_content": "hm"},
            {"role": "assistant", "content": "Hi"},
            ["messages[0].reasoning_content=dropped"],
        ),
        (
            {
                "role": "assistant",
                "content": "Hi",
                "reasoning_content": "",
                "reasoning": "hm",
                "model": "magistral-small",
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "Hi"},
                ],
            },
            [],
        ),
    ],
)
def test_messages(fields: dict[str, Any], expected: dict[str, Any], losses: list[str]) -> None:
    """The keys that each role has; the others are named where they say something."""
    assert (expected, losses) == message(**fields)


@pytest.mark.parametrize(
    ("part", "expected", "losses"),
    [
        (
            {"type": "text", "text": "x", "cache_control": {"type": "e"}},
            {"type": "text", "text": "x"},
            ["cache_control"],
        ),
        ({"type": "refusal", "refusal": "No."}, {"type": "text", "text": "No."}, []),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            {"type": "document_url", "document_url": "data:application/pdf;base64,AA==", "document_name": "a.pdf"},
            [],
        ),
        (
            {"type": "file", "file": {"file_data": "AA=="}},
            {"type": "document_url", "document_url": "data:application/pdf;base64,AA=="},
            [],
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, {"type": "file", "file_id": "f1"}, []),
        ({"type": "document_url", "document_url": "https://a"},) * 2 + ([],),
    ],
)
def test_parts(part: Any, expected: Any, losses: list[str]) -> None:
    """Documents go by URL; marks of other servers are named."""
    found, named = message(role="user", content=[part])

    assert [expected] == found["content"]
    assert [f"messages[0].content[0].{key}=dropped" for key in losses] == named


def test_tools() -> None:
    """Parameters are wanted, keys of others are named; null fields are left out."""
    tool = {"type": "function", "function": {"name": "f", "strict": None, "x": 1}, "cache_control": {"type": "e"}}
    body: dict[str, Any] = {"messages": [], "tools": [tool, {"type": "web_search"}], "parallel_tool_calls": None}
    losses: Losses = []
    closed_messages(body, losses, True)

    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    assert [{"type": "function", "function": function}, {"type": "web_search"}] == body["tools"]
    assert "parallel_tool_calls" not in body
    assert ["tools[0].function.x", "tools[0].cache_control"] == [loss.field for loss in losses]
