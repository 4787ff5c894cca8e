"""Did an answer arrive? What the upstream said against what the caller was told; and the legal order of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.corpus import schema

from . import read_chat, read_gemini
from .meaning import Lost
from .neutral import Answer, Call, Choice, Json, Usage, events, frozen

READ_WHOLE: dict[str, Callable[[Json], Answer]] = {
    "openai.chat": read_chat.read_answer,
    "gemini": read_gemini.read_answer,
}
READ_STREAM: dict[str, Callable[[bytes], Answer]] = {
    "openai.chat": read_chat.read_stream,
    "gemini": read_gemini.read_stream,
}
WHOLE = {
    "openai.chat": ("openai.chat.response", "ChatCompletion"),
    "gemini": ("gemini.v1beta.response", "GenerateContentResponse"),
}
CHUNK = {
    "openai.chat": ("openai.chat.response", "ChatCompletionChunk"),
    "gemini": ("gemini.v1beta.response", "GenerateContentResponse"),
}
_OFFICIAL: dict[tuple[str, str], Any] = {
    ("openai.chat", "whole"): ChatCompletion,
    ("openai.chat", "chunk"): ChatCompletionChunk,
    ("gemini", "whole"): GenerateContentResponse,
    ("gemini", "chunk"): GenerateContentResponse,
}


def fits(body: Json, dialect: str, form: str) -> list[str]:
    """Is it what the schema of the dialect and its official client take?"""
    file, entry = (WHOLE if form == "whole" else CHUNK)[dialect]
    found = [f"schema: {error.json_path} {error.message[:160]}" for error in schema(file, entry).iter_errors(body)]
    try:
        _OFFICIAL[dialect, form].model_validate(body)
    except ValueError as error:
        found.append(f"the official client: {str(error)[:200]}")
    return found


def told(said: Answer, heard: Answer, caller: str, losses: list[Lost] | None = None) -> list[str]:
    """Everything in which the caller heard something else. `losses`: where given, a block left out must be named."""
    if said.blocked and not said.choices:
        return _blocked(said, heard, caller) + _counted(said.usage, heard.usage)
    found = (
        []
        if sorted(said.choices) == sorted(heard.choices)
        else [f"choices {sorted(said.choices)}: {sorted(heard.choices)}"]
    )
    for index in said.choices.keys() & heard.choices.keys():
        found += [
            f"choice {index}: {problem}"
            for problem in _choice(said.choices[index], heard.choices[index], caller, losses)
        ]
    for name in ("id", "model"):
        if getattr(said, name) and getattr(said, name) != getattr(heard, name):
            found.append(f"{name} {getattr(said, name)} became {getattr(heard, name)}")
    if not heard.complete:
        found.append("no clean end")
    return found + _counted(said.usage, heard.usage)


def _blocked(said: Answer, heard: Answer, caller: str) -> list[str]:
    """A prompt that was refused: chat says it as an answer that is filtered, with the reason as a refusal."""
    if caller == "gemini":
        return [] if heard.blocked == said.blocked else [f"blocked {said.blocked}: {heard.blocked}"]
    choice = heard.choices.get(0, Choice())
    well = choice.finish == "content_filter" and choice.refusal and not choice.text
    return [] if well else [f"blocked {said.blocked}: {choice}"]


def _choice(said: Choice, heard: Choice, caller: str, losses: list[Lost] | None) -> Iterator[str]:
    for name in ("text", "reasoning", "media"):
        if name == "text" and caller == "gemini" and heard.text == said.text + said.refusal:
            continue
        if getattr(said, name) != getattr(heard, name):
            yield f"{name} {str(getattr(said, name))[:120]!r}: {str(getattr(heard, name))[:120]!r}"
    yield from _refused(said, heard, caller)
    if said.tokens and said.tokens != heard.tokens:
        yield f"log probabilities of {len(said.tokens)} tokens: of {len(heard.tokens or ())}"
    if heard.finish != _ending(said):
        yield f"finish {said.finish} ({said.word}): {heard.finish} ({heard.word})"
    if [_said(call) for call in said.calls] != [_said(call) for call in heard.calls]:
        yield f"calls {said.calls}: {heard.calls}"
    for one, other in zip(said.calls, heard.calls):
        yield from _identified(one, other, caller)
    ids = [call.id for call in heard.calls]
    if len(set(ids)) < len(ids):
        yield f"ids of calls are not unique: {ids}"
    if (
        said.foreign
        and caller == "openai.chat"
        and losses is not None
        and not any(loss.kind == "dropped" for loss in losses)
    ):
        yield f"{said.foreign} left out without a word"


def _refused(said: Choice, heard: Choice, caller: str) -> Iterator[str]:
    """Gemini has no refusals: there it is text, and the answer ends as filtered."""
    if caller == "gemini" and said.refusal:
        if said.refusal not in (heard.text, heard.refusal, heard.why):
            yield f"refusal {said.refusal!r} did not arrive"
    elif said.refusal != heard.refusal:
        yield f"refusal {said.refusal!r}: {heard.refusal!r}"


def _ending(said: Choice) -> str | None:
    """An answer that failed after it had said something ends as what it said (canonical.md section 4, decision 2)."""
    if said.refusal and said.finish == "stop":
        return "content_filter"
    if said.finish == "error" and said.heard:
        return "tool_calls" if said.calls else "stop"
    return said.finish


def _said(call: Call) -> tuple[str, str]:
    return call.name, frozen(call.arguments)


def _identified(one: Call, other: Call, caller: str) -> Iterator[str]:
    if one.id and one.id != other.id:
        yield f"the id {one.id} became {other.id}"
    if caller == "openai.chat" and not other.id:
        yield "a call without an id"
    if one.signature and caller == "openai.chat" and one.signature != other.signature:
        yield "a call lost its signature"


def _counted(said: Usage | None, heard: Usage | None) -> list[str]:
    if said is None:
        return []
    if heard is None:
        return ["the usage did not arrive"]
    expected = Usage(**vars(said))
    expected.total = said.total or heard.total  # a total that nobody counted may be summed
    return [] if expected == heard else [f"usage {said}: {heard}"]


# ── streams ────────────────────────────────────────────────────────────────────────────


def in_order(data: bytes, dialect: str) -> list[str]:
    """What is wrong with the frames of a stream that ended well."""
    frames = [payload for _, payload in events(data)]
    if dialect == "gemini":
        return [problem for chunk in map(json.loads, frames) for problem in fits(chunk, dialect, "chunk")] + _gemini(
            frames
        )
    if not frames or frames[-1] != b"[DONE]" or b"[DONE]" in frames[:-1]:
        return ["[DONE] does not end it, once"]
    chunks = [json.loads(frame) for frame in frames[:-1]]
    found = [problem for chunk in chunks for problem in fits(chunk, dialect, "chunk")]
    return found + _chat(chunks)


def _gemini(frames: list[bytes]) -> list[str]:
    found = []
    ended: set[int] = set()
    for chunk in map(json.loads, frames):
        for candidate in chunk.get("candidates", ()):
            index = candidate.get("index", 0)
            if index in ended:
                found.append(f"candidate {index} goes on after its finishReason")
            if candidate.get("finishReason"):
                ended.add(index)
    if len({json.loads(frame).get("responseId") for frame in frames}) > 1:
        found.append("more than one responseId")
    return found


def _chat(chunks: list[Json]) -> list[str]:
    found = []
    if len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) > 1:
        found.append("id, created or model change")
    begun: set[int] = set()
    ended: set[int] = set()
    calls: dict[int, list[Json]] = {}
    for i, chunk in enumerate(chunks):
        if not chunk["choices"]:
            if i != len(chunks) - 1 or not chunk.get("usage"):
                found.append("a chunk without choices that is not the usage at the end")
            continue
        if chunk.get("usage") is not None:
            found.append("usage in a chunk with choices")
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            if index in ended:
                found.append(f"choice {index} goes on after its finish_reason")
            if (index in begun) is (delta.get("role") == "assistant"):
                found.append(f"choice {index}: the role is not in its first chunk, and there alone")
            begun.add(index)
            if choice["finish_reason"]:
                ended.add(index)
                if delta:
                    found.append("a delta beside the finish_reason")
            for call in delta.get("tool_calls", ()):
                calls.setdefault(index, []).append(call)
    if begun != ended:
        found.append("a choice without a finish_reason")
    return found + [problem for pieces in calls.values() for problem in _calls(pieces)]


def _calls(pieces: list[Json]) -> list[str]:
    found, names = [], 0
    for piece in pieces:
        if piece.get("id") is not None:
            if piece["index"] != names or not piece["function" if "function" in piece else "custom"].get("name"):
                found.append(f"call {names} begins as {piece}")
            names += 1
        elif piece["index"] >= names:
            found.append(f"a piece of a call that has not begun: {piece}")
    return found
