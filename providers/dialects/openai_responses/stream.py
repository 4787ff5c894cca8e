"""Streams, read: events of any server that speaks this dialect to canonical events.

Items are told apart by `output_index`, for some servers change an item's id on the way. A `done` event, and the last
one, say again what the deltas said: only what was missing is taken from them. The tolerances, each seen on the wire:
no events for parts of content, no sequence numbers, no item ids; items that only end; errors nested or flat, with or
without `response.failed` behind them; events that nobody knows. What a built-in tool did comes whole, as its item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from providers.canonical.chat import Logprobs, Media, Opaque, Reasoning, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamError
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    LogprobsDelta,
    PartEnd,
    PartWhole,
    ReasoningDelta,
    RefusalDelta,
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
from providers.dialects._openai.errors import decode_error
from providers.dialects._openai.values import Json, Object
from providers.dialects.unread import find, known
from providers.wire.halves import Halves
from providers.wire.json import UNREADABLE, decode_upstream, encode
from providers.wire.sse import LF, SseDecoder, is_silent, last_event, parse, stray, stray_json

from .faults import event_fault, fault
from .items import read_citation, read_message
from .output import read_item, read_made_call, read_tokens
from .response import ANNOTATION, ITEM, PART, RESPONSE, USAGE, read_head, read_usage
from .words import NAME, finish_of

#: Events after which nothing more comes.
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
#: Events that say no more than that the answer is under way.
HEADS = frozenset({"response.created", "response.in_progress", "response.queued"})
#: Of an event, whatever it tells.
_EVENT = known(
    *("type", "sequence_number", "obfuscation", "response", "item", "item_id", "output_index", "content_index"),
    *("part", "summary_index", "annotation", "annotation_index", "delta", "text", "refusal", "arguments", "input"),
    *("logprobs", "partial_image_b64", "partial_image_index", "background", "output_format", "quality", "size"),
    *("code", "output", "command", "command_index", "message", "param", "error", "status", "name"),
)
_PIECES: Mapping[str, tuple[type, str]] = {"output_text": (TextDelta, "text"), "refusal": (RefusalDelta, "refusal")}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_USUAL = b"event: response.output_text.delta\ndata: "
_SKIPPED = len(_USUAL)
_PATIENCE = 8  # how often an event may turn out to be another before it is no longer tried


class _UsualEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most events: more text. Whatever does not fit in is read in full."""

    type: Literal["response.output_text.delta"]
    item_id: Json = None
    output_index: int
    content_index: int
    logprobs: Json = None
    sequence_number: Json = None
    delta: str
    obfuscation: Json = None


_usual = msgspec.json.Decoder(_UsualEvent).decode


class ResponsesStreamDecoder:
    """Bytes to events. `finished` after the last event of a response, or when a fault waits to be raised."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._sse = SseDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._seen = False  # any event with data at all
        self._started = False
        self._ended = False
        self._parts = 0
        self._items: dict[int, _Item] = {}
        self._last = 0  # the output_index of the item that was spoken of last
        self._talking: _Item | None = None  # the message that is open
        self._calls = self._refused = False
        self._unread: Object = {}
        self._told: set[str] = set()  # paths of what stands in the `extra` of an item's part
        self._patience = _PATIENCE
        self.counted: Usage | None = None
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
        if not self._ended:
            self._rest(self._sse.close(), out)
        if not self._ended:
            if not self._seen:
                raise BadUpstreamBytes("the upstream's stream is empty")
            raise StreamTruncated("the upstream's stream ended without the end of its response")
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
            if block.startswith(_USUAL) and LF not in (data := block[_SKIPPED:]) and self._patience > 0:
                try:
                    event = _usual(data)
                except UNREADABLE:
                    self._patience -= 1
                else:
                    item, text = self._items.get(event.output_index), event.delta
                    if item is not None and not item.done and text and not event.logprobs:
                        slot = item.slots.get(event.content_index)
                        if slot is not None and not slot.ended and slot.kind is TextDelta:
                            self._last = event.output_index
                            slot.length += len(text)
                            out.append(TextDelta(index=slot.part, text=text))
                            continue
            yield block

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[StreamEvent]) -> None:
        if data is None:
            if not is_silent(raw):
                raise stray_fault(stray(raw, self._seen))
        elif data and data != b"[DONE]":
            self._seen = True
            if name == b"error" and not data.startswith(b"{"):
                raise stray_fault(data)
            event = self._json(data)
            if type(event) is not dict:
                raise BadUpstreamBytes("the upstream sent an event that is not an object")
            try:
                self._read(event, name, out)
            except (TypeError, ValueError, KeyError, AttributeError, IndexError):
                raise BadUpstreamBytes("the upstream sent an event that is none of a response") from None

    def _rest(self, rest: bytes, out: list[StreamEvent]) -> None:
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
                if name != b"error":  # whose text may be any
                    decode_upstream(data)
            except BadUpstreamBytes:
                raise StreamTruncated("the upstream's stream ended inside an event") from None
            self._event(data, name, rest, out)

    def _read(self, event: Object, name: bytes | None, out: list[StreamEvent]) -> None:
        kind = event.get("type") or (name.decode("utf-8", "replace") if name else "")
        find(event, _EVENT, self._unread, kind)
        read = _EVENTS.get(kind)
        if read is not None:
            if not self._started:
                self._start(event.get("response") or {}, out)
            read(self, event, out)
        elif kind == "error" or (not kind and event.get("error")):
            raise event_fault(event)
        elif kind in ENDS:
            self._end(kind, event.get("response") or {}, out)
        elif kind in HEADS:
            find(event.get("response"), RESPONSE, self._unread)
            if not self._started:
                self._start(event.get("response") or {}, out)
        elif "part" in event:
            find(event["part"], PART, self._unread, _place(event))

    def _start(self, response: Object, out: list[StreamEvent]) -> None:
        self._started = True
        fields, _ = read_head(response)
        out.append(ResponseStart(dialect=NAME, **fields))

    # ── items ──────────────────────────────────────────────────────────────────────

    def _item(self, event: Object, kind: str, out: list[StreamEvent]) -> _Item:
        """The item that an event is about, which is of this `kind` ("" where the event does not tell).

        One that nobody has announced begins here; so does one of another kind in the place of one before it, for some
        servers give no places.
        """
        index = event.get("output_index")
        if type(index) is not int:
            index = self._last
        self._last = index
        item = self._items.get(index)
        if item is not None and kind and (item.done or (item.kind and item.kind != kind)):
            if not item.done:
                self._abandon(item, out)
            item = None
        if item is None:
            if self._talking is not None:
                self._end_texts(self._talking, out)  # nobody may have said that it is over
            item = self._items[index] = _Item(index)
        item.kind = kind or item.kind
        return item

    def _known(self, event: Object, kind: str, out: list[StreamEvent]) -> _Item | None:
        """The item of an event that only says again what has been said; None where all of it is over."""
        index = event.get("output_index")
        item = self._items.get(index if type(index) is int else self._last)
        return None if item is not None and item.done else self._item(event, kind, out)

    def _added(self, event: Object, out: list[StreamEvent]) -> None:
        raw = event.get("item")
        if type(raw) is dict:
            item = self._item(event, _kind(raw), out)
            item.raw = raw
            if item.kind == "call" and item.part < 0 and raw.get("name") and raw.get("call_id"):
                self._open_call(item, out)

    def _done(self, event: Object, out: list[StreamEvent]) -> None:
        raw = event["item"]
        item = self._known(event, _kind(raw), out)
        if item is not None:
            self._finish(item, raw, out)

    def _finish(self, item: _Item, raw: Object, out: list[StreamEvent]) -> None:
        """The whole item: gives out what of it has not come yet."""
        opened = item.part >= 0 or bool(item.slots)
        self._told.update(f"output[{item.index}].{key}" for key in (item.raw if opened else raw))
        find(raw, ITEM, self._unread, f"output[{item.index}]")
        find(item.raw, ITEM if item.kind != "other" else known(*raw), self._unread, f"output[{item.index}]")
        item.raw, item.done = raw, True
        if item.kind == "message":
            self._finish_message(item, raw, out)
        elif item.kind == "call":
            self._finish_call(item, raw, out)
        elif item.kind == "reasoning":
            self._finish_reasoning(item, raw, out)
        else:
            self._whole(read_item(raw, "", item.index)[0], out)
        item.raw = {}

    def _whole(self, part: Any, out: list[StreamEvent]) -> None:
        assert isinstance(part, Media | Opaque | Reasoning)
        out.append(PartWhole(index=self._next(), part=part))

    def _next(self) -> int:
        self._parts += 1
        return self._parts - 1

    # ── messages ───────────────────────────────────────────────────────────────────

    def _text_delta(self, event: Object, out: list[StreamEvent]) -> None:
        text, logprobs = _delta(event), event.get("logprobs")
        if text:
            self._say(self._item(event, "message", out), event, TextDelta, text, out)
        if logprobs:
            self._weigh(self._item(event, "message", out), event, logprobs, out)

    def _refusal_delta(self, event: Object, out: list[StreamEvent]) -> None:
        text = _delta(event)
        if text:
            self._say(self._item(event, "message", out), event, RefusalDelta, text, out)

    def _text_done(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "message", out)
        if item is not None:
            self._fill(item, event, TextDelta, event.get("text"), out)

    def _refusal_done(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "message", out)
        if item is not None:
            self._fill(item, event, RefusalDelta, event.get("refusal"), out)

    def _say(self, item: _Item, event: Object, kind: Any, text: str, out: list[StreamEvent]) -> None:
        key = event.get("content_index") or 0
        slot = item.slots.get(key)
        if slot is not None and slot.kind is not kind and not slot.ended:
            self._end_slot(slot, out)
        if slot is None or slot.ended:
            slot = self._open_slot(item, key, kind, out)
            out.append(kind(index=slot.part, text=text, extra=slot.extra))
        else:
            out.append(kind(index=slot.part, text=text))
        slot.length += len(text)

    def _open_slot(self, item: _Item, key: int, kind: type, out: list[StreamEvent]) -> _Slot:
        """The first part of a message carries what is said of the message; a refusal is remembered."""
        extra = None
        if not item.slots:
            empty = read_message({**item.raw, "role": "assistant", "content": "", "status": "completed"}, "")
            extra = empty[0].extra
        self._talking = item
        slot = item.slots[key] = _Slot(self._next(), kind, extra)
        self._refused = self._refused or kind is RefusalDelta
        return slot

    def _fill(self, item: _Item, event: Object, kind: Any, text: Json, out: list[StreamEvent]) -> None:
        """What a part is as a whole: the end of it may not have come in pieces."""
        if type(text) is not str:
            return
        slot = item.slots.get(event.get("content_index") or 0)
        if slot is not None and slot.kind is not kind:
            slot = None
        if slot is None or len(text) > slot.length:
            self._say(item, event, kind, text[slot.length :] if slot is not None else text, out)

    def _weigh(self, item: _Item, event: Object, raws: Json, out: list[StreamEvent]) -> None:
        slot = item.slots.get(event.get("content_index") or 0)
        if slot is not None:
            slot.weighed = True
        out.append(LogprobsDelta(logprobs=Logprobs(content=tuple(read_tokens(raws)))))

    def _annotated(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "message", out) if event.get("annotation") is not None else None
        if item is not None:
            self._cite(item, event.get("content_index") or 0, [event["annotation"]], out)

    def _cite(self, item: _Item, key: int, raws: Sequence[Json], out: list[StreamEvent]) -> None:
        if key not in item.slots:
            self._say(item, {"content_index": key}, TextDelta, "", out)
        slot = item.slots[key]
        if slot.ended or slot.kind is not TextDelta:
            return
        find(raws, ANNOTATION, self._unread, f"output[{item.index}].content[{key}].annotations")
        for raw in raws:
            slot.cited += 1
            out.append(CitationDelta(index=slot.part, citation=read_citation(raw)))

    def _finish_message(self, item: _Item, raw: Object, out: list[StreamEvent]) -> None:
        content = raw.get("content") or ()
        # Some servers count from another number in the pieces than in the whole.
        keys = sorted(item.slots) if len(item.slots) == len(content) else range(len(content))
        for key, one in zip(keys, content):
            piece = _PIECES.get(one.get("type"))
            if piece is None:
                self._whole(Opaque(dialect=NAME, kind=str(one.get("type")), raw=one), out)
                continue
            place = {"content_index": key}
            self._fill(item, place, piece[0], one.get(piece[1]), out)
            slot = item.slots.get(key)
            if slot is None or slot.ended:
                continue
            if len(one.get("annotations") or ()) > slot.cited:
                self._cite(item, key, one["annotations"][slot.cited :], out)
            if one.get("logprobs") and not slot.weighed:
                self._weigh(item, place, one["logprobs"], out)
        if not item.slots and not content:
            self._say(item, {}, TextDelta, "", out)
        self._end_texts(item, out)

    def _end_texts(self, item: _Item, out: list[StreamEvent]) -> None:
        for slot in item.slots.values():
            if not slot.ended:
                self._end_slot(slot, out)
        self._talking = None

    def _end_slot(self, slot: _Slot, out: list[StreamEvent]) -> None:
        slot.ended = True
        out.append(PartEnd(index=slot.part))

    # ── calls ──────────────────────────────────────────────────────────────────────

    def _open_call(self, item: _Item, out: list[StreamEvent]) -> None:
        call = read_made_call({**item.raw, "status": "completed"}, "", item.index)
        self._calls = True
        item.part = self._next()
        out.append(
            ToolCallStart(
                index=item.part,
                id=call.id,
                name=call.name,
                kind=call.kind,
                invented_id=call.invented_id,
                extra=call.extra,
            )
        )
        if item.held:
            out.append(ToolCallDelta(index=item.part, arguments="".join(item.held)))
            item.held.clear()

    def _call_delta(self, event: Object, out: list[StreamEvent]) -> None:
        self._argue(self._item(event, "call", out), _delta(event), out)

    def _call_done(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "call", out)
        if item is not None:
            self._complete_call(item, event, out)

    def _complete_call(self, item: _Item, said: Object, out: list[StreamEvent]) -> None:
        text = said.get("arguments", said.get("input"))
        if type(text) is dict:
            text = encode(text).decode()
        if type(text) is str and len(text) > item.length:
            self._argue(item, text[item.length :], out)

    def _argue(self, item: _Item, text: str, out: list[StreamEvent]) -> None:
        item.length += len(text)
        if item.part < 0:
            item.held.append(text)
        elif text:
            out.append(ToolCallDelta(index=item.part, arguments=text))

    def _finish_call(self, item: _Item, raw: Object, out: list[StreamEvent]) -> None:
        if item.part < 0:
            self._open_call(item, out)
        self._complete_call(item, raw, out)
        out.append(PartEnd(index=item.part))

    # ── reasoning ──────────────────────────────────────────────────────────────────

    def _summary_delta(self, event: Object, out: list[StreamEvent]) -> None:
        self._think(
            self._item(event, "reasoning", out), ("summary", event.get("summary_index") or 0), _delta(event), out
        )

    def _thought_delta(self, event: Object, out: list[StreamEvent]) -> None:
        self._think(
            self._item(event, "reasoning", out), ("content", event.get("content_index") or 0), _delta(event), out
        )

    def _summary_done(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "reasoning", out)
        if item is not None:
            self._rethink(item, ("summary", event.get("summary_index") or 0), event.get("text"), out)

    def _thought_done(self, event: Object, out: list[StreamEvent]) -> None:
        item = self._known(event, "reasoning", out)
        if item is not None:
            self._rethink(item, ("content", event.get("content_index") or 0), event.get("text"), out)

    def _think(self, item: _Item, place: tuple[str, int], text: str, out: list[StreamEvent]) -> None:
        """More of one of the texts of a reasoning item; canonical has one text, with an empty line between them."""
        if not text:
            return
        if item.part < 0:
            known = {**item.raw, "type": "reasoning", "summary": [{"text": "x"}], "status": "completed"}
            part = read_item(known, "", 0)[0]
            item.part = self._next()
            out.append(ReasoningDelta(index=item.part, text=text, extra=part.extra))
        elif item.place != place:
            out.append(ReasoningDelta(index=item.part, text="\n\n" + text))
        else:
            out.append(ReasoningDelta(index=item.part, text=text))
        item.place = place
        item.thought[place] = item.thought.get(place, 0) + len(text)

    def _rethink(self, item: _Item, place: tuple[str, int], text: Json, out: list[StreamEvent]) -> None:
        if type(text) is str and len(text) > item.thought.get(place, 0):
            self._think(item, place, text[item.thought.get(place, 0) :], out)

    def _finish_reasoning(self, item: _Item, raw: Object, out: list[StreamEvent]) -> None:
        for key in ("summary", "content"):
            for i, one in enumerate(raw.get(key) or ()):
                self._rethink(item, (key, i), one.get("text"), out)
        part = read_item(raw, "", item.index)[0]
        if item.part < 0:
            self._whole(part, out)
            return
        if part.seal is not None:
            out.append(SealDelta(index=item.part, seal=part.seal))
        out.append(PartEnd(index=item.part))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _end(self, kind: str, response: Object, out: list[StreamEvent]) -> None:
        status = response.get("status") or kind.rpartition(".")[2]
        if type(usage := response.get("usage")) is dict and usage:
            self.counted = read_usage(usage)
        if status in ("failed", "cancelled"):
            raise fault(response.get("error"))
        if not self._started:
            self._start(response, out)
        self._complete(response.get("output") or (), out)
        self._ended = self.finished = True
        fields, extra = read_head(response)
        finish = finish_of({**response, "status": status}, calls=self._calls, refused=self._refused)
        out.append(ChoiceEnd(finish=finish))
        if self.counted is not None:
            out.append(UsageUpdate(usage=self.counted))
            find(usage, USAGE, self._unread, "usage")
        find(response.get("output"), ITEM, self._unread, "output")
        said = {key: value for key, value in self._unread.items() if key not in self._told}
        said |= {key: value for key, value in extra.items() if value not in (None, "", [], {})}
        out.append(ResponseEnd(service_tier=fields.get("service_tier"), extra=said or None))

    def _complete(self, output: Sequence[Object], out: list[StreamEvent]) -> None:
        """Items that never ended end now; a stream that told of none has them here alone."""
        if not self._items:
            for index, raw in enumerate(output):
                self._finish(self._item({"output_index": index}, _kind(raw), out), raw, out)
        for item in self._items.values():
            if not item.done:
                whole = output[item.index] if item.index < len(output) else {}
                if whole and _kind(whole) == (item.kind or _kind(whole)):
                    item.kind = _kind(whole)
                    self._finish(item, whole, out)
                elif item.raw.get("type"):
                    self._finish(item, item.raw, out)
                else:
                    self._abandon(item, out)

    def _abandon(self, item: _Item, out: list[StreamEvent]) -> None:
        """An item of which there were pieces only."""
        if item.held:
            raise BadUpstreamBytes("the upstream sent a tool call without a name")
        self._end_texts(item, out)
        if item.part >= 0:
            out.append(PartEnd(index=item.part))


def _kind(raw: Object) -> str:
    """What an item is to us: message, call, reasoning, or something that comes whole."""
    kind = raw.get("type")
    return "call" if kind in _CALLS else kind if kind in ("message", "reasoning") else "other"


def _place(event: Object) -> str:
    """Where the part of a message or of a reasoning item stands that an event is about."""
    inner = "summary" if "summary_index" in event else "content"
    return f"output[{event.get('output_index')}].{inner}[{event.get(inner + '_index')}]"


def _delta(event: Object) -> str:
    text = event.get("delta")
    if text is None:
        return ""
    if type(text) is not str:
        raise TypeError("a delta that is no text")
    return text


def stray_fault(text: bytes) -> UpstreamError:
    """The error that a JSON text says which stands where an event should be."""
    return decode_error(WireResponse(status=200, body=text), NAME)


class _Slot:
    """A text or refusal of a message while it arrives."""

    def __init__(self, part: int, kind: type, extra: Mapping[str, Json] | None) -> None:
        self.part = part
        self.kind = kind
        self.extra = extra
        self.length = 0
        self.cited = 0
        self.weighed = False
        self.ended = False


class _Item:
    """An item while it arrives."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.kind = ""
        self.raw: Object = {}
        self.done = False
        self.slots: dict[int, _Slot] = {}  # of a message, by content_index
        self.part = -1  # of a call or of reasoning, once it is open
        self.length = 0  # of the arguments so far
        self.held: list[str] = []  # arguments that came before the name
        self.place: tuple[str, int] = ("", 0)  # the text of a reasoning item that came last
        self.thought: dict[tuple[str, int], int] = {}  # how long each of its texts is


_EVENTS: dict[str, Callable[[ResponsesStreamDecoder, Object, list[StreamEvent]], None]] = {
    "response.output_text.delta": ResponsesStreamDecoder._text_delta,
    "response.output_text.done": ResponsesStreamDecoder._text_done,
    "response.refusal.delta": ResponsesStreamDecoder._refusal_delta,
    "response.refusal.done": ResponsesStreamDecoder._refusal_done,
    "response.output_text.annotation.added": ResponsesStreamDecoder._annotated,
    "response.function_call_arguments.delta": ResponsesStreamDecoder._call_delta,
    "response.function_call_arguments.done": ResponsesStreamDecoder._call_done,
    "response.custom_tool_call_input.delta": ResponsesStreamDecoder._call_delta,
    "response.custom_tool_call_input.done": ResponsesStreamDecoder._call_done,
    "response.reasoning_summary_text.delta": ResponsesStreamDecoder._summary_delta,
    "response.reasoning_summary_text.done": ResponsesStreamDecoder._summary_done,
    "response.reasoning_text.delta": ResponsesStreamDecoder._thought_delta,
    "response.reasoning_text.done": ResponsesStreamDecoder._thought_done,
    "response.output_item.added": ResponsesStreamDecoder._added,
    "response.output_item.done": ResponsesStreamDecoder._done,
}
