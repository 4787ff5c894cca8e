"""Signatures that a caller's client may drop, kept for its next turn.

A model signs its calls and texts (`Seal`) and wants the signature back with the history. A caller of another dialect
is given it where that dialect has a place, but most clients drop fields that they do not know. So what was given out
is remembered for a while, keyed by the caller and by the call's id or the text, and put back where it is missing.
Bounded in bytes, oldest first out; nothing is written to disk.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from providers.canonical.chat import AnyPart, ChatRequest, ChatResponse, Message, Seal, Text, ToolCall
from providers.canonical.stream import SealDelta, StreamEvent, TextDelta, ToolCallStart

LIMIT = 32 << 20
_OVERHEAD = 300  # bytes of an entry beside its text


class SealMemory:
    """What was sealed, by (caller, call id) and (caller, text)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._seals: OrderedDict[bytes, Seal] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seals)

    def keep(self, caller: str, part: ToolCall | Text, seal: Seal) -> None:
        key = _key(caller, part)
        old = self._seals.pop(key, None)
        if old is not None:
            self._size -= len(old.value) + _OVERHEAD
        self._seals[key] = seal
        self._size += len(seal.value) + _OVERHEAD
        while self._size > self._limit:
            _, oldest = self._seals.popitem(last=False)
            self._size -= len(oldest.value) + _OVERHEAD

    def keep_all(self, caller: str, response: ChatResponse) -> None:
        for choice in response.choices:
            for part in choice.parts:
                if part.seal is not None and isinstance(part, ToolCall | Text):
                    self.keep(caller, part, part.seal)

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
        parts = tuple(self._part(caller, part) for part in message.parts)
        if all(new is old for new, old in zip(parts, message.parts, strict=True)):
            return message
        return msgspec.structs.replace(message, parts=parts)

    def _part(self, caller: str, part: AnyPart) -> AnyPart:
        if part.seal is not None or not isinstance(part, ToolCall | Text):
            return part
        seal = self._seals.get(_key(caller, part))
        return part if seal is None else msgspec.structs.replace(part, seal=seal)


def _key(caller: str, part: ToolCall | Text) -> bytes:
    what = f"call\0{caller}\0{part.id}" if isinstance(part, ToolCall) else f"text\0{caller}\0{part.text}"
    return blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class SealWatch:
    """Looks on as a stream passes, and keeps what was sealed in it."""

    def __init__(self, memory: SealMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._calls: dict[tuple[int, int], ToolCallStart] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}

    def see(self, event: StreamEvent) -> None:
        kind = type(event)
        if kind is TextDelta:
            assert isinstance(event, TextDelta)
            self._texts.setdefault((event.choice, event.index), []).append(event.text)
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
            part: ToolCall | Text = ToolCall(id=call.id, name=call.name, arguments="")
        elif place in self._texts:
            part = Text(text="".join(self._texts[place]))
        else:
            return
        self._memory.keep(self._caller, part, event.seal)
