"""What the chat service keeps, as an interface: SQLite fulfils it, other databases will, and one suite tests them all.

Every method names the owner, and another owner's chat is not there: nothing tells it from one that never was.
A method that returns has written for good. All of them raise StoreUnavailable when the store cannot be reached.

Times are integer milliseconds since 1970, sizes bytes, ids 24 lower-case hex digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from providers.canonical.errors import CallerError, Category, Overloaded, RequestTooLarge, RouteNotFound

Json: TypeAlias = Any

MOST_CHATS = 10_000  # of one owner
MOST_MESSAGES = 2_000  # of one chat
MOST_MESSAGE_BYTES = 256 << 10
MOST_CHAT_BYTES = 32 << 20
REMEMBERED = 24 * 3600 * 1000  # how long an idempotency key is known
LONGEST_PAGE = 1000


class StoreUnavailable(Overloaded):
    """The store cannot be reached or written; everything else goes on."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("the chat store is not available, try again later", retry_after=2.0)


class Conflict(CallerError):
    """An idempotency key that was used for something else."""

    kind = "malformed"
    category: Category = "invalid_request"
    status = 409
    code = "conflict"


class NewerStore(Exception):
    """The store was written by a newer version of this program. The message is for the operator."""


def no_chat() -> RouteNotFound:
    """The answer to every id that is not the owner's."""
    return RouteNotFound("Chat not found")


# ── values ─────────────────────────────────────────────────────────────────────────────────────


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be kept. `more` is what belongs to it without being said: json, thinking_steps, steps, tools."""

    role: str
    text: str
    id: str | None = None
    created: int | None = None
    updated: int | None = None
    more: Mapping[str, Json] = {}

    @property
    def digest(self) -> str:
        """The same for the same words of the same role."""
        said = f"{self.role}\0{self.text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(said, digest_size=16).hexdigest()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    role: str
    text: str
    created: int
    updated: int
    more: Mapping[str, Json] = {}


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A chat without its messages."""

    id: str
    title: str
    source: str
    created: int
    updated: int
    messages: int
    username: str | None = None
    scope: str | None = None
    pinned: bool = False
    fork: bool = False
    forked_from: str | None = None


class Chat(NamedTuple):
    head: Head
    messages: tuple[Message, ...]


class NewChat(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    source: str
    username: str | None = None
    scope: str | None = None


class Once(NamedTuple):
    """A caller's idempotency key, and a digest of what was asked for with it."""

    key: str
    digest: str


class Saved(NamedTuple):
    """`message_id` is that of the last message; `again`: it had been saved before, by the same request."""

    chat_id: str
    title: str
    message_id: str
    again: bool = False


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the history. `after`: (updated, id) of the last chat of the page before."""

    limit: int = LONGEST_PAGE
    after: tuple[int, str] | None = None
    pinned: bool | None = None
    source: str | None = None
    text: str | None = None  # part of the title, in upper or lower case


class Page(NamedTuple):
    heads: tuple[Head, ...]
    more: bool


class Store(Protocol):
    """Chats by owner."""

    async def admit(self, owner: str, chat_id: str | None, history: Sequence[Draft] = ()) -> Head | None:
        """Before a generation: could it be saved, with what is new of a history? The chat, if it has one already.
        RouteNotFound, RequestTooLarge."""
        ...

    async def recall(self, owner: str, once: Once) -> Saved | None:
        """What a request with this key has saved. Conflict when that was another request."""
        ...

    async def create(self, owner: str, chat: NewChat, messages: Sequence[Draft], once: Once | None = None) -> Saved: ...

    async def append(
        self, owner: str, chat_id: str, history: Sequence[Draft], answer: Draft, once: Once | None = None
    ) -> Saved:
        """Those messages of a history that the chat does not have (`fresh`), and the answer."""
        ...

    async def fork(self, owner: str, chat_id: str, message_id: str, once: Once | None = None) -> Saved: ...
    async def pin(self, owner: str, chat_id: str, pinned: bool) -> None: ...
    async def update(self, owner: str, chat_id: str, title: str | None, pinned: bool | None) -> Head: ...
    async def delete(self, owner: str, chat_id: str) -> None: ...
    async def chat(self, owner: str, chat_id: str) -> Chat: ...
    async def page(self, owner: str, wanted: Wanted) -> Page: ...

    async def purge(self, owner: str) -> int:
        """Everything of an owner, for good. Gives how many chats that were."""
        ...


# ── rules that every store keeps ───────────────────────────────────────────────────────────────


class Known(NamedTuple):
    """A message that a chat has, as far as comparing goes."""

    id: str
    digest: str


def fresh(known: Sequence[Known], history: Sequence[Draft]) -> list[Draft]:
    """The messages of a caller's history that a chat does not have yet.

    One with an id is known by it. Those without are known as far as the history begins as the chat does, and as far
    as it then goes on with the last messages of the chat: many callers send the end of a long conversation only. One
    who sends only the new message may repeat the first one ever said: where nothing would be new although the chat
    went on after that, the last message is.
    """
    ids = {message.id for message in known}
    common = 0
    for old, new in zip(known, history, strict=False):
        if (new.id != old.id) if new.id is not None else (new.digest != old.digest):
            break
        common += 1
    last = _overlap(known[common:], history[common:])
    found = [new for new in history[common + last :] if new.id is None or new.id not in ids]
    if not found and not last and history and history[-1].id is None and len(known) > len(history):
        return [history[-1]]
    return found


def _overlap(known: Sequence[Known], history: Sequence[Draft]) -> int:
    """How many messages without ids, with which a history begins, are the last ones of a chat."""
    had = [message.digest for message in known]
    said = [message.digest for message in takewhile(lambda message: message.id is None, history)]
    return next((count for count in range(min(len(had), len(said)), 0, -1) if had[-count:] == said[:count]), 0)


def size(message: Draft) -> int:
    """Bytes of a message."""
    return len(message.text.encode("utf-8", "surrogatepass")) + (
        len(msgspec.json.encode(message.more)) if message.more else 0
    )


def check_size(message: Draft) -> None:
    """RequestTooLarge for what no caller may have kept. A model may say more."""
    if size(message) > MOST_MESSAGE_BYTES:
        raise RequestTooLarge(f"a message is larger than {MOST_MESSAGE_BYTES >> 10} KiB")


def check_chats(chats: int) -> None:
    """RequestTooLarge for an owner who has so many already."""
    if chats >= MOST_CHATS:
        raise RequestTooLarge(f"an owner has at most {MOST_CHATS} chats")


def check_room(messages: int, bytes_: int) -> None:
    """RequestTooLarge for a chat that would hold so much."""
    if messages > MOST_MESSAGES:
        raise RequestTooLarge(f"a chat holds at most {MOST_MESSAGES} messages")
    if bytes_ > MOST_CHAT_BYTES:
        raise RequestTooLarge(f"a chat holds at most {MOST_CHAT_BYTES >> 20} MiB")


FORKED = " (fork)"
LONGEST_TITLE = 200


def forked_title(title: str) -> str:
    return title[: LONGEST_TITLE - len(FORKED)] + FORKED
