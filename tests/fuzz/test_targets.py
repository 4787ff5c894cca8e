"""Every decoder on the same inputs each time, and again on what it ever stumbled over.

What a build depends on must not depend on how fast its machine is: so many inputs, not so many seconds. With
`ISTHMUS_FUZZ_SECONDS` it is seconds, for each group of targets (those of one dialect; wire formats, paths and tables),
and other inputs each time; a failure names its seed. `make fuzz` is for whoever has hours.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from .run import attempt, fuzz
from .targets import TARGETS

SECONDS = float(os.environ.get("ISTHMUS_FUZZ_SECONDS", "0"))
INPUTS = 1000
LONGEST = 120.0
SHARES = Counter(target.group for target in TARGETS.values())
#: {target, data (base64), was: what it did when it was found}
FINDS = [json.loads(line) for line in (Path(__file__).parent / "finds.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks(name: str) -> None:
    """No crash, no hang, no unbounded memory, and the rules of the target, for every input that there was time for."""
    target = TARGETS[name]
    seed = random.SystemRandom().getrandbits(32) if SECONDS else 0

    if SECONDS:
        report = fuzz(target, SECONDS / SHARES[target.group], seed)
    else:
        report = fuzz(target, LONGEST, seed, most=INPUTS)

    assert not report.finds, f"seed {seed}\n{report}"
    assert report.cases > 0


@pytest.mark.parametrize("find", FINDS, ids=lambda find: f"{find['target']}-{find['was'][:60]}")
def test_finds_stay_mended(find: dict[str, str]) -> None:
    """What fuzzing found once is tried for ever."""
    again = attempt(TARGETS[find["target"]], base64.b64decode(find["data"]), measured=True)

    assert again is None, again


def test_every_dialect_is_fuzzed() -> None:
    """A dialect that is added is fuzzed from then on, on every side that it has."""
    sides = Counter(name.partition(":")[0] for name in TARGETS)

    assert {"request": 6, "answer": 8, "error": 8, "stream": 7, "relay": 5} == {
        side: sides[side] for side in ("request", "answer", "error", "stream", "relay")
    }
