"""Streams written: every line fits the schema, the last one says that it is done, and readers come to the end."""

from __future__ import annotations

import json
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
    Usage,
)
from providers.canonical.errors import StreamTruncated
from providers.canonical.loss import Losses
from providers.canonical.stream import (
    ChoiceEnd,
    PartEnd,
    ResponseEnd,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    fold,
    unfold,
)
from tests.corpus import schema
from tests.providers.dialects.ollama.speak import (
    OLLAMA,
    PIXEL,
    answered,
    decoded,
    events,
    foreign,
    line,
    lines_of,
    stream_out,
)

LINE = schema("ollama.chat.response", "ChatResponse")
STOP = Finish(reason="stop")
PROMPT = decoded({"model": "m", "prompt": "Hi"}, "generate")


def answer(*parts: Any, finish: Finish = STOP, **fields: Any) -> ChatResponse:
    choice = Choice(parts=parts, finish=finish, logprobs=fields.pop("logprobs", None))
    return ChatResponse(**{"dialect": "elsewhere", "model": "m", "created": 1, "choices": (choice,), **fields})


def written(response: ChatResponse) -> tuple[list[Any], list[str]]:
    losses: Losses = []
    lines = lines_of(stream_out(unfold(response), losses=losses))
    for one in lines:
        LINE.validate(one)
    return lines, [f"{loss.field}={loss.kind}" for loss in losses]


def test_the_lines_of_an_answer() -> None:
    """One for each piece, calls whole, the last with reason and counts."""
    usage = Usage(input_tokens=3, output_tokens=4)
    call = ToolCall(id="abc", name="f", arguments='{"a":1}')
    lines, losses = written(answer(Reasoning(text="hm"), Text(text="Hi"), call, usage=usage))

    head = {"model": "m", "created_at": "1970-01-01T00:00:01Z"}
    function = {"index": 0, "name": "f", "arguments": {"a": 1}}
    said = [
        {"role": "assistant", "content": "", "thinking": "hm"},
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "abc", "function": function}]},
    ]
    end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    assert [
        *({**head, "message": message, "done": False} for message in said),
        {**head, **end, "prompt_eval_count": 3, "eval_count": 4},
    ] == lines
    assert [] == losses


def test_a_stream_for_a_prompt() -> None:
    """In the shape of generate, thinking beside it; calls have no place there."""
    losses: Losses = []
    call = ToolCall(id="c", name="f", arguments="{}")
    lines = lines_of(stream_out(unfold(answer(Reasoning(text="hm"), Text(text="Hi"), call)), PROMPT, losses))

    assert [("", "hm"), ("Hi", None), ("", None)] == [(one["response"], one.get("thinking")) for one in lines]
    assert [False, False, True] == [one["done"] for one in lines]
    assert ["response"] == [loss.field for loss in losses]


def test_interleaved_calls_come_whole() -> None:
    """Pieces of two calls in turns: each in one line, in the order in which they end."""
    lines = lines_of(
        stream_out(
            [
                ResponseStart(model="m"),
                ToolCallStart(index=0, id="a", name="f"),
                ToolCallStart(index=1, id="b", name="g"),
                ToolCallDelta(index=0, arguments='{"x":'),
                ToolCallDelta(index=1, arguments="{}"),
                ToolCallDelta(index=0, arguments="1}"),
                PartEnd(index=1),
                PartEnd(index=0),
                ChoiceEnd(finish=Finish(reason="tool_calls")),
                ResponseEnd(),
            ]
        )
    )
    calls = [call for one in lines for call in one["message"].get("tool_calls", ())]

    assert [("b", 0, {}), ("a", 1, {"x": 1})] == [
        (call["id"], call["function"]["index"], call["function"]["arguments"]) for call in calls
    ]


@pytest.mark.parametrize(
    ("part", "loss"),
    [
        (Refusal(text="No."), "message.content=approximated"),
        (Media(kind="image", base64=PIXEL), "message.image=dropped"),
        (Opaque(dialect="gemini", kind="executableCode", raw={}), "message.executableCode=dropped"),
        (Text(text="x", citations=(Citation(url="u"),)), "message.citations=dropped"),
        (Text(text="x", seal=Seal(value="s", origin="gemini")), "message.signature=dropped"),
        (ToolCall(id="c", name="f", arguments="x", kind="custom"), "message.tool_calls=approximated"),
    ],
)
def test_parts_that_have_no_place(part: Any, loss: str) -> None:
    """The same losses as of a whole answer."""
    assert [loss] == written(answer(part))[1]


def test_a_signature_of_a_call_is_no_loss() -> None:
    """It is remembered by the call's id, which the caller gets."""
    call = ToolCall(id="c", name="f", arguments="{}", seal=Seal(value="s", origin="gemini"))

    assert [] == written(answer(call))[1]


def test_log_probabilities_have_a_line() -> None:
    """With no text of its own."""
    logprobs = Logprobs(content=(TokenLogprob(token="Hi", logprob=-1.0),))
    lines, _ = written(answer(Text(text="Hi"), logprobs=logprobs))

    assert [[{"token": "Hi", "logprob": -1.0}]] == [one["logprobs"] for one in lines if "logprobs" in one]


def test_further_choices_are_lost_once() -> None:
    """Nobody asks for several in this language."""
    call = ToolCall(id="c", name="f", arguments="{}")
    two = tuple(Choice(index=i, parts=(Text(text=str(i)), call), finish=STOP) for i in (0, 1))
    lines, losses = written(answer(choices=two))

    assert "0" == "".join(one["message"]["content"] for one in lines)
    assert ["choices=dropped"] == losses


def test_a_blocked_prompt_is_told() -> None:
    """In the text, and in the reason as far as there is a word."""
    blocked = ChatResponse(blocked=Finish(reason="content_filter", message="Not this."))
    lines, losses = written(blocked)

    assert "Not this." == lines[0]["message"]["content"]
    assert (True, ["done_reason=approximated"]) == (lines[-1]["done"], losses)


def test_an_error_is_a_line() -> None:
    """Which every client of this language raises; nothing is said to be done."""
    encoder = OLLAMA.stream_encoder(foreign(), [])
    out = encoder.feed(ResponseStart(model="m")) + encoder.feed(TextDelta(text="Hi"))
    last = encoder.error(StreamTruncated("it ended"))

    assert b"\n" == last[-1:] and 1 == last.count(b"\n")
    assert {"error": "it ended", "code": "upstream_truncated"} == json.loads(last)
    assert [False] == [one["done"] for one in lines_of(out)]


def test_line_readers_split_only_where_lines_end() -> None:
    """Common clients split at U+2028, U+2029 and U+0085, too: these go as escapes."""
    text = "a\u2028b\u2029c\u0085d\ne"
    data = stream_out(unfold(answer(Text(text=text), ToolCall(id="c", name="f", arguments='{"a":\n"\u2028"}'))))

    assert len(data.decode().splitlines()) == data.count(b"\n") == 3
    assert text == "".join(json.loads(one)["message"]["content"] for one in data.decode().splitlines())


def test_its_own_stream_keeps_its_words() -> None:
    """A whole answer that is given on as a stream: times, reasons, pictures and counts as the upstream had them."""
    last = line("Hi", done="load", images=[PIXEL]) | {"total_duration": 9, "context": [1]}
    lines = lines_of(stream_out(unfold(OLLAMA.decode_response(answered(last)))))

    assert last["created_at"] == lines[0]["created_at"]
    assert ("load", 9, [1]) == (lines[-1]["done_reason"], lines[-1]["total_duration"], lines[-1]["context"])
    assert [[PIXEL]] == [one["message"]["images"] for one in lines if "images" in one["message"]]


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5))
def test_what_is_written_is_read_again(texts: list[str]) -> None:
    """Any text, through bytes and back."""
    pieces = [TextDelta(text=text) for text in texts]
    data = stream_out([ResponseStart(model="m"), *pieces, PartEnd(), ChoiceEnd(finish=STOP), ResponseEnd()])
    found = fold(events(data))

    assert ["".join(texts)] == [part.text for part in found.choices[0].parts if isinstance(part, Text)]
