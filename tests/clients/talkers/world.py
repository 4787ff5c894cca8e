"""What all talkers share: the question, the tools, and how a program is served. Standard library only."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

Json = Any

TIMEOUT = 10.0
MOST_STEPS = 6  # more would be a loop that does not end
QUESTION = "Should I take an umbrella?"
LIMIT = 4000  # tokens of an answer, where a language wants to be told

#: By name: what it is for, and the types of its parameters, all of them required.
TOOLS: dict[str, tuple[str, dict[str, str]]] = {
    "get_weather": ("The weather of a city.", {"city": "string"}),
    "get_time": ("The time of a zone.", {"zone": "string"}),
    "count_stock": ("How many of an item are there, if at least so many.", {"item": "string", "least": "integer"}),
}


def parameters(name: str) -> Json:
    """The schema of a tool's arguments."""
    named = {one: {"type": kind} for one, kind in TOOLS[name][1].items()}
    return {"type": "object", "properties": named, "required": list(named), "additionalProperties": False}


def result_of(name: str) -> str:
    """What every client answers a call with."""
    return f'{name} says: "2 × ☔"\nThat is all.'


def raised(error: Exception, status: int | None, message: str) -> Json:
    return {"raised": {"class": type(error).__name__, "status": status, "message": message}}


class Heard:
    """What a talker was told, over all turns."""

    def __init__(self) -> None:
        self.said = ""
        self.pieces = 0
        self.calls: list[tuple[str, Json]] = []

    def called(self, name: str, arguments: Json) -> str:
        """The result of a call."""
        self.calls.append((name, arguments))
        return result_of(name)

    def told(self) -> Json:
        return {"said": self.said, "pieces": self.pieces, "calls": self.calls}


Run = Callable[[Json], Awaitable[Json]]


def serve(run: Run) -> None:
    """A program's life: until its input ends."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            try:
                answer = runner.run(_run(run, json.loads(line)))
            except Exception:
                answer = {"broken": traceback.format_exc()}
            print(json.dumps(answer), flush=True)


async def _run(run: Run, command: Json) -> Json:
    return await run(command)
