"""The gateway, with a thread that tells on standard input's every line how many of its tasks are not done."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading

from router.__main__ import main


def _tasks() -> int:
    while True:
        with contextlib.suppress(RuntimeError):  # the set changed meanwhile
            return sum(not task.done() for task in list(asyncio.tasks._all_tasks))  # type: ignore[attr-defined]


def _tell() -> None:
    for _ in sys.stdin:
        sys.stderr.write(f"tasks {_tasks()}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    threading.Thread(target=_tell, daemon=True).start()
    main()
