"""Turns of a model that come in several messages."""

from __future__ import annotations

import pytest

from providers.canonical.chat import CacheMark, Citation, Message, Seal, Text, ToolCall, ToolResult
from providers.canonical.turns import has_neighbours, plain_text, whole_turns

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


def test_neighbours_are_two_messages_of_the_model() -> None:
    """Whatever they are called; two of the user are none."""
    user = Message(role="user", parts=())

    assert has_neighbours([user, said(ONE), said(TWO, name="other")])
    assert not has_neighbours([user, user, said(ONE), user, said(TWO)])
    assert not has_neighbours([])


def test_a_plain_text_is_the_whole_message() -> None:
    """One text, empty or not; what only its own dialect knows does not count."""
    assert plain_text(said(Text(text="Hi", extra={"x": 1}, at="here"))) == "Hi"
    assert plain_text(said(Text(text=""))) == ""


@pytest.mark.parametrize(
    "message",
    [
        said(),
        said(ONE),
        said(Text(text="a"), Text(text="b")),
        said(Text(text="a"), name="other"),
        said(Text(text="a", seal=Seal(value="s", origin="gemini"))),
        said(Text(text="a", cache=CacheMark())),
        said(Text(text="a", citations=(Citation(url="https://example.com"),))),
    ],
)
def test_anything_more_is_not_plain(message: Message) -> None:
    """Other parts, names, and what is on a text need a place of their own, or a loss."""
    assert plain_text(message) is None
