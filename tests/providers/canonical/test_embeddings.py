"""Canonical embeddings: what is shared, what is lost, and vectors in both their forms."""

from __future__ import annotations

import array
import base64
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Media, Text
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
from providers.canonical.errors import BadUpstreamBytes, UnsupportedParameter
from providers.canonical.loss import Loss, approximated, dropped

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def request(*inputs: EmbeddingInput, **more: object) -> EmbeddingsRequest:
    return EmbeddingsRequest(dialect="test", model="m", inputs=inputs, **more)  # type: ignore[arg-type]


def text(*texts: str, **more: object) -> EmbeddingInput:
    return EmbeddingInput(parts=tuple(Text(text=one) for one in texts), at="input[0]", **more)  # type: ignore[arg-type]


@given(st.lists(FLOAT32, min_size=1, max_size=50))
def test_numbers_of_32_bits_come_back_to_the_bit(floats: list[float]) -> None:
    """Numbers -> base64 -> numbers changes nothing, and base64 is what clients read as little-endian float32."""
    written = as_base64(Vector(floats=floats))

    assert floats == list(as_floats(Vector(base64=written)))
    assert floats == _as_clients_read(written)


def _as_clients_read(written: str) -> list[float]:
    """As the package openai reads it where numpy is not installed (`resources/embeddings.py`)."""
    numbers = array.array("f", base64.b64decode(written))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


@given(st.lists(FLOAT32, min_size=1, max_size=50))
def test_base64_comes_back_to_the_byte(floats: list[float]) -> None:
    """base64 -> numbers -> base64 changes nothing."""
    written = base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()

    assert written == as_base64(Vector(floats=as_floats(Vector(base64=written))))


def test_what_came_in_a_form_stays_in_it() -> None:
    """Nothing is converted that is wanted as it is."""
    assert "AAAA" == as_base64(Vector(base64="AAAA"))
    assert [1, 2.5] == as_floats(Vector(floats=[1, 2.5]))


@pytest.mark.parametrize(
    "written",
    ["", "????", "AAA", "AAAAAAA=", base64.b64encode(struct.pack("<f", float("nan"))).decode(), "AACAfw=="],
)
def test_base64_of_anything_else_is_the_upstreams_fault(written: str) -> None:
    """Other lengths, other alphabets, no numbers at all, and numbers that JSON does not have."""
    with pytest.raises(BadUpstreamBytes):
        as_floats(Vector(base64=written))


def test_numbers_beyond_32_bits_are_the_upstreams_fault() -> None:
    """A number that float32 cannot hold is no embedding."""
    with pytest.raises(BadUpstreamBytes):
        as_base64(Vector(floats=[1e300]))


@pytest.mark.parametrize(
    ("inputs", "common", "expected"),
    [
        ([None, None], None, None),
        ([None, None], 256, 256),
        ([256, 256], None, 256),
        ([256, None], 256, 256),
    ],
)
def test_one_value_for_all(inputs: list[int | None], common: int | None, expected: int | None) -> None:
    """What all inputs say alike, or the request says for them, can be told to a target that takes one."""
    asked = request(*(text("x", dimensions=size) for size in inputs), dimensions=common)

    assert expected == shared(asked, "dimensions")


@pytest.mark.parametrize(("inputs", "common"), [([256, 512], None), ([256, None], None), ([None, 1], 2)])
def test_different_values_are_refused(inputs: list[int | None], common: int | None) -> None:
    """A target that takes one size for all vectors cannot make them of several sizes."""
    asked = request(*(text("x", dimensions=size) for size in inputs), dimensions=common)

    with pytest.raises(UnsupportedParameter) as refusal:
        shared(asked, "dimensions")
    assert "dimensions" == refusal.value.param


def test_parts_are_joined_and_that_is_told() -> None:
    """A target of single texts gets the parts of one input as lines."""
    losses: list[Loss] = []

    assert "a\nb" == text_of(text("a", "b"), losses)
    assert [approximated("input[0]", "the target takes one text: the parts are joined")] == losses


@pytest.mark.parametrize(
    ("each", "param"),
    [
        (EmbeddingInput(tokens=(1, 2), at="input"), "input"),
        (EmbeddingInput(parts=(Media(kind="image", base64="AAAA", at="content.parts[0]"),)), "content.parts[0]"),
    ],
)
def test_only_text_is_text(each: EmbeddingInput, param: str) -> None:
    """Tokens of another model and media are refused where only text is read."""
    with pytest.raises(UnsupportedParameter) as refusal:
        text_of(each, [])
    assert param == refusal.value.param


def test_what_has_no_place_is_named_once() -> None:
    """Parameters by their word, and what only the caller's dialect knows by its path."""
    asked = request(
        EmbeddingInput(parts=(Text(text="x", extra={"odd": 1}, at="content.parts[0]"),), task="clustering"),
        EmbeddingInput(parts=(Text(text="y"),), task="clustering"),
        end_user="u",
        extra={"input_type": "query"},
    )
    losses: list[Loss] = []
    lose_rest(asked, losses)
    lose_said(asked, losses, "task", "title", "end_user")

    assert ["input_type", "content.parts[0].odd", "task", "end_user"] == [loss.field for loss in losses]
    assert dropped("task", "the target has no such parameter") in losses


def test_one_vector_for_each_input() -> None:
    """More or fewer vectors than inputs cannot be told apart: such an answer is of no use."""
    asked = request(text("a"), text("b"))
    two = (Vector(floats=[1.0]), Vector(floats=[2.0]))

    assert two == matched(EmbeddingsResponse(vectors=two), asked)
    with pytest.raises(BadUpstreamBytes, match="1 vectors for 2 inputs"):
        matched(EmbeddingsResponse(vectors=two[:1]), asked)


def test_the_rule_of_thumb() -> None:
    """Four characters a token, tokens as they are, and a fixed count for media."""
    media = EmbeddingInput(parts=(Media(kind="image", base64="AAAA"),))

    assert 3 + 2 + 258 == estimate_inputs(request(text("123456789"), EmbeddingInput(tokens=(7, 8)), media))
