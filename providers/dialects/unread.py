"""What stands in an answer and no codec reads: found by holding the answer against the fields that are known.

Decoders keep in `extra` what they meet and do not know. What stands where they only pick what they understand (in
usage, in a citation, in the envelope of an event) is found here, and goes into the `extra` of the answer, of its
choice, or of a stream's end, under the path at which it stood. Encoders name it as a loss like all of `extra`; those
of the answer's own dialect write nothing of it, for it does not belong there: `own_extra` leaves it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import msgspec

from providers.canonical.chat import Logprobs
from providers.canonical.loss import Losses, join, lose_told

Json: TypeAlias = Any
#: So many are kept of one answer: whoever invents a name for each event shall not fill the memory.
MOST = 64


class Unread(msgspec.Struct, frozen=True):
    """A value that no codec reads. `kept`: callers of the answer's own dialect get it all the same."""

    value: Json
    kept: bool = False


class Shape:
    """The fields of an object that are known.

    `names`: all of them; None where further ones are somebody else's to tell. `inner`: those that are looked into,
    item by item of a list. `kept`: callers of the answer's own dialect get such an object whole. `kinds`: the shapes
    of objects of several types, by their `type`; one of another type is not looked into.
    """

    __slots__ = ("inner", "kept", "kinds", "names")

    def __init__(
        self,
        names: frozenset[str] | None,
        inner: Mapping[str, Shape],
        *,
        kept: bool = False,
        kinds: Mapping[str, Shape] | None = None,
    ) -> None:
        self.names = names
        self.inner = tuple(inner.items())
        self.kept = kept
        self.kinds = kinds


def known(*names: str, **inner: Shape) -> Shape:
    """An object with these fields."""
    return Shape(frozenset({*names, *inner}), inner)


def kept(*names: str, **inner: Shape) -> Shape:
    """The same of one that callers of the answer's own dialect get whole."""
    return Shape(frozenset({*names, *inner}), inner, kept=True)


def around(**inner: Shape) -> Shape:
    """An object whose own fields are read elsewhere: only these are looked into."""
    return Shape(None, inner)


def by_type(kinds: Mapping[str, Shape]) -> Shape:
    """Objects whose `type` says which shape they have."""
    return Shape(None, {}, kinds=kinds)


def find(value: Json, shape: Shape, found: dict[str, Json], at: str = "", own: bool = False) -> None:
    """Adds to `found` what of `value`, which stands at the path `at`, is not in its shape, and says something.

    `own`: callers of the answer's own dialect get it.
    """
    if type(value) is list:
        for i, item in enumerate(value):
            if type(item) is dict:
                find(item, shape, found, f"{at}[{i}]", own)
        return
    if type(value) is not dict:
        return
    if shape.kinds is not None:
        kind = value.get("type")
        chosen = shape.kinds.get(kind) if type(kind) is str else None
        if chosen is None:
            return
        shape = chosen
    own = own or shape.kept
    for key, inner in shape.inner:
        item = value.get(key)
        if item and (type(item) is dict or type(item) is list):
            find(item, inner, found, join(at, key), own)
    if shape.names is not None and not shape.names.issuperset(value):
        for key, item in value.items():
            if key not in shape.names and item is not None and item not in ("", [], {}) and len(found) < MOST:
                found[join(at, key)] = Unread(item, own)


def keep(found: dict[str, Json], value: Mapping[str, Json], known: Collection[str]) -> None:
    """Adds to `found` the fields of an event that are not known, while there is room; one that is there is replaced."""
    for key, item in value.items():
        if key not in known and (len(found) < MOST or key in found):
            found[key] = item


def own_extra(extra: Mapping[str, Json] | None, losses: Losses) -> dict[str, Json]:
    """What a caller of the answer's own dialect gets of `extra`; what is lost even to him is named."""
    if not extra:
        return {}
    lose_told({key: one for key, one in extra.items() if type(one) is Unread and not one.kept}, losses)
    return {key: value for key, value in extra.items() if type(value) is not Unread}


def lose_weights(logprobs: Logprobs, losses: Losses, *, tokens: bool) -> None:
    """Names what else an upstream says of log probabilities, and of their `tokens`, where the caller's dialect writes
    nothing of it; once for all tokens, and for all chunks of a stream.
    """
    said = dict(logprobs.extra or {})
    if tokens:
        for token in (*(logprobs.content or ()), *(logprobs.refusal or ())):
            for one in (token, *token.top):
                if one.extra:
                    said.update(one.extra)
    found: Losses = []
    lose_told(said, found)
    losses += [one for one in found if one not in losses]
