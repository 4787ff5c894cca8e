"""Gemini v1beta: generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents.

    names, models     fields and their spellings; what a model can do, by its name
    read, decode      a caller's request: checked, then understood
    parts             parts, both ways
    contents, config, encode    canonical -> a request
    answer, stream, frames      answers and streams, both ways
    embed             embeddings, both ways
    errors            Google's envelope, both ways
    relay             the lane that changes nothing

Facts and sources: the project's notes on the wire (dialects/gemini.md), package google-genai 3.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount, ToolCall, Usage
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
from providers.dialects.gemini import answer as answers
from providers.dialects.gemini import encode, errors, read, relay, stream
from providers.dialects.gemini.contents import read_name
from providers.dialects.gemini.decode import decode_request
from providers.dialects.gemini.embed import GeminiEmbeddings
from providers.dialects.gemini.names import FAMILY, NAME, PATHS, Json
from providers.wire import json as wire_json

_JSON = {"content-type": "application/json"}


class Gemini:
    """Google's Gemini API in its v1beta form."""

    name = NAME
    family = FAMILY
    auth = "google_key"
    id_header = "x-request-id"
    streams_json = True
    passes: frozenset[str] = frozenset()
    passes_with_key: frozenset[str] = frozenset()
    operations = frozenset({"chat", "count_tokens", "embeddings"})
    paths: Mapping[str, str] = PATHS
    embeddings: EmbeddingsCodec | None = GeminiEmbeddings()

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset({FAMILY})

    def operation(self, task: str) -> str:
        return read.OPERATIONS.get(task, "chat")

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
        return read.read(wire, params, depth=depth, values=values, messages=messages, tools=tools)

    def decode_request(self, asked: Asked) -> ChatRequest:
        return decode_request(asked)

    def encode_response(self, response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
        body = answers.encode_answer(response, request.model, losses)
        return WireResponse(status=200, headers=dict(_JSON), body=body)

    def encode_count(self, count: TokenCount) -> WireResponse:
        body: dict[str, Json] = {"totalTokens": count.total_tokens}
        if count.cached_tokens is not None:
            body["cachedContentTokenCount"] = count.cached_tokens
        return WireResponse(status=200, headers=dict(_JSON), body=wire_json.encode(body))

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        return errors.encode_error(error)

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        return stream.Encoder(request, losses)

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_request(self, request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return encode.encode_request(request, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return _with_callers_names(relay.answer(wire))

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return stream.Decoder(limit)

    # ── both sides the same ────────────────────────────────────────────────────────

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return relay.relay_request(asked, model, losses, traits)

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        return relay.relay_response(wire, asked)

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        return relay.Relay(asked, limit)


def _with_callers_names(response: ChatResponse) -> ChatResponse:
    """The answer with the names of functions as their caller wrote them (see contents.written_name)."""
    if not any(
        isinstance(part, ToolCall) and read_name(part.name) != part.name for c in response.choices for part in c.parts
    ):
        return response
    choices = tuple(
        msgspec.structs.replace(
            choice,
            parts=tuple(
                msgspec.structs.replace(part, name=read_name(part.name)) if isinstance(part, ToolCall) else part
                for part in choice.parts
            ),
        )
        for choice in response.choices
    )
    return msgspec.structs.replace(response, choices=choices)


_: Dialect = Gemini()
