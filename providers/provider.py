"""A provider made usable: one row of `providers/catalog.yaml` or of routes.yaml, as a value. No I/O.

A provider is where an upstream lives, what it speaks, how it authenticates and how it differs within a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias
from urllib.parse import urlencode

import msgspec

from providers.dialect import Dialect, Range, Traits, WireRequest
from providers.dialects import DIALECTS

#: Dialects that are announced and have no module yet: a row may say that it speaks them, a call cannot use them.
PLANNED = frozenset(
    {
        "openai.chat",
        "openai.responses",
        "openai.embeddings",
        "anthropic.messages",
        "gemini",
        "ollama.chat",
        "bedrock.converse",
        "cohere.chat",
        "alchemyst.chat",
        "opaque",
    }
)


#: What becomes of an answer that is not the JSON that was asked for.
OnInvalidJson: TypeAlias = Literal["return", "retry_once", "error"]

#: What a newer installation of an upstream may be able to do after all: the fields that it takes then, and the quirks
#: that keep older ones from it.
ABILITIES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "tools": (frozenset({"tools", "tool_choice"}), frozenset({"no_tool_turns"})),
    "response_format": (frozenset({"response_format"}), frozenset()),
    "vision": (frozenset(), frozenset({"text_only"})),
}


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Secrets are references (`env:NAME`), never values: the router resolves them."""

    name: str
    base_url: str
    speaks: tuple[str, ...]  # dialect names, preferred first
    auth: str = "bearer"  # a name that providers/auth.py knows, with its argument: "header:x-key"
    secrets: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}  # sent with every call: an `api-version`
    quirks: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()  # its own top-level body fields: passed through
    ignores: frozenset[str] = frozenset()  # accepted without effect there: not sent, a `dropped` loss
    rejects: frozenset[str] = frozenset()  # refused there: said before anything is sent
    takes: frozenset[str] | None = None  # all fields that it documents: any other is dropped
    ranges: Mapping[str, Range] = {}  # least and most that it documents: what is outside is refused
    abilities: Mapping[str, tuple[str, ...]] = {}  # of ABILITIES, with the models (patterns) that have them
    nice: bool | None = None  # its calls let others go first, unless a caller says otherwise
    on_invalid_json: OnInvalidJson | None = None
    credits: Mapping[str, float] = {}  # what a call costs, by model, in the upstream's own unit
    concurrency: int | None = None
    queue: int = 0
    timeouts: Mapping[str, float] = {}  # seconds; narrows the policy's: connect, first_byte, idle, total
    attempts: int | None = None
    retry_on: frozenset[str] | None = None  # error kinds and upstream statuses as text: "429", "connect"
    resend_stale: bool = True
    proxy: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None

    @property
    def traits(self) -> Traits:
        return Traits(
            own=self.own,
            ignores=self.ignores,
            rejects=self.rejects,
            quirks=frozenset(self.quirks),
            takes=None if self.takes is None else self.takes | self.own,
            ranges=self.ranges,
            nice=self.nice,
        )

    def traits_for(self, model: str) -> Traits:
        """The traits of the row for one of its models, which may be able to do more than others."""
        traits = self.traits
        for ability, models in self.abilities.items():
            if any(fnmatchcase(model, pattern) for pattern in models):
                fields, quirks = ABILITIES[ability]
                traits = msgspec.structs.replace(
                    traits,
                    rejects=traits.rejects - fields,
                    quirks=traits.quirks - quirks,
                    takes=None if traits.takes is None else traits.takes | fields,
                )
        return traits

    def dialect_for(self, caller: str, operation: str = "chat", dialects: Mapping[str, Dialect] = DIALECTS) -> str:
        """Which of its dialects to use for a caller of `caller` who asks for `operation`.

        The caller's own when the row speaks it, else the first that has the operation, else its first: that one is
        asked for what it has not, and says so.
        """
        if caller in self.speaks:
            return caller
        able = (name for name in self.speaks if name in dialects and operation in dialects[name].operations)
        return next(able, self.speaks[0])


def address(base_url: str, wire: WireRequest) -> str:
    """The absolute URL of a call: base_url, the dialect's path, the query. Already encoded; nothing is re-quoted.

    `path` may end with a query that is passed on as it came.
    """
    url = base_url.rstrip("/") + wire.path
    if not wire.query:
        return url
    return f"{url}{'&' if '?' in wire.path else '?'}{urlencode(wire.query)}"
