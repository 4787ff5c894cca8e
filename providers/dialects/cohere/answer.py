"""Whole answers, read."""

from __future__ import annotations

from collections.abc import Mapping

from providers.canonical.chat import AnyPart, ChatResponse, Choice, Citation, Reasoning, Text, ToolCall
from providers.canonical.errors import BadUpstreamBytes, UpstreamFailed
from providers.dialect import WireResponse
from providers.dialects.unread import Shape, around, find, known
from providers.wire.json import as_text, decode_upstream

from .errors import decode_error
from .words import NAME, Json, Object, finish_of, read_citations, read_logprobs, read_usage

_TOP = frozenset({"id", "finish_reason", "message", "usage", "logprobs"})
_MESSAGE = frozenset({"role", "content", "tool_plan", "tool_calls", "citations"})
USAGE = known(
    "cached_tokens",
    billed_units=known("input_tokens", "output_tokens", "search_units", "classifications"),
    tokens=known("input_tokens", "output_tokens", "reasoning_tokens"),
)
WEIGHTS = known("text", "token_ids", "logprobs")
#: Of what stands in a message; a source's document is the caller's own.
INSIDE: Mapping[str, Shape] = {
    "content": known("type", "text", "thinking"),
    "tool_calls": known("id", "type", function=known("name", "arguments")),
    "citations": known(
        *("start", "end", "text", "type", "content_index"), sources=known("type", "id", "document", "tool_output")
    ),
}
_ANSWER = around(usage=USAGE, logprobs=WEIGHTS, message=around(**INSIDE))


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer. UpstreamError for an error under 200, BadUpstreamBytes for what is none."""
    body = decode_upstream(wire.body)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    message = body.get("message")
    if type(message) is str or body.get("error"):
        raise decode_error(wire)
    if type(message) is not dict:
        raise BadUpstreamBytes("the upstream's answer holds no message")
    try:
        response = _read(body, message)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadUpstreamBytes("the upstream's answer is not a chat answer") from None
    choice = response.choices[0]
    if choice.finish is not None and choice.finish.reason == "error" and not choice.parts:
        raise UpstreamFailed(
            "the upstream's model failed", upstream_status=wire.status, raw=wire.body[:65536], dialect=NAME
        )
    return response


def _read(body: Object, message: Object) -> ChatResponse:
    parts, elsewhere = read_parts(message)
    calls = any(isinstance(part, ToolCall) for part in parts)
    said = {key: value for key, value in message.items() if key not in _MESSAGE and value is not None}
    if elsewhere:
        said["citations"] = elsewhere
    logprobs, usage = body.get("logprobs"), body.get("usage")
    choice = Choice(
        parts=tuple(parts),
        finish=finish_of(body.get("finish_reason"), calls=calls),
        logprobs=read_logprobs(logprobs) if logprobs else None,
        extra={"message": said} if said else None,
    )
    extra = {key: value for key, value in body.items() if key not in _TOP and value is not None}
    find(body, _ANSWER, extra)
    return ChatResponse(
        dialect=NAME,
        id=body["id"] if type(body.get("id")) is str and body["id"] else None,
        choices=(choice,),
        usage=read_usage(usage) if type(usage) is dict and usage else None,
        extra=extra or None,
    )


def read_parts(message: Object) -> tuple[list[AnyPart], list[Json]]:
    """The parts of a message, and the citations that belong to none of its texts."""
    cited, elsewhere = _cited(message)
    parts: list[AnyPart] = []
    content = message.get("content") or ()
    for i, item in enumerate([{"type": "text", "text": content}] if type(content) is str else content):
        if item.get("type") == "thinking" or "thinking" in item:
            if item["thinking"]:
                parts.append(Reasoning(text=as_text(item["thinking"])))
        elif item["text"] or i in cited:
            parts.append(Text(text=as_text(item["text"]), citations=tuple(cited.get(i, ()))))
    if message.get("tool_plan"):
        parts.append(Reasoning(text=as_text(message["tool_plan"])))
    for call in message.get("tool_calls") or ():
        parts.append(read_call(call))
    return parts, elsewhere


def read_call(raw: Object) -> ToolCall:
    function = raw.get("function") or {}
    return ToolCall(
        id=as_text(raw["id"]), name=as_text(function["name"]), arguments=as_text(function.get("arguments") or "{}")
    )


def _cited(message: Object) -> tuple[dict[int, list[Citation]], list[Json]]:
    """Citations by the place of their text in `content`."""
    content = message.get("content")
    items = content if type(content) is list else []
    texts = [i for i, item in enumerate(items) if "text" in item] or ([0] if content else [])
    found: dict[int, list[Citation]] = {}
    elsewhere: list[Json] = []
    for raw in message.get("citations") or ():
        place = raw.get("content_index")
        if place is None and texts:
            place = texts[0]
        if place in texts and raw.get("type", "TEXT_CONTENT") == "TEXT_CONTENT":
            found.setdefault(place, []).extend(read_citations(raw))
        else:
            elsewhere.append(raw)
    return found, elsewhere
