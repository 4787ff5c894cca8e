"""Recorded whole answers told to a caller of the other dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
        row.judge(
            case.id, fits(body, caller.name, "whole") + told(said, READ_WHOLE[caller.name](body), caller.name, named)
        )

    assert [] == row.surprises


def maimed(body: Any, caller: str) -> Iterator[tuple[str, Any]]:
    """What a careless translation would have told."""
    if caller == "openai.chat":
        first = body["choices"][0]
        for key, value in first["message"].items():
            if value and key != "role" and key not in ("annotations", "extra_content"):
                other = None if not isinstance(value, list) else value[:-1]
                yield (
                    key,
                    {**body, "choices": [{**first, "message": {**first["message"], key: other}}, *body["choices"][1:]]},
                )
        yield "finish", {**body, "choices": [{**first, "finish_reason": "other"}, *body["choices"][1:]]}
        if body.get("usage"):
            yield (
                "usage",
                {**body, "usage": {**body["usage"], "completion_tokens": body["usage"]["completion_tokens"] + 1}},
            )
        return
    first = body["candidates"][0]
    parts = first.get("content", {}).get("parts", [])
    for i, part in enumerate(parts):
        if part.get("text") != "":
            content = {**first["content"], "parts": parts[:i] + parts[i + 1 :]}
            yield f"part {i}", {**body, "candidates": [{**first, "content": content}, *body["candidates"][1:]]}
    yield "finish", {**body, "candidates": [{**first, "finishReason": "LANGUAGE"}, *body["candidates"][1:]]}


@pytest.mark.parametrize("file", FILES)
def test_what_is_missing_is_noticed(file: str) -> None:
    """Without its text, a call, its thinking, its finish or with another count an answer is not the same."""
    tried, unseen = 0, []
    for case in recorded(file):
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        if not case.whole:
            continue
        try:
            body = json.loads(tell(upstream, caller, case.wire))
        except RouterError:
            continue
        if not (body.get("choices") or body.get("candidates")):
            continue
        said = READ_WHOLE[upstream.name](case.raw["response_body"])
        for what, other in maimed(body, caller.name):
            tried += 1
            if not told(said, READ_WHOLE[caller.name](other), caller.name):
                unseen.append(f"{case.id}: {what}")

    assert [] == [one for one in unseen if not one.endswith("finish")]
    assert len(unseen) <= tried * 0.02
    assert tried > 25


@pytest.mark.parametrize("dialect", ["openai.chat", "gemini"])
def test_the_schemas_are_strict(dialect: str) -> None:
    """An empty object is no answer: the validators of this suite can say no."""

    assert not schema(*WHOLE[dialect]).is_valid({"choices": 1, "candidates": 1})
