"""Official SDKs with the retries that they have by default: what we say is useless they do not try again.

Each of them tries twice more, otherwise, whatever has been tried here.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes import FakeUpstream, chat_answer, json_answer, status
from tests.running import Running, running

pytestmark = pytest.mark.clients

KEY = "sk-isthmus-budget"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
TABLE = f"""
access:
  keys:
    - {{name: team, hash: "sha256:{HASH}", budget: {{usd: 1, per: month}}, rpm: $rpm}}
providers: {{up: {{base_url: "$up/v1", speaks: [openai.chat], auth: none}}}}
models: {{m: [{{provider: up, model: m}}]}}
prices: {{up/m: {{input: 1000, output: 1000}}}}
policies: {{default: {{attempts: $attempts, wait: {{first: 1ms, most: 1ms}}, breaker: null}}}}
routes:
  - {{path: /v1/chat/completions, speaks: openai.chat, to: models}}
  - {{path: /v1/messages, speaks: anthropic.messages, to: models}}
"""
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
ALL = json_answer(chat_answer(usage=(500, 500)))  # a dollar


@contextlib.asynccontextmanager
async def place(attempts: int = 2, rpm: int = 600) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with (
        FakeUpstream() as upstream,
        running(TABLE, up=upstream.url, attempts=attempts, rpm=rpm) as gateway,
    ):
        yield gateway, upstream


async def by_openai(gateway: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as sdk:
        await sdk.chat.completions.create(model="m", messages=MESSAGES, max_tokens=5)


async def by_anthropic(gateway: Running) -> None:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY) as sdk:
        await sdk.messages.create(model="m", messages=MESSAGES, max_tokens=5)


SDKS = [(by_openai, openai.APIStatusError), (by_anthropic, anthropic.APIStatusError)]


async def calls(gateway: Running) -> int:
    """How many calls have come in."""
    return int(gateway.metric("isthmus_requests_total"))


@pytest.mark.parametrize(("sdk", "error"), SDKS)
async def test_a_used_up_budget_is_not_asked_again(
    sdk: Callable[[Running], Awaitable[None]], error: type[openai.APIStatusError | anthropic.APIStatusError]
) -> None:
    """One call, and the error at once, with its code."""
    async with place() as (gateway, upstream):
        upstream.always(ALL)
        await sdk(gateway)
        with pytest.raises(error) as raised:
            await sdk(gateway)

        assert (429, 2, 1) == (raised.value.status_code, await calls(gateway), len(upstream.requests))
        assert "insufficient_credits" in str(raised.value.body)


@pytest.mark.parametrize("code", [429, 500, 503])
@pytest.mark.parametrize(("sdk", "error"), SDKS)
async def test_exhausted_retries_are_not_multiplied(
    sdk: Callable[[Running], Awaitable[None]], error: type[openai.APIStatusError | anthropic.APIStatusError], code: int
) -> None:
    """Two attempts of ours for one call of theirs, not six."""
    async with place() as (gateway, upstream):
        upstream.always(status(code))
        with pytest.raises(error):
            await sdk(gateway)

        assert (1, 2) == (await calls(gateway), len(upstream.requests))


@pytest.mark.parametrize(("sdk", "error"), SDKS)
async def test_where_the_policy_leaves_retries_to_callers_they_make_them(
    sdk: Callable[[Running], Awaitable[None]], error: type[openai.APIStatusError | anthropic.APIStatusError]
) -> None:
    """With one attempt of ours: theirs."""
    async with place(attempts=1) as (gateway, upstream):
        upstream.script(status(500))
        upstream.always(json_answer(chat_answer()))
        await sdk(gateway)

        assert (2, 2) == (await calls(gateway), len(upstream.requests))
