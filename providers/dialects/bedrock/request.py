"""Canonical -> `POST {base_url}/model/{modelId}/converse` or `…/converse-stream`.

What has no field of its own goes to `additionalModelRequestFields`, in the words of the model's family. Facts: botocore
1.44.5 (service model bedrock-runtime 2023-09-30), recorded traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote

import msgspec

from providers.canonical.chat import ChatRequest, ResponseFormat, ServerTool, Tool, ToolChoice
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import (
    Losses,
    approximated,
    at_least_one,
    dropped,
    invented,
    join,
    lose_extras,
    schema_place,
)
from providers.canonical.turns import says_more
from providers.dialect import Traits, WireRequest
from providers.dialects import _traits
from providers.dialects.bedrock.messages import Conversation, cache_point
from providers.dialects.bedrock.models import Family, family
from providers.dialects.bedrock.thinking import encode_thinking
from providers.dialects.bedrock.words import NAME, Json, Object, written_name
from providers.wire.json import encode, wrong
from providers.wire.memory import once

STREAM_TYPE = "application/vnd.amazon.eventstream"

#: Fields of the service that no other dialect has: a caller may write them where the row's `own` names them.
_OWN = frozenset(
    {"guardrailConfig", "additionalModelRequestFields", "additionalModelResponseFieldPaths"}
    | {"performanceConfig", "promptVariables", "requestMetadata"}
)
_CANONICAL = {
    "inferenceConfig.maxTokens": "max_output_tokens",
    "inferenceConfig.temperature": "temperature",
    "inferenceConfig.topP": "top_p",
    "inferenceConfig.stopSequences": "stop",
    "toolConfig": "tools",
    "outputConfig": "response_format",
    "requestMetadata": "metadata",
    "serviceTier": "service_tier",
}
_NOT_SAID = (
    *("frequency_penalty", "presence_penalty", "seed", "logprobs", "top_logprobs", "logit_bias", "end_user"),
    *("store", "verbosity", "prediction", "cache_key", "audio"),
)
_TIERS = {"default": "default", "standard": "default", "priority": "priority", "flex": "flex", "reserved": "reserved"}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_MOST_METADATA = 16


def encode_request(request: ChatRequest, losses: Losses, traits: Traits) -> WireRequest:
    """The request as the service takes it. Losses and refusals name the caller's fields."""
    passed: Object = {}
    if request.extra:
        passed = {key: value for key, value in request.extra.items() if key in traits.own & _OWN}
    rest = request
    if passed:
        left = {key: value for key, value in (request.extra or {}).items() if key not in passed}
        rest = msgspec.structs.replace(request, extra=left or None)
    lose_extras(rest, NAME, losses)
    model = family(request.model)
    more = says_more(request)
    if more:
        _refuse(request)
    talk = Conversation(request, losses)
    fields, thinks = encode_thinking(request, model, talk.unsigned, losses)
    body: Object = {"messages": talk.messages}
    _output(request, talk, body, losses)
    if talk.system:
        body["system"] = talk.system
    config = _inference(request, model, thinks, losses)
    if config:
        body["inferenceConfig"] = config
    _top_k(request, model, thinks, fields, losses)
    tools = _tools(request, talk, model, losses)
    if tools:
        body["toolConfig"] = tools
    if more:
        _rest(request, body, losses)
    if passed:
        fields |= _own_fields(passed.pop("additionalModelRequestFields", {}))
    if fields:
        body["additionalModelRequestFields"] = fields
    body |= passed
    _traits.apply(traits, body, losses, _CANONICAL)
    task = "converse-stream" if request.stream else "converse"
    headers = {"content-type": "application/json", "accept": STREAM_TYPE if request.stream else "application/json"}
    return WireRequest(path=f"/model/{_quoted(request.model)}/{task}", headers=headers, body=encode(body))


@lru_cache(maxsize=1024)
def _quoted(model: str) -> str:
    return quote(model, safe="")


def _own_fields(value: Json) -> Object:
    """What the caller says in this language's own field, beside what we say there."""
    if type(value) is not dict:
        raise wrong("additionalModelRequestFields", "an object", value)
    return value


def _refuse(request: ChatRequest) -> None:
    """What would change the meaning of the call if it were left out."""
    if request.n is not None and request.n != 1:
        raise UnsupportedParameter("n: the target gives one answer", param="n")
    if request.cached_content is not None:
        raise UnsupportedParameter("cached_content: the target does not hold it", param="cached_content")
    if request.modalities and "text" not in request.modalities:
        raise UnsupportedParameter("modalities: the target answers in text", param="modalities")


# ── parameters ─────────────────────────────────────────────────────────────────────────


def _inference(request: ChatRequest, model: Family, thinks: bool, losses: Losses) -> Object:
    config: Object = {}
    if request.max_output_tokens is not None:
        config["maxTokens"] = at_least_one(request.max_output_tokens, losses)
    for parameter, key in (("temperature", "temperature"), ("top_p", "topP")):
        value = getattr(request, parameter)
        if value is None:
            continue
        if not model.samples or (thinks and value != 1):
            why = "while it thinks" if model.samples else "any more"
            losses.append(dropped(parameter, f"this model takes no such parameter {why}"))
            continue
        config[key] = min(max(value, 0), 1)
        if config[key] != value:
            losses.append(approximated(parameter, "the target takes 0 to 1"))
    if not model.both and "temperature" in config and "topP" in config:
        del config["topP"]
        losses.append(dropped("top_p", "this model takes it or temperature, not both"))
    if request.stop:
        stop = [text for text in request.stop if text]
        if stop:
            config["stopSequences"] = stop
    return config


def _top_k(request: ChatRequest, model: Family, thinks: bool, fields: Object, losses: Losses) -> None:
    if request.top_k is None:
        return
    if model.top_k is None or not model.samples or thinks:
        losses.append(dropped("top_k", "this model takes no such parameter"))
        return
    outer, _, inner = model.top_k.partition(".")
    value = round(request.top_k)
    fields[outer] = {inner: value} if inner else value
    if value != request.top_k:
        losses.append(approximated("top_k", "the target takes whole numbers"))


def _rest(request: ChatRequest, body: Object, losses: Losses) -> None:
    tier = request.service_tier
    if tier is not None and tier.lower() in _TIERS:
        body["serviceTier"] = {"type": _TIERS[tier.lower()]}
    elif tier not in (None, "auto"):
        losses.append(dropped("service_tier", "the target has no such tier"))
    if request.metadata:
        _metadata(request.metadata, body, losses)
    for parameter in _NOT_SAID:
        if getattr(request, parameter):
            losses.append(dropped(parameter, "the target has no such parameter"))
    if len(request.modalities) > 1:
        losses.append(dropped("modalities", "the target answers in text"))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has guardrails instead of such settings"))
    if request.parallel_tool_calls is False:
        losses.append(dropped("parallel_tool_calls", "the target cannot be held to one call at a time"))


def _metadata(metadata: Mapping[str, str], body: Object, losses: Losses) -> None:
    fitting = {k: v for k, v in metadata.items() if _METADATA.fullmatch(k) and (not v or _METADATA.fullmatch(v))}
    kept = dict(list(fitting.items())[:_MOST_METADATA])
    if kept:
        body["requestMetadata"] = kept
    if len(kept) < len(metadata):
        losses.append(dropped("metadata", f"the target takes {_MOST_METADATA} pairs of plain ASCII text"))


# ── the form of the answer ─────────────────────────────────────────────────────────────


def _output(request: ChatRequest, talk: Conversation, body: Object, losses: Losses) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is not None:
        body["outputConfig"] = {"textFormat": _text_format(wanted, wanted.schema, losses)}
        return
    talk.system.append({"text": "Answer with one JSON object and nothing else."})
    losses.append(approximated(wanted.at or "response_format", "the target has no JSON mode: it is asked for in words"))


def _text_format(wanted: ResponseFormat, schema: Mapping[str, Json], losses: Losses) -> Object:
    """The schema goes as text; its objects are closed, which the service insists on."""
    closed = _closed(schema)
    if closed != schema:
        losses.append(approximated(schema_place(wanted), "the target wants closed objects"))
    inner: Object = {"schema": encode(closed).decode()}
    if wanted.name is not None:
        inner["name"] = wanted.name
    if wanted.description is not None:
        inner["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": inner}}


def _closed(schema: Json) -> Json:
    """The schema with `additionalProperties: false` in every object that has properties."""
    if isinstance(schema, list | tuple):
        return [_closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {
        key: {name: _closed(one) for name, one in value.items()}
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping)
        else value
        if key in ("enum", "const", "default", "examples")
        else _closed(value)
        for key, value in schema.items()
    }
    if isinstance(schema.get("properties"), Mapping) and schema.get("additionalProperties") is not False:
        result["additionalProperties"] = False
    return result


# ── tools ──────────────────────────────────────────────────────────────────────────────


def _tools(request: ChatRequest, talk: Conversation, model: Family, losses: Losses) -> Object:
    """toolConfig, which has to be there when the history calls tools."""
    choice = request.tool_choice or ToolChoice(mode="auto")
    offered: Sequence[Tool | ServerTool] = request.tools
    if choice.names:
        offered = [tool for tool in request.tools if not _is_left_out(tool, choice.names)]
    specs = once(offered, "bedrock.converse: written", losses, _write_each, offered)
    if choice.mode == "none" and not talk.called:
        if specs:
            losses.append(approximated("tool_choice", "the target knows no such choice: it is told of no tools"))
        return {}
    if not specs:
        if choice.mode == "required":
            losses.append(dropped("tool_choice", "there is no tool to call"))
        if talk.called:
            losses.append(invented("tools", "the target wants the tools that were called before to be there"))
        specs = [{"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in talk.called]
        return {"tools": specs} if specs else {}
    config: Object = {"tools": specs}
    if choice.mode == "none":
        losses.append(dropped("tool_choice", "the target cannot be kept from calling the tools of the history"))
    elif request.tool_choice is not None:
        config["toolChoice"] = _choice(choice, model, losses)
    return config


def _write_each(tools: Sequence[Tool | ServerTool], losses: Losses) -> list[Object]:
    return [spec for i, tool in enumerate(tools) for spec in _tool(tool, f"tools[{i}]", losses)]


def _is_left_out(tool: Tool | ServerTool, names: Sequence[str]) -> bool:
    return isinstance(tool, Tool) and tool.name not in names


def _tool(tool: Tool | ServerTool, at: str, losses: Losses) -> list[Object]:
    at = tool.at or at
    if isinstance(tool, ServerTool) or tool.kind == "custom":
        kind = tool.kind
        raise UnsupportedParameter(f"{at}: the target has no such tool: {kind}", param=at)
    spec: Object = {"name": written_name(tool.name, join(at, "name"))}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": _rooted(tool.parameters or {})}
    if tool.strict is not None:
        spec["strict"] = tool.strict
    if tool.response is not None:
        losses.append(dropped(join(at, "response"), "the target takes no schema of results"))
    mark = tool.cache
    return [{"toolSpec": spec}, *([cache_point(mark, at, losses)] if mark is not None else [])]


def _rooted(schema: Mapping[str, Json]) -> Object:
    """Parameters are an object, also where the schema forgot to say so."""
    if "type" in schema or "$ref" in schema:
        return dict(schema)
    return {"type": "object", **schema}


def _choice(choice: ToolChoice, model: Family, losses: Losses) -> Object:
    if choice.validated:
        losses.append(approximated("tool_choice", "the target checks arguments of strict tools only"))
    if choice.mode != "required":
        return {"auto": {}}
    if not model.forces:
        why = "this model cannot be made to call a tool"
        losses.append((approximated if choice.names else dropped)("tool_choice", why))
        return {"auto": {}}
    if len(choice.names) == 1:
        return {"tool": {"name": written_name(choice.names[0], "tool_choice")}}
    return {"any": {}}
