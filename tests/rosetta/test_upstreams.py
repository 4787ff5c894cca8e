"""Answers of languages that are spoken to upstreams only: written by hand as their services write them.

No code of ours has made these files, so they hold the decoders to what the services say, and not to what we would.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest

from providers.canonical.chat import ChatResponse, ToolCall
from providers.canonical.stream import fold
from tests.corpus import schema
from tests.fidelity.answers import READ_STREAM, READ_WHOLE
from tests.fidelity.neutral import events
from tests.fidelity.through import NAMES, cuts, decoded

from . import stone
from .stone import FOLDER, Json, has, load

ANSWERED = [meaning for meaning in stone.meanings() if "answer" in stone.canonical(meaning)]
EVERY = pytest.mark.parametrize("meaning", ANSWERED)
SCHEMAS = {
    "cohere.chat": ("cohere.v2.response", "V2ChatResponse", "V2ChatStreamResponse"),
    "bedrock.converse": ("bedrock.converse.response", "ConverseResponse", "ConverseStreamOutput"),
}


def said_in(meaning: str) -> list[str]:
    return [name for name in stone.BY_HAND if has(meaning, f"{name}.answer.json")]


@EVERY
def test_every_answer_is_there_or_has_a_reason(meaning: str) -> None:
    """Each of these languages says each answer, whole and as a stream, or why it cannot."""
    for name in stone.BY_HAND:
        stream = has(meaning, f"{name}.stream.txt") + has(meaning, f"{name}.stream.jsonl")
        said, reasons = has(meaning, f"{name}.answer.json"), stone.unsaid(meaning, name)

        assert said == stream == ("answer" not in reasons), name
        assert all(reasons.values())


@EVERY
def test_they_are_what_the_services_write(meaning: str) -> None:
    """Answers and events fit the schemas that the services publish, and Cohere's own types."""
    wrong = []
    for name in said_in(meaning):
        document, whole, event = SCHEMAS[name]
        body, pieces = load(meaning, f"{name}.answer.json"), told_pieces(meaning, name)
        wrong += [f"{name}: {one.message}" for one in schema(document, whole).iter_errors(body)]
        wrong += [f"{name}: {one.message}" for piece in pieces for one in schema(document, event).iter_errors(piece)]
        if name == "cohere.chat" and find_spec("cohere") is not None:
            wrong += _against_coheres_types(body, pieces)

    assert [] == wrong


def told_pieces(meaning: str, name: str) -> list[Json]:
    """The events of a stream, as their service's types have them."""
    if name == "bedrock.converse":
        text = (FOLDER / meaning / f"{name}.stream.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]
    return [json.loads(data) for _, data in events(stone.told_streamed(meaning, name)) if data != b"[DONE]"]


def _against_coheres_types(body: Json, pieces: list[Json]) -> list[str]:
    from cohere import V2ChatResponse
    from cohere.v2.types import V2ChatStreamResponse
    from pydantic import TypeAdapter

    found, events_of = [], TypeAdapter[Any](V2ChatStreamResponse)
    for read, value in [(V2ChatResponse.model_validate, body), *((events_of.validate_python, one) for one in pieces)]:
        try:
            read(value)
        except ValueError as error:
            found.append(str(error)[:200])
    return found


@EVERY
def test_they_are_read_as_what_is_meant(meaning: str) -> None:
    """decode(file) is the meaning without what the language cannot say, whole and streamed, at any cut."""
    for name in said_in(meaning):
        wanted = told(stone.answer_of(meaning))
        for path in stone.unsaid(meaning, name):
            wanted = stone.without(wanted, path)

        assert wanted == told(stone.read_answer(meaning, name)), name

        data = stone.told_streamed(meaning, name)
        for size in (len(data), 11, 1):
            assert wanted == told(fold(decoded(NAMES[name], cuts(data, size)))), f"{name}, streamed in {size}"


def told(answer: ChatResponse) -> Json:
    """Everything that an answer says; ids of calls by their order, for each service makes its own."""
    choices = []
    for choice in answer.choices:
        ids = iter(range(len(choice.parts)))
        parts = [
            msgspec.structs.replace(part, id=f"call_{next(ids)}") if isinstance(part, ToolCall) else part
            for part in choice.parts
        ]
        choices.append(msgspec.structs.replace(choice, parts=tuple(parts)))
    bare = stone.meant(msgspec.structs.replace(answer, choices=tuple(choices)))
    for choice in bare.get("choices", ()):
        for part in choice.get("parts", ()):
            part.get("seal", {}).pop("origin", None)  # of the family that made it, which is another here
        for token in choice.get("logprobs", {}).get("content", ()):
            token.pop("id", None)  # Cohere's own number of it, which nobody else has
    return {key: bare[key] for key in ("choices", "blocked", "usage") if key in bare}


@EVERY
def test_independent_readers_agree(meaning: str) -> None:
    """Readers that share no code with the decoders hear the same of the whole answer and of the stream."""
    for name in said_in(meaning):
        whole = READ_WHOLE[name](load(meaning, f"{name}.answer.json"))

        assert whole == READ_STREAM[name](stone.told_streamed(meaning, name)), name


def test_what_is_not_there_cannot_be_left_out() -> None:
    """The rule itself: only what the meaning has can be named as unsaid."""
    assert {"a": [{"b": 1}, {}]} == stone.without({"a": [{"b": 1, "c": 2}, {}]}, "a[].c")
    with pytest.raises(KeyError):
        stone.without({"a": [{"b": 1}]}, "a[].c")
