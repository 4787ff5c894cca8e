"""The input, written for an upstream: what another dialect's caller said, as items."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    CacheMark,
    ChatRequest,
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
from providers.canonical.errors import UnsupportedParameter
from providers.dialects.openai_responses.words import carry, seal_of
from tests.providers.dialects.openai_responses.speak import SENT, call, decoded, meaning, message, reasoning, written

HI = Message(role="user", parts=(Text(text="Hi"),))
CALL = ToolCall(id="c1", name="f", arguments='{"a":1}', at="calls[0]")
PNG = Media(kind="image", mime_type="image/png", base64="AA==", at="image")
DATA = "data:image/png;base64,AA=="


def items(*messages: Message, dialect: str = "elsewhere") -> tuple[list[Any], list[str]]:
    """The input of a request, which fits the schema, and the losses."""
    body, losses = written(ChatRequest(dialect=dialect, model="m", messages=messages))
    SENT.validate(body)
    return body["input"], losses


def assistant(*parts: Any) -> Message:
    return Message(role="assistant", parts=parts, at="turn")


def result(*parts: Any, **more: Any) -> Message:
    return Message(role="tool", parts=(ToolResult(call_id="c1", parts=parts, at="result", **more),))


def test_a_conversation() -> None:
    """In order, each thing as the item that it is."""
    found, losses = items(
        HI,
        assistant(Text(text="I "), Text(text="look."), CALL),
        result(Text(text="3")),
        Message(role="system", parts=(Text(text="Be brief."),)),
        assistant(Text(text="Three.")),
    )

    assert [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Three."},
    ] == found
    assert [] == losses


def test_text_after_a_call_stays_there() -> None:
    """Items are in order, as turns of other dialects are not."""
    found, losses = items(HI, assistant(CALL, Text(text="done")), result())

    assert ["function_call", "assistant", "function_call_output"] == [
        one.get("type") or one["role"] for one in found[1:]
    ]
    assert [] == losses


def test_a_system_message_of_parts_is_an_item() -> None:
    """Instructions are one text; a second system message stands where it stood."""
    system = Message(role="system", parts=(Text(text="a"), Text(text="b")))
    found, _ = items(system, HI)

    assert {
        "role": "system",
        "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
    } == (found[0])


def test_a_request_of_system_text_alone() -> None:
    """Gets an empty message, for there must be one."""
    found, losses = items(Message(role="system", parts=(Text(text="Be brief."),)))

    assert ([{"role": "user", "content": ""}], ["messages=invented"]) == (found, losses)


def test_empty_turns_stay() -> None:
    """As the empty message that they were."""
    assert [{"role": "assistant", "content": ""}] == items(HI, assistant())[0][1:]


def test_refusals_are_said_again() -> None:
    """In a message of the model, which needs an id: the same for the same words."""
    turn = assistant(Text(text="Hm. "), Refusal(text="No."))
    found, losses = items(HI, turn)
    again, _ = items(HI, turn)

    assert [{"type": "output_text", "text": "Hm. ", "annotations": []}, {"type": "refusal", "refusal": "No."}] == (
        found[1]["content"]
    )
    assert found == again
    assert [] == losses


def test_media() -> None:
    """By content, by URL, and of OpenAI's own callers by id; a file without a name gets one."""
    pdf = Media(kind="file", mime_type="application/pdf", base64="AA==", at="file")
    url = Media(kind="image", url="https://a.example/x.png", detail="low")
    found, losses = items(Message(role="user", parts=(Text(text="?"), PNG, url, pdf)))

    assert [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": DATA, "detail": "auto"},
        {"type": "input_image", "image_url": "https://a.example/x.png", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "file.pdf"},
    ] == found[0]["content"]
    assert ["file=invented"] == losses
    held = Message(role="user", parts=(Media(kind="file", file_id="file-1"),))
    assert [{"type": "input_file", "file_id": "file-1"}] == items(held, dialect="openai.chat")[0][0]["content"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message(role="user", parts=(Media(kind="audio", base64="AA==", at="a"),)), "a"),
        (Message(role="user", parts=(Media(kind="video", url="https://a.example/x.mp4", at="a"),)), "a"),
        (Message(role="user", parts=(Media(kind="file", file_id="file-1", at="a"),)), "a"),
        (Message(role="user", parts=(Media(kind="image", url="gs://x/y", at="a"),)), "a"),
        (Message(role="system", parts=(Text(text="x"), PNG)), "image"),
        (result(Text(text="x")), "result"),
    ],
)
def test_what_cannot_be_read_is_refused(message: Message, param: str) -> None:
    """Sound, films, files of others, results of calls that nobody made: without them it is another question."""
    with pytest.raises(UnsupportedParameter) as raised:
        items(message)

    assert param == raised.value.param


def test_results_hold_media_and_errors() -> None:
    """Images stand in the output itself; a failure is said in the text."""
    found, losses = items(HI, assistant(CALL), result(Text(text="see"), PNG))
    failed, said = items(HI, assistant(CALL), result(Text(text="gone"), is_error=True))
    seen, _ = items(HI, assistant(CALL), result(PNG, is_error=True))

    image = {"type": "input_image", "image_url": DATA, "detail": "auto"}
    assert [{"type": "input_text", "text": "see"}, image] == found[-1]["output"]
    assert [] == losses
    assert ("Error: gone", ["result=approximated"]) == (failed[-1]["output"], said)
    assert [{"type": "input_text", "text": "Error:"}, image] == seen[-1]["output"]


def test_custom_calls_and_their_results() -> None:
    """The result is of the kind that the call was."""
    custom = ToolCall(id="c1", name="f", arguments="free", kind="custom")
    found, _ = items(HI, assistant(custom), result(Text(text="ok")))

    assert {"type": "custom_tool_call", "call_id": "c1", "name": "f", "input": "free"} == found[1]
    assert {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"} == found[2]


def test_empty_arguments_are_an_empty_object() -> None:
    """The target reads them as JSON."""
    assert "{}" == items(HI, assistant(ToolCall(id="c1", name="f", arguments="")), result())[0][1]["arguments"]


def test_results_among_other_parts_of_a_message() -> None:
    """As some dialects have them: results first, then what the user said."""
    mixed = Message(role="user", parts=(ToolResult(call_id="c1", parts=(Text(text="3"),)), Text(text="And?")))
    found, _ = items(HI, assistant(CALL), mixed)

    assert ["function_call_output", "user"] == [one.get("type") or one["role"] for one in found[-2:]]


def test_pictures_of_the_model_move_behind_it() -> None:
    """Into what the user says next, or into a message of their own at the end."""
    found, losses = items(HI, assistant(Text(text="Here:"), PNG), HI)
    last, _ = items(HI, assistant(PNG))

    image = {"type": "input_image", "image_url": DATA, "detail": "auto"}
    assert [image, {"type": "input_text", "text": "Hi"}] == found[-1]["content"]
    assert ["image=approximated"] == losses
    assert {"role": "user", "content": [image]} == last[-1]


# ── reasoning ──────────────────────────────────────────────────────────────────────────


def test_reasoning_goes_back_as_the_item_that_it_was() -> None:
    """In front of its call, also when it comes by way of another dialect's caller, who has only the seal."""
    item = reasoning("hm", "so")
    found, losses = items(HI, assistant(Reasoning(text="hm\n\nso", seal=seal_of(item)), CALL), result())

    assert item == found[1]
    assert "function_call" == found[2]["type"]
    assert [] == losses


def test_reasoning_of_others_stays_away() -> None:
    """With its signature; so do signatures on calls and texts."""
    seal = Seal(value="x", origin="gemini", at="seal")
    thought = Reasoning(text="hm", seal=seal, at="thought")
    sealed = ToolCall(id="c1", name="f", arguments="{}", seal=seal)
    found, losses = items(HI, assistant(thought, Text(text="a", seal=seal), sealed), result())

    assert ["assistant", "function_call", "function_call_output"] == [
        one.get("type") or one["role"] for one in found[1:]
    ]
    assert ["seal=dropped", "thought=dropped"] == list(dict.fromkeys(losses))


def test_own_reasoning_of_others_is_a_loss() -> None:
    """What a caller of this dialect brings of another vendor's model is not sent to OpenAI."""
    carried = reasoning("hm", sealed=carry(Seal(value="x", origin="anthropic"), "self"))
    signature = reasoning(sealed=carry(Seal(value="x", origin="gemini"), "call", "call_1"))
    body, losses = written(decoded(input=[carried, call(), signature]))

    assert [call()] == body["input"]
    assert ["input[0].encrypted_content=dropped", "input[2].encrypted_content=dropped"] == [
        loss for loss in losses if "encrypted" in loss
    ]


# ── what has no place ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("message", "loss"),
    [
        (Message(role="user", parts=(Text(text="a"),), name="Ann", at="m"), "m.name=dropped"),
        (Message(role="user", parts=(Text(text="a", cache=CacheMark(at="mark")),)), "mark=dropped"),
        (assistant(Text(text="a", citations=(Citation(url="u", at="cited"),))), "cited=dropped"),
        (assistant(Opaque(dialect="x", kind="y", raw={}, at="block"), Text(text="a")), "block=dropped"),
        (Message(role="user", parts=(Opaque(dialect="x", kind="y", raw={}, at="block"), HI.parts[0])), "block=dropped"),
        (Message(role="user", parts=(Media(kind="image", base64="AA==", name="a.png", at="i"),)), "i.filename=dropped"),
    ],
)
def test_losses(message: Message, loss: str) -> None:
    """Are named where they stood; what stood beside them is sent."""
    assert [loss] == items(HI, message)[1]


@given(
    st.lists(
        st.sampled_from(["text", "call", "reasoning", "refusal", "picture", "user", "system"]),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_is_said_fits_the_schema_and_reads_the_same(kinds: list[str]) -> None:
    """Any order of parts becomes items that fit, and read again they mean the same, in the same order."""
    parts = {
        "text": Text(text="t"),
        "call": CALL,
        "reasoning": Reasoning(text="hm", seal=seal_of(reasoning("hm"))),
        "refusal": Refusal(text="no"),
    }
    messages = [HI]
    for number, kind in enumerate(kinds):
        if kind in parts:
            part = parts[kind]
            if isinstance(part, ToolCall):
                part = ToolCall(id=f"c{number}", name="f", arguments="{}")
            messages.append(assistant(part))
        else:
            messages.append(Message(role="system" if kind == "system" else "user", parts=(Text(text=kind),)))
    found, losses = items(*messages)
    again = decoded(input=found).messages

    assert [] == losses
    assert [(m.role, meaning(p)["is"]) for m in messages for p in m.parts] == [
        (m.role, meaning(p)["is"]) for m in again for p in m.parts
    ]


def test_messages_of_the_model_come_back_with_their_ids() -> None:
    """Of this dialect's own callers: the spelling is the caller's."""
    own = [message("a"), {**message("b"), "id": "msg_2", "phase": "final_answer"}]

    assert own == written(decoded(input=own))[0]["input"]
