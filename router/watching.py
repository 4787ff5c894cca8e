"""When the route table's file has changed: looked at twice a second, whatever file system it is on.

A look is one `stat`. Notices of the system would save it, but they miss what happens on network mounts and behind a
symbolic link that is swapped (Kubernetes ConfigMaps), and want a thread. A file that is being written moves between
two looks: it is taken once it stands still.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

INTERVAL = 0.5  # seconds

#: What tells one state of a file from the next; None: there is none.
Mark: TypeAlias = tuple[int, int, int, int] | None


class Stillness:
    """Says of a row of looks at one file when it has become another and stands still."""

    def __init__(self, mark: Mark) -> None:
        self._known = self._last = mark

    def look(self, mark: Mark) -> bool:
        """Has it changed since this was last true, and not since the last look? A file that is gone has not."""
        if mark != self._last:
            self._last = mark
            return False
        if mark is None or mark == self._known:
            return False
        self._known = mark
        return True


def mark(path: Path) -> Mark:
    """The file's, through symbolic links."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def digest(path: Path) -> bytes:
    """Of what the file holds; empty when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


async def watch(path: Path, changed: Callable[[], None], interval: float = INTERVAL) -> None:
    """Calls `changed` for each change of the file, until cancelled."""
    stillness = Stillness(mark(path))
    while True:
        await asyncio.sleep(interval)
        if stillness.look(mark(path)):
            changed()
