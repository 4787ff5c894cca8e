"""Recorded traffic through its own dialect: nothing changes but what the one table here allows.

Two ways: decoded to canonical and encoded again (JSON-equal), and through the relay lane (byte-equal).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from providers.canonical.errors import CallerError, RouterError, StreamTruncated
from providers.canonical.stream import fold, unfold
from tests.corpus import cases

from .neutral import Answer, Json
from .tally import account
from .through import ASKED, CHAT, GEMINI, SOURCES, Case, ask, cuts, decoded, recorded

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "absent"})()

_WORDS = {("stop", "tool_calls"), ("", "stop"), ("", "tool_calls"), ("eos", "stop"), (ABSENT, "length")}

#: (place, was it so?, reason): the only differences that decode -> encode may make.
ALLOWED: list[tuple[str, Callable[[Json, Json], bool], str]] = [
    (
        r"request \.stream_options(\.include_usage)?",
        lambda before, after: before in (ABSENT, False) and after in (True, {"include_usage": True}),
        "we ask every streaming upstream for its usage, and take the chunk out where the caller did not ask",
    ),
    (
        r"answer \.(choices\[\d+\]\.(logprobs|message\.refusal|message\.content)"
        r"|error|instructions|incomplete_details|temperature|top_p)",
        lambda before, after: before in (ABSENT, "") and after is None,
        "the schema requires the key and servers leave it out: null says the same",
    ),
    (
        r"answer \.(tools|tool_choice|parallel_tool_calls|metadata)",
        lambda before, after: before is ABSENT and after in ([], "auto", True, {}),
        "Responses tells what was asked for: a server that leaves the keys out, which its schema requires, means these",
    ),
    (
        r"answer \.choices\[\d+\]\.message",
        lambda before, after: before is ABSENT and after == {"role": "assistant", "content": None, "refusal": None},
        "Azure's content filter leaves the message out, which the schema requires",
    ),
    (
        r"answer \.choices\[\d+\]\.finish_reason",
        lambda before, after: (before, after) in _WORDS,
        "a stop that asks for tools is tool_calls; an empty, missing or private word becomes one that clients know",
    ),
    (
        r"answer \.(id|created|model|output\[\d+\]\.id)",
        lambda before, after: before in (ABSENT, "", None) and bool(after),
        "the schema requires it and the server gave none",
    ),
]


def differences(before: Json, after: Json, at: str = "") -> Iterator[tuple[str, Json, Json]]:
    """(path, before, after) of everything that differs; 1 and 1.0 are the same JSON number, true is none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), f"{at}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{at}[{i}]")
    elif before is not after and (before != after or isinstance(before, bool) is not isinstance(after, bool)):
        yield at, before, after


def forbidden(what: str, before: Json, after: Json) -> list[str]:
    return [
        f"{what} {at}: {str(old)[:80]} became {str(new)[:80]}"
        for at, old, new in differences(before, after)
        if not any(re.fullmatch(place, f"{what} {at}") and fits(old, new) for place, fits, _ in ALLOWED)
    ]


#: Calls that are none of these two languages, and so none of this test's: other endpoints and other vendors' forms.
OUTSIDE = {
    "embeddings": "OpenAI's endpoint of its own",
    "completions": "OpenAI's language before chat",
    "rerank": "not OpenAI's, not Google's",
    "models": "a list, no call of a model",
    "images": "opaque",
    "ocr": "Mistral's own",
    "generate": "Ollama's own",
    "cachedContents": "opaque: resources of Google's",
    "predict": "Vertex's older form",
    "interactions": "another language of Google's",
    "complete": "Anthropic's language before Messages",
    "count-tokens": "a call that answers nothing",
    "responses-compact": "a task of its own",
    "responses-get": "a stored answer",
    "responses-input-tokens": "counts only",
    "invoke": "each model's own language",
    "invoke-stream": "each model's own language",
    "chat-v1": "Cohere's older language",
    "embed": "Cohere's endpoint of its own",
}


@pytest.mark.parametrize("file", sorted({traffic for _, traffic, _ in SOURCES.values()}))
def test_every_case_of_a_file_is_looked_at(file: str) -> None:
    """What is no chat is counted by its own name: nothing is skipped silently."""
    found = [name for name, (_, traffic, _) in SOURCES.items() if traffic == file]
    here = [case.id for name in found for case in recorded(name)]
    others = Counter(raw["api"] for raw in cases(file) if raw["id"] not in here and raw["api"] not in COUNTED)
    counted = sum(raw["api"] in COUNTED for raw in cases(file))
    outside = account("outside", file)
    for _ in range(sum(others.values())):
        outside.note("outside")

    assert len(here) == len(set(here)), "no case is of two languages"
    assert len(cases(file)) == len(here) + counted + sum(others.values())
    assert others.keys() <= OUTSIDE.keys()


def rests_elsewhere(case: Case) -> bool:
    """Does the call rest on what its provider keeps? Then it can be relayed, not understood."""
    return any(case.body.get(key) for key in ("prompt", "previous_response_id", "conversation"))


# ── requests ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ASKED)
def test_requests_come_out_as_they_went_in(file: str) -> None:
    """decode -> encode gives equal JSON and declares no loss; what we refuse, its own upstream refused, too."""
    told = account("own request", file)
    for case in recorded(file):
        if case.body is None:
            told.note("outside")
            continue
        try:
            request = case.dialect.decode_request(case.ask())
        except CallerError as error:
            assert case.status >= 400 or rests_elsewhere(case), (case.id, error.message)
            told.note("refused", why=f"{error.param}: {re.sub(r'[0-9]+', 'N', error.message)}"[:100])
            continue
        losses: list[Any] = []
        body = json.loads(case.dialect.encode_request(request, losses).body)
        told.judge(case.id, forbidden("request", case.body, body) + [str(loss) for loss in losses], "relayed")

    assert [] == told.surprises


@pytest.mark.parametrize("file", ASKED)
def test_requests_are_relayed_byte_for_byte(file: str) -> None:
    """Every byte of the body is the caller's; where usage must be asked for or the model renamed, all else is."""
    told = account("relay request", file)
    for case in recorded(file):
        if case.body is None:
            told.note("outside")
            continue
        try:
            asked = case.ask()
        except CallerError:
            told.note("refused", why="as above")
            continue
        dialect = case.dialect
        same = dialect.relay_request(asked, asked.model, [])
        renamed = dialect.relay_request(asked, "another-model", [])
        problems = []
        if same.body != asked.wire.body:
            added = {"stream_options": {**(case.body.get("stream_options") or {}), "include_usage": True}}
            if dialect is not CHAT or {**json.loads(asked.wire.body), **added} != json.loads(same.body):
                problems.append("relayed under its own model it is another request")
        if dialect is not GEMINI:
            if json.loads(renamed.body) != {**json.loads(same.body), "model": "another-model"}:
                problems.append("renaming the model changed more than the model")
        elif json.loads(renamed.body) != _with_model(case.body) or "another-model:" not in renamed.path:
            problems.append("the model of the path was not renamed, or the body changed")
        told.judge(case.id, problems, "relayed")

    assert [] == told.surprises


def _with_model(body: Json) -> Json:
    """Some clients name the model in the body, too."""
    return {key: "models/another-model" if key == "model" else value for key, value in body.items()}


COUNTED = ("countTokens", "embedContent", "batchEmbedContents")


def test_other_tasks_of_gemini_are_relayed_byte_for_byte() -> None:
    """Counting and embedding go through the relay lane alone: the same bytes out, the answer accepted."""
    told = account("relay other tasks", "gemini")
    for raw in cases("gemini"):
        if raw["api"] not in COUNTED:
            continue
        case = Case("gemini", raw)
        asked = case.ask()
        problems = [] if GEMINI.relay_request(asked, asked.model, []).body == asked.wire.body else ["other bytes"]
        GEMINI.relay_response(case.wire, asked)
        told.judge(case.id, problems, "relayed")

    assert [] == told.surprises
    assert told.counts["relayed"] == 5


# ── answers ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ASKED)
def test_answers_come_out_as_they_went_in(file: str) -> None:
    """decode -> encode of a whole answer gives equal JSON; the relay lane accepts the same answers."""
    told = account("own answer", file)
    for case in recorded(file):
        if not case.whole:
            continue
        dialect = case.dialect
        asked = case.ask() if case.body is not None and not rests_elsewhere(case) else _any(case)
        try:
            response = dialect.decode_response(case.wire)
        except RouterError as error:
            with pytest.raises(type(error)):
                dialect.relay_response(case.wire, asked)
            told.note("errors")
            continue
        losses: list[Any] = []
        body = json.loads(dialect.encode_response(response, dialect.decode_request(asked), losses).body)
        problems = forbidden("answer", case.raw["response_body"], body) + [str(loss) for loss in losses]
        if dialect.relay_response(case.wire, asked) != response.usage:
            problems.append("the relay lane counts another usage")
        told.judge(case.id, problems, "relayed")

    assert [] == told.surprises


def _any(case: Case) -> Any:
    if case.dialect is GEMINI:
        return ask(GEMINI, {"contents": [{"parts": [{"text": "Hi"}]}]}, case.params)
    more: Json = {"stream": True} if case.stream else {}
    if case.dialect is CHAT and case.stream:
        more["stream_options"] = {"include_usage": True}
    return ask(case.dialect, {**case.language.hello, **more})


def meant(case: Case, data: bytes) -> Answer:
    return case.language.read_stream(data)


@pytest.mark.parametrize("file", ASKED)
def test_streams_come_out_meaning_the_same(file: str) -> None:
    """decode -> encode of a stream says the same to its own client, with the sources and marks that only it reads."""
    told = account("own stream", file)
    for case in recorded(file):
        if not case.streamed:
            continue
        try:
            events = decoded(case.dialect, [case.answer])
        except RouterError:
            assert meant(case, case.answer).error is not None, case.id
            told.note("errors")
            continue
        encoder: Any = case.dialect.stream_encoder(case.dialect.decode_request(_any(case)), [])
        out = b"".join([*map(encoder.feed, events), encoder.close()])
        problems = different(meant(case, case.answer), meant(case, out))
        if fold(unfold(fold(events))) != fold(events):
            problems.append("fold and unfold do not agree")
        told.judge(case.id, problems, "relayed")

    assert [] == told.surprises


def different(one: Answer, other: Answer) -> list[str]:
    problems = [
        f"choice {i}: {one.choices.get(i)} became {other.choices.get(i)}"
        for i in {**one.choices, **other.choices}
        if _core(one, i) != _core(other, i)
    ]
    if one.usage is not None and one.usage != other.usage:
        problems.append(f"usage {one.usage} became {other.usage}")
    if not other.complete:
        problems.append("it has no end")
    return problems


def _core(answer: Answer, index: int) -> Json:
    choice = answer.choices.get(index)
    if choice is None:
        return None
    calls = [(call.name, json.dumps(call.arguments), call.signature) for call in choice.calls]
    return [
        choice.text,
        choice.reasoning,
        choice.refusal,
        calls,
        choice.finish,
        choice.media,
        choice.tokens or None,
        choice.foreign,
        choice.seals,
        choice.sources,
    ]


@pytest.mark.parametrize("file", ASKED)
@pytest.mark.parametrize("size", [0, 3])
def test_streams_are_relayed_byte_for_byte(file: str, size: int) -> None:
    """The same bytes come out; an end mark that the upstream forgot is added, no other byte; usage is seen."""
    told = account(f"relay stream {size or 'whole'}", file)
    for case in recorded(file):
        if not case.streamed:
            continue
        relay = case.dialect.stream_relay(_any(case))
        out: list[bytes] = []
        try:
            out += [relay.feed(piece) for piece in (cuts(case.answer, size) if size else [case.answer])]
            out.append(relay.close())
        except StreamTruncated as error:
            told.note("failing", case.id, error.message)
            continue
        except RouterError:
            assert meant(case, case.answer).error is not None, case.id
            told.note("errors")
            continue
        told.judge(case.id, _relayed(case, b"".join(out), relay.usage), "relayed")

    assert [] == told.surprises


def _relayed(case: Case, out: bytes, usage: Any) -> list[str]:
    given = case.answer
    rest = out[len(given.rstrip()) :].strip() if out.startswith(given.rstrip()) else out
    if out != given and not (out.startswith(given.rstrip()) and rest in (b"", b"data: [DONE]")):
        at = next((i for i, (a, b) in enumerate(zip(given, out)) if a != b), min(len(given), len(out)))
        return [f"other bytes from {at}: {given[at : at + 40]!r} became {out[at : at + 40]!r}"]
    if (meant(case, given).usage is None) != (usage is None):
        return ["usage was not seen"]
    return []


def test_the_table_of_differences_is_used() -> None:
    """Every row of ALLOWED is needed by some recorded case: a rule that nobody needs hides faults."""
    used: set[str] = set()
    for file in ASKED:
        for case in recorded(file):
            pairs: list[tuple[str, Json, Json]] = []
            if case.body is not None and case.status < 400 and not rests_elsewhere(case):
                request = case.dialect.decode_request(case.ask())
                pairs.append(("request", case.body, json.loads(case.dialect.encode_request(request, []).body)))
            if case.whole:
                try:
                    response = case.dialect.decode_response(case.wire)
                except RouterError:
                    continue
                caller = case.dialect.decode_request(_any(case))
                pairs.append(
                    (
                        "answer",
                        case.raw["response_body"],
                        json.loads(case.dialect.encode_response(response, caller, []).body),
                    )
                )
            for what, before, after in pairs:
                for at, old, new in differences(before, after):
                    used |= {
                        reason
                        for place, fits, reason in ALLOWED
                        if re.fullmatch(place, f"{what} {at}") and fits(old, new)
                    }

    assert {reason for _, _, reason in ALLOWED} == used


def test_a_relayed_body_keeps_numbers_and_order() -> None:
    """Big integers, 1.0, key order and escapes stand in the relayed bytes as the caller wrote them."""
    body = (
        b'{"messages":[{"content":"\\u00e9","role":"user"}],"seed":12345678901234567890,"temperature":1.0,"model":"m"}'
    )
    relayed = CHAT.relay_request(ask(CHAT, body), "other", []).body

    assert body.replace(b'"m"', b'"other"') == relayed
    assert msgspec.json.decode(relayed)["model"] == "other"
