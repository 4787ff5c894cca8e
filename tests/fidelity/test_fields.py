"""Walks every field of every caller's request schema to every upstream: each must arrive, be named as a loss, or be
refused by its name.

For each field two requests are sent that differ in it alone. A field that makes no difference to what goes upstream,
and that is named nowhere, has silently vanished.
"""

from __future__ import annotations

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
from .neutral import Json
from .through import CALLERS, NAMES, Lost, ask, named
from .walks import FIELDS, FILE, HI, MAKES, PNG, TOOL, UNKNOWN, Field

UPSTREAMS: list[tuple[str, str]] = [
    ("openai.chat", "gpt-4.1"),
    ("openai.chat", "gpt-5"),
    ("openai.responses", "gpt-4.1"),
    ("openai.responses", "gpt-5"),
    ("anthropic.messages", "claude-3-7-sonnet-latest"),
    ("anthropic.messages", "claude-haiku-4-5"),
    ("anthropic.messages", "claude-opus-5"),
    ("anthropic.messages", "claude-opus-5-5"),
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
    value: Json
    asked: Read
    other: Read


class Sent(NamedTuple):
    """What goes upstream, what is lost; or the refusal."""

    body: bytes
    losses: list[Lost]
    error: RouterError | None = None


def read(caller: Dialect, field: Field) -> Walked:
    """Where the caller's own language needs the field, the other request has another value."""
    other = _read(caller, field.other)
    if isinstance(other, RouterError):
        other = _read(caller, field.another)
    return Walked(field.path, field.value, _read(caller, field.body), other)


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
    other = sent(field.other, caller, upstream, model)
    if asked.error is not None:
        return _refused(field.path, asked.error, other.error)
    if other.error is not None or asked.body != other.body:
        return "carried"
    if _names(field.path, asked.losses, other.losses) or _names(field.path, other.losses, asked.losses):
        return "named"
    if any(silent(field, caller, one) for one in SAY_NOTHING):
        return "says nothing"
    return f"vanished: {field.value!r:.40}, losses {[loss.field for loss in asked.losses]}"


#: Reasons that speak of all that stands at a place, though something is sent in its stead.
OF_THE_WHOLE = frozenset({"the target leaves it to the model which tools it calls"})


def _names(path: str, losses: list[Lost], of_the_other: list[Lost]) -> bool:
    """What both requests lose is no word about the field, unless it stands at its very place or is gone as a whole."""
    return any(
        loss.field == path
        or loss not in of_the_other
        or (below(path, loss.field) and (loss.kind == "dropped" or loss.reason in OF_THE_WHOLE))
        for loss in losses
        if below(path, loss.field) or below(loss.field, path)
    )


PAIRING = ("id", "name")


def _refused(path: str, error: RouterError, other: RouterError | None) -> str:
    param = error.param or ""
    kind = path.removesuffix(".type")  # a kind that is refused is named with what it is
    whole = param.rpartition(".")[0]  # a part that is refused is named by what is in it
    is_named = below(param, kind) or below(path, param) or below(path, whole)
    # An id that has no partner any more is refused at either of the two.
    is_named |= (
        path.endswith(PAIRING) and re.search(r"answers no tool call|no result for this", error.message) is not None
    )
    anyway = other is not None and (error.param, error.message) == (other.param, other.message)
    if error.status in (400, 422) and (is_named or anyway):
        return "refused"
    return f"refused for {param or 'nothing'}: {error.message}"


def silent(field: Walked, caller: Dialect, known: Silent) -> bool:
    return bool(
        re.fullmatch(known.caller, caller.name)
        and re.fullmatch(known.path, field.path)
        and (known.values is None or field.value in known.values)
    )


class Silent(NamedTuple):
    """Fields that may make no difference, and why: of these callers, at these paths, with these values (None: any)."""

    caller: str
    path: str
    values: list[Json] | None
    why: str


ANY = r".*"
ALL_ALLOWED: list[Json] = [
    {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
    {"type": "allowed_tools"}
    | {"allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "look"}}]}},
]
CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA = (
    r"openai\.chat",
    r"openai\.responses",
    r"anthropic.*",
    "gemini",
    r"ollama.*",
)
#: Also of a custom tool's name: the only one there is.
OFF = "numa|low_vram|logits_all|vocab_only|use_mlock|embedding_only"
SAY_NOTHING: list[Silent] = [
    Silent(ANY, "model", None, "the route chooses the upstream's model; Gemini's path names it, the body need not"),
    Silent(ANY, "stream", None, "decides how the answer comes, and the path that is called; tested with streams"),
    Silent(CHAT, r"stream_options\.include_usage", None, "about the caller's own stream: usage is always asked for"),
    Silent(ANY, r"stream_options\.include_obfuscation", [False], "about the caller's own stream: nothing is padded"),
    # what is done where nothing is said
    Silent(ANY, r"(.*\.)?(logprobs|responseLogprobs|store|strict|background)", [False], "its default"),
    Silent(ANY, r".*\.(thought|nullable|is_error|disable_parallel_tool_use)", [False], "its default"),
    Silent(ANY, "parallel_tool_calls", [True], "its default"),
    Silent(ANY, r".*\.detail|service_tier", ["auto"], "its default"),
    Silent(ANY, "tool_choice|function_call", ["auto", {"type": "auto"}], "its default"),
    Silent(ANY, "tool_choice", ALL_ALLOWED, "its default, of all tools that there are"),
    Silent(CHAT, "modalities", [["text"]], "its default"),
    Silent(ANY, "response_format|text(.format)?", [{"type": "text"}, {"format": {"type": "text"}}], "its default"),
    Silent(OLLAMA, "format", [""], "its default"),
    Silent(RESPONSES, "truncation", ["disabled"], "its default"),
    Silent(RESPONSES, r"input\[\d\]\.status", ["completed"], "its default: what is sent back is whole"),
    Silent(RESPONSES, r"input\[1\]\.type", ["message"], "its default"),
    Silent(ANTHROPIC, r"tools\[0\]\.type", ["custom"], "its default"),
    Silent(GEMINI, r"contents\[1\]\.role", ["user"], "its default"),
    Silent(GEMINI, r"systemInstruction\.role", None, "ignored by the service"),
    Silent(OLLAMA, rf"options\.({OFF})", [False], "its default"),
    Silent(ANY, r"options|generationConfig|.*\.properties", [{}], "empty"),
    # thinking
    Silent(CHAT, "reasoning_effort", ["none"], "models that do not think unless they are asked to"),
    Silent(RESPONSES, r"reasoning\.effort", ["none"], "models that do not think unless they are asked to"),
    Silent(OLLAMA, "think", [False], "models that do not think unless they are asked to"),
    Silent(ANTHROPIC, "thinking", [{"type": "disabled"}], "models that do not think unless they are asked to"),
    Silent(ANTHROPIC, "thinking", [{"type": "adaptive"}], "the model decides, as it does where nothing is said"),
    Silent(ANTHROPIC, r"thinking\.display", ["omitted"], "what an upstream does that does not show its thoughts"),
    Silent(ANTHROPIC, r"thinking\.display", ["summarized"], "thoughts are shown where they are asked for"),
    Silent(GEMINI, r".*\.includeThoughts", [False], "its default"),
    Silent(RESPONSES, r".*\.role", ["developer"], "the newer name of `system`"),
    # schemas
    Silent("gemini|ollama.*", r".*\.parameters\.type", ["object", "OBJECT"], "what arguments are"),
    Silent("gemini|ollama.*", r".*\.(\$defs|defs)", None, "definitions that nothing refers to"),
    Silent(GEMINI, r".*\.ref", None, "named as $ref, which is how JSON Schema spells it"),
    Silent(ANY, r"(response_format\.json_schema|text\.format)\.name", None, "a label of the caller's own"),
    Silent(ANY, r"(response_format\.json_schema|text\.format)\.strict", None, "a constraint is always kept in full"),
    Silent(GEMINI, r".*\.propertyOrdering", None, "carried as the order of the properties that are there"),
    Silent(GEMINI, r".*\.parametersJsonSchema", [{"type": "object"}], "no parameters, as where nothing is said"),
    # what others say
    Silent(
        ANY,
        r".*\.(tool_calls\[0\]\.id|functionCall\.id|call_id|content\[0\]\.id)",
        None,
        "pairs a call with its result",
    ),
    Silent(GEMINI, r".*\.functionResponse\.id", ["call_1"], "pairs a result with its call"),
    Silent("ollama.*|.*responses", r"messages\[2\]\.tool_name|input\[2\]\.name", ["look"], "the name of its call"),
    Silent(
        ANY,
        r".*\.(inlineData\.mimeType|source\.media_type|output_format)",
        None,
        "the first bytes of a picture say what it is",
    ),
]


# ── the rule ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("upstream", "model"), UPSTREAMS, ids=[" ".join(one) for one in UPSTREAMS])
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


def test_the_walk_puts_an_unknown_key_everywhere() -> None:
    """In the body, in messages, parts, calls, results, tools, choices and whatever is configured."""
    places = {caller: {field.path for field in walked(caller) if field.path.endswith(UNKNOWN)} for caller in CALLERS}

    assert {
        *("unheard", "messages[1].unheard", "messages[1].content[0].unheard", "messages[1].tool_calls[0].unheard"),
        *("tools[0].function.unheard", "tool_choice.unheard", "response_format.json_schema.unheard"),
    } <= places["openai.chat"]
    assert {"input[1].unheard", "input[1].content[0].unheard", "text.format.unheard"} <= places["openai.responses"]
    assert {
        *("messages[1].content[0].unheard", "messages[2].content[0].content[0].source.unheard", "thinking.unheard"),
        *("tools[0].cache_control.unheard", "output_config.format.unheard"),
    } <= places["anthropic.messages"]
    assert {
        *("contents[1].unheard", "contents[1].parts[0].inlineData.unheard", "generationConfig.thinkingConfig.unheard"),
        *("tools[0].functionDeclarations[0].unheard", "toolConfig.functionCallingConfig.unheard"),
    } <= places["gemini"]
    assert {"options.unheard", "messages[1].tool_calls[0].function.unheard"} <= places["ollama.chat"]


def chat(*more: Json, **fields: Json) -> Json:
    return {"model": "m", "messages": [HI, *more], **fields}


MARK: Json = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "unheard": 1}}
TEXT_FILE: Json = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x", "unheard": 1},
}
OFF: Json = {"use_mmap": False, "penalize_newline": False, "numa": False}
ARGUMENTS: Json = {"type": "OBJECT", "nullable": True, "properties": {"a": {"type": "STRING"}}}


@pytest.mark.parametrize(
    ("caller", "upstream", "body", "expected"),
    [
        ("ollama.chat", "openai.chat", chat(options=OFF), ["options.use_mmap", "options.penalize_newline"]),
        (
            "gemini",
            "anthropic.messages",
            {
                "contents": [{"parts": [{"text": "x"}]}],
                "generationConfig": {"maxOutputTokens": 9},
                "tools": [{"functionDeclarations": [{"name": "f", "parameters": ARGUMENTS}]}],
            },
            ["tools[0].functionDeclarations[0].parameters"],
        ),
        (
            "openai.responses",
            "openai.chat",
            {
                "model": "m",
                "input": [
                    MAKES,
                    {"type": "function_call_output", "call_id": "call_1", "name": "see", "output": "x"},
                    {"role": "user", "content": [{"type": "input_file", **FILE, "detail": "low"}]},
                ],
            },
            ["input[1].name", "input[2].content[0].detail"],
        ),
        (
            "openai.responses",
            "gemini",
            {
                "model": "m",
                "input": [
                    {"role": "user", "content": "Hi"},
                    MAKES,
                    {
                        "type": "function_call_output",
                        "call_id": "call_1",
                        "output": [
                            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"}
                        ],
                    },
                ],
            },
            ["input[2].output[0].detail", "input[1].thought_signature"],
        ),
        (
            "gemini",
            "openai.chat",
            {
                "contents": [
                    {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "look"}}]},
                    {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "see", "response": {"a": 1}}}]},
                ]
            },
            ["contents[1].parts[0].functionResponse.name"],
        ),
        (
            "openai.chat",
            "bedrock.converse",
            chat(
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}", "unheard": 1}},
                {"role": "function", "name": "f", "content": "x"},
                {"role": "user", "content": [MARK]},
                tools=[TOOL],
                tool_choice={"type": "function", "function": {"name": "look", "unheard": 1}},
            ),
            [
                "tool_choice.function.unheard",
                "messages[1].function_call.unheard",
                "messages[3].content[0].cache_control.unheard",
            ],
        ),
        (
            "gemini",
            "openai.chat",
            {
                "contents": [{"parts": [{"text": "x"}], "a_b": 1}],
                "generation_config": {"c_d": 1, "thinking_config": {"thinking_budget": 3000, "e_f": 1}},
            },
            [
                "contents[0].a_b",
                "generation_config.c_d",
                "generation_config.thinking_config",
                "generation_config.thinking_config.e_f",
            ],
        ),
        (
            "anthropic.messages",
            "openai.chat",
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [{**TEXT_FILE, "title": "a"}]}]},
            ["messages[0].content[0].source.unheard"],
        ),
        (
            "openai.responses",
            "ollama.chat",
            {
                "model": "m",
                "input": [
                    HI,
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x", "unheard": 1}]},
                    {"role": "assistant", "content": "y"},
                ],
            },
            ["input[1].summary[0].unheard"],
        ),
    ],
)
def test_what_had_vanished_is_named(caller: str, upstream: str, body: Json, expected: list[str]) -> None:
    """What the walks found, by the path at which the caller wrote it."""
    models = {"gemini": "gemini-3-pro-preview", "bedrock.converse": "anthropic.claude-sonnet-4-5-20250929-v1:0"}
    field = read(NAMES[caller], Field("", body, body))
    found = sent(field.asked, NAMES[caller], NAMES[upstream], models.get(upstream, "claude-opus-5"))

    assert set(expected) == {loss.field for loss in found.losses}
