"""Conversations of every caller with every upstream, through the real gateway: what the model said comes back to it.

The caller holds a conversation as its own clients do. It remembers all that it was told, or it is forgetful: a client
that keeps the texts and calls which every version of its types has, and nothing else. `test_conversations` has the
finer rules of Gemini and Chat.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.answers import chat_answer, chat_chunk, tool_call
from tests.fakes import DONE, FakeUpstream, answer, json_answer, sse
from tests.running import Running, running

from .languages import LANGUAGES
from .neutral import Answer, Json, events, frozen, lines, parsed
from .read_responses import Hearing
from .tally import account
from .test_conversations import collected, plain_message
from .through import CALLERS, FILES, NAMES, SOURCES, Case, recorded, targets

#: Rows of upstreams, by language: where its calls go below the fake upstream's address.
BASES = {"openai.chat": "/v1", "openai.responses": "/v1"}
MODELS = {
    "openai.chat": "gpt-4.1",
    "openai.responses": "gpt-5",
    "anthropic.messages": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview",
    "ollama.chat": "llama3.1",
    "cohere.chat": "command-a-03-2025",
    "bedrock.converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
ROUTES = {
    "openai.chat": "/v1/chat/completions",
    "openai.responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
    "gemini": '"/v1beta/models/{model}:{task}"',
    "ollama.chat": "/api/chat",
}


def table() -> str:
    rows = [
        f'  {_slug(name)}-up: {{base_url: "$up{BASES.get(name, "")}", speaks: [{name}], secret: "env:UP"}}'
        for name in NAMES
    ]
    rows.append('  router-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:UP", own: [reasoning_details]}')
    models = [f"  {_slug(name)}: [{{provider: {_slug(name)}-up, model: {_quoted(MODELS[name])}}}]" for name in NAMES]
    models.append("  router: [{provider: router-up, model: claude-sonnet-4.5}]")
    routes = [f"  - {{path: {path}, speaks: {name}, to: models}}" for name, path in ROUTES.items() if name in NAMES]
    timeouts = "{connect: 1s, first_byte: 2s, idle: 2s, total: 10s}"
    return "\n".join(
        [
            'server: {listen: "127.0.0.1:0", admin: null, drain: 1s}',
            *("providers:", *rows, "models:", *models, "policies:"),
            f"  default: {{attempts: 1, timeouts: {timeouts}}}",
            *("routes:", *routes),
        ]
    )


def _slug(name: str) -> str:
    return name.replace(".", "-")


def _quoted(model: str) -> str:
    return json.dumps(model)


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(table(), {"UP": "sk-upstream-key"}, up=upstream.url) as gateway:
        yield gateway, upstream


# ── callers ────────────────────────────────────────────────────────────────────────────


@dataclass
class Caller:
    """How a client of a language asks, puts together what it is told, and sends it back with results of its calls."""

    ask: Callable[[list[Json], bool], tuple[str, Json]]  # turns, streamed -> path, body
    turn: Callable[[bytes, bool], list[Json]]  # an answer -> the turns that it becomes
    forget: Callable[[list[Json]], list[Json]]  # what is left of them with a forgetful client
    results: Callable[[list[Json]], list[Json]]  # what the tools gave back, or words to go on
    first: Json


def _chat_results(turns: list[Json]) -> list[Json]:
    calls = [call for turn in turns for call in turn.get("tool_calls") or ()]
    done = [{"role": "tool", "tool_call_id": call["id"], "content": '{"done":true}'} for call in calls]
    return done or [{"role": "user", "content": "Go on."}]


def _chat_turn(data: bytes, streamed: bool) -> list[Json]:
    return [collected(data) if streamed else json.loads(data)["choices"][0]["message"]]


def _anthropic_turn(data: bytes, streamed: bool) -> list[Json]:
    if not streamed:
        return [{"role": "assistant", "content": json.loads(data)["content"]}]
    blocks: dict[int, Json] = {}
    for _, payload in events(data):
        event = json.loads(payload)
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"]}
        elif event["type"] == "content_block_delta":
            _grow(blocks[event["index"]], event["delta"])
    for block in blocks.values():
        if "pieces" in block:
            block["input"] = parsed(block.pop("pieces"))
    return [{"role": "assistant", "content": [blocks[index] for index in sorted(blocks)]}]


def _grow(block: Json, delta: Json) -> None:
    for key in ("text", "thinking", "signature"):
        if key in delta:
            block[key] = (block.get(key) or "") + delta[key]
    if "partial_json" in delta:
        block["pieces"] = block.get("pieces", "") + delta["partial_json"]
    if "citation" in delta:
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]


def _anthropic_forget(turns: list[Json]) -> list[Json]:
    known = {"text": ("type", "text"), "tool_use": ("type", "id", "name", "input")}
    blocks = [
        {key: block[key] for key in known[block["type"]]} for block in turns[0]["content"] if block["type"] in known
    ]
    return [{"role": "assistant", "content": blocks}]


def _anthropic_results(turns: list[Json]) -> list[Json]:
    calls = [block["id"] for block in turns[0]["content"] if block["type"] == "tool_use"]
    done = [{"type": "tool_result", "tool_use_id": id_, "content": '{"done":true}'} for id_ in calls]
    return [{"role": "user", "content": done or "Go on."}]


def _responses_turn(data: bytes, streamed: bool) -> list[Json]:
    if not streamed:
        return list(json.loads(data)["output"])
    hearing = Hearing()
    for _, payload in events(data):
        event = json.loads(payload)
        hearing.hear(event["type"], event)
    return hearing.items()


def _responses_forget(turns: list[Json]) -> list[Json]:
    out = []
    for item in turns:
        if item["type"] == "message":
            texts = [{"type": part["type"], "text": part["text"]} for part in item["content"] if "text" in part]
            out.append({"role": "assistant", "content": texts})
        elif item["type"] == "function_call":
            out.append({key: item[key] for key in ("type", "call_id", "name", "arguments")})
    return out


def _responses_results(turns: list[Json]) -> list[Json]:
    calls = [item["call_id"] for item in turns if item.get("type") == "function_call"]
    done = [{"type": "function_call_output", "call_id": id_, "output": '{"done":true}'} for id_ in calls]
    return done or [{"role": "user", "content": "Go on."}]


def _gemini_turn(data: bytes, streamed: bool) -> list[Json]:
    chunks = [json.loads(payload) for _, payload in events(data)] if streamed else [json.loads(data)]
    candidates = [one for chunk in chunks for one in chunk.get("candidates") or ()]
    return [
        {"role": "model", "parts": [part for one in candidates for part in one.get("content", {}).get("parts", ())]}
    ]


def _gemini_forget(turns: list[Json]) -> list[Json]:
    parts = [
        {key: part[key] for key in ("text", "functionCall") if key in part}
        for part in turns[0]["parts"]
        if not part.get("thought")
    ]
    return [{"role": "model", "parts": [part for part in parts if part]}]


def _gemini_results(turns: list[Json]) -> list[Json]:
    calls = [part["functionCall"] for part in turns[0]["parts"] if "functionCall" in part]
    done = [
        {"functionResponse": {"name": call["name"], "id": call["id"], "response": {"done": True}}} for call in calls
    ]
    return [{"role": "user", "parts": done or [{"text": "Go on."}]}]


def _ollama_turn(data: bytes, streamed: bool) -> list[Json]:
    message: Json = {"role": "assistant", "content": ""}
    for line in lines(data):
        for key, value in line["message"].items():
            before = message.get(key)
            message[key] = before + value if key != "role" and before is not None else value
    return [message]


def _ollama_forget(turns: list[Json]) -> list[Json]:
    message = {key: value for key, value in turns[0].items() if key in ("role", "content")}
    if turns[0].get("tool_calls"):
        message["tool_calls"] = [
            {"function": {key: call["function"][key] for key in ("name", "arguments")}}
            for call in turns[0]["tool_calls"]
        ]
    return [message]


def _ollama_results(turns: list[Json]) -> list[Json]:
    names = [call["function"]["name"] for call in turns[0].get("tool_calls") or ()]
    done = [{"role": "tool", "tool_name": name, "content": '{"done":true}'} for name in names]
    return done or [{"role": "user", "content": "Go on."}]


def _asks(path: str, key: str, **more: Json) -> Callable[[list[Json], bool], tuple[str, Json]]:
    return lambda turns, streamed: (path, {"model": "", key: turns, "stream": streamed, **more})


def _asks_gemini(turns: list[Json], streamed: bool) -> tuple[str, Json]:
    return "streamGenerateContent?alt=sse" if streamed else "generateContent", {"contents": turns}


HELLO: Json = {"role": "user", "content": "Begin."}
WHO: dict[str, Caller] = {
    "openai.chat": Caller(
        _asks("/v1/chat/completions", "messages"),
        _chat_turn,
        lambda turns: [plain_message(turns[0])],
        _chat_results,
        HELLO,
    ),
    "openai.responses": Caller(
        _asks("/v1/responses", "input", store=False), _responses_turn, _responses_forget, _responses_results, HELLO
    ),
    "anthropic.messages": Caller(
        _asks("/v1/messages", "messages", max_tokens=4096),
        _anthropic_turn,
        _anthropic_forget,
        _anthropic_results,
        HELLO,
    ),
    "gemini": Caller(
        _asks_gemini, _gemini_turn, _gemini_forget, _gemini_results, {"role": "user", "parts": [{"text": "Begin."}]}
    ),
    "ollama.chat": Caller(_asks("/api/chat", "messages"), _ollama_turn, _ollama_forget, _ollama_results, HELLO),
}


async def told(gateway: Running, who: Caller, model: str, turns: list[Json], streamed: bool) -> list[Json]:
    path, body = who.ask(turns, streamed)
    if "contents" in body:
        path = f"/v1beta/models/{model}:{path}"
    else:
        body["model"] = model
    answered = await gateway.post(path, body)
    assert answered.status == 200, answered.body
    return who.turn(answered.body, streamed)


# ── what the model said, and what comes back ───────────────────────────────────────────


def playable(case: Case) -> Answer | None:
    """An answer that a conversation can go on from: it finished well with texts and calls, and nothing of its own."""
    if case.status != 200 or not (case.whole or case.streamed):
        return None
    said = case.heard()
    choice = said.choices.get(0)
    if choice is None or said.error is not None or not said.complete or choice.foreign or choice.media:
        return None
    calls = all(
        isinstance(call.arguments, dict) and "malformed" not in call.arguments and call.name for call in choice.calls
    )
    odd = any(word in case.answer for word in (b'"custom"', b"custom_tool_call", b'"partialArgs"', b"citations"))
    good = choice.finish in ("stop", "tool_calls") and not choice.refusal and not odd and len(said.choices) == 1
    return said if calls and good and (choice.calls or choice.text.strip()) else None


def scripted(case: Case) -> Any:
    if not case.streamed:
        return json_answer(case.raw["response_body"])
    kind = {"bedrock.converse": "application/vnd.amazon.eventstream", "ollama.chat": "application/x-ndjson"}
    content_type = kind.get(case.language.name, "text/event-stream")
    return answer(200, case.answer, headers={"content-type": content_type})


#: Callers whose dialect has a place for sealed thinking of any model: what they send back, its model gets.
CARRYING = ("anthropic.messages", "openai.responses")


def came_back(said: Answer, body: Json, language: str, *, ids: bool, carried: bool) -> list[str]:
    """In which the second request differs from what the model had said."""
    choice, request = said.choices[0], LANGUAGES[language].read_request(body)
    arrived = [one for one in request.said if one.role == "assistant"]
    found = []
    text = "".join(one.value for one in arrived if one.kind == "text")
    if text != choice.text:
        found.append(f"text {choice.text[:80]!r} came back as {text[:80]!r}")
    calls = [(one.value["name"], frozen(one.value["arguments"]), one.id) for one in arrived if "call" in one.kind]
    wanted = [(call.name, frozen(call.arguments), call.id) for call in choice.calls]
    if not ids or not all(call.id for call in choice.calls):  # functions from before tools have none
        calls, wanted = [call[:2] for call in calls], [call[:2] for call in wanted]  # type: ignore[misc]
    if calls != wanted:
        found.append(f"calls {wanted} came back as {calls}")
    results = [one.value["answers"] for one in request.said if one.kind == "result"]
    if results != list(range(len(choice.calls))):
        found.append(f"results answer {results}")
    seals = [mark.value for one in arrived for name, mark in one.marks.items() if name.startswith("signature")]
    # Where the caller's dialect cannot carry it, thinking before calls is remembered by their ids. That of a turn which
    # ended in words is not: it is no part of the next one, its own provider leaves it out as well.
    if choice.seals and seals != choice.seals and (seals or carried or (choice.calls and ids)):
        found.append(f"{len(choice.seals)} signatures came back as {[str(seal)[:20] for seal in seals]}")
    return found


PAIRS = [
    (file, name)
    for file in FILES
    for name in targets(file, CALLERS)
    if SOURCES[file][0] not in ("gemini", "ollama.chat")
]


@pytest.mark.parametrize("forgetful", [False, True], ids=["remembering", "forgetful"])
@pytest.mark.parametrize(("file", "target"), PAIRS)
async def test_the_model_gets_back_what_it_said(file: str, target: str, forgetful: bool) -> None:
    """Texts, calls with their ids, results and signatures of recorded answers, sent back by a client of its kind."""
    row = account(f"life {'forgetful' if forgetful else 'remembering'}", file, target)
    who, language = WHO[target], SOURCES[file][0]
    async with between() as (gateway, upstream):
        for place, case in enumerate(recorded(file)):
            said = playable(case)
            if said is None or (place + len(target)) % 4:  # each case with some caller
                row.note("outside")
                continue
            upstream.script(scripted(case), scripted(case))
            model = _slug(language)
            turns = await told(gateway, who, model, [who.first], case.streamed)
            back = who.forget(turns) if forgetful else turns
            await told(gateway, who, model, [who.first, *back, *who.results(back)], case.streamed)
            ids = target != "ollama.chat" or not forgetful
            carried = target in CARRYING and not forgetful
            problems = came_back(said, upstream.requests[-1].json(), language, ids=ids, carried=carried)
            row.judge(case.id, problems)

    assert [] == row.surprises


# ── thinking that a router in between tells in a form of its own ───────────────────────

SIGNED = {"type": "reasoning.text", "text": "I must look.", "signature": "c2lnbmVk", "format": "anthropic-claude-v1"}
HIDDEN = {"type": "reasoning.encrypted", "data": "c2VhbGVk", "format": "google-gemini-v1", "id": "call_r1"}
LOOK = tool_call("look", {"a": 1}, id="call_r1")


def thought(details: list[Json], *, streamed: bool) -> Any:
    """An answer with thinking and a call; of a stream the texts come in pieces, as the router sends them."""
    text = "".join(one.get("text", "") for one in details)
    if not streamed:
        whole = chat_answer(None, tool_calls=[LOOK], finish="tool_calls")
        whole["choices"][0]["message"] |= {"reasoning": text, "reasoning_details": details}
        return json_answer(whole)
    pieces = [
        {**{key: one[key] for key in ("type", "format", *key_of_text) if key in one}, "index": place}
        for place, one in enumerate(details)
        for key_of_text in ([("text",), ("signature",)] if "text" in one else [("data", "id")])
    ]
    chunks = [chat_chunk("", role="assistant")]
    for one in pieces:
        chunks.append(chat_chunk(""))
        chunks[-1]["choices"][0]["delta"] |= {"reasoning": one.get("text"), "reasoning_details": [one]}
    return sse(*chunks, chat_chunk(tool_calls=[{**LOOK, "index": 0}]), chat_chunk(finish="tool_calls"), DONE)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("forgetful", [False, True], ids=["remembering", "forgetful"])
@pytest.mark.parametrize("details", [[SIGNED], [HIDDEN], [SIGNED, HIDDEN]], ids=["signed", "hidden", "both"])
@pytest.mark.parametrize("target", [name for name in CALLERS if name != "openai.chat"])
async def test_a_router_gets_its_details_of_thinking_back(
    target: str, details: list[Json], forgetful: bool, streamed: bool
) -> None:
    """Without them the model behind it refuses the second turn of a tool call; a row without that field gets none."""
    who = WHO[target]
    for model, expected in (("router", details), ("openai-chat", None)):
        async with between() as (gateway, upstream):
            upstream.script(thought(details, streamed=streamed), json_answer(chat_answer("Fine.")))
            turns = await told(gateway, who, model, [who.first], streamed)
            back = who.forget(turns) if forgetful else turns
            await told(gateway, who, model, [who.first, *back, *who.results(back)], False)
            arrived = upstream.requests[-1].json()["messages"][1].get("reasoning_details")
            if arrived is not None:
                arrived = [{key: value for key, value in one.items() if key != "index"} for one in arrived]

            assert expected == arrived
