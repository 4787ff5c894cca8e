"""YAML is read strictly, within bounds, and everything knows its place."""

from __future__ import annotations

import random
import resource
import time
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router import strict_yaml
from router.strict_yaml import MOST_BYTES, Problem, describe, read


def good(text: str) -> Any:
    node, problems = read(text.encode())

    assert problems == ()
    assert node is not None
    return node.plain()


def complaints(data: bytes) -> list[str]:
    return [f"{p.line}:{p.column} {p.message}" for p in read(data)[1]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("2.00", "2.00"),
        ("1e-3", "0.001"),
        ("0x1F", "31"),
        ("-3", "-3"),
        ("1e99999999999999999999", "Infinity"),
    ],
)
def test_exact_numbers_have_the_digits_that_are_written(text: str, value: str) -> None:
    """No float comes between the file and a sum of money; what is no number is as it is otherwise."""
    node, _ = read(f"a: [{text}, true, null, '1.5']\n".encode())

    assert node is not None
    assert {"a": [Decimal(value), True, None, "1.5"]} == node.exact()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("22:30", "22:30"),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        ("0b1", "0b1"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        (".inf", ".inf"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """A word is a boolean or a number only where the core schema of YAML 1.2 says so."""
    found = good(f"key: {text}\n")["key"]

    assert (value, type(value)) == (found, type(found))


def test_names_may_look_like_numbers() -> None:
    """A key is text, whatever it looks like."""
    assert good("4: a\n0.5: b\ntrue: c\n") == {"4": "a", "0.5": "b", "true": "c"}


def test_places_count_from_one() -> None:
    """Every value and every key knows its line and column."""
    node, _ = read(b"a:\n  b: [1, {c: 2}]\n")
    assert node is not None

    assert node.place("a", "b", 1, "c") == (2, 14)
    assert node.place("a", "b", key=True) == (2, 3)
    assert node.place("a", "missing", "deeper") == (2, 3)


BAD = [
    (b"", ["1:1 the file is empty, expected a mapping"]),
    (b"# nothing\n", ["1:1 the file is empty, expected a mapping"]),
    (b"text", ["1:1 expected a mapping, found 'text'"]),
    (b"- a\n", ["1:1 expected a mapping, found a list"]),
    (b"a: 1\n---\nb: 2\n", ["2:1 a second document, expected one"]),
    (b"a: \x00", ["1:4 the character U+0000 is not allowed in YAML"]),
    (b"a: 1\nb: \x1b[31m", ["2:4 the character U+001B is not allowed in YAML"]),
    (b"a: 1\nb: \xff\xfe", ["2:4 not text: expected UTF-8"]),
    (b"a: 1\nb: 2\na: 3\na: 4\n", [f"{n}:1 the key 'a' is here twice, first on line 1" for n in (3, 4)]),
    (b"a: !!python/object/apply:os.system [x]\n", ["1:4 tags are not allowed: !!python/object/apply:os.system"]),
    (b"a: !!str 1\nb: !x y\n", ["1:4 tags are not allowed: !!str", "2:4 tags are not allowed: !x"]),
    (b"a: &x {b: *x}\n", ["1:11 the alias *x stands for a value that it is part of"]),
    (b"a: *x\n", ["1:4 the alias *x stands for nothing above it"]),
    (b"a: &x {b: 1}\nc:\n  <<: *x\n", ["3:3 merge keys (<<) are not allowed: write the keys out"]),
    (b"[1]: 2\n", ["1:1 expected text as a key, found a list"]),
    (b"a: " + b"9" * 5000, ["1:4 a number of more than 30 digits"]),
]


@pytest.mark.parametrize(("data", "expected"), BAD)
def test_what_surprises_is_refused(data: bytes, expected: list[str]) -> None:
    """Nothing is repaired or guessed; each complaint has its place."""
    assert complaints(data) == expected


@pytest.mark.parametrize("data", [b"a:\n\tb: 1\n", b"a: [1\nb: 2\n", b"a: b: c\n", b"%YAML 9.0\n---\na: 1\n"])
def test_bad_syntax_is_a_complaint_with_a_place(data: bytes) -> None:
    """What the parser cannot read comes out as one sentence."""
    found = complaints(data)

    assert len(found) == 1
    assert "not YAML" in found[0]


def test_both_parsers_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of the YAML library without its C part refuses the same files, at the same places."""
    fast = [complaints(data) for data, _ in BAD]
    monkeypatch.setattr(strict_yaml, "_PARSER", yaml.SafeLoader)

    assert [complaints(data) for data, _ in BAD] == fast


def hostile() -> dict[str, bytes]:
    lines = [b"a: &a [1,1,1,1,1,1,1,1,1,1]"]
    lines += [b"%c: &%c [%s]" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)]
    chain = [b"a0: &a0 " + b"[" * 30 + b"]" * 30]
    chain += [b"a%d: &a%d %s*a%d%s" % (i, i, b"[" * 30, i - 1, b"]" * 30) for i in range(1, 60)]
    return {
        "alias bomb": b"\n".join(lines),
        "deep aliases": b"\n".join(chain),
        "deep lists": b"a: " + b"[" * 20_000,
        "deep mappings": b"{a: " * 20_000,
        "deep blocks": b"".join(b" " * i + b"a:\n" for i in range(3_000)),
        "deep dashes": b"a:\n" + b"- " * 20_000,
        "many values": b"a: [" + b"1," * 1_000_000 + b"1]",
        "many bytes": b"a: " + b"x" * (MOST_BYTES + 1),
        "many problems": b"a: 1\n" * 100_000,
        "long number": b"a: " + b"9" * 3_000_000,
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_files_cost_little(name: str) -> None:
    """Files made to explode are refused soon, before anything is built from them."""
    data = hostile()[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    found = complaints(data)

    assert found
    assert time.process_time() - started < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB


def test_aliases_may_be_used() -> None:
    """A value that is needed twice may be written once."""
    assert good("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """Whatever a file holds, the answer is a value or a list of problems."""
    node, problems = read(data)

    assert (node is not None) or problems
    assert all(isinstance(problem, Problem) for problem in problems)


def test_mutations_of_a_file_never_raise() -> None:
    """A half-written or damaged table is read or refused, never an exception."""
    dice = random.Random(7)
    text = b"a: &x {b: [1, 'two', \"three\"], c: |\n  text\n}\nd: *x\n? e\n: - f\n  - g: >-\n      h\n"
    for _ in range(2_000):
        data = bytearray(text)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        node, problems = read(bytes(data))

        assert node is not None or problems


def test_values_are_described_briefly() -> None:
    """A complaint shows what it found, cut short."""
    assert describe("x" * 100) == f"'{'x' * 37}...'"
    assert [describe(value) for value in (None, True, [], {}, 3)] == ["nothing", "true", "a list", "a mapping", "3"]
