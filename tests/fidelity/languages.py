"""What the tests know of each wire language: its independent reader, its schemas, its official client, its traffic.

A language takes part as soon as `providers.dialects` has it; the others are passed over. Nothing here imports a codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from tests.corpus import definitions, schema

from . import read_anthropic, read_bedrock, read_chat, read_cohere, read_gemini, read_ollama, read_responses
from .neutral import Answer, Json, Request

Entry = tuple[str, str]


@dataclass(frozen=True)
class Language:
    """`models`: those that a request is tried with; their rules differ. The first is the usual one."""

    name: str
    reader: ModuleType
    request: Entry
    models: tuple[str, ...]
    whole: Entry | None = None  # only of languages that callers speak
    chunk: Entry | None = None
    error: Entry | None = None
    hello: Json = field(default_factory=dict)  # the smallest request
    said: str = "messages"  # the list of turns in a request

    def read_request(self, body: Json) -> Request:
        return self.reader.read_request(body)  # type: ignore[no-any-return]

    def read_answer(self, body: Json) -> Answer:
        return self.reader.read_answer(body)  # type: ignore[no-any-return]

    def read_stream(self, data: bytes) -> Answer:
        return self.reader.read_stream(data)  # type: ignore[no-any-return]


HI = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
LANGUAGES: dict[str, Language] = {
    one.name: one
    for one in (
        Language(
            "openai.chat",
            read_chat,
            ("openai.chat.request", "ChatCompletionRequest"),
            ("gpt-4.1",),
            ("openai.chat.response", "ChatCompletion"),
            ("openai.chat.response", "ChatCompletionChunk"),
            ("openai.chat.response", "ErrorResponse"),
            HI,
        ),
        Language(
            "gemini",
            read_gemini,
            ("gemini.v1beta.request", "GenerateContentRequest"),
            ("gemini-2.5-flash", "gemini-3-pro-preview"),
            ("gemini.v1beta.response", "GenerateContentResponse"),
            ("gemini.v1beta.response", "GenerateContentResponse"),
            ("gemini.v1beta.response", "GoogleErrorResponse"),
            {"contents": [{"parts": [{"text": "Hi"}]}]},
            "contents",
        ),
        Language(
            "anthropic.messages",
            read_anthropic,
            ("anthropic.messages.request", "MessagesRequest"),
            ("claude-sonnet-4-5", "claude-opus-5"),
            ("anthropic.messages.response", "Message"),
            ("anthropic.messages.response", "MessageStreamEvent"),
            ("anthropic.messages.response", "ErrorResponse"),
            {"max_tokens": 64, **HI},
        ),
        Language(
            "openai.responses",
            read_responses,
            ("openai.responses.request", "ResponsesRequest"),
            ("gpt-4.1", "gpt-5"),
            ("openai.responses.response", "Response"),
            ("openai.responses.response", "ResponseStreamEvent"),
            ("openai.chat.response", "ErrorResponse"),
            {"model": "m", "input": "Hi"},
            "input",
        ),
        Language(
            "bedrock.converse",
            read_bedrock,
            ("bedrock.converse.request", "ConverseRequest"),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0"),
        ),
        Language("cohere.chat", read_cohere, ("cohere.v2.request", "V2ChatRequest"), ("command-a-03-2025",)),
        Language(
            "ollama.chat",
            read_ollama,
            ("ollama.chat.request", "ChatRequest"),
            ("llama3.1",),
            ("ollama.chat.response", "ChatResponse"),
            ("ollama.chat.response", "ChatResponse"),
            None,  # an object with one text
            HI,
        ),
    )
}


# ── official clients ───────────────────────────────────────────────────────────────────


def _openai_chat() -> tuple[Any, Any]:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    return ChatCompletion.model_validate, ChatCompletionChunk.model_validate


def _openai_responses() -> tuple[Any, Any]:
    from openai.types.responses import Response, ResponseStreamEvent
    from pydantic import TypeAdapter

    return Response.model_validate, TypeAdapter(ResponseStreamEvent).validate_python


def _gemini() -> tuple[Any, Any]:
    from google.genai.types import GenerateContentResponse

    return GenerateContentResponse.model_validate, GenerateContentResponse.model_validate


def _anthropic() -> tuple[Any, Any]:
    from anthropic.types import Message, RawMessageStreamEvent
    from pydantic import TypeAdapter

    events = TypeAdapter(RawMessageStreamEvent)

    def event(body: Json) -> Any:  # a ping is no event of the client's own types
        return body if body == {"type": "ping"} else events.validate_python(body)

    return Message.model_validate, event


def _ollama() -> tuple[Any, Any]:
    from ollama import ChatResponse

    return ChatResponse.model_validate, ChatResponse.model_validate


_CLIENTS: dict[str, tuple[str, Callable[[], tuple[Any, Any]]]] = {
    "openai.chat": ("openai", _openai_chat),
    "openai.responses": ("openai", _openai_responses),
    "gemini": ("google.genai", _gemini),
    "anthropic.messages": ("anthropic", _anthropic),
    "ollama.chat": ("ollama", _ollama),
}


@cache
def official(name: str) -> tuple[Any, Any] | None:
    """(whole, chunk): what the types of the language's own client make of an answer; None where it is not installed."""
    package, load = _CLIENTS[name]
    try:
        present = find_spec(package) is not None
    except ModuleNotFoundError:
        present = False
    return load() if present else None


# ── does it fit? ───────────────────────────────────────────────────────────────────────

#: Texts and numbers that no schema looks into: chunks that differ in them alone fit alike.
_FREE = {
    *("text", "content", "delta", "arguments", "partial_json", "thinking", "signature", "data", "id", "call_id"),
    *("item_id", "name", "token", "obfuscation", "input", "refusal", "reasoning_content", "model", "responseId"),
    *("modelVersion", "thoughtSignature", "encrypted_content", "message"),
}


def _shape(value: Json, key: str = "") -> Json:
    if isinstance(value, dict):
        return tuple((name, _shape(item, name)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(_shape(item, key) for item in value)
    if isinstance(value, str):
        return "…" if key in _FREE and value else value
    return value if isinstance(value, bool | None) else type(value).__name__


_JUDGED: dict[tuple[str, str, Json], list[str]] = {}


@cache
def _entry(name: str, kind: str) -> Entry:
    """The definition of one kind of event, so that not every alternative of a union is tried."""
    entry = LANGUAGES[name].chunk
    assert entry is not None
    document = definitions(entry[0])["$defs"]
    union = document[entry[1]]
    for option in [*union.get("anyOf", ()), *union.get("oneOf", ())]:
        reference = option.get("$ref", "").rpartition("/")[2]
        wanted = document.get(reference, {}).get("properties", {}).get("type", {})
        if wanted.get("const") == kind or wanted.get("enum") == [kind]:
            return entry[0], reference
    return entry


def fits(body: Json, name: str, form: str) -> list[str]:
    """Is it what the schema of the language and its official client take? `form`: whole, chunk."""
    key = (name, form, _shape(body))
    if key not in _JUDGED:
        _JUDGED[key] = _judged(body, name, form)
    return _JUDGED[key]


def _typed(body: Json) -> Json:
    """OpenAI's types of chunks have no custom calls, which its own streams bring: read as the calls that they have."""
    body = json.loads(json.dumps(body))
    for choice in body.get("choices") or ():
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            if "custom" in call:
                custom = call.pop("custom")
                call["function"] = {"arguments" if key == "input" else key: item for key, item in custom.items()}
                call.update({"type": "function"} if "type" in call else {})
    return body


def _judged(body: Json, name: str, form: str) -> list[str]:
    if name == "openai.chat" and form == "chunk" and '"custom"' in json.dumps(body):
        body = _typed(body)
    language = LANGUAGES[name]
    entry = language.whole if form == "whole" else _entry(name, str(body.get("type")))
    assert entry is not None
    found = [f"schema: {error.json_path} {error.message[:160]}" for error in schema(*entry).iter_errors(body)]
    clients = official(name)
    if clients is not None:
        try:
            clients[0 if form == "whole" else 1](body)
        except ValueError as error:
            found.append(f"the official client: {str(error)[:200]}")
    return found


def request_fits(body: Json, name: str) -> list[str]:
    """What the request schema of a language has against a body."""
    return [
        f"schema: {error.json_path} {error.message[:120]}"
        for error in schema(*LANGUAGES[name].request).iter_errors(body)
    ]
