"""The fake of Alchemyst itself: what it streams, keeps and refuses (its calls one by one: test_conformance.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.given.alchemyst import FIXED_STREAM, PRINTED_STREAM, Alchemyst, Proxied
from tests.given.fakes import KEY, ok
from tests.given.test_fakes import call

GENERATE = "/api/v1/chat/generate"
HI = {"role": "user", "content": "Hi"}
ALC = {"chat_history": [HI]}
ASKED = {"model": "m", "messages": [HI]}
CONTENTS: dict[str, Any] = {"contents": [{"parts": [{"text": "Hi"}]}]}
OPENAI_PATH = "/api/v1/proxy/https://api.openai.com/v1/sk-KEY/chat/completions"
GEMINI_PATH = "/api/v1/proxy/https://generativelanguage.googleapis.com/v1beta/models/g:generateContent"


async def test_its_streams_have_every_form() -> None:
    """With blank lines and without, json and replaySessionID, an error line, the document's as printed and mended."""
    scenarios = (
        *(ok(), ok(blank=True), ok(more=True), ok(error="no")),
        *(ok(raw=PRINTED_STREAM.removesuffix("data: [DONE]\n")), ok(raw=FIXED_STREAM.removesuffix("data: [DONE]\n"))),
    )
    async with Alchemyst() as fake:
        fake.plays(*scenarios)
        plain, blank, more, error, printed, fixed = [
            (await call(fake, ALC, f"{GENERATE}/stream"))[1].decode() for _ in scenarios
        ]
        lines = [json.loads(line.removeprefix("data: ")) for line in plain.splitlines()[:-1]]

        assert "\n\n" not in plain and plain.endswith("\ndata: [DONE]\n")
        assert ["thinking_update", "a_kind_that_is_new", "final_response", "final_response", "metadata"] == [
            line["type"] for line in lines
        ]
        assert 5 == blank.count("\n\n") and 5 == more.count('"replaySessionID": "r-1"') == more.count(
            '"json": {"a": 1}'
        )
        assert '"error": "no"' in error and "final_response" not in error
        assert (PRINTED_STREAM, FIXED_STREAM) == (printed, fixed)


@pytest.mark.parametrize("ids", [True, False])
async def test_it_keeps_each_message_once(ids: bool) -> None:
    """With ids or without; the answer is stored, too."""
    async with Alchemyst() as fake:
        chat = json.loads((await call(fake, ALC))[1])["chatId"]
        known = fake.chats[chat].messages
        past = [{"role": one["role"], "content": one["message"], **({"id": one["id"]} if ids else {})} for one in known]
        status, _ = await call(fake, {"chat_history": [*past, HI]}, f"{GENERATE}?chatId={chat}")

        assert 201 == status
        assert [("user", "Hi"), ("assistant", "Hello")] * 2 == [
            (one["role"], one["message"]) for one in fake.chats[chat].messages
        ]
        assert 4 == len({one["id"] for one in fake.chats[chat].messages})


async def test_a_stream_is_kept_and_a_direct_chat_is_not() -> None:
    """As the document has it; a call that the scenario lets fail keeps nothing."""
    async with Alchemyst() as fake:
        fake.plays(ok(), ok(), ok(error="no"))
        await call(fake, ALC, "/api/v1/chat")
        none = len(fake.chats)
        await call(fake, ALC, f"{GENERATE}/stream")
        await call(fake, ALC, f"{GENERATE}/stream")

        assert (0, 1) == (none, len(fake.chats))


async def test_each_token_has_chats_of_its_own() -> None:
    """Another's chat is not there, and a token that is none is 401."""
    async with Alchemyst(tolerant=True, tokens=("a", "b")) as fake:
        chat = json.loads((await call(fake, ALC, key="a"))[1])["chatId"]
        fetched = [(await call(fake, None, f"/api/v1/chat/fetch/{chat}", name, "GET"))[0] for name in ("a", "b", KEY)]
        lists = [json.loads((await call(fake, None, "/api/v1/chat/history", name, "GET"))[1]) for name in ("a", "b")]

        assert [200, 404, 401] == fetched
        assert [1, 0] == [len(told["chats"]) for told in lists]


async def test_its_proxy_paths_record_whom_they_name() -> None:
    """The address raw or encoded, the key of the path or header, a default without one."""
    async with Alchemyst() as fake:
        codes = [
            (await call(fake, ASKED, OPENAI_PATH))[0],
            (await call(fake, ASKED, "/api/v1/proxy/https%3A%2F%2Fapi.openai.com%2Fv1/sk-KEY/chat/completions"))[0],
            (await call(fake, ASKED, "/api/v1/proxy/default/chat/completions"))[0],
            (await call(fake, CONTENTS, GEMINI_PATH, **{"x-goog-api-key": "AIzaUP"}))[0],
            (await call(fake, CONTENTS, f"{GEMINI_PATH}?key=AIzaUP"))[0],
            (await call(fake, CONTENTS, GEMINI_PATH))[0],
        ]
        gemini = ("https://generativelanguage.googleapis.com", "AIzaUP", "g:generateContent")

        assert [200] * 6 == codes
        assert [
            *[Proxied("https://api.openai.com/v1", "sk-KEY")] * 2,
            Proxied("default", None),
            *[Proxied(*gemini)] * 2,
            Proxied(gemini[0], None, gemini[2]),
        ] == fake.proxied


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((OPENAI_PATH, bad) for bad in ({"messages": [HI]}, {"model": "m"}, {"model": "", "messages": [HI]})),
        (OPENAI_PATH, {"model": "m", "messages": [{"role": "tool", "content": "x"}]}),
        (OPENAI_PATH, {"model": "m", "messages": [{"role": "user"}]}),
        *((GEMINI_PATH, bad) for bad in ({}, {"contents": []}, {"contents": [{"parts": "x"}]}, {"contents": ["x"]})),
        *(
            (GEMINI_PATH, {**CONTENTS, "generationConfig": bad})
            for bad in ({"temperature": 1.1}, {"topP": -0.1}, {"topK": 0.5}, {"maxOutputTokens": 0}, [])
        ),
        *(
            (GEMINI_PATH, {**CONTENTS, "safetySettings": [bad]})
            for bad in (
                {"category": "HARM_CATEGORY_OTHER", "threshold": "BLOCK_NONE"},
                {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"},
            )
        ),
    ],
    ids=str,
)
async def test_its_proxy_paths_refuse(path: str, body: Any) -> None:
    """400 in the words of the path, and nobody is named."""
    async with Alchemyst(tolerant=True) as fake:
        status, data = await call(fake, body, path)
        error = json.loads(data)["error"]

        assert (400, []) == (status, fake.proxied)
        assert ({"message", "details"} if "models" in path else {"message", "type", "code"}) == error.keys()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "new", None, 404),
        ("POST", "history", {}, 404),
        ("POST", "new", {"title": "", "messages": []}, 400),
        ("POST", "new", {"title": "t", "messages": [], "foo": 1}, 400),
        ("POST", "generate/stream?chatId=x", ALC, 400),
        ("POST", "generate?foo=1", ALC, 400),
        ("POST", "generate/stream", {**ALC, "voice": True}, 400),
        ("POST", "", {**ALC, "stream": True}, 400),
        ("PATCH", "{chat}", {"title": "t", "foo": 1}, 400),
        ("PUT", "{chat}/pin", {"pinned": True, "foo": 1}, 400),
    ],
)
async def test_it_refuses_what_its_document_does_not_have(method: str, path: str, body: Any, status: int) -> None:
    """Stricter than a server that ignores: unknown fields and queries are noted."""
    async with Alchemyst(tolerant=True) as fake:
        chat = json.loads((await call(fake, ALC))[1])["chatId"]
        target = f"/api/v1/chat/{path.replace('{chat}', chat)}".rstrip("/")
        found, _ = await call(fake, body, target, method=method)

        assert (status, 1) == (found, len(fake.refused))
