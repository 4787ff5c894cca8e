"""Budgets of callers' keys, by conversation: the running gateway in front of a scripted upstream.

A token costs a thousandth of a dollar: QUESTION is 10 to read and up to 90 to answer, 0.1 in all; COUNTED is 12.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import aiohttp
import pytest

from router.explain import Question, explain
from router.policy.budget import Purse
from router.settings import Coin
from router.state import ledger
from tests.answers import anthropic_closing, anthropic_opening, chat_answer, chat_chunk, chat_stream
from tests.fakes import HANG, RESET, FakeUpstream, Sleep, json_answer, sse, status
from tests.router.test_server import Served, serving
from tests.running import Answer as Given
from tests.running import Running, running

KEY, PLAIN = "sk-isthmus-budget", "sk-isthmus-plain"
TABLE = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 1s}
access:
  keys:
    - {name: team, hash: "$team", budget: $budget}
    - {name: plain, hash: "$plain"}
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat, openai.embeddings], auth: none}
  dear: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  unknown: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  free: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  metered: {base_url: "$up/v1", speaks: [openai.chat], auth: none, credits: {m: 2, large: 2.5}}
  claude: {base_url: "$up", speaks: [anthropic.messages], auth: none}
  gone: {base_url: "http://127.0.0.1:9/v1", speaks: [openai.chat], auth: none}
models:
  m: [{provider: up, model: m}]
  e: [{provider: up, model: m}]
  both: [{provider: up, model: m}, {provider: dear, model: m}]
  unknown: [{provider: unknown, model: m}]
  perhaps: [{provider: unknown, model: m}, {provider: up, model: m}]
  free: [{provider: free, model: m}]
  metered: [{provider: metered, model: m}]
  dearer: [{provider: metered, model: m}, {provider: metered, model: large}]
  claude: [{provider: claude, model: m}]
  gone: [{provider: gone, model: m}]
  large: [{provider: dear, model: m, when: {tokens: {above: 1000}}}, {provider: up, model: m}]
  never: [{provider: dear, model: m, when: {key: plain}}, {provider: dear, model: m, when: {tools: true}}]
  hidden: [{provider: up, model: m, when: {key: plain}}, {provider: unknown, model: m}]
prices:
  up/*: {input: 1000, output: 1000}
  dear/*: {input: 3000, output: 3000}
  gone/*: {input: 1000, output: 1000}
  claude/*: {input: 1000, output: 1000}
  free/*: {input: 0, output: 0}
policies: {default: {attempts: 2, breaker: null, wait: {first: 1ms, most: 1ms}, timeouts: {first_byte: 3s, idle: 1s}}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: /v1/messages/count_tokens, speaks: anthropic.messages, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: "/v1/audio/*", speaks: opaque, to: [{provider: up}]}
  - {path: "/named/{u:url}/{k:secret}/chat/completions", speaks: openai.chat, to: named, egress: {listed: [up]}}
chats:
  store: "sqlite:chats.db"
  default: maya
  personas: {maya: {model: m, system: Hi.}}
"""
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "x" * 28}], "max_tokens": 90}
COUNTED = json_answer(chat_answer(usage=(9, 3)))
UNCOUNTED = json_answer(chat_answer(usage=None))


def _hash(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@contextlib.asynccontextmanager
async def spending(
    budget: str = "{usd: 1, per: month}", state: str = ""
) -> AsyncIterator[tuple[Running, FakeUpstream]]:
    """A gateway whose key `sk-isthmus-budget` has this budget."""
    names = {"budget": budget, "team": _hash(KEY), "plain": _hash(PLAIN)}
    async with FakeUpstream() as upstream, running(TABLE + state, up=upstream.url, **names) as gateway:
        upstream.always(COUNTED)
        yield gateway, upstream


async def ask(gateway: Running, path: str = CHAT, body: Any = None, *, key: str = KEY, **headers: str) -> Given:
    given = {"authorization": f"Bearer {key}", **headers}
    return await gateway.post(path, QUESTION if body is None else body, headers=given)


def purse(gateway: Running, coin: Coin = "usd") -> Purse:
    life = gateway.life.gateway
    budgets = life.generation.key_budgets()
    return life.budgets.of("team", budgets["team"], life.wall()).purses[coin]


def told(gateway: Running) -> tuple[Decimal, Decimal, Decimal]:
    """Spent, the part of it that was not counted, and what is set aside."""
    found = purse(gateway)
    return found.spent, found.estimated, found.reserved


def thousandths(spent: int, estimated: int = 0, reserved: int = 0) -> tuple[Decimal, ...]:
    return tuple(Decimal(count) / 1000 for count in (spent, estimated, reserved))


async def use_up(gateway: Running, upstream: FakeUpstream) -> None:
    """A dollar, in one call."""
    upstream.script(json_answer(chat_answer(usage=(500, 500))))
    assert 200 == (await ask(gateway)).status


# ── which targets ──────────────────────────────────────────────────────────────────────


async def test_what_takes_no_part_in_a_call_is_not_set_aside() -> None:
    """A dear target for other calls refuses nobody; it takes no room from calls that it never gets."""
    async with spending("{usd: 0.15, per: month}") as (gateway, upstream):
        upstream.script(COUNTED.after(Sleep(0.3)))
        call = asyncio.create_task(ask(gateway, body=QUESTION | {"model": "large"}))
        await upstream.asked()
        aside = told(gateway)

        assert thousandths(0, 0, 100) == aside
        assert 200 == (await call).status


async def test_a_call_that_no_target_takes_is_told_so() -> None:
    """And not that it is too dear, or that nobody knows what it costs; nothing is set aside for it."""
    async with spending("{usd: 0.15, per: month}") as (gateway, _):
        refused = await ask(gateway, body=QUESTION | {"model": "never"})
        hidden = await ask(gateway, body=QUESTION | {"model": "hidden"})

        assert ((400, "unsupported_parameter"), thousandths(0)) == (
            (refused.status, refused.json["error"]["code"]),
            told(gateway),
        )
        assert (403, "price_unknown") == (hidden.status, hidden.json["error"]["code"])


# ── refusals ───────────────────────────────────────────────────────────────────────────


async def test_past_its_budget_a_key_is_refused() -> None:
    """429 before anything is sent, to be tried again by nobody, and counted as rejected; others go on."""
    async with spending() as (gateway, upstream):
        await use_up(gateway, upstream)
        refused = await ask(gateway)
        line = (await gateway.lines())[-1]
        other = await ask(gateway, key=PLAIN)

        assert (429, 200, 2) == (refused.status, other.status, len(upstream.requests))
        assert {
            "message": "this key's budget of 1 US dollars a month is used up",
            "type": "rate_limit_error",
            "param": None,
            "code": "insufficient_credits",
        } == refused.json["error"]
        assert ("false", "caller", "0") == tuple(
            refused.headers[name] for name in ("x-should-retry", "x-isthmus-fault", "x-isthmus-budget-remaining-usd")
        )
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert 1 == gateway.metric("isthmus_rejected_total", reason="budget_spent")
        assert ("rejected", "budget_spent", "usd") == (line["outcome"], line["error"], line["reason"])


CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        (CHAT, QUESTION | {"stream": True}, 429, ["rate_limit_error", "insufficient_credits"]),
        ("/v1/responses", {"model": "m", "input": "Hi"}, 429, ["rate_limit_error", "insufficient_credits"]),
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 5, "messages": MESSAGES},
            429,
            ["rate_limit_error", "insufficient_credits"],
        ),
        ("/v1beta/models/m:generateContent", {"contents": CONTENTS}, 429, ["RESOURCE_EXHAUSTED"]),
        ("/v1beta/models/m:streamGenerateContent", {"contents": CONTENTS}, 429, ["RESOURCE_EXHAUSTED"]),
        ("/ollama/api/chat", {"model": "m", "messages": MESSAGES}, 429, ["insufficient_credits"]),
        ("/v1/embeddings", {"model": "e", "input": "Hi"}, 429, ["rate_limit_error", "insufficient_credits"]),
        ("/api/v1/chat", {"chat_history": MESSAGES}, 402, ["Payment Required", "insufficient_credits"]),
        ("/api/v1/chat/generate", {"chat_history": MESSAGES}, 402, ["Payment Required", "insufficient_credits"]),
        ("/api/v1/chat/generate/stream", {"chat_history": MESSAGES}, 402, ["Payment Required", "insufficient_credits"]),
    ],
)
async def test_every_way_in_is_held_to_the_budget(path: str, body: Any, code: int, words: list[str]) -> None:
    """T-3.12 among them: 402 in the chat service's own body. Nothing is sent to any upstream."""
    async with spending() as (gateway, upstream):
        await use_up(gateway, upstream)
        refused = await ask(gateway, path, body)
        text = refused.body.decode()

        assert (code, 1, "false") == (refused.status, len(upstream.requests), refused.headers["x-should-retry"])
        assert [word for word in (*words, "budget of 1 US dollars a month") if word not in text] == []
        assert 1 <= int(refused.headers["retry-after"]) <= 3600


async def test_a_refused_generation_leaves_no_chat() -> None:
    """What was asked is not stored."""
    async with spending() as (gateway, upstream):
        await use_up(gateway, upstream)
        await ask(gateway, "/api/v1/chat/generate", {"chat_history": MESSAGES})
        headers = {"authorization": f"Bearer {KEY}"}
        history = await gateway.get("/api/v1/chat/history", headers=headers)

        assert 200 == history.status and b"Hi" not in history.body


async def test_less_is_left_than_a_call_may_cost() -> None:
    """It is told how much; a call that may cost less is served."""
    async with spending("{usd: 0.15, per: day}") as (gateway, _):
        first = await ask(gateway, body=QUESTION | {"max_tokens": 100})
        refused = await ask(gateway, body=QUESTION | {"max_tokens": 130})
        small = await ask(gateway, body=QUESTION | {"max_tokens": 120})

        assert [200, 429, 200] == [answer.status for answer in (first, refused, small)]
        assert (
            "of this key's budget of 0.15 US dollars a day 0.138 are left, and this call may cost 0.14"
            == refused.json["error"]["message"]
        )


async def test_fifty_at_once_set_no_more_aside_than_there_is() -> None:
    """Those that only calls under way keep out may try again soon; afterwards each has cost what it did."""
    async with spending() as (gateway, upstream):
        upstream.always(COUNTED.after(Sleep(0.5)))
        answers = await asyncio.gather(*(ask(gateway) for _ in range(50)))
        refused = [answer for answer in answers if answer.status == 429]

        assert Counter({200: 10, 429: 40}) == Counter(answer.status for answer in answers)
        assert 10 == len(upstream.requests) and thousandths(120) == told(gateway)
        assert {"rate_limited"} == {answer.json["error"]["code"] for answer in refused}
        assert {("1", None)} == {
            (answer.headers["retry-after"], answer.headers.get("x-should-retry")) for answer in refused
        }
        assert 200 == (await ask(gateway)).status


async def test_what_goes_past_the_budget_is_what_calls_under_way_did_not_foresee() -> None:
    """Ten were let in, each for a tenth, and each cost nine tenths: no further one is let in."""
    async with spending() as (gateway, upstream):
        upstream.always(json_answer(chat_answer(usage=(10, 890))).after(Sleep(0.3)))
        answers = await asyncio.gather(*(ask(gateway) for _ in range(20)))
        refused = await ask(gateway)

        assert 10 == sum(answer.status == 200 for answer in answers)
        assert thousandths(9000) == told(gateway)
        assert "insufficient_credits" == refused.json["error"]["code"]


# ── what counts ────────────────────────────────────────────────────────────────────────

STREAM = QUESTION | {"stream": True}
BROKEN = sse(chat_chunk("a", role="assistant"), HANG)
SAID = sse(chat_chunk("a", role="assistant"), *(Sleep(0.1), chat_chunk("b"), Sleep(0.1), chat_chunk("c"), HANG))
BEGUN = sse(*anthropic_opening("Hi"), HANG)  # it has told how much it read
WHOLE = sse(*anthropic_opening("Hi"), *anthropic_closing())
UNSAID: dict[str, Any] = {"model": "m", "messages": QUESTION["messages"]}


@pytest.mark.parametrize(
    ("replies", "body", "code", "spent", "estimated"),
    [
        ([COUNTED], QUESTION, 200, 12, 0),
        ([sse(*chat_stream("Hi", usage=(9, 3)))], STREAM, 200, 12, 0),
        ([json_answer(chat_answer(usage=(900, 800)))], QUESTION, 200, 1700, 0),
        ([UNCOUNTED], QUESTION, 200, 100, 100),
        ([UNCOUNTED], QUESTION | {"n": 3}, 200, 280, 280),
        ([UNCOUNTED], UNSAID, 200, 1010, 1010),
        ([status(500), status(500)], QUESTION, 502, 0, 0),
        ([status(400)], QUESTION, 400, 0, 0),
        ([status(500), COUNTED], QUESTION, 200, 12, 0),
        ([HANG], QUESTION, 504, 100, 100),
        ([RESET, COUNTED], QUESTION, 200, 112, 100),
        ([json_answer({"usage": {}}), json_answer([])], QUESTION, 502, 100, 100),
        ([BROKEN], STREAM, 200, 100, 100),
        ([BROKEN], STREAM | {"max_tokens": 1}, 200, 11, 11),
        ([SAID], STREAM | {"max_tokens": 1}, 200, 13, 13),
        ([BEGUN], STREAM | {"model": "claude"}, 200, 100, 100),
        ([WHOLE], STREAM | {"model": "claude"}, 200, 12, 0),
        ([], QUESTION | {"model": "gone"}, 502, 0, 0),
        ([], QUESTION | {"model": "nobody"}, 404, 0, 0),
        ([status(500), status(500), COUNTED], QUESTION | {"model": "both"}, 502, 0, 0),
        ([status(429), COUNTED], QUESTION | {"model": "both"}, 200, 36, 0),
    ],
)
async def test_what_a_call_costs(replies: list[Any], body: Any, code: int, spent: int, estimated: int) -> None:
    """What its attempts cost, all of them: what was counted; nothing where an upstream said no or was not reached;
    else the estimate, or what was seen if it is more."""
    async with spending("{usd: 10, per: month}") as (gateway, upstream):
        upstream.script(*replies)
        answer = await ask(gateway, body=body)

        assert code == answer.status
        assert thousandths(spent, estimated) == told(gateway)


async def test_set_aside_is_what_the_dearest_target_would_cost() -> None:
    """However the first one is priced; it is given back when the call is over."""
    async with spending() as (gateway, upstream):
        upstream.always(COUNTED.after(Sleep(0.3)))
        asking = asyncio.create_task(ask(gateway, body=QUESTION | {"model": "both"}))
        await upstream.asked()
        held = told(gateway)
        answer = await asking

        assert thousandths(0, 0, 300) == held
        assert "0.7" == answer.headers["x-isthmus-budget-remaining-usd"]
        assert thousandths(12) == told(gateway)


async def test_a_caller_who_leaves_pays_the_estimate() -> None:
    """At once: nothing stays set aside."""
    async with spending() as (gateway, upstream):
        upstream.always(BROKEN)
        headers = {"authorization": f"Bearer {KEY}"}
        async with gateway.session.post(gateway.url + CHAT, json=STREAM, headers=headers) as response:
            await response.content.readany()
            held = told(gateway)
        await upstream.requests[0].connection.left()
        await asyncio.sleep(0.05)

        assert thousandths(0, 0, 100) == held
        assert thousandths(100, 100) == told(gateway)


async def test_translated_calls_cost_the_same_and_counts_of_tokens_nothing() -> None:
    """Those are served with nothing left, too."""
    async with spending() as (gateway, upstream):
        await ask(gateway, "/v1/messages", {"model": "m", "messages": MESSAGES, "max_tokens": 5})
        after = told(gateway)
        await use_up(gateway, upstream)
        counted = await ask(gateway, "/v1/messages/count_tokens", {"model": "m", "messages": MESSAGES})

        assert (200, thousandths(12)) == (counted.status, after)


async def test_embeddings_cost_their_inputs() -> None:
    """They set nothing aside for an output."""
    async with spending("{usd: 0.003, per: month}") as (gateway, upstream):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        upstream.always(json_answer({"object": "list", "data": [vector], "model": "e", "usage": usage}))
        answer = await ask(gateway, "/v1/embeddings", {"model": "e", "input": "Hello"})

        assert (200, thousandths(2)) == (answer.status, told(gateway))


async def test_the_callers_own_upstream_key_costs_nothing() -> None:
    """It is served with nothing left, too: somebody else pays."""
    async with spending() as (gateway, upstream):
        await use_up(gateway, upstream)
        path = f"/named/{upstream.url}/v1/own-key-1234/chat/completions"
        answer = await ask(gateway, path)
        refused = await ask(gateway, f"/named/{upstream.url}/v1/chat/completions")

        assert (200, 429) == (answer.status, refused.status)
        assert thousandths(1000) == told(gateway) and "x-isthmus-budget-reset" not in answer.headers


async def test_the_chat_service_spends() -> None:
    """Whole and streamed, by what the model used; not its lists."""
    async with spending("{usd: 2.5, per: month}") as (gateway, upstream):
        await ask(gateway, "/api/v1/chat/generate", {"chat_history": MESSAGES})
        upstream.always(sse(*chat_stream("Hi", usage=(9, 3))))
        await ask(gateway, "/api/v1/chat/generate/stream", {"chat_history": MESSAGES})
        await gateway.get("/api/v1/chat/history", headers={"authorization": f"Bearer {KEY}"})

        assert thousandths(24) == told(gateway)


# ── unknown prices ─────────────────────────────────────────────────────────────────────


async def test_targets_of_unknown_price_are_passed_over() -> None:
    """For a key with a budget: the next one is asked; where there is none, 403 says why. For others nothing changes."""
    async with spending() as (gateway, upstream):
        served = await ask(gateway, body=QUESTION | {"model": "perhaps"})
        refused = await ask(gateway, body=QUESTION | {"model": "unknown"})
        other = await ask(gateway, body=QUESTION | {"model": "perhaps"}, key=PLAIN)

        assert (200, "up") == (served.status, served.headers["x-isthmus-provider"])
        assert (403, "price_unknown") == (refused.status, refused.json["error"]["code"])
        assert (200, "unknown") == (other.status, other.headers["x-isthmus-provider"])
        assert 2 == len(upstream.requests)


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, QUESTION | {"model": "unknown/any"}), ("/v1/audio/speech", {"input": "Hi"})]
)
async def test_what_is_not_read_and_what_is_not_listed_has_no_price(path: str, body: Any) -> None:
    """Whatever the tokens of the provider cost."""
    async with spending() as (gateway, upstream):
        refused = await ask(gateway, path, body)

        assert (403, "price_unknown", 0) == (refused.status, refused.json["error"]["code"], len(upstream.requests))


async def test_where_the_file_says_so_they_are_called_and_count_as_nothing() -> None:
    """Until the budget is used up by others."""
    async with spending("{usd: 1, per: month, unpriced: allow}") as (gateway, upstream):
        served = await ask(gateway, body=QUESTION | {"model": "unknown"})
        passed = await ask(gateway, "/v1/audio/speech", {"input": "Hi"})
        before = told(gateway)
        await use_up(gateway, upstream)
        refused = [await ask(gateway, body=QUESTION | {"model": model}) for model in ("unknown", "perhaps")]
        free = await ask(gateway, body=QUESTION | {"model": "free"})

        assert (200, 200, 200) == (served.status, passed.status, free.status)
        assert thousandths(0) == before
        assert ["insufficient_credits"] * 2 == [answer.json["error"]["code"] for answer in refused]


# ── credits ────────────────────────────────────────────────────────────────────────────


async def test_credits_have_a_budget_of_their_own() -> None:
    """As the rows count them; what costs none is not held up."""
    async with spending("{credits: 6, per: day}") as (gateway, upstream):
        upstream.script(COUNTED, status(400), COUNTED)
        metered = QUESTION | {"model": "metered"}
        codes = [(await ask(gateway, body=metered)).status for _ in range(3)]
        refused = await ask(gateway, body=QUESTION | {"model": "dearer"})
        other = await ask(gateway)

        assert [200, 400, 200] == codes and 4 == purse(gateway, "credits").spent
        assert "2 are left, and this call may cost 2.5" in refused.json["error"]["message"]
        assert (200, "2") == (other.status, other.headers["x-isthmus-budget-remaining-credits"])


async def test_a_call_that_may_have_cost_credits_counts_them() -> None:
    """It hung, so nobody said no."""
    async with spending("{credits: 6, per: day}") as (gateway, upstream):
        upstream.always(HANG)
        answer = await ask(gateway, body=QUESTION | {"model": "metered"})
        found = purse(gateway, "credits")

        assert (504, 2, 2) == (answer.status, found.spent, found.estimated)


async def test_who_pays_in_credits_need_not_know_dollars() -> None:
    """Where the budget limits both: each target in the coin that is known of it."""
    async with spending("{usd: 1, credits: 2, per: day}") as (gateway, _):
        codes = [(await ask(gateway, body=QUESTION | {"model": model})).status for model in ("metered", "m", "metered")]

        assert [200, 200, 429] == codes


# ── what is told ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
async def test_good_answers_tell_what_is_left(stream: bool) -> None:
    """Exactly, the call itself taken off, and when all of it is there again."""
    async with spending("{usd: 2.5, credits: 7, per: month}") as (gateway, upstream):
        upstream.always(sse(*chat_stream("Hi", usage=(9, 3))) if stream else COUNTED)
        gateway.life.gateway.wall = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp
        answer = await ask(gateway, body=QUESTION | {"stream": stream})

        assert {
            "x-isthmus-budget-limit-usd": "2.5",
            "x-isthmus-budget-remaining-usd": "2.4",
            "x-isthmus-budget-limit-credits": "7",
            "x-isthmus-budget-remaining-credits": "7",
            "x-isthmus-budget-reset": "2026-12-01T00:00:00Z",
        } == {name: value for name, value in answer.headers.items() if name.startswith("x-isthmus-budget")}


async def test_operators_see_what_keys_spend() -> None:
    """On the admin side, exactly; as gauges, which go with the budget."""
    async with spending() as (gateway, _):
        await ask(gateway)
        assert gateway.admin is not None
        async with gateway.session.get(gateway.admin + "/budgets") as response:
            shown = await response.json()
        gauges = [gateway.metric(f"isthmus_budget_usd_{what}", key="team") for what in ("limit", "spent")]

        assert [{"limit": "1", "spent": "0.012", "estimated": "0", "reserved": "0", "left": "0.988"}] == [
            row["usd"] for row in shown["budgets"]
        ]
        assert [1.0, 0.012] == gauges
        assert "isthmus_budget_credits_limit{" not in gateway.metrics_text()


async def test_what_is_explained_is_refused_as_it_would_be_and_spends_nothing() -> None:
    """With the reason that its caller would read."""
    async with spending() as (gateway, upstream):
        question = Question(path=CHAT, headers={"authorization": f"Bearer {KEY}"}, body=QUESTION)
        served = await explain(gateway.life.gateway, question)
        before = told(gateway)
        await use_up(gateway, upstream)
        refused = await explain(gateway.life.gateway, question)

        assert "refused" not in served and thousandths(0) == before
        assert (429, "insufficient_credits") == (refused["refused"]["status"], refused["refused"]["code"])
        assert thousandths(1000) == told(gateway)


# ── time and reload ────────────────────────────────────────────────────────────────────


async def test_in_the_next_period_there_is_all_of_it_again() -> None:
    """The caller was told how long that is, an hour at most: the file may say something else until then."""
    async with spending("{usd: 1, per: hour}") as (gateway, upstream):
        life = gateway.life.gateway
        life.wall = datetime(2026, 11, 28, 12, 59, 30, tzinfo=UTC).timestamp
        await use_up(gateway, upstream)
        refused = await ask(gateway)
        life.wall = datetime(2026, 11, 28, 13, 0, 0, tzinfo=UTC).timestamp
        served = await ask(gateway)

        assert (429, "30", 200) == (refused.status, refused.headers["retry-after"], served.status)
        assert thousandths(12) == told(gateway)


async def test_a_reload_keeps_what_was_spent_and_takes_another_budget_at_once() -> None:
    """For calls under way, too: they settle where they began."""
    async with spending() as (gateway, upstream):
        await use_up(gateway, upstream)
        path = gateway.life.path
        text = path.read_text()
        path.write_text(text.replace("{usd: 1, per: month}", "{usd: 1.2, per: month}"))
        gateway.life.reload()
        upstream.script(COUNTED.after(Sleep(0.3)))
        under_way = asyncio.create_task(ask(gateway))
        await upstream.asked(2)
        path.write_text(text.replace("{usd: 1, per: month}", "{usd: 1.02, per: month}"))
        gateway.life.reload()
        served, refused = await under_way, await ask(gateway)

        assert (200, 429) == (served.status, refused.status)
        assert thousandths(1012) == told(gateway)


async def test_another_file_of_spending_takes_a_restart() -> None:
    """The reload is refused, and says why."""
    async with spending() as (gateway, _):
        path = gateway.life.path
        path.write_text(path.read_text() + "state: {file: other.json}\n")
        gateway.life.reload()

        assert "state.file: another file takes a restart" in await gateway.log_text()
        assert 0 == gateway.metric("isthmus_config_last_reload_success")


async def test_a_file_that_cannot_be_written_holds_nobody_up() -> None:
    """It is told in metric, log and readiness."""
    async with spending(state='state: {file: "/proc/sys/isthmus.json"}\n') as (gateway, _):
        served = await ask(gateway)
        ready = await gateway.get("/readyz")

        assert (200, 200, ["state"]) == (served.status, ready.status, ready.json["degraded_parts"])
        assert 1 <= gateway.metric("isthmus_store_errors_total", op="state_lock")
        assert '"event":"state_failed"' in await gateway.log_text()


async def test_a_file_that_can_be_written_again_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in the log, however often it failed before."""
    monkeypatch.setattr(ledger, "EVERY", 0.01)
    monkeypatch.setattr(ledger, "AGAIN", 0.01)
    obstacle = tmp_path / "state.json.new"
    obstacle.mkdir()
    async with spending(state=f'state: {{file: "{tmp_path}/state.json"}}\n') as (gateway, _):
        await ask(gateway)
        await asyncio.sleep(0.2)
        before = (await gateway.get("/readyz")).json["degraded_parts"]
        obstacle.rmdir()
        await asyncio.sleep(0.3)
        after = (await gateway.get("/readyz")).json["degraded_parts"]
        text = await gateway.log_text()

        assert (["state"], []) == (before, after)
        assert (1, 1) == (text.count('"event":"state_failed"'), text.count('"event":"state_recovered"'))
        assert "0.012" == str(Decimal(read(tmp_path)["budgets"]["team"]["coins"]["usd"]["spent"]).normalize())
        assert 2 <= gateway.metric("isthmus_store_errors_total", op="state_write")


def read(folder: Path) -> Any:
    return json.loads((folder / "state.json").read_text())


def table(upstream: FakeUpstream) -> str:
    """For a process of its own."""
    names = {"budget": "{usd: 1, per: month}", "team": _hash(KEY), "plain": _hash(PLAIN), "up": upstream.url}
    return Template(TABLE).substitute(names) + "state: {file: state.json}\n"


# ── restarts ───────────────────────────────────────────────────────────────────────────


async def _ask(session: aiohttp.ClientSession, served: Served) -> int:
    headers = {"authorization": f"Bearer {KEY}"}
    async with session.post(served.main + CHAT, json=QUESTION, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_a_restart_keeps_what_was_spent(tmp_path: Path) -> None:
    """A process that is told to end writes all of it, calls of the last moment included; the next one goes on."""
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        upstream.always(COUNTED)
        async with serving(table(upstream), tmp_path) as served:
            codes = [await _ask(session, served) for _ in range(3)]
            served.process.send_signal(signal.SIGTERM)
            ended = await asyncio.wait_for(served.process.wait(), 10)
        kept = read(tmp_path)
        upstream.script(json_answer(chat_answer(usage=(500, 500))))
        async with serving(table(upstream), tmp_path) as served:
            codes += [await _ask(session, served), await _ask(session, served)]

        assert ([200, 200, 200, 200, 429], 0) == (codes, ended)
        assert "0.036" == str(Decimal(kept["budgets"]["team"]["coins"]["usd"]["spent"]).normalize())
        assert not any(word in json.dumps(kept) for word in (KEY, _hash(KEY), "sk-"))


async def test_what_a_kill_loses_is_what_changed_in_the_last_second(tmp_path: Path) -> None:
    """A call that is older is there; one that was under way, too: as spent, by estimate."""
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        upstream.script(COUNTED, HANG)
        async with serving(table(upstream), tmp_path) as served:
            first = await _ask(session, served)
            under_way = asyncio.create_task(_ask(session, served))
            await upstream.asked(2)
            await asyncio.sleep(ledger.EVERY + 0.5)
            served.process.kill()
            await served.process.wait()
        await asyncio.gather(under_way, return_exceptions=True)
        async with serving(table(upstream), tmp_path) as served, session.get(f"{served.admin}/budgets") as answer:
            shown = (await answer.json())["budgets"][0]["usd"]

        assert (200, "0.112", "0.1", "0") == (first, shown["spent"], shown["estimated"], shown["reserved"])


async def test_a_broken_file_is_no_outage(tmp_path: Path) -> None:
    """The process starts, serves, and says what it found."""
    (tmp_path / "state.json").write_bytes(b"{" * 50)
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        upstream.always(COUNTED)
        log = (tmp_path / "log").open("wb")
        async with serving(table(upstream), tmp_path, out=log) as served:
            code = await _ask(session, served)
            async with session.get(f"{served.admin}/metrics") as answer:
                metrics = await answer.text()
        log.close()

        assert 200 == code and 'isthmus_store_errors_total{op="state_read"} 1.0' in metrics
        assert '"event":"state_failed"' in (tmp_path / "log").read_text()
        assert b"{" * 50 == (tmp_path / "state.json.broken").read_bytes()
