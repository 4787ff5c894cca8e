"""Small shapes that both halves share."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Citation, Finish, Seal
from providers.dialects.openai_chat.words import (
    finish_word,
    join_base64,
    put_seal,
    read_citation,
    take_seal,
    write_citation,
)


def test_base64_pieces_are_joined_by_their_bytes() -> None:
    """Padding inside would end the text; what is no base64 is only put together."""
    assert "QUI=" == join_base64(["QQ==", "Qg=="])
    assert "AA" == join_base64(["AA"])
    assert "A!B!" == join_base64(["A!", "B!"])


def test_signatures_leave_what_stands_beside_them() -> None:
    """Taken out of `extra_content` and put back, other keys stay."""
    whole: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "s", "x": 1}, "other": 2}}
    rest = dict(whole)
    seal = take_seal(rest)

    assert Seal(value="s", origin="gemini") == seal
    assert {"extra_content": {"google": {"x": 1}, "other": 2}} == rest
    put_seal(rest, Seal(value="s", origin="gemini"))
    assert whole == rest


@pytest.mark.parametrize("content", [None, 1, {}, {"google": 1}, {"google": {}}, {"google": {"thought_signature": 1}}])
def test_no_signature(content: Any) -> None:
    """Anything else stays where it is."""
    rest = {"extra_content": content}

    assert take_seal(rest) is None
    assert {"extra_content": content} == rest


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}},
        {
            "type": "url_citation",
            "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2, "content": "c"},
            "x": 1,
        },
        {"type": "file_citation", "file_citation": {"file_id": "f"}},
    ],
)
def test_citations_come_back_as_they_were(raw: Any) -> None:
    """Those that we do not know are kept whole, and nothing for another dialect."""
    assert raw == write_citation(read_citation(raw), own=True)
    assert (write_citation(read_citation(raw), own=False) is None) == ("url_citation" not in raw)


def test_citations_without_places() -> None:
    """The schema requires them: the whole text."""
    written = write_citation(Citation(url="u"), own=False, before=3, length=4)

    assert written is not None
    assert (3, 7) == (written["url_citation"]["start_index"], written["url_citation"]["end_index"])


@pytest.mark.parametrize(
    ("finish", "own", "word"),
    [
        (Finish(reason="tool_calls", raw="stop"), True, "tool_calls"),
        (Finish(reason="refusal", raw="stop"), True, "stop"),
        (Finish(reason="tool_calls", raw="function_call"), True, "function_call"),
        (Finish(reason="stop", raw="eos"), True, "stop"),
        (Finish(reason="stop", raw="length"), False, "stop"),
    ],
)
def test_own_words_come_back_where_they_are_right(finish: Finish, own: bool, word: str) -> None:
    """A word that clients know and that fits the reason; else the right one."""
    assert (word, True) == finish_word(finish, own)
