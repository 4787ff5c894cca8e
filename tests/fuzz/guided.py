"""One target guided by coverage, for as long as wanted: `python -m tests.fuzz.guided TARGET SECONDS FOLDER`.

Atheris chooses among the inputs those that reached new code and has them changed by our own mutator. It ends with the
process, at the first find, whose input it writes to the folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["providers", "router"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, seconds: str, finds: str) -> None:
    target = TARGETS[name]

    def change(data: bytes, longest: int, seed: int) -> bytes:
        return target.mutate(Random(seed), bytes(data))[:longest]

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        flags = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=2048", "-max_len=65536", "-verbosity=0"]
        flags += [f"-artifact_prefix={finds}/{name.replace(':', '-')}-", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *flags, corpus], target.rule, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
