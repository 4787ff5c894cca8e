"""The registry of dialects."""

from __future__ import annotations

from providers.dialects import DIALECTS


def test_each_under_its_own_name() -> None:
    """A route's `speaks` is looked up here."""
    assert {"openai.chat", "openai.responses", "gemini"} <= DIALECTS.keys()
    assert list(DIALECTS) == [dialect.name for dialect in DIALECTS.values()]
