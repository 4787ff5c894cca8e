"""The check of a caller's request: what is wrong is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.errors import MalformedRequest
from providers.dialect import WireRequest
from tests.providers.dialects.openai_responses.speak import RESPONSES, SENT, ask, recorded

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi"}, "model"),
        ({"model": "", "input": "Hi"}, "model"),
        ({"model": "a\nb", "input": "Hi"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": {}}, "input"),
        ({"model": "m", "input": ["Hi"]}, "input[0]"),
        ({"model": "m", "input": [{"content": "Hi"}]}, "input[0].role"),
        ({"model": "m", "input": [{"type": 1}]}, "input[0].type"),
        ({"model": "m", "input": [{"role": "tool", "content": "Hi"}]}, "input[0].role"),
        ({"model": "m", "input": [{"role": "user"}]}, "input[0].content"),
        ({"model": "m", "input": [{**USER, "id": 1}]}, "input[0].id"),
        ({"model": "m", "input": [{"role": "user", "content": ["Hi"]}]}, "input[0].content[0]"),
        ({"model": "m", "input": [{"role": "user", "content": [{"text": "Hi"}]}]}, "input[0].content[0].type"),
        ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        (
            {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": ""}}]}]},
            "input[0].content[0].image_url",
        ),
        ({"model": "m", "input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        (
            {"model": "m", "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
        ),
        ({"model": "m", "input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"model": "m", "input": [{"type": "custom_tool_call", "call_id": "c", "name": "f"}]}, "input[0].input"),
        ({"model": "m", "input": [{"type": "reasoning"}]}, "input[0].summary"),
        ({"model": "m", "input": [{"type": "reasoning", "summary": [{}]}]}, "input[0].summary[0].text"),
        (
            {"model": "m", "input": [{"type": "reasoning", "summary": [], "encrypted_content": 1}]},
            "input[0].encrypted_content",
        ),
        ({"model": "m", "input": [{"type": "item_reference"}]}, "input[0].id"),
    ],
)
def test_what_is_wrong_with_the_input(body: Any, param: str) -> None:
    """Items without what makes them, and values of the wrong type."""
    with pytest.raises(MalformedRequest) as raised:
        ask(body)

    assert param == raised.value.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"instructions": 1}, "instructions"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{"type": "function", "name": "f", "strict": 1}]}, "tools[0].strict"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        ({"text": "short"}, "text"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": 1}}}, "text.format.strict"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"include": "all"}, "include"),
        ({"include": [1]}, "include[0]"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"conversation": {}}, "conversation.id"),
        ({"prompt": "p"}, "prompt"),
        ({"stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
        ({"background": 1}, "background"),
    ],
)
def test_what_is_wrong_with_a_parameter(fields: Any, param: str) -> None:
    """Wrong types, and values that no model can use."""
    with pytest.raises(MalformedRequest) as raised:
        ask(**fields)

    assert param == raised.value.param


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "prompt": {"id": "p"}},
        {"model": "m", "previous_response_id": "resp_1"},
        {"model": "m", "conversation": "conv_1", "input": None},
        {"model": "m", "input": [{"id": "msg_1"}]},
        {"model": "m", "input": [{"type": "novel", "anything": 1}]},
        {"model": "m", "input": [{"role": "user", "content": [{"type": "novel"}]}], "novel": {}},
        {"model": "m", "input": "Hi", "temperature": None, "tools": None, "text": None},
        {"model": "m", "input": "Hi", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search_preview"}},
        {"model": "m", "input": "Hi", "conversation": {"id": "conv_1"}, "tool_choice": "none"},
    ],
)
def test_what_passes(body: Any) -> None:
    """State that the upstream holds, what nobody knows yet, and null for what is not said."""
    assert body["model"] == ask(body).model


def test_limits() -> None:
    """On items and on tools; a field may not be there twice."""

    def read(body: bytes) -> None:
        RESPONSES.read(WireRequest(path="/", body=body), {}, messages=1, tools=1)

    tool = b'{"type":"function","name":"f"}'
    for body, says in (
        (b'{"model":"m","input":[{"role":"user","content":""},{"role":"user","content":""}]}', "more than 1 items"),
        (b'{"model":"m","input":"","tools":[%b,%b]}' % (tool, tool), "more than 1 entries"),
        (b'{"model":"m","input":"","input":"x"}', "there twice"),
    ):
        with pytest.raises(MalformedRequest, match=says):
            read(body)


def test_every_recorded_request_passes() -> None:
    """But for those whose model stands in the path; and what the schema allows of them is what we accept."""
    count = 0
    for case in recorded():
        body = case["request_body"]
        if body and body.get("model"):
            asked = ask(body)
            count += 1

            assert (body["model"], body.get("stream") is True) == (asked.model, asked.stream)
    assert count >= 250
    assert SENT.is_valid({"model": "m", "input": "Hi"})


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "call_id": "c", "name": "", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c", "name": "", "input": ""},
    ],
)
def test_a_call_has_a_name(item: Any) -> None:
    """No target could say what was called."""
    with pytest.raises(MalformedRequest, match=r"input\[0\].name must be a non-empty string"):
        ask(input=[item])


def test_a_message_without_a_type_worth_the_name_is_checked_as_one() -> None:
    """An empty one is none."""
    message = {"type": "", "role": "assistant", "status": ["completed"], "content": "x"}
    with pytest.raises(MalformedRequest, match=r"^input\[0\]\.status must be a string"):
        ask(input=[message])
