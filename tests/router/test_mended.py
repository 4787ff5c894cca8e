"""Rows whose quirks change answers, through the real server: which lane, which target, and what is looked at when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router import validating
from router.explain import Question, explain
from tests.answers import chat_answer, chat_chunk, chat_stream, tool_call
from tests.fakes import DONE, FakeUpstream, Reset, json_answer, sse, status
from tests.running import Answer, Running, running

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  mended: {base_url: "$up/v1", speaks: [openai.chat], auth: none, quirks: [$quirks]$more}
  plain: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
models:
  m: [{provider: mended, model: one}]
  both: [{provider: mended, model: one}, {provider: plain, model: two}]
policies: {default: {wait: {first: 1ms, most: 1ms}, check_schema: $mode}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /emulated, speaks: openai.chat, to: models, emulate: [json_schema, tools]}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "object", "required": ["a"]}
WISH = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
GOOD, BROKEN = '{"a": 1}', '{"b": 1}'

streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
needs_extra = pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")


@asynccontextmanager
async def before(*quirks: str, more: str = "", mode: str = '"off"') -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream:
        names = ", ".join(quirks)
        async with running(TABLE, up=upstream.url, quirks=names, more=more, mode=mode) as gateway:
            yield gateway, upstream


async def ask(gateway: Running, model: str = "m", path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return await gateway.post(path, body)


def said(answer: Answer) -> str:
    if not answer.body.startswith(b"data:"):
        text: str = answer.json["choices"][0]["message"]["content"]
        return text
    deltas = [event["choices"][0]["delta"] for event in answer.events[:-1] if event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@streamed
async def test_the_lane_is_that_of_the_call(stream: bool) -> None:
    """Relayed where nothing is to be changed, read and written again where something is; the request as it came."""
    async with before("stop_here") as (gateway, upstream):
        reply = sse(*chat_stream("a#b")) if stream else json_answer(chat_answer("a#b"))
        upstream.always(reply)
        plain = await ask(gateway, stream=stream, odd={"x": [1.0]})
        cut = await ask(gateway, stream=stream, odd={"x": [1.0]}, stop="#")

        assert ["relay", "translate"] == [one.headers["x-isthmus-lane"] for one in (plain, cut)]
        assert ["a#b", "a"] == [said(one) for one in (plain, cut)]
        assert [{"x": [1.0]}] * 2 == [request.json()["odd"] for request in upstream.requests]


@streamed
async def test_the_next_target_has_its_own_quirks(stream: bool) -> None:
    """What is done for one target is not done for the one that stands in for it."""
    async with before("hide_tool_calls", "stop_here") as (gateway, upstream):
        reply = sse(*chat_stream("a#b")) if stream else json_answer(chat_answer("a#b"))
        upstream.script(status(400, {"error": {"message": "x", "code": "model_not_found"}}), reply)
        answer = await ask(gateway, "both", stream=stream, stop="#")

        assert ("plain", "relay", "a#b") == (
            answer.headers["x-isthmus-provider"],
            answer.headers["x-isthmus-lane"],
            said(answer),
        )
        assert "#" == upstream.requests[1].json()["stop"]


@streamed
async def test_a_callers_own_tools_are_called(stream: bool) -> None:
    """Calls are hidden only from those who gave no tools."""
    async with before("hide_tool_calls") as (gateway, upstream):
        call = tool_call("f", "{}", id="c1")
        chunks = [chat_chunk(tool_calls=[{"index": 0, **call}]), chat_chunk(finish="tool_calls")]
        upstream.always(sse(*chunks) if stream else json_answer(chat_answer(None, tool_calls=[call])))
        given = await ask(gateway, stream=stream, tools=[TOOL])
        hidden = await ask(gateway, stream=stream)

        assert b'"c1"' in given.body
        assert b'"c1"' not in hidden.body


@needs_extra
async def test_an_answer_asked_for_again_counts_where_the_next_target_is_tried() -> None:
    """Never more calls than the policy's attempts: the one that did not help is one of them."""
    async with before(more=", on_invalid_json: error", mode="repair, attempts: 2") as (gateway, upstream):
        upstream.always(json_answer(chat_answer(BROKEN)))
        answer = await ask(gateway, "both", response_format=WISH)

        assert ("2", 2) == (answer.headers["x-isthmus-attempts"], len(upstream.requests))


@needs_extra
@streamed
async def test_a_mended_answer_is_what_is_looked_at(stream: bool) -> None:
    """The fence is gone before the schema is held against it; the policy's own check goes on as it does."""
    async with before("strip_fence", mode="flag") as (gateway, upstream):
        for text in (GOOD, BROKEN):
            fenced = f"```json\n{text}\n```"
            upstream.script(sse(*chat_stream(fenced)) if stream else json_answer(chat_answer(fenced)))
        good = await ask(gateway, stream=stream, response_format=WISH)
        broken = await ask(gateway, stream=stream, response_format=WISH)
        lines = await gateway.lines()

        assert [GOOD, BROKEN] == [said(good), said(broken)]
        field = "response_format.json_schema.schema"
        assert [[], [field]] == [[loss["field"] for loss in line.get("losses", ())] for line in lines]


@needs_extra
@pytest.mark.parametrize(
    ("row", "mode", "calls", "code"),
    [
        ("return", '"off"', 1, 200),
        ("return", "repair", 2, 200),
        ("retry_once", '"off"', 2, 200),
        ("error", '"off"', 1, 502),
        ("error", "repair", 2, 502),
    ],
)
async def test_the_stricter_of_row_and_policy_holds(row: str, mode: str, calls: int, code: int) -> None:
    """A row that returns broken JSON does not keep a policy from having it repaired."""
    async with before(more=f", on_invalid_json: {row}", mode=mode) as (gateway, upstream):
        upstream.always(json_answer(chat_answer(BROKEN)))
        answer = await ask(gateway, response_format=WISH)

        assert (code, calls) == (answer.status, len(upstream.requests))


async def test_no_json_at_all_is_found_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the schema needs a library."""
    monkeypatch.setattr(validating, "AVAILABLE", False)
    async with before(more=", on_invalid_json: error") as (gateway, upstream):
        upstream.script(json_answer(chat_answer("no JSON")), json_answer(chat_answer(BROKEN)))
        answers = [await ask(gateway, response_format=WISH) for _ in range(2)]

        assert [502, 200] == [answer.status for answer in answers]


@streamed
async def test_what_is_emulated_is_mended_first(stream: bool) -> None:
    """A call asked for in words is the caller's; text is cut before it is understood."""
    async with before("hide_tool_calls", "stop_here", more=", rejects: [tools]") as (gateway, upstream):
        text = json.dumps({"tool_calls": [{"name": "f", "arguments": {}}]})
        upstream.always(json_answer(chat_answer(f"{text}# and more")))
        answer = await ask(gateway, path="/emulated", stream=stream, tools=[TOOL], stop="#")

        assert b'"name":"f"' in answer.body.replace(b" ", b"")
        assert b"and more" not in answer.body


@streamed
@pytest.mark.parametrize("tools", [None, []], ids=["unsaid", "none"])
async def test_calls_in_their_older_form_are_hidden(stream: bool, tools: list[Any] | None) -> None:
    """`function_call`, whole and in pieces, with the finish reason that goes with it."""
    call = {"name": "theirs", "arguments": "{}"}
    async with before("hide_tool_calls") as (gateway, upstream):
        whole = chat_answer("Hi", finish="function_call")
        whole["choices"][0]["message"]["function_call"] = call
        first, last = chat_chunk("Hi", role="assistant"), chat_chunk(finish="function_call")
        middle = chat_chunk()
        middle["choices"][0]["delta"] = {"function_call": call}
        upstream.always(sse(first, middle, last, DONE) if stream else json_answer(whole))
        answer = await ask(gateway, stream=stream, **({} if tools is None else {"tools": tools}))

        assert ("Hi", False) == (said(answer), b"theirs" in answer.body)
        assert (b'"stop"' in answer.body, b'"function_call"}' in answer.body) == (True, False)


@streamed
async def test_calls_of_the_upstreams_own_are_none_of_those_asked_for_in_words(stream: bool) -> None:
    """A target that was not told of the tools cannot have called one of them."""
    async with before("hide_tool_calls", more=", rejects: [tools]") as (gateway, upstream):
        upstream.always(json_answer(chat_answer("Hi", tool_calls=[tool_call("theirs", "{}")])))
        answer = await ask(gateway, path="/emulated", stream=stream, tools=[TOOL])

        assert ("Hi", False) == (said(answer), b"theirs" in answer.body)


@pytest.mark.parametrize(
    "broken", [[], [b"data: {\n\n"], [{"error": {"message": "late"}}], [Reset()]], ids=["cut", "bad", "error", "reset"]
)
async def test_a_stream_that_breaks_behind_a_stop_has_ended_well(broken: list[Any]) -> None:
    """The caller has its answer: one end, and no error after it."""
    async with before("stop_here") as (gateway, upstream):
        upstream.always(sse(chat_chunk("a", role="assistant"), chat_chunk("#b"), *broken))
        answer = await ask(gateway, stream=True, stop="#")
        line = (await gateway.lines())[0]

        assert ("a", "[DONE]") == (said(answer), answer.events[-1])
        assert ("done", "ok") == (line["stream_end"], line["outcome"])


async def test_a_whole_answer_to_a_stream_is_mended() -> None:
    """Given on as the stream that it would have been."""
    async with before("stop_here") as (gateway, upstream):
        upstream.always(json_answer(chat_answer("a#b")))
        answer = await ask(gateway, stream=True, stop="#")

        assert ("a", "[DONE]") == (said(answer), answer.events[-1])


async def test_a_list_of_one_is_relayed_without_its_list() -> None:
    """Byte for byte what stands in it."""
    async with before("unwrap_list") as (gateway, upstream):
        upstream.always(json_answer([chat_answer("Hi", odd=[1.0])]))
        answer = await ask(gateway)

        assert ("relay", [1.0]) == (answer.headers["x-isthmus-lane"], answer.json["odd"])


async def test_a_dry_run_says_the_same() -> None:
    """`explain` goes through the same code: the lane and what would be sent."""
    async with before("stop_here", more=", credits: {one: 2}") as (gateway, _):
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stop": "#"}
        question = Question(path="/v1/chat/completions", method="POST", headers=(), body=json.dumps(body).encode())
        told = await explain(gateway.life.gateway, question)

        assert ("translate", False) == (told["lane"], "stop" in told["upstream_request"]["body"])
        assert {"credits": 2.0} == told["estimated_cost"]


async def test_a_wish_to_let_others_go_first_is_checked() -> None:
    """Only where the row has a place for it; elsewhere the query is nobody's."""
    async with before("nice") as (gateway, upstream):
        upstream.always(json_answer(chat_answer()))
        nice = await ask(gateway, path="/v1/chat/completions?nice=true")
        odd = await ask(gateway, path="/v1/chat/completions?nice=1")

        assert (200, 400, "/v1/chat/completions?nice=true") == (nice.status, odd.status, upstream.requests[0].target)
