"""Values that a JSON Schema allows, so that tests can walk every field of a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.corpus import definitions

_SCHEMA = definitions("openai.chat.request")["$defs"]
_BY_NAME: dict[str, Any] = {
    "file_data": "data:application/pdf;base64,JVBERi0=",
    "url": "https://a.example/x.png",
    "data": "UklGRg==",
    "logit_bias": {"17": 5},
    "n": 2,
    "max_tokens": 99,
    "max_completion_tokens": 99,
    "top_logprobs": 3,
    "temperature": 0.5,
    "top_p": 0.5,
}


def samples(schema: Any, name: str = "x") -> list[Any]:
    """At least one value for each alternative of the schema, objects once with and once without optional fields."""
    if "$ref" in schema:
        return samples(_SCHEMA[schema["$ref"].rpartition("/")[2]], name)
    if "anyOf" in schema:
        return [value for one in schema["anyOf"] for value in samples(one, name)]
    if name in _BY_NAME and schema.get("type") != "null":
        return [_BY_NAME[name]]
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return [schema["enum"][0], schema["enum"][-1]]
    kind = schema.get("type")
    if kind == "array":
        return [[value] for value in samples(schema["items"], name)]
    if kind == "object":
        return list(_objects(schema))
    return [{"string": name, "integer": 3, "number": 0.25, "boolean": True, "null": None}[kind]]


def _objects(schema: Any) -> Iterator[Any]:
    properties = schema.get("properties")
    if properties is None:
        yield (
            {"type": "object", "k": "v"}
            if schema.get("additionalProperties") is True
            else {"k": samples(schema["additionalProperties"], "k")[0]}
        )
        return
    values = {key: samples(inner, key) for key, inner in properties.items()}
    required = {key: values[key][0] for key in schema.get("required", ())}
    yield required
    for key, choices in values.items():
        for value in choices:
            yield {**required, key: value}


def fields() -> Iterator[tuple[str, Any]]:
    """Every top-level field of a request with each of its values, but the model and the messages."""
    for entry in ("CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"):
        for key, schema in _SCHEMA[entry]["properties"].items():
            if key not in ("model", "messages") and (entry.endswith("NonStreaming") or key == "stream"):
                for value in samples(schema, key):
                    yield key, value


def messages() -> Iterator[Any]:
    """Every kind of message with every field and part that it may have."""
    yield from samples(_SCHEMA["CompletionCreateParamsNonStreaming"]["properties"]["messages"]["items"], "message")
