"""Whole answers, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from providers.canonical.errors import BadUpstreamBytes, ModelNotFound, UpstreamError, UpstreamFailed
from providers.canonical.stream import fold, unfold
from tests.corpus import schema
from tests.providers.dialects.ollama.speak import (
    AT,
    OLLAMA,
    PIXEL,
    answered,
    ask,
    decoded,
    line,
    recorded,
    told,
)

ANSWER = schema("ollama.chat.response", "ChatResponse")
STOP = Finish(reason="stop")
PROMPT = decoded({"model": "m", "prompt": "Hi"}, "generate")


def read(body: Any) -> ChatResponse:
    return OLLAMA.decode_response(answered(body))


def foreign(*parts: Any, finish: Finish = STOP, **fields: Any) -> ChatResponse:
    """An answer that another dialect's upstream gave."""
    choice = Choice(parts=parts, finish=finish)
    return ChatResponse(
        **{"dialect": "elsewhere", "id": "r1", "model": "m", "created": 1, "choices": (choice,), **fields}
    )


def spelled(response: ChatResponse) -> list[tuple[type, str]]:
    parts = response.choices[0].parts
    return [(type(part), getattr(part, "text", None) or getattr(part, "arguments", "")) for part in parts]


def says(response: ChatResponse) -> tuple[dict[str, Any], list[str]]:
    """The answer as its caller reads it; it fits the schema."""
    body, losses = told(response)
    ANSWER.validate(body)
    return body, losses


# ── reading ────────────────────────────────────────────────────────────────────────────


def test_recorded_answers_come_back_equal() -> None:
    """Decoded and encoded again, each is the same JSON; a stream of it spells the same."""
    count = 0
    for task, case in recorded():
        if "response_body" not in case or task == "embeddings":
            continue
        response = read(case["response_body"])
        request = decoded(case["request_body"], task)
        count += 1

        assert (case["response_body"], []) == told(response, request), case["id"]
        assert spelled(response) == spelled(fold(unfold(response)))
    assert count >= 3


def test_what_an_answer_says() -> None:
    """Model, time, parts in order, why it ended, counts."""
    call = {"id": "call_gsiiy8py", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0}}}
    response = read(line("Hi", done="stop", thinking="hm", tool_calls=[call]))
    choice = response.choices[0]

    assert ("llama3.2", 1786082889) == (response.model, response.created)
    assert [Reasoning, Text, ToolCall] == [type(part) for part in choice.parts]
    assert '{"a": 1.0}' == next(part.arguments for part in choice.parts if isinstance(part, ToolCall))
    assert Finish(reason="tool_calls", raw="stop") == choice.finish
    assert response.usage is not None
    assert (26, 8, 34) == (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens)


def test_counts_that_are_missing_are_not_known() -> None:
    """A prompt that was remembered is not counted by older servers."""
    body = line("Hi", done="stop")
    del body["prompt_eval_count"]
    usage = read(body).usage

    assert usage is not None
    assert (None, 8, None) == (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    assert read(line("Hi") | {"done": True}).usage is None


def test_calls_without_ids_get_some() -> None:
    """Each its own, the same ones whenever the same answer is read."""
    calls = [{"function": {"name": "f", "arguments": {}}}] * 2
    ids = [[part.id for part in read(line(done="stop", tool_calls=calls)).choices[0].parts] for _ in range(2)]  # type: ignore[union-attr]

    assert ids[0] == ids[1] and 2 == len(set(ids[0]))


def test_log_probabilities() -> None:
    """Tokens with their alternatives."""
    raw = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Ho", "logprob": -1.5}]}]
    found = read({**line("Hi", done="stop"), "logprobs": raw})

    assert found.choices[0].logprobs == Logprobs(
        content=(
            TokenLogprob(token="Hi", logprob=-0.5, bytes=(72, 105), top=(TokenLogprob(token="Ho", logprob=-1.5),)),
        )
    )
    assert raw == told(found)[0]["logprobs"]


@pytest.mark.parametrize(
    "body",
    [
        line("", done="stop"),
        line("Hi", done="stop", images=[PIXEL], novel={"a": 1}) | {"context": [1, 2], "eval_duration": 5},
        {"model": "m", "created_at": AT, "message": {"role": "assistant"}, "done": True},
        {"model": "m", "created_at": AT, "message": {"content": None, "role": "assistant"}, "done": True, "x": 0},
        {"model": "m", "created_at": AT, "message": {"content": "Hi"}},
        line("x", done="load"),
    ],
)
def test_an_answer_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Every key and spelling."""
    assert (body, []) == told(read(body))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", BadUpstreamBytes),
        (b"<html>", BadUpstreamBytes),
        ([], BadUpstreamBytes),
        ({}, BadUpstreamBytes),
        ({"message": "Hi"}, BadUpstreamBytes),
        (line("Hi"), BadUpstreamBytes),
        ({"message": {"tool_calls": [{}]}, "done": True}, BadUpstreamBytes),
        ({"error": "it broke"}, UpstreamFailed),
        ({"error": "model 'x' not found"}, ModelNotFound),
    ],
)
def test_what_is_no_answer(body: Any, error: type[UpstreamError]) -> None:
    """An error under 200, an answer that is not finished, anything else."""
    with pytest.raises(error):
        read(body)


# ── writing ────────────────────────────────────────────────────────────────────────────


def test_an_answer_of_another_dialect() -> None:
    """Text, thinking, calls with ids and their place, counts; times that nobody measured are left out."""
    call = ToolCall(id="abc", name="f", arguments='{"b":1.0,\n"a":2}', seal=Seal(value="s", origin="gemini"))
    usage = Usage(input_tokens=3, output_tokens=4, reasoning_tokens=1)
    body, losses = says(foreign(Reasoning(text="hm"), Text(text="Hi"), call, usage=usage))

    assert {
        "model": "m",
        "created_at": "1970-01-01T00:00:01Z",
        "message": {
            "role": "assistant",
            "content": "Hi",
            "thinking": "hm",
            "tool_calls": [{"id": "abc", "function": {"index": 0, "name": "f", "arguments": {"b": 1.0, "a": 2}}}],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 4,
    } == body
    assert [] == losses


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("", {}), ("[1]", {"value": [1]}), ('{"a":', {"value": '{"a":'}), ('"x"\n', {"value": "x"})],
)
def test_arguments_that_are_no_object(arguments: str, expected: Any) -> None:
    """They stand under `value`, which is named; what is no JSON as text."""
    body, losses = says(foreign(ToolCall(id="c", name="f", arguments=arguments)))

    assert expected == body["message"]["tool_calls"][0]["function"]["arguments"]
    assert (["message.tool_calls=approximated"] if expected else []) == losses


@pytest.mark.parametrize(
    ("part", "loss"),
    [
        (Refusal(text="No."), "message.content=approximated"),
        (Media(kind="image", base64=PIXEL), "message.image=dropped"),
        (Opaque(dialect="gemini", kind="executableCode", raw={}), "message.executableCode=dropped"),
        (Text(text="x", citations=(Citation(url="u"),)), "message.citations=dropped"),
        (Text(text="x", seal=Seal(value="s", origin="gemini")), "message.signature=dropped"),
        (ToolCall(id="c", name="f", arguments="x", kind="custom"), "message.tool_calls=approximated"),
    ],
)
def test_parts_that_have_no_place(part: Any, loss: str) -> None:
    """The official client cannot read pictures in an answer, nor is there a word for the others."""
    assert [loss] == says(foreign(part))[1]


@pytest.mark.parametrize(
    ("finish", "word", "losses"),
    [
        (Finish(reason="length", raw="MAX_TOKENS"), "length", []),
        (Finish(reason="tool_calls"), "stop", []),
        (Finish(reason="content_filter", raw="SAFETY"), "stop", ["done_reason=approximated"]),
    ],
)
def test_why_it_ended(finish: Finish, word: str, losses: list[str]) -> None:
    """Two words; what they do not say is named."""
    body, named = says(foreign(Text(text="x"), finish=finish))

    assert (word, losses) == (body["done_reason"], named)


def test_a_blocked_prompt_is_told() -> None:
    """There is no place for it but the text."""
    blocked = ChatResponse(blocked=Finish(reason="content_filter", raw="SAFETY", message="Not this."))
    body, losses = says(blocked)

    assert ("Not this.", ["done_reason=approximated"]) == (body["message"]["content"], losses)
    assert "was blocked" in says(ChatResponse(blocked=Finish(reason="content_filter")))[0]["message"]["content"]


def test_one_answer_is_all_there_is() -> None:
    """Further choices are lost."""
    two = tuple(Choice(index=i, parts=(Text(text=str(i)),), finish=STOP) for i in range(2))
    body, losses = says(foreign(choices=two))

    assert ("0", ["choices=dropped"]) == (body["message"]["content"], losses)


def test_an_answer_to_a_prompt() -> None:
    """In the shape of generate: no message, and no calls."""
    call = ToolCall(id="c", name="f", arguments="{}")
    body, losses = told(foreign(Reasoning(text="hm"), Text(text="Hi"), call), PROMPT)

    assert ("Hi", "hm", True, "stop") == (body["response"], body["thinking"], body["done"], body["done_reason"])
    assert "message" not in body and ["message.tool_call=dropped"] == losses


PARTS = st.lists(
    st.builds(Text, text=st.text(min_size=1, max_size=5))
    | st.builds(Reasoning, text=st.text(min_size=1, max_size=5))
    | st.builds(ToolCall, id=st.just("call_abcdefgh"), name=st.just("f"), arguments=st.just('{"a": [1]}')),
    max_size=4,
)


@given(PARTS, st.sampled_from(["stop", "length"]), st.none() | st.integers(0, 2**40))
def test_what_is_told_is_read_again(parts: Any, reason: Any, created: Any) -> None:
    """Text, thinking and calls of any answer survive the way out and back."""
    response = foreign(*parts, finish=Finish(reason=reason), created=created)
    body, _ = says(response)
    back = read(body).choices[0].parts

    def of(kind: Any, found: Any) -> str:
        return "".join(part.text for part in found if isinstance(part, kind))

    for kind in (Text, Reasoning):
        assert of(kind, parts) == of(kind, back)
    assert len([one for one in parts if isinstance(one, ToolCall)]) == len(
        [one for one in back if isinstance(one, ToolCall)]
    )


# ── the relay lane ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "body", "counted"),
    [
        ("chat", line("Hi", done="stop"), 26),
        ("generate", {"response": "Hi", "prompt_eval_count": 3, "eval_count": 1}, 3),
        ("embed", {"embeddings": [[0.1]], "prompt_eval_count": 2}, 2),
        ("embeddings", {"embedding": [0.1]}, None),
    ],
)
def test_relayed_answers_are_looked_at(task: str, body: Any, counted: int | None) -> None:
    """Each task's answer has its own key; usage where it is told."""
    usage = OLLAMA.relay_response(answered(body), ask({"model": "m", "messages": [], "input": "x"}, task))

    assert counted == (usage.input_tokens if usage else None)


@pytest.mark.parametrize(
    ("task", "body", "error"),
    [
        ("chat", {"response": "Hi"}, BadUpstreamBytes),
        ("generate", {"message": {}}, BadUpstreamBytes),
        ("embed", {"embedding": []}, BadUpstreamBytes),
        ("chat", {"error": "it broke"}, UpstreamFailed),
        ("chat", b"[]", BadUpstreamBytes),
    ],
)
def test_relayed_answers_that_are_none(task: str, body: Any, error: type[Exception]) -> None:
    """They go no further."""
    with pytest.raises(error):
        OLLAMA.relay_response(answered(body), ask({"model": "m", "input": "x"}, task))


def test_bytes_of_an_answer_are_json() -> None:
    """One object, under its type."""
    wire = OLLAMA.encode_response(foreign(Text(text="\u2028")), PROMPT, [])

    assert (200, "application/json") == (wire.status, wire.headers["content-type"])
    assert "\u2028" == json.loads(wire.body)["response"]
