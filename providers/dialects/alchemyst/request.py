"""Requests, written: a history of texts for a persona, and nothing that is said of sampling.

`own` fields of the row (scope, tools as switches, …) pass from a caller's unknown fields as they are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    ChatRequest,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped, join, lose_extras, lose_marks
from providers.dialect import LONGEST_STOP, MOST_STOPS, Traits, WireRequest
from providers.wire.json import encode

PATH = "/api/v1/chat/generate"

_WHOLE_ONLY = frozenset({"voice", "fastContext"})  # the path of streams has no such fields

#: Parameters that have no place here, and what they are when they say nothing.
_UNKNOWN: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("max_output_tokens", (None,)),
    ("temperature", (None,)),
    ("top_p", (None,)),
    ("top_k", (None,)),
    ("stop", ((),)),
    ("frequency_penalty", (None,)),
    ("presence_penalty", (None,)),
    ("seed", (None,)),
    ("logprobs", (None, False)),
    ("top_logprobs", (None, 0)),
    ("logit_bias", (None, {})),
    ("parallel_tool_calls", (None, True)),
    ("reasoning", (None,)),
    ("service_tier", (None,)),
    ("end_user", (None,)),
    ("metadata", (None, {})),
    ("store", (None, False)),
    ("verbosity", (None,)),
    ("prediction", (None,)),
    ("cache_key", (None,)),
    ("audio", (None,)),
)


def encode_request(request: ChatRequest, losses: Losses, traits: Traits) -> WireRequest:
    """`POST` of the whole answer, or of the stream, which has a path of its own. UnsupportedParameter for what would
    change the meaning: tools, images, several answers, a format of the answer."""
    extra = dict(request.extra or {})
    passed = {key: extra.pop(key) for key in list(extra) if key in traits.own}
    for key in sorted(_WHOLE_ONLY & passed.keys()) if request.stream else ():
        del passed[key]
        losses.append(dropped(key, "the target has it for whole answers only"))
    for key in sorted(extra.keys() & traits.rejects):
        raise _refuse(key, "the target refuses this field")
    lose_extras(msgspec.structs.replace(request, extra=extra or None), "", losses)
    _refuse_what_it_cannot(request, losses)
    here = "stop_here" in traits.quirks
    if here and (len(request.stop) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in request.stop)):
        raise _refuse("stop", f"at most {MOST_STOPS} texts of {LONGEST_STOP} characters")
    _lose_the_rest(request, losses, here=here)
    history = [_message(message, number, losses) for number, message in enumerate(request.messages, 1)]
    body: dict[str, Any] = {"chat_history": history}
    if persona := request.model.rpartition("/")[2]:
        body["persona"] = persona
    if request.stream:
        body["stream"] = True
    accept = "text/event-stream" if request.stream else "application/json"
    return WireRequest(
        path=f"{PATH}/stream" if request.stream else PATH,
        headers={"content-type": "application/json", "accept": accept},
        body=encode({**body, **passed}),
    )


def _refuse(field: str, reason: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{field}: {reason}", param=field)


def _refuse_what_it_cannot(request: ChatRequest, losses: Losses) -> None:
    if request.tools:
        raise _refuse("tools", "the target takes no functions")
    if request.tool_choice is not None and request.tool_choice.mode == "required":
        raise _refuse("tool_choice", "there is no tool to call")
    if request.n is not None and request.n != 1:
        raise _refuse("n", "the target gives one answer")
    if request.response_format is not None and request.response_format.kind != "text":
        raise _refuse("response_format", "the target takes no format of the answer")
    if request.cached_content is not None:
        raise _refuse("cached_content", "the target does not hold this cached content")
    others = [word for word in request.modalities if word != "text"]
    if others and "text" not in request.modalities:
        raise _refuse("modalities", "the target answers in text only")
    if others:
        losses.append(dropped("modalities", "the target answers in text only"))


def _lose_the_rest(request: ChatRequest, losses: Losses, *, here: bool) -> None:
    """`here`: stop texts end the answer in the gateway."""
    for name, nothing in _UNKNOWN:
        if getattr(request, name) not in nothing and not (here and name == "stop"):
            losses.append(dropped(name, "the target has no such parameter"))
    for setting in request.safety:
        losses.append(dropped(setting.at or "safety", "the target has no such settings"))


def _message(message: Message, number: int, losses: Losses) -> dict[str, str]:
    if message.name is not None:
        losses.append(dropped(join(message.at, "name"), "the target has no names of participants"))
    texts = [text for part in message.parts if (text := _text(part, losses))]
    return {"id": f"message-{number}", "role": message.role, "content": "\n".join(texts)}


def _text(part: AnyPart, losses: Losses) -> str:
    at = part.at or "messages"
    match part:
        case Text() | Refusal():
            lose_marks(part, losses)
            if isinstance(part, Refusal):
                losses.append(approximated(at, "the target has no refusals: sent as text"))
            return part.text
        case Reasoning():
            losses.append(dropped(at, "the target takes no earlier thinking"))
            return ""
        case Opaque():
            losses.append(dropped(at, f"the target has no place for this part ({part.kind})"))
            return ""
        case Media():
            raise _refuse(at, "the target reads text only")
        case ToolCall() | ToolResult():
            raise _refuse(at, "the target knows no tools")
