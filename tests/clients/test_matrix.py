"""Every official client against every language of upstreams: a chat, a stream, a loop of tools, a schema, an error."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import Client
from tests.clients.matrix import Matrix, Talker
from tests.clients.scripted import SCRIPTED
from tests.clients.scripted.play import CALLS, CITY, COMPLAINT, HELLO, LAST

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="module")]

PYTHON = [
    Talker("talk_openai", "chat", "openai.chat"),
    Talker("talk_openai", "responses", "openai.responses"),
    Talker("talk_anthropic_2", "messages", "anthropic.messages"),
    Talker("talk_genai_3", "generate", "gemini"),
    Talker("talk_ollama", "chat", "ollama.chat", ids=False),
    Talker("talk_anthropic_1", "messages", "anthropic.messages"),
    Talker("talk_genai_2", "generate", "gemini"),
]
NODE = [
    Talker("talk_node", "chat", "openai.chat"),
    Talker("talk_node", "responses", "openai.responses"),
    Talker("talk_node", "anthropic", "anthropic.messages"),
    Talker("talk_node", "google", "gemini"),
]
TALKERS = [*PYTHON, *NODE]
UPSTREAMS = list(SCRIPTED)
everywhere = pytest.mark.parametrize("upstream", UPSTREAMS)
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(params=TALKERS, ids=str)
def talker(request: pytest.FixtureRequest) -> Talker:
    found: Talker = request.param
    return found


@everywhere
@whole_and_streamed
async def test_a_chat(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str, stream: bool) -> None:
    """The text arrives to the letter; a stream in pieces, from an upstream that streams."""
    talk = await here_are_all.talk(client_of, talker, upstream, "plain", stream=stream)

    assert {"said": HELLO, "pieces": 2 if stream else 0, "calls": []} == talk.told
    assert [stream] == talk.played.streamed


@everywhere
@whole_and_streamed
async def test_three_steps(
    here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str, stream: bool
) -> None:
    """A loop of tools ends: the model got its calls, their results and all that it had signed, each time."""
    talk = await here_are_all.talk(client_of, talker, upstream, "loop", stream=stream)

    assert (LAST, [[name, given] for name, given in CALLS.items()]) == (talk.told["said"], pairs(talk.told))
    assert ([1, 2, 3], [stream] * 3) == (talk.played.steps, talk.played.streamed)


FORGETFUL = [  # who speaks the upstream's language is relayed as it is, and has to keep what was signed
    pytest.param(talker, upstream, id=f"{talker}-{upstream}")
    for talker in PYTHON
    for upstream in UPSTREAMS
    if talker.speaks != upstream or not SCRIPTED[upstream].signs
]


@pytest.mark.parametrize(("talker", "upstream"), FORGETFUL)
async def test_three_steps_of_a_client_that_forgets(
    here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str
) -> None:
    """A client that keeps texts and calls alone: what it dropped is put back behind it."""
    talk = await here_are_all.talk(client_of, talker, upstream, "loop", stream=True, echo="known")

    assert (LAST, [1, 2, 3]) == (talk.told["said"], talk.played.steps)


@everywhere
async def test_a_schema(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str) -> None:
    """The upstream is told the schema, and the client reads the answer with it."""
    talk = await here_are_all.talk(client_of, talker, upstream, "structured")

    assert CITY == json.loads(talk.told["said"])


@everywhere
@whole_and_streamed
async def test_an_error(here_are_all: Matrix, client_of: Client, talker: Talker, upstream: str, stream: bool) -> None:
    """What the upstream did not like is raised as the client's own exception, with its status and words."""
    talk = await here_are_all.talk(client_of, talker, upstream, "failing", stream=stream)

    raised = talk.told["raised"]
    assert (400, True) == (raised["status"], COMPLAINT in raised["message"])


def pairs(told: dict[str, list[tuple[str, object]]]) -> list[list[object]]:
    """The calls, as JSON would have them."""
    return [[name, given] for name, given in told["calls"]]
