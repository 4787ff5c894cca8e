"""What fuzzing starts from: recorded traffic, the conversations of tests/rosetta, and both told in other dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from providers.canonical.errors import RouterError
from providers.dialect import Dialect
from providers.dialects import DIALECTS
from providers.dialects.upstream_only import UpstreamOnly
from tests.corpus import SPECS, cases
from tests.fidelity.through import CALLERS, FILES, NAMES, Case, cuts, passed_on, recorded, send, tell

from .mutate import Vocabulary, vocabulary

ROSETTA = Path(__file__).parent.parent / "rosetta"
#: A longer input is left out: more of the same costs time and finds nothing.
_LONGEST = 12_000
_MOST = 250

#: What was not recorded.
_EMBEDDINGS: dict[str, list[Any]] = {
    "openai.embeddings": [
        {"model": "m", "input": "Hi"},
        {"model": "m", "input": ["Hi", "Ho"], "dimensions": 2, "encoding_format": "base64", "user": "u"},
        {"model": "m", "input": [[1, 2], [3]], "encoding_format": "float"},
        {"model": "m", "input": [1, 2, 3]},
    ],
    "ollama.chat": [
        {"model": "m", "input": ["Hi", "Ho"], "truncate": True, "dimensions": 2, "options": {"num_ctx": 8}},
        {"model": "m", "prompt": "Hi"},
        {"model": "m", "prompt": "Hi", "suffix": "!", "images": ["AAAA"], "system": "Be brief.", "stream": False},
        {"model": "m", "prompt": "Hi", "think": "high", "format": {"type": "object"}, "options": {"temperature": 1}},
    ],
    "gemini": [
        {"content": {"parts": [{"text": "Hi"}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2},
        {"requests": [{"model": "models/m", "content": {"parts": [{"text": "Hi"}]}, "title": "t"}]},
        {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "Hi"}]}]}},
    ],
}
_VECTORS: dict[str, list[Any]] = {
    "openai.embeddings": [
        {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}], "model": "m"},
        {"data": [{"index": i, "embedding": "AACAPwAAAAA="} for i in (1, 0)], "usage": {"prompt_tokens": 2}},
    ],
    "ollama.chat": [{"model": "m", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 2}, {"embedding": [0.1, 0.2]}],
    "gemini": [{"embedding": {"values": [0.1, 0.2]}}, {"embeddings": [{"values": [0.1]}, {"values": [0.2]}]}],
    "cohere.chat": [{"id": "i", "embeddings": {"float": [[0.1, 0.2]]}, "meta": {"billed_units": {"input_tokens": 1}}}],
}


#: A language of which nothing is recorded: whole answers and streams, as its document shows them.
_ALCHEMYST: tuple[list[Any], list[str]] = (
    [
        {"result": {"message": "Sunny.", "persona": "maya"}, "chatId": "c", "title": "t", "researchMode": False},
        {"result": {"response": {"role": "assistant", "content": "Sunny."}}, "metadata": {"timeTaken": 1}},
        {"result": {"response": {"kwargs": {"content": "Sunny."}}}},
        {"result": "Sunny."},
    ],
    [
        'data: {"type":"thinking_update","content":"Planning"}\n\n'
        'data: {"type":"final_response","content":"Sunny°","json":{"a":1}}\n\n'
        'data: {"type":"metadata","content":{"chatId":"c","title":"t"}}\n\ndata: [DONE]\n\n',
        'data: {"type":"final_response","content":"a"}\ndata: {"type":"final_response","content":"b"}\ndata: [DONE]\n',
        'data: {"type":"thinking_update","content":{"text":"x"}}\r\n\r\ndata: {"error":"no credits"}\r\n\r\n',
    ],
)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _few(found: Iterator[bytes]) -> list[bytes]:
    """Those that are short enough, each once; evenly chosen where there are too many."""
    usable = [data for data in dict.fromkeys(found) if 0 < len(data) <= _LONGEST]
    step = max(1, len(usable) // _MOST)
    return usable[::step]


def _all_recorded() -> Iterator[Case]:
    for file in FILES:
        yield from recorded(file)


def _told(dialect: Dialect, form: str) -> Iterator[bytes]:
    """What tests/rosetta has in a dialect: `request.json`, `answer.json`, `error.json`, `stream.txt`."""
    for path in sorted(ROSETTA.glob(f"*/{dialect.name}.{form}")):
        yield path.read_bytes()


@cache
def requests(name: str) -> Sequence[bytes]:
    """Bodies that callers of the dialect send."""
    return _few(_requests(DIALECTS[name]))


def _requests(dialect: Dialect) -> Iterator[bytes]:
    yield from map(_json, _EMBEDDINGS.get(dialect.name, ()))
    yield from _told(dialect, "request.json")
    for file in ("anthropic", "gemini", "openai-other", "openai-compatible"):
        for raw in cases(file):
            if dialect.name in _others(raw):
                yield _json(raw["request_body"])
    for place, case in enumerate(_all_recorded()):
        if case.body is None or dialect.name not in NAMES:
            continue
        if case.dialect is dialect:
            yield _json(case.body)
        elif place % 5 == 0 and case.language.name in CALLERS:
            sent = send(case.dialect, dialect, case.body, "m", case.params, case.asked_headers)
            if sent.error is None:
                yield _json(sent.body)


def _others(raw: dict[str, Any]) -> Iterator[str]:
    """Whose a recorded call is that is no chat."""
    if raw["api"] == "count-tokens":
        yield "anthropic.messages"
    elif raw["api"] in ("countTokens", "embedContent", "batchEmbedContents"):
        yield "gemini"
    elif raw["api"] == "embeddings":
        yield "openai.embeddings"


@cache
def answers(name: str) -> Sequence[bytes]:
    """Whole answers of the dialect's upstreams."""
    return _few(_answers(DIALECTS[name]))


def _answers(dialect: Dialect) -> Iterator[bytes]:
    yield from map(_json, _VECTORS.get(dialect.name, ()))
    yield from map(_json, _ALCHEMYST[0] if dialect.name == "alchemyst.chat" else ())
    yield from _told(dialect, "answer.json")
    for raw in cases("openai-other"):
        if dialect.name == "openai.embeddings" and raw["api"] == "embeddings":
            yield _json(raw["response_body"])
    for place, case in enumerate(_all_recorded()):
        if not case.whole or dialect.name not in NAMES:
            continue
        if case.dialect is dialect:
            yield case.answer
        elif place % 5 == 0 and dialect.name in CALLERS:
            try:
                yield tell(case.dialect, dialect, case.wire)
            except RouterError:
                continue


@cache
def errors(name: str) -> Sequence[bytes]:
    """Bodies of refusals: of the dialect, and of others, since gateways in between answer in their own."""
    found = [case.answer for case in _all_recorded() if case.status >= 400]
    told = [path.read_bytes() for path in sorted(ROSETTA.glob("error-*/*.error.json"))]
    other = [b"", b"<html><body>502 Bad Gateway</body></html>", b"upstream connect error", b'{"detail":"Not Found"}']
    return _few(iter([*_told(DIALECTS[name], "error.json"), *found, *told, *other]))


@cache
def streams(name: str) -> Sequence[bytes]:
    """Streams of the dialect's upstreams."""
    return _few(_streams(DIALECTS[name]))


def _streams(dialect: Dialect) -> Iterator[bytes]:
    yield from _told(dialect, "stream.txt")
    yield from (text.encode() for text in (_ALCHEMYST[1] if dialect.name == "alchemyst.chat" else ()))
    for place, case in enumerate(_all_recorded()):
        if not case.streamed:
            continue
        if case.dialect is dialect:
            yield case.answer
        elif place % 3 == 0 and not isinstance(dialect, UpstreamOnly):
            yield passed_on(dialect, case.dialect, cuts(case.answer, len(case.answer) or 1))[0]


@cache
def words() -> Vocabulary:
    """The keys and short texts of all wire schemas and of some recorded calls."""
    return vocabulary(_values())


def _values() -> Iterator[Any]:
    for path in sorted(SPECS.glob("*.schema.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        yield from document["$defs"].values()
    for case in _all_recorded():
        yield case.raw["request_body"] or {}
        yield case.raw.get("response_body") or {}
