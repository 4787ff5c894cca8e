"""Who answers in the chat service: values, made from `chats:` of routes.yaml by `router.chats.rows`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = Any
Scope: TypeAlias = Literal["internal", "external"]
Switch: TypeAlias = Literal["native", "research", "none"]

SPOKEN = "Answer in short spoken sentences. Use no markdown, no lists and no code."
PLANNING = "Planning response"
#: The switch that asks for the research profile, whatever `tools` of a persona says of others.
DEEP_RESEARCH = "deepResearch"


class Research(msgspec.Struct, frozen=True, kw_only=True):
    """The model that answers instead when research is asked for, and how hard it thinks."""

    model: str
    reasoning_effort: str | None = None


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """One voice of the service. `tools` says what a caller's switch of that name does."""

    name: str
    model: str
    description: str = ""
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    client_system: Literal["append", "reject"] = "append"
    scopes: frozenset[Scope] = frozenset({"internal", "external"})
    planning_text: str = PLANNING
    tools: Mapping[str, Switch] = {}
    research: Research | None = None
    voice_prompt: str = SPOKEN
    response_schema: Mapping[str, Json] | None = None
    stream_deltas: bool = False

    def switch(self, name: str) -> Switch:
        """What a caller's switch does here."""
        if name == DEEP_RESEARCH and name not in self.tools:
            return "research" if self.research is not None else "none"
        return self.tools.get(name, "none")


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`chats:` of a routes.yaml that is good. `path` is where the store's file is, from where the gateway runs."""

    store: str  # as it is written
    path: str
    default: str
    personas: Mapping[str, Persona]

    def persona(self, name: str | None) -> Persona | None:
        """The one that is meant; None for a name that nobody has. Upper and lower case are the same."""
        return self.personas.get((name or self.default).lower())
