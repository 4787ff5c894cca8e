"""The dialect as a whole: what it is for, and that nobody can ask in it."""

from __future__ import annotations

import pytest

from providers.canonical.errors import RouteNotFound
from providers.dialect import WireRequest
from tests.providers.dialects.bedrock.spoken import BEDROCK, HI, request


def test_what_it_can_be_asked_for() -> None:
    """Chats. Its keys are bearer tokens unless a row says otherwise, its seals are its own."""
    assert (frozenset({"chat"}), "bearer", "bedrock") == (BEDROCK.operations, BEDROCK.auth, BEDROCK.family)
    assert BEDROCK.embeddings is None


def test_nobody_asks_in_it() -> None:
    """The caller's half is refused by name."""
    with pytest.raises(RouteNotFound, match=r"bedrock\.converse is spoken to upstreams only"):
        BEDROCK.read(WireRequest(path="/", body=b"{}"), {})


def test_both_tasks() -> None:
    """Whole answers and streams have paths of their own; bodies are alike."""
    whole, stream = (BEDROCK.encode_request(request(HI, stream=wanted), []) for wanted in (False, True))

    assert whole.path.endswith("/converse")
    assert stream.path.endswith("/converse-stream")
    assert whole.body == stream.body
