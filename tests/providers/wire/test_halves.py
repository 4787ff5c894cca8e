"""Characters that come in two halves, in two events of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.halves import Halves
from providers.wire.json import decode_upstream

Json = Any


def read(*events: Json) -> list[Json]:
    halves = Halves()
    return [halves.decode(json.dumps(event).encode()) for event in events]


def units(text: str) -> list[str]:
    """A text by its UTF-16 units: lone surrogates where it holds emoji."""
    data = text.encode("utf-16-be", "surrogatepass")
    return [data[at : at + 2].decode("utf-16-be", "surrogatepass") for at in range(0, len(data), 2)]


@given(st.text())
def test_a_text_cut_anywhere_is_the_text(text: str) -> None:
    """One event for each UTF-16 unit."""
    told = read(*({"delta": {"content": unit}} for unit in units(text)))

    assert text == "".join(event["delta"]["content"] for event in told)


def test_halves_of_several_texts_are_kept_apart() -> None:
    """By the number of what an event goes on with, and by the key of the text."""
    events = [
        {"index": 0, "text": "a\ud83d"},
        {"index": 1, "text": "b\ud83d", "more": "c\ud83d"},
        {"index": 0, "text": ""},
        {"index": 1, "text": "\ude80", "more": "\ude03"},
        {"index": 0, "text": "\ude00d"},
    ]

    assert ["a", "b", "", "\U0001f680", "\U0001f600d"] == [event["text"] for event in read(*events)]
    assert [("b", "c"), ("\U0001f680", "\U0001f603")] == [
        (event["text"], event["more"]) for event in read(*events) if "more" in event
    ]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["a\ud83d", "b"], ["a", "\ufffdb"]),
        (["a\ud83d", "\ud83d", "\ude00"], ["a", "\ufffd", "\U0001f600"]),
        (["a\ude00"], ["a\ufffd"]),
        (["a\ud83db"], ["a\ufffdb"]),
        (["a\ud83d"], ["a"]),
    ],
)
def test_half_a_character_alone(texts: list[str], told: list[str]) -> None:
    """Says that something is missing, once."""
    assert told == read(*texts)


@pytest.mark.parametrize("end", [{"finish_reason": "stop"}, {"finishReason": "STOP"}, {"done": True}])
def test_the_end_of_a_text_waits_for_nothing(end: Json) -> None:
    """Half a character there is U+FFFD, whether it has come now or before."""
    assert "a\ufffd" == read({"text": "a\ud83d", **end})[0]["text"]
    assert "\ufffd" == read({"text": "a\ud83d"}, {"text": "", **end})[1]["text"]


def test_no_more_texts_wait_than_there_can_be() -> None:
    """An upstream that goes on with ever new texts gains no memory."""
    told = read(*({"index": number, "text": "\ud83d"} for number in range(100)))

    assert ["", "\ufffd"] == [told[63]["text"], told[64]["text"]]


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_an_event_alone_is_read_as_any_answer(data: bytes) -> None:
    """The same value, or the same error."""
    try:
        expected = decode_upstream(data)
    except BadUpstreamBytes as error:
        with pytest.raises(BadUpstreamBytes, match=str(error)):
            Halves().decode(data)
    else:
        assert expected == Halves().decode(data)


@pytest.mark.parametrize("depth", [700, 5000])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_what_is_nested_too_deep_is_the_upstreams_fault(depth: int, opening: bytes, closing: bytes) -> None:
    """Whether it cannot be read, or not be looked through; what is not too deep is read."""
    with pytest.raises(BadUpstreamBytes):
        Halves().decode(opening * depth + b'"\\ud83d"' + closing * depth)

    assert Halves().decode(opening * 50 + b'"x\\ud83dx"' + closing * 50)
