"""The processes that are measured: pinned to a core, told apart from everything else by /proc (Linux)."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[set[int], set[int]]:
    """The core of what is measured, and the core of upstream and load. The same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked since it started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def own_seconds() -> float:
    """CPU seconds of this process."""
    return sum(os.times()[:2])


class Process:
    """A child process that says on `stream` where it listens: the first group of `ready` is its port."""

    def __init__(
        self, name: str, command: Sequence[str], core: set[int], ready: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        started = time.perf_counter()
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if ready.startswith("^") else subprocess.DEVNULL,
            stderr=None if ready.startswith("^") else subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        self.port = self._port(ready)
        self.start_seconds = time.perf_counter() - started

    def _port(self, ready: str) -> int:
        pipe = self.child.stdout or self.child.stderr
        assert pipe is not None
        said = b""
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline and select.select([pipe], [], [], deadline - time.perf_counter())[0]:
            data = os.read(pipe.fileno(), 4096)
            if not data:
                break
            said += data
            found = re.search(ready.encode(), said)
            if found:
                return int(found[1])
        self.stop()
        raise SystemExit(f"{self.name} did not start: {said.decode(errors='replace')[-2000:]}")

    def tree(self) -> list[int]:
        """The process and its descendants."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry))
        found: list[int] = []
        waiting = [self.child.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children.get(pid, ())
        return found

    def cpu_seconds(self) -> float:
        """utime + stime of the process tree."""
        ticks = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def memory(self) -> float:
        """Resident memory of the process tree, in MB."""
        return sum(
            int(line.split()[1]) / 1024
            for pid in self.tree()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )

    def stop(self) -> None:
        if self.child.poll() is not None:
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
