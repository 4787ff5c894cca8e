"""Streams, read: any split, every tolerance, every kind of end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Opaque, Reasoning, Seal, Text, ToolCall
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated, UpstreamBusy, UpstreamFailed
from providers.canonical.stream import ResponseStart, TextDelta, UsageUpdate, check, fold
from providers.dialects.anthropic.words import ANSWER_TOOL
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    Json,
    answer,
    begun,
    ended,
    events,
    message,
    opened,
    piece,
    recorded,
    shut,
    spoken_text,
    sse,
)

SPLICED = "vai-anthropic-messages-131f0fffb6"
PING = {"type": "ping"}
WHOLE: dict[str, list[Json]] = {
    "text": [begun(), *spoken_text("Hel", "lö 🙂"), *ended()],
    "pings": [
        begun(),
        PING,
        opened(0, {"type": "text", "text": ""}),
        PING,
        piece(0, "text_delta", text="a"),
        shut(0),
        PING,
        *ended(),
    ],
    "thinking": [
        begun(),
        opened(0, {"type": "thinking", "thinking": "", "signature": ""}),
        piece(0, "thinking_delta", thinking="h"),
        piece(0, "thinking_delta", thinking="m"),
        piece(0, "signature_delta", signature="Eq"),
        piece(0, "signature_delta", signature="QB"),
        shut(0),
        opened(1, {"type": "thinking", "thinking": ""}),
        piece(1, "signature_delta", signature="zz"),
        shut(1),
        opened(2, {"type": "redacted_thinking", "data": "Emw"}),
        shut(2),
        *spoken_text("a", index=3),
        *ended(),
    ],
    "calls": [
        begun(),
        opened(0, {"type": "tool_use", "id": "t", "name": "look", "input": {}, "caller": {"type": "direct"}}),
        piece(0, "input_json_delta", partial_json=""),
        piece(0, "input_json_delta", partial_json='{"a":'),
        piece(0, "input_json_delta", partial_json="1.50}"),
        shut(0),
        opened(1, {"type": "tool_use", "id": "u", "name": "look", "input": {}}),
        piece(1, "input_json_delta", partial_json=""),
        shut(1),
        opened(2, {"type": "tool_use", "id": "v", "name": "look", "input": {"b": 2}}),
        shut(2),
        *ended("tool_use"),
    ],
    "server tools": [
        begun(container={"id": "c"}),
        opened(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        piece(0, "input_json_delta", partial_json='{"query":'),
        piece(0, "input_json_delta", partial_json='"q"}'),
        shut(0),
        opened(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        shut(1),
        opened(2, {"type": "compaction", "content": "a"}),
        piece(2, "compaction_delta", content="b", more=[1]),
        shut(2),
        *ended(),
    ],
    "citations": [
        begun(),
        opened(0, {"type": "text", "text": "", "citations": []}),
        piece(0, "citations_delta", citation={"type": "char_location", "cited_text": "x"}),
        piece(0, "text_delta", text="a"),
        shut(0),
        *ended(),
    ],
    "empty blocks": [begun(), *spoken_text(), opened(1, {"type": "thinking", "thinking": ""}), shut(1), *ended()],
    "no content": [begun(), *ended("max_tokens")],
    "several ends": [begun(), *spoken_text("a"), ended("pause_turn")[0], *ended("end_turn")],
    "types of tomorrow": [begun(), {"type": "mood", "good": True}, *spoken_text("a"), *ended()],
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("step", [1, 2, 7])
def test_any_split_gives_the_same_events(name: str, step: int) -> None:
    """Also inside characters and line ends."""
    data = sse(*WHOLE[name])

    assert events(data) == events(data, step)


@given(st.lists(st.integers(1, 400), max_size=12))
def test_any_cuts_give_the_same_events(cuts: list[int]) -> None:
    """Wherever the network cuts."""
    data = sse(*WHOLE["thinking"])
    decoder = ANTHROPIC.stream_decoder()
    found: list[Any] = []
    at = 0
    for cut in cuts:
        found += decoder.feed(data[at : at + cut])
        at += cut
    found += decoder.feed(data[at:])

    assert events(data) == [*found, *decoder.close()]


@pytest.mark.parametrize("name", WHOLE)
def test_line_ends_do_not_matter(name: str) -> None:
    """LF, CRLF or CR."""
    data = sse(*WHOLE[name])

    assert events(data) == events(data.replace(b"\n", b"\r\n")) == events(data.replace(b"\n", b"\r"))


def test_recorded_streams_are_read_to_their_end() -> None:
    """All of them, byte for byte or in pieces; each is a whole answer."""
    seen = 0
    for case in recorded():
        if case["status"] != 200 or "response_sse" not in case or case["id"] == SPLICED:
            continue
        data = case["response_sse"].encode()
        found = events(data)
        seen += 1

        assert found == events(data, 11), case["id"]
        assert fold(found).choices[0].finish is not None
    assert 60 < seen


def test_a_stream_spells_the_whole_answer() -> None:
    """Stream, then fold, is the answer that would have come whole."""
    response = fold(events(sse(*WHOLE["calls"])))
    whole = answer(
        message(
            {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1.5}, "caller": {"type": "direct"}},
            {"type": "tool_use", "id": "u", "name": "look", "input": {}},
            {"type": "tool_use", "id": "v", "name": "look", "input": {"b": 2}},
            stop_reason="tool_use",
        )
    )
    calls = [part for part in response.choices[0].parts if isinstance(part, ToolCall)]

    assert ['{"a":1.50}', "{}", '{"b":2}'] == [call.arguments for call in calls]
    assert [(part.id, part.name, part.extra) for part in whole.choices[0].parts if isinstance(part, ToolCall)] == [
        (call.id, call.name, call.extra) for call in calls
    ]
    assert whole.choices[0].finish == response.choices[0].finish


def test_thinking() -> None:
    """Signed in pieces, with and without a text, redacted."""
    first, second, redacted, text = fold(events(sse(*WHOLE["thinking"]))).choices[0].parts

    assert Reasoning(text="hm", seal=Seal(value="EqQB", origin="anthropic")) == first
    assert Reasoning(text="", seal=Seal(value="zz", origin="anthropic")) == second
    assert Reasoning(redacted=True, seal=Seal(value="Emw", origin="anthropic")) == redacted
    assert Text(text="a") == text


def test_blocks_that_only_this_dialect_knows_come_whole() -> None:
    """With their input put together."""
    response = fold(events(sse(*WHOLE["server tools"])))
    raws = [part.raw for part in response.choices[0].parts if isinstance(part, Opaque)]

    assert [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "compaction", "content": "ab", "more": [1]},
    ] == raws
    assert {"container": {"id": "c"}} == response.extra


def test_the_answer_of_our_own_tool_is_text() -> None:
    """As it is in whole answers."""
    found = fold(
        events(
            sse(
                begun(),
                opened(0, {"type": "tool_use", "id": "t", "name": ANSWER_TOOL, "input": {}}),
                piece(0, "input_json_delta", partial_json='{"a":1}'),
                shut(0),
                *ended("tool_use"),
            )
        )
    )

    assert (Text(text='{"a":1}'),) == found.choices[0].parts
    assert found.choices[0].finish and found.choices[0].finish.reason == "stop"


def test_counts_are_corrected_at_the_end() -> None:
    """Field by field, replaced and never added: 43 tokens at the start may be 61 at the end."""
    found = events(sse(begun(), *spoken_text("a"), *ended(input_tokens=61, cache_read_input_tokens=None)))
    counts = [event.usage for event in found if isinstance(event, UsageUpdate)]

    assert [(9, 1), (61, 3)] == [(usage.input_tokens, usage.output_tokens) for usage in counts]


def test_a_refusal_without_blocks() -> None:
    """Its details come with the end."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Blocked."}
    end = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}, "usage": {}}
    response = fold(events(sse(begun(), end, {"type": "message_stop"})))

    assert ("Blocked.", {"stop_details": details}) == (
        response.choices[0].finish and response.choices[0].finish.message,
        response.choices[0].extra,
    )


def test_a_second_start_before_anything_was_said() -> None:
    """The later one counts: seen at servers that begin again quietly."""
    second = begun(id="msg_2")
    found = events(sse(begun(), second, *spoken_text("a"), *ended()))

    assert ["msg_2"] == [event.id for event in found if isinstance(event, ResponseStart)]
    assert found[1:] == events(sse(begun(), *spoken_text("a"), *ended()))[1:]


def test_the_same_start_again_is_passed_over() -> None:
    """Also when something was said."""
    assert "a" == fold(events(sse(begun(), *spoken_text("a"), begun(), *ended()))).choices[0].parts[0].text  # type: ignore[union-attr]


def test_another_message_in_the_middle_is_a_fault() -> None:
    """What was said before it is given out first."""
    decoder = ANTHROPIC.stream_decoder()
    found = decoder.feed(sse(begun(), *spoken_text("a"), begun(id="msg_2"), *ended()))

    assert [TextDelta(text="a")] == [event for event in found if isinstance(event, TextDelta)]
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"")


def test_pieces_of_a_block_that_was_not_announced() -> None:
    """Some servers leave the start out; text and thinking tell themselves."""
    found = fold(
        events(sse(begun(), piece(0, "thinking_delta", thinking="h"), piece(1, "text_delta", text="a"), *ended()))
    )

    assert (Reasoning(text="h"), Text(text="a")) == found.choices[0].parts
    with pytest.raises(BadUpstreamBytes):
        events(sse(begun(), piece(0, "input_json_delta", partial_json="{"), *ended()))


# ── ends ───────────────────────────────────────────────────────────────────────────────


def test_nothing_is_read_after_the_end() -> None:
    """A connection that stays open does not matter."""
    decoder = ANTHROPIC.stream_decoder()
    decoder.feed(sse(*WHOLE["text"]) + b"garbage\n\n")

    assert decoder.finished
    assert ((), []) == (decoder.feed(b"more\n\n"), list(decoder.close()))


def test_a_missing_end_mark_after_a_stop_reason() -> None:
    """All has been said: it is the end."""
    assert events(sse(*WHOLE["text"])) == events(sse(*WHOLE["text"][:-1])) == events(sse(*WHOLE["text"])[:-1])


@pytest.mark.parametrize("keep", range(1, 5))
def test_a_stream_that_just_ends_is_truncated(keep: int) -> None:
    """Never an invented end_turn."""
    data = sse(*WHOLE["text"][:keep])
    with pytest.raises(StreamTruncated):
        events(data)
    with pytest.raises(StreamTruncated):
        events(data + b'event: content_block_delta\ndata: {"type":"content_bl')


def test_an_end_without_a_stop_reason_is_truncated() -> None:
    """The mark alone does not say that all was said."""
    with pytest.raises(StreamTruncated):
        events(sse(begun(), *spoken_text("a"), {"type": "message_stop"}))


@pytest.mark.parametrize(
    ("kind", "expected"), [("overloaded_error", UpstreamFailed), ("rate_limit_error", UpstreamBusy)]
)
def test_an_error_in_the_stream(kind: str, expected: type) -> None:
    """It is raised after what came before it."""
    error = {"type": "error", "error": {"type": kind, "message": "Overloaded"}}
    decoder = ANTHROPIC.stream_decoder()
    found = decoder.feed(sse(begun(), *spoken_text("a"), error))

    assert any(isinstance(event, TextDelta) for event in found)
    with pytest.raises(expected, match="Overloaded"):
        decoder.close()


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
        (b'data: {"type":"message_start"}\n\n', BadUpstreamBytes),
        (b'data: {"type":"content_block_start","content_block":7}\n\n', BadUpstreamBytes),
    ],
)
def test_what_is_no_stream(data: bytes, expected: type) -> None:
    """An error as plain JSON, a page, nothing, nonsense."""
    with pytest.raises(expected):
        events(data)


def test_an_endless_event_is_refused() -> None:
    """Memory is bounded."""
    decoder = ANTHROPIC.stream_decoder(limit=1000)
    with pytest.raises(BadUpstreamBytes):
        for _ in range(20):
            decoder.feed(b"data: " + b"x" * 200)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_of_ours(data: bytes) -> None:
    """Never in a crash."""
    for prefix in (b"", sse(begun())):
        try:
            check(events(prefix + data))
        except RouterError:
            continue


def test_a_recorded_stream_with_two_messages() -> None:
    """The one recording in which a second message begins in the middle of a call."""
    spliced = next(case for case in recorded() if case["id"] == SPLICED)
    with pytest.raises(BadUpstreamBytes, match="another message"):
        events(spliced["response_sse"].encode())
