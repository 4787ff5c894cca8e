"""Reads YAML into plain values that know where they stand, and refuses whatever can surprise.

A route table is read by people and by machines that reload it in the middle of traffic, so it is read strictly:

- scalars by the core schema of YAML 1.2.2 (section 10.3.2): `no`, `on` and `22:30` are text, `0o17` is a number;
- the same key twice, tags (`!!python/…`), merge keys, a second document: problems, not features;
- aliases may be used, but what they stand for is counted, so that a few lines cannot become a billion values;
- nesting, size and digits are bounded before anything is built.

Only the parser's events are used: no constructor of the YAML library ever runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import msgspec
import yaml

MOST_BYTES = 4 << 20
MOST_VALUES = 200_000  # written out in the file
MOST_ALIASED = 20_000  # added by aliases
MOST_DEPTH = 32
MOST_DIGITS = 30
MOST_PROBLEMS = 100

Scalar: TypeAlias = bool | int | float | str | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"
Exact: TypeAlias = "Decimal | Scalar | list[Exact] | dict[str, Exact]"

# The C parser and the one in Python give the same events; not every build of the library has the first.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ODD = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something that is wrong with a file, and where: lines and columns count from 1."""

    line: int
    column: int
    message: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class Node(msgspec.Struct, frozen=True, eq=False):
    """A value and its place. `size` and `depth` count what is in it, values behind aliases included.

    `text`: of a number that a float may not be able to hold, as it was written.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int
    column: int
    size: int = 1
    depth: int = 0
    keys: dict[str, tuple[int, int]] = {}  # of a mapping: where each key stands
    text: str | None = None

    def plain(self) -> Plain:
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def exact_at(self, name: str) -> Exact:
        """The same with every number below a key of this name, wherever it stands, as the decimal that was written."""
        if isinstance(self.value, dict):
            inner = self.value.items()
            return {key: node.exact() if key == name else node.exact_at(name) for key, node in inner}
        if isinstance(self.value, list):
            return [node.exact_at(name) for node in self.value]
        return self.value

    def exact(self) -> Exact:
        """The same with every number as the decimal that was written."""
        if isinstance(self.value, dict):
            return {key: node.exact() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.exact() for node in self.value]
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            return self.value
        try:
            return Decimal(self.value if self.text is None else self.text)
        except InvalidOperation:  # an exponent beyond all sense: as a float it is infinite
            return Decimal(self.value)

    def at(self, *path: str | int) -> Node:
        """The value at a path, or the last one on the way that exists. Steps that lead nowhere are skipped."""
        node = self
        for step in path:
            inner = node.value
            if isinstance(inner, dict) and isinstance(step, str):
                node = inner.get(step, node)
            elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                node = inner[step]
        return node

    def place(self, *path: str | int, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at a path; with `key`, of the key that names it."""
        parent = self.at(*path[:-1])
        if key and path and path[-1] in parent.keys:
            return parent.keys[str(path[-1])]
        node = self.at(*path)
        return node.line, node.column


class _Refused(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, column, message)


def read(data: bytes) -> tuple[Node | None, tuple[Problem, ...]]:
    """The one mapping that a file holds, and what is wrong with it. None when there is nothing to go on with."""
    try:
        text = _text(data)
        reader = _Reader(text)
        return reader.document(), tuple(reader.problems)
    except _Refused as refused:
        return None, (refused.problem,)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = error.problem or error.context or "this cannot be read"
        context = f" {error.context}" if error.context and error.context != what else ""
        return None, (Problem(line, column, f"not YAML: {what}{context}"),)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None, (Problem(1, 1, "not YAML: this cannot be read"),)


def _text(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _Refused(1, 1, f"the file has {len(data)} bytes, at most {MOST_BYTES} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8", "replace")
        line, column = _place(good, len(good))
        raise _Refused(line, column, "not text: expected UTF-8") from None
    if odd := _ODD.search(text):
        line, column = _place(text, odd.start())
        raise _Refused(line, column, f"the character U+{ord(odd.group()):04X} is not allowed in YAML")
    return text


def _place(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _start(event: yaml.Event) -> tuple[int, int]:
    """Line and column of an event; every one of these parsers marks them."""
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Reader:
    """One pass over the events. What can be read past is collected, the rest raises _Refused."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_PARSER)
        self._anchors: dict[str, Node | None] = {}  # None: still being read
        self._values = 0
        self._aliased = 0

    def document(self) -> Node:
        next(self._events)  # the stream starts
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise _Refused(1, 1, "the file is empty, expected a mapping")
        node = self._node(next(self._events), 0)
        next(self._events)  # the document ends
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refusal(event, "a second document, expected one")
        if not isinstance(node.value, dict):
            raise _Refused(node.line, node.column, f"expected a mapping, found {describe(node.value)}")
        return node

    def _refusal(self, event: yaml.Event, message: str) -> _Refused:
        return _Refused(*_start(event), message)

    def _complain(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(line, column, message))
        if len(self.problems) > MOST_PROBLEMS:
            raise _Refused(line, column, "too many problems, reading stops here")

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._refusal(event, f"more than {MOST_VALUES} values in one file")
        if depth > MOST_DEPTH:
            raise self._refusal(event, f"nested more than {MOST_DEPTH} levels deep")
        assert isinstance(event, yaml.NodeEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(*_start(event), f"tags are not allowed: {tag}")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._value(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _value(self, event: yaml.NodeEvent, depth: int) -> Node:
        line, column = _start(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]  # neither quoted nor tagged
            value = self._scalar(event.value, line, column) if plain else event.value
            return Node(value, line, column, text=event.value if isinstance(value, float) else None)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(line, column, depth)
        return self._mapping(line, column, depth)

    def _sequence(self, line: int, column: int, depth: int) -> Node:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _holding(items, items, line, column, {})

    def _mapping(self, line: int, column: int, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._node(next(self._events), depth + 1)
            if key is None:
                continue
            place = _start(event)
            if key in values:
                self._complain(*place, f"the key '{key}' is here twice, first on line {keys[key][0]}")
                continue
            values[key] = value
            keys[key] = place
        return _holding(values, list(values.values()), line, column, keys)

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        """A key, which is text. None, with a problem, for anything else."""
        node = self._node(event, depth + 1)
        line, column = _start(event)
        if node.value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            self._complain(line, column, "merge keys (<<) are not allowed: write the keys out")
            return None
        if isinstance(node.value, str):
            return node.value
        if isinstance(event, yaml.ScalarEvent) and event.value:
            return str(event.value)  # `1: …`, `true: …` as a name: the text that is there
        self._complain(line, column, f"expected text as a key, found {describe(node.value)}")
        return None

    def _alias(self, event: yaml.AliasEvent, depth: int) -> Node:
        if event.anchor not in self._anchors:
            raise self._refusal(event, f"the alias *{event.anchor} stands for nothing above it")
        node = self._anchors[event.anchor]
        if node is None:
            raise self._refusal(event, f"the alias *{event.anchor} stands for a value that it is part of")
        self._aliased += node.size
        if self._aliased > MOST_ALIASED:
            raise self._refusal(event, f"aliases add more than {MOST_ALIASED} values")
        if depth + node.depth > MOST_DEPTH:
            raise self._refusal(event, f"nested more than {MOST_DEPTH} levels deep")
        return node

    def _scalar(self, text: str, line: int, column: int) -> Scalar:
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if len(text) > 1 and text[0] == "0" and (_OCTAL.fullmatch(text) or _HEX.fullmatch(text)):
            return self._integer(text, 0, line, column)
        if _INT.fullmatch(text):
            return self._integer(text, 10, line, column)
        if _FLOAT.fullmatch(text):
            return float(text)
        return text

    def _integer(self, text: str, base: int, line: int, column: int) -> int:
        if len(text) > MOST_DIGITS:
            self._complain(line, column, f"a number of more than {MOST_DIGITS} digits")
            return 0
        return int(text, base)


def _holding(
    value: list[Node] | dict[str, Node],
    inner: list[Node],
    line: int,
    column: int,
    keys: dict[str, tuple[int, int]],
) -> Node:
    size = 1 + sum(node.size for node in inner)
    return Node(value, line, column, size, 1 + max((node.depth for node in inner), default=0), keys)


def describe(value: object) -> str:
    """What a value is, in the words of somebody who wrote YAML: `'abc'`, `12`, `a list`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f"'{text}'" if isinstance(value, str) else text
