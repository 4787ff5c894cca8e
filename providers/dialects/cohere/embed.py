"""Embeddings of Cohere, spoken to upstreams: `POST {base_url}/v2/embed`.

    {model, input_type, texts | inputs, embedding_types, output_dimension?, truncate?}
    {id, embeddings: {float: [[…]]}, meta: {billed_units: {input_tokens, image_tokens}}}

Numbers are always asked for: what the caller wants in base64 is made from them. Facts: package cohere 7.3.1 (fields,
at most 96 inputs, images as data URLs), recorded traffic.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import msgspec

from providers.canonical.chat import Media, Text, Usage
from providers.canonical.embeddings import (
    EmbeddingInput,
    EmbeddingsRequest,
    EmbeddingsResponse,
    Vector,
    lose_rest,
    lose_said,
    shared,
    text_of,
)
from providers.canonical.errors import BadUpstreamBytes, RouteNotFound, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, invented
from providers.dialect import PLAIN, Asked, EmbeddingsCodec, Traits, WireRequest, WireResponse
from providers.dialects import _traits
from providers.dialects.cohere.words import NAME
from providers.wire.json import decode_upstream, encode

Json: TypeAlias = Any

PATH = "/v2/embed"
_HEADERS = {"content-type": "application/json"}
_MOST = 96
#: task -> (input_type, is it the same?)
_TASKS = {
    "retrieval_query": ("search_query", True),
    "retrieval_document": ("search_document", True),
    "classification": ("classification", True),
    "clustering": ("clustering", True),
    "question_answering": ("search_query", False),
    "fact_verification": ("search_query", False),
    "code_retrieval_query": ("search_query", False),
    "semantic_similarity": ("clustering", False),
}
_CANONICAL = {"output_dimension": "dimensions", "input_type": "task", "texts": "inputs"}
_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})


class CohereEmbeddings:
    """The codec of an upstream."""

    def encode_embeddings_request(
        self, request: EmbeddingsRequest, losses: Losses, traits: Traits = PLAIN
    ) -> WireRequest:
        if len(request.inputs) > _MOST:
            raise UnsupportedParameter(f"inputs: the target takes at most {_MOST} at once", param="inputs")
        if request.encoding not in (None, "float", "base64"):
            raise UnsupportedParameter("encoding: the target gives floats", param="encoding")
        lose_rest(request, losses)
        lose_said(request, losses, "title", "end_user")
        body: dict[str, Json] = {"model": request.model, "input_type": _input_type(request, losses)}
        if any(isinstance(part, Media) for each in request.inputs for part in each.parts):
            body["inputs"] = [{"content": _content(each)} for each in request.inputs]
        else:
            body["texts"] = [text_of(each, losses) for each in request.inputs]
        body["embedding_types"] = ["float"]
        dimensions = shared(request, "dimensions")
        if dimensions is not None:
            body["output_dimension"] = dimensions
        if request.truncate is not None:
            body["truncate"] = request.truncate.upper()
        _traits.apply(traits, body, losses, _CANONICAL)
        return WireRequest(path=PATH, headers=dict(_HEADERS), body=encode(body))

    def decode_embeddings_response(self, wire: WireResponse) -> EmbeddingsResponse:
        body = decode_upstream(wire.body)
        told = body.get("embeddings") if type(body) is dict else None
        try:
            floats = msgspec.convert(told["float"] if type(told) is dict else told, list[list[float]])
        except (msgspec.ValidationError, KeyError):
            raise BadUpstreamBytes("the upstream's answer holds no embeddings") from None
        identifier = body.get("id")
        known = ("id", "embeddings", "meta", "response_type", "texts", "inputs", "images")
        return EmbeddingsResponse(
            dialect=NAME,
            id=identifier if type(identifier) is str else None,
            vectors=tuple(Vector(floats=one) for one in floats),
            usage=_usage(body.get("meta")),
            extra={key: value for key, value in body.items() if key not in known} or None,
        )

    # ── nobody asks in this dialect ────────────────────────────────────────────────

    def _refuse(self) -> NoReturn:
        raise RouteNotFound("these embeddings are spoken to upstreams only")

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest:
        self._refuse()

    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse:
        self._refuse()


def _input_type(request: EmbeddingsRequest, losses: Losses) -> str:
    """What the vectors are for, which the target always wants to know."""
    task = shared(request, "task")
    if task is None:
        losses.append(invented("input_type", "the target wants to know what the vectors are for: search_document"))
        return "search_document"
    word, same = _TASKS.get(task, ("search_document", False))
    if not same:
        losses.append(approximated("task", f"the target's nearest is {word}"))
    return word


def _content(each: EmbeddingInput) -> list[Json]:
    """Text and images of one input."""
    if each.tokens is not None:
        at = each.at or "inputs"
        raise UnsupportedParameter(f"{at}: the target takes no tokens of another model", param=at)
    return [
        {"type": "text", "text": part.text} if isinstance(part, Text) else _image(part, part.at or each.at or "inputs")
        for part in each.parts
    ]


def _image(part: Media, at: str) -> Json:
    if part.base64 is None or part.mime_type not in _IMAGES:
        raise UnsupportedParameter(f"{at}: the target embeds JPEG, PNG, WebP and GIF images, by content", param=at)
    return {"type": "image_url", "image_url": {"url": f"data:{part.mime_type};base64,{part.base64}"}}


def _usage(meta: Json) -> Usage | None:
    billed = meta.get("billed_units") if type(meta) is dict else None
    if type(billed) is not dict:
        return None
    counts = [billed[key] for key in ("input_tokens", "image_tokens") if type(billed.get(key)) in (int, float)]
    if not counts:
        return None
    total = int(sum(counts))
    return Usage(input_tokens=total, total_tokens=total, raw=meta)


EMBEDDINGS: EmbeddingsCodec = CohereEmbeddings()
