"""Features together that were built apart: tables, faults and callers drawn at random (tests/combinations.py)."""

from __future__ import annotations

import pytest

from tests.combinations import combined


@pytest.mark.parametrize("seed", range(1, 8))
async def test_whatever_is_drawn_the_books_are_right(seed: int) -> None:
    """Each call has one outcome, nothing is held, nothing is mixed up, and what is charged is what was used."""
    async with combined(seed) as world:
        print(f"seed {seed}\n{world.drawn.text}")
        await world.calls(45)
        await world.calls(15, over=0.1)
        await world.check()
