"""Streams, read: the same events for any split, and every way in which a stream may end."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Logprobs, Reasoning, Text, TokenLogprob, ToolCall
from providers.canonical.errors import BadUpstreamBytes, ContextTooLong, StreamTruncated, UpstreamFailed
from providers.canonical.stream import StreamEvent, TextDelta, fold
from tests.providers.dialects.cohere.speak import (
    COHERE,
    START,
    answered,
    end,
    event,
    events,
    recorded,
    sse,
    text_event,
)


def call_events(index: int, *pieces: str) -> list[Any]:
    function = {"name": "f", "arguments": ""}
    return [
        event("tool-call-start", index=index, message={"tool_calls": {"id": f"c{index}", "function": function}}),
        *(
            event("tool-call-delta", index=index, message={"tool_calls": {"function": {"arguments": piece}}})
            for piece in pieces
        ),
        event("tool-call-end", index=index),
    ]


def citation(start: int, finish: int, **more: Any) -> dict[str, Any]:
    source = {"type": "document", "id": "d", "document": {"url": "https://a"}}
    cited = {"start": start, "end": finish, "text": "x", "sources": [source], "type": "TEXT_CONTENT", **more}
    return event("citation-start", index=0, message={"citations": cited})


STREAM = sse(
    START,
    event("content-start", index=0, message={"content": {"type": "thinking", "thinking": ""}}),
    event("content-delta", index=0, message={"content": {"thinking": "hm 👨‍👩‍👧"}}),
    event("content-end", index=0),
    event("content-start", index=1, message={"content": {"type": "text", "text": ""}}),
    text_event('a\u2028b\n\n"é"', 1),
    citation(0, 1, content_index=1),
    event("citation-end", index=0),
    text_event("c", 1),
    event("content-end", index=1),
    *call_events(0, '{"a":', "1}"),
    *call_events(1),
    end("TOOL_CALL"),
    b"data: [DONE]\n\n",
)


def naive(data: str) -> dict[str, str]:
    """A recorded stream joined in the simplest way."""
    found = {"text": "", "thinking": "", "tool_plan": "", "arguments": "", "finish": ""}
    for line in data.split("\n"):
        if not line.startswith("data: {"):
            continue
        delta = json.loads(line[6:]).get("delta") or {}
        message = delta.get("message") or {}
        content = message.get("content") or {}
        for key in ("text", "thinking"):
            found[key] += content.get(key, "") if isinstance(content, dict) else ""
        found["tool_plan"] += message.get("tool_plan", "")
        calls = message.get("tool_calls") or {}
        found["arguments"] += calls["function"]["arguments"] if isinstance(calls, dict) and calls else ""
        found["finish"] = delta.get("finish_reason") or found["finish"]
    return found


def test_recorded_streams_add_up() -> None:
    """The events say what a naive reading says, whatever the size of the packets."""
    count = 0
    for case in recorded():
        if "response_sse" not in case:
            continue
        count += 1
        data = case["response_sse"].encode()
        found = events(data)
        [choice] = fold(found).choices
        expected = naive(case["response_sse"])

        assert expected["text"] == "".join(p.text for p in choice.parts if isinstance(p, Text)), case["id"]
        thoughts = "".join(p.text for p in choice.parts if isinstance(p, Reasoning))
        assert expected["tool_plan"] + expected["thinking"] == thoughts
        calls = "".join(p.arguments for p in choice.parts if isinstance(p, ToolCall))
        assert (expected["arguments"] or calls) == calls
        assert choice.finish and expected["finish"] == choice.finish.raw
        assert found == events(data, 1) == events(data, 3)
    assert count >= 8


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_gives_the_same_events(cuts: list[int], line_end: bytes) -> None:
    """Wherever packets are cut, and whatever lines end in."""
    data = STREAM.replace(b"\n", line_end)
    decoder = COHERE.stream_decoder()
    found: list[StreamEvent] = []
    for start, finish in pairwise([0, *sorted(cuts), len(data)]):
        found += decoder.feed(data[start:finish])
    found += decoder.close()

    assert events(STREAM) == found
    assert 'a\u2028b\n\n"é"' in [one.text for one in found if isinstance(one, TextDelta)]


def test_a_stream_says_what_the_whole_answer_says() -> None:
    """Parts, citations, counts and reason."""
    source = {"type": "document", "id": "d", "document": {"url": "https://a"}}
    cited = {"start": 0, "end": 1, "text": "x", "sources": [source], "type": "TEXT_CONTENT", "content_index": 1}
    calls = [
        {"id": "c0", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c1", "function": {"name": "f", "arguments": ""}},
    ]
    content = [{"type": "thinking", "thinking": "hm 👨‍👩‍👧"}, {"type": "text", "text": 'a\u2028b\n\n"é"c'}]
    message = {"content": content, "tool_calls": calls, "citations": [cited]}
    whole = COHERE.decode_response(
        answered({"id": "r1", "finish_reason": "TOOL_CALL", "message": message, "usage": end()["delta"]["usage"]})
    )

    assert whole == fold(events(STREAM))


@pytest.mark.parametrize(
    "dress",
    [
        lambda data: data.replace(b"data: [DONE]\n\n", b""),
        lambda data: data.replace(b"data: [DONE]\n\n", b"").rstrip(b"\n"),
        lambda data: b": ping\n\n" + data.replace(b"event: ", b"id: 1\nevent: "),
        lambda data: re.sub(rb"event: [^\n]*\n", b"", data),
        lambda data: data.replace(b"data: [DONE]", b"event: debug\ndata: x"),
        lambda data: data.replace(b"event: message-end", b'data: {"type": "novel"}\n\nevent: message-end'),
    ],
)
def test_forms_that_say_the_same(dress: Any) -> None:
    """Comments, names, events that nobody knows yet, a missing end mark."""
    assert events(STREAM) == events(dress(STREAM))


def test_odd_events() -> None:
    """Text in the start, no message-start, a plan, log probabilities, citations of what has no place for them."""
    found = fold(
        events(
            sse(
                event("content-start", index=0, message={"content": {"type": "text", "text": "Hi"}}),
                {**text_event("!"), "logprobs": {"text": "!", "token_ids": [1], "logprobs": [-1.0]}},
                event("tool-plan-delta", message={"tool_plan": "I will."}),
                citation(0, 1),
                end("COMPLETE"),
            )
        )
    )
    [choice] = found.choices

    assert [Text, Reasoning] == [type(part) for part in choice.parts]
    assert Logprobs(content=(TokenLogprob(token="!", logprob=-1.0, id=1),)) == choice.logprobs
    assert choice.extra and 1 == len(choice.extra["message"]["citations"])


def test_a_call_that_is_not_ended_is_ended() -> None:
    """With the message."""
    [choice] = fold(events(sse(START, *call_events(0, "{}")[:-1], end("TOOL_CALL")))).choices

    assert ["{}"] == [part.arguments for part in choice.parts if isinstance(part, ToolCall)]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadUpstreamBytes),
        (b"<html>\n\n", BadUpstreamBytes),
        (sse(b"data: [1]\n\n"), BadUpstreamBytes),
        (sse(START, event("content-delta", index=0)), StreamTruncated),
        (
            sse(START, event("tool-call-delta", index=5, message={"tool_calls": {"function": {"arguments": "x"}}})),
            BadUpstreamBytes,
        ),
        (sse(START, text_event("Hi")), StreamTruncated),
        (sse(START, text_event("Hi")) + b'data: {"type": "mess', StreamTruncated),
        (sse(START, b'event: error\ndata: {"message": "it broke"}\n\n'), UpstreamFailed),
        (sse(START, b'data: {"message": "too many tokens: size limit exceeded"}\n\n'), ContextTooLong),
        (sse(START, end("ERROR", error="it broke")), UpstreamFailed),
        (sse(START, end("TIMEOUT")), UpstreamFailed),
        (b'{"message": "it broke"}', UpstreamFailed),
        (b'{"message": "it broke"}\n\n', UpstreamFailed),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_streams_that_fail(data: bytes, error: type[Exception], step: int) -> None:
    """Cut short, not this language, or an error among the events or in their place."""
    with pytest.raises(error):
        events(data, step)


def test_what_came_before_a_fault_is_given_out_first() -> None:
    """Then the fault, as often as somebody asks."""
    decoder = COHERE.stream_decoder()
    found = decoder.feed(sse(START, text_event("Hi"), end("ERROR", error="it broke")))

    assert ["Hi"] == [one.text for one in found if isinstance(one, TextDelta)]
    for again in (lambda: decoder.feed(b"x"), decoder.close):
        with pytest.raises(UpstreamFailed, match="it broke"):
            again()


@pytest.mark.parametrize(
    "odd",
    [
        event("content-delta", index=0, message={"content": {"text": {"a": 1}}}),
        event("content-delta", index=0, message={"content": {"thinking": [1]}}),
        event("tool-plan-delta", message={"tool_plan": 5}),
        event("tool-call-start", index=0, message={"tool_calls": {"id": 1, "function": {"name": "f"}}}),
        event("tool-call-start", index=0, message={"tool_calls": {"id": "c", "function": {"name": None}}}),
        event(
            "tool-call-start", index=0, message={"tool_calls": {"id": "c", "function": {"name": "f", "arguments": 1}}}
        ),
    ],
)
def test_texts_are_texts(odd: Any) -> None:
    """Anything else in their place is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        events(sse(START, odd, end()))


def test_kinds_of_events_that_are_no_words_are_passed_over() -> None:
    """As those that are not known yet."""
    assert events(sse(START, end())) == events(sse(START, b'data: {"type": [["x"]]}\n\n', end()))


def test_a_call_that_begins_again_ends_the_one_before() -> None:
    """Where nobody has said that it is over."""
    found = fold(events(sse(START, call_events(0, "{}")[0], *call_events(0, '{"a":1}'), end("TOOL_CALL"))))

    assert ["{}", '{"a":1}'] == [part.arguments for part in found.choices[0].parts if isinstance(part, ToolCall)]
