"""What every store must do: the suite that SQLite passes, and that whatever comes beside it has to pass.

A new store is one more way of `STORES`. The first is a model in memory, so that the suite itself is known to be right.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.errors import RequestTooLarge, RouteNotFound, RouterError
from router.chats import store as rules
from router.chats.database import SqlStore
from router.chats.sqlite import SqliteDatabase
from router.chats.store import Conflict, Draft, Known, NewChat, Once, Store, Wanted, fresh
from tests.fakes import FakeClock
from tests.router.chats.memory import MemoryStore

Made: TypeAlias = AbstractAsyncContextManager[Store]


def counting() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):024x}"


@asynccontextmanager
async def in_memory(folder: Path, clock: FakeClock) -> AsyncIterator[Store]:
    yield MemoryStore(clock, counting())


@asynccontextmanager
async def in_sqlite(folder: Path, clock: FakeClock) -> AsyncIterator[Store]:
    failures: list[str] = []
    database = SqliteDatabase(folder / "chats.db", lambda what, why: failures.append(f"{what}: {why}"))
    await database.open()
    try:
        yield SqlStore(database, clock, counting())
    finally:
        await database.close()
        assert [] == failures


STORES: dict[str, Callable[[Path, FakeClock], Made]] = {"memory": in_memory, "sqlite": in_sqlite}
A, B = "jwt:alice", "jwt:bob"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with STORES[request.param](tmp_path, clock) as made:
        yield made


def chat(title: str = "A chat", **more: Any) -> NewChat:
    return NewChat(title=title, source="test", **more)


def user(text: str, **more: Any) -> Draft:
    return Draft(role="user", text=text, **more)


def assistant(text: str, **more: Any) -> Draft:
    return Draft(role="assistant", text=text, **more)


async def texts(store: Store, chat_id: str, owner: str = A) -> list[str]:
    return [message.text for message in (await store.chat(owner, chat_id)).messages]


# ── keeping ────────────────────────────────────────────────────────────────────────────────────

ODD = ["😀 e\u0301", "a\0b", "\"'`;--", "%_\\%", "'); DROP TABLE chats; --", "<script>", "x" * 200_000, "\u2028\r\n\t"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
async def test_d01_what_is_saved_is_what_is_read(store: Store, text: str) -> None:
    """Any text, to the character; so is what belongs to a message."""
    more = {"json": text, "steps": [{"x": [1, None, 1.5]}], "thinking_steps": [], "tools": {"a": True}}
    saved = await store.create(
        A, chat(text[:200], username="u"), [user(text, id="m1", created=5, updated=6, more=more)]
    )
    head, messages = await store.chat(A, saved.chat_id)

    assert (text[:200], "u", 1, "m1") == (head.title, head.username, head.messages, saved.message_id)
    assert [("m1", "user", text, 5, 6, more)] == [
        (m.id, m.role, m.text, m.created, m.updated, m.more) for m in messages
    ]


async def test_messages_keep_their_order_and_get_ids(store: Store) -> None:
    """As they were given; what has no id gets one."""
    saved = await store.create(A, chat(), [user(str(number)) for number in range(50)])
    head, messages = await store.chat(A, saved.chat_id)

    assert [str(number) for number in range(50)] == [message.text for message in messages]
    assert 50 == head.messages == len({message.id for message in messages}) and saved.message_id == messages[-1].id


async def test_a_chat_may_be_empty(store: Store) -> None:
    """No messages is a number of messages."""
    saved = await store.create(A, chat(), [])

    assert ((), "") == ((await store.chat(A, saved.chat_id)).messages, saved.message_id)


async def test_an_answer_is_added_with_what_is_new(store: Store, clock: FakeClock) -> None:
    """The messages that the chat has are not stored again; the chat moves up."""
    saved = await store.create(A, chat(), [user("Hello"), assistant("Hi!")])
    clock.advance(2)
    await store.append(A, saved.chat_id, [user("Hello"), assistant("Hi!"), user("More")], assistant("Well"))
    head = (await store.chat(A, saved.chat_id)).head

    assert ["Hello", "Hi!", "More", "Well"] == await texts(store, saved.chat_id)
    assert (2000, 4) == (head.updated - head.created, head.messages)


async def test_d04_appends_at_the_same_time_lose_nothing(store: Store) -> None:
    """Fifty writers of one chat, and fifty new titles: everything is there afterwards."""
    saved = await store.create(A, chat(), [])
    appends = (store.append(A, saved.chat_id, [user(f"q{n}", id=f"q{n}")], assistant(f"a{n}")) for n in range(50))
    updates = (store.update(A, saved.chat_id, f"t{n}", n % 2 == 0) for n in range(50))
    await asyncio.gather(*appends, *updates)
    found = await texts(store, saved.chat_id)

    assert sorted([f"q{n}" for n in range(50)] + [f"a{n}" for n in range(50)]) == sorted(found)
    assert all(found[found.index(f"q{n}") + 1] == f"a{n}" for n in range(50))
    assert 100 == (await store.chat(A, saved.chat_id)).head.messages


# ── whose ──────────────────────────────────────────────────────────────────────────────────────


async def test_d02_another_owners_chat_is_not_there(store: Store) -> None:
    """For every method, as an id that never was; nothing changes."""
    saved = await store.create(A, chat("mine"), [user("x", id="m")])
    before = await store.chat(A, saved.chat_id)
    for id in (saved.chat_id, "f" * 24):
        for attempt in (
            store.admit(B, id),
            store.chat(B, id),
            store.append(B, id, [user("y")], assistant("z")),
            store.fork(B, id, "m"),
            store.pin(B, id, True),
            store.update(B, id, "theirs", True),
            store.delete(B, id),
        ):
            with pytest.raises(RouteNotFound, match="Chat not found"):
                await attempt
    await store.purge(B)

    assert before == await store.chat(A, saved.chat_id)
    assert () == (await store.page(B, Wanted())).heads


# ── changing ───────────────────────────────────────────────────────────────────────────────────


async def test_a_pin_does_not_move_a_chat(store: Store, clock: FakeClock) -> None:
    """The order of the history stays; a title moves it."""
    first, second = [(await store.create(A, chat(title), [])).chat_id for title in ("one", "two")]
    clock.advance(1)
    await store.pin(A, first, True)
    await store.pin(A, first, True)
    order = [(head.id, head.pinned) for head in (await store.page(A, Wanted())).heads]
    await store.update(A, first, "new", None)

    assert [(second, False), (first, True)] == order
    assert [first, second] == [head.id for head in (await store.page(A, Wanted())).heads]


async def test_t_4_5_what_is_deleted_is_gone_and_its_forks_are_whole(store: Store) -> None:
    """A second delete finds nothing."""
    saved = await store.create(A, chat(), [user("x", id="m")])
    fork = await store.fork(A, saved.chat_id, "m")
    await store.delete(A, saved.chat_id)

    for attempt in (store.chat(A, saved.chat_id), store.delete(A, saved.chat_id)):
        with pytest.raises(RouteNotFound):
            await attempt
    assert ["x"] == await texts(store, fork.chat_id)
    assert [fork.chat_id] == [head.id for head in (await store.page(A, Wanted())).heads]


async def test_d10_a_fork_is_a_copy_up_to_a_message(store: Store) -> None:
    """Ids kept, title marked, not pinned; neither touches the other; a fork of a fork points at that fork."""
    drafts = [user("1", id="a"), assistant("2", id="b", more={"json": "{}"}), user("3", id="c"), assistant("4", id="d")]
    saved = await store.create(A, chat("t" * 200, scope="internal"), drafts)
    await store.pin(A, saved.chat_id, True)
    fork = await store.fork(A, saved.chat_id, "b")
    head, messages = await store.chat(A, fork.chat_id)
    await store.append(A, fork.chat_id, [user("else")], assistant("yes"))
    again = (await store.chat(A, (await store.fork(A, fork.chat_id, "a")).chat_id)).head

    assert (["a", "b"], {"json": "{}"}) == ([message.id for message in messages], messages[1].more)
    assert (True, saved.chat_id, False, 2, "internal") == (
        head.fork,
        head.forked_from,
        head.pinned,
        head.messages,
        head.scope,
    )
    assert 200 == len(head.title) and head.title.endswith(" (fork)")
    assert ["1", "2", "3", "4"] == await texts(store, saved.chat_id)
    assert fork.chat_id == again.forked_from
    with pytest.raises(RouteNotFound, match="Message not found"):
        await store.fork(A, saved.chat_id, "nowhere")


async def test_a_fork_is_as_large_as_its_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as its characters up to a NUL: the room of a chat is not passed by forking it."""
    monkeypatch.setattr(rules, "MOST_CHAT_BYTES", 70)
    text = "é\0" * 10  # 30 bytes
    saved = await store.create(A, chat(), [user(text, id="a")])
    fork = await store.fork(A, saved.chat_id, "a")

    with pytest.raises(RequestTooLarge):
        await store.append(A, fork.chat_id, [user("è\0" * 10)], assistant("x" * 11))
    await store.append(A, fork.chat_id, [user("è\0" * 10)], assistant("x" * 10))


async def test_an_owner_is_erased_and_no_other(store: Store) -> None:
    """All chats, and what was remembered of requests; the number is told."""
    for owner, key in ((A, "k1"), (A, "k2"), (B, "k1")):
        await store.create(owner, chat(), [user("x")], Once(key, "d"))

    assert 2 == await store.purge(A) and 0 == await store.purge(A)
    assert () == (await store.page(A, Wanted())).heads and 1 == len((await store.page(B, Wanted())).heads)
    assert None is await store.recall(A, Once("k1", "d"))


# ── pages ──────────────────────────────────────────────────────────────────────────────────────


async def test_t_4_8_each_chat_is_on_one_page_while_others_are_added(store: Store, clock: FakeClock) -> None:
    """Chats of one moment, pages of seven, new ones between."""
    old = {(await store.create(A, chat(), [])).chat_id for _ in range(50)}
    seen: list[str] = []
    after: tuple[int, str] | None = None
    while True:
        page = await store.page(A, Wanted(limit=7, after=after))
        seen += [head.id for head in page.heads]
        if not page.more:
            break
        after = (page.heads[-1].updated, page.heads[-1].id)
        clock.advance(1)
        await store.create(A, chat(), [])

    assert sorted(old) == sorted(seen)


async def test_pages_can_be_narrowed(store: Store) -> None:
    """By pin, by source, by a part of the title whatever its case; signs that databases read are letters."""
    ids = {}
    for title in ("100% sure", "100 sure", "a_b", "axb", "STRASSE", "Ünï"):
        ids[title] = (await store.create(A, NewChat(title=title, source=title[:1]), [])).chat_id
    await store.pin(A, ids["axb"], True)

    async def found(**wanted: Any) -> set[str]:
        return {head.title for head in (await store.page(A, Wanted(**wanted))).heads}

    assert {"100% sure"} == await found(text="0% S") and {"a_b"} == await found(text="A_")
    assert {"STRASSE"} == await found(text="straße") and {"Ünï"} == await found(text="üNÏ")
    assert {"axb"} == await found(pinned=True) and {"100% sure", "100 sure"} == await found(source="1")
    assert set() == await found(text="'; --")
    assert set() == await found(text="\0") == await found(text="a\0zzz")


# ── once ───────────────────────────────────────────────────────────────────────────────────────


async def test_d13_the_same_request_is_saved_once(store: Store, clock: FakeClock) -> None:
    """Within a day, for one owner; another request with the same key is a conflict; a deleted chat frees the key."""
    once = Once("k", "d")
    saves = await asyncio.gather(*(store.create(A, chat(), [user("x")], once) for _ in range(5)))
    other = await store.create(B, chat(), [user("x")], once)
    with pytest.raises(Conflict):
        await store.create(A, chat(), [], Once("k", "other"))
    with pytest.raises(Conflict):
        await store.recall(A, Once("k", "other"))
    recalled = await store.recall(A, once)

    assert 1 == len({saved.chat_id for saved in saves}) == len((await store.page(A, Wanted())).heads)
    assert [False, True, True, True, True] == sorted(saved.again for saved in saves)
    assert other.chat_id != saves[0].chat_id and recalled is not None and recalled.again
    clock.advance(rules.REMEMBERED / 1000 + 1)
    later = await store.create(A, chat(), [], once)
    await store.delete(A, later.chat_id)

    assert not later.again and None is await store.recall(A, once)
    assert not (await store.create(A, chat(), [], once)).again


async def test_answers_and_forks_are_saved_once_too(store: Store) -> None:
    """A repeated append adds nothing, a repeated fork makes no second."""
    saved = await store.create(A, chat(), [user("x", id="m")])
    for _ in range(2):
        await store.append(A, saved.chat_id, [user("q")], assistant("a"), Once("k1", "d"))
        await store.fork(A, saved.chat_id, "m", Once("k2", "d"))

    assert ["x", "q", "a"] == await texts(store, saved.chat_id)
    assert 2 == len((await store.page(A, Wanted())).heads)


# ── limits ─────────────────────────────────────────────────────────────────────────────────────


async def test_limits_hold_and_what_passes_them_changes_nothing(store: Store) -> None:
    """Messages of a chat: refused whole, and before a model is asked."""
    saved = await store.create(A, chat(), [user("x")] * rules.MOST_MESSAGES)
    for attempt in (
        store.append(A, saved.chat_id, [], assistant("one more")),
        store.create(A, chat(), [user("x")] * (rules.MOST_MESSAGES + 1)),
        store.admit(A, saved.chat_id),
    ):
        with pytest.raises(RequestTooLarge):
            await attempt

    assert rules.MOST_MESSAGES == len(await texts(store, saved.chat_id))
    assert 1 == len((await store.page(A, Wanted())).heads)


async def test_what_would_pass_a_limit_is_known_before_a_model_is_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of chats, of messages, of bytes: with what is new of the history, and no more than that."""
    monkeypatch.setattr(rules, "MOST_MESSAGES", 4)
    monkeypatch.setattr(rules, "MOST_CHAT_BYTES", 40)
    monkeypatch.setattr(rules, "MOST_CHATS", 2)
    past = [user("a" * 10), assistant("b" * 10)]
    saved = await store.create(A, chat(), past)

    assert await store.admit(A, saved.chat_id, [*past, user("c" * 20)])
    assert None is await store.admit(A, None, [*past, user("c" * 20)])
    for id, history in (
        (saved.chat_id, [user("c"), user("d")]),
        (saved.chat_id, [*past, user("c" * 21)]),
        (None, [user("c")] * 4),
        (None, [user("c" * 41)]),
    ):
        with pytest.raises(RequestTooLarge, match="a chat holds at most"):
            await store.admit(A, id, history)
    await store.fork(A, saved.chat_id, (await store.chat(A, saved.chat_id)).messages[0].id)
    for attempt in (
        store.admit(A, None),
        store.create(A, chat(), []),
        store.fork(A, saved.chat_id, (await store.chat(A, saved.chat_id)).messages[0].id),
    ):
        with pytest.raises(RequestTooLarge, match="an owner has at most"):
            await attempt


# ── two owners, any operations ─────────────────────────────────────────────────────────────────

TEXTS = st.sampled_from(["a", "b", "Ä%", "_x"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from(["create", "append", "fork", "pin", "update", "delete", "chat", "page", "purge"]),
        st.integers(0, 5),
        TEXTS,
        st.booleans(),
    ),
    max_size=25,
)


async def _do(store: Store, ids: list[str], step: tuple[str, str, int, str, bool]) -> Any:
    """One operation on the chat with that number, whoever made it. Gives what came of it, ids as numbers."""
    owner, what, number, text, on = step
    id = ids[number] if number < len(ids) else "f" * 24
    try:
        if what == "create":
            ids.append((await store.create(owner, chat(text), [user(text, id="m")])).chat_id)
        elif what == "append":
            await store.append(owner, id, [user("a"), user(text)], assistant(text))
        elif what == "fork":
            ids.append((await store.fork(owner, id, "m")).chat_id)
        elif what == "pin":
            await store.pin(owner, id, on)
        elif what == "update":
            await store.update(owner, id, text if on else None, not on)
        elif what == "delete":
            await store.delete(owner, id)
        elif what == "purge":
            return await store.purge(owner)
    except RouterError as error:
        return type(error).__name__
    heads = (await store.page(owner, Wanted(text=text if what == "page" else None))).heads
    return [
        (ids.index(head.id), head.title, head.pinned, head.messages, await texts(store, head.id, owner))
        for head in heads
    ]


@settings(max_examples=25)
@given(steps=STEPS)
async def test_d02_no_order_of_operations_shows_one_owner_what_another_has(
    steps: list[tuple[str, str, int, str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever two owners do with all ids there are, each sees what a store of one owner alone would show."""
    clock = FakeClock()
    folder = tmp_path_factory.mktemp("chats")
    async with in_sqlite(folder, clock) as real, in_memory(folder, clock) as model:
        ids: list[str] = []
        model_ids: list[str] = []
        for step in steps:
            clock.advance(1)

            assert await _do(model, model_ids, step) == await _do(real, ids, step)


# ── what is new in a history ───────────────────────────────────────────────────────────────────


def known(*messages: Draft) -> list[Known]:
    return [Known(message.id or str(index), message.digest) for index, message in enumerate(messages)]


HI, HO, SYSTEM = user("hi"), assistant("ho"), Draft(role="system", text="Be brief.")


@pytest.mark.parametrize(
    ("has", "history", "new"),
    [
        ([], [HI], [HI]),
        ([HI, HO], [HI, HO, user("x")], [user("x")]),
        ([HI, HO], [user("x")], [user("x")]),
        ([HI, HO], [user("ho")], [user("ho")]),  # the same words of another role
        ([HI], [HI], []),  # asked again before it was answered
        ([HI, HO], [HI], [HI]),  # said once more
        ([HI, HO], [HI, HO], []),
        ([HI, HO, user("y"), HO], [HI, HO, user("y")], [user("y")]),
        ([user("hi", id="a"), HO], [user("edited", id="a"), user("x")], [user("x")]),
        ([user("hi", id="a"), HO], [user("hi", id="b")], [user("hi", id="b")]),
        # only the end of a long conversation, as callers send it whose models read no more
        ([HI, HO, user("y"), assistant("z")], [user("y"), assistant("z"), user("x")], [user("x")]),
        ([HI, HO, user("y"), assistant("z")], [assistant("z"), user("x")], [user("x")]),
        ([HI, HO, user("y"), assistant("z")], [user("y"), user("x")], [user("y"), user("x")]),  # not the end
        ([HI, HO, HI, assistant("z")], [HI, assistant("z"), user("x")], [user("x")]),  # and it begins alike
        ([SYSTEM, HI, HO, user("y"), assistant("z")], [SYSTEM, user("y"), assistant("z"), user("x")], [user("x")]),
        ([HI, HO, user("y")], [user("y")], []),  # asked again before it was answered
    ],
)
def test_only_what_a_chat_has_not_is_new(has: list[Draft], history: list[Draft], new: list[Draft]) -> None:
    """Ids decide where there are any, else how far both begin alike."""
    assert new == fresh(known(*has), history)
