"""Generations by conversation: the running gateway, a scripted upstream, a real store (seed systems, section 3)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from router.chats.store import Wanted
from tests.chats import (
    TABLE,
    assistant,
    call,
    chatting,
    either,
    fetched,
    generate,
    history,
    new,
    said,
    says,
    stream,
    streams,
    token,
    user,
)
from tests.fakes import (
    HANG,
    HANG_UP,
    RESET,
    Until,
    chat_answer,
    chat_chunk,
    chat_stream,
    json_answer,
    raw_call,
    sse,
    status,
)

WEATHER = "What's the weather like?"


# ── 3.6: whole answers ─────────────────────────────────────────────────────────────────────────


async def test_t_3_1_the_documents_example_is_answered_and_kept() -> None:
    """201, the upstream's text, an id, a title, and a chat of two messages."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("Sunny."))
        answer = await gateway.post("/api/v1/chat/generate", {"chat_history": [user(WEATHER)], "persona": "maya"})
        body = answer.json

        assert 201 == answer.status
        assert ("Sunny.", "maya") == (body["result"]["message"], body["result"]["persona"])
        assert {"role": "assistant", "content": "Sunny."} == body["result"]["response"]
        assert (False, False) == (body["researchMode"], body["stream"])
        assert re.fullmatch("[0-9a-f]{24}", body["chatId"]) and WEATHER == body["title"]
        assert [("user", WEATHER), ("assistant", "Sunny.")] == said(await fetched(gateway, body["chatId"]))


@pytest.mark.parametrize("form", ["with ids", "without ids", "only the new message"])
async def test_t_3_2_what_a_chat_has_is_not_stored_twice(form: str) -> None:
    """The whole history again, with or without ids, or only what is new: four messages, none doubled."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("Hi!"), says("Blue."))
        chat = (await generate(gateway, "Hello")).json["chatId"]
        known = (await fetched(gateway, chat))["messages"]
        before: list[Any] = [user("Hello"), assistant("Hi!")]
        if form == "with ids":
            before = [
                {"id": message["id"], "role": message["role"], "content": message["message"]} for message in known
            ]
        answer = await generate(
            gateway, *([] if form.startswith("only") else before), "Colour?", query=f"chatId={chat}"
        )

        assert (201, chat) == (answer.status, answer.json["chatId"])
        assert ["Hello", "Hi!", "Colour?", "Blue."] == [text for _, text in said(await fetched(gateway, chat))]


BAD: list[tuple[Any, str]] = [
    ({}, "chat_history"),
    ({"chat_history": []}, "chat_history"),
    ({"chat_history": "x"}, "chat_history"),
    ({"chat_history": [{"role": "tool", "content": "x"}]}, "chat_history[0].role"),
    ({"chat_history": [user("a"), assistant("b")]}, "chat_history[1].role"),
    ({"chat_history": [user("")]}, "chat_history[0].content"),
    ({"chat_history": [user("a", id="same"), user("b", id="same")]}, "chat_history"),
    ({"chat_history": [user("a")], "persona": "nobody"}, "persona"),
    ({"chat_history": [user("a")], "scope": "all"}, "scope"),
    ({"chat_history": [user("a")], "stream": "yes"}, "stream"),
    ({"chat_history": [user("a")], "voice": 1}, "voice"),
    ({"chat_history": [user("a")], "tools": "search"}, "tools"),
    ({"chat_history": [user("a")], "tools": {"webSearch": "yes"}}, "tools.webSearch"),
    ({"chat_history": [user("a")], "tools": [{"type": "web"}]}, "tools[0]"),
    ({"chat_history": [user("a")], "fastContext": {}}, "fastContext"),
    ({"chat_history": [user("a")], "fastContext": ["x"] * 33}, "fastContext"),
    ({"chat_history": [user("a")], "chatId": "xyz"}, "chatId"),
    ({"chat_history": [user("a", createdAt="0001-01-01T00:00:00+23:59")]}, "chat_history[0].createdAt"),
    (b"[]", "body"),
    (b"{", "body"),
    (b'{"persona":"maya","persona":"strict","chat_history":[]}', "body"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[f"{field}-{index}" for index, (_, field) in enumerate(BAD)])
@pytest.mark.parametrize("path", ["generate", "generate/stream"])
async def test_t_3_3_what_is_wrong_is_named_and_nobody_is_asked(body: Any, field: str, path: str) -> None:
    """400 with the field; the upstream saw nothing, and nothing is stored."""
    async with chatting() as (gateway, upstream):
        answer = await gateway.post(f"/api/v1/chat/{path}", body)

        assert (400, "invalid_request") == (answer.status, answer.json["code"])
        assert [field] == [detail["field"] for detail in answer.json["details"]]
        assert {"message", "error", "code", "requestId", "details"} == answer.json.keys()
        assert [] == upstream.requests and [] == (await history(gateway))["chats"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"username={'x' * 129}", "username"),
        (f"source={'x' * 65}", "source"),
        (f"title={'x' * 201}", "title"),
        ("title=%20", "title"),
        ("deltas=yes", "deltas"),
        ("chatId=xyz", "chatId"),
    ],
)
async def test_t_3_3_what_is_wrong_in_a_query_is_named(query: str, field: str) -> None:
    """As in a body: 400, and nobody is asked."""
    async with chatting() as (gateway, upstream):
        answer = await generate(gateway, "x", query=query)

        assert (400, [field]) == (answer.status, [detail["field"] for detail in answer.json["details"]])
        assert [] == upstream.requests and [] == (await history(gateway))["chats"]


async def test_what_a_query_says_is_kept_with_a_new_chat_and_with_no_other() -> None:
    """To the last character that may be said; a chat that is there keeps what it has."""
    async with chatting() as (gateway, upstream):
        upstream.always(says("ok"))
        said_ = {"username": "ü" * 128, "source": "s" * 64, "title": "t" * 200}
        chat = (await generate(gateway, "x", query="&".join(f"{key}={value}" for key, value in said_.items()))).json
        before = await fetched(gateway, chat["chatId"])
        query = f"chatId={chat['chatId']}&username=other&source=other&title=other"
        later = (await generate(gateway, "y", query=query, scope="external")).json
        after = await fetched(gateway, chat["chatId"])

        assert (said_, "internal") == ({key: before[key] for key in said_}, before["scope"])
        assert said_["title"] == chat["title"] == later["title"]
        assert {key: before[key] for key in (*said_, "scope")} == {key: after[key] for key in (*said_, "scope")}


async def test_t_3_4_a_chat_of_somebody_else_is_not_there() -> None:
    """404 before anybody is asked; an id that is none is 400."""
    async with chatting(access=True) as (gateway, upstream):
        upstream.script(says("Hi"))
        chat = (await generate(gateway, "a", headers=token("alice"))).json["chatId"]
        theirs = await generate(gateway, "b", query=f"chatId={chat}", headers=token("bob"))
        malformed = await generate(gateway, "b", query="chatId=xyz", headers=token("bob"))

        assert (404, "not_found") == (theirs.status, theirs.json["code"])
        assert (400, "Invalid chat ID format") == (malformed.status, malformed.json["message"])
        assert 1 == len(upstream.requests)


async def test_t_3_5_message_stands_for_content() -> None:
    """Older clients write the text under `message`; `content` wins."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        both = {"role": "assistant", "message": "old", "content": "new"}
        answer = await generate(gateway, both, {"role": "user", "message": "hello"}, persona="strict")

        assert 201 == answer.status
        assert [("assistant", "new"), ("user", "hello")] == [
            (message["role"], message["content"]) for message in upstream.requests[0].json()["messages"]
        ]


# ── 3.6: streams ───────────────────────────────────────────────────────────────────────────────

ODD = 'He said "no",\nthen \u2028 and 🌦️ left\\.'


async def test_t_3_6_a_stream_has_its_five_steps_in_order() -> None:
    """Planning, the whole text once, what became of it, the end; each line but the last is JSON, whatever the text."""
    async with chatting() as (gateway, upstream):
        upstream.script(streams(*ODD))
        answer = await stream(gateway, WEATHER)
        lines = answer.body.decode().split("\n")
        events = answer.events

        assert 200 == answer.status
        assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
        assert "no-cache, no-transform" == answer.headers["cache-control"]
        assert "\u2028".encode() not in answer.body  # line readers of common clients split there
        assert ["thinking_update", "final_response", "metadata"] == [event["type"] for event in events[:-1]]
        assert {"type": "thinking_update", "content": "Planning response"} == events[0]
        assert {"type": "final_response", "content": ODD, "json": {}} == events[1]
        assert "[DONE]" == events[3] and "data: [DONE]" == lines[-3] and lines[-2:] == ["", ""]
        assert all(line.startswith("data: ") or not line for line in lines) and len(lines) == 2 * len(events) + 1
        chat = await fetched(gateway, events[2]["content"]["chatId"])
        assert [("user", WEATHER), ("assistant", ODD)] == said(chat)
        assert chat["messages"][1]["id"] == events[2]["content"]["messageId"]


async def test_t_3_6_the_pieces_of_the_text_come_before_the_whole() -> None:
    """All five steps: planning, pieces, the whole text, metadata, the end."""
    async with chatting() as (gateway, upstream):
        upstream.script(streams("Sun", "ny."))
        events = (await stream(gateway, WEATHER, query="deltas=1")).events
        kinds = [event["type"] for event in events[:-1]]

        assert ["thinking_update", "response_delta", "response_delta", "final_response", "metadata"] == kinds
        assert ("Sunny.", "[DONE]") == (events[3]["content"], events[-1])


async def test_events_come_whole_and_as_they_are_made() -> None:
    """Each event is one write: nobody who splits what arrives by lines sees half of one."""
    async with chatting() as (gateway, upstream):
        upstream.script(
            sse(chat_chunk("a"), chat_chunk("b"), chat_chunk(finish="stop"), b"data: [DONE]\n\n", every=0.05)
        )
        pieces: list[bytes] = []
        url = f"{gateway.url}/api/v1/chat/generate/stream?deltas=1"
        async with gateway.session.post(url, json={"chat_history": [user("x")]}) as response:
            async for piece, _ in response.content.iter_chunks():
                pieces.append(piece)

        assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)
        assert len(pieces) >= 3


async def test_thinking_that_a_model_shows_is_told() -> None:
    """Real pieces of thinking follow the planning text, gathered, before the answer; none is made up."""
    thoughts = [{"reasoning_content": text} for text in ("Clouds", " or", " sun?")]
    chunks = [chat_chunk() for _ in thoughts]
    for chunk, thought in zip(chunks, thoughts, strict=True):
        chunk["choices"][0]["delta"] = thought
    async with chatting() as (gateway, upstream):
        upstream.script(sse(*chunks, chat_chunk("Sun."), chat_chunk(finish="stop"), b"data: [DONE]\n\n"))
        events = (await stream(gateway, WEATHER)).events
        updates = [event["content"] for event in events[:-1] if event["type"] == "thinking_update"]

        assert ["Planning response", "Clouds or sun?"] == [updates[0], "".join(updates[1:])]
        assert "Sun." == next(event["content"] for event in events if event["type"] == "final_response")


@pytest.mark.parametrize("end", [HANG_UP, RESET], ids=["fin", "reset"])
async def test_t_3_7_an_upstream_that_dies_leaves_nothing(end: Any) -> None:
    """An error event and the end mark; no final text, no metadata, no chat; the metric counts it."""
    async with chatting() as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), chat_chunk("nny"), end))
        answer = await stream(gateway, WEATHER)
        events = answer.events

        assert ["thinking_update", "error"] == [event["type"] for event in events[:-1]] and "[DONE]" == events[-1]
        assert (None, "upstream_error") == (events[1]["content"], events[1]["code"])
        assert events[1]["error"]["message"]
        assert [] == (await history(gateway))["chats"]
        assert 1 == gateway.metric(
            "isthmus_requests_total", route="/api/v1/chat/generate/stream", outcome="upstream_error"
        )
        assert 1 == gateway.metric("isthmus_stream_end_total", reason="upstream_error")


async def test_t_3_8_switches_that_do_nothing_are_told() -> None:
    """Without profiles researchMode is false, and each switch has its warning; what is off has none."""
    async with chatting() as (gateway, upstream):
        upstream.always(either("ok"))
        switches = {"deepResearch": True, "researchIcps": True, "webSearch": False}
        body = (await generate(gateway, "x", tools=switches)).json
        metadata = (await stream(gateway, "x", tools=switches)).events[2]["content"]
        wanted = [{"code": "tool_not_available", "tool": tool} for tool in ("deepResearch", "researchIcps")]

        assert (False, wanted) == (body["researchMode"], body["metadata"]["warnings"])
        assert (False, wanted) == (metadata["researchMode"], metadata["warnings"])
        assert "tools" not in upstream.requests[0].json()


async def test_t_3_9_stream_true_is_the_stream_and_deltas_are_its_pieces() -> None:
    """`stream: true` on generate gives the same events; with deltas=1 the pieces joined are the whole."""
    async with chatting() as (gateway, upstream):
        upstream.always(streams("Sun", "ny", "."))
        one = (await stream(gateway, WEATHER)).events
        other = await generate(gateway, WEATHER, stream=True)
        with_deltas = (await stream(gateway, WEATHER, query="deltas=1")).events
        pieces = [event["content"] for event in with_deltas[:-1] if event["type"] == "response_delta"]

        assert 200 == other.status
        assert "text/event-stream; charset=utf-8" == other.headers["content-type"]
        assert ("no-cache, no-transform", "no") == (other.headers["cache-control"], other.headers["x-accel-buffering"])
        assert one[:2] == other.events[:2] and ("metadata", "[DONE]") == (other.events[2]["type"], other.events[3])
        assert one[2]["content"].keys() == other.events[2]["content"].keys() and 4 == len(one) == len(other.events)
        assert ["Sun", "ny", "."] == pieces and "".join(pieces) == with_deltas[-3]["content"]
        assert "Sunny." == with_deltas[-3]["content"]


async def test_t_3_10_a_direct_chat_is_answered_and_not_kept() -> None:
    """201 with the result and the time it took; the history does not change; it does not stream."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("Sunny."))
        chat = await new(gateway, "before")
        before = await history(gateway)
        body = {"chat_history": [user(WEATHER)], "persona": "maya", "chatId": chat}
        answer = await gateway.post("/api/v1/chat", body)
        streaming = await gateway.post("/api/v1/chat", {"chat_history": [user(WEATHER)], "stream": True})

        assert (201, {"message": "Sunny.", "persona": "maya"}) == (answer.status, answer.json["result"])
        assert {"result", "metadata"} == answer.json.keys()
        assert type(answer.json["metadata"]["timeTaken"]) is int and answer.json["metadata"]["timeTaken"] >= 0
        assert (400, "stream") == (streaming.status, streaming.json["details"][0]["field"])
        assert before == await history(gateway)


async def test_t_3_11_two_calls_of_one_chat_lose_nothing() -> None:
    """Both questions and both answers are stored."""
    async with chatting() as (gateway, upstream):
        chat = await new(gateway, "t", user("Hello"), assistant("Hi!"))
        upstream.always(lambda request: says("re: " + request.json()["messages"][-1]["content"]))
        past = [user("Hello"), assistant("Hi!")]
        answers = await asyncio.gather(*(generate(gateway, *past, text, query=f"chatId={chat}") for text in ("a", "b")))
        texts = [text for _, text in said(await fetched(gateway, chat))]

        assert [201, 201] == [answer.status for answer in answers]
        assert ["Hello", "Hi!"] == texts[:2] and ["a", "b", "re: a", "re: b"] == sorted(texts[2:])


@pytest.mark.parametrize("path", ["generate", "generate/stream", ""])
async def test_t_3_12_an_empty_answer_is_none(path: str) -> None:
    """404 `no_response` after every target, as plain JSON; nothing is stored."""
    async with chatting() as (gateway, upstream):
        upstream.always(streams("") if path.endswith("stream") else says(""))
        answer = await gateway.post(f"/api/v1/chat/{path}".rstrip("/"), {"chat_history": [user("x")]})

        assert (404, "no_response", "Could not generate response") == (
            answer.status,
            answer.json["code"],
            answer.json["message"],
        )
        assert [] == (await history(gateway))["chats"]


async def test_answers_that_say_nothing_shut_no_target_for_others() -> None:
    """Whoever makes a model say nothing harms only himself: the breaker counts no such answer, whole or streamed."""
    async with chatting() as (gateway, upstream):
        upstream.always(either(" "))
        codes = {(await call_(gateway, "x")).status for _ in range(6) for call_ in (generate, stream)}
        upstream.always(either("Sunny."))

        assert {404} == codes
        assert 201 == (await generate(gateway, "x")).status
        assert [] == (await gateway.get("/readyz")).json["degraded_parts"]


# ── personas ───────────────────────────────────────────────────────────────────────────────────


async def test_t_5_1_the_prompt_comes_first_then_context_then_the_callers_system_text() -> None:
    """So no caller's text can stand before the operator's."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        context = [{"title": "Menu", "source": "site", "content": "Soup 3"}, "plain", {"x": 1}]
        await generate(gateway, {"role": "system", "content": "Be brief."}, "Hi", persona="MAYA", fastContext=context)
        messages = upstream.requests[0].json()["messages"]

        assert ["system", "system", "system", "user"] == [message["role"] for message in messages]
        assert "You are Maya." == messages[0]["content"] and "Be brief." == messages[2]["content"]
        block = messages[1]["content"]
        assert "not instructions" in block and 'title: Menu\nsource: site\nSoup 3\n\nplain\n\n{"x":1}' in block


async def test_t_5_2_a_persona_may_refuse_system_messages() -> None:
    """400 that names the message; nobody is asked."""
    async with chatting() as (gateway, upstream):
        answer = await generate(gateway, {"role": "system", "content": "x"}, "Hi", persona="strict")

        assert (400, "chat_history[0].role") == (answer.status, answer.json["details"][0]["field"])
        assert [] == upstream.requests


async def test_personas_are_listed_without_their_prompts() -> None:
    """Names and descriptions."""
    async with chatting() as (gateway, _):
        answer = await gateway.get("/api/v1/personas")

        assert (200, "maya") == (answer.status, answer.json["default"])
        assert {"name": "maya", "description": "General assistant"} == answer.json["personas"][0]
        assert b"You are" not in answer.body


async def test_a_scope_that_a_persona_is_not_open_to() -> None:
    """403 on every path, and nobody is asked; where it is open tools are not used for those outside. The scope is kept
    with a new chat as it was given."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        body = {"chat_history": [user("x")], "persona": "strict", "scope": "external"}
        for path in ("generate", "generate/stream", ""):
            closed = await gateway.post(f"/api/v1/chat/{path}".rstrip("/"), body)

            assert (403, "forbidden") == (closed.status, closed.json["code"]) and [] == upstream.requests
        opened = await generate(gateway, "x", persona="deep", scope="external", tools={"deepResearch": True})

        assert "external" == (await fetched(gateway, opened.json["chatId"]))["scope"]
        assert (201, False) == (opened.status, opened.json["researchMode"])
        assert [{"code": "tool_not_available", "tool": "deepResearch"}] == opened.json["metadata"]["warnings"]


async def test_research_runs_the_profile_that_the_persona_has() -> None:
    """The profile's model with its effort, and only then researchMode."""
    async with chatting() as (gateway, upstream):
        upstream.always(says("found"))
        deep = (await generate(gateway, "x", persona="deep", tools={"deepResearch": {"depth": 3}})).json
        plain = (await generate(gateway, "x", persona="deep")).json
        asked = [request.json() for request in upstream.requests]

        assert ("o4-mini", "high") == (asked[0]["model"], asked[0]["reasoning_effort"])
        assert (True, [{"code": "tool_options_ignored", "tool": "deepResearch"}]) == (
            deep["researchMode"],
            [row for row in deep["metadata"]["warnings"] if row["code"] != "loss"],
        )
        assert ("gpt-4o-mini", False) == (asked[1]["model"], plain["researchMode"])


@pytest.mark.parametrize("stream_", [False, True])
async def test_native_search_of_the_target_that_answered_is_what_is_told(stream_: bool) -> None:
    """When the target with a search fails and one without it answers, the caller is told that nobody searched."""
    row = "providers:\n  ant: {base_url: $up, speaks: [anthropic.messages], auth: none}\n"
    table = TABLE.replace("providers:\n", row).replace("small: [", "small: [{provider: ant, model: claude}, ")
    async with chatting(table) as (gateway, upstream):
        upstream.always(lambda request: status(401) if "messages" in request.path else either("ok")(request))
        ask_ = stream if stream_ else generate
        answer = await ask_(gateway, "x", persona="deep", tools={"webSearch": True})
        metadata = answer.events[-2]["content"] if stream_ else answer.json["metadata"]
        asked = [request.json().get("tools") for request in upstream.requests]

        assert [{"code": "tool_not_available", "tool": "webSearch"}] == metadata["warnings"]
        assert [{"type": "web_search_20250305", "name": "web_search"}] in asked and None is asked[-1]


async def test_native_search_is_the_targets_own_or_a_warning() -> None:
    """A target whose dialect has the tool gets it; for one that has none the caller is told."""
    table = TABLE.replace("speaks: [openai.chat], auth", "speaks: [anthropic.messages], auth").replace("$up/v1", "$up")
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "content": [{"type": "text", "text": "found"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    async with chatting(table) as (gateway, upstream):
        upstream.script(json_answer(body))
        with_tool = (await generate(gateway, "x", persona="deep", tools={"webSearch": True})).json

        assert [{"type": "web_search_20250305", "name": "web_search"}] == upstream.requests[0].json()["tools"]
        assert [] == [row for row in with_tool["metadata"]["warnings"] if row["code"] != "loss"]
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        without = (await generate(gateway, "x", persona="deep", tools={"webSearch": True})).json

        assert [{"code": "tool_not_available", "tool": "webSearch"}] == without["metadata"]["warnings"]


async def test_voice_is_text_and_says_so() -> None:
    """The voice prompt goes to the model; no sound is made, which a warning tells."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        body = (await generate(gateway, "x", voice=True)).json

        assert "spoken" in upstream.requests[0].json()["messages"][1]["content"]
        assert [{"code": "voice_text_only"}] == body["metadata"]["warnings"]


async def test_a_persona_with_a_schema_answers_with_an_object() -> None:
    """The schema goes to the model, the parsed object to the caller; what breaks it is told."""
    async with chatting() as (gateway, upstream):
        upstream.script(streams('{"a":', "1}"), says("no json"), says('{"b":1}'))
        events = (await stream(gateway, "x", persona="shaped")).events
        broken = (await generate(gateway, "x", persona="shaped")).json
        breach = (await generate(gateway, "x", persona="shaped")).json

        assert "json_schema" == upstream.requests[0].json()["response_format"]["type"]
        assert "Hm" == events[0]["content"] and {"a": 1} == events[-3]["json"]
        assert 2 == len([event for event in events[:-1] if event["type"] == "response_delta"])
        assert ({}, "invalid_json") == (broken["result"]["json"], broken["metadata"]["warnings"][0]["code"])
        assert "schema_mismatch" == breach["metadata"]["warnings"][0]["code"]
        stored = (await fetched(gateway, events[-2]["content"]["chatId"]))["messages"][1]
        assert {"a": 1} == json.loads(stored["json"])


async def test_an_answer_nested_too_deep_to_be_checked_is_told_so() -> None:
    """A schema that cannot be held against it is a warning, not a fault of ours."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("[" * 900 + "]" * 900))
        answer = await generate(gateway, "x", persona="shaped")

        warnings = [(one["code"], one["message"]) for one in answer.json["metadata"]["warnings"]]
        assert (201, [("schema_mismatch", "nested too deep to be checked")]) == (answer.status, warnings)


MENDED = TABLE.replace("auth: none}", "auth: none, quirks: [strip_fence, unwrap_list]$more}", 1)
FENCED = '```json\n{"a":1}\n```'


async def test_what_a_row_does_to_answers_holds_behind_personas() -> None:
    """JSON comes out of its fence, whole and streamed at any cut, and an answer out of its list."""
    async with chatting(MENDED.replace("$more", "")) as (gateway, upstream):
        upstream.script(says(FENCED), streams(*FENCED), json_answer([chat_answer(FENCED)]))
        whole = (await generate(gateway, "x", persona="shaped")).json["result"]
        events = (await stream(gateway, "x", persona="shaped")).events
        listed = (await generate(gateway, "x", persona="shaped")).json["result"]

        final = next(event for event in events[:-1] if event["type"] == "final_response")
        assert [('{"a":1}', {"a": 1})] * 2 == [(one["message"], one["json"]) for one in (whole, listed)]
        assert ('{"a":1}', {"a": 1}) == (final["content"], final["json"])


@pytest.mark.parametrize(("said_", "status_", "calls"), [("retry_once", 201, 2), ("error", 502, 1), ("return", 201, 1)])
async def test_what_a_row_does_with_answers_that_are_no_json_holds_behind_personas(
    said_: str, status_: int, calls: int
) -> None:
    """Asked once more and the better one is kept; refused; or given with a warning."""
    async with chatting(MENDED.replace("$more", f", on_invalid_json: {said_}")) as (gateway, upstream):
        upstream.script(says("no json"), says('{"a":1}' if said_ == "retry_once" else "none"))
        answer = await generate(gateway, "x", persona="shaped")

        assert (status_, calls) == (answer.status, len(upstream.requests))
        if said_ == "retry_once":
            assert {"a": 1} == answer.json["result"]["json"]
            assert ["x", '{"a":1}'] == [text for _, text in said(await fetched(gateway, answer.json["chatId"]))]


async def test_functions_of_a_caller_are_not_offered() -> None:
    """Nobody here could run them: each has its warning."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        body = (await generate(gateway, "x", tools=[{"type": "function", "function": {"name": "look"}}])).json

        assert [{"code": "tool_not_available", "tool": "look"}] == body["metadata"]["warnings"]
        assert "tools" not in upstream.requests[0].json()


async def test_images_go_to_the_model_and_are_not_kept() -> None:
    """The text is kept, and a warning says what is not."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    async with chatting() as (gateway, upstream):
        upstream.script(says("a cat"))
        body = (await generate(gateway, user([{"type": "text", "text": "what?"}, image]))).json  # type: ignore[arg-type]
        sent = upstream.requests[0].json()["messages"][-1]["content"]

        assert ["text", "image_url"] == [part["type"] for part in sent]
        assert [{"code": "images_not_stored"}] == body["metadata"]["warnings"]
        assert [("user", "what?"), ("assistant", "a cat")] == said(await fetched(gateway, body["chatId"]))


async def test_a_message_of_an_image_alone_can_be_sent_back_as_it_was_fetched() -> None:
    """The model gets no word that the caller has not said; what is kept is no message without words."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    async with chatting() as (gateway, upstream):
        upstream.always(says("a cat"))
        first = (await generate(gateway, user([image]))).json  # type: ignore[arg-type]
        sent = upstream.requests[0].json()["messages"][-1]["content"]
        past = (await fetched(gateway, first["chatId"]))["messages"]
        again = [{"role": message["role"], "content": message["content"]} for message in past]
        answer = await generate(gateway, *again, "Which?", query=f"chatId={first['chatId']}")

        assert (["image_url"], "New chat") == ([part["type"] for part in sent], first["title"])
        assert 201 == answer.status
        assert ["[image]", "a cat", "Which?", "a cat"] == [
            text for _, text in said(await fetched(gateway, first["chatId"]))
        ]


# ── the same exchange as all calls ─────────────────────────────────────────────────────────────


async def test_a_generation_is_an_exchange_like_any_other() -> None:
    """Retried, counted, logged, with the usual headers; what it cost is in the answer."""
    async with chatting() as (gateway, upstream):
        upstream.script(status(500), says("ok"))
        answer = await generate(gateway, "x")
        line = (await gateway.lines())[-1]

        assert (201, "2", "up", "gpt-4o-mini") == (
            answer.status,
            answer.headers["x-isthmus-attempts"],
            answer.headers["x-isthmus-provider"],
            answer.headers["x-isthmus-model"],
        )
        assert {"inputTokens": 9, "outputTokens": 3} == answer.json["metadata"]["usage"]
        assert ("/api/v1/chat/generate", "chats", "ok") == (line["route"], line["caller_dialect"], line["outcome"])
        assert 1 == gateway.metric("isthmus_requests_total", caller_dialect="chats", provider="up", outcome="ok")
        assert 1 == gateway.metric("isthmus_retries_total", provider="up")
        assert "x" not in [line.get("text"), line.get("content")] and "What" not in await gateway.log_text()


@pytest.mark.parametrize(
    ("fault", "code", "word"), [(429, 429, "rate_limited"), (401, 502, "upstream_error"), (503, 503, "overloaded")]
)
@pytest.mark.parametrize("path", ["generate", "generate/stream"])
async def test_errors_of_upstreams_are_told_in_the_forms_of_this_api(
    fault: int, code: int, word: str, path: str
) -> None:
    """`message`, a short `error`, a code of the list, the request's id; nothing is stored."""
    async with chatting() as (gateway, upstream):
        upstream.always(status(fault, {"error": {"message": "no sk-CANARY123456 here"}}))
        answer = await gateway.post(f"/api/v1/chat/{path}", {"chat_history": [user("x")]})

        assert (code, word) == (answer.status, answer.json["code"])
        assert {"message", "error", "code", "requestId"} == answer.json.keys()
        assert answer.json["requestId"] == answer.headers["x-request-id"] and b"CANARY" not in answer.body
        assert [] == (await history(gateway))["chats"]


async def test_credentials_are_asked_for_before_anything_is_told() -> None:
    """401 in this API's form, the same for paths that are there and those that are not."""
    async with chatting(access=True) as (gateway, _):
        answers = [await call(gateway, "GET", path) for path in ("history", "nothing/here/at-all", "fetch/xyz")]

        assert [401, 401, 401] == [answer.status for answer in answers]
        assert {("Unauthorized", "Unauthorized", "unauthorized")} == {
            (answer.json["message"], answer.json["error"], answer.json["code"]) for answer in answers
        }
        assert 'Bearer error="invalid_token"' == answers[0].headers["www-authenticate"]


@pytest.mark.parametrize("claimed", [{"username": "alice"}, {"user": "alice", "userId": "alice", "owner": "jwt:alice"}])
async def test_j11_the_owner_is_the_tokens_subject_and_nothing_else(claimed: dict[str, str]) -> None:
    """What a body or a query claims widens no rights."""
    async with chatting(access=True) as (gateway, upstream):
        upstream.always(says("ok"))
        chat = (await generate(gateway, "secret", headers=token("alice"))).json["chatId"]
        query = "&".join(f"{key}={value}" for key, value in claimed.items())
        theirs = await generate(gateway, "x", query=f"chatId={chat}&{query}", headers=token("bob"), **claimed)
        seen = await call(gateway, "GET", f"history?{query}", headers=token("bob"))

        assert (404, []) == (theirs.status, seen.json["chats"])


async def test_a_key_that_may_not_use_a_model_may_not_use_its_persona() -> None:
    """403 before anybody is asked."""
    key = "sk-isthmus-" + "a" * 43
    row = f'{{name: team, hash: "sha256:{hashlib.sha256(key.encode()).hexdigest()}", models: [thinker]}}'
    async with chatting(TABLE + f"access: {{keys: [{row}]}}\n") as (gateway, upstream):
        answer = await generate(gateway, "x", headers={"authorization": f"Bearer {key}"})

        assert (403, "forbidden") == (answer.status, answer.json["code"]) and [] == upstream.requests


# ── what is kept of what goes wrong ────────────────────────────────────────────────────────────


async def test_d09_a_caller_who_leaves_leaves_nothing() -> None:
    """The upstream is let go within a second, and no chat is made."""
    async with chatting() as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), HANG))
        url = f"{gateway.url}/api/v1/chat/generate/stream"
        async with gateway.session.post(url, json={"chat_history": [user("x")]}) as response:
            await response.content.readany()
            response.close()
        await (await upstream.asked()).connection.left(within=1.0)
        await asyncio.sleep(0.1)

        assert [] == (await history(gateway))["chats"]
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


async def test_d09_a_finished_answer_is_kept_once_however_often_it_is_asked_for() -> None:
    """The same request with one idempotency-key: one chat, one call of the upstream, the same answer, either form."""
    async with chatting() as (gateway, upstream):
        upstream.always(either("Sunny."))
        headers = {"idempotency-key": "k1"}
        first = await generate(gateway, "x", headers=headers)
        again = await generate(gateway, "x", headers=headers)
        other = await generate(gateway, "y", headers=headers)

        assert (201, 201, 409) == (first.status, again.status, other.status)
        assert first.json["chatId"] == again.json["chatId"] and first.json["result"] == again.json["result"]
        assert 1 == len((await history(gateway))["chats"]) and 1 == len(upstream.requests)
        assert upstream.requests[0].header("idempotency-key") is None
        assert 409 == (await generate(gateway, "x", query="title=Other", headers=headers)).status
        streamed = [(await stream(gateway, "z", headers={"idempotency-key": "k2"})).events for _ in range(2)]
        assert streamed[0][2]["content"]["chatId"] == streamed[1][2]["content"]["chatId"]
        assert [event["type"] for event in streamed[0][:-1]] == [event["type"] for event in streamed[1][:-1]]


K = {"idempotency-key": "k"}


async def test_d13_the_same_request_at_the_same_time_makes_one_chat() -> None:
    """All get the answer that was stored, whole or streamed; one model call is paid, however the calls
    fall together."""
    async with chatting() as (gateway, upstream):
        upstream.always(either("Sunny."))
        for number in range(8):
            key = {"idempotency-key": f"k{number}"}
            await asyncio.gather(*(generate(gateway, "y", headers=key) for _ in range(3)))

            assert number + 1 == len(upstream.requests)
        answers = await asyncio.gather(*(generate(gateway, "x", headers=K) for _ in range(3)))
        streamed = await asyncio.gather(*(stream(gateway, "x", query="deltas=1", headers=K) for _ in range(2)))
        heads = [(answer.json["chatId"], answer.json["result"]["message"]) for answer in answers]
        heads += [(answer.events[-2]["content"]["chatId"], answer.events[-3]["content"]) for answer in streamed]

        assert {201} == {answer.status for answer in answers}
        assert 1 == len(set(heads)) and 9 == len((await history(gateway))["chats"]) == len(upstream.requests)


async def test_d13_streams_of_one_key_at_one_time_all_say_what_is_stored() -> None:
    """The pieces of each, joined, are its final text (T-3.9), and that is the stored one."""
    async with chatting() as (gateway, upstream):
        upstream.always(lambda _: sse(*chat_stream("answer", f" {len(upstream.requests)}", usage=(1, 1)), every=0.05))
        answers = await asyncio.gather(*(stream(gateway, "x", query="deltas=1", headers=K) for _ in range(3)))
        said_ = {
            (
                "".join(event["content"] for event in answer.events[:-1] if event["type"] == "response_delta"),
                answer.events[-3]["content"],
            )
            for answer in answers
        }
        stored = said(await fetched(gateway, answers[0].events[-2]["content"]["chatId"]))[1][1]

        assert {(stored, stored)} == said_
        assert 1 == len(upstream.requests)


@pytest.mark.parametrize("path", ["generate", "generate/stream"])
async def test_d13_when_the_first_of_a_key_leaves_the_second_is_answered(path: str) -> None:
    """Whoever waits takes over: nothing is lost, and nothing is held up."""
    async with chatting() as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), HANG), either("Sunny."))
        body = {"chat_history": [user("x")]}
        first = asyncio.create_task(gateway.post(f"/api/v1/chat/{path}", body, headers=K))
        await upstream.asked()
        second = asyncio.create_task(gateway.post(f"/api/v1/chat/{path}", body, headers=K))
        await asyncio.sleep(0.1)
        before = len(upstream.requests)
        first.cancel()
        answer = await second

        assert (1, 2) == (before, len(upstream.requests))
        assert answer.status in (200, 201) and b"Sunny." in answer.body and b"given_before" not in answer.body
        assert 1 == len((await history(gateway))["chats"])


async def test_d13_who_waits_for_the_first_of_a_key_waits_no_longer_than_for_a_model() -> None:
    """Its own time runs out as ever; when the first fails, another request may have the key."""
    async with chatting() as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), HANG), says("ok"))
        first = asyncio.create_task(stream(gateway, "x", headers=K))
        await upstream.asked()
        late = await generate(gateway, "x", headers={**K, "x-isthmus-timeout": "200ms"})
        other = asyncio.create_task(generate(gateway, "y", headers=K))
        await asyncio.sleep(0.1)
        first.cancel()

        assert (504, "upstream_timeout") == (late.status, late.json["code"])
        assert 201 == (await other).status and 2 == len(upstream.requests)


async def test_d13_few_wait_for_one_key() -> None:
    """One caller cannot fill the gateway with calls that wait: 503 for the sixth, at once; the others
    are answered."""
    async with chatting() as (gateway, upstream):
        go = asyncio.Event()
        upstream.always(says("ok").after(Until(go)))
        asking = [asyncio.create_task(generate(gateway, "x", headers=K)) for _ in range(5)]
        await upstream.asked()
        await asyncio.sleep(0.1)
        sixth = await generate(gateway, "x", headers=K)
        go.set()

        assert (503, "overloaded", "1") == (sixth.status, sixth.json["code"], sixth.headers["retry-after"])
        assert [201] * 5 == [(await task).status for task in asking] and 1 == len(upstream.requests)


async def test_d13_one_key_of_two_owners_is_two_keys() -> None:
    """Neither waits for the other, nor sees what the other was told."""
    async with chatting(access=True) as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), HANG), says("Bob's"))
        alices = asyncio.create_task(stream(gateway, "x", headers={**token("alice"), **K}))
        await upstream.asked()
        bobs = await generate(gateway, "x", headers={**token("bob"), **K})
        alices.cancel()

        assert (201, "Bob's") == (bobs.status, bobs.json["result"]["message"])


async def test_an_answer_that_is_given_again_is_the_whole_answer() -> None:
    """Why it ended, and its pieces where pieces are asked for."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("Sun", finish="length"))
        first = (await generate(gateway, "x", headers=K)).json
        again = (await generate(gateway, "x", headers=K)).json
        events = (await stream(gateway, "x", query="deltas=1", headers=K)).events

        assert first["result"] == again["result"] and "length" == again["result"]["finishReason"]
        assert ["thinking_update", "response_delta", "final_response", "metadata"] == [e["type"] for e in events[:-1]]
        assert ("Sun", "Sun", "length") == (
            events[1]["content"],
            events[2]["content"],
            events[3]["content"]["finishReason"],
        )
        assert "length" == (await fetched(gateway, first["chatId"]))["messages"][1]["finishReason"]


async def test_d09_a_finished_answer_is_given_again_after_a_restart(tmp_path: Path) -> None:
    """What was stored is known by its key, whoever is asked next; whole and streamed."""
    told: list[Any] = []
    for _ in range(2):
        async with chatting(store=tmp_path / "chats.db") as (gateway, upstream):
            upstream.always(either("Sunny."))
            whole = (await generate(gateway, "x", headers=K)).json
            events = (await stream(gateway, "y", headers={"idempotency-key": "s"})).events
            told.append((whole["result"], whole["chatId"], events[1], events[2]["content"]["messageId"]))
            asked = len(upstream.requests)

    assert told[0] == told[1] and 0 == asked


async def test_d09_a_caller_who_leaves_a_whole_answer_leaves_nothing() -> None:
    """As in a stream: the upstream is let go within a second, and no chat is made."""
    async with chatting() as (gateway, upstream):
        upstream.script(HANG)
        asking = asyncio.create_task(generate(gateway, "x"))
        request = await upstream.asked()
        asking.cancel()
        await request.connection.left(within=1.0)
        await asyncio.sleep(0.1)

        assert [] == (await history(gateway))["chats"]
        assert 1 == gateway.metric("isthmus_requests_total", outcome="client_left")


async def test_two_idempotency_keys_are_none() -> None:
    """400 where they differ: nobody knows which is meant; the same one twice is one."""
    async with chatting() as (gateway, upstream):
        upstream.script(says("ok"))
        body = json.dumps({"chat_history": [user("x")]}).encode()
        codes = []
        for keys in (("a", "b"), ("a", "a")):
            headers = CIMultiDict([("content-type", "application/json"), *(("idempotency-key", key) for key in keys)])
            async with gateway.session.post(f"{gateway.url}/api/v1/chat/generate", data=body, headers=headers) as reply:
                codes.append(reply.status)

        assert [400, 201] == codes


@pytest.mark.parametrize("query", [f"chatId={'a' * 24}&chatId={'b' * 24}", "title=a&title=b", "x=1&x=1"])
async def test_a_field_that_is_there_twice_in_a_query_is_refused(query: str) -> None:
    """As in a body: one of the two would be ignored."""
    async with chatting() as (gateway, upstream):
        answer = await generate(gateway, "x", query=query)

        assert (400, query.partition("=")[0]) == (answer.status, answer.json["details"][0]["field"])
        assert [] == upstream.requests


async def test_what_would_not_fit_into_a_chat_is_refused_before_a_model_is_asked() -> None:
    """A history whose new messages pass the limit of a chat: 413, and nobody was paid."""
    async with chatting() as (gateway, upstream):
        upstream.always(says("ok"))
        chat = await new(gateway, "t", *(user(f"a{number}") for number in range(1000)))
        too_many = await generate(gateway, *(f"b{number}" for number in range(1000)), query=f"chatId={chat}")
        asked = len(upstream.requests)
        fits = await generate(gateway, *(f"b{number}" for number in range(999)), query=f"chatId={chat}")

        assert (413, "payload_too_large", 0) == (too_many.status, too_many.json["code"], asked)
        assert 201 == fits.status


async def test_a_chat_that_changes_while_an_answer_is_made() -> None:
    """A new title and a pin hold, and the answer is stored; when the chat is deleted there is no answer to keep."""
    async with chatting() as (gateway, upstream):
        chat = await new(gateway, "old", user("Hello"), assistant("Hi!"))
        upstream.always(sse(*chat_stream("Sun", "ny", usage=(1, 1)), every=0.1))
        asking = asyncio.create_task(stream(gateway, "x", query=f"chatId={chat}"))
        await upstream.asked()
        await call(gateway, "PATCH", chat, {"title": "new", "pinned": True})
        metadata = (await asking).events[-2]["content"]
        data = await fetched(gateway, chat)
        asking = asyncio.create_task(stream(gateway, "y", query=f"chatId={chat}"))
        await upstream.asked(2)
        deleted = await call(gateway, "DELETE", chat)
        events = (await asking).events

        assert ("new", True, 4) == (data["title"], data["pinned"], len(data["messages"])) and "new" == metadata["title"]
        assert (200, "error", "not_found", "[DONE]") == (
            deleted.status,
            events[-2]["type"],
            events[-2]["code"],
            events[-1],
        )
        assert [] == (await history(gateway))["chats"]


async def test_the_documents_http_example_works_as_it_is_printed() -> None:
    """Only the address and the token are ours (given document: Alchemyst Chat Completion)."""
    body = b"""{
"chat_history": [
{ "role": "user", "content": "What's the weather like?" }
],
"persona": "maya"
}
"""
    async with chatting(access=True) as (gateway, upstream):
        upstream.script(says("Sunny."))
        answer = await raw_call(gateway.port, "POST", "/api/v1/chat/generate", body, headers=token("a"))

        assert 201 == answer.code
        assert {"result", "chatId", "title", "researchMode", "stream"} <= json.loads(answer.body).keys()


async def test_d09_a_drain_ends_a_stream_and_leaves_nothing() -> None:
    """SIGTERM: what is not over in time gets an error event; no chat is made."""
    async with chatting() as (gateway, upstream):
        upstream.script(sse(chat_chunk("Su"), HANG))
        asking = asyncio.create_task(stream(gateway, "x"))
        await upstream.asked()
        await asyncio.sleep(0.1)
        gateway.life.signal()
        await gateway.life.serve()
        events = (await asking).events

        assert ["thinking_update", "error", "[DONE]"] == [
            event["type"] if type(event) is dict else event for event in events
        ]
        assert "overloaded" == events[1]["code"]
        service = gateway.life.gateway.chats
        assert service is not None and () == (await service.store.page("local", Wanted())).heads
