"""What the tests of the Gemini dialect share: short ways to read, decode and encode."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Message, Text, ToolCall, ToolResult
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects.gemini import Gemini
from tests.corpus import schema

GEMINI = Gemini()
Json = Any

HI: Json = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def asked(body: Json, task: str = "generateContent", model: str = "gemini-2.5-flash", **more: str) -> Asked:
    """A request of a Gemini caller, read. `alt=sse`, `$alt=sse` and further path parameters by name."""
    query = {key: more.pop(key) for key in ("alt", "$alt") if key in more}
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return GEMINI.read(WireRequest(path="/x", query=query, body=data), {"model": model, "task": task, **more})


def decoded(body: Json, **more: str) -> ChatRequest:
    return GEMINI.decode_request(asked(body, **more))


def recorded_request(case: Mapping[str, Json]) -> Asked:
    """The request of a recorded case."""
    found = re.search(r"/models/([^:]+):(\w+)", case["url_path"])
    assert found is not None
    alt = {"alt": "sse"} if "alt=sse" in case["url_path"] else {}
    return asked(case["request_body"], task=found[2], model=found[1], **alt)


def recorded_stream(case: Mapping[str, Json]) -> bytes:
    """The bytes of a recorded stream: SSE as it was, or the JSON array."""
    text = case.get("response_sse")
    return (text if text is not None else json.dumps(case["response_body"], indent=1)).encode()


def request(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> ChatRequest:
    """A request of a caller of another dialect."""
    return ChatRequest(dialect="openai.chat", model=model, messages=messages or (user("Hi"),), **fields)


def user(text: str, **fields: Any) -> Message:
    return Message(role="user", parts=(Text(text=text, at="messages[0].content"),), at="messages[0]", **fields)


def assistant(*parts: Any, at: str = "messages[1]") -> Message:
    return Message(role="assistant", parts=parts, at=at)


def call(name: str, arguments: str = "{}", id: str = "call_1", **fields: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments, at=f"messages[1].tool_calls[{id}]", **fields)


def result(text: str, call_id: str = "call_1", **fields: Any) -> Message:
    part = ToolResult(call_id=call_id, parts=(Text(text=text),), at="messages[2]", **fields)
    return Message(role="tool", parts=(part,), at="messages[2]")


def sent(one: ChatRequest, losses: Losses | None = None, traits: Traits = PLAIN) -> Json:
    """The body that an upstream gets, checked against the closed schema of requests."""
    wire = GEMINI.encode_request(one, [] if losses is None else losses, traits)
    body = json.loads(wire.body)
    entry = "CountTokensRequest" if one.count else "GenerateContentRequest"
    schema("gemini.v1beta.request", entry).validate(body)
    return body


def lost(one: ChatRequest, traits: Traits = PLAIN) -> list[str]:
    """The losses of a request as `kind field`."""
    losses: Losses = []
    sent(one, losses, traits)
    return [f"{loss.kind} {loss.field}" for loss in losses]


def answer(body: Json) -> ChatResponse:
    return GEMINI.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))


def told(response: ChatResponse, losses: Losses | None = None) -> Json:
    """The answer that a Gemini caller gets, checked against the schema of answers."""
    wire = GEMINI.encode_response(response, request(), [] if losses is None else losses)
    body = json.loads(wire.body)
    schema("gemini.v1beta.response", "GenerateContentResponse").validate(body)
    return body


def candidate(*parts: Json, **fields: Json) -> Json:
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0, **fields}


def sse(*chunks: Json) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """The events of a stream fed `step` bytes at a time (0: at once), checked against the grammar."""
    decoder = GEMINI.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    return check([*found, *decoder.close()])


def written(stream: Sequence[StreamEvent], alt: str = "sse", losses: Losses | None = None) -> bytes:
    """The stream that a Gemini caller gets."""
    caller = ChatRequest(dialect="gemini", model="m", messages=(), form={"alt": alt})
    encoder = GEMINI.stream_encoder(caller, [] if losses is None else losses)
    return b"".join(encoder.feed(event) for event in stream) + encoder.close()


def chunks(data: bytes) -> list[Json]:
    """The payloads of an SSE stream."""
    return [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n") if event]


def without(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)
