"""providers/dialects/upstream_only.py."""

from __future__ import annotations

import pytest

from providers.canonical.errors import RouteNotFound
from providers.dialect import WireRequest
from providers.dialects.upstream_only import UpstreamOnly


class Spoken(UpstreamOnly):
    name = "some.chat"


def test_nobody_can_ask_in_it() -> None:
    """A caller of a dialect that only upstreams speak is told so, by name."""
    with pytest.raises(RouteNotFound) as refusal:
        Spoken().read(WireRequest(path="/", body=b"{}"), {})

    assert "some.chat is spoken to upstreams only" == refusal.value.message
