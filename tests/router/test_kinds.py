"""router/kinds.py: what single values may be, as pydantic reads them. What a file says of them is in test_config."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from router import kinds


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (kinds.Duration, "250ms", 0.25),
        (kinds.Duration, "0s", 0.0),
        (kinds.Size, "32MiB", 32 << 20),
        (kinds.Share, "20%", 0.2),
        (kinds.Price, 2, 2.0),
        (kinds.Amount, Decimal("0.25"), Decimal("0.25")),
        (kinds.Later, False, None),
    ],
)
def test_what_is_written_and_what_it_means(kind: Any, written: Any, value: Any) -> None:
    """Units are read, whole numbers are numbers, and a feature that is not there may be switched off."""
    assert value == TypeAdapter(kind).validate_python(written)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (kinds.Duration, "5 apples"),
        (kinds.Positive, "0s"),
        (kinds.Size, "big"),
        (kinds.Share, "120"),
        (kinds.Count, 0),
        (kinds.Amount, Decimal(-1)),
        (kinds.Later, {"after": "p95"}),
        (kinds.Day, "yesterday"),
    ],
)
def test_what_is_refused(kind: Any, written: Any) -> None:
    """With a word of what was expected, by whoever reads the file."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(written)
