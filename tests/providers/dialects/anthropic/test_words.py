"""Words, names, ids and signatures."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Citation, Finish, Seal
from providers.canonical.errors import UnsupportedParameter
from providers.dialects.anthropic.words import (
    ANSWER_TOOL,
    UNSIGNED,
    finish_of,
    finish_word,
    is_marked,
    leftovers,
    read_citation,
    read_id,
    read_name,
    read_seal,
    stop_details,
    told_seal,
    write_citation,
    written_id,
    written_name,
)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("tomorrow", "other"),
        (None, "stop"),
    ],
)
def test_stop_reasons_mean_the_same_and_come_back_as_they_were(raw: str | None, reason: str) -> None:
    """Every word is understood, and written again for callers of this dialect."""
    finish = finish_of(raw, None, None)

    assert reason == finish.reason
    assert (raw or "end_turn") == finish_word(finish, own=True)[0]


@pytest.mark.parametrize(
    ("finish", "word", "same"),
    [
        (Finish(reason="stop"), "end_turn", True),
        (Finish(reason="stop", stop_sequence="END"), "stop_sequence", True),
        (Finish(reason="length", raw="length"), "max_tokens", True),
        (Finish(reason="content_filter"), "refusal", True),
        (Finish(reason="pause"), "pause_turn", True),
        (Finish(reason="error"), "end_turn", False),
        (Finish(reason="other"), "end_turn", False),
    ],
)
def test_reasons_of_other_dialects_have_a_word(finish: Finish, word: str, same: bool) -> None:
    """What has no word of its own is an end of the turn, and is named."""
    assert (word, same) == finish_word(finish, own=False)


def test_a_refusal_is_explained() -> None:
    """The explanation goes from stop_details to the canonical message and back."""
    finish = finish_of("refusal", None, {"type": "refusal", "category": "cyber", "explanation": "No."})

    assert "No." == finish.message
    assert {"type": "refusal", "category": None, "explanation": "No."} == stop_details(finish)
    assert stop_details(Finish(reason="stop", message="x")) is None


@given(st.text(min_size=1, max_size=20))
def test_names_fit_and_can_be_read_again(name: str) -> None:
    """Whatever a tool is called, its name fits the pattern, and no two names become one."""
    written = written_name(name, "tools[0].name")

    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", written)
    assert name == read_name(written)


@given(st.text(max_size=40))
def test_ids_fit_and_can_be_read_again(identifier: str) -> None:
    """Ids of other providers hold dots and colons, which this dialect refuses."""
    written = written_id(identifier)

    assert re.fullmatch(r"[a-zA-Z0-9_-]+", written)
    assert identifier == read_id(written)


@pytest.mark.parametrize("name", ["", "x" * 129, "." * 60])
def test_a_name_that_fits_in_no_spelling_is_refused(name: str) -> None:
    """It cannot be shortened without two tools becoming one."""
    with pytest.raises(UnsupportedParameter) as caught:
        written_name(name, "tools[0].name")

    assert "tools[0].name" == caught.value.param


@pytest.mark.parametrize("name", ["isthmus_x", "isthmus_-ffffff-", "isthmus_-2e-", ANSWER_TOOL, "toolu_1"])
def test_a_name_that_only_looks_escaped_is_left_alone(name: str) -> None:
    """What `written_name` would not have written is nobody's escape."""
    read = read_name(name)

    assert name == written_name(read, "x")


@given(st.text(max_size=20), st.sampled_from(["gemini", "openai", "cohere"]))
def test_foreign_signatures_are_marked_and_come_back(value: str, origin: str) -> None:
    """A signature of another family is never taken for one of this one."""
    seal = Seal(value=value, origin=origin)
    told = told_seal(seal)

    assert is_marked(told)
    assert seal == read_seal(told, "")


def test_own_signatures_stay_as_they_are() -> None:
    """And thinking that nobody signed has a mark that says so."""
    own = Seal(value="EqQB", origin="anthropic")

    assert ("EqQB", own) == (told_seal(own), read_seal("EqQB", ""))
    assert (UNSIGNED, None) == (told_seal(None), read_seal(UNSIGNED, ""))


def test_leftovers_tell_what_says_nothing() -> None:
    """null, "", [] and {} are a spelling; everything else is content."""
    assert ({"b": 0, "c": False}, {"a": None, "d": []}) == leftovers({"a": None, "b": 0, "c": False, "d": []})
    assert (None, None) == leftovers({})


@pytest.mark.parametrize(
    ("raw", "url", "title"),
    [
        ({"type": "web_search_result_location", "url": "https://a.example", "title": "A"}, "https://a.example", "A"),
        ({"type": "search_result_location", "source": "https://b.example", "title": None}, "https://b.example", None),
        ({"type": "search_result_location", "source": "note 7"}, None, None),
        ({"type": "char_location", "document_index": 0, "document_title": "D"}, None, "D"),
        ("odd", None, None),
    ],
)
def test_citations_are_kept_whole(raw: Any, url: str | None, title: str | None) -> None:
    """What another dialect can use is read out; this one gets it back as it was."""
    citation = read_citation(raw)

    assert (url, title) == (citation.url, citation.title)
    assert raw == write_citation(citation, own=True, text="")


def test_citations_of_other_dialects() -> None:
    """One with a URL becomes one of a web search, with the words that it stands on."""
    citation = Citation(url="https://a.example", title="A", start=2, end=4)
    told = write_citation(citation, own=False, text="abcdef")

    assert ("cd", "https://a.example", "A") == (told and (told["cited_text"], told["url"], told["title"]))
    assert write_citation(Citation(title="A"), own=False, text="") is None
