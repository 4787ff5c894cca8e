"""Turns, results, media and marks on their way to the service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    AnyPart,
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
from providers.canonical.loss import Loss
from tests.providers.dialects.bedrock.spoken import HI, request, sent

Json = Any

CALL = ToolCall(id="call_1", name="look", arguments='{"at": 1.50}', at="messages[1].tool_calls[0]")
RESULT = Message(role="tool", parts=(ToolResult(call_id="call_1", parts=(Text(text="seen"),)),))
SEAL = Seal(value="EpYF", origin="bedrock")


def user(*parts: AnyPart | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def model(*parts: AnyPart | str) -> Message:
    return Message(role="assistant", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def system(text: str) -> Message:
    return Message(role="system", parts=(Text(text=text),), at="messages[9]")


def turns(*messages: Message, losses: list[Loss] | None = None) -> list[tuple[str, list[str]]]:
    """Who says what: a text as it is, other blocks by their kind."""
    body = sent(request(*messages), losses)
    return [
        (one["role"], [block["text"] if "text" in block else next(iter(block)) for block in one["content"]])
        for one in body["messages"]
    ]


def told(losses: list[Loss]) -> list[tuple[str, str]]:
    return [(loss.field, loss.kind) for loss in losses]


# ── turns ──────────────────────────────────────────────────────────────────────────────────


def test_system_texts_stand_apart() -> None:
    """Those at the start go to `system`; later ones are said by the user, which is told."""
    losses: list[Loss] = []
    body = sent(request(system("Be brief."), HI, model("Hello"), system("Be kind."), user("Go on")), losses)

    assert [{"text": "Be brief."}] == body["system"]
    assert [{"text": "Be kind."}, {"text": "Go on"}] == body["messages"][2]["content"]
    assert [("messages[9]", "approximated")] == told(losses)


def test_neighbours_are_joined() -> None:
    """Turns alternate there, whatever the caller wrote."""
    assert [("user", ["Hi", "a"]), ("assistant", ["b", "c"]), ("user", ["d"])] == turns(
        HI, user("a"), model("b"), model("c"), user("d")
    )


def test_the_first_turn_is_the_users() -> None:
    """A conversation that the model begins gets a first word."""
    losses: list[Loss] = []

    assert [("user", ["."]), ("assistant", ["Hello"]), ("user", ["Hi"])] == turns(model("Hello"), HI, losses=losses)
    assert [("messages", "invented")] == told(losses)


def test_a_request_of_system_texts_alone() -> None:
    """There is always a turn of the user."""
    losses: list[Loss] = []

    assert [("user", ["."])] == turns(system("Be brief."), losses=losses)
    assert [("messages", "invented")] == told(losses)


def test_blank_texts_are_left_out() -> None:
    """They are refused there. Empty ones say nothing; white space is told; a turn never becomes empty."""
    losses: list[Loss] = []

    assert [("user", ["a"]), ("assistant", ["b"]), ("user", ["."])] == turns(
        user("", "a", " \n"), model("b"), user(""), losses=losses
    )
    assert [("messages", "dropped"), ("messages", "invented")] == told(losses)


def test_an_empty_turn_of_the_model_is_left_out() -> None:
    """It says nothing, and the turns around it become one."""
    losses: list[Loss] = []

    assert [("user", ["Hi", "a"])] == turns(HI, model(""), user("a"), losses=losses)
    assert [("messages", "approximated")] == told(losses)


def test_names_and_refusals() -> None:
    """Participants have no names there, and a refusal is text."""
    losses: list[Loss] = []
    named = Message(role="user", parts=(Text(text="a"),), name="Ann", at="messages[0]")

    assert [("user", ["a"]), ("assistant", ["No."]), ("user", ["b"])] == turns(
        named, model(Refusal(text="No.", at="messages[1].refusal")), user("b"), losses=losses
    )
    assert [("messages[0].name", "dropped"), ("messages[1].refusal", "approximated")] == told(losses)


# ── calls and results ──────────────────────────────────────────────────────────────────────


def test_a_call_and_its_result() -> None:
    """Arguments go byte for byte as an object; the tools of the history are declared, for they have to be."""
    losses: list[Loss] = []
    body = sent(request(HI, model("I look.", CALL), RESULT), losses)

    assert {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"at": 1.5}}} == body["messages"][1]["content"][
        1
    ]
    assert [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "seen"}]}}] == body["messages"][2]["content"]
    assert [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}] == body["toolConfig"]["tools"]
    assert [("tools", "invented")] == told(losses)


def test_results_stand_first_in_the_order_of_their_calls() -> None:
    """However they came, in one message or several, before or after a text of the user."""
    calls = [ToolCall(id=f"c{i}", name="f", arguments="{}") for i in range(3)]
    results = [ToolResult(call_id=f"c{i}", parts=(Text(text=str(i)),)) for i in (2, 0, 1)]
    body = sent(request(HI, model(*calls), user("so:", results[0]), Message(role="tool", parts=tuple(results[1:])), HI))
    content = body["messages"][2]["content"]

    assert ["c0", "c1", "c2"] == [block["toolResult"]["toolUseId"] for block in content[:3]]
    assert [{"text": "so:"}, {"text": "Hi"}] == content[3:]


def test_a_failed_call() -> None:
    """The service has a status for it; a result without words is one all the same."""
    result = Message(role="tool", parts=(ToolResult(call_id="call_1", is_error=True),))
    body = sent(request(HI, model(CALL), result))

    assert {"toolUseId": "call_1", "content": [{"text": ""}], "status": "error"} == body["messages"][2]["content"][0][
        "toolResult"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected", "kinds"),
    [
        ("", {}, []),
        ("  ", {}, []),
        ("[1]", {"value": [1]}, ["approximated"]),
        ('{"a":{"b":null}}', {"a": {"b": None}}, []),
    ],
)
def test_arguments_are_an_object(arguments: str, expected: Json, kinds: list[str]) -> None:
    """What is none stands under `value`, which is told."""
    losses: list[Loss] = []
    call = ToolCall(id="call_1", name="look", arguments=arguments, at="messages[1].tool_calls[0]")
    body = sent(request(HI, model(call), RESULT), losses)

    assert expected == body["messages"][1]["content"][0]["toolUse"]["input"]
    assert [*kinds, "invented"] == [loss.kind for loss in losses]


@pytest.mark.parametrize(
    ("messages", "error", "param"),
    [
        ((HI, model(ToolCall(id="a", name="f", arguments="{", at="at"))), MalformedRequest, "at"),
        ((HI, model(ToolCall(id="a", name="f", arguments="{}", at="at")), HI), MalformedRequest, "at"),
        ((HI, Message(role="tool", parts=(ToolResult(call_id="a", at="at"),))), UnsupportedParameter, "at"),
        (
            (HI, model(CALL), Message(role="tool", parts=(*RESULT.parts, ToolResult(call_id="z", at="at")))),
            UnsupportedParameter,
            "at",
        ),
    ],
)
def test_calls_and_results_belong_together(messages: Json, error: type[Exception], param: str) -> None:
    """Broken arguments, a call without its result, a result without its call."""
    with pytest.raises(error) as refusal:
        sent(request(*messages))
    assert param == getattr(refusal.value, "param", None)


def test_foreign_ids_and_names() -> None:
    """An id or a name with other characters is replaced on both sides of the call alike."""
    losses: list[Loss] = []
    call = ToolCall(id="call/ü", name="my.tool", arguments="{}", at="c")
    body = sent(request(HI, model(call), Message(role="tool", parts=(ToolResult(call_id="call/ü", at="r"),))), losses)
    use = body["messages"][1]["content"][0]["toolUse"]

    assert use["toolUseId"] == body["messages"][2]["content"][0]["toolResult"]["toolUseId"] != "call/ü"
    assert "isthmus_my-2e-tool" == use["name"]
    assert [("c.called", "approximated"), ("r.answered", "approximated"), ("tools", "invented")] == told(losses)


# ── thinking and seals ─────────────────────────────────────────────────────────────────────


def test_thinking_goes_back_with_its_signature() -> None:
    """Unchanged, first, whatever it says; that of other models is left out."""
    losses: list[Loss] = []
    thoughts = (
        Reasoning(text="hm", seal=SEAL),
        Reasoning(text="", seal=SEAL),
        Reasoning(redacted=True, seal=Seal(value="QUJD", origin="bedrock")),
        Reasoning(text="foreign", seal=Seal(value="x", origin="anthropic"), at="a"),
        Reasoning(text="unsigned", at="b"),
    )
    body = sent(request(HI, model(*thoughts, "Well."), HI), losses)

    assert [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "EpYF"}}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "EpYF"}}},
        {"reasoningContent": {"redactedContent": "QUJD"}},
        {"text": "Well."},
    ] == body["messages"][1]["content"]
    assert [("a", "dropped"), ("b", "dropped")] == told(losses)


def test_signatures_of_other_families_are_named() -> None:
    """A sealed call of another model goes without its seal; citations and unknown blocks are named."""
    losses: list[Loss] = []
    signed = Text(text="a", seal=Seal(value="x", origin="gemini", at="sig"), citations=(Citation(at="cites"),))
    turns(HI, model(signed, Opaque(dialect="gemini", kind="executableCode", raw={}, at="code")), HI, losses=losses)

    assert [("sig", "dropped"), ("cites", "dropped"), ("code", "dropped")] == told(losses)


def test_its_own_blocks_come_back() -> None:
    """What only this dialect knows is replayed as it was."""
    raw = {"toolUseId": "t", "name": "nova_code_interpreter", "input": {}, "type": "server_tool_use"}
    body = sent(request(HI, model(Opaque(dialect="bedrock.converse", kind="toolUse", raw=raw)), HI))

    assert {"toolUse": raw} == body["messages"][1]["content"][0]


# ── cache marks ────────────────────────────────────────────────────────────────────────────


def test_cache_marks_are_blocks() -> None:
    """Behind the part that they mark; a time that the service lacks is brought near; inside results there is none."""
    losses: list[Loss] = []
    result = ToolResult(
        call_id="call_1", parts=(Text(text="x", cache=CacheMark(at="inner")),), cache=CacheMark(ttl="1h")
    )
    body = sent(
        request(
            Message(role="system", parts=(Text(text="s", cache=CacheMark(ttl="30m", at="mark")),)),
            user(Text(text="a", cache=CacheMark(ttl="5m")), Text(text=" ", cache=CacheMark(at="lost"))),
            model(CALL),
            Message(role="tool", parts=(result,)),
        ),
        losses,
    )

    assert [{"text": "s"}, {"cachePoint": {"type": "default"}}] == body["system"]
    assert {"cachePoint": {"type": "default", "ttl": "5m"}} == body["messages"][0]["content"][1]
    assert {"cachePoint": {"type": "default", "ttl": "1h"}} == body["messages"][2]["content"][1]
    assert {("mark", "approximated"), ("lost", "dropped"), ("inner", "dropped")} <= set(told(losses))


# ── media ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (Media(kind="image", mime_type="image/png", base64="AAAA"), {"image": {"format": "png"}}),
        (Media(kind="image", base64="/9j/AAAA"), {"image": {"format": "jpeg"}}),
        (Media(kind="image", url="data:image/gif;base64,AAAA"), {"image": {"format": "gif"}}),
        (Media(kind="video", mime_type="video/mp4", base64="AAAA"), {"video": {"format": "mp4"}}),
        (Media(kind="video", mime_type="video/3gpp", base64="AAAA"), {"video": {"format": "three_gp"}}),
        (Media(kind="audio", mime_type="audio/mpeg", base64="AAAA"), {"audio": {"format": "mp3"}}),
        (
            Media(kind="file", mime_type="application/pdf", base64="AAAA"),
            {"document": {"format": "pdf", "name": "document-1"}},
        ),
        (Media(kind="file", url="data:text/plain,AB%43"), {"document": {"format": "txt", "name": "document-1"}}),
    ],
)
def test_media_by_content(media: Media, block: Json) -> None:
    """Each kind has its block, with the format without its family."""
    body = sent(request(user("see", media)))
    found = body["messages"][0]["content"][1]
    kind = next(iter(block))

    assert {"bytes"} == found[kind]["source"].keys()
    assert block == {kind: {key: value for key, value in found[kind].items() if key != "source"}}


def test_media_in_s3() -> None:
    """The service fetches from S3 alone; the name tells the format."""
    body = sent(request(user("see", Media(kind="video", url="s3://bucket/film.mov"))))

    assert {"format": "mov", "source": {"s3Location": {"uri": "s3://bucket/film.mov"}}} == body["messages"][0][
        "content"
    ][1]["video"]


def test_documents_have_neutral_names_and_a_text() -> None:
    """A file's name can talk to the model: it is not sent, and told. A document alone gets a text beside it."""
    losses: list[Loss] = []
    files = [
        Media(kind="file", mime_type="application/pdf", base64="AAAA", name="ignore all.pdf", at="f") for _ in "ab"
    ]
    body = sent(request(user(*files)), losses)

    assert ["document-1", "document-2"] == [block["document"]["name"] for block in body["messages"][0]["content"][:2]]
    assert {"text": "."} == body["messages"][0]["content"][2]
    assert {("f.filename", "dropped"), ("messages", "invented")} == set(told(losses))


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", url="https://example.com/a.png", at="m"),
        Media(kind="file", file_id="file-1", at="m"),
        Media(kind="file", mime_type="application/zip", base64="AAAA", at="m"),
        Media(kind="image", base64="AAAA", at="m"),
    ],
)
def test_media_that_it_cannot_read_are_refused(media: Media) -> None:
    """URLs of the web, ids of other services, types that it does not know."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(request(user("see", media)))
    assert "m" == refusal.value.param


def test_where_media_may_stand() -> None:
    """In turns of the user and in results, but no sound there; never in turns of the model."""
    image = Media(kind="image", mime_type="image/png", base64="AAAA", detail="high", at="m")
    sound = Media(kind="audio", mime_type="audio/wav", base64="AAAA", at="m")
    losses: list[Loss] = []
    result = Message(role="tool", parts=(ToolResult(call_id="call_1", parts=(image,)),))
    body = sent(request(HI, model(CALL), result), losses)

    assert "image" in body["messages"][2]["content"][0]["toolResult"]["content"][0]
    assert ("m.detail", "dropped") in told(losses)
    noisy = Message(role="tool", parts=(ToolResult(call_id="call_1", parts=(sound,)),))
    for messages in ((HI, model(CALL), noisy), (HI, model(image), HI)):
        with pytest.raises(UnsupportedParameter):
            sent(request(*messages))


# ── anything ───────────────────────────────────────────────────────────────────────────────

TEXTS = st.builds(Text, text=st.text(max_size=4))
TURNS = st.lists(
    st.one_of(
        st.builds(user, TEXTS, TEXTS),
        st.builds(model, TEXTS),
        st.builds(lambda text: Message(role="system", parts=(text,)), TEXTS),
        st.just(None),
    ),
    max_size=7,
)


@given(TURNS)
def test_whatever_is_said_is_valid_there(conversation: list[Message | None]) -> None:
    """Turns alternate, begin with the user's and hold no blank text; None stands for a call with its result."""
    messages = [message for one in conversation for message in ([model(CALL), RESULT] if one is None else [one])]
    if not messages:
        return
    body = sent(request(*messages))
    roles = [one["role"] for one in body["messages"]]

    assert roles == ["user" if i % 2 == 0 else "assistant" for i in range(len(roles))]
    assert all(block.get("text", "x").strip() for one in body["messages"] for block in one["content"])
