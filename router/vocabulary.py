"""What is measured: every instrument by its name, labels and help, and the words that a label may say.

Names and labels are a promise to dashboards. `gen_ai_*` and `http_*` follow the OpenTelemetry conventions
(semantic-conventions-genai 004902b8, HTTP metrics), with `.` written as `_` and the unit as suffix.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Literal, NamedTuple

from providers.canonical import errors
from router.instruments import OTHER, Counter, Gauge, Histogram
from router.record import OUTPACED, Outcome

NONE = "none"

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

STATUS = {status.value: str(status.value) for status in HTTPStatus} | {499: "499", 529: "529", 0: NONE}

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
        "isthmus_cache_requests_total",
        "route result:cached",
        "Calls on routes that keep answers: hit (nobody was asked for it), miss, or bypass (it was not looked up).",
    ),
    Instrument(Gauge, "isthmus_cache_bytes", "", "Memory that answers take which are kept for the same question."),
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


def field_label(path: str) -> str:
    """A loss's path as a label: `messages[3].name` counts as `messages`, what no dialect knows as `other`."""
    if path in FIELDS:
        return path
    plain = _INDEX.sub("", path[:256])
    if plain in FIELDS:
        return plain
    head = plain.partition(".")[0]
    return head if head in FIELDS else OTHER
