"""Events of one stream as JSON, in which a character may come in two halves.

Upstreams that cut text by UTF-16 units write the first half of an emoji as `\\ud83d` at the end of one event's text and
the second at the beginning of the next one's. The first waits here; each event by itself would say U+FFFD twice.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from providers.canonical.errors import BadUpstreamBytes
from providers.wire.json import UNREADABLE, decode_with_halves, whole_characters

Json: TypeAlias = Any
_Path: TypeAlias = tuple[str | int | None, ...]

_MOST = 64  # texts that wait at once; what is more is U+FFFD
#: Which of several texts an event goes on with, in the words of all dialects.
_NUMBERS = ("index", "output_index", "content_index", "summary_index", "contentBlockIndex")
#: What says that no more comes.
_ENDS = ("finish_reason", "finishReason", "done")
_decode = msgspec.json.Decoder().decode


class Halves:
    """Reads the events of one stream, as `decode_upstream` reads one that stands alone."""

    def __init__(self) -> None:
        self._waiting: dict[_Path, str] = {}  # first halves, by where in an event their text stood

    def decode(self, data: bytes) -> Json:
        """An event's JSON; BadUpstreamBytes for what is none.

        Half a character without its other half is U+FFFD; where only later events tell that nothing is added to its
        text, it is left out.
        """
        if not self._waiting:
            try:
                return _decode(data)
            except UNREADABLE:
                pass
        try:
            return self._joined(decode_with_halves(data), (), False)
        except RecursionError:
            raise BadUpstreamBytes("the upstream's answer is nested too deep") from None

    def _joined(self, value: Json, path: _Path, ends: bool) -> Json:
        kind = type(value)
        if kind is str:
            return self._text(value, path, ends)
        if kind is list:
            return [self._joined(item, (*path, place), ends) for place, item in enumerate(value)]
        if kind is dict:
            ends = ends or any(map(value.get, _ENDS))
            numbers = (value.get(name) for name in _NUMBERS)
            inside = (*path, *(number if type(number) is int else None for number in numbers))
            return {whole_characters(key): self._joined(item, (*inside, key), ends) for key, item in value.items()}
        return value

    def _text(self, text: str, path: _Path, ends: bool) -> str:
        if not text and not ends:
            return text
        text = self._waiting.pop(path, "") + text
        if not ends and "\ud800" <= text[-1] <= "\udbff" and len(self._waiting) < _MOST:
            self._waiting[path] = text[-1]
            text = text[:-1]
        return whole_characters(text)
