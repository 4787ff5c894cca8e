"""Messages of other dialects in the order, the roles and the blocks that this one takes."""

from __future__ import annotations

from typing import Any

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
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.dialects.anthropic.messages import NOTHING
from tests.providers.dialects.anthropic.spoken import (
    Json,
    assistant,
    call,
    lost,
    request,
    result,
    sent,
    user,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SIGNED = Seal(value="EqQB", origin="anthropic")
FOREIGN = Seal(value="AA==", origin="gemini", at="messages[1].signature")


def turns(*messages: Message, model: str = "claude-haiku-4-5") -> list[Json]:
    found: list[Json] = sent(request(*messages, model=model))["messages"]
    return found


def system(text: str, at: str = "messages[1]") -> Message:
    return Message(role="system", parts=(Text(text=text, at=f"{at}.content"),), at=at)


def test_system_text_at_the_start() -> None:
    """It has a field of its own; one plain text is a string, several are blocks."""
    assert "a" == sent(request(system("a"), user()))["system"]
    assert [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}] == sent(
        request(system("a"), system("b"), user())
    )["system"]


def test_system_text_in_the_middle() -> None:
    """Newer models take it where it stands; for others it is marked text of the user, and named."""
    messages = (user("a"), system("b", "messages[1]"), user("c"))

    assert ["user", "system", "user"] == [one["role"] for one in turns(*messages, model="claude-opus-5")]
    older = turns(*messages)
    assert ["a", "<system>\nb\n</system>", "c"] == [block["text"] for block in older[0]["content"]]
    assert ["approximated messages[1]"] == lost(request(*messages))


def test_media_in_system_text_are_refused() -> None:
    """Nothing but text stands there."""
    message = Message(role="system", parts=(Media(kind="image", url="https://a.example", at="m"),), at="messages[0]")
    with pytest.raises(UnsupportedParameter):
        sent(request(message, user()))


def test_neighbours_of_one_role_are_one_message() -> None:
    """Two texts of the user stay two blocks."""
    assert [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}] == turns(
        user("a"), user("b")
    )


def test_results_stand_first_in_the_message_after_their_calls() -> None:
    """All of them in one message, text of the user behind them."""
    found = turns(
        user(),
        assistant(call(id="a"), call(id="b")),
        result("1", "a"),
        result("2", "b"),
        user("So?", at="messages[4]"),
    )

    assert ["tool_result", "tool_result", "text"] == [block["type"] for block in found[2]["content"]]
    assert ["a", "b"] == [block["tool_use_id"] for block in found[2]["content"][:2]]


def test_results_before_text_in_one_message() -> None:
    """Also where the caller wrote the text first."""
    both = Message(role="user", parts=(Text(text="So?"), result().parts[0]), at="messages[2]")

    assert ["tool_result", "text"] == [block["type"] for block in turns(user(), assistant(call()), both)[2]["content"]]


@pytest.mark.parametrize(
    "messages",
    [
        (user(), assistant(call())),
        (user(), assistant(call()), user("x", at="messages[2]")),
        (user(), assistant(call()), assistant(Text(text="x"))),
        (user(), assistant(call(id="a"), call(id="b")), result("1", "a"), user("x")),
    ],
)
def test_a_call_without_its_result_is_refused(messages: tuple[Message, ...]) -> None:
    """Every call has its result in the very next message."""
    with pytest.raises(MalformedRequest) as caught:
        sent(request(*messages))

    assert "messages[1].tool_calls[0]" == caught.value.param


def test_a_result_without_its_call_is_refused() -> None:
    """The service would not know what it answers."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(user(), result(at="messages[1]")))

    assert "messages[1]" == caught.value.param


def test_ids_of_other_providers_fit() -> None:
    """The same id for the call and its result, in letters that are taken."""
    found = turns(user(), assistant(call(id="functions.look:0")), result(call_id="functions.look:0"))
    written = found[1]["content"][0]["id"]

    assert written == found[2]["content"][0]["tool_use_id"] == "isthmus_functions-2e-look-3a-0"


def test_empty_texts_are_left_out() -> None:
    """Nothing empty is sent; a message that must be there says so, one of the model is left out."""
    assert NOTHING == turns(user(""))[0]["content"]
    assert ["invented messages[0]"] == lost(request(user("")))
    assert 1 == len(turns(user("a"), assistant(Text(text="")), user("b")))
    assert ["approximated messages[1]"] == lost(request(user("a"), assistant(Text(text="")), user("b")))
    assert "a" == turns(user("", Text(text=""), Text(text="a")))[0]["content"]


def test_white_space_alone_is_refused_there() -> None:
    """It is left out, and named; so is a cache mark on nothing."""
    one = request(user("", Text(text=" \n", at="messages[0].content[0]"), Text(text="a")))
    marked = request(user("", Text(text="", cache=CacheMark(at="mark"), at="x"), Text(text="a")))

    assert ["dropped messages[0].content[0]"] == lost(one)
    assert ["dropped mark"] == lost(marked)


def test_the_first_message_is_the_users() -> None:
    """Where there is none, one that says nothing is put there."""
    assert [NOTHING, "hi"] == [one["content"] for one in turns(assistant(Text(text="hi")), user("x"))][:2]
    assert ["invented messages"] == lost(request(system("a")))


def test_a_last_message_of_the_model() -> None:
    """Older models go on with it, without white space at its end; newer ones cannot."""
    messages = (user(), assistant(Text(text="The answer is \n", at="messages[1].content")))

    assert "The answer is" == turns(*messages)[1]["content"]
    assert ["approximated messages[1]"] == lost(request(*messages))
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(*messages, model="claude-opus-5"))
    assert "messages[1]" == caught.value.param


def test_names_of_participants_are_dropped() -> None:
    """There is no place for them."""
    assert ["dropped messages[0].name"] == lost(request(user("a", name="Ann")))


def test_thinking_goes_back_to_who_signed_it() -> None:
    """Unchanged and in its place, an empty text with a signature too; other thinking is dropped, and named."""
    own = (Reasoning(text="", seal=SIGNED), Reasoning(redacted=True, seal=SIGNED), call())
    found = turns(user(), assistant(*own), result())[1]["content"]
    assert [
        {"type": "thinking", "thinking": "", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EqQB"},
    ] == found[:2]

    foreign = assistant(Reasoning(text="hm", seal=FOREIGN, at="messages[1].x"), Text(text="a"))
    assert ["dropped messages[1].x"] == lost(request(user(), foreign, user("b")))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Text(text="a", seal=FOREIGN), "dropped messages[1].signature"),
        (
            Text(text="a", citations=(Citation(url="u"),), at="messages[1].content"),
            "dropped messages[1].content.annotations",
        ),
        (Refusal(text="No.", at="messages[1].refusal"), "approximated messages[1].refusal"),
        (Opaque(dialect="gemini", kind="executableCode", raw={}, at="messages[1].x"), "dropped messages[1].x"),
    ],
)
def test_what_has_no_place_is_named(part: Any, expected: str) -> None:
    """Signatures of others, citations, refusals, blocks that only another dialect knows."""
    assert [expected] == lost(request(user(), assistant(Text(text="x"), part), user("b")))


@pytest.mark.parametrize(
    ("arguments", "expected", "losses"),
    [
        ('{"a":1.50,"b":10000000000000000000000}', {"a": 1.5, "b": 10**22}, []),
        ("", {}, []),
        ("[1]", {"value": [1]}, ["approximated messages[1].tool_calls[0]"]),
        ('{"a":', {"value": '{"a":'}, ["approximated messages[1].tool_calls[0]"]),
    ],
)
def test_arguments_are_an_object(arguments: str, expected: Json, losses: list[str]) -> None:
    """As the model wrote them where they are one; else they stand under a key, and are named."""
    one = request(user(), assistant(call(arguments=arguments)), result())

    assert expected == sent(one)["messages"][1]["content"][0]["input"]
    assert [*losses, "invented tools"] == lost(one)


def test_arguments_keep_their_spelling() -> None:
    """Byte for byte."""
    from tests.providers.dialects.anthropic.spoken import ANTHROPIC

    one = request(user(), assistant(call(arguments='{"a":1.50,"b":1E2}')), result())

    assert b'"input":{"a":1.50,"b":1E2}' in ANTHROPIC.encode_request(one, []).body


def test_calls_of_custom_tools() -> None:
    """Free text stands under `input`."""
    one = request(user(), assistant(call(arguments="ls", kind="custom")), result())

    assert {"input": "ls"} == sent(one)["messages"][1]["content"][0]["input"]


def test_results() -> None:
    """One text is a string, several parts are blocks, nothing is no content; a failure is marked."""
    image = Media(kind="image", base64=PNG, mime_type="image/png")

    def content(**fields: Any) -> Json:
        return turns(user(), assistant(call()), result(**fields))[2]["content"][0]

    assert "seen" == content()["content"]
    assert ["text", "image"] == [one["type"] for one in content(parts=(Text(text="a"), image))["content"]]
    assert "content" not in content(parts=())
    assert content(is_error=True)["is_error"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            Media(kind="image", base64=PNG, mime_type="image/png"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            Media(kind="image", url="https://a.example/a.png"),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}},
        ),
        (
            Media(kind="image", url=f"data:image/png;base64,{PNG}"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            Media(kind="image", base64="/9j/4AAQ", mime_type="image/jpg"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}},
        ),
        (
            Media(kind="file", base64="JVBERi0=", mime_type="application/pdf", name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            Media(kind="file", url="https://a.example/a.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://a.example/a.pdf"}},
        ),
        (
            Media(kind="file", url="data:text/plain,a%20b"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a b"}},
        ),
    ],
)
def test_media(part: Media, expected: Json) -> None:
    """Images and documents by content or by URL, without a loss."""
    one = request(user("", part, Text(text="?")))

    assert expected == sent(one)["messages"][0]["content"][0]
    assert [] == lost(one)


@pytest.mark.parametrize(
    "part",
    [
        Media(kind="audio", base64="UklGRg==", mime_type="audio/wav"),
        Media(kind="video", url="https://a.example/a.mp4"),
        Media(kind="image", base64="Qk0=", mime_type="image/bmp"),
        Media(kind="image", file_id="file-1"),
        Media(kind="image", url="gs://bucket/a.png"),
        Media(kind="file", file_id="file-1"),
        Media(kind="file", base64="AAAA", mime_type="application/zip"),
        Media(kind="file", base64="/w==", mime_type="text/plain"),
        Media(kind="file", url="https://a.example/a.txt", mime_type="text/plain"),
    ],
)
def test_media_that_cannot_be_read_are_refused(part: Media) -> None:
    """The answer would be wrong without them."""
    with pytest.raises(UnsupportedParameter):
        sent(request(user("", part, Text(text="?"))))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Media(kind="image", base64=PNG, mime_type="image/webp", at="x"), "approximated x"),
        (Media(kind="image", base64=PNG, mime_type="image/png", detail="high", at="x"), "dropped x.detail"),
        (Media(kind="image", base64=PNG, mime_type="image/png", name="a", at="x"), "dropped x.filename"),
        (Media(kind="file", base64="e30=", mime_type="application/json", at="x"), "approximated x"),
    ],
)
def test_what_media_lose_is_named(part: Media, expected: str) -> None:
    """A wrong type, a level of detail, a name."""
    assert [expected] == lost(request(user("", part)))


def test_a_damaged_data_url_is_refused() -> None:
    """By the field that holds it."""
    with pytest.raises(MalformedRequest):
        sent(request(user("", Media(kind="image", url="data:oops", at="x"))))


def test_media_of_the_model_move_behind_the_results() -> None:
    """Only the user may show something: what the model made stands in the next message of the user."""
    image = Media(kind="image", base64=PNG, mime_type="image/png", at="messages[1].images[0]")
    found = turns(user(), assistant(call(), image), result(), user("So?"))
    assert ["tool_result", "image", "text"] == [block["type"] for block in found[2]["content"]]

    last = turns(user(), assistant(Text(text="Here."), image))
    assert ["user", "assistant", "user"] == [one["role"] for one in last]


def test_cache_marks() -> None:
    """They stay on their blocks; a time that is not known is named."""
    one = request(
        user("", Text(text="a", cache=CacheMark(ttl="1h")), Text(text="b", cache=CacheMark(ttl="30m", at="m")))
    )

    assert [{"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}] == [
        block["cache_control"] for block in sent(one)["messages"][0]["content"]
    ]
    assert ["approximated m"] == lost(one)


def test_the_last_four_cache_marks_stay() -> None:
    """More are refused; the later ones cover what stands before them."""
    texts = [Text(text=str(i), cache=CacheMark(at=f"m{i}")) for i in range(6)]
    one = request(user("", *texts))

    assert ["dropped m0", "dropped m1"] == lost(one)
    assert [False, False, True, True, True, True] == [
        "cache_control" in block for block in sent(one)["messages"][0]["content"]
    ]
