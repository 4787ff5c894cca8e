"""The tap of the relay lane: the upstream's stream, byte for byte, with the little of it that must be known.

Each event is decoded once into a typed skeleton, which checks the whole JSON text and builds only what is looked at:
what kind it is, its number, the usage of the last one, errors.
"""

from __future__ import annotations

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.dialect import Asked
from providers.dialects._openai.values import Json
from providers.wire.json import decode_upstream
from providers.wire.sse import SseDecoder, is_silent, last_event, stray, stray_json

from .faults import error_event, event_fault, fault
from .response import read_usage
from .stream import ENDS, HEADS, stray_fault
from .stream_out import CONTENT_TYPE


class _Response(msgspec.Struct):
    status: Json = None
    usage: Json = None
    error: Json = None


class _Event(msgspec.Struct):
    type: Json = None
    sequence_number: Json = None
    response: _Response | None = None
    error: Json = None


_decode = msgspec.json.Decoder(_Event).decode


def _says_something(data: bytes) -> bool:
    """Does an event say more than that a message, a thought or a text begins? Until then the call may go elsewhere."""
    event = decode_upstream(data)
    for key, usual in (("item", ("message", "reasoning")), ("part", ("output_text", "summary_text", "reasoning_text"))):
        opened = event.get(key)
        if type(opened) is dict and str(event.get("type")).endswith(".added"):
            silent = opened.get("type") in usual
            return not silent or any(opened.get(name) for name in ("content", "summary", "text", "encrypted_content"))
    return bool(event.get("delta") != "")


class ResponsesStreamRelay:
    """One stream."""

    content_type = CONTENT_TYPE

    def __init__(self, asked: Asked, limit: int = 16 << 20) -> None:
        self.usage: Usage | None = None
        self.started = False
        self.finished = False
        self._background = bool(asked.fields.get("background"))
        self._sse = SseDecoder(limit)
        self._fault: RouterError | None = None
        self._seen = False
        self._number = -1  # the last sequence number

    def feed(self, data: bytes, /) -> bytes:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return b""
        out: list[bytes] = []
        try:
            for event in self._sse.feed(data):
                if self._event(event[0], event[1], event[2], out):
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
        if not self.finished:
            self._rest(self._sse.close(), out)
        if not self.finished:
            if not self._seen:
                raise BadUpstreamBytes("the upstream's stream is empty")
            raise StreamTruncated("the upstream's stream ended without the end of its response")
        return b"".join(out)

    def error(self, error: RouterError, /) -> bytes:
        return error_event(error, self._number + 1)

    # ── events ─────────────────────────────────────────────────────────────────────

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[bytes]) -> bool:
        """Passes one event on. Was it the last?"""
        if not data:
            if not is_silent(raw):
                raise stray_fault(stray(raw, self._seen))
        elif data != b"[DONE]":
            self._seen = True
            if name == b"error" and not data.startswith(b"{"):
                raise stray_fault(data)
            self._look(_read(data), name, data)
        out.append(raw)
        return self.finished

    def _look(self, event: _Event, name: bytes | None, data: bytes) -> None:
        kind = event.type if type(event.type) is str else (name or b"").decode("utf-8", "replace")
        if type(event.sequence_number) is int:
            self._number = event.sequence_number
        if kind in ENDS:
            self._end(kind, event.response or _Response())
        elif kind == "error" or event.error:
            raise event_fault(decode_upstream(data))
        elif not self.started:  # of what runs in the background the caller may have all later
            self.started = self._background or (kind not in HEADS and _says_something(data))

    def _end(self, kind: str, response: _Response) -> None:
        if type(response.usage) is dict and response.usage:
            self.usage = read_usage(response.usage)
        if response.status in ("failed", "cancelled") or kind in ("response.failed", "response.cancelled"):
            raise fault(response.error)
        self.started = self.finished = True

    def _rest(self, rest: bytes, out: list[bytes]) -> None:
        """Bytes after the last empty line: the end of a stream that lacks it, or half an event."""
        if not rest.strip():
            return
        text = stray_json(rest, self._seen)
        if text is not None:
            decode_upstream(text)
            raise stray_fault(text)
        data, name = last_event(rest)
        if data:
            try:
                self._event(data, name, rest.rstrip(b"\r\n") + b"\n\n", out)
            except BadUpstreamBytes:
                raise StreamTruncated("the upstream's stream ended inside an event") from None


def _read(data: bytes) -> _Event:
    """The skeleton of an event. What the strict reader refuses is tried again as canonical readers do."""
    try:
        event = _decode(data)
        if not data.isascii():
            data.decode()
        return event
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = decode_upstream(data)
    try:
        return msgspec.convert(value, _Event)
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream sent an event that is none of a response") from None
