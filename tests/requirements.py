"""Which of the numbered requirements have tests, and how they came out: told at the end of a run.

A test says in its name which ones it checks: `test_s03_s04_a_connection_lost_…`. How many there are of each kind is
written here, so that one without a test is missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: What a letter stands for, and how many there are.
KINDS: Mapping[str, tuple[str, int]] = {
    "U": ("faults of upstreams", 28),
    "S": ("streams", 27),
    "O": ("overload", 10),
    "L": ("life of the process", 9),
    "C": ("configuration", 9),
}
_NUMBERS = re.compile(r"::test((?:_[a-z]\d\d)+)_")
_NUMBER = re.compile(r"[a-z]\d\d")


def numbers(node: str) -> list[str]:
    """The requirements that a test names: `["S03", "S04"]`. A part of the name after other words does not count."""
    found = _NUMBERS.search(node)
    return [number.upper() for number in _NUMBER.findall(found[1])] if found else []


def totals(passed: Iterable[str], failed: Iterable[str]) -> list[str]:
    """A line for each kind: how many hold (a test named it, and none that does has failed), and which do not.

    Nothing where no test of the run names any. Whoever runs a few tests is not told of all that they do not check.
    """
    broken = {number for node in failed for number in numbers(node)}
    holding = {number for node in passed for number in numbers(node)} - broken
    lines = []
    for letter, (what, count) in KINDS.items():
        every = [f"{letter}{number:02}" for number in range(1, count + 1)]
        others = [number for number in every if number not in holding]
        if not broken.intersection(every) and len(others) == count:
            continue
        told = f"; not: {', '.join(others)}" if 0 < len(others) <= count / 2 else ""
        lines.append(f"{letter}  {what:20} {count - len(others)} of {count} hold{told}")
    return lines
