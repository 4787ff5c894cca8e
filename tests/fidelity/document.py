"""docs/fidelity.md, from `totals.json` (what became of recorded traffic) and the stone of tests/rosetta (what is lost).

It is generated in a second: the tests count, this page only shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .known import KNOWN, RECORDED, SAME
from .languages import LANGUAGES
from .meaning import Lost
from .tally import totals
from .through import CALLERS, NAMES, SOURCES, send

Row = dict[str, Any]

HEAD = """# Fidelity

What arrives. Every ordered pair of dialects is tried with recorded traffic (`tests/traffic`), by readers that share no
code with the codecs (`tests/fidelity/read_*.py`); an answer must also fit its schema and be read by its official
client. This page is made from those tests: `tests/fidelity/totals.json` holds their counts, and a count that changes
fails its test.

A case is **exact** when everything arrives, **named** when every difference is declared in `x-isthmus-loss` under its
path in the caller's own body, **refused** when the field that the target cannot hold is named by a 4xx. Anything else
is a failure, in bold.
"""

REQUESTS = """## Requests

From the callers of a recorded file to upstreams of each dialect: exact · named · refused.
"""
ANSWERS = """## Answers

From the upstreams of a recorded file to callers of each dialect: exact · named · told as an error.
"""
STREAMS = """## Streams

The same, chunk by chunk, whatever the cuts of the network.
"""
ERRORS = """## Errors

An upstream's errors told in each envelope, with their status class, reason and hint when to try again. The last number
counts those that are right.
"""
LIVES = """## Conversations

A quarter of the answers each, sent back as history by a client that remembers everything, and by one that keeps only
what all versions of its types have: texts, calls, ids, results and signatures are those that the model made:
right · wrong.
"""
ALIKE = """## What counts as the same

No named loss is asked for these. Everything else that differs must be declared, by the path of the very field.
"""
RELAYED = """## Relayed

Within one dialect nothing may change: how many cases are equal, as JSON or byte for byte.
"""
FEATURES = """## Features

One meaning at a time ([rosetta.md](rosetta.md)), from the dialect of each column to the one of the heading. `=` exact,
`≈` with a named loss, `✗` refused by name, `–` the caller's dialect cannot say it.
"""


def cell(row: Row | None) -> str:
    """`exact · named · refused`, with failures in bold behind."""
    if row is None:
        return "–"
    lossy = row["lossy"]
    numbers = [
        row.get("faithful", 0) + row.get("relayed", 0) - lossy,
        lossy,
        row.get("refused", 0) + row.get("errors", 0),
    ]
    failing = row.get("failing", 0)
    return " · ".join(str(number) for number in numbers) + (f" · **{failing}**" if failing else "")


def table(what: str, files: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """One row a file, one column a dialect."""
    rows = totals()
    yield f"| recorded | {' | '.join(f'`{name}`' for name in names)} |"
    yield "| --- |" + " --- |" * len(names)
    for file in files:
        cells = ["" if name == SOURCES[file][0] else cell(rows.get(f"{what} {file} -> {name}")) for name in names]
        yield f"| {file} | {' | '.join(cells)} |"


def relayed() -> Iterator[str]:
    """What its own dialect does to a call that is not translated."""
    rows = totals()
    kinds = {
        "own request": "requests, decoded and encoded",
        "relay request": "requests, relayed",
        "own answer": "answers, decoded and encoded",
        "own stream": "streams, decoded and encoded",
        "relay stream 3": "streams, relayed three bytes at a time",
    }
    yield f"| recorded | {' | '.join(kinds.values())} |"
    yield "| --- |" + " ---: |" * len(kinds)
    for file, (language, _, _) in SOURCES.items():
        if language in CALLERS:
            cells = [_equal(rows.get(f"{what} {file}")) for what in kinds]
            yield f"| {file} | {' | '.join(cells)} |"


def _equal(row: Row | None) -> str:
    if row is None:
        return "–"
    failing = f", **{row['failing']} not**" if row.get("failing") else ""
    return f"{row.get('relayed', 0)}{failing}"


def lives() -> Iterator[str]:
    """How many recorded answers came back to their model, by caller."""
    rows = totals()
    yield f"| recorded | {' | '.join(f'`{name}`' for name in CALLERS)} |"
    yield "| --- |" + " --- |" * len(CALLERS)
    for file in SOURCES:
        cells = []
        for name in CALLERS:
            found = [rows.get(f"life {kind} {file} -> {name}") for kind in ("remembering", "forgetful")]
            there = [row for row in found if row is not None]
            right, wrong = (sum(row.get(key, 0) for row in there) for key in ("faithful", "failing"))
            cells.append(f"{right} · {wrong}" if there else "")
        if any(cells):
            yield f"| {file} | {' | '.join(cells)} |"


def summary() -> Iterator[str]:
    """How many cases there were, and what became of them."""
    rows = totals().values()
    outcomes = ("relayed", "faithful", "refused", "errors", "failing")
    count = {name: sum(row.get(name, 0) for row in rows) for name in outcomes}
    lossy = sum(row["lossy"] for row in rows)
    tried = sum(count.values())
    named = f"({lossy:,} of them with named losses)"
    yield (
        f"In all {tried:,} checks: {count['relayed']:,} relayed unchanged, {count['faithful']:,} translated faithfully"
        f" {named}, {count['refused']:,} refused by name, {count['errors']:,} errors told as errors,"
        f" {count['failing']:,} failures, each of them known:"
    )
    every, chats = RECORDED
    yield ""
    yield (
        f"They are made of {chats:,} of the {every:,} recorded cases; the others are no chats (embeddings, counts,"
        " lists, older interfaces). A case counts once in each row that it is tried in: a way, a cut, a lane."
    )
    yield ""
    yield "| what | case | why |"
    yield "| --- | --- | --- |"
    for (title, case), why in sorted(KNOWN.items()):
        yield f"| {title} | {case} | {why} |"


def alike() -> Iterator[str]:
    """What the comparisons let pass."""
    yield "| difference | why it is none |"
    yield "| --- | --- |"
    for what, why in SAME:
        yield f"| {what} | {why} |"


# ── features ───────────────────────────────────────────────────────────────────────────


def ways(target: str) -> Iterator[tuple[str, dict[str, str], list[Lost]]]:
    """(meaning, how it goes from each caller's dialect, what is lost of it)."""
    from tests.rosetta import stone

    for meaning in stone.meanings():
        if "request" not in stone.canonical(meaning):
            continue
        found: dict[str, str] = {}
        for name in CALLERS:
            if name == target or not stone.has(meaning, f"{name}.request.json"):
                continue
            params = {"model": "m", "task": "generateContent"} if name == "gemini" else {}
            body = stone.load(meaning, f"{name}.request.json")
            sent = send(NAMES[name], NAMES[target], body, LANGUAGES[target].models[0], params)
            found[name] = "✗" if sent.error is not None else "≈" if sent.losses else "="
        lost = stone.lost_in(meaning, target)
        reasons = [Lost(*one) for one in lost.get("request", ())]
        if "refused" in lost:
            reasons = [Lost(lost["refused"][0], "refused", lost["refused"][1])]
        yield meaning, found, reasons


def matrix(target: str) -> Iterator[str]:
    """The features that do not go everywhere exactly, and why."""
    callers = [name for name in CALLERS if name != target]
    exact, rows = [], []
    for meaning, found, lost in ways(target):
        if set(found.values()) <= {"="} and not lost:
            exact.append(meaning)
            continue
        why = "; ".join(dict.fromkeys(_why(one) for one in lost)) or "what the caller's dialect adds is not carried"
        rows.append(f"| {meaning} | {' | '.join(found.get(name, '–') for name in callers)} | {why} |")
    yield f"Exact from everywhere: {', '.join(exact)}."
    yield ""
    yield f"| feature | {' | '.join(f'`{name}`' for name in callers)} | why |"
    yield "| --- |" + " --- |" * (len(callers) + 1)
    yield from rows


def _why(lost: Lost) -> str:
    field = lost.field.replace("|", "\\|")
    reason = lost.reason.removeprefix(f"{lost.field}: ").replace("|", "\\|")
    return f"`{field}` {lost.kind}: {reason}"


def document() -> str:
    asked = [file for file, (language, _, _) in SOURCES.items() if language in CALLERS]
    files = list(SOURCES)
    parts = [
        HEAD,
        *("\n".join(summary()), REQUESTS, "\n".join(table("request", asked, list(NAMES)))),
        *(ANSWERS, "\n".join(table("answer", files, CALLERS)), STREAMS, "\n".join(table("stream", files, CALLERS))),
        *(ERRORS, "\n".join(table("error", files, CALLERS)), LIVES, "\n".join(lives())),
        *(RELAYED, "\n".join(relayed()), ALIKE, "\n".join(alike()), FEATURES),
    ]
    for target in NAMES:
        kind = "" if target in CALLERS else ", spoken to upstreams only"
        parts += [f"### To `{target}`{kind}\n", "\n".join(matrix(target))]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)
