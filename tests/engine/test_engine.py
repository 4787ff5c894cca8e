"""Real calls to a real engine: every caller's dialect, whole and streamed; what it counts, refuses and stops at."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from tests.engine.conftest import Wire
from tests.lanes import data_lines
from tests.running import Running

Json: TypeAlias = Any
QUESTION = "Say something."
TOKENS = 24
#: A tool whose arguments come to an end whatever the model's weights are.
SCHEMA = {"type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["unit"]}


@dataclass(frozen=True)
class Caller:
    """How a dialect asks, and where its answer has the text, the end and the counts (asked, answered)."""

    path: str
    streamed_path: str
    body: Json
    text: Callable[[Json], str]
    finish: Callable[[Json], str]
    counts: Callable[[Json], tuple[int, int]]

    def asking(self, *, stream: bool = False) -> Json:
        return {**self.body, **({"stream": stream} if "contents" not in self.body else {})}


def _chat(**more: Json) -> Json:
    return {"model": "babbler", "messages": [{"role": "user", "content": QUESTION}], **more}


def _anthropic_text(body: Json) -> str:
    return "".join(block["text"] for block in body["content"])


def _gemini_text(body: Json) -> str:
    return "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"])


_PATH = "/v1beta/models/babbler:"
CALLERS = {
    "openai.chat": Caller(
        "/v1/chat/completions",
        "/v1/chat/completions",
        _chat(max_tokens=TOKENS, temperature=0),
        lambda body: body["choices"][0]["message"]["content"],
        lambda body: body["choices"][0]["finish_reason"],
        lambda body: (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]),
    ),
    "anthropic.messages": Caller(
        "/v1/messages",
        "/v1/messages",
        _chat(max_tokens=TOKENS, temperature=0),
        _anthropic_text,
        lambda body: body["stop_reason"],
        lambda body: (body["usage"]["input_tokens"], body["usage"]["output_tokens"]),
    ),
    "gemini": Caller(
        _PATH + "generateContent",
        _PATH + "streamGenerateContent?alt=sse",
        {
            "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
            "generationConfig": {"maxOutputTokens": TOKENS, "temperature": 0},
        },
        _gemini_text,
        lambda body: body["candidates"][0]["finishReason"],
        lambda body: (body["usageMetadata"]["promptTokenCount"], body["usageMetadata"]["candidatesTokenCount"]),
    ),
    "ollama.chat": Caller(
        "/api/chat",
        "/api/chat",
        _chat(options={"num_predict": TOKENS, "temperature": 0}),
        lambda body: body["message"]["content"],
        lambda body: body["done_reason"],
        lambda body: (body["prompt_eval_count"], body["eval_count"]),
    ),
}
LENGTH = {"openai.chat": "length", "anthropic.messages": "max_tokens", "gemini": "MAX_TOKENS", "ollama.chat": "length"}
STOP = {"openai.chat": "stop", "anthropic.messages": "end_turn", "gemini": "STOP", "ollama.chat": "stop"}


def with_stop(name: str, word: str) -> Json:
    """The dialect's request with a text to stop at."""
    body = CALLERS[name].asking()
    match name:
        case "openai.chat":
            return {**body, "stop": [word]}
        case "anthropic.messages":
            return {**body, "stop_sequences": [word]}
        case "gemini":
            return {**body, "generationConfig": {**body["generationConfig"], "stopSequences": [word]}}
        case _:
            return {**body, "options": {**body["options"], "stop": [word]}}


def heard(name: str, body: bytes) -> tuple[str, str | None]:
    """Text and finish of a stream, read as simply as can be."""
    lines = body.splitlines() if name == "ollama.chat" else data_lines(body)
    text, finish = "", None
    for one in [json.loads(line) for line in lines if line not in (b"", b"[DONE]")]:
        match name:
            case "openai.chat":
                for choice in one["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
            case "anthropic.messages":
                text += one.get("delta", {}).get("text", "")
                finish = one.get("delta", {}).get("stop_reason") or finish
            case "gemini":
                text += _gemini_text(one)
                finish = one["candidates"][0].get("finishReason") or finish
            case _:
                text += one["message"]["content"]
                finish = one.get("done_reason") or finish
    return text, finish


@pytest.mark.parametrize("name", CALLERS)
async def test_a_whole_answer(gateway: Running, name: str) -> None:
    """The same words, the same counts and the end at the limit, in every dialect."""
    caller, chat = CALLERS[name], CALLERS["openai.chat"]

    answer = await gateway.post(caller.path, caller.asking())
    plain = await gateway.post(chat.path, chat.asking())

    assert (200, 200) == (answer.status, plain.status), answer.body
    assert (chat.text(plain.json), LENGTH[name]) == (caller.text(answer.json), caller.finish(answer.json))
    assert chat.counts(plain.json) == caller.counts(answer.json)
    assert TOKENS == caller.counts(answer.json)[1]


@pytest.mark.parametrize("name", CALLERS)
async def test_a_stream(gateway: Running, name: str) -> None:
    """It says what the whole answer says, and ends as it does."""
    caller = CALLERS[name]

    whole = await gateway.post(caller.path, caller.asking())
    streamed = await gateway.post(caller.streamed_path, caller.asking(stream=True))

    assert 200 == streamed.status, streamed.body
    assert (caller.text(whole.json), LENGTH[name]) == heard(name, streamed.body)


@pytest.mark.parametrize("name", CALLERS)
async def test_a_text_to_stop_at(gateway: Running, name: str) -> None:
    """The engine stops before it, and the caller learns that it was no limit."""
    caller = CALLERS[name]
    whole = caller.text((await gateway.post(caller.path, caller.asking())).json)
    word = whole[5:8]

    answer = await gateway.post(caller.path, with_stop(name, word))

    assert whole.partition(word)[0] == caller.text(answer.json)
    assert STOP[name] == caller.finish(answer.json)


async def test_log_probabilities(gateway: Running) -> None:
    """Relayed as they are; for Gemini's callers in its own form, token by token."""
    chat = _chat(max_tokens=4, temperature=0, logprobs=True, top_logprobs=2)
    asked = CALLERS["gemini"].asking()
    config = {"maxOutputTokens": 4, "temperature": 0, "responseLogprobs": True, "logprobs": 2}

    plain = (await gateway.post("/v1/chat/completions", chat)).json
    told = (await gateway.post(_PATH + "generateContent", {**asked, "generationConfig": config})).json

    tokens = plain["choices"][0]["logprobs"]["content"]
    chosen = told["candidates"][0]["logprobsResult"]["chosenCandidates"]
    assert 4 == len(tokens)
    assert [(one["token"], one["logprob"]) for one in tokens] == [
        (one["token"], one["logProbability"]) for one in chosen
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_must_be_called(gateway: Running, stream: bool) -> None:
    """The engine's grammar makes the model call it; a caller of Anthropic's dialect gets a call with legal input."""
    tool = {"name": "set_unit", "description": "Sets it.", "input_schema": SCHEMA}
    body = _chat(max_tokens=128, stream=stream, tools=[tool], tool_choice={"type": "tool", "name": "set_unit"})

    answer = await gateway.post("/v1/messages", body)

    assert 200 == answer.status, answer.body
    if stream:
        events = [json.loads(line) for line in data_lines(answer.body)]
        pieces = [one["delta"].get("partial_json", "") for one in events if one["type"] == "content_block_delta"]
        (block,) = (one["content_block"] for one in events if one["type"] == "content_block_start")
        given = json.loads("".join(pieces))
    else:
        (block,) = answer.json["content"]
        given = block["input"]
    assert ("tool_use", "set_unit") == (block["type"], block["name"])
    assert given["unit"] in ("c", "f")


async def test_tools_that_may_be_called(gateway: Running) -> None:
    """They are accepted, and the answer is text or a call."""
    declared = {"functionDeclarations": [{"name": "set_unit", "description": "Sets it.", "parameters": SCHEMA}]}

    answer = await gateway.post(_PATH + "generateContent", {**CALLERS["gemini"].asking(), "tools": [declared]})

    assert 200 == answer.status, answer.body
    assert answer.json["candidates"][0]["finishReason"] in ("STOP", "MAX_TOKENS")


async def test_a_caller_who_leaves(gateway: Running, wire: Wire) -> None:
    """The engine is told within a second, and is free for the next call; it would have worked on for long."""
    url = gateway.url + "/v1/messages"
    async with gateway.session.post(url, json=_chat(max_tokens=3500, stream=True)) as response:
        await response.content.readuntil(b"content_block_delta")
        left = time.monotonic()
        response.close()

    assert await asyncio.wait_for(wire.hung_up, 5) - left < 1.0
    answer = await asyncio.wait_for(gateway.post("/v1/messages", _chat(max_tokens=2)), 5)
    assert 200 == answer.status


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("openai.chat", lambda body: body["error"]["code"] == "context_length_exceeded"),
        ("anthropic.messages", lambda body: body["error"]["type"] == "invalid_request_error"),
        ("gemini", lambda body: body["error"]["status"] == "INVALID_ARGUMENT"),
        ("ollama.chat", lambda body: isinstance(body["error"], str)),
    ],
)
async def test_the_engines_refusal(gateway: Running, name: str, told: Callable[[Json], bool]) -> None:
    """A prompt that is too long is the caller's fault, in the caller's words."""
    text = json.dumps(CALLERS[name].asking()).replace(QUESTION, "much " * 1200)

    answer = await gateway.post(CALLERS[name].path, text.encode())

    assert 400 == answer.status, answer.body
    assert told(answer.json)
