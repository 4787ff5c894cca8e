"""Messages, written."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from providers.canonical.chat import (
    CacheMark,
    Citation,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.dialect import Traits
from tests.providers.dialects.cohere.speak import asked, sent

CALL = ToolCall(id="c1", name="f", arguments='{"a": 1.0}', at="messages[0].tool_calls[0]")
FACTS = Media(
    kind="file", mime_type="text/plain; charset=utf-8", base64=base64.b64encode(b"Ruby.").decode(), name="f.txt", at="p"
)


def written(*messages: Message, model: str = "command-a-03-2025") -> tuple[list[Any], list[str]]:
    body, losses = sent(asked(messages=messages, model=model))
    return body["messages"], losses


def user(*parts: Any, role: Any = "user") -> tuple[Any, list[str]]:
    [message], losses = written(Message(role=role, parts=parts, at="messages[0]"))
    return message["content"], losses


def assistant(*parts: Any) -> Message:
    return Message(role="assistant", parts=parts, at="messages[0]")


def result(*parts: Any, call: str = "c1", **more: Any) -> Message:
    return Message(role="tool", parts=(ToolResult(call_id=call, parts=parts, at="messages[1]", **more),))


def test_content() -> None:
    """One text is a string, several stay apart; images by URL or as data."""
    image = Media(kind="image", url="https://a.example/x.png", detail="low")
    data = Media(kind="image", base64="AAAA", mime_type="image/png")

    assert ("Hi", []) == user(Text(text="Hi"))
    assert ("", []) == user()
    assert ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], []) == user(Text(text="a"), Text(text="b"))
    assert (
        [
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
        [],
    ) == user(image, data)


@pytest.mark.parametrize(
    ("part", "losses"),
    [
        (Text(text="x", cache=CacheMark(at="c")), ["c=dropped"]),
        (Text(text="x", citations=(Citation(url="u", at="cited"),)), ["cited=dropped"]),
        (Media(kind="image", base64="AAAA", at="i"), ["i=approximated"]),
        (Media(kind="image", url="https://a", detail="original", at="i"), ["i.detail=approximated"]),
        (Media(kind="image", url="https://a", name="n", at="i"), ["i.filename=dropped"]),
        (Refusal(text="No.", at="r"), ["r=approximated"]),
        (Reasoning(text="hm", at="t"), ["t=dropped"]),
        (Opaque(dialect="gemini", kind="executableCode", raw={}, at="o"), ["o=dropped"]),
    ],
)
def test_what_has_no_place_is_named(part: Any, losses: list[str]) -> None:
    """By its own path."""
    assert losses == user(part)[1]


@pytest.mark.parametrize(
    ("part", "role"),
    [
        (Media(kind="audio", base64="AAAA", at="p"), "user"),
        (Media(kind="video", url="https://a", at="p"), "user"),
        (Media(kind="image", file_id="f", at="p"), "user"),
        (Media(kind="image", url="gs://a", at="p"), "user"),
        (Media(kind="file", base64="AAAA", mime_type="application/pdf", at="p"), "user"),
        (Media(kind="file", url="https://a", mime_type="text/plain", at="p"), "user"),
        (Media(kind="file", base64="/w==", mime_type="text/plain", at="p"), "user"),
        (Media(kind="image", url="https://a", at="p"), "system"),
        (Media(kind="image", url="https://a", at="p"), "assistant"),
    ],
)
def test_what_cannot_be_read_is_refused(part: Media, role: str) -> None:
    """Sounds, films, documents that are no text; media where only text stands."""
    with pytest.raises(UnsupportedParameter) as refusal:
        user(part, role=role)

    assert "p" == refusal.value.param


def test_a_text_file_is_a_document() -> None:
    """One of the whole request's, beside those that the caller passed; that it moves is named."""
    request = asked(messages=(Message(role="user", parts=(Text(text="Who?"), FACTS)),), extra={"documents": ["x"]})
    body, losses = sent(request, Traits(own=frozenset({"documents"})))

    assert ["x", {"data": {"title": "f.txt", "text": "Ruby."}}] == body["documents"]
    with pytest.raises(MalformedRequest):
        sent(msgspec.structs.replace(request, extra={"documents": "x"}), Traits(own=frozenset({"documents"})))
    assert ("Who?", ["p=approximated"]) == (body["messages"][0]["content"], losses)


def test_calls_and_results() -> None:
    """With their ids, arguments as the model wrote them; results in any order."""
    second = ToolCall(id="c2", name="g", arguments="")
    messages, losses = written(
        assistant(Text(text="Let me look."), CALL, second),
        result(Text(text="sunny"), call="c2"),
        result(Text(text="a"), Text(text="b")),
    )

    assert {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    } == messages[0]
    assert {"role": "tool", "tool_call_id": "c2", "content": "sunny"} == messages[1]
    assert [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}] == messages[2]["content"]
    assert [] == losses


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("command-a-03-2025", {"tool_plan": "I will look."}),
        ("command-a-reasoning-08-2025", {"content": [{"type": "thinking", "thinking": "I will look."}]}),
        ("command-a-plus-05-2026", {"content": [{"type": "thinking", "thinking": "I will look."}]}),
    ],
)
def test_what_was_thought_before_calls(model: str, expected: Any) -> None:
    """A plan, of models that plan; thinking, of models that think."""
    [message], losses = written(assistant(Reasoning(text="I will "), Reasoning(text="look."), CALL), model=model)

    assert (expected, []) == ({key: message[key] for key in expected}, losses)
    assert ("content" in message) == ("content" in expected)


def test_thinking_without_calls_is_content() -> None:
    """In its place; seals of others and what nobody can read are named."""
    sealed = Reasoning(text="hm", seal=Seal(value="s", origin="gemini", at="s"))
    [message], losses = written(assistant(sealed, Reasoning(redacted=True, at="r"), Text(text="H"), Text(text="i")))

    assert [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}] == message["content"]
    assert ["s=dropped", "r=dropped"] == losses


def test_pieces_of_one_turn_are_one_message() -> None:
    """Clients of other dialects keep a stream as it came; a name of a participant is lost."""
    messages, losses = written(
        assistant(Text(text="a")), assistant(CALL), result(Text(text="1")), Message(role="user", parts=(), name="Ann")
    )

    assert ["assistant", "tool", "user"] == [one["role"] for one in messages]
    assert ["name=dropped"] == losses


@pytest.mark.parametrize(
    ("messages", "losses"),
    [
        ((assistant(CALL, Text(text="late")),), ["messages[0]=approximated"]),
        (
            (assistant(ToolCall(id="c1", name="f", arguments="x", kind="custom", at="k")),),
            ["k=approximated"],
        ),
        ((assistant(CALL), result(Text(text="no"), is_error=True)), ["messages[1]=approximated"]),
    ],
)
def test_what_is_said_otherwise(messages: Any, losses: list[str]) -> None:
    """Text behind calls, input of custom tools, failures of tools."""
    found, named = written(*messages)

    assert losses == named
    assert "Error: no" == found[1]["content"] if len(found) > 1 else True


@pytest.mark.parametrize(
    "messages",
    [
        (result(Text(text="1")),),
        (assistant(CALL), result(Text(text="1"), call="c9")),
        (assistant(CALL), result(Media(kind="image", url="https://a"))),
    ],
)
def test_results_that_cannot_be_sent(messages: Any) -> None:
    """Without their call, or with pictures."""
    with pytest.raises(UnsupportedParameter):
        written(*messages)
