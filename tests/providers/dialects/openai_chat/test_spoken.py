"""Messages of another dialect's caller, written for an upstream of this one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    AnyPart,
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
    Tool,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.dialect import PLAIN, Traits
from tests.corpus import schema
from tests.providers.dialects.openai_chat.speak import decoded, written

CLOSED = schema("openai.chat.request", "ChatCompletionRequest")
CALL = ToolCall(id="c1", name="f", arguments='{"a":1}')
PNG = Media(kind="image", mime_type="image/png", base64="AAAA", at="contents[0].parts[0]")
SEAL = Seal(value="AA==", origin="gemini")


def sent(*messages: Message, traits: Traits = PLAIN) -> tuple[list[Any], list[str]]:
    request = ChatRequest(dialect="elsewhere", model="m", messages=messages)
    body, losses = written(request, traits)
    if not traits.own:
        CLOSED.validate(body)
    return body["messages"], losses


def user(*parts: AnyPart) -> Message:
    return Message(role="user", parts=parts)


def model(*parts: AnyPart) -> Message:
    return Message(role="assistant", parts=parts)


def test_plain_turns() -> None:
    """One text is a string, several are a list; roles keep their names."""
    found, losses = sent(
        Message(role="system", parts=(Text(text="A"), Text(text="B"))), user(Text(text="Hi")), model(Text(text="Yes"))
    )

    both = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    assert [
        {"role": "system", "content": both},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
    ] == found
    assert [] == losses


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (PNG, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        (
            Media(kind="image", url="https://a.example/x", detail="low"),
            {"type": "image_url", "image_url": {"url": "https://a.example/x", "detail": "low"}},
        ),
        (
            Media(kind="audio", mime_type="audio/mpeg", base64="AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            Media(kind="file", mime_type="application/pdf", base64="AAAA", name="a.pdf"),
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        ),
    ],
)
def test_media(media: Media, expected: Any) -> None:
    """By their bytes, images by URL as well."""
    assert ([{"role": "user", "content": [expected]}], []) == sent(user(media))


def test_files_need_a_name() -> None:
    """The target demands one; ours is named as invented."""
    found, losses = sent(user(Media(kind="file", mime_type="application/pdf", base64="AAAA", at="p")))

    assert ("file.pdf", ["p=invented"]) == (found[0]["content"][0]["file"]["filename"], losses)


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="video", mime_type="video/mp4", base64="AAAA", at="p"),
        Media(kind="audio", mime_type="audio/flac", base64="AAAA", at="p"),
        Media(kind="audio", url="https://a.example/x", at="p"),
        Media(kind="image", url="gs://bucket/x", at="p"),
        Media(kind="image", file_id="files/1", at="p"),
        Media(kind="file", url="https://a.example/x.pdf", at="p"),
        Media(kind="file", file_id="files/1", at="p"),
    ],
)
def test_media_that_cannot_be_read_are_refused(media: Media) -> None:
    """An answer without them would be wrong: nothing is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(user(media))

    assert "p" == caught.value.param


def test_a_round_with_a_tool() -> None:
    """Results stand in messages of their own before the text of the same turn."""
    asked = model(Text(text="I look."), CALL, ToolCall(id="c2", name="g", arguments=""))
    results = (ToolResult(call_id="c1", parts=(Text(text="1"),)), ToolResult(call_id="c2"))
    found, losses = sent(user(Text(text="?")), asked, user(*results, Text(text="So?")))

    assert [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "So?"},
    ] == found[1:]
    assert [] == losses


def test_content_is_null_beside_calls() -> None:
    """The key is required there, and an empty string elsewhere."""
    found, _ = sent(model(CALL), Message(role="tool", parts=(ToolResult(call_id="c1"),)), model(Reasoning(text="hm")))

    assert [None, "", ""] == [message["content"] for message in found]


def test_a_result_without_a_call_is_refused() -> None:
    """The target would refuse the whole conversation."""
    with pytest.raises(UnsupportedParameter):
        sent(user(ToolResult(call_id="nobody")))


def test_media_in_results_move_behind_them() -> None:
    """A tool message holds only text; a user message after all results holds the rest, and this is named."""
    results = user(
        ToolResult(call_id="c1", parts=(PNG, Text(text="see"))), ToolResult(call_id="c2", parts=(Text(text="2"),))
    )
    found, losses = sent(model(CALL, ToolCall(id="c2", name="f", arguments="{}")), results, model(Text(text="ok")))

    assert ["assistant", "tool", "tool", "user", "assistant"] == [message["role"] for message in found]
    assert "image_url" == found[3]["content"][0]["type"]
    assert ["contents[0].parts[0]=approximated"] == losses


def test_media_in_results_come_before_what_is_asked_of_them() -> None:
    """Text of the same turn follows them in one message."""
    found, _ = sent(model(CALL), user(ToolResult(call_id="c1", parts=(PNG,)), Text(text="What is it?")))

    assert ["image_url", "text"] == [part["type"] for part in found[2]["content"]]


def test_failed_tools_say_so() -> None:
    """There is no field for it, so the text says it."""
    found, losses = sent(model(CALL), user(ToolResult(call_id="c1", parts=(Text(text="boom"),), is_error=True, at="r")))

    assert ("Error: boom", ["r=approximated"]) == (found[1]["content"], losses)


def test_earlier_thinking_is_not_sent() -> None:
    """Official servers read none; a row may say that its upstream does."""
    turn = model(Reasoning(text="hm", at="t", seal=SEAL), Text(text="x"))

    assert ([{"role": "assistant", "content": "x"}], ["t=dropped"]) == sent(turn)
    own = Traits(own=frozenset({"reasoning_content"}))
    assert "hm" == sent(turn, traits=own)[0][0]["reasoning_content"]


def test_marks_and_seals_are_named() -> None:
    """Cache marks, signatures and citations of another family have no place."""
    text = Text(text="x", at="p", seal=SEAL, cache=CacheMark(at="p.cache_control"), citations=(Citation(url="u"),))
    call = ToolCall(id="c", name="f", arguments="{}", seal=SEAL, at="q")
    found, losses = sent(model(text, call))

    assert {"role", "content", "tool_calls"} == found[0].keys()
    assert {"p=dropped", "p.cache_control=dropped", "q=dropped"} == set(losses)


def test_rows_may_take_more() -> None:
    """Cache marks and signatures, where the row says so."""
    own = Traits(own=frozenset({"cache_control", "extra_content"}))
    call = ToolCall(id="c", name="f", arguments="{}", seal=SEAL)
    found, losses = sent(user(Text(text="x", cache=CacheMark(ttl="5m"))), model(call), traits=own)

    assert {"type": "ephemeral", "ttl": "5m"} == found[0]["content"][0]["cache_control"]
    assert {"google": {"thought_signature": "AA=="}} == found[1]["tool_calls"][0]["extra_content"]
    assert [] == losses


def test_other_parts_are_named() -> None:
    """Blocks that only another dialect understands, pictures of the model, text after calls."""
    blob = Opaque(dialect="elsewhere", kind="executableCode", raw={}, at="o")
    found, losses = sent(model(blob, CALL, Text(text="late"), PNG))

    assert ["o=dropped", "contents[0].parts[0]=approximated", "messages=approximated"] == losses
    assert ["assistant", "user"] == [message["role"] for message in found]


# ── whatever comes ─────────────────────────────────────────────────────────────────────

_TEXT = st.text(max_size=8)
_SAID = st.lists(
    st.builds(Text, text=_TEXT)
    | st.builds(Reasoning, text=_TEXT)
    | st.builds(Refusal, text=st.text(min_size=1, max_size=4))
    | st.builds(Media, kind=st.just("image"), mime_type=st.just("image/png"), base64=st.just("AAAA")),
    max_size=3,
)


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    """Requests as another dialect might decode them, calls and results paired."""
    turns: list[Message] = []
    for number in range(draw(st.integers(1, 3))):
        turns.append(user(*draw(st.lists(st.builds(Text, text=_TEXT), min_size=1, max_size=2))))
        calls = [
            ToolCall(id=f"c{number}_{i}", name="f", arguments=draw(st.sampled_from(['{"a":1}', "{}", "oops"])))
            for i in range(draw(st.integers(0, 2)))
        ]
        turns.append(model(*draw(_SAID), *calls))
        results = [ToolResult(call_id=call.id, parts=(Text(text=draw(_TEXT)),)) for call in calls]
        if results:
            turns.append(user(*results))
    return ChatRequest(
        dialect="elsewhere",
        model="m",
        messages=tuple(turns),
        tools=(Tool(name="f"),),
        temperature=draw(st.none() | st.floats(0, 2)),
        stop=tuple(draw(st.lists(st.text(min_size=1, max_size=3), max_size=4))),
        max_output_tokens=draw(st.none() | st.integers(1, 99)),
        seed=draw(st.none() | st.integers(-5, 5)),
    )


def meaning(request: ChatRequest) -> Any:
    """Texts, refusals, media, calls and results in order; thinking aside, which is a declared loss."""
    found: list[Any] = []
    for message in request.messages:
        texts = "".join(part.text for part in message.parts if isinstance(part, Text))
        refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
        calls = [(part.id, part.name, part.arguments) for part in message.parts if isinstance(part, ToolCall)]
        results = [
            (part.call_id, part.parts[0].text)
            for part in message.parts
            if isinstance(part, ToolResult) and isinstance(part.parts[0], Text)
        ]
        found += [(message.role, texts)] if texts else []
        found += ["".join(refusals)] * bool(refusals) + calls + results
    pictures = sum(isinstance(part, Media) for message in request.messages for part in message.parts)
    return found, pictures, request.temperature, request.stop, request.max_output_tokens, request.seed


@given(conversations())
def test_what_is_written_means_the_same(request_: ChatRequest) -> None:
    """Written here and read back, a request means what it meant, but for what is declared."""
    body, losses = written(request_)
    CLOSED.validate(body)

    assert meaning(request_) == meaning(decoded(body))
    thinking = any(isinstance(part, Reasoning) for message in request_.messages for part in message.parts)
    assert thinking == any(loss.endswith("dropped") for loss in losses)
