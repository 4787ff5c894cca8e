"""Requests, both ways: parameters by one table, tools and the like by functions.

What asks for state that an upstream keeps (`previous_response_id`, `conversation`, `prompt`, `background`) cannot be
translated and is refused by name; the relay lane, which does not come here, passes it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from providers.canonical.chat import (
    ChatRequest,
    ReasoningConfig,
    ResponseFormat,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, approximated, at_least_one, dropped, invented, join, lose_extras
from providers.canonical.turns import COMMON, says_more
from providers.dialect import PLAIN, Asked, Traits, WireRequest
from providers.dialects._openai.values import TIERS, Json, Object, beyond_choice, leftovers, make_form, restore
from providers.wire.json import encode, splice
from providers.wire.memory import once, read_once

from .items import form_of, read_input, take_text
from .words import MARK, NAME, is_ours
from .written import Writer, refuse, write_own

PATH = "/responses"
HEADERS = {"content-type": "application/json"}

# Canonical parameter -> where callers of this dialect write it, where that is another name.
PATHS: Mapping[str, str] = {
    "messages": "input",
    "end_user": "safety_identifier",
    "cache_key": "prompt_cache_key",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning": "reasoning.effort",
    "show_reasoning": "reasoning.summary",
    "logprobs": "include",
    "tools[].response": "tools[].output_schema",
    "input[].called": "input[].call_id",
    "input[].answered": "input[].call_id",
    "input[].named": "input[].name",
}

# Parameters that are the same value on both sides: (canonical, wire).
_PLAIN = tuple(
    (name, PATHS.get(name, name))
    for name in (
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "top_logprobs",
        "parallel_tool_calls",
        "service_tier",
        "end_user",
        "metadata",
        "store",
        "cache_key",
    )
)
_COMMON = tuple(pair for pair in _PLAIN if pair[0] in COMMON)
_READ = {wire: name for name, wire in _PLAIN}
_NAMES = _READ | {"input": "messages", "user": "end_user", "text": "response_format", "reasoning": "reasoning"}

_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
TIER_WORDS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
# What an answer repeats of its request.
ECHOED = frozenset(
    {
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
# Models that think: their reasoning is asked for in the form that can be sent back; others refuse the wish.
_THINKS = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9]|codex)(?!.*-chat)")

# ── reading ────────────────────────────────────────────────────────────────────────────

_STORED = {
    "previous_response_id": "the target does not hold earlier answers; send the whole conversation as input",
    "conversation": "the target does not hold conversations; send the whole conversation as input",
    "prompt": "the target does not hold prompt templates",
}
_DEFAULTS: Object = {"background": False, "truncation": "disabled"}


def decode(asked: Asked) -> ChatRequest:
    """What a request means. UnsupportedParameter where it means something that only its own upstream knows."""
    rest = dict(asked.fields)
    for key, value in rest.items():
        if key in _STORED and value is not None:
            raise UnsupportedParameter(f"{key}: {_STORED[key]}", param=key)
    if rest.get("background"):
        raise UnsupportedParameter("background: the target answers at once or not at all", param="background")
    fields: Object = {}
    paths: dict[str, str] = {}
    if rest.get("safety_identifier") is None and rest.get("user"):
        fields["end_user"] = rest.pop("user")
        paths["end_user"] = "user"
    for wire, value in asked.fields.items():
        name = _READ.get(wire)
        if name == "top_k" and type(value) not in (int, float):
            continue  # no field of this language: what it is, only its upstream may know
        if name is not None and wire in rest and value is not None and value != {}:
            fields[name] = rest.pop(wire)
    messages = read_input(rest, asked.usual)
    del rest["model"]
    rest.pop("input", None)
    if rest.get("instructions"):
        del rest["instructions"]
    stream = rest.pop("stream", None)
    options = rest.get("stream_options")
    if options and options.keys() <= {"include_obfuscation"} and options.get("include_obfuscation") is not True:
        del rest["stream_options"]  # we never pad, so only a wish for padding would be lost
    else:
        options = None
    raws = rest.pop("tools") if rest.get("tools") else []
    tools = read_once(raws, "openai.responses: read", _read_tools)
    echo = {key: value for key, value in asked.fields.items() if key in ECHOED}
    if not rest and options is None and "top_logprobs" not in fields:  # most requests
        spelled: Object = {"echo": echo} if echo else {}
        if stream is not True and "stream" in asked.fields:
            spelled["stream"] = [stream]
        return ChatRequest(
            dialect=NAME,
            model=asked.model,
            messages=messages,
            tools=tools,
            stream=bool(stream),
            include_usage=True,
            paths=paths or None,
            form=spelled or None,
            **fields,
        )
    include = _include(rest, fields, paths)
    choice, reasoning = _tool_choice(rest), _reasoning(rest, paths)
    response_format, text = _text(rest, fields)
    usual = {key: rest.pop(key) for key, value in _DEFAULTS.items() if key in rest and rest[key] == value}
    extra, keep = leftovers(rest)
    form = make_form(
        keep={**usual, **(keep or {})},
        stream=[stream] if stream is not True and "stream" in asked.fields else None,
        options=options,
        include=include,
        text=text,
        echo=echo,
    )
    return ChatRequest(
        dialect=NAME,
        model=asked.model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        reasoning=reasoning,
        response_format=response_format,
        stream=bool(stream),
        include_usage=True,
        paths=paths or None,
        extra=extra,
        form=form,
        **fields,
    )


def _include(rest: Object, fields: Object, paths: dict[str, str]) -> list[str] | None:
    """What is wished for in the answer. Only what nobody else can give stays as a loss."""
    include: list[str] | None = rest.get("include")
    if _LOGPROBS in (include or ()) or fields.get("top_logprobs"):
        fields["logprobs"] = True
        if _LOGPROBS not in (include or ()):
            paths["logprobs"] = "top_logprobs"
    if not include:
        return None
    del rest["include"]
    foreign = [one for one in include if one not in (_LOGPROBS, _ENCRYPTED)]
    if foreign:
        rest["include"] = foreign
    return include


def _read_tools(raws: list[Object]) -> tuple[Tool | ServerTool, ...]:
    return tuple(_tool(raw, f"tools[{i}]") for i, raw in enumerate(raws))


def _tool(raw: Object, at: str) -> Tool | ServerTool:
    kind = raw["type"]
    if kind not in ("function", "custom"):
        return ServerTool(dialect=NAME, kind=kind, raw=raw, at=at)
    rest = dict(raw)
    del rest["type"]
    fields: Object = {"name": rest.pop("name")}
    for key, expected in (("description", str), ("parameters", dict), ("strict", bool)):
        if type(rest.get(key)) is expected and (kind == "function" or key == "description"):
            fields[key] = rest.pop(key)
    if type(rest.get("output_schema")) is dict:
        fields["response"] = rest.pop("output_schema")
    extra, keep = leftovers(rest)
    return Tool(
        kind="custom" if kind == "custom" else "function", extra=extra, form=make_form(keep=keep), at=at, **fields
    )


def _tool_choice(rest: Object) -> ToolChoice | None:
    raw = rest.get("tool_choice")
    mode: Any = raw
    names: tuple[str, ...] = ()
    if isinstance(raw, dict):
        if raw["type"] in ("function", "custom"):
            mode, names = "required", (raw["name"],)
        elif raw["type"] == "allowed_tools" and raw.get("mode") in ("auto", "required"):
            found = [tool.get("name") if isinstance(tool, dict) else None for tool in raw["tools"]]
            if not found or not all(isinstance(name, str) and name for name in found):
                return None  # a choice of hosted tools stays in `extra`
            mode, names = raw["mode"], tuple(str(name) for name in found)
        else:
            return None
    if not mode:
        return None
    extra = beyond_choice(raw)
    return ToolChoice(mode=mode, names=names, extra=extra, form={"raw": rest.pop("tool_choice")}, at="tool_choice")


def _reasoning(rest: Object, paths: dict[str, str]) -> ReasoningConfig | None:
    raw = rest.get("reasoning")
    if not raw:
        return None
    inner = dict(rest.pop("reasoning"))
    effort = take_text(inner, "effort")
    key = "summary" if inner.get("summary") else "generate_summary"  # its older name
    word = take_text(inner, key)
    if word:
        paths["show_reasoning"] = f"reasoning.{key}"
    if effort is None:
        paths["reasoning"] = paths.get("show_reasoning", "reasoning")
    extra, keep = leftovers(inner)
    form = make_form(keep=keep, word=word, key=key if word else None)
    return ReasoningConfig(effort=effort, show=True if word else None, extra=extra, form=form, at="reasoning")


def _text(rest: Object, fields: Object) -> tuple[ResponseFormat | None, Object | None]:
    """`text`: the format of the answer, the verbosity, and how the rest was spelled."""
    raw = rest.get("text")
    if not raw:
        return None, None
    inner = dict(rest.pop("text"))
    verbosity = take_text(inner, "verbosity")
    if verbosity is not None:
        fields["verbosity"] = verbosity
    wanted = inner.get("format")
    found = None
    if isinstance(wanted, dict) and wanted.get("type") in ("text", "json_object", "json_schema"):
        found = _format(inner.pop("format"))
    extra, keep = leftovers(inner)
    if extra:
        rest["text"] = extra
    return found, make_form(keep=keep)


def _format(raw: Object) -> ResponseFormat:
    rest = dict(raw)
    kind = rest.pop("type")
    fields: Object = {}
    for key, expected in (("schema", dict), ("name", str), ("description", str), ("strict", bool)):
        if type(rest.get(key)) is expected and kind == "json_schema":
            fields[key] = rest.pop(key)
    extra, keep = leftovers(rest)
    return ResponseFormat(kind=kind, extra=extra, form=make_form(keep=keep), at="text.format", **fields)


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_request(request: ChatRequest, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    own = request.dialect == NAME
    lose_extras(request, NAME, losses)
    body: Object = {"model": request.model}
    _write_messages(request, body, losses, own)
    more = own or says_more(request)
    for name, wire in _PLAIN if more else _COMMON:
        value = getattr(request, name)
        if value is not None:
            body[(request.paths or {}).get(name, wire) if own else wire] = value
    if not own:
        _fit(request, body, losses, traits, more=more)
    _write_tools(request, body, losses, own)
    if more:
        _write_text(request, body, losses, own)
        _write_reasoning(request, body, losses, own)
    _write_include(request, body, own)
    if request.stream:
        body["stream"] = True
    if own:
        _restore(request, body)
    elif request.store is None:
        body["store"] = False  # else OpenAI keeps every answer; our callers have their history themselves
    _apply(traits, body, losses, asked=request.store is not None or own)
    return WireRequest(path=PATH, headers=dict(HEADERS), body=encode(body))


def _write_messages(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    if own:
        first = request.messages[0] if request.messages else None
        if first is not None and "instructions" in form_of(first):
            body["instructions"] = "".join(getattr(part, "text", "") for part in first.parts)
        body["input"] = write_own(request.messages, losses)
        return
    writer = Writer(losses, knows_files=request.dialect.startswith("openai."))
    writer.write(request.messages)
    if writer.instructions is not None:
        body["instructions"] = writer.instructions
    if not writer.items:
        writer.items.append({"role": "user", "content": ""})
        losses.append(invented("messages", "the target wants a message beside the system text"))
    body["input"] = writer.items


def _restore(request: ChatRequest, body: Object) -> None:
    """The spellings of this dialect's own request."""
    form = form_of(request)
    if "stream" in form:
        body["stream"] = form["stream"][0]
    if "options" in form:
        body["stream_options"] = form["options"]
    extra = {key: value for key, value in (request.extra or {}).items() if key not in ("include", "text")}
    body.update(extra)
    restore(body, form)


_RANGES: Mapping[str, tuple[float, float]] = {"temperature": (0, 2), "top_p": (0, 1), "top_logprobs": (0, 20)}
_COMMON_RANGES = tuple(pair for pair in _RANGES.items() if pair[0] in COMMON)
# Parameters that the dialect has no place for, and why their loss leaves the answer right.
_NOWHERE = ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "prediction")


def _fit(request: ChatRequest, body: Object, losses: Losses, traits: Traits, *, more: bool) -> None:
    """Parameters of another dialect's caller, brought into this one's ranges and words."""
    for key, (low, high) in _RANGES.items() if more else _COMMON_RANGES:
        value = body.get(key)
        if value is not None and not low <= value <= high:
            body[key] = min(max(value, low), high)
            losses.append(approximated(key, f"the target takes {low} to {high}"))
    if request.max_output_tokens is not None:
        body["max_output_tokens"] = at_least_one(request.max_output_tokens, losses)
    if not more:
        return
    if request.n is not None and request.n != 1:
        raise refuse("n", "the target gives one answer")
    if request.cached_content is not None:
        raise refuse("cached_content", "the target does not hold this cached content")
    for name in _NOWHERE:
        if getattr(request, name) is not None:
            losses.append(dropped(name, "the target has no such parameter"))
    if request.stop:
        losses.append(dropped("stop", "the target has no stop sequences"))
    if "top_k" in body and "top_k" not in traits.own:
        del body["top_k"]
        losses.append(dropped("top_k", "the target has no such parameter"))
    if request.service_tier is not None:
        word = request.service_tier.lower()
        body["service_tier"] = TIERS.get(word, word)
        if body["service_tier"] not in TIER_WORDS:
            del body["service_tier"]
            losses.append(dropped("service_tier", "the target knows no such tier"))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))
    _fit_modalities(request, losses)


def _fit_modalities(request: ChatRequest, losses: Losses) -> None:
    if request.modalities and "text" not in request.modalities:
        raise refuse("modalities", "the target answers in text")
    if any(word != "text" for word in request.modalities):
        losses.append(dropped("modalities", "the target answers in text"))
    if request.audio is not None:
        losses.append(dropped(request.audio.at or "audio", "the target does not speak"))


def _write_tools(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    if own:
        written = _write_each(request.tools, own, losses)
    else:
        written = once(request.tools, "openai.responses: written", losses, _write_each, request.tools, own)
    if written:
        body["tools"] = written
    choice = request.tool_choice
    if own:
        if choice is not None:
            body["tool_choice"] = form_of(choice)["raw"]
        return
    if not written:
        if body.pop("parallel_tool_calls", None) is not None:
            losses.append(dropped("parallel_tool_calls", "it has no meaning without tools"))
        if choice is not None and choice.mode == "required":
            losses.append(dropped("tool_choice", "there is no tool left to call"))
    elif choice is not None:
        body["tool_choice"] = _write_choice(choice, request)
        if choice.validated:
            losses.append(approximated("tool_choice", "the target checks arguments only of strict tools"))


def _write_each(tools: Sequence[Tool | ServerTool], own: bool, losses: Losses) -> list[Object]:
    return [raw for tool in tools if (raw := write_tool(tool, losses, own)) is not None]


def write_tool(tool: Tool | ServerTool, losses: Losses, own: bool) -> Object | None:
    """One of `tools`; `parameters` and `strict` always, for the types require both."""
    if isinstance(tool, ServerTool):
        if tool.dialect == NAME:
            return dict(tool.raw)
        losses.append(dropped(tool.at or "tools", f"the target has no tool of its own like {tool.kind}"))
        return None
    out: Object = {"type": tool.kind, "name": tool.name}
    if not own and tool.kind == "function":
        out |= {"parameters": {"type": "object", "properties": {}}, "strict": False}
    for key, value in (("description", tool.description), ("parameters", tool.parameters), ("strict", tool.strict)):
        if value is not None:
            out[key] = value
    if tool.response is not None:
        out["output_schema"] = tool.response
    if own:
        return restore(out | dict(tool.extra or {}), tool.form)
    if tool.cache is not None:
        losses.append(dropped(tool.cache.at or join(tool.at, "cache_control"), "the target takes no cache marks here"))
    return out


def _write_choice(choice: ToolChoice, request: ChatRequest) -> Json:
    if not choice.names or choice.mode == "none":
        return choice.mode
    kinds = {tool.name: tool.kind for tool in request.tools if isinstance(tool, Tool)}
    named = [{"type": kinds.get(name, "function"), "name": name} for name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def _write_text(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    """Format and verbosity of the answer."""
    form = form_of(request) if own else {}
    text: Object = {}
    wanted = request.response_format
    if wanted is not None:
        text["format"] = _write_format(wanted, body, losses, own)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if own:
        text |= (request.extra or {}).get("text", {})
        restore(text, form.get("text"))
    if text:
        body["text"] = text


def _write_format(wanted: ResponseFormat, body: Object, losses: Losses, own: bool) -> Object:
    out: Object = {"type": wanted.kind}
    for key in ("name", "description", "schema", "strict"):
        value = getattr(wanted, key)
        if value is not None:
            out[key] = value
    if own:
        return restore(out | dict(wanted.extra or {}), wanted.form)
    if wanted.kind == "json_object":
        if b"json" not in encode([body["input"], body.get("instructions")]).lower():
            body["instructions"] = "\n".join(filter(None, [body.get("instructions"), "Answer in JSON."]))
            losses.append(invented("response_format", "the target wants the word JSON in a message"))
    elif wanted.kind == "json_schema":
        if not out.get("name"):
            out["name"] = "answer"
            losses.append(invented("response_format", "the target wants a name of the schema"))
        out.setdefault("schema", {"type": "object"})
    return out


_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


def _write_reasoning(request: ChatRequest, body: Object, losses: Losses, own: bool) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    out: Object = {}
    if wanted.effort is not None and not own and wanted.effort not in _EFFORTS:
        losses.append(dropped("reasoning", f"the target knows no effort {wanted.effort[:32]}"))
    elif wanted.effort is not None:
        out["effort"] = wanted.effort
    elif wanted.budget is not None and wanted.budget >= 0:
        # The steps of Google's own compatible endpoint, read the other way.
        budget = wanted.budget
        out["effort"] = "none" if budget == 0 else "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"
        losses.append(approximated(wanted.at or "reasoning", "the target takes an effort, not a number of tokens"))
    if own:
        form = form_of(wanted)
        if "word" in form:
            out[form["key"]] = form["word"]
        body["reasoning"] = restore(out | dict(wanted.extra or {}), form)
        return
    if wanted.show:
        out["summary"] = "auto"
    if out:
        body["reasoning"] = out


def _write_include(request: ChatRequest, body: Object, own: bool) -> None:
    if own:
        if "include" in form_of(request):
            body["include"] = form_of(request)["include"]
        return
    effort = body.get("reasoning", {}).get("effort")
    wants = (
        ["reasoning.encrypted_content"] if effort != "none" and ("reasoning" in body or thinks(request.model)) else []
    )
    if request.logprobs:
        wants.append(_LOGPROBS)
    if wants:
        body["include"] = wants


def thinks(model: str) -> bool:
    """Does the model's name say that it reasons?"""
    return _THINKS.match(model) is not None


# ── what the row says of its upstream ──────────────────────────────────────────────────

_SAME = {"safety_identifier": "user", "max_output_tokens": "max_tokens", "reasoning": "reasoning_effort"}


def _apply(traits: Traits, body: Object, losses: Losses, *, asked: bool) -> None:
    """Fields that the upstream ignores are not sent, those that it rejects are refused. `asked`: `store` is a wish."""
    for key in list(body) if traits.rejects or traits.ignores else ():
        spelled = {key, _SAME.get(key, key)}
        if not spelled & (traits.rejects | traits.ignores):
            continue
        ours = (key == "store" and not asked) or (key == "include" and body[key] == [_ENCRYPTED])
        if spelled & traits.rejects and body[key] is not None and not ours:
            raise refuse(_NAMES.get(key, key), "the target refuses this field")
        del body[key]
        if not ours:
            losses.append(dropped(_NAMES.get(key, key), "the target ignores this field"))


def relay(asked: Asked, model: str, losses: Losses, traits: Traits = PLAIN) -> WireRequest:
    """The caller's bytes, with another model where it is needed, and without reasoning that other vendors' models made
    and that stood in items of ours: this upstream would look for it among its own.
    """
    replace: Object = {} if model == asked.model else {"model": model}
    drop: set[str] = set()
    if traits.ignores or traits.rejects:
        body = dict(asked.body)
        _apply(traits, body, losses, asked=True)
        drop = asked.body.keys() - body.keys()
    data = asked.wire.body
    items = asked.body.get("input") if MARK.encode() in data else None
    if isinstance(items, list) and any(map(is_ours, items)):
        replace["input"] = [item for item in items if not is_ours(item)]
        for i, item in enumerate(items):
            if is_ours(item):
                losses.append(dropped(f"input[{i}]", "reasoning of another vendor's model is not sent"))
    if replace or drop:
        data = splice(asked.top, replace, frozenset(drop))
    return WireRequest(path=PATH, headers=dict(HEADERS), body=data)
