"""The dialect as the rest of the program sees it."""

from __future__ import annotations

import pytest

from providers.canonical.errors import RouteNotFound
from providers.dialect import WireRequest
from providers.dialects import DIALECTS, QUIRKS

ALCHEMYST = DIALECTS["alchemyst.chat"]


def test_is_registered() -> None:
    """Under its own name, for upstreams: nobody can ask in it."""
    assert ("alchemyst.chat", frozenset({"chat"})) == (ALCHEMYST.name, ALCHEMYST.operations)
    assert frozenset({"stop_here"}) == QUIRKS["alchemyst.chat"]
    with pytest.raises(RouteNotFound):
        ALCHEMYST.read(WireRequest(path="/api/v1/chat/generate", body=b"{}"), {})
