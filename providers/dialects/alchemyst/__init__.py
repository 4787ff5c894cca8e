"""The chat of Alchemyst's API, version 1, spoken to upstreams only: personas that think and answer, text alone.

    request   canonical -> `POST /api/v1/chat/generate` and `/generate/stream`
    answer    whole answers, in the shapes that were seen, and errors
    stream    its event stream, a line an event

Facts: the published page of its chat endpoints, which the catalog names; shapes of `result` that public programs read.
Its OpenAI-compatible paths need none of this: they are rows that speak openai.chat.
"""

from __future__ import annotations

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import UpstreamError
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Dialect, StreamDecoder, Traits, WireRequest, WireResponse
from providers.dialects.upstream_only import UpstreamOnly

from . import answer, request, stream
from .answer import NAME

#: What a row that speaks it may name: the caller's stop texts end the answer here.
QUIRKS = frozenset({"stop_here"})


class Alchemyst(UpstreamOnly):
    """`POST {base_url}/api/v1/chat/generate`."""

    name = NAME
    family = "alchemyst"
    auth = "bearer"
    operations = frozenset({"chat"})

    def encode_request(self, request_: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.encode_request(request_, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return answer.decode(wire)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return answer.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return stream.Decoder(limit)


_: Dialect = Alchemyst()
