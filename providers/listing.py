"""The list of models that callers may name, in the form that each family of clients reads.

OpenAI: `{"object":"list","data":[{"id","object":"model","created","owned_by"}]}`. Google:
`{"models":[{"name":"models/x","supportedGenerationMethods"}]}`. Anthropic:
`{"data":[{"type":"model","id","display_name","created_at"}],"has_more"}`.
Which one is asked for is told by the path's version or by the credential and headers that only one family sends.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

from providers.canonical.errors import UnknownModel
from providers.dialect import WireResponse
from providers.wire.json import encode

Json: TypeAlias = Any

_PATH = re.compile(r"/(v1|v1alpha|v1beta)/models(?:/([^?]+))?")
_JSON = {"content-type": "application/json"}


def is_listing(path: str) -> bool:
    """Is this the path of a list of models, or of one of them?"""
    return _PATH.fullmatch(path) is not None


def answer(
    path: str, headers: Container[str], query: Mapping[str, str], names: Sequence[str], created: int
) -> WireResponse:
    """The list, or the one model that the path names. `names` are those that this caller may use. UnknownModel."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise UnknownModel("there is no list of models at this path")
    version, wanted = found.groups()
    if version != "v1" or "x-goog-api-key" in headers or "key" in query:
        one, many = _google, _google_list
    elif "anthropic-version" in headers:
        one, many = _anthropic, _anthropic_list
    else:
        one, many = _openai, _openai_list
    if wanted is None:
        body = many([one(name, created) for name in names])
    else:
        name = unquote(wanted)
        if name not in names:
            raise UnknownModel("this model does not exist here", param="model")
        body = one(name, created)
    return WireResponse(status=200, headers=dict(_JSON), body=encode(body))


def _openai(name: str, created: int) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": "isthmus"}


def _openai_list(rows: list[Json]) -> Json:
    return {"object": "list", "data": rows}


def _google(name: str, created: int) -> Json:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _google_list(rows: list[Json]) -> Json:
    return {"models": rows}


def _anthropic(name: str, created: int) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _anthropic_list(rows: list[Json]) -> Json:
    ids = [row["id"] for row in rows]
    return {
        "data": rows,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
