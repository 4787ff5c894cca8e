"""Requests, both ways: parameters by one table, tools and the like by functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import (
    AudioConfig,
    ChatRequest,
    ReasoningConfig,
    ResponseFormat,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.loss import Losses, approximated, at_least_one, dropped, invented, join, lose_extras
from providers.canonical.turns import COMMON, says_more
from providers.dialect import PLAIN, Asked, Traits, WireRequest
from providers.dialects._openai.values import (
    TIER_WORDS,
    TIERS,
    Json,
    Object,
    beyond_choice,
    leftovers,
    make_form,
    restore,
    take_mark,
)
from providers.wire.json import encode, splice
from providers.wire.memory import once, read_once

from . import narrow, quirks
from .messages import form_of, read_messages, read_usual
from .spoken import Writer, refuse
from .words import NAME

HEADERS = {"content-type": "application/json"}

# Canonical parameter -> where callers of this dialect write it, where that is another name.
PATHS: Mapping[str, str] = {
    "max_output_tokens": "max_completion_tokens",
    "reasoning": "reasoning_effort",
    "end_user": "safety_identifier",
    "cache_key": "prompt_cache_key",
    "include_usage": "stream_options.include_usage",
    "messages[].tool_calls[].called": "messages[].tool_calls[].id",
    "messages[].answered": "messages[].tool_call_id",
    "messages[].named": "messages[].name",
}

# Parameters that are the same value on both sides: (canonical, wire).
_PLAIN = tuple(
    (name, PATHS.get(name, name))
    for name in (
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "parallel_tool_calls",
        "service_tier",
        "end_user",
        "metadata",
        "store",
        "verbosity",
        "prediction",
        "cache_key",
    )
)
_COMMON = tuple(pair for pair in _PLAIN if pair[0] in COMMON)
_READ = {wire: name for name, wire in _PLAIN}
_NAMES = {wire: name for name, wire in _PLAIN} | {"max_tokens": "max_output_tokens", "user": "end_user"}
_TYPES: Mapping[str, tuple[type, ...]] = {"top_k": (int, float)}  # read only where it is just what canonical holds


# ── reading ────────────────────────────────────────────────────────────────────────────


def decode(asked: Asked) -> ChatRequest:
    rest = dict(asked.fields)
    paths: dict[str, str] = {}
    fields: Object = {}
    if "max_tokens" in rest:
        _older(rest, "max_completion_tokens", "max_tokens", fields, paths)
    if "user" in rest:
        _older(rest, "safety_identifier", "user", fields, paths)
    for wire, value in asked.fields.items():
        name = _READ.get(wire)
        if name is None or value is None or value == {} or (wire in _TYPES and type(value) not in _TYPES[wire]):
            continue
        if wire in rest:
            fields[name] = rest.pop(wire)
    model = rest.pop("model")
    messages = read_usual(asked.usual) if asked.usual is not None else read_messages(rest.pop("messages"))
    stream = rest.pop("stream", None)
    tools, legacy = _tools(rest) if "tools" in rest or "functions" in rest else ((), False)
    if not rest and not legacy:  # most requests
        return ChatRequest(
            dialect=NAME,
            model=model,
            messages=messages,
            tools=tools,
            stream=bool(stream),
            include_usage=asked.include_usage,
            paths=paths or None,
            form=None if stream is True or "stream" not in asked.fields else {"stream": [stream]},
            **fields,
        )
    choice = _tool_choice(rest)
    if choice is not None and choice.at != "tool_choice":
        paths["tool_choice"] = choice.at
    stop = rest.get("stop")
    if stop:
        del rest["stop"]
    options = rest.get("stream_options") or {}
    form_options = None
    if (
        options
        and set(options) <= {"include_usage", "include_obfuscation"}
        and options.get("include_obfuscation") is not True
    ):
        form_options = rest.pop("stream_options")  # we never pad, so only a wish for padding would be lost
    modalities = rest.get("modalities")
    if modalities:
        del rest["modalities"]
    response_format, reasoning, audio = _response_format(rest), _reasoning(rest), _audio(rest)
    extra, keep = leftovers(rest)
    form = make_form(
        keep=keep,
        stream=[stream] if stream is not True and "stream" in asked.fields else None,
        stop="string" if type(stop) is str else None,
        options=form_options,
        legacy=legacy,
    )
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        stop=(stop,) if type(stop) is str and stop else tuple(stop or ()),
        modalities=tuple(modalities or ()),
        stream=bool(stream),
        include_usage=asked.include_usage,
        paths=paths or None,
        extra=extra,
        form=form,
        response_format=response_format,
        reasoning=reasoning,
        audio=audio,
        **fields,
    )


def _older(rest: Object, new: str, old: str, fields: Object, paths: dict[str, str]) -> None:
    """A parameter with an older name, which counts where the new one is not there."""
    if rest.get(new) is None and rest.get(old) is not None:
        name = _NAMES[old]
        fields[name] = rest.pop(old)
        paths[name] = old


def _tools(rest: Object) -> tuple[tuple[Tool | ServerTool, ...], bool]:
    tools = rest.get("tools") if type(rest.get("tools")) is list else None  # else switches, which are `extra`
    functions = rest.get("functions")
    found: list[Tool | ServerTool] = []
    if tools:
        raws = rest.pop("tools")
        known = read_once(raws, "openai.chat: read", _read_tools)
        if not functions:
            return known, False
        found += known
    if functions:
        for i, raw in enumerate(rest.pop("functions")):
            tool = _function({"function": raw}, "function", f"functions[{i}]")
            found.append(msgspec.structs.replace(tool, at=f"functions[{i}]", form={**form_of(tool), "legacy": True}))
    return tuple(found), bool(functions)


def _read_tools(raws: list[Object]) -> tuple[Tool | ServerTool, ...]:
    return tuple(_tool(raw, f"tools[{i}]") for i, raw in enumerate(raws))


def _tool(raw: Object, at: str) -> Tool | ServerTool:
    kind = raw.get("type", "function")
    if kind in ("function", "custom") and type(raw.get(kind)) is dict:
        return _function(raw, kind, at)
    return ServerTool(dialect=NAME, kind=str(kind), raw=raw, at=at)


def _function(raw: Object, kind: str, at: str) -> Tool:
    around = {key: value for key, value in raw.items() if key not in ("type", kind)}
    cache, written = take_mark(around, at)
    inner = dict(raw[kind])
    fields: Object = {"name": inner.pop("name")}
    for key, expected in (("description", str), ("parameters", dict), ("strict", bool)):
        if type(inner.get(key)) is expected and (kind == "function" or key == "description"):
            fields[key] = inner.pop(key)
    extra, keep = leftovers(inner)
    outer, beside = leftovers(around)
    form = make_form(
        keep=keep,
        beside=beside,
        outer=list(outer or ()),
        cache=written,
        kind=None if "type" in raw else "absent",
    )
    together = {**(outer or {}), **(extra or {})} or None
    return Tool(
        kind="custom" if kind == "custom" else "function",
        cache=cache,
        extra=together,
        form=form,
        at=f"{at}.{kind}",
        **fields,
    )


def _tool_choice(rest: Object) -> ToolChoice | None:
    key = "tool_choice" if rest.get("tool_choice") else "function_call"
    raw = rest.get(key)
    if not raw:
        return None
    read = _choice_word(raw) if type(raw) is str else _choice_object(raw, key)
    if read is None:
        return None  # a form that we do not know stays in `extra`
    del rest[key]
    mode, names = read
    return ToolChoice(mode=mode, names=names, extra=beyond_choice(raw), form={"raw": raw, "key": key}, at=key)


def _choice_word(word: str) -> tuple[Any, tuple[str, ...]] | None:
    mode = "required" if word == "any" else word
    return (mode, ()) if mode in ("auto", "none", "required") else None


def _choice_object(raw: Object, key: str) -> tuple[Any, tuple[str, ...]] | None:
    if key == "function_call":
        return "required", (raw["name"],)
    allowed = raw.get("allowed_tools")
    if raw.get("type") == "allowed_tools" and type(allowed) is dict:
        names = [_named(tool) for tool in allowed.get("tools", ()) if type(tool) is dict]
        if names and all(names) and allowed.get("mode") in ("auto", "required"):
            return allowed["mode"], tuple(name for name in names if name)
        return None
    name = _named(raw)
    return ("required", (name,)) if name else None


def _named(raw: Object) -> str | None:
    inner = raw.get("custom" if raw.get("type") == "custom" else "function")
    name = inner.get("name") if type(inner) is dict else raw.get("name")
    return name if type(name) is str and name else None


def _response_format(rest: Object) -> ResponseFormat | None:
    raw = rest.get("response_format")
    kind = raw.get("type") if type(raw) is dict else None
    if type(raw) is not dict or kind not in ("text", "json_object", "json_schema"):
        return None
    del rest["response_format"]
    around = {key: value for key, value in raw.items() if key != "type"}
    if kind != "json_schema" or type(raw.get("json_schema")) is not dict:
        extra, keep = leftovers(around)
        return ResponseFormat(kind=kind, extra=extra, form=make_form(keep=keep, bare=True), at="response_format")
    inner = dict(around.pop("json_schema"))
    fields: Object = {}
    for key, expected in (("schema", dict), ("name", str), ("description", str), ("strict", bool)):
        if type(inner.get(key)) is expected:
            fields[key] = inner.pop(key)
    extra, keep = leftovers(inner)
    outer, beside = leftovers(around)
    form = make_form(keep=keep, beside=beside, outer=list(outer or ()))
    together = {**(outer or {}), **(extra or {})} or None
    return ResponseFormat(kind=kind, extra=together, form=form, at="response_format.json_schema", **fields)


def _reasoning(rest: Object) -> ReasoningConfig | None:
    effort = rest.get("reasoning_effort")
    if type(effort) is not str or not effort:
        return None
    del rest["reasoning_effort"]
    return ReasoningConfig(effort=effort, at="reasoning_effort")


def _audio(rest: Object) -> AudioConfig | None:
    raw = rest.get("audio")
    if type(raw) is not dict or not raw:
        return None
    inner = dict(rest.pop("audio"))
    format_ = inner.pop("format") if type(inner.get("format")) is str else None
    voice = inner.pop("voice", None)
    extra, keep = leftovers(inner)
    return AudioConfig(voice=voice, format=format_, extra=extra, form=make_form(keep=keep), at="audio")


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_request(request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    own = request.dialect == NAME
    passed = {} if own else {key: value for key, value in (request.extra or {}).items() if key in traits.own}
    _lose_extras(request, passed, losses)
    if traits.ranges:
        narrow.within(traits.ranges, ((name, wire, getattr(request, name)) for name, wire in _PLAIN))
    if "stop_here" in traits.quirks and not own:
        narrow.stop_here({"stop": request.stop}, losses, False)
        request = msgspec.structs.replace(request, stop=())
    form = form_of(request) if own else {}
    body: Object = {"model": request.model, "messages": Writer(own, traits, losses).messages(request.messages)}
    more = own or says_more(request)
    for name, wire in _PLAIN if more else _COMMON:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if own:
        for name, path in (request.paths or {}).items():
            if (usual := PATHS.get(name, name)) in body:
                body[path] = body.pop(usual)
    else:
        _fit(request, body, losses, traits, more=more)
    _write_tools(request, body, losses, own, plain=not traits.quirks)
    if more:
        if request.stop:
            stop = request.stop if own else request.stop[:4]
            body["stop"] = stop[0] if form.get("stop") == "string" else list(stop)
        _write_format(request, body, losses, own, schema="json_schema_field" in traits.quirks)
        _write_reasoning(request, body, losses)
        _write_audio(request, body, losses, own)
    if request.stream:
        body["stream"] = True
        if (own and request.include_usage) or _tells_usage(traits):
            body["stream_options"] = {**(form.get("options") or {}), "include_usage": True}
    elif "options" in form:
        body["stream_options"] = form["options"]
    if own:
        if "stream" in form:
            body["stream"] = form["stream"][0]
        options = body.get("stream_options")
        body.update(request.extra or {})
        if options and type(body.get("stream_options")) is dict:
            body["stream_options"] = {**body["stream_options"], **options}
        restore(body, form)
    elif body.get("response_format") == {"type": "text"} and "response_format" in traits.rejects:
        del body["response_format"]  # that is what it does anyway
    body |= passed
    query = _apply(traits, body, losses, names=True)
    path = quirks.path(request.model, traits.quirks)
    return WireRequest(path=path, query=query, headers=dict(HEADERS), body=encode(body))


def _lose_extras(request: ChatRequest, passed: Object, losses: Losses) -> None:
    if passed:
        rest = {key: value for key, value in (request.extra or {}).items() if key not in passed}
        request = msgspec.structs.replace(request, extra=rest or None)
    lose_extras(request, NAME, losses)


def _tells_usage(traits: Traits) -> bool:
    """Can the upstream be asked for usage in a stream?"""
    if traits.takes is not None and "stream_options" not in traits.takes:
        return False
    return "stream_options" not in traits.ignores | traits.rejects


_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}

_COMMON_RANGES = tuple(pair for pair in _RANGES.items() if pair[0] in COMMON)


def _fit(request: ChatRequest, body: Object, losses: Losses, traits: Traits, *, more: bool) -> None:
    """Parameters of another dialect's caller, brought into this one's ranges and words."""
    for key, (low, high) in _RANGES.items() if more else _COMMON_RANGES:
        value = body.get(key)
        if value is not None and not low <= value <= high:
            body[key] = min(max(value, low), high)
            losses.append(approximated(key, f"the target takes {low} to {high}"))
    if request.max_output_tokens is not None:
        body["max_completion_tokens"] = at_least_one(request.max_output_tokens, losses)
    if not more:
        return
    if request.n is not None and not 1 <= request.n <= 128:
        raise refuse("n", "the target gives 1 to 128 choices")
    if request.n == 1:
        del body["n"]  # the default; some servers know no n at all
    if "top_k" in body and "top_k" not in traits.own:
        del body["top_k"]
        losses.append(dropped("top_k", "the target has no such parameter"))
    tier = request.service_tier
    if tier is not None:
        body["service_tier"] = TIERS.get(tier.lower(), tier.lower())
        if body["service_tier"] not in TIER_WORDS:
            del body["service_tier"]
            losses.append(dropped("service_tier", "the target knows no such tier"))
    if request.logit_bias is not None:
        body["logit_bias"] = {token: round(bias) for token, bias in request.logit_bias.items()}
        if body["logit_bias"] != dict(request.logit_bias):
            losses.append(approximated("logit_bias", "the target takes whole numbers"))
    if request.cached_content is not None:
        raise refuse("cached_content", "the target does not hold this cached content")
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))
    if len(request.stop) > 4:
        losses.append(approximated("stop", "the target takes at most 4"))


def _write_tools(request: ChatRequest, body: Object, losses: Losses, own: bool, *, plain: bool) -> None:
    """`plain`: nobody looks at the tools after this."""

    if plain and not own:
        written = once(request.tools, "openai.chat: written", losses, _write_each, request.tools, own)
    else:
        written = _write_each(request.tools, own, losses)
    legacy = own and bool(form_of(request).get("legacy"))
    if legacy:
        body["functions"] = [
            raw["function"] for raw, tool in zip(written, request.tools) if form_of(tool).get("legacy")
        ]
        written = [raw for raw, tool in zip(written, request.tools) if not form_of(tool).get("legacy")]
    if written:
        body["tools"] = written
    choice = request.tool_choice
    if own:
        if choice is not None:
            form = form_of(choice)
            body[form["key"]] = form["raw"]
        return
    if not written:
        if body.pop("parallel_tool_calls", None) is not None:
            losses.append(dropped("parallel_tool_calls", "the target refuses it without tools"))
        if choice is not None and choice.mode == "required":
            losses.append(dropped("tool_choice", "there is no tool left to call"))
    elif choice is not None:
        body["tool_choice"] = _write_choice(choice, request)
        if choice.validated:
            losses.append(approximated("tool_choice", "the target checks arguments only of strict tools"))


def _write_each(tools: Sequence[Tool | ServerTool], own: bool, losses: Losses) -> list[Object]:
    return [raw for tool in tools if (raw := _write_tool(tool, losses, own)) is not None]


def _write_tool(tool: Tool | ServerTool, losses: Losses, own: bool) -> Object | None:
    if isinstance(tool, ServerTool):
        if tool.dialect == NAME:
            return dict(tool.raw)
        losses.append(dropped(tool.at or "tools", f"the target has no tool of its own like {tool.kind}"))
        return None
    form = form_of(tool) if own else {}
    inner: Object = {"name": tool.name}
    for key, value in (("description", tool.description), ("parameters", tool.parameters), ("strict", tool.strict)):
        if value is not None:
            inner[key] = value
    out: Object = {} if form.get("kind") == "absent" else {"type": tool.kind}
    out[tool.kind] = inner
    if own:
        outer = form.get("outer", ())
        for key, value in (tool.extra or {}).items():
            (out if key in outer else inner)[key] = value
        out |= form.get("beside", {})
        out |= form.get("cache", {})
        restore(inner, form)
        return out
    if tool.response is not None:
        losses.append(dropped(join(tool.at, "response"), "the target takes no schema of results"))
    if tool.cache is not None:
        losses.append(dropped(tool.cache.at or join(tool.at, "cache_control"), "the target takes no cache marks here"))
    return out


def _write_choice(choice: ToolChoice, request: ChatRequest) -> Json:
    if not choice.names or choice.mode == "none":
        return choice.mode
    kinds = {tool.name: tool.kind for tool in request.tools if isinstance(tool, Tool)}
    named = [
        {"type": kinds.get(name, "function"), kinds.get(name, "function"): {"name": name}} for name in choice.names
    ]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _write_format(request: ChatRequest, body: Object, losses: Losses, own: bool, *, schema: bool) -> None:
    """`schema`: all JSON is asked for by a schema there, which needs no word in a message."""
    wanted = request.response_format
    if wanted is None:
        return
    form = form_of(wanted) if own else {}
    out: Object = {"type": wanted.kind}
    extra = dict(wanted.extra or {}) if own else {}
    if wanted.kind == "json_schema" and not form.get("bare"):
        inner = _format_inner(wanted, losses, own)
        out["json_schema"] = inner
        out |= {key: extra.pop(key) for key in form.get("outer", ())}
        out |= form.get("beside", {})
        inner |= extra
        restore(inner, form)
    else:
        out |= extra
        restore(out, form)
        if wanted.kind == "json_object" and not own and not schema:
            _ask_for_json(body, losses)
    body["response_format"] = out


def _format_inner(wanted: ResponseFormat, losses: Losses, own: bool) -> Object:
    inner: Object = {}
    name = wanted.name
    if not name and not own:
        name = "answer"
        losses.append(invented("response_format", "the target wants a name of the schema"))
    for key, value in (
        ("name", name),
        ("description", wanted.description),
        ("schema", wanted.schema),
        ("strict", wanted.strict),
    ):
        if value is not None:
            inner[key] = value
    return inner


def _ask_for_json(body: Object, losses: Losses) -> None:
    """JSON mode is refused when no message has the word in it."""
    if b"json" in encode(body["messages"]).lower():
        return
    body["messages"].insert(0, {"role": "system", "content": "Answer in JSON."})
    losses.append(invented("response_format", "the target wants the word JSON in a message"))


def _write_reasoning(request: ChatRequest, body: Object, losses: Losses) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    if wanted.effort is not None:
        body["reasoning_effort"] = wanted.effort
    elif wanted.budget is not None and wanted.budget >= 0:
        # The steps of Google's own compatible endpoint, read the other way.
        budget = wanted.budget
        body["reasoning_effort"] = (
            "none" if budget == 0 else "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"
        )
        losses.append(approximated(wanted.at or "reasoning", "the target takes an effort, not a number of tokens"))
    if wanted.show:
        losses.append(dropped("show_reasoning", "the target does not show its thinking on request"))


def _write_audio(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    modalities = request.modalities
    if not own and "image" in modalities:
        modalities = tuple(word for word in modalities if word != "image")
        if not modalities:
            raise refuse("modalities", "the target makes no images in a chat")
        losses.append(dropped("modalities", "the target makes no images in a chat"))
    if modalities:
        body["modalities"] = list(modalities)
    audio = request.audio
    if audio is None:
        return
    out: Object = {}
    if own or isinstance(audio.voice, str):
        voice = audio.voice
    else:
        voice = "alloy"
        losses.append(approximated(audio.at or "audio", "the target has its own voices"))
    if voice is not None:
        out["voice"] = voice
    if audio.format is not None or not own:
        out["format"] = audio.format or "wav"
    if audio.format is None and not own:
        losses.append(invented(audio.at or "audio", "the target wants a format"))
    if own:
        out |= audio.extra or {}
        restore(out, form_of(audio))
    body["audio"] = out


# ── what the row says of its upstream ──────────────────────────────────────────────────

_SAME = {
    "safety_identifier": "user",
    "max_completion_tokens": "max_tokens",
    "functions": "tools",
    "function_call": "tool_choice",
}


_ALWAYS = frozenset({"model", "messages", "stream"})


def _apply(traits: Traits, body: Object, losses: Losses, *, names: bool) -> dict[str, str]:
    """Fields that the upstream ignores are not sent, those that it rejects are refused; one name for another.

    Gives what belongs into the URL.
    """
    query: dict[str, str] = {}
    if traits.quirks:
        query = quirks.query(traits, body)
        quirks.apply(traits.quirks, body, losses, exact=not names)
    for key in list(body) if traits.rejects or traits.ignores else ():
        field = _NAMES.get(key, key) if names else key
        spelled = {key, _SAME.get(key, key)}
        if spelled & traits.rejects and body[key] is not None:
            raise refuse(field, f"{field}: the target refuses this field")
        if spelled & traits.ignores:
            del body[key]
            losses.append(dropped(field, "the target ignores this field"))
    if traits.takes is not None:
        _close(traits.takes, body, losses, names=names)
    return query


def _close(takes: frozenset[str], body: Object, losses: Losses, *, names: bool) -> None:
    """Leaves the fields that the upstream documents."""
    options = body.get("stream_options") or {}
    if "stream_options" in takes and options.keys() - {"include_usage"}:
        kept = {key: value for key, value in options.items() if key == "include_usage"}
        losses += [
            dropped(f"stream_options.{key}", "the target has no such option")
            for key, value in options.items()
            if key not in kept and value
        ]
        body["stream_options"] = kept
    for key in [key for key in body if key not in takes and key not in _ALWAYS]:
        if key == "functions" and body[key]:
            raise refuse(key, f"{key}: the target knows them as tools")
        if body.pop(key) not in (None, [], {}):
            losses.append(dropped(_NAMES.get(key, key) if names else key, "the target has no such field"))


def relay(asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    """The caller's bytes, with another model and a wish for usage where they are needed; untouched where not."""
    replace: Object = {} if model == asked.model else {"model": model}
    drop: set[str] = set()
    query: dict[str, str] = {}
    body = asked.fields  # messages, which are read once more for `body`, are of no interest in most cases
    if traits.ranges:
        narrow.within(traits.ranges, ((key, key, value) for key, value in body.items()))
    if traits.ignores or traits.rejects or traits.quirks or traits.takes is not None:
        body = dict(asked.body)
        query = _apply(traits, body, losses, names=False)
        drop = asked.body.keys() - body.keys()
        replace |= {key: value for key, value in body.items() if value is not asked.body.get(key)}
    unwanted = "usage_unasked" in traits.quirks or not _tells_usage(traits)
    if asked.stream and not asked.include_usage and not unwanted:
        replace["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    data = asked.wire.body
    if replace or drop:
        data = splice(asked.top, replace, frozenset(drop))
    return WireRequest(path=quirks.path(model, traits.quirks), query=query, headers=dict(HEADERS), body=data)
