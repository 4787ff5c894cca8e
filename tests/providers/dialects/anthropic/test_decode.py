"""A caller's request is understood, and nothing of it is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ReasoningConfig, ResponseFormat, ServerTool, Tool, ToolChoice
from providers.canonical.errors import MalformedRequest
from tests.corpus import schema
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    HI,
    SCHEMA,
    WEATHER,
    Json,
    again,
    asked,
    decoded,
    recorded_request,
    recorded_requests,
)

FORMAT = {"type": "json_schema", "schema": SCHEMA}
BODIES: dict[str, Json] = {
    "system as text": {"system": "Be brief."},
    "system as blocks": {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
    "no system": {"system": ""},
    "no system at all": {"system": None},
    "system in the middle": {"messages": [*HI["messages"], {"role": "system", "content": "Now in French."}]},
    "a message of tomorrow": {"messages": [{"role": "user", "content": "a", "id": "m1", "name": None}]},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "top_k": 5},
    "stops": {"stop_sequences": ["a", "b"]},
    "no stops": {"stop_sequences": []},
    "stream": {"stream": True},
    "no stream": {"stream": False},
    "tools": {"tools": [{**WEATHER, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}]},
    "tools of tomorrow": {"tools": [{**WEATHER, "input_examples": [{"city": "Paris"}], "defer_loading": True}]},
    "server tools": {"tools": [WEATHER, {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}]},
    "no tools": {"tools": [], "tool_choice": None},
    "choice": {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}},
    "single calls": {"tools": [WEATHER], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    "parallel calls": {"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
    "adaptive thinking": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
    "no thinking": {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
    "thinking between tools": {"thinking": {"type": "between_tools"}},
    "effort": {"output_config": {"effort": "low"}},
    "format": {"output_config": {"format": FORMAT, "task_budget": {"type": "tokens", "total": 9}}},
    "both": {"output_config": {"format": FORMAT, "effort": "high"}},
    "odd format": {"output_config": {"format": {"type": "grammar", "grammar": "x"}}},
    "older format": {"output_format": FORMAT},
    "empty config": {"output_config": {}},
    "empty effort": {"output_config": {"effort": None, "format": None}},
    "user": {"metadata": {"user_id": "u1"}},
    "more metadata": {"metadata": {"user_id": "u1", "team": "a"}},
    "no user": {"metadata": {"user_id": None}},
    "tier": {"service_tier": "standard_only", "speed": "fast", "inference_geo": "us"},
    "betas": {
        "container": {"id": "c"},
        "mcp_servers": [{"type": "url", "url": "https://a.example", "name": "a"}],
        "context_management": {"edits": []},
        "cache_control": {"type": "ephemeral"},
    },
    "warming up": {"max_tokens": 0},
}


@pytest.mark.parametrize("name", BODIES)
def test_every_body_comes_back_as_it_was(name: str) -> None:
    """decode, then encode for the same dialect: the same JSON, and no loss."""
    body = {**HI, **BODIES[name]}

    assert body == again(body)


def test_recorded_requests_come_back_as_they_were() -> None:
    """All of them, whichever program wrote them."""
    seen = 0
    for case in recorded_requests():
        try:
            one = recorded_request(case)
        except MalformedRequest:
            continue
        wire = ANTHROPIC.encode_request(ANTHROPIC.decode_request(one), [])
        seen += 1

        assert one.body == json.loads(wire.body), case["id"]
    assert 220 < seen


def test_parameters_are_understood() -> None:
    """Limits, sampling, stops, user and tier have canonical names."""
    one = decoded({**BODIES["sampling"], **BODIES["stops"], **BODIES["user"], **BODIES["tier"], "stream": True})

    assert (50, 0.5, 0.9, 5) == (one.max_output_tokens, one.temperature, one.top_p, one.top_k)
    assert (("a", "b"), "u1", "standard_only", True) == (one.stop, one.end_user, one.service_tier, one.stream)
    assert {"speed": "fast", "inference_geo": "us"} == one.extra


def test_system_stands_first_or_where_it_stood() -> None:
    """The system text of the body is a message before all others; within the conversation it keeps its place."""
    one = decoded({"system": "a", "messages": [*HI["messages"], {"role": "system", "content": "b"}]})

    assert [("system", "system"), ("user", "messages[0]"), ("system", "messages[1]")] == [
        (message.role, message.at) for message in one.messages
    ]


def test_tools_and_choices() -> None:
    """Tools of the caller and of the provider; choices with and without parallel calls."""
    tools = decoded(BODIES["server tools"]).tools
    assert [Tool, ServerTool] == [type(tool) for tool in tools]
    assert isinstance(tools[0], Tool)
    assert (SCHEMA, "tools[0]") == (tools[0].parameters, tools[0].at)

    single = decoded(BODIES["single calls"])
    assert (ToolChoice(mode="required", at="tool_choice"), False) == (single.tool_choice, single.parallel_tool_calls)
    named = decoded(BODIES["choice"]).tool_choice
    assert named is not None
    assert ("required", ("get_weather",)) == (named.mode, named.names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("thinking", ReasoningConfig(budget=2048, show=False, at="thinking")),
        ("adaptive thinking", ReasoningConfig(effort="max", at="thinking")),
        ("effort", ReasoningConfig(effort="low", at="output_config.effort")),
        ("no thinking", ReasoningConfig(effort="none", at="thinking")),
        ("thinking between tools", ReasoningConfig(extra={"type": "between_tools"}, at="thinking")),
        ("empty effort", None),
    ],
)
def test_how_much_to_think(name: str, expected: ReasoningConfig | None) -> None:
    """By tokens, by effort, by the model itself (-1), or not at all."""
    assert expected == decoded(BODIES[name]).reasoning
    alone = decoded({"thinking": {"type": "adaptive", "display": "summarized"}}).reasoning
    assert ReasoningConfig(budget=-1, show=True, at="thinking") == alone


@pytest.mark.parametrize(
    ("name", "at"), [("format", "output_config.format"), ("older format", "output_format"), ("odd format", None)]
)
def test_the_form_of_the_answer(name: str, at: str | None) -> None:
    """A schema, under its newer or its older name."""
    wanted = decoded(BODIES[name]).response_format

    assert wanted == (None if at is None else ResponseFormat(kind="json_schema", schema=SCHEMA, at=at))


def test_what_only_this_dialect_has_is_named_by_its_path() -> None:
    """Also below objects of which something else is understood."""
    one = decoded({**BODIES["format"], **BODIES["more metadata"]})

    assert {"output_config.task_budget": {"type": "tokens", "total": 9}, "metadata.team": "a"} == one.extra


def test_headers_of_the_caller_are_kept() -> None:
    """The version and the betas that a caller asked for go upstream with its request."""
    one = ANTHROPIC.decode_request(asked(HI, anthropic_version="2026-10-21", anthropic_beta="a,b"))
    headers = ANTHROPIC.encode_request(one, []).headers

    assert ("2026-10-21", "a,b") == (headers["anthropic-version"], headers["anthropic-beta"])


def test_counting() -> None:
    """A count is a request of its own kind."""
    body = {key: value for key, value in HI.items() if key != "max_tokens"}

    assert ANTHROPIC.decode_request(asked(body, "/v1/messages/count_tokens")).count
    assert body == again(body, "/v1/messages/count_tokens")


# ── any request ────────────────────────────────────────────────────────────────────────

texts = st.text(max_size=8)
marks = st.sampled_from([{}, {"cache_control": {"type": "ephemeral"}}, {"cache_control": None}])
text_blocks = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, texts, marks)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
inputs = st.dictionaries(texts, json_values, max_size=3)
user_blocks = text_blocks | st.builds(
    lambda call, content: {"type": "tool_result", "tool_use_id": call, "content": content},
    st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True),
    texts | st.lists(text_blocks, max_size=2),
)
model_blocks = text_blocks | st.builds(
    lambda call, arguments: {"type": "tool_use", "id": call, "name": "look", "input": arguments},
    st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True),
    inputs,
)
messages = st.builds(
    lambda role, content, blocks, spoken: {
        "role": role,
        "content": content or (blocks if role == "user" else spoken),
    },
    st.sampled_from(["user", "assistant"]),
    texts,
    st.lists(user_blocks, max_size=3),
    st.lists(model_blocks, max_size=3),
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.integers(0, 99), "messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        "system": texts | st.lists(text_blocks, max_size=2),
        "temperature": st.sampled_from([0, 0.5, 1]),
        "stop_sequences": st.lists(texts, max_size=2),
        "stream": st.booleans(),
        "metadata": st.dictionaries(st.sampled_from(["user_id", "x"]), texts, max_size=2),
        "output_config": st.dictionaries(st.sampled_from(["effort", "x"]), texts, max_size=2),
        "thinking": st.just({"type": "adaptive"}),
        "x-own": json_values,
    },
)


@given(bodies)
def test_any_request_comes_back_as_it_was(body: Json) -> None:
    """Whatever a caller writes within the rules."""
    assert body == again(body)


def test_the_bodies_are_what_callers_may_write() -> None:
    """The table of this file is within the schema where it has no fields of tomorrow."""
    for name in ("tools", "server tools", "choice", "adaptive thinking", "both", "user", "stops"):
        schema("anthropic.messages.request", "MessagesRequest").validate({**HI, **BODIES[name]})
