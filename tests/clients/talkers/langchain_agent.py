"""LangChain's agent, over its own integrations of three vendors; and its embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
from google.genai import errors
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import StructuredTool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
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
    heard = Heard()
    try:
        if command["kind"] == "embeddings":
            return await _embed(command)
        model = _MODELS[command["kind"]](command["door"], command["model"])
        await (_parse if command["schema"] else _talk)(model, command, heard)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return raised(error, error.status_code, error.message)
    except errors.APIError as error:
        return raised(error, error.code, str(error.message))
    except Exception as error:  # this integration has its own, around Google's
        if isinstance(error.__cause__, errors.APIError):
            return raised(error, error.__cause__.code, str(error))
        raise
    return heard.told()


# ── models ─────────────────────────────────────────────────────────────────────────────────


def _chat(door: Json, model: str) -> Any:
    own: Json = {"model": model, "base_url": f"{door['url']}/v1", "api_key": door["key"]}
    return ChatOpenAI(**own, max_retries=0, timeout=TIMEOUT, use_responses_api=False, reasoning_effort="low")


def _responses(door: Json, model: str) -> Any:
    own: Json = {"model": model, "base_url": f"{door['url']}/v1", "api_key": door["key"]}
    own |= {"store": False, "include": ["reasoning.encrypted_content"], "output_version": "responses/v1"}
    reasoning = {"effort": "low", "summary": "auto"}
    return ChatOpenAI(**own, max_retries=0, timeout=TIMEOUT, use_responses_api=True, reasoning=reasoning)


def _anthropic(door: Json, model: str) -> Any:
    own: Json = {"model": model, "base_url": door["url"], "api_key": door["key"], "max_tokens": LIMIT}
    return ChatAnthropic(**own, max_retries=0, timeout=TIMEOUT, thinking={"type": "adaptive"})


def _google(door: Json, model: str) -> Any:
    own: Json = {"model": model, "base_url": door["url"], "api_key": door["key"]}
    return ChatGoogleGenerativeAI(**own, max_retries=1, timeout=TIMEOUT, include_thoughts=True)


_MODELS: dict[str, Callable[[Json, str], Any]] = {
    "chat": _chat,
    "responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
}

# ── talking ────────────────────────────────────────────────────────────────────────────────


async def _talk(model: Any, command: Json, heard: Heard) -> None:
    agent = create_agent(model, [_tool(name, heard) for name in TOOLS] if command["tools"] else [])
    asked: Json = {"messages": [{"role": "user", "content": QUESTION}]}
    config = {"recursion_limit": 4 * MOST_STEPS}
    if not command["stream"]:
        heard.said = (await agent.ainvoke(asked, config))["messages"][-1].text
        return
    async for mode, told in agent.astream(asked, config, stream_mode=["messages", "values"]):
        if mode == "values":
            heard.said = told["messages"][-1].text
        elif isinstance(told[0], AIMessageChunk):
            heard.pieces += bool(told[0].text)


def _tool(name: str, heard: Heard) -> StructuredTool:
    async def call(**arguments: Any) -> str:
        return heard.called(name, arguments)

    # Its integration of Google writes a warning for each keyword that it does not know.
    schema = {key: value for key, value in parameters(name).items() if key != "additionalProperties"}
    return StructuredTool(name=name, description=TOOLS[name][0], args_schema=schema, coroutine=call)


async def _parse(model: Any, command: Json, heard: Heard) -> None:
    found = await model.with_structured_output(City, method="json_schema").ainvoke(QUESTION)
    assert isinstance(found, City)
    heard.said = found.model_dump_json()


async def _embed(command: Json) -> Json:
    """Its own counting of tokens wants a vocabulary that is not here; so it sends texts."""
    door = command["door"]
    own: Json = {"model": command["model"], "base_url": f"{door['url']}/v1", "api_key": door["key"]}
    model = OpenAIEmbeddings(**own, max_retries=0, check_embedding_ctx_length=False, dimensions=command["dimensions"])
    return {"said": [await model.aembed_documents(command["texts"]), await model.aembed_query(command["texts"][0])]}


if __name__ == "__main__":
    serve(run)
