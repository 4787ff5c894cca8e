"""What a caller's request must be before anything is done with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import MalformedRequest
from providers.dialect import WireRequest
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, HI, as_asked, ask, recorded, written


def complaint(body: Any = None, /, **fields: Any) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        ask(body, **fields)
    return caught.value


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def said(**fields: Any) -> list[Any]:
    return [{"role": "assistant", **fields}]


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
NAMELESS = "messages[0].tool_calls[0].function.name"


@pytest.mark.parametrize("messages", [None, [], {}, "Hi", 1])
def test_messages_are_a_non_empty_array(messages: Any) -> None:
    """Missing, empty or no array at all: one text, which callers match on."""
    error = complaint({"model": "m", "messages": messages} if messages is not None else {"model": "m"})

    assert ("messages must be a non-empty array", "messages", 400) == (error.message, error.param, error.status)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 4}, "model"),
        ({"model": "m\r\nx-evil: 1"}, "model"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": 1}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "robot", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": user(None)}, "messages[0].content"),
        ({"messages": user(7)}, "messages[0].content"),
        ({"messages": user(["x"])}, "messages[0].content[0]"),
        ({"messages": user([{"text": "x"}])}, "messages[0].content[0].type"),
        ({"messages": user([{"type": "text"}])}, "messages[0].content[0].text"),
        ({"messages": user([{"type": "image_url"}])}, "messages[0].content[0].image_url"),
        ({"messages": user([{"type": "image_url", "image_url": {}}])}, "messages[0].content[0].image_url.url"),
        ({"messages": user([{"type": "input_audio", "input_audio": "x"}])}, "messages[0].content[0].input_audio"),
        ({"messages": user([{"type": "file", "file": 1}])}, "messages[0].content[0].file"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": said(tool_calls={})}, "messages[0].tool_calls"),
        ({"messages": said(tool_calls=[{**CALL, "id": None}])}, "messages[0].tool_calls[0].id"),
        ({"messages": said(tool_calls=[{"id": "1", "type": "function"}])}, "messages[0].tool_calls[0].function"),
        (
            {"messages": said(tool_calls=[{**CALL, "function": {"name": "f", "arguments": {}}}])},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": said(tool_calls=[{**CALL, "type": "x"}])}, "messages[0].tool_calls[0].type"),
        ({"messages": said(function_call={"name": 1})}, "messages[0].function_call.name"),
        ({"messages": said(tool_calls=[{**CALL, "function": {"name": "", "arguments": "{}"}}])}, NAMELESS),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": True}}},
            "tool_choice.allowed_tools.tools",
        ),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": 1}, "stop"),
        ({"stop": ["x", 1]}, "stop[1]"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"functions": [{"name": ""}]}, "functions[0].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"function_call": {}}, "function_call.name"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"logit_bias": {"1": "x"}}, "logit_bias.1"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"modalities": "text"}, "modalities"),
        ({"audio": "alloy"}, "audio"),
        ({"store": 1}, "store"),
        ({"user": 1}, "user"),
    ],
)
def test_names_the_field_that_is_wrong(fields: dict[str, Any], param: str) -> None:
    """A wrong type, an unknown role, a value that no model can use: 400 with the JSON path, in the text as well."""
    error = complaint(**fields)

    assert (400, param) == (error.status, error.param)
    assert param.partition("[")[0].partition(".")[0] in error.message


@pytest.mark.parametrize(
    "data",
    [b"", b"\xef\xbb\xbf", b"\x00", b"{", b'{"model":"m",}', b"{'model':'m'}", b"[]", b'"x"', b"1", b"null", b"true"]
    + [
        b'{"model":"m","x":' + bad + b"}" for bad in (b"NaN", b"Infinity", b"1e999", b'"\xff"', b'"\\ud800"', b"9" * 99)
    ],
)
def test_takes_only_a_json_object(data: bytes) -> None:
    """Anything else, and any text that is not strictly JSON and UTF-8, is refused."""
    assert 400 == complaint(data).status


def test_a_key_twice_is_refused() -> None:
    """Two values for one field: which one a server takes is anybody's guess."""
    spaced = json.dumps({"model": "m", "messages": HI, "n": 1, "temperature": 1, "top_p": 1, "user": "u"})

    for text in (spaced, spaced.replace(" ", "")):
        assert "twice" in complaint(text[:-1].encode() + b',"model":"x"}').message


def test_limits_are_counted() -> None:
    """More messages, tools or nesting than configured: refused."""
    tool = {"type": "function", "function": {"name": "f"}}
    limits = {"depth": 8, "messages": 2, "tools": 1}
    deep: Any = 1
    for _ in range(9):
        deep = [deep]

    for fields in ({"messages": HI * 3}, {"tools": [tool] * 2}, {"functions": [{"name": "f"}] * 2}, {"x": deep}):
        body = json.dumps({"model": "m", "messages": HI, **fields}).encode()
        with pytest.raises(MalformedRequest):
            CHAT.read(WireRequest(path="", body=body), {}, **limits)


def test_unknown_fields_pass() -> None:
    """Compatible servers have fields and parts of their own."""
    asked = ask(foo={"a": [1]}, messages=user([{"type": "hologram", "hologram": 1}]))

    assert {"a": [1]} == asked.body["foo"]


def test_says_what_routing_needs() -> None:
    """Model, task, and whether it is a stream that is to show usage."""
    asked = ask(stream=True, stream_options={"include_usage": True})

    assert ("m", "chat", True, True) == (asked.model, asked.task, asked.stream, asked.include_usage)
    assert (False, False) == (ask().stream, ask(stream=False).include_usage)


@pytest.mark.parametrize("file", ALL)
def test_what_programs_send_is_accepted(file: str) -> None:
    """Recorded requests that their upstream took are taken here, too."""
    count = 0
    for case in recorded(file):
        if case["request_body"] and case["status"] == 200:
            ask({"model": "m", **case["request_body"]})
            count += 1

    assert count >= 15


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "stream",
        "stream_options",
        "temperature",
        "n",
        "stop",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "response_format",
        "logit_bias",
        "metadata",
        "audio",
        "modalities",
        "reasoning_effort",
        "prediction",
        "user",
        "safety_identifier",
        "max_tokens",
        "service_tier",
        "top_k",
        "store",
    ]
)
_KINDS = st.sampled_from(["text", "refusal", "image_url", "file", "input_audio", "thinking", "hologram"])
_URL = st.fixed_dictionaries(
    {
        "url": st.sampled_from(
            ["https://a.example/x", "data:image/png;base64,AAAA", "data:,x%20y", "data:image/png;base64,"]
        )
    },
    optional={"detail": _JSON, "x": _JSON},
)
_PART = st.fixed_dictionaries(
    {"type": _KINDS, "text": st.text(max_size=3), "refusal": st.text(max_size=3)},
    optional={
        "image_url": _URL | st.text(max_size=3),
        "file": st.dictionaries(st.sampled_from(["file_data", "file_id", "filename", "x"]), st.text(max_size=3)),
        "input_audio": st.fixed_dictionaries({"data": st.text(max_size=3)}, optional={"format": _JSON, "x": _JSON}),
        "thinking": _JSON,
        "cache_control": _JSON,
    },
)
_CALL = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=3),
        "function": st.fixed_dictionaries(
            {"name": st.text(min_size=1, max_size=3), "arguments": st.text(max_size=3)}, optional={"x": _JSON}
        ),
    },
    optional={"type": st.just("function"), "index": _JSON, "extra_content": _JSON, "x": _JSON},
)
_SPOKEN = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": st.none() | st.text(max_size=4) | st.lists(_PART, max_size=3),
        "tool_calls": st.none() | st.lists(_CALL, max_size=2),
        "function_call": st.fixed_dictionaries(
            {"name": st.text(min_size=1, max_size=3), "arguments": st.text(max_size=3)}
        ),
        "reasoning_content": st.text(max_size=3) | _JSON,
        "reasoning": st.text(max_size=3) | _JSON,
        "reasoning_details": _JSON,
        "annotations": _JSON,
        "audio": _JSON,
        "images": _JSON,
        "refusal": st.text(max_size=3),
        "extra_content": st.just({"google": {"thought_signature": "AA=="}}) | _JSON,
        "name": st.text(min_size=1, max_size=3),
        "x": _JSON,
    },
)
_MESSAGE = _SPOKEN | st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "tool", "function"]),
        "content": st.text(max_size=3) | st.lists(_PART, max_size=3),
    },
    optional={"name": st.text(min_size=1, max_size=3), "tool_call_id": st.text(max_size=3), "x": _JSON},
)


@given(st.dictionaries(_KEYS, _JSON, max_size=4), st.lists(_MESSAGE, min_size=1, max_size=2))
def test_whatever_is_read_can_be_understood(fields: dict[str, Any], messages: list[Any]) -> None:
    """A body is refused by name, or it goes through to canonical and back without losing anything."""
    body = {"model": "m", "messages": messages, **fields}
    try:
        asked = ask(body)
    except MalformedRequest as error:
        assert error.param or "JSON" in error.message
        return

    out, _ = written(CHAT.decode_request(asked))

    assert body == as_asked(out, body)
