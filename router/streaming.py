"""The bytes of a streamed answer: from the upstream's chunks to the caller's, with what we must learn on the way.

A Source takes chunks and gives bytes: `Relayed` when both sides speak the same dialect, `Translated` otherwise. `hold`
keeps everything back until the first event with content, so that what fails before it can still be tried elsewhere
and keeps its HTTP status; `pump` gives out the rest, one write for whatever has arrived.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from providers.canonical.chat import ChatResponse
from providers.canonical.errors import BadUpstreamBytes, RouterError
from providers.canonical.stream import (
    ChoiceEnd,
    PartEnd,
    PartWhole,
    ReasoningDelta,
    RefusalDelta,
    ResponseStart,
    SealDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageUpdate,
    unfold,
)
from providers.dialect import Dialect, StreamDecoder, StreamEncoder, StreamRelay
from router.record import AttemptRecord, Record
from router.state.seals import SealWatch

JSON_TYPES = frozenset({"application/json", "text/json"})

LONGEST_BLANK = 64 << 10

#: What makes an answer begin, as a text does: from here on it is committed.
_CONTENT = frozenset({ReasoningDelta, RefusalDelta, ToolCallStart, PartWhole, SealDelta, ChoiceEnd})
_WATCHED = frozenset({ReasoningDelta, ToolCallStart, ToolCallDelta, SealDelta, PartWhole, PartEnd})
_SEEN = frozenset({ReasoningDelta, ToolCallDelta, RefusalDelta, PartWhole})


class Source(Protocol):
    """`started`: something with content has been given out; `finished`: the upstream has said its end."""

    content_type: str
    started: bool

    @property
    def finished(self) -> bool: ...
    def feed(self, data: bytes, /) -> bytes: ...
    def close(self) -> bytes: ...
    def error(self, error: RouterError, /) -> bytes: ...


class Relayed:
    """Same dialect on both sides: bytes go through event by event."""

    def __init__(self, relay: StreamRelay, record: Record, attempt: AttemptRecord, clock: Callable[[], float]) -> None:
        self._relay = relay
        self._record = record
        self._attempt = attempt
        self._clock = clock
        self.content_type = relay.content_type
        self.started = False

    @property
    def finished(self) -> bool:
        return self._relay.finished

    def feed(self, data: bytes) -> bytes:
        relay = self._relay
        try:
            out = relay.feed(data)
        except RouterError:
            self._record.usage = relay.usage
            raise
        if relay.started:
            self.started = True
            _note_chunk(self._attempt, self._clock())
        return out

    def close(self) -> bytes:
        try:
            return self._relay.close()
        finally:
            self._record.usage = self._relay.usage

    def error(self, error: RouterError) -> bytes:
        self._record.usage = self._relay.usage
        return self._relay.error(error)


class Translated:
    """Two dialects: bytes to events to bytes."""

    def __init__(
        self,
        decoder: StreamDecoder,
        encoder: StreamEncoder,
        record: Record,
        attempt: AttemptRecord,
        clock: Callable[[], float],
        *,
        watch: SealWatch,
        id: str,
        created: int,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._record = record
        self._attempt = attempt
        self._clock = clock
        self._watch = watch
        self._id = id
        self._created = created
        self.content_type = encoder.content_type
        self.started = False

    @property
    def finished(self) -> bool:
        return self._decoder.finished

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._decoder.feed(data)
        except RouterError:
            self._count()
            raise
        return self._encoded(events) if events else b""

    def _encoded(self, events: Sequence[StreamEvent]) -> bytes:
        out: list[bytes] = []
        content = False
        encode = self._encoder.feed
        for event in events:
            kind = type(event)
            if kind is TextDelta:  # most of them
                self._watch.see_text(event)  # type: ignore[arg-type]  # it is one
                content = content or event.text != ""  # type: ignore[union-attr]
                out.append(encode(event))
                continue
            if kind in _WATCHED:
                self._watch.see(event)
            elif kind is UsageUpdate and isinstance(event, UsageUpdate):
                self._record.usage = event.usage
            elif kind is ResponseStart and isinstance(event, ResponseStart):
                event = self._completed(event)
            if kind in _CONTENT and getattr(event, "text", True):
                self.started = True
            content = content or (kind in _SEEN and bool(getattr(event, "text", True)))
            out.append(encode(event))
        if content:
            self.started = True
            _note_chunk(self._attempt, self._clock())
        return out[0] if len(out) == 1 else b"".join(out)

    def _completed(self, start: ResponseStart) -> ResponseStart:
        """Id and time where the upstream gave none."""
        if start.id is not None and start.created is not None:
            return start
        created = self._created if start.created is None else start.created
        return msgspec.structs.replace(start, id=start.id or self._id, created=created)

    def close(self) -> bytes:
        try:
            events = self._decoder.close()
        except RouterError:
            self._count()
            raise
        return self._encoded(events) + self._encoder.close()

    def error(self, error: RouterError) -> bytes:
        self._count()
        return self._encoder.error(error)

    def _count(self) -> None:
        """What the upstream counted before its stream broke off."""
        counted = self._decoder.counted
        if counted is not None:
            self._record.usage = counted


class Unfolding:
    """A whole answer in the place of a stream's decoder."""

    finished = True

    def __init__(self, response: ChatResponse) -> None:
        self._response = response
        self.counted = response.usage

    def feed(self, data: bytes) -> Sequence[StreamEvent]:
        return ()

    def close(self) -> Sequence[StreamEvent]:
        return list(unfold(self._response))


def _note_chunk(attempt: AttemptRecord, now: float) -> None:
    if attempt.first_chunk is None:
        attempt.first_chunk = now
    else:
        attempt.chunks += 1
    attempt.last_chunk = now


async def opening(chunks: AsyncIterator[bytes]) -> bytes:
    """The first bytes that are more than white space; b"" when there are none. Endless white space is no answer."""
    blank = 0
    async for data in chunks:
        if data.strip():
            return data
        blank += len(data)
        if blank > LONGEST_BLANK:
            raise BadUpstreamBytes("the upstream sent nothing but white space")
    return b""


def is_whole_answer(headers: Mapping[str, str], first: bytes, upstream: Dialect) -> bool:
    """Did the upstream send JSON although a stream was asked for? An array may be a stream; an object is not, unless
    the dialect has such streams, and the answer does not say that it is JSON."""
    if first.removeprefix(BOM_UTF8).lstrip()[:1] != b"{":
        return False
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in JSON_TYPES or not upstream.streams_json


async def hold(source: Source, first: bytes, chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """What there is to say once the answer has begun, and whether that is all. Raises when it fails before."""
    held = [source.feed(first)] if first else []
    while not (source.started or source.finished):
        data = await anext(chunks, b"")
        if not data:
            break
        held.append(source.feed(data))
    done = not source.started
    if done:
        held.append(source.close())
    return b"".join(held), done


async def pump(source: Source, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The rest of the stream, to its end."""
    while not source.finished:
        data = await anext(chunks, b"")
        if not data:
            break
        out = source.feed(data)
        if out:
            yield out
    yield source.close()
