"""Streams of the service: binary frames, each an event with a JSON object.

    messageStart, (contentBlockStart?, contentBlockDelta*, contentBlockStop)*, messageStop, metadata

Blocks of text have no start. `metadata` ends the stream; it comes after `messageStop`, in recordings of tests also
before it or not at all. Exceptions come as frames of their own. Sources: project notes (dialects/streaming.md, 6),
recorded traffic.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

import msgspec

from providers.canonical.chat import Finish, Opaque, Seal, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
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
from providers.dialects.bedrock.errors import decode_exception
from providers.dialects.bedrock.response import (
    CITATION,
    METRICS,
    USAGE,
    check_usable,
    finish_of,
    is_servers,
    read_citation,
    read_image,
    read_usage,
    redacted,
    tier_of,
)
from providers.dialects.bedrock.words import FAMILY, NAME, Json, Object, read_name
from providers.dialects.unread import Shape, around, find, known
from providers.wire.eventstream import EventStreamDecoder
from providers.wire.halves import Halves
from providers.wire.json import UNREADABLE, decode_upstream

#: What is known of each event; `p` pads it. A tool's result is kept whole.
_EVENTS: Mapping[str, Shape] = {
    "messageStart": known("role", "p"),
    "contentBlockStart": known(
        *("contentBlockIndex", "p"),
        start=known("toolResult", toolUse=known("toolUseId", "name", "type"), image=known("format")),
    ),
    "contentBlockDelta": known(
        *("contentBlockIndex", "p"),
        delta=known(
            *("text", "toolResult"),
            toolUse=known("input"),
            reasoningContent=known("text", "signature", "redactedContent"),
            citation=CITATION,
            image=known("error", source=known("bytes", "s3Location")),
        ),
    ),
    "contentBlockStop": known("contentBlockIndex", "p"),
    "messageStop": known("stopReason", "additionalModelResponseFields", "p"),
    "metadata": around(usage=USAGE, metrics=METRICS),
}
#: Kinds of blocks whose deltas are read one by one.
_UNDERSTOOD = frozenset({"text", "reasoning", "redacted", "call"})


class _UsualDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    text: str


class _UsualEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most events: more text. Whatever does not fit in is read in full."""

    place: int = msgspec.field(name="contentBlockIndex")
    delta: _UsualDelta
    p: Json = None


_usual = msgspec.json.Decoder(_UsualEvent).decode
_PATIENCE = 8  # how often an event may turn out to be another before it is no longer tried


class _Block:
    """A block under way: `kind` is text, reasoning, call, or one that is given out whole when it is complete.

    `index` is the part's number, which one that comes whole has only when it is given out.
    """

    __slots__ = ("index", "kind", "pieces", "start")

    def __init__(self, kind: str, index: int, start: Object) -> None:
        self.kind = kind
        self.index = index
        self.start = start
        self.pieces: list[Json] = []


class Decoder:
    """Frames in, events out."""

    counted: Usage | None = None  # its events tell at once

    def __init__(self, limit: int = 16 << 20) -> None:
        self.finished = False
        self._frames = EventStreamDecoder(limit)
        self._json = Halves().decode
        self._blocks: dict[int, _Block] = {}
        self._next = 0  # number of the next part
        self._started = False
        self._useful = self._calls = False
        self._finish: Finish | None = None
        self._counted = False
        self._extra: Object = {}
        self._tier: str | None = None
        self._fault: RouterError | None = None
        self._talk: Mapping[str, str] | None = None  # the headers of deltas, as long as they are the same
        self._patience = _PATIENCE
        self._read: dict[str, Callable[[Object, list[StreamEvent]], None]] = {
            "contentBlockDelta": self._delta,
            "contentBlockStart": self._block_start,
            "contentBlockStop": self._block_stop,
            "messageStop": self._stop,
            "metadata": self._metadata,
        }

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return ()
        events: list[StreamEvent] = []
        try:
            for headers, payload in self._frames.feed(data):
                if headers is self._talk:  # most frames: nothing but more of a text that is open
                    try:
                        event = _usual(payload)
                    except UNREADABLE:
                        self._patience -= 1
                    else:
                        block = self._blocks.get(event.place)
                        text = event.delta.text
                        if text and block is not None and block.kind == "text":
                            self._useful = True
                            events.append(TextDelta(index=block.index, text=text))
                            continue
                if self._frame(headers, payload, events):
                    break
        except RouterError as fault:
            self._fault = fault
            if not events:
                raise
        return events

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        if self.finished:
            return ()
        rest = self._frames.close()
        if rest or self._finish is None:
            raise StreamTruncated("the upstream's stream ended before its end")
        events: list[StreamEvent] = []
        self._end(events)
        return events

    def _frame(self, headers: Mapping[str, str], payload: bytes, events: list[StreamEvent]) -> bool:
        """Reads one frame. Was it the last?"""
        if headers.get(":message-type", "event") != "event":
            raise decode_exception(headers, payload)
        kind = headers.get(":event-type", "")
        read = self._read.get(kind)
        if read is None and kind != "messageStart":
            return False  # `initial-response`, whose payload may be empty, and what is not known yet
        body = self._json(payload) if payload else {}
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream's stream holds an event that is no object")
        if not self._started:
            self._started = True
            events.append(ResponseStart(dialect=NAME))
        find(body, _EVENTS[kind], self._extra, kind)
        if read is not None and (self._finish is None or kind == "metadata"):
            read(body, events)
        usual = kind == "contentBlockDelta" and self._finish is None and self._patience > 0
        self._talk = headers if usual else None
        return self.finished

    # ── blocks ─────────────────────────────────────────────────────────────────────

    def _delta(self, body: Object, events: list[StreamEvent]) -> None:
        delta, place = body.get("delta"), _place(body)
        if type(delta) is not dict:
            return
        text = delta.get("text")
        if type(text) is str:
            block = self._blocks.get(place)
            if block is None or block.kind != "text":
                if not text:
                    return
                block = self._open(place, "text", events)
            self._useful = self._useful or bool(text)
            events.append(TextDelta(index=block.index, text=text))
        elif "toolUse" in delta:
            self._input(place, delta["toolUse"], events)
        elif type(told := delta.get("reasoningContent")) is dict:
            self._reasoning(place, told, events)
        elif type(told := delta.get("citation")) is dict:
            block = self._blocks.get(place)
            if block is None or block.kind != "text":
                block = self._open(place, "text", events)
                events.append(TextDelta(index=block.index, text=""))
            events.append(CitationDelta(index=block.index, citation=read_citation(told)))
        elif (block := self._blocks.get(place)) is not None and block.kind not in _UNDERSTOOD:
            block.pieces.append(next((told for told in delta.values() if told is not None), None))

    def _input(self, place: int, told: Json, events: list[StreamEvent]) -> None:
        block = self._blocks.get(place)
        piece = told.get("input") if type(told) is dict else None
        if block is None or type(piece) is not str or not piece:
            return
        block.pieces.append(piece)
        if block.kind == "call":
            events.append(ToolCallDelta(index=block.index, arguments=piece))

    def _reasoning(self, place: int, told: Object, events: list[StreamEvent]) -> None:
        kind = "redacted" if "redactedContent" in told else "reasoning"
        block = self._blocks.get(place)
        if block is None or block.kind != kind:
            block = self._open(place, kind, events)
            if kind == "reasoning" and type(told.get("text")) is not str:
                events.append(ReasoningDelta(index=block.index, text=""))
        if type(text := told.get("text")) is str:
            events.append(ReasoningDelta(index=block.index, text=text))
        elif type(piece := told.get("signature") or told.get("redactedContent")) is str:
            block.pieces.append(piece)

    def _block_start(self, body: Object, events: list[StreamEvent]) -> None:
        start, place = body.get("start"), _place(body)
        members = start.items() if type(start) is dict else ()
        kind, data = next(((kind, data) for kind, data in members if data is not None), ("", None))
        if type(data) is not dict:
            return
        if kind == "toolUse" and not is_servers(data):
            block = self._open(place, "call", events, data)
            self._useful = self._calls = True
            identifier, name = str(data.get("toolUseId") or ""), read_name(str(data.get("name") or ""))
            events.append(ToolCallStart(index=block.index, id=identifier, name=name))
        elif kind not in _UNDERSTOOD:
            self._open(place, kind, events, data)

    def _open(self, place: int, kind: str, events: list[StreamEvent], start: Object | None = None) -> _Block:
        """A new block at a place; what was open there is closed."""
        if place in self._blocks:
            self._close_block(place, events)
        whole = kind == "redacted" or kind not in _UNDERSTOOD
        block = self._blocks[place] = _Block(kind, -1 if whole else self._number(), start or {})
        return block

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _block_stop(self, body: Object, events: list[StreamEvent]) -> None:
        place = _place(body)
        if place in self._blocks:
            self._close_block(place, events)

    def _close_block(self, place: int, events: list[StreamEvent]) -> None:
        block = self._blocks.pop(place)
        if block.kind == "call" and not block.pieces:
            events.append(ToolCallDelta(index=block.index, arguments="{}"))
        elif block.kind == "reasoning" and block.pieces:
            events.append(SealDelta(index=block.index, seal=Seal(value="".join(block.pieces), origin=FAMILY)))
        elif block.kind == "redacted" or block.kind not in _UNDERSTOOD:
            self._whole(block, events)
            return
        events.append(PartEnd(index=block.index))

    def _whole(self, block: _Block, events: list[StreamEvent]) -> None:
        """A block that is of use only as a whole."""
        block.index = self._number()
        if block.kind == "redacted":
            events.append(PartWhole(index=block.index, part=redacted(_joined(block.pieces))))
            return
        self._useful = True
        if block.kind == "image":
            media = read_image({**block.start, "source": {"bytes": _joined(_contents(block.pieces))}})
            if media is not None:
                events.append(PartWhole(index=block.index, part=media))
                return
        raw = dict(block.start)
        if block.kind == "toolUse":
            written = "".join(piece for piece in block.pieces if type(piece) is str)
            raw["input"] = decode_upstream(written.encode() or b"{}")
        else:
            raw["content"] = [one for piece in block.pieces for one in (piece if type(piece) is list else [piece])]
        events.append(PartWhole(index=block.index, part=Opaque(dialect=NAME, kind=block.kind, raw=raw)))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _stop(self, body: Object, events: list[StreamEvent]) -> None:
        for place in list(self._blocks):
            self._close_block(place, events)
        finish = finish_of(body.get("stopReason"), self._calls)
        check_usable(finish, self._useful)
        if "additionalModelResponseFields" in body:
            self._extra["additionalModelResponseFields"] = body["additionalModelResponseFields"]
        self._finish = finish
        events.append(ChoiceEnd(finish=finish))
        if self._counted:
            self._end(events)

    def _metadata(self, body: Object, events: list[StreamEvent]) -> None:
        usage = read_usage(body.get("usage"))
        if usage is not None:
            events.append(UsageUpdate(usage=usage))
        self._tier = tier_of(body.get("serviceTier"))
        self._extra |= {key: value for key, value in body.items() if key not in ("usage", "serviceTier", "p")}
        self._counted = True
        if self._finish is not None:
            self._end(events)

    def _end(self, events: list[StreamEvent]) -> None:
        self.finished = True
        events.append(ResponseEnd(service_tier=self._tier, extra=self._extra or None))


def _place(body: Object) -> int:
    """Which block an event is about."""
    place = body.get("contentBlockIndex")
    return place if type(place) is int else 0


def _contents(pieces: Sequence[Json]) -> list[str]:
    """The bytes of an image, as they come in pieces."""
    sources = [piece.get("source") for piece in pieces if type(piece) is dict]
    contents = [source.get("bytes") for source in sources if type(source) is dict]
    return [content for content in contents if type(content) is str]


def _joined(pieces: Sequence[str]) -> str:
    """Base64 texts, each padded on its own, as one."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)
