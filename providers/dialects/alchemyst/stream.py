"""Streams, read. Each `data:` line is an event by itself, with or without blank lines between; `[DONE]` is the end.

A line that is no JSON is skipped and counted: `unread_lines` of the end's `extra`, or the error's text should there be
no answer.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any

from providers.canonical.chat import Finish, Usage
from providers.canonical.errors import BadUpstreamBytes, RouterError, StreamTruncated
from providers.canonical.stream import (
    ChoiceEnd,
    PartEnd,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextDelta,
)
from providers.dialect import WireResponse
from providers.wire.halves import Halves
from providers.wire.json import encode
from providers.wire.lines import LineDecoder

from .answer import NAME, Json, decode_error, kept, text_of

_FIELDS = (b":", b"event:", b"id:", b"retry:")


class Decoder:
    """Bytes to events. `finished` after `[DONE]`, or when a fault waits to be raised."""

    counted: Usage | None = None  # its events tell at once

    def __init__(self, limit: int = 16 << 20) -> None:
        self._lines = LineDecoder(limit)
        self._json = Halves().decode
        self._fault: RouterError | None = None
        self._begun = False
        self._seen = False
        self._answered = False
        self._unread = 0  # lines that were no JSON
        self._parts = 0
        self._kind: type[ReasoningDelta] | type[TextDelta] | None = None  # of the open part
        self._extra: dict[str, Any] = {}
        self.finished = False

    def feed(self, data: bytes, /) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        try:
            for line in self._lines.feed(data) if not self.finished else ():
                self._line(self._plain(line), out)
                if self.finished:
                    break
        except RouterError as error:
            self.finished = True
            self._fault = error
            if not out:
                raise
        return out

    def close(self) -> Sequence[StreamEvent]:
        if self._fault is not None:
            raise self._fault
        out: list[StreamEvent] = []
        if not self.finished:
            self._line(self._plain(self._lines.close()), out)
        if not self.finished:
            if not self._seen:
                raise BadUpstreamBytes("the upstream's stream is empty")
            raise StreamTruncated("the upstream's stream ended without [DONE]")
        return out

    # ── lines ──────────────────────────────────────────────────────────────────────

    def _plain(self, line: bytes) -> bytes:
        """A line without the white space around it, and the first without a byte order mark."""
        line = line.strip()
        if not self._begun:
            self._begun = True
            line = line.removeprefix(BOM_UTF8)
        return line

    def _line(self, line: bytes, out: list[StreamEvent]) -> None:
        if not line.startswith(b"data:"):
            if line.startswith(b"{") and not self._seen:
                raise decode_error(WireResponse(status=200, body=line))
            if line and not line.startswith(_FIELDS):
                self._unread += 1
            return
        data = line[5:].strip()
        if not data:
            return
        if data == b"[DONE]":
            return self._end(out)
        if not self._seen:
            self._seen = True
            out.append(ResponseStart(dialect=NAME))
        try:
            event = self._json(data)
        except BadUpstreamBytes:
            self._unread += 1
            return
        if type(event) is dict:
            self._event(event, data, out)

    def _event(self, event: dict[str, Json], data: bytes, out: list[StreamEvent]) -> None:
        kind, content = event.get("type"), event.get("content")
        if event.get("error") is not None or kind == "error":
            told = data if event.get("error") is not None else encode({"message": _said(content)})
            raise decode_error(WireResponse(status=200, body=told))
        if kind == "thinking_update":
            self._say(ReasoningDelta, _said(content), out)
        elif kind == "final_response":
            self._answered = self._answered or content is not None
            self._say(TextDelta, _said(content), out)
        elif kind == "metadata" and type(content) is dict:
            self._extra |= kept(content) or {}

    def _say(self, kind: type[ReasoningDelta] | type[TextDelta], text: str, out: list[StreamEvent]) -> None:
        if not text:
            return
        if self._kind is not kind:
            self._shut(out)
            self._kind = kind
            self._parts += 1
        out.append(kind(index=self._parts - 1, text=text))

    def _shut(self, out: list[StreamEvent]) -> None:
        if self._kind is not None:
            out.append(PartEnd(index=self._parts - 1))
            self._kind = None

    def _end(self, out: list[StreamEvent]) -> None:
        self.finished = True
        if not self._answered:
            lines = f"; lines that are no JSON: {self._unread}" if self._unread else ""
            raise BadUpstreamBytes(f"the upstream's stream ended without an answer{lines}")
        if self._unread:
            self._extra["unread_lines"] = self._unread
        self._shut(out)
        out.append(ChoiceEnd(finish=Finish(reason="stop")))
        out.append(ResponseEnd(extra=self._extra or None))


def _said(content: Json) -> str:
    """A text, or what stands in its place: the text of an object, else the object as JSON."""
    if content is None:
        return ""
    text = text_of(content)
    return encode(content).decode() if text is None else text
