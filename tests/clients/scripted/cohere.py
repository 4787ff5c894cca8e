"""A model behind Cohere's second chat: it plans before it calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from tests.clients.scripted.chat import Chat
from tests.clients.scripted.play import LAST, Called, Json, Part, Said, Thought, Wrong, calls_in, halves
from tests.fakes import DONE, Answer, event, json_answer, sse


class Cohere(Chat):
    """Histories as OpenAI's; a plan before the calls, which need not come back."""

    speaks = "cohere.chat"
    model = "command-a-reasoning-08-2025"
    row: ClassVar[Json] = {}
    schema = ("cohere.v2.request", "V2ChatRequest")
    _usage: ClassVar[Json] = {
        "billed_units": {"input_tokens": 9, "output_tokens": 3},
        "tokens": {"input_tokens": 9, "output_tokens": 3},
        "cached_tokens": 2,
    }

    def plot(self) -> list[list[Part]]:
        """A turn with calls says nothing else."""
        return [[part for part in turn if not isinstance(part, Said)] for turn in super().plot()[:2]] + [[Said(LAST)]]

    def _parts(self, message: Json) -> list[Part]:
        content = message.get("content") or ()
        texts = content if isinstance(content, str) else [one for one in content if one["type"] == "text"]
        return super()._parts({**message, "content": texts})

    def _answered(self, message: Json, after: Sequence[Json]) -> None:
        ids = {call["id"] for call in message.get("tool_calls") or ()}
        if not ids <= {one.get("tool_call_id") for one in after[: len(ids)]}:
            raise Wrong("invalid request: each tool call must have a tool result in the messages after it.")

    def answer_schema(self, body: Json) -> Json:
        return body.get("response_format", {}).get("json_schema")

    def _finish(self, parts: Sequence[Part]) -> str:
        return "TOOL_CALL" if calls_in(parts) else "COMPLETE"

    def whole(self, parts: Sequence[Part]) -> Answer:
        message: Json = {"role": "assistant"}
        plan = "".join(part.text for part in parts if isinstance(part, Thought))
        said = [{"type": "text", "text": part.text} for part in parts if isinstance(part, Said)]
        message |= {"tool_plan": plan} if plan else {}
        message |= {"content": said} if said else {}
        if calls_in(parts):
            message["tool_calls"] = [self._call(call) for call in calls_in(parts)]
        told = {"id": f"c{self.answer_id}", "finish_reason": self._finish(parts), "message": message}
        return json_answer({**told, "usage": self._usage})

    def stream(self, parts: Sequence[Part]) -> Answer:
        begin = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        found: list[Json] = [{"id": f"c{self.answer_id}", **self._told("message-start", begin)}]
        for part in parts:
            if isinstance(part, Thought):
                found += [self._told("tool-plan-delta", {"tool_plan": piece}) for piece in halves(part.text)]
        for index, part in enumerate(part for part in parts if not isinstance(part, Thought)):
            if isinstance(part, Said):
                found += self._tell_text(index, part.text)
            else:
                found += self._tell_call(index, part)
        done = {"finish_reason": self._finish(parts), "usage": self._usage}
        found.append({"type": "message-end", "delta": done})
        return sse(*(event(one, one["type"]) for one in found), DONE)

    def _told(self, kind: str, message: Json, **more: Json) -> Json:
        return {"type": kind, **more, "delta": {"message": message}}

    def _tell_text(self, index: int, text: str) -> Iterator[Json]:
        yield self._told("content-start", {"content": {"type": "text", "text": ""}}, index=index)
        for piece in halves(text):
            yield self._told("content-delta", {"content": {"text": piece}}, index=index)
        yield {"type": "content-end", "index": index}

    def _tell_call(self, index: int, call: Called) -> Iterator[Json]:
        made = self._call(call)
        pieces = halves(made["function"]["arguments"])
        made["function"]["arguments"] = ""
        yield self._told("tool-call-start", {"tool_calls": made}, index=index)
        for piece in pieces:
            told = {"tool_calls": {"function": {"arguments": piece}}}
            yield self._told("tool-call-delta", told, index=index)
        yield {"type": "tool-call-end", "index": index}

    def complain(self, message: str) -> Json:
        return {"id": f"c{self.answer_id}", "message": message}
