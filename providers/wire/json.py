"""JSON as the gateway reads and writes it: strict with callers, lenient with upstreams, exact in both.

msgspec does the work: it keeps integers beyond 64 bits, refuses 1e999, NaN, invalid UTF-8 and lone surrogates.
What it does not do is here: limits on nesting, on values and on the length of one integer, names for what is wrong, a
fallback for upstreams that split an emoji, splicing of top-level fields without touching the rest, and the
escaping of line separators that readers of event streams in common clients split on.
"""

from __future__ import annotations

import json as stdlib
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from providers.canonical.errors import BadUpstreamBytes, MalformedRequest
from providers.wire.memory import TOOLS
from providers.wire.sse import CR, LF

Json: TypeAlias = Any

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"%b(?!%b)|(?<!\\u[dD][89abAB]..)%b" % (_HIGH, _LOW, _LOW), re.DOTALL)

MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_INTEGER = 10**30
_KEY = re.compile(rb'[\s{,]*"([^"\\]*)"\s*:\s*')

#: What a decoder of ours raises for a text that it cannot read, whatever is the matter with it.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# ── reading ────────────────────────────────────────────────────────────────────────────


def decode_object(data: bytes, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES) -> dict[str, Json]:
    """A caller's body as a dict. MalformedRequest says what is wrong and where."""
    value = decode(data, depth=depth, values=values)
    if type(value) is not dict:
        raise MalformedRequest(f"a JSON object expected, not {kind_of(value)}")
    return value


class Usual(NamedTuple):
    """A field whose value nearly always has one simple shape, which is read in one step, checked and all.

    `read` gives what `shape` says, or raises ValidationError; what it accepts is no deeper than `DEEPEST_USUAL`.
    """

    key: str
    read: Callable[[msgspec.Raw], list[Any]]


DEEPEST_USUAL = 8
_LEAST_OF_A_VALUE = 2  # bytes, with what divides it from the next; so much does each level of nesting take, too
_MOST_DIGITS = 30
_DIGITS = b"0123456789"


def usual(key: str, shape: type[msgspec.Struct]) -> Usual:
    """A field that nearly always is a list of objects of this shape, which must forbid unknown fields."""
    return Usual(key, msgspec.json.Decoder(list[shape]).decode)  # type: ignore[valid-type]


#: A caller's body: its fields, the same as they were written, how many bytes those are when they are written compactly
#: (an object of that length holds nothing else), and the value of the usual field where it has its shape, for it is not
#: among the fields then. A plain tuple, for every request is read.
Read: TypeAlias = tuple[dict[str, Json], dict[str, msgspec.Raw], int, list[Any] | None]


def read_object(data: bytes, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES, usual: Usual | None = None) -> Read:
    """`decode_object` and `top_level` in one, field by field: tools that were the same before are not read again.

    Those are shared by all calls that bring them: nobody may change them.
    """
    short = _LEAST_OF_A_VALUE * depth  # bytes of a field that is nested too deep, or more
    if depth < DEEPEST_USUAL or len(data) > _LEAST_OF_A_VALUE * values:
        usual, short = None, 0  # all would have to be counted
    try:
        top = _decode_raw(data)
        body, found, seen = _fields(top, depth, usual, short)
    except (*UNREADABLE, MalformedRequest):
        return decode_object(data, depth=depth, values=values), top_level(data), 0, None  # says what is wrong
    if seen >= values:
        raise MalformedRequest(f"the body holds more than {values} values")
    return body, top, _least(top), found


def _fields(
    top: Mapping[str, msgspec.Raw], depth: int, usual: Usual | None, short: int
) -> tuple[dict[str, Json], list[Any] | None, int]:
    """The fields, the usual one apart, and how many values the others are with all that is in them.

    What is shorter than `short` bytes cannot be too deep; with 0 all is counted.
    """
    body: dict[str, Json] = {}
    others: list[Json] = []
    found: list[Any] | None = None
    seen = 0
    for key, raw in top.items():
        if key == "tools":
            body[key], seen = _remembered(bytes(raw), depth)
            continue
        if usual is not None and key == usual.key:
            try:
                found = usual.read(raw)
                continue
            except UNREADABLE:
                pass  # another shape, or none at all: that is for others to say
        body[key] = value = _decode(raw)
        size = len(raw)
        # Few digits cannot be an integer of many.
        if size >= short or (size > _MOST_DIGITS and size - len(bytes(raw).translate(None, _DIGITS)) > _MOST_DIGITS):
            others.append(value)
    return body, found, seen + _count(others, depth - 1, depth) if others else seen


def _least(fields: Mapping[str, msgspec.Raw]) -> int:
    return sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields) + 1


def _remembered(data: bytes, depth: int) -> tuple[Json, int]:
    """The value of `tools`, and how many values it is with all that is in it."""
    known = TOOLS.read(data)
    if known is not None:
        count, enough = known.about
        if enough <= depth:
            return known.objects[0], count
    value = _decode(data)
    count = _count((value,), depth - 1, depth)
    if type(value) is list:
        TOOLS.keep(data, value, (count, depth))
    return value, count


def decode(data: bytes, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES) -> Json:
    """A caller's JSON text. MalformedRequest for anything that is not valid JSON within the limits."""
    try:
        value = _decode(data)
    except RecursionError:
        raise MalformedRequest(f"JSON is nested more than {depth} deep") from None
    except UnicodeDecodeError:
        raise MalformedRequest("the body is not valid UTF-8") from None
    except msgspec.MsgspecError as error:
        raise MalformedRequest(_complaint(data, error)) from None
    if _count((value,), depth, depth) > values:
        raise MalformedRequest(f"the body holds more than {values} values")
    return value


def _complaint(data: bytes, error: Exception) -> str:
    if not data.strip():
        return "the body is empty; a JSON object expected"
    if data.startswith(BOM_UTF8):
        return "the body is not valid JSON: it begins with a byte order mark"
    if _LONE.search(data.replace(b"\\\\", b"")):
        return "the body is not valid JSON: half a surrogate pair, which is no character"
    return f"the body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"


_SIMPLE = frozenset({str, float, bool, type(None)})


def _count(values: Collection[Json], left: int, depth: int) -> int:
    """How many values these are, with all that is in them. Refuses what is nested too deep, and endless integers.

    Its cost grows with the number of values, not with bytes: a long text is one of them.
    """
    if left < 0:
        raise MalformedRequest(f"JSON is nested more than {depth} deep")
    seen = len(values)
    if _SIMPLE.issuperset(map(type, values)):
        return seen
    for value in values:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict:
            inner = value.values()
            if left > 0 and _SIMPLE.issuperset(map(type, inner)):  # most messages
                seen += len(inner)
            else:
                seen += _count(inner, left - 1, depth)
        elif kind is list:
            seen += _count(value, left - 1, depth)
        elif kind is int and not -MAX_INTEGER < value < MAX_INTEGER:
            raise MalformedRequest("an integer of more than 30 digits")
    return seen


def decode_upstream(data: bytes) -> Json:
    """JSON of an upstream. A byte order mark before it is passed over (RFC 8259, 8.1), lone surrogates become U+FFFD;
    whatever else is wrong is BadUpstreamBytes.
    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_leniently(data)
    except RecursionError:
        raise BadUpstreamBytes("the upstream's answer is nested too deep") from None


def _decode_leniently(data: bytes) -> Json:
    value = decode_with_halves(data)
    try:
        return stdlib.loads(whole_characters(stdlib.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError):
        raise BadUpstreamBytes("the upstream's answer is not valid JSON") from None


def decode_with_halves(data: bytes) -> Json:
    """JSON of an upstream, with the lone surrogates that only the standard library reads."""
    try:
        return stdlib.loads(data.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadUpstreamBytes("the upstream's answer is not valid JSON") from None


def whole_characters(text: str) -> str:
    """Pairs of surrogates joined, lone ones as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no_constant(word: str) -> Json:
    raise ValueError(word)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def kind_of(value: Json) -> str:
    """What a JSON value is, in JSON's words."""
    return _KINDS.get(type(value), "something else")


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


# ── splicing ───────────────────────────────────────────────────────────────────────────


def top_level(data: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of an object that `decode_object` has accepted, values as they were written."""
    return _decode_raw(data)


def has_duplicates(data: bytes, fields: Mapping[str, msgspec.Raw], least: int = 0) -> bool:
    """Is a top-level key of the object there twice? `fields` is `top_level(data)`, in which the last one won.

    A body as long as its fields written compactly can hold nothing else. In any other the fields are looked up
    one after the other; only where that fails (escapes in a key, or a key that is there twice) it is read again.
    """
    least = least or _least(fields)
    blanks = 2 * len(fields) - 1  # one after each colon and comma, as Python's json module writes it
    if len(data) == least or (len(data) == least + blanks and data == _spaced(fields)) or _in_a_row(data, fields):
        return False
    keys: list[str] = []

    def collect(pairs: list[tuple[str, Json]]) -> None:
        keys[:] = [key for key, _ in pairs]

    try:
        stdlib.loads(data, object_pairs_hook=collect, parse_int=len)
    except (ValueError, RecursionError):
        return True  # all that counts has been read: what cannot be is a field that a second one hides
    return len(keys) != len(set(keys))


def _spaced(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The object as Python's json module writes it, with a blank after each colon and comma."""
    return b"{%b}" % b", ".join(map(b'"%b": %b'.__mod__, zip(map(str.encode, fields), fields.values(), strict=True)))


def _in_a_row(data: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Is the object nothing but these fields in this order, with white space between?"""
    at = 0
    for key, raw in fields.items():
        match = _KEY.match(data, at)
        if match is None or match[1] != key.encode() or not data.startswith(bytes(raw), match.end()):
            return False
        at = match.end() + len(raw)
    return data[at:].strip() == b"}"


def splice(fields: Mapping[str, msgspec.Raw], replace: Mapping[str, Json], drop: frozenset[str] = frozenset()) -> bytes:
    """The object again with some top-level fields replaced, added or dropped, and every other value byte for byte."""
    merged: dict[str, Json] = {key: raw for key, raw in fields.items() if key not in drop}
    merged.update(replace)
    return encode(merged)


# ── writing ────────────────────────────────────────────────────────────────────────────


def escape_lines(data: bytes) -> bytes:
    """JSON in one line, with U+2028, U+2029 and U+0085 escaped: line readers in common clients split on them.

    Line ends in JSON stand between its values only: of arguments that a model wrote prettily.
    """
    if LF in data or CR in data:
        data = data.replace(b"\n", b"").replace(b"\r", b"")
    if data.isascii():
        return data
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if b"\xc2\x85" in data:
        data = data.replace(b"\xc2\x85", b"\\u0085")
    return data


# ── taking fields ──────────────────────────────────────────────────────────────────────


def as_text(value: Json) -> str:
    """A text of an upstream's answer; TypeError for anything else, which readers tell as the upstream's fault."""
    if type(value) is not str:
        raise TypeError(f"a string expected, not {kind_of(value)}")
    return value


def as_number(value: Json) -> float:
    """A number of an upstream's answer; TypeError as `as_text`."""
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"a number expected, not {kind_of(value)}")
    return value


def as_count(value: Json) -> int | None:
    """A number of tokens; 9.0 is one, too, as JSON has no integers of its own. None for what is none, -1 included."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def path(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def wrong(at: str, expected: str, value: Json) -> MalformedRequest:
    """The complaint about a field of the wrong type."""
    return MalformedRequest(f"{at} must be {expected}, not {kind_of(value)}", param=at)


def take_string(body: dict[str, Json], key: str, at: str = "") -> str | None:
    value = body.get(key)
    if value is None or type(value) is str:
        return value
    raise wrong(path(at, key), "a string", value)


def take_bool(body: dict[str, Json], key: str, at: str = "") -> bool | None:
    value = body.get(key)
    if value is None or type(value) is bool:
        return value
    raise wrong(path(at, key), "a boolean", value)


def take_integer(body: dict[str, Json], key: str, at: str = "") -> int | None:
    """An integer; 3.0 counts as 3, as protobuf's JSON form and most servers read it."""
    value = body.get(key)
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < MAX_INTEGER:
        return int(value)
    raise wrong(path(at, key), "an integer", value)


def take_number(body: dict[str, Json], key: str, at: str = "") -> float | None:
    value = body.get(key)
    if value is None or type(value) in (int, float):
        return value
    raise wrong(path(at, key), "a number", value)


def take_object(body: dict[str, Json], key: str, at: str = "") -> dict[str, Json] | None:
    value = body.get(key)
    if value is None or type(value) is dict:
        return value
    raise wrong(path(at, key), "an object", value)


def take_list(body: dict[str, Json], key: str, at: str = "") -> list[Json] | None:
    value = body.get(key)
    if value is None or type(value) is list:
        return value
    raise wrong(path(at, key), "an array", value)
