"""Answers kept for whoever asks the same again: in memory, within a budget of bytes, the least recently used first out.

What is being said right now (`router/state/flights.py`) takes room of the same budget, and so does what somebody reads
still when it is kept no more: all of it together is never more. Nothing is given out after its time, and none stays in
memory for much longer than that. Time is passed in, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from providers.canonical.loss import Loss
from router.state.seals import Note

OVERHEAD = 1 << 10  # bytes of a kept answer beside what is counted
PIECE = 64  # of each of its pieces
SHARE = 8  # what is larger than this part of the budget would push out what many others need
SWEEP = 5.0  # seconds between looks for what is over its time


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, complete. `pieces` are whole events of a stream, or one body; `made` is when its end had come."""

    headers: Mapping[str, str]  # those that belong to the answer, not to the call that it was made for
    pieces: Sequence[bytes]
    streamed: bool
    made: float
    until: float
    number: int = 0  # of the call that it was made for: later ones have greater ones
    losses: Sequence[Loss] = ()
    seals: Sequence[Note] = ()

    @property
    def size(self) -> int:
        """Bytes, about."""
        words = sum(len(name) + len(value) for name, value in self.headers.items())
        losses = sum(OVERHEAD // 4 + len(loss.field) + len(loss.reason) for loss in self.losses)
        return OVERHEAD + words + weight(self.pieces) + losses + sum(note.size for note in self.seals)


class _Read(msgspec.Struct):
    """An answer that is being given: its size, to how many, and is it still kept?"""

    size: int
    readers: int = 0
    is_kept: bool = True


def weight(pieces: Sequence[bytes]) -> int:
    """What pieces of an answer take in memory."""
    return sum(map(len, pieces)) + PIECE * len(pieces)


class AnswerCache:
    """Of one table: another table has another one, and what belonged to this is dropped."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.largest = limit // SHARE
        self._aside = 0  # bytes, of answers that are under way
        self._held = 0  # of those that are kept
        self._kept: OrderedDict[bytes, tuple[Kept, int]] = OrderedDict()  # with its size
        self._read: dict[int, _Read] = {}  # those that somebody is given just now, by identity
        self._bound = 0  # bytes of those of them that are kept
        self._swept = 0.0
        self._closed = False

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes in use, those that are set aside included."""
        return self._held + self._aside

    def find(self, key: bytes, now: float, newest: float | None = None) -> Kept | None:
        """The answer, if there is one that is still good; `newest`: and no older than so many seconds."""
        self.sweep(now)
        found = self._kept.get(key)
        if found is None:
            return None
        kept = found[0]
        if now >= kept.until:
            self._drop(key)
            return None
        if newest is not None and now - kept.made > newest:
            return None
        self._kept.move_to_end(key)
        return kept

    def look(self, key: bytes, now: float) -> Kept | None:
        """The same without any effect."""
        found = self._kept.get(key)
        return None if found is None or now >= found[0].until else found[0]

    def put(self, key: bytes, kept: Kept, now: float) -> bool:
        """In the place of what was there before. Not where it is too large, or has no time left. Gives whether it is
        kept."""
        self._drop(key)
        self.sweep(now)
        size = kept.size
        if self._closed or size > self.largest or now >= kept.until or not self._make_room(size):
            return False
        self._kept[key] = kept, size
        self._held += size
        return True

    def set_aside(self, size: int) -> bool:
        """Room for so many bytes, the oldest answers making it. Not where all that is set aside leaves none."""
        if not self._make_room(size):
            return False
        self._aside += size
        return True

    def take(self, size: int) -> None:
        """Sets aside what is there already, and was given back."""
        self._aside += size

    def _make_room(self, size: int) -> bool:
        if self._aside + self._bound + size > self.limit:
            return False
        lacking = self.size + size - self.limit
        oldest = (key for key, (kept, _) in self._kept.items() if id(kept) not in self._read)
        leaving: list[bytes] = []
        while lacking > 0:
            leaving.append(next(oldest))
            lacking -= self._kept[leaving[-1]][1]
        for key in leaving:
            self._drop(key)
        return True

    def give_back(self, size: int) -> None:
        """Of what was set aside."""
        self._aside -= size

    def hold(self, kept: Kept) -> None:
        """Somebody begins to read what was found or put just now: to let go of it makes no room until `release`."""
        read = self._read.get(id(kept))
        if read is None:
            read = self._read[id(kept)] = _Read(size=kept.size)
            self._bound += read.size
        read.readers += 1

    def release(self, kept: Kept) -> None:
        """Somebody has read it, or reads no further."""
        read = self._read[id(kept)]
        read.readers -= 1
        if read.readers:
            return
        del self._read[id(kept)]
        if read.is_kept:
            self._bound -= read.size
        else:
            self._aside -= read.size

    def sweep(self, now: float) -> None:
        """Lets go of what is over its time, now and then."""
        if now - self._swept < SWEEP:
            return
        self._swept = now
        for key in [key for key, (kept, _) in self._kept.items() if now >= kept.until]:
            self._drop(key)

    def close(self) -> None:
        """Forgets everything, and keeps nothing from now on."""
        self._closed = True
        for key in list(self._kept):
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            kept, size = found
            self._held -= size
            read = self._read.get(id(kept))
            if read is not None:
                read.is_kept = False
                self._bound -= size
                self._aside += size
