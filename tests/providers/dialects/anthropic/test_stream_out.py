"""Streams, written: legal order, one block at a time, valid events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    AnyPart,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import UpstreamFailed
from providers.canonical.loss import Losses
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    PartEnd,
    PartWhole,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageUpdate,
    fold,
    unfold,
)
from tests.providers.dialects.anthropic.spoken import (
    ANTHROPIC,
    Json,
    events,
    payloads,
    recorded,
    request,
    told,
    written,
)

START = ResponseStart(dialect="openai.chat", id="x", model="m")
GEMINI = Seal(value="AA==", origin="gemini")


def told_stream(*between: StreamEvent, losses: Losses | None = None, finish: str = "stop", **end: Any) -> list[Json]:
    last = ChoiceEnd(finish=Finish(reason=finish))  # type: ignore[arg-type]
    return payloads(written([START, *between, last, ResponseEnd(**end)], losses))


def blocks(found: list[Json]) -> list[Json]:
    """What the blocks of a stream say, put together as the official client does."""
    out: list[Json] = []
    for one in found:
        if one["type"] == "content_block_start":
            out.append(dict(one["content_block"]))
        elif one["type"] == "content_block_delta":
            delta = dict(one["delta"])
            kind = delta.pop("type")
            key = {"input_json_delta": "input"}.get(kind)
            for name, value in delta.items():
                into = key or name
                before = out[-1].get(into)
                out[-1][into] = (before if isinstance(before, str) else "") + value if isinstance(value, str) else value
    return out


def test_text() -> None:
    """Start, one block with its pieces, the end with what it cost."""
    found = told_stream(
        TextDelta(text="Hel"),
        TextDelta(text="lö 🙂\u2028"),
        PartEnd(),
        UsageUpdate(usage=Usage(input_tokens=9, output_tokens=3)),
    )

    assert ["message_start", "content_block_start", *["content_block_delta"] * 2, "content_block_stop"] == [
        one["type"] for one in found[:5]
    ]
    assert [{"type": "text", "text": "Hello"}] == blocks(told_stream(TextDelta(text="Hello"), PartEnd()))
    assert ({"input_tokens": 9, "output_tokens": 3}, "end_turn") == (
        found[-2]["usage"],
        found[-2]["delta"]["stop_reason"],
    )


def test_line_separators_are_escaped() -> None:
    """Readers in common clients split on them."""
    data = written(
        [START, TextDelta(text="a\u2028b"), PartEnd(), ChoiceEnd(finish=Finish(reason="stop")), ResponseEnd()]
    )

    assert "\u2028" not in data.decode()
    assert "a\u2028b" == blocks(payloads(data))[0]["text"]


def test_counts_that_are_known_early_stand_in_the_start() -> None:
    """The start waits for the first thing that is said."""
    found = told_stream(UsageUpdate(usage=Usage(input_tokens=9)), TextDelta(text="a"), PartEnd())

    assert 9 == found[0]["message"]["usage"]["input_tokens"]


def test_thinking_is_always_signed() -> None:
    """By whoever thought, or by a mark that says that nobody did."""
    own = [ReasoningDelta(text="hm"), SealDelta(seal=Seal(value="EqQB", origin="anthropic")), PartEnd()]
    marked = [ReasoningDelta(text=""), SealDelta(seal=GEMINI), PartEnd()]
    unsigned = [ReasoningDelta(text="hm"), PartEnd()]

    assert ["EqQB", "isthmus.gemini.AA==", "isthmus.unsigned"] == [
        blocks(told_stream(*one))[0]["signature"] for one in (own, marked, unsigned)
    ]
    redacted = PartWhole(part=Reasoning(redacted=True, seal=Seal(value="A", origin="openai")))
    assert [{"type": "redacted_thinking", "data": "isthmus.openai.A"}] == blocks(told_stream(redacted))


def test_calls() -> None:
    """Arguments in pieces as they come; a call without any has an empty piece, as the service sends it."""
    found = told_stream(
        ToolCallStart(index=0, id="functions.look:0", name="look"),
        ToolCallDelta(index=0, arguments='{"a":'),
        ToolCallDelta(index=0, arguments="1}"),
        PartEnd(index=0),
        ToolCallStart(index=1, id="b", name="look"),
        PartEnd(index=1),
        finish="tool_calls",
    )

    assert [('{"a":1}', "isthmus_functions-2e-look-3a-0"), ("", "b")] == [
        (block["input"], block["id"]) for block in blocks(found)
    ]
    assert "tool_use" == found[-2]["delta"]["stop_reason"]


def test_a_signature_of_a_call_stands_in_its_start() -> None:
    """There a client keeps it; one that comes later has no place, and is named."""
    early = told_stream(
        ToolCallStart(id="a", name="b"), SealDelta(seal=GEMINI), ToolCallDelta(arguments="{}"), PartEnd()
    )
    losses: Losses = []
    told_stream(
        ToolCallStart(id="a", name="b"), ToolCallDelta(arguments="{}"), SealDelta(seal=GEMINI), PartEnd(), losses=losses
    )

    assert "isthmus.gemini.AA==" == blocks(early)[0]["signature"]
    assert ["content[0].signature"] == [loss.field for loss in losses]


def test_a_signature_of_text_has_no_place() -> None:
    """It is named."""
    losses: Losses = []
    told_stream(TextDelta(text="a"), SealDelta(seal=GEMINI), PartEnd(), losses=losses)

    assert ["content[0].signature"] == [loss.field for loss in losses]


def test_a_custom_tool_gets_an_object() -> None:
    """Free text is one value of it, known at the end."""
    found = told_stream(
        ToolCallStart(id="a", name="sh", kind="custom"),
        ToolCallDelta(arguments='echo "'),
        ToolCallDelta(arguments='x"'),
        PartEnd(),
    )

    assert '{"input":"echo \\"x\\""}' == blocks(found)[0]["input"]


@pytest.mark.parametrize("pieces", [["[1]"], [" ", "[", "1]"]])
def test_arguments_that_are_no_object_stand_in_one(pieces: list[str]) -> None:
    """As in a whole answer: under `value`, as text, and named."""
    losses: Losses = []
    deltas = [ToolCallDelta(arguments=piece) for piece in pieces]
    found = told_stream(ToolCallStart(id="a", name="n"), *deltas, PartEnd(), losses=losses)

    assert {"value": "[1]"} == json.loads(blocks(found)[0]["input"])
    assert ["content[0].input"] == [loss.field for loss in losses]


def test_interleaved_calls_come_one_after_the_other() -> None:
    """The later ones wait; text between them, too."""
    found = told_stream(
        TextDelta(index=0, text="a"),
        PartEnd(index=0),
        ToolCallStart(index=1, id="b", name="n"),
        ToolCallStart(index=2, id="c", name="n"),
        ToolCallDelta(index=1, arguments='{"x":'),
        ToolCallDelta(index=2, arguments='{"y":'),
        TextDelta(index=3, text="z"),
        ToolCallDelta(index=1, arguments="1}"),
        ToolCallDelta(index=2, arguments="2}"),
        PartEnd(index=3),
        PartEnd(index=2),
        PartEnd(index=1),
        finish="tool_calls",
    )

    assert ["a", '{"x":1}', '{"y":2}', "z"] == [block.get("text", block.get("input")) for block in blocks(found)]


def test_a_part_that_waits_goes_on_live_once_it_is_its_turn() -> None:
    """It is held back no longer than it must."""
    encoder = ANTHROPIC.stream_encoder(request(stream=True), [])
    for event in (
        START,
        ToolCallStart(index=0, id="a", name="n"),
        ToolCallStart(index=1, id="b", name="n"),
        ToolCallDelta(index=1, arguments="{"),
    ):
        encoder.feed(event)
    encoder.feed(PartEnd(index=0))

    assert b'"partial_json":"}"' in encoder.feed(ToolCallDelta(index=1, arguments="}"))


@pytest.mark.parametrize(
    ("part", "expected", "field"),
    [
        (Media(kind="image", base64="AA=="), [], "content[0].image"),
        (Opaque(dialect="gemini", kind="x", raw={}), [], "content[0].x"),
        (Media(kind="audio", base64="AA==", transcript="Hi"), [{"type": "text", "text": "Hi"}], "content[0].audio"),
        (
            Opaque(
                dialect="anthropic.messages", kind="container_upload", raw={"type": "container_upload", "file_id": "f"}
            ),
            [{"type": "container_upload", "file_id": "f"}],
            None,
        ),
    ],
)
def test_parts_that_come_whole(part: Any, expected: Json, field: str | None) -> None:
    """Each has its block, or is named."""
    losses: Losses = []

    assert expected == blocks(told_stream(PartWhole(part=part), losses=losses))
    assert ([] if field is None else [field]) == [loss.field for loss in losses]


def test_citations() -> None:
    """One event each, with the words that they stand on; without a URL they are named."""
    losses: Losses = []
    found = told_stream(
        TextDelta(text="abc"),
        CitationDelta(citation=Citation(url="https://a.example", start=1)),
        CitationDelta(citation=Citation(title="T")),
        PartEnd(),
        losses=losses,
    )
    cited = [one["delta"]["citation"] for one in found if one.get("delta", {}).get("type") == "citations_delta"]

    assert [("https://a.example", "bc")] == [(one["url"], one["cited_text"]) for one in cited]
    assert ["content[0].citations"] == [loss.field for loss in losses]


def test_only_the_first_choice_is_told() -> None:
    """The others are named, once."""
    losses: Losses = []
    found = payloads(
        written(
            [
                START,
                TextDelta(text="a"),
                TextDelta(choice=1, text="b"),
                PartEnd(),
                PartEnd(choice=1),
                ChoiceEnd(choice=1, finish=Finish(reason="length")),
                ChoiceEnd(finish=Finish(reason="stop")),
                ResponseEnd(),
            ],
            losses,
        )
    )

    assert (["a"], "end_turn") == ([block["text"] for block in blocks(found)], found[-2]["delta"]["stop_reason"])
    assert ["choices"] == [loss.field for loss in losses]


def test_a_blocked_prompt() -> None:
    """A refusal without content."""
    found = payloads(written([START, ResponseEnd(blocked=Finish(reason="content_filter", message="Blocked."))]))

    assert ([], "refusal", "Blocked.") == (
        blocks(found),
        found[-2]["delta"]["stop_reason"],
        found[-2]["delta"]["stop_details"]["explanation"],
    )


def test_an_error_in_the_middle() -> None:
    """One error event, no end of the message."""
    encoder = ANTHROPIC.stream_encoder(request(stream=True), [])
    encoder.feed(START)
    encoder.feed(TextDelta(text="a"))
    data = encoder.error(UpstreamFailed("Overloaded", upstream_status=529, status=503))

    assert data.startswith(b"event: error\ndata: {")
    assert b'"overloaded_error","message":"Overloaded"' in data


# ── against whole answers ──────────────────────────────────────────────────────────────

texts = st.text(max_size=10)
seals = st.none() | st.builds(
    lambda value, origin: Seal(value=value, origin=origin),
    st.text("ab=", min_size=1, max_size=4),
    st.sampled_from(["anthropic", "gemini"]),
)
parts = st.lists(
    st.builds(lambda text: Text(text=text), texts)
    | st.builds(lambda text, seal: Reasoning(text=text, seal=seal), texts, seals)
    | st.builds(
        lambda name, seal: ToolCall(id=name, name="look", arguments='{"a":1}', seal=seal),
        st.text(min_size=1, max_size=5),
        st.none() | st.just(GEMINI),
    )
    | st.builds(lambda text: Refusal(text=text), st.text(min_size=1, max_size=5)),
    max_size=5,
)
usages = st.builds(
    lambda a, b, c: Usage(input_tokens=a + b, cache_read_tokens=a, output_tokens=c), *[st.integers(0, 99)] * 3
)


def same(parts: list[AnyPart], usage: Usage) -> None:
    end = Finish(reason="tool_calls" if any(isinstance(part, ToolCall) for part in parts) else "stop")
    response = ChatResponse(
        dialect="openai.chat", id="x", model="m", choices=(Choice(parts=tuple(parts), finish=end),), usage=usage
    )
    whole = told(response)
    stream = payloads(written(list(unfold(response))))
    spelled = blocks(stream)
    for block in spelled:
        if block["type"] == "tool_use":
            block["input"] = {"a": 1}

    assert whole["content"] == spelled
    assert (whole["stop_reason"], whole["usage"]) == (stream[-2]["delta"]["stop_reason"], stream[-2]["usage"])


@given(parts, usages)
def test_a_stream_says_what_the_whole_answer_says(parts: list[AnyPart], usage: Usage) -> None:
    """For any answer: the same blocks, the same end, the same counts."""
    same(parts, usage)


def test_recorded_streams_come_back() -> None:
    """Read, written for a caller of the same dialect, read again: the same answer."""
    seen = 0
    for case in recorded():
        if case["status"] != 200 or "response_sse" not in case or case["id"] == "vai-anthropic-messages-131f0fffb6":
            continue
        found = events(case["response_sse"].encode())
        seen += 1

        assert fold(found) == fold(events(written(found))), case["id"]
    assert 60 < seen
