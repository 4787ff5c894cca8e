"""Requests, both ways: chat and generate read, chat written; options by one table.

`form` of the request: `task`, `stream` (as it was written), `options` (keys there that say nothing), `keep`.
What only this language knows stands in `extra`, options as `options.num_ctx`. What would be another question without it
(`suffix`, `raw`, a `context` of tokens, a request that only loads the model) is refused as soon as somebody wants to
translate it; the relay lane passes it on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import (
    ChatRequest,
    Message,
    ReasoningConfig,
    ResponseFormat,
    ServerTool,
    Text,
    Tool,
)
from providers.canonical.loss import Loss, Losses, approximated, dropped, join, lose_extras
from providers.canonical.turns import COMMON, says_more
from providers.dialect import PLAIN, Asked, Traits, WireRequest
from providers.wire.json import encode, splice, take_integer
from providers.wire.memory import once, read_once

from .messages import read_messages, read_usual, take_images
from .spoken import Writer, refuse
from .words import CONTENT_TYPE, NAME, OPTIONS, PATHS, Json, Object, form_of, leftovers, make_form

_COMMON = {key: name for key, name in OPTIONS.items() if name in COMMON}

# ── reading ────────────────────────────────────────────────────────────────────────────


def decode(asked: Asked) -> ChatRequest:
    """The canonical request. UnsupportedParameter for what has no meaning elsewhere."""
    rest = dict(asked.fields)
    del rest["model"]
    rest.pop("stream", None)
    generates = asked.task == "generate"
    messages = _prompt(rest) if generates else _messages(rest, asked)
    raws = rest.get("tools") or []
    tools = read_once(raws, "ollama.chat: read", _read_tools)
    if tools:
        del rest["tools"]
    fields, options, said = _options(rest)
    for key in ("logprobs", "top_logprobs") if rest else ():
        if rest.get(key) is not None:
            fields[key] = take_integer(rest, key) if key == "top_logprobs" else rest[key]
            del rest[key]
    response_format, reasoning = (_format(rest), _thinking(rest)) if rest else (None, None)
    extra, keep = leftovers(rest)
    form = make_form(
        task="generate" if generates else None,
        stream=[asked.fields["stream"]] if "stream" in asked.fields else None,
        options=[options] if said else None,
        keep=keep,
    )
    if others := fields.pop("others"):
        extra = {**{f"options.{key}": value for key, value in others.items()}, **(extra or {})}
    return ChatRequest(
        dialect=NAME,
        model=asked.model,
        messages=messages,
        tools=tools,
        stream=asked.stream,
        include_usage=True,
        response_format=response_format,
        reasoning=reasoning,
        extra=extra,
        form=form,
        **fields,
    )


def _messages(rest: Object, asked: Asked) -> tuple[Message, ...]:
    if asked.usual:
        return read_usual(asked.usual)
    raws = rest.pop("messages", None)
    if not raws:
        raise refuse("messages", "only a server of the caller's dialect can be asked to load a model")
    return read_messages(raws, bytes(asked.top["messages"]))


def _prompt(rest: Object) -> tuple[Message, ...]:
    """The system text and the prompt of a generate request as messages."""
    for key, why in (
        ("suffix", "the target cannot fill in a text before a suffix"),
        ("raw", "the target cannot be asked without its template"),
        ("context", "the target does not know the tokens of an earlier answer"),
    ):
        if rest.get(key):
            raise refuse(key, why)
    messages = []
    if rest.get("system"):
        system = rest.pop("system")
        messages.append(Message(role="system", parts=(Text(text=system, at="system"),), at="system"))
    prompt = rest.pop("prompt") if rest.get("prompt") else None
    images = take_images(rest, "")
    if prompt is None and not images:
        raise refuse("prompt", "only a server of the caller's dialect can be asked to load a model")
    asked = (Text(text=prompt, at="prompt"),) if prompt is not None else ()
    return (*messages, Message(role="user", parts=(*asked, *images), at="prompt"))


def _options(rest: Object) -> tuple[Object, Object, bool]:
    """Canonical parameters (under `others` what only this language has), keys that say nothing; were there options?"""
    if rest.get("options") is None:
        return {"others": {}}, {}, False
    left: Object = {}
    fields: Object = {}
    for key, value in rest.pop("options").items():
        name = OPTIONS.get(key)
        if name is None or value is None or value == [] or (key == "num_predict" and value <= 0):
            left[key] = value  # -1 and -2: as much as there is room for
        else:
            fields[name] = tuple(value) if key == "stop" else _as_integer(value) if key in _WHOLE else value
    if not left:
        fields["others"] = {}
        return fields, {}, True
    others, keep = leftovers(left)
    for key in _ON if keep else ():
        if keep is not None and keep.get(key) is False:
            others = {**(others or {}), key: keep.pop(key)}
    quiet = {**(keep or {}), **({"num_predict": -1} if left.get("num_predict") == -1 else {})}
    fields["others"] = {key: value for key, value in (others or {}).items() if key not in quiet}
    return fields, quiet, True


_WHOLE = frozenset({"num_predict", "top_k", "seed"})
#: Options that are on where nothing is said: of these `false` says something.
_ON = ("f16_kv", "use_mmap", "penalize_newline")


def _as_integer(value: Json) -> int:
    return int(value)


def _read_tools(raws: list[Object]) -> tuple[Tool | ServerTool, ...]:
    return tuple(_tool(raw, f"tools[{i}]") for i, raw in enumerate(raws))


def _tool(raw: Object, at: str) -> Tool | ServerTool:
    if raw.get("type", "function") != "function":
        return ServerTool(dialect=NAME, kind=str(raw["type"]), raw=raw, at=at)
    around = {key: value for key, value in raw.items() if key not in ("type", "function")}
    inner = dict(raw["function"])
    fields: Object = {"name": inner.pop("name")}
    for key in ("description", "parameters"):
        if inner.get(key) is not None:
            fields[key] = inner.pop(key)
    extra, keep = leftovers(inner)
    outer, beside = leftovers(around)
    form = make_form(
        keep=keep,
        beside=beside,
        outer=list(outer or ()),
        kind=None if "type" in raw else "absent",
    )
    return Tool(extra={**(outer or {}), **(extra or {})} or None, form=form, at=f"{at}.function", **fields)


def _format(rest: Object) -> ResponseFormat | None:
    if rest.get("format") in (None, ""):
        return None
    wanted = rest.pop("format")  # `{}` is a schema, too: any JSON
    if wanted == "json":
        return ResponseFormat(kind="json_object", at="format")
    return ResponseFormat(kind="json_schema", schema=wanted, form={"schema": "format"}, at="format")


def _thinking(rest: Object) -> ReasoningConfig | None:
    """`true`: the model thinks as much as it likes, and shows it; a word is an effort."""
    wanted = rest.get("think")
    if wanted is None or wanted == "":
        return None
    del rest["think"]
    if wanted is True:
        return ReasoningConfig(budget=-1, show=True, at="think")
    return ReasoningConfig(effort=wanted or "none", form={"raw": wanted}, at="think")


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_request(request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    """The request as a chat, or as the generate request that it was."""
    own = request.dialect == NAME
    form = form_of(request) if own else {}
    passed = {} if own else {key: value for key, value in (request.extra or {}).items() if key in traits.own}
    left = msgspec.structs.replace(request, extra=_without(request.extra, passed)) if passed else request
    lose_extras(left, NAME, losses)
    body: Object = {"model": request.model}
    if form.get("task") == "generate":
        body |= _write_prompt(request)
    else:
        body["messages"] = Writer(own, losses).messages(request.messages)
        _write_tools(request, body, losses, own)
    body["stream"] = request.stream
    more = own or says_more(request)
    if more:
        _write_format(request, body, losses, own)
        _write_thinking(request, body, losses, own)
        for key in ("logprobs", "top_logprobs"):
            if getattr(request, key) is not None:
                body[key] = getattr(request, key)
    options: Object = {
        key: value
        for key, name in (OPTIONS if more else _COMMON).items()
        if (value := getattr(request, name)) is not None and value != ()
    }
    if own:
        _restore(request, form, body, options)
    else:
        if more:
            _fit(request, body, options, losses)
        body |= {key: value for key, value in passed.items() if key != "options"}
        options = {**_object(passed.get("options")), **options}
    if options or "options" in form:
        body["options"] = options
    _apply(traits, body, losses)
    return WireRequest(path=f"/api/{form.get('task', 'chat')}", headers=headers(request.stream), body=encode(body))


def headers(stream: bool) -> dict[str, str]:
    return {"content-type": "application/json", "accept": CONTENT_TYPE if stream else "application/json"}


def _without(extra: Mapping[str, Json] | None, passed: Object) -> Mapping[str, Json] | None:
    return {key: value for key, value in extra.items() if key not in passed} if extra else extra


def _object(value: Json) -> Object:
    return value if type(value) is dict else {}


def _restore(request: ChatRequest, form: Mapping[str, Json], body: Object, options: Object) -> None:
    """Everything else that stood in a request of this dialect's own."""
    body.update(form.get("keep", {}))
    del body["stream"]
    if "stream" in form:
        body["stream"] = form["stream"][0]
    for key, value in (request.extra or {}).items():
        if key.startswith("options."):
            options[key.removeprefix("options.")] = value
        else:
            body[key] = value
    if "options" in form:
        options.update(form["options"][0])


def _write_prompt(request: ChatRequest) -> Object:
    out: Object = {}
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Text):
                out["system" if message.role == "system" else "prompt"] = part.text
    images = Writer(True, []).images(request.messages[-1].parts)
    if images:
        out["images"] = images
    return out


def _write_tools(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    tools, choice = request.tools, request.tool_choice
    if choice is not None:
        if choice.mode == "none":
            tools = ()
            _lose_others(request.tools, losses)
            if request.tools:
                losses.append(approximated("tool_choice", "the target knows no choice: it is told of no tools"))
        elif choice.names:
            tools = tuple(tool for tool in tools if isinstance(tool, ServerTool) or tool.name in choice.names)
            if choice.mode == "required":
                reason = "the target cannot be made to call: it is told of these alone"
                losses.append(approximated("tool_choice", reason))
            elif choice.validated:
                losses.append(approximated("tool_choice", "the target checks no arguments"))
        elif choice.mode == "required":
            losses.append(dropped("tool_choice", "the target cannot be made to call a tool"))
        else:
            losses.append(dropped("tool_choice", "the target has no such parameter"))
    if request.parallel_tool_calls is False:
        losses.append(dropped("parallel_tool_calls", "the target has no such parameter"))
    if own:
        written = _write_each(tools, own, losses)
    else:
        written = once(tools, "ollama.chat: written", losses, _write_each, tools, own)
    if written:
        body["tools"] = written


def _lose_others(tools: Sequence[Tool | ServerTool], losses: Losses) -> None:
    """Tools that run at the provider may run all the same where a choice keeps the model from calling."""
    for tool in tools:
        if isinstance(tool, ServerTool):
            losses.append(dropped(tool.at or "tools", f"the target has no tool of its own like {tool.kind}"))


def _objects(schema: Json) -> Json:
    """A schema whose properties are objects, as servers read them: `true` is `{}`, `false` is what fits nothing."""
    if type(schema) is bool:
        return {} if schema else {"not": {}}
    properties = schema.get("properties") if type(schema) is dict else None
    if type(properties) is not dict:
        return schema
    return {**schema, "properties": {name: _objects(one) for name, one in properties.items()}}


def _write_each(tools: Sequence[Tool | ServerTool], own: bool, losses: Losses) -> list[Object]:
    return [_write_tool(tool, losses, own) for tool in tools]


def _write_tool(tool: Tool | ServerTool, losses: Losses, own: bool) -> Object:
    if isinstance(tool, ServerTool):
        if tool.dialect == NAME:
            return dict(tool.raw)
        raise refuse(tool.at or "tools", f"the target has no tool of its own like {tool.kind}")
    if tool.kind == "custom":
        raise refuse(tool.at or "tools", "the target has no such tool: it knows functions only")
    form = form_of(tool) if own else {}
    inner: Object = {"name": tool.name}
    if tool.description is not None:
        inner["description"] = tool.description
    if own and tool.parameters is not None:
        inner["parameters"] = tool.parameters
    elif not own:
        inner["parameters"] = _objects(tool.parameters or {"type": "object", "properties": {}})
    out: Object = {} if form.get("kind") == "absent" else {"type": "function"}
    out["function"] = inner
    if own:
        outer = form.get("outer", ())
        for key, value in (tool.extra or {}).items():
            (out if key in outer else inner)[key] = value
        inner.update(form.get("keep", {}))
        return {**out, **form.get("beside", {})}
    if tool.strict:
        losses.append(dropped(join(tool.at, "strict"), "the target checks no arguments"))
    if tool.response is not None:
        losses.append(dropped(join(tool.at, "response"), "the target takes no schema of results"))
    if tool.cache is not None:
        losses.append(dropped(tool.cache.at or join(tool.at, "cache_control"), "the target takes no cache marks"))
    return out


def _write_format(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is not None:
        body["format"] = wanted.schema
    else:
        body["format"] = "json"
    if wanted.description is not None and not own:
        at = join(wanted.at, "description") if wanted.at else "response_format"
        losses.append(Loss(at, "dropped", "the target takes a schema alone", literal=bool(wanted.at)))


_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def _write_thinking(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    if own:
        body["think"] = form_of(wanted).get("raw", True)
        return
    effort, budget = wanted.effort, wanted.budget
    if effort == "none" or (effort is None and budget == 0):
        body["think"] = False
        return
    if effort is not None:
        level = _LEVELS.get(effort)
        body["think"] = level or True
        if level != effort:
            losses.append(approximated("reasoning", "the target knows low, medium and high"))
    elif budget is not None:
        body["think"] = True if budget < 0 else "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"
        if budget > 0:
            losses.append(approximated("reasoning", "the target takes a level, not a number of tokens"))
    elif wanted.show:
        body["think"] = True
    if wanted.show is False:
        losses.append(dropped("show_reasoning", "the target shows its thinking always"))


#: Parameters that have no place here, and what they are when they say nothing.
_UNKNOWN: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("logit_bias", (None, {})),
    ("service_tier", (None,)),
    ("end_user", (None,)),
    ("metadata", (None, {})),
    ("store", (None, False)),
    ("verbosity", (None,)),
    ("prediction", (None,)),
    ("cache_key", (None,)),
    ("audio", (None,)),
)


def _fit(request: ChatRequest, body: Object, options: Object, losses: Losses) -> None:
    """Parameters of another dialect's caller, brought into this one's ranges."""
    if request.n is not None and request.n != 1:
        raise refuse("n", "the target gives one choice")
    if request.cached_content is not None:
        raise refuse("cached_content", "the target does not hold this cached content")
    others = [word for word in request.modalities if word != "text"]
    if others and "text" not in request.modalities:
        raise refuse("modalities", "the target answers in text only")
    if others:
        losses.append(dropped("modalities", "the target answers in text only"))
    top_k = options.get("top_k")
    if top_k is not None and type(top_k) is not int:
        options["top_k"] = round(top_k)
        if top_k != round(top_k):
            losses.append(approximated("top_k", "the target takes whole numbers"))
    if request.top_logprobs is not None and request.top_logprobs > 20:
        body["top_logprobs"] = 20
        losses.append(approximated("top_logprobs", "the target gives up to 20"))
    for name, nothing in _UNKNOWN:
        if getattr(request, name) not in nothing:
            losses.append(dropped(name, "the target has no such parameter"))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))


# ── what the row says of its upstream ──────────────────────────────────────────────────


def _apply(traits: Traits, body: Object, losses: Losses, *, names: bool = True) -> None:
    """Fields that the upstream ignores are not sent, those that it rejects are refused. Options count as fields."""
    if not traits.ignores and not traits.rejects:
        return
    options = body.get("options")
    places: list[tuple[Object, str]] = [(body, ""), (options if type(options) is dict else {}, "options.")]
    for holder, prefix in places:
        for key in list(holder):
            field = (OPTIONS.get(key, key) if prefix else _CANONICAL.get(key, key)) if names else prefix + key
            spelled = {prefix + key, key}
            if spelled & traits.rejects and holder[key] is not None:
                raise refuse(field, "the target refuses this field")
            if spelled & traits.ignores:
                del holder[key]
                losses.append(dropped(field, "the target ignores this field"))


_CANONICAL = {path: name for name, path in PATHS.items() if name != "show_reasoning"}


def relay(asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    """The caller's bytes, with another model where one is needed; untouched where not."""
    replace: Object = {} if model == asked.model else {"model": model}
    drop: set[str] = set()
    if traits.ignores or traits.rejects:
        body = dict(asked.body)
        if "options" in body:
            body["options"] = dict(body["options"] or {})
        _apply(traits, body, losses, names=False)
        drop = asked.body.keys() - body.keys()
        if body.get("options", {}) != (asked.body.get("options") or {}):
            replace["options"] = body["options"]
    data = asked.wire.body
    if replace or drop:
        data = splice(asked.top, replace, frozenset(drop))
    return WireRequest(path=f"/api/{asked.task}", headers=headers(asked.stream), body=data)
