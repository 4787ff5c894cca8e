"""A rough count of a request's tokens, for upstreams that cannot be asked. Always marked as estimated.

Four characters a token for text and schemas is the rule of thumb that providers themselves publish for English; media
count a fixed amount, as the order of magnitude that vision models charge for one tile.
"""

from __future__ import annotations

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    TokenCount,
    Tool,
    ToolCall,
    ToolResult,
)
from providers.canonical.embeddings import EmbeddingsRequest

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 258
MESSAGE_TOKENS = 3
USUAL_OUTPUT = 1000  # tokens of an answer for which the caller names no most


def estimate(request: ChatRequest) -> TokenCount:
    """About how many tokens the request's input would be."""
    characters = media = 0
    for message in request.messages:
        for part in message.parts:
            length, seen = _weigh(part)
            characters += length
            media += seen
    for tool in request.tools:
        raw = tool.raw if not isinstance(tool, Tool) else (tool.name, tool.description, tool.parameters)
        characters += len(msgspec.json.encode(raw))
    tokens = -(-characters // CHARACTERS_PER_TOKEN) + media * MEDIA_TOKENS + MESSAGE_TOKENS * len(request.messages)
    return TokenCount(total_tokens=tokens, estimated=True)


def foreseen(request: ChatRequest, usual: int = USUAL_OUTPUT) -> dict[str, int]:
    """About how many tokens the whole call would take, by kind (`tokens.KINDS`): all that an answer may have, where the
    caller says so, else a `usual` one's."""
    most = usual if request.max_output_tokens is None else request.max_output_tokens
    written = 0 if request.count else most * (request.n or 1)
    return {"input": estimate(request).total_tokens, "output": written}


def estimate_inputs(request: EmbeddingsRequest) -> int:
    """About how many tokens the inputs of an embeddings call are."""
    tokens = 0
    for each in request.inputs:
        weights = [_weigh(part) for part in each.parts]
        tokens += -(-sum(length for length, _ in weights) // CHARACTERS_PER_TOKEN) + len(each.tokens or ())
        tokens += sum(seen for _, seen in weights) * MEDIA_TOKENS
    return tokens


def _weigh(part: AnyPart) -> tuple[int, int]:
    """Characters and media of one part."""
    match part:
        case Text() | Reasoning() | Refusal():
            return len(part.text), 0
        case ToolCall():
            return len(part.name) + len(part.arguments), 0
        case ToolResult():
            weights = [_weigh(inner) for inner in part.parts]
            return sum(length for length, _ in weights), sum(seen for _, seen in weights)
        case Media():
            return 0, 1
        case Opaque():
            return len(msgspec.json.encode(part.raw)), 0
