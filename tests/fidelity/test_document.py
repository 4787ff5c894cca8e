"""The page that tells what the tests have counted."""

from __future__ import annotations

from tests.corpus import TRAFFIC, cases

from . import document
from .known import KNOWN, RECORDED
from .tally import totals
from .through import ANSWERS, FILES, NAMES, REQUESTS, recorded


def test_every_pair_has_been_counted() -> None:
    """Requests, answers and streams of every ordered pair stand in the totals, and no failure that nobody knows."""
    titles = {f"request {file} -> {name}" for file, name in REQUESTS}
    titles |= {f"{what} {file} -> {name}" for what in ("answer", "stream", "error") for file, name in ANSWERS}

    assert set() == titles - totals().keys()
    assert sum(row.get("failing", 0) for row in totals().values()) == len(KNOWN)


def test_the_page_says_how_much_of_what_was_recorded_is_used() -> None:
    """All of it, and what is a chat in one of these languages."""
    files = [path.name.removesuffix(".jsonl.gz") for path in TRAFFIC.glob("*.jsonl.gz")]

    assert (sum(len(cases(file)) for file in files), sum(len(list(recorded(file))) for file in FILES)) == RECORDED


def test_the_page_names_every_dialect_and_every_known_failure() -> None:
    """A matrix for each target, a line for each case that fails."""
    page = document.document()

    assert [] == [name for name in NAMES if f"### To `{name}`" not in page]
    assert [] == [case for _, case in KNOWN if f"| {case} |" not in page]
