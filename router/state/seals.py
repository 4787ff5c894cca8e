"""Signatures that a caller's client may drop, kept for its next turn.

A model signs its calls and texts (`Seal`) and wants the signature back with the history. A caller of another dialect
is given it where that dialect has a place, but most clients drop fields that they do not know. So what was given out
is remembered for a while, keyed by the caller and by the call's id or the answer's text, and put back where missing.
Bounded in bytes, oldest first out; nothing is written to disk.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from providers.canonical.chat import AnyPart, ChatRequest, ChatResponse, Message, Seal, Text, ToolCall
from providers.canonical.stream import SealDelta, StreamEvent, TextDelta, ToolCallStart

LIMIT = 32 << 20
_OVERHEAD = 300  # bytes of an entry beside its text


class _Kept(NamedTuple):
    """A seal, and how many characters its own part had: 0 for an empty text that closes an answer."""

    seal: Seal
    length: int


class SealMemory:
    """What was sealed, by (caller, call id) and (caller, all that the answer had said up to there)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._seals: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seals)

    def keep(self, caller: str, part: ToolCall | Text, seal: Seal, said: str | None = None) -> None:
        """`said`: the text of the answer up to and with this part, where it had more than this one.

        What says nothing at all is not remembered: nothing tells it from another answer without text.
        """
        if isinstance(part, ToolCall):
            key, length = _call_key(caller, part.id), 0
        else:
            said = part.text if said is None else said
            if not said:
                return
            key, length = _text_key(caller, said), len(part.text)
        old = self._seals.pop(key, None)
        if old is not None:
            self._size -= len(old.seal.value) + _OVERHEAD
        self._seals[key] = _Kept(seal, length)
        self._size += len(seal.value) + _OVERHEAD
        while self._size > self._limit:
            _, oldest = self._seals.popitem(last=False)
            self._size -= len(oldest.seal.value) + _OVERHEAD

    def keep_all(self, caller: str, response: ChatResponse) -> None:
        for choice in response.choices:
            said = ""
            for part in choice.parts:
                if isinstance(part, Text):
                    said += part.text
                if part.seal is not None and isinstance(part, ToolCall | Text):
                    self.keep(caller, part, part.seal, said)

    def restore(self, caller: str, request: ChatRequest) -> ChatRequest:
        """The request with every remembered seal back in its place."""
        if not self._seals:
            return request
        messages = tuple(self._message(caller, message) for message in request.messages)
        if all(new is old for new, old in zip(messages, request.messages, strict=True)):
            return request
        return msgspec.structs.replace(request, messages=messages)

    def _message(self, caller: str, message: Message) -> Message:
        if message.role != "assistant":
            return message
        parts: list[AnyPart] = []
        said = ""
        brought = {part.seal.value for part in message.parts if part.seal is not None}
        for part in message.parts:
            if isinstance(part, Text):
                said += part.text
            parts += self._parts(caller, part, said, brought)
        if len(parts) == len(message.parts) and all(new is old for new, old in zip(parts, message.parts, strict=True)):
            return message
        return msgspec.structs.replace(message, parts=tuple(parts))

    def _parts(self, caller: str, part: AnyPart, said: str, brought: set[str]) -> list[AnyPart]:
        """The part with its seal; a text that was sealed in its last piece only is taken apart there again."""
        if part.seal is not None:
            return [part]
        if isinstance(part, ToolCall):
            kept = self._seals.get(_call_key(caller, part.id))
            return [part if kept is None else msgspec.structs.replace(part, seal=kept.seal)]
        kept = self._seals.get(_text_key(caller, said)) if isinstance(part, Text) and part.text else None
        if kept is None or not isinstance(part, Text) or kept.seal.value in brought:
            return [part]
        if kept.length >= len(part.text):
            return [msgspec.structs.replace(part, seal=kept.seal)]
        cut = len(part.text) - kept.length
        return [
            msgspec.structs.replace(part, text=part.text[:cut]),
            Text(text=part.text[cut:], seal=kept.seal, at=part.at),
        ]


def _call_key(caller: str, identifier: str) -> bytes:
    return _digest(f"call\0{caller}\0{identifier}")


def _text_key(caller: str, said: str) -> bytes:
    return _digest(f"text\0{caller}\0{said}")


def _digest(what: str) -> bytes:
    return blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class SealWatch:
    """Looks on as a stream passes, and keeps what was sealed in it."""

    def __init__(self, memory: SealMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._calls: dict[tuple[int, int], ToolCallStart] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._said: dict[int, list[str]] = {}  # by choice

    def see(self, event: StreamEvent) -> None:
        kind = type(event)
        if kind is TextDelta:
            assert isinstance(event, TextDelta)
            self._texts.setdefault((event.choice, event.index), []).append(event.text)
            self._said.setdefault(event.choice, []).append(event.text)
        elif kind is ToolCallStart:
            assert isinstance(event, ToolCallStart)
            self._calls[event.choice, event.index] = event
        elif kind is SealDelta:
            assert isinstance(event, SealDelta)
            self._sealed(event)

    def _sealed(self, event: SealDelta) -> None:
        place = (event.choice, event.index)
        call = self._calls.get(place)
        if call is not None:
            self._memory.keep(self._caller, ToolCall(id=call.id, name=call.name, arguments=""), event.seal)
        elif place in self._texts:
            text = Text(text="".join(self._texts[place]))
            self._memory.keep(self._caller, text, event.seal, "".join(self._said[event.choice]))
