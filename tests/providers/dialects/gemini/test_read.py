"""What a Gemini caller's request must be, in both lanes."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.errors import Detail, MalformedRequest, RouteNotFound
from tests.corpus import cases
from tests.providers.dialects.gemini.spoken import HI, Json, asked, recorded_request


def refused(body: Json, **more: Any) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        asked(body, **more)
    return caught.value


def configured(**config: Json) -> Json:
    return {**HI, "generationConfig": config}


def test_contents_are_required() -> None:
    """T-1.11: without contents the answer is 400 and names them."""
    error = refused({"generationConfig": {}})

    assert ("contents", 400) == (error.param, error.status)
    assert (Detail("contents", "contents is required"),) == error.details


def test_temperature_has_a_range() -> None:
    """T-1.12: a temperature of 3 is refused by its path."""
    error = refused({"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"temperature": 3}})

    assert "generationConfig.temperature" == error.param
    assert "generationConfig.temperature" == error.details[0].field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": "Hi"}, "contents"),
        ({"contents": {"parts": [{"text": "Hi"}]}}, "contents"),
        ({"contents": ["Hi"]}, "contents[0]"),
        ({"contents": [{}]}, "contents[0].parts"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [{"parts": ["Hi"]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "Hi"}]}]}, "contents[0].role"),
        ({"contents": [{"role": 1, "parts": [{"text": "Hi"}]}]}, "contents[0].role"),
        ({**HI, "systemInstruction": []}, "systemInstruction"),
        ({**HI, "system_instruction": {"parts": []}}, "system_instruction.parts"),
        ({**HI, "tools": {}}, "tools"),
        ({**HI, "tools": [1]}, "tools[0]"),
        ({**HI, "tools": [{"function_declarations": {}}]}, "tools[0].function_declarations"),
        ({**HI, "toolConfig": 1}, "toolConfig"),
        ({**HI, "generationConfig": []}, "generationConfig"),
        ({**HI, "generation_config": {"top_p": 2}}, "generation_config.top_p"),
        (configured(topK=0), "generationConfig.topK"),
        (configured(topK=1.5), "generationConfig.topK"),
        (configured(maxOutputTokens="9"), "generationConfig.maxOutputTokens"),
        (configured(maxOutputTokens=True), "generationConfig.maxOutputTokens"),
        (configured(candidateCount=0), "generationConfig.candidateCount"),
        (configured(logprobs=-1), "generationConfig.logprobs"),
        (configured(temperature=-0.1), "generationConfig.temperature"),
        ({**HI, "safetySettings": {}}, "safetySettings"),
        ({**HI, "safetySettings": [1]}, "safetySettings[0]"),
        ({**HI, "safetySettings": [{"threshold": "OFF"}]}, "safetySettings[0].category"),
        ({**HI, "safetySettings": [{"category": "X", "threshold": 1}]}, "safetySettings[0].threshold"),
        ({**HI, "generationConfig": {}, "generation_config": {}}, "generation_config"),
    ],
)
def test_the_wrong_field_is_named(body: Json, field: str) -> None:
    """Whatever is not as it must be is a 400 with its path, in `param` and in the details."""
    error = refused(body)

    assert (field, field) == (error.param, error.details[0].field)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"contents":NaN}', b'{"contents":[],"contents":[]}', b"{'a':1}"]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """Broken JSON, other values than objects, and a field that is there twice."""
    error = refused(body)

    assert 400 == error.status
    assert error.details


def test_too_many_are_refused() -> None:
    """Contents and tools have limits of their own."""
    content = {"parts": [{"text": "Hi"}]}
    functions = [{"functionDeclarations": [{"name": "f"}] * 513}]

    assert "contents" == refused({"contents": [content] * 2049}).param
    assert "tools" == refused({**HI, "tools": functions}).param


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 2, "topP": 1.0, "topK": 40.0, "maxOutputTokens": 1},
        {"anything": {"unknown": [1]}},
        {"top_k": 1, "candidate_count": 8},
    ],
)
def test_what_fits_passes(more: Json) -> None:
    """Limits themselves, whole numbers written as floats, and fields that nobody knows are accepted."""
    assert asked(configured(**more)).body["generationConfig"] == more


def test_unknown_tasks_are_not_found() -> None:
    """A task that the dialect does not have is a 404."""
    with pytest.raises(RouteNotFound):
        asked(HI, task="predict")


def test_alt_is_json_or_sse() -> None:
    """Other forms of the answer are not spoken."""
    assert "alt" == refused(HI, alt="proto").param


def test_streams_are_known_by_their_task() -> None:
    """streamGenerateContent is a stream, whatever its form; a model may carry its collection."""
    streamed = asked(HI, task="streamGenerateContent", model="models/gemini-2.5-flash")

    assert (True, "gemini-2.5-flash") == (streamed.stream, streamed.model)
    assert not asked(HI).stream


def test_counts_take_contents_or_a_whole_request() -> None:
    """The body of countTokens is checked in either form."""
    assert "countTokens" == asked({"generateContentRequest": HI}, task="countTokens").task

    assert "generateContentRequest.contents" == refused({"generateContentRequest": {}}, task="countTokens").param
    assert "contents" == refused({}, task="countTokens").param


@pytest.mark.parametrize(
    ("task", "body", "field"),
    [
        ("embedContent", {}, "content"),
        ("embedContent", {"content": {"parts": []}}, "content.parts"),
        ("batchEmbedContents", {"requests": []}, "requests"),
        ("batchEmbedContents", {"requests": [{}]}, "requests[0].content"),
    ],
)
def test_embeddings_are_checked(task: str, body: Json, field: str) -> None:
    """Embeddings only pass through, but what is wrong with them is said here."""
    assert field == refused(body, task=task).param


def test_recorded_requests_are_accepted() -> None:
    """No request that a provider was sent is refused."""
    for case in cases("gemini"):
        tasks = ("Content", "Contents", "countTokens")
        if case["api"].endswith(tasks) and case["request_body"] is not None and ":" in case["url_path"]:
            assert recorded_request(case).task == case["api"]
