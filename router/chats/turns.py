"""One after the other, by name: whoever asks for what is being done already waits, and finds it done.

In this process alone; what two processes do at once is settled by the store.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable


class Turns:
    """What nobody holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._wanted: Counter[Hashable] = Counter()

    def wanted(self, name: Hashable) -> int:
        """How many hold it or wait for it."""
        return self._wanted[name]

    async def take(self, name: Hashable) -> None:
        """Waits for a turn, which has to be given back."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._wanted[name] += 1
        try:
            await lock.acquire()
        except BaseException:
            self._forget(name)
            raise

    def give_back(self, name: Hashable) -> None:
        self._locks[name].release()
        self._forget(name)

    def _forget(self, name: Hashable) -> None:
        self._wanted[name] -= 1
        if not self._wanted[name]:
            del self._wanted[name], self._locks[name]
