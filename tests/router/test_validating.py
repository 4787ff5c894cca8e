"""JSON Schema as callers write it, hostile ones included."""

from __future__ import annotations

import time
from typing import Any

import pytest

from router import validating

pytestmark = pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "object", "required": ["a"]}, {"a": 1}, []),
        ({"type": "object", "required": ["a"]}, {}, ['"a" is a required property']),
        ({"items": {"type": "string"}}, ["x", 3], ['at /1: 3 is not of type "string"']),
        ({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": ""}, None),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}, [], ['[] is not of type "object"']),
        ({"$ref": "http://127.0.0.1:9/schema"}, 1, []),
        ({"$ref": "file:///etc/passwd"}, 1, []),
        ({"type": "nonsense"}, 1, []),
        ({"pattern": "("}, "x", []),
        ({"$schema": "urn:unknown"}, 1, []),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, 1, []),
        ({}, None, []),
    ],
)
def test_schemas(schema: dict[str, Any], value: Any, expected: list[str] | None) -> None:
    """Complaints name the place; a schema that cannot be used complains of nothing, and nothing is fetched for it."""
    said = validating.check(schema, value)

    assert (expected == said) if expected is not None else said == ['at /a: "" is not of type "integer"']


def test_complaints_are_few_and_short() -> None:
    """A model is told some of it, not all."""
    said = validating.check({"items": {"type": "string", "maxLength": 1}}, ["x" * 1000] * 20)

    assert validating.MOST_TOLD == len(said)
    assert all(len(one) < 250 for one in said)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(?=(a+)+$)(a|b)+c"}, "a" * 5000 + "b"),
        ({"items": {"type": "integer"}}, ["x"] * 200_000),
        ({"type": "integer"}, "y" * 5_000_000),
    ],
)
def test_no_answer_takes_long(schema: dict[str, Any], value: Any) -> None:
    """Expressions do not backtrack for ever; of a large value only the first fault is looked for."""
    started = time.process_time()
    said = validating.check(schema, value)

    assert 1 == len(said)
    assert time.process_time() - started < 1.0


def test_a_schema_that_would_never_end_checks_nothing() -> None:
    """Two lines of it would hold everybody up for ever."""
    rows: Any = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)}
    schema = {"$defs": {**rows, "d60": {"type": "object"}}, "$ref": "#/$defs/d0"}

    assert [] == validating.check(schema, 1)


def test_a_value_nested_too_deep_is_said_to_be_so() -> None:
    """The library refuses to walk it; whether it fits is not known."""
    value: Any = 1
    for _ in range(900):
        value = [value]

    assert [validating.TOO_DEEP] == validating.check({"type": "object"}, value)
