"""The stone: one meaning a folder, written in every language. How its files are read, and made from the meaning.

    canonical.json              what it is about, and the request, the answer or the error as canonical values
    LANGUAGE.request.json       the body for an upstream of the language, which a caller of it would send
    LANGUAGE.answer.json        what a caller is told
    LANGUAGE.stream.txt         the same as a stream
    LANGUAGE.error.json         status, headers and body of an error
    LANGUAGE.losses.json        what that language cannot say of it: losses by request, answer, stream; or a refusal

The files of the languages are made by the codecs (`write`) and read by people; what holds them is that codecs and
independent readers agree on them, and that every way from one to another is tried. Languages that are spoken to
upstreams only have no codec that writes answers: theirs are written by hand, as their services write them.

    LANGUAGE.stream.jsonl       a stream of Bedrock's, an event a line; its frames are binary
    LANGUAGE.unsaid.json        what of the answer that language cannot say, as pairs of path and reason: `answer`, all
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from providers.canonical import errors
from providers.canonical.chat import ChatRequest, ChatResponse, Tool
from providers.canonical.errors import CallerError, RouterError
from providers.canonical.loss import Losses
from providers.canonical.stream import unfold
from providers.dialect import Dialect, WireResponse
from tests.answers import bedrock_frame
from tests.fidelity.languages import LANGUAGES
from tests.fidelity.neutral import unescaped
from tests.fidelity.through import CALLERS, GEMINI, NAMES, ask, caller_of

Json = Any
FOLDER = Path(__file__).parent
#: Languages whose answers are written by hand.
BY_HAND = [name for name in NAMES if name not in CALLERS]
HINTS = typing.get_type_hints(ChatRequest)
#: What no meaning has: how and where a caller wrote it, and who made what.
VOLATILE = ("form", "at", "dialect", "paths", "model", "stream", "include_usage", "invented_id", "raw", "name", "extra")


def meanings() -> list[str]:
    return sorted(path.parent.name for path in FOLDER.glob("*/canonical.json"))


def canonical(meaning: str) -> dict[str, Json]:
    return load(meaning, "canonical.json")


def load(meaning: str, name: str) -> Json:
    return json.loads((FOLDER / meaning / name).read_text(encoding="utf-8"))


def has(meaning: str, name: str) -> bool:
    return (FOLDER / meaning / name).exists()


def dumped(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


# ── canonical values ───────────────────────────────────────────────────────────────────


def request_of(meaning: str, model: str) -> ChatRequest:
    """The request, for a model."""
    raw = dict(canonical(meaning)["request"])
    fields: dict[str, Any] = {"tools": tuple(msgspec.convert(one, Tool) for one in raw.pop("tools", ()))}
    for key, value in raw.items():
        fields[key] = msgspec.convert(value, HINTS[key])
    return ChatRequest(dialect="canonical", model=model, **fields)


def answer_of(meaning: str) -> ChatResponse:
    made = msgspec.convert(canonical(meaning)["answer"], ChatResponse)
    return msgspec.structs.replace(made, id="answer-1", model="model-1", created=1_760_000_000)


def error_of(meaning: str) -> RouterError:
    raw = dict(canonical(meaning)["error"])
    made: RouterError = getattr(errors, raw.pop("class"))(**raw)
    return made


def meant(value: Json) -> Json:
    """A canonical value without what is no part of its meaning; calls by number, arguments and results as JSON."""
    raw = msgspec.to_builtins(value)
    numbers: dict[str, int] = {}
    bare = _bare(raw, numbers)
    for key in ("store", "tool_choice"):
        if bare.get(key) in (False, {"mode": "auto"}):
            del bare[key]
    reasoning = bare.get("reasoning") or {}
    if reasoning in ({"effort": "none"}, {"budget": 0}):
        bare.pop("reasoning")
    return bare


#: What has a name that matters, by what else it has: calls, tools, turns. A file's, a schema's, a result's do not.
_NAMED = {"arguments", "description", "parameters", "role"}
#: Marks that are the default.
_LABELS = {"detail": "auto"}


def _bare(raw: Json, numbers: dict[str, int]) -> Json:
    if isinstance(raw, list | tuple):
        return [_bare(one, numbers) for one in raw]
    if not isinstance(raw, dict):
        return raw
    out = {}
    for key, value in raw.items():
        if key in VOLATILE and not (key == "name" and raw.keys() & _NAMED):
            continue
        if _LABELS.get(key) == value and key in _LABELS:
            continue
        if key == "strict" and raw.get("kind") == "json_schema":
            continue  # where there is no such mark, answers are held to their schema in any case
        if key == "mime_type" and ("url" in raw or raw.get("kind") == "audio"):
            continue  # in an address, or in what was asked for
        bare = _bare(value, numbers)
        if key == "arguments" or (key == "text" and isinstance(value, str)):
            bare = _parsed(value)
        if key in ("id", "call_id") and isinstance(value, str):
            bare = numbers.setdefault(value, len(numbers)) if value.startswith("call_") else "an id"
        if key == "name":
            bare = unescaped(value)
        if key == "parameters" and bare == {"type": "object"}:
            continue
        if key.endswith("_tokens") and bare == 0:
            continue  # a part that was not counted, or of which there was none
        if bare is not False and bare not in (None, [], {}, ""):
            out[key] = bare
    return out


def _parsed(text: str) -> Json:
    """What a tool gave back is an object in some languages, the text of one in others."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


# ── what the languages make of them ────────────────────────────────────────────────────


def losses_of(losses: Losses) -> list[list[str]]:
    seen = dict.fromkeys((loss.field, loss.kind, loss.reason) for loss in losses)
    return [list(one) for one in seen]


def made(meaning: str, language: str) -> dict[str, str]:
    """File name -> text of everything that a language says of a meaning."""
    dialect, raw = NAMES[language], canonical(meaning)
    out: dict[str, Json] = {}
    lost: dict[str, Json] = {}
    if "request" in raw:
        _request(meaning, language, out, lost)
    if "answer" in raw and language in CALLERS:
        _answer(meaning, dialect, out, lost)
    if "error" in raw and language in CALLERS:
        wire = dialect.encode_error(error_of(meaning))
        out["error.json"] = {"status": wire.status, "headers": wire.headers, "body": json.loads(wire.body)}
    if any(lost.values()):
        out["losses.json"] = {key: value for key, value in lost.items() if value}
    return {
        f"{language}.{name}": value if isinstance(value, str) else dumped(value) for name, value in sorted(out.items())
    }


def _request(meaning: str, language: str, out: dict[str, Json], lost: dict[str, Json]) -> None:
    losses: Losses = []
    try:
        wire = NAMES[language].encode_request(request_of(meaning, LANGUAGES[language].models[0]), losses)
    except CallerError as error:
        lost["refused"] = [error.param or "", error.message]
        return
    out["request.json"] = json.loads(wire.body)
    lost["request"] = losses_of(losses)


def asked_by(language: str) -> ChatRequest:
    return caller_of(NAMES[language])


def _answer(meaning: str, dialect: Dialect, out: dict[str, Json], lost: dict[str, Json]) -> None:
    answer = answer_of(meaning)
    losses: Losses = []
    out["answer.json"] = json.loads(dialect.encode_response(answer, caller_of(dialect), losses).body)
    lost["answer"] = losses_of(losses)
    streamed: Losses = []
    encoder: Any = dialect.stream_encoder(caller_of(dialect, stream=True), streamed)
    data = b"".join([*map(encoder.feed, unfold(answer)), encoder.close()])
    out["stream.txt"] = data.decode()
    lost["stream"] = losses_of(streamed)


def files(meaning: str) -> Iterator[tuple[str, str]]:
    for language in NAMES:
        yield from made(meaning, language).items()


def write() -> list[str]:
    """Makes every file of the languages anew; gives the names of those that changed."""
    changed = []
    for meaning in meanings():
        wanted = dict(files(meaning))
        folder = FOLDER / meaning
        for path in sorted(folder.iterdir()):
            if path.name != "canonical.json" and path.name not in wanted and not by_hand(path.name):
                path.unlink()
                changed.append(f"{meaning}/{path.name}")
        for name, text in wanted.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != text.encode():
                path.write_bytes(text.encode())
                changed.append(f"{meaning}/{name}")
    return changed


def by_hand(name: str) -> bool:
    """Is a file one that nobody makes anew?"""
    parts = ("answer.json", "stream.txt", "stream.jsonl", "unsaid.json")
    return name in [f"{language}.{part}" for language in BY_HAND for part in parts]


# ── what a reader needs ────────────────────────────────────────────────────────────────


def lost_in(meaning: str, language: str) -> dict[str, Json]:
    name = f"{language}.losses.json"
    return load(meaning, name) if has(meaning, name) else {}


def read_request(meaning: str, language: str) -> ChatRequest:
    """The file of a language as its dialect understands it."""
    params = {"model": "gemini-2.5-flash", "task": "generateContent"} if NAMES[language] is GEMINI else {}
    dialect = NAMES[language]
    return dialect.decode_request(ask(dialect, load(meaning, f"{language}.request.json"), params))


def told_whole(meaning: str, language: str) -> bytes:
    """The bytes of a whole answer."""
    return (FOLDER / meaning / f"{language}.answer.json").read_bytes()


def told_streamed(meaning: str, language: str) -> bytes:
    """The bytes of a streamed answer."""
    if not has(meaning, f"{language}.stream.jsonl"):
        return (FOLDER / meaning / f"{language}.stream.txt").read_bytes()
    out = []
    for line in (FOLDER / meaning / f"{language}.stream.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            ((kind, event),) = json.loads(line).items()
            payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
            out.append(bedrock_frame(kind, payload))
    return b"".join(out)


def unsaid(meaning: str, language: str) -> dict[str, str]:
    """What of an answer a language cannot say: its path in the canonical answer, and why."""
    name = f"{language}.unsaid.json"
    return dict(load(meaning, name)) if has(meaning, name) else {}


def read_answer(meaning: str, language: str) -> ChatResponse:
    return NAMES[language].decode_response(WireResponse(status=200, headers={}, body=told_whole(meaning, language)))


def without(value: Json, path: str) -> Json:
    """A value without what stands at a path (`choices[].finish.stop_sequence`). KeyError where nothing stands."""
    head, _, rest = path.partition(".")
    key, listed = head.removesuffix("[]"), head.endswith("[]")
    inner = value[key]
    if not rest:
        return {name: item for name, item in value.items() if name != key}
    if not listed:
        return {**value, key: without(inner, rest)}
    items = [_without_if_there(item, rest) for item in inner]
    if items == inner:
        raise KeyError(path)
    return {**value, key: items}


def _without_if_there(item: Json, path: str) -> Json:
    try:
        return without(item, path)
    except KeyError:
        return item
