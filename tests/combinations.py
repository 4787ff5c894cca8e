"""Everything at once: tables drawn at random, upstreams that misbehave by chance, callers of whom some leave.

    async with combined(seed) as world:
        await world.calls(40)
        await world.check()

`world.table` is what was drawn. What holds whatever was drawn is in `World.check`: each call has one outcome and one
line, nothing is held once all are over, no answer is made of two, and what is charged is what upstreams have counted.
Every word of an upstream carries the number of the answer that it belongs to, and so do its counts of tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import aiohttp

from providers.canonical.errors import UpstreamError, tree
from router.record import OUTPACED, Record
from tests.answers import chat_answer, chat_stream, gemini_answer, gemini_stream
from tests.fakes import HANG, RESET, Answer, FakeUpstream, Received, Reply, Sleep, json_answer, sse, status
from tests.lanes import CALLERS, data_lines
from tests.running import Running, running

SCHEMA = {"type": "object", "properties": {"say": {"type": "string"}}, "required": ["say"]}
KEYS = {name: f"sk-isthmus-{name}" for name in ("team", "quick", "plain")}
SECRETS = {"K1": "sk-one-one", "K2": "sk-one-two", "K3": "sk-two"}
SLACK = 2.5  # seconds that a busy machine may take beyond any deadline
STORED = 6.0  # the same where a disk is waited for
OUTPUT = 7  # tokens of every answer
PRICES = {"one": Decimal(1), "two": Decimal("0.5"), "three": Decimal(2), "slow": Decimal(3)}  # for a million
_REFUSED = frozenset(error.kind for error in tree(UpstreamError))
_WORD = re.compile(r"\[(\d+)\]")


# ── the table ──────────────────────────────────────────────────────────────────────────


@dataclass
class Drawn:
    """What the table says that checks depend on."""

    asks_again: bool  # most calls want a shape, hedged and asked for again; else anything
    pace: float  # below 1 everybody is in a hurry, and callers leave as answers come
    attempts: int
    within: float
    total: float
    text: str


def draw(dice: Random) -> Drawn:
    """A table. `$one`, `$two`, `$three` are its upstreams."""
    asks_again, pace = dice.random() < 0.3, dice.choice([1.0, 1.0, 0.15])
    attempts = 4 if asks_again else dice.choice([1, 2, 3, 3, 4])
    within, total = dice.choice([(0.6, 1.0), (1.0, 1.0), (1.0, 1.5)])
    rows = {
        "one": '{base_url: "$one/v1", speaks: [openai.chat], secrets: ["env:K1", "env:K2"]',
        "two": '{base_url: "$two/v1", speaks: [openai.chat], secret: "env:K3"',
        "three": '{base_url: "$three", speaks: [gemini], auth: none',
        "slow": '{base_url: "$two/v1", speaks: [openai.chat], auth: none',
    }
    lines = [
        'server: {listen: "127.0.0.1:0", admin: null, drain: 1s}',
        "access:",
        "  keys:",
        f'    - {{name: team, hash: "{_hash("team")}", budget: {{{dice.choice(BUDGETS)}}}}}',
        f'    - {{name: quick, hash: "{_hash("quick")}", rpm: {dice.choice([30, 1000])}, tpm: 1000000, nice: true}}',
        f'    - {{name: plain, hash: "{_hash("plain")}"}}',
        "providers:",
        *(f"  {name}: {row}, resend_stale: false{'' if asks_again else _row(dice)}}}" for name, row in rows.items()),
        "models:",
        f"  m: {_model(dice, ['one', 'two', 'three'])}",
        f"  n: {_model(dice, ['two', 'one', 'slow'])}",
        f"  alone: {_model(dice, ['one'])}",
        "prices:",
        *(f"  {name}/a: {{input: {price}, output: {price}}}" for name, price in PRICES.items()),
        *_policy(dice, attempts, within, total, asks_again),
        *_routes(dice),
        "chats:",
        '  store: "sqlite:chats.db"',
        "  personas: {maya: {model: m, system: Hi.}, shaped: {model: n, response_schema: {type: object}}}",
    ]
    return Drawn(asks_again, pace, attempts, within, total, "\n".join(lines) + "\n")


BUDGETS = ("usd: 100, per: month", "usd: 0.005, per: month", "credits: 1000, per: day", "usd: 9, credits: 90, per: day")


def _hash(name: str) -> str:
    return f"sha256:{hashlib.sha256(KEYS[name].encode()).hexdigest()}"


def _maybe(dice: Random, *choices: str, share: float = 0.5) -> str:
    return dice.choice(choices) if dice.random() < share else ""


def _row(dice: Random) -> str:
    return "".join(
        (
            _maybe(
                dice, ", concurrency: 1", ", concurrency: 3", ", concurrency: 1, queue: 2", ", concurrency: 2, queue: 9"
            ),
            _maybe(dice, ", attempts: 1", ", attempts: 2", ", retry_on: [429, connection]", share=0.2),
            _maybe(dice, ", credits: {a: 2}", share=0.4),
            _maybe(
                dice,
                ", ignores: [response_format]",
                ", on_invalid_json: error",
                ", on_invalid_json: retry_once",
                share=0.4,
            ),
            _maybe(dice, ", timeouts: {first_byte: 300ms}", share=0.2),
        )
    )


def _model(dice: Random, names: Sequence[str]) -> str:
    order = list(names)
    dice.shuffle(order)
    targets = [
        f"{{provider: {name}, model: a"
        + _maybe(dice, ", weight: 3", share=0.3)
        + _maybe(dice, ", context: 1000", ", context: 9000", share=0.3)
        + _maybe(dice, ", when: {stream: true}", ", when: {key: [team, plain]}", share=0.25)
        + "}"
        for name in order
    ]
    said = _maybe(dice, "sticky: conversation, ", "sticky: caller, ", share=0.3)
    said += _maybe(dice, "prefer: fidelity, ", share=0.2)
    said += _maybe(dice, *(f"choose: {how}, " for how in ("weighted", "least_busy", "fastest", "cheapest")), share=0.4)
    return f"{{{said}to: [{', '.join(targets)}]}}"


def _policy(dice: Random, attempts: int, within: float, total: float, asks_again: bool) -> list[str]:
    hedge = dice.choice(["null", "{after: 20ms}", "{after: 20ms}", "{after: 20ms}", "{after: 80ms}", "{after: p95}"])
    check = dice.choice(["off", "flag", "repair"])
    if attempts == 1:
        hedge = "null"
    if asks_again:
        hedge, check = "{after: 20ms}", "repair"
    rate = _maybe(dice, ", min_rate: 100, rate_over: 300ms", share=0.4)
    return [
        "policies:",
        "  default:",
        f"    attempts: {attempts}",
        f"    within: {round(within * 1000)}ms",
        "    wait: {first: 20ms, most: 50ms}",
        f"    timeouts: {{connect: 1s, first_byte: 500ms, idle: 300ms, total: {round(total * 1000)}ms{rate}}}",
        f"    hedge: {hedge}",
        "    breaker: " + dice.choice(["null", "{failures: 3, within: 5s, cool: 200ms}", "{failures: 5, cool: 2s}"]),
        "    outliers: " + dice.choice(["null", "{calls: 5, within: 5s, cool: 200ms, errors: 1.5, latency: 2}"]),
        f"    fallback_on: {dice.choice(['[]', '[context_too_long]', '[context_too_long, content_filter]'])}",
        f"    check_schema: {check}",
        f"    retry_budget: {dice.choice(['20%', '100%'])}",
    ]


def _routes(dice: Random) -> list[str]:
    cache = _maybe(dice, ", cache: {}", ", cache: {scope: all}", share=0.3)
    emulate = _maybe(dice, ", emulate: [json_schema]", share=0.5)
    return [
        "routes:",
        f"  - {{path: /v1/chat/completions, speaks: openai.chat, to: models{cache}{emulate}}}",
        f'  - {{path: "/v1beta/models/{{model}}:{{task}}", speaks: gemini, to: models{emulate}}}',
        f"  - {{path: /v1/messages, speaks: anthropic.messages, to: models{cache}}}",
        "  - {path: /v1/audio/*, speaks: opaque, to: [{provider: one}, {provider: two}]}",
    ]


# ── upstreams ──────────────────────────────────────────────────────────────────────────


@dataclass
class Said:
    """What an upstream did with one request."""

    number: int
    upstream: str
    id: str
    question: str
    kind: str
    text: str
    at: float

    @property
    def words(self) -> list[str]:
        return re.findall(r"\[\d+\][^\[]*", self.text) or [self.text]


#: What an upstream may do, and how often beside the others.
DEEDS = {
    "good": 40,
    "late": 30,
    "breach": 12,
    "429": 3,
    "429-soon": 2,
    "429-never": 2,
    "500": 5,
    "401": 2,
    "400": 2,
    "context": 3,
    "filter": 3,
    "hang": 3,
    "stall": 4,
    "cut": 3,
    "reset": 3,
    "empty": 2,
    "garbage": 3,
    "fault": 3,
    "drip": 3,
    "whole": 2,
}
_STATUS: dict[str, Callable[[], Answer]] = {
    "429": lambda: status(429),
    "429-soon": lambda: status(429, headers={"retry-after": "0"}),
    "429-never": lambda: status(429, headers={"retry-after": "60"}),
    "500": lambda: status(500),
    "401": lambda: status(401),
    "400": lambda: status(400),
    "context": lambda: status(400, _error("context_length_exceeded")),
    "filter": lambda: status(400, _error("content_filter")),
}


def _error(code: str) -> Any:
    return {"error": {"message": code, "type": "invalid_request_error", "param": None, "code": code}}


class Upstreams:
    """All of them, as one memory of what was said."""

    def __init__(self, dice: Random, pace: float) -> None:
        self._pace = pace
        self.said: list[Said] = []
        self._dice = dice
        self._moods = {name: self._mood() for name in ("one", "two", "three")}

    def _mood(self) -> tuple[list[str], list[float]]:
        """How often this one does what: some are good most of the time, some never."""
        good = self._dice.choice([0.3, 1.0, 4.0])
        return list(DEEDS), [share * (good if name in ("good", "late") else 1.0) for name, share in DEEDS.items()]

    def answer(self, name: str, request: Received) -> Reply:
        number = len(self.said) + 1
        kinds, shares = self._moods[name]
        kind = self._dice.choices(kinds, shares)[0]
        body = request.body.decode()
        found = re.search(r"question \d+", body)
        text = "".join(f"[{number}]{letter} " for letter in "abcdef")
        if "say" in body:
            if self._dice.random() < 0.4:
                kind = "breach"
            text = json.dumps({"say": text} if kind != "breach" else {"no": text})
        id_ = request.header("x-request-id") or ""
        self.said.append(Said(number, name, id_, found[0] if found else "", kind, text, time.monotonic()))
        if "/audio/" in request.target:
            return self._heard(kind, text)
        if kind in _STATUS:
            return _STATUS[kind]()
        streams = "streamGenerate" in request.target or '"stream":true' in body.replace(" ", "")
        whole, events = self._answers(name, text, number)
        return self._stream(kind, events, whole) if streams else self._whole(kind, whole)

    def _answers(self, name: str, text: str, number: int) -> tuple[Any, list[Any]]:
        usage = (number, OUTPUT)
        pieces = re.findall(r"[^\[]*\[\d+\][^\[]*", text)
        if name == "three":
            return gemini_answer(text, usage=usage), gemini_stream(*pieces, usage=usage)
        return chat_answer(text, usage=usage), chat_stream(*pieces, usage=usage)

    def _whole(self, kind: str, body: Any) -> Reply:
        good = json_answer(body)
        late = good.after(Sleep(self._dice.uniform(0.05, 0.35) * self._pace))
        deeds: dict[str, Reply] = {
            "late": late,
            "drip": late,
            "hang": HANG,
            "stall": good.cut_body(30, HANG),
            "cut": good.cut_body(30),
            "reset": RESET,
            "empty": json_answer(b""),
            "garbage": json_answer(b'{"choices": 1}'),
            "fault": json_answer(_error("server_error")),
        }
        return deeds.get(kind, good)

    def _stream(self, kind: str, events: list[Any], body: Any) -> Reply:
        half = len(events) // 2
        pause = Sleep(self._dice.uniform(0.05, 0.35) * self._pace)
        deeds: dict[str, Reply] = {
            "late": sse(*events).after(pause),
            "drip": sse(*events, every=self._dice.choice([0.02, 0.1])),
            "hang": HANG,
            "stall": sse(*events[:half], HANG),
            "cut": sse(*events[:half], RESET),
            "reset": RESET,
            "empty": sse(),
            "garbage": sse(*events[:half], b"data: {nonsense\n\n"),
            "fault": sse(*events[: self._dice.choice([0, half])], _error("server_error")),
            "whole": json_answer(body),
        }
        return deeds.get(kind, sse(*events))

    def _heard(self, kind: str, text: str) -> Reply:
        """What nobody reads."""
        if kind in _STATUS:
            return _STATUS[kind]()
        good = json_answer(text.encode(), headers={"content-type": "audio/mpeg"})
        deeds: dict[str, Reply] = {
            "late": good.after(Sleep(0.2)),
            "hang": HANG,
            "stall": good.cut_body(10, HANG),
            "cut": good.cut_body(10),
            "reset": RESET,
        }
        return deeds.get(kind, good)


# ── callers ────────────────────────────────────────────────────────────────────────────


@dataclass
class Call:
    """One call, and what its caller has of it."""

    id: str
    way: str
    model: str
    key: str
    question: str
    stream: bool
    shaped: bool
    patience: float | None  # seconds until its caller leaves
    time: float | None  # that it gives us
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    began: float = 0.0
    head_at: float | None = None
    ended: float | None = None
    left: bool = False
    broke: bool = False  # the connection was cut on us

    def request(self) -> tuple[str, Any]:
        """Path and body."""
        text = f"{self.question} say" if self.shaped else self.question
        if self.way == "opaque":
            return "/v1/audio/speech", {"input": text}
        if self.way == "chats":
            path = "/api/v1/chat/generate" + ("/stream" if self.stream else "")
            persona = "shaped" if self.shaped else "maya"
            return path, {"chat_history": [{"role": "user", "content": text}], "persona": persona}
        caller = CALLERS[self.way]
        body = caller.body(self.model, text, stream=self.stream)
        if self.shaped and self.way == "openai":
            form = {"name": "s", "schema": SCHEMA, "strict": False}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.shaped and self.way == "gemini":
            body["generationConfig"] = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        return caller.path(self.model, stream=self.stream), body

    def text(self) -> tuple[str, bool]:
        """What its caller reads, and is that all of it? Of a failure nothing."""
        if self.status not in (200, 201):
            return "", False
        if self.way == "opaque":
            return self.body.decode(), not self.left and not self.broke
        if self.way == "chats":
            return self._chat_text()
        caller = CALLERS[self.way]
        if not self.stream:
            return (caller.text_of(json.loads(self.body)), True) if not self.left else ("", False)
        body = self.body if not self.left else self.body[: self.body.rfind(b"\n\n") + 2]
        heard = caller.hear(body)
        assert not heard.after_end, heard.after_end
        return heard.text, heard.complete

    def _chat_text(self) -> tuple[str, bool]:
        if not self.stream:
            return ("", False) if self.left else (json.loads(self.body)["result"]["message"], True)
        events = [json.loads(data) for data in data_lines(self.body) if data != b"[DONE]"]
        finals = [event for event in events if event.get("type") == "final_response"]
        assert len(finals) <= 1, finals
        return (finals[0]["content"], True) if finals else ("", False)


def draw_call(dice: Random, number: int, drawn: Drawn) -> Call:
    way = dice.choice(["openai", "openai", "openai", "gemini", "anthropic", "chats", "opaque"])
    is_usual = dice.random() < 0.3  # others ask it, too
    return Call(
        id=f"call-{number}",
        way=way,
        model="m" if is_usual else dice.choice(["m", "m", "n", "alone"]),
        key=dice.choice(["team", "team", "quick", "plain"]),
        question=f"question {dice.randrange(2) if is_usual else dice.randrange(2, 1000)}",
        stream=dice.random() < (0.2 if drawn.asks_again else 0.5),
        shaped=way != "opaque" and not is_usual and dice.random() < (0.9 if drawn.asks_again else 0.4),
        patience=dice.uniform(0.0, 0.4) * drawn.pace if dice.random() < (0.3 if drawn.pace == 1 else 0.6) else None,
        time=dice.uniform(0.05, 0.6) if dice.random() < 0.15 else None,
    )


# ── all of it ──────────────────────────────────────────────────────────────────────────


class World:
    """A gateway, its upstreams, and its callers."""

    def __init__(self, dice: Random, drawn: Drawn, gateway: Running, upstreams: Upstreams) -> None:
        self.drawn = drawn
        self.gateway = gateway
        self.upstreams = upstreams
        self.made: list[Call] = []
        self.records: list[Record] = []
        self.counts: dict[str, int] = {}  # attempts of each, as it was told
        self._dice = dice
        metrics = gateway.life.metrics
        observe = metrics.observe

        def observed(record: Record) -> None:
            self.records.append(record)
            self.counts[record.id] = len(record.attempts)
            observe(record)

        metrics.observe = observed  # type: ignore[method-assign]  # what is counted, as it is counted

    async def calls(self, count: int, over: float = 0.6) -> None:
        """So many, begun within that time. Until all of them are over."""
        calls = [draw_call(self._dice, len(self.made) + number, self.drawn) for number in range(count)]
        self.made += calls
        starts = [self._dice.uniform(0, over) for _ in calls]
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._call(session, *each) for each in zip(calls, starts, strict=True)))
        await self._quiet()

    async def _call(self, session: aiohttp.ClientSession, call: Call, start: float) -> None:
        await asyncio.sleep(start)
        call.began = time.monotonic()
        try:
            async with asyncio.timeout(call.patience):
                await self._ask(session, call)
        except TimeoutError:
            call.left = True
        except aiohttp.ClientError:
            call.broke = True
        call.ended = time.monotonic()

    async def _ask(self, session: aiohttp.ClientSession, call: Call) -> None:
        path, body = call.request()
        headers = {"authorization": f"Bearer {KEYS[call.key]}", "x-request-id": call.id}
        if call.time is not None:
            headers["x-isthmus-timeout"] = f"{round(call.time * 1000)}ms"
        async with session.post(self.gateway.url + path, json=body, headers=headers) as response:
            call.head_at, call.status = time.monotonic(), response.status
            call.headers = {name.lower(): value for name, value in response.headers.items()}
            async for data in response.content.iter_any():
                call.body += data

    async def _quiet(self) -> None:
        """Until nobody is at work any more, or long after they should have been."""
        for _ in range(150):
            if not self.tasks() and not self.gateway.life.front.running:
                return
            await asyncio.sleep(0.02)

    def tasks(self) -> list[str]:
        """Tasks of exchanges that are under way."""
        found = (task.get_coro() for task in asyncio.all_tasks())
        names = [getattr(one, "__qualname__", "") for one in found]
        return [name for name in names if name.startswith(("Race", "CachedExchange", "Front", "RequestHandler.start"))]

    # ── what holds ─────────────────────────────────────────────────────────────────
    async def check(self) -> None:
        """Everything, after the calls are over."""
        await self.check_told()
        self.check_left()
        for record in self.records:
            self.check_attempts(record)
        for call in self.made:
            self.check_answer(call)
        self.check_budgets()
        self.check_limits()
        self.check_stored()

    async def check_told(self) -> None:
        """Each call once: one record, one line, one count; attempts as many as upstreams have seen."""
        ids = sorted(call.id for call in self.made)
        reached = [call for call in self.made if call.ended is not None]
        lines = sorted(line["request_id"] for line in await self.gateway.lines())
        told = sorted(record.id for record in self.records)
        assert told == lines, (told, lines)
        assert len(set(told)) == len(told) and set(told) <= set(ids)
        assert {call.id for call in reached if not call.left} <= set(told)
        assert len(told) == self.gateway.metric("isthmus_requests_total")
        later = [record for record in self.records if len(record.attempts) != self.counts[record.id]]
        assert not later, later
        attempts = sum(self.counts.values())
        assert attempts == self.gateway.metric("isthmus_attempts_total")
        assert 0 == self.gateway.metric("isthmus_inflight")

    def check_left(self) -> None:
        """No task, no place, no probe, no reservation is held by anybody."""
        life = self.gateway.life
        inner = life.gateway
        assert ([], 0, 0) == (self.tasks(), inner.running, len(life.front.running))
        for name, places in inner.places._of.items():
            assert (0, 0) == (places.running, places.waiting), (name, places.running, places.waiting)
        for known, one in inner.upstreams._known.items():
            assert 0 == one.running, (known, one.running)
            for breaker in (one.breaker, one.outlier):
                assert breaker is None or breaker._probe is None, (known, breaker._probe)
        answers = inner.generation.answers
        assert {} == answers.flights
        for name, account in inner.budgets._of.items():
            for coin, purse in account.purses.items():
                assert 0 == purse.reserved, (name, coin, purse.reserved)

    def check_attempts(self, record: Record) -> None:
        """No more than there may be, each one over, each good one counted as the upstream did."""
        attempts = record.attempts
        assert len(attempts) <= self.drawn.attempts, (record.id, attempts)
        said = [one for one in self.upstreams.said if one.id == record.id]
        if record.outcome != "client_left" and not any(one.error in ("outpaced", "timeout") for one in attempts):
            assert Counter(map(_upstream, attempts)) == Counter(one.upstream for one in said), (
                record.id,
                attempts,
                said,
            )
        assert len(said) <= len(attempts), (record.id, attempts, said)
        seen = set()
        for attempt in attempts:
            assert 0 < attempt.started <= attempt.ended, (record.id, attempt)
            if attempt.error is None and attempt.usage is not None and attempt.usage.input_tokens is not None:
                number = attempt.usage.input_tokens
                one = self.upstreams.said[number - 1]
                assert (record.id, _upstream(attempt)) == (one.id, one.upstream), (record.id, attempt, one)
                assert OUTPUT == attempt.usage.output_tokens and number not in seen, (record.id, attempts)
                seen.add(number)

    def check_answer(self, call: Call) -> None:
        """All of it from one upstream's answer to this question, and none of it after its time."""
        text, complete = call.text()
        numbers = set(map(int, _WORD.findall(text)))
        assert len(numbers) <= 1, (call.id, text)
        record = next((record for record in self.records if record.id == call.id), None)
        if numbers:
            one = self.upstreams.said[numbers.pop() - 1]
            assert one.question == call.question, (call, one)
            assert one.text == text if complete else one.text.startswith(text), (call, one)
            if record is not None and record.cache is None:
                assert one.id == call.id, (call, one)
            if complete and record is not None and record.attempts and call.way != "opaque" and not call.left:
                self._check_winner(record, one)
        elif complete:
            raise AssertionError(f"{call.id}: an answer without a word: {text!r}")
        if call.head_at is not None and call.status in (200, 201):
            late = [one for one in self.upstreams.said if one.id == call.id and one.at > call.head_at]
            assert not late, (call.id, late)
        if call.ended is not None:
            most = min(self.drawn.total, call.time or self.drawn.total)
            slack = STORED if call.way == "chats" else SLACK
            assert call.ended - call.began < most + slack, (call, record)

    def _check_winner(self, record: Record, one: Said) -> None:
        """The answer that was given is an attempt that went well, and counted."""
        good = [attempt for attempt in record.attempts if attempt.error is None]
        assert any(attempt.usage is None or attempt.usage.input_tokens == one.number for attempt in good), (record, one)

    def check_budgets(self) -> None:
        """What is spent and was counted is the sum of what upstreams have counted in good answers."""
        account = self.gateway.life.gateway.budgets._of.get("team")
        if account is None:
            return
        exact, credits, unknown = Decimal(0), Decimal(0), 0
        for record in self.records:
            if record.key != "team" or record.operation == "opaque":
                continue
            for attempt in record.attempts:
                credits += Decimal(str(attempt.credits or 0))
                is_whole = attempt.error is None or (attempt.error != OUTPACED and attempt.first_chunk is None)
                if is_whole and attempt.usage is not None:
                    number = attempt.usage.input_tokens or 0
                    exact += PRICES[attempt.provider] * (number + OUTPUT) / 1_000_000
                elif attempt.first_chunk is not None or attempt.error not in _REFUSED:
                    unknown += 1
        usd, coins = account.purses["usd"], account.purses["credits"]
        assert exact == usd.spent - usd.estimated, (exact, usd.spent, usd.estimated)
        assert credits == coins.spent - coins.estimated, (credits, coins.spent, coins.estimated)
        assert usd.estimated >= 0 and (unknown > 0 or usd.estimated == 0), (usd.estimated, unknown)

    def check_limits(self) -> None:
        """Of the requests each one that was let in, of the tokens at least what was counted."""
        account = self.gateway.life.gateway.accounts._of.get("quick")
        if account is None:
            return
        mine = [record for record in self.records if record.key == "quick"]
        let_in = sum(not (record.error == "rate_limited" and record.reason == "requests") for record in mine)
        requests, tokens = account.windows["requests"], account.windows["tokens"]
        counted = sum(
            (record.usage.input_tokens or 0) + OUTPUT for record in mine if record.outcome == "ok" and record.usage
        )
        assert requests._used + requests._debt <= let_in, (requests._used, let_in)
        assert tokens._used + tokens._debt >= counted, (tokens._used, counted)

    def check_stored(self) -> None:
        """What callers of the chat service were told is stored, once; whatever else is stored is no more than asked."""
        path = self.gateway.life.path.parent / "chats.db"
        with contextlib.closing(sqlite3.connect(path)) as store:
            rows = store.execute("SELECT text FROM messages WHERE role = 'assistant'").fetchall()
        texts = [text for (text,) in rows]
        told = [call.text() for call in self.made if call.way == "chats"]
        assert len(texts) == len(set(texts)) <= len(told), texts
        assert {text for text, complete in told if complete} <= set(texts)


def _upstream(attempt: Any) -> str:
    return "two" if attempt.provider == "slow" else str(attempt.provider)


@contextlib.asynccontextmanager
async def combined(seed: int) -> AsyncIterator[World]:
    """A world of its own for each seed."""
    dice = Random(seed)
    drawn = draw(dice)
    upstreams = Upstreams(dice, drawn.pace)
    async with FakeUpstream() as one, FakeUpstream() as two, FakeUpstream() as three:
        for name, fake in (("one", one), ("two", two), ("three", three)):
            fake.always(lambda request, name=name: upstreams.answer(name, request))  # type: ignore[misc]
        names = {"one": one.url, "two": two.url, "three": three.url}
        async with running(drawn.text, SECRETS, **names) as gateway:
            gateway.life.gateway.dice = dice.random
            yield World(dice, drawn, gateway, upstreams)
