"""Server-sent events from bytes, at any split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.sse import PING, SseDecoder, SseEvent, encode_event, is_silent, last_event, stray, stray_json


def read(*pieces: bytes, limit: int = 1 << 20) -> list[SseEvent]:
    decoder = SseDecoder(limit)
    return [event for piece in pieces for event in decoder.feed(piece)]


def said(*pieces: bytes) -> list[tuple[bytes | None, bytes | None]]:
    return [(data, name) for data, name, _ in read(*pieces)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: x\n\n", [(b"x", None)]),
        (b"data:x\n\n", [(b"x", None)]),
        (b"data:  x \n\n", [(b"x", None)]),
        (b"data\ndata: x\ndata:\n\n", [(b"x", None)]),
        (b"data: a\ndata: b\n\n", [(b"a\nb", None)]),
        (b"event: e\ndata: x\nid: 1\nretry: 5\n\n", [(b"x", b"e")]),
        (b": ping\n\n", [(None, None)]),
        (b"data:\n\n", [(b"", None)]),
        (b"data\n\n", [(b"", None)]),
        (b"datax: 1\n\n", [(None, None)]),
        (b"\xef\xbb\xbfdata: x\n\n", [(b"x", None)]),
        (b"data: \xef\xbb\xbf\n\n", [(b"\xef\xbb\xbf", None)]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [(b"a", None), (b"b", None), (b"c", None)]),
        ("data: a\u2028b\u0085c\n\n".encode(), [("a\u2028b\u0085c".encode(), None)]),
        (b"data: half", []),
    ],
)
def test_events(stream: bytes, events: list[tuple[bytes | None, bytes | None]]) -> None:
    """As the standard has it, but for white space around data, whole and byte by byte."""
    assert events == said(stream) == said(*(bytes([byte]) for byte in stream))


def test_an_event_keeps_its_bytes() -> None:
    """So that a relay can pass it on untouched."""
    stream = b"event: e\r\ndata: x\r\n\r\n: c\r\n\r\n"

    assert [b"event: e\r\ndata: x\r\n\r\n", b": c\r\n\r\n"] == [raw for _, _, raw in read(stream)]


_LINES = st.lists(
    st.sampled_from([b"data: a", b"data: \xc3\xa9", b"data:", b"event: e", b": c", b"id: 1", b""]), max_size=12
)


@given(_LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 200), max_size=6))
def test_any_split_gives_the_same_events(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Also inside a character, and between CR and LF."""
    stream = end.join([*lines, b"data: z", b"", b""])
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]

    whole = said(stream)
    assert whole == said(*pieces)
    assert whole[-1][0] is not None and whole[-1][0].endswith(b"z")


@given(_LINES, st.lists(st.integers(0, 200), max_size=6))
def test_bytes_are_neither_lost_nor_doubled(lines: list[bytes], cuts: list[int]) -> None:
    """The raw bytes of all events and the rest are the stream."""
    stream = b"\n".join([*lines, b"data: z", b"", b"rest"])
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = SseDecoder()
    raw = [event[2] for a, b in pairwise(edges) for event in decoder.feed(stream[a:b])]

    assert stream == b"".join(raw) + decoder.close()


def test_the_rest() -> None:
    """What is left of an unfinished event; nothing where there is none."""
    for stream, rest in (
        (b"data: x\n\ndata: ha", b"data: ha"),
        (b"data: x\n\n", b""),
        (b"data: x\r\n\r\ndata: h\r\n", b"data: h\r\n"),
        (b"\xef\xbb\xbf", b""),
    ):
        decoder = SseDecoder()
        decoder.feed(stream)

        assert rest == decoder.close()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_events_are_bounded(end: bytes) -> None:
    """An event without end, in one line or in many, is refused when it passes the limit."""
    decoder = SseDecoder(limit=1000)

    with pytest.raises(BadUpstreamBytes):
        for _ in range(200):
            decoder.feed(b"data: xxxxxxxxxx" + end)


def test_events_before_an_endless_one_are_given_out() -> None:
    """The fault comes with the next bytes at the latest."""
    decoder = SseDecoder(limit=100)

    assert [b"a"] == [event[0] for event in decoder.feed(b"data: a\n\n" + b"x" * 200)]
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"x")


def test_writing() -> None:
    """What is written is read back."""
    assert [(b"x", None), (b"y", b"e"), (None, None)] == said(encode_event(b"x"), encode_event(b"y", b"e"), PING)


def test_single_returns_end_lines_wherever_they_stand() -> None:
    """An event whose only line ends are CRs in the middle of a packet is complete, and is given out."""
    decoder = SseDecoder()

    assert [(b"x", None, b"data: x\r\r")] == decoder.feed(b"data: x\r\rdata")
    assert b"data" == decoder.close()


def test_a_return_is_known_by_what_comes_after_it() -> None:
    """Cut apart or not: a CR before anything but LF has ended a line by itself."""
    whole, cut = SseDecoder(), SseDecoder()

    assert [(b"m", None)] == [event[:2] for event in whole.feed(b"data: m\r\n\r*")]
    assert [(b"m", None)] == [event[:2] for piece in (b"data: m\r\n\r", b"*") for event in cut.feed(piece)]


@pytest.mark.parametrize(
    ("data", "seen", "found"),
    [
        (b' {"error": 1}\n', False, b'{"error": 1}'),
        (b"[1]", False, b"[1]"),
        (b'{"error": 1}', True, b'{"error": 1}'),
        (b'{"type": "error"}', True, b'{"type": "error"}'),
        (b'{"object": "error"}', True, b'{"object": "error"}'),
        (b'{"error": ', True, None),
        (b'{"error": null}', True, None),
        (b'[{"error": 1}]', True, None),
        (b"data: x", False, None),
    ],
)
def test_a_json_body_instead_of_a_stream(data: bytes, seen: bool, found: bytes | None) -> None:
    """Servers that fail early answer so; after the first event it must say that it is an error."""
    assert found == stray_json(data, seen)


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        (b"data: a\r\ndata:b", (b"a\nb", None)),
        (b"event: x\rdata: a\n", (b"a", b"x")),
        (b": comment", (None, None)),
    ],
)
def test_an_event_without_its_empty_line(rest: bytes, found: tuple[bytes | None, bytes | None]) -> None:
    """Its data and its name, whatever lines end in."""
    assert found == last_event(rest)


def test_what_is_no_event_stream_at_all() -> None:
    """Neither events nor an early answer: the upstream's fault."""
    assert b"[1]" == stray(b"[1]\n", False)
    for raw, seen in ((b"<html>", False), (b"{}", True)):
        with pytest.raises(BadUpstreamBytes):
            stray(raw, seen)


@pytest.mark.parametrize(
    ("raw", "silent"),
    [
        (b": ping\n\n", True),
        (b"\r\n\n", True),
        (b"", True),
        (b"\n\nid: 1\n\n", True),
        (b"id\n\n", True),
        (b"\nx\n\n", True),
        (b"x-y_z.1: 2", True),
        (b" \t\n\n", True),
        (b" :", False),
        (b"<html>", False),
        (b"{}\n\n", False),
        (b"upstream timed out\n\n", False),
    ],
)
def test_what_says_nothing_in_an_event_stream(raw: bytes, silent: bool) -> None:
    """Comments, fields of any name, and lines too many."""
    assert silent == is_silent(raw)
