"""A model behind Anthropic's Messages: its thinking is signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tests.clients.scripted.play import (
    KEY,
    Called,
    Json,
    Part,
    Said,
    Scripted,
    Step,
    Thought,
    Wrong,
    calls_in,
    compact,
    halves,
    result_text,
    text_in,
)
from tests.fakes import Answer, Received, event, json_answer, sse


class Anthropic(Scripted):
    """Thinking is signed, words and all, and precedes the calls that it led to."""

    speaks = "anthropic.messages"
    model = "claude-opus-5-5"
    row: ClassVar[Json] = {"auth": "anthropic_key"}
    schema = ("anthropic.messages.request", "MessagesRequest")
    signs = True
    _usage: ClassVar[Json] = {"input_tokens": 9, "output_tokens": 3}

    def _id(self, n: int) -> str:
        return f"toolu_{self.number:04}{'ABC'[n]}"

    def authenticate(self, request: Received) -> None:
        if request.header("x-api-key") != KEY or request.header("anthropic-version") is None:
            raise Wrong("the key is not mine, or no version is said")

    def must_return(self, parts: Sequence[Part]) -> list[Part]:
        return list(parts)

    def read(self, body: Json) -> list[Step]:
        steps: list[Step] = []
        messages = [message for message in body["messages"] if message["role"] != "system"]
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                steps.append(Step([self._part(block) for block in message["content"]], []))
            elif steps:
                steps[-1].results.extend(self._results(message["content"], steps[-1], at))
        return steps

    def _part(self, block: Json) -> Part:
        if block["type"] == "thinking":
            return Thought(block["thinking"], block["signature"])
        if block["type"] == "tool_use":
            return Called(block["id"], block["name"], block["input"])
        if not block["text"]:
            raise Wrong("messages: text content blocks must be non-empty")
        return Said(block["text"])

    def _results(self, content: Json, step: Step, at: int) -> list[tuple[str | None, str]]:
        """They come first in the next message, all of them."""
        calls = [call.id for call in calls_in(step.parts)]
        blocks = content[: len(calls)] if isinstance(content, list) else []
        ids = [block.get("tool_use_id") for block in blocks]
        missing = [id for id in calls if id not in ids]
        if missing:
            raise Wrong(
                f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(map(str, missing))}. Each `tool_use` block must have a corresponding `tool_result` "
                "block in the next message."
            )
        return [(block["tool_use_id"], result_text(text_in(block["content"]))) for block in blocks]

    def tools(self, body: Json) -> list[str]:
        return [tool["name"] for tool in body.get("tools", ())]

    def answer_schema(self, body: Json) -> Json:
        return body.get("output_config", {}).get("format", {}).get("schema")

    def _block(self, part: Part) -> Json:
        if isinstance(part, Thought):
            return {"type": "thinking", "thinking": part.text, "signature": part.seal}
        if isinstance(part, Called):
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
        return {"type": "text", "text": part.text}

    def _message(self, parts: Sequence[Part], reason: str | None) -> Json:
        head = {"id": f"msg_{self.answer_id}", "type": "message", "role": "assistant", "model": self.model}
        content = [self._block(part) for part in parts]
        return {**head, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": self._usage}

    def _reason(self, parts: Sequence[Part]) -> str:
        return "tool_use" if calls_in(parts) else "end_turn"

    def whole(self, parts: Sequence[Part]) -> Answer:
        return json_answer(self._message(parts, self._reason(parts)))

    def stream(self, parts: Sequence[Part]) -> Answer:
        found: list[Json] = [{"type": "message_start", "message": self._message([], None)}, {"type": "ping"}]
        for index, part in enumerate(parts):
            empty, pieces = self._pieces(part)
            found.append({"type": "content_block_start", "index": index, "content_block": empty})
            found += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
            found.append({"type": "content_block_stop", "index": index})
        told = {"stop_reason": self._reason(parts), "stop_sequence": None}
        found += [{"type": "message_delta", "delta": told, "usage": self._usage}, {"type": "message_stop"}]
        return sse(*(event(one, one["type"]) for one in found))

    def _pieces(self, part: Part) -> tuple[Json, list[Json]]:
        """A block as it begins, and what is added to it."""
        block = self._block(part)
        if isinstance(part, Thought):
            signed = {"type": "signature_delta", "signature": part.seal}
            said = [{"type": "thinking_delta", "thinking": piece} for piece in halves(part.text)]
            return {**block, "thinking": "", "signature": ""}, [*said, signed]
        if isinstance(part, Called):
            pieces = ["", *halves(compact(part.arguments))]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in halves(part.text)]

    def complain(self, message: str) -> Json:
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_1"}
