"""Sends a recorded call through the dialects as an exchange would, without sockets; knows what a recorded case is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import CallerError, RouterError
from providers.canonical.loss import Losses, blame, in_callers_words
from providers.canonical.stream import StreamEvent, check
from providers.dialect import Asked, Dialect, WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.upstream_only import UpstreamOnly
from tests.corpus import cases

from .languages import LANGUAGES, Language
from .meaning import Lost
from .neutral import Json

#: The dialects that chats are held in, and those of them that callers speak.
NAMES: dict[str, Dialect] = {name: one for name, one in DIALECTS.items() if name in LANGUAGES}
CALLERS = [name for name, one in NAMES.items() if not isinstance(one, UpstreamOnly)]
CHAT = NAMES["openai.chat"]
GEMINI = NAMES["gemini"]
OTHER = {"openai.chat": GEMINI, "gemini": CHAT}

Raw = dict[str, Json]


def _api(*names: str) -> Callable[[Raw], bool]:
    return lambda raw: raw["api"] in names


def _is_chat(raw: Raw) -> bool:
    return raw["api"] == "chat" and not _is_ollama(raw)


def _is_ollama(raw: Raw) -> bool:
    return str(raw["url_path"]).endswith("/api/chat")


#: What is recorded: name -> (language, file of tests/traffic, which of its cases).
SOURCES: dict[str, tuple[str, str, Callable[[Raw], bool]]] = {
    "openai-chat": ("openai.chat", "openai-chat", _is_chat),
    "openai-compatible": ("openai.chat", "openai-compatible", _is_chat),
    "groq": ("openai.chat", "groq", _is_chat),
    "mistral": ("openai.chat", "mistral", _is_chat),
    "gemini": ("gemini", "gemini", _api("generateContent", "streamGenerateContent")),
    "anthropic": ("anthropic.messages", "anthropic", _api("messages")),
    "openai-responses": ("openai.responses", "openai-responses", _api("responses")),
    "openai-compatible-responses": ("openai.responses", "openai-compatible-responses", _api("responses")),
    "bedrock": ("bedrock.converse", "bedrock", _api("converse", "converse-stream")),
    "cohere": ("cohere.chat", "cohere", _api("chat-v2")),
    "ollama": ("ollama.chat", "openai-compatible", _is_ollama),
}
#: Those whose language is there; and those of them that callers speak.
FILES = [file for file, (language, _, _) in SOURCES.items() if language in NAMES]
ASKED = [file for file in FILES if SOURCES[file][0] in CALLERS]


def targets(file: str, among: Sequence[str]) -> list[str]:
    """The other languages that a file's cases are translated to."""
    return [name for name in among if name != SOURCES[file][0]]


#: (file, dialect of the upstream) of every request, (file, dialect of the caller) of every answer.
REQUESTS = [(file, name) for file in ASKED for name in targets(file, list(NAMES))]
ANSWERS = [(file, name) for file in FILES for name in targets(file, CALLERS)]


@dataclass
class Case:
    """A recorded call."""

    file: str
    raw: dict[str, Json]

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def language(self) -> Language:
        return LANGUAGES[SOURCES[self.file][0]]

    @property
    def dialect(self) -> Dialect:
        return NAMES[self.language.name]

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
        if self.file != "gemini" and isinstance(body, dict) and not body.get("model"):  # Vertex's, too
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
        if "response_b64" in self.raw:
            return base64.b64decode(self.raw["response_b64"])
        if "response_body" in self.raw:
            return json.dumps(self.raw["response_body"], ensure_ascii=False).encode()
        text = next(
            (self.raw[key] for key in ("response_sse", "response_ndjson", "response_text") if key in self.raw), ""
        )
        return str(text).encode()

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in (self.raw.get("response_headers") or {}).items()}

    @property
    def wire(self) -> WireResponse:
        return WireResponse(status=self.status, headers=self.headers, body=self.answer)

    @property
    def streamed(self) -> bool:
        """Is the answer really a stream, and not a JSON body where one was asked for?"""
        forms = self.raw.keys() & {"response_sse", "response_b64", "response_ndjson"}
        return self.stream and bool(forms) and self.status == 200

    @property
    def whole(self) -> bool:
        return self.status == 200 and not self.streamed and isinstance(self.raw.get("response_body"), dict)

    @property
    def asked_headers(self) -> dict[str, str]:
        found = {name.lower(): value for name, value in (self.raw.get("request_headers") or {}).items()}
        return {name: value for name, value in found.items() if name in self.dialect.passes}

    def ask(self, body: Json = None) -> Asked:
        """The request, read as its caller's dialect reads it."""
        return ask(self.dialect, self.body if body is None else body, self.params, self.asked_headers)

    def heard(self) -> Any:
        """What the independent reader makes of the answer."""
        if self.streamed:
            return self.language.read_stream(self.answer)
        return self.language.read_answer(self.raw["response_body"])


@cache
def _recorded(file: str) -> list[Case]:
    _, traffic, is_one = SOURCES[file]
    return [Case(file, raw) for raw in cases(traffic) if is_one(raw)]


def recorded(file: str) -> Iterator[Case]:
    """The calls of a file that speak its dialect; the rest are embeddings, model lists, …"""
    return iter(_recorded(file))


# ── one way through ────────────────────────────────────────────────────────────────────


@dataclass
class Sent:
    """What became of a request: `body` of what goes upstream, or the error it was refused with."""

    body: Json = None
    losses: list[Lost] = field(default_factory=list)
    error: RouterError | None = None
    request: ChatRequest | None = None


def ask(
    dialect: Dialect, body: Json, params: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    params = params or ({"model": "gemini-2.5-flash", "task": "generateContent"} if dialect is GEMINI else {})
    query = {"alt": "sse"} if params.get("task") == "streamGenerateContent" else {}
    return dialect.read(WireRequest(path="/", query=query, headers=headers or {}, body=data), params)


def send(
    caller: Dialect,
    upstream: Dialect,
    body: Json,
    model: str,
    params: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Sent:
    """A caller's body in the upstream's dialect, with the losses in the caller's words."""
    losses: Losses = []
    try:
        request = caller.decode_request(ask(caller, body, params, headers))
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


@cache
def caller_of(dialect: Dialect, *, stream: bool = False, usage: bool = True) -> ChatRequest:
    """The request of a caller of this dialect, for encoding answers to it."""
    body = dict(LANGUAGES[dialect.name].hello)
    if dialect is GEMINI:
        task = "streamGenerateContent" if stream else "generateContent"
        return dialect.decode_request(ask(GEMINI, body, {"model": "m", "task": task}))
    options = {"stream_options": {"include_usage": True}} if dialect is CHAT and stream and usage else {}
    return dialect.decode_request(ask(dialect, {**body, "stream": stream, **options}))


def completed(response: ChatResponse) -> ChatResponse:
    """Id and time, as the gateway adds them where the upstream gave none."""
    made = response.created if response.created is not None else 1_760_000_000
    return msgspec.structs.replace(response, id=response.id or "req-1", created=made)


def lost(losses: Losses) -> list[Lost]:
    return [Lost(one.field, one.kind, one.reason) for one in losses]


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


def passed_on(
    caller: Dialect, upstream: Dialect, pieces: Sequence[bytes], losses: Losses | None = None
) -> tuple[bytes, RouterError | None]:
    """A stream from bytes to bytes; a fault is written in the caller's form, as the gateway does."""
    decoder: Any = upstream.stream_decoder()
    encoder: Any = caller.stream_encoder(caller_of(caller, stream=True), losses if losses is not None else [])
    out: list[bytes] = []
    try:
        for piece in pieces:
            out += map(encoder.feed, decoder.feed(piece))
        out += map(encoder.feed, decoder.close())
    except RouterError as error:
        return b"".join([*out, encoder.error(error)]), error
    return b"".join([*out, encoder.close()]), None
