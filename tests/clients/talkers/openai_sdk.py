"""`openai`: chat and Responses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.talkers.world import MOST_STEPS, QUESTION, TIMEOUT, TOOLS, Heard, Json, parameters, raised, serve


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    door = command["door"]
    base = f"{door['url']}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=door["key"], max_retries=0, timeout=TIMEOUT) as sdk:
        heard = Heard()
        talk = _PARSE[command["kind"]] if command["schema"] else _TALK[command["kind"]]
        try:
            await talk(sdk, command, heard)
        except openai.APIStatusError as error:
            return raised(error, error.status_code, error.message)
        return heard.told()


# ── chat ───────────────────────────────────────────────────────────────────────────────────


async def _chat(sdk: openai.AsyncOpenAI, command: Json, heard: Heard) -> None:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    asked: Json = {"model": command["model"], "reasoning_effort": "low"}
    if command["tools"]:
        asked["tools"] = [_chat_tool(name) for name in TOOLS]
    for _ in range(MOST_STEPS):
        message = (await _completion(sdk, {**asked, "messages": messages}, command["stream"], heard)).choices[0].message
        heard.said = message.content or ""
        if not message.tool_calls:
            return
        whole = message.model_dump(exclude_none=True, exclude={"parsed"})
        messages.append(whole if command["echo"] == "whole" else _documented(message))
        for call in message.tool_calls:
            result = heard.called(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


async def _completion(sdk: openai.AsyncOpenAI, asked: Json, stream: bool, heard: Heard) -> Any:
    if not stream:
        return await sdk.chat.completions.create(**asked)
    async with sdk.chat.completions.stream(**asked) as events:
        async for event in events:
            heard.pieces += event.type == "content.delta" and event.delta != ""
        return await events.get_final_completion()


def _documented(message: Any) -> Json:
    """Nothing but what OpenAI documents."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": message.content, "tool_calls": calls}


def _chat_tool(name: str) -> Json:
    return {
        "type": "function",
        "function": {"name": name, "description": TOOLS[name][0], "parameters": parameters(name)},
    }


async def _chat_parse(sdk: openai.AsyncOpenAI, command: Json, heard: Heard) -> None:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    asked: Json = {"model": command["model"], "messages": messages, "response_format": City}
    parsed = (await sdk.chat.completions.parse(**asked)).choices[0].message.parsed
    assert isinstance(parsed, City)
    heard.said = parsed.model_dump_json()


# ── Responses ──────────────────────────────────────────────────────────────────────────────


async def _responses(sdk: openai.AsyncOpenAI, command: Json, heard: Heard) -> None:
    items: list[Json] = [{"role": "user", "content": QUESTION}]
    asked: Json = {"model": command["model"], "store": False, "include": ["reasoning.encrypted_content"]}
    asked["reasoning"] = {"effort": "low", "summary": "auto"}
    if command["tools"]:
        named = [(name, TOOLS[name][0], parameters(name)) for name in TOOLS]
        asked["tools"] = [
            {"type": "function", "name": name, "description": text, "parameters": schema, "strict": True}
            for name, text, schema in named
        ]
    for _ in range(MOST_STEPS):
        response = await _response(sdk, {**asked, "input": items}, command["stream"], heard)
        heard.said = response.output_text
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return
        items += _echoed(response, command["echo"])
        for call in calls:
            result = heard.called(call.name, json.loads(call.arguments))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


def _echoed(response: Any, echo: str) -> list[Json]:
    items: list[Json] = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]
    if echo == "whole":
        return items
    # As from a client that knows texts and calls: no reasoning, no ids of items.
    texts = [{"role": "assistant", "content": response.output_text}] if response.output_text else []
    named = ("type", "call_id", "name", "arguments")
    return [*texts, *({key: item[key] for key in named} for item in items if item["type"] == "function_call")]


async def _response(sdk: openai.AsyncOpenAI, asked: Json, stream: bool, heard: Heard) -> Any:
    if not stream:
        return await sdk.responses.create(**asked)
    async with sdk.responses.stream(**asked) as events:
        async for event in events:
            heard.pieces += event.type == "response.output_text.delta"
        return await events.get_final_response()


async def _responses_parse(sdk: openai.AsyncOpenAI, command: Json, heard: Heard) -> None:
    parsed = (await sdk.responses.parse(model=command["model"], input=QUESTION, text_format=City)).output_parsed
    assert isinstance(parsed, City)
    heard.said = parsed.model_dump_json()


Talk = Callable[[openai.AsyncOpenAI, Json, Heard], Awaitable[None]]
_TALK: dict[str, Talk] = {"chat": _chat, "responses": _responses}
_PARSE: dict[str, Talk] = {"chat": _chat_parse, "responses": _responses_parse}

if __name__ == "__main__":
    serve(run)
