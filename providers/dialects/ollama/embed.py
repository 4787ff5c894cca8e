"""Embeddings of Ollama, both ways and on either side: `POST {base_url}/api/embed`.

    {model, input: string | [string], truncate?, dimensions?, options?, keep_alive?}
    {model, embeddings: [[…]], prompt_eval_count?, total_duration?, load_duration?}

Facts: types of the package ollama 0.6.3. `check_embed` is the check of a caller's body.
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
from providers.wire.json import decode_upstream, encode, take_bool, take_integer, take_object, wrong

Json: TypeAlias = Any

PATH = "/api/embed"
NAME = "ollama.chat"  # the dialect that these embeddings are a part of
_HEADERS = {"content-type": "application/json"}
_KNOWN = frozenset({"model", "input", "truncate", "dimensions"})
_CANONICAL = {"input": "inputs"}


def check_embed(body: dict[str, Json], most: int) -> None:
    """Raises MalformedRequest for the first field that is not as it must be; `most` inputs are taken.

    The name of the model is checked as in every request.
    """
    value = body.get("input")
    if type(value) is list:
        if not value:
            raise MalformedRequest("input must not be empty", param="input")
        if len(value) > most:
            raise MalformedRequest(f"input has more than {most} entries", param="input")
        for i, one in enumerate(value):
            if type(one) is not str:
                raise wrong(f"input[{i}]", "a string", one)
    elif type(value) is not str:
        raise wrong("input", "a string or an array of strings", value)
    take_bool(body, "truncate")
    take_object(body, "options")
    dimensions = take_integer(body, "dimensions")
    if dimensions is not None and dimensions < 1:
        raise MalformedRequest("dimensions must be at least 1", param="dimensions")


class OllamaEmbeddings:
    """The codec of both sides."""

    # ── caller side ────────────────────────────────────────────────────────────────

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest:
        body = asked.body
        written = body["input"]
        single = type(written) is str
        texts = {"input": written} if single else {f"input[{i}]": text for i, text in enumerate(written)}
        truncate = take_bool(body, "truncate")
        return EmbeddingsRequest(
            dialect=NAME,
            model=asked.model,
            inputs=tuple(EmbeddingInput(parts=(Text(text=text, at=at),), at=at) for at, text in texts.items()),
            dimensions=take_integer(body, "dimensions"),
            truncate=None if truncate is None else "end" if truncate else "none",
            extra={key: value for key, value in body.items() if key not in _KNOWN} or None,
            form={"single": single},
        )

    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse:
        body: dict[str, Json] = {
            "model": response.model or request.model,
            "embeddings": [as_floats(vector) for vector in matched(response, request)],
        }
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
        model, count = body.get("model"), body.get("prompt_eval_count")
        known = ("model", "embeddings", "prompt_eval_count")
        return EmbeddingsResponse(
            dialect=NAME,
            model=model if type(model) is str else None,
            vectors=tuple(Vector(floats=one) for one in floats),
            usage=Usage(input_tokens=count, total_tokens=count) if type(count) is int else None,
            extra={key: value for key, value in body.items() if key not in known} or None,
        )


EMBEDDINGS: EmbeddingsCodec = OllamaEmbeddings()
