"""Reasons, counts, citations, log probabilities."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Citation, TokenLogprob
from providers.dialects.cohere.words import finish_of, read_citations, read_logprobs, read_usage


@pytest.mark.parametrize(
    ("raw", "calls", "reason"),
    [
        ("COMPLETE", False, "stop"),
        ("COMPLETE", True, "tool_calls"),
        ("STOP_SEQUENCE", False, "stop"),
        ("MAX_TOKENS", True, "length"),
        ("TOOL_CALL", True, "tool_calls"),
        ("ERROR", False, "error"),
        ("TIMEOUT", False, "error"),
        ("ERROR_TOXIC", False, "content_filter"),
        ("NOVEL", False, "other"),
        (None, False, "stop"),
    ],
)
def test_reasons(raw: Any, calls: bool, reason: str) -> None:
    """The word itself is kept."""
    found = finish_of(raw, calls=calls)

    assert (reason, raw) == (found.reason, found.raw)


@pytest.mark.parametrize(
    ("raw", "counts"),
    [
        ({"tokens": {"input_tokens": 10.0, "output_tokens": 20.0}, "billed_units": {"input_tokens": 1}}, (10, 20, 30)),
        ({"billed_units": {"input_tokens": 1, "output_tokens": 2}}, (1, 2, 3)),
        ({"tokens": {"input_tokens": 10}}, (10, None, None)),
        ({"tokens": None, "billed_units": 5}, (None, None, None)),
    ],
)
def test_counts(raw: Any, counts: tuple[int | None, ...]) -> None:
    """What the model saw, else what is billed; floats are whole numbers."""
    usage = read_usage(raw)

    assert counts == (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    assert raw == usage.raw


def test_parts_of_counts() -> None:
    """Cached and thinking tokens."""
    usage = read_usage({"tokens": {"input_tokens": 9, "output_tokens": 8, "reasoning_tokens": 3}, "cached_tokens": 4.0})

    assert (4, 3) == (usage.cache_read_tokens, usage.reasoning_tokens)


def test_citations() -> None:
    """One for each source; of a document its address and title, of a tool nothing that only looks like one."""
    document = {"type": "document", "id": "d", "document": {"title": "T", "url": "https://a.example", "text": "…"}}
    tool = {"type": "tool", "id": "t:0", "tool_output": {"url": "https://b.example"}}
    raw = {"start": 1, "end": 4, "text": "abc", "sources": [document, tool], "type": "TEXT_CONTENT", "content_index": 0}
    said = {"text": "abc", "type": "TEXT_CONTENT"}

    assert [
        Citation(url="https://a.example", title="T", start=1, end=4, extra={**said, "source": document}),
        Citation(start=1, end=4, extra={**said, "source": tool}),
    ] == read_citations(raw)
    assert [Citation(start=0)] == read_citations({"start": 0, "sources": None})


def test_log_probabilities() -> None:
    """A piece of text stands with the first of its tokens."""
    found = read_logprobs([{"text": "Hi", "token_ids": [1, 2], "logprobs": [-0.5, -1.0]}, {"token_ids": [3]}])

    assert found.content == (TokenLogprob(token="Hi", logprob=-0.5, id=1), TokenLogprob(token="", logprob=-1.0, id=2))
