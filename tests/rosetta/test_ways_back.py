"""There and back: every meaning from each language to each other and home again loses what both steps declare.

What differs is taken apart into aspects (`said.text`, `said.cache`, `top_k`, `usage.reasoning_tokens`), and a loss
excuses the aspects of what stands at its path, and no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from providers.canonical.chat import ChatRequest, ChatResponse
from providers.canonical.errors import CallerError
from providers.canonical.loss import Loss, Losses
from providers.canonical.stream import fold
from providers.dialect import Dialect, WireResponse
from tests.fidelity.languages import LANGUAGES
from tests.fidelity.meaning import below
from tests.fidelity.through import CALLERS, GEMINI, NAMES, ask, cuts, decoded, passed_on

from . import stone
from .stone import Json, has, meanings

PAIRS = [(a, b) for a in CALLERS for b in CALLERS if a != b]
#: What hangs on a part, and may be lost on its own: how paths call it, and the aspect.
MARKS = {
    "cache_control": "cache",
    "cachePoint": "cache",
    "detail": "detail",
    "mediaResolution": "detail",
    "name": "name",
    "signature": "seal",
    "thoughtSignature": "seal",
    "refusal": "refusal",
    "strict": "strict",
    "description": "description",
}
Aspects = dict[str, list[Json]]


# ── requests ───────────────────────────────────────────────────────────────────────────


def aspects(request: ChatRequest) -> Aspects:
    """Everything that a request means, by what it is: a list of what there is of each, in order."""
    meant = stone.meant(request)
    out: Aspects = {}
    for message in meant.pop("messages"):
        if message.get("name"):
            out.setdefault("said.name", []).append(message["name"])
        for part in message.get("parts", ()):
            _part(out, {"tool": "user"}.get(message["role"], message["role"]), part)
    for tool in meant.pop("tools", ()):
        out.setdefault("tools", []).append(tool.pop("name", None))
        for key, value in tool.items():
            out.setdefault(f"tools.{key}", []).append(value)
    wanted = dict(meant.pop("response_format", {}))
    if "schema" in wanted:
        out |= {f"response_format.schema{path}": [value] for path, value in _leaves(wanted.pop("schema"))}
    out |= {f"response_format.{key}": [value] for key, value in wanted.items()}
    thinking = dict(meant.pop("reasoning", {}))
    if "show" in thinking:
        out["show_reasoning"] = [thinking.pop("show")]
    if thinking:
        out["reasoning"] = [thinking]
    return out | {key: [value] for key, value in meant.items()}


def _part(out: Aspects, role: str, part: Json) -> None:
    part = dict(part)
    kind = part.pop("type")
    for mark in ("cache", "seal", "detail", "citations", "is_error"):
        if mark in part:
            out.setdefault(f"said.{mark}", []).append(part.pop(mark))
    if kind == "tool_result":
        for inner in part.pop("parts", ()):
            _part(out, "result", inner)
    out.setdefault(f"said.{kind}", []).append([role, part])


def _leaves(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    else:
        yield path, value


def named_by(loss: Loss, request: ChatRequest, paths: Mapping[str, str]) -> set[str]:
    """The aspects of what stands at a loss's path, in the request that was to be written."""
    field = loss.field
    if field == "response_format" or field == paths.get("response_format"):
        return {"response_format"}
    head = re.split(r"[.\[]", field)[0]
    if head in ("tools", "functions"):
        inner = field.partition("].")[2].replace("function.", "").partition(".")[0]
        return {f"tools.{inner}"} if inner else {"tools"}
    found: set[str] = set()
    for message in request.messages:
        if message.at and below(message.at, field):
            found |= {_named(part) for part in message.parts} | {"said.name"}
        for part in message.parts:
            found |= _marked(part, field)
            for inner in getattr(part, "parts", ()):
                found |= _marked(inner, field)
    if found:
        return found
    mark = MARKS.get(field.rpartition(".")[2])
    if head in ("messages", "contents", "input", "system", "systemInstruction") and mark:
        return {f"said.{mark}"}
    schema = re.search(r"(?:schema|responseJsonSchema|format)((?:\.properties|\.items|\.\$defs|\.anyOf).*)", field)
    if schema is not None:
        return {
            f"response_format.schema{schema[1]}",
            f"response_format.schema{schema[1].rpartition('.')[0]}.description",
        }
    found = {word for word, path in paths.items() if "." not in word and below(field, path)} or {head}
    if "reasoning" in found and loss.kind == "dropped":
        found.add("show_reasoning")  # there is no thinking to show
    return found


def _named(part: Any) -> str:
    return f"said.{type(part).__struct_config__.tag}"


def _marked(part: Any, field: str) -> set[str]:
    """What of a part is named: a mark of it, or all of it."""
    if part.seal is not None and part.seal.at == field:
        return {"said.seal"}
    if part.cache is not None and part.cache.at == field:
        return {"said.cache"}
    if not part.at or not (below(part.at, field) or below(field, part.at)):
        return set()
    if not below(part.at, field):
        mark = MARKS.get(field.rpartition(".")[2])
        return {f"said.{mark}"} if mark else {_named(part)}
    also = {"tool_result": {"said.text", "said.is_error"}, "refusal": {"said.text"}}
    kind = _named(part)
    return {kind, "said.seal"} | also.get(kind.removeprefix("said."), set())


class Step(NamedTuple):
    """One way: what arrived, and the aspects that its losses name."""

    request: ChatRequest
    named: set[str]


def _step(request: ChatRequest, caller: Dialect, target: str) -> Step:
    losses: Losses = []
    request = msgspec.structs.replace(request, model=LANGUAGES[target].models[0])
    dialect = NAMES[target]
    body = json.loads(dialect.encode_request(request, losses).body)
    params = {"model": "gemini-2.5-flash", "task": "generateContent"} if dialect is GEMINI else {}
    arrived = dialect.decode_request(ask(dialect, body, params))
    paths = {**caller.paths, **(request.paths or {})}
    return Step(arrived, {aspect for loss in losses for aspect in named_by(loss, request, paths)})


def _changed(one: Aspects, other: Aspects) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


#: What may differ though it is no loss: the meaning, the language on the way, the aspect, and why.
KEPT_OTHERWISE: list[tuple[str, str, str, str]] = [
    ("json-mode", "anthropic.messages", "said.text", "named as response_format: the model is told to answer so"),
    ("must-call-this", "ollama.chat", "tools.*", "named as tool_choice: only the one that must be called is shown"),
    ("must-not-call", "ollama.chat", "tools.*", "named as tool_choice: the model is told of no tools"),
    ("think-hard", "ollama.chat|anthropic.messages", "show_reasoning", "thinking is shown unasked"),
    ("think-in-tokens", "ollama.chat|anthropic.messages", "show_reasoning", "thinking is shown unasked"),
    ("thinking-and-tools", "gemini", "show_reasoning", "shown to callers whose dialect has a place for it (gemini.md)"),
    ("strict-tool", "gemini", "tools.strict", "carried as the mode that holds all calls to their schemas"),
    ("picture-in-answer", ".*", "modalities", "text, the default: the picture was lost before"),
]


def there_and_back(meaning: str, home: str, abroad: str) -> tuple[set[str], set[str]]:
    """(aspects that differ, aspects that are named). A refusal ends it: nothing has been lost then."""
    request = stone.read_request(meaning, home)
    try:
        there = _step(request, NAMES[home], abroad)
        back = _step(there.request, NAMES[abroad], home)
    except CallerError as error:
        assert error.param, error.message
        return set(), set()
    return _changed(aspects(request), aspects(back.request)), there.named | back.named


@pytest.mark.parametrize("meaning", meanings())
def test_requests_there_and_back_lose_what_is_named(meaning: str) -> None:
    """A -> B -> A: what differs then is what the losses of the two steps name, or what the table has a reason for."""
    wrong = []
    for home, abroad in PAIRS:
        if not has(meaning, f"{home}.request.json"):
            continue
        changed, named = there_and_back(meaning, home, abroad)
        for what in changed - {one for one in changed if _covered(one, named) or _listed(meaning, abroad, one)}:
            wrong.append(f"{home} -> {abroad} -> {home}: {what} was lost, named are {sorted(named)}")

    assert [] == wrong


def _covered(what: str, named: set[str]) -> bool:
    """Is an aspect named, or that which it belongs to?"""
    return what in named or any(one and what.startswith(f"{one}.") for one in named)


def _listed(meaning: str, abroad: str, what: str) -> bool:
    return any(
        one == meaning and re.fullmatch(way, abroad) and re.fullmatch(kept, what)
        for one, way, kept, _ in KEPT_OTHERWISE
    )


def test_the_table_holds_nothing_that_is_not_needed() -> None:
    """Each of its rows has a way on which that aspect differs and is not named."""
    for meaning, way, what, _ in KEPT_OTHERWISE:
        ways = [
            there_and_back(meaning, a, b)
            for a, b in PAIRS
            if re.fullmatch(way, b) and has(meaning, f"{a}.request.json")
        ]
        unnamed = [one for changed, named in ways for one in changed if not _covered(one, named)]

        assert any(re.fullmatch(what, one) for one in unnamed), (meaning, way)


def test_a_loss_excuses_what_it_names_alone() -> None:
    """The rule itself: a parameter that nobody names is one that was lost, and a lost cache mark excuses no text."""
    body = {**LANGUAGES["anthropic.messages"].hello, "top_k": 3}
    body["messages"] = [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}
    ]
    dialect = NAMES["anthropic.messages"]
    request = dialect.decode_request(ask(dialect, body))

    assert {"seed"} == _changed({"seed": [1], "n": [2]}, {"n": [2]})
    assert {"top_k"} == named_by(Loss("top_k", "dropped", ""), request, dialect.paths)
    assert {"said.cache"} == named_by(
        Loss("messages[0].content[0].cache_control", "dropped", ""), request, dialect.paths
    )
    assert "said.text" in named_by(Loss("messages[0].content[0]", "dropped", ""), request, dialect.paths)
    assert not _covered("said.text", {"said.cache", "top_k"})


# ── answers ────────────────────────────────────────────────────────────────────────────

_HEAD = r"(?:message|choices\[\d+\]\.(?:message|delta)|output(?:\[\d+\])?|content(?:\[\d+\])?)"
#: The aspects of an answer that a loss names, by its path: what stands there, or would have stood.
ANSWERED: list[tuple[str, tuple[str, ...]]] = [
    (rf"{_HEAD}\.(?:citations|annotations)|groundingMetadata", ("citations",)),
    (r"logprobs", ("logprobs",)),
    (r"done_reason|finishReason|stop_reason|status|choices\[\d+\]\.finish_reason", ("finish",)),
    (r"stop_sequence", ("stop_sequence",)),
    (r"stop_details", ("why",)),
    (r"choices", ("other choices",)),
    (rf"{_HEAD}\.(?:signature|encrypted_content|data)|signature", ("seal",)),
    (rf"{_HEAD}\.reasoning|reasoning", ("reasoning", "seal")),
    (rf"{_HEAD}\.(?:tool_calls|input)|arguments", ("tool_call",)),
    (r"message\.content", ("refusal", "text")),
    (r"audioTranscription", ("transcript",)),
    (rf"{_HEAD}\.image", ("image",)),
    (r"content\[\d+\]\.audio", ("audio", "transcript", "text")),  # what was said is told as text
    (rf"{_HEAD}\.(?:audio|file)", ("audio", "transcript")),
    (r"expires_at", ()),
]
#: What an answer may tell otherwise though it is no loss: the meaning, the way (home to abroad), what, and why.
TOLD_OTHERWISE: list[tuple[str, str, str, str]] = [
    (
        "blocked-prompt",
        "gemini to .*",
        "blocked|finish|text|why",
        "only Gemini blocks prompts: elsewhere the answer is one that a filter ended, with the reason",
    ),
    (
        "blocked-prompt|refusal",
        ".*",
        "refusal|text|why",
        "one refuses in a part of its own, another in a text that a filter ended, a third in an explanation",
    ),
    (
        "refusal",
        "openai.responses to .*",
        "finish",
        "a refusal in the answer is what ended it, where others have a word for that",
    ),
    (
        "hidden-thinking|sealed-call|thinking-and-tools",
        "openai.responses to anthropic.messages|anthropic.messages to openai.responses",
        "seal|reasoning",
        "state of other models travels in the caller's form, and is that of its model again when it comes back",
    ),
    (
        "hidden-thinking|sealed-call",
        "(openai.responses|anthropic.messages) to (openai.chat|ollama.chat)",
        "reasoning",
        "hidden thinking is nothing but its state, which is named",
    ),
    ("sealed-call", ".* to ollama.chat", "seal", "a call's is remembered by the gateway (router/state/seals.py)"),
    ("log-probabilities", "ollama.chat to gemini", "logprobs", "the bytes of a token are those of its text"),
    (
        ".*",
        ".* to ollama.chat",
        r"usage\.(cache_read|cache_write|reasoning)_tokens",
        "the caller's own convention of counting has two totals",
    ),
    (
        ".*",
        ".* to gemini",
        r"usage\.cache_write_tokens",
        "the caller's own convention counts what was read from a cache",
    ),
]


def told_aspects(response: ChatResponse) -> Aspects:
    """Everything that an answer says, by what it is."""
    meant = stone.meant(response)
    out: Aspects = {}
    if "blocked" in meant:
        out["blocked"] = [meant["blocked"]]
    out |= {f"usage.{key}": [value] for key, value in meant.get("usage", {}).items()}
    for choice in meant.get("choices", ()):
        if choice.get("index"):
            out.setdefault("other choices", []).append(choice)
            continue
        for part in choice.get("parts", ()):
            _told_part(out, dict(part))
        finish = choice.get("finish", {})
        out |= {key: [finish[word]] for key, word in FINISH.items() if word in finish}
        if "logprobs" in choice:
            out["logprobs"] = [choice["logprobs"]]
    return out


FINISH = {"finish": "reason", "stop_sequence": "stop_sequence", "why": "message"}


def _told_part(out: Aspects, part: Json) -> None:
    kind = part.pop("type")
    if kind == "media":
        kind = part.pop("kind")
    for mark in ("seal", "citations", "transcript"):
        if mark in part:
            out.setdefault(mark, []).append(part.pop(mark))
    if part:
        out.setdefault(kind, []).append(part)


def told_named(loss: Loss, said: ChatResponse) -> set[str]:
    """The aspects that a loss names: by its path, or by what stood there; the path itself where nobody knows it."""
    for pattern, found in ANSWERED:
        if re.fullmatch(pattern, loss.field):
            return set(found)
    for choice in said.choices:
        for part in choice.parts:
            if part.at and loss.field == part.at:
                kind = getattr(part, "kind", "") or str(type(part).__struct_config__.tag)
                return {kind, "seal", "transcript", "text" if loss.kind == "approximated" else kind}
    return {loss.field}


def _answer_back(meaning: str, home: str, abroad: str) -> tuple[set[str], set[str]]:
    """(what differs of an answer told to a caller of another language, and then to one of the first; what is named)."""
    losses: Losses = []
    said = stone.read_answer(meaning, home)
    there = NAMES[abroad].encode_response(said, stone.asked_by(abroad), losses)
    heard = NAMES[abroad].decode_response(WireResponse(status=200, headers={}, body=there.body))
    back = NAMES[home].encode_response(heard, stone.asked_by(home), losses)
    again = NAMES[home].decode_response(WireResponse(status=200, headers={}, body=back.body))
    return _changed(told_aspects(said), told_aspects(again)), _all_named(losses, stone.read_answer(meaning, home))


def _stream_back(meaning: str, home: str, abroad: str) -> tuple[set[str], set[str]]:
    """The same of a stream."""
    losses: Losses = []
    data = stone.told_streamed(meaning, home)
    there, fault = passed_on(NAMES[abroad], NAMES[home], cuts(data, 50), losses)
    back, other = passed_on(NAMES[home], NAMES[abroad], cuts(there, 50), losses)
    assert (fault, other) == (None, None)
    said, again = fold(decoded(NAMES[home], [data])), fold(decoded(NAMES[home], [back]))
    return _changed(told_aspects(said), told_aspects(again)), _all_named(losses, stone.read_answer(meaning, home))


def _all_named(losses: Losses, said: ChatResponse) -> set[str]:
    return {aspect for loss in losses for aspect in told_named(loss, said)}


@pytest.mark.parametrize("meaning", meanings())
def test_answers_there_and_back_lose_what_is_named(meaning: str) -> None:
    """A -> B -> A, whole and streamed: what differs is what losses of the two steps name, or the table has a reason."""
    wrong = []
    for home, abroad in PAIRS:
        if not has(meaning, f"{home}.answer.json"):
            continue
        for how, way in (("whole", _answer_back), ("streamed", _stream_back)):
            changed, named = way(meaning, home, abroad)
            missing = [one for one in changed - named if not _told_otherwise(meaning, f"{home} to {abroad}", one)]
            wrong += [f"{home} to {abroad} and back, {how}: {one}; named are {sorted(named)}" for one in missing]

    assert [] == wrong


def test_the_table_of_answers_holds_nothing_that_is_not_needed() -> None:
    """Each of its rows has a way on which that aspect differs and is not named."""
    answered = [meaning for meaning in meanings() if "answer" in stone.canonical(meaning)]
    found = []
    for meaning in answered:
        for home, abroad in PAIRS:
            if has(meaning, f"{home}.answer.json"):
                changed, named = _answer_back(meaning, home, abroad)
                found += [(meaning, f"{home} to {abroad}", one) for one in changed - named]
    unused = [
        row
        for row in TOLD_OTHERWISE
        if not any(all(re.fullmatch(*pair) for pair in zip(row, one, strict=False)) for one in found)
    ]

    assert [] == unused


def _told_otherwise(meaning: str, way: str, what: str) -> bool:
    return any(
        re.fullmatch(one, meaning) and re.fullmatch(ways, way) and re.fullmatch(kept, what)
        for one, ways, kept, _ in TOLD_OTHERWISE
    )
