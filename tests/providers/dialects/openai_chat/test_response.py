"""Whole answers, in both directions."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest

from providers.canonical.chat import (
    ChatRequest,
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
from providers.canonical.errors import BadUpstreamBytes, UpstreamBusy, UpstreamError, UpstreamFailed
from providers.canonical.loss import Losses
from providers.canonical.stream import unfold
from providers.canonical.tokens import parts
from providers.dialects.openai_chat.response import read_usage
from tests.corpus import schema
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, answered, ask, decoded, recorded, told

Json: TypeAlias = Any

ANSWER = schema("openai.chat.response", "ChatCompletion")
STOP = Finish(reason="stop")
CALL = ToolCall(id="c1", name="f", arguments='{"a":1}')


def completion(message: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi", "refusal": None} if message is None else message
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more}


def read(body: Any) -> ChatResponse:
    return CHAT.decode_response(answered(body))


def foreign(*parts: Any, finish: Finish = STOP, **fields: Any) -> ChatResponse:
    """An answer that another dialect's upstream gave."""
    choice = Choice(parts=parts, finish=finish)
    return ChatResponse(
        **{"dialect": "elsewhere", "id": "r1", "model": "m", "created": 1, "choices": (choice,), **fields}
    )


def says(response: ChatResponse) -> tuple[dict[str, Any], list[str]]:
    """The one choice as its caller reads it; the answer fits the schema."""
    body, losses = told(response)
    ANSWER.validate(body)
    return body["choices"][0], losses


# ── recorded ───────────────────────────────────────────────────────────────────────────


def without_added(ours: Any, theirs: Any) -> Any:
    """Our answer without the keys that the schema requires and they left out (`refusal: null`, …)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {
            key: without_added(value, theirs.get(key))
            for key, value in ours.items()
            if key in theirs or value is not None
        }
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [without_added(*pair) for pair in zip(ours, theirs)]
    return ours


def put_right(body: Any) -> Any:
    """The deviations that are corrected on the way: an empty id, blank or wrong finish reasons, a missing message."""
    body = json.loads(json.dumps(body))
    body["id"] = body["id"] or "chatcmpl"
    for choice in body["choices"]:
        message = choice.setdefault("message", {"role": "assistant"})
        if "finish_details" in choice:
            choice["finish_reason"] = "length"
        if message.get("refusal") == "":
            message["refusal"] = None
        word = choice["finish_reason"] if choice["finish_reason"] not in ("", "eos") else "stop"
        choice["finish_reason"] = "tool_calls" if word == "stop" and message.get("tool_calls") else word
    return body


@pytest.mark.parametrize("file", ALL)
def test_recorded_answers_come_back_equal(file: str) -> None:
    """Decoded and encoded again an answer is the same JSON, but for what is put right; OpenAI's fit the schema."""
    count = 0
    for case in recorded(file):
        if case["status"] != 200 or "response_body" not in case:
            continue
        functions = ChatRequest(dialect="openai.chat", model="m", messages=(), form={"legacy": True})
        legacy = bool((case["request_body"] or {}).get("functions"))
        body, losses = told(read(case["response_body"]), functions if legacy else None)
        count += 1
        expected = put_right(case["response_body"])
        if expected["id"] == "chatcmpl":
            body["id"] = body["id"].partition("-")[0]

        assert (expected, []) == (without_added(body, expected), losses), case["id"]
        if file == "openai-chat":
            ANSWER.validate(body)
    assert count >= 15


# ── reading ────────────────────────────────────────────────────────────────────────────


def test_reads_what_was_said() -> None:
    """Thinking, text and calls; blank keys mean nothing."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {
        "role": "assistant",
        "content": "t",
        "reasoning_content": "r",
        "tool_calls": [call],
        "audio": {},
        "refusal": "",
    }
    parts = read(completion(message, "tool_calls")).choices[0].parts

    assert [("Reasoning", "r"), ("Text", "t"), ("ToolCall", '{"a":1}')] == [
        (type(part).__name__, part.arguments if isinstance(part, ToolCall) else part.text)  # type: ignore[union-attr]
        for part in parts
    ]


@pytest.mark.parametrize(
    ("word", "message", "reason"),
    [
        ("stop", {"content": "x"}, "stop"),
        ("length", {"content": "x"}, "length"),
        ("content_filter", {"content": None}, "content_filter"),
        ("eos", {"content": "x"}, "stop"),
        ("", {"content": "x"}, "stop"),
        ("surprise", {"content": "x"}, "other"),
        ("stop", {"content": None, "refusal": "no"}, "refusal"),
        (
            "stop",
            {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]},
            "tool_calls",
        ),
        ("function_call", {"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "tool_calls"),
    ],
)
def test_finish_reasons(word: str, message: Any, reason: str) -> None:
    """Known words, and what servers mean where they say another."""
    finish = read(completion({"role": "assistant", **message}, word)).choices[0].finish

    assert finish is not None
    assert (reason, word or None) == (finish.reason, finish.raw)


def test_reads_usage() -> None:
    """All counts; what is not said is None, never 0."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2, "audio_tokens": 1, "image_tokens": 4},
        "completion_tokens_details": {
            "reasoning_tokens": 5,
            "audio_tokens": 6,
            "accepted_prediction_tokens": 7,
            "rejected_prediction_tokens": 8,
        },
    }

    assert (
        Usage(
            input_tokens=9,
            output_tokens=12,
            total_tokens=21,
            cache_read_tokens=3,
            cache_write_tokens=2,
            input_audio_tokens=1,
            input_image_tokens=4,
            reasoning_tokens=5,
            output_audio_tokens=6,
            accepted_prediction_tokens=7,
            rejected_prediction_tokens=8,
            raw=usage,
        )
        == read(completion(usage=usage)).usage
    )
    assert read(completion()).usage is None
    assert Usage(input_tokens=1, raw={"prompt_tokens": 1}) == read(completion(usage={"prompt_tokens": 1})).usage


def test_reasoning_outside_the_completion_count() -> None:
    """xAI's completion tokens leave the reasoning out, as the total shows: the output is the difference."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 354,
        "completion_tokens_details": {"reasoning_tokens": 340},
    }
    found = read(completion(usage=usage)).usage

    assert found is not None
    assert (342, 340, usage) == (found.output_tokens, found.reasoning_tokens, found.raw)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (  # Mistral's Voxtral, as recorded
            {
                "prompt_audio_seconds": 4,
                "prompt_tokens": 9,
                "total_tokens": 585,
                "completion_tokens": 201,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
            },
            (384, 201, 585, {"input_audio": 375, "input": 9, "output": 201}),
        ),
        (  # Gemini behind the door that it has for OpenAI's clients
            {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 318},
            (9, 309, 318, {"input": 9, "output": 309}),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 30},
            (9, 21, 30, {"input": 9, "output": 21}),
        ),
        ({"prompt_tokens": 9, "total_tokens": 9}, (9, None, 9, {"input": 9})),
        (  # sound and thinking are as many, and the total has one of them: thinking is what servers are known to omit
            {
                "prompt_tokens": 50,
                "completion_tokens": 2,
                "total_tokens": 62,
                "prompt_tokens_details": {"audio_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            (50, 12, 62, {"input_audio": 10, "input": 40, "reasoning": 10, "output": 2}),
        ),
    ],
    ids=["mistral-sound", "google", "no-completion", "no-output", "both"],
)
def test_the_total_is_what_counts(usage: Json, expected: Json) -> None:
    """What a server charges and names in neither prompt nor completion belongs to one of them: the parts sum to its
    total."""
    found = read_usage(usage)

    assert expected == (found.input_tokens, found.output_tokens, found.total_tokens, parts(found))


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": {"cached_tokens": 8}, "prompt_cache_hit_tokens": 7},
        {"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        {"cached_tokens": 8},
    ],
    ids=["openai", "deepseek", "moonshot"],
)
def test_what_came_from_a_cache_is_told_in_three_places(told: Json) -> None:
    """OpenAI's details before the words of others."""
    assert 8 == read_usage({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, **told}).cache_read_tokens


def test_reads_logprobs() -> None:
    """Tokens with their bytes and alternatives."""
    token = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}]}
    body = completion()
    body["choices"][0]["logprobs"] = {"content": [token], "refusal": None}

    expected = TokenLogprob(token="a", logprob=-1, bytes=(97,), top=(TokenLogprob(token="b", logprob=-2),))
    assert Logprobs(content=(expected,)) == read(body).choices[0].logprobs


def test_calls_without_an_id_get_one() -> None:
    """The same for the same answer, and marked as ours."""
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    body = completion({"role": "assistant", "tool_calls": [call, call]}, "tool_calls")
    first, second = read(body).choices[0].parts

    assert isinstance(first, ToolCall) and isinstance(second, ToolCall)
    assert (True, '{"a":1}') == (first.invented_id, first.arguments)
    assert first.id != second.id
    assert read(body) == read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"id":',
        b"[]",
        b'"x"',
        b"null",
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":[1]}',
    ]
    + [
        b'{"choices":[{"message":' + bad + b"}]}"
        for bad in (b"1", b'{"content":1,"tool_calls":[1]}', b'{"content":NaN}')
    ]
    + [b"[" * 200_000, b'{"choices":[{"message":{"content":"\xff"}}]}'],
)
def test_answers_that_cannot_be_used(body: bytes) -> None:
    """No JSON, no object, no choices: an unusable answer, never a crash; the relay lane sees it, too."""
    with pytest.raises(BadUpstreamBytes):
        CHAT.decode_response(answered(body))
    if b"tool_calls" not in body:
        with pytest.raises(BadUpstreamBytes):
            CHAT.relay_response(answered(body), ask())


@pytest.mark.parametrize("lane", [CHAT.decode_response, lambda wire: CHAT.relay_response(wire, ask())])
def test_errors_under_200(lane: Any) -> None:
    """Some servers send an error with status 200; its code says what it is, where it is a status."""
    with pytest.raises(UpstreamFailed) as failed:
        lane(answered({"error": {"message": "boom"}}))
    with pytest.raises(UpstreamBusy) as busy:
        lane(answered({"error": {"message": "slow", "code": 429}}))
    with pytest.raises(UpstreamBusy, match="slow"):
        lane(answered([{"error": {"message": "slow", "code": 429}}]))  # Google's
    with pytest.raises(UpstreamBusy, match="slow"):
        lane(answered({"object": "error", "message": "slow", "code": 429}))  # vLLM's

    assert ((502, "boom"), (429, "slow")) == (
        (failed.value.status, failed.value.message),
        (busy.value.status, busy.value.message),
    )


def test_a_choice_that_is_an_error() -> None:
    """OpenRouter puts the error of the model's server into the choice."""
    body = completion({"role": "assistant", "content": ""}, "error")
    body["choices"][0]["error"] = {"message": "overloaded", "code": 503}

    with pytest.raises(UpstreamError) as caught:
        read(body)
    assert 503 == caught.value.status


# ── writing ────────────────────────────────────────────────────────────────────────────


def test_an_answer_of_another_dialect() -> None:
    """All required keys are there, the nullable ones too."""
    body, losses = told(foreign(Text(text="Three."), usage=Usage(input_tokens=9, output_tokens=2, cache_read_tokens=4)))

    message = {"role": "assistant", "content": "Three.", "refusal": None}
    assert {
        "id": "r1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    } == body
    assert [] == losses


def test_thinking_and_signatures() -> None:
    """Thinking is `reasoning_content`; Google's signatures stand where Google's own endpoint writes them."""
    seal = Seal(value="AA==", origin="gemini")
    signed = ToolCall(id="c1", name="f", arguments="", seal=seal)
    choice, losses = says(
        foreign(Reasoning(text="hm"), Text(text="", seal=seal), signed, finish=Finish(reason="tool_calls"))
    )

    google = {"google": {"thought_signature": "AA=="}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": google}
    assert {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [call],
        "extra_content": google,
    } == choice["message"]
    assert ("tool_calls", []) == (choice["finish_reason"], losses)


def test_a_message_has_one_signature() -> None:
    """Further ones are named, in whole answers and in streams."""
    seal = Seal(value="AA==", origin="gemini")
    response = foreign(Text(text="a", seal=seal), Reasoning(text="hm", seal=seal))
    losses: Losses = []
    encoder = CHAT.stream_encoder(decoded(stream=True), losses)
    data = b"".join(map(encoder.feed, unfold(response)))

    assert ["choices[0].message.signature=dropped"] == says(response)[1]
    assert (1, 1) == (data.count(b"thought_signature"), len(losses))


def test_foreign_signatures_are_named() -> None:
    """There is no place for those of other families."""
    _, losses = says(foreign(Reasoning(text="hm", seal=Seal(value="s", origin="anthropic"))))

    assert ["choices[0].message.signature=dropped"] == losses


@pytest.mark.parametrize(
    ("finish", "word", "losses"),
    [
        (Finish(reason="stop"), "stop", 0),
        (Finish(reason="length"), "length", 0),
        (Finish(reason="tool_calls"), "tool_calls", 0),
        (Finish(reason="content_filter"), "content_filter", 0),
        (Finish(reason="refusal"), "content_filter", 0),
        (Finish(reason="pause"), "stop", 1),
        (Finish(reason="error"), "stop", 1),
        (Finish(reason="other", raw="X"), "stop", 1),
    ],
)
def test_writes_finish_reasons(finish: Finish, word: str, losses: int) -> None:
    """In the words that clients know; what has none is named."""
    choice, lost = says(foreign(Text(text="x"), finish=finish))

    assert (word, losses) == (choice["finish_reason"], len(lost))


def test_a_blocked_prompt() -> None:
    """An answer all the same: a refusal, ended by the filter."""
    blocked = foreign(choices=(), blocked=Finish(reason="content_filter", raw="PROHIBITED_CONTENT"))
    choice, _ = says(blocked)

    assert ("content_filter", None) == (choice["finish_reason"], choice["message"]["content"])
    assert "PROHIBITED_CONTENT" in choice["message"]["refusal"]


def test_an_explained_refusal() -> None:
    """The provider's explanation is the refusal."""
    choice, _ = says(foreign(finish=Finish(reason="refusal", message="Blocked.")))

    assert ("Blocked.", None) == (choice["message"]["refusal"], choice["message"]["content"])


def test_an_empty_answer() -> None:
    """Nothing said, nothing called: empty content, not null."""
    assert "" == says(foreign(finish=Finish(reason="length")))[0]["message"]["content"]


def test_citations_count_in_the_whole_text() -> None:
    """Offsets within a part become offsets within the content."""
    cited = Text(text="bc", citations=(Citation(url="u", title="t", start=0, end=2), Citation(title="no url")))
    choice, losses = says(foreign(Text(text="a"), cited))

    where = {"url": "u", "title": "t", "start_index": 1, "end_index": 3}
    assert [{"type": "url_citation", "url_citation": where}] == choice["message"]["annotations"]
    assert ["choices[0].message.annotations=dropped"] == losses


def test_sound_and_pictures() -> None:
    """A spoken answer has all its keys; pictures go where OpenRouter puts them."""
    sound = Media(kind="audio", mime_type="audio/wav", base64="AAAA")
    picture = Media(kind="image", mime_type="image/png", base64="AAAA")
    message = says(foreign(sound, picture))[0]["message"]

    assert {"id": "", "data": "AAAA", "expires_at": 0, "transcript": ""} == message["audio"]
    assert [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}] == message["images"]


def test_what_has_no_place_is_named() -> None:
    """Blocks of another dialect, and what only its own callers would read; sums of what is told are left out."""
    blob = Opaque(dialect="elsewhere", kind="executableCode", raw={})
    choice = Choice(parts=(blob, Text(text="x")), finish=STOP, extra={"avgLogprobs": -1})
    _, losses = told(foreign(choices=(choice,), extra={"modelStatus": 1}))

    assert ["choices[0].message.executableCode=dropped", "modelStatus=dropped"] == losses


def test_callers_from_before_tools() -> None:
    """Who sent `functions` is answered with `function_call`."""
    request = decoded(functions=[{"name": "f"}])
    body, losses = told(foreign(CALL, CALL, finish=Finish(reason="tool_calls")), request)

    choice = body["choices"][0]
    assert ("function_call", {"name": "f", "arguments": '{"a":1}'}) == (
        choice["finish_reason"],
        choice["message"]["function_call"],
    )
    assert ["choices[0].message.tool_calls=dropped"] == losses


def test_several_choices() -> None:
    """Each keeps its index."""
    choices = tuple(Choice(index=i, parts=(Text(text=str(i)),), finish=STOP) for i in range(3))
    body, _ = told(foreign(choices=choices))

    assert [(0, "0"), (1, "1"), (2, "2")] == [(one["index"], one["message"]["content"]) for one in body["choices"]]


def test_writes_logprobs() -> None:
    """Bytes of a token that nobody spelled are those of its text."""
    found = Logprobs(content=(TokenLogprob(token="é", logprob=-1.0, top=(TokenLogprob(token="e", logprob=-2.0),)),))
    choice = Choice(parts=(Text(text="é"),), finish=STOP, logprobs=found)
    body, _ = told(foreign(choices=(choice,)))
    ANSWER.validate(body)

    assert [195, 169] == body["choices"][0]["logprobs"]["content"][0]["bytes"]


def test_nobody_gave_an_id() -> None:
    """The required keys are there even then, with the caller's model."""
    body, _ = told(foreign(Text(text="x"), id=None, created=None, model=None))

    assert ("m", 0, True) == (body["model"], body["created"], body["id"].startswith("chatcmpl-"))


@pytest.mark.parametrize(("tier", "word"), [("STANDARD", "default"), ("flex", "flex"), ("reserved", None)])
def test_service_tiers(tier: str, word: str | None) -> None:
    """Only the words that clients know."""
    assert word == told(foreign(Text(text="x"), service_tier=tier))[0].get("service_tier")


def test_a_refusal_in_the_answer() -> None:
    """It has its own key, and the content is null."""
    message = says(foreign(Refusal(text="no"), finish=Finish(reason="refusal")))[0]["message"]

    assert ("no", None) == (message["refusal"], message["content"])


def test_relay_reads_the_bill() -> None:
    """The relay lane passes the answer on and only reads its usage."""
    usage = CHAT.relay_response(
        answered(completion(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})), ask()
    )

    assert usage is not None
    assert (1, 2) == (usage.input_tokens, usage.output_tokens)
    assert CHAT.relay_response(answered(completion()), ask()) is None
