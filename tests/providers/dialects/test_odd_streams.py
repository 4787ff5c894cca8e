"""Streams that are unusual, and legal or known of some server: they say what the usual ones say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import pytest

from providers.canonical.chat import ChatResponse, Text, ToolCall
from providers.canonical.errors import UpstreamFailed
from providers.canonical.stream import check, fold
from providers.dialect import Asked, WireRequest
from providers.dialects import DIALECTS
from tests.answers import bedrock_frame
from tests.fakes import event
from tests.lanes import UPSTREAMS, data_lines

Json: TypeAlias = Any
Event: TypeAlias = tuple[bytes, bytes]  # the line of its name, or nothing; its data

_CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
ASKS: dict[str, tuple[str, Json, dict[str, str]]] = {
    "openai": ("openai.chat", {**_CHAT, "stream_options": {"include_usage": True}}, {}),
    "responses": ("openai.responses", {"model": "m", "stream": True, "input": "x"}, {}),
    "anthropic": ("anthropic.messages", {**_CHAT, "max_tokens": 9}, {}),
    "gemini": (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
        {"model": "m", "task": "streamGenerateContent"},
    ),
    "cohere": ("cohere.chat", None, {}),
}


def said(language: str) -> list[Event]:
    raws = [one if isinstance(one, bytes) else event(one) for one in UPSTREAMS[language].events("a", "é\u2028b", "c")]
    blocks = [raw.strip() for raw in raws]
    return [(block.rpartition(b"data: ")[0], block.rpartition(b"data: ")[2]) for block in blocks]


def usual(events: Sequence[Event]) -> bytes:
    return b"".join(name + b"data: " + data + b"\n\n" for name, data in events)


def _each(frame: Callable[[bytes, bytes], bytes]) -> Callable[[Sequence[Event]], bytes]:
    return lambda events: b"".join(frame(name, data) for name, data in events)


def _lines(data: bytes) -> bytes:
    """A JSON text over several data lines."""
    return b"data: " + re.sub(rb"(?<=[{,])(?=\")", b"\ndata:", data)


ODD: dict[str, Callable[[Sequence[Event]], bytes]] = {
    "no blank": lambda events: usual(events).replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "many blanks": _each(lambda name, data: name + b"data: \t " + data + b" \t\n\n"),
    "name last": _each(lambda name, data: b"data: " + data + b"\n" + name.rstrip() + b"\n\n" * (name != b"") + b"\n"),
    "lines": _each(lambda name, data: name + _lines(data) + b"\n\n"),
    "empty first line": _each(lambda name, data: name + b"data\ndata: " + data + b"\n\n"),
    "empty last line": _each(lambda name, data: name + b"data: " + data + b"\ndata:\n\n"),
    "crlf": lambda events: usual(events).replace(b"\n", b"\r\n"),
    "cr": lambda events: usual(events).replace(b"\n", b"\r"),
    "mixed": _each(lambda name, data: name + b"data: " + data + b"\r\n\r\r"),
    "mark": lambda events: b"\xef\xbb\xbf" + usual(events),
    "marks in data": _each(lambda name, data: name + b"data: " + data.replace(b"{", b"\xef\xbb\xbf{", 1) + b"\n\n"),
    "ids": _each(lambda name, data: b"id: 7\nretry: 5\n" + name + b"data: " + data + b"\nid\nretry\n\n"),
    "comments": _each(lambda name, data: b": x\n:\n" + name + b"data: " + data + b"\n:y\n\n: z\n\n"),
    "unknown fields": _each(lambda name, data: b"foo: 1\nbar\n" + name + b"data: " + data + b"\n data: x\n\n"),
    "blocks of nothing": _each(
        lambda name, data: b"id\n\nretry\n\nfoo: 1\n\nping\n\n \n\n" + name + _lines(data) + b"\n\n"
    ),
    "empty data": _each(
        lambda name, data: b"data\n\ndata:\n\ndata:  \n\ndata\ndata\n\n" + name + _lines(data) + b"\n\n"
    ),
    "no end": lambda events: usual(events)[:-2],
    "done": lambda events: usual([one for one in events if one[1] != b"[DONE]"]) + b"data: [DONE] \n\n",
    "invalid utf-8": _each(lambda name, data: b": \xff\0\n" + name + b"data: " + data + b"\n\n"),
}


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def read(name: str, data: bytes, step: int) -> ChatResponse:
    decoder = DIALECTS[name].stream_decoder()
    events = [one for piece in pieces(data, step) for one in decoder.feed(piece)]
    return fold(check([*events, *decoder.close()]))


def asked(language: str) -> Asked:
    name, body, params = ASKS[language]
    query = {"alt": "sse"} if language == "gemini" else {}
    return DIALECTS[name].read(WireRequest(path="", query=query, body=msgspec.json.encode(body)), params)


def passed(language: str, data: bytes, step: int) -> list[Json]:
    relay = DIALECTS[ASKS[language][0]].stream_relay(asked(language))
    out = b"".join(relay.feed(piece) for piece in pieces(data, step)) + relay.close()
    return values(out)


def values(stream: bytes) -> list[Json]:
    """What the events of a stream say, but for end marks."""
    found = [
        data.replace(b"\xef\xbb\xbf", b"").strip()
        for data in data_lines(stream.removeprefix(b"\xef\xbb\xbf") + b"\n\n")
    ]
    return [msgspec.json.decode(data) for data in found if data not in (b"", b"[DONE]")]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("language", ASKS)
def test_an_unusual_event_stream_is_read_as_the_usual_one(language: str, odd: str) -> None:
    """Whole and byte by byte, translated and relayed."""
    events = said(language)
    data = ODD[odd](events)
    whole = read(ASKS[language][0], usual(events), 1 << 20)

    for step in (1, 1 << 20):
        assert whole == read(ASKS[language][0], data, step)
        if language != "cohere":
            assert values(usual(events)) == passed(language, data, step)


def halved(raw: bytes) -> bytes:
    return raw.replace(b"HIGH", b"\\ud83d").replace(b"LOW", b"\\ude00")


def framed(frame: bytes) -> bytes:
    """A frame of Bedrock's with the text in halves: it has a checksum."""
    if b"HIGH" not in frame and b"LOW" not in frame:
        return frame
    value, _ = UPSTREAMS["bedrock"].opened(frame)
    return bedrock_frame("contentBlockDelta", halved(msgspec.json.encode(value)))


OTHERS = [("ollama", "ollama.chat"), ("bedrock", "bedrock.converse")]


@pytest.mark.parametrize(
    ("language", "name"),
    [(language, ASKS[language][0]) for language in ASKS] + OTHERS,
)
def test_a_character_in_two_halves_is_one(language: str, name: str) -> None:
    """Upstreams that cut text by UTF-16 units write half an emoji at the end of one event, and half in the next."""
    raws = [one if isinstance(one, bytes) else event(one) for one in UPSTREAMS[language].events("a", "bHIGH", "LOWc")]
    data = b"".join(map(framed if language == "bedrock" else halved, raws))

    (part,) = read(name, data, 1 << 20).choices[0].parts

    assert isinstance(part, Text)
    assert "ab\U0001f600c" == part.text


# ── values ─────────────────────────────────────────────────────────────────────────────

Meaning: TypeAlias = tuple[str, list[tuple[str, str]], str, tuple[int | None, int | None]]
SAID: Meaning = ("ab", [], "stop", (9, 3))
CALLED: Meaning = ("", [("f", '{"a":1}')], "tool_calls", (9, 3))


def meaning(response: ChatResponse) -> Meaning:
    """Text, calls, how it ended, tokens."""
    (choice,), usage = response.choices, response.usage
    text = "".join(part.text for part in choice.parts if isinstance(part, Text))
    calls = [(part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCall)]
    assert choice.finish is not None and usage is not None
    return text, calls, choice.finish.reason, (usage.input_tokens, usage.output_tokens)


def stream(*events: Json) -> bytes:
    """Events named by their type, where they have one."""
    raws = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in events]
    names = [one.get("type") if isinstance(one, dict) else None for one in events]
    return b"".join(
        (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % raw
        for name, raw in zip(names, raws, strict=True)
    )


COUNTS = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
BILL = {"id": "c", "choices": [], "usage": COUNTS}
DONE = b"[DONE]"


def chunk(delta: Json, finish: Json = None, **more: Json) -> Json:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def called(id: Json = None, name: Json = None, arguments: Json = None, index: Json = 0) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


A, B, STOP = chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "stop")
CALLS = chunk({}, "tool_calls")
EMPTY = chunk({**called(), "content": "a"})
TWO = [("f", '{"a":1}'), ("f", '{"a":2}')]

CHAT: dict[str, tuple[list[Json], Meaning]] = {
    "counts written as floats": ([A, B, STOP, {**BILL, "usage": {k: float(v) for k, v in COUNTS.items()}}, DONE], SAID),
    "counts within the choice": ([A, B, chunk({}, "stop", usage=COUNTS), DONE], SAID),
    "no number": ([chunk({"content": "a"}, index=None), chunk({"content": "b"}, index="0"), STOP, BILL, DONE], SAID),
    "choices that are none": ([{"choices": {}}, A, B, STOP, BILL, DONE], SAID),
    "a message": ([{"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}, BILL, DONE], SAID),
    "a message again": ([A, B, {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}, BILL], SAID),
    "an empty call": ([EMPTY, B, STOP, BILL, DONE], SAID),
    "an object without anything": ([chunk({"content": "a", "tool_calls": [{}]}), B, STOP, BILL, DONE], SAID),
    "capitals": ([A, B, chunk({}, "STOP"), BILL, DONE], SAID),
    "another word for calls": ([chunk(called("i", "f", '{"a":1}')), chunk({}, "tool_use"), BILL, DONE], CALLED),
    "a late id": (
        [chunk(called(None, "f", '{"a"')), chunk(called("i", None, ":1}")), chunk({}, "tool_calls"), BILL, DONE],
        CALLED,
    ),
    "all calls at one place": (
        [chunk(called("", "f", '{"a":1}')), chunk(called("", "f", '{"a":2}')), chunk({}, "tool_calls"), BILL, DONE],
        ("", TWO, "tool_calls", (9, 3)),
    ),
    "another name at the same place": (
        [chunk(called("", "f", '{"a":1}')), chunk(called("", "g", "{}")), chunk({}, "tool_calls"), BILL, DONE],
        ("", [("f", '{"a":1}'), ("g", "{}")], "tool_calls", (9, 3)),
    ),
    "pieces of a name": (
        [chunk(called("i", "ge", "")), chunk(called(None, "t", "")), chunk(called(None, None, '{"a":1}')), CALLS, BILL],
        ("", [("get", '{"a":1}')], "tool_calls", (9, 3)),
    ),
    "as much of a name as there is": (
        [
            chunk(called("i", "ge", "")),
            chunk(called("i", "get", "")),
            chunk(called("i", "get", '{"a":1}')),
            CALLS,
            BILL,
        ],
        ("", [("get", '{"a":1}')], "tool_calls", (9, 3)),
    ),
    "two names without arguments, then text": (
        [chunk(called("i", "f")), chunk(called("k", "g", index=1)), A, chunk(called("i", "f")), B, CALLS, BILL],
        ("ab", [("f", "{}"), ("g", "{}")], "tool_calls", (9, 3)),
    ),
    "a name in each piece": (
        [chunk(called("", "f", '{"a"')), chunk(called("", "f", ":1}")), chunk({}, "tool_calls"), BILL, DONE],
        CALLED,
    ),
}


def block(index: Json, delta: Json) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": delta}


OPEN = {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 9.0}}}
BEGIN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}}
CALL = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}
WORDS = [block(0, {"type": "text_delta", "text": text}) for text in "ab"]
PIECE = block(0, {"type": "input_json_delta", "partial_json": '{"a":1}'})
OVER = {"type": "content_block_stop", "index": 0}


def closing(reason: str = "end_turn") -> list[Json]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3e0}},
        {"type": "message_stop"},
    ]


def _unplaced(event: Json) -> Json:
    return {key: value for key, value in event.items() if key != "index"}


ANTHROPIC: dict[str, tuple[list[Json], Meaning]] = {
    "nothing in a piece": (
        [OPEN, BEGIN, block(0, None), block(0, {"type": "text_delta", "text": None}), *WORDS, OVER, *closing()],
        SAID,
    ),
    "no place": ([OPEN, *map(_unplaced, [BEGIN, *WORDS, OVER]), *closing()], SAID),
    "no piece of json": ([OPEN, CALL, block(0, {"type": "input_json_delta"}), PIECE, *closing("tool_use")], CALLED),
    "another end of calls": ([OPEN, CALL, PIECE, OVER, *closing()], CALLED),
    "the mark of another language": ([OPEN, BEGIN, *WORDS, OVER, closing()[0], DONE], SAID),
}

_PLACE = {"output_index": 0, "content_index": 0}
RESPONSE = {"id": "r", "model": "m", "status": "completed", "usage": {"input_tokens": 9.0, "output_tokens": 3.0}}
TELL = [{"type": "response.output_text.delta", **_PLACE, "delta": text} for text in ("a", None, "b")]
ITEM = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": {"a": 1}}
RESPONSES: dict[str, tuple[list[Json], Meaning]] = {
    "nothing in a piece": ([*TELL, {"type": "response.completed", "response": RESPONSE}], SAID),
    "arguments as an object": (
        [
            {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
            {"type": "response.completed", "response": RESPONSE},
        ],
        CALLED,
    ),
}


def parts(*given: Json, **more: Json) -> Json:
    counts = {"promptTokenCount": 9.0, "candidatesTokenCount": 3.0}
    return {"candidates": [{"content": {"parts": [*given]}, **more}], "usageMetadata": counts}


GEMINI: dict[str, tuple[list[Json], Meaning]] = {
    "no error": ([{**parts({"text": "a"}), "error": None}, parts({"text": "b"}, finishReason="STOP")], SAID),
}


def told(content: Json) -> Json:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": content}}}


def tool(kind: str, calls: Json) -> Json:
    return {"type": f"tool-call-{kind}", "index": 0, "delta": {"message": {"tool_calls": calls}}}


ENDED = {
    "type": "message-end",
    "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 9, "output_tokens": 3}}},
}
F = {"id": "i", "function": {"name": "f", "arguments": {"a": 1}}}
COHERE: dict[str, tuple[list[Json], Meaning]] = {
    "nothing in a piece": (
        [{"type": "content-delta", "delta": None}, told(None), told({"text": "ab"}), ENDED],
        SAID,
    ),
    "no numbers": (
        [
            {"type": "content-start", "delta": {"message": {"content": {"type": "text", "text": ""}}}},
            {**told({"text": "a"}), "index": None},
            {key: value for key, value in told({"text": "b"}).items() if key != "index"},
            {"type": "content-end"},
            ENDED,
        ],
        SAID,
    ),
    "an end too many": ([tool("end", {}), tool("start", F), tool("delta", None), tool("end", {}), ENDED], CALLED),
}

VALUES = [
    pytest.param(language, events, expected, id=f"{language}: {name}")
    for language, table in (
        *(("openai", CHAT), ("anthropic", ANTHROPIC), ("responses", RESPONSES), ("gemini", GEMINI)),
        ("cohere", COHERE),
    )
    for name, (events, expected) in table.items()
]


@pytest.mark.parametrize(("language", "events", "expected"), VALUES)
def test_unusual_values_say_what_the_usual_ones_say(language: str, events: list[Json], expected: Meaning) -> None:
    """Null, or something empty, where nothing should be; numbers, names and words in other forms."""
    data = stream(*events)

    assert expected == meaning(read(ASKS[language][0], data, 1 << 20))
    if language != "cohere":
        assert values(data) == passed(language, data, 1 << 20)[: len(values(data))]  # an end mark may be added


@pytest.mark.parametrize("language", ["anthropic", "responses", "cohere"])
def test_an_events_name_is_its_type_where_its_data_has_none(language: str) -> None:
    """The name stands in both places usually."""
    events = [msgspec.json.decode(data) for _, data in said(language)]
    bare = [{key: value for key, value in one.items() if key != "type"} for one in events]
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (one["type"].encode(), msgspec.json.encode(rest))
        for one, rest in zip(events, bare, strict=True)
    )

    assert read(ASKS[language][0], usual(said(language)), 1 << 20) == read(ASKS[language][0], data, 1 << 20)
    if language != "cohere":
        assert bare == passed(language, data, 1 << 20)


@pytest.mark.parametrize("data", [b"boom", b'{"message": "boom"}', b'{"error": "boom"}'])
@pytest.mark.parametrize("end", [b"\n\n", b""])
@pytest.mark.parametrize("language", [language for language in ASKS if language != "gemini"])
def test_an_event_that_is_named_an_error_is_one(language: str, end: bytes, data: bytes) -> None:
    """Whatever its data is, and with or without its empty line."""
    start = usual(said(language)[:1]) + b"event: error\ndata: " + data + end

    for reading in (read, passed) if language != "cohere" else (read,):
        with pytest.raises(UpstreamFailed, match=r"^boom$"):
            reading(ASKS[language][0] if reading is read else language, start, 1 << 20)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_a_stream_of_gemini_may_turn_into_a_bare_error(end: bytes) -> None:
    """Prettily written or not, in a list or not, in an event or not."""
    error = {"error": {"code": 503, "message": "boom", "status": "UNAVAILABLE"}}
    for raw in (
        msgspec.json.encode(error),
        msgspec.json.format(msgspec.json.encode([error])),
        b"data: [%b]" % msgspec.json.encode(error),
    ):
        data = stream(parts({"text": "a"})) + raw + end
        with pytest.raises(UpstreamFailed, match=r"^boom$"):
            read("gemini", data, 1 << 20)
        with pytest.raises(UpstreamFailed, match=r"^boom$"):
            passed("gemini", data, 1 << 20)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("language", [language for language in ASKS if language != "gemini"])
def test_a_stream_may_turn_into_a_bare_error(language: str, end: bytes) -> None:
    """Its words are told, as those of one that came before all events."""
    error = {"type": "error", "error": {"type": "server_error", "message": "boom", "code": 500}}
    data = usual(said(language)[:2]) + msgspec.json.encode(error) + end

    for reading in (read, passed) if language != "cohere" else (read,):
        with pytest.raises(UpstreamFailed, match=r"^boom$"):
            reading(ASKS[language][0] if reading is read else language, data, 1 << 20)


def test_an_error_of_chat_without_an_envelope() -> None:
    """As older vLLM writes it."""
    data = stream(A, {"object": "error", "message": "boom", "type": "x", "code": 500})
    for reading in (lambda: read("openai.chat", data, 1 << 20), lambda: passed("openai", data, 1 << 20)):
        with pytest.raises(UpstreamFailed, match=r"^boom$"):
            reading()


def test_what_is_not_set_does_not_break_a_text_of_gemini_apart() -> None:
    """Servers that write all fields write these as well."""
    pieces = [{"text": "a", "thought": False, "thoughtSignature": ""}, {"text": "b", "thought": None}]
    found = read("gemini", stream(parts(*pieces, finishReason="STOP")), 1 << 20)

    assert (Text(text="ab"),) == found.choices[0].parts
