"""Calls that warm a cache and want no answer."""

from __future__ import annotations

import json

import pytest

from providers.canonical.loss import Losses
from providers.dialect import WireRequest
from providers.dialects import DIALECTS


@pytest.mark.parametrize(
    ("target", "least"),
    [
        ("openai.chat", {"max_completion_tokens": 1}),
        ("openai.responses", {"max_output_tokens": 1}),
        ("gemini", {"maxOutputTokens": 1}),
        ("bedrock.converse", {"maxTokens": 1}),
    ],
)
def test_an_empty_answer_that_warms_a_cache_is_one_token_elsewhere(target: str, least: dict[str, int]) -> None:
    """Anthropic's callers may ask for 0 tokens; where the target takes no 0 it is the nearest, and named."""
    body = {"model": "m", "max_tokens": 0, "messages": [{"role": "user", "content": "Hi"}]}
    anthropic = DIALECTS["anthropic.messages"]
    request = anthropic.decode_request(
        anthropic.read(WireRequest(path="/v1/messages", body=json.dumps(body).encode()), {})
    )
    losses: Losses = []

    sent = json.loads(DIALECTS[target].encode_request(request, losses).body)

    assert least.items() <= {**sent, **sent.get("generationConfig", {}), **sent.get("inferenceConfig", {})}.items()
    assert ("max_output_tokens", "approximated") in [(loss.field, loss.kind) for loss in losses]
