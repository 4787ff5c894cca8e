"""What the tests of the Anthropic dialect share: short ways to read, decode and encode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Choice, Finish, Message, Text, ToolCall, ToolResult
from providers.canonical.loss import Losses, in_callers_words
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.anthropic import Anthropic
from tests.corpus import cases, schema

ANTHROPIC = Anthropic()
CHAT = DIALECTS["openai.chat"]
GEMINI = DIALECTS["gemini"]
Json = Any

MODEL = "claude-haiku-4-5"
HI: Json = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Json = {"name": "get_weather", "description": "Weather of a city", "input_schema": SCHEMA}


# ── requests ───────────────────────────────────────────────────────────────────────────


def asked(body: Json, path: str = "/v1/messages", **headers: str) -> Asked:
    """A request of an Anthropic caller, read; headers with _ for -."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ANTHROPIC.read(WireRequest(path=path, headers=named, body=data), {})


def decoded(body: Json, **more: Any) -> ChatRequest:
    return ANTHROPIC.decode_request(asked({**HI, **body}, **more))


def again(body: Json, path: str = "/v1/messages") -> Json:
    """The body after decoding and encoding in this dialect; nothing may be lost on the way."""
    losses: Losses = []
    wire = ANTHROPIC.encode_request(ANTHROPIC.decode_request(asked(body, path)), losses)
    assert [] == losses
    return json.loads(wire.body)


def block_of(block: Json, role: str = "user") -> Any:
    """The part that one block of a message becomes."""
    return decoded({"messages": [{"role": role, "content": [block]}]}).messages[0].parts[0]


def request(*messages: Message, model: str = MODEL, **fields: Any) -> ChatRequest:
    """A request of a caller of another dialect."""
    fields.setdefault("max_output_tokens", 50)
    return ChatRequest(dialect="openai.chat", model=model, messages=messages or (user("Hi"),), **fields)


def user(text: str = "Hi", *parts: Any, at: str = "messages[0]", **fields: Any) -> Message:
    return Message(role="user", parts=parts or (Text(text=text, at=f"{at}.content"),), at=at, **fields)


def assistant(*parts: Any, at: str = "messages[1]") -> Message:
    return Message(role="assistant", parts=parts, at=at)


def call(name: str = "look", arguments: str = "{}", id: str = "call_1", **fields: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments, at="messages[1].tool_calls[0]", **fields)


def result(text: str = "seen", call_id: str = "call_1", at: str = "messages[2]", **fields: Any) -> Message:
    fields.setdefault("parts", (Text(text=text),))
    return Message(role="tool", parts=(ToolResult(call_id=call_id, at=at, **fields),), at=at)


def sent(one: ChatRequest, losses: Losses | None = None, traits: Traits = PLAIN) -> Json:
    """The body that an upstream gets, checked against the closed schema of requests."""
    body = json.loads(ANTHROPIC.encode_request(one, [] if losses is None else losses, traits).body)
    schema("anthropic.messages.request", "CountTokensRequest" if one.count else "MessagesRequest").validate(body)
    return body


def lost(one: ChatRequest, traits: Traits = PLAIN) -> list[str]:
    """The losses of a request as `kind field`."""
    losses: Losses = []
    sent(one, losses, traits)
    return [f"{loss.kind} {loss.field}" for loss in losses]


def named(one: ChatRequest, losses: Losses, paths: Mapping[str, str]) -> set[str]:
    return {f"{loss.kind} {loss.field}" for loss in in_callers_words(losses, one, paths)}


# ── answers ────────────────────────────────────────────────────────────────────────────


def message(*content: Json, **fields: Json) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 3},
        **fields,
    }


def answer(body: Json) -> ChatResponse:
    return ANTHROPIC.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))


def foreign(*parts: Any, finish: str = "stop", **fields: Any) -> ChatResponse:
    """An answer of another dialect's upstream."""
    choice = Choice(parts=parts, finish=Finish(reason=finish))  # type: ignore[arg-type]
    return ChatResponse(dialect="openai.chat", id="x", model="m", choices=(choice,), **fields)


def told(response: ChatResponse, losses: Losses | None = None) -> Json:
    """The answer that an Anthropic caller gets, checked against the schema of answers."""
    wire = ANTHROPIC.encode_response(response, request(), [] if losses is None else losses)
    body = json.loads(wire.body)
    schema("anthropic.messages.response", "Message").validate(body)
    return body


# ── streams ────────────────────────────────────────────────────────────────────────────


def sse(*payloads: Json) -> bytes:
    """Events with their names, as the service sends them."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in payloads)


def begun(**fields: Json) -> Json:
    start = message(stop_reason=None, usage={"input_tokens": 9, "output_tokens": 1}, **fields)
    return {"type": "message_start", "message": start}


def opened(index: int, block: Json) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, **fields: Json) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def shut(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str = "end_turn", **usage: Json) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3, **usage}},
        {"type": "message_stop"},
    ]


def spoken_text(*texts: str, index: int = 0) -> list[Json]:
    pieces = [piece(index, "text_delta", text=text) for text in texts]
    return [opened(index, {"type": "text", "text": ""}), *pieces, shut(index)]


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """The events of a stream fed `step` bytes at a time (0: at once), checked against the grammar."""
    decoder = ANTHROPIC.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    return check([*found, *decoder.close()])


def written(stream: Sequence[StreamEvent], losses: Losses | None = None, **fields: Any) -> bytes:
    """The stream that an Anthropic caller gets."""
    encoder = ANTHROPIC.stream_encoder(request(stream=True, **fields), [] if losses is None else losses)
    return b"".join(encoder.feed(event) for event in stream) + encoder.close()


def payloads(data: bytes) -> list[Json]:
    """The payloads of a stream of ours: each valid, each under its own name, in the legal order."""
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        name, payload = event.split("\n")
        value = json.loads(payload.removeprefix("data: "))
        schema("anthropic.messages.response", "MessageStreamEvent").validate(value)
        assert name == f"event: {value['type']}"
        found.append(value)
    _check_order([one["type"] for one in found], [one.get("index") for one in found])
    return found


def _check_order(kinds: list[str], indexes: list[int | None]) -> None:
    """message_start, blocks one after the other, message_delta, message_stop (notes on streaming, section 3)."""
    assert ["message_start", "message_delta", "message_stop"] == [kinds[0], *kinds[-2:]]
    block, is_open = -1, False
    for kind, index in zip(kinds[1:-2], indexes[1:-2], strict=True):
        if kind == "content_block_start":
            assert not is_open
            block, is_open = block + 1, True
        else:
            assert is_open
            is_open = kind == "content_block_delta"
        assert block == index
    assert not is_open


# ── recorded calls ─────────────────────────────────────────────────────────────────────


def recorded() -> Iterator[dict[str, Json]]:
    """The recorded calls of this dialect; Vertex's callers name the model in the path."""
    for case in cases("anthropic"):
        if case["api"] in ("messages", "count-tokens"):
            yield case


def recorded_requests() -> Iterator[dict[str, Json]]:
    """Those whose request was recorded, too."""
    return (case for case in recorded() if isinstance(case["request_body"], dict))


def recorded_request(case: Mapping[str, Json]) -> Asked:
    path = "/v1/messages/count_tokens" if case["api"] == "count-tokens" else "/v1/messages"
    body = case["request_body"]
    return asked(body if "model" in body else {"model": "m", **body}, path)


def without(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)
