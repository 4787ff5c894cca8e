"""router/policy_rows.py: how hard a call is tried, as the file says it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from router.policy_rows import PolicyRow
from router.table import BreakerSettings, OutlierSettings, PolicySettings, Timeouts


def test_a_policy_without_words_is_what_is_built_in() -> None:
    """Every default of the file is the default of the values that it becomes."""
    row = PolicyRow()
    built = PolicySettings()

    assert (built.attempts, built.within, built.retry_budget) == (row.attempts, row.within, row.retry_budget)
    assert set(built.fallback_on) == set(row.fallback_on)
    assert {name: getattr(row.timeouts, name) for name in Timeouts.__struct_fields__} == {
        name: getattr(built.timeouts, name) for name in Timeouts.__struct_fields__
    }
    assert built.breaker == BreakerSettings() and row.breaker is not None and row.outliers is None


def test_outliers_without_words_are_what_is_built_in() -> None:
    """`outliers: {}` switches it on with its defaults."""
    row = PolicyRow.model_validate({"outliers": {}}).outliers

    assert OutlierSettings() == OutlierSettings(
        **{name: getattr(row, name) for name in OutlierSettings.__struct_fields__}
    )


@pytest.mark.parametrize(
    "row",
    [
        {"fallback_on": ["timeout"]},
        {"timeouts": {"min_rate": 0}},
        {"timeouts": {"min_rate": "fast"}},
        {"timeouts": {"rate_over": "0s"}},
        {"outliers": {"errors": 1}},
        {"outliers": {"calls": 1}},
        {"outliers": {"calls": 1000}},
        {"outliers": {"cool": "0s"}},
    ],
)
def test_what_cannot_act_is_refused(row: dict[str, Any]) -> None:
    """A word that is none, a rate of nothing, a comparison of nothing, of more calls than are remembered."""
    with pytest.raises(ValidationError):
        PolicyRow.model_validate(row)
