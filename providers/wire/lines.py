"""Streams that are not SSE: one JSON array whose elements come over time (Gemini without `alt=sse`), or JSON lines.

Split on bytes and bounded; elements and lines are given out as the bytes that stood there.
"""

from __future__ import annotations

import re

from providers.canonical.errors import BadUpstreamBytes

_TOKEN = re.compile(rb'["\\{}\[\]]')
_SPACE = b" \t\r\n"


class JsonArrayDecoder:
    """Gives each element of one top-level JSON array as soon as it is complete. Elements are objects.

    `finished` once the closing bracket has come: what follows is not read. Anything else at the top level raises
    BadUpstreamBytes, after the elements that were complete before it.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0  # how far the buffer has been scanned
        self._start = -1  # where the current element began
        self._depth = 0
        self._in_string = False
        self._opened = False
        self._fault: BadUpstreamBytes | None = None
        self.finished = False

    def feed(self, data: bytes) -> list[bytes]:
        """The elements that are complete now."""
        if self._fault is not None:
            raise self._fault
        elements: list[bytes] = []
        try:
            self._read(data, elements)
        except BadUpstreamBytes as fault:
            self._fault = fault
            if not elements:
                raise
        return elements

    def _read(self, data: bytes, elements: list[bytes]) -> None:
        if self.finished:
            return
        self._buffer += data
        while self._step(elements):
            pass
        if self._start < 0:
            del self._buffer[: self._at]
            self._at = 0
        elif self._start > 0:
            del self._buffer[: self._start]
            self._at -= self._start
            self._start = 0
        if len(self._buffer) > self._limit:
            raise BadUpstreamBytes("the upstream sent an element larger than the limit")

    def _step(self, elements: list[bytes]) -> bool:
        """Takes the next structural byte; False when there is none, or all is said."""
        match = _TOKEN.search(self._buffer, self._at)
        if match is None:
            self._between(len(self._buffer))
            self._at = len(self._buffer)
            return False
        token = match.group()
        if token == b"\\" and self._in_string:
            if match.end() == len(self._buffer):
                self._at = match.start()
                return False
            self._at = match.end() + 1
            return True
        self._between(match.start())
        self._at = match.end()
        if token == b'"' and self._start >= 0:
            self._in_string = not self._in_string
        elif not self._in_string:
            self._bracket(token, match.start(), elements)
        return not self.finished

    def _between(self, end: int) -> None:
        """Outside an element only commas and white space may stand."""
        if self._start < 0 and bytes(self._buffer[self._at : end]).strip(_SPACE + b","):
            raise BadUpstreamBytes("the upstream's stream is not a JSON array of objects")

    def _bracket(self, token: bytes, at: int, elements: list[bytes]) -> None:
        if self._start < 0:
            if token == b"[" and not self._opened:
                self._opened = True
            elif token == b"]" and self._opened:
                self.finished = True
            elif token == b"{" and self._opened:
                self._start, self._depth = at, 1
            else:
                raise BadUpstreamBytes("the upstream's stream is not a JSON array of objects")
        elif token in b"{[":
            self._depth += 1
        elif token in b"}]":
            self._depth -= 1
            if self._depth == 0:
                elements.append(bytes(self._buffer[self._start : at + 1]))
                self._start = -1

    def close(self) -> bytes:
        """What is left over at the end of the input. Raises a fault that waits."""
        if self._fault is not None:
            raise self._fault
        return bytes(self._buffer).strip(_SPACE + b",") if not self.finished else b""


class LineDecoder:
    """Gives each line as soon as it is complete, its end included; blank lines are left out (NDJSON).

    A line of more than `limit` bytes raises BadUpstreamBytes, after those that were complete before it.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # of the unfinished line; joined only when its end comes
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now."""
        self._check()
        if 10 not in data:  # LF; a number is looked for several times as fast
            self._hold(data)
            self._check()
            return []
        if self._held:
            data = b"".join((*self._held, data))
            self._held.clear()
            self._size = 0
        lines = data.split(b"\n")
        self._hold(lines.pop())
        whole = [line + b"\n" for line in lines if line and not line.isspace()]
        if not whole:
            self._check()  # else they are given out first, and the fault comes with the next bytes
        return whole

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)

    def _check(self) -> None:
        if self._size > self._limit:
            raise BadUpstreamBytes("the upstream sent a line larger than the limit")

    def close(self) -> bytes:
        """What is left over at the end of the input: a line without its end, or b""."""
        rest = b"".join(self._held).strip()
        self._held.clear()
        return rest
