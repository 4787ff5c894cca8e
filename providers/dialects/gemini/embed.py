"""Embeddings, both ways: `embedContent` for one input, `batchEmbedContents` for several.

    {model, content: {parts}, taskType?, title?, outputDimensionality?}   ->  {embedding: {values}, usageMetadata?}
    {requests: [the same]}                                                ->  {embeddings: [{values}], usageMetadata?}

What a batch says in every request alike is said once in the canonical request. `form`: `batch`, `version`, `collection`
of the path, and of an input `content` (what stands beside `parts`) and `model`. Facts: google-genai 3.3.0; recorded
traffic; the limit of 100 inputs: lancedb/lancedb#3618 (a maintainer of the API), HelixDB/helix-py#43.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.chat import Media, Text
from providers.canonical.embeddings import (
    EmbeddingInput,
    EmbeddingsRequest,
    EmbeddingsResponse,
    Vector,
    as_floats,
    lose_rest,
    lose_said,
    matched,
)
from providers.canonical.errors import BadUpstreamBytes, UnsupportedParameter
from providers.canonical.loss import Losses, dropped
from providers.dialect import PLAIN, Asked, Traits, WireRequest, WireResponse
from providers.dialects.gemini.answer import decode_usage, encode_usage
from providers.dialects.gemini.encode import apply_traits, url_path
from providers.dialects.gemini.errors import decode_error
from providers.dialects.gemini.names import NAME, Json, camel, plain
from providers.dialects.gemini.parts import RequestIds, decode_part, encode_media, encode_text
from providers.dialects.gemini.read import refuse
from providers.wire import json as wire_json

_HEADERS = {"content-type": "application/json"}
_MOST = 100
_SAID = {"task": "taskType", "title": "title", "dimensions": "outputDimensionality"}
_INPUT = frozenset({"content", "model", *_SAID.values()})
_UNSAID = "TASK_TYPE_UNSPECIFIED"
_TASKS = frozenset(
    {"retrieval_query", "retrieval_document", "semantic_similarity", "classification", "clustering"}
    | {"question_answering", "fact_verification", "code_retrieval_query"}
)


class GeminiEmbeddings:
    """The codec of this dialect."""

    # ── caller side ────────────────────────────────────────────────────────────────

    def decode_embeddings(self, asked: Asked) -> EmbeddingsRequest:
        batch = asked.task == "batchEmbedContents"
        body = plain(asked.body, {})
        requests = body["requests"] if batch else [asked.body]
        inputs = [_input(one, f"requests[{i}]" if batch else "") for i, one in enumerate(requests)]
        fields, inputs = _said_once(inputs)
        form = {"batch": batch, **{key: asked.params[key] for key in ("version", "collection") if key in asked.params}}
        return EmbeddingsRequest(
            dialect=NAME,
            model=asked.model,
            inputs=tuple(inputs),
            extra={key: value for key, value in body.items() if batch and key not in ("requests", "model")} or None,
            form=form,
            paths=_paths(requests, batch) or None,
            **fields,
        )

    def encode_embeddings(
        self, response: EmbeddingsResponse, request: EmbeddingsRequest, losses: Losses
    ) -> WireResponse:
        own = response.dialect == NAME
        vectors: list[dict[str, Json]] = []
        for vector in matched(response, request):
            values: dict[str, Json] = {"values": as_floats(vector)}
            vectors.append({**values, **(vector.extra or {})} if own else values)
        batch = request.form is not None and request.form.get("batch")
        body: dict[str, Json] = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
        usage = encode_usage(response.usage, own=own)
        if usage is not None:
            body["usageMetadata"] = usage
        if own:
            body |= response.extra or {}
        return WireResponse(status=200, headers=dict(_HEADERS), body=wire_json.encode(body))

    # ── upstream side ──────────────────────────────────────────────────────────────

    def encode_embeddings_request(
        self, request: EmbeddingsRequest, losses: Losses, traits: Traits = PLAIN
    ) -> WireRequest:
        own = request.dialect == NAME
        form: Mapping[str, Any] = (request.form or {}) if own else {}
        if len(request.inputs) > _MOST:
            raise UnsupportedParameter(f"inputs: the target takes at most {_MOST} at once", param="inputs")
        if not own:
            lose_rest(request, losses)
            lose_said(request, losses, "truncate", "end_user")
            if request.encoding not in (None, "float", "base64"):
                raise UnsupportedParameter("encoding: the target gives floats", param="encoding")
        batch = form.get("batch", len(request.inputs) != 1)
        bodies = [_encode_input(request, each, losses, own) for each in request.inputs]
        for body in bodies:
            if batch and not own:
                body["model"] = request.model if "/" in request.model else f"models/{request.model}"
            apply_traits(body, traits, losses)
        whole = {"requests": bodies, **(request.extra or {} if own else {})} if batch else bodies[0]
        return WireRequest(
            path=url_path(request.model, "batchEmbedContents" if batch else "embedContent", form, traits.quirks),
            headers=dict(_HEADERS),
            body=wire_json.encode(whole),
        )

    def decode_embeddings_response(self, wire: WireResponse) -> EmbeddingsResponse:
        body = wire_json.decode_upstream(wire.body)
        if type(body) is not dict:
            raise BadUpstreamBytes("the upstream's answer is not a JSON object")
        if body.get("error"):
            raise decode_error(wire)
        told = body.get("embeddings", [body["embedding"]] if "embedding" in body else None)
        if type(told) is not list:
            raise BadUpstreamBytes("the upstream's answer holds no embedding")
        known = ("embedding", "embeddings", "usageMetadata")
        return EmbeddingsResponse(
            dialect=NAME,
            vectors=tuple(_vector(one) for one in told),
            usage=decode_usage(body.get("usageMetadata")),
            extra={key: value for key, value in body.items() if key not in known} or None,
        )


# ── requests ───────────────────────────────────────────────────────────────────────────


def _input(request: dict[str, Json], at: str) -> EmbeddingInput:
    body = plain(request, {})
    where = wire_json.path(at, "content")
    content = plain(body["content"], {})
    ids = RequestIds()
    parts: list[Text | Media] = []
    for i, raw in enumerate(content["parts"]):
        part = decode_part(raw, f"{where}.parts[{i}]", ids.call, ids.result)
        if not isinstance(part, Text | Media):
            raise refuse(f"{where}.parts[{i}]", f"{where}.parts[{i}]: only text and media are embedded")
        parts.append(part)
    beside = {key: value for key, value in content.items() if key != "parts"}
    form = {"content": beside} if beside else {}
    if "model" in body:
        form["model"] = body["model"]
    task = body.get("taskType")
    if task == _UNSAID:
        form["task"], task = task, None
    return EmbeddingInput(
        parts=tuple(parts),
        task=task.lower() if task is not None else None,
        title=body.get("title"),
        dimensions=wire_json.take_integer(body, "outputDimensionality", at),
        extra={key: value for key, value in body.items() if key not in _INPUT} or None,
        form=form or None,
        at=where,
    )


def _said_once(inputs: list[EmbeddingInput]) -> tuple[dict[str, Any], list[EmbeddingInput]]:
    """What all inputs say alike, and the inputs without it."""
    fields = {name: getattr(inputs[0], name) for name in _SAID}
    fields = {
        name: value
        for name, value in fields.items()
        if value is not None and all(getattr(each, name) == value for each in inputs)
    }
    nothing = dict.fromkeys(fields)
    return fields, [msgspec.structs.replace(each, **nothing) for each in inputs]


def _paths(requests: list[dict[str, Json]], batch: bool) -> dict[str, str]:
    """Where the caller wrote a parameter first, if not in its usual place."""
    found: dict[str, str] = {}
    for i, request in enumerate(requests):
        for key in request:
            for name, usual in _SAID.items():
                if camel(key) == usual and (batch or key != usual):
                    found.setdefault(name, f"requests[{i}].{key}" if batch else key)
    return found


def _encode_input(request: EmbeddingsRequest, each: EmbeddingInput, losses: Losses, own: bool) -> dict[str, Json]:
    form = (each.form or {}) if own else {}
    if each.tokens is not None:
        at = each.at or "inputs"
        raise UnsupportedParameter(f"{at}: the target takes text, not tokens of another model", param=at)
    parts = [
        encode_text(part, own=own) if isinstance(part, Text) else encode_media(part, own=own) for part in each.parts
    ]
    body: dict[str, Json] = {"content": {"parts": parts, **form.get("content", {})}}
    if "model" in form:
        body["model"] = form["model"]
    for name, key in _SAID.items():
        common = getattr(request, name)
        value = common if (said := getattr(each, name)) is None else said
        if value is not None:
            body[key] = value
    task = body.get("taskType", form.get("task"))
    if task is not None:
        body["taskType"] = task.upper()
        if not own and task not in _TASKS:
            del body["taskType"]
            losses.append(dropped("task", "the target knows no such task"))
    return {**body, **(each.extra or {})} if own else body


# ── answers ────────────────────────────────────────────────────────────────────────────


def _vector(told: Json) -> Vector:
    values = told.get("values") if type(told) is dict else None
    try:
        floats = msgspec.convert(values, list[float])
    except msgspec.ValidationError:
        raise BadUpstreamBytes("the upstream's embedding is no list of numbers") from None
    return Vector(floats=floats, extra={key: value for key, value in told.items() if key != "values"} or None)
