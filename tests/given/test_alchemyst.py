"""The rows `alchemyst` and `alchemyst-openai`, through the running gateway, before a fake of that service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.given.alchemyst import FIXED_STREAM, PRINTED_STREAM, Alchemyst
from tests.given.callers import CALLERS, Caller, ask, before, deltas, text_of
from tests.given.fakes import Scenario, cut_after, fail, no_done, ok, split_every_byte

ROW = "alchemyst"
MODEL = "maya"
#: What its answers tell of the chat, for which other languages have no place.
TOLD = {"chatId=dropped", "title=dropped", "researchMode=dropped"}

callers = pytest.mark.parametrize("caller", CALLERS, ids=[caller.dialect for caller in CALLERS])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@callers
async def test_t_6_40_the_documents_stream_is_read(caller: Caller) -> None:
    """With the quote of its sample escaped: thinking, text, and a clean end, no blank line between events."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(raw=FIXED_STREAM))
        answer = await caller.ask(gateway, MODEL, stream=True)

        assert ("Planning response", 'Here"s your answer...') == (caller.thoughts(answer), caller.text(answer))
        assert (True, "") == (caller.ended(answer), caller.error(answer))


@callers
async def test_t_6_41_the_stream_as_printed_is_an_error(caller: Caller) -> None:
    """Its line with the answer is no JSON: an error that tells of the line, not an empty success."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(raw=PRINTED_STREAM))
        answer = await caller.ask(gateway, MODEL, stream=True)

        assert "no JSON: 1" in caller.error(answer)
        assert not caller.ended(answer)


@pytest.mark.parametrize("shape", ["message", "response", "kwargs", "content", "text"])
@callers
async def test_t_6_42_each_shape_of_an_answer_is_read(caller: Caller, shape: str) -> None:
    """The text stands in one of five places."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(shape=shape))
        answer = await caller.ask(gateway, MODEL, stream=False)

        assert (200, "Hello") == (answer.status, caller.text(answer))
        assert 0 == gateway.metric("gen_ai_client_token_usage_count")


async def test_an_answer_without_text_is_an_error() -> None:
    """502: an empty success would be a lie."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(shape="none"))
        answer = await ask(gateway, MODEL)

        assert (502, "upstream_invalid_response") == (answer.status, answer.json["error"]["code"])


@pytest.mark.parametrize("blank", [False, True])
async def test_t_6_43_characters_may_be_cut_anywhere(blank: bool) -> None:
    """Text of several bytes a character, sent byte by byte."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        fake.text = ["Grüß ", "dich 👋🏽", " 日本"]
        fake.plays(split_every_byte(blank=blank, more=True))
        answer = await ask(gateway, MODEL, stream=True)

        assert ("Planning response", "Grüß dich 👋🏽 日本") == (CALLERS[0].thoughts(answer), text_of(answer))
        assert 3 == len(deltas(answer))


# ── requests ───────────────────────────────────────────────────────────────────────────


async def test_the_documents_request_goes_out() -> None:
    """The HTTP example of the document, asked in OpenAI's words: the model is the persona."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        await ask(gateway, MODEL, "What's the weather like?")
        seen = fake.seen[0]

        assert ("POST", "/api/v1/chat/generate") == (seen.method, seen.target)
        assert {
            "chat_history": [{"id": "message-1", "role": "user", "content": "What's the weather like?"}],
            "persona": "maya",
        } == seen.body


async def test_a_stream_has_a_path_of_its_own() -> None:
    """And a provider's name before the persona is cut off."""
    async with before(Alchemyst(), ROW, "maya") as (gateway, fake):
        await ask(gateway, "alchemyst/maya", stream=True)

        assert ("/api/v1/chat/generate/stream", "maya") == (fake.seen[0].target, fake.seen[0].body["persona"])


async def test_its_own_fields_pass() -> None:
    """scope, tools as switches, voice: as they are."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        own = {"scope": "internal", "tools": {"web": True, "docs": False}, "voice": False, "fastContext": [{"a": 1}]}
        answer = await ask(gateway, MODEL, **own, foo=1)

        assert own == {key: value for key, value in fake.seen[0].body.items() if key in own}
        assert (200, {"foo=dropped", *TOLD}) == (answer.status, set(answer.headers["x-isthmus-loss"].split(", ")))


async def test_a_stream_takes_fewer_of_them() -> None:
    """Its page names neither `voice` nor `fastContext` for streams: dropped and named, the rest goes."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        own = {"scope": "internal", "tools": {"web": True}}
        answer = await ask(gateway, MODEL, stream=True, **own, voice=True, fastContext=[{"a": 1}])

        assert {"chat_history", "persona", "stream", *own} == set(fake.seen[0].body)
        assert {"voice=dropped", "fastContext=dropped"} == set(answer.headers["x-isthmus-loss"].split(", "))


async def test_sampling_is_dropped_and_named() -> None:
    """There is nothing to say of it there."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        lost = {"temperature": 0.5, "top_p": 0.5, "max_tokens": 9, "seed": 1, "presence_penalty": 1, "user": "u"}
        answer = await ask(gateway, MODEL, **lost)

        assert {*(f"{key}=dropped" for key in lost), *TOLD} == set(answer.headers["x-isthmus-loss"].split(", "))
        assert {"chat_history", "persona"} == set(fake.seen[0].body)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "grammar"}},
        {"stop": ["x"] * 17},
        {"stop": "x" * 257},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": "4"}]},
    ],
    ids=lambda fields: f"{next(iter(fields))}-{str(fields)[:40]}",
)
async def test_what_it_cannot_is_refused(fields: dict[str, Any]) -> None:
    """400, and nothing is sent."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, **{"messages": "Hi", **fields})

        assert (400, "unsupported_parameter", []) == (answer.status, answer.json["error"]["code"], fake.seen)


# ── answers ────────────────────────────────────────────────────────────────────────────


@callers
@streamed
async def test_every_caller_reaches_it(caller: Caller, stream: bool) -> None:
    """Text and a clean end in the caller's dialect."""
    async with before(Alchemyst(), ROW, MODEL) as (gateway, _fake):
        answer = await caller.ask(gateway, MODEL, stream=stream, stop=["lo"])

        assert (200, "Hel", "") == (answer.status, caller.text(answer), caller.error(answer))


@callers
@pytest.mark.parametrize(
    "scenario",
    [cut_after(2), no_done(), ok(error="the model failed"), ok(raw="data: [DONE]\n"), ok(raw="\n")],
    ids=["cut", "no_done", "error", "nothing", "empty"],
)
async def test_a_stream_that_is_not_whole_is_an_error(caller: Caller, scenario: Scenario) -> None:
    """No end is made up."""
    async with before(Alchemyst(), ROW, MODEL, more=", attempts: 1") as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, MODEL, stream=True)

        assert caller.error(answer)
        assert answer.status == 502 or not caller.ended(answer)


@pytest.mark.parametrize(
    ("status", "body", "given", "said"),
    [
        (400, {"message": "bad history"}, 400, "bad history"),
        (401, {"error": "Unauthorized"}, 502, None),
        (402, {"message": "credits"}, 502, None),
        (404, {"message": "No response"}, 502, "No response"),
        (500, {"error": "down"}, 502, "down"),
    ],
)
async def test_its_errors_are_read(status: int, body: Any, given: int, said: str | None) -> None:
    """`message` or `error`; what is wrong with our credential there is not the caller's fault, nor is a 404."""
    async with before(Alchemyst(), ROW, MODEL, more=", attempts: 1") as (gateway, fake):
        fake.plays(fail(status, body))
        answer = await ask(gateway, MODEL)

        assert given == answer.status
        assert said in (None, answer.json["error"]["message"])


# ── its OpenAI-compatible paths ────────────────────────────────────────────────────────


@callers
async def test_its_proxy_is_an_upstream_as_any(caller: Caller) -> None:
    """The bearer is the service's token; the document's messages go out as they are."""
    path = "/api/v1/proxy/default"
    async with before(Alchemyst(), "alchemyst-openai", "gpt-3.5-turbo", path=path) as (gateway, fake):
        answer = await caller.ask(gateway, "gpt-3.5-turbo", stream=False)

        assert (200, "Hello") == (answer.status, caller.text(answer))
        assert f"{path}/chat/completions" == fake.seen[0].target


async def test_the_documents_proxy_example_goes_out() -> None:
    """The HTTP example of the document, byte for byte as JSON values."""
    said = {
        "model": "gpt-3.5-turbo",
        "messages": [{"role": "system", "content": "You are a helpful AI."}, {"role": "user", "content": "Hello!"}],
    }
    path = "/api/v1/proxy/default"
    async with before(Alchemyst(), "alchemyst-openai", "gpt-3.5-turbo", path=path) as (gateway, fake):
        answer = await ask(gateway, said["model"], said["messages"])  # type: ignore[arg-type]

        assert (said, "Hello") == (fake.seen[0].body, text_of(answer))
