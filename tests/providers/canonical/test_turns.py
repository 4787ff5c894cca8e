"""Turns of a model that come in several messages."""

from __future__ import annotations

import pytest

from providers.canonical.chat import CacheMark, ChatRequest, Citation, Message, Role, Seal, Text, ToolCall, ToolResult
from providers.canonical.turns import (
    Places,
    Talk,
    as_talk,
    has_neighbours,
    plain_text,
    says_more,
    take_turns,
    whole_turns,
)

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


# ── the usual conversation ─────────────────────────────────────────────────────────────

PLACES = Places("messages", "content")


def talk(*spoken: tuple[Role, str], system: Message | None = None) -> tuple[Message, ...]:
    roles, texts = [role for role, _ in spoken], [text for _, text in spoken]
    return as_talk(PLACES.messages(roles, texts), roles, texts, system)


def system(**more: object) -> Message:
    return Message(role="system", parts=(Text(text="Be brief."),), at="system", **more)


def test_a_talk_holds_its_messages_and_what_they_say() -> None:
    """It equals the tuple of them; the system text stands apart, from among them or from before them."""
    spoken: tuple[tuple[Role, str], ...] = (("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))
    alone, within, before = talk(*spoken), talk(("system", "Be brief."), *spoken), talk(*spoken, system=system())

    assert isinstance(alone, Talk) and isinstance(within, Talk) and isinstance(before, Talk)
    assert alone == tuple(PLACES.messages([role for role, _ in spoken], [text for _, text in spoken]))
    assert alone[2] == Message(role="user", parts=(Text(text="Bye", at="messages[2].content"),), at="messages[2]")
    assert (None, "Be brief.", "Be brief.") == (alone.system, within.system, before.system)
    assert before[0] == system()
    assert alone.turns() == within.turns() == [{"role": role, "content": text} for role, text in spoken]
    assert within.whole() == before.whole() == [{"role": "system", "content": "Be brief."}, *alone.turns()]


@pytest.mark.parametrize(
    "messages",
    [
        talk(("user", "Hi"), ("assistant", "Hello")),
        talk(("assistant", "Hello"), ("user", "Hi")),
        talk(("user", "Hi"), ("user", "Hi")),
        talk(("user", "Hi"), ("system", "Be brief."), ("user", "Hi")),
        talk(("system", "Be brief."), ("system", "Be kind."), ("user", "Hi")),
        talk(("system", "Be brief.")),
        talk(("user", " ")),
        talk(("user", "")),
        talk(("system", "\n"), ("user", "Hi")),
        talk(("system", "Be brief."), ("user", "Hi"), system=system()),
        talk(("user", "Hi"), system=system(extra={"x": 1})),
        talk(("user", "Hi"), system=system(name="someone")),
        talk(("user", "Hi"), system=Message(role="system", parts=(Text(text=" "),))),
        talk(("user", "Hi"), system=Message(role="system", parts=(Text(text="a", cache=CacheMark()),))),
        talk(("user", "Hi"), system=Message(role="system", parts=(Text(text="a", extra={"x": 1}),))),
        talk(("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))[:1],
        (*talk(("user", "Hi")), said(Text(text="Hello"))),
    ],
)
def test_whatever_is_no_talk_is_a_plain_tuple(messages: tuple[Message, ...]) -> None:
    """Also what is made of a talk."""
    assert type(messages) is tuple


def test_places_go_on_behind_those_that_are_ready() -> None:
    """However many messages there are, each has its own."""
    many = PLACES.messages(["user"] * 300, ["Hi"] * 300)

    assert [f"messages[{i}]" for i in range(300)] == [message.at for message in many]
    assert PLACES.of(299) == ("messages[299]", "messages[299].content")
    assert not take_turns([*["user", "assistant"] * 200, "user"])


def test_a_request_says_more_than_most_with_any_other_parameter() -> None:
    """Messages, tools, a limit, a temperature and a stream are what most say."""
    few = ChatRequest(dialect="d", model="m", messages=(), max_output_tokens=4, temperature=0.5, store=False, extra={})

    assert not says_more(few)
    for more in ({"top_p": 0.5}, {"stop": ("a",)}, {"n": 1}, {"count": True}, {"store": True}, {"seed": 0}):
        assert says_more(ChatRequest(dialect="d", model="m", messages=(), **more)), more
