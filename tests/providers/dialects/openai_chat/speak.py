"""Short ways for these tests to speak the dialect: JSON values in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects.openai_chat import OpenAIChat
from tests.corpus import cases

CHAT = OpenAIChat()
HI = [{"role": "user", "content": "Hi"}]


def ask(body: Any = None, /, **fields: Any) -> Asked:
    """A caller's request, read. Without a body: one message, and the fields."""
    body = {"model": "m", "messages": HI, **fields} if body is None else body
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CHAT.read(WireRequest(path="/v1/chat/completions", body=data), {})


def decoded(body: Any = None, /, **fields: Any) -> ChatRequest:
    return CHAT.decode_request(ask(body, **fields))


def written(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """The body that goes upstream, and the losses as `field=kind`."""
    losses: Losses = []
    body = json.loads(CHAT.encode_request(request, losses, traits).body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def answered(body: Any, status: int = 200, **headers: str) -> WireResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireResponse(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, body=data)


def told(response: ChatResponse, request: ChatRequest | None = None) -> tuple[dict[str, Any], list[str]]:
    """The body that goes to the caller, and the losses."""
    losses: Losses = []
    request = request or ChatRequest(dialect="openai.chat", model="m", messages=())
    body = json.loads(CHAT.encode_response(response, request, losses).body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def sse(*chunks: Any, done: bool = True) -> bytes:
    """Chunks as an event stream."""
    texts = [chunk if isinstance(chunk, bytes) else json.dumps(chunk, ensure_ascii=False).encode() for chunk in chunks]
    lines = [b"data: " + text for text in texts]
    return b"".join(line + b"\n\n" for line in lines + ([b"data: [DONE]"] if done else []))


def chunk(delta: Any = None, finish: str | None = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice], **more}


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """What the decoder makes of a stream, given `step` bytes at a time; in legal order."""
    decoder = CHAT.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    found += decoder.close()
    return check(found)


def stream_out(found: Iterable[StreamEvent], request: ChatRequest | None = None) -> bytes:
    request = request or ChatRequest(dialect="openai.chat", model="m", messages=(), stream=True, include_usage=True)
    encoder = CHAT.stream_encoder(request, [])
    return b"".join([*map(encoder.feed, found), encoder.close()])


def chunks_of(data: bytes) -> list[Any]:
    """The chunks of an event stream as JSON values, without `[DONE]`."""
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def recorded(*files: str) -> Iterator[dict[str, Any]]:
    """The recorded calls of this dialect."""
    for file in files:
        for case in cases(file):
            if case["api"] == "chat" and case["url_path"].partition("?")[0].endswith("/chat/completions"):
                yield case


ALL = ("openai-chat", "openai-compatible", "groq", "mistral")


def as_asked(sent: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What was sent upstream, with the caller's own `stream_options`: the wish for usage may be ours."""
    out = {key: value for key, value in sent.items() if key != "stream_options"}
    return {**out, "stream_options": body["stream_options"]} if "stream_options" in body else out
