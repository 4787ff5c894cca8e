"""Walks every field of each language's answers and stream events: each is carried, named as a loss, or listed below.

For each field two answers are told that differ in it alone, to callers of every other language. A field that makes no
difference to what the caller gets, and adds no loss, has silently vanished.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest

from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses
from providers.dialect import WireResponse
from providers.wire.eventstream import encode_frame

from .neutral import Json
from .through import CALLERS, NAMES, passed_on, tell
from .walks import LEAST, Build, Field, Walk

SOURCE: Json = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://a.example", "title": "A"}
LEAST |= {
    "openai.chat.response": {
        "ChatCompletion": {"id": "c", "object": "chat.completion", "created": 1, "model": "m"},
        "ChatCompletionChunk": {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"},
        "chat_completion_Choice": {"index": 0, "finish_reason": "stop"}
        | {"message": {"role": "assistant", "content": "Well."}},
        "chat_completion_chunk_Choice": {"index": 0, "finish_reason": None, "delta": {"content": "x"}},
        "ChatCompletionMessage": {"role": "assistant", "content": "Well."},
        "ChoiceDelta": {"role": "assistant", "content": "Well."},
        "Annotation": SOURCE | {"url_citation": SOURCE},
        "ChoiceDeltaToolCall": {"index": 0, "id": "k", "type": "function", "function": {"name": "f", "arguments": ""}},
        "ChoiceDeltaFunctionCall": {"name": "f", "arguments": "{}"},
        "ChoiceDeltaAudio": {"id": "a", "data": "UklGRg==", "transcript": "Well.", "expires_at": 1},
        "ChoiceLogprobs": {"content": [], "refusal": []},
        "CompletionUsage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    },
    "anthropic.messages.response": {
        "Message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        | {"content": [{"type": "text", "text": "Well."}], "usage": {"input_tokens": 5, "output_tokens": 3}},
        "Usage": {"input_tokens": 5, "output_tokens": 3},
        "TextBlock": {"type": "text", "text": "Well."},
        "MessageDeltaUsage": {"output_tokens": 3},
    },
    "openai.responses.response": {
        "Response": {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed"},
        "ResponseUsage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
        "ResponseOutputMessage": {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        | {"content": [{"type": "output_text", "text": "Well.", "annotations": []}]},
        "ResponseOutputText": {"type": "output_text", "text": "Well.", "annotations": []},
    },
    "ollama.chat.response": {
        "ChatResponse": {
            "model": "m",
            "done": True,
            "done_reason": "stop",
            "message": {"role": "assistant", "content": "Well."},
        },
        "Message": {"role": "assistant", "content": "Well."},
    },
    "cohere.v2.response": {
        "V2ChatResponse": {
            "id": "c",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Well."}]},
        },
        "AssistantMessageResponse": {"role": "assistant", "content": [{"type": "text", "text": "Well."}]},
        "ToolCallV2": {"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        "Citation": {"start": 0, "end": 3, "text": "Wel", "sources": [], "content_index": 0},
    },
    "bedrock.converse.response": {
        "ConverseResponse": {"stopReason": "end_turn", "metrics": {"latencyMs": 1}}
        | {"output": {"message": {"role": "assistant", "content": [{"text": "Well."}]}}}
        | {"usage": {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}},
        "Message": {"role": "assistant", "content": [{"text": "Well."}]},
        "ContentBlock": {},
        "ToolUseBlock": {"toolUseId": "k", "name": "f", "input": {"a": "b"}},
        "TokenUsage": {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8},
        "Document": {"a": "b"},
        "ReasoningContentBlock": {},
        "ReasoningContentBlockDelta": {},
    },
    "gemini.v1beta.response": {
        **LEAST["gemini.v1beta.request"],
        "GenerateContentResponse": {"responseId": "r", "modelVersion": "m"},
        "Candidate": {"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "Well."}]}},
        "Content": {"role": "model", "parts": [{"text": "Well."}]},
        "GroundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}]},
        "GenerateContentResponseUsageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3},
    },
}


#: Two values of fields whose type alone does not say what makes sense.
TWO: dict[str, tuple[Json, Json]] = {
    "finishReason": ("STOP", "MAX_TOKENS"),
    "stop_reason": ("end_turn", "max_tokens"),
    "stopReason": ("end_turn", "max_tokens"),
    "partMetadata": ({"a": "b"}, {"a": "c"}),
}
#: Not walked inside: what repeats the request, what is named as a whole, what a stream's earlier events have said.
AS_A_WHOLE = frozenset(
    {"trace", "tools", "tool_choice", "instructions", "prompt", "moderation", "additionalModelResponseFields", "caller"}
    | {"metadata", "reasoning", "text", "input_transformations", "prompt_cache_diagnostics", "prompt_cache_options"}
    | {"access_programs", "error", "image", "conversation", "groundingMetadata", "urlContextMetadata", "container"}
)


class Answers(Walk):
    """Fields of answers; not the request's way to put requests around them."""

    def __init__(self, file: str, *whole: str) -> None:
        super().__init__(f"{file}.response")
        self.whole = AS_A_WHOLE | set(whole)

    def of(self, name: str, path: str, build: Build) -> Iterator[Field]:
        yield from self.fields({"$ref": f"#/$defs/{name}"}, path, build)

    def unknown(self, base: Json, path: str, build: Build) -> Iterator[Field]:
        """See test_odd_answers."""
        yield from ()

    def opens(self, key: str) -> bool:
        return key not in self.whole

    def here(self, choice: Json, key: str, at: str, rest: Json, build: Build, required: bool) -> Iterator[Field]:
        value, another = self.two(choice, key)
        yield Field(at, build({**rest, key: value}), build({**rest, key: another} if required else rest))

    def two(self, node: Json, key: str) -> tuple[Json, Json]:
        kind = self.resolved(node)[0].get("type")
        found: tuple[Json, Json] = TWO[key] if key in TWO else super().two(node, key)
        if key == "finish_reason":
            return ("COMPLETE", "MAX_TOKENS") if "COMPLETE" in str(node) else ("stop", "length")
        if key in ("arguments", "args", "input") and kind != "string":
            return {"a": "b"}, {"a": "c"}
        return (1, 2) if key == "index" and type(found[0]) is int else found

    def alone(self, rest: Json, key: str) -> Json:
        out: Json = super().alone(rest, key)
        kinds = {"text", "toolUse", "reasoningContent", "citationsContent", "image", "video", "audio", "document"}
        kinds |= {"citation", "toolResult"}
        return {name: item for name, item in out.items() if not (key in kinds and name in kinds)}


# ── the answers ────────────────────────────────────────────────────────────────────────


def _least(file: str, name: str) -> Json:
    return LEAST[f"{file}.response"][name]


def _one(events: list[Json], place: int) -> Build:
    """A stream with one event replaced."""
    return lambda v: [*events[:place], {**events[place], **v}, *events[place + 1 :]]


def _each(walk: Answers, events: list[Json], names: dict[int, str]) -> Iterator[Field]:
    for place, name in names.items():
        for field in walk.of(name, "", _one(events, place)):
            yield field._replace(path=f"{_kind(events[place])}: {field.path}")


def _kind(event: Json) -> str:
    return str(event.get("type") or next(iter(event)))


def chat(stream: bool) -> Iterator[Field]:
    walk = Answers("openai.chat")
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Well."}, "finish_reason": "stop"}
        body = {**_least("openai.chat", "ChatCompletion"), "choices": [choice]}
        yield from walk.of("ChatCompletion", "", lambda v: {**body, **v})
        return
    head = _least("openai.chat", "ChatCompletionChunk")
    first = {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "We"}, "finish_reason": None}]}
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield from walk.of("ChatCompletionChunk", "", _one([first, last], 0))


def gemini(stream: bool) -> Iterator[Field]:
    walk = Answers("gemini.v1beta")
    body = {"responseId": "r", "modelVersion": "m", "candidates": [_least("gemini.v1beta", "Candidate")]}
    build: Build = _one([body], 0) if stream else lambda v: {**body, **v}
    yield from walk.of("GenerateContentResponse", "", build)


def ollama(stream: bool) -> Iterator[Field]:
    walk = Answers("ollama.chat")
    last = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "Well."}}
    last |= {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}
    first = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": last["message"], "done": False}
    if not stream:
        yield from walk.of("ChatResponse", "", lambda v: {**last, **v})
        return
    for place in (0, 1):
        yield from walk.of("ChatResponse", "", _one([first, last], place))


def anthropic(stream: bool) -> Iterator[Field]:
    walk = Answers("anthropic.messages", *(("content",) if stream else ()))
    message = _least("anthropic.messages", "Message")
    if not stream:
        yield from walk.of("Message", "", lambda v: {**message, **v})
        return
    begin = {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Well."}}
    stop = {"type": "content_block_stop", "index": 0}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    whole = [begin, block, delta, stop, end, {"type": "message_stop"}]
    names = {
        0: "RawMessageStartEvent",
        3: "RawContentBlockStopEvent",
        4: "RawMessageDeltaEvent",
        5: "RawMessageStopEvent",
    }
    yield from _each(walk, whole, names)
    yield from _each(walk, [begin, block, stop, *whole[4:]], {1: "RawContentBlockStartEvent"})
    blocks: dict[str, Json] = {
        "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
        "signature_delta": {"type": "thinking", "thinking": "hm", "signature": ""},
        "input_json_delta": {"type": "tool_use", "id": "k", "name": "f", "input": {}},
    }

    def told(v: Json) -> Json:
        kind = (v.get("delta") or {}).get("type")
        started = {**block, "content_block": blocks.get(kind, block["content_block"])}
        return [begin, started, {**delta, **v}, stop, *whole[4:]]

    for field in walk.of("RawContentBlockDeltaEvent", "", told):
        yield field._replace(path=f"content_block_delta: {field.path}")


def cohere(stream: bool) -> Iterator[Field]:
    walk = Answers("cohere.v2")
    message = {"role": "assistant", "content": [{"type": "text", "text": "Well."}]}
    if not stream:
        yield from walk.of(
            "V2ChatResponse", "", lambda v: {"id": "c", "finish_reason": "COMPLETE", "message": message, **v}
        )
        return
    begin = {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}
    content = [
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Well."}}}},
        {"type": "content-end", "index": 0},
    ]
    call = {"id": "k", "type": "function", "function": {"name": "f", "arguments": ""}}
    calls = [
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "hm"}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}},
        {
            "type": "tool-call-delta",
            "index": 0,
            "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}},
        },
        {"type": "tool-call-end", "index": 0},
    ]
    source = {"start": 0, "end": 3, "text": "Wel", "sources": []}
    cited = [
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": source}}},
        {"type": "citation-end", "index": 0},
    ]
    end = {"type": "message-end", "id": "c", "delta": {"finish_reason": "COMPLETE"}}
    debug = {"type": "debug"}
    walk.least["ToolCallV2"] = call
    for whole in ([begin, *calls, *content, debug, end], [begin, *content[:2], *cited, content[2], end]):
        for place, event in enumerate(whole):
            name = "".join(word.capitalize() for word in event["type"].split("-")) + "V2ChatStreamResponse"
            yield from _each(walk, whole, {place: name})


def bedrock(stream: bool) -> Iterator[Field]:
    walk = Answers("bedrock.converse")
    if not stream:
        body = {**_least("bedrock.converse", "ConverseResponse")}
        yield from walk.of("ConverseResponse", "", lambda v: {**body, **v})
        return
    begin = {"messageStart": {"role": "assistant"}}
    text = [{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Well."}}}]
    stop = {"contentBlockStop": {"contentBlockIndex": 0}}
    end = [
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": _least("bedrock.converse", "TokenUsage")}},
    ]
    whole = [begin, *text, stop, *end]
    for place, event in enumerate(whole):
        kind = _kind(event)
        name = walk.resolved(walk.defs["ConverseStreamOutput"]["properties"][kind])[1]

        def told(v: Json, place: int = place, kind: str = kind) -> Json:
            return [*whole[:place], {kind: {**whole[place][kind], **v}}, *whole[place + 1 :]]

        for field in walk.of(name, "", told):
            if "delta." not in field.path:
                yield field._replace(path=f"{kind}: {field.path}")

    def delta(v: Json) -> Json:
        said = v.get("delta") or {"text": "Well."}
        kind = next(iter(said))
        starts = {
            "toolUse": {"toolUseId": "k", "name": "f"},
            "image": {"format": "png"},
            "toolResult": {"toolUseId": "k"},
        }
        first = (
            [{"contentBlockStart": {"contentBlockIndex": 0, "start": {kind: starts[kind]}}}] if kind in starts else []
        )
        first += text if kind == "citation" else []
        if kind == "reasoningContent":
            first.append({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}})
        return [begin, *first, {"contentBlockDelta": {**v, "contentBlockIndex": 0}}, stop, *end]

    for field in walk.of("ContentBlockDeltaEvent", "", delta):
        yield field._replace(path=f"contentBlockDelta: {field.path}")
    for field in walk.of(
        "ContentBlockStartEvent",
        "",
        lambda v: [begin, {"contentBlockStart": {"contentBlockIndex": 0, **v}}, stop, *end],
    ):
        yield field._replace(path=f"contentBlockStart: {field.path}")


def responses(stream: bool) -> Iterator[Field]:
    walk = Answers("openai.responses", *(("output", "part", "content", "summary") if stream else ()))
    item = _least("openai.responses", "ResponseOutputMessage")
    body = {**_least("openai.responses", "Response"), "output": [item]}
    if not stream:
        yield from walk.of("Response", "", lambda v: {**body, **v})
        return
    part = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    whole: list[Json] = [
        {"type": "response.created", "response": {**body, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": part},
        {"type": "response.output_text.delta", **at, "delta": "Well."},
        {"type": "response.output_text.done", **at, "text": "Well."},
        {"type": "response.content_part.done", **at, "part": {**part, "text": "Well."}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": body},
    ]
    known = [event["type"] for event in whole]
    for event in walk.choices(walk.defs["ResponseStreamEvent"]):
        node, name = walk.resolved(event)
        kind = node["properties"]["type"]["const"]
        if kind in known:
            for field in walk.of(name, "", _one(whole, known.index(kind))):
                yield field._replace(path=f"{kind}: {field.path}")
        else:
            least = {**walk.value(node, name), **at}
            for field in walk.of(name, "", lambda v, least=least: [*whole[:4], {**least, **v, **at}, *whole[4:]]):
                yield field._replace(path=f"{kind}: {field.path}")


def _sse(events: list[Json]) -> bytes:
    return b"".join(f"event: {one.get('type', '')}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def _data(events: list[Json]) -> bytes:
    return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in events)


def _lines(events: list[Json]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def _binary(events: list[Json]) -> bytes:
    return b"".join(
        encode_frame({":message-type": "event", ":event-type": kind}, json.dumps(body).encode())
        for one in events
        for kind, body in one.items()
    )


class Spoken(NamedTuple):
    """The walk over a language's answers, how a stream of it is written, how many fields there are at least."""

    walk: Callable[[bool], Iterator[Field]]
    written: Callable[[list[Json]], bytes]
    least: int


SPOKEN: dict[str, Spoken] = {
    "openai.chat": Spoken(chat, lambda events: _data(events) + b"data: [DONE]\n\n", 60),
    "openai.responses": Spoken(responses, _sse, 400),
    "anthropic.messages": Spoken(anthropic, _sse, 100),
    "gemini": Spoken(gemini, _data, 150),
    "ollama.chat": Spoken(ollama, _lines, 28),
    "cohere.chat": Spoken(cohere, _data, 30),
    "bedrock.converse": Spoken(bedrock, _binary, 40),
}


# ── the rule ───────────────────────────────────────────────────────────────────────────

ANY = r".*"
SAID = "what its deltas, or its item, say"
ECHO = (
    *("background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt"),
    *("parallel_tool_calls", "previous_response_id", "prompt_cache_key", "prompt_cache_options", "safety_identifier"),
    *("prompt_cache_retention", "reasoning", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs"),
    *("top_p", "truncation", "user"),
)
#: Fields that may make no difference: (of which upstreams, for which callers, their path), and why.
SAY_NOTHING: list[tuple[str, str, str, str]] = [
    (ANY, ANY, r".*\b(type|object|role)", "the kind of its neighbour, or of the answer; who speaks is the model"),
    (
        ANY,
        ANY,
        r".*\b(index|annotation_index|output_index|content_index|summary_index|contentBlockIndex|sequence_number)",
        "a place",
    ),
    (ANY, ANY, r".*\b(item_id|output\[0\]\.id|item\.id)", "names an item within the answer: ours have their own"),
    (ANY, "ollama.chat", r".*\b(id|responseId)", "its answers have no id; the gateway's header names the call"),
    ("openai.chat", ANY, "metadata", "repeats the request"),
    ("ollama.chat", ANY, "created_at", "the first line says it"),
    (ANY, "anthropic.messages|gemini", r".*\b(created|created_at)", "their answers tell no time"),
    (ANY, ANY, r".*\b(createTime|completed_at|metrics(\..*)?|.*_duration)", "times of the provider's own"),
    (ANY, ANY, r".*\b(system_fingerprint|obfuscation|billing|access_programs)", "of the provider's own house"),
    (
        ANY,
        ANY,
        r".*\b(service_tier|serviceTier(\.type)?)",
        "how it was served, not what was said; a word that is in no list",
    ),
    (ANY, ANY, r".*\busage(Metadata)?(\.total.*)?", "sums: the parts are carried"),
    (
        ANY,
        ANY,
        r".*\busage(Metadata)?\..*([dD]etails|billed_units|tokens)\b.*",
        "parts that the caller's counting lacks",
    ),
    (ANY, ANY, r".*\busage\.(cache_creation|server_tool_use|inference_geo|speed)(\..*)?", "parts of its own counting"),
    (ANY, ANY, r".*\b(cache(d|Read|Write).*[tT]oken.*|trafficType)", "parts that the caller's counting lacks"),
    ("anthropic.messages", ANY, r"message_start: message\.usage\.output_tokens", "grows until the last event says it"),
    (ANY, "gemini", r".*\b(logprobs|top_logprobs).*\.bytes", "the token says them"),
    (ANY, ANY, r".*\b(tokenId|token_ids|logProbabilitySum|avgLogprobs)", "numbers of the model's vocabulary; sums"),
    ("cohere.chat", ANY, r".*logprobs(\[0\])?\.text", "the tokens in one text: carried where it says the tokens"),
    ("openai.chat", ANY, r"choices\[0\]\.logprobs", "empty"),
    ("openai.chat|cohere.chat", "openai.responses", r".*\blogprobs", "empty, as where nothing is said"),
    (ANY, ANY, r".*\bfinish(_reason|Message)", "words for one end; why it ended is told where it was no plain stop"),
    ("anthropic.messages", ANY, r".*\bstop_sequence", "which of the caller's own: the others say only that it stopped"),
    (
        "gemini",
        ANY,
        r"candidates(\[0\]\.finishReason)?",
        "none, as where the answer is blocked; STOP, as where none is said",
    ),
    (
        "gemini",
        ANY,
        r".*\.(mediaResolution(\.level)?|displayName|willContinue)",
        "of what callers send, not of answers",
    ),
    (ANY, ANY, r".*\b(audio\.(id|expires_at|data)|moderation)", "a handle for the upstream; sound is named as a whole"),
    (
        ANY,
        ANY,
        r".*\b(citations?\[?0?\]?|annotations?(\[0\])?|url_citation)\.(cited_text|encrypted_index|source|sourceContent|start_index"
        r"|end_index|location|title|file_id|filename|container_id).*",
        "where in its source it stands; a citation of which nothing can be told is named",
    ),
    ("cohere.chat", ANY, r"debug: prompt|(content|message)-start: .*", "what the provider prompted with; begins empty"),
    ("cohere.chat", ANY, r"message-end: id", "said at the start"),
    ("ollama.chat", ANY, r"model|message\.tool_name", "said by the first line; of what callers send"),
    (
        "anthropic.messages",
        ANY,
        r"message_start: message\.(content|stop_\w+(\.\w+)?|id)",
        "begins empty, and not stopped",
    ),
    ("openai.responses", ANY, r".*\b(" + "|".join(ECHO) + ")", "repeats the request"),
    ("openai.responses", ANY, r".*\b(status|incomplete_details(\.reason)?)", "completed: how it ended is in both"),
    (
        "openai.responses",
        ANY,
        r"response\.(created|in_progress|queued|failed|incomplete): .*",
        "the last event says it",
    ),
    (
        "openai.responses",
        ANY,
        r"response\.completed: response\.(id|model|created_at|output.*)",
        "said by earlier events",
    ),
    ("openai.responses", ANY, r"response\.completed: response", "empty"),
    ("openai.responses", ANY, r"response\.(output_item.added|content_part.\w+|reasoning_summary_part.\w+): .*", SAID),
    ("openai.responses", ANY, r"response\.(?!output_item)[\w.]*\.done: .*", SAID),
    (
        "openai.responses",
        ANY,
        r"response\.\w+_call(_\w+)?\.\w+: .*",
        "progress of a tool that the provider runs: its item tells",
    ),
    (
        "openai.responses",
        ANY,
        r"response\.(mcp|image|shell|code|web|file|audio|compaction)[\w.]*: .*",
        "the same; sound is not given yet",
    ),
]


class Told(NamedTuple):
    data: bytes
    losses: frozenset[tuple[str, str, str]]
    error: str


@cache
def _told(upstream: str, caller: str, body: str, stream: bool) -> Told:
    losses: Losses = []
    error: RouterError | None = None
    data = b""
    try:
        if stream:
            frames = SPOKEN[upstream].written(json.loads(body))
            data, error = passed_on(NAMES[caller], NAMES[upstream], [frames], losses)
        else:
            data = tell(NAMES[upstream], NAMES[caller], WireResponse(status=200, body=body.encode()), losses)
    except RouterError as refused:
        error = refused
    named = frozenset((one.field, one.kind, one.reason) for one in losses)
    return Told(data, named, "" if error is None else f"{type(error).__name__}: {error.message}")


@cache
def _plain(upstream: str, caller: str, stream: bool) -> frozenset[tuple[str, str, str]]:
    """What is lost of the least answer."""
    return _told(upstream, caller, json.dumps(next(SPOKEN[upstream].walk(stream)).other), stream).losses


def outcome(field: Field, upstream: str, caller: str, stream: bool) -> str:
    """carried, named (itself, or as part of what is lost as a whole), refused, or vanished."""
    if field.body == field.other:
        return "the same"
    one = _told(upstream, caller, json.dumps(field.body), stream)
    other = _told(upstream, caller, json.dumps(field.other), stream)
    if one.error:
        return "refused"
    if one.losses - other.losses or one.losses - _plain(upstream, caller, stream):
        return "named"
    if other.error or one.data != other.data:
        return "carried"
    listed = any(
        re.fullmatch(languages, upstream) and re.fullmatch(callers, caller) and re.fullmatch(path, field.path)
        for languages, callers, path, _ in SAY_NOTHING
    )
    return "says nothing" if listed else "vanished"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("upstream", "caller"), [(a, b) for a in SPOKEN for b in CALLERS if a != b])
def test_no_field_of_an_answer_vanishes(upstream: str, caller: str, stream: bool) -> None:
    """Every field of an answer's schema is carried, named as a loss, an error, or listed as saying nothing."""
    found: list[str] = []
    count = 0
    for field in SPOKEN[upstream].walk(stream):
        count += 1
        if outcome(field, upstream, caller, stream) == "vanished":
            found.append(field.path)

    assert [] == found
    assert count > SPOKEN[upstream].least


def test_a_field_that_vanishes_is_found() -> None:
    """The rule itself: what no codec looks at fails it; what is named as a loss does not."""
    body: Json = next(chat(False)).body

    assert "named" == outcome(Field("verdict", {**body, "verdict": "x"}, body), "openai.chat", "gemini", False)
    assert "vanished" == outcome(Field("verdict", {**body, "tools": []}, body), "openai.chat", "gemini", False)
