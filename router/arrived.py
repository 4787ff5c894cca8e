"""A body that is here already, taken without asking for more.

aiohttp's reader wakes its parser and its connection whenever something is taken from it, in case they wait for room;
where the body has ended and nothing waits, that is a hundredth of a small call for nothing.
"""

from __future__ import annotations

from aiohttp import StreamReader


def taken(content: StreamReader) -> bytes:
    """All of a body whose end has come (`is_eof`) and of which nothing was taken yet."""
    if not content.total_bytes or content._protocol._reading_paused or content.exception() is not None:
        return content.read_nowait()
    pieces = content._buffer
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    pieces.clear()
    content._size = 0
    return data
