"""Changes inputs at random, and repeatably: the same dice give the same input.

JSON is changed as a tree first, so that most inputs get past the parser and into the codec, then sometimes as bytes.
Streams are taken apart into their frames, which are changed, dropped, repeated, exchanged and spliced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeAlias

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.eventstream import EventStreamDecoder, encode_frame

Json: TypeAlias = Any
Place: TypeAlias = tuple[Any, Any]  # a dict or list, and a key of it

#: No input grows beyond this: what is unbounded shows at this size, too.
LONGEST = 64 << 10
_MOST_PLACES = 3000

#: Texts that something somewhere reads in a way of its own.
TEXTS = [
    *("", " ", "\n", "\x00", "\u2028\u2029\x85", "\ufeff", "\ud83d", "\ude00\ud83d", "\U0001f600"),
    *("e\u0301\u202e", "\uffff"),
    *("null", "true", "[DONE]", "data: x\n\n", "\r\n\r\n", "{}", '{"a":', "{'a': 1}", "[1,2]", '"', "\\", "NaN"),
    *(
        "data:image/png;base64,AAAA",
        "data:,",
        "data:;base64,====",
        "https://example.com/a.png",
        "file:///x",
        "https://[",
    ),
    *("AAAA", "AAA", "====", "0", "-1", "1e999", "9" * 400, "1970-01-01T00:00:00Z", "5m0s", "%00%ff", "../..", "a b"),
    *("sk-abcdefghijklmnop", "Bearer abcdefghij", "\x1b[0m", "a" * 300, "é" * 3000),
]
#: Numbers as JSON text; some are none.
NUMBERS = [
    *("0", "-0", "1", "-1", "2", "0.0", "1.0", "-1.5", "1e2", "0.1e-400", "1e308", "1e309", "-1e999", "NaN"),
    *("Infinity", "01", "+1", "1.", "2147483648", "-2147483649", "9007199254740993", "18446744073709551616"),
    *("1" + "0" * 40, "9" * 5000),
]
PLAIN: list[Json] = [None, True, False, {}, [], [[]], [{}], {"": None}, [None], "", 0, 1.5, "text", {"type": "text"}]


def places(value: Json) -> list[Place]:
    """Where the values of a tree stand, the first few thousand of them."""
    found: list[Place] = []
    todo: list[Json] = [value]
    while todo and len(found) < _MOST_PLACES:
        inner = todo.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        for key in keys:
            found.append((inner, key))
            if isinstance(inner[key], dict | list):
                todo.append(inner[key])
    return found


@dataclass(frozen=True)
class Vocabulary:
    """Words that mean something: keys of objects, and short texts that are values."""

    keys: Sequence[str]
    values: Sequence[str]


def vocabulary(values: Iterator[Json]) -> Vocabulary:
    """All keys and short texts of JSON values; of a schema also the properties and constants that it names."""
    keys: set[str] = set()
    texts: set[str] = set()
    for value in values:
        for inner, key in places(value):
            if isinstance(key, str):
                keys.add(key)
            if isinstance(inner[key], str) and 0 < len(inner[key]) < 30:
                texts.add(inner[key])
    return Vocabulary(sorted(keys), sorted(texts))


class JsonMutator:
    """Changes JSON texts. What JSON values cannot express (a key twice, 1e999) is put in after they are written."""

    def __init__(self, dice: Random, words: Vocabulary, seeds: Sequence[bytes]) -> None:
        self._dice = dice
        self._words = words
        self._seeds = seeds
        self._raw: dict[str, bytes] = {}

    def mutate(self, data: bytes) -> bytes:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return change_bytes(self._dice, data)
        return self.write(self.change(value))

    def change(self, value: Json) -> Json:
        """The value, changed in one to a few places. It is changed itself."""
        self._raw.clear()
        root = {"": value}
        for _ in range(min(8, int(self._dice.expovariate(0.5)) + 1)):
            if not root:
                break
            inner, key = self._dice.choice(places(root))
            self._dice.choice(self._CHANGES)(self, inner, key, root)
        return root.get("")

    def write(self, value: Json) -> bytes:
        ascii_only = self._dice.random() < 0.5
        text = json.dumps(value, ensure_ascii=ascii_only, separators=self._dice.choice([(",", ":"), (", ", ": ")]))
        data = text.encode("utf-8", "surrogatepass")
        if self._raw:
            data = re.sub(rb'"(@@\d+@@)"', lambda m: self._raw.get(m[1].decode(), m[0]), data)
        return data[:LONGEST] if self._dice.random() < 0.97 else change_bytes(self._dice, data)

    def _token(self, raw: bytes) -> str:
        """A text that `write` replaces by these bytes, quotes and all."""
        name = f"@@{len(self._raw)}@@"
        self._raw[name] = raw
        return name

    def value(self) -> Json:
        """Any value: a word, a number, something small, a part of another input."""
        dice = self._dice
        match dice.randrange(6):
            case 0:
                return dice.choice(TEXTS)
            case 1:
                return self._token(dice.choice(NUMBERS).encode())
            case 2:
                return dice.choice(self._words.values)
            case 3:
                return self._graft()
            case 4:
                depth = dice.choice([3, 60, 70, 1100, 5000])
                opening, closing = dice.choice([(b"[", b"]"), (b'{"a":', b"}")])
                return self._token(opening * depth + b"1" + closing * depth)
            case _:
                return json.loads(json.dumps(dice.choice(PLAIN)))

    def _graft(self) -> Json:
        try:
            other = json.loads(self._dice.choice(self._seeds))
        except (ValueError, RecursionError):
            return None
        inner, key = self._dice.choice(places({"": other}))
        return inner[key]

    # ── changes ────────────────────────────────────────────────────────────────────
    # Each is told a place (`inner[key]`) and the whole.

    def _drop(self, inner: Json, key: Any, root: Json) -> None:
        del inner[key]

    def _set(self, inner: Json, key: Any, root: Json) -> None:
        inner[key] = self.value()

    def _retype(self, inner: Json, key: Any, root: Json) -> None:
        """The same in another type, as sloppy servers and clients write it."""
        old = inner[key]
        text = old if isinstance(old, str) else json.dumps(old)[:2000]
        options: list[Json] = [text, [old], {"value": old}, None, bool(old), len(text), -len(text), len(text) + 0.5]
        if isinstance(old, list) and old:
            options += [old[0], dict(enumerate(old[:5]))]
        if isinstance(old, dict) and old:
            options += [list(old.values())[:5], next(iter(old.values()))]
        inner[key] = self._dice.choice(options)

    def _swap(self, inner: Json, key: Any, root: Json) -> None:
        other, place = self._dice.choice(places(root))
        inner[key], copied = json.loads(json.dumps(other[place])), inner[key]
        if self._dice.random() < 0.5 and other is not inner:
            other[place] = json.loads(json.dumps(copied))

    def _rename(self, inner: Json, key: Any, root: Json) -> None:
        if isinstance(inner, dict) and inner is not root:
            word = self._dice.choice(self._words.keys) if self._dice.random() < 0.8 else self._dice.choice(TEXTS)
            inner[word] = inner.pop(key)

    def _add(self, inner: Json, key: Any, root: Json) -> None:
        """A field that somebody has somewhere, or another item."""
        target = inner[key] if isinstance(inner[key], dict | list) else inner
        if isinstance(target, list):
            target.insert(self._dice.randint(0, len(target)), self.value())
        elif target is not root:
            target[self._dice.choice(self._words.keys)] = self.value()

    def _double(self, inner: Json, key: Any, root: Json) -> None:
        """A key twice, or an item."""
        if isinstance(inner, list):
            inner.insert(key, json.loads(json.dumps(inner[key])))
        elif inner is not root:
            inner[self._token(json.dumps(key).encode())] = self.value()

    def _grow(self, inner: Json, key: Any, root: Json) -> None:
        old = inner[key]
        times = self._dice.choice([2, 5, 50, 600])
        if isinstance(old, str | list) and len(json.dumps(old)) * times < LONGEST:
            # Each item its own: of items that are one, each later change would grow all, and each of those in them.
            inner[key] = json.loads(json.dumps(old * times))

    def _shuffle(self, inner: Json, key: Any, root: Json) -> None:
        old = inner[key]
        if isinstance(old, list):
            self._dice.shuffle(old)
        elif isinstance(old, dict):
            items = list(old.items())
            self._dice.shuffle(items)
            inner[key] = dict(items)

    def _edit(self, inner: Json, key: Any, root: Json) -> None:
        """A text with something in it, or cut."""
        old = inner[key]
        if isinstance(old, str):
            at = self._dice.randint(0, len(old))
            inner[key] = old[:at] + self._dice.choice(["", *TEXTS]) + old[at:] if at % 2 else old[:at]

    def _word(self, inner: Json, key: Any, root: Json) -> None:
        inner[key] = self._dice.choice(self._words.values)

    _CHANGES: tuple[Callable[[JsonMutator, Json, Any, Json], None], ...] = (
        *(_drop, _drop, _set, _set, _retype, _retype, _swap, _rename, _add, _add, _double),
        *(_grow, _shuffle, _edit, _word, _word),
    )


def change_bytes(dice: Random, data: bytes) -> bytes:
    """Bytes cut, doubled, flipped, or with others in them."""
    for _ in range(dice.randint(1, 3)):
        a, b = sorted(dice.randint(0, len(data)) for _ in range(2))
        match dice.randrange(6):
            case 0:
                data = data[:a]
            case 1:
                data = data[:a] + data[b:]
            case 2:
                data = data[:b] + data[a:]
            case 3:
                data = data[:a] + dice.randbytes(dice.randint(1, 4)) + data[a:]
            case 4:
                data = data[:a] + dice.choice(TEXTS).encode("utf-8", "surrogatepass") + data[a:]
            case _:
                flipped = bytes(byte ^ (1 << dice.randrange(8)) for byte in data[a : a + 1])
                data = data[:a] + flipped + data[a + 1 :]
    return data[:LONGEST]


# ── streams ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Frame:
    """One event: its data (JSON, as a rule), its name, the headers of a binary frame."""

    data: bytes
    name: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


_LEAST_FRAME = 16  # bytes of one without headers and payload, of Amazon's


def sse_frames(data: bytes) -> list[Frame]:
    found = []
    for block in re.split(rb"\n\n|\r\n\r\n", data):
        lines = [line.partition(b":")[::2] for line in block.splitlines()]
        told = [value.removeprefix(b" ") for key, value in lines if key == b"data"]
        if told:
            name = next((value.removeprefix(b" ") for key, value in lines if key == b"event"), None)
            found.append(Frame(b"\n".join(told), name))
    return found


def sse_bytes(dice: Random, frames: Sequence[Frame]) -> bytes:
    """The events with one kind of line end, or a mixture, and what else may stand in such a stream."""
    end = dice.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r\n", b"\r"])
    mixed = dice.random() < 0.05
    out = [b"\xef\xbb\xbf"] if dice.random() < 0.03 else []
    for frame in frames:
        end = dice.choice([b"\n", b"\r\n", b"\r"]) if mixed else end
        if dice.random() < 0.03:
            out.append(dice.choice([b": ping", b"id: 7", b"retry: 10", b"data", b"data:", b"event: ping", b"x"]) + end)
            out.append(dice.choice([b"", end]))
        if frame.name is not None:
            out.append(b"event: " + frame.name + end)
        out += [b"data: " + line + end for line in frame.data.split(b"\n")]
        out.append(end * dice.choice([0, 2, 3]) if dice.random() < 0.02 else end)
    return b"".join(out)


def line_frames(data: bytes) -> list[Frame]:
    return [Frame(line) for line in data.splitlines() if line.strip()]


def line_bytes(dice: Random, frames: Sequence[Frame]) -> bytes:
    end = dice.choice([b"\n", b"\n", b"\n", b"\r\n", b"\n\n"])
    return end.join(frame.data for frame in frames) + dice.choice([end, end, b""])


def array_bytes(dice: Random, frames: Sequence[Frame]) -> bytes:
    """The events as one JSON array."""
    comma = dice.choice([b",", b",\r\n", b"\n,\n", b", "])
    return b"[" + comma.join(frame.data for frame in frames) + dice.choice([b"]", b"]", b"\n]\n", b""])


def amazon_frames(data: bytes) -> list[Frame]:
    """The frames up to the first that is damaged."""
    found: list[Frame] = []
    decoder = EventStreamDecoder()
    while (size := int.from_bytes(data[:4], "big")) >= _LEAST_FRAME:
        try:
            told = decoder.feed(data[:size])
        except BadUpstreamBytes:
            break
        found += (Frame(payload, headers=dict(headers)) for headers, payload in told)
        data = data[size:]
    return found


def amazon_bytes(dice: Random, frames: Sequence[Frame]) -> bytes:
    return b"".join(encode_frame(frame.headers, frame.data) for frame in frames)


@dataclass(frozen=True)
class Framing:
    """How events stand in bytes."""

    split: Callable[[bytes], list[Frame]]
    join: Callable[[Random, Sequence[Frame]], bytes]


SSE = Framing(sse_frames, sse_bytes)
SSE_OR_ARRAY = Framing(sse_frames, lambda dice, found: (sse_bytes if dice.random() < 0.7 else array_bytes)(dice, found))
LINES = Framing(line_frames, line_bytes)
AMAZON = Framing(amazon_frames, amazon_bytes)


class StreamMutator:
    """Changes streams of events."""

    def __init__(self, dice: Random, words: Vocabulary, seeds: Sequence[bytes], framing: Framing) -> None:
        self._dice = dice
        self._words = words
        self._seeds = seeds
        self._framing = framing

    def mutate(self, data: bytes) -> bytes:
        frames = self._framing.split(data)
        if not frames:
            return change_bytes(self._dice, data)
        for _ in range(min(8, int(self._dice.expovariate(0.5)) + 1)):
            if frames:
                frames = self._dice.choice(self._CHANGES)(self, frames, self._dice.randrange(len(frames)))
        out = self._framing.join(self._dice, frames)
        return out[:LONGEST] if self._dice.random() < 0.9 else change_bytes(self._dice, out)

    # ── changes: the frames, and one of them ───────────────────────────────────────

    def _drop(self, frames: list[Frame], at: int) -> list[Frame]:
        return frames[:at] + frames[at + 1 :]

    def _double(self, frames: list[Frame], at: int) -> list[Frame]:
        to = self._dice.randint(0, len(frames))
        return frames[:to] + [frames[at]] * self._dice.choice([1, 1, 2, 30]) + frames[to:]

    def _swap(self, frames: list[Frame], at: int) -> list[Frame]:
        to = self._dice.randrange(len(frames))
        out = list(frames)
        out[at], out[to] = out[to], out[at]
        return out

    def _change(self, frames: list[Frame], at: int) -> list[Frame]:
        """The data of one event, as JSON."""
        grafts = [frame.data for frame in frames]
        data = JsonMutator(self._dice, self._words, grafts).mutate(frames[at].data)
        return [*frames[:at], replace(frames[at], data=data), *frames[at + 1 :]]

    def _cut(self, frames: list[Frame], at: int) -> list[Frame]:
        return frames[:at]

    def _splice(self, frames: list[Frame], at: int) -> list[Frame]:
        """Goes on as another stream."""
        other = self._framing.split(self._dice.choice(self._seeds))
        return frames[:at] + other[self._dice.randint(0, len(other)) :] + (frames[at:] if at % 2 else [])

    def _rename(self, frames: list[Frame], at: int) -> list[Frame]:
        """Another event's name, or one that nobody knows."""
        names = [frame.name for frame in frames] + [None, b"", b"error", b"ping", b"unknown"]
        headers = dict(self._dice.choice(frames).headers)
        if headers and self._dice.random() < 0.5:
            headers[self._dice.choice(list(headers))] = self._dice.choice(["", "exception", "error", "event", "é"])
        return [*frames[:at], replace(frames[at], name=self._dice.choice(names), headers=headers), *frames[at + 1 :]]

    def _say(self, frames: list[Frame], at: int) -> list[Frame]:
        """Something that is no event of the dialect."""
        said = [b"[DONE]", b"", b"null", b"[]", b"{}", b'"text"', b"<html>"]
        told = [b'{"error":{"message":"no"}}', b'{"error":"x"}', b'{"message":"no"}']
        frame = replace(frames[at], data=self._dice.choice([*said, *told]))
        return [*frames[:at], frame, *frames[at:]]

    _CHANGES: tuple[Callable[[StreamMutator, list[Frame], int], list[Frame]], ...] = (
        *(_change, _change, _change, _change, _change, _change, _drop, _drop, _double, _swap, _swap),
        *(_cut, _splice, _splice, _rename, _say),
    )
