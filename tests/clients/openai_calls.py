"""What a program does with Python's `openai`: one command in, what the SDK said or raised out.

`openai_calls.mjs` beside package.json does the same in JavaScript.
"""

from __future__ import annotations

import json
from typing import Any

import openai
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

Json = Any
TIMEOUT = 10.0


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    """`{"said": …}`, and `{"raised": …}` where the SDK raised; `said` then holds what came before."""
    door = command["door"]
    said: list[Json] = []
    answer: dict[str, Json] = {"said": said}
    own = {"base_url": door["base_url"], "api_key": door["api_key"], "default_headers": door.get("headers")}
    async with openai.AsyncOpenAI(**own, max_retries=0, timeout=TIMEOUT) as client:
        try:
            await Caller(client, command, said).call()
        except openai.APIError as error:
            answer["raised"] = _told(error)
    return answer


def _told(error: openai.APIError) -> Json:
    told: Json = {"class": type(error).__name__, "message": error.message, "code": error.code, "type": error.type}
    if isinstance(error, openai.APIStatusError):
        told |= {"status": error.status_code, "headers": dict(error.response.headers)}
    return told


class Caller:
    """The operations. Each appends to `said` what the SDK gives, as it comes."""

    def __init__(self, client: openai.AsyncOpenAI, command: Json, said: list[Json]) -> None:
        self.client = client
        self.command = command
        self.request = command.get("request", {})
        self.said = said

    async def call(self) -> None:
        await getattr(self, self.command["do"])()

    async def chat(self) -> None:
        self.said.append(_plain(await self.client.chat.completions.create(**self.request)))

    async def stream(self) -> None:
        async for chunk in await self.client.chat.completions.create(**self.request, stream=True):
            self.said.append(chunk.to_dict(mode="json"))

    async def gather(self) -> None:
        """The SDK's own way to make one answer of a stream."""
        self.said.append(_plain(await self._gathered(self.request)))

    async def _gathered(self, request: Json) -> ChatCompletion:
        async with self.client.chat.completions.stream(**request) as stream:
            async for _ in stream:
                pass
            return await stream.get_final_completion()

    async def tools(self) -> None:
        """Runs the model's calls until it has no more. `echo` says how the answers go into the history."""
        messages = list(self.request["messages"])
        while True:
            request = {**self.request, "messages": messages}
            if self.command.get("stream"):
                completion = await self._gathered(request)
            else:
                completion = await self.client.chat.completions.create(**request)
            self.said.append(_plain(completion))
            message = completion.choices[0].message
            if not message.tool_calls:
                return
            whole = self.command["echo"] == "whole"
            messages.append(message if whole else _known(message.to_dict(mode="json")))
            messages += [_result(call.to_dict(mode="json")) for call in message.tool_calls]

    async def parse(self) -> None:
        completion = await self.client.chat.completions.parse(**self.request, response_format=City)
        parsed = completion.choices[0].message.parsed
        assert parsed is not None
        self.said.append(parsed.model_dump())

    async def models(self) -> None:
        async for model in self.client.models.list():
            self.said.append(model.to_dict(mode="json"))
        self.said.append((await self.client.models.retrieve(self.command["model"])).to_dict(mode="json"))


def _plain(completion: ChatCompletion) -> Json:
    return completion.to_dict(mode="json")


def _known(message: Json) -> Json:
    """A client that keeps a typed history of its own keeps only what OpenAI documents."""
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {key: call["function"][key] for key in ("name", "arguments")},
        }
        for call in message["tool_calls"]
    ]
    return {"role": "assistant", "content": message.get("content"), "tool_calls": calls}


def _result(call: Json) -> Json:
    result = {"result_of": call["function"]["name"], **json.loads(call["function"]["arguments"])}
    return {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}
