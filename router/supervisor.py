"""Several processes that share the port, and the one above them that serves nobody.

    supervisor ─┬─ worker 1   a gateway each (`router.worker`): sockets of its own on the one port (SO_REUSEPORT),
                ├─ worker 2   so that the kernel deals connections out, and nothing of one that ends is in the way
                └─ …

The supervisor keeps the port, reads the route table, replaces workers that end, passes signals on, and knows what all
have counted: workers ask it over their links (`router.link`). It is forked from before any loop or thread begins, so it
has neither: one `select`, and nothing that waits for anything else. A worker that is forked has the table, and the
modules, without reading them again. docs/decisions/several-processes.md says why.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from router import worker
from router.config import contents, load_again
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
from router.policy.restarts import Restarts
from router.server import against, check_ground, listening, now, say
from router.settings import Address, Settings
from router.state.ledger import Operation, share_out
from router.sums import Sum, Told, of_process
from router.turn import Turn
from router.watching import INTERVAL, Stillness, digest, mark

ANSWER = 1.0  # seconds that workers have to tell what they have counted
SLACK = 4.0  # seconds, beyond those for draining, after which a worker that does not end is killed
HURRIED = 2.0  # the same when it has been told to end at once
SILENT = 30.0  # seconds without a word of a worker that serves, after which it is killed
_CHUNK = 1 << 18
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class _Post:
    """One worker's place: who has it, what was heard of them, and what they are still to be told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = Restarts()
        self.due: float | None = None  # when it is filled again
        self.pid = 0  # of who has it; 0: nobody
        self.vacate()

    def vacate(self) -> None:
        """Nobody has it any more."""
        self.pid = 0
        self.link: socket.socket | None = None
        self.frames = Frames()
        self.out = bytearray()
        self.ready = False
        self.since = 0.0
        self.failure: str | None = None
        self.told = b""
        self.quiet = 0  # looks in a row without a word of it
        self.degraded: list[str] = []
        self.crew: Crew | None = None  # as it was last told
        self.leaves = False  # has been told to, or leaves on purpose

    @property
    def serves(self) -> bool:
        return self.ready and self.pid != 0


class _Scraping:
    """A page of metrics that is being gathered."""

    def __init__(self, asker: _Post, message: Scrape, waiting: set[int], until: float) -> None:
        self.asker, self.pid, self.question = asker, asker.pid, message.question
        self.waiting, self.until = waiting, until


class Supervisor:
    """`settings` are those of the file at the start; `path` is where it is."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = self._first = settings
        self.generation = 1
        self.code = 0
        self._refused_at: str | None = None
        self._digest = digest(path)
        self._stillness = Stillness(mark(path))
        self._next_look = 0.0
        self._posts = [_Post(number) for number in range(settings.workers)]
        self._turns = Turn(), Turn()
        self._past = Sum()
        self._scrapings: dict[int, _Scraping] = {}
        self._asked = 0
        self._complete = False
        self._stopping = False
        self._kill_at = 0.0
        self._kept: list[socket.socket] = []
        self._select = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()

    # ── life ──────────────────────────────────────────────────────────────────────────────

    def run(self) -> int:
        """Until a signal ends it. Gives the exit code."""
        try:
            self.settings = self._first = self._reserved()
        except OSError as error:
            say(f"isthmus: {error}")
            return 1
        self._heed()
        if self.settings.state_file is not None:
            share_out(self.settings.state_file, self.settings.workers, time.time(), _Spoken())
        gc.collect()
        gc.freeze()  # what is there stays shared with those who are forked
        self._fill(self._posts[0])  # what keeps all of them from starting is found by one
        while any(post.pid or post.due is not None for post in self._posts):
            for key, events in self._select.select(self._patience()):
                if key.data is None:
                    self._signalled()
                else:
                    self._exchange(key.data, events)
            self._pass()
        return self.code

    def _heed(self) -> None:
        """Signals become bytes that `select` sees."""
        for end in (self._woken, self._wake):
            end.setblocking(False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._select.register(self._woken, selectors.EVENT_READ, None)

    def _signalled(self) -> None:
        try:
            seen = self._woken.recv(4096)
        except BlockingIOError:
            return
        for _ in range(seen.count(signal.SIGTERM) + seen.count(signal.SIGINT)):
            self._stop()
        if signal.SIGHUP in seen and not self._stopping:
            self._reload()
        if signal.SIGCHLD in seen:
            self._reap()

    def _patience(self) -> float:
        """Seconds until there is something to do, should nothing happen."""
        instants = [self._next_look, *(scraping.until for scraping in self._scrapings.values())]
        instants += [post.due for post in self._posts if post.due is not None]
        if self._stopping:
            instants = [self._kill_at]
        return max(0.0, min(instants) - time.monotonic())

    def _pass(self) -> None:
        """What is done when its time has come."""
        at = time.monotonic()
        for post in self._posts:
            if post.due is not None and post.due <= at:
                self._fill(post)
        for question in [question for question, one in self._scrapings.items() if one.until <= at]:
            self._gathered(question)
        if self._stopping and at >= self._kill_at:
            self._kill_at = at + HURRIED
            for post in self._posts:
                if post.pid:
                    os.kill(post.pid, signal.SIGKILL)
        if not self._stopping and at >= self._next_look:
            self._next_look = at + INTERVAL
            self._miss()
            if self._complete and self._stillness.look(mark(self.path)) and digest(self.path) != self._digest:
                self._reload()

    def _miss(self) -> None:
        """A worker that hangs answers nobody, and is dealt connections all the same: another takes its place.
        Looks are counted and not seconds, so that nobody is blamed for the time in which all of us were halted."""
        for post in self._posts:
            if post.serves and post.quiet * INTERVAL >= SILENT:
                post.failure = f"a worker that said nothing for {SILENT:g} s was killed"
                os.kill(post.pid, signal.SIGKILL)
            post.quiet += 1

    def _stop(self) -> None:
        """The first time all drain, the second time they end at once."""
        hurry, self._stopping = self._stopping, True
        self._kill_at = time.monotonic() + (HURRIED if hurry else self.settings.drain + SLACK)
        for post in self._posts:
            post.due = None
            post.leaves = True
            self._send(post, Stop(hurry))

    # ── the port ──────────────────────────────────────────────────────────────────────────

    def _reserved(self) -> Settings:
        """The settings with the ports that are taken, which are kept as long as we run. OSError."""
        listen = self._reserve(self.settings.listen)
        admin = self.settings.admin and self._reserve(self.settings.admin)
        asked = {**self.settings.asked, "workers": str(self.settings.workers)}
        return msgspec.structs.replace(self.settings, listen=listen, admin=admin, asked=asked)

    def _reserve(self, address: Address) -> Address:
        """Bound, and never listened on: it fails where somebody listens, whoever it is, and holds a free port."""
        host, port = address
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, where in dict.fromkeys(found):
                kept = socket.socket(family, kind, protocol)
                self._kept.append(kept)
                kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                kept.bind((where[0], port, *where[2:]))
                port = kept.getsockname()[1]
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        return host, port

    # ── workers ───────────────────────────────────────────────────────────────────────────

    def _fill(self, post: _Post) -> None:
        """A worker takes the place."""
        post.due = None
        try:
            post.pid, ours = self._fork(post.number)
        except OSError as error:  # no memory, too many processes or files: for now
            self._lost(post, f"a worker cannot be started: {error.strerror}", 1)
            return
        ours.setblocking(False)
        post.link, post.since = ours, time.monotonic()
        self._select.register(ours, selectors.EVENT_READ, post)
        if self._refused_at is not None:
            self._send(post, Refused(self._refused_at))
        if self._stopping:
            self._send(post, Stop(hurry=False))

    def _fork(self, number: int) -> tuple[int, socket.socket]:
        """A process that serves, and our end of its link. OSError."""
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # in the child nobody heeds them yet
        try:
            pid = os.fork()
            if pid == 0:
                seat = worker.Seat(number, self.generation, self._complete, theirs, *self._turns)
                self._serve(seat, ours)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        return pid, ours

    def _serve(self, seat: worker.Seat, ours: socket.socket) -> NoReturn:
        """The child: lets go of all that is the supervisor's, and never comes back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the supervisor says what to do
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._select.close()
            links = (post.link for post in self._posts if post.link is not None)
            for end in (ours, self._woken, self._wake, *self._kept, *links):
                end.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = worker.run(self.path, self.settings, seat)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for post in self._posts:
            if post.pid:
                pid, status = os.waitpid(post.pid, os.WNOHANG)
                if pid:
                    self._ended(post, os.waitstatus_to_exitcode(status))

    def _ended(self, post: _Post, code: int) -> None:
        """Whoever had the place has gone. What they counted stays; what they were does not."""
        if post.link is not None:
            self._read(post)
            self._hang_up(post)
        if post.told:
            self._past.add(_decode(post.told), gone=True)
        how, lived, served = post.failure or _how(code), time.monotonic() - post.since, post.ready
        on_purpose = post.leaves or code == 0
        post.vacate()
        for scraping in list(self._scrapings.values()):
            self._answered(scraping, post.number)
        if self._stopping:
            self.code = self.code or (1 if code else 0)
        else:
            self._lost(post, how, code, lived=lived, served=served, on_purpose=on_purpose)

    def _lost(
        self, post: _Post, how: str, code: int, *, lived: float = 0.0, served: bool = False, on_purpose: bool = False
    ) -> None:
        """A place that has nobody is filled again, unless nothing would come of it."""
        wait = post.restarts.ended(lived, served=served, on_purpose=on_purpose)
        nobody = not any(other.serves for other in self._posts)
        if not self._complete or (post.restarts.hopeless and nobody):
            say(f"isthmus: {how}" if not self._complete else f"isthmus: no worker can be started: {how}")
            self.code = code if code > 0 else 1
            self._stop()
            self._stop()
            return
        self._past.count("isthmus_worker_restarts_total")
        post.due = time.monotonic() + wait
        level: Literal["info", "error"] = "info" if on_purpose and served else "error"
        self._log(level, "worker_ended", ended=post.number + 1, how=how, again_in=wait)
        self._muster()

    # ── what is said ──────────────────────────────────────────────────────────────────────

    def _send(self, post: _Post, message: ToWorker) -> None:
        if post.link is not None:
            post.out += frame(message)
            self._write(post)

    def _write(self, post: _Post) -> None:
        assert post.link is not None
        try:
            while post.out:
                del post.out[: post.link.send(post.out)]
        except BlockingIOError:
            pass
        except OSError:
            post.out.clear()  # it has gone, and will be reaped
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if post.out else 0)
        self._select.modify(post.link, events, post)

    def _exchange(self, post: _Post, events: int) -> None:
        if post.link is not None and events & selectors.EVENT_WRITE:
            self._write(post)
        if post.link is not None and events & selectors.EVENT_READ and not self._read(post):
            self._hang_up(post)

    def _read(self, post: _Post) -> bool:
        """What has come. False at the end of it."""
        assert post.link is not None
        while True:
            try:
                data = post.link.recv(_CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            post.quiet = 0
            for message in post.frames.feed(data):
                self._heard(post, message)

    def _hang_up(self, post: _Post) -> None:
        """Nothing more comes of it. Should it live on all the same, nobody can lead it any more."""
        assert post.link is not None
        self._select.unregister(post.link)
        post.link.close()
        post.link = None

    def _heard(self, post: _Post, message: FromWorker) -> None:
        match message:
            case Ready(main, operators):
                self._begun(post, main, operators)
            case Failed(text):
                post.failure = text
            case Counted(told, degraded, question):
                post.told = told
                if degraded != post.degraded:
                    post.degraded = degraded
                    self._muster()
                for scraping in [one for number, one in self._scrapings.items() if number <= question]:
                    self._answered(scraping, post.number)
            case Scrape(_, told):
                post.told = told
                self._gather(post, message)

    def _begun(self, post: _Post, main: str, operators: str | None) -> None:
        post.ready = True
        if self._complete:
            self._log("info", "worker_started", started=post.number + 1, pid=post.pid)
        elif all(other.ready for other in self._posts):
            self._complete = True
            say(listening(main, operators))
        elif not self._stopping:
            for other in self._posts[1:] if post is self._posts[0] else ():
                self._fill(other)
        self._muster()

    def _muster(self) -> None:
        """Whoever does not know yet is told how the others are."""
        missing = ["workers"] if self._complete and not all(post.serves for post in self._posts) else []
        for post in self._posts:
            others = {part for other in self._posts if other is not post for part in other.degraded}
            crew = Crew(self._complete, sorted(others.union(missing)))
            if post.ready and crew != post.crew:
                post.crew = crew
                self._send(post, crew)

    def _log(self, level: Literal["info", "error"], event: str, **fields: Any) -> None:
        """A line of the log is written by a worker. Where there is none, whoever started us is told."""
        for post in self._posts:
            if post.serves and post.link is not None:
                return self._send(post, Tell(level, event, fields))
        say(f"isthmus: {event} {' '.join(f'{name}={value}' for name, value in fields.items())}")

    # ── metrics ───────────────────────────────────────────────────────────────────────────

    def _gather(self, asker: _Post, message: Scrape) -> None:
        """Asks everybody else for their numbers."""
        self._asked += 1
        others = [post for post in self._posts if post.ready and post is not asker and post.link is not None]
        waiting = {post.number for post in others}
        self._scrapings[self._asked] = _Scraping(asker, message, waiting, time.monotonic() + ANSWER)
        for post in others:
            self._send(post, Count(self._asked))
        if not others:
            self._gathered(self._asked)

    def _answered(self, scraping: _Scraping, number: int) -> None:
        scraping.waiting.discard(number)
        if not scraping.waiting:
            self._gathered(next(question for question, one in self._scrapings.items() if one is scraping))

    def _gathered(self, question: int) -> None:
        """All have answered, or had the time to: of those who did not, what they told before."""
        scraping = self._scrapings.pop(question)
        asker = scraping.asker
        if asker.pid == scraping.pid and asker.link is not None:
            pages = [_encode(self._past.told()), _encode(Told(process=of_process()))]
            pages += [post.told for post in self._posts if post.told and post is not asker]
            self._send(asker, Others(scraping.question, pages))

    # ── the route table ───────────────────────────────────────────────────────────────────

    def _reload(self) -> None:
        """Read and checked once, and handed out; what is no good is seen by nobody."""
        try:
            data = contents(self.path)
        except OSError:
            data = None
        self._digest = hashlib.sha256(data or b"").digest()
        loaded = load_again(self.settings, os.environ, data)
        problems = against(loaded, self._first)
        if loaded.settings is None or problems:
            self._past.count("isthmus_config_reload_total", "error")
            self._refused_at = now()
            self._log("error", "reload_refused", problems=problems)
            self._all(Refused(self._refused_at))
            return
        self._past.count("isthmus_config_reload_total", "ok")
        self._refused_at = None
        self.generation += 1
        self.settings = _as_begun(loaded.settings, self._first)
        self._all(Reload(self.generation, data or b""))

    def _all(self, message: ToWorker) -> None:
        for post in self._posts:
            self._send(post, message)


def _as_begun(settings: Settings, first: Settings) -> Settings:
    """Settings for workers that begin later: what is taken at the start is as it was for all others."""
    keys = ("listen", "admin", "admin_token", "drain", "log", "asked")
    kept: dict[str, Any] = {key: getattr(first, key) for key in keys}
    limits = msgspec.structs.replace(settings.limits, head=first.limits.head)
    return msgspec.structs.replace(settings, limits=limits, **kept)


class _Spoken:
    """How the files of spending are, before there is a worker that could log it."""

    def failed(self, operation: Operation, reason: str) -> None:
        say(f"isthmus: state.file: {operation}: {reason}")

    def works(self) -> None:
        """Nothing to say."""


def _how(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"a worker ended with exit code {code}"
    try:
        return f"a worker was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"a worker was ended by signal {-code}"


def run(path: Path, settings: Settings) -> int:
    """Serves with several processes until a signal ends it. Gives the exit code."""
    check_ground()
    if settings.chats is not None:
        importlib.import_module("router.chats.service")  # once, and not in each worker again
    return Supervisor(path, settings).run()
