"""One process after the other, of several that were forked from one."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import AbstractContextManager


class Turn(AbstractContextManager[None]):
    """A lock on a file that all of them have had open since before they were. It goes with the process that holds it.

    Whoever wants it waits in the kernel: in a thread of its own, where nothing else may wait. Of one process one thread
    at a time may want it.
    """

    def __init__(self) -> None:
        self._file, name = tempfile.mkstemp()  # open as long as the process
        os.unlink(name)

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
