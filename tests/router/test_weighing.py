"""What schemas cost, told without paying it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from router.validating import MOST_STEPS
from router.weighing import ENDLESS, MOST_SUBSCHEMAS, steps

Json = Any
pytestmark = pytest.mark.usefixtures("short_collections")


def doubling(times: int, word: str = "allOf") -> Json:
    """Each definition names the next one twice."""
    rows: Json = {f"d{i}": {word: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(times)}
    return {"$defs": {**rows, f"d{times}": {"type": "object"}}, "$ref": "#/$defs/d0"}


def nested(depth: int, key: str = "a") -> Json:
    value: Json = 1
    for _ in range(depth):
        value = {key: value}
    return value


ANYTHING = {
    "$defs": {
        "json": {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"$ref": "#/$defs/json"}},
                {"type": "object", "additionalProperties": {"$ref": "#/$defs/json"}},
            ]
        }
    },
    "$ref": "#/$defs/json",
}
TREE = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}}}
TWICE = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
CROSSED = {
    "$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/m"}}}, "m": {"properties": {"a": {"$ref": "#/$defs/n"}}}},
    "allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/m"}],
}
ANCHORED = {
    "$defs": {
        f"d{i}": {"$anchor": f"d{i}", "allOf": [{"$ref": f"#d{i + 1}"}, {"$ref": f"#d{i + 1}"}]} for i in range(40)
    }
    | {"d40": {"$anchor": "d40"}},
    "$ref": "#d0",
}
UNEVALUATED: Json = {"type": "object"}
for _ in range(40):
    UNEVALUATED = {"allOf": [UNEVALUATED], "unevaluatedProperties": False}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (ANYTHING, nested(60)),
        (ANYTHING, [[{"a": [1, 2, {"b": []}]}]] * 500),
        (TREE, nested(60, "left")),
        (CROSSED, nested(40)),
        (TWICE, nested(10)),
        ({"items": {"type": "integer"}}, [1] * 200_000),
        ({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": 1}),
        ({"$defs": {"a/b~c d": {}}, "$ref": "#/$defs/a~1b~0c%20d"}, 1),
        ({"items": True, "$ref": "#/items"}, [1]),
        ({"$id": "https://example.com/x", "$defs": {"n": {}}, "$ref": "#/$defs/n"}, 1),
        ({}, {}),
    ],
)
def test_what_callers_write_is_checked(schema: Json, value: Json) -> None:
    """Recursive schemas, too: ways to different places do not multiply."""
    assert steps(schema, value) <= MOST_STEPS


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling(40), {}),
        (doubling(40, "anyOf"), 1),
        (doubling(40, "oneOf"), {}),
        (ANCHORED, 1),
        (TWICE, nested(40)),
        (UNEVALUATED, {}),
        ({"patternProperties": {"^a": {"$ref": "#"}, "a$": {"$ref": "#"}}}, nested(40)),
        ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {}, "allOf": [{"$ref": "#/x"}],
          "x": {"properties": {"a": {"$ref": "#"}}}}, nested(40)),
        ({"items": {"allOf": [{"enum": [i]} for i in range(9000)]}}, [1] * 2000),
        ({"items": {"enum": list(range(50_000))}}, [-1] * 2000),
        ({"$dynamicRef": "#n", "$dynamicAnchor": "n"}, 1),
        ({"$ref": "https://example.com/schema"}, 1),
        ({"$ref": "#/nothing"}, 1),
        ({"allOf": [{"$id": "other", "$ref": "#"}]}, 1),
        ({"allOf": [{"not": {}} for _ in range(MOST_SUBSCHEMAS)]}, 1),
    ],
)  # fmt: skip
def test_what_would_never_end_is_not_begun(schema: Json, value: Json) -> None:
    """However it is spelled, and soon."""
    began = time.process_time()

    assert steps(schema, value) > MOST_STEPS
    assert time.process_time() - began < 1.0


def test_the_count_is_the_ways_through_it() -> None:
    """Eight leaves, and what leads to them; for each place of the value."""
    tree = sum(2**level for level in range(4)) + sum(2**level for level in range(1, 4)) + 1

    assert tree == steps(doubling(3), 1)
    assert 3 * tree == steps(doubling(3), [1, 2])
    assert ENDLESS == steps(doubling(100), 1)


def test_weighing_costs_little_itself() -> None:
    """Many ways back from many places are not gone one by one."""
    rows: Json = {
        f"d{i}": {"allOf": [{"allOf": [{"$ref": f"#/$defs/d{i + 1}"}]}, {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}]}]}
        for i in range(12)
    }
    schema = {"$defs": {**rows, "d12": {"$ref": "#"}}, "properties": {"a": {"$ref": "#/$defs/d0"}}}
    began = time.process_time()
    steps(schema, nested(40))

    assert time.process_time() - began < 1.0
