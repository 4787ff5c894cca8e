"""The tap of the relay lane: the same bytes, and what must be known of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes, StreamTruncated, UpstreamBusy, UpstreamError, UpstreamFailed
from providers.dialect import StreamRelay
from tests.providers.dialects.openai_responses.speak import (
    RESPONSES,
    ask,
    event,
    events_of,
    message,
    recorded,
    response,
    sse,
)

CREATED = event("response.created", sequence_number=0, response=response(status="in_progress"))
DELTA = event("response.output_text.delta", sequence_number=1, output_index=0, content_index=0, delta="é\u2028")
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
COMPLETED = event("response.completed", sequence_number=2, response=response(message("é"), usage=USAGE))
STREAM = sse(CREATED, DELTA, COMPLETED)
FAILED = event(
    "response.failed", response=response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"})
)


def tap(**fields: Any) -> StreamRelay:
    return RESPONSES.stream_relay(ask(**fields))


def test_recorded_streams_pass_byte_for_byte() -> None:
    """Whatever stands in them up to their end (one file holds several); usage is read on the way."""
    count = 0
    for case in recorded():
        data = (case.get("response_sse") or "").encode()
        if case["status"] != 200 or not data:
            continue
        relay = tap()
        out = relay.feed(data) + relay.close()
        count += 1

        assert data.startswith(out.rstrip()), case["id"]
        assert data[len(out) :].strip()[:23] in (b"", b"event: response.created"), case["id"]
        assert relay.usage is not None, case["id"]
        assert relay.finished
    assert count >= 70


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_any_split_gives_the_same_bytes(cuts: list[int]) -> None:
    """Event by event, however packets are cut."""
    relay = tap()
    edges = [0, *sorted(cuts), len(STREAM)]
    out = b"".join(relay.feed(STREAM[start:end]) for start, end in pairwise(edges))

    assert STREAM == out + relay.close()


def test_when_it_has_begun() -> None:
    """With the first event that says something: until then it can be tried elsewhere."""
    relay = tap()
    relay.feed(sse(CREATED, event("response.in_progress", response={})))
    before = relay.started
    relay.feed(sse(DELTA))

    assert (False, True) == (before, relay.started)


def test_in_the_background_it_begins_at_once() -> None:
    """The caller may have the rest later."""
    relay = tap(background=True)
    relay.feed(sse(CREATED))

    assert relay.started


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (FAILED, UpstreamBusy),
        (event("error", error={"message": "no"}), UpstreamFailed),
        (event("error", message="no", code=None), UpstreamFailed),
    ],
)
def test_errors_are_raised(last: Any, kind: type[UpstreamError]) -> None:
    """What came before has been given out."""
    relay = tap()

    assert sse(DELTA) == relay.feed(sse(DELTA, last))
    assert relay.finished
    for again in (relay.feed, lambda _: relay.close()):
        with pytest.raises(kind):
            again(b"")


def test_an_error_is_the_next_event() -> None:
    """In the stream's own form, and counted on."""
    relay = tap()
    out = relay.feed(sse(CREATED, DELTA)) + relay.error(StreamTruncated("it just ended"))
    *_, error = events_of(out)

    assert (2, "it just ended") == (error["sequence_number"], error["error"]["message"])


@pytest.mark.parametrize("data", [STREAM[:-3], sse(CREATED, DELTA), sse(DELTA) + b"data: {"])
def test_a_stream_that_just_ends_is_truncated(data: bytes) -> None:
    """But for the last empty line."""
    relay = tap()
    relay.feed(data)
    with pytest.raises(StreamTruncated):
        relay.close()


def test_a_last_event_without_its_empty_line() -> None:
    """Is one, and gets it."""
    relay = tap()

    assert STREAM == relay.feed(STREAM[:-1]) + relay.close()


@pytest.mark.parametrize(
    "data", [b"<html>\n\n", b"data: {\n\n", b"data: []\n\n", b'data: {"type":"x","response":1}\n\n', b""]
)
def test_what_is_no_stream(data: bytes) -> None:
    """Is not passed on."""
    relay = tap()
    with pytest.raises(BadUpstreamBytes):
        relay.feed(data)
        relay.close()


def test_a_body_instead_of_a_stream() -> None:
    """A JSON error under the stream's content type."""
    for end in (b"", b"\n\n"):
        relay = tap()
        with pytest.raises(UpstreamBusy):
            relay.feed(b'{"error":{"message":"slow","code":429}}' + end)
            relay.close()


def test_comments_and_half_an_emoji_pass() -> None:
    """What comes after the end, as the end mark of chats, is not read, in the same packet or in the next."""
    data = b": ping\n\n" + b'data: {"type":"x","delta":"\\ud83d"}\n\n' + sse(COMPLETED)
    relay = tap()

    assert data == relay.feed(data + b"data: [DONE]\n\n") + relay.close()


def test_nothing_comes_after_the_end() -> None:
    """Also not what stood in the same packet."""
    relay = tap()
    given = relay.feed(sse(CREATED, COMPLETED, DELTA))

    assert sse(CREATED, COMPLETED) == given and relay.finished
    assert b"" == relay.feed(sse(DELTA)) + relay.close()
