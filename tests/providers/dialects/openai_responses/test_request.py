"""Requests, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import (
    AudioConfig,
    ChatRequest,
    Message,
    ReasoningConfig,
    ResponseFormat,
    SafetySetting,
    Seal,
    ServerTool,
    Text,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, dropped, in_callers_words
from providers.dialect import PLAIN, Traits, WireRequest
from providers.dialects import DIALECTS
from providers.dialects.openai_responses.request import thinks
from providers.dialects.openai_responses.words import carry, made_id
from tests.providers.dialects.openai_responses.speak import (
    RESPONSES,
    SENT,
    ask,
    call,
    decoded,
    reasoning,
    recorded,
    written,
)

HI = (Message(role="user", parts=(Text(text="Hi"),)),)
LOOK = Tool(name="look", parameters={"type": "object", "properties": {"a": {"type": "string"}}})


def foreign(**fields: Any) -> ChatRequest:
    """A request of another dialect's caller."""
    return ChatRequest(**{"dialect": "elsewhere", "model": "m", "messages": HI, **fields})


def sent(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """The body that goes upstream, which fits the schema, and the losses."""
    body, losses = written(request, traits)
    SENT.validate(body)
    return body, losses


# ── recorded ───────────────────────────────────────────────────────────────────────────

#: What only the upstream that holds it can answer: those requests are relayed, never translated.
STORED = ("previous_response_id", "conversation", "prompt")


def test_recorded_requests_come_out_as_they_went_in() -> None:
    """Decoded and encoded again a request is the same JSON, without a loss, or it is refused by name."""
    count = refused = 0
    for case in recorded():
        body = case["request_body"]
        if not body or not body.get("model"):
            continue
        held = [key for key in STORED if body.get(key) is not None]
        if held:
            with pytest.raises(UnsupportedParameter) as raised:
                decoded(body)
            refused += 1

            assert held[0] == raised.value.param, case["id"]
        else:
            count += 1

            assert (body, []) == written(decoded(body)), case["id"]
    assert count >= 270
    assert refused >= 5


# ── state that an upstream holds ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
    ],
)
def test_state_of_an_upstream_is_refused_by_name(fields: Any, param: str) -> None:
    """Dropped it would make another conversation; another target may hold it."""
    with pytest.raises(UnsupportedParameter) as raised:
        decoded(**fields)

    assert (param, 400, "elsewhere") == (raised.value.param, raised.value.status, raised.value.retry)


@pytest.mark.parametrize(
    "fields", [{"previous_response_id": "resp_1"}, {"conversation": "c"}, {"prompt": {"id": "p"}}, {"background": True}]
)
def test_the_relay_passes_it_on(fields: Any) -> None:
    """Byte for byte: its own upstream knows it."""
    asked = ask(**fields)

    assert asked.wire.body == RESPONSES.relay_request(asked, "m", []).body


# ── parameters, read ───────────────────────────────────────────────────────────────────


def test_parameters() -> None:
    """What each is in canonical words."""
    found = decoded(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.25,
        top_logprobs=2,
        parallel_tool_calls=False,
        service_tier="flex",
        safety_identifier="u",
        metadata={"a": "b"},
        store=False,
        prompt_cache_key="k",
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        reasoning={"effort": "low", "summary": "auto"},
    )

    assert (9, 0.5, 0.25, 2) == (found.max_output_tokens, found.temperature, found.top_p, found.top_logprobs)
    assert (False, "flex", "u", {"a": "b"}) == (
        found.parallel_tool_calls,
        found.service_tier,
        found.end_user,
        found.metadata,
    )
    assert (False, "k", "low", True) == (found.store, found.cache_key, found.verbosity, found.logprobs)
    wanted, thought = found.response_format, found.reasoning
    assert wanted is not None
    assert thought is not None
    assert ("json_schema", "n", {}, True) == (wanted.kind, wanted.name, wanted.schema, wanted.strict)
    assert ("low", True) == (thought.effort, thought.show)


def test_tools() -> None:
    """Flat; hosted tools are known only to this dialect."""
    found = decoded(
        tools=[
            {"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": None},
            {"type": "custom", "name": "g", "format": {"type": "text"}},
            {"type": "web_search"},
        ]
    ).tools

    assert [Tool, Tool, ServerTool] == [type(tool) for tool in found]
    assert [("f", "function"), ("g", "custom")] == [(tool.name, tool.kind) for tool in found if isinstance(tool, Tool)]


@pytest.mark.parametrize(
    ("raw", "mode", "names"),
    [
        ("auto", "auto", ()),
        ("none", "none", ()),
        ("required", "required", ()),
        ({"type": "function", "name": "f"}, "required", ("f",)),
        ({"type": "custom", "name": "f"}, "required", ("f",)),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, "auto", ("f",)),
    ],
)
def test_choices_of_tools(raw: Any, mode: str, names: Any) -> None:
    """By a word, by a name, by several names."""
    found = decoded(tool_choice=raw).tool_choice

    assert found is not None
    assert (mode, names) == (found.mode, found.names)


@pytest.mark.parametrize(
    "raw", [{"type": "web_search_preview"}, {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}]
)
def test_choices_of_hosted_tools_stay_as_they_are(raw: Any) -> None:
    """Only this dialect's upstreams have them."""
    found = decoded(tool_choice=raw)

    assert (None, {"tool_choice": raw}) == (found.tool_choice, found.extra)


def test_an_older_name_counts_where_the_new_one_is_not() -> None:
    """`user` for `safety_identifier`; a loss names what the caller wrote."""
    found = decoded(user="u")

    assert ("u", {"end_user": "user"}) == (found.end_user, found.paths)
    assert {"user": "u"} == decoded(user="u", safety_identifier="s").extra


@pytest.mark.parametrize(
    ("fields", "name", "path"),
    [
        ({"reasoning": {"effort": "low", "summary": "auto"}}, "reasoning", "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning", "reasoning.summary"),
        ({"reasoning": {"mode": "pro"}}, "reasoning", "reasoning"),
        ({"reasoning": {"generate_summary": "auto"}}, "show_reasoning", "reasoning.generate_summary"),
        ({"top_logprobs": 2}, "logprobs", "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "logprobs", "include"),
    ],
)
def test_losses_name_what_the_caller_wrote(fields: Any, name: str, path: str) -> None:
    """Where one canonical parameter has several places here."""
    request = decoded(**fields)

    assert [path] == [one.field for one in in_callers_words([dropped(name, "")], request, RESPONSES.paths)]


# ── parameters, written ────────────────────────────────────────────────────────────────


def test_the_least_request() -> None:
    """OpenAI would keep every answer unless it is told not to; our callers have their history themselves."""
    body, losses = sent(foreign())

    assert {"model": "m", "input": [{"role": "user", "content": "Hi"}], "store": False} == body
    assert [] == losses


def test_parameters_are_written() -> None:
    """In this dialect's words."""
    body, losses = sent(
        foreign(
            max_output_tokens=9,
            temperature=0.5,
            top_p=0.25,
            logprobs=True,
            top_logprobs=2,
            tools=(LOOK,),
            tool_choice=ToolChoice(mode="required", names=("look",)),
            parallel_tool_calls=False,
            service_tier="STANDARD",
            end_user="u",
            metadata={"a": "b"},
            store=True,
            cache_key="k",
            verbosity="low",
            response_format=ResponseFormat(kind="json_schema", name="n", schema={"type": "object"}, strict=True),
            reasoning=ReasoningConfig(effort="low", show=True),
            stream=True,
        )
    )

    assert [] == losses
    assert {
        "model": "m",
        "input": [{"role": "user", "content": "Hi"}],
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_logprobs": 2,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "tools": [{"type": "function", "name": "look", "parameters": LOOK.parameters, "strict": False}],
        "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": False,
        "service_tier": "default",
        "safety_identifier": "u",
        "metadata": {"a": "b"},
        "store": True,
        "prompt_cache_key": "k",
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "stream": True,
    } == body


@pytest.mark.parametrize(
    ("fields", "losses"),
    [
        ({"stop": ("a",)}, ["stop=dropped"]),
        ({"seed": 1}, ["seed=dropped"]),
        ({"frequency_penalty": 1.0}, ["frequency_penalty=dropped"]),
        ({"presence_penalty": 1.0}, ["presence_penalty=dropped"]),
        ({"logit_bias": {"1": 2}}, ["logit_bias=dropped"]),
        ({"prediction": {"type": "content"}}, ["prediction=dropped"]),
        ({"top_k": 3}, ["top_k=dropped"]),
        ({"temperature": 3.0}, ["temperature=approximated"]),
        ({"top_logprobs": 50}, ["top_logprobs=approximated"]),
        ({"service_tier": "standing"}, ["service_tier=dropped"]),
        ({"safety": (SafetySetting(category="x", at="safetySettings[0]"),)}, ["safetySettings[0]=dropped"]),
        ({"modalities": ("text", "audio")}, ["modalities=dropped"]),
        ({"audio": AudioConfig(voice="alloy")}, ["audio=dropped"]),
        ({"parallel_tool_calls": True}, ["parallel_tool_calls=dropped"]),
        ({"tool_choice": ToolChoice(mode="required")}, ["tool_choice=dropped"]),
        ({"tools": (ServerTool(dialect="x", kind="search", raw={}, at="tools[0]"),)}, ["tools[0]=dropped"]),
        ({"reasoning": ReasoningConfig(budget=2000)}, ["reasoning=approximated"]),
        ({"response_format": ResponseFormat(kind="json_schema")}, ["response_format=invented"]),
        ({"response_format": ResponseFormat(kind="json_schema", name="")}, ["response_format=invented"]),
        ({"response_format": ResponseFormat(kind="json_object")}, ["response_format=invented"]),
        ({"tools": (LOOK,), "tool_choice": ToolChoice(mode="auto", validated=True)}, ["tool_choice=approximated"]),
        ({"n": 1, "logprobs": False, "response_format": ResponseFormat(kind="text")}, []),
    ],
)
def test_losses(fields: Any, losses: list[str]) -> None:
    """What has no place, what is brought into range, what had to be made up; the rest still fits."""
    assert losses == sent(foreign(**fields))[1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 2}, "n"), ({"cached_content": "c"}, "cached_content"), ({"modalities": ("image",)}, "modalities")],
)
def test_what_would_be_another_answer_is_refused(fields: Any, param: str) -> None:
    """Two answers cannot be had, nor a picture instead of a text."""
    with pytest.raises(UnsupportedParameter) as raised:
        sent(foreign(**fields))

    assert param == raised.value.param


def test_several_tools_may_be_allowed() -> None:
    """By their names and kinds."""
    tools = (LOOK, Tool(name="write", kind="custom"))
    body, _ = sent(foreign(tools=tools, tool_choice=ToolChoice(mode="auto", names=("look", "write"))))

    allowed = [{"type": "function", "name": "look"}, {"type": "custom", "name": "write"}]
    assert {"type": "allowed_tools", "mode": "auto", "tools": allowed} == body["tool_choice"]
    assert {"type": "custom", "name": "write"} == body["tools"][1]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5", True),
        ("gpt-5.1-codex-max", True),
        ("o4-mini", True),
        ("openai/gpt-6-luna", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4.1", False),
        ("gpt-4o", False),
        ("grok-4", False),
    ],
)
def test_reasoning_that_can_be_sent_back_is_asked_for(model: str, expected: bool) -> None:
    """Of models that reason; others refuse the wish."""
    body, _ = sent(foreign(model=model))

    assert expected == thinks(model) == ("include" in body)


def test_a_model_that_shall_not_think_has_nothing_to_send_back() -> None:
    """Effort none."""
    assert "include" not in sent(foreign(model="gpt-5", reasoning=ReasoningConfig(effort="none")))[0]


# ── rows ───────────────────────────────────────────────────────────────────────────────


def test_rows_may_ignore_and_reject() -> None:
    """What is ignored is not sent and named, unless it was our own wish; what is rejected is refused."""
    traits = Traits(ignores=frozenset({"store", "include", "metadata"}))
    body, losses = sent(foreign(model="gpt-5", metadata={"a": "b"}), traits)

    assert {"model", "input"} == body.keys()
    assert ["metadata=dropped"] == losses
    with pytest.raises(UnsupportedParameter) as raised:
        written(foreign(max_output_tokens=3), Traits(rejects=frozenset({"max_tokens"})))
    assert "max_output_tokens" == raised.value.param


def test_the_relay_applies_them_too() -> None:
    """To the caller's own fields."""
    asked = ask(metadata={"a": "b"}, store=True)
    losses: Losses = []
    wire = RESPONSES.relay_request(asked, "other", losses, Traits(ignores=frozenset({"store"})))

    assert {"model": "other", "input": "Hi", "metadata": {"a": "b"}} == json.loads(wire.body)
    assert ["store"] == [loss.field for loss in losses]


def test_the_relay_leaves_bytes_alone() -> None:
    """Where nothing is to be changed."""
    asked = ask(b'{ "model" : "m", "input":"isthmus: 1.0e1" , "temperature":1e0}')

    assert asked.wire.body == RESPONSES.relay_request(asked, "m", []).body


def test_the_relay_takes_out_what_no_upstream_has_made() -> None:
    """Reasoning of other vendors' models, which callers got in items of ours: the upstream would look for it."""
    carrier = reasoning(sealed=carry(Seal(value="x", origin="gemini"), "call", "call_1"), id=made_id("rs", "0", 1))
    own = reasoning("hm")
    asked = ask(input=[{"role": "user", "content": "Hi"}, carrier, call(), own])
    losses: Losses = []
    body = json.loads(RESPONSES.relay_request(asked, "m", losses).body)

    assert [{"role": "user", "content": "Hi"}, call(), own] == body["input"]
    assert [("input[1]", "dropped")] == [(loss.field, loss.kind) for loss in losses]


# ── golden ─────────────────────────────────────────────────────────────────────────────

CHAT = DIALECTS["openai.chat"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = {**WEATHER, "additionalProperties": False}
PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
GOLDEN: dict[str, tuple[Any, Any, list[str]]] = {
    "plain": (
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "max_tokens": 100,
            "stop": "END",
            "stream": False,
        },
        {
            "instructions": "Be brief.",
            "input": [{"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "max_output_tokens": 100,
        },
        ["stop=dropped"],
    ),
    "parallel tools": (
        {
            "messages": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": PARIS}},
                        {"id": "call_2", "type": "function", "function": {"name": "get_weather", "arguments": ROME}},
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": '{"temp":15}'},
                {"role": "tool", "tool_call_id": "call_2", "content": "sunny"},
                {"role": "user", "content": "And in one word?"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER},
                }
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "max_tokens": 64,
        },
        {
            "input": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": PARIS},
                {"type": "function_call", "call_id": "call_2", "name": "get_weather", "arguments": ROME},
                {"type": "function_call_output", "call_id": "call_1", "output": '{"temp":15}'},
                {"type": "function_call_output", "call_id": "call_2", "output": "sunny"},
                {"role": "user", "content": "And in one word?"},
            ],
            "tools": [
                {
                    "type": "function",
                    "name": "get_weather",
                    "description": "Weather of a city",
                    "parameters": WEATHER,
                    "strict": False,
                }
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "max_output_tokens": 64,
        },
        [],
    ),
    "image": (
        {
            "max_tokens": 9,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"},
                        },
                    ],
                }
            ],
        },
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"},
                    ],
                }
            ],
            "max_output_tokens": 9,
        },
        [],
    ),
    "json schema": (
        {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Hi"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "w", "strict": True, "schema": SCHEMA},
            },
        },
        {
            "input": [{"role": "user", "content": "Hi"}],
            "max_output_tokens": 9,
            "text": {"format": {"type": "json_schema", "name": "w", "strict": True, "schema": SCHEMA}},
        },
        [],
    ),
    "effort": (
        {
            "max_completion_tokens": 4000,
            "messages": [{"role": "user", "content": "Hi"}],
            "reasoning_effort": "high",
        },
        {
            "input": [{"role": "user", "content": "Hi"}],
            "max_output_tokens": 4000,
            "reasoning": {"effort": "high"},
            "include": ["reasoning.encrypted_content"],
        },
        [],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_translations_from_chat(name: str) -> None:
    """What chat's callers ask for, as this dialect says it."""
    body, expected, report = GOLDEN[name]
    asked = CHAT.read(WireRequest(path="/", body=json.dumps({"model": "m", **body}).encode()), {})
    found, losses = sent(CHAT.decode_request(asked))

    assert ({"model": "m", **expected, "store": False}, report) == (found, losses)
