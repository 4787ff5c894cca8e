"""A Gemini model of the third line: its calls are signed."""

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
    escaped,
    halves,
    result_text,
)
from tests.fakes import Answer, Received, event, json_answer, sse


class Gemini(Scripted):
    """The first call of a step is signed. Thoughts are told to those who ask, and need not come back."""

    speaks = "gemini"
    model = "gemini-3-pro-preview"
    row: ClassVar[Json] = {"auth": "google_key"}
    schema = ("gemini.v1beta.request", "GenerateContentRequest")
    signs = True
    _usage: ClassVar[Json] = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 1,
        "totalTokenCount": 12,
    }

    def plot(self) -> list[list[Part]]:
        first, second, last = super().plot()
        return [self._signed(first), self._signed(second), last]

    def _signed(self, parts: list[Part]) -> list[Part]:
        """The seal of the thought stands on the first call."""
        [thought] = [part for part in parts if isinstance(part, Thought)]
        call, *more = calls_in(parts)
        said = [part for part in parts if isinstance(part, Said)]
        return [thought._replace(seal=""), *said, call._replace(seal=thought.seal), *more]

    def authenticate(self, request: Received) -> None:
        if request.header("x-goog-api-key") != KEY:
            raise Wrong("the key is not mine")

    def wants_stream(self, request: Received, body: Json) -> bool:
        return "streamGenerateContent" in request.target

    def read(self, body: Json) -> list[Step]:
        steps: list[Step] = []
        for content in map(camel, body["contents"]):
            if content.get("role") == "model":
                if not steps or steps[-1].results:
                    steps.append(Step([], []))
                steps[-1].parts.extend(self._part(part) for part in content["parts"] if not part.get("thought"))
            elif steps:
                found = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
                if len(found) != len(calls_in(steps[-1].parts)):
                    raise Wrong(
                        "Please ensure that the number of function response parts is equal to the number of "
                        "function call parts of the function call turn."
                    )
                texts = [(one.get("id") or one["name"], result_text(one["response"])) for one in found]
                steps[-1].results.extend(texts)
        return steps

    def _part(self, part: Json) -> Part:
        if "functionCall" not in part:
            return Said(part["text"])
        call, signature = part["functionCall"], part.get("thoughtSignature")
        seal = None if signature is None else standard_base64(signature)
        return Called(call.get("id"), call["name"], call["args"], seal)

    def _check(self, steps: Sequence[Step]) -> None:
        for step in steps:
            first = next(iter(calls_in(step.parts)), None)
            if first is not None and first.seal is None:
                raise Wrong(
                    f"Function call is missing a thought_signature in functionCall parts. Function call `{first.name}`."
                )
        super()._check(steps)

    def tools(self, body: Json) -> list[str]:
        found = [camel(tool).get("functionDeclarations", ()) for tool in body.get("tools", ())]
        return [function["name"] for functions in found for function in functions]

    def answer_schema(self, body: Json) -> Json:
        config = camel(body.get("generationConfig", {}))
        if config.get("responseMimeType") != "application/json":
            return None
        return config.get("responseJsonSchema") or config.get("responseSchema")

    def _parts(self, parts: Sequence[Part]) -> list[Json]:
        found: list[Json] = []
        for part in parts:
            if isinstance(part, Thought):
                found.append({"text": part.text, "thought": True})
            elif isinstance(part, Said):
                found.append({"text": part.text})
            else:
                call = {"functionCall": {"name": part.name, "args": part.arguments, "id": part.id}}
                found.append({**call, "thoughtSignature": part.seal} if part.seal else call)
        return found

    def _answer(self, parts: Sequence[Json], finish: str | None = None) -> Json:
        candidate: Json = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        head = {"modelVersion": self.model, "responseId": f"r{self.answer_id}"}
        return {"candidates": [candidate], "usageMetadata": self._usage, **head}

    def whole(self, parts: Sequence[Part]) -> Answer:
        return json_answer(self._answer(self._parts(parts), "STOP"))

    def stream(self, parts: Sequence[Part]) -> Answer:
        pieces: list[Json] = []
        for part in self._parts(parts):
            texts = halves(part["text"]) if "text" in part else [None]
            pieces += [part if text is None else {**part, "text": text} for text in texts]
        told = [*(self._answer([piece]) for piece in pieces), self._answer([{"text": ""}], "STOP")]
        return sse(*(event(escaped(compact(one))) for one in told))

    def complain(self, message: str) -> Json:
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


_GIVEN = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema"})


def camel(value: Json) -> Json:
    """With the names that the vendor documents: it reads both, and its Python SDK writes some with underscores."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {_camel(name): one for name, one in value.items()}
    return {name: one if name in _GIVEN else camel(one) for name, one in named.items()}


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)


def standard_base64(text: str) -> str:
    """The vendor reads both alphabets, with and without padding."""
    found = text.replace("-", "+").replace("_", "/")
    return found.rstrip("=") + "=" * (-len(found.rstrip("=")) % 4)
