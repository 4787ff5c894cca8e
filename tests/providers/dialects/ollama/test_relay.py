"""The tap of the relay lane: the same bytes, line by line, and what must be known of them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes, StreamTruncated, UpstreamBusy, UpstreamFailed
from tests.providers.dialects.ollama.speak import OLLAMA, ask, line, ndjson, recorded

STREAM = ndjson(line("Hé\u2028"), line("llo"), line(done="stop"))


def through(data: bytes, cuts: list[int]) -> bytes:
    relay = OLLAMA.stream_relay(ask())
    out = b"".join(relay.feed(data[start:end]) for start, end in pairwise([0, *sorted(cuts), len(data)]))
    out += relay.close()

    assert relay.finished and relay.started
    assert relay.usage is not None
    return out


def test_recorded_streams_pass_untouched() -> None:
    """Every byte, whatever the size of the packets."""
    for _, case in recorded():
        if "response_ndjson" in case:
            data = case["response_ndjson"].encode()

            assert data == through(data, []) == through(data, list(range(len(data))))


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_any_split_passes_untouched(cuts: list[int]) -> None:
    """Inside characters and lines."""
    assert STREAM == through(STREAM, cuts)


def test_what_is_known() -> None:
    """When it began, the counts, and the type of the stream."""
    relay = OLLAMA.stream_relay(ask())
    first, rest = STREAM.split(b"\n", 1)

    assert (b"", False) == (relay.feed(first), relay.started)
    assert (STREAM, True) == (relay.feed(b"\n" + rest), relay.started)
    assert relay.usage and (26, 8) == (relay.usage.input_tokens, relay.usage.output_tokens)
    assert "application/x-ndjson" == relay.content_type
    assert b"" == relay.feed(b"more") == relay.close()


def test_nothing_is_not_the_end() -> None:
    """`done` may be null."""
    data = ndjson({**line("Hi"), "done": None}, line(done="stop"))

    assert data == through(data, [])


def test_a_last_line_without_its_end_gets_one() -> None:
    """Readers wait for it."""
    assert STREAM == through(STREAM[:-1], [])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadUpstreamBytes),
        (b"<html>\n", BadUpstreamBytes),
        (b'{"done": "yes"}\n', BadUpstreamBytes),
        (b"[]\n", BadUpstreamBytes),
        (ndjson(line("Hi")), StreamTruncated),
        (ndjson(line("Hi")) + b'{"mo', StreamTruncated),
        (b'{"message": {"content": "\xff"}}\n', BadUpstreamBytes),
        (ndjson({"error": "it broke"}), UpstreamFailed),
        (ndjson(line("Hi")) + b'{"error": "it broke"}', UpstreamFailed),
    ],
)
def test_streams_that_fail(data: bytes, error: type[Exception]) -> None:
    """As they do when they are translated."""
    relay = OLLAMA.stream_relay(ask())

    with pytest.raises(error):
        relay.feed(data)
        relay.close()


def test_what_came_before_a_fault_goes_first() -> None:
    """And the fault is told again by whatever is called next."""
    relay = OLLAMA.stream_relay(ask())
    before = ndjson(line("Hi"))

    assert before == relay.feed(before + ndjson({"error": "it broke"}, line("no")))
    for again in (lambda: relay.feed(b"x"), relay.close):
        with pytest.raises(UpstreamFailed):
            again()


def test_a_split_emoji_passes() -> None:
    """Half a surrogate in a text is no reason to stop."""
    odd = b'{"message": {"role": "assistant", "content": "\\ud83d"}, "done": false}\n'

    assert odd + STREAM == through(odd + STREAM, [])


def test_an_error_of_ours() -> None:
    """A line as the dialect has it."""
    out = OLLAMA.stream_relay(ask()).error(UpstreamBusy("later", upstream_status=429))

    assert {"error": "later", "code": "rate_limit_exceeded"} == json.loads(out)
