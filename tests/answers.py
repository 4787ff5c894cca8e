"""What the vendors' upstreams say, as JSON values: the fake upstream sends them, tests compare with them.

The shapes are those of recorded answers; ids and times are fixed, so that whole values can be compared.
"""

from __future__ import annotations

import json
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
