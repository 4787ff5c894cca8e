"""The chat service as a part of the process: its store opened, watched and closed.

A store that is down is no reason not to start, nor to stop: chat routes answer 503, readiness says `degraded`, and
every half second it is tried again. Only a store that a newer version has written ends the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from router.chats.database import SqlStore
from router.chats.sqlite import SqliteDatabase
from router.chats.store import NewerStore, Store, StoreUnavailable
from router.chats.turns import Turns

AT_EASE = 1.0  # seconds between two looks at a store that is well
TROUBLED = 0.5


def new_id() -> str:
    """4 bytes of time and 8 random ones, in hex."""
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"


class Told:
    """Who hears what of the store: `failed` each failure (operation, reason), `state` each change for the worse or
    the better, with the reason."""

    def __init__(self, failed: Callable[[str], None], state: Callable[[bool, str], None]) -> None:
        self.failed = failed
        self.state = state


class ChatService:
    """One store. `path` is that of its file; `others` is held for each write where other processes write to it, too."""

    def __init__(self, path: str, told: Told, others: AbstractContextManager[None] | None = None) -> None:
        self._told = told
        self._reason = ""
        self._well = True
        self._database = SqliteDatabase(Path(path), self._failed, others=others)
        self.path = path
        self.store: Store = SqlStore(self._database, time.time, new_id)
        self.turns = Turns()  # of generations with the same idempotency key
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """NewerStore. Anything else that is wrong may pass."""
        with contextlib.suppress(StoreUnavailable):
            await self._database.open()
        self._tell()
        self._watch = asyncio.create_task(self._keep_watch())

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._database.close()

    def _failed(self, operation: str, reason: str) -> None:
        self._reason = reason
        self._told.failed(operation)
        self._tell()

    def _tell(self) -> None:
        """Each change once."""
        well = not self._database.broken
        if well != self._well:
            self._well = well
            self._told.state(well, "" if well else self._reason)

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(TROUBLED if self._database.broken else AT_EASE)
            with contextlib.suppress(StoreUnavailable, NewerStore):
                await self._database.check()
            self._tell()
