"""What a server of the Alchemyst API v1 must answer, as a list that any of them can be held against.

    await conforms(session, "http://127.0.0.1:8080", headers, others, openai="https://…/v1", gemini="https://…")

The fake of tests/given/alchemyst.py and our own server both pass (tests/given/test_conformance.py).

Requests, statuses and required fields are those of the given documents and, where these are silent, of the published
OpenAPI (201 for chat, generate, new, fork; 200 else). What a server adds is its own business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from yarl import URL


class Call(NamedTuple):
    """In path, body and `holds` `{chat}`, `{message}`, `{fork}`, `{made}` and `{new}` stand for ids that an earlier
    call gave, `{openai}` and `{gemini}` for addresses of upstreams."""

    method: str
    path: str
    body: Any
    status: int
    fields: tuple[str, ...] = ()  # dotted paths that the answer has
    keeps: Mapping[str, str] = {}  # name -> dotted path of a value for later calls
    holds: Mapping[str, Any] = {}  # dotted path -> the value there
    headers: Mapping[str, str] = {}


HELLO = {"role": "user", "content": "Hello, how are you?"}
WEATHER = {"chat_history": [{"role": "user", "content": "What's the weather like?"}], "persona": "maya"}
NOBODY = "0123456789abcdef01234567"
EXAMPLE = {
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "system", "content": "You are a helpful AI."}, {"role": "user", "content": "Hello!"}],
}
CONTENTS = {"contents": [{"parts": [{"text": "Hi"}]}]}
SET = {
    "generationConfig": {"temperature": 0.7, "topP": 0.9, "topK": 40, "maxOutputTokens": 100},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_LOW_AND_ABOVE"}],
}
OPENAI_PATH = "/api/v1/proxy/{openai}/sk-KEY/chat/completions"
GEMINI_PATH = "/api/v1/proxy/{gemini}/v1beta/models/gemini-2.5-flash:generateContent"
OPENAI_ERROR = ("error.message", "error.type", "error.code")
GEMINI_ERROR = ("error.message", "error.details.0.description")
GOOGLE_KEY = {"x-goog-api-key": "AIzaUP"}

GENERATING = ("", "/generate", "/generate/stream")
OLDER = {"chat_history": [{"role": "user", "message": "What's the weather like?"}]}  # the text under its other name
NEW = Call(
    *("POST", "/api/v1/chat/new", {"title": "Conversation with Maya", "messages": [HELLO]}, 201),
    keeps={"new": "chatId"},
)

CALLS = (
    Call("POST", "/api/v1/chat", WEATHER, 201, ("result.message", "result.persona", "metadata.timeTaken")),
    Call(
        *("POST", "/api/v1/chat/generate", WEATHER, 201),
        ("result.message", "chatId", "title"),
        {"chat": "chatId"},
        {"researchMode": False, "stream": False, "title": "What's the weather like?"},
    ),
    Call(
        *("POST", "/api/v1/chat/generate?chatId={chat}&username=u&source=s&title=t", WEATHER, 201, ("result",)),
        *({}, {"chatId": "{chat}", "title": "What's the weather like?"}),
    ),
    Call(
        *("POST", "/api/v1/chat/generate?username=ann&source=web&title=Sky", WEATHER, 201, (), {"made": "chatId"}),
        {"title": "Sky"},
    ),
    Call(
        *("GET", "/api/v1/chat/fetch/{made}", None, 200, (), {}),
        {"data.title": "Sky", "data.username": "ann", "data.source": "web"},
    ),
    *(Call("POST", f"/api/v1/chat{path}", {"persona": "maya"}, 400, ("message",)) for path in GENERATING),
    *(Call("POST", f"/api/v1/chat{path}", {"chat_history": []}, 400, ("message",)) for path in GENERATING),
    *(
        Call("POST", f"/api/v1/chat{path}", {"chat_history": [{"role": "tool", "content": "x"}]}, 400, ("message",))
        for path in GENERATING
    ),
    *(
        Call("POST", "/api/v1/chat/generate", {**WEATHER, **bad}, 400, ("message",))
        for bad in ({"scope": "all"}, {"stream": "yes"}, {"tools": "x"}, {"chatId": "xyz"})
    ),
    Call("POST", f"/api/v1/chat/generate?chatId={NOBODY}", WEATHER, 404, ("message",)),
    Call("POST", "/api/v1/chat", OLDER, 201, ("result.message",)),
    Call("GET", "/api/v1/chat/history", None, 200, ("chats.0.title", "chats.0.id", "chats.0.timestamp")),
    Call(
        *("GET", "/api/v1/chat/fetch/{chat}", None, 200),
        (
            *("data.userId", "data.title", "data.source", "data.scope"),
            *("data.createdAt", "data.updatedAt", "data.messages.0.id", "data.messages.0.role"),
            *("data.messages.0.createdAt", "data.messages.0.updatedAt", "data.messages.2.message"),
        ),
        {"message": "data.messages.0.id"},
        {
            "data._id": "{chat}",
            "data.fork": False,
            "data.forkedFrom": None,
            "data.pinned": False,
            "data.messages.0.role": "user",
            "data.messages.0.message": "What's the weather like?",
            "data.messages.1.role": "assistant",
        },
    ),
    Call("GET", "/api/v1/chat/fetch/xyz", None, 400, ("message",)),
    Call("GET", f"/api/v1/chat/fetch/{NOBODY}", None, 404, ("message",)),
    Call(
        *("POST", "/api/v1/chat/fork", {"chatId": "{chat}", "messageId": "{message}"}, 201),
        *((), {"fork": "forkedChatId"}, {"originalChatId": "{chat}", "forkedAtMessageId": "{message}"}),
    ),
    Call(
        *("GET", "/api/v1/chat/fetch/{fork}", None, 200, (), {}),
        {"data.fork": True, "data.forkedFrom": "{chat}", "data.pinned": False, "data.messages.0.id": "{message}"},
    ),
    Call("POST", "/api/v1/chat/fork", {"chatId": "{chat}"}, 400, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"messageId": "{message}"}, 400, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"chatId": "xyz", "messageId": "{message}"}, 400, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"chatId": "{chat}", "messageId": "nowhere"}, 404, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"chatId": NOBODY, "messageId": "x"}, 404, ("message",)),
    Call("PUT", "/api/v1/chat/{chat}/pin", {"pinned": True}, 200),
    Call("GET", "/api/v1/chat/fetch/{chat}", None, 200, (), {}, {"data.pinned": True}),
    Call("PUT", "/api/v1/chat/{chat}/pin", {}, 400, ("message",)),
    Call("PUT", "/api/v1/chat/{chat}/pin", {"pinned": "yes"}, 400, ("message",)),
    Call("PUT", "/api/v1/chat/xyz/pin", {"pinned": True}, 400, ("message",)),
    Call("PUT", f"/api/v1/chat/{NOBODY}/pin", {"pinned": True}, 404, ("message",)),
    Call("PATCH", "/api/v1/chat/{chat}", {"title": "New", "pinned": False}, 200),
    Call("GET", "/api/v1/chat/fetch/{chat}", None, 200, (), {}, {"data.title": "New", "data.pinned": False}),
    Call("PATCH", "/api/v1/chat/{chat}", {}, 400, ("message",)),
    Call("PATCH", "/api/v1/chat/{chat}", {"title": ""}, 400, ("message",)),
    Call("PATCH", "/api/v1/chat/{chat}", {"pinned": "yes"}, 400, ("message",)),
    Call("PATCH", "/api/v1/chat/xyz", {"title": "New"}, 400, ("message",)),
    Call("PATCH", f"/api/v1/chat/{NOBODY}", {"title": "New"}, 404, ("message",)),
    NEW,
    Call(
        *("GET", "/api/v1/chat/history", None, 200, ("chats.0.timestamp",), {}),
        {"chats.0.title": "Conversation with Maya", "chats.0.id": "{new}"},
    ),
    Call(
        *("GET", "/api/v1/chat/fetch/{new}", None, 200, (), {}),
        {"data.messages.0.role": "user", "data.messages.0.message": "Hello, how are you?"},
    ),
    Call("POST", "/api/v1/chat/new", {"title": "no messages"}, 400),
    Call("POST", "/api/v1/chat/new", {"messages": [HELLO]}, 400),
    Call("POST", "/api/v1/chat/new", {"title": "x", "messages": [{"role": "tool", "content": "x"}]}, 400),
    Call("DELETE", "/api/v1/chat/xyz", None, 400, ("message",)),
    Call("DELETE", "/api/v1/chat/{chat}", None, 200),
    Call("DELETE", "/api/v1/chat/{chat}", None, 404, ("message",)),
    Call("GET", "/api/v1/chat/fetch/{chat}", None, 404, ("message",)),
    Call("GET", "/api/v1/chat/fetch/{fork}", None, 200, (), {}, {"data.forkedFrom": "{chat}"}),
    Call("POST", OPENAI_PATH, EXAMPLE, 200, ("id", "object", "created", "choices.0.message.content")),
    *(
        Call("POST", OPENAI_PATH, bad, 400, OPENAI_ERROR)
        for bad in ({"model": "m"}, {"model": "m", "messages": []}, {"messages": [HELLO]})
    ),
    Call(
        *("POST", GEMINI_PATH, {**CONTENTS, **SET}, 200),
        (
            *("candidates.0.content.parts.0.text", "candidates.0.finishReason", "candidates.0.safetyRatings"),
            "promptFeedback",
        ),
        headers=GOOGLE_KEY,
    ),
    Call("POST", GEMINI_PATH, {"generationConfig": {}}, 400, GEMINI_ERROR, headers=GOOGLE_KEY),
    *(
        Call("POST", GEMINI_PATH, {**CONTENTS, "generationConfig": bad}, 400, GEMINI_ERROR, headers=GOOGLE_KEY)
        for bad in ({"temperature": 3}, {"topP": 2}, {"topK": 0}, {"maxOutputTokens": 0})
    ),
)

FOREIGN = (
    Call("GET", "/api/v1/chat/fetch/{chat}", None, 404, ("message",)),
    Call("POST", "/api/v1/chat/fork", {"chatId": "{chat}", "messageId": "x"}, 404, ("message",)),
    Call("PUT", "/api/v1/chat/{chat}/pin", {"pinned": True}, 404, ("message",)),
    Call("PATCH", "/api/v1/chat/{chat}", {"title": "theirs"}, 404, ("message",)),
    Call("DELETE", "/api/v1/chat/{chat}", None, 404, ("message",)),
    Call("POST", "/api/v1/chat/generate?chatId={chat}", WEATHER, 404, ("message",)),
)


async def conforms(
    session: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
    others: Mapping[str, str],
    *,
    openai: str,
    gemini: str,
) -> None:
    """All calls in order, the stream, what another caller sees, and each path without a credential.

    `openai` and `gemini` are addresses that its proxy paths may name. AssertionError tells of the first that fails.
    """
    kept = {"openai": openai, "gemini": gemini}
    for call in CALLS:
        answer = await _made(session, url, call, kept, headers)
        kept |= {name: str(_at(answer, field, call)) for name, field in call.keeps.items()}
    for call in CALLS:
        if call.status < 300:
            denied = Call(call.method, call.path, call.body, 401, ("error",) if "/proxy/" in call.path else ())
            await _made(session, url, denied, kept, {})
    await _streams(session, url, headers)
    await _owned(session, url, headers, others)


async def _made(
    session: aiohttp.ClientSession, url: str, call: Call, kept: Mapping[str, str], headers: Mapping[str, str]
) -> Any:
    """The answer to a call that is as it must be."""
    body = None if call.body is None else json.loads(_filled(json.dumps(call.body), kept))
    target = URL(url + _filled(call.path, kept), encoded=True)
    sent = {**headers, **call.headers}
    async with session.request(call.method, target, json=body, headers=sent) as response:
        text = await response.text()

        assert call.status == response.status, (call, text)
    answer = json.loads(text) if call.fields or call.keeps or call.holds else None
    for field in call.fields:
        _at(answer, field, call)
    for field, value in call.holds.items():
        assert (_filled(value, kept) if isinstance(value, str) else value) == _at(answer, field, call), (call, text)
    return answer


async def _owned(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], others: Mapping[str, str]
) -> None:
    """A chat is there for its owner alone."""
    made = await _made(session, url, NEW, {}, headers)
    kept = {"chat": str(made["chatId"])}
    for call in FOREIGN:
        await _made(session, url, call, kept, others)
    await _made(session, url, Call("GET", "/api/v1/chat/history", None, 200, (), {}, {"chats": []}), kept, others)
    mine = {"data._id": "{chat}", "data.title": "Conversation with Maya", "data.pinned": False}
    await _made(session, url, Call("GET", "/api/v1/chat/fetch/{chat}", None, 200, (), {}, mine), kept, headers)


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
    return re.sub(r"\{(chat|message|fork|made|new|openai|gemini)\}", lambda found: kept[found[1]], text)


def _at(value: Any, path: str, call: Call) -> Any:
    for step in path.split("."):
        try:
            value = value[int(step)] if step.isdigit() else value[step]
        except (KeyError, IndexError, TypeError):
            raise AssertionError(f"{call.method} {call.path}: no {path} in the answer") from None
    return value
