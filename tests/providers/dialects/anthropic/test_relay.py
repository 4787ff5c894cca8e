"""Streams of the relay lane: passed on byte for byte, and read on the way."""

from __future__ import annotations

import pytest

from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamFailed
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    HI,
    asked,
    begun,
    ended,
    recorded,
    spoken_text,
    sse,
)

STREAM = [begun(), {"type": "ping"}, *spoken_text("Hel", "lö"), *ended(input_tokens=61)]
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def relayed(data: bytes, step: int = 0) -> bytes:
    relay = ANTHROPIC.stream_relay(asked({**HI, "stream": True}))
    size = step or len(data) or 1
    out = b"".join(relay.feed(data[at : at + size]) for at in range(0, len(data), size))
    return out + relay.close()


@pytest.mark.parametrize("step", [0, 1, 7])
def test_bytes_go_through_untouched(step: int) -> None:
    """Whatever the cuts, pings and white space included."""
    data = sse(*STREAM).replace(b'"ping"}', b'"ping"   }')

    assert data == relayed(data, step)
    assert data.replace(b"\n", b"\r\n") == relayed(data.replace(b"\n", b"\r\n"), step)


def test_recorded_streams_go_through_untouched() -> None:
    """All of them that are one message; of several put into one file the first."""
    seen = 0
    for case in recorded():
        if case["status"] == 200 and "response_sse" in case:
            data = case["response_sse"].encode()
            out = relayed(data, 13)
            seen += 1

            assert (data.startswith(out) and out.endswith(b'{"type":"message_stop"}\n\n')) or b"message_stop" in out
            assert data == out or data.count(b"event: message_stop") > 1
    assert 60 < seen


def test_what_is_learnt_on_the_way() -> None:
    """When it starts to say something, when it has ended, what it cost: the last word on every count."""
    relay = ANTHROPIC.stream_relay(asked({**HI, "stream": True}))
    relay.feed(sse(*STREAM[:2]))
    assert (False, False) == (relay.started, relay.finished)
    assert relay.usage is not None and relay.usage.input_tokens == 9
    relay.feed(sse(STREAM[2]))  # a block begins, still empty
    assert not relay.started
    relay.feed(sse(STREAM[3]))
    assert relay.started
    relay.feed(sse(*STREAM[4:]))

    assert relay.finished
    assert (61, 3) == (relay.usage.input_tokens, relay.usage.output_tokens)
    assert (b"", b"") == (relay.feed(b"more"), relay.close())


def test_an_end_mark_that_is_missing_is_added() -> None:
    """After a stop_reason nothing is missing but the mark; the last empty line may be, too."""
    data, unmarked = sse(*STREAM), sse(*STREAM[:-1])
    marked = unmarked + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    assert data == relayed(data[:-1])
    assert marked == relayed(unmarked) == relayed(unmarked[:-1])


@pytest.mark.parametrize("keep", [1, 3, 5])
def test_a_stream_that_just_ends_is_truncated(keep: int) -> None:
    """Also inside an event, which is not given out."""
    with pytest.raises(StreamTruncated):
        relayed(sse(*STREAM[:keep]))
    with pytest.raises(StreamTruncated):
        relayed(sse(*STREAM[:keep]) + b'event: ping\ndata: {"type":')


def test_a_mark_without_a_reason_is_no_end() -> None:
    """Nobody said that all was said."""
    with pytest.raises(StreamTruncated):
        relayed(sse(begun(), {"type": "message_stop"}))


def test_an_error_is_raised_after_what_came_before_it() -> None:
    """And is not given out as it is: our own follows in its place."""
    relay = ANTHROPIC.stream_relay(asked({**HI, "stream": True}))
    out = relay.feed(sse(*STREAM[:4], ERROR))

    assert sse(*STREAM[:4]) == out
    with pytest.raises(UpstreamFailed) as caught:
        relay.close()
    assert relay.error(caught.value).startswith(b"event: error\ndata: {")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', UpstreamFailed),
        (b'{"error":{"message":"x"}}\n\n', UpstreamFailed),
        (b"<html>busy</html>\n\n", BadUpstreamBytes),
        (b"", BadUpstreamBytes),
        (b": ping\n\n", BadUpstreamBytes),
        (b"data: nonsense\n\n", BadUpstreamBytes),
        (b"data: [1]\n\n", BadUpstreamBytes),
        (b'data: {"type": 7}\n\n', BadUpstreamBytes),
        (sse(ERROR), UpstreamFailed),
    ],
)
def test_what_is_no_stream_is_not_passed_on(data: bytes, expected: type[RouterError]) -> None:
    """An error as plain JSON, a page, nothing, nonsense."""
    with pytest.raises(expected):
        relayed(data)


def test_half_a_character_does_not_stop_a_stream() -> None:
    """A lone surrogate is the upstream's own; clients read it."""
    data = sse(*STREAM).replace(b'"Hel"', b'"\\ud83d"')

    assert data == relayed(data)
