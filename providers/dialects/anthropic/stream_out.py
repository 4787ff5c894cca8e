"""Streams, written: canonical events to events of a message. The frequent ones go through byte templates.

One block is open at a time, so a part that begins while another is not finished waits for it. The start of a message
waits for the first thing that is said, so that counts which are known by then stand in it; all of them stand in the
`message_delta` at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from providers.canonical.chat import ChatRequest, Finish, Media, Reasoning, Seal, Usage
from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses, approximated, dropped, lose_told
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
from providers.dialects.anthropic.answer import fallback_id, foreign_block, told_reasoning, write_end, write_usage
from providers.dialects.anthropic.blocks import write_block
from providers.dialects.anthropic.errors import envelope
from providers.dialects.anthropic.words import (
    CONTENT_TYPE,
    FAMILY,
    NAME,
    UNSIGNED,
    Json,
    Object,
    told_seal,
    write_citation,
    written_id,
)
from providers.dialects.unread import own_extra
from providers.wire.json import encode, escape_lines
from providers.wire.sse import encode_event

STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_text = msgspec.json.Encoder().encode
_PIECES = {
    "text": (b'"text_delta","text":', b"}}\n\n"),
    "thinking": (b'"thinking_delta","thinking":', b"}}\n\n"),
    "input": (b'"input_json_delta","partial_json":', b"}}\n\n"),
}


class Encoder:
    """One stream for one caller. Only the first choice is told."""

    content_type = CONTENT_TYPE

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        self._losses = losses
        self._model = request.model
        self._own = False
        self._start: ResponseStart | None = None  # not yet told
        self._blocks = 0
        self._part = -1  # whose block is open
        self._kind = ""  # what it is: text, thinking, input; "" where none is
        self._templates: dict[str, tuple[bytes, bytes]] = {}
        self._call: ToolCallStart | None = None  # waits one event for its signature
        self._custom: list[str] | None = None  # input that is no object: it becomes one at its end, under a key
        self._under = "input"
        self._argued = False
        self._said: list[str] = []  # of the text that is open, for its citations
        self._sealed = False
        self._waiting: dict[int, list[PartEvent]] = {}  # parts that began while another was open
        self._closed: set[int] = set()
        self._finish: Finish | None = None
        self._end_extra: Json = None
        self._usage: Usage | None = None
        self._others = False
        self._weighed = False

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, event: StreamEvent, /) -> bytes:
        if type(event) is TextDelta and self._kind == "text" and event.index == self._part and not event.choice:
            return self._piece(event.text)
        if isinstance(event, PartEvent):
            return self._on_part(event)
        return _FEED[type(event)](self, event)

    def close(self) -> bytes:
        return STOP

    def error(self, error: RouterError, /) -> bytes:
        return encode_event(envelope(error), b"error")

    # ── frames ─────────────────────────────────────────────────────────────────────

    def _event(self, kind: str, /, **fields: Json) -> bytes:
        return encode_event(escape_lines(encode({"type": kind, **fields})), kind.encode())

    def _begin(self) -> bytes:
        start, self._start = self._start, None
        if start is None:
            return b""
        message: Object = {
            "id": start.id or fallback_id(start.model),
            "type": "message",
            "role": "assistant",
            "model": start.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage, self._own),
        }
        if self._own:
            message |= own_extra(start.extra, self._losses)
        return self._event("message_start", message=message)

    def _open(self, part: int, kind: str, block: Object) -> bytes:
        index = self._blocks
        self._part, self._kind = part, kind
        if kind:
            middle, after = _PIECES[kind]
            before = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":'
            self._templates[kind] = ((before % index) + middle, after)
        return self._begin() + self._event("content_block_start", index=index, content_block=block)

    def _shut(self) -> bytes:
        """Ends the open block."""
        index, self._kind = self._blocks, ""
        self._blocks += 1
        self._closed.add(self._part)
        return self._event("content_block_stop", index=index)

    def _delta(self, kind: str, **fields: Json) -> bytes:
        return self._event("content_block_delta", index=self._blocks, delta={"type": kind, **fields})

    def _piece(self, text: str) -> bytes:
        before, after = self._templates[self._kind]
        if self._kind == "text":
            self._said.append(text)
        body = _text(text)
        if not body.isascii():
            body = escape_lines(body)
        return before + body + after

    # ── parts in order ─────────────────────────────────────────────────────────────

    def _on_part(self, event: PartEvent) -> bytes:
        if event.choice:
            if not self._others:
                self._others = True
                self._losses.append(dropped("choices", "the caller's dialect has one answer"))
            return b""
        busy = self._kind or self._call is not None or self._custom is not None
        if busy and event.index != self._part:
            self._waiting.setdefault(event.index, []).append(event)
            return b""
        out = _FEED[type(event)](self, event)
        while self._waiting and not (self._kind or self._call is not None or self._custom is not None):
            index = next(iter(self._waiting))
            for held in self._waiting.pop(index):
                out += _FEED[type(held)](self, held)
        return out

    def _text_delta(self, event: TextDelta | RefusalDelta) -> bytes:
        if self._kind == "text":
            return self._piece(event.text)
        self._lose(event)
        if not event.text and not self._own:
            return b""
        self._said = []
        out = self._open(event.index, "text", {"type": "text", "text": "", **self._more(event)})
        return out + self._piece(event.text) if event.text else out

    def _reasoning_delta(self, event: ReasoningDelta) -> bytes:
        out = b""
        if self._kind != "thinking":
            self._sealed = False
            self._lose(event)
            block = {"type": "thinking", "thinking": "", "signature": "", **self._more(event)}
            out = self._open(event.index, "thinking", block)
        return out + self._piece(event.text) if event.text else out

    def _call_start(self, event: ToolCallStart) -> bytes:
        self._part, self._call, self._argued = event.index, event, False
        self._lose(event)
        return b""

    def _announced(self, seal: Seal | None) -> bytes:
        """The start of the call that waits, with its signature if there is one by now."""
        call, self._call = self._call, None
        if call is None:
            return b""
        block: Object = {"type": "tool_use", "id": written_id(call.id), "name": call.name, "input": {}}
        if self._own:
            block |= call.extra or {}
        if seal is not None and seal.origin != FAMILY:
            block["signature"] = told_seal(seal)
        if call.kind == "custom":
            at = f"content[{self._blocks}].input"
            self._losses.append(approximated(at, "a custom tool's input stands under `input`"))
            self._custom, self._under = [], "input"
        return self._open(call.index, "input", block)

    def _call_delta(self, event: ToolCallDelta) -> bytes:
        out = self._announced(None)
        if self._custom is not None:
            self._custom.append(event.arguments)
            return out
        if not self._argued and (text := event.arguments.lstrip()):
            self._argued = True
            if not text.startswith("{") and not self._own:
                at = f"content[{self._blocks}].input"
                self._losses.append(approximated(at, "arguments that are no object stand under `value` as text"))
                self._custom, self._under = [event.arguments], "value"
                return out
        return out + self._piece(event.arguments)

    def _seal(self, event: SealDelta) -> bytes:
        seal = event.seal
        if self._call is not None:
            return self._announced(seal)
        if self._kind == "thinking":
            self._sealed = True
            return self._delta("signature_delta", signature=told_seal(seal))
        if not (self._kind == "input" and seal.origin == FAMILY):
            at = f"content[{self._blocks}].signature"
            self._losses.append(dropped(at, f"the caller's dialect has no place for a signature of {seal.origin}"))
        return b""

    def _citation(self, event: CitationDelta) -> bytes:
        written = write_citation(event.citation, self._own, "".join(self._said))
        if written is None or self._kind != "text":
            self._losses.append(dropped(f"content[{self._blocks}].citations", "a citation without a URL or a text"))
            return b""
        return self._delta("citations_delta", citation=written)

    def _whole(self, event: PartWhole) -> bytes:
        self._lose(event)
        part = event.part
        self._part = event.index
        if isinstance(part, Reasoning):
            block: Object | None = write_block(part) if self._own else told_reasoning(part)
        else:
            block = write_block(part) if self._own else foreign_block(part, f"content[{self._blocks}]", self._losses)
        if block is None:
            return b""
        if isinstance(part, Media) and block["type"] == "text":
            out = self._open(event.index, "text", {"type": "text", "text": ""})
            return out + self._piece(block["text"]) + self._shut()
        return self._open(event.index, "", block) + self._shut()

    def _part_end(self, event: PartEnd) -> bytes:
        out = self._announced(None)
        if self._custom is not None:
            text, self._custom = "".join(self._custom), None
            out += self._piece(encode({self._under: text}).decode())
        elif self._kind == "input" and not self._argued:
            out += self._piece("")
        elif self._kind == "thinking" and not self._sealed and not self._own:
            out += self._delta("signature_delta", signature=UNSIGNED)
        return out + self._shut() if self._kind else out

    # ── the rest ───────────────────────────────────────────────────────────────────

    def _on_start(self, event: ResponseStart) -> bytes:
        self._own = event.dialect == NAME
        self._start = event
        self._lose(event)
        return b""

    def _lose(self, event: Event) -> None:
        """What another dialect's answer says that only its own callers would read."""
        extra = event.part.extra if isinstance(event, PartWhole) else event.extra
        if extra and not self._own:
            lose_told(extra, self._losses)

    def _more(self, event: Event) -> Object:
        """What else a block of this dialect's own says where it begins."""
        return dict(event.extra or {}) if self._own else {}

    def _nothing(self, event: LogprobsDelta) -> bytes:
        """Probabilities of tokens: nobody here can have asked for them."""
        if not self._weighed:
            self._weighed = True
            self._losses.append(dropped("logprobs", "the caller's dialect has no probabilities of tokens"))
        return b""

    def _on_usage(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        if not event.choice:
            self._finish, self._end_extra = event.finish, event.extra
        self._lose(event)
        return b""

    def _on_end(self, event: ResponseEnd) -> bytes:
        self._lose(event)
        finish = self._finish or event.blocked
        delta = write_end(finish, self._own, self._end_extra, self._losses)
        more: Object = {}
        if self._own:
            extra = own_extra(event.extra, self._losses)
            delta |= {key: extra.pop(key) for key in ("container",) if key in extra}
            more = {key: value for key, value in extra.items() if key != "type"}
        fields = more | {"delta": delta, "usage": write_usage(self._usage, self._own)}
        return self._begin() + self._event("message_delta", **fields)


_FEED: dict[type, Callable[..., bytes]] = {
    ResponseStart: Encoder._on_start,
    TextDelta: Encoder._text_delta,
    ReasoningDelta: Encoder._reasoning_delta,
    RefusalDelta: Encoder._text_delta,
    ToolCallStart: Encoder._call_start,
    ToolCallDelta: Encoder._call_delta,
    SealDelta: Encoder._seal,
    CitationDelta: Encoder._citation,
    PartWhole: Encoder._whole,
    PartEnd: Encoder._part_end,
    LogprobsDelta: Encoder._nothing,
    UsageUpdate: Encoder._on_usage,
    ChoiceEnd: Encoder._choice_end,
    ResponseEnd: Encoder._on_end,
}
