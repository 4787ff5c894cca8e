"""Whole answers, both ways: the response object, its usage; and what the relay lane must see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providers.canonical.chat import AnyPart, ChatRequest, ChatResponse, Choice, Finish, Refusal, ToolCall, Usage
from providers.canonical.errors import BadUpstreamBytes, UpstreamFailed
from providers.canonical.loss import Losses, approximated, dropped, lose_answer, lose_stop
from providers.canonical.tokens import fitted
from providers.dialect import Asked, WireResponse
from providers.dialects._openai.errors import decode_error
from providers.dialects._openai.values import TIERS, Json, Object, leftovers, make_form, restore
from providers.dialects.unread import around, by_type, find, kept, known, own_extra
from providers.wire.json import as_count, decode_upstream, encode

from .faults import fault
from .items import form_of
from .output import Output, own_items, read_output
from .request import TIER_WORDS
from .words import NAME, digest, ending, finish_of, response_id

_FAILED = frozenset({"failed", "cancelled"})
_UNFINISHED = frozenset({"queued", "in_progress"})

# ── what is known ──────────────────────────────────────────────────────────────────────

#: Of usage; beside what the specification has: what xAI's servers, and gateways, say of their own counting and prices.
USAGE = kept(
    *("input_tokens", "output_tokens", "total_tokens", "context_details", "cost_in_usd_ticks", "num_sources_used"),
    *("num_server_side_tools_used", "server_side_tool_usage_details", "pydantic_ai_gateway"),
    input_tokens_details=known("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"),
    output_tokens_details=known("reasoning_tokens", "audio_tokens", "image_tokens"),
)
ANNOTATION = by_type({"url_citation": kept("type", "start_index", "end_index", "url", "title")})
_TEXT = known("type", "text")
_KEPT_TEXT = kept("type", "text")
_ANSWER = around(
    usage=USAGE,
    output=by_type(
        {
            "message": around(content=by_type({"output_text": around(annotations=ANNOTATION)})),
            "reasoning": around(summary=_KEPT_TEXT, content=_KEPT_TEXT),
        }
    ),
)
#: Of what a stream says of an item, and of a part of its content. What comes whole is kept so.
PART = by_type(
    {
        "output_text": known("type", "text", "logprobs", annotations=ANNOTATION),
        "refusal": known("type", "refusal"),
        "summary_text": _TEXT,
        "reasoning_text": _TEXT,
    }
)
_CALL = known(
    *("type", "id", "call_id", "name", "arguments", "input", "status", "namespace", "caller", "async", "created_by")
)
ITEM = by_type(
    {
        "message": known("type", "id", "role", "status", "phase", content=PART),
        "reasoning": known("type", "id", "status", "encrypted_content", summary=PART, content=PART),
        "function_call": _CALL,
        "custom_tool_call": _CALL,
    }
)
#: Of a response that is not complete yet.
RESPONSE = known(
    *("access_programs", "background", "billing", "completed_at", "conversation", "created_at", "error", "id", "image"),
    *("incomplete_details", "input_transformations", "instructions", "max_output_tokens", "max_tool_calls"),
    *("metadata", "model", "moderation", "object", "output", "parallel_tool_calls", "previous_response_id", "prompt"),
    *("prompt_cache_diagnostics", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning"),
    *("safety_identifier", "service_tier", "status", "store", "temperature", "text", "tool_choice", "tool_usage"),
    *("tools", "top_logprobs", "top_p", "truncation", "usage", "user", "frequency_penalty", "presence_penalty"),
    "output_text",
)

# ── reading ────────────────────────────────────────────────────────────────────────────


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer. UpstreamError for one that failed, BadUpstreamBytes for what is no response."""
    body = checked(wire)
    if type(status := body.get("status")) is str and status in _UNFINISHED:
        raise BadUpstreamBytes("the upstream's answer is not finished")
    try:
        return _read(body)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        raise BadUpstreamBytes("the upstream's answer is not a response") from None


def checked(wire: WireResponse) -> Object:
    """The answer as an object with output."""
    body = decode_upstream(wire.body)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    output = body.get("output")
    if body.get("error") and not output:
        raise fault(body["error"], wire.status) if "output" in body else decode_error(wire, NAME)
    if not isinstance(body.get("status"), str | None):
        raise BadUpstreamBytes("the upstream's answer is not a response")
    if body.get("status") in _FAILED:
        raise fault(body.get("error"), wire.status)
    if type(output) is not list:
        raise BadUpstreamBytes("the upstream's answer has no output")
    if not all(type(item) is dict for item in output):
        raise BadUpstreamBytes("the upstream's answer is not a response")
    return body


def _read(body: Object) -> ChatResponse:
    fields, extra = read_head(body)
    parts, logprobs = read_output(body["output"])
    said, keep = leftovers(extra)
    said = dict(said or {})
    find(body, _ANSWER, said)
    choice = Choice(parts=parts, finish=finish(body, parts), logprobs=logprobs, at="output")
    usage = body.get("usage")
    if type(usage) is dict and usage:
        fields["usage"] = read_usage(usage)
    created = body.get("created_at")
    form = make_form(
        keep=keep, created=[created] if type(created) is float else None, status=None if "status" in body else "absent"
    )
    return ChatResponse(dialect=NAME, choices=(choice,), extra=said or None, form=form, **fields)


_KNOWN = frozenset({"id", "object", "created_at", "model", "output", "usage", "status", "incomplete_details"})


def read_head(body: Mapping[str, Json]) -> tuple[Object, Object]:
    """What canonical knows of a response beside its output, and what only callers of this dialect read."""
    extra = {key: value for key, value in body.items() if key not in _KNOWN}
    fields: Object = {}
    for key in ("id", "model"):
        if type(body.get(key)) is str and body[key]:
            fields[key] = body[key]
    if type(extra.get("service_tier")) is str:
        fields["service_tier"] = extra.pop("service_tier")
    if type(body.get("created_at")) in (int, float):
        fields["created"] = int(body["created_at"])
    return fields, extra


def finish(body: Mapping[str, Json], parts: tuple[AnyPart, ...]) -> Finish:
    calls = any(isinstance(part, ToolCall) for part in parts)
    refused = any(isinstance(part, Refusal) for part in parts)
    return finish_of(body, calls=calls, refused=refused)


def read_usage(raw: Object) -> Usage:
    """Token counts, inclusive. Where reasoning is counted beside the output, the total shows it."""
    asked, answered, total = (_count(raw, key) for key in ("input_tokens", "output_tokens", "total_tokens"))
    before, after = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    given: Object = before if type(before) is dict else {}
    spoken: Object = after if type(after) is dict else {}
    reasoning = _count(spoken, "reasoning_tokens")
    counted = (asked or 0) + (answered or 0) + (reasoning or 0)
    if asked is not None and answered is not None and reasoning and counted == total:
        answered = total - asked
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=total,
        cache_read_tokens=_count(given, "cached_tokens"),
        cache_write_tokens=_count(given, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=_count(given, "audio_tokens"),
        output_audio_tokens=_count(spoken, "audio_tokens"),
        input_image_tokens=_count(given, "image_tokens"),
        output_image_tokens=_count(spoken, "image_tokens"),
        raw=raw,
    )


def _count(raw: Object, key: str) -> int | None:
    return as_count(raw.get(key))


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_response(response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
    """An answer for a caller. What only another dialect's callers would read of it, and parts that have no place, are
    losses.
    """
    own = response.dialect == NAME
    identifier = response.id if own and response.id else response_id(response.id, response.model)
    choice = response.choices[0] if response.choices else Choice(finish=response.blocked)
    if len(response.choices) > 1:
        losses.append(dropped("choices", "the caller's dialect has one answer"))
    if own:
        items = own_items(choice.parts, digest(identifier), losses)
    else:
        output = Output(digest(identifier), losses, choice.logprobs)
        for part in choice.parts:
            output.add(part)
        if (text := unsaid(choice.finish, response.blocked, choice.parts)) is not None:
            output.add(Refusal(text=text))
        items = output.items
    body = head(request, identifier, response.model, response.created)
    complete(body, choice.finish, items, own, losses)
    body["usage"] = None if response.usage is None else write_usage(response.usage, own)
    tier = tier_word(response.service_tier, own)
    if tier is not None:
        body["service_tier"] = tier
    if own:
        _restore(body, response, losses)
    else:
        lose_answer(response, losses)
        if choice.logprobs is not None and choice.logprobs.refusal:
            losses.append(dropped("logprobs.refusal", "the caller's dialect has them of texts only"))
    return WireResponse(status=200, headers={"content-type": "application/json"}, body=encode(body))


def _restore(body: Object, response: ChatResponse, losses: Losses) -> None:
    """This dialect's own answer says of its request what the upstream said of it."""
    form = form_of(response)
    said = {**own_extra(response.extra, losses), **form.get("keep", {})}
    for key in tuple(body):
        if key not in said and key not in _KNOWN and key not in _REQUIRED and key != "service_tier":
            del body[key]
    body |= said
    if "created" in form:
        body["created_at"] = form["created"][0]
    if form.get("status") == "absent":
        del body["status"]
    if response.service_tier is None and "service_tier" not in said:
        body.pop("service_tier", None)
    restore(body, form)


_REQUIRED = frozenset(
    {"error", "instructions", "metadata", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p"}
)


def head(request: ChatRequest, identifier: str, model: str | None, created: int | None) -> Object:
    """A response before its output: what is repeated of the request, with the keys that every answer has."""
    echo: Mapping[str, Json] = form_of(request).get("echo", {}) if request.dialect == NAME else {}
    reasoning = {"effort": None, "summary": None, **(echo.get("reasoning") or {})}
    text = {"format": {"type": "text"}, **(echo.get("text") or {})}
    return {
        "id": identifier,
        "object": "response",
        "created_at": created or 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": echo.get("instructions"),
        "max_output_tokens": echo.get("max_output_tokens"),
        "max_tool_calls": echo.get("max_tool_calls"),
        "model": model or request.model,
        "output": [],
        "parallel_tool_calls": echo.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": echo.get("prompt_cache_key"),
        "prompt_cache_retention": echo.get("prompt_cache_retention"),
        "reasoning": reasoning,
        "safety_identifier": echo.get("safety_identifier"),
        "service_tier": None,
        "store": bool(echo.get("store")),
        "temperature": echo.get("temperature"),
        "text": text,
        "tool_choice": echo.get("tool_choice") or "auto",
        "tools": echo.get("tools") or [],
        "top_logprobs": echo.get("top_logprobs") or 0,
        "top_p": echo.get("top_p"),
        "truncation": echo.get("truncation") or "disabled",
        "usage": None,
        "user": echo.get("user"),
        "metadata": echo.get("metadata") or {},
    }


def complete(body: Object, finish: Finish | None, items: list[Object], own: bool, losses: Losses) -> None:
    """Puts output and end into a response; an answer that was cut off breaks in its last item."""
    contents = [item["content"] for item in items if type(item.get("content")) is list]
    refused = any(type(part) is dict and part.get("type") == "refusal" for content in contents for part in content)
    end = ending(finish, own, refused)
    if not end.same and finish is not None:
        losses.append(approximated("status", f"the answer ended with {finish.raw or finish.reason}"))
    if finish is not None:
        lose_stop(finish, losses)
    if end.details is not None and not own and items and items[-1]["type"] in ("message", "function_call"):
        items[-1]["status"] = "incomplete"
    body |= {"status": end.status, "incomplete_details": end.details, "output": items}


def unsaid(finish: Finish | None, blocked: Finish | None, parts: Sequence[AnyPart]) -> str | None:
    """What a refusal says that no part says: the provider's explanation, or that the prompt was blocked."""
    if finish is None or finish.reason not in ("refusal", "content_filter"):
        return None
    if any(isinstance(part, Refusal) for part in parts):
        return None
    if finish is blocked and not finish.message:
        return f"The request was blocked ({finish.raw or 'content filter'})."
    return finish.message


def tier_word(tier: str | None, own: bool) -> str | None:
    """The service tier in this dialect's words; another dialect's word that it lacks is left out."""
    if own or tier is None:
        return tier
    word = TIERS.get(tier.lower(), tier.lower())
    return word if word in TIER_WORDS else None


def write_usage(usage: Usage, own: bool) -> Object:
    """Token counts in this dialect's convention. All of these are required: what is unknown is written as 0."""
    if own and usage.raw is not None:
        return dict(usage.raw)
    usage = fitted(usage)
    asked, answered = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": asked,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens if usage.total_tokens is not None else asked + answered,
    }


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relay_response(wire: WireResponse, asked: Asked) -> Usage | None:
    """Checks an answer that goes on untouched; one that runs in the background is answered before it is done."""
    body = checked(wire)
    if type(status := body.get("status")) is str and status in _UNFINISHED and not asked.fields.get("background"):
        raise UpstreamFailed("the upstream's answer is not finished", upstream_status=wire.status, dialect=NAME)
    usage = body.get("usage")
    return read_usage(usage) if type(usage) is dict else None
