"""What a JSON Schema allows, in one normal form, and where two of them differ. Standard library only, like the readers.

Two spellings of the same constraint become one: references are put in place, `const` is an `enum` of one, `oneOf` is
`anyOf`, `allOf` is merged, null in a type, a union or an enum is `nullable`, types are in lower case. What has no
meaning for the model (`$schema`, `$comment`, `$id`) is left out. Property order stays, for it drives the answer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .neutral import Json, frozen

_SILENT = {"$schema", "$comment", "$id", "$defs", "definitions", "propertyOrdering", "nullable", "$anchor"}
_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_TYPE = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
#: Google's types by their number in its protocol buffers.
_NUMBERED: dict[Any, str] = {
    1: "string",
    2: "number",
    3: "integer",
    4: "boolean",
    5: "array",
    6: "object",
    7: "null",
}
Normal = dict[str, Any]


def normal(schema: Json) -> Normal | None:
    """The normal form; None for a schema of no parameters at all."""
    if not isinstance(schema, dict) or not schema:
        return None
    out = _Normalising(schema).node(schema, ())
    empty = out.keys() <= {"type", "properties", "additionalProperties", "title", "description"}
    if empty and out.get("type", ["object"]) == ["object"] and not out.get("properties"):
        extra = out.get("additionalProperties", False)
        return None if extra is False and "description" not in out and "title" not in out else out
    return out


class _Normalising:
    def __init__(self, root: Json) -> None:
        self.root = root

    def node(self, schema: Json, seen: tuple[str, ...]) -> Normal:
        if schema is False:
            return {"not": {}}
        if not isinstance(schema, dict):
            return {}
        schema = {_camel(key): value for key, value in schema.items()}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return {"again": len(seen) - seen.index(reference)}
            target = self.node(self.resolve(reference), (*seen, reference))
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return {**target, **self.node(beside, seen)} if beside.keys() - _SILENT else target
        out: Normal = {}
        for member in schema.get("allOf") or ():
            self.merge(out, self.node(member, seen))
        self.merge(out, self.plain(schema, seen))
        return self.tidy(out)

    def resolve(self, reference: str) -> Json:
        value = self.root
        for step in reference.lstrip("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def plain(self, schema: Json, seen: tuple[str, ...]) -> Normal:
        out: Normal = {}
        for key, value in schema.items():
            if value is None and key not in ("default", "example"):
                continue
            if key in _SILENT or key == "allOf":
                continue
            if key == "type":
                self.types(out, value)
            elif key == "properties":
                first = [name for name in schema.get("propertyOrdering") or () if name in value]
                names = list(dict.fromkeys([*first, *value]))
                out[key] = [(name, self.node(value[name], seen)) for name in names]
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                out[key] = self.node(value, seen)
            elif key in ("items", "prefixItems") and isinstance(value, list):
                out["prefixItems"] = [self.node(item, seen) for item in value]
            elif key in ("anyOf", "oneOf"):
                self.union(out, [self.node(item, seen) for item in value])
            elif key in ("enum", "const"):
                self.enum(out, value if key == "enum" else [value])
            elif key == "required":
                out[key] = sorted(value)
            elif key in _COUNTS and isinstance(value, str):
                out[key] = int(value)
            elif key == "format" and value == "enum":
                continue
            elif key in ("example", "examples"):
                out["examples"] = [value] if key == "example" else value
            else:
                out[key] = value
        if schema.get("nullable") is True:
            out["nullable"] = True
        return out

    def types(self, out: Normal, value: Json) -> None:
        found = value if isinstance(value, list) else [value]
        kinds = {_NUMBERED.get(kind, str(kind)).lower() for kind in found if isinstance(kind, str | int)}
        kinds = {kind for kind in kinds if not kind.endswith("unspecified")}
        if "null" in kinds and len(kinds) > 1:
            kinds.remove("null")
            out["nullable"] = True
        if kinds:
            out["type"] = sorted(kinds)

    def union(self, out: Normal, members: list[Normal]) -> None:
        rest = [one for one in members if one != {"type": ["null"]}]
        if len(rest) < len(members):
            out["nullable"] = True
        if len(rest) == 1:
            self.merge(out, rest[0])
        elif rest and all(one.keys() == {"type"} for one in rest):
            out["type"] = sorted({kind for one in rest for kind in one["type"]})
        elif rest:
            out["anyOf"] = rest

    def enum(self, out: Normal, values: list[Json]) -> None:
        if None in values and len(values) > 1:
            out["nullable"] = True
            values = [value for value in values if value is not None]
        out["enum"] = values

    def merge(self, out: Normal, more: Normal) -> None:
        for key, value in more.items():
            if key == "properties" and key in out:
                names = dict(out[key])
                out[key] = [*out[key], *((name, item) for name, item in value if name not in names)]
            elif key == "required" and key in out:
                out[key] = sorted({*out[key], *value})
            else:
                out[key] = value

    def tidy(self, out: Normal) -> Normal:
        values = out.get("enum")
        if values and "type" not in out:
            kinds = {_TYPE.get(type(value), "null") for value in values}
            out["type"] = sorted(kinds)
        if out.get("type") == ["null"] and values == [None]:
            del out["enum"]
        if set(values or ()) == {True, False} and out.get("type") == ["boolean"]:
            del out["enum"]
        if "properties" in out and "type" not in out:
            out["type"] = ["object"]
        if ("items" in out or "prefixItems" in out) and "type" not in out:
            out["type"] = ["array"]
        if out.get("type") == ["integer"]:
            for key, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
                if isinstance(out.get(key), int):
                    out[bound] = out.pop(key) + step
        for key in ("additionalProperties", "items"):
            if key in out and out[key] in (True, {}):
                del out[key]
        if not out.get("required", True):
            del out["required"]
        if not out.get("properties", True):
            del out["properties"]
        return out


def _camel(key: str) -> str:
    head, *tail = key.split("_")
    return head + "".join(word.capitalize() for word in tail) if head and tail else key


def _repeats(node: Any) -> bool:
    """Does it come back to itself, here or further down?"""
    if isinstance(node, dict):
        return "again" in node or any(map(_repeats, node.values()))
    return any(map(_repeats, node)) if isinstance(node, list | tuple) else False


def differences(one: Normal | None, other: Normal | None, at: str = "") -> Iterator[tuple[str, str]]:
    """(path, keyword) of everything that the two do not say alike."""
    if one is None or other is None:
        if (one is None) != (other is None):
            yield at, "schema"
        return
    if "again" in one or "again" in other:
        if not (_repeats(one) and _repeats(other)):
            yield at, "$ref"
        return  # from here on both repeat themselves
    for key in {**one, **other}:
        a, b = one.get(key), other.get(key)
        if key == "properties":
            names, others = dict(a or ()), dict(b or ())
            if list(names) != list(others):
                yield at, key
            for name, inner in names.items():
                if name in others:
                    yield from differences(inner, others[name], f"{at}.properties.{name}")
        elif key in ("items", "additionalProperties") and isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{at}.{key}")
        elif key in ("anyOf", "prefixItems") and isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for i, (left, right) in enumerate(zip(a, b)):
                yield from differences(left, right, f"{at}.{key}[{i}]")
        elif frozen(a) != frozen(b):
            yield at, key
