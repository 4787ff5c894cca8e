"""Short ways for these tests to speak to Cohere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from providers.canonical.chat import ChatRequest, Message, Text
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent, check
from providers.dialect import PLAIN, Traits, WireResponse
from providers.dialects.cohere import Cohere
from tests.corpus import cases, schema

COHERE = Cohere()
HI = [{"role": "user", "content": "Hi"}]
USER = (Message(role="user", parts=(Text(text="Hi", at="messages[0].content"),), at="messages[0]"),)
CLOSED = schema("cohere.v2.request", "V2ChatRequest")


def asked(**fields: Any) -> ChatRequest:
    """A request that a caller of another dialect wrote."""
    return ChatRequest(**{"dialect": "elsewhere", "model": "command-a-03-2025", "messages": USER, **fields})


def sent(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """What goes upstream, which fits the closed schema, and the losses as `field=kind`."""
    losses: Losses = []
    body = json.loads(COHERE.encode_request(request, losses, traits).body)
    CLOSED.validate(body)
    return body, [f"{loss.field}={loss.kind}" for loss in losses]


def answered(body: Any, status: int = 200, **headers: str) -> WireResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireResponse(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, body=data)


def event(kind: str, *, index: int | None = None, message: Any = None, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"type": kind}
    if index is not None:
        body["index"] = index
    if message is not None:
        body["delta"] = {"message": message}
    return {**body, **more}


START = event("message-start", message={"role": "assistant", "content": []}, id="r1")
USAGE = {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 10, "output_tokens": 20}}


def text_event(text: str, index: int = 0) -> dict[str, Any]:
    return event("content-delta", index=index, message={"content": {"text": text}})


def end(reason: str = "COMPLETE", **delta: Any) -> dict[str, Any]:
    return event("message-end", delta={"finish_reason": reason, "usage": USAGE, **delta})


def sse(*events: Any) -> bytes:
    return b"".join(
        one if isinstance(one, bytes) else b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode())
        for one in events
    )


def events(data: bytes, step: int = 0) -> list[StreamEvent]:
    """What the decoder makes of a stream, given `step` bytes at a time; in legal order."""
    decoder = COHERE.stream_decoder()
    found: list[StreamEvent] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += decoder.feed(data[start : start + (step or len(data))])
    found += decoder.close()
    return check(found)


def recorded() -> Iterator[dict[str, Any]]:
    """The recorded calls of this dialect."""
    return (case for case in cases("cohere") if case["api"] == "chat-v2")
