"""History, fetch, new, fork, pin, patch, delete: what becomes of chats when no model is asked.

Each is a function from a `Desk` (who asks, for what) to a status and a JSON value.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from router.chats.asking import SOURCE, chat_id, idempotency_key, message_id, pinned, refuse, title, turns, wanted
from router.chats.speaking import fetched, listed, moment
from router.chats.store import NewChat, Once, Store

Json: TypeAlias = Any
Reply: TypeAlias = tuple[int, Json]


class Desk(msgspec.Struct, kw_only=True):
    """One call. `owner` is whose chats these are, `subject` what the owner is called; `path` the row of the table."""

    store: Store
    owner: str
    subject: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Json]
    keys: Sequence[str]  # of each idempotency-key header

    @property
    def chat_id(self) -> str:
        return chat_id(self.params["chatId"])


def once(keys: Sequence[str], what: str, body: Json) -> Once | None:
    """A caller's idempotency key with what it asks for: the same key for anything else is a conflict."""
    key = idempotency_key(keys)
    if key is None:
        return None
    asked = what.encode() + b"\0" + msgspec.json.encode(body, order="sorted")
    return Once(key, hashlib.blake2b(asked, digest_size=32).hexdigest())


async def history(desk: Desk) -> Reply:
    """The owner's chats, the last changed first."""
    page = await desk.store.page(desk.owner, wanted(desk.query, _after(desk.query.get("cursor"))))
    last = page.heads[-1] if page.more else None
    cursor = _cursor(last.updated, last.id) if last is not None else None
    return 200, {"chats": [listed(head) for head in page.heads], "nextCursor": cursor}


def _cursor(updated: int, id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([updated, id])).decode().rstrip("=")


def _after(text: str | None) -> tuple[int, str] | None:
    if not text:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        updated, id = msgspec.json.decode(data, type=tuple[int, str])
        if _cursor(updated, chat_id(id)) == text and 0 <= updated < 1 << 62:
            return updated, id
    except (ValueError, msgspec.MsgspecError):
        pass
    refuse("cursor", "cursor must be a nextCursor of this history")


async def fetch(desk: Desk) -> Reply:
    return 200, {"data": fetched(await desk.store.chat(desk.owner, desk.chat_id), desk.subject)}


async def new(desk: Desk) -> Reply:
    """A chat with messages that were said elsewhere."""
    for field in ("title", "messages"):
        if field not in desk.body:
            refuse(field, f"{field} is required")
    chat = NewChat(title=title(desk.body["title"]), source=SOURCE)
    drafts = [turn.draft for turn in turns(desk.body["messages"], "messages", least=0)]
    asked = [desk.body["title"], desk.body["messages"]]
    saved = await desk.store.create(desk.owner, chat, drafts, once(desk.keys, desk.path, asked))
    return 201, {"chatId": saved.chat_id}


async def fork(desk: Desk) -> Reply:
    """A copy up to a message."""
    for field in ("chatId", "messageId"):
        if desk.body.get(field) is None:
            refuse(field, f"{field} is required")
    source, message = chat_id(desk.body["chatId"]), message_id(desk.body["messageId"], "messageId")
    saved = await desk.store.fork(desk.owner, source, message, once(desk.keys, desk.path, [source, message]))
    return 201, {"forkedChatId": saved.chat_id, "originalChatId": source, "forkedAtMessageId": message}


async def pin(desk: Desk) -> Reply:
    """Does not move the chat in the history."""
    id, on = desk.chat_id, pinned(desk.body.get("pinned"))
    await desk.store.pin(desk.owner, id, on)
    return 200, {"message": "Chat pinned" if on else "Chat unpinned", "chatId": id, "pinned": on}


async def patch(desk: Desk) -> Reply:
    """Title, or whether it is pinned, or both."""
    id, body = desk.chat_id, desk.body
    if "title" not in body and "pinned" not in body:
        refuse("title", "title or pinned is required")
    name = title(body["title"]) if "title" in body else None
    on = pinned(body["pinned"]) if "pinned" in body else None
    head = await desk.store.update(desk.owner, id, name, on)
    data = {"_id": id, "title": head.title, "pinned": head.pinned, "updatedAt": moment(head.updated)}
    return 200, {"message": "Chat updated", "data": data}


async def delete(desk: Desk) -> Reply:
    """For good."""
    id = desk.chat_id
    await desk.store.delete(desk.owner, id)
    return 200, {"message": "Chat deleted", "chatId": id}


Call: TypeAlias = Callable[[Desk], Awaitable[Reply]]

#: What is done at which path, and whether it reads a body.
CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/api/v1/chat/history"): history,
    ("GET", "/api/v1/chat/fetch/{chatId}"): fetch,
    ("POST", "/api/v1/chat/new"): new,
    ("POST", "/api/v1/chat/fork"): fork,
    ("PUT", "/api/v1/chat/{chatId}/pin"): pin,
    ("PATCH", "/api/v1/chat/{chatId}"): patch,
    ("DELETE", "/api/v1/chat/{chatId}"): delete,
}
