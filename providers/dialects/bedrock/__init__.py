"""Amazon Bedrock's Converse and ConverseStream, spoken to upstreams only.

    words, models          names, ids and types; what a model can do, by its id
    messages, thinking, request    canonical -> a request
    response, stream       answers and streams -> canonical
    errors                 what a refusal means

Facts: botocore 1.44.5 (service model bedrock-runtime 2023-09-30), the project's notes on the wire (dialects/others.md),
recorded traffic. `p` in events is padding.
"""

from __future__ import annotations

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import UpstreamError
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Dialect, StreamDecoder, Traits, WireRequest, WireResponse
from providers.dialects.upstream_only import UpstreamOnly

from . import errors, request, response, stream
from .words import FAMILY, NAME


class BedrockConverse(UpstreamOnly):
    """`POST {base_url}/model/{modelId}/converse` and `…/converse-stream`."""

    name = NAME
    family = FAMILY
    auth = "bearer"
    operations = frozenset({"chat"})

    def encode_request(self, request_: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        return request.encode_request(request_, losses, traits)

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        return response.decode_response(wire)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire)

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        return stream.Decoder(limit)


_: Dialect = BedrockConverse()
