"""What a supervisor and its workers say to one another, over a pair of sockets.

A message is its length in four bytes, and itself in MessagePack. `Frames` takes bytes as they come and gives messages.
Whichever side ends, the other one sees the end of input: a worker knows by it that its supervisor has gone.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

_LENGTH = 4


class Ready(msgspec.Struct, tag=True):
    """A worker takes calls, at these addresses."""

    main: str
    admin: str | None


class Failed(msgspec.Struct, tag=True):
    """A worker cannot start: one line for the operator."""

    message: str


class Counted(msgspec.Struct, tag=True):
    """What a worker has counted (`sums.Told`), which of its parts do not work, and which question it answers."""

    told: bytes
    degraded: list[str]
    answers: int = 0


class Scrape(msgspec.Struct, tag=True):
    """A worker asks what all others have counted; it has counted this itself."""

    question: int
    told: bytes


FromWorker: TypeAlias = Ready | Failed | Counted | Scrape


class Count(msgspec.Struct, tag=True):
    """What have you counted? To be answered at once."""

    question: int


class Others(msgspec.Struct, tag=True):
    """The answer to a `Scrape`: a page of each other process, those that have ended in one."""

    question: int
    told: list[bytes]


class Crew(msgspec.Struct, tag=True):
    """How the others are. `complete`: all workers have come up, once; `degraded`: parts that do not work there."""

    complete: bool
    degraded: list[str]


class Reload(msgspec.Struct, tag=True):
    """The route table is this from now on. It has been found good."""

    generation: int
    data: bytes


class Refused(msgspec.Struct, tag=True):
    """The file was read and not taken, at that time."""

    at: str


class Stop(msgspec.Struct, tag=True):
    """Drain, or (`hurry`) end at once."""

    hurry: bool


class Tell(msgspec.Struct, tag=True):
    """A line for the log."""

    level: Literal["debug", "info", "warning", "error"]
    event: str
    fields: dict[str, Any]


ToWorker: TypeAlias = Count | Others | Crew | Reload | Refused | Stop | Tell
Message: TypeAlias = FromWorker | ToWorker

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromWorker | ToWorker).decode


def frame(message: Message) -> bytes:
    """A message as it is sent."""
    data = _encode(message)
    return len(data).to_bytes(_LENGTH, "big") + data


class Frames:
    """Takes any split of the bytes that were sent."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are whole by now."""
        waiting = self._waiting
        waiting += data
        found, start = [], 0
        while len(waiting) >= start + _LENGTH:
            end = start + _LENGTH + int.from_bytes(waiting[start : start + _LENGTH], "big")
            if len(waiting) < end:
                break
            found.append(_decode(bytes(waiting[start + _LENGTH : end])))
            start = end
        del waiting[:start]
        return found
