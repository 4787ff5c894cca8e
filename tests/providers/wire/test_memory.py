"""What was made of a value that comes again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers.wire import memory
from providers.wire.memory import LONGEST, MOST, MOST_BYTES, Memory, checked_once, once, read_once


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A memory of the test's own in the place of the common one."""
    mine = Memory()
    monkeypatch.setattr(memory, "TOOLS", mine)
    return mine


def kept(tools: Memory, text: bytes) -> list[Any]:
    value: list[Any] = msgspec.json.decode(text)
    tools.keep(text, value, None)
    return value


def test_a_text_gives_the_object_of_the_first_time(tools: Memory) -> None:
    """The same bytes are the same object; others are none."""
    value = kept(tools, b'["a"]')
    found = tools.read(b'["a"]')

    assert found is not None
    assert found.objects[0] is value
    assert tools.read(b'[ "a"]') is None


def test_only_the_very_object_is_known(tools: Memory) -> None:
    """An equal value is another one."""
    value = kept(tools, b'["a"]')

    assert tools.made_of(value) == {}
    assert tools.made_of(["a"]) is None


def test_texts_are_bounded_in_number(tools: Memory) -> None:
    """The oldest goes first, with what was made of it."""
    first = kept(tools, b"[0]")
    for number in range(1, MOST + 1):
        kept(tools, b"[%d]" % number)

    assert len(tools) == MOST
    assert tools.read(b"[0]") is None
    assert tools.made_of(first) is None


def test_texts_are_bounded_in_bytes(tools: Memory) -> None:
    """So many bytes are kept, and no single text that is too long."""
    for number in range(8):
        kept(tools, b'["%b"]' % (bytes([97 + number]) * (LONGEST - 4)))
    kept(tools, b'["%b"]' % (b"z" * LONGEST))

    assert len(tools) == MOST_BYTES // LONGEST
    assert tools.read(b'["%b"]' % (b"z" * LONGEST)) is None


def test_a_text_kept_again_counts_once(tools: Memory) -> None:
    """A value that is read anew (under another limit) takes the place of the old one."""
    old = kept(tools, b'["a"]')
    new = kept(tools, b'["a"]')

    assert len(tools) == 1
    assert tools.made_of(old) is None
    assert tools.made_of(new) == {}


def test_what_is_made_is_found_by_what_it_was_made_of(tools: Memory) -> None:
    """Reading happens once; its result is kept as long, in a place of its own."""
    value = kept(tools, b'["a"]')
    made = read_once(value, "x: read", lambda raws: ("canonical",))

    assert read_once(value, "x: read", lambda raws: ("never",)) is made
    assert {} == tools.made_of(made) != tools.made_of(value)
    for number in range(MOST):
        kept(tools, b"[%d]" % number)
    assert tools.made_of(made) is None


def test_what_is_not_kept_is_made_anew(tools: Memory) -> None:
    """Nothing is remembered of a value that is not kept, nor of an empty tuple, which is everybody's."""
    value = kept(tools, b"[]")
    nothing = read_once(value, "x: read", lambda raws: ())

    assert read_once(["a"], "x: read", lambda raws: ("made",)) == ("made",)
    assert nothing == ()
    assert tools.made_of(()) is None


def test_losses_are_named_each_time(tools: Memory) -> None:
    """What is written once names its losses for every call; it is JSON text then."""
    value = kept(tools, b'["a"]')
    runs: list[int] = []

    def make(losses: list[str]) -> list[str]:
        runs.append(1)
        losses.append("lost")
        return ["written"]

    first: list[str] = []
    second: list[str] = ["before"]
    written = [once(value, "x: written", losses, make) for losses in (first, second)]

    assert runs == [1]
    assert msgspec.json.encode(written) == b'[["written"],["written"]]'
    assert (first, second) == (["lost"], ["before", "lost"])


def test_written_under_another_name_is_another(tools: Memory) -> None:
    """The name holds what else the result depends on; where nothing is made, it is None."""
    value = kept(tools, b'["a"]')

    assert once(value, "x: for one model", [], lambda losses: ["one"]) == msgspec.Raw(b'["one"]')
    assert once(value, "x: for another", [], lambda losses: ["other"]) == msgspec.Raw(b'["other"]')
    assert once(value, "x: none", [], lambda losses: []) is None
    assert once(["b"], "x: none", [], lambda losses: []) is None


def test_a_fault_is_found_each_time(tools: Memory) -> None:
    """What does not pass is looked at again; what has passed is not, as long as it is kept."""
    value = kept(tools, b'["a"]')
    seen: list[str] = []

    def check(value: Any, at: str) -> None:
        seen.append(at)
        if at != "good":
            raise ValueError(at)

    checks = checked_once("x: checked", check)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            checks(value, "bad")
    checks(value, "good")
    checks(value, "bad")
    checks(["a"], "good")

    assert seen == ["bad", "bad", "good", "good"]
