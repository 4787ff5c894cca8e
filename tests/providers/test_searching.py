"""The web search that upstreams run themselves."""

from __future__ import annotations

import msgspec
import pytest

from providers.canonical.chat import ChatRequest, Message, Text
from providers.dialects import DIALECTS
from providers.searching import web_search

WORDS = {
    "gemini": b"googleSearch",
    "anthropic.messages": b"web_search_20250305",
    "openai.responses": b'"type":"web_search"',
}


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_dialect_that_has_a_search_writes_it(dialect: str) -> None:
    """The tool is in the body, and nothing is lost of it; the others have none."""
    tool = web_search(dialect)

    assert (tool is not None) == (dialect in WORDS)
    if tool is not None:
        request = ChatRequest(
            dialect=dialect, model="m", messages=(Message(role="user", parts=(Text(text="x"),)),), max_output_tokens=9
        )
        wire = DIALECTS[dialect].encode_request(msgspec.structs.replace(request, tools=(tool,)), losses := [])

        assert WORDS[dialect] in wire.body and [] == losses
