"""Requests, written. Nobody asks in this language, so every request here is another dialect's.

`own` fields of the row (documents, safety_mode, …) pass from a caller's unknown fields as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import ChatRequest, ServerTool, Tool
from providers.canonical.loss import Loss, Losses, approximated, dropped, invented, join, lose_extras
from providers.canonical.turns import COMMON, says_more
from providers.dialect import Traits, WireRequest
from providers.wire.json import encode, wrong
from providers.wire.memory import once

from .messages import Writer, refuse
from .words import NAME, Object

PATH = "/v2/chat"

#: Canonical parameter -> name here, where the value is the same.
_PLAIN: Mapping[str, str] = {
    "max_output_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "logprobs": "logprobs",
}
_COMMON = {name: wire for name, wire in _PLAIN.items() if name in COMMON}
#: Canonical parameter -> least, most. Values outside are brought to the nearest inside.
_RANGES: Mapping[str, tuple[float, float]] = {
    "top_p": (0.01, 0.99),
    "top_k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
}
_MOST_STOPS = 5
#: Parameters that have no place here, and what they are when they say nothing.
_UNKNOWN: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("top_logprobs", (None, 0)),
    ("logit_bias", (None, {})),
    ("parallel_tool_calls", (None, True)),
    ("service_tier", (None,)),
    ("end_user", (None,)),
    ("metadata", (None, {})),
    ("store", (None, False)),
    ("verbosity", (None,)),
    ("prediction", (None,)),
    ("cache_key", (None,)),
    ("audio", (None,)),
)
#: Models from before thinking; of others it is not known that they do not think.
_PLAIN_MODELS = ("command-r", "command-a-03-2025", "command-a-vision", "command-a-translate", "c4ai-", "command-light")


def encode_request(request: ChatRequest, losses: Losses, traits: Traits) -> WireRequest:
    extra = dict(request.extra or {})
    passed = {key: extra.pop(key) for key in list(extra) if key in traits.own}
    lose_extras(msgspec.structs.replace(request, extra=extra or None) if passed else request, NAME, losses)
    writer = Writer(request.model, losses)
    body: Object = {"model": request.model, "messages": writer.messages(request.messages)}
    if request.stream:
        body["stream"] = True
    more = says_more(request)
    _write_parameters(request, _PLAIN if more else _COMMON, body, losses)
    _write_tools(request, body, losses)
    if more:
        _write_format(request, body, losses)
        _write_thinking(request, body, losses)
        _lose_the_rest(request, losses)
    body |= passed
    if writer.documents:
        given = body.get("documents") or []
        if type(given) is not list:
            raise wrong("documents", "an array", given)
        body["documents"] = [*given, *writer.documents]
    _apply(traits, body, losses)
    accept = "text/event-stream" if request.stream else "application/json"
    return WireRequest(path=PATH, headers={"content-type": "application/json", "accept": accept}, body=encode(body))


def _write_parameters(request: ChatRequest, names: Mapping[str, str], body: Object, losses: Losses) -> None:
    for name, wire in names.items():
        value = getattr(request, name)
        if value is None:
            continue
        low, high = _RANGES.get(name, (value, value))
        kept = min(max(value, low), high)
        if name == "top_k":
            kept = round(kept)
        if name == "seed" and kept < 0:
            losses.append(dropped(name, "the target takes no seed below 0"))
            continue
        if kept != value:
            losses.append(approximated(name, f"the target takes {low:g} to {high:g}, and whole numbers for k"))
        body[wire] = kept
    if request.stop:
        body["stop_sequences"] = list(request.stop[:_MOST_STOPS])
        if len(request.stop) > _MOST_STOPS:
            losses.append(approximated("stop", f"the target takes at most {_MOST_STOPS}"))


# ── tools ──────────────────────────────────────────────────────────────────────────────


def _write_tools(request: ChatRequest, body: Object, losses: Losses) -> None:
    """A choice of named tools is made by offering no others."""
    choice = request.tool_choice
    names = choice.names if choice is not None else ()
    offered: Sequence[Tool | ServerTool] = request.tools
    if names:
        offered = [tool for tool in request.tools if isinstance(tool, Tool) and tool.name in names]
    written = once(offered, "cohere.chat: written", losses, _write_each, offered)
    if written:
        body["tools"] = written
        _write_strict([tool for tool in offered if isinstance(tool, Tool)], body, losses)
    if choice is None or choice.mode == "auto":
        if choice is not None and choice.validated:
            losses.append(approximated("tool_choice", "the target checks arguments only of strict tools"))
        return
    if written:
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"
    elif choice.mode == "required":
        raise refuse("tool_choice", "there is no tool to call")


def _write_each(tools: Sequence[Tool | ServerTool], losses: Losses) -> list[Object]:
    return [_write_tool(tool, losses) for tool in tools]


def _write_tool(tool: Tool | ServerTool, losses: Losses) -> Object:
    if isinstance(tool, ServerTool):
        raise refuse(tool.at or "tools", f"the target has no tool of its own like {tool.kind}")
    if tool.kind == "custom":
        raise refuse(tool.at or "tools", "the target has no such tool: it knows functions only")
    inner: Object = {"name": tool.name}
    if tool.description is not None:
        inner["description"] = tool.description
    inner["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    if tool.response is not None:
        losses.append(dropped(join(tool.at, "response"), "the target takes no schema of results"))
    if tool.cache is not None:
        losses.append(dropped(tool.cache.at or join(tool.at, "cache_control"), "the target takes no cache marks"))
    return {"type": "function", "function": inner}


def _write_strict(tools: list[Tool], body: Object, losses: Losses) -> None:
    """Strictness is of all tools or of none."""
    strict = [tool for tool in tools if tool.strict]
    if strict and len(strict) == len(tools):
        body["strict_tools"] = True
    for tool in strict if len(strict) < len(tools) else ():
        losses.append(dropped(join(tool.at, "strict"), "the target is strict with all tools or with none"))


# ── output ─────────────────────────────────────────────────────────────────────────────


def _write_format(request: ChatRequest, body: Object, losses: Losses) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if "tools" in body:
        raise refuse("response_format", "the target takes no format of the answer together with tools")
    out: Object = {"type": "json_object"}
    if wanted.kind == "json_schema" and wanted.schema is not None:
        out["json_schema"] = wanted.schema
    elif b"json" not in encode(body["messages"]).lower():
        body["messages"].insert(0, {"role": "system", "content": "Answer in JSON."})
        losses.append(invented("response_format", "the target wants to be told in a message, too"))
    if wanted.description is not None:
        at = join(wanted.at, "description") if wanted.at else "response_format"
        losses.append(Loss(at, "dropped", "the target takes a schema alone", literal=bool(wanted.at)))
    body["response_format"] = out


def _write_thinking(request: ChatRequest, body: Object, losses: Losses) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    off = wanted.effort == "none" or wanted.budget == 0
    if request.model.startswith(_PLAIN_MODELS):
        if not off and (wanted.effort is not None or wanted.budget is not None):
            losses.append(dropped("reasoning", "this model does not think"))
        if wanted.show:
            losses.append(dropped("show_reasoning", "this model does not think"))
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    if wanted.effort is not None or wanted.budget is not None or wanted.show:
        body["thinking"] = {"type": "enabled"}
    if wanted.budget is not None and wanted.budget > 0:
        body["thinking"]["token_budget"] = wanted.budget
    elif wanted.effort is not None:
        losses.append(approximated("reasoning", "the target takes a number of tokens, not an effort"))
    if wanted.show is False:
        losses.append(dropped("show_reasoning", "the target shows its thinking always"))


def _lose_the_rest(request: ChatRequest, losses: Losses) -> None:
    if request.n is not None and request.n != 1:
        raise refuse("n", "the target gives one choice")
    if request.cached_content is not None:
        raise refuse("cached_content", "the target does not hold this cached content")
    others = [word for word in request.modalities if word != "text"]
    if others and "text" not in request.modalities:
        raise refuse("modalities", "the target answers in text only")
    if others:
        losses.append(dropped("modalities", "the target answers in text only"))
    for name, nothing in _UNKNOWN:
        if getattr(request, name) not in nothing:
            losses.append(dropped(name, "the target has no such parameter"))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))


# ── what the row says of its upstream ──────────────────────────────────────────────────

_CANONICAL = {wire: name for name, wire in _PLAIN.items()} | {"stop_sequences": "stop", "thinking": "reasoning"}


def _apply(traits: Traits, body: Object, losses: Losses) -> None:
    """Fields that the upstream ignores are not sent, those that it rejects are refused."""
    for key in list(body) if traits.rejects or traits.ignores else ():
        field = _CANONICAL.get(key, key)
        if key in traits.rejects and body[key] is not None:
            raise refuse(field, "the target refuses this field")
        if key in traits.ignores:
            del body[key]
            losses.append(dropped(field, "the target ignores this field"))
