"""Runs targets for a while: `python -m tests.fuzz.run --seconds 600 [TARGET…]`, one line and one file per find.

Where the package atheris is there, half of the time is guided by coverage (`guided.py`).

The same seed gives the same inputs in the same order; how far it comes depends on the machine. Each find is told once
by where it was raised, with its smallest input. Besides the rules of the target an input may not take long, nor may
memory grow with the number of inputs, nor out of proportion to one.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import FrameType

from .targets import TARGETS, Target

#: Processor seconds that one input of 64 KiB may take, all its translations included; a machine is slow, a hang is not.
SLOW = 5.0
#: Bytes that one input may need at most, and what all of them together may leave behind.
PEAK = 96 << 20
GROWTH = 256 << 20
_MEASURED = 61  # every so many inputs memory is measured


class TooSlow(BaseException):
    """Raised into a case that takes too long; no `except Exception` on the way may swallow it."""


@dataclass
class Find:
    """A fault: where it was raised, what it was, an input that shows it."""

    place: str
    text: str
    data: bytes


@dataclass
class Report:
    """`finds` by place."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    finds: dict[str, Find] = field(default_factory=dict)

    def __str__(self) -> str:
        told = f"{self.target}: {self.cases} inputs in {self.seconds:.0f} s, {len(self.finds)} finds"
        return "\n".join([told, *(f"  {one.place}: {one.text}\n    {one.data[:300]!r}" for one in self.finds.values())])


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises TooSlow once the process has worked so long: in the main thread, on the processor's clock."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempt(target: Target, data: bytes, *, measured: bool = False) -> Find | None:
    """One case."""
    if measured:
        tracemalloc.start()
    try:
        with bounded(SLOW):
            target.rule(data)
        peak = tracemalloc.get_traced_memory()[1] if measured else 0
        if peak > PEAK:
            return Find("memory", f"{peak >> 20} MiB for {len(data)} bytes", data)
    except (Exception, TooSlow) as error:
        return Find(place_of(error), f"{type(error).__name__}: {str(error)[:300]}", data)
    finally:
        if measured:
            tracemalloc.stop()
    return None


def place_of(error: BaseException) -> str:
    """The innermost line of ours that an error went through, and its kind: what makes two finds the same."""
    if isinstance(error, TooSlow):
        return "slow"
    found = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/fuzz/run.py" not in frame.filename]
    ours = [frame for frame in found if "/providers/" in frame.filename or "/router/" in frame.filename]
    frame = (ours or found)[-1]
    rule = f" {str(error)[:40]}" if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}{rule}"


def fuzz(target: Target, seconds: float, seed: int = 0, *, most: int | None = None) -> Report:
    """Tries inputs until the time is over, or `most` of them: the seeds first, then changed ones."""
    report, dice, corpus = Report(target.name), Random(f"{target.name} {seed}"), list(target.seeds())
    started, grown = time.monotonic(), 0
    warm = False
    while (report.seconds < seconds) and (most is None or report.cases < most):
        fresh = report.cases >= len(corpus)
        data = target.mutate(dice, dice.choice(corpus)) if fresh else corpus[report.cases]
        find = attempt(target, data, measured=report.cases % _MEASURED == 0)
        report.cases += 1
        if find is not None and find.place not in report.finds:
            report.finds[find.place] = smallest(target, find)
        report.seconds = time.monotonic() - started
        if not warm and report.seconds > seconds / 4:
            warm, grown = True, _resident()
    gc.collect()
    if warm and (more := _resident() - grown) > GROWTH:
        report.finds["memory"] = Find("memory", f"{more >> 20} MiB more after {report.cases} inputs", b"")
    return report


def _resident() -> int:
    """The most memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def smallest(target: Target, find: Find, seconds: float = 6.0) -> Find:
    """The same find with as few bytes as a short search gets it to."""
    ends = time.monotonic() + seconds
    if find.place in ("slow", "memory"):
        return find
    size = len(find.data) // 2
    while size and time.monotonic() < ends:
        at = 0
        while at < len(find.data) and time.monotonic() < ends:
            less = attempt(target, find.data[:at] + find.data[at + size :])
            if less is not None and less.place == find.place:
                find = less
            else:
                at += size
        size //= 2
    return find


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, unless named")
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, default=Path(".fuzz"), help="folder that finds are written to")
    options = parser.parse_args()
    options.finds.mkdir(exist_ok=True)
    with_coverage = find_spec("atheris") is not None
    found = 0
    for name in options.targets or TARGETS:
        report = fuzz(TARGETS[name], options.seconds / (1 + with_coverage), options.seed)
        print(report, flush=True)
        found += len(report.finds)
        for find in report.finds.values():
            file = options.finds / f"{name.replace(':', '-')}-{hashlib.sha256(find.data).hexdigest()[:12]}"
            file.write_bytes(find.data)
        found += with_coverage and guided(name, options.seconds / 2, options.finds)
    return 1 if found else 0


def guided(name: str, seconds: float, finds: Path) -> int:
    """Runs a target in a process of its own, which ends at the first find: 1 where there was one."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(int(seconds)), str(finds)]
    done = subprocess.run(command, capture_output=True, text=True)
    units = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    print(
        f"  guided: {units[1] if units else 0} inputs in {seconds:.0f} s, {int(done.returncode != 0)} finds", flush=True
    )
    if done.returncode:
        told = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO:")]
        print("\n".join(told[-60:]), flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
