"""The registry of dialects."""

from __future__ import annotations

from providers.dialects import ANSWERS, DIALECTS, QUIRKS


def test_each_under_its_own_name() -> None:
    """A route's `speaks` is looked up here."""
    assert {"openai.chat", "openai.responses", "gemini"} <= DIALECTS.keys()
    assert list(DIALECTS) == [dialect.name for dialect in DIALECTS.values()]


def test_quirks_belong_to_dialects() -> None:
    """A quirk has one name and one dialect, which is there; but those that change answers are the same for all."""
    names = [name for quirks in QUIRKS.values() for name in quirks - ANSWERS]

    assert QUIRKS.keys() <= DIALECTS.keys()
    assert len(names) == len(set(names))
