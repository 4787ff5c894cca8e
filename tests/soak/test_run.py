"""The soak itself, for some seconds: that it runs, and that it would see what it looks for."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.soak.run import Look, Told, _faults, soak

CLEAN = Look(100.0, 20, 5)


@pytest.mark.slow
async def test_a_short_soak_leaves_nothing_behind() -> None:
    """Eight seconds of everything."""
    assert [] == await soak(8.0, seed=1, callers=12)


@pytest.mark.parametrize(
    ("after", "counted", "lines", "fault"),
    [
        (Look(121.0, 20, 5), Counter(ok=3), 3, "memory grew by 21.0 MB"),
        (Look(100.0, 21, 5), Counter(ok=3), 3, "1 descriptors are left"),
        (Look(100.0, 20, 7), Counter(ok=3), 3, "2 tasks are left"),
        (CLEAN, Counter(ok=2), 3, "3 calls, 2 outcomes, 3 lines"),
        (CLEAN, Counter(ok=3), 4, "3 calls, 3 outcomes, 4 lines"),
        (CLEAN, Counter(ok=2, bug=1), 3, "1 bugs of ours"),
    ],
)
def test_what_is_left_behind_is_told(after: Look, counted: Counter[str], lines: int, fault: str) -> None:
    """Each of the things that a run is for."""
    assert [fault] == _faults(Told(sent=3), CLEAN, CLEAN, after, counted, lines)
    assert [] == _faults(Told(sent=3), CLEAN, CLEAN, CLEAN, Counter(ok=3), 3)
