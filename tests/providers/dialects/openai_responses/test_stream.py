"""Streams read: the same events for any split, whatever servers do to the form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ChatResponse, Opaque, Reasoning, Refusal, Text, ToolCall
from providers.canonical.errors import (
    BadUpstreamBytes,
    StreamTruncated,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
)
from providers.canonical.stream import StreamEvent, TextDelta, fold
from tests.providers.dialects.openai_responses.speak import (
    RESPONSES,
    answered,
    call,
    event,
    events,
    meaning,
    message,
    reasoning,
    recorded,
    response,
    sse,
)

# ── recorded ───────────────────────────────────────────────────────────────────────────

#: Recorded streams whose last event is not what the events before it said, and why.
OTHERWISE = {
    "vai-openai-responses-9a48912a8c": "four answers in one file: what comes after the first is not read",
    "pai-openai-responses-fbd8e8c0a7": "the items of its tools ended in another order than they stand in",
}


def last_of(text: str) -> Any:
    """The response in the last event of a recorded stream."""
    lines = [line[5:] for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data:")]
    return json.loads(lines[-1])["response"]


def comparable(answer: ChatResponse) -> Any:
    """Without what OpenAI says otherwise in each event (states are encrypted anew, numbers rounded), and statuses."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            hidden = ("value", "fingerprint", "encrypted_content", "status", "logprobs", "logprob")
            kept = {k: plain(v) for k, v in value.items() if k not in hidden or (k == "logprobs" and "finish" in value)}
            return {k: v for k, v in kept.items() if not (k == "extra" and v == {})}
        return [plain(one) for one in value] if isinstance(value, list) else value

    return plain(meaning(answer))


def test_a_recorded_stream_says_what_its_last_event_says() -> None:
    """Put together from its pieces, an answer is the whole one: texts, calls, sources, usage, end."""
    count = 0
    for case in recorded():
        text = case.get("response_sse")
        if case["status"] != 200 or not text or case["id"] in OTHERWISE:
            continue
        whole = RESPONSES.decode_response(answered(last_of(text)))
        pieced = fold(events(text.encode()))
        count += 1

        assert comparable(whole) == comparable(pieced), case["id"]
    assert count >= 68


def test_any_packet_size_gives_the_same_events() -> None:
    """Every byte its own packet, or three: the events are those of the whole."""
    for case in recorded():
        data = (case.get("response_sse") or "").encode()
        if case["status"] == 200 and 0 < len(data) < 30_000:
            assert events(data) == events(data, 1) == events(data, 3), case["id"]


# ── one stream, every split ────────────────────────────────────────────────────────────


def place(item: str, output: int = 0, **more: Any) -> dict[str, Any]:
    return {"item_id": item, "output_index": output, **more}


def text_delta(text: str, output: int = 0, content: int = 0, **more: Any) -> dict[str, Any]:
    return event(
        "response.output_text.delta", **place("msg_1", output, content_index=content), delta=text, logprobs=[], **more
    )


def added(item: Any, output: int = 0) -> dict[str, Any]:
    return event("response.output_item.added", output_index=output, item=item)


def done(item: Any, output: int = 0) -> dict[str, Any]:
    return event("response.output_item.done", output_index=output, item=item)


CREATED = event("response.created", response=response(status="in_progress"))


def completed(*output: Any, **more: Any) -> dict[str, Any]:
    return event("response.completed", response=response(*output, **more))


def argued(text: str, output: int = 0) -> dict[str, Any]:
    return event("response.function_call_arguments.delta", **place("fc_1", output), delta=text)


HARD = 'a\u2028b\n\ndata: {"type":"error"}\n\n\r\u0085 "é" 👨‍👩‍👧'
_STREAM = sse(
    CREATED,
    added(reasoning(sealed=None)),
    event("response.reasoning_summary_text.delta", **place("rs_1", summary_index=0), delta="hm"),
    event("response.reasoning_summary_text.delta", **place("rs_1", summary_index=1), delta="so"),
    done(reasoning("hm", "so")),
    added(message(), 1),
    text_delta(HARD[:5], 1),
    text_delta(HARD[5:], 1),
    done(message(HARD), 1),
    added(call(arguments="", status="in_progress"), 2),
    argued('{"a":', 2),
    argued("1}", 2),
    done(call(), 2),
    completed(reasoning("hm", "so"), message(HARD), call(), usage={"input_tokens": 1, "output_tokens": 2}),
)


@given(st.lists(st.integers(0, len(_STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_gives_the_same_events(cuts: list[int], line_end: bytes) -> None:
    """Wherever packets are cut, inside a character or a CRLF, and whatever lines end in."""
    data = _STREAM.replace(b"\n", line_end)
    decoder = RESPONSES.stream_decoder()
    found: list[StreamEvent] = []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        found += decoder.feed(data[start:end])
    found += decoder.close()

    assert events(_STREAM) == found
    assert HARD == "".join(one.text for one in found if isinstance(one, TextDelta))


@pytest.mark.parametrize(
    "dress",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b": ping\n\n" + data.replace(b"\n\n", b"\n\n: ping\n\n", 1),
        lambda data: re.sub(rb"(?m)^event: .*\n", b"", data),
        lambda data: re.sub(rb"(?m)^event: .*\n", b"id: 1\nretry: 5\n", data),
        lambda data: data + b"data: [DONE]\n\n",
        lambda data: data[:-2],
        lambda data: data.replace(b'"output_index": 0, ', b""),
        lambda data: data.replace(b'"item_id": "msg_1"', b'"item_id": "changed"'),
        lambda data: data + sse(text_delta("too late", 9)),
        lambda data: data.replace(b"event: response.output_item.added", b"event: response.novel.thing"),
    ],
)
def test_what_servers_do_to_the_form(dress: Callable[[bytes], bytes]) -> None:
    """Names, comments, ids, an end mark of chat's, a last event without its empty line."""
    assert events(_STREAM) == events(dress(_STREAM))


# ── what is said ───────────────────────────────────────────────────────────────────────


def parts(*stream: Any) -> list[Any]:
    """What the parts of a stream add up to."""
    return [said(part) for part in fold(events(sse(*stream))).choices[0].parts]


def said(part: Any) -> Any:
    if isinstance(part, ToolCall):
        return part.id, part.name, part.arguments
    return part.text if isinstance(part, Text | Reasoning | Refusal) else type(part).__name__


def test_the_parts() -> None:
    """Texts of reasoning are one, with an empty line between them; its state is that of its last event."""
    [choice] = fold(events(_STREAM)).choices

    assert ["hm\n\nso", HARD, ("call_1", "f", '{"a":1}')] == [said(part) for part in choice.parts]
    assert choice.parts[0].seal is not None
    assert "gAAA" in choice.parts[0].seal.value
    assert choice.finish is not None
    assert "tool_calls" == choice.finish.reason


@pytest.mark.parametrize(
    "stream",
    [
        [completed(message("Hello"))],
        [CREATED, done(message("Hello")), completed(message("Hello"))],
        [CREATED, text_delta("Hello"), completed(message("Hello"))],
        [CREATED, text_delta("Hel"), completed(message("Hello"))],
        [CREATED, text_delta("Hel"), done(message("Hello")), completed()],
        [CREATED, added(message()), text_delta("Hel"), text_delta("lo", content=0), completed()],
        [CREATED, added(message()), text_delta("Hello", content=1), done(message("Hello")), completed()],
        [
            CREATED,
            text_delta("Hel"),
            event("response.output_text.done", **place("msg_1", content_index=0), text="Hello"),
            event("response.content_part.done", **place("msg_1", content_index=0), part={}),
            completed(),
        ],
    ],
)
def test_whatever_is_left_out(stream: list[Any]) -> None:
    """What was missing is taken from the event that says it again, and nothing twice."""
    assert ["Hello"] == parts(*stream)


@pytest.mark.parametrize(
    "stream",
    [
        [added(call(arguments="")), argued('{"a":'), argued("1}"), done(call()), completed(call())],
        [added(call(arguments='{"a":1}')), done(call()), completed(call())],
        [done(call()), completed(call())],
        [argued('{"a":'), argued("1}"), done(call()), completed(call())],
        [added(call(arguments="")), argued('{"a":'), completed(call())],
        [
            added(call(arguments="")),
            event("response.function_call_arguments.done", **place("fc_1"), arguments='{"a":1}'),
            completed(),
        ],
    ],
)
def test_calls_however_they_come(stream: list[Any]) -> None:
    """In pieces, whole, before their names, without their ends."""
    assert [("call_1", "f", '{"a":1}')] == parts(CREATED, *stream)


def test_calls_may_interleave() -> None:
    """Each keeps its own arguments."""
    two = call(id="fc_2", call_id="call_2", name="g")
    found = parts(
        CREATED,
        added(call(arguments="")),
        added({**two, "arguments": ""}, 1),
        argued('{"a":', 0),
        argued('{"a":', 1),
        argued("1}", 1),
        argued("1}", 0),
        done(two, 1),
        done(call(), 0),
        completed(call(), two),
    )

    assert [("call_1", "f", '{"a":1}'), ("call_2", "g", '{"a":1}')] == found


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (
            [
                event("response.reasoning_text.delta", delta="hm"),
                event("response.output_text.delta", delta="Hi"),
                completed(message("Hi")),
            ],
            ["hm", "Hi"],
        ),
        ([text_delta("a"), done(message("a")), text_delta("b"), completed(message("a"))], ["a", "b"]),
        ([done(message("a")), done(message("a")), completed(message("a"))], ["a"]),
        (
            [
                text_delta("a"),
                done(message("a")),
                event("response.output_text.done", **place("msg_1", content_index=0), text="a"),
                completed(message("a")),
            ],
            ["a"],
        ),
    ],
)
def test_places_that_are_missing_or_used_twice(stream: list[Any], expected: list[str]) -> None:
    """What is of another kind, or comes after the end of an item, is another part; what is said again is not."""
    assert expected == parts(CREATED, *stream)


def test_a_call_without_a_name() -> None:
    """Nobody can run it."""
    for stream in ([done(call(name="")), completed()], [argued("{}"), completed()]):
        with pytest.raises(BadUpstreamBytes):
            events(sse(CREATED, *stream))


def test_custom_calls() -> None:
    """Their input comes in events of its own."""
    item = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""}
    [choice] = fold(
        events(
            sse(
                CREATED,
                added(item),
                event("response.custom_tool_call_input.delta", **place("ctc_1"), delta="free "),
                event("response.custom_tool_call_input.done", **place("ctc_1"), input="free text"),
                done({**item, "input": "free text"}),
                completed(),
            )
        )
    ).choices
    [found] = choice.parts

    assert isinstance(found, ToolCall)
    assert ("custom", "free text") == (found.kind, found.arguments)


def test_refusals() -> None:
    """Are parts of their own, and the end of the answer."""
    refused = message(content=[{"type": "refusal", "refusal": "No."}])
    [choice] = fold(
        events(
            sse(
                CREATED,
                added(message()),
                event("response.refusal.delta", **place("msg_1", content_index=0), delta="N"),
                event("response.refusal.done", **place("msg_1", content_index=0), refusal="No."),
                done(refused),
                completed(refused),
            )
        )
    ).choices

    assert ["No."] == [said(part) for part in choice.parts]
    assert choice.finish is not None
    assert "refusal" == choice.finish.reason


def test_thoughts_of_open_models() -> None:
    """Come in the content of a reasoning item."""
    item = {"id": "rs_1", "type": "reasoning", "summary": []}
    whole = {**item, "content": [{"type": "reasoning_text", "text": "hmm"}]}
    found = parts(
        CREATED,
        added(item),
        event("response.reasoning_text.delta", **place("rs_1", content_index=0), delta="hm"),
        event("response.reasoning_text.done", **place("rs_1", content_index=0), text="hmm"),
        done(whole),
        completed(whole),
    )

    assert ["hmm"] == found


def test_what_built_in_tools_do_comes_whole() -> None:
    """With their items; what they say meanwhile is no part of the answer."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    [choice] = fold(
        events(
            sse(
                CREATED,
                added({**search, "status": "in_progress"}),
                event("response.web_search_call.searching", **place("ws_1")),
                event("response.mcp_call_arguments.delta", **place("ws_1"), delta="{}"),
                done(search),
                completed(search),
            )
        )
    ).choices

    assert (Opaque(dialect="openai.responses", kind="web_search_call", raw=search, form={"item": {}}),) == choice.parts


def test_sources_and_log_probabilities() -> None:
    """From their events, or from those that say everything again; never twice."""
    url = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    whole = message("a")
    whole["content"][0] |= {"annotations": [url], "logprobs": [token]}
    annotated = event(
        "response.output_text.annotation.added", **place("msg_1", content_index=0), annotation_index=0, annotation=url
    )
    weighed = {**text_delta("a"), "logprobs": [token]}
    for pieces in ([text_delta("a")], [weighed, annotated], [annotated, weighed]):
        [choice] = fold(events(sse(CREATED, *pieces, done(whole), completed()))).choices
        [text] = choice.parts

        assert isinstance(text, Text)
        assert ["https://a.example"] == [one.url for one in text.citations]
        assert choice.logprobs is not None
        assert ["a"] == [one.token for one in choice.logprobs.content or ()]


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("response.completed", {}, "stop"),
        (
            "response.incomplete",
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "length",
        ),
        ("response.incomplete", {"status": None, "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ],
)
def test_ends(kind: str, more: Any, reason: str) -> None:
    """By the status, else by the name of the last event."""
    [choice] = fold(events(sse(CREATED, event(kind, response=response(message("a"), **more))))).choices

    assert choice.finish is not None
    assert reason == choice.finish.reason


# ── faults ─────────────────────────────────────────────────────────────────────────────

FAILED = event(
    "response.failed", response=response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"})
)


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        ([FAILED], UpstreamBusy),
        ([event("error", code="server_error", message="no", param=None)], UpstreamFailed),
        ([event("error", error={"code": "insufficient_quota", "message": "no"}), FAILED], UpstreamDenied),
        ([event("response.cancelled", response=response(status="cancelled"))], UpstreamFailed),
    ],
)
def test_errors_in_a_stream(stream: list[Any], kind: type[UpstreamError]) -> None:
    """What came before is given out first, and nothing after."""
    decoder = RESPONSES.stream_decoder()
    before = list(decoder.feed(sse(CREATED, text_delta("Hi"), *stream, completed(message("Hi")))))

    assert ["Hi"] == [one.text for one in before if isinstance(one, TextDelta)]
    assert decoder.finished
    for again in (decoder.feed, lambda _: decoder.close()):
        with pytest.raises(kind):
            again(b"")


def test_the_recorded_error_of_a_stream() -> None:
    """As OpenAI sends it: nested, before anything was said."""
    error = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded", "param": None}
    with pytest.raises(UpstreamDenied, match="You exceeded"):
        events(sse(CREATED, event("error", sequence_number=2, error=error)))


@pytest.mark.parametrize("end", [len(_STREAM) - 3, len(_STREAM) // 2, len(_STREAM) - len(sse(completed()))])
def test_a_stream_that_just_ends_is_truncated(end: int) -> None:
    """Never an invented end, whatever has been said."""
    with pytest.raises(StreamTruncated):
        events(_STREAM[:end])


@pytest.mark.parametrize("done_mark", [b"", b"data: [DONE]\n\n"])
def test_an_end_mark_is_no_end(done_mark: bytes) -> None:
    """The response must have ended."""
    with pytest.raises(StreamTruncated):
        events(sse(CREATED, text_delta("Hi"), done(message("Hi"))) + done_mark)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b": ping\n\n",
        b"<html>no</html>\n\n",
        b"data: [1]\n\n",
        b"data: {\n\n",
        sse(CREATED, event("response.output_text.delta", output_index=0, delta=1)),
        sse(CREATED, event("response.output_text.delta", output_index=0, delta=["a"])),
        sse(CREATED, event("response.output_item.done", output_index=0)),
        sse(CREATED, added(1), argued("{}"), completed()),
        sse(event("response.completed", response=response(1))),
    ],
)
def test_what_is_no_stream(data: bytes) -> None:
    """Is said to be none."""
    with pytest.raises(BadUpstreamBytes):
        events(data)


def test_a_body_instead_of_a_stream() -> None:
    """Servers that fail early answer with a JSON error under the stream's content type."""
    for end in (b"", b"\n\n"):
        with pytest.raises(UpstreamBusy):
            events(b'{"error":{"message":"slow","code":429}}' + end)


def test_an_event_may_be_only_so_long() -> None:
    """Memory is bounded."""
    decoder = RESPONSES.stream_decoder(limit=1000)
    with pytest.raises(BadUpstreamBytes):
        decoder.feed(b"data: " + b"x" * 1001)


_WORDS = st.sampled_from(
    [None, 0, 1, -1, "", "x", [], {}, [{}], "output_text", "message", "function_call", "reasoning"]
)
_EVENT = st.dictionaries(
    st.sampled_from(["output_index", "content_index", "summary_index", "delta", "text", "item", "part", "logprobs"]),
    _WORDS | st.dictionaries(st.sampled_from(["type", "content", "id", "name", "call_id", "summary"]), _WORDS),
)
_KINDS = [
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_text.annotation.added",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.done",
]


@given(st.lists(st.tuples(st.sampled_from(_KINDS), _EVENT), max_size=6), st.booleans())
def test_nonsense_is_an_error_or_a_legal_stream(found: list[Any], ends: bool) -> None:
    """Whatever a server sends: events in legal order, or a fault of the upstream; never a crash."""
    stream = [{**fields, "type": kind} for kind, fields in found]
    with suppress(BadUpstreamBytes, StreamTruncated, UpstreamError):
        events(sse(CREATED, *stream, *([completed(message("x"))] if ends else [])))


def test_a_text_that_turns_into_a_refusal() -> None:
    """Two kinds of parts at the same place are two parts."""
    piece = event("response.output_text.delta", output_index=0, content_index=0, delta="!")
    refused = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}

    found = fold(events(sse(piece, event("response.completed", response=response(refused)))))

    assert [Text(text="!"), Refusal(text="No.")] == list(found.choices[0].parts)
