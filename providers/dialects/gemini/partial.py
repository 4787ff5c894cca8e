"""Calls whose arguments come in pieces, each with the JSON path at which it belongs."""

from __future__ import annotations

import itertools
import re
from typing import Any

from providers.canonical.errors import BadUpstreamBytes
from providers.dialects.gemini.names import Json

_STEP = re.compile(r"""\.?([^.\[\]"']+)|\[(\d{1,9})\]|\[["']([^"']*)["']\]""")
_MOST_ITEMS = 100_000


class PartialCall:
    """A call whose arguments come in pieces by path (Vertex, streamFunctionCallArguments)."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.arguments: dict[str, Json] = {}
        self._last: str | None = None  # the path of a text that goes on

    def add(self, piece: Json) -> None:
        """BadUpstreamBytes for a piece that has no path, or does not fit to those before."""
        if type(piece) is not dict or type(piece.get("jsonPath")) is not str:
            raise BadUpstreamBytes("a piece of arguments without a path")
        path = piece["jsonPath"]
        value = next((piece[key] for key in ("stringValue", "numberValue", "boolValue") if key in piece), None)
        steps = [
            name or (int(number) if number else quoted)
            for name, number, quoted in _STEP.findall(path.removeprefix("$"))
        ]
        self._set(steps, value, goes_on=path == self._last and type(value) is str)
        self._last = path if piece.get("willContinue") and type(value) is str else None

    def _set(self, steps: list[str | int], value: Json, *, goes_on: bool) -> None:
        holder: Any = self.arguments
        for step, following in itertools.pairwise(steps):
            inner = _get(holder, step)
            if type(inner) is not (list if type(following) is int else dict):
                inner = [] if type(following) is int else {}
                _put(holder, step, inner)
            holder = inner
        if steps:
            before = _get(holder, steps[-1]) if goes_on else None
            _put(holder, steps[-1], before + value if type(before) is str else value)


def _get(holder: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return holder[step] if type(holder) is list and step < len(holder) else None
    return holder.get(step) if type(holder) is dict else None


def _put(holder: Any, step: str | int, value: Json) -> None:
    if isinstance(step, str):
        if type(holder) is not dict:
            raise BadUpstreamBytes("pieces of arguments that do not fit together")
        holder[step] = value
        return
    if type(holder) is not list or step > _MOST_ITEMS:
        raise BadUpstreamBytes("pieces of arguments that do not fit together")
    holder.extend([None] * (step + 1 - len(holder)))
    holder[step] = value
