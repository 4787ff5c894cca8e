"""Content blocks: understood, and written back as they were."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from providers.canonical.chat import CacheMark, Media, Opaque, Reasoning, Seal, Text, ToolCall, ToolResult
from providers.dialects.anthropic.blocks import raw_inputs, read_block, write_block
from tests.providers.dialects.anthropic.spoken import Json, block_of

EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}
BLOCKS: dict[str, Json] = {
    "text": {"type": "text", "text": "Hi"},
    "empty text": {"type": "text", "text": ""},
    "cached text": {"type": "text", "text": "Hi", "cache_control": EPHEMERAL},
    "text with an empty mark": {"type": "text", "text": "Hi", "cache_control": {}},
    "uncached text": {"type": "text", "text": "Hi", "cache_control": None},
    "cited text": {"type": "text", "text": "Hi", "citations": [{"type": "char_location", "cited_text": "H"}]},
    "text with no citations": {"type": "text", "text": "Hi", "citations": []},
    "text of tomorrow": {"type": "text", "text": "Hi", "mood": "good"},
    "image": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
    "image by URL": {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}},
    "image by id": {"type": "image", "source": {"type": "file", "file_id": "f"}, "transformations": {"a": 1}},
    "image from elsewhere": {"type": "image", "source": {"type": "s3", "uri": "s3://a"}},
    "document": {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        "title": "T",
        "context": "C",
        "citations": {"enabled": True},
        "cache_control": EPHEMERAL,
    },
    "document by URL": {"type": "document", "source": {"type": "url", "url": "https://a.example/a.pdf"}, "title": None},
    "document as text": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Ä"}},
    "document as string": {"type": "document", "source": {"type": "content", "content": "a"}},
    "document as blocks": {
        "type": "document",
        "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    },
    "document with images": {
        "type": "document",
        "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
    },
    "search result": {
        "type": "search_result",
        "source": "https://a.example",
        "title": "A",
        "content": [{"type": "text", "text": "found"}],
        "citations": {"enabled": True},
    },
    "thinking": {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
    "hidden thinking": {"type": "thinking", "thinking": "", "signature": "EqQB"},
    "unsigned thinking": {"type": "thinking", "thinking": "hm", "signature": ""},
    "marked thinking": {"type": "thinking", "thinking": "hm", "signature": "isthmus.gemini.AA=="},
    "marked as unsigned": {"type": "thinking", "thinking": "hm", "signature": "isthmus.unsigned"},
    "redacted thinking": {"type": "redacted_thinking", "data": "Emw"},
    "marked redacted thinking": {"type": "redacted_thinking", "data": "isthmus.openai.AA=="},
    "call": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1.50, "b": 10**22}},
    "call without input": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    "call by a tool": {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "look",
        "input": {},
        "caller": {"type": "direct"},
        "cache_control": EPHEMERAL,
    },
    "signed call": {"type": "tool_use", "id": "a", "name": "b", "input": {}, "signature": "isthmus.gemini.AA=="},
    "call with an escaped name": {"type": "tool_use", "id": "isthmus_a-2e-b", "name": "isthmus_c-2e-d", "input": {}},
    "result": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"},
    "result without content": {"type": "tool_result", "tool_use_id": "toolu_1"},
    "result of nothing": {"type": "tool_result", "tool_use_id": "toolu_1", "content": None},
    "result of no blocks": {"type": "tool_result", "tool_use_id": "toolu_1", "content": []},
    "failed result": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x", "is_error": True},
    "good result": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x", "is_error": False},
    "result with parts": {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [
            {"type": "text", "text": "a"},
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
            {"type": "tool_reference", "tool_name": "x"},
            {"type": "thinking", "thinking": "odd", "signature": "here"},
        ],
        "cache_control": EPHEMERAL,
    },
    "server tool": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    "its result": {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    "upload": {"type": "container_upload", "file_id": "f"},
    "block of tomorrow": {"type": "hologram", "data": [1, None]},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_comes_back_as_it_was(name: str) -> None:
    """Spellings, nulls and fields of tomorrow included."""
    import msgspec

    part = block_of(BLOCKS[name], "assistant")

    assert BLOCKS[name] == msgspec.json.decode(msgspec.json.encode(write_block(part)))


def test_texts() -> None:
    """A cache mark and citations are understood; what is not is kept as extra."""
    assert Text(text="Hi", at="messages[0].content[0]") == block_of(BLOCKS["text"])
    assert CacheMark(ttl="1h", at="messages[0].content[0].cache_control") == block_of(BLOCKS["cached text"]).cache
    assert {"mood": "good"} == block_of(BLOCKS["text of tomorrow"]).extra
    assert 1 == len(block_of(BLOCKS["cited text"]).citations)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image", {"kind": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}),
        ("image by URL", {"kind": "image", "url": "https://a.example/a.png"}),
        ("image by id", {"kind": "image", "file_id": "f"}),
        ("document", {"kind": "file", "base64": "JVBERi0=", "mime_type": "application/pdf", "name": "T"}),
        ("document as text", {"kind": "file", "mime_type": "text/plain", "base64": "w4Q="}),
    ],
)
def test_media(name: str, expected: dict[str, str]) -> None:
    """Images and documents, by content, URL or id."""
    part = block_of(BLOCKS[name])

    assert isinstance(part, Media)
    assert expected == {key: getattr(part, key) for key in expected}


def test_a_document_of_text_blocks_is_a_text_file() -> None:
    """So that other dialects can read it; one with images in it stays opaque."""
    part = block_of(BLOCKS["document as blocks"])

    assert "a\n\nb" == b64decode(part.base64).decode()
    assert isinstance(block_of(BLOCKS["document with images"]), Opaque)


def test_a_search_result_is_text_with_a_source() -> None:
    """Its text counts in every dialect; where it came from is only this one's."""
    part = block_of(BLOCKS["search result"])

    assert ("found", {"source", "title", "citations"}) == (part.text, set(part.extra))


def test_thinking_is_sealed_by_whoever_signed_it() -> None:
    """An empty text with a signature is a block like any other; a mark of ours tells the origin."""
    hidden, marked, unsigned = (
        block_of(BLOCKS[name]) for name in ("hidden thinking", "marked thinking", "marked as unsigned")
    )
    at = "messages[0].content[0].signature"

    assert ("", Seal(value="EqQB", origin="anthropic", at=at)) == (hidden.text, hidden.seal)
    assert Seal(value="AA==", origin="gemini", at=at) == marked.seal
    assert unsigned.seal is None
    redacted = block_of(BLOCKS["redacted thinking"])
    assert isinstance(redacted, Reasoning) and redacted.redacted and redacted.seal is not None


def test_calls_keep_their_arguments_as_they_were_written() -> None:
    """Numbers keep their spelling, keys their order; ids and names that we escaped are read."""
    from tests.providers.dialects.anthropic.spoken import ANTHROPIC, asked

    data = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":['
        b'{"type":"text","text":"a"},{"type":"tool_use","id":"t","name":"n","input":{"z":1.50, "a":1E2}}]}]}'
    )
    part: Any = ANTHROPIC.decode_request(asked(data)).messages[1].parts[1]

    assert '{"z":1.50,"a":1E2}' == part.arguments
    escaped = block_of(BLOCKS["call with an escaped name"])
    assert isinstance(escaped, ToolCall)
    assert ("a.b", "c.d") == (escaped.id, escaped.name)
    signed = block_of(BLOCKS["signed call"]).seal
    assert ("gemini", "AA==") == (signed.origin, signed.value)


def test_results_hold_what_a_tool_may_return() -> None:
    """Texts, media, and blocks that only this dialect knows."""
    part = block_of(BLOCKS["result with parts"])

    assert isinstance(part, ToolResult)
    assert [Text, Media, Opaque, Opaque] == [type(inner) for inner in part.parts]
    assert [True, False, False] == [
        block_of(BLOCKS[name]).is_error for name in ("failed result", "good result", "result")
    ]


@pytest.mark.parametrize(
    "raw", [7, {}, {"type": "text"}, {"type": "tool_use", "id": 1}, {"type": ["x"]}, {"type": "thinking"}]
)
def test_what_is_not_as_it_should_be_is_opaque(raw: Any) -> None:
    """An upstream's odd block is passed on, not refused."""
    part = read_block(raw, "content[0]")

    assert isinstance(part, Opaque)
    assert raw == write_block(part)


@pytest.mark.parametrize("data", [b'{"content":[{"input":', b'{"content":[{"input":{"a":"\\ud83d"}}]}', b"{}"])
def test_inputs_of_a_damaged_answer_are_not_read_raw(data: bytes) -> None:
    """Then the values that a lenient reader finds are taken."""
    assert raw_inputs(data, answer=True) in ([], [[]])
