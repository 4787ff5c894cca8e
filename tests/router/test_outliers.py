"""Targets that do far worse than others of their model, seen from callers and upstreams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from router.admin import State
from tests.fakes import FakeUpstream, Sleep, status
from tests.lanes import LANES
from tests.running import Clock, Running, running

CHAT = LANES[0]
TABLE = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
models:
  m: {choose: least_busy, to: [{provider: one, model: m}, {provider: two, model: m}]}
policies:
  default:
    breaker: {failures: 1000, within: 30s, cool: 10s}
    wait: {first: 1ms, most: 2ms}
    retry_budget: 100%
    outliers: $outliers
    hedge: $hedge
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""


@contextlib.asynccontextmanager
async def between(
    outliers: str = "{calls: 5, within: 60s, cool: 30s}", hedge: str = "null"
) -> AsyncIterator[tuple[Running, FakeUpstream, FakeUpstream, Clock]]:
    async with FakeUpstream() as one, FakeUpstream() as two:
        for upstream in (one, two):
            upstream.always(CHAT.stream("Hi!"))
        async with running(TABLE, one=one.url, two=two.url, outliers=outliers, hedge=hedge) as gateway:
            yield gateway, one, two, Clock(gateway)


async def calls(gateway: Running, times: int) -> set[int]:
    """Streams one after the other; their statuses."""
    body = CHAT.body(stream=True) | {"model": "m"}
    return {(await gateway.post(CHAT.path(stream=True), body)).status for _ in range(times)}


def degraded(gateway: Running) -> list[str]:
    state: State = gateway.life.state
    return state.degraded_parts


async def test_a_target_that_fails_far_more_often_is_passed_over_though_its_breaker_is_closed() -> None:
    """Its callers were served by the other one all the while; from then on they are at once. Then it comes back."""
    async with between() as (gateway, one, _, clock):
        one.always(status(503))
        assert {200} == await calls(gateway, 30)
        clock.pass_by(2.0)
        assert {200} == await calls(gateway, 1)
        before = len(one.requests)
        assert {200} == await calls(gateway, 10)

        assert before == len(one.requests)
        assert 0.0 == gateway.metric("isthmus_breaker_state", provider="one")
        assert 2.0 == gateway.metric("isthmus_outlier_state", provider="one", model="m")
        assert 1.0 == gateway.metric("isthmus_outliers_total", provider="one", model="m", reason="errors")
        assert ["one/m"] == degraded(gateway)

        one.always(CHAT.stream("Hi!"))
        clock.pass_by(31.0)
        await calls(gateway, 60)  # equals are drawn by lot
        assert len(one.requests) > before  # though what it did before is still within the time that is looked at
        clock.pass_by(31.0)
        await calls(gateway, 10)
        assert (0.0, []) == (gateway.metric("isthmus_outlier_state", provider="one"), degraded(gateway))
        assert len(one.requests) > before + 1


async def test_a_target_whose_first_words_take_far_longer_is_passed_over() -> None:
    """Nothing of it fails; its siblings are quicker by far."""
    async with between() as (gateway, one, two, clock):
        one.always(CHAT.stream("Hi!").after(Sleep(0.3)))
        await calls(gateway, 24)
        clock.pass_by(2.0)
        await calls(gateway, 1)
        before = len(one.requests)
        await calls(gateway, 10)

        assert before == len(one.requests) and len(two.requests) > 10
        assert 1.0 == gateway.metric("isthmus_outliers_total", provider="one", model="m", reason="latency")


async def test_an_outlier_is_called_when_nobody_else_is_left() -> None:
    """It is a matter of order: whoever is passed over still comes before a refusal."""
    async with between() as (gateway, one, two, clock):
        one.always(CHAT.stream("Hi!").after(Sleep(0.3)))
        await calls(gateway, 24)
        clock.pass_by(2.0)
        await calls(gateway, 1)
        assert 2.0 == gateway.metric("isthmus_outlier_state", provider="one")
        two.always(status(503))
        before = len(one.requests)

        assert {200} == await calls(gateway, 2)
        assert before + 2 == len(one.requests)


async def test_an_outlier_that_is_cut_off_before_it_answers_stays_out() -> None:
    """With second attempts nobody waits for it until the end: the call that finds out knows that it was too slow."""
    async with between("{calls: 5, within: 60s, cool: 10s}", "{after: 300ms}") as (gateway, one, _, clock):
        one.always(CHAT.stream("Hi!").after(Sleep(0.9)))
        await calls(gateway, 24)
        clock.pass_by(2.0)
        await calls(gateway, 1)
        assert 2.0 == gateway.metric("isthmus_outlier_state", provider="one")
        clock.pass_by(11.0)
        before = len(one.requests)
        await calls(gateway, 12)

        assert before + 1 == len(one.requests)
        assert 2.0 == gateway.metric("isthmus_outlier_state", provider="one")


@pytest.mark.parametrize("outliers", ["null", "{errors: null, calls: 5}"])
async def test_nobody_is_passed_over_for_what_the_policy_does_not_look_at(outliers: str) -> None:
    """Off by default; failures and times can be looked at alone."""
    async with between(outliers) as (gateway, one, _, clock):
        one.always(status(503))
        await calls(gateway, 30)
        clock.pass_by(2.0)
        await calls(gateway, 1)

        assert 0.0 == gateway.metric("isthmus_outliers_total") and [] == degraded(gateway)
