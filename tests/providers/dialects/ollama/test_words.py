"""Times, ids and small shapes."""

from __future__ import annotations

import pytest

from providers.canonical.chat import Finish
from providers.dialects.ollama.words import (
    finish_of,
    finish_word,
    invented,
    is_its_own,
    leftovers,
    seconds_of,
    timestamp,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("2024-05-24T20:57:43.35235Z", 1716584263),
        ("2024-05-24T22:57:43+02:00", 1716584263),
        ("2024-05-24T20:57:43", 1716584263),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_times_are_read(text: object, seconds: int | None) -> None:
    """With any number of digits behind the comma; what is no time is none."""
    assert seconds == seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1716584263, "2024-05-24T20:57:43Z"),
        (None, "1970-01-01T00:00:00Z"),
        (10**30, "1970-01-01T00:00:00Z"),
        (-(10**20), "1970-01-01T00:00:00Z"),
    ],
)
def test_times_are_written(seconds: int | None, text: str) -> None:
    """What is no time of this calendar is the epoch: the key is needed."""
    assert text == timestamp(seconds)


def test_ids_that_a_server_made() -> None:
    """`call_` and eight characters are its own; ours are longer, and the same for the same call."""
    ours = invented("t", 0, "f", "{}")

    assert is_its_own("call_gsiiy8py")
    assert not is_its_own("call_1") and not is_its_own(ours) and not is_its_own("call_LzUH8aQpHcfyZ2MbVqPGXHvX")
    assert ours == invented("t", 0, "f", "{}") != invented("t", 1, "f", "{}")


def test_leftovers_keep_numbers() -> None:
    """0 says something (unload at once), nothing and false do not."""
    assert ({"a": 0, "b": 0.0}, {"c": None, "d": False, "e": ""}) == leftovers(
        {"a": 0, "b": 0.0, "c": None, "d": False, "e": ""}
    )


@pytest.mark.parametrize(
    ("raw", "calls", "reason"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        (None, True, "tool_calls"),
        ("length", True, "length"),
        ("load", False, "other"),
        (3, False, "stop"),
    ],
)
def test_reasons_are_read(raw: object, calls: bool, reason: str) -> None:
    """`stop` although tools are called; unknown words stay as they are."""
    assert reason == finish_of(raw, calls=calls).reason


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish(reason="tool_calls", raw="TOOL_CALL"), ("stop", True)),
        (Finish(reason="length"), ("length", True)),
        (Finish(reason="content_filter"), ("stop", False)),
        (None, ("stop", False)),
    ],
)
def test_reasons_are_written(finish: Finish | None, word: tuple[str, bool]) -> None:
    """Two words are all that there are."""
    assert word == finish_word(finish, False)
