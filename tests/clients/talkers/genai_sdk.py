"""`google-genai`, 2.x and 3.x."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tests.clients.talkers.world import MOST_STEPS, QUESTION, TIMEOUT, TOOLS, Heard, Json, parameters, raised, serve


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    door = command["door"]
    options = types.HttpOptions(base_url=door["url"], timeout=int(1000 * TIMEOUT))
    sdk = genai.Client(api_key=door["key"], http_options=options).aio
    heard = Heard()
    try:
        await (_parse if command["schema"] else _talk)(sdk, command, heard)
    except errors.APIError as error:
        return raised(error, error.code, str(error.message))
    finally:
        await sdk.aclose()
    return heard.told()


async def _talk(sdk: Any, command: Json, heard: Heard) -> None:
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=QUESTION)])]
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    if command["tools"]:
        config.tools = [types.Tool(function_declarations=[_tool(name) for name in TOOLS])]
    asked: Json = {"model": command["model"], "config": config}
    for _ in range(MOST_STEPS):
        told = await _contents(sdk, {**asked, "contents": contents}, command["stream"], heard)
        parts = [part for content in told for part in content.parts or ()]
        heard.said = "".join(part.text for part in parts if part.text and not part.thought)
        calls = [part.function_call for part in parts if part.function_call]
        if not calls:
            return
        contents += told if command["echo"] == "whole" else [_documented(parts)]
        contents.append(types.Content(role="user", parts=[_answered(call, heard) for call in calls]))


def _tool(name: str) -> types.FunctionDeclaration:
    return types.FunctionDeclaration(name=name, description=TOOLS[name][0], parameters_json_schema=parameters(name))


def _answered(call: types.FunctionCall, heard: Heard) -> types.Part:
    result = {"result": heard.called(str(call.name), call.args)}
    return types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=result))


def _documented(parts: list[types.Part]) -> types.Content:
    """As from a client that knows texts and calls: no thoughts, no signatures."""
    kept = [
        types.Part(text=part.text) if part.text else types.Part(function_call=part.function_call)
        for part in parts
        if part.function_call or (part.text and not part.thought)
    ]
    return types.Content(role="model", parts=kept)


async def _contents(sdk: Any, asked: Json, stream: bool, heard: Heard) -> list[types.Content]:
    if not stream:
        return [(await sdk.models.generate_content(**asked)).candidates[0].content]
    found: list[types.Content] = []
    async for response in await sdk.models.generate_content_stream(**asked):
        content = response.candidates[0].content if response.candidates else None
        if content is not None and content.parts:
            heard.pieces += any(part.text and not part.thought for part in content.parts)
            found.append(content)
    return found


async def _parse(sdk: Any, command: Json, heard: Heard) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    response = await sdk.models.generate_content(model=command["model"], contents=QUESTION, config=config)
    assert isinstance(response.parsed, City)
    heard.said = response.parsed.model_dump_json()


if __name__ == "__main__":
    serve(run)
