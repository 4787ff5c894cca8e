"""Streams, read: typed events to canonical ones. `message-end` is the end; `[DONE]` after it says nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamError
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    LogprobsDelta,
    PartEnd,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageUpdate,
)
from providers.dialect import WireResponse
from providers.dialects.unread import find, known
from providers.wire.halves import Halves
from providers.wire.json import UNREADABLE, as_text, encode
from providers.wire.sse import SseDecoder, is_silent, last_event, parse, stray, stray_json

from .answer import INSIDE, USAGE, WEIGHTS
from .errors import decode_error
from .words import NAME, Json, Object, finish_of, read_citations, read_logprobs, read_usage

#: Of an event, whatever it tells.
_EVENT = known(
    *("type", "index", "id"),
    logprobs=WEIGHTS,
    delta=known("finish_reason", "error", usage=USAGE, message=known("role", "tool_plan", **INSIDE)),
)
_PLAN = "plan"
_USUAL = b"event: content-delta\ndata: "
_PATIENCE = 8  # how often an event may turn out to be another before it is no longer tried


class _UsualContent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    type: Json = None
    text: str


class _UsualMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    content: _UsualContent


class _UsualDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    message: _UsualMessage


class _UsualEvent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most events: more text. Whatever does not fit in is read in full."""

    id: Json = None
    type: Literal["content-delta"]
    index: int
    delta: _UsualDelta


_usual = msgspec.json.Decoder(_UsualEvent).decode


def _fault(data: bytes) -> UpstreamError:
    """The error that an event, or a JSON text in its place, says."""
    return decode_error(WireResponse(status=200, body=data))


class Decoder:
    """Bytes to events. `finished` after message-end, or when a fault waits to be raised.

    A text stays open after its content-end, for its citations may come later; the next part closes it.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        self._sse = SseDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._started = False
        self._parts = 0
        self._open: Json = None  # what the open text-like part is: an index of content, or the plan
        self._kind: type = TextDelta
        self._texts: dict[int, int] = {}  # index of content -> part, of texts that are open
        self._calls: dict[Json, int] = {}  # index of the call -> part
        self._argued: set[int] = set()
        self._called = False
        self._unread: Object = {}
        self.counted: Usage | None = None
        self._strays: list[Json] = []  # citations of what has no place for them
        self._patience = _PATIENCE
        self.finished = False

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        try:
            for block in self._others(self._sse.blocks(data) if not self.finished else (), out):
                payload, name = parse(block)
                self._event(payload, name, block, out)
                if self.finished:
                    break
        except RouterError as error:
            self.finished = True
            self._fault = error
            if not out:
                raise
        return out

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        rest = self._sse.close() if not self.finished else b""
        if rest.strip():
            self._rest(rest, out)
        if not self._started:
            raise BadUpstreamBytes("the upstream's stream is empty")
        if not self.finished:
            raise StreamTruncated("the upstream's stream ended without a message-end")
        return out

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
                    text = event.delta.message.content.text
                    if text and self._open is not None and self._open == event.index and self._kind is TextDelta:
                        out.append(TextDelta(index=self._parts - 1, text=text))
                        continue
            yield block

    def _event(self, data: bytes | None, name: bytes | None, raw: bytes, out: list[StreamEvent]) -> None:
        if data is None:
            if not is_silent(raw):
                raise _fault(stray(raw, self._started))
            return
        if not data or data == b"[DONE]":
            return
        if name == b"error":
            raise _fault(data)
        body = self._json(data)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream sent an event that is not an object")
        kind = body.get("type") or (name.decode("utf-8", "replace") if name else None)
        read = _EVENTS.get(kind) if type(kind) is str else None
        if read is None:
            if type(body.get("message")) is str or body.get("error"):
                raise _fault(data)
            return  # kinds of events that are not known yet
        if not self._started:
            self._start(body, out)
        find(body, _EVENT, self._unread)
        try:
            read(self, body, out)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise BadUpstreamBytes("the upstream sent an event that is not part of a chat") from None

    def _rest(self, rest: bytes, out: list[StreamEvent]) -> None:
        """The last event without its empty line: whole, or cut."""
        text = stray_json(rest, self._started)
        if text is not None:
            raise _fault(text)
        try:
            self._event(*last_event(rest), b":", out)
        except BadUpstreamBytes:
            raise StreamTruncated("the upstream's stream ended inside an event") from None

    def _start(self, body: Object, out: list[StreamEvent]) -> None:
        self._started = True
        given = body.get("id")
        out.append(ResponseStart(dialect=NAME, id=given if type(given) is str and given else None))

    # ── text, thinking, plan ───────────────────────────────────────────────────────

    def _content_start(self, body: Object, out: list[StreamEvent]) -> None:
        content = _message(body).get("content") or {}
        kind = ReasoningDelta if content.get("type") == "thinking" else TextDelta
        said = content.get("thinking" if kind is ReasoningDelta else "text")
        if said:
            self._say(body.get("index"), kind, said, out)

    def _content_delta(self, body: Object, out: list[StreamEvent]) -> None:
        content = _message(body).get("content") or {}
        if said := content.get("text"):
            self._say(body.get("index"), TextDelta, said, out)
        elif said := content.get("thinking"):
            self._say(body.get("index"), ReasoningDelta, said, out)
        if body.get("logprobs"):
            out.append(LogprobsDelta(logprobs=read_logprobs([body["logprobs"]])))

    def _plan_delta(self, body: Object, out: list[StreamEvent]) -> None:
        said = _message(body).get("tool_plan")
        if said:
            self._say(_PLAN, ReasoningDelta, said, out)

    def _say(self, place: Json, kind: type, value: Json, out: list[StreamEvent]) -> None:
        said = as_text(value)
        place = 0 if place is None else place
        if self._open is None or self._open != place or self._kind is not kind:
            self._begin(place, kind, out)
        out.append(kind(index=self._parts - 1, text=said))

    def _begin(self, place: Json, kind: type, out: list[StreamEvent]) -> None:
        self._shut(out)
        self._open = place
        self._kind = kind
        if kind is TextDelta:
            self._texts[self._open] = self._parts
        self._parts += 1

    def _shut(self, out: list[StreamEvent]) -> None:
        if self._open is not None:
            out.append(PartEnd(index=self._parts - 1))
            self._texts.clear()
            self._open = None

    def _cite(self, body: Object, out: list[StreamEvent]) -> None:
        raw = _message(body).get("citations")
        for one in raw if type(raw) is list else [raw] if raw else ():
            place = one.get("content_index")
            part = self._texts.get(place) if place is not None else next(iter(self._texts.values()), None)
            if part is None or one.get("type", "TEXT_CONTENT") != "TEXT_CONTENT":
                self._strays.append(one)
                continue
            for citation in read_citations(one):
                out.append(CitationDelta(index=part, citation=citation))

    # ── calls ──────────────────────────────────────────────────────────────────────

    def _call_start(self, body: Object, out: list[StreamEvent]) -> None:
        self._shut(out)
        call = body["delta"]["message"]["tool_calls"]
        identifier, name = as_text(call["id"]), as_text(call["function"]["name"])
        if body.get("index") in self._calls:
            self._call_end(body, out)  # nobody has said that it is over
        part = self._calls[body.get("index")] = self._parts
        self._parts += 1
        self._called = True
        out.append(ToolCallStart(index=part, id=identifier, name=name))
        if call["function"].get("arguments"):
            self._argue(part, call["function"]["arguments"], out)

    def _call_delta(self, body: Object, out: list[StreamEvent]) -> None:
        call = _message(body).get("tool_calls") or {}
        if said := (call.get("function") or {}).get("arguments"):
            self._argue(self._calls[body.get("index")], said, out)

    def _argue(self, part: int, value: Json, out: list[StreamEvent]) -> None:
        arguments = encode(value).decode() if type(value) is dict else as_text(value)
        out.append(ToolCallDelta(index=part, arguments=arguments))
        self._argued.add(part)

    def _call_end(self, body: Object, out: list[StreamEvent]) -> None:
        part = self._calls.pop(body.get("index"), None)
        if part is None:
            return  # it is over already
        if part not in self._argued:
            out.append(ToolCallDelta(index=part, arguments="{}"))
        out.append(PartEnd(index=part))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _end(self, body: Object, out: list[StreamEvent]) -> None:
        delta = body.get("delta") or {}
        finish = finish_of(delta.get("finish_reason"), calls=self._called)
        usage = delta.get("usage")
        if type(usage) is dict and usage:
            self.counted = read_usage(usage)
        if finish.reason == "error" or delta.get("error"):
            told = {"message": delta.get("error") or "the upstream's model failed"}
            raise decode_error(WireResponse(status=200, body=encode(told)))
        self._shut(out)
        for index in list(self._calls):
            self._call_end({"index": index}, out)
        extra = {"message": {"citations": self._strays}} if self._strays else None
        out.append(ChoiceEnd(finish=finish, extra=extra))
        if self.counted is not None:
            out.append(UsageUpdate(usage=self.counted))
        out.append(ResponseEnd(extra=self._unread or None))
        self.finished = True

    def _nothing(self, body: Object, out: list[StreamEvent]) -> None:
        """What begins or ends with the next event as well."""


def _message(body: Object) -> Object:
    found: Object = (body.get("delta") or {}).get("message") or {}
    return found


_EVENTS: Mapping[str, Callable[[Decoder, Object, list[StreamEvent]], None]] = {
    "message-start": Decoder._nothing,
    "content-start": Decoder._content_start,
    "content-delta": Decoder._content_delta,
    "content-end": Decoder._nothing,
    "tool-plan-delta": Decoder._plan_delta,
    "tool-call-start": Decoder._call_start,
    "tool-call-delta": Decoder._call_delta,
    "tool-call-end": Decoder._call_end,
    "citation-start": Decoder._cite,
    "citation-end": Decoder._nothing,
    "message-end": Decoder._end,
}
