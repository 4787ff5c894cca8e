"""Short ways for these tests to speak the dialect: JSON values in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Choice, Finish
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects.openai_responses import OpenAIResponses
from tests.corpus import cases, schema

RESPONSES = OpenAIResponses()
NAME = "openai.responses"
FILES = ("openai-responses", "openai-compatible-responses")
ANSWER = schema("openai.responses.response", "Response")
EVENT = schema("openai.responses.response", "ResponseStreamEvent")
SENT = schema("openai.responses.request", "ResponsesRequest")


def ask(body: Any = None, /, **fields: Any) -> Asked:
    """A caller's request, read. Without a body: one message, and the fields."""
    body = {"model": "m", "input": "Hi", **fields} if body is None else body
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RESPONSES.read(WireRequest(path="/v1/responses", body=data), {})


def decoded(body: Any = None, /, **fields: Any) -> ChatRequest:
    return RESPONSES.decode_request(ask(body, **fields))


def written(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """The body that goes upstream, and the losses as `field=kind`."""
    losses: Losses = []
    body = json.loads(RESPONSES.encode_request(request, losses, traits).body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def answered(body: Any, status: int = 200) -> WireResponse:
    return WireResponse(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def read(body: Any) -> ChatResponse:
    return RESPONSES.decode_response(answered(body))


def response(*output: Any, **more: Any) -> dict[str, Any]:
    """A whole answer of an upstream."""
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed"}
    head |= {"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "tools": []}
    head |= {"parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "top_p": 1.0}
    return {**head, "output": list(output), **more}


def message(*texts: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []} for text in texts]
    return {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": content,
        **more,
    }


def reasoning(*texts: str, sealed: str | None = "gAAA", **more: Any) -> dict[str, Any]:
    item = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in texts]}
    return item | ({"encrypted_content": sealed} if sealed else {}) | more


def call(**more: Any) -> dict[str, Any]:
    item = {"id": "fc_1", "type": "function_call", "status": "completed"}
    return {**item, "call_id": "call_1", "name": "f", "arguments": '{"a":1}', **more}


def foreign(*parts: Any, finish: Finish | None = None, **fields: Any) -> ChatResponse:
    """An answer that another dialect's upstream gave."""
    choice = Choice(parts=parts, finish=finish or Finish(reason="stop"))
    return ChatResponse(
        **{"dialect": "elsewhere", "id": "r1", "model": "m", "created": 1, "choices": (choice,), **fields}
    )


def told(answer: ChatResponse, request: ChatRequest | None = None) -> tuple[dict[str, Any], list[str]]:
    """The body that goes to the caller, which fits the schema, and the losses."""
    losses: Losses = []
    request = request or ChatRequest(dialect=NAME, model="m", messages=())
    body = json.loads(RESPONSES.encode_response(answer, request, losses).body)
    ANSWER.validate(body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


# ── streams ────────────────────────────────────────────────────────────────────────────


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def sse(*events: Any) -> bytes:
    """Events as a stream."""
    out = b""
    for one in events:
        name = one["type"].encode()
        out += b"event: " + name + b"\ndata: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n"
    return out


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """What the decoder makes of a stream, given `step` bytes at a time; in legal order."""
    decoder = RESPONSES.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    found += decoder.close()
    return check(found)


def stream_out(found: Iterable[StreamEvent], request: ChatRequest | None = None) -> tuple[bytes, list[str]]:
    """The stream that a caller gets, and the losses."""
    losses: Losses = []
    encoder = RESPONSES.stream_encoder(request or ChatRequest(dialect=NAME, model="m", messages=()), losses)
    data = b"".join([*map(encoder.feed, found), encoder.close()])
    return data, [f"{loss.field}={loss.kind}" for loss in losses]


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream of ours: each named by its type, numbered from 0, and as the schema says."""
    out: list[dict[str, Any]] = []
    for block in data.split(b"\n\n"):
        if block:
            name, line = block.split(b"\n")
            value = json.loads(line.removeprefix(b"data: "))
            assert name == b"event: " + value["type"].encode()
            assert len(out) == value["sequence_number"]
            out.append(value)
    return out


def valid(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for one in found:
        EVENT.validate(one)
    return found


# ── recorded ───────────────────────────────────────────────────────────────────────────


def recorded(*files: str) -> Iterator[dict[str, Any]]:
    """The recorded calls of this dialect."""
    for file in files or FILES:
        for case in cases(file):
            if case["api"] == "responses":
                yield case


def meaning(value: Any) -> Any:
    """A canonical value without spellings and places, and without what only this dialect's own callers read."""
    if isinstance(value, msgspec.Struct):
        fields = {name: meaning(getattr(value, name)) for name in value.__struct_fields__}
        return {"is": type(value).__name__, **{k: v for k, v in fields.items() if k not in ("form", "at")}}
    if isinstance(value, list | tuple):
        return [meaning(one) for one in value]
    if isinstance(value, dict):
        return {key: meaning(one) for key, one in value.items()}
    return value
