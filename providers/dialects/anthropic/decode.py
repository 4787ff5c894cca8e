"""A caller's request -> canonical. Everything is kept, so that the same dialect can write the very same body again.

`extra` of the request holds what only this dialect has; a dotted key stood one level down
(`output_config.task_budget`).
`form` of the request:

    keep      fields that only stood there (null, "", [], {})
    headers   the version and the betas that the caller asked for
    system    `string`; a list else
    stream    said, but not true
    thinking, choice, format   those objects as they were written
    empty     objects whose every field was taken out of them and which must be there again (metadata, output_config)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from providers.canonical.chat import (
    ChatRequest,
    Message,
    ReasoningConfig,
    ResponseFormat,
    Role,
    ServerTool,
    Text,
    Tool,
    ToolChoice,
)
from providers.canonical.turns import Places, as_talk
from providers.dialect import Asked
from providers.dialects.anthropic.blocks import raw_input, raw_inputs, read_block
from providers.dialects.anthropic.check import Plain
from providers.dialects.anthropic.words import NAME, PATHS, Json, Object, leftovers, make_form, take_mark
from providers.wire.memory import read_once

#: Parameters that are the same value on both sides: wire -> canonical.
PLAIN: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "service_tier": "service_tier",
}
_MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}

_STRING: Object = {"content": "string"}  # the form of most messages; nobody changes a form
_PLACES = Places("messages", "content")


def decode_request(asked: Asked) -> ChatRequest:
    rest = dict(asked.fields)
    form: Object = {"headers": dict(asked.wire.headers)} if asked.wire.headers else {}
    fields: Object = {
        name: rest.pop(wire) for wire, name in PLAIN.items() if rest.get(wire) is not None and rest[wire] != ""
    }
    model = rest.pop("model")
    system = _system(rest, form)
    if asked.usual is not None:
        messages = _usual(asked.usual, system)
    else:
        others = _messages(rest.pop("messages"), asked)
        messages = others if system is None else (system, *others)
    stop = rest.pop("stop_sequences") if rest.get("stop_sequences") else ()
    if rest.get("tools"):
        tools = rest.pop("tools")
        fields["tools"] = read_once(tools, "anthropic.messages: read", _read_tools)
    _choice(rest, form, fields)
    paths = dict(_output(rest, form, fields))
    metadata = rest.get("metadata")
    if type(metadata) is dict and metadata.get("user_id"):
        fields["end_user"] = metadata["user_id"]
        _scatter(rest, "metadata", ("user_id",), form)
    if "stream" in rest:
        stream = rest.pop("stream")
        if stream is not True or not asked.stream:
            form["stream"] = [stream]
    extra, keep = leftovers(rest)
    if keep:
        form["keep"] = keep
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=messages,
        stop=tuple(stop),
        stream=asked.stream,
        include_usage=True,
        count=asked.task == "count_tokens",
        paths=paths or None,
        extra=extra,
        form=form or None,
        **fields,
    )


def _scatter(rest: Object, key: str, taken: tuple[str, ...], form: Object) -> None:
    """What is left of an object whose fields `taken` have been understood, under dotted keys."""
    left = {name: value for name, value in rest.pop(key).items() if name not in taken}
    form.setdefault("empty", []).append(key)
    for name, value in left.items():
        rest[f"{key}.{name}"] = value


# ── messages ───────────────────────────────────────────────────────────────────────────


def _system(rest: Object, form: Object) -> Message | None:
    system = rest.get("system")
    if not system:
        return None
    del rest["system"]
    if type(system) is str:
        form["system"] = "string"
        return Message(role="system", parts=(Text(text=system, at="system"),), at="system")
    parts = tuple(read_block(block, f"system[{i}]") for i, block in enumerate(system))
    return Message(role="system", parts=parts, at="system")


def _messages(raws: list[Object], asked: Asked) -> tuple[Message, ...]:
    plain = [_plain(raw, i) for i, raw in enumerate(raws)]
    if None not in plain:
        return tuple(one for one in plain if one is not None)
    inputs = raw_inputs(bytes(asked.top["messages"])) if "messages" in asked.top else []
    return tuple([one or _message(raws[i], i, inputs) for i, one in enumerate(plain)])


def _usual(plain: list[Plain], system: Message | None) -> tuple[Message, ...]:
    """The messages of a usual request, after its system text."""
    roles: list[Role] = [one.role for one in plain]
    texts = [one.content for one in plain]
    return as_talk(_PLACES.messages(roles, texts, _STRING), roles, texts, system)


def _plain(raw: Object, number: int) -> Message | None:
    """Most messages among others: a role and a text. None for any other."""
    content = raw["content"]
    if len(raw) != 2 or type(content) is not str:
        return None
    at, inside = _PLACES.of(number)
    return Message(role=raw["role"], parts=(Text(text=content, at=inside),), form=_STRING, at=at)


def _message(raw: Object, number: int, raws: list[list[str | None]]) -> Message:
    at = f"messages[{number}]"
    role, content = raw["role"], raw["content"]
    extra, form = None, None
    if len(raw) > 2:
        extra, keep = leftovers({key: value for key, value in raw.items() if key not in ("role", "content")})
        form = make_form(keep=keep)
    if type(content) is str:
        form = {**(form or {}), "content": "string"}
        return Message(role=role, parts=(Text(text=content, at=f"{at}.content"),), extra=extra, form=form, at=at)
    parts = tuple(
        [read_block(block, f"{at}.content[{i}]", raw_input(raws, number, i)) for i, block in enumerate(content)]
    )
    return Message(role=role, parts=parts, extra=extra, form=form, at=at)


# ── tools ──────────────────────────────────────────────────────────────────────────────


def _read_tools(raws: list[Object]) -> tuple[Tool | ServerTool, ...]:
    return tuple(_tool(raw, f"tools[{i}]") for i, raw in enumerate(raws))


def _tool(raw: Object, at: str) -> Tool | ServerTool:
    kind = raw.get("type")
    if kind not in (None, "custom"):
        return ServerTool(dialect=NAME, kind=str(kind), raw=raw, at=at)
    rest = {key: value for key, value in raw.items() if key not in ("type", "name", "input_schema")}
    cache, written = take_mark(rest, at)
    fields: Object = {}
    for key, expected in (("description", str), ("strict", bool)):
        if type(rest.get(key)) is expected:
            fields[key] = rest.pop(key)
    extra, keep = leftovers(rest)
    form = make_form(keep=keep, cache=written, kind=[kind] if "type" in raw else None)
    return Tool(name=raw["name"], parameters=raw["input_schema"], cache=cache, extra=extra, form=form, at=at, **fields)


def _choice(rest: Object, form: Object, fields: Object) -> None:
    raw = rest.get("tool_choice")
    if not raw:
        return
    del rest["tool_choice"]
    form["choice"] = raw
    single = raw.get("disable_parallel_tool_use")
    if single is not None:
        fields["parallel_tool_calls"] = not single
    known = ("type", "name", "disable_parallel_tool_use")
    extra, _ = leftovers({key: value for key, value in raw.items() if key not in known})
    names = (raw["name"],) if raw["type"] == "tool" else ()
    fields["tool_choice"] = ToolChoice(mode=_MODES[raw["type"]], names=names, extra=extra, at="tool_choice")


# ── thinking and what comes out ────────────────────────────────────────────────────────


def _output(rest: Object, form: Object, fields: Object) -> Mapping[str, str]:
    """thinking, output_config and its older name. Gives the paths that are not the usual ones."""
    paths: dict[str, str] = {}
    config = rest.get("output_config")
    effort = None
    if type(config) is dict and config:
        effort = config.get("effort") or None
        taken = [] if effort is None else ["effort"]
        if _format(config.get("format"), "output_config.format", form, fields):
            taken.append("format")
        _scatter(rest, "output_config", tuple(taken), form)
    if "response_format" not in fields and _format(rest.get("output_format"), "output_format", form, fields):
        del rest["output_format"]
        paths["response_format"] = "output_format"
    thinking = rest.get("thinking")
    if thinking:
        del rest["thinking"]
        form["thinking"] = thinking
        fields["reasoning"] = _thinking(thinking, effort)
        if fields["reasoning"].effort is not None and effort == fields["reasoning"].effort:
            paths["reasoning"] = "output_config.effort"
        elif effort is not None:
            rest["output_config.effort"] = effort
    elif effort is not None:
        fields["reasoning"] = ReasoningConfig(effort=effort, at="output_config.effort")
        paths["reasoning"] = "output_config.effort"
    if effort is not None:
        form["effort"] = effort
    return paths


def _format(raw: Json, at: str, form: Object, fields: Object) -> bool:
    if type(raw) is not dict or raw.get("type") != "json_schema":
        return False
    extra, _ = leftovers({key: value for key, value in raw.items() if key not in ("type", "schema")})
    form["format"] = raw
    fields["response_format"] = ResponseFormat(kind="json_schema", schema=raw["schema"], extra=extra, at=at)
    return True


_THINKING = {
    "enabled": ("type", "budget_tokens", "display"),
    "adaptive": ("type", "display"),
    "disabled": ("type", "display"),
}


def _thinking(raw: Object, effort: str | None) -> ReasoningConfig:
    """How much to think. Adaptive thinking without an effort leaves it to the model (budget -1).

    An effort beside a budget, or beside thinking that is off, says how hard to work on the answer: elsewhere there is
    no such thing.
    """
    kind = raw.get("type")
    known = _THINKING.get(str(kind), ())
    extra, _ = leftovers({key: value for key, value in raw.items() if key not in known})
    fields: dict[str, Any] = {}
    if kind == "enabled":
        fields = {"budget": raw["budget_tokens"]}
    elif kind == "disabled":
        fields = {"effort": "none"}
    elif effort is not None:
        fields = {"effort": effort}
    elif kind == "adaptive":
        fields = {"budget": -1}
    display = raw.get("display")
    show = display == "summarized" if display in ("summarized", "omitted") else None
    return ReasoningConfig(show=show, extra=extra, at=PATHS["reasoning"], **fields)
