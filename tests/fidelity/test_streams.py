"""Recorded streams told to callers of every other dialect, whatever the cuts of the network."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from providers.canonical.errors import RouterError
from providers.canonical.stream import fold
from providers.dialect import WireRequest

from .answers import READ_STREAM, READ_WHOLE, in_order, told
from .neutral import Json, events
from .tally import account
from .through import (
    ANSWERS,
    CALLERS,
    CHAT,
    FILES,
    GEMINI,
    NAMES,
    Case,
    caller_of,
    completed,
    cuts,
    decoded,
    lost,
    passed_on,
    recorded,
    targets,
    tell,
)


def streams(file: str) -> Iterator[Case]:
    return (case for case in recorded(file) if case.streamed)


@pytest.mark.parametrize(("file", "target"), ANSWERS)
def test_a_stream_arrives(file: str, target: str) -> None:
    """Legal order, every chunk fits schema and client, and it says the same; a fault of the upstream is told as one."""
    row = account("stream", file, target)
    for case in streams(file):
        losses: list[Any] = []
        out, error = passed_on(NAMES[target], case.dialect, [case.answer], losses)
        said, heard = case.heard(), READ_STREAM[target](out)
        if said.error is not None:
            well = error is not None and heard.error is not None and not heard.complete
            row.judge(case.id, [] if well else ["the error was not told"], "errors")
        elif not said.complete:
            well = error is not None and heard.error is not None and not heard.complete
            row.judge(case.id, [] if well else ["a stream that just ends was told as whole"], "errors")
        else:
            problems = in_order(out, target) + told(said, heard, target, lost(losses)) if error is None else []
            row.judge(case.id, [f"{error!r}"] if error else problems, lossy=bool(losses))

    assert [] == row.surprises


def by_events(data: bytes) -> list[bytes]:
    """One event a piece."""
    ends = [i + 2 for i in range(len(data)) if data[i : i + 2] == b"\n\n"] or [len(data)]
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)])]


def at_random(data: bytes, seed: str) -> list[bytes]:
    dice = random.Random(seed)
    marks = sorted(dice.sample(range(len(data)), min(40, len(data))))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)])]


CUTS: dict[str, Callable[[bytes, str], list[bytes]]] = {
    "1 byte": lambda data, _: cuts(data, 1),
    "3 bytes": lambda data, _: cuts(data, 3),
    "events": lambda data, _: by_events(data),
    "random": at_random,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("cut", CUTS)
def test_cuts_change_nothing(file: str, cut: str) -> None:
    """One byte at a time (inside every character and CRLF), three, by events, at random: the same bytes come out.

    The cuts are felt by the decoder alone, so the callers take turns.
    """
    changed = []
    for place, case in enumerate(streams(file)):
        callers = targets(file, CALLERS)
        caller, data = NAMES[callers[place % len(callers)]], case.answer
        if "byte" in cut and len(data) > 20_000:
            data = data[:20_000]  # what is cut off here is a truncation, the same for both
        whole = passed_on(caller, case.dialect, [data])
        cut_up = passed_on(caller, case.dialect, CUTS[cut](data, case.id))
        if whole[0] != cut_up[0] or type(whole[1]) is not type(cut_up[1]):
            changed.append(case.id)

    assert [] == changed


@pytest.mark.parametrize(("file", "target"), ANSWERS)
def test_a_stream_that_just_ends_is_a_truncation(file: str, target: str) -> None:
    """Cut off half-way it ends in the caller's error event, without a finish, and the text before it is intact."""
    wrong, tried = [], 0
    for case in streams(file):
        half = case.answer[: len(case.answer) // 2]
        if case.heard().error is not None or _finished(half):
            continue
        if len(case.answer) - len(half) < 50:
            continue
        tried += 1
        out, error = passed_on(NAMES[target], case.dialect, cuts(half, 100))
        heard, whole = READ_STREAM[target](out), case.heard()
        begun = all(
            whole.choices[i].text.startswith(choice.text) and choice.finish != "length"
            for i, choice in heard.choices.items()
        )
        if error is None or heard.error is None or heard.complete or not begun:
            wrong.append(f"{case.id}: {error!r} {heard}")

    assert [] == wrong
    assert tried > 5 or tried >= len(list(streams(file))) // 2


def _finished(half: bytes) -> bool:
    """Did a finish come already? Then nothing that must be told is missing."""
    ends = (b'"finishReason"', b"message_stop", b"response.completed", b"message-end", b"messageStop", b'"done":true')
    return any(end in half for end in ends) or b'"finish_reason":"' in half.replace(b" ", b"")


# ── whole and streamed are the same ────────────────────────────────────────────────────


@pytest.mark.parametrize(("file", "target"), ANSWERS)
def test_a_stream_collected_is_the_whole_answer(file: str, target: str) -> None:
    """What a stream spells, told whole, says what the stream told piece by piece."""
    row = account("stream collected", file, target)
    caller = NAMES[target]
    for case in streams(file):
        try:
            collected = completed(fold(decoded(case.dialect, [case.answer])))
        except RouterError:
            row.note("errors")
            continue
        body = json.loads(caller.encode_response(collected, caller_of(caller), []).body)
        streamed, _ = passed_on(caller, case.dialect, [case.answer])
        heard = READ_STREAM[target](streamed)
        heard.id = heard.id if case.heard().id else None
        row.judge(case.id, told(heard, READ_WHOLE[target](body), target))

    assert [] == row.surprises


@pytest.mark.parametrize(("file", "target"), [pair for pair in ANSWERS if pair[0] != "bedrock"])
def test_a_whole_answer_streamed_says_the_same(file: str, target: str) -> None:
    """A recorded whole answer, sent by the upstream as a stream of many pieces, arrives as the whole one does."""
    row = account("answer in pieces", file, target)
    caller, callers = NAMES[target], targets(file, CALLERS)
    for place, case in enumerate(recorded(file)):
        if not case.whole or case.language.name not in PIECES:
            continue
        if (place + callers.index(target)) % len(callers) > 1:
            continue  # each with two callers, by turns
        body = case.raw["response_body"]
        out, error = passed_on(caller, case.dialect, [PIECES[case.language.name](body)])
        try:
            whole = READ_WHOLE[target](json.loads(tell(case.dialect, caller, case.wire)))
        except RouterError as refused:
            row.judge(case.id, [] if error is not None else [f"whole {refused!r}, streamed nothing"], "errors")
            continue
        heard = READ_STREAM[target](out)
        if not body.get("id") and not body.get("responseId"):
            heard.id = whole.id
        row.judge(case.id, ([f"{error!r}"] if error else in_order(out, target)) + told(whole, heard, target))

    assert [] == row.surprises


def one_chunk(body: Json) -> bytes:
    """Gemini streams answers of its usual form: one may hold all."""
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


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


def named_events(found: list[Json]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in found)


def anthropic_in_pieces(body: Json) -> bytes:
    """A whole message as its server would have streamed it."""
    found: list[Json] = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    for i, block in enumerate(body.get("content") or ()):
        first, pieces = _opened(block)
        found.append({"type": "content_block_start", "index": i, "content_block": first})
        found += [{"type": "content_block_delta", "index": i, "delta": piece} for piece in pieces]
        found.append({"type": "content_block_stop", "index": i})
    end = {key: body.get(key) for key in ("stop_reason", "stop_sequence")}
    if body.get("stop_details"):
        end["stop_details"] = body["stop_details"]
    found.append({"type": "message_delta", "delta": end, "usage": body.get("usage") or {}})
    return named_events([*found, {"type": "message_stop"}])


def _opened(block: Json) -> tuple[Json, list[Json]]:
    """A block as it begins, and the pieces that follow."""
    match block["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            return {"type": "text", "text": ""}, [*_pieces("text_delta", "text", block["text"]), *cited]
        case "thinking":
            signed = {"type": "signature_delta", "signature": block.get("signature") or ""}
            return {**block, "thinking": "", "signature": ""}, [
                *_pieces("thinking_delta", "thinking", block["thinking"]),
                signed,
            ]
        case "tool_use" | "server_tool_use":
            text = json.dumps(block.get("input") or {})
            return {**block, "input": {}}, _pieces("input_json_delta", "partial_json", text)
    return block, []


def _pieces(kind: str, key: str, text: str) -> list[Json]:
    return [{"type": kind, key: text[i : i + 7]} for i in range(0, len(text), 7)]


def responses_in_pieces(body: Json) -> bytes:
    """A whole response as its server would have streamed it; its items come at once."""
    begun = {**body, "output": [], "status": "in_progress", "usage": None}
    found: list[Json] = [{"type": f"response.{word}", "response": begun} for word in ("created", "in_progress")]
    for i, item in enumerate(body.get("output") or ()):
        place: Json = {"output_index": i, "item_id": item.get("id")}
        found.append({"type": "response.output_item.added", "output_index": i, "item": _begun(item)})
        for j, part in enumerate(item.get("content") or () if item["type"] == "message" else ()):
            where = {**place, "content_index": j}
            word, key = ("output_text", "text") if "text" in part else ("refusal", "refusal")
            empty = {**part, key: "", **({"annotations": []} if word == "output_text" else {})}
            found.append({"type": "response.content_part.added", **where, "part": empty})
            pieces = [part[key][k : k + 7] for k in range(0, len(part[key]), 7)]
            more = {"logprobs": []} if word == "output_text" else {}
            found += [{"type": f"response.{word}.delta", **where, "delta": piece, **more} for piece in pieces]
            found.append({"type": f"response.{word}.done", **where, key: part[key], **more})
            found.append({"type": "response.content_part.done", **where, "part": part})
        if item["type"] == "function_call":
            kind = "response.function_call_arguments"
            text = item["arguments"]
            found += [{"type": f"{kind}.delta", **place, "delta": text[k : k + 9]} for k in range(0, len(text), 9)]
            found.append({"type": f"{kind}.done", **place, "arguments": text, "name": item["name"]})
        found.append({"type": "response.output_item.done", "output_index": i, "item": item})
    found.append({"type": f"response.{body.get('status') or 'completed'}", "response": body})
    return named_events([{**one, "sequence_number": i} for i, one in enumerate(found)])


def _begun(item: Json) -> Json:
    if item["type"] == "message":
        return {**item, "content": [], "status": "in_progress"}
    return {**item, "arguments": "", "status": "in_progress"} if item["type"] == "function_call" else item


def cohere_in_pieces(body: Json) -> bytes:
    """A whole answer as Cohere would have streamed it."""
    message = body["message"]
    found: list[Json] = [{"type": "message-start", "id": body["id"], "delta": {"message": {"role": "assistant"}}}]
    if message.get("tool_plan"):
        found.append({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": message["tool_plan"]}}})
    for i, item in enumerate(message.get("content") or ()):
        key = item["type"]
        start = {"message": {"content": {"type": key, key: ""}}}
        found.append({"type": "content-start", "index": i, "delta": start})
        for k in range(0, len(item[key]), 7):
            delta = {"message": {"content": {key: item[key][k : k + 7]}}}
            found.append({"type": "content-delta", "index": i, "delta": delta})
        found.append({"type": "content-end", "index": i})
    for i, call in enumerate(message.get("tool_calls") or ()):
        inner = call["function"]
        first = {**call, "function": {**inner, "arguments": ""}}
        found.append({"type": "tool-call-start", "index": i, "delta": {"message": {"tool_calls": first}}})
        piece = {"function": {"arguments": inner["arguments"]}}
        found.append({"type": "tool-call-delta", "index": i, "delta": {"message": {"tool_calls": piece}}})
        found.append({"type": "tool-call-end", "index": i})
    for i, citation in enumerate(message.get("citations") or ()):
        found.append({"type": "citation-start", "index": i, "delta": {"message": {"citations": citation}}})
        found.append({"type": "citation-end", "index": i})
    end = {"finish_reason": body["finish_reason"], "usage": body.get("usage")}
    return named_events([*found, {"type": "message-end", "delta": end}])


def ollama_in_pieces(body: Json) -> bytes:
    """A whole answer as Ollama would have streamed it: a line for each piece, calls whole, the end alone."""
    message = body["message"]
    head = {key: body[key] for key in ("model", "created_at")}
    pieces: list[Json] = []
    for key in ("thinking", "content"):
        text = message.get(key) or ""
        pieces += [{"content": "", key: text[i : i + 7]} for i in range(0, len(text), 7)]
    if message.get("tool_calls"):
        pieces.append({"content": "", "tool_calls": message["tool_calls"]})
    lines: list[Json] = [{**head, "message": {"role": "assistant", **piece}, "done": False} for piece in pieces]
    lines.append({**body, "message": {"role": "assistant", "content": ""}})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


#: A whole answer as the servers of a language would have streamed it.
PIECES: dict[str, Callable[[Json], bytes]] = {
    "openai.chat": in_pieces,
    "gemini": one_chunk,
    "anthropic.messages": anthropic_in_pieces,
    "openai.responses": responses_in_pieces,
    "cohere.chat": cohere_in_pieces,
    "ollama.chat": ollama_in_pieces,
}


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
