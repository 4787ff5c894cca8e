"""A call that is over leaves nothing for the collector of cycles: what it held (bodies, connections) goes at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from router.exchange import Exchange
from tests.fakes import HANG, HANG_UP, FakeUpstream, Reply, Sleep, sse, status
from tests.lanes import KEYS, LANES, TABLE, Lane
from tests.running import running

HEDGED = "policies:\n  default:\n    hedge: {after: 50ms}\n"


@contextmanager
def uncollected() -> Iterator[list[object]]:
    """What is only held in cycles after the block."""
    found: list[object] = []
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


def replies(lane: Lane) -> dict[str, Reply]:
    return {
        "well": lane.whole(),
        "late": lane.whole().after(Sleep(0.15)),
        "broken": status(500),
        "half": sse(*lane.opening("half "), HANG_UP),
        "stall": sse(*lane.opening("stall "), HANG),
    }


@pytest.mark.parametrize("hedged", [False, True], ids=["alone", "hedged"])
@pytest.mark.parametrize("name", ["well", "late", "broken", "half", "stall"])
async def test_a_call_that_is_over_is_let_go(name: str, hedged: bool) -> None:
    """Whole or broken, alone or with a second attempt: no exchange waits for the collector."""
    lane = LANES[0]
    table = TABLE.replace("gpt-4o-mini}]", "gpt-4o-mini}, {provider: openai-up, model: other}]")
    table = table.replace("policies:\n  default:\n", HEDGED) if hedged else table
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=2) as gateway:
        upstream.always(replies(lane)[name])
        body = lane.body("x", stream=name in ("half", "stall"))
        await gateway.post(lane.path(), body)
        with uncollected() as left:
            await gateway.post(lane.path(), body)

        assert [] == [type(one).__name__ for one in left if isinstance(one, Exchange)]


async def test_a_stream_that_its_callers_own_time_ends_is_not_held_against_the_target() -> None:
    """Whoever gives a stream 300 ms may do so often: the breaker counts upstreams that fail, not impatience."""
    lane = LANES[0]
    table = TABLE.replace("policies:\n  default:\n", "policies:\n  default:\n    breaker: {failures: 2, cool: 60s}\n")
    async with FakeUpstream() as upstream, running(table, KEYS, up=upstream.url, attempts=1) as gateway:
        upstream.always(sse(*lane.opening("slow "), HANG))
        for _ in range(3):
            hasty = await gateway.post(lane.path(), lane.body("x", stream=True), headers={"x-isthmus-timeout": "300ms"})
            assert 200 == hasty.status
        upstream.always(lane.whole())
        after = await gateway.post(lane.path(), lane.body("x"))

    assert 200 == after.status
