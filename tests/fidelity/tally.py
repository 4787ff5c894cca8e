"""Counts what became of every recorded case, checks it against the table of known failures, and prints the totals.

relayed      JSON-equal, or byte-equal, through its own dialect
faithful     translated: fits the other dialect's schema and means the same
refused      with a 4xx that names the field
errors       an upstream's error told as an error of the caller's dialect
failing      not faithful: listed in `known`
outside      no call of this dialect, or no request or answer was recorded
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .known import KNOWN

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
        return new + [f"{case}: is well again, take it out of known.py" for case in self.known.keys() - self.failed]


ACCOUNTS: list[Account] = []


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
