"""Canonical stream events, the order in which they may come, and the way between a stream and a whole answer.

A stream is a ResponseStart, then per choice its parts, each opened by its first event and closed by a PartEnd,
then the choice's ChoiceEnd, and one ResponseEnd:

    ResponseStart ( part events | LogprobsDelta | UsageUpdate )* ChoiceEnd+ UsageUpdate* ResponseEnd

Parts are numbered per choice in order of first appearance. A part is opened by its first delta (text, reasoning,
refusal), by ToolCallStart, or comes whole (PartWhole: media, opaque blocks). Several parts may be open at once:
some upstreams interleave the arguments of parallel calls. `GRAMMAR` says the rule as a table; `check` applies it.

An upstream error inside a stream is not an event: the decoder raises it. A stream that just ends is StreamTruncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Logprobs,
    Media,
    Object,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`gc=False` as in `chat.Value`: there are no cycles in it."""

    extra: Object | None = None


class ResponseStart(Event, frozen=True, kw_only=True, tag="response_start"):
    """Once, before everything else. `extra` as ChatResponse.extra."""

    dialect: str = ""
    id: str | None = None
    model: str | None = None
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


class PartEvent(Event, frozen=True, kw_only=True):
    choice: int = 0
    index: int = 0


class TextDelta(PartEvent, frozen=True, kw_only=True, tag="text_delta"):
    text: str


class ReasoningDelta(PartEvent, frozen=True, kw_only=True, tag="reasoning_delta"):
    text: str


class RefusalDelta(PartEvent, frozen=True, kw_only=True, tag="refusal_delta"):
    text: str


class ToolCallStart(PartEvent, frozen=True, kw_only=True, tag="tool_call_start"):
    id: str
    name: str
    kind: str = "function"
    invented_id: bool = False


class ToolCallDelta(PartEvent, frozen=True, kw_only=True, tag="tool_call_delta"):
    arguments: str


class SealDelta(PartEvent, frozen=True, kw_only=True, tag="seal_delta"):
    """The seal of the part `index`, whole. May come at any time before its PartEnd."""

    seal: Seal


class CitationDelta(PartEvent, frozen=True, kw_only=True, tag="citation_delta"):
    citation: Citation


class PartWhole(PartEvent, frozen=True, kw_only=True, tag="part_whole"):
    """A part that does not come in pieces: media, opaque blocks, redacted reasoning. Needs no PartEnd."""

    part: Media | Opaque | Reasoning


class PartEnd(PartEvent, frozen=True, kw_only=True, tag="part_end"):
    pass


class LogprobsDelta(Event, frozen=True, kw_only=True, tag="logprobs_delta"):
    """Further tokens of a choice's logprobs."""

    choice: int = 0
    logprobs: Logprobs


class ChoiceEnd(Event, frozen=True, kw_only=True, tag="choice_end"):
    """A choice is complete. `extra` as Choice.extra."""

    choice: int = 0
    finish: Finish


class UsageUpdate(Event, frozen=True, kw_only=True, tag="usage_update"):
    """Cumulative: the last one counts."""

    usage: Usage


class ResponseEnd(Event, frozen=True, kw_only=True, tag="response_end"):
    """Once, after everything else. `extra` overrides ResponseStart.extra key by key."""

    blocked: Finish | None = None
    service_tier: str | None = None


StreamEvent: TypeAlias = (
    ResponseStart
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallDelta
    | SealDelta
    | CitationDelta
    | PartWhole
    | PartEnd
    | LogprobsDelta
    | ChoiceEnd
    | UsageUpdate
    | ResponseEnd
)

#: What a part may receive once it is open, by the event that opened it.
GRAMMAR: dict[type, frozenset[type]] = {
    TextDelta: frozenset({TextDelta, CitationDelta, SealDelta, PartEnd}),
    ReasoningDelta: frozenset({ReasoningDelta, SealDelta, PartEnd}),
    RefusalDelta: frozenset({RefusalDelta, SealDelta, PartEnd}),
    ToolCallStart: frozenset({ToolCallDelta, SealDelta, PartEnd}),
    PartWhole: frozenset(),
}


class GrammarError(ValueError):
    """Events came in an order that the grammar does not allow: a bug in a decoder."""


def check(events: Iterable[StreamEvent]) -> list[StreamEvent]:
    """The events as a list; raises GrammarError at the first that may not stand where it stands."""
    seen: list[StreamEvent] = []
    parts: dict[tuple[int, int], type | None] = {}
    ended: set[int] = set()
    counts: dict[int, int] = {}  # parts of each choice
    for event in events:
        _check_place(event, seen)
        if isinstance(event, PartEvent):
            _check_part(event, parts, counts, ended)
        elif isinstance(event, ChoiceEnd):
            if event.choice in ended:
                raise GrammarError(f"choice {event.choice} ended twice")
            if any(opener for (choice, _), opener in parts.items() if choice == event.choice):
                raise GrammarError(f"choice {event.choice} ended with an open part")
            ended.add(event.choice)
        seen.append(event)
    return seen


def _check_place(event: StreamEvent, seen: list[StreamEvent]) -> None:
    if (not seen) != isinstance(event, ResponseStart):
        raise GrammarError(f"{type(event).__name__} at position {len(seen)}")
    if seen and isinstance(seen[-1], ResponseEnd):
        raise GrammarError(f"{type(event).__name__} after the end")


def _check_part(
    event: PartEvent, parts: dict[tuple[int, int], type | None], counts: dict[int, int], ended: set[int]
) -> None:
    key = (event.choice, event.index)
    if event.choice in ended:
        raise GrammarError(f"{type(event).__name__} after choice {event.choice} ended")
    if key not in parts:
        if type(event) not in GRAMMAR:
            raise GrammarError(f"{type(event).__name__} opens no part")
        if event.index != counts.get(event.choice, 0):
            raise GrammarError(f"part {event.index} of choice {event.choice} out of order")
        counts[event.choice] = event.index + 1
        parts[key] = None if type(event) is PartWhole else type(event)
        return
    opener = parts[key]
    if opener is None or type(event) not in GRAMMAR[opener]:
        raise GrammarError(f"{type(event).__name__} does not fit part {key}")
    if type(event) is PartEnd:
        parts[key] = None


# ── stream -> whole ────────────────────────────────────────────────────────────────────


class Fold:
    """Collects a stream into the answer that it spells. `feed` each event; `result` at the end."""

    def __init__(self) -> None:
        self._start = ResponseStart()
        self._parts: dict[int, dict[int, _OpenPart]] = {}
        self._ends: dict[int, ChoiceEnd] = {}
        self._logprobs: dict[int, Logprobs] = {}
        self._usage: Usage | None = None
        self._end = ResponseEnd()

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def feed(self, event: StreamEvent) -> None:
        if isinstance(event, PartEvent):
            self._parts.setdefault(event.choice, {}).setdefault(event.index, _OpenPart()).feed(event)
        elif isinstance(event, UsageUpdate):
            self._usage = event.usage
        elif isinstance(event, ChoiceEnd):
            self._ends[event.choice] = event
        elif isinstance(event, LogprobsDelta):
            before = self._logprobs.get(event.choice)
            self._logprobs[event.choice] = _join_logprobs(before, event.logprobs) if before else event.logprobs
        elif isinstance(event, ResponseStart):
            self._start = event
        elif isinstance(event, ResponseEnd):
            self._end = event

    def result(self) -> ChatResponse:
        start = self._start
        extra = {**(start.extra or {}), **(self._end.extra or {})} or None
        indexes = sorted(self._parts.keys() | self._ends.keys() | self._logprobs.keys())
        return ChatResponse(
            dialect=start.dialect,
            id=start.id,
            model=start.model,
            created=start.created,
            choices=tuple(self._choice(i) for i in indexes),
            usage=self._usage,
            service_tier=self._end.service_tier or start.service_tier,
            system_fingerprint=start.system_fingerprint,
            blocked=self._end.blocked,
            extra=extra,
        )

    def _choice(self, index: int) -> Choice:
        end = self._ends.get(index)
        parts = self._parts.get(index, {})
        return Choice(
            index=index,
            parts=tuple(parts[i].part() for i in sorted(parts)),
            finish=end.finish if end else None,
            logprobs=self._logprobs.get(index),
            extra=end.extra if end else None,
        )


class _OpenPart:
    """One part while its deltas arrive."""

    def __init__(self) -> None:
        self.first: PartEvent | None = None
        self.pieces: list[str] = []
        self.seal: Seal | None = None
        self.citations: list[Citation] = []

    def feed(self, event: PartEvent) -> None:
        if self.first is None:
            self.first = event
        if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta):
            self.pieces.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self.pieces.append(event.arguments)
        elif isinstance(event, SealDelta):
            self.seal = event.seal
        elif isinstance(event, CitationDelta):
            self.citations.append(event.citation)

    def part(self) -> AnyPart:
        text = "".join(self.pieces)
        first = self.first
        match first:
            case ToolCallStart():
                return ToolCall(
                    id=first.id,
                    name=first.name,
                    arguments=text,
                    kind="custom" if first.kind == "custom" else "function",
                    invented_id=first.invented_id,
                    seal=self.seal,
                    extra=first.extra,
                )
            case ReasoningDelta():
                return Reasoning(text=text, seal=self.seal, extra=first.extra)
            case RefusalDelta():
                return Refusal(text=text, seal=self.seal, extra=first.extra)
            case PartWhole():
                return first.part
            case TextDelta():
                return Text(text=text, seal=self.seal, citations=tuple(self.citations), extra=first.extra)
            case _:
                raise GrammarError(f"{type(first).__name__} opens no part")


def _join_logprobs(a: Logprobs, b: Logprobs) -> Logprobs:
    return Logprobs(content=_join(a.content, b.content), refusal=_join(a.refusal, b.refusal), extra=b.extra or a.extra)


def _join(a: tuple[TokenLogprob, ...] | None, b: tuple[TokenLogprob, ...] | None) -> tuple[TokenLogprob, ...] | None:
    return b if a is None else a if b is None else a + b


def fold(events: Iterable[StreamEvent]) -> ChatResponse:
    """The whole answer that a stream spells."""
    folding = Fold()
    for event in events:
        folding.feed(event)
    return folding.result()


# ── whole -> stream ────────────────────────────────────────────────────────────────────


def unfold(response: ChatResponse) -> Iterator[StreamEvent]:
    """A stream that spells the answer: each part in one delta. fold(unfold(x)) == x.

    Choices that share a number, as some upstreams write them, are given one each.
    """
    yield ResponseStart(
        dialect=response.dialect,
        id=response.id,
        model=response.model,
        created=response.created,
        service_tier=response.service_tier,
        system_fingerprint=response.system_fingerprint,
        extra=response.extra,
    )
    taken: set[int] = set()
    for choice in response.choices:
        number = choice.index if choice.index not in taken else max(taken) + 1
        taken.add(number)
        for index, part in enumerate(choice.parts):
            yield from _unfold_part(number, index, part)
        if choice.logprobs is not None:
            yield LogprobsDelta(choice=number, logprobs=choice.logprobs)
        if choice.finish is not None:
            yield ChoiceEnd(choice=number, finish=choice.finish, extra=choice.extra)
    if response.usage is not None:
        yield UsageUpdate(usage=response.usage)
    yield ResponseEnd(blocked=response.blocked)


def _unfold_part(choice: int, index: int, part: AnyPart) -> Iterator[StreamEvent]:
    match part:
        case Text():
            yield TextDelta(choice=choice, index=index, text=part.text, extra=part.extra)
            for citation in part.citations:
                yield CitationDelta(choice=choice, index=index, citation=citation)
        case Reasoning() if not part.redacted:
            yield ReasoningDelta(choice=choice, index=index, text=part.text, extra=part.extra)
        case Refusal():
            yield RefusalDelta(choice=choice, index=index, text=part.text, extra=part.extra)
        case ToolCall():
            yield ToolCallStart(
                choice=choice,
                index=index,
                id=part.id,
                name=part.name,
                kind=part.kind,
                invented_id=part.invented_id,
                extra=part.extra,
            )
            if part.seal is not None:  # first: some dialects have a place for it only where a call begins
                yield SealDelta(choice=choice, index=index, seal=part.seal)
            if part.arguments:
                yield ToolCallDelta(choice=choice, index=index, arguments=part.arguments)
            yield PartEnd(choice=choice, index=index)
            return
        case Media() | Opaque() | Reasoning():
            yield PartWhole(choice=choice, index=index, part=part)
            return
        case _:
            raise GrammarError(f"{type(part).__name__} does not stand in an answer")
    if part.seal is not None:
        yield SealDelta(choice=choice, index=index, seal=part.seal)
    yield PartEnd(choice=choice, index=index)
