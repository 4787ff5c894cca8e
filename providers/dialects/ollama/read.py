"""The check of a caller's request, the same for both lanes: what is wrong is named by its JSON path.

What a server of this language would refuse is refused here (it is typed Go); unknown fields, options and roles pass:
a model's template may know them.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from providers.canonical.errors import MalformedRequest, RouteNotFound
from providers.dialect import Asked, WireRequest
from providers.wire.json import MAX_INTEGER, has_duplicates, read_object, take_bool, take_integer, usual, wrong
from providers.wire.memory import checked_once

from .words import OPERATIONS, Json, Object


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Most messages: a role and a text."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


USUAL = usual("messages", Plain)


def task_of(path: str, params: Mapping[str, str]) -> str:
    """What is asked for: the route's `{task}`, else the last step of its path; a path that names none is a chat."""
    given = params.get("task")
    if given is None:
        last = path.rpartition("/")[2]
        return last if last in OPERATIONS else "chat"
    if given not in OPERATIONS:
        raise RouteNotFound(f"no such task: {given[:64]}", param="task")
    return given


def read(wire: WireRequest, params: Mapping[str, str], *, depth: int, values: int, messages: int, tools: int) -> Asked:
    """A request of this dialect, checked. `params`: `task`, if the route has it."""
    task = task_of(wire.path, params)
    body, top, least, plain = read_object(
        wire.body, depth=depth, values=values, usual=USUAL if task == "chat" else None
    )
    model = body.get("model")
    if type(model) is not str or not model:
        raise MalformedRequest("model must be a non-empty string", param="model")
    if not model.isprintable():
        raise MalformedRequest("model holds control characters", param="model")
    for key, value in body.items():
        if value is not None and (check := _CHECKS.get(key)) is not None:
            check(value, key)
    _TASKS[task](body, messages)
    if len(plain or body.get("messages") or ()) > messages:
        raise MalformedRequest(f"messages has more than {messages} entries", param="messages")
    if len(body.get("tools") or ()) > tools:
        raise MalformedRequest(f"tools has more than {tools} entries", param="tools")
    if has_duplicates(wire.body, top, least):
        raise MalformedRequest("a field of the object is there twice")
    return Asked(
        wire=wire,
        params=params,
        fields=body,
        top=top,
        usual=plain,
        model=model,
        task=task,
        stream=body.get("stream") is not False and (bool(plain) or any(body.get(key) for key in _ASKS[task])),
        include_usage=True,
    )


#: What there is to answer piece by piece. A request without only loads the model: servers answer it in one object.
_ASKS: Mapping[str, tuple[str, ...]] = {
    "chat": ("messages",),
    "generate": ("prompt", "images"),
    "embed": (),
    "embeddings": (),
}


# ── by task ────────────────────────────────────────────────────────────────────────────


def _chat(body: Object, most: int) -> None:
    for i, message in enumerate(body.get("messages") or ()):
        if type(message) is dict and len(message) == 2 and type(message.get("content")) is str:
            role = message.get("role")
            if type(role) is str and role:
                continue  # most messages
        _check_message(message, f"messages[{i}]")


def _generate(body: Object, most: int) -> None:
    for key in ("prompt", "system", "suffix", "template"):
        if body.get(key) is not None:
            _string(body[key], key)


def _embed(body: Object, most: int) -> None:
    given = body.get("input")
    if type(given) is list:
        _strings(given, "input")
        if len(given) > most:
            raise MalformedRequest(f"input has more than {most} entries", param="input")
    elif given is not None or "input" not in body:
        _string(given, "input")
    take_bool(body, "truncate")
    dimensions = take_integer(body, "dimensions")
    if dimensions is not None and dimensions < 1:
        raise MalformedRequest("dimensions must be at least 1", param="dimensions")


def _embeddings(body: Object, most: int) -> None:
    if body.get("prompt") is not None:
        _string(body["prompt"], "prompt")


_TASKS: Mapping[str, Callable[[Object, int], None]] = {
    "chat": _chat,
    "generate": _generate,
    "embed": _embed,
    "embeddings": _embeddings,
}


# ── messages ───────────────────────────────────────────────────────────────────────────


def _check_message(message: Json, at: str) -> None:
    _object(message, at)
    role = message.get("role")
    if type(role) is not str or not role:
        raise MalformedRequest(f"{at}.role must be a non-empty string", param=f"{at}.role")
    for key in ("content", "thinking", "tool_name", "tool_call_id"):
        if message.get(key) is not None:
            _string(message[key], f"{at}.{key}")
    if message.get("images") is not None:
        _images(message["images"], f"{at}.images")
    calls = message.get("tool_calls")
    if calls is not None:
        _list(calls, f"{at}.tool_calls")
        for i, call in enumerate(calls):
            _check_call(call, f"{at}.tool_calls[{i}]")


def _check_call(call: Json, at: str) -> None:
    _object(call, at)
    if call.get("id") is not None:
        _string(call["id"], f"{at}.id")
    function = call.get("function")
    _object(function, f"{at}.function")
    _name(function, f"{at}.function")
    if function.get("arguments") is not None:
        _object(function["arguments"], f"{at}.function.arguments")


# ── values ─────────────────────────────────────────────────────────────────────────────


def _boolean(value: Json, at: str) -> None:
    if type(value) is not bool:
        raise wrong(at, "a boolean", value)


def _string(value: Json, at: str) -> None:
    if type(value) is not str:
        raise wrong(at, "a string", value)


def _object(value: Json, at: str) -> None:
    if type(value) is not dict:
        raise wrong(at, "an object", value)


def _list(value: Json, at: str) -> None:
    if type(value) is not list:
        raise wrong(at, "an array", value)


def _strings(value: Json, at: str) -> None:
    _list(value, at)
    for i, one in enumerate(value):
        _string(one, f"{at}[{i}]")


def _name(function: Object, at: str) -> None:
    if type(function.get("name")) is not str or not function["name"]:
        raise MalformedRequest(f"{at}.name must be a non-empty string", param=f"{at}.name")


def _integer(least: int | None = None) -> Callable[[Json, str], None]:
    def check(value: Json, at: str) -> None:
        if type(value) is not int and not (type(value) is float and value.is_integer() and abs(value) < MAX_INTEGER):
            raise wrong(at, "an integer", value)
        if least is not None and value < least:
            raise MalformedRequest(f"{at} must be at least {least}", param=at)

    return check


def _number(least: float | None = None) -> Callable[[Json, str], None]:
    def check(value: Json, at: str) -> None:
        if type(value) not in (int, float):
            raise wrong(at, "a number", value)
        if least is not None and value < least:
            raise MalformedRequest(f"{at} must be at least {least:g}", param=at)

    return check


def _images(value: Json, at: str) -> None:
    """Raw base64, as the server reads it: no data URLs, no other URLs."""
    _strings(value, at)
    for i, text in enumerate(value):
        try:
            binascii.a2b_base64(unwrapped(text), strict_mode=True)
        except ValueError:
            raise MalformedRequest(f"{at}[{i}] must be base64 without a prefix", param=f"{at}[{i}]") from None


def unwrapped(text: str) -> str:
    """Base64 without its line ends, which the server skips."""
    return text.replace("\r", "").replace("\n", "") if "\n" in text or "\r" in text else text


def _tools(value: Json, at: str) -> None:
    _list(value, at)
    for i, tool in enumerate(value):
        here = f"{at}[{i}]"
        _object(tool, here)
        if tool.get("type") is not None:
            _string(tool["type"], f"{here}.type")
        if tool.get("type", "function") == "function":
            _object(tool.get("function"), f"{here}.function")
            _name(tool["function"], f"{here}.function")
            for key, check in (("description", _string), ("parameters", _object)):
                if tool["function"].get(key) is not None:
                    check(tool["function"][key], f"{here}.function.{key}")


def _format(value: Json, at: str) -> None:
    if type(value) is dict or value in ("", "json"):
        return
    raise MalformedRequest(f'{at} must be "json" or a JSON Schema object', param=at)


def _think(value: Json, at: str) -> None:
    if type(value) not in (bool, str):
        raise wrong(at, "a boolean or a string", value)


def _keep_alive(value: Json, at: str) -> None:
    if type(value) not in (str, int, float):
        raise wrong(at, "a duration", value)


def _options(value: Json, at: str) -> None:
    _object(value, at)
    for key, one in value.items():
        if one is not None and key in _OPTION_CHECKS:
            check, where = _OPTION_CHECKS[key]
            check(one, where)


_IN_OPTIONS: Mapping[str, Callable[[Json, str], None]] = {
    "num_predict": _integer(-2),
    "num_ctx": _integer(),
    "temperature": _number(0),
    "top_p": _number(0),
    "top_k": _integer(),
    "frequency_penalty": _number(),
    "presence_penalty": _number(),
    "seed": _integer(),
    "stop": _strings,
}
_OPTION_CHECKS = {key: (check, f"options.{key}") for key, check in _IN_OPTIONS.items()}
_CHECKS: Mapping[str, Callable[[Json, str], None]] = {
    "stream": _boolean,
    "messages": _list,
    "images": _images,
    "tools": checked_once("ollama.chat: checked", _tools),
    "format": _format,
    "options": _options,
    "think": _think,
    "keep_alive": _keep_alive,
    "logprobs": _boolean,
    "top_logprobs": _integer(0),
    "raw": _boolean,
    "context": _list,
}
