"""Parameters of other dialects as this one has them."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    Reasoning,
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
from providers.dialects.anthropic.words import ANSWER_TOOL
from tests.providers.dialects.anthropic.spoken import SCHEMA, Json, assistant, call, lost, request, result, sent, user

OLD, NEW, NEWEST = "claude-3-7-sonnet-latest", "claude-opus-5", "claude-opus-5-5"
LOOK = Tool(name="look", parameters=SCHEMA, at="tools[0].function")
FORMAT = ResponseFormat(kind="json_schema", schema=SCHEMA, name="w", at="response_format.json_schema")


@pytest.mark.parametrize(
    ("fields", "expected", "losses"),
    [
        ({"temperature": 0.5, "top_k": 5}, {"temperature": 0.5, "top_k": 5}, []),
        ({"temperature": 1.7}, {"temperature": 1}, ["approximated temperature"]),
        ({"top_p": 0.9}, {"top_p": 0.9}, []),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["dropped top_p"]),
        ({"top_k": 2.5}, {"top_k": 2}, ["approximated top_k"]),
        ({"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}, []),
        ({"stop": ("a", " ")}, {"stop_sequences": ["a"]}, ["approximated stop"]),
        ({"stop": (" ",)}, {}, ["dropped stop"]),
        ({"max_output_tokens": None}, {"max_tokens": 64000}, ["invented max_output_tokens"]),
        ({"max_output_tokens": 99999}, {"max_tokens": 64000}, ["approximated max_output_tokens"]),
        ({"end_user": "u1"}, {"metadata": {"user_id": "u1"}}, []),
        ({"end_user": "someone@example.org"}, {}, ["dropped end_user"]),
        ({"end_user": "+49 30 1234567"}, {}, ["dropped end_user"]),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}, []),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, []),
        ({"service_tier": "flex"}, {}, ["dropped service_tier"]),
        ({"n": 1, "store": False, "frequency_penalty": 0, "logprobs": False, "modalities": ("text",)}, {}, []),
        ({"modalities": ("text", "image")}, {}, ["dropped modalities"]),
        ({"seed": 7}, {}, ["dropped seed"]),
        ({"presence_penalty": 0.5}, {}, ["dropped presence_penalty"]),
        ({"logit_bias": {"1": 2.0}}, {}, ["dropped logit_bias"]),
        ({"logprobs": True, "top_logprobs": 3}, {}, ["dropped logprobs", "dropped top_logprobs"]),
        ({"metadata": {"a": "b"}}, {}, ["dropped metadata"]),
        ({"store": True}, {}, ["dropped store"]),
        ({"verbosity": "low"}, {}, ["dropped verbosity"]),
        ({"prediction": {"a": 1}}, {}, ["dropped prediction"]),
        ({"cache_key": "k"}, {}, ["dropped cache_key"]),
        ({"audio": AudioConfig(voice="alloy")}, {}, ["dropped audio"]),
        ({"safety": (SafetySetting(category="c", at="safetySettings[0]"),)}, {}, ["dropped safetySettings[0]"]),
        ({"stream": True}, {"stream": True}, []),
    ],
)
def test_parameters(fields: Any, expected: Json, losses: list[str]) -> None:
    """Each arrives, or is named."""
    one = request(**fields)
    body = sent(one)

    assert expected == {key: body[key] for key in body if key not in ("model", "messages", "max_tokens")} | {
        key: body[key] for key in expected
    }
    assert losses == lost(one)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 2}, "n"), ({"cached_content": "c"}, "cached_content"), ({"modalities": ("audio",)}, "modalities")],
)
def test_what_would_make_a_wrong_answer_is_refused(fields: Any, param: str) -> None:
    """Several answers, content that is elsewhere, speech."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(**fields))

    assert param == caught.value.param


def test_newer_models_refuse_sampling() -> None:
    """Nothing of it is sent, all of it is named."""
    one = request(model=NEW, temperature=1, top_p=0.9, top_k=3)

    assert {"model", "max_tokens", "messages"} == set(sent(one))
    assert ["dropped temperature", "dropped top_p", "dropped top_k"] == lost(one)


# ── tools ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (SCHEMA, SCHEMA),
        (None, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
    ],
)
def test_a_tool_has_a_schema_of_an_object(parameters: Json, expected: Json) -> None:
    """Also where the caller's says nothing of it."""
    tool = Tool(name="look", description="Looks.", parameters=parameters)

    assert [{"name": "look", "description": "Looks.", "input_schema": expected}] == sent(request(tools=(tool,)))[
        "tools"
    ]


def test_a_union_at_the_root_becomes_an_object() -> None:
    """It is refused there; the model still reads it in the description."""
    union = {"anyOf": [SCHEMA, {"type": "object", "properties": {"zip": {"type": "string"}}}], "description": "Where."}
    one = request(tools=(Tool(name="look", parameters=union, at="tools[0].function"),))
    schema = sent(one)["tools"][0]["input_schema"]

    assert ({"city", "zip"}, "object") == (set(schema["properties"]), schema["type"])
    assert schema["description"].startswith("Where. (anyOf: [")
    assert ["approximated tools[0].function.parameters.anyOf"] == lost(one)


def test_names_of_tools_fit_everywhere() -> None:
    """In the list, the choice and the history."""
    tool = Tool(name="weather.get", parameters=SCHEMA)
    choice = ToolChoice(mode="required", names=("weather.get",))
    body = sent(request(user(), assistant(call("weather.get")), result(), tools=(tool,), tool_choice=choice))

    assert {"isthmus_weather-2e-get"} == {
        body["tools"][0]["name"],
        body["tool_choice"]["name"],
        body["messages"][1]["content"][0]["name"],
    }


def test_strict_tools() -> None:
    """Where the model checks arguments the schema is closed; elsewhere strictness is dropped."""
    strict = Tool(name="look", parameters={**SCHEMA, "minProperties": 1}, strict=True, at="tools[0].function")
    tool = sent(request(tools=(strict,)))["tools"][0]

    assert (True, False) == (tool["strict"], tool["input_schema"]["additionalProperties"])
    assert ["approximated tools[0].function.parameters.minProperties"] == lost(request(tools=(strict,)))
    assert ["dropped tools[0].function.strict"] == lost(request(tools=(strict,), model=OLD))


def test_tools_that_are_not_functions() -> None:
    """Tools of another provider are dropped, custom tools refused, schemas of results dropped."""
    search = ServerTool(dialect="gemini", kind="googleSearch", raw={}, at="tools[0]")
    with_response = Tool(name="look", response={"type": "object"}, at="tools[0]")

    assert ["dropped tools[0]"] == lost(request(tools=(search,)))
    assert ["dropped tools[0].response"] == lost(request(tools=(with_response,)))
    with pytest.raises(UnsupportedParameter):
        sent(request(tools=(Tool(name="sh", kind="custom"),)))


def test_a_cache_mark_on_a_tool() -> None:
    """It counts among the marks as the first of them."""
    marked = Tool(name="look", cache=CacheMark(at="t"))
    texts = [Text(text=str(i), cache=CacheMark(at=f"m{i}")) for i in range(4)]

    assert "cache_control" in sent(request(tools=(marked,)))["tools"][0]
    assert ["dropped t"] == lost(request(user("", *texts), tools=(marked,)))


def test_calls_of_the_past_want_their_tools_described() -> None:
    """A history with calls is refused without tools: they are described, and may not be called."""
    one = request(user(), assistant(call("look")), result())
    body = sent(one)

    assert (["look"], {"type": "none"}) == ([tool["name"] for tool in body["tools"]], body["tool_choice"])
    assert ["invented tools"] == lost(one)


@pytest.mark.parametrize(
    ("choice", "single", "model", "expected", "losses"),
    [
        (ToolChoice(mode="auto"), None, OLD, {"type": "auto"}, []),
        (ToolChoice(mode="none"), False, OLD, {"type": "none"}, []),
        (ToolChoice(mode="required"), None, OLD, {"type": "any"}, []),
        (ToolChoice(mode="required", names=("look",)), None, OLD, {"type": "tool", "name": "look"}, []),
        (ToolChoice(mode="required", names=("look", "see")), None, OLD, {"type": "any"}, ["approximated tool_choice"]),
        (ToolChoice(mode="auto", names=("look",)), None, OLD, {"type": "auto"}, ["approximated tool_choice"]),
        (ToolChoice(mode="auto", validated=True), None, OLD, {"type": "auto"}, ["approximated tool_choice"]),
        (ToolChoice(mode="required"), None, NEWEST, {"type": "auto"}, ["approximated tool_choice"]),
        (None, False, OLD, {"type": "auto", "disable_parallel_tool_use": True}, []),
        (ToolChoice(mode="required"), False, OLD, {"type": "any", "disable_parallel_tool_use": True}, []),
        (None, True, OLD, None, []),
        (None, None, OLD, None, []),
    ],
)
def test_choices(choice: ToolChoice | None, single: bool | None, model: str, expected: Json, losses: list[str]) -> None:
    """Which tools the model calls, and whether several at once."""
    one = request(model=model, tools=(LOOK,), tool_choice=choice, parallel_tool_calls=single)

    assert expected == sent(one).get("tool_choice")
    assert losses == lost(one)


def test_choices_without_tools() -> None:
    """There is nothing to choose from."""
    one = request(tool_choice=ToolChoice(mode="required"), parallel_tool_calls=False)

    assert ["dropped tool_choice", "dropped parallel_tool_calls"] == lost(one)


# ── the form of the answer ─────────────────────────────────────────────────────────────


def test_a_schema_on_models_that_keep_to_one() -> None:
    """Objects are closed, what is not known moves into descriptions and is named."""
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        },
        "additionalProperties": {"type": "string"},
    }
    one = request(response_format=ResponseFormat(kind="json_schema", schema=schema, at="response_format.json_schema"))
    written = sent(one)["output_config"]["format"]["schema"]

    assert written["additionalProperties"] is False
    assert "minimum: 0" in written["properties"]["age"]["description"]
    assert "minItems: 2" in written["properties"]["tags"]["description"]
    assert {
        "approximated response_format.json_schema.schema.additionalProperties",
        "approximated response_format.json_schema.schema.properties.age.minimum",
        "approximated response_format.json_schema.schema.properties.tags.minItems",
    } == set(lost(one))


def test_a_closed_schema_goes_as_it_is() -> None:
    """Nothing is lost; its description stands in the schema."""
    closed = {**SCHEMA, "additionalProperties": False}
    wanted = ResponseFormat(kind="json_schema", schema=closed, description="A city.")
    one = request(response_format=wanted, model=NEW)

    assert {**closed, "description": "A city."} == sent(one)["output_config"]["format"]["schema"]
    assert [] == lost(one)


def test_a_schema_on_older_models_is_a_tool() -> None:
    """The model is made to call it; beside tools of the caller it may call any."""
    alone = sent(request(model=OLD, response_format=FORMAT))
    assert ([ANSWER_TOOL], {"type": "tool", "name": ANSWER_TOOL}) == (
        [tool["name"] for tool in alone["tools"]],
        alone["tool_choice"],
    )
    assert ["approximated response_format"] == lost(request(model=OLD, response_format=FORMAT))

    beside = sent(request(model=OLD, response_format=FORMAT, tools=(LOOK,)))
    assert (["look", ANSWER_TOOL], {"type": "any"}) == (
        [tool["name"] for tool in beside["tools"]],
        beside["tool_choice"],
    )


@pytest.mark.parametrize(
    ("wanted", "model"),
    [
        (ResponseFormat(kind="json_object"), NEW),
        (ResponseFormat(kind="json_schema", schema={"type": "array"}), OLD),
    ],
)
def test_where_nothing_else_helps_the_model_is_told(wanted: ResponseFormat, model: str) -> None:
    """An instruction in the system text, and named."""
    one = request(model=model, response_format=wanted)

    assert "Answer with one JSON" in sent(one)["system"]
    assert ["approximated response_format"] == lost(one)


def test_text_is_nothing_special() -> None:
    """It is what there is anyway."""
    assert {"model", "max_tokens", "messages"} == set(sent(request(response_format=ResponseFormat(kind="text"))))


# ── thinking ───────────────────────────────────────────────────────────────────────────


def effort(word: str, show: bool | None = None) -> ReasoningConfig:
    return ReasoningConfig(effort=word, show=show)


@pytest.mark.parametrize(
    ("model", "wanted", "thinking", "word", "losses"),
    [
        (NEW, effort("high"), {"type": "adaptive", "display": "summarized"}, "high", []),
        (NEW, effort("high", False), {"type": "adaptive", "display": "omitted"}, "high", []),
        (NEW, effort("minimal"), {"type": "adaptive", "display": "summarized"}, "low", ["approximated reasoning"]),
        (NEW, effort("xhigh"), {"type": "adaptive", "display": "summarized"}, "xhigh", []),
        (NEW, effort("none"), {"type": "disabled"}, None, []),
        (NEW, ReasoningConfig(budget=-1), {"type": "adaptive", "display": "summarized"}, None, []),
        (
            NEW,
            ReasoningConfig(budget=9000),
            {"type": "adaptive", "display": "summarized"},
            "high",
            ["approximated reasoning"],
        ),
        (NEWEST, effort("none"), {"type": "adaptive", "display": "summarized"}, "low", ["approximated reasoning"]),
        ("claude-opus-4-6", ReasoningConfig(budget=9000), {"type": "enabled", "budget_tokens": 9000}, None, []),
        (OLD, effort("none"), None, None, []),
        (OLD, effort("low"), {"type": "enabled", "budget_tokens": 2048}, None, []),
        (OLD, effort("low", False), {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}, None, []),
        (OLD, ReasoningConfig(budget=5000), {"type": "enabled", "budget_tokens": 5000}, None, []),
        (OLD, ReasoningConfig(budget=10), {"type": "enabled", "budget_tokens": 1024}, None, ["approximated reasoning"]),
        (OLD, ReasoningConfig(budget=0), None, None, []),
        (OLD, ReasoningConfig(budget=-1), {"type": "enabled", "budget_tokens": 8192}, None, ["approximated reasoning"]),
        (OLD, effort("max"), {"type": "enabled", "budget_tokens": 15000}, None, ["approximated reasoning"]),
        (OLD, effort("vast"), None, None, ["dropped reasoning"]),
        (OLD, ReasoningConfig(show=True), None, None, ["dropped show_reasoning"]),
        ("claude-3-5-haiku-latest", effort("high"), None, None, ["dropped reasoning"]),
    ],
)
def test_thinking(model: str, wanted: ReasoningConfig, thinking: Json, word: str | None, losses: list[str]) -> None:
    """By effort where models decide themselves, in tokens where they do not; below the limit always."""
    limit = 8192 if "3-5" in model else 20000
    one = request(model=model, reasoning=wanted, max_output_tokens=limit)
    body = sent(one)

    assert (thinking, word) == (body.get("thinking"), body.get("output_config", {}).get("effort"))
    assert losses == lost(one)


def test_too_small_a_limit_leaves_no_thinking() -> None:
    """The least that can be thought is more than the whole answer may have."""
    assert ["dropped reasoning"] == lost(request(model=OLD, reasoning=effort("low"), max_output_tokens=1000))


def test_effort_and_schema_stand_together() -> None:
    """Both are fields of output_config."""
    one = request(model=NEW, reasoning=effort("low"), response_format=FORMAT)

    assert {"effort", "format"} == set(sent(one)["output_config"])


@pytest.mark.parametrize(
    ("sampling", "losses"),
    [
        ({"temperature": 1}, []),
        ({"temperature": 0.5}, ["dropped temperature"]),
        ({"top_k": 5}, ["dropped top_k"]),
        ({"top_p": 0.97}, []),
        ({"top_p": 0.5}, ["dropped top_p"]),
    ],
)
def test_sampling_beside_thinking(sampling: Any, losses: list[str]) -> None:
    """A model that thinks takes next to none of it."""
    assert losses == lost(request(model=OLD, reasoning=effort("low"), max_output_tokens=5000, **sampling))


def test_where_thinking_in_tokens_is_not_possible() -> None:
    """Forced tools, a message to go on with, a tool turn whose signed thinking is gone: the model does not think."""
    forced = request(
        model=OLD,
        reasoning=effort("low"),
        max_output_tokens=5000,
        tools=(LOOK,),
        tool_choice=ToolChoice(mode="required"),
    )
    prefilled = request(user(), assistant(Text(text="So")), model=OLD, reasoning=effort("low"), max_output_tokens=5000)
    unsigned = request(
        user(), assistant(call()), result(), model=OLD, reasoning=effort("low"), max_output_tokens=5000, tools=(LOOK,)
    )
    for one in (forced, prefilled, unsigned):
        assert "thinking" not in sent(one)
        assert ["dropped reasoning"] == lost(one)

    thought = Reasoning(text="hm", seal=Seal(value="s", origin="anthropic"))
    signed = request(
        user(),
        assistant(thought, call()),
        result(),
        model=OLD,
        reasoning=effort("low"),
        max_output_tokens=5000,
        tools=(LOOK,),
    )
    assert "thinking" in sent(signed)
