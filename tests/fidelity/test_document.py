"""The page that tells what the tests have counted."""

from __future__ import annotations

from . import document
from .known import KNOWN
from .tally import totals
from .through import ANSWERS, NAMES, REQUESTS


def test_every_pair_has_been_counted() -> None:
    """Requests, answers and streams of every ordered pair stand in the totals, and no failure that nobody knows."""
    titles = {f"request {file} -> {name}" for file, name in REQUESTS}
    titles |= {f"{what} {file} -> {name}" for what in ("answer", "stream", "error") for file, name in ANSWERS}

    assert set() == titles - totals().keys()
    assert sum(row.get("failing", 0) for row in totals().values()) == len(KNOWN)


def test_the_page_names_every_dialect_and_every_known_failure() -> None:
    """A matrix for each target, a line for each case that fails."""
    page = document.document()

    assert [] == [name for name in NAMES if f"### To `{name}`" not in page]
    assert [] == [case for _, case in KNOWN if f"| {case} |" not in page]
