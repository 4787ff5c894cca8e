"""Embeddings of Gemini: embedContent and batchEmbedContents, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Media, Text, Usage
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse, Vector
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest, UnsupportedParameter, UpstreamBusy
from providers.canonical.loss import Loss, in_callers_words
from providers.dialect import Asked, Traits, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.gemini.embed import GeminiEmbeddings
from providers.dialects.gemini.names import PATHS
from tests import corpus

Json = Any

GEMINI = DIALECTS["gemini"]
CODEC = GeminiEmbeddings()
HI = {"parts": [{"text": "Hi"}]}


def asked(body: Json, task: str = "embedContent") -> Asked:
    wire = WireRequest(path="/", body=json.dumps(body).encode())
    return GEMINI.read(wire, {"model": "gemini-embedding-001", "task": task, "version": "v1beta"})


def decoded(body: Json, task: str = "embedContent") -> EmbeddingsRequest:
    return CODEC.decode_embeddings(asked(body, task))


def answered(body: Json) -> WireResponse:
    return WireResponse(status=200, body=json.dumps(body).encode())


def foreign(*texts: str, **more: Json) -> EmbeddingsRequest:
    inputs = tuple(EmbeddingInput(parts=(Text(text=text),)) for text in texts)
    return EmbeddingsRequest(dialect="test", model="gemini-embedding-001", inputs=inputs, **more)


# ── a caller's request ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "body", "param"),
    [
        ("embedContent", {}, "content"),
        ("embedContent", {"content": {"parts": []}}, "content.parts"),
        ("embedContent", {"content": HI, "taskType": 3}, "taskType"),
        ("embedContent", {"content": HI, "title": []}, "title"),
        ("embedContent", {"content": HI, "output_dimensionality": 0}, "output_dimensionality"),
        ("embedContent", {"content": HI, "outputDimensionality": "8"}, "outputDimensionality"),
        ("embedContent", {"content": HI, "taskType": "A", "task_type": "B"}, "task_type"),
        ("batchEmbedContents", {"requests": []}, "requests"),
        ("batchEmbedContents", {"requests": [3]}, "requests[0]"),
        ("batchEmbedContents", {"requests": [{"content": HI}, {}]}, "requests[1].content"),
        ("batchEmbedContents", {"requests": [{"content": HI, "title": 1}]}, "requests[0].title"),
    ],
)
def test_what_is_wrong_is_named(task: str, body: Json, param: str) -> None:
    """Both forms are checked in full, in either spelling."""
    with pytest.raises(MalformedRequest) as complaint:
        asked(body, task)
    assert param == complaint.value.param


def test_calls_are_not_embedded() -> None:
    """A content may hold parts that no embedding is made of."""
    with pytest.raises(MalformedRequest) as complaint:
        decoded({"content": {"parts": [{"functionCall": {"name": "f"}}]}})
    assert "content.parts[0]" == complaint.value.param


def test_one_input() -> None:
    """All that the single form says, in the words of everybody."""
    body = {
        "content": {"parts": [{"text": "a"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
        "task_type": "RETRIEVAL_DOCUMENT",
        "title": "T",
        "outputDimensionality": 8,
    }
    request = decoded(body)
    each = request.inputs[0]

    assert ("retrieval_document", "T", 8) == (request.task, request.title, request.dimensions)
    assert {"task": "task_type"} == request.paths
    assert ["a", "AAAA"] == [part.text if isinstance(part, Text) else part.base64 for part in each.parts]
    assert ["content.parts[0]", "content.parts[1]"] == [part.at for part in each.parts]


def test_what_a_batch_says_alike_is_said_once() -> None:
    """Then a target that takes one size for all vectors can be asked; what differs stays with its input."""
    requests = [
        {"content": HI, "taskType": "CLUSTERING", "outputDimensionality": 8, "title": "A"},
        {"content": HI, "taskType": "CLUSTERING", "outputDimensionality": 8, "title": "B"},
    ]
    request = decoded({"requests": requests}, "batchEmbedContents")

    assert ("clustering", 8, None) == (request.task, request.dimensions, request.title)
    assert [(None, None, "A"), (None, None, "B")] == [
        (each.task, each.dimensions, each.title) for each in request.inputs
    ]
    assert "requests[0].taskType" == (request.paths or {})["task"]


ONE = st.fixed_dictionaries(
    {
        "content": st.fixed_dictionaries(
            {"parts": st.lists(st.fixed_dictionaries({"text": st.text(max_size=5)}), min_size=1, max_size=3)},
            optional={"role": st.sampled_from(["user", "model"])},
        )
    },
    optional={
        "taskType": st.sampled_from(["CLUSTERING", "RETRIEVAL_QUERY", "TASK_TYPE_UNSPECIFIED", "NEW_ONE"]),
        "title": st.text(max_size=5),
        "outputDimensionality": st.integers(1, 4000),
        "model": st.just("models/gemini-embedding-001"),
        "embedContentConfig": st.just({"autoTruncate": True}),
    },
)


@given(ONE)
def test_a_single_request_comes_back_as_it_was(body: Json) -> None:
    """What this dialect reads it writes again."""
    wire = CODEC.encode_embeddings_request(decoded(body), [])

    assert ("/v1beta/models/gemini-embedding-001:embedContent", body) == (wire.path, json.loads(wire.body))


@given(st.lists(ONE, min_size=1, max_size=3))
def test_a_batch_comes_back_as_it_was(requests: Json) -> None:
    """A batch of one is a batch, too."""
    wire = CODEC.encode_embeddings_request(decoded({"requests": requests}, "batchEmbedContents"), [])

    assert wire.path.endswith(":batchEmbedContents")
    assert {"requests": requests} == json.loads(wire.body)


# ── for an upstream ────────────────────────────────────────────────────────────────────────


def test_one_text_of_another_dialect() -> None:
    """It goes as a single request, which is valid."""
    losses: list[Loss] = []
    wire = CODEC.encode_embeddings_request(
        foreign("a", dimensions=8, task="retrieval_query", encoding="base64", end_user="u", truncate="none"), losses
    )
    body = json.loads(wire.body)

    corpus.schema("gemini.v1beta.request", "EmbedContentRequest").validate(body)
    assert "/v1beta/models/gemini-embedding-001:embedContent" == wire.path
    assert {
        "content": {"parts": [{"text": "a"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 8,
    } == body
    assert ["truncate", "end_user"] == [loss.field for loss in losses]


def test_several_texts_of_another_dialect() -> None:
    """They go as a batch, in which every request names the model again."""
    wire = CODEC.encode_embeddings_request(foreign("a", "b", dimensions=8), [])
    body = json.loads(wire.body)

    corpus.schema("gemini.v1beta.request", "BatchEmbedContentsRequest").validate(body)
    assert "/v1beta/models/gemini-embedding-001:batchEmbedContents" == wire.path
    assert [("models/gemini-embedding-001", "a", 8), ("models/gemini-embedding-001", "b", 8)] == [
        (one["model"], one["content"]["parts"][0]["text"], one["outputDimensionality"]) for one in body["requests"]
    ]


def test_a_task_that_it_does_not_know() -> None:
    """An unknown word would be refused by the service: it is left out and named."""
    losses: list[Loss] = []
    wire = CODEC.encode_embeddings_request(foreign("a", task="image"), losses)

    assert "taskType" not in json.loads(wire.body)
    assert [("task", "dropped")] == [(loss.field, loss.kind) for loss in losses]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (foreign(*["x"] * 101), "inputs"),
        (foreign("a", encoding="int8"), "encoding"),
        (EmbeddingsRequest(dialect="test", model="m", inputs=(EmbeddingInput(tokens=(1,), at="input"),)), "input"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(request_: EmbeddingsRequest, param: str) -> None:
    """More than a batch holds, other encodings, tokens of another model."""
    with pytest.raises(UnsupportedParameter) as refusal:
        CODEC.encode_embeddings_request(request_, [])
    assert param == refusal.value.param


def test_traits_count_in_each_request() -> None:
    """What a row ignores is left out of every request of a batch and named once, in the caller's words."""
    losses: list[Loss] = []
    request = foreign("a", "b", dimensions=8)
    wire = CODEC.encode_embeddings_request(request, losses, Traits(ignores=frozenset({"outputDimensionality"})))

    assert all("outputDimensionality" not in one for one in json.loads(wire.body)["requests"])
    assert ["outputDimensionality"] == [loss.field for loss in in_callers_words(losses, request, PATHS)]


# ── answers ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "told", [[], {}, {"embedding": 3}, {"embedding": {}}, {"embeddings": {}}, {"embeddings": [{"values": ["a"]}]}]
)
def test_an_answer_that_is_none(told: Json) -> None:
    """What holds no vectors is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        CODEC.decode_embeddings_response(answered(told))


def test_an_error_in_a_good_answer() -> None:
    """It is read as the error that it is."""
    with pytest.raises(UpstreamBusy):
        CODEC.decode_embeddings_response(answered({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}))


def test_the_form_of_the_answer_is_that_of_the_question() -> None:
    """One embedding for embedContent, a list for a batch of one; usage where it is known."""
    response = EmbeddingsResponse(vectors=(Vector(base64="AACAPw=="),), usage=Usage(input_tokens=2, total_tokens=2))
    single = json.loads(CODEC.encode_embeddings(response, decoded({"content": HI}), []).body)
    request = decoded({"requests": [{"content": HI}]}, "batchEmbedContents")
    batch = json.loads(CODEC.encode_embeddings(response, request, []).body)

    corpus.schema("gemini.v1beta.response", "EmbedContentResponse").validate(single)
    corpus.schema("gemini.v1beta.response", "BatchEmbedContentsResponse").validate(batch)
    assert {"values": [1.0]} == single["embedding"]
    assert [{"values": [1.0]}] == batch["embeddings"]
    assert {"promptTokenCount": 2, "totalTokenCount": 2} == single["usageMetadata"]


RECORDED = [case for case in corpus.cases("gemini") if case["api"] in ("embedContent", "batchEmbedContents")]


def test_there_is_recorded_traffic() -> None:
    """The test below does not pass for want of cases."""
    assert {"embedContent", "batchEmbedContents"} == {case["api"] for case in RECORDED}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_recorded_calls_come_through(case: Json) -> None:
    """Real requests and answers, read and written again, say the same."""
    request = decoded(case["request_body"], case["api"])
    response = CODEC.decode_embeddings_response(answered(case["response_body"]))

    again = decoded(json.loads(CODEC.encode_embeddings_request(request, []).body), case["api"])
    assert [len(each.parts) for each in request.inputs] == [len(each.parts) for each in again.inputs]
    assert case["response_body"] == json.loads(CODEC.encode_embeddings(response, request, []).body)
    assert response.usage is not None and response.usage.input_tokens


def test_media_go_as_content() -> None:
    """A picture stays a picture on the way to a model that embeds pictures."""
    picture = EmbeddingInput(parts=(Media(kind="image", mime_type="image/png", base64="AAAA"),))
    wire = CODEC.encode_embeddings_request(EmbeddingsRequest(dialect="test", model="m", inputs=(picture,)), [])

    assert [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}] == json.loads(wire.body)["content"]["parts"]
