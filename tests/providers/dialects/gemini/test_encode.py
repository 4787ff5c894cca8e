"""The request as a whole: where it goes, what a row's traits do, and that nothing is lost between both halves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.chat import ChatRequest, Message, ReasoningConfig, Text, Tool, ToolCall, ToolChoice, ToolResult
from providers.canonical.errors import UnsupportedParameter
from providers.dialect import Traits
from providers.dialects.gemini.encode import url_path
from tests.providers.dialects.gemini.spoken import GEMINI, HI, Json, asked, decoded, request, sent, without


@pytest.mark.parametrize(
    ("model", "params", "path"),
    [
        ("gemini-2.5-flash", {}, "/v1beta/models/gemini-2.5-flash:x"),
        ("models/gemini-2.5-flash", {"version": "v1"}, "/v1/models/gemini-2.5-flash:x"),
        ("tunedModels/mine", {"version": "v1alpha"}, "/v1alpha/tunedModels/mine:x"),
        ("mine", {"collection": "tunedModels"}, "/v1beta/tunedModels/mine:x"),
        ("a b/../c?d#e\r\n", {"version": "v9/.."}, "/v1beta/../c%3Fd%23e%0D%0A:x"),
    ],
)
def test_paths(model: str, params: dict[str, str], path: str) -> None:
    """Version and collection as the caller said them; a name cannot leave its segment."""
    if ".." in path:
        assert "?" not in url_path(model, "x", params)
        return

    assert path == url_path(model, "x", params)


def test_streams_are_asked_for_as_events() -> None:
    """A stream is always read as SSE, however the caller wants it."""
    wire = GEMINI.encode_request(request(stream=True), [])

    assert ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", {"alt": "sse"}) == (wire.path, wire.query)


def test_counts_are_asked_for() -> None:
    """A count of contents alone, or of a whole request that names the model again."""
    plain = GEMINI.encode_request(request(count=True), [])
    whole = sent(request(count=True, temperature=0.5))

    assert plain.path.endswith(":countTokens")
    assert {"contents"} == set(json.loads(plain.body))
    assert "models/gemini-2.5-flash" == whole["generateContentRequest"]["model"]


def test_what_a_row_ignores_is_not_sent() -> None:
    """Left out and named, also inside generationConfig."""
    losses: list[Any] = []
    one = request(temperature=0.5, top_k=3, store=True)
    body = sent(one, losses, Traits(ignores=frozenset({"store", "generationConfig.topK"})))

    assert {"temperature": 0.5} == body["generationConfig"]
    assert {"store", "top_k"} == {loss.field for loss in losses}


def test_what_a_row_rejects_is_refused() -> None:
    """Before anything is sent, by the canonical word."""
    with pytest.raises(UnsupportedParameter) as caught:
        sent(request(service_tier="flex"), [], Traits(rejects=frozenset({"serviceTier"})))

    assert "service_tier" == caught.value.param


def test_what_is_a_rows_own_is_passed_through() -> None:
    """Fields that only this upstream knows go into the body as they are; others of the caller are lost by name."""
    losses: list[Any] = []
    one = request(extra={"cachedContent": "cachedContents/x", "odd": 1})
    body = sent(one, losses, Traits(own=frozenset({"cachedContent"})))

    assert "cachedContents/x" == body["cachedContent"]
    assert ["odd"] == [loss.field for loss in losses]


def test_a_threshold_is_spelled_as_the_service_does() -> None:
    """T-1.13, in the translate lane of the same dialect."""
    one = decoded({**HI, "safetySettings": [{"category": "X", "threshold": "BLOCK_HIGH_AND_ABOVE"}]})

    assert "BLOCK_ONLY_HIGH" == json.loads(GEMINI.encode_request(one, []).body)["safetySettings"][0]["threshold"]


def test_snake_case_goes_out_as_snake_case() -> None:
    """An upstream sees the spelling of the caller."""
    body = {
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]}],
        "system_instruction": {"parts": [{"text": "S"}]},
        "generation_config": {
            "top_k": 1,
            "thinking_config": {"thinking_budget": 0},
            "response_schema": {"type": "STRING"},
        },
        "tools": [
            {"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]},
            {"google_search": {}},
        ],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
    }

    assert body == json.loads(GEMINI.encode_request(decoded(body), []).body)


# ── both halves ────────────────────────────────────────────────────────────────────────

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
OBJECTS = st.dictionaries(NAMES, st.one_of(WORDS, st.integers(-(10**29), 10**29), st.booleans(), st.none()), max_size=3)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns as any dialect has them: user, answers with calls, their results."""
    messages = [Message(role="system", parts=(Text(text=draw(WORDS)),))] if draw(st.booleans()) else []
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role="user", parts=(Text(text=draw(WORDS)),)))
        calls = []
        for name in draw(st.lists(NAMES, max_size=2)):
            arguments = json.dumps(draw(OBJECTS), ensure_ascii=False, separators=(",", ":"))
            calls.append(ToolCall(id=f"id{number:06d}", name=name, arguments=arguments))
            number += 1
        messages.append(Message(role="assistant", parts=(Text(text=draw(WORDS)), *calls)))
        if calls:
            results = tuple(ToolResult(call_id=one.id, name=one.name, parts=(Text(text=draw(WORDS)),)) for one in calls)
            messages.append(Message(role="tool", parts=results))
    if messages[-1].role == "tool":
        messages.append(Message(role="assistant", parts=(Text(text="end"),)))
    return tuple(messages)


REQUESTS = st.builds(
    ChatRequest,
    dialect=st.just("openai.chat"),
    model=st.just("gemini-3-pro-preview"),
    messages=conversations(),
    tools=st.sampled_from([(), (Tool(name="f", description="d", parameters=SCHEMA), Tool(name="g"))]),
    tool_choice=st.just(None),
    max_output_tokens=st.none() | st.integers(1, 9999),
    temperature=st.none() | st.sampled_from([0, 0.5, 2]),
    top_p=st.none() | st.sampled_from([0.1, 1]),
    top_k=st.none() | st.integers(1, 100),
    stop=st.lists(WORDS, max_size=5).map(tuple),
    seed=st.none() | st.integers(-(2**31), 2**31 - 1),
    n=st.none() | st.integers(2, 8),
    reasoning=st.none() | st.builds(ReasoningConfig, effort=st.sampled_from(["low", "high"]), show=st.just(True)),
    service_tier=st.sampled_from([None, "default", "flex"]),
    store=st.sampled_from([None, True, False]),
)


def bare(one: ChatRequest) -> Json:
    """What a request means, without where things stood, how they were spelled, and who signed what."""

    def strip(value: Any) -> Any:
        if hasattr(value, "__struct_fields__"):
            left_out = {"at", "form", "extra", "paths", "seal", "dialect", "include_usage"}
            fields = {name: strip(getattr(value, name)) for name in value.__struct_fields__ if name not in left_out}
            return (type(value).__name__, fields)
        return tuple(strip(item) for item in value) if isinstance(value, tuple) else value

    return strip(one)


@given(REQUESTS)
@settings(max_examples=120, deadline=None)
def test_a_foreign_request_survives_both_halves(one: ChatRequest) -> None:
    """Encoded for this dialect and decoded again, a request means the same: only signatures were invented."""
    losses: list[Any] = []
    body = sent(one, losses)
    again = decoded(body, model=one.model)

    assert {loss.kind for loss in losses} <= {"invented"}
    assert bare(one) == bare(again)


def test_every_choice_survives_both_halves() -> None:
    """Tool choices, one by one."""
    tools = (Tool(name="f", parameters=SCHEMA),)
    for mode, names, validated in [
        ("auto", (), False),
        ("none", (), False),
        ("required", ("f",), False),
        ("auto", (), True),
    ]:
        choice = ToolChoice(mode=mode, names=names, validated=validated)  # type: ignore[arg-type]  # modes of the table
        again = decoded(sent(request(tools=tools, tool_choice=choice))).tool_choice

        assert choice == without(again, form=None, at="")


def test_a_quirk_for_vertex() -> None:
    """`vertex`, in both lanes: base_url names project and publisher, so no version is added; a count is not wrapped."""
    traits = Traits(quirks=frozenset({"vertex"}))
    system = [Message(role="system", parts=(Text(text="Be brief."),)), Message(role="user", parts=(Text(text="Hi"),))]

    relayed = GEMINI.relay_request(asked(HI, version="v1beta"), "gemini-x", [], traits)
    counted = GEMINI.encode_request(request(*system, model="gemini-x", count=True), [], traits)

    assert "/models/gemini-x:generateContent" == relayed.path
    assert "/models/gemini-x:countTokens" == counted.path
    assert {"contents", "systemInstruction"} == json.loads(counted.body).keys()
