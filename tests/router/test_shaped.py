"""Answers that break their caller's schema, through the real server: flagged, asked for again, and let be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router import validating
from router.explain import Question, explain
from tests.answers import chat_answer, chat_chunk, chat_stream, tool_call
from tests.fakes import FakeUpstream, Sleep, json_answer, sse, status
from tests.lanes import KEYS, LANES, Lane
from tests.running import Answer, Running, running
from tests.tables import problems

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OPENAI_UP"}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: google_key, secret: "env:GEMINI_UP"}
models:
  openai-model: [{provider: openai-up, model: gpt-4o-mini}]
  gemini-model: [{provider: gemini-up, model: gemini-2.5-flash}]
policies:
  default: {attempts: $attempts, check_schema: $mode, wait: {first: 1ms, most: 1ms}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: /off, speaks: openai.chat, to: models, check_schema: "off"}
"""
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OPENAI = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}
GEMINI = {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}}
FIELD = {"openai": "response_format.json_schema", "gemini": "generationConfig.responseJsonSchema"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
BROKEN = '{"a": "x"}'
GOOD = '{"a": 1}'

needs_extra = pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
lanes = pytest.mark.parametrize("lane", LANES, ids=[lane.name for lane in LANES])


@asynccontextmanager
async def between(mode: str, attempts: int = 3) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with (
        FakeUpstream() as upstream,
        running(TABLE, KEYS, up=upstream.url, mode=mode, attempts=attempts) as gateway,
    ):
        yield gateway, upstream


async def ask(gateway: Running, lane: Lane, path: str | None = None, *, stream: bool = False) -> Answer:
    """A call that asks for JSON of the schema."""
    wish = OPENAI if lane.caller == "openai" else GEMINI
    body = json.loads(json.dumps(lane.body(stream=stream)))
    return await gateway.post(path or lane.path(stream=stream), {**body, **wish})


def flagged(answer: Answer, lane: Lane) -> bool:
    """Is the schema's field named?"""
    losses = answer.headers["x-isthmus-loss"].split(", ")
    return any(loss.startswith(FIELD[lane.caller]) and loss.endswith("=approximated") for loss in losses)


@needs_extra
@lanes
async def test_an_answer_that_breaks_its_schema_is_flagged(lane: Lane) -> None:
    """The schema's field is a loss, in header, log and metric; the answer is the upstream's."""
    async with between("flag") as (gateway, upstream):
        upstream.script(lane.whole(BROKEN), lane.whole(GOOD))
        broken, good = await ask(gateway, lane), await ask(gateway, lane)
        line = (await gateway.lines())[0]

        assert (200, BROKEN) == (broken.status, lane.text_of(broken.json))
        assert flagged(broken, lane)
        assert "approximated" not in good.headers.get("x-isthmus-loss", "")
        assert FIELD[lane.caller] in json.dumps(line["losses"])
        assert 1.0 == gateway.metric("isthmus_losses_total", kind="approximated")


@needs_extra
@lanes
async def test_an_answer_that_breaks_its_schema_is_asked_for_again(lane: Lane) -> None:
    """The model is shown its answer and told what was wrong; the second answer is given, both are counted."""
    async with between("repair") as (gateway, upstream):
        upstream.script(lane.whole(BROKEN), lane.whole(GOOD))
        answer = await ask(gateway, lane)

        assert (200, GOOD) == (answer.status, lane.text_of(answer.json))
        assert "2" == answer.headers["x-isthmus-attempts"]
        assert "approximated" not in answer.headers.get("x-isthmus-loss", "")
        assert 2.0 == gateway.metric("isthmus_attempts_total", outcome="ok")
        again = json.dumps(upstream.requests[1].json())
        assert json.dumps(BROKEN)[1:-1] in again
        assert "is not of type" in again
        assert upstream.requests[0].target == upstream.requests[1].target
        assert upstream.requests[0].header("content-type") == upstream.requests[1].header("content-type")


@needs_extra
@pytest.mark.parametrize(
    ("second", "attempts"), [(BROKEN, 3), (None, 3), (GOOD, 1)], ids=["broken again", "a failure", "no attempt left"]
)
@lanes
async def test_the_first_answer_stands_where_the_second_is_no_better(
    lane: Lane, second: str | None, attempts: int
) -> None:
    """One repair, not more, within the attempts of the policy; what fails then does not cost the caller the answer."""
    async with between("repair", attempts) as (gateway, upstream):
        upstream.script(
            lane.whole('{"a": "first"}'), *([lane.whole(second) if second else status(500)] * (attempts > 1))
        )
        answer = await ask(gateway, lane)

        assert (200, '{"a": "first"}') == (answer.status, lane.text_of(answer.json))
        assert str(min(attempts, 2)) == answer.headers["x-isthmus-attempts"]
        assert flagged(answer, lane)
        assert 0 == upstream.unused


@needs_extra
@lanes
async def test_what_is_asked_again_is_another_question(lane: Lane) -> None:
    """An upstream that knows the caller's key would say that it has answered, or that the body is another one."""
    async with between("repair") as (gateway, upstream):
        upstream.always(lane.whole(BROKEN))
        wish = OPENAI if lane.caller == "openai" else GEMINI
        await gateway.post(lane.path(), {**lane.body(), **wish}, headers={"idempotency-key": "once"})

        assert ["once", None] == [request.header("idempotency-key") for request in upstream.requests]


@needs_extra
async def test_each_answer_takes_its_own_time() -> None:
    """The first is over when the second is asked for: its target is no slower for that, nor the time counted twice."""
    lane = LANES[0]
    async with between("repair") as (gateway, upstream):
        upstream.script(lane.whole(BROKEN), lane.whole(GOOD).after(Sleep(0.4)))
        await ask(gateway, lane)
        line = (await gateway.lines())[-1]
        first, second = (attempt["ms"] for attempt in line["attempts"])

        assert first < 300 < second and line["upstream_ms"] <= line["ms"]


@needs_extra
@lanes
async def test_an_answer_that_was_no_better_is_counted_all_the_same(lane: Lane) -> None:
    """It was made, and will be on the upstream's bill: limits, log and metrics know of both."""
    async with between("repair") as (gateway, upstream):
        upstream.always(lane.whole(BROKEN))
        await ask(gateway, lane)

        assert {"input": 18, "output": 6} == (await gateway.lines())[-1]["usage"]
        assert 24 == gateway.metric("isthmus_tokens_total")


@needs_extra
async def test_a_route_may_say_otherwise() -> None:
    """`check_schema` of a route comes before that of the policy."""
    async with between("repair") as (gateway, upstream):
        upstream.script(LANES[0].whole(BROKEN))
        answer = await ask(gateway, LANES[0], "/off")

        assert (200, "1") == (answer.status, answer.headers["x-isthmus-attempts"])
        assert "x-isthmus-loss" not in answer.headers


@needs_extra
@lanes
async def test_streams_are_flagged_at_their_end(lane: Lane) -> None:
    """A stream goes out untouched; what was wrong with it stands in log and metric."""
    async with between("repair") as (gateway, upstream):
        upstream.script(lane.stream('{"a": ', '"x"}'), lane.stream('{"a": ', "1}"))
        broken = await ask(gateway, lane, stream=True)
        await ask(gateway, lane, stream=True)
        first, second = await gateway.lines()

        assert 200 == broken.status
        assert 2 == len(upstream.requests)
        assert "does not fit" in json.dumps(first["losses"])
        assert "does not fit" not in json.dumps(second.get("losses", []))
        assert ("ok", "done") == (first["outcome"], first["stream_end"])


@needs_extra
async def test_a_whole_answer_to_a_stream_is_looked_at_too() -> None:
    """S18: JSON in the place of a stream becomes one, and is flagged as one."""
    async with between("flag") as (gateway, upstream):
        upstream.script(json_answer(chat_answer(BROKEN)))
        answer = await ask(gateway, LANES[0], stream=True)
        line = (await gateway.lines())[0]

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert FIELD["openai"] in json.dumps(line["losses"])


@needs_extra
async def test_arguments_of_calls() -> None:
    """They are held against the tool's own parameters; the model gets a result that says what was wrong."""
    question = {"model": "openai-model", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}

    def calls(arguments: Any) -> Any:
        return json_answer(chat_answer(None, finish="tool_calls", tool_calls=[tool_call("f", arguments)]))

    async with between("repair") as (gateway, upstream):
        upstream.script(calls({"a": "x"}), calls({"a": 1}))
        answer = await gateway.post("/v1/chat/completions", question)
        again = upstream.requests[1].json()

        [call] = answer.json["choices"][0]["message"]["tool_calls"]
        assert {"a": 1} == json.loads(call["function"]["arguments"])
        assert ["user", "assistant", "tool"] == [message["role"] for message in again["messages"]]
        assert "is not of type" in again["messages"][2]["content"]
        assert [TOOL] == again["tools"]
        assert 24 == answer.json["usage"]["total_tokens"]


@needs_extra
async def test_calls_without_a_schema_stay_bytes() -> None:
    """Where nothing was asked of the answer, the relay gives it on as it came."""
    odd = (
        b'{"id": "c",  "object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
    )

    async with between("repair") as (gateway, upstream):
        upstream.script(json_answer(odd))
        answer = await gateway.post("/v1/chat/completions", LANES[0].body())

        assert odd == answer.body


@needs_extra
async def test_a_stream_that_fails_is_not_flagged() -> None:
    """Half an answer breaks no schema: it is an error already."""
    async with between("flag") as (gateway, upstream):
        upstream.script(sse(*chat_stream('{"a":')[:2], chat_chunk("x")))
        answer = await ask(gateway, LANES[0], stream=True)
        line = (await gateway.lines())[0]

        assert "upstream_truncated" == answer.events[-1]["error"]["code"]
        assert "losses" not in line or [] == line["losses"]


def test_without_the_extra_the_file_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for that would not be done."""
    monkeypatch.setattr(validating, "AVAILABLE", False)
    text = """\
        policies: {default: {check_schema: flag}, other: {check_schema: "off"}}
        models: {m: [{provider: demo, model: x}]}
        routes: [{path: /x, speaks: openai.chat, to: models, check_schema: repair}]
        """
    what = "check_schema: jsonschema-rs is not installed, expected `pip install isthmus[schema]`"

    assert [f"1:36 {what}", f"3:68 {what}"] == problems(tmp_path, text)


# ── emulation ──────────────────────────────────────────────────────────────────────────

EMULATING = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  plain: {like: rich, rejects: [tools, tool_choice, response_format]}
  rich: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OPENAI_UP"}
models:
  plain: [{provider: plain, model: small}]
  rich: [{provider: rich, model: large}]
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models, emulate: [json_schema, tools]}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models, emulate: [json_schema, tools]}
  - {path: /without, speaks: openai.chat, to: models}
"""
QUESTION = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}
SPELLED = '{"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}'


@asynccontextmanager
async def emulating() -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(EMULATING, KEYS, up=upstream.url) as gateway:
        yield gateway, upstream


async def test_tools_of_a_target_that_has_none() -> None:
    """Told in words, understood from words, said to be so; the upstream sees no tool."""
    async with emulating() as (gateway, upstream):
        upstream.script(json_answer(chat_answer(f"```json\n{SPELLED}\n```")))
        answer = await gateway.post("/v1/chat/completions", {**QUESTION, "tools": [TOOL], "tool_choice": "required"})
        sent = upstream.requests[0].json()

        choice = answer.json["choices"][0]
        [call] = choice["message"]["tool_calls"]
        assert ("tool_calls", None) == (choice["finish_reason"], choice["message"]["content"])
        assert ("f", {"a": 1}) == (call["function"]["name"], json.loads(call["function"]["arguments"]))
        assert {"model", "messages"} == sent.keys()
        assert "small" == sent["model"]
        assert ("translate", "tools=approximated") == (
            answer.headers["x-isthmus-lane"], answer.headers["x-isthmus-loss"]
        )  # fmt: skip


async def test_a_conversation_with_emulated_tools() -> None:
    """The history goes on in words as well, and the second answer is a plain one."""
    async with emulating() as (gateway, upstream):
        upstream.script(json_answer(chat_answer("It is 4.")))
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        history = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "!"}],
            },
        ]
        answer = await gateway.post("/v1/chat/completions", {"model": "plain", "messages": history, "tools": [TOOL]})
        messages = upstream.requests[0].json()["messages"]

        assert "It is 4." == answer.json["choices"][0]["message"]["content"]
        assert ["system", "user", "assistant", "user"] == [message["role"] for message in messages]
        assert messages[0]["content"].startswith("Be brief.\n")
        assert {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]} == json.loads(messages[2]["content"])
        assert "Result of c:\n4\n!" == messages[3]["content"]


async def test_an_emulated_stream_comes_when_it_is_whole() -> None:
    """The upstream is asked for a whole answer; the caller gets the stream it asked for, calls and usage included."""
    async with emulating() as (gateway, upstream):
        upstream.script(json_answer(chat_answer(SPELLED)))
        body = {**QUESTION, "tools": [TOOL], "stream": True, "stream_options": {"include_usage": True}}
        answer = await gateway.post("/v1/chat/completions", body)
        request = upstream.requests[0]

        assert ("application/json", {"model", "messages"}) == (request.header("accept"), request.json().keys())
        deltas = [chunk["choices"][0]["delta"] for chunk in answer.events[:-1] if chunk["choices"]]
        calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
        assert "f" == calls[0]["name"]
        assert {"a": 1} == json.loads("".join(call["arguments"] for call in calls))
        assert "[DONE]" == answer.events[-1]
        assert 12 == answer.events[-2]["usage"]["total_tokens"]


@needs_extra
@pytest.mark.parametrize("stream", [False, True])
async def test_json_of_a_target_that_has_no_mode_for_it(stream: bool) -> None:
    """Told in words, taken out of the talk around it, held against the schema, asked for once more."""
    async with emulating() as (gateway, upstream):
        upstream.script(
            json_answer(chat_answer('Sure: {"a": "x"}')), json_answer(chat_answer('```json\n{"a": 1}\n```'))
        )
        answer = await gateway.post("/v1/chat/completions", {**QUESTION, **OPENAI, "stream": stream})
        first, second = (request.json()["messages"] for request in upstream.requests)

        if stream:
            text = "".join(c["choices"][0]["delta"].get("content") or "" for c in answer.events[:-1] if c["choices"])
        else:
            text = answer.json["choices"][0]["message"]["content"]
        assert GOOD == text
        assert "2" == answer.headers["x-isthmus-attempts"] or stream
        assert "response_format.json_schema=approximated" == answer.headers["x-isthmus-loss"]
        assert ["system", "user"] == [message["role"] for message in first]
        assert ["system", "user", "assistant", "user"] == [message["role"] for message in second]
        assert all("response_format" not in request.json() for request in upstream.requests)


async def test_a_gemini_caller_has_tools_there_too() -> None:
    """Whatever the caller's dialect: the losses are in its words."""
    declared = {"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}
    body = {"contents": [{"parts": [{"text": "Hi"}]}], "tools": [declared]}

    async with emulating() as (gateway, upstream):
        upstream.script(json_answer(chat_answer(SPELLED)))
        answer = await gateway.post("/v1beta/models/plain:generateContent", body)

        [part] = answer.json["candidates"][0]["content"]["parts"]
        assert ("f", {"a": 1}) == (part["functionCall"]["name"], part["functionCall"]["args"])
        assert "tools=approximated" in answer.headers["x-isthmus-loss"]


async def test_nothing_is_emulated_that_need_not_be() -> None:
    """A target that has tools gets them; a route that does not ask for it refuses as before; so does `reject`."""
    async with emulating() as (gateway, upstream):
        odd = json.dumps({**chat_answer("Hi"), "extra": 1}, indent=1).encode()
        upstream.script(json_answer(odd))
        relayed = await gateway.post("/v1/chat/completions", {**QUESTION, "model": "rich", "tools": [TOOL]})
        refused = await gateway.post("/without", {**QUESTION, "tools": [TOOL]})
        headers = {"x-isthmus-on-loss": "reject"}
        rejected = await gateway.post("/v1/chat/completions", {**QUESTION, "tools": [TOOL]}, headers=headers)

        assert (odd, "relay") == (relayed.body, relayed.headers["x-isthmus-lane"])
        assert (400, "tools") == (refused.status, refused.json["error"]["param"])
        assert (422, 1) == (rejected.status, len(upstream.requests))


async def test_a_stream_that_nobody_asked_for_is_not_taken_for_an_answer() -> None:
    """An upstream that streams all the same cannot be understood from words in time."""
    async with emulating() as (gateway, upstream):
        upstream.always(sse(*chat_stream("x")))
        answer = await gateway.post("/v1/chat/completions", {**QUESTION, "tools": [TOOL], "stream": True})

        assert (502, "upstream_invalid_response") == (answer.status, answer.json["error"]["code"])


async def test_emulation_is_explained() -> None:
    """`isthmus explain` shows the words that would go out."""
    async with emulating() as (gateway, upstream):
        question = Question(path="/v1/chat/completions", body={**QUESTION, "tools": [TOOL]})
        told = await explain(gateway.life.gateway, question)

        assert [] == upstream.requests
        assert ("translate", ["tools"]) == (told["lane"], [loss["field"] for loss in told["losses"]])
        assert "You have these tools" in told["upstream_request"]["body"]["messages"][0]["content"]
