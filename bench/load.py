"""The load generator: raw HTTP/1.1 connections that ask, time and check every single answer.

An answer is wrong unless its status is 200, its JSON carries the upstream's text and token counts, and a stream holds
each token once and in order, one finish reason and `[DONE]` as its last event. Streams are checked after the clock has
stopped, so that checking does not slow down what is measured.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import msgspec
import uvloop

from bench.upstream import INPUT_TOKENS, OUTPUT_TOKENS, TEXT

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
_END = b"\n0\r\n\r\n"
GRACE = 15.0  # seconds for what is under way when time is up


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_USAGE = _Usage(INPUT_TOKENS, OUTPUT_TOKENS)


def whole_fault(body: bytes) -> str | None:
    """What is wrong with a JSON answer, if anything."""
    try:
        answer = _decode(body)
    except msgspec.MsgspecError as error:
        return f"not an answer: {error}: {body[:200]!r}"
    choice = answer.choices[0] if len(answer.choices) == 1 else _Choice()
    if choice.message is None or choice.message.content != TEXT or choice.finish_reason != "stop":
        return f"not the upstream's words: {body[:300]!r}"
    return None if answer.usage == _USAGE else f"not the upstream's token counts: {answer.usage}"


def stream_fault(body: bytes, chunks: int) -> str | None:
    """What is wrong with the events of a stream, if anything."""
    events = [event for event in body.split(b"\n\n") if event and not event.startswith(b":")]
    if not events or events.pop() != b"data: [DONE]":
        return f"no [DONE] at the end: {body[-200:]!r}"
    texts: list[str] = []
    finishes = 0
    for event in events:
        try:
            answer = _decode(event.removeprefix(b"data: "))
        except msgspec.MsgspecError as error:
            return f"an event that cannot be read: {error}: {event[:200]!r}"
        for choice in answer.choices:
            finishes += choice.finish_reason == "stop"
            if choice.delta is not None and choice.delta.content:
                texts.append(choice.delta.content)
    if texts != [f"tok{i} " for i in range(chunks)]:
        return f"tokens missing, double or out of order: {''.join(texts)[:200]!r}"
    return None if finishes == 1 else f"{finishes} finish reasons"


def dechunked(body: bytes) -> bytes:
    """The payload of a chunked body."""
    pieces: list[bytes] = []
    at = 0
    while True:
        line = body.index(b"\r\n", at)
        size = int(body[at:line], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[line + 2 : line + 2 + size])
        at = line + 4 + size


@dataclass
class Result:
    """What came of a load. Times in seconds; `chunks` counts the tokens of streams that were right."""

    answers: int = 0
    chunks: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class Load:
    """What to ask, of whom, by how many connections, and for how long: `seconds`, or `count` answers."""

    port: int
    requests: list[bytes]
    connections: int
    seconds: float = 0.0
    count: int = 0
    chunks: int = 0  # of each stream
    gaps: bool = False  # note the time between reads of a stream

    def run(self) -> Result:
        return uvloop.run(_Run(self).run())


class _Run:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.result = Result()
        self.requests = cycle(load.requests)
        self.streams: list[list[bytes]] = []
        self.left = load.count
        self.ends = 0.0
        self.open = 0
        self.idle = asyncio.Event()

    async def run(self) -> Result:
        started = time.perf_counter()
        self.ends = started + self.load.seconds if self.load.seconds else float("inf")
        for _ in range(self.load.connections):
            await self.connect()
        most = self.load.seconds + GRACE if self.load.seconds else 600.0
        try:
            await asyncio.wait_for(self.idle.wait(), most)
        except TimeoutError:
            self.result.faults.append(f"{self.open} connections still wait for an answer")
        self.result.seconds = time.perf_counter() - started
        for parts in self.streams:
            self.check_stream(parts)
        return self.result

    async def connect(self) -> None:
        self.open += 1
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.load.port)
        except OSError as error:
            self.result.faults.append(f"no connection: {error}")
            self.closed()

    def next_request(self) -> bytes | None:
        """What to ask next; None when it is enough."""
        if self.load.count:
            self.left -= 1
            return next(self.requests) if self.left >= 0 else None
        return next(self.requests) if time.perf_counter() < self.ends else None

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.idle.set()

    def whole(self, head: bytes, body: bytes) -> None:
        self.result.answers += 1
        fault = whole_fault(body) if head.startswith(b"HTTP/1.1 200 ") else f"{head[9:12]!r}: {body[:200]!r}"
        if fault is not None:
            self.result.faults.append(fault)

    def check_stream(self, parts: list[bytes]) -> None:
        head, _, body = b"".join(parts).partition(b"\r\n\r\n")
        fault: str | None = f"{head[9:12]!r}"
        if head.startswith(b"HTTP/1.1 200 "):
            try:
                fault = stream_fault(dechunked(body), self.load.chunks)
            except ValueError:
                fault = f"not chunked: {body[:200]!r}"
        if fault is None:
            self.result.chunks += self.load.chunks
        else:
            self.result.faults.append(fault)


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.result = run.result
        self.gaps = run.load.gaps
        self.transport: Any = None
        self.parts: list[bytes] = []
        self.need = 0  # bytes of an answer of known length; -1 for a stream, 0 while the head is not here
        self.got = 0
        self.asked = self.last = 0.0
        self.waiting = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        request = self.run.next_request()
        self.waiting = request is not None
        if request is None:
            self.transport.close()
            return
        self.parts = []
        self.need = self.got = 0
        self.asked = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self.got += len(data)
        if self.need == 0:
            self.head()
        elif self.gaps:
            now = time.perf_counter()
            self.result.gaps.append(now - self.last)
            self.last = now
        if self.need > 0:
            if self.got >= self.need:
                self.answered(b"".join(self.parts))
        elif self.need < 0:
            tail = data if len(data) >= len(_END) else b"".join(self.parts[-6:])
            if tail.endswith(_END):
                self.streamed()

    def head(self) -> None:
        data = b"".join(self.parts)
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            self.need = -1
            self.last = time.perf_counter()
            self.result.first.append(self.last - self.asked)
        else:
            self.need = end + 4 + int(length[1])

    def answered(self, data: bytes) -> None:
        self.result.times.append(time.perf_counter() - self.asked)
        head, _, body = data.partition(b"\r\n\r\n")
        self.run.whole(head, body)
        self.ask()

    def streamed(self) -> None:
        self.result.times.append(time.perf_counter() - self.asked)
        self.result.answers += 1
        self.run.streams.append(self.parts)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.result.faults.append("the connection was lost before the answer was complete")
        self.run.closed()
