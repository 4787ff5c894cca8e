"""Recorded whole answers told to callers of every other dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from providers.canonical.errors import RouterError, UpstreamError
from tests.corpus import schema

from .answers import READ_WHOLE, told
from .languages import LANGUAGES, fits
from .neutral import Answer
from .tally import account
from .through import ANSWERS, CALLERS, NAMES, lost, recorded, tell


@pytest.mark.parametrize(("file", "target"), ANSWERS)
def test_an_answer_arrives(file: str, target: str) -> None:
    """It fits the caller's schema, required null keys included, its official client reads it, and it says the same."""
    row = account("answer", file, target)
    for case in recorded(file):
        if not case.whole:
            continue
        losses: list[Any] = []
        said = case.heard()
        try:
            body = json.loads(tell(case.dialect, NAMES[target], case.wire, losses))
        except RouterError as error:
            nothing = all(choice.finish == "error" and not choice.heard for choice in said.choices.values())
            row.judge(case.id, [] if nothing and isinstance(error, UpstreamError) else [f"{error!r}"], "errors")
            continue
        problems = fits(body, target, "whole") + told(said, READ_WHOLE[target](body), target, lost(losses))
        row.judge(case.id, problems, lossy=bool(losses))

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
    if caller in ("anthropic.messages", "openai.responses"):
        key = "content" if caller == "anthropic.messages" else "output"
        for i in range(len(body[key])):
            yield f"{key}[{i}]", {**body, key: body[key][:i] + body[key][i + 1 :]}
        yield "usage", {**body, "usage": {**body["usage"], "output_tokens": body["usage"]["output_tokens"] + 1}}
        return
    if caller == "ollama.chat":
        message = body["message"]
        for key in ("content", "thinking", "tool_calls"):
            if message.get(key):
                yield key, {**body, "message": {name: value for name, value in message.items() if name != key}}
        yield "usage", {**body, "eval_count": body.get("eval_count", 0) + 1}
        return
    first = body["candidates"][0]
    parts = first.get("content", {}).get("parts", [])
    for i, part in enumerate(parts):
        if part.get("text") != "":
            content = {**first["content"], "parts": parts[:i] + parts[i + 1 :]}
            yield f"part {i}", {**body, "candidates": [{**first, "content": content}, *body["candidates"][1:]]}
    yield "finish", {**body, "candidates": [{**first, "finishReason": "LANGUAGE"}, *body["candidates"][1:]]}


@pytest.mark.parametrize(("file", "target"), ANSWERS)
def test_what_is_missing_is_noticed(file: str, target: str) -> None:
    """Without its text, a call, its thinking, its finish or with another count an answer is not the same."""
    tried, unseen = 0, []
    for place, case in enumerate(recorded(file)):
        if not case.whole or (place % 4 and file not in ("cohere", "ollama", "groq", "mistral")):
            continue
        try:
            body = json.loads(tell(case.dialect, NAMES[target], case.wire))
        except RouterError:
            continue
        if not (body.keys() & {"choices", "candidates", "content", "output", "message"}):
            continue
        said = case.heard()
        if told(said, READ_WHOLE[target](body), target) or said.usage is None:
            continue
        whole = unsealed(READ_WHOLE[target](body))
        for what, other in maimed(body, target):
            if unsealed(READ_WHOLE[target](other)) == whole:
                continue  # an item that says nothing: thinking that is not shown
            tried += 1
            if not told(said, READ_WHOLE[target](other), target):
                unseen.append(f"{case.id}: {what}")

    assert [] == [one for one in unseen if what_may_vanish(one, target)]
    assert len(unseen) <= tried * 0.05
    assert tried > 3


def unsealed(answer: Answer) -> Answer:
    """What is heard of it: not the state of the model that goes with it."""
    for choice in answer.choices.values():
        choice.seals = []
        choice.foreign = [one for one in choice.foreign if one != "redacted_thinking"]
    return answer


def what_may_vanish(one: str, target: str) -> bool:
    """A finish is told twice where there are calls; thinking that is empty, or sealed, is heard by no one."""
    return not one.endswith("finish") and target not in ("anthropic.messages", "openai.responses")


@pytest.mark.parametrize("dialect", CALLERS)
def test_the_schemas_are_strict(dialect: str) -> None:
    """An empty object is no answer: the validators of this suite can say no."""
    entry = LANGUAGES[dialect].whole
    assert entry is not None

    assert not schema(*entry).is_valid({"choices": 1, "candidates": 1})
