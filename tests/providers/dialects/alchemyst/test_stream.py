"""Streams, read: the same events for any split, and every way in which a stream may end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Reasoning, Text
from providers.canonical.errors import BadUpstreamBytes, StreamTruncated, UpstreamError
from providers.canonical.stream import StreamEvent, check, fold
from providers.dialects import DIALECTS

CHAT = DIALECTS["alchemyst.chat"]


def line(kind: str, content: Any, **more: Any) -> str:
    return f"data: {json.dumps({'type': kind, 'content': content, **more}, ensure_ascii=False)}"


WHOLE = "\n".join(
    [
        ": comment",
        "event: message",
        line("thinking_update", "Plan"),
        line("thinking_update", {"step": 1}),
        "",
        line("something_new", {"a": 1}),
        line("final_response", "Grüß ", error=None),
        line("final_response", {"message": "dich 👋🏽"}),
        "data: [1]",
        line("metadata", {"chatId": "c", "title": "t", "secret": 1}),
        "data: [DONE]",
        line("final_response", "too late"),
        "",
    ]
).encode()


def events(*pieces: bytes) -> list[StreamEvent]:
    decoder = CHAT.stream_decoder()
    out: list[StreamEvent] = []
    for piece in pieces:
        out += decoder.feed(piece)
    return [*out, *decoder.close()]


def test_a_stream_is_read() -> None:
    """Thinking, text and metadata; unknown types and what comes behind the end are passed over."""
    response = fold(check(events(WHOLE)))

    assert (Reasoning(text='Plan{"step":1}'), Text(text="Grüß dich 👋🏽")) == response.choices[0].parts
    assert ({"chatId": "c", "title": "t"}, None) == (response.extra, response.usage)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=5))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    """Also within a character."""
    places = [0, *sorted(cuts), len(WHOLE)]

    assert events(WHOLE) == events(*(WHOLE[a:b] for a, b in itertools.pairwise(places)))


def test_t_6_43_one_cut_at_every_place() -> None:
    """Within each character of several bytes, too."""
    whole = events(WHOLE)

    assert [] == [at for at in range(len(WHOLE)) if whole != events(WHOLE[:at], WHOLE[at:])]


def test_byte_by_byte() -> None:
    """The smallest pieces there are."""
    assert events(WHOLE) == events(*(WHOLE[i : i + 1] for i in range(len(WHOLE))))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_blank_lines_do_not_matter(end: str) -> None:
    """Each `data:` line is an event by itself, and the last needs no end of line."""
    text = "\n".join([line("final_response", "Hi"), "data: [DONE]"]) + end

    assert "Hi" == fold(check(events(text.encode()))).choices[0].parts[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", BadUpstreamBytes, "empty"),
        ("\n\n", BadUpstreamBytes, "empty"),
        ("data: [DONE]\n", BadUpstreamBytes, "without an answer"),
        ('data: {"type":"final_response","content":"a"b"}\ndata: [DONE]\n', BadUpstreamBytes, "no JSON: 1"),
        (line("final_response", "Hi") + "\n", StreamTruncated, "DONE"),
        (line("x", None, error="down") + "\n", UpstreamError, "down"),
        (line("error", "down") + "\n", UpstreamError, "down"),
        ('{"error": "down"}', UpstreamError, "down"),
        (line("final_response", None) + "\ndata: [DONE]\n", BadUpstreamBytes, "without an answer"),
    ],
)
def test_a_stream_that_fails(text: str, kind: type[Exception], said: str) -> None:
    """What there was is given first, then the fault, never a made-up end."""
    with pytest.raises(kind) as failed:
        events(text.encode())

    assert said in str(failed.value)


def test_a_byte_order_mark_is_no_part_of_a_line() -> None:
    """The first line may begin with one, however it is cut."""
    data = f"\ufeff{line('final_response', 'Hi')}\ndata: [DONE]\n".encode()
    for at in range(len(data)):
        assert "Hi" == fold(check(events(data[:at], data[at:]))).choices[0].parts[0].text  # type: ignore[union-attr]


def test_lines_that_are_no_json_are_counted() -> None:
    """They are left out of an answer, and their number is told beside it; a line without data is none."""
    text = f"{line('final_response', 'a')}\ndata: {{\ndata:\nnoise\n{line('final_response', 'b')}\ndata: [DONE]\n"
    response = fold(check(events(text.encode())))

    assert ((Text(text="ab"),), {"unread_lines": 2}) == (response.choices[0].parts, response.extra)


def test_what_came_before_a_fault_is_given_out() -> None:
    """And the fault with the next bytes, or at the end, again and again."""
    decoder = CHAT.stream_decoder()
    data = f"{line('final_response', 'Hi')}\n{line('error', 'down')}\n".encode()

    assert 2 == len(decoder.feed(data))
    for ask in (lambda: decoder.feed(b"x"), decoder.close):
        with pytest.raises(UpstreamError):
            ask()


def test_a_line_without_end_is_refused() -> None:
    """Nothing is held without a bound."""
    decoder = CHAT.stream_decoder(limit=10)
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"data: " + b"x" * 20)
