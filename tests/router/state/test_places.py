"""Places among an upstream's calls: who gets one, and when waiting ends."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from router.alarm import Alarm
from router.record import Priority, Waited
from router.state.places import AllPlaces, Places

LATER = 60.0


async def waits(places: Places, priority: Priority = "normal", *, most: int = 9, seconds: float = LATER) -> Waited:
    """One call that waits, in a task of its own."""
    alarm = Alarm()
    try:
        return await places.wait(most, priority, alarm, asyncio.get_running_loop().time() + seconds)
    finally:
        alarm.stop()


def calling(places: Places, priority: Priority = "normal", **more: float) -> asyncio.Task[Waited]:
    return asyncio.create_task(waits(places, priority, **more))  # type: ignore[arg-type]


async def full(limit: int = 1) -> Places:
    places = Places(limit)
    for _ in range(limit):
        assert places.take()
    return places


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    """A place that becomes free goes to who has waited longest; nobody overtakes."""
    places = await full()
    first, second = calling(places), calling(places)
    await turn()
    assert not places.take()
    places.give_back()
    await turn()

    assert (True, False) == (first.done(), second.done()) and not places.take()
    places.give_back()
    assert "served" == await second


async def test_nice_calls_yield() -> None:
    """A nice call is served once no other waits."""
    places = await full()
    nice, normal = calling(places, "nice"), calling(places)
    await turn()
    places.give_back()
    await turn()

    assert (False, True) == (nice.done(), normal.done())
    places.give_back()
    assert "served" == await nice


async def test_the_queue_is_bounded() -> None:
    """Whoever comes when it is full is told at once; a normal call takes the place of the last nice one."""
    places = await full()
    earlier, later = calling(places, "nice", most=2), calling(places, "nice", most=2)
    await turn()

    assert "full" == await waits(places, "nice", most=2)
    normals = [calling(places, most=2), calling(places, most=2)]
    assert ["full", "full"] == [await later, await earlier]
    assert "full" == await waits(places, most=2)
    for normal in normals:
        places.give_back()
        assert "served" == await normal


async def test_waiting_ends() -> None:
    """At its instant; the place goes to others then."""
    places = await full()

    assert "late" == await waits(places, seconds=0.01)
    assert 0 == places.waiting
    places.give_back()
    assert places.take()


async def test_who_leaves_leaves_no_trace() -> None:
    """Also when a place has just been given to who is already gone."""
    places = await full()
    one, two = calling(places), calling(places)
    await turn()
    one.cancel()
    places.give_back()
    two.cancel()
    await asyncio.gather(one, two, return_exceptions=True)

    assert (0, 0) == (places.running, places.waiting)


async def test_a_reload_changes_the_limit_for_those_who_come() -> None:
    """Calls that run go on; the count is right all the same."""
    every = AllPlaces()
    places = every.of("a", 2)
    assert places.take() and places.take()

    assert every.of("a", 1) is places and not places.take()
    places.give_back()
    assert every.is_full("a", 1) and not every.is_full("b", 1)
    places.give_back()
    assert places.take()


@given(st.lists(st.sampled_from(["normal", "nice", "end", "leave", "turn"]), max_size=60), st.integers(1, 3))
@settings(deadline=None)
def test_never_more_than_the_limit_and_nobody_is_forgotten(steps: list[str], limit: int) -> None:
    """Whatever comes and goes: the limit holds, and in the end everybody was served who had not left."""

    async def life() -> None:
        places = Places(limit)
        tasks: list[asyncio.Task[Waited]] = []
        taken = 0
        for step in steps:
            served = sum(task.done() and not task.cancelled() and task.result() == "served" for task in tasks)
            match step:
                case "end" if taken + served:
                    places.give_back()
                    taken -= 1
                case "leave" if open_ := [task for task in tasks if not task.done()]:
                    open_[0].cancel()
                case "turn":
                    await turn()
                case "normal" | "nice" if places.take():
                    taken += 1
                case "normal" | "nice":
                    tasks.append(calling(places, step, most=99))  # type: ignore[arg-type]
            assert places.running <= limit
        await turn()
        while places.running:
            places.give_back()
            await turn()
        assert all(task.done() for task in tasks) and 0 == places.waiting

    asyncio.run(life())
