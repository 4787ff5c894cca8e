"""Whole answers, both ways: candidates, finish reasons, usage, logprobs, citations.

`form` of a choice: `content`, `parts` (what stood there instead of a list of parts), `role`, `index` (not written),
`finish` (a number, of servers asked for numeric enums).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatResponse,
    Choice,
    Citation,
    Finish,
    FinishReason,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
)
from providers.canonical.errors import BadUpstreamBytes, MalformedRequest, UpstreamFailed
from providers.canonical.loss import Losses, approximated, dropped, lose_answer, lose_marks, lose_stop
from providers.canonical.tokens import fitted
from providers.dialects.gemini.names import FAMILY, NAME, Json, raw_answer, raw_part
from providers.dialects.gemini.parts import (
    AnswerIds,
    decode_part,
    encode_media,
    encode_opaque,
    encode_own_call,
    encode_own_result,
    encode_text,
    finish_part,
    is_text,
    unplaced,
)
from providers.dialects.unread import around, find, kept, known, lose_weights, own_extra
from providers.wire import json as wire_json

_FILTERED = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "IMAGE_RECITATION", "NO_IMAGE"}
)
_LENGTH = frozenset({"MAX_TOKENS", "CONTINUATION"})
_FAILED = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
    | {"MISSING_THOUGHT_SIGNATURE", "OTHER"}
)
#: FinishReason as numbers, where AI Studio and Vertex agree.
_NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION"}
_WORDS: Mapping[str | None, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
}
_TIERS = {"standard": "default"}


# ── wire -> canonical ──────────────────────────────────────────────────────────────────


def decode_answer(data: bytes) -> ChatResponse:
    """A 200 answer. BadUpstreamBytes when it is none; UpstreamFailed when it holds nothing that could be used."""
    body = wire_json.decode_upstream(data)
    try:
        return _decode(body, data)
    except MalformedRequest as error:
        raise BadUpstreamBytes(f"the upstream's answer is not as it should be: {error.message}") from None
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        raise BadUpstreamBytes("the upstream's answer is not as it should be") from None


def _decode(body: Json, data: bytes) -> ChatResponse:
    if type(body) is not dict:
        raise BadUpstreamBytes("the upstream's answer is not a JSON object")
    usage = decode_usage(body.get("usageMetadata"))
    candidates = wire_json.take_list(body, "candidates") or []
    blocked = None if candidates else decode_blocked(body.get("promptFeedback"))
    if not candidates and blocked is None:
        raise no_candidates()
    ids = AnswerIds(wire_json.take_string(body, "responseId"))
    raws = raw_answer(data)
    choices = tuple([_decode_candidate(one, i, ids, raws) for i, one in enumerate(candidates)])
    for choice in choices:
        check_usable(choice.finish, choice.parts)
    answer = ChatResponse(
        dialect=NAME,
        id=body.get("responseId"),
        model=wire_json.take_string(body, "modelVersion"),
        choices=choices,
        usage=usage,
        service_tier=tier_of(usage),
        blocked=blocked,
    )
    answer = answer if candidates and body.keys() <= _USUAL else _with_the_rest(answer, body)
    extra = dict(answer.extra or {})
    find(body, _ANSWER, extra)
    return msgspec.structs.replace(answer, extra=extra) if len(extra) > len(answer.extra or ()) else answer


_MODALITY = known("modality", "tokenCount")
USAGE = kept(
    *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount"),
    *("cachedContentTokenCount", "trafficType", "serviceTier"),
    promptTokensDetails=_MODALITY,
    candidatesTokensDetails=_MODALITY,
    cacheTokensDetails=_MODALITY,
    toolUsePromptTokensDetails=_MODALITY,
)
_WEIGHTS = around(topCandidates=known("candidates"))
_ANSWER = around(usageMetadata=USAGE, candidates=around(content=kept("role", "parts"), logprobsResult=_WEIGHTS))
#: Of a candidate of a stream: its calls may come in pieces.
_CANDIDATE = around(content=known("role", "parts"), logprobsResult=_WEIGHTS)
_PIECES = known(
    "id",
    "name",
    "args",
    "willContinue",
    partialArgs=known("jsonPath", "stringValue", "numberValue", "boolValue", "nullValue", "willContinue"),
)


def unread_of(candidate: dict[str, Json], extra: dict[str, Json]) -> None:
    """Adds to `extra` what nobody reads of one piece of a candidate."""
    find(candidate, _CANDIDATE, extra)


def unread_of_piece(part: dict[str, Json], call: dict[str, Json], extra: dict[str, Json]) -> None:
    """The same of a part with a piece of a call."""
    find(part, known("functionCall", "thoughtSignature", "thought"), extra, "parts")
    find(call, _PIECES, extra, "functionCall")


#: Most answers hold nothing else.
_USUAL = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})


def _with_the_rest(answer: ChatResponse, body: dict[str, Json]) -> ChatResponse:
    created = decode_time(body.get("createTime"))
    form: dict[str, Json] = {} if created is None else {"createTime": body["createTime"]}
    if "candidates" in body and not body["candidates"]:
        form["candidates"] = body["candidates"]
    known = _USUAL | form.keys()
    extra = {key: value for key, value in body.items() if key not in known}
    if answer.blocked is not None:
        keep_feedback(extra)
    return msgspec.structs.replace(answer, created=created, extra=extra or None, form=form or None)


def decode_time(value: Json) -> int | None:
    """createTime (Vertex) in Unix seconds."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def encode_time(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def no_candidates() -> UpstreamFailed:
    return UpstreamFailed("the upstream's answer holds no candidate", upstream_status=200, dialect=NAME)


_OF_CANDIDATE = frozenset({"content", "index", "finishReason", "finishMessage", "logprobsResult"})


def _decode_candidate(candidate: Json, position: int, ids: AnswerIds, raws: Any) -> Choice:
    if type(candidate) is not dict:
        raise wire_json.wrong(f"candidates[{position}]", "an object", candidate)
    form: dict[str, Json] = {}
    at = f"candidates[{position}]"
    parts: tuple[AnyPart, ...] = tuple(
        [
            Text(text=part["text"])
            if is_text(part)
            else unplaced(
                decode_part(part, f"{at}.content.parts[{j}]", ids.call, _no_result, raw_part(raws, position, j)), part
            )
            for j, part in enumerate(_parts(candidate, at, form))
        ]
    )
    if "index" not in candidate:
        form["index"] = False
    finish = decode_finish(candidate, ToolCall in map(type, parts))
    if type(candidate.get("finishReason")) is int:
        form["finish"] = candidate["finishReason"]
    extra: dict[str, Json] = {}
    if not candidate.keys() <= _OF_CANDIDATE:
        extra = {key: value for key, value in candidate.items() if key not in _OF_CANDIDATE}
        parts = cite(parts, extra)
    return Choice(
        index=wire_json.take_integer(candidate, "index", at) or 0,
        parts=parts,
        finish=finish,
        logprobs=decode_logprobs(candidate.get("logprobsResult")),
        extra=extra or None,
        form=form or None,
    )


def _no_result(name: str, given: str | None, _arguments: str) -> tuple[str, bool]:
    return given or name, given is None


def _parts(candidate: dict[str, Json], at: str, form: dict[str, Json]) -> list[Json]:
    content = candidate.get("content")
    if type(content) is not dict:
        form["content"] = content if "content" in candidate else False
        return []
    if content.get("role") != "model":
        form["role"] = content.get("role", False)
    parts = wire_json.take_list(content, "parts", f"{at}.content")
    if len(content) > 2 or content.keys() - _OF_CONTENT:
        form["beside"] = {key: value for key, value in content.items() if key not in _OF_CONTENT}
    if not parts:
        form["parts"] = parts if "parts" in content else False
    return parts or []


_OF_CONTENT = frozenset({"role", "parts"})


def finish_word(candidate: Mapping[str, Json]) -> str | None:
    """finishReason as a word; None where there is none yet."""
    reason = candidate.get("finishReason")
    if type(reason) is int:
        return _NUMBERS.get(reason, str(reason)) if reason else None
    return reason if isinstance(reason, str) and reason and reason != "FINISH_REASON_UNSPECIFIED" else None


def decode_finish(candidate: Mapping[str, Json], calls: bool) -> Finish:
    """Why a candidate ended. `calls`: it holds calls for the caller to run; Gemini says STOP then (canonical.md, 4)."""
    word = finish_word(candidate)
    message = candidate.get("finishMessage")
    return finish_of(word, calls, message if isinstance(message, str) else None)


def finish_of(word: str | None, calls: bool, message: str | None) -> Finish:
    reason: FinishReason
    if word in _FILTERED:
        reason = "content_filter"
    elif word in _LENGTH:
        reason = "length"
    elif word is None or word == "STOP" or (word in _FAILED and calls):
        reason = "tool_calls" if calls else "stop"
    elif word in _FAILED:
        reason = "error"
    else:
        reason = "other"
    return Finish(reason=reason, raw=word, message=message, failed=calls and word in _FAILED)


def failed(word: str | None) -> bool:
    """Does a finishReason say that the model's answer failed?"""
    return word in _FAILED


def check_usable(finish: Finish | None, parts: Sequence[AnyPart]) -> None:
    """Raises UpstreamFailed for a candidate that failed and has nothing to show; another attempt may do better."""
    if finish is None or not failed(finish.raw) or usable(parts):
        return
    raise failed_finish(finish)


def failed_finish(finish: Finish) -> UpstreamFailed:
    said = f": {finish.message}" if finish.message else ""
    return UpstreamFailed(
        f"the model's answer failed ({finish.raw}){said}",
        upstream_status=200,
        dialect=NAME,
        upstream_code=finish.raw,
    )


def usable(parts: Sequence[AnyPart]) -> bool:
    return any(not isinstance(part, Reasoning) and not (isinstance(part, Text) and not part.text) for part in parts)


def decode_blocked(feedback: Json) -> Finish | None:
    """The refusal of a prompt, if promptFeedback says one."""
    if type(feedback) is not dict:
        return None
    reason = feedback.get("blockReason")
    if not isinstance(reason, str) or reason == "BLOCKED_REASON_UNSPECIFIED":
        return None
    message = feedback.get("blockReasonMessage")
    return Finish(
        reason="content_filter", raw=reason, message=message if isinstance(message, str) else _blocked(reason)
    )


def _blocked(reason: str | None) -> str:
    return f"blocked by the provider: {reason}"


def keep_feedback(extra: dict[str, Json]) -> None:
    """Leaves of promptFeedback in `extra` only what `blocked` does not say already."""
    feedback = extra["promptFeedback"]
    if not isinstance(feedback, dict):
        return
    del extra["promptFeedback"]
    rest = {key: value for key, value in feedback.items() if key not in ("blockReason", "blockReasonMessage")}
    if rest:
        extra["promptFeedback"] = rest


# ── usage ──────────────────────────────────────────────────────────────────────────────


def decode_usage(value: Json) -> Usage | None:
    """usageMetadata. Thinking is counted beside candidatesTokenCount, except by servers whose sum shows otherwise."""
    if type(value) is not dict:
        return None
    counts = list(map(value.get, _COUNTED))
    if not _COUNTS.issuperset(map(type, counts)):
        counts = [_number(count) for count in counts]
    prompt, tool_prompt, answer, thoughts, total, cached = counts
    given_details, made_details = value.get("promptTokensDetails"), value.get("candidatesTokensDetails")
    given = None if prompt is None and tool_prompt is None else (prompt or 0) + (tool_prompt or 0)
    made: int | None
    if answer is not None and thoughts and given is not None and given + answer == total:
        made = answer
    elif answer is not None or thoughts is not None:
        made = (answer or 0) + (thoughts or 0)
    else:  # proto3 leaves zeros out
        made = max(total - given, 0) if total is not None and given is not None else None
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total,
        cache_read_tokens=cached,
        reasoning_tokens=thoughts,
        input_audio_tokens=_modality(given_details, "AUDIO") if given_details else None,
        output_audio_tokens=_modality(made_details, "AUDIO") if made_details else None,
        input_image_tokens=_modality(given_details, "IMAGE") if given_details else None,
        output_image_tokens=_modality(made_details, "IMAGE") if made_details else None,
        tool_prompt_tokens=tool_prompt,
        raw=value,
    )


_COUNTED = (
    *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    *("totalTokenCount", "cachedContentTokenCount"),
)
_COUNTS = frozenset({int, type(None)})


def _number(count: Json) -> int | None:
    if type(count) is str and count.isdigit():
        return int(count)
    return wire_json.as_count(count)


def _modality(details: Json, modality: str) -> int | None:
    if type(details) is not list:
        return None
    for detail in details:
        if type(detail) is dict and detail.get("modality") == modality:
            return _number(detail.get("tokenCount"))
    return None


def tier_of(usage: Usage | None) -> str | None:
    tier = usage.raw.get("serviceTier") if usage is not None and usage.raw else None
    return _TIERS.get(tier, tier) if isinstance(tier, str) else None


def encode_usage(usage: Usage | None, *, own: bool) -> dict[str, Json] | None:
    """usageMetadata with totals; for an answer of our own dialect the provider's object."""
    if usage is None:
        return None
    if own and usage.raw is not None:
        return dict(usage.raw)
    usage = fitted(usage)
    given, made, thoughts = usage.input_tokens, usage.output_tokens, usage.reasoning_tokens
    counts: dict[str, Json] = {
        "promptTokenCount": None if given is None else max(given - (usage.tool_prompt_tokens or 0), 0),
        "cachedContentTokenCount": usage.cache_read_tokens,
        "candidatesTokenCount": None if made is None else max(made - (thoughts or 0), 0),
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": usage.tool_prompt_tokens,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.total_tokens is None and given is not None and made is not None:
        counts["totalTokenCount"] = given + made
    result = {key: value for key, value in counts.items() if value is not None}
    asked, answered = counts["promptTokenCount"], counts["candidatesTokenCount"]
    _add_details(result, "promptTokensDetails", asked, usage.input_audio_tokens, usage.input_image_tokens)
    _add_details(result, "candidatesTokensDetails", answered, usage.output_audio_tokens, usage.output_image_tokens)
    return result


def _add_details(result: dict[str, Json], key: str, total: int | None, audio: int | None, image: int | None) -> None:
    if not audio and not image:
        return
    text = None if total is None else max(total - (audio or 0) - (image or 0), 0)
    counts = {"TEXT": text, "AUDIO": audio, "IMAGE": image}
    result[key] = [{"modality": kind, "tokenCount": count} for kind, count in counts.items() if count]


# ── logprobs ───────────────────────────────────────────────────────────────────────────


def decode_logprobs(value: Json) -> Logprobs | None:
    """logprobsResult: chosenCandidates, and topCandidates at the same positions."""
    if type(value) is not dict:
        return None
    chosen = wire_json.take_list(value, "chosenCandidates") or []
    tops = wire_json.take_list(value, "topCandidates") or []
    tokens = []
    for i, one in enumerate(chosen):
        top = wire_json.take_list(tops[i], "candidates") if i < len(tops) and type(tops[i]) is dict else None
        tokens.append(msgspec.structs.replace(_token(one), top=tuple(_token(other) for other in top or ())))
    rest = {key: item for key, item in value.items() if key not in ("chosenCandidates", "topCandidates")}
    return Logprobs(content=tuple(tokens) if "chosenCandidates" in value else None, extra=rest or None)


def _token(value: Json) -> TokenLogprob:
    if type(value) is not dict:
        raise wire_json.wrong("logprobsResult", "an object", value)
    known = ("token", "logProbability", "tokenId")
    return TokenLogprob(
        token=wire_json.take_string(value, "token") or "",
        logprob=wire_json.take_number(value, "logProbability") or 0.0,
        id=wire_json.take_integer(value, "tokenId"),
        extra={key: item for key, item in value.items() if key not in known} or None,
    )


def encode_logprobs(logprobs: Logprobs, losses: Losses, *, own: bool) -> dict[str, Json]:
    if not own:
        lose_weights(logprobs, losses, tokens=True)
    tokens = (logprobs.content or ()) + (logprobs.refusal or ())
    result: dict[str, Json] = {}
    if logprobs.content is not None or logprobs.refusal is not None:
        result["chosenCandidates"] = [_written_token(token, own) for token in tokens]
    if any(token.top for token in tokens):
        result["topCandidates"] = [{"candidates": [_written_token(top, own) for top in token.top]} for token in tokens]
    return {**result, **logprobs.extra} if own and logprobs.extra else result


def _written_token(token: TokenLogprob, own: bool) -> dict[str, Json]:
    written: dict[str, Json] = {"token": token.token, "logProbability": token.logprob}
    if token.id is not None:
        written["tokenId"] = token.id
    return {**written, **token.extra} if own and token.extra else written


# ── citations ──────────────────────────────────────────────────────────────────────────


def cite(parts: tuple[AnyPart, ...], extra: Mapping[str, Json]) -> tuple[AnyPart, ...]:
    """The parts with the sources that groundingMetadata gives for them, where text and offsets agree."""
    metadata = extra.get("groundingMetadata")
    if type(metadata) is not dict or not metadata.get("groundingSupports"):
        return parts
    result = list(parts)
    for i, part in enumerate(parts):
        if isinstance(part, Text):
            found = citations_for(part.text, i, metadata)
            if found:
                result[i] = msgspec.structs.replace(part, citations=found)
    return tuple(result)


def citations_for(text: str, index: int, metadata: Mapping[str, Json]) -> tuple[Citation, ...]:
    """The sources of one text part. Segments count UTF-8 bytes; one whose own text does not stand there is looked for,
    and not used where it stands nowhere or more than once.
    """
    data = text.encode("utf-8", "surrogatepass")
    chunks = metadata.get("groundingChunks") or []
    found: list[Citation] = []
    supports = metadata.get("groundingSupports")
    for support in supports if type(supports) is list else ():
        segment = support.get("segment") if type(support) is dict else None
        if type(segment) is not dict or segment.get("partIndex") not in (None, 0, index):
            continue
        first = _place(text, data, segment)
        if first is None:
            continue
        last = first + len(str(segment["text"]))
        numbers = support.get("groundingChunkIndices")
        for number in numbers if type(numbers) is list else ():
            source = _source(chunks, number)
            if source is not None:
                found.append(Citation(url=source.get("uri"), title=source.get("title"), start=first, end=last))
    return tuple(found)


def _place(text: str, data: bytes, segment: Mapping[str, Json]) -> int | None:
    """Where a segment begins, in characters; `data` is the text in UTF-8."""
    start, end, said = segment.get("startIndex") or 0, segment.get("endIndex"), segment.get("text")
    if type(start) is not int or type(end) is not int or type(said) is not str or not said:
        return None
    if data[start:end] == said.encode("utf-8", "surrogatepass"):
        return len(data[:start].decode("utf-8", "replace"))
    return text.index(said) if text.count(said) == 1 else None


def _source(chunks: Json, number: Json) -> Mapping[str, Json] | None:
    if type(chunks) is not list or type(number) is not int or not 0 <= number < len(chunks):
        return None
    chunk = chunks[number]
    for kind in ("web", "retrievedContext", "maps"):
        source = chunk.get(kind) if type(chunk) is dict else None
        if type(source) is dict:
            return source
    return None


def named_sources(citations: tuple[Citation, ...], losses: Losses) -> tuple[Citation, ...]:
    """Those that can be told: with a URL or a title."""
    told = tuple(one for one in citations if one.url is not None or one.title is not None)
    if len(told) < len(citations):
        losses.append(dropped("groundingMetadata", "a citation without a URL or a title"))
    return told


def encode_citations(texts: Sequence[tuple[int, str, tuple[Citation, ...]]]) -> dict[str, Json] | None:
    """groundingMetadata for the citations of an answer's text parts: (index, text, citations)."""
    chunks: list[Json] = []
    places: dict[tuple[str | None, str | None], int] = {}
    supports: list[Json] = []
    for index, text, citations in texts:
        for citation in citations:
            key = (citation.url, citation.title)
            if key not in places:
                places[key] = len(chunks)
                names = (("uri", citation.url), ("title", citation.title))
                chunks.append({"web": {name: value for name, value in names if value is not None}})
            segment: dict[str, Json] = {"partIndex": index}
            if citation.start is not None and citation.end is not None:
                segment["startIndex"] = len(text[: citation.start].encode("utf-8", "replace"))
                segment["endIndex"] = len(text[: citation.end].encode("utf-8", "replace"))
                segment["text"] = text[citation.start : citation.end]
            supports.append({"segment": segment, "groundingChunkIndices": [places[key]]})
    return {"groundingChunks": chunks, "groundingSupports": supports} if chunks else None


# ── canonical -> wire ──────────────────────────────────────────────────────────────────


def encode_answer(response: ChatResponse, model: str, losses: Losses) -> bytes:
    """A whole answer for a caller of this dialect. `model` is told where the upstream gave no name."""
    own = response.dialect == NAME
    body: dict[str, Json] = {}
    if response.choices:
        body["candidates"] = [_encode_choice(choice, own, losses) for choice in response.choices]
    elif own and response.form and "candidates" in response.form:
        body["candidates"] = response.form["candidates"]
    usage = encode_usage(response.usage, own=own)
    if usage is not None:
        body["usageMetadata"] = usage
    if response.model or not own:
        body["modelVersion"] = response.model or model
    if response.id is not None:
        body["responseId"] = response.id
    if not own:
        lose_answer(response, losses)
    elif response.extra:
        body.update(own_extra(response.extra, losses))
    if own and response.form and "createTime" in response.form:
        body["createTime"] = response.form["createTime"]
    if response.blocked is not None:
        said, blocked = body.get("promptFeedback"), encode_blocked(response.blocked, own)
        body["promptFeedback"] = {**blocked, **said} if type(said) is dict else blocked
    return wire_json.encode(body)


def encode_blocked(blocked: Finish, own: bool) -> dict[str, Json]:
    """promptFeedback for a prompt that was refused."""
    known = {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"}
    feedback: dict[str, Json] = {"blockReason": blocked.raw if own or blocked.raw in known else "OTHER"}
    if blocked.message and not (own and blocked.message == _blocked(blocked.raw)):
        feedback["blockReasonMessage"] = blocked.message
    return feedback


def _encode_choice(choice: Choice, own: bool, losses: Losses) -> dict[str, Json]:
    form = (choice.form or {}) if own else {}
    candidate: dict[str, Json] = {}
    parts: list[dict[str, Json]] = []
    texts: list[tuple[int, str, tuple[Citation, ...]]] = []
    finish = choice.finish
    for part in choice.parts:
        if isinstance(part, Text) and part.citations:
            texts.append((len(parts), part.text, part.citations if own else named_sources(part.citations, losses)))
        written = encode_answer_part(part, own, losses)
        if isinstance(written, str):
            finish = Finish(reason="error", raw="MALFORMED_FUNCTION_CALL", message=written)
        elif written is not None:
            parts.append(written)
    content = _content(parts if parts or own else [{"text": ""}], form)  # it comes back to us, where none is refused
    if content is not False:
        candidate["content"] = content
    word = encode_finish(finish, own, losses)
    if "finish" in form:
        candidate["finishReason"] = form["finish"]
    elif word is not None:
        candidate["finishReason"] = word
    if finish is not None and finish.message:
        candidate["finishMessage"] = finish.message
    if "index" not in form:
        candidate["index"] = choice.index
    if choice.logprobs is not None:
        candidate["logprobsResult"] = encode_logprobs(choice.logprobs, losses, own=own)
    if own and choice.extra:
        candidate.update(choice.extra)
    elif not own and texts:
        metadata = encode_citations(texts)
        if metadata is not None:
            candidate["groundingMetadata"] = metadata
    return candidate


def _content(parts: list[dict[str, Json]], form: Mapping[str, Json]) -> Json:
    if "content" in form:
        return form["content"]
    content: dict[str, Json] = {}
    if form.get("parts") is not False:
        content["parts"] = form.get("parts", parts)
    if "role" not in form:
        content["role"] = "model"
    elif form["role"] is not False:
        content["role"] = form["role"]
    return {**content, **form.get("beside", {})}


def encode_finish(finish: Finish | None, own: bool, losses: Losses) -> str | None:
    """finishReason for a caller of this dialect. An end that it has no word for is named."""
    if own:
        return finish.raw if finish is not None else None
    if finish is not None and (finish.failed or finish.reason in ("other", "pause")):
        losses.append(approximated("finishReason", f"the answer ended with {finish.raw or finish.reason}"))
    if finish is not None:
        lose_stop(finish, losses)
    if finish is not None and finish.raw == "MALFORMED_FUNCTION_CALL":
        return finish.raw
    return _WORDS.get(finish.reason if finish is not None else None, "OTHER")


def encode_answer_part(part: AnyPart, own: bool, losses: Losses) -> dict[str, Json] | str | None:
    """One part; None for what this dialect cannot say (named in `losses`); a text for a call that is malformed."""
    if not own:
        lose_marks(part, losses, origin=FAMILY)
    match part:
        case Text():
            return encode_text(part, own=own)
        case Reasoning():
            if part.redacted and (part.seal is None or part.seal.origin != FAMILY):
                losses.append(dropped(part.at or "reasoning", "hidden thinking of another model family"))
                return None
            return encode_text(part, own=own)
        case ToolCall():
            return encode_own_call(part) if own else encode_answer_call(part, losses)
        case Media():
            return _encode_media(part, own, losses)
        case Refusal():
            return finish_part({"text": part.text}, part, own=own)
        case Opaque() if part.dialect == NAME:
            return encode_opaque(part, own=own)
        case Opaque():
            losses.append(dropped(part.at or part.kind, "a block that only another dialect knows"))
            return None
        case ToolResult():
            return encode_own_result(part)


def _encode_media(part: Media, own: bool, losses: Losses) -> dict[str, Json] | None:
    if own:
        return encode_media(part, own=True)
    if part.base64 is not None or part.url is not None:
        written = encode_media(part, own=False)
        if part.transcript:
            written["audioTranscription"] = {"text": part.transcript}
        return written
    if part.transcript:
        return {"text": part.transcript}
    losses.append(dropped(part.at or part.kind, "a file that only its own provider can open"))
    return None


def encode_answer_call(part: ToolCall, losses: Losses) -> dict[str, Json] | str:
    """A functionCall, or the complaint when the model wrote arguments that are not JSON."""
    arguments: Json
    if part.kind == "custom":
        losses.append(approximated("arguments", "a custom tool's input stands under `input`"))
        arguments = {"input": part.arguments}
    elif not part.arguments.strip():
        arguments = {}
    else:
        try:
            value = wire_json.decode(part.arguments.encode("utf-8", "surrogatepass"))
        except MalformedRequest:
            return f"Malformed function call: {part.name}({part.arguments})"
        arguments = msgspec.Raw(part.arguments.encode())
        if type(value) is not dict:
            losses.append(approximated("arguments", "arguments that are no object stand under `value`"))
            arguments = {"value": arguments}
    call = {"name": part.name, "args": arguments, "id": part.id}
    return finish_part({"functionCall": call}, part, own=False)
