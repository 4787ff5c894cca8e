"""Parameters and tools of other dialects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    ReasoningConfig,
    ResponseFormat,
    SafetySetting,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import UnsupportedParameter
from tests.providers.dialects.gemini.spoken import Json, lost, request, sent

OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = Tool(name="f", description="d", parameters=SCHEMA, at="tools[0].function")


def config(model: str = OLD, **fields: Any) -> Json:
    return sent(request(model=model, **fields)).get("generationConfig", {})


def losses(model: str = OLD, **fields: Any) -> list[str]:
    return lost(request(model=model, **fields))


def test_nothing_said_is_nothing_sent() -> None:
    """A request with contents only has no configuration."""
    assert {"contents"} == set(sent(request()))


@pytest.mark.parametrize("said", [0, -1, -2])
def test_a_choice_among_all_tokens_is_lost(said: int) -> None:
    """Ollama's way to set no bound; the target refuses it."""
    assert {} == config(top_k=said)
    assert ["dropped top_k"] == losses(top_k=said)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 1.5, "top_p": 0.5, "top_k": 5}, {"temperature": 1.5, "topP": 0.5, "topK": 5}),
        ({"max_output_tokens": 9, "stop": ("a",)}, {"maxOutputTokens": 9, "stopSequences": ["a"]}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"n": 1}, {}),
        ({"seed": 7, "presence_penalty": 0.5}, {"seed": 7, "presencePenalty": 0.5}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"modalities": ("text", "image")}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"response_format": ResponseFormat(kind="text")}, {}),
        ({"response_format": ResponseFormat(kind="json_object")}, {"responseMimeType": "application/json"}),
        (
            {"response_format": ResponseFormat(kind="json_schema", schema=SCHEMA)},
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
    ],
)
def test_what_fits_is_carried(fields: Json, expected: Json) -> None:
    """Every parameter has its place, and nothing is lost."""
    assert expected == config(**fields)
    assert [] == losses(**fields)


@pytest.mark.parametrize(
    ("fields", "loss", "expected"),
    [
        ({"temperature": 3.0}, "approximated temperature", {"temperature": 2}),
        ({"top_p": 1.5}, "approximated top_p", {"topP": 1}),
        ({"seed": 2**31}, "approximated seed", {"seed": -(2**31)}),
        ({"stop": tuple("abcdef")}, "approximated stop", {"stopSequences": list("abcde")}),
        ({"logit_bias": {"1": 2}}, "dropped logit_bias", {}),
        ({"end_user": "u"}, "dropped end_user", {}),
        ({"verbosity": "low"}, "dropped verbosity", {}),
        ({"prediction": {}, "cache_key": "k"}, "dropped cache_key", {}),
        ({"prediction": {"type": "content"}}, "dropped prediction", {}),
        ({"top_logprobs": 3}, "dropped top_logprobs", {}),
        ({"audio": AudioConfig(voice="alloy")}, "dropped audio", {}),
        ({"parallel_tool_calls": False}, "dropped parallel_tool_calls", {}),
        ({"service_tier": "scale"}, "dropped service_tier", {}),
        ({"metadata": {"Key": "a b"}}, "dropped metadata", {}),
        ({"tool_choice": ToolChoice(mode="required")}, "dropped tool_choice", {}),
    ],
)
def test_what_does_not_fit_is_named(fields: Json, loss: str, expected: Json) -> None:
    """Clamped, cut or left out: each by the canonical word of the parameter."""
    assert [loss] == losses(**fields)
    assert expected == config(**fields)


def test_newer_models_refuse_penalties_and_ignore_sampling() -> None:
    """What a model refuses or ignores is not sent."""
    penalties = {"presence_penalty": 0.5, "frequency_penalty": 0.0}

    assert ["dropped presence_penalty"] == losses(NEW, **penalties)
    assert ["dropped temperature", "dropped top_k"] == losses("gemini-3.6-flash", temperature=0.5, top_k=3)


def test_too_many_answers_are_refused() -> None:
    """Eight candidates are the most."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(n=9))

    assert "n" == caught.value.param


def test_the_rest_of_the_body() -> None:
    """Tier, labels, store and safety settings stand at the top."""
    safety = (SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE"),)
    body = sent(request(service_tier="default", metadata={"team": "a-1"}, store=True, safety=safety))

    assert ("standard", {"team": "a-1"}, True) == (body["serviceTier"], body["labels"], body["store"])
    assert [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}] == body["safetySettings"]
    assert "serviceTier" not in sent(request(service_tier="auto"))


# ── thinking ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "wanted", "expected", "named"),
    [
        (OLD, {"effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}, []),
        (OLD, {"effort": "none"}, {"thinkingBudget": 0}, []),
        (OLD, {"budget": 0}, {"thinkingBudget": 0}, []),
        (OLD, {"budget": -1}, {"thinkingBudget": -1, "includeThoughts": True}, []),
        (OLD, {"budget": 50000, "show": False}, {"thinkingBudget": 24576}, ["approximated reasoning"]),
        (OLD, {"show": True}, {"includeThoughts": True}, []),
        (NEW, {"effort": "high"}, {"thinkingLevel": "high", "includeThoughts": True}, []),
        (NEW, {"effort": "max"}, {"thinkingLevel": "high", "includeThoughts": True}, ["approximated reasoning"]),
        (NEW, {"budget": 500}, {"thinkingLevel": "low", "includeThoughts": True}, ["approximated reasoning"]),
        (NEW, {"budget": -1}, {"includeThoughts": True}, []),
        (NEW, {"effort": "odd"}, None, ["dropped reasoning"]),
        ("gemini-2.0-flash", {"effort": "high"}, None, ["dropped reasoning"]),
        ("gemini-2.0-flash", {"effort": "none"}, None, []),
    ],
)
def test_thinking(model: str, wanted: Json, expected: Json, named: list[str]) -> None:
    """Effort becomes a budget or a level, and thoughts are asked for where thinking was."""
    reasoning = ReasoningConfig(**wanted)

    assert expected == config(model, reasoning=reasoning).get("thinkingConfig")
    assert named == losses(model, reasoning=reasoning)


# ── response schema ────────────────────────────────────────────────────────────────────


def test_schemas_of_answers_are_compiled() -> None:
    """What the target lacks moves into the description, named by the caller's path."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}
    wanted = ResponseFormat(kind="json_schema", schema=schema, name="w", at="response_format.json_schema")

    assert ["approximated response_format.json_schema.schema.properties.a.pattern"] == losses(response_format=wanted)

    alone = msgspec.structs.replace(wanted, at="format", form={"schema": "format"})

    assert ["approximated format.properties.a.pattern"] == losses(response_format=alone)
    assert "responseSchema" in config("gemini-1.5-pro", response_format=wanted)


def test_the_description_of_a_format_is_the_schemas() -> None:
    """There is one place for a description."""
    wanted = ResponseFormat(kind="json_schema", schema=SCHEMA, description="d", at="rf")
    taken = ResponseFormat(kind="json_schema", schema={**SCHEMA, "description": "own"}, description="d", at="rf")

    assert "d" == config(response_format=wanted)["responseJsonSchema"]["description"]
    assert ["dropped rf.description"] == losses(response_format=taken)


# ── tools ──────────────────────────────────────────────────────────────────────────────


def test_all_functions_stand_in_one_entry() -> None:
    """Two tools are two declarations of one entry; a tool without parameters has none."""
    body = sent(request(tools=(TOOL, Tool(name="g", parameters={"type": "object", "properties": {}}))))

    assert [
        {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}, {"name": "g"}]}
    ] == body["tools"]
    assert "toolConfig" not in body


def test_older_models_read_the_openapi_form() -> None:
    """1.5 and gemma take `parameters`."""
    declaration = sent(request(tools=(TOOL,), model="gemma-3-27b-it"))["tools"][0]["functionDeclarations"][0]

    assert {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]} == declaration["parameters"]


def test_losses_of_a_tools_schema_are_named_at_the_tool() -> None:
    """By the tool's path and the place in the schema."""
    tool = Tool(
        name="f", parameters={"properties": {"a": {"type": "string", "format": "email"}}}, at="tools[0].function"
    )

    assert ["approximated tools[0].function.parameters.properties.a.format"] == losses(tools=(tool,))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="required", names=("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="auto", names=("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="auto", validated=True), {"mode": "VALIDATED"}),
    ],
)
def test_choices(choice: ToolChoice, expected: Json) -> None:
    """Each choice has its mode; names go with those modes that take them."""
    assert {"functionCallingConfig": expected} == sent(request(tools=(TOOL,), tool_choice=choice))["toolConfig"]


def test_strict_tools_are_validated() -> None:
    """Where the model can check arguments it is asked to; elsewhere that is lost."""
    strict = Tool(name="f", parameters=SCHEMA, strict=True, at="tools[0].function")

    assert {"mode": "VALIDATED"} == sent(request(tools=(strict,)))["toolConfig"]["functionCallingConfig"]
    assert ["dropped tools[0].function.strict"] == losses("gemini-2.0-flash", tools=(strict,))


def test_names_without_validation_are_lost() -> None:
    """Older models take names only with a forced call."""
    choice = ToolChoice(mode="auto", names=("f",))

    assert ["dropped tool_choice"] == losses("gemini-2.0-flash", tools=(TOOL,), tool_choice=choice)


@pytest.mark.parametrize(
    "tool",
    [ServerTool(dialect="x", kind="web_search", raw={}, at="tools[0]"), Tool(name="f", kind="custom", at="tools[0]")],
)
def test_other_kinds_of_tools_are_refused(tool: Any) -> None:
    """A tool that the target does not have cannot be left out silently: another target may have it."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(tools=(tool,)))

    assert "tools[0]" == caught.value.param


def test_cache_marks_of_tools_are_lost() -> None:
    """The target has no place for them."""
    assert ["dropped tools[0].cache_control"] == losses(tools=(Tool(name="f", cache=CacheMark(), at="tools[0]"),))
