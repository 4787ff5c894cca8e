"""The server: sockets in, exchanges out; start, drain, stop.

aiohttp's low-level server is used as it is, without its router: our table reads the raw request target, and nothing
decodes, merges or redirects paths before it. Its access log is off (it prints request lines, and keys may stand in
paths); what goes wrong in its parser is answered as JSON that echoes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import re
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop
from aiohttp import http_parser, web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from providers import listing
from providers.canonical.errors import MethodNotAllowed, Overloaded, RouterError
from providers.dialect import WireResponse
from providers.dialects import DIALECTS
from router import admin
from router.access import allowed, split_credentials
from router.admission import Incoming
from router.alarm import Alarm
from router.answers import outcome_of
from router.caching import CachedExchange, CachedMended, CachedShaped
from router.chats.exchange import PATHS, ChatExchange, is_ours
from router.chats.prompting import NAME
from router.chats.store import NewerStore
from router.config import load_again
from router.demo import DemoTransport
from router.egress import CallerNamedConnector
from router.exchange import Exchange
from router.explain import explain
from router.gateway import Gateway, Generation
from router.logs import Log, take_over
from router.mended import MendedExchange
from router.metrics import Metrics, watch_loop
from router.opaque import OpaqueExchange
from router.record import Record
from router.relay import CallerGone, HttpDoor
from router.settings import Loaded, Settings
from router.shaped import ShapedExchange
from router.state.cache import SWEEP
from router.state.ledger import Ledger, Operation, part_of, share_out
from router.table import OPAQUE, Limits
from router.transport import HttpTransport, Transport
from router.turn import Turn
from router.watching import digest, watch

if TYPE_CHECKING:
    from router.chats.service import ChatService  # imported with what it needs, where there is a store

KEEP_ALIVE = 75.0
GRACE = 0.05  # seconds: at least one look at all connections
# Bytes. Two numbers, so that the parser's complaint tells which of them was passed.
LONGEST_LINE = 8190
LONGEST_FIELD = 8192
LINGER = 2.0
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
LISTING = "/v1/models"
_HEALTH = "/healthz"
_READY = "/readyz"


# ── the HTTP server ────────────────────────────────────────────────────────────────────


class _InTurn:
    """The event loop as a connection sees it, which handles one request after the other in its own task.

    aiohttp makes a task for each request and waits for it at once, to keep their context variables apart; there are
    none here, and a task costs two more turns of the loop. From Python 3.12 on such a task starts at once anyway.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.create_future = loop.create_future
        self.call_at, self.call_later, self.time = loop.call_at, loop.call_later, loop.time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_task(self, coroutine: Any, **options: Any) -> Any:
        """A task; of a request, itself, for it is awaited where it was made."""
        is_request = coroutine.__name__ == RequestHandler._handle_request.__name__
        return coroutine if is_request else self._loop.create_task(coroutine, **options)


class Protocol(RequestHandler):
    """One connection. A request head that does not arrive in time ends it; parser errors are answered in JSON."""

    def __init__(self, *args: Any, loop: Any, head: float, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, **kwargs)
        self._head = head
        self._metrics = metrics
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._head, self._head_late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(self._head, self._head_late)

    def connection_lost(self, error: BaseException | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(error)

    def _head_late(self) -> None:
        """The time is over. Timers go off before connections are read: where the loop itself was late, what came in
        time is read now, and is waited for once more."""
        self._head_timer = self._loop.call_later(GRACE, self._head_over)

    def _head_over(self) -> None:
        self._head_timer = None
        if self._current_request is None and not self._messages:
            self._metrics.rejected("head_timeout")
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP. Nothing of the input is in it, and nothing is logged here."""
        if isinstance(exc, LineTooLong):
            is_line = exc.args[1] == LONGEST_LINE
            status = 414 if is_line else 431
        elif isinstance(exc, BadHttpMessage) and "Too many headers" in exc.message:
            status = 431
        self._metrics.rejected({414: "line_too_long", 431: "headers_too_large"}.get(status, "bad_http"))
        code = {413: "payload_too_large", 414: "uri_too_long", 431: "headers_too_large"}.get(status, "invalid_request")
        body = {
            "error": {
                "message": "the request is not valid HTTP",
                "type": "invalid_request_error",
                "param": None,
                "code": code,
            }
        }
        response = web.Response(
            status=status if 400 <= status < 500 else 400,
            body=msgspec.json.encode(body),
            headers={"content-type": "application/json", "server": "isthmus", "x-request-id": new_id()},
        )
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server with our connections."""

    def __init__(self, handler: Any, *, limits: Limits, metrics: Metrics) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._turns: Any = _InTurn(self._loop) if sys.version_info < (3, 12) else self._loop
        self._limits = limits
        self._metrics = metrics

    def __call__(self) -> RequestHandler:
        return Protocol(
            self,
            loop=self._turns,
            head=self._limits.head,
            metrics=self._metrics,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_FIELD,
            max_headers=100,
        )


# ── one request ────────────────────────────────────────────────────────────────────────


def new_id() -> str:
    """An id for a request: hex digits of a UUID, for upstreams get it, and some servers refuse any other form."""
    return f"{random.getrandbits(128):032x}"


class Front:
    """Takes requests: health and lists are answered here, everything else becomes an Exchange."""

    def __init__(self, gateway: Gateway, state: admin.State) -> None:
        self.gateway = gateway
        self.state = state
        self.running: set[Exchange] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        path = target.partition("?")[0]
        if path in (_HEALTH, _READY) and request.method in ("GET", "HEAD"):
            return admin.health_response() if path == _HEALTH else admin.ready_response(self.state)
        gateway = self.gateway
        given = request.headers.get("x-request-id")
        record = Record(
            id=given if given is not None and _SANE_ID.fullmatch(given) else new_id(),
            method=request.method if request.method in _METHODS else "other",
            path="",
            started=gateway.clock(),
        )
        incoming = Incoming(
            method=request.method,
            target=target,
            query=dict(request.rel_url.query) if "?" in target else {},
            headers=request.headers,
            id=record.id,
        )
        door = HttpDoor(request, gateway.generation.settings.limits)
        looks = request.method in ("GET", "HEAD")
        if path in gateway.generation.beside or listing.is_list(path) or (looks and listing.is_listing(path)):
            return await self._list(incoming, path, door, record)
        await self._exchange(incoming, door, record)
        return door.response

    async def _exchange(self, incoming: Incoming, door: HttpDoor, record: Record) -> None:
        gateway = self.gateway
        exchange = _kind(gateway.generation, incoming)(gateway, incoming, door, record)
        gateway.running += 1
        self.running.add(exchange)
        try:
            await exchange.run(self._busy())
        except asyncio.CancelledError:
            _left(record, "client_left")
            raise
        except CallerGone as gone:
            _left(record, gone.how)
        finally:
            self.running.discard(exchange)
            gateway.running -= 1
            door.quiet()
            for charge in exchange.charges:
                charge.settle(record)
            record.bytes_out = door.sent
            record.path = exchange.admission.redacted_path()
            self._finish(record)

    def _busy(self) -> RouterError | None:
        """Why no further exchange is taken on now, if so."""
        if self.gateway.draining:
            return Overloaded("the gateway is shutting down", retry_after=1.0)
        if self.gateway.running > self.gateway.generation.settings.limits.concurrency:
            return Overloaded("too many requests at once", retry_after=1.0)
        return None

    async def _list(self, incoming: Incoming, path: str, door: HttpDoor, record: Record) -> web.StreamResponse:
        """The models that this caller may name, and what else clients ask beside their route."""
        generation = self.gateway.generation
        route, question = generation.beside.get(path) or (None, None)
        form = listing.dialect_of(path, incoming.headers, incoming.query) if route is None else route.speaks
        dialect = self.gateway.dialects[form]
        try:
            access = generation.access
            credential, _ = split_credentials(incoming.headers, incoming.query, named=False, is_open=access.is_open)
            caller = access.verify(credential, self.gateway.wall())
            names = [
                row.name for row in generation.settings.models if "*" not in row.name and allowed(caller, row.name)
            ]
            started = int(self.gateway.started_at)
            if question is None and incoming.method not in ("GET", "HEAD"):
                raise MethodNotAllowed("this path takes GET", allow=("GET", "HEAD"))
            if question is None:
                answer = listing.answer(path, incoming.headers, incoming.query, names, started)
            else:
                body = await self._body(door) if incoming.method in listing.takes(question) == ("POST",) else b""
                answer = listing.reply(question, incoming.method, body, names, started)
        except RouterError as error:
            record.error, record.code, record.outcome = error.kind, error.code, outcome_of(error)
            record.reason = getattr(error, "reason", None)
            answer = dialect.encode_error(error)
            answer.headers["x-isthmus-fault"] = error.fault
        record.route, record.path, record.operation = LISTING, path, "models"
        record.caller_dialect, record.status, record.bytes_out = dialect.name, answer.status, len(answer.body)
        self._finish(record)
        return _response(answer, incoming.id)

    async def _body(self, door: HttpDoor) -> bytes:
        """The body of a question, taken as that of an exchange is."""
        alarm = Alarm()
        try:
            return await door.body(self.gateway.generation.settings.limits, alarm)
        finally:
            alarm.stop()

    def _finish(self, record: Record) -> None:
        """Told once, to both who want to know."""
        record.ended = self.gateway.clock()
        self.gateway.metrics.observe(record)
        self.gateway.log.exchange(record)


def _kind(generation: Generation, incoming: Incoming) -> type[Exchange]:
    """Which exchange a call becomes: what few tables ask for costs nothing where nobody does."""
    if generation.settings.chats is not None and is_ours(incoming.target):
        return ChatExchange
    if generation.table.is_opaque(incoming.target):
        return OpaqueExchange
    if generation.caches:
        return CachedMended if generation.mends else CachedShaped if generation.shapes else CachedExchange
    if generation.mends:
        return MendedExchange
    return ShapedExchange if generation.shapes else Exchange


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _response(answer: WireResponse, id: str) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={**answer.headers, "server": "isthmus", "x-request-id": id},
    )


def _left(record: Record, how: str) -> None:
    """The caller went, or took nothing any more. A bug that was noted before stays one."""
    if record.outcome == "bug":
        return
    record.outcome = "client_left"
    record.error = None
    if record.stream:
        record.stream_end = "limit" if how == "limit" else "client_left"


# ── life ───────────────────────────────────────────────────────────────────────────────


def now() -> str:
    """The time of day, as readiness tells it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class StartError(Exception):
    """The server cannot start. The message is one line for the operator."""


class Keeping:
    """Where it is told how the file of spending is: metric, log and readiness."""

    def __init__(self, metrics: Metrics, log: Log, state: admin.State) -> None:
        self._metrics = metrics
        self._log = log
        self._degraded = state.degraded
        self._last: tuple[Operation, str] | None = None  # that failed

    def failed(self, operation: Operation, reason: str) -> None:
        """In the log once, until it works again or fails otherwise."""
        self._metrics.store_failed(operation)
        if self._last != (operation, reason):
            self._last = (operation, reason)
            self._log.event("error", "state_failed", operation=operation, reason=reason)
        self._degraded.add("state")

    def works(self) -> None:
        """It has been written."""
        if self._last is not None:
            self._last = None
            self._degraded.discard("state")
            self._log.event("info", "state_recovered")


class Life:
    """One serving process, from the first table to the last byte. `router.worker` has one of several."""

    first = 1  # generation of the table that it begins with
    number = 0  # among those that serve together
    shares_port: bool | None = None
    writing: Turn | None = None  # held while the chat store is written to, where other processes do, too

    def __init__(self, path: Path, settings: Settings, *, log_fd: int = 1) -> None:
        self.path = path
        self.settings = settings
        self.metrics = self._metrics()
        self.log = self._log(log_fd)
        self.state = admin.State()
        self.runners: list[web.ServerRunner | web.AppRunner] = []
        self.sites: list[web.TCPSite] = []
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []
        self._digest = digest(path)  # of the file as it was last read
        self._chats: ChatService | None = None
        self._http = HttpTransport()
        self._ledger: Ledger | None = None
        self._keeping: asyncio.Task[None] | None = None

    def _metrics(self) -> Metrics:
        return Metrics()

    def _log(self, fd: int) -> Log:
        return Log(fd, form=self.settings.log, on_drop=self.metrics.log_lines_dropped)

    async def start(self) -> tuple[str, str | None]:
        """Opens the doors. Gives the addresses that callers and operators use. StartError."""
        settings = self.settings
        self.gateway = Gateway(
            Generation(self.first, settings),
            dialects=DIALECTS,
            transports=self._transports(),
            metrics=self.metrics,
            log=self.log,
            clock=time.monotonic,  # the loop's own has the same zero, but steps of a millisecond
            wall=time.time,
            dice=random.random,
            new_id=new_id,
            instance=f"isthmus-{os.urandom(6).hex()}",
        )
        self.state.breakers = lambda: self.gateway.upstreams.states(self.gateway.clock())
        self.state.outliers = lambda: self.gateway.upstreams.passed_over(self.gateway.clock())
        self._open_budgets(settings)
        self.front = Front(self.gateway, self.state)
        self._take(self.gateway.generation)
        await self._open_chats(settings)
        self._watches = [asyncio.create_task(watching) for watching in self._watching()]
        main = await self._open(
            Server(self.front.handle, limits=settings.limits, metrics=self.metrics), settings.listen
        )
        operators = None
        if settings.admin is not None:
            operators = await self._open(
                Server(self._operators(), limits=settings.limits, metrics=self.metrics), settings.admin
            )
        return main, operators

    def _watching(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is done beside the calls, for as long as the process serves."""
        yield watch_loop(self.metrics)
        yield self._sweep()
        yield watch(self.path, self._changed)

    async def _sweep(self) -> None:
        """Lets go of answers whose time is over, also while no calls come."""
        while True:
            await asyncio.sleep(SWEEP)
            answers = self.gateway.generation.answers
            answers.sweep(self.gateway.clock())
            self.metrics.cache_bytes(answers.size)

    def _open_budgets(self, settings: Settings) -> None:
        """What keys have spent, kept in a file if there is to be one; one that is broken is no reason not to start."""
        gateway = self.gateway
        self.state.budgets = lambda: gateway.budgets.shown(gateway.generation.key_budgets(), gateway.wall())
        self.state.gauges = lambda: gateway.budgets.gauges(gateway.generation.key_budgets(), gateway.wall())
        if settings.state_file is not None:
            told = Keeping(self.metrics, self.log, self.state)
            if settings.workers == 1:  # of several, somebody else has
                share_out(settings.state_file, 1, gateway.wall(), told)
            self._ledger = Ledger(part_of(settings.state_file, self.number), gateway.budgets, gateway.wall, told)
            self._ledger.open()
            self._keeping = asyncio.create_task(self._ledger.keep())

    async def _open_chats(self, settings: Settings) -> None:
        """The store of the chat service. One that is down is no reason not to start; one that is too new is."""
        if settings.chats is None:
            return
        from router.chats.service import ChatService, Told

        told = Told(self.metrics.store_failed, self._store_changed)
        service = self._chats = ChatService(settings.chats.path, told, self.writing)
        try:
            await service.open()
        except NewerStore as error:
            raise StartError(str(error)) from None
        self.gateway.chats = service

    def _store_changed(self, well: bool, reason: str) -> None:
        """For readiness and the log: the store has gone, or come back."""
        if well:
            self.state.degraded.discard("chats")
            self.log.event("info", "store_recovered")
        else:
            self.state.degraded.add("chats")
            self.log.event("error", "store_unavailable", reason=reason)

    def _operators(self) -> admin.Admin:
        token = self.settings.admin_token
        return admin.Admin(
            self.page,
            self.spent,
            self.state,
            lambda question: explain(self.gateway, question),
            token.reveal() if token else None,
        )

    async def page(self) -> bytes:
        """What operators see of the metrics."""
        return self.metrics.render(self.state.breakers(), self.state.gauges(), self.state.outliers())

    async def spent(self) -> list[dict[str, Any]]:
        """What operators see of the budgets."""
        return self.state.budgets()

    def _transports(self) -> dict[str, Transport]:
        http = self._http
        named = HttpTransport(CallerNamedConnector(own=[self.settings.listen]))
        return {"https": http, "http": http, "unlisted": named, "simulated": DemoTransport()}

    async def _open(self, server: web.Server, address: tuple[str, int]) -> str:
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        self.runners.append(runner)
        host, port = address
        try:
            site = web.TCPSite(runner, host, port, backlog=1024, reuse_port=self.shares_port)
            await site.start()
            self.sites.append(site)
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{runner.addresses[0][1]}"

    def _take(self, generation: Generation) -> None:
        """A table comes into force: from now on every new call sees it."""
        settings = generation.settings
        if generation is not self.gateway.generation:
            generation.follows(self.gateway.generation)
        self.gateway.generation = generation
        self.metrics.cache_bytes(generation.answers.size)
        self._http.keep_only(generation.providers.values())
        self.metrics.configured(
            generation.number,
            routes=[LISTING, *PATHS, *(route.path for route in generation.table.routes)],
            dialects=[*DIALECTS, OPAQUE, NAME],
            providers=list(generation.providers),
            models=generation.models,
            keys=[row.name for row in settings.access.keys] if settings.access else [],
        )
        self.state.loaded(generation.number, now())

    def _changed(self) -> None:
        """The file is another one: does it say anything else?"""
        if digest(self.path) != self._digest:
            self.reload()

    def reload(self) -> None:
        """SIGHUP, or a change of the file: parse, check, swap at once for new calls. A bad file changes nothing."""
        self._digest = digest(self.path)
        loaded = load_again(self.settings, os.environ)
        problems = against(loaded, self.settings)
        if loaded.settings is None or problems:
            self.metrics.config_refused()
            self.state.refused(now())
            self.log.event("error", "reload_refused", problems=problems)
            return
        self._take(Generation(self.gateway.generation.number + 1, loaded.settings))
        self.log.event("info", "reloaded", generation=self.gateway.generation.number)

    def heed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Signals, from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.signal)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def opened(self, main: str, operators: str | None) -> None:
        """Calls are taken from now on."""
        say(listening(main, operators))

    def failed(self, error: StartError) -> None:
        """It does not come so far."""
        say(f"isthmus: {error}")

    def signal(self) -> None:
        """SIGTERM or SIGINT: the first one drains, the second one stops at once."""
        if self.stopping.is_set():
            self.hurry.set()
        self.stopping.set()

    async def serve(self) -> None:
        """Until told to stop; then drains: readiness first, running calls finish, the rest is told and ended."""
        await self.stopping.wait()
        self.gateway.draining = self.state.draining = True
        self.log.event("info", "draining", running=self.gateway.running)
        await self._drained(self.settings.drain)
        for exchange in list(self.front.running):
            exchange.alarm.ring("drain")
        if self.front.running:
            await self._drained(1.0)

    async def _drained(self, seconds: float) -> None:
        """Waits until no call is running, `seconds` have passed, or a second signal came."""
        ends = asyncio.get_running_loop().time() + seconds
        while self.front.running and not self.hurry.is_set():
            if asyncio.get_running_loop().time() >= ends:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.hurry.wait(), 0.05)

    async def close(self) -> None:
        for task in self._watches:
            task.cancel()
        for runner in self.runners:
            await runner.cleanup()
        if self._chats is not None:
            await self._chats.close()
        if self._ledger is not None:
            await self._ledger.close(self._keeping)
        gateway = getattr(self, "gateway", None)
        if gateway is not None:
            for transport in set(gateway.transports.values()):
                await transport.close()
        self.log.event("info", "stopped")
        self.log.close()


async def live(life: Life) -> int:
    """A process, from start to end. Gives the exit code."""
    undo = take_over(life.log)
    try:
        main, operators = await life.start()
        life.heed(asyncio.get_running_loop())
        life.log.event("info", "started", listen=main, admin=operators)
        life.opened(main, operators)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await life.serve()
    except StartError as error:
        life.failed(error)
        return 1
    finally:
        await life.close()
        undo()
    return 0


def against(loaded: Loaded, before: Settings) -> list[str]:
    """What keeps a file from taking the place of the one before, while the process runs."""
    if loaded.settings is None:
        return [str(problem) for problem in loaded.problems]
    wanted, there = loaded.settings.chats, before.chats
    if wanted is not None and (there is None or there.path != wanted.path):
        return ["chats.store: another store takes a restart"]
    if loaded.settings.state_file != before.state_file:
        return ["state.file: another file takes a restart"]
    return []


def listening(main: str, operators: str | None) -> str:
    """The line that says that it is ready."""
    return f"isthmus: listening on {main}" + (f" (admin {operators})" if operators else "")


def say(line: str) -> None:
    """One line for whoever started us. Nobody reads it any more, or a disk is full: no reason to end."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def run(path: Path, settings: Settings) -> int:
    """Serves until a signal ends it. Gives the exit code."""
    check_ground()

    async def serve() -> int:
        return await live(Life(path, settings))

    return uvloop.run(serve())


def check_ground() -> None:
    """The C parser is the strict and the fast one; without it we do not serve."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise SystemExit("isthmus: aiohttp's C extensions are missing or switched off (AIOHTTP_NO_EXTENSIONS)")
