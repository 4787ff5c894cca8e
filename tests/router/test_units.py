"""Durations, sizes and shares are read as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.units import read_duration, read_duration_or_zero, read_share, read_size, write_duration, write_size


@given(st.integers(1, 10**8))
def test_durations_come_back(milliseconds: int) -> None:
    """What is written reads the same, to the millisecond."""
    assert read_duration(write_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(1, 10**12))
def test_sizes_come_back(count: int) -> None:
    """What is written reads the same, to the byte."""
    assert read_size(write_size(count)) == count


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (1.5, "1500ms"), (30.0, "30s"), (90.0, "90s"), (600.0, "600s"), (7200.0, "2h")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """The units are those that people use."""
    assert write_duration(seconds) == text


def test_no_time_is_a_duration_where_it_may_be() -> None:
    """A wait may be none, a timeout may not."""
    assert read_duration_or_zero("0s") == 0.0
    with pytest.raises(ValueError, match="greater than zero"):
        read_duration("0s")


@pytest.mark.parametrize(("text", "share"), [("0%", 0.0), ("20%", 0.2), ("0.5%", 0.005), ("100%", 1.0)])
def test_shares(text: str, share: float) -> None:
    """A share is written in percent."""
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("value", ["101%", "-1%", "20", 0.2, True, None, "%"])
def test_what_is_no_share(value: object) -> None:
    """Nothing beyond all, and no bare numbers."""
    with pytest.raises(ValueError, match="expected a share"):
        read_share(value)
