"""Streams: reading them as an upstream sends them, and writing them for a caller.

Each chunk is a GenerateContentResponse whose parts continue the answer. Texts of one kind in a row are one part, unless
one of them is signed; usage counts from the beginning, so the last one holds; there is no end mark but a finishReason
for every candidate and then the end of the input (`]` in an array). Project notes: dialects/streaming.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    Citation,
    Finish,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Seal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest, RouterError, StreamTruncated
from providers.canonical.loss import Losses, dropped, lose_told
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
from providers.dialects.gemini.answer import (
    USAGE,
    citations_for,
    decode_blocked,
    decode_logprobs,
    decode_time,
    decode_usage,
    encode_answer_call,
    encode_answer_part,
    encode_blocked,
    encode_citations,
    encode_finish,
    encode_logprobs,
    encode_time,
    encode_usage,
    failed,
    failed_finish,
    finish_of,
    finish_word,
    keep_feedback,
    named_sources,
    no_candidates,
    tier_of,
    unread_of,
    unread_of_piece,
)
from providers.dialects.gemini.contents import read_name
from providers.dialects.gemini.errors import envelope, read_payload, stray_error
from providers.dialects.gemini.frames import Frames
from providers.dialects.gemini.names import FAMILY, NAME, Json, RawPart, raw_answer, raw_part
from providers.dialects.gemini.partial import PartialCall
from providers.dialects.gemini.parts import AnswerIds, decode_part, unplaced
from providers.dialects.unread import find, keep, own_extra
from providers.wire import json as wire_json
from providers.wire.halves import Halves
from providers.wire.sse import LF, encode_event, is_silent, parse

_CANDIDATE = frozenset({"content", "index", "finishReason", "finishMessage", "logprobsResult"})
_BODY = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})


class _UsualPart(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    text: str


class _UsualContent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    parts: tuple[_UsualPart]
    role: Json = None


class _UsualCandidate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    content: _UsualContent
    index: int = 0


class _UsualChunk(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Most chunks: more text, and counts. Whatever does not fit in is read in full."""

    candidates: tuple[_UsualCandidate]
    usage: Json = msgspec.field(default=None, name="usageMetadata")
    model: Json = msgspec.field(default=None, name="modelVersion")
    id: Json = msgspec.field(default=None, name="responseId")


_usual = msgspec.json.Decoder(_UsualChunk).decode
_PATIENCE = 8  # how often a chunk may turn out to be another before it is no longer tried


class _Choice:
    """One candidate while it comes."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.next = 0  # index of the next part
        self.open = ""  # text, reasoning: the kind of the part that further text continues
        self.pieces: list[str] = []  # of the open text
        self.calls = False
        self.useful = False
        self.word: str | None = None
        self.message: str | None = None
        self.extra: dict[str, Json] = {}
        self.partial: PartialCall | None = None


# ── reading ────────────────────────────────────────────────────────────────────────────


class Decoder:
    """Bytes of an upstream's stream -> events. The ends of the choices come with the end of the input."""

    def __init__(self, limit: int) -> None:
        self._frames = Frames(limit)
        self._json = Halves().decode
        self._choices: dict[int, _Choice] = {}
        self._ids = AnswerIds(None)
        self._started = False
        self._usage: Json = None
        self._told = False  # a first usage has been given out
        self._blocked: Finish | None = None
        self._extra: dict[str, Json] = {}
        self._fault: RouterError | None = None
        self._talking: _Choice | None = None  # whose text is open, if the last chunk was more of it
        self._patience = _PATIENCE
        self.finished = False

    def feed(self, data: bytes) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        events: list[StreamEvent] = []
        try:
            if not self._frames.form:
                data = self._frames.begin(data)
            if self._frames.form == "sse":
                for block in self._others(self._frames.blocks(data), events):
                    self._payload(parse(block)[0], block, events)
            elif self._frames.form:
                for payload, raw in self._frames.feed(data):
                    self._payload(payload, raw, events)
        except RouterError as fault:
            if not events:
                raise
            self._fault = fault
        self.finished = self._frames.finished
        return events

    def _others(self, blocks: Iterable[bytes], events: list[StreamEvent]) -> Iterator[bytes]:
        """Reads those events that are nothing but more of a text that is open, and gives out the others."""
        for block in blocks:
            choice = self._talking
            if choice is not None and block.startswith(b"data: ") and LF not in block:
                try:
                    chunk = _usual(block[6:])
                except wire_json.UNREADABLE:
                    self._patience -= 1
                else:
                    said, usage = chunk.candidates[0], chunk.usage
                    text = said.content.parts[0].text
                    if text and said.index == choice.index and (usage is None or self._told):
                        if usage is not None:
                            self._usage = usage
                        choice.pieces.append(text)
                        events.append(TextDelta(choice=choice.index, index=choice.next - 1, text=text))
                        continue
            yield block

    def _payload(self, payload: bytes | None, raw: bytes, events: list[StreamEvent]) -> None:
        self._talking = None
        if payload is None and not is_silent(raw):
            raise stray_error(raw)
        if payload and payload != b"[DONE]":
            before = len(events)
            self._chunk(payload, events)
            if self._patience > 0 and len(events) == before + 1 and self._frames.form == "sse":
                self._talking = self._talker(events[-1])

    def _talker(self, event: StreamEvent) -> _Choice | None:
        """Whose text is open after this event, which was all that a chunk gave."""
        choice = self._choices.get(event.choice) if isinstance(event, TextDelta) else None
        return choice if choice is not None and choice.open == "text" else None

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        events: list[StreamEvent] = []
        frames, rest = self._frames.close()
        for payload, raw in frames:
            self._last_payload(payload, raw, events)
        if not self._started:
            raise StreamTruncated("the upstream's stream ended without an event")
        if rest.strip() and self._frames.form == "array" and not self._frames.finished and not self._complete():
            raise StreamTruncated("the upstream's stream ended inside an element")
        return self._end(events)

    def _last_payload(self, payload: bytes | None, raw: bytes, events: list[StreamEvent]) -> None:
        """An event that the end of the input closed: it may be half of one."""
        try:
            self._payload(payload, raw, events)
        except BadUpstreamBytes:
            if self._frames.form == "object" and not self._started:
                raise
            raise StreamTruncated("the upstream's stream ended inside an event") from None

    def _complete(self) -> bool:
        return bool(self._choices) and all(choice.word for choice in self._choices.values())

    @property
    def counted(self) -> Usage | None:
        return decode_usage(self._usage)

    def _end(self, events: list[StreamEvent]) -> list[StreamEvent]:
        if not self._choices and self._blocked is None:
            raise no_candidates()
        for choice in self._choices.values():
            self._check_end(choice)
        for choice in self._choices.values():
            self._close_part(choice, events)
        for choice in self._choices.values():
            finish = finish_of(choice.word, choice.calls, choice.message)
            events.append(ChoiceEnd(choice=choice.index, finish=finish, extra=choice.extra or None))
        usage = self.counted
        if usage is not None:
            events.append(UsageUpdate(usage=usage))
            find(self._usage, USAGE, self._extra, "usageMetadata")
        blocked = self._blocked if not self._choices else None
        if blocked is not None and "promptFeedback" in self._extra:
            keep_feedback(self._extra)
        events.append(ResponseEnd(blocked=blocked, service_tier=tier_of(usage), extra=self._extra or None))
        return events

    def _check_end(self, choice: _Choice) -> None:
        if choice.word is None:
            raise StreamTruncated("the upstream's stream ended without a finish reason")
        if not choice.useful and failed(choice.word):
            raise failed_finish(finish_of(choice.word, choice.calls, choice.message))

    # ── one chunk ──────────────────────────────────────────────────────────────────

    def _chunk(self, payload: bytes, events: list[StreamEvent]) -> None:
        body = read_payload(payload, self._json)
        if not self._started:
            self._start(body, events)
        try:
            candidates = wire_json.take_list(body, "candidates")
            if candidates:
                raws = raw_answer(payload) if b'"args"' in payload else []
                for i, candidate in enumerate(candidates):
                    self._candidate(candidate, i, raws, events)
            if not body.keys() <= _BODY:
                self._rest(body)
        except MalformedRequest as error:
            raise BadUpstreamBytes(f"the upstream's stream is not as it should be: {error.message}") from None
        usage = body.get("usageMetadata")
        if usage is not None:
            self._usage = usage
            if not self._told and type(usage) is dict and "promptTokenCount" in usage:
                self._told = True
                decoded = decode_usage(usage)
                if decoded is not None:
                    events.append(UsageUpdate(usage=decoded))

    def _start(self, body: dict[str, Json], events: list[StreamEvent]) -> None:
        self._started = True
        identifier, model = body.get("responseId"), body.get("modelVersion")
        identifier = identifier if isinstance(identifier, str) else None
        self._ids = AnswerIds(identifier)
        created = decode_time(body.get("createTime"))
        model = model if isinstance(model, str) else None
        events.append(ResponseStart(dialect=NAME, id=identifier, model=model, created=created))
        self._rest(body)

    def _rest(self, body: dict[str, Json]) -> None:
        is_read = decode_time(body.get("createTime")) is not None
        keep(self._extra, body, _BODY | {"createTime"} if is_read else _BODY)
        if "promptFeedback" in body:
            self._blocked = decode_blocked(body["promptFeedback"]) or self._blocked

    def _candidate(self, candidate: Json, position: int, raws: Any, events: list[StreamEvent]) -> None:
        if type(candidate) is not dict:
            raise BadUpstreamBytes("the upstream's stream holds a candidate that is no object")
        index = candidate.get("index") or 0
        if type(index) is not int:
            raise BadUpstreamBytes("the upstream's stream holds a candidate without a proper index")
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        keep(choice.extra, candidate, _CANDIDATE)
        unread_of(candidate, choice.extra)
        content = candidate.get("content")
        if content:
            self._content(choice, content, position, raws, events)
        if "finishReason" in candidate:
            choice.word = finish_word(candidate) or choice.word
            message = candidate.get("finishMessage")
            choice.message = message if isinstance(message, str) else choice.message
        logprobs = decode_logprobs(candidate["logprobsResult"]) if "logprobsResult" in candidate else None
        if logprobs is not None:
            events.append(LogprobsDelta(choice=index, logprobs=logprobs))

    def _content(self, choice: _Choice, content: Json, position: int, raws: Any, events: list[StreamEvent]) -> None:
        if type(content) is not dict:
            raise BadUpstreamBytes("the upstream's stream holds a content that is no object")
        for j, part in enumerate(wire_json.take_list(content, "parts") or ()):
            if type(part) is dict and len(part) == 1 and type(part.get("text")) is str:
                if part["text"]:
                    self._text(choice, part["text"], events)
            else:
                self._part(choice, part, raw_part(raws, position, j), events)

    # ── parts ──────────────────────────────────────────────────────────────────────

    def _text(self, choice: _Choice, text: str, events: list[StreamEvent]) -> None:
        if choice.open != "text":
            self._open(choice, "text", events)
        choice.pieces.append(text)
        choice.useful = True
        events.append(TextDelta(choice=choice.index, index=choice.next - 1, text=text))

    def _open(self, choice: _Choice, kind: str, events: list[StreamEvent]) -> None:
        self._close_part(choice, events)
        choice.open = kind
        choice.pieces = []
        choice.next += 1

    def _close_part(self, choice: _Choice, events: list[StreamEvent]) -> None:
        """Closes what is open: a text, with the sources that are known for it, or a call that came in pieces."""
        if choice.partial is not None:
            self._end_partial(choice, events)
        if not choice.open:
            return
        index = choice.next - 1
        metadata = choice.extra.get("groundingMetadata")
        if choice.open == "text" and type(metadata) is dict:
            for citation in citations_for("".join(choice.pieces), index, metadata):
                events.append(CitationDelta(choice=choice.index, index=index, citation=citation))
        events.append(PartEnd(choice=choice.index, index=index))
        choice.open = ""

    def _part(self, choice: _Choice, part: Json, raw: RawPart | None, events: list[StreamEvent]) -> None:
        if _is_words(part):
            text = wire_json.take_string(part, "text")
            if text and not part.get("thought"):
                self._text(choice, text, events)
            elif text:
                if choice.open != "reasoning":
                    self._open(choice, "reasoning", events)
                events.append(ReasoningDelta(choice=choice.index, index=choice.next - 1, text=text))
            return
        call = part.get("functionCall") if type(part) is dict else None
        if type(call) is dict and ("partialArgs" in call or "willContinue" in call or not call.get("name")):
            self._partial(choice, part, call, events)
            return
        decoded = unplaced(decode_part(part, "part", self._ids.call, _no_result, raw), part)
        self._close_part(choice, events)
        self._whole(choice, decoded, events)

    def _whole(self, choice: _Choice, part: AnyPart, events: list[StreamEvent]) -> None:
        """A part that stands alone: signed, or not a text."""
        at, index = choice.index, choice.next
        choice.next += 1
        if isinstance(part, Reasoning):
            events.append(ReasoningDelta(choice=at, index=index, text=part.text, extra=part.extra))
        elif isinstance(part, ToolCall):
            choice.useful = choice.calls = True
            events.append(_call_start(at, index, part))
            if part.seal is not None:  # first: some dialects have a place for it only where a call begins
                events.append(SealDelta(choice=at, index=index, seal=part.seal))
            events.append(ToolCallDelta(choice=at, index=index, arguments=part.arguments))
            events.append(PartEnd(choice=at, index=index))
            return
        elif isinstance(part, Media | Opaque):
            choice.useful = True
            events.append(PartWhole(choice=at, index=index, part=part))
            return
        elif isinstance(part, Text):
            choice.useful = choice.useful or bool(part.text)
            events.append(TextDelta(choice=at, index=index, text=part.text, extra=part.extra))
            metadata = choice.extra.get("groundingMetadata")
            if part.text and type(metadata) is dict:
                for citation in citations_for(part.text, index, metadata):
                    events.append(CitationDelta(choice=at, index=index, citation=citation))
        else:
            raise BadUpstreamBytes("the upstream's answer holds a part that does not belong there")
        if part.seal is not None:
            events.append(SealDelta(choice=at, index=index, seal=part.seal))
        events.append(PartEnd(choice=at, index=index))

    # ── calls in pieces ────────────────────────────────────────────────────────────

    def _partial(
        self, choice: _Choice, part: dict[str, Json], call: dict[str, Json], events: list[StreamEvent]
    ) -> None:
        name = wire_json.take_string(call, "name")
        if name:
            self._close_part(choice, events)
            identifier, invented = self._ids.call(name, wire_json.take_string(call, "id") or None, str(choice.next))
            start = ToolCall(id=identifier, name=name, arguments="", invented_id=invented)
            events.append(_call_start(choice.index, choice.next, start))
            choice.partial = PartialCall(choice.next, name)
            choice.next += 1
            choice.useful = choice.calls = True
        partial = choice.partial
        if partial is None:
            return  # the end of a call that is already closed
        unread_of_piece(part, call, choice.extra)
        signature = wire_json.take_string(part, "thoughtSignature")
        if signature:
            seal = Seal(value=signature, origin=FAMILY)
            events.append(SealDelta(choice=choice.index, index=partial.index, seal=seal))
        partial.arguments.update(wire_json.take_object(call, "args") or {})
        for piece in wire_json.take_list(call, "partialArgs") or ():
            partial.add(piece)
        if not call.get("willContinue"):
            self._end_partial(choice, events)

    def _end_partial(self, choice: _Choice, events: list[StreamEvent]) -> None:
        partial = choice.partial
        if partial is None:
            return
        choice.partial = None
        arguments = wire_json.encode(partial.arguments).decode()
        events.append(ToolCallDelta(choice=choice.index, index=partial.index, arguments=arguments))
        events.append(PartEnd(choice=choice.index, index=partial.index))


def _is_words(part: Json) -> bool:
    """Is a part nothing but a text or a thought? What is unset is written by some servers all the same."""
    if type(part) is not dict or not part.keys() <= _WORDS or not part:
        return False
    return not part.get("thoughtSignature") and part.get("thought") in (None, False, True)


_WORDS = frozenset({"text", "thought", "thoughtSignature"})


def _no_result(name: str, given: str | None, _arguments: str) -> tuple[str, bool]:
    return given or name, given is None


def _call_start(choice: int, index: int, part: ToolCall) -> ToolCallStart:
    return ToolCallStart(
        choice=choice,
        index=index,
        id=part.id,
        name=read_name(part.name),
        invented_id=part.invented_id,
        extra=part.extra,
    )


# ── writing ────────────────────────────────────────────────────────────────────────────


SSE = "text/event-stream"


class Writer:
    """Frames payloads as SSE or as elements of one array."""

    def __init__(self, sse: bool) -> None:
        self._sse = sse
        self._first = True
        self.content_type = SSE if sse else "application/json"

    def frame(self, payload: bytes) -> bytes:
        payload = wire_json.escape_lines(payload)
        if self._sse:
            return encode_event(payload)
        head = b"[" if self._first else b",\n"
        self._first = False
        return head + payload

    def passed(self) -> None:
        """An element went out that this writer did not frame."""
        self._first = False

    def end(self) -> bytes:
        if self._sse:
            return b""
        return b"[]" if self._first else b"]"

    def fault(self, error: RouterError) -> bytes:
        """The last event or element: an error, and nothing that looks like an end."""
        return self.frame(wire_json.encode(envelope(error))) + self.end()


class Encoder:
    """Events -> the stream of a caller. Calls are written when they are whole; the ends of all choices come last."""

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        form = (request.form or {}) if request.dialect == NAME else {}
        self._writer = Writer(sse=form.get("alt") == "sse")
        self.content_type = self._writer.content_type
        self._model = request.model
        self._losses = losses
        self._own = False
        self._created: int | None = None
        self._tail = b"}"
        self._named: dict[str, Json] = {}
        self._calls: dict[tuple[int, int], tuple[ToolCallStart, list[str]]] = {}
        self._seals: dict[tuple[int, int], Seal] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._open: tuple[int, int] | None = None  # choice and part of the last text, with what stands around a piece
        self._around = (b"", b"")
        self._pieces: list[str] = []
        self._thoughts: set[tuple[int, int]] = set()
        self._cited: dict[tuple[int, int], list[Citation]] = {}
        self._logprobs: dict[int, list[Logprobs]] = {}
        self._ends: dict[int, ChoiceEnd] = {}
        self._failed: dict[int, str] = {}
        self._usage: Usage | None = None
        self._extra: dict[str, Json] = {}
        self._blocked: Finish | None = None
        self._write: dict[type, Any] = {
            TextDelta: self._text,
            ReasoningDelta: self._reasoning,
            RefusalDelta: self._text,
            ToolCallStart: self._call_start,
            ToolCallDelta: self._call_delta,
            SealDelta: self._seal,
            CitationDelta: self._citation,
            PartWhole: self._whole,
            PartEnd: self._part_end,
            ResponseStart: self._start,
            LogprobsDelta: self._logprobs_delta,
            ChoiceEnd: self._choice_end,
            UsageUpdate: self._usage_update,
            ResponseEnd: self._end,
        }

    def feed(self, event: StreamEvent) -> bytes:
        written: bytes = self._write[type(event)](event)
        return written

    def close(self) -> bytes:
        """The last chunk, with every finish reason and the whole usage."""
        body: dict[str, Json] = {}
        if self._ends:
            body["candidates"] = [self._finished(end) for _, end in sorted(self._ends.items())]
        usage = encode_usage(self._usage, own=self._own)
        if usage is not None:
            body["usageMetadata"] = usage
        body.update(self._named)
        if self._own:
            body.update(self._extra)
            if self._created is not None:
                body["createTime"] = encode_time(self._created)
        if self._blocked is not None:
            said = body.get("promptFeedback")
            blocked = encode_blocked(self._blocked, self._own)
            body["promptFeedback"] = {**blocked, **said} if type(said) is dict else blocked
        return self._writer.frame(wire_json.encode(body)) + self._writer.end()

    def error(self, error: RouterError) -> bytes:
        return self._writer.fault(error)

    # ── events ─────────────────────────────────────────────────────────────────────

    def _start(self, event: ResponseStart) -> bytes:
        self._own = event.dialect == NAME
        self._created = event.created
        if event.model or not self._own:
            self._named["modelVersion"] = event.model or self._model
        if event.id is not None:
            self._named["responseId"] = event.id
        self._tail = b"," + wire_json.encode(self._named)[1:] if self._named else b"}"
        self._keep(event)
        return b""

    def _keep(self, event: ResponseStart | ResponseEnd) -> None:
        if self._own:
            self._extra.update(own_extra(event.extra, self._losses))
        self._lose(event)

    def _lose(self, event: Event) -> None:
        """What another dialect's answer says that only its own callers would read."""
        extra = event.part.extra if isinstance(event, PartWhole) else event.extra
        if extra and (not self._own or isinstance(event, TextDelta | ReasoningDelta | ToolCallStart)):
            lose_told(extra, self._losses)

    def _chunk(self, choice: int, part: bytes) -> bytes:
        """One chunk with one part."""
        head = b'{"candidates":[{"content":{"parts":[' + part
        return self._writer.frame(head + b'],"role":"model"},"index":%d}]' % choice + self._tail)

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        text = event.text
        if (event.choice, event.index) != self._open:
            self._turn_to(event.choice, event.index)
            self._lose(event)
        self._pieces.append(text)
        if not text:
            return b""
        body = wire_json.encode(text)
        if not body.isascii():
            body = wire_json.escape_lines(body)
        before, after = self._around
        return before + body + after if before else self._chunk(event.choice, b'{"text":' + body + b"}")

    def _turn_to(self, choice: int, index: int) -> None:
        """Another text begins, or goes on: of its pieces only the text itself is encoded anew."""
        self._open = (choice, index)
        self._pieces = self._texts.setdefault(self._open, [])
        if self.content_type == SSE:
            after = b'}],"role":"model"},"index":%d}]' % choice + wire_json.escape_lines(self._tail)
            self._around = (b'data: {"candidates":[{"content":{"parts":[{"text":', after + b"\n\n")

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        self._thoughts.add((event.choice, event.index))
        self._lose(event)
        if not event.text:
            return b""
        return self._chunk(event.choice, b'{"text":' + wire_json.encode(event.text) + b',"thought":true}')

    def _call_start(self, event: ToolCallStart) -> bytes:
        self._calls[event.choice, event.index] = (event, [])
        self._lose(event)
        return b""

    def _call_delta(self, event: ToolCallDelta) -> bytes:
        self._calls[event.choice, event.index][1].append(event.arguments)
        return b""

    def _seal(self, event: SealDelta) -> bytes:
        if event.seal.origin == FAMILY:
            self._seals[event.choice, event.index] = event.seal
        else:
            self._losses.append(dropped("signature", "a signature of another model family"))
        return b""

    def _citation(self, event: CitationDelta) -> bytes:
        if self._own or named_sources((event.citation,), self._losses):
            self._cited.setdefault((event.choice, event.index), []).append(event.citation)
        return b""

    def _whole(self, event: PartWhole) -> bytes:
        self._lose(event)
        written = encode_answer_part(event.part, self._own, self._losses)
        return self._chunk(event.choice, wire_json.encode(written)) if isinstance(written, dict) else b""

    def _part_end(self, event: PartEnd) -> bytes:
        key = (event.choice, event.index)
        seal = self._seals.pop(key, None)
        if key in self._calls:
            return self._call(key, seal)
        if seal is None:
            return b""
        signed = {"text": "", "thoughtSignature": seal.value}
        if key in self._thoughts:
            signed["thought"] = True  # type: ignore[assignment]  # a JSON object
        return self._chunk(event.choice, wire_json.encode(signed))

    def _call(self, key: tuple[int, int], seal: Seal | None) -> bytes:
        start, pieces = self._calls.pop(key)
        call = ToolCall(
            id=start.id,
            name=start.name,
            arguments="".join(pieces),
            kind="custom" if start.kind == "custom" else "function",
            seal=seal,
        )
        written = encode_answer_call(call, self._losses)
        if isinstance(written, str):
            self._failed[key[0]] = written
            return b""
        if self._own and start.invented_id:
            del written["functionCall"]["id"]
        return self._chunk(key[0], wire_json.encode(written))

    def _logprobs_delta(self, event: LogprobsDelta) -> bytes:
        self._logprobs.setdefault(event.choice, []).append(event.logprobs)
        return b""

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        self._ends[event.choice] = event
        self._lose(event)
        return b""

    def _usage_update(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _end(self, event: ResponseEnd) -> bytes:
        self._blocked = event.blocked
        self._keep(event)
        return b""

    def _finished(self, end: ChoiceEnd) -> dict[str, Json]:
        finish = end.finish
        if end.choice in self._failed:
            finish = Finish(reason="error", raw="MALFORMED_FUNCTION_CALL", message=self._failed[end.choice])
        candidate: dict[str, Json] = {"content": {"parts": [{"text": ""}], "role": "model"}}
        # A whole answer may lack it; the stream that is made of it must not.
        word = encode_finish(finish, self._own and finish.raw is not None, self._losses)
        if word is not None:
            candidate["finishReason"] = word
        if finish.message:
            candidate["finishMessage"] = finish.message
        candidate["index"] = end.choice
        logprobs = self._logprobs.get(end.choice)
        if logprobs:
            tokens = tuple(token for one in logprobs for token in (one.content or ()) + (one.refusal or ()))
            candidate["logprobsResult"] = encode_logprobs(
                Logprobs(content=tokens, extra=logprobs[-1].extra), self._losses, own=self._own
            )
        metadata = None if self._own else self._sources(end.choice)
        if metadata is not None:
            candidate["groundingMetadata"] = metadata
        if self._own and end.extra:
            candidate.update(own_extra(end.extra, self._losses))
        return candidate

    def _sources(self, choice: int) -> dict[str, Json] | None:
        cited = [
            (key[1], "".join(self._texts.get(key, ())), tuple(citations))
            for key, citations in self._cited.items()
            if key[0] == choice
        ]
        return encode_citations(cited) if cited else None
