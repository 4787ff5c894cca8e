"""The contract of a wire language, spoken in both directions and on either side of the gateway.

`decode` reads the wire, `encode` writes it, always seen from the gateway. Nothing here does I/O, reads a clock or knows
a provider's name. Encoding appends to `losses`; decoding loses nothing: what it does not know is kept in `extra`.

A call in the translate lane:  read -> decode_request -> encode_request (other dialect) -> … -> decode_response ->
encode_response; streams through a StreamDecoder and a StreamEncoder, embeddings through the EmbeddingsCodecs of both.
In the relay lane (both sides speak the same): read -> relay_request -> … -> relay_response, or a StreamRelay. `read` is
common to both, so both are equally strict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount, Usage
from providers.canonical.embeddings import EmbeddingsRequest, EmbeddingsResponse
from providers.canonical.errors import RouterError, UpstreamError
from providers.canonical.loss import Losses
from providers.canonical.stream import StreamEvent
from providers.wire.json import decode

Json: TypeAlias = Any
Range: TypeAlias = tuple[float | None, float | None]

# Stop texts that are looked for here, of an upstream that knows none: so many, so long.
MOST_STOPS = 16
LONGEST_STOP = 256  # characters


class WireRequest(msgspec.Struct, kw_only=True):
    """An HTTP request as a value. `path` is appended to the provider's base_url; header names are lower case."""

    method: str = "POST"
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes = b""


class WireResponse(msgspec.Struct, kw_only=True):
    """An HTTP answer as a value. Header names are lower case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Asked(msgspec.Struct, kw_only=True, frozen=True, dict=True):
    """A caller's request, read and checked, not yet understood: what routing and the relay lane need.

    `params` are the route's path parameters (`model`, `task`); `top` the top-level fields as they were written.
    `fields` are their values. Where the messages have the shape that nearly all have they are `usual`, as Structs of
    the dialect's own, and not among the fields. `task` is the dialect's own word for the operation (`chat`,
    `generateContent`, `countTokens`).
    """

    wire: WireRequest
    params: Mapping[str, str]
    fields: dict[str, Json]
    top: Mapping[str, msgspec.Raw]
    usual: list[Any] | None = None
    model: str
    task: str
    stream: bool = False
    include_usage: bool = False  # the caller wants to see usage in the stream

    @cached_property
    def body(self) -> dict[str, Json]:
        """All fields, in the order in which they stand."""
        if self.usual is None:
            return self.fields
        return {key: self.fields[key] if key in self.fields else decode(raw) for key, raw in self.top.items()}


class Traits(msgspec.Struct, kw_only=True, frozen=True):
    """What an encoder must know of the row and the model it writes for.

    `own`, `ignores`, `rejects` are top-level fields of the upstream's body (contract.md section 2). `takes`: all that
    it documents, any other is dropped; None where it may take more. `ranges`: least and most of a field there, None
    for no limit. `nice`: is the call to wait for others, where the row has a place for that (quirk `nice`)?
    """

    own: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    rejects: frozenset[str] = frozenset()
    quirks: frozenset[str] = frozenset()
    takes: frozenset[str] | None = None
    ranges: Mapping[str, Range] = {}
    nice: bool | None = None


PLAIN = Traits()


class StreamDecoder(Protocol):
    """Bytes in, events out. Any split of the same bytes gives the same events.

    `feed` raises UpstreamError for an error event of the upstream, BadUpstreamBytes for what cannot be read; events
    decoded before the fault in the same chunk are given out first, by the next call at the latest. `close` says that
    the input has ended: it gives the last events, or raises StreamTruncated. `counted` is the usage that came last, for
    when a stream breaks off before its events tell; None where they have told all of it.
    """

    finished: bool  # the dialect's own end has come: what follows is not read

    @property
    def counted(self) -> Usage | None: ...

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]: ...
    def close(self) -> Sequence[StreamEvent]: ...


class StreamEncoder(Protocol):
    """Events in, bytes out. A stream ends with `close` (after ResponseEnd) or with `error`, never with both."""

    content_type: str

    def feed(self, event: StreamEvent, /) -> bytes: ...
    def close(self) -> bytes: ...
    def error(self, error: RouterError, /) -> bytes: ...


class StreamRelay(Protocol):
    """The relay lane's tap: gives out the same bytes, event by event, and reads what it must.

    An event that cannot be read is not given out; an error event raises as in StreamDecoder. `usage` is the last one
    seen. `started` once an event with content has gone out. `close` ends the stream (adds an end mark that the upstream
    forgot) or raises StreamTruncated. `error` writes a fault of ours in the stream's own form.
    """

    content_type: str
    usage: Usage | None
    started: bool
    finished: bool

    def feed(self, data: bytes, /) -> bytes: ...
    def close(self) -> bytes: ...
    def error(self, error: RouterError, /) -> bytes: ...


class EmbeddingsCodec(Protocol):
    """How a dialect asks for embeddings, on either side. One that is spoken to upstreams only has no caller's half:
    `decode_embeddings` and `encode_embeddings` raise RouteNotFound there.

    `encode_embeddings_request` raises UnsupportedParameter for inputs that the target cannot read.
    `encode_embeddings` raises BadUpstreamBytes where the vectors are not one for each input.
    """

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest: ...
    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse: ...
    def encode_embeddings_request(
        self, request: EmbeddingsRequest, losses: Losses, traits: Traits = PLAIN
    ) -> WireRequest: ...
    def decode_embeddings_response(self, wire: WireResponse) -> EmbeddingsResponse: ...


class Dialect(Protocol):
    """One wire language."""

    name: str  # "openai.chat"
    family: str  # origin of its seals: "openai", "gemini"
    auth: str  # how its own vendor takes a key (a name of providers/auth.py), for upstreams without a row
    id_header: str  # where its clients look for an answer's id, in lower case
    streams_json: bool  # may a stream of it begin with a JSON object? One of events never does
    passes: frozenset[str]  # request headers (lower case) of its own that go to an upstream of the same dialect
    passes_with_key: frozenset[str]  # those that choose an account: only together with the caller's own key
    operations: frozenset[str]  # what an upstream of it can be asked for: `chat`, `embeddings`, `count_tokens`
    paths: Mapping[str, str]  # canonical parameter -> where a caller of this dialect writes it

    @property
    def embeddings(self) -> EmbeddingsCodec | None:
        """Its codec of embeddings, if it has them."""
        ...

    def seals(self, traits: Traits) -> frozenset[str]:
        """The origins of the seals (families of dialects) that an upstream of it, on such a row, can read."""
        ...

    def operation(self, task: str) -> str:
        """What a task is, as OpenTelemetry names it: `chat`, `embeddings`, `count_tokens`."""
        ...

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
        """Checks a request in full. MalformedRequest and its kin name the field that is wrong.

        Of the caller's headers `wire` holds those that the dialect `passes`.
        """
        ...

    def decode_request(self, asked: Asked) -> ChatRequest: ...
    def encode_response(self, response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse: ...
    def encode_count(self, count: TokenCount) -> WireResponse: ...
    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse: ...
    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder: ...

    # ── upstream side ──────────────────────────────────────────────────────────────
    def encode_request(self, request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest: ...
    def decode_response(self, wire: WireResponse) -> ChatResponse: ...
    def decode_error(self, wire: WireResponse) -> UpstreamError: ...
    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder: ...

    # ── both sides the same ────────────────────────────────────────────────────────
    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest: ...
    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        """Checks a 200 answer that is passed on as it is; raises as decode_response would."""
        ...

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay: ...
