"""pydantic-ai's agent, over its own models of three vendors."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, Tool, UsageLimits
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.talkers.world import LIMIT, MOST_STEPS, QUESTION, TOOLS, Heard, Json, parameters, raised, serve


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    heard = Heard()
    model, settings = _MODELS[command["kind"]](command["door"], command["model"])
    try:
        await (_parse if command["schema"] else _talk)(model, settings, command, heard)
    except ModelHTTPError as error:
        return raised(error, error.status_code, str(error.body))
    return heard.told()


# ── models ─────────────────────────────────────────────────────────────────────────────────
# The library knows what a model can do by its name, and has not heard of ours: profiles say it.

Made = tuple[Any, Json]


def _chat(door: Json, model: str) -> Made:
    provider = OpenAIProvider(base_url=f"{door['url']}/v1", api_key=door["key"])
    return OpenAIChatModel(model, provider=provider), {"openai_reasoning_effort": "low"}


def _responses(door: Json, model: str) -> Made:
    provider = OpenAIProvider(base_url=f"{door['url']}/v1", api_key=door["key"])
    settings = {"openai_reasoning_effort": "low", "openai_reasoning_summary": "auto", "openai_store": False}
    profile = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True, openai_supports_reasoning=True)
    return OpenAIResponsesModel(model, provider=provider, profile=profile), settings


def _anthropic(door: Json, model: str) -> Made:
    provider = AnthropicProvider(base_url=door["url"], api_key=door["key"])
    profile = ModelProfile(supports_json_schema_output=True)
    settings = {"max_tokens": LIMIT, "anthropic_thinking": {"type": "adaptive"}}
    return AnthropicModel(model, provider=provider, profile=profile), settings


def _google(door: Json, model: str) -> Made:
    provider = GoogleProvider(base_url=door["url"], api_key=door["key"])
    return GoogleModel(model, provider=provider), {"google_thinking_config": {"include_thoughts": True}}


_MODELS: dict[str, Callable[[Json, str], Made]] = {
    "chat": _chat,
    "responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
}

# ── talking ────────────────────────────────────────────────────────────────────────────────


async def _talk(model: Any, settings: Any, command: Json, heard: Heard) -> None:
    tools = [_tool(name, heard) for name in TOOLS] if command["tools"] else []
    agent = Agent(model, tools=tools, model_settings=settings, retries=0)

    async def watch(_: Any, events: AsyncIterable[Any]) -> None:
        async for event in events:
            if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                heard.pieces += bool(event.delta.content_delta)
            elif isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                heard.pieces += bool(event.part.content)

    limits = UsageLimits(request_limit=MOST_STEPS)
    watching = {"event_stream_handler": watch} if command["stream"] else {}
    heard.said = (await agent.run(QUESTION, usage_limits=limits, **watching)).output


def _tool(name: str, heard: Heard) -> Tool[None]:
    async def call(**arguments: Any) -> str:
        return heard.called(name, arguments)

    return Tool.from_schema(call, name=name, description=TOOLS[name][0], json_schema=parameters(name))


async def _parse(model: Any, settings: Any, command: Json, heard: Heard) -> None:
    agent = Agent(model, output_type=NativeOutput(City), model_settings=settings, retries=0)
    heard.said = (await agent.run(QUESTION)).output.model_dump_json()


if __name__ == "__main__":
    serve(run)
