"""Answers as callers are to have them: the same whole and streamed, however the stream was cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.adherence import Breach
from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Logprobs,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
)
from providers.canonical.errors import BadUpstreamBytes, StreamTruncated
from providers.canonical.stream import ResponseStart, StreamEvent, TextDelta, check, fold, unfold
from providers.dialect import WireResponse
from providers.mending import Cut, Mended, MendedStream, Mending, Promised, Unfence, mended, mending, unwrapped, wish

ALL = frozenset({"stop_here", "hide_tool_calls", "strip_fence", "json_schema_field"})
SCHEMA = {"type": "object"}
CALL = ToolCall(id="c", name="f", arguments="{}")


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest(dialect="test", model="m", messages=(), **fields)


def answer(*parts: Any, reason: Any = "stop", **fields: Any) -> ChatResponse:
    return ChatResponse(id="i", choices=(Choice(parts=parts, finish=Finish(reason=reason), **fields),))


def streamed(what: Mending, response: ChatResponse, sizes: Iterator[int]) -> ChatResponse:
    """The answer as a stream whose texts come in pieces of these sizes, mended and put together."""
    stream = MendedStream(what)
    out: list[StreamEvent] = []
    for event in unfold(response):
        out += stream.feed(list(_pieces(event, sizes)))
    return fold(check(out))


def _pieces(event: StreamEvent, sizes: Iterator[int]) -> Iterator[StreamEvent]:
    if not isinstance(event, TextDelta):
        yield event
        return
    left = event.text
    while left:
        size = next(sizes)
        yield TextDelta(choice=event.choice, index=event.index, text=left[:size])
        left = left[size:]


def one_by_one() -> Iterator[int]:
    while True:
        yield 1


def text_of(response: ChatResponse) -> str:
    return "".join(part.text for part in response.choices[0].parts if isinstance(part, Text))


# ── what is to be done ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked(), Mending(hides_calls=True)),
        (asked(tools=(Tool(name="f"),)), None),
        (asked(tools=(Tool(name="f"),), stop=("", "x")), Mending(stops=("x",))),
        (asked(tools=(Tool(name="f"),), stop=("x",), n=2), Mending(stops=("x",), choices=2)),
        (asked(tools=(Tool(name="f"),), n=2), None),
        (asked(response_format=ResponseFormat(kind="json_object")), Mending(hides_calls=True, strips_fence=True)),
        (asked(response_format=ResponseFormat(kind="text")), Mending(hides_calls=True)),
        (asked(extra={"json_schema": SCHEMA}), Mending(hides_calls=True, strips_fence=True)),
    ],
)
def test_only_what_is_needed_is_done(request_: ChatRequest, expected: Mending | None) -> None:
    """An answer to which nothing is to be done can be relayed."""
    assert expected == mending(request_, ALL)
    assert None is mending(request_, frozenset())


def test_a_schema_in_a_field_of_its_own_is_a_wish() -> None:
    """Those who check answers find it in its usual place, and breaches are told by the caller's field."""
    request = asked(extra={"json_schema": SCHEMA})
    promise = Promised.of(request, ALL)

    assert promise is not None
    assert SCHEMA == (promise.request(request).response_format or ResponseFormat(kind="text")).schema
    assert ["json_schema"] == [one.field for one in promise.breaches([Breach(field="x", reasons=("r",), choice=0)])]
    assert None is Promised.of(request, frozenset())
    assert None is Promised.of(asked(), ALL)
    assert None is wish(asked(extra={"json_schema": "x"}))


# ── stop texts ─────────────────────────────────────────────────────────────────────────


def naive(text: str, stops: list[str]) -> str:
    """Letter by letter, up to where one of them is whole; the longest, if several are."""
    for size in range(len(text) + 1):
        whole = [stop for stop in stops if text[:size].endswith(stop)]
        if whole:
            return text[: size - max(map(len, whole))]
    return text


@given(
    st.text("ab#\n", max_size=30),
    st.lists(st.text("ab#", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_a_text_is_cut_alike_however_it_comes(text: str, stops: list[str], sizes: list[int]) -> None:
    """Whole, streamed in any pieces, or by the simplest search: the same text and the same end."""
    what = Mending(stops=tuple(stops))
    response = answer(Text(text=text))
    whole = mended(what, response)
    cut = streamed(what, response, (sizes[i % len(sizes)] for i in range(10**6)))

    assert naive(text, stops) == text_of(whole) == text_of(cut)
    assert whole.choices[0].finish == cut.choices[0].finish
    found = any(stop in text for stop in stops)
    assert found == (whole.choices[0].finish is not None and whole.choices[0].finish.stop_sequence is not None)


def test_no_more_is_held_back_than_may_become_a_stop() -> None:
    """What cannot begin one any more goes out at once."""
    fresh = Cut(["##x"])
    assert ["a", "b", "##c", "d"] == [fresh.feed(piece) for piece in ("a", "b##", "c", "d")]
    assert ("", "##") == (fresh.feed("##"), fresh.end())


def test_what_comes_behind_a_stop_is_not_told() -> None:
    """Parts, citations and log probabilities of what was cut are gone; what stood before stays."""
    cited = (Citation(url="u", start=0, end=1), Citation(url="v", start=3, end=5))
    response = answer(
        Reasoning(text="hm"),
        Text(text="ab END", citations=cited),
        Text(text="more"),
        CALL,
        logprobs=Logprobs(content=()),
    )
    cut = mended(Mending(stops=("END",)), response).choices[0]

    assert (Reasoning(text="hm"), Text(text="ab ", citations=cited[:1])) == cut.parts
    assert (None, "END") == (cut.logprobs, cut.finish and cut.finish.stop_sequence)
    stream = streamed(Mending(stops=("END",)), answer(Reasoning(text="hm"), Text(text="ab END"), CALL), one_by_one())
    assert (Reasoning(text="hm"), Text(text="ab ")) == stream.choices[0].parts


def test_choices_are_cut_one_by_one() -> None:
    """A stop in one is none in another."""
    choices = tuple(
        Choice(index=i, parts=(Text(text=t),), finish=Finish(reason="length")) for i, t in enumerate(("a#b", "ab"))
    )
    response = ChatResponse(choices=choices)
    for found in (mended(Mending(stops=("#",)), response), streamed(Mending(stops=("#",)), response, one_by_one())):
        assert ["stop", "length"] == [choice.finish.reason for choice in found.choices if choice.finish]
        assert [(Text(text="a"),), (Text(text="ab"),)] == [choice.parts for choice in found.choices]


# ── fences ─────────────────────────────────────────────────────────────────────────────

JSON = '{"a": "`x` ```"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"```json\n{JSON}\n```", JSON),
        (f"```json\r\n{JSON}\r\n```\n", JSON),
        (f"```\n{JSON}\n```", JSON),
        (f" \n```JSON  \n{JSON}```", JSON),
        (f"```json{JSON}```", JSON),
        (f"```{JSON}\n```", JSON),
        (JSON, JSON),
        ("", ""),
        ("``", "``"),
        ("```", "```"),
        (f"```json\n{JSON}", JSON),
        (f"Here: ```json\n{JSON}\n```", f"Here: ```json\n{JSON}\n```"),
        (f"```json\n{JSON}\n```\nDone.", JSON),
        (f"```json\n{JSON}\n``` Done. ```", JSON),
        (f"```json\n{JSON}\n```\n```json\n{{}}\n```", JSON),
        (f"``` json\n{JSON}\n```", JSON),
        (f"```json title=a\n{JSON}\n```", JSON),
        (f"````json\n{JSON}\n````", JSON),
        (f"\ufeff```json\n{JSON}\n```", JSON),
        (f"\ufeff{JSON}", JSON),
        ("\ufeff", ""),
        ("```json\n```", ""),
        ("```json\n```\nDone.", ""),
        (f"{JSON}\n```\nDone.", f"{JSON}\n```\nDone."),
        (" " * 5000 + "x", " " * 5000 + "x"),
    ],
)
def test_a_fence_is_taken_away(text: str, expected: str) -> None:
    """The fence that a text begins with, in any of its spellings, and what comes behind it; anything else stays."""
    what = Mending(strips_fence=True)
    response = answer(Text(text=text))

    assert expected == text_of(mended(what, response)) == text_of(streamed(what, response, one_by_one()))


@given(st.text("`{}json \n", max_size=40), st.lists(st.integers(1, 7), min_size=1))
def test_a_fence_is_taken_away_alike_however_it_comes(text: str, sizes: list[int]) -> None:
    """Whole and in any pieces."""
    what = Mending(strips_fence=True)
    response = answer(Text(text=text))
    pieces = streamed(what, response, (sizes[i % len(sizes)] for i in range(10**6)))

    assert text_of(mended(what, response)) == text_of(pieces)


def test_no_more_is_held_back_than_may_become_a_fence() -> None:
    """The text itself goes out as it comes, and white space without end is not kept."""
    fence = Unfence()
    assert ["", "", "{", '"a"'] == [fence.feed(piece) for piece in ("```", "json\n", "{", '"a"')]
    assert 5000 - 4096 == len(fence.feed(" " * 5000))


def test_a_stop_is_found_before_the_fence_is_taken_away() -> None:
    """Both at once."""
    what = Mending(stops=("END",), strips_fence=True)
    response = answer(Text(text="```json\n{}\nEND\n```"))

    assert text_of(mended(what, response)) == text_of(streamed(what, response, one_by_one()))
    assert "{}\n" == text_of(mended(what, response))


# ── calls ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "parts",
    [
        (CALL,),
        (Text(text="a"), CALL),
        (CALL, Text(text="a")),
        (Reasoning(text="h"), CALL, CALL, Text(text="a")),
    ],
)
def test_calls_are_hidden(parts: tuple[Any, ...]) -> None:
    """With them goes their finish reason; the other parts are numbered anew."""
    what, response = Mending(hides_calls=True), answer(*parts, reason="tool_calls")
    for found in (mended(what, response), streamed(what, response, one_by_one())):
        assert tuple(part for part in parts if part is not CALL) == found.choices[0].parts
        assert Finish(reason="stop") == found.choices[0].finish


def test_another_reason_stays() -> None:
    """Only an end with calls becomes a plain one."""
    found = mended(Mending(hides_calls=True), answer(CALL, reason="length"))

    assert Finish(reason="length") == found.choices[0].finish


# ── lists, decoders ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b' [ {"a": 1.0} ]', b'{"a": 1.0}'),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"[1, 2]", b"[1, 2]"),
        (b"[]", b"[]"),
        (b"[1", b"[1"),
        (b"", b""),
    ],
)
def test_a_lone_answer_comes_out_of_its_list(body: bytes, expected: bytes) -> None:
    """Byte for byte; what is no list of one is left alone."""
    assert expected == unwrapped(WireResponse(status=200, body=body)).body


class Failing:
    """A decoder of lines, each a piece of text of the choice that it begins with, that never sees an end."""

    finished = False

    def feed(self, data: bytes, /) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for line in data.decode().splitlines():
            if line == "bad":
                raise BadUpstreamBytes("a bad line")
            out.append(TextDelta(choice=int(line[0]), index=0, text=line[1:]))
        return out

    def close(self) -> list[StreamEvent]:
        raise StreamTruncated("cut")


@pytest.mark.parametrize("lines", [b"0a#b\n", b"0a#b\nbad\n"], ids=["cut", "bad"])
def test_what_fails_behind_a_stop_is_no_fault(lines: bytes) -> None:
    """The caller has all of its answer: the stream ends well, whatever becomes of the upstream's."""
    decoder = Mended(Failing(), Mending(stops=("#",)))
    start: list[StreamEvent] = [ResponseStart(dialect="test")]
    for line in lines.splitlines(keepends=True):
        start += decoder.feed(line)
    response = fold(check([*start, *decoder.close()]))

    assert ("a", "#", True) == (text_of(response), response.choices[0].finish.stop_sequence, decoder.settled)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (b"0a\n", Mending(stops=("#",))),
        (b"0a#\n", Mending(stops=("#",), choices=2)),
        (b"0a#\n1b\n", Mending(stops=("#",), choices=2)),
        (b"0a\n", Mending(hides_calls=True)),
    ],
)
def test_what_fails_before_all_is_said_is_a_fault(lines: bytes, what: Mending) -> None:
    """Each choice must have come to its end."""
    decoder = Mended(Failing(), what)
    decoder.feed(lines)
    with pytest.raises(StreamTruncated):
        decoder.close()
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"bad\n")


def test_a_decoder_is_mended() -> None:
    """Its events are changed, its end is its own."""

    class Whole:
        finished = False

        def feed(self, data: bytes, /) -> list[StreamEvent]:
            self.finished = True
            return list(unfold(answer(Text(text=data.decode()))))[:-1]

        def close(self) -> list[StreamEvent]:
            return list(unfold(answer()))[-1:]

    decoder = Mended(Whole(), Mending(stops=("#",)))
    events = [*decoder.feed(b"a#b"), *decoder.close()]

    assert ("a", True) == (text_of(fold(check(events))), decoder.finished)
