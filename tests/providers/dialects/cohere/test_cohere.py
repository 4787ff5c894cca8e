"""The dialect as the rest of the program sees it."""

from __future__ import annotations

import pytest

from providers.canonical.errors import RouteNotFound
from providers.dialect import WireRequest
from providers.dialects import DIALECTS
from tests.providers.dialects.cohere.speak import COHERE, asked


def test_is_registered() -> None:
    """Under its own name, for upstreams."""
    assert "cohere.chat" == DIALECTS["cohere.chat"].name
    with pytest.raises(RouteNotFound):
        COHERE.read(WireRequest(path="/v2/chat", body=b"{}"), {})


def test_path() -> None:
    """`base_url` is the bare host."""
    whole, stream = (COHERE.encode_request(asked(stream=stream), []) for stream in (False, True))

    assert ("POST", "/v2/chat") == (whole.method, whole.path)
    assert ("application/json", "text/event-stream") == (whole.headers["accept"], stream.headers["accept"])
