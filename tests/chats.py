"""A gateway with chats in front of a scripted upstream, and callers of its chat service.

async with chatting() as (gateway, upstream):
    upstream.always(says("Sunny."))
    answer = await generate(gateway, "What's the weather like?")
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt

from tests.fakes import Answer as Reply
from tests.fakes import FakeUpstream, chat_answer, chat_stream, json_answer, sse
from tests.running import Answer, Running, running

SECRET = "canary-" * 6
ISSUER = "https://login.example.com"

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
models:
  small: [{provider: up, model: gpt-4o-mini}]
  thinker: [{provider: up, model: o4-mini}]
policies: {default: {attempts: 2, wait: {first: 10ms, most: 10ms}}}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
chats:
  store: "sqlite:$store"
  default: maya
  personas:
    maya: {model: small, description: General assistant, system: You are Maya.}
    strict: {model: small, client_system: reject, scopes: [internal]}
    deep: {model: small, research: {model: thinker, reasoning_effort: high}, tools: {webSearch: native, off: none}}
    shaped: {model: small, response_schema: {type: object, required: [a]}, stream_deltas: true, planning_text: Hm}
"""
ACCESS = """
access:
  keys: []
  jwt: {secret: env:JWT_SECRET, algorithms: [HS256], audience: isthmus}
"""


def says(text: str, **more: Any) -> Reply:
    """A whole answer of the upstream."""
    return json_answer(chat_answer(text, **more))


def streams(*texts: str) -> Reply:
    return sse(*chat_stream(*texts, usage=(9, 3)))


def either(text: str) -> Any:
    """Whole or as a stream, as it is asked."""
    return lambda request: streams(text) if request.json().get("stream") else says(text)


@asynccontextmanager
async def chatting(
    table: str = TABLE, *, store: Path | str = "chats.db", access: bool = False
) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    text = table + (ACCESS if access else "")
    async with (
        FakeUpstream() as upstream,
        running(text, {"JWT_SECRET": SECRET}, up=upstream.url, store=store) as gateway,
    ):
        yield gateway, upstream


def token(subject: str, issuer: str | None = None) -> dict[str, str]:
    """The headers of a caller."""
    claims: dict[str, Any] = {"sub": subject, "aud": "isthmus", "exp": int(time.time()) + 600}
    if issuer is not None:
        claims["iss"] = issuer
    return {"authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


async def generate(
    gateway: Running,
    *messages: str | dict[str, Any],
    query: str = "",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Answer:
    history = [user(message) if isinstance(message, str) else message for message in messages]
    path = f"/api/v1/chat/generate{'?' if query else ''}{query}"
    return await gateway.post(path, {"chat_history": history, **more}, headers=headers or {})


async def stream(
    gateway: Running,
    *messages: str | dict[str, Any],
    query: str = "",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Answer:
    history = [user(message) if isinstance(message, str) else message for message in messages]
    path = f"/api/v1/chat/generate/stream{'?' if query else ''}{query}"
    return await gateway.post(path, {"chat_history": history, **more}, headers=headers or {})


async def call(
    gateway: Running, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """Any call below /api/v1/chat."""
    url = f"{gateway.url}/api/v1/chat/{path}"
    async with gateway.session.request(method, url, json=body, headers=headers) as response:
        return Answer(response.status, dict(response.headers), await response.read())


async def new(gateway: Running, title: str = "A chat", *messages: dict[str, Any], **more: Any) -> str:
    answer = await call(gateway, "POST", "new", {"title": title, "messages": list(messages)}, **more)
    assert 201 == answer.status, answer.body
    return str(answer.json["chatId"])


async def fetched(gateway: Running, chat_id: str, **more: Any) -> Any:
    answer = await call(gateway, "GET", f"fetch/{chat_id}", **more)
    assert 200 == answer.status, answer.body
    return answer.json["data"]


async def history(gateway: Running, query: str = "", **more: Any) -> Any:
    answer = await call(gateway, "GET", f"history{query}", **more)
    assert 200 == answer.status, answer.body
    return answer.json


def said(data: Any) -> list[tuple[str, str]]:
    """Who said what in a fetched chat."""
    return [(message["role"], message["message"]) for message in data["messages"]]


def fill(path: Path, count: int, owner: str = "local") -> None:
    """So many chats at once, without a call for each."""
    row = "(?, ?, ?, ?, 's', NULL, NULL, 0, 0, NULL, ?, ?, 0, 0)"
    rows = [(f"{n:024x}", owner, f"chat {n}", f"chat {n}", n // 3, n // 3) for n in range(count)]
    with sqlite3.connect(path) as other:
        other.executemany(f"INSERT INTO chats VALUES {row}", rows)
    other.close()
