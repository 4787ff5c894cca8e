"""The store's database as one SQLite file: readers beside one writer (WAL), one write after the other.

A write that returns is on disk. What fails is told to everybody at once: after a failure no call waits for the file
again until `check` has written to it, so that a store that is down costs the first caller a second and nobody else
anything. Transactions are not cut short when their caller leaves: half a call to a driver leaves nobody knows what.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from router.chats.database import Work
from router.chats.migrating import migrate
from router.chats.store import StoreUnavailable

BUSY = 1.0  # seconds that SQLite waits for somebody else's lock
PATIENCE = 2.5  # seconds that one transaction may take
LONGEST_QUEUE = 30.0  # seconds that a caller waits for its turn, as long as others get theirs
_LOOK = 0.25
READERS = 4

T = TypeVar("T")

_PRAGMAS = ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
_FAILURES = (DBAPIError, TimeoutError, sqlite3.Error, OSError)
_OURS = (IntegrityError, ProgrammingError)  # bugs, whatever the file is like


class SqliteDatabase:
    """`failed` hears of each failure of the file: what was tried, and why. `busy` and `patience`: see above.

    `others`: held for each write where processes of ours share the file: SQLite lets those who wait try again now and
    then, so that one of them may wait for long while others write one after the other.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str, str], None],
        *,
        busy: float = BUSY,
        patience: float = PATIENCE,
        others: AbstractContextManager[None] | None = None,
    ) -> None:
        self.broken = True  # until it has been opened
        self._path = path
        self._failed = failed
        self._busy = busy
        self._patience = patience
        self._turn = asyncio.Lock()
        self._others = others
        self._running: asyncio.Task[Any] | None = None  # the write that has its turn, or had it last
        self._began = 0.0  # since when
        self._reading: dict[object, float] = {}  # since when those who have their turn are at it
        self._file: tuple[int, int] | None = None  # which file it is: device and inode
        self._is_soiled = True  # the log of writes may hold what was erased
        self._writer: AsyncEngine | None = None
        self._readers: AsyncEngine | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # ── life ──────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Makes the file if there is none, and brings it up to date. StoreUnavailable, NewerStore."""

        async def work() -> None:
            async with self._alone():
                await self._open(create=True)

        await self._outlast(work(), "open")

    async def _open(self, *, create: bool) -> None:
        await self._dispose()
        if create:
            await asyncio.to_thread(_make, self._path)
        self._writer = self._engine("BEGIN IMMEDIATE", 1)
        self._readers = self._engine("BEGIN", READERS)
        try:
            async with self._writer.begin() as connection:
                await connection.run_sync(migrate)
        except BaseException:
            await self._dispose()
            raise
        self._file = await asyncio.to_thread(_identity, self._path)
        self.broken = False

    async def check(self) -> None:
        """Can it be written to? After a failure it is opened anew and really written to.

        Another file in its place is not used while we run: the log of writes beside it is still that of the first.
        """
        if not self.broken:
            await self.write(_nothing)
            return await self.scrub() if self._is_soiled else None
        if self._turn.locked():
            return  # somebody is at it, or hangs: one of them is enough
        found = await asyncio.to_thread(_identity, self._path)
        if found is not None and self._file in (None, found):
            await self._outlast(self._mend(), "check")

    async def _mend(self) -> None:
        async with self._alone():
            await self._open(create=False)
            if self._writer is not None:
                async with self._writer.begin() as connection:
                    await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))

    def erased(self) -> None:
        self._is_soiled = True

    async def scrub(self) -> None:
        """What was erased is gone from the log of writes, too; while somebody reads it still, later."""

        async def work() -> None:
            async with self._alone():
                if self._writer is None:
                    raise StoreUnavailable
                self._begin()
                self._is_soiled = False
                async with self._writer.connect() as connection:
                    raw = await connection.get_raw_connection()
                    done = await raw.driver_connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]  # there is one
                self._is_soiled = self._is_soiled or any(busy for busy, *_ in done)

        await self._outlast(work(), "write")

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else of ours writes meanwhile, in this process or another."""
        async with self._turn:
            if self._others is None:
                yield
                return
            self._begin()
            await asyncio.to_thread(self._others.__enter__)
            try:
                yield
            finally:
                self._others.__exit__(None, None, None)

    def _begin(self) -> None:
        """Whoever has the turn says since when."""
        self._began = asyncio.get_running_loop().time()
        self._running = asyncio.current_task()

    async def close(self) -> None:
        """After the transactions under way."""
        self.broken = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)
        await self._dispose()

    async def _dispose(self) -> None:
        for engine in (self._writer, self._readers):
            if engine is not None:
                with contextlib.suppress(*_FAILURES):
                    await engine.dispose()
        self._writer = self._readers = None

    def _engine(self, begin: str, connections: int) -> AsyncEngine:
        # mode=rw: a file that has gone is not made anew while we run; nobody would miss what was in it.
        uri = f"file:{quote(str(self._path))}?mode=rw"
        engine = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=lambda: aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=self._busy),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=LONGEST_QUEUE,
        )

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            for pragma in _PRAGMAS:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def start(connection: Any) -> None:
            connection.exec_driver_sql(begin)

        return engine

    # ── transactions ──────────────────────────────────────────────────────────────────────

    async def read(self, work: Work[T]) -> T:
        if self.broken:
            raise StoreUnavailable
        return await self._outlast(self._read(work), "read")

    async def _read(self, work: Work[T]) -> T:
        if self._readers is None:
            raise StoreUnavailable
        async with self._readers.begin() as connection:
            turn = object()
            self._reading[turn] = asyncio.get_running_loop().time()
            try:
                return await work(connection)
            finally:
                del self._reading[turn]

    async def write(self, work: Work[T]) -> T:
        if self.broken:
            raise StoreUnavailable
        return await self._outlast(self._write(work), "write")

    async def _write(self, work: Work[T]) -> T:
        async with self._alone():
            if self.broken or self._writer is None:
                raise StoreUnavailable
            self._begin()
            async with self._writer.begin() as connection:
                result = await work(connection)
            if _identity(self._path) != self._file:
                raise FileNotFoundError(f"{self._path.name} is not there any more")  # nobody will find what was written
            return result

    async def _outlast(self, work: Awaitable[T], operation: str) -> T:
        """Waits for a transaction, not for ever; it ends in its own time whoever leaves."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while not (await asyncio.wait({task}, timeout=_LOOK))[0]:
            self._look(task, operation, loop.time(), asked)
        try:
            return task.result()
        except _OURS:
            raise
        except _FAILURES as error:
            self._break(operation, error)
            raise StoreUnavailable from None

    def _look(self, task: asyncio.Task[T], operation: str, now: float, asked: float) -> None:
        """At a transaction that is not over yet. StoreUnavailable when there is nothing to wait for."""
        began = asked
        if operation == "write":
            began = self._began if self._turn.locked() else now  # nobody has it for a moment while it passes on
        elif operation == "read":
            began = min(self._reading.values(), default=asked)  # to wait for others who get their answers is no failure
        if now - began >= self._patience:
            self._break(operation, OSError("no answer"))
        elif now - asked < LONGEST_QUEUE and not (self.broken and operation in ("read", "write")):
            return
        if operation == "write" and task is not self._running:
            task.cancel()  # it only waits for its turn: nothing of it has happened
        raise StoreUnavailable

    def _break(self, operation: str, error: BaseException) -> None:
        self.broken = True
        cause = error.orig if isinstance(error, DBAPIError) else error
        self._failed(operation, f"{type(cause).__name__}: {str(cause).partition(chr(10))[0][:200]}")

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # has been told, or has nobody left to be told to


async def _nothing(_: AsyncConnection) -> None:
    """A transaction that may write has begun: that is all there is to find out."""


def _make(path: Path) -> None:
    """An empty file where there is none, readable by us alone."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
