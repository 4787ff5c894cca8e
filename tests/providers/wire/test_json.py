"""JSON read strictly from callers, leniently from upstreams, and spliced without touching the rest."""

from __future__ import annotations

import json as stdlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import BadUpstreamBytes, MalformedRequest
from providers.wire import json
from providers.wire.json import as_number, as_text, escape_lines

# ── reading ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":1e999}', "not valid JSON"),
        (b'{"a":"\\ud800"}', "half a surrogate pair"),
        (b'{"a":"\\ud83d\\ude00\\ude00"}', "half a surrogate pair"),
        (b'{"a":"\\ud83d\\ude00\\\\ud800",}', "not valid JSON: trailing comma"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"[]", "object expected, not an array"),
        (b'"x"', "object expected, not a string"),
        (b"1", "object expected, not a number"),
        (b"null", "object expected, not null"),
        (b"true", "object expected, not a boolean"),
        (b'{"a":' + b"9" * 31 + b"}", "30 digits"),
        (b'{"a":[-' + b"9" * 31 + b"]}", "30 digits"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "64 deep"),
        (b"[" * 100_000, "deep"),
    ],
)
def test_a_callers_body_is_read_strictly(data: bytes, says: str) -> None:
    """One JSON object in UTF-8 within the limits; the complaint says what is wrong."""
    with pytest.raises(MalformedRequest) as caught:
        json.decode_object(data)

    assert says in caught.value.message


def test_limits_are_just_not_reached() -> None:
    """64 levels and 30 digits are allowed."""
    assert {"a": 10**30 - 1} == json.decode_object(b'{"a":' + b"9" * 30 + b"}")
    assert json.decode_object(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}")


def test_big_integers_stay_exact() -> None:
    """Beyond 64 bits, too, from callers and upstreams."""
    assert {"a": 2**64 + 1} == json.decode_object(b'{"a":18446744073709551617}')
    assert b'{"a":18446744073709551617}' == json.encode(json.decode_upstream(b'{"a":18446744073709551617}'))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":"\\ud83d"}', {"a": "\ufffd"}),
        (b'"\\ude00"', "\ufffd"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"\\ud83d":1}', {"\ufffd": 1}),
    ],
)
def test_half_characters_of_upstreams_are_mended(data: bytes, value: Any) -> None:
    """Some split an emoji across two chunks; what goes on is valid Unicode."""
    assert value == json.decode_upstream(data)


def test_a_byte_order_mark_of_upstreams_is_passed_over() -> None:
    """Some write one before all that they write as UTF-8."""
    assert {"a": 1} == json.decode_upstream(b'\xef\xbb\xbf{"a": 1}')


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *[(9, 9), (9.0, 9), (1e3, 1000), (0, 0), (9.5, None), (float("inf"), None), (True, None), ("9", None)],
        *[(-1, None), (-1.0, None)],
    ],
)
def test_counts(value: Any, count: int | None) -> None:
    """JSON does not know integers from other numbers; nobody has used less than nothing."""
    assert count == json.as_count(value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"<html>", b"NaN", b'{"a":1e999,"b":"\\ud800"}', b'"\xff"', b"[" * 200_000, b"9" * 5000 + b"x"]
)
def test_other_faults_of_upstreams_are_faults(data: bytes) -> None:
    """Never a crash, never NaN."""
    with pytest.raises(BadUpstreamBytes):
        json.decode_upstream(data)


# ── duplicates ─────────────────────────────────────────────────────────────────────────

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def duplicated(data: bytes) -> bool:
    return json.has_duplicates(data, json.top_level(data))


@given(
    st.lists(st.tuples(st.text(max_size=3), _VALUES), max_size=8),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    st.booleans(),
)
def test_a_key_twice_is_always_found(pairs: list[tuple[str, Any]], marks: tuple[str, str], ascii_: bool) -> None:
    """Whatever the white space, the escapes and the lengths: never missed, never invented."""
    comma, colon = marks
    members = [
        stdlib.dumps(key, ensure_ascii=ascii_) + colon + stdlib.dumps(value, ensure_ascii=ascii_, separators=marks)
        for key, value in pairs
    ]
    data = ("{" + comma.join(members) + "}").encode()

    keys = [key for key, _ in pairs]
    assert (len(keys) != len(set(keys))) == duplicated(data)


@pytest.mark.parametrize(
    ("data", "twice"),
    [
        (b"{}", False),
        (b" { } ", False),
        (b'{"a":1,"a":1}', True),
        (b'{"a":1,"\\u0061":1}', True),
        (b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"a":1}', True),
        (b'{"a":{"x":1},"b":{"x":1}}', False),
        (b'{"a":"}","b":"\\",\\"a\\":1"}', False),
        (b'{"model":"x","z":"        ","model":"yyyyyyyyyyyy"}', True),
        (b'{"n": ' + b"9" * 5000 + b"}", False),
    ],
)
def test_a_key_twice(data: bytes, twice: bool) -> None:
    """Only top-level keys count, also where one is spelled with escapes or hides in little room."""
    assert twice == duplicated(data)


# ── splicing ───────────────────────────────────────────────────────────────────────────


def test_splicing_leaves_other_values_as_they_were() -> None:
    """Number spelling, key order and escapes of every value that is not replaced."""
    fields = json.top_level(b'{"model":"a", "x" : 1.50 ,"s":"\\u0041","big":1e2,"gone":1}')

    assert b'{"model":"b","x":1.50,"s":"\\u0041","big":1e2,"new":[1]}' == json.splice(
        fields, {"model": "b", "new": [1]}, frozenset({"gone"})
    )


# ── writing ────────────────────────────────────────────────────────────────────────────


@given(st.text())
def test_escaped_lines_read_back_the_same(text: str) -> None:
    """No reader of lines splits inside, and the value is the same."""
    data = json.escape_lines(json.encode({"a": text}))

    assert 1 == len(data.decode().splitlines())
    assert {"a": text} == json.decode(data)


# ── taking fields ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("take", "good", "bad", "kind"),
    [
        (json.take_string, "x", 1, "a string"),
        (json.take_bool, False, 0, "a boolean"),
        (json.take_integer, 3, 3.5, "an integer"),
        (json.take_number, 1.5, True, "a number"),
        (json.take_object, {}, [], "an object"),
        (json.take_list, [], {}, "an array"),
    ],
)
def test_takes_a_field_of_its_type(take: Any, good: Any, bad: Any, kind: str) -> None:
    """None where it is missing or null; the complaint names the path and both kinds."""
    assert (good, None, None) == (take({"k": good}, "k"), take({}, "k"), take({"k": None}, "k"))
    with pytest.raises(MalformedRequest) as caught:
        take({"k": bad}, "k", "a[0]")

    assert ("a[0].k", True) == (caught.value.param, caught.value.message.startswith(f"a[0].k must be {kind}, not "))


def test_a_whole_float_is_an_integer() -> None:
    """As protobuf's JSON form has it."""
    assert 3 == json.take_integer({"k": 3.0}, "k")


def test_line_ends_between_values_go() -> None:
    """Arguments that a model wrote prettily must not break an event or a line in two; those in texts are escaped."""
    assert b'{"a": [1,2],"b":"\\n"}' == escape_lines(b'{"a":\r\n [1,\n2],\n"b":"\\n"}')


@pytest.mark.parametrize("value", [None, 1, [], {}, True])
def test_a_text_is_a_text(value: object) -> None:
    """What readers of answers take for a text is one."""
    with pytest.raises(TypeError):
        as_text(value)

    assert "x" == as_text("x")


@pytest.mark.parametrize("value", [None, "1", [], {}, True])
def test_a_number_is_a_number(value: object) -> None:
    """A boolean is none."""
    with pytest.raises(TypeError):
        as_number(value)

    assert (1, 0.5) == (as_number(1), as_number(0.5))


@pytest.mark.parametrize("value", [1e308, -1e31])
def test_an_integer_written_as_a_float_has_its_limit(value: float) -> None:
    """As one that is written out: 3.0 is 3, and 1e308 would be 309 digits."""
    with pytest.raises(MalformedRequest):
        json.take_integer({"n": value}, "n")

    assert 3 == json.take_integer({"n": 3.0}, "n")


# ── field by field ─────────────────────────────────────────────────────────────────────


def _whole(data: bytes, **limits: int) -> object:
    """What `read_object` stands for."""
    try:
        return json.decode_object(data, **limits), json.top_level(data)
    except MalformedRequest as fault:
        return fault.message


def _by_field(data: bytes, **limits: int) -> object:
    try:
        return json.read_object(data, **limits)[:2]
    except MalformedRequest as fault:
        return fault.message


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    body=st.dictionaries(st.sampled_from(["tools", "model", "é", "a b"]), _VALUES), space=st.sampled_from([0, 1, None])
)
def test_field_by_field_is_the_whole(body: dict[str, object], space: int | None) -> None:
    """Read in pieces, with tools that may have come before, an object is what it is as a whole."""
    data = stdlib.dumps(body, indent=space).encode()

    assert _whole(data) == _by_field(data) == _by_field(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"tools":}',
        b'{"tools":[1,]}',
        b'{"tools":["\\ud83d"]}',
        b'{"tools":["\xff"]}',
        b'{"tools":[1e999]}',
        b'{"tools":[' + b"1" * 40 + b"]}",
        b'{"tools":' + b"[" * 9 + b"]" * 9 + b"}",
        b'{"a":' + b"[" * 9 + b"]" * 9 + b',"tools":[' + b"1" * 40 + b"]}",
        b'{"tools":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":1,"tools":[1,2,3,4,5,6,7,8,9,10]}',
        b'{"a":1} x',
    ],
)
def test_field_by_field_finds_the_same_faults(data: bytes) -> None:
    """Limits and complaints are those of the whole, also where the same tools were good under other limits."""
    _by_field(data)

    assert _whole(data, depth=8, values=10) == _by_field(data, depth=8, values=10)
    assert _whole(data, depth=64, values=100) == _by_field(data, depth=64, values=100)


TREES = st.recursive(
    st.none() | st.integers(0, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


def _within(value: Any) -> list[Any]:
    return list(value.values()) if type(value) is dict else value if type(value) is list else []


def _size(value: Any) -> int:
    return 1 + sum(map(_size, _within(value)))


def _depth(value: Any) -> int:
    """How deep its arrays and objects are nested, an empty one as any other."""
    return 1 + max(map(_depth, _within(value)), default=0) if type(value) in (dict, list) else 0


@given(value=TREES, depth=st.integers(1, 5), values=st.integers(1, 12))
def test_nesting_and_values_are_counted_in_full(value: Any, depth: int, values: int) -> None:
    """A text passes where it is within both limits, and only there."""
    data = json.encode(value)
    fits = _depth(value) <= depth and _size(value) <= values
    if fits:
        assert value == json.decode(data, depth=depth, values=values)
        return
    with pytest.raises(MalformedRequest):
        json.decode(data, depth=depth, values=values)


def test_tools_that_came_before_are_the_same_object() -> None:
    """What was made of them can be found by it."""
    data = b'{"tools":[{"type":"function","function":{"name":"same"}}]}'

    assert json.read_object(data)[0]["tools"] is json.read_object(data)[0]["tools"]


@pytest.mark.parametrize("hidden", [b'"\xff"', b"1e999", b"1" * 400])
def test_a_field_hidden_by_a_second_one_may_be_broken(hidden: bytes) -> None:
    """Where a field that does not count cannot be read at all, it is still there twice."""
    data = b'{"a":' + hidden + b',"b":[1],"a":1}'
    body, top, least, _ = json.read_object(data)

    assert body == {"a": 1, "b": [1]}
    assert least != len(data)
    assert json.has_duplicates(data, top, least)
