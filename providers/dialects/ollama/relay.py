"""The tap of the relay lane: the upstream's lines, byte for byte, with the little of them that must be known."""

from __future__ import annotations

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.dialect import WireResponse
from providers.wire.json import decode_upstream
from providers.wire.lines import LineDecoder

from .answer import read_usage
from .errors import decode_error, envelope
from .words import CONTENT_TYPE, Json


class _Line(msgspec.Struct):
    done: bool | None = False
    error: Json = None


_decode = msgspec.json.Decoder(_Line).decode


def _says_something(line: bytes) -> bool:
    """Is there more in a line than a role and empty words? Until then the call may still go elsewhere."""
    body = decode_upstream(line)
    said = body.get("message")
    if type(said) is not dict:
        said = {"response": body.get("response"), "thinking": body.get("thinking")}
    return any(value for key, value in said.items() if key != "role")


class Relay:
    """One stream, line by line. Nothing is added: without its last line a stream is cut short."""

    content_type = CONTENT_TYPE

    def __init__(self, limit: int = 16 << 20) -> None:
        self.usage: Usage | None = None
        self._seen = False
        self.started = False
        self.finished = False
        self._lines = LineDecoder(limit)
        self._fault: RouterError | None = None
        self._done = False

    def feed(self, data: bytes, /) -> bytes:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return b""
        out: list[bytes] = []
        try:
            for line in self._lines.feed(data):
                self._take(line, out)
                if self._done:
                    break
        except RouterError as error:
            self.finished = True
            self._fault = error
            if not out:
                raise
        return b"".join(out)

    def close(self) -> bytes:
        if self._fault is not None:
            raise self._fault
        out: list[bytes] = []
        rest = self._lines.close() if not self._done else b""
        if rest:
            self._take_rest(rest, out)
        if not self._seen:
            raise BadUpstreamBytes("the upstream's stream is empty")
        if not self._done:
            raise StreamTruncated("the upstream's stream ended before its last line")
        return b"".join(out)

    def error(self, error: RouterError, /) -> bytes:
        return envelope(error) + b"\n"

    def _take(self, line: bytes, out: list[bytes]) -> None:
        read = _read(line)
        if read.error:
            raise decode_error(WireResponse(status=200, body=line.strip()))
        self._seen = True
        self.started = self.started or bool(read.done) or _says_something(line)
        out.append(line)
        if read.done:
            self._done = self.finished = True
            self.usage = read_usage(decode_upstream(line))

    def _take_rest(self, rest: bytes, out: list[bytes]) -> None:
        """A line without its end: whole, or cut."""
        try:
            self._take(rest + b"\n", out)
        except BadUpstreamBytes:
            raise StreamTruncated("the upstream's stream ended inside a line") from None


def _read(line: bytes) -> _Line:
    """The skeleton of a line. What the strict reader refuses is tried again as canonical readers do."""
    try:
        read = _decode(line)
        if not line.isascii():
            line.decode()
        return read
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = decode_upstream(line)
    try:
        return msgspec.convert(value, _Line)
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream sent a line that is not part of an answer") from None
