"""Ids, ends, and states that travel in a reasoning item."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Finish, Seal
from providers.dialects.openai_responses.words import (
    Carried,
    carried,
    carry,
    ending,
    finish_of,
    is_made,
    is_ours,
    made_id,
    response_id,
    seal_of,
    sealed_item,
)


def test_ids_of_answers_have_this_dialects_form() -> None:
    """Whoever gave the id; without one it is the same for the same model."""
    assert ["resp_1", "resp_r1"] == [response_id("resp_1", None), response_id("r1", None)]
    assert response_id(None, "m") == response_id(None, "m") != response_id(None, "n")


def test_our_ids_are_known_again() -> None:
    """They have the prefix and the length that OpenAI insists on."""
    made = made_id("msg", "0" * 20, 12)

    assert made.startswith("msg_")
    assert len(made) <= 64
    assert [True, False, False] == [is_made(made), is_made("msg_0123"), is_made(None)]


@pytest.mark.parametrize(
    ("body", "reason", "raw"),
    [
        ({"status": "completed"}, "stop", "completed"),
        ({}, "stop", "completed"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", None),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter", None),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "other", "steered"),
        ({"status": "incomplete", "incomplete_details": None}, "other", "incomplete"),
    ],
)
def test_why_an_answer_ended(body: dict[str, object], reason: str, raw: str | None) -> None:
    """The status, and the reason where it is incomplete."""
    finish = finish_of(body, calls=False, refused=False)

    assert reason == finish.reason
    assert raw in (None, finish.raw)


def test_calls_and_refusals_are_ends_of_their_own() -> None:
    """Calls count more: somebody waits for their results."""
    assert "tool_calls" == finish_of({}, calls=True, refused=True).reason
    assert "refusal" == finish_of({}, calls=False, refused=True).reason


@pytest.mark.parametrize(
    ("finish", "own", "status", "reason", "same"),
    [
        (None, False, "completed", None, True),
        (Finish(reason="stop"), False, "completed", None, True),
        (Finish(reason="tool_calls"), False, "completed", None, True),
        (Finish(reason="length", raw="MAX_TOKENS"), False, "incomplete", "max_output_tokens", True),
        (Finish(reason="content_filter"), False, "incomplete", "content_filter", True),
        (Finish(reason="other", raw="steered"), True, "incomplete", "steered", True),
        (Finish(reason="other", raw="steered"), False, "completed", None, False),
        (Finish(reason="pause"), False, "completed", None, False),
    ],
)
def test_how_an_end_is_written(finish: Finish | None, own: bool, status: str, reason: str | None, same: bool) -> None:
    """What the dialect has no word for is completed, and said to be only about right."""
    found = ending(finish, own, refused=False)

    assert (status, same) == (found.status, found.same)
    assert reason == (found.details or {}).get("reason")


def test_a_refusal_that_no_part_tells_is_the_work_of_a_filter() -> None:
    """Where a part of the answer refuses, it is complete; else it was cut off."""
    refusal = Finish(reason="refusal")

    assert ("completed", None) == ending(refusal, False, refused=True)[:2]
    assert ("incomplete", {"reason": "content_filter"}) == ending(refusal, False, refused=False)[:2]


def test_a_seal_is_the_whole_item() -> None:
    """The state is good only together with its id."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    seal = seal_of(item)

    assert seal is not None
    assert ("openai", item) == (seal.origin, sealed_item(seal))
    assert seal_of({**item, "encrypted_content": None}) is None


@pytest.mark.parametrize("seal", [None, Seal(value="{}", origin="gemini"), Seal(value="nonsense", origin="openai")])
def test_other_seals_hold_no_item(seal: Seal | None) -> None:
    """Other vendors', and what nobody made."""
    assert sealed_item(seal) is None


@given(st.text(), st.sampled_from(["anthropic", "gemini"]), st.text() | st.integers(0, 9))
def test_foreign_signatures_come_back(value: str, origin: str, of: str | int) -> None:
    """Whatever they are, and whatever a call is named."""
    kind = "text" if isinstance(of, int) else "call"

    assert Carried(origin, kind, of, value) == carried(carry(Seal(value=value, origin=origin), kind, of))


@pytest.mark.parametrize("text", [None, 1, "gAAAA", "isthmus:", "isthmus:[]", 'isthmus:["a","b"]', "isthmus:{"])
def test_other_states_are_not_ours(text: object) -> None:
    """OpenAI's own, and what only looks like ours."""
    assert carried(text) is None


def test_items_of_ours() -> None:
    """By their state or by their id: no upstream has made them."""
    state = carry(Seal(value="x", origin="gemini"), "self")

    assert is_ours({"type": "reasoning", "id": "rs_1", "encrypted_content": state})
    assert is_ours({"type": "reasoning", "id": made_id("rs", "0", 1)})
    assert not is_ours({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"})
    assert not is_ours({"type": "message", "id": made_id("msg", "0", 1)})
    assert not is_ours("isthmus:")
