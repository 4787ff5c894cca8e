"""The row `alphaedge`, through the running gateway, before a fake that takes five fields and no other."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from tests.given.callers import CALLERS, Caller, ask, before, text_of
from tests.given.fakes import (
    EDGE_ANSWER,
    GATEWAY_SECRET,
    AlphaEdge,
    Scenario,
    cut_after,
    no_done,
    ok,
    reset,
    split_every_byte,
)

ROW = "alphaedge"
MODEL = "alphaedge-large-3-2512"
TOOL = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

#: The example of the document, with only the address and the key changed.
CURL = """\
curl https://api.alphaedge-ai.com/v1/chat/completions \\
-H "Content-Type: application/json" \\
-H "Authorization: Bearer $ALPHAEDGE_API_KEY" \\
-d '{
"model": "alphaedge-large-3-2512",
"messages": [
{"role": "user", "content": "Hello!"}
]
}'
"""
SAID = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}

callers = pytest.mark.parametrize("caller", CALLERS, ids=[caller.dialect for caller in CALLERS])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def run_curl(command: str) -> bytes:
    """What curl prints; on a machine without one, what its words ask for."""
    if shutil.which("curl") is not None:
        process = await asyncio.create_subprocess_shell(
            command.replace("curl", "curl -sS", 1),
            env={"ALPHAEDGE_API_KEY": GATEWAY_SECRET, "PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0]
    words = shlex.split(command.replace("\\\n", " ").replace("$ALPHAEDGE_API_KEY", GATEWAY_SECRET))
    headers = dict(after.split(": ") for word, after in pairwise(words) if word == "-H")
    async with aiohttp.ClientSession(headers=headers) as session, session.post(words[1], data=words[-1]) as response:
        return await response.read()


async def test_t_6_30_the_documents_example_goes_out_and_comes_back() -> None:
    """The curl call of the document: exactly its body is sent, the answer comes back with all fields equal."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        out = await run_curl(CURL.replace("https://api.alphaedge-ai.com", gateway.url))

        assert (SAID, EDGE_ANSWER) == (fake.seen[0].body, json.loads(out))


async def test_defaults_are_not_sent() -> None:
    """What a caller does not say is not said for it; usage in a stream cannot be asked for."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        await ask(gateway, MODEL, "Hello!", stream=True)

        assert {**SAID, "stream": True} == fake.seen[0].body


@pytest.mark.parametrize("temperature", [2.1, -0.1])
@callers
async def test_t_6_31_a_temperature_out_of_range_is_refused(caller: Caller, temperature: float) -> None:
    """400 before anything is sent, in every dialect."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        answer = await caller.ask(gateway, MODEL, stream=False, temperature=temperature)

        assert (400, []) == (answer.status, fake.seen)
        assert "temperature" in caller.error(answer)


@callers
@pytest.mark.parametrize("scenario", [cut_after(1), no_done(finish=False), reset(1)], ids=["cut", "no_end", "reset"])
async def test_t_6_32_a_stream_without_its_end_is_an_error(caller: Caller, scenario: Scenario) -> None:
    """Cut before a finish_reason: an error event, not a clean end."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, MODEL, stream=True)
        line = (await gateway.lines())[0]

        assert (200, False) == (answer.status, caller.ended(answer))
        assert caller.error(answer)
        assert ("upstream_connection" if scenario.reset else "upstream_truncated") == line["code"]


@callers
@pytest.mark.parametrize(
    "scenario",
    [ok(), ok(usage=True), no_done(), no_done(usage=True), split_every_byte()],
    ids=["done", "usage", "no_done", "usage_no_done", "split"],
)
async def test_every_form_of_its_stream_is_read(caller: Caller, scenario: Scenario) -> None:
    """With usage or without, with [DONE] or a plain end after a finish_reason."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, MODEL, stream=True)

        assert (200, "Hello", "") == (answer.status, caller.text(answer), caller.error(answer))


@callers
async def test_every_caller_reaches_it(caller: Caller) -> None:
    """The five fields go out; the text comes back in the caller's dialect."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        answer = await caller.ask(gateway, MODEL, stream=False, limit=9, temperature=1)

        assert (200, "Hello! How can I help you today?") == (answer.status, caller.text(answer))
        assert (9, 1) == (fake.seen[0].body["max_tokens"], fake.seen[0].body["temperature"])


@callers
@streamed
async def test_a_stop_is_kept_here(caller: Caller, stream: bool) -> None:
    """The upstream knows no stop: the text is cut on its way back."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(text="a b c"))
        answer = await caller.ask(gateway, MODEL, stream=stream, stop=["b"])

        assert (200, "a ") == (answer.status, caller.text(answer))


async def test_an_answer_without_a_stop_is_relayed() -> None:
    """Only what is changed is read and written again."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, _fake):
        plain, stopped = await ask(gateway, MODEL), await ask(gateway, MODEL, stop="today")

        assert ["relay", "translate"] == [answer.headers["x-isthmus-lane"] for answer in (plain, stopped)]
        assert "Hello! How can I help you " == text_of(stopped)


async def test_max_completion_tokens_has_its_older_name() -> None:
    """And unknown parameters are left out and named."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        lost = {"top_p": 0.9, "frequency_penalty": 1, "presence_penalty": 1, "seed": 1, "user": "u", "logprobs": True}
        answer = await ask(gateway, MODEL, "Hello!", max_completion_tokens=5, **lost)

        assert {**SAID, "max_tokens": 5} == fake.seen[0].body
        assert {f"{key}=dropped" for key in lost} == set(answer.headers["x-isthmus-loss"].split(", "))


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"stop": ["x"] * 17},
        {"stop": "x" * 257},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_it_cannot_is_refused(fields: dict[str, Any]) -> None:
    """400, and nothing is sent."""
    async with before(AlphaEdge(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, **{"messages": "Hello!", **fields})

        assert (400, "unsupported_parameter", []) == (answer.status, answer.json["error"]["code"], fake.seen)
