"""Whole answers and errors, read. The text stands in one of several places; no usage is told.

`chatId`, `title`, `researchMode` and `metadata` are kept in `extra`: no other dialect has a place for them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from providers.canonical.chat import ChatResponse, Choice, Finish, Text
from providers.canonical.errors import BadUpstreamBytes, UpstreamError, UpstreamFailed
from providers.dialect import WireResponse
from providers.dialects._openai import errors
from providers.wire.json import decode_upstream

Json: TypeAlias = Any

NAME = "alchemyst.chat"

#: Where the text has been seen, below `result`, in the order in which it is looked for.
_PLACES = (("message",), ("response", "content"), ("response", "kwargs", "content"), ("content",), ())
_KEPT = ("chatId", "title", "researchMode", "metadata")


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer. UpstreamError for an error in a good answer, BadUpstreamBytes where there is no text."""
    body = decode_upstream(wire.body)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    text = text_of(body.get("result"))
    if text is None:
        if body.get("error"):
            raise decode_error(wire)
        raise BadUpstreamBytes("the upstream's answer holds no text")
    choice = Choice(parts=(Text(text=text),), finish=Finish(reason="stop"))
    return ChatResponse(dialect=NAME, choices=(choice,), extra=kept(body))


def text_of(result: Json) -> str | None:
    """The text of a result, wherever it stands; None where there is none."""
    for place in _PLACES:
        value = result
        for step in place:
            value = value.get(step) if type(value) is dict else None
        if type(value) is str:
            return value
    return None


def kept(body: dict[str, Json]) -> dict[str, Json] | None:
    """What is told about the chat besides its answer."""
    return {key: body[key] for key in _KEPT if body.get(key) is not None} or None


def decode_error(wire: WireResponse) -> UpstreamError:
    """`{"message"}` or `{"error"}`. 404 means that no answer was found, and nothing of the caller's path."""
    error = errors.decode_error(wire, NAME)
    if wire.status == 404:
        return UpstreamFailed(error.message, upstream_status=404, raw=error.raw, dialect=NAME, status=502)
    return error
