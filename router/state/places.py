"""How many calls of an upstream run at once, and who waits for a place: first come, first served; nice calls yield.

A queue is bounded, and whoever waits has an instant by which the wait is over: nobody hangs in it. Counts outlive a
reload, for the calls do; a new limit holds for whoever comes next.
"""

from __future__ import annotations

import asyncio
from collections import deque

from providers.canonical.errors import Overloaded, UpstreamTimeout
from router.alarm import Alarm, waiting
from router.record import Priority, Waited


class Places:
    """Those of one upstream. Of each call: `take` (or `wait`), then `give_back`."""

    __slots__ = ("_nice", "_normal", "limit", "running")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self._normal: deque[asyncio.Future[None]] = deque()
        self._nice: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._normal) + len(self._nice)

    def take(self) -> bool:
        """A place, if one is free and nobody has waited for it longer."""
        if self.running >= self.limit or self._normal or self._nice:
            return False
        self.running += 1
        return True

    async def wait(self, most: int, priority: Priority, alarm: Alarm, until: float) -> Waited:
        """Waits for a place until an instant of the alarm's clock; `served` means that there is one.

        `most` may wait at once. Where they do, a normal call takes the place of the nice one that came last.
        """
        if self.take():
            return "served"
        if self.waiting >= most and not (priority == "normal" and self._turn_away()):
            return "full"
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._nice if priority == "nice" else self._normal
        line.append(place)
        try:
            with waiting(alarm, until, "queue"):
                await place
        except UpstreamTimeout:
            self._leave(line, place)
            return "late"
        except Overloaded:  # turned away, or the gateway stops
            self._leave(line, place)
            if place.done() and not place.cancelled() and place.exception() is not None:
                return "full"
            raise
        except BaseException:
            self._leave(line, place)
            raise
        return "served"

    def give_back(self) -> None:
        self.running -= 1
        self._call_up()

    def _call_up(self) -> None:
        while self.running < self.limit:
            line = self._normal or self._nice
            if not line:
                return
            place = line.popleft()
            if not place.done():
                self.running += 1
                place.set_result(None)

    def _turn_away(self) -> bool:
        """The nice call that came last gives up its place in the queue. Was there one?"""
        while self._nice:
            place = self._nice.pop()
            if not place.done():
                place.set_exception(Overloaded("turned away"))
                return True
        return False

    def _leave(self, line: deque[asyncio.Future[None]], place: asyncio.Future[None]) -> None:
        """Whoever waited goes; a place that it had just been given goes to the next."""
        if place in line:
            line.remove(place)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.give_back()


class AllPlaces:
    """By provider."""

    def __init__(self) -> None:
        self._of: dict[str, Places] = {}

    def is_full(self, provider: str, limit: int) -> bool:
        """Does a call have to wait?"""
        found = self._of.get(provider)
        return found is not None and found.running >= limit

    def of(self, provider: str, limit: int) -> Places:
        """The provider's, with the limit of the table in force."""
        found = self._of.get(provider)
        if found is None:
            found = self._of[provider] = Places(limit)
        found.limit = limit
        return found
