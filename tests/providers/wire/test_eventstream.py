"""providers/wire/eventstream.py, checked against botocore's own reader."""

from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.eventstream import EventStreamDecoder, Frame, encode_frame

NAMES = st.text(min_size=1, max_size=20)
FRAMES = st.lists(
    st.tuples(st.dictionaries(NAMES, st.text(max_size=40), max_size=4), st.binary(max_size=80)), max_size=5
)
EVENT = {":event-type": "metadata", ":message-type": "event"}


def raw_frame(headers: bytes, payload: bytes = b"{}") -> bytes:
    """A frame with headers that `encode_frame` does not write."""
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


def read(*pieces: bytes, limit: int = 1 << 20) -> list[Frame]:
    decoder = EventStreamDecoder(limit)
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    assert b"" == decoder.close()
    return frames


@given(FRAMES)
def test_what_is_written_is_what_botocore_reads(frames: list[Frame]) -> None:
    """Frames of ours are Amazon's: its own reader finds the same headers and payloads in them."""
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(encode_frame(*frame) for frame in frames))

    assert frames == [(message.headers, message.payload) for message in buffer]


@given(FRAMES, st.lists(st.integers(min_value=0, max_value=400), max_size=6))
def test_any_split_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    """Where the network cuts the bytes does not matter."""
    data = b"".join(encode_frame(*frame) for frame in frames)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})

    assert frames == read(*(data[a:b] for a, b in itertools.pairwise(ends)))


def test_byte_by_byte() -> None:
    """A frame comes out with its last byte and not before."""
    data = encode_frame(EVENT, b'{"a":1}')
    decoder = EventStreamDecoder()

    assert [] == [frame for byte in data[:-1] for frame in decoder.feed(bytes([byte]))]
    assert [(EVENT, b'{"a":1}')] == decoder.feed(data[-1:])


def test_headers_of_other_types_are_passed_over() -> None:
    """Numbers, bytes, times and identifiers stand in headers, too; only texts are told."""
    headers = b"".join(
        [
            *(b"\x01a\x00", b"\x01b\x01", b"\x01c\x02\x01", b"\x01d\x03\x00\x01", b"\x01e\x04\x00\x00\x00\x01"),
            *(b"\x01f\x05" + bytes(8), b"\x01g\x06\x00\x02\x00\x01", b"\x01h\x07\x00\x02hi", b"\x01i\x08" + bytes(8)),
            b"\x01j\x09" + bytes(16),
        ]
    )
    data = raw_frame(headers)
    buffer = EventStreamBuffer()
    buffer.add_data(data)

    assert set("abcdefghij") == next(buffer).headers.keys()
    assert [({"h": "hi"}, b"{}")] == read(data)


@pytest.mark.parametrize("at", range(len(encode_frame(EVENT, b'{"a":1}'))))
def test_every_damaged_byte_is_noticed(at: int) -> None:
    """Two checksums cover every byte of a frame: what is damaged is never given out."""
    data = bytearray(encode_frame(EVENT, b'{"a":1}'))
    data[at] ^= 0x20
    decoder = EventStreamDecoder()

    with pytest.raises(BadUpstreamBytes, match=r"damaged"):
        decoder.feed(bytes(data))


def test_what_was_whole_before_the_damage_is_given_out() -> None:
    """The fault comes with the next call, after the frames that stood before it."""
    good, bad = encode_frame(EVENT, b"{}"), b"<html>502 Bad Gateway</html>"
    decoder = EventStreamDecoder()

    assert [(EVENT, b"{}")] == decoder.feed(good + bad)
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"")
    with pytest.raises(BadUpstreamBytes):
        decoder.close()


def test_a_frame_beyond_the_limit_is_refused_by_its_length() -> None:
    """Memory is bounded: a long frame is refused when its first twelve bytes are there."""
    data = encode_frame(EVENT, b"x" * 1000)

    assert 1 == len(read(data, limit=len(data)))
    with pytest.raises(BadUpstreamBytes, match="larger than the limit"):
        EventStreamDecoder(len(data) - 1).feed(data[:12])


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05a\x07",
        b"\x01a",
        b"\x01a\x07\x00\x09hi",
        b"\x01a\x0c",
        b"\x01\xff\x00",
        b"\x01a\x07\x00\x01\xff",
        b"\x01a\x09",
    ],
)
def test_headers_that_cannot_be_read(headers: bytes) -> None:
    """Lengths that lead out of the headers, unknown types and broken UTF-8 are faults of the upstream."""
    with pytest.raises(BadUpstreamBytes, match="cannot be read"):
        read(raw_frame(headers))


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (20, 5), (0, 0), (200_000, 140_000)])
def test_impossible_lengths(total: int, headers: int) -> None:
    """A frame has at least sixteen bytes, and its headers stand inside it."""
    lengths = struct.pack(">II", total, headers)

    with pytest.raises(BadUpstreamBytes, match="impossible"):
        read(lengths + struct.pack(">I", zlib.crc32(lengths)) + bytes(total))


def test_an_unfinished_frame_is_left_over() -> None:
    """The end of the input inside a frame is for whoever reads the stream to judge."""
    decoder = EventStreamDecoder()
    decoder.feed(encode_frame(EVENT, b"{}")[:20])

    assert 20 == len(decoder.close())
