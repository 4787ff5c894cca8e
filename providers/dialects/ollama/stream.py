"""Streams, read: JSON lines to canonical events. The last line has `done: true`; an error is a line of its own."""

from __future__ import annotations

from collections.abc import Sequence

from providers.canonical.chat import Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.canonical.stream import (
    ChoiceEnd,
    LogprobsDelta,
    PartEnd,
    PartWhole,
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
from providers.dialects.unread import keep
from providers.wire.halves import Halves
from providers.wire.json import as_text, decode_upstream
from providers.wire.lines import LineDecoder

from .answer import read_logprobs, read_usage
from .errors import decode_error
from .messages import arguments_in, read_call, take_images
from .words import COUNTS, NAME, Json, Object, finish_of, leftovers, seconds_of

_KNOWN = frozenset(
    {*COUNTS, "model", "created_at", "message", "response", "thinking", "done", "done_reason", "logprobs"}
)
_OF_MESSAGE = frozenset({"role", "content", "thinking", "images", "tool_calls"})


class Decoder:
    """Bytes to events. `finished` after the last line, or when a fault waits to be raised."""

    counted: Usage | None = None  # its events tell at once

    def __init__(self, limit: int = 16 << 20) -> None:
        self._lines = LineDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._started = False
        self._open: type | None = None  # the kind of the part that is open
        self._parts = 0
        self._calls = 0
        self._said: Object = {}  # of the messages, what nobody knows
        self._beside: Object = {}  # and of the lines around them
        self.finished = False

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        try:
            for line in self._lines.feed(data) if not self.finished else ():
                self._line(line, out)
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
        rest = self._lines.close() if not self.finished else b""
        if rest:
            try:
                decode_upstream(rest)
            except BadUpstreamBytes:
                raise StreamTruncated("the upstream's stream ended inside a line") from None
            self._line(rest, out)
        if not self._started:
            raise BadUpstreamBytes("the upstream's stream is empty")
        if not self.finished:
            raise StreamTruncated("the upstream's stream ended before its last line")
        return out

    # ── lines ──────────────────────────────────────────────────────────────────────

    def _line(self, data: bytes, out: list[StreamEvent]) -> None:
        body = self._json(data)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream sent a line that is not an object")
        if body.get("error"):
            raise decode_error(WireResponse(status=200, body=data.strip()))
        try:
            self._read(body, data, out)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise BadUpstreamBytes("the upstream sent a line that is not part of a chat") from None

    def _read(self, body: Object, data: bytes, out: list[StreamEvent]) -> None:
        if not self._started:
            self._start(body, out)
        if not _KNOWN.issuperset(body):
            keep(self._beside, body, _KNOWN)
        message = body.get("message")
        spoken: Object = message if message is not None else body
        thinking = spoken.get("thinking")
        if thinking:
            self._text(ReasoningDelta, thinking, out)
        said = spoken.get("content" if message is not None else "response")
        if said:
            self._text(TextDelta, said, out)
        if message is not None and (len(message) > 2 or "content" not in message or "role" not in message):
            self._unusual(message, data, body.get("created_at"), out)
        if body.get("logprobs"):
            out.append(LogprobsDelta(logprobs=read_logprobs(body["logprobs"])))
        if body.get("done") is True:
            self._finish(body, out)

    def _start(self, body: Object, out: list[StreamEvent]) -> None:
        self._started = True
        created_at, model = body.get("created_at"), body.get("model")
        out.append(
            ResponseStart(
                dialect=NAME,
                model=model if type(model) is str and model else None,
                created=seconds_of(created_at),
                extra={"created_at": created_at} if created_at else None,
            )
        )

    def _text(self, kind: type, value: Json, out: list[StreamEvent]) -> None:
        said = as_text(value)
        if self._open is not kind:
            self._shut(out)
            self._open = kind
            self._parts += 1
        out.append(kind(index=self._parts - 1, text=said))

    def _shut(self, out: list[StreamEvent]) -> None:
        if self._open is not None:
            out.append(PartEnd(index=self._parts - 1))
            self._open = None

    def _unusual(self, message: Object, data: bytes, created_at: Json, out: list[StreamEvent]) -> None:
        """Images and calls come whole, each in one line; what nobody knows is kept for the end."""
        if not _OF_MESSAGE.issuperset(message):
            self._said.update((key, value) for key, value in message.items() if key not in _OF_MESSAGE)
        for image in take_images(dict(message), "message"):
            self._shut(out)
            out.append(PartWhole(index=self._parts, part=image))
            self._parts += 1
        calls = message.get("tool_calls")
        if not calls:
            return
        written = arguments_in(data)
        for i, raw in enumerate(calls):
            self._call(raw, written[i] if i < len(written) else None, created_at, out)

    def _call(self, raw: Object, written: str | None, created_at: Json, out: list[StreamEvent]) -> None:
        self._shut(out)
        call = read_call(raw, "", self._calls, created_at, written)
        index = self._parts
        self._parts += 1
        self._calls += 1
        out.append(
            ToolCallStart(index=index, id=call.id, name=call.name, invented_id=call.invented_id, extra=call.extra)
        )
        out.append(ToolCallDelta(index=index, arguments=call.arguments))
        out.append(PartEnd(index=index))

    def _finish(self, body: Object, out: list[StreamEvent]) -> None:
        self.finished = True
        self._shut(out)
        finish = finish_of(body.get("done_reason"), calls=self._calls > 0)
        said, _ = leftovers(self._said)
        out.append(ChoiceEnd(finish=finish, extra={"message": said} if said else None))
        usage = read_usage(body)
        if usage is not None:
            out.append(UsageUpdate(usage=usage))
        out.append(ResponseEnd(extra=self._beside or None))
