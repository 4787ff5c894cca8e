"""One list of calls for the fake of Alchemyst and for our own server: both pass, or one of them is not that API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import pytest

from tests.alchemyst_api import EXAMPLE, conforms
from tests.chats import ACCESS, SECRET, token
from tests.given.alchemyst import Alchemyst, Proxied
from tests.given.vendors import Gemini, OpenAI
from tests.running import running

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  openai: {base_url: "$openai/v1", speaks: [openai.chat], secret: "env:OURS"}
  gemini: {base_url: "$gemini", speaks: [gemini], auth: google_key, secret: "env:OURS"}
models: {small: [{provider: openai, model: gpt-4o-mini}]}
routes:
  - path: /api/v1/proxy/{proxyUrl:url}/{OpenAIAPIKey:secret}/chat/completions
    speaks: openai.chat
    to: named
    egress: {listed: [openai], unlisted: false}
  - path: /api/v1/proxy/{geminiUrl:url}/v1beta/models/{modelNameAndTask}
    speaks: gemini
    to: named
    egress: {listed: [gemini], unlisted: false}
chats: {store: "sqlite:chats.db", personas: {maya: {model: small}}}
"""


@dataclass(frozen=True)
class Served:
    """A server of the API: two callers, whom its proxy paths may name, and whom they did name."""

    url: str
    headers: dict[str, str]
    others: dict[str, str]
    openai: str
    gemini: str
    proxied: list[Proxied]


class Serving(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Served]: ...


@asynccontextmanager
async def fake() -> AsyncIterator[Served]:
    async with Alchemyst(tolerant=True, tokens=("alice", "bob")) as service:
        alice, bob = ({"authorization": f"Bearer {name}"} for name in ("alice", "bob"))
        openai, gemini = "https://api.openai.com/v1", "https://generativelanguage.googleapis.com"
        yield Served(service.url, alice, bob, openai, gemini, service.proxied)


@asynccontextmanager
async def ours() -> AsyncIterator[Served]:
    async with (
        OpenAI() as openai,
        Gemini() as gemini,
        running(
            TABLE + ACCESS, {"JWT_SECRET": SECRET, "OURS": "configured"}, openai=openai.url, gemini=gemini.url
        ) as gateway,
    ):
        proxied: list[Proxied] = []
        yield Served(gateway.url, token("alice"), token("bob"), f"{openai.url}/v1", gemini.url, proxied)
        for seen, credential in zip(openai.seen, openai.credentials, strict=True):
            if seen.body == EXAMPLE:
                proxied.append(Proxied(f"{openai.url}{seen.target.removesuffix('/chat/completions')}", credential))
        for seen, credential in zip(gemini.seen, gemini.credentials, strict=True):
            address, _, task = seen.target.partition("/v1beta/models/")
            proxied.append(Proxied(gemini.url + address, credential, task))


@pytest.mark.parametrize("serving", [fake, ours])
async def test_everything_that_the_documents_say_is_so(serving: Serving) -> None:
    """Every call has its status and required fields; the two good proxy calls, and no others, reach whom they name."""
    async with serving() as served, aiohttp.ClientSession() as session:
        await conforms(session, served.url, served.headers, served.others, openai=served.openai, gemini=served.gemini)

    assert [
        Proxied(served.openai, "sk-KEY"),
        Proxied(served.gemini, "AIzaUP", "gemini-2.5-flash:generateContent"),
    ] == served.proxied
