"""Processes that wait for one another."""

from __future__ import annotations

import os
import signal
import time

from router.logs import Log
from router.turn import Turn


def _child(work: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()  # type: ignore[operator]
        finally:
            os._exit(0)
    return pid


def test_one_after_the_other() -> None:
    """Who wants a turn that somebody has waits for it; who is killed gives it back."""
    turn = Turn()
    out, into = os.pipe()

    def hold() -> None:
        with turn:
            os.write(into, b"held")
            time.sleep(60)

    pid = _child(hold)
    os.read(out, 4)

    def want() -> None:
        with turn:
            os.write(into, b"mine")

    other = _child(want)
    os.set_blocking(out, False)
    time.sleep(0.2)
    try:
        waited = os.read(out, 4) == b""
    except BlockingIOError:
        waited = True
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.waitpid(other, 0)

    assert waited and b"mine" == os.read(out, 4)
    os.close(out)
    os.close(into)


def test_lines_of_several_processes_into_a_full_pipe_are_whole() -> None:
    """Whoever reads slowly finds each line in one piece, for a process writes what it has gathered without another."""
    turn = Turn()
    out, into = os.pipe()

    def write(name: str) -> None:
        log = Log(into, on_drop=lambda count: None, turn=turn)
        for number in range(400):
            log.event("info", "filled", of=name, number=number, text=name * 250, more=[name * 250] * 10)
        log.close(30)

    pids = [_child(lambda name=name: write(name)) for name in "ab"]
    os.close(into)
    data = bytearray()
    time.sleep(0.5)  # both have much to write by now, and the pipe is full
    while piece := os.read(out, 3000):
        data += piece
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(out)
    lines = bytes(data).splitlines()

    assert 800 == len(lines)
    assert all(line.startswith(b'{"time"') and line.endswith(b"]}") for line in lines)
    assert all((b'"aaa' in line) != (b'"bbb' in line) for line in lines)
