"""Did an answer arrive? What the upstream said against what the caller was told; and the legal order of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from .languages import LANGUAGES, fits
from .meaning import Lost
from .neutral import Answer, Call, Choice, Json, Usage, events, frozen, lines, unescaped
from .read_responses import Hearing

READ_WHOLE: dict[str, Callable[[Json], Answer]] = {name: one.read_answer for name, one in LANGUAGES.items()}
READ_STREAM: dict[str, Callable[[bytes], Answer]] = {name: one.read_stream for name, one in LANGUAGES.items()}
#: Languages that hold one answer, without media of the model.
SINGLE = ("anthropic.messages", "openai.responses", "ollama.chat")
#: Those whose callers cannot ask for log probabilities: an upstream that tells them unasked tells them to nobody.
UNASKED = ("anthropic.messages",)
#: How losses name media, and sources.
MEDIA = r".*\.(image|audio|video|file)"
SOURCES_OF = r".*(citations|annotations|groundingMetadata)|citationMetadata"
#: Those that have refusals.
REFUSING = ("openai.chat", "openai.responses")
#: Those whose answers have no ids of their own, and whose calls have none.
NAMELESS = ("ollama.chat",)


def told(said: Answer, heard: Answer, caller: str, losses: list[Lost] | None = None) -> list[str]:
    """Everything in which the caller heard something else. `losses`: where given, what is left out must be named."""
    if said.blocked and not said.choices:
        return _blocked(said, heard, caller) + _counted(said.usage, heard.usage, caller)
    found = []
    if sorted(said.choices) != sorted(heard.choices):
        first_alone = caller in SINGLE and list(heard.choices) == [0] and _named(losses, r"choices")
        if not first_alone:
            found.append(f"choices {sorted(said.choices)}: {sorted(heard.choices)}")
    for index in said.choices.keys() & heard.choices.keys():
        found += [
            f"choice {index}: {problem}"
            for problem in _choice(said.choices[index], heard.choices[index], caller, losses, said.loose or heard.loose)
        ]
    for name in ("id", "model"):
        if name == "id" and caller in NAMELESS:
            continue
        was, now = getattr(said, name), getattr(heard, name)
        if name == "id" and caller == "openai.responses" and now:
            now = now if was and was.startswith("resp_") else now.removeprefix("resp_")
        if was and was != now:
            found.append(f"{name} {getattr(said, name)} became {getattr(heard, name)}")
    if not heard.complete:
        found.append("no clean end")
    return found + _counted(said.usage, heard.usage, caller)


def _named(losses: list[Lost] | None, pattern: str) -> bool:
    """Does a loss name it? Where the losses are not known (None), all may be."""
    return losses is None or any(re.fullmatch(pattern, loss.field) for loss in losses)


def _blocked(said: Answer, heard: Answer, caller: str) -> list[str]:
    """A prompt that was refused: others say it as an answer that is filtered, with the reason as a refusal."""
    if caller == "gemini":
        return [] if heard.blocked == said.blocked else [f"blocked {said.blocked}: {heard.blocked}"]
    choice = heard.choices.get(0, Choice())
    if caller == "ollama.chat":
        return [] if choice.text and choice.finish == "stop" else [f"blocked {said.blocked}: {choice}"]
    well = choice.finish == "content_filter" and (choice.refusal or choice.why) and not choice.text
    return [] if well else [f"blocked {said.blocked}: {choice}"]


def _choice(said: Choice, heard: Choice, caller: str, losses: list[Lost] | None, loose: bool) -> Iterator[str]:
    texts = {said.text}
    if caller not in REFUSING:
        texts.add(said.text + said.refusal)
    if said.media and not heard.media and _named(losses, r".*\.audio"):
        texts.add(said.text + said.transcript)
    if heard.text not in texts:
        yield f"text {said.text[:120]!r}: {heard.text[:120]!r}"
    if said.reasoning != heard.reasoning and not (loose and _squeezed(said.reasoning) == _squeezed(heard.reasoning)):
        yield f"reasoning {said.reasoning[:120]!r}: {heard.reasoning[:120]!r}"
    if said.media != heard.media and not (caller in SINGLE and not heard.media and _named(losses, MEDIA)):
        yield f"media {said.media}: {heard.media}"
    yield from _refused(said, heard, caller, losses)
    if said.tokens and said.tokens != heard.tokens and not (caller in UNASKED and _named(losses, "logprobs")):
        yield f"log probabilities of {len(said.tokens)} tokens: of {len(heard.tokens or ())}"
    if heard.finish not in _endings(said, caller, losses):
        yield f"finish {said.finish} ({said.word}): {heard.finish} ({heard.word})"
    if [_said(call, caller) for call in said.calls] != [_said(call, caller) for call in heard.calls]:
        yield f"calls {said.calls}: {heard.calls}"
    for one, other in zip(said.calls, heard.calls):
        yield from _identified(one, other, caller)
    ids = [call.id for call in heard.calls if call.id]
    if len(set(ids)) < len(ids):
        yield f"ids of calls are not unique: {ids}"
    if set(heard.sources) - set(said.sources):
        yield f"sources {said.sources}: {heard.sources}"
    missing = set(said.sources) - set(heard.sources)
    foreign = [one for one in said.foreign if not (one == "redacted_thinking" and heard.seals)]
    if missing and not _named(losses, SOURCES_OF):
        yield f"sources {missing} left out without a word"
    if losses is not None and sum(loss.kind == "dropped" for loss in losses) < len(set(foreign)):
        yield f"{foreign} left out without a word"


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _refused(said: Choice, heard: Choice, caller: str, losses: list[Lost] | None) -> Iterator[str]:
    """Only OpenAI has refusals: elsewhere they are text, or the reason why it ended as filtered."""
    if caller not in REFUSING and said.refusal:
        named = caller == "ollama.chat" and said.refusal == said.why and _named(losses, "done_reason")
        if not heard.text.endswith(said.refusal) and said.refusal not in (heard.refusal, heard.why) and not named:
            yield f"refusal {said.refusal!r} did not arrive"
    elif said.refusal != heard.refusal:
        yield f"refusal {said.refusal!r}: {heard.refusal!r}"


def _endings(said: Choice, caller: str, losses: list[Lost] | None) -> tuple[str | None, ...]:
    """An answer that failed after it had said something ends as what it said (canonical.md section 4, decision 2);
    one that pauses ends where there is no such word.
    """
    named = _named(losses, r"done_reason|finishReason|status|stop_reason|choices\[\d+\]\.finish_reason")
    if caller == "ollama.chat" and named and (said.refusal or said.finish == "content_filter"):
        return ("stop", "tool_calls")  # it has no such word
    if said.refusal:
        return ("content_filter", *(("stop",) if caller in REFUSING else ()))
    if said.finish == "error" and said.heard:
        return ("tool_calls" if said.calls else "stop",)
    if said.finish == "pause":
        return ("pause", *(("stop", "length") if named else ()))
    return (said.finish,)


def _said(call: Call, caller: str) -> tuple[str, str]:
    """Free text, as some tools of OpenAI's take it, stands under one name where arguments are objects."""
    free = isinstance(call.arguments, str) and caller not in REFUSING
    return call.name, frozen({"input": call.arguments} if free else call.arguments)


def _identified(one: Call, other: Call, caller: str) -> Iterator[str]:
    if one.id and one.id != unescaped(other.id or "") and caller not in NAMELESS:
        yield f"the id {one.id} became {other.id}"
    if caller == "openai.chat" and not other.id:
        yield "a call without an id"
    if one.signature and caller == "openai.chat" and one.signature != other.signature:
        yield "a call lost its signature"


#: What the counts of a language leave out, by its own convention (canonical.md section 5; schemas of tests/specs).
_UNCOUNTED: dict[str, tuple[str, ...]] = {
    "ollama.chat": ("cached", "reasoning", "total", "kept", "sound", "pictures"),
    "anthropic.messages": ("total", "sound", "pictures"),
    "openai.responses": ("sound", "pictures"),
    "gemini": ("kept",),
}


def _counted(said: Usage | None, heard: Usage | None, caller: str) -> list[str]:
    if said is None:
        return []
    if heard is None:
        return ["the usage did not arrive"]
    expected = Usage(**vars(said))
    expected.total = said.total or heard.total  # a total that nobody counted may be summed
    for name in _UNCOUNTED.get(caller, ()):
        setattr(expected, name, getattr(heard, name) if name == "total" else getattr(Usage(), name))
    # Of a server that miscounts the totals hold: no part is told as more than its whole.
    expected.cached = min(expected.cached, expected.input)
    expected.reasoning = min(expected.reasoning, expected.output)
    return [] if expected == heard else [f"usage {said}: {heard}"]


# ── streams ────────────────────────────────────────────────────────────────────────────


def in_order(data: bytes, dialect: str) -> list[str]:
    """What is wrong with the frames of a stream that ended well."""
    if dialect == "ollama.chat":
        return _ollama(lines(data))
    found = events(data)
    frames = [payload for _, payload in found]
    if dialect == "openai.chat":
        if not frames or frames[-1] != b"[DONE]" or b"[DONE]" in frames[:-1]:
            return ["[DONE] does not end it, once"]
        frames = frames[:-1]
    chunks = [json.loads(frame) for frame in frames]
    problems = [problem for chunk in chunks for problem in fits(chunk, dialect, "chunk")]
    match dialect:
        case "openai.chat":
            return problems + _chat(chunks)
        case "gemini":
            return problems + _gemini(frames)
    problems += [f"event {name} brings {one['type']}" for (name, _), one in zip(found, chunks) if name != one["type"]]
    return problems + (_responses(chunks) if dialect == "openai.responses" else _anthropic(chunks))


def _ollama(chunks: list[Json]) -> list[str]:
    """Each line a piece of the message; the last one alone is done, and counts."""
    found = [problem for chunk in chunks for problem in fits(chunk, "ollama.chat", "chunk")]
    if [chunk["done"] for chunk in chunks] != [False] * (len(chunks) - 1) + [True]:
        found.append("done is not said by the last line alone")
    if not all(chunk.get("model") and chunk.get("created_at") and "message" in chunk for chunk in chunks):
        found.append("a line without model, created_at or message")
    return found + ([] if chunks and chunks[-1].get("done_reason") else ["no done_reason"])


def _anthropic(chunks: list[Json]) -> list[str]:
    """message_start, blocks one after the other, each opened and closed, message_delta, message_stop."""
    found: list[str] = []
    chunks = [chunk for chunk in chunks if chunk["type"] != "ping"]
    kinds = [chunk["type"] for chunk in chunks]
    if kinds[:1] != ["message_start"] or kinds[-2:] != ["message_delta", "message_stop"]:
        return [f"begins {kinds[:1]}, ends {kinds[-2:]}"]
    opened, ended = None, -1
    fitting = {
        "text_delta": "text",
        "citations_delta": "text",
        "thinking_delta": "thinking",
        "signature_delta": "thinking",
        "input_json_delta": "tool_use",
    }
    for chunk in chunks[1:-2]:
        match chunk["type"]:
            case "content_block_start":
                if opened is not None or chunk["index"] != ended + 1:
                    found.append(f"block {chunk['index']} begins while {opened} is open, after {ended}")
                opened, kind = chunk["index"], chunk["content_block"]["type"]
            case "content_block_delta":
                if chunk["index"] != opened or fitting.get(chunk["delta"]["type"]) != kind:
                    found.append(f"{chunk['delta']['type']} for {chunk['index']} while {opened} ({kind}) is open")
            case "content_block_stop":
                if chunk["index"] != opened:
                    found.append(f"{chunk['index']} stops while {opened} is open")
                opened, ended = None, chunk["index"]
            case other:
                found.append(f"{other} amid the blocks")
    if opened is not None:
        found.append(f"block {opened} is not closed")
    return found


def _responses(chunks: list[Json]) -> list[str]:
    """Numbered from 0; created first, one end last; items one by one, and the last event repeats what they said."""
    found: list[str] = []
    if [chunk["sequence_number"] for chunk in chunks] != list(range(len(chunks))):
        found.append("sequence_number does not count from 0")
    kinds = [chunk["type"] for chunk in chunks]
    if kinds[:2] != ["response.created", "response.in_progress"]:
        found.append(f"begins {kinds[:2]}")
    ends = [kind for kind in kinds if kind in ("response.completed", "response.incomplete", "response.failed")]
    if len(ends) != 1 or kinds[-1] != ends[0]:
        return [*found, f"ends {kinds[-1]}, with {ends}"]
    added: dict[int, Json] = {}
    done: dict[int, Json] = {}
    hearing = Hearing()
    for chunk in chunks[2:-1]:
        index = chunk.get("output_index")
        kind = chunk["type"]
        if kind == "response.output_item.added":
            if index != len(added):
                found.append(f"item {index} is added after {len(added)}")
            added[index] = chunk["item"]
        elif index not in added or index in done:
            found.append(f"{kind} of item {index}, which is not open")
        if kind == "response.output_item.done":
            before = hearing.found.get(index)
            if before is not None and _item(before) != _item(chunk["item"]):
                found.append(f"item {index} was {_item(before)} and is done as {_item(chunk['item'])}")
            done[index] = chunk["item"]
        elif "item_id" in chunk and chunk["item_id"] != added.get(index, {}).get("id"):
            found.append(f"{kind} is of item {chunk['item_id']}")
        hearing.hear(kind, chunk)
    if added.keys() != done.keys():
        found.append(f"items {sorted(added)} are added, {sorted(done)} done")
    if [done[index] for index in sorted(done)] != chunks[-1]["response"]["output"]:
        found.append("the last event has another output")
    ids = [item.get("id") for item in done.values()]
    if len(set(ids)) < len(ids) or len({chunk["response"]["id"] for chunk in chunks if "response" in chunk}) != 1:
        found.append("ids are not unique, or the answer's changes")
    return found


def _item(item: Json) -> Json:
    """What an item says, for comparing its pieces with its whole."""
    texts = [part.get("text") or part.get("refusal") or "" for part in item.get("content") or ()]
    summaries = [part.get("text") or "" for part in item.get("summary") or ()]
    return [item["type"], texts, summaries, item.get("arguments"), item.get("input"), item.get("call_id")]


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
