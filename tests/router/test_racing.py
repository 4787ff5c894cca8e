"""Two attempts at once, without a gateway around them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from providers.canonical.errors import ConnectionLost, Overloaded, RouterError, UpstreamRejected
from router.alarm import DRAIN, Alarm, waiting
from router.racing import Attempts, Gate, Race, Side
from router.record import OUTPACED, AttemptRecord, Record
from router.relay import CallerGone, Passing
from router.table import Limits
from router.vocabulary import CLIENT_LEFT


class Caller:
    """The end of the way: keeps what gets there."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.began = False

    async def body(self, limits: Limits, alarm: Alarm) -> bytes:
        return b"asked"

    async def passing(self, limits: Limits) -> Passing:
        raise NotImplementedError

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.began = True
        self.heard.append(body)

    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None:
        self.began = True

    async def write(self, data: bytes) -> None:
        self.heard.append(data)

    async def end(self) -> None:
        self.heard.append(b".")

    def quiet(self) -> None:
        self.heard.append(b"quiet")

    def cut(self) -> None:
        self.heard.append(b"cut")


def attempt(started: float, provider: str = "one", error: str | None = None) -> AttemptRecord:
    return AttemptRecord(provider=provider, model="m", operation="chat", started=started, error=error)


class Two:
    """A race of two, each told what to do."""

    def __init__(self) -> None:
        self.caller = Caller()
        self.alarm = Alarm()
        self.race = Race(self.alarm, self.caller)
        self.record = Record(id="1", method="POST", path="/", started=0.0, attempts=[attempt(0.0, "zero", "timeout")])

    def enter(self, plan: str) -> Side:
        """`plan`: words in turn. A number waits for so many hundredths; `say` answers; an error's name fails."""
        hedge = bool(self.race.sides)
        source = self.race.sides[0].record if hedge else self.record
        side = self.race.side(source, 5.0, hedge=hedge)
        gate = self.race.gate(side)

        async def run(alarm: Alarm) -> None:
            mine = attempt(1.0 + hedge, "two" if hedge else "one")
            side.record.attempts.append(mine)
            try:
                for word in plan.split():
                    if word.isdigit():
                        with waiting(alarm, asyncio.get_running_loop().time() + 9.0, "idle"):
                            await asyncio.sleep(int(word) / 100)
                    elif word == "say":
                        await gate.whole(200, {}, b"two" if hedge else b"one")
                    elif word == "begin":
                        await gate.begin(200, {}, alarm)
                    else:
                        raise ERRORS[word]
            except RouterError as error:
                mine.error = error.kind
                raise
            except (asyncio.CancelledError, CallerGone):
                await asyncio.sleep(0.01)  # to let go of a connection takes a moment
                mine.error = CLIENT_LEFT
                raise
            finally:
                mine.ended = 9.0

        self.race.begin(side, run)
        return side

    async def end(self) -> None:
        try:
            while self.race.open:
                await self.race.wait()
                self.race.look(lambda error: error.retry == "never")
        finally:
            try:
                await self.race.close()
            finally:
                self.race.write_down(self.record, (self.race.winner or self.race.sides[0]).record)

    def attempts(self) -> list[tuple[str, str | None, bool]]:
        return [(one.provider, one.error, one.hedge) for one in self.record.attempts]


ERRORS: dict[str, Exception] = {
    "lost": ConnectionLost("lost"),
    "no": UpstreamRejected("no", upstream_status=400),
    "gone": CallerGone("client_left"),
    "bug": ZeroDivisionError(),
}
ZERO = ("zero", "timeout", False)


async def test_the_first_to_answer_is_heard() -> None:
    """The other is cut off, and stands before it in what is written down: the last attempt is the answer's."""
    for plans, heard, attempts, hedges in (
        (("3 say", "100 say"), [b"one"], [ZERO, ("two", OUTPACED, True), ("one", None, False)], [("two", "lost")]),
        (("100 say", "3 say"), [b"two"], [ZERO, ("one", OUTPACED, False), ("two", None, True)], [("two", "won")]),
    ):
        two = Two()
        for plan in plans:
            two.enter(plan)
        await two.end()

        assert (heard, attempts, hedges) == (two.caller.heard, two.attempts(), two.record.hedges)


async def test_a_call_that_is_ended_twice_is_written_down_all_the_same() -> None:
    """Its caller leaves, and leaves again while the two come to their end: both stand in the record, and are over."""
    two = Two()
    for _ in range(2):
        two.enter("900 say")
    call = asyncio.create_task(two.end())
    await asyncio.sleep(0.05)
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await call

    assert [ZERO, ("one", CLIENT_LEFT, False), ("two", CLIENT_LEFT, True)] == two.attempts()
    assert call.cancelled() and not two.race.open


async def test_of_two_who_answer_at_once_one_is_heard() -> None:
    """Nothing of the other gets through."""
    for _ in range(20):
        two = Two()
        two.enter("1 say")
        two.enter("1 say")
        await two.end()

        assert 1 == len(two.caller.heard) and OUTPACED in {error for _, error, _ in two.attempts()}


async def test_who_has_begun_goes_on_to_its_end() -> None:
    """And may still fail on the way: that is no business of the other one any more."""
    two = Two()
    first = two.enter("begin 3 lost")
    second = two.enter("2 say")
    await two.end()

    assert (first, True, []) == (two.race.winner, second.was_cut, two.caller.heard)
    assert isinstance(first.error, ConnectionLost)


async def test_a_failure_leaves_it_to_the_other() -> None:
    """When both fail, they stand as they began."""
    two = Two()
    two.enter("lost")
    two.enter("3 say")
    await two.end()
    assert ([b"two"], [("two", "won")]) == (two.caller.heard, two.record.hedges)
    two = Two()
    two.enter("3 lost")
    two.enter("lost")
    await two.end()

    assert None is two.race.winner
    assert [ZERO, ("one", "connection", False), ("two", "connection", True)] == two.attempts()
    assert [("two", "failed")] == two.record.hedges


async def test_a_final_error_of_the_first_ends_both() -> None:
    """One of the second does not."""
    two = Two()
    two.enter("2 no")
    second = two.enter("500 say")
    await asyncio.wait_for(two.end(), 3.0)
    assert second.was_cut and None is two.race.winner
    two = Two()
    two.enter("3 say")
    two.enter("no")
    await two.end()

    assert [b"one"] == two.caller.heard


@pytest.mark.parametrize(("word", "error"), [("gone", CallerGone), ("bug", ZeroDivisionError)])
async def test_what_is_no_failure_of_an_attempt_ends_both(word: str, error: type[Exception]) -> None:
    """A caller who left, and what is wrong with ourselves."""
    two = Two()
    two.enter("500 say")
    two.enter(f"2 {word}")
    with pytest.raises(error):
        await asyncio.wait_for(two.end(), 3.0)

    assert [] == two.race.open


async def test_a_call_that_is_cancelled_ends_both() -> None:
    """Neither is said to have been outpaced: nobody was."""
    made: list[Two] = []

    async def live() -> None:
        two = Two()
        made.append(two)
        two.enter("500 say")
        two.enter("500 say")
        await two.end()

    task = asyncio.create_task(live())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [ZERO, ("one", CLIENT_LEFT, False), ("two", CLIENT_LEFT, True)] == made[0].attempts()
    assert ([], []) == (made[0].race.open, made[0].record.hedges)


async def test_a_drain_is_told_by_both() -> None:
    """As an error of the attempts, not as a call that was cancelled."""
    two = Two()
    first = two.enter("500 say")
    second = two.enter("500 say")
    asyncio.get_running_loop().call_later(0.05, two.alarm.ring, DRAIN)
    await two.end()

    assert isinstance(first.error, Overloaded) and isinstance(second.error, Overloaded)


async def test_both_know_how_many_attempts_there_have_been() -> None:
    """Each has its own last, whatever the other does meanwhile."""
    one = Attempts([attempt(0.0, "zero")])
    one.append(attempt(1.0, "one"))
    two = Attempts(one, hedge=True)
    one.twin, two.twin = two, one
    two.append(attempt(2.0, "two"))
    one.append(attempt(3.0, "again"))

    assert ["zero", "two", "one", "again"] == [each.provider for each in one]
    assert ["zero", "one", "again", "two"] == [each.provider for each in two]
    assert [False, True] == [one[-1].hedge, two[-1].hedge]


async def test_who_has_lost_gets_nowhere() -> None:
    """Should it still have something to say."""
    two = Two()
    first, second = two.enter("500 say"), two.enter("500 say")
    assert two.race.win(first) and not two.race.win(second)
    for say in (two.race.gate(second).whole(200, {}, b"x"), two.race.gate(second).begin(200, {}, two.alarm)):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(say, 0.05)
    await two.race.close()

    assert ([], False) == (two.caller.heard, two.caller.began)


async def test_the_way_to_the_caller_is_the_callers() -> None:
    """What is no answer passes as it is."""
    two = Two()
    side = two.enter("1 say")
    gate: Gate = two.race.gate(side)
    assert b"asked" == await gate.body(Limits(), two.alarm)
    await two.end()
    await gate.write(b"more")
    await gate.end()
    gate.quiet()
    gate.cut()

    assert ([b"one", b"more", b".", b"quiet", b"cut"], True) == (two.caller.heard, gate.began)
