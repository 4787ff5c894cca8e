"""Does a call fit what a target asks of calls (`when`)? Pure: what is known of the call is passed in.

What only the upstream understands, nobody here does: of such a call neither `tools` nor `media` is known, and whatever
is asked of them does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from providers.canonical.chat import AnyPart, ChatRequest, Media, ToolResult
from providers.canonical.count import CHARACTERS_PER_TOKEN, estimate, estimate_inputs
from providers.canonical.embeddings import EmbeddingsRequest
from router.conditions import HeaderIs, When
from router.table import fits_star

Meant: TypeAlias = ChatRequest | EmbeddingsRequest


class Facts:
    """What is known of one call, found out when it is asked for.

    `key`: the name of the caller's key; `owner`: who calls, whatever it showed; `headers`: all values of a header;
    `understand`: the request, None where only the upstream understands it; `size`: bytes of its body.
    """

    __slots__ = ("_meant", "_tokens", "_understand", "headers", "key", "model", "operation", "owner", "size", "stream")

    def __init__(
        self,
        *,
        key: str | None,
        owner: str,
        headers: Callable[[str], Sequence[str]],
        model: str,
        operation: str,
        stream: bool,
        size: int,
        understand: Callable[[], Meant | None],
    ) -> None:
        self.key = key
        self.owner = owner
        self.headers = headers
        self.model = model
        self.operation = operation
        self.stream = stream
        self.size = size
        self._understand: Callable[[], Meant | None] | None = understand
        self._meant: Meant | None = None
        self._tokens: int | None = None

    @property
    def meant(self) -> Meant | None:
        if self._understand is not None:
            understand, self._understand = self._understand, None
            self._meant = understand()
        return self._meant

    @property
    def tokens(self) -> int:
        """Of the input, by rule of thumb."""
        if self._tokens is None:
            self._tokens = self._counted()
        return self._tokens

    def _counted(self) -> int:
        meant = self.meant
        if meant is None:
            return -(-self.size // CHARACTERS_PER_TOKEN)
        return estimate_inputs(meant) if isinstance(meant, EmbeddingsRequest) else estimate(meant).total_tokens

    @property
    def tools(self) -> bool | None:
        meant = self.meant
        return None if meant is None else isinstance(meant, ChatRequest) and bool(meant.tools)

    def media(self) -> Iterator[str]:
        """The kinds that are in it, as often as they are."""
        meant = self.meant
        if isinstance(meant, ChatRequest):
            for message in meant.messages:
                yield from _media(message.parts)
        elif meant is not None:
            for each in meant.inputs:
                yield from _media(each.parts)


def _media(parts: Sequence[AnyPart]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Media):
            yield part.kind
        elif isinstance(part, ToolResult):
            yield from _media(part.parts)


def unmet(conditions: Sequence[When], facts: Facts) -> str | None:
    """The first condition that does not hold, for an operator to read; None when all do."""
    for when in conditions:
        if (found := _unmet(when, facts)) is not None:
            return found
    return None


def _unmet(when: When, facts: Facts) -> str | None:
    """What costs least is looked at first."""
    if when.key and not (facts.key is not None and _any(when.key, facts.key)):
        return f"key: the call is not made with {_either(when.key)}"
    if when.operation and facts.operation not in when.operation:
        return f"operation: {facts.operation}, not {_either(when.operation)}"
    if when.stream is not None and when.stream is not facts.stream:
        return "stream: none is asked for" if when.stream else "stream: one is asked for"
    if when.model and not _any(when.model, facts.model):
        return f"model: not {_either(when.model)}"
    for header in when.header:
        if (wrong := _unlike(header, facts.headers(header.name))) is not None:
            return f"header: {header.name} {wrong}"
    return _unmet_inside(when, facts)


def _unmet_inside(when: When, facts: Facts) -> str | None:
    """Of what must be understood first."""
    if when.tools is not None and facts.tools is not when.tools:
        if facts.tools is None:
            return "tools: only the upstream understands this call"
        return "tools: the call offers none" if when.tools else "tools: the call offers some"
    if when.media is not None:
        if facts.meant is None:
            return "media: only the upstream understands this call"
        found = set(facts.media())
        if not when.media and found:
            return f"media: the call holds {_either(sorted(found))}"
        if when.media and found.isdisjoint(when.media):
            return f"media: the call holds no {_either(when.media)}"
    if when.above is not None and facts.tokens <= when.above:
        return f"tokens: about {facts.tokens}, not above {when.above}"
    if when.below is not None and facts.tokens > when.below:
        return f"tokens: about {facts.tokens}, above {when.below}"
    return None


def _unlike(header: HeaderIs, values: Sequence[str]) -> str | None:
    """What is wrong with the values of a header: one that is as asked is enough."""
    if header.present is False:
        return "is there" if values else None
    if header.must_be_there and not values:
        return "is not there"
    if header.equals is not None and not any(value.strip() in header.equals for value in values):
        return f"is not {_either(header.equals)}"
    if header.prefix is not None and not any(value.strip().startswith(header.prefix) for value in values):
        return f"does not begin with {_either(header.prefix)}"
    return None


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(fits_star(pattern, text) for pattern in patterns)


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
