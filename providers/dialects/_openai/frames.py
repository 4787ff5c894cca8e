"""What stands in a stream where an event should be: a bare JSON text, an event that lacks its end."""

from __future__ import annotations

#: How the lines of an event stream begin.
LINES = (b"data:", b"event:", b"id:", b"retry:", b":")


def stray_json(data: bytes, seen: bool) -> bytes | None:
    """A JSON text where events were expected: servers that fail early answer so under the stream's content type."""
    text = data.strip()
    return text if not seen and text.startswith((b"{", b"[")) else None


def last_event(rest: bytes) -> bytes | None:
    """The data of an event that lacks its empty line, or None where nothing is left of one."""
    lines = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data) if data else None
