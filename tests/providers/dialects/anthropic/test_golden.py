"""Translations as the project's guide to the wire formats has them, written by hand: one call in two languages each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.loss import in_callers_words
from providers.dialect import Dialect, WireRequest, WireResponse
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    SCHEMA,
    WEATHER,
    Json,
    answer,
    asked,
    message,
    request,
    sent,
    told,
    without,
)

HI = [{"role": "user", "content": "Hi"}]
PARAMETERS = {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": PARAMETERS}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
CLOSED = {**SCHEMA, "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": CLOSED}}
OLDER, NEWER, NEWEST = "claude-haiku-4-5", "claude-opus-5", "claude-opus-5-5"


def called(*cities: str) -> list[Json]:
    return [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for i, city in enumerate(cities, 1)
    ]


def used(*cities: str) -> list[Json]:
    return [
        {"type": "tool_use", "id": f"call_{i}", "name": "get_weather", "input": {"city": city}}
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
IMAGE = {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"}

CHAT_CASES: list[tuple[str, str, Json, Json, set[str]]] = [
    (
        "plain",
        OLDER,
        {
            "messages": [{"role": "system", "content": "Be brief."}, *HI],
            "temperature": 0.5,
            "max_tokens": 100,
            "stop": "END",
            "stream": False,
        },
        {"max_tokens": 100, "system": "Be brief.", "messages": HI, "temperature": 0.5, "stop_sequences": ["END"]},
        set(),
    ),
    (
        "sampling refused by a newer model",
        NEWER,
        {
            "messages": HI,
            "temperature": 1.7,
            "top_p": 0.9,
            "seed": 7,
            "presence_penalty": 0.5,
            "max_completion_tokens": 50,
            "user": "someone@example.org",
        },
        {"max_tokens": 50, "messages": HI},
        {"dropped temperature", "dropped top_p", "dropped seed", "dropped presence_penalty", "dropped user"},
    ),
    (
        "temperature out of range",
        OLDER,
        {"messages": HI, "temperature": 1.7, "max_tokens": 9},
        {"max_tokens": 9, "messages": HI, "temperature": 1},
        {"approximated temperature"},
    ),
    (
        "parallel calls",
        OLDER,
        PARALLEL,
        {
            "max_tokens": 64,
            "messages": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {"role": "assistant", "content": used("Paris", "Rome")},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": '{"temp":15}'},
                        {"type": "tool_result", "tool_use_id": "call_2", "content": "sunny"},
                        {"type": "text", "text": "And in one word?"},
                    ],
                },
            ],
            "tools": [WEATHER],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
        set(),
    ),
    (
        "an image",
        OLDER,
        {
            "max_tokens": 9,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": IMAGE}],
                }
            ],
        },
        {
            "max_tokens": 9,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                        },
                    ],
                }
            ],
        },
        {"dropped messages[0].content[1].image_url.detail"},
    ),
    (
        "schema of the answer",
        NEWER,
        {"max_tokens": 9, "messages": HI, "response_format": FORMAT},
        {
            "max_tokens": 9,
            "messages": HI,
            "output_config": {"format": {"type": "json_schema", "schema": CLOSED}},
        },
        set(),
    ),
    (
        "effort",
        "claude-opus-4-8",
        {"max_completion_tokens": 4000, "messages": HI, "reasoning_effort": "high"},
        {
            "max_tokens": 4000,
            "messages": HI,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
        },
        set(),
    ),
    (
        "named tool",
        OLDER,
        {"max_tokens": 9, "messages": HI, "tools": TOOLS, "tool_choice": NAMED},
        {
            "max_tokens": 9,
            "messages": HI,
            "tools": [WEATHER],
            "tool_choice": {"type": "tool", "name": "get_weather"},
        },
        set(),
    ),
    (
        "named tool of a model that cannot be forced",
        NEWEST,
        {"max_tokens": 9, "messages": HI, "tools": TOOLS, "tool_choice": NAMED},
        {"max_tokens": 9, "messages": HI, "tools": [WEATHER], "tool_choice": {"type": "auto"}},
        {"approximated tool_choice"},
    ),
]


def chat_request(body: Json, model: str) -> Any:
    wire = WireRequest(path="/x", body=json.dumps({"model": "m", **body}).encode())
    return without(CHAT.decode_request(CHAT.read(wire, {})), model=model)


@pytest.mark.parametrize(("name", "model", "body", "expected", "report"), CHAT_CASES, ids=[c[0] for c in CHAT_CASES])
def test_requests_of_chat(name: str, model: str, body: Json, expected: Json, report: set[str]) -> None:
    """What a chat caller asks is what the guide says that this dialect is sent, with the losses that it names."""
    one = chat_request(body, model)
    losses: list[Any] = []

    assert {"model": model, **expected} == sent(one, losses)
    assert report == {f"{loss.kind} {loss.field}" for loss in in_callers_words(losses, one, CHAT.paths)}


CALLER = {
    "model": "m",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "foreign"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "sunny"}],
                    "is_error": False,
                },
                {"type": "text", "text": "Thanks, so?"},
            ],
        },
    ],
    "tools": [WEATHER],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stop_sequences": ["X"],
    "metadata": {"user_id": "u1"},
    "temperature": 0.3,
    "top_k": 5,
}
TO_CHAT = {
    "model": "gpt-4.1",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "user", "content": "Thanks, so?"},
    ],
    "tools": TOOLS,
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_completion_tokens": 50,
    "stop": ["X"],
    "temperature": 0.3,
    "safety_identifier": "u1",
}
TO_GEMINI = {
    "systemInstruction": {"parts": [{"text": "A"}, {"text": "B"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {
            "role": "model",
            "parts": [{"text": "I look."}, {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "get_weather", "response": {"output": "sunny"}}},
                {"text": "Thanks, so?"},
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "get_weather", "description": "Weather of a city", "parametersJsonSchema": SCHEMA}
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    "generationConfig": {"temperature": 0.3, "topK": 5, "maxOutputTokens": 50, "stopSequences": ["X"]},
}


@pytest.mark.parametrize(
    ("upstream", "model", "expected", "report"),
    [
        (
            CHAT,
            "gpt-4.1",
            TO_CHAT,
            {"dropped messages[1].content[0]", "dropped top_k", "dropped system[1].cache_control"},
        ),
        (
            GEMINI,
            "gemini-2.5-flash",
            TO_GEMINI,
            {
                "dropped messages[1].content[0]",
                "dropped system[1].cache_control",
                "dropped metadata.user_id",
                "dropped tool_choice.disable_parallel_tool_use",
            },
        ),
    ],
    ids=["chat", "gemini"],
)
def test_a_request_of_an_anthropic_caller(upstream: Dialect, model: str, expected: Json, report: set[str]) -> None:
    """It goes to others as the guide says, and every loss is named in the caller's own words."""
    one = without(ANTHROPIC.decode_request(asked(CALLER)), model=model)
    losses: list[Any] = []

    assert expected == json.loads(upstream.encode_request(one, losses).body)
    assert report == {f"{loss.kind} {loss.field}" for loss in in_callers_words(losses, one, ANTHROPIC.paths)}


# ── answers ────────────────────────────────────────────────────────────────────────────


def of(dialect: Dialect, body: Json) -> Any:
    return dialect.decode_response(WireResponse(status=200, body=json.dumps(body).encode()))


def test_gemini_thinks_and_counts_apart() -> None:
    """Thoughts are thinking blocks and part of the output; what came from the cache is no part of input_tokens."""
    body = {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [{"text": "Weighing it.", "thought": True}, {"text": "Three."}],
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 9,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 23,
            "thoughtsTokenCount": 185,
            "totalTokenCount": 217,
        },
        "modelVersion": "gemini-3-pro-preview",
        "responseId": "r1",
    }
    found = told(of(GEMINI, body))

    assert [("thinking", "Weighing it."), ("text", "Three.")] == [
        (block["type"], block[block["type"]]) for block in found["content"]
    ]
    assert (5, 4, 208) == tuple(
        found["usage"][key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens")
    )


def test_gemini_calls_and_says_stop() -> None:
    """It is a tool_use, and the signature comes along."""
    parts = [
        {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": "AA=="},
        {"functionCall": {"name": "now"}},
    ]
    found = told(
        of(GEMINI, {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]})
    )

    assert ("tool_use", [{"city": "Paris"}, {}]) == (found["stop_reason"], [one["input"] for one in found["content"]])
    assert "isthmus.gemini.AA==" == found["content"][0]["signature"]


@pytest.mark.parametrize(
    ("body", "reason", "output"),
    [
        (
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            },
            "refusal",
            0,
        ),
        (
            {
                "candidates": [{"finishReason": "MAX_TOKENS", "index": 0}],
                "usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 50, "totalTokenCount": 59},
            },
            "max_tokens",
            50,
        ),
    ],
)
def test_gemini_says_nothing(body: Json, reason: str, output: int) -> None:
    """No content, why, and what it cost."""
    found = told(of(GEMINI, body))

    assert ([], reason, 9, output) == (
        found["content"],
        found["stop_reason"],
        found["usage"]["input_tokens"],
        found["usage"]["output_tokens"],
    )


def test_an_answer_with_thinking_tools_and_a_cache() -> None:
    """To chat and to Gemini, in their own counting."""
    response = answer(
        message(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
            stop_reason="tool_use",
            usage={
                "input_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
                "output_tokens": 30,
            },
        )
    )
    chat = json.loads(CHAT.encode_response(response, request(), []).body)
    gemini = json.loads(GEMINI.encode_response(response, request(), []).body)
    spoken = chat["choices"][0]["message"]

    assert ("I look.", "hm", "toolu_1", "tool_calls") == (
        spoken["content"],
        spoken["reasoning_content"],
        spoken["tool_calls"][0]["id"],
        chat["choices"][0]["finish_reason"],
    )
    assert (130, 30, 160, {"cached_tokens": 100, "cache_write_tokens": 20}) == tuple(
        chat["usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details")
    )
    parts = gemini["candidates"][0]["content"]["parts"]
    assert ["hm", "I look.", None] == [part.get("text") for part in parts]
    assert (130, 100, 30, 160) == tuple(
        gemini["usageMetadata"][key]
        for key in ("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "totalTokenCount")
    )


def test_a_refusal_for_a_chat_caller() -> None:
    """The explanation is the refusal."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Blocked."}
    response = answer(message(stop_reason="refusal", stop_details=details))
    choice = json.loads(CHAT.encode_response(response, request(), []).body)["choices"][0]

    assert (None, "Blocked.", "content_filter") == (
        choice["message"]["content"],
        choice["message"]["refusal"],
        choice["finish_reason"],
    )


# ── errors ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "status", "body", "expected"),
    [
        (
            GEMINI,
            429,
            {
                "error": {
                    "code": 429,
                    "message": "Quota exceeded",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}],
                }
            },
            (429, "35", "rate_limit_error"),
        ),
        (
            GEMINI,
            503,
            [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
            (503, "1", "overloaded_error"),
        ),
        (
            CHAT,
            429,
            {
                "error": {
                    "message": "You exceeded your current quota",
                    "type": "insufficient_quota",
                    "param": None,
                    "code": "insufficient_quota",
                }
            },
            (502, None, "api_error"),
        ),
        (
            CHAT,
            400,
            {
                "error": {
                    "message": "This model's maximum context length is …",
                    "type": "invalid_request_error",
                    "param": "messages",
                    "code": "context_length_exceeded",
                }
            },
            (400, None, "invalid_request_error"),
        ),
    ],
)
def test_errors_of_others_for_an_anthropic_caller(dialect: Dialect, status: int, body: Json, expected: Any) -> None:
    """Status, hint and type."""
    error = dialect.decode_error(WireResponse(status=status, body=json.dumps(body).encode()))
    wire = ANTHROPIC.encode_error(error)

    assert expected == (wire.status, wire.headers.get("retry-after"), json.loads(wire.body)["error"]["type"])


@pytest.mark.parametrize(("dialect", "path"), [(CHAT, ("error", "type")), (GEMINI, ("error", "status"))])
def test_an_overloaded_service(dialect: Dialect, path: tuple[str, str]) -> None:
    """529 is 503 for everybody else, and worth another attempt."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    error = ANTHROPIC.decode_error(WireResponse(status=529, body=json.dumps(body).encode()))
    wire = dialect.encode_error(error)

    assert (503, "same") == (wire.status, error.retry)
    assert json.loads(wire.body)[path[0]][path[1]] in ("upstream_error", "UNAVAILABLE")
