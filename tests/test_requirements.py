"""The totals that a run ends with are those of its tests."""

from __future__ import annotations

import pytest

from tests.requirements import numbers, totals


@pytest.mark.parametrize(
    ("node", "named"),
    [
        ("tests/a.py::test_s03_s04_a_connection[x]", ["S03", "S04"]),
        ("tests/a.py::test_u28_nothing", ["U28"]),
        ("tests/a.py::test_what_c03_says", []),
        ("tests/a.py::test_sse", []),
    ],
)
def test_names_say_what_is_checked(node: str, named: list[str]) -> None:
    """Numbers at the beginning of a test's name count, and no others."""
    assert named == numbers(node)


def test_what_has_no_test_or_a_failed_one_is_missed() -> None:
    """A requirement holds when a test that names it passed, and none failed."""
    passed = [f"a.py::test_l{number:02}_x" for number in range(1, 9)]
    found = totals(passed, ["a.py::test_l03_l04_y"])

    assert "L  life of the process  6 of 9 hold; not: L03, L04, L09" in found


def test_a_run_of_other_tests_tells_nothing() -> None:
    """Whoever runs a single file is not told of all that it does not check."""
    assert [] == totals(["a.py::test_x"], [])
