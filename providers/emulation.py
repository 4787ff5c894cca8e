"""JSON answers and tools for upstreams that have neither: asked for in words, and understood from words.

Pure, between canonical values: `instructed` turns a request into one that any model can read, `understood` its answer
back into what was asked for. It is never the real thing, so whatever is emulated is declared as `approximated`.

A call is a JSON object `{"tool_calls": [{"name": …, "arguments": {…}}]}` instead of an answer; calls and results of
earlier turns are written in the same form.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Message,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from providers.canonical.loss import Losses, approximated, dropped
from providers.dialect import Traits
from providers.wire.json import encode

Json: TypeAlias = Any
Emulated: TypeAlias = Literal["json_schema", "tools"]

#: Fields of a row's `rejects` or `ignores` that say that an upstream has no such thing.
_SAID_BY = {
    "json_schema": frozenset({"response_format", "output_config", "format", "generationConfig.responseJsonSchema"}),
    "tools": frozenset({"tools"}),
}
_CALLS = "tool_calls"
_OPENINGS = "{["


def needed(request: ChatRequest, allowed: frozenset[Emulated], traits: Traits) -> frozenset[Emulated]:
    """What of the request its target lacks, and may be emulated."""
    lacks = traits.rejects | traits.ignores
    return frozenset(what for what in allowed if _SAID_BY[what] & lacks and _is_asked(request, what))


def _is_asked(request: ChatRequest, what: Emulated) -> bool:
    if what == "json_schema":
        return request.response_format is not None and request.response_format.kind != "text"
    return bool(request.tools) or any(
        isinstance(part, ToolCall | ToolResult) for message in request.messages for part in message.parts
    )


# ── requests ───────────────────────────────────────────────────────────────────────────


def instructed(request: ChatRequest, what: frozenset[Emulated], losses: Losses) -> ChatRequest:
    """The request in words. What is no function stays among the tools: that cannot be emulated."""
    words: list[str] = []
    changes: dict[str, Any] = {}
    messages = request.messages
    if "tools" in what:
        functions = [tool for tool in request.tools if isinstance(tool, Tool) and tool.kind == "function"]
        words += _about_tools(request, functions)
        messages = tuple(_in_words(message) for message in messages)
        changes |= {"tools": tuple(tool for tool in request.tools if tool not in functions)}
        changes |= {"tool_choice": None, "parallel_tool_calls": None}
        losses.append(approximated("tools", "the target has no tools: asked for in words"))
        if request.parallel_tool_calls is False and functions:
            losses.append(dropped("parallel_tool_calls", "the target has no tools of its own"))
    wish = request.response_format
    if "json_schema" in what and wish is not None:
        words.append(_about_format(wish))
        changes["response_format"] = None
        losses.append(approximated(wish.at or "response_format", "the target has no JSON mode: asked for in words"))
    changes["messages"] = _with_system(messages, "\n\n".join(words)) if words else messages
    return msgspec.structs.replace(request, **changes)


def _about_format(wish: ResponseFormat) -> str:
    if wish.schema is None:
        return "Answer with one JSON object and nothing else: no explanation, no Markdown."
    schema = encode(dict(wish.schema)).decode()
    return f"Answer with JSON that fits this JSON Schema and nothing else: no explanation, no Markdown.\n{schema}"


def _about_tools(request: ChatRequest, functions: Sequence[Tool]) -> list[str]:
    choice = request.tool_choice
    if not functions or (choice is not None and choice.mode == "none"):
        return []
    if choice is not None and choice.names:
        functions = [tool for tool in functions if tool.name in choice.names]
    rows = "\n".join(encode(_described(tool)).decode() for tool in functions)
    must = choice is not None and choice.mode == "required"
    when = "You must call at least one of them now" if must else "To call some of them"
    form = '{"tool_calls": [{"name": "NAME", "arguments": {}}]}'
    return [
        f"You have these tools, one a line:\n{rows}\n{when}: answer with nothing but JSON of this form: {form}. "
        "`arguments` fits the tool's parameters. The results come in the next message."
        + ("" if must else " Else answer as usual.")
    ]


def _described(tool: Tool) -> dict[str, Json]:
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {key: value for key, value in said.items() if value is not None}


def _in_words(message: Message) -> Message:
    """A turn with its calls and results as text."""
    if not any(isinstance(part, ToolCall | ToolResult) for part in message.parts):
        return message
    parts: list[AnyPart] = []
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    for part in message.parts:
        if isinstance(part, ToolResult):
            head = f"Result of {part.name or part.call_id}" + (" (an error)" if part.is_error else "") + ":"
            parts += [Text(text=head), *part.parts]
        elif not isinstance(part, ToolCall):
            parts.append(part)
    if calls:
        parts.append(Text(text=encode({_CALLS: [_written(call) for call in calls]}).decode()))
    role = "user" if message.role == "tool" else message.role
    return msgspec.structs.replace(message, role=role, parts=_one_text(parts), form=None)


def _one_text(parts: Sequence[AnyPart]) -> tuple[AnyPart, ...]:
    """All texts as one, behind the rest: how they were spelled is forgotten, so they are spelled the simplest way."""
    texts = [part.text for part in parts if isinstance(part, Text) and part.text]
    others = tuple(part for part in parts if not isinstance(part, Text))
    return (*others, Text(text="\n".join(texts))) if texts else others


def _written(call: ToolCall) -> dict[str, Json]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.MsgspecError:
        arguments = call.arguments
    return {"name": call.name, "arguments": arguments}


def _with_system(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """The words at the end of what the model is told first."""
    count = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
    if count == 0:
        return (Message(role="system", parts=(Text(text=text),)), *messages)
    last = messages[count - 1]
    told = msgspec.structs.replace(last, parts=_one_text((*last.parts, Text(text=f"\n{text}"))), form=None)
    return (*messages[: count - 1], told, *messages[count:])


# ── answers ────────────────────────────────────────────────────────────────────────────


def understood(request: ChatRequest, response: ChatResponse, what: frozenset[Emulated]) -> ChatResponse:
    """The answer as it would be of a target that has what was emulated. `request` is the caller's own."""
    names = {tool.name for tool in request.tools if isinstance(tool, Tool)} if "tools" in what else set()
    seed = f"call_{zlib.crc32((response.id or '').encode()):08x}"
    choices = tuple(_understood(choice, names, "json_schema" in what, seed) for choice in response.choices)
    return msgspec.structs.replace(response, choices=choices)


def _understood(choice: Choice, names: set[str], is_json: bool, seed: str) -> Choice:
    text = "".join(part.text for part in choice.parts if isinstance(part, Text))
    others = tuple(part for part in choice.parts if not isinstance(part, Text))
    found = _json_in(text)
    if found is None:
        return choice
    before, written, value = found
    calls = _calls(value, names, f"{seed}_{choice.index}")
    if calls:
        said = (Text(text=before),) if before else ()
        finish = Finish(reason="tool_calls")
        return msgspec.structs.replace(choice, parts=(*others, *said, *calls), finish=finish, form=None)
    if is_json:
        return msgspec.structs.replace(choice, parts=(*others, Text(text=written)), form=None)
    return choice


def _json_in(text: str) -> tuple[str, str, Json] | None:
    """The JSON of an answer: all of it, or what is left when the talk around it is taken away, with what stood before.

    Only from the first bracket on, and up to the last of its kind: nothing here may take longer than reading the text.
    """
    start = min((at for at in map(text.find, _OPENINGS) if at >= 0), default=-1)
    if start < 0:
        return None
    end = text.rfind("}" if text[start] == "{" else "]") + 1
    try:
        value = msgspec.json.decode(text[start:end])
    except (msgspec.MsgspecError, RecursionError):
        return None
    before = text[:start].rstrip()
    for fence in ("```json", "```JSON", "```"):
        before = before.removesuffix(fence)
    return before.rstrip(), text[start:end], value


def _calls(value: Json, names: set[str], seed: str) -> tuple[ToolCall, ...]:
    """The calls that a value spells; none when it is no list of calls of these tools alone."""
    rows = value.get(_CALLS) if isinstance(value, Mapping) else None
    if not isinstance(rows, list) or not rows:
        return ()
    if not all(isinstance(row, Mapping) and _is_one_of(row.get("name"), names) for row in rows):
        return ()
    return tuple(
        ToolCall(id=f"{seed}_{i}", name=row["name"], arguments=_arguments(row), invented_id=True)
        for i, row in enumerate(rows)
    )


def _is_one_of(name: Json, names: set[str]) -> bool:
    """A model may write anything in the place of a name."""
    return type(name) is str and name in names


def _arguments(row: Mapping[str, Json]) -> str:
    arguments = row.get("arguments", {})
    return arguments if isinstance(arguments, str) else encode(arguments).decode()
