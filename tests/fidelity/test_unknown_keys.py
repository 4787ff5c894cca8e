"""Adds a key that no schema has to each object of answers and stream events: it is carried, or named as a loss.

`test_answer_fields` walks what the schemas know; here stands what a provider adds tomorrow. Told to callers of other
languages, and to those of its own, to whom it goes through the same values where an answer has to be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

import pytest

from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses
from providers.dialect import WireResponse

from .neutral import Json
from .test_answer_fields import SPOKEN
from .through import CALLERS, NAMES, passed_on, tell

KEY, VALUE = "x_odd", "never heard of"
URL = "https://a.example"

# ── answers that say much ──────────────────────────────────────────────────────────────

_LOGPROB = {"token": "Well", "logprob": -0.5, "bytes": [87], "top_logprobs": [{"token": "So", "logprob": -1.5}]}


def _chat() -> Iterator[tuple[str, Json]]:
    head = {"id": "c", "created": 1, "model": "m"}
    cited = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 4, "url": URL, "title": "A"}}
    call = {"id": "k", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    counts = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    counts |= {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
    thought = {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    custom = {"id": "k2", "type": "custom", "custom": {"name": "g", "input": "x"}}
    legacy = {"name": "f", "arguments": "{}"}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    sound = {"id": "a", "data": "UklGRg==", "transcript": "Well.", "expires_at": 1}
    messages: dict[str, Json] = {
        "text": {"content": "Well.", "annotations": [cited]},
        "call": {"content": None, "tool_calls": [call]},
        "custom": {"content": None, "tool_calls": [custom]},
        "legacy": {"content": None, "function_call": legacy},
        "thought": {"content": "Well.", "reasoning_content": "hm"},
        "details": {"content": "Well.", "reasoning": "hm", "reasoning_details": [thought]},
        "refusal": {"content": None, "refusal": "No."},
        "picture": {"content": "Well.", "images": [picture]},
        "sound": {"content": None, "audio": sound},
        "chunks": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        "chunk": {"content": [{"type": "text", "text": "Well."}]},
        "signed": {"content": "Well.", "extra_content": {"google": {"thought_signature": "c2ln"}}},
    }
    for name, message in messages.items():
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        choice |= {"logprobs": {"content": [_LOGPROB]}} if name == "text" else {}
        yield f"whole {name}", {**head, "object": "chat.completion", "choices": [choice], "usage": counts}
        yield f"stream {name}", _chat_stream({**head, "object": "chat.completion.chunk"}, choice, counts)


def _chat_stream(head: Json, choice: Json, counts: Json) -> list[Json]:
    """The message as a delta after some usual ones, its calls in two pieces."""
    message, more = choice["message"], []
    if "tool_calls" in message:
        call = message["tool_calls"][0]
        kind, key = ("custom", "input") if "custom" in call else ("function", "arguments")
        begun = {"index": 0, **call, kind: {**call[kind], key: ""}}
        more = [{"tool_calls": [{"index": 0, kind: {key: call[kind][key]}}]}]
        message = {**message, "tool_calls": [begun]}
    usual = [{"content": "We"}, {"content": "ll"}, {"content": "."}] if message["content"] == "Well." else []
    deltas = [message, *more, *usual]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if "logprobs" in choice:
        chunks[0]["choices"][0]["logprobs"] = choice["logprobs"]
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*chunks, end, {**head, "choices": [], "usage": counts}]


def _responses() -> Iterator[tuple[str, Json]]:
    counts = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
    counts |= {"input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 1}}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}
    cited = {"type": "url_citation", "start_index": 0, "end_index": 4, "url": URL, "title": "A"}
    text = {"type": "output_text", "text": "Well.", "annotations": [cited], "logprobs": [_LOGPROB]}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "k", "name": "f", "arguments": "{}"}
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "k", "name": "f", "input": "x"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    open_ = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []}
    picture = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    items: dict[str, Json] = {
        "text": {**message, "content": [text]},
        "refusal": {**message, "content": [{"type": "refusal", "refusal": "No."}]},
        "call": {**call, "status": "completed"},
        "custom": {**custom, "status": "completed"},
        "summary": {**thought, "encrypted_content": "sealed"},
        "thought": open_,
        "picture": picture,
        "search": search,
        "nothing": {**message, "content": []},
    }
    for name, item in items.items():
        whole = {**head, "status": "completed", "output": [item], "usage": counts}
        yield f"whole {name}", whole
        yield f"stream {name}", _responses_stream(head, item, whole)


def _responses_stream(head: Json, item: Json, whole: Json) -> list[Json]:
    at = {"item_id": item["id"], "output_index": 0}
    begun, pieces = {**item, "status": "in_progress"}, []
    kind = item["type"]
    if kind == "message":
        begun["content"] = []
        for part in item["content"]:
            pieces += _content_events({**at, "content_index": 0}, part)
    elif kind in ("function_call", "custom_tool_call"):
        key, name = (
            ("arguments", "function_call_arguments")
            if "name" in item and "arguments" in item
            else (
                "input",
                "custom_tool_call_input",
            )
        )
        begun[key] = ""
        pieces = [
            {"type": f"response.{name}.delta", **at, "delta": item[key]},
            {"type": f"response.{name}.done", **at, key: item[key]},
        ]
    elif kind == "reasoning":
        begun = {"type": "reasoning", "id": item["id"], "summary": []}
        place = {**at, ("content_index" if item.get("content") else "summary_index"): 0}
        name = "reasoning_text" if item.get("content") else "reasoning_summary_text"
        part = {"type": "summary_text", "text": ""}
        told = [
            {"type": f"response.{name}.delta", **place, "delta": "hm"},
            {"type": f"response.{name}.done", **place, "text": "hm"},
        ]
        pieces = [
            {"type": "response.reasoning_summary_part.added", **place, "part": part},
            *told,
            {"type": "response.reasoning_summary_part.done", **place, "part": {**part, "text": "hm"}},
        ]
        pieces = told if item.get("content") else pieces
    else:
        pieces = [{"type": f"response.{kind}.in_progress", **at}, {"type": f"response.{kind}.completed", **at}]
    begin = {**head, "status": "in_progress", "output": []}
    return [
        {"type": "response.created", "response": begin},
        {"type": "response.in_progress", "response": begin},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *pieces,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]


def _content_events(at: Json, part: Json) -> Iterator[Json]:
    kind, key = part["type"], "refusal" if part["type"] == "refusal" else "text"
    yield {"type": "response.content_part.added", **at, "part": {"type": kind, key: ""}}
    yield {"type": f"response.{kind}.delta", **at, "delta": part[key][:1]}
    for letter in part[key][1:]:
        yield {"type": f"response.{kind}.delta", **at, "delta": letter}
    for cited in part.get("annotations", ()):
        yield {"type": "response.output_text.annotation.added", **at, "annotation_index": 0, "annotation": cited}
    said = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
    yield {"type": f"response.{kind}.done", **at, key: part[key], **said}
    yield {"type": "response.content_part.done", **at, "part": part}


def _anthropic() -> Iterator[tuple[str, Json]]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    source = {"type": "char_location", "cited_text": "W", "document_index": 0, "document_title": "A"}
    web = {"type": "web_search_result_location", "cited_text": "W", "url": URL, "title": "A", "encrypted_index": "x"}
    ran = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_result", "url": URL, "title": "A", "encrypted_content": "x"}
    blocks: dict[str, Json] = {
        "text": {"type": "text", "text": "Well."},
        "cited": {"type": "text", "text": "Well.", "citations": [web, {**source, "start_char_index": 0}]},
        "call": {"type": "tool_use", "id": "k", "name": "f", "input": {"a": 1}},
        "thought": {"type": "thinking", "thinking": "hm", "signature": "s"},
        "hidden": {"type": "redacted_thinking", "data": "s"},
        "ran": ran,
        "found": {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]},
    }
    counts = {"input_tokens": 5, "output_tokens": 3, "cache_creation": {"ephemeral_5m_input_tokens": 1}}
    for name, block in blocks.items():
        yield (
            f"whole {name}",
            {**head, "content": [block], "stop_reason": "end_turn", "stop_sequence": None, "usage": counts},
        )
        yield f"stream {name}", _anthropic_stream(head, block, counts)


def _anthropic_stream(head: Json, block: Json, counts: Json) -> list[Json]:
    begun, deltas = block, []
    match block["type"]:
        case "text":
            begun = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in ("We", "l", "l.")]
            deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        case "tool_use" | "server_tool_use":
            begun = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        case "thinking":
            begun = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "s"}]
    message = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": counts}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": counts}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        end,
        {"type": "message_stop"},
    ]


def _gemini() -> Iterator[tuple[str, Json]]:
    counts = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    counts["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": 5}]
    head = {"responseId": "r", "modelVersion": "m", "usageMetadata": counts}
    chosen = {"token": "Well", "logProbability": -0.5}
    support = {"segment": {"startIndex": 0, "endIndex": 4, "text": "Well"}, "groundingChunkIndices": [0]}
    parts: dict[str, Json] = {
        "text": {"text": "Well."},
        "signed": {"text": "Well.", "thoughtSignature": "c2ln"},
        "thought": {"text": "hm", "thought": True},
        "call": {"functionCall": {"id": "k", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        "picture": {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        "file": {"fileData": {"mimeType": "image/png", "fileUri": URL}},
        "code": {"executableCode": {"language": "PYTHON", "code": "1"}},
        "ran": {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    }
    for name, part in parts.items():
        candidate = {"index": 0, "content": {"role": "model", "parts": [part]}}
        told = {"finishReason": "STOP", "safetyRatings": [{"category": "c", "probability": "LOW"}]}
        if name == "text":
            told["logprobsResult"] = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen]}]}
            told["groundingMetadata"] = {"groundingChunks": [{"web": {"uri": URL}}], "groundingSupports": [support]}
            told["citationMetadata"] = {"citationSources": [{"uri": URL}]}
        yield f"whole {name}", {**head, "candidates": [{**candidate, **told}]}
        end = {**candidate, "content": {"role": "model", "parts": [{"text": ""}]}, **told}
        body = {**head, "candidates": [candidate]}
        yield f"stream {name}", [body, body, body, {**head, "candidates": [end]}]
    pieces = [
        {"name": "f", "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}], "willContinue": True},
        {},
    ]
    said = [{"candidates": [{"content": {"role": "model", "parts": [{"functionCall": one}]}}]} for one in pieces]
    yield "stream pieces", [*said, {**head, "candidates": [{"finishReason": "STOP"}]}]
    blocked = {"blockReason": "SAFETY", "safetyRatings": [{"category": "c", "probability": "LOW"}]}
    yield "whole blocked", {**head, "promptFeedback": blocked}
    yield "stream blocked", [{**head, "promptFeedback": blocked}]


def _ollama() -> Iterator[tuple[str, Json]]:
    head = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}
    messages: dict[str, Json] = {
        "text": {"content": "Well."},
        "call": {"content": "", "tool_calls": [{"id": "k", "function": {"name": "f", "arguments": {"a": 1}}}]},
        "thought": {"content": "Well.", "thinking": "hm"},
    }
    logprobs = {"logprobs": [{"token": "Well", "logprob": -0.5, "top_logprobs": [{"token": "So", "logprob": -1.5}]}]}
    for name, said in messages.items():
        message = {"role": "assistant", **said}
        more = logprobs if name == "text" else {}
        yield f"whole {name}", {**head, "message": message, **end, **more}
        chunk = {**head, "message": message, "done": False, **more}
        usual = {**head, "message": {"role": "assistant", "content": "So"}, "done": False}
        yield (
            f"stream {name}",
            [chunk, usual, usual, usual, {**head, "message": {"role": "assistant", "content": ""}, **end}],
        )


def _cohere() -> Iterator[tuple[str, Json]]:
    source = {"type": "document", "id": "d", "document": {"title": "A", "url": URL}}
    cited = {"start": 0, "end": 4, "text": "Well", "sources": [source], "content_index": 0, "type": "TEXT_CONTENT"}
    call = {"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    counts = {"billed_units": {"input_tokens": 5}, "tokens": {"input_tokens": 5, "output_tokens": 3}}
    messages: dict[str, Json] = {
        "text": {"content": [{"type": "text", "text": "Well."}], "citations": [cited]},
        "call": {"tool_plan": "hm", "tool_calls": [call]},
        "thought": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Well."}]},
    }
    logprobs = [{"token_ids": [1], "text": "Well", "logprobs": [-0.5]}]
    for name, said in messages.items():
        message = {"role": "assistant", **said}
        body = {"id": "c", "finish_reason": "COMPLETE", "message": message, "usage": counts}
        yield f"whole {name}", {**body, "logprobs": logprobs} if name == "text" else body
    yield from _cohere_streams(cited, call, counts, logprobs[0])


def _cohere_streams(cited: Json, call: Json, counts: Json, weights: Json) -> Iterator[tuple[str, Json]]:
    def event(kind: str, message: Json, index: int = 0) -> Json:
        return {"type": kind, "index": index, "delta": {"message": message}}

    begin = {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}
    end = {"type": "message-end", "id": "c", "delta": {"finish_reason": "COMPLETE", "usage": counts}}
    text = [
        event("content-start", {"content": {"type": "text", "text": ""}}),
        *(event("content-delta", {"content": {"text": piece}}) for piece in ("We", "l", "l", ".")),
    ]
    over = {"type": "content-end", "index": 0}
    citing = [event("citation-start", {"citations": cited}), {"type": "citation-end", "index": 0}]
    weighed = {**event("content-delta", {"content": {"text": "x"}}), "logprobs": weights}
    yield "stream text", [begin, *text, weighed, *citing, over, end]
    thinking = [
        event("content-start", {"content": {"type": "thinking", "thinking": ""}}),
        event("content-delta", {"content": {"thinking": "hm"}}),
    ]
    yield "stream thought", [begin, *thinking, over, end]
    calls = [
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "hm"}}},
        event("tool-call-start", {"tool_calls": {**call, "function": {"name": "f", "arguments": ""}}}),
        event("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}),
        {"type": "tool-call-end", "index": 0},
    ]
    yield "stream call", [begin, *calls, end]


def _bedrock() -> Iterator[tuple[str, Json]]:
    counts = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}
    location = {"web": {"url": URL, "domain": "a.example"}}
    cited = {"title": "A", "source": "A", "sourceContent": [{"text": "W"}], "location": location}
    thought = {"reasoningText": {"text": "hm", "signature": "s"}}
    blocks: dict[str, Json] = {
        "text": {"text": "Well."},
        "call": {"toolUse": {"toolUseId": "k", "name": "f", "input": {"a": 1}}},
        "thought": {"reasoningContent": thought},
        "hidden": {"reasoningContent": {"redactedContent": "c2ln"}},
        "cited": {"citationsContent": {"content": [{"text": "Well."}], "citations": [cited]}},
        "picture": {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
        "result": {"toolResult": {"toolUseId": "k", "content": [{"text": "x"}], "status": "success"}},
    }
    for name, block in blocks.items():
        message = {"role": "assistant", "content": [block]}
        body = {"output": {"message": message}, "stopReason": "end_turn", "usage": counts, "metrics": {"latencyMs": 1}}
        yield f"whole {name}", body
    starts: dict[str, Json] = {"call": {"toolUse": {"toolUseId": "k", "name": "f"}}}
    starts |= {"picture": {"image": {"format": "png"}}, "result": {"toolResult": {"toolUseId": "k"}}}
    deltas: dict[str, list[Json]] = {
        "text": [{"text": "We"}, {"text": "l"}, {"text": "l"}, {"text": "."}],
        "call": [{"toolUse": {"input": '{"a":1}'}}],
        "thought": [{"reasoningContent": {"text": "hm"}}, {"reasoningContent": {"signature": "s"}}],
        "hidden": [{"reasoningContent": {"redactedContent": "c2ln"}}],
        "cited": [{"text": "Well."}, {"citation": cited}],
        "picture": [{"image": {"source": {"bytes": "iVBORw0KGgo="}}}],
        "result": [{"toolResult": [{"text": "x"}]}],
    }
    for name, found in deltas.items():
        yield (
            f"stream {name}",
            [
                {"messageStart": {"role": "assistant"}},
                *({"contentBlockStart": {"contentBlockIndex": 0, "start": one}} for one in [starts.get(name)] if one),
                *({"contentBlockDelta": {"contentBlockIndex": 0, "delta": delta}} for delta in found),
                {"contentBlockStop": {"contentBlockIndex": 0}},
                {"messageStop": {"stopReason": "end_turn"}},
                {"metadata": {"usage": counts, "metrics": {"latencyMs": 1}}},
            ],
        )


SAID = {
    "openai.chat": _chat,
    "openai.responses": _responses,
    "anthropic.messages": _anthropic,
    "gemini": _gemini,
    "ollama.chat": _ollama,
    "cohere.chat": _cohere,
    "bedrock.converse": _bedrock,
}

# ── the rule ───────────────────────────────────────────────────────────────────────────

#: Objects whose keys are the model's or the caller's own, and those that travel as a whole, sealed.
FREE = r".*\.(arguments|args|input|reasoning_details(\[0\])?|sources\[0\]\.document)"
#: Objects whose odd keys may be passed over: (of which upstream, name of the answer and path), and why.
SAY_NOTHING: list[tuple[str, str, str]] = [
    ("gemini", r"stream .*: \[[012]\]\.usageMetadata.*", "counts grow: the last chunk says all of them"),
    ("openai.responses", r"stream text: \[1[013]\].*\.logprobs.*", "said again: the item's end has them, too"),
    (
        "openai.responses",
        r"stream text: \[1[123]\].*\.annotations.*",
        "said again: its own callers have them",
    ),
    (
        "openai.responses",
        r"stream (picture|search): \[[26]\]\.(item\.action|response\.output\[0\](\.action)?)",
        "said again: what a tool of the provider's did is told whole at its item's end",
    ),
    ("anthropic.messages", r"stream ran: \[3\]\.delta", "a piece of a block that is lost as a whole"),
]


def places(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every object below a value, by its path; and the value with the odd key in it."""
    if type(value) is dict:
        yield path, {**value, KEY: VALUE}
        for key, item in value.items():
            for place, other in places(item, f"{path}.{key}"):
                yield place, {**value, key: other}
    elif type(value) is list:
        for i, item in enumerate(value):
            for place, other in places(item, f"{path}[{i}]"):
                yield place, [*value[:i], other, *value[i + 1 :]]


def odd(upstream: str) -> Iterator[tuple[str, str, Json]]:
    """(name of the answer, path, the answer with the odd key there)."""
    for name, said in SAID[upstream]():
        frames = type(said) is list and upstream == "bedrock.converse"
        for path, body in places(said):
            if not re.fullmatch(FREE, path) and not (frames and re.fullmatch(r"\[\d+\]", path)):
                yield name, path, body


def kinds(value: Json) -> Iterator[str]:
    """The types of the objects in which the odd key stands."""
    if type(value) is dict:
        if KEY in json.dumps(value):
            yield str(value.get("type"))
        for item in value.values():
            yield from kinds(item)
    elif type(value) is list:
        for item in value:
            yield from kinds(item)


def _whole(body: Json) -> WireResponse:
    return WireResponse(status=200, body=json.dumps(body).encode())


def _told(upstream: str, caller: str, body: Json) -> tuple[bytes, frozenset[tuple[str, str]], str]:
    losses: Losses = []
    error: RouterError | None = None
    data = b""
    try:
        if type(body) is list:
            data, error = passed_on(NAMES[caller], NAMES[upstream], [SPOKEN[upstream].written(body)], losses)
        else:
            data = tell(NAMES[upstream], NAMES[caller], _whole(body), losses)
    except RouterError as refused:
        error = refused
    return data, frozenset((one.field, one.reason) for one in losses), "" if error is None else repr(error)


@cache
def _plain(upstream: str, caller: str, name: str) -> tuple[bytes, frozenset[tuple[str, str]], str]:
    return _told(upstream, caller, dict(SAID[upstream]())[name])


def outcome(upstream: str, caller: str, name: str, path: str, body: Json) -> str:
    """carried, named (itself, or as a part of what is lost as a whole), refused or vanished."""
    data, losses, error = _told(upstream, caller, body)
    _, before, _ = _plain(upstream, caller, name)
    if VALUE.encode() in data:
        return "carried"
    if any(KEY in field for field, _ in losses) or losses - before:
        return "named"
    whole = {*re.findall(r"\w+", path), *kinds(body)} | ({"logprobs"} if "logprobsResult" in path else set())
    if any(re.findall(r"\w+", field)[-1] in whole for field, _ in before):
        return "named"
    return f"refused {error}" if error else "vanished"


@pytest.mark.parametrize("upstream", SAID)
def test_answers_are_understood(upstream: str) -> None:
    """Every answer that is told here is one that callers get."""
    for name, _ in SAID[upstream]():
        for caller in CALLERS:
            data, _, error = _plain(upstream, caller, name)

            assert error == "", (name, caller)
            assert data


@pytest.mark.parametrize(("upstream", "caller"), [(a, b) for a in SAID for b in CALLERS])
def test_no_unknown_key_vanishes(upstream: str, caller: str) -> None:
    """Wherever a provider adds a key, a caller gets it, or is told that it is lost."""
    found = []
    for name, path, body in odd(upstream):
        silent = any(one == upstream and re.fullmatch(at, f"{name}: {path}") for one, at, _ in SAY_NOTHING)
        what = outcome(upstream, caller, name, path, body)
        if what not in ("carried", "named") and not silent:
            found.append(f"{name}: {path} {what}")

    assert [] == found
    assert len(list(odd(upstream))) > 40


@pytest.mark.parametrize(("upstream", "passed", "reason"), SAY_NOTHING)
def test_what_is_passed_over_does_vanish(upstream: str, passed: str, reason: str) -> None:
    """No exception without need: each stands for something that some caller neither gets nor is told of."""
    found = {
        outcome(upstream, caller, name, path, body)
        for name, path, body in odd(upstream)
        if re.fullmatch(passed, f"{name}: {path}")
        for caller in CALLERS
    }

    assert "vanished" in found
