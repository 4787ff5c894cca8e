"""docs/rosetta.md, from the files of the stone: what each language says of each meaning, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fidelity.through import CALLERS, NAMES

from . import stone

HEAD = """# Rosetta

One meaning a folder in `tests/rosetta`, written in every language: `canonical.json` says what is meant,
`LANGUAGE.request.json` how an upstream is asked, `LANGUAGE.answer.json` and `LANGUAGE.stream.txt` how a caller is told,
`LANGUAGE.error.json` how it is told no, `LANGUAGE.losses.json` what that language cannot say. Tests hold that codecs
write and read the files so, that readers which share no code with them agree, and that every way from one language to
another loses only what is declared. Answers of languages that are spoken to upstreams only are written by hand, as
their services write them; `LANGUAGE.unsaid.json` has what those cannot say.

`=` says all of it, `≈` all but what is named below, `✗` is refused by name, `–` cannot say it, blank: not part of this
meaning.
"""


def mark(meaning: str, name: str, part: str) -> str:
    lost = stone.lost_in(meaning, name)
    if part == "request" and "refused" in lost:
        return "✗"
    if part == "answer" and (left_out := stone.unsaid(meaning, name)):
        return "–" if "answer" in left_out else "≈"
    if not stone.has(meaning, f"{name}.{part}.json"):
        return ""
    return "≈" if lost.get(part) or (part == "answer" and lost.get("stream")) else "="


def table(part: str, names: list[str]) -> Iterator[str]:
    yield f"| meaning | | {' | '.join(f'`{name}`' for name in names)} |"
    yield "| --- | --- |" + " :---: |" * len(names)
    for meaning in stone.meanings():
        raw = stone.canonical(meaning)
        if part in raw:
            marks = [mark(meaning, name, part) for name in names]
            yield f"| {meaning} | {raw['about']} | {' | '.join(marks)} |"


def losses(name: str) -> Iterator[str]:
    """What a language cannot say, by meaning."""
    yield "| meaning | where | what |"
    yield "| --- | --- | --- |"
    for meaning in stone.meanings():
        lost = stone.lost_in(meaning, name)
        if "refused" in lost:
            field, reason = lost["refused"]
            yield f"| {meaning} | request | `{field}` refused: {reason.removeprefix(f'{field}: ')} |"
        seen = dict.fromkeys((part, *one) for part in ("request", "answer", "stream") for one in lost.get(part, ()))
        for part, field, kind, reason in seen:
            yield f"| {meaning} | {part} | `{field}` {kind}: {reason} |"
        for path, reason in stone.unsaid(meaning, name).items():
            yield f"| {meaning} | answer | `{path}` unsaid: {reason} |"


def errors() -> Iterator[str]:
    yield f"| meaning | | status | {' | '.join(f'`{name}`' for name in CALLERS)} |"
    yield "| --- | --- | ---: |" + " --- |" * len(CALLERS)
    for meaning in stone.meanings():
        raw = stone.canonical(meaning)
        if "error" not in raw:
            continue
        told = {name: stone.load(meaning, f"{name}.error.json") for name in CALLERS}
        status = told[CALLERS[0]]["status"]
        yield f"| {meaning} | {raw['about']} | {status} | {' | '.join(_word(told[name]['body']) for name in CALLERS)} |"


def _word(body: stone.Json) -> str:
    """How an envelope calls the class of the error."""
    error = body["error"]
    if not isinstance(error, dict):
        return f"`{body['code']}`" if "code" in body else "its text alone"
    code = f" `{error['code']}`" if error.get("type") and error.get("code") else ""
    return f"`{error.get('type') or error.get('status')}`{code}"


def document() -> str:
    parts = [
        HEAD,
        "## Requests\n",
        "\n".join(table("request", list(NAMES))),
        "## Answers\n",
        "\n".join(table("answer", list(NAMES))),
        "## Errors\n\nOne status for all; the class in each language's own word.\n",
        "\n".join(errors()),
        "## What is lost\n",
    ]
    for name in NAMES:
        parts += [f"### `{name}`\n", "\n".join(losses(name))]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)
