"""The fakes are as strict as the documents: what these refuse they refuse, and tell the test."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.given.fakes import (
    GATEWAY_SECRET,
    KEY,
    Alchemyst,
    AlephAlpha,
    AlphaEdge,
    AlphaKek,
    Fake,
    bad_json,
    cut_after,
    delay,
    fail,
    huge_line,
    no_done,
    ok,
    redirect,
    reset,
    slow_tokens,
    split_every_byte,
)

HI = [{"role": "user", "content": "Hi"}]
AA = {"model": "m", "messages": HI}
KEK = {"model": "nexus", "messages": HI}
EDGE = {"model": "m", "messages": HI}
ALC = {"chat_history": HI}
STREAM = {"stream": True}


async def call(fake: Fake, body: Any, path: str | None = None, key: str = KEY, **headers: str) -> tuple[int, bytes]:
    """The status and as much of the body as came."""
    sent = {"authorization": f"Bearer {key}", **headers}
    data = b""
    async with (
        aiohttp.ClientSession() as session,
        session.post(fake.url + (path or fake.paths[0]), json=body, headers=sent, allow_redirects=False) as response,
    ):
        try:
            async for piece in response.content.iter_any():
                data += piece
        except aiohttp.ClientError:
            data += b"<lost>"
        return response.status, data


@pytest.mark.parametrize(
    ("make", "path", "body"),
    [
        (AlephAlpha, None, AA),
        (AlphaKek, None, KEK),
        (AlphaEdge, None, EDGE),
        (Alchemyst, None, ALC),
        (Alchemyst, "/api/v1/proxy/default/chat/completions", AA),
    ],
)
async def test_a_good_call_is_answered(make: type[Fake], path: str | None, body: Any) -> None:
    """And recorded."""
    async with make() as fake:
        status, data = await call(fake, body, path)

        assert (True, body) == (status in (200, 201), fake.seen[0].body)
        assert b"Hel" in data


@pytest.mark.parametrize("make", [AlephAlpha, AlphaKek, AlphaEdge, Alchemyst])
async def test_what_is_common(make: type[Fake]) -> None:
    """A wrong bearer, a body that is no object, a path that is not there, and our caller's credential."""
    async with make(tolerant=True) as fake:
        found = [
            await call(fake, {}, key="other"),
            await call(fake, [1]),
            await call(fake, {}, "/elsewhere"),
        ]
        await call(fake, {}, **{"x-extra": GATEWAY_SECRET})

        assert [401, 422 if make is AlphaKek else 400, 404] == [status for status, _ in found]
        assert "the caller's credential reached the upstream" in fake.refused


async def test_a_fake_fails_the_test_that_it_refused() -> None:
    """Leaving the block is an error, unless the test expected it; so is a scenario that was never played."""
    with pytest.raises(AssertionError):
        async with AlphaEdge() as fake:
            await call(fake, {**EDGE, "top_p": 1})
    with pytest.raises(AssertionError):
        async with AlphaEdge() as fake:
            fake.plays(ok())


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HI},
        {"model": "m", "messages": []},
        {**AA, "foo": 1},
        *({**AA, key: None} for key in ("response_format", "tools", "tool_choice", "parallel_tool_calls")),
        {**AA, "messages": [{"role": "developer", "content": "x"}, *HI]},
        {**AA, "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {**AA, "messages": [*HI, {"role": "system", "content": "x"}]},
        {**AA, "messages": [{"role": "system", "content": "x"}] * 2 + HI},
        {**AA, "messages": [*HI, *HI]},
        {**AA, "messages": [{"role": "assistant", "content": "x"}, *HI]},
        {**AA, "messages": [*HI, {"role": "assistant", "content": "x"}]},
        *({**AA, **bad} for bad in ({"temperature": 2.1}, {"top_p": 1.1}, {"n": 0}, {"max_tokens": 0})),
        *({**AA, **bad} for bad in ({"frequency_penalty": 3}, {"presence_penalty": -3}, {"logit_bias": {"1": 101}})),
        {**AA, "logprobs": True, "top_logprobs": 21},
        {**AA, "top_logprobs": 1},
        {**AA, "steering_concepts": ["bad"]},
        {**AA, "stop": ["one"]},
    ],
    ids=str,
)
async def test_aleph_alpha_refuses(body: Any) -> None:
    """400, as its document says."""
    async with AlephAlpha(tolerant=True) as fake:
        status, _ = await call(fake, body)

        assert (400, 1) == (status, len(fake.refused))


async def test_aleph_alpha_takes_and_ignores() -> None:
    """What has no effect is accepted, and remembered for tests that want it not to be sent."""
    async with AlephAlpha(tolerant=True) as fake:
        status, _ = await call(
            fake, {**AA, "messages": [{**HI[0], "name": "n"}], "seed": 1, "service_tier": "x", "user": "u"}
        )
        odd, _ = await call(fake, AA, "/chat/completions?nice=maybe")
        other, _ = await call(fake, AA, "/chat/completions?x=1")

        assert (200, 400, 400) == (status, odd, other)
        assert ["seed", "service_tier", "user", "name"] == fake.ignored


async def test_aleph_alpha_of_a_newer_installation() -> None:
    """Tools, schemas and images are taken; one concept at a time, and never parallel_tool_calls."""
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    async with AlephAlpha(profile="4.7", tolerant=True) as fake:
        good = {**AA, "tools": [], "messages": [{"role": "user", "content": [image]}]}
        bad = [
            {**AA, "parallel_tool_calls": True},
            {**AA, "steering_concepts": ["_worker/a", "_worker/b"]},
            {**AA, "response_format": {"type": "json_object"}},
            {**AA, "messages": [{"role": "user", "content": [{**image, "image_url": {"url": "https://x"}}]}]},
        ]

        assert [200, 400, 400, 400, 400] == [(await call(fake, body))[0] for body in (good, *bad)]


@pytest.mark.parametrize(
    "body",
    [
        {**KEK, "model": "gpt"},
        {**KEK, "max_tokens": 1},
        {**KEK, "tools": []},
        {**KEK, "response_format": {"type": "text"}},
        {**KEK, "json_schema": "x"},
        {**KEK, "persona": 1},
        {**KEK, "messages": [{"role": "developer", "content": "x"}]},
        {**KEK, "messages": [{"role": "user", "content": []}]},
        {**KEK, "messages": [{"role": "user", "content": "x", "name": "n"}]},
    ],
    ids=str,
)
async def test_alphakek_refuses(body: Any) -> None:
    """422 in FastAPI's form; nothing is spent."""
    async with AlphaKek(tolerant=True) as fake:
        status, data = await call(fake, body)

        assert (422, 0, True) == (status, fake.spent, b'"detail"' in data)


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (AlphaEdge, {**EDGE, "top_p": 1}),
        (AlphaEdge, {**EDGE, "temperature": 2.1}),
        (AlphaEdge, {**EDGE, "messages": []}),
        (Alchemyst, {**ALC, "model": "m"}),
        (Alchemyst, {"chat_history": []}),
        (Alchemyst, {"chat_history": [{"role": "user"}]}),
        (Alchemyst, {**ALC, "tools": "x"}),
    ],
    ids=str,
)
async def test_the_others_refuse(make: type[Fake], body: Any) -> None:
    """400."""
    async with make(tolerant=True) as fake:
        status, _ = await call(fake, body)

        assert 400 == status


async def test_scenarios_are_played_in_their_order() -> None:
    """Errors, cuts, resets and the like, one a request; then good answers."""
    async with AlphaEdge() as fake:
        fake.plays(fail(503, {"a": 1}, retry_after="1"), redirect("/x"), bad_json(), delay(0.01))
        whole = [await call(fake, EDGE) for _ in range(5)]
        fake.plays(cut_after(1), reset(1), no_done(), bad_json(), huge_line(), split_every_byte(), slow_tokens(0.01))
        streams = [(await call(fake, {**EDGE, **STREAM}))[1] for _ in range(8)]

        assert [503, 302, 200, 200, 200] == [status for status, _ in whole]
        assert b'{"id": "x", "choices": [' == whole[2][1]
        ends = [data.endswith(b"data: [DONE]\n\n") for data in streams]
        assert [False, False, False, True, True, True, True, True] == ends
        assert streams[1].endswith(b"<lost>")
        assert len(streams[4]) > 16 << 20
        assert streams[5] == streams[6] == streams[7]
