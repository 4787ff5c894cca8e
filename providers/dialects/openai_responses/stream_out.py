"""Streams, written: canonical events to a caller's events, in the order that the dialect keeps.

An item is added, its parts are, their text comes in pieces, then everything is said to be done from the inside out; at
last the whole response. `sequence_number` rises by one. A text delta goes through a byte template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from providers.canonical.chat import (
    ChatRequest,
    Citation,
    Finish,
    Media,
    Opaque,
    Reasoning,
    Seal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses, dropped, lose_part, lose_told
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
from providers.dialects._openai.values import Json, Object
from providers.dialects.unread import lose_weights, own_extra
from providers.wire.json import encode, escape_lines

from .faults import error_event, failure
from .output import (
    call_item,
    carrier_item,
    lose_seal,
    message_item,
    own_items,
    picture_item,
    reasoning_item,
    summary,
    text_part,
    write_tokens,
)
from .response import complete, head, tier_word, unsaid, write_usage
from .words import FAMILY, NAME, digest, ending, made_id, response_id, sealed_item
from .written import write_citation

CONTENT_TYPE = "text/event-stream; charset=utf-8"

_string = msgspec.json.Encoder().encode
_DELTA = b'%b%d,"delta":%b}\n\n'  # of an open part: its template, the sequence number, the text as JSON


class ResponsesStreamEncoder:
    """One stream for one caller."""

    content_type = CONTENT_TYPE

    def __init__(self, request: ChatRequest, losses: Losses) -> None:
        self._request = request
        self._losses = losses
        self._own = False
        self._number = -1  # the last sequence number
        self._seed = digest("")
        self._body: Object | None = None  # the response, once it has begun
        self._items: list[Object] = []
        self._open: dict[int, _Open] = {}  # canonical part -> what is open of it
        self._message: _Message | None = None  # texts that follow each other stand in one
        self._logprobs: list[Object] = []  # that came before any text
        self._first: Object | None = None  # the first text
        self._spoken: set[type] = set()  # which kinds of texts there were
        self._several = False  # there are other choices
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._tier: str | None = None
        self._said: Mapping[str, Json] = {}  # at the start, of this dialect's own answer

    # ── the contract ───────────────────────────────────────────────────────────────

    def feed(self, event: StreamEvent, /) -> bytes:
        kind = type(event)
        if kind is TextDelta:
            part = self._open.get(event.index)  # type: ignore[union-attr]  # it has one
            text = event.text  # type: ignore[union-attr]
            if type(part) is _Text and text and not event.choice:  # type: ignore[union-attr]
                part.pieces.append(text)  # `_piece`, without the call
                self._number = number = self._number + 1
                data = _string(text)
                return _DELTA % (part.before, number, data if data.isascii() else escape_lines(data))
        if kind in _OF_A_CHOICE and event.choice:  # type: ignore[union-attr]  # those have one
            return self._elsewhere()
        return _FEED[kind](self, event)

    def close(self) -> bytes:
        body = self._body if self._body is not None else self._begin(ResponseStart())
        out = self._end_message()
        complete(body, self._finish, self._items, self._own, self._losses)
        body["usage"] = None if self._usage is None else write_usage(self._usage, self._own)
        if (tier := tier_word(self._tier, self._own)) is not None:
            body["service_tier"] = tier
        kind = "response.incomplete" if body["status"] == "incomplete" else "response.completed"
        return out + self._say(kind, response=body)

    def error(self, error: RouterError, /) -> bytes:
        """The error, and the response that has failed with it, if it had begun."""
        self._number += 1
        out = error_event(error, self._number)
        if self._body is None:
            return out
        self._break_off()
        body = {**self._body, "status": "failed", "error": failure(error), "output": self._items}
        return out + self._say("response.failed", response=body)

    def _break_off(self) -> None:
        """What there is of the parts that are still open."""
        for part in self._open.values():
            if isinstance(part, _Text):
                part.content["refusal" if part.refuses else "text"] = "".join(part.pieces)
            elif isinstance(part.event, ToolCallStart):
                key = "input" if part.event.kind == "custom" else "arguments"
                self._items[part.index][key] = "".join(part.pieces)
        for item in self._items:
            if item.get("status") == "in_progress":
                item["status"] = "incomplete"

    # ── events ─────────────────────────────────────────────────────────────────────

    def _say(self, kind: str, **fields: Json) -> bytes:
        self._number += 1
        data = encode({"type": kind, "sequence_number": self._number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), escape_lines(data))

    def _start(self, event: ResponseStart) -> bytes:
        body = msgspec.Raw(encode(self._begin(event)))  # both say the same
        return self._say("response.created", response=body) + self._say("response.in_progress", response=body)

    def _begin(self, event: ResponseStart) -> Object:
        self._own = event.dialect == NAME
        self._lose(event)
        self._tier = event.service_tier
        self._said = event.extra or {}
        identifier = event.id if self._own and event.id else response_id(event.id, event.model)
        self._seed = digest(identifier)
        self._body = head(self._request, identifier, event.model, event.created)
        return self._body

    def _id(self, prefix: str) -> str:
        return made_id(prefix, self._seed, len(self._items))

    def _piece(self, part: _Open, text: str) -> bytes:
        """A delta of an open part: only its text is encoded anew."""
        part.pieces.append(text)
        self._number += 1
        data = _string(text)
        if not data.isascii():
            data = escape_lines(data)
        return _DELTA % (part.before, self._number, data)

    def _add(self, item: Object) -> tuple[int, bytes]:
        """A new item: its output_index, and the event that announces it."""
        self._items.append(item)
        index = len(self._items) - 1
        return index, self._say("response.output_item.added", output_index=index, item=item)

    def _done(self, index: int) -> bytes:
        return self._say("response.output_item.done", output_index=index, item=self._items[index])

    def _at_once(self, item: Object) -> bytes:
        """An item that does not come in pieces."""
        out = self._end_message()
        index, added = self._add(item)
        return out + added + self._done(index)

    # ── texts ──────────────────────────────────────────────────────────────────────

    def _text(self, event: TextDelta | RefusalDelta) -> bytes:
        part = self._open.get(event.index)
        if type(part) is _Text:
            return self._piece(part, event.text) if event.text else b""
        if part is None:
            self._spoken.add(type(event))
            self._lose(event)
            self._open[event.index] = _Open(event)
        # A text begins with its first word: an empty one may be there only to be signed.
        return self._begin_text(event.index, event.text) if event.text else b""

    def _begin_text(self, number: int, text: str) -> bytes:
        before = self._open[number]
        event = before.event
        out = b""
        message = self._message
        if message is None or (self._own and event.extra is not None):
            out = self._end_message()
            about = {key: value for key, value in (event.extra or {}).items() if key in ("id", "phase") and self._own}
            item = message_item(self._id("msg"), (), "in_progress") | about
            index, added = self._add(item)
            message = self._message = _Message(index, item)
            out += added
        part = self._open[number] = _Text(event, message)
        part.seal = before.seal
        message.open[number] = part
        message.item["content"].append(part.content)
        if not part.refuses and self._first is None:
            self._first = part.content
            part.content["logprobs"] = self._logprobs
        out += self._say("response.content_part.added", **part.place, part=part.content | _BLANK[part.refuses])
        return out + (self._piece(part, text) if text else b"")

    def _citation(self, event: CitationDelta) -> bytes:
        part = self._open.get(event.index)
        if part is None:
            return b""
        out = b"" if isinstance(part, _Text) else self._begin_text(event.index, "")
        part = self._open[event.index]
        assert isinstance(part, _Text)
        return out + self._cite(part, event.citation)

    def _cite(self, part: _Text, citation: Citation) -> bytes:
        length = sum(map(len, part.pieces)) if citation.end is None else 0
        written = write_citation(citation, length, own=self._own)
        if written is None:
            self._losses.append(dropped("output.annotations", "a citation without a URL"))
            return b""
        cited = part.content["annotations"]
        cited.append(written)
        return self._say(
            "response.output_text.annotation.added", **part.place, annotation_index=len(cited) - 1, annotation=written
        )

    def _weigh(self, event: LogprobsDelta) -> bytes:
        """Log probabilities come beside the text that they are of: in a delta without any more of it."""
        if event.logprobs.refusal:
            self._losses.append(dropped("logprobs.refusal", "the caller's dialect has them of texts only"))
        lose_weights(event.logprobs, self._losses, tokens=False)
        tokens = write_tokens(event.logprobs)
        part = next(iter(self._message.open.values()), None) if self._message is not None else None
        if part is None or part.refuses:
            (self._logprobs if self._first is None else self._first["logprobs"]).extend(tokens)
            return b""
        part.content["logprobs"].extend(tokens)
        return self._say("response.output_text.delta", **part.place, delta="", logprobs=tokens)

    def _end_text(self, number: int, part: _Open) -> bytes:
        out = b""
        carried = part.seal is not None and part.seal.origin != FAMILY
        if not isinstance(part, _Text):
            if carried:
                return self._carry(part, Text(text=""))
            out = self._begin_text(number, "")
            part = self._open[number]
            assert isinstance(part, _Text)
        text = "".join(part.pieces)
        del part.message.open[number]
        if part.refuses:
            part.content["refusal"] = text
            out += self._say("response.refusal.done", **part.place, refusal=text)
        else:
            part.content["text"] = text
            logprobs = part.content["logprobs"]
            out += self._say("response.output_text.done", **part.place, text=text, logprobs=logprobs)
        out += self._say("response.content_part.done", **part.place, part=part.content)
        if part.message is not self._message and not part.message.open:
            out += self._finish_message(part.message)
        return out + (self._carry(part, Text(text=text)) if carried and not part.refuses else b"")

    def _end_message(self) -> bytes:
        """Something else begins. A message of which a text is still open ends with that text."""
        message, self._message = self._message, None
        if message is None or message.open:
            return b""
        return self._finish_message(message)

    def _finish_message(self, message: _Message) -> bytes:
        end = ending(self._finish, self._own, RefusalDelta in self._spoken)
        cut = message.index == len(self._items) - 1 and end.details is not None
        message.item["status"] = "incomplete" if cut else "completed"
        return self._done(message.index)

    def _carry(self, part: _Open, of: ToolCall | Text) -> bytes:
        """The signature of what has just ended, in an item of its own."""
        if part.seal is None or part.seal.origin == FAMILY:
            return b""
        return self._at_once(carrier_item(self._id("rs"), part.seal, of))

    # ── reasoning ──────────────────────────────────────────────────────────────────

    def _thought(self, event: ReasoningDelta) -> bytes:
        part = self._open.get(event.index)
        out = b""
        if part is None:
            part = self._open[event.index] = _Open(event)
            out = self._end_message()
            self._lose(event)
            given = (event.extra or {}).get("id") if self._own else None
            item = reasoning_item(str(given or self._id("rs")), "", None)
            part.index, added = self._add(item)
            part.place = {"item_id": item["id"], "output_index": part.index, "summary_index": 0}
            part.before = _template("response.reasoning_summary_text.delta", part.place)
            out += added
        if not event.text:
            return out
        if not part.pieces:
            empty = {"type": "summary_text", "text": ""}
            out += self._say("response.reasoning_summary_part.added", **part.place, part=empty)
        return out + self._piece(part, event.text)

    def _end_thought(self, part: _Open) -> bytes:
        item, text = self._items[part.index], "".join(part.pieces)
        out = b""
        if text:
            [written] = summary(text)
            out += self._say("response.reasoning_summary_text.done", **part.place, text=text)
            out += self._say("response.reasoning_summary_part.done", **part.place, part=written)
        kept = sealed_item(part.seal) if self._own else None
        self._items[part.index] = kept or reasoning_item(item["id"], text, part.seal)
        return out + self._done(part.index)

    # ── calls ──────────────────────────────────────────────────────────────────────

    def _call_start(self, event: ToolCallStart) -> bytes:
        part = self._open[event.index] = _Open(event)
        out = self._end_message()
        self._lose(event)
        about = dict(event.extra or {}) if self._own else {}
        identifier = self._id("ctc" if event.kind == "custom" else "fc")
        item = call_item(identifier, _call(event, ""), "in_progress") | about
        part.index, added = self._add(item)
        part.place = {"item_id": item["id"], "output_index": part.index}
        part.before = _template(f"response.{_CALLS[event.kind][0]}.delta", part.place)
        return out + added

    def _call_delta(self, event: ToolCallDelta) -> bytes:
        return self._piece(self._open[event.index], event.arguments)

    def _end_call(self, part: _Open) -> bytes:
        start, item = part.event, self._items[part.index]
        assert isinstance(start, ToolCallStart)
        out = b""
        if not part.pieces and start.kind != "custom" and not self._own:
            out = self._piece(part, "{}")
        text = "".join(part.pieces)
        kind, key = _CALLS[start.kind]
        item |= {"status": "completed", key: text}
        out += self._say(f"response.{kind}.done", **part.place, **{key: text})
        return out + self._done(part.index) + self._carry(part, _call(start, text))

    # ── other parts ────────────────────────────────────────────────────────────────

    def _whole(self, event: PartWhole) -> bytes:
        self._lose(event)
        part = event.part
        if self._own:
            return b"".join(map(self._at_once, own_items([part], self._seed, self._losses)))
        if isinstance(part, Reasoning):
            return self._at_once(reasoning_item(self._id("rs"), part.text, part.seal))
        picture = picture_item(self._id("ig"), part) if isinstance(part, Media) else None
        if isinstance(part, Media) and picture is not None:
            lose_seal(part, self._losses)
            return self._at_once(picture)
        if isinstance(part, Opaque) and part.dialect == NAME:
            return self._at_once(dict(part.raw))
        lose_part("output", part, self._losses)
        return b""

    def _seal(self, event: SealDelta) -> bytes:
        self._open[event.index].seal = event.seal
        return b""

    def _part_end(self, event: PartEnd) -> bytes:
        part = self._open[event.index]
        if isinstance(part.event, ReasoningDelta):
            out = self._end_thought(part)
        elif isinstance(part.event, ToolCallStart):
            out = self._end_call(part)
        else:
            out = self._end_text(event.index, part)
        del self._open[event.index]
        return out

    def _elsewhere(self) -> bytes:
        """An event of another choice than the one that callers of this dialect get."""
        if not self._several:
            self._several = True
            self._losses.append(dropped("choices", "the caller's dialect has one answer"))
        return b""

    # ── the end ────────────────────────────────────────────────────────────────────

    def _choice_end(self, event: ChoiceEnd) -> bytes:
        self._finish = event.finish
        self._lose(event)
        return self._explain(None)

    def _lose(self, event: Event) -> None:
        """What another dialect's answer says that only its own callers would read."""
        extra = event.part.extra if isinstance(event, PartWhole) else event.extra
        if self._own:
            texts = isinstance(event, TextDelta | RefusalDelta | ReasoningDelta)
            extra = {key: value for key, value in (extra or {}).items() if texts and key not in ("id", "phase")}
        if extra:
            lose_told(extra, self._losses)

    def _explain(self, blocked: Finish | None) -> bytes:
        """What a refusal says that no part has said."""
        text = unsaid(self._finish, blocked, ()) if RefusalDelta not in self._spoken else None
        if text is None or self._own:
            return b""
        number = -1  # no part of the answer's
        refusal = RefusalDelta(index=number, text=text)
        return self._text(refusal) + self._part_end(PartEnd(index=number))

    def _usage_update(self, event: UsageUpdate) -> bytes:
        self._usage = event.usage
        return b""

    def _end(self, event: ResponseEnd) -> bytes:
        self._tier = event.service_tier or self._tier
        if self._own and self._body is not None:
            self._body |= own_extra({**self._said, **(event.extra or {})}, self._losses)
        self._lose(event)
        if event.blocked is None or self._finish is not None:
            return b""
        self._finish = event.blocked
        return self._explain(event.blocked)


def _call(start: ToolCallStart, arguments: str) -> ToolCall:
    return ToolCall(
        id=start.id, name=start.name, arguments=arguments, kind="custom" if start.kind == "custom" else "function"
    )


def _template(kind: str, place: Object) -> bytes:
    """A delta up to its sequence number."""
    return b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), encode({"type": kind, **place})[:-1])


class _Open:
    """A part that is open: where it stands (`index`: of its item, where it has one of its own), what has come."""

    def __init__(self, event: PartEvent) -> None:
        self.event = event
        self.index = -1
        self.place: Object = {}
        self.before = b""
        self.pieces: list[str] = []
        self.seal: Seal | None = None


class _Message:
    """A message that is open: its place, the item, and which canonical parts of it are still open."""

    def __init__(self, index: int, item: Object) -> None:
        self.index = index
        self.item = item
        self.open: dict[int, _Text] = {}


class _Text(_Open):
    """A text or a refusal whose part of a message has begun."""

    def __init__(self, event: PartEvent, message: _Message) -> None:
        super().__init__(event)
        self.message = message
        self.refuses = isinstance(event, RefusalDelta)
        self.content: Object = {"type": "refusal", "refusal": ""} if self.refuses else text_part("")
        place = {"item_id": message.item["id"], "output_index": message.index}
        self.place = {**place, "content_index": len(message.item["content"])}
        kind = "refusal" if self.refuses else "output_text"
        more: Object = {} if self.refuses else {"logprobs": []}
        self.before = _template(f"response.{kind}.delta", {**self.place, **more})


# What is said of a part when it begins: not the log probabilities that came too early.
_BLANK: dict[bool, Object] = {True: {}, False: {"logprobs": []}}
_CALLS = {"function": ("function_call_arguments", "arguments"), "custom": ("custom_tool_call_input", "input")}
_FEED: dict[type, Callable[..., bytes]] = {
    ResponseStart: ResponsesStreamEncoder._start,
    TextDelta: ResponsesStreamEncoder._text,
    ReasoningDelta: ResponsesStreamEncoder._thought,
    RefusalDelta: ResponsesStreamEncoder._text,
    ToolCallStart: ResponsesStreamEncoder._call_start,
    ToolCallDelta: ResponsesStreamEncoder._call_delta,
    SealDelta: ResponsesStreamEncoder._seal,
    CitationDelta: ResponsesStreamEncoder._citation,
    PartWhole: ResponsesStreamEncoder._whole,
    PartEnd: ResponsesStreamEncoder._part_end,
    LogprobsDelta: ResponsesStreamEncoder._weigh,
    ChoiceEnd: ResponsesStreamEncoder._choice_end,
    UsageUpdate: ResponsesStreamEncoder._usage_update,
    ResponseEnd: ResponsesStreamEncoder._end,
}
_OF_A_CHOICE = frozenset(_FEED) - {ResponseStart, UsageUpdate, ResponseEnd}
