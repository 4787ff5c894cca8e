"""Parameters, tools, thinking and the form of the answer of another dialect -> the fields of a request.

Losses name canonical parameters (`top_k`); who reports them turns those into the caller's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.canonical.chat import (
    ChatRequest,
    ReasoningConfig,
    ResponseFormat,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.loss import Losses, approximated, dropped, invented, join, schema_place
from providers.canonical.turns import says_more
from providers.dialects.anthropic.messages import Conversation
from providers.dialects.anthropic.models import (
    EFFORTS,
    LEAST_BUDGET,
    Family,
    adaptive,
    budget_for,
    effort_for,
    effort_of,
)
from providers.dialects.anthropic.words import ANSWER_TOOL, Json, Object, refuse, written_name
from providers.schemas import STRUCTURED, compile_schema
from providers.wire.json import encode
from providers.wire.memory import once

_MOST_MARKS = 4
_MOST_USER = 256
_PERSONAL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|\+?[\d\s().-]{7,}")
_TIERS: Mapping[str, str] = {"auto": "auto", "default": "standard_only", "standard": "standard_only"}
_UNIONS = ("anyOf", "oneOf", "allOf")
_NOT_SAID = (
    ("seed", "the target has no seed"),
    ("frequency_penalty", "the target has no penalties"),
    ("presence_penalty", "the target has no penalties"),
    ("logit_bias", "the target has no bias of tokens"),
    ("logprobs", "the target gives no probabilities"),
    ("top_logprobs", "the target gives no probabilities"),
    ("metadata", "the target takes no metadata"),
    ("store", "the target stores no answers"),
    ("verbosity", "the target has no verbosity"),
    ("prediction", "the target takes no prediction"),
    ("cache_key", "the target has no cache keys"),
    ("audio", "the target does not speak"),
)
#: Of these, values that mean the same as nothing.
_DEFAULTS: Mapping[str, tuple[Json, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "metadata": ({},),
    "store": (False,),
}


def encode_config(request: ChatRequest, model: Family, built: Conversation, body: Object, losses: Losses) -> None:
    """Everything but messages and system text; what is wanted of the answer may add to the latter."""
    if built.prefilled and not model.prefill:
        raise refuse(built.last_at or "messages", "this model does not go on with a message of its own")
    _limit(request, model, body, losses)
    _tools(request, model, built, body, losses)
    more = says_more(request)
    if more:
        _choice(request, model, body, losses)
        _format(request, model, built, body, losses)
        _think(request, model, built, body, losses)
    _sample(request, model, body, losses)
    if more:
        _rest(request, body, losses)
    if request.stream:
        body["stream"] = True


def hold_marks(built: Conversation, losses: Losses) -> None:
    """Of more cache marks than are taken the last ones stay: they cover what stands before them."""
    for block, at in built.marks[:-_MOST_MARKS]:
        del block["cache_control"]
        losses.append(dropped(at, f"the target takes {_MOST_MARKS} cache marks at most"))


# ── limits and sampling ────────────────────────────────────────────────────────────────


def _limit(request: ChatRequest, model: Family, body: Object, losses: Losses) -> None:
    asked, most = request.max_output_tokens, model.most_output
    body["max_tokens"] = most if asked is None or asked > most else asked
    if asked is None:
        losses.append(invented("max_output_tokens", "the target wants a limit: the most that this model gives"))
    elif asked > most:
        losses.append(approximated("max_output_tokens", f"this model gives {most} tokens at most"))
    if request.stop:
        stops = [stop for stop in request.stop if stop.strip()]
        if len(stops) < len(request.stop):
            lose = approximated if stops else dropped
            losses.append(lose("stop", "the target takes no stop sequences of white space only"))
        if stops:
            body["stop_sequences"] = stops


def _sample(request: ChatRequest, model: Family, body: Object, losses: Losses) -> None:
    for name in ("temperature", "top_p"):
        value = getattr(request, name)
        if value is None:
            continue
        why = _unsampled(name, value, model, body)
        if why:
            losses.append(dropped(name, why))
            continue
        body[name] = min(max(value, 0), 1)
        if body[name] != value:
            losses.append(approximated(name, "the target takes 0 to 1"))
    if request.top_k is not None:
        why = _unsampled("top_k", request.top_k, model, body)
        if why:
            losses.append(dropped("top_k", why))
            return
        body["top_k"] = max(round(request.top_k), 0)
        if body["top_k"] != request.top_k:
            losses.append(approximated("top_k", "the target takes whole numbers"))


def _unsampled(name: str, value: float, model: Family, body: Object) -> str:
    """Why a sampling parameter is not sent; "" where it is."""
    if not model.samples:
        return "this model refuses sampling parameters"
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if thinks and (name == "top_k" or (name == "temperature" and value != 1) or (name == "top_p" and value < 0.95)):
        return "not possible together with thinking"
    if name == "top_p" and model.one_of_two and "temperature" in body:
        return "this model takes temperature or top_p, not both"
    return ""


def _rest(request: ChatRequest, body: Object, losses: Losses) -> None:
    if request.n not in (None, 1):
        raise refuse("n", "the target gives one answer")
    if request.cached_content is not None:
        raise refuse("cached_content", "the target does not hold this cached content")
    others = [word for word in request.modalities if word != "text"]
    if others and len(others) == len(request.modalities):
        raise refuse("modalities", "the target answers in text only")
    if others:
        losses.append(dropped("modalities", "the target answers in text only"))
    if request.end_user is not None:
        if len(request.end_user) > _MOST_USER or _PERSONAL.fullmatch(request.end_user):
            losses.append(dropped("end_user", "the target takes no e-mail addresses or telephone numbers here"))
        else:
            body["metadata"] = {"user_id": request.end_user}
    tier = (request.service_tier or "").lower()
    if tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    elif tier:
        losses.append(dropped("service_tier", "the target has no such tier"))
    for name, why in _NOT_SAID:
        value = getattr(request, name)
        if value is not None and value not in _DEFAULTS.get(name, ()):
            losses.append(dropped(name, why))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))


# ── tools ──────────────────────────────────────────────────────────────────────────────


def _tools(request: ChatRequest, model: Family, built: Conversation, body: Object, losses: Losses) -> None:
    # A tool that takes the answer may come to them, and marks may be too many: those need them one by one.
    alone = request.response_format is None
    for tool in request.tools:
        alone = alone and (type(tool) is not Tool or tool.cache is None)
    if alone:
        name = "anthropic.messages: written strictly" if model.structured else "anthropic.messages: written"
        written = once(request.tools, name, losses, _written_tools, request, model, built)
    else:
        written = _written_tools(request, model, built, losses)
    if not written and built.calls:
        written = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in built.calls]
        body["tool_choice"] = {"type": "none"}
        losses.append(invented("tools", "the target wants the tools of earlier calls described"))
    if written:
        body["tools"] = written


def _written_tools(request: ChatRequest, model: Family, built: Conversation, losses: Losses) -> list[Object]:
    written: list[Object] = []
    for i, tool in enumerate(request.tools):
        if isinstance(tool, ServerTool):
            losses.append(dropped(tool.at or f"tools[{i}]", f"the target has no tool of its own like {tool.kind}"))
        else:
            written.append(_tool(tool, tool.at or f"tools[{i}]", model, built, losses))
    return written


def _tool(tool: Tool, at: str, model: Family, built: Conversation, losses: Losses) -> Object:
    if tool.kind == "custom":
        raise refuse(at, "the target has no custom tools")
    out: Object = {"name": written_name(tool.name, join(at, "name"))}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.strict and model.structured:
        out["input_schema"] = _strict_schema(tool.parameters or {}, join(at, "parameters"), losses)
        out["strict"] = True
    else:
        out["input_schema"] = _rooted(dict(tool.parameters or {}), join(at, "parameters"), losses)
        if tool.strict:
            losses.append(dropped(join(at, "strict"), "this model does not check arguments"))
    if tool.response is not None:
        losses.append(dropped(join(at, "response"), "the target takes no schema of results"))
    if tool.cache is not None:
        built.mark(out, tool.cache, at)
        built.marks.insert(0, built.marks.pop())  # tools stand before everything else
    return out


def _rooted(schema: Object, at: str, losses: Losses) -> Object:
    """Arguments are an object; a union at the root, which is refused, becomes an object with what its members have."""
    unions = [key for key in _UNIONS if type(schema.get(key)) is list]
    if not unions:
        if schema.get("type") == "object":
            return {"properties": {}, **schema} if "properties" not in schema else schema
        _lose_type(schema, at, losses)
        return {**schema, "type": "object", "properties": schema.get("properties", {})}
    properties: Object = dict(schema.get("properties") or {})
    notes = []
    for key in unions:
        members = schema.pop(key)
        for member in members:
            if type(member) is dict and type(member.get("properties")) is dict:
                properties = {**member["properties"], **properties}
        notes.append(f"{key}: {encode(members).decode()[:2000]}")
        losses.append(approximated(join(at, key), "the target takes no union at the root: it is in the description"))
    before = schema.get("description")
    text = "; ".join(notes)
    return {
        **schema,
        "type": "object",
        "properties": properties,
        "description": f"{before} ({text})" if before else text,
    }


def _lose_type(schema: Mapping[str, Json], at: str, losses: Losses) -> None:
    """Arguments that may be something else than an object, or nothing."""
    if "type" in schema:
        losses.append(approximated(at, "the target takes arguments as an object only"))


def _strict_schema(schema: Mapping[str, Json], at: str, losses: Losses) -> Object:
    """The schema in the subset that is kept to: objects are closed, some bounds move into descriptions."""
    compiled, relaxed = compile_schema(schema, STRUCTURED)
    losses.extend(approximated(join(at, one.path), one.reason) for one in relaxed)
    closed: Object = _closed(compiled, at, losses)
    if closed.get("type") != "object" and "$ref" not in closed:
        _lose_type(closed, at, losses)
        closed = {**closed, "type": "object"}
    closed.setdefault("properties", {})
    closed.setdefault("additionalProperties", False)
    return closed


def _closed(node: Json, at: str, losses: Losses) -> Json:
    """Every object without further properties, every array without bounds that are not known."""
    if type(node) is list:
        return [_closed(one, f"{at}[{i}]", losses) for i, one in enumerate(node)]
    if type(node) is not dict:
        return node
    out: Object = {}
    for key, value in node.items():
        if key in ("properties", "$defs") and type(value) is dict:
            out[key] = {name: _closed(one, join(join(at, key), name), losses) for name, one in value.items()}
        elif key in ("items", "anyOf"):
            out[key] = _closed(value, join(at, key), losses)
        else:
            out[key] = value
    kind = out.get("type")
    if kind == "object" or (type(kind) is list and "object" in kind):
        if out.get("additionalProperties") not in (None, False):
            losses.append(approximated(join(at, "additionalProperties"), "the target allows no further properties"))
        out["additionalProperties"] = False
    if out.get("minItems", 0) not in (0, 1):
        out["description"] = f"{out.get('description', '')} (minItems: {out.pop('minItems')})".strip()
        losses.append(approximated(join(at, "minItems"), "the target has no such minItems: it is in the description"))
    return out


def _choice(request: ChatRequest, model: Family, body: Object, losses: Losses) -> None:
    choice = request.tool_choice
    single = request.parallel_tool_calls is False
    if "tools" not in body or "tool_choice" in body:
        if choice is not None and choice.mode == "required":
            losses.append(dropped("tool_choice", "there is no tool to call"))
        if single:
            losses.append(dropped("parallel_tool_calls", "there is no tool to call"))
        return
    if choice is None and not single:
        return
    written = _written_choice(choice or ToolChoice(mode="auto"), model, losses)
    if single and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    body["tool_choice"] = written


def _written_choice(choice: ToolChoice, model: Family, losses: Losses) -> Object:
    if choice.validated:
        losses.append(approximated("tool_choice", "the target checks arguments only of strict tools"))
    if choice.mode == "none":
        return {"type": "none"}
    if choice.mode == "required" and model.forces:
        if len(choice.names) == 1:
            return {"type": "tool", "name": written_name(choice.names[0], "tool_choice")}
        if choice.names:
            losses.append(approximated("tool_choice", "the target forces one tool or any"))
        return {"type": "any"}
    if choice.mode == "required" or choice.names:
        losses.append(approximated("tool_choice", "the target leaves it to the model which tools it calls"))
    return {"type": "auto"}


# ── the form of the answer ─────────────────────────────────────────────────────────────


def _format(request: ChatRequest, model: Family, built: Conversation, body: Object, losses: Losses) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_object" or wanted.schema is None:
        built.system.append({"type": "text", "text": "Answer with one JSON object and nothing else."})
        losses.append(approximated("response_format", "the target has no JSON mode: it is told to answer so"))
    elif model.structured:
        schema = _described(wanted)
        compiled, relaxed = compile_schema(schema, STRUCTURED)
        at = schema_place(wanted)
        losses.extend(approximated(join(at, one.path), one.reason) for one in relaxed)
        if wanted.description not in (None, "", schema.get("description")):
            losses.append(dropped(join(wanted.at, "description"), "the schema has a description of its own"))
        body["output_config"] = {"format": {"type": "json_schema", "schema": _closed(compiled, at, losses)}}
    elif wanted.schema.get("type") == "object" and model.forces:
        _answer_tool(wanted, body, losses)
    else:
        text = encode(wanted.schema).decode()
        built.system.append(
            {"type": "text", "text": f"Answer with one JSON value of this schema and nothing else: {text}"}
        )
        losses.append(approximated("response_format", "this model keeps to no schema: it is told to"))


def _described(wanted: ResponseFormat) -> Object:
    schema = dict(wanted.schema or {})
    if wanted.description and "description" not in schema:
        schema["description"] = wanted.description
    return schema


def _answer_tool(wanted: ResponseFormat, body: Object, losses: Losses) -> None:
    """A tool that takes the answer: its call is turned into text again. Beside other tools any may be called."""
    tool: Object = {"name": ANSWER_TOOL, "description": "Gives the answer.", "input_schema": _described(wanted)}
    if wanted.description:
        tool["description"] = wanted.description
    alone = "tools" not in body or body.get("tool_choice", {}).get("type") == "none"
    body["tools"] = [*body.get("tools", ()), tool]
    if alone:
        body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    elif body.get("tool_choice", {}).get("type") in (None, "auto"):
        body["tool_choice"] = {**body.get("tool_choice", {}), "type": "any"}
    losses.append(approximated("response_format", "this model keeps to no schema: it answers through a tool"))


# ── thinking ───────────────────────────────────────────────────────────────────────────


def _think(request: ChatRequest, model: Family, built: Conversation, body: Object, losses: Losses) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    if wanted.effort is not None and wanted.effort not in EFFORTS:
        losses.append(dropped("reasoning", f"the target knows no effort {wanted.effort[:32]}"))
        wanted = msgspec.structs.replace(wanted, effort=None)
    off = wanted.effort == "none" or wanted.budget == 0
    if wanted.effort is None and wanted.budget is None:
        if wanted.show:
            losses.append(dropped("show_reasoning", "nothing says how much to think"))
    elif not model.thinks:
        if not off:
            losses.append(dropped("reasoning", "this model does not think"))
    elif model.adaptive and not (wanted.budget is not None and wanted.budget > 0 and model.budgets):
        _adapt(wanted, off, model, body, losses)
    elif not off:
        why = _hindered(built, body)
        if why:
            losses.append(dropped("reasoning", f"the model does not think here: {why}"))
        else:
            _budget(wanted, body, losses)


def _adapt(wanted: ReasoningConfig, off: bool, model: Family, body: Object, losses: Losses) -> None:
    """Thinking by effort, on models that decide themselves how much."""
    if off and not model.always_thinks:
        body["thinking"] = {"type": "disabled"}
        return
    effort = "none" if off else wanted.effort
    exact = True
    if effort is None and wanted.budget is not None and wanted.budget > 0:
        effort, exact = effort_of(wanted.budget), False
    if effort is not None:
        word, same = effort_for(model, effort)
        body["output_config"] = {"effort": word, **body.get("output_config", {})}
        exact = exact and same
    body["thinking"] = adaptive(wanted.show)
    if not exact:
        losses.append(approximated("reasoning", "the nearest amount of thinking that this model has"))


def _hindered(built: Conversation, body: Object) -> str:
    """Why thinking with a budget is refused in this request; "" where it is not."""
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "it is made to call a tool"
    if built.prefilled:
        return "it goes on with its own message"
    if built.unsigned_step:
        return "the signed thinking of this turn is not there"
    return ""


def _budget(wanted: ReasoningConfig, body: Object, losses: Losses) -> None:
    """Thinking in tokens, which count towards max_tokens and must leave some for the answer."""
    budget = wanted.budget
    exact = budget is not None and budget >= LEAST_BUDGET
    if wanted.effort is not None and budget is None:
        budget, exact = budget_for(wanted.effort), True
    if budget is None or budget < 0:
        budget = budget_for("medium")
    limit = body["max_tokens"]
    if limit <= LEAST_BUDGET:
        losses.append(dropped("reasoning", f"the target thinks with {LEAST_BUDGET} tokens or more, below the limit"))
        return
    fitting = max(budget, LEAST_BUDGET)
    if fitting >= limit:
        fitting = max(LEAST_BUDGET, limit * 3 // 4)
        exact = False
    body["thinking"] = {"type": "enabled", "budget_tokens": fitting}
    if wanted.show is False:
        body["thinking"]["display"] = "omitted"
    if not exact:
        losses.append(approximated("reasoning", "the nearest amount of thinking that this model has"))
