"""Reasoning state that a caller's client may drop, kept for its next turn.

A model signs its calls and texts (`Seal`) and wants the signature back with the history; some want the thinking that
led to a call as well, signed or encrypted. A caller of another dialect is given it where that dialect has a place, but
most clients drop fields that they do not know. So what was given out is remembered for a while, keyed by the caller and
by the call's id or the answer's text, and put back where it is missing, for a target that can read it. Ollama's clients
drop ids, too: a call that comes without one is known by its name and arguments, the last one if there were several.

Bounded in bytes, oldest first out; nothing is written to disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from providers.canonical.chat import AnyPart, ChatRequest, ChatResponse, Message, Reasoning, Seal, Text, ToolCall
from providers.canonical.stream import (
    PartEnd,
    PartWhole,
    ReasoningDelta,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from providers.canonical.turns import whole_turns

LIMIT = 32 << 20
_OVERHEAD = 300  # bytes of an entry beside its text


class _Kept(NamedTuple):
    """What belonged to a part: its seal, and of a call the sealed thinking before it.

    `length`: how many characters a sealed text had: 0 for an empty one that closes an answer.
    """

    seal: Seal | None = None
    length: int = 0
    thoughts: tuple[Reasoning, ...] = ()

    @property
    def size(self) -> int:
        seals = [self.seal, *(thought.seal for thought in self.thoughts)]
        texts = sum(len(thought.text) for thought in self.thoughts)
        return _OVERHEAD + texts + sum(len(seal.value) for seal in seals if seal is not None)


class SealMemory:
    """What was sealed, by (caller, call id) and (caller, all that the answer had said up to there)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    # ── keeping ────────────────────────────────────────────────────────────────────
    def keep_text(self, caller: str, text: Text, seal: Seal, said: str | None = None) -> None:
        """`said`: the text of the answer up to and with this part, where it had more than this one.

        What says nothing at all is not remembered: nothing tells it from another answer without text.
        """
        said = text.text if said is None else said
        if said:
            self._put(_text_key(caller, said), _Kept(seal, len(text.text)))

    def keep_call(self, caller: str, identifier: str, *, seal: Seal | None, thoughts: tuple[Reasoning, ...]) -> None:
        """Of a call: its own seal, and the thinking since the call before it. Only what is sealed is remembered."""
        sealed = tuple(_bare(thought) for thought in thoughts if thought.seal is not None)
        if seal is not None or sealed:
            self._put(_call_key(caller, identifier), _Kept(seal, 0, sealed))

    def keep_words(self, caller: str, call: ToolCall) -> None:
        """The same of a call that was kept and is complete now, by what it says."""
        kept = self._kept.get(_call_key(caller, call.id))
        if kept is not None:
            self._put(_words_key(caller, call), kept)

    def _put(self, key: bytes, kept: _Kept) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= old.size
        self._kept[key] = kept
        self._size += kept.size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def keep_all(self, caller: str, response: ChatResponse) -> None:
        for choice in response.choices:
            said = ""
            thoughts: list[Reasoning] = []
            for part in choice.parts:
                if isinstance(part, Reasoning):
                    thoughts.append(part)
                elif isinstance(part, Text):
                    said += part.text
                    if part.seal is not None:
                        self.keep_text(caller, part, part.seal, said)
                elif isinstance(part, ToolCall):
                    self.keep_call(caller, part.id, seal=part.seal, thoughts=tuple(thoughts))
                    self.keep_words(caller, part)
                    thoughts.clear()

    # ── putting back ───────────────────────────────────────────────────────────────
    def restore(self, caller: str, request: ChatRequest, origins: Collection[str] | None = None) -> ChatRequest:
        """The request with everything remembered back in its place: seals of `origins`, which the target can read.

        None: of any. What the target could not read stays away, for the caller has not sent it.
        """
        if not self._kept:
            return request
        # Clients of Gemini send a stream back in the pieces in which it came: what is known belongs to all of a turn.
        turns = whole_turns(request.messages)
        messages = tuple(self._message(caller, message, origins) for message in turns)
        if all(new is old for new, old in zip(messages, turns, strict=True)):
            return request
        return msgspec.structs.replace(request, messages=messages)

    def _message(self, caller: str, message: Message, origins: Collection[str] | None) -> Message:
        if message.role != "assistant":
            return message
        parts: list[AnyPart] = []
        said = ""
        brought = {part.seal.value for part in message.parts if part.seal is not None}
        for part in message.parts:
            if isinstance(part, Text):
                said += part.text
                parts += self._text(caller, part, said, brought, origins)
            elif isinstance(part, ToolCall):
                kept = self._kept.get(_call_key(caller, part.id))
                if kept is None and part.invented_id:
                    kept = self._kept.get(_words_key(caller, part))
                if kept is not None:
                    part = _put_back(part, kept, parts, brought, origins)
                parts.append(part)
            else:
                parts.append(part)
        if len(parts) == len(message.parts) and all(new is old for new, old in zip(parts, message.parts, strict=True)):
            return message
        return msgspec.structs.replace(message, parts=tuple(parts))

    def _text(
        self, caller: str, part: Text, said: str, brought: set[str], origins: Collection[str] | None
    ) -> list[AnyPart]:
        """The text with its seal; one that was sealed in its last piece only is taken apart there again."""
        kept = self._kept.get(_text_key(caller, said)) if part.seal is None and part.text else None
        seal = None if kept is None else kept.seal
        if kept is None or seal is None or seal.value in brought or not _readable(seal, origins):
            return [part]
        if kept.length >= len(part.text):
            return [msgspec.structs.replace(part, seal=seal)]
        cut = len(part.text) - kept.length
        return [
            msgspec.structs.replace(part, text=part.text[:cut]),
            Text(text=part.text[cut:], seal=seal, at=part.at),
        ]


def _put_back(
    call: ToolCall, kept: _Kept, before: list[AnyPart], brought: set[str], origins: Collection[str] | None
) -> ToolCall:
    """The call with its seal. The thinking that led to it goes where it was: to the beginning of its step, `before`."""
    missing = [
        thought
        for thought in kept.thoughts
        if thought.seal is not None and thought.seal.value not in brought and _readable(thought.seal, origins)
    ]
    if missing:
        begin = max((i + 1 for i, part in enumerate(before) if isinstance(part, ToolCall)), default=0)
        told = "".join(part.text for part in before[begin:] if isinstance(part, Reasoning))
        if told in "".join(thought.text for thought in missing):
            # The caller brought the words without the seals, or nothing, or the last piece of a stream, as npm's openai
            # gathers fields that it does not know: ours stand for both.
            before[begin:] = [*missing, *(part for part in before[begin:] if not isinstance(part, Reasoning))]
    if call.seal is not None or kept.seal is None or not _readable(kept.seal, origins):
        return call
    return msgspec.structs.replace(call, seal=kept.seal)


def _readable(seal: Seal, origins: Collection[str] | None) -> bool:
    return origins is None or seal.origin in origins


def _bare(thought: Reasoning) -> Reasoning:
    """Without what only the dialect that it came in can write: it may go out from another caller's history."""
    return Reasoning(text=thought.text, seal=thought.seal, redacted=thought.redacted)


def _call_key(caller: str, identifier: str) -> bytes:
    return _digest(f"call\0{caller}\0{identifier}")


def _words_key(caller: str, call: ToolCall) -> bytes:
    """However the arguments are spelled: a client that reads them writes them anew."""
    try:
        arguments = msgspec.json.encode(msgspec.json.decode(call.arguments), order="sorted").decode()
    except msgspec.DecodeError:
        arguments = call.arguments
    return _digest(f"words\0{caller}\0{call.name}\0{arguments}")


def _text_key(caller: str, said: str) -> bytes:
    return _digest(f"text\0{caller}\0{said}")


def _digest(what: str) -> bytes:
    return blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class SealWatch:
    """Looks on as a stream passes, and keeps what was sealed in it."""

    def __init__(self, memory: SealMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._calls: dict[tuple[int, int], _Call] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._said: dict[int, list[str]] = {}  # by choice
        self._thoughts: dict[int, dict[int, _Thought]] = {}  # by choice and part, since its last call

    def see(self, event: StreamEvent) -> None:
        kind = type(event)
        if kind is TextDelta:
            assert isinstance(event, TextDelta)
            self._texts.setdefault((event.choice, event.index), []).append(event.text)
            self._said.setdefault(event.choice, []).append(event.text)
        elif kind is ReasoningDelta:
            assert isinstance(event, ReasoningDelta)
            self._thought(event.choice, event.index).texts.append(event.text)
        elif kind is ToolCallStart:
            assert isinstance(event, ToolCallStart)
            self._called(event)
        elif kind is ToolCallDelta:
            assert isinstance(event, ToolCallDelta)
            self._calls[event.choice, event.index].arguments.append(event.arguments)
        elif kind is PartEnd:
            assert isinstance(event, PartEnd)
            call = self._calls.get((event.choice, event.index))
            if call is not None:
                self._memory.keep_words(self._caller, call.whole)
        elif kind is SealDelta:
            assert isinstance(event, SealDelta)
            self._sealed(event)
        elif kind is PartWhole:
            assert isinstance(event, PartWhole)
            if isinstance(event.part, Reasoning):
                self._thought(event.choice, event.index).whole = event.part

    def _thought(self, choice: int, index: int) -> _Thought:
        return self._thoughts.setdefault(choice, {}).setdefault(index, _Thought())

    def _called(self, event: ToolCallStart) -> None:
        thoughts = tuple(thought.part for thought in self._thoughts.pop(event.choice, {}).values())
        self._calls[event.choice, event.index] = _Call(event.id, event.name, thoughts)
        self._memory.keep_call(self._caller, event.id, seal=None, thoughts=thoughts)

    def _sealed(self, event: SealDelta) -> None:
        place = (event.choice, event.index)
        thoughts = self._thoughts.get(event.choice, {})
        if place in self._calls:
            call = self._calls[place]
            self._memory.keep_call(self._caller, call.id, seal=event.seal, thoughts=call.thoughts)
        elif event.index in thoughts or place not in self._texts:
            self._thought(event.choice, event.index).seal = event.seal
        else:
            text = Text(text="".join(self._texts[place]))
            self._memory.keep_text(self._caller, text, event.seal, "".join(self._said[event.choice]))


class _Call:
    """A call as a stream brings it, and the thinking before it."""

    __slots__ = ("arguments", "id", "name", "thoughts")

    def __init__(self, identifier: str, name: str, thoughts: tuple[Reasoning, ...]) -> None:
        self.id = identifier
        self.name = name
        self.thoughts = thoughts
        self.arguments: list[str] = []

    @property
    def whole(self) -> ToolCall:
        return ToolCall(id=self.id, name=self.name, arguments="".join(self.arguments))


class _Thought:
    """A part of thinking as a stream brings it."""

    __slots__ = ("seal", "texts", "whole")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.seal: Seal | None = None
        self.whole: Reasoning | None = None

    @property
    def part(self) -> Reasoning:
        return self.whole or Reasoning(text="".join(self.texts), seal=self.seal)
