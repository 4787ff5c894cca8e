"""Calls that belong together go to one target: which one, without remembering anything. Pure.

Each target draws a number from the key of the call and from its own name (rendezvous hashing); the highest wins, as
often as the target's weight says. So every process and every machine chooses alike, nothing is stored or forgotten, and
a target that comes or goes moves its own calls only.

A conversation is known by its beginning: the model, the system prompt, the names of the tools and the first message of
the user, as they are meant, whatever dialect they are written in. The key is coarse on purpose (ends of long texts and
schemas of tools do not count): calls that share a beginning may share a target, and an upstream's cache of prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import takewhile

from providers.canonical.chat import AnyPart, ChatRequest, Media, Text, Tool
from router.policy.fitting import Facts
from router.table import Target

HEADER = "header:"
LONGEST = 64 << 10  # characters of a text that count, from its beginning
_ENDS = 512  # characters of what encodes a picture or a sound, from both ends


def key(sticky: str | None, facts: Facts) -> bytes | None:
    """What calls that belong together have in common. None: this one belongs to nobody."""
    if sticky is None or sticky == "off":
        return None
    if sticky == "caller":
        return _digest((facts.owner,))
    if sticky == "conversation":
        meant = facts.meant
        return _digest(beginning(meant)) if isinstance(meant, ChatRequest) else None
    values = facts.headers(sticky.removeprefix(HEADER))
    return _digest(values) if any(values) else None


def beginning(request: ChatRequest) -> Iterator[str]:
    """How a conversation begins: what stays the same with every turn."""
    yield request.model
    leading = takewhile(lambda message: message.role == "system", request.messages)
    prompts = [part for message in leading for part in message.parts]
    first = next((message.parts for message in request.messages if message.role == "user"), ())
    for parts in (prompts, first):
        yield from _said(parts)
        yield ""
    for tool in request.tools:
        if isinstance(tool, Tool):
            yield tool.name


def _said(parts: Iterable[AnyPart]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Text):
            yield part.text[:LONGEST]
        elif isinstance(part, Media):
            data = part.base64 or ""
            yield f"{part.kind} {len(data)} {part.url or ''} {part.file_id or ''} {data[:_ENDS]} {data[-_ENDS:]}"


def _digest(texts: Iterable[str]) -> bytes:
    """Of a list of texts; no other list has the same."""
    state = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.digest()


def favourites(key: bytes, targets: Sequence[Target], places: Sequence[int]) -> list[int]:
    """Of some places the key's own, and the one that stands in for it: the same whether it has failed or rests.

    Several keys of one target draw alike, and stay in the order in which they take turns.
    """
    ranked = sorted(places, key=lambda place: -score(key, targets[place]))
    names = list(dict.fromkeys((targets[place].provider, targets[place].model) for place in ranked))[:2]
    return [place for place in ranked if (targets[place].provider, targets[place].model) in names]


def score(key: bytes, target: Target) -> float:
    """A target's draw: of two with weights 3 and 1, the first has the greater for three of four keys."""
    name = f"{target.provider}\0{target.model or ''}".encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(blake2b(name, key=key, digest_size=8).digest(), "big")
    return -target.weight / math.log(((drawn >> 12) + 0.5) / (1 << 52))
