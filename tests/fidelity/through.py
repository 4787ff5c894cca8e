"""Sends a recorded call through the dialects as an exchange would, without sockets; knows what a recorded case is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import CallerError, RouterError
from providers.canonical.loss import Losses, blame, in_callers_words
from providers.canonical.stream import StreamEvent, check
from providers.dialect import Asked, Dialect, WireRequest, WireResponse
from providers.dialects.gemini import Gemini
from providers.dialects.openai_chat import OpenAIChat
from tests.corpus import cases

from .meaning import Lost
from .neutral import Json

CHAT: Dialect = OpenAIChat()
GEMINI: Dialect = Gemini()
NAMES = {"openai.chat": CHAT, "gemini": GEMINI}
OTHER = {"openai.chat": GEMINI, "gemini": CHAT}
#: The models that each direction is tried with: those whose rules differ.
MODELS = {"gemini": ("gemini-2.5-flash", "gemini-3-pro-preview"), "openai.chat": ("gpt-4.1",)}

_CHAT_FILES = ("openai-chat", "openai-compatible")
_TASKS = ("generateContent", "streamGenerateContent")


@dataclass
class Case:
    """A recorded call."""

    file: str
    raw: dict[str, Json]

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def dialect(self) -> Dialect:
        return GEMINI if self.file == "gemini" else CHAT

    @property
    def stream(self) -> bool:
        return bool(self.raw["stream"])

    @property
    def status(self) -> int:
        return int(self.raw["status"])

    @property
    def body(self) -> Json:
        """As it was sent; Azure's callers name the model in the path, ours in the body."""
        body = self.raw["request_body"]
        if self.file != "gemini" and isinstance(body, dict) and not body.get("model"):
            return {"model": "deployment", **{key: value for key, value in body.items() if key != "model"}}
        return body

    @property
    def params(self) -> dict[str, str]:
        if self.file != "gemini":
            return {}
        model, _, task = self.raw["url_path"].partition("?")[0].rpartition("/")[2].rpartition(":")
        return {"model": model, "task": task}

    @property
    def answer(self) -> bytes:
        """The bytes of the answer."""
        if "response_sse" in self.raw:
            return str(self.raw["response_sse"]).encode()
        if "response_body" in self.raw:
            return json.dumps(self.raw["response_body"], ensure_ascii=False).encode()
        return str(self.raw.get("response_text", "")).encode()

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in (self.raw.get("response_headers") or {}).items()}

    @property
    def wire(self) -> WireResponse:
        return WireResponse(status=self.status, headers=self.headers, body=self.answer)

    @property
    def streamed(self) -> bool:
        """Is the answer really a stream, and not a JSON body where one was asked for?"""
        return self.stream and "response_sse" in self.raw and self.status == 200

    @property
    def whole(self) -> bool:
        return self.status == 200 and not self.streamed and isinstance(self.raw.get("response_body"), dict)

    def ask(self, body: Json = None) -> Asked:
        """The request, read as its caller's dialect reads it."""
        return ask(self.dialect, self.body if body is None else body, self.params)


def recorded(file: str) -> Iterator[Case]:
    """The calls of a file that speak its dialect; `others` counts the rest (embeddings, model lists, …)."""
    for raw in cases(file):
        if (file == "gemini" and raw["api"] in _TASKS) or (file != "gemini" and raw["api"] == "chat" and _is_chat(raw)):
            yield Case(file, raw)


def _is_chat(raw: dict[str, Json]) -> bool:
    return not str(raw["url_path"]).endswith("/api/chat")  # Ollama's own language


FILES = (*_CHAT_FILES, "groq", "mistral", "gemini")


# ── one way through ────────────────────────────────────────────────────────────────────


@dataclass
class Sent:
    """What became of a request: `body` of what goes upstream, or the error it was refused with."""

    body: Json = None
    losses: list[Lost] = field(default_factory=list)
    error: RouterError | None = None
    request: ChatRequest | None = None


def ask(dialect: Dialect, body: Json, params: dict[str, str] | None = None) -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    params = params or ({"model": "gemini-2.5-flash", "task": "generateContent"} if dialect is GEMINI else {})
    query = {"alt": "sse"} if params.get("task") == "streamGenerateContent" else {}
    return dialect.read(WireRequest(path="/", query=query, body=data), params)


def send(caller: Dialect, upstream: Dialect, body: Json, model: str, params: dict[str, str] | None = None) -> Sent:
    """A caller's body in the upstream's dialect, with the losses in the caller's words."""
    losses: Losses = []
    try:
        request = caller.decode_request(ask(caller, body, params))
    except RouterError as error:
        return Sent(error=error)
    request = msgspec.structs.replace(request, model=model)
    try:
        wire = upstream.encode_request(request, losses)
    except CallerError as error:
        blame(error, request, caller.paths)
        return Sent(error=error)
    return Sent(json.loads(wire.body), named(losses, request, caller), request=request)


def named(losses: Losses, request: ChatRequest, caller: Dialect) -> list[Lost]:
    return [Lost(one.field, one.kind, one.reason) for one in in_callers_words(losses, request, caller.paths)]


def caller_of(dialect: Dialect, *, stream: bool = False, usage: bool = True) -> ChatRequest:
    """The request of a caller of this dialect, for encoding answers to it."""
    if dialect is GEMINI:
        task = "streamGenerateContent" if stream else "generateContent"
        asked = ask(GEMINI, {"contents": [{"parts": [{"text": "Hi"}]}]}, {"model": "m", "task": task})
    else:
        options = {"stream_options": {"include_usage": True}} if stream and usage else {}
        asked = ask(CHAT, {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **options})
    return dialect.decode_request(asked)


def completed(response: ChatResponse) -> ChatResponse:
    """Id and time, as the gateway adds them where the upstream gave none."""
    made = response.created if response.created is not None else 1_760_000_000
    return msgspec.structs.replace(response, id=response.id or "req-1", created=made)


def tell(upstream: Dialect, caller: Dialect, wire: WireResponse, losses: Losses | None = None) -> bytes:
    """A whole answer of the upstream as the caller gets it."""
    response = completed(upstream.decode_response(wire))
    return caller.encode_response(response, caller_of(caller), losses if losses is not None else []).body


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)] or [b""]


def decoded(upstream: Dialect, pieces: Sequence[bytes]) -> list[StreamEvent]:
    """The events of a stream, in legal order. Raises what the decoder raises."""
    decoder = upstream.stream_decoder()
    out: list[StreamEvent] = []
    for piece in pieces:
        out += decoder.feed(piece)
    out += decoder.close()
    return check(out)


def written(caller: Dialect, found: Sequence[StreamEvent], losses: Losses | None = None) -> bytes:
    """The stream that a caller gets."""
    encoder: Any = caller.stream_encoder(caller_of(caller, stream=True), losses if losses is not None else [])
    return b"".join([*map(encoder.feed, found), encoder.close()])


def passed_on(caller: Dialect, upstream: Dialect, pieces: Sequence[bytes]) -> tuple[bytes, RouterError | None]:
    """A stream from bytes to bytes; a fault is written in the caller's form, as the gateway does."""
    decoder: Any = upstream.stream_decoder()
    encoder: Any = caller.stream_encoder(caller_of(caller, stream=True), [])
    out: list[bytes] = []
    try:
        for piece in pieces:
            out += map(encoder.feed, decoder.feed(piece))
        out += map(encoder.feed, decoder.close())
    except RouterError as error:
        return b"".join([*out, encoder.error(error)]), error
    return b"".join([*out, encoder.close()]), None
