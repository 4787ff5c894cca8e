"""Whole answers, both ways: content, why it ended, usage; and what the relay lane must see of them.

`form` of an answer: `keep` (top-level keys that only stood there); `extra` of its choice: `stop_details`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest
from providers.canonical.loss import Losses, approximated, dropped, lose_answer, lose_part
from providers.canonical.tokens import fitted
from providers.dialect import Asked, WireResponse
from providers.dialects.anthropic.blocks import raw_input, raw_inputs, read_block, write_block
from providers.dialects.anthropic.errors import decode_error
from providers.dialects.anthropic.words import (
    ANSWER_TOOL,
    FAMILY,
    HEADERS,
    NAME,
    Json,
    Object,
    finish_of,
    finish_word,
    form_of,
    leftovers,
    make_form,
    restore,
    stop_details,
    told_seal,
    write_citation,
    written_id,
)
from providers.dialects.unread import around, by_type, find, kept, known, own_extra
from providers.wire import json as wire_json

_KNOWN = ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
#: Of usage; and of a citation, whatever it cites.
USAGE = kept(
    *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "service_tier"),
    *("iterations", "inference_geo", "speed", "pydantic_ai_gateway"),
    cache_creation=known("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    output_tokens_details=known("thinking_tokens"),
    server_tool_use=known("web_search_requests", "web_fetch_requests"),
)
CITATION = kept(
    *("type", "cited_text", "url", "title", "source", "encrypted_index", "document_index", "document_title", "file_id"),
    *("start_char_index", "end_char_index", "start_page_number", "end_page_number", "start_block_index"),
    *("end_block_index", "search_result_index"),
)
_ANSWER = around(usage=USAGE, content=by_type({"text": around(citations=CITATION)}))
#: The service tier that an answer was given under, in the words of requests.
_TIERS = {"standard": "default", "priority": "priority"}


# ── reading ────────────────────────────────────────────────────────────────────────────


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer. UpstreamError for an error under 200, BadUpstreamBytes for what is no message."""
    body = checked(wire)
    raws = raw_inputs(wire.body, answer=True)
    read = tuple(read_block(block, f"content[{i}]", raw_input(raws, 0, i)) for i, block in enumerate(body["content"]))
    parts = tuple(_as_answer(part) for part in read)
    rest = {key: value for key, value in body.items() if key not in _KNOWN}
    details = rest.pop("stop_details", None)
    extra, keep = leftovers(rest)
    extra = dict(extra or {})
    find(body, _ANSWER, extra)
    usage = read_usage(body.get("usage"))
    finish = finish_of(body.get("stop_reason"), body.get("stop_sequence"), details)
    silent = "stop_details" in body and not details
    choice = Choice(
        parts=parts,
        finish=settled(finish, answered=parts != read, calls=any(isinstance(part, ToolCall) for part in parts)),
        extra={"stop_details": details} if details else None,
        form={"stop_details": details} if silent else None,
    )
    return ChatResponse(
        dialect=NAME,
        id=_string(body.get("id")),
        model=_string(body.get("model")),
        choices=(choice,),
        usage=usage,
        service_tier=tier_of(usage),
        extra=extra or None,
        form=make_form(keep=keep),
    )


def checked(wire: WireResponse) -> Object:
    """The answer as an object with content."""
    body = wire_json.decode_upstream(wire.body)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    if body.get("type") == "error" or ("error" in body and "content" not in body):
        raise decode_error(wire)
    if type(body.get("content")) is not list:
        raise BadUpstreamBytes("the upstream's answer has no content")
    return body


def _string(value: Json) -> str | None:
    return value if type(value) is str and value else None


def _as_answer(part: AnyPart) -> AnyPart:
    """The call of our own answering tool is the answer's text."""
    if isinstance(part, ToolCall) and part.name == ANSWER_TOOL:
        return Text(text=part.arguments, at=part.at)
    return part


def settled(finish: Finish, *, answered: bool, calls: bool) -> Finish:
    """An answer that came through a tool of ours, and calls nothing of the caller's, has just ended. One that calls
    has not, even where a compatible server says so."""
    if answered and not calls and finish.reason == "tool_calls":
        return Finish(reason="stop", raw=finish.raw)
    if calls and finish.raw == "end_turn":
        return Finish(reason="tool_calls", raw=finish.raw)
    return finish


def read_usage(raw: Json) -> Usage | None:
    """Token counts. `input_tokens` there leaves out what came from the cache or went into it."""
    if type(raw) is not dict or not raw:
        return None
    uncached, answered = _count(raw, "input_tokens"), _count(raw, "output_tokens")
    read, wrote = _count(raw, "cache_read_input_tokens"), _count(raw, "cache_creation_input_tokens")
    split, details = raw.get("cache_creation"), raw.get("output_tokens_details")
    if wrote is None and type(split) is dict:
        wrote = sum(count for key in _LIFETIMES if (count := _count(split, key))) or None
    asked = None if uncached is None else uncached + (read or 0) + (wrote or 0)
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=asked + answered if asked is not None and answered is not None else None,
        cache_read_tokens=read,
        cache_write_tokens=wrote,
        cache_write_1h_tokens=_count(split, "ephemeral_1h_input_tokens") if type(split) is dict else None,
        reasoning_tokens=_count(details, "thinking_tokens") if type(details) is dict else None,
        raw=raw,
    )


_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def _count(raw: Mapping[str, Json], key: str) -> int | None:
    return wire_json.as_count(raw.get(key))


def tier_of(usage: Usage | None) -> str | None:
    tier = usage.raw.get("service_tier") if usage is not None and usage.raw else None
    return _TIERS.get(tier) if type(tier) is str else None


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_response(response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
    """An answer for a caller: its first choice. What only another dialect's callers would read of it, and parts that
    have no place, are losses.
    """
    own = response.dialect == NAME
    choice = response.choices[0] if response.choices else Choice(finish=response.blocked)
    if len(response.choices) > 1:
        losses.append(dropped("choices", "the caller's dialect has one answer"))
    body: Object = {
        "id": response.id or fallback_id(response.model),
        "type": "message",
        "role": "assistant",
        "model": response.model or request.model,
        "content": _content(choice.parts, own, losses),
        **write_end(choice.finish, own, choice.extra, losses),
        "usage": write_usage(response.usage, own),
    }
    if own:
        body.update(form_of(choice))
        body.update(own_extra(response.extra, losses))
        restore(body, form_of(response))
    else:
        lose_answer(response, losses)
        if choice.logprobs is not None:
            losses.append(dropped("logprobs", "the caller's dialect has no probabilities of tokens"))
    return WireResponse(status=200, headers=dict(HEADERS), body=wire_json.encode(body))


def fallback_id(model: str | None) -> str:
    """An id where nobody gave one."""
    return f"msg_{zlib.crc32((model or '').encode()):08x}"


def write_end(finish: Finish | None, own: bool, extra: Mapping[str, Json] | None, losses: Losses) -> Object:
    """stop_reason, stop_sequence, and stop_details of a refusal."""
    finish = finish or Finish(reason="other")
    word, same = finish_word(finish, own)
    if not same:
        losses.append(approximated("stop_reason", f"the answer ended with {finish.raw or finish.reason}"))
    out: Object = {"stop_reason": word, "stop_sequence": finish.stop_sequence}
    details = (extra or {}).get("stop_details") if own else stop_details(finish)
    if details is not None:
        out["stop_details"] = details
    return out


def write_usage(usage: Usage | None, own: bool) -> Object:
    """Token counts in this dialect's convention. The two totals are required: what is unknown is written as 0."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    if own and usage.raw is not None:
        return dict(usage.raw)
    usage = fitted(usage)
    read, wrote = usage.cache_read_tokens, usage.cache_write_tokens
    out: Object = {"input_tokens": max((usage.input_tokens or 0) - (read or 0) - (wrote or 0), 0)}
    if wrote is not None:
        out["cache_creation_input_tokens"] = wrote
    if read is not None:
        out["cache_read_input_tokens"] = read
    long = usage.cache_write_1h_tokens
    if long is not None and wrote is not None:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": wrote - long,
            "ephemeral_1h_input_tokens": long,
        }
    out["output_tokens"] = usage.output_tokens or 0
    if usage.reasoning_tokens is not None:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return out


def _content(parts: Sequence[AnyPart], own: bool, losses: Losses) -> list[Object]:
    if own:
        return [write_block(part) for part in parts]
    blocks = [foreign_block(part, f"content[{i}]", losses) for i, part in enumerate(parts)]
    return [block for block in blocks if block is not None]


def foreign_block(part: AnyPart, at: str, losses: Losses) -> Object | None:
    """A part of another dialect's answer as a block; None, and a loss, where there is no place for it."""
    match part:
        case Text():
            if part.seal is not None:
                losses.append(
                    dropped(
                        f"{at}.signature", f"the caller's dialect has no place for a signature of {part.seal.origin}"
                    )
                )
            if not part.text and part.citations:
                losses.append(dropped(f"{at}.citations", "a citation without a text"))
            return _told_text(part, at, losses) if part.text else None
        case Reasoning():
            return told_reasoning(part)
        case ToolCall():
            return {**told_call(part), "input": _told_input(part, at, losses)}
        case Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case Media() if part.transcript:
            losses.append(
                approximated(f"{at}.{part.kind}", "the caller's dialect does not speak: what was said is told as text")
            )
            return {"type": "text", "text": part.transcript}
        case Opaque() if part.dialect == NAME:
            return write_block(part)
    lose_part(at, part, losses)
    return None


def _told_text(part: Text, at: str, losses: Losses) -> Object:
    out: Object = {"type": "text", "text": part.text}
    for citation in part.citations:
        written = write_citation(citation, False, part.text)
        if written is None:
            losses.append(dropped(f"{at}.citations", "a citation without a URL"))
        else:
            out.setdefault("citations", []).append(written)
    return out


def told_reasoning(part: Reasoning) -> Object:
    """Thinking, with its signature marked where it is another family's (see words.py)."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": told_seal(part.seal)}
    return {"type": "thinking", "thinking": part.text, "signature": told_seal(part.seal)}


def told_call(part: ToolCall) -> Object:
    """A call without its input. Its signature, if it has one, is an additional key, which clients echo."""
    out: Object = {"type": "tool_use", "id": written_id(part.id), "name": part.name, "input": {}}
    if part.seal is not None and part.seal.origin != FAMILY:
        out["signature"] = told_seal(part.seal)
    return out


def _told_input(part: ToolCall, at: str, losses: Losses) -> Json:
    if part.kind == "custom":
        losses.append(approximated(f"{at}.input", "a custom tool's input stands under `input`"))
        return {"input": part.arguments}
    if not part.arguments.strip():
        return {}
    try:
        data = part.arguments.encode()
        if type(wire_json.decode(data)) is dict:
            return msgspec.Raw(data)
    except (MalformedRequest, UnicodeEncodeError):
        pass
    losses.append(approximated(f"{at}.input", "arguments that are no object stand under `value` as text"))
    return {"value": part.arguments.encode("utf-8", "replace").decode()}


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relay_response(wire: WireResponse, asked: Asked) -> Usage | None:
    """Checks an answer that goes on untouched."""
    if asked.task == "count_tokens":
        body = wire_json.decode_upstream(wire.body)
        if type(body) is dict and body.get("error"):
            raise decode_error(wire)
        total = wire_json.as_count(body.get("input_tokens")) if type(body) is dict else None
        if total is None:
            raise BadUpstreamBytes("the upstream's count holds no input_tokens")
        return Usage(input_tokens=total, total_tokens=total, raw=body)
    return read_usage(checked(wire).get("usage"))
