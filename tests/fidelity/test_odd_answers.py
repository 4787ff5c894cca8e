"""Answers that no recording holds: blocked, cut short, broken, of several minds; told alike whole and streamed."""

from __future__ import annotations

import json

import pytest

from providers.canonical.errors import UpstreamFailed
from providers.canonical.loss import Losses
from providers.dialect import WireResponse

from .answers import READ_STREAM, READ_WHOLE, in_order, told
from .languages import fits
from .neutral import Json
from .test_streams import in_pieces
from .through import CALLERS, CHAT, GEMINI, NAMES, ask, lost, passed_on, tell

USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
CODE = [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}]


def gemini(*parts: Json, finish: str | None = "STOP", **more: Json) -> Json:
    candidate: Json = {"index": 0, **more}
    if parts:
        candidate["content"] = {"role": "model", "parts": list(parts)}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "m", "responseId": "r"}


def chat(finish: str = "stop", **message: Json) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "refusal": None, **message}}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {"id": "c", "created": 1, "model": "m", "choices": [{**choice, "finish_reason": finish}], "usage": usage}


def call(arguments: str, name: str = "look") -> Json:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE, "modelVersion": "m", "responseId": "r"}
SECOND = {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS", "index": 1}
OF_GEMINI: dict[str, Json] = {
    "a blocked prompt": BLOCKED,
    "nothing, for safety": gemini(finish="SAFETY"),
    "a text cut for safety": gemini({"text": "Hal"}, finish="SAFETY", finishMessage="why"),
    "a new finish reason": gemini({"text": "x"}, finish="BRAND_NEW"),
    "code that it ran itself": gemini(*CODE, {"text": "One."}),
    "a picture": gemini({"text": "See"}, PICTURE),
    "two candidates": {**gemini({"text": "a"}), "candidates": [*gemini({"text": "a"})["candidates"], SECOND]},
    "thinking alone": gemini({"text": "hm", "thought": True}, finish="MAX_TOKENS"),
    "calls around a text": gemini({"functionCall": {"name": "f"}}, {"text": "and"}, {"functionCall": {"name": "g"}}),
    "a signed empty end": gemini({"text": "Hi"}, {"text": "", "thoughtSignature": "c2lnbmVk"}),
}
OF_CHAT: dict[str, Json] = {
    "a list as arguments": chat("tool_calls", tool_calls=[call("[1]")]),
    "no arguments": chat("tool_calls", tool_calls=[call("")]),
    "a refusal": chat(refusal="No."),
    "a call of before tools": chat("function_call", function_call={"name": "f", "arguments": "{}"}),
    "nothing, filtered": chat("content_filter", content=""),
    "nothing, too long": chat("length", content=""),
    "a source": chat(
        content="Paris", annotations=[{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}]
    ),
    "thinking": chat(content="x", reasoning_content="hm"),
    "a custom call": chat(
        "tool_calls", tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "raw"}}]
    ),
}
#: What the other dialect has no form for, by design: not compared, but fitting and the same whole and streamed.
OTHERWISE = {"a new finish reason", "a list as arguments", "a custom call"}


SPOKEN = {"gemini": OF_GEMINI, "openai.chat": OF_CHAT}
CASES = [
    (what, upstream, caller)
    for upstream, answers in SPOKEN.items()
    for what in answers
    for caller in CALLERS
    if caller != upstream
]


@pytest.mark.parametrize(("what", "upstream", "caller"), CASES, ids=[f"{a}: {b} to {c}" for a, b, c in CASES])
def test_odd_answers_arrive(what: str, upstream: str, caller: str) -> None:
    """They fit, say the same, and say it streamed as they say it whole."""
    body, ours, theirs = SPOKEN[upstream][what], NAMES[upstream], NAMES[caller]
    losses: Losses = []
    answer = json.loads(tell(ours, theirs, WireResponse(status=200, body=json.dumps(body).encode()), losses))
    data = b"data: " + json.dumps(body).encode() + b"\n\n" if ours is GEMINI else in_pieces(body)
    stream, error = passed_on(theirs, ours, [data])
    whole, heard = READ_WHOLE[caller](answer), READ_STREAM[caller](stream)

    assert error is None
    assert [] == fits(answer, caller, "whole") + in_order(stream, caller)
    assert [] == told(whole, heard, caller)
    if what not in OTHERWISE:
        assert [] == told(READ_WHOLE[upstream](body), whole, caller, lost(losses))


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "OTHER", "UNEXPECTED_TOOL_CALL"])
def test_a_failure_without_content_is_an_error(word: str) -> None:
    """An upstream's failure that holds nothing is 502, so that another try or another target can help."""
    body = json.dumps(gemini(finish=word)).encode()
    _, error = passed_on(CHAT, GEMINI, [b"data: " + body + b"\n\n"])

    assert isinstance(error, UpstreamFailed)
    with pytest.raises(UpstreamFailed):
        tell(GEMINI, CHAT, WireResponse(status=200, body=body))


def test_arguments_that_are_no_json_end_a_gemini_answer_as_malformed() -> None:
    """Gemini has objects only: its own word says what happened, with the model's text."""
    body = json.dumps(chat("tool_calls", tool_calls=[call('{"a":')])).encode()
    candidate = json.loads(tell(CHAT, GEMINI, WireResponse(status=200, body=body)))["candidates"][0]

    assert "MALFORMED_FUNCTION_CALL" == candidate["finishReason"]
    assert '{"a":' in candidate["finishMessage"]


@pytest.mark.parametrize("caller", [name for name in CALLERS if name != "gemini"])
@pytest.mark.parametrize("part", [{"text": "Hal"}, {"functionCall": {"name": "f"}}], ids=["text", "call"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_failure_after_some_words_is_named(caller: str, part: Json, stream: bool) -> None:
    """It ends as what it said; that the model failed is told among the losses, with its own word."""
    body = json.dumps(gemini(part, finish="MALFORMED_FUNCTION_CALL")).encode()
    losses: Losses = []
    if stream:
        passed_on(NAMES[caller], GEMINI, [b"data: " + body + b"\n\n"], losses)
    else:
        tell(GEMINI, NAMES[caller], WireResponse(status=200, body=body), losses)

    assert ["approximated"] == [one.kind for one in losses if "MALFORMED_FUNCTION_CALL" in one.reason]


SSE, LINES = "data: {}\n\n", "{}\n"
#: Of each upstream the end of a stream; and pieces before it, each with something that nobody knows.
UNKNOWN: dict[str, tuple[str, list[Json], list[Json]]] = {
    "openai.chat": (
        SSE,
        [
            {"choices": [{"delta": {"content": "a", "mood": "x"}}]},
            {"choices": [{"delta": {"content": "b"}, "mood": "x"}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "mood": "x", "function": {"name": "f"}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "mood": "x"}}]}}]},
        ],
        [{"choices": [{"delta": {}, "finish_reason": "stop"}]}],
    ),
    "ollama.chat": (
        LINES,
        [{"message": {"role": "assistant", "content": "a", "mood": "x"}}, {"message": {"content": "a", "mood": "x"}}],
        [{"message": {"content": ""}, "done": True, "done_reason": "stop"}],
    ),
    "anthropic.messages": (
        SSE,
        [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "mood": "x"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "mood": "x"}},
            {"type": "content_block_start", "index": 0}
            | {"content_block": {"type": "redacted_thinking", "data": "c2ln", "mood": "x"}},
        ],
        [{"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}],
    ),
}


@pytest.mark.parametrize(
    ("upstream", "caller", "piece"),
    [
        (upstream, caller, piece)
        for upstream, (_, pieces, _) in UNKNOWN.items()
        for caller in CALLERS
        if caller != upstream
        for piece in range(len(pieces))
    ],
)
def test_what_nobody_knows_of_a_stream_is_named(upstream: str, caller: str, piece: int) -> None:
    """As it is of a whole answer: wherever in a piece it stands."""
    form, pieces, end = UNKNOWN[upstream]
    data = "".join(form.replace("{}", json.dumps(one)) for one in (pieces[piece], *end))
    losses: Losses = []
    _, error = passed_on(NAMES[caller], NAMES[upstream], [data.encode()], losses)

    assert error is None
    assert "mood" in [one.field for one in losses]


@pytest.mark.parametrize("caller", [name for name in CALLERS if name != "ollama.chat"])
def test_a_call_beside_no_content_arrives(caller: str) -> None:
    """A line of Ollama's with a call and nothing else in its message, as some servers write it."""
    lines = [
        {"message": {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}},
        {"message": {"role": "assistant"}, "done": True, "done_reason": "stop"},
    ]
    data, error = passed_on(
        NAMES[caller], NAMES["ollama.chat"], [b"".join(json.dumps(one).encode() + b"\n" for one in lines)]
    )
    choice = READ_STREAM[caller](data).choices[0]

    assert error is None
    assert ("tool_calls", ["f"]) == (choice.finish, [one.name for one in choice.calls])


@pytest.mark.parametrize("upstream", ["openai.chat", "anthropic.messages"])
def test_an_answer_without_a_word_comes_back_to_us(upstream: str) -> None:
    """A client of Gemini keeps the content as it got it and sends it with the next question: it has a part."""
    nothing: Json = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    nothing |= {"stop_reason": "end_turn", "usage": {"input_tokens": 5, "output_tokens": 0}}
    body = chat(content="") if upstream == "openai.chat" else nothing
    answer = json.loads(tell(NAMES[upstream], GEMINI, WireResponse(status=200, body=json.dumps(body).encode())))
    turns = [{"parts": [{"text": "Hi"}]}, answer["candidates"][0]["content"], {"parts": [{"text": "Well?"}]}]
    request = GEMINI.decode_request(ask(GEMINI, {"contents": turns}))

    assert ["user", "assistant", "user"] == [one.role for one in request.messages]
