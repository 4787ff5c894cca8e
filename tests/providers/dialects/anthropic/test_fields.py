"""Walks every field of the request schemas, to and from this dialect: each arrives, is named as lost, or is refused.

For each field two requests are sent that differ in it alone. A field that makes no difference to what goes upstream,
and that is named nowhere, has silently vanished.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from providers.canonical.errors import CallerError
from providers.canonical.loss import Losses, blame, in_callers_words
from providers.dialect import Dialect, WireRequest
from tests.corpus import definitions
from tests.fidelity.test_fields import Field, chat_fields, gemini_fields
from tests.fidelity.through import NAMES
from tests.providers.dialects.anthropic.spoken import ANTHROPIC, CHAT, GEMINI, HI, SCHEMA, Json, without

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
OTHER_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
#: The least that makes sense, by the name of the definition.
LEAST: dict[str, Json] = {
    "TextBlockParam": {"type": "text", "text": "Hello."},
    "Base64ImageSourceParam": {"type": "base64", "media_type": "image/png", "data": PNG},
    "Base64PDFSourceParam": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    "URLImageSourceParam": {"type": "url", "url": "https://a.example/a.png"},
    "URLPDFSourceParam": {"type": "url", "url": "https://a.example/a.pdf"},
    "PlainTextSourceParam": {"type": "text", "media_type": "text/plain", "data": "Some."},
    "ToolParam": {"name": "look", "input_schema": SCHEMA},
    "ToolUseBlockParam": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": "b"}},
    "ToolResultBlockParam": {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"},
    "JSONOutputFormatParam": {"type": "json_schema", "schema": SCHEMA},
}
#: Values for fields whose type alone does not say what makes sense, and another value of each.
VALUES: dict[str, tuple[Json, Json]] = {
    "temperature": (0.5, 0.25),
    "top_p": (0.5, 0.25),
    "media_type": ("image/png", "image/png"),
    "url": ("https://a.example/a.png", "https://a.example/b.png"),
    "data": (PNG, OTHER_PNG),
    "budget_tokens": (2048, 9000),
    "max_tokens": (20000, 30000),
    "tool_use_id": ("toolu_1", "toolu_1"),
    "input_schema": (SCHEMA, {"type": "object", "properties": {"b": {"type": "integer"}}}),
    "schema": (SCHEMA, {"type": "object", "properties": {"b": {"type": "integer"}}}),
    "input": ({"a": "b"}, {"a": "c"}),
    "name": ("look", "see"),
}
RESPONSES = NAMES["openai.responses"]
Build = Callable[[Json], Json]


class Walk:
    """All fields of the request, with a request around each."""

    def __init__(self) -> None:
        self.defs: dict[str, Json] = definitions("anthropic.messages.request")["$defs"]

    def fields(self, node: Json, path: str, build: Build, seen: tuple[str, ...] = ()) -> Iterator[Field]:
        node, name = self.resolved(node)
        if name in seen or len(seen) > 6 or not node.get("properties"):
            return
        base = self.value(node, name)
        for key, schema in node["properties"].items():
            rest = {other: item for other, item in base.items() if other != key}
            for choice in self.choices(schema):
                required = key in node.get("required", ())
                yield from self.field(
                    choice, key, f"{path}.{key}" if path else key, rest, build, (*seen, name), required
                )

    def field(
        self, choice: Json, key: str, at: str, rest: Json, build: Build, seen: tuple[str, ...], required: bool
    ) -> Iterator[Field]:
        value, another = self.two(choice, key)
        yield Field(at, build({**rest, key: value}), build({**rest, key: another} if required else rest))
        inner, _ = self.resolved(choice)
        if inner.get("type") == "array":
            for item in self.choices(inner["items"]):
                yield from self.fields(item, f"{at}[0]", lambda v: build({**rest, key: [v]}), seen)
        else:
            yield from self.fields(choice, at, lambda v: build({**rest, key: v}), seen)

    def resolved(self, node: Json) -> tuple[Json, str]:
        name = ""
        while "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            node = self.defs[name]
        return node, name

    def choices(self, node: Json) -> list[Json]:
        """The alternatives of a union that say something; of the many versions of a tool the newest."""
        resolved, _ = self.resolved(node)
        if "anyOf" in resolved:
            return [one for member in resolved["anyOf"] for one in self.choices(member)]
        return [] if resolved.get("type") == "null" else [node]

    def two(self, node: Json, key: str) -> tuple[Json, Json]:
        """A value, and another one."""
        resolved, name = self.resolved(node)
        if "const" in resolved:
            return resolved["const"], resolved["const"]
        value = self.value(resolved, name)
        if key in VALUES and type(VALUES[key][0]) is type(value):
            return VALUES[key]
        if "enum" in resolved:
            return resolved["enum"][0], resolved["enum"][-1]
        if isinstance(value, str):
            return f"{value} {key}", f"other {key}"
        if isinstance(value, bool):
            return True, False
        if isinstance(value, int | float):
            return value, value + 1
        return value, [] if isinstance(value, list) else {}

    def value(self, node: Json, name: str = "") -> Json:
        if name in LEAST:
            return copy.deepcopy(LEAST[name])
        if "const" in node or "enum" in node:
            return node["const"] if "const" in node else node["enum"][0]
        if "anyOf" in node or "$ref" in node:
            return self.value(*self.resolved(self.choices(node)[0]))
        kind = node.get("type")
        if kind == "object" or "properties" in node:
            return {key: self.two(self.choices(node["properties"][key])[0], key)[0] for key in node.get("required", ())}
        if kind == "array":
            return [self.value(*self.resolved(self.choices(node["items"])[0]))]
        return {"string": "some", "integer": 3, "number": 1.5, "boolean": True}.get(str(kind), "some")


CALLED: Json = {"role": "assistant", "content": [LEAST["ToolUseBlockParam"]]}


def fields() -> Iterator[Field]:
    """Top level first, then messages of each role with every block that may stand in them."""
    walk = Walk()
    node = walk.defs["MessageCreateParamsNonStreaming"]
    rest = {key: value for key, value in node["properties"].items() if key != "messages"}
    yield from walk.fields({"properties": rest}, "", _around)
    for role, definition in (("user", "UserMessageParam"), ("assistant", "AssistantMessageParam")):
        blocks = next(
            one for one in walk.choices(walk.defs[definition]["properties"]["content"]) if one.get("type") == "array"
        )
        for block in walk.choices(blocks["items"]):
            name = walk.resolved(block)[1]
            if not name.endswith("Param") or (role == "user") != _for_user(name):
                continue
            before = [HI["messages"][0], CALLED] if name == "ToolResultBlockParam" else [HI["messages"][0]]
            at = f"messages[{len(before)}].content[0]"
            yield from walk.fields(block, at, lambda v, before=before, role=role: _spoken(before, role, v))


def _for_user(name: str) -> bool:
    return name in (
        "TextBlockParam",
        "ImageBlockParam",
        "DocumentBlockParam",
        "SearchResultBlockParam",
        "ToolResultBlockParam",
        "ContainerUploadBlockParam",
    )


def _spoken(before: list[Json], role: str, block: Json) -> Json:
    after: list[Json] = [{"role": "user", "content": "So?"}] if role == "assistant" else []
    if block.get("type") == "tool_use":
        result = {"type": "tool_result", "tool_use_id": block["id"], "content": "seen"}
        after = [{"role": "user", "content": [result]}]
    return {**HI, "messages": [*before, {"role": role, "content": [block, {"type": "text", "text": "x"}]}, *after]}


def _around(rest: Json) -> Json:
    """A request around some fields: a tool to choose where one is chosen."""
    body = {**HI, **{key: value for key, value in rest.items() if value is not None}}
    if "tool_choice" in rest:
        body["tools"] = [LEAST["ToolParam"], {**LEAST["ToolParam"], "name": "see"}]
    return body


# ── the rule ───────────────────────────────────────────────────────────────────────────

#: Fields that may make no difference, and why.
SAY_NOTHING: list[tuple[str, str]] = [
    (r"model", "the route chooses the upstream's model"),
    (r"stream(_options.*)?", "decides how the answer comes; tested with streams"),
    (r".*\.type", "the kind of its neighbour"),
    (r"messages\[\d\]\.role", "which kind of message it is"),
    (r".*\.(tool_use_id|tool_call_id|id)", "pairs a result with its call"),
    (r".*\.media_type", "a document's only type"),
    (r".*cache_control\.ttl", "part of a mark that is named as a whole"),
    (r"(thinking|output_config|metadata|tool_choice|system|tools|stop_sequences|container|diagnostics)", "empty"),
    (r"service_tier|thinking\.display", "auto; summarized, as where nothing is said"),
    (r"tools\[0\]\.strict|tool_choice\.disable_parallel_tool_use|.*\.is_error", "false, its default"),
    (r".*\.citations(\.enabled)?", "false, its default"),
    (r"diagnostics|output_config\.format\.type|tools\[0\]\.input_schema\.(type|properties)", "the only one; empty"),
    (r".*\.(transformations|citations)", "none"),
]
# The same for callers of the other two dialects.
THEIRS: list[tuple[str, str]] = [
    (r"response_format(\.json_schema\.(name|strict|schema))?", "a label; text, its default; a closed schema is strict"),
    (r"(n|store|logprobs|parallel_tool_calls|service_tier|audio|modalities|reasoning_effort)", "its default"),
    (r".*\.prompt_cache_breakpoint.*", "part of a mark that is named as a whole"),
    (r"systemInstruction\.role|contents\[\d\]\.role|generationConfig(\.thinkingConfig)?", "ignored; user; empty"),
    (r".*\.propertyOrdering", "carried as the order of the properties that are there"),
    (r".*\.(nullable|defs|\$defs|ref)", "false; definitions that nothing refers to; named as $ref"),
    (r"generationConfig\.(responseMimeType|candidateCount|responseLogprobs)", "its default"),
]


def below(path: str, ancestor: str) -> bool:
    return path == ancestor or (bool(ancestor) and path.startswith((f"{ancestor}.", f"{ancestor}[")))


def send(caller: Dialect, upstream: Dialect, body: Json, model: str) -> tuple[Json, list[str], CallerError | None]:
    """What goes upstream, the paths of what is lost, or the refusal."""
    params = {"model": "m", "task": "generateContent"} if caller is GEMINI else {}
    losses: Losses = []
    try:
        asked = caller.read(WireRequest(path="/", body=json.dumps(body).encode()), params)
        request = without(caller.decode_request(asked), model=model)
    except CallerError as error:
        return None, [], error
    try:
        data = upstream.encode_request(request, losses).body
    except CallerError as error:
        blame(error, request, caller.paths)
        return None, [], error
    return json.loads(data), [loss.field for loss in in_callers_words(losses, request, caller.paths)], None


def outcome(field: Field, caller: Dialect, upstream: Dialect, model: str) -> str:
    """carried, named, refused, or why it is nothing of these."""
    body, lost, refusal = send(caller, upstream, field.body, model)
    if refusal is not None:
        param = refusal.param or ""
        whole = param.rpartition(".")[0]  # a part that is refused is named by what is in it
        named = below(param, field.path) or below(field.path, param) or below(field.path, whole)
        return "refused" if named else f"refused for {param}"
    if any(below(field.path, one) or below(one, field.path) for one in lost):
        return "named"
    other, _, refused = send(caller, upstream, field.other, model)
    if refused is not None or json.dumps(body) != json.dumps(other):
        return "carried"
    known = SAY_NOTHING if caller is ANTHROPIC else SAY_NOTHING[:5] + THEIRS
    return "says nothing" if any(re.fullmatch(pattern, field.path) for pattern, _ in known) else f"vanished: {lost}"


WALKS: list[tuple[Any, Dialect, Dialect, str, int]] = [
    (fields, ANTHROPIC, CHAT, "gpt-4.1", 400),
    (fields, ANTHROPIC, RESPONSES, "gpt-5", 400),
    (fields, ANTHROPIC, GEMINI, "gemini-2.5-flash", 400),
    (fields, ANTHROPIC, GEMINI, "gemini-3-pro-preview", 400),
    (chat_fields, CHAT, ANTHROPIC, "claude-haiku-4-5", 150),
    (chat_fields, CHAT, ANTHROPIC, "claude-opus-5", 150),
    (chat_fields, CHAT, ANTHROPIC, "claude-3-7-sonnet-latest", 150),
    (gemini_fields, GEMINI, ANTHROPIC, "claude-haiku-4-5", 300),
    (gemini_fields, GEMINI, ANTHROPIC, "claude-opus-5-5", 300),
]


@pytest.mark.parametrize(
    ("walk", "caller", "upstream", "model", "least"), WALKS, ids=[f"{one[1].name} to {one[3]}" for one in WALKS]
)
def test_no_field_vanishes(
    walk: Callable[[], Iterator[Field]], caller: Dialect, upstream: Dialect, model: str, least: int
) -> None:
    """Every field of a request schema is carried, named as a loss, refused by name, or listed as saying nothing."""
    found: dict[str, str] = {}
    count = 0
    for field in walk():
        count += 1
        what = outcome(field, caller, upstream, model)
        if what not in ("carried", "named", "refused", "says nothing"):
            found[field.path] = what

    assert {} == found
    assert count > least


def test_a_field_that_vanishes_is_found() -> None:
    """The rule itself: a field that no dialect looks at fails it."""
    assert outcome(Field("speed", {**HI, "speed": None}, HI), ANTHROPIC, CHAT, "m").startswith("vanished")
