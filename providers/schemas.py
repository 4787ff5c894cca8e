"""JSON Schema as each target takes it: what it lacks is rewritten, and every rewriting that changes meaning is named.

Three targets: Gemini's `JSON_SUBSET` (parametersJsonSchema, responseJsonSchema) and `OPENAPI` (parameters,
responseSchema: an OpenAPI 3.0 subset with upper-case types), and `STRUCTURED`, what Anthropic's models keep to.
`compile_schema` never changes its input, keeps the order of keys (it drives the order of the answer), and is bounded: a
hostile schema costs no more than `MAX_NODES` steps, grows by no more than `MAX_INLINED` bytes where references are
inlined, and has no more than `MAX_TOLD` changes named, each by `MAX_PATH` characters.

Rewritten without loss: `const` -> `enum`, `allOf` merged, `oneOf` -> `anyOf`, nullable unions, tuples -> `prefixItems`,
bounds of integers, schemas that allow everything. A constraint that the target cannot say moves into the description,
so that the model still reads it, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from providers.wire.json import encode

Json: TypeAlias = Any
Schema: TypeAlias = dict[str, Json]

MAX_NODES = 4000
MAX_DEPTH = 100
MAX_INLINED = 1 << 20
MAX_TOLD = 1000
MAX_PATH = 400
_MAX_NOTE = 300  # characters of one constraint in a description


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What one place for schemas accepts."""

    name: str
    keys: frozenset[str]
    refs: bool  # $ref and $defs are kept; else they are inlined
    type_lists: bool  # type may be a list; else unions become anyOf and null becomes nullable
    upper: bool  # STRING for string
    number_enums: bool  # enum may hold numbers
    string_formats: frozenset[str]
    needs_items: bool = False  # an array must say its items


_COMMON = {"type", "format", "title", "description", "enum", "items", "minItems", "maxItems"}
_COMMON |= {"properties", "required", "anyOf", "minimum", "maximum", "propertyOrdering"}

JSON_SUBSET = Target(
    name="JSON Schema subset",
    keys=frozenset(_COMMON | {"$id", "$defs", "$ref", "$anchor", "prefixItems", "additionalProperties"}),
    refs=True,
    type_lists=True,
    upper=False,
    number_enums=True,
    string_formats=frozenset(),
)
OPENAPI = Target(
    name="OpenAPI subset",
    keys=frozenset(
        _COMMON
        | {"nullable", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "default"}
    ),
    refs=False,
    type_lists=False,
    upper=True,
    number_enums=False,
    string_formats=frozenset({"enum", "date-time"}),
    needs_items=True,
)

#: package anthropic 2.10.0, lib/_parse/_transform.py: what is not here its SDK moves into descriptions.
STRUCTURED = Target(
    name="structured output",
    keys=frozenset(
        {"type", "format", "title", "description", "default", "enum", "items", "minItems", "properties", "required"}
        | {"anyOf", "$defs", "$ref", "additionalProperties"}
    ),
    refs=True,
    type_lists=True,
    upper=False,
    number_enums=True,
    string_formats=frozenset(
        {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
    ),
)


class Relaxation(msgspec.Struct, frozen=True):
    """One thing that the compiled schema no longer says. `path` is where it stood, from the schema's root."""

    path: str
    reason: str


def compile_schema(schema: Mapping[str, Json], target: Target) -> tuple[Schema, list[Relaxation]]:
    """`schema` (JSON Schema, any draft) for `target`, and what was relaxed on the way."""
    work = _Compiler(schema, target)
    compiled = work.compile(schema, "", ())
    if target.refs and work.defs:
        compiled["$defs"] = work.defs
    return compiled, work.relaxations


def is_empty(schema: Mapping[str, Json] | None) -> bool:
    """Does the schema describe an object without properties (a tool without parameters)?"""
    if not schema:
        return True
    meaningless = {"type", "properties", "required", "additionalProperties", "$schema", "title", "description"}
    return (
        schema.get("type", "object") == "object"
        and not schema.get("properties")
        and not schema.get("required")
        and schema.get("additionalProperties") in (None, False)
        and not (schema.keys() - meaningless)
    )


class _Compiler:
    def __init__(self, root: Mapping[str, Json], target: Target) -> None:
        self.root = root
        self.target = target
        self.relaxations: list[Relaxation] = []
        self.defs: Schema = {}
        self._named: dict[str, str] = {}  # reference -> name in defs
        self._sizes: dict[str, int] = {}  # of what references point at, as JSON text
        self._inlined = 0
        self._told = 0
        self._nodes = 0
        self._depth = 0
        self._too_large = False

    def relax(self, path: str, reason: str) -> None:
        self._told += 1
        if self._told <= MAX_TOLD:
            self.relaxations.append(Relaxation(path, reason))
        elif self._told == MAX_TOLD + 1:
            self.relaxations.append(Relaxation("...", "so much is changed that the rest is not named"))

    # ── one schema ─────────────────────────────────────────────────────────────────

    def compile(self, schema: Json, path: str, seen: tuple[str, ...]) -> Schema:
        """`seen`: the references that led here, so that a cycle is noticed."""
        self._nodes += 1
        if self._nodes > MAX_NODES or self._depth > MAX_DEPTH:
            self._cut(path)
            return self._typed(self._type_of(schema))
        self._depth += 1
        compiled = self._compile(schema, path, seen)
        self._depth -= 1
        return compiled

    def _cut(self, path: str) -> None:
        """Says once that a schema was too much, however much else is said."""
        if not self._too_large:
            self._too_large = True
            self.relaxations.append(Relaxation(path, "the schema is too large: what is below is left open"))

    def _compile(self, schema: Json, path: str, seen: tuple[str, ...]) -> Schema:
        if not isinstance(schema, Mapping):
            if schema is not True:
                self.relax(path, "a schema that allows nothing")
            return {}
        if "$ref" in schema:
            return self._compile_ref(schema, path, seen)
        if "allOf" in schema:
            schema = self._merge_all(schema, path, seen)
            if "$ref" in schema:
                return self._compile_ref(schema, path, seen)
        return self._compile_plain(schema, path, seen)

    def _compile_plain(self, schema: Mapping[str, Json], path: str, seen: tuple[str, ...]) -> Schema:
        result: Schema = {}
        notes: list[str] = []
        for key, value in schema.items():
            where = _below(path, key)
            rule = _RULES.get(key)
            if rule is not None:
                rule(self, result, notes, value, where, schema, seen)
            elif key in self.target.keys:
                result[key] = value
            elif key not in _SILENT:
                self._note(notes, key, value, where)
        self._finish(result, schema, path)
        if notes:
            text = "; ".join(notes)
            before = result.get("description")
            result["description"] = f"{before} ({text})" if before else text
        return result

    def _finish(self, result: Schema, schema: Mapping[str, Json], path: str) -> None:
        if "type" not in result and "anyOf" not in result and "$ref" not in result:
            implied = "object" if "properties" in result else "array" if "items" in result else None
            if implied:
                result.update(self._typed(implied))
        if schema.get("nullable") is True and not self.target.upper:
            _allow_null(result)
        if self.target.needs_items and result.get("type") == "ARRAY" and "items" not in result:
            result["items"] = {"type": "STRING"}
            self.relax(_below(path, "items"), "the target wants the items of an array described")

    def _typed(self, kind: str | None) -> Schema:
        return {} if kind is None else {"type": kind.upper() if self.target.upper else kind}

    @staticmethod
    def _type_of(schema: Json) -> str | None:
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        return kind if isinstance(kind, str) else None

    def _note(self, notes: list[str], key: str, value: Json, where: str) -> None:
        text = encode(value).decode() if not isinstance(value, str) else value
        notes.append(f"{key}: {text[:_MAX_NOTE]}")
        self.relax(where, f"the target has no {key}: it is in the description")

    # ── references ─────────────────────────────────────────────────────────────────

    def _compile_ref(self, schema: Mapping[str, Json], path: str, seen: tuple[str, ...]) -> Schema:
        reference = schema["$ref"]
        beside = {key: value for key, value in schema.items() if not key.startswith("$") and key not in _DEFINITIONS}
        found = self._resolve(reference)
        if found is None:
            self.relax(_below(path, "$ref"), "a reference that cannot be followed: left open")
            return self._compile_plain(beside, path, seen)
        if self.target.refs and not beside and path:
            return {"$ref": f"#/$defs/{self._define(reference, found)}"}
        if reference in seen:
            self.relax(path or "$ref", "a schema that contains itself is cut here")
            if self.target.refs:
                return {"$ref": f"#/$defs/{self._define(reference, found)}"}
            return self._typed(self._type_of(found) or "object")
        if not self._has_room(reference, found):
            self._cut(path)
            return self._typed(self._type_of(found))
        merged = {**found, **beside} if isinstance(found, Mapping) else beside
        return self.compile(merged, path, (*seen, reference))

    def _has_room(self, reference: str, found: Json) -> bool:
        """May what a reference points at be written once more? Few bytes can say it very often."""
        if self._inlined > MAX_INLINED:
            return False
        if reference not in self._sizes:
            self._sizes[reference] = len(encode(found))
        self._inlined += self._sizes[reference]
        return self._inlined <= MAX_INLINED

    def _resolve(self, reference: Json) -> Json:
        """What a local reference points at; None when there is nothing."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        value: Json = self.root
        for step in reference[1:].strip("/").split("/") if len(reference) > 1 else ():
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    def _define(self, reference: str, found: Json) -> str:
        """The name under which a referenced schema stands in $defs; compiled at its first use."""
        if reference in self._named:
            return self._named[reference]
        name = reference.rpartition("/")[2] or "root"
        if name == "#":
            name = "root"
        while name in self.defs:
            name += "_"
        self._named[reference] = name
        self.defs[name] = {}
        if not self._has_room(reference, found):
            self._cut(reference)
            return name
        path = _below("", reference.lstrip("#/").replace("/", ".") or "$ref")
        # Compiled as a root of its own: references in it stay references, so a cycle ends at this name.
        self.defs[name] = self.compile(found, path, (reference,))
        return name

    # ── allOf ──────────────────────────────────────────────────────────────────────

    def _merge_all(self, schema: Mapping[str, Json], path: str, seen: tuple[str, ...]) -> Mapping[str, Json]:
        merged: Schema = {key: value for key, value in schema.items() if key != "allOf"}
        members = schema["allOf"] if isinstance(schema["allOf"], list) else []
        if len(members) == 1 and isinstance(members[0], Mapping) and "$ref" in members[0] and not seen:
            # The usual way to say something beside a reference.
            return {**members[0], **merged}
        for i, member in enumerate(members):
            member, trail = self._opened(member, seen)
            if member is None:
                self.relax(_below(path, f"allOf[{i}]"), "a part of allOf that cannot be merged")
                continue
            seen = trail
            self._merge(merged, member, _below(path, f"allOf[{i}]"))
        return merged

    def _opened(self, member: Json, seen: tuple[str, ...]) -> tuple[Mapping[str, Json] | None, tuple[str, ...]]:
        """A member of allOf without references and without an allOf of its own."""
        self._nodes += 1
        for _ in range(16):
            if not isinstance(member, Mapping):
                return None, seen
            if "$ref" not in member:
                break
            reference = member["$ref"]
            if reference in seen:
                return None, seen
            beside = {key: value for key, value in member.items() if key != "$ref"}
            found = self._resolve(reference)
            if not isinstance(found, Mapping) or not self._has_room(str(reference), found):
                return None, seen
            seen = (*seen, str(reference))
            member = {**found, **beside}
        if "allOf" in member:
            if self._nodes > MAX_NODES or len(seen) > MAX_DEPTH:
                return None, seen
            return self._merge_all(member, "", seen), seen
        return member, seen

    def _merge(self, into: Schema, member: Mapping[str, Json], path: str) -> None:
        for key, value in member.items():
            have = into.get(key)
            if have is None:
                into[key] = value
            elif not _can_be_both(key, have, value):
                self.relax(_below(path, key), "allOf says it twice: the first is kept")
            elif key == "properties":
                into[key] = {**have, **{k: {"allOf": [have[k], v]} if k in have else v for k, v in value.items()}}
            elif key == "required":
                into[key] = [*have, *(one for one in value if one not in have)]
            elif key == "enum":
                into[key] = _in_both(have, value)
            elif key in _TIGHTEN:
                into[key] = _TIGHTEN[key](have, value)
            elif key == "type":
                into[key] = _common_type(have, value)

    # ── unions ─────────────────────────────────────────────────────────────────────

    def union(self, result: Schema, members: Json, where: str, seen: tuple[str, ...]) -> None:
        if not isinstance(members, list) or not members:
            return
        nullable = False
        kept: list[Schema] = []
        for i, member in enumerate(members):
            if not self.target.type_lists and isinstance(member, Mapping) and member.get("type") == "null":
                nullable = True
                continue
            kept.append(self.compile(member, _at(where, i), seen))
        if nullable:
            result["nullable"] = True
        if len(kept) == 1 and nullable:
            for key, value in kept[0].items():
                result.setdefault(key, value)
        elif kept:
            result["anyOf"] = kept if "anyOf" not in result else [*result["anyOf"], *kept]


def _below(path: str, step: str) -> str:
    """`step` below a path, cut where that is longer than anybody reads: names in a schema may be of any length."""
    return _short(f"{path}.{step}" if path else step)


def _at(path: str, index: int) -> str:
    return _short(f"{path}[{index}]")


def _short(path: str) -> str:
    return path if len(path) <= MAX_PATH else f"{path[: MAX_PATH - 3]}..."


def _can_be_both(key: str, have: Json, value: Json) -> bool:
    """Is there one value of a keyword that says both, or no need of one? What a caller wrote may be no schema."""
    if key in ("required", "enum"):
        return all(isinstance(one, list) for one in (have, value))
    if key in _TIGHTEN:
        return all(type(one) in (int, float) for one in (have, value))
    if key == "properties":
        return all(isinstance(one, Mapping) for one in (have, value))
    return key == "type" or have == value or key in _ANNOTATIONS


def _in_both(one: list[Json], other: list[Json]) -> list[Json]:
    """The values of the first list that are in the second, too."""
    known = set(map(_by_value, other))
    return [item for item in one if _by_value(item) in known]


def _by_value(item: Json) -> Any:
    return encode(item) if isinstance(item, Mapping | list) else (isinstance(item, bool), item)


# ── keywords ───────────────────────────────────────────────────────────────────────────
# Each takes (compiler, result, notes, value, where, schema, seen).


def _type(work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: Any) -> None:
    kinds = [kind for kind in (value if isinstance(value, list) else [value]) if isinstance(kind, str)]
    kinds = [kind.lower() for kind in kinds]
    if not kinds:
        return
    if len(kinds) == 1 or work.target.type_lists:
        written = kinds[0] if len(kinds) == 1 else kinds
        result["type"] = written.upper() if work.target.upper and isinstance(written, str) else written
        return
    if "null" in kinds:
        result["nullable"] = True
        kinds.remove("null")
    if len(kinds) == 1:
        result["type"] = kinds[0].upper()
    else:
        rest = {key: item for key, item in schema.items() if key not in _ANNOTATIONS and key != "type"}
        of_kind = [{"type": kind, **_fitting(rest, kind)} for kind in kinds]
        work.union(result, of_kind, where, seen)


def _fitting(keywords: Mapping[str, Json], kind: str) -> Schema:
    """The keywords that say something about a type."""
    fits = {"array": ("items", "minItems", "maxItems"), "object": ("properties", "required")}
    return {key: value for key, value in keywords.items() if key in fits.get(kind, ())}


def _properties(
    work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: tuple[str, ...]
) -> None:
    if isinstance(value, Mapping) and value:
        result["properties"] = {key: work.compile(item, _below(where, key), seen) for key, item in value.items()}


def _items(
    work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: tuple[str, ...]
) -> None:
    if isinstance(value, list):
        _prefix(work, result, notes, value, where, schema, seen)
    else:
        result["items"] = work.compile(value, where, seen)


def _prefix(
    work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: tuple[str, ...]
) -> None:
    if not isinstance(value, list):
        return work._note(notes, "prefixItems", value, where)
    members = [work.compile(item, _at(where, i), seen) for i, item in enumerate(value)]
    if "prefixItems" in work.target.keys:
        result["prefixItems"] = members
    else:
        result["items"] = {"anyOf": members} if len(members) > 1 else (members or [{"type": "STRING"}])[0]
        work.relax(where, "the target has no tuples: every item may be any of them")


def _additional(
    work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: tuple[str, ...]
) -> None:
    if "additionalProperties" in work.target.keys:
        result["additionalProperties"] = value if isinstance(value, bool) else work.compile(value, where, seen)
    elif isinstance(value, Mapping) and value:
        work._note(notes, "additionalProperties", value, where)
    elif value is False:
        work.relax(where, "the target has no additionalProperties")


def _any_of(
    work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: tuple[str, ...]
) -> None:
    work.union(result, value, where, seen)


def _const(work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: Any) -> None:
    _enum(work, result, notes, [value], where, schema, seen)


def _enum(work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: Any) -> None:
    if not isinstance(value, list) or not value:
        return
    kinds = {_json_type(item) for item in value}
    plain = [item for item in value if item is not None]
    if kinds == {"null"}:
        result.update({"nullable": True} if not work.target.type_lists else {"type": "null"})
    elif all(isinstance(item, str) for item in plain):
        result["enum"] = plain
        result.setdefault("type", "STRING" if work.target.upper else "string")
    elif work.target.number_enums and all(_json_type(item) in ("integer", "number") for item in plain):
        result["enum"] = plain
        result.setdefault("type", "integer" if kinds <= {"integer", "null"} else "number")
    elif all(_json_type(item) in ("integer", "number", "boolean", "string") for item in plain):
        if kinds - {"null"} == {"boolean"} and len(plain) == 2:
            result.setdefault("type", "BOOLEAN" if work.target.upper else "boolean")
            return
        if kinds - {"null"} == {"boolean"}:
            result.setdefault("type", "BOOLEAN" if work.target.upper else "boolean")
            work._note(notes, "enum", value, where)
            return
        result["enum"] = [item if isinstance(item, str) else encode(item).decode() for item in plain]
        result["type"] = "STRING" if work.target.upper else "string"
        work.relax(where, "the target takes strings only in an enum")
    else:
        work._note(notes, "enum", value, where)
    if "null" in kinds and kinds != {"null"}:
        _nullable(work, result)


def _nullable(work: _Compiler, result: Schema) -> None:
    if work.target.type_lists:
        _allow_null(result)
    else:
        result["nullable"] = True


def _allow_null(result: Schema) -> None:
    kind = result.get("type")
    if isinstance(kind, str) and kind != "null":
        result["type"] = [kind, "null"]
    elif "anyOf" in result and {"type": "null"} not in result["anyOf"]:
        result["anyOf"] = [*result["anyOf"], {"type": "null"}]


def _json_type(value: Json) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _format(work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: Any) -> None:
    kind = schema.get("type")
    textual = kind == "string" or (isinstance(kind, list) and "string" in kind) or kind is None
    if not textual or (isinstance(value, str) and value in work.target.string_formats):
        result["format"] = value
    else:
        work._note(notes, "format", value, where)


def _exclusive(key: str, name: str, step: int) -> Any:
    def rule(
        work: _Compiler, result: Schema, notes: list[str], value: Json, where: str, schema: Any, seen: Any
    ) -> None:
        if schema.get("type") == "integer" and isinstance(value, int) and not isinstance(value, bool):
            result.setdefault(name, value + step)
        else:
            if isinstance(value, int | float) and not isinstance(value, bool):
                result.setdefault(name, value)
            work._note(notes, key, value, where)

    return rule


def _definitions(*_: Any) -> None:
    """Compiled where they are referred to."""


_RULES: Mapping[str, Any] = {
    "type": _type,
    "properties": _properties,
    "items": _items,
    "prefixItems": _prefix,
    "additionalProperties": _additional,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "const": _const,
    "enum": _enum,
    "format": _format,
    "exclusiveMinimum": _exclusive("exclusiveMinimum", "minimum", 1),
    "exclusiveMaximum": _exclusive("exclusiveMaximum", "maximum", -1),
    "$defs": _definitions,
    "definitions": _definitions,
}
_DEFINITIONS = ("$defs", "definitions")
_SILENT = frozenset({"$schema", "$comment", "nullable", "$vocabulary", "readOnly", "writeOnly"})
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment", "$schema", "$id"})
_TIGHTEN = dict.fromkeys(
    ("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"), max
) | dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"), min)


def _common_type(a: Json, b: Json) -> Json:
    """What two type keywords have in common; the first where there is nothing."""
    first, second = (value if isinstance(value, list) else [value] for value in (a, b))
    common = [kind for kind in first if kind in second]
    return a if not common else common[0] if len(common) == 1 else common


# ── OpenAPI subset -> JSON Schema ──────────────────────────────────────────────────────

_NAMES = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
    "defs": "$defs",
    "ref": "$ref",
}
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


#: Types by their number in Google's protocol buffers, as some clients write them.
_NUMBERED: Mapping[Json, str] = {
    1: "string",
    2: "number",
    3: "integer",
    4: "boolean",
    5: "array",
    6: "object",
    7: "null",
}


def from_openapi(schema: Mapping[str, Json]) -> Schema:
    """Gemini's Schema message as plain JSON Schema: types in lower case, nullable as a union, counts as numbers."""
    result: Schema = {}
    for written, value in schema.items():
        key = _NAMES.get(written, written)
        if value is None and key not in ("default", "example"):
            continue
        match key:
            case "type" if type(value) is int and value in _NUMBERED:
                result["type"] = _NUMBERED[value]
            case "type" if isinstance(value, str):
                if not value.upper().endswith("UNSPECIFIED"):
                    result["type"] = value.lower()
            case "properties" | "$defs" if isinstance(value, Mapping):
                result[key] = {name: _from(item) for name, item in value.items()}
            case "items" | "additionalProperties":
                result[key] = _from(value)
            case "anyOf" if isinstance(value, list):
                result[key] = [_from(item) for item in value]
            case "format" if value == "enum":
                pass
            case "example":
                result["examples"] = [value]
            case "nullable" | "propertyOrdering":
                pass
            case _ if key in _COUNTS and isinstance(value, str) and value.lstrip("-").isdigit():
                result[key] = int(value)
            case _:
                result[key] = value
    _order(result, schema.get("propertyOrdering") or schema.get("property_ordering"))
    if schema.get("nullable") is True:
        _allow_null(result)
        if isinstance(result.get("enum"), list) and None not in result["enum"]:
            result["enum"] = [*result["enum"], None]
    return result


def _from(value: Json) -> Json:
    return from_openapi(value) if isinstance(value, Mapping) else value


def _order(result: Schema, ordering: Json) -> None:
    properties = result.get("properties")
    if isinstance(ordering, list) and isinstance(properties, dict):
        first = [name for name in ordering if isinstance(name, str) and name in properties]
        result["properties"] = {name: properties[name] for name in dict.fromkeys([*first, *properties])}
