"""The store in SQL, whatever the database: SQLAlchemy Core, one transaction for each method.

A `Database` knows its engine: how transactions begin, what a failure looks like, where everything lies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from sqlalchemy import ColumnElement, LargeBinary, and_, cast, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from providers.canonical.errors import RequestTooLarge, RouteNotFound
from router.chats.store import (
    REMEMBERED,
    Chat,
    Conflict,
    Draft,
    Head,
    Known,
    Message,
    NewChat,
    Once,
    Page,
    Saved,
    Store,
    Wanted,
    check_chats,
    check_room,
    forked_title,
    fresh,
    no_chat,
    size,
)
from router.chats.tables import chats, messages, requests

ERASED_AT_ONCE = 200  # chats
ERASED_BYTES_AT_ONCE = 1 << 20  # of them, but for the last one
_ROW = 512  # bytes that a message takes beside its words, about

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]

_HEAD = tuple(chats.c[name] for name in Head.__struct_fields__)
_MESSAGE = (messages.c.id, messages.c.role, messages.c.text, messages.c.created, messages.c.updated, messages.c.more)


class Database(Protocol):
    """Runs transactions, whole or not at all. Both raise StoreUnavailable. `write` runs one after the other."""

    async def read(self, work: Work[T]) -> T: ...
    async def write(self, work: Work[T]) -> T: ...

    def erased(self) -> None:
        """Something was deleted, and is to be gone from the disk soon."""
        ...


class SqlStore:
    """`wall` gives Unix seconds, `new_id` 24 hex digits."""

    def __init__(self, database: Database, wall: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._database = database
        self._wall = wall
        self._new_id = new_id

    def _now(self) -> int:
        return int(self._wall() * 1000)

    # ── saving ────────────────────────────────────────────────────────────────────────────

    async def admit(self, owner: str, chat_id: str | None, history: Sequence[Draft] = ()) -> Head | None:
        """In a transaction that may write: what cannot be written now is found before an upstream is paid."""

        async def work(connection: AsyncConnection) -> Head | None:
            if chat_id is not None:
                head = await _head(connection, owner, chat_id)
                await _check_room(connection, head, history)
                return head
            await _check_chats(connection, owner)
            check_room(len(history) + 1, sum(map(size, history)))
            return None

        return await self._database.write(work)

    async def recall(self, owner: str, once: Once) -> Saved | None:
        return await self._database.read(lambda connection: self._recall(connection, owner, once))

    async def create(self, owner: str, chat: NewChat, drafts: Sequence[Draft], once: Once | None = None) -> Saved:
        async def work(connection: AsyncConnection) -> Saved:
            if (found := await self._recall(connection, owner, once)) is not None:
                return found
            await _check_chats(connection, owner)
            now, bytes_ = self._now(), sum(map(size, drafts))
            check_room(len(drafts), bytes_)
            head = Head(
                id=self._new_id(), created=now, updated=now, messages=len(drafts), **msgspec.structs.asdict(chat)
            )
            await connection.execute(insert(chats).values(owner=owner, bytes=bytes_, **_columns(head)))
            last = await self._insert(connection, head.id, 0, drafts, now)
            return await self._remember(connection, owner, once, Saved(head.id, head.title, last))

        return await self._database.write(work)

    async def append(
        self, owner: str, chat_id: str, history: Sequence[Draft], answer: Draft, once: Once | None = None
    ) -> Saved:
        async def work(connection: AsyncConnection) -> Saved:
            if (found := await self._recall(connection, owner, once)) is not None:
                return found
            head = await _head(connection, owner, chat_id)
            known = await _known(connection, chat_id)
            size_ = await _size(connection, chat_id)
            drafts = [*fresh(known, history), answer]
            now, count, bytes_ = (
                max(self._now(), head.updated),
                head.messages + len(drafts),
                size_ + sum(map(size, drafts)),
            )
            check_room(count, bytes_)
            last = await self._insert(connection, chat_id, head.messages, drafts, now)
            changes = {"updated": now, "messages": count, "bytes": bytes_}
            await connection.execute(update(chats).where(chats.c.id == chat_id).values(**changes))
            return await self._remember(connection, owner, once, Saved(chat_id, head.title, last))

        return await self._database.write(work)

    async def _insert(
        self, connection: AsyncConnection, chat_id: str, first: int, drafts: Sequence[Draft], now: int
    ) -> str:
        """Messages of a chat, from a position on. Gives the id of the last."""
        rows = [self._row(chat_id, first + index, draft, now) for index, draft in enumerate(drafts)]
        if rows:
            await connection.execute(insert(messages), rows)
        return rows[-1]["id"] if rows else ""

    def _row(self, chat_id: str, position: int, draft: Draft, now: int) -> dict[str, Any]:
        return {
            "chat_id": chat_id,
            "position": position,
            "id": draft.id or self._new_id(),
            "role": draft.role,
            "text": draft.text,
            "digest": draft.digest,
            "more": msgspec.json.encode(draft.more).decode() if draft.more else None,
            "created": now if draft.created is None else draft.created,
            "updated": now if draft.updated is None else draft.updated,
        }

    async def fork(self, owner: str, chat_id: str, message_id: str, once: Once | None = None) -> Saved:
        async def work(connection: AsyncConnection) -> Saved:
            if (found := await self._recall(connection, owner, once)) is not None:
                return found
            source = await _head(connection, owner, chat_id)
            here = and_(messages.c.chat_id == chat_id, messages.c.id == message_id)
            last = (await connection.execute(select(messages.c.position).where(here))).scalar()
            if last is None:
                raise RouteNotFound("Message not found")
            await _check_chats(connection, owner)
            head = self._forked(source)
            await connection.execute(insert(chats).values(owner=owner, bytes=0, **_columns(head)))
            await _copy(connection, chat_id, head.id, last)
            return await self._remember(connection, owner, once, Saved(head.id, head.title, message_id))

        return await self._database.write(work)

    def _forked(self, source: Head) -> Head:
        now = self._now()
        return msgspec.structs.replace(
            source,
            id=self._new_id(),
            title=forked_title(source.title),
            created=now,
            updated=now,
            pinned=False,
            fork=True,
            forked_from=source.id,
        )

    # ── the same request twice ────────────────────────────────────────────────────────────

    async def _recall(self, connection: AsyncConnection, owner: str, once: Once | None) -> Saved | None:
        if once is None:
            return None
        here = and_(requests.c.owner == owner, requests.c.key == once.key, requests.c.expires > self._now())
        joined = requests.join(chats, chats.c.id == requests.c.chat_id)
        columns = (requests.c.digest, requests.c.chat_id, requests.c.message_id, chats.c.title)
        found = (await connection.execute(select(*columns).select_from(joined).where(here))).first()
        if found is None:
            return None
        if found.digest != once.digest:
            raise Conflict("this idempotency-key was used for another request", param="idempotency-key")
        return Saved(found.chat_id, found.title, found.message_id, again=True)

    async def _remember(self, connection: AsyncConnection, owner: str, once: Once | None, saved: Saved) -> Saved:
        if once is not None:
            now = self._now()
            await connection.execute(delete(requests).where(requests.c.expires <= now))
            row = {"owner": owner, "key": once.key, "digest": once.digest, "expires": now + REMEMBERED}
            row |= {"chat_id": saved.chat_id, "message_id": saved.message_id}
            await connection.execute(insert(requests).values(**row))
        return saved

    # ── changing ──────────────────────────────────────────────────────────────────────────

    async def pin(self, owner: str, chat_id: str, pinned: bool) -> None:
        await self._change(owner, chat_id, {"pinned": pinned})

    async def update(self, owner: str, chat_id: str, title: str | None, pinned: bool | None) -> Head:
        changes: dict[str, Any] = {} if pinned is None else {"pinned": pinned}
        if title is not None:
            changes |= {"title": title, "title_folded": title.casefold(), "updated": self._now()}
        return await self._change(owner, chat_id, changes)

    async def _change(self, owner: str, chat_id: str, changes: dict[str, Any]) -> Head:
        async def work(connection: AsyncConnection) -> Head:
            found = await connection.execute(update(chats).where(_is(owner, chat_id)).values(**changes))
            if not found.rowcount:
                raise no_chat()
            return await _head(connection, owner, chat_id)

        return await self._database.write(work)

    async def delete(self, owner: str, chat_id: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            found = await connection.execute(delete(chats).where(_is(owner, chat_id)))
            if not found.rowcount:
                raise no_chat()

        await self._database.write(work)
        self._database.erased()

    async def purge(self, owner: str) -> int:
        """A few chats at a time: others write in between, and no transaction takes longer than one may."""

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(delete(requests).where(requests.c.owner == owner))
            weight = (chats.c.bytes + chats.c.messages * _ROW).label("weight")
            query = select(chats.c.id, weight).where(chats.c.owner == owner).limit(ERASED_AT_ONCE)
            sizes = [(row.id, row.weight) for row in await connection.execute(query)]
            ends = accumulate(size_ for _, size_ in sizes)
            ids = [id for (id, size_), end in zip(sizes, ends, strict=True) if end - size_ < ERASED_BYTES_AT_ONCE]
            await connection.execute(delete(chats).where(chats.c.id.in_(ids)))
            return len(ids)

        count, clock = 0, asyncio.get_running_loop().time
        while True:
            began = clock()
            erased = await self._database.write(work)
            count += erased
            if not erased:
                return count
            self._database.erased()
            await asyncio.sleep(clock() - began)  # whoever waits for the file looks again only now and then

    # ── reading ───────────────────────────────────────────────────────────────────────────

    async def chat(self, owner: str, chat_id: str) -> Chat:
        async def work(connection: AsyncConnection) -> Chat:
            head = await _head(connection, owner, chat_id)
            query = select(*_MESSAGE).where(messages.c.chat_id == chat_id).order_by(messages.c.position)
            return Chat(head, tuple(map(_message, await connection.execute(query))))

        return await self._database.read(work)

    async def page(self, owner: str, wanted: Wanted) -> Page:
        query = select(*_HEAD).where(chats.c.owner == owner)
        if wanted.after is not None:
            updated, id = wanted.after
            query = query.where(or_(chats.c.updated < updated, and_(chats.c.updated == updated, chats.c.id < id)))
        if wanted.pinned is not None:
            query = query.where(chats.c.pinned == wanted.pinned)
        if wanted.source is not None:
            query = query.where(chats.c.source == wanted.source)
        if wanted.text is not None:
            query = query.where(func.instr(chats.c.title_folded, wanted.text.casefold()) > 0)  # LIKE ends at a NUL
        query = query.order_by(chats.c.updated.desc(), chats.c.id.desc()).limit(wanted.limit + 1)

        async def work(connection: AsyncConnection) -> Page:
            rows = (await connection.execute(query)).all()
            return Page(tuple(Head(**row._mapping) for row in rows[: wanted.limit]), len(rows) > wanted.limit)

        return await self._database.read(work)


def _is(owner: str, chat_id: str) -> Any:
    return and_(chats.c.id == chat_id, chats.c.owner == owner)


async def _head(connection: AsyncConnection, owner: str, chat_id: str) -> Head:
    """RouteNotFound unless the owner has it."""
    found = (await connection.execute(select(*_HEAD).where(_is(owner, chat_id)))).first()
    if found is None:
        raise no_chat()
    return Head(**found._mapping)


async def _check_chats(connection: AsyncConnection, owner: str) -> None:
    query = select(func.count()).select_from(chats).where(chats.c.owner == owner)
    check_chats((await connection.execute(query)).scalar_one())


async def _check_room(connection: AsyncConnection, head: Head, history: Sequence[Draft]) -> None:
    """For an answer, and what is new of a history: looked at closely only where not all of it would fit."""
    size_ = await _size(connection, head.id)
    with contextlib.suppress(RequestTooLarge):
        return check_room(head.messages + len(history) + 1, size_ + sum(map(size, history)))
    new = fresh(await _known(connection, head.id), history)
    check_room(head.messages + len(new) + 1, size_ + sum(map(size, new)))


async def _size(connection: AsyncConnection, chat_id: str) -> int:
    return int((await connection.execute(select(chats.c.bytes).where(chats.c.id == chat_id))).scalar_one())


async def _known(connection: AsyncConnection, chat_id: str) -> list[Known]:
    query = select(messages.c.id, messages.c.digest).where(messages.c.chat_id == chat_id).order_by(messages.c.position)
    return [Known(row.id, row.digest) for row in await connection.execute(query)]


async def _copy(connection: AsyncConnection, source: str, target: str, last: int) -> None:
    """The messages of a chat up to a position, and the counts of its copy."""
    names = [column.name for column in messages.c if column.name != "chat_id"]
    rows = select(literal(target), *(messages.c[name] for name in names))
    rows = rows.where(messages.c.chat_id == source, messages.c.position <= last)
    await connection.execute(insert(messages).from_select(["chat_id", *names], rows))
    kept = _bytes(messages.c.text) + func.coalesce(_bytes(messages.c.more), 0)
    counts = select(func.count(), func.coalesce(func.sum(kept), 0)).where(messages.c.chat_id == target)
    count, bytes_ = (await connection.execute(counts)).one()
    await connection.execute(update(chats).where(chats.c.id == target).values(messages=count, bytes=bytes_))


def _bytes(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Of a text; its length is in characters, and ends at a NUL."""
    return func.length(cast(column, LargeBinary))


def _columns(head: Head) -> dict[str, Any]:
    return {**msgspec.structs.asdict(head), "title_folded": head.title.casefold()}


def _message(row: Any) -> Message:
    return Message(
        id=row.id,
        role=row.role,
        text=row.text,
        created=row.created,
        updated=row.updated,
        more=msgspec.json.decode(row.more) if row.more else {},
    )


_: type[Store] = SqlStore
