"""Whole answers, and what both whole answers and streams say: why it ended, what was counted, what is cited.

Facts: botocore 1.44.5 (bedrock-runtime), recorded traffic. Cached tokens are counted beside `inputTokens`: recorded
totals are their sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    FinishReason,
    Media,
    Opaque,
    Reasoning,
    Seal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, UpstreamFailed
from providers.dialect import WireResponse
from providers.dialects.bedrock.errors import decode_error
from providers.dialects.bedrock.words import FAMILY, MIME_TYPES, NAME, Json, Object, read_name
from providers.dialects.unread import around, find, known
from providers.wire.json import as_count, decode_upstream, encode

_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_FAILED = frozenset({"malformed_model_output", "malformed_tool_use"})
#: Blocks that are understood; whatever else comes is kept as it is.
_KNOWN = ("text", "toolUse", "reasoningContent", "citationsContent", "image")
USAGE = known(
    *("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    *("cacheReadInputTokenCount", "cacheWriteInputTokenCount", "serverToolUsage"),
    cacheDetails=known("inputTokens", "ttl"),
)
METRICS = known("latencyMs")
_SPAN = known("documentIndex", "searchResultIndex", "start", "end")
CITATION = known(
    *("title", "source"),
    sourceContent=known("text"),
    location=known(
        web=known("url", "domain"),
        documentChar=_SPAN,
        documentPage=_SPAN,
        documentChunk=_SPAN,
        searchResultLocation=_SPAN,
    ),
)
_SOURCE = known("bytes", "s3Location")
_BLOCK = known(
    *("text", "type"),
    toolUse=known("toolUseId", "name", "input", "type"),
    reasoningContent=known("redactedContent", reasoningText=known("text", "signature")),
    citationsContent=known(content=known("text"), citations=CITATION),
    image=known("format", "error", source=_SOURCE),
)
_ANSWER = around(usage=USAGE, metrics=METRICS, output=known(message=known("role", "content")))


# ── arguments as they were written ─────────────────────────────────────────────────────


class _RawCall(msgspec.Struct, frozen=True):
    input: msgspec.Raw = msgspec.Raw()


class _RawBlock(msgspec.Struct, frozen=True):
    call: _RawCall | None = msgspec.field(default=None, name="toolUse")


class _RawMessage(msgspec.Struct, frozen=True):
    content: list[_RawBlock] = []


class _RawOutput(msgspec.Struct, frozen=True):
    message: _RawMessage = _RawMessage()


class _RawAnswer(msgspec.Struct, frozen=True):
    output: _RawOutput = _RawOutput()


_read_raw = msgspec.json.Decoder(_RawAnswer).decode


def _raw_inputs(data: bytes) -> list[bytes]:
    """The text of each block's `toolUse.input`; empty texts where there is none."""
    if b'"toolUse"' not in data:
        return []
    try:
        blocks = _read_raw(data).output.message.content
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return [bytes(block.call.input) if block.call else b"" for block in blocks]


# ── answers ────────────────────────────────────────────────────────────────────────────


def decode_response(wire: WireResponse) -> ChatResponse:
    """A 200 answer. BadUpstreamBytes when it is none; UpstreamError for an error under 200, and when the model failed
    with nothing to show.
    """
    body = decode_upstream(wire.body)
    if type(body) is dict and "output" not in body and (type(body.get("message")) is str or "__type" in body):
        raise decode_error(wire)
    output = body.get("output") if type(body) is dict else None
    message = output.get("message") if type(output) is dict else None
    content = message.get("content") if type(message) is dict else None
    if type(content) is not list:
        raise BadUpstreamBytes("the upstream's answer holds no message")
    raws = _raw_inputs(wire.body)
    parts = tuple(_part(block, raws[i] if i < len(raws) else b"") for i, block in enumerate(content))
    finish = finish_of(body.get("stopReason"), any(isinstance(part, ToolCall) for part in parts))
    check_usable(finish, any(_is_useful(part) for part in parts))
    known_keys = ("output", "stopReason", "usage", "serviceTier")
    extra = {key: value for key, value in body.items() if key not in known_keys}
    find(body, _ANSWER, extra)
    for i, block in enumerate(content):
        shape = known(*list(block)[:1]) if block.keys().isdisjoint(_KNOWN) else _BLOCK
        find(block, shape, extra, f"output.message.content[{i}]")
    return ChatResponse(
        dialect=NAME,
        choices=(Choice(parts=parts, finish=finish),),
        usage=read_usage(body.get("usage")),
        service_tier=tier_of(body.get("serviceTier")),
        extra=extra or None,
    )


def _part(block: Json, raw: bytes) -> AnyPart:
    if type(block) is not dict:
        raise BadUpstreamBytes("the upstream's answer holds a block that is no object")
    kind = next((key for key in _KNOWN if key in block), "")
    data = block.get(kind)
    if kind == "text":
        return Text(text=str(data or ""))
    if type(data) is dict:
        if kind == "toolUse" and not is_servers(data):
            return ToolCall(
                id=str(data.get("toolUseId") or ""),
                name=read_name(str(data.get("name") or "")),
                arguments=_arguments(data, raw),
            )
        if kind == "reasoningContent":
            return _reasoning(data)
        if kind == "citationsContent":
            texts = [one["text"] for one in _dicts(data.get("content")) if type(one.get("text")) is str]
            citations = tuple(read_citation(one) for one in _dicts(data.get("citations")))
            return Text(text="".join(texts), citations=citations)
        if kind == "image" and (media := read_image(data)) is not None:
            return media
    kind = kind or next(iter(block), "block")
    return Opaque(dialect=NAME, kind=kind, raw=block.get(kind))


def is_servers(call: Object) -> bool:
    """Is it a call that the service runs itself?"""
    return call.get("type") == "server_tool_use"


def _arguments(call: Object, raw: bytes) -> str:
    if raw:
        return msgspec.json.format(raw, indent=-1).decode()
    return encode(call.get("input") or {}).decode()


def _reasoning(data: Object) -> Reasoning:
    told = data.get("reasoningText")
    if type(told) is dict:
        signature = told.get("signature")
        seal = Seal(value=signature, origin=FAMILY) if type(signature) is str and signature else None
        return Reasoning(text=str(told.get("text") or ""), seal=seal)
    return redacted(str(data.get("redactedContent") or ""))


def redacted(content: str) -> Reasoning:
    """Thinking that is shown to nobody, in base64."""
    return Reasoning(redacted=True, seal=Seal(value=content, origin=FAMILY))


def read_image(data: Object) -> Media | None:
    """An image that the model made."""
    source = data.get("source")
    content = source.get("bytes") if type(source) is dict else None
    if type(content) is not str:
        return None
    return Media(kind="image", mime_type=MIME_TYPES.get(("image", str(data.get("format")))), base64=content)


def read_citation(told: Object) -> Citation:
    """A source. Its place is one in the source, not in the answer's text: it is kept as it is."""
    location = told.get("location")
    web = location.get("web") if type(location) is dict else None
    url = web.get("url") if type(web) is dict else None
    title = told.get("title")
    return Citation(
        url=url if type(url) is str else None,
        title=title if type(title) is str else None,
        extra={key: value for key, value in told.items() if key != "title"} or None,
    )


def _dicts(value: Json) -> Iterable[Object]:
    return [one for one in value if type(one) is dict] if type(value) is list else []


# ── how it ended ───────────────────────────────────────────────────────────────────────


def finish_of(word: Json, calls: bool) -> Finish:
    """What a stopReason means. `calls`: the answer holds calls for the caller to run."""
    said = word if type(word) is str else ""
    reason: FinishReason = _REASONS.get(said, "other" if said else "stop")
    failed = calls and reason == "error"
    if calls and reason in ("stop", "error"):
        reason = "tool_calls"
    elif reason == "tool_calls" and not calls:
        reason = "stop"  # the service ran its own tools
    return Finish(reason=reason, raw=said or None, failed=failed)


def check_usable(finish: Finish, useful: bool) -> None:
    """Raises UpstreamFailed for an answer that failed and has nothing to show; another attempt may do better."""
    if finish.raw in _FAILED and not useful:
        message = f"the model's answer failed ({finish.raw})"
        raise UpstreamFailed(message, upstream_status=200, dialect=NAME, upstream_code=finish.raw)


def _is_useful(part: AnyPart) -> bool:
    return not isinstance(part, Reasoning) and not (isinstance(part, Text) and not part.text)


# ── what was counted ───────────────────────────────────────────────────────────────────


def read_usage(value: Json) -> Usage | None:
    """Inclusive counts. A server whose total is input and output alone has counted the cached ones in."""
    if type(value) is not dict:
        return None
    given, made, total = (_count(value, key) for key in ("inputTokens", "outputTokens", "totalTokens"))
    read, written = _count(value, "cacheReadInputTokens"), _count(value, "cacheWriteInputTokens")
    cached = (read or 0) + (written or 0)
    if given is not None and cached and (made is None or total != given + made):
        given += cached
    if total is None and given is not None and made is not None:
        total = given + made
    hour = [one["inputTokens"] for one in _dicts(value.get("cacheDetails")) if one.get("ttl") == "1h"]
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(hour) if hour and all(type(one) is int for one in hour) else None,
        raw=value,
    )


def _count(value: Object, key: str) -> int | None:
    return as_count(value.get(key))


def tier_of(value: Json) -> str | None:
    tier = value.get("type") if type(value) is dict else None
    return tier if type(tier) is str else None
