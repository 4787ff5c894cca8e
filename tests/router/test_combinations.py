"""Features together that were built apart: tables, faults and callers drawn at random (tests/combinations.py)."""

from __future__ import annotations

import pytest

from router import validating
from tests.combinations import combined


@pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
@pytest.mark.parametrize("seed", [4, 5, 6, 10, 14, 22])
async def test_whatever_is_drawn_the_books_are_right(seed: int) -> None:
    """Each call has one outcome, nothing is held, nothing is mixed up, and what is charged is what was used."""
    async with combined(seed) as world:
        print(f"seed {seed}\n{world.drawn.text}")  # shown where it fails
        await world.calls(50)
        await world.check()
