"""openai.embeddings: read, understood, written and read again; and recorded traffic through it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ChatRequest, ChatResponse, Media, Message, Text, TokenCount, Usage
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse, Vector
from providers.canonical.errors import (
    BadUpstreamBytes,
    MalformedRequest,
    ModelNotFound,
    RouteNotFound,
    UnsupportedParameter,
    UpstreamFailed,
    UpstreamRejected,
)
from providers.canonical.loss import Loss
from providers.dialect import Asked, Traits, WireRequest, WireResponse
from providers.dialects.openai_embeddings import OpenAIEmbeddings
from tests import corpus

Json = Any

SPOKEN = OpenAIEmbeddings()
ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
    "model": "m",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


def asked(body: Json, **limits: int) -> Asked:
    return SPOKEN.read(WireRequest(path="/v1/embeddings", body=json.dumps(body).encode()), {}, **limits)


def decoded(**body: Json) -> EmbeddingsRequest:
    return SPOKEN.decode_embeddings(asked({"model": "m", **body}))


def answered(body: Json, status: int = 200) -> WireResponse:
    return WireResponse(status=status, body=json.dumps(body).encode())


def recorded(file: str) -> list[dict[str, Json]]:
    return [case for case in corpus.cases(file) if case["api"] == "embeddings" and case["provider"] != "ollama"]


# ── a caller's request ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "", "input": "x"}, "model"),
        ({"model": "m\n", "input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": None}, "input"),
        ({"model": "m", "input": 3}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": [{}]}, "input[0]"),
        ({"model": "m", "input": [True]}, "input[0]"),
        ({"model": "m", "input": ["a", 1]}, "input[1]"),
        ({"model": "m", "input": [1, "a"]}, "input[1]"),
        ({"model": "m", "input": [1, 2.5]}, "input[1]"),
        ({"model": "m", "input": [[1], []]}, "input[1]"),
        ({"model": "m", "input": [[1], [1, "a"]]}, "input[1][1]"),
        ({"model": "m", "input": ["a", "b", "c", "d"]}, "input"),
        ({"model": "m", "input": "x", "dimensions": 0}, "dimensions"),
        ({"model": "m", "input": "x", "dimensions": "9"}, "dimensions"),
        ({"model": "m", "input": "x", "encoding_format": 1}, "encoding_format"),
        ({"model": "m", "input": "x", "user": 1}, "user"),
    ],
)
def test_what_is_wrong_is_named(body: Json, param: str) -> None:
    """A malformed request goes nowhere, and the complaint has the path of what is wrong."""
    with pytest.raises(MalformedRequest) as complaint:
        asked(body, messages=3)
    assert param == complaint.value.param


def test_a_field_that_is_there_twice_is_refused() -> None:
    """Two readers would read two requests."""
    with pytest.raises(MalformedRequest, match="twice"):
        SPOKEN.read(WireRequest(path="/", body=b'{"model":"m","input":"a","input":"b"}'), {})


def test_many_tokens_are_one_input() -> None:
    """The limit counts inputs, and a list of tokens is one of them."""
    assert (0, 1, 2, 3) == decoded(input=list(range(4))).inputs[0].tokens
    assert "embeddings" == SPOKEN.operation(asked({"model": "m", "input": [1, 2, 3, 4]}, messages=2).task)


@pytest.mark.parametrize(
    ("written", "inputs"),
    [
        ("a", [EmbeddingInput(parts=(Text(text="a", at="input"),), at="input")]),
        (["a"], [EmbeddingInput(parts=(Text(text="a", at="input[0]"),), at="input[0]")]),
        ([5, 6], [EmbeddingInput(tokens=(5, 6), at="input")]),
        ([[5], [6]], [EmbeddingInput(tokens=(5,), at="input[0]"), EmbeddingInput(tokens=(6,), at="input[1]")]),
    ],
)
def test_the_four_forms_of_input(written: Json, inputs: list[EmbeddingInput]) -> None:
    """A text, texts, tokens, lists of tokens: each input knows where it stood."""
    assert tuple(inputs) == decoded(input=written).inputs


BODIES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "input": st.one_of(
            st.text(max_size=9),
            st.lists(st.text(max_size=9), min_size=1, max_size=3),
            st.lists(st.integers(0, 10**5), min_size=1, max_size=3),
            st.lists(st.lists(st.integers(0, 10**5), min_size=1, max_size=3), min_size=1, max_size=3),
        ),
    },
    optional={
        "dimensions": st.one_of(st.none(), st.integers(1, 4096)),
        "encoding_format": st.sampled_from(["float", "base64", None]),
        "user": st.one_of(st.none(), st.text(max_size=5)),
        "input_type": st.sampled_from(["query", None]),
    },
)


@given(BODIES)
def test_a_request_comes_back_as_it_was(body: Json) -> None:
    """What this dialect reads it writes again, value for value, spellings and unknown fields included."""
    losses: list[Loss] = []
    wire = SPOKEN.encode_embeddings_request(SPOKEN.decode_embeddings(asked(body)), losses)

    assert (body, []) == (json.loads(wire.body), losses)


@given(BODIES)
def test_relayed_bytes_are_untouched(body: Json) -> None:
    """Nothing is re-written for an upstream of the same dialect; another model is spliced in."""
    call = asked(body)

    assert call.wire.body == SPOKEN.relay_request(call, "m", []).body
    assert {**body, "model": "other"} == json.loads(SPOKEN.relay_request(call, "other", []).body)


def test_what_a_row_ignores_or_rejects() -> None:
    """Traits count in both lanes."""
    call = asked({"model": "m", "input": "x", "user": "u"})
    losses: list[Loss] = []

    assert {"model": "m", "input": "x"} == json.loads(
        SPOKEN.relay_request(call, "m", losses, Traits(ignores=frozenset({"user"}))).body
    )
    assert ["user"] == [loss.field for loss in losses]
    with pytest.raises(UnsupportedParameter) as refusal:
        traits = Traits(rejects=frozenset({"encoding_format"}))
        SPOKEN.encode_embeddings_request(decoded(input="x", encoding_format="base64"), [], traits)
    assert "encoding" == refusal.value.param


# ── for an upstream ────────────────────────────────────────────────────────────────────────


def foreign(*inputs: EmbeddingInput, **more: Json) -> EmbeddingsRequest:
    return EmbeddingsRequest(dialect="test", model="text-embedding-3-small", inputs=inputs, **more)


def test_a_request_of_another_dialect() -> None:
    """It is valid for the provider, and what has no place is named."""
    losses: list[Loss] = []
    request = foreign(
        EmbeddingInput(parts=(Text(text="a"),), title="T"),
        EmbeddingInput(parts=(Text(text="b"),), title="T"),
        dimensions=8,
        encoding="base64",
        task="retrieval_document",
        truncate="start",
        end_user="u",
    )
    wire = SPOKEN.encode_embeddings_request(request, losses)
    body = json.loads(wire.body)

    corpus.schema("openai.embeddings.request", "EmbeddingRequest").validate(body)
    assert ("/embeddings", ["a", "b"], 8, "base64", "u") == (
        wire.path,
        body["input"],
        body["dimensions"],
        body["encoding_format"],
        body["user"],
    )
    assert ["task", "title", "truncate"] == [loss.field for loss in losses]


A = EmbeddingInput(parts=(Text(text="a"),))
PICTURE = EmbeddingInput(parts=(Media(kind="image", base64="AA==", at="content.parts[0]"),))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (foreign(PICTURE), "content.parts[0]"),
        (foreign(A, encoding="int8"), "encoding"),
        (foreign(A, EmbeddingInput(parts=(Text(text="b"),), dimensions=2)), "dimensions"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(request_: EmbeddingsRequest, param: str) -> None:
    """Pictures, other encodings, vectors of several sizes: leaving that out would give a wrong answer."""
    with pytest.raises(UnsupportedParameter) as refusal:
        SPOKEN.encode_embeddings_request(request_, [])
    assert param == refusal.value.param


# ── answers ────────────────────────────────────────────────────────────────────────────────


def test_vectors_are_put_in_order() -> None:
    """The index counts, not the place."""
    told = {"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": "AACAPw=="}], "model": "m"}

    response = SPOKEN.decode_embeddings_response(answered(told))

    assert (Vector(base64="AACAPw=="), Vector(floats=[2.0])) == response.vectors


@pytest.mark.parametrize(
    "told",
    [
        [],
        {},
        {"data": {}},
        {"data": [3]},
        {"data": [{"index": 0}]},
        {"data": [{"embedding": [1, "a"]}]},
        {"data": [{"embedding": [1], "index": "0"}]},
        {"data": [{"embedding": [1], "index": 0}, {"embedding": [1], "index": 0}]},
    ],
)
def test_an_answer_that_is_none(told: Json) -> None:
    """What holds no vectors, or does not say which is which, is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        SPOKEN.decode_embeddings_response(answered(told))


def test_an_error_in_a_good_answer() -> None:
    """Some servers answer 200 and an error."""
    told = {"error": {"message": "no", "code": 503}}

    with pytest.raises(UpstreamFailed):
        SPOKEN.decode_embeddings_response(answered(told))
    with pytest.raises(UpstreamFailed):
        SPOKEN.relay_response(answered(told), asked({"model": "m", "input": "x"}))


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 2, "total_tokens": 2}, (2, 2)),
        ({"total_tokens": 3}, (3, 3)),
        ({"prompt_tokens": 2}, (2, None)),
        ({"prompt_tokens": "2"}, (None, None)),
    ],
)
def test_what_was_counted(usage: Json, counted: tuple[int | None, int | None]) -> None:
    """Servers that tell the total alone mean the input."""
    found = SPOKEN.relay_response(answered({**ANSWER, "usage": usage}), asked({"model": "m", "input": "x"}))

    assert found is not None
    assert counted == (found.input_tokens, found.total_tokens)


@pytest.mark.parametrize("told", [b"<html>", b"{}", b'{"data": []}', b'{"data": [{}]}', b'{"data": 5}', b"\xff"])
def test_a_relayed_answer_is_looked_at(told: bytes) -> None:
    """Bytes pass through only when they are an answer."""
    with pytest.raises(BadUpstreamBytes):
        SPOKEN.relay_response(WireResponse(status=200, body=told), asked({"model": "m", "input": "x"}))


@pytest.mark.parametrize(
    ("encoding", "embedding"), [(None, [1.0, -2.0]), ("float", [1.0, -2.0]), ("base64", "AACAPwAAAMA=")]
)
@pytest.mark.parametrize("vector", [Vector(floats=[1.0, -2.0]), Vector(base64="AACAPwAAAMA=")])
def test_the_caller_gets_the_form_that_it_asked_for(encoding: str | None, embedding: Json, vector: Vector) -> None:
    """Numbers or base64, whatever the upstream sent."""
    request = decoded(input="x", **({} if encoding is None else {"encoding_format": encoding}))
    response = EmbeddingsResponse(vectors=(vector,), usage=Usage(input_tokens=2, total_tokens=2))
    body = json.loads(SPOKEN.encode_embeddings(response, request, []).body)

    assert [{"object": "embedding", "index": 0, "embedding": embedding}] == body["data"]
    if encoding != "base64":
        corpus.schema("openai.embeddings_models.response", "EmbeddingResponse").validate(body)


def test_a_count_that_nobody_made_is_estimated_and_said() -> None:
    """Every answer has usage in this dialect; a made-up one is a loss."""
    losses: list[Loss] = []
    response = EmbeddingsResponse(vectors=(Vector(floats=[1.0]),), model="theirs")
    body = json.loads(SPOKEN.encode_embeddings(response, decoded(input="12345678"), losses).body)

    assert ({"prompt_tokens": 2, "total_tokens": 2}, "theirs") == (body["usage"], body["model"])
    assert [("usage", "invented")] == [(loss.field, loss.kind) for loss in losses]


# ── recorded ───────────────────────────────────────────────────────────────────────────────

GOOD = [case for file in ("openai-other", "openai-compatible") for case in recorded(file) if case["status"] == 200]
BAD = [case for file in ("openai-other", "openai-compatible") for case in recorded(file) if case["status"] != 200]


def test_there_is_recorded_traffic() -> None:
    """The two tests below do not pass for want of cases."""
    assert len(GOOD) >= 6
    assert len(BAD) >= 3


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case["id"])
def test_recorded_calls_come_through(case: Json) -> None:
    """Real requests and answers, read and written again, are the same."""
    body = {key: value for key, value in case["request_body"].items() if value is not None}
    request = SPOKEN.decode_embeddings(asked(body))
    response = SPOKEN.decode_embeddings_response(answered(case["response_body"]))

    assert body == json.loads(SPOKEN.encode_embeddings_request(request, []).body)
    assert SPOKEN.relay_response(answered(case["response_body"]), asked(body)) == response.usage
    if case["provider"] == "perplexity":  # its own base64, of 8-bit numbers: understood by whoever asked for it
        with pytest.raises(BadUpstreamBytes):
            SPOKEN.encode_embeddings(response, request, [])
    else:
        assert case["response_body"] == json.loads(SPOKEN.encode_embeddings(response, request, []).body)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["id"])
def test_recorded_refusals(case: Json) -> None:
    """A refusal keeps its status and words, and bears this dialect's name."""
    error = SPOKEN.decode_error(answered(case["response_body"], case["status"]))

    assert (case["status"], "openai.embeddings") == (error.status, error.dialect)
    assert isinstance(error, ModelNotFound if case["status"] == 404 else UpstreamRejected)
    corpus.schema("openai.chat.response", "ErrorResponse").validate(json.loads(SPOKEN.encode_error(error).body))


# ── no chats ───────────────────────────────────────────────────────────────────────────────


def test_there_is_no_chat_here() -> None:
    """Whatever belongs to a chat is refused by name."""
    chat = ChatRequest(dialect="test", model="m", messages=(Message(role="user", parts=()),))
    call = asked({"model": "m", "input": "x"})
    for refused in (
        lambda: SPOKEN.decode_request(call),
        lambda: SPOKEN.encode_request(chat, []),
        lambda: SPOKEN.encode_response(ChatResponse(), chat, []),
        lambda: SPOKEN.encode_count(TokenCount(total_tokens=1)),
        lambda: SPOKEN.stream_encoder(chat, []),
        lambda: SPOKEN.decode_response(answered({})),
        lambda: SPOKEN.stream_decoder(),
        lambda: SPOKEN.stream_relay(call),
    ):
        with pytest.raises(RouteNotFound, match=r"openai\.embeddings holds no chats"):
            refused()
