"""The check of a caller's request, the same for both lanes: what is wrong is named by its JSON path.

Only what would reach an upstream as nonsense is refused: wrong types, unknown roles, items without what makes them.
Unknown fields, kinds of items, parts and tools pass: the dialect grows, and compatible servers have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from providers.canonical.errors import MalformedRequest
from providers.dialect import Asked, WireRequest
from providers.dialects._openai.values import Json, Object
from providers.wire.json import has_duplicates, read_object, usual, wrong
from providers.wire.memory import checked_once

Check: TypeAlias = Callable[[Json, str], None]

ROLES = ("user", "assistant", "system", "developer")


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Most items: a role and a text."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str


USUAL = usual("input", Plain)
# What may stand in for the input: state that the upstream holds.
_STORED = ("prompt", "previous_response_id", "conversation")


def read(wire: WireRequest, params: Mapping[str, str], *, depth: int, values: int, messages: int, tools: int) -> Asked:
    data = wire.body
    body, top, least, plain = read_object(data, depth=depth, values=values, usual=USUAL)
    model = body.get("model")
    if type(model) is not str or not model:
        raise MalformedRequest("model must be a non-empty string", param="model")
    if not model.isprintable():
        raise MalformedRequest("model holds control characters", param="model")
    if plain is None:
        _check_input(body, messages)
    else:
        _check_count(plain, messages)
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
        task="chat",
        stream=body.get("stream") is True,
        include_usage=True,  # it always stands in the last event
    )


# ── items ──────────────────────────────────────────────────────────────────────────────


def _check_input(body: Object, most: int) -> None:
    value = body.get("input")
    if type(value) is str:
        return
    if value is None and any(body.get(key) is not None for key in _STORED):
        return
    for i, item in enumerate(_check_count(value, most)):
        if type(item) is dict and len(item) == 2 and type(item.get("content")) is str and item.get("role") in ROLES:
            continue  # most items
        _check_item(item, f"input[{i}]")


def _check_count(value: Json, most: int) -> list[Json]:
    if type(value) is not list or not value:
        raise MalformedRequest("input must be a string or a non-empty array of items", param="input")
    if len(value) > most:
        raise MalformedRequest(f"input has more than {most} items", param="input")
    return value


def _check_item(item: Json, at: str) -> None:
    if type(item) is not dict:
        raise wrong(at, "an object", item)
    kind = item.get("type")
    if kind is None and "role" not in item and type(item.get("id")) is str:
        return  # a reference to an item, whose type may be left out
    if not kind or kind == "message":
        _check_message(item, at)
    elif type(kind) is not str:
        raise wrong(f"{at}.type", "a string", kind)
    elif (checks := _ITEMS.get(kind)) is not None:
        for key, check in checks.items():
            check(item.get(key), f"{at}.{key}")


def _check_message(item: Object, at: str) -> None:
    role = item.get("role")
    if type(role) is not str:
        raise wrong(f"{at}.role", "a string", role)
    if role not in ROLES:
        raise MalformedRequest(f"{at}.role must be one of {', '.join(ROLES)}", param=f"{at}.role")
    _content(item.get("content"), f"{at}.content")
    for key in ("id", "status", "phase"):
        _text_or_none(item.get(key), f"{at}.{key}")


def _content(value: Json, at: str) -> None:
    """Text, or parts: of a message, and of a tool's output."""
    if type(value) is str:
        return
    if type(value) is not list:
        raise wrong(at, "a string or an array of parts", value)
    for i, part in enumerate(value):
        _check_part(part, f"{at}[{i}]")


_TEXTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
_SOURCES = {"input_image": ("image_url", "file_id"), "input_file": ("file_data", "file_url", "file_id")}


def _check_part(part: Json, at: str) -> None:
    if type(part) is not dict:
        raise wrong(at, "an object", part)
    kind = part.get("type")
    if type(kind) is not str or not kind:
        raise wrong(f"{at}.type", "a string", kind)
    key = _TEXTS.get(kind)
    if key is not None:
        _text(part.get(key), f"{at}.{key}")
    for source in _SOURCES.get(kind, ()):
        _text_or_none(part.get(source), f"{at}.{source}")
    if kind in _SOURCES and not any(part.get(source) for source in _SOURCES[kind]):
        needed = ", ".join(_SOURCES[kind])
        raise MalformedRequest(f"{at}: one of {needed} is needed", param=at)


def _text(value: Json, at: str) -> None:
    if type(value) is not str:
        raise wrong(at, "a string", value)


def _name(value: Json, at: str) -> None:
    if type(value) is not str or not value:
        raise MalformedRequest(f"{at} must be a non-empty string", param=at)


def _text_or_none(value: Json, at: str) -> None:
    if value is not None:
        _text(value, at)


def _texts(value: Json, at: str) -> None:
    """A reasoning item's summary or content."""
    _array(value, at)
    for i, one in enumerate(value):
        _object(one, f"{at}[{i}]")
        _text(one.get("text"), f"{at}[{i}].text")


def _texts_or_none(value: Json, at: str) -> None:
    if value is not None:
        _texts(value, at)


_ITEMS: Mapping[str, Mapping[str, Check]] = {
    "function_call": {"call_id": _text, "name": _name, "arguments": _text, "id": _text_or_none},
    "function_call_output": {"call_id": _text_or_none, "output": _content, "id": _text_or_none},
    "custom_tool_call": {"call_id": _text, "name": _name, "input": _text, "id": _text_or_none},
    "custom_tool_call_output": {"call_id": _text, "output": _content, "id": _text_or_none},
    "reasoning": {
        "summary": _texts,
        "content": _texts_or_none,
        "encrypted_content": _text_or_none,
        "id": _text_or_none,
    },
    "item_reference": {"id": _text},
}


# ── parameters ─────────────────────────────────────────────────────────────────────────


def _boolean(value: Json, at: str) -> None:
    if type(value) is not bool:
        raise wrong(at, "a boolean", value)


def _object(value: Json, at: str) -> None:
    if type(value) is not dict:
        raise wrong(at, "an object", value)


def _array(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array", value)


def _number(low: float, high: float | None = None) -> Check:
    def check(value: Json, at: str) -> None:
        if type(value) not in (int, float):
            raise wrong(at, "a number", value)
        if value < low or (high is not None and value > high):
            raise _outside(at, low, high)

    return check


def _integer(low: int) -> Check:
    def check(value: Json, at: str) -> None:
        if type(value) is not int:
            raise wrong(at, "an integer", value)
        if value < low:
            raise _outside(at, low, None)

    return check


def _outside(at: str, low: float, high: float | None) -> MalformedRequest:
    limits = f"at least {low}" if high is None else f"between {low} and {high}"
    return MalformedRequest(f"{at} must be {limits}", param=at)


def _strings(value: Json, at: str) -> None:
    _array(value, at)
    for i, one in enumerate(value):
        _text(one, f"{at}[{i}]")


def _metadata(value: Json, at: str) -> None:
    _object(value, at)
    for key, one in value.items():
        _text(one, f"{at}.{key}")


def _tools(value: Json, at: str) -> None:
    _array(value, at)
    for i, tool in enumerate(value):
        _object(tool, f"{at}[{i}]")
        kind = tool.get("type")
        _text(kind, f"{at}[{i}].type")
        if kind in ("function", "custom"):
            _named(tool, f"{at}[{i}]")
            for key, check in (("description", _text), ("parameters", _object), ("strict", _boolean)):
                if tool.get(key) is not None:
                    check(tool[key], f"{at}[{i}].{key}")


def _named(value: Object, at: str) -> None:
    if type(value.get("name")) is not str or not value["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")


def _tool_choice(value: Json, at: str) -> None:
    if type(value) is str:
        if value not in ("none", "auto", "required"):
            raise MalformedRequest(f"{at} must be none, auto, required or an object", param=at)
        return
    if type(value) is not dict:
        raise wrong(at, "a string or an object", value)
    _text(value.get("type"), f"{at}.type")
    if value["type"] in ("function", "custom"):
        _named(value, at)
    if value["type"] == "allowed_tools":
        _array(value.get("tools"), f"{at}.tools")


def _fields(**checks: Check) -> Check:
    """An object whose known fields, where they say something, are of the right kind."""

    def check(value: Json, at: str) -> None:
        _object(value, at)
        for key, inner in checks.items():
            if value.get(key) is not None:
                inner(value[key], f"{at}.{key}")

    return check


def _format(value: Json, at: str) -> None:
    _object(value, at)
    _text(value.get("type"), f"{at}.type")
    if value["type"] == "json_schema":
        _named(value, at)
        _object(value.get("schema"), f"{at}.schema")
        if value.get("strict") is not None:
            _boolean(value["strict"], f"{at}.strict")


def _prompt(value: Json, at: str) -> None:
    _object(value, at)
    _text(value.get("id"), f"{at}.id")


def _conversation(value: Json, at: str) -> None:
    if type(value) is not str:
        _prompt(value, at)


_CHECKS: Mapping[str, Check] = {
    "instructions": _text,
    "stream": _boolean,
    "stream_options": _fields(include_obfuscation=_boolean),
    "background": _boolean,
    "store": _boolean,
    "previous_response_id": _text,
    "conversation": _conversation,
    "prompt": _prompt,
    "temperature": _number(0),
    "top_p": _number(0, 1),
    "max_output_tokens": _integer(1),
    "max_tool_calls": _integer(0),
    "top_logprobs": _integer(0),
    "tools": checked_once("openai.responses: checked", _tools),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _boolean,
    "text": _fields(format=_format, verbosity=_text),
    "reasoning": _fields(effort=_text, summary=_text, generate_summary=_text),
    "include": _strings,
    "metadata": _metadata,
    "truncation": _text,
    "service_tier": _text,
    "user": _text,
    "safety_identifier": _text,
    "prompt_cache_key": _text,
}
