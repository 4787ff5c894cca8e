"""What the chat service says: answers, streams and errors as its API writes them.

A stream is events of one line each, written whole, because clients split what arrives by lines:

    thinking_update   the persona's planning text, then what the model shows of its thinking
    response_delta    only where it was asked for
    final_response    the whole text, once
    metadata          once, when everything is stored
    [DONE]

or, when something fails after the first byte, one error and [DONE].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from providers.canonical.chat import ChatRequest, ChatResponse, Refusal, Text, Usage
from providers.canonical.errors import Detail, MalformedRequest, MethodNotAllowed, RouterError, UnwantedAnswer
from providers.canonical.loss import Losses
from providers.canonical.stream import ChoiceEnd, ReasoningDelta, RefusalDelta, StreamEvent, TextDelta
from providers.dialect import WireResponse
from providers.wire.json import encode, escape_lines
from router.chats.prompting import NAME
from router.chats.store import Chat, Head, Message

Json: TypeAlias = Any

GATHERED = 0.2  # seconds of thinking in one update, at least
DONE = b"data: [DONE]\n\n"

#: Codes of this API by status; others keep the gateway's.
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    402: "insufficient_credits",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    502: "upstream_error",
    503: "overloaded",
    504: "upstream_timeout",
}


class NoResponse(UnwantedAnswer):
    """The model answered, and said nothing."""

    status = 404
    code = "no_response"

    def __init__(self) -> None:
        super().__init__("Could not generate response")


# ── errors ─────────────────────────────────────────────────────────────────────────────────────


def code_of(error: RouterError) -> str:
    """What the caller reads as `code`."""
    return error.code if isinstance(error, NoResponse) else _CODES.get(error.status, error.code)


class CallersSide:
    """As much of a dialect as an exchange uses of its caller's: names, errors, streams.

    `planning`, `deltas` are set before the first attempt; `spoken` is what the attempt under way has said.
    """

    name = NAME
    family = NAME
    auth = "bearer"
    id_header = "x-request-id"
    passes: frozenset[str] = frozenset()
    passes_with_key: frozenset[str] = frozenset()
    paths: Mapping[str, str] = {}

    def __init__(self, request_id: str, clock: Callable[[], float]) -> None:
        self._request_id = request_id
        self._clock = clock
        self.planning = ""
        self.deltas = False
        self.spoken: Speech | None = None

    def encode_error(self, error: RouterError, *, stream: bool = False) -> WireResponse:
        """One body for clients that read `message` and for those that read `error`."""
        try:
            word = HTTPStatus(error.status).phrase
        except ValueError:
            word = "Error"
        body: dict[str, Json] = {
            "message": error.message,
            "error": word,
            "code": code_of(error),
            "requestId": self._request_id,
        }
        if isinstance(error, MalformedRequest):
            details = error.details or (Detail(error.param or "body", error.message),)
            body["details"] = msgspec.to_builtins(details)
        headers = {"content-type": "application/json"}
        if error.status == 401:
            headers["www-authenticate"] = 'Bearer error="invalid_token"'
        if isinstance(error, MethodNotAllowed):
            headers["allow"] = ", ".join(error.allow)
        if error.retry_after is not None:
            headers["retry-after"] = str(max(1, int(error.retry_after + 0.999)))
        return WireResponse(status=error.status, headers=headers, body=encode(body))

    def stream_encoder(self, request: ChatRequest, losses: Losses) -> Speech:
        self.spoken = Speech(self._clock, planning=self.planning, deltas=self.deltas)
        return self.spoken


# ── streams ────────────────────────────────────────────────────────────────────────────────────


def event(value: Mapping[str, Json]) -> bytes:
    return b"data: " + escape_lines(encode(value)) + b"\n\n"


class Speech:
    """A stream's encoder: gives out what may be given at once, and keeps the answer for the end."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, clock: Callable[[], float], *, planning: str, deltas: bool) -> None:
        self._clock = clock
        self._planning: str | None = planning
        self._deltas = deltas
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._thought_at = clock()
        self.finish = "stop"

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, event_: StreamEvent, /) -> bytes:
        """NoResponse for an answer that ends before it has said anything."""
        out = self._plan()
        if isinstance(event_, TextDelta | RefusalDelta):
            if event_.choice == 0 and event_.text:
                out += self._thought() + self._say(event_.text)
        elif isinstance(event_, ReasoningDelta):
            self._thoughts.append(event_.text)
            if self._clock() - self._thought_at >= GATHERED:
                out += self._thought()
        elif isinstance(event_, ChoiceEnd) and event_.choice == 0:
            self.finish = event_.finish.reason
            if not self.text.strip():
                raise NoResponse
        return out

    def _plan(self) -> bytes:
        text, self._planning = self._planning, None
        return b"" if text is None else event({"type": "thinking_update", "content": text})

    def _thought(self) -> bytes:
        """What the model has shown of its thinking since the last time."""
        text = "".join(self._thoughts)
        self._thoughts.clear()
        self._thought_at = self._clock()
        return event({"type": "thinking_update", "content": text}) if text else b""

    def _say(self, text: str) -> bytes:
        self._pieces.append(text)
        return event({"type": "response_delta", "content": text}) if self._deltas else b""

    def close(self) -> bytes:
        """The end of what the model said; what we say of it comes when it is stored."""
        if not self.text.strip():
            raise NoResponse
        return self._plan() + self._thought()

    def error(self, error: RouterError, /) -> bytes:
        said = {"type": "error", "content": None, "error": {"message": error.message}, "code": code_of(error)}
        return event(said) + DONE


def last_words(text: str, json: Json, metadata: Mapping[str, Json]) -> bytes:
    """The end of a stream that is stored."""
    final = {"type": "final_response", "content": text, "json": json}
    return event(final) + event({"type": "metadata", "content": metadata}) + DONE


def replayed(planning: str, text: str, json: Json, metadata: Mapping[str, Json], *, deltas: bool) -> bytes:
    """The stream of an answer that was given before; its pieces are one."""
    piece = event({"type": "response_delta", "content": text}) if deltas else b""
    return event({"type": "thinking_update", "content": planning}) + piece + last_words(text, json, metadata)


# ── whole answers ──────────────────────────────────────────────────────────────────────────────


def words_of(response: ChatResponse) -> tuple[str, str]:
    """What the model said, and why it stopped. NoResponse when it said nothing."""
    choice = response.choices[0] if response.choices else None
    parts = choice.parts if choice is not None else ()
    text = "".join(part.text for part in parts if isinstance(part, Text | Refusal))
    if choice is None or not text.strip():
        raise NoResponse
    return text, choice.finish.reason if choice.finish is not None else "stop"


def usage_of(usage: Usage | None) -> dict[str, int | None]:
    """Tokens; null where the upstream did not say."""
    return {
        "inputTokens": usage.input_tokens if usage is not None else None,
        "outputTokens": usage.output_tokens if usage is not None else None,
    }


def moment(milliseconds: int) -> str:
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{milliseconds % 1000:03d}Z"


def listed(head: Head) -> dict[str, Json]:
    """A chat in the history."""
    return {
        "title": head.title,
        "id": head.id,
        "timestamp": head.updated,
        "pinned": head.pinned,
        "fork": head.fork,
        "forkedFrom": head.forked_from,
        "source": head.source,
        "messageCount": head.messages,
    }


def fetched(chat: Chat, subject: str) -> dict[str, Json]:
    """A whole chat."""
    head = chat.head
    optional = {"username": head.username, "scope": head.scope}
    return {
        "_id": head.id,
        "messages": [_message(message) for message in chat.messages],
        "userId": subject,
        "title": head.title,
        "source": head.source,
        **{key: value for key, value in optional.items() if value is not None},
        "fork": head.fork,
        "forkedFrom": head.forked_from,
        "pinned": head.pinned,
        "createdAt": moment(head.created),
        "updatedAt": moment(head.updated),
    }


def _message(message: Message) -> dict[str, Json]:
    return {
        "id": message.id,
        "role": message.role,
        "message": message.text,
        "content": message.text,
        **message.more,
        "createdAt": moment(message.created),
        "updatedAt": moment(message.updated),
    }
