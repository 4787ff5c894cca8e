"""One owner's chats, for the command line: given out whole, or erased. The gateway may be running meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from providers.canonical.errors import RouteNotFound
from router.chats.database import SqlStore
from router.chats.service import new_id
from router.chats.speaking import fetched
from router.chats.sqlite import SqliteDatabase
from router.chats.store import NewerStore, Store, StoreUnavailable, Wanted

BUSY = 20.0  # seconds: nobody waits for us, and the gateway may be writing all the time
PATIENCE = 60.0

T = TypeVar("T")


class NoStore(Exception):
    """The store cannot be used. The message is one line for the operator."""


async def _with_store(path: str, work: Callable[[Store], Awaitable[T]], *, scrub: bool = False) -> T:
    reasons: list[str] = []
    database = SqliteDatabase(
        _found(Path(path)), lambda _, reason: reasons.append(reason), busy=BUSY, patience=PATIENCE
    )
    try:
        await database.open()
        result = await work(SqlStore(database, time.time, new_id))
        if scrub:
            await database.scrub()
        return result
    except NewerStore as error:
        raise NoStore(str(error)) from None
    except StoreUnavailable:
        raise NoStore(f"the chat store at {path} cannot be used: {'; '.join(reasons) or 'busy'}") from None
    finally:
        await database.close()


def _found(path: Path) -> Path:
    """The path of a store that is there: none is made only to be looked at."""
    if not path.exists():
        raise NoStore(f"there is no chat store at {path}")
    return path


async def export(path: str, owner: str, write: Callable[[str], object]) -> int:
    """Writes each chat as one line of JSON, as `GET /api/v1/chat/fetch` gives it. Gives their number.

    All that were there at the beginning, once, but for those that are deleted meanwhile.
    """
    began = time.time() * 1000

    async def work(store: Store) -> int:
        count, known = 0, set[str]()
        while ids := [id async for id in _old(store, owner, began) if id not in known]:
            for id in ids:
                with contextlib.suppress(RouteNotFound):
                    write(msgspec.json.encode(fetched(await store.chat(owner, id), owner)).decode())
                    count += 1
            known.update(ids)
        return count

    return await _with_store(path, work)


async def _old(store: Store, owner: str, began: float) -> AsyncIterator[str]:
    """The chats made before a moment. One that changes meanwhile may be passed over: it moves to where we have been."""
    wanted = Wanted()
    while True:
        page = await store.page(owner, wanted)
        for head in page.heads:
            if head.created <= began:
                yield head.id
        if not page.more:
            return
        wanted = Wanted(after=(page.heads[-1].updated, page.heads[-1].id))


async def purge(path: str, owner: str) -> int:
    """Erases everything that an owner has, out of the file, too. Gives the number of chats."""
    return await _with_store(path, lambda store: store.purge(owner), scrub=True)
