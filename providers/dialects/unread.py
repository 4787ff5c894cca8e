"""What stands in an answer and no codec reads: found by holding the answer against the fields that are known.

Decoders keep in `extra` what they meet and do not know. What stands where they only pick what they understand (in
usage, in a citation, in the envelope of an event) is found here, and goes into the `extra` of the answer, of its
choice, or of a stream's end, under the path at which it stood. Encoders name it as a loss like all of `extra`; those
of the answer's own dialect write nothing of it, for it does not belong there: `own_extra` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from providers.canonical.chat import Logprobs
from providers.canonical.loss import Losses, join, lose_told

Json: TypeAlias = Any
#: The fields of an object that are known. A value: the shape of what stands there, item by item of a list; None where
#: nobody looks in. With `ANY` the object's further fields are somebody else's to tell; with `KIND` its `type` says
#: which shape it has, and one of another type is not looked into; what stands in one with `KEPT`, callers of the
#: answer's own dialect get all the same. (Numbers: no field has such a name.)
Shape: TypeAlias = Mapping[str | int, Any]
ANY: Final = 0
KIND: Final = 1
KEPT: Final = 2
#: So many are kept of one answer: whoever invents a name for each event shall not fill the memory.
MOST = 64


class Unread(msgspec.Struct, frozen=True):
    """A value that no codec reads. `kept`: callers of the answer's own dialect get it all the same."""

    value: Json
    kept: bool = False


def known(*names: str, **inner: Shape | None) -> Shape:
    """The shape of an object with these fields; `inner` are those that are looked into."""
    fields: dict[str | int, Any] = dict.fromkeys(names)
    fields.update(inner)
    return fields


def kept(*names: str, **inner: Shape | None) -> Shape:
    """The same of one that callers of the answer's own dialect get whole."""
    return {KEPT: None, **known(*names, **inner)}


def find(value: Json, shape: Shape, found: dict[str, Json], at: str = "", own: bool = False) -> None:
    """Adds to `found` what of `value`, which stands at the path `at`, is not in its shape, and says something.

    `own`: callers of the answer's own dialect get it.
    """
    if type(value) is list:
        for i, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                find(item, shape, found, f"{at}[{i}]", own)
        return
    if type(value) is not dict:
        return
    if KIND in shape:
        kind = value.get("type")
        shape = shape[KIND].get(kind, _NOTHING) if isinstance(kind, str) else _NOTHING
    own = own or KEPT in shape
    for key, item in value.items():
        if key in shape:
            inner = shape[key]
            if inner is not None:
                find(item, inner, found, join(at, key), own)
        elif ANY not in shape and item is not None and item not in ("", [], {}) and len(found) < MOST:
            found[join(at, key)] = Unread(item, own)


_NOTHING: Shape = {ANY: None}


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
