"""There and back: every meaning from each language to each other and home again loses what both steps declare."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import pytest

from providers.canonical.chat import ChatRequest
from providers.canonical.errors import CallerError
from providers.canonical.loss import Losses
from providers.dialect import Dialect, WireResponse
from tests.fidelity.languages import LANGUAGES
from tests.fidelity.through import CALLERS, GEMINI, NAMES, ask

from . import stone
from .stone import FOLDER, Json, has, meanings

PAIRS = [(a, b) for a in CALLERS for b in CALLERS if a != b]
#: Heads of paths that name something of the conversation, or of the tools.
TALK = {"messages", "contents", "input", "system", "systemInstruction", "instructions", "signature", "prompt"}
TOOLS = {"tools", "functions"}


class Step(NamedTuple):
    """One way: what arrived, and the canonical parameters that its losses name."""

    request: ChatRequest
    named: frozenset[str]


def _parameter(field: str, paths: Mapping[str, str]) -> str:
    """The canonical parameter that a loss is about: by its own word, or by where the caller's dialect has it."""
    head = field.partition(".")[0].partition("[")[0]
    if head in TALK or head in TOOLS:
        return "messages" if head in TALK else "tools"
    for word, path in paths.items():
        if "." not in word and (field == path or field.startswith((f"{path}.", f"{path}["))):
            return word
    return head


def _step(request: ChatRequest, caller: Dialect, target: str) -> Step:
    losses: Losses = []
    request = msgspec.structs.replace(request, model=LANGUAGES[target].models[0])
    dialect = NAMES[target]
    body = json.loads(dialect.encode_request(request, losses).body)
    params = {"model": "gemini-2.5-flash", "task": "generateContent"} if dialect is GEMINI else {}
    arrived = dialect.decode_request(ask(dialect, body, params))
    paths = {**caller.paths, **(request.paths or {})}
    return Step(arrived, frozenset(_parameter(loss.field, paths) for loss in losses))


def _changed(one: Json, other: Json) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


#: What may differ though it is no loss: the meaning, the language on the way, the parameter, and why.
KEPT_OTHERWISE: list[tuple[str, str, str, str]] = [
    ("json-mode", "anthropic.messages", "messages", "named as response_format: the model is told to answer so"),
    ("must-call-this", "ollama.chat", "tools", "named as tool_choice: only the one that must be called is shown"),
    ("must-not-call", "ollama.chat", "tools", "named as tool_choice: the model is told of no tools"),
    ("picture-in-answer", ".*", "modalities", "text, the default: the picture was lost before"),
    (
        "several-texts",
        "ollama.chat",
        "messages",
        "two messages of one caller that follow each other: a turn of two texts",
    ),
]


def there_and_back(meaning: str, home: str, abroad: str) -> tuple[set[str], frozenset[str]]:
    """What differs, and what is named. A refusal ends it: nothing has been lost then."""
    request = stone.read_request(meaning, home)
    try:
        there = _step(request, NAMES[home], abroad)
        back = _step(there.request, NAMES[abroad], home)
    except CallerError as error:
        assert error.param, error.message
        return set(), frozenset()
    return _changed(stone.meant(request), stone.meant(back.request)), there.named | back.named


@pytest.mark.parametrize("meaning", meanings())
def test_requests_there_and_back_lose_what_is_named(meaning: str) -> None:
    """A -> B -> A: what differs then is what the losses of the two steps name, or what the table has a reason for."""
    wrong = []
    for home, abroad in PAIRS:
        if not has(meaning, f"{home}.request.json"):
            continue
        changed, named = there_and_back(meaning, home, abroad)
        listed = {what for one, way, what, _ in KEPT_OTHERWISE if one == meaning and re.fullmatch(way, abroad)}
        wrong += [f"{home} -> {abroad} -> {home}: {what} was lost" for what in changed - named - listed]

    assert [] == wrong


def test_the_table_holds_nothing_that_is_not_needed() -> None:
    """Each of its rows has a way on which that parameter differs and is not named."""
    for meaning, way, what, _ in KEPT_OTHERWISE:
        ways = [
            there_and_back(meaning, a, b)
            for a, b in PAIRS
            if re.fullmatch(way, b) and has(meaning, f"{a}.request.json")
        ]
        assert any(what in changed - named for changed, named in ways), (meaning, way)


def test_a_loss_without_a_name_is_found() -> None:
    """The rule itself: a parameter that changes and that nobody names is one that was lost."""
    assert {"seed"} == _changed({"seed": 1, "n": 2}, {"n": 2})
    assert "top_k" == _parameter("generationConfig.topK", GEMINI.paths)
    assert "messages" == _parameter("contents[0].parts[0].text", GEMINI.paths)


# ── answers ────────────────────────────────────────────────────────────────────────────

#: What an answer may tell otherwise though it is no loss: the meaning, the way (home to abroad), what, and why.
TOLD_OTHERWISE: list[tuple[str, str, str, str]] = [
    (
        "blocked-prompt",
        ".*",
        "choices|blocked",
        "only Gemini blocks prompts: elsewhere a filter ended it",
    ),
    ("refusal", ".*", "choices", "where there is no refusal it is a text that a filter ended"),
    ("custom-tool", ".*", "choices", "where arguments are objects, free text stands under `input`"),
    ("empty-answer|spoken-answer", ".* to openai.chat", "choices", "an empty text stands for nothing"),
    (
        "hidden-thinking|sealed-call|thinking-and-tools",
        ".*",
        "choices",
        "state of other models travels in the caller's form of it",
    ),
    ("log-probabilities", "ollama.chat to gemini", "choices", "the bytes of a token are those of its text"),
    ("stop-sequences", "anthropic.messages to .*", "choices", "the others say that it stopped, not at which sequence"),
    (
        ".*",
        ".* to (gemini|ollama.chat|anthropic.messages)",
        "usage",
        "counts that the language on the way lacks",
    ),
]


def _answer_back(meaning: str, home: str, abroad: str) -> tuple[set[str], Losses]:
    """What differs of an answer that is told to a caller of another language, and that to a caller of the first."""
    losses: Losses = []
    data = (FOLDER / meaning / f"{home}.answer.json").read_bytes()
    said = NAMES[home].decode_response(WireResponse(status=200, headers={}, body=data))
    there = NAMES[abroad].encode_response(said, stone.asked_by(abroad), losses)
    heard = NAMES[abroad].decode_response(WireResponse(status=200, headers={}, body=there.body))
    back = NAMES[home].encode_response(heard, stone.asked_by(home), losses)
    again = NAMES[home].decode_response(WireResponse(status=200, headers={}, body=back.body))
    return _changed(_told(stone.meant(said)), _told(stone.meant(again))), losses


def _told(answer: Json) -> Json:
    return {key: answer[key] for key in ("choices", "blocked", "usage") if key in answer}


@pytest.mark.parametrize("meaning", meanings())
def test_answers_there_and_back_lose_what_is_named(meaning: str) -> None:
    """A -> B -> A: an answer says the same then, or losses of the two steps, or the table, say why not."""
    wrong = []
    for home, abroad in PAIRS:
        if not has(meaning, f"{home}.answer.json"):
            continue
        changed, losses = _answer_back(meaning, home, abroad)
        way = f"{home} to {abroad}"
        listed = {
            what
            for what in changed
            for one, ways, kept, _ in TOLD_OTHERWISE
            if re.fullmatch(one, meaning) and re.fullmatch(ways, way) and re.fullmatch(kept, what)
        }
        if changed - listed and not losses:
            wrong.append(f"{way} and back: {sorted(changed - listed)}")

    assert [] == wrong
