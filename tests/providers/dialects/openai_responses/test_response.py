"""Whole answers, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Logprobs,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from providers.canonical.errors import (
    BadUpstreamBytes,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
)
from tests.providers.dialects.openai_responses.speak import (
    ANSWER,
    NAME,
    RESPONSES,
    answered,
    ask,
    call,
    decoded,
    foreign,
    message,
    read,
    reasoning,
    recorded,
    response,
    told,
)

OWN = ChatRequest(dialect=NAME, model="m", messages=())

# ── recorded ───────────────────────────────────────────────────────────────────────────

#: Keys that some servers leave out and that every answer of ours has.
REQUIRED = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


def without_made(body: Any) -> Any:
    """Without the ids of calls that we made where a server gave none."""
    output = [{k: v for k, v in item.items() if "isthmus" not in str(v)} for item in body["output"]]
    return {**body, "output": output}


def test_recorded_answers_come_back_equal() -> None:
    """Decoded and encoded again an answer is the same JSON, with the required keys added; OpenAI's fit the schema."""
    count = 0
    for case in recorded():
        body = case.get("response_body")
        if case["status"] != 200 or case["stream"] or not isinstance(body, dict):
            continue
        found = json.loads(RESPONSES.encode_response(read(body), OWN, []).body)
        count += 1

        assert {**REQUIRED, **body} == without_made(found), case["id"]
    assert count >= 240


def test_recorded_answers_of_openai_fit_the_schema() -> None:
    """As another dialect's caller would have got them from us, but for items that only OpenAI makes."""
    known = {"message", "reasoning", "function_call", "custom_tool_call"}
    count = 0
    for case in recorded("openai-responses"):
        body = case.get("response_body")
        if case["status"] != 200 or not isinstance(body, dict) or {i["type"] for i in body.get("output", ())} - known:
            continue
        answer = read(body)
        moved = ChatResponse(dialect="elsewhere", id=answer.id, model=answer.model, choices=answer.choices)
        count += 1

        ANSWER.validate(json.loads(RESPONSES.encode_response(moved, OWN, []).body))
    assert count >= 100


# ── reading ────────────────────────────────────────────────────────────────────────────


def test_reads_what_was_said() -> None:
    """Reasoning, text, calls; the end is theirs."""
    found = read(response(reasoning("hm"), message("I look."), call(), usage=None))
    [choice] = found.choices

    assert (NAME, "resp_1", "m", 1) == (found.dialect, found.id, found.model, found.created)
    assert [Reasoning, Text, ToolCall] == [type(part) for part in choice.parts]
    assert choice.finish is not None
    assert "tool_calls" == choice.finish.reason
    assert found.usage is None


def test_usage() -> None:
    """Inclusive; None is what nobody said."""
    raw = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 14,
    }
    found = read(response(usage=raw)).usage
    beside = read(response(usage={**raw, "output_tokens": 1})).usage

    assert found is not None
    assert beside is not None
    assert (9, 5, 14, 3, 2, 4, None) == (
        found.input_tokens,
        found.output_tokens,
        found.total_tokens,
        found.cache_read_tokens,
        found.cache_write_tokens,
        found.reasoning_tokens,
        found.input_audio_tokens,
    )
    assert 5 == beside.output_tokens


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (response(status="failed", error={"code": "server_error", "message": "no"}), UpstreamFailed),
        (response(status="failed", error={"code": "rate_limit_exceeded", "message": "no"}), UpstreamBusy),
        (response(status="failed", error={"code": "invalid_prompt", "message": "no"}), UpstreamRejected),
        (response(status="failed", error={"code": "insufficient_quota", "message": "no"}), UpstreamDenied),
        (response(message("half"), status="failed", error={"code": "server_error", "message": "no"}), UpstreamFailed),
        (response(status="cancelled"), UpstreamFailed),
        ({"error": {"message": "no", "code": 429}}, UpstreamBusy),
        ({"error": {"message": "no"}}, UpstreamFailed),
    ],
)
def test_failures_in_a_good_answer(body: Any, kind: type[UpstreamError]) -> None:
    """Under status 200 they are failures all the same."""
    with pytest.raises(kind) as raised:
        read(body)

    assert 200 == raised.value.upstream_status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        {},
        {"output": {}},
        {"output": [1]},
        response(status="in_progress"),
        response({"type": "function_call", "name": ["f"], "arguments": ""}, usage={}, id=[]),
        response({"type": "message", "content": [1]}),
        response({"type": "reasoning", "summary": 1}),
    ],
)
def test_what_is_no_answer(body: Any) -> None:
    """Is said to be none, whatever it is."""
    with pytest.raises(BadUpstreamBytes):
        read(body)


# ── writing ────────────────────────────────────────────────────────────────────────────


def test_an_answer_of_another_dialect() -> None:
    """All keys that every answer has, also where they say nothing."""
    usage = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=3, reasoning_tokens=4)
    found, losses = told(foreign(Text(text="Hi"), usage=usage, service_tier="STANDARD"))

    assert ("resp_r1", "response", 1, "m", "completed") == (
        found["id"],
        found["object"],
        found["created_at"],
        found["model"],
        found["status"],
    )
    assert "Hi" == found["output"][0]["content"][0]["text"]
    assert {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 14,
    } == found["usage"]
    assert "default" == found["service_tier"]
    assert (None, None, True, "auto", []) == (
        found["error"],
        found["incomplete_details"],
        found["parallel_tool_calls"],
        found["tool_choice"],
        found["tools"],
    )
    assert [] == losses


def test_an_answer_repeats_its_request() -> None:
    """What the caller asked for, as it was asked."""
    said: dict[str, Any] = {
        "instructions": "Be brief.",
        "temperature": 0.5,
        "top_p": 0.25,
        "max_output_tokens": 9,
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "text": {"format": {"type": "json_object"}},
        "truncation": "auto",
        "store": True,
        "user": "u",
    }
    found, _ = told(foreign(Text(text="Hi")), decoded(**said, reasoning={"effort": "low"}))

    assert said == {key: found[key] for key in said}
    assert {"effort": "low", "summary": None} == found["reasoning"]


@pytest.mark.parametrize(
    ("finish", "status", "details", "losses"),
    [
        (Finish(reason="stop"), "completed", None, []),
        (Finish(reason="length"), "incomplete", {"reason": "max_output_tokens"}, []),
        (Finish(reason="content_filter"), "incomplete", {"reason": "content_filter"}, []),
        (Finish(reason="pause", raw="pause_turn"), "completed", None, ["status=approximated"]),
    ],
)
def test_ends(finish: Finish, status: str, details: Any, losses: list[str]) -> None:
    """A word that the dialect lacks is a loss; a text that was cut off says so itself."""
    found, lost = told(foreign(Text(text="Hi"), finish=finish))

    assert (status, details, losses) == (found["status"], found["incomplete_details"], lost)
    assert ("completed" if status == "completed" else "incomplete") == found["output"][0]["status"]


def test_refusals() -> None:
    """A part; a provider's explanation where there is none; a prompt that was blocked."""
    own, _ = told(foreign(Refusal(text="no"), finish=Finish(reason="refusal", message="because")))
    explained, _ = told(foreign(finish=Finish(reason="refusal", message="because")))
    blocked, _ = told(foreign(choices=(), blocked=Finish(reason="content_filter", raw="SAFETY")))
    silent, _ = told(foreign(finish=Finish(reason="content_filter")))

    assert ["no"] == [part["refusal"] for part in own["output"][0]["content"]]
    assert ["because"] == [part["refusal"] for part in explained["output"][0]["content"]]
    assert ("incomplete", "The request was blocked (SAFETY).") == (
        blocked["status"],
        blocked["output"][0]["content"][0]["refusal"],
    )
    assert [] == silent["output"]


def test_one_answer() -> None:
    """Callers of this dialect get one; others are a loss."""
    choices = (Choice(parts=(Text(text="a"),)), Choice(index=1, parts=(Text(text="b"),)))
    found, losses = told(foreign(choices=choices))

    assert (1, ["choices=dropped"]) == (len(found["output"]), losses)


def test_log_probabilities() -> None:
    """Stand with the text."""
    choice = Choice(parts=(Text(text="a"),), logprobs=Logprobs(content=(TokenLogprob(token="a", logprob=-1.0),)))
    found, _ = told(foreign(choices=(choice,)))

    assert "a" == found["output"][0]["content"][0]["logprobs"][0]["token"]


def test_the_same_answer_has_the_same_ids() -> None:
    """And another one others."""
    answer = foreign(Text(text="a"), ToolCall(id="c", name="f", arguments="{}", seal=Seal(value="x", origin="gemini")))
    other = foreign(Text(text="a"), id="r2")

    assert told(answer) == told(answer)
    assert told(answer)[0]["output"][0]["id"] != told(other)[0]["output"][0]["id"]


def test_a_callers_request_of_another_dialect_is_not_repeated() -> None:
    """Its fields are none of ours."""
    found, _ = told(
        foreign(Text(text="a")), ChatRequest(dialect="x", model="m", messages=(), form={"echo": {"user": 1}})
    )

    assert found["user"] is None


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def test_the_relay_reads_usage() -> None:
    """And checks what it passes on."""
    raw = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    found = RESPONSES.relay_response(answered(response(message("Hi"), usage=raw)), ask())

    assert found is not None
    assert (9, 5) == (found.input_tokens, found.output_tokens)
    with pytest.raises(BadUpstreamBytes):
        RESPONSES.relay_response(answered({"id": "x"}), ask())
    with pytest.raises(UpstreamFailed):
        RESPONSES.relay_response(answered(response(status="failed")), ask())


def test_answers_in_the_background_are_not_done() -> None:
    """The caller who asked for that gets them as they are; nobody else does."""
    queued = answered(response(status="queued"))

    assert RESPONSES.relay_response(queued, ask(background=True)) is None
    with pytest.raises(UpstreamFailed):
        RESPONSES.relay_response(queued, ask())


@pytest.mark.parametrize("status", [{}, [], 1])
def test_a_status_that_is_no_word(status: Any) -> None:
    """It is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        RESPONSES.decode_response(answered({"output": [], "status": status}))
