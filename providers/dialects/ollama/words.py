"""What both halves of the dialect share: names, the table of options, and how a value is taken apart without a loss.

Facts: types and client of the package ollama 0.6.3, recorded calls. `id` of a call and `tool_call_id` of a result are
newer than that package: recent servers send them, older ones ignore them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from providers.canonical.chat import Finish, FinishReason

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "ollama.chat"
FAMILY = "ollama"
CONTENT_TYPE = "application/x-ndjson"

#: Task (the last step of the path) -> what OpenTelemetry calls it.
OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "generate": "chat",
    "embed": "embeddings",
    "embeddings": "embeddings",
}

#: Key of `options` -> canonical parameter, where the value is the same.
OPTIONS: Mapping[str, str] = {
    "num_predict": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop",
}

#: Canonical parameter -> where callers of this dialect write it, where that is another name.
PATHS: Mapping[str, str] = {name: f"options.{key}" for key, name in OPTIONS.items()} | {
    "response_format": "format",
    "reasoning": "think",
    "show_reasoning": "think",
    "inputs": "input",
    "messages[].tool_calls[].called": "messages[].tool_calls[].id",
    "messages[].answered": "messages[].tool_call_id",
    "messages[].named": "messages[].tool_name",
}

#: Counts and times (nanoseconds) in the last line of an answer.
COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)

_EMPTY: tuple[Json, ...] = (None, "", [], {}, False)


def leftovers(rest: Mapping[str, Json]) -> tuple[Object | None, Object | None]:
    """What was not understood: keys that say something (`extra`), and keys that only stand there (`form`)."""
    if not rest:
        return None, None
    keep = {key: value for key, value in rest.items() if type(value) not in (int, float) and value in _EMPTY}
    extra = {key: value for key, value in rest.items() if key not in keep}
    return extra or None, keep or None


def make_form(**spelled: Json) -> Object | None:
    """A `form` of the spellings that differ from the usual one."""
    form = {key: value for key, value in spelled.items() if value}
    return form or None


def form_of(value: Any) -> Mapping[str, Json]:
    return value.form or {}


# ── ids ────────────────────────────────────────────────────────────────────────────────

_ITS_OWN = re.compile(r"call_[a-z0-9]{8}")


def is_its_own(call_id: str) -> bool:
    """Does an id look like one that a recent server made? Only such ids go back to one."""
    return _ITS_OWN.fullmatch(call_id) is not None


def invented(created_at: Json, number: int, name: str, arguments: str) -> str:
    """An id for a call that came without one: the same for the same call of the same answer."""
    return f"call_{zlib.crc32(f'{created_at} {number} {name} {arguments}'.encode()):08x}{number:03d}"


# ── times ──────────────────────────────────────────────────────────────────────────────


def seconds_of(created_at: Json) -> int | None:
    """Unix seconds of `2026-08-07T06:08:09.335586Z`."""
    try:
        moment = datetime.fromisoformat(created_at)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


def timestamp(created: int | None) -> str:
    """The other way round; the epoch where nobody said, or where it is no time of this calendar."""
    try:
        moment = datetime.fromtimestamp(created or 0, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat().replace("+00:00", "Z")


# ── why it stopped ─────────────────────────────────────────────────────────────────────

_REASONS: Mapping[str, FinishReason] = {"": "stop", "stop": "stop", "length": "length"}


def finish_of(raw: Json, *, calls: bool) -> Finish:
    """What a done_reason means: it stays `stop` although tools are called."""
    word = raw if type(raw) is str else ""
    reason = _REASONS.get(word, "other")
    return Finish(reason="tool_calls" if reason == "stop" and calls else reason, raw=word or None)


def finish_word(finish: Finish | None, own: bool) -> tuple[str, bool]:
    """The done_reason to write, and whether it says the same."""
    if finish is None:
        return "stop", False
    if own and finish.raw is not None:
        return finish.raw, True
    same = finish.reason in ("stop", "length", "tool_calls") and not finish.failed
    return ("length" if finish.reason == "length" else "stop"), same
