"""One line per exchange, and one per event in the life of the process; none holds a secret or stops a call.

`telemetry.log: json` writes one JSON object per line, `text` the same fields as `name=value`. What has no
value is null (left out of `text`); empty lists are left out. Every text that a caller or an upstream may have
had a hand in is masked (keys, tokens), freed of control and invisible characters (written as `\\x1b`) and cut
at 256 characters.

Lines go through a bounded buffer to a thread of their own. When whoever reads the log stops reading, the
thread waits, the buffer fills, further lines are dropped and counted (`on_drop`); calls go on.

Libraries say things, too (`take_over`). What they print may hold a whole request line with a key in its path,
so of theirs only the constant part of the message, numbers, types of exceptions and places in code pass.
"""

from __future__ import annotations

import logging
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal, TypeAlias

import msgspec

from providers.canonical.errors import mask
from router.record import AttemptRecord, Outcome, Record

Form: TypeAlias = Literal["json", "text"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]

LONGEST_FIELD = 256
# Of lists in one line: a caller decides how many losses a call has.
MOST_ITEMS = 500
BUFFER = 4 << 20  # bytes

_LEVELS: dict[Outcome, Level] = {
    "ok": "info",
    "rejected": "info",
    "client_left": "info",
    "upstream_error": "warning",
    "timeout": "warning",
    "shed": "warning",
    "bug": "error",
}

# ── text that others had a hand in ─────────────────────────────────────────────────────


def clean(text: str) -> str:
    """`text` as it may stand in a line: masked, printable, at most `LONGEST_FIELD` characters."""
    text = mask(text[: 4 * LONGEST_FIELD])
    if not text.isprintable():
        text = "".join(character if character.isprintable() else _escape(character) for character in text)
    return text if len(text) <= LONGEST_FIELD else text[: LONGEST_FIELD - 1] + "…"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# Paths and names repeat from call to call; masking them each time would cost more than the rest of the line.
_clean = lru_cache(4096)(clean)
_OWN_ID = re.compile(r"[0-9a-f]{32}")  # ids that we made: the caller's own may be anything

_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|<[^>]*>")
_WORD = re.compile(r"\S+")
# A name in quotes stays as `_redact_quoted` left it. Nothing with a slash, percent or equals sign passes.
_HARMLESS = re.compile(
    r"[A-Za-z0-9_.,;:!?*()\[\]+<>-]{1,20}"
    r"|[(\[]?'[A-Za-z_][A-Za-z0-9_]{0,17}'[)\].,:;]?"
    r"|%(?:\.\d)?[sdifr][).,:;]?"  # where a library's message is filled in
)


def redact(text: str) -> str:
    """The first line of `text` without what might be data: quoted parts, addresses, paths, long words.

    Names of attributes and types stay, since they are what an error message is read for.
    """
    line = text[: 8 * LONGEST_FIELD].partition("\n")[0]
    line = _QUOTED.sub(_redact_quoted, mask(line))
    return clean(_WORD.sub(_redact_word, line))


def _redact_quoted(match: re.Match[str]) -> str:
    inner = match[0][1:-1]
    return f"'{inner}'" if match[0][0] in "'\"" and inner.isidentifier() and len(inner) <= 18 else "***"


def _redact_word(match: re.Match[str]) -> str:
    return match[0] if _HARMLESS.fullmatch(match[0]) else "***"


def trace(error: BaseException) -> list[str]:
    """An exception as lines: types, redacted messages and places in code, its causes after it; no values."""
    lines: list[str] = []
    for link in _chain(error):
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}: {redact(str(link))}"[:LONGEST_FIELD])
        lines.extend(_frames(link.__traceback__))
    return lines


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < 8:
        link = waiting.pop(0)
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        waiting.append(link.__cause__ or (None if link.__suppress_context__ else link.__context__))


def _frames(step: TracebackType | None) -> list[str]:
    found = []
    while step is not None:
        code = step.tb_frame.f_code
        place = "/".join(PurePath(code.co_filename).parts[-2:])
        found.append(f"  {place}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return found[-24:]


# ── the line of an exchange ────────────────────────────────────────────────────────────


class _Attempt(msgspec.Struct, omit_defaults=True):
    provider: str
    model: str
    ms: float
    status: int | None = None
    error: str | None = None
    waited_ms: float = 0.0
    hedge: bool = False


class _Loss(msgspec.Struct):
    field: str
    kind: str
    reason: str


_COUNTS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "reasoning": "reasoning_tokens",
    "tool_prompt": "tool_prompt_tokens",
    "input_audio": "input_audio_tokens",
    "input_image": "input_image_tokens",
    "output_audio": "output_audio_tokens",
    "output_image": "output_image_tokens",
}
_Counts: Any = msgspec.defstruct(
    "_Counts",
    [*((name, int | None, None) for name in _COUNTS), ("estimated", bool, False)],
    omit_defaults=True,
)
_counted = attrgetter(*_COUNTS.values(), "estimated")


class _Line(msgspec.Struct, omit_defaults=True):
    time: str
    level: Level
    event: str
    request_id: str
    route: str
    path: str
    method: str
    status: int
    outcome: Outcome
    ms: float
    error: str | None
    code: str | None
    reason: str | None
    caller_dialect: str
    provider: str
    model: str
    upstream_model: str | None
    lane: str
    operation: str
    key: str | None
    stream: bool
    stream_end: str | None
    bytes_in: int
    bytes_out: int
    phases: msgspec.Raw
    upstream_ms: float
    usage: msgspec.Struct | None = None
    attempts: list[_Attempt] = []
    denied_retries: list[str] = []
    resent: int = 0
    losses: list[_Loss] = []
    losses_not_shown: int = 0
    cost_usd: Decimal | None = None


def _ms(seconds: float) -> float:
    return int(seconds * 1_000_000.0 + 0.5) / 1000.0


def _attempt(attempt: AttemptRecord) -> _Attempt:
    return _Attempt(
        attempt.provider,
        attempt.model,
        _ms(attempt.ended - attempt.started),
        attempt.status,
        attempt.error,
        _ms(attempt.waited) if attempt.waited else 0.0,
        attempt.hedge,
    )


@lru_cache(256)
def _phases_form(names: tuple[str, ...]) -> str:
    """An object of milliseconds, to be filled in with `%`."""
    return "{" + ",".join([f'"{name}":%s' for name in names]) + "}"


def _line(record: Record, now: str) -> _Line:
    usage = record.usage
    upstream_model, code, reason = record.upstream_model, record.code, record.reason
    line = _Line(
        now,
        _LEVELS[record.outcome],
        "exchange",
        record.id if _OWN_ID.fullmatch(record.id) else clean(record.id),
        _clean(record.route),
        _clean(record.path),
        _clean(record.method),
        record.status,
        record.outcome,
        _ms(record.ended - record.started),
        record.error,
        code and _clean(code),
        reason and _clean(reason),
        record.caller_dialect,
        record.provider,
        record.model,
        upstream_model and _clean(upstream_model),
        record.lane,
        record.operation,
        record.key and _clean(record.key),
        record.stream,
        record.stream_end,
        record.bytes_in,
        record.bytes_out,
        msgspec.Raw(_phases_form(tuple(record.phases)) % record.milliseconds()),
        _ms(record.upstream_seconds),
        None if usage is None else _Counts(*_counted(usage)),
        [_attempt(attempt) for attempt in record.attempts],
        record.denied_retries,
        record.resent,
    )
    attempts = record.attempts
    if attempts and (attempts[-1].price is not None or len(attempts) > 1):
        line.cost_usd = record.cost()
    if record.losses:
        line.losses = [_Loss(_clean(loss.field), loss.kind, _clean(loss.reason)) for loss in record.losses[:MOST_ITEMS]]
        line.losses_not_shown = max(0, len(record.losses) - MOST_ITEMS)
    return line


# ── the way out ────────────────────────────────────────────────────────────────────────


class Sink:
    """Writes lines to a file descriptor from a thread of its own, and never makes `put` wait.

    `limit`: bytes that may wait, lines being written included. The thread begins with the first line (after a
    fork, that is) and gathers lines for `gather` seconds, so that a busy process writes 50 times a second. `turn` is
    held while it writes: of processes that write to one pipe, each line whole.
    """

    def __init__(
        self,
        fd: int,
        on_drop: Callable[[int], None],
        limit: int = BUFFER,
        gather: float = 0.02,
        turn: AbstractContextManager[None] | None = None,
    ) -> None:
        self._fd = fd
        self._turn = turn or nullcontext()
        self._on_drop = on_drop
        self._limit = limit
        self._gather = gather
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._lines: list[bytes] = []
        self._size = 0
        self._writing = 0  # lines taken and not yet written
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        with self._lock:
            if self._size + len(line) > self._limit or self._closing.is_set():
                taken = False
            else:
                taken = True
                self._lines.append(line)
                self._size += len(line)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                    self._thread.start()
        if not taken:
            self._on_drop(1)
        elif not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 1.0) -> None:
        """Writes what waits, for at most `timeout` seconds; the rest is dropped and counted."""
        self._closing.set()
        self._wake.set()
        if self._thread is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._lock:
                left, self._lines = len(self._lines) + self._writing, []
            if left:
                self._on_drop(left)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._closing.wait(self._gather)
            self._wake.clear()
            # Looked at after the clearing, or the wake of `close` could be lost; and before the lines are taken:
            # what was put before `close` is written.
            closing = self._closing.is_set()
            with self._lock:
                lines, self._lines = self._lines, []
                self._writing = len(lines)
            if lines:
                self._write(b"".join(lines), len(lines))

    def _write(self, data: bytes, lines: int) -> None:
        left = memoryview(data)
        try:
            with self._turn:
                while left:
                    try:
                        left = left[os.write(self._fd, left) :]
                    except BlockingIOError:  # somebody else's O_NONBLOCK on a shared terminal or pipe
                        select.select([], [self._fd], [], 0.1)
        except (OSError, ValueError):  # nobody will ever read it
            self._on_drop(lines)
        finally:
            with self._lock:
                self._size -= len(data)
                self._writing = 0


class Log:
    """Where the process writes what happens. `wall` is the clock of the `time` field, seconds since 1970.

    `on_drop` is told how many lines were given up; it may be called from the writer's thread. `turn` as in `Sink`;
    `always`: fields of every event.
    """

    def __init__(
        self,
        fd: int = 1,
        *,
        form: Form = "json",
        on_drop: Callable[[int], None],
        wall: Callable[[], float] = time.time,
        limit: int = BUFFER,
        turn: AbstractContextManager[None] | None = None,
        always: Mapping[str, Any] | None = None,
    ) -> None:
        self._sink = Sink(fd, on_drop, limit, turn=turn)
        self._always = always or {}
        self._wall = wall
        self._second = -1
        self._prefix = ""
        self._encode = _json if form == "json" else _text

    def exchange(self, record: Record) -> None:
        """The line of a finished exchange."""
        self._sink.put(self._encode(_line(record, self._now())))

    def event(self, level: Level, event: str, **fields: Any) -> None:
        """A line about the process: started, reloaded, draining, a library's words. `event` is a constant."""
        line: dict[str, Any] = {"time": self._now(), "level": level, "event": event}
        line.update((name, _value(value)) for name, value in {**self._always, **fields}.items() if value is not None)
        self._sink.put(self._encode(line))

    def bug(self, error: BaseException, **fields: Any) -> None:
        """Something of ours broke: where, and what, without the data that broke it."""
        self.event("error", "bug", **fields, traceback=trace(error))

    def close(self, timeout: float = 1.0) -> None:
        """Writes what waits, for at most `timeout` seconds. Lines after that are dropped and counted."""
        self._sink.close(timeout)

    def _now(self) -> str:
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z"


def _value(value: object, depth: int = 0) -> object:
    """A field of an event as JSON can say it, every text in it cleaned."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < 4:
        items = list(value.items())[:MOST_ITEMS]
        return {clean(str(name)): _value(inner, depth + 1) for name, inner in items}
    if isinstance(value, list | tuple | set | frozenset) and depth < 4:
        return [_value(inner, depth + 1) for inner in list(value)[:MOST_ITEMS]]
    return clean(str(value))


_encoder = msgspec.json.Encoder(decimal_format="number")


def _json(line: _Line | dict[str, Any]) -> bytes:
    return _encoder.encode(line) + b"\n"


def _text(line: _Line | dict[str, Any]) -> bytes:
    """`2026-11-21T12:00:00.000Z info exchange status=200 path=/v1`; what has spaces or quotes as JSON."""
    fields: dict[str, Any] = msgspec.json.decode(_encoder.encode(line))
    words = [str(fields.pop(name)) for name in ("time", "level", "event")]
    words += [f"{name}={_word(value)}" for name, value in fields.items() if value is not None]
    return " ".join(words).encode() + b"\n"


def _word(value: object) -> str:
    if isinstance(value, str) and value and not set(value) & set(' "=\\'):
        return value
    return _encoder.encode(value).decode()


# ── libraries ──────────────────────────────────────────────────────────────────────────


class Redirect(logging.Handler):
    """Passes on what libraries log, without the data in it."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.event(
            level,
            "library",
            logger=record.name,
            message=_message(record),
            traceback=_places(error) if error is not None else None,
        )


def _message(record: logging.LogRecord) -> str:
    """The constant part of the message. Of what was filled in only numbers."""
    template = record.msg if isinstance(record.msg, str) else type(record.msg).__qualname__
    template = redact(template)
    if not record.args or isinstance(record.args, Mapping):
        return template
    shown = tuple(value if isinstance(value, int | float) else "***" for value in record.args)
    try:
        return template % shown
    except (TypeError, ValueError):
        return template


def _places(error: BaseException) -> list[str]:
    """Types and places only: messages of HTTP parsers quote the bytes that they choked on."""
    lines: list[str] = []
    for link in _chain(error):
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}")
        lines.extend(_frames(link.__traceback__))
    return lines


def take_over(log: Log) -> Callable[[], None]:
    """From now on everything that any library logs goes through `log`, redacted. Returns what undoes it.

    Handlers that libraries and the event loop had are put aside: nothing reaches a stream raw.
    """
    handler = Redirect(log)
    before: list[tuple[logging.Logger, list[logging.Handler], bool, bool]] = []
    root = logging.getLogger()
    present = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for logger in (root, *present):
        before.append((logger, logger.handlers[:], logger.propagate, logger.disabled))
        logger.handlers[:] = [handler] if logger is root else []
        logger.propagate = True
    access = logging.getLogger("aiohttp.access")  # one line per exchange is ours; theirs prints request lines
    before.append((access, access.handlers[:], access.propagate, access.disabled))
    access.disabled = True

    def undo() -> None:
        for logger, handlers, propagate, disabled in reversed(before):
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, disabled

    return undo
