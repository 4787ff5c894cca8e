"""Calls under way that several may wait for: one upstream is asked, and all who asked for the same get what it says.

A Flight is said by one (`begin`, `say`, then `land` or `fail`) and heard by any number of Hearings, each at its own
pace: what has been said is held for those who come late or read slowly, within the budget of the cache. Where that
leaves no room, or an answer is too large to be kept, nobody can join any more, and whoever says it waits until all who
listen have taken a piece before the next one is heard of: from then on a flight holds one piece.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from providers.canonical.loss import Loss
from router.record import Outcome, StreamEnd
from router.state.cache import PIECE, AnswerCache, Kept
from router.state.seals import Note

#: held: nothing may be given out yet; begun: the head may; landed: all has been said; failed: it will not be.
State: TypeAlias = Literal["held", "begun", "landed", "failed"]
TOGETHER = 64 << 10  # bytes of pieces that are heard at once


class End(NamedTuple):
    """How a call came out that has given an answer."""

    outcome: Outcome
    error: str | None = None
    code: str | None = None
    stream_end: StreamEnd | None = None


class Terms(NamedTuple):
    """How a call is made: does it let others go first where calls wait, and how many seconds has it at most?"""

    nice: bool = False
    seconds: float = math.inf


USUAL = Terms()


class Answers(AnswerCache):
    """What is kept, and what is under way."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.flights: dict[bytes, Flight] = {}
        self.begun = 0  # calls


class Flight:
    """One call, known by the key of what was asked. Others can join the first one of a key, and the next one from where
    that first would not do: it is made in a way that the next one's caller is not to bear with."""

    def __init__(self, answers: Answers, key: bytes, terms: Terms = USUAL) -> None:
        self.state: State = "held"
        self.head: Mapping[str, str] = {}  # of the answer, as it is for the caller whose call it is
        self.same: Mapping[str, str] = {}  # what of it is the same for others
        self.streamed = False
        self.seals: Sequence[Note] = ()
        self.losses: Sequence[Loss] = ()  # this and the next: known when it has landed
        self.end: End | None = None
        self.pieces: list[bytes] = []
        self.first = 0  # the number of the first of them
        self.keeps = True  # all that is said can still be kept
        self.hearings: set[Hearing] = set()
        answers.begun += 1
        self.number = answers.begun
        self._answers = answers
        self._key = key
        self._terms = terms
        self._size = 0  # bytes set aside
        self._kept: Kept | None = None  # as which it is kept
        self._waiting: list[asyncio.Future[None]] = []
        first = answers.flights.get(key)
        if first is None or not first.suits(terms):
            answers.flights[key] = self

    def suits(self, terms: Terms) -> bool:
        """Is it as good for a caller as a call of its own? Not where that one would not wait behind others for a place,
        or may take longer than this one, whose end breaks it off for all."""
        is_ahead = self.state != "held" or terms.nice or not self._terms.nice
        return is_ahead and terms.seconds <= self._terms.seconds

    # ── saying ─────────────────────────────────────────────────────────────────────
    def begin(self, head: Mapping[str, str], same: Mapping[str, str], *, streamed: bool) -> None:
        """The head of the answer is known: nothing else will be given instead."""
        self.head, self.same, self.streamed = head, same, streamed
        self._become("begun")

    async def say(self, piece: bytes) -> None:
        """One more piece. Returns when there is room for the next."""
        size = len(piece) + PIECE
        if self.keeps and (self._size + size > self._answers.largest or not self._answers.set_aside(size)):
            self.keeps = False
            self._shut()
        if self.keeps:
            self._size += size
        self.pieces.append(piece)
        self._tell()
        while not self.keeps and self.pieces:
            self._trim()
            if self.pieces:
                await self.changed()

    def land(self, kept: Kept | None, now: float) -> None:
        """All has been said; the answer is kept for others if it may be, and if none is there of a call begun later."""
        there = self._answers.look(self._key, now)
        if kept is not None and self.keeps and (there is None or there.number < self.number):
            self._answers.give_back(self._size)
            if self._answers.put(self._key, kept, now):
                self._size, self._kept = 0, kept
                self._answers.hold(kept)
            else:
                self._answers.take(self._size)
        self._end("landed")

    def fail(self) -> None:
        """It comes to no end. Nothing, if it has come to one."""
        if self.state in ("held", "begun"):
            self._end("failed")

    def _end(self, state: State) -> None:
        self._shut()
        self._become(state)
        self._let_go()

    def _let_go(self) -> None:
        """Once it is over, and nobody reads it any more, it takes no room."""
        if self.hearings or self.state not in ("landed", "failed"):
            return
        self._answers.give_back(self._size)
        self._size = 0
        kept, self._kept = self._kept, None
        if kept is not None:
            self._answers.release(kept)

    def _shut(self) -> None:
        if self._answers.flights.get(self._key) is self:
            del self._answers.flights[self._key]

    # ── hearing ────────────────────────────────────────────────────────────────────
    async def changed(self) -> None:
        """Returns when something has been said, heard or decided."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _become(self, state: State) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def moved(self) -> None:
        """Somebody who listens has taken something, or left."""
        if not self.keeps:
            self._tell()

    def left(self, hearing: Hearing) -> None:
        """One fewer listens."""
        self.hearings.discard(hearing)
        self._tell()
        self._let_go()

    def _trim(self) -> None:
        """Lets go of what all have heard."""
        heard = min((hearing.at for hearing in self.hearings), default=self.first + len(self.pieces))
        gone = self.pieces[: heard - self.first]
        del self.pieces[: heard - self.first]
        self.first = heard
        back = min(self._size, sum(map(len, gone)) + PIECE * len(gone))
        self._answers.give_back(back)
        self._size -= back


class Hearing:
    """One who listens to a flight from its beginning. To be left (`leave`) in any case."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.at = 0  # the number of the next piece
        flight.hearings.add(self)

    async def opened(self) -> bool:
        """Waits for the head of the answer. False: there will be none."""
        while self.flight.state == "held":
            await self.flight.changed()
        return self.flight.state != "failed"

    def ready(self, taken: int = 0) -> list[bytes]:
        """What of it is here: whole pieces, a few at a time. `taken`: how many of the last ones have been given out."""
        flight = self.flight
        if taken:
            self.at += taken
            flight.moved()
        return few(flight.pieces, self.at - flight.first)

    async def next(self, taken: int = 0) -> list[bytes]:
        """The same, waiting for it. [] at its end, whatever that is."""
        while not (pieces := self.ready(taken)) and self.flight.state not in ("landed", "failed"):
            taken = 0
            await self.flight.changed()
        return pieces

    async def whole(self) -> bytes:
        """All of what is no stream, once it has landed."""
        pieces: list[bytes] = []
        taken = 0
        while more := await self.next(taken):
            pieces += more
            taken = len(more)
        return b"".join(pieces)

    def leave(self) -> None:
        self.flight.left(self)


def few(pieces: Sequence[bytes], start: int) -> list[bytes]:
    """As many as go out in one write, from a place on: at least one, if there is one."""
    size, end = 0, start
    while end < len(pieces) and (end == start or size + len(pieces[end]) <= TOGETHER):
        size += len(pieces[end])
        end += 1
    return list(pieces[start:end])
