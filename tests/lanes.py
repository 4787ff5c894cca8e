"""The ways through the gateway that two dialects make, so that a rule is written once and holds for all.

A Lane knows how its caller asks and reads (`CALLERS`), and how its upstream talks (`UPSTREAMS`).

    LANES      openai.chat and gemini on either side
    ASKING     every other language of callers, relayed once and translated once
    ANSWERING  ASKING, and the languages of upstreams that it leaves out
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

import msgspec

from tests import answers
from tests.answers import (
    chat_answer,
    chat_chunk,
    chat_stream,
    gemini_answer,
    gemini_chunk,
    gemini_error,
    gemini_stream,
    named_event,
    openai_error,
    to_json,
)
from tests.fakes import Answer, Received, event, json_answer, sse, status

Json: TypeAlias = Any

TABLE = """
server:
  listen: "127.0.0.1:0"
  admin: null
  drain: 1s
  limits: {sse_event: 64KiB, upstream_body: 256KiB, json_depth: 64, write_stall: 1s}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OPENAI_UP"}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: google_key, secret: "env:GEMINI_UP"}
  responses-up: {base_url: "$up/v1", speaks: [openai.responses], secret: "env:OPENAI_UP"}
  anthropic-up: {base_url: "$up", speaks: [anthropic.messages], auth: anthropic_key, secret: "env:ANTHROPIC_UP"}
  ollama-up: {base_url: "$up", speaks: [ollama.chat], secret: "env:OPENAI_UP"}
  cohere-up: {base_url: "$up", speaks: [cohere.chat], secret: "env:OPENAI_UP"}
  bedrock-up: {base_url: "$up", speaks: [bedrock.converse], secret: "env:OPENAI_UP"}
models:
  openai-model: [{provider: openai-up, model: gpt-4o-mini}]
  gemini-model: [{provider: gemini-up, model: gemini-2.5-flash}]
  responses-model: [{provider: responses-up, model: gpt-5-mini}]
  anthropic-model: [{provider: anthropic-up, model: claude-sonnet-4-5}]
  ollama-model: [{provider: ollama-up, model: llama3.2}]
  cohere-model: [{provider: cohere-up, model: command-a-03-2025}]
  bedrock-model: [{provider: bedrock-up, model: anthropic.claude-sonnet-4-5-v1}]
policies:
  default:
    attempts: $attempts
    wait: {first: 10ms, most: 20ms}
    timeouts: {connect: 5s, first_byte: 1500ms, idle: 400ms, total: 5s}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
"""
KEYS = {
    "OPENAI_UP": "sk-openai-upstream-key",
    "GEMINI_UP": "AIza-gemini-upstream-key",
    "ANTHROPIC_UP": "sk-ant-upstream-key",
}


def data_lines(body: bytes) -> list[bytes]:
    """The data of each event, read by the letter of the specification: any line end, comments and names skipped."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", body):
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
    return events


@dataclass
class Heard:
    """What a caller understood of a stream."""

    text: str = ""
    finish: str | None = None
    error: Json = None
    done: bool = False  # the dialect's own end mark
    usage: Json = None
    after_end: list[Json] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Did it end well: a finish, the end mark where there is one, no error?"""
        return self.finish is not None and self.done and self.error is None and not self.after_end


# ── callers ────────────────────────────────────────────────────────────────────────────


class Caller(Protocol):
    """A language of callers. An error is given as an object, whatever its envelope: `problem` of a body."""

    streams_as: str

    def path(self, model: str, *, stream: bool) -> str: ...
    def body(self, model: str, text: str, *, stream: bool) -> Json: ...
    def text_of(self, answer: Json) -> str: ...
    def hear(self, body: bytes) -> Heard: ...
    def problem(self, body: Json, status: int) -> Json: ...
    def code(self, error: Json) -> str | None: ...
    def field(self, error: Json) -> str | None: ...
    def crowded(self, model: str, turns: int) -> Json: ...
    def tools(self, count: int) -> Json: ...


class ChatCaller:
    streams_as = "text/event-stream"

    def path(self, model: str, *, stream: bool) -> str:
        return "/v1/chat/completions"

    def body(self, model: str, text: str, *, stream: bool) -> Json:
        streaming = {"stream": True} if stream else {}
        return {"model": model, "messages": [{"role": "user", "content": text}], **streaming}

    def text_of(self, answer: Json) -> str:
        return str(answer["choices"][0]["message"]["content"])

    def hear(self, body: bytes) -> Heard:
        heard = Heard()
        for data in data_lines(body):
            if heard.done:
                heard.after_end.append(data)
            if data == b"[DONE]":
                heard.done = True
            else:
                self._hear(heard, msgspec.json.decode(data))
        return heard

    def _hear(self, heard: Heard, chunk: Json) -> None:
        if "error" in chunk:
            heard.error = chunk["error"]
            return
        heard.usage = chunk.get("usage") or heard.usage
        for choice in chunk["choices"]:
            heard.text += choice["delta"].get("content") or ""
            heard.finish = choice["finish_reason"] or heard.finish

    def problem(self, body: Json, status: int) -> Json:
        assert {"error"} == body.keys() and {"message", "type", "param", "code"} == body["error"].keys()
        return body["error"]

    def code(self, error: Json) -> str | None:
        return str(error["code"])

    def field(self, error: Json) -> str | None:
        return error["param"]  # type: ignore[no-any-return]

    def crowded(self, model: str, turns: int) -> Json:
        return {"model": model, "messages": [{"role": "user", "content": "x"}] * turns}

    def tools(self, count: int) -> Json:
        return [{"type": "function", "function": {"name": f"t{i}"}} for i in range(count)]


class ResponsesCaller(ChatCaller):
    def path(self, model: str, *, stream: bool) -> str:
        return "/v1/responses"

    def body(self, model: str, text: str, *, stream: bool) -> Json:
        streaming = {"stream": True} if stream else {}
        return {"model": model, "input": text, "store": False, "max_output_tokens": 100, **streaming}

    def text_of(self, answer: Json) -> str:
        items = [item for item in answer["output"] if item["type"] == "message"]
        return "".join(part["text"] for item in items for part in item["content"])

    def hear(self, body: bytes) -> Heard:
        heard = Heard()
        for data in data_lines(body):
            chunk = msgspec.json.decode(data)
            kind = chunk["type"]
            if heard.done:
                heard.after_end.append(chunk)
            elif kind == "response.output_text.delta":
                heard.text += chunk["delta"]
            elif kind == "error":
                heard.error = chunk["error"]
            elif kind in ("response.completed", "response.incomplete"):
                heard.finish, heard.done = chunk["response"]["status"], True
                heard.usage = chunk["response"]["usage"]
            elif kind == "response.failed":
                heard.done = True
        return heard

    def crowded(self, model: str, turns: int) -> Json:
        return {"model": model, "input": [{"role": "user", "content": "x"}] * turns}

    def tools(self, count: int) -> Json:
        return [{"type": "function", "name": f"t{i}", "parameters": {}} for i in range(count)]


class GeminiCaller:
    streams_as = "text/event-stream"

    def path(self, model: str, *, stream: bool) -> str:
        return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")

    def body(self, model: str, text: str, *, stream: bool) -> Json:
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}

    def text_of(self, answer: Json) -> str:
        return "".join(part.get("text", "") for part in answer["candidates"][0]["content"]["parts"])

    def hear(self, body: bytes) -> Heard:
        heard = Heard()
        for data in data_lines(body):
            self._hear(heard, msgspec.json.decode(data))
        heard.done = heard.error is None
        return heard

    def _hear(self, heard: Heard, chunk: Json) -> None:
        if "error" in chunk:
            heard.error = chunk["error"]
            return
        heard.usage = chunk.get("usageMetadata") or heard.usage
        for candidate in chunk.get("candidates", ()):
            for part in candidate.get("content", {}).get("parts", ()):
                heard.text += part.get("text", "")
            heard.finish = candidate.get("finishReason") or heard.finish

    def problem(self, body: Json, status: int) -> Json:
        assert {"error"} == body.keys() and {"code", "message", "status"} <= body["error"].keys()
        assert status == body["error"]["code"]
        return body["error"]

    def code(self, error: Json) -> str | None:
        return next((detail["reason"] for detail in error.get("details", ()) if "reason" in detail), None)

    def field(self, error: Json) -> str | None:
        return next((detail["field"] for detail in error.get("details", ()) if "field" in detail), None)

    def crowded(self, model: str, turns: int) -> Json:
        return {"contents": [{"role": "user", "parts": [{"text": "x"}]}] * turns}

    def tools(self, count: int) -> Json:
        return [{"functionDeclarations": [{"name": f"t{i}"} for i in range(count)]}]


class AnthropicCaller:
    streams_as = "text/event-stream"

    def path(self, model: str, *, stream: bool) -> str:
        return "/v1/messages"

    def body(self, model: str, text: str, *, stream: bool) -> Json:
        return {**self.crowded(model, 0), "messages": [{"role": "user", "content": text}]} | (
            {"stream": True} if stream else {}
        )

    def text_of(self, answer: Json) -> str:
        return "".join(block["text"] for block in answer["content"] if block["type"] == "text")

    def hear(self, body: bytes) -> Heard:
        heard = Heard()
        for data in data_lines(body):
            chunk = msgspec.json.decode(data)
            if heard.done or heard.error:
                heard.after_end.append(chunk)
            self._hear(heard, chunk)
        return heard

    def _hear(self, heard: Heard, chunk: Json) -> None:
        kind = chunk["type"]
        if kind == "error":
            heard.error = chunk["error"]
        elif kind == "message_stop":
            heard.done = True
        elif kind == "message_delta":
            heard.finish = chunk["delta"]["stop_reason"] or heard.finish
            heard.usage = chunk["usage"]
        elif kind == "content_block_delta":
            heard.text += chunk["delta"].get("text", "")

    def problem(self, body: Json, status: int) -> Json:
        assert {"type", "error", "request_id"} == body.keys() and "error" == body["type"]
        assert {"type", "message"} <= body["error"].keys()
        return body["error"]

    def code(self, error: Json) -> str | None:
        return error["details"]["error_code"]  # type: ignore[no-any-return]

    def field(self, error: Json) -> str | None:
        return error["details"].get("param")  # type: ignore[no-any-return]

    def crowded(self, model: str, turns: int) -> Json:
        return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "x"}] * turns}

    def tools(self, count: int) -> Json:
        return [{"name": f"t{i}", "input_schema": {"type": "object"}} for i in range(count)]


class OllamaCaller:
    streams_as = "application/x-ndjson"

    def path(self, model: str, *, stream: bool) -> str:
        return "/ollama/api/chat"

    def body(self, model: str, text: str, *, stream: bool) -> Json:
        return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}

    def text_of(self, answer: Json) -> str:
        return str(answer["message"]["content"])

    def hear(self, body: bytes) -> Heard:
        heard = Heard()
        for line in body.splitlines():
            chunk = msgspec.json.decode(line)
            if heard.done or heard.error:
                heard.after_end.append(chunk)
            if "error" in chunk:
                heard.error = self._error(chunk)
                continue
            heard.text += chunk["message"]["content"]
            if chunk["done"]:
                heard.done, heard.finish = True, chunk["done_reason"]
                heard.usage = chunk.get("eval_count")
        return heard

    def _error(self, body: Json) -> Json:
        assert str is type(body["error"])
        return {"message": body["error"], **body}

    def problem(self, body: Json, status: int) -> Json:
        return self._error(body)

    def code(self, error: Json) -> str | None:
        return error["code"]  # type: ignore[no-any-return]

    def field(self, error: Json) -> str | None:
        return error.get("param")  # type: ignore[no-any-return]

    def crowded(self, model: str, turns: int) -> Json:
        return {"model": model, "messages": [{"role": "user", "content": "x"}] * turns}

    def tools(self, count: int) -> Json:
        return [{"type": "function", "function": {"name": f"t{i}"}} for i in range(count)]


CALLERS: dict[str, Caller] = {
    "openai": ChatCaller(),
    "gemini": GeminiCaller(),
    "responses": ResponsesCaller(),
    "anthropic": AnthropicCaller(),
    "ollama": OllamaCaller(),
}


# ── upstreams ──────────────────────────────────────────────────────────────────────────


class Upstream:
    """A language of upstreams; this one is openai.chat. Events are JSON values, or the bytes that they are."""

    kind = "text/event-stream"
    framing = "sse"
    has_end_mark = True
    paths = ("/v1/chat/completions",) * 2  # whole, streamed
    key: tuple[str, str] = ("authorization", f"Bearer {KEYS['OPENAI_UP']}")
    model = "gpt-4o-mini"

    def answer(self, text: str) -> Json:
        return chat_answer(text)

    def chunk(self, text: str) -> Json:
        return chat_chunk(text)

    def opening(self, *texts: str) -> list[Json]:
        return [self.chunk(text) for text in texts]

    def events(self, *texts: str) -> list[Json]:
        return chat_stream(*texts, usage=(9, 3))

    def unmarked(self, *texts: str) -> list[Json]:
        """A whole stream that only lacks its end mark, where its finish is another event."""
        return self.events(*texts)[:-1]

    def error(self, code: int, message: str) -> Json:
        return openai_error(message)

    def fault(self, message: str) -> Json:
        """An error as an event."""
        return self.error(500, message)

    def garbage(self, text: bytes) -> bytes:
        """An event that cannot be read."""
        return b"data: " + text + b"\n\n"

    def half(self, text: bytes) -> bytes:
        """The beginning of an event."""
        return b"data: " + text

    def opened(self, event: Json) -> tuple[Json, Callable[[Json], bytes]]:
        """The JSON value in an event, and what makes an event of another one."""
        if not isinstance(event, bytes):
            return event, as_bytes
        head, mark, data = event.partition(b"data: ")
        return json.loads(data), lambda value: head + mark + to_json(value) + b"\n\n"

    def told(self, body: Json) -> str:
        """What the user said in a request."""
        return body["messages"][0]["content"]  # type: ignore[no-any-return]


class GeminiUpstream(Upstream):
    has_end_mark = False
    paths = (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    )
    key = ("x-goog-api-key", KEYS["GEMINI_UP"])
    model = "gemini-2.5-flash"

    def answer(self, text: str) -> Json:
        return gemini_answer(text)

    def chunk(self, text: str) -> Json:
        return gemini_chunk(text)

    def events(self, *texts: str) -> list[Json]:
        return gemini_stream(*texts)

    def unmarked(self, *texts: str) -> list[Json]:
        return self.events(*texts)

    def error(self, code: int, message: str) -> Json:
        word = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}.get(code, "INTERNAL")
        return gemini_error(code, message, word)

    def told(self, body: Json) -> str:
        return body["contents"][0]["parts"][0]["text"]  # type: ignore[no-any-return]


class ResponsesUpstream(Upstream):
    paths = ("/v1/responses",) * 2
    model = "gpt-5-mini"

    def answer(self, text: str) -> Json:
        return answers.responses_answer(text)

    def chunk(self, text: str) -> Json:
        return answers.responses_piece(text)

    def opening(self, *texts: str) -> list[Json]:
        return [*answers.responses_opening(*texts)]

    def events(self, *texts: str) -> list[Json]:
        return [*self.opening(*texts), *answers.responses_closing(*texts)]

    def unmarked(self, *texts: str) -> list[Json]:
        return self.events(*texts)

    def fault(self, message: str) -> Json:
        said = {"type": "server_error", "code": "server_error", "message": message, "param": None}
        return named_event("error", {"type": "error", "sequence_number": 9, "error": said})

    def told(self, body: Json) -> str:
        given = body["input"]
        if isinstance(given, str):
            return given
        content = given[0]["content"]
        return content if isinstance(content, str) else content[0]["text"]  # type: ignore[no-any-return]


class AnthropicUpstream(Upstream):
    paths = ("/v1/messages",) * 2
    key = ("x-api-key", KEYS["ANTHROPIC_UP"])
    model = "claude-sonnet-4-5"
    _words: ClassVar[dict[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }

    def answer(self, text: str) -> Json:
        return answers.anthropic_answer(text)

    def chunk(self, text: str) -> Json:
        return answers.anthropic_piece(text)

    def opening(self, *texts: str) -> list[Json]:
        return [*answers.anthropic_opening(*texts)]

    def events(self, *texts: str) -> list[Json]:
        return [*self.opening(*texts), *answers.anthropic_closing()]

    def error(self, code: int, message: str) -> Json:
        return answers.anthropic_error(message, self._words.get(code, "api_error"))

    def fault(self, message: str) -> Json:
        return named_event("error", self.error(500, message))

    def told(self, body: Json) -> str:
        content = body["messages"][0]["content"]
        return content if isinstance(content, str) else content[0]["text"]  # type: ignore[no-any-return]


class OllamaUpstream(Upstream):
    kind = "application/x-ndjson"
    framing = "lines"
    paths = ("/api/chat",) * 2
    model = "llama3.2"

    def answer(self, text: str) -> Json:
        return answers.ollama_answer(text)

    def chunk(self, text: str) -> Json:
        return answers.ollama_piece(text)

    def events(self, *texts: str) -> list[Json]:
        return [*self.opening(*texts), *answers.ollama_closing()]

    def unmarked(self, *texts: str) -> list[Json]:
        return self.events(*texts)

    def error(self, code: int, message: str) -> Json:
        return {"error": message}

    def fault(self, message: str) -> Json:
        return to_json(self.error(500, message)) + b"\n"

    def opened(self, event: Json) -> tuple[Json, Callable[[Json], bytes]]:
        return json.loads(event), lambda value: to_json(value) + b"\n"

    def garbage(self, text: bytes) -> bytes:
        return text + b"\n"

    def half(self, text: bytes) -> bytes:
        return text


class CohereUpstream(Upstream):
    paths = ("/v2/chat",) * 2
    model = "command-a-03-2025"

    def answer(self, text: str) -> Json:
        return answers.cohere_answer(text)

    def chunk(self, text: str) -> Json:
        return answers.cohere_piece(text)

    def opening(self, *texts: str) -> list[Json]:
        return [*answers.cohere_opening(*texts)]

    def events(self, *texts: str) -> list[Json]:
        return [*self.opening(*texts), *answers.cohere_closing()]

    def unmarked(self, *texts: str) -> list[Json]:
        return self.events(*texts)

    def error(self, code: int, message: str) -> Json:
        return {"id": "fake-1", "message": message}

    def told(self, body: Json) -> str:
        content = body["messages"][0]["content"]
        return content if isinstance(content, str) else content[0]["text"]  # type: ignore[no-any-return]


class BedrockUpstream(Upstream):
    kind = "application/vnd.amazon.eventstream"
    framing = "frames"
    model = "anthropic.claude-sonnet-4-5-v1"
    paths = (f"/model/{model}/converse", f"/model/{model}/converse-stream")

    def answer(self, text: str) -> Json:
        return answers.bedrock_answer(text)

    def chunk(self, text: str) -> Json:
        return answers.bedrock_piece(text)

    def opening(self, *texts: str) -> list[Json]:
        return [*answers.bedrock_opening(*texts)]

    def events(self, *texts: str) -> list[Json]:
        return [*self.opening(*texts), *answers.bedrock_closing()]

    def error(self, code: int, message: str) -> Json:
        return {"message": message}

    def fault(self, message: str) -> Json:
        return answers.bedrock_frame("internalServerException", {"message": message}, "exception")

    def opened(self, event: Json) -> tuple[Json, Callable[[Json], bytes]]:
        size = int.from_bytes(event[4:8], "big")
        name = event[12 : 12 + size].partition(b":event-type\x07")[2]
        kind = name[2 : 2 + int.from_bytes(name[:2], "big")].decode()
        return json.loads(event[12 + size : -4]), lambda value: answers.bedrock_frame(kind, value)

    def garbage(self, text: bytes) -> bytes:
        return answers.bedrock_frame("contentBlockDelta", text)

    def half(self, text: bytes) -> bytes:
        return answers.bedrock_frame("contentBlockDelta", text)[:-4]

    def told(self, body: Json) -> str:
        return body["messages"][0]["content"][0]["text"]  # type: ignore[no-any-return]


UPSTREAMS: dict[str, Upstream] = {
    "openai": Upstream(),
    "gemini": GeminiUpstream(),
    "responses": ResponsesUpstream(),
    "anthropic": AnthropicUpstream(),
    "ollama": OllamaUpstream(),
    "cohere": CohereUpstream(),
    "bedrock": BedrockUpstream(),
}


# ── lanes ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Lane:
    caller: str  # a key of CALLERS
    upstream: str  # a key of UPSTREAMS

    @property
    def name(self) -> str:
        return f"{self.caller}-to-{self.upstream}"

    @property
    def relayed(self) -> bool:
        return self.caller == self.upstream

    @property
    def model(self) -> str:
        return f"{self.upstream}-model"

    @property
    def asks(self) -> Caller:
        return CALLERS[self.caller]

    @property
    def talks(self) -> Upstream:
        return UPSTREAMS[self.upstream]

    # ── the caller ─────────────────────────────────────────────────────────────────
    def path(self, *, stream: bool = False) -> str:
        return self.asks.path(self.model, stream=stream)

    def body(self, text: str = "Hello!", *, stream: bool = False, **more: Json) -> Json:
        return {**self.asks.body(self.model, text, stream=stream), **more}

    def text_of(self, answer: Json) -> str:
        return self.asks.text_of(answer)

    def hear(self, body: bytes) -> Heard:
        """Reads a stream as the caller's client would."""
        return self.asks.hear(body)

    def problem(self, body: Json, status: int) -> Json:
        """The error in the body of an answer, whose envelope is looked at."""
        return self.asks.problem(body, status)

    def code(self, error: Json) -> str | None:
        """The gateway's stable code in an error of the caller's dialect."""
        return self.asks.code(error)

    # ── the upstream ───────────────────────────────────────────────────────────────
    def answer(self, text: str = "Hi!") -> Json:
        return self.talks.answer(text)

    def whole(self, text: str = "Hi!") -> Answer:
        return json_answer(self.answer(text))

    def chunk(self, text: str) -> Json:
        return self.talks.chunk(text)

    def opening(self, *texts: str) -> list[Json]:
        """The beginning of a stream, without its end."""
        return self.talks.opening(*texts)

    def events(self, *texts: str) -> list[Json]:
        """A whole stream, end mark included."""
        return self.talks.events(*texts)

    def sent(self, *events: Json, **how: Any) -> Answer:
        """These events, steps between them included, under the dialect's own content type."""
        how.setdefault("headers", [("Content-Type", self.talks.kind)])
        return sse(*events, **how)

    def stream(self, *texts: str, every: float = 0.0) -> Answer:
        return self.sent(*self.events(*texts), every=every)

    def failure(self, code: int, message: str = "it broke", headers: Sequence[tuple[str, str]] = ()) -> Answer:
        return status(code, self.talks.error(code, message), headers=headers)

    def error_event(self, message: str) -> Json:
        return self.talks.error(500, message)

    def target(self, request: Received, *, stream: bool = False) -> None:
        """Fails unless a request went where it should, with our credential and the target's model."""
        assert self.talks.paths[stream] == request.target
        assert self.talks.key[1] == request.header(self.talks.key[0])
        assert self.talks.model in (request.json().get("model"), *re.split("[/:]", request.target))


def as_bytes(value: Json) -> bytes:
    """An event as it is on the wire."""
    return value if isinstance(value, bytes) else event(json.dumps(value, ensure_ascii=False))


LANES = [Lane(caller, upstream) for caller in ("openai", "gemini") for upstream in ("openai", "gemini")]
ASKING = [
    Lane("responses", "responses"),
    Lane("anthropic", "anthropic"),
    Lane("ollama", "ollama"),
    Lane("responses", "anthropic"),
    Lane("anthropic", "bedrock"),
    Lane("ollama", "cohere"),
]
ANSWERING = [*ASKING, Lane("openai", "responses"), Lane("gemini", "ollama")]
