"""The tap of the relay lane: the upstream's stream, byte for byte, with the little of it that must be known.

Each event is decoded once into a typed skeleton, which checks the whole JSON text and builds only what is looked at:
its type, why the message ended, usage.
"""

from __future__ import annotations

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.dialects.anthropic.answer import read_usage
from providers.dialects.anthropic.errors import envelope
from providers.dialects.anthropic.stream import cut_off, fault
from providers.dialects.anthropic.stream_out import STOP
from providers.dialects.anthropic.words import CONTENT_TYPE, Json, Object
from providers.wire.json import decode_upstream
from providers.wire.sse import SseDecoder, encode_event, is_silent, last_event, stray, stray_json

_CONTENT = frozenset({"content_block_start", "content_block_delta", "message_delta"})
_OPENINGS = frozenset({"type", "text", "thinking", "signature", "citations"})  # of blocks that are still empty


def _says_something(data: bytes) -> bool:
    """Does an event say more than that a text begins? Until then the call may still go elsewhere."""
    event = decode_upstream(data)
    said = event.get("content_block") or event.get("delta") or {}
    if type(said) is not dict or event.get("type") == "message_delta":
        return True
    words = [value for key, value in said.items() if key in _OPENINGS and key != "type"]
    return any(words) or not said.keys() <= _OPENINGS


class _Message(msgspec.Struct):
    usage: Json = None


class _Delta(msgspec.Struct):
    stop_reason: Json = None


class _Event(msgspec.Struct):
    type: str | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: Json = None
    error: Json = None


_decode = msgspec.json.Decoder(_Event).decode


class Relay:
    """One stream. An end mark that is missing after a stop_reason is added."""

    content_type = CONTENT_TYPE

    def __init__(self, limit: int = 16 << 20) -> None:
        self.usage: Usage | None = None
        self.started = False
        self.finished = False
        self._sse = SseDecoder(limit)
        self._fault: RouterError | None = None
        self._seen = False
        self._counts: Object = {}
        self._stopped = False
        self._done = False

    def feed(self, data: bytes, /) -> bytes:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return b""
        out: list[bytes] = []
        try:
            for event in self._sse.feed(data):
                self._event(event[0], event[1], event[2], out)
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
        if self._done:
            return b""
        out: list[bytes] = []
        rest = self._sse.close()
        if rest.strip():
            self._rest(rest, out)
        if not self._done:
            if not self._seen:
                raise BadUpstreamBytes("the upstream's stream is empty")
            if not self._stopped:
                raise cut_off()
            out.append(STOP)
        self.finished = self._done = True
        return b"".join(out)

    def error(self, error: RouterError, /) -> bytes:
        return encode_event(envelope(error), b"error")

    # ── events ─────────────────────────────────────────────────────────────────────

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[bytes]) -> None:
        if not data:
            if not is_silent(raw):
                raise fault(stray(raw, self._seen))
            out.append(raw)
            return
        if data == b"[DONE]":
            return
        if name == b"error":
            raise fault(data)
        event = _read(data)
        self._seen = True
        kind = event.type
        if kind is None:
            if event.error:
                raise fault(data)
            kind = name.decode("utf-8", "replace") if name else None
        if kind == "error":
            raise fault(data)
        if not self.started and kind in _CONTENT:
            self.started = _says_something(data)
        if kind == "message_stop":
            if not self._stopped:
                raise cut_off()
            self.finished = self._done = True
        elif event.message is not None or event.usage is not None:
            self._count(event.message.usage if event.message is not None else event.usage)
        if kind == "message_delta" and event.delta is not None and event.delta.stop_reason is not None:
            self._stopped = True
        out.append(raw)

    def _count(self, usage: Json) -> None:
        """Counts at the end correct those of the start, one by one."""
        if type(usage) is dict:
            self._counts.update({key: value for key, value in usage.items() if value is not None})
            self.usage = read_usage(dict(self._counts))

    def _rest(self, rest: bytes, out: list[bytes]) -> None:
        text = stray_json(rest, self._seen)
        if text is not None:
            decode_upstream(text)
            raise fault(text)
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
    if type(value) is dict and value.get("type") == "error":
        return _Event(type="error")  # whatever its message is
    try:
        return msgspec.convert(value, _Event)
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream sent an event that is not one of a message") from None
