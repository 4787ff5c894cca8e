"""`sticky`, `when` and `prefer: fidelity` in calls: seen from the upstreams, and from callers of every dialect."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.explain import Question, explain
from tests.answers import chat_answer, chat_stream
from tests.chats import TABLE, chatting, says
from tests.fakes import FakeUpstream, Until, json_answer, sse, status
from tests.lanes import CALLERS, UPSTREAMS
from tests.running import Answer, Running, running

ROUTES = """
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models}
"""
THREE = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat, openai.embeddings], auth: none, concurrency: $places}
  two: {base_url: "$two/v1", speaks: [openai.chat, openai.embeddings], auth: none, concurrency: $places}
  three: {base_url: "$three/v1", speaks: [openai.chat, openai.embeddings], auth: none, concurrency: $places}
models:
  m: $model
policies: {default: {attempts: 3, wait: {first: 1ms, most: 1ms}}}
"""
ALL = "[{provider: one, model: m}, {provider: two, model: m}, {provider: three, model: m}]"
NAMES = ("one", "two", "three")
CHAT = "/v1/chat/completions"


class Three:
    """A gateway before three upstreams."""

    def __init__(self, gateway: Running, upstreams: dict[str, FakeUpstream]) -> None:
        self.gateway = gateway
        self.upstreams = upstreams

    def always(self, reply: Any) -> None:
        for upstream in self.upstreams.values():
            upstream.always(reply)

    async def call(self, path: str, body: Any, **headers: str) -> tuple[str, Answer]:
        """Who was called, and the answer."""
        answer = await self.gateway.post(path, body, headers=headers)
        return answer.headers.get("x-isthmus-provider", ""), answer

    async def who(self, path: str, body: Any, **headers: str) -> str:
        name, answer = await self.call(path, body, **headers)

        assert 200 == answer.status, answer.body
        return name


@contextlib.asynccontextmanager
async def three(model: str, places: int = 100, more: str = "") -> AsyncIterator[Three]:
    async with FakeUpstream() as one, FakeUpstream() as two, FakeUpstream() as last:
        table = more + THREE + ROUTES
        urls = {"one": one.url, "two": two.url, "three": last.url}
        async with running(table, **urls, model=model, places=places) as gateway:
            found = Three(gateway, {"one": one, "two": two, "three": last})
            found.always(json_answer(chat_answer("Hello")))
            yield found


# ── conversations ──────────────────────────────────────────────────────────────────────────────

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
PROMPT = "You look things up."


def turns(first: str, count: int) -> list[tuple[str, str]]:
    """What user and assistant have said, the user last."""
    said = [("user", first)]
    for number in range(1, count):
        said += [("assistant", f"answer {number}"), ("user", f"question {number}")]
    return said


def openai(first: str, count: int) -> tuple[str, Any]:
    messages = [{"role": role, "content": text} for role, text in (("system", PROMPT), *turns(first, count))]
    tool = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
    return CHAT, {"model": "m", "messages": messages, "tools": [tool]}


def responses(first: str, count: int) -> tuple[str, Any]:
    said = [{"role": role, "content": text} for role, text in turns(first, count)]
    tool = {"type": "function", "name": "find", "parameters": SCHEMA, "strict": False}
    return "/v1/responses", {"model": "m", "instructions": PROMPT, "input": said, "tools": [tool], "store": False}


def anthropic(first: str, count: int) -> tuple[str, Any]:
    said = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns(first, count)]
    tool = {"name": "find", "input_schema": SCHEMA}
    return "/v1/messages", {"model": "m", "system": PROMPT, "messages": said, "tools": [tool], "max_tokens": 99}


def gemini(first: str, count: int) -> tuple[str, Any]:
    roles = {"user": "user", "assistant": "model"}
    said = [{"role": roles[role], "parts": [{"text": text}]} for role, text in turns(first, count)]
    schema = {"type": "OBJECT", "properties": {"q": {"type": "STRING"}}}
    tools = [{"functionDeclarations": [{"name": "find", "parameters": schema}]}]
    body = {"systemInstruction": {"parts": [{"text": PROMPT}]}, "contents": said, "tools": tools}
    return "/v1beta/models/m:generateContent", body


def ollama(first: str, count: int) -> tuple[str, Any]:
    _, body = openai(first, count)
    return "/ollama/api/chat", {**body, "stream": False}


SPEAKERS = (openai, responses, anthropic, gemini, ollama)
STICKY = f"{{choose: weighted, sticky: conversation, to: {ALL}}}"


async def test_a_conversation_stays_with_one_target() -> None:
    """Turn by turn, in every caller's dialect alike; others have their own."""
    async with three(STICKY) as run:
        homes = {}
        for number in range(12):
            first = f"What is {number}?"
            found = {await run.who(*speak(first, count)) for speak in SPEAKERS for count in (1, 2, 3)}
            assert 1 == len(found), (first, found)
            homes[first] = found.pop()

        assert set(NAMES) == set(homes.values())


async def test_it_moves_while_its_target_rests_and_returns() -> None:
    """To one other target; who was there already stays."""
    async with three(STICKY) as run:
        body = openai("Hi", 1)[1]
        home = await run.who(CHAT, body)
        others = {f"q{n}": await run.who(*openai(f"q{n}", 1)) for n in range(8)}
        run.upstreams[home].script(status(429, headers={"retry-after": "1"}))
        away = [await run.who(*openai("Hi", count)) for count in (2, 3, 4)]
        told = await explain(run.gateway.life.gateway, Question(path=CHAT, body=body))
        meanwhile = {first: await run.who(*openai(first, 1)) for first, was in others.items() if was != home}
        await asyncio.sleep(1.05)

        assert 1 == len(set(away)) and home not in away
        assert meanwhile == {first: was for first, was in others.items() if was != home}
        assert [away[0], "sticky"] == [told["candidates"][0]["provider"], told["candidates"][0]["why"]["code"]]
        assert f"stands in for {home}/m" in told["candidates"][0]["why"]["reason"]
        assert "resting" == told["candidates"][-1]["why_not"]["code"]
        assert home == await run.who(*openai("Hi", 5))


async def test_a_full_target_is_passed_over() -> None:
    """While all its places are taken, and not longer."""
    async with three(STICKY, places=1) as run:
        home, body = await run.who(*openai("Hi", 1)), openai("Hi", 2)[1]
        go = asyncio.Event()
        run.upstreams[home].script(json_answer(chat_answer("slow")).after(Until(go)))
        first = asyncio.create_task(run.who(CHAT, body))
        await run.upstreams[home].asked(2)
        told = await explain(run.gateway.life.gateway, Question(path=CHAT, body=body))
        second = await run.who(CHAT, body)
        go.set()

        assert home == await first and home != second
        assert "full" == told["candidates"][-1]["why_not"]["code"]
        assert home == await run.who(CHAT, body)


async def test_explain_tells_where_a_conversation_is_at_home() -> None:
    """The first and why; of the others, that calls of this conversation go elsewhere."""
    async with three(STICKY) as run:
        path, body = openai("Hi", 1)
        home = await run.who(path, body)
        first, *rest = (await explain(run.gateway.life.gateway, Question(path=path, body=body)))["candidates"]

        assert (home, True, "sticky") == (first["provider"], first["chosen"], first["why"]["code"])
        assert {"calls of this conversation go to " + home + "/m"} == {row["why_not"]["reason"] for row in rest}


async def test_a_header_makes_calls_stick() -> None:
    """One value, one target; without it the policy chooses."""
    async with three(f"{{sticky: header:x-session, to: {ALL}}}") as run:
        homes = {}
        for session in map(str, range(12)):
            found = {await run.who(*openai(f"q{n}", 1), **{"x-session": session}) for n in range(3)}
            assert 1 == len(found)
            homes[session] = found.pop()

        assert set(NAMES) == set(homes.values())
        assert {"one"} == {await run.who(*openai(f"q{n}", 1)) for n in range(5)}


KEYS = {f"team-{n}": f"sk-isthmus-{n}" for n in range(8)}


def access(keys: dict[str, str]) -> str:
    rows = ", ".join(
        f'{{name: {name}, hash: "sha256:{hashlib.sha256(key.encode()).hexdigest()}"}}' for name, key in keys.items()
    )
    return f"access: {{keys: [{rows}]}}\n"


async def test_callers_stick_by_their_keys() -> None:
    """Whatever they ask."""
    async with three(f"{{sticky: caller, to: {ALL}}}", more=access(KEYS)) as run:
        homes = {}
        for name, key in KEYS.items():
            found = {await run.who(*openai(f"q{n}", 1), authorization=f"Bearer {key}") for n in range(3)}
            assert 1 == len(found)
            homes[name] = found.pop()

        assert 1 < len(set(homes.values()))


# ── conditions ─────────────────────────────────────────────────────────────────────────────────

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def asking(content: Any = "Hi", **more: Any) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


@pytest.mark.parametrize(
    ("when", "yes", "no"),
    [
        ("{tools: true}", asking(tools=[TOOL]), asking()),
        ("{media: [image]}", asking([{"type": "text", "text": "?"}, IMAGE]), asking([{"type": "text", "text": "?"}])),
        ("{tokens: {above: 1000}}", asking("word " * 1000), asking("word " * 100)),
        ("{tokens: {below: 1000}}", asking("word " * 100), asking("word " * 1000)),
        ("{stream: false, model: m}", asking(), asking(tools=[TOOL], stream=True)),
    ],
)
async def test_a_call_goes_where_the_condition_holds(when: str, yes: Any, no: Any) -> None:
    """And any other one to the target that has none."""
    async with three(f"[{{provider: two, model: m, when: {when}}}, {{provider: one, model: m}}]") as run:
        if no.get("stream"):
            run.upstreams["one"].always(sse(*chat_stream("Hi")))

        assert ("two", "one") == (await run.who(CHAT, yes), await run.who(CHAT, no))


async def test_headers_and_keys_lead_calls() -> None:
    """Who shows the header goes one way, whose key fits another; the condition holds for every part of it."""
    model = (
        "[{provider: two, model: m, when: {key: team-1, header: {x-tier: {equals: gold}}}}, "
        "{provider: three, model: m, when: {key: team-*, header: {x-tier: {present: true}}}}, "
        "{provider: one, model: m}]"
    )
    async with three(model, more=access({**KEYS, "other": "sk-isthmus-other"})) as run:
        found = [
            await run.who(CHAT, asking(), authorization=f"Bearer sk-isthmus-{key}", **headers)
            for key, headers in [
                ("1", {"x-tier": "gold"}),
                ("1", {"x-tier": "silver"}),
                ("2", {"x-tier": "gold"}),
                ("1", {}),
                ("other", {"x-tier": "gold"}),
            ]
        ]

        assert ["two", "three", "three", "one", "one"] == found


async def test_embeddings_and_chats_of_one_name_part() -> None:
    """By what is asked for."""
    model = "[{provider: two, model: m, when: {operation: embeddings}}, {provider: one, model: m}]"
    async with three(model) as run:
        vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
        run.upstreams["two"].always(json_answer({**vectors, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))

        assert "two" == await run.who("/v1/embeddings", {"model": "m", "input": "Hi"})
        assert "one" == await run.who(CHAT, asking())


@pytest.mark.parametrize("name", CALLERS)
async def test_a_call_that_no_target_takes_is_refused(name: str) -> None:
    """In the caller's dialect: 400, with the names of what it depends on, without what targets ask for."""
    caller = CALLERS[name]
    model = "[{provider: two, model: m, when: {tools: true}}, {provider: one, when: {tokens: {above: 77777}}}]"
    async with three(model) as run:
        answer = await run.gateway.post(caller.path("m", stream=False), caller.body("m", "Hi", stream=False))
        problem = caller.problem(answer.json, answer.status)

        assert (400, "unsupported_parameter") == (answer.status, caller.code(problem))
        assert "no target takes a call like this one: that depends on tools, tokens" == problem["message"]
        assert [] == [each.requests for each in run.upstreams.values() if each.requests]
        assert 1.0 == run.gateway.metric("isthmus_requests_total", outcome="rejected")


async def test_explain_tells_which_condition_does_not_hold() -> None:
    """Of each target that is left out, also where that leaves none."""
    model = "[{provider: two, model: m, when: {tools: true}}, {provider: one, when: {tokens: {above: 777}}}]"
    async with three(model) as run:
        gateway = run.gateway.life.gateway
        some = await explain(gateway, Question(path=CHAT, body=asking(tools=[TOOL])))
        none = await explain(gateway, Question(path=CHAT, body=asking()))

        assert [("two", True), ("one", False)] == [(row["provider"], row["chosen"]) for row in some["candidates"]]
        assert {"code": "only", "reason": "no other target takes this call"} == some["candidates"][0]["why"]
        whys = [row["why_not"] for row in none["candidates"]]
        assert ["when", "when"] == [why["code"] for why in whys]
        assert ["tools: the call offers none", "tokens: about 4, not above 777"] == [why["reason"] for why in whys]
        assert 400 == none["refused"]["status"]


async def test_an_upstream_that_is_named_twice_is_tried_once() -> None:
    """Two conditions that both hold do not make two targets of one."""
    model = "[{provider: two, model: m, when: {tools: true}}, {provider: two, model: m, when: {stream: false}}]"
    async with three(model) as run:
        run.upstreams["two"].always(status(400))
        await run.call(CHAT, asking(tools=[TOOL]))
        told = await explain(run.gateway.life.gateway, Question(path=CHAT, body=asking(tools=[TOOL])))

        assert 1 == len(run.upstreams["two"].requests) == len(told["candidates"])


async def test_what_fits_is_chosen_among_as_ever() -> None:
    """Weights, retries and rests hold for what is left."""
    model = (
        "[{provider: three, model: m, when: {tools: true}}, {provider: one, model: m, when: {tools: false}}, "
        "{provider: two, model: m}]"
    )
    async with three(model) as run:
        run.upstreams["one"].always(status(503))

        assert ["two"] * 8 == [await run.who(CHAT, asking()) for _ in range(8)]
        assert [] == run.upstreams["three"].requests
        assert len(run.upstreams["one"].requests) <= 6


# ── what is lost ───────────────────────────────────────────────────────────────────────────────

LANGUAGES = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: none}
  anthropic-up: {base_url: "$up", speaks: [anthropic.messages], auth: none}
  ollama-up: {base_url: "$up", speaks: [ollama.chat], auth: none}
models:
  m: {prefer: $prefer, to: [$targets]}
policies: {default: {attempts: 3, wait: {first: 1ms, most: 1ms}, on_loss: $on_loss}}
"""
TOP_K = {"model": "m", "max_tokens": 9, "top_k": 5, "messages": [{"role": "user", "content": "Hi"}]}
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}}


@contextlib.asynccontextmanager
async def languages(*names: str, prefer: str = "fidelity", on_loss: str = "report") -> AsyncIterator[Running]:
    """Upstreams of several languages, all at one address."""
    targets = ", ".join(f"{{provider: {name}-up, model: x}}" for name in names)
    async with FakeUpstream() as upstream:
        answers = {"gemini": "generateContent", "anthropic": "messages", "ollama": "api/chat", "openai": "completions"}

        def reply(request: Any) -> Any:
            name = next(name for name, word in answers.items() if word in request.target)
            return json_answer(UPSTREAMS[name].answer("Hi"))

        upstream.always(reply)
        table = LANGUAGES + ROUTES
        async with running(table, up=upstream.url, targets=targets, prefer=prefer, on_loss=on_loss) as gateway:
            yield gateway


async def called(gateway: Running, path: str, body: Any) -> str:
    answer = await gateway.post(path, body)

    assert 200 == answer.status, answer.body
    lost = answer.headers.get("x-isthmus-loss")
    return answer.headers["x-isthmus-provider"].removesuffix("-up") + (f" {lost}" if lost else "")


CASES = {
    "nothing": ("/v1/messages", {name: value for name, value in TOP_K.items() if name != "top_k"}),
    "top_k": ("/v1/messages", TOP_K),
    "pdf": (CHAT, asking([{"type": "text", "text": "Read."}, PDF])),
    "two": (CHAT, asking(seed=5, logit_bias={"50256": -100})),
}


@pytest.mark.parametrize(
    ("case", "targets", "prefer", "first"),
    [
        ("nothing", ("openai", "gemini"), "fidelity", "openai"),
        ("top_k", ("openai", "gemini"), "fidelity", "gemini"),
        ("top_k", ("openai", "gemini"), "off", "openai top_k=dropped"),
        ("top_k", ("openai", "gemini", "ollama"), "fidelity", "gemini"),
        ("pdf", ("ollama", "gemini", "anthropic"), "fidelity", "anthropic max_completion_tokens=invented"),
        ("two", ("anthropic", "gemini"), "fidelity", "gemini logit_bias=dropped"),
    ],
    ids=["nothing-lost", "less", "off", "ties", "refused-and-invented", "fewer"],
)
async def test_who_loses_least_comes_first(case: str, targets: tuple[str, ...], prefer: str, first: str) -> None:
    """Who refuses is passed over, what is merely added counts for nothing, and equals keep the policy's order."""
    async with languages(*targets, prefer=prefer) as gateway:
        assert first == await called(gateway, *CASES[case])
        (line,) = await gateway.lines()
        assert [first.partition(" ")[0] + "-up"] == [attempt["provider"] for attempt in line["attempts"]]


async def test_explain_tells_who_would_lose_what() -> None:
    """Why the first is the first, and what the others would lose or refuse."""
    async with languages("ollama", "gemini", "anthropic") as gateway:
        path, body = CASES["pdf"]
        told = (await explain(gateway.life.gateway, Question(path=path, body=body)))["candidates"]

        assert ["anthropic-up", "gemini-up", "ollama-up"] == [row["provider"] for row in told]
        assert {"code": "fidelity", "reason": "loses nothing; no other that is well loses less"} == told[0]["why"]
        assert (
            "would lose messages[0].content[1].file.filename, which another would not" == told[1]["why_not"]["reason"]
        )
        assert "unsupported_parameter" == told[2]["why_not"]["code"]


async def test_nothing_may_be_lost_where_that_is_said() -> None:
    """With `on_loss: reject` who would lose something refuses: the other target is called at once."""
    async with languages("openai", "gemini", on_loss="reject") as gateway:
        assert "gemini" == await called(gateway, *CASES["top_k"])
        (line,) = await gateway.lines()
        assert 1 == len(line["attempts"])


async def test_a_count_is_asked_of_who_can_count() -> None:
    """Our own rule of thumb is a loss, too."""
    async with languages("openai", "gemini") as gateway:
        _, body = gemini("Hi", 1)
        path = "/v1beta/models/m:countTokens"
        told = await explain(gateway.life.gateway, Question(path=path, body={"contents": body["contents"]}))

        assert "gemini-up" == told["candidates"][0]["provider"]


async def test_who_loses_nothing_but_rests_comes_behind() -> None:
    """Health goes before fidelity, and no longer than the rest lasts."""
    async with FakeUpstream() as up:
        table = LANGUAGES + ROUTES
        targets = "{provider: openai-up, model: x}, {provider: gemini-up, model: x}"
        async with running(table, up=up.url, targets=targets, prefer="fidelity", on_loss="report") as gateway:
            up.script(status(429, headers={"retry-after": "1"}))
            up.always(json_answer(UPSTREAMS["openai"].answer("Hi")))
            path, body = CASES["top_k"]
            found = [await called(gateway, path, body) for _ in range(2)]
            await asyncio.sleep(1.05)
            up.always(json_answer(UPSTREAMS["gemini"].answer("Hi")))

            assert ["openai top_k=dropped"] * 2 == found
            assert "gemini" == await called(gateway, path, body)


async def test_calls_stick_to_one_of_those_that_lose_least() -> None:
    """Fidelity says among which, stickiness which of them."""
    async with languages("openai", "gemini", "ollama", prefer="fidelity, sticky: conversation") as gateway:
        found = {}
        for number in range(8):
            body = {**TOP_K, "messages": [{"role": "user", "content": f"q{number}"}]}
            both = {await called(gateway, "/v1/messages", body) for _ in range(2)}
            assert 1 == len(both)
            found[number] = both.pop()

        assert {"gemini", "ollama"} == set(found.values())


async def test_looking_at_targets_leaves_no_trace() -> None:
    """A call that no target is called for is not told to have gone to the model that was looked at last."""
    rows = "{provider: openai-up, model: gpt}, {provider: gemini-up, model: gem}"
    table = LANGUAGES.replace("attempts: 3", "breaker: {failures: 1}, attempts: 3") + ROUTES
    async with FakeUpstream() as up:
        up.always(status(503))
        async with running(table, up=up.url, targets=rows, prefer="fidelity", on_loss="report") as gateway:
            await gateway.post(*CASES["top_k"])
            answer = await gateway.post(*CASES["top_k"])

            line = (await gateway.lines())[-1]

            assert (503, "circuit_open") == (answer.status, answer.json["error"]["details"]["error_code"])
            assert not {"x-isthmus-provider", "x-isthmus-model", "x-isthmus-loss"} & answer.headers.keys()
            assert line.get("upstream_model") is None


async def test_the_chat_service_takes_part() -> None:
    """What its personas' models say of targets holds for its callers, too, in its own words."""
    model = (
        "models: {small: {sticky: conversation, to: [{provider: up, model: a, when: {stream: false}}, "
        "{provider: up, model: b, when: {stream: false}}, {provider: up, model: c, when: {tools: true}}]}}\n"
    )
    table = re.sub(r"models:\n.*\n.*\n", model, TABLE).replace("model: thinker", "model: small")
    async with chatting(table) as (gateway, upstream):
        upstream.always(says("Sunny."))
        bodies = [{"chat_history": [{"role": "user", "content": f"q{n}"}], "persona": "maya"} for n in range(8)]
        answers = [await gateway.post("/api/v1/chat/generate", body) for body in bodies * 2]
        models = [request.json()["model"] for request in upstream.requests]
        none = await gateway.post("/api/v1/chat/generate/stream", bodies[0])

        assert {201} == {answer.status for answer in answers}
        assert models[:8] == models[8:] and {"a", "b"} == set(models)
        assert (400, "invalid_request") == (none.status, none.json["code"])
