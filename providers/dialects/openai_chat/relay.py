"""The tap of the relay lane: the upstream's stream, byte for byte, with the little of it that must be known.

Each event with data is decoded once into a typed skeleton, which checks the whole JSON text and builds only what is
looked at: finish reasons, usage, errors.
"""

from __future__ import annotations

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.dialect import Asked
from providers.dialects._openai.errors import envelope
from providers.dialects._openai.values import Json
from providers.wire.json import decode_upstream
from providers.wire.sse import SseDecoder, is_silent, last_event, stray, stray_json

from .response import read_usage
from .stream import fault
from .stream_out import CONTENT_TYPE, DONE


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: Json = None
    usage: Json = None


class _Groq(msgspec.Struct):
    error: Json = None
    usage: Json = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Json = None
    error: Json = None
    x_groq: _Groq | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChatStreamRelay:
    """One stream. The usage chunk that only we asked for is taken out; an end mark that is missing is added."""

    content_type = CONTENT_TYPE

    def __init__(self, asked: Asked, limit: int = 16 << 20) -> None:
        self.usage: Usage | None = None
        self.started = False
        self.finished = False
        self._hides_usage = not asked.include_usage
        self._sse = SseDecoder(limit)
        self._fault: RouterError | None = None
        self._seen = False
        self._done = False
        self._open: set[int] = set()
        self._ended: set[int] = set()

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
        self._rest(self._sse.close(), out)
        if not self._done:
            self._check_end()
            out.append(DONE)
        self.finished = self._done = True
        return b"".join(out)

    def error(self, error: RouterError, /) -> bytes:
        return b"data: " + envelope(error) + b"\n\n"

    # ── events ─────────────────────────────────────────────────────────────────────

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[bytes]) -> None:
        if not data:
            if not is_silent(raw):
                raise fault(stray(raw, self._seen))
            out.append(raw)
        elif data == b"[DONE]":
            self.finished = self._done = True
            self._check_end()
            out.append(raw)
        else:
            self._seen = True
            if name == b"error":
                raise fault(data)
            chunk = _read(data)
            if chunk.error or (chunk.x_groq is not None and chunk.x_groq.error):
                raise fault(data)
            if not chunk.choices and decode_upstream(data).get("object") == "error":
                raise fault(data)
            if not self.started and chunk.choices:
                self.started = _says_something(data)
            if not self._own_usage(chunk):
                out.append(raw)

    def _own_usage(self, chunk: _Chunk) -> bool:
        """Notes what a chunk says; is it the usage chunk that the caller did not ask for?"""
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage and type(usage) is dict:
            self.usage = read_usage(usage)
        if not chunk.choices:
            return self._hides_usage and bool(usage)
        for choice in chunk.choices:
            if choice.finish_reason:
                self._ended.add(choice.index)
                if type(choice.usage) is dict and not usage:
                    self.usage = read_usage(choice.usage)
            else:
                self._open.add(choice.index)
        return False

    def _rest(self, rest: bytes, out: list[bytes]) -> None:
        if not rest.strip():
            return
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

    def _check_end(self) -> None:
        if not self._seen:
            raise BadUpstreamBytes("the upstream's stream is empty")
        # With `[DONE]`, another choice's finish_reason or the usage says as well that all is said (see the decoder).
        whole = self._done and (self._ended or self.usage is not None)
        if not self._open | self._ended or (self._open - self._ended and not whole):
            raise StreamTruncated("the upstream's stream ended without a finish_reason")
        self.started = True  # it has said all, were it nothing


def _says_something(data: bytes) -> bool:
    """Is there more in a chunk than a role and empty words? Until then the call may still go elsewhere."""
    for choice in decode_upstream(data)["choices"]:
        delta = choice.get("delta")
        said = {**choice, **delta} if type(delta) is dict else choice
        if any(value for key, value in said.items() if key not in _SAYS_NOTHING):
            return True
    return False


_SAYS_NOTHING = frozenset({"index", "role", "delta"})


def _read(data: bytes) -> _Chunk:
    """The skeleton of a chunk. What the strict reader refuses is tried again as canonical readers do."""
    try:
        chunk = _decode(data)
        if not data.isascii():
            data.decode()
        return chunk
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = decode_upstream(data)
    try:
        return msgspec.convert(_plain(value), _Chunk)
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream sent an event that is not a chunk of a chat completion") from None


def _plain(chunk: Json) -> Json:
    """A chunk without what says nothing: choices that are no list, numbers of choices that are none."""
    if type(chunk) is dict:
        if not chunk.get("choices"):
            chunk.pop("choices", None)
        elif type(chunk["choices"]) is list:
            for choice in chunk["choices"]:
                if type(choice) is dict and type(choice.get("index")) is not int:
                    choice.pop("index", None)
    return chunk
