"""Whole answers, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import (
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, UpstreamBusy, UpstreamFailed
from providers.dialect import WireResponse
from tests.providers.dialects.gemini.spoken import GEMINI, Json, answer, candidate, told

TEXT = {"text": "Hi"}
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


def one(*parts: Json, **fields: Json) -> Choice:
    return answer({"candidates": [candidate(*parts, **fields)], "responseId": "r1"}).choices[0]


def foreign(*parts: Any, finish: Finish | None = None, **fields: Any) -> ChatResponse:
    choice = Choice(parts=parts, finish=finish or Finish(reason="stop"))
    return ChatResponse(dialect="openai.chat", id="x", choices=(choice,), **fields)


def told_candidate(*parts: Any, **fields: Any) -> Json:
    return told(foreign(*parts, **fields))["candidates"][0]


# ── reading ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "parts", "expected"),
    [
        ("STOP", (TEXT,), "stop"),
        ("STOP", (TEXT, CALL), "tool_calls"),
        ("MAX_TOKENS", (TEXT,), "length"),
        ("MAX_TOKENS", (), "length"),
        ("SAFETY", (), "content_filter"),
        ("MODEL_ARMOR", (), "content_filter"),
        ("MALFORMED_FUNCTION_CALL", (TEXT,), "error"),
        ("OTHER", (TEXT,), "error"),
        ("UNEXPECTED_TOOL_CALL", (CALL,), "tool_calls"),
        ("NEW_WORD", (TEXT,), "other"),
        (None, (TEXT,), "stop"),
        (1, (TEXT,), "stop"),
        (2, (TEXT,), "length"),
    ],
)
def test_finish(reason: Json, parts: tuple[Json, ...], expected: str) -> None:
    """Why it ended: from the reason, and for calls from the parts; that it failed after them is remembered."""
    finish = one(*parts, finishReason=reason).finish

    assert finish is not None
    assert (expected, reason == "UNEXPECTED_TOOL_CALL") == (finish.reason, finish.failed)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "MISSING_THOUGHT_SIGNATURE"])
@pytest.mark.parametrize("parts", [(), ({"text": "hm", "thought": True},), ({"text": ""},)])
def test_a_failed_answer_without_content_is_an_error(reason: str, parts: tuple[Json, ...]) -> None:
    """Another attempt may do better; the model's own words are in the message."""
    with pytest.raises(UpstreamFailed) as caught:
        one(*parts, finishReason=reason, finishMessage="Malformed: f(")

    assert (502, "same", reason) == (caught.value.status, caught.value.retry, caught.value.upstream_code)
    assert "Malformed: f(" in caught.value.message


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"candidates": None}, {"promptFeedback": {}}])
def test_no_candidate_is_a_failure(body: Json) -> None:
    """200 without an answer and without a reason: 502, tried again."""
    with pytest.raises(UpstreamFailed) as caught:
        answer(body)

    assert 502 == caught.value.status


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b'"x"', b"<html>", b'{"candidates":[', b'{"candidates":[1]}', b'{"candidates":{}}', b'{"a":NaN}'),
        b'{"candidates":[{"content":{"parts":[{"text":1}]}}]}',
        b'{"candidates":[{"content":{"parts":7}}]}',
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Broken JSON or another shape: 502, elsewhere."""
    with pytest.raises(BadUpstreamBytes):
        GEMINI.decode_response(WireResponse(status=200, body=data))


def test_an_error_that_is_none_is_none() -> None:
    """Null, where it is not set."""
    found = answer({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "error": None})

    assert (Text(text="a"),) == found.choices[0].parts


def test_an_error_under_200_is_an_error() -> None:
    """The body decides where it holds an error."""
    with pytest.raises(UpstreamBusy):
        answer({"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}})


def test_a_blocked_prompt() -> None:
    """promptFeedback without candidates: refused before any answer, with the provider's word."""
    response = answer(
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    )

    assert response.blocked == Finish(
        reason="content_filter",
        raw="PROHIBITED_CONTENT",
        message="blocked by the provider: PROHIBITED_CONTENT",
    )


def test_parts() -> None:
    """Thoughts, text, calls and pictures, in their order; a call without an id is given one."""
    reasoning, text, call, image = one(
        {"text": "hm", "thought": True},
        {"text": "Hi", "thoughtSignature": "s"},
        CALL,
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
    ).parts

    assert Reasoning(text="hm") == reasoning
    assert Text(text="Hi", seal=Seal(value="s", origin="gemini")) == text
    assert isinstance(call, ToolCall)
    assert ("f", '{"a":1}', True) == (call.name, call.arguments, call.invented_id)
    assert call.id.startswith("call_i")
    assert Media(kind="image", mime_type="image/png", base64="AA==") == image


@pytest.mark.parametrize("key", ["functionResponse", "function_response"])
def test_a_result_that_the_model_gives_itself_stays_as_it_is(key: str) -> None:
    """Only callers say such: it is no result of ours, and goes out as it came."""
    raw = {key: {"name": "f", "response": {"a": 1}}, "more": 1}
    found = one(TEXT, raw).parts[1]

    assert ("functionResponse", raw) == (found.kind, found.raw)  # type: ignore[union-attr]  # an opaque part
    assert [TEXT, raw] == told(answer({"candidates": [candidate(TEXT, raw)]}))["candidates"][0]["content"]["parts"]


def test_arguments_keep_their_spelling() -> None:
    """Numbers come through as the model wrote them."""
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{ "x": 1.10 }}}]}}]}'
    part = GEMINI.decode_response(WireResponse(status=200, body=body)).choices[0].parts[0]

    assert isinstance(part, ToolCall)
    assert '{"x":1.10}' == part.arguments


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 23, "thoughtsTokenCount": 185,
             "totalTokenCount": 217},
            (9, 208, 217, 4, 185),
        ),
        ({"promptTokenCount": 9, "thoughtsTokenCount": 50, "totalTokenCount": 59}, (9, 50, 59, None, 50)),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, (9, 0, 9, None, None)),
        # A server that counts thinking inside the candidates.
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 20, "thoughtsTokenCount": 5, "totalTokenCount": 29},
            (9, 20, 29, None, 5),
        ),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 14},
            (12, 2, 14, None, None),
        ),
        ({"trafficType": "ON_DEMAND"}, (None, None, None, None, None)),
        ({"promptTokenCount": "9"}, (9, None, None, None, None)),
    ],
)  # fmt: skip
def test_usage(metadata: Json, expected: Any) -> None:
    """Inclusive totals: output is candidates and thoughts, input is the prompt with what tools brought."""
    usage = answer({"candidates": [candidate(TEXT)], "usageMetadata": metadata}).usage

    assert usage is not None
    assert expected == (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cache_read_tokens,
        usage.reasoning_tokens,
    )


def test_modalities_and_tier() -> None:
    """Tokens of sounds and pictures, and the tier that the answer was given in."""
    details = [
        {"modality": "TEXT", "tokenCount": 1},
        {"modality": "AUDIO", "tokenCount": 5},
        {"modality": "IMAGE", "tokenCount": 7},
    ]
    metadata = {"promptTokenCount": 13, "promptTokensDetails": details, "serviceTier": "standard"}
    response = answer({"candidates": [candidate(TEXT)], "usageMetadata": metadata})

    assert response.usage is not None
    assert (5, 7) == (response.usage.input_audio_tokens, response.usage.input_image_tokens)
    assert "default" == response.service_tier


def test_citations_count_characters() -> None:
    """Offsets of bytes become offsets of characters; a segment whose text stands elsewhere is found there."""
    text = "Größe: 5 €."
    segment = {"startIndex": len("Größe: ".encode()), "endIndex": len("Größe: 5 €".encode()), "text": "5 €"}
    wrong = {"endIndex": 3, "text": "elsewhere"}
    moved = {"startIndex": 1, "endIndex": 3, "text": "Größe"}
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://h", "title": "T"}}],
        "groundingSupports": [
            {"segment": segment, "groundingChunkIndices": [0, 9]},
            {"segment": wrong, "groundingChunkIndices": [0]},
            {"segment": moved, "groundingChunkIndices": [0]},
        ],
    }
    choice = one({"text": text}, groundingMetadata=metadata)

    assert isinstance(choice.parts[0], Text)
    assert [(7, 10), (0, 5)] == [(one.start, one.end) for one in choice.parts[0].citations]
    assert {("https://h", "T")} == {(one.url, one.title) for one in choice.parts[0].citations}
    assert {"groundingMetadata": metadata} == choice.extra


def test_logprobs() -> None:
    """Chosen tokens with their alternatives."""
    chosen = {"token": "Hi", "tokenId": 3, "logProbability": -0.5}
    result = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen]}], "logProbabilitySum": -0.5}
    token = TokenLogprob(token="Hi", logprob=-0.5, id=3)

    assert (
        Logprobs(
            content=(TokenLogprob(token="Hi", logprob=-0.5, id=3, top=(token,)),), extra={"logProbabilitySum": -0.5}
        )
        == one(TEXT, logprobsResult=result).logprobs
    )


# ── writing, for a Gemini caller of another upstream ───────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("tool_calls", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("refusal", "SAFETY"),
        ("pause", "STOP"),
        ("error", "OTHER"),
        ("other", "OTHER"),
    ],
)
def test_finish_words(reason: Any, word: str) -> None:
    """Each canonical reason has one of the enum."""
    assert word == told_candidate(Text(text="Hi"), finish=Finish(reason=reason))["finishReason"]


def test_calls_are_told_with_their_ids() -> None:
    """The caller gives the id back, so the upstream finds its own call; arguments keep their bytes."""
    part = ToolCall(id="call_1", name="f", arguments='{"a":1.10}')
    wire = GEMINI.encode_response(foreign(part), _request(), [])

    assert b'"args":{"a":1.10}' in wire.body
    assert {"name": "f", "args": {"a": 1.1}, "id": "call_1"} == json.loads(wire.body)["candidates"][0]["content"][
        "parts"
    ][0]["functionCall"]


def _request() -> Any:
    from tests.providers.dialects.gemini.spoken import request

    return request()


def test_malformed_arguments_are_a_finish_reason() -> None:
    """What the model wrote survives in the message; text beside it stays."""
    written = told_candidate(Text(text="Hi"), ToolCall(id="x", name="f", arguments='{"a":'))

    assert "MALFORMED_FUNCTION_CALL" == written["finishReason"]
    assert 'f({"a":)' in written["finishMessage"]
    assert [{"text": "Hi"}] == written["content"]["parts"]


def test_other_parts() -> None:
    """Thoughts, refusals, pictures, sounds with their words."""
    written = told_candidate(
        Reasoning(text="hm"),
        Refusal(text="no"),
        Media(kind="audio", mime_type="audio/wav", base64="AA==", transcript="la"),
    )["content"]["parts"]

    assert {"text": "hm", "thought": True} == written[0]
    assert {"text": "no"} == written[1]
    assert {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}, "audioTranscription": {"text": "la"}} == written[2]


def test_what_cannot_be_told_is_named() -> None:
    """Foreign signatures, hidden thinking and foreign blocks are losses; a signature of this family is told."""
    losses: list[Any] = []
    told(
        foreign(
            Text(text="x", seal=Seal(value="s", origin="anthropic")),
            Reasoning(redacted=True, seal=Seal(value="s", origin="anthropic")),
            Opaque(dialect="other", kind="block", raw={}),
            Media(kind="file", file_id="f1"),
        ),
        losses,
    )

    assert {"signature", "reasoning", "block", "file"} == {loss.field for loss in losses}
    assert (
        "s"
        == told_candidate(Text(text="x", seal=Seal(value="s", origin="gemini")))["content"]["parts"][0][
            "thoughtSignature"
        ]
    )


def test_usage_is_told_in_our_counting() -> None:
    """Thoughts stand beside the candidates, cached tokens inside the prompt, and there is a total; details sum up to
    what they are details of.
    """
    usage = Usage(input_tokens=9, output_tokens=12, cache_read_tokens=3, reasoning_tokens=4, output_audio_tokens=2)

    assert {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 8,
        "thoughtsTokenCount": 4,
        "totalTokenCount": 21,
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 6}, {"modality": "AUDIO", "tokenCount": 2}],
    } == told(foreign(usage=usage))["usageMetadata"]


def test_citations_are_told_in_bytes() -> None:
    """Sources of another dialect become grounding metadata."""
    citation = Citation(url="https://h", title="T", start=7, end=10)
    metadata = told_candidate(Text(text="Größe: 5 €.", citations=(citation,)))["groundingMetadata"]

    assert [{"web": {"uri": "https://h", "title": "T"}}] == metadata["groundingChunks"]
    assert {"partIndex": 0, "startIndex": 9, "endIndex": 14, "text": "5 €"} == metadata["groundingSupports"][0][
        "segment"
    ]


@pytest.mark.parametrize("feedback", [{"blockReason": "SAFETY"}, {"blockReason": "NEW", "safetyRatings": [{}]}])
def test_what_was_blocked_goes_out_as_it_came(feedback: Json) -> None:
    """In this dialect promptFeedback is what it was; only what `blocked` does not say is left for others to lose."""
    response = answer({"promptFeedback": feedback})
    body = json.loads(GEMINI.encode_response(response, _request(), []).body)

    assert {"promptFeedback": feedback} == body
    assert ("safetyRatings" in feedback) == (response.extra is not None)


def test_times() -> None:
    """createTime is Unix seconds, and goes out as it was."""
    body = {"candidates": [candidate(TEXT)], "createTime": "2026-05-04T20:01:02.264968Z"}

    assert 1777924862 == answer(body).created
    assert body == told(answer(body))
    assert {"createTime": "soon"} == answer({**body, "createTime": "soon"}).extra


def test_a_blocked_prompt_is_told() -> None:
    """Reasons that the enum lacks are OTHER, with their text."""
    response = ChatResponse(dialect="x", blocked=Finish(reason="content_filter", raw="odd", message="no"))

    assert {"blockReason": "OTHER", "blockReasonMessage": "no"} == told(response)["promptFeedback"]


def test_the_model_is_always_named() -> None:
    """Where the upstream gave no name it is the one that was asked for."""
    assert "gemini-2.5-flash" == told(foreign(Text(text="x")))["modelVersion"]


def test_logprobs_are_told() -> None:
    """Tokens and alternatives in this dialect's two lists."""
    token = TokenLogprob(token="Hi", logprob=-0.5, top=(TokenLogprob(token="Ho", logprob=-1.0),))
    response = ChatResponse(
        dialect="x", choices=(Choice(finish=Finish(reason="stop"), logprobs=Logprobs(content=(token,))),)
    )

    assert {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "Ho", "logProbability": -1.0}]}],
    } == told(response)["candidates"][0]["logprobsResult"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"groundingSupports": 8},
        {"groundingSupports": [{"segment": {"endIndex": 1, "text": "H"}, "groundingChunkIndices": 1}]},
    ],
)
def test_sources_that_are_none(metadata: Any) -> None:
    """Grounding in a form that nobody documented gives no citations, and no fault."""
    body = {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Hi"}]},
                "finishReason": "STOP",
                "groundingMetadata": metadata,
            }
        ]
    }

    response = GEMINI.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))

    assert (Text(text="Hi"),) == response.choices[0].parts
