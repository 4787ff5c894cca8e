"""Reasoning state that a caller's client may drop, kept for its next turn.

A model signs its calls and texts (`Seal`) and wants the signature back with the history; some want the thinking that
led to a call as well, signed or encrypted. A caller of another dialect is given it where that dialect has a place, but
most clients drop fields that they do not know. So what was given out is remembered for a while, keyed by the caller and
by the call's id or the answer's text, and put back where it is missing, for a target that can read it. Ollama's clients
drop ids, too: a call that comes without one is known by its name and arguments, the last one if there were several.

Bounded in bytes, oldest first out; nothing is written to disk. What an answer said is known by a running digest, so
that neither a long stream nor a history of many parts costs more than its length. Each memory goes back once per
request.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
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
LARGEST = LIMIT // 8  # of one entry: what is larger would push out what many others need
_OVERHEAD = 300  # bytes of an entry beside its text
_PIECES = 64  # of a stream's text that wait for their digest


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
        texts = sum(sys.getsizeof(thought.text) for thought in self.thoughts)
        return _OVERHEAD + texts + sum(sys.getsizeof(seal.value) for seal in seals if seal is not None)


class _Said:
    """All that an answer has said so far, known by its digest. Pieces wait for it a few at a time: it is cheaper so."""

    __slots__ = ("_hash", "_pieces", "nothing")

    def __init__(self) -> None:
        self._hash = blake2b(b"text\0", digest_size=16)
        self._pieces: list[str] = []
        self.nothing = True

    def add(self, text: str) -> None:
        if text:
            self.nothing = False
            self._pieces.append(text)
            if len(self._pieces) >= _PIECES:
                self._digest()

    def _digest(self) -> None:
        self._hash.update(_encoded("".join(self._pieces)))
        self._pieces.clear()

    @property
    def known_by(self) -> bytes:
        self._digest()
        return self._hash.digest()


class Note(NamedTuple):
    """What was sealed in one place of an answer, whoever it was given to."""

    known_by: bytes
    kept: _Kept

    @property
    def size(self) -> int:
        return self.kept.size


class Keeping(ABC):
    """What an answer has sealed, on its way into a memory."""

    @abstractmethod
    def keep(self, caller: str, note: Note) -> None: ...

    @abstractmethod
    def kept(self, caller: str, known_by: bytes) -> _Kept | None: ...

    def keep_text(self, caller: str, said: _Said, length: int, seal: Seal) -> None:
        """`said`: the text of the answer up to and with the part that is sealed, which has `length` characters.

        What says nothing at all is not remembered: nothing tells it from another answer without text.
        """
        if not said.nothing:
            self.keep(caller, Note(said.known_by, _Kept(seal, length)))

    def keep_call(self, caller: str, identifier: str, *, seal: Seal | None, thoughts: tuple[Reasoning, ...]) -> None:
        """Of a call: its own seal, and the thinking since the call before it. Only what is sealed is remembered."""
        sealed = tuple(_bare(thought) for thought in thoughts if thought.seal is not None)
        if seal is not None or sealed:
            self.keep(caller, Note(_call(identifier), _Kept(seal, 0, sealed)))

    def keep_words(self, caller: str, call: ToolCall) -> None:
        """The same of a call that was kept and is complete now, by what it says."""
        kept = self.kept(caller, _call(call.id))
        if kept is not None:
            self.keep(caller, Note(_words(call), kept))

    def keep_all(self, caller: str, response: ChatResponse) -> None:
        for choice in response.choices:
            said = _Said()
            thoughts: list[Reasoning] = []
            for part in choice.parts:
                if isinstance(part, Reasoning):
                    thoughts.append(part)
                elif isinstance(part, Text):
                    said.add(part.text)
                    if part.seal is not None:
                        self.keep_text(caller, said, len(part.text), part.seal)
                elif isinstance(part, ToolCall):
                    self.keep_call(caller, part.id, seal=part.seal, thoughts=tuple(thoughts))
                    self.keep_words(caller, part)
                    thoughts.clear()


class SealTape(Keeping):
    """Passes on to a memory what an answer has sealed, and notes it for those who are given the same answer later."""

    def __init__(self, memory: SealMemory) -> None:
        self.notes: list[Note] = []
        self._memory = memory

    def keep(self, caller: str, note: Note) -> None:
        self.notes.append(note)
        self._memory.keep(caller, note)

    def kept(self, caller: str, known_by: bytes) -> _Kept | None:
        return self._memory.kept(caller, known_by)


class SealMemory(Keeping):
    """What was sealed, by (caller, call id) and (caller, all that the answer had said up to there)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, caller: str, known_by: bytes) -> _Kept | None:
        return self._kept.get(_key(caller, known_by))

    def keep(self, caller: str, note: Note) -> None:
        key, kept = _key(caller, note.known_by), note.kept
        if kept.size > LARGEST:
            return
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= old.size
        self._kept[key] = kept
        self._size += kept.size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    # ── putting back ───────────────────────────────────────────────────────────────
    def restore(self, caller: str, request: ChatRequest, origins: Collection[str] | None = None) -> ChatRequest:
        """The request with everything remembered back in its place: seals of `origins`, which the target can read.

        None: of any. What the target could not read stays away, for the caller has not sent it.
        """
        if not self._kept:
            return request
        back = _Restoring(self._kept, caller, origins)
        # Clients of Gemini send a stream back in the pieces in which it came: what is known belongs to all of a turn.
        turns = whole_turns(request.messages)
        messages = tuple(back.message(message) for message in turns)
        if all(new is old for new, old in zip(messages, turns, strict=True)):
            return request
        return msgspec.structs.replace(request, messages=messages)


class _Restoring:
    """One request on its way: what is remembered goes back into it, each memory once."""

    def __init__(self, kept: OrderedDict[bytes, _Kept], caller: str, origins: Collection[str] | None) -> None:
        self._kept = kept
        self._caller = caller
        self._origins = origins
        self._used: set[bytes] = set()

    def message(self, message: Message) -> Message:
        if message.role != "assistant":
            return message
        parts: list[AnyPart] = []
        step = 0  # where the parts since the last call begin
        said = _Said()
        brought = {part.seal.value for part in message.parts if part.seal is not None}
        for part in message.parts:
            if isinstance(part, Text):
                said.add(part.text)
                parts += self._text(part, said, brought)
            elif isinstance(part, ToolCall):
                kept = self._take(_call(part.id))
                if kept is None and part.invented_id:
                    kept = self._take(_words(part))
                if kept is not None:
                    parts[step:] = self._thought_of(kept, parts[step:], brought)
                    part = self._sealed(part, kept)
                parts.append(part)
                step = len(parts)
            else:
                parts.append(part)
        if len(parts) == len(message.parts) and all(new is old for new, old in zip(parts, message.parts, strict=True)):
            return message
        return msgspec.structs.replace(message, parts=tuple(parts))

    def _take(self, known_by: bytes) -> _Kept | None:
        """What is kept of that, if this request has not had it yet: a history has each answer once."""
        key = _key(self._caller, known_by)
        kept = self._kept.get(key)
        if kept is None or key in self._used:
            return None
        self._used.add(key)
        return kept

    def _text(self, part: Text, said: _Said, brought: set[str]) -> list[AnyPart]:
        """The text with its seal; one that was sealed in its last piece only is taken apart there again."""
        kept = self._take(said.known_by) if part.seal is None and part.text else None
        seal = None if kept is None else kept.seal
        if kept is None or seal is None or seal.value in brought or not _readable(seal, self._origins):
            return [part]
        if kept.length >= len(part.text):
            return [msgspec.structs.replace(part, seal=seal)]
        cut = len(part.text) - kept.length
        return [
            msgspec.structs.replace(part, text=part.text[:cut]),
            Text(text=part.text[cut:], seal=seal, at=part.at),
        ]

    def _thought_of(self, kept: _Kept, step: list[AnyPart], brought: set[str]) -> list[AnyPart]:
        """The parts before a call, with the thinking that led to it where it was: at their beginning."""
        missing = [
            thought
            for thought in kept.thoughts
            if thought.seal is not None and thought.seal.value not in brought and _readable(thought.seal, self._origins)
        ]
        if not missing:
            return step
        told = "".join(part.text for part in step if isinstance(part, Reasoning))
        if told not in "".join(thought.text for thought in missing):
            return step
        # The caller brought the words without the seals, or nothing, or the last piece of a stream, as npm's openai
        # gathers fields that it does not know: ours stand for both.
        return [*missing, *(part for part in step if not isinstance(part, Reasoning))]

    def _sealed(self, call: ToolCall, kept: _Kept) -> ToolCall:
        if call.seal is not None or kept.seal is None or not _readable(kept.seal, self._origins):
            return call
        return msgspec.structs.replace(call, seal=kept.seal)


def _readable(seal: Seal, origins: Collection[str] | None) -> bool:
    return origins is None or seal.origin in origins


def _bare(thought: Reasoning) -> Reasoning:
    """Without what only the dialect that it came in can write: it may go out from another caller's history."""
    return Reasoning(text=thought.text, seal=thought.seal, redacted=thought.redacted)


def _key(caller: str, known_by: bytes) -> bytes:
    """Of what one caller was given."""
    return blake2b(_encoded(caller) + b"\0" + known_by, digest_size=16).digest()


def _call(identifier: str) -> bytes:
    return blake2b(_encoded(f"call\0{identifier}"), digest_size=16).digest()


def _words(call: ToolCall) -> bytes:
    """However the arguments are spelled: a client that reads them writes them anew."""
    try:
        arguments = msgspec.json.encode(msgspec.json.decode(call.arguments), order="sorted").decode()
    except msgspec.DecodeError:
        arguments = call.arguments
    return blake2b(_encoded(f"words\0{call.name}\0{arguments}"), digest_size=16).digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class SealWatch:
    """Looks on as a stream passes, and keeps what was sealed in it."""

    def __init__(self, memory: Keeping, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._calls: dict[tuple[int, int], _Call] = {}
        self._lengths: dict[tuple[int, int], int] = {}  # of texts
        self._said: dict[int, _Said] = {}  # by choice
        self._thoughts: dict[int, dict[int, _Thought]] = {}  # by choice and part, since its last call

    def see(self, event: StreamEvent) -> None:
        kind = type(event)
        if kind is TextDelta:
            assert isinstance(event, TextDelta)
            self.see_text(event)
        elif kind is ReasoningDelta:
            assert isinstance(event, ReasoningDelta)
            self._thought(event.choice, event.index).add(event.text)
        elif kind is ToolCallStart:
            assert isinstance(event, ToolCallStart)
            self._called(event)
        elif kind is ToolCallDelta:
            assert isinstance(event, ToolCallDelta)
            self._calls[event.choice, event.index].add(event.arguments)
        elif kind is PartEnd:
            assert isinstance(event, PartEnd)
            self._ended(event)
        elif kind is SealDelta:
            assert isinstance(event, SealDelta)
            self._sealed(event)
        elif kind is PartWhole:
            assert isinstance(event, PartWhole)
            if isinstance(event.part, Reasoning):
                self._thought(event.choice, event.index).whole = event.part

    def see_text(self, event: TextDelta) -> None:
        """`see` for most of the events."""
        place = (event.choice, event.index)
        self._lengths[place] = self._lengths.get(place, 0) + len(event.text)
        said = self._said.get(event.choice)
        if said is None:
            said = self._said[event.choice] = _Said()
        said.add(event.text)

    def _thought(self, choice: int, index: int) -> _Thought:
        return self._thoughts.setdefault(choice, {}).setdefault(index, _Thought())

    def _called(self, event: ToolCallStart) -> None:
        thoughts = tuple(thought.part for thought in self._thoughts.pop(event.choice, {}).values())
        self._calls[event.choice, event.index] = _Call(event.id, event.name, thoughts)
        self._memory.keep_call(self._caller, event.id, seal=None, thoughts=thoughts)

    def _ended(self, event: PartEnd) -> None:
        call = self._calls.get((event.choice, event.index))
        if call is not None and call.whole is not None:
            self._memory.keep_words(self._caller, call.whole)

    def _sealed(self, event: SealDelta) -> None:
        place = (event.choice, event.index)
        thoughts = self._thoughts.get(event.choice, {})
        if place in self._calls:
            call = self._calls[place]
            self._memory.keep_call(self._caller, call.id, seal=event.seal, thoughts=call.thoughts)
        elif event.index in thoughts or place not in self._lengths:
            self._thought(event.choice, event.index).seal = event.seal
        else:
            self._memory.keep_text(self._caller, self._said[event.choice], self._lengths[place], event.seal)


class _Call:
    """A call as a stream brings it, and the thinking before it. Endless arguments are not gathered to their end."""

    __slots__ = ("_length", "_pieces", "id", "name", "thoughts")

    def __init__(self, identifier: str, name: str, thoughts: tuple[Reasoning, ...]) -> None:
        self.id = identifier
        self.name = name
        self.thoughts = thoughts
        self._pieces: list[str] = []
        self._length = 0

    def add(self, arguments: str) -> None:
        self._length += len(arguments)
        if self._length <= LARGEST:
            self._pieces.append(arguments)
        else:
            self._pieces.clear()

    @property
    def whole(self) -> ToolCall | None:
        """None where it was too long."""
        if self._length > LARGEST:
            return None
        return ToolCall(id=self.id, name=self.name, arguments="".join(self._pieces))


class _Thought:
    """A part of thinking as a stream brings it. One that is too long to be remembered is not gathered any further."""

    __slots__ = ("_length", "_texts", "seal", "whole")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._length = 0
        self.seal: Seal | None = None
        self.whole: Reasoning | None = None

    def add(self, text: str) -> None:
        self._length += len(text)
        if self._length <= LARGEST:
            self._texts.append(text)
        else:
            self._texts.clear()

    @property
    def part(self) -> Reasoning:
        seal = self.seal if self._length <= LARGEST else None
        return self.whole or Reasoning(text="".join(self._texts), seal=seal)
