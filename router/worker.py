"""One of several serving processes: a `Life` that shares its port, and is led by a supervisor (`router.supervisor`).

It watches no file and counts no reloads: the supervisor does, and tells it. Each second it tells in turn what it has
counted, so that little is lost of it when it is killed; when operators ask it for the metrics, it asks for those of the
others. When its supervisor has gone, or SIGTERM reaches it alone, it stops listening, so that others get the calls that
come, and ends with the last of those it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from router.config import load_again
from router.gateway import Generation
from router.link import (
    Count,
    Counted,
    Crew,
    Failed,
    Frames,
    FromWorker,
    Others,
    Ready,
    Refused,
    Reload,
    Scrape,
    Stop,
    Tell,
    ToWorker,
    frame,
)
from router.logs import Log
from router.metrics import Metrics, watch_loop
from router.server import Life, StartError, against, live
from router.settings import Settings
from router.shares import of_worker
from router.sums import Sum, Told, told
from router.turn import Turn

EVERY = 1.0  # seconds between two times of telling what was counted
PATIENCE = 3.0  # seconds that a page of metrics waits for the others
_CHUNK = 1 << 16
_MOST_WAITING = 1 << 20  # bytes that the supervisor may have to read still

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class Seat(NamedTuple):
    """What a worker is given when it begins.

    `number` from 0; `generation`: of the table that it begins with; `complete`: all workers have come up before.
    `logging` and `writing`: whose turn it is to write to the log, and to the chat store.
    """

    number: int
    generation: int
    complete: bool
    link: socket.socket
    logging: Turn
    writing: Turn


class Worker(Life):
    """`settings` are those of all together."""

    shares_port = True

    def __init__(self, path: Path, settings: Settings, seat: Seat, *, log_fd: int = 1) -> None:
        self.first, self.number = seat.generation, seat.number
        self.writing = seat.writing
        self._seat = seat
        self._writer: asyncio.StreamWriter | None = None
        self._frames = Frames()
        self._question = 0
        self._answers: dict[int, asyncio.Future[list[bytes]]] = {}
        self._leaving: asyncio.Task[None] | None = None
        super().__init__(path, of_worker(settings, seat.number), log_fd=log_fd)
        self.state.complete = seat.complete

    def _metrics(self) -> Metrics:
        return Metrics(counts_reloads=False)

    def _log(self, fd: int) -> Log:
        on_drop = self.metrics.log_lines_dropped
        always = {"worker": self._seat.number + 1}
        return Log(fd, form=self.settings.log, on_drop=on_drop, turn=self._seat.logging, always=always)

    # ── life ──────────────────────────────────────────────────────────────────────────────

    async def start(self) -> tuple[str, str | None]:
        self._reader, self._writer = await asyncio.open_connection(sock=self._seat.link)
        return await super().start()

    def _watching(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield watch_loop(self.metrics)
        yield self._sweep()
        yield self._listen()
        yield self._tell()

    def heed(self, loop: asyncio.AbstractEventLoop) -> None:
        """SIGTERM to this process alone. The supervisor heeds the others, which a terminal sends to all."""
        loop.add_signal_handler(signal.SIGTERM, self.retire)

    def opened(self, main: str, operators: str | None) -> None:
        self._send(Ready(main, operators))

    def failed(self, error: StartError) -> None:
        self._send(Failed(str(error)))

    def retire(self) -> None:
        """Leaves the calls that come to the others, and ends with those it has. The second time, at once.

        Where a signal reaches all processes, the supervisor may have said so before: that is one and the same.
        """
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._shut())
            self.stopping.set()
        else:
            self.hurry.set()

    async def _shut(self) -> None:
        for site in self.sites:
            await site.stop()

    async def close(self) -> None:
        await super().close()
        if self._writer is not None:
            self._send(self._counted())
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._writer.wait_closed(), 1.0)

    # ── what it is told ───────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(_CHUNK):
                for message in self._frames.feed(data):
                    self._heard(message)
        if not self.stopping.is_set():
            self.retire()  # there is nobody left to lead it

    def _heard(self, message: ToWorker) -> None:
        match message:
            case Count(question):
                self._send(self._counted(question))
            case Others(question, pages):
                if (waiting := self._answers.get(question)) is not None and not waiting.done():
                    waiting.set_result(pages)
            case Crew(complete, degraded):
                self.state.complete, self.state.elsewhere = complete, degraded
            case Reload(generation, data):
                self._adopt(generation, data)
            case Refused(at):
                self.metrics.config_refused()
                self.state.refused(at)
            case Stop(hurry):
                if hurry:
                    self.hurry.set()
                self.stopping.set()
            case Tell(level, event, fields):
                self.log.event(level, event, **fields)

    def _adopt(self, generation: int, data: bytes) -> None:
        """Another table, which the supervisor has read, too. Should it be no good here (a secret that has just gone),
        another process begins with what the supervisor read."""
        loaded = load_again(self.settings, os.environ, data)
        problems = against(loaded, self.settings)
        if loaded.settings is None or problems:
            self.log.event("error", "reload_refused", problems=problems)
            self.retire()
            return
        self._take(Generation(generation, of_worker(loaded.settings, self._seat.number)))
        self.log.event("info", "reloaded", generation=generation)

    # ── what it tells ─────────────────────────────────────────────────────────────────────

    def _send(self, message: FromWorker) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            if self._writer is not None and self._writer.transport.get_write_buffer_size() < _MOST_WAITING:
                self._send(self._counted())

    def _told(self) -> Told:
        self.metrics.look_at(self.state.breakers(), self.state.gauges(), self.state.outliers())
        made = told(self.metrics)
        made.budgets = self.state.budgets()
        return made

    def _counted(self, question: int = 0) -> Counted:
        return Counted(_encode(self._told()), self.state.own_parts, question)

    async def page(self) -> bytes:
        return (await self._all()).page()

    async def spent(self) -> list[dict[str, Any]]:
        return list((await self._all()).budgets.values())

    async def _all(self) -> Sum:
        """All workers' numbers. TimeoutError when the supervisor does not answer."""
        self._question += 1
        question = self._question
        self._answers[question] = asyncio.get_running_loop().create_future()
        own = self._told()
        self._send(Scrape(question, _encode(own)))
        try:
            async with asyncio.timeout(PATIENCE):
                others = await self._answers[question]
        finally:
            del self._answers[question]
        total = Sum()
        for one in (own, *map(_decode, others)):
            total.add(one)
        return total


def run(path: Path, settings: Settings, seat: Seat) -> int:
    """Serves until it is told to stop. Gives the exit code."""

    async def serve() -> int:
        return await live(Worker(path, settings, seat))

    return uvloop.run(serve())
