"""The check of a caller's request, the same for both lanes: what is wrong is named by its JSON path.

Only what would reach an upstream as nonsense is refused: wrong types, unknown roles, values no model can use. Unknown
fields and unknown kinds of content parts pass: compatible servers have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from providers.canonical.errors import MalformedRequest
from providers.dialect import Asked, WireRequest
from providers.dialects._openai.values import Json, Object
from providers.wire.json import has_duplicates, read_object, usual, wrong
from providers.wire.memory import checked_once

NO_MESSAGES = "messages must be a non-empty array"
_NO_OPTIONS: Object = {}
_SPEAKERS = ("user", "assistant", "system")


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Most messages: a role and a text."""

    role: Literal["user", "assistant", "system"]
    content: str


USUAL = usual("messages", Plain)
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def read(wire: WireRequest, params: Mapping[str, str], *, depth: int, values: int, messages: int, tools: int) -> Asked:
    data = wire.body
    body, top, least, plain = read_object(data, depth=depth, values=values, usual=USUAL)
    model = body.get("model")
    if type(model) is not str or not model:
        raise MalformedRequest("model must be a non-empty string", param="model")
    if not model.isprintable():
        raise MalformedRequest("model holds control characters", param="model")
    _check_messages(body.get("messages") if plain is None else plain, messages)
    if plain is None:
        _check_each(body["messages"])
    for key, value in body.items():
        if value is not None and (check := _CHECKS.get(key)) is not None:
            check(value, key)
    for key in ("tools", "functions"):
        if key in body and len(body[key] or ()) > tools:
            raise MalformedRequest(f"{key} has more than {tools} entries", param=key)
    if has_duplicates(data, top, least):
        raise MalformedRequest("a field of the object is there twice")
    options = body.get("stream_options") or _NO_OPTIONS
    return Asked(
        wire=wire,
        params=params,
        fields=body,
        top=top,
        usual=plain,
        model=model,
        task="chat",
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
    )


# ── messages ───────────────────────────────────────────────────────────────────────────


def _check_messages(value: Json, most: int) -> None:
    if type(value) is not list or not value:
        raise MalformedRequest(NO_MESSAGES, param="messages")
    if len(value) > most:
        raise MalformedRequest(f"messages has more than {most} entries", param="messages")


def _check_each(value: list[Json]) -> None:
    for i, message in enumerate(value):
        if type(message) is not dict:
            raise wrong(f"messages[{i}]", "an object", message)
        role = message.get("role")
        if len(message) == 2 and role in _SPEAKERS and type(message.get("content")) is str:
            continue  # most messages
        if type(role) is not str:
            raise wrong(f"messages[{i}].role", "a string", role)
        if role not in ROLES:
            raise MalformedRequest(
                f"messages[{i}].role must be one of {', '.join(sorted(ROLES))}", param=f"messages[{i}].role"
            )
        _check_message(message, role, f"messages[{i}]")


def _check_message(message: Object, role: str, at: str) -> None:
    content = message.get("content")
    if type(content) is list:
        for i, part in enumerate(content):
            _check_part(part, role, f"{at}.content[{i}]")
    elif type(content) is not str and (content is not None or role in ("system", "developer", "user", "tool")):
        raise wrong(f"{at}.content", "a string or an array of parts", content)
    for key in ("name", "tool_call_id", "refusal"):
        if key in message and type(message[key]) not in (str, type(None)):
            raise wrong(f"{at}.{key}", "a string", message[key])
    if role == "tool" and not message.get("tool_call_id"):
        raise wrong(f"{at}.tool_call_id", "a string", message.get("tool_call_id"))
    if role == "function" and not message.get("name"):
        raise wrong(f"{at}.name", "a string", message.get("name"))
    calls = message.get("tool_calls")
    if calls is not None:
        if type(calls) is not list:
            raise wrong(f"{at}.tool_calls", "an array", calls)
        for i, call in enumerate(calls):
            _check_call(call, f"{at}.tool_calls[{i}]")
    if message.get("function_call") is not None:
        _check_called(message["function_call"], "arguments", f"{at}.function_call")


# What must stand in a part, by its type: (key, what is in it). Parts of other types pass.
_INNER: Mapping[str, tuple[str, str]] = {
    "text": ("text", ""),
    "refusal": ("refusal", ""),
    "image_url": ("image_url", "url"),
    "video_url": ("video_url", "url"),
    "input_audio": ("input_audio", "data"),
}
_TEXT_ONLY = {"system", "developer"}
_MEDIA = {"image_url", "video_url", "input_audio", "file"}


def _check_part(part: Json, role: str, at: str) -> None:
    if type(part) is not dict:
        raise wrong(at, "an object", part)
    kind = part.get("type")
    if type(kind) is not str or not kind:
        raise wrong(f"{at}.type", "a string", kind)
    if kind in _MEDIA and role in _TEXT_ONLY:
        raise MalformedRequest(f"{at}.type: a {role} message holds only text", param=f"{at}.type")
    if kind == "file":
        if type(part.get("file")) is not dict:
            raise wrong(f"{at}.file", "an object", part.get("file"))
        return
    if kind not in _INNER:
        return
    key, inner = _INNER[kind]
    value = part.get(key)
    if not inner or (type(value) is str and kind != "input_audio"):
        if type(value) is not str:
            raise wrong(f"{at}.{key}", "a string", value)
    elif type(value) is not dict:
        raise wrong(f"{at}.{key}", "an object", value)
    elif type(value.get(inner)) is not str:
        raise wrong(f"{at}.{key}.{inner}", "a string", value.get(inner))


def _check_call(call: Json, at: str) -> None:
    if type(call) is not dict:
        raise wrong(at, "an object", call)
    if call.get("id") is not None and type(call["id"]) is not str:
        raise wrong(f"{at}.id", "a string", call["id"])
    kind = call.get("type", "function")
    if kind not in ("function", "custom"):
        raise MalformedRequest(f"{at}.type must be function or custom", param=f"{at}.type")
    if call.get("id") is None:
        raise wrong(f"{at}.id", "a string", None)
    _check_called(call.get(kind), "input" if kind == "custom" else "arguments", f"{at}.{kind}")


def _check_called(value: Json, arguments: str, at: str) -> None:
    if type(value) is not dict:
        raise wrong(at, "an object", value)
    if type(value.get("name")) is not str or not value["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")
    if type(value.get(arguments)) is not str:
        raise wrong(f"{at}.{arguments}", "a string", value.get(arguments))


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


def _number(low: float, high: float | None = None) -> Callable[[Json, str], None]:
    def check(value: Json, at: str) -> None:
        if type(value) not in (int, float):
            raise wrong(at, "a number", value)
        if value < low or (high is not None and value > high):
            raise _outside(at, low, high)

    return check


def _integer(low: int | None = None, high: int | None = None) -> Callable[[Json, str], None]:
    def check(value: Json, at: str) -> None:
        if type(value) is not int:
            raise wrong(at, "an integer", value)
        if (low is not None and value < low) or (high is not None and value > high):
            raise _outside(at, low, high)

    return check


def _outside(at: str, low: float | None, high: float | None) -> MalformedRequest:
    limits = f"at least {low}" if high is None else f"between {low} and {high}"
    return MalformedRequest(f"{at} must be {limits}", param=at)


def _stop(value: Json, at: str) -> None:
    if type(value) is str:
        return
    if type(value) is not list:
        raise wrong(at, "a string or an array of strings", value)
    _strings(value, at)


def _strings(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array", value)
    for i, one in enumerate(value):
        _string(one, f"{at}[{i}]")


def _tools(value: Json, at: str) -> None:
    if _is_switches(value):
        return
    if type(value) is not list:
        raise wrong(at, "an array", value)
    for i, tool in enumerate(value):
        _object(tool, f"{at}[{i}]")
        kind = tool.get("type", "function")
        _string(kind, f"{at}[{i}].type")
        if kind in ("function", "custom"):
            _definition(tool.get(kind), f"{at}[{i}].{kind}")


def _is_switches(value: Json) -> bool:
    """What an upstream runs itself, switched on and off by name (Alchemyst): no list of tools."""
    return type(value) is dict and bool(value) and all(type(one) is bool for one in value.values())


def _functions(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array", value)
    for i, function in enumerate(value):
        _definition(function, f"{at}[{i}]")


def _definition(value: Json, at: str) -> None:
    _object(value, at)
    if type(value.get("name")) is not str or not value["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")
    for key, check in (("description", _string), ("parameters", _object), ("strict", _boolean)):
        if value.get(key) is not None:
            check(value[key], f"{at}.{key}")


def _tool_choice(value: Json, at: str) -> None:
    if type(value) is str:
        if value not in ("none", "auto", "required", "any"):
            raise MalformedRequest(f"{at} must be none, auto, required or an object", param=at)
    elif type(value) is not dict:
        raise wrong(at, "a string or an object", value)
    else:
        for kind in ("function", "custom"):
            if value.get("type") == kind:
                _definition(value.get(kind), f"{at}.{kind}")
        if value.get("type") == "allowed_tools":
            _object(value.get("allowed_tools"), f"{at}.allowed_tools")
            if type(value["allowed_tools"].get("tools")) is not list:
                raise wrong(f"{at}.allowed_tools.tools", "an array", value["allowed_tools"].get("tools"))


def _function_call(value: Json, at: str) -> None:
    if type(value) is str:
        if value not in ("none", "auto"):
            raise MalformedRequest(f"{at} must be none, auto or an object", param=at)
    else:
        _definition(value, at)


def _response_format(value: Json, at: str) -> None:
    _object(value, at)
    _string(value.get("type"), f"{at}.type")
    if value["type"] == "json_schema":
        inner = value.get("json_schema")
        _object(inner, f"{at}.json_schema")
        if inner.get("schema") is not None:
            _object(inner["schema"], f"{at}.json_schema.schema")
        if inner.get("strict") is not None:
            _boolean(inner["strict"], f"{at}.json_schema.strict")


def _logit_bias(value: Json, at: str) -> None:
    _object(value, at)
    for key, bias in value.items():
        if type(bias) not in (int, float):
            raise wrong(f"{at}.{key}", "a number", bias)


def _metadata(value: Json, at: str) -> None:
    _object(value, at)
    for key, one in value.items():
        _string(one, f"{at}.{key}")


def _stream_options(value: Json, at: str) -> None:
    _object(value, at)
    for key in ("include_usage", "include_obfuscation"):
        if value.get(key) is not None:
            _boolean(value[key], f"{at}.{key}")


_CHECKS: Mapping[str, Callable[[Json, str], None]] = {
    "stream": _boolean,
    "stream_options": _stream_options,
    "temperature": _number(0),
    "top_p": _number(0, 1),
    "frequency_penalty": _number(-100, 100),
    "presence_penalty": _number(-100, 100),
    "n": _integer(1, 128),
    "max_tokens": _integer(1),
    "max_completion_tokens": _integer(1),
    "seed": _integer(),
    "logprobs": _boolean,
    "top_logprobs": _integer(0),
    "logit_bias": _logit_bias,
    "stop": _stop,
    "tools": checked_once("openai.chat: checked", _tools),
    "functions": _functions,
    "tool_choice": _tool_choice,
    "function_call": _function_call,
    "parallel_tool_calls": _boolean,
    "response_format": _response_format,
    "reasoning_effort": _string,
    "modalities": _strings,
    "audio": _object,
    "metadata": _metadata,
    "store": _boolean,
    "user": _string,
    "safety_identifier": _string,
    "service_tier": _string,
    "verbosity": _string,
    "prompt_cache_key": _string,
}
