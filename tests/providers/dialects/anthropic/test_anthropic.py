"""The dialect as a whole: what it is called, what it can be asked, counts."""

from __future__ import annotations

import json
import time

import pytest

from providers.canonical.chat import TokenCount
from providers.canonical.stream import TextDelta
from tests.corpus import schema
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    begun,
    ended,
    events,
    request,
    spoken_text,
    sse,
    written,
)


def test_what_it_is() -> None:
    """Name, family, the way to sign, and the headers of its own."""
    assert ("anthropic.messages", "anthropic", "anthropic_key") == (ANTHROPIC.name, ANTHROPIC.family, ANTHROPIC.auth)
    assert {"anthropic-version", "anthropic-beta"} == ANTHROPIC.passes
    assert {"chat", "count_tokens"} == ANTHROPIC.operations


@pytest.mark.parametrize(("task", "operation"), [("messages", "chat"), ("count_tokens", "count_tokens")])
def test_operations(task: str, operation: str) -> None:
    """As OpenTelemetry names them."""
    assert operation == ANTHROPIC.operation(task)


def test_a_count() -> None:
    """One number."""
    body = json.loads(ANTHROPIC.encode_count(TokenCount(total_tokens=12)).body)

    assert {"input_tokens": 12} == body
    schema("anthropic.messages.response", "MessageTokensCount").validate(body)


def test_a_stream_through_both_halves() -> None:
    """Written as it was read."""
    data = sse(begun(), *spoken_text("Hel", "lo"), *ended())

    assert events(data) == events(written(events(data)))


def test_text_is_cheap() -> None:
    """A piece of text costs microseconds: the ceiling is generous, for the machine may be busy."""
    pieces = [begun(), *spoken_text(*["word "] * 2000), *ended()]
    data = sse(*pieces)
    found = events(data)
    encoder = ANTHROPIC.stream_encoder(request(stream=True), [])
    texts = [event for event in found if isinstance(event, TextDelta)]
    started = time.perf_counter()
    events(data)
    read = time.perf_counter()
    for event in found:
        encoder.feed(event)
    wrote = time.perf_counter()

    assert 2000 == len(texts)
    assert (read - started) / 2000 < 100e-6
    assert (wrote - read) / 2000 < 50e-6
