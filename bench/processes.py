"""The processes that are measured: pinned to a core, and told apart from everything else by /proc (Linux only)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
START = 30.0  # seconds that a process may take to say where it listens


def cores() -> tuple[set[int], set[int]]:
    """The core of what is measured, and that of upstream and load: the same one where there is only one."""
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
    """A child process that says where it listens: the first group of `ready` is its port."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: set[int],
        ready: str,
        *,
        log_away: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`log_away`: its standard output is its log, which goes to /dev/null."""
        self.name = name
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        started = time.perf_counter()
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if log_away else self.said,
            stderr=self.said,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        self.port = self._port(re.compile(ready.encode()))
        self.start_seconds = time.perf_counter() - started

    def output(self) -> bytes:
        return os.pread(self.said.fileno(), 1 << 20, 0)

    def _port(self, ready: re.Pattern[bytes]) -> int:
        ends = time.perf_counter() + START
        while self.child.poll() is None and time.perf_counter() < ends:
            found = ready.search(self.output())
            if found:
                return int(found[1])
            time.sleep(0.005)
        self.stop()
        raise SystemExit(f"{self.name} did not start:\n{self.output().decode(errors='replace')[-4000:]}")

    def _tree(self) -> Iterator[Path]:
        """/proc of the process and its descendants."""
        waiting = [self.child.pid]
        while waiting:
            place = Path(f"/proc/{waiting.pop()}")
            yield place
            for task in (place / "task").iterdir():
                waiting += [int(pid) for pid in (task / "children").read_text().split()]

    def cpu_seconds(self) -> float:
        """utime + stime of the process tree."""
        stats = [(place / "stat").read_text().rpartition(")")[2].split() for place in self._tree()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICK

    def memory(self) -> float:
        """Resident memory of the process tree, in MB."""
        lines = [line for place in self._tree() for line in (place / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def stop(self) -> None:
        if self.child.poll() is not None:
            return
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
