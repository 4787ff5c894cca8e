"""What the vendors' upstreams say, as JSON values: the fake upstream sends them, tests compare with them.

The shapes are those of recorded answers; ids and times are fixed, so that whole values can be compared.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias

Json: TypeAlias = Any


def to_json(value: Json) -> bytes:
    """Compact JSON, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def openai_error(message: str, kind: str = "server_error", code: str | None = None, param: str | None = None) -> Json:
    """An OpenAI error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def chat_answer(
    text: str | None = "Hello!",
    *,
    model: str = "gpt-4o-mini-2024-07-18",
    finish: str = "stop",
    tool_calls: Sequence[Json] = (),
    usage: tuple[int, int] | None = (9, 3),
    **more: Json,
) -> dict[str, Json]:
    """A whole OpenAI chat answer with one choice; `usage` is input and output tokens; `more` is top-level."""
    message: dict[str, Json] = {"role": "assistant", "content": text, "refusal": None}
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    body: dict[str, Json] = {
        "id": "chatcmpl-fake1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        body["usage"] = chat_usage(*usage)
    return body | more


def chat_usage(asked: int, answered: int) -> Json:
    """OpenAI's token counts."""
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def tool_call(name: str, arguments: Json, *, id: str = "call_fake1", index: int | None = None) -> Json:
    """One OpenAI tool call; text arguments go as they are. `index` is for stream chunks."""
    text = arguments if isinstance(arguments, str) else to_json(arguments).decode()
    call: dict[str, Json] = {} if index is None else {"index": index}
    return call | {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def chat_chunk(
    text: str | None = None,
    *,
    role: str | None = None,
    finish: str | None = None,
    tool_calls: Sequence[Json] = (),
    usage: tuple[int, int] | None = None,
    model: str = "gpt-4o-mini-2024-07-18",
    index: int = 0,
    **more: Json,
) -> dict[str, Json]:
    """One OpenAI chat stream chunk; a chunk with `usage` has no choices, as `include_usage` sends it."""
    delta: dict[str, Json] = {}
    if role is not None:
        delta["role"] = role
    if text is not None:
        delta["content"] = text
    if tool_calls:
        delta["tool_calls"] = list(tool_calls)
    body: dict[str, Json] = {
        "id": "chatcmpl-fake1",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": model,
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        body |= {"choices": [], "usage": chat_usage(*usage)}
    return body | more


def chat_stream(*texts: str, finish: str = "stop", usage: tuple[int, int] | None = None) -> list[Json]:
    """The events of a good OpenAI chat stream: role, texts, finish, usage if asked, `[DONE]`."""
    chunks: list[Json] = [
        chat_chunk("", role="assistant"),
        *map(chat_chunk, texts),
        chat_chunk(finish=finish),
    ]
    if usage is not None:
        chunks.append(chat_chunk(usage=usage))
    return [*chunks, b"data: [DONE]\n\n"]


def gemini_error(code: int, message: str, status: str, details: Sequence[Json] = ()) -> Json:
    """A Google error body."""
    error: dict[str, Json] = {"code": code, "message": message, "status": status}
    return {"error": error | ({"details": list(details)} if details else {})}


def gemini_answer(
    text: str | None = "Hello!",
    *,
    parts: Sequence[Json] = (),
    model: str = "gemini-2.5-flash",
    finish: str | None = "STOP",
    usage: tuple[int, int] | None = (9, 3),
    **more: Json,
) -> dict[str, Json]:
    """A whole Gemini answer with one candidate: `text` first, then further `parts`."""
    said = [*([] if text is None else [{"text": text}]), *parts]
    candidate: dict[str, Json] = {"content": {"parts": said, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    body: dict[str, Json] = {"candidates": [candidate]}
    if usage is not None:
        asked, answered = usage
        counts = {
            "promptTokenCount": asked,
            "candidatesTokenCount": answered,
            "totalTokenCount": asked + answered,
        }
        body["usageMetadata"] = counts
    return body | {"modelVersion": model, "responseId": "fake-response-1"} | more


def gemini_chunk(text: str | None = None, *, finish: str | None = None, **more: Json) -> dict[str, Json]:
    """One Gemini stream chunk: an answer that is not finished unless it says so."""
    return gemini_answer(text, finish=finish, **more)


def gemini_stream(*texts: str, finish: str = "STOP", usage: tuple[int, int] = (9, 3)) -> list[Json]:
    """The events of a good Gemini stream: the last text carries the finish."""
    *first, last = texts or ("",)
    return [
        *(gemini_chunk(text, usage=(usage[0], 0)) for text in first),
        gemini_chunk(last, finish=finish, usage=usage),
    ]


# ── the other languages: a text, whole and as a stream; events as the bytes that they are on the wire ────────────


def named_event(name: str, body: Json) -> bytes:
    """An SSE event with a name."""
    return f"event: {name}\ndata: ".encode() + to_json(body) + b"\n\n"


def anthropic_answer(text: str = "Hello!", usage: tuple[int, int] = (9, 3)) -> Json:
    """A whole message with one block of text."""
    return _anthropic_head(usage[0]) | {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    }


def _anthropic_head(asked: int) -> dict[str, Json]:
    return {
        "id": "msg_fake1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": asked, "output_tokens": 1},
    }


def anthropic_opening(*texts: str, usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """A message begins, and a block of text in it."""
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return [
        named_event("message_start", {"type": "message_start", "message": _anthropic_head(usage[0])}),
        named_event("content_block_start", block),
        *map(anthropic_piece, texts),
    ]


def anthropic_piece(text: str) -> bytes:
    """A piece of its text."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return named_event("content_block_delta", delta)


def anthropic_closing(usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """The block ends, the message ends, the stream ends."""
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        named_event("content_block_stop", {"type": "content_block_stop", "index": 0}),
        named_event("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage[1]}}),
        named_event("message_stop", {"type": "message_stop"}),
    ]


def anthropic_error(message: str, kind: str = "api_error") -> Json:
    """An error, as a body and as the data of an event."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake1"}


def responses_answer(text: str = "Hello!", usage: tuple[int, int] = (9, 3)) -> Json:
    """A whole response with one message."""
    return _response("completed", [_response_message(text)]) | {"usage": _response_usage(*usage)}


def _response(state: str, output: list[Json]) -> dict[str, Json]:
    return {
        "id": "resp_fake1",
        "object": "response",
        "created_at": 1760000000,
        "status": state,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-5-mini-2025-08-07",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _response_message(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_fake1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def _response_usage(asked: int, answered: int) -> Json:
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + answered,
    }


def _responses_event(kind: str, number: int, **fields: Json) -> bytes:
    return named_event(kind, {"type": kind, "sequence_number": number, **fields})


_PLACE: dict[str, Json] = {"item_id": "msg_fake1", "output_index": 0, "content_index": 0}


def responses_opening(*texts: str) -> list[bytes]:
    """A response begins, a message in it, a text in that."""
    item = {"id": "msg_fake1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        _responses_event("response.created", 0, response=_response("in_progress", [])),
        _responses_event("response.output_item.added", 1, output_index=0, item=item),
        _responses_event("response.content_part.added", 2, **_PLACE, part=part),
        *(responses_piece(text, number) for number, text in enumerate(texts, 3)),
    ]


def responses_piece(text: str, number: int = 3) -> bytes:
    """A piece of its text."""
    return _responses_event("response.output_text.delta", number, **_PLACE, delta=text, logprobs=[])


def responses_closing(*texts: str, usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """The text, the message and the response end; each says again what it was."""
    text, message = "".join(texts), _response_message("".join(texts))
    number = 3 + len(texts)
    whole = _response("completed", [message]) | {"usage": _response_usage(*usage)}
    return [
        _responses_event("response.output_text.done", number, **_PLACE, text=text, logprobs=[]),
        _responses_event("response.content_part.done", number + 1, **_PLACE, part=message["content"][0]),
        _responses_event("response.output_item.done", number + 2, output_index=0, item=message),
        _responses_event("response.completed", number + 3, response=whole),
    ]


def ollama_answer(text: str = "Hello!", usage: tuple[int, int] = (9, 3)) -> Json:
    """A whole answer of a chat, and the last line of a stream."""
    counts = {"total_duration": 9, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 6}
    return _ollama_line(text) | {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": usage[0],
        "eval_count": usage[1],
        **counts,
    }


def _ollama_line(text: str) -> dict[str, Json]:
    message = {"role": "assistant", "content": text}
    return {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}


def ollama_piece(text: str) -> bytes:
    """A line of a stream."""
    return to_json(_ollama_line(text)) + b"\n"


def ollama_closing(usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """The last line."""
    return [to_json(ollama_answer("", usage)) + b"\n"]


def cohere_answer(text: str = "Hello!", usage: tuple[int, int] = (9, 3)) -> Json:
    """A whole answer of version 2."""
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"id": "fake-1", "finish_reason": "COMPLETE", "message": message, "usage": _cohere_usage(*usage)}


def _cohere_usage(asked: int, answered: int) -> Json:
    counts = {"input_tokens": asked, "output_tokens": answered}
    return {"billed_units": counts, "tokens": counts}


def cohere_opening(*texts: str) -> list[bytes]:
    """A message and its text begin."""
    head = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    start = {"id": "fake-1", "type": "message-start", "delta": {"message": head}}
    content = {"message": {"content": {"type": "text", "text": ""}}}
    return [
        named_event("message-start", start),
        named_event("content-start", {"type": "content-start", "index": 0, "delta": content}),
        *map(cohere_piece, texts),
    ]


def cohere_piece(text: str) -> bytes:
    """A piece of its text."""
    delta = {"message": {"content": {"text": text}}}
    return named_event("content-delta", {"type": "content-delta", "index": 0, "delta": delta})


def cohere_closing(usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """Both end."""
    delta = {"finish_reason": "COMPLETE", "usage": _cohere_usage(*usage)}
    return [
        named_event("content-end", {"type": "content-end", "index": 0}),
        named_event("message-end", {"type": "message-end", "delta": delta}),
    ]


def bedrock_answer(text: str = "Hello!", usage: tuple[int, int] = (9, 3)) -> Json:
    """A whole answer of Converse."""
    message = {"role": "assistant", "content": [{"text": text}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": _bedrock_usage(*usage),
        "metrics": {"latencyMs": 5},
    }


def _bedrock_usage(asked: int, answered: int) -> Json:
    return {"inputTokens": asked, "outputTokens": answered, "totalTokens": asked + answered}


def bedrock_frame(kind: str, body: Json, message: str = "event") -> bytes:
    """One frame of Amazon's event stream, by the letter of its specification. Bytes are a payload as it is."""
    payload = body if isinstance(body, bytes) else to_json(body)
    said = {f":{message}-type": kind, ":content-type": "application/json", ":message-type": message}
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in said.items()
    )
    lengths = (16 + len(head) + len(payload)).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    frame = lengths + zlib.crc32(lengths).to_bytes(4, "big") + head + payload
    return frame + zlib.crc32(frame).to_bytes(4, "big")


def bedrock_opening(*texts: str) -> list[bytes]:
    """A message begins; blocks of text have no start."""
    return [bedrock_frame("messageStart", {"role": "assistant"}), *map(bedrock_piece, texts)]


def bedrock_piece(text: str) -> bytes:
    """A piece of its text."""
    return bedrock_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})


def bedrock_closing(usage: tuple[int, int] = (9, 3)) -> list[bytes]:
    """The block and the message end, then the counts."""
    return [
        bedrock_frame("contentBlockStop", {"contentBlockIndex": 0}),
        bedrock_frame("messageStop", {"stopReason": "end_turn"}),
        bedrock_frame("metadata", {"usage": _bedrock_usage(*usage), "metrics": {"latencyMs": 5}}),
    ]
