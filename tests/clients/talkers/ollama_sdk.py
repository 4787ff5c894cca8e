"""`ollama`: its host is the gateway's address with `/ollama` behind it."""

from __future__ import annotations

from typing import Any

import ollama
from pydantic import BaseModel

from tests.clients.talkers.world import MOST_STEPS, QUESTION, TIMEOUT, TOOLS, Heard, Json, parameters, raised


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    door = command["door"]
    own = {"headers": {"authorization": f"Bearer {door['key']}"}, "timeout": TIMEOUT}
    async with ollama.AsyncClient(f"{door['url']}/ollama", **own) as sdk:
        heard = Heard()
        try:
            await (_parse if command["schema"] else _talk)(sdk, command, heard)
        except ollama.ResponseError as error:
            return raised(error, error.status_code, error.error)
        return heard.told()


async def _talk(sdk: Any, command: Json, heard: Heard) -> None:
    messages: list[Json] = [{"role": "user", "content": QUESTION}]
    asked: Json = {"model": command["model"], "think": True}
    if command["tools"]:
        asked["tools"] = [_tool(name) for name in TOOLS]
    for _ in range(MOST_STEPS):
        told = await _message(sdk, {**asked, "messages": messages}, command["stream"], heard)
        heard.said = told["content"]
        if not told["tool_calls"]:
            return
        messages.append(told)
        for call in told["tool_calls"]:
            result = heard.called(call.function.name, dict(call.function.arguments))
            messages.append({"role": "tool", "tool_name": call.function.name, "content": result})


def _tool(name: str) -> Json:
    schema = {key: value for key, value in parameters(name).items() if key != "additionalProperties"}
    return {"type": "function", "function": {"name": name, "description": TOOLS[name][0], "parameters": schema}}


async def _message(sdk: Any, asked: Json, stream: bool, heard: Heard) -> Json:
    """The message, gathered as the SDK's own examples do it."""
    parts = [part async for part in await sdk.chat(**asked, stream=True)] if stream else [await sdk.chat(**asked)]
    heard.pieces += sum(bool(part.message.content) for part in parts) if stream else 0
    return {
        "role": "assistant",
        "content": "".join(part.message.content or "" for part in parts),
        "thinking": "".join(part.message.thinking or "" for part in parts),
        "tool_calls": [call for part in parts for call in part.message.tool_calls or ()],
    }


async def _parse(sdk: Any, command: Json, heard: Heard) -> None:
    messages: Json = [{"role": "user", "content": QUESTION}]
    found = await sdk.chat(command["model"], messages=messages, format=City.model_json_schema())
    heard.said = City.model_validate_json(found.message.content).model_dump_json()
