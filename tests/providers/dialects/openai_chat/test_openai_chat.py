"""The dialect as the rest of the program sees it."""

from __future__ import annotations

import json

from providers.canonical.chat import TokenCount
from providers.dialects import DIALECTS
from tests.providers.dialects.openai_chat.speak import CHAT, decoded


def test_is_registered() -> None:
    """Under its own name."""
    assert "openai.chat" == DIALECTS["openai.chat"].name
    assert "chat" == CHAT.operation("chat")


def test_path() -> None:
    """`base_url` includes `/v1`, so only the rest is added."""
    wire = CHAT.encode_request(decoded(), [])

    assert ("POST", "/chat/completions", "application/json") == (wire.method, wire.path, wire.headers["content-type"])


def test_a_count() -> None:
    """A plain object: the dialect has none of its own."""
    wire = CHAT.encode_count(TokenCount(total_tokens=7))

    assert {"object": "token_count", "total_tokens": 7} == json.loads(wire.body)
