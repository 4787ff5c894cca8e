"""What a program does with Python's `google-genai`: one command in, what the SDK said or raised out.

Runs in-process with the 3.x line, and as a program of its own with the 2.x line: a command per line of its input, an
answer per line of its output. So it imports nothing of ours. `genai_calls.mjs` does the same in JavaScript.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import traceback
from typing import Any

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

Json = Any
TIMEOUT = 10_000
_OURS = {"sdk_http_response", "parsed", "automatic_function_calling_history"}


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


async def run(command: Json) -> Json:
    """`{"said": …}`, and `{"raised": …}` where the SDK raised; `said` then holds what came before."""
    door = command["door"]
    options = types.HttpOptions(
        base_url=door["base_url"],
        headers=door.get("headers"),
        api_version=door.get("api_version"),
        timeout=TIMEOUT,
    )
    said: list[Json] = []
    answer: dict[str, Json] = {"said": said}
    async with genai.Client(api_key=door["api_key"], http_options=options).aio as client:
        try:
            await Caller(client, command, said).call()
        except errors.APIError as error:
            kind = type(error).__name__
            answer["raised"] = {"class": kind, "message": error.message, "code": error.code, "status": error.status}
    return answer


class Caller:
    """The operations. Each appends to `said` what the SDK gives, as it comes."""

    def __init__(self, client: genai.client.AsyncClient, command: Json, said: list[Json]) -> None:
        self.client = client
        self.command = command
        self.said = said
        self.model = command.get("model")
        self.contents = [types.Content.model_validate(one) for one in command.get("contents", [])]
        self.config = types.GenerateContentConfig.model_validate(command.get("config", {}))

    async def call(self) -> None:
        await getattr(self, self.command["do"])()

    def _asked(self, contents: list[types.Content]) -> dict[str, Any]:
        return {"model": self.model, "contents": contents, "config": self.config}

    async def generate(self) -> None:
        self.said.append(_plain(await self.client.models.generate_content(**self._asked(self.contents))))

    async def stream(self) -> None:
        async for response in await self.client.models.generate_content_stream(**self._asked(self.contents)):
            self.said.append(_plain(response))

    async def tools(self) -> None:
        """Runs the model's calls until it has no more. `echo` says how the answers go into the history."""
        contents = list(self.contents)
        while True:
            answer = await self._answer(contents)
            calls = [part.function_call for part in answer if part.function_call]
            if not calls:
                return
            if self.command["echo"] == "whole":
                contents.append(types.Content(role="model", parts=answer))
            else:
                kept = [types.FunctionCall(name=call.name, args=call.args) for call in calls]
                contents.append(types.Content(role="model", parts=[types.Part(function_call=call) for call in kept]))
                calls = kept
            contents.append(types.Content(role="user", parts=[_result(call) for call in calls]))

    async def _answer(self, contents: list[types.Content]) -> list[types.Part]:
        """All parts of one answer."""
        parts: list[types.Part] = []
        if not self.command.get("stream"):
            response = await self.client.models.generate_content(**self._asked(contents))
            self.said.append(_plain(response))
            return _parts(response)
        async for response in await self.client.models.generate_content_stream(**self._asked(contents)):
            self.said.append(_plain(response))
            parts += _parts(response)
        return parts

    async def session(self) -> None:
        """The SDK keeps the history."""
        chat = self.client.chats.create(model=self.model, config=self.config)
        for text in self.command["texts"]:
            if self.command.get("stream"):
                async for response in await chat.send_message_stream(text):
                    self.said.append(_plain(response))
            else:
                self.said.append(_plain(await chat.send_message(text)))

    async def automatic(self) -> None:
        """The SDK makes declarations of functions, calls them and keeps the history."""

        def get_weather(location: str) -> dict[str, str]:
            """Tells the weather."""
            return {"result_of": "get_weather", "location": location}

        def get_time(timezone: str) -> dict[str, str]:
            """Tells the time."""
            return {"result_of": "get_time", "timezone": timezone}

        self.config.tools = [get_weather, get_time]
        await self.generate()

    async def parse(self) -> None:
        """A schema that the SDK makes of a type, or one that is given to it."""
        if "schema" in self.command:
            self.config.response_json_schema = self.command["schema"]
        else:
            self.config.response_schema = City
        self.config.response_mime_type = "application/json"
        response = await self.client.models.generate_content(**self._asked(self.contents))
        parsed = response.parsed
        self.said.append(parsed.model_dump() if isinstance(parsed, BaseModel) else parsed)

    async def count(self) -> None:
        counted = await self.client.models.count_tokens(model=self.model, contents=self.contents)
        self.said.append(_plain(counted))

    async def models(self) -> None:
        async for model in await self.client.models.list():
            self.said.append(_plain(model))
        self.said.append(_plain(await self.client.models.get(model=self.command["model"])))


def _parts(response: types.GenerateContentResponse) -> list[types.Part]:
    content = response.candidates[0].content if response.candidates else None
    return (content.parts if content else None) or []


def _result(call: types.FunctionCall) -> types.Part:
    result = {"result_of": call.name, **(call.args or {})}
    return types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=result))


def _plain(value: BaseModel) -> Json:
    """As the wire spells it."""
    dumped = value.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_OURS)
    for candidate in dumped.get("candidates", []):
        for part in candidate.get("content", {}).get("parts", []):
            if "thoughtSignature" in part:
                signature = base64.urlsafe_b64decode(part["thoughtSignature"])
                part["thoughtSignature"] = base64.b64encode(signature).decode()
    return dumped


def _serve() -> None:
    for line in sys.stdin:
        try:
            answer = asyncio.run(run(json.loads(line)))
        except Exception:
            answer = {"broken": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
