"""The ways from an SDK through the gateway to an upstream, and what an upstream says and must have been told.

A `Way` is a lane (the upstream speaks the caller's dialect, or the other one) and an entry (a plain route with the
upstream's key in the configuration, or the upstream's URL in the path with the caller's own key for it). A `Voice` is
the upstream: its answers, in shapes that were recorded, and what it checks in every request.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tests import corpus
from tests.answers import chat_answer, chat_stream, gemini_answer, gemini_error, gemini_stream, openai_error
from tests.fakes import Answer, FakeUpstream, Received, json_answer, sse
from tests.running import Running, running

Json = Any

GATEWAY_KEY = "sk-isthmus-of-the-application"
ALIAS = "fast"  # what callers of the plain routes name; those of the proxy paths name the upstream's own model

TABLE = """
access:
  keys:
    - {name: app, hash: "sha256:$digest"}
providers:
  up: {base_url: "$base", speaks: [$speaks], auth: $auth, secret: "env:UP_KEY"}
models:
  fast: [{provider: up, model: $model}]
policies:
  default: {attempts: 1}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - path: /api/v1/proxy/{proxyUrl:url}/{OpenAIAPIKey:secret}/chat/completions
    speaks: openai.chat
    to: named
    egress: {listed: [up], unlisted: false}
  - path: /api/v1/proxy/{geminiUrl:url}/v1beta/models/{modelNameAndTask}
    speaks: gemini
    to: named
    egress: {listed: [up], unlisted: false}
"""


class Call(NamedTuple):
    """A call that the model makes, as its upstream names it."""

    id: str
    name: str
    arguments: Json
    signature: str | None = None

    @property
    def result(self) -> Json:
        """What every client of these tests answers the call with."""
        return {"result_of": self.name, **self.arguments}


class Usage(NamedTuple):
    """Token counts, all inclusive."""

    asked: int
    answered: int
    thought: int = 0
    cached: int = 0


FEW = Usage(9, 3)

# ── upstreams ──────────────────────────────────────────────────────────────────────────


class Voice(Protocol):
    """What an upstream of one dialect says and hears."""

    speaks: str
    schema: tuple[str, str]
    auth: str
    model: str
    configured_key: str
    own_key: str
    calls: Sequence[Call]

    def base(self, url: str) -> str: ...
    def text(self, text: str, usage: Usage = ...) -> Answer: ...
    def events(self, *texts: str, usage: Usage = ...) -> list[Json]: ...
    def begun(self, text: str) -> list[Json]: ...
    def cut_short(self, text: str) -> Answer: ...
    def thinking(self, thought: str, text: str, *, stream: bool = False) -> Answer: ...
    def refusing(self) -> Answer: ...
    def calling(self, *, stream: bool = False) -> Answer: ...
    def error(self, status: int, message: str, code: str | None = None) -> Json: ...
    def heard(self, request: Received, key: str) -> Json: ...
    def texts(self, body: Json) -> list[tuple[str, str]]: ...
    def check_results(self, body: Json, results: Sequence[Json] | None = None, *, ids: bool = True) -> None: ...


def _case(file: str, id: str) -> str:
    """The recorded stream of one case."""
    return next(str(case["response_sse"]) for case in corpus.cases(file) if case["id"] == id)


def _events(stream: str) -> list[Json]:
    datas = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    return [json.loads(data) for data in datas if data != "[DONE]"]


def valid(file: str, entry: str, value: Json) -> None:
    """Fails with where the schema finds the value wrong."""
    wrong = [f"{error.json_path}: {error.message[-200:]}" for error in corpus.schema(file, entry).iter_errors(value)]
    assert not wrong, wrong


class OpenAI:
    """An OpenAI upstream, as recorded with gpt-4o-mini calling two functions at once."""

    speaks = "openai.chat"
    schema = ("openai.chat.request", "ChatCompletionRequest")
    auth = "bearer"
    model = "gpt-4o-mini"
    configured_key = "sk-configured-of-the-gateway"
    own_key = "sk-own-of-the-caller"

    def __init__(self) -> None:
        self._recorded = _case("openai-chat", "bts-openai-chat-64ef283ddf")
        self._called = self._whole(_events(self._recorded))
        self.calls: Sequence[Call] = [
            Call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in self._called
        ]

    def _whole(self, chunks: list[Json]) -> list[Json]:
        calls: list[Json] = []
        for chunk in chunks:
            for delta in chunk["choices"][0]["delta"].get("tool_calls", []) if chunk["choices"] else []:
                if "id" in delta:
                    calls.append({"id": delta["id"], "type": "function", "function": dict(delta["function"])})
                else:
                    calls[-1]["function"]["arguments"] += delta["function"]["arguments"]
        return calls

    def base(self, url: str) -> str:
        return f"{url}/v1"

    def _usage(self, usage: Usage) -> Json:
        asked, answered, thought, cached = usage
        return {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
        }

    def text(self, text: str, usage: Usage = FEW) -> Answer:
        return json_answer(chat_answer(text, usage=None) | {"usage": self._usage(usage)})

    def events(self, *texts: str, usage: Usage = FEW) -> list[Json]:
        *said, done = chat_stream(*texts)
        return [*said, {**said[0], "choices": [], "usage": self._usage(usage)}, done]

    def begun(self, text: str) -> list[Json]:
        return self.events(text)[:2]

    def cut_short(self, text: str) -> Answer:
        return json_answer(chat_answer(text, finish="length"))

    def thinking(self, thought: str, text: str, *, stream: bool = False) -> Answer:
        """As DeepSeek and others say it; OpenAI's own chat does not tell its thoughts."""
        if stream:
            role, said, *rest = self.events(text)
            choice = {**said["choices"][0], "delta": {"reasoning_content": thought}}
            return sse(role, {**said, "choices": [choice]}, said, *rest)
        answer = chat_answer(text)
        answer["choices"][0]["message"]["reasoning_content"] = thought
        return json_answer(answer)

    def refusing(self) -> Answer:
        return json_answer(chat_answer(None, finish="content_filter"))

    def calling(self, *, stream: bool = False) -> Answer:
        if stream:
            return sse(self._recorded.replace("\r\n", "\n").encode())
        return json_answer(chat_answer(None, tool_calls=self._called, finish="tool_calls", usage=(94, 48)))

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        kind = {400: "invalid_request_error", 429: "requests"}.get(status, "server_error")
        return openai_error(message, kind, code)

    def heard(self, request: Received, key: str) -> Json:
        body = request.json()
        assert "/v1/chat/completions" == request.target
        assert f"Bearer {key}" == request.header("authorization")
        assert [] == request.all("x-goog-api-key")
        assert self.model == body["model"]
        return body

    def texts(self, body: Json) -> list[tuple[str, str]]:
        """Roles and texts in order."""
        return [(one["role"], _text_of(one["content"])) for one in body["messages"] if one.get("content")]

    def check_results(self, body: Json, results: Sequence[Json] | None = None, *, ids: bool = True) -> None:
        """The last two turns: the calls as we made them, and what the client answered them with."""
        *_, called, first, second = body["messages"]
        assert [(call.id, call.name, call.arguments) for call in self.calls] == [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in called["tool_calls"]
        ]
        assert [("tool", call.id) for call in self.calls] == [(o["role"], o["tool_call_id"]) for o in (first, second)]
        found = [json.loads(_text_of(one["content"])) for one in (first, second)]
        assert (results or [call.result for call in self.calls]) == found


def _text_of(content: Json) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


class Gemini:
    """A Gemini upstream, as recorded with gemini-3.5-flash calling one function twice: the first call is signed."""

    speaks = "gemini"
    schema = ("gemini.v1beta.request", "GenerateContentRequest")
    auth = "google_key"
    model = "gemini-3.5-flash"
    configured_key = "AIzaConfiguredOfTheGateway"
    own_key = "AIzaOwnOfTheCaller"

    def __init__(self) -> None:
        self._recorded = _case("gemini", "oin-gemini-streamgeneratecontent-f04b5d2b43")
        chunks = _events(self._recorded)
        self._parts = [part for chunk in chunks[:2] for part in chunk["candidates"][0]["content"]["parts"]]
        self._last = chunks[-1]
        self.calls: Sequence[Call] = [
            Call(call["id"], call["name"], call["args"], part.get("thoughtSignature"))
            for part in self._parts
            if (call := part["functionCall"])
        ]
        assert [True, False] == [call.signature is not None for call in self.calls]

    def base(self, url: str) -> str:
        return url

    def _usage(self, usage: Usage) -> Json:
        asked, answered, thought, cached = usage
        counts = {
            "promptTokenCount": asked,
            "candidatesTokenCount": answered - thought,
            "totalTokenCount": asked + answered,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked}],
        }
        counts |= {"thoughtsTokenCount": thought} if thought else {}
        return counts | ({"cachedContentTokenCount": cached} if cached else {})

    def text(self, text: str, usage: Usage = FEW) -> Answer:
        return json_answer(gemini_answer(text, model=self.model, usageMetadata=self._usage(usage)))

    def events(self, *texts: str, usage: Usage = FEW) -> list[Json]:
        *said, last = gemini_stream(*texts)
        return [*said, {**last, "usageMetadata": self._usage(usage)}]

    def begun(self, text: str) -> list[Json]:
        return self.events(text, "")[:1]

    def cut_short(self, text: str) -> Answer:
        return json_answer(gemini_answer(text, finish="MAX_TOKENS"))

    def thinking(self, thought: str, text: str, *, stream: bool = False) -> Answer:
        part = {"text": thought, "thought": True}
        if stream:
            return sse(gemini_answer(None, parts=[part], finish=None), *self.events(text))
        return json_answer(gemini_answer(None, parts=[part, {"text": text}]))

    def refusing(self) -> Answer:
        counts = {"promptTokenCount": 9, "totalTokenCount": 9}
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        return json_answer({"promptFeedback": feedback, "usageMetadata": counts, "modelVersion": self.model})

    def calling(self, *, stream: bool = False) -> Answer:
        if stream:
            return sse(self._recorded.encode())
        candidate = {**self._last["candidates"][0], "content": {"role": "model", "parts": self._parts}}
        return json_answer({**self._last, "candidates": [candidate]})

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        names |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
        return gemini_error(status, message, names[status])

    def heard(self, request: Received, key: str) -> Json:
        body = _camel(request.json())
        task = r"(v1|v1alpha|v1beta)/models/([^/:]+):(generateContent|streamGenerateContent\?alt=sse)"
        found = re.fullmatch(f"/{task}", request.target)
        assert found is not None, request.target
        assert self.model == found[2]
        assert key == request.header("x-goog-api-key")
        assert [] == request.all("authorization")
        return body

    def texts(self, body: Json) -> list[tuple[str, str]]:
        """Roles and texts in order, in OpenAI's words."""
        system = body.get("systemInstruction")
        contents = [{**system, "role": "system"}] if system else []
        named = {"model": "assistant"}
        return [
            (named.get(one["role"], one["role"]), "".join(part.get("text", "") for part in one["parts"]))
            for one in [*contents, *body["contents"]]
        ]

    def check_results(self, body: Json, results: Sequence[Json] | None = None, *, ids: bool = True) -> None:
        """The last two turns: the calls as we made them, and what the client answered them with."""
        *_, called, answered = body["contents"]
        parts = [part for part in called["parts"] if "functionCall" in part]
        assert [(call.id, call.name, call.arguments) for call in self.calls] == [
            (part["functionCall"].get("id"), part["functionCall"]["name"], part["functionCall"]["args"])
            for part in parts
        ]
        signatures = [_bytes(part.get("thoughtSignature")) for part in parts]
        assert [_bytes(call.signature) for call in self.calls] == signatures
        found = [part["functionResponse"] for part in answered["parts"]]
        assert [call.name for call in self.calls] == [one["name"] for one in found]
        assert [call.id if ids else None for call in self.calls] == [one.get("id") for one in found]
        assert (results or [call.result for call in self.calls]) == [one["response"] for one in found]
        assert ("model", "user") == (called["role"], answered["role"])


_GIVEN = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}  # names in there are not the protocol's


def _camel(value: Json) -> Json:
    """With the names that answers use: Python's SDKs write inner names with underscores, and Google reads both."""
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    renamed = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in _GIVEN else _camel(inner) for name, inner in renamed.items()}


def _bytes(signature: str | None) -> bytes | None:
    """Proto3 JSON reads both alphabets of base64, and the SDKs write both."""
    return None if signature is None else base64.urlsafe_b64decode(signature.replace("+", "-").replace("/", "_"))


VOICES: dict[str, Callable[[], Voice]] = {"openai.chat": OpenAI, "gemini": Gemini}
OTHER = {"openai.chat": "gemini", "gemini": "openai.chat"}


# ── ways ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Way:
    """From a caller of `dialect` through a `lane` ("relay", "translate") and an `entry` ("plain", "proxy")."""

    dialect: str
    lane: str
    entry: str

    def __str__(self) -> str:
        return f"{self.lane}-{self.entry}"

    @property
    def upstream(self) -> str:
        return self.dialect if self.lane == "relay" else OTHER[self.dialect]


def ways(dialect: str) -> list[Way]:
    return [Way(dialect, lane, entry) for lane in ("relay", "translate") for entry in ("plain", "proxy")]


class Place:
    """One gateway before one upstream, as a client of one dialect sees it."""

    def __init__(self, way: Way, gateway: Running, upstream: FakeUpstream, voice: Voice) -> None:
        self.way = way
        self.gateway = gateway
        self.upstream = upstream
        self.voice = voice
        self.named = way.entry == "proxy"
        self.model = voice.model if self.named else ALIAS
        self.upstream_key = voice.own_key if self.named else voice.configured_key

    def door(self, *, api_version: str | None = None) -> Json:
        """What an SDK is constructed with. The gateway's own credential is GATEWAY_KEY in either dialect."""
        base = self.voice.base(self.upstream.url)
        if self.way.dialect == "openai.chat":
            path = f"/api/v1/proxy/{base}/{self.voice.own_key}" if self.named else "/v1"
            return {"base_url": self.gateway.url + path, "api_key": GATEWAY_KEY}
        door: dict[str, Json] = {"base_url": self.gateway.url, "api_key": GATEWAY_KEY, "api_version": api_version}
        if self.named:
            door |= {
                "base_url": f"{self.gateway.url}/api/v1/proxy/{base}",
                "api_key": self.voice.own_key,
                "headers": {"Authorization": f"Bearer {GATEWAY_KEY}"},
            }
        return door

    def stream(self, *texts: str, usage: Usage = FEW) -> Answer:
        """The upstream's stream of these texts."""
        return sse(*self.voice.events(*texts, usage=usage))

    def heard(self, turn: int = -1, *, sdks_own: bool = False) -> Json:
        """The body of a request as the upstream got it, after all that must hold of every request was checked.

        `sdks_own`: the SDK itself sends what its vendor does not document, and the relay does not touch it.
        """
        request = self.upstream.requests[turn]
        sent = [request.target, request.body.decode(), *(f"{name}: {value}" for name, value in request.headers)]
        assert "POST" == request.method
        assert not any(GATEWAY_KEY in text for text in sent), sent
        body = self.voice.heard(request, self.upstream_key)
        if not (sdks_own and self.way.lane == "relay"):
            valid(*self.voice.schema, body)
        return body

    async def losses(self) -> list[str]:
        """The fields that the last exchange could not carry."""
        line = (await self.gateway.lines())[-1]
        assert self.way.lane == line["lane"]
        return [loss["field"] for loss in line.get("losses", [])]


@contextlib.asynccontextmanager
async def place(way: Way) -> AsyncIterator[Place]:
    """Starts both. Nothing that was said may hold a key; every line of the upstream's script must have been used."""
    voice: Voice = VOICES[way.upstream]()
    digest = hashlib.sha256(GATEWAY_KEY.encode()).hexdigest()
    environ = {"UP_KEY": voice.configured_key}
    async with FakeUpstream() as upstream:
        names = {"digest": digest, "base": voice.base(upstream.url), "speaks": voice.speaks}
        async with running(TABLE, environ, auth=voice.auth, model=voice.model, **names) as gateway:
            yield Place(way, gateway, upstream, voice)
            await asyncio.sleep(0.01)  # the log's writer is a thread
            log = gateway._log.read_text()
            assert not [key for key in (GATEWAY_KEY, voice.own_key, voice.configured_key) if key in log]
        assert 0 == upstream.unused
