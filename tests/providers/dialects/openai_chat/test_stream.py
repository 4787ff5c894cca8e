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

from providers.canonical.chat import ChatResponse, Citation, Media, Opaque, Reasoning, Refusal, Seal, Text, ToolCall
from providers.canonical.errors import BadUpstreamBytes, StreamTruncated, UpstreamBusy, UpstreamError, UpstreamFailed
from providers.canonical.stream import StreamEvent, TextDelta, fold
from providers.dialects.openai_chat.details import details_of
from tests.providers.dialects.openai_chat.speak import ALL, CHAT, chunk, events, recorded, sse

STOP = chunk({}, "stop")


def answer(*chunks: Any, done: bool = True) -> ChatResponse:
    return fold(events(sse(*chunks, done=done)))


def parts(*deltas: Any, finish: str = "stop") -> list[tuple[Any, ...]]:
    """What the deltas of one choice add up to."""
    found = answer(*(chunk(delta) for delta in deltas), chunk({}, finish)).choices[0].parts
    return [said(part) for part in found]


def said(part: Any) -> tuple[Any, ...]:
    if isinstance(part, ToolCall):
        return part.id, part.name, part.arguments
    return (type(part), part.text) if isinstance(part, Text | Reasoning | Refusal) else (type(part),)


def call(index: Any = 0, id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    raw = {"index": index, "id": id, "type": "function", "function": function, **more}
    return {"tool_calls": [{key: value for key, value in raw.items() if value is not None}]}


# ── recorded ───────────────────────────────────────────────────────────────────────────


def naive(text: str) -> dict[int, dict[str, Any]]:
    """A recorded stream joined in the simplest way: strings of the deltas per choice, usage, last finish_reason."""
    found: dict[int, dict[str, Any]] = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:") or line[5:].strip() in ("[DONE]", ""):
            continue
        for choice in json.loads(line[5:]).get("choices") or ():
            state = found.setdefault(choice["index"], {"content": "", "thought": "", "arguments": "", "finish": None})
            delta = choice.get("delta") or {}
            state["finish"] = choice.get("finish_reason") or state["finish"]
            content = delta.get("content")
            if isinstance(content, str):
                state["content"] += content
            for item in content if isinstance(content, list) else ():
                if item["type"] == "text":
                    state["content"] += item["text"]
                elif item["type"] == "thinking":
                    state["thought"] += "".join(piece["text"] for piece in item["thinking"])
            details = delta.get("reasoning_details") or ()
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            state["thought"] += thought or "".join(one.get("text") or one.get("summary") or "" for one in details)
            for one in delta.get("tool_calls") or ():
                state["arguments"] += (one.get("function") or {}).get("arguments") or ""
    return found


def good_streams(file: str) -> list[dict[str, Any]]:
    return [case for case in recorded(file) if "response_sse" in case and "error-in-stream" not in case["features"]]


@pytest.mark.parametrize("file", ALL)
def test_recorded_streams_add_up(file: str) -> None:
    """The events of a recorded stream say what a naive reading of its chunks says, in legal order."""
    streams = good_streams(file)
    for case in streams:
        expected = naive(case["response_sse"])
        found = fold(events(case["response_sse"].encode()))

        assert expected.keys() == {choice.index for choice in found.choices}, case["id"]
        for choice in found.choices:
            texts = "".join(part.text for part in choice.parts if isinstance(part, Text))
            thoughts = "".join(part.text for part in choice.parts if isinstance(part, Reasoning))
            calls = [part for part in choice.parts if isinstance(part, ToolCall)]
            want = expected[choice.index]
            assert (want["content"], want["thought"]) == (texts, thoughts), case["id"]
            assert (want["arguments"] or "{}" * len(calls)) == "".join(one.arguments for one in calls), case["id"]
            assert choice.finish is not None
            if calls:
                assert "tool_calls" == choice.finish.reason
    assert len(streams) >= 5


@pytest.mark.parametrize("file", ALL)
def test_any_packet_size_gives_the_same_events(file: str) -> None:
    """Every byte its own packet, or three: the events are those of the whole."""
    for case in good_streams(file):
        data = case["response_sse"].encode()
        if len(data) < 60_000:
            assert events(data) == events(data, 1) == events(data, 3), case["id"]


_STREAM = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm 👨‍👩‍👧"}),
    chunk({"content": 'a\u2028b\n\ndata: [DONE]\n\n\r\u0085 "é"'}),
    chunk(call(0, "c1", "f", '{"a":')),
    chunk(call(0, None, None, "1}")),
    chunk({}, "tool_calls", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
)


@given(st.lists(st.integers(0, len(_STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_gives_the_same_events(cuts: list[int], line_end: bytes) -> None:
    """Wherever packets are cut, inside a character or a CRLF, and whatever lines end in."""
    data = _STREAM.replace(b"\n", line_end)
    decoder = CHAT.stream_decoder()
    found: list[StreamEvent] = []
    edges = [0, *sorted(cut for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        found += decoder.feed(data[start:end])
    found += decoder.close()

    assert events(_STREAM) == found
    assert 'a\u2028b\n\ndata: [DONE]\n\n\r\u0085 "é"' in [event.text for event in found if isinstance(event, TextDelta)]


@pytest.mark.parametrize(
    "dress",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b": ping\n\n" + data.replace(b"\n\n", b"\n\n: OPENROUTER PROCESSING\n\n", 1),
        lambda data: re.sub(rb"(?m)^data: ", b"event: x\nid: 1\nretry: 5\ndata: ", data),
        lambda data: re.sub(rb"(?m)^data: ", b"data:", data),
        lambda data: data.replace(b"data: {", b"data: {\ndata: "),
        lambda data: data.replace(b"\n\n", b"\n\ndata:\n\n", 1),
        lambda data: data.rstrip(b"\n"),
        lambda data: data.removesuffix(b"data: [DONE]\n\n"),
        lambda data: data + b'data: {"choices":[{"index":0,"delta":{"content":"late"}}]}\n\nnonsense',
    ],
)
def test_the_form_of_events_does_not_matter(dress: Callable[[bytes], bytes]) -> None:
    """BOM, comments, other fields, no space, several lines, empty data, no last line, no `[DONE]`, bytes after it."""
    data = dress(_STREAM)

    for step in (0, 1):
        assert events(_STREAM) == events(data, step)


# ── the tolerant reader ────────────────────────────────────────────────────────────────


def test_id_and_model_of_the_first_useful_chunk() -> None:
    """Azure's first chunk has neither id nor choices."""
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [1]}
    found = answer(first, chunk({"content": "x"}), STOP)

    assert ("chatcmpl-1", "m", 1, {"prompt_filter_results": [1]}) == (found.id, found.model, found.created, found.extra)


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([call(1, "c1", "f", ""), call(1, None, None, "{}")], [("c1", "f", "{}")]),
        ([call(0, "c1", "f", "{}"), call(0, "c2", "g", "{}")], [("c1", "f", "{}"), ("c2", "g", "{}")]),
        ([call(None, "c1", "f", "{"), call(None, None, None, "}")], [("c1", "f", "{}")]),
        ([call(0, "c1", "f", "{"), call(0, "", "", "}")], [("c1", "f", "{}")]),
        ([call(0, "c1", "f", "{"), call(0, "c1", "f", "}")], [("c1", "f", "{}")]),
        ([call(0, None, "f", ""), call(0, "c1", None, "{}")], [("c1", "f", "{}")]),
        ([call(0, "c1", None, "{"), call(0, None, "f", "}")], [("c1", "f", "{}")]),
        ([call(0, "c1", "f", {"a": 1})], [("c1", "f", '{"a":1}')]),
        ([call(0, "c1", "f")], [("c1", "f", "{}")]),
        (
            [call(0, "c1", "f", ""), call(1, "c2", "g", "{"), call(0, None, None, "[]"), call(1, None, None, "}")],
            [("c1", "f", "[]"), ("c2", "g", "{}")],
        ),
    ],
    ids=[
        "index 1",
        "one index for two",
        "no index",
        "blank id and name",
        "repeated",
        "late id",
        "late name",
        "object",
        "none",
        "interleaved",
    ],
)
def test_tool_calls(deltas: list[Any], expected: Any) -> None:
    """In all the forms in which servers send them."""
    assert expected == parts(*deltas)


def test_calls_without_ids() -> None:
    """Two whole calls without index and id (Ollama) are two; each gets an id, marked as ours."""
    both = {
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "[]"}}]
    }
    found = answer(chunk(both), STOP).choices[0].parts

    assert [("f", "{}", True), ("f", "[]", True)] == [
        (part.name, part.arguments, part.invented_id) for part in found if isinstance(part, ToolCall)
    ]
    assert 2 == len({part.id for part in found if isinstance(part, ToolCall)})


def test_a_call_from_before_tools() -> None:
    """`function_call` is a call with an id of ours."""
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]

    assert [("f", "{}")] == [one[1:] for one in parts(*deltas, finish="function_call")]


def test_a_call_in_both_forms_is_one() -> None:
    """As llama-cpp-python streams it."""
    pieces = [{"name": "f", "arguments": text} for text in ("{", "}")]
    deltas = [
        {"function_call": piece, "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": piece}]}
        for piece in pieces
    ]

    assert [("f", "{}")] == [one[1:] for one in parts(*deltas, finish="tool_calls")]


def test_a_call_without_a_name_cannot_be_used() -> None:
    """Nobody could run it."""
    with pytest.raises(BadUpstreamBytes):
        answer(chunk(call(0, "c1", None, "{}")), STOP)


def test_a_signed_call() -> None:
    """The signature comes in the first delta, as Google's endpoint sends it."""
    signed = call(0, "c1", "f", "{}", extra_content={"google": {"thought_signature": "AA=="}})

    assert Seal(value="AA==", origin="gemini") == answer(chunk(signed), STOP).choices[0].parts[0].seal


def test_a_signed_text() -> None:
    """A signature of the message belongs to its text."""
    signed = {"content": "x", "extra_content": {"google": {"thought_signature": "AA=="}}}

    assert Text(text="x", seal=Seal(value="AA==", origin="gemini")) == answer(chunk(signed), STOP).choices[0].parts[0]


@pytest.mark.parametrize(
    "deltas",
    [
        [{"content": None, "reasoning_content": "hm"}, {"content": "x", "reasoning_content": None}],
        [{"reasoning": "hm"}, {"content": "x"}],
        [{"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}, {"content": "x"}],
        [{"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, {"content": "x"}],
        [
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "x"},
                ]
            }
        ],
    ],
)
def test_thinking(deltas: list[Any]) -> None:
    """Under all its names, and as chunks of content."""
    assert [(Reasoning, "hm"), (Text, "x")] == parts(*deltas)


def test_sealed_details_of_thinking_seal_it() -> None:
    """Signatures and encrypted thoughts of OpenRouter's, with all that they belong to; mere texts are no state."""
    signed = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1"}
    hidden = {"type": "reasoning.encrypted", "data": "c2VhbGVk"}
    deltas = [{"reasoning": "hm", "reasoning_details": [signed]}, {"content": "x"}, {"reasoning_details": [hidden]}]
    plain = [{"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, {"content": "x"}]

    first, text, last = answer(*map(chunk, deltas), STOP).choices[0].parts

    assert ("hm", [signed]) == (first.text, details_of(first.seal))
    assert (Text(text="x"), True, [hidden]) == (text, last.redacted, details_of(last.seal))
    assert [Reasoning(text="hm"), Text(text="x")] == list(answer(*map(chunk, plain), STOP).choices[0].parts)


def test_refusals_end_as_refusals() -> None:
    """`stop` after a refusal is one."""
    found = answer(chunk({"refusal": "no"}), STOP).choices[0]

    assert (Refusal(text="no"), "refusal") == (found.parts[0], found.finish and found.finish.reason)


def test_pictures_sound_citations_and_the_unknown() -> None:
    """Whole parts, sound joined from its pieces, annotations on their text."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    cited = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    found = (
        answer(
            chunk({"content": "x"}),
            chunk({"annotations": [cited]}),
            chunk({"images": [image]}),
            chunk({"content": [{"type": "reference", "reference_ids": [1]}]}),
            chunk({"audio": {"id": "a", "data": "QQ==", "transcript": "A"}}),
            chunk({"audio": {"data": "Qg==", "transcript": "B"}}),
            STOP,
        )
        .choices[0]
        .parts
    )

    assert Text(text="x", citations=(Citation(url="u", title="t", start=0, end=1),)) == found[0]
    assert [Media, Opaque, Media] == [type(part) for part in found[1:]]
    assert isinstance(found[3], Media)
    assert ("QUI=", "AB") == (found[3].base64, found[3].transcript)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "x"}, "stop", usage={"prompt_tokens": 1}), chunk({}, usage={"prompt_tokens": 9})],
        [chunk({"content": "x"}, "stop"), {**chunk(), "choices": [], "usage": {"prompt_tokens": 9}}],
        [chunk({"content": "x"}, "stop", x_groq={"usage": {"prompt_tokens": 9}})],
    ],
)
def test_the_last_usage_counts(chunks: list[Any]) -> None:
    """In the finish chunk, in every chunk, in one of its own, or in Groq's place."""
    usage = answer(*chunks).usage

    assert usage is not None
    assert 9 == usage.input_tokens


def test_several_choices_interleave() -> None:
    """Each has a state of its own."""
    found = answer(
        chunk({"content": "a"}, index=1),
        chunk({"content": "b"}),
        chunk({"content": "A"}, "stop", index=1),
        chunk({"content": "B"}, "length"),
    )

    assert [("bB", "length"), ("aA", "stop")] == [
        (choice.parts[0].text, choice.finish.reason)  # type: ignore[union-attr]
        for choice in found.choices
    ]


def test_logprobs_add_up() -> None:
    """Tokens of all chunks in order."""
    chunks = [chunk({"content": t}) for t in "ab"]
    for one, token in zip(chunks, "ab"):
        one["choices"][0]["logprobs"] = {"content": [{"token": token, "logprob": -1, "bytes": [1], "top_logprobs": []}]}
    logprobs = answer(*chunks, STOP).choices[0].logprobs

    assert logprobs is not None and logprobs.content is not None
    assert ["a", "b"] == [token.token for token in logprobs.content]


# ── ends and faults ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        sse(chunk({"content": "x"}), done=False),
        sse(chunk({"content": "x"})),
        sse(chunk({"content": "x"}, "stop"), chunk({"content": "y"}, index=1), done=False),
        sse(chunk({"content": "x"}), done=False) + b'data: {"choices":[{"ind',
        sse({**chunk(), "choices": []}, done=False),
    ],
    ids=["no end", "done without finish", "one of two", "half an event", "no choices"],
)
def test_a_stream_that_just_ends_is_truncated(data: bytes) -> None:
    """Never an invented `stop`; what came before is given out first."""
    with pytest.raises(StreamTruncated):
        events(data)


def test_done_with_the_bill_is_an_end() -> None:
    """Snowflake sends no finish_reason, LiteLLM none for the second choice; `[DONE]` and usage end the answer."""
    whole = answer(chunk({"content": "x"}), {**chunk(), "choices": [], "usage": {"prompt_tokens": 1}})
    both = answer(chunk({"content": "x"}), chunk({"content": "y"}, index=1), STOP)

    assert ["stop"] == [choice.finish and choice.finish.reason for choice in whole.choices]
    assert ["stop", "stop"] == [choice.finish and choice.finish.reason for choice in both.choices]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b": ping\n\n",
        b"data: [DONE]\n\n",
        b"data:\n\n",
        b"<html>Bad</html>",
        b"<html>\n\n</html>\n\n",
        b"hello",
    ],
)
def test_a_stream_without_events_cannot_be_used(data: bytes) -> None:
    """Empty, only comments, or no event stream at all: never an empty success."""
    with pytest.raises(BadUpstreamBytes):
        events(data)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[1]",
        b"1",
        b'"x"',
        b'{"choices":1}',
        b'{"choices":[1]}',
        b'{"choices":[{"delta":{"tool_calls":[1]}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
    ],
)
def test_an_event_that_cannot_be_read(bad: bytes) -> None:
    """The text before it is given out, then the fault."""
    decoder = CHAT.stream_decoder()
    before = decoder.feed(sse(chunk({"content": "x"}), bad, chunk({"content": "y"}), done=False))

    assert ["x"] == [event.text for event in before if isinstance(event, TextDelta)]
    assert decoder.finished
    for after in (lambda: decoder.feed(b"data: {}\n\n"), decoder.close):
        with pytest.raises(BadUpstreamBytes):
            after()


def test_a_split_emoji_is_mended() -> None:
    """Half of a surrogate pair in a chunk of its own becomes U+FFFD, not a crash."""
    assert [(Text, "\ufffd")] == parts_of(
        b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}'
    )


def parts_of(raw: bytes) -> list[tuple[Any, ...]]:
    return [said(part) for part in fold(events(sse(raw))).choices[0].parts]


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (sse({"error": {"message": "boom", "type": "server_error"}}, done=False), UpstreamFailed, "boom"),
        (sse({**chunk({}, "error"), "error": {"code": 429, "message": "slow"}}), UpstreamBusy, "slow"),
        (sse({**chunk(), "x_groq": {"error": "bad call"}}), UpstreamFailed, "bad call"),
        (sse(chunk({"content": ""}, "error")), UpstreamFailed, "the upstream's model failed"),
        (b'event: error\ndata: {"message":"boom"}\n\n', UpstreamFailed, "boom"),
        (b'{"error":{"message":"boom","code":429}}', UpstreamBusy, "boom"),
        (b'{\n "error": {\n  "message": "boom"\n }\n}\n\n', UpstreamFailed, "boom"),
    ],
)
def test_errors_in_a_stream(data: bytes, kind: type[UpstreamError], message: str) -> None:
    """As a key, an event, a finish_reason, or a bare JSON body under the stream's content type."""
    for step in (0, 1):
        with pytest.raises(UpstreamError) as caught:
            events(data, step)
        assert (kind, message) == (type(caught.value), caught.value.message)


def test_recorded_errors_in_streams() -> None:
    """Two real streams end in an error; its text is kept."""
    found = []
    for case in recorded(*ALL):
        if "response_sse" in case and "error-in-stream" in case["features"]:
            with pytest.raises(UpstreamError) as caught:
                events(case["response_sse"].encode())
            found.append(caught.value.message)

    assert {"Token limit reached", "Tool choice is required, but model did not call a tool"} == set(found)


def test_going_on_after_the_end_of_a_choice() -> None:
    """Empty deltas with the usage are harmless (OpenRouter); more text is not."""
    assert ["x"] == [
        part.text
        for part in answer(chunk({"content": "x"}, "stop"), chunk({"content": ""})).choices[0].parts
        if isinstance(part, Text)
    ]
    with pytest.raises(BadUpstreamBytes):
        answer(STOP, chunk({"content": "more"}))


def test_nothing_is_read_after_done() -> None:
    """`finished` tells the reader to stop."""
    decoder = CHAT.stream_decoder()
    decoder.feed(sse(STOP))

    assert decoder.finished
    assert [] == [*decoder.feed(sse(chunk({"content": "late"}))), *decoder.close()]


def test_events_are_bounded() -> None:
    """An event larger than the limit ends the stream."""
    decoder = CHAT.stream_decoder(limit=1000)

    with pytest.raises(BadUpstreamBytes):
        for _ in range(100):
            decoder.feed(b"data: " + b"x" * 100)


@given(
    st.lists(
        st.recursive(
            st.none() | st.text(max_size=2) | st.integers(-1, 2),
            lambda x: (
                st.lists(x, max_size=2)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "choices",
                            "delta",
                            "content",
                            "tool_calls",
                            "index",
                            "id",
                            "function",
                            "name",
                            "arguments",
                            "finish_reason",
                            "usage",
                            "error",
                            "logprobs",
                            "audio",
                            "images",
                            "annotations",
                            "reasoning_details",
                            "function_call",
                            "extra_content",
                            "x_groq",
                            "type",
                            "text",
                        ]
                    ),
                    x,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ),
        max_size=3,
    )
)
def test_any_json_is_read_or_refused(chunks: list[Any]) -> None:
    """Whatever an upstream sends, it is events in legal order or one of our errors."""
    for data in (sse(*chunks), sse(*[chunk(one if isinstance(one, dict) else {}) for one in chunks], STOP)):
        with suppress(BadUpstreamBytes, StreamTruncated, UpstreamError):
            assert events(data)


@pytest.mark.parametrize("value", [1, ["no"], {"text": "no"}])
def test_a_refusal_is_a_text(value: Any) -> None:
    """Anything else in its place is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        answer(chunk({"refusal": value}), STOP)


@pytest.mark.parametrize("usage", ["0", 1, [1], True])
def test_a_usage_that_is_none(usage: Any) -> None:
    """Counts in a form that nobody documented are no counts, and no fault."""
    assert answer(chunk({"content": "Hi"}), STOP, {"choices": [], "usage": usage}).usage is None


@pytest.mark.parametrize(
    "delta",
    [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": 1}]}]},
        {"audio": {"id": "a", "data": 1}},
        {"audio": {"id": "a", "transcript": ["x"]}},
        call(id=6, name="f", arguments="{}"),
        call(id="c", name={"f": 1}, arguments="{}"),
        {"tool_calls": [{"index": 0, "id": 6, "type": "custom", "custom": {"name": "f", "input": ""}}]},
    ],
)
def test_texts_are_texts(delta: Any) -> None:
    """Anything else in their place is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        answer(chunk(delta), STOP)
