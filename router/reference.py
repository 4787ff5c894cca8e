"""docs/routes.md: every key of routes.yaml with its type, default and meaning, read off the models that read the file.

A model is anything with `model_fields`; what a field says of itself stands in its description and in a `Says`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, get_args

Model: TypeAlias = Any  # a class with model_fields
Field: TypeAlias = Any  # annotation, metadata, default, description

LATER = "not in this version"


class Says:
    """How the reference names a kind of value, and writes one of it."""

    def __init__(self, kind: str, write: Callable[[Any], str] = str) -> None:
        self.kind, self.write = kind, write


_INTRODUCTION = """\
# routes.yaml

Every key, made from the code that reads the file (`make fix` writes this page). `isthmus check` says what is wrong
with a file and where; `isthmus schema` prints its JSON Schema, for editors. All keys but `routes` may be left out; a
key that is not listed here is refused.

- **Durations** are `250ms`, `30s`, `5m`, `1h`; **sizes** `256KiB`, `32MiB`, or a number of bytes; **shares** `20%`.
- **Secrets** are references: `env:NAME`, or `file:PATH` relative to the file. Written out they are accepted with a
  warning. Files are read when the table is loaded, so a new key takes effect with a reload.
- **YAML** is read strictly: booleans and numbers as in YAML 1.2 (`no`, `on`, `22:30` are text); the same key twice,
  tags and merge keys are refused.
- **Paths**: `{name}` is one segment; `{name:url}` an upstream's URL in any of its spellings; `{name:secret}` is never
  logged, and may be missing behind a `{name:url}`. A path that ends in `v1beta/models/{model}:{task}`, or in
  `v1beta/models/{modelNameAndTask}`, stands for `v1` and `v1alpha` and for `tunedModels`, too. Of several paths that
  fit the longest literal beginning wins, then the longest literal end; two that fit the same calls are refused.
- **Models**: a name of `models` wins over `provider/model`, that over names with `*`, the longest first.
- **Policy** of a call: that of its model, else of its route, else `default`. What becomes of losses: the request's
  `x-isthmus-on-loss`, else the route's `on_loss`, else the policy's.
"""


def write(file: Model) -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    fields = file.model_fields
    later = [name for name, field in fields.items() if _says(field) == LATER]
    for name, field in fields.items():
        if name not in later:
            table = _table(models_in(field.annotation), _under(name, field))
            parts.append(f"## {name}\n\n{field.description}\n\n{table}")
    announced = [f"- `{name}`: {fields[name].description}\n" for name in later]
    parts.append("## Later\n\nAnnounced, and refused in this version:\n\n" + "".join(announced))
    return "\n".join(parts)


def models_in(annotation: Any) -> set[Model]:
    """The models that a type is made of, without those inside of them."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return {annotation}
    found: set[Model] = set()
    return found.union(*(models_in(argument) for argument in get_args(annotation)))


def _under(name: str, field: Field) -> str:
    """What the keys of a section stand under: `providers.NAME.`, `routes[].`"""
    text = str(field.annotation)
    return f"{name}.NAME." if text.startswith("dict") else f"{name}[]." if text.startswith("list") else f"{name}."


def _table(models: Iterable[Model], prefix: str) -> str:
    rows, later = [], []
    for key, field in _keys(models, prefix):
        if _says(field) == LATER:
            later.append(f"`{key}` ({field.description})")
        else:
            rows.append(f"| `{key}` | {_says(field)} | {_default(field)} | {field.description} |")
    head = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"] if rows else []
    tail = [*([""] if rows else []), f"Not in this version: {', '.join(later)}."] if later else []
    return "\n".join([*head, *rows, *tail, ""])


def _keys(models: Iterable[Model], prefix: str) -> Iterator[tuple[str, Field]]:
    """Every key below a section, once, with its path; what holds keys itself is followed by them."""
    inner = {m for model in models for field in model.model_fields.values() for m in models_in(field.annotation)}
    for model in models:
        if model in inner:
            continue  # a short form: what stands in a list may stand there alone
        for name, field in model.model_fields.items():
            yield prefix + name, field
            if below := models_in(field.annotation):
                text = str(field.annotation)
                inside = "NAME." if text.startswith("dict[") else ""
                yield from _keys(below, f"{prefix}{name}[]." if "list[" in text else f"{prefix}{name}.{inside}")


def _says(field: Field) -> str:
    return _kind_of(field.metadata, field.annotation)


def _kind_of(metadata: Iterable[Any], annotation: Any) -> str:
    said = [entry.kind for entry in metadata if isinstance(entry, Says)]
    if said:
        return said[0]
    if annotation is bool:
        return "true or false"
    if models_in(annotation):
        return "list" if "list[" in str(annotation) else "mapping"
    for argument in get_args(annotation):
        if argument is not type(None):
            return _kind_of(getattr(argument, "__metadata__", ()), getattr(argument, "__origin__", argument))
    return "text"


def _default(field: Field) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value in ([], {}, "") or models_in(type(value)):
        return ""
    write_one = next((entry.write for entry in field.metadata if isinstance(entry, Says)), str)
    return f"`{json.dumps(value) if isinstance(value, bool | list) else write_one(value)}`"
