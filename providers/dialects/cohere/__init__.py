"""Cohere's chat API, version 2, spoken to upstreams only.

    words                names, finish reasons, counts, citations
    request, messages    canonical -> a request
    answer, stream       answers and streams -> canonical
    embed                embeddings
    errors               the upstream's no

Facts: types and client of the package cohere 7.3.1, recorded calls.
"""

from __future__ import annotations

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import UpstreamError
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Dialect, EmbeddingsCodec, StreamDecoder, Traits, WireRequest, WireResponse
from providers.dialects.upstream_only import UpstreamOnly

from . import answer, errors, request, stream
from .embed import EMBEDDINGS
from .words import FAMILY, NAME


class Cohere(UpstreamOnly):
    """`POST {base_url}/v2/chat` and `/v2/embed`."""

    name = NAME
    family = FAMILY
    auth = "bearer"
    operations = frozenset({"chat", "embeddings"})
    embeddings: EmbeddingsCodec | None = EMBEDDINGS

    def encode_request(self, request_: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.encode_request(request_, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return answer.decode(wire)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return stream.Decoder(limit)


_: Dialect = Cohere()
