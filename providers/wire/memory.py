"""What was made of a value that comes again and again: the tools of an agent stand in every call of it, byte for byte.

A text that came before is not read again: its value is the very object of that time, and whatever was made of it (a
check, canonical values, bytes for an upstream) is found by that object. Calls share all of it: nobody may change it.
Bounded in number and in bytes; what came first goes first, with all that was made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

Loss = TypeVar("Loss")

_encode = msgspec.json.Encoder().encode

MOST = 64
MOST_BYTES = 1 << 20  # of all texts
LONGEST = MOST_BYTES // 4


class Kept:
    """A value, and what was made of it, by a name for each thing. `about`: what its keeper must know of it."""

    __slots__ = ("about", "made", "objects")

    def __init__(self, value: object, about: Any) -> None:
        self.about = about
        self.made: dict[str, Any] = {}
        self.objects = [value]  # held, so that the identity of each stays its own


class Memory:
    """Values by their text, and what was made of them by their identity."""

    def __init__(self) -> None:
        self._texts: dict[bytes, Kept] = {}
        self._objects: dict[int, Kept] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._texts)

    def read(self, text: bytes) -> Kept | None:
        return self._texts.get(text)

    def keep(self, text: bytes, value: list[Any], about: Any) -> None:
        """A list that was read from this text. Too long a text is not kept."""
        old = self._texts.pop(text, None)
        if old is not None:
            self._forget(text, old)
        if len(text) > LONGEST:
            return
        self._texts[text] = self._objects[id(value)] = Kept(value, about)
        self._size += len(text)
        while len(self._texts) > MOST or self._size > MOST_BYTES:
            first = next(iter(self._texts))
            self._forget(first, self._texts.pop(first))

    def _forget(self, text: bytes, kept: Kept) -> None:
        self._size -= len(text)
        for one in kept.objects:
            del self._objects[id(one)]

    def made_of(self, value: object) -> dict[str, Any] | None:
        """Where to find and to put what is made of a value; None where it is none that is kept."""
        kept = self._objects.get(id(value))
        return kept.made if kept is not None else None

    def join(self, value: object, made: tuple[Any, ...]) -> None:
        """What is made of `made`, itself made of the value, is kept as long, but apart: each dialect makes another
        tuple of the same text, and what is made of one holds for that one alone. An empty tuple is everybody's.
        """
        kept = self._objects.get(id(value))
        if kept is not None and made and id(made) not in self._objects:
            kept.objects.append(made)
            self._objects[id(made)] = Kept(made, kept.about)


#: Those of callers' requests.
TOOLS = Memory()


def read_once(raws: list[Any], name: str, read: Callable[[list[Any]], tuple[Any, ...]]) -> tuple[Any, ...]:
    """What `read` makes of a list, made only once of one that is kept; it is kept with it."""
    made = TOOLS.made_of(raws)
    if made is None:
        return read(raws)
    if name not in made:
        made[name] = read(raws)
        TOOLS.join(raws, made[name])
    known: tuple[Any, ...] = made[name]
    return known


def checked_once(name: str, check: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """The check of a value, which what is kept passes without being looked at again."""

    def checks(value: Any, at: str) -> None:
        made = TOOLS.made_of(value)
        if made is None:
            check(value, at)
        elif name not in made:
            check(value, at)
            made[name] = True

    return checks


def once(value: object, name: str, losses: list[Loss], make: Callable[..., Any], *args: Any) -> Any:
    """What `make(*args, losses)` makes of a value of TOOLS, as JSON text for a body, with the losses that it names:
    made only once.

    `name` holds all that the result depends on beside the value. None where nothing was made. Of a value that is not
    kept it is what `make` gives, made anew.
    """
    made = TOOLS.made_of(value)
    if made is None:
        return make(*args, losses) or None
    found = made.get(name)
    if found is None:
        named: list[Loss] = []
        written = make(*args, named)
        found = made[name] = (msgspec.Raw(_encode(written)) if written else None, tuple(named))
    losses.extend(found[1])
    return found[0]
