"""Walks every field of every caller's request schema to every upstream: each must arrive, be named as a loss, or be
refused by its name.

For each field two requests are sent that differ in it alone. A field that makes no difference to what goes upstream,
and that is named nowhere, has silently vanished.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import NamedTuple

import msgspec
import pytest

from providers.canonical.chat import ChatRequest
from providers.canonical.errors import CallerError, RouterError
from providers.canonical.loss import Losses, blame
from providers.dialect import Dialect

from .meaning import below
from .through import CALLERS, NAMES, Lost, ask, named
from .walks import FIELDS, HI, Field

UPSTREAMS: list[tuple[str, str]] = [
    ("openai.chat", "gpt-4.1"),
    ("openai.chat", "gpt-5"),
    ("openai.responses", "gpt-4.1"),
    ("openai.responses", "gpt-5"),
    ("anthropic.messages", "claude-3-7-sonnet-latest"),
    ("anthropic.messages", "claude-haiku-4-5"),
    ("anthropic.messages", "claude-opus-5"),
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-3-pro-preview"),
    ("ollama.chat", "llama3.1"),
    ("cohere.chat", "command-a-03-2025"),
    ("cohere.chat", "command-a-reasoning-08-2025"),
    ("bedrock.converse", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("bedrock.converse", "amazon.nova-lite-v1:0"),
]
#: So many fields there are of each caller, at least.
LEAST = {"openai.chat": 300, "openai.responses": 1400, "anthropic.messages": 1200, "gemini": 450, "ollama.chat": 65}

# ── what becomes of a field ────────────────────────────────────────────────────────────

Read = ChatRequest | RouterError


class Walked(NamedTuple):
    """A field, and what its two requests mean: the same for all upstreams."""

    path: str
    asked: Read
    other: Read


class Sent(NamedTuple):
    """What goes upstream, what is lost; or the refusal."""

    body: bytes
    losses: list[Lost]
    error: RouterError | None = None


def read(caller: Dialect, field: Field) -> Walked:
    return Walked(field.path, _read(caller, field.body), _read(caller, field.other))


def _read(caller: Dialect, body: object) -> Read:
    try:
        return caller.decode_request(ask(caller, body))
    except RouterError as error:
        return error


@cache
def walked(caller: str) -> list[Walked]:
    """All fields of a caller's schema."""
    return [read(NAMES[caller], field) for field in FIELDS[caller]()]


def sent(asked: Read, caller: Dialect, upstream: Dialect, model: str) -> Sent:
    if isinstance(asked, RouterError):
        return Sent(b"", [], asked)
    request = msgspec.structs.replace(asked, model=model)
    losses: Losses = []
    try:
        wire = upstream.encode_request(request, losses)
    except CallerError as error:
        blame(error, request, caller.paths)
        return Sent(b"", [], error)
    return Sent(wire.body, named(losses, request, caller))


def outcome(field: Walked, caller: Dialect, upstream: Dialect, model: str) -> str:
    """carried, named, refused, or why it is nothing of these."""
    asked = sent(field.asked, caller, upstream, model)
    if asked.error is not None:
        return _refused(field.path, asked.error)
    other = sent(field.other, caller, upstream, model)
    if any(below(field.path, loss.field) or below(loss.field, field.path) for loss in asked.losses):
        return "named"
    if other.error is not None or asked.body != other.body:
        return "carried"
    if any(re.fullmatch(pattern, field.path) for pattern, _ in SAY_NOTHING):
        return "says nothing"
    return f"vanished: losses {[loss.field for loss in asked.losses]}"


def _refused(path: str, error: RouterError) -> str:
    param = error.param or ""
    kind = path.removesuffix(".type")  # a kind that is refused is named with what it is
    whole = param.rpartition(".")[0]  # a part that is refused is named by what is in it
    is_named = below(param, kind) or below(path, param) or below(path, whole)
    if error.status in (400, 422) and is_named:
        return "refused"
    return f"refused for {param or 'nothing'}: {error.message}"


#: Fields that may make no difference, and why.
SAY_NOTHING: list[tuple[str, str]] = [
    (r"model", "the route chooses the upstream's model; Gemini's path names it, the body need not"),
    (r"stream", "decides how the answer comes, and the path that is called; tested with streams"),
    (r"stream_options(\..*)?", "about the caller's own stream: usage is always asked for, nothing is padded"),
    (
        r"response_format\.json_schema\.(name|strict)",
        "a label; a target that constrains its answers is always as strict",
    ),
    (r"(response_format|tools\[0\]|tool_choice|messages.*)\.type", "the kind of its neighbour"),
    (r"messages\[\d\]\.role", "which kind of message it is: the others are walked on their own"),
    (r"response_format", "text, its default"),
    (
        r"messages.*\.tool_calls\[0\]\.id|messages.*\.tool_call_id",
        "pairs a result with its call: Gemini pairs by name and order",
    ),
    (r"contents.*\.(functionCall|functionResponse)\.id", "pairs a result with its call"),
    (r".*\.prompt_cache_breakpoint\.(mode|ttl)", "part of a mark that is named as a whole"),
    (r"systemInstruction\.role", "ignored by the service"),
    (r"contents\[\d\]\.role", "user, its default"),
    (r"generationConfig", "empty"),
    (r".*\.propertyOrdering", "carried as the order of the properties that are there"),
    (r"(n|modalities|parallel_tool_calls|store|logprobs|tool_choice|service_tier)", "its default"),
]



# ── the rule ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("upstream", "model"), UPSTREAMS, ids=[model for _, model in UPSTREAMS])
@pytest.mark.parametrize("caller", CALLERS)
def test_no_field_vanishes(caller: str, upstream: str, model: str) -> None:
    """Every field of a request schema is carried, named as a loss, refused by name, or listed as saying nothing."""
    found: dict[str, str] = {}
    for field in walked(caller):
        what = outcome(field, NAMES[caller], NAMES[upstream], model)
        if what not in ("carried", "named", "refused", "says nothing"):
            found[field.path] = what

    assert {} == found
    assert len(walked(caller)) > LEAST[caller]


def test_the_walk_finds_what_is_deep() -> None:
    """Fields of unions, lists and nested objects are walked, too."""
    chat, gemini = {field.path for field in walked("openai.chat")}, {field.path for field in walked("gemini")}

    assert {
        "messages[1].content[0].image_url.detail",
        "tools[0].function.strict",
        "prediction.content",
        "audio.voice",
    } <= chat
    assert {
        "generationConfig.thinkingConfig.includeThoughts",
        "contents[1].parts[0].videoMetadata.startOffset",
    } <= gemini
    assert {"tools[0].functionDeclarations[0].parameters.nullable", "toolConfig.retrievalConfig.languageCode"} <= gemini


def test_a_field_that_vanishes_is_found() -> None:
    """The rule itself: a field that no dialect looks at fails it."""
    body = {"model": "m", "messages": [HI]}
    field = read(NAMES["openai.chat"], Field("user", {**body, "user": None}, body))

    assert outcome(field, NAMES["openai.chat"], NAMES["gemini"], "gemini-2.5-flash").startswith("vanished")
