"""The dialect as a whole, on recorded traffic: what came in this dialect goes out as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import TokenCount
from providers.canonical.errors import RouterError, UpstreamFailed
from providers.canonical.stream import fold
from providers.dialect import WireResponse
from tests.corpus import cases, schema
from tests.providers.dialects.gemini.spoken import (
    GEMINI,
    events,
    recorded_request,
    recorded_stream,
    sent,
    told,
    written,
)

CHAT = ("generateContent", "streamGenerateContent")
TASKS = (*CHAT, "countTokens")

#: Recorded answers that are not passed on: the model failed and gave nothing.
FAILED_ANSWERS = {"lng-gemini-generatecontent-6278b10c4f": "the only candidate says OTHER and has no content"}

REQUESTS = [case for case in cases("gemini") if case["api"] in TASKS and case["request_body"] is not None]
GOOD = [case for case in cases("gemini") if case["api"] in CHAT and case["status"] == 200]
ANSWERS = [case for case in GOOD if isinstance(case.get("response_body"), dict)]
STREAMS = [case for case in GOOD if case["api"] == "streamGenerateContent"]


def named(case: dict[str, Any]) -> str:
    return str(case["id"])


def test_recorded_requests_go_out_as_they_came() -> None:
    """Every recorded request, decoded and encoded again, is JSON-equal and loses nothing."""
    wrong = []
    for case in REQUESTS:
        losses: list[Any] = []
        wire = GEMINI.encode_request(GEMINI.decode_request(recorded_request(case)), losses)
        if json.loads(wire.body) != case["request_body"] or losses:
            wrong.append(case["id"])

    assert wrong == []
    assert len(REQUESTS) > 300


def test_recorded_answers_go_out_as_they_came() -> None:
    """Every recorded answer, decoded and encoded again, is JSON-equal; a failed one is an error."""
    wrong, failed = [], set()
    for case in ANSWERS:
        try:
            response = GEMINI.decode_response(WireResponse(status=200, body=json.dumps(case["response_body"]).encode()))
        except UpstreamFailed:
            failed.add(case["id"])
            continue
        losses: list[Any] = []
        body = json.loads(GEMINI.encode_response(response, GEMINI.decode_request(_any_request()), losses).body)
        if body != case["response_body"] or losses:
            wrong.append(case["id"])

    assert wrong == []
    assert failed == set(FAILED_ANSWERS)
    assert len(ANSWERS) > 200


def _any_request() -> Any:
    return recorded_request(REQUESTS[0])


@pytest.mark.parametrize("case", STREAMS, ids=named)
def test_recorded_streams_at_any_cut(case: dict[str, Any]) -> None:
    """A recorded stream gives the same events whole and cut into pieces, of one byte where it is not long."""
    data = recorded_stream(case)
    steps = (1, 3, 1021) if len(data) < 8000 else (31, 1021)
    whole = events(data)

    assert [whole] * len(steps) == [events(data, step) for step in steps]


def plain_texts(response: Any) -> Any:
    """An answer in which a signed text is the text and then the signature, as a stream writes it."""
    choices = []
    for choice in response.choices:
        parts: list[Any] = []
        for part in choice.parts:
            key = (type(part).__name__, getattr(part, "text", part))
            if parts and isinstance(key[1], str) and parts[-1][0] == key[0] and not parts[-1][2]:
                parts[-1] = (key[0], parts[-1][1] + key[1], part.seal)
            else:
                parts.append((*key, part.seal))
        choices.append((choice.index, parts, choice.finish, choice.extra, choice.logprobs))
    return (response.id, response.model, choices, response.usage, response.extra, response.blocked)


@pytest.mark.parametrize("alt", ["sse", "json"])
def test_recorded_streams_are_written_as_they_are_read(alt: str) -> None:
    """A recorded stream, read, written as SSE or as an array, and read again, is the same answer."""
    wrong = []
    for case in STREAMS:
        answer = fold(events(recorded_stream(case)))
        again = fold(events(written(events(recorded_stream(case)), alt)))
        if plain_texts(answer) != plain_texts(again):
            wrong.append(case["id"])

    assert wrong == []


def test_written_chunks_fit_the_schema() -> None:
    """Every element of a written array is a GenerateContentResponse."""
    check = schema("gemini.v1beta.response", "GenerateContentResponse")
    for case in STREAMS:
        for chunk in json.loads(written(events(recorded_stream(case)), "json")):
            check.validate(chunk)


@pytest.mark.parametrize("case", STREAMS, ids=named)
def test_a_stream_and_its_whole_are_one_answer(case: dict[str, Any]) -> None:
    """The answer that a stream folds to can be told whole, with the same text, calls and usage."""
    answer = fold(events(recorded_stream(case)))
    body = told(answer)
    again = GEMINI.decode_response(WireResponse(status=200, body=json.dumps(body, ensure_ascii=False).encode()))

    assert plain_texts(again) == plain_texts(answer)


def test_recorded_requests_survive_as_foreign_ones() -> None:
    """A recorded request of this dialect passes through the foreign path: it fits the schema or is refused by name."""
    import msgspec

    refused = 0
    for case in REQUESTS:
        request = GEMINI.decode_request(recorded_request(case))
        foreign = msgspec.structs.replace(request, dialect="another", model="gemini-3-flash-preview", form=None)
        try:
            sent(foreign)
        except RouterError as error:
            refused += 1

            assert error.status == 400
            assert error.param

    assert refused < len(REQUESTS) / 4


@pytest.mark.parametrize(
    ("task", "operation"),
    [("generateContent", "chat"), ("countTokens", "count_tokens"), ("batchEmbedContents", "embeddings")],
)
def test_operations(task: str, operation: str) -> None:
    """A task is called as OpenTelemetry calls it."""
    assert operation == GEMINI.operation(task)


def test_counts() -> None:
    """A count is totalTokens, and cachedContentTokenCount where it is known."""
    wire = GEMINI.encode_count(TokenCount(total_tokens=7, cached_tokens=2))

    assert {"totalTokens": 7, "cachedContentTokenCount": 2} == json.loads(wire.body)


def test_escaped_names_come_back_as_the_caller_wrote_them() -> None:
    """A function name that had to be escaped is the caller's again in the answer."""
    body = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "isthmus_1st"}}]}, "finishReason": "STOP"}]}
    part = GEMINI.decode_response(WireResponse(status=200, body=json.dumps(body).encode())).choices[0].parts[0]

    assert "1st" == part.name  # type: ignore[union-attr]  # a call
