"""Streams, read: events of any server that speaks this dialect to canonical events.

The tolerances, each seen on the wire: pings and events of unknown types anywhere; blocks of unknown types, which are
kept whole; a call whose input stands in its start; calls without any input; thinking without a text; usage that
corrects itself; `message_delta` several times; a second `message_start` before anything was said; no `message_stop`
after a stop_reason; errors as an event or as a bare JSON body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from providers.canonical.chat import Finish, Opaque, Reasoning, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamError
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    PartEnd,
    PartWhole,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageUpdate,
)
from providers.dialect import WireResponse
from providers.dialects.anthropic.answer import CITATION, USAGE, read_usage, settled, tier_of
from providers.dialects.anthropic.blocks import read_block
from providers.dialects.anthropic.errors import decode_error
from providers.dialects.anthropic.words import (
    ANSWER_TOOL,
    NAME,
    Json,
    Object,
    finish_of,
    leftovers,
    read_citation,
    read_id,
    read_name,
    read_seal,
)
from providers.dialects.unread import around, by_type, find, known
from providers.wire.halves import Halves
from providers.wire.json import UNREADABLE, decode_upstream
from providers.wire.sse import SseDecoder, is_silent, last_event, parse, stray, stray_json

_encode = msgspec.json.encode
_USUAL = b"event: content_block_delta\ndata: "
_PATIENCE = 8  # how often an event may turn out to be another before it is no longer tried


class _UsualDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    type: Literal["text_delta"]
    text: str


class _UsualEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most events: more text. Whatever does not fit in is read in full."""

    type: Literal["content_block_delta"]
    index: int
    delta: _UsualDelta


_usual = msgspec.json.Decoder(_UsualEvent).decode
_MESSAGE = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
)
_DELTA = frozenset({"stop_reason", "stop_sequence", "stop_details"})
_EVENT = by_type(
    {
        "message_start": known("type", "message"),
        "content_block_start": known("type", "index", content_block=around(citations=CITATION)),
        "content_block_delta": known("type", "index", "delta"),
        "content_block_stop": known("type", "index"),
        "message_stop": known("type", "amazon-bedrock-invocationMetrics"),
        "ping": known("type"),
    }
)
_PIECE = by_type(
    {
        "text_delta": known("type", "text"),
        "thinking_delta": known("type", "thinking"),
        "signature_delta": known("type", "signature"),
        "input_json_delta": known("type", "partial_json"),
        "citations_delta": known("type", citation=CITATION),
    }
)


def fault(data: bytes) -> UpstreamError:
    """The error that an event says."""
    return decode_error(WireResponse(status=200, body=data))


def cut_off() -> StreamTruncated:
    return StreamTruncated("the upstream's stream ended without a stop_reason")


class Decoder:
    """Bytes to events. `finished` after `message_stop`, or when a fault waits to be raised."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._sse = SseDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._seen = False  # any event with data at all
        self._message: Object | None = None  # the start of the message, until something is said
        self._id: Json = None
        self._started = False
        self._ended = False
        self._blocks: dict[Json, _Block] = {}
        self._parts = 0
        self._answered = False  # through the tool that stands for a schema
        self._calls = False
        self._finish: Finish | None = None
        self._details: Json = None
        self._usage: Object = {}
        self._extra: Object = {}
        self._unread: Object = {}
        self._patience = _PATIENCE
        self.finished = False

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return ()
        out: list[StreamEvent] = []
        try:
            for block in self._others(self._sse.blocks(data), out):
                payload, name = parse(block)
                self._event(payload, name, block, out)
                if self._ended:
                    break
        except RouterError as error:
            self._hold(error, out)
        return out

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        if self._ended:
            return out
        rest = self._sse.close()
        if rest.strip():
            self._rest(rest, out)
        if not self._ended:
            self._end(out)
        return out

    def _hold(self, error: RouterError, out: list[StreamEvent]) -> None:
        """What came before a fault is given out first."""
        self.finished = True
        self._fault = error
        if not out:
            raise error

    # ── events ─────────────────────────────────────────────────────────────────────

    def _others(self, blocks: Iterable[bytes], out: list[StreamEvent]) -> Iterator[bytes]:
        """Reads those events that are nothing but more of a text that is open, and gives out the others."""
        for block in blocks:
            if block.startswith(_USUAL) and block.count(b"\n") == 1 and self._patience > 0:
                try:
                    event = _usual(block[len(_USUAL) :])
                except UNREADABLE:
                    self._patience -= 1
                else:
                    said = self._blocks.get(event.index)
                    if type(said) is _TextBlock and said.part >= 0:
                        out.append(TextDelta(index=said.part, text=event.delta.text))
                        continue
            yield block

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[StreamEvent]) -> None:
        if not data:
            if not is_silent(raw):
                raise fault(stray(raw, self._seen))
            return
        if data == b"[DONE]":
            return
        if name == b"error":
            raise fault(data)
        event = self._json(data)
        if type(event) is not dict:
            raise BadUpstreamBytes("the upstream sent an event that is not an object")
        self._seen = True
        kind = event.get("type")
        if kind is None:
            if event.get("error"):
                raise fault(data)
            kind = name.decode("utf-8", "replace") if name else None
        if kind == "error":
            raise fault(data)
        find(event, _EVENT, self._unread)
        read = _READ.get(kind) if type(kind) is str else None
        if read is None:
            return
        try:
            read(self, event, out)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise BadUpstreamBytes("the upstream sent an event that is not one of a message") from None

    def _rest(self, rest: bytes, out: list[StreamEvent]) -> None:
        """Bytes after the last empty line: the end of a stream that lacks it, or half an event."""
        text = stray_json(rest, self._seen)
        if text is not None:
            decode_upstream(text)
            raise fault(text)
        data, name = last_event(rest)
        if data:
            try:
                if name != b"error":  # whose text may be any
                    decode_upstream(data)
            except BadUpstreamBytes:
                raise StreamTruncated("the upstream's stream ended inside an event") from None
            self._event(data, name, rest, out)

    def _message_start(self, event: Object, out: list[StreamEvent]) -> None:
        """The start waits for something to be said: some servers begin again before that."""
        message = event["message"]
        if self._started and message.get("id") != self._id:
            raise BadUpstreamBytes("the upstream began another message within the stream")
        if not self._started:
            self._message = message
            self._id = message.get("id")
            self._usage = dict(message.get("usage") or {})
            find(self._usage, USAGE, self._unread, "usage")

    def _begin(self, out: list[StreamEvent]) -> None:
        self._started = True
        message = self._message or {}
        self._message = None
        texts = {key: message[key] for key in ("id", "model") if type(message.get(key)) is str and message[key]}
        extra, _ = leftovers({key: value for key, value in message.items() if key not in _MESSAGE})
        usage = read_usage(dict(self._usage))
        out.append(ResponseStart(dialect=NAME, service_tier=tier_of(usage), extra=extra, **texts))
        if usage is not None:
            out.append(UsageUpdate(usage=usage))

    # ── blocks ─────────────────────────────────────────────────────────────────────

    def _block_start(self, event: Object, out: list[StreamEvent]) -> None:
        if not self._started:
            self._begin(out)
        raw = event["content_block"]
        old = self._blocks.pop(event.get("index"), None)
        if old is not None:
            old.stop(self, out)
        self._blocks[event.get("index")] = _BLOCKS.get(raw.get("type"), _Other)(self, raw, out)

    def _block_delta(self, event: Object, out: list[StreamEvent]) -> None:
        delta, index = event.get("delta") or {}, event.get("index")
        block = self._blocks.get(index)
        if block is None:
            block = self._unannounced(index, delta, out)
        if type(block) is not _Other:  # which keeps all of it
            find(delta, _PIECE, self._unread, "delta")
        kind = delta.get("type")
        if kind == "text_delta":
            if (text := delta.get("text")) is not None:
                block.text(self, text, out)
        else:
            block.delta(self, kind, delta, out)

    def _unannounced(self, index: Json, delta: Object, out: list[StreamEvent]) -> _Block:
        """A block that some servers do not announce: its first piece says what it is."""
        if not self._started:
            self._begin(out)
        kind = {"text_delta": "text", "thinking_delta": "thinking"}.get(delta.get("type") or "")
        if kind is None:
            raise BadUpstreamBytes("the upstream sent a piece of a block that never began")
        block = self._blocks[index] = _BLOCKS[kind](self, {"type": kind}, out)
        return block

    def _block_stop(self, event: Object, out: list[StreamEvent]) -> None:
        block = self._blocks.pop(event.get("index"), None)
        if block is not None:
            block.stop(self, out)

    def number(self) -> int:
        """The number of a part that opens now."""
        self._parts += 1
        return self._parts - 1

    def called(self, name: str) -> None:
        if name == ANSWER_TOOL:
            self._answered = True
        else:
            self._calls = True

    # ── the end ────────────────────────────────────────────────────────────────────

    def _message_delta(self, event: Object, out: list[StreamEvent]) -> None:
        """May come more than once; its counts correct those of the start, one by one."""
        if not self._started:
            self._begin(out)
        delta = event.get("delta") or {}
        self._usage.update({key: value for key, value in (event.get("usage") or {}).items() if value is not None})
        if delta.get("stop_reason") is not None:
            self._finish = finish_of(delta["stop_reason"], delta.get("stop_sequence"), delta.get("stop_details"))
            self._details = delta.get("stop_details") or self._details
        extra = {key: value for key, value in delta.items() if key not in _DELTA and value is not None}
        extra |= {key: value for key, value in event.items() if key not in ("type", "delta", "usage")}
        self._extra |= extra

    def _message_stop(self, event: Object, out: list[StreamEvent]) -> None:
        self._end(out)
        self.finished = True

    @property
    def counted(self) -> Usage | None:
        return read_usage(dict(self._usage))

    def _end(self, out: list[StreamEvent]) -> None:
        if not self._seen:
            raise BadUpstreamBytes("the upstream's stream is empty")
        if self._finish is None:
            raise cut_off()
        self._ended = True
        for block in self._blocks.values():
            block.stop(self, out)
        self._blocks.clear()
        finish = settled(self._finish, answered=self._answered, calls=self._calls)
        out.append(ChoiceEnd(finish=finish, extra={"stop_details": self._details} if self._details else None))
        usage = self.counted
        if usage is not None:
            out.append(UsageUpdate(usage=usage))
        find(self._usage, USAGE, self._unread, "usage")
        out.append(ResponseEnd(extra=self._unread | self._extra or None))


_READ: Mapping[str, Callable[..., None]] = {
    "content_block_delta": Decoder._block_delta,
    "content_block_start": Decoder._block_start,
    "content_block_stop": Decoder._block_stop,
    "message_start": Decoder._message_start,
    "message_delta": Decoder._message_delta,
    "message_stop": Decoder._message_stop,
}


# ── one block ──────────────────────────────────────────────────────────────────────────


class _Block:
    """A block while it arrives. It becomes a part of the answer with its first piece, at the latest at its stop."""

    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        self.part = -1

    def text(self, stream: Decoder, text: str, out: list[StreamEvent]) -> None:
        raise BadUpstreamBytes("the upstream sent text for a block that is none")

    def delta(self, stream: Decoder, kind: Json, delta: Object, out: list[StreamEvent]) -> None:
        """A piece of another kind than text; kinds that are not known are passed over."""

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        out.append(PartEnd(index=self.part))


def _unknown(raw: Object, known: Sequence[str]) -> Object | None:
    """What else the start of a block says."""
    return leftovers({key: value for key, value in raw.items() if key not in known})[0]


class _TextBlock(_Block):
    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        super().__init__(stream, raw, out)
        self._extra = _unknown(raw, ("type", "text", "citations"))
        if raw.get("text"):
            self.text(stream, raw["text"], out)
        for citation in raw.get("citations") or ():
            self._cite(stream, citation, out)

    def text(self, stream: Decoder, text: str, out: list[StreamEvent]) -> None:
        if type(text) is not str:
            raise TypeError("text")
        if self.part < 0:
            self.part = stream.number()
            out.append(TextDelta(index=self.part, text=text, extra=self._extra))
        else:
            out.append(TextDelta(index=self.part, text=text))

    def delta(self, stream: Decoder, kind: Json, delta: Object, out: list[StreamEvent]) -> None:
        if kind == "citations_delta":
            self._cite(stream, delta["citation"], out)

    def _cite(self, stream: Decoder, citation: Json, out: list[StreamEvent]) -> None:
        if self.part < 0:
            self.text(stream, "", out)
        out.append(CitationDelta(index=self.part, citation=read_citation(citation)))

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        if self.part < 0:
            self.text(stream, "", out)
        super().stop(stream, out)


class _ThinkingBlock(_Block):
    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        super().__init__(stream, raw, out)
        self._extra = _unknown(raw, ("type", "thinking", "signature"))
        self._signature = raw.get("signature") or ""
        if raw.get("thinking"):
            self._think(stream, raw["thinking"], out)

    def _think(self, stream: Decoder, text: str, out: list[StreamEvent]) -> None:
        if type(text) is not str:
            raise TypeError("thinking")
        if self.part < 0:
            self.part = stream.number()
            out.append(ReasoningDelta(index=self.part, text=text, extra=self._extra))
        else:
            out.append(ReasoningDelta(index=self.part, text=text))

    def delta(self, stream: Decoder, kind: Json, delta: Object, out: list[StreamEvent]) -> None:
        if kind == "thinking_delta":
            self._think(stream, delta.get("thinking") or "", out)
        elif kind == "signature_delta":
            self._signature += delta.get("signature") or ""

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        if self.part < 0:
            self._think(stream, "", out)
        seal = read_seal(self._signature, "")
        if seal is not None:
            out.append(SealDelta(index=self.part, seal=seal))
        super().stop(stream, out)


class _RedactedBlock(_Block):
    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        super().__init__(stream, raw, out)
        part = Reasoning(redacted=True, seal=read_seal(raw["data"], ""), extra=_unknown(raw, ("type", "data")))
        out.append(PartWhole(index=stream.number(), part=part))

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        """It came whole."""


class _CallBlock(_Block):
    """A call. Where its input stands in the start, that counts as long as no pieces come."""

    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        super().__init__(stream, raw, out)
        self.part = stream.number()
        name = raw["name"]
        if type(name) is not str:
            raise TypeError("name")
        self._is_answer = name == ANSWER_TOOL
        self._any = False
        self._given = raw.get("input") or {}
        stream.called(name)
        if not self._is_answer:
            extra = _unknown(raw, ("type", "id", "name", "input"))
            out.append(ToolCallStart(index=self.part, id=read_id(raw["id"]), name=read_name(name), extra=extra))

    def delta(self, stream: Decoder, kind: Json, delta: Object, out: list[StreamEvent]) -> None:
        if kind == "input_json_delta" and delta.get("partial_json"):
            self._argue(delta["partial_json"], out)

    def _argue(self, text: str, out: list[StreamEvent]) -> None:
        if type(text) is not str:
            raise TypeError("partial_json")
        self._any = True
        if self._is_answer:
            out.append(TextDelta(index=self.part, text=text))
        else:
            out.append(ToolCallDelta(index=self.part, arguments=text))

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        if not self._any:
            self._argue(_encode(self._given).decode(), out)
        super().stop(stream, out)


class _Other(_Block):
    """A block that only this dialect knows: put together and given out whole."""

    def __init__(self, stream: Decoder, raw: Object, out: list[StreamEvent]) -> None:
        super().__init__(stream, raw, out)
        self._raw = dict(raw)
        self._pieces: dict[str, list[str]] = {}

    def text(self, stream: Decoder, text: str, out: list[StreamEvent]) -> None:
        self._pieces.setdefault("text", []).append(str(text))

    def delta(self, stream: Decoder, kind: Json, delta: Object, out: list[StreamEvent]) -> None:
        for key, value in delta.items():
            if key == "type":
                continue
            if type(value) is str:
                self._pieces.setdefault(key, []).append(value)
            else:
                self._raw[key] = value

    def stop(self, stream: Decoder, out: list[StreamEvent]) -> None:
        written = "".join(self._pieces.pop("partial_json", ()))
        if written:
            self._raw["input"] = decode_upstream(written.encode("utf-8", "replace"))
        for key, pieces in self._pieces.items():
            before = self._raw.get(key)
            self._raw[key] = (before if type(before) is str else "") + "".join(pieces)
        part = read_block(self._raw, "")
        if not isinstance(part, Opaque):
            part = Opaque(dialect=NAME, kind=str(self._raw.get("type")), raw=self._raw)
        out.append(PartWhole(index=stream.number(), part=part))


_BLOCKS: Mapping[Json, type[_Block]] = {
    "text": _TextBlock,
    "thinking": _ThinkingBlock,
    "redacted_thinking": _RedactedBlock,
    "tool_use": _CallBlock,
}
