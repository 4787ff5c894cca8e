"""The request as a whole: path, parameters, tools, the form of the answer, and what a row says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.serialize import create_serializer

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    ChatRequest,
    Message,
    ResponseFormat,
    SafetySetting,
    ServerTool,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Loss
from providers.dialect import Traits
from tests.providers.dialects.bedrock.spoken import BEDROCK, CLAUDE, HI, request, sent, service

Json = Any

LOOK = Tool(name="look", description="Looks.", parameters={"type": "object", "properties": {}}, at="tools[0].function")
TASTE = Tool(name="taste", at="tools[1].function")


def told(losses: list[Loss]) -> list[tuple[str, str]]:
    return [(loss.field, loss.kind) for loss in losses]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model", [CLAUDE, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x-v1:0", "a b/../c?d#e%2F~é"]
)
def test_the_path_is_botocores(model: str, stream: bool) -> None:
    """The model's id is one segment, encoded as Amazon's own client does it."""
    operation = service().operation_model("ConverseStream" if stream else "Converse")
    theirs = create_serializer("rest-json").serialize_to_request({"modelId": model, "messages": []}, operation)
    wire = BEDROCK.encode_request(request(model=model, stream=stream), [])

    assert ("POST", theirs["url_path"]) == (wire.method, wire.path)
    assert ("application/vnd.amazon.eventstream" if stream else "application/json") == wire.headers["accept"]


def test_parameters() -> None:
    """What has a place there is put there; ranges are kept."""
    losses: list[Loss] = []
    body = sent(
        request(
            model="us.anthropic.claude-sonnet-4-20250514-v1:0",
            max_output_tokens=10,
            temperature=1.5,
            top_p=0.5,
            top_k=4.6,
            stop=("a", "", "b"),
            service_tier="Standard",
            metadata={"team": "x", "mood": "süß"},
        ),
        losses,
    )

    assert {"maxTokens": 10, "temperature": 1, "topP": 0.5, "stopSequences": ["a", "b"]} == body["inferenceConfig"]
    assert {"top_k": 5} == body["additionalModelRequestFields"]
    assert ({"type": "default"}, {"team": "x"}) == (body["serviceTier"], body["requestMetadata"])
    assert [
        ("temperature", "approximated"),
        ("top_k", "approximated"),
        ("metadata", "dropped"),
    ] == told(losses)


def test_metadata_are_few() -> None:
    """Sixteen pairs; more are named."""
    losses: list[Loss] = []
    body = sent(request(metadata={f"k{i}": "" for i in range(20)}), losses)

    assert 16 == len(body["requestMetadata"])
    assert [("metadata", "dropped")] == told(losses)


@pytest.mark.parametrize(
    ("model", "kept", "lost"),
    [
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", {"temperature": 0.5, "topP": 0.5}, []),
        (CLAUDE, {"temperature": 0.5}, ["top_p"]),
        ("global.anthropic.claude-opus-4-8", None, ["temperature", "top_p", "top_k"]),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", {"temperature": 0.5, "topP": 0.5}, ["top_k"]),
    ],
)
def test_what_newer_models_do_not_take(model: str, kept: Json, lost: list[str]) -> None:
    """A model that refuses a parameter is not sent it, and the caller is told."""
    losses: list[Loss] = []
    body = sent(request(model=model, temperature=0.5, top_p=0.5, top_k=3), losses)

    assert kept == body.get("inferenceConfig")
    assert lost == [loss.field for loss in losses]


def test_what_has_no_place_is_named() -> None:
    """Each by its canonical word; what says nothing is no loss."""
    losses: list[Loss] = []
    said = {
        "frequency_penalty": 0.5,
        "presence_penalty": 0.0,
        "seed": 1,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"5": 1.0},
        "end_user": "u",
        "store": False,
        "verbosity": "low",
        "cache_key": "k",
        "audio": AudioConfig(voice="x"),
        "modalities": ("text", "audio"),
        "safety": (SafetySetting(category="c", at="safetySettings[0]"),),
        "parallel_tool_calls": False,
        "service_tier": "scale",
        "n": 1,
        "extra": {"odd": 1},
    }
    sent(request(**said), losses)

    assert {
        *("odd", "frequency_penalty", "seed", "logprobs", "top_logprobs", "logit_bias", "end_user", "verbosity"),
        *("cache_key", "audio", "modalities", "safetySettings[0]", "parallel_tool_calls", "service_tier"),
    } == {loss.field for loss in losses}
    assert {"dropped"} == {loss.kind for loss in losses}


@pytest.mark.parametrize(
    ("more", "param"),
    [({"n": 2}, "n"), ({"cached_content": "c"}, "cached_content"), ({"modalities": ("image",)}, "modalities")],
)
def test_what_would_change_the_answer_is_refused(more: Json, param: str) -> None:
    """Several answers, cached prompts, pictures."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(request(**more))
    assert param == refusal.value.param


# ── tools ──────────────────────────────────────────────────────────────────────────────────


def test_tools() -> None:
    """A schema is an object's, also where there is none; `strict` and cache marks have their places."""
    marked = Tool(name="mark", description="", parameters={"properties": {}}, strict=True, cache=CacheMark(ttl="1h"))
    body = sent(request(tools=(LOOK, TASTE, marked)))

    assert [
        {
            "toolSpec": {
                "name": "look",
                "description": "Looks.",
                "inputSchema": {"json": {"type": "object", "properties": {}}},
            }
        },
        {"toolSpec": {"name": "taste", "inputSchema": {"json": {"type": "object"}}}},
        {
            "toolSpec": {
                "name": "mark",
                "inputSchema": {"json": {"type": "object", "properties": {}}},
                "strict": True,
            }
        },
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ] == body["toolConfig"]["tools"]
    assert "toolChoice" not in body["toolConfig"]


@pytest.mark.parametrize(
    ("choice", "names", "written"),
    [
        (ToolChoice(mode="auto"), ["look", "taste"], {"auto": {}}),
        (ToolChoice(mode="required"), ["look", "taste"], {"any": {}}),
        (ToolChoice(mode="required", names=("taste",)), ["taste"], {"tool": {"name": "taste"}}),
        (ToolChoice(mode="required", names=("taste", "look")), ["look", "taste"], {"any": {}}),
        (ToolChoice(mode="auto", names=("look",)), ["look"], {"auto": {}}),
    ],
)
def test_which_tool(choice: ToolChoice, names: list[str], written: Json) -> None:
    """A choice of several is made by offering those alone."""
    losses: list[Loss] = []
    config = sent(request(tools=(LOOK, TASTE), tool_choice=choice), losses)["toolConfig"]

    assert (names, written, []) == (
        [tool["toolSpec"]["name"] for tool in config["tools"]],
        config["toolChoice"],
        losses,
    )


def test_no_tool() -> None:
    """`none` is said by offering none; where the history calls some they have to be there. Either is told."""
    losses: list[Loss] = []
    none = ToolChoice(mode="none")
    call = Message(role="assistant", parts=(ToolCall(id="c", name="look", arguments="{}"),))
    result = Message(role="tool", parts=(ToolResult(call_id="c"),))

    assert "toolConfig" not in sent(request(tools=(LOOK,), tool_choice=none), losses)
    assert ["tools"] == list(sent(request(HI, call, result, tools=(LOOK,), tool_choice=none), losses)["toolConfig"])
    assert [("tool_choice", "approximated"), ("tool_choice", "dropped")] == told(losses)
    assert "toolConfig" not in sent(request(tool_choice=none))


def test_a_model_that_cannot_be_made_to_call() -> None:
    """It is left free, and the caller is told; so is one who asks for a check that is not made."""
    losses: list[Loss] = []
    body = sent(
        request(model="us.anthropic.claude-fable-5-1", tools=(LOOK,), tool_choice=ToolChoice(mode="required")), losses
    )
    sent(request(tools=(LOOK,), tool_choice=ToolChoice(mode="auto", validated=True)), losses)

    assert {"auto": {}} == body["toolConfig"]["toolChoice"]
    assert [("tool_choice", "dropped"), ("tool_choice", "approximated")] == told(losses)


@pytest.mark.parametrize(
    "tool", [Tool(name="x", kind="custom", at="t"), ServerTool(dialect="gemini", kind="googleSearch", raw={}, at="t")]
)
def test_tools_that_it_has_not_are_refused(tool: Tool | ServerTool) -> None:
    """A tool that the caller's provider runs, or one without a schema."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(request(tools=(tool,)))
    assert "t" == refusal.value.param


def test_a_schema_of_results_is_named() -> None:
    """There is no place for it."""
    losses: list[Loss] = []
    sent(request(tools=(Tool(name="x", response={"type": "object"}, at="t"),)), losses)

    assert [("t.response", "dropped")] == told(losses)


# ── the form of the answer ─────────────────────────────────────────────────────────────────


def test_a_schema_goes_as_text() -> None:
    """With its name; its objects are closed, which the service insists on, and told where they were not."""
    schema = {
        "type": "object",
        "properties": {"properties": {"type": "object", "properties": {"a": {"enum": [{"properties": {}}]}}}},
        "$defs": {"x": {"type": "object", "properties": {}, "additionalProperties": False}},
    }
    losses: list[Loss] = []
    wanted = ResponseFormat(
        kind="json_schema", schema=schema, name="N", description="D", at="response_format.json_schema"
    )
    inner = sent(request(response_format=wanted), losses)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    written = json.loads(inner["schema"])

    assert ("N", "D") == (inner["name"], inner["description"])
    assert written["additionalProperties"] is False
    assert written["properties"]["properties"]["additionalProperties"] is False
    assert {"enum": [{"properties": {}}]} == written["properties"]["properties"]["properties"]["a"]
    assert schema["$defs"] == written["$defs"]
    assert [("response_format.json_schema.schema", "approximated")] == told(losses)


def test_any_json_is_asked_for_in_words() -> None:
    """There is no JSON mode."""
    losses: list[Loss] = []
    body = sent(request(response_format=ResponseFormat(kind="json_object")), losses)

    assert [{"text": "Answer with one JSON object and nothing else."}] == body["system"]
    assert [("response_format", "approximated")] == told(losses)
    assert {"messages"} == sent(request(response_format=ResponseFormat(kind="text"))).keys()


# ── rows ───────────────────────────────────────────────────────────────────────────────────


def test_fields_of_its_own_are_passed_through() -> None:
    """A row that names them lets callers of any dialect write them; others are lost."""
    losses: list[Loss] = []
    own = frozenset({"guardrailConfig", "additionalModelRequestFields", "messages"})
    extra = {
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "DRAFT"},
        "additionalModelRequestFields": {"anthropic_beta": ["x"], "top_k": 9},
        "performanceConfig": {"latency": "optimized"},
    }
    body = sent(request(extra=extra, top_k=3), losses, Traits(own=own))

    assert extra["guardrailConfig"] == body["guardrailConfig"]
    assert {"anthropic_beta": ["x"], "top_k": 9} == body["additionalModelRequestFields"]
    assert [("performanceConfig", "dropped")] == told(losses)


def test_fields_of_its_own_that_cannot_be_merged_are_refused() -> None:
    """Beside what we write there, only an object can stand."""
    with pytest.raises(MalformedRequest) as refusal:
        sent(
            request(extra={"additionalModelRequestFields": "x"}),
            traits=Traits(own=frozenset({"additionalModelRequestFields"})),
        )

    assert "additionalModelRequestFields" == refusal.value.param


def test_what_a_row_ignores_or_rejects() -> None:
    """By the words of the body, also inside inferenceConfig."""
    losses: list[Loss] = []
    asked = request(temperature=0.5, max_output_tokens=5)

    assert {"maxTokens": 5} == sent(asked, losses, Traits(ignores=frozenset({"inferenceConfig.temperature"})))[
        "inferenceConfig"
    ]
    assert [("temperature", "dropped")] == told(losses)
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(asked, traits=Traits(rejects=frozenset({"inferenceConfig.maxTokens"})))
    assert "max_output_tokens" == refusal.value.param


def test_the_request_is_not_changed() -> None:
    """The next target is asked with the same values."""
    asked: ChatRequest = request(
        Message(role="user", parts=(Text(text="a"),)), extra={"additionalModelRequestFields": {"a": 1}}, top_k=3
    )
    before = json.dumps(asked.extra)
    sent(asked, traits=Traits(own=frozenset({"additionalModelRequestFields"})))

    assert before == json.dumps(asked.extra)
