"""Recorded requests translated to every other dialect: they fit its schema and mean the same, or name what is lost."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import pytest

from .languages import LANGUAGES, request_fits
from .meaning import Comparing, stands
from .neutral import Json, Request
from .schemas import normal
from .tally import account
from .through import CHAT, NAMES, REQUESTS, Case, Sent, recorded, send

READ: dict[str, Callable[[Json], Request]] = {name: one.read_request for name, one in LANGUAGES.items()}
SCHEMA = {name: one.request for name, one in LANGUAGES.items()}

#: Why a request of a call that went well may be refused before it is sent: what the other dialect cannot say at all.
REFUSALS = [
    (r"the target reads no video", "chat has no place for films"),
    (
        r"the target reads ((files|images|sound|text)[a-zA-Z ]* only|no audio|files by content)",
        "the target has no place for this kind of medium, or not in this way",
    ),
    (r"the target reads no .* by URL", "the target fetches no such type by URL, and nothing is downloaded by default"),
    (
        r"the target does not hold (it|this cached content|this file|conversations|earlier answers|prompt templates)",
        "what the caller's provider keeps is missing there: a cached prompt, a file, a conversation, a template",
    ),
    (r"the target (reads media only by|reads no application/)", "the target has no place for this kind of medium"),
    (r"the target has (no custom tools|only functions as tools)", "a tool that takes free text: the target has none"),
    (
        r"(the target wants the call of this result|answers no tool call|needs the name of the function, and no ea)",
        "the call stands in what the provider keeps",
    ),
    (
        r"the target has no (such tool|tool of its own like)",
        "a tool that the caller's provider runs itself: without it the answer would be wrong",
    ),
    (r"the target gives one (choice|answer)", "the target gives one answer, the caller wants several"),
    (
        r"the target takes no form(at)? of the answer",
        "the target takes a form of the answer or tools, not both",
    ),
    (r"the target answers in text", "the target makes no pictures and no sound"),
    (r"this model takes text only in results", "the target takes text alone as what a tool gave back"),
    (r"this model does not go on with a message of its own", "the target does not go on with a begun answer"),
]


def models(case: Case, target: str) -> tuple[str, ...]:
    """Every model of a kind where two dialects have been at it for long; else the kinds take turns."""
    kinds = LANGUAGES[target].models
    return kinds if case.dialect is CHAT and target == "gemini" else (kinds[sum(case.id.encode()) % len(kinds)],)


def problems_of(case: Case, target: str, sent: Sent) -> list[str]:
    found = request_fits(sent.body, target)
    asked, arrived = READ[case.language.name](case.body), READ[target](sent.body)
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


@pytest.mark.parametrize(("file", "target"), REQUESTS)
def test_a_request_arrives(file: str, target: str) -> None:
    """Every difference of meaning is a declared loss under its path in the caller's body, or a 4xx that names it."""
    told = account("request", file, target)
    for case in recorded(file):
        if case.body is None:
            told.note("outside")
            continue
        for model in models(case, target):
            sent = send(case.dialect, NAMES[target], case.body, model, case.params, case.asked_headers)
            if sent.error is None:
                told.judge(case.id, problems_of(case, target, sent), lossy=bool(sent.losses))
                continue
            found, why = refusal_of(case, sent)
            if found:
                told.note("failing", case.id, "; ".join(found))
            else:
                told.note("refused", why=why)

    assert [] == told.surprises


# ── the test is no friend of ours ──────────────────────────────────────────────────────


def maimed(body: Json, said: str) -> Iterator[tuple[str, Json]]:
    """What a careless translation would have sent: one thing less, or something else."""
    for i in range(len(body[said]) if isinstance(body[said], list) else 0):
        less = copy.deepcopy(body)
        del less[said][i]
        yield f"{said}[{i}] is missing", less
    for key in body.keys() - {said, "model", "stream", "stream_options"}:
        less = {name: value for name, value in body.items() if name != key}
        yield f"{key} is missing", less
    tools = body.get("tools") or []
    if tools and isinstance(tools[0], dict):
        less = copy.deepcopy(body)
        first = (less["tools"][0].get("functionDeclarations") or [less["tools"][0]])[0]
        for key in ("parametersJsonSchema", "input_schema", "parameters"):
            first.pop(key, None)
        if less != body:
            yield "the parameters are missing", less
    system = body.get("systemInstruction")
    if system:
        less = copy.deepcopy(body)
        less["systemInstruction"]["parts"][0]["text"] = "Something else."
        yield "other system text", less
    for key in ("system", "instructions"):
        if isinstance(body.get(key), str):
            yield "other system text", {**body, key: "Something else."}


@pytest.mark.parametrize(("file", "target"), REQUESTS)
def test_what_is_missing_is_noticed(file: str, target: str) -> None:
    """Without a message, a tool, a parameter or the system text the comparison fails, unless it said nothing."""
    read, said = READ[target], LANGUAGES[target].said
    tried, unseen = 0, []
    step = 6 if len(list(recorded(file))) > 50 else 2
    for place, case in enumerate(recorded(file)):
        if case.body is None or place % step:  # a sample: what is looked for is the same in all
            continue
        sent = send(case.dialect, NAMES[target], case.body, models(case, target)[0], case.params, case.asked_headers)
        if sent.body is None or problems_of(case, target, sent):
            continue
        asked, whole = READ[case.language.name](case.body), read(sent.body)
        for what, body in maimed(sent.body, said):
            less = read(body)
            if _shown(less) == _shown(whole):
                continue  # a default, or an empty message
            gone = whole.facts.keys() - less.facts.keys()
            if gone and not gone & asked.facts.keys():
                continue  # nothing that the caller said
            tried += 1
            if not Comparing(asked, less, sent.losses).run():
                unseen.append(f"{case.id}: {what} {[loss.field for loss in sent.losses]}")

    assert tried > 5 or len(list(recorded(file))) < 10
    assert len(unseen) <= max(1, tried * 0.05), unseen


def _shown(request: Request) -> str:
    functions = [(one.name, one.description, normal(one.parameters), one.marks) for one in request.functions]
    return f"{request.said} {functions} {sorted(request.facts.items(), key=str)} {request.schema}"
