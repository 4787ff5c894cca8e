"""Canonical streams: their legal order, and the way to a whole answer and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
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
    ToolResult,
    Usage,
)
from providers.canonical.stream import (
    ChoiceEnd,
    CitationDelta,
    Fold,
    GrammarError,
    LogprobsDelta,
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
    check,
    fold,
    unfold,
)

START, END = ResponseStart(), ResponseEnd()
TEXT, PART_END = TextDelta(text="x"), PartEnd()
STOP = ChoiceEnd(finish=Finish(reason="stop"))
CALL = ToolCallStart(id="c", name="f")

_SEALS = st.none() | st.builds(Seal, value=st.text(max_size=3), origin=st.sampled_from(["gemini", "openai"]))
_EXTRA = st.none() | st.dictionaries(st.text(max_size=2), st.integers(), min_size=1, max_size=2)
_PARTS = st.one_of(
    st.builds(
        Text,
        text=st.text(max_size=5),
        seal=_SEALS,
        extra=_EXTRA,
        citations=st.lists(st.builds(Citation, url=st.text(max_size=2)), max_size=2).map(tuple),
    ),
    st.builds(Reasoning, text=st.text(max_size=5), seal=_SEALS, extra=_EXTRA),
    st.builds(Reasoning, redacted=st.just(True), seal=_SEALS),
    st.builds(Refusal, text=st.text(max_size=5), seal=_SEALS, extra=_EXTRA),
    st.builds(
        ToolCall,
        id=st.text(max_size=3),
        name=st.text(max_size=3),
        arguments=st.text(max_size=5),
        kind=st.sampled_from(["function", "custom"]),
        invented_id=st.booleans(),
        seal=_SEALS,
        extra=_EXTRA,
    ),
    st.builds(Media, kind=st.just("image"), base64=st.just("AAAA")),
    st.builds(Opaque, dialect=st.just("d"), kind=st.just("k"), raw=st.integers()),
)
_TOKENS = st.lists(st.builds(TokenLogprob, token=st.text(max_size=2), logprob=st.floats(-9, 0)), max_size=2).map(tuple)
_RESPONSES = st.builds(
    ChatResponse,
    dialect=st.just("d"),
    id=st.none() | st.text(max_size=3),
    model=st.none() | st.text(max_size=3),
    created=st.none() | st.integers(0, 9),
    service_tier=st.none() | st.just("flex"),
    system_fingerprint=st.none() | st.just("fp"),
    usage=st.none() | st.builds(Usage, input_tokens=st.none() | st.integers(0, 9)),
    blocked=st.none() | st.builds(Finish, reason=st.just("content_filter")),
    extra=_EXTRA,
    choices=st.lists(
        st.builds(
            Choice,
            parts=st.lists(_PARTS, max_size=4).map(tuple),
            finish=st.builds(Finish, reason=st.sampled_from(["stop", "length"]), raw=st.none() | st.text(max_size=2)),
            logprobs=st.none() | st.builds(Logprobs, content=st.none() | _TOKENS),
            extra=_EXTRA,
        ),
        max_size=3,
    ).map(
        lambda choices: tuple(
            Choice(index=i, parts=c.parts, finish=c.finish, logprobs=c.logprobs, extra=c.extra)
            for i, c in enumerate(choices)
        )
    ),
)


@given(_RESPONSES)
def test_unfolded_and_folded_again(response: ChatResponse) -> None:
    """Any answer survives the way through a stream, in legal order."""
    assert response == fold(check(unfold(response)))


@given(_RESPONSES)
def test_pieces_do_not_matter(response: ChatResponse) -> None:
    """Texts and arguments in single characters add up to the same answer."""

    def crumbs(event: StreamEvent) -> list[StreamEvent]:
        if isinstance(event, ToolCallDelta):
            return [ToolCallDelta(choice=event.choice, index=event.index, arguments=one) for one in event.arguments]
        if isinstance(event, TextDelta) and event.text:
            first, *rest = event.text
            later = [TextDelta(choice=event.choice, index=event.index, text=one) for one in rest]
            return [TextDelta(choice=event.choice, index=event.index, text=first, extra=event.extra), *later]
        return [event]

    assert response == fold(check(one for event in unfold(response) for one in crumbs(event)))


def test_open_parts_may_interleave() -> None:
    """Some upstreams mix the arguments of parallel calls, and n answers come at once."""
    found = fold(
        check(
            [
                START,
                CALL,
                ToolCallStart(index=1, id="d", name="g"),
                TextDelta(choice=1, text="x"),
                ToolCallDelta(index=1, arguments="1"),
                ToolCallDelta(arguments="2"),
                PartEnd(index=1),
                PART_END,
                STOP,
                PartEnd(choice=1),
                ChoiceEnd(choice=1, finish=Finish(reason="length")),
                END,
            ]
        )
    )

    assert [["2", "1"], ["x"]] == [
        [part.arguments if isinstance(part, ToolCall) else part.text for part in choice.parts]  # type: ignore[union-attr]
        for choice in found.choices
    ]


@pytest.mark.parametrize(
    "events",
    [
        [TEXT],
        [START, START],
        [START, END, END],
        [START, PART_END],
        [START, ToolCallDelta(arguments="x")],
        [START, SealDelta(seal=Seal(value="s", origin="o"))],
        [START, TextDelta(index=1, text="x")],
        [START, TEXT, PART_END, TEXT],
        [START, TEXT, ReasoningDelta(text="x")],
        [START, TEXT, ToolCallDelta(arguments="x")],
        [START, CALL, CitationDelta(citation=Citation())],
        [START, CALL, CALL],
        [START, PartWhole(part=Media(kind="image", url="u")), PART_END],
        [START, TEXT, STOP],
        [START, STOP, TEXT],
        [START, STOP, STOP],
    ],
)
def test_illegal_orders(events: list[Any]) -> None:
    """Each is a bug in a decoder, and is said to be one."""
    with pytest.raises(GrammarError):
        check(events)


def test_checked_events_come_out() -> None:
    """A legal stream is given back as it was."""
    events = [START, TEXT, TEXT, PART_END, LogprobsDelta(logprobs=Logprobs()), STOP, UsageUpdate(usage=Usage()), END]

    assert events == check(iter(events))


def test_the_last_usage_counts() -> None:
    """It is cumulative; a stream that broke off still has one."""
    folding = Fold()
    folding.feed(START)
    assert folding.usage is None
    for count in (1, 2):
        folding.feed(UsageUpdate(usage=Usage(output_tokens=count)))

    assert Usage(output_tokens=2) == folding.usage == folding.result().usage


def test_the_end_corrects_the_start() -> None:
    """Extras key by key, and the service tier."""
    found = fold(
        [ResponseStart(service_tier="auto", extra={"a": 1, "b": 1}), ResponseEnd(service_tier="flex", extra={"b": 2})]
    )

    assert ("flex", {"a": 1, "b": 2}) == (found.service_tier, found.extra)


def test_a_choice_that_broke_off_has_no_finish() -> None:
    """Nothing is invented for it."""
    assert [None] == [choice.finish for choice in fold([START, TEXT]).choices]


def test_logprobs_add_up() -> None:
    """Tokens in order; what is not said stays unsaid."""
    a, b = (TokenLogprob(token=token, logprob=-1.0) for token in "ab")
    pieces = (Logprobs(content=(a,)), Logprobs(refusal=(b,)), Logprobs(content=(b,), extra={"x": 1}))
    found = fold([START, *(LogprobsDelta(logprobs=piece) for piece in pieces)]).choices[0].logprobs

    assert Logprobs(content=(a, b), refusal=(b,), extra={"x": 1}) == found


def test_results_do_not_stand_in_answers() -> None:
    """A tool's result is the caller's, not the model's."""
    with pytest.raises(GrammarError):
        list(unfold(ChatResponse(choices=(Choice(parts=(ToolResult(call_id="c"),)),))))


def test_a_part_needs_an_opening() -> None:
    """Folding a stream that was never checked says so."""
    with pytest.raises(GrammarError):
        fold([START, ToolCallDelta(arguments="x")])


def test_choices_that_share_a_number_are_given_one_each() -> None:
    """Some upstreams number none of their choices, or all alike."""
    same = tuple(Choice(index=0, parts=(Text(text=word),), finish=Finish(reason="stop")) for word in "abc")

    told = fold(check(unfold(ChatResponse(choices=same))))

    assert [(0, "a"), (1, "b"), (2, "c")] == [(one.index, one.parts[0].text) for one in told.choices]  # type: ignore[union-attr]


def test_many_parts_are_checked_in_a_row() -> None:
    """The cost of checking grows with the number of events, not with its square."""
    whole = [PartWhole(index=i, part=Opaque(dialect="x", kind="k", raw={})) for i in range(30_000)]

    assert 30_003 == len(check([ResponseStart(), *whole, ChoiceEnd(finish=Finish(reason="stop")), ResponseEnd()]))
