"""Ollama's own language, spoken in both directions: chat and generate for callers, chat towards upstreams.

    read                 a caller's request, checked
    messages, request    understood, and written again
    spoken               messages for an upstream
    answer               whole answers, both ways
    stream, stream_out   JSON lines, both ways
    embed                embeddings, both ways
    relay                the lane that changes nothing
    errors               both kinds of no

Facts: types and client of the package ollama 0.6.3, recorded calls.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, UpstreamError
from providers.canonical.loss import Losses
from providers.canonical.stream import fold
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
from providers.wire.json import encode

from . import answer, errors, read, relay, request, stream, stream_out
from .embed import EMBEDDINGS
from .words import FAMILY, NAME, OPERATIONS, PATHS


class Ollama:
    """`POST {base_url}/api/chat`."""

    name = NAME
    family = FAMILY
    auth = "none"
    id_header = "x-request-id"
    streams_json = True
    passes: frozenset[str] = frozenset()
    passes_with_key: frozenset[str] = frozenset()
    operations = frozenset({"chat", "embeddings"})
    paths: Mapping[str, str] = PATHS
    embeddings: EmbeddingsCodec | None = EMBEDDINGS

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset()

    def operation(self, task: str) -> str:
        return OPERATIONS.get(task, "chat")

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
        return request.decode(asked)

    def encode_response(self, response: ChatResponse, request_: ChatRequest, losses: Losses) -> WireResponse:
        return answer.encode_response(response, request_, losses)

    def encode_count(self, count: TokenCount) -> WireResponse:
        """This dialect has no counting of its own; the number in a plain object."""
        body = encode({"prompt_eval_count": count.total_tokens})
        return WireResponse(status=200, headers={"content-type": "application/json"}, body=body)

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        return errors.encode_error(error)

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        return stream_out.Encoder(request, losses)

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_request(self, request_: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.encode_request(request_, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        try:
            return answer.decode(wire)
        except BadUpstreamBytes:
            if wire.body.count(b"\n") < 2:
                raise
        # Proxies send a stream under the type of a whole answer.
        lines = stream.Decoder(len(wire.body) + 1)
        return fold((*lines.feed(wire.body), *lines.close()))

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return stream.Decoder(limit)

    # ── both sides the same ────────────────────────────────────────────────────────

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.relay(asked, model, losses, traits)

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        return answer.relay_response(wire, asked.task)

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        return relay.Relay(limit)


_: Dialect = Ollama()
