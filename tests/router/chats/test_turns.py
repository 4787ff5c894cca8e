"""One after the other, by name."""

from __future__ import annotations

import asyncio
import contextlib

from router.chats.turns import Turns


async def test_one_name_is_held_by_one_at_a_time_and_others_do_not_wait() -> None:
    """In the order in which they came; another name is free meanwhile."""
    turns = Turns()
    order: list[int] = []

    async def one(number: int) -> None:
        await turns.take("a")
        order.append(number)
        await asyncio.sleep(0.01)
        order.append(number)
        turns.give_back("a")

    waiting = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)

    await turns.take("b")
    turns.give_back("b")

    assert [] == order[1:] and 3 == turns.wanted("a")
    await asyncio.gather(*waiting)
    assert [0, 0, 1, 1, 2, 2] == order


async def test_who_leaves_while_waiting_holds_nobody_up_and_nothing_is_kept() -> None:
    """The next one has its turn, and afterwards no name is known."""
    turns = Turns()
    await turns.take("a")
    leaving, staying = asyncio.create_task(turns.take("a")), asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    turns.give_back("a")
    await staying

    assert 1 == turns.wanted("a")
    turns.give_back("a")
    assert 0 == turns.wanted("a")
