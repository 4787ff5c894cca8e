"""`anthropic`, 1.x and 2.x."""

from __future__ import annotations

from typing import Any

import anthropic
from pydantic import BaseModel

from tests.clients.talkers.world import (
    LIMIT,
    MOST_STEPS,
    QUESTION,
    TIMEOUT,
    TOOLS,
    Heard,
    Json,
    parameters,
    raised,
    serve,
)


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    door = command["door"]
    own: Json = {"base_url": door["url"], "api_key": door["key"], "max_retries": 0, "timeout": TIMEOUT}
    async with anthropic.AsyncAnthropic(**own) as sdk:
        heard = Heard()
        try:
            await (_parse if command["schema"] else _talk)(sdk, command, heard)
        except anthropic.APIStatusError as error:
            return raised(error, error.status_code, error.message)
        return heard.told()


async def _talk(sdk: anthropic.AsyncAnthropic, command: Json, heard: Heard) -> None:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    asked: Json = {"model": command["model"], "max_tokens": LIMIT, "thinking": {"type": "adaptive"}}
    if command["tools"]:
        named = [(name, TOOLS[name][0], parameters(name)) for name in TOOLS]
        asked["tools"] = [{"name": name, "description": text, "input_schema": schema} for name, text, schema in named]
    for _ in range(MOST_STEPS):
        message = await _message(sdk, {**asked, "messages": messages}, command["stream"], heard)
        heard.said = "".join(block.text for block in message.content if block.type == "text")
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return
        content = message.content if command["echo"] == "whole" else _documented(message.content)
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": heard.called(call.name, call.input)}
            for call in calls
        ]
        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]


def _documented(content: Any) -> list[Json]:
    """As from a client that knows texts and calls, and no thinking."""
    named = ("type", "text", "id", "name", "input")
    blocks = [block.model_dump() for block in content if block.type in ("text", "tool_use")]
    return [{key: block[key] for key in named if key in block} for block in blocks]


async def _message(sdk: anthropic.AsyncAnthropic, asked: Json, stream: bool, heard: Heard) -> Any:
    if not stream:
        return await sdk.messages.create(**asked)
    async with sdk.messages.stream(**asked) as events:
        async for _ in events.text_stream:
            heard.pieces += 1
        return await events.get_final_message()


async def _parse(sdk: anthropic.AsyncAnthropic, command: Json, heard: Heard) -> None:
    messages: Json = [{"role": "user", "content": QUESTION}]
    message = await sdk.messages.parse(model=command["model"], max_tokens=LIMIT, messages=messages, output_format=City)
    parsed = message.parsed_output
    assert isinstance(parsed, City)
    heard.said = parsed.model_dump_json()


if __name__ == "__main__":
    serve(run)
