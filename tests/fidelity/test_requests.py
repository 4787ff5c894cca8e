"""Recorded requests translated to the other dialect: they fit its schema and mean the same, or name what is lost."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import pytest

from tests.corpus import schema

from . import read_chat, read_gemini
from .meaning import Comparing, stands
from .neutral import Json, Request
from .tally import account
from .through import FILES, MODELS, OTHER, Case, Sent, recorded, send

READ: dict[str, Callable[[Json], Request]] = {"openai.chat": read_chat.read_request, "gemini": read_gemini.read_request}
SCHEMA = {
    "openai.chat": ("openai.chat.request", "ChatCompletionRequest"),
    "gemini": ("gemini.v1beta.request", "GenerateContentRequest"),
}

#: Why a request of a call that went well may be refused before it is sent: what the other dialect cannot say at all.
REFUSALS = [
    (r"the target reads no video", "chat has no place for films"),
    (
        r"the target reads (files|images|sound) only",
        "chat takes sound and files by content, images also by http(s) URL",
    ),
    (r"the target reads no .* by URL", "Gemini fetches no such type by URL, and nothing is downloaded by default"),
    (r"the target does not hold this cached content", "the cached part of the prompt is missing there"),
    (
        r"the target has no such tool",
        "a tool that the caller's provider runs itself: without it the answer would be wrong",
    ),
]


DIRECTIONS = [(file, model) for file in FILES for model in MODELS["openai.chat" if file == "gemini" else "gemini"]]


def problems_of(case: Case, sent: Sent) -> list[str]:
    upstream = OTHER[case.dialect.name].name
    found = [
        f"schema: {error.json_path} {error.message[:120]}" for error in schema(*SCHEMA[upstream]).iter_errors(sent.body)
    ]
    asked, arrived = READ[case.dialect.name](case.body), READ[upstream](sent.body)
    found += Comparing(asked, arrived, sent.losses).run()
    return found + [
        f"the loss {loss.field}={loss.kind} names nothing in the caller's body"
        for loss in sent.losses
        if loss.kind != "invented" and not stands(case.body, loss.field)
    ]


def refusal_of(case: Case, sent: Sent) -> tuple[list[str], str]:
    """(what is wrong with the refusal, why it was refused)."""
    error = sent.error
    assert error is not None
    found = []
    if error.status not in (400, 422):
        found.append(f"refused with {error.status}")
    if not error.param or not stands(case.body, error.param):
        found.append(f"the refusal names {error.param}, which is not in the caller's body")
    why = next((reason for text, reason in REFUSALS if re.search(text, error.message)), None)
    if why is None and case.status < 400:
        found.append(f"refused: {error.message}")
    return found, why or "its own upstream refused it, too"


@pytest.mark.parametrize(("file", "model"), DIRECTIONS)
def test_a_request_arrives(file: str, model: str) -> None:
    """Every difference of meaning is a declared loss under its path in the caller's body, or a 4xx that names it."""
    told = account(f"request to {model}", file)
    for case in recorded(file):
        if case.body is None:
            told.note("outside")
            continue
        sent = send(case.dialect, OTHER[case.dialect.name], case.body, model, case.params)
        if sent.error is None:
            told.judge(case.id, problems_of(case, sent))
            continue
        found, why = refusal_of(case, sent)
        if found:
            told.note("failing", case.id, "; ".join(found))
        else:
            told.note("refused", why=why)

    assert [] == told.surprises


# ── the test is no friend of ours ──────────────────────────────────────────────────────


def maimed(body: Json, upstream: str) -> Iterator[tuple[str, Json]]:
    """What a careless translation would have sent: one thing less, or something else."""
    said = "contents" if upstream == "gemini" else "messages"
    for i in range(len(body[said])):
        less = copy.deepcopy(body)
        del less[said][i]
        yield f"{said}[{i}] is missing", less
    for key in body.keys() - {said, "model", "stream", "stream_options"}:
        less = {name: value for name, value in body.items() if name != key}
        yield f"{key} is missing", less
    tools = body.get("tools") or []
    if upstream == "gemini" and tools and tools[0].get("functionDeclarations"):
        less = copy.deepcopy(body)
        less["tools"][0]["functionDeclarations"][0].pop("parametersJsonSchema", None)
        if less != body:
            yield "the parameters are missing", less
    system = body.get("systemInstruction")
    if system:
        less = copy.deepcopy(body)
        less["systemInstruction"]["parts"][0]["text"] = "Something else."
        yield "other system text", less


@pytest.mark.parametrize(("file", "model"), DIRECTIONS)
def test_what_is_missing_is_noticed(file: str, model: str) -> None:
    """Without a message, a tool, a parameter or the system text the comparison fails, unless it said nothing."""
    upstream = "openai.chat" if file == "gemini" else "gemini"
    tried, unseen = 0, []
    for case in recorded(file):
        sent = (
            send(case.dialect, OTHER[case.dialect.name], case.body, model, case.params)
            if case.body
            else Sent(error=None)
        )
        if sent.body is None:
            continue
        whole = READ[upstream](sent.body)
        for what, body in maimed(sent.body, upstream):
            less = READ[upstream](body)
            if _shown(less) == _shown(whole):
                continue  # a default, or an empty message
            tried += 1
            if not Comparing(READ[case.dialect.name](case.body), less, sent.losses).run():
                unseen.append(f"{case.id}: {what} {[loss.field for loss in sent.losses]}")

    assert tried > 50
    assert len(unseen) <= tried * 0.03, unseen


def _shown(request: Request) -> str:
    return f"{request.said} {request.functions} {sorted(request.facts.items(), key=str)} {request.schema}"
