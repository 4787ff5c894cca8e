"""What the built-in demo upstream says: a canonical answer made from the request alone. Simulated, and says so.

It lets every feature be tried without a key: it repeats what was said, calls the first tool that it is offered with
arguments that fit, reports what a tool returned, fills a JSON schema, describes media, thinks when asked to, and
stops where it is told. The same request always has the same answer. No I/O.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Media,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from providers.canonical.count import CHARACTERS_PER_TOKEN, estimate, estimate_inputs
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, EmbeddingsResponse, Vector, shared
from providers.canonical.errors import MalformedRequest
from providers.canonical.stream import ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta, unfold

MODEL = "isthmus-demo"
INTRODUCTION = "This is Isthmus's built-in demo upstream."
MOST_ECHOED = 400  # characters
MOST_CHOICES = 128
DIMENSIONS = 64  # of a vector, where the caller does not say
MOST_NUMBERS = 1_000_000  # in all vectors of an answer
_DEEPEST = 6  # below that only what a schema requires is filled in
_MOST_VALUES = 500

_TASK = re.compile(r"/v1(?:alpha|beta)?/(?:models|tunedModels)/(?P<model>[^:]+(?::[^:]+)*):(?P<task>\w+)")
_FIXED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "/chat/completions": ("openai.chat", {}),
    "/responses": ("openai.responses", {}),
    "/embeddings": ("openai.embeddings", {}),
    "/v1/messages": ("anthropic.messages", {"task": "messages"}),
    "/v1/messages/count_tokens": ("anthropic.messages", {"task": "count_tokens"}),
}
_PIECES = re.compile(r"\S+\s*|\s+")


def spoken_at(path: str) -> tuple[str, dict[str, str]] | None:
    """Which dialect is spoken at a path, and the parameters in it; None where nothing is."""
    if task := _FIXED.get(path):
        return task[0], dict(task[1])
    if path.startswith("/api/"):
        return "ollama.chat", {"task": path.removeprefix("/api/")}
    if found := _TASK.fullmatch(path):
        return "gemini", {"model": unquote(found["model"]), "task": found["task"]}
    return None


def answer(request: ChatRequest, body: bytes, created: int) -> ChatResponse:
    """The answer to `request`; `body`, its bytes, gives the ids, `created` is in Unix seconds."""
    digest = hashlib.sha256(body).hexdigest()[:24]
    count = min(max(request.n or 1, 1), MOST_CHOICES)
    choices = tuple(_choice(request, index, digest) for index in range(count))
    spoken = sum(_weight(part) for choice in choices for part in choice.parts)
    thought = sum(_weight(part) for choice in choices for part in choice.parts if isinstance(part, Reasoning))
    given = estimate(request).total_tokens
    usage = Usage(input_tokens=given, output_tokens=spoken, total_tokens=given + spoken, reasoning_tokens=thought)
    return ChatResponse(id=f"demo-{digest}", model=MODEL, created=created, choices=choices, usage=usage)


def events(response: ChatResponse) -> Iterator[StreamEvent]:
    """The answer as a stream that comes word by word."""
    for event in unfold(response):
        if isinstance(event, TextDelta | ReasoningDelta):
            for piece in _PIECES.findall(event.text) or [""]:
                yield msgspec.structs.replace(event, text=piece)
        elif isinstance(event, ToolCallDelta):
            for start in range(0, len(event.arguments), 12):
                yield msgspec.structs.replace(event, arguments=event.arguments[start : start + 12])
        else:
            yield event


# ── embeddings ─────────────────────────────────────────────────────────────────────────


def vectors(request: EmbeddingsRequest) -> EmbeddingsResponse:
    """Vectors of length 1 made from the words of each input: the more words two inputs share, the closer they are."""
    size = shared(request, "dimensions") or DIMENSIONS
    if size * len(request.inputs) > MOST_NUMBERS:
        message = f"the demo upstream gives at most {MOST_NUMBERS} numbers at once"
        raise MalformedRequest(message, param="dimensions")
    given = estimate_inputs(request)
    return EmbeddingsResponse(
        model=MODEL,
        vectors=tuple(Vector(floats=_embedded(each, size)) for each in request.inputs),
        usage=Usage(input_tokens=given, total_tokens=given),
    )


def _embedded(each: EmbeddingInput, size: int) -> list[float]:
    """Every word adds to one place, chosen by its hash, with a sign. As exact as 32 bits are."""
    sums = [0.0] * size
    for word in _words_of(each) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
        sums[int.from_bytes(digest[:8], "big") % size] += 1.0 if digest[8] & 1 else -1.0
    length = math.hypot(*sums) or 1.0
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *[value / length for value in sums])))


def _words_of(each: EmbeddingInput) -> list[str]:
    words = [str(token) for token in each.tokens or ()]
    for part in each.parts:
        if isinstance(part, Text):
            words += re.findall(r"\w+", part.text.lower())
        else:
            words.append(part.base64 or part.url or part.file_id or "")
    return words


# ── one choice ─────────────────────────────────────────────────────────────────────────


def _choice(request: ChatRequest, index: int, digest: str) -> Choice:
    said = _last_text(request)
    thinking: tuple[AnyPart, ...] = ()
    if _thinks(request):
        thinking = (Reasoning(text=f"Simulated reasoning: what was said is {said[:60]!r}. I repeat it."),)
    tool = _tool_to_call(request)
    if tool is not None:
        call = ToolCall(
            id=f"call_{digest[:16]}{index}", name=tool.name, kind=tool.kind, arguments=_arguments(tool, said)
        )
        return Choice(index=index, parts=(*thinking, call), finish=Finish(reason="tool_calls"))
    text, finish = _limited(_words(request, said, index), request, sum(_weight(part) for part in thinking))
    return Choice(index=index, parts=(*thinking, Text(text=text)), finish=finish)


def _thinks(request: ChatRequest) -> bool:
    wanted = request.reasoning
    return wanted is not None and wanted.effort != "none" and wanted.budget != 0


def _tool_to_call(request: ChatRequest) -> Tool | None:
    """The tool that the caller names, else the first; none after a result, or where none may be called."""
    choice = request.tool_choice
    if (choice is not None and choice.mode == "none") or _results(request):
        return None
    names = choice.names if choice is not None else ()
    offered = [tool for tool in request.tools if isinstance(tool, Tool)]
    return next((tool for tool in offered if not names or tool.name in names), None)


def _arguments(tool: Tool, said: str) -> str:
    if tool.kind == "custom":
        return said
    return msgspec.json.encode(example(tool.parameters or {"type": "object"}, said)).decode()


def _words(request: ChatRequest, said: str, index: int) -> str:
    wanted = request.response_format
    if wanted is not None and wanted.kind == "json_schema" and wanted.schema is not None:
        return msgspec.json.encode(example(wanted.schema, said)).decode()
    if wanted is not None and wanted.kind != "text":
        return msgspec.json.encode({"demo": True, "you_said": said}).decode()
    sentences = [INTRODUCTION]
    if results := _results(request):
        sentences += [f"The tool {_name(request, r)} returned: {_short(_text(r.parts))}" for r in results]
    else:
        sentences += [_described(part) for part in _last(request).parts if isinstance(part, Media)]
        sentences += [f"You said: {said}"] if said else ["You said nothing."]
    if index:
        sentences.append(f"(choice {index + 1})")
    return " ".join(sentences)


def _limited(text: str, request: ChatRequest, used: int) -> tuple[str, Finish]:
    """The text as far as stop sequences and the limit on tokens let it go."""
    at, sequence = min(((text.find(s), s) for s in request.stop if s and s in text), default=(len(text), None))
    if request.max_output_tokens is not None:
        room = max(request.max_output_tokens - used, 0) * CHARACTERS_PER_TOKEN
        if room < at:
            return text[:room], Finish(reason="length")
    return text[:at], Finish(reason="stop", stop_sequence=sequence)


def _last(request: ChatRequest) -> Message:
    """The last message of the user, else the last of all."""
    users = [message for message in request.messages if message.role == "user"]
    return (users or request.messages)[-1]


def _last_text(request: ChatRequest) -> str:
    return _short(_text(_last(request).parts)) if request.messages else ""


def _results(request: ChatRequest) -> list[ToolResult]:
    """The results that the last turn brings."""
    parts: list[AnyPart] = []
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        parts = [*message.parts, *parts]
    return [part for part in parts if isinstance(part, ToolResult)]


def _name(request: ChatRequest, result: ToolResult) -> str:
    calls = (part for message in request.messages for part in message.parts if isinstance(part, ToolCall))
    return result.name or next((call.name for call in calls if call.id == result.call_id), result.call_id)


def _text(parts: tuple[Any, ...]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, Text)).strip()


def _short(text: str) -> str:
    return text if len(text) <= MOST_ECHOED else text[: MOST_ECHOED - 1] + "…"


def _described(media: Media) -> str:
    kind = media.mime_type or "unknown type"
    size = f", {len(media.base64.rstrip('=')) * 3 // 4} bytes" if media.base64 is not None else ""
    return f"I received one {media.kind} ({kind}{size})."


def _weight(part: AnyPart) -> int:
    """About how many tokens a part of the answer is."""
    text = part.arguments + part.name if isinstance(part, ToolCall) else getattr(part, "text", "")
    return -(-len(text) // CHARACTERS_PER_TOKEN)


# ── a value for a schema ───────────────────────────────────────────────────────────────

_FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any, text: str) -> Any:
    """A value that fits a JSON Schema, strings made from `text`. Patterns and rare keywords are not followed."""
    try:
        return _Maker(schema, text).value(schema, 0)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
        return text  # a schema that is none


class _Maker:
    """Fills in one schema. Deep down, and once there are many values, only what is required is made."""

    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text
        self._left = _MOST_VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > 4 * _DEEPEST:
            return None
        if not isinstance(schema, Mapping):
            return self._text
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if schema.get("enum"):
            return schema["enum"][0]
        if isinstance(schema.get("$ref"), str):
            return self.value(_resolved(schema["$ref"], self._root), depth + 1)
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            # Deep inside the last is taken: in recursive schemas that is the end (null).
            return self.value(alternatives[-1 if depth > _DEEPEST else 0], depth + 1)
        if len(schema.get("allOf") or ()) == 1:
            return self.value(schema["allOf"][0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        match _type(schema):
            case "object":
                properties = schema.get("properties") or {}
                names = (schema.get("required") or ()) if depth > _DEEPEST else properties
                return {name: self.value(properties.get(name, {}), depth + 1) for name in names}
            case "array":
                wanted = schema.get("minItems", 0 if depth > _DEEPEST else 1)
                count = min(wanted, schema.get("maxItems", wanted), _MOST_VALUES)
                fixed = list(schema.get("prefixItems") or ())
                items = fixed + [schema.get("items", {})] * max(count - len(fixed), 0)
                return [self.value(item, depth + 1) for item in items]
            case "integer" | "number" as kind:
                return _number(schema, kind)
            case "string":
                return _string(schema, self._text)
            case kind:
                return True if kind == "boolean" else None


def _resolved(ref: str, root: Any) -> Any:
    found = root
    for step in ref.removeprefix("#").strip("/").split("/"):
        if step and isinstance(found, Mapping):
            found = found.get(unquote(step).replace("~1", "/").replace("~0", "~"), {})
    return found


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _number(schema: Mapping[str, Any], kind: str) -> Any:
    """The least that is allowed, or the most, or 1."""
    step = schema.get("multipleOf", 1 if kind == "integer" else 0.5)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    value = -(-low // step) * step if low is not None else min(step, high // step * step) if high is not None else step
    return int(value) if kind == "integer" else value


def _string(schema: Mapping[str, Any], text: str) -> str:
    if found := _FORMATS.get(str(schema.get("format"))):
        return found
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 80))
    value = (text or "demo")[:most]
    return value + "." * min(least - len(value), 10_000)
