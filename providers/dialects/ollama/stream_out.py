"""Streams, written: canonical events to JSON lines for a caller. Texts go through a byte template."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Finish, Media, ToolCall, Usage
from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses, approximated, dropped, lose_part, lose_stop, lose_told
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    Event,
    LogprobsDelta,
    PartEnd,
    PartEvent,
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
from providers.wire.json import encode, escape_lines

from .answer import generates, refusal_of, write_call, write_logprobs, write_usage
from .errors import envelope
from .words import CONTENT_TYPE, NAME, Json, Object, finish_word, timestamp

_text = msgspec.json.Encoder().encode


class _Call:
    """A call while its arguments arrive: in this language it comes whole."""

    def __init__(self, start: ToolCallStart) -> None:
        self.start = start
        self.pieces: list[str] = []

    def whole(self) -> ToolCall:
        start, text = self.start, "".join(self.pieces)
        return ToolCall(
            id=start.id, name=start.name, arguments=text, kind="custom" if start.kind == "custom" else "function"
        )


class Encoder:
    """One stream for one caller, in the shape of a chat or of a generate request."""

    content_type = CONTENT_TYPE

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        self._losses = losses
        self._model = request.model
        self._generates = generates(request)
        self._own = False
        self._head: Object = {}
        self._templates: dict[bytes, bytes] = {}
        self._calls: dict[int, _Call] = {}
        self._called = 0
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._extra: Object = {}
        self._spoken: Object = {}  # what else this dialect's own answer says in its messages
        self._several = False

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, event: StreamEvent, /) -> bytes:
        return _FEED[type(event)](self, event)

    def close(self) -> bytes:
        """The last line: why it stopped, and the counts."""
        word, same = finish_word(self._finish, self._own)
        if not same:
            said = (self._finish.raw or self._finish.reason) if self._finish else "nothing said"
            self._losses.append(approximated("done_reason", f"the answer ended with {said}"))
        if self._finish is not None:
            lose_stop(self._finish, self._losses)
        end: Object = {"done": True, "done_reason": word, **write_usage(self._usage, self._own), **self._extra}
        return self._line({"content": "", **self._spoken}, **end)

    def error(self, error: RouterError, /) -> bytes:
        return envelope(error) + b"\n"

    # ── lines ──────────────────────────────────────────────────────────────────────

    def _start(self, event: ResponseStart) -> bytes:
        self._own = event.dialect == NAME
        self._extra = dict(event.extra or {}) if self._own else {}
        self._lose(event)
        created_at = self._extra.pop("created_at", None)
        self._head = {"model": event.model or self._model, "created_at": created_at or timestamp(event.created)}
        head = escape_lines(encode(self._head))[:-1]
        before, empty = (b',"response":', b',"response":"","thinking":')
        if not self._generates:
            before = b',"message":{"role":"assistant","content":'
            empty = b',"message":{"role":"assistant","content":"","thinking":'
        self._templates = {b"content": head + before, b"thinking": head + empty}
        return b""

    def _lose(self, event: Event) -> None:
        """What another dialect's answer says that only its own callers would read."""
        extra = event.part.extra if isinstance(event, PartWhole) else event.extra
        if extra and not self._own:
            lose_told(extra, self._losses)

    def _piece(self, key: bytes, text: str) -> bytes:
        """A line with one text: only the text is encoded anew."""
        body = _text(text)
        if not body.isascii():
            body = escape_lines(body)
        return self._templates[key] + body + (b',"done":false}\n' if self._generates else b'},"done":false}\n')

    def _line(self, spoken: Object, **more: Json) -> bytes:
        if self._generates:
            said = {"response" if key == "content" else key: value for key, value in spoken.items()}
        else:
            said = {"message": {"role": "assistant", **spoken}}
        return escape_lines(encode({**self._head, **said, "done": False, **more})) + b"\n"

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _elsewhere(self, event: PartEvent) -> bool:
        """Is it of another choice than the first? Nobody asks for several here."""
        if event.choice and not self._several:
            self._several = True
            self._losses.append(dropped("choices", "the caller's dialect has one answer"))
        return event.choice != 0

    def _text_delta(self, event: TextDelta) -> bytes:
        if event.extra:
            self._lose(event)
        return self._piece(b"content", event.text) if not event.choice or not self._elsewhere(event) else b""

    def _reasoning_delta(self, event: ReasoningDelta) -> bytes:
        if event.extra:
            self._lose(event)
        return self._piece(b"thinking", event.text) if not event.choice or not self._elsewhere(event) else b""

    def _refusal_delta(self, event: RefusalDelta) -> bytes:
        if self._elsewhere(event):
            return b""
        self._lose(event)
        self._losses.append(approximated("message.content", "the caller's dialect has no refusals: text"))
        return self._piece(b"content", event.text)

    def _call_start(self, event: ToolCallStart) -> bytes:
        if not self._elsewhere(event):
            self._calls[event.index] = _Call(event)
            lose_told(event.extra, self._losses)
        return b""

    def _call_delta(self, event: ToolCallDelta) -> bytes:
        if not event.choice:
            self._calls[event.index].pieces.append(event.arguments)
        return b""

    def _part_end(self, event: PartEnd) -> bytes:
        call = self._calls.pop(event.index, None) if not event.choice else None
        if call is None:
            return b""
        if self._generates:
            self._losses.append(dropped("response", "an answer to a prompt has no calls"))
            return b""
        written = write_call(call.whole(), self._called, self._losses)
        self._called += 1
        return self._line({"content": "", "tool_calls": [written]})

    def _seal(self, event: SealDelta) -> bytes:
        if event.index not in self._calls:  # a call's is remembered by its id
            self._losses.append(dropped("message.signature", "the caller's dialect has no place for a signature"))
        return b""

    def _citation(self, event: CitationDelta) -> bytes:
        self._losses.append(dropped("message.citations", "the caller's dialect has no citations"))
        return b""

    def _whole(self, event: PartWhole) -> bytes:
        self._lose(event)
        if self._own and isinstance(event.part, Media):
            return self._line({"content": "", "images": [event.part.base64]})
        if not self._elsewhere(event):
            lose_part("message", event.part, self._losses)
        return b""

    def _logprobs(self, event: LogprobsDelta) -> bytes:
        if event.choice:
            return b""
        return self._line({"content": ""}, logprobs=write_logprobs(event.logprobs, self._own, self._losses))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        self._lose(event)
        if self._own and event.extra:
            self._spoken = event.extra.get("message") or {}
        if not event.choice:
            self._finish = event.finish
        return b""

    def _usage_update(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _end(self, event: ResponseEnd) -> bytes:
        if self._own:
            self._extra.update(event.extra or {})
        self._lose(event)
        if event.blocked is None or self._finish is not None:
            return b""
        self._finish = event.blocked
        return self._piece(b"content", refusal_of(ChatResponse(blocked=event.blocked)))


_FEED: dict[type, Callable[..., bytes]] = {
    ResponseStart: Encoder._start,
    TextDelta: Encoder._text_delta,
    ReasoningDelta: Encoder._reasoning_delta,
    RefusalDelta: Encoder._refusal_delta,
    ToolCallStart: Encoder._call_start,
    ToolCallDelta: Encoder._call_delta,
    SealDelta: Encoder._seal,
    CitationDelta: Encoder._citation,
    PartWhole: Encoder._whole,
    PartEnd: Encoder._part_end,
    LogprobsDelta: Encoder._logprobs,
    ChoiceEnd: Encoder._choice_end,
    UsageUpdate: Encoder._usage_update,
    ResponseEnd: Encoder._end,
}
