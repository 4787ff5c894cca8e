"""Streams, written: canonical events to chunks for a caller. The frequent events go through byte templates."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from providers.canonical.chat import ChatRequest, Finish, Media, Usage
from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses, approximated, dropped, lose_part, lose_stop, lose_told
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    Event,
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
from providers.dialects._openai.errors import envelope
from providers.dialects._openai.values import Json, Object
from providers.dialects.unread import own_extra
from providers.wire.json import encode, escape_lines

from .details import details_of
from .messages import form_of
from .response import audio_out, fallback_id, image_out, refusal_of, tier_word, write_logprobs, write_usage
from .words import NAME, finish_word, put_seal, write_citation

CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

_text = msgspec.json.Encoder().encode
_ROLE: Object = {"role": "assistant", "content": "", "refusal": None}


class ChatStreamEncoder:
    """One stream for one caller. `Signature of a call: in its first delta`, so a call's first chunk waits one event."""

    content_type = CONTENT_TYPE

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        self._losses = losses
        self._model = request.model
        self._usage_wanted = request.include_usage
        self._legacy = request.dialect == NAME and bool(form_of(request).get("legacy"))
        self._own = False
        self._head = b""
        self._tail = b',"usage":null}\n\n' if request.include_usage else b"}\n\n"
        self._between = b""
        self._said: Object = {}  # what every chunk says
        self._ready: set[int] = set()  # choices whose role chunk is out
        self._calls: dict[tuple[int, int], int] = {}  # part -> index of the call
        self._argued: set[tuple[int, int]] = set()
        self._waiting: ToolCallStart | None = None
        self._signed: Object = {}
        self._sealed: set[int] = set()  # choices whose message has a signature
        self._refused: set[int] = set()
        self._usage: Usage | None = None
        self._blocked: Finish | None = None
        self._lengths: dict[int, int] = {}  # characters of content so far, once citations matter
        self._templates: dict[tuple[int, bytes], tuple[bytes, bytes]] = {}
        self._around: dict[int, tuple[bytes, bytes]] = {}  # a choice's template of content, once its role chunk is out

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, event: StreamEvent, /) -> bytes:
        if self._waiting is not None:
            return self._after_wait(event)
        return _FEED[type(event)](self, event)

    def close(self) -> bytes:
        out = b""
        if self._usage_wanted and self._usage is not None:
            usage = encode(write_usage(self._usage, self._own))
            out = self._head + b',"choices":[],"usage":' + escape_lines(usage) + b"}\n\n"
        return out + DONE

    def error(self, error: RouterError, /) -> bytes:
        return b"data: " + envelope(error) + b"\n\n"

    # ── frames ─────────────────────────────────────────────────────────────────────

    def _start(self, event: ResponseStart) -> bytes:
        self._own = event.dialect == NAME
        head: Object = {
            "id": event.id or fallback_id(event.model),
            "object": "chat.completion.chunk",
            "created": event.created or 0,
            "model": event.model or self._model,
        }
        tier = tier_word(event.service_tier, self._own)
        if tier is not None:
            head["service_tier"] = tier
        if event.system_fingerprint is not None:
            head["system_fingerprint"] = event.system_fingerprint
        if self._own:
            head |= own_extra(event.extra, self._losses)
        self._lose(event)
        self._said = head
        self._head = b"data: " + escape_lines(encode(head))[:-1]
        return b""

    def _lose(self, event: Event) -> None:
        """What another dialect's answer says that only its own callers would read."""
        extra = event.part.extra if isinstance(event, PartWhole) else event.extra
        if extra and (not self._own or isinstance(event, TextDelta | ToolCallStart)):
            lose_told(extra, self._losses)

    def _chunk(self, choice: int, delta: Json, finish: Json = None, logprobs: Json = None, /, **more: Json) -> bytes:
        body = encode([{"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish, **more}])
        chunk = self._head + b',"choices":' + escape_lines(body) + self._tail
        return chunk if choice in self._ready else self._role(choice) + chunk

    def _role(self, choice: int) -> bytes:
        """The first chunk of a choice says who speaks."""
        self._ready.add(choice)
        return self._chunk(choice, _ROLE)

    def _piece(self, choice: int, key: bytes, text: str) -> bytes:
        """A chunk with one string in its delta: only the string is encoded anew."""
        template = self._templates.get((choice, key))
        if template is None:
            before = self._head + b',"choices":[{"index":%d,"delta":{"%b":' % (choice, key)
            template = self._templates[choice, key] = (before, b'},"logprobs":null,"finish_reason":null}]' + self._tail)
        body = _text(text)
        if not body.isascii():
            body = escape_lines(body)
        chunk = template[0] + body + template[1]
        return chunk if choice in self._ready else self._role(choice) + chunk

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _text_delta(self, event: TextDelta) -> bytes:
        if event.extra:
            self._lose(event)
        choice, text = event.choice, event.text
        self._lengths[choice] = self._lengths.get(choice, 0) + len(text)
        around = self._around.get(choice)
        if around is None:
            out = self._piece(choice, b"content", text)
            self._around[choice] = self._templates[choice, b"content"]
            return out
        body = _text(text)
        if not body.isascii():
            body = escape_lines(body)
        return around[0] + body + around[1]

    def _reasoning_delta(self, event: ReasoningDelta) -> bytes:
        self._lose(event)
        return self._piece(event.choice, b"reasoning_content", event.text)

    def _refusal_delta(self, event: RefusalDelta) -> bytes:
        self._lose(event)
        self._refused.add(event.choice)
        return self._piece(event.choice, b"refusal", event.text)

    def _call_start(self, event: ToolCallStart) -> bytes:
        self._lose(event)
        key = (event.choice, event.index)
        self._calls[key] = sum(1 for choice, _ in self._calls if choice == event.choice)
        self._waiting = event
        return b""

    def _after_wait(self, event: StreamEvent) -> bytes:
        start = self._waiting
        assert start is not None
        if isinstance(event, SealDelta) and (event.choice, event.index) == (start.choice, start.index):
            return self._seal(event)
        self._waiting = None
        return self._call_chunk(start) + self.feed(event)

    def _call_chunk(self, start: ToolCallStart) -> bytes:
        extra, self._signed = self._signed, {}
        index = self._calls[start.choice, start.index]
        if self._legacy:
            if index:
                self._losses.append(
                    dropped("choices[0].delta.tool_calls", "the caller's functions take one call at a time")
                )
                return b""
            return self._chunk(start.choice, {"function_call": {"name": start.name, "arguments": ""}})
        key = "input" if start.kind == "custom" else "arguments"
        call = {"index": index, "id": start.id, "type": start.kind, start.kind: {"name": start.name, key: ""}, **extra}
        return self._chunk(start.choice, {"tool_calls": [call]})

    def _call_delta(self, event: ToolCallDelta) -> bytes:
        key = (event.choice, event.index)
        self._argued.add(key)
        index = self._calls[key]
        if self._legacy:
            return b"" if index else self._chunk(event.choice, {"function_call": {"arguments": event.arguments}})
        # Official clients join the arguments of both kinds by this name only for functions.
        return self._chunk(event.choice, {"tool_calls": [{"index": index, "function": {"arguments": event.arguments}}]})

    def _seal(self, event: SealDelta) -> bytes:
        details = details_of(event.seal) if self._own else None
        if details is not None:
            return self._chunk(event.choice, {"reasoning_details": details})
        if event.seal.origin != "gemini":
            reason = f"the caller's dialect has no place for a signature of {event.seal.origin}"
            self._losses.append(dropped(f"choices[{event.choice}].delta.signature", reason))
            return b""
        signed: Object = {}
        put_seal(signed, event.seal)
        if self._waiting is not None:
            self._signed = signed
            return b""
        index = self._calls.get((event.choice, event.index))
        if index is None:
            if event.choice in self._sealed:  # clients would join the two
                at = f"choices[{event.choice}].delta.signature"
                self._losses.append(dropped(at, "a message has room for one signature"))
                return b""
            self._sealed.add(event.choice)
        if index is not None:
            # Python's accumulator insists on `function` in every delta of a call.
            signed = {"tool_calls": [{"index": index, "function": {"arguments": ""}, **signed}]}
        return self._chunk(event.choice, signed)

    def _citation(self, event: CitationDelta) -> bytes:
        written = write_citation(event.citation, self._own, 0, self._lengths.get(event.choice, 0))
        if written is None:
            self._losses.append(dropped(f"choices[{event.choice}].delta.annotations", "a citation without a URL"))
            return b""
        return self._chunk(event.choice, {"annotations": [written]})

    def _whole(self, event: PartWhole) -> bytes:
        self._lose(event)
        part = event.part
        if isinstance(part, Media):
            if part.kind == "audio":
                return self._chunk(event.choice, {"audio": audio_out(part, self._own)})
            image = image_out(part, self._own)
            if image is not None:
                return self._chunk(event.choice, {"images": [image]})
        details = details_of(part.seal) if self._own else None
        if details is not None:
            return self._chunk(event.choice, {"reasoning_details": details})
        lose_part(f"choices[{event.choice}].delta", part, self._losses)
        return b""

    def _part_end(self, event: PartEnd) -> bytes:
        key = (event.choice, event.index)
        if key in self._calls and key not in self._argued:
            return self._call_delta(ToolCallDelta(choice=event.choice, index=event.index, arguments="{}"))
        return b""

    def _logprobs(self, event: LogprobsDelta) -> bytes:
        return self._chunk(event.choice, {}, None, write_logprobs(event.logprobs))

    # ── the end ────────────────────────────────────────────────────────────────────

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        finish = event.finish
        word, same = finish_word(finish, self._own, self._legacy)
        if not same:
            at = f"choices[{event.choice}].finish_reason"
            self._losses.append(approximated(at, f"the answer ended with {finish.raw or finish.reason}"))
        lose_stop(finish, self._losses)
        self._lose(event)
        out = b""
        if finish.message and finish.reason in ("refusal", "content_filter") and event.choice not in self._refused:
            out = self._piece(event.choice, b"refusal", finish.message)
        around = own_extra(event.extra, self._losses) if self._own else {}
        delta = around.pop("message", {})
        return out + self._chunk(event.choice, delta, word, **around)

    def _usage_update(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _end(self, event: ResponseEnd) -> bytes:
        self._lose(event)
        if self._own and (more := own_extra(event.extra, self._losses)):
            return b"data: " + escape_lines(encode({**self._said, "choices": [], **more})) + b"\n\n"
        if event.blocked is None or self._ready:
            return b""
        return self._piece(0, b"refusal", refusal_of(event.blocked)) + self._chunk(0, {}, "content_filter")


_FEED: dict[type, Callable[..., bytes]] = {
    ResponseStart: ChatStreamEncoder._start,
    TextDelta: ChatStreamEncoder._text_delta,
    ReasoningDelta: ChatStreamEncoder._reasoning_delta,
    RefusalDelta: ChatStreamEncoder._refusal_delta,
    ToolCallStart: ChatStreamEncoder._call_start,
    ToolCallDelta: ChatStreamEncoder._call_delta,
    SealDelta: ChatStreamEncoder._seal,
    CitationDelta: ChatStreamEncoder._citation,
    PartWhole: ChatStreamEncoder._whole,
    PartEnd: ChatStreamEncoder._part_end,
    LogprobsDelta: ChatStreamEncoder._logprobs,
    ChoiceEnd: ChatStreamEncoder._choice_end,
    UsageUpdate: ChatStreamEncoder._usage_update,
    ResponseEnd: ChatStreamEncoder._end,
}
