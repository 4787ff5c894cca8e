"""Embeddings of Ollama, both ways and on either side: `POST {base_url}/api/embed`.

    {model, input: string | [string], truncate?, dimensions?, options?, keep_alive?}
    {model, embeddings: [[…]], prompt_eval_count?, total_duration?, load_duration?}

Callers may ask in the older form, too: `POST /api/embeddings {model, prompt}` -> `{embedding: […]}`, which `form` notes
as `older`. Facts: types of the package ollama 0.6.3, a recorded call of the older form.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from providers.canonical.chat import Text, Usage
from providers.canonical.embeddings import (
    EmbeddingInput,
    EmbeddingsRequest,
    EmbeddingsResponse,
    Vector,
    as_floats,
    lose_rest,
    lose_said,
    matched,
    shared,
    text_of,
)
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated
from providers.dialect import PLAIN, Asked, EmbeddingsCodec, Traits, WireRequest, WireResponse
from providers.dialects import _traits
from providers.dialects.ollama.words import NAME
from providers.wire.json import as_count, decode_upstream, encode, take_bool, take_integer

Json: TypeAlias = Any

PATH = "/api/embed"
_HEADERS = {"content-type": "application/json"}
_KNOWN = frozenset({"model", "input", "prompt", "truncate", "dimensions"})
_CANONICAL = {"input": "inputs"}


class OllamaEmbeddings:
    """The codec of both sides."""

    # ── caller side ────────────────────────────────────────────────────────────────

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest:
        body = asked.body
        older = asked.task == "embeddings"
        key = "prompt" if older else "input"
        written = body.get(key)
        if not written:
            raise MalformedRequest(f"{key} must not be empty", param=key)
        single = type(written) is str
        texts = {key: written} if single else {f"{key}[{i}]": text for i, text in enumerate(written)}
        truncate = take_bool(body, "truncate")
        return EmbeddingsRequest(
            dialect=NAME,
            model=asked.model,
            inputs=tuple(EmbeddingInput(parts=(Text(text=text, at=at),), at=at) for at, text in texts.items()),
            dimensions=take_integer(body, "dimensions"),
            truncate=None if truncate is None else "end" if truncate else "none",
            extra={key: value for key, value in body.items() if key not in _KNOWN} or None,
            form={"single": single, "older": older},
        )

    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse:
        vectors = [as_floats(vector) for vector in matched(response, request)]
        if request.form is not None and request.form.get("older"):
            return WireResponse(status=200, headers=dict(_HEADERS), body=encode({"embedding": vectors[0]}))
        body: dict[str, Json] = {"model": response.model or request.model, "embeddings": vectors}
        if response.usage is not None and response.usage.input_tokens is not None:
            body["prompt_eval_count"] = response.usage.input_tokens
        if response.dialect == NAME:
            body |= response.extra or {}
        return WireResponse(status=200, headers=dict(_HEADERS), body=encode(body))

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_embeddings_request(
        self, request: EmbeddingsRequest, losses: Losses, traits: Traits = PLAIN
    ) -> WireRequest:
        own = request.dialect == NAME
        form = (request.form or {}) if own else {}
        if not own:
            lose_rest(request, losses)
            lose_said(request, losses, "task", "title", "end_user")
            if request.encoding not in (None, "float", "base64"):
                raise UnsupportedParameter("encoding: the target gives floats", param="encoding")
        texts = [text_of(each, losses) for each in request.inputs]
        body: dict[str, Json] = {
            "model": request.model,
            "input": texts[0] if form.get("single", len(texts) == 1) else texts,
        }
        if request.truncate is not None:
            body["truncate"] = request.truncate != "none"
            if request.truncate == "start":
                losses.append(approximated("truncate", "the target cuts off the end"))
        dimensions = shared(request, "dimensions")
        if dimensions is not None:
            body["dimensions"] = dimensions
        if own:
            body |= request.extra or {}
        _traits.apply(traits, body, losses, _CANONICAL)
        return WireRequest(path=PATH, headers=dict(_HEADERS), body=encode(body))

    def decode_embeddings_response(self, wire: WireResponse) -> EmbeddingsResponse:
        body = decode_upstream(wire.body)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream's answer is not a JSON object")
        try:
            floats = msgspec.convert(body.get("embeddings"), list[list[float]])
        except msgspec.ValidationError:
            raise BadUpstreamBytes("the upstream's answer holds no embeddings") from None
        model, count = body.get("model"), as_count(body.get("prompt_eval_count"))
        known = ("model", "embeddings", "prompt_eval_count")
        return EmbeddingsResponse(
            dialect=NAME,
            model=model if type(model) is str else None,
            vectors=tuple(Vector(floats=one) for one in floats),
            usage=Usage(input_tokens=count, total_tokens=count) if count is not None else None,
            extra={key: value for key, value in body.items() if key not in known} or None,
        )


EMBEDDINGS: EmbeddingsCodec = OllamaEmbeddings()
