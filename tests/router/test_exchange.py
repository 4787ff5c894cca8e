"""Conversations through the real server: what a caller sends, what the upstream gets, what comes back."""

from __future__ import annotations

from tests.fakes import FakeUpstream, json_answer
from tests.answers import chat_answer
from tests.running import running

TABLE = """
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:UP_KEY"}
models:
  fast: [{provider: up, model: gpt-5-mini}]
  "gpt-*": [{provider: up}]
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
"""
KEY = {"UP_KEY": "sk-upstream-secret"}
HELLO = {"model": "fast", "messages": [{"role": "user", "content": "Hello!"}]}


async def test_a_chat_is_relayed_with_the_targets_model_and_our_credential() -> None:
    """The upstream gets the caller's body with the model replaced, and our key instead of the caller's."""
    async with FakeUpstream() as upstream, running(TABLE, KEY, up=upstream.url) as gateway:
        upstream.script(json_answer(chat_answer("Hi there!")))

        answer = await gateway.post("/v1/chat/completions", HELLO, headers={"authorization": "Bearer caller"})

        assert 200 == answer.status, answer.body
        assert "Hi there!" == answer.json["choices"][0]["message"]["content"]
        print(upstream.requests[0])
        print(answer.headers)
        print(await gateway.log_text())
