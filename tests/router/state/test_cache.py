"""Answers that are kept: what is given out, for how long, and in how much memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from providers.canonical.loss import dropped
from router.state.cache import OVERHEAD, PIECE, SHARE, SWEEP, AnswerCache, Kept, weight

LIMIT = 64 << 10
A, B, C = b"a", b"b", b"c"


def kept(size: int = 0, *, made: float = 0.0, ttl: float = 60.0) -> Kept:
    return Kept(headers={}, pieces=(bytes(size),), streamed=False, made=made, until=made + ttl)


def filled(*keys: bytes, size: int = 4096, limit: int = LIMIT) -> AnswerCache:
    cache = AnswerCache(limit)
    assert all(cache.put(key, kept(size), 0.0) for key in keys)
    return cache


# ── time ───────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_given_until_its_time_is_over() -> None:
    """To the last instant before it, not at it; then its memory is free."""
    cache = filled(A)
    before, after = cache.find(A, 59.999), cache.find(A, 60.0)

    assert kept(4096) == before and after is None and (0, 0) == (len(cache), cache.size)


def test_whoever_wants_a_newer_one_does_not_get_it() -> None:
    """And others still do."""
    cache = filled(A)

    assert cache.find(A, 10.0, newest=9.0) is None
    assert cache.find(A, 10.0, newest=10.0) is not None and cache.find(A, 10.0) is not None


def test_what_nobody_asks_for_does_not_stay_in_memory() -> None:
    """What is over its time goes with the next question after a while, whatever that asks for."""
    cache = filled(A, B)
    cache.put(C, kept(ttl=1000.0), 0.0)
    cache.find(b"other", 60.0 + SWEEP)

    assert 1 == len(cache) and cache.find(C, 60.0 + SWEEP) is not None


def test_an_answer_without_time_is_not_kept() -> None:
    """It took longer to be made than it may be kept."""
    cache = AnswerCache(LIMIT)

    assert not cache.put(A, kept(made=0.0, ttl=1.0), 1.0) and 0 == len(cache)


def test_to_look_has_no_effect() -> None:
    """It gives what is there, and neither uses nor drops it."""
    cache = filled(A, B, size=LIMIT // SHARE - OVERHEAD - PIECE)
    seen = cache.look(A, 0.0), cache.look(A, 60.0)
    for number in range(SHARE - 1):
        cache.put(bytes([number]), kept(LIMIT // SHARE - OVERHEAD - PIECE), 0.0)

    assert seen[0] is not None and seen[1] is None
    assert cache.look(A, 0.0) is None and cache.look(B, 0.0) is not None


# ── room ───────────────────────────────────────────────────────────────────────────────


def test_the_least_recently_used_goes_first() -> None:
    """To be found is to be used."""
    size = LIMIT // SHARE - OVERHEAD - PIECE
    names = [bytes([number]) for number in range(SHARE)]
    cache = filled(*names, size=size)
    cache.find(names[0], 1.0)
    cache.put(b"new", kept(size), 1.0)

    assert cache.find(names[1], 1.0) is None
    assert all(cache.find(name, 1.0) is not None for name in (names[0], *names[2:], b"new"))


def test_one_answer_takes_an_eighth_at_most() -> None:
    """A larger one is not kept, and pushes nothing out; what it was to replace is gone, for it is older."""
    cache = filled(A, B)
    most = LIMIT // SHARE - OVERHEAD - PIECE

    assert not cache.put(A, kept(most + 1), 0.0)
    assert cache.find(A, 0.0) is None and cache.find(B, 0.0) is not None
    assert cache.put(A, kept(most), 0.0)


def test_a_new_answer_takes_the_place_of_the_old_one() -> None:
    """And its memory."""
    cache = filled(A)
    before = cache.size
    cache.put(A, kept(4096, made=5.0), 5.0)
    found = cache.find(A, 5.0)

    assert found is not None and 5.0 == found.made and (1, before) == (len(cache), cache.size)


def test_what_is_under_way_makes_room_for_itself() -> None:
    """Of what is kept; where others that are under way have it all, there is none."""
    cache = filled(A, B)
    half = cache.set_aside(LIMIT // 2), len(cache)
    rest = cache.set_aside(LIMIT // 2), len(cache)
    more, one = cache.set_aside(1), cache.put(A, kept(), 0.0)
    cache.give_back(LIMIT)

    assert ((True, 2), (True, 0)) == (half, rest) and (False, False) == (more, one)
    assert 0 == cache.size and cache.put(A, kept(), 0.0)


def test_a_closed_one_keeps_nothing() -> None:
    """Another table is in force: what it had is forgotten, and what is still under way comes to nothing."""
    cache = filled(A, B)
    cache.close()

    assert (0, 0) == (len(cache), cache.size) and not cache.put(A, kept(), 0.0)


def test_all_of_an_answer_is_counted() -> None:
    """Pieces, headers, losses."""
    plain = kept(100).size
    lost = dropped("temperature", "because")
    more = Kept(headers={"a": "b"}, pieces=(b"x" * 100, b""), streamed=True, made=0, until=1, losses=(lost,))

    assert OVERHEAD + 100 + PIECE == plain and 100 + 2 * PIECE == weight(more.pieces)
    assert plain + 2 + PIECE + OVERHEAD // 4 + len(lost.field) + len(lost.reason) == more.size


def test_what_somebody_reads_still_takes_its_room() -> None:
    """It makes none for others, while it is kept nor when it is over, until the last one has read it."""
    cache = filled(A, B, C, size=LIMIT // SHARE - 2 * OVERHEAD)
    one = cache.find(A, 0.0)
    assert one is not None
    for _ in range(2):
        cache.hold(one)

    assert not cache.set_aside(LIMIT - one.size + 1) and 3 == len(cache)
    assert cache.set_aside(LIMIT - one.size) and [A] == [key for key in (A, B, C) if cache.look(key, 0.0)]
    cache.close()
    cache.release(one)
    assert LIMIT == cache.size
    cache.release(one)
    assert LIMIT - one.size == cache.size


# ── any order of things ────────────────────────────────────────────────────────────────


class Anything(RuleBasedStateMachine):
    """Whatever happens in whatever order, beside a plain account of what was put when."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cache = AnswerCache(LIMIT)
        self.last: dict[bytes, Kept] = {}  # what was put last, kept or not
        self.aside: list[int] = []
        self.read: list[Kept] = []

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.sampled_from([A, B, C]), size=st.integers(0, LIMIT // 4), ttl=st.floats(0, 100))
    def put(self, key: bytes, size: int, ttl: float) -> None:
        answer = kept(size, made=self.now, ttl=ttl)
        self.last.pop(key, None)
        if self.cache.put(key, answer, self.now):
            self.last[key] = answer
            assert answer is self.cache.find(key, self.now)

    @rule(key=st.sampled_from([A, B, C]), newest=st.none() | st.floats(0, 100))
    def find(self, key: bytes, newest: float | None) -> None:
        found = self.cache.find(key, self.now, newest)
        assert found is None or (found is self.last[key] and self.now < found.until)
        assert found is None or newest is None or self.now - found.made <= newest

    @rule(size=st.integers(0, LIMIT))
    def set_aside(self, size: int) -> None:
        room = LIMIT - sum(self.aside) - sum(answer.size for answer in self.being_read())
        assert (size <= room) is self.cache.set_aside(size)
        self.aside += [size] * (size <= room)

    @rule()
    def give_back(self) -> None:
        if self.aside:
            self.cache.give_back(self.aside.pop())

    @rule(key=st.sampled_from([A, B, C]))
    def begin_to_read(self, key: bytes) -> None:
        if (found := self.cache.find(key, self.now)) is not None:
            self.cache.hold(found)
            self.read.append(found)

    @rule()
    def end_to_read(self) -> None:
        if self.read:
            self.cache.release(self.read.pop())

    def being_read(self) -> list[Kept]:
        return list({id(answer): answer for answer in self.read}.values())

    @invariant()
    def never_more_than_the_budget(self) -> None:
        assert sum(self.aside) <= self.cache.size <= LIMIT

    @invariant()
    def all_that_is_kept_is_counted(self) -> None:
        there = [answer for key in self.last if (answer := self.cache.look(key, -1.0)) is not None]
        in_memory = {id(answer): answer for answer in (*there, *self.read)}
        assert self.cache.size == sum(self.aside) + sum(answer.size for answer in in_memory.values())


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("limit", [0, 1, OVERHEAD])
@given(sizes=st.lists(st.integers(0, 4 * OVERHEAD)))
def test_a_budget_of_nothing_keeps_nothing(limit: int, sizes: list[int]) -> None:
    """And breaks nothing."""
    cache = AnswerCache(limit)

    assert not any(cache.put(bytes([size % 256]), kept(size), 0.0) for size in sizes) and 0 == cache.size
