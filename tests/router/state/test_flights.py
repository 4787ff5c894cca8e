"""Calls that several listen to: each hears all of it, in order, at its own pace, and memory stays within the budget."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.state.cache import PIECE, SHARE, Kept
from router.state.flights import TOGETHER, Answers, End, Flight, Hearing, Terms, few

KEY = b"question"
LIMIT = 64 << 10


def landed(flight: Flight) -> None:
    """Its end, as of a call that went well."""
    flight.end = End("ok")
    pieces = tuple(flight.pieces)
    answer = Kept(headers={}, pieces=pieces, streamed=True, made=0.0, until=60.0, number=flight.number)
    flight.land(answer, 0.0)


async def heard(flight: Flight) -> bytes:
    """All that somebody hears who begins to listen now."""
    hearing = Hearing(flight)
    try:
        parts: list[bytes] = []
        given = 0
        while await hearing.opened() and (pieces := await hearing.next(given)):
            parts += pieces
            given = len(pieces)
        return b"".join(parts)
    finally:
        hearing.leave()


async def test_who_comes_late_hears_all() -> None:
    """From its beginning; the first one as soon as it is said."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    early = asyncio.create_task(heard(flight))
    flight.begin({}, {}, streamed=True)
    await flight.say(b"one ")
    await asyncio.sleep(0)
    late = asyncio.create_task(heard(answers.flights[KEY]))
    await flight.say(b"two")
    landed(flight)

    assert [b"one two"] * 2 == await asyncio.gather(early, late)


async def test_a_call_that_has_landed_is_kept_and_joined_no_more() -> None:
    """Between both there is no instant at which it would be neither."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    flight.begin({}, {}, streamed=True)
    await flight.say(b"all")
    landed(flight)
    kept = answers.find(KEY, 0.0)

    assert {} == answers.flights and kept is not None and (b"all",) == kept.pieces
    assert kept.size == answers.size


async def test_a_call_that_fails_is_not_kept() -> None:
    """Nor joined; those who wait for its head learn that there will be none, and what it took is given back."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    waiting = asyncio.create_task(Hearing(flight).opened())
    await asyncio.sleep(0)
    flight.fail()

    assert not await waiting and {} == answers.flights and answers.find(KEY, 0.0) is None and 0 == answers.size


async def test_the_first_one_of_a_key_is_the_one_to_join() -> None:
    """A later one, of somebody who wanted a fresh answer, leaves it its place; its own answer is kept all the same."""
    answers = Answers(LIMIT)
    first, second = Flight(answers, KEY), Flight(answers, KEY)
    second.begin({}, {}, streamed=True)
    await second.say(b"fresh")
    landed(second)
    kept = answers.find(KEY, 0.0)

    assert first is answers.flights[KEY] and kept is not None and (b"fresh",) == kept.pieces


async def test_an_answer_that_is_too_large_is_heard_and_not_kept() -> None:
    """By all who listened, and by nobody who comes later; whoever says it waits for the slowest of them."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    quick, slow = asyncio.create_task(heard(flight)), Hearing(flight)
    flight.begin({}, {}, streamed=True)
    piece = bytes(LIMIT // SHARE // 2)
    saying = asyncio.create_task(_say(flight, [piece] * 4))
    for _ in range(20):
        await asyncio.sleep(0)
    held, said = len(flight.pieces), saying.done()
    got = b""
    given = 0
    while pieces := await slow.next(given):
        got += b"".join(pieces)
        given = len(pieces)
    await saying

    assert (2, False) == (held, said) and {} == answers.flights
    assert piece * 4 == got == await quick and answers.find(KEY, 0.0) is None and 0 == answers.size


async def _say(flight: Flight, pieces: list[bytes]) -> None:
    for piece in pieces:
        await flight.say(piece)
    landed(flight)


async def test_nobody_waits_for_one_who_has_left() -> None:
    """Whoever says a large answer goes on when those who still listen have heard it."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    slow = Hearing(flight)
    saying = asyncio.create_task(_say(flight, [bytes(LIMIT)] * 3))
    for _ in range(5):
        await asyncio.sleep(0)
    before = saying.done()
    slow.leave()
    await saying

    assert not before and "landed" == flight.state


@pytest.mark.parametrize(
    ("first", "second", "joins"),
    [
        (Terms(), Terms(), True),
        (Terms(), Terms(nice=True), True),
        (Terms(nice=True), Terms(nice=True), True),
        (Terms(nice=True), Terms(), False),
        (Terms(seconds=9), Terms(seconds=9), True),
        (Terms(seconds=9), Terms(seconds=1), True),
        (Terms(seconds=1), Terms(seconds=9), False),
    ],
)
async def test_nobody_is_to_bear_with_a_call_that_is_worse_than_his_own(
    first: Terms, second: Terms, joins: bool
) -> None:
    """His own takes its place then. What has begun waits for no place any more."""
    answers = Answers(LIMIT)
    there = Flight(answers, KEY, first)
    own = Flight(answers, KEY, second)

    assert joins is there.suits(second) is (answers.flights[KEY] is there)
    there.begin({}, {}, streamed=True)
    assert (first.seconds >= second.seconds) is there.suits(second)
    there.fail()
    assert (own is answers.flights.get(KEY)) is not joins


@pytest.mark.parametrize("ends", ["kept", "pushed out", "not kept"])
async def test_what_somebody_reads_after_its_end_takes_its_room(ends: str) -> None:
    """Until the last one who listens has left."""
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    slow = Hearing(flight)
    flight.begin({}, {}, streamed=True)
    await flight.say(bytes(4096))
    if ends == "not kept":
        flight.land(None, 0.0)
    else:
        landed(flight)
    if ends == "pushed out":
        answers.close()
    held = answers.size
    slow.leave()

    assert 4096 + PIECE <= held and (held if ends == "kept" else 0) == answers.size


def test_small_pieces_go_out_together() -> None:
    """As many as fit into one write; a large one alone; never a part of one."""
    small, large = b"x" * (TOGETHER // 2), b"x" * (TOGETHER + 1)
    pieces = [small, small, small, large, b"", small]

    assert [small, small] == few(pieces, 0) and [small] == few(pieces, 2)
    assert [large] == few(pieces, 3) and [b"", small] == few(pieces, 4) and [] == few(pieces, 6)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, LIMIT // 4), max_size=12),
    paces=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    leavers=st.sets(st.integers(0, 3)),
    fails=st.booleans(),
    seed=st.integers(),
)
def test_whatever_the_order_all_hear_the_same(
    sizes: list[int], paces: list[int], leavers: set[int], fails: bool, seed: int
) -> None:
    """Who stays to the end hears every piece once and in order; the budget is never passed; nothing is left over."""
    asyncio.run(_any_order(sizes, paces, leavers, fails, random.Random(seed)))


async def _any_order(sizes: list[int], paces: list[int], leavers: set[int], fails: bool, dice: random.Random) -> None:
    answers = Answers(LIMIT)
    flight = Flight(answers, KEY)
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]

    async def listen(number: int, hearing: Hearing) -> bytes | None:
        parts: list[bytes] = []
        given = 0
        try:
            if not await hearing.opened():
                return None
            while taken := await hearing.next(given):
                parts += taken
                given = len(taken)
                for _ in range(paces[number]):
                    await asyncio.sleep(0)
                if number in leavers and dice.random() < 0.5:
                    return None
            return b"".join(parts)
        finally:
            hearing.leave()

    async def tell() -> None:
        flight.begin({}, {}, streamed=True)
        for piece in pieces:
            await flight.say(piece)
            assert answers.size <= LIMIT and (flight.keeps or not flight.pieces)
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
        if fails:
            flight.fail()
        else:
            landed(flight)

    tasks = [asyncio.create_task(listen(number, Hearing(flight))) for number in range(len(paces))]
    await asyncio.wait_for(tell(), 5)
    got = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    kept = answers.find(KEY, 0.0)

    assert {b"".join(pieces)} >= {one for one in got if one is not None}
    small = Kept(headers={}, pieces=tuple(pieces), streamed=True, made=0, until=1).size <= LIMIT // SHARE
    assert (kept is not None) is (not fails and flight.keeps and small) and {} == answers.flights
    assert answers.size == (0 if kept is None else kept.size)
    assert flight.keeps is (sum(sizes) + PIECE * len(sizes) <= LIMIT // SHARE)
