"""Counting: one `Record` per exchange is all that feeds the instruments.

`router/vocabulary.py` declares them. Labels are closed sets: `Metrics.configured` says which routes,
dialects, providers, models and keys the table in use has; whatever else turns up in a record is counted as
`other`, so that nobody who calls us can grow the page. Series of names that a reload removed stay until the
process ends: a counter that vanishes looks like a reset.

`error_type` is the `kind` of the error tree (`providers.canonical.errors`), and the empty string for success:
Prometheus treats an empty label like a missing one, which is how OpenTelemetry spells success.

`gen_ai_*` and `http_*` follow the OpenTelemetry conventions (semantic-conventions-genai 004902b8, HTTP
metrics), with `.` written as `_` and the unit as suffix.
"""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import compress
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector

from providers.canonical import errors, tokens
from providers.canonical.chat import Usage
from providers.canonical.loss import Kind
from router.instruments import OTHER, Counter, Family, Gauge, Histogram, Series
from router.policy.breaker import State
from router.policy.outliers import Reason
from router.policy.retries import Denied
from router.record import OUTPACED, AttemptRecord, Cached, Hedged, Outcome, Priority, Record, StreamEnd, Waited
from router.settings import Coin
from router.vocabulary import (
    ATTEMPTED,
    AUTH_REASONS,
    EARLY_REASONS,
    EGRESS_REASONS,
    FIELDS,
    INSTRUMENTS,
    MOST_FIELDS,
    NONE,
    OPERATIONS,
    OUTCOME_OF,
    PHASES,
    STATUS,
    STORE_OPERATIONS,
    UPSTREAM_PHASES,
    WAITING_PHASES,
    field_label,
)

#: A key's budget: its name, what is limited, the limit, and what is spent.
Gauged: TypeAlias = tuple[str, Coin, float, float]
States: TypeAlias = Iterable[tuple[str, str, State]]  # provider, model and state

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BREAKER_STATES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}

_ROWS = {row.name: row for row in INSTRUMENTS}


MOST_COURSES = 4096

Wanted = TypeVar("Wanted")

_course_key = attrgetter(
    "route", "status", "error", "caller_dialect", "provider", "model", "outcome", "lane", "operation", "key"
)
_named = attrgetter("route", "caller_dialect", "provider", "model")


class _Lazy(dict[str, Wanted]):
    """Looks up each value when it is first asked for, so that no series is on the page before it counts something.

    `get` before `[]`: the latter is slow for kinds of dict of one's own.
    """

    def __init__(self, find: Callable[[str], Wanted]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: str) -> Wanted:
        value = self[key] = self._find(key)
        return value


class _Phases(NamedTuple):
    """What is done with the lengths of phases: each is noted somewhere, and the sum of the gateway's `own`."""

    notes: list[Callable[[float], None]]
    own: list[bool]
    total: Callable[[float], None]


_forget = collections.deque[float](maxlen=0).append


class _Course(NamedTuple):
    """The series that exchanges of one kind move, looked up once."""

    duration: Histogram
    requests: Counter
    key_requests: Counter | None
    lane: str
    phases: dict[tuple[str, ...], _Phases]
    tokens: _Lazy[Histogram]  # by input, output
    key_tokens: _Lazy[Counter]
    parts: _Lazy[Counter]  # by kind, of what providers counted


def _before(attempt: AttemptRecord, attempts: Iterable[AttemptRecord]) -> AttemptRecord | None:
    """The last of those that were over when one began. Not what was under way beside it: that stands before it where it
    was cut off."""
    over = [other for other in attempts if other.started < attempt.started and other.ended <= attempt.started]
    return max(reversed(over), key=lambda other: other.ended, default=None)


class Metrics:
    """The page that Prometheus scrapes. One per process; used from the event loop's thread only.

    Counting must never break what is counted: nothing here raises for what a record holds. `counts_reloads` False:
    of several processes somebody else does.
    """

    def __init__(self, *, counts_reloads: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.families: dict[str, Family[Any]] = {}
        self._counts_reloads = counts_reloads
        self._known: dict[str, Collection[str]] = {
            "route": {NONE},
            "dialect": {NONE},
            "provider": {NONE, "unlisted"},
            "model": {NONE},
            "key": {NONE},
            "status": frozenset(STATUS.values()),
            "error": frozenset(ATTEMPTED) | {""},
            "rejected": frozenset(OUTCOME_OF) | EARLY_REASONS,
            "outcome": frozenset(get_args(Outcome)),
            "attempted": frozenset({*get_args(Outcome), OUTPACED}),
            "hedged": frozenset(get_args(Hedged)),
            "operation_name": OPERATIONS,
            "token_type": frozenset({"input", "output"}),
            "tokens": frozenset(tokens.KINDS),
            "source": frozenset({"provider", "estimated"}),
            "denied": frozenset(get_args(Denied)),
            "outlier": frozenset(get_args(Reason)),
            "priority": frozenset(get_args(Priority)),
            "waited": frozenset(get_args(Waited)),
            "field": FIELDS,
            "kind": frozenset(get_args(Kind)),
            "lane": frozenset({"relay", "translate", NONE}),
            "phase": PHASES,
            "end": frozenset(get_args(StreamEnd)),
            "egress": EGRESS_REASONS,
            "auth": AUTH_REASONS,
            "result": frozenset({"ok", "error"}),
            "store": STORE_OPERATIONS,
            "cached": frozenset(get_args(Cached)),
        }
        self._histograms: list[Family[Histogram]] = []
        self._courses: dict[tuple[object, ...], _Course] = {}
        self._lock = threading.Lock()
        ProcessCollector(registry=self.registry)

        self._http = self._family(Histogram, "http_server_request_duration_seconds")
        self._duration = self._family(Histogram, "gen_ai_client_operation_duration_seconds")
        self._first_chunk = self._family(Histogram, "gen_ai_client_operation_time_to_first_chunk_seconds")
        self._per_chunk = self._family(Histogram, "gen_ai_client_operation_time_per_output_chunk_seconds")
        self._tokens = self._family(Histogram, "gen_ai_client_token_usage")
        self._token_parts = self._family(Counter, "isthmus_tokens_total")
        self._requests = self._family(Counter, "isthmus_requests_total")
        self._attempts = self._family(Counter, "isthmus_attempts_total")
        self._hedges = self._family(Counter, "isthmus_hedges_total")
        self._retries = self._family(Counter, "isthmus_retries_total")
        self._denied = self._family(Counter, "isthmus_retries_denied_total")
        self._losses = self._family(Counter, "isthmus_losses_total")
        self._overhead = self._family(Histogram, "isthmus_overhead_seconds")
        self._key_requests = self._family(Counter, "isthmus_key_requests_total")
        self._key_tokens = self._family(Counter, "isthmus_key_tokens_total")
        self._credits = self._family(Counter, "isthmus_cost_credits_total")
        self._usd = self._family(Counter, "isthmus_cost_usd_total")
        self._inflight = self._family(Gauge, "isthmus_inflight")
        self._breakers = self._family(Gauge, "isthmus_breaker_state")
        self._outlier_states = self._family(Gauge, "isthmus_outlier_state")
        self._outliers = self._family(Counter, "isthmus_outliers_total")
        self._budgets = {
            (coin, what): self._family(Gauge, f"isthmus_budget_{coin}_{what}")
            for coin in get_args(Coin)
            for what in ("limit", "spent")
        }
        self._queued = self._family(Counter, "isthmus_queued_total")
        self._cached = self._family(Counter, "isthmus_cache_requests_total")
        self._cache_bytes = self._family(Gauge, "isthmus_cache_bytes")[()]
        self._rejected = self._family(Counter, "isthmus_rejected_total")
        self._stream_end = self._family(Counter, "isthmus_stream_end_total")
        self._egress = self._family(Counter, "isthmus_egress_denied_total")
        self._auth = self._family(Counter, "isthmus_auth_failures_total")
        self._stale = self._family(Counter, "isthmus_stale_resends_total")
        self._store = self._family(Counter, "isthmus_store_errors_total")
        self._reload = self._family(Counter, "isthmus_config_reload_total")
        self._lag = self._family(Histogram, "isthmus_loop_lag_seconds")[()]
        self._dropped = self._family(Counter, "isthmus_log_lines_dropped_total")[()]
        self._generation = self._family(Gauge, "isthmus_config_generation")[()]
        self._reloaded = self._family(Gauge, "isthmus_config_last_reload_success")[()]
        self._family(Gauge, "isthmus_workers")[()].set(1)
        self._family(Counter, "isthmus_worker_restarts_total")

    def _family(self, kind: type[Series], name: str) -> Family[Series]:
        row = _ROWS[name]
        vocabularies = [self._known[word] for word in row.vocabularies]
        family = Family(kind, row.name, row.help, row.label_names, vocabularies, row.buckets)
        self.registry.register(family)
        self.families[name] = family
        if kind is Histogram:
            self._histograms.append(family)
        return family

    # ── the route table ────────────────────────────────────────────────────────────────

    def configured(
        self,
        generation: int,
        *,
        routes: Iterable[str],
        dialects: Iterable[str],
        providers: Iterable[str],
        models: Iterable[str],
        keys: Iterable[str] = (),
    ) -> None:
        """A table has come into use: these names may be labels from now on. `generation` is 1 at start."""
        for word, names in (
            ("route", routes),
            ("dialect", dialects),
            ("provider", providers),
            ("model", models),
            ("key", keys),
        ):
            known = self._known[word]
            assert isinstance(known, set)
            known.update(names)
        self._courses.clear()  # what counted as `other` may have its name now
        if generation > 1 and self._counts_reloads:
            self._reload[("ok",)].inc()
        self._generation.set(generation)
        self._reloaded.set(1)

    def passed_over(self, provider: str, model: str, reason: Reason) -> None:
        """A target does far worse than others of its model."""
        self._outliers[provider, model, reason].inc()

    def store_failed(self, operation: str) -> None:
        """The chat store, or the file of spending, could not be reached, or written."""
        self._store[(operation,)].inc()

    def cache_bytes(self, size: int) -> None:
        """What answers take that are kept, now."""
        self._cache_bytes.set(size)

    def config_refused(self) -> None:
        """A changed file was not taken; the old table stays."""
        if self._counts_reloads:
            self._reload[("error",)].inc()
        self._reloaded.set(0)

    # ── one exchange ───────────────────────────────────────────────────────────────────

    def inflight(self, route: str) -> AbstractContextManager[None]:
        """Counts an exchange as under way for as long as the block runs."""
        return self._inflight[(route,)]

    def observe(self, record: Record) -> None:
        """Everything that one finished exchange moves; to be called once for each."""
        course = self._courses.get(_course_key(record)) or self._course(record)
        course.duration.observe(max(0.0, record.ended - record.started))
        course.requests.inc()
        for attempt in record.attempts:
            self._observe_attempt(attempt)
            if attempt.credits:
                self._credits[attempt.provider, attempt.model, record.key or NONE].inc(attempt.credits)
            if attempt.price is not None and (usd := attempt.cost()) is not None:
                self._usd[attempt.provider, attempt.model, record.key or NONE].inc(float(usd))
        if record.phases:
            self._observe_phases(course, record.phases)
        if record.usage is not None:
            self._observe_usage(course, record, record.usage)
        if course.key_requests is not None:
            course.key_requests.inc()
        if record.stream_end is not None:
            self._stream_end[record.provider, record.stream_end].inc()
        if record.losses:
            self._observe_losses(record)
        if len(record.attempts) > 1 or record.denied_retries:
            self._observe_retries(record)
        for hedge in record.hedges:
            self._hedges[hedge].inc()
        for waited in record.queued:
            self._queued[waited].inc()
        if record.cache is not None:
            self._cached[record.route, record.cache].inc()
        if record.resent:
            self._stale[(record.provider,)].inc(record.resent)
        if record.error is not None:
            self._observe_refusal(record, record.error)

    def _course(self, record: Record) -> _Course:
        """The series of exchanges like this one, kept for the next if its names are those of the table."""
        if len(self._courses) >= MOST_COURSES:
            self._courses.clear()
        error, key, lane = record.error or "", record.key, record.lane
        provider, model, operation = record.provider, record.model, record.operation
        course = _Course(
            duration=self._http[record.route, STATUS.get(record.status, OTHER), error],
            requests=self._requests[record.route, record.caller_dialect, provider, model, record.outcome],
            key_requests=None if key is None else self._key_requests[key, record.outcome],
            lane=lane,
            phases={},
            tokens=_Lazy(lambda kind: self._tokens[operation, provider, model, error, kind]),
            key_tokens=_Lazy(lambda kind: self._key_tokens[key or NONE, kind]),
            parts=_Lazy(lambda kind: self._token_parts[provider, model, kind, "provider"]),
        )
        labels = zip(("route", "dialect", "provider", "model"), _named(record), strict=True)
        if all(name in self._known[word] for word, name in labels) and (key is None or key in self._known["key"]):
            self._courses[_course_key(record)] = course
        return course

    def _observe_attempt(self, attempt: AttemptRecord) -> None:
        error = attempt.error or ""
        provider, model = attempt.provider, attempt.model
        series = (attempt.operation, provider, model, error)
        (self._duration.get(series) or self._duration[series]).observe(max(0.0, attempt.ended - attempt.started))
        made = (provider, model, ATTEMPTED.get(error, "bug") if error else "ok")
        (self._attempts.get(made) or self._attempts[made]).inc()
        first, last = attempt.first_chunk, attempt.last_chunk
        if first is not None:
            self._first_chunk[series].observe(max(0.0, first - attempt.started))
            if attempt.chunks and last is not None:
                self._per_chunk[series].observe(max(0.0, last - first) / attempt.chunks)

    def _observe_phases(self, course: _Course, phases: Mapping[str, float]) -> None:
        names, values = tuple(phases), tuple(phases.values())
        known = course.phases.get(names) or self._phases(course, names)
        for note, seconds in zip(known.notes, values, strict=True):
            note(seconds)
        known.total(sum(compress(values, known.own)))

    def _phases(self, course: _Course, names: tuple[str, ...]) -> _Phases:
        """Where the lengths of these phases are noted, kept for the next exchange that has the same."""
        known = course.phases[names] = _Phases(
            [_forget if name in UPSTREAM_PHASES else self._overhead[course.lane, name].observe for name in names],
            [name not in UPSTREAM_PHASES | WAITING_PHASES for name in names],
            self._overhead[course.lane, "total"].observe,
        )
        return known

    def _observe_usage(self, course: _Course, record: Record, usage: Usage) -> None:
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None and count >= 0:
                (course.tokens.get(kind) or course.tokens[kind]).observe(count)
                if record.key is not None:
                    (course.key_tokens.get(kind) or course.key_tokens[kind]).inc(count)
        for kind, count in tokens.parts(usage).items():
            if usage.estimated:
                self._token_parts[record.provider, record.model, kind, "estimated"].inc(count)
            else:
                (course.parts.get(kind) or course.parts[kind]).inc(count)

    def _observe_losses(self, record: Record) -> None:
        for loss in record.losses[:MOST_FIELDS]:
            self._losses[record.route, field_label(loss.field), loss.kind].inc()
        if len(record.losses) > MOST_FIELDS:
            rest = collections.Counter(loss.kind for loss in record.losses[MOST_FIELDS:])
            for kind, count in rest.items():
                self._losses[record.route, OTHER, kind].inc(count)

    def _observe_retries(self, record: Record) -> None:
        attempts = record.attempts
        for attempt in attempts:
            before = None if attempt.hedge else _before(attempt, attempts)
            if before is not None:
                self._retries[attempt.provider, before.error or ""].inc()
        for reason in record.denied_retries:
            self._denied[attempts[-1].provider if attempts else record.provider, reason].inc()

    def _observe_refusal(self, record: Record, error: str) -> None:
        if record.outcome == "rejected" and OUTCOME_OF.get(error) == "rejected" and not record.attempts:
            self._rejected[(error,)].inc()
        if error in (errors.NotAuthenticated.kind, errors.UpstreamKeyMissing.kind):
            self._auth[(record.reason or error,)].inc()
        elif error in (errors.UpstreamNotAllowed.kind, errors.EgressDenied.kind):
            self._egress[(record.reason or error,)].inc()

    # ── what belongs to no exchange ────────────────────────────────────────────────────

    def rejected(self, reason: str) -> None:
        """A request was refused before there was an exchange to record (`EARLY_REASONS`)."""
        self._rejected[(reason,)].inc()

    def loop_lag(self, seconds: float) -> None:
        self._lag.observe(max(0.0, seconds))

    def fold(self) -> None:
        """Counts what histograms have noted since the last time. To be called now and then, scraped or not."""
        for family in self._histograms:
            family.fold()

    def log_lines_dropped(self, count: int) -> None:
        """May be called from any thread."""
        with self._lock:
            self._dropped.inc(count)

    def render(self, breakers: States = (), budgets: Iterable[Gauged] = (), outliers: States = ()) -> bytes:
        """The page, as `CONTENT_TYPE`. `breakers`, `outliers`: provider, model and state of each, as they are now."""
        self.look_at(breakers, budgets, outliers)
        return prometheus_client.generate_latest(self.registry)

    def look_at(self, breakers: States, budgets: Iterable[Gauged] = (), outliers: States = ()) -> None:
        """Takes down what is not counted but is as it is."""
        for family in self._budgets.values():
            family.clear()  # a key that has no budget any more has no figures
        for key, coin, limit, spent in budgets:
            self._budgets[coin, "limit"][(key,)].set(limit)
            self._budgets[coin, "spent"][(key,)].set(spent)
        for gauges, states in ((self._breakers, breakers), (self._outlier_states, outliers)):
            for provider, model, state in states:
                gauges[provider, model].set(_BREAKER_STATES[state])


async def watch_loop(metrics: Metrics, interval: float = 0.1, clock: Callable[[], float] | None = None) -> None:
    """Measures, until cancelled, how late the event loop's timers fire, and folds histograms. `interval`: seconds."""
    now = clock or asyncio.get_running_loop().time
    while True:
        before = now()
        await asyncio.sleep(interval)
        metrics.loop_lag(now() - before - interval)
        metrics.fold()
