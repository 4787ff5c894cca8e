"""Whole conversations through the real gateway: our answers, sent back as history, arrive as the upstream made them.

The caller either sends back everything that it was given, or is a client that drops every field it does not know.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.answers import chat_answer, gemini_answer, tool_call
from tests.fakes import FakeUpstream, json_answer, sse
from tests.running import Running, running

from .neutral import Json, events, parsed
from .tally import account
from .through import Case, recorded

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OPENAI_UP"}
  deep-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OPENAI_UP", own: [reasoning_content]}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: google_key, secret: "env:GEMINI_UP"}
models:
  gpt: [{provider: openai-up, model: gpt-4.1}]
  deep: [{provider: deep-up, model: deepseek-reasoner}]
  g3: [{provider: gemini-up, model: gemini-3-pro-preview}]
  g25: [{provider: gemini-up, model: gemini-2.5-flash}]
policies:
  default: {attempts: 1, timeouts: {connect: 1s, first_byte: 2s, idle: 2s, total: 10s}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
"""
KEYS = {"OPENAI_UP": "sk-openai-upstream-key", "GEMINI_UP": "AIza-gemini-upstream-key"}
DUMMY = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(TABLE, KEYS, up=upstream.url) as gateway:
        yield gateway, upstream


# ── a chat caller, remembering or forgetful ────────────────────────────────────────────


class ChatCaller:
    """Holds a conversation. `forgetful`: a client that keeps what OpenAI's own types have, and nothing else."""

    def __init__(self, gateway: Running, model: str, *, stream: bool, forgetful: bool) -> None:
        self.gateway = gateway
        self.model = model
        self.stream = stream
        self.forgetful = forgetful
        self.messages: list[Json] = [{"role": "user", "content": "Begin."}]

    async def turn(self) -> Json:
        body = {"model": self.model, "messages": self.messages, "stream": self.stream}
        answer = await self.gateway.post("/v1/chat/completions", body)
        assert answer.status == 200, answer.body
        message = collected(answer.body) if self.stream else answer.json["choices"][0]["message"]
        if self.forgetful:
            message = plain_message(message)
        self.messages.append(message)
        for call in message.get("tool_calls") or ():
            result = json.dumps({"done": call["function"]["name"]})
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        if not message.get("tool_calls"):
            self.messages.append({"role": "user", "content": "Go on."})
        return message


def plain_message(message: Json) -> Json:
    out: Json = {"role": "assistant", "content": message.get("content")}
    if message.get("tool_calls"):
        out["tool_calls"] = [{key: call[key] for key in ("id", "type", "function")} for call in message["tool_calls"]]
    return out


def collected(stream: bytes) -> Json:
    """A chat stream put together as clients do: strings are joined, calls by their index."""
    out: Json = {"role": "assistant", "content": None}
    calls: dict[int, Json] = {}
    for _, data in events(stream):
        if data == b"[DONE]":
            continue
        for choice in json.loads(data).get("choices") or ():
            delta = choice.get("delta") or {}
            if choice.get("index"):
                continue
            for piece in delta.pop("tool_calls", None) or ():
                call = calls.setdefault(piece.pop("index"), {"function": {"name": "", "arguments": ""}})
                inner = piece.pop("function", {})
                call["function"]["name"] += inner.get("name") or ""
                call["function"]["arguments"] += inner.get("arguments") or ""
                call.update(piece)
            for key, value in delta.items():
                before = out.get(key)
                out[key] = (
                    before + value if isinstance(value, str) and isinstance(before, str) and key != "role" else value
                )
    if calls:
        out["tool_calls"] = [calls[index] for index in sorted(calls)]
    return out


# ── what Gemini said, and what comes back to it ────────────────────────────────────────


def chunks_of(case: Case) -> list[Json]:
    if not case.streamed:
        return [case.raw["response_body"]]
    data = case.answer
    if data.lstrip()[:1] == b"[":
        return list(json.loads(data))
    return [json.loads(payload) for _, payload in events(data)]


def model_said(chunks: list[Json]) -> Json:
    """Text, its signatures, and the calls (name, arguments, id, signature) of the first candidate."""
    parts: list[Json] = []
    for chunk in chunks:
        for candidate in chunk.get("candidates") or ():
            if not candidate.get("index"):
                parts += (candidate.get("content") or {}).get("parts") or []
    return said(parts)


def said(parts: list[Json]) -> Json:
    calls = [(part["functionCall"], part.get("thoughtSignature")) for part in parts if "functionCall" in part]
    texts = [part for part in parts if "text" in part and not part.get("thought")]
    return {
        "text": "".join(part["text"] for part in texts),
        "signed": [part["thoughtSignature"] for part in texts if part.get("thoughtSignature")],
        "calls": [[call["name"], call.get("args") or {}, call.get("id")] for call, _ in calls],
        "signatures": [signature for _, signature in calls],
    }


def playable(case: Case) -> bool:
    """An answer that a conversation can go on from: it finished well, and said something that chat can hold."""
    if case.status != 200 or not (case.whole or case.streamed):
        return False
    text = case.answer.decode()
    if any(
        word in text
        for word in ('"partialArgs"', '"executableCode"', '"toolCall"', '"inlineData"', "UNEXPECTED_TOOL_CALL")
    ):
        return False
    made = model_said(chunks_of(case)) if '"error"' not in text else {}
    return bool(made) and bool(made["calls"] or made["text"] or made["signed"])


def upstream_answer(case: Case) -> Any:
    return sse(case.answer) if case.streamed else json_answer(case.raw["response_body"])


def came_back(expected: Json, arrived: Json) -> list[str]:
    found = [
        f"{key}: {expected[key]} came back as {arrived[key]}"
        for key in ("text", "calls", "signed")
        if expected[key] != arrived[key]
    ]
    for one, other in zip(expected["signatures"], arrived["signatures"]):
        if one != other and not (one is None and other == DUMMY):
            found.append(f"the signature {str(one)[:30]} came back as {str(other)[:30]}")
    return found


@pytest.mark.parametrize("forgetful", [False, True], ids=["remembering", "forgetful"])
async def test_gemini_gets_back_what_it_said(forgetful: bool) -> None:
    """Every recorded answer of Gemini, told to a chat caller and sent back: text, calls, ids, arguments, signatures."""
    row = account(f"conversation {'forgetful' if forgetful else ''}".strip(), "gemini")
    before: dict[str, Json] = {}  # the same text said again by the same caller gets the signature that it had then
    async with between() as (gateway, upstream):
        for case in recorded("gemini"):
            if not playable(case):
                row.note("outside")
                continue
            upstream.script(upstream_answer(case), json_answer(gemini_answer("Fine.")))
            caller = ChatCaller(gateway, "g3", stream=case.streamed, forgetful=forgetful)
            await caller.turn()
            caller.stream = False
            await caller.turn()
            contents = upstream.requests[-1].json()["contents"]
            expected = model_said(chunks_of(case))
            arrived = said(contents[1]["parts"])
            if not expected["signed"] and arrived["signed"] == before.get(expected["text"]):
                arrived["signed"] = []
            before[expected["text"]] = expected["signed"] or before.get(expected["text"], [])
            row.judge(case.id, came_back(expected, arrived) + answered(expected, contents[2]["parts"]))

    assert [] == row.surprises


def answered(expected: Json, parts: list[Json]) -> list[str]:
    """One functionResponse for each call, in the order of the calls, with the id that the call came with."""
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    wanted = [[name, identifier] for name, _, identifier in expected["calls"]]
    given = [[result["name"], result.get("id")] for result in results]
    return [] if wanted == given else [f"results for {wanted} came as {given}"]


def lives(file: str) -> Iterator[list[Case]]:
    """The recorded conversations of two and more turns whose answers can be played."""
    found: dict[str, list[Case]] = {}
    for case in recorded(file):
        turn = case.raw.get("turn") or [1, 1]
        if turn[1] > 1 and (file != "gemini" or playable(case)):
            found.setdefault(str(case.raw["source"]), []).append(case)
    return (sorted(cases, key=lambda case: case.raw["turn"][0]) for cases in found.values() if len(cases) > 1)


@pytest.mark.parametrize("forgetful", [False, True], ids=["remembering", "forgetful"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_life_with_gemini(stream: bool, forgetful: bool) -> None:
    """Recorded conversations lived again, turn for turn: at the end Gemini has its every turn back."""
    tried, wrong = 0, []
    async with between() as (gateway, upstream):
        for life in lives("gemini"):
            caller = ChatCaller(gateway, "g3", stream=stream, forgetful=forgetful)
            played = [case for case in life if case.streamed is stream]
            if len(played) < 2:
                continue
            tried += 1
            for case in played:
                upstream.script(upstream_answer(case))
                await caller.turn()
            upstream.script(json_answer(gemini_answer("The end.")))
            caller.stream = False
            await caller.turn()
            turns = [content for content in upstream.requests[-1].json()["contents"] if content["role"] == "model"]
            for case, content in zip(played, turns, strict=True):
                wrong += [
                    f"{case.id}: {problem}"
                    for problem in came_back(model_said(chunks_of(case)), said(content["parts"]))
                ]

    assert [] == wrong
    assert tried >= 3


async def test_an_older_model_gets_no_ids() -> None:
    """Gemini before 3 refuses the field: calls are paired by name and order there."""
    called = {"functionCall": {"name": "look", "args": {"a": 1}, "id": "abc"}, "thoughtSignature": "c2lnbmVk"}
    async with between() as (gateway, upstream):
        upstream.script(json_answer(gemini_answer(None, parts=[called])), json_answer(gemini_answer("Fine.")))
        caller = ChatCaller(gateway, "g25", stream=False, forgetful=True)
        await caller.turn()
        await caller.turn()
        contents = upstream.requests[-1].json()["contents"]

        assert {"functionCall": {"name": "look", "args": {"a": 1}}, "thoughtSignature": "c2lnbmVk"} == contents[1][
            "parts"
        ][0]
        assert {"functionResponse": {"name": "look", "response": {"done": "look"}}} == contents[2]["parts"][0]


# ── a Gemini caller in front of chat ───────────────────────────────────────────────────


class GeminiCaller:
    """Holds a conversation in Gemini's language. `forgetful`: knows text and functionCall, and nothing else."""

    def __init__(self, gateway: Running, model: str, *, stream: bool = False, forgetful: bool = False) -> None:
        self.gateway = gateway
        self.model = model
        self.stream = stream
        self.forgetful = forgetful
        self.contents: list[Json] = [{"role": "user", "parts": [{"text": "Begin."}]}]

    async def turn(self) -> list[Json]:
        task = "streamGenerateContent?alt=sse" if self.stream else "generateContent"
        answer = await self.gateway.post(f"/v1beta/models/{self.model}:{task}", {"contents": self.contents})
        assert answer.status == 200, answer.body
        chunks = [json.loads(data) for _, data in events(answer.body)] if self.stream else [answer.json]
        first = [one for chunk in chunks for one in chunk.get("candidates", ()) if not one.get("index")]
        parts = [part for candidate in first for part in candidate.get("content", {}).get("parts", ())]
        if self.forgetful:
            known = ("text", "functionCall")
            parts = [{key: part[key] for key in known if key in part} for part in parts if not part.get("thought")]
        self.contents.append({"role": "model", "parts": parts or [{"text": ""}]})
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        results = [
            {"functionResponse": {"name": call["name"], "id": call["id"], "response": {"done": call["name"]}}}
            for call in calls
        ]
        self.contents.append({"role": "user", "parts": results or [{"text": "Go on."}]})
        return parts


def chat_said(case: Case) -> Json:
    """The first choice of a recorded chat answer, whole or streamed, as a message; None where Gemini cannot hold it."""
    if case.streamed:
        if b'"error"' in case.answer or b'"custom"' in case.answer:
            return None
        message = collected(case.answer) if b'"function_call"' not in case.answer else None
    else:
        message = case.raw["response_body"]["choices"][0].get("message")
    if not message or message.get("function_call") or message.get("audio") or message.get("images"):
        return None
    calls = message.get("tool_calls") or []
    plain = all(
        call.get("id") and "function" in call and isinstance(call["function"].get("arguments"), str) for call in calls
    )
    arguments = [parsed(call["function"]["arguments"]) for call in calls if plain]
    sound = plain and all(isinstance(value, dict) and "malformed" not in value for value in arguments)
    text = isinstance(message.get("content"), str | None)
    return message if sound and text and (calls or message.get("content")) else None


@pytest.mark.parametrize("forgetful", [False, True], ids=["remembering", "forgetful"])
@pytest.mark.parametrize("file", ["openai-chat", "openai-compatible", "groq"])
async def test_chat_gets_back_what_it_said(file: str, forgetful: bool) -> None:
    """Every recorded answer of a chat server, told to a Gemini caller and sent back: text, calls, ids, arguments."""
    row = account(f"conversation {'forgetful' if forgetful else ''}".strip(), file)
    async with between() as (gateway, upstream):
        for case in recorded(file):
            if case.status != 200 or not (case.whole or case.streamed) or (message := chat_said(case)) is None:
                row.note("outside")
                continue
            upstream.script(upstream_answer(case), json_answer(chat_answer("Fine.")))
            caller = GeminiCaller(gateway, "gpt", stream=case.streamed, forgetful=forgetful)
            await caller.turn()
            caller.stream = False
            await caller.turn()
            messages = upstream.requests[-1].json()["messages"]
            row.judge(case.id, chat_came_back(message, messages))

    assert [] == row.surprises


def chat_came_back(expected: Json, messages: list[Json]) -> list[str]:
    arrived = messages[1]
    found = []
    if (expected.get("content") or "") != (arrived.get("content") or ""):
        found.append(f"text {str(expected.get('content'))[:80]!r} came back as {str(arrived.get('content'))[:80]!r}")
    wanted = _calls(expected)
    if wanted != _calls(arrived):
        found.append(f"calls {wanted} came back as {_calls(arrived)}")
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    if results != [identifier for identifier, _, _ in wanted]:
        found.append(f"results for {results}")
    return found


def _calls(message: Json) -> list[tuple[str, str, Json]]:
    calls = message.get("tool_calls") or ()
    return [(call["id"], call["function"]["name"], parsed(call["function"]["arguments"])) for call in calls]


async def test_thinking_comes_back_to_servers_that_want_it() -> None:
    """A row with `own: [reasoning_content]` (DeepSeek) gets the thinking of its earlier turn; others do not."""
    call = tool_call("look", {"a": 1}, id="call_x1")
    answer = chat_answer(None, tool_calls=[call], finish="tool_calls")
    answer["choices"][0]["message"]["reasoning_content"] = "I must look."
    async with between() as (gateway, upstream):
        for model, expected in (("deep", "I must look."), ("gpt", None)):
            upstream.script(json_answer(answer), json_answer(chat_answer("Fine.")))
            caller = GeminiCaller(gateway, model)
            await caller.turn()
            await caller.turn()

            assert expected == upstream.requests[-1].json()["messages"][1].get("reasoning_content")


async def test_memory_is_not_shared_between_conversations_of_other_text() -> None:
    """A signature is put back only where its own call or text stands: another text does not get it."""
    signed = gemini_answer(None, parts=[{"text": "Signed.", "thoughtSignature": "c2lnbmVk"}])
    async with between() as (gateway, upstream):
        upstream.script(json_answer(signed), json_answer(gemini_answer("Fine.")), json_answer(gemini_answer("Fine.")))
        caller = ChatCaller(gateway, "g3", stream=False, forgetful=True)
        await caller.turn()
        await caller.turn()
        again = upstream.requests[-1].json()["contents"][1]["parts"]
        caller.messages[1] = {"role": "assistant", "content": "Something else."}
        await caller.turn()
        changed = upstream.requests[-1].json()["contents"][1]["parts"]

        assert [{"text": "Signed.", "thoughtSignature": "c2lnbmVk"}] == again
        assert [{"text": "Something else."}] == changed


async def test_losses_and_refusals_speak_the_callers_words() -> None:
    """The header and the refusal name fields of the caller's own body, spelled as it wrote them."""
    hello = [{"role": "user", "parts": [{"text": "Hi"}]}]
    async with between() as (gateway, upstream):
        upstream.script(json_answer(chat_answer("Hi!")))
        body = {"contents": hello, "generation_config": {"top_k": 5, "thinkingConfig": {"includeThoughts": True}}}
        answer = await gateway.post("/v1beta/models/gpt:generateContent", body)
        refused = await gateway.post(
            "/v1beta/models/gpt:generateContent", {"contents": hello, "cachedContent": "cachedContents/1"}
        )
        strict = await gateway.post("/v1beta/models/gpt:generateContent", body, headers={"x-isthmus-on-loss": "reject"})

        losses = {loss.partition("=")[0] for loss in answer.headers["x-isthmus-loss"].split(", ")}
        assert {"generation_config.top_k", "generation_config.thinkingConfig.includeThoughts"} == losses
        assert (400, "cachedContent") == (refused.status, refused.json["error"]["details"][0]["field"])
        assert 422 == strict.status
        assert "generation_config.top_k" in strict.json["error"]["message"]
