"""A store in memory that keeps the rules of `router.chats.store`: what the real ones are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from providers.canonical.errors import RouteNotFound
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


class MemoryStore:
    def __init__(self, wall: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._wall, self._new_id = wall, new_id
        self._chats: dict[str, dict[str, Chat]] = {}
        self._requests: dict[tuple[str, str], tuple[Once, Saved, int]] = {}

    def _now(self) -> int:
        return int(self._wall() * 1000)

    def _get(self, owner: str, chat_id: str) -> Chat:
        found = self._chats.get(owner, {}).get(chat_id)
        if found is None:
            raise no_chat()
        return found

    def _put(self, owner: str, chat: Chat) -> None:
        self._chats.setdefault(owner, {})[chat.head.id] = chat

    def _message(self, draft: Draft, now: int) -> Message:
        return Message(
            id=draft.id or self._new_id(),
            role=draft.role,
            text=draft.text,
            created=now if draft.created is None else draft.created,
            updated=now if draft.updated is None else draft.updated,
            more=draft.more,
        )

    async def admit(self, owner: str, chat_id: str | None, history: Sequence[Draft] = ()) -> Head | None:
        if chat_id is not None:
            head, messages = self._get(owner, chat_id)
            new = fresh(_known(messages), history)
            check_room(head.messages + len(new) + 1, _bytes(messages) + sum(map(size, new)))
            return head
        check_chats(len(self._chats.get(owner, {})))
        check_room(len(history) + 1, sum(map(size, history)))
        return None

    async def recall(self, owner: str, once: Once) -> Saved | None:
        known = self._requests.get((owner, once.key))
        if known is None or known[2] <= self._now() or known[1].chat_id not in self._chats.get(owner, {}):
            return None
        if known[0] != once:
            raise Conflict("used")
        return known[1]._replace(again=True, title=self._get(owner, known[1].chat_id).head.title)

    def _remember(self, owner: str, once: Once | None, saved: Saved) -> Saved:
        if once is not None:
            self._requests[owner, once.key] = (once, saved, self._now() + REMEMBERED)
        return saved

    async def create(self, owner: str, chat: NewChat, messages: Sequence[Draft], once: Once | None = None) -> Saved:
        if once is not None and (found := await self.recall(owner, once)) is not None:
            return found
        await self.admit(owner, None)
        check_room(len(messages), sum(map(size, messages)))
        now = self._now()
        made = tuple(self._message(draft, now) for draft in messages)
        head = Head(id=self._new_id(), created=now, updated=now, messages=len(made), **msgspec.structs.asdict(chat))
        self._put(owner, Chat(head, made))
        return self._remember(owner, once, Saved(head.id, head.title, made[-1].id if made else ""))

    async def append(
        self, owner: str, chat_id: str, history: Sequence[Draft], answer: Draft, once: Once | None = None
    ) -> Saved:
        if once is not None and (found := await self.recall(owner, once)) is not None:
            return found
        head, messages = self._get(owner, chat_id)
        now = max(self._now(), head.updated)
        more = [self._message(draft, now) for draft in (*fresh(_known(messages), history), answer)]
        check_room(len(messages) + len(more), _bytes((*messages, *more)))
        head = msgspec.structs.replace(head, updated=now, messages=len(messages) + len(more))
        self._put(owner, Chat(head, (*messages, *more)))
        return self._remember(owner, once, Saved(chat_id, head.title, more[-1].id))

    async def fork(self, owner: str, chat_id: str, message_id: str, once: Once | None = None) -> Saved:
        if once is not None and (found := await self.recall(owner, once)) is not None:
            return found
        source, messages = self._get(owner, chat_id)
        ids = [message.id for message in messages]
        if message_id not in ids:
            raise RouteNotFound("Message not found")
        check_chats(len(self._chats.get(owner, {})))
        kept, now = messages[: ids.index(message_id) + 1], self._now()
        changes = {"title": forked_title(source.title), "created": now, "updated": now, "pinned": False, "fork": True}
        head = msgspec.structs.replace(source, id=self._new_id(), forked_from=chat_id, messages=len(kept), **changes)
        self._put(owner, Chat(head, kept))
        return self._remember(owner, once, Saved(head.id, head.title, message_id))

    async def pin(self, owner: str, chat_id: str, pinned: bool) -> None:
        await self.update(owner, chat_id, None, pinned)

    async def update(self, owner: str, chat_id: str, title: str | None, pinned: bool | None) -> Head:
        head, messages = self._get(owner, chat_id)
        if pinned is not None:
            head = msgspec.structs.replace(head, pinned=pinned)
        if title is not None:
            head = msgspec.structs.replace(head, title=title, updated=self._now())
        self._put(owner, Chat(head, messages))
        return head

    async def delete(self, owner: str, chat_id: str) -> None:
        self._get(owner, chat_id)
        del self._chats[owner][chat_id]

    async def chat(self, owner: str, chat_id: str) -> Chat:
        return self._get(owner, chat_id)

    async def page(self, owner: str, wanted: Wanted) -> Page:
        heads = [chat.head for chat in self._chats.get(owner, {}).values()]
        heads.sort(key=lambda head: (head.updated, head.id), reverse=True)
        found = [
            head
            for head in heads
            if (wanted.after is None or (head.updated, head.id) < wanted.after)
            and wanted.pinned in (None, head.pinned)
            and wanted.source in (None, head.source)
            and (wanted.text or "").casefold() in head.title.casefold()
        ]
        return Page(tuple(found[: wanted.limit]), len(found) > wanted.limit)

    async def purge(self, owner: str) -> int:
        return len(self._chats.pop(owner, {}))


def _known(messages: Sequence[Message]) -> list[Known]:
    return [Known(old.id, Draft(role=old.role, text=old.text).digest) for old in messages]


def _bytes(messages: Sequence[Message]) -> int:
    return sum(size(Draft(role=one.role, text=one.text, more=one.more)) for one in messages)


_: type[Store] = MemoryStore
