"""A Claude behind Bedrock's Converse: turns alternate, thinking is signed, streams are frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

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
)
from tests.fakes import Answer, Received, answer, json_answer
from tests.providers.dialects.bedrock.spoken import BEGIN, delta, end, start, stop


class Bedrock(Scripted):
    """Turns alternate; Claude's thinking is signed; streams are frames."""

    speaks = "bedrock.converse"
    model = "us.anthropic.claude-opus-5-5-v1:0"
    schema = ("bedrock.converse.request", "ConverseRequest")
    signs = True

    def _id(self, n: int) -> str:
        return f"tooluse_{self.number:04}{'ABC'[n]}-_"

    def wants_stream(self, request: Received, body: Json) -> bool:
        return request.path.endswith("/converse-stream")

    def must_return(self, parts: Sequence[Part]) -> list[Part]:
        return list(parts)

    def read(self, body: Json) -> list[Step]:
        roles = [message["role"] for message in body["messages"]]
        if roles != [("user", "assistant")[n % 2] for n in range(len(roles))]:
            raise Wrong(f"A conversation must alternate between user and assistant roles: {roles}")
        steps: list[Step] = []
        for at, message in enumerate(body["messages"]):
            if message["role"] == "assistant":
                steps.append(Step([self._part(block) for block in message["content"]], []))
            elif steps:
                found = [block["toolResult"] for block in message["content"] if "toolResult" in block]
                ids = [one["toolUseId"] for one in found]
                missing = [call.id for call in calls_in(steps[-1].parts) if call.id not in ids]
                if missing:
                    listed = ", ".join(missing)
                    raise Wrong(f"Expected toolResult blocks at messages.{at}.content for the following Ids: {listed}")
                texts = [(one["toolUseId"], self._result(one["content"])) for one in found]
                steps[-1].results.extend(texts)
        return steps

    def _result(self, content: Json) -> str:
        [block] = content
        return result_text(block.get("text", block.get("json")))

    def _part(self, block: Json) -> Part:
        if "reasoningContent" in block:
            thought = block["reasoningContent"]["reasoningText"]
            return Thought(thought["text"], thought["signature"])
        if "toolUse" in block:
            call = block["toolUse"]
            return Called(call["toolUseId"], call["name"], call["input"])
        if not block["text"]:
            raise Wrong("messages: text content blocks must be non-empty")
        return Said(block["text"])

    def tools(self, body: Json) -> list[str]:
        return [tool["toolSpec"]["name"] for tool in body.get("toolConfig", {}).get("tools", ())]

    def answer_schema(self, body: Json) -> Json:
        asked = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema", {})
        return json.loads(asked.get("schema", "null"))

    def _block(self, part: Part) -> Json:
        if isinstance(part, Thought):
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.seal}}}
        if isinstance(part, Called):
            return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": part.arguments}}
        return {"text": part.text}

    def _reason(self, parts: Sequence[Part]) -> str:
        return "tool_use" if calls_in(parts) else "end_turn"

    def whole(self, parts: Sequence[Part]) -> Answer:
        usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 6}
        message = {"role": "assistant", "content": [self._block(part) for part in parts]}
        told = {"output": {"message": message}, "stopReason": self._reason(parts)}
        return json_answer({**told, "usage": usage, "metrics": {"latencyMs": 1}})

    def stream(self, parts: Sequence[Part]) -> Answer:
        frames = [BEGIN]
        for index, part in enumerate(parts):
            frames += [*self._pieces(index, part), stop(index)]
        headers = {"Content-Type": "application/vnd.amazon.eventstream"}
        return answer(200, *frames, end(self._reason(parts)), headers=headers, framing="chunked")

    def _pieces(self, index: int, part: Part) -> Iterator[bytes]:
        if isinstance(part, Said):
            yield from (delta(index, text=piece) for piece in halves(part.text))
        elif isinstance(part, Thought):
            yield from (delta(index, reasoningContent={"text": piece}) for piece in halves(part.text))
            yield delta(index, reasoningContent={"signature": part.seal})
        else:
            yield start(index, toolUse={"toolUseId": part.id, "name": part.name})
            yield from (delta(index, toolUse={"input": piece}) for piece in halves(compact(part.arguments)))

    def complain(self, message: str) -> Json:
        return {"message": message}
