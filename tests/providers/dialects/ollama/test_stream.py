"""Streams read: the same events for any split, and every way in which a stream may end."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Logprobs, Media, Reasoning, Text, TokenLogprob, ToolCall
from providers.canonical.errors import BadUpstreamBytes, StreamTruncated, UpstreamFailed
from providers.canonical.stream import StreamEvent, TextDelta, fold
from tests.providers.dialects.ollama.speak import OLLAMA, PIXEL, answered, events, line, lines_of, ndjson, recorded

CALL = {"function": {"name": "f", "arguments": {"city": "Zürich\u2028"}}}
STREAM = ndjson(
    line(thinking="hm 👨‍👩‍👧"),
    line('a\u2028b\n\n"é"'),
    line("\u0085\r"),
    line(tool_calls=[CALL, CALL]),
    line(done="stop"),
)


def test_recorded_streams_add_up() -> None:
    """The events say what a naive reading of the lines says, whatever the size of the packets."""
    count = 0
    for _, case in recorded():
        if "response_ndjson" not in case:
            continue
        count += 1
        data = case["response_ndjson"].encode()
        lines = lines_of(data)
        expected = "".join(one.get("response", "") + one.get("message", {}).get("content", "") for one in lines)
        found = events(data)
        response = fold(found)

        assert [expected] == [part.text for part in response.choices[0].parts if isinstance(part, Text)], case["id"]
        assert lines[-1]["eval_count"] == (response.usage.output_tokens if response.usage else None)
        assert found == events(data, 1) == events(data, 3) == events(data, 7)
    assert count >= 2


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_any_split_gives_the_same_events(cuts: list[int], line_end: bytes) -> None:
    """Wherever packets are cut, inside a character or a line's end."""
    data = STREAM.replace(b"}\n", b"}" + line_end)
    decoder = OLLAMA.stream_decoder()
    found: list[StreamEvent] = []
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        found += decoder.feed(data[start:end])
    found += decoder.close()

    assert events(STREAM) == found
    assert 'a\u2028b\n\n"é"' in [event.text for event in found if isinstance(event, TextDelta)]


def test_what_a_stream_says() -> None:
    """Thinking, text, calls whole and each with an id of its own, in order."""
    choice = fold(events(STREAM)).choices[0]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]

    assert [Reasoning, Text, ToolCall, ToolCall] == [type(part) for part in choice.parts]
    assert '{"city": "Zürich\u2028"}' == calls[0].arguments
    assert calls[0].id != calls[1].id
    assert choice.finish and "tool_calls" == choice.finish.reason


def test_a_stream_says_what_the_whole_answer_says() -> None:
    """Whole or in pieces: the same parts, counts and reason."""
    whole = OLLAMA.decode_response(answered(line("Hello", done="length", thinking="hm", tool_calls=[CALL])))
    pieces = ndjson(line(thinking="hm"), line("Hel"), line("lo"), line(tool_calls=[CALL]), line(done="length"))
    streamed = fold(events(pieces))

    def meant(response: Any) -> Any:
        parts = [
            json.loads(part.arguments) if isinstance(part, ToolCall) else (type(part), part.text)
            for part in response.choices[0].parts
        ]
        return parts, response.choices[0].finish, response.usage, response.created, response.model

    assert meant(whole) == meant(streamed)


def test_a_line_without_its_end_is_read() -> None:
    """Some servers leave the last one out; nothing behind the last line is."""
    data = ndjson(line("Hi"), line(done="stop"))

    assert events(data) == events(data.rstrip(b"\n")) == events(data + b"garbage\n")


def test_odd_lines() -> None:
    """Blank lines pass; text and done in one line, pictures and log probabilities are read."""
    raw = [{"token": "Hi", "logprob": -1.0}]
    last = {**line("Hi", done="stop", images=[PIXEL]), "logprobs": raw, "context": [1]}
    response = fold(events(b"\n \r\n" + ndjson(last)))

    assert [Text, Media] == [type(part) for part in response.choices[0].parts]
    assert Logprobs(content=(TokenLogprob(token="Hi", logprob=-1.0),)) == response.choices[0].logprobs
    assert response.extra and [1] == response.extra["context"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadUpstreamBytes),
        (b"\n", BadUpstreamBytes),
        (b"<html>\n", BadUpstreamBytes),
        (b"[1]\n", BadUpstreamBytes),
        (b'{"message": 5, "done": true}\n', BadUpstreamBytes),
        (b'{"message": {"role": "a", "content": "", "tool_calls": [5]}}\n', BadUpstreamBytes),
        (ndjson(line("Hi")), StreamTruncated),
        (ndjson(line("Hi")) + b'{"model": "m", "mess', StreamTruncated),
        (ndjson({"error": "it broke"}), UpstreamFailed),
        (ndjson(line("Hi"), {"error": "it broke"}), UpstreamFailed),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_streams_that_fail(data: bytes, error: type[Exception], step: int) -> None:
    """Cut short, not this language, or an error in a line of its own."""
    with pytest.raises(error):
        events(data, step)


def test_what_came_before_a_fault_is_given_out_first() -> None:
    """Then the fault, as often as somebody asks."""
    decoder = OLLAMA.stream_decoder()
    found = decoder.feed(ndjson(line("Hi"), {"error": "it broke"}))

    assert "Hi" in [event.text for event in found if isinstance(event, TextDelta)]
    assert decoder.finished
    for again in (lambda: decoder.feed(b"x"), decoder.close):
        with pytest.raises(UpstreamFailed):
            again()


def test_a_line_has_a_limit() -> None:
    """Memory is bounded, also while no line ends."""
    decoder = OLLAMA.stream_decoder(limit=100)

    with pytest.raises(BadUpstreamBytes):
        for _ in range(20):
            decoder.feed(b'{"message": ')


@pytest.mark.parametrize("message", [{"content": 6}, {"content": [""]}, {"thinking": 5}])
def test_texts_are_texts(message: Any) -> None:
    """Anything else in their place is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        events(ndjson({"model": "m", "message": message, "done": False}, line(done="stop")))
