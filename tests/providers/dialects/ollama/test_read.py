"""A caller's request is checked in full, and each complaint names its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import MalformedRequest, RouteNotFound
from providers.dialect import WireRequest
from tests.providers.dialects.ollama.speak import HI, OLLAMA, PIXEL, ask, recorded


def user(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi", **fields}]}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


def test_recorded_requests_are_accepted() -> None:
    """What programs send passes."""
    found = [ask(case["request_body"], task).task for task, case in recorded()]

    assert {"chat", "generate", "embeddings"} == set(found)


@pytest.mark.parametrize(
    ("path", "params", "task"),
    [
        ("/ollama/api/{task}", {"task": "generate"}, "generate"),
        ("/ollama/api/embed", {}, "embed"),
        ("/api/v1/proxy/{url:url}/api/chat", {}, "chat"),
        ("/internal/summarise", {}, "chat"),
    ],
)
def test_the_task(path: str, params: dict[str, str], task: str) -> None:
    """A parameter of the route, else the end of its path; a path that names none is a chat."""
    body = json.dumps({"model": "m", "messages": HI, "input": "x"}).encode()

    assert task == OLLAMA.read(WireRequest(path=path, body=body), params).task


def test_an_unknown_task_is_nothing() -> None:
    """404, as for any path that is not there."""
    with pytest.raises(RouteNotFound):
        ask(task="pull")


@pytest.mark.parametrize(
    ("body", "task", "stream"),
    [
        ({}, "chat", True),
        ({"stream": None}, "chat", True),
        ({"stream": True, "prompt": "Hi"}, "generate", True),
        ({"stream": True}, "generate", False),
        ({"messages": []}, "chat", False),
        ({"stream": False}, "chat", False),
        ({"input": "x"}, "embed", False),
    ],
)
def test_streams_by_default(body: dict[str, Any], task: str, stream: bool) -> None:
    """Who says nothing gets a stream, as from any server of this language; but not vectors, nor a model's loading."""
    asked = ask({"model": "m", "messages": HI, **body}, task)

    assert (stream, True) == (asked.stream, asked.include_usage)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "", "content": "Hi"}]}, "messages[0].role"),
        (user(content=[{"type": "text", "text": "Hi"}]), "messages[0].content"),
        (user(thinking=1), "messages[0].thinking"),
        (user(images="x"), "messages[0].images"),
        (user(images=["data:image/png;base64,iVBORw0KGgo="]), "messages[0].images[0]"),
        (user(images=[PIXEL, "https://a.example/x.png"]), "messages[0].images[1]"),
        (user(tool_calls={}), "messages[0].tool_calls"),
        (user(tool_calls=[{}]), "messages[0].tool_calls[0].function"),
        (user(tool_calls=[{"function": {"arguments": {}}}]), "messages[0].tool_calls[0].function.name"),
        (
            user(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (user(tool_calls=[{"id": 1, "function": {"name": "f"}}]), "messages[0].tool_calls[0].id"),
        (user(tool_name=[]), "messages[0].tool_name"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        (tool(name=""), "tools[0].function.name"),
        (tool(description=1), "tools[0].function.description"),
        (tool(parameters=[]), "tools[0].function.parameters"),
        ({"format": "xml"}, "format"),
        ({"format": 1}, "format"),
        ({"think": 1}, "think"),
        ({"keep_alive": True}, "keep_alive"),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"num_predict": 1.5}}, "options.num_predict"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"stop": "END"}}, "options.stop"),
        ({"options": {"stop": [1]}}, "options.stop[0]"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": -1}, "top_logprobs"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    """By its JSON path, in the field and in the text."""
    with pytest.raises(MalformedRequest) as refusal:
        ask({"model": "m", "messages": HI, **fields})

    assert param == refusal.value.param
    assert param in refusal.value.message


@pytest.mark.parametrize(
    ("task", "fields", "param"),
    [
        ("generate", {"prompt": 1}, "prompt"),
        ("generate", {"system": []}, "system"),
        ("generate", {"images": ["?"]}, "images[0]"),
        ("generate", {"context": "x"}, "context"),
        ("generate", {"raw": 1}, "raw"),
        ("embed", {}, "input"),
        ("embed", {"input": 1}, "input"),
        ("embed", {"input": ["a", 1]}, "input[1]"),
        ("embeddings", {"prompt": []}, "prompt"),
    ],
)
def test_what_is_wrong_with_other_tasks(task: str, fields: dict[str, Any], param: str) -> None:
    """Each task has its own fields."""
    with pytest.raises(MalformedRequest) as refusal:
        ask({"model": "m", **fields}, task)

    assert param == refusal.value.param


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": None},
        {"messages": []},
        {"messages": [{"role": "control", "content": "thinking"}]},
        user(content=None),
        user(images=["iVBO\r\nRw0K\nGgo="]),
        {"format": "", "options": {"num_predict": 3.0, "mirostat": 2, "stop": None}, "keep_alive": -1, "think": "max"},
        {"novel": {"a": [1]}, "tools": [{"type": "web_search"}], "keep_alive": "5m"},
    ],
)
def test_what_servers_take_passes(fields: dict[str, Any]) -> None:
    """Nulls, unknown fields, options, roles and tools, base64 with line ends."""
    assert "m" == ask({"model": "m", "messages": HI, **fields}).model


def test_limits() -> None:
    """Numbers of messages, tools and texts have ends."""
    wire = WireRequest(path="/", body=json.dumps({"model": "m", "messages": HI * 3, "input": ["a"] * 3}).encode())
    for task in ("chat", "embed"):
        with pytest.raises(MalformedRequest, match="more than 2"):
            OLLAMA.read(wire, {"task": task}, messages=2)
    with pytest.raises(MalformedRequest, match="tools has more than 1"):
        OLLAMA.read(
            WireRequest(path="/", body=json.dumps({"model": "m", **tool(), "tools": tool()["tools"] * 2}).encode()),
            {"task": "chat"},
            tools=1,
        )


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"m","model":"n"}', b'{"model":"\xff"}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """Bad JSON, and a field that is there twice."""
    with pytest.raises(MalformedRequest):
        ask(body)
