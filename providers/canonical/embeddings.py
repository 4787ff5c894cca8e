"""Canonical embeddings: what is to be turned into vectors, and the vectors, whatever language a call was written in.

`extra`, `form`, `at` and `paths` are those of `canonical/chat.py`. Vectors stay as they came, as numbers or as base64
of little-endian float32 (the form that OpenAI's clients ask for); `as_floats` and `as_base64` go between the two.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from providers.canonical.chat import Media, Text, Usage, Value
from providers.canonical.errors import BadUpstreamBytes, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, lose_extra, lose_marks


class EmbeddingInput(Value, frozen=True, kw_only=True):
    """What becomes one vector: `parts` (text, media), or `tokens` of the model's own tokenizer.

    `task`, `title` and `dimensions` are said here where they hold for this input only, else by the request.
    """

    parts: tuple[Text | Media, ...] = ()
    tokens: tuple[int, ...] | None = None
    task: str | None = None
    title: str | None = None
    dimensions: int | None = None


class EmbeddingsRequest(Value, frozen=True, kw_only=True):
    """One call. `dialect` is the one that decoded it; `paths` as in ChatRequest.

    `encoding`: how the caller wants its vectors, `float` or `base64`. `task`: what they are for, in lower case:
    `retrieval_query`, `retrieval_document`, `semantic_similarity`, `classification`, `clustering`, …. `truncate`: what
    happens to an input that is too long, `none` (an error), `start` or `end` (which side is cut off).
    """

    dialect: str
    model: str
    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    encoding: str | None = None
    task: str | None = None
    title: str | None = None
    truncate: str | None = None
    end_user: str | None = None
    paths: Mapping[str, str] | None = None


class Vector(Value, frozen=True, kw_only=True):
    """One vector, by exactly one of `floats` and `base64`."""

    floats: Sequence[float] | None = None
    base64: str | None = None


class EmbeddingsResponse(Value, frozen=True, kw_only=True):
    """The vectors, in the order of the inputs."""

    dialect: str = ""
    id: str | None = None
    model: str | None = None
    vectors: tuple[Vector, ...] = ()
    usage: Usage | None = None


# ── requests ───────────────────────────────────────────────────────────────────────────


def shared(request: EmbeddingsRequest, name: str) -> Any:
    """The value of `task`, `title` or `dimensions` for a target that takes one for all inputs.

    UnsupportedParameter when the inputs say different ones.
    """
    common = getattr(request, name)
    values = [common if (own := getattr(each, name)) is None else own for each in request.inputs]
    if any(value != values[0] for value in values):
        raise UnsupportedParameter(f"{name}: the target takes one for all inputs", param=name)
    return values[0] if values else common


def text_of(each: EmbeddingInput, losses: Losses) -> str:
    """The text of an input, its parts joined by line ends. UnsupportedParameter for tokens and media."""
    at = each.at or "input"
    if each.tokens is not None:
        raise UnsupportedParameter(f"{at}: the target takes text, not tokens of another model", param=at)
    texts = []
    for part in each.parts:
        if not isinstance(part, Text):
            raise UnsupportedParameter(f"{part.at or at}: the target takes text only", param=part.at or at)
        texts.append(part.text)
    if len(texts) > 1:
        losses.append(approximated(at, "the target takes one text: the parts are joined"))
    return "\n".join(texts)


def lose_rest(request: EmbeddingsRequest, losses: Losses) -> None:
    """Declares what only the caller's dialect understands, for a target that speaks another."""
    lose_extra(request, losses)
    for each in request.inputs:
        lose_extra(each, losses)
        for part in each.parts:
            lose_extra(part, losses)
            lose_marks(part, losses)


def lose_said(request: EmbeddingsRequest, losses: Losses, *names: str) -> None:
    """Declares those parameters (`task`, `title`, `truncate`, `end_user`) that are said and have no place there."""
    for name in names:
        if getattr(request, name) is not None or any(getattr(each, name, None) is not None for each in request.inputs):
            losses.append(dropped(name, "the target has no such parameter"))


# ── answers ────────────────────────────────────────────────────────────────────────────


def matched(response: EmbeddingsResponse, request: EmbeddingsRequest) -> tuple[Vector, ...]:
    """The vectors, one for each input. BadUpstreamBytes for more or fewer: nobody could tell which is which."""
    if len(response.vectors) != len(request.inputs):
        found, wanted = len(response.vectors), len(request.inputs)
        raise BadUpstreamBytes(f"the upstream answered with {found} vectors for {wanted} inputs")
    return response.vectors


def as_floats(vector: Vector) -> Sequence[float]:
    """The vector as numbers. BadUpstreamBytes for base64 that is not of float32."""
    if vector.base64 is None:
        return vector.floats or ()
    try:
        data = base64.b64decode(vector.base64, validate=True)
        floats = struct.unpack(f"<{len(data) // 4}f", data)
    except (binascii.Error, struct.error, ValueError):
        floats = ()
    if not floats or not math.isfinite(sum(floats)):
        raise BadUpstreamBytes("the upstream's vector is not base64 of 32-bit numbers")
    return floats


def as_base64(vector: Vector) -> str:
    """The vector as base64 of little-endian float32: numbers that came from float32 come back to the bit."""
    if vector.base64 is not None:
        return vector.base64
    floats = vector.floats or ()
    try:
        return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
    except (OverflowError, struct.error):
        raise BadUpstreamBytes("the upstream's vector holds numbers beyond 32 bits") from None
