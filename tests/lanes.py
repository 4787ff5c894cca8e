"""The four ways through the gateway that two dialects make, so that a rule is written once and holds for all.

A Lane knows how its caller asks and reads, and how its upstream talks. `LANES`: openai.chat and gemini on either side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from tests.answers import (
    chat_answer,
    chat_chunk,
    chat_stream,
    gemini_answer,
    gemini_chunk,
    gemini_error,
    gemini_stream,
    openai_error,
)
from tests.fakes import Answer, json_answer, sse, status

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
models:
  openai-model: [{provider: openai-up, model: gpt-4o-mini}]
  gemini-model: [{provider: gemini-up, model: gemini-2.5-flash}]
policies:
  default:
    attempts: $attempts
    wait: {first: 10ms, most: 20ms}
    timeouts: {connect: 5s, first_byte: 1500ms, idle: 400ms, total: 5s}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""
KEYS = {"OPENAI_UP": "sk-openai-upstream-key", "GEMINI_UP": "AIza-gemini-upstream-key"}


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


@dataclass(frozen=True)
class Lane:
    caller: str  # "openai" or "gemini"
    upstream: str

    @property
    def name(self) -> str:
        return f"{self.caller}-to-{self.upstream}"

    @property
    def relayed(self) -> bool:
        return self.caller == self.upstream

    @property
    def model(self) -> str:
        return f"{self.upstream}-model"

    # ── the caller ─────────────────────────────────────────────────────────────────
    def path(self, *, stream: bool = False) -> str:
        if self.caller == "openai":
            return "/v1/chat/completions"
        return f"/v1beta/models/{self.model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")

    def body(self, text: str = "Hello!", *, stream: bool = False, **more: Json) -> Json:
        if self.caller == "openai":
            streaming = {"stream": True} if stream else {}
            return {"model": self.model, "messages": [{"role": "user", "content": text}], **streaming, **more}
        return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}

    def text_of(self, answer: Json) -> str:
        if self.caller == "openai":
            return str(answer["choices"][0]["message"]["content"])
        return "".join(part.get("text", "") for part in answer["candidates"][0]["content"]["parts"])

    def hear(self, body: bytes) -> Heard:
        """Reads a stream as the caller's client would."""
        heard = Heard()
        for data in data_lines(body):
            if heard.done and self.caller == "openai":
                heard.after_end.append(data)
            if data == b"[DONE]":
                heard.done = True
            else:
                (self._hear_chat if self.caller == "openai" else self._hear_gemini)(heard, msgspec.json.decode(data))
        if self.caller == "gemini":
            heard.done = heard.error is None
        return heard

    def _hear_chat(self, heard: Heard, chunk: Json) -> None:
        if "error" in chunk:
            heard.error = chunk["error"]
            return
        heard.usage = chunk.get("usage") or heard.usage
        for choice in chunk["choices"]:
            heard.text += choice["delta"].get("content") or ""
            heard.finish = choice["finish_reason"] or heard.finish

    def _hear_gemini(self, heard: Heard, chunk: Json) -> None:
        if "error" in chunk:
            heard.error = chunk["error"]
            return
        heard.usage = chunk.get("usageMetadata") or heard.usage
        for candidate in chunk.get("candidates", ()):
            for part in candidate.get("content", {}).get("parts", ()):
                heard.text += part.get("text", "")
            heard.finish = candidate.get("finishReason") or heard.finish

    def code(self, error: Json) -> str | None:
        """The gateway's stable code in an error of the caller's dialect."""
        if self.caller == "openai":
            return str(error["code"])
        return next((detail["reason"] for detail in error.get("details", ()) if "reason" in detail), None)

    # ── the upstream ───────────────────────────────────────────────────────────────
    def answer(self, text: str = "Hi!") -> Json:
        return chat_answer(text) if self.upstream == "openai" else gemini_answer(text)

    def whole(self, text: str = "Hi!") -> Answer:
        return json_answer(self.answer(text))

    def chunk(self, text: str) -> Json:
        return chat_chunk(text) if self.upstream == "openai" else gemini_chunk(text)

    def opening(self, *texts: str) -> list[Json]:
        """The beginning of a stream, without its end."""
        return [self.chunk(text) for text in texts]

    def events(self, *texts: str) -> list[Json]:
        """A whole stream, end mark included."""
        if self.upstream == "openai":
            return chat_stream(*texts, usage=(9, 3))
        return gemini_stream(*texts)

    def stream(self, *texts: str, every: float = 0.0) -> Answer:
        return sse(*self.events(*texts), every=every)

    def failure(self, code: int, message: str = "it broke", headers: Sequence[tuple[str, str]] = ()) -> Answer:
        if self.upstream == "openai":
            return status(code, openai_error(message), headers=headers)
        word = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}.get(code, "INTERNAL")
        return status(code, gemini_error(code, message, word), headers=headers)

    def error_event(self, message: str) -> Json:
        if self.upstream == "openai":
            return openai_error(message)
        return gemini_error(500, message, "INTERNAL")


LANES = [Lane(caller, upstream) for caller in ("openai", "gemini") for upstream in ("openai", "gemini")]
