"""Amazon's event stream encoding (`application/vnd.amazon.eventstream`): binary frames with checksums, both ways.

    total length u32 | headers length u32 | CRC32 of these eight | headers | payload | CRC32 of all before it
    a header: name length u8 | name | type u8 | value (7: a string, u16 length before it)

All numbers are big-endian. Facts: smithy.io, Amazon Event Stream Specification; botocore 1.44.5 `eventstream.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias
from zlib import crc32

from providers.canonical.errors import BadUpstreamBytes

#: Headers whose value is a string, by name, and the payload. Headers of other types are checked and left out.
Frame: TypeAlias = tuple[Mapping[str, str], bytes]

_PRELUDE = struct.Struct(">III")
_LENGTH = struct.Struct(">H")
_LEAST = _PRELUDE.size  # bytes without which a frame says nothing yet
_AROUND = _LEAST + 4  # what a frame without headers and payload has
_MOST_HEADERS = 128 << 10
_STRING, _BYTES = 7, 6
#: Bytes of a value, by type: true, false, byte, short, integer, long, -, -, timestamp, uuid.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventStreamDecoder:
    """Feed bytes as they come. Raises BadUpstreamBytes for a frame of more than `limit` bytes and for damaged ones.

    Frames that were whole before the fault are given out first; the fault comes with the next call.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # of the unfinished frame; joined only when it is complete
        self._size = 0
        self._wanted = _LEAST  # bytes that are needed before there is anything to do
        self._fault: BadUpstreamBytes | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        if self._fault is not None:
            raise self._fault
        self._held.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return []
        buffer = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        frames: list[Frame] = []
        at = 0
        size = len(buffer)
        try:
            while size - at >= _LEAST:
                total, headers, checksum = _PRELUDE.unpack_from(buffer, at)
                if crc32(buffer[at : at + 8]) != checksum:
                    raise BadUpstreamBytes("the upstream's event stream is damaged")
                if total > self._limit:
                    raise BadUpstreamBytes("the upstream sent an event larger than the limit")
                if headers > _MOST_HEADERS or total < headers + _AROUND:
                    raise BadUpstreamBytes("the upstream's event stream holds an impossible frame")
                end = at + total
                if end > size:
                    self._wanted = total
                    break
                last = end - 4
                # All before the last four bytes is summed up; the sum of the first eight is known.
                if crc32(buffer[at + 8 : last], checksum).to_bytes(4, "big") != buffer[last:end]:
                    raise BadUpstreamBytes("the upstream's event stream is damaged")
                at += _LEAST
                data = buffer[at : at + headers]
                frames.append((_usual(data) if headers < _SHORT else _read_headers(data), buffer[at + headers : last]))
                at = end
            else:
                self._wanted = _LEAST
        except BadUpstreamBytes as fault:
            self._fault = fault
            if not frames:
                raise
        self._held = [buffer[at:]] if at < len(buffer) else []
        self._size = len(buffer) - at
        return frames

    def close(self) -> bytes:
        """What is left over at the end of the input: the bytes of an unfinished frame. Raises a fault that waits."""
        if self._fault is not None:
            raise self._fault
        return b"".join(self._held)


def _read_headers(data: bytes) -> Mapping[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name, kind = _slice(data, at + 1, data[at]).decode(), data[at + 1 + data[at]]
            at += 2 + data[at]
            if kind in (_STRING, _BYTES):
                length = _LENGTH.unpack_from(data, at)[0]
                value = _slice(data, at + 2, length)
                at += 2 + length
                if kind == _STRING:
                    found[name] = value.decode()
            else:
                at += len(_slice(data, at, _SIZES[kind]))
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise BadUpstreamBytes("the upstream's event stream holds headers that cannot be read") from None
    return MappingProxyType(found)


_SHORT = 256
_usual = lru_cache(maxsize=64)(_read_headers)  # those of a stream's frames are a few, again and again


def _slice(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise IndexError
    return data[at : at + length]


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame whose headers are strings: names of at most 255 bytes, values of at most 65535."""
    parts = []
    for name, value in headers.items():
        raw, text = name.encode(), value.encode()
        parts += [bytes([len(raw)]), raw, bytes([_STRING]), _LENGTH.pack(len(text)), text]
    head = b"".join(parts)
    lengths = struct.pack(">II", _AROUND + len(head) + len(payload), len(head))
    frame = b"".join((lengths, crc32(lengths).to_bytes(4, "big"), head, payload))
    return frame + crc32(frame).to_bytes(4, "big")
