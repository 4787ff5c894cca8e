"""A simulated upstream that costs as little as Python can: one asyncio.Protocol, answers made beforehand.

It speaks OpenAI chat (`…/chat/completions`) and Gemini (`…:generateContent`, `…:streamGenerateContent`), JSON and SSE.
Chunk number i of a stream carries the text "tok<i> ", so that a client can prove that each arrived once and in order.
Each chunk is written in a loop turn of its own, as a real upstream would send it; `delay` seconds apart if asked for.

    GET /bench/set?chunks=200&delay=0.02    how streams look from now on
    GET /bench/last                         the body of the last call, as it arrived

Prints the port it listens on, then serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import re
import signal
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import uvloop

TEXT = ("The quick brown fox jumps over the lazy dog while the gateway forwards tokens. " * 5).strip()
INPUT_TOKENS, OUTPUT_TOKENS = 120, 80

_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}
_GEMINI_USAGE = {
    "promptTokenCount": INPUT_TOKENS,
    "candidatesTokenCount": OUTPUT_TOKENS,
    "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
}
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\nx-request-id: req_upstream\r\n\r\n"
)


def _whole(status: bytes, value: Any) -> bytes:
    body = msgspec.json.encode(value)
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nx-request-id: req_upstream\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


OPENAI_ANSWER = _whole(
    b"200 OK",
    {
        "id": "chatcmpl-upstream1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "upstream-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            **_USAGE,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_upstream",
    },
)
GEMINI_ANSWER = _whole(
    b"200 OK",
    {
        "candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": _GEMINI_USAGE,
        "modelVersion": "upstream-model",
        "responseId": "upstream1",
    },
)
NOT_FOUND = _whole(b"404 Not Found", {"error": {"message": "no such path", "type": "not_found", "code": None}})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _openai_events(count: int) -> list[bytes]:
    def event(choices: list[Any], **more: Any) -> bytes:
        chunk = {
            "id": "chatcmpl-upstream1",
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": "upstream-model",
            "system_fingerprint": "fp_upstream",
            "choices": choices,
            **more,
        }
        return b"data: %s\n\n" % msgspec.json.encode(chunk)

    def choice(delta: dict[str, str], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    first = {"role": "assistant", "content": "tok0 "}
    events = [event(choice(first if i == 0 else {"content": f"tok{i} "})) for i in range(count)]
    return [*events, event(choice({}, "stop")), event([], usage=_USAGE), b"data: [DONE]\n\n"]


def _gemini_events(count: int) -> list[bytes]:
    events = []
    for i in range(count):
        candidate = {"content": {"parts": [{"text": f"tok{i} "}], "role": "model"}, "index": 0}
        if i == count - 1:
            candidate["finishReason"] = "STOP"
        chunk = {
            "candidates": [candidate],
            "usageMetadata": _GEMINI_USAGE,
            "modelVersion": "upstream-model",
            "responseId": "upstream1",
        }
        events.append(b"data: %s\r\n\r\n" % msgspec.json.encode(chunk))
    return events


class Shape:
    """How streams look: the HTTP chunks of one of each dialect, and the seconds between them."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.last = b""
        self.set(200)

    def set(self, chunks: int, delay: float = 0.0) -> None:
        self.delay = delay
        self.openai = self._framed(_openai_events(chunks))
        self.gemini = self._framed(_gemini_events(chunks))

    def _framed(self, events: list[bytes]) -> list[bytes]:
        framed = [_chunk(event) for event in events]
        framed[-1] += b"0\r\n\r\n"
        return framed


class Upstream(asyncio.Protocol):
    """One connection: requests with a Content-Length in, prepared answers out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shape: Shape) -> None:
        self.loop = loop
        self.shape = shape
        self.transport: Any = None
        self.buffer = b""
        self.chunks: list[bytes] = []  # of the stream under way
        self.position = 0
        self.paused = self.waiting = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.waiting:
            self.waiting = False
            self.next_chunk()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while self.buffer and not self.chunks and self.transport is not None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self.buffer, 0, end + 2)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < size:
                return
            body = self.buffer[end + 4 : size]
            path = self.buffer[: self.buffer.find(b"\r\n")].split(b" ", 2)[1]
            self.buffer = self.buffer[size:]
            self.answer(path, body)

    def answer(self, path: bytes, body: bytes) -> None:
        if path.startswith(b"/bench/"):
            self.operate(path.decode())
            return
        self.shape.last = body
        path = path.partition(b"?")[0]
        if path.endswith(b"/chat/completions"):
            if not _STREAM.search(body):
                self.transport.write(OPENAI_ANSWER)
            else:
                self.stream(self.shape.openai)
        elif path.endswith(b":generateContent"):
            self.transport.write(GEMINI_ANSWER)
        elif path.endswith(b":streamGenerateContent"):
            self.stream(self.shape.gemini)
        else:
            self.transport.write(NOT_FOUND)

    def stream(self, chunks: list[bytes]) -> None:
        self.chunks = chunks
        self.position = 0
        self.transport.write(_SSE_HEAD)
        self.next_chunk()

    def next_chunk(self) -> None:
        if self.transport is None:
            return
        if self.paused:
            self.waiting = True
            return
        self.transport.write(self.chunks[self.position])
        self.position += 1
        if self.position == len(self.chunks):
            self.chunks = []
            self.data_received(b"")
        elif self.shape.delay:
            self.loop.call_later(self.shape.delay, self.next_chunk)
        else:
            self.loop.call_soon(self.next_chunk)

    def operate(self, path: str) -> None:
        what, _, query = path.partition("?")
        if what == "/bench/set":
            wanted = dict(parse_qsl(query))
            self.shape.set(int(wanted.get("chunks", 200)), float(wanted.get("delay", 0)))
        self.transport.write(_whole(b"200 OK", self.shape.last.decode() if what == "/bench/last" else {}))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    shape = Shape()
    server = await loop.create_server(lambda: Upstream(loop, shape), "127.0.0.1", 0, backlog=4096)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(_main())
