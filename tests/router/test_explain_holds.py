"""What `explain` tells is what a call does next: random tables and random calls, each explained and then made."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest

from router.explain import Question, explain
from tests.answers import anthropic_answer, chat_answer, gemini_answer, ollama_answer, responses_answer
from tests.fakes import FakeUpstream, Received, Until, json_answer, status
from tests.running import Running, running

#: By provider: what it speaks, where its base URL ends, and how it answers.
UPSTREAMS: dict[str, tuple[str, str, Any]] = {
    "oa": ("openai.chat", "/v1", chat_answer()),
    "ob": ("openai.chat", "/v1", chat_answer()),
    "oc": ("openai.chat", "/v1", chat_answer()),
    "re": ("openai.responses", "/v1", responses_answer()),
    "ge": ("gemini", "", gemini_answer()),
    "an": ("anthropic.messages", "", anthropic_answer()),
    "ol": ("ollama.chat", "", ollama_answer()),
}
CONDITIONS = {
    "key": ["one", "[one, two]", '"t*"'],
    "header": ["{x-tier: {equals: gold}}", "{x-tier: {present: true}}", "{x-tier: {present: false}}"],
    "tokens": ["{above: 50}", "{below: 50}", "{above: 5, below: 500}"],
    "tools": ["true", "false"],
    "media": ["true", "false", "[image]"],
    "stream": ["false"],
}
KEYS = ("one", "two")
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
MORE: dict[str, dict[str, Any]] = {
    CHAT: {"seed": 4, "temperature": 0.4, "logit_bias": {"3": 4}, "n": 2, "tools": [TOOL], "response_format": SCHEMA},
    MESSAGES: {"top_k": 4, "temperature": 0.4, "tools": [{"name": "f", "input_schema": {"type": "object"}}]},
}


def some_table(dice: random.Random) -> str:
    rows = [
        f'  {name}: {{base_url: "$up/{name}{end}", speaks: [{speaks}], auth: none}}'
        for name, (speaks, end, _) in UPSTREAMS.items()
    ]
    keys = [
        f'    - {{name: {name}, hash: "${name}", {_or_none(dice, "budget: {usd: 9, per: month}")}}}' for name in KEYS
    ]
    routes = [
        f"  - {{path: {path}, speaks: {speaks}, to: models, {_or_none(dice, 'prefer: fidelity')}}}"
        for path, speaks in ((CHAT, "openai.chat"), (MESSAGES, "anthropic.messages"))
    ]
    return "\n".join(
        [
            'server: {listen: "127.0.0.1:0", admin: null, drain: 1s}',
            *("access:", "  keys:", *keys),
            *("providers:", *rows),
            *("models:", *(f"  {name}: {_some_model(dice)}" for name in "abc")),
            "prices: {oa/x: {input: 1, output: 2}, ob/x: {input: 3, output: 1}, oc/y: {input: 1}, an/x: {input: 0}}",
            f"policies: {{default: {{attempts: 1, breaker: null, {_or_none(dice, 'on_loss: reject')}}}}}",
            *("routes:", *routes),
        ]
    )


def _or_none(dice: random.Random, text: str) -> str:
    return dice.choice(["", text])


def _some_model(dice: random.Random) -> str:
    targets = []
    for name in dice.sample(list(UPSTREAMS), dice.randint(1, 5)):
        asked = dice.sample(list(CONDITIONS), dice.choice([0, 0, 1, 2]))
        when = ", ".join(f"{each}: {dice.choice(CONDITIONS[each])}" for each in asked)
        weight = dice.randint(1, 4)
        targets.append(f"{{provider: {name}, model: {dice.choice('xy')}, weight: {weight}, when: {{{when}}}}}")
    targets = [target.replace(", when: {}", "") for target in targets]
    said = [
        f"choose: {dice.choice(['in_order', 'weighted', 'least_busy', 'fastest', 'cheapest'])}",
        f"sticky: {dice.choice(['conversation', 'caller', 'header:x-session', 'off'])}",
        f"prefer: {dice.choice(['fidelity', 'off'])}",
    ]
    to = f"to: [{', '.join(targets)}]"
    return f"{{{', '.join([*dice.sample(said, dice.randint(0, 3)), to])}}}"


def some_call(dice: random.Random) -> Question:
    path = dice.choice([CHAT, CHAT, MESSAGES])
    headers = {"authorization": f"Bearer {dice.choice(KEYS)}"}
    said = {"x-tier": dice.choice(["gold", "silver"]), "x-session": dice.choice("12345")}
    headers |= {name: value for name, value in said.items() if dice.random() < 0.5}
    text = f"{dice.random()} {'x' * dice.choice([1, 100, 4000])}"
    parts = [{"type": "text", "text": text}, *([IMAGE] if path == CHAT and dice.random() < 0.2 else [])]
    more = {name: value for name, value in MORE[path].items() if dice.random() < 0.3}
    body = {"model": dice.choice("abc"), "max_tokens": 9, "messages": [{"role": "user", "content": parts}], **more}
    return Question(path=path, headers=headers, body=body)


def _answered(request: Received) -> Any:
    return json_answer(UPSTREAMS[request.target.split("/")[1]][2])


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_explained_is_what_happens(seed: int) -> None:
    """The same target, its request to the letter, the same lane and losses; or the same refusal, with nobody called."""
    dice = random.Random(seed)
    hashes = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in KEYS}
    async with FakeUpstream() as upstream, running(some_table(dice), up=upstream.url, **hashes) as gateway:
        upstream.always(_answered)
        for _ in range(15):
            drawn = dice.random()
            gateway.life.gateway.dice = lambda drawn=drawn: drawn
            assert await _told(gateway, question := some_call(dice)) == await _done(gateway, upstream, question)


async def _told(gateway: Running, question: Question) -> Any:
    told = await explain(gateway.life.gateway, question)
    if "refused" in told:
        return told["refused"]["status"], told["refused"]["body"]
    chosen = next(one for one in told["candidates"] if one["chosen"])
    lost = {loss["field"] for loss in told["losses"]}
    return chosen["provider"], told["upstream_request"]["body"], told["lane"], lost


async def _done(gateway: Running, upstream: FakeUpstream, question: Question) -> Any:
    before = len(upstream.requests)
    answer = await gateway.post(question.path, question.body, headers=question.headers)
    if answer.status != 200:
        assert before == len(upstream.requests)
        return answer.status, answer.json
    sent = upstream.requests[before]
    named = [each.partition("=")[0] for each in answer.headers.get("x-isthmus-loss", "").split(", ") if each]
    return sent.target.split("/")[1], sent.json(), answer.headers["x-isthmus-lane"], set(named)


BROKEN = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  one: {base_url: "$up/one/v1", speaks: [openai.chat], auth: none}
  two: {base_url: "$up/two/v1", speaks: [openai.chat], auth: none}
models: {m: [{provider: one, model: x}, {provider: two, model: x}]}
policies: {default: {attempts: 1, breaker: {failures: 2}}}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""


async def test_targets_that_are_left_alone_are_not_called() -> None:
    """While another one is well that comes first; where none is left the call is refused, and that is told."""
    question = Question(path=CHAT, body={"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    async with FakeUpstream() as upstream, running(BROKEN, up=upstream.url) as gateway:
        upstream.always(lambda request: status(500))
        told, hits = [], []
        for _ in range(5):
            told.append(await explain(gateway.life.gateway, question))
            before = len(upstream.requests)
            answer = await gateway.post(question.path, question.body)
            hits.append([request.target.split("/")[1] for request in upstream.requests[before:]])

        chosen = [[one["provider"] for one in each["candidates"] if one["chosen"]] for each in told]
        assert [["one"], ["one"], ["two"], ["two"], []] == hits == chosen
        assert (answer.status, answer.json) == (told[4]["refused"]["status"], told[4]["refused"]["body"])


async def test_targets_without_a_place_are_not_called() -> None:
    """Nor is one that has none free and lets nobody wait; others come first."""
    question = Question(path=CHAT, body={"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    table = BROKEN.replace("auth: none}", "auth: none, concurrency: 1}")
    async with FakeUpstream() as upstream, running(table, up=upstream.url) as gateway:
        go = asyncio.Event()
        upstream.always(lambda request: json_answer(chat_answer()).after(Until(go)))
        told, busy = [], []
        for number in range(3):
            told.append(await explain(gateway.life.gateway, question))
            busy.append(asyncio.create_task(gateway.post(question.path, question.body)))
            await upstream.asked(min(number + 1, 2))
        refused = await busy[2]
        go.set()
        await asyncio.gather(*busy)

        chosen = [[one["provider"] for one in each["candidates"] if one["chosen"]] for each in told]
        assert [["one"], ["two"], []] == chosen
        assert (refused.status, refused.json) == (told[2]["refused"]["status"], told[2]["refused"]["body"])
