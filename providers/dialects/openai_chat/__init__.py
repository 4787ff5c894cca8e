"""OpenAI Chat Completions, spoken in both directions on either side of the gateway.

`check` reads a caller's request strictly, `request`, `messages`, `spoken` carry it to canonical and back, `response`
whole answers, `stream` and `stream_out` streams, `relay` taps the relay lane's; `details`: OpenRouter's thinking.
Facts: types of the package openai 3.51.0, the OpenAPI document of openai/openai-openapi, recorded traffic.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount, Usage
from providers.canonical.errors import RouterError, UpstreamError
from providers.canonical.loss import Losses
from providers.dialect import (
    PLAIN,
    Asked,
    Dialect,
    EmbeddingsCodec,
    StreamDecoder,
    StreamEncoder,
    StreamRelay,
    Traits,
    WireRequest,
    WireResponse,
)
from providers.dialects._openai import errors
from providers.wire.json import encode

from . import check, details, request, response
from .relay import ChatStreamRelay
from .stream import ChatStreamDecoder
from .stream_out import ChatStreamEncoder
from .words import FAMILY, NAME

_SEALS = {"extra_content": "gemini", "reasoning_details": details.ORIGIN}  # a row's own field: whose state stands in it


class OpenAIChat:
    """`POST {base_url}/chat/completions`."""

    name = NAME
    family = FAMILY
    auth = "bearer"
    id_header = "x-request-id"
    streams_json = False
    passes = frozenset({"openai-beta"})
    # With a key of ours these would choose whom of ours a call is charged to.
    passes_with_key = frozenset({"openai-organization", "openai-project"})
    operations = frozenset({"chat"})
    paths: Mapping[str, str] = request.PATHS
    embeddings: EmbeddingsCodec | None = None

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset(origin for key, origin in _SEALS.items() if key in traits.own)

    def operation(self, task: str) -> str:
        return "chat"

    # ── caller side ────────────────────────────────────────────────────────────────

    def read(
        self,
        wire: WireRequest,
        params: Mapping[str, str],
        *,
        depth: int = 64,
        values: int = 100_000,
        messages: int = 2048,
        tools: int = 512,
    ) -> Asked:
        return check.read(wire, params, depth=depth, values=values, messages=messages, tools=tools)

    def decode_request(self, asked: Asked) -> ChatRequest:
        return request.decode(asked)

    def encode_response(self, response_: ChatResponse, request_: ChatRequest, losses: Losses) -> WireResponse:
        return response.encode_response(response_, request_, losses)

    def encode_count(self, count: TokenCount) -> WireResponse:
        """This dialect has no counting of its own; the number in a plain object."""
        body = {"object": "token_count", "total_tokens": count.total_tokens}
        return WireResponse(status=200, headers={"content-type": "application/json"}, body=encode(body))

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        return errors.encode_error(error)

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        return ChatStreamEncoder(request, losses)

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_request(self, request_: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.encode_request(request_, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return response.decode(wire)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire, NAME)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return ChatStreamDecoder(limit)

    # ── both sides the same ────────────────────────────────────────────────────────

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.relay(asked, model, losses, traits)

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        return response.relay_response(wire, asked)

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        return ChatStreamRelay(asked, limit)


_: Dialect = OpenAIChat()
