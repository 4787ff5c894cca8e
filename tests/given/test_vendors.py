"""The fakes of OpenAI, Gemini and Anthropic refuse what is not theirs; the proxy paths call each as it wants."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.given.callers import BEARER
from tests.given.fakes import KEY
from tests.given.test_fakes import call
from tests.given.vendors import Anthropic, Gemini, OpenAI, Vendor
from tests.running import running

HI = [{"role": "user", "content": "Hi"}]
ASKED = {"model": "m", "messages": HI}
CONTENTS = {"contents": [{"parts": [{"text": "Hi"}]}]}
TASK = "/v1beta/models/g:generateContent"
STREAMED = "/v1beta/models/g:streamGenerateContent"
GOOGLE = {"authorization": "", "x-goog-api-key": "AIzaUP"}
CLAUDE = {"authorization": "", "x-api-key": "sk-ant-KEY", "anthropic-version": "2023-06-01"}
CLAUDE_ASKED = {**ASKED, "max_tokens": 9}


@pytest.mark.parametrize(
    ("make", "path", "body", "headers", "credential"),
    [
        (OpenAI, "/v1/chat/completions", {**ASKED, "foo": 1}, {}, KEY),
        (Gemini, TASK, CONTENTS, GOOGLE, "AIzaUP"),
        (Gemini, "/v1/models/g:generateContent", CONTENTS, GOOGLE, "AIzaUP"),
        (Gemini, f"{STREAMED}?alt=sse", CONTENTS, GOOGLE, "AIzaUP"),
        (Gemini, STREAMED, CONTENTS, GOOGLE, "AIzaUP"),
        (Anthropic, "/v1/messages", CLAUDE_ASKED, CLAUDE, "sk-ant-KEY"),
        (Anthropic, "/v1/messages", {**CLAUDE_ASKED, "stream": True}, CLAUDE, "sk-ant-KEY"),
        (OpenAI, "/v1/chat/completions", {**ASKED, "stream": True}, {}, KEY),
    ],
)
async def test_a_good_call_is_answered_and_recorded(
    make: type[Vendor], path: str, body: Any, headers: dict[str, str], credential: str
) -> None:
    """Target and credential."""
    async with make() as fake:
        status, data = await call(fake, body, path, **headers)

        assert (200, True, True) == (status, b"Hel" in data, b"lo" in data)
        assert ([path], [credential], body) == (
            [seen.target for seen in fake.seen],
            fake.credentials,
            fake.seen[0].body,
        )


@pytest.mark.parametrize(
    ("make", "path", "body", "headers", "status"),
    [
        (OpenAI, "/v1/chat/completions", ASKED, {"authorization": ""}, 401),
        (OpenAI, "/v1/chat/completions", ASKED, {"authorization": "Basic x"}, 401),
        (OpenAI, "/v1/chat/completions", ASKED, {"x-upstream-api-key": "k"}, 401),
        (OpenAI, "/chat/completions", ASKED, {}, 404),
        (OpenAI, "/v1/chat/completions?key=k", ASKED, {}, 400),
        (OpenAI, "/v1/chat/completions", {"model": "m"}, {}, 400),
        (Gemini, TASK, CONTENTS, {"authorization": ""}, 401),
        (Gemini, TASK, CONTENTS, {"x-goog-api-key": "AIzaUP"}, 401),
        (Gemini, f"{TASK}?key=AIzaUP", CONTENTS, GOOGLE, 400),
        (Gemini, "/v2/models/g:generateContent", CONTENTS, GOOGLE, 404),
        (Gemini, "/v1beta/v1/models/g:generateContent", CONTENTS, GOOGLE, 404),
        (Gemini, TASK, {"contents": []}, GOOGLE, 400),
        (Anthropic, "/v1/messages", CLAUDE_ASKED, {**CLAUDE, "x-api-key": ""}, 401),
        (Anthropic, "/v1/messages", CLAUDE_ASKED, {**CLAUDE, "authorization": "Bearer x"}, 401),
        (Anthropic, "/v1/messages", CLAUDE_ASKED, {**CLAUDE, "anthropic-version": ""}, 400),
        (Anthropic, "/v1/messages", CLAUDE_ASKED, {**CLAUDE, "anthropic-version": "latest"}, 400),
        (Anthropic, "/v1/messages", ASKED, CLAUDE, 400),
    ],
)
async def test_what_is_not_theirs_is_refused(
    make: type[Vendor], path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    """Wrong places of a credential, wrong paths, missing fields: each is noted."""
    async with make(tolerant=True) as fake:
        found, data = await call(fake, body, path, **headers)

        assert (status, 1) == (found, len(fake.refused))
        assert json.loads(data)


TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  openai: {base_url: "$openai/v1", speaks: [openai.chat], secret: "env:OURS"}
  gemini: {base_url: "$gemini", speaks: [gemini], auth: google_key, secret: "env:OURS"}
  anthropic: {base_url: "$anthropic", speaks: [anthropic.messages], auth: anthropic_key, secret: "env:OURS"}
routes:
  - path: /api/v1/proxy/{proxyUrl:url}/{OpenAIAPIKey:secret}/chat/completions
    speaks: openai.chat
    to: named
    egress: {listed: [openai], unlisted: false}
  - path: /api/v1/proxy/{geminiUrl:url}/v1beta/models/{modelNameAndTask}
    speaks: gemini
    to: named
    egress: {listed: [gemini], unlisted: false}
  - path: /api/v1/proxy/{claudeUrl:url}/{claudeKey:secret}/v1/messages
    speaks: anthropic.messages
    to: named
    egress: {listed: [anthropic], unlisted: false}
"""


async def test_the_proxy_paths_call_each_as_it_wants() -> None:
    """The key of the path or header where the vendor looks for it, the configured one without; whole and streamed."""
    async with (
        OpenAI() as openai,
        Gemini() as gemini,
        Anthropic() as anthropic,
        running(TABLE, {"OURS": "ours"}, openai=openai.url, gemini=gemini.url, anthropic=anthropic.url) as gateway,
    ):
        calls: list[tuple[str, Any, dict[str, str]]] = [
            (f"{openai.url}/v1/sk-KEY/chat/completions", ASKED, {}),
            ("openai/chat/completions", {**ASKED, "stream": True}, {}),
            (f"{gemini.url}{TASK}", CONTENTS, {"x-goog-api-key": "AIzaUP"}),
            (f"{gemini.url}{STREAMED}?alt=sse", CONTENTS, {}),
            (f"{anthropic.url}/sk-ant-KEY/v1/messages", CLAUDE_ASKED, {}),
            ("anthropic/v1/messages", {**CLAUDE_ASKED, "stream": True}, {"anthropic-version": "2023-06-01"}),
        ]
        answers = [
            await gateway.post(f"/api/v1/proxy/{path}", body, headers={**BEARER, **headers})
            for path, body, headers in calls
        ]

        assert [200] * 6 == [answer.status for answer in answers]
        assert all(b"Hel" in answer.body for answer in answers)
        assert [["sk-KEY", "ours"], ["AIzaUP", "ours"], ["sk-ant-KEY", "ours"]] == [
            fake.credentials for fake in (openai, gemini, anthropic)
        ]
        assert [TASK, f"{STREAMED}?alt=sse"] == [seen.target for seen in gemini.seen]
        assert [CLAUDE_ASKED, {**CLAUDE_ASKED, "stream": True}] == [seen.body for seen in anthropic.seen]
