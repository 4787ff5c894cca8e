"""Writes a routes.yaml and loads it, with a fixed set of dialects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from router.config import load
from router.settings import Loaded, Settings

ROUTE = "routes: [{path: /x, speaks: openai.chat, to: models}]\n"


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None, **asked: str) -> Loaded:
    """`text` without `routes` gets one."""
    text = dedent(text)
    if "routes:" not in text:
        text += ROUTE
    path = folder / "routes.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {}, **asked)


def settings(folder: Path, text: str, environ: Mapping[str, str] | None = None, **asked: str) -> Settings:
    found = loaded(folder, text, environ, **asked)

    assert found.problems == ()
    assert found.settings is not None
    return found.settings


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None, **asked: str) -> list[str]:
    """`LINE:COL message`, in order. A file with problems has no settings."""
    found = loaded(folder, text, environ, **asked)

    assert (found.settings is None) == bool(found.problems)
    assert all(problem.file == str(folder / "routes.yaml") for problem in found.problems)
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in found.problems]


def warnings(folder: Path, text: str, environ: Mapping[str, str] | None = None, **asked: str) -> list[str]:
    """Of a file without problems."""
    found = loaded(folder, text, environ, **asked)

    assert found.problems == ()
    return [f"{warning.line}:{warning.column} {warning.message}" for warning in found.warnings]
