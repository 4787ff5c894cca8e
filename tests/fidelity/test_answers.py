"""Recorded whole answers told to a caller of the other dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.errors import RouterError, UpstreamError

from tests.corpus import schema

from .answers import READ_WHOLE, WHOLE, fits, told
from .meaning import Lost
from .tally import account
from .through import FILES, OTHER, recorded, tell


@pytest.mark.parametrize("file", FILES)
def test_an_answer_arrives(file: str) -> None:
    """It fits the caller's schema, required null keys included, its official client reads it, and it says the same."""
    row = account("answer", file)
    for case in recorded(file):
        if not case.whole:
            continue
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        losses: list[Any] = []
        said = READ_WHOLE[upstream.name](case.raw["response_body"])
        try:
            body = json.loads(tell(upstream, caller, case.wire, losses))
        except RouterError as error:
            nothing = all(choice.finish == "error" and not choice.heard for choice in said.choices.values())
            row.judge(case.id, [] if nothing and isinstance(error, UpstreamError) else [f"{error!r}"], "errors")
            continue
        named = [Lost(loss.field, loss.kind, loss.reason) for loss in losses]
        row.judge(case.id, fits(body, caller.name, "whole") + told(said, READ_WHOLE[caller.name](body), caller.name, named))

    assert [] == row.surprises


@pytest.mark.parametrize("dialect", ["openai.chat", "gemini"])
def test_the_schemas_are_strict(dialect: str) -> None:
    """An empty object is no answer: the validators of this suite can say no."""

    assert not schema(*WHOLE[dialect]).is_valid({"choices": 1, "candidates": 1})
