"""Streams written: every event in its place, and the whole that they spell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from providers.canonical.errors import StreamTruncated, UpstreamBusy
from providers.canonical.stream import (
    ChoiceEnd,
    LogprobsDelta,
    PartEnd,
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
from tests.providers.dialects.openai_responses.speak import (
    NAME,
    RESPONSES,
    decoded,
    events,
    events_of,
    foreign,
    meaning,
    recorded,
    stream_out,
    told,
    valid,
)

SEAL = Seal(value="sig", origin="gemini")
CALL = ToolCall(id="c1", name="f", arguments='{"a":1}')
START = ResponseStart(dialect="elsewhere", id="r1", model="m", created=1)
STOP = (ChoiceEnd(finish=Finish(reason="stop")), ResponseEnd())


def spoken(found: Iterable[StreamEvent], request: ChatRequest | None = None) -> list[dict[str, Any]]:
    """The events for a caller, each as the schema says."""
    return valid(events_of(stream_out(found, request)[0]))


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [one["type"].removeprefix("response.") for one in found]


# ── the order ──────────────────────────────────────────────────────────────────────────


def test_the_full_order_of_events() -> None:
    """An item is added, its parts are, their text comes in pieces, and all is done from the inside out."""
    parts = (Reasoning(text="hm"), Text(text="Hi"), CALL)
    found = spoken(unfold(foreign(*parts, finish=Finish(reason="tool_calls"), usage=Usage(input_tokens=1))))

    assert [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ] == kinds(found)
    indexes = [one["output_index"] for one in found if "output_index" in one]
    assert sorted(indexes) == indexes
    assert {0, 1, 2} == set(indexes)
    assert "in_progress" == found[0]["response"]["status"]
    assert 1 == found[-1]["response"]["usage"]["input_tokens"]


def test_refusals_and_custom_calls_have_events_of_their_own() -> None:
    """Beside those of texts and functions."""
    parts = (Refusal(text="No."), ToolCall(id="c", name="f", arguments="free", kind="custom"))
    found = kinds(spoken(unfold(foreign(*parts))))

    assert {"refusal.delta", "refusal.done", "custom_tool_call_input.delta", "custom_tool_call_input.done"} <= set(
        found
    )


def test_texts_of_one_message_count_on() -> None:
    """`content_index` from 0, in one item."""
    found = spoken(unfold(foreign(Text(text="a"), Text(text="b"))))
    deltas = [one for one in found if one["type"].endswith("text.delta")]

    assert [("a", 0, 0), ("b", 0, 1)] == [(one["delta"], one["output_index"], one["content_index"]) for one in deltas]
    assert 1 == len({one["item_id"] for one in deltas})


def test_calls_that_interleave_keep_their_places() -> None:
    """Each piece says whose it is."""
    found = spoken(
        [
            START,
            ToolCallStart(index=0, id="c1", name="f"),
            ToolCallStart(index=1, id="c2", name="g"),
            ToolCallDelta(index=1, arguments="[2]"),
            ToolCallDelta(index=0, arguments="[1]"),
            PartEnd(index=0),
            PartEnd(index=1),
            *STOP,
        ]
    )

    assert [(1, "[2]"), (0, "[1]")] == [(o["output_index"], o["delta"]) for o in found if "delta" in o]
    assert ["[1]", "[2]"] == [item["arguments"] for item in found[-1]["response"]["output"]]


def test_a_text_that_is_open_when_a_call_begins() -> None:
    """Its message ends with it, and further text is another message."""
    found = spoken(
        [
            START,
            TextDelta(index=0, text="a"),
            ToolCallStart(index=1, id="c1", name="f"),
            TextDelta(index=0, text="b"),
            PartEnd(index=0),
            PartEnd(index=1),
            TextDelta(index=2, text="c"),
            PartEnd(index=2),
            *STOP,
        ]
    )
    output = found[-1]["response"]["output"]

    assert ["message", "function_call", "message"] == [item["type"] for item in output]
    assert ["ab", "c"] == [item["content"][0]["text"] for item in output if item["type"] == "message"]


# ── whole and streamed ─────────────────────────────────────────────────────────────────

_TEXT = st.text(max_size=6)
_SEAL = st.none() | st.just(SEAL)
_NAME = st.text(min_size=1, max_size=6)
_KIND: st.SearchStrategy[Any] = st.sampled_from(["function", "custom"])
_PART = st.one_of(
    st.builds(Text, text=_TEXT, seal=_SEAL, citations=st.just(()) | st.just((Citation(url="u", start=0, end=1),))),
    st.builds(Reasoning, text=_TEXT, seal=_SEAL),
    st.builds(Reasoning, redacted=st.just(True), seal=st.just(SEAL)),
    st.builds(Refusal, text=_TEXT),
    st.builds(
        ToolCall,
        id=_TEXT,
        name=st.text(min_size=1, max_size=6),
        arguments=_TEXT,
        kind=st.sampled_from(["function", "custom"]),
        seal=_SEAL,
    ),
    st.builds(Media, kind=st.sampled_from(["image", "audio"]), base64=st.just("AA==")),
    st.builds(Opaque, dialect=st.just("x"), kind=st.just("y"), raw=st.just({})),
)
_FINISH = st.builds(
    Finish,
    reason=st.sampled_from(["stop", "tool_calls", "content_filter", "refusal", "pause"]),
    message=st.none() | st.just("because"),
)


@given(st.lists(_PART, max_size=6), _FINISH)
def test_whole_and_streamed_are_the_same(parts: list[Any], finish: Finish) -> None:
    """The response in the last event is the answer that would have come whole, and each event fits the schema."""
    answer = foreign(*parts, finish=finish, usage=Usage(input_tokens=1, output_tokens=2), service_tier="flex")
    whole, lost = told(answer)
    data, losses = stream_out(unfold(answer))
    last = valid(events_of(data))[-1]["response"]
    cut = whole["status"] == "incomplete"

    assert (without_statuses(whole) if cut else whole) == (without_statuses(last) if cut else last)
    assert sorted(set(lost)) == sorted(set(losses))


def without_statuses(body: Any) -> Any:
    """Where an answer is cut off, a call that has ended before is not told so any more."""
    return {**body, "output": [{k: v for k, v in item.items() if k != "status"} for item in body["output"]]}


@given(st.lists(_PART, max_size=5))
def test_what_was_said_reads_the_same(parts: list[Any]) -> None:
    """Decoded again, the stream is the answer: its texts, calls and refusals."""
    data, _ = stream_out(unfold(foreign(*parts)))
    again = fold(events(data)).choices[0].parts

    def heard(found: Iterable[Any]) -> Any:
        calls = [(p.id, p.name, p.arguments or "{}") for p in found if isinstance(p, ToolCall) and p.kind == "function"]
        texts = ["".join(p.text for p in found if isinstance(p, kind)) for kind in (Text, Refusal)]
        return texts, calls

    ours = [part for part in parts if not (isinstance(part, ToolCall) and not part.id)]
    theirs = [part for part in again if not (isinstance(part, ToolCall) and part.invented_id)]
    assert heard(ours) == heard(theirs)


def test_recorded_streams_come_back() -> None:
    """Of this dialect's own models: decoded and encoded again they say the same."""
    count = 0
    for case in recorded():
        text = case.get("response_sse")
        if case["status"] != 200 or not text:
            continue
        before = events(text.encode())
        again = events(stream_out(before)[0])
        count += 1

        assert said(fold(before)) == said(fold(again)), case["id"]
    assert count >= 70


def said(answer: ChatResponse) -> Any:
    """The answer without what is repeated of the request."""
    return {key: value for key, value in meaning(answer).items() if key != "extra"}


# ── details ────────────────────────────────────────────────────────────────────────────


def test_a_stream_repeats_its_request() -> None:
    """From its first event on."""
    found = spoken(unfold(foreign(Text(text="Hi"))), decoded(instructions="Be brief.", metadata={"a": "b"}))

    for one in (found[0], found[-1]):
        assert ("Be brief.", {"a": "b"}) == (one["response"]["instructions"], one["response"]["metadata"])


def test_signatures() -> None:
    """Of a call, of a text, of reasoning; wherever in the part they come."""
    found = spoken(
        [
            START,
            ReasoningDelta(index=0, text="hm"),
            SealDelta(index=0, seal=Seal(value="s", origin="anthropic")),
            PartEnd(index=0),
            ToolCallStart(index=1, id="c1", name="f"),
            SealDelta(index=1, seal=SEAL),
            ToolCallDelta(index=1, arguments="{}"),
            PartEnd(index=1),
            TextDelta(index=2, text=""),
            SealDelta(index=2, seal=SEAL),
            TextDelta(index=2, text="Hi"),
            PartEnd(index=2),
            TextDelta(index=3, text=""),
            SealDelta(index=3, seal=SEAL),
            PartEnd(index=3),
            *STOP,
        ]
    )
    [turn] = decoded(input=found[-1]["response"]["output"]).messages

    assert [("Reasoning", "s"), ("ToolCall", "sig"), ("Text", "sig"), ("Text", "sig")] == [
        (type(part).__name__, part.seal and part.seal.value) for part in turn.parts
    ]


def test_log_probabilities_stand_beside_their_text() -> None:
    """Before it, while it comes, after it."""
    token = Logprobs(content=(TokenLogprob(token="a", logprob=-1.0),))
    found = spoken(
        [
            START,
            LogprobsDelta(logprobs=token),
            TextDelta(index=0, text="a"),
            LogprobsDelta(logprobs=token),
            PartEnd(index=0),
            LogprobsDelta(logprobs=token),
            *STOP,
        ]
    )

    assert 3 == len(found[-1]["response"]["output"][0]["content"][0]["logprobs"])
    assert [0, 1] == [len(one["logprobs"]) for one in found if one["type"].endswith("text.delta")]


def test_sources() -> None:
    """An event each; without a URL they are a loss."""
    text = Text(text="ab", citations=(Citation(url="https://a.example"), Citation(title="x")))
    data, losses = stream_out(unfold(foreign(text)))
    [annotated] = [one for one in valid(events_of(data)) if "annotation" in one]

    assert (0, 2) == (annotated["annotation_index"], annotated["annotation"]["end_index"])
    assert ["output.annotations=dropped"] == losses


def test_one_answer() -> None:
    """Others are a loss, and disturb nothing."""
    choices = (
        Choice(parts=(Text(text="a"), CALL), finish=Finish(reason="stop")),
        Choice(index=1, parts=(Text(text="b"), CALL), finish=Finish(reason="length")),
    )
    mixed = sorted(unfold(foreign(choices=choices)), key=lambda e: isinstance(e, ChoiceEnd | ResponseEnd | UsageUpdate))
    data, losses = stream_out(mixed)
    last = valid(events_of(data))[-1]["response"]

    assert ("completed", "a", ["choices=dropped"]) == (last["status"], last["output"][0]["content"][0]["text"], losses)


def test_refusals_that_no_part_says() -> None:
    """The provider's explanation, or that the prompt was blocked."""
    explained = spoken([START, ChoiceEnd(finish=Finish(reason="refusal", message="because")), ResponseEnd()])
    blocked = spoken([START, ResponseEnd(blocked=Finish(reason="content_filter", raw="SAFETY"))])

    assert "because" == explained[-1]["response"]["output"][0]["content"][0]["refusal"]
    assert "response.incomplete" == blocked[-1]["type"]
    assert "SAFETY" in blocked[-1]["response"]["output"][0]["content"][0]["refusal"]


def test_an_answer_that_was_cut_off() -> None:
    """Its last message says so, in its own event, too."""
    found = spoken([START, TextDelta(text="Hi"), PartEnd(), ChoiceEnd(finish=Finish(reason="length")), ResponseEnd()])

    assert ["incomplete"] == [one["item"]["status"] for one in found if one["type"].endswith("item.done")]
    assert "response.incomplete" == found[-1]["type"]


def test_no_line_of_an_event_is_split() -> None:
    """Separators that clients split lines on are escaped, wherever text stands."""
    text = "a\u2028b\u2029c\u0085d\r\n\ne"
    call = ToolCall(id="c", name="f", arguments=json.dumps({"a": text}, ensure_ascii=False))
    data, _ = stream_out(unfold(foreign(Reasoning(text=text), Text(text=text), call)))

    assert all(len(block.splitlines()) == 2 for block in data.decode().split("\n\n") if block)
    assert text == "".join(one["delta"] for one in events_of(data) if one["type"] == "response.output_text.delta")


# ── faults ─────────────────────────────────────────────────────────────────────────────


def test_a_fault_ends_the_stream() -> None:
    """With an error on which the official client raises, and the response that failed, with what there was."""
    encoder = RESPONSES.stream_encoder(ChatRequest(dialect=NAME, model="m", messages=()), [])
    before = [
        START,
        TextDelta(text="Half"),
        ToolCallStart(index=1, id="c", name="f"),
        ToolCallDelta(index=1, arguments="{"),
    ]
    data = b"".join([*map(encoder.feed, before), encoder.error(StreamTruncated("it just ended"))])
    *_, error, failed = valid(events_of(data))
    output = failed["response"]["output"]

    assert ("error", "upstream_truncated") == (error["type"], error["error"]["code"])
    assert ("response.failed", "failed", "server_error") == (
        failed["type"],
        failed["response"]["status"],
        failed["response"]["error"]["code"],
    )
    assert ("Half", "{") == (output[0]["content"][0]["text"], output[1]["arguments"])
    assert {"incomplete"} == {item["status"] for item in output}


def test_a_fault_before_anything_was_said() -> None:
    """Is an error alone."""
    encoder = RESPONSES.stream_encoder(ChatRequest(dialect=NAME, model="m", messages=()), [])
    [error] = valid(events_of(encoder.error(UpstreamBusy("slow", upstream_status=429))))

    assert ("slow", 0) == (error["message"], error["sequence_number"])
