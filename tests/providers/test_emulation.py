"""JSON answers and tools in words, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Media,
    Message,
    Reasoning,
    ResponseFormat,
    ServerTool,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.canonical.loss import Losses
from providers.dialect import Traits
from providers.emulation import instructed, needed, understood

BOTH: frozenset[Any] = frozenset({"json_schema", "tools"})
TOOLS: frozenset[Any] = frozenset({"tools"})
FORMAT: frozenset[Any] = frozenset({"json_schema"})
SCHEMA = {"type": "object", "required": ["a"]}
WISH = ResponseFormat(kind="json_schema", schema=SCHEMA, at="response_format.json_schema")
F = Tool(name="f", description="Does f.", parameters={"type": "object"})
G = Tool(name="g")


def user(text: str) -> Message:
    return Message(role="user", parts=(Text(text=text),))


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect="x", model="m", messages=messages or (user("Hi"),), **fields)


def in_words(request: ChatRequest, what: frozenset[Any]) -> tuple[ChatRequest, list[str]]:
    losses: Losses = []
    return instructed(request, what, losses), [f"{loss.field}={loss.kind}" for loss in losses]


def text_of(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def answered(text: str, request: ChatRequest, what: frozenset[Any], reason: Any = "stop") -> Choice:
    choice = Choice(parts=(Reasoning(text="Hm."), Text(text=text)), finish=Finish(reason=reason, raw="stop"))
    return understood(request, ChatResponse(id="r1", choices=(choice,)), what).choices[0]


@pytest.mark.parametrize(
    ("request_", "traits", "expected"),
    [
        (asked(response_format=WISH, tools=(F,)), Traits(rejects=frozenset({"tools", "response_format"})), BOTH),
        (asked(response_format=WISH, tools=(F,)), Traits(ignores=frozenset({"tools"})), TOOLS),
        (asked(response_format=WISH, tools=(F,)), Traits(), frozenset()),
        (
            asked(response_format=ResponseFormat(kind="text")),
            Traits(rejects=frozenset({"response_format"})),
            frozenset(),
        ),
        (asked(), Traits(rejects=frozenset({"tools", "response_format"})), frozenset()),
        (
            asked(user("Hi"), Message(role="tool", parts=(ToolResult(call_id="c"),))),
            Traits(rejects=frozenset({"tools"})),
            TOOLS,
        ),
    ],
)
def test_what_is_needed(request_: ChatRequest, traits: Traits, expected: frozenset[Any]) -> None:
    """What the caller asks for, and the row rejects or ignores, and the route lets be."""
    assert expected == needed(request_, BOTH, traits)
    assert frozenset() == needed(request_, frozenset(), traits)


def test_a_schema_in_words() -> None:
    """Behind what the model is told first; the format itself is gone, and named."""
    first = Message(role="system", parts=(Text(text="Be"), Text(text="brief.")), form={"content": "list"})
    told, losses = in_words(asked(first, user("Hi"), response_format=WISH), FORMAT)
    alone, _ = in_words(asked(response_format=ResponseFormat(kind="json_object")), FORMAT)

    assert told.response_format is None
    assert ["response_format.json_schema=approximated"] == losses
    assert ["system", "user"] == [message.role for message in told.messages] == [m.role for m in alone.messages]
    assert text_of(told.messages[0]).startswith("Be\nbrief.\n\nAnswer with JSON")
    assert json.dumps(SCHEMA, separators=(",", ":")) in text_of(told.messages[0])
    assert 1 == len(told.messages[0].parts)
    assert "one JSON object" in text_of(alone.messages[0])


def test_tools_in_words() -> None:
    """Each with what it takes; what is no function stays, for the target to refuse."""
    search = ServerTool(dialect="x", kind="search", raw={})
    told, losses = in_words(asked(tools=(F, search, G), parallel_tool_calls=False), TOOLS)
    words = text_of(told.messages[0])

    assert ((search,), None, None) == (told.tools, told.tool_choice, told.parallel_tool_calls)
    assert ["tools=approximated", "parallel_tool_calls=dropped"] == losses
    assert '{"name":"f","description":"Does f.","parameters":{"type":"object"}}\n{"name":"g"}' in words
    assert "Else answer as usual" in words


@pytest.mark.parametrize(
    ("choice", "has", "lacks"),
    [
        (ToolChoice(mode="required"), "You must call", "Else answer"),
        (ToolChoice(mode="required", names=("g",)), '{"name":"g"}', '"f"'),
        (ToolChoice(mode="auto", names=("f",)), "Else answer", '"g"'),
    ],
)
def test_the_choice_in_words(choice: ToolChoice, has: str, lacks: str) -> None:
    """Whether it must call, and what."""
    words = text_of(in_words(asked(tools=(F, G), tool_choice=choice), TOOLS)[0].messages[0])

    assert has in words and lacks not in words


def test_no_choice_needs_no_words() -> None:
    """`none`: the tools are not told of."""
    told, _ = in_words(asked(tools=(F,), tool_choice=ToolChoice(mode="none")), TOOLS)

    assert ((user("Hi"),), ()) == (told.messages, told.tools)


def test_history_in_words() -> None:
    """Calls as the model was told to write them, results as a user's message, media beside them."""
    image = Media(kind="image", url="https://x.example/a.png")
    calls = (ToolCall(id="c1", name="f", arguments='{"a":1}'), ToolCall(id="c2", name="g", arguments="{bad"))
    turn = Message(role="assistant", parts=(Text(text="Let me see."), *calls))
    results = Message(
        role="tool",
        parts=(
            ToolResult(call_id="c1", name="f", parts=(Text(text="4"),)),
            ToolResult(call_id="c2", parts=(image, Text(text="no")), is_error=True),
        ),
    )
    told = in_words(asked(user("Hi"), turn, results), TOOLS)[0].messages

    assert ["user", "assistant", "user"] == [message.role for message in told]
    assert 'Let me see.\n{"tool_calls":[{"name":"f","arguments":{"a":1}},{"name":"g","arguments":"{bad"}]}' == text_of(
        told[1]
    )
    assert "Result of f:\n4\nResult of c2 (an error):\nno" == text_of(told[2])
    assert image in told[2].parts


CALL = '{"tool_calls": [{"name": "f", "arguments": {"a": [1, "x}"]}}]}'


@pytest.mark.parametrize(
    "text", [CALL, f"```json\n{CALL}\n```", f"```\n{CALL}```", f"\n {CALL} \n", f"{CALL}\n\nI call f."]
)
def test_calls_are_understood(text: str) -> None:
    """However they are wrapped: parts, ids, finish as of a model that has tools; thinking stays."""
    choice = answered(text, asked(tools=(F,)), TOOLS)

    call = choice.parts[-1]
    assert isinstance(call, ToolCall)
    assert [Reasoning, ToolCall] == [type(part) for part in choice.parts]
    assert ("f", {"a": [1, "x}"]}, True) == (call.name, json.loads(call.arguments), call.invented_id)
    assert Finish(reason="tool_calls") == choice.finish


def test_talk_before_a_call_is_kept() -> None:
    """Ids tell calls apart, and are the same for the same answer."""
    two = '{"tool_calls": [{"name": "f"}, {"name": "f", "arguments": "{\\"a\\": 1}"}]}'
    parts = answered(f"Let me see.\n```json\n{two}\n```", asked(tools=(F,)), TOOLS).parts

    assert Text(text="Let me see.") == parts[1]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert ["{}", '{"a": 1}'] == [call.arguments for call in calls]
    assert 2 == len({call.id for call in calls})
    assert parts == answered(f"Let me see.\n```json\n{two}\n```", asked(tools=(F,)), TOOLS).parts


@pytest.mark.parametrize(
    "text",
    [
        "Hello {you}",
        '{"tool_calls": []}',
        '{"tool_calls": [{"name": "unknown", "arguments": {}}]}',
        '{"tool_calls": [{"name": "f"}, 3]}',
        '{"tool_calls": [{"name": ["f"]}]}',
        '{"tool_calls": [{"name": {"f": 1}}]}',
        '{"tool_calls": {"name": "f"}}',
        '{"tool_calls": [{"name": "f", "arguments": {"a": 1}}',
        "[1, 2]",
        "{" * 100_000,
        "",
    ],
)
def test_other_texts_stay_texts(text: str) -> None:
    """What is no call of these tools is an answer."""
    choice = answered(text, asked(tools=(F,)), TOOLS)

    assert ((Reasoning(text="Hm."), Text(text=text)), "stop") == (
        choice.parts,
        choice.finish.reason if choice.finish else "",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('Sure!\n```json\n{"a": 1}\n```\nThere.', '{"a": 1}'),
        ("```\n[1]\n```", "[1]"),
        ("No.", "No."),
        ('{"a": ', '{"a": '),
    ],
)
def test_json_is_taken_out_of_the_talk_around_it(text: str, expected: str) -> None:
    """Whether it fits is for others to say."""
    choice = answered(text, asked(response_format=WISH), FORMAT)

    assert expected == "".join(part.text for part in choice.parts if isinstance(part, Text))


@given(st.text(alphabet='{}[]",:ab1 \n`', max_size=60))
def test_nothing_a_model_says_makes_it_raise(text: str) -> None:
    """Any text is a text, a JSON text, or calls."""
    choice = answered(text, asked(response_format=WISH, tools=(F,)), BOTH)

    assert {type(part) for part in choice.parts} <= {Reasoning, Text, ToolCall}


@given(
    st.dictionaries(
        st.text(max_size=5), st.recursive(st.none() | st.booleans() | st.text(max_size=5), st.lists, max_leaves=5)
    )
)
def test_what_is_written_is_understood(arguments: dict[str, Any]) -> None:
    """A call of the history, read as an answer, is the same call."""
    call = ToolCall(id="c", name="f", arguments=json.dumps(arguments))
    told = in_words(asked(Message(role="assistant", parts=(call,)), tools=(F,)), TOOLS)[0]

    again = answered(text_of(told.messages[-1]), asked(tools=(F,)), TOOLS).parts[-1]

    assert isinstance(again, ToolCall)
    assert arguments == json.loads(again.arguments)
