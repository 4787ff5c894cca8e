"""The models that callers may name, in the form that each family of clients reads.

OpenAI: `{"object":"list","data":[{"id","object":"model","created","owned_by"}]}`. Google:
`{"models":[{"name":"models/x","supportedGenerationMethods"}]}`. Anthropic:
`{"data":[{"type":"model","id","display_name","created_at"}],"has_more"}`.
Which one is asked for is told by the path's version or by the credential and headers that only one family sends.

Clients of ollama.chat ask beside the route on which they talk (`beside`): `GET …/api/tags` for the list,
`POST …/api/show` for one model, `GET …/api/version`, and the bare prefix to see whether anybody is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import msgspec

from providers.canonical.errors import MalformedRequest, MethodNotAllowed, UnknownModel
from providers.dialect import WireResponse
from providers.wire.json import decode_object, encode

Json: TypeAlias = Any

_PATH = re.compile(r"/(v1|v1alpha|v1beta)/models(?:/([^?]+))?")
_JSON = {"content-type": "application/json"}

Question: TypeAlias = Literal["tags", "show", "version", "alive"]

#: The first version of the service that has all that is answered here; clients ask whether theirs is too old.
VERSION = "0.12.11"


def is_listing(path: str) -> bool:
    """Is this the path of a list of models, or of one of them?"""
    return _PATH.fullmatch(path) is not None


def is_list(path: str) -> bool:
    """Is this the path of a list itself? It has no other use: `/v1/models/x:generateContent` has."""
    found = _PATH.fullmatch(path)
    return found is not None and found[2] is None


def dialect_of(path: str, headers: Container[str], query: Mapping[str, str]) -> str:
    """The dialect in whose form a list is asked for, and in which a refusal is read."""
    if not path.startswith("/v1/") or "x-goog-api-key" in headers or "key" in query:
        return "gemini"
    return "anthropic.messages" if "anthropic-version" in headers else "openai.chat"


def answer(
    path: str, headers: Container[str], query: Mapping[str, str], names: Sequence[str], created: int
) -> WireResponse:
    """The list, or the one model that the path names. `names` are those that this caller may use. UnknownModel."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise UnknownModel("there is no list of models at this path")
    wanted = found[2]
    one, many = _FORMS[dialect_of(path, headers, query)]
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


_FORMS: Mapping[str, tuple[Callable[[str, int], Json], Callable[[list[Json]], Json]]] = {
    "gemini": (_google, _google_list),
    "anthropic.messages": (_anthropic, _anthropic_list),
    "openai.chat": (_openai, _openai_list),
}


# ── beside a route of ollama.chat ──────────────────────────────────────────────────────


def beside(route: str, speaks: str) -> Mapping[str, Question]:
    """What callers of a route ask at other paths than its own: path -> question. `route` is its pattern."""
    prefix, api, _ = route.rpartition("/api/")
    if speaks != "ollama.chat" or not api or "{" in prefix:
        return {}
    asked: dict[str, Question] = {f"{prefix}/api/{word}": word for word in ("tags", "show", "version")}
    return asked | ({prefix: "alive", f"{prefix}/": "alive"} if prefix else {"/": "alive"})


def takes(question: Question) -> tuple[str, ...]:
    """The methods of a question."""
    return ("POST",) if question == "show" else ("GET", "HEAD")


def reply(question: Question, method: str, body: bytes, names: Sequence[str], created: int) -> WireResponse:
    """The answer to a question. `created`, Unix seconds, stands for when each model came. UnknownModel and its kin."""
    if method not in takes(question):
        raise MethodNotAllowed(f"this path takes {takes(question)[0]}", allow=takes(question))
    if question == "alive":
        return WireResponse(
            status=200, headers={"content-type": "text/plain; charset=utf-8"}, body=b"Ollama is running"
        )
    if question == "version":
        said: Json = {"version": VERSION}
    elif question == "tags":
        said = {"models": [_tag(name, created) for name in names]}
    else:
        said = _shown(_wanted(body, names), created)
    return WireResponse(status=200, headers=dict(_JSON), body=encode(said))


_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def _tag(name: str, created: int) -> Json:
    """`digest` tells models apart; what they weigh is not known."""
    digest = sha256(name.encode()).hexdigest()
    came = datetime.fromtimestamp(created, UTC).isoformat()
    return {"name": name, "model": name, "modified_at": came, "size": 0, "digest": digest, "details": _DETAILS}


def _shown(name: str, created: int) -> Json:
    """What may be asked of any model here: its target refuses what it cannot do, in the caller's words."""
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _DETAILS,
        "model_info": {"general.basename": name},
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": datetime.fromtimestamp(created, UTC).isoformat(),
    }


def _wanted(body: bytes, names: Sequence[str]) -> str:
    asked = decode_object(body)
    name = asked.get("model") or asked.get("name")
    if type(name) is not str or not name:
        raise MalformedRequest("model must be a non-empty string", param="model")
    if name not in names:
        raise UnknownModel(f"model {msgspec.json.encode(name[:256]).decode()} not found", param="model")
    return name
