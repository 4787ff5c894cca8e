"""Field names. Google's servers read proto3 JSON, so every field may be spelled in camelCase or in snake_case.

Values are understood in camelCase; which keys a caller wrote otherwise is kept in `form` ("snake"), so that the same
dialect writes them back as they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

Json: TypeAlias = Any
Names: TypeAlias = dict[str, str]

NAME = "gemini"
FAMILY = "gemini"  # origin of its seals

_HUMP = re.compile(r"_([a-z0-9])")

#: Canonical parameter -> where a caller of this dialect writes it.
PATHS: Mapping[str, str] = {
    "max_output_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "stop": "generationConfig.stopSequences",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "presence_penalty": "generationConfig.presencePenalty",
    "seed": "generationConfig.seed",
    "n": "generationConfig.candidateCount",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "response_format": "generationConfig.responseMimeType",
    "reasoning": "generationConfig.thinkingConfig",
    "show_reasoning": "generationConfig.thinkingConfig.includeThoughts",
    "modalities": "generationConfig.responseModalities",
    "audio": "generationConfig.speechConfig",
    "tool_choice": "toolConfig.functionCallingConfig",
    "safety": "safetySettings",
    "service_tier": "serviceTier",
    "metadata": "labels",
    "cached_content": "cachedContent",
    "messages": "contents",
    "generationConfig.responseJsonSchema.schema": "generationConfig.responseJsonSchema",
    "generationConfig.responseSchema.schema": "generationConfig.responseSchema",
    "generationConfig.response_json_schema.schema": "generationConfig.response_json_schema",
    "generationConfig.response_schema.schema": "generationConfig.response_schema",
    "inputs": "content",
    "dimensions": "outputDimensionality",
    "task": "taskType",
    "contents[].parts[].called": "contents[].parts[].functionCall.id",
    "contents[].parts[].answered": "contents[].parts[].functionResponse.id",
    "contents[].parts[].named": "contents[].parts[].functionResponse.name",
    "contents[].parts[].detail": "contents[].parts[].mediaResolution",
    "systemInstruction.parts[].detail": "systemInstruction.parts[].mediaResolution",
    "contents[].parts[].functionResponse.parts[].detail": "contents[].parts[].functionResponse.parts[].mediaResolution",
}


def alt_of(query: Mapping[str, str]) -> str | None:
    """The form in which an answer is wanted; the service takes it under both names."""
    return query.get("alt") or query.get("$alt") or None


def camel(key: str) -> str:
    """`mime_type` -> `mimeType`; anything else as it is."""
    return _HUMP.sub(lambda match: match[1].upper(), key) if "_" in key else key


def plain(value: dict[str, Json], names: Names) -> dict[str, Json]:
    """The object with camelCase keys; `names` learns which keys were spelled otherwise. Unchanged if none was."""
    for key in value:
        if "_" in key:
            break
    else:
        return value
    result: dict[str, Json] = {}
    for key, item in value.items():
        name = camel(key)
        if name != key:
            names[name] = key
        if name not in result or name == key:
            result[name] = item
    return result


def respelled(value: dict[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """The object with its keys as the caller wrote them."""
    return {names.get(key, key): item for key, item in value.items()}


# ── arguments as they were written ─────────────────────────────────────────────────────


class _RawCall(msgspec.Struct):
    args: msgspec.Raw = msgspec.Raw()


class _RawResult(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw()


class RawPart(msgspec.Struct):
    """The two places whose JSON text must survive as it is: numbers keep their spelling, keys their order."""

    camel_call: _RawCall | None = msgspec.field(default=None, name="functionCall")
    snake_call: _RawCall | None = msgspec.field(default=None, name="function_call")
    camel_result: _RawResult | None = msgspec.field(default=None, name="functionResponse")
    snake_result: _RawResult | None = msgspec.field(default=None, name="function_response")

    @property
    def args(self) -> str | None:
        call = self.camel_call or self.snake_call
        return _text(call.args) if call else None

    @property
    def response(self) -> str | None:
        result = self.camel_result or self.snake_result
        return _text(result.response) if result else None


class _RawContent(msgspec.Struct):
    parts: list[RawPart] | None = None


class _RawCandidate(msgspec.Struct):
    content: _RawContent | None = None


class _RawAnswer(msgspec.Struct):
    candidates: list[_RawCandidate] | None = None


_NONE: list[list[RawPart]] = []
_read_contents = msgspec.json.Decoder(list[_RawContent]).decode
_read_answer = msgspec.json.Decoder(_RawAnswer).decode


def _text(raw: msgspec.Raw) -> str | None:
    data = bytes(raw)
    return msgspec.json.format(data, indent=-1).decode() if data else None


def raw_contents(data: bytes) -> list[list[RawPart]]:
    """The raw arguments and results in `contents`, by content and part; empty when there are none."""
    if data.find(b'"args"') < 0 and data.find(b'"response"') < 0:
        return _NONE
    try:
        return [content.parts or [] for content in _read_contents(data)]
    except msgspec.MsgspecError:
        return _NONE


def raw_answer(data: bytes) -> list[list[RawPart]]:
    """The raw arguments in an answer, by candidate and part; empty when there are none or they are damaged."""
    if data.find(b'"args"') < 0 or b"\\ud" in data or b"\\uD" in data:
        return _NONE
    try:
        candidates = _read_answer(data).candidates or []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NONE
    return [(one.content.parts or []) if one.content else [] for one in candidates]


def raw_part(raws: list[list[RawPart]], outer: int, inner: int) -> RawPart | None:
    if outer < len(raws) and inner < len(raws[outer]):
        return raws[outer][inner]
    return None
