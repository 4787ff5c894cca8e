"""Agents that others wrote: LangChain's, pydantic-ai's and the AI SDK's finish a loop of tools on every upstream."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import Client
from tests.clients.matrix import Matrix, Talker
from tests.clients.scripted import SCRIPTED
from tests.clients.scripted.play import CALLS, CITY, COMPLAINT, HELLO, LAST

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="module")]

AGENTS = [
    *(Talker(library, "chat", "openai.chat") for library in ("talk_langchain", "talk_pydantic_ai")),
    *(Talker(library, "responses", "openai.responses") for library in ("talk_langchain", "talk_pydantic_ai")),
    *(Talker(library, "anthropic", "anthropic.messages") for library in ("talk_langchain", "talk_pydantic_ai")),
    Talker("talk_langchain", "google", "gemini", ids=False),
    Talker("talk_pydantic_ai", "google", "gemini"),
    Talker("talk_node", "ai-chat", "openai.chat"),
    Talker("talk_node", "ai-compatible", "openai.chat"),
    Talker("talk_node", "ai-responses", "openai.responses"),
    Talker("talk_node", "ai-anthropic", "anthropic.messages"),
    Talker("talk_node", "ai-google", "gemini"),
]
agents = pytest.mark.parametrize("talker", AGENTS, ids=str)
everywhere = pytest.mark.parametrize("upstream", SCRIPTED)


@agents
@everywhere
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_three_steps(
    here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str, stream: bool
) -> None:
    """The agent calls what it is told to, twice, and ends with the answer; the model got back what it made."""
    talk = await here_are_all.talk(client_of, talker, upstream, "loop", stream=stream)
    calls = sorted(talk.told["calls"])

    assert (LAST, sorted([name, given] for name, given in CALLS.items())) == (talk.told["said"], calls)
    assert ([1, 2, 3], [stream] * 3) == (talk.played.steps, talk.played.streamed)


@agents
@everywhere
async def test_a_stream(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str) -> None:
    """The framework reads it to its end."""
    talk = await here_are_all.talk(client_of, talker, upstream, "plain", stream=True)

    assert (HELLO, True) == (talk.told["said"], talk.told["pieces"] > 1)


@agents
@everywhere
async def test_a_schema(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str) -> None:
    """The upstream is told the schema, and the framework reads the answer with it."""
    talk = await here_are_all.talk(client_of, talker, upstream, "structured")

    assert CITY == json.loads(talk.told["said"])


@agents
@everywhere
async def test_an_error(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str) -> None:
    """It is raised with the upstream's status and words."""
    talk = await here_are_all.talk(client_of, talker, upstream, "failing")

    assert (400, True) == (talk.told["raised"]["status"], COMPLAINT in talk.told["raised"]["message"])
