"""Which target a call goes to, seen from the upstreams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from router.explain import Question, explain
from tests.fakes import FakeUpstream, Received, Reply, Sleep, status
from tests.lanes import LANES
from tests.running import Clock, Running, running

CHAT = LANES[0]
TABLE = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
models:
  m: {choose: $choose, to: [{provider: one, model: m, weight: 3}, {provider: two, model: m}]}
policies:
  default: {attempts: 3, breaker: {failures: 3, within: 30s, cool: 10s}}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""


@contextlib.asynccontextmanager
async def between(choose: str) -> AsyncIterator[tuple[Running, FakeUpstream, FakeUpstream]]:
    async with FakeUpstream() as one, FakeUpstream() as two:
        one.always(CHAT.whole())
        two.always(CHAT.whole())
        async with running(TABLE, one=one.url, two=two.url, choose=choose) as gateway:
            yield gateway, one, two


async def calls(gateway: Running, times: int, model: str = "m") -> list[int]:
    """Calls one after the other; their statuses."""
    body = CHAT.body() | {"model": model}
    return [(await gateway.post(CHAT.path(), body)).status for _ in range(times)]


async def test_weights_share_the_calls() -> None:
    """3 to 1, within what chance allows."""
    async with between("weighted") as (gateway, one, two):
        codes = await calls(gateway, 80)

        assert {200} == set(codes)
        assert 45 <= len(one.requests) <= 73 and 80 == len(one.requests) + len(two.requests)


async def test_the_fastest_gets_most_calls() -> None:
    """Once both are known, the slow one is no longer asked."""
    async with between("fastest") as (gateway, one, two):
        one.always(CHAT.whole().after(Sleep(0.1)))
        await calls(gateway, 12)

        assert len(one.requests) <= 2 and len(two.requests) >= 10


async def test_a_target_that_fails_comes_last() -> None:
    """Three failures, each covered by the other target; from then on it is not even tried first."""
    async with between("in_order") as (gateway, one, two):
        one.always(status(503))
        codes = await calls(gateway, 10)

        assert {200} == set(codes) and 10 == len(two.requests)
        assert len(one.requests) <= 4


async def test_a_target_that_works_again_gets_its_calls_back() -> None:
    """Though the other one serves them all: one call finds out, and slowly all is as it was."""
    async with between("in_order") as (gateway, one, two):
        clock = Clock(gateway)
        one.always(status(503))
        await calls(gateway, 5)
        one.always(CHAT.whole())
        before = len(one.requests)
        clock.pass_by(10.0)
        await calls(gateway, 1)
        assert before + 1 == len(one.requests)
        clock.pass_by(10.0)
        served = len(two.requests)
        await calls(gateway, 5)

        assert (before + 6, served) == (len(one.requests), len(two.requests))


async def test_a_target_that_is_busy_rests_for_as_long_as_it_says() -> None:
    """429 with retry-after: the next callers go to the other target straight away."""
    async with between("in_order") as (gateway, one, two):
        one.always(status(429, headers={"retry-after": "30"}))
        codes = await calls(gateway, 5)

        assert {200} == set(codes) and (1, 5) == (len(one.requests), len(two.requests))


async def test_explain_tells_the_order_and_why() -> None:
    """The candidates as a call would try them: why the first is first, and why the others are not."""
    async with between("in_order") as (gateway, one, _):
        one.always(status(429, headers={"retry-after": "30"}))
        await calls(gateway, 1)
        told = await explain(gateway.life.gateway, Question(path=CHAT.path(), body=CHAT.body() | {"model": "m"}))

        assert [("two", True), ("one", False)] == [(row["provider"], row["chosen"]) for row in told["candidates"]]
        assert ("in_order", "resting") == (
            told["candidates"][0]["why"]["code"],
            told["candidates"][1]["why_not"]["code"],
        )


KEYED = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], secrets: ["env:KEY_A", "env:KEY_B", "env:KEY_C"]}
models:
  m: [{provider: one, model: m}]
policies:
  default: {attempts: 3}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""
KEYS = {"KEY_A": "sk-key-a", "KEY_B": "sk-key-b"}  # C is not there


async def keyed(codes: dict[str, Reply], times: int) -> tuple[list[int], list[str]]:
    """Calls of an upstream that answers each key as it is said to: the callers' statuses, and the keys it saw."""

    def says(request: Received) -> Reply:
        return codes.get(request.header("authorization").removeprefix("Bearer sk-key-"), CHAT.whole())

    async with FakeUpstream() as upstream:
        upstream.always(says)
        async with running(KEYED, KEYS, one=upstream.url) as gateway:
            found = await calls(gateway, times)
        return found, [request.header("authorization")[-1] for request in upstream.requests]


async def test_keys_take_turns() -> None:
    """Those that are there, one call each."""
    codes, used = await keyed({}, 4)

    assert [200] * 4 == codes and used in (list("abab"), list("baba"))


@pytest.mark.parametrize("code", [401, 402, 403])
async def test_a_key_that_is_refused_is_dead_for_the_call_and_rests(code: int) -> None:
    """The call goes on with the next key; later calls begin with that."""
    codes, used = await keyed({"a": status(code)}, 6)

    assert [200] * 6 == codes
    assert 1 == used.count("a") and 6 == used.count("b")


async def test_a_key_at_its_limit_cools() -> None:
    """429: the other key at once, and for as long as the upstream says."""
    codes, used = await keyed({"b": status(429, headers={"retry-after": "20"})}, 6)

    assert [200] * 6 == codes
    assert 1 == used.count("b") and 6 == used.count("a")


async def test_when_every_key_is_refused_the_caller_is_told() -> None:
    """Each was tried once; the caller's own credential is not at fault."""
    codes, used = await keyed({"a": status(401), "b": status(403)}, 1)

    assert [502] == codes and ["a", "b"] == sorted(used)
