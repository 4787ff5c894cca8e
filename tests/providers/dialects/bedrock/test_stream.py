"""Streams of the service: frames to events."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import ChatResponse, Citation, Media, Opaque, Reasoning, Seal, Text, ToolCall
from providers.canonical.errors import (
    BadUpstreamBytes,
    RouterError,
    StreamTruncated,
    UpstreamBusy,
    UpstreamFailed,
)
from providers.canonical.stream import ResponseEnd, StreamEvent, check, fold
from providers.wire.eventstream import encode_frame
from tests import corpus
from tests.providers.dialects.bedrock.spoken import BEDROCK, BEGIN, METADATA, answer, delta, end, frame, start, stop

Json = Any


def events(*pieces: bytes, limit: int = 1 << 20) -> list[StreamEvent]:
    decoder = BEDROCK.stream_decoder(limit=limit)
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return check([*found, *decoder.close()])


def folded(*pieces: bytes) -> ChatResponse:
    return fold(events(*pieces))


def parts(*pieces: bytes) -> Json:
    return folded(BEGIN, *pieces, end()).choices[0].parts


# ── blocks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([delta(0, text="a"), delta(0, text="b"), stop(0)], (Text(text="ab"),)),
        ([start(0), delta(0, text=""), delta(0, text="a"), stop(0)], (Text(text="a"),)),
        ([delta(0, text=""), stop(0)], ()),
        ([delta(0, text="a"), stop(0), delta(1, text="b"), stop(1)], (Text(text="a"), Text(text="b"))),
        (
            [
                start(0, toolUse={"toolUseId": "t", "name": "isthmus_my-2e-tool"}),
                delta(0, toolUse={"input": '{"a"'}),
                delta(0, toolUse={"input": ": 1.50}"}),
                stop(0),
            ],
            (ToolCall(id="t", name="my.tool", arguments='{"a": 1.50}'),),
        ),
        (
            [start(0, toolUse={"toolUseId": "t", "name": "f"}), delta(0, toolUse={"input": ""}), stop(0)],
            (ToolCall(id="t", name="f", arguments="{}"),),
        ),
        (
            [
                delta(0, reasoningContent={"text": "h"}),
                delta(0, reasoningContent={"text": "m"}),
                delta(0, reasoningContent={"signature": "Ep"}),
                delta(0, reasoningContent={"signature": "YF"}),
                stop(0),
            ],
            (Reasoning(text="hm", seal=Seal(value="EpYF", origin="bedrock")),),
        ),
        (
            [delta(0, reasoningContent={"signature": "EpYF"}), stop(0)],
            (Reasoning(text="", seal=Seal(value="EpYF", origin="bedrock")),),
        ),
        (
            [
                delta(0, reasoningContent={"redactedContent": "QQ=="}),
                delta(0, reasoningContent={"redactedContent": "Qg=="}),
                stop(0),
            ],
            (Reasoning(redacted=True, seal=Seal(value="QUI=", origin="bedrock")),),
        ),
        (
            [delta(0, citation={"title": "T", "source": "s"}), delta(0, text="a"), stop(0)],
            (Text(text="a", citations=(Citation(title="T", extra={"source": "s"}),)),),
        ),
        (
            [
                start(0, toolUse={"toolUseId": "t", "name": "f", "type": "server_tool_use"}),
                delta(0, toolUse={"input": '{"q":1}'}),
                stop(0),
                start(1, toolResult={"toolUseId": "t", "status": "success"}),
                delta(1, toolResult=[{"json": {"a": 1}}, {"text": "b"}]),
                stop(1),
            ],
            (
                Opaque(
                    dialect="bedrock.converse",
                    kind="toolUse",
                    raw={"toolUseId": "t", "name": "f", "type": "server_tool_use", "input": {"q": 1}},
                ),
                Opaque(
                    dialect="bedrock.converse",
                    kind="toolResult",
                    raw={"toolUseId": "t", "status": "success", "content": [{"json": {"a": 1}}, {"text": "b"}]},
                ),
            ),
        ),
        (
            [start(0, image={"format": "png"}), delta(0, image={"source": {"bytes": "AAAA"}}), stop(0)],
            (Media(kind="image", mime_type="image/png", base64="AAAA"),),
        ),
        # Blocks that change their kind without an end, deltas for blocks that are not there: seen in tests of others.
        (
            [delta(0, text="a"), start(0, toolUse={"toolUseId": "t", "name": "f"}), stop(0), delta(1, novelty=1)],
            (Text(text="a"), ToolCall(id="t", name="f", arguments="{}")),
        ),
    ],
)
def test_blocks(pieces: list[bytes], found: Json) -> None:
    """Each kind of block, in the pieces in which it comes."""
    assert found == parts(*pieces)


def test_interleaved_blocks_are_kept_apart() -> None:
    """Blocks are told by their index, and left open at the end they are closed there."""
    first, second = start(0, toolUse={"toolUseId": "a", "name": "f"}), start(1, toolUse={"toolUseId": "b", "name": "g"})
    pieces = (first, second, delta(1, toolUse={"input": "{}"}), delta(0, toolUse={"input": "[]"}))

    assert (ToolCall(id="a", name="f", arguments="[]"), ToolCall(id="b", name="g", arguments="{}")) == parts(*pieces)


# ── the end ────────────────────────────────────────────────────────────────────────────────


def test_the_end() -> None:
    """A finish, the count, what else the service tells, and nothing read behind it."""
    metadata = {
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        "metrics": {"latencyMs": 7},
        "serviceTier": {"type": "priority"},
        "p": "padding",
    }
    stopped = frame("messageStop", {"stopReason": "tool_use", "additionalModelResponseFields": {"x": 1}})
    decoder = BEDROCK.stream_decoder()
    found = check([*decoder.feed(BEGIN + delta(0, text="a") + stopped + frame("metadata", metadata) + b"rubbish")])
    response = fold(found)

    assert decoder.finished
    assert () == decoder.feed(b"more") == decoder.close()
    assert response.choices[0].finish and ("stop", "tool_use") == (
        response.choices[0].finish.reason,
        response.choices[0].finish.raw,
    )
    assert response.usage and (3, 2, 5) == (
        response.usage.input_tokens,
        response.usage.output_tokens,
        response.usage.total_tokens,
    )
    assert ({"additionalModelResponseFields": {"x": 1}, "metrics": {"latencyMs": 7}}, "priority") == (
        response.extra,
        response.service_tier,
    )


@pytest.mark.parametrize(
    "tail",
    [[METADATA, frame("messageStop", {"stopReason": "end_turn"})], [frame("messageStop", {"stopReason": "end_turn"})]],
)
def test_other_ends(tail: list[bytes]) -> None:
    """The count may come before the stop, or not at all: the answer is whole once it is stopped."""
    found = events(BEGIN, delta(0, text="a"), stop(0), *tail)

    assert isinstance(found[-1], ResponseEnd)
    assert "stop" == fold(found).choices[0].finish.reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "pieces",
    [[], [BEGIN], [BEGIN, delta(0, text="a")], [BEGIN, delta(0, text="a"), stop(0), METADATA], [BEGIN, end()[:-3]]],
)
def test_a_stream_that_just_ends(pieces: list[bytes]) -> None:
    """Without a stop, or inside a frame, it is truncated: never an invented end."""
    decoder = BEDROCK.stream_decoder()
    for piece in pieces:
        decoder.feed(piece)

    with pytest.raises(StreamTruncated):
        decoder.close()


# ── faults ─────────────────────────────────────────────────────────────────────────────────


def exception(kind: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, b'{"message":"no"}')


def fault(*pieces: bytes) -> RouterError:
    with pytest.raises(RouterError) as raised:
        events(*pieces)
    return raised.value


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([exception("throttlingException")], UpstreamBusy),
        ([BEGIN + delta(0, text="a") + exception("modelStreamErrorException")], UpstreamFailed),
        ([b"<html>502 Bad Gateway</html>"], BadUpstreamBytes),
        ([BEGIN + b"rubbish, and more of it"], BadUpstreamBytes),
        ([frame("contentBlockDelta", [1])], BadUpstreamBytes),
        ([encode_frame({":event-type": "metadata"}, b"{")], BadUpstreamBytes),
        ([BEGIN, frame("messageStop", {"stopReason": "malformed_tool_use"})], UpstreamFailed),
    ],
)
def test_faults(pieces: list[bytes], error: type[Exception]) -> None:
    """Exceptions of the service, bytes that are none, a failure with nothing to show."""
    assert error is type(fault(*pieces))


def test_what_came_before_a_fault_is_given_out() -> None:
    """The fault comes with the next call, and stays."""
    decoder = BEDROCK.stream_decoder()
    found = decoder.feed(BEGIN + delta(0, text="a") + exception("throttlingException"))

    assert 2 == len(found)
    for read in (lambda: decoder.feed(b""), lambda: decoder.close()):
        with pytest.raises(UpstreamBusy):
            read()


def test_an_event_beyond_the_limit() -> None:
    """Memory is bounded."""
    with pytest.raises(BadUpstreamBytes, match="larger than the limit"):
        events(BEGIN, delta(0, text="x" * 500), limit=400)


def test_events_that_nobody_knows_are_passed_over() -> None:
    """A newer service may say more."""
    assert (Text(text="a"),) == parts(frame("novelty", {"a": 1}), delta(0, text="a"), frame("contentBlockDelta", {}))


def test_frames_without_a_payload() -> None:
    """The protocol's `initial-response`, frames without headers, data of an unknown kind, an event without members."""
    names = {":message-type": "event", ":event-type": "contentBlockStop"}
    odd = [
        encode_frame({**names, ":event-type": "initial-response"}, b""),
        encode_frame({}, b""),
        encode_frame({**names, ":event-type": "novelty", ":content-type": "application/octet-stream"}, b"\xff\x00"),
    ]
    found = folded(*odd, BEGIN, delta(0, text="a"), encode_frame(names, b""), end(), METADATA)

    assert (Text(text="a"),) == found.choices[0].parts


def test_members_of_a_union_that_are_null_are_none() -> None:
    """Some proxies write all of them."""
    begin = frame("contentBlockStart", {"start": {"image": None, "toolUse": {"toolUseId": "t", "name": "f"}}})
    piece = frame("contentBlockDelta", {"delta": {"text": None, "toolUse": {"input": "{}"}}})

    assert (ToolCall(id="t", name="f", arguments="{}"),) == parts(begin, piece)


# ── any split, whole and in pieces ─────────────────────────────────────────────────────────

BLOCKS = st.lists(
    st.one_of(
        st.builds(lambda text: {"text": text}, st.text(min_size=1, max_size=9)),
        st.builds(
            lambda text: {"reasoningContent": {"reasoningText": {"text": text, "signature": "EpYF"}}},
            st.text(max_size=9),
        ),
        st.builds(
            lambda value: {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": value}}}, st.integers(-9, 9)
        ),
        st.just({"reasoningContent": {"redactedContent": "QUJD"}}),
    ),
    max_size=4,
)


def spelled(index: int, block: Json) -> bytes:
    """A block in pieces, as the service would send it."""
    if "text" in block:
        middle = len(block["text"]) // 2
        return b"".join(delta(index, text=text) for text in (block["text"][:middle], block["text"][middle:]))
    if "toolUse" in block:
        call = block["toolUse"]
        written = json.dumps(call["input"], separators=(",", ":"))
        begin = start(index, toolUse={"toolUseId": call["toolUseId"], "name": call["name"]})
        return begin + delta(index, toolUse={"input": written[:3]}) + delta(index, toolUse={"input": written[3:]})
    thought = block["reasoningContent"]
    if "redactedContent" in thought:
        return delta(index, reasoningContent=thought)
    told = thought["reasoningText"]
    text = delta(index, reasoningContent={"text": told["text"]}) if told["text"] else b""
    return text + delta(index, reasoningContent={"signature": told["signature"]})


@given(BLOCKS, st.lists(st.integers(0, 2000), max_size=5))
def test_a_stream_spells_the_whole_answer_at_any_split(blocks: Json, cuts: list[int]) -> None:
    """The same content, finish and count as whole, wherever the bytes are cut."""
    data = BEGIN + b"".join(spelled(i, block) + stop(i) for i, block in enumerate(blocks)) + end("end_turn")
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    streamed = folded(*(data[a:b] for a, b in pairwise(ends)))
    whole = BEDROCK.decode_response(answer(*blocks))

    assert whole.choices == streamed.choices
    assert whole.usage == streamed.usage


WORDS = [
    "text",
    "toolUse",
    "input",
    "toolUseId",
    "reasoningContent",
    "signature",
    "redactedContent",
    "image",
    "source",
    "toolResult",
    "citation",
    "name",
    "type",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=2,
        )
    ),
    max_leaves=5,
)
KINDS = st.sampled_from(["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "x"])


@given(
    st.lists(
        st.tuples(
            KINDS,
            st.dictionaries(
                st.sampled_from(["start", "delta", "contentBlockIndex", "stopReason", "usage", "serviceTier"]), JSON
            ),
        ),
        max_size=6,
    )
)
def test_whatever_a_service_sends_is_an_answer_or_a_fault(frames: Json) -> None:
    """Events of the wrong shape never break the reader, and what it gives out keeps to the grammar."""
    decoder = BEDROCK.stream_decoder()
    found: list[StreamEvent] = []
    try:
        for kind, payload in frames:
            found += decoder.feed(frame(kind, payload))
        found += decoder.close()
    except RouterError:
        pass

    assert check(found) == found


# ── recorded ───────────────────────────────────────────────────────────────────────────────

RECORDED = [case for case in corpus.cases("bedrock") if case["api"] == "converse-stream" and "response_b64" in case]


def test_there_is_recorded_traffic() -> None:
    """The test below does not pass for want of cases."""
    assert len(RECORDED) >= 25


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["id"])
def test_recorded_streams_say_what_botocore_reads(case: Json) -> None:
    """Texts, calls and the count of real streams, byte by byte, against the frames that botocore finds."""
    data = base64.b64decode(case["response_b64"])
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    frames = [(message.headers[":event-type"], json.loads(message.payload)) for message in buffer]
    deltas = [body["delta"] for kind, body in frames if kind == "contentBlockDelta"]
    response = folded(*(data[i : i + 1] for i in range(len(data))))
    found = response.choices[0].parts

    assert "".join(one.get("text", "") for one in deltas) == "".join(p.text for p in found if isinstance(p, Text))
    assert "".join(one["reasoningContent"].get("text", "") for one in deltas if "reasoningContent" in one) == "".join(
        part.text for part in found if isinstance(part, Reasoning)
    )
    starts = [body["start"].get("toolUse", {}) for kind, body in frames if kind == "contentBlockStart"]
    assert [one["toolUseId"] for one in starts if one and one.get("type") != "server_tool_use"] == [
        part.id for part in found if isinstance(part, ToolCall)
    ]
    counted = next((body["usage"]["outputTokens"] for kind, body in frames if kind == "metadata"), None)
    assert counted == (response.usage.output_tokens if response.usage else None)


def test_a_block_that_comes_whole_is_numbered_when_it_comes() -> None:
    """Those that were begun later and ended sooner stand before it."""
    image = start(0, image={"format": "png"})
    shown = delta(0, image={"source": {"bytes": "AAAA"}})

    found = parts(image, shown, delta(1, text="a"), stop(1), stop(0))

    assert [Text, Media] == [type(part) for part in found]


def test_reasoning_whose_text_is_none() -> None:
    """A part is opened for it all the same."""
    assert (Reasoning(text=""),) == parts(delta(0, reasoningContent={"text": 5}), stop(0))
