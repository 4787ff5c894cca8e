"""The scripted upstreams refuse what they are there to refuse: that clients pass with them means something."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.conftest import Client
from tests.clients.matrix import Matrix, Talker
from tests.clients.scripted import SCRIPTED, Scripted
from tests.clients.scripted.play import Called, Said, Step, Thought, Wrong, calls_in, result_text
from tests.clients.talkers.world import result_of

everyone = pytest.mark.parametrize("upstream", SCRIPTED)


def history(player: Scripted) -> list[Step]:
    """Two steps as a client sends them that forgets nothing."""
    steps = []
    for parts in player.plot()[:2]:
        named = [(call.name if player.speaks == "ollama.chat" else call.id, call.name) for call in calls_in(parts)]
        steps.append(Step(list(parts), [(key, result_of(name)) for key, name in named]))
    return steps


def _forget_a_call(second: Step) -> None:
    second.parts.remove(calls_in(second.parts)[1])


def _change_arguments(second: Step) -> None:
    at = second.parts.index(calls_in(second.parts)[0])
    second.parts[at] = calls_in(second.parts)[0]._replace(arguments={})


def _turn_calls(second: Step) -> None:
    second.parts.reverse()


def _forget_a_result(second: Step) -> None:
    second.results.pop()


def _swap_results(second: Step) -> None:
    (one, told), (other, heard) = second.results
    second.results[:] = [(one, heard), (other, told)]


def _answer_another_call(second: Step) -> None:
    second.results[0] = ("call_of_somebody", second.results[0][1])


def _add_words(second: Step) -> None:
    second.parts.append(Said("And then?"))


CHANGES: list[Callable[[Step], None]] = [
    _forget_a_call,
    _change_arguments,
    _turn_calls,
    _forget_a_result,
    _swap_results,
    _answer_another_call,
    _add_words,
]


@everyone
def test_a_history_that_is_whole_is_taken(upstream: str) -> None:
    """Nothing is wrong with what the model made itself."""
    player = SCRIPTED[upstream](7)

    player._check(history(player))


@everyone
@pytest.mark.parametrize("change", CHANGES)
def test_a_history_that_is_not_whole_is_refused(upstream: str, change: Callable[[Step], None]) -> None:
    """Calls and results are those that were made, each with its own."""
    player = SCRIPTED[upstream](7)
    steps = history(player)
    change(steps[1])

    with pytest.raises(Wrong):
        player._check(steps)


@pytest.mark.parametrize("upstream", [name for name, scripted in SCRIPTED.items() if scripted.signs])
@pytest.mark.parametrize("seal", [None, "AAAA"])
def test_a_signature_that_is_not_its_own_is_refused(upstream: str, seal: str | None) -> None:
    """It is missing, or another."""
    player = SCRIPTED[upstream](7)
    steps = history(player)
    for at, part in enumerate(steps[0].parts):
        if isinstance(part, Thought | Called) and part.seal:
            steps[0].parts[at] = part._replace(seal=seal)  # type: ignore[arg-type]

    with pytest.raises(Wrong):
        player._check(steps)


@pytest.mark.parametrize(
    "wrapped", ["it is", '"it is"', '{"result": "it is"}', {"output": "it is"}, [{"type": "text", "text": "it is"}]]
)
def test_wrapped_results_are_read(wrapped: object) -> None:
    """Clients wrap results in several ways, and vendors do not mind."""
    assert "it is" == result_text(wrapped)


RELAYED = [
    Talker("talk_openai", "responses", "openai.responses"),
    Talker("talk_anthropic_2", "messages", "anthropic.messages"),
    Talker("talk_genai_3", "generate", "gemini"),
]


@pytest.mark.clients
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("talker", RELAYED, ids=str)
async def test_a_client_that_forgets_is_refused_by_its_own_vendor(
    here_are_all: Matrix, client_of: Client, talker: Talker
) -> None:
    """In the relay lane nothing is put back: the vendor's 400 reaches the client as it would without a gateway."""
    talk = await here_are_all.talk(client_of, talker, talker.speaks, "loop", echo="known", refused=True)

    assert ([1], 1) == (talk.played.steps, len(talk.played.problems))
    assert 400 == talk.told["raised"]["status"]
    assert talk.played.problems[0][:10] in talk.told["raised"]["message"]
