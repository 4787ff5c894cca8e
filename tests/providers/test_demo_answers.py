"""The demo upstream's words: the same request, the same answer; each feature can be seen to work."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Media,
    Message,
    Reasoning,
    ReasoningConfig,
    ResponseFormat,
    ServerTool,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.canonical.stream import TextDelta, check, fold
from providers.demo_answers import INTRODUCTION, MODEL, MOST_CHOICES, answer, events, example, spoken_at

WEATHER = Tool(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"],
    },
)
TIME = Tool(name="get_time", parameters={"type": "object", "properties": {}})


def said(*parts: Any, role: Any = "user") -> Message:
    return Message(role=role, parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts))


def ask(*messages: Message, **more: Any) -> ChatResponse:
    request = ChatRequest(dialect="test", model="demo", messages=messages or (said("Hello there"),), **more)
    return answer(request, b"body", 1_800_000_000)


def text(response: ChatResponse) -> str:
    return "".join(part.text for part in response.choices[0].parts if isinstance(part, Text))


def reason(response: ChatResponse) -> str | None:
    finish = response.choices[0].finish
    return finish.reason if finish else None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/completions", ("openai.chat", {})),
        ("/v1/messages", ("anthropic.messages", {"task": "messages"})),
        ("/v1/messages/count_tokens", ("anthropic.messages", {"task": "count_tokens"})),
        ("/responses", ("openai.responses", {})),
        (
            "/v1beta/models/isthmus-demo:generateContent",
            ("gemini", {"model": "isthmus-demo", "task": "generateContent"}),
        ),
        ("/v1/models/a%2Fb:c:countTokens", ("gemini", {"model": "a/b:c", "task": "countTokens"})),
        ("/v1beta/models/isthmus-demo", None),
        ("/embeddings", ("openai.embeddings", {})),
        ("", None),
    ],
)
def test_a_path_tells_the_dialect(path: str, expected: Any) -> None:
    """The demo is called where the real ones are, and knows by that what is spoken."""
    assert expected == spoken_at(path)


def test_repeats_what_was_said() -> None:
    """The last text of the user, with a sentence that says who speaks; finish, usage, model, id are there."""
    response = ask(said("Be nice", role="system"), said("one"), said("yes", role="assistant"), said("two"))

    assert f"{INTRODUCTION} You said: two" == text(response)
    assert ("stop", MODEL, 1_800_000_000) == (reason(response), response.model, response.created)
    assert response.id and response.id.startswith("demo-")
    usage = response.usage
    assert usage and usage.input_tokens and usage.output_tokens
    assert usage.input_tokens + usage.output_tokens == usage.total_tokens


def test_the_same_question_has_the_same_answer() -> None:
    """Nothing is random; another body has another id."""
    request = ChatRequest(dialect="test", model="demo", messages=(said("Hi"),), tools=(WEATHER,))

    assert answer(request, b"a", 1) == answer(request, b"a", 1)
    assert answer(request, b"a", 1).id != answer(request, b"b", 1).id


def test_an_echo_is_short() -> None:
    """A book is not sent back whole."""
    assert len(text(ask(said("word " * 10_000)))) < 600


@pytest.mark.parametrize(
    ("tools", "choice", "called"),
    [
        ((WEATHER, TIME), None, "get_weather"),
        ((WEATHER, TIME), ToolChoice(mode="auto"), "get_weather"),
        ((WEATHER, TIME), ToolChoice(mode="required", names=("get_time",)), "get_time"),
        ((WEATHER, TIME), ToolChoice(mode="none"), None),
        ((ServerTool(dialect="x", kind="search", raw={}), TIME), None, "get_time"),
        ((), None, None),
    ],
)
def test_calls_a_tool(tools: Any, choice: ToolChoice | None, called: str | None) -> None:
    """The one that is named, else the first; none where none may be."""
    response = ask(said("Paris?"), tools=tools, tool_choice=choice)
    calls = [part.name for part in response.choices[0].parts if isinstance(part, ToolCall)]

    assert ([called] if called else []) == calls
    assert ("tool_calls" if called else "stop") == reason(response)


def test_arguments_fit_the_tool() -> None:
    """They are made from the tool's schema."""
    part = ask(said("Paris?"), tools=(WEATHER,)).choices[0].parts[0]

    assert isinstance(part, ToolCall)
    assert {"city": "Paris?", "unit": "C"} == json.loads(part.arguments)


@pytest.mark.parametrize("tool", [Tool(name="f"), TIME, Tool(name="f", parameters={})])
def test_a_tool_without_parameters_is_called_with_none(tool: Tool) -> None:
    """An empty object, never null or nothing."""
    part = ask(tools=(tool,)).choices[0].parts[0]

    assert isinstance(part, ToolCall)
    assert json.loads(part.arguments) in ({}, "Hello there") and part.arguments == "{}"


def test_a_custom_tool_gets_text() -> None:
    """Its input is free text."""
    part = ask(tools=(Tool(name="shell", kind="custom"),)).choices[0].parts[0]

    assert isinstance(part, ToolCall)
    assert ("custom", "Hello there") == (part.kind, part.arguments)


def test_tells_what_a_tool_returned() -> None:
    """After a result the tool is not called again; each result is named by its tool."""
    call = ToolCall(id="c1", name="get_weather", arguments="{}")
    response = ask(
        said("Weather?"),
        said(call, role="assistant"),
        said(ToolResult(call_id="c1", parts=(Text(text="18 °C"),)), role="tool"),
        said(ToolResult(call_id="c2", name="get_time", parts=(Text(text="noon"),)), role="tool"),
        tools=(WEATHER,),
    )

    assert f"{INTRODUCTION} The tool get_weather returned: 18 °C The tool get_time returned: noon" == text(response)
    assert "stop" == reason(response)


def test_results_of_earlier_turns_are_over() -> None:
    """Once the model has answered, a tool may be called again."""
    response = ask(
        said("Weather?"),
        said(ToolCall(id="c1", name="get_weather", arguments="{}"), role="assistant"),
        said(ToolResult(call_id="c1", parts=(Text(text="18"),)), role="tool"),
        said("It is 18.", role="assistant"),
        said("And now?"),
        tools=(WEATHER,),
    )

    assert "tool_calls" == reason(response)


def test_describes_media() -> None:
    """Kind, type and size of what was sent inline."""
    image = Media(kind="image", mime_type="image/png", base64="aGVsbG8=")
    linked = Media(kind="file", url="https://example.com/a.pdf")

    assert "one image (image/png, 5 bytes)" in text(ask(said("What is this?", image)))
    assert "one file (unknown type)" in text(ask(said(linked)))


@pytest.mark.parametrize(("asked", "given"), [(None, 1), (1, 1), (3, 3), (500, MOST_CHOICES)])
def test_gives_as_many_choices_as_asked(asked: int | None, given: int) -> None:
    """Numbered from 0, and different."""
    response = ask(n=asked)

    assert list(range(given)) == [choice.index for choice in response.choices]
    assert given == len({choice.parts for choice in response.choices})


def test_stops_at_the_limit() -> None:
    """A small limit on tokens cuts the text: finish length."""
    response = ask(max_output_tokens=2)

    assert (INTRODUCTION[:8], "length") == (text(response), reason(response))
    assert response.usage and response.usage.output_tokens == 2


def test_stops_at_a_stop_sequence() -> None:
    """The text ends before it, and the answer says which one it was."""
    finish = ask(stop=("said", "demo")).choices[0].finish

    assert "This is Isthmus's built-in " == text(ask(stop=("said", "demo")))
    assert finish and ("stop", "demo") == (finish.reason, finish.stop_sequence)


@pytest.mark.parametrize(
    ("config", "thinks"),
    [
        (None, False),
        (ReasoningConfig(effort="none"), False),
        (ReasoningConfig(budget=0), False),
        (ReasoningConfig(effort="low"), True),
        (ReasoningConfig(budget=-1), True),
    ],
)
def test_thinks_when_asked(config: ReasoningConfig | None, thinks: bool) -> None:
    """Some reasoning stands before the answer, and is counted."""
    response = ask(reasoning=config)

    assert thinks is isinstance(response.choices[0].parts[0], Reasoning)
    assert response.usage and thinks is bool(response.usage.reasoning_tokens)


# ── schemas ────────────────────────────────────────────────────────────────────────────

SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "boolean"}},
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    },
    "list": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 4},
    "fixed list": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
    "no items": {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    "ref": {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object", "properties": {"x": {"const": 3}}}}},
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next", "children"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "nullable": {"type": ["null", "integer"]},
    "null": {"type": "null"},
    "enum": {"enum": ["red", "green"]},
    "bounds": {"type": "integer", "minimum": 5, "maximum": 9, "multipleOf": 4},
    "open bounds": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
    "below": {"type": "integer", "maximum": -3},
    "long": {"type": "string", "minLength": 200},
    "short": {"type": "string", "maxLength": 2},
    "date": {"type": "string", "format": "date-time"},
    "one of": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "all of": {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}]},
    "no type": {"properties": {"a": {"items": {"type": "boolean"}}}, "required": ["a"]},
    "anything": {},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_fits_its_schema(name: str) -> None:
    """An answer to a JSON schema is JSON that validates against it."""
    schema = SCHEMAS[name]
    response = ask(response_format=ResponseFormat(kind="json_schema", schema=schema, name="x"))

    jsonschema.validate(json.loads(text(response)), schema)


def test_json_mode_gives_an_object() -> None:
    """Without a schema, any object."""
    assert isinstance(json.loads(text(ask(response_format=ResponseFormat(kind="json_object")))), dict)


_KEYWORDS = tuple(
    word
    for line in (
        ["type", "properties", "required", "items", "prefixItems", "minItems", "maxItems", "enum", "const"],
        ["default", "$ref", "$defs", "anyOf", "oneOf", "allOf", "minimum", "maximum", "exclusiveMinimum"],
        ["exclusiveMaximum", "multipleOf", "minLength", "maxLength", "format"],
    )
    for word in line
)
_WORDS = st.sampled_from(["string", "object", "array", "integer", "number", "boolean", "null", "#", "#/$defs/a", "x"])
_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYWORDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(_KEYWORDS), _ODD, max_size=5))
def test_odd_schemas_do_no_harm(schema: Any) -> None:
    """Whatever is sent as a schema, there is an answer that JSON can hold."""
    json.dumps(example(schema, "text"), allow_nan=False)


def test_a_wide_recursive_schema_ends_soon() -> None:
    """Recursion through many properties does not grow without bound."""
    names = [f"p{n}" for n in range(8)]
    schema = {"type": "object", "properties": {name: {"$ref": "#"} for name in names}, "required": names}

    assert len(json.dumps(example(schema, "text"))) < 200_000


# ── streams ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2},
        {"tools": (WEATHER,)},
        {"reasoning": ReasoningConfig(effort="low")},
        {"max_output_tokens": 0},
    ],
)
def test_a_stream_spells_the_answer(more: dict[str, Any]) -> None:
    """Word by word, by the grammar, and the same in the end."""
    response = ask(**more)
    stream = check(events(response))

    assert response == fold(stream)


def test_a_stream_comes_in_words() -> None:
    """Each word is an event of its own."""
    words = [event.text for event in events(ask(said("a b"))) if isinstance(event, TextDelta)]

    assert [*(f"{word} " for word in f"{INTRODUCTION} You said: a".split()), "b"] == words
