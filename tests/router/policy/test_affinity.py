"""Which target calls stick to, told without remembering any."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ChatRequest, Media, Message, ServerTool, Text, Tool
from router.policy.affinity import LONGEST, beginning, favourites, key, score
from router.policy.fitting import Facts
from router.table import Target

SYSTEM = Message(role="system", parts=(Text(text="You are terse."),))


def said(role: Any, *texts: str) -> Message:
    return Message(role=role, parts=tuple(Text(text=text) for text in texts))


def chat(*messages: Message, **more: Any) -> ChatRequest:
    return ChatRequest(dialect=more.pop("dialect", "x"), model=more.pop("model", "m"), messages=messages, **more)


def facts(request: Any = None, *, owner: str = "key\0\0a", session: str | None = None) -> Facts:
    return Facts(
        key=None,
        owner=owner,
        headers=lambda name: [session] if name == "x-session" and session is not None else [],
        model="m",
        operation="chat",
        stream=False,
        size=1,
        understand=lambda: request,
    )


def of(request: ChatRequest) -> bytes | None:
    return key("conversation", facts(request))


FIRST = chat(SYSTEM, said("user", "Hi"), tools=(Tool(name="find"),))


# ── the key ────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_keeps_its_key_with_every_turn() -> None:
    """Whatever is said after its beginning."""
    second = chat(*FIRST.messages, said("assistant", "Hello"), said("user", "And?"), tools=FIRST.tools)
    third = chat(*second.messages, said("system", "Be nice."), said("user", "So?"), tools=FIRST.tools, temperature=1.0)

    assert of(FIRST) is not None
    assert {of(FIRST)} == {of(second), of(third)}


@pytest.mark.parametrize(
    "other",
    [
        chat(SYSTEM, said("user", "Ho"), tools=FIRST.tools),
        chat(said("user", "Hi"), tools=FIRST.tools),
        chat(said("system", "You are terse.", "Hi"), tools=FIRST.tools),
        chat(SYSTEM, said("user", "Hi")),
        chat(SYSTEM, said("user", "Hi"), tools=FIRST.tools, model="n"),
        chat(SYSTEM, Message(role="user", parts=(Text(text="Hi"), Media(kind="image", url="u"))), tools=FIRST.tools),
    ],
    ids=["question", "no-prompt", "another-role", "tools", "model", "image"],
)
def test_another_beginning_is_another_conversation(other: ChatRequest) -> None:
    """Prompt, tools, model and first question make it."""
    assert of(FIRST) != of(other)


def test_how_it_is_written_does_not_count() -> None:
    """Spellings, places and fields of a dialect are not what is meant; nor are tools that no other dialect has."""
    prompt = Message(role="system", parts=(Text(text="You are terse.", at="system", extra={"x": 1}),), form={"s": 1})
    other = chat(
        prompt,
        said("user", "Hi"),
        dialect="y",
        tools=(Tool(name="find", parameters={"type": "object"}), ServerTool(dialect="y", kind="search", raw={})),
        extra={"anything": 1},
        stream=True,
    )

    assert of(FIRST) == of(other)


def test_two_prompts_are_as_one_of_two_parts() -> None:
    """Some dialects have one place for all of them."""
    apart = chat(said("system", "A"), said("system", "B"), said("user", "Hi"))

    assert of(apart) == of(chat(said("system", "A", "B"), said("user", "Hi")))


def test_texts_count_up_to_a_length_and_pictures_by_their_ends() -> None:
    """A long document is not read to its end for every turn."""
    long = "x" * LONGEST
    picture = "A" * 10_000

    assert of(chat(said("user", long))) == of(chat(said("user", long + "y")))
    assert of(chat(said("user", long[1:]))) != of(chat(said("user", long)))
    for data, same in ((picture, True), (picture[:-1] + "B", False), ("B" + picture[1:], False), (picture[1:], False)):
        one, other = (chat(Message(role="user", parts=(Media(kind="image", base64=each),))) for each in (picture, data))
        assert (of(one) == of(other)) is same


def test_what_is_no_conversation_has_no_key() -> None:
    """Nor has a call that only the upstream understands, or one without the header."""
    assert None is key("conversation", facts(None))
    assert None is key("header:x-session", facts(FIRST))
    assert None is key("header:x-session", facts(FIRST, session=""))
    assert None is key("off", facts(FIRST)) and None is key(None, facts(FIRST))


def test_callers_and_headers_have_keys() -> None:
    """One for each caller, one for each value."""
    keys = [
        key("caller", facts(FIRST)),
        key("caller", facts(FIRST, owner="key\0\0b")),
        key("header:x-session", facts(FIRST, session="1")),
        key("header:x-session", facts(FIRST, session="2")),
    ]

    assert 4 == len({*keys}) and None not in keys
    assert keys[2] == key("header:x-session", facts(None, session="1"))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_parts_of_a_text_do_not_run_into_one_another(one: list[str], other: list[str]) -> None:
    """Two lists have one key only if they are one list."""
    first, second = chat(said("user", *one)), chat(said("user", *other))

    assert (of(first) == of(second)) == (list(beginning(first)) == list(beginning(second)))
    assert (of(first) == of(second)) == (one == other)


# ── the target ─────────────────────────────────────────────────────────────────────────────────


def targets(*weights: int) -> list[Target]:
    return [Target(provider=f"p{number}", model="m", weight=weight) for number, weight in enumerate(weights)]


def chosen(rows: list[Target], keys: int = 3000) -> list[str]:
    """The provider of each key's own target."""
    places = range(len(rows))
    return [rows[favourites(str(number).encode(), rows, places)[0]].provider for number in range(keys)]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.data())
def test_who_goes_takes_its_own_calls_along(weights: list[int], data: Any) -> None:
    """Of the others none moves; and none when it comes back, wherever in the list that is."""
    rows = targets(*weights)
    gone = rows[data.draw(st.integers(0, len(rows) - 1))]
    before = chosen(rows, 200)
    after = chosen([row for row in rows if row is not gone], 200)
    back = chosen(data.draw(st.permutations(rows)), 200)

    assert all(was == now for was, now in zip(before, after, strict=True) if was != gone.provider)
    assert before == back


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (9, 1), (1, 2, 3, 4)])
def test_shares_follow_weights(weights: tuple[int, ...]) -> None:
    """Three of four calls for a weight of 3 beside 1."""
    count = Counter(chosen(targets(*weights)))
    shares = {f"p{number}": weight / sum(weights) for number, weight in enumerate(weights)}

    assert {name: number / 3000 for name, number in count.items()} == pytest.approx(shares, abs=0.03)


def test_more_weight_moves_calls_to_it_alone() -> None:
    """Nobody is moved between two that stay as they are."""
    before, after = chosen(targets(1, 1, 1)), chosen(targets(1, 1, 3))
    moved = {now for was, now in zip(before, after, strict=True) if was != now}

    assert {"p2"} == moved


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.binary(max_size=16))
def test_who_stands_in_is_who_would_be_first_without_it(weights: list[int], key: bytes) -> None:
    """A call that fails goes where the next ones of its kind go while the target rests."""
    rows = targets(*weights)
    own, stand_in = favourites(key, rows, range(len(rows)))

    assert stand_in == favourites(key, rows, [place for place in range(len(rows)) if place != own])[0]


def test_keys_of_one_row_draw_alike() -> None:
    """The first of them in the order that they take turns in."""
    rows = [Target(provider="a", model="m", secret=name) for name in ("one", "two")]

    assert 1 == len({score(b"key", row) for row in rows})
    assert ([0, 1], [1, 0]) == (favourites(b"key", rows, [0, 1]), favourites(b"key", rows, [1, 0]))


def test_all_machines_draw_alike() -> None:
    """The numbers are of the names alone: no seed of a process is in them."""
    assert score(b"key", Target(provider="a", model="m")) == pytest.approx(28.928174698137298)
    assert [1, 3, 0, 2, 1, 0] == [favourites(str(n).encode(), targets(1, 1, 1, 1), range(4))[0] for n in range(6)]
