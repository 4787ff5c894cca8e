"""Small shapes that both halves share."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Citation, Finish, Media, Seal
from providers.dialects.openai_chat.words import (
    finish_word,
    from_url,
    join_base64,
    leftovers,
    put_seal,
    read_citation,
    restore,
    take_mark,
    take_seal,
    to_url,
    write_citation,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x.png",
        "data:image/png;base64,AAAA",
        "data:image/png;charset=x;base64,AAAA",
        "data:;base64,AAAA",
        "data:text/plain,a%20b",
        "data:,",
        "DATA:image/png;BASE64,AAAA",
    ],
)
def test_urls_come_back_as_they_were(url: str) -> None:
    """Taken apart or not, however they are spelled."""
    assert url == to_url(from_url(url, kind="image"), own=True)


def test_data_urls_are_taken_apart() -> None:
    """Another dialect gets the bytes and the type; without one it is text (RFC 2397)."""
    image, text = from_url("data:image/png;base64,AAAA", kind="image"), from_url("data:,a%20b", kind="file")

    assert ("image/png", "AAAA") == (image.mime_type, image.base64)
    assert ("text/plain", "YSBi") == (text.mime_type, text.base64)
    assert to_url(Media(kind="image", file_id="x"), own=False) is None


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


def test_leftovers() -> None:
    """Keys that say something are extra; those that only stand there are a spelling, and come back."""
    assert (None, None) == leftovers({})
    assert ({"a": 0, "b": False}, {"c": None, "d": "", "e": [], "f": {}}) == leftovers(
        {"a": 0, "b": False, "c": None, "d": "", "e": [], "f": {}}
    )
    assert {"c": 1, "d": ""} == restore({"c": 1}, {"keep": {"c": None, "d": ""}})


def test_marks() -> None:
    """Of two spellings at once the first is the mark; the other stays, to be named on its own."""
    rest: dict[str, Any] = {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"ttl": "30m"}, "x": 1}
    mark, written = take_mark(rest, "p")

    assert ("30m", "p.prompt_cache_breakpoint") == (mark and mark.ttl, mark and mark.at)
    assert {"cache_control": {"type": "ephemeral"}, "x": 1} == rest
    assert {"prompt_cache_breakpoint": {"ttl": "30m"}} == written


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
