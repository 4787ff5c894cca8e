"""A model behind OpenAI's Responses, without storage: its reasoning is encrypted and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tests.clients.scripted.play import (
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
from tests.fakes import Answer, event, json_answer, sse


class Responses(Scripted):
    """Reasoning comes encrypted, for nothing is stored; a call goes with the reasoning before it."""

    speaks = "openai.responses"
    model = "gpt-5.1"
    row: ClassVar[Json] = {"base": "/v1"}
    schema = ("openai.responses.request", "ResponsesRequest")
    signs = True
    _usage: ClassVar[Json] = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }

    def must_return(self, parts: Sequence[Part]) -> list[Part]:
        return list(parts)

    def read(self, body: Json) -> list[Step]:
        steps: list[Step] = []
        items = [] if isinstance(body["input"], str) else body["input"]
        for item in items:
            kind = item.get("type", "message")
            if kind == "function_call_output":
                if not steps:
                    raise Wrong(f"No tool call found for function call output with call_id {item['call_id']}.")
                steps[-1].results.append((item["call_id"], result_text(text_in(item["output"]))))
            elif kind != "message" or item["role"] == "assistant":
                if not steps or steps[-1].results:
                    steps.append(Step([], []))
                steps[-1].parts.append(self._part(item))
        for step in steps:
            answered = {found for found, _ in step.results}
            for call in calls_in(step.parts):
                if call.id not in answered:
                    raise Wrong(f"No tool output found for function call {call.id}.")
        return steps

    def _part(self, item: Json) -> Part:
        if item.get("type") == "reasoning":
            thought = Thought("".join(one["text"] for one in item["summary"]), str(item.get("encrypted_content")))
            self._belongs(item, thought)
            return thought
        if item.get("type") == "function_call":
            return Called(item["call_id"], item["name"], json.loads(item["arguments"]))
        return Said(text_in(item["content"]))

    def _belongs(self, item: Json, thought: Thought) -> None:
        """The state is bound to the id of its item."""
        if item.get("id") not in (None, self._reasoning(thought)["id"]):
            raise Wrong(f"The encrypted content for item {item['id']} could not be verified.")

    def answer_schema(self, body: Json) -> Json:
        return body.get("text", {}).get("format", {}).get("schema")

    def tools(self, body: Json) -> list[str]:
        return [tool["name"] for tool in body.get("tools", ())]

    def _reasoning(self, thought: Thought) -> Json:
        summary = [{"type": "summary_text", "text": thought.text}]
        return {
            "id": f"rs_{self.number:04}{len(thought.text)}",
            "type": "reasoning",
            "summary": summary,
            "encrypted_content": thought.seal,
        }

    def _item(self, part: Part) -> Json:
        if isinstance(part, Thought):
            return self._reasoning(part)
        if isinstance(part, Called):
            named = {"call_id": part.id, "name": part.name, "arguments": compact(part.arguments)}
            return {"id": f"fc_{part.id}", "type": "function_call", "status": "completed", **named}
        content = [{"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}]
        made = {"id": f"msg_{self.answer_id}", "type": "message", "status": "completed", "role": "assistant"}
        return {**made, "content": content}

    def _response(self, output: Sequence[Json], state: str = "completed") -> Json:
        head = {"id": f"resp_{self.answer_id}", "object": "response", "created_at": 1760000000, "model": self.model}
        head |= {"status": state, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}}
        head |= {"parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0}
        return {**head, "output": list(output), "usage": self._usage if state == "completed" else None}

    def whole(self, parts: Sequence[Part]) -> Answer:
        return json_answer(self._response([self._item(part) for part in parts]))

    def stream(self, parts: Sequence[Part]) -> Answer:
        items = [self._item(part) for part in parts]
        found: list[Json] = [{"type": "response.created", "response": self._response([], "in_progress")}]
        for index, item in enumerate(items):
            told = getattr(self, "_tell_" + item["type"])(item, {"item_id": item["id"], "output_index": index})
            found += [{"type": "response.output_item.added", "output_index": index, "item": next(told)}, *told]
            found.append({"type": "response.output_item.done", "output_index": index, "item": item})
        found.append({"type": "response.completed", "response": self._response(items)})
        return sse(*(event({**one, "sequence_number": n}, one["type"]) for n, one in enumerate(found)))

    def _tell_reasoning(self, item: Json, place: Json) -> Iterator[Json]:
        yield {**item, "summary": [], "encrypted_content": None}
        [part] = item["summary"]
        place = {**place, "summary_index": 0}
        kind = "response.reasoning_summary_"
        yield {"type": kind + "part.added", **place, "part": {**part, "text": ""}}
        yield from ({"type": kind + "text.delta", **place, "delta": piece} for piece in halves(part["text"]))
        yield {"type": kind + "text.done", **place, "text": part["text"]}
        yield {"type": kind + "part.done", **place, "part": part}

    def _tell_message(self, item: Json, place: Json) -> Iterator[Json]:
        yield {**item, "content": [], "status": "in_progress"}
        [part] = item["content"]
        place = {**place, "content_index": 0}
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for piece in halves(part["text"]):
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}

    def _tell_function_call(self, item: Json, place: Json) -> Iterator[Json]:
        yield {**item, "arguments": "", "status": "in_progress"}
        for piece in halves(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        named = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **place, **named}

    def complain(self, message: str) -> Json:
        return {"error": {"message": message, "type": "invalid_request_error", "param": "input", "code": None}}
