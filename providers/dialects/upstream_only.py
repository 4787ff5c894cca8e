"""The caller's half of a dialect that is spoken to upstreams only: nobody can ask in it.

A route that says so is refused when the table is read; what stands here answers should it be asked all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount, Usage
from providers.canonical.errors import RouteNotFound, RouterError
from providers.canonical.loss import Losses
from providers.dialect import (
    PLAIN,
    Asked,
    EmbeddingsCodec,
    StreamEncoder,
    StreamRelay,
    Traits,
    WireRequest,
    WireResponse,
)


class UpstreamOnly:
    """Base of such a dialect. Every method of the caller's half, and of the relay lane, raises RouteNotFound."""

    name: str
    id_header = "x-request-id"
    streams_json = False
    passes: frozenset[str] = frozenset()
    passes_with_key: frozenset[str] = frozenset()
    paths: Mapping[str, str] = {}
    embeddings: EmbeddingsCodec | None = None

    def _refuse(self) -> NoReturn:
        raise RouteNotFound(f"{self.name} is spoken to upstreams only")

    family: str

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset({self.family})

    def operation(self, task: str) -> str:
        return "chat"

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
        self._refuse()

    def decode_request(self, asked: Asked) -> ChatRequest:
        self._refuse()

    def encode_response(self, response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
        self._refuse()

    def encode_count(self, count: TokenCount) -> WireResponse:
        self._refuse()

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        self._refuse()

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        self._refuse()

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        self._refuse()

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        self._refuse()

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        self._refuse()
