"""How much work a caller's schema may make, before anybody does it.

A few lines of schema can cost more than any computer has: subschemas that are named twice by each of thirty others are
looked at 2^30 times, and a recursive schema that names itself twice doubles with every level of the value. Here the
ways through a schema are counted without going them; the estimate is never too low, and too high for schemas that a
checker could leave early.

A *step* is a subschema looked at for one place of a value. Subschemas for the same place (`allOf`, `$ref`, …) are told
from those for places inside it, and these from each other where they cannot be for the same one (two properties).
Facts: JSON Schema 2020-12 core (sections 7 to 11) and its older drafts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

Json: TypeAlias = Any
Schema: TypeAlias = dict[str, Json]

MOST_SUBSCHEMAS = 10_000
MOST_RECURSIVE = 20
MOST_UNROLLED = 10_000  # steps of a recursive schema before it begins again
ENDLESS = 1 << 60

_SAME_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies", "extends")
_OF_OBJECTS = ("patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames")
_OF_ARRAYS = ("items", "prefixItems", "contains", "additionalItems", "unevaluatedItems")
_MAPS = frozenset({"dependentSchemas", "dependencies", "patternProperties", "properties"})
#: What is decided while checking, or elsewhere: who is meant by it cannot be told here.
_UNTOLD = ("$dynamicRef", "$recursiveRef")

_ANY = "*"  # any property
_ARRAY = "[]"  # any entry


class _Way(NamedTuple):
    """From a subschema to another one. `place`: None for the same place, else which places inside it."""

    place: str | None
    to: Schema


class _Unweighable(Exception):
    """Nobody can tell what it costs."""


def steps(schema: Mapping[str, Json], value: Json) -> int:
    """At most how many steps it takes to check the value; ENDLESS where nobody can tell."""
    try:
        graph = _Graph(dict(schema))
        depth, places = _measures(value)
        once = max(graph.unrolled(start) for start in (graph.root, *graph.recursive))
        if not graph.recursive:
            return min(ENDLESS, once * places)
        if once > MOST_UNROLLED:
            return ENDLESS
        growth = max(graph.growth(start) for start in graph.recursive)
        found: int = once * len(graph.recursive) * growth**depth * places
        return min(ENDLESS, found)
    except (_Unweighable, RecursionError):
        return ENDLESS


class _Graph:
    """The subschemas that can be reached, the ways between them, and those that lead back to themselves."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.recursive: list[Schema] = []
        self._names = dict(_named(root))
        self._ways: dict[int, list[_Way]] = {}
        self._counts: dict[int, int] = {}
        self._turns: set[int] = set()  # of `recursive`
        self._walk(root, set(), set())

    def _walk(self, at: Schema, open_: set[int], done: set[int]) -> None:
        """Finds where ways lead back. Every circle has a subschema in `recursive`."""
        key = id(at)
        if key in open_:
            if key not in self._turns:
                self._turns.add(key)
                self.recursive.append(at)
            return
        if key in done:
            return
        done.add(key)
        if len(done) > MOST_SUBSCHEMAS or len(self.recursive) > MOST_RECURSIVE:
            raise _Unweighable
        open_.add(key)
        for way in self._ways_of(at):
            self._walk(way.to, open_, done)
        open_.discard(key)

    def _ways_of(self, at: Schema) -> list[_Way]:
        found = self._ways.get(id(at))
        if found is None:
            found = self._ways[id(at)] = list(self._read(at))
        return found

    def _read(self, at: Schema) -> Iterator[_Way]:
        if any(key in at for key in _UNTOLD) or ("$id" in at and at is not self.root):
            raise _Unweighable
        # What is not evaluated is found by evaluating what is, once more.
        again = 2 if "unevaluatedProperties" in at or "unevaluatedItems" in at else 1
        if type(reference := at.get("$ref")) is str:
            for _ in range(again):
                yield _Way(None, self._meant(reference))
        for key in _SAME_PLACE:
            for inner in _inner(key, at.get(key)):
                for _ in range(again):
                    yield _Way(None, inner)
        for key in _OF_OBJECTS:
            yield from (_Way(_ANY, inner) for inner in _inner(key, at.get(key)))
        for key in _OF_ARRAYS:
            yield from (_Way(_ARRAY, inner) for inner in _inner(key, at.get(key)))
        properties = at.get("properties")
        if type(properties) is dict:
            yield from (_Way(f".{name}", inner) for name, inner in properties.items() if type(inner) is dict)

    def _meant(self, reference: str) -> Schema:
        """The subschema that a reference within the schema names."""
        mark, _, fragment = reference.partition("#")
        if mark or not reference.startswith("#"):
            raise _Unweighable
        if fragment and not fragment.startswith("/"):
            found: Json = self._names.get(unquote(fragment))
        else:
            found = _pointed(self.root, unquote(fragment))
        if type(found) is bool:
            return {}
        if type(found) is not dict:
            raise _Unweighable
        return found

    # ── counting ───────────────────────────────────────────────────────────────────
    def unrolled(self, start: Schema) -> int:
        """Steps from here, each time up to where it begins again."""
        own = 1 + _listed(start)
        return own + sum(1 if id(way.to) in self._turns else self._count(way.to) for way in self._ways_of(start))

    def _count(self, at: Schema) -> int:
        key = id(at)
        if key not in self._counts:
            self._counts[key] = min(ENDLESS, self.unrolled(at))
        return self._counts[key]

    def growth(self, start: Schema) -> int:
        """How many ways lead from here to where it begins again, for one place inside."""
        same: dict[str, int] = {}
        self._spread(start, 1, same, {})
        anywhere = same.pop("", 0)
        entries, members = same.pop(_ARRAY, 0), same.pop(_ANY, 0)
        return max(1, anywhere + max(entries, members + max(same.values(), default=0)))

    def _spread(self, at: Schema, ways: int, found: dict[str, int], backs: dict[int, int]) -> None:
        """Adds, for each place inside, the ways back that begin there. `ways`: how many lead to `at`."""
        if ways > ENDLESS:
            raise _Unweighable
        for way, times in self._counted(at):
            back = 1 if id(way.to) in self._turns else self._back(way.to, backs)
            if back and way.place is not None:
                found[way.place] = found.get(way.place, 0) + ways * times * back
            elif id(way.to) in self._turns:
                found[""] = found.get("", 0) + ways * times
            elif back:
                self._spread(way.to, ways * times, found, backs)

    def _counted(self, at: Schema) -> list[tuple[_Way, int]]:
        """The ways from here; those that are the same, once."""
        times: dict[tuple[str | None, int], tuple[_Way, int]] = {}
        for way in self._ways_of(at):
            key = (way.place, id(way.to))
            times[key] = (way, times[key][1] + 1 if key in times else 1)
        return list(times.values())

    def _back(self, at: Schema, backs: dict[int, int]) -> int:
        """How many ways lead from here to a subschema where it begins again."""
        key = id(at)
        if key not in backs:
            ways = (1 if id(way.to) in self._turns else self._back(way.to, backs) for way in self._ways_of(at))
            backs[key] = min(ENDLESS, sum(ways))
        return backs[key]


def _inner(key: str, value: Json) -> list[Schema]:
    """The subschemas that a keyword holds: one, a list, or a map of them."""
    if key in _MAPS and type(value) is dict:
        return [inner for inner in value.values() if type(inner) is dict]
    if type(value) is list:
        return [inner for inner in value if type(inner) is dict]
    return [value] if type(value) is dict else []


def _listed(schema: Schema) -> int:
    """Values that are compared one by one."""
    listed = schema.get("enum")
    return len(listed) if type(listed) is list else 0


def _named(value: Json) -> Iterator[tuple[str, Json]]:
    """Subschemas by their anchors, wherever they stand."""
    waiting = [value]
    while waiting:
        at = waiting.pop()
        if type(at) is dict:
            for key in ("$anchor", "$dynamicAnchor", "$id", "id"):
                if type(name := at.get(key)) is str:
                    yield name.removeprefix("#"), at
            waiting += at.values()
        elif type(at) is list:
            waiting += at


def _pointed(value: Json, pointer: str) -> Json:
    """What a JSON pointer (RFC 6901) leads to; None for nothing."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if type(value) is dict:
            value = value.get(key)
        elif type(value) is list and key.isascii() and key.isdigit() and len(key) < 7 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _measures(value: Json) -> tuple[int, int]:
    """How deep a value is, and how many places it has."""
    depth, places = 0, 0
    level = [value]
    while level:
        depth += 1
        places += len(level)
        inside = [each for one in level if type(one) is dict for each in one.values()]
        inside += [each for one in level if type(one) is list for each in one]
        level = inside
    return depth, places
