"""What breaks a schema, and what the model is asked then. The check itself is a stand-in: types of fields alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from providers.adherence import Breach, asked_again, breaches, flags, wanted, with_usage_of
from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Message,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

SCHEMA = {"a": "int"}
TOOL = Tool(name="f", parameters=SCHEMA, at="tools[0].function")
HI = (Message(role="user", parts=(Text(text="Hi"),)),)


def check(schema: Mapping[str, Any], value: Any) -> list[str]:
    """A schema of these tests names fields and their types; JSON mode's is `{"type": "object"}`."""
    if schema == {"type": "object"}:
        return [] if isinstance(value, dict) else ["no object"]
    return [f"{key} is no {kind}" for key, kind in schema.items() if type(value.get(key)).__name__ != kind]


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest(dialect="x", model="m", messages=HI, **fields)


def answer(*parts: Any, reason: Any = "stop", index: int = 0) -> Choice:
    return Choice(index=index, parts=parts, finish=Finish(reason=reason))


def call(arguments: str, name: str = "f", id: str = "c1") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def found(request: ChatRequest, *choices: Choice) -> list[tuple[str, str]]:
    return [(b.field, b.reasons[0]) for b in breaches(request, ChatResponse(choices=choices), check)]


FORMAT = asked(response_format=ResponseFormat(kind="json_schema", schema=SCHEMA, at="response_format.json_schema"))
MODE = asked(response_format=ResponseFormat(kind="json_object"))
ALONE = asked(response_format=ResponseFormat(kind="json_schema", schema=SCHEMA, at="format", form={"schema": "format"}))
TOOLS = asked(tools=(TOOL, Tool(name="free"), Tool(name="own", kind="custom", parameters=SCHEMA)))


def test_what_is_worth_looking_at() -> None:
    """Formats but plain text, and tools that say what they take."""
    text = asked(response_format=ResponseFormat(kind="text"))

    assert [True, True, True, False, False] == [wanted(one) for one in (FORMAT, MODE, TOOLS, text, asked())]
    assert not wanted(asked(tools=(Tool(name="free"),)))


@pytest.mark.parametrize(
    ("request_", "choice", "expected"),
    [
        (FORMAT, answer(Text(text='{"a": 1}')), []),
        (FORMAT, answer(Text(text='{"a"'), Text(text=": 1}")), []),
        (FORMAT, answer(Text(text='{"a": "x"}')), [("response_format.json_schema.schema", "a is no int")]),
        (FORMAT, answer(Text(text="Sure! {}")), [("response_format.json_schema.schema", "it is not JSON")]),
        (FORMAT, answer(), [("response_format.json_schema.schema", "it is not JSON")]),
        (
            FORMAT,
            answer(Text(text='{"a": '), reason="length"),
            [("response_format.json_schema.schema", "it is not JSON")],
        ),
        (FORMAT, answer(Text(text="I cannot"), reason="refusal"), []),
        (FORMAT, answer(reason="content_filter"), []),
        (FORMAT, answer(Text(text="[" * 100_000)), [("response_format.json_schema.schema", "it is not JSON")]),
        (ALONE, answer(Text(text="nonsense")), [("format", "it is not JSON")]),
        (MODE, answer(Text(text="[]")), [("response_format", "no object")]),
        (MODE, answer(Text(text="{}")), []),
        (TOOLS, answer(call('{"a": 1}')), []),
        (TOOLS, answer(call('{"a": null}')), [("tools[0].function.parameters", "a is no int")]),
        (TOOLS, answer(call("")), [("tools[0].function.parameters", "a is no int")]),
        (TOOLS, answer(call("{a: 1}")), [("tools[0].function.parameters", "it is not JSON")]),
        (TOOLS, answer(call("nonsense", name="free")), []),
        (TOOLS, answer(call("nonsense", name="own")), []),
        (TOOLS, answer(call("nonsense", name="unknown")), []),
        (TOOLS, answer(Text(text="Hello")), []),
    ],
)
def test_what_breaks_a_schema(request_: ChatRequest, choice: Choice, expected: list[tuple[str, str]]) -> None:
    """Texts where a format is asked for, arguments where a tool says what it takes; not what ended otherwise."""
    assert expected == found(request_, choice)


def test_a_remark_beside_a_call_is_no_answer() -> None:
    """Only the last answer has the format that was asked for."""
    both = asked(response_format=FORMAT.response_format, tools=(TOOL,))

    assert [] == found(both, answer(Text(text="Let me see."), call('{"a": 1}')))


def test_each_choice_is_looked_at_and_each_field_named_once() -> None:
    """Two choices that break one schema are one loss."""
    broken = ChatResponse(choices=(answer(Text(text="x")), answer(Text(text='{"a": ""}'), index=1)))
    both = breaches(FORMAT, broken, check)

    assert [0, 1] == [breach.choice for breach in both]
    assert [("response_format.json_schema.schema", "approximated")] == [(loss.field, loss.kind) for loss in flags(both)]


def again(request: ChatRequest, *choices: Choice) -> tuple[Message, ...] | None:
    """What is added to the conversation."""
    response = ChatResponse(choices=choices)
    asked_ = asked_again(request, response, breaches(request, response, check))
    return None if asked_ is None else asked_.messages[1:]


def test_the_model_is_told_what_was_wrong() -> None:
    """Its own answer, then the complaint: for a text a message, for calls a result each."""
    text = answer(Text(text='{"a": ""}'))
    calls = answer(call('{"a": ""}'), call('{"a": 1}', id="c2"))
    after_text, after_calls = again(FORMAT, text), again(TOOLS, calls)

    assert after_text is not None and after_calls is not None
    assert [("assistant", text.parts), ("user", after_text[1].parts)] == [(m.role, m.parts) for m in after_text]
    assert "- a is no int" in after_text[1].parts[0].text  # type: ignore[union-attr]
    assert ["assistant", "tool", "tool"] == [message.role for message in after_calls]
    results = [message.parts[0] for message in after_calls[1:]]
    assert [("c1", True), ("c2", True)] == [(r.call_id, r.is_error) for r in results if isinstance(r, ToolResult)]
    assert "a is no int" in results[0].parts[0].text  # type: ignore[union-attr]
    assert "not run" in results[1].parts[0].text  # type: ignore[union-attr]


def test_where_asking_again_is_no_help() -> None:
    """Several answers, one that was cut short, one that fits."""
    broken = answer(Text(text="x"))

    assert again(FORMAT, broken, broken) is None
    assert again(FORMAT, answer(Text(text="x"), reason="length")) is None
    assert again(FORMAT, answer(Text(text='{"a": 1}'))) is None
    assert asked_again(FORMAT, ChatResponse(), [Breach(field="x", reasons=("y",), choice=0)]) is None


def test_both_answers_are_paid_for() -> None:
    """Counts are added where both say them, and the total is theirs; what one of them names is part of the sum."""
    first = ChatResponse(usage=Usage(input_tokens=5, output_tokens=2, reasoning_tokens=1, raw={"x": 1}))
    second = ChatResponse(usage=Usage(input_tokens=9, output_tokens=3, total_tokens=12))

    expected = Usage(input_tokens=14, output_tokens=5, total_tokens=19, reasoning_tokens=1)
    assert expected == with_usage_of(first, second).usage
    assert second == with_usage_of(ChatResponse(), second)
