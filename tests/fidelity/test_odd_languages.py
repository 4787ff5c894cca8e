"""Odd answers of Anthropic, Responses and Ollama to callers of each other language: alike whole and streamed."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from providers.canonical.loss import Losses
from providers.canonical.stream import ResponseStart
from providers.dialect import Dialect, WireResponse

from .answers import READ_STREAM, READ_WHOLE, in_order, told
from .languages import fits
from .neutral import Json
from .test_streams import PIECES
from .through import CALLERS, NAMES, decoded, lost, tell, written


def anthropic(*content: Json, stop: str = "end_turn", **more: Json) -> Json:
    usage = {"input_tokens": 5, "output_tokens": 3}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    return {**head, "content": list(content), "stop_reason": stop, "stop_sequence": None, **more}


def responses(*output: Json, status: str = "completed", **more: Json) -> Json:
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "usage": usage}
    return {**head, "status": status, "output": list(output), **more}


def ollama(reason: str = "stop", **said: Json) -> Json:
    message = {"role": "assistant", "content": "", **said}
    head = {"model": "m", "created_at": "2025-01-01T00:00:00Z", "done": True, "done_reason": reason}
    return {**head, "message": message, "prompt_eval_count": 5, "eval_count": 3}


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def used(name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": arguments}


def message(*content: Json, identifier: str = "msg_1") -> Json:
    head = {"type": "message", "id": identifier, "role": "assistant", "status": "completed"}
    return {**head, "content": list(content)}


def output(said: str) -> Json:
    return {"type": "output_text", "text": said, "annotations": []}


NO: Json = {"type": "refusal", "refusal": "No."}
CALL: Json = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
SUMMARY: Json = [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}]
SEARCH: Json = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
ODD: dict[str, dict[str, Json]] = {
    "anthropic.messages": {
        "a refusal without a word": anthropic(stop="refusal"),
        "a text that ends as refused": anthropic(text("Hal"), stop="refusal"),
        "a sequence that stopped it": anthropic(text("a"), stop="stop_sequence", stop_sequence="END"),
        "a pause": anthropic(text("a"), stop="pause_turn"),
        "a full window": anthropic(text("a"), stop="model_context_window_exceeded"),
        "nothing at all": anthropic(),
        "sealed thinking": anthropic({"type": "redacted_thinking", "data": "c2Vhb"}, text("a")),
        "signed thinking": anthropic({"type": "thinking", "thinking": "hm", "signature": "c2ln"}, text("a")),
        "calls around a text": anthropic(used("f", {}), text("and"), used("g", {"a": 1}), stop="tool_use"),
        "a search of its own": anthropic(SEARCH, FOUND, text("One.")),
        "a new stop reason": anthropic(text("x"), stop="brand_new"),
        "a new block": anthropic({"type": "brand_new", "x": 1}, text("x")),
    },
    "openai.responses": {
        "a refusal": responses(message(NO)),
        "a text and a refusal": responses(message(output("Well."), NO)),
        "nothing, too long": responses(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "a text cut by a filter": responses(
            message(output("Hal")), status="incomplete", incomplete_details={"reason": "content_filter"}
        ),
        "two messages": responses(message(output("a")), message(output("b"), identifier="msg_2")),
        "a call between texts": responses(message(output("a")), CALL, message(output("b"), identifier="msg_2")),
        "a custom call": responses(
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "f", "input": "raw"}
        ),
        "summaries": responses(
            {"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "encrypted_content": "c2Vh"}, message(output("a"))
        ),
        "a search of its own": responses(
            {"type": "web_search_call", "id": "ws_1", "status": "completed"}, message(output("a"))
        ),
        "a new item": responses({"type": "brand_new", "id": "x_1"}, message(output("a"))),
    },
    "ollama.chat": {
        "nothing": ollama(),
        "thinking": ollama(content="a", thinking="hm"),
        "two calls of one name": ollama(
            tool_calls=[{"function": {"name": "f", "arguments": arguments}} for arguments in ({}, {"a": 1})]
        ),
        "a model that was loaded": ollama("load"),
        "a text cut short": ollama("length", content="a"),
    },
}
CASES = [
    (upstream, what, caller)
    for upstream, answers in ODD.items()
    for what in answers
    for caller in CALLERS
    if caller != upstream
]
#: Ends that only their own language has a word for: named, and no longer the same.
UNKNOWN = ("a new stop reason", "a model that was loaded")


def streamed(upstream: Dialect, caller: Dialect, body: Json, losses: Losses) -> bytes:
    """The stream that a caller gets, with the id that the gateway gives where the upstream gave none."""
    found = [
        msgspec.structs.replace(event, id=event.id or "req-1") if isinstance(event, ResponseStart) else event
        for event in decoded(upstream, [PIECES[upstream.name](body)])
    ]
    return written(caller, found, losses)


@pytest.mark.parametrize(("upstream", "what", "caller"), CASES, ids=[f"{a}: {b} to {c}" for a, b, c in CASES])
def test_odd_answers_arrive(upstream: str, what: str, caller: str) -> None:
    """They fit, say the same, say it streamed as they say it whole, and name what is lost both times or never."""
    body, ours, theirs = ODD[upstream][what], NAMES[upstream], NAMES[caller]
    losses: Losses = []
    losses_of_stream: Losses = []
    answer = json.loads(tell(ours, theirs, WireResponse(status=200, body=json.dumps(body).encode()), losses))
    stream = streamed(ours, theirs, body, losses_of_stream)
    whole, heard = READ_WHOLE[caller](answer), READ_STREAM[caller](stream)

    assert [] == fits(answer, caller, "whole") + in_order(stream, caller)
    assert [] == told(whole, heard, caller) or "OTHER" in {choice.word for choice in whole.choices.values()}
    assert bool(losses) is bool(losses_of_stream)
    if what not in UNKNOWN:
        assert [] == told(READ_WHOLE[upstream](body), whole, caller, lost(losses))


@pytest.mark.parametrize(("upstream", "what", "caller"), [one for one in CASES if one[1] in UNKNOWN])
def test_an_end_without_a_word_is_named(upstream: str, what: str, caller: str) -> None:
    """Whole and streamed: the loss tells the upstream's own word."""
    body, ours, theirs = ODD[upstream][what], NAMES[upstream], NAMES[caller]
    losses: Losses = []
    losses_of_stream: Losses = []
    tell(ours, theirs, WireResponse(status=200, body=json.dumps(body).encode()), losses)
    streamed(ours, theirs, body, losses_of_stream)

    for found in (lost(losses), lost(losses_of_stream)):
        ends = [one for one in found if re.search(r"ended with (brand_new|load)$", one.reason)]
        assert ["approximated"] == [one.kind for one in ends]
