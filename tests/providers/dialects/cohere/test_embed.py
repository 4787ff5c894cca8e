"""Embeddings of a Cohere upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import Media, Text
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse
from providers.canonical.errors import BadUpstreamBytes, RouteNotFound, UnsupportedParameter
from providers.canonical.loss import Loss
from providers.dialect import Asked, Traits, WireRequest, WireResponse
from providers.dialects.cohere.embed import EMBEDDINGS
from tests import corpus

Json = Any


def request(*texts: str, **more: Json) -> EmbeddingsRequest:
    inputs = tuple(EmbeddingInput(parts=(Text(text=text),)) for text in texts)
    return EmbeddingsRequest(dialect="test", model="embed-v4.0", inputs=inputs, **more)


def sent(request_: EmbeddingsRequest, losses: list[Loss] | None = None, traits: Traits | None = None) -> Json:
    wire = EMBEDDINGS.encode_embeddings_request(request_, [] if losses is None else losses, traits or Traits())
    assert "/v2/embed" == wire.path
    return json.loads(wire.body)


def answered(body: Json) -> WireResponse:
    return WireResponse(status=200, body=json.dumps(body).encode())


def test_texts() -> None:
    """All that has a place there, in its words; what has none is named."""
    losses: list[Loss] = []
    body = sent(
        request("a", "b", dimensions=256, task="retrieval_query", truncate="start", encoding="base64", end_user="u"),
        losses,
    )

    assert {
        "model": "embed-v4.0",
        "input_type": "search_query",
        "texts": ["a", "b"],
        "embedding_types": ["float"],
        "output_dimension": 256,
        "truncate": "START",
    } == body
    assert [("end_user", "dropped")] == [(loss.field, loss.kind) for loss in losses]


@pytest.mark.parametrize(
    ("task", "word", "kind"),
    [
        (None, "search_document", "invented"),
        ("retrieval_document", "search_document", None),
        ("classification", "classification", None),
        ("question_answering", "search_query", "approximated"),
        ("semantic_similarity", "clustering", "approximated"),
        ("something_new", "search_document", "approximated"),
    ],
)
def test_what_the_vectors_are_for(task: str | None, word: str, kind: str | None) -> None:
    """The service always wants to know; what is not said is made up, what it lacks is brought near."""
    losses: list[Loss] = []

    assert word == sent(request("a", task=task), losses)["input_type"]
    assert ([kind] if kind else []) == [loss.kind for loss in losses]


def test_pictures() -> None:
    """One picture makes all inputs go in the form that holds both."""
    picture = EmbeddingInput(parts=(Text(text="a"), Media(kind="image", mime_type="image/png", base64="AAAA")))
    body = sent(EmbeddingsRequest(dialect="test", model="m", inputs=(picture,), task="clustering"))

    assert "texts" not in body
    assert [
        {
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]
        }
    ] == body["inputs"]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (request(*["x"] * 97), "inputs"),
        (request("a", encoding="ubinary"), "encoding"),
        (EmbeddingsRequest(dialect="t", model="m", inputs=(EmbeddingInput(tokens=(1,), at="input"),)), "input"),
        (
            EmbeddingsRequest(
                dialect="t", model="m", inputs=(EmbeddingInput(parts=(Media(kind="image", url="https://x", at="c"),)),)
            ),
            "c",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(request_: EmbeddingsRequest, param: str) -> None:
    """More than it takes at once, other encodings, tokens, pictures by URL."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(request_)
    assert param == refusal.value.param


def test_traits() -> None:
    """A row may ignore and reject fields, by the words of the body."""
    losses: list[Loss] = []
    asked = request("a", dimensions=8, task="clustering")

    assert "output_dimension" not in sent(asked, losses, Traits(ignores=frozenset({"output_dimension"})))
    assert ["dimensions"] == [loss.field for loss in losses]
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(asked, traits=Traits(rejects=frozenset({"output_dimension"})))
    assert "dimensions" == refusal.value.param


@pytest.mark.parametrize("told", [[], {}, {"embeddings": {"int8": [[1]]}}, {"embeddings": {"float": [["a"]]}}])
def test_an_answer_that_is_none(told: Json) -> None:
    """What holds no numbers is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        EMBEDDINGS.decode_embeddings_response(answered(told))


@pytest.mark.parametrize(
    ("meta", "tokens"),
    [
        ({"billed_units": {"input_tokens": 4.0, "image_tokens": 3}}, 7),
        ({"billed_units": {"input_tokens": 0}}, 0),
        ({"billed_units": {}}, None),
        (None, None),
    ],
)
def test_what_was_counted(meta: Json, tokens: int | None) -> None:
    """Counts come as floats; pictures count beside texts; what is not said is not zero."""
    usage = EMBEDDINGS.decode_embeddings_response(answered({"embeddings": {"float": [[1]]}, "meta": meta})).usage

    assert tokens == (usage.input_tokens if usage else None)


def test_a_recorded_answer() -> None:
    """The vectors, the id and the count of a real answer."""
    case = next(case for case in corpus.cases("cohere") if case["api"] == "embed" and case["status"] == 200)
    response = EMBEDDINGS.decode_embeddings_response(answered(case["response_body"]))

    assert case["response_body"]["embeddings"]["float"] == [list(one.floats or ()) for one in response.vectors]
    assert (case["response_body"]["id"], 4) == (response.id, response.usage.input_tokens if response.usage else None)
    assert response.extra is None


def test_nobody_asks_in_it() -> None:
    """The caller's half is refused."""
    call = Asked(wire=WireRequest(path="/"), params={}, fields={}, top={}, model="m", task="embed")
    for refused in (
        lambda: EMBEDDINGS.decode_embeddings(call),
        lambda: EMBEDDINGS.encode_embeddings(EmbeddingsResponse(), request("a"), []),
    ):
        with pytest.raises(RouteNotFound):
            refused()
