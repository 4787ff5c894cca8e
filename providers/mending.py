"""What a row's quirks change in answers, between canonical values: so it holds for every dialect, whole and streamed.

    stop_here        the caller's stop texts end the answer here, for an upstream that knows none
    unwrap_list      an answer that stands in a list, alone, comes out of it
    hide_tool_calls  calls that the upstream made and answered itself are not the caller's
    strip_fence      JSON that was asked for comes out of its Markdown fence, and alone

`mending` says what is to be done for one call, None where nothing is. An answer that is changed cannot be relayed byte
for byte. Pure, and bounded: of a stream no more is held back than might still turn out to be a stop text or a fence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from providers.adherence import Breach
from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    ResponseFormat,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import RouterError
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
from providers.dialect import StreamDecoder, WireResponse

_LONGEST_BLANK = 4096  # characters of white space that are held back
_LONGEST_OPENING = 64
_BOM = "\ufeff"
_OPENING = re.compile(r"[\s\ufeff]*`{3,8}(?:[^\n`\[{]{0,40}\n|[ \t]*(?:json|JSON)?[ \t]*(?=[\[{]))")
_MAYBE_OPENING = re.compile(r"[\s\ufeff]*(?:`{0,8}|`{3,8}[^\n`\[{]{0,40})")
_CLOSING = re.compile(r"\s*`{3,8}\s*")  # at the end of all
_CLOSING_LINE = re.compile(r"\n[ \t]*`{3}")  # JSON has no line that begins so
_FIELD = "json_schema"
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


StreamPart: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallDelta
    | SealDelta
    | CitationDelta
    | PartWhole
    | PartEnd
)


class Mending(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to one call's answer."""

    stops: tuple[str, ...] = ()
    hides_calls: bool = False
    strips_fence: bool = False
    choices: int = 1  # so many were asked for


def mending(request: ChatRequest, quirks: frozenset[str]) -> Mending | None:
    """What the quirks of a row ask for this request's answer; None: it is given on as it comes."""
    found = Mending(
        choices=request.n or 1,
        stops=tuple(stop for stop in request.stop if stop) if "stop_here" in quirks else (),
        hides_calls="hide_tool_calls" in quirks and not request.tools,
        strips_fence="strip_fence" in quirks and wish(request) is not None,
    )
    return found if found.stops or found.hides_calls or found.strips_fence else None


def wish(request: ChatRequest) -> ResponseFormat | None:
    """What JSON the caller asks for, also in an upstream's own field `json_schema`. None: any text will do."""
    asked = request.response_format
    if asked is not None:
        return asked if asked.kind != "text" else None
    schema = (request.extra or {}).get(_FIELD)
    return ResponseFormat(kind="json_schema", schema=schema, at=_FIELD) if isinstance(schema, dict) else None


class Promised(msgspec.Struct, frozen=True):
    """A request whose schema stands in an upstream's own field, for those who check answers."""

    wish: ResponseFormat

    @classmethod
    def of(cls, request: ChatRequest, quirks: frozenset[str]) -> Promised | None:
        """None where the schema, if there is one, stands where it usually does."""
        if "json_schema_field" not in quirks or request.response_format is not None:
            return None
        asked = wish(request)
        return None if asked is None else cls(asked)

    def request(self, request: ChatRequest) -> ChatRequest:
        """The same with the schema in its usual place."""
        return msgspec.structs.replace(request, response_format=self.wish)

    def breaches(self, found: Sequence[Breach]) -> list[Breach]:
        """The breaches by the field that the caller wrote."""
        return [msgspec.structs.replace(breach, field=_FIELD) for breach in found]


def unwrapped(wire: WireResponse) -> WireResponse:
    """An answer out of the list in which it stands alone, byte for byte; any other as it is."""
    if not wire.body.lstrip().startswith(b"["):
        return wire
    try:
        found = _list(wire.body)
    except (msgspec.MsgspecError, RecursionError):
        return wire
    return msgspec.structs.replace(wire, body=bytes(found[0])) if len(found) == 1 else wire


# ── texts ──────────────────────────────────────────────────────────────────────────────


class _Filter(Protocol):
    """Text in, text out, some of it later. `end`: no more comes, here is the rest."""

    def feed(self, text: str, /) -> str: ...
    def end(self) -> str: ...


class Cut:
    """Gives a text up to the stop text that is whole first, as a model would have ended there. `found`: which it was;
    then nothing more comes.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = tuple(stops)
        self._begun = {stop[:size] for stop in stops for size in range(1, len(stop))}
        self._longest = max(map(len, stops)) - 1
        self._held = ""

    def feed(self, text: str, /) -> str:
        if self.found is not None:
            return ""
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, at = min(found)
            self.found, self._held = text[at:end], ""
            return text[:at]
        held = next((n for n in range(min(self._longest, len(text)), 0, -1) if text[-n:] in self._begun), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> str:
        held, self._held = self._held, ""
        return held


class Unfence:
    """Takes JSON out of its fence, ```json … ```, where a text begins with one; what is said behind the fence is not
    given. A byte order mark at the start goes, too."""

    def __init__(self) -> None:
        self._held = ""
        self._inside: bool | None = None  # None: that is not clear yet
        self._said = False  # something of what is inside
        self._closed = False

    def feed(self, text: str, /) -> str:
        if self._closed:
            return ""
        text = self._held + text
        self._held = ""
        if self._inside is None:
            if match := _OPENING.match(text):
                self._inside, text = True, text[match.end() :]
            elif len(text.lstrip()) <= _LONGEST_OPENING and _MAYBE_OPENING.fullmatch(text):
                if len(text) <= _LONGEST_BLANK:
                    self._held = text
                    return ""
                self._inside = False
            else:
                self._inside = False
                text = text.removeprefix(_BOM)
        return self._within(text) if self._inside else text

    def _within(self, text: str) -> str:
        closing = _CLOSING_LINE.search(text if self._said else f"\n{text}")
        if closing is not None:
            self._closed = True
            return text[: max(closing.start() - (not self._said), 0)].rstrip(" \t\r\n")
        tail = min(len(text) - len(text.rstrip("` \t\r\n")), _LONGEST_BLANK)
        self._held = text[len(text) - tail :]
        self._said = self._said or len(text) > tail
        return text[: len(text) - tail]

    def end(self) -> str:
        held, self._held = self._held, ""
        if self._inside is None:
            return held.removeprefix(_BOM)
        return "" if self._inside and _CLOSING.fullmatch(held) else held


class _Texts:
    """The filters of one choice, one after the other."""

    def __init__(self, mending: Mending) -> None:
        self._cut = Cut(mending.stops) if mending.stops else None
        self._filters: list[_Filter] = [] if self._cut is None else [self._cut]
        if mending.strips_fence:
            self._filters.append(Unfence())

    @property
    def found(self) -> str | None:
        return self._cut.found if self._cut is not None else None

    def feed(self, text: str) -> str:
        for one in self._filters:
            text = one.feed(text)
        return text

    def end(self) -> str:
        text = ""
        for one in self._filters:
            text = one.feed(text) + one.end()
        return text


def _stopped(found: str) -> Finish:
    return Finish(reason="stop", stop_sequence=found)


def _own_words(finish: Finish, mending: Mending) -> Finish:
    """A choice that ended with calls that nobody is to see has just ended."""
    return Finish(reason="stop") if mending.hides_calls and finish.reason == "tool_calls" else finish


# ── whole answers ──────────────────────────────────────────────────────────────────────


def mended(mending: Mending, response: ChatResponse) -> ChatResponse:
    """The answer as the caller is to have it."""
    return msgspec.structs.replace(response, choices=tuple(_choice(mending, choice) for choice in response.choices))


def _choice(mending: Mending, choice: Choice) -> Choice:
    texts = _Texts(mending)
    parts: list[AnyPart] = []
    for part in choice.parts:
        if texts.found is not None or (mending.hides_calls and isinstance(part, ToolCall)):
            continue
        if isinstance(part, Text):
            text = texts.feed(part.text)
            text += texts.end()
            if text != part.text:
                part = msgspec.structs.replace(part, text=text, citations=_within(part.citations, len(text)))
        parts.append(part)
    changed = tuple(parts)
    if texts.found is not None:
        return msgspec.structs.replace(choice, parts=changed, finish=_stopped(texts.found), logprobs=None)
    finish = _own_words(choice.finish, mending) if choice.finish is not None else None
    form = choice.form if len(changed) == len(choice.parts) else None
    return msgspec.structs.replace(choice, parts=changed, finish=finish, form=form)


def _within(citations: Sequence[Citation], size: int) -> tuple[Citation, ...]:
    """Those of what is left of a text."""
    return tuple(one for one in citations if one.end is None or one.end <= size)


# ── streams ────────────────────────────────────────────────────────────────────────────


class _OpenChoice:
    """One choice of a stream: its parts by the numbers that the upstream gave them."""

    def __init__(self, mending: Mending) -> None:
        self.texts = _Texts(mending)
        self.hidden: set[int] = set()
        self.numbers: dict[int, int] = {}  # number there -> number here, of parts that have begun here
        self.open: list[int] = []  # numbers here
        self.text: int | None = None  # number there of the text that is being said
        self.ended = False


class MendedStream:
    """Events in, events out, in the order that `canonical.stream.GRAMMAR` allows."""

    def __init__(self, mending: Mending) -> None:
        self._mending = mending
        self._choices: dict[int, _OpenChoice] = {}
        self._over = False

    @property
    def settled(self) -> bool:
        """Has the caller got all of its answers, cut where a stop text was? What comes then is nothing to it."""
        choices = self._choices.values()
        cut = any(choice.texts.found is not None for choice in choices)
        return cut and sum(choice.ended for choice in choices) >= self._mending.choices

    def end(self) -> list[StreamEvent]:
        """The end, where it has not been said."""
        return [] if self._over else [ResponseEnd()]

    def feed(self, events: Sequence[StreamEvent]) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for event in events:
            self._over = self._over or isinstance(event, ResponseEnd)
            if not isinstance(event, ResponseStart | UsageUpdate | ResponseEnd):
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choices[event.choice] = _OpenChoice(self._mending)
                if not choice.ended:
                    self._event(choice, event, out)
            else:
                out.append(event)
        return out

    def _event(
        self, choice: _OpenChoice, event: StreamPart | ChoiceEnd | LogprobsDelta, out: list[StreamEvent]
    ) -> None:
        if isinstance(event, ChoiceEnd):
            self._flush(choice, event.choice, out)
            self._close(choice, event.choice, out)
            choice.ended = True
            finish = _own_words(event.finish, self._mending)
            out.append(msgspec.structs.replace(event, finish=finish) if finish is not event.finish else event)
        elif isinstance(event, LogprobsDelta):
            out.append(event)
        elif isinstance(event, TextDelta):
            self._text(choice, event, out)
        elif isinstance(event, ToolCallStart) and self._mending.hides_calls:
            choice.hidden.add(event.index)
        elif event.index not in choice.hidden:
            self._part(choice, event, out)

    def _text(self, choice: _OpenChoice, event: TextDelta, out: list[StreamEvent]) -> None:
        choice.text = event.index
        text = choice.texts.feed(event.text)
        if text or event.extra:
            self._say(choice, event, text, out)
        if choice.texts.found is not None:
            self._flush(choice, event.choice, out)
            self._close(choice, event.choice, out)
            choice.ended = True
            out.append(ChoiceEnd(choice=event.choice, finish=_stopped(choice.texts.found)))

    def _say(self, choice: _OpenChoice, event: TextDelta, text: str, out: list[StreamEvent]) -> None:
        out.append(msgspec.structs.replace(event, text=text, index=self._number(choice, event.index)))

    def _part(self, choice: _OpenChoice, event: StreamPart, out: list[StreamEvent]) -> None:
        if isinstance(event, PartEnd):
            if event.index == choice.text:
                self._flush(choice, event.choice, out)
            if event.index not in choice.numbers:
                return  # a text of which nothing is left
            choice.open.remove(choice.numbers[event.index])
        number = self._number(choice, event.index, opens=not isinstance(event, PartEnd))
        out.append(msgspec.structs.replace(event, index=number) if number != event.index else event)

    def _number(self, choice: _OpenChoice, index: int, *, opens: bool = True) -> int:
        number = choice.numbers.get(index)
        if number is None:
            number = choice.numbers[index] = len(choice.numbers)
            if opens:
                choice.open.append(number)
        return number

    def _flush(self, choice: _OpenChoice, number: int, out: list[StreamEvent]) -> None:
        """What was held back of a text, before it ends."""
        if choice.text is None:
            return
        text = choice.texts.end()
        if text:
            self._say(choice, TextDelta(choice=number, index=choice.text, text=text), text, out)
        choice.text = None

    def _close(self, choice: _OpenChoice, number: int, out: list[StreamEvent]) -> None:
        out += [PartEnd(choice=number, index=index) for index in choice.open]
        choice.open.clear()


class Mended:
    """A decoder whose events are changed on their way. An upstream that fails when the answer has been cut already has
    given all that its caller wanted: its stream ends well."""

    def __init__(self, decoder: StreamDecoder, mending: Mending) -> None:
        self._decoder = decoder
        self._stream = MendedStream(mending)
        self.finished = decoder.finished

    @property
    def settled(self) -> bool:
        return self._stream.settled

    @property
    def counted(self) -> Usage | None:
        return self._decoder.counted

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        try:
            events = self._stream.feed(self._decoder.feed(data))
        except RouterError:
            if not self.settled:
                raise
            self.finished = True
            return ()
        self.finished = self._decoder.finished
        return events

    def close(self) -> Sequence[StreamEvent]:
        try:
            return self._stream.feed(self._decoder.close())
        except RouterError:
            if not self.settled:
                raise
            return self._stream.end()
