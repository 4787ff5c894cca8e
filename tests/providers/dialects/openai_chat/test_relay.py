"""The tap of the relay lane: bytes go on untouched, faults do not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamError, UpstreamFailed
from providers.canonical.stream import fold
from providers.dialect import StreamRelay
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, ask, chunk, chunks_of, events, recorded, sse

TEXT = chunk({"content": "x"})
STOP = chunk({}, "stop")
BILL = {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
DONE = b"data: [DONE]\n\n"


def tap(usage: bool = True) -> StreamRelay:
    return CHAT.stream_relay(ask(stream=True, stream_options={"include_usage": usage}))


def passed(data: bytes, usage: bool = True, step: int = 0) -> bytes:
    relay = tap(usage)
    step = step or len(data) or 1
    return b"".join([*(relay.feed(data[i : i + step]) for i in range(0, len(data), step)), relay.close()])


@pytest.mark.parametrize("file", ALL)
def test_recorded_streams_pass_byte_for_byte(file: str) -> None:
    """In packets of any size, with the usage that a full reading finds; a forgotten end is added."""
    for case in recorded(file):
        if "response_sse" not in case or "error-in-stream" in case["features"]:
            continue
        data = case["response_sse"].encode()
        relay = tap()
        out = relay.feed(data) + relay.close()

        assert out in (data, data.rstrip() + b"\n\n", data + DONE), case["id"]
        assert out == passed(data, step=7)
        assert fold(events(data)).usage == relay.usage
        assert relay.started and relay.finished


def test_our_own_wish_for_usage_stays_ours() -> None:
    """The usage chunk goes only to a caller who asked; we read it in both cases."""
    data = sse(TEXT, STOP, BILL)

    assert data == passed(data)
    assert sse(TEXT, STOP) == passed(data, usage=False)
    relay = tap(usage=False)
    relay.feed(data)
    assert relay.usage is not None
    assert 3 == relay.usage.total_tokens


def test_usage_beside_an_answer_passes() -> None:
    """Only a chunk that holds nothing else is taken out."""
    data = sse(TEXT, chunk({}, "stop", usage=BILL["usage"]))

    assert data == passed(data, usage=False)


def test_comments_pass() -> None:
    """They keep the connection alive; they do not start an answer."""
    relay = tap()

    assert b": ping\n\n" == relay.feed(b": ping\n\n")
    assert not relay.started


def test_a_forgotten_end_is_added() -> None:
    """After a finish_reason; also where the last event lacks its empty line."""
    data = sse(TEXT, STOP, done=False)

    assert data + DONE == passed(data) == passed(data.rstrip())


def test_nothing_after_the_end() -> None:
    """What follows `[DONE]` is not passed on."""
    data = sse(TEXT, STOP)

    assert data == passed(data + sse(TEXT)) == passed(data + sse(TEXT), step=1)


@pytest.mark.parametrize("bad", [b"{", b"[]", b"1", b'{"choices":1}', b'{"choices":[],"x":"\xff"}', b"[" * 100_000])
def test_an_event_that_cannot_be_read_is_not_passed(bad: bytes) -> None:
    """What came before goes out, then the fault is raised."""
    relay = tap()
    before = sse(TEXT, done=False)

    assert before == relay.feed(sse(TEXT, bad, TEXT, done=False))
    assert relay.finished
    with pytest.raises(BadUpstreamBytes):
        relay.close()


def test_an_error_event_is_raised() -> None:
    """So that it is written once, in our own form, and without an end mark."""
    relay = tap()
    relay.feed(sse(TEXT, done=False))
    with pytest.raises(UpstreamFailed) as caught:
        relay.feed(sse({"error": {"message": "boom"}}, done=False))

    written = chunks_of(relay.error(caught.value))
    assert [("boom", "upstream_5xx")] == [(one["error"]["message"], one["error"]["code"]) for one in written]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (sse(TEXT, done=False), StreamTruncated),
        (sse(TEXT), StreamTruncated),
        (sse(TEXT, done=False) + b'data: {"cho', StreamTruncated),
        (b"", BadUpstreamBytes),
        (DONE, BadUpstreamBytes),
        (b"<html>\n\n", BadUpstreamBytes),
        (b'{"error":{"message":"x"}}', UpstreamFailed),
    ],
)
def test_streams_without_an_end(data: bytes, fault: type[RouterError]) -> None:
    """Cut off, empty, or no stream at all."""
    for step in (0, 1):
        with pytest.raises(fault):
            passed(data, step=step)


_VALUES = st.recursive(
    st.none() | st.text(max_size=2) | st.integers(-1, 2),
    lambda x: (
        st.lists(x, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "index", "finish_reason", "usage", "error", "x_groq"]), x
        )
    ),
    max_leaves=10,
)


@given(st.lists(_VALUES, max_size=3))
def test_any_json_passes_or_is_refused(chunks: list[Any]) -> None:
    """Whatever an upstream sends, what goes out is a prefix of it, or it is one of our errors."""
    data = sse(*chunks, STOP)
    with suppress(BadUpstreamBytes, StreamTruncated, UpstreamError):
        assert data == passed(data)


def test_half_an_emoji_passes() -> None:
    """A lone surrogate, escaped, is JSON text all the same."""
    data = sse(b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}')

    assert data == passed(data)
