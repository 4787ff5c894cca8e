"""Walks every field of both request schemas: each must arrive, be named as a loss, or be refused by its name.

For each field two requests are sent that differ in it alone. A field that makes no difference to what goes upstream,
and that is named nowhere, has silently vanished.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from providers.dialect import Dialect
from tests.corpus import definitions

from .meaning import below
from .neutral import Json
from .through import CHAT, GEMINI, NAMES, Sent, send

RESPONSES = NAMES["openai.responses"]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
Build = Callable[[Json], Json]


class Field(NamedTuple):
    path: str  # where it stands in the body
    body: Json
    other: Json  # the same without it, or with another value where it must be there


# ── what a value of a type looks like ──────────────────────────────────────────────────

#: The least that makes sense, by the name of the definition.
LEAST: dict[str, dict[str, Json]] = {
    "openai.chat.request": {
        "ImageURL": {"url": f"data:image/png;base64,{PNG}"},
        "InputAudio": {"data": "UklGRg==", "format": "wav"},
        "FileFile": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
        "FunctionDefinition": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
        "completion_create_params_Function": {"name": "look"},
        "chat_completion_message_function_tool_call_param_Function": {"name": "look", "arguments": '{"a":"b"}'},
        "FunctionCall": {"name": "look", "arguments": '{"a":"b"}'},
        "JSONSchema": {"name": "wanted", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "chat_completion_named_tool_choice_param_Function": {"name": "look"},
        "ChatCompletionAllowedToolsParam": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "look"}}],
        },
    },
    "gemini.v1beta.request": {
        "Part": {"text": "Hello."},
        "Content": {"role": "user", "parts": [{"text": "Hello."}]},
        "FunctionDeclaration": {
            "name": "look",
            "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
        "Blob": {"mimeType": "image/png", "data": PNG},
        "FileData": {"mimeType": "image/png", "fileUri": "https://files.example/a.png"},
        "FunctionCall": {"name": "look", "args": {"a": "b"}},
        "FunctionResponse": {"name": "look", "response": {"output": "seen"}},
        "FunctionResponsePart": {"inlineData": {"mimeType": "image/png", "data": PNG}},
        "FunctionResponseBlob": {"mimeType": "image/png", "data": PNG},
        "FunctionResponseFileData": {"mimeType": "image/png", "fileUri": "https://files.example/a.png"},
        "Schema": {"type": "STRING"},
        "SafetySetting": {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
        "GeminiGenerationConfig": {},
        "Tool": {"functionDeclarations": [{"name": "look"}]},
    },
}
#: Values for fields whose type alone does not say what makes sense, and another value of each.
VALUES: dict[str, tuple[Json, Json]] = {
    "temperature": (0.5, 0.25),
    "top_p": (0.5, 0.25),
    "topP": (0.5, 0.25),
    "n": (2, 3),
    "candidateCount": (2, 3),
    "logprobs": (True, False),
    "responseMimeType": ("application/json", "text/x.enum"),
    "parameters": (
        {"type": "object", "properties": {"b": {"type": "integer"}}},
        {"type": "object", "properties": {"c": {"type": "integer"}}},
    ),
    "parametersJsonSchema": ({"type": "object", "properties": {"b": {"type": "integer"}}}, {"type": "object"}),
    "responseJsonSchema": ({"type": "object", "properties": {"b": {"type": "integer"}}}, {"type": "object"}),
    "responseModalities": (["IMAGE"], ["AUDIO"]),
    "thinkingLevel": ("LOW", "HIGH"),
    "mode": ("ANY", "NONE"),
    "tool_call_id": ("call_1", "call_2"),
    "arguments": ('{"a":"b"}', '{"a":"c"}'),
    "args": ({"a": "b"}, {"a": "c"}),
    "file_data": ("data:application/pdf;base64,JVBERi0=", "data:application/pdf;base64,JVBERi0x"),
    "data": (PNG, "AAAA"),
    "thoughtSignature": ("c2lnbmVk", "b3RoZXI="),
    "url": ("https://files.example/a.png", "https://files.example/b.png"),
    "fileUri": ("https://files.example/a.png", "https://files.example/b.png"),
    "mimeType": ("image/png", "image/webp"),
    "format": ("wav", "mp3"),
    "role": ("user", "model"),
    "detail": ("high", "low"),
    "name": ("look", "see"),
}
CHAT_MODES = {"mode": ("required", "auto")}


class Walk:
    """All fields of a schema, with a request around each."""

    def __init__(self, file: str, start: str) -> None:
        self.defs: dict[str, Json] = definitions(file)["$defs"]
        self.least = LEAST[file]
        self.chat = file.startswith("openai")
        self.start = start

    def fields(self, node: Json, path: str, build: Build, seen: tuple[str, ...] = ()) -> Iterator[Field]:
        """Of an object: each property, then what is inside it."""
        node, name = self.resolved(node)
        if name in seen or not node.get("properties"):
            return
        inside = (*seen, name) if name else seen
        base = self.value(node, name)
        for key, schema in node["properties"].items():
            at = f"{path}.{key}" if path else key
            for choice in self.choices(schema):
                yield from self.field(choice, key, at, base, build, inside, key in node.get("required", ()))

    def field(
        self, choice: Json, key: str, at: str, base: Json, build: Build, seen: tuple[str, ...], required: bool
    ) -> Iterator[Field]:
        value, another = self.two(choice, key)
        rest = self.alone({name: item for name, item in base.items() if name != key}, key)
        with_it = build({**rest, key: value})
        without = build({**rest, key: another} if required else rest)
        yield Field(at, with_it, without)
        inner, _ = self.resolved(choice)
        if inner.get("type") == "array":
            for item in self.choices(inner["items"]):
                yield from self.fields(item, f"{at}[0]", lambda v: build({**rest, key: [v]}), seen)
        else:
            yield from self.fields(choice, at, lambda v: build({**rest, key: v}), seen)

    def alone(self, rest: Json, key: str) -> Json:
        """What may not stand beside a field: two kinds of data in a part, two schemas in a function."""
        groups = [
            {
                "text",
                "inlineData",
                "fileData",
                "functionCall",
                "functionResponse",
                "executableCode",
                "codeExecutionResult",
                "toolCall",
                "toolResponse",
            },
            {"parameters", "parametersJsonSchema"},
            {"file_data", "file_id"},
            {"data", "url"},
        ]
        out = {name: item for name, item in rest.items() if not any(key in group and name in group for group in groups)}
        if key in ("videoMetadata", "mediaResolution"):
            out = {"inlineData": {"mimeType": "image/png", "data": PNG}}
        if key in ("responseSchema", "responseJsonSchema") and "name" not in out:
            out["responseMimeType"] = "application/json"
        return out

    def resolved(self, node: Json) -> tuple[Json, str]:
        name = ""
        while "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            node = self.defs[name]
        return node, name

    def choices(self, node: Json) -> list[Json]:
        """The alternatives of a union that say something."""
        resolved, _ = self.resolved(node)
        if "anyOf" not in resolved:
            return [] if resolved.get("type") == "null" else [node]
        return [one for member in resolved["anyOf"] for one in self.choices(member)]

    def two(self, node: Json, key: str) -> tuple[Json, Json]:
        """A value, and another one."""
        resolved, name = self.resolved(node)
        if "const" in resolved:
            return resolved["const"], resolved["const"]
        if self.chat and key in CHAT_MODES:
            return CHAT_MODES[key]
        if key in VALUES and isinstance(VALUES[key][0], _PYTHON.get(resolved.get("type", ""), object)):
            return VALUES[key]
        value = self.value(resolved, name)
        if "enum" in resolved:
            words = [word for word in resolved["enum"] if not str(word).endswith("UNSPECIFIED")]
            return words[0], words[-1]
        if isinstance(value, str):
            return f"{value} {key}", f"other {key}"
        if isinstance(value, bool):
            return True, False
        if isinstance(value, int | float):
            return value, value + 1
        return value, [] if isinstance(value, list) else {}

    def value(self, node: Json, name: str = "") -> Json:
        if name in self.least:
            return copy.deepcopy(self.least[name])
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return next(word for word in node["enum"] if not str(word).endswith("UNSPECIFIED"))
        if "anyOf" in node or "$ref" in node:
            inner, inner_name = self.resolved(self.choices(node)[0])
            return self.value(inner, inner_name)
        kind = node.get("type")
        if kind == "object" or "properties" in node:
            more = node.get("additionalProperties")
            if isinstance(more, dict) and not node.get("properties"):
                return {"50256": self.value(*self.resolved(more))}
            keys = node.get("required") or list(node.get("properties", ()))[:1]
            return {
                key: self.two(self.choices(node["properties"][key])[0], key)[0]
                for key in keys
                if key in node.get("properties", ())
            }
        if kind == "array":
            item = self.choices(node["items"])[0]
            return [self.value(*self.resolved(item))]
        return {"string": "some", "integer": 3, "number": 1.5, "boolean": True}.get(str(kind), "some")


_PYTHON: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
HI: Json = {"role": "user", "content": "Hi"}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SECOND: Json = {"id": "call_2", "type": "function", "function": {"name": "see", "arguments": "{}"}}
TOOL: Json = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
}


def chat_fields() -> Iterator[Field]:
    walk = Walk("openai.chat.request", "ChatCompletionRequest")
    for kind in ("CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"):
        node = dict(walk.defs[kind])
        node["properties"] = {key: value for key, value in node["properties"].items() if key != "messages"}
        streaming = {"stream": True} if kind.endswith("Params" + "Streaming") else {}
        walk.least[kind] = {"model": "m"}
        yield from walk.fields({**node}, "", lambda v, streaming=streaming: _chat({**streaming, **v}))
    for message in walk.choices(walk.defs["CompletionCreateParamsNonStreaming"]["properties"]["messages"]["items"]):
        _, name = walk.resolved(message)
        before: list[Json] = [HI]
        if name == "ChatCompletionToolMessageParam":
            before.append({"role": "assistant", "content": None, "tool_calls": [CALL]})
            walk.least[name] = {"role": "tool", "tool_call_id": "call_1", "content": "seen"}
        elif name == "ChatCompletionFunctionMessageParam":
            before.append({"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}})
            walk.least[name] = {"role": "function", "name": "look", "content": "seen"}
        elif name == "ChatCompletionAssistantMessageParam":
            walk.least[name] = {"role": "assistant", "content": "Well."}
        yield from walk.fields(
            message, f"messages[{len(before)}]", lambda v, before=before: {"model": "m", "messages": [*before, v]}
        )


def _chat(rest: Json) -> Json:
    """A chat request around some fields: a tool to choose where one is chosen."""
    body = {"model": "m", "messages": [HI], **rest}
    if "tool_choice" in rest or "parallel_tool_calls" in rest:
        body["tools"] = [TOOL]
    if "function_call" in rest:
        body["functions"] = [{"name": "look"}]
    if "top_logprobs" in rest:
        body["logprobs"] = True
    if "audio" in rest:
        body["modalities"] = ["text", "audio"]
    return body


def gemini_fields() -> Iterator[Field]:
    walk = Walk("gemini.v1beta.request", "GenerateContentRequest")
    hello: Json = {"role": "user", "parts": [{"text": "Hi"}]}
    node = walk.defs["GenerateContentRequest"]
    rest = {key: value for key, value in node["properties"].items() if key != "contents"}
    walk.least["GenerateContentRequest"] = {}
    yield from walk.fields({"properties": rest}, "", lambda v: _gemini({"contents": [hello], **v}))
    called: Json = {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]}
    for role, before in (("user", [hello]), ("model", [hello]), ("user", [hello, called])):
        walk.least["Content"] = {"role": role, "parts": [{"text": "Hello."}]}
        at = f"contents[{len(before)}]"
        for field in walk.fields({"$ref": "#/$defs/Content"}, at, lambda v, before=before: {"contents": [*before, v]}):
            if ("functionResponse" in field.path) == (called in before):
                yield field
    walk.least["Content"] = {"parts": [{"text": "Hello."}]}


def _gemini(body: Json) -> Json:
    if "toolConfig" in body:
        body = {**body, "tools": [{"functionDeclarations": [{"name": "look"}, {"name": "some allowedFunctionNames"}]}]}
    config = body.get("generationConfig") or {}
    if "logprobs" in config:
        body = {**body, "generationConfig": {**config, "responseLogprobs": True}}
    return body


# ── the rule ───────────────────────────────────────────────────────────────────────────

#: Fields that may make no difference, and why.
SAY_NOTHING: list[tuple[str, str]] = [
    (r"model", "the route chooses the upstream's model; Gemini's path names it, the body need not"),
    (r"stream", "decides how the answer comes, and the path that is called; tested with streams"),
    (r"stream_options(\..*)?", "about the caller's own stream: usage is always asked for, nothing is padded"),
    (
        r"response_format\.json_schema\.(name|strict)",
        "a label; a target that constrains its answers is always as strict",
    ),
    (r"(response_format|tools\[0\]|tool_choice|messages.*)\.type", "the kind of its neighbour"),
    (r"messages\[\d\]\.role", "which kind of message it is: the others are walked on their own"),
    (r"response_format", "text, its default"),
    (
        r"messages.*\.tool_calls\[0\]\.id|messages.*\.tool_call_id",
        "pairs a result with its call: Gemini pairs by name and order",
    ),
    (r"contents.*\.(functionCall|functionResponse)\.id", "pairs a result with its call"),
    (r".*\.prompt_cache_breakpoint\.(mode|ttl)", "part of a mark that is named as a whole"),
    (r"systemInstruction\.role", "ignored by the service"),
    (r"contents\[\d\]\.role", "user, its default"),
    (r"generationConfig", "empty"),
    (r".*\.propertyOrdering", "carried as the order of the properties that are there"),
    (r"(n|modalities|parallel_tool_calls|store|logprobs|tool_choice|service_tier)", "its default"),
]


def outcome(field: Field, caller: Dialect, upstream: Dialect, model: str) -> str:
    """carried, named, refused, or why it is nothing of these."""
    sent = send(caller, upstream, field.body, model)
    if sent.error is not None:
        param = sent.error.param or ""
        kind = field.path.removesuffix(".type")  # a kind that is refused is named with what it is
        whole = param.rpartition(".")[0]  # a part that is refused is named by what is in it
        named = below(param, kind) or below(field.path, param) or below(field.path, whole)
        return (
            "refused"
            if sent.error.status in (400, 422) and named
            else f"refused for {param or 'nothing'}: {sent.error.message}"
        )
    without = send(caller, upstream, field.other, model)
    if any(below(field.path, loss.field) or below(loss.field, field.path) for loss in sent.losses):
        return "named"
    if without.error is not None or _text(sent) != _text(without):
        return "carried"
    if any(re.fullmatch(pattern, field.path) for pattern, _ in SAY_NOTHING):
        return "says nothing"
    return f"vanished: losses {[loss.field for loss in sent.losses]}"


def _text(sent: Sent) -> str:
    return json.dumps(sent.body)


WALKS: list[tuple[str, Callable[[], Iterator[Field]], Dialect, Dialect, str, int]] = [
    ("chat to 2.5", chat_fields, CHAT, GEMINI, "gemini-2.5-flash", 150),
    ("chat to 3", chat_fields, CHAT, GEMINI, "gemini-3-pro-preview", 150),
    ("gemini to chat", gemini_fields, GEMINI, CHAT, "gpt-4.1", 300),
    ("chat to responses", chat_fields, CHAT, RESPONSES, "gpt-5", 150),
    ("gemini to responses", gemini_fields, GEMINI, RESPONSES, "gpt-5", 300),
]


@pytest.mark.parametrize(
    ("walk", "caller", "upstream", "model", "least"), [one[1:] for one in WALKS], ids=[one[0] for one in WALKS]
)
def test_no_field_vanishes(
    walk: Callable[[], Iterator[Field]], caller: Dialect, upstream: Dialect, model: str, least: int
) -> None:
    """Every field of a request schema is carried, named as a loss, refused by name, or listed as saying nothing."""
    found: dict[str, str] = {}
    count = 0
    for field in walk():
        count += 1
        what = outcome(field, caller, upstream, model)
        if what not in ("carried", "named", "refused", "says nothing"):
            found[field.path] = what

    assert {} == found
    assert count > least


def test_the_walk_finds_what_is_deep() -> None:
    """Fields of unions, lists and nested objects are walked, too."""
    chat, gemini = {field.path for field in chat_fields()}, {field.path for field in gemini_fields()}

    assert {
        "messages[1].content[0].image_url.detail",
        "tools[0].function.strict",
        "prediction.content",
        "audio.voice",
    } <= chat
    assert {
        "generationConfig.thinkingConfig.includeThoughts",
        "contents[1].parts[0].videoMetadata.startOffset",
    } <= gemini
    assert {"tools[0].functionDeclarations[0].parameters.nullable", "toolConfig.retrievalConfig.languageCode"} <= gemini


def test_a_field_that_vanishes_is_found() -> None:
    """The rule itself: a field that no dialect looks at fails it."""
    body = {"model": "m", "messages": [HI]}

    assert outcome(Field("user", {**body, "user": None}, body), CHAT, GEMINI, "gemini-2.5-flash").startswith("vanished")
