"""Counts what became of every recorded case, checks it against the table of known failures, and prints the totals.

The totals stand in `totals.json`, from which docs/fidelity.md is made; a row that counts otherwise fails its test.
`FIDELITY_TOTALS=write pytest tests/fidelity` writes them anew.

relayed      JSON-equal, or byte-equal, through its own dialect
faithful     translated: fits the other dialect's schema and means the same
refused      with a 4xx that names the field
errors       an upstream's error told as an error of the caller's dialect
failing      not faithful: listed in `known`
outside      no call of this dialect, or no request or answer was recorded
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .known import KNOWN

TOTALS = Path(__file__).parent / "totals.json"

OUTCOMES = ("relayed", "faithful", "refused", "errors", "failing", "outside")


@dataclass
class Account:
    """One row of the report: what was tested, with which file, towards which dialect (its own where there is none)."""

    what: str
    file: str
    target: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    lossy: int = 0  # of the faithful ones, those that named a loss

    @property
    def title(self) -> str:
        return f"{self.what} {self.file}" + (f" -> {self.target}" if self.target else "")

    def note(self, outcome: str, case: str = "", why: str = "") -> None:
        assert outcome in OUTCOMES
        self.counts[outcome] += 1
        if outcome == "failing":
            self.failed[case] = why
        if outcome == "refused":
            self.refusals[why] += 1

    def judge(self, case: str, problems: list[str], outcome: str = "faithful", *, lossy: bool = False) -> None:
        """One case: well if there are no problems."""
        if problems:
            self.note("failing", case, "; ".join(problems)[:600])
        else:
            self.note(outcome)
            self.lossy += lossy

    @property
    def known(self) -> dict[str, str]:
        """The failures of this row that are expected, and why."""
        return {case: why for (title, case), why in KNOWN.items() if title == self.title}

    @property
    def surprises(self) -> list[str]:
        """Failures that nobody knows of, and known ones that are none any more."""
        new = [f"{case}: {why}" for case, why in self.failed.items() if case not in self.known]
        well = [f"{case}: is well again, take it out of known.py" for case in self.known.keys() - self.failed]
        counted = totals().get(self.title)
        other = counted != self.row and os.environ.get("FIDELITY_TOTALS") != "write"
        return new + well + ([f"counts {self.row}, totals.json has {counted}"] if other else [])

    @property
    def row(self) -> dict[str, Any]:
        """What stands in `totals.json`."""
        counts = {name: self.counts[name] for name in OUTCOMES if self.counts[name]}
        return {"what": self.what, "file": self.file, "target": self.target, **counts, "lossy": self.lossy}


ACCOUNTS: list[Account] = []


@cache
def totals() -> dict[str, dict[str, Any]]:
    return json.loads(TOTALS.read_text(encoding="utf-8")) if TOTALS.exists() else {}


def write_totals() -> None:
    """Puts the rows of this session into `totals.json`; the others stay."""
    rows = {**totals(), **{one.title: one.row for one in ACCOUNTS}}
    lines = [f"{json.dumps(title)}: {json.dumps(rows[title])}" for title in sorted(rows)]
    TOTALS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def account(what: str, file: str, target: str = "") -> Account:
    made = Account(what, file, target)
    ACCOUNTS.append(made)
    return made


def report() -> list[str]:
    """The table, a line each."""
    if not ACCOUNTS:
        return []
    lines = [f"{'':62}" + "".join(f"{name:>9}" for name in ("cases", *OUTCOMES))]
    for one in ACCOUNTS:
        row = [sum(one.counts.values()), *(one.counts[name] for name in OUTCOMES)]
        lines.append(f"{one.title:62}" + "".join(f"{count or '·':>9}" for count in row))
    for one in ACCOUNTS:
        lines += [f"  failing: {one.title} {case}: {one.known.get(case, why)}" for case, why in one.failed.items()]
    refusals: Counter[str] = Counter()
    for one in ACCOUNTS:
        refusals.update(one.refusals)
    lines += [f"  refused {count:4}: {why}" for why, count in refusals.most_common()]
    total: Counter[str] = Counter()
    for one in ACCOUNTS:
        total.update(one.counts)
    return [*lines, "  in all: " + ", ".join(f"{total[name]} {name}" for name in OUTCOMES)]
