"""Translations as the project's guide to the wire formats has them, written by hand: one call in two languages each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.loss import in_callers_words
from providers.dialect import WireRequest, WireResponse
from providers.dialects import DIALECTS
from tests.providers.dialects.gemini.spoken import GEMINI, Json, request, sent, without

CHAT = DIALECTS["openai.chat"]
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Weather of a city"}
TOOLS = [{"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}]
DECLARED = [{"functionDeclarations": [{**WEATHER, "parametersJsonSchema": SCHEMA}]}]


def called(*cities: str) -> list[Json]:
    return [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for i, city in enumerate(cities, 1)
    ]


PARALLEL = {
    "messages": [
        {"role": "user", "content": "Weather in Paris and Rome?"},
        {"role": "assistant", "content": None, "tool_calls": called("Paris", "Rome")},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"temp":15}'},
        {"role": "tool", "tool_call_id": "call_2", "content": "sunny"},
        {"role": "user", "content": "And in one word?"},
    ],
    "tools": TOOLS,
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "max_tokens": 64,
}


def parallel(**signature: str) -> Json:
    first = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, **signature}
    return {
        "contents": [
            {"role": "user", "parts": [{"text": "Weather in Paris and Rome?"}]},
            {"role": "model", "parts": [first, {"functionCall": {"name": "get_weather", "args": {"city": "Rome"}}}]},
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "get_weather", "response": {"temp": 15}}},
                    {"functionResponse": {"name": "get_weather", "response": {"output": "sunny"}}},
                    {"text": "And in one word?"},
                ],
            },
        ],
        "tools": DECLARED,
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"maxOutputTokens": 64},
    }


CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]
SAMPLING = {
    "temperature": 1.7,
    "top_p": 0.9,
    "seed": 7,
    "presence_penalty": 0.5,
    "max_completion_tokens": 50,
    "user": "u",
}
SAMPLED = {"temperature": 1.7, "topP": 0.9, "seed": 7, "maxOutputTokens": 50}
FORMAT = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": SCHEMA}}

CASES: list[tuple[str, str, Json, Json, set[str]]] = [
    (
        "plain",
        "gemini-2.5-flash",
        {
            "messages": [{"role": "system", "content": "Be brief."}, *HI],
            "temperature": 0.5,
            "max_tokens": 100,
            "stop": "END",
        },
        {
            "contents": CONTENTS,
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "stopSequences": ["END"]},
        },
        set(),
    ),
    (
        "sampling",
        "gemini-2.5-flash",
        {"messages": HI, **SAMPLING},
        {"contents": CONTENTS, "generationConfig": {**SAMPLED, "presencePenalty": 0.5}},
        {"dropped user"},
    ),
    (
        "sampling of a newer model",
        "gemini-3-pro-preview",
        {"messages": HI, **SAMPLING},
        {"contents": CONTENTS, "generationConfig": SAMPLED},
        {"dropped presence_penalty", "dropped user"},
    ),
    ("parallel calls", "gemini-2.5-flash", PARALLEL, parallel(), {"dropped parallel_tool_calls"}),
    (
        "parallel calls of a newer model",
        "gemini-3-flash-preview",
        PARALLEL,
        parallel(thoughtSignature="c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="),
        {"dropped parallel_tool_calls", "invented messages[1].tool_calls[0].thought_signature"},
    ),
    (
        "schema of the answer",
        "gemini-2.5-flash",
        {"messages": HI, "max_tokens": 9, "response_format": FORMAT},
        {
            "contents": CONTENTS,
            "generationConfig": {
                "maxOutputTokens": 9,
                "responseMimeType": "application/json",
                "responseJsonSchema": SCHEMA,
            },
        },
        set(),
    ),
    (
        "effort",
        "gemini-3-flash-preview",
        {"messages": HI, "reasoning_effort": "high"},
        {
            "contents": CONTENTS,
            "generationConfig": {"thinkingConfig": {"thinkingLevel": "high", "includeThoughts": True}},
        },
        set(),
    ),
    (
        "named tool",
        "gemini-2.5-flash",
        {"messages": HI, "tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {
            "contents": CONTENTS,
            "tools": DECLARED,
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
        },
        set(),
    ),
]


@pytest.mark.parametrize(("name", "model", "asked", "expected", "report"), CASES, ids=[case[0] for case in CASES])
def test_requests_of_chat(name: str, model: str, asked: Json, expected: Json, report: set[str]) -> None:
    """What a chat caller asks is what the guide says that this dialect is sent, with the losses that it names."""
    wire = WireRequest(path="/x", body=json.dumps({"model": "m", **asked}).encode())
    one = without(CHAT.decode_request(CHAT.read(wire, {})), model=model)
    losses: list[Any] = []

    assert expected == sent(one, losses)
    assert report == {f"{loss.kind} {loss.field}" for loss in in_callers_words(losses, one, CHAT.paths)}


def test_an_answer_of_chat() -> None:
    """Text, a call and usage in this dialect's counting."""
    message = {"role": "assistant", "content": "Let me look.", "refusal": None, "tool_calls": called("Paris")}
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}],
        "usage": usage,
    }
    response = CHAT.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "call_1"}
    losses: list[Any] = []
    told = json.loads(GEMINI.encode_response(response, request(), losses).body)

    assert {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Let me look."}, {"functionCall": call}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 9,
            "cachedContentTokenCount": 3,
            "candidatesTokenCount": 8,
            "thoughtsTokenCount": 4,
            "totalTokenCount": 21,
        },
        "modelVersion": "m",
        "responseId": "x",
    } == told
    assert [] == losses


@pytest.mark.parametrize(
    ("body", "message", "finish", "counts"),
    [
        (
            {
                "candidates": [{"finishReason": "MAX_TOKENS"}],
                "usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 50},
            },
            "",
            "length",
            (9, 50),
        ),
        (
            {
                "promptFeedback": {"blockReason": "SAFETY"},
                "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            },
            None,
            "content_filter",
            (9, 0),
        ),
    ],
)
def test_answers_without_content(body: Json, message: str | None, finish: str, counts: tuple[int, int]) -> None:
    """A chat caller sees why there is nothing, and what it cost."""
    losses: list[Any] = []
    response = GEMINI.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))
    told = json.loads(CHAT.encode_response(response, request(), losses).body)

    assert (message, finish) == (told["choices"][0]["message"]["content"], told["choices"][0]["finish_reason"])
    assert counts == (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"])
    assert [] == losses
