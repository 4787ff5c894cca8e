"""A provider made usable: one row of `providers/catalog.yaml` or of routes.yaml, as a value. No I/O.

A provider is where an upstream lives, what it speaks, how it authenticates and how it differs within a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from providers.dialect import Traits, WireRequest

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
        return Traits(own=self.own, ignores=self.ignores, rejects=self.rejects, quirks=frozenset(self.quirks))

    def dialect_for(self, caller: str) -> str:
        """Which of its dialects to use for a caller of `caller`: the caller's own when it speaks it, else its first."""
        return caller if caller in self.speaks else self.speaks[0]


def address(base_url: str, wire: WireRequest) -> str:
    """The absolute URL of a call: base_url, the dialect's path, the query. Already encoded; nothing is re-quoted."""
    url = base_url.rstrip("/") + wire.path
    return f"{url}?{urlencode(wire.query)}" if wire.query else url
