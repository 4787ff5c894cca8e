"""JSON arrays over time: any cut, bounded, byte for byte."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.lines import JsonArrayDecoder, LineDecoder

VALUES = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(max_size=8), st.integers(), st.lists(st.text(max_size=3)))
)


def elements(data: bytes, step: int) -> list[bytes]:
    decoder = JsonArrayDecoder()
    found = [one for start in range(0, len(data), step) for one in decoder.feed(data[start : start + step])]

    assert decoder.finished
    return found


@given(st.lists(VALUES, max_size=4), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_elements_at_any_cut(values: list[Any], step: int, indent: int | None, ascii_only: bool) -> None:
    """The elements are those of the array, however it is cut and spaced."""
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert values == [json.loads(one) for one in elements(data, step)]


def test_elements_are_the_bytes_that_stood_there() -> None:
    """Nothing inside an element is touched: brackets, quotes and backslashes in strings are content."""
    element = b'{ "a" : "]}\\"\\\\", "b":[ {} ] }'

    assert [element, b"{}"] == elements(b"[\n" + element + b"\r\n,\r\n{}\n]\n", 3)


def test_an_array_may_be_empty() -> None:
    """No elements, and the end is seen."""
    assert [] == elements(b" [ ] ", 1)


@pytest.mark.parametrize("data", [b"{}", b"[1]", b'["a"]', b"[[]]", b"x[", b'[ "x'])
def test_other_things_are_refused(data: bytes) -> None:
    """Only one array of objects, and nothing before or between but white space and commas."""
    with pytest.raises(BadUpstreamBytes):
        JsonArrayDecoder().feed(data)


@pytest.mark.parametrize("data", [b"[{} x {}]", b'[{} "', b"[{},[]]"])
def test_elements_before_a_fault_are_given_out_first(data: bytes) -> None:
    """The fault comes with the next bytes, or with the end: as when the packets are cut there."""
    decoder = JsonArrayDecoder()

    assert [b"{}"] == decoder.feed(data)
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b" ")
    with pytest.raises(BadUpstreamBytes):
        decoder.close()


@pytest.mark.parametrize("rest", [b"{", b"]", b"x", b"\n"])
def test_what_follows_the_array_is_not_read(rest: bytes) -> None:
    """In the same packet or in the next."""
    one, other = JsonArrayDecoder(), JsonArrayDecoder()

    assert [b"{}"] == one.feed(b"[{}]" + rest) == other.feed(b"[{}]") + other.feed(rest)
    assert (True, b"") == (one.finished, one.close())


def test_an_element_is_bounded() -> None:
    """An element larger than the limit is refused, many small ones are not."""
    many = JsonArrayDecoder(limit=50)
    many.feed(b"[" + b'{"a":1},' * 5)
    for _ in range(20):
        many.feed(b'{"a":1},')
    with pytest.raises(BadUpstreamBytes):
        many.feed(b'{"a":"' + b"x" * 60)


def test_what_is_left_over_is_told() -> None:
    """An array that just ends leaves its half element."""
    decoder = JsonArrayDecoder()
    decoder.feed(b'[{"a":1}, {"b"')

    assert (b'{"b"', False) == (decoder.close(), decoder.finished)


# ── lines ──────────────────────────────────────────────────────────────────────────────

LINES = b'{"a":"\xc3\xa9"}\n\n  \r\n{"b":1}\r\n{"c'


@given(st.lists(st.integers(0, len(LINES)), max_size=6))
def test_any_split_gives_the_same_lines(cuts: list[int]) -> None:
    """Lines with their ends, blank ones left out; what has no end yet is the rest."""
    decoder = LineDecoder()
    edges = [0, *sorted(cuts), len(LINES)]
    found = [line for start, end in pairwise(edges) for line in decoder.feed(LINES[start:end])]

    assert [b'{"a":"\xc3\xa9"}\n', b'{"b":1}\r\n'] == found
    assert b'{"c' == decoder.close()


def test_a_line_has_a_limit() -> None:
    """What was complete before it is given out first."""
    decoder = LineDecoder(limit=5)

    assert [b"ok\n"] == decoder.feed(b"ok\n" + b"x" * 9)
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"x")
    with pytest.raises(BadUpstreamBytes):
        LineDecoder(limit=5).feed(b"x" * 9)
