"""The three forms in which a stream of this dialect may come: SSE, one JSON array over time, one bare JSON object.

Which one is seen from the first byte, whatever was asked for: a fault may answer a stream with plain JSON.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.lines import JsonArrayDecoder
from providers.wire.sse import SseDecoder

#: (payload, its bytes with all that stood before it since the last one). No payload: a comment, a ping.
Frame: TypeAlias = tuple[bytes | None, bytes]
Form: TypeAlias = Literal["", "sse", "array", "object"]

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


class Frames:
    """Feed bytes, get payloads. Any split of the same bytes gives the same payloads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sse = SseDecoder(limit)
        self._array = JsonArrayDecoder(limit)
        self._held = bytearray()  # before the form is known; of an object; of an array since the last element
        self.form: Form = ""

    @property
    def finished(self) -> bool:
        return self.form == "array" and self._array.finished

    def begin(self, data: bytes) -> bytes:
        """Looks for the form in the first bytes; once it is known, gives them back, to be read in that form."""
        self._held += data
        seen = bytes(self._held)
        start = seen.removeprefix(_BOM).lstrip(_SPACE)
        if not start or (len(seen) < 3 and _BOM.startswith(seen)):
            return b""
        self._held.clear()
        self.form = "array" if start[:1] == b"[" else "object" if start[:1] == b"{" else "sse"
        return start if self.form != "sse" else seen

    def blocks(self, data: bytes) -> list[bytes]:
        """Of a stream that is SSE for certain: its events as lines."""
        return self._sse.blocks(data)

    def feed(self, data: bytes) -> list[Frame]:
        if not self.form:
            data = self.begin(data)
        if self.form == "sse":
            return [(payload, raw) for payload, _, raw in self._sse.feed(data)]
        if not self.form:
            return []
        if self.form == "object":
            self._held += data
            if len(self._held) > self._limit:
                raise BadUpstreamBytes("the upstream's answer is larger than the limit")
            return []
        return self._feed_array(data)

    def _feed_array(self, data: bytes) -> list[Frame]:
        self._held += data
        frames: list[Frame] = []
        for element in self._array.feed(data):
            end = self._held.index(element) + len(element)
            frames.append((element, bytes(self._held[:end])))
            del self._held[:end]
        if self._array.finished:
            del self._held[self._held.index(b"]") + 1 :]
        return frames

    def close(self) -> tuple[list[Frame], bytes]:
        """The last payloads of an input that has ended, and what is left over: bytes of no payload."""
        if self.form == "sse":
            rest = self._sse.close()
            if not rest.strip():
                return [], rest
            again = SseDecoder(self._limit)
            frames: list[Frame] = [(payload, raw) for payload, _, raw in again.feed(rest + b"\n\n")]
            return frames, rest
        held = bytes(self._held)
        self._held.clear()
        if self.form == "object":
            return [(held, held)], b""
        if self.form == "array":
            self._array.close()
        return [], held
