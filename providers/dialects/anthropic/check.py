"""The check of a caller's request, the same for both lanes: what is wrong is named by its JSON path.

Only what no upstream could use is refused: wrong types, unknown roles, values outside every model's range, and what
the caller's own `anthropic-version` refuses. Unknown fields and unknown kinds of blocks and tools pass: betas have
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from providers.canonical.errors import MalformedRequest, RouteNotFound
from providers.dialect import Asked, WireRequest
from providers.dialects.anthropic.words import STRICTER_VERSION, Json, Object
from providers.wire.json import has_duplicates, kind_of, read_object, usual, wrong
from providers.wire.memory import checked_once

#: Task -> what OpenTelemetry calls it.
OPERATIONS = {"messages": "chat", "count_tokens": "count_tokens"}
_ROLES = ("user", "assistant", "system")


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Most messages: a role and a text."""

    role: Literal["user", "assistant", "system"]
    content: str


USUAL = usual("messages", Plain)


def read(wire: WireRequest, params: Mapping[str, str], *, depth: int, values: int, messages: int, tools: int) -> Asked:
    """A request, checked. `params` may say the `task`; else the path does (`/v1/messages/count_tokens`)."""
    task = params.get("task") or ("count_tokens" if wire.path.endswith("/count_tokens") else "messages")
    if task not in OPERATIONS:
        raise RouteNotFound(f"no such task: {task[:64]}", param="task")
    data = wire.body
    body, top, least, plain = read_object(data, depth=depth, values=values, usual=USUAL)
    model = body.get("model")
    if type(model) is not str or not model:
        raise MalformedRequest("model must be a non-empty string", param="model")
    if not model.isprintable():
        raise MalformedRequest("model holds control characters", param="model")
    if task == "messages" and body.get("max_tokens") is None:
        raise MalformedRequest("max_tokens is required", param="max_tokens")
    stricter = wire.headers.get("anthropic-version") == STRICTER_VERSION
    if stricter:
        _refuse_sampling(body)
    _check_count(body.get("messages") if plain is None else plain, messages)
    if plain is None:
        _check_messages(body["messages"], stricter)
    for key, value in body.items():
        if value is not None and (check := _CHECKS.get(key)) is not None:
            check(value, key)
    if len(body.get("tools") or ()) > tools:
        raise MalformedRequest(f"tools has more than {tools} entries", param="tools")
    if has_duplicates(data, top, least):
        raise MalformedRequest("a field of the object is there twice")
    return Asked(
        wire=wire,
        params=params,
        fields=body,
        top=top,
        usual=plain,
        model=model,
        task=task,
        stream=task == "messages" and body.get("stream") is True,
        include_usage=True,
    )


def _refuse_sampling(body: Object) -> None:
    for key in ("temperature", "top_p", "top_k"):
        if body.get(key) is not None:
            raise MalformedRequest(f"{key}: not permitted with anthropic-version {STRICTER_VERSION}", param=key)


# ── messages ───────────────────────────────────────────────────────────────────────────


def _check_count(value: Json, most: int) -> None:
    if type(value) is not list or not value:
        raise MalformedRequest("messages must be a non-empty array", param="messages")
    if len(value) > most:
        raise MalformedRequest(f"messages has more than {most} entries", param="messages")


def _check_messages(value: list[Json], stricter: bool) -> None:
    for i, message in enumerate(value):
        if type(message) is not dict:
            raise wrong(f"messages[{i}]", "an object", message)
        role = message.get("role")
        if type(role) is not str:
            raise wrong(f"messages[{i}].role", "a string", role)
        if role not in _ROLES:
            raise MalformedRequest(
                f"messages[{i}].role must be one of {', '.join(_ROLES)}", param=f"messages[{i}].role"
            )
        content = message.get("content")
        if type(content) is str:
            continue
        if type(content) is not list:
            raise wrong(f"messages[{i}].content", "a string or an array of blocks", content)
        for j, block in enumerate(content):
            at = f"messages[{i}].content[{j}]"
            _check_block(block, at)
            if stricter:
                _check_stricter(block, role, at)


def _check_block(block: Json, at: str) -> None:
    if type(block) is not dict:
        raise wrong(at, "an object", block)
    kind = block.get("type")
    if type(kind) is not str or not kind:
        raise wrong(f"{at}.type", "a string", kind)
    for key, expected in _BLOCKS.get(kind, ()):
        if type(block.get(key)) is not expected:
            raise wrong(f"{at}.{key}", _NAMES[expected], block.get(key))
    if kind == "tool_use" and not block["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")
    if kind == "tool_result":
        _check_result(block, at)
    elif "source" in block and kind in ("image", "document"):
        _check_source(block["source"], f"{at}.source")
    _check_mark(block.get("cache_control"), f"{at}.cache_control")


_NAMES: Mapping[type, str] = {str: "a string", dict: "an object", list: "an array"}
#: What must stand in a block, by its type. Blocks of other types pass.
_BLOCKS: Mapping[str, tuple[tuple[str, type], ...]] = {
    "text": (("text", str),),
    "image": (("source", dict),),
    "document": (("source", dict),),
    "search_result": (("content", list), ("source", str), ("title", str)),
    "thinking": (("thinking", str), ("signature", str)),
    "redacted_thinking": (("data", str),),
    "tool_use": (("id", str), ("name", str), ("input", dict)),
    "tool_result": (("tool_use_id", str),),
}
#: What must stand in the source of an image or a document, by its type.
_SOURCES: Mapping[str, tuple[str, ...]] = {
    "base64": ("data", "media_type"),
    "text": ("data",),
    "url": ("url",),
    "file": ("file_id",),
}


def _check_source(source: Object, at: str) -> None:
    kind = source.get("type")
    if type(kind) is not str:
        raise wrong(f"{at}.type", "a string", kind)
    for key in _SOURCES.get(kind, ()):
        if type(source.get(key)) is not str:
            raise wrong(f"{at}.{key}", "a string", source.get(key))


def _check_result(block: Object, at: str) -> None:
    content = block.get("content")
    if type(content) is list:
        for i, inner in enumerate(content):
            _check_block(inner, f"{at}.content[{i}]")
    elif content is not None and type(content) is not str:
        raise wrong(f"{at}.content", "a string or an array of blocks", content)
    if block.get("is_error") is not None and type(block["is_error"]) is not bool:
        raise wrong(f"{at}.is_error", "a boolean", block["is_error"])


def _check_mark(mark: Json, at: str) -> None:
    if mark is None:
        return
    if type(mark) is not dict:
        raise wrong(at, "an object", mark)
    if mark.get("ttl") is not None and type(mark["ttl"]) is not str:
        raise wrong(f"{at}.ttl", "a string", mark["ttl"])


def _check_stricter(block: Object, role: str, at: str) -> None:
    """What version 2026-10-21 refuses in a conversation."""
    if block["type"] == "document" and role == "assistant":
        raise MalformedRequest(f"{at}: no document in an assistant message", param=at)
    if role != "user":
        return
    texts = block["content"] if block["type"] == "search_result" else [block]
    for i, text in enumerate(texts):
        if type(text) is dict and text.get("type") == "text" and text.get("citations"):
            where = f"{at}.content[{i}].citations" if block is not text else f"{at}.citations"
            raise MalformedRequest(f"{where}: not permitted in a user message", param=where)


# ── parameters ─────────────────────────────────────────────────────────────────────────


def _boolean(value: Json, at: str) -> None:
    if type(value) is not bool:
        raise wrong(at, "a boolean", value)


def _string(value: Json, at: str) -> None:
    if type(value) is not str:
        raise wrong(at, "a string", value)


def _object(value: Json, at: str) -> None:
    if type(value) is not dict:
        raise wrong(at, "an object", value)


def _number(low: float, high: float) -> Callable[[Json, str], None]:
    def check(value: Json, at: str) -> None:
        if type(value) not in (int, float):
            raise wrong(at, "a number", value)
        if not low <= value <= high:
            raise MalformedRequest(f"{at} must be between {low:g} and {high:g}", param=at)

    return check


def _count(value: Json, at: str) -> None:
    if type(value) is not int:
        raise wrong(at, "an integer", value)
    if value < 0:
        raise MalformedRequest(f"{at} must be at least 0", param=at)


def _strings(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array of strings", value)
    for i, one in enumerate(value):
        _string(one, f"{at}[{i}]")


def _system(value: Json, at: str) -> None:
    if type(value) is str:
        return
    if type(value) is not list:
        raise wrong(at, "a string or an array of text blocks", value)
    for i, block in enumerate(value):
        _check_block(block, f"{at}[{i}]")


def _tools(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array", value)
    for i, tool in enumerate(value):
        where = f"{at}[{i}]"
        _object(tool, where)
        if tool.get("type") is not None:
            _string(tool["type"], f"{where}.type")
        _check_mark(tool.get("cache_control"), f"{where}.cache_control")
        if tool.get("type") in (None, "custom"):
            _definition(tool, where)


def _definition(tool: Object, at: str) -> None:
    if type(tool.get("name")) is not str or not tool["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")
    if type(tool.get("input_schema")) is not dict:
        raise wrong(f"{at}.input_schema", "an object", tool.get("input_schema"))
    for key, check in (("description", _string), ("strict", _boolean)):
        if tool.get(key) is not None:
            check(tool[key], f"{at}.{key}")


def _tool_choice(value: Json, at: str) -> None:
    _object(value, at)
    kind = value.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise MalformedRequest(f"{at}.type must be auto, any, tool or none", param=f"{at}.type")
    if kind == "tool" and (type(value.get("name")) is not str or not value["name"]):
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")
    if value.get("disable_parallel_tool_use") is not None:
        _boolean(value["disable_parallel_tool_use"], f"{at}.disable_parallel_tool_use")


def _thinking(value: Json, at: str) -> None:
    _object(value, at)
    _string(value.get("type"), f"{at}.type")
    if value["type"] == "enabled":
        _count(value.get("budget_tokens"), f"{at}.budget_tokens")


def _output_config(value: Json, at: str) -> None:
    _object(value, at)
    if value.get("effort") is not None:
        _string(value["effort"], f"{at}.effort")
    if value.get("format") is not None:
        _format(value["format"], f"{at}.format")


def _format(value: Json, at: str) -> None:
    _object(value, at)
    _string(value.get("type"), f"{at}.type")
    if value["type"] == "json_schema":
        _object(value.get("schema"), f"{at}.schema")


def _metadata(value: Json, at: str) -> None:
    _object(value, at)
    if value.get("user_id") is not None:
        _string(value["user_id"], f"{at}.user_id")


def _container(value: Json, at: str) -> None:
    if type(value) not in (str, dict):
        raise MalformedRequest(f"{at} must be a string or an object, not {kind_of(value)}", param=at)


_CHECKS: Mapping[str, Callable[[Json, str], None]] = {
    "max_tokens": _count,
    "system": _system,
    "temperature": _number(0, 1),
    "top_p": _number(0, 1),
    "top_k": _count,
    "stop_sequences": _strings,
    "stream": _boolean,
    "tools": checked_once("anthropic.messages: checked", _tools),
    "tool_choice": _tool_choice,
    "thinking": _thinking,
    "output_config": _output_config,
    "output_format": _format,
    "metadata": _metadata,
    "service_tier": _string,
    "speed": _string,
    "cache_control": _check_mark,
    "container": _container,
    "context_management": _object,
}
