"""Event streams that are unusual, and legal: each dialect reads of them what it reads of the usual ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import pytest

from providers.canonical.chat import ChatResponse
from providers.canonical.stream import check, fold
from providers.dialect import Asked, WireRequest
from providers.dialects import DIALECTS
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
