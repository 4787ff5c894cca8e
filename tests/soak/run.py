"""`make soak`: mixed good and faulty traffic through a real gateway, and what it leaves behind.

Callers of every language ask for answers and streams; upstreams answer well, late, with errors, garbage, half a body or
half a stream, reset, hang; callers send nonsense, read slowly, leave. The table is reloaded twice a minute. At the end
nothing may be left: memory within 20 MB of that after the warm-up, tasks and descriptors back to where they were, and
every request that was sent in exactly one outcome of `isthmus_requests_total` and in one line of the log.

Exit 1 when something is left, or when an answer was none of those that may be given.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.fakes import HANG, HANG_UP, RESET, FakeUpstream, Received, Reply, Sleep, answer, json_answer, sse, status
from tests.lanes import ANSWERING, KEYS, LANES, TABLE, Lane

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 0.15  # of the time
GROWTH = 20.0  # MB
MAY_BE = frozenset({200, 400, 404, 429, 502, 503, 504})
AGAIN = 0.2  # of the calls are one of the latest once more
REMEMBERED = 2000  # tickets: an attempt may come long after its call was made
POLICY = """
    breaker: {failures: 50}
    choose: weighted
    hedge: {after: 150ms}
    outliers: {within: 10s, cool: 2s}
""".removeprefix("\n")
_TICKET = re.compile(rb"ticket-(\d+)-")

#: What an upstream does, and how often.
_Make = Callable[[Lane, bool], Reply]
BEHAVIOURS: dict[str, tuple[int, _Make]] = {
    "well": (60, lambda lane, stream: lane.stream("so ", "far ", "so good") if stream else lane.whole()),
    "late": (6, lambda lane, stream: (lane.stream("a ") if stream else lane.whole()).after(Sleep(0.3))),
    "500": (4, lambda lane, stream: status(500)),
    "429": (4, lambda lane, stream: status(429, headers={"retry-after": "0"})),
    "401": (1, lambda lane, stream: status(401)),
    "400": (2, lambda lane, stream: status(400)),
    "reset": (3, lambda lane, stream: RESET),
    "hang up": (3, lambda lane, stream: HANG_UP),
    "garbage": (3, lambda lane, stream: answer(200, b"<html>")),
    "half json": (3, lambda lane, stream: json_answer(b'{"choices": [')),
    "half": (4, lambda lane, stream: sse(*lane.opening("half "), HANG_UP) if stream else lane.whole().cut_body(9)),
    "stall": (1, lambda lane, stream: sse(*lane.opening("stall "), HANG) if stream else HANG),
}
#: What a caller does, and how often.
CALLERS = {"reads": 80, "leaves": 6, "reads slowly": 4, "nonsense": 5, "nowhere": 3, "no json": 2}


@dataclass
class Look:
    """What the gateway's process holds at one moment."""

    memory: float  # MB
    descriptors: int  # without those of connections that are kept for the next call
    tasks: int


@dataclass
class Told:
    """What callers saw."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0
    wrong: list[str] = field(default_factory=list)


class Soak:
    """One run."""

    def __init__(self, seed: int, callers: int) -> None:
        self.dice = random.Random(seed)
        self.callers = callers
        self.told = Told()
        self._plans: dict[int, Reply] = {}
        self._asked: dict[int, tuple[Lane, bool]] = {}
        self._number = 0
        self.stopping = False
        self.lanes = [*LANES, *(lane for lane in ANSWERING if lane not in LANES)]

    # ── upstream ───────────────────────────────────────────────────────────────────
    def reply(self, received: Received) -> Reply:
        """As the ticket in the request says."""
        found = _TICKET.search(received.body)
        return self._plans.get(int(found[1]), status(500)) if found else status(400)

    def _pick(self, weights: Iterable[tuple[str, int]]) -> str:
        names, shares = zip(*weights, strict=True)
        return self.dice.choices(names, shares)[0]

    # ── callers ────────────────────────────────────────────────────────────────────
    async def call(self, session: aiohttp.ClientSession, base: str) -> None:
        """One call, whatever becomes of it."""
        number, lane, stream = self._ticket()
        how = self._pick(CALLERS.items())
        body: Any = lane.body(f"ticket-{number}- please", stream=stream)
        path = lane.path(stream=stream)
        if how == "nonsense":
            body = {"model": 5}
        elif how == "nowhere":
            path = f"/nowhere/{number}"
        data = b"{" if how == "no json" else json.dumps(body).encode()
        self.told.sent += 1
        try:
            await self._heard(session, base + path, data, how)
        except (aiohttp.ClientError, ConnectionError):
            self.told.left += 1  # a stream that was cut, or a caller who left

    def _ticket(self) -> tuple[int, Lane, bool]:
        """A call of its own, or sometimes one of the latest once more."""
        if self._plans and self.dice.random() < AGAIN:
            number = self.dice.choice(list(self._plans)[-self.callers :])
            return (number, *self._asked[number])
        lane, stream = self.dice.choice(self.lanes), self.dice.random() < 0.5
        behaviour = self._pick((name, share) for name, (share, _) in BEHAVIOURS.items())
        self._number += 1
        self._plans[self._number] = BEHAVIOURS[behaviour][1](lane, stream)
        self._asked[self._number] = (lane, stream)
        if len(self._plans) > REMEMBERED:
            oldest = next(iter(self._plans))
            del self._plans[oldest], self._asked[oldest]
        return self._number, lane, stream

    async def _heard(self, session: aiohttp.ClientSession, url: str, data: bytes, how: str) -> None:
        headers = {"content-type": "application/json"}
        async with session.post(url, data=data, headers=headers) as got:
            self.told.statuses[got.status] += 1
            if got.status not in MAY_BE:
                self.told.wrong.append(f"{got.status}: {(await got.read())[:200]!r}")
            elif how == "leaves":
                await got.content.readany()
                got.close()
            elif how == "reads slowly":
                while await got.content.read(64):
                    await asyncio.sleep(0.02)
            else:
                await got.read()

    async def load(self, base: str, seconds: float) -> None:
        """Callers who ask one after the other, until the time is over and every call is."""
        ends = time.monotonic() + seconds

        async def one() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
                while time.monotonic() < ends:
                    await self.call(session, base)

        await asyncio.gather(*[one() for _ in range(self.callers)])


# ── the gateway ────────────────────────────────────────────────────────────────────────


class Gateway:
    """The process, and what can be seen of it."""

    def __init__(self, process: Process, base: str, admin: str, log: Path, upstream: FakeUpstream) -> None:
        self.process, self.base, self.admin, self.log = process, base, admin, log
        self.upstream = upstream

    async def look(self) -> Look:
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.write(b"?\n")
        while not (line := await asyncio.wait_for(self.process.stderr.readline(), 10)).startswith(b"tasks "):
            assert line, "the gateway has gone"
        place = Path(f"/proc/{self.process.pid}")
        memory = next(row for row in (place / "status").read_text().splitlines() if row.startswith("VmRSS:"))
        kept = sum(one.closed_at is None for one in self.upstream.connections)
        return Look(int(memory.split()[1]) / 1024, len(os.listdir(place / "fd")) - kept, int(line.split()[1]))

    async def settled(self, before: Look | None = None) -> Look:
        """A look once nothing is under way: connections of callers who left are seen with a delay."""
        found = await self.look()
        for _ in range(20):
            if before is not None and found.tasks <= before.tasks and found.descriptors <= before.descriptors:
                break
            await asyncio.sleep(0.5)
            found = await self.look()
        return found

    async def counted(self, name: str, label: str) -> Counter[str]:
        """A counter by one of its labels, as the metrics page says."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/metrics") as got:
            page = await got.text()
        counted: Counter[str] = Counter()
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", page, re.MULTILINE):
            found = re.search(rf'{label}="(\w+)"', labels)
            counted[found[1] if found else "?"] += int(float(value))
        return counted

    def lines(self) -> int:
        return sum('"event":"exchange"' in line for line in self.log.read_text().splitlines())


def _table(up: str) -> str:
    """Two targets for each model, second attempts, outliers, kept answers: all that makes one call into several."""
    table = TABLE.replace("$up", up).replace("$attempts", "3").replace("admin: null", 'admin: "127.0.0.1:0"')
    table = re.sub(r"^  (\w+-up): (.*)$", r"  \1: \2\n  \1-2: \2", table, flags=re.MULTILINE)
    table = re.sub(r"\[(\{provider: ([\w-]+), (model: .*)\})\]", r"[\1, {provider: \2-2, \3}]", table)
    # A shut breaker would answer for most upstreams at once: here they are to be asked.
    table = table.replace("policies:\n  default:\n", f"policies:\n  default:\n{POLICY}")
    return re.sub(r"(/v1/(?:chat/completions|messages), .*), to: models", r"\1, to: models, cache: {ttl: 5s}", table)


@contextlib.asynccontextmanager
async def gateway(upstream: FakeUpstream, folder: Path) -> Any:
    (folder / "routes.yaml").write_text(_table(upstream.url))
    log = folder / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.served", "serve", "-c", str(folder / "routes.yaml")),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **KEYS},
        )
    assert process.stderr is not None
    try:
        while line := (await asyncio.wait_for(process.stderr.readline(), 15)).decode():
            found = re.fullmatch(r"isthmus: listening on (\S+) \(admin (\S+)\)\n", line)
            if found:
                yield Gateway(process, found[1], found[2], log, upstream)
                break
            print(line.rstrip(), file=sys.stderr)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


# ── the run ────────────────────────────────────────────────────────────────────────────


async def _reloading(served: Gateway, upstream: FakeUpstream) -> None:
    """Twice a minute; and lets go what the upstream has noted."""
    while True:
        await asyncio.sleep(30)
        served.process.send_signal(signal.SIGHUP)
        upstream.requests.clear()
        upstream.arrived.clear()
        upstream.connections[:] = [one for one in upstream.connections if one.closed_at is None]


async def soak(seconds: float, seed: int, callers: int) -> list[str]:
    """What was wrong; nothing when all is well."""
    run = Soak(seed, callers)
    with tempfile.TemporaryDirectory() as folder:
        async with FakeUpstream() as upstream, gateway(upstream, Path(folder)) as served:
            upstream.always(run.reply)
            fresh = await served.look()
            await run.load(served.base, seconds * WARM_UP)
            warm = await served.settled(fresh)
            reloading = asyncio.create_task(_reloading(served, upstream))
            await run.load(served.base, seconds * (1 - WARM_UP))
            reloading.cancel()
            after = await served.settled(fresh)
            counted = await served.counted("isthmus_requests_total", "outcome")
            hedges = await served.counted("isthmus_hedges_total", "outcome")
            kept = await served.counted("isthmus_cache_requests_total", "result")
            await asyncio.sleep(0.2)
            lines = served.lines()
            print(
                f"{run.told.sent:,} calls in {seconds:.0f} s; statuses {dict(sorted(run.told.statuses.items()))}, "
                f"{run.told.left} cut or left\noutcomes {dict(counted)}, {lines:,} lines\n"
                f"second attempts {dict(hedges)}, kept answers {dict(kept)}\n"
                f"fresh {fresh}\nwarm  {warm}\nafter {after}"
            )
            return [*run.told.wrong[:10], *_faults(run.told, fresh, warm, after, counted, lines)]


def _faults(told: Told, fresh: Look, warm: Look, after: Look, counted: Counter[str], lines: int) -> list[str]:
    faults = []
    if after.memory - warm.memory > GROWTH:
        faults.append(f"memory grew by {after.memory - warm.memory:.1f} MB")
    if after.tasks > fresh.tasks:
        faults.append(f"{after.tasks - fresh.tasks} tasks are left")
    if after.descriptors > fresh.descriptors:
        faults.append(f"{after.descriptors - fresh.descriptors} descriptors are left")
    if counted.total() != told.sent or lines != told.sent:
        faults.append(f"{told.sent} calls, {counted.total()} outcomes, {lines} lines")
    if counted["bug"]:
        faults.append(f"{counted['bug']} bugs of ours")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--callers", type=int, default=24)
    chosen = parser.parse_args()
    faults = asyncio.run(soak(chosen.seconds, chosen.seed, chosen.callers))
    print("\n".join(f"WRONG: {fault}" for fault in faults) or "nothing is left behind")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
