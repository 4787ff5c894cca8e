"""A model behind an Ollama server: results are told apart by their order."""

from __future__ import annotations

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
    escaped,
    halves,
    result_text,
)
from tests.fakes import Answer, Received, answer, json_answer


class Ollama(Scripted):
    """Results follow in the order of the calls and name their tool; ids are new, and no client has to know them."""

    speaks = "ollama.chat"
    model = "qwen3"
    row: ClassVar[Json] = {"auth": "none"}
    schema = ("ollama.chat.request", "ChatRequest")
    _counts: ClassVar[Json] = {
        "total_duration": 9,
        "load_duration": 1,
        "prompt_eval_count": 9,
        "prompt_eval_duration": 2,
        "eval_count": 3,
        "eval_duration": 3,
    }

    def authenticate(self, request: Received) -> None:
        if request.header("authorization") is not None:
            raise Wrong("nobody asked for a key")

    def wants_stream(self, request: Received, body: Json) -> bool:
        return body.get("stream", True) is not False

    def read(self, body: Json) -> list[Step]:
        steps: list[Step] = []
        for message in body["messages"]:
            if message["role"] == "assistant":
                text = message.get("content")
                calls = [(call.get("id"), call["function"]) for call in message.get("tool_calls") or ()]
                said: list[Part] = [Said(text)] if text else []
                steps.append(Step([*said, *(Called(id, made["name"], made["arguments"]) for id, made in calls)], []))
            elif message["role"] == "tool":
                if not steps:
                    raise Wrong("a result without a call")
                named = message.get("tool_name") or message.get("name")
                steps[-1].results.append((named, result_text(message["content"])))
        return steps

    def must_return(self, parts: Sequence[Part]) -> list[Part]:
        return [part._replace(id=None) if isinstance(part, Called) else part for part in super().must_return(parts)]

    def paired(self, calls: Sequence[Called], results: Sequence[tuple[str | None, str]]) -> dict[str, str]:
        names = [call.name for call in calls]
        if [name for name, _ in results] != names:
            raise Wrong(f"calls {names} have results {[name for name, _ in results]}")
        return dict(zip(names, (text for _, text in results)))

    def answer_schema(self, body: Json) -> Json:
        return body.get("format")

    def _line(self, message: Json, done: str | None = None) -> Json:
        body: Json = {"model": self.model, "created_at": "2026-08-07T06:08:09.335586Z"}
        body |= {"message": {"role": "assistant", "content": "", **message}, "done": done is not None}
        return body | ({"done_reason": done, **self._counts} if done else {})

    def _messages(self, parts: Sequence[Part]) -> Iterator[Json]:
        for index, call in enumerate(calls_in(parts)):
            made = {"index": index, "name": call.name, "arguments": call.arguments}
            yield {"tool_calls": [{"id": call.id, "function": made}]}

    def whole(self, parts: Sequence[Part]) -> Answer:
        said = {"content": "".join(part.text for part in parts if isinstance(part, Said))}
        thought = "".join(part.text for part in parts if isinstance(part, Thought))
        calls = [call for message in self._messages(parts) for call in message["tool_calls"]]
        message = {**said, **({"thinking": thought} if thought else {}), **({"tool_calls": calls} if calls else {})}
        return json_answer(self._line(message, "stop"))

    def stream(self, parts: Sequence[Part]) -> Answer:
        lines = [
            self._line({name: piece})
            for part in parts
            if not isinstance(part, Called)
            for name, text in [("thinking" if isinstance(part, Thought) else "content", part.text)]
            for piece in halves(text)
        ]
        lines += [self._line(message) for message in self._messages(parts)]
        pieces = [(escaped(compact(line)) + "\n").encode() for line in [*lines, self._line({}, "stop")]]
        return answer(200, *pieces, headers={"Content-Type": "application/x-ndjson"}, framing="chunked")

    def complain(self, message: str) -> Json:
        return {"error": message}
