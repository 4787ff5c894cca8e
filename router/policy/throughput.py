"""Does an upstream send fast enough? Pure: times are passed in, in seconds.

Bytes a second over a window that slides along the time for which the upstream was waited for. While the caller is
slow nobody waits for the upstream, and that time does not exist here.
"""

from __future__ import annotations

from collections import deque

SLOTS = 32  # of a window: what arrives within one counts as if it had come at its last moment


class Throughput:
    """One stream that must bring `least` bytes a second, over any `over` seconds of waiting for it."""

    __slots__ = ("_arrived", "_need", "_over", "_sum", "_waited")

    def __init__(self, least: float, over: float) -> None:
        self._need = least * over  # bytes in any window
        self._over = over
        self._waited = 0.0  # the time, as far as it counts
        self._arrived: deque[tuple[float, int]] = deque()  # when, how much
        self._sum = 0

    def arrived(self, waited: float, size: int) -> None:
        """So many bytes have come, after so many seconds of waiting for them."""
        self._waited += waited
        now, slot = self._waited, self._over / SLOTS
        if self._arrived and now // slot == self._arrived[-1][0] // slot:
            size_before = self._arrived.pop()[1]
            self._arrived.append((now, size_before + size))
        else:
            self._arrived.append((now, size))
        self._sum += size
        while self._arrived[0][0] <= now - self._over:
            self._sum -= self._arrived.popleft()[1]

    def patience(self) -> float:
        """For how many seconds more it may be waited for while nothing comes. The first window is waited for whole."""
        until, left = self._over, self._sum
        for at, size in self._arrived:
            if left < self._need:
                break
            left -= size
            until = at + self._over
        return max(0.0, until - self._waited)
