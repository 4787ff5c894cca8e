"""Messages read: what they mean in canonical words, and that their spelling is kept."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

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
from providers.dialects.openai_chat.messages import read_audio
from tests.providers.dialects.openai_chat.samples import messages
from tests.providers.dialects.openai_chat.speak import decoded, written

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
MESSAGES = list(messages())


def message(raw: Any) -> Message:
    return decoded(messages=[raw]).messages[0]


def meaning(part: AnyPart) -> dict[str, Any]:
    """The fields of a part that say something, without spelling and place."""
    fields = {name: getattr(part, name) for name in part.__struct_fields__ if name not in ("form", "at")}
    return {name: value for name, value in fields.items() if value not in (None, (), False)}


def parts(content: Any, role: str = "user") -> list[dict[str, Any]]:
    return [meaning(part) for part in message({"role": role, "content": content}).parts]


@pytest.mark.parametrize("raw", MESSAGES, ids=lambda raw: json.dumps(raw)[:60])
def test_every_kind_of_message_comes_back_equal(raw: Any) -> None:
    """Each role, field and part of the schema, read and written, is the same JSON."""
    if raw["role"] in ("user", "system", "developer", "tool") and raw.get("content") is None:
        raw = {**raw, "content": ""}
    body, losses = written(decoded(messages=[raw]))

    assert ([raw], []) == (body["messages"], losses)


def test_roles() -> None:
    """`developer` is a system message, `function` a tool's."""
    roles = ["system", "developer", "user", "assistant"]
    request = decoded(messages=[{"role": role, "content": "x"} for role in roles])

    assert ["system", "system", "user", "assistant"] == [one.role for one in request.messages]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hi", [{"text": "Hi"}]),
        ("", [{"text": ""}]),
        ([], []),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], [{"text": "a"}, {"text": "b"}]),
        (
            [{"type": "image_url", "image_url": {"url": "https://a.example/x", "detail": "low"}}],
            [{"kind": "image", "url": "https://a.example/x", "detail": "low"}],
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
            [{"kind": "image", "mime_type": "image/png", "base64": "AAAA"}],
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg/%3E"}}],
            [{"kind": "image", "mime_type": "image/svg+xml", "base64": "PHN2Zy8+"}],
        ),
        (
            [{"type": "video_url", "video_url": {"url": "https://a.example/x"}}],
            [{"kind": "video", "url": "https://a.example/x"}],
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
            [{"kind": "audio", "mime_type": "audio/wav", "base64": "AAAA"}],
        ),
        (
            [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}],
            [{"kind": "file", "mime_type": "application/pdf", "base64": "AAAA", "name": "a.pdf"}],
        ),
        ([{"type": "file", "file": {"file_id": "file-1"}}], [{"kind": "file", "file_id": "file-1"}]),
        (
            [{"type": "hologram", "x": 1}],
            [{"dialect": "openai.chat", "kind": "hologram", "raw": {"type": "hologram", "x": 1}}],
        ),
    ],
)
def test_content(content: Any, expected: Any) -> None:
    """Strings and parts: text, images, sounds, films, files; what we do not know is kept whole."""
    assert expected == parts(content)


def test_cache_marks() -> None:
    """OpenAI's and Anthropic's marks mean the same."""
    text = {"type": "text", "text": "x"}

    assert CacheMark(ttl="30m", at="messages[0].content[0].prompt_cache_breakpoint") == (
        message({"role": "user", "content": [{**text, "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}]})
        .parts[0]
        .cache
    )
    assert [{"text": "x", "cache": CacheMark(at="messages[0].content[0].cache_control")}] == parts(
        [{**text, "cache_control": {"type": "ephemeral"}}]
    )


def test_what_an_assistant_said() -> None:
    """Thinking, text, a refusal and calls, in the order in which a model says them."""
    raw = {
        "role": "assistant",
        "tool_calls": [CALL],
        "refusal": "no",
        "content": "t",
        "reasoning_content": "r",
        "name": "bob",
    }
    found = message(raw)

    assert [
        Reasoning(text="r", form={"key": "reasoning_content"}, at="messages[0].reasoning_content"),
        Text(text="t", at="messages[0].content"),
        Refusal(text="no", at="messages[0].refusal"),
        ToolCall(id="call_1", name="f", arguments='{"a": 1}', at="messages[0].tool_calls[0]"),
    ] == list(found.parts)
    assert "bob" == found.name


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thinking_has_two_names(key: str) -> None:
    """DeepSeek's and OpenRouter's."""
    assert [{"text": "hm"}] == [
        meaning(part) for part in message({"role": "assistant", key: "hm", "content": []}).parts
    ]


def test_details_of_thinking_stay_with_it() -> None:
    """OpenRouter's texts are the thinking; where there is more than texts all of it is state of the model."""
    details = [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]
    hidden = [{"type": "reasoning.encrypted", "data": "c2VhbGVk"}]
    value, at = '[{"type":"reasoning.encrypted","data":"c2VhbGVk"}]', "messages[0].reasoning_details"

    assert [{"text": "hm"}] == [meaning(part) for part in thinking(details)]
    seal = Seal(value=value, origin="openrouter", at=at)
    assert [{"text": "", "redacted": True, "seal": seal}] == [meaning(part) for part in thinking(hidden)]
    assert [] == thinking("no list") == thinking([])


def thinking(details: Any) -> list[Any]:
    parts = message({"role": "assistant", "content": "x", "reasoning_details": details}).parts
    return [part for part in parts if isinstance(part, Reasoning)]


def test_calls_of_custom_tools() -> None:
    """Their input is plain text."""
    raw = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    part = message({"role": "assistant", "tool_calls": [raw]}).parts[0]

    assert {"id": "c", "name": "sql", "arguments": "select 1", "kind": "custom"} == meaning(part)


def test_malformed_arguments_are_kept() -> None:
    """A model's own mistakes and its number spelling survive."""
    arguments = '{"n": 1.0, "big": 123456789012345678901234567890, oops'
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    part = message({"role": "assistant", "tool_calls": [call]}).parts[0]

    assert isinstance(part, ToolCall)
    assert arguments == part.arguments


def test_signatures() -> None:
    """Google's signature of a call or a text is read where Google's own endpoint writes it."""
    signed = {"extra_content": {"google": {"thought_signature": "AA=="}}}
    found = message({"role": "assistant", "content": "t", "tool_calls": [{**CALL, **signed}], **signed})

    assert [Seal(value="AA==", origin="gemini")] * 2 == [part.seal for part in found.parts]
    assert [Text, ToolCall] == [type(part) for part in found.parts]


def test_a_signature_without_text() -> None:
    """It belongs to an empty text after the calls, as Gemini sends it."""
    signed = {"extra_content": {"google": {"thought_signature": "AA=="}}}
    raw = {"role": "assistant", "content": None, "tool_calls": [CALL], **signed}
    found = message(raw)

    assert Seal(value="AA==", origin="gemini") == found.parts[0].seal
    assert raw == written(decoded(messages=[raw]))[0]["messages"][0]


def test_citations() -> None:
    """Annotations belong to the text."""
    cited = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 4}
    raw = {"role": "assistant", "content": "text", "annotations": [{"type": "url_citation", "url_citation": cited}]}

    source = Citation(url="https://a.example", title="A", start=0, end=4, at="messages[0].annotations")

    assert [{"text": "text", "citations": (source,)}] == [meaning(part) for part in message(raw).parts]
    assert raw == written(decoded(messages=[raw]))[0]["messages"][0]


def test_results() -> None:
    """A tool's message answers one call."""
    raw = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}

    assert (
        ToolResult(call_id="call_1", parts=(Text(text="sunny", at="messages[0].content"),), at="messages[0]")
        == message(raw).parts[0]
    )


def test_functions_from_before_tools_are_paired() -> None:
    """A function_call and the message that answers it by name share an id of ours."""
    turns = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    ]
    first, second = decoded(messages=turns).messages

    call, result = first.parts[0], second.parts[0]
    assert isinstance(call, ToolCall) and isinstance(result, ToolResult)
    assert (call.id, True, True) == (result.call_id, call.invented_id, result.invented_id)
    assert turns == written(decoded(messages=turns))[0]["messages"]


def test_the_models_sound_and_pictures() -> None:
    """A reference to an earlier spoken answer, and pictures as OpenRouter has them."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}
    raw = {"role": "assistant", "content": "x", "audio": {"id": "audio_1"}, "images": [image]}
    found = [part for part in message(raw).parts if isinstance(part, Media)]

    assert [("image", None), ("audio", "audio_1")] == [(part.kind, part.file_id) for part in found]
    assert raw == written(decoded(messages=[raw]))[0]["messages"][0]


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"RIFF\x24\x00\x00\x00WAVE", "audio/wav"),
        (b"ID3\x04\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf3\x40\xc0", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"OggS\x00\x02", "audio/ogg"),
        (b"fLaC\x00\x00", "audio/flac"),
        (b"\x01\x00\x02\x00", "audio/L16;codec=pcm;rate=24000"),
    ],
)
def test_a_sound_says_what_it_is(head: bytes, mime: str) -> None:
    """Answers do not tell the type of a sound, callers of Gemini want it: its first bytes do, or it is raw."""
    data = base64.b64encode(head + bytes(8)).decode()

    assert mime == read_audio({"id": "a", "data": data, "expires_at": 1, "transcript": "Hi"}, "").mime_type
    assert read_audio({"id": "a"}, "").mime_type is None


def test_unknown_parts_are_opaque() -> None:
    """So another dialect's encoder can name them."""
    part = message({"role": "user", "content": [{"type": "x"}]}).parts[0]

    assert Opaque(dialect="openai.chat", kind="x", raw={"type": "x"}, at="messages[0].content[0]") == part


def test_a_call_in_both_forms_is_one() -> None:
    """llama-cpp-python answers so, and its clients send it back; two different calls stay two."""
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": "a", "type": "function", "function": function}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}

    def names(legacy: Any) -> list[str]:
        found = decoded(messages=[{"role": "user", "content": "Hi"}, {**message, "function_call": legacy}])
        return [part.name for part in found.messages[1].parts if isinstance(part, ToolCall)]

    assert ["f"] == names(function)
    assert ["f", "g"] == names({"name": "g", "arguments": "{}"})
