"""JSON Schema, checked: the one place that knows `jsonschema-rs`, which is an extra (`pip install isthmus[schema]`).

Schemas come from callers. So nothing is fetched for a `$ref`, expressions may not backtrack for long, of what is wrong
with a large value only the first thing is looked for, and what may take too many steps (`router/weighing.py`) is not
begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, NoReturn, TypeAlias

from providers.wire.json import encode
from router.weighing import steps

_library: Any = None
try:
    import jsonschema_rs

    _library = jsonschema_rs
except ImportError:
    pass  # the extra is not installed

Json: TypeAlias = Any

AVAILABLE = _library is not None
MOST_TOLD = 5
MOST_STEPS = 5_000_000  # about a third of a second
_SMALL = 32 << 10  # bytes of a value in which all faults are looked for
_BACKTRACKS = 10_000
TOO_DEEP = "nested too deep to be checked"
_LONGEST = 200  # characters of one complaint


def check(schema: Mapping[str, Json], value: Json) -> list[str]:
    """What is wrong with a value: `at /items/0: 3 is not of type "string"`. Nothing when it fits, or when the schema is
    none that can be used. The extra must be installed."""
    if steps(schema, value) > MOST_STEPS:
        return []
    try:
        validator = _library.validator_for(
            dict(schema),
            retriever=_refuse,
            pattern_options=_library.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
    except (ValueError, RecursionError):
        return []
    try:
        return _faults(validator, value)
    except (ValueError, RecursionError):
        return [TOO_DEEP]


def _faults(validator: Any, value: Json) -> list[str]:
    if validator.is_valid(value):
        return []
    if len(encode(value)) <= _SMALL:
        return [_told(error) for error in islice(validator.iter_errors(value), MOST_TOLD)]
    try:
        validator.validate(value)
    except _library.ValidationError as error:
        return [_told(error)]
    return []


def _told(error: Any) -> str:
    path = "".join(f"/{step}" for step in error.instance_path)
    text = error.message if len(error.message) <= _LONGEST else error.message[:_LONGEST] + "…"
    return f"at {path}: {text}" if path else text


def _refuse(_: str) -> NoReturn:
    raise ValueError("schemas are not fetched")
