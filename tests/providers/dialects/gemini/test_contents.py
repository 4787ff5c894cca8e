"""Messages of other dialects as contents."""

from __future__ import annotations

import json
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
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.dialect import PLAIN
from providers.dialects.gemini.contents import DUMMY_SIGNATURE, read_name, written_name
from tests.providers.dialects.gemini.spoken import (
    GEMINI,
    Json,
    assistant,
    call,
    lost,
    request,
    result,
    sent,
    user,
    without,
)

OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
SIGNED = Seal(value="c2ln", origin="gemini")
FOREIGN = Seal(value="c2ln", origin="anthropic")


def contents(*messages: Message, model: str = OLD) -> Json:
    return sent(request(*messages, model=model))["contents"]


def system(text: str, at: str = "messages[0]") -> Message:
    return Message(role="system", parts=(Text(text=text),), at=at)


# ── roles ──────────────────────────────────────────────────────────────────────────────


def test_system_texts_are_joined_at_the_start() -> None:
    """All leading system messages are parts of one systemInstruction."""
    body = sent(request(system("A"), system("B"), user("Hi")))

    assert {"parts": [{"text": "A"}, {"text": "B"}]} == body["systemInstruction"]
    assert [{"role": "user", "parts": [{"text": "Hi"}]}] == body["contents"]


def test_later_system_text_is_told_as_the_users() -> None:
    """In the middle there is no place for it: sent as user text, and said so."""
    one = request(user("Hi"), system("C", at="messages[1]"))

    assert [{"text": "Hi"}, {"text": "C"}] == sent(one)["contents"][0]["parts"]
    assert ["approximated messages[1]"] == lost(one)


def test_neighbours_of_one_role_share_a_content() -> None:
    """Contents alternate; parts are never joined."""
    found = contents(user("A"), user("B"), assistant(Text(text="C")), assistant(Text(text="D")))

    assert ["user", "model"] == [content["role"] for content in found]
    assert [{"text": "C"}, {"text": "D"}] == found[1]["parts"]


def test_names_of_participants_are_lost() -> None:
    """There is no field for a name."""
    assert ["dropped messages[0].name"] == lost(request(user("Hi", name="bob")))


def test_an_empty_message_is_filled() -> None:
    """Empty text is refused there: a blank stands for it, and that is said."""
    assert ["invented messages[0]"] == lost(request(user("")))


def test_an_empty_answer_is_left_out() -> None:
    """An assistant message without anything has nothing to say."""
    one = request(user("A"), assistant(Text(text="")), user("B"))

    assert [{"role": "user", "parts": [{"text": "A"}, {"text": "B"}]}] == sent(one)["contents"]
    assert ["approximated messages[1]"] == lost(one)


def test_system_text_alone_gets_a_message() -> None:
    """contents may not be empty."""
    assert ["invented messages"] == lost(request(system("A")))


# ── calls and results ──────────────────────────────────────────────────────────────────


def test_results_follow_in_the_order_of_their_calls() -> None:
    """All results stand in one user content, one for each call, whatever order they came in; text comes after."""
    found = contents(
        user("Hi"),
        assistant(call("a", '{"x":1}', id="call_1"), call("b", id="call_2")),
        result("B", "call_2"),
        result('{"y":2}', "call_1"),
        user("So?"),
    )

    assert [
        {"functionResponse": {"name": "a", "response": {"y": 2}}},
        {"functionResponse": {"name": "b", "response": {"output": "B"}}},
        {"text": "So?"},
    ] == found[2]["parts"]
    assert {"functionCall": {"name": "a", "args": {"x": 1}}} == found[1]["parts"][0]


def test_arguments_and_results_keep_their_bytes() -> None:
    """Number spellings, big integers and the order of keys survive."""
    arguments = '{"b":1.10,"a":123456789012345678901,"c":1e2}'
    one = request(user("Hi"), assistant(call("f", arguments)), result('{"z":0.10,"a":9007199254740993}'))
    body = GEMINI.encode_request(one, [], PLAIN).body

    assert arguments.encode() in body
    assert b'{"z":0.10,"a":9007199254740993}' in body


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"a":1}', {"a": 1}),
        ("[1]", {"output": "[1]"}),
        ("7", {"output": "7"}),
        ("", {"output": ""}),
        ("{not json", {"output": "{not json"}),
        ('{"a":{"$ref":"#/x"}}', {"output": '{"a":{"$ref":"#/x"}}'}),
        ("[1] text", {"output": "[1] text"}),
    ],
)
def test_results_are_objects(text: str, response: Json) -> None:
    """An object is sent as it is, unless it holds `$ref`, which would be followed; every other text under `output`."""
    found = contents(user("Hi"), assistant(call("f")), result(text))

    assert response == found[2]["parts"][0]["functionResponse"]["response"]


def test_failed_results_say_so() -> None:
    """An error stands under `error`."""
    found = contents(user("Hi"), assistant(call("f")), result("boom", is_error=True))

    assert {"error": "boom"} == found[2]["parts"][0]["functionResponse"]["response"]


@pytest.mark.parametrize(("arguments", "value"), [("[1]", [1]), ('"x"', "x"), ("null", None)])
def test_arguments_that_are_no_object_are_wrapped(arguments: str, value: Json) -> None:
    """args must be an object: other values stand under `value`, and that is said."""
    one = request(user("Hi"), assistant(call("f", arguments)), result("x"))

    assert {"value": value} == sent(one)["contents"][1]["parts"][0]["functionCall"]["args"]
    assert ["approximated messages[1].tool_calls[call_1]"] == lost(one)


def test_no_arguments_are_an_empty_object() -> None:
    """Empty text means no arguments."""
    assert {} == contents(user("Hi"), assistant(call("f", "")), result("x"))[1]["parts"][0]["functionCall"]["args"]


def test_broken_arguments_are_refused() -> None:
    """The target needs JSON; the call is named."""
    with pytest.raises(MalformedRequest) as caught:
        sent(request(user("Hi"), assistant(call("f", '{"a":'))))

    assert "messages[1].tool_calls[call_1]" == caught.value.param


def test_a_result_of_nothing_is_refused() -> None:
    """Without the call there is no name; a result that brings its name is fine."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(user("Hi"), result("x", "call_9")))
    named = contents(user("Hi"), result("x", "call_9", name="f"))

    assert "messages[2]" == caught.value.param
    assert "f" == named[0]["parts"][1]["functionResponse"]["name"]


def test_a_call_without_its_result_is_refused() -> None:
    """The target wants as many results as calls."""
    with pytest.raises(MalformedRequest) as caught:
        sent(request(user("Hi"), assistant(call("f"), call("g", id="call_2")), result("x"), user("So?")))

    assert "messages[1].tool_calls[call_2]" == caught.value.param


def test_calls_may_stand_last() -> None:
    """A history that ends with calls is passed on."""
    assert "model" == contents(user("Hi"), assistant(call("f")))[-1]["role"]


def test_mixed_user_messages_keep_their_results_first() -> None:
    """Dialects with results inside a user message: results stay with the calls, the text follows."""
    answers = ToolResult(call_id="call_1", parts=(Text(text="x"),))
    mixed = Message(role="user", parts=(answers, Text(text="So?")))
    found = contents(user("Hi"), assistant(call("f")), mixed)

    assert ["functionResponse", "text"] == [next(iter(part)) for part in found[2]["parts"]]


@pytest.mark.parametrize(
    ("model", "identifier", "made", "kept"),
    [
        (NEW, "96c1su3s", False, True),
        (NEW, "call_730600", False, True),
        (NEW, "96c1su3s", True, False),
        (NEW, "call_1", False, False),
        (NEW, "call_1w9YRdMtRTRucwZShoZYlLJp", False, False),
        (NEW, "call_i0123456789ab_0", False, False),
        (NEW, "call_0_get_weather", False, False),
        (NEW, "toolu_01J", False, False),
        (OLD, "96c1su3s", False, False),
    ],
)
def test_ids_go_back_to_who_made_them(model: str, identifier: str, made: bool, kept: bool) -> None:
    """Models of 3 get back their own ids, in the call and in its result; nobody gets one that others made."""
    found = contents(
        user("Hi"),
        assistant(call("f", id=identifier, invented_id=made)),
        result("x", identifier, invented_id=made),
        model=model,
    )
    ids = {found[1]["parts"][0]["functionCall"].get("id"), found[2]["parts"][0]["functionResponse"].get("id")}

    assert ids == {identifier if kept else None}


# ── signatures ─────────────────────────────────────────────────────────────────────────


def signatures(model: str, *messages: Message) -> list[str | None]:
    found = contents(*messages, model=model)
    return [part.get("thoughtSignature") for one in found for part in one["parts"] if "functionCall" in part]


def test_a_missing_signature_is_stood_in_for() -> None:
    """The first call of each step of the current turn, for models that refuse calls without one."""
    turn = (
        user("Hi"),
        assistant(call("a", id="call_1"), call("b", id="call_2")),
        result("x", "call_1"),
        result("y", "call_2"),
        assistant(call("c", id="call_3")),
        result("z", "call_3"),
    )

    assert [DUMMY_SIGNATURE, None, DUMMY_SIGNATURE] == signatures(NEW, *turn)
    assert [None, None, None] == signatures(OLD, *turn)
    assert 2 == sum(loss.startswith("invented") for loss in lost(request(*turn, model=NEW)))


def test_earlier_turns_need_none() -> None:
    """Only calls since the last user message are checked there."""
    turn = (user("Hi"), assistant(call("a")), result("x"), assistant(Text(text="Done")), user("More"))

    assert [None] == signatures(NEW, *turn)


def test_known_signatures_are_sent() -> None:
    """A signature of this family goes back where it was, on any part; another's is lost by name."""
    found = contents(user("Hi"), assistant(Text(text="", seal=SIGNED), call("a", seal=SIGNED)), result("x"), model=NEW)
    foreign = request(user("Hi"), assistant(call("a", seal=FOREIGN)), result("x"))

    assert ["c2ln", "c2ln"] == [part["thoughtSignature"] for part in found[1]["parts"]]
    assert ["dropped messages[1].tool_calls[call_1]"] == lost(foreign)


def test_thinking_goes_back_only_to_its_family() -> None:
    """Foreign thinking is not sent, empty or not; ours is, with its signature."""
    foreign = Reasoning(text="hm", at="messages[1].reasoning_content")
    empty = Reasoning(text="", seal=FOREIGN, at="messages[1].content[0]")
    own = Reasoning(text="hm", seal=SIGNED)
    found = contents(user("Hi"), assistant(own, Text(text="So")))

    assert ["dropped messages[1].reasoning_content", "dropped messages[1].content[0]"] == lost(
        request(user("Hi"), assistant(foreign, empty, Text(text="So")))
    )
    assert {"text": "hm", "thought": True, "thoughtSignature": "c2ln"} == found[1]["parts"][0]


# ── other parts ────────────────────────────────────────────────────────────────────────


def test_what_else_is_lost_is_named() -> None:
    """Cache marks, citations, refusals, and blocks of other dialects."""
    text = Text(text="x", at="m[0]", cache=CacheMark(), citations=(Citation(url="u"),))
    refusal = Refusal(text="no", at="m[1]")
    opaque = Opaque(dialect="other", kind="block", raw={}, at="m[2]")
    found = lost(request(user("Hi"), assistant(text, refusal, opaque)))

    assert ["dropped m[0].annotations", "approximated m[1]", "dropped m[2]"] == [
        one for one in found if "cache" not in one
    ]
    assert 1 == sum("cache" in one for one in found)


def test_own_blocks_are_replayed() -> None:
    """A block of this dialect that came through another's history goes back as it was."""
    block = Opaque(dialect="gemini", kind="executableCode", raw={"code": "1", "language": "PYTHON"})

    assert {"executableCode": block.raw} == contents(user("Hi"), assistant(block))[1]["parts"][0]


# ── media ──────────────────────────────────────────────────────────────────────────────


def shown(part: Media, model: str = OLD) -> Json:
    return contents(Message(role="user", parts=(part,)), model=model)[0]["parts"][0]


def media(**fields: Any) -> Media:
    return Media(**{"kind": "image", "at": "messages[0].content[0]", **fields})


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (media(base64="AA==", mime_type="image/png"), {"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        (media(url="data:image/png;base64,AA=="), {"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        (media(url="data:text/plain,a%20b", kind="file"), {"inlineData": {"mimeType": "text/plain", "data": "YSBi"}}),
        (
            media(base64="AA==", mime_type="audio/wav", kind="audio"),
            {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}},
        ),
        (media(url="https://h/x.png?y=1"), {"fileData": {"mimeType": "image/png", "fileUri": "https://h/x.png?y=1"}}),
        (
            media(url="https://h/a.pdf", kind="file"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://h/a.pdf"}},
        ),
        (
            media(url="https://generativelanguage.googleapis.com/v1beta/files/abc", kind="file"),
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ),
        (media(file_id="gs://b/x.mp4", kind="video"), {"fileData": {"fileUri": "gs://b/x.mp4"}}),
    ],
)
def test_media(part: Media, expected: Json) -> None:
    """Content stands inline, URLs as fileData with the type that their suffix says."""
    assert expected == shown(part)


def test_a_type_that_nobody_said_is_a_guess() -> None:
    """An image without a suffix is taken for a JPEG, and that is said."""
    one = request(Message(role="user", parts=(media(url="https://h/x"),)))

    assert ["approximated messages[0].content[0]"] == lost(one)
    assert "image/jpeg" == sent(one)["contents"][0]["parts"][0]["fileData"]["mimeType"]


@pytest.mark.parametrize(
    ("part", "model"),
    [
        (media(url="https://h/x.gif"), OLD),
        (media(url="https://h/x.png"), "gemini-2.0-flash"),
        (media(url="http://h/x.png"), OLD),
        (media(url="https://h/x", kind="audio"), OLD),
        (media(file_id="file-abc", kind="file"), OLD),
        (media(base64="AA==", mime_type="application/zip", kind="file"), OLD),
        (media(base64="AA==", kind="file"), OLD),
    ],
)
def test_what_the_model_cannot_read_is_refused(part: Media, model: str) -> None:
    """Before anything is sent, by its path: another target may read it."""
    with pytest.raises(UnsupportedParameter) as caught:
        shown(part, model)

    assert "messages[0].content[0]" == caught.value.param


def test_detail_is_a_resolution_where_there_is_one() -> None:
    """Models of 3 take it by part; for others it is lost, but `auto` says nothing."""
    part = media(base64="AA==", mime_type="image/png", detail="high")
    auto = media(base64="AA==", mime_type="image/png", detail="auto")

    assert {"level": "MEDIA_RESOLUTION_HIGH"} == shown(part, NEW)["mediaResolution"]
    assert ["dropped messages[0].content[0].detail"] == lost(request(Message(role="user", parts=(part,))))
    assert [] == lost(request(Message(role="user", parts=(auto,))))


def test_file_names_are_lost() -> None:
    """The target has no place for them."""
    part = media(base64="AA==", mime_type="application/pdf", kind="file", name="a.pdf")

    assert ["dropped messages[0].content[0].filename"] == lost(request(Message(role="user", parts=(part,))))


def test_images_in_results() -> None:
    """Models of 3 take media inside a result; older ones take none."""
    image = media(base64="AA==", mime_type="image/png")
    answers = Message(
        role="tool", parts=(ToolResult(call_id="call_1", parts=(Text(text="x"), image), at="messages[2]"),)
    )
    found = contents(user("Hi"), assistant(call("f")), answers, model=NEW)[2]["parts"][0]["functionResponse"]
    with pytest.raises(UnsupportedParameter) as caught:
        contents(user("Hi"), assistant(call("f")), answers, model=OLD)

    assert [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}] == found["parts"]
    assert "messages[2]" == caught.value.param


# ── names ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["get_weather", "_x", "a.b:c-d", "1st", "-x", "größe", "a b", "x/y"])
def test_names_come_back(name: str) -> None:
    """A name that the target refuses is escaped, and the answer has it as it was."""
    written = written_name(name, "tools[0].name")

    assert name == read_name(written)
    assert json.dumps(written).isascii()


def test_a_name_beyond_all_measure_is_refused() -> None:
    """128 characters are the most."""
    with pytest.raises(UnsupportedParameter):
        written_name("x" * 129, "tools[0].name")


def test_custom_calls_in_the_history() -> None:
    """Free text stands under `input`."""
    custom = without(call("f", "free text"), kind="custom")

    assert {"input": "free text"} == contents(user("Hi"), assistant(custom), result("x"))[1]["parts"][0][
        "functionCall"
    ]["args"]
