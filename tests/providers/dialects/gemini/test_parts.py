"""Parts, read and written."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Media, Opaque, Reasoning, Seal, Text, ToolCall, ToolResult
from providers.canonical.errors import MalformedRequest
from providers.dialects.gemini.encode import _own_part
from providers.dialects.gemini.parts import AnswerIds, RequestIds, decode_part, media_kind
from providers.wire.json import decode as read_json
from providers.wire.json import encode
from tests.providers.dialects.gemini.spoken import Json


def part(value: Json) -> Any:
    ids = RequestIds()
    return decode_part(value, "p", ids.call, ids.result)


CALL = {"name": "f", "args": {"a": 1}, "id": "x"}
BLOB = {"mimeType": "image/png", "data": "AA=="}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"text": "x"}, Text),
        ({"text": ""}, Text),
        ({"text": "x", "thought": False}, Text),
        ({"text": "x", "thoughtSignature": "s"}, Text),
        ({"thoughtSignature": "s"}, Text),
        ({"text": "x", "partMetadata": {"a": 1}}, Text),
        ({"text": "x", "thought": True}, Reasoning),
        ({"thought": True, "thought_signature": "s"}, Reasoning),
        ({"functionCall": CALL}, ToolCall),
        ({"function_call": {"name": "f"}, "thoughtSignature": "s"}, ToolCall),
        ({"functionCall": {"name": "f", "args": None}}, ToolCall),
        ({"functionCall": {"name": "f", "id": "", "willContinue": True}}, ToolCall),
        ({"inlineData": BLOB}, Media),
        ({"inlineData": {"mimeType": "image/png", "data": "_-_-"}}, Media),
        ({"inlineData": {"mimeType": "image/png", "data": "_-8="}}, Media),
        ({"inlineData": {"mimeType": "image/png", "data": "_-8"}}, Media),
        ({"inline_data": {"mime_type": "image/png", "data": "AA==", "display_name": "n"}}, Media),
        ({"inlineData": BLOB, "mediaResolution": {"level": "media_resolution_high"}}, Media),
        ({"inlineData": BLOB, "mediaResolution": {"level": "MEDIA_RESOLUTION_MEDIUM"}}, Media),
        ({"fileData": {"fileUri": "gs://x"}, "videoMetadata": {"fps": 1}}, Media),
        ({"functionResponse": {"name": "f", "response": {"output": "x"}}}, ToolResult),
        ({"functionResponse": {"name": "f", "response": {"error": "x"}, "id": "x"}}, ToolResult),
        ({"functionResponse": {"name": "f", "response": {}, "scheduling": "SILENT", "parts": []}}, ToolResult),
        ({"functionResponse": {"name": "f"}}, ToolResult),
        ({"functionResponse": {"response": None}}, ToolResult),
        ({"function_response": {"name": "f", "response": {"a": [1]}, "parts": [{"inlineData": BLOB}]}}, ToolResult),
        ({"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "s"}, Opaque),
        ({"toolCall": {"tool_type": "URL_CONTEXT", "args": {"a_b": 1}}}, Opaque),
        ({"inlineData": BLOB, "thought": True}, Opaque),
        ({"video_metadata": {"startOffset": "1s"}}, Opaque),
        ({"anything": [1]}, Opaque),
    ],
)
def test_parts_are_written_as_they_were_read(value: Json, kind: type) -> None:
    """Each kind of part has its canonical value, and this dialect writes back exactly what stood there."""
    decoded = part(value)

    assert kind is type(decoded)
    assert value == read_json(encode(_own_part(decoded)))


def test_signatures_are_seals() -> None:
    """A signature on any part is a seal of this family, and knows where it stood."""
    camel, snake = (part({"text": "x", name: "s"}).seal for name in ("thoughtSignature", "thought_signature"))

    assert Seal(value="s", origin="gemini", at="p.thoughtSignature") == camel
    assert "p.thought_signature" == snake.at


def test_bytes_are_in_the_usual_alphabet() -> None:
    """Whatever alphabet the caller used: other dialects read one only."""
    assert "/+8=" == part({"inlineData": {"mimeType": "image/png", "data": "_-8"}}).base64


def test_results_are_bare_text_where_that_is_all() -> None:
    """`output`, `result` and `error` are wrappers of a text; any other object is a text of JSON."""
    texts = [
        part({"functionResponse": {"name": "f", "response": one}})
        for one in ({"result": "x"}, {"a": 1}, {"error": "x"})
    ]

    assert ["x", '{"a":1}', "x"] == [one.parts[0].text for one in texts]
    assert [False, False, True] == [one.is_error for one in texts]


def test_drafts_of_pictures_are_no_pictures() -> None:
    """An image that the model thought of is not shown."""
    assert "thought" == part({"inlineData": BLOB, "thought": True}).kind


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("x", "p"),
        ({"functionCall": 1}, "p.functionCall"),
        ({"functionCall": {}}, "p.functionCall.name"),
        ({"functionCall": {"name": "f", "args": []}}, "p.functionCall.args"),
        ({"functionResponse": {"name": "f", "response": "x"}}, "p.functionResponse.response"),
        ({"functionResponse": {"name": "f", "parts": [{"functionCall": CALL}]}}, "p.functionResponse.parts[0]"),
        ({"inlineData": {"mimeType": "x"}}, "p.inlineData.data"),
        ({"fileData": {"fileUri": 1}}, "p.fileData.fileUri"),
        ({"text": "x", "thoughtSignature": 1}, "p.thoughtSignature"),
    ],
)
def test_the_wrong_field_is_named(value: Json, field: str) -> None:
    """A part that is not as it must be is refused by its path."""
    with pytest.raises(MalformedRequest) as caught:
        part(value)

    assert field == caught.value.param


@pytest.mark.parametrize(
    ("mime_type", "kind"), [("image/png", "image"), ("AUDIO/wav", "audio"), ("video/mp4", "video"), (None, "file")]
)
def test_kinds_of_media(mime_type: str | None, kind: str) -> None:
    """By the first word of the MIME type."""
    assert kind == media_kind(mime_type)


def test_calls_without_ids_get_some() -> None:
    """In order and by name; results pair by id, else by name in order, else with what is open."""
    ids = RequestIds()
    calls = [ids.call("a", None, ""), ids.call("a", None, ""), ids.call("b", "x", ""), ids.call("c", None, "")]
    results = [
        ids.result("a", None, ""),
        ids.result("b", "x", ""),
        ids.result("a", None, ""),
        ids.result("z", None, ""),
    ]

    assert [("call_0_a", True), ("call_1_a", True), ("x", False), ("call_3_c", True)] == calls
    assert [("call_0_a", True), ("x", False), ("call_1_a", True), ("call_4_z", True)] == results


def test_ids_of_answers_differ_between_answers() -> None:
    """Made of the answer's own id: the same for a stream and a whole, another for another answer."""
    first, again, other = AnswerIds("r1"), AnswerIds("r1"), AnswerIds("r2")
    made = [one.call("f", None, "{}")[0] for one in (first, again, other)]

    assert made[0] == made[1] != made[2]
    assert first.call("f", None, "{}")[0] != made[0]
    assert ("x", False) == first.call("f", "x", "{}")
