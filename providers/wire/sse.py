"""Server-sent events: bytes in, events out, at any split; bounded; find-based.

Framing is done on bytes (WHATWG HTML, section 9.2): lines end in LF, CRLF or CR, an empty line ends an event, a
leading BOM and comment lines are skipped. Text is decoded later, per event, so a cut inside a UTF-8 character
cannot hurt. An event keeps its raw bytes, so that a relay can pass it on untouched.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from providers.canonical.errors import BadUpstreamBytes

#: (data, event name, raw bytes with the empty line). `data` is None for a block without data lines (pings, comments);
#: it comes without the white space around it, which says nothing in JSON, nor around `[DONE]`.
SseEvent: TypeAlias = tuple[bytes | None, bytes | None, bytes]

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb":|[A-Za-z][\w.-]*(?:[:\r\n]|$)")  # a comment, or a line that begins as a field does
LF, CR = 10, 13  # bytes as numbers: `LF in data` is several times as fast as with b"\n"


class SseDecoder:
    """Feed bytes as they come. An event of more than `limit` bytes raises BadUpstreamBytes."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # of the unfinished event; joined only when a line ends
        self._size = 0
        self._started = False
        self._crlf = False  # CRs have come, so far each before an LF
        self._lines: _Lines | None = None  # from the first line end of another kind on

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that are complete now."""
        ready = self._ready(data)
        if ready is None:
            return []
        if self._lines is not None:
            events, rest = self._lines.feed(ready)
        else:
            line_end = self._line_end
            *blocks, rest = ready.split(line_end + line_end)
            events = [(*parse(block), block + line_end + line_end) for block in blocks]
        self._leave(rest, bool(events))
        return events

    def blocks(self, data: bytes) -> list[bytes]:
        """The same, each event as its lines, for `parse`; for a reader who may know more quickly what stands there."""
        ready = self._ready(data)
        if ready is None:
            return []
        if self._lines is not None:
            events, rest = self._lines.feed(ready)
            blocks = [_LINE_END.sub(b"\n", raw) for _, _, raw in events]
        else:
            *blocks, rest = ready.split(self._line_end * 2)
        self._leave(rest, bool(blocks))
        return blocks

    @property
    def _line_end(self) -> bytes:
        return b"\r\n" if self._crlf else b"\n"

    def _ready(self, data: bytes) -> bytes | None:
        """What has come and may hold the end of an event; None while there is no line end."""
        self._check()
        if not self._started:
            data = self._skip_bom(data)
        returns = CR in data
        self._crlf = self._crlf or returns
        if self._lines is None and not returns and LF not in data and not self._awaits_lf():
            self._hold(data)
            self._check()
            return None
        if self._held:
            data = b"".join((*self._held, data))
            self._held.clear()
            self._size = 0
        if self._crlf and self._lines is None and not _is_crlf(data):
            self._lines = _Lines()
        return data

    def _awaits_lf(self) -> bool:
        """Was a CR the last that came? What comes after it says whether it ended a line by itself."""
        return bool(self._held) and self._held[-1].endswith(b"\r")

    def _leave(self, rest: bytes, any_events: bool) -> None:
        """Keeps what is of the next event."""
        self._hold(rest)
        if not any_events:
            self._check()  # else they are given out first, and the fault comes with the next bytes

    def _skip_bom(self, data: bytes) -> bytes:
        data = b"".join((*self._held, data))
        self._held.clear()
        self._size = 0
        self._started = not _BOM.startswith(data)
        return data.removeprefix(_BOM) if self._started else data

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)

    def _check(self) -> None:
        if self._size + (self._lines.size if self._lines else 0) > self._limit:
            raise BadUpstreamBytes("the upstream sent an event larger than the limit")

    def close(self) -> bytes:
        """What is left over at the end of the input: the bytes of an unfinished event, or b""."""
        rest = b"".join((*(self._lines.raw if self._lines else ()), *self._held))
        self._held.clear()
        return b"" if rest == _BOM else rest


def _is_crlf(data: bytes) -> bool:
    """Do all lines end in CRLF? A single CR at the end may become one; two of them are an empty line already."""
    if data.endswith(b"\r"):
        data = data[:-1]
    return data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")


class _Lines:
    """The slow path, for mixed line ends: lines one by one. A CR at the end may be the first half of CRLF."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.size = 0
        self._lines: list[bytes] = []
        self._after_cr = False

    def feed(self, data: bytes) -> tuple[list[SseEvent], bytes]:
        events: list[SseEvent] = []
        start = 0
        if self._after_cr and data.startswith(b"\n"):
            start = 1
            if self.raw:  # else it belongs to an event that has been given out, and ended without it
                self._keep(b"\n")
        if data:
            self._after_cr = False
        for match in _LINE_END.finditer(data, start):
            line = data[start : match.start()]
            self._keep(data[start : match.end()])
            start = match.end()
            if line:
                self._lines.append(line)
            elif self._lines:
                events.append((*_parse(self._lines), b"".join(self.raw)))
                self._lines = []
                self.raw.clear()
                self.size = 0
        self._after_cr = start == len(data) and data.endswith(b"\r")
        return events, data[start:]

    def _keep(self, raw: bytes) -> None:
        self.raw.append(raw)
        self.size += len(raw)


def parse(block: bytes) -> tuple[bytes | None, bytes | None]:
    """An event's data and its name; no data for a block that holds none (pings, comments)."""
    if block.startswith(b"data: {") and LF not in block:
        return block[6:], None
    if CR in block:
        block = block.replace(b"\r\n", b"\n")
    lines = block.split(b"\n")
    if len(lines) == 2 and lines[0].startswith(b"event: ") and lines[1].startswith(b"data: {"):
        return lines[1][6:], lines[0][7:]
    return _parse(lines)


def _parse(lines: list[bytes]) -> tuple[bytes | None, bytes | None]:
    data: list[bytes] = []
    name: bytes | None = None
    for line in lines:
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return (b"\n".join(data).strip() if data else None), name


def is_silent(raw: bytes) -> bool:
    """Does what has no data belong into an event stream all the same: comments, names, ids, fields that nobody knows,
    with a colon or without one, nothing but white space?
    """
    lines = raw.lstrip(b"\r\n")
    return _FIELD.match(lines) is not None or not lines.strip()


def stray_json(data: bytes, seen: bool) -> bytes | None:
    """A JSON text where events were expected: servers that fail early answer so under the stream's content type.

    After events it must say that it is an error: whatever else stands there is no event stream.
    """
    text = data.strip()
    return text if text.startswith((b"{", b"[")) and (not seen or _says_error(text)) else None


def _says_error(text: bytes) -> bool:
    try:
        body = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return type(body) is dict and (bool(body.get("error")) or "error" in (body.get("type"), body.get("object")))


def stray(raw: bytes, seen: bool) -> bytes:
    """The same, of what can be nothing else. BadUpstreamBytes for what is no event stream at all."""
    text = stray_json(raw, seen)
    if text is None:
        raise BadUpstreamBytes("the upstream's stream is not an event stream")
    return text


def last_event(rest: bytes) -> tuple[bytes | None, bytes | None]:
    """Data and name of an event that lacks its empty line; no data where nothing is left of one."""
    return _parse(_LINE_END.split(rest))


def encode_event(data: bytes, name: bytes | None = None) -> bytes:
    """One event. `data` is one line (compact JSON, lines escaped)."""
    if name is None:
        return b"data: " + data + b"\n\n"
    return b"event: " + name + b"\ndata: " + data + b"\n\n"


PING = b": ping\n\n"
