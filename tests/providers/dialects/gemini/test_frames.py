"""The three forms of a stream."""

from __future__ import annotations

import pytest

from providers.canonical.errors import BadUpstreamBytes
from providers.dialects.gemini.frames import Frames

SSE = b'\xef\xbb\xbf: hello\r\n\r\ndata: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\n'
ARRAY = b' [{\n "a": 1\n}\n,\r\n{"b":"]"}\n]\n'
OBJECT = b'{"error":{"code":400}}'


def payloads(data: bytes, step: int) -> tuple[list[bytes], bytes, str]:
    frames = Frames(1 << 20)
    found = [frame for start in range(0, len(data), step) for frame in frames.feed(data[start : start + step])]
    last, rest = frames.close()
    everything = b"".join(raw for _, raw in [*found, *last]) + rest
    return [payload for payload, _ in [*found, *last] if payload], everything, frames.form


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("data", "form", "expected"),
    [
        (SSE, "sse", [b'{"a":1}', b'{"b":2}']),
        (ARRAY, "array", [b'{\n "a": 1\n}', b'{"b":"]"}']),
        (OBJECT, "object", [OBJECT]),
    ],
)
def test_the_first_byte_decides(data: bytes, form: str, expected: list[bytes], step: int) -> None:
    """At any cut the payloads are the same, and their bytes with what is left over are the input."""
    found, everything, seen = payloads(data, step)

    assert (expected, form) == (found, seen)
    assert data.removeprefix(b"\xef\xbb\xbf").strip() == everything.removeprefix(b"\xef\xbb\xbf").strip()


def test_an_event_without_its_empty_line_is_given_at_the_end() -> None:
    """Some servers leave the last empty line out."""
    assert [b'{"a":1}'] == payloads(b'data: {"a":1}\n', 4)[0]


@pytest.mark.parametrize("start", [b"{", b"[{", b"data: "])
def test_frames_are_bounded(start: bytes) -> None:
    """More than the limit in one frame is refused in every form."""
    frames = Frames(100)
    frames.feed(start)
    with pytest.raises(BadUpstreamBytes):
        for _ in range(30):
            frames.feed(b'"12345678",')
