"""What callers send is checked in full before anything goes upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import MalformedRequest, RouteNotFound
from providers.dialect import WireRequest
from tests.providers.dialects.anthropic.spoken import ANTHROPIC, HI, Json, asked, recorded_request, recorded_requests


def user(*blocks: Json) -> Json:
    return [{"role": "user", "content": list(blocks)}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": 7, "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": user("Hi")}, "messages[0].content[0]"),
        ({"messages": user({})}, "messages[0].content[0].type"),
        ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": user({"type": "image"})}, "messages[0].content[0].source"),
        ({"messages": user({"type": "image", "source": {}})}, "messages[0].content[0].source.type"),
        (
            {"messages": user({"type": "image", "source": {"type": "base64", "media_type": "image/png"}})},
            "messages[0].content[0].source.data",
        ),
        (
            {"messages": user({"type": "document", "source": {"type": "url"}})},
            "messages[0].content[0].source.url",
        ),
        ({"messages": user({"type": "thinking", "thinking": ""})}, "messages[0].content[0].signature"),
        ({"messages": user({"type": "redacted_thinking"})}, "messages[0].content[0].data"),
        ({"messages": user({"type": "tool_use", "id": "a", "name": "b"})}, "messages[0].content[0].input"),
        ({"messages": user({"type": "tool_use", "id": "a", "name": "", "input": {}})}, "messages[0].content[0].name"),
        ({"messages": user({"type": "tool_result"})}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": user({"type": "tool_result", "tool_use_id": "a", "content": 7})},
            "messages[0].content[0].content",
        ),
        (
            {"messages": user({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text"}]})},
            "messages[0].content[0].content[0].text",
        ),
        (
            {"messages": user({"type": "tool_result", "tool_use_id": "a", "is_error": "yes"})},
            "messages[0].content[0].is_error",
        ),
        (
            {"messages": user({"type": "text", "text": "a", "cache_control": "ephemeral"})},
            "messages[0].content[0].cache_control",
        ),
        (
            {"messages": user({"type": "text", "text": "a", "cache_control": {"ttl": 5}})},
            "messages[0].content[0].cache_control.ttl",
        ),
        ({"system": 7}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [7]}, "stop_sequences[0]"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"type": 7}]}, "tools[0].type"),
        ({"tools": [{"name": "", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "a", "input_schema": {}, "strict": 1}]}, "tools[0].strict"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        (
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
            "tool_choice.disable_parallel_tool_use",
        ),
        ({"thinking": "on"}, "thinking"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": []}, "output_config"),
        ({"output_config": {"effort": 1}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": {}}, "output_format.type"),
        ({"metadata": "u"}, "metadata"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
        ({"container": 7}, "container"),
        ({"service_tier": 7}, "service_tier"),
        ({"cache_control": 7}, "cache_control"),
    ],
)
def test_what_no_upstream_could_use_is_refused_by_its_name(change: Json, param: str) -> None:
    """The first field that is wrong is named by its path."""
    with pytest.raises(MalformedRequest) as caught:
        asked({**HI, **change})

    assert param == caught.value.param


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model": "a", "model": "b"}', b"\xff", b'{"a": NaN}'])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    """Also a field that is there twice."""
    with pytest.raises(MalformedRequest):
        asked(data)


def test_a_field_twice_is_refused() -> None:
    """Which of two models would be called?"""
    with pytest.raises(MalformedRequest, match="twice"):
        asked(b'{"model":"a","max_tokens":1,"messages":[{"role":"user","content":"x"}],"model":"b"}')


@pytest.mark.parametrize(("limit", "param"), [("messages", "messages"), ("tools", "tools")])
def test_limits_hold(limit: str, param: str) -> None:
    """As many messages and tools as the operator allows."""
    tool = {"name": "a", "input_schema": {"type": "object"}}
    body = {**HI, "messages": HI["messages"] * 3, "tools": [tool] * 3}
    wire = WireRequest(path="/v1/messages", body=json.dumps(body).encode())
    limits: dict[str, Any] = {limit: 2}
    with pytest.raises(MalformedRequest) as caught:
        ANTHROPIC.read(wire, {}, **limits)

    assert param == caught.value.param


@pytest.mark.parametrize(
    ("path", "params", "task"),
    [
        ("/v1/messages", {}, "messages"),
        ("/v1/messages/count_tokens", {}, "count_tokens"),
        ("/api/v1/proxy/{a:url}/{b:secret}/v1/messages/count_tokens", {}, "count_tokens"),
        ("/v1/{task}", {"task": "messages"}, "messages"),
    ],
)
def test_the_path_says_what_is_asked(path: str, params: dict[str, str], task: str) -> None:
    """A literal path has no parameters: its end tells."""
    found = ANTHROPIC.read(WireRequest(path=path, body=json.dumps(HI).encode()), params)

    assert task == found.task


def test_an_unknown_task_is_not_found() -> None:
    """A path may name the task; it must be one."""
    with pytest.raises(RouteNotFound):
        ANTHROPIC.read(WireRequest(path="/v1/x", body=b"{}"), {"task": "batches"})


def test_counting_needs_no_limit() -> None:
    """count_tokens has no max_tokens, and never streams."""
    body = {key: value for key, value in HI.items() if key != "max_tokens"}

    assert not asked({**body, "stream": True}, "/v1/messages/count_tokens").stream


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 1}, "temperature"),
        ({"top_p": 1}, "top_p"),
        ({"top_k": 0}, "top_k"),
        (
            {
                "messages": [
                    *HI["messages"],
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}
                        ],
                    },
                ]
            },
            "messages[1].content[0]",
        ),
        (
            {"messages": user({"type": "text", "text": "a", "citations": [{"type": "char_location"}]})},
            "messages[0].content[0].citations",
        ),
        (
            {
                "messages": user(
                    {
                        "type": "search_result",
                        "source": "s",
                        "title": "t",
                        "content": [{"type": "text", "text": "a", "citations": [{"type": "char_location"}]}],
                    }
                )
            },
            "messages[0].content[0].content[0].citations",
        ),
    ],
)
def test_the_newer_version_refuses_more(change: Json, param: str) -> None:
    """Callers of 2026-10-21 get the refusals of that version, also at default values; older ones do not."""
    asked({**HI, **change}, anthropic_version="2023-06-01")
    with pytest.raises(MalformedRequest) as caught:
        asked({**HI, **change}, anthropic_version="2026-10-21")

    assert param == caught.value.param


def test_what_is_not_known_passes() -> None:
    """Betas have fields, blocks and tools of their own."""
    body = {
        **HI,
        "speed": "fast",
        "tomorrow": {"a": 1},
        "tools": [{"type": "web_search_20260318", "name": "web_search"}],
        "messages": user({"type": "container_upload", "file_id": "f"}, {"type": "text", "text": ""}),
    }

    assert body == asked(body).body


def test_recorded_requests_pass() -> None:
    """Every request that the service took is taken here, and the one that it refused is refused."""
    refused = []
    for case in recorded_requests():
        try:
            recorded_request(case)
        except MalformedRequest:
            refused.append(case["status"])

    assert [400] == refused
