"""Messages, read: images, thinking, calls without ids and the results that belong to them."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Media, Message, Reasoning, Text, ToolCall, ToolResult
from providers.canonical.errors import UnsupportedParameter
from tests.providers.dialects.ollama.speak import PIXEL, decoded, written

CALLS = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g", "arguments": {}}}]


def read(*messages: Any) -> tuple[Message, ...]:
    return decoded({"model": "m", "messages": list(messages)}).messages


def paired(*messages: Any) -> list[tuple[str, str | None]]:
    """(arguments of the call that a result answers, name of the result), of the results behind calls."""
    found = read({"role": "assistant", "tool_calls": CALLS}, *messages)
    calls = {part.id: part.arguments for part in found[0].parts if isinstance(part, ToolCall)}
    results = [part for message in found[1:] for part in message.parts if isinstance(part, ToolResult)]
    return [(calls.get(part.call_id, "?"), part.name) for part in results]


def test_what_stands_in_a_message() -> None:
    """Thinking, text, images of the kind that their bytes say, calls: in this order, each with its place."""
    [message] = read(
        {"role": "assistant", "thinking": "hm", "content": "Hi", "images": [PIXEL, "AAAA"], "tool_calls": CALLS[:1]}
    )
    thinking, text, image, other, call = message.parts

    assert (Reasoning(text="hm", at="messages[0].thinking"), Text(text="Hi", at="messages[0].content")) == (
        thinking,
        text,
    )
    assert isinstance(image, Media) and ("image/png", PIXEL) == (image.mime_type, image.base64)
    assert isinstance(other, Media) and (None, "messages[0].images[1]") == (other.mime_type, other.at)
    assert isinstance(call, ToolCall) and (True, "f", '{"a": 1}') == (call.invented_id, call.name, call.arguments)


def test_arguments_are_kept_as_they_were_written() -> None:
    """Order, white space, long and odd numbers: byte for byte."""
    text = '{"b": 1.0, "a":12345678901234567890, "c": 1e2}'
    call = f'{{"function":{{"name":"f","arguments":{text}}}}}'
    body = f'{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{call}]}}]}}'
    [message] = decoded(body.encode()).messages

    assert [text] == [part.arguments for part in message.parts if isinstance(part, ToolCall)]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([{"content": "1"}, {"content": "2"}], [('{"a": 1}', "f"), ("{}", "g")]),
        ([{"tool_name": "g", "content": "2"}, {"tool_name": "f"}], [("{}", "g"), ('{"a": 1}', "f")]),
        ([{"tool_name": "g", "content": "2"}, {"content": "1"}], [("{}", "g"), ('{"a": 1}', "f")]),
        ([{"name": "g", "content": "2"}], [("{}", "g")]),
        ([{"tool_name": "h", "content": "?"}], [("?", "h")]),
        ([{"content": "1"}, {"content": "2"}, {"content": "3"}], [('{"a": 1}', "f"), ("{}", "g"), ("?", None)]),
    ],
)
def test_results_are_paired_by_name_and_order(results: list[Any], expected: list[Any]) -> None:
    """A name finds the first open call of that name, no name the first open call; what fits none stays alone."""
    assert expected == paired(*({"role": "tool", **one} for one in results))


def test_ids_of_newer_servers_pair_first() -> None:
    """Where calls have ids and results say them, nothing is guessed."""
    calls = [{**call, "id": f"call_0000000{i}"} for i, call in enumerate([CALLS[0], CALLS[0]])]
    found = read(
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_00000001", "content": "second"},
        {"role": "tool", "tool_name": "f", "content": "first"},
    )
    ids = [part.id for part in found[0].parts if isinstance(part, ToolCall)]
    answered = [part.call_id for message in found[1:] for part in message.parts if isinstance(part, ToolResult)]

    assert ["call_00000001", "call_00000000"] == answered
    assert ["call_00000000", "call_00000001"] == ids


def test_calls_of_two_turns_have_different_ids() -> None:
    """The same call made twice is two calls."""
    found = read(*[{"role": "assistant", "tool_calls": CALLS[:1]}, {"role": "tool", "content": "1"}] * 2)
    ids = [part.id for message in found for part in message.parts if isinstance(part, ToolCall)]

    assert 2 == len(set(ids))


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"role": "user", "content": None},
        {"role": "user", "content": ""},
        {"role": "user", "content": "absent", "images": ["iVBO\nRw0KGgo="]},
        {"role": "system", "content": "Be brief.", "novel": 1},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f", "arguments": None}}]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [
                {
                    "id": "call_gsiiy8py",
                    "type": "",
                    "function": {"index": 1, "name": "f", "arguments": {"a": [1]}, "x": 2},
                }
            ],
        },
        {"role": "tool", "content": "1", "tool_name": "f"},
        {"role": "tool", "content": "1", "name": "f", "tool_call_id": "c"},
        {"role": "tool", "content": "1", "images": [PIXEL], "tool_name": ""},
    ],
)
def test_a_message_comes_back_as_it_was(message: dict[str, Any]) -> None:
    """Every spelling is kept, and nothing is lost."""
    body = {"model": "m", "messages": [message]}

    assert (body, []) == written(decoded(body))


def test_a_role_of_a_template_is_refused_elsewhere() -> None:
    """Only the model's own template knows it: another target would misread it."""
    with pytest.raises(UnsupportedParameter) as refusal:
        read({"role": "control", "content": "thinking"})

    assert "messages[0].role" == refusal.value.param
