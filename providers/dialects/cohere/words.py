"""Names and words of Cohere's language.

Facts: types and client of the package cohere 7.3.1, recorded calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from providers.canonical.chat import Citation, Finish, FinishReason, Logprobs, TokenLogprob, Usage
from providers.wire.json import as_count, as_number, as_text

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "cohere.chat"
FAMILY = "cohere"

_REASONS: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR": "error",
    "ERROR_LIMIT": "error",
    "TIMEOUT": "error",
    "USER_CANCEL": "error",
}


def finish_of(raw: Json, *, calls: bool) -> Finish:
    """What a finish_reason means."""
    word = raw if type(raw) is str else ""
    reason: FinishReason = _REASONS.get(word, "other" if word else "stop")
    return Finish(reason="tool_calls" if reason == "stop" and calls else reason, raw=word or None)


def read_usage(raw: Object) -> Usage:
    """Token counts, which come as floats in some answers. `tokens` is what the model saw, `billed_units` the bill."""
    seen = raw.get("tokens")
    tokens: Object = seen if type(seen) is dict and seen else {}
    billed = raw.get("billed_units")
    counts: Object = tokens or (billed if type(billed) is dict else {})
    asked, answered = _count(counts, "input_tokens"), _count(counts, "output_tokens")
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=asked + answered if asked is not None and answered is not None else None,
        cache_read_tokens=_count(raw, "cached_tokens"),
        reasoning_tokens=_count(tokens, "reasoning_tokens"),
        raw=raw,
    )


def _count(raw: Object, key: str) -> int | None:
    return as_count(raw.get(key))


def read_citations(raw: Object) -> list[Citation]:
    """One citation, as one per source: each source has its own address."""
    start, end = raw.get("start"), raw.get("end")
    sources = raw.get("sources")
    found = [source for source in sources if type(source) is dict] if type(sources) is list else []
    rest = {key: value for key, value in raw.items() if key not in ("start", "end", "sources", "content_index")}
    return [
        Citation(
            url=_said(source, "url"),
            title=_said(source, "title"),
            start=start if type(start) is int else None,
            end=end if type(end) is int else None,
            extra={**rest, "source": source} if source else rest or None,
        )
        for source in found or [{}]
    ]


def _said(source: Object, key: str) -> str | None:
    """A field of the document that a source is. What stands in a tool's output is the tool's own business."""
    inner = source.get("document")
    value = inner.get(key) if type(inner) is dict else None
    return value if type(value) is str and value else None


def read_logprobs(items: list[Object]) -> Logprobs:
    """Cohere gives a piece of text with the ids of its tokens: the text stands with the first of them."""
    tokens: list[TokenLogprob] = []
    for item in items:
        for i, (identifier, logprob) in enumerate(zip(item["token_ids"], item.get("logprobs") or ())):
            piece = "" if i else as_text(item.get("text") or "")
            tokens.append(TokenLogprob(token=piece, logprob=as_number(logprob), id=identifier))
    return Logprobs(content=tuple(tokens))
