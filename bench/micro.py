"""What single steps of a call cost in each dialect: python -m bench.micro

A request of 5.4 kB, its answer, and a stream of 200 chunks, through every function of the dialect contract that a call
passes. The first row is the least that the work can cost in this shape: JSON to dicts to frozen msgspec.Structs to
dicts to JSON, without a single check; the others are to be read against it. CPU time, medians of repeated rounds.
"""

from __future__ import annotations

import sys
import time
import timeit
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from providers.canonical.chat import ChatRequest, ChatResponse  # noqa: E402
from providers.canonical.stream import StreamEvent  # noqa: E402
from providers.dialect import Asked, Dialect, WireRequest, WireResponse  # noqa: E402
from providers.dialects import DIALECTS  # noqa: E402

CHUNKS = 200
WORDS = ("The gateway forwards what it is given, and says what it could not carry across. " * 8)[:600]
ORIGIN = "openai.chat"  # the samples below are written in this dialect, and translated for the others

REQUEST = {
    "model": "some-model",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        *({"role": role, "content": WORDS} for _ in range(3) for role in ("user", "assistant")),
        {"role": "user", "content": WORDS},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": "Looks something up.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "place": {"type": "string", "description": "where"},
                        "days": {"type": "integer", "minimum": 1},
                    },
                    "required": ["place"],
                },
            },
        }
        for name in ("get_weather", "get_forecast", "get_history")
    ],
    "temperature": 0.7,
    "max_tokens": 256,
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "some-model",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": WORDS}, "logprobs": None, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1200, "completion_tokens": 150, "total_tokens": 1350},
}


def _chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "some-model"}
    return {**head, "choices": [choice]}


def stream() -> bytes:
    """A stream of the origin dialect: CHUNKS pieces of text, the end, `[DONE]`."""
    first = {"role": "assistant", "content": "tok0 "}
    chunks = [_chunk(first if i == 0 else {"content": f"tok{i} "}) for i in range(CHUNKS)]
    events = [msgspec.json.encode(chunk) for chunk in (*chunks, _chunk({}, "stop"))]
    return b"".join(b"data: %s\n\n" % event for event in (*events, b"[DONE]"))


# ── the least it can cost ──────────────────────────────────────────────────────────────


class _Text(msgspec.Struct, frozen=True, kw_only=True):
    text: str


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    parts: tuple[_Text, ...]


class _Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str | None
    parameters: dict[str, Any]


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    messages: tuple[_Message, ...]
    tools: tuple[_Tool, ...]
    temperature: float | None
    most: int | None


def bare_request(data: bytes) -> bytes:
    """A chat request of the origin dialect as a request of another shape, by way of frozen Structs."""
    body = msgspec.json.decode(data)
    request = _Request(
        model=body["model"],
        messages=tuple(_Message(role=m["role"], parts=(_Text(text=m["content"]),)) for m in body["messages"]),
        tools=tuple(
            _Tool(name=f["name"], description=f.get("description"), parameters=f["parameters"])
            for f in (tool["function"] for tool in body["tools"])
        ),
        temperature=body.get("temperature"),
        most=body.get("max_tokens"),
    )
    contents = [{"role": m.role, "parts": [{"text": p.text} for p in m.parts]} for m in request.messages]
    tools = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in request.tools]
    settings = {"temperature": request.temperature, "maxOutputTokens": request.most}
    return msgspec.json.encode({"contents": contents, "tools": tools, "generationConfig": settings})


def bare_chunk(data: bytes) -> bytes:
    """A text chunk of one dialect as one of another: dict, Struct, a template of bytes around the text."""
    delta = _Text(text=msgspec.json.decode(data)["choices"][0]["delta"]["content"])
    return b'data: {"candidates":[{"content":{"parts":[{"text":' + msgspec.json.encode(delta.text) + b"}]}}]}\n\n"


# ── measuring ──────────────────────────────────────────────────────────────────────────


def cost(step: Callable[[], object], per: int = 1) -> float:
    """Median CPU µs of the step, or of one of the `per` things it does."""
    timer = timeit.Timer(step, timer=time.process_time)
    number, _ = timer.autorange(lambda number, taken: None)
    number = max(1, number // 8)  # autorange takes 0.2 s
    return median(timer.repeat(9, number)) / number / per * 1e6


class Samples:
    """What a call carries, in canonical form."""

    def __init__(self) -> None:
        origin = DIALECTS[ORIGIN]
        self.body = msgspec.json.encode(REQUEST)
        asked = origin.read(WireRequest(path="/chat/completions", body=self.body), {})
        self.request: ChatRequest = origin.decode_request(asked)
        streamed = msgspec.json.encode({**REQUEST, "stream": True})
        asked = origin.read(WireRequest(path="/chat/completions", body=streamed), {})
        self.streamed: ChatRequest = origin.decode_request(asked)
        answer = WireResponse(status=200, body=msgspec.json.encode(ANSWER))
        self.response: ChatResponse = origin.decode_response(answer)
        decoder = origin.stream_decoder()
        self.events: list[StreamEvent] = [*decoder.feed(stream()), *decoder.close()]


class Steps:
    """One dialect's share of a call."""

    def __init__(self, dialect: Dialect, samples: Samples) -> None:
        self.dialect = dialect
        self.samples = samples
        wire = dialect.encode_request(samples.request, [])
        self.wire = WireRequest(path=wire.path, query=wire.query, body=wire.body)
        self.asked = self.read()
        self.answer = dialect.encode_response(samples.response, samples.request, [])
        wire = dialect.encode_request(samples.streamed, [])
        wire = WireRequest(path=wire.path, query=wire.query, body=wire.body)
        self.stream_asked = dialect.read(wire, {"model": samples.streamed.model, "task": "streamGenerateContent"})
        self.streamed = dialect.decode_request(self.stream_asked)
        self.stream = self.encode_stream()

    def read(self) -> Asked:
        return self.dialect.read(self.wire, {"model": self.samples.request.model, "task": "generateContent"})

    def decode_stream(self) -> list[StreamEvent]:
        decoder = self.dialect.stream_decoder()
        return [*decoder.feed(self.stream), *decoder.close()]

    def encode_stream(self) -> bytes:
        encoder = self.dialect.stream_encoder(self.streamed, [])
        return b"".join([encoder.feed(event) for event in self.samples.events]) + encoder.close()

    def relay_stream(self) -> bytes:
        relay = self.dialect.stream_relay(self.stream_asked)
        return relay.feed(self.stream) + relay.close()

    def all(self) -> Iterable[tuple[str, float]]:
        dialect, samples = self.dialect, self.samples
        yield "read", cost(self.read)
        yield "decode_request", cost(lambda: dialect.decode_request(self.asked))
        yield "encode_request", cost(lambda: dialect.encode_request(samples.request, []))
        yield "relay_request", cost(lambda: dialect.relay_request(self.asked, "other-model", []))
        yield "decode_response", cost(lambda: dialect.decode_response(self.answer))
        yield "encode_response", cost(lambda: dialect.encode_response(samples.response, samples.request, []))
        yield "relay_response", cost(lambda: dialect.relay_response(self.answer, self.asked))
        yield "stream decode, per chunk", cost(self.decode_stream, CHUNKS)
        yield "stream encode, per chunk", cost(self.encode_stream, CHUNKS)
        yield "stream relay, per chunk", cost(self.relay_stream, CHUNKS)


def main() -> int:
    samples = Samples()
    least = cost(lambda: bare_request(samples.body))
    chunk = msgspec.json.encode(_chunk({"content": "tok1 "}))
    least_chunk = cost(lambda: bare_chunk(chunk))
    print(f"A request of {len(samples.body)} bytes, its answer, a stream of {CHUNKS} chunks; CPU µs, medians.\n")
    print(f"{'the least: request there, through frozen Structs':52}{least:8.2f} µs")
    print(f"{'the least: chunk there, through a frozen Struct':52}{least_chunk:8.2f} µs")
    found: dict[tuple[str, str], float] = {}
    for name, dialect in DIALECTS.items():
        for step, value in Steps(dialect, samples).all():
            found[name, step] = value
            compared = value / (least_chunk if "chunk" in step else least)
            print(f"{name + ' ' + step:52}{value:8.2f} µs  {compared:5.2f} × the least")
    for caller in DIALECTS:
        for upstream in DIALECTS:
            if caller != upstream:
                there = sum((found[caller, "read"], found[caller, "decode_request"], found[upstream, "encode_request"]))
                piece = found[upstream, "stream decode, per chunk"] + found[caller, "stream encode, per chunk"]
                print(f"{f'{caller} → {upstream}: request there':52}{there:8.2f} µs  {there / least:5.2f} × the least")
                print(
                    f"{f'{caller} → {upstream}: chunk back':52}{piece:8.2f} µs  {piece / least_chunk:5.2f} × the least"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
