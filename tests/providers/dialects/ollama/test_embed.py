"""Embeddings of Ollama, on either side."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Text, Usage
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse, Vector
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Loss
from providers.dialect import Asked, Traits, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.ollama.embed import EMBEDDINGS
from tests import corpus

Json = Any

OLLAMA = DIALECTS["ollama.chat"]


def asked(body: Json, task: str = "embed") -> Asked:
    return OLLAMA.read(WireRequest(path=f"/api/{task}", body=json.dumps(body).encode()), {})


def decoded(task: str = "embed", **body: Json) -> EmbeddingsRequest:
    return EMBEDDINGS.decode_embeddings(asked({"model": "m", **body}, task))


def answered(body: Json) -> WireResponse:
    return WireResponse(status=200, body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 3}, "input"),
        ({"input": ["a", 3]}, "input[1]"),
        ({"input": "a", "truncate": "yes"}, "truncate"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": "8"}, "dimensions"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
    ],
)
def test_what_is_wrong_is_named(body: Json, param: str) -> None:
    """What would reach another model as nonsense is refused."""
    with pytest.raises(MalformedRequest) as complaint:
        decoded(**body)
    assert param == complaint.value.param


BODIES = st.fixed_dictionaries(
    {"model": st.just("m"), "input": st.one_of(st.text(min_size=1), st.lists(st.text(), min_size=1, max_size=3))},
    optional={
        "truncate": st.booleans(),
        "dimensions": st.integers(1, 4096),
        "keep_alive": st.just("5m"),
        "options": st.just({"num_ctx": 512}),
    },
)


@given(BODIES)
def test_a_request_comes_back_as_it_was(body: Json) -> None:
    """What this dialect reads it writes again."""
    wire = EMBEDDINGS.encode_embeddings_request(EMBEDDINGS.decode_embeddings(asked(body)), [])

    assert ("/api/embed", body) == (wire.path, json.loads(wire.body))


def test_the_older_form() -> None:
    """One prompt in, one vector out, as long as there are clients that ask so."""
    request = decoded("embeddings", prompt="a")
    body = json.loads(
        EMBEDDINGS.encode_embeddings(EmbeddingsResponse(vectors=(Vector(floats=[1.0]),)), request, []).body
    )

    assert [Text(text="a", at="prompt")] == [part for each in request.inputs for part in each.parts]
    assert {"embedding": [1.0]} == body


@pytest.mark.parametrize(
    ("truncate", "written", "kinds"),
    [(None, None, []), ("none", False, []), ("end", True, []), ("start", True, ["approximated"])],
)
def test_a_request_of_another_dialect(truncate: str | None, written: bool | None, kinds: list[str]) -> None:
    """Texts and a size; what becomes of long texts as near as it goes."""
    inputs = (EmbeddingInput(parts=(Text(text="a"),)), EmbeddingInput(parts=(Text(text="b"),)))
    losses: list[Loss] = []
    wire = EMBEDDINGS.encode_embeddings_request(
        EmbeddingsRequest(dialect="t", model="m", inputs=inputs, dimensions=8, truncate=truncate), losses
    )
    body = json.loads(wire.body)

    assert (["a", "b"], 8, written) == (body["input"], body["dimensions"], body.get("truncate"))
    assert kinds == [loss.kind for loss in losses]
    ollama._types.EmbedRequest.model_validate(body, strict=True)


def test_what_has_no_place_is_named() -> None:
    """Tasks, titles and users are not known there."""
    losses: list[Loss] = []
    inputs = (EmbeddingInput(parts=(Text(text="a"),)),)
    request = EmbeddingsRequest(dialect="t", model="m", inputs=inputs, task="clustering", title="T", end_user="u")
    EMBEDDINGS.encode_embeddings_request(request, losses, Traits())

    assert ["task", "title", "end_user"] == [loss.field for loss in losses]


@pytest.mark.parametrize(
    ("more", "param"),
    [({"inputs": (EmbeddingInput(tokens=(1,), at="input"),)}, "input"), ({"encoding": "i8"}, "encoding")],
)
def test_what_cannot_be_asked_for_is_refused(more: Json, param: str) -> None:
    """Tokens of another model, other encodings."""
    fields = {"inputs": (EmbeddingInput(parts=(Text(text="a"),)),), **more}
    with pytest.raises(UnsupportedParameter) as refusal:
        EMBEDDINGS.encode_embeddings_request(EmbeddingsRequest(dialect="t", model="m", **fields), [])
    assert param == refusal.value.param


@pytest.mark.parametrize("told", [[], {}, {"embeddings": [["a"]]}, {"embeddings": [1]}])
def test_an_answer_that_is_none(told: Json) -> None:
    """What holds no vectors is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        EMBEDDINGS.decode_embeddings_response(answered(told))


def test_an_answer_comes_back_as_it_was() -> None:
    """What this dialect reads of an answer it writes again."""
    told = {"model": "m", "embeddings": [[0.5], [1.0]], "prompt_eval_count": 4, "total_duration": 9, "load_duration": 1}
    response = EMBEDDINGS.decode_embeddings_response(answered(told))

    assert told == json.loads(EMBEDDINGS.encode_embeddings(response, decoded(input=["a", "b"]), []).body)
    assert response.usage is not None
    assert 4 == response.usage.input_tokens


def test_an_answer_of_another_dialect() -> None:
    """It is valid, the official client reads it, and nothing that was not counted is zero."""
    counted = EmbeddingsResponse(vectors=(Vector(base64="AACAPw=="),), usage=Usage(input_tokens=3))
    body = json.loads(EMBEDDINGS.encode_embeddings(counted, decoded(input="a"), []).body)
    uncounted = EmbeddingsResponse(vectors=(Vector(base64="AACAPw=="),))

    corpus.schema("ollama.chat.response", "EmbedResponse").validate(body)
    assert [[1.0]] == ollama.EmbedResponse.model_validate(body).embeddings
    assert {"model": "m", "embeddings": [[1.0]], "prompt_eval_count": 3} == body
    assert "prompt_eval_count" not in json.loads(EMBEDDINGS.encode_embeddings(uncounted, decoded(input="a"), []).body)
