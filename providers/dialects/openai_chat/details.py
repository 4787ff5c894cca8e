"""`reasoning_details`: thinking as OpenRouter tells it, with what the model behind it wants back.

An entry is a text, a summary or something encrypted; `signature` and `data` are state of that model, which fails in the
middle of a tool call without them. All of a message's entries go back as they came; those of a stream come in pieces.
Source: openrouter.ai/docs (reasoning tokens), recorded traffic.
"""

from __future__ import annotations

from providers.canonical.chat import Seal
from providers.canonical.errors import MalformedRequest
from providers.wire.json import Json, decode, encode

ORIGIN = "openrouter"  # of their seal: who can read it again

_TEXTS = ("text", "summary")


def details_text(details: Json) -> str:
    """What can be read of them."""
    if type(details) is not list:
        return ""
    texts = (detail.get("text") or detail.get("summary") for detail in details if type(detail) is dict)
    return "".join(text for text in texts if type(text) is str)


def seal_of(details: Json, at: str = "") -> Seal | None:
    """All of them, where one is more than text."""
    if type(details) is not list or not any(map(_is_state, details)):
        return None
    return Seal(value=encode(details).decode(), origin=ORIGIN, at=at)


def _is_state(detail: Json) -> bool:
    return type(detail) is dict and bool(detail.get("signature") or detail.get("data"))


def details_of(seal: Seal | None) -> list[Json] | None:
    """What `seal_of` was given; None for what is no such seal. A caller may have brought it."""
    if seal is None or seal.origin != ORIGIN:
        return None
    try:
        details = decode(seal.value.encode("utf-8", "replace"))
    except MalformedRequest:
        return None
    return details if type(details) is list and all(type(detail) is dict for detail in details) else None


class Details:
    """Those of a stream while they arrive: pieces of the same entry, one after the other, become one."""

    def __init__(self) -> None:
        self._all: list[dict[str, Json]] = []
        self._pieces: dict[str, list[str]] = {}  # of the texts of the last one

    def add(self, details: Json) -> None:
        if type(details) is list:
            for detail in details:
                if type(detail) is dict:
                    self._add(detail)

    def _add(self, detail: dict[str, Json]) -> None:
        last = self._all[-1] if self._all else None
        if last is None or not _goes_on(last, detail):
            self._join()
            last = {}
            self._all.append(last)
        for key, value in detail.items():
            if key in _TEXTS and type(value) is str:
                if key not in self._pieces:
                    before = last.setdefault(key, "")  # its place among the others
                    self._pieces[key] = [before] if type(before) is str else []
                self._pieces[key].append(value)
            elif value is not None or key not in last:
                last[key] = value

    def _join(self) -> None:
        """Texts are put together once: there may be very many pieces."""
        for key, pieces in self._pieces.items():
            self._all[-1][key] = "".join(pieces)
        self._pieces.clear()

    def take(self) -> Seal | None:
        """The seal of what has come since the last one; None while it is nothing but text."""
        self._join()
        seal = seal_of(self._all)
        if seal is not None:
            self._all = []
        return seal


def _goes_on(last: dict[str, Json], detail: dict[str, Json]) -> bool:
    """Is it a further piece of the same entry? What is encrypted comes whole."""
    if "data" in last or "data" in detail or last.get("signature"):
        return False
    return last.get("type") == detail.get("type") and last.get("index") == detail.get("index")
