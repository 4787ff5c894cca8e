"""A strict fake of Alchemyst's API, version 1: its ten chat paths over chats in memory, and both its proxy paths.

What it takes and answers is what the given documents say and, where these are silent, the published OpenAPI: 201 for
chat, generate, new and fork, 200 else. Nothing of what our own server adds is in it, so a list of calls that both pass
(tests/alchemyst_api.py) asks for nothing but the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from aiohttp import web

from tests.given.fakes import KEY, Fake, Json, Scenario, is_number, to_json

#: The stream as the document prints it, its broken line included; and with the quote of that line escaped.
PRINTED_STREAM = """\
data: {"type":"thinking_update","content":"Planning response"}
data: {"type":"final_response","content":"Here"s your answer..."}
data: {"type":"metadata","content":{"chatId":"...","title":"..."}}
data: [DONE]
"""
FIXED_STREAM = PRINTED_STREAM.replace('Here"s', 'Here\\"s')

_CHATS = "/api/v1/chat"
_GENERATIONS = {  # path -> the fields that its body may have
    _CHATS: {"chat_history", "persona"},
    f"{_CHATS}/generate": {
        *("chat_history", "chatId", "persona", "tools", "scope", "stream", "voice", "fastContext"),
    },
    f"{_CHATS}/generate/stream": {"chat_history", "chatId", "persona", "tools", "scope", "stream"},
}
_QUERY = {"chatId", "username", "source", "title"}
_KINDS: Mapping[str, tuple[type, ...]] = {
    "chatId": (str,),
    "persona": (str,),
    "tools": (dict, list),
    "stream": (bool,),
    "voice": (bool,),
    "fastContext": (list,),
}
_MESSAGE = {"id", "role", "content", "message", "json", "thinking_steps", "steps", "tools", "createdAt", "updatedAt"}
_ID = re.compile(r"[0-9a-f]{24}")
_START = datetime(2026, 1, 1, tzinfo=UTC)

_OPENAI_PATH = re.compile(r"/api/v1/proxy/(?:(default)|(.+)/([^/]+))/chat/completions")
_GEMINI_PATH = re.compile(r"/api/v1/proxy/(.+)/v1beta/models/([^/]+)")
_ROLES = ("system", "user", "assistant")
_CATEGORIES = {
    f"HARM_CATEGORY_{name}" for name in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
}
_THRESHOLDS = {f"BLOCK_{name}" for name in ("NONE", "LOW_AND_ABOVE", "MEDIUM_AND_ABOVE", "HIGH_AND_ABOVE")}
_RANGES: Mapping[str, tuple[float, float | None, bool]] = {  # least, most, whole
    "temperature": (0, 1, False),
    "topP": (0, 1, False),
    "topK": (1, None, True),
    "maxOutputTokens": (1, None, True),
}


@dataclass(frozen=True)
class Proxied:
    """A call of a proxy path: whom it names, with which credential, and the model and task of a Gemini call."""

    target: str
    credential: str | None
    task: str | None = None


@dataclass
class Chat:
    """One chat in memory. `messages` are those of the answer to a fetch."""

    id: str
    owner: str
    title: str
    source: str
    username: str | None
    created: str
    updated: str
    messages: list[dict[str, Json]] = field(default_factory=list)
    scope: str = "private"
    forked_from: str | None = None
    pinned: bool = False


class Alchemyst(Fake):
    """The ten chat paths and both proxy paths. `tokens` are its callers, each with chats of its own.

    Scenarios are for the three generations and the proxies. Options: `shape` (message, response, kwargs, content, text,
    none), `raw` (a whole stream as text), `blank` (lines between events), `error` (an event with one), `more` (json
    and replaySessionID in every event).
    """

    paths = (f"{_CHATS}/generate",)  # what a test calls that does not say where
    done = b"data: [DONE]\n"

    def __init__(self, *, tolerant: bool = False, tokens: tuple[str, ...] = (KEY,)) -> None:
        super().__init__(tolerant=tolerant)
        self.chats: dict[str, Chat] = {}
        self.proxied: list[Proxied] = []
        self._tokens = tokens
        self._made = 0

    # ── who, and what is served ────────────────────────────────────────────────────────
    def stranger(self, headers: Mapping[str, str], request: web.Request) -> str | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return None if scheme == "Bearer" and token in self._tokens else "a wrong bearer"

    def unauthorized(self, request: web.Request) -> Json:
        if "/proxy/" in request.path:
            return {"error": {"message": "Unauthorized", "type": "authentication_error", "code": "unauthorized"}}
        return {"error": "Unauthorized"} if request.path.endswith(("/history", "/new")) else {"message": "Unauthorized"}

    def serves(self, request: web.Request) -> bool:
        proxy = _OPENAI_PATH.fullmatch(_path(request)) or _GEMINI_PATH.fullmatch(_path(request))
        return request.method == "POST" and (request.path in _GENERATIONS or proxy is not None)

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if request.path in _GENERATIONS:
            return self._generation(body, request)
        proxy = _openai_call if _OPENAI_PATH.fullmatch(_path(request)) else _gemini_call
        return proxy(body)

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        status = 404 if problem.endswith("not found") else 400
        if _OPENAI_PATH.fullmatch(_path(request)):
            code = "invalid_messages" if problem.startswith("messages") else "invalid_request"
            return status, {"error": {"message": problem, "type": "invalid_request_error", "code": code}}
        if _GEMINI_PATH.fullmatch(_path(request)):
            details = [{"field": problem.partition(":")[0], "description": problem}]
            return status, {"error": {"message": problem, "details": details}}
        return status, {"message": problem}

    def streams(self, body: dict[str, Json], request: web.Request) -> bool:
        return request.path.endswith("/stream") or body.get("stream") is True

    def good_status(self, request: web.Request) -> int:
        return 200 if "/proxy/" in request.path else 201

    # ── generations ────────────────────────────────────────────────────────────────────
    def _generation(self, body: dict[str, Json], request: web.Request) -> str | None:
        if unknown := sorted(body.keys() - _GENERATIONS[request.path]):
            return f"unknown fields: {unknown}"
        if unknown := sorted(request.query.keys() - (_QUERY if request.path.endswith("/generate") else set())):
            return f"unknown query: {unknown}"
        for key, kinds in _KINDS.items():
            if key in body and type(body[key]) not in kinds:
                return f"{key} is not of its type"
        if body.get("scope", "internal") not in ("internal", "external"):
            return "scope is internal or external"
        if problem := _messages(body.get("chat_history"), "chat_history", least=1):
            return problem
        chat_id = request.query.get("chatId", body.get("chatId"))
        return None if chat_id is None else self._missing(chat_id, request)

    def _missing(self, chat_id: Json, request: web.Request) -> str | None:
        """What is wrong with an id of a chat: no id at all, or none of this caller's chats."""
        if type(chat_id) is not str or not _ID.fullmatch(chat_id):
            return "Invalid chat ID format"
        chat = self.chats.get(chat_id)
        return None if chat is not None and chat.owner == _owner(request) else "Chat not found"

    async def _play(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        options = {**scenario.options, "request": request}
        if "/proxy/" in request.path:
            self.proxied.append(_proxied(request))
        return await super()._play(replace(scenario, options=options), body, request)

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        request, text = options["request"], "".join(self.text)
        if "messages" in body:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return {"id": "alc-1", "object": "chat.completion", "created": 1234, "choices": [choice]}
        if "contents" in body:
            said = {"parts": [{"text": text}], "role": "model"}
            candidate = {"content": said, "finishReason": "STOP", "safetyRatings": []}
            return {"candidates": [candidate], "promptFeedback": {"safetyRatings": []}}
        persona = body.get("persona") or "maya"
        if request.path == _CHATS:
            return {"result": {"message": text, "persona": persona}, "metadata": {"timeTaken": 200}}
        shapes: dict[str, Json] = {
            "message": {"message": text, "persona": persona},
            "response": {"response": {"content": text}},
            "kwargs": {"response": {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": text}}},
            "content": {"content": text},
            "text": text,
            "none": {"persona": persona},
        }
        chat = self._keep(body, request)
        result = shapes[options.get("shape", "message")]
        return {"result": result, "chatId": chat.id, "title": chat.title, "researchMode": False, "stream": False}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        if "raw" in options:
            yield options["raw"].encode()
            return
        if "messages" in body:
            yield from self._chunks()
            return
        end = b"\n\n" if options.get("blank") else b"\n"
        more = {"json": {"a": 1}, "replaySessionID": "r-1"} if options.get("more") else {}

        def event(kind: str, content: Json) -> bytes:
            return b"data: " + to_json({"type": kind, "content": content, "error": None, **more}) + end

        yield event("thinking_update", "Planning response")
        if options.get("error"):
            yield b"data: " + to_json({"type": "error", "content": None, "error": options["error"]}) + end
            return
        yield event("a_kind_that_is_new", {"x": 1})
        for piece in self.text:
            yield event("final_response", piece)
        chat = self._keep(body, options["request"])
        yield event("metadata", {"chatId": chat.id, "title": chat.title})

    def _chunks(self) -> Iterator[bytes]:
        """The stream of an OpenAI call, a line an event and one that is empty."""
        head = {"id": "alc-1", "object": "chat.completion.chunk", "created": 1234, "model": "c1"}
        for piece in self.text:
            choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
            yield b"data: " + to_json({**head, "choices": [choice]}) + b"\n\n"
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield b"data: " + to_json({**head, "choices": [last]}) + b"\n\n"

    def _keep(self, body: dict[str, Json], request: web.Request) -> Chat:
        """Stores what the chat does not have yet, and the answer."""
        chat_id = request.query.get("chatId", body.get("chatId"))
        history = body["chat_history"]
        if chat_id is None:
            title = request.query.get("title") or _text(history[0])
            chat = self._new(request, title, request.query.get("source", "platform.converse"))
            chat.username, chat.scope = request.query.get("username"), body.get("scope", "private")
        else:
            chat = self.chats[chat_id]
        ids = {message["id"] for message in chat.messages}
        known = [(message["role"], message["message"]) for message in chat.messages]
        same = 0  # the longest common beginning, for messages without ids
        while same < min(len(known), len(history)) and known[same] == (history[same]["role"], _text(history[same])):
            same += 1
        told = [one for at, one in enumerate(history) if (one["id"] not in ids if "id" in one else at >= same)]
        self._append(chat, *told, {"role": "assistant", "message": "".join(self.text)})
        return chat

    # ── chats ──────────────────────────────────────────────────────────────────────────
    def aside(self, body: Json, request: web.Request) -> web.Response | None:
        verbs = {
            ("GET", "history"): self._history,
            ("POST", "new"): self._create,
            ("POST", "fork"): self._fork,
        }
        path = request.path.removeprefix(f"{_CHATS}/")
        if verb := verbs.get((request.method, path)):
            return verb(body, request)
        for method, pattern, answer in (
            ("GET", r"fetch/([^/]+)", self._fetch),
            ("PUT", r"([^/]+)/pin", self._pin),
            ("PATCH", r"([^/]+)", self._patch),
            ("DELETE", r"([^/]+)", self._delete),
        ):
            if request.method == method and (found := re.fullmatch(pattern, path)):
                if problem := self._missing(found[1], request):
                    return self.refuses(problem, request)
                return answer(self.chats[found[1]], body, request)
        return None

    def _history(self, body: Json, request: web.Request) -> web.Response:
        mine = [chat for chat in self.chats.values() if chat.owner == _owner(request)]
        newest = sorted(mine, key=lambda chat: (chat.updated, chat.id), reverse=True)
        told = [{"title": chat.title, "id": chat.id, "timestamp": _milliseconds(chat.updated)} for chat in newest]
        return web.json_response({"chats": told})

    def _create(self, body: Json, request: web.Request) -> web.Response:
        if type(body) is not dict or body.keys() != {"title", "messages"}:
            return self.refuses("title and messages are required", request)
        if not _is_title(body["title"]):
            return self.refuses("title is a text", request)
        if problem := _messages(body["messages"], "messages", least=0):
            return self.refuses(problem, request)
        chat = self._new(request, body["title"], "platform.converse")
        self._append(chat, *body["messages"])
        return web.json_response({"chatId": chat.id}, status=201)

    def _fork(self, body: Json, request: web.Request) -> web.Response:
        if type(body) is not dict or body.keys() != {"chatId", "messageId"} or type(body["messageId"]) is not str:
            return self.refuses("chatId and messageId are required", request)
        if problem := self._missing(body["chatId"], request):
            return self.refuses(problem, request)
        source = self.chats[body["chatId"]]
        ids = [message["id"] for message in source.messages]
        if body["messageId"] not in ids:
            return self.refuses("Message not found", request)
        chat = self._new(request, f"{source.title} (fork)", source.source)
        chat.messages = [dict(one) for one in source.messages[: ids.index(body["messageId"]) + 1]]
        chat.forked_from = source.id
        told = {"forkedChatId": chat.id, "originalChatId": source.id, "forkedAtMessageId": body["messageId"]}
        return web.json_response(told, status=201)

    def _fetch(self, chat: Chat, body: Json, request: web.Request) -> web.Response:
        told = {
            "_id": chat.id,
            "messages": chat.messages,
            "userId": chat.owner,
            "title": chat.title,
            "source": chat.source,
            "phone": None,
            "username": chat.username,
            "scope": chat.scope,
            "fork": chat.forked_from is not None,
            "forkedFrom": chat.forked_from,
            "pinned": chat.pinned,
            "createdAt": chat.created,
            "updatedAt": chat.updated,
        }
        return web.json_response({"data": told})

    def _pin(self, chat: Chat, body: Json, request: web.Request) -> web.Response:
        if type(body) is not dict or body.keys() != {"pinned"} or type(body["pinned"]) is not bool:
            return self.refuses("pinned is a boolean and required", request)
        chat.pinned = body["pinned"]
        return web.json_response({"message": "Chat pinned"})

    def _patch(self, chat: Chat, body: Json, request: web.Request) -> web.Response:
        if type(body) is not dict or not body or body.keys() - {"title", "pinned"}:
            return self.refuses("title or pinned, and nothing else", request)
        if not _is_title(body.get("title", "x")) or type(body.get("pinned", True)) is not bool:
            return self.refuses("title is a text, pinned a boolean", request)
        chat.title, chat.pinned = body.get("title", chat.title), body.get("pinned", chat.pinned)
        chat.updated = self._now()
        return web.json_response({"message": "Chat updated"})

    def _delete(self, chat: Chat, body: Json, request: web.Request) -> web.Response:
        del self.chats[chat.id]
        return web.json_response({"message": "Chat deleted"})

    def _new(self, request: web.Request, title: str, source: str) -> Chat:
        now = self._now()
        chat = Chat(self._id(), _owner(request), title, source, None, now, now)
        self.chats[chat.id] = chat
        return chat

    def _append(self, chat: Chat, *messages: dict[str, Json]) -> None:
        chat.updated = self._now()
        for message in messages:
            kept = {key: value for key, value in message.items() if key in _MESSAGE - {"content"}}
            made = {"id": self._id(), "createdAt": chat.updated, "updatedAt": chat.updated}
            chat.messages.append({**made, **kept, "message": _text(message)})

    def _id(self) -> str:
        self._made += 1
        return f"{self._made:024x}"

    def _now(self) -> str:
        """Later at every call, so that what is newest is certain."""
        self._made += 1
        return (_START + timedelta(milliseconds=self._made)).isoformat(timespec="milliseconds")[:-6] + "Z"


def _owner(request: web.Request) -> str:
    return request.headers["authorization"].partition(" ")[2]


def _path(request: web.Request) -> str:
    return request.raw_path.partition("?")[0]


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _text(message: dict[str, Json]) -> str:
    """The text of a message, under `content` or `message`."""
    text: str = message["content"] if "content" in message else message["message"]
    return text


def _is_title(title: Json) -> bool:
    return type(title) is str and bool(title.strip())


def _messages(messages: Json, name: str, *, least: int) -> str | None:
    """What is wrong with a list of messages."""
    if type(messages) is not list or len(messages) < least:
        return f"{name} must be a{' non-empty' if least else 'n'} array"
    for message in messages:
        if type(message) is not dict or message.get("role") not in ("user", "assistant", "system"):
            return f"{name}: a role that is not known"
        if message.keys() - _MESSAGE or type(message.get("content", message.get("message"))) is not str:
            return f"{name}: a content, and what belongs to a message"
    return None


def _proxied(request: web.Request) -> Proxied:
    """Whom a proxy path names. An address may be percent-encoded."""
    if found := _OPENAI_PATH.fullmatch(_path(request)):
        return Proxied(found[1] or unquote(found[2]), found[3] and unquote(found[3]))
    found = _GEMINI_PATH.fullmatch(_path(request))
    assert found is not None
    credential = request.headers.get("x-goog-api-key", request.query.get("key"))
    return Proxied(unquote(found[1]), credential, unquote(found[2]))


def _openai_call(body: dict[str, Json]) -> str | None:
    if type(body.get("model")) is not str or not body["model"]:
        return "model must be a non-empty string"
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        return "messages must be a non-empty array"
    for message in messages:
        if type(message) is not dict or message.get("role") not in _ROLES or type(message.get("content")) is not str:
            return "messages: role and content"
    return None


def _gemini_call(body: dict[str, Json]) -> str | None:
    contents = body.get("contents")
    if type(contents) is not list or not contents:
        return "contents: must be a non-empty array"
    for content in contents:
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is not list or not all(type(part) is dict and type(part.get("text")) is str for part in parts):
            return "contents: parts with a text"
    config = body.get("generationConfig", {})
    if type(config) is not dict:
        return "generationConfig: must be an object"
    for key, (least, most, whole) in _RANGES.items():
        if key in config and not is_number(config[key], least, most, whole=whole):
            return f"generationConfig.{key}: out of range"
    settings = body.get("safetySettings", [])
    if type(settings) is not list or not all(map(_is_setting, settings)):
        return "safetySettings: a category or threshold that is not known"
    return None


def _is_setting(setting: Json) -> bool:
    return type(setting) is dict and setting.get("category") in _CATEGORIES and setting.get("threshold") in _THRESHOLDS
