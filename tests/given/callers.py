"""A gateway in front of a fake, and who asks it: callers of OpenAI, Anthropic and Gemini, whole and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.given.fakes import GATEWAY_SECRET, KEY, Fake, Json
from tests.running import Answer, Running, running

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  $row: {base_url: "$up", secret: "env:UP"$more}
models: {$names}
policies: {default: {wait: {first: 1ms, most: 1ms}}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""
BEARER = {"authorization": f"Bearer {GATEWAY_SECRET}"}


@asynccontextmanager
async def before(
    fake: Fake, row: str, *models: str, path: str = "", more: str = ""
) -> AsyncIterator[tuple[Running, Fake]]:
    """A gateway whose row `row` is the fake, `more` merged over it; `models` are all served there."""
    names = ", ".join(f'"{model}": [{{provider: {row}, model: "{model}"}}]' for model in models)
    async with (
        fake,
        running(TABLE, {"UP": KEY}, row=row, up=fake.url + (path or fake.base), more=more, names=names) as gateway,
    ):
        yield gateway, fake


async def ask(gateway: Running, model: str, messages: Json = "Hi", path: str = "", **fields: Json) -> Answer:
    """A call of an OpenAI caller. A text is one message of the user."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"model": model, "messages": messages, **fields}
    headers = fields.pop("headers", {})
    return await gateway.post(f"/v1/chat/completions{path}", body, headers={**BEARER, **headers})


def text_of(answer: Answer) -> str:
    """What an OpenAI caller reads, whole or streamed."""
    if answer.body.startswith(b"data:"):
        return "".join(piece for _, piece in deltas(answer))
    content: str = answer.json["choices"][0]["message"]["content"]
    return content


def deltas(answer: Answer) -> list[tuple[int, str]]:
    """The pieces of text of a stream, with the number of their choice."""
    return [
        (choice["index"], choice["delta"]["content"])
        for event in answer.events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
        if choice["delta"].get("content")
    ]


def finishes(answer: Answer) -> list[str]:
    return [
        choice["finish_reason"]
        for event in answer.events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
        if choice.get("finish_reason")
    ]


@dataclass(frozen=True)
class Caller:
    """Somebody who asks in a dialect and reads the answer in it."""

    dialect: str

    async def ask(self, gateway: Running, model: str, *, stream: bool, **more: Any) -> Answer:
        """`more`: stop, limit, temperature, tools (names), persona: as the dialect spells them."""
        path, body = getattr(self, f"_{self.dialect}")(model, stream, more)
        return await gateway.post(path, body, headers=BEARER)

    def _openai(self, model: str, stream: bool, more: dict[str, Any]) -> tuple[str, Json]:
        body: dict[str, Json] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        body |= {"stream": True} if stream else {}
        body |= {"max_tokens": more["limit"]} if "limit" in more else {}
        for key in ("stop", "temperature"):
            body |= {key: more[key]} if key in more else {}
        if "tools" in more:
            body["tools"] = [{"type": "function", "function": {"name": name}} for name in more["tools"]]
        return "/v1/chat/completions", body

    def _anthropic(self, model: str, stream: bool, more: dict[str, Any]) -> tuple[str, Json]:
        body: dict[str, Json] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        body |= {"max_tokens": more.get("limit", 100)} | ({"stream": True} if stream else {})
        body |= {"stop_sequences": more["stop"]} if "stop" in more else {}
        body |= {"temperature": more["temperature"]} if "temperature" in more else {}
        if "tools" in more:
            body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in more["tools"]]
        return "/v1/messages", body

    def _gemini(self, model: str, stream: bool, more: dict[str, Any]) -> tuple[str, Json]:
        config: dict[str, Json] = {"maxOutputTokens": more["limit"]} if "limit" in more else {}
        config |= {"stopSequences": more["stop"]} if "stop" in more else {}
        config |= {"temperature": more["temperature"]} if "temperature" in more else {}
        body: dict[str, Json] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": config}
        if "tools" in more:
            body["tools"] = [{"functionDeclarations": [{"name": name} for name in more["tools"]]}]
        task = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{task}", body

    def text(self, answer: Answer) -> str:
        """All text of an answer, whole or streamed."""
        events = _events(answer)
        if self.dialect == "openai":
            return text_of(answer)
        if self.dialect == "anthropic":
            if len(events) == 1:
                return "".join(block.get("text", "") for block in events[0]["content"])
            return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
        parts = [part for event in events for part in event["candidates"][0].get("content", {}).get("parts", ())]
        return "".join(part.get("text", "") for part in parts if not part.get("thought"))

    def finish(self, answer: Answer) -> str:
        """Why it ended, in the dialect's word."""
        events = _events(answer)
        if self.dialect == "openai":
            found = [c["finish_reason"] for event in events for c in event["choices"] if c["finish_reason"]]
        elif self.dialect == "anthropic":
            found = [event.get("stop_reason") or (event.get("delta") or {}).get("stop_reason") for event in events]
        else:
            found = [event["candidates"][0].get("finishReason") for event in events]
        return next(word for word in reversed(found) if word)

    def thoughts(self, answer: Answer) -> str:
        """All thinking of a stream."""
        events = _events(answer)
        if self.dialect == "openai":
            found = [c["delta"].get("reasoning_content") for event in events for c in event["choices"]]
        elif self.dialect == "anthropic":
            found = [event["delta"].get("thinking") for event in events if event["type"] == "content_block_delta"]
        else:
            parts = [part for event in events for part in event["candidates"][0].get("content", {}).get("parts", ())]
            found = [part["text"] for part in parts if part.get("thought")]
        return "".join(text for text in found if text)

    def ended(self, answer: Answer) -> bool:
        """Was the end of a stream told, in any of the ways in which the dialect tells it?"""
        if self.dialect == "gemini":
            return any(one.get("finishReason") for event in _events(answer) for one in event.get("candidates", ()))
        if self.dialect == "anthropic":
            return any(event["type"] in ("message_delta", "message_stop") for event in _events(answer))
        return b"data: [DONE]" in answer.body or bool(finishes(answer))

    def error(self, answer: Answer) -> str:
        """The text of an error, whole or the last event of a stream."""
        for event in reversed(_events(answer)):
            if "error" in event:
                message: str = event["error"]["message"]
                return message
        return ""


def _events(answer: Answer) -> list[Json]:
    if not answer.body.startswith((b"data:", b"event:")):
        return [answer.json]
    lines = [line.removeprefix("data: ") for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    return [msgspec.json.decode(line) for line in lines if line != "[DONE]"]


CALLERS = [Caller("openai"), Caller("anthropic"), Caller("gemini")]
