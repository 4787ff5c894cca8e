"""Recorded streams told to a caller of the other dialect, whatever the cuts of the network."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from providers.canonical.errors import RouterError
from providers.canonical.stream import fold
from providers.dialect import WireRequest

from .answers import READ_STREAM, READ_WHOLE, in_order, told
from .neutral import Json, events
from .tally import account
from .through import CHAT, FILES, GEMINI, OTHER, Case, caller_of, completed, cuts, decoded, passed_on, recorded, tell


def streams(file: str) -> Iterator[Case]:
    return (case for case in recorded(file) if case.streamed)


@pytest.mark.parametrize("file", FILES)
def test_a_stream_arrives(file: str) -> None:
    """Legal order, every chunk fits schema and client, and it says the same; a fault of the upstream is told as one."""
    row = account("stream", file)
    for case in streams(file):
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        out, error = passed_on(caller, upstream, [case.answer])
        said, heard = READ_STREAM[upstream.name](case.answer), READ_STREAM[caller.name](out)
        if said.error is not None:
            well = error is not None and heard.error is not None and not heard.complete
            row.judge(case.id, [] if well else ["the error was not told"], "errors")
            continue
        row.judge(case.id, [f"{error!r}"] if error else in_order(out, caller.name) + told(said, heard, caller.name))

    assert [] == row.surprises


def by_events(data: bytes) -> list[bytes]:
    """One event a piece."""
    ends = [i + 2 for i in range(len(data)) if data[i : i + 2] == b"\n\n"] or [len(data)]
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)])]


def at_random(data: bytes, seed: str) -> list[bytes]:
    dice = random.Random(seed)
    marks = sorted(dice.sample(range(len(data)), min(40, len(data))))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)])]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("cut", ["1 byte", "3 bytes", "events", "random"])
def test_cuts_change_nothing(file: str, cut: str) -> None:
    """One byte at a time (inside every character and CRLF), three, by events, at random: the same bytes come out."""
    changed = []
    for case in streams(file):
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        data = case.answer
        if cut == "1 byte" and len(data) > 40_000:
            data = data[:40_000]  # what is cut off here is a truncation, the same for both
        pieces = {
            "1 byte": lambda data=data: cuts(data, 1),
            "3 bytes": lambda data=data: cuts(data, 3),
            "events": lambda data=data: by_events(data),
            "random": lambda data=data, seed=case.id: at_random(data, seed),
        }[cut]()
        whole, cut_up = passed_on(caller, upstream, [data]), passed_on(caller, upstream, pieces)
        if whole[0] != cut_up[0] or type(whole[1]) is not type(cut_up[1]):
            changed.append(case.id)

    assert [] == changed


@pytest.mark.parametrize("file", FILES)
def test_a_stream_that_just_ends_is_a_truncation(file: str) -> None:
    """Cut off half-way it ends in the caller's error event, without a finish, and the text before it is intact."""
    wrong, tried = [], 0
    for case in streams(file):
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        half = case.answer[: len(case.answer) // 2]
        rest = case.answer[len(half) :]
        if b'"finishReason"' in half or b'"finish_reason":"' in half.replace(b" ", b"") or len(rest) < 50:
            continue
        tried += 1
        out, error = passed_on(caller, upstream, cuts(half, 100))
        heard, whole = READ_STREAM[caller.name](out), READ_STREAM[upstream.name](case.answer)
        begun = all(
            whole.choices[i].text.startswith(choice.text) and choice.word is None for i, choice in heard.choices.items()
        )
        if error is None or heard.error is None or heard.complete or not begun:
            wrong.append(f"{case.id}: {error!r} {heard}")

    assert [] == wrong
    assert tried > 5


# ── whole and streamed are the same ────────────────────────────────────────────────────


@pytest.mark.parametrize("file", FILES)
def test_a_stream_collected_is_the_whole_answer(file: str) -> None:
    """What a stream spells, told whole, says what the stream told piece by piece."""
    row = account("stream collected", file)
    for case in streams(file):
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        try:
            collected = completed(fold(decoded(upstream, [case.answer])))
        except RouterError:
            row.note("errors")
            continue
        body = json.loads(caller.encode_response(collected, caller_of(caller), []).body)
        streamed, _ = passed_on(caller, upstream, [case.answer])
        heard = READ_STREAM[caller.name](streamed)
        heard.id = heard.id if READ_STREAM[upstream.name](case.answer).id else None
        row.judge(case.id, told(heard, READ_WHOLE[caller.name](body), caller.name))

    assert [] == row.surprises


@pytest.mark.parametrize("file", FILES)
def test_a_whole_answer_streamed_says_the_same(file: str) -> None:
    """A recorded whole answer, sent by the upstream as a stream of many pieces, arrives as the whole one does."""
    row = account("answer in pieces", file)
    for case in recorded(file):
        if not case.whole:
            continue
        upstream, caller = case.dialect, OTHER[case.dialect.name]
        body = case.raw["response_body"]
        data = in_pieces(body) if upstream is CHAT else b"data: " + json.dumps(body).encode() + b"\r\n\r\n"
        out, error = passed_on(caller, upstream, [data])
        try:
            whole = READ_WHOLE[caller.name](json.loads(tell(upstream, caller, case.wire)))
        except RouterError as refused:
            row.judge(case.id, [] if error is not None else [f"whole {refused!r}, streamed nothing"], "errors")
            continue
        heard = READ_STREAM[caller.name](out)
        if not body.get("id") and not body.get("responseId"):
            heard.id = whole.id
        row.judge(case.id, ([f"{error!r}"] if error else in_order(out, caller.name)) + told(whole, heard, caller.name))

    assert [] == row.surprises


def in_pieces(body: Json) -> bytes:
    """A whole chat answer as its server would have streamed it."""
    head = {key: body[key] for key in ("id", "created", "model", "system_fingerprint", "service_tier") if body.get(key)}
    head["object"] = "chat.completion.chunk"
    chunks: list[Json] = []
    for choice in body["choices"]:
        for delta in _deltas(choice.get("message") or {}):
            chunks.append(
                {**head, "choices": [{"index": choice.get("index", 0), "delta": delta, "finish_reason": None}]}
            )
        if choice.get("logprobs"):
            chunks[-1]["choices"][0]["logprobs"] = choice["logprobs"]
        finish = choice.get("finish_reason") or (choice.get("finish_details") or {}).get("type")
        last = {"index": choice.get("index", 0), "delta": {}, "finish_reason": finish}
        chunks.append({**head, "choices": [last]})
    if body.get("usage"):
        chunks.append({**head, "choices": [], "usage": body["usage"]})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def _deltas(message: Json) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for key in ("reasoning_content", "reasoning", "content", "refusal"):
        text = message.get(key)
        if isinstance(text, str):
            yield from ({key: text[i : i + 7]} for i in range(0, len(text), 7))
    if not isinstance(message.get("content"), str | None):
        yield {"content": message["content"]}
    for key in ("annotations", "images", "audio"):
        if message.get(key):
            yield {key: message[key]}
    if message.get("reasoning_details") and not message.get("reasoning"):
        yield {"reasoning_details": message["reasoning_details"]}
    for i, call in enumerate(message.get("tool_calls") or ()):
        kind = "custom" if call.get("type") == "custom" else "function"
        key = "input" if kind == "custom" else "arguments"
        whole = call[kind].get(key)
        yield {"tool_calls": [{**call, "index": i, kind: {**call[kind], key: ""}}]}
        text = whole if isinstance(whole, str) else json.dumps(whole or {})
        for j in range(0, len(text), 9):
            yield {"tool_calls": [{"index": i, kind: {key: text[j : j + 9]}}]}
    if (message.get("function_call") or {}).get("name"):
        yield {"function_call": message["function_call"]}


@pytest.mark.parametrize("file", ["openai-chat", "openai-compatible", "groq", "mistral"])
def test_a_gemini_caller_without_sse_gets_one_array(file: str) -> None:
    """Without alt=sse the stream is one JSON array of the same chunks, well-formed at its end."""
    params = {"model": "m", "task": "streamGenerateContent"}
    asked = GEMINI.read(WireRequest(path="/", body=b'{"contents":[{"parts":[{"text":"Hi"}]}]}'), params)
    request = GEMINI.decode_request(asked)
    wrong = []
    for case in streams(file):
        try:
            found = decoded(CHAT, [case.answer])
        except RouterError:
            continue
        encoder: Any = GEMINI.stream_encoder(request, [])
        array = b"".join([*map(encoder.feed, found), encoder.close()])
        sse, _ = passed_on(GEMINI, CHAT, [case.answer])
        chunks = json.loads(array)
        if chunks != [json.loads(payload) for _, payload in events(sse)] or not encoder.content_type.startswith(
            "application/json"
        ):
            wrong.append(case.id)

    assert [] == wrong


def test_usage_is_only_told_to_who_asked() -> None:
    """A chat caller without include_usage gets no usage chunk and no usage key that says anything."""
    case = next(case for case in streams("gemini") if case.id)
    encoder: Any = CHAT.stream_encoder(caller_of(CHAT, stream=True, usage=False), [])
    out = b"".join([*map(encoder.feed, decoded(GEMINI, [case.answer])), encoder.close()])

    assert READ_STREAM["openai.chat"](out).usage is None
    assert READ_STREAM["openai.chat"](out).complete
