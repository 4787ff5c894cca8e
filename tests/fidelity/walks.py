"""Every field of the request schemas that callers speak: for each, two requests that differ in it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.corpus import definitions

from .neutral import Json

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
OTHER_SCHEMA: Json = {"type": "object", "properties": {"b": {"type": "integer"}}}
FILE: Json = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
UNKNOWN = "unheard"
Build = Callable[[Json], Json]


class Field(NamedTuple):
    """`other` is the same body without it, `another` with another value: where it must be there the two are one."""

    path: str  # where it stands in the body
    body: Json
    other: Json
    another: Json = None
    value: Json = None


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
    "anthropic.messages.request": {
        "TextBlockParam": {"type": "text", "text": "Hello."},
        "Base64ImageSourceParam": {"type": "base64", "media_type": "image/png", "data": PNG},
        "Base64PDFSourceParam": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        "URLImageSourceParam": {"type": "url", "url": "https://files.example/a.png"},
        "URLPDFSourceParam": {"type": "url", "url": "https://files.example/a.pdf"},
        "PlainTextSourceParam": {"type": "text", "media_type": "text/plain", "data": "Some."},
        "ToolParam": {"name": "look", "input_schema": SCHEMA},
        "ToolUseBlockParam": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": "b"}},
        "ToolResultBlockParam": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"},
        "JSONOutputFormatParam": {"type": "json_schema", "schema": SCHEMA},
    },
    "openai.responses.request": {
        "EasyInputMessageParam": {"role": "user", "content": "Hello."},
        "ResponseInputImageParam": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        "ResponseInputImageContentParam": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        "ResponseInputFileParam": {"type": "input_file", **FILE},
        "ResponseInputFileContentParam": {"type": "input_file", **FILE},
        "FunctionToolParam": {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False},
        "ResponseFunctionToolCallParam": {"type": "function_call", "call_id": "call_1", "name": "look"}
        | {"arguments": '{"a":"b"}'},
        "FunctionCallOutput": {"type": "function_call_output", "call_id": "call_1", "output": "seen"},
        "ResponseCustomToolCallParam": {"type": "custom_tool_call", "call_id": "call_1", "name": "look", "input": "x"},
        "ResponseCustomToolCallOutputParam": {"type": "custom_tool_call_output", "call_id": "call_1", "output": "seen"},
        "ResponseFormatTextJSONSchemaConfigParam": {"type": "json_schema", "name": "wanted", "schema": SCHEMA},
        "ToolChoiceAllowedParam": {"type": "allowed_tools", "mode": "auto"}
        | {"tools": [{"type": "function", "name": "look"}]},
        "ResponseReasoningItemParam": {"type": "reasoning", "id": "rs_1", "summary": []}
        | {"content": [{"type": "reasoning_text", "text": "Hm."}]},
    },
    "ollama.chat.request": {
        "Image": PNG,
        "Tool": {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
        "Tool_Function": {"name": "look", "parameters": SCHEMA},
        "Parameters": SCHEMA,
        "Property": {"type": "string"},
        "ToolCall": {"function": {"name": "look", "arguments": {"a": "b"}}},
        "ToolCall_Function": {"name": "look", "arguments": {"a": "b"}},
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
#: The same, where a language means something else by the name.
OWN_VALUES: dict[str, dict[str, tuple[Json, Json]]] = {
    "openai.chat.request": {"mode": ("required", "auto")},
    "gemini.v1beta.request": {"id": ("call_1", "call_2")},
    "anthropic.messages.request": {
        "budget_tokens": (1024, 9000),
        "max_tokens": (20000, 30000),
        "tool_use_id": ("toolu_1", "toolu_2"),
        "input_schema": (SCHEMA, OTHER_SCHEMA),
        "schema": (SCHEMA, OTHER_SCHEMA),
        "input": ({"a": "b"}, {"a": "c"}),
        "media_type": ("image/png", "image/webp"),
    },
    "openai.responses.request": {
        "mode": ("required", "auto"),
        "call_id": ("call_1", "call_2"),
        "schema": (SCHEMA, OTHER_SCHEMA),
        "role": ("user", "system"),
        "image_url": ("https://files.example/a.png", "https://files.example/b.png"),
        "file_url": ("https://files.example/a.pdf", "https://files.example/b.pdf"),
        "top_logprobs": (3, 4),
        "output_schema": (SCHEMA, OTHER_SCHEMA),
    },
    "ollama.chat.request": {
        "think": ("high", "low"),
        "format": (SCHEMA, OTHER_SCHEMA),
        "$defs": ({"d": {"type": "string"}}, {"d": {"type": "integer"}}),
        "items": ({"type": "string"}, {"type": "integer"}),
        "arguments": ({"a": "b"}, {"a": "c"}),
        "role": ("user", "system"),
        "tool_name": ("look", "see"),
        "temperature": (0.5, 0.25),
    },
}
#: What may not stand beside each other: two kinds of data in a part, two schemas in a function.
APART: list[set[str]] = [
    {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
    | {"executableCode", "codeExecutionResult", "toolCall", "toolResponse"},
    {"parameters", "parametersJsonSchema"},
    {"file_data", "file_id", "file_url"},
    {"image_url", "file_id"},
    {"data", "url"},
]


class Walk:
    """All fields of a schema, with a request around each."""

    def __init__(self, file: str) -> None:
        self.defs: dict[str, Json] = dict(definitions(file)["$defs"])
        self.least = dict(LEAST[file])
        self.values = {**VALUES, **OWN_VALUES.get(file, {})}

    def fields(self, node: Json, path: str, build: Build, seen: tuple[str, ...] = ()) -> Iterator[Field]:
        """Of an object: each property, then what is inside it."""
        node, name = self.resolved(node)
        if name in seen or not node.get("properties"):
            return
        inside = (*seen, name) if name else seen
        base = self.value(node, name)
        yield from self.unknown(base, path, build)
        for key, schema in node["properties"].items():
            at = f"{path}.{key}" if path else key
            for choice in self.choices(schema):
                yield from self.field(choice, key, at, base, build, inside, key in node.get("required", ()))

    def field(
        self, choice: Json, key: str, at: str, base: Json, build: Build, seen: tuple[str, ...], required: bool
    ) -> Iterator[Field]:
        rest = self.alone({name: item for name, item in base.items() if name != key}, key)
        yield from self.here(choice, key, at, rest, build, required)
        if not self.opens(key):
            return
        inner, _ = self.resolved(choice)
        if inner.get("type") == "array":
            for item in self.choices(inner["items"]):
                yield from self.fields(item, f"{at}[0]", lambda v: build({**rest, key: [v]}), seen)
        else:
            yield from self.fields(choice, at, lambda v: build({**rest, key: v}), seen)

    def unknown(self, base: Json, path: str, build: Build) -> Iterator[Field]:
        """A key that no schema has, in every object."""
        yield Field(f"{path}.{UNKNOWN}" if path else UNKNOWN, build({**base, UNKNOWN: "x"}), build(base))

    def opens(self, key: str) -> bool:
        """Is what is inside walked, too?"""
        return True

    def here(self, choice: Json, key: str, at: str, rest: Json, build: Build, required: bool) -> Iterator[Field]:
        """The field with each value that it may have; not one that must be there and has no other."""
        value, another = self.two(choice, key)
        bodies = [(one, build({**rest, key: one})) for one in [value, another, *self.words(choice, value, another)]]
        for place, (one, body) in enumerate(bodies):
            changed = bodies[place - 1][1]
            without = changed if required else build(rest)
            if without != body and (place != 1 or another not in ({}, [])):
                yield Field(at, body, without, changed, one)

    def alone(self, rest: Json, key: str) -> Json:
        """What may stand beside a field."""
        out = {name: item for name, item in rest.items() if not any(key in group and name in group for group in APART)}
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
        if key in self.values and isinstance(self.values[key][0], _PYTHON.get(resolved.get("type", ""), object)):
            return self.values[key]
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

    def words(self, node: Json, *known: Json) -> list[Json]:
        """The other words of an enumeration; of very long ones, which name models, the first."""
        words = self.resolved(node)[0].get("enum", ())[:12]
        return [word for word in words if word not in known and not str(word).endswith("UNSPECIFIED")]

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


#: What makes no sense without tools, and is walked with some.
CHOICES = ("tool_choice", "parallel_tool_calls", "toolConfig")


def without(node: Json, *names: str) -> Json:
    """An object without some of its properties, of which only the model must be there."""
    rest = {key: value for key, value in node["properties"].items() if key not in names}
    return {"properties": rest, "required": ["model"] if "model" in rest else ["stream"]}


def apart(node: Json, tools: Json, functions: Json | None = None) -> Iterator[tuple[Json, Json]]:
    """(fields, what stands beside each): those that choose among tools with the tools."""
    found = node["properties"]
    yield without(node, *CHOICES, *(("function_call",) if functions else ())), {}
    yield {"properties": {key: found[key] for key in CHOICES if key in found}, "required": ["model"]}, tools
    if functions:
        yield {"properties": {"function_call": found["function_call"]}, "required": ["model"]}, functions


def chat_fields() -> Iterator[Field]:
    walk = Walk("openai.chat.request")
    for kind in ("CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"):
        node = without(walk.defs[kind], "messages")
        streaming = {"stream": True} if kind == "CompletionCreateParamsStreaming" else {}
        for names, more in apart(node, {"tools": [TOOL]}, {"functions": [TOOL["function"]]}):
            least = {"model": "m", "messages": [HI], **streaming, **more}
            yield from walk.fields(names, "", lambda v, least=least: _chat({**least, **v}))
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


def _chat(body: Json) -> Json:
    if "top_logprobs" in body:
        body["logprobs"] = True
    if "audio" in body:
        body["modalities"] = ["text", "audio"]
    return body


def gemini_fields() -> Iterator[Field]:
    walk = Walk("gemini.v1beta.request")
    walk.defs["Arguments"], walk.least["Arguments"] = walk.defs["Schema"], {"type": "OBJECT"}
    function = walk.defs["FunctionDeclaration"]
    properties = {**function["properties"], "parameters": {"$ref": "#/$defs/Arguments"}}
    walk.defs["FunctionDeclaration"] = {**function, "properties": properties}
    hello: Json = {"role": "user", "parts": [{"text": "Hi"}]}
    node = walk.defs["GenerateContentRequest"]
    look: Json = {
        "tools": [{"functionDeclarations": [{"name": name} for name in ("look", "some allowedFunctionNames")]}]
    }
    for names, more in apart(without(node, "contents"), look):
        yield from walk.fields(names, "", lambda v, more=more: _gemini({"contents": [hello], **more, **v}))
    said: Json = {"parts": [{"text": "Hi"}]}
    yield Field(f"contents[0].{UNKNOWN}", {"contents": [{**said, UNKNOWN: "x"}]}, {"contents": [said]})
    called: Json = {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "look", "args": {}}}]}
    for role, before in (("user", [hello]), ("model", [hello]), ("user", [hello, called])):
        walk.least["Content"] = {"role": role, "parts": [{"text": "Hello."}]}
        at = f"contents[{len(before)}]"
        for field in walk.fields({"$ref": "#/$defs/Content"}, at, lambda v, before=before: _content(before, v)):
            if ("functionResponse" in field.path) == (called in before):
                yield field
    walk.least["Content"] = {"parts": [{"text": "Hello."}]}


def _content(before: list[Json], content: Json) -> Json:
    """Contents with this one, and what must stand around it."""
    if content.get("role") != "model":
        return {"contents": [*before, content]}
    calls = [part["functionCall"] for part in content.get("parts") or () if part.get("functionCall")]
    results = [{**call, "response": {"output": "seen"}} for call in calls]
    after = [{"functionResponse": {key: one[key] for key in one if key != "args"}} for one in results]
    return {"contents": [*before, content, {"role": "user", "parts": after or [{"text": "So?"}]}]}


def _gemini(body: Json) -> Json:
    config = body.get("generationConfig") or {}
    if "logprobs" in config:
        body = {**body, "generationConfig": {**config, "responseLogprobs": True}}
    return body


# ── Anthropic ──────────────────────────────────────────────────────────────────────────

#: Blocks of the user's; the others are the model's. Those of answers alone have no Param in their names.
OF_USERS = ("TextBlock", "ImageBlock", "DocumentBlock", "SearchResultBlock", "ToolResultBlock", "ContainerUploadBlock")
CLAUDE_HI: Json = {"model": "m", "max_tokens": 50, "messages": [HI]}


def anthropic_fields() -> Iterator[Field]:
    """Top level first, then messages of each role with every block that may stand in them."""
    walk = Walk("anthropic.messages.request")
    look: Json = {"tools": [{"name": name, "input_schema": SCHEMA} for name in ("look", "see")]}
    for names, more in apart(without(walk.defs["MessageCreateParamsNonStreaming"], "messages"), look):
        yield from walk.fields(names, "", lambda v, more=more: {**CLAUDE_HI, **more, **v})
    for role, definition in (("user", "UserMessageParam"), ("assistant", "AssistantMessageParam")):
        yield from walk.fields(
            {"properties": {"role": {"const": role}, "content": {"type": "string"}}, "required": ["role"]},
            "messages[1]",
            lambda v, role=role: {**CLAUDE_HI, "messages": [HI, {"role": role, "content": "Well.", **v}, HI]},
        )
        blocks = next(
            one for one in walk.choices(walk.defs[definition]["properties"]["content"]) if one.get("type") == "array"
        )
        for block in walk.choices(blocks["items"]):
            name = walk.resolved(block)[1]
            if not name.endswith("Param") or (role == "user") != (name.removesuffix("Param") in OF_USERS):
                continue
            before = [HI, CALLED] if name == "ToolResultBlockParam" else [HI]
            at = f"messages[{len(before)}].content[0]"
            yield from walk.fields(block, at, lambda v, before=before, role=role: _block(before, role, v))


CALLED: Json = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": "b"}}],
}


def _block(before: list[Json], role: str, block: Json) -> Json:
    """A message with this block, and what must stand around it."""
    after: list[Json] = [{"role": "user", "content": "So?"}] if role == "assistant" else []
    if block.get("type") == "tool_use":
        after = [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.get("id"), "content": "seen"}]}
        ]
    said = {"role": role, "content": [block, {"type": "text", "text": "x"}]}
    return {**CLAUDE_HI, "messages": [*before, said, *after]}


# ── Responses ──────────────────────────────────────────────────────────────────────────


def responses_fields() -> Iterator[Field]:
    """Top level first, then every item of the input."""
    walk = Walk("openai.responses.request")
    for kind in ("ResponseCreateParamsNonStreaming", "ResponseCreateParamsStreaming"):
        streaming = {"stream": True} if kind == "ResponseCreateParamsStreaming" else {}
        for names, more in apart(without(walk.defs[kind], "input"), {"tools": [walk.least["FunctionToolParam"]]}):
            least = {"model": "m", "input": "Hi", **streaming, **more}
            yield from walk.fields(names, "", lambda v, least=least: {**least, **v})
    _, items = walk.choices(walk.defs["ResponseCreateParamsNonStreaming"]["properties"]["input"])
    yield Field("input", {"model": "m", "input": "Hi"}, {"model": "m", "input": "Ho"})
    for item in walk.choices(items["items"]):
        name = walk.resolved(item)[1]
        before = [HI, *BEFORE.get(name, [])]
        yield from walk.fields(item, f"input[{len(before)}]", lambda v, before=before: _item(before, v))


MAKES: Json = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
WRITES: Json = {"type": "custom_tool_call", "call_id": "call_1", "name": "look", "input": "x"}
BEFORE: dict[str, list[Json]] = {"FunctionCallOutput": [MAKES], "ResponseCustomToolCallOutputParam": [WRITES]}


def _item(before: list[Json], item: Json) -> Json:
    """An input with this item, and what must stand around it."""
    after: list[Json] = [HI]
    if item.get("type") in ("function_call", "custom_tool_call"):
        after = [{"type": f"{item['type']}_output", "call_id": item.get("call_id"), "output": "seen"}]
    return {"model": "m", "input": [*before, item, *after]}


# ── Ollama ─────────────────────────────────────────────────────────────────────────────


def ollama_fields() -> Iterator[Field]:
    """Top level first, then messages of each role."""
    walk = Walk("ollama.chat.request")
    walk.defs["Image"] = {"type": "string"}  # the client's type; on the wire it is plain base64
    yield from walk.fields(without(walk.defs["ChatRequest"], "messages"), "", _ollama)
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
    message = walk.defs["Message"]["properties"]
    for role, before, keys in (
        ("user", [HI], ("role", "content", "images")),
        ("system", [], ("role", "content")),
        ("assistant", [HI], ("role", "content", "thinking", "images", "tool_calls")),
        ("tool", [HI, call], ("role", "content", "tool_name", "images")),
    ):
        properties = {key: {"const": role} if key == "role" else message[key] for key in keys}
        yield from walk.fields(
            {"properties": properties, "required": ["role"]},
            f"messages[{len(before)}]",
            lambda v, role=role, before=before: _said(before, {"role": role, "content": "Well.", **v}),
        )


def _said(before: list[Json], message: Json) -> Json:
    after: list[Json] = [{"role": "user", "content": "So?"}]
    if message.get("tool_calls"):
        after = [{"role": "tool", "tool_name": "look", "content": "seen"}]
    return {"model": "m", "stream": False, "messages": [*before, message, *after]}


def _ollama(rest: Json) -> Json:
    body = {"model": "m", "stream": False, "messages": [HI], **rest}
    if "top_logprobs" in rest:
        body["logprobs"] = True
    return body


#: Of each language that callers speak.
FIELDS: dict[str, Callable[[], Iterator[Field]]] = {
    "openai.chat": chat_fields,
    "openai.responses": responses_fields,
    "anthropic.messages": anthropic_fields,
    "gemini": gemini_fields,
    "ollama.chat": ollama_fields,
}
