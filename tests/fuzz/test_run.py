"""The fuzzer finds what is planted, bounds what does not end, and repeats itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest

from providers.canonical.errors import BadUpstreamBytes

from . import run, seeds
from .mutate import AMAZON, LINES, SSE, Framing, JsonMutator, StreamMutator, vocabulary
from .run import attempt, fuzz
from .targets import Target, pieces

SEED = b'{"a":[1,{"b":"text"}],"c":null}'
WORDS = vocabulary(iter([{"role": "user", "type": "text"}]))


def target(rule: Callable[[bytes], object]) -> Target:
    return Target(
        "planted", "planted", rule, lambda: [SEED], lambda dice, data: JsonMutator(dice, WORDS, [SEED]).mutate(data)
    )


def test_a_planted_fault_is_found_and_made_small() -> None:
    """One find for one place, with an input that is little more than what it takes."""

    def rule(data: bytes) -> None:
        if b"role" in data:
            raise KeyError("role")

    report = fuzz(target(rule), 60, most=2000)

    assert [b"role"] == [find.data for find in report.finds.values()]
    assert "KeyError" in str(report)


def test_what_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the processor's clock, so that a busy machine is no hang."""

    def rule(data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(run, "SLOW", 0.2)
    find = attempt(target(rule), SEED)

    assert find is not None
    assert "slow" == find.place


def test_memory_out_of_proportion_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one input; what all of them leave behind is looked at in the end."""
    kept: list[bytes] = []
    monkeypatch.setattr(run, "PEAK", 1 << 20)
    find = attempt(target(lambda data: kept.append(bytes(2 << 20))), SEED, measured=True)

    assert find is not None
    assert "memory" == find.place


def test_the_same_seed_gives_the_same_inputs() -> None:
    """And another seed others."""

    def inputs(seed: int) -> list[bytes]:
        seen: list[bytes] = []
        fuzz(target(seen.append), 60, seed, most=200)
        return seen

    assert inputs(1) == inputs(1) != inputs(2)


@pytest.mark.parametrize(
    ("name", "framing"), [("openai.chat", SSE), ("ollama.chat", LINES), ("bedrock.converse", AMAZON)]
)
def test_streams_are_taken_apart_and_put_together(name: str, framing: Framing) -> None:
    """Most changed streams still have the form of one: they get past the framing, to the codec."""
    corpus, dice = seeds.streams(name), Random(1)
    changed = [StreamMutator(dice, WORDS, corpus, framing).mutate(data) for data in corpus[:40]]

    def frames(data: bytes) -> int:
        try:
            return len(framing.split(data))
        except BadUpstreamBytes:
            return 0

    assert sum(frames(data) > 1 for data in changed) > len(changed) / 2
    assert changed != list(corpus[:40])


def test_changed_json_is_mostly_json() -> None:
    """Else only parsers would be tried."""
    dice = Random(1)
    changed = [JsonMutator(dice, WORDS, [SEED]).mutate(SEED) for _ in range(400)]

    def is_json(data: bytes) -> bool:
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            return False
        return True

    assert 200 < sum(map(is_json, changed)) < 400


def test_pieces_are_the_whole() -> None:
    """However they are cut."""
    for number in range(50):
        assert SEED * 9 == b"".join(pieces(Random(number), SEED * 9))
