"""OpenAI embeddings: `POST {base_url}/embeddings`, spoken in both directions on either side of the gateway.

    {model, input: string | [string] | [int] | [[int]], encoding_format?, dimensions?, user?}
    {object: "list", data: [{object: "embedding", index, embedding}], model, usage: {prompt_tokens, total_tokens}}

`embedding` is a list of numbers, or base64 of little-endian float32 (`encoding_format: base64`, the official clients'
default). Facts: types of the package openai 3.51.0, recorded traffic (OpenAI, Azure, OpenRouter, Perplexity, Voyage).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Text, TokenCount, Usage
from providers.canonical.count import estimate_inputs
from providers.canonical.embeddings import (
    EmbeddingInput,
    EmbeddingsRequest,
    EmbeddingsResponse,
    Vector,
    as_base64,
    as_floats,
    lose_rest,
    lose_said,
    matched,
    shared,
    text_of,
)
from providers.canonical.errors import (
    BadUpstreamBytes,
    MalformedRequest,
    RouteNotFound,
    RouterError,
    UnsupportedParameter,
    UpstreamError,
)
from providers.canonical.loss import Losses, dropped, invented
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
from providers.dialects import _traits
from providers.dialects._openai import errors
from providers.wire.json import (
    as_count,
    decode_object,
    decode_upstream,
    encode,
    has_duplicates,
    splice,
    take_integer,
    take_string,
    top_level,
    wrong,
)

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "openai.embeddings"
FAMILY = "openai"
PATH = "/embeddings"
TASK = "embeddings"
HEADERS = {"content-type": "application/json"}
PATHS: Mapping[str, str] = {"end_user": "user", "encoding": "encoding_format", "inputs": "input"}

_ENCODINGS = frozenset({None, "float", "base64"})
_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_TOLD = frozenset({"object", "data", "model", "usage", "id"})


class OpenAIEmbeddings:
    """`POST {base_url}/embeddings`. Whatever belongs to chats is refused: there is no chat at this path."""

    name = NAME
    family = FAMILY
    auth = "bearer"
    id_header = "x-request-id"
    streams_json = False
    passes = frozenset({"openai-beta"})
    passes_with_key = frozenset({"openai-organization", "openai-project"})
    operations = frozenset({"embeddings"})
    paths: Mapping[str, str] = PATHS

    @property
    def embeddings(self) -> EmbeddingsCodec:
        return self

    def seals(self, traits: Traits) -> frozenset[str]:
        return frozenset()

    def operation(self, task: str) -> str:
        return "embeddings"

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        return errors.encode_error(error)

    def decode_error(self, wire: WireResponse) -> UpstreamError:
        return errors.decode_error(wire, NAME)

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
        """`messages` is the most inputs that one call may have."""
        body = decode_object(wire.body, depth=depth, values=values)
        model = body.get("model")
        if type(model) is not str or not model:
            raise MalformedRequest("model must be a non-empty string", param="model")
        if not model.isprintable():
            raise MalformedRequest("model holds control characters", param="model")
        _check_input(body.get("input"), messages)
        dimensions = take_integer(body, "dimensions")
        if dimensions is not None and dimensions < 1:
            raise MalformedRequest("dimensions must be at least 1", param="dimensions")
        take_string(body, "encoding_format")
        take_string(body, "user")
        top = top_level(wire.body)
        if has_duplicates(wire.body, top):
            raise MalformedRequest("a field of the object is there twice")
        return Asked(wire=wire, params=params, fields=body, top=top, model=model, task=TASK)

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest:
        body = asked.body
        written = body["input"]
        single = type(written) is str or type(written[0]) is int
        inputs = [_input(written, "input")] if single else [_input(one, f"input[{i}]") for i, one in enumerate(written)]
        form: Object = {key: None for key in _KNOWN & body.keys() if body[key] is None}
        return EmbeddingsRequest(
            dialect=NAME,
            model=asked.model,
            inputs=tuple(inputs),
            dimensions=take_integer(body, "dimensions"),
            encoding=take_string(body, "encoding_format"),
            end_user=take_string(body, "user"),
            extra={key: value for key, value in body.items() if key not in _KNOWN} or None,
            form={**form, "single": single},
        )

    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse:
        own = response.dialect == NAME
        data = []
        for index, vector in enumerate(matched(response, request)):
            told = as_base64(vector) if request.encoding == "base64" else as_floats(vector)
            item = {"object": "embedding", "index": index, "embedding": told}
            data.append({**item, **(vector.extra or {})} if own else item)
        body: Object = {
            "object": "list",
            "data": data,
            "model": response.model or request.model,
            "usage": _encode_usage(response.usage, request, losses, own),
        }
        if own:
            body |= {**({} if response.id is None else {"id": response.id}), **(response.extra or {})}
        return WireResponse(status=200, headers=dict(HEADERS), body=encode(body))

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_embeddings_request(
        self, request: EmbeddingsRequest, losses: Losses, traits: Traits = PLAIN
    ) -> WireRequest:
        own = request.dialect == NAME
        form = (request.form or {}) if own else {}
        if not own:
            lose_rest(request, losses)
            lose_said(request, losses, "task", "title")
            if request.truncate in ("start", "end"):
                losses.append(dropped("truncate", "the target refuses inputs that are too long"))
        if not own and request.encoding not in _ENCODINGS:
            raise UnsupportedParameter("encoding: the target gives floats or base64", param="encoding")
        inputs = [
            each.tokens if each.tokens is not None and each.parts == () else text_of(each, losses)
            for each in request.inputs
        ]
        single = form.get("single", len(inputs) == 1)
        body: Object = {"model": request.model, "input": inputs[0] if single else inputs}
        for key, value in (
            ("dimensions", shared(request, "dimensions")),
            ("encoding_format", request.encoding),
            ("user", request.end_user),
        ):
            if value is not None or key in form:
                body[key] = value
        if own:
            body |= request.extra or {}
        _traits.apply(traits, body, losses, _CANONICAL)
        return WireRequest(path=PATH, headers=dict(HEADERS), body=encode(body))

    def decode_embeddings_response(self, wire: WireResponse) -> EmbeddingsResponse:
        body = decode_upstream(wire.body)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream's answer is not a JSON object")
        data = body.get("data")
        if type(data) is not list:
            if body.get("error"):
                raise self.decode_error(wire)
            raise BadUpstreamBytes("the upstream's answer holds no embeddings")
        model, identifier = body.get("model"), body.get("id")
        return EmbeddingsResponse(
            dialect=NAME,
            id=identifier if type(identifier) is str else None,
            model=model if type(model) is str else None,
            vectors=tuple(_vector(item) for item in _in_order(data)),
            usage=_decode_usage(body.get("usage")),
            extra={key: value for key, value in body.items() if key not in _TOLD} or None,
        )

    # ── both sides the same ────────────────────────────────────────────────────────

    def relay_request(self, asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        replace: Object = {} if model == asked.model else {"model": model}
        body = dict(asked.body)
        _traits.apply(traits, body, losses, {})
        drop = frozenset(asked.body.keys() - body.keys())
        data = splice(asked.top, replace, drop) if replace or drop else asked.wire.body
        return WireRequest(path=PATH, headers=dict(HEADERS), body=data)

    def relay_response(self, wire: WireResponse, asked: Asked) -> Usage | None:
        """Checks the frame of the answer and reads its usage; the numbers are passed on unread."""
        try:
            answer = _skim(wire.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            answer = _Answer()
        if not answer.data:
            body = decode_upstream(wire.body)
            if type(body) is dict and body.get("error"):
                raise self.decode_error(wire)
            raise BadUpstreamBytes("the upstream's answer holds no embeddings")
        return _decode_usage(answer.usage)

    # ── there is no chat here ──────────────────────────────────────────────────────

    def _refuse(self) -> NoReturn:
        raise RouteNotFound(f"{NAME} holds no chats")

    def decode_request(self, asked: Asked) -> ChatRequest:
        self._refuse()

    def encode_response(self, response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
        self._refuse()

    def encode_count(self, count: TokenCount) -> WireResponse:
        self._refuse()

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> StreamEncoder:
        self._refuse()

    def encode_request(self, request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
        self._refuse()

    def decode_response(self, wire: WireResponse) -> ChatResponse:
        self._refuse()

    def stream_decoder(self, *, limit: int = 16 << 20) -> StreamDecoder:
        self._refuse()

    def stream_relay(self, asked: Asked, *, limit: int = 16 << 20) -> StreamRelay:
        self._refuse()


# ── requests ───────────────────────────────────────────────────────────────────────────

_CANONICAL = {wire: name for name, wire in PATHS.items()}


def _check_input(value: Json, most: int) -> None:
    if type(value) is str:
        return
    if type(value) is not list:
        raise wrong("input", "a string or an array", value)
    if not value:
        raise MalformedRequest("input must not be empty", param="input")
    kind = type(value[0])
    if kind is not int and len(value) > most:
        raise MalformedRequest(f"input has more than {most} entries", param="input")
    if kind not in (str, int, list):
        raise wrong("input[0]", "a string or an array of tokens", value[0])
    for i, one in enumerate(value):
        if type(one) is not kind:
            raise wrong(f"input[{i}]", _SORTS[kind], one)
        if kind is list:
            _check_tokens(one, f"input[{i}]")


_SORTS = {str: "a string", int: "an integer", list: "an array of tokens"}


def _check_tokens(value: list[Json], at: str) -> None:
    if not value:
        raise MalformedRequest(f"{at} must not be empty", param=at)
    for i, one in enumerate(value):
        if type(one) is not int:
            raise wrong(f"{at}[{i}]", "an integer", one)


def _input(written: Json, at: str) -> EmbeddingInput:
    if type(written) is str:
        return EmbeddingInput(parts=(Text(text=written, at=at),), at=at)
    return EmbeddingInput(tokens=tuple(written), at=at)


# ── answers ────────────────────────────────────────────────────────────────────────────


class _Item(msgspec.Struct):
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: list[_Item] = []
    usage: Json = None


_skim = msgspec.json.Decoder(_Answer).decode


def _in_order(data: list[Json]) -> Sequence[Object]:
    """The items by their index; by their place where they have none."""
    placed: dict[int, Object] = {}
    for place, item in enumerate(data):
        if type(item) is not dict:
            raise BadUpstreamBytes("the upstream's answer holds an embedding that is no object")
        index = item.get("index", place)
        if type(index) is not int or index in placed:
            raise BadUpstreamBytes("the upstream's embeddings are not numbered")
        placed[index] = item
    return [placed[index] for index in sorted(placed)]


def _vector(item: Object) -> Vector:
    told = item.get("embedding")
    extra = {key: value for key, value in item.items() if key not in ("object", "index", "embedding")} or None
    if type(told) is str:
        return Vector(base64=told, extra=extra)
    try:
        return Vector(floats=msgspec.convert(told, list[float]), extra=extra)
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream's embedding is no list of numbers") from None


def _decode_usage(value: Json) -> Usage | None:
    if type(value) is not dict:
        return None
    given, total = as_count(value.get("prompt_tokens")), as_count(value.get("total_tokens"))
    return Usage(input_tokens=total if given is None else given, total_tokens=total, raw=value)


def _encode_usage(usage: Usage | None, request: EmbeddingsRequest, losses: Losses, own: bool) -> Object:
    """Counts, which every answer has; where the upstream gave none they are estimated."""
    if own and usage is not None and usage.raw is not None:
        return dict(usage.raw)
    given = usage.input_tokens if usage is not None else None
    if given is None:
        given = estimate_inputs(request)
        losses.append(invented("usage", "the upstream did not count: four characters are taken for a token"))
    total = usage.total_tokens if usage is not None else None
    return {"prompt_tokens": given, "total_tokens": given if total is None else total}


_: Dialect = OpenAIEmbeddings()
