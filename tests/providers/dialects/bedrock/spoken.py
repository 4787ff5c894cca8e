"""Small requests and answers for the tests of this dialect, and botocore's own model as the oracle."""

from __future__ import annotations

import json
from base64 import b64decode
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from providers.canonical.chat import ChatRequest, Message, Text
from providers.canonical.loss import Loss
from providers.dialect import Traits, WireResponse
from providers.dialects import DIALECTS
from providers.wire.eventstream import encode_frame
from tests import corpus

Json = Any

BEDROCK = DIALECTS["bedrock.converse"]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HI = Message(role="user", parts=(Text(text="Hi"),))


@cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


def request(*messages: Message, **more: Json) -> ChatRequest:
    return ChatRequest(dialect="test", **{"model": CLAUDE, "messages": messages or (HI,), **more})


def sent(request_: ChatRequest, losses: list[Loss] | None = None, traits: Traits | None = None) -> Json:
    """The body that goes out. It is valid: by the schema, and by the validator of botocore."""
    wire = BEDROCK.encode_request(request_, [] if losses is None else losses, traits or Traits())
    body = json.loads(wire.body)
    corpus.schema("bedrock.converse.request", "ConverseRequest").validate(body)
    name = "ConverseStream" if request_.stream else "Converse"
    shape = service().operation_model(name).input_shape
    report = ParamValidator().validate({"modelId": request_.model, **_as_parameters(body)}, shape)
    assert not report.has_errors(), report.generate_report()
    return body


def _as_parameters(value: Json, key: str = "") -> Json:
    """A body as botocore's callers write it: bytes where the wire has base64."""
    if key in ("bytes", "redactedContent"):
        return b64decode(value)
    if isinstance(value, dict):
        return {name: _as_parameters(one, name) for name, one in value.items()}
    return [_as_parameters(one) for one in value] if isinstance(value, list) else value


def answered(body: Json, status: int = 200, **headers: str) -> WireResponse:
    return WireResponse(status=status, headers=headers, body=json.dumps(body).encode())


def answer(*content: Json, stop: str = "end_turn", **more: Json) -> WireResponse:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    message = {"role": "assistant", "content": list(content)}
    return answered({"output": {"message": message}, "stopReason": stop, "usage": usage, **more})


def frame(kind: str, payload: Json) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, json.dumps(payload).encode())


def delta(index: int, **told: Json) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": told})


def start(index: int, **told: Json) -> bytes:
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": told})


def stop(index: int) -> bytes:
    return frame("contentBlockStop", {"contentBlockIndex": index})


BEGIN = frame("messageStart", {"role": "assistant"})
METADATA = frame(
    "metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 7}}
)


def end(word: str = "end_turn") -> bytes:
    return frame("messageStop", {"stopReason": word}) + METADATA
