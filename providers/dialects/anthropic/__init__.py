"""Anthropic Messages, spoken in both directions on either side of the gateway: messages and count_tokens.

    words, models     words, names, ids, seals; what a model can do, by its name
    check, decode     a caller's request: checked, then understood
    blocks            content blocks, both ways
    messages, config, encode    canonical -> a request
    answer            whole answers, both ways
    stream, stream_out, relay   streams: read, written, passed on
    errors            the error envelope, both ways

Facts and sources: the project's notes on the wire (dialects/anthropic.md), package anthropic 2.10.0.
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
from providers.dialects.anthropic import answer, check, encode, errors
from providers.dialects.anthropic.decode import decode_request
from providers.dialects.anthropic.relay import Relay
from providers.dialects.anthropic.stream import Decoder
from providers.dialects.anthropic.stream_out import Encoder
from providers.dialects.anthropic.words import FAMILY, HEADERS, NAME, PATHS
from providers.wire import json as wire_json


class Anthropic:
    """`POST {base_url}/v1/messages` and `/v1/messages/count_tokens`."""

    name = NAME
    family = FAMILY
    auth = "anthropic_key"
    id_header = "request-id"
    streams_json = False
    passes = frozenset({"anthropic-version", "anthropic-beta"})
    passes_with_key: frozenset[str] = frozenset()
    operations = frozenset({"chat", "count_tokens"})
    embeddings: EmbeddingsCodec | None = None
    paths: Mapping[str, str] = PATHS

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset({FAMILY})

    def operation(self, task: str) -> str:
        return check.OPERATIONS.get(task, "chat")

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
        return decode_request(asked)

    def encode_response(self, response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
        return answer.encode_response(response, request, losses)

    def encode_count(self, count: TokenCount) -> WireResponse:
        body = {"input_tokens": count.total_tokens}
        return WireResponse(status=200, headers=dict(HEADERS), body=wire_json.encode(body))

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        return errors.encode_error(error)

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        return Encoder(request, losses)

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_request(self, request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return encode.encode_request(request, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return answer.decode(wire)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return Decoder(limit)

    # ── both sides the same ────────────────────────────────────────────────────────

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return encode.relay_request(asked, model, losses, traits)

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        return answer.relay_response(wire, asked)

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        return Relay(limit)


_: Dialect = Anthropic()
