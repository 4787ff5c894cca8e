"""A Gemini caller's request as canonical value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import AudioConfig, ServerTool, Tool, ToolChoice
from providers.canonical.errors import MalformedRequest
from providers.dialect import WireRequest
from providers.dialects.gemini import decode
from tests.providers.dialects.gemini.spoken import GEMINI, HI, Json, asked, decoded


def configured(**config: Json) -> Any:
    return decoded({**HI, "generationConfig": config})


def test_roles() -> None:
    """system first, model is assistant, results are tool messages, whatever their content's role."""
    body = {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
            {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ],
    }

    assert ["system", "user", "assistant", "tool"] == [message.role for message in decoded(body).messages]


def test_results_and_text_are_messages_of_their_own() -> None:
    """One content with both is two messages, in their order."""
    body = {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}, {"text": "So?"}]}]}

    assert [("tool", 1), ("user", 1)] == [(one.role, len(one.parts)) for one in decoded(body).messages]


def test_paths_are_the_callers() -> None:
    """Every part knows where it stood; parameters in snake_case are named as they were written."""
    request = decoded({**HI, "generation_config": {"top_k": 5}, "safety_settings": [{"category": "X"}]})

    assert "contents[0].parts[0]" == request.messages[0].parts[0].at
    assert "generation_config.top_k" == (request.paths or {})["top_k"]
    assert "safety_settings[0]" == request.safety[0].at


def test_parameters() -> None:
    """generationConfig in canonical words."""
    request = configured(
        temperature=0.5, topP=0.9, topK=5, maxOutputTokens=9, stopSequences=["a"], candidateCount=2, seed=7,
        presencePenalty=0.1, frequencyPenalty=0.2, responseLogprobs=True, logprobs=3,
        responseModalities=["TEXT", "Image"],
    )  # fmt: skip

    assert (0.5, 0.9, 5, 9, ("a",), 2, 7) == (
        request.temperature,
        request.top_p,
        request.top_k,
        request.max_output_tokens,
        request.stop,
        request.n,
        request.seed,
    )
    assert (0.1, 0.2, True, 3, ("text", "image")) == (
        request.presence_penalty,
        request.frequency_penalty,
        request.logprobs,
        request.top_logprobs,
        request.modalities,
    )
    assert request.extra is None


@pytest.mark.parametrize(
    ("config", "kind", "schema"),
    [
        ({"responseMimeType": "application/json"}, "json_object", None),
        ({"responseMimeType": "text/plain"}, "text", None),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "string"}},
            "json_schema",
            {"type": "string"},
        ),
        ({"responseSchema": {"type": "STRING", "nullable": True}}, "json_schema", {"type": ["string", "null"]}),
    ],
)
def test_formats(config: Json, kind: str, schema: Json) -> None:
    """Type and schema together are one format; the OpenAPI form becomes JSON Schema."""
    wanted = configured(**config).response_format

    assert (kind, schema) == (wanted.kind, wanted.schema)


def test_formats_that_only_this_dialect_has() -> None:
    """text/x.enum is no JSON: other dialects are told that it is lost."""
    assert {"generationConfig.responseMimeType": "text/x.enum"} == configured(responseMimeType="text/x.enum").extra
    assert {"responseMimeType": "text/x.enum"} == configured(
        responseMimeType="text/x.enum", responseSchema={"type": "STRING", "enum": ["a"]}
    ).response_format.extra


def test_thinking() -> None:
    """Level, budget and whether to show it."""
    reasoning = configured(
        thinkingConfig={"thinkingLevel": "HIGH", "thinkingBudget": 5, "includeThoughts": True}
    ).reasoning

    assert ("high", 5, True) == (reasoning.effort, reasoning.budget, reasoning.show)


def test_voices() -> None:
    """A prebuilt voice has a name; every other speech is this dialect's own."""
    named = configured(speechConfig={"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}})
    other = configured(speechConfig={"languageCode": "de"})

    assert AudioConfig(voice="Kore", at="generationConfig.speechConfig") == named.audio
    assert {"generationConfig.speechConfig": {"languageCode": "de"}} == other.extra


def test_the_rest() -> None:
    """Top-level fields, and what only this dialect knows."""
    body = {
        "serviceTier": "standard",
        "labels": {"a": "b"},
        "store": True,
        "cachedContent": "cachedContents/x",
        "new": 1,
    }
    request = decoded({**HI, **body})

    assert ("default", {"a": "b"}, True, "cachedContents/x") == (
        request.service_tier,
        request.metadata,
        request.store,
        request.cached_content,
    )
    assert {"new": 1} == request.extra


def test_tools() -> None:
    """Functions in either form of schema, and tools that the provider runs."""
    functions = [
        {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        {"name": "g", "parametersJsonSchema": {"type": "object"}, "behavior": "BLOCKING"},
    ]
    f, g, search = decoded({**HI, "tools": [{"functionDeclarations": functions}, {"googleSearch": {}}]}).tools

    assert isinstance(f, Tool)
    assert {"type": "object", "properties": {"a": {"type": "string"}}} == f.parameters
    assert isinstance(g, Tool)
    assert ({"type": "object"}, {"behavior": "BLOCKING"}) == (g.parameters, g.extra)
    assert isinstance(search, ServerTool)
    assert ("googleSearch", "tools[1].googleSearch") == (search.kind, search.at)


@pytest.mark.parametrize(
    ("config", "mode", "names", "validated"),
    [
        ({"mode": "AUTO"}, "auto", (), False),
        ({"mode": "any", "allowedFunctionNames": ["f"]}, "required", ("f",), False),
        ({"mode": "NONE"}, "none", (), False),
        ({"mode": "VALIDATED"}, "auto", (), True),
    ],
)
def test_choices(config: Json, mode: Any, names: tuple[str, ...], validated: bool) -> None:
    """functionCallingConfig as a choice; words in either case."""
    choice = decoded({**HI, "toolConfig": {"functionCallingConfig": config}}).tool_choice

    assert isinstance(choice, ToolChoice)
    assert (mode, names, validated) == (choice.mode, choice.names, choice.validated)


def test_counts() -> None:
    """A count of contents, or of a whole request, is a request that is only counted."""
    whole = decoded({"generateContentRequest": {**HI, "model": "models/x"}}, task="countTokens")

    assert whole.count
    assert "generateContentRequest.contents[0].parts[0]" == whole.messages[0].parts[0].at
    assert decoded(HI, task="countTokens").count


def test_what_was_read_is_not_changed() -> None:
    """A request may be decoded for several attempts, and relayed after that."""
    body = {**HI, "generationConfig": {"topK": 1, "thinkingConfig": {"thinkingBudget": 1}}, "toolConfig": {}}
    one = asked(body)
    first = GEMINI.decode_request(one)

    assert first == GEMINI.decode_request(one)
    assert body == one.body


def test_a_count_in_snake_case_goes_out_as_it_came() -> None:
    """Also the wrapper is spelled as the caller did."""
    body = {"generate_content_request": {**HI, "generation_config": {"top_k": 1}}}
    request = decoded(body, task="countTokens")

    assert body == json.loads(GEMINI.encode_request(request, []).body)
    assert "generate_content_request.contents[0]" == request.messages[0].at


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"generationConfig": {"seed": "x"}}, "generationConfig.seed"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"stopSequences": "a"}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"thinkingConfig": 1}}, "generationConfig.thinkingConfig"),
        ({"generationConfig": {"responseMimeType": 1}}, "generationConfig.responseMimeType"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"tools": [{"functionDeclarations": ["x"]}]}, "tools[0].functionDeclarations[0]"),
        ({"labels": {"a": 1}}, "labels"),
        ({"store": "yes"}, "store"),
    ],
)
def test_the_wrong_field_is_named(body: Json, field: str) -> None:
    """What translation needs must be what it says it is."""
    with pytest.raises(MalformedRequest) as caught:
        decoded({**HI, **body})

    assert field == caught.value.param


@pytest.mark.parametrize("names", [-5, "f", [""], [1], {"f": 1}])
def test_allowed_names_that_are_none(names: Any) -> None:
    """A choice of tools in a form that is not understood stays as it was written."""
    calling = {"mode": "ANY", "allowedFunctionNames": names}
    body = {"contents": [{"parts": [{"text": "Hi"}]}], "toolConfig": {"functionCallingConfig": calling}}

    found = decoded(body)

    assert found.tool_choice is None
    assert {"toolConfig.functionCallingConfig": calling} == dict(found.extra or {})


# ── the way of most requests ───────────────────────────────────────────────────────────

WORDS = {"parts": [{"text": "Hi"}]}
FIELDS: dict[str, list[Json]] = {
    "systemInstruction": [WORDS, WORDS, {**WORDS, "role": "system"}, {"parts": [*WORDS["parts"] * 2]}, "Hi", None],
    "generationConfig": [
        *({"temperature": 0.5, "maxOutputTokens": 9}, {"topP": 1, "topK": 4}, {"topK": 4.0, "seed": 7}, {"seed": None}),
        *({}, None, {"stopSequences": ["a"]}, {"max_output_tokens": 9}, {"candidateCount": 1, "x": 1}),
    ],
    "tools": [
        *([{"functionDeclarations": [{"name": "f"}]}], [{"functionDeclarations": [{"name": "f", "response": {}}]}]),
        *([{"googleSearch": {}}], [], None),
        [{"functionDeclarations": [{"name": "f", "responseJsonSchema": {"type": "object"}}]}],
    ],
    "store": [True, None],
    "x": [1],
}


@given(
    fields=st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in FIELDS.items()}),
    query=st.sampled_from([{}, {"alt": "sse"}, {"alt": "json"}, {"$alt": "sse"}]),
    params=st.sampled_from([{}, {"version": "v1"}, {"collection": "tunedModels"}]),
    task=st.sampled_from(["generateContent", "streamGenerateContent"]),
)
def test_most_requests_take_a_shorter_way_to_the_same(fields: Json, query: Json, params: Json, task: str) -> None:
    """Whatever stands in it, a request means what it means the long way."""
    body = json.dumps({"contents": [{"role": "user", **WORDS}], **fields}).encode()
    wire = WireRequest(path="/", query=query, body=body)
    call = GEMINI.read(wire, {"model": "m", "task": task, **params})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_decode_common", lambda asked, contents: None)
        expected = GEMINI.decode_request(call)

    assert expected == GEMINI.decode_request(call)
