"""What translating costs, without a network: python -m bench.micro [--quick] [--steps]

A request of 5.3 kB, its answer and a stream of 200 chunks of text, through the codecs of every pair of dialects: the
request read, decoded and encoded for the upstream; a chunk decoded and encoded for the caller; the same of a whole
answer. Each is held against the least that the work can cost in this shape: JSON to dicts to frozen msgspec.Structs
(the canonical types, with the place of each value and what is left of it) to dicts to JSON, without a single check,
measured in the same rounds; a body in which only the model is another is measured beside them, to compare machines by.
CPU time, the best of many short rounds, each begun warm: whatever else the machine does only ever adds. As in a
conversation that goes on, the tools are those of the call before.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from providers.canonical.chat import ChatRequest, ChatResponse, Message, Text, Tool  # noqa: E402
from providers.canonical.stream import StreamEvent  # noqa: E402
from providers.dialect import Asked, Dialect, WireRequest, WireResponse  # noqa: E402
from providers.dialects import DIALECTS  # noqa: E402
from providers.dialects.upstream_only import UpstreamOnly  # noqa: E402
from providers.wire.eventstream import encode_frame  # noqa: E402

Json: TypeAlias = Any

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


def _bare_message(raw: Json, at: str) -> Message:
    rest = dict(raw)
    text = Text(text=rest.pop("content"), at=f"{at}.content")
    return Message(role=rest.pop("role"), parts=(text,), extra=rest or None, at=at)


def _bare_tool(raw: Json, at: str) -> Tool:
    rest = dict(raw["function"])
    name, description, parameters = rest.pop("name"), rest.pop("description", None), rest.pop("parameters", None)
    return Tool(name=name, description=description, parameters=parameters, extra=rest or None, at=f"{at}.function")


def bare_request(data: bytes) -> bytes:
    """A chat request of the origin dialect as one of Anthropic's, by way of the canonical types: frozen Structs that
    keep where each value stood and what of it was not taken."""
    rest = msgspec.json.decode(data)
    request = ChatRequest(
        dialect=ORIGIN,
        model=rest.pop("model"),
        messages=tuple(_bare_message(raw, f"messages[{i}]") for i, raw in enumerate(rest.pop("messages"))),
        tools=tuple(_bare_tool(raw, f"tools[{i}]") for i, raw in enumerate(rest.pop("tools", ()))),
        temperature=rest.pop("temperature", None),
        max_output_tokens=rest.pop("max_tokens", None),
        extra=rest or None,
    )
    system: list[Json] = []
    turns: list[Json] = []
    for message in request.messages:
        blocks = [{"type": "text", "text": part.text} for part in message.parts if type(part) is Text]
        if message.role == "system":
            system += blocks
        else:
            turns.append({"role": message.role, "content": blocks})
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
        for tool in request.tools
        if type(tool) is Tool
    ]
    return msgspec.json.encode(
        {
            "model": request.model,
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "system": system,
            "messages": turns,
            "tools": tools,
        }
    )


def bare_chunk(data: bytes) -> bytes:
    """A text chunk of one dialect as one of another: dict, Struct, a template of bytes around the text."""
    delta = _Text(text=msgspec.json.decode(data)["choices"][0]["delta"]["content"])
    return b'data: {"candidates":[{"content":{"parts":[{"text":' + msgspec.json.encode(delta.text) + b"}]}}]}\n\n"


_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def bare_relay(data: bytes) -> bytes:
    """The same body with another model: what the machine is compared by."""
    fields: Json = _raw_fields(data)
    fields["model"] = "other-model"
    return msgspec.json.encode(fields)


# ── dialects in which nobody can ask: their answers, by hand ───────────────────────────


def _cohere() -> tuple[bytes, bytes]:
    """An answer and a stream of cohere.chat."""
    counts = {"billed_units": {"input_tokens": 1200, "output_tokens": 150}}
    usage = {**counts, "tokens": {"input_tokens": 1200, "output_tokens": 150}}
    message = {"role": "assistant", "content": [{"type": "text", "text": WORDS}]}
    answer = {"id": "c14c80c3", "finish_reason": "COMPLETE", "message": message, "usage": usage}

    def said(kind: str, content: Json = None) -> Json:
        return {"type": kind, "index": 0, "delta": {"message": {"content": content}}}

    events = [
        {"id": "c14c80c3", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}},
        said("content-start", {"type": "text", "text": ""}),
        *(said("content-delta", {"text": f"tok{i} "}) for i in range(CHUNKS)),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    named = [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events]
    return msgspec.json.encode(answer), b"".join(named)


def _bedrock() -> tuple[bytes, bytes]:
    """An answer and a stream of bedrock.converse."""
    usage = {"inputTokens": 1200, "outputTokens": 150, "totalTokens": 1350}
    message = {"role": "assistant", "content": [{"text": WORDS}]}
    answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 900}}
    events: list[tuple[str, Json]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": f"tok{i} "}}) for i in range(CHUNKS)),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 900}}),
    ]
    about = {":content-type": "application/json", ":message-type": "event"}
    frames = [encode_frame({":event-type": kind, **about}, msgspec.json.encode(body)) for kind, body in events]
    return msgspec.json.encode(answer), b"".join(frames)


#: What the sample cannot be sent to.
WITHOUT_TOOLS = ("alchemyst.chat",)
BY_HAND = {"cohere.chat": _cohere, "bedrock.converse": _bedrock}


# ── one dialect ────────────────────────────────────────────────────────────────────────


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


class Upstream:
    """A dialect on the side where it is asked."""

    def __init__(self, dialect: Dialect, caller: Caller | None) -> None:
        """`caller`: the same dialect on the other side, where it has one; its answers are what is read here."""
        self.dialect = dialect
        if caller is not None:
            self.answer, self.stream = caller.answer, caller.stream
        else:
            body, self.stream = BY_HAND[dialect.name]()
            self.answer = WireResponse(status=200, body=body)

    def decode_stream(self) -> list[StreamEvent]:
        decoder = self.dialect.stream_decoder()
        return [*decoder.feed(self.stream), *decoder.close()]

    def steps(self) -> Iterator[Step]:
        name = self.dialect.name
        yield Step(f"{name} decode_response", lambda: self.dialect.decode_response(self.answer))
        yield Step(f"{name} stream decode, per chunk", self.decode_stream, CHUNKS)


class Caller:
    """A dialect on the side where it asks."""

    def __init__(self, dialect: Dialect, samples: Samples) -> None:
        self.dialect = dialect
        self.samples = samples
        self.wire = self._wire(samples.request)
        self.asked = self.read()
        self.request = dialect.decode_request(self.asked)
        self.stream_asked = dialect.read(self._wire(samples.streamed), self._params("streamGenerateContent"))
        self.streamed = dialect.decode_request(self.stream_asked)
        self.stream = self.encode_stream(samples.events)
        self.answer = dialect.encode_response(samples.response, samples.request, [])

    def _wire(self, request: ChatRequest) -> WireRequest:
        wire = self.dialect.encode_request(request, [])
        return WireRequest(path=wire.path, query=wire.query, body=wire.body)

    def read(self) -> Asked:
        return self.dialect.read(self.wire, self._params("generateContent"))

    def _params(self, task: str) -> dict[str, str]:
        """What Gemini's callers write into the path; elsewhere the body says it."""
        return {"model": self.samples.request.model, "task": task} if self.dialect.name == "gemini" else {}

    def encode_stream(self, events: Iterable[StreamEvent]) -> bytes:
        encoder = self.dialect.stream_encoder(self.streamed, [])
        return b"".join(map(encoder.feed, events)) + encoder.close()

    def relay_stream(self) -> bytes:
        relay = self.dialect.stream_relay(self.stream_asked)
        return relay.feed(self.stream) + relay.close()

    def steps(self) -> Iterator[Step]:
        dialect, samples = self.dialect, self.samples
        name = dialect.name
        yield Step(f"{name} read", self.read)
        yield Step(f"{name} decode_request", lambda: dialect.decode_request(self.asked))
        yield Step(f"{name} relay_request", lambda: dialect.relay_request(self.asked, "other-model", []))
        yield Step(f"{name} encode_response", lambda: dialect.encode_response(samples.response, self.request, []))
        yield Step(f"{name} relay_response", lambda: dialect.relay_response(self.answer, self.asked))
        yield Step(f"{name} stream encode, per chunk", lambda: self.encode_stream(samples.events), CHUNKS)
        yield Step(f"{name} stream relay, per chunk", self.relay_stream, CHUNKS)


# ── measuring ──────────────────────────────────────────────────────────────────────────

SAMPLE = 0.0007  # seconds of one: short, so that some of many are not disturbed
ROUNDS = 100
WARM = 8  # runs before a round
MOST_REQUEST = 2.0  # × the least: what a translated request may cost
MOST_CHUNK = 2.5  # and a chunk of a translated stream


@dataclass
class Step:
    """Something to be measured, and the best time so far: CPU µs of one of the `per` things that it does."""

    name: str
    run: Callable[[], object]
    per: int = 1
    best: float = float("inf")

    def __post_init__(self) -> None:
        self._timer = timeit.Timer(self.run, timer=time.process_time)
        once = min(self._timer.repeat(3, 1))
        self._number = max(1, int(SAMPLE / max(once, 1e-6)))

    def measure(self) -> None:
        """One round, begun when caches know the code again: the others came in between."""
        self._timer.timeit(WARM)
        self.best = min(self.best, self._timer.timeit(self._number) / self._number / self.per * 1e6)


@dataclass
class Pair:
    """What one ordered pair of dialects costs."""

    caller: Caller
    upstream: Upstream

    def __post_init__(self) -> None:
        self.title = f"{self.caller.dialect.name} → {self.upstream.dialect.name}"
        self.request = Step(f"{self.title} request", self._there)
        self.chunk = Step(f"{self.title} chunk", self._stream_back, CHUNKS)
        self.answer = Step(f"{self.title} answer", self._back)
        if b"tok199 " not in self._stream_back() or WORDS[-40:].encode() not in self._back():
            raise SystemExit(f"{self.title}: the answer did not come across")

    def _there(self) -> bytes:
        request = self.caller.dialect.decode_request(self.caller.read())
        return self.upstream.dialect.encode_request(request, []).body

    def _stream_back(self) -> bytes:
        return self.caller.encode_stream(self.upstream.decode_stream())

    def _back(self) -> bytes:
        response = self.upstream.dialect.decode_response(self.upstream.answer)
        return self.caller.dialect.encode_response(response, self.caller.request, []).body


@dataclass(frozen=True)
class Cost:
    """A figure beside the least. `limit` is a multiple of it; None: there is no limit."""

    title: str
    what: str  # request, chunk, answer
    value: float
    least: float
    limit: float | None = None

    @property
    def ratio(self) -> float:
        return self.value / self.least

    @property
    def verdict(self) -> str:
        return "" if self.limit is None else "OVER" if self.ratio > self.limit else "ok"


def sides() -> tuple[Samples, list[Caller], list[Upstream]]:
    """The dialects that can hold a chat with tools, on either side."""
    samples = Samples()
    chats = [one for one in DIALECTS.values() if "chat" in one.operations and one.name not in WITHOUT_TOOLS]
    callers = [Caller(dialect, samples) for dialect in chats if not isinstance(dialect, UpstreamOnly)]
    same = {caller.dialect.name: caller for caller in callers}
    return samples, callers, [Upstream(dialect, same.get(dialect.name)) for dialect in chats]


def relayed(samples: Samples) -> Step:
    return Step("another model in the same body", lambda: bare_relay(samples.body))


def least(samples: Samples) -> tuple[Step, Step]:
    """The yardsticks: a request, a chunk."""
    chunk = msgspec.json.encode(_chunk({"content": "tok1 "}))
    return (
        Step("the least: a request, through frozen Structs", lambda: bare_request(samples.body)),
        Step("the least: a chunk, through a frozen Struct", lambda: bare_chunk(chunk)),
    )


def measure(steps: Iterable[Step], rounds: int) -> None:
    """All of them in turn, again and again, the yardsticks no more often than the others."""
    steps = list(steps)
    for _ in range(rounds):
        for step in steps:
            step.measure()


def pairs(rounds: int) -> list[Cost]:
    """Request, chunk and answer of every ordered pair."""
    samples, callers, upstreams = sides()
    request, chunk = least(samples)
    found = [Pair(a, b) for a in callers for b in upstreams if a.dialect is not b.dialect]
    measure([request, chunk, *(step for pair in found for step in (pair.request, pair.chunk, pair.answer))], rounds)
    return [
        cost
        for pair in found
        for cost in (
            Cost(pair.title, "request", pair.request.best, request.best, MOST_REQUEST),
            Cost(pair.title, "chunk", pair.chunk.best, chunk.best, MOST_CHUNK),
            Cost(pair.title, "answer", pair.answer.best, request.best),
        )
    ]


def show_steps(rounds: int) -> None:
    """What each dialect's share of a call costs."""
    samples, callers, upstreams = sides()
    request, chunk = least(samples)
    steps = [step for caller in callers for step in caller.steps()]
    steps += [step for upstream in upstreams for step in upstream.steps()]
    for a, b in [(a, b) for a in callers for b in upstreams if b.dialect is not a.dialect]:
        run = lambda a=a, b=b: b.dialect.encode_request(a.request, [])  # noqa: E731  # one of many
        steps.append(Step(f"{b.dialect.name} encode_request from {a.dialect.name}", run))
    relay = relayed(samples)
    measure([request, chunk, relay, *steps], rounds)
    for step in (request, chunk, relay, *sorted(steps, key=lambda step: step.name)):
        compared = step.best / (chunk if "chunk" in step.name else request).best
        print(f"{step.name:64}{step.best:8.2f} µs {compared:6.2f} × the least")


def show(costs: Iterable[Cost]) -> None:
    """A line for each pair: request, chunk, answer."""
    lines: dict[str, list[str]] = {}
    for cost in costs:
        cell = f"{cost.value:7.2f} µs {cost.ratio:5.2f} × {cost.verdict:4}"
        lines.setdefault(cost.title, []).append(cell)
    head = (f"request (≤ {MOST_REQUEST:g} ×)", f"chunk (≤ {MOST_CHUNK:g} ×)", "answer")
    print(f"{'caller → upstream':40}{''.join(f'{word:>24}' for word in head)}")
    for title, cells in lines.items():
        print(f"{title:40}{''.join(f'{cell:>24}' for cell in cells)}".rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    parser.add_argument("--steps", action="store_true", help="each dialect's share of a call, instead of whole pairs")
    options = parser.parse_args()
    rounds = ROUNDS // 3 if options.quick else ROUNDS
    if options.steps:
        show_steps(rounds)
        return 0
    costs = pairs(rounds)
    one = {cost.what: cost.least for cost in costs}
    print(f"The least: a request {one['request']:.2f} µs, a chunk {one['chunk']:.2f} µs. CPU time, best of rounds.")
    show(costs)
    return 1 if any(cost.verdict == "OVER" for cost in costs) else 0


if __name__ == "__main__":
    sys.exit(main())
