"""Parameters and tools of another dialect -> generationConfig, tools, toolConfig and the other top-level fields.

Losses name canonical parameters (`top_k`); who reports them turns those into the caller's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from providers.canonical.chat import ChatRequest, ReasoningConfig, ResponseFormat, ServerTool, Tool, ToolChoice
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, approximated, at_least_one, dropped, join, schema_place
from providers.canonical.turns import COMMON
from providers.dialects.gemini.contents import written_name
from providers.dialects.gemini.decode import TIER_OF
from providers.dialects.gemini.models import EFFORTS, Family, budget_for, budget_within, effort_of, level_for
from providers.dialects.gemini.names import NAME, Json
from providers.schemas import JSON_SUBSET, OPENAPI, compile_schema, is_empty
from providers.wire.memory import once

_MOST_STOPS = 5
_MOST_CHOICES = 8
_MOST_TOP = 20
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NOT_SAID = (
    ("logit_bias", "the target has no bias of tokens"),
    ("end_user", "the target has no place for the user"),
    ("verbosity", "the target has no verbosity"),
    ("prediction", "the target takes no prediction"),
    ("cache_key", "the target has no cache keys"),
)


def encode_config(request: ChatRequest, model: Family, losses: Losses, *, more: bool) -> dict[str, Json]:
    """generationConfig. `more`: the request says more than most."""
    config: dict[str, Json] = {}
    _sample(request, _SAMPLING if more else _COMMON, model, config, losses)
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = at_least_one(request.max_output_tokens, losses)
    if more:
        _penalise(request, model, config, losses)
        _lengths(request, config, losses)
        _specials(request, model, config, losses)
    return config


def _specials(request: ChatRequest, model: Family, config: dict[str, Json], losses: Losses) -> None:
    if request.logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs is not None:
            config["logprobs"] = min(request.top_logprobs, _MOST_TOP)
    elif request.top_logprobs:
        losses.append(dropped("top_logprobs", "without logprobs it has no meaning"))
    if request.response_format is not None:
        _format(request.response_format, model, config, losses)
    if request.reasoning is not None:
        thinking = _thinking(request.reasoning, model, losses)
        if thinking:
            config["thinkingConfig"] = thinking
    if request.modalities:
        config["responseModalities"] = [word.upper() for word in request.modalities]
    if request.audio is not None:
        losses.append(dropped("audio", "the voices and formats of the target are its own"))


_SAMPLING = (("temperature", "temperature", 2.0), ("top_p", "topP", 1.0), ("top_k", "topK", None))
_PENALTIES = (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty"))


_COMMON = tuple(one for one in _SAMPLING if one[0] in COMMON)


def _sample(
    request: ChatRequest,
    parameters: Sequence[tuple[str, str, float | None]],
    model: Family,
    config: dict[str, Json],
    losses: Losses,
) -> None:
    for parameter, key, most in parameters:
        value = getattr(request, parameter)
        if value is None:
            continue
        if not model.samples:
            losses.append(dropped(parameter, "this model ignores sampling parameters"))
            continue
        if most is None and value < 1:  # others' way to say that all are taken
            losses.append(dropped(parameter, "the target takes at least 1"))
            continue
        fitting = value if most is None else min(max(value, 0), most)
        if fitting != value:
            losses.append(approximated(parameter, f"the target takes 0 to {most}"))
        config[key] = fitting


def _penalise(request: ChatRequest, model: Family, config: dict[str, Json], losses: Losses) -> None:
    for parameter, key in _PENALTIES:
        value = getattr(request, parameter)
        if value is None:
            continue
        if model.penalties:
            config[key] = value
        elif value:
            losses.append(dropped(parameter, "this model refuses penalties"))
    if request.seed is not None:
        seed = (request.seed + 2**31) % 2**32 - 2**31
        if seed != request.seed:
            losses.append(approximated("seed", "the target takes 32 bits"))
        config["seed"] = seed


def _lengths(request: ChatRequest, config: dict[str, Json], losses: Losses) -> None:
    if request.stop:
        if len(request.stop) > _MOST_STOPS:
            losses.append(approximated("stop", f"the target takes {_MOST_STOPS} at most: the first are sent"))
        config["stopSequences"] = list(request.stop[:_MOST_STOPS])
    if request.n is not None and request.n != 1:
        if request.n > _MOST_CHOICES:
            raise UnsupportedParameter(f"n: the target gives {_MOST_CHOICES} answers at most", param="n")
        config["candidateCount"] = request.n


def _format(wanted: ResponseFormat, model: Family, config: dict[str, Json], losses: Losses) -> None:
    if wanted.kind == "text":
        return
    config["responseMimeType"] = "application/json"
    if wanted.kind == "json_object" or wanted.schema is None:
        return
    at = wanted.at or "response_format"
    target = JSON_SUBSET if model.json_schema else OPENAPI
    schema, relaxed = compile_schema(wanted.schema, target)
    losses.extend(approximated(join(schema_place(wanted), one.path), one.reason) for one in relaxed)
    config["responseJsonSchema" if model.json_schema else "responseSchema"] = schema
    if wanted.description:
        if "description" in schema:
            losses.append(dropped(join(at, "description"), "the target has one description, the schema's own"))
        else:
            schema["description"] = wanted.description


def _thinking(wanted: ReasoningConfig, model: Family, losses: Losses) -> dict[str, Json]:
    """thinkingConfig. Thoughts are asked for where the caller asked for thinking, unless it said not to show them."""
    if not model.thinking:
        if wanted.effort not in (None, "none") or wanted.budget:
            losses.append(dropped("reasoning", "this model does not think"))
        elif wanted.show:
            losses.append(dropped("show_reasoning", "this model does not think"))
        return {}
    effort = wanted.effort
    if effort is not None and effort not in EFFORTS:
        losses.append(dropped("reasoning", f"the target knows no effort {effort[:32]}"))
        effort = None
    thinking: dict[str, Json] = {}
    exact = True
    if model.thinking == "budget":
        if wanted.budget is not None:
            thinking["thinkingBudget"], exact = budget_within(model, wanted.budget)
        elif effort is not None:
            thinking["thinkingBudget"], exact = budget_for(model, effort)
    else:
        if wanted.budget is not None:
            effort = effort or effort_of(wanted.budget)
            exact = wanted.budget < 0
        if effort is not None:
            thinking["thinkingLevel"], same = level_for(model, effort)
            exact = exact and same
    if not exact:
        losses.append(approximated("reasoning", "the nearest amount of thinking that this model has"))
    asked = bool(thinking) and effort != "none" and wanted.budget != 0
    if wanted.show is True or (wanted.show is None and (asked or wanted.budget == -1)):
        thinking["includeThoughts"] = True
    return thinking


# ── tools ──────────────────────────────────────────────────────────────────────────────


#: What tools are written for: a model that takes JSON Schema, and one that checks arguments.
_WRITTEN = {(a, b): f"gemini: written {a} {b}" for a in (False, True) for b in (False, True)}


def encode_tools(request: ChatRequest, model: Family, losses: Losses) -> tuple[Json, dict[str, Json] | None]:
    """tools and toolConfig: a list of entries (or its JSON text, where it has been written before) and an object."""
    if not request.tools and request.parallel_tool_calls is None and request.tool_choice is None:
        return [], None
    name = _WRITTEN[model.json_schema, model.validates]
    entries = once(request.tools, name, losses, _entries, request, model)
    if request.tool_choice is None and request.parallel_tool_calls is None:
        for tool in request.tools:
            if type(tool) is Tool and tool.strict:
                break
        else:
            return entries or [], None
    declared = any(isinstance(tool, Tool) for tool in request.tools)
    if request.parallel_tool_calls is False:
        losses.append(dropped("parallel_tool_calls", "the target cannot be held to one call at a time"))
    config = _calling(request, model, losses) if declared else None
    if not declared and request.tool_choice is not None and request.tool_choice.mode == "required":
        losses.append(dropped("tool_choice", "there are no functions to choose from"))
    return entries or [], config


def _entries(request: ChatRequest, model: Family, losses: Losses) -> list[Json]:
    """All functions stand in one entry."""
    declarations: list[Json] = []
    entries: list[Json] = []
    for i, tool in enumerate(request.tools):
        if isinstance(tool, ServerTool):
            if tool.dialect != NAME:
                raise UnsupportedParameter(
                    f"{tool.at or f'tools[{i}]'}: the target has no such tool: {tool.kind}",
                    param=tool.at or f"tools[{i}]",
                )
            entries.append({tool.kind: tool.raw})
        else:
            declarations.append(_declaration(tool, tool.at or f"tools[{i}]", model, losses))
    if declarations:
        entries.insert(0, {"functionDeclarations": declarations})
    return entries


def _declaration(tool: Tool, at: str, model: Family, losses: Losses) -> dict[str, Json]:
    if tool.kind == "custom":
        raise UnsupportedParameter(f"{at}: the target has no custom tools", param=at)
    if tool.cache is not None:
        losses.append(dropped(tool.cache.at or join(at, "cache_control"), "the target takes no cache marks here"))
    if tool.strict and not model.validates:
        losses.append(dropped(join(at, "strict"), "this model does not check arguments"))
    declaration: dict[str, Json] = {"name": written_name(tool.name, join(at, "name"))}
    if tool.description is not None:
        declaration["description"] = tool.description
    for key, schema in (("parameters", tool.parameters), ("response", tool.response)):
        if schema is None or is_empty(schema):
            continue
        compiled, relaxed = compile_schema(schema, JSON_SUBSET if model.json_schema else OPENAPI)
        losses.extend(approximated(join(at, f"{key}.{one.path}"), one.reason) for one in relaxed)
        declaration[f"{key}JsonSchema" if model.json_schema else key] = _rooted(compiled, model)
    return declaration


def _rooted(schema: dict[str, Json], model: Family) -> dict[str, Json]:
    """Parameters are an object, also where the schema forgot to say so."""
    if "type" in schema or "anyOf" in schema or "$ref" in schema:
        return schema
    return {"type": "object" if model.json_schema else "OBJECT", **schema}


def _calling(request: ChatRequest, model: Family, losses: Losses) -> dict[str, Json] | None:
    choice = request.tool_choice or ToolChoice(mode="auto")
    strict = model.validates and any(isinstance(tool, Tool) and tool.strict for tool in request.tools)
    calling: dict[str, Json]
    if choice.mode == "none":
        calling = {"mode": "NONE"}
    elif choice.mode == "required":
        calling = {"mode": "ANY"}
    elif choice.validated or strict or (choice.names and model.validates):
        calling = {"mode": "VALIDATED"}
    elif request.tool_choice is None:
        return None
    else:
        calling = {"mode": "AUTO"}
    if choice.names:
        if calling["mode"] in ("ANY", "VALIDATED"):
            calling["allowedFunctionNames"] = [written_name(name, "tool_choice") for name in choice.names]
        else:
            losses.append(dropped("tool_choice", "this model cannot be given a choice of functions without a call"))
    return {"functionCallingConfig": calling}


# ── the rest ───────────────────────────────────────────────────────────────────────────


def encode_rest(request: ChatRequest, body: dict[str, Json], losses: Losses) -> None:
    """serviceTier, labels, store, safetySettings; and names what has no place at all."""
    tier = request.service_tier
    if tier in TIER_OF:
        body["serviceTier"] = TIER_OF[tier]
    elif tier not in (None, "auto"):
        losses.append(dropped("service_tier", "the target has no such tier"))
    if request.metadata:
        _labels(request.metadata, body, losses)
    if request.store is not None:
        body["store"] = request.store
    if request.cached_content is not None:
        body["cachedContent"] = request.cached_content
    if request.safety:
        body["safetySettings"] = [{"category": one.category, "threshold": one.threshold} for one in request.safety]
    for parameter, why in _NOT_SAID:
        value = getattr(request, parameter)
        if value is not None and value != {}:
            losses.append(dropped(parameter, why))


def _labels(metadata: Mapping[str, str], body: dict[str, Json], losses: Losses) -> None:
    """Labels are lower-case words; metadata that are more than that are named."""
    labels = {key: value for key, value in metadata.items() if _LABEL.fullmatch(key) and _LABEL.fullmatch(value)}
    if labels:
        body["labels"] = labels
    if len(labels) < len(metadata):
        losses.append(dropped("metadata", "the target takes labels of lower-case letters, digits, _ and - only"))
