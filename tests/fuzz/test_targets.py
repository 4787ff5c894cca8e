"""Every decoder for 20 seconds, and again on what it ever stumbled over.

The seconds are those of a group of targets: what one dialect reads (requests, answers, errors, streams, relayed
streams); wire formats, paths and tables. The inputs are the same each time, as many as there is time for, and the first
of those that the long runs of `make fuzz` went through: a build does not fail by chance. `ISTHMUS_FUZZ_SECONDS` and
`ISTHMUS_FUZZ_SEED` are for whoever wants more or others.
"""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from .run import attempt, fuzz
from .targets import TARGETS

SECONDS = float(os.environ.get("ISTHMUS_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("ISTHMUS_FUZZ_SEED", "0"))
SHARES = Counter(target.group for target in TARGETS.values())
#: {target, data (base64), was: what it did when it was found}
FINDS = [json.loads(line) for line in (Path(__file__).parent / "finds.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks(name: str) -> None:
    """No crash, no hang, no unbounded memory, and the rules of the target, for every input that there was time for."""
    target = TARGETS[name]

    report = fuzz(target, SECONDS / SHARES[target.group], SEED)

    assert not report.finds, f"seed {SEED}\n{report}"
    assert report.cases > 0


@pytest.mark.parametrize("find", FINDS, ids=lambda find: f"{find['target']}-{find['was'][:60]}")
def test_finds_stay_mended(find: dict[str, str]) -> None:
    """What fuzzing found once is tried for ever."""
    again = attempt(TARGETS[find["target"]], base64.b64decode(find["data"]), measured=True)

    assert again is None, again


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_coverage_leads_to_can_be_changed_further(name: str) -> None:
    """Inputs that reached new code are changed again, damaged ones, too."""
    target = TARGETS[name]
    seeds = list(target.seeds())[:3]
    odd = [b"", b"\x00" * 20, b"\xff" * 20, b"{", *seeds, *(seed[:-1] for seed in seeds), *(seed * 2 for seed in seeds)]

    for number, data in enumerate(odd * 5):
        assert isinstance(target.mutate(Random(number), data), bytes)


def test_every_dialect_is_fuzzed() -> None:
    """A dialect that is added is fuzzed from then on, on every side that it has."""
    sides = Counter(name.partition(":")[0] for name in TARGETS)

    assert {"request": 6, "answer": 9, "error": 9, "stream": 8, "relay": 5} == {
        side: sides[side] for side in ("request", "answer", "error", "stream", "relay")
    }
