"""One moving clock for one task."""

from __future__ import annotations

import asyncio
import time

import pytest

from providers.canonical.errors import Overloaded, UpstreamTimeout
from router.alarm import Alarm, over, waiting


def soon(seconds: float = 0.05) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_wait_that_takes_too_long_names_its_phase() -> None:
    """UpstreamTimeout, not a cancelled task."""
    with pytest.raises(UpstreamTimeout, match="begin to answer"), waiting(Alarm(), soon(), "first_byte"):
        await asyncio.sleep(5)


async def test_the_task_goes_on_after_a_timeout() -> None:
    """The cancellation is taken back: later waits are undisturbed, and nothing is left of it."""
    alarm = Alarm()
    with pytest.raises(UpstreamTimeout), waiting(alarm, soon(0.02), "idle"):
        await asyncio.sleep(5)
    with waiting(alarm, soon(1), "idle"):
        await asyncio.sleep(0.03)
    task = asyncio.current_task()

    assert task is not None and 0 == task.cancelling()


async def test_a_later_instant_moves_the_clock() -> None:
    """One timer, set again and again: only the last instant counts."""
    alarm = Alarm()
    began = time.monotonic()
    for _ in range(5):
        with waiting(alarm, soon(0.06), "idle"):
            await asyncio.sleep(0.03)

    assert time.monotonic() - began > 0.14


async def test_a_paused_alarm_does_not_ring() -> None:
    """Between waits the caller may take its time."""
    alarm = Alarm()
    with waiting(alarm, soon(0.02), "idle"):
        pass
    await asyncio.sleep(0.05)

    assert not alarm.expired
    alarm.stop()


async def test_a_caller_who_leaves_is_no_timeout() -> None:
    """A cancellation from outside passes through."""

    async def wait() -> None:
        with waiting(Alarm(), soon(5), "idle"):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_who_leaves_as_time_runs_out_has_left() -> None:
    """The clock does not hide it: nothing is tried again for somebody who is gone."""
    alarms: list[Alarm] = []

    async def wait() -> None:
        alarms.append(Alarm())
        with waiting(alarms[0], soon(5), "idle"):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    alarms[0].due()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_clock_that_rings_twice_is_ours_both_times() -> None:
    """Time runs out as the gateway stops: no caller has left."""
    alarm = Alarm()
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, lambda: (alarm.due(), alarm.ring("drain")))
    with pytest.raises(Overloaded), waiting(alarm, soon(5), "idle"):
        await asyncio.sleep(5)
    task = asyncio.current_task()

    assert task is not None and 0 == task.cancelling()


async def test_what_is_waited_for_is_over_however_often_one_is_told_to_end() -> None:
    """It comes to its end first; then whoever waited ends, too."""
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.02)
            ended.append("slow")

    async def wait(task: asyncio.Task[None]) -> None:
        try:
            await over(task)
        finally:
            ended.append("waited")

    task = asyncio.create_task(slow())
    waits = asyncio.create_task(wait(task))
    await asyncio.sleep(0.01)
    task.cancel()
    for _ in range(3):
        waits.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waits

    assert ["slow", "waited"] == ended


async def test_a_drain_ends_the_wait_as_our_own_doing() -> None:
    """Overloaded: the upstream is not blamed."""
    alarm = Alarm()
    asyncio.get_running_loop().call_later(0.01, alarm.ring, "drain")

    with pytest.raises(Overloaded), waiting(alarm, soon(5), "idle"):
        await asyncio.sleep(5)
