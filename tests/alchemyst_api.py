"""What a server of the Alchemyst API v1 must answer, as a list that any of them can be held against.

    await conforms(session, "http://127.0.0.1:8080", headers)

Requests, statuses and required fields are those of the given documents and, where these are silent, of the published
OpenAPI (201 for chat, generate, new, fork; 200 else). What a server adds is its own business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp


class Call(NamedTuple):
    """`{chat}`, `{message}` in path and body stand for ids that an earlier call gave."""

    method: str
    path: str
    body: Any
    status: int
    fields: tuple[str, ...] = ()  # dotted paths that the answer has
    keeps: Mapping[str, str] = {}  # name -> dotted path of a value for later calls


HELLO = {"role": "user", "content": "Hello, how are you?"}
WEATHER = {"chat_history": [{"role": "user", "content": "What's the weather like?"}], "persona": "maya"}
NOBODY = "0123456789abcdef01234567"

CALLS = (
    Call("POST", "/api/v1/chat", WEATHER, 201, ("result.message", "result.persona", "metadata.timeTaken")),
    Call(
        *("POST", "/api/v1/chat/generate", WEATHER, 201),
        ("result.message", "chatId", "title", "researchMode", "stream"),
        {"chat": "chatId"},
    ),
    Call("POST", "/api/v1/chat/generate?chatId={chat}&username=u&source=s&title=t", WEATHER, 201, ("result", "chatId")),
    Call("POST", "/api/v1/chat/generate", {"persona": "maya"}, 400, ("message",)),
    Call("GET", "/api/v1/chat/history", None, 200, ("chats.0.title", "chats.0.id", "chats.0.timestamp")),
    Call(
        *("GET", "/api/v1/chat/fetch/{chat}", None, 200),
        (
            *("data._id", "data.userId", "data.title", "data.source", "data.fork", "data.forkedFrom", "data.pinned"),
            *("data.createdAt", "data.updatedAt", "data.messages.0.id", "data.messages.0.role"),
            *("data.messages.0.message", "data.messages.0.createdAt", "data.messages.0.updatedAt"),
        ),
        {"message": "data.messages.0.id"},
    ),
    Call("GET", "/api/v1/chat/fetch/xyz", None, 400, ("message",)),
    Call("GET", f"/api/v1/chat/fetch/{NOBODY}", None, 404, ("message",)),
    Call(
        *("POST", "/api/v1/chat/fork", {"chatId": "{chat}", "messageId": "{message}"}, 201),
        ("forkedChatId", "originalChatId", "forkedAtMessageId"),
    ),
    Call("POST", "/api/v1/chat/fork", {"chatId": "{chat}"}, 400, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"chatId": NOBODY, "messageId": "x"}, 404, ("message",)),
    Call("PUT", "/api/v1/chat/{chat}/pin", {"pinned": True}, 200),
    Call("PUT", "/api/v1/chat/{chat}/pin", {}, 400, ("message",)),
    Call("PUT", f"/api/v1/chat/{NOBODY}/pin", {"pinned": True}, 404, ("message",)),
    Call("PATCH", "/api/v1/chat/{chat}", {"title": "New", "pinned": False}, 200),
    Call("PATCH", f"/api/v1/chat/{NOBODY}", {"title": "New"}, 404, ("message",)),
    Call("POST", "/api/v1/chat/new", {"title": "Conversation with Maya", "messages": [HELLO]}, 201, ("chatId",)),
    Call("POST", "/api/v1/chat/new", {"title": "no messages"}, 400),
    Call("DELETE", "/api/v1/chat/{chat}", None, 200),
    Call("DELETE", "/api/v1/chat/{chat}", None, 404, ("message",)),
)


async def conforms(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
    """All calls, in order, and the stream; then one without a credential. AssertionError names the first that fails."""
    kept: dict[str, str] = {}
    for call in CALLS:
        path, body = _filled(call.path, kept), json.loads(_filled(json.dumps(call.body), kept))
        async with session.request(call.method, url + path, json=body, headers=headers) as response:
            answer = await response.json() if call.fields or call.keeps else None

            assert call.status == response.status, (call, await response.text())
        for field in call.fields:
            _at(answer, field, call)
        kept |= {name: str(_at(answer, field, call)) for name, field in call.keeps.items()}
    await _streams(session, url, headers)
    async with session.get(f"{url}/api/v1/chat/history") as response:
        assert 401 == response.status


async def _streams(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
    async with session.post(f"{url}/api/v1/chat/generate/stream", json=WEATHER, headers=headers) as response:
        text = (await response.read()).decode()

    lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
    events = [json.loads(line) for line in lines[:-1]]

    assert 200 == response.status and response.content_type == "text/event-stream"
    assert "[DONE]" == lines[-1]
    assert "thinking_update" == events[0]["type"]
    assert ["final_response", "metadata"] == [event["type"] for event in events[-2:]]
    assert type(events[-2]["content"]) is str and {"chatId", "title"} <= events[-1]["content"].keys()


def _filled(text: str, kept: Mapping[str, str]) -> str:
    return re.sub(r"\{(chat|message)\}", lambda found: kept[found[1]], text)


def _at(value: Any, path: str, call: Call) -> Any:
    for step in path.split("."):
        try:
            value = value[int(step)] if step.isdigit() else value[step]
        except (KeyError, IndexError, TypeError):
            raise AssertionError(f"{call.method} {call.path}: no {path} in the answer") from None
    return value
