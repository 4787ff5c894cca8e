"""Requests fit the closed schema, carry what can be carried, and name every loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    ChatRequest,
    ReasoningConfig,
    ResponseFormat,
    SafetySetting,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import RouterError, UnsupportedParameter
from providers.catalog import catalog
from providers.dialect import Traits, WireRequest
from providers.dialects import DIALECTS
from tests.corpus import cases
from tests.providers.dialects.cohere.speak import CLOSED, COHERE, HI, asked, sent

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", description="d", parameters=SCHEMA, at="tools[0].function")
TIME = Tool(name="get_time", at="tools[1].function")
CHAT = DIALECTS["openai.chat"]
UNSEEN = "show_reasoning=dropped"


def conversations() -> Iterator[tuple[str, ChatRequest]]:
    """Every recorded request of OpenAI and Gemini that can be understood."""
    for case in cases("openai-chat"):
        if case["request_body"] and case["api"] == "chat":
            body = json.dumps({"model": "m", **case["request_body"]}).encode()
            try:
                yield case["id"], CHAT.decode_request(CHAT.read(WireRequest(path="/", body=body), {}))
            except RouterError:
                continue
    gemini = DIALECTS["gemini"]
    for case in cases("gemini"):
        if case["request_body"] and case["api"] == "generateContent":
            wire = WireRequest(path="/", body=json.dumps(case["request_body"]).encode())
            try:
                yield (
                    case["id"],
                    gemini.decode_request(gemini.read(wire, {"model": "m", "task": "generateContent"})),
                )
            except RouterError:
                continue


def test_recorded_conversations_fit() -> None:
    """What programs ask of others is a good request here, or is refused by the name of a field."""
    written = refused = 0
    for name, request in conversations():
        try:
            CLOSED.validate(json.loads(COHERE.encode_request(request, []).body))
            written += 1
        except RouterError as error:
            assert error.status == 400 and error.param, name
            refused += 1
    assert written > 200 and refused < written / 3


def test_parameters_and_their_names() -> None:
    """The table, one by one."""
    body, losses = sent(
        asked(
            max_output_tokens=100,
            temperature=1.7,
            top_p=0.9,
            top_k=40.0,
            seed=7,
            stop=("END",),
            frequency_penalty=0.25,
            presence_penalty=0.5,
            logprobs=True,
            n=1,
            parallel_tool_calls=True,
            store=False,
            top_logprobs=0,
            stream=True,
        )
    )

    assert {
        "model": "command-a-03-2025",
        "messages": HI,
        "stream": True,
        "max_tokens": 100,
        "temperature": 1.7,
        "p": 0.9,
        "k": 40,
        "seed": 7,
        "stop_sequences": ["END"],
        "frequency_penalty": 0.25,
        "presence_penalty": 0.5,
        "logprobs": True,
    } == body
    assert [] == losses


@pytest.mark.parametrize(
    ("fields", "key", "value", "loss"),
    [
        ({"top_p": 1.0}, "p", 0.99, "top_p=approximated"),
        ({"top_p": 0}, "p", 0.01, "top_p=approximated"),
        ({"top_k": 900}, "k", 500, "top_k=approximated"),
        ({"top_k": 3.5}, "k", 4, "top_k=approximated"),
        ({"frequency_penalty": -1.5}, "frequency_penalty", 0, "frequency_penalty=approximated"),
        ({"presence_penalty": 2}, "presence_penalty", 1, "presence_penalty=approximated"),
        ({"seed": -1}, "seed", None, "seed=dropped"),
        ({"stop": tuple("ABCDEF")}, "stop_sequences", list("ABCDE"), "stop=approximated"),
    ],
)
def test_values_outside_are_brought_in(fields: Any, key: str, value: Any, loss: str) -> None:
    """To the nearest that it takes, and named."""
    body, losses = sent(asked(**fields))

    assert (value, [loss]) == (body.get(key), losses)


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({"top_logprobs": 3}, "top_logprobs=dropped"),
        ({"logit_bias": {"1": 2}}, "logit_bias=dropped"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls=dropped"),
        ({"service_tier": "flex"}, "service_tier=dropped"),
        ({"end_user": "u"}, "end_user=dropped"),
        ({"metadata": {"a": "b"}}, "metadata=dropped"),
        ({"store": True}, "store=dropped"),
        ({"verbosity": "low"}, "verbosity=dropped"),
        ({"prediction": {"type": "content"}}, "prediction=dropped"),
        ({"cache_key": "k"}, "cache_key=dropped"),
        ({"audio": AudioConfig(voice="alloy")}, "audio=dropped"),
        ({"modalities": ("text", "audio")}, "modalities=dropped"),
        ({"safety": (SafetySetting(category="X", at="safetySettings[0]"),)}, "safetySettings[0]=dropped"),
        ({"extra": {"novel": 1}}, "novel=dropped"),
        ({"tools": (WEATHER,), "tool_choice": ToolChoice(mode="auto", validated=True)}, "tool_choice=approximated"),
    ],
)
def test_what_has_no_place_is_named(fields: Any, loss: str) -> None:
    """One loss each."""
    assert [loss] == sent(asked(**fields))[1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"cached_content": "c"}, "cached_content"),
        ({"modalities": ("image",)}, "modalities"),
        ({"tools": (ServerTool(dialect="gemini", kind="googleSearch", raw={}, at="tools[0]"),)}, "tools[0]"),
        ({"tools": (Tool(name="f", kind="custom", at="tools[0].custom"),)}, "tools[0].custom"),
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
        ({"tools": (WEATHER,), "response_format": ResponseFormat(kind="json_object")}, "response_format"),
    ],
)
def test_what_would_be_another_answer_is_refused(fields: Any, param: str) -> None:
    """By its field."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(asked(**fields))

    assert param == refusal.value.param


@pytest.mark.parametrize(
    ("choice", "word", "names"),
    [
        (None, None, ["get_weather", "get_time"]),
        (ToolChoice(mode="auto"), None, ["get_weather", "get_time"]),
        (ToolChoice(mode="none"), "NONE", ["get_weather", "get_time"]),
        (ToolChoice(mode="required"), "REQUIRED", ["get_weather", "get_time"]),
        (ToolChoice(mode="required", names=("get_time",)), "REQUIRED", ["get_time"]),
        (ToolChoice(mode="auto", names=("get_time",)), None, ["get_time"]),
    ],
)
def test_choices_of_tools(choice: ToolChoice | None, word: str | None, names: list[str]) -> None:
    """Two words; named tools by offering no others."""
    body, losses = sent(asked(tools=(WEATHER, TIME), tool_choice=choice))

    assert (word, names, []) == (
        body.get("tool_choice"),
        [tool["function"]["name"] for tool in body["tools"]],
        losses,
    )


def test_tools() -> None:
    """Functions with parameters, which are wanted; what they cannot say is named."""
    odd = Tool(name="f", response=SCHEMA, cache=CacheMark(at="mark"), at="tools[1].function")
    body, losses = sent(asked(tools=(WEATHER, odd)))

    function = {"name": "get_weather", "description": "d", "parameters": SCHEMA}
    assert {"type": "function", "function": function} == body["tools"][0]
    assert {"name": "f", "parameters": {"type": "object", "properties": {}}} == body["tools"][1]["function"]
    assert ["tools[1].function.response=dropped", "mark=dropped"] == losses


@pytest.mark.parametrize(
    ("strict", "word", "losses"),
    [
        ((True, True), True, []),
        ((False, None), None, []),
        ((True, None), None, ["tools[0].function.strict=dropped"]),
    ],
)
def test_strict_tools(strict: tuple[bool | None, bool | None], word: bool | None, losses: list[str]) -> None:
    """All or none."""
    tools = tuple(
        Tool(name=name, parameters=SCHEMA, strict=one, at=f"tools[{i}].function")
        for i, (name, one) in enumerate(zip("ab", strict, strict=True))
    )
    body, named = sent(asked(tools=tools))

    assert (word, losses) == (body.get("strict_tools"), named)


@pytest.mark.parametrize(
    ("wanted", "expected", "losses"),
    [
        (ResponseFormat(kind="text"), None, []),
        (
            ResponseFormat(kind="json_schema", schema=SCHEMA, name="w", strict=True),
            {"type": "json_object", "json_schema": SCHEMA},
            [],
        ),
        (ResponseFormat(kind="json_object"), {"type": "json_object"}, ["response_format=invented"]),
        (
            ResponseFormat(kind="json_schema", schema=SCHEMA, description="d", at="rf.json_schema"),
            {"type": "json_object", "json_schema": SCHEMA},
            ["rf.json_schema.description=dropped"],
        ),
    ],
)
def test_formats(wanted: ResponseFormat, expected: Any, losses: list[str]) -> None:
    """JSON mode without a schema wants to be asked for in a message, too."""
    body, named = sent(asked(response_format=wanted))

    assert (expected, losses) == (body.get("response_format"), named)
    assert ("response_format=invented" in losses) == ("JSON" in str(body["messages"]))


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "losses"),
    [
        ("command-a-reasoning-08-2025", ReasoningConfig(budget=500), {"type": "enabled", "token_budget": 500}, []),
        ("command-a-reasoning-08-2025", ReasoningConfig(budget=-1, show=True), {"type": "enabled"}, []),
        ("command-a-reasoning-08-2025", ReasoningConfig(effort="none"), {"type": "disabled"}, []),
        ("command-a-plus-05-2026", ReasoningConfig(effort="high"), {"type": "enabled"}, ["reasoning=approximated"]),
        (
            "novel",
            ReasoningConfig(budget=9, show=False),
            {"type": "enabled", "token_budget": 9},
            ["show_reasoning=dropped"],
        ),
        ("command-a-reasoning-08-2025", ReasoningConfig(show=False), None, [UNSEEN]),
        ("command-r-08-2024", ReasoningConfig(effort="none"), None, []),
        (
            "command-r-08-2024",
            ReasoningConfig(effort="low", show=True),
            None,
            ["reasoning=dropped", "show_reasoning=dropped"],
        ),
        ("command-a-03-2025", ReasoningConfig(show=True), None, [UNSEEN]),
    ],
)
def test_thinking(model: str, reasoning: ReasoningConfig, thinking: Any, losses: list[str]) -> None:
    """A number of tokens, on or off; models from before it are not asked."""
    body, named = sent(asked(model=model, reasoning=reasoning))

    assert (thinking, losses) == (body.get("thinking"), named)


def test_fields_of_its_own_pass_from_any_caller() -> None:
    """As the shipped row has them: documents to cite, safety, priority."""
    own = Traits(own=frozenset(catalog()["cohere"]["own"]))
    extra = {"documents": ["a"], "safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "novel": 1}
    body, losses = sent(asked(extra=extra), own)

    assert (["a"], "STRICT", {"mode": "FAST"}) == (body["documents"], body["safety_mode"], body["citation_options"])
    assert ["novel=dropped"] == losses


def test_ignored_and_rejected_fields() -> None:
    """By their names here; told in the caller's words."""
    body, losses = sent(asked(top_p=0.5, seed=7), Traits(ignores=frozenset({"p"})))

    assert ("p" not in body, ["top_p=dropped"]) == (True, losses)
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(asked(stop=("x",)), Traits(rejects=frozenset({"stop_sequences"})))
    assert "stop" == refusal.value.param
