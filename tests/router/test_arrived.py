"""router/arrived.py against aiohttp's own reader, whose insides it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from router.arrived import taken


class Resumed(BaseProtocol):
    """Counts how often it is told that there is room again."""

    resumed = 0

    def resume_reading(self, resume_parser: bool = True) -> None:
        self.resumed += 1
        self._reading_paused = False

    def pause_reading(self) -> None:
        self._reading_paused = True


async def ended(pieces: Sequence[bytes], limit: int = 1000) -> tuple[StreamReader, Resumed]:
    loop = asyncio.get_running_loop()
    protocol = Resumed(loop)
    reader = StreamReader(protocol, limit, loop=loop)
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    protocol.resumed = 0
    return reader, protocol


@pytest.mark.parametrize("pieces", [[], [b"abc"], [b"a", b"bc", b"d"]])
async def test_a_body_is_taken_whole_and_is_gone(pieces: list[bytes]) -> None:
    """As the reader would give it, and nobody is woken for it."""
    reader, protocol = await ended(pieces)

    assert b"".join(pieces) == taken(reader)
    assert (0, True, b"") == (protocol.resumed, reader.is_eof(), await reader.read())


async def test_who_waits_for_room_is_woken() -> None:
    """A connection whose reading was stopped by a large body goes on."""
    loop = asyncio.get_running_loop()
    protocol = Resumed(loop)
    reader = StreamReader(protocol, 10, loop=loop)
    reader.feed_data(b"x" * 100)
    reader._eof = True
    assert protocol._reading_paused

    assert b"x" * 100 == taken(reader)
    assert not protocol._reading_paused


async def test_a_body_that_broke_off_is_no_body() -> None:
    """What went wrong is raised."""
    reader, _ = await ended([b"abc"])
    reader.set_exception(ConnectionResetError("gone"))

    with pytest.raises(ConnectionResetError):
        taken(reader)
