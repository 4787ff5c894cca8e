"""Streams written for a caller of this dialect."""

from __future__ import annotations

from typing import Any

import pytest
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
from providers.canonical.errors import StreamTruncated
from providers.canonical.loss import Losses
from providers.canonical.stream import (
    ChoiceEnd,
    PartEnd,
    ResponseEnd,
    ResponseStart,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    fold,
    unfold,
)
from tests.corpus import schema
from tests.providers.dialects.openai_chat.speak import (
    ALL,
    CHAT,
    chunks_of,
    decoded,
    events,
    recorded,
    stream_out,
)

CHUNK = schema("openai.chat.response", "ChatCompletionChunk")
START = ResponseStart(dialect="elsewhere", id="r1", model="m", created=7)
STOP = Finish(reason="stop")


def request(usage: bool = True) -> ChatRequest:
    return ChatRequest(dialect="openai.chat", model="asked", messages=(), stream=True, include_usage=usage)


def written(*found: StreamEvent, usage: bool = True) -> list[Any]:
    """The chunks, each of which fits the schema; the stream ends in `[DONE]`, once."""
    data = stream_out(found, request(usage))
    assert data.endswith(b"data: [DONE]\n\n") and data.count(b"data: [DONE]\n") == 1
    chunks = chunks_of(data)
    for chunk in chunks:
        CHUNK.validate(chunk)
    return chunks


def deltas(*parts: Any, finish: Finish = STOP) -> list[Any]:
    response = ChatResponse(dialect="elsewhere", id="r1", choices=(Choice(parts=parts, finish=finish),))
    return [chunk["choices"][0]["delta"] for chunk in written(*unfold(response))]


def test_a_whole_stream() -> None:
    """The role once, text, a finish chunk with an empty delta, usage in a chunk of its own."""
    found = [START, TextDelta(text="Hi"), PartEnd(), ChoiceEnd(finish=STOP), ResponseEnd()]
    head = {"id": "r1", "object": "chat.completion.chunk", "created": 7, "model": "m"}

    def chunk(delta: Any, finish: str | None = None) -> Any:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    plain = [chunk({"role": "assistant", "content": "", "refusal": None}), chunk({"content": "Hi"}), chunk({}, "stop")]
    assert plain == written(*found, usage=False)
    assert [{**one, "usage": None} for one in plain] == written(*found)


def test_usage_only_for_who_asked() -> None:
    """Then in the last chunk, without choices, and `usage: null` in the others."""
    response = ChatResponse(
        dialect="elsewhere",
        choices=(Choice(parts=(Text(text="x"),), finish=STOP),),
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    *others, last = written(*unfold(response))

    totals = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert ([], totals) == (last["choices"], last["usage"])
    assert {None} == {chunk["usage"] for chunk in others}
    assert not any("usage" in chunk for chunk in written(*unfold(response), usage=False))


def test_parts() -> None:
    """Thinking, text, a refusal, calls counted from 0, pictures."""
    found = deltas(
        Reasoning(text="hm"),
        Text(text="x", citations=(Citation(url="u"), Citation(title="no url"))),
        Refusal(text="no"),
        ToolCall(id="c1", name="f", arguments='{"a":1}'),
        ToolCall(id="c2", name="g", arguments=""),
        Media(kind="image", mime_type="image/png", base64="AAAA"),
        Media(kind="audio", base64="AAAA", transcript="A"),
        Opaque(dialect="elsewhere", kind="x", raw={}),
    )

    def opened(index: int, id: str, name: str) -> Any:
        return {
            "tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]
        }

    def argued(index: int, text: str) -> Any:
        return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    where = {"url": "u", "title": "", "start_index": 0, "end_index": 1}
    assert [
        {"reasoning_content": "hm"},
        {"content": "x"},
        {"annotations": [{"type": "url_citation", "url_citation": where}]},
        {"refusal": "no"},
        opened(0, "c1", "f"),
        argued(0, '{"a":1}'),
        opened(1, "c2", "g"),
        argued(1, "{}"),
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"audio": {"id": "", "data": "AAAA", "expires_at": 0, "transcript": "A"}},
        {},
    ] == found[1:]


def test_signatures() -> None:
    """That of a call in its first delta if it comes at once, else in one of its own; foreign ones are named."""
    seal = Seal(value="AA==", origin="gemini")
    google = {"extra_content": {"google": {"thought_signature": "AA=="}}}
    losses: Losses = []
    encoder = CHAT.stream_encoder(request(), losses)
    data = b"".join(
        encoder.feed(event)
        for event in (
            START,
            ToolCallStart(id="c1", name="f"),
            SealDelta(seal=seal),
            ToolCallDelta(arguments="{}"),
            PartEnd(),
            ToolCallStart(index=1, id="c2", name="f"),
            ToolCallDelta(index=1, arguments="{}"),
            SealDelta(index=1, seal=seal),
            PartEnd(index=1),
            TextDelta(index=2, text="x"),
            SealDelta(index=2, seal=seal),
            SealDelta(index=2, seal=Seal(value="s", origin="anthropic")),
        )
    )
    found = [chunk["choices"][0]["delta"] for chunk in chunks_of(data)]

    assert google["extra_content"] == found[1]["tool_calls"][0]["extra_content"]
    assert {"tool_calls": [{"index": 1, "function": {"arguments": ""}, **google}]} == found[5]
    assert google == found[7]
    assert ["choices[0].delta.signature"] == [loss.field for loss in losses]


def test_each_choice_has_its_role_once() -> None:
    """Choices interleave, each with an index, a role and an end."""
    found = written(
        START,
        TextDelta(choice=1, text="b"),
        TextDelta(choice=0, text="a"),
        TextDelta(choice=1, text="B"),
        PartEnd(choice=0),
        PartEnd(choice=1),
        ChoiceEnd(choice=1, finish=STOP),
        ChoiceEnd(choice=0, finish=STOP),
        ResponseEnd(),
    )

    assert [1, 0] == [chunk["choices"][0]["index"] for chunk in found if "role" in chunk["choices"][0]["delta"]]


def test_a_blocked_prompt() -> None:
    """A refusal, ended by the filter."""
    found = written(START, ResponseEnd(blocked=Finish(reason="content_filter", message="Blocked.")))

    assert ["", None, "content_filter"] == [
        found[0]["choices"][0]["delta"]["content"],
        found[1]["choices"][0]["finish_reason"],
        found[2]["choices"][0]["finish_reason"],
    ]
    assert "Blocked." == found[1]["choices"][0]["delta"]["refusal"]


def test_an_explained_refusal() -> None:
    """The provider's explanation is the refusal, unless it has said one."""
    finish = Finish(reason="refusal", message="Because.")

    assert {"refusal": "Because."} in deltas(finish=finish)
    assert {"refusal": "Because."} not in deltas(Refusal(text="no"), finish=finish)


def test_logprobs() -> None:
    """In a chunk with an empty delta."""
    logprobs = Logprobs(content=(TokenLogprob(token="x", logprob=-1.0),))
    response = ChatResponse(dialect="e", choices=(Choice(parts=(Text(text="x"),), finish=STOP, logprobs=logprobs),))
    found = [chunk["choices"][0]["logprobs"] for chunk in written(*unfold(response))]

    expected = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    assert {"content": [expected], "refusal": None} == found[2]


def test_callers_from_before_tools() -> None:
    """Who sent `functions` reads `function_call`."""
    response = ChatResponse(
        dialect="e",
        choices=(Choice(parts=(ToolCall(id="c", name="f", arguments="{}"),), finish=Finish(reason="tool_calls")),),
    )
    found = chunks_of(stream_out(unfold(response), decoded(stream=True, functions=[{"name": "f"}])))

    assert [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ] == [chunk["choices"][0]["delta"] for chunk in found[1:3]]
    assert "function_call" == found[3]["choices"][0]["finish_reason"]


def test_a_fault_ends_the_stream() -> None:
    """An error object as an event, and no `[DONE]`."""
    encoder = CHAT.stream_encoder(request(), [])
    data = encoder.error(StreamTruncated("it just ended"))

    error = {"message": "it just ended", "type": "upstream_error", "param": None, "code": "upstream_truncated"}
    assert [{"error": error}] == chunks_of(data)
    assert b"[DONE]" not in data
    assert "text/event-stream; charset=utf-8" == encoder.content_type


@pytest.mark.parametrize("text", ["a\u2028b\u2029c\u0085d", "\r\n\ndata: [DONE]\n\n", '"\\\x00', "👨‍👩‍👧"])
def test_text_stays_text(text: str) -> None:
    """Nothing in it ends a line for any reader, and it reads back the same."""
    data = stream_out([START, TextDelta(text=text), PartEnd(), ChoiceEnd(finish=STOP), ResponseEnd()])

    assert len(data.decode().splitlines()) == data.count(b"\n")
    assert text == "".join(part.text for part in fold(events(data)).choices[0].parts if isinstance(part, Text))


@pytest.mark.parametrize("file", ALL)
def test_recorded_streams_are_written_whole(file: str) -> None:
    """Decoded, written and decoded again, a real stream says the same; its chunks fit the schema."""
    for case in recorded(file):
        if "response_sse" not in case or "error-in-stream" in case["features"]:
            continue
        before = events(case["response_sse"].encode())
        data = stream_out(before)
        for chunk in chunks_of(data):
            CHUNK.validate(chunk)
        first, second = fold(before), fold(events(data))

        assert (first.id, first.usage) == (second.id if first.id else None, second.usage), case["id"]
        assert [(one.index, one.parts, one.logprobs) for one in first.choices] == [
            (one.index, one.parts, one.logprobs) for one in second.choices
        ], case["id"]
        assert [one.finish and one.finish.reason for one in first.choices] == [
            one.finish and one.finish.reason for one in second.choices
        ]


_PARTS = st.lists(
    st.builds(Text, text=st.text(min_size=1, max_size=5))
    | st.builds(Reasoning, text=st.text(min_size=1, max_size=5))
    | st.builds(ToolCall, id=st.uuids().map(str), name=st.just("f"), arguments=st.sampled_from(["{}", '{"a":1}'])),
    max_size=5,
)


@given(_PARTS)
def test_the_stream_says_what_the_whole_answer_says(parts: list[Any]) -> None:
    """Any answer streamed and collected equals the same answer written whole."""
    finish = Finish(reason="tool_calls" if any(isinstance(part, ToolCall) for part in parts) else "stop")
    response = ChatResponse(
        dialect="e", id="r", model="m", created=1, choices=(Choice(parts=tuple(parts), finish=finish),)
    )
    whole = CHAT.decode_response(CHAT.encode_response(response, request(), []))
    streamed = fold(events(stream_out(unfold(response))))

    def spoken(one: ChatResponse) -> Any:
        found = one.choices[0].parts
        return (
            "".join(part.text for part in found if isinstance(part, Text)),
            "".join(part.text for part in found if isinstance(part, Reasoning)),
            [(part.id, part.name, part.arguments) for part in found if isinstance(part, ToolCall)],
            one.choices[0].finish and one.choices[0].finish.reason,
        )

    assert spoken(whole) == spoken(streamed)
