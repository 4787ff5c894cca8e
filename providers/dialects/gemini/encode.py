"""Canonical -> a request body. For a request that came in this dialect, the very same body again (see decode.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, dropped, invented, lose_extras
from providers.canonical.turns import says_more
from providers.dialect import Traits, WireRequest
from providers.dialects.gemini.config import encode_config, encode_rest, encode_tools
from providers.dialects.gemini.contents import Contents
from providers.dialects.gemini.decode import INTEGERS, NUMBERS, TIER_OF
from providers.dialects.gemini.models import family
from providers.dialects.gemini.names import NAME, PATHS, Json, camel, respelled
from providers.dialects.gemini.parts import (
    encode_media,
    encode_opaque,
    encode_own_call,
    encode_own_result,
    encode_text,
    finish_part,
)
from providers.wire import json as wire_json

_VERSION = re.compile(r"v1(?:beta|alpha)?\d?")
#: Body field -> canonical parameter, for losses and refusals that a row's traits cause.
_PARAMETERS = {path: parameter for parameter, path in PATHS.items()} | {
    "generationConfig": "generationConfig",
    "toolConfig": "tool_choice",
}


#: What a row of this dialect may differ in. `vertex`: base_url goes as far as `…/publishers/google`, so that paths
#: begin with the collection, and countTokens takes its fields without the Gemini API's wrapper.
QUIRKS = frozenset({"vertex"})


def url_path(model: str, task: str, params: Mapping[str, str], quirks: frozenset[str] = frozenset()) -> str:
    """`/v1beta/models/{model}:{task}`; version and collection as the caller of this dialect said them."""
    if not params and not quirks:
        return _usual_path(model, task)
    return _path(model, task, params, quirks)


def _path(model: str, task: str, params: Mapping[str, str], quirks: frozenset[str]) -> str:
    version = params.get("version") or "v1beta"
    collection = params.get("collection") or "models"
    if version != "v1beta" and not _VERSION.fullmatch(version):
        version = "v1beta"
    if "/" in model:  # models/x, tunedModels/x
        head, _, model = model.rpartition("/")
        collection = head.rpartition("/")[2] or collection
    if "vertex" in quirks:
        return f"/{_quoted(collection)}/{_quoted(model)}:{task}"
    return f"/{version}/{_quoted(collection)}/{_quoted(model)}:{task}"


@lru_cache(maxsize=1024)
def _usual_path(model: str, task: str) -> str:
    return _path(model, task, {}, frozenset())


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return quote(text, safe="-._~@")


def encode_request(request: ChatRequest, losses: Losses, traits: Traits) -> WireRequest:
    """The request as an upstream of this dialect takes it. Losses and refusals name the caller's fields."""
    own = request.dialect == NAME
    form: Mapping[str, Any] = (request.form or {}) if own else {}
    body = _own_body(request, form) if own else _foreign_body(request, losses, traits)
    if traits.rejects or traits.ignores:
        apply_traits(body, traits, losses)
    task = "streamGenerateContent" if request.stream else "generateContent"
    if request.count:
        task = "countTokens"
        if "vertex" not in traits.quirks:
            body = _counted(request.model, body, form, own)
    return WireRequest(
        path=url_path(request.model, task, form, traits.quirks),
        query={"alt": "sse"} if request.stream else {},
        headers={"content-type": "application/json"},
        body=wire_json.encode(body),
    )


def _counted(model: str, body: dict[str, Json], form: Mapping[str, Any], own: bool) -> dict[str, Json]:
    """The body of countTokens: contents alone, or a whole request, which then names the model again."""
    if "wrapped" in form:
        key = form.get("snake", {}).get("generateContentRequest", "generateContentRequest")
        return {**form["wrapped"], key: body}
    if own or body.keys() <= {"contents"}:
        return body
    name = model if "/" in model else f"models/{model}"
    return {"generateContentRequest": {"model": name, **body}}


def apply_traits(body: dict[str, Json], traits: Traits, losses: Losses) -> None:
    """Leaves out what the row ignores, naming it; refuses what it rejects. Fields may be `generationConfig.topK`."""
    for field in traits.rejects:
        if _find(body, field) is not None:
            raise UnsupportedParameter(f"{field}: this upstream refuses it", param=_PARAMETERS.get(field, field))
    for field in traits.ignores:
        found = _find(body, field)
        if found is not None:
            holder, key = found
            del holder[key]
            losses.append(dropped(_PARAMETERS.get(field, field), "this upstream ignores it"))


def _find(body: dict[str, Json], field: str) -> tuple[dict[str, Json], str] | None:
    """The object and the key where a field stands, in either spelling."""
    holder = body
    *outer, last = field.split(".")
    for step in outer:
        key = next((key for key in holder if camel(key) == step), None)
        inner = holder.get(key) if key is not None else None
        if type(inner) is not dict:
            return None
        holder = inner
    name = next((key for key in holder if camel(key) == camel(last)), None)
    return (holder, name) if name is not None else None


# ── from another dialect ───────────────────────────────────────────────────────────────


def _foreign_body(request: ChatRequest, losses: Losses, traits: Traits) -> dict[str, Json]:
    passed: dict[str, Json] = {}
    if request.extra:
        passed = {key: value for key, value in request.extra.items() if key in traits.own}
    if passed:
        extra = {key: value for key, value in (request.extra or {}).items() if key not in passed}
        lose_extras(msgspec.structs.replace(request, extra=extra or None), NAME, losses)
    else:
        lose_extras(request, NAME, losses)
    model = family(request.model)
    built = Contents(request, model, losses)
    if not built.contents:
        built.contents.append({"role": "user", "parts": [{"text": " "}]})
        losses.append(invented("messages", "the target wants a message of the user beside the system text"))
    body: dict[str, Json] = {"contents": built.contents}
    if built.system:
        body["systemInstruction"] = {"parts": built.system}
    tools, tool_config = encode_tools(request, model, losses)
    if tools:
        body["tools"] = tools
    if tool_config:
        body["toolConfig"] = tool_config
    more = says_more(request)
    config = encode_config(request, model, losses, more=more)
    if config:
        body["generationConfig"] = config
    if more:
        encode_rest(request, body, losses)
    elif request.store is not None:
        body["store"] = request.store
    if passed:
        body.update(passed)
    return body


# ── from this dialect ──────────────────────────────────────────────────────────────────


def _own_body(request: ChatRequest, form: Mapping[str, Any]) -> dict[str, Json]:
    body: dict[str, Json] = {}
    config: dict[str, Json] = {}
    _own_contents(request, body)
    _own_tools(request, form, body)
    _own_config(request, form, config)
    extra = request.extra or {}
    for key, value in extra.items():
        if key.startswith("generationConfig."):
            config[key.partition(".")[2]] = value
        elif key.startswith("toolConfig."):
            body.setdefault("toolConfig", {})[key.partition(".")[2]] = value
        else:
            body[key] = value
    if config or "config" in form:
        body["generationConfig"] = config
    if "toolConfig" in form:
        body.setdefault("toolConfig", {})
    _own_rest(request, form, body)
    snake = form.get("snake")
    return _respell(body, snake) if snake else body


def _own_contents(request: ChatRequest, body: dict[str, Json]) -> None:
    contents: list[dict[str, Json]] = []
    for message in request.messages:
        form = message.form or {}
        if message.role == "system":
            body["systemInstruction"] = _own_system(message, form)
            continue
        parts = [_own_part(part) for part in message.parts]
        if form.get("joined"):
            contents[-1]["parts"].extend(parts)
            continue
        content: dict[str, Json] = dict(message.extra or {})
        role = form.get("role", "model" if message.role == "assistant" else "user")
        if role is not False:
            content["role"] = role
        content["parts"] = parts
        contents.append(content)
    body["contents"] = contents


def _own_system(message: Message, form: Mapping[str, Json]) -> Json:
    if form.get("string"):
        return "".join(part.text for part in message.parts if isinstance(part, Text))
    content: dict[str, Json] = {"parts": [_own_part(part) for part in message.parts], **(message.extra or {})}
    if "role" in form:
        content["role"] = form["role"]
    return content


def _own_part(part: AnyPart) -> dict[str, Json]:
    match part:
        case Text() | Reasoning():
            return encode_text(part, own=True)
        case ToolCall():
            return encode_own_call(part)
        case ToolResult():
            return encode_own_result(part)
        case Media():
            return encode_media(part, own=True)
        case Opaque():
            return encode_opaque(part, own=True)
        case Refusal():
            return finish_part({"text": part.text}, part, own=True)


def _own_tools(request: ChatRequest, form: Mapping[str, Any], body: dict[str, Json]) -> None:
    entries: dict[Any, tuple[dict[str, Json], Mapping[str, str]]] = {}
    for i, tool in enumerate(request.tools):
        spelling = tool.form or {}
        entry, _ = entries.setdefault(spelling.get("entry", f"+{i}"), ({}, spelling.get("snake", {})))
        if isinstance(tool, Tool):
            entry.setdefault("functionDeclarations", []).append(_own_function(tool))
        else:
            names = spelling.get("names")
            entry[tool.kind] = respelled(tool.raw, names) if names else tool.raw
    if entries:
        body["tools"] = [respelled(entry, names) if names else entry for entry, names in entries.values()]
    elif "tools" in form:
        body["tools"] = form["tools"]
    choice = request.tool_choice
    if choice is not None:
        spelling = choice.form or {}
        calling: dict[str, Json] = {"mode": spelling.get("mode", choice.mode.upper()), **(choice.extra or {})}
        if choice.names or "names" in spelling:
            calling["allowedFunctionNames"] = list(choice.names)
        body["toolConfig"] = {"functionCallingConfig": calling}


def _own_function(tool: Tool) -> dict[str, Json]:
    form = tool.form or {}
    declaration: dict[str, Json] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    for key, schema in (("parameters", tool.parameters), ("response", tool.response)):
        if schema is not None:
            written = form.get(key, "json")
            if written == "json":
                declaration[f"{key}JsonSchema"] = schema
            else:
                declaration[key] = written
    declaration.update(tool.extra or {})
    names = form.get("names")
    return respelled(declaration, names) if names else declaration


def _own_config(request: ChatRequest, form: Mapping[str, Any], config: dict[str, Json]) -> None:
    for key, parameter in (*NUMBERS.items(), *INTEGERS.items()):
        value = getattr(request, parameter)
        if value is not None:
            config[key] = value
    if request.logprobs is not None:
        config["responseLogprobs"] = request.logprobs
    if request.stop or "stop" in form:
        config["stopSequences"] = list(request.stop)
    if request.modalities:
        config["responseModalities"] = form.get("modalities") or [word.upper() for word in request.modalities]
    if request.response_format is not None:
        _own_format(request.response_format, config)
    if request.audio is not None:
        config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": request.audio.voice}}}
    thinking = request.reasoning
    if thinking is not None:
        written: dict[str, Json] = dict(thinking.extra or {})
        if thinking.effort is not None:
            written["thinkingLevel"] = (thinking.form or {}).get("level", thinking.effort)
        if thinking.budget is not None:
            written["thinkingBudget"] = thinking.budget
        if thinking.show is not None:
            written["includeThoughts"] = thinking.show
        config["thinkingConfig"] = written


def _own_format(wanted: ResponseFormat, config: dict[str, Json]) -> None:
    form = wanted.form or {}
    if form.get("mime") is not None:
        config["responseMimeType"] = form["mime"]
    if "schema" in form:
        config[form["schema"]] = form.get("original", wanted.schema)


def _own_rest(request: ChatRequest, form: Mapping[str, Any], body: dict[str, Json]) -> None:
    if request.safety or "safety" in form:
        body["safetySettings"] = [
            {
                "category": one.category,
                **({"threshold": sent_threshold(one.threshold)} if one.threshold is not None else {}),
                **(one.extra or {}),
            }
            for one in request.safety
        ]
    if request.cached_content is not None:
        body["cachedContent"] = request.cached_content
    if request.service_tier is not None:
        body["serviceTier"] = form.get("tier") or TIER_OF.get(request.service_tier, request.service_tier)
    if request.metadata is not None:
        body["labels"] = request.metadata
    if request.store is not None:
        body["store"] = request.store
    if "model" in form:
        body["model"] = form["model"]


def sent_threshold(threshold: Json) -> Json:
    """The given systems know BLOCK_HIGH_AND_ABOVE; the service calls the same BLOCK_ONLY_HIGH."""
    return "BLOCK_ONLY_HIGH" if threshold == "BLOCK_HIGH_AND_ABOVE" else threshold


def _respell(body: dict[str, Json], snake: Mapping[str, str], at: str = "") -> dict[str, Json]:
    """Top-level and configuration fields as the caller spelled them."""
    result: dict[str, Json] = {}
    for key, value in body.items():
        path = f"{at}.{key}" if at else key
        if type(value) is dict and any(name.startswith(f"{path}.") for name in snake):
            value = _respell(value, snake, path)
        result[snake.get(path, key)] = value
    return result
