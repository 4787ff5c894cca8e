"""A model behind OpenAI's chat: calls have ids, and no signatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from tests.clients.scripted.play import (
    Called,
    Json,
    Part,
    Said,
    Scripted,
    Step,
    Wrong,
    calls_in,
    compact,
    halves,
    result_text,
    text_in,
)
from tests.fakes import DONE, Answer, json_answer, sse


class Chat(Scripted):
    """Calls without signatures: OpenAI's chat has none."""

    speaks = "openai.chat"
    model = "gpt-5.1"
    row: ClassVar[Json] = {"base": "/v1"}
    schema = ("openai.chat.request", "ChatCompletionRequest")
    _usage: ClassVar[Json] = {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0},
    }

    def read(self, body: Json) -> list[Step]:
        steps: list[Step] = []
        for at, message in enumerate(body["messages"]):
            if message["role"] == "tool":
                if not steps:
                    raise Wrong(
                        "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                    )
                text = result_text(text_in(message["content"]))
                steps[-1].results.append((message["tool_call_id"], text))
            elif message["role"] == "assistant":
                steps.append(Step(self._parts(message), []))
                self._answered(message, body["messages"][at + 1 :])
        return steps

    def _parts(self, message: Json) -> list[Part]:
        text = text_in(message.get("content"))
        said: list[Part] = [Said(text)] if text else []
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
        return [*said, *(Called(id, made["name"], json.loads(made["arguments"])) for id, made in calls)]

    def _answered(self, message: Json, after: Sequence[Json]) -> None:
        """Results follow their calls at once, before anything else."""
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        found = [one.get("tool_call_id") for one in after[: len(ids)] if one["role"] == "tool"]
        missing = [id for id in ids if id not in found]
        if missing:
            raise Wrong(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(missing)}"
            )

    def answer_schema(self, body: Json) -> Json:
        return body.get("response_format", {}).get("json_schema", {}).get("schema")

    def _finish(self, parts: Sequence[Part]) -> str:
        return "tool_calls" if calls_in(parts) else "stop"

    def whole(self, parts: Sequence[Part]) -> Answer:
        text = "".join(part.text for part in parts if isinstance(part, Said))
        message: Json = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
        if calls_in(parts):
            message["tool_calls"] = [self._call(call) for call in calls_in(parts)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish(parts)}
        return json_answer({**self._head("chat.completion"), "choices": [choice], "usage": self._usage})

    def _call(self, call: Called) -> Json:
        return {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": compact(call.arguments)},
        }

    def _head(self, kind: str) -> Json:
        made = {"id": f"chatcmpl-{self.answer_id}", "object": kind, "created": 1760000000, "model": self.model}
        return {**made, "service_tier": "default", "system_fingerprint": None}

    def stream(self, parts: Sequence[Part]) -> Answer:
        chunks: list[Json] = [self._chunk({"role": "assistant", "content": "", "refusal": None})]
        for part in parts:
            if isinstance(part, Said):
                chunks += [self._chunk({"content": piece}) for piece in halves(part.text)]
        for index, call in enumerate(calls_in(parts)):
            made = self._call(call)
            text = made["function"].pop("arguments")
            chunks.append(self._chunk({"tool_calls": [{"index": index, **made}]}, arguments=""))
            for piece in halves(text):
                chunks.append(self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
        chunks += [self._chunk({}, finish=self._finish(parts))]
        usage = {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage}
        return sse(*chunks, usage, DONE)

    def _chunk(self, told: Json, *, finish: str | None = None, arguments: str | None = None) -> Json:
        if arguments is not None:
            told["tool_calls"][0]["function"]["arguments"] = arguments
        choice = {"index": 0, "delta": told, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice], "usage": None}

    def complain(self, message: str) -> Json:
        return {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": None}}
