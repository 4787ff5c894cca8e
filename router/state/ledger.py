"""The file in which spending outlives the process (`state.file`).

Read once, at start; from then on written anew a second after a change, and once more at the end: into a second file,
synced, renamed. A process that is killed loses what changed since the last write: a second, and as long as a write
takes. All of it happens beside the event loop, and nothing of it is waited for by a call: a file that cannot be read or
written is told to whoever looks after the process, and the gateway goes on from memory.

A file that makes no sense is put aside (`.broken`), not overwritten. Two processes never write the same one: the second
reads it, tells, and waits for the first to go, before it adds what it has counted.

Of several processes that serve together each has a file of its own (`part_of`), for its part of each limit. When there
are others than before, what was spent is shared out anew before they begin (`share_out`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec

from router.state.budgets import Budgets, KeyRow, KeyRows, shared_out

EVERY = 1.0  # seconds between a change and its being written
AGAIN = 5.0  # after a failure
LAST = 5.0  # for the last write
MOST_BYTES = 64 << 20
VERSION = 1

Operation: TypeAlias = Literal["state_read", "state_lock", "state_write"]
#: What may fail. Closed: it is a metric label.
OPERATIONS: tuple[Operation, ...] = ("state_read", "state_lock", "state_write")


class Told(Protocol):
    """Who wants to know how the file is."""

    def failed(self, operation: Operation, reason: str) -> None: ...

    def works(self) -> None: ...


class File(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: int
    budgets: dict[str, KeyRow] = {}


class Ledger:
    """One process's. `open` before the first call, `keep` as a task, `close` after the last call."""

    def __init__(self, path: Path, budgets: Budgets, wall: Callable[[], float], told: Told) -> None:
        self.path = path
        self._budgets = budgets
        self._wall = wall
        self._told = told
        self._lock: int | None = None  # its descriptor, once it is ours
        self._known: KeyRows = {}  # what the file held when it was read
        self._written = b""
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        budgets.changed = self._changed.set

    def open(self) -> None:
        """Takes the file and reads it. Never fails: what went wrong is told, and tried again later."""
        operation: Operation = "state_lock"
        try:
            self._lock = _locked(self.path)
            operation = "state_read"
            self._known = _own(self.path)
        except (OSError, ValueError) as error:
            self._told.failed(operation, _reason(error))
            if isinstance(error, OSError):
                self._let_go()
                self._known = self._peeked()
        self._budgets.add(self._known, {})

    async def keep(self) -> None:
        """Writes what changes, until `close`."""
        while not self._ending.is_set():
            await self._changed.wait()
            await self._pause(EVERY)
            self._changed.clear()
            if not await self._save():
                self._changed.set()
                await self._pause(AGAIN)

    async def close(self, keeping: asyncio.Task[None] | None = None) -> None:
        """The last write. `keeping` is the task of `keep`, which ends now."""
        self._ending.set()
        self._changed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST):
                if keeping is not None:
                    await keeping
                await self._save()
        self._let_go()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def _save(self) -> bool:
        """Has what there is to tell been written?"""
        operation: Operation = "state_lock"
        try:
            if self._lock is None:
                self._lock = await asyncio.to_thread(_locked, self.path)
                operation = "state_read"
                await self._catch_up()
            operation = "state_write"
            await asyncio.to_thread(self._write, self._budgets.rows(self._wall()))
        except (OSError, ValueError) as error:
            if operation == "state_read" and isinstance(error, OSError):
                self._let_go()  # what cannot be read is not overwritten
            self._told.failed(operation, _reason(error))
            return False
        self._told.works()
        return True

    async def _catch_up(self) -> None:
        """The file has become ours: what another process has written there meanwhile counts, too."""
        rows = await asyncio.to_thread(_own, self.path)
        self._budgets.add(rows, self._known)
        self._known = rows

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._changed.set()  # it is tried again

    # ── on the disk ────────────────────────────────────────────────────────────────
    def _peeked(self) -> KeyRows:
        """What the file of another process says, as far as that can be told."""
        try:
            return _rows(self.path)
        except (OSError, ValueError):
            return {}

    def _write(self, rows: KeyRows) -> None:
        data = _encoded(rows)
        if data == self._written:
            return
        _replace(self.path, data)
        self._written = data


def part_of(path: Path, number: int) -> Path:
    """The file of one of several processes, numbered from 0: that which a link leads to, for it is replaced."""
    path = Path(os.path.realpath(path))
    return path if number == 0 else path.with_name(f"{path.name}.{number}")


def share_out(path: Path, parts: int, now: float, told: Told) -> None:
    """Before any of so many processes begins: where there were more or fewer of them, each gets its part of what was
    spent. A file that makes no sense is put aside, and the others count. Never fails; what else goes wrong is told, and
    then each begins with the file that it finds."""
    path = part_of(path, 0)
    there = _parts(path)
    if not there or there == set(range(parts)):
        return
    locks: list[int] = []
    operation: Operation = "state_lock"
    try:
        for number in sorted(there | set(range(parts))):
            locks.append(_locked(part_of(path, number)))
        operation, together = "state_read", Budgets()
        for number in sorted(there):
            try:
                together.add(_own(part_of(path, number)), {})
            except ValueError as error:
                told.failed(operation, _reason(error))
        operation = "state_write"
        for number, rows in enumerate(shared_out(together.rows(now), parts)):
            _replace(part_of(path, number), _encoded(rows))
        for number in there - set(range(parts)):
            part_of(path, number).unlink(missing_ok=True)
    except OSError as error:
        told.failed(operation, _reason(error))
    finally:
        for lock in locks:
            os.close(lock)


def _parts(path: Path) -> set[int]:
    """The numbers of the files that there are."""
    found = {0} if path.exists() else set()
    for other in path.parent.glob(f"{glob.escape(path.name)}.*"):
        number = other.name[len(path.name) + 1 :]
        if number.isascii() and number.isdigit():
            found.add(int(number))
    return found


def _locked(path: Path) -> int:
    """The lock of a file, which ends with the process whatever becomes of it."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OSError("another process uses it") from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all, whatever happens meanwhile."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.replace(f"{path}.new", path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _own(path: Path) -> KeyRows:
    """Nothing, where there is no file yet. ValueError for what is none of ours, which is put aside. OSError."""
    try:
        return _rows(path)
    except ValueError:
        os.replace(path, f"{path}.broken")
        raise


def _rows(path: Path) -> KeyRows:
    if path.exists() and not path.is_file():
        raise OSError("it is not a file")  # a pipe would be waited for
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    try:
        found = msgspec.json.decode(data, type=File) if len(data) <= MOST_BYTES else None
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        found = None
    if found is None or found.version != VERSION:
        raise ValueError("it is not what is written here, and is kept as .broken")
    return found.budgets


def _encoded(rows: KeyRows) -> bytes:
    return msgspec.json.format(msgspec.json.encode(File(version=VERSION, budgets=dict(rows))), indent=1) + b"\n"


def _reason(error: Exception) -> str:
    """In words without a path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
