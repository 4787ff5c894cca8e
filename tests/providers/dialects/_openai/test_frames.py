"""What stands in a stream where an event should be."""

from __future__ import annotations

import pytest

from providers.dialects._openai.frames import last_event, stray_json


@pytest.mark.parametrize(
    ("data", "seen", "found"),
    [
        (b' {"error": 1}\n', False, b'{"error": 1}'),
        (b"[1]", False, b"[1]"),
        (b'{"error": 1}', True, None),
        (b"data: x", False, None),
    ],
)
def test_a_json_body_instead_of_a_stream(data: bytes, seen: bool, found: bytes | None) -> None:
    """Only before the first event: servers that fail early answer so."""
    assert found == stray_json(data, seen)


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        (b"data: a\r\ndata:b", b"a\nb"),
        (b"event: x\rdata: a\n", b"a"),
        (b": comment", None),
    ],
)
def test_an_event_without_its_empty_line(rest: bytes, found: bytes | None) -> None:
    """Its data, whatever lines end in."""
    assert found == last_event(rest)
