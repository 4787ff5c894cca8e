"""Reading a caller's request: full validation, without understanding it yet. Both lanes pass through here.

What is checked, and how strictly: the project's requirements for the Gemini path (contents and their parts, the
ranges of generationConfig, the shape of safetySettings). Everything else is left to the upstream to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from providers.canonical.errors import Detail, MalformedRequest, RouteNotFound
from providers.dialect import Asked, WireRequest
from providers.dialects.gemini.names import Json, alt_of, camel
from providers.wire import json as wire_json
from providers.wire.json import kind_of, path
from providers.wire.memory import TOOLS

#: Task -> what OpenTelemetry calls it.
OPERATIONS = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "countTokens": "count_tokens",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}

_SPEAKERS = ("user", "model")
_GENERATING = ("generateContent", "streamGenerateContent")


class PlainPart(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A text and no more."""

    text: str


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Most contents: of somebody, with one text."""

    role: Literal["user", "model"]
    parts: tuple[PlainPart]


USUAL = wire_json.usual("contents", Plain)
_ROLES = frozenset({None, "", "user", "model", "function", "tool"})
#: name -> (is it an integer, least, most)
_RANGES: dict[str, tuple[bool, float, float | None]] = {
    "temperature": (False, 0, 2),
    "topP": (False, 0, 1),
    "topK": (True, 1, None),
    "maxOutputTokens": (True, 1, None),
    "candidateCount": (True, 1, None),
    "logprobs": (True, 0, None),
}


def read(wire: WireRequest, params: Mapping[str, str], *, depth: int, values: int, messages: int, tools: int) -> Asked:
    """A request of this dialect, checked. `params`: `model`, `task`; if said, `version` and `collection`."""
    task = params.get("task", "")
    if task not in OPERATIONS:
        raise RouteNotFound(f"no such task: {task[:64]}", param="task")
    if wire.query:
        alt = alt_of(wire.query) or "json"
        if alt != "sse" and alt.partition(";")[0] != "json":
            raise refuse("alt", "alt must be json or sse")
    usual = USUAL if task in _GENERATING else None
    try:
        body, top, least, plain = wire_json.read_object(wire.body, depth=depth, values=values, usual=usual)
    except MalformedRequest as error:
        raise MalformedRequest(error.message, details=(Detail("body", error.message),)) from None
    if wire_json.has_duplicates(wire.body, top, least):
        raise refuse("body", "a top-level field is there twice")
    if plain is not None:
        _check_count("contents", plain, messages)
        _check_generate(body, "", messages, tools, usual=True)
    else:
        check_body(body, task, messages, tools)
    return Asked(
        wire=wire,
        params=params,
        fields=body,
        top=top,
        usual=plain,
        model=_model(params, body),
        task=task,
        stream=task == "streamGenerateContent",
        include_usage=True,
    )


def refuse(at: str, message: str) -> MalformedRequest:
    """The complaint about one field, in both places where clients look for it."""
    return MalformedRequest(message, param=at, details=(Detail(at, message),))


def _wrong(at: str, expected: str, value: Json) -> MalformedRequest:
    return refuse(at, f"{at} must be {expected}, not {kind_of(value)}")


def _model(params: Mapping[str, str], body: Mapping[str, Json]) -> str:
    model = params.get("model") or body.get("model")
    if not isinstance(model, str) or not model:
        raise refuse("model", "model must be a string")
    return model.removeprefix("models/")


def take(body: Mapping[str, Json], name: str, at: str = "") -> tuple[str, Json]:
    """The field `name` (camelCase) however it is spelled: its path and value, None when absent. Twice is refused."""
    found: str | None = name if name in body else None
    for key in body:
        if "_" in key and camel(key) == name:
            if found is not None:
                raise refuse(path(at, key), f"{path(at, key)} is there in two spellings")
            found = key
    return path(at, found or name), (body[found] if found else None)


def check_body(body: dict[str, Json], task: str, messages: int, tools: int) -> None:
    """Raises MalformedRequest for the first field that is not as it must be."""
    if task in ("embedContent", "batchEmbedContents"):
        _check_embed(body, task, messages)
        return
    if task == "countTokens":
        at, inner = take(body, "generateContentRequest")
        if inner is not None:
            if type(inner) is not dict:
                raise _wrong(at, "an object", inner)
            _check_generate(inner, at, messages, tools)
            return
    _check_generate(body, "", messages, tools)


def _check_generate(body: dict[str, Json], at: str, messages: int, tools: int, *, usual: bool = False) -> None:
    if not usual:
        _check_contents(*take(body, "contents", at), messages)
    spelled = bool(at)
    for key in body:
        spelled = spelled or "_" in key
    for name in _CHECKS if spelled else body:  # else each field has one spelling
        check = _CHECKS.get(name)
        if check is None:
            continue
        where, value = take(body, name, at) if spelled else (name, body[name])
        if value is not None:
            check(where, value, tools)


def _check_contents(at: str, contents: Json, most: int) -> None:
    if type(contents) is not list:
        raise _wrong(at, "an array", contents) if contents is not None else refuse(at, f"{at} is required")
    _check_count(at, contents, most)
    for i, content in enumerate(contents):
        if type(content) is dict and len(content) == 2 and content.get("role") in _SPEAKERS and is_one_text(content):
            continue  # most contents
        where = f"{at}[{i}]"
        if type(content) is not dict:
            raise _wrong(where, "an object", content)
        role = content.get("role")
        if role is not None and type(role) is not str:
            raise _wrong(f"{where}.role", "a string", role)
        if role not in _ROLES:
            raise refuse(f"{where}.role", f"{where}.role must be user or model")
        _check_parts(content, where)


def _check_count(at: str, contents: Sequence[Json], most: int) -> None:
    if not contents:
        raise refuse(at, f"{at} must not be empty")
    if len(contents) > most:
        raise refuse(at, f"{at} must hold at most {most} items")


def is_one_text(content: dict[str, Json]) -> bool:
    """Are its parts one, a text and no more?"""
    parts = content.get("parts")
    if type(parts) is not list or len(parts) != 1:
        return False
    part = parts[0]
    return type(part) is dict and len(part) == 1 and type(part.get("text")) is str


def _check_parts(content: dict[str, Json], at: str) -> None:
    parts = content.get("parts")
    if type(parts) is not list:
        raise refuse(f"{at}.parts", f"{at}.parts must be an array of objects, not {kind_of(parts)}")
    if not parts:
        raise refuse(f"{at}.parts", f"{at}.parts must not be empty")
    for i, part in enumerate(parts):
        if type(part) is not dict:
            raise _wrong(f"{at}.parts[{i}]", "an object", part)
        text = part.get("text")
        if text is not None and type(text) is not str:
            raise _wrong(f"{at}.parts[{i}].text", "a string", text)


def _check_system(at: str, system: Json, _tools: int) -> None:
    if type(system) is dict:
        if len(system) > 1 or not is_one_text(system):
            _check_parts(system, at)
    elif type(system) is not str:
        raise _wrong(at, "an object", system)


def _check_choice(at: str, config: Json, _tools: int) -> None:
    if type(config) is not dict:
        raise _wrong(at, "an object", config)


def _check_tools(at: str, tools: Json, most: int) -> None:
    if type(tools) is not list:
        raise _wrong(at, "an array", tools)
    made = TOOLS.made_of(tools)
    if made is None:
        count = _count_tools(tools, at)
    elif "gemini: counted" in made:
        count = made["gemini: counted"]
    else:
        count = made["gemini: counted"] = _count_tools(tools, at)
    if count > most:
        raise refuse(at, f"{at} must hold at most {most} tools")


def _count_tools(tools: list[Json], at: str) -> int:
    """How many there are: of functions each counts, of other entries each entry."""
    count = 0
    for i, tool in enumerate(tools):
        if type(tool) is not dict:
            raise _wrong(f"{at}[{i}]", "an object", tool)
        where, declarations = take(tool, "functionDeclarations", f"{at}[{i}]")
        if declarations is not None and type(declarations) is not list:
            raise _wrong(where, "an array", declarations)
        count += max(1, len(declarations or ()))
    return count


def _check_config(at: str, config: Json, _tools: int) -> None:
    if type(config) is not dict:
        raise _wrong(at, "an object", config)
    for key, value in config.items():
        rule = _RANGES.get(key) or _RANGES.get(camel(key))
        if rule is not None and value is not None:
            _check_number(at, key, value, rule)


def _check_number(outer: str, key: str, value: Json, rule: tuple[bool, float, float | None]) -> None:
    whole, least, most = rule
    given = type(value)
    if (given is int or (given is float and not whole)) and least <= value <= (value if most is None else most):
        return  # most values
    at, kind = path(outer, key), "an integer" if whole else "a number"
    if type(value) not in (int, float) or (whole and value != int(value)):
        raise _wrong(at, kind, value) if type(value) is not float else refuse(at, f"{at} must be {kind}")
    if value < least or (most is not None and value > most):
        limit = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
        raise refuse(at, f"{at} must be {limit}")


def _check_safety(at: str, settings: Json, _tools: int) -> None:
    if type(settings) is not list:
        raise _wrong(at, "an array", settings)
    for i, setting in enumerate(settings):
        if type(setting) is not dict:
            raise _wrong(f"{at}[{i}]", "an object", setting)
        for key in ("category", "threshold"):
            value = setting.get(key)
            if type(value) is not str and (value is not None or key == "category"):
                raise _wrong(f"{at}[{i}].{key}", "a string", value)


#: How a field that is there is checked: where it stands, its value, the most tools.
_CHECKS: Mapping[str, Callable[[str, Json, int], None]] = {
    "systemInstruction": _check_system,
    "tools": _check_tools,
    "generationConfig": _check_config,
    "safetySettings": _check_safety,
    "toolConfig": _check_choice,
}


def _check_embed(body: dict[str, Json], task: str, messages: int) -> None:
    if task == "embedContent":
        _check_input(body, "")
        return
    requests = body.get("requests")
    if type(requests) is not list or not requests:
        raise refuse("requests", "requests must be a non-empty array")
    if len(requests) > messages:
        raise refuse("requests", f"requests must hold at most {messages} items")
    for i, request in enumerate(requests):
        if type(request) is not dict:
            raise _wrong(f"requests[{i}]", "an object", request)
        _check_input(request, f"requests[{i}]")


def _check_input(request: dict[str, Json], at: str) -> None:
    where, content = take(request, "content", at)
    if type(content) is not dict:
        raise _wrong(where, "an object", content)
    _check_parts(content, where)
    for name in ("taskType", "title"):
        where, value = take(request, name, at)
        if value is not None and type(value) is not str:
            raise _wrong(where, "a string", value)
    where, value = take(request, "outputDimensionality", at)
    if value is not None:
        _check_number("", where, value, (True, 1, None))
