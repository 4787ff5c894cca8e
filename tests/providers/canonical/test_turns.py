"""Turns of a model that come in several messages."""

from __future__ import annotations

from providers.canonical.chat import Message, Text, ToolCall, ToolResult
from providers.canonical.turns import whole_turns

ONE = ToolCall(id="a", name="look", arguments="{}")
TWO = ToolCall(id="b", name="find", arguments="{}")


def said(*parts: Text | ToolCall, at: str = "", name: str | None = None) -> Message:
    return Message(role="assistant", parts=parts, at=at, name=name)


def test_calls_that_are_answered_together_are_one_turn() -> None:
    """The results come behind all of them: parts keep their order, the first message's place stands for both."""
    results = Message(role="tool", parts=(ToolResult(call_id="a"), ToolResult(call_id="b")))
    messages = (said(ONE, at="messages[1]"), said(Text(text="And"), TWO, at="messages[2]"), results)

    assert [said(ONE, Text(text="And"), TWO, at="messages[1]"), results] == whole_turns(messages)


def test_others_stay_apart() -> None:
    """Calls behind their own results, messages of callers, and speakers of other names are turns of their own."""
    results = Message(role="tool", parts=(ToolResult(call_id="a"),))
    user = Message(role="user", parts=(Text(text="Hi"),))
    messages = [user, user, said(ONE), results, said(TWO), said(Text(text="Hm"), name="other")]

    assert messages == whole_turns(messages)
