"""Whole answers, both ways: choices, usage, log probabilities; and what the relay lane must see of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, UpstreamFailed
from providers.canonical.loss import Losses, approximated, dropped, lose_answer, lose_part, lose_stop
from providers.canonical.tokens import fitted
from providers.dialect import Asked, WireResponse
from providers.dialects._openai.errors import decode_error
from providers.dialects._openai.values import (
    TIER_WORDS,
    TIERS,
    Json,
    Object,
    leftovers,
    make_form,
    read_token,
    restore,
    to_url,
    write_token,
)
from providers.dialects.unread import around, by_type, find, kept, known, own_extra
from providers.wire.json import as_count, decode_upstream, encode

from .details import ORIGIN, details_of
from .messages import form_of, read_spoken
from .spoken import write_audio, write_call
from .words import NAME, finish_of, finish_word, put_seal, write_citation

# ── what is known ──────────────────────────────────────────────────────────────────────

#: Of usage; beside what the specification has: what servers say of their own counting, times and prices.
USAGE = kept(
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "num_cached_tokens", "is_byok"),
    *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_token_details", "completion_token_details"),
    *("audio_prompt_tokens", "prompt_audio_seconds", "draft_tokens", "draft_tokens_acceptance", "service_tier"),
    *("queue_time", "prompt_time", "completion_time", "total_time", "latency_checkpoint", "tokens_per_second"),
    *("prompt_tokens_per_second", "time_per_output_token_ms", "time_to_first_token_ms", "search_context_size"),
    *("cost", "cost_details", "cost_in_usd_ticks", "num_sources_used", "server_tool_use_details"),
    "pydantic_ai_gateway",
    prompt_tokens_details=known(
        *("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "text_tokens", "video_tokens"),
        "multimodal_tokens",
    ),
    completion_tokens_details=known(
        *("reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens", "video_tokens"),
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
    ),
)
ANNOTATION = by_type(
    {"url_citation": kept("type", url_citation=known("url", "title", "start_index", "end_index", "content"))}
)
_THOUGHT = by_type({"thinking": kept("type", "signature", "closed", thinking=known("type", "text"))})
_ANSWER = around(usage=USAGE, choices=around(message=around(annotations=ANNOTATION, content=_THOUGHT)))

# ── reading ────────────────────────────────────────────────────────────────────────────


def decode(wire: WireResponse) -> ChatResponse:
    """A whole answer. UpstreamError for an error under 200, BadUpstreamBytes for what is no chat completion."""
    body = checked(wire)
    try:
        response = _read(body)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        raise BadUpstreamBytes("the upstream's answer is not a chat completion") from None
    for choice in response.choices:
        if choice.finish is not None and choice.finish.reason == "error" and not choice.parts:
            raise UpstreamFailed(
                "the upstream's model failed", upstream_status=wire.status, raw=wire.body[:65536], dialect=NAME
            )
    return response


def checked(wire: WireResponse) -> Object:
    """The answer as an object with choices."""
    body = decode_upstream(wire.body)
    said = body[0] if type(body) is list and body else body  # Google's errors stand in a list
    if type(said) is dict and not said.get("choices") and (said.get("error") or said.get("object") == "error"):
        raise decode_error(wire, NAME)
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    choices = body.get("choices")
    if type(choices) is not list or not choices:
        raise BadUpstreamBytes("the upstream's answer has no choices")
    first = choices[0]
    if type(first) is dict and type(first.get("error")) is dict and first.get("finish_reason") == "error":
        raise decode_error(
            WireResponse(status=wire.status, headers=wire.headers, body=encode({"error": first["error"]})), NAME
        )
    return body


def _read(body: Object) -> ChatResponse:
    rest = dict(body)
    fields: Object = {}
    for key in ("id", "model", "service_tier", "system_fingerprint"):
        if type(rest.get(key)) is str and rest[key]:
            fields[key] = rest.pop(key)
    if type(rest.get("created")) in (int, float):
        fields["created"] = int(rest.pop("created"))
    seed = call_seed(fields.get("id"))
    choices = tuple(_choice(raw, i, seed) for i, raw in enumerate(rest.pop("choices")))
    usage = rest.get("usage")
    if type(usage) is dict and usage:
        fields["usage"] = read_usage(rest.pop("usage"))
    if rest.get("object") == "chat.completion":
        del rest["object"]
    extra, keep = leftovers(rest)
    extra = dict(extra or {})
    find(body, _ANSWER, extra)
    return ChatResponse(dialect=NAME, choices=choices, extra=extra or None, form=make_form(keep=keep), **fields)


def call_seed(response_id: str | None) -> str:
    """What the ids of calls are made from, where an upstream gives none: the same for the same answer."""
    return f"call_{zlib.crc32((response_id or '').encode()):08x}"


def _choice(raw: Object, number: int, seed: str) -> Choice:
    rest = dict(raw)
    # Azure's filter leaves the message out.
    message = dict(rest.pop("message") if "finish_reason" not in rest or "message" in rest else {})
    role = message.pop("role", None)
    index = rest.pop("index", number)
    at = f"choices[{number}].message"
    parts, content = read_spoken(message, at, f"{seed}_{number}")
    logprobs = rest.get("logprobs")
    if type(logprobs) is dict and logprobs:
        del rest["logprobs"]
    raw_finish = rest.pop("finish_reason", None)
    if raw_finish is None and type(rest.get("finish_details")) is dict:
        raw_finish = rest["finish_details"].get("type")  # the first models that read images
    calls = any(isinstance(part, ToolCall) for part in parts)
    refused = any(isinstance(part, Refusal) for part in parts)
    finish = finish_of(raw_finish, calls=calls, refused=refused) if raw_finish is not None or parts else None
    said, silent = leftovers(message)
    extra, keep = leftovers(rest)
    if said:
        extra = {**(extra or {}), "message": said}
    return Choice(
        index=index if type(index) is int else number,
        parts=parts,
        finish=finish,
        logprobs=read_logprobs(logprobs) if type(logprobs) is dict and logprobs else None,
        extra=extra,
        form=make_form(content=content, keep=keep, silent=silent, role=role if role != "assistant" else None),
        at=f"choices[{number}]",
    )


def read_usage(raw: Object) -> Usage:
    """Token counts. What a server leaves out of prompt and completion shows in its total, which is what it charges."""
    asked, answered, total = (_count(raw, key) for key in ("prompt_tokens", "completion_tokens", "total_tokens"))
    before, after = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    prompt: Object = before if type(before) is dict else {}
    completion: Object = after if type(after) is dict else {}
    reasoning = _count(completion, "reasoning_tokens")
    cached, audio = _cached(raw, prompt), _count(prompt, "audio_tokens")
    if asked is not None and total is not None and total > asked + (answered or 0):
        if answered is not None:
            asked = _whole_prompt(asked, total - asked - answered, reasoning, audio)
        answered = total - asked
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=total,
        cache_read_tokens=cached,
        cache_write_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        input_audio_tokens=audio,
        output_audio_tokens=_count(completion, "audio_tokens"),
        input_image_tokens=_count(prompt, "image_tokens"),
        output_image_tokens=_count(completion, "image_tokens"),
        accepted_prediction_tokens=_count(completion, "accepted_prediction_tokens"),
        rejected_prediction_tokens=_count(completion, "rejected_prediction_tokens"),
        raw=raw,
    )


def _whole_prompt(asked: int, rest: int, reasoning: int | None, audio: int | None) -> int:
    """The prompt with what its server counts beside it. `rest`: what the total has beside prompt and completion.

    Mistral leaves out what was spoken. xAI leaves the reasoning out of the completion, Google all thinking, untold.
    """
    return asked + rest if audio and rest == audio and rest != reasoning else asked


def _cached(raw: Object, prompt: Object) -> int | None:
    """What came from a cache: DeepSeek and Moonshot tell it beside the totals."""
    counts = (_count(prompt, "cached_tokens"), _count(raw, "prompt_cache_hit_tokens"), _count(raw, "cached_tokens"))
    return next((count for count in counts if count is not None), None)


def _count(raw: Object, key: str) -> int | None:
    return as_count(raw.get(key))


def read_logprobs(raw: Object) -> Logprobs:
    rest = dict(raw)
    tokens = {
        key: tuple(read_token(one) for one in rest.pop(key))
        for key in ("content", "refusal")
        if type(rest.get(key)) is list
    }
    extra = {key: value for key, value in rest.items() if value is not None}
    return Logprobs(content=tokens.get("content"), refusal=tokens.get("refusal"), extra=extra or None)


# ── writing ────────────────────────────────────────────────────────────────────────────


def encode_response(response: ChatResponse, request: ChatRequest, losses: Losses) -> WireResponse:
    """An answer for a caller. What only another dialect's callers would read of it, and parts that have no place, are
    losses.
    """
    own = response.dialect == NAME
    legacy = request.dialect == NAME and bool(form_of(request).get("legacy"))
    body: Object = {
        "id": response.id or fallback_id(response.model),
        "object": "chat.completion",
        "created": response.created or 0,
        "model": response.model or request.model,
        "choices": [_write_choice(choice, own, legacy, losses) for choice in response.choices],
    }
    if response.blocked is not None and not response.choices:
        body["choices"] = [_write_blocked(response.blocked)]
    if response.usage is not None:
        body["usage"] = write_usage(response.usage, own)
    tier = tier_word(response.service_tier, own)
    if tier is not None:
        body["service_tier"] = tier
    if response.system_fingerprint is not None:
        body["system_fingerprint"] = response.system_fingerprint
    if own:
        body.update(own_extra(response.extra, losses))
        restore(body, response.form)
    else:
        lose_answer(response, losses)
    return WireResponse(status=200, headers={"content-type": "application/json"}, body=encode(body))


def tier_word(tier: str | None, own: bool) -> str | None:
    """The service tier in this dialect's words; another dialect's word that it lacks is left out."""
    if own or tier is None:
        return tier
    word = TIERS.get(tier.lower(), tier.lower())
    return word if word in TIER_WORDS else None


def fallback_id(model: str | None) -> str:
    """An id where nobody gave one."""
    return f"chatcmpl-{zlib.crc32((model or '').encode()):08x}"


def refusal_of(finish: Finish) -> str:
    """What a caller is told of a blocked prompt."""
    return finish.message or f"The request was blocked ({finish.raw or 'content filter'})."


def _write_blocked(finish: Finish) -> Object:
    message = {"role": "assistant", "content": None, "refusal": refusal_of(finish)}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": "content_filter"}


def _write_choice(choice: Choice, own: bool, legacy: bool, losses: Losses) -> Object:
    form = form_of(choice) if own else {}
    parts = choice.parts
    if len(parts) == 1 and not own and type(part := parts[0]) is Text and _is_words(part):  # most answers
        message: Object = {"role": "assistant", "content": part.text, "refusal": None}
    else:
        message = _Spoken(own, legacy, losses, choice).message(form)
    finish = choice.finish or Finish(reason="other")
    word, same = finish_word(finish, own, legacy)
    if not same:
        losses.append(
            approximated(
                f"choices[{choice.index}].finish_reason", f"the answer ended with {finish.raw or finish.reason}"
            )
        )
    lose_stop(finish, losses)
    if finish.message and message["refusal"] is None and finish.reason in ("refusal", "content_filter"):
        message["refusal"] = finish.message
        message["content"] = message["content"] or None
    out: Object = {
        "index": choice.index,
        "message": message,
        "logprobs": write_logprobs(choice.logprobs) if choice.logprobs is not None else None,
        "finish_reason": word,
    }
    if own:
        extra = dict(choice.extra or {})
        message.update(extra.pop("message", {}))
        restore(message, {"keep": form.get("silent", {})})
        out |= extra
        restore(out, form)
    return out


def _is_words(part: Text) -> bool:
    """Is there nothing to a text but its words?"""
    return part.seal is None and not part.citations and not part.at


class _Spoken:
    """Writes one message of an answer."""

    def __init__(self, own: bool, legacy: bool, losses: Losses, choice: Choice) -> None:
        self._own = own
        self._legacy = legacy
        self._losses = losses
        self._parts = choice.parts
        self._at = f"choices[{choice.index}].message"
        self._texts: list[str] = []
        self._raw: list[Object] = []  # content as a list, where it came as one
        self._out: Object = {"role": "assistant", "content": None, "refusal": None}

    def message(self, form: Mapping[str, Json]) -> Object:
        for part in self._parts:
            self._say(part)
        out = self._out
        if "role" in form:
            out["role"] = form["role"]
        if form.get("content") == "list":
            out["content"] = self._raw
        elif self._texts or not (
            out.keys() & {"tool_calls", "function_call", "audio"} or out["refusal"] is not None or form
        ):
            out["content"] = "".join(self._texts)
        return out

    def _say(self, part: AnyPart) -> None:
        out = self._out
        match part:
            case Text():
                self._text(part)
            case Reasoning():
                self._reasoning(part)
            case Refusal():
                out["refusal"] = (out["refusal"] or "") + part.text
                self._sealed(part)
            case ToolCall() if self._legacy or form_of(part).get("legacy"):
                if "function_call" in out:
                    self._losses.append(
                        dropped(f"{self._at}.tool_calls", "the caller's functions take one call at a time")
                    )
                else:
                    out["function_call"] = write_call(part, self._own)["function"]
            case ToolCall():
                out.setdefault("tool_calls", []).append(write_call(part, self._own))
                self._sealed(part)
            case Media():
                self._media(part)
            case Opaque() if part.dialect == NAME:
                self._raw.append(dict(part.raw))
            case _:
                lose_part(self._at, part, self._losses)

    def _sealed(self, part: AnyPart) -> None:
        """A signature of Google's goes to its call, or to the message, which has room for one."""
        if part.seal is None:
            return
        if part.seal.origin == "gemini":
            if isinstance(part, ToolCall):
                return
            if "extra_content" not in self._out:
                put_seal(self._out, part.seal)
            else:
                self._losses.append(dropped(f"{self._at}.signature", "a message has room for one signature"))
        elif not (self._own and part.seal.origin == ORIGIN):
            reason = f"the caller's dialect has no place for a signature of {part.seal.origin}"
            self._losses.append(dropped(f"{self._at}.signature", reason))

    def _text(self, part: Text) -> None:
        before = sum(map(len, self._texts))
        self._raw.append({"type": "text", "text": part.text, **(part.extra or {})})
        if (part.text or not part.seal) and not part.at.endswith((".extra_content", ".annotations")):
            self._texts.append(part.text)
        self._sealed(part)
        for citation in part.citations:
            written = write_citation(citation, self._own, before, len(part.text))
            if written is None:
                self._losses.append(dropped(f"{self._at}.annotations", "a citation without a URL"))
            else:
                self._out.setdefault("annotations", []).append(written)

    def _reasoning(self, part: Reasoning) -> None:
        form = form_of(part) if self._own else {}
        if "raw" in form:
            self._raw.append(form["raw"])
            return
        self._sealed(part)
        if self._own and part.extra:
            self._out.update(part.extra)
        told = form.get("details") or (details_of(part.seal) if self._own else None)
        if told:
            self._out.setdefault("reasoning_details", []).extend(told)
        key = form.get("key", "reasoning_content")
        if key != "reasoning_details" and (part.text or not part.seal):
            for name in (key, *form.get("also", ())):
                self._out[name] = self._out.get(name, "") + part.text

    def _media(self, part: Media) -> None:
        if part.kind == "audio" and (part.base64 is not None or part.file_id is not None):
            self._out["audio"] = audio_out(part, self._own)
            return
        image = image_out(part, self._own)
        if image is None:
            lose_part(self._at, part, self._losses)
        else:
            self._out.setdefault("images", []).append(image)


def audio_out(part: Media, own: bool) -> Object:
    """A spoken answer: all four keys, the last one unknown where another dialect spoke."""
    out = write_audio(part, own)
    return out if own else {"id": "", "data": "", "expires_at": 0, "transcript": "", **out}


def image_out(part: Media, own: bool) -> Object | None:
    """A picture that the model made, as OpenRouter sends it; the official answer has no place for one."""
    url = to_url(part, own) if part.kind == "image" else None
    if url is None:
        return None
    form = form_of(part) if own else {}
    extra = dict(part.extra or {}) if own else {}
    outer = {key: extra.pop(key) for key in form.get("outer", ())}
    detail = {"detail": part.detail} if part.detail is not None else {}
    return {"type": "image_url", "image_url": {"url": url, **detail, **extra}, **outer, **form.get("beside", {})}


def write_usage(usage: Usage, own: bool) -> Object:
    """Token counts in this dialect's convention. The three totals are required: what is unknown is written as 0."""
    if own and usage.raw is not None:
        return dict(usage.raw)
    usage = fitted(usage)
    asked, answered = usage.input_tokens or 0, usage.output_tokens or 0
    out: Object = {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": usage.total_tokens if usage.total_tokens is not None else asked + answered,
    }
    for key, names, detailed in _DETAILS:
        counts = detailed(usage)
        if counts != _UNKNOWN[: len(counts)]:
            out[key] = {name: count for name, count in zip(names, counts, strict=True) if count is not None}
    return out


_DETAILS: tuple[tuple[str, tuple[str, ...], Callable[[Usage], tuple[int | None, ...]]], ...] = (
    (
        "prompt_tokens_details",
        ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"),
        lambda usage: (
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.input_audio_tokens,
            usage.input_image_tokens,
        ),
    ),
    (
        "completion_tokens_details",
        (
            "reasoning_tokens",
            "audio_tokens",
            "image_tokens",
            "accepted_prediction_tokens",
            "rejected_prediction_tokens",
        ),
        lambda usage: (
            usage.reasoning_tokens,
            usage.output_audio_tokens,
            usage.output_image_tokens,
            usage.accepted_prediction_tokens,
            usage.rejected_prediction_tokens,
        ),
    ),
)
_UNKNOWN = (None,) * 5


def write_logprobs(logprobs: Logprobs) -> Object:
    return {
        "content": None if logprobs.content is None else [write_token(token) for token in logprobs.content],
        "refusal": None if logprobs.refusal is None else [write_token(token) for token in logprobs.refusal],
        **(logprobs.extra or {}),
    }


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relay_response(wire: WireResponse, asked: Asked) -> Usage | None:
    """Checks an answer that goes on untouched."""
    body = checked(wire)
    for choice in body["choices"]:
        if type(choice) is not dict or type(choice.get("message", {})) is not dict:
            raise BadUpstreamBytes("the upstream's answer is not a chat completion")
    usage = body.get("usage")
    return read_usage(usage) if type(usage) is dict else None
