"""Short ways for these tests to speak the dialect: JSON values in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from providers.canonical.chat import ChatRequest, ChatResponse, Message, Text
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects.ollama import Ollama
from tests.corpus import cases

OLLAMA = Ollama()
HI = [{"role": "user", "content": "Hi"}]
USER = (Message(role="user", parts=(Text(text="Hi", at="messages[0].content"),), at="messages[0]"),)
AT = "2026-08-07T06:08:09.335586Z"
PIXEL = "iVBORw0KGgo="


def ask(body: Any = None, /, task: str = "chat", **fields: Any) -> Asked:
    """A caller's request, read. Without a body: one message, and the fields."""
    body = {"model": "m", "messages": HI, **fields} if body is None else body
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OLLAMA.read(WireRequest(path="/ollama/api/{task}", body=data), {"task": task})


def decoded(body: Any = None, /, task: str = "chat", **fields: Any) -> ChatRequest:
    return OLLAMA.decode_request(ask(body, task, **fields))


def foreign(**fields: Any) -> ChatRequest:
    """A request that another dialect's caller wrote."""
    return ChatRequest(**{"dialect": "elsewhere", "model": "m", "messages": USER, **fields})


def written(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """The body that goes upstream, and the losses as `field=kind`."""
    losses: Losses = []
    body = json.loads(OLLAMA.encode_request(request, losses, traits).body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def answered(body: Any, status: int = 200, **headers: str) -> WireResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireResponse(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, body=data)


def told(response: ChatResponse, request: ChatRequest | None = None) -> tuple[dict[str, Any], list[str]]:
    """The body that goes to the caller, and the losses."""
    losses: Losses = []
    request = request or ChatRequest(dialect="ollama.chat", model="m", messages=USER)
    body = json.loads(OLLAMA.encode_response(response, request, losses).body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def line(text: Any = None, *, done: str | None = None, **message: Any) -> dict[str, Any]:
    """One line of an answer."""
    said = {"role": "assistant", "content": text if text is not None else "", **message}
    body: dict[str, Any] = {"model": "llama3.2", "created_at": AT, "message": said, "done": done is not None}
    return body | ({"done_reason": done, "prompt_eval_count": 26, "eval_count": 8} if done else {})


def ndjson(*lines: Any) -> bytes:
    return b"".join(
        one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in lines
    )


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """What the decoder makes of a stream, given `step` bytes at a time; in legal order."""
    decoder = OLLAMA.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    found += decoder.close()
    return check(found)


def stream_out(found: Iterable[StreamEvent], request: ChatRequest | None = None, losses: Losses | None = None) -> bytes:
    request = request or ChatRequest(dialect="ollama.chat", model="m", messages=USER, stream=True)
    encoder = OLLAMA.stream_encoder(request, [] if losses is None else losses)
    return b"".join([*map(encoder.feed, found), encoder.close()])


def lines_of(data: bytes) -> list[Any]:
    return [json.loads(one) for one in data.split(b"\n") if one]


def recorded() -> Iterator[tuple[str, dict[str, Any]]]:
    """The recorded calls of this dialect: (task, case)."""
    for case in cases("openai-compatible"):
        if case["provider"] == "ollama" and case["url_path"].startswith("/api/"):
            yield case["url_path"].rpartition("/")[2], case
