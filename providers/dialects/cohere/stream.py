"""Streams, read: typed events to canonical ones. `message-end` is the end; `[DONE]` after it says nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
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
from providers.wire.json import decode_upstream, encode
from providers.wire.sse import SseDecoder

from .errors import decode_error
from .words import NAME, Json, Object, finish_of, read_citations, read_logprobs, read_usage, text_of

_LINES = (b"data:", b"event:", b"id:", b"retry:", b":")
_PLAN = "plan"


class Decoder:
    """Bytes to events. `finished` after message-end, or when a fault waits to be raised.

    A text stays open after its content-end, for its citations may come later; the next part closes it.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        self._sse = SseDecoder(limit)
        self._fault: RouterError | None = None
        self._started = False
        self._parts = 0
        self._open: Json = None  # what the open text-like part is: an index of content, or the plan
        self._kind: type = TextDelta
        self._texts: dict[int, int] = {}  # index of content -> part, of texts that are open
        self._calls: dict[Json, int] = {}  # index of the call -> part
        self._argued: set[int] = set()
        self._called = False
        self._strays: list[Json] = []  # citations of what has no place for them
        self.finished = False

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        try:
            for event in self._sse.feed(data) if not self.finished else ():
                self._event(event[0], event[2], out)
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

    def _event(self, data: bytes | None, raw: bytes, out: list[StreamEvent]) -> None:
        if data is None:
            if not raw.startswith(_LINES):
                raise self._stray(raw)
            return
        if not data or data == b"[DONE]":
            return
        body = decode_upstream(data)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream sent an event that is not an object")
        kind = body.get("type")
        read = _EVENTS.get(kind) if type(kind) is str else None
        if read is None:
            if type(body.get("message")) is str or body.get("error"):
                raise decode_error(WireResponse(status=200, body=data))
            return  # kinds of events that are not known yet
        if not self._started:
            self._start(body, out)
        try:
            read(self, body, out)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise BadUpstreamBytes("the upstream sent an event that is not part of a chat") from None

    def _stray(self, raw: bytes) -> RouterError:
        """A JSON text where events were expected: an error, told early."""
        text = raw.strip()
        if not self._started and text.startswith(b"{"):
            return decode_error(WireResponse(status=200, body=text))
        return BadUpstreamBytes("the upstream's stream is not an event stream")

    def _rest(self, rest: bytes, out: list[StreamEvent]) -> None:
        """The last event without its empty line: whole, or cut."""
        lines = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if not data and rest.strip().startswith(b"{"):
            raise self._stray(rest)
        try:
            self._event(data or None, b":", out)
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
        text = content.get("thinking" if kind is ReasoningDelta else "text")
        if text:
            self._say(body.get("index"), kind, text, out)

    def _content_delta(self, body: Object, out: list[StreamEvent]) -> None:
        content = body["delta"]["message"]["content"]
        if text := content.get("text"):
            self._say(body.get("index"), TextDelta, text, out)
        elif text := content.get("thinking"):
            self._say(body.get("index"), ReasoningDelta, text, out)
        if body.get("logprobs"):
            out.append(LogprobsDelta(logprobs=read_logprobs([body["logprobs"]])))

    def _plan_delta(self, body: Object, out: list[StreamEvent]) -> None:
        text = _message(body).get("tool_plan")
        if text:
            self._say(_PLAN, ReasoningDelta, text, out)

    def _say(self, place: Json, kind: type, text: str, out: list[StreamEvent]) -> None:
        if self._open is None or self._open != place or self._kind is not kind:
            self._begin(place, kind, out)
        out.append(kind(index=self._parts - 1, text=text_of(text)))

    def _begin(self, place: Json, kind: type, out: list[StreamEvent]) -> None:
        self._shut(out)
        self._open = 0 if place is None else place
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
        part = self._calls[body.get("index")] = self._parts
        self._parts += 1
        self._called = True
        out.append(ToolCallStart(index=part, id=text_of(call["id"]), name=text_of(call["function"]["name"])))
        if call["function"].get("arguments"):
            self._argue(part, call["function"]["arguments"], out)

    def _call_delta(self, body: Object, out: list[StreamEvent]) -> None:
        text = body["delta"]["message"]["tool_calls"]["function"].get("arguments")
        if text:
            self._argue(self._calls[body.get("index")], text, out)

    def _argue(self, part: int, text: str, out: list[StreamEvent]) -> None:
        self._argued.add(part)
        out.append(ToolCallDelta(index=part, arguments=text_of(text)))

    def _call_end(self, body: Object, out: list[StreamEvent]) -> None:
        part = self._calls.pop(body.get("index"))
        if part not in self._argued:
            out.append(ToolCallDelta(index=part, arguments="{}"))
        out.append(PartEnd(index=part))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _end(self, body: Object, out: list[StreamEvent]) -> None:
        delta = body.get("delta") or {}
        finish = finish_of(delta.get("finish_reason"), calls=self._called)
        if finish.reason == "error" or delta.get("error"):
            told = {"message": delta.get("error") or "the upstream's model failed"}
            raise decode_error(WireResponse(status=200, body=encode(told)))
        self._shut(out)
        for index in list(self._calls):
            self._call_end({"index": index}, out)
        extra = {"message": {"citations": self._strays}} if self._strays else None
        out.append(ChoiceEnd(finish=finish, extra=extra))
        usage = delta.get("usage")
        if type(usage) is dict and usage:
            out.append(UsageUpdate(usage=read_usage(usage)))
        out.append(ResponseEnd())
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
