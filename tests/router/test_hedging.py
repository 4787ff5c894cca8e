"""Second attempts while a first has not begun to answer, seen from callers and upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from router import validating
from tests.fakes import HANG, RESET, Answer, Connection, FakeUpstream, Json, Sleep, json_answer, status
from tests.lanes import KEYS, LANES, Lane
from tests.running import Running, running

CHAT = LANES[0]
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none$row}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none$row}
  three: {base_url: "$three", speaks: [gemini], auth: none}
models:
  m: [{provider: one, model: a}, {provider: two, model: b}, {provider: three, model: c}]
  alone: [{provider: one, model: a}]
  mixed: [{provider: one, model: a}, {provider: three, model: c}]
prices:
  one/a: {input: 1, output: 1}
  two/b: {input: 1, output: 1}
policies:
  default: {attempts: $attempts, within: $within, hedge: $hedge, timeouts: {first_byte: 5s, idle: 5s}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""


class Race:
    """A gateway, and three upstreams that a call may be sent to."""

    def __init__(self, gateway: Running, *upstreams: FakeUpstream) -> None:
        self.gateway = gateway
        self.one, self.two, self.three = upstreams

    async def ask(
        self, model: str = "m", *, stream: bool = False, lane: Lane = CHAT, **more: Json
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers, and the text of the answer as the caller reads it."""
        path = lane.path(stream=stream).replace(lane.model, model)
        body = lane.body(stream=stream)
        if "model" in body:
            body["model"] = model
        answer = await self.gateway.post(path, body | more)
        if answer.status != 200:
            return answer.status, answer.headers, ""
        text = lane.hear(answer.body).text if stream else lane.text_of(answer.json)
        return answer.status, answer.headers, text

    def hedges(self, outcome: str, provider: str = "two") -> float:
        return self.gateway.metric("isthmus_hedges_total", provider=provider, outcome=outcome)

    def attempts(self, outcome: str, provider: str = "one") -> float:
        return self.gateway.metric("isthmus_attempts_total", provider=provider, outcome=outcome)

    def counts(self) -> tuple[int, int, int]:
        return len(self.one.requests), len(self.two.requests), len(self.three.requests)


@contextlib.asynccontextmanager
async def race(
    hedge: str = "{after: 150ms}", *, attempts: int = 3, within: str = "20s", row: str = "", table: str = TABLE
) -> AsyncIterator[Race]:
    async with FakeUpstream() as one, FakeUpstream() as two, FakeUpstream() as three:
        names = {"one": one.url, "two": two.url, "three": three.url}
        async with running(table, KEYS, **names, hedge=hedge, attempts=attempts, within=within, row=row) as gateway:
            yield Race(gateway, one, two, three)


def said(text: str, *, stream: bool, lane: Lane = CHAT) -> Answer:
    return lane.stream(text) if stream else lane.whole(text)


async def closed(upstream: FakeUpstream) -> Connection:
    """The connection of its one request, once we have hung up."""
    connection = upstream.requests[0].connection
    for _ in range(100):
        if connection.closed_at is not None:
            return connection
        await asyncio.sleep(0.02)
    raise AssertionError("the connection is still open")


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
async def test_another_target_is_asked_as_well_when_the_first_is_late(stream: bool) -> None:
    """Who answers first is heard, after about the time of the policy and its own; the other one is cut off at once."""
    async with race() as run:
        run.one.script(HANG)
        run.two.script(said("two", stream=stream))
        began = time.monotonic()
        code, headers, text = await run.ask(stream=stream)
        took = time.monotonic() - began
        connection = await closed(run.one)

        assert (200, "two", "two", "2") == (
            code,
            text,
            headers["x-isthmus-provider"],
            headers["x-isthmus-attempts"],
        )
        assert 0.14 < took < 1.5 and connection.closed_at is not None and connection.closed_at - began < 1.5
        assert (1.0, 1.0, 1.0) == (run.hedges("won"), run.attempts("outpaced"), run.attempts("ok", "two"))
        assert (1, 1, 0) == run.counts()
        assert 0.0 == run.gateway.metric("isthmus_retries_total")


@both
async def test_the_first_may_still_be_the_one(stream: bool) -> None:
    """The second attempt is cut off then, and what it would have said is never heard."""
    async with race() as run:
        run.one.script(said("one", stream=stream).after(Sleep(0.4)))
        run.two.script(HANG)
        code, headers, text = await run.ask(stream=stream)
        await closed(run.two)

        assert (200, "one", "one", "2") == (
            code,
            text,
            headers["x-isthmus-provider"],
            headers["x-isthmus-attempts"],
        )
        assert (1.0, 1.0, 1.0) == (run.hedges("lost"), run.attempts("ok"), run.attempts("outpaced", "two"))
        assert 0.0 == run.gateway.metric("isthmus_retries_total")  # what was begun beside it is nothing that it repeats


@both
async def test_who_answers_in_time_is_alone(stream: bool) -> None:
    """No second attempt, and nothing that would tell of one."""
    async with race() as run:
        run.one.script(said("one", stream=stream))
        code, headers, text = await run.ask(stream=stream)

        assert (200, "one", "1", (1, 0, 0)) == (code, text, headers["x-isthmus-attempts"], run.counts())
        assert 0.0 == run.gateway.metric("isthmus_hedges_total")


async def test_an_answer_that_has_begun_is_waited_for() -> None:
    """Once the first word has gone out there is nothing to win."""
    async with race() as run:
        events = CHAT.events("one")
        run.one.script(CHAT.sent(*CHAT.opening("one "), Sleep(0.5), *events[1:]))
        code, headers, text = await run.ask(stream=True)

        assert (200, "one one", "1", (1, 0, 0)) == (code, text, headers["x-isthmus-attempts"], run.counts())


async def test_a_head_is_no_answer_yet() -> None:
    """A stream begins with its first word: one that has only sent its head, or a role, is late all the same."""
    async with race() as run:
        run.one.script(CHAT.sent(CHAT.chunk(""), HANG))
        run.two.script(CHAT.stream("two"))
        code, _, text = await run.ask(stream=True)
        await closed(run.one)

        assert (200, "two", 1.0) == (code, text, run.hedges("won"))


@both
@pytest.mark.parametrize("fault", [RESET, status(500), status(429)], ids=["reset", "500", "429"])
async def test_a_first_that_fails_leaves_it_to_the_second(fault: Answer, stream: bool) -> None:
    """While that one may still answer nobody hears of the failure."""
    async with race() as run:
        reply = fault.after(Sleep(0.3)) if isinstance(fault, Answer) else [Sleep(0.3), fault]
        run.one.script(reply)
        run.two.script(said("two", stream=stream).after(Sleep(0.5)))
        code, headers, text = await run.ask(stream=stream)

        assert (200, "two", "2", 1.0) == (code, text, headers["x-isthmus-attempts"], run.hedges("won"))
        assert 0.0 == run.attempts("outpaced")


@pytest.mark.parametrize(("first", "second"), [(status(400), HANG), (HANG, status(400))], ids=["first", "second"])
async def test_what_the_caller_must_mend_is_told_at_once(first: Answer, second: Answer) -> None:
    """A bad request is one everywhere: the other attempt is cut off. What only the second target refuses is not."""
    async with race(within="1500ms") as run:
        run.one.script(first.after(Sleep(0.3)) if isinstance(first, Answer) else first)
        run.two.script(second)
        began = time.monotonic()
        code, headers, _ = await run.ask()
        took = time.monotonic() - began

        assert "2" == headers["x-isthmus-attempts"]
        if isinstance(first, Answer):
            await closed(run.two)
            assert (400, 1.0) == (code, run.hedges("lost")) and took < 1.2
        else:
            assert (504, 1.0) == (code, run.hedges("failed")) and took > 1.2


@both
async def test_a_second_that_fails_leaves_it_to_the_first(stream: bool) -> None:
    """As if it had never been, but for the attempts."""
    async with race() as run:
        run.one.script(said("one", stream=stream).after(Sleep(0.5)))
        run.two.script(status(500))
        code, headers, text = await run.ask(stream=stream)

        assert (200, "one", "2") == (code, text, headers["x-isthmus-attempts"])
        assert (1.0, 1.0) == (run.hedges("failed"), run.attempts("upstream_error", "two"))


@both
async def test_when_both_fail_the_next_is_tried(stream: bool) -> None:
    """Both count: with three attempts one is left, for the one that has not been tried."""
    async with race() as run:
        run.one.script([Sleep(0.3), RESET])
        run.two.script([Sleep(0.3), RESET])
        lane = LANES[1]
        run.three.script(said("three", stream=stream, lane=lane))
        code, headers, text = await run.ask(stream=stream)

        assert (200, "three", "3", (1, 1, 1)) == (code, text, headers["x-isthmus-attempts"], run.counts())


async def test_when_both_fail_and_none_is_left_the_caller_is_told() -> None:
    """With two attempts these were both."""
    async with race(attempts=2) as run:
        run.one.script([Sleep(0.3), RESET])
        run.two.script([Sleep(0.2), RESET])
        code, headers, _ = await run.ask()

        assert (502, "2", (1, 1, 0)) == (code, headers["x-isthmus-attempts"], run.counts())
        assert 1.0 == run.hedges("failed")


@pytest.mark.parametrize(
    ("how", "model"),
    [
        ({"hedge": "null"}, "m"),
        ({"row": ", attempts: 1"}, "m"),
        ({"row": ", retry_on: [429, connect]"}, "m"),
        ({}, "alone"),
        ({"hedge": "{after: p95}"}, "m"),
    ],
    ids=["off", "row-attempts", "row-retry-on", "one-target", "no-p95-yet"],
)
async def test_nobody_is_asked_twice_where_that_is_not_wanted(how: dict[str, str], model: str) -> None:
    """Without the policy, for rows that are asked once, without another target, or without knowing what is late."""
    async with race(**how) as run:
        run.one.script(CHAT.whole("one").after(Sleep(0.5)))
        code, headers, text = await run.ask(model)

        assert (200, "one", "1", (1, 0, 0)) == (code, text, headers["x-isthmus-attempts"], run.counts())


async def test_the_p95_is_that_of_the_target() -> None:
    """Once enough of its answers are known; those that are cut off count as at least so slow."""
    async with race("{after: p95}") as run:
        run.one.always(CHAT.whole("one").after(Sleep(0.05)))
        run.two.always(CHAT.whole("two"))
        for _ in range(20):
            await run.ask()
        assert (20, 0, 0) == run.counts()
        run.one.always(HANG)
        began = time.monotonic()
        code, _, text = await run.ask()

        assert (200, "two", 1.0) == (code, text, run.hedges("won"))
        assert 0.04 < time.monotonic() - began < 1.5


async def test_targets_of_other_languages_race_as_well() -> None:
    """The second attempt is translated, the first would have been relayed; losses are those of whoever answers."""
    async with race() as run:
        run.one.script(HANG)
        run.three.script(said("three", stream=False, lane=LANES[1]))
        code, headers, text = await run.ask("mixed", logit_bias={"1": 1})

        assert (200, "three", "translate") == (code, text, headers["x-isthmus-lane"])
        assert "logit_bias=dropped" in headers["x-isthmus-loss"]
    async with race() as run:
        run.one.script(CHAT.whole("one").after(Sleep(0.4)))
        run.three.script(HANG)
        code, headers, text = await run.ask("mixed", logit_bias={"1": 1})

        assert (200, "one", "relay", False) == (
            code,
            text,
            headers["x-isthmus-lane"],
            "x-isthmus-loss" in headers,
        )


async def test_a_second_that_would_have_to_refuse_is_no_attempt() -> None:
    """What it cannot carry is found out before anything is sent; the first goes on alone."""
    table = TABLE.replace("three: {", "three: {rejects: [tools], ")
    async with race(table=table) as run:
        run.one.script(CHAT.whole("one").after(Sleep(0.5)))
        tools = [{"type": "function", "function": {"name": "f"}}]
        code, headers, text = await run.ask("mixed", tools=tools)

        assert (200, "one", "1", (1, 0, 0)) == (code, text, headers["x-isthmus-attempts"], run.counts())


async def test_a_caller_who_leaves_ends_both() -> None:
    """Within moments; nothing is held against either."""
    async with race() as run:
        run.one.script(HANG)
        run.two.script(HANG)
        call = asyncio.create_task(run.ask())
        while run.counts() != (1, 1, 0):
            await asyncio.sleep(0.02)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
            await call
        await closed(run.one)
        await closed(run.two)
        await asyncio.sleep(0.1)

        assert 1.0 == run.gateway.metric("isthmus_requests_total", outcome="client_left")
        assert 2.0 == run.gateway.metric("isthmus_attempts_total", outcome="client_left")


async def test_one_deadline_ends_both() -> None:
    """`within` bounds the race as it bounds all attempts."""
    async with race(within="600ms") as run:
        run.one.script(HANG)
        run.two.script(HANG)
        began = time.monotonic()
        code, headers, _ = await run.ask()
        await closed(run.one)
        await closed(run.two)

        assert (504, "2") == (code, headers["x-isthmus-attempts"])
        assert 0.5 < time.monotonic() - began < 3.0


async def test_a_gateway_that_stops_ends_both() -> None:
    """At the end of the drain."""
    async with race() as run:
        run.one.script(HANG)
        run.two.script(HANG)
        call = asyncio.create_task(run.ask())
        while run.counts() != (1, 1, 0):
            await asyncio.sleep(0.02)
        run.gateway.life.signal()
        await run.gateway.life.serve()
        code, _, _ = await call
        await closed(run.one)
        await closed(run.two)

        assert 503 == code


async def test_being_outpaced_is_no_failure() -> None:
    """Nor a success: a breaker neither opens nor closes for it."""
    table = TABLE.replace("hedge: $hedge,", "hedge: $hedge, breaker: {failures: 1, within: 30s, cool: 30s},")
    async with race(table=table) as run:
        run.one.always(HANG)
        run.two.always(CHAT.whole("two"))
        for _ in range(3):
            await run.ask()

        assert (3, 3, 0) == run.counts() and 3.0 == run.hedges("won")
        assert 0.0 == run.gateway.metric("isthmus_breaker_state", provider="one")
        slow = run.gateway.life.gateway.upstreams._known["one", "a"]
        assert slow.wholes.value is not None and slow.wholes.value > 0.14


async def test_who_has_no_place_is_passed_over() -> None:
    """A second attempt goes on to the next target, however well that one stood when the call began."""
    async with race("{after: 500ms}", row=", concurrency: 1") as run:
        run.one.script(HANG)
        run.two.script(CHAT.whole("two").after(Sleep(1.5)))
        run.three.script(said("three", stream=False, lane=LANES[1]))
        call = asyncio.create_task(run.ask())
        while not run.one.requests:
            await asyncio.sleep(0.02)
        holds = asyncio.create_task(run.ask("two/b"))

        assert (200, "three", 1.0) == (*(await call)[::2], run.hedges("won", "three"))
        assert (200, "two") == (await holds)[::2]


OPAQUE = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
policies: {default: {hedge: {after: 100ms}}}
routes: [{path: /v1/audio/*, speaks: opaque, to: [{provider: one}, {provider: two}]}]
"""


async def test_what_is_passed_on_unread_is_sent_once() -> None:
    """Nobody knows what it does: a file or a batch would be there twice."""
    async with FakeUpstream() as one, FakeUpstream() as two, running(OPAQUE, one=one.url, two=two.url) as gateway:
        one.script(json_answer({}).after(Sleep(0.5)))
        answer = await gateway.post("/v1/audio/speech", {})

        assert (200, 1, 0) == (answer.status, len(one.requests), len(two.requests))


async def test_places_are_given_back() -> None:
    """A second attempt takes a place of its own where one is free, and does not wait for one; both give it back."""
    async with race(row=", concurrency: 1") as run:
        run.one.always(HANG)
        run.two.always(CHAT.whole("two"))
        run.three.always(said("three", stream=False, lane=LANES[1]))
        for _ in range(3):
            assert (200, "two") == (await run.ask())[::2]

        assert (3, 3, 0) == run.counts()
        run.two.always(CHAT.whole("two").after(Sleep(1.0)))
        holds = asyncio.create_task(run.ask())
        while len(run.two.requests) < 4:
            await asyncio.sleep(0.02)
        assert "three" == (await run.ask())[2]  # both of the first are busy
        assert (200, "two") == (await holds)[::2]


async def test_the_cost_of_a_race_is_not_known() -> None:
    """Nobody says what was burned until it was cut off: it is not 0. What the answer cost is counted."""
    async with race() as run:
        run.one.script(HANG)
        run.two.script(CHAT.whole("two"))
        answer = await run.gateway.post(CHAT.path(), CHAT.body() | {"model": "m"}, headers={"x-isthmus-cost": "true"})
        line = (await run.gateway.lines())[-1]

        assert (200, False) == (answer.status, "x-isthmus-cost" in answer.headers)
        assert "cost_usd" not in line or line["cost_usd"] is None
        assert 0 < run.gateway.metric("isthmus_cost_usd_total", provider="two")
        assert [("one", "outpaced", False), ("two", None, True)] == [
            (one["provider"], one.get("error"), one.get("hedge", False)) for one in line["attempts"]
        ]


async def test_time_is_told_once() -> None:
    """The phases of `server-timing` are those of the call, not of both attempts: they sum to what it took."""
    async with race() as run:
        run.one.script(HANG)
        run.two.script(CHAT.whole("two").after(Sleep(0.2)))
        began = time.monotonic()
        _, headers, _ = await run.ask()
        took = (time.monotonic() - began) * 1000
        told = (entry.strip().partition(";dur=") for entry in headers["server-timing"].split(","))
        phases = {name: float(milliseconds) for name, _, milliseconds in told}

        assert 330 <= sum(phases.values()) <= took
        assert 140 <= phases["wait"] <= 330  # until the second attempt began, its own time after that


@both
async def test_many_races_leave_nothing_behind(stream: bool) -> None:
    """No task, no connection, no call under way."""
    async with race() as run:
        run.one.always(said("one", stream=stream).after(Sleep(0.2)))
        run.two.always(said("two", stream=stream).after(Sleep(0.05)))
        answers = await asyncio.gather(*(run.ask(stream=stream) for _ in range(20)))
        await asyncio.sleep(0.3)

        assert {(200, "one")} | {(200, "two")} >= {(code, text) for code, _, text in answers}
        assert [] == [task for task in asyncio.all_tasks() if "Race.begin" in repr(task.get_coro())]
        assert {0} == {one.running for one in run.gateway.life.gateway.upstreams._known.values()}
        assert 0.0 == run.gateway.metric("isthmus_inflight")


async def test_json_error_bodies_in_good_answers_lose() -> None:
    """A whole answer is committed when it has been read and understood: what is none leaves it to the other."""
    async with race() as run:
        run.one.script(CHAT.whole("one").after(Sleep(0.6)))
        run.two.script(json_answer({"error": {"message": "no", "type": "server_error", "code": None}}))
        code, _, text = await run.ask()

        assert (200, "one", 1.0) == (code, text, run.hedges("failed"))


CHATS = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
models: {m: [{provider: one, model: a}, {provider: two, model: b}]}
policies: {default: {attempts: 3, hedge: {after: 150ms}}}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
chats: {store: "sqlite:$store", personas: {maya: {model: m}}}
"""


@both
@pytest.mark.parametrize("winner", ["one", "two"])
async def test_the_chat_service_stores_what_was_heard(winner: str, stream: bool, tmp_path: Path) -> None:
    """Once, and as its caller read it, whoever answered first."""
    async with FakeUpstream() as one, FakeUpstream() as two:
        names = {"one": one.url, "two": two.url, "store": tmp_path / "chats.db"}
        async with running(CHATS, **names) as gateway:
            pauses = {"one": 0.4, "two": 0.6} if winner == "one" else {"one": 2.0, "two": 0.0}
            one.script(said("one", stream=stream).after(Sleep(pauses["one"])))
            two.script(said("two", stream=stream).after(Sleep(pauses["two"])))
            path = "/api/v1/chat/generate/stream" if stream else "/api/v1/chat/generate"
            answer = await gateway.post(path, {"chat_history": [{"role": "user", "content": "Hi"}]})
            rows = sqlite3.connect(tmp_path / "chats.db").execute("select text from messages order by 1").fetchall()

        assert (200 if stream else 201) == answer.status
        assert winner.encode() in answer.body
        assert {("Hi",), (winner,)} == set(rows)


@pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
async def test_asking_again_counts_on_both_sides() -> None:
    """Answers that break their schema are asked for once more within the attempts of both together."""
    table = TABLE.replace("hedge: $hedge,", "hedge: $hedge, check_schema: repair,")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wish = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    async with race(table=table, attempts=3) as run:
        run.one.always(CHAT.whole('{"a": "x"}').after(Sleep(0.3)))
        run.two.always(CHAT.whole('{"a": "y"}').after(Sleep(0.2)))
        code, headers, text = await run.ask(**wish)

        assert (200, "3") == (code, headers["x-isthmus-attempts"])
        assert 3 == sum(run.counts()) and text in ('{"a": "x"}', '{"a": "y"}')


REPAIR = TABLE.replace("hedge: $hedge,", "hedge: $hedge, check_schema: repair,")
SHAPE = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SHAPED: dict[str, Json] = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SHAPE}}}


@pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
async def test_a_second_is_heard_that_begins_while_the_first_is_asked_again() -> None:
    """What the first is asked for once more it keeps to itself: the second's answer is no answer to that."""
    async with race(table=REPAIR, attempts=3) as run:
        run.one.script(CHAT.whole('{"a": "x"}'), HANG)
        run.two.script(CHAT.whole('{"a": 2}'))
        code, headers, text = await run.ask(**SHAPED)
        await asyncio.sleep(0.1)

        assert (200, '{"a": 2}', "two", "3") == (
            code,
            text,
            headers.get("x-isthmus-provider"),
            headers.get("x-isthmus-attempts"),
        )
        assert (2, 1, 0) == run.counts()
        assert (1.0, 1.0) == (run.attempts("ok"), run.attempts("outpaced"))


@pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")
async def test_asking_again_leaves_no_second_attempt_beyond_the_policy() -> None:
    """With two attempts the question that was asked again was the last one."""
    async with race(table=REPAIR, attempts=2) as run:
        run.one.script(CHAT.whole('{"a": "x"}'), CHAT.whole('{"a": 1}').after(Sleep(0.5)))
        run.two.always(CHAT.whole('{"a": 2}'))
        code, headers, text = await run.ask(**SHAPED)

        assert (200, '{"a": 1}', "2", (2, 0, 0)) == (code, text, headers["x-isthmus-attempts"], run.counts())


async def test_both_count_for_the_limits_of_a_key() -> None:
    """What was cut off by estimate, what was answered as its upstream counted it."""
    key = f'access: {{keys: [{{name: a, hash: "sha256:{sha256(b"key").hexdigest()}", tpm: 10000}}]}}\n'
    async with race(table=TABLE + key) as run:
        run.one.script(HANG)
        run.two.script(CHAT.whole("two"))
        body = CHAT.body("Hello there! " * 40) | {"model": "m", "max_tokens": 100}
        await run.gateway.post(CHAT.path(), body, headers={"authorization": "Bearer key"})
        run.two.script(CHAT.whole("two"))
        run.one.script(CHAT.whole("one"))
        answer = await run.gateway.post(CHAT.path(), body, headers={"authorization": "Bearer key"})
        estimate = 10_000 - int(answer.headers["x-ratelimit-remaining-tokens"])

        # The second call has set its estimate aside; the first has been settled for that of its loser and 12 tokens.
        assert 200 == answer.status and (estimate - 12) % 2 == 0 and estimate > 400


async def test_both_count_for_the_budget_of_a_key() -> None:
    """What was cut off as it would have cost at most, what was answered as it did cost."""
    key = (
        f'access: {{keys: [{{name: a, hash: "sha256:{sha256(b"key").hexdigest()}", budget: {{usd: 5, per: day}}}}]}}\n'
    )
    async with race(table=TABLE + key) as run:
        run.one.script(HANG)
        run.two.script(CHAT.whole("two"))
        body = CHAT.body() | {"model": "m", "max_tokens": 100}
        answer = await run.gateway.post(CHAT.path(), body, headers={"authorization": "Bearer key"})
        spent = run.gateway.metric("isthmus_budget_usd_spent", key="a")

        assert (200, 1.0) == (answer.status, run.hedges("won"))
        assert (100 + 12) / 1e6 <= spent <= (150 + 12) / 1e6
