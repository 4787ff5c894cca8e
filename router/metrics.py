"""Every instrument, declared once; one `Record` per exchange is all that feeds them.

Names and labels are a promise to dashboards. Labels are closed sets: `Metrics.configured` says which routes,
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
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from itertools import compress
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector

from providers.canonical import errors, tokens
from providers.canonical.chat import Usage
from providers.canonical.loss import Kind
from router.instruments import OTHER, Counter, Family, Gauge, Histogram, Series
from router.policy.breaker import State
from router.policy.outliers import Reason
from router.policy.retries import Denied
from router.record import OUTPACED, AttemptRecord, Hedged, Outcome, Priority, Record, StreamEnd, Waited
from router.settings import Coin

#: A key's budget: its name, what is limited, the limit, and what is spent.
Gauged: TypeAlias = tuple[str, Coin, float, float]
States: TypeAlias = Iterable[tuple[str, str, State]]  # provider, model and state

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NONE = "none"
_BREAKER_STATES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}

# ── vocabularies: what a label may say ─────────────────────────────────────────────────


def _outcome(error: type[errors.RouterError]) -> Outcome:
    if issubclass(error, errors.CallerError):
        return "rejected"
    if issubclass(error, errors.Overloaded):
        return "shed"
    if issubclass(error, errors.UpstreamTimeout):
        return "timeout"
    return "upstream_error" if issubclass(error, errors.UpstreamError | errors.TransportError) else "bug"


# `AttemptRecord.error` of a call that was given up because its caller had gone.
CLIENT_LEFT = "client_left"
# How an attempt came out, by the kind of its error.
OUTCOME_OF: dict[str, Outcome] = {
    **{error.kind: _outcome(error) for error in errors.tree(errors.RouterError)},
    CLIENT_LEFT: "client_left",
}

# The same of an attempt, which may also have been cut off for another one.
ATTEMPTED: dict[str, str] = {**OUTCOME_OF, OUTPACED: OUTPACED}

# Phases in which we wait for an upstream (or before the next attempt): not the gateway's own time.
UPSTREAM_PHASES = frozenset({"connect", "first_byte", "first_chunk", "body", "wait"})
# Phases of the gateway itself. `read` and `queue` wait for the caller and for a free place; `total` is the
# sum of the others per exchange, and that is what the gateway adds.
PHASES = frozenset({"read", "access", "route", "decode", "encode", "queue", "answer", "total"})
WAITING_PHASES = frozenset({"read", "queue"})

_GENERATION = (
    "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty "
    "frequencyPenalty responseMimeType responseSchema responseJsonSchema responseLogprobs logprobs "
    "responseModalities thinkingConfig speechConfig mediaResolution enableEnhancedCivicAnswers "
    "audioTimestamp routingConfig imageConfig"
)
_FIELDS = (
    # openai.chat, openai.embeddings
    "model messages tools tool_choice functions function_call parallel_tool_calls response_format stream "
    "stream_options temperature top_p n stop max_tokens max_completion_tokens presence_penalty "
    "frequency_penalty logit_bias logprobs top_logprobs seed user metadata store service_tier "
    "reasoning_effort verbosity modalities audio prediction web_search_options prompt_cache_key "
    "prompt_cache_retention safety_identifier input dimensions encoding_format "
    # openai.responses
    "instructions previous_response_id conversation include text reasoning truncation background "
    "max_output_tokens max_tool_calls prompt "
    # anthropic.messages
    "system top_k stop_sequences thinking container mcp_servers context_management output_config "
    "output_format cache_control speed "
    # gemini
    "contents content systemInstruction system_instruction toolConfig tool_config safetySettings "
    "safety_settings generationConfig generation_config cachedContent cached_content labels taskType title "
    "outputDimensionality requests "
    # ollama.chat
    "options format keep_alive think images template raw suffix truncate "
    # invented for upstreams
    "input_type "
    # their own
    "json_schema persona scope steering_concepts nice "
    # answers
    "choices candidates usage usageMetadata id created finish_reason stop_reason signature safetyRatings "
    "groundingMetadata citationMetadata promptFeedback modelVersion responseId system_fingerprint "
    "annotations refusal"
)
# Heads of the paths that losses have in the dialects' bodies, and the whole paths worth telling apart.
FIELDS = frozenset(_FIELDS.split()) | {f"generationConfig.{name}" for name in _GENERATION.split()}
# Losses of one exchange that are told apart: a body may hold a million fields, and the event loop waits meanwhile.
MOST_FIELDS = 2000
# Kinds of exchanges whose series are remembered; with more of them, those are looked up anew.
MOST_COURSES = 4096
_INDEX = re.compile(r"\[[^\]]*\]?")

# What `router.access` and `router.egress`, one floor up, give as reasons; tests hold the lists together.
_AUTH = (
    "missing several scheme malformed too_large header algorithm kid unknown_key signature claims subject "
    "expired not_yet issuer audience revoked scope jwks invalid upstream_key_missing"
)
_EGRESS = (
    "not_listed loopback private shared link_local metadata multicast reserved unspecified malformed scheme "
    "port proxy own"
)
AUTH_REASONS = frozenset(_AUTH.split())
EGRESS_REASONS = frozenset(_EGRESS.split())
# Refusals before there is an exchange: the HTTP parser's own, and clocks that run while a head comes in.
EARLY_REASONS = frozenset({"bad_http", "line_too_long", "headers_too_large", "head_timeout", "draining"})
OPERATIONS = frozenset({"chat", "chats", "embeddings", "count_tokens", "text_completion", "models", "opaque"})
# What `router.chats.sqlite` and its like, and `router.state.ledger`, say of a store that fails.
STORE_OPERATIONS = frozenset({"open", "check", "read", "write", "state_read", "state_lock", "state_write"})

_STATUS = {status.value: str(status.value) for status in HTTPStatus} | {499: "499", 529: "529", 0: NONE}

# ── instruments ────────────────────────────────────────────────────────────────────────

_X2 = tuple(0.01 * 2**i for i in range(14))
_X4 = tuple(float(4**i) for i in range(14))
# The HTTP convention's, and further: answers of models take minutes, and no quantile passes the last bound.
_HTTP = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
_OWN = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)
_LAG = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Instrument(NamedTuple):
    """One row: how it is scraped, its labels, what it says.

    A label `name:vocabulary` takes its values from a vocabulary of another name than its own. `together`: what a gauge
    of several processes is; counters and histograms are summed.
    """

    kind: type[Counter] | type[Gauge] | type[Histogram]
    name: str
    labels: str
    help: str
    buckets: tuple[float, ...] = ()
    together: Literal["sum", "least", "most"] = "sum"

    @property
    def label_names(self) -> list[str]:
        return [label.partition(":")[0] for label in self.labels.split()]

    @property
    def vocabularies(self) -> list[str]:
        return [label.rpartition(":")[2] for label in self.labels.split()]


_GEN_AI = "operation_name provider_name:provider request_model:model error_type:error"

INSTRUMENTS = (
    Instrument(
        Histogram,
        "http_server_request_duration_seconds",
        "route status error_type:error",
        "Seconds from the first byte of a request to the last of its answer, as its caller sees it. "
        "status none: the caller left before there was one.",
        _HTTP,
    ),
    Instrument(
        Histogram,
        "gen_ai_client_operation_duration_seconds",
        _GEN_AI,
        "Seconds of one attempt at one upstream, to the end of its answer.",
        _X2,
    ),
    Instrument(
        Histogram,
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        _GEN_AI,
        "Seconds from sending the request to the first content of a stream. Streams only.",
        _X2,
    ),
    Instrument(
        Histogram,
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        _GEN_AI,
        "Seconds between chunks of a stream after its first: one observation per stream, its mean.",
        _X2,
    ),
    Instrument(
        Histogram,
        "gen_ai_client_token_usage",
        f"{_GEN_AI} token_type",
        "Tokens of one exchange as the upstream counted them. What it did not say is not here.",
        _X4,
    ),
    Instrument(
        Counter,
        "isthmus_tokens_total",
        "provider model token_type:tokens source",
        "Tokens in parts that do not overlap: they sum to what the provider counted. source: provider, or estimated.",
    ),
    Instrument(
        Counter,
        "isthmus_requests_total",
        "route caller_dialect:dialect provider model outcome",
        "Exchanges by how they came out; each moves exactly one series. provider and model are of the last attempt.",
    ),
    Instrument(
        Counter,
        "isthmus_attempts_total",
        "provider model outcome:attempted",
        "Calls of upstreams: first tries, retries, fallbacks, hedges. outpaced: cut off, another one answered first.",
    ),
    Instrument(
        Counter,
        "isthmus_hedges_total",
        "provider outcome:hedged",
        "Second attempts while a first was under way, by the upstream tried: won, lost to the first, or failed.",
    ),
    Instrument(
        Counter,
        "isthmus_retries_total",
        "provider reason:error",
        "Attempts after the first, by the upstream tried and the kind of the error before it.",
    ),
    Instrument(
        Counter,
        "isthmus_retries_denied_total",
        "provider reason:denied",
        "Retries that were not made, by the upstream that failed last and what stood against it.",
    ),
    Instrument(
        Counter,
        "isthmus_losses_total",
        "route field kind",
        "What did not survive a translation, by field of the caller's body (a closed list, else other).",
    ),
    Instrument(
        Histogram,
        "isthmus_overhead_seconds",
        "lane phase",
        "Seconds spent in the gateway itself. phase total: their sum without read and queue, which wait for others.",
        _OWN,
    ),
    Instrument(
        Counter,
        "isthmus_key_requests_total",
        "key outcome",
        "Exchanges by configured caller key and outcome.",
    ),
    Instrument(
        Counter,
        "isthmus_key_tokens_total",
        "key token_type",
        "Tokens by configured caller key, as upstreams counted them.",
    ),
    Instrument(
        Counter,
        "isthmus_cost_credits_total",
        "provider model key",
        "What answered calls cost, in each upstream's own unit, as `credits` of its row says. key: none without one.",
    ),
    Instrument(
        Counter,
        "isthmus_cost_usd_total",
        "provider model key",
        "US dollars that answers cost by their tokens and the prices of the table. What is not known is not here. "
        "key: none without one.",
    ),
    Instrument(
        Histogram,
        "isthmus_loop_lag_seconds",
        "",
        "Seconds by which a timer of the event loop fired late: what everything else waits, too.",
        _LAG,
    ),
    Instrument(
        Counter,
        "isthmus_log_lines_dropped_total",
        "",
        "Log lines given up because whoever reads the log does not keep up.",
    ),
    Instrument(Gauge, "isthmus_inflight", "route", "Exchanges under way."),
    Instrument(
        Gauge,
        "isthmus_breaker_state",
        "provider model",
        "Whether a target that fails is left alone: 0 closed, 1 half-open (one call finds out), 2 open.",
        together="most",
    ),
    Instrument(
        Gauge,
        "isthmus_outlier_state",
        "provider model",
        "Whether a target is passed over for doing far worse than others of its model: 0 no, 1 half-open, 2 yes.",
        together="most",
    ),
    Instrument(
        Counter,
        "isthmus_outliers_total",
        "provider model reason:outlier",
        "Targets that came to be passed over, by what was far worse than at others of the model: errors, latency.",
    ),
    Instrument(
        Counter,
        "isthmus_queued_total",
        "provider priority outcome:waited",
        "Waits for a place among an upstream's calls, by how they ended; nice calls yield to normal ones.",
    ),
    Instrument(
        Counter,
        "isthmus_rejected_total",
        "reason:rejected",
        "Requests refused before any upstream was called, by the kind of the error.",
    ),
    Instrument(Counter, "isthmus_stream_end_total", "provider reason:end", "Streams by how they ended."),
    Instrument(
        Counter,
        "isthmus_egress_denied_total",
        "reason:egress",
        "Upstreams that a caller named and may not be called.",
    ),
    Instrument(
        Counter,
        "isthmus_auth_failures_total",
        "reason:auth",
        "Callers that could not be verified, by the check that failed.",
    ),
    Instrument(
        Counter,
        "isthmus_stale_resends_total",
        "provider",
        "Calls sent once more on a fresh connection because a kept one had gone stale; no attempts of their own.",
    ),
    Instrument(
        Counter,
        "isthmus_store_errors_total",
        "op:store",
        "Failures of the chat store, by what was tried: open, check, read, write; and of the file in which spending is "
        "kept: state_read, state_lock (another process has it), state_write.",
    ),
    *(
        Instrument(Gauge, f"isthmus_budget_{coin}_{what}", "key", f"{words} {said}")
        for coin, words in (("usd", "US dollars"), ("credits", "Credits of upstreams"))
        for what, said in (
            ("limit", "that a key may spend in a period."),
            ("spent", "that it has spent in this one, estimates for what nobody counted included."),
        )
    ),
    Instrument(Counter, "isthmus_config_reload_total", "result", "Reloads of the route table: ok or error."),
    Instrument(
        Gauge,
        "isthmus_config_generation",
        "",
        "Which route table is in use: 1 at start, one more per reload.",
        together="least",
    ),
    Instrument(
        Gauge,
        "isthmus_config_last_reload_success",
        "",
        "1: the table in use is the file; 0: the file was refused.",
        together="least",
    ),
    Instrument(Gauge, "isthmus_workers", "", "Processes that serve."),
    Instrument(Counter, "isthmus_worker_restarts_total", "", "Processes that ended and were replaced."),
)

_ROWS = {row.name: row for row in INSTRUMENTS}


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
            "status": frozenset(_STATUS.values()),
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
            duration=self._http[record.route, _STATUS.get(record.status, OTHER), error],
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
        before: AttemptRecord | None = None
        for attempt in record.attempts:
            if before is not None and not attempt.hedge:
                self._retries[attempt.provider, before.error or ""].inc()
            before = attempt
        for reason in record.denied_retries:
            self._denied[before.provider if before else record.provider, reason].inc()

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


def field_label(path: str) -> str:
    """A loss's path as a label: `messages[3].name` counts as `messages`, what no dialect knows as `other`."""
    if path in FIELDS:
        return path
    plain = _INDEX.sub("", path[:256])
    if plain in FIELDS:
        return plain
    head = plain.partition(".")[0]
    return head if head in FIELDS else OTHER


async def watch_loop(metrics: Metrics, interval: float = 0.1, clock: Callable[[], float] | None = None) -> None:
    """Measures, until cancelled, how late the event loop's timers fire, and folds histograms. `interval`: seconds."""
    now = clock or asyncio.get_running_loop().time
    while True:
        before = now()
        await asyncio.sleep(interval)
        metrics.loop_lag(now() - before - interval)
        metrics.fold()
