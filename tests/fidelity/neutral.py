"""What a request or an answer means, whoever wrote it: the neutral values that both readers fill and tests compare.

Nothing here, nor in the two readers (`read_chat`, `read_gemini`), knows the code under test: they use the standard
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
    marks: dict[str, Fact] = field(default_factory=dict)


@dataclass
class Request:
    said: list[Said] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    schema: Fact | None = None  # of the answer; its value as it was written

    def fact(self, name: str, value: Json, at: str) -> None:
        if says(value):
            self.facts[name] = Fact(value, at)


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
    finish: str | None = None  # stop, length, tool_calls, content_filter, error, other
    word: str | None = None  # the provider's own
    why: str = ""  # the provider's explanation
    tokens: list[str] | None = None  # of the log probabilities
    foreign: list[str] = field(default_factory=list)  # blocks of the provider's own tools

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


@dataclass
class Answer:
    id: str | None = None
    model: str | None = None
    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Usage | None = None
    blocked: str | None = None  # why the prompt was refused
    error: Json = None  # an error that ended a stream
    complete: bool = True  # the dialect's own end came


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
