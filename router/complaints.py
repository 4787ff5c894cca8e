"""What is wrong with a file, collected with its place while the file is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeAlias

from router.strict_yaml import Node, Problem

Row: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]  # steps into the file: ("routes", 2, "to")


class Partial(Row):
    """The good keys of a row that has a problem: looked at for further ones, and then left out."""


class Complaints:
    """Problems and warnings of one file. A place that is not in the file stands for what encloses it."""

    def __init__(self, node: Node) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._node = node

    def problem(self, place: Place, message: str, *, key: bool = False) -> None:
        """`key`: it is about the key that stands there, not about its value."""
        self.problems.append(Problem(*self._node.place(*place, key=key), message))

    def warn(self, place: Place, message: str, *, key: bool = False) -> None:
        self.warnings.append(Problem(*self._node.place(*place, key=key), message))

    def line(self, place: Place) -> int:
        return self._node.place(*place)[0]

    def line_of_key(self, place: Place) -> int:
        return self._node.place(*place, key=True)[0]

    def has(self, section: str) -> bool:
        """Does the file have the section, with anything in it?"""
        return section in self._node.keys and self._node.at(section).value is not None

    def names(self, section: str) -> set[str]:
        """The names that a section of the file has, those of bad rows included."""
        value = self._node.at(section).value if self.has(section) else None
        return set(value) if isinstance(value, dict) else set()


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean x?`, when there is one that is near; else nothing."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f", did you mean {names[found[0]]}?" if found else ""
