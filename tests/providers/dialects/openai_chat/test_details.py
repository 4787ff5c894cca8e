"""OpenRouter's form of thinking."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Seal
from providers.dialects.openai_chat.details import ORIGIN, Details, details_of, details_text, seal_of

TEXT: dict[str, Any] = {"type": "reasoning.text", "text": "hm"}
SIGNED = {**TEXT, "signature": "c2ln"}
HIDDEN = {"type": "reasoning.encrypted", "data": "c2VhbGVk"}


@pytest.mark.parametrize(
    ("details", "text"),
    [([TEXT, {"summary": "!"}, HIDDEN, {"text": 3}, "x"], "hm!"), (None, ""), ({"text": "hm"}, "")],
)
def test_what_can_be_read(details: Any, text: str) -> None:
    """Texts and summaries, in their order."""
    assert text == details_text(details)


@pytest.mark.parametrize("details", [[SIGNED], [TEXT, HIDDEN], [{**HIDDEN, "index": 2**70, "é": [1.5, None, "\x00"]}]])
def test_state_comes_back_as_it_was(details: list[Any]) -> None:
    """All of it, not only the entries that are sealed."""
    seal = seal_of(details, "messages[0].reasoning_details")

    assert seal is not None and (ORIGIN, "messages[0].reasoning_details") == (seal.origin, seal.at)
    assert details == details_of(seal)


@pytest.mark.parametrize("details", [[], [TEXT], [{"signature": None, "data": ""}], "x", None, [3]])
def test_what_is_only_text_is_no_state(details: Any) -> None:
    """Nothing has to go back."""
    assert seal_of(details) is None


@pytest.mark.parametrize("value", ["", "{}", "[1]", "[" * 500, "[{", '{"data": "x"}', "\ud83d"])
def test_what_a_caller_made_up_is_nothing(value: str) -> None:
    """It is not sent on, however it looks; nor is another family's."""
    assert details_of(Seal(value=value, origin=ORIGIN)) is None
    assert details_of(Seal(value='[{"data":"x"}]', origin="gemini")) is None
    assert details_of(None) is None


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([{**TEXT, "index": 0}, {"type": "reasoning.text", "text": "!", "index": 0, "format": None}], None),
        ([TEXT, {"type": "reasoning.text", "signature": "c2ln"}], [SIGNED]),
        ([TEXT, {"type": "reasoning.text", "text": "!", "signature": "c2ln"}], [{**SIGNED, "text": "hm!"}]),
        ([SIGNED, SIGNED], [SIGNED, SIGNED]),
        ([{**TEXT, "index": 0}, {**SIGNED, "index": 1}], [{**TEXT, "index": 0}, {**SIGNED, "index": 1}]),
        ([HIDDEN, HIDDEN], [HIDDEN, HIDDEN]),
        ([TEXT, HIDDEN], [TEXT, HIDDEN]),
    ],
)
def test_pieces_of_an_entry_become_one(pieces: list[Any], whole: list[Any] | None) -> None:
    """Texts are joined until their signature comes; what is encrypted comes whole."""
    together, apart = Details(), Details()
    together.add(pieces)
    for piece in pieces:
        apart.add([piece, "no entry"])

    assert whole == details_of(together.take()) == details_of(apart.take())


def test_what_was_taken_is_not_taken_again() -> None:
    """Two thoughts of an answer are sealed apart; one whose signature is still to come waits for it."""
    details = Details()
    details.add([SIGNED])
    first = details.take()
    details.add([TEXT])
    assert details.take() is None
    details.add([{"type": "reasoning.text", "signature": "Mg=="}])

    assert ([SIGNED], [{**TEXT, "signature": "Mg=="}]) == (details_of(first), details_of(details.take()))
