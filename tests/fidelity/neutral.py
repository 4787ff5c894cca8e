"""What a request or an answer means, whoever wrote it: the neutral values that both readers fill and tests compare.

Nothing here, nor in the readers (`read_chat`, `read_gemini`, …), knows the code under test: they use the standard
library alone, so that a fault of a codec cannot hide in the test of it. The rules are those of the project's definition
of a faithful translation.

    Request   said: what stands in the conversation, in order      facts: everything else, by a neutral name
    Answer    choices by index, usage in inclusive totals

`at` is always the path in the body that was read, so that a difference can be looked up among the declared losses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Any


def frozen(value: Json) -> str:
    """A value that can be compared and shown: JSON with keys in their order, 1.0 as 1."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Json) -> Json:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def says(value: Json) -> bool:
    """Does a value say anything? null, "", [] and {} do not."""
    return value is not None and value != "" and value != [] and value != {}


# ── requests ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fact:
    value: Json
    at: str


@dataclass
class Said:
    """One thing in the conversation. `marks`: what hangs on it, each of which may be lost on its own."""

    role: str  # system, user, assistant, tool
    kind: str  # text, media, call, result, reasoning, refusal, signature, block
    value: Json
    at: str
    marks: dict[str, Fact] = field(default_factory=dict)
    id: str | None = None  # of a call, or of the call that a result answers

    @property
    def core(self) -> str:
        return f"{self.role} {self.kind} {frozen(self.value)}"


@dataclass
class Function:
    name: str
    at: str
    description: str | None = None
    parameters: Json = None  # JSON Schema as it was written
    upper: bool = False  # written in the OpenAPI form
    schema_at: str = ""  # where the schema stands, if not at `{at}.parameters`
    marks: dict[str, Fact] = field(default_factory=dict)


@dataclass
class Request:
    said: list[Said] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    schema: Fact | None = None  # of the answer; its value as it was written
    shows: bool = False  # it thinks, and what it thinks is shown without being asked for
    heaped: bool = False  # a message has one text and a heap of pictures: nothing says which comes first
    asleep: bool = False  # it thinks only when it is asked to
    checks: bool = False  # every call is held to the schema of its tool, or there is none: Gemini, VALIDATED, ANY, NONE

    def fact(self, name: str, value: Json, at: str) -> None:
        if says(value):
            self.facts[name] = Fact(value, at)


class Conversation:
    """Collects what is said; results are tied to their calls at the end."""

    def __init__(self, out: Request) -> None:
        self.out = out
        self.said: list[Said] = []
        self.calls: list[tuple[int, str | None, str]] = []
        self.results: list[tuple[int, str | None, str]] = []

    def add(self, role: str, kind: str, value: Json, at: str) -> Said:
        one = Said(role, kind, value, at)
        self.said.append(one)
        return one

    def call(self, name: str, arguments: Json, id_: str | None, at: str, kind: str = "call") -> Said:
        one = self.add("assistant", kind, {"name": name, "arguments": arguments}, at)
        one.id = id_
        self.calls.append((len(self.said) - 1, id_, name))
        return one

    def result(self, value: Json, id_: str | None, name: str, at: str) -> Said:
        one = self.add("tool", "result", value, at)
        one.id = id_
        self.results.append((len(self.said) - 1, id_, name))
        return one

    def finish(self) -> None:
        paired(self.said, self.calls, self.results)
        self.out.said = in_order_of_calls(self.said)


# ── answers ────────────────────────────────────────────────────────────────────────────


@dataclass
class Call:
    name: str
    arguments: Json
    id: str | None = None
    signature: str | None = None


@dataclass
class Choice:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    media: list[Json] = field(default_factory=list)
    transcript: str = ""  # what is said in a sound
    finish: str | None = None  # stop, length, tool_calls, content_filter, pause, error, other
    word: str | None = None  # the provider's own
    why: str = ""  # the provider's explanation
    tokens: list[str] | None = None  # of the log probabilities
    foreign: list[str] = field(default_factory=list)  # blocks of the provider's own tools
    seals: list[str] = field(default_factory=list)  # signatures and sealed thoughts, in order
    sources: list[str] = field(default_factory=list)  # addresses that it cites, each once
    plain: bool = field(
        default=False, compare=False
    )  # thinking is told as a text, and need not be looked for elsewhere

    @property
    def heard(self) -> bool:
        return bool(self.text or self.reasoning or self.refusal or self.calls or self.media or self.foreign)


@dataclass
class Usage:
    """Inclusive totals: output includes reasoning, input includes what was cached. None and 0 say the same here."""

    input: int = 0
    output: int = 0
    total: int = 0
    cached: int = 0
    reasoning: int = 0
    kept: int = 0  # what of the input went into a cache
    sound: tuple[int, int] = (0, 0)  # of the input, of the output
    pictures: tuple[int, int] = (0, 0)


@dataclass
class Answer:
    id: str | None = None
    model: str | None = None
    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Usage | None = None
    blocked: str | None = None  # why the prompt was refused
    error: Json = None  # an error that ended a stream
    complete: bool = True  # the dialect's own end came
    loose: bool = False  # thinking comes in paragraphs: blanks between them are nobody's words


# ── small shapes ───────────────────────────────────────────────────────────────────────

_SAME_TYPE = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
}


def content(mime: str | None, data: str) -> Json:
    """Media by their bytes: type and digest."""
    try:
        padded = data.replace("-", "+").replace("_", "/") + "=" * (-len(data) % 4)
        digest = hashlib.sha256(base64.b64decode(padded, validate=True)).hexdigest()[:16]
    except (binascii.Error, ValueError):
        digest = "raw:" + hashlib.sha256(data.encode()).hexdigest()[:16]
    mime = (mime or "").partition(";")[0].lower()
    return {"type": _SAME_TYPE.get(mime, mime), "bytes": digest}


def from_url(url: str) -> Json:
    """Media by URL; a data URL (RFC 2397) by its bytes."""
    if not url.lower().startswith("data:"):
        return {"url": url}
    head, _, data = url[5:].partition(",")
    words = head.split(";")
    if words[-1].lower() != "base64":
        from urllib.parse import unquote_to_bytes

        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return content(words[0] or "text/plain", data)


def parsed(arguments: str) -> Json:
    """The arguments of a call: a JSON value, or what the model wrote where that is none."""
    if not arguments.strip():
        return {}
    try:
        return json.loads(arguments)
    except ValueError:
        return {"malformed": arguments}


def result_of(text: str) -> Json:
    """What a tool gave back as text: an object where the text is one, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"text": text}
    return {"object": value} if isinstance(value, dict) else {"text": text}


def paired(
    said: list[Said], calls: list[tuple[int, str | None, str]], results: list[tuple[int, str | None, str]]
) -> None:
    """Ties results to calls: by id where the call has it, else by name in order, else by order.

    `calls`, `results`: (place in `said`, id, name). Afterwards both carry the number of the call.
    """
    waiting: list[tuple[int, str | None, str]] = []
    number = {place: i for i, (place, _, _) in enumerate(calls)}
    events = sorted(
        [(place, False, id_, name) for place, id_, name in calls]
        + [(place, True, id_, name) for place, id_, name in results]
    )
    for place, is_result, id_, name in events:
        if not is_result:
            said[place].value["number"] = number[place]
            waiting.append((place, id_, name))
            continue
        found = next((one for one in waiting if id_ and one[1] == id_), None)
        found = found or next((one for one in waiting if name and one[2] == name), None)
        found = found or (waiting[0] if waiting and not id_ else None)
        if found is not None:
            waiting.remove(found)
        said[place].value["answers"] = number[found[0]] if found is not None else None


def in_order_of_calls(said: list[Said]) -> list[Said]:
    """Results that stand together, in the order of their calls: that order is free."""
    out: list[Said] = []
    run: list[Said] = []
    for one in [*said, None]:
        if one is not None and one.kind == "result":
            run.append(one)
            continue
        out += sorted(run, key=lambda item: (item.value["answers"] is None, item.value["answers"] or 0))
        run = []
        if one is not None:
            out.append(one)
    return out


def unescaped(name: str) -> str:
    """A function's name as its caller wrote it: what a target refuses is sent as `isthmus_`, odd characters as `:2e:`
    or `-2e-`.
    """
    if not name.startswith("isthmus_"):
        return name
    return re.sub(r"([:-])([0-9a-f]+)\1", lambda match: chr(int(match[2], 16)), name.removeprefix("isthmus_"))


def cache_of(mark: Json) -> str:
    """How long a mark asks to be kept; `default` where it leaves that to the provider."""
    ttl = mark.get("ttl") if isinstance(mark, dict) else None
    return "default" if ttl in (None, "", "5m") else str(ttl)


def error_of(text: str) -> Json:
    """What a tool that failed gave back."""
    return {"error": text}


# ── event streams ──────────────────────────────────────────────────────────────────────


def events(data: bytes) -> list[tuple[str, bytes]]:
    """(name, data) of each server-sent event, by the letter of the specification; a last one may lack its end."""
    found: list[tuple[str, bytes]] = []
    name, pieces = "", []
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if pieces:
                found.append((name, b"\n".join(pieces)))
            name, pieces = "", []
        elif line.startswith(b"data:"):
            pieces.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode()
    return found


def lines(data: bytes) -> list[Json]:
    """The JSON values of a stream of lines."""
    return [json.loads(line) for line in data.split(b"\n") if line.strip()]


def frames(data: bytes) -> list[tuple[dict[str, str], bytes]]:
    """(headers, payload) of each frame of an AWS event stream (`application/vnd.amazon.eventstream`)."""
    found: list[tuple[dict[str, str], bytes]] = []
    at = 0
    while at < len(data):
        total, length = struct.unpack_from(">II", data, at)
        headers: dict[str, str] = {}
        place, end = at + 12, at + 12 + length
        while place < end:
            size = data[place]
            name = data[place + 1 : place + 1 + size].decode()
            kind, place = data[place + 1 + size], place + 2 + size
            assert kind == 7, "every header of these streams is a string"
            (length_of_value,) = struct.unpack_from(">H", data, place)
            headers[name] = data[place + 2 : place + 2 + length_of_value].decode()
            place += 2 + length_of_value
        found.append((headers, data[end : at + total - 4]))
        at += total
    return found
