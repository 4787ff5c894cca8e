"""The official Ollama SDK against the gateway: to an Ollama server, to OpenAI's and Google's, and to the demo.

A client's host is the gateway's address with `/ollama` behind it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any

import pytest

from tests.answers import chat_answer, chat_chunk, gemini_answer, tool_call
from tests.fakes import RESET, Answer, FakeUpstream, answer, json_answer, sse, status
from tests.running import Running, running

ollama = pytest.importorskip("ollama", reason="the SDK of Ollama is not installed")
pytestmark = pytest.mark.clients

Json = Any
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
access: {keys: [{name: team, hash: "sha256:$hash", models: ["*"]}]}
providers:
  demo: {}
  local: {like: ollama, base_url: "$up"}
  chat: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  google: {base_url: "$up", speaks: [gemini], auth: none}
models:
  demo: [{provider: demo, model: isthmus-demo}]
  llama: [{provider: local, model: llama3.2}]
  gpt: [{provider: chat, model: gpt-4o-mini}]
  flash: [{provider: google, model: gemini-2.5-flash}]
policies: {default: {attempts: 1}}
routes: [{path: "/ollama/api/{task}", speaks: ollama.chat, to: models}]
"""
KEY = "team-key-of-the-gateway"
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The name of the city.
    """
    return f"sunny in {city}"


class Place:
    """A gateway, the upstream behind it, and the SDK in front."""

    def __init__(self, upstream: FakeUpstream, gateway: Running, sdk: Any) -> None:
        self.upstream = upstream
        self.gateway = gateway
        self.sdk = sdk

    def heard(self) -> Json:
        """The body of the last call that the upstream got."""
        return self.upstream.requests[-1].json()


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(FakeUpstream())
        hashed = sha256(KEY.encode()).hexdigest()
        gateway = await stack.enter_async_context(running(TABLE, up=upstream.url, hash=hashed))
        sdk = ollama.AsyncClient(f"{gateway.url}/ollama", headers={"authorization": f"Bearer {KEY}"}, timeout=10)
        await stack.enter_async_context(sdk)
        yield Place(upstream, gateway, sdk)


def line(text: str = "", *, done: str | None = None, **message: Json) -> Json:
    """One line of an Ollama server."""
    body: dict[str, Json] = {"model": "llama3.2", "created_at": "2026-08-07T06:08:09.335586Z"}
    body |= {"message": {"role": "assistant", "content": text, **message}, "done": done is not None}
    counts = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": 26, "prompt_eval_duration": 2}
    return body | ({"done_reason": done, **counts, "eval_count": 8, "eval_duration": 3} if done else {})


def ndjson(*lines: Json) -> Answer:
    pieces = [(json.dumps(one) + "\n").encode() if isinstance(one, dict) else one for one in lines]
    return answer(200, *pieces, headers={"Content-Type": "application/x-ndjson"}, framing="chunked")


def whole(here: Place, model: str, text: str) -> Answer:
    """The upstream's answer in the language of a model's provider."""
    if model == "llama":
        return json_answer(line(text, done="stop"))
    return json_answer(chat_answer(text) if model == "gpt" else gemini_answer(text))


def streamed(model: str, *texts: str) -> Answer:
    if model == "llama":
        return ndjson(*map(line, texts), line(done="stop"))
    if model == "gpt":
        end = chat_chunk(finish="stop", usage=None) | {"usage": {"prompt_tokens": 26, "completion_tokens": 8}}
        return sse(*map(chat_chunk, texts), end, b"data: [DONE]\n\n")
    *first, last = texts
    counts = {"usage": (26, 8)}
    return sse(*(gemini_answer(text, finish=None) for text in first), gemini_answer(last, **counts))  # type: ignore[arg-type]


MODELS = ["llama", "gpt", "flash"]


# ── chat ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS)
async def test_a_chat(here: Place, model: str) -> None:
    """The SDK reads a whole answer from any upstream, with why it ended and the counts."""
    here.upstream.script(whole(here, model, "Scattering – «of light» 👋"))

    found = await here.sdk.chat(model, messages=QUESTION, options={"temperature": 0.5, "num_predict": 90, "seed": 7})

    assert "Scattering – «of light» 👋" == found.message.content
    assert (True, "stop") == (found.done, found.done_reason)
    assert found.eval_count and found.prompt_eval_count
    assert found.created_at.endswith("Z")
    sent = here.heard()
    if model == "llama":
        assert {"temperature": 0.5, "num_predict": 90, "seed": 7} == sent["options"]
    if model == "gpt":
        assert (0.5, 90, 7) == (sent["temperature"], sent["max_completion_tokens"], sent["seed"])


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream(here: Place, model: str) -> None:
    """Pieces arrive in order, U+2028 among them, and the last line says that it is done."""
    here.upstream.script(streamed(model, "Ray", "leigh \u2028", "👋"))

    parts = [part async for part in await here.sdk.chat(model, messages=QUESTION, stream=True)]

    assert "Rayleigh \u2028👋" == "".join(part.message.content for part in parts)
    assert [True] == [part.done for part in parts if part.done]
    assert ("stop", 26, 8) == (parts[-1].done_reason, parts[-1].prompt_eval_count, parts[-1].eval_count)


@pytest.mark.parametrize("model", MODELS)
async def test_a_prompt(here: Place, model: str) -> None:
    """generate: the prompt and the system text arrive, and the answer comes in the shape of generate."""
    generated = {**line("Dust.", done="stop"), "response": "Dust."}
    here.upstream.script(json_answer(generated) if model == "llama" else whole(here, model, "Dust."))

    found = await here.sdk.generate(model, "Why is the sky red?", system="Be brief.", images=[PIXEL])

    assert ("Dust.", True, "stop") == (found.response, found.done, found.done_reason)
    sent = here.heard()
    if model == "llama":
        assert ("/api/generate", "Why is the sky red?") == (here.upstream.requests[-1].path, sent["prompt"])
    if model == "gpt":
        system, user = sent["messages"]
        assert ("Be brief.", "Why is the sky red?") == (system["content"], user["content"][0]["text"])
        assert f"data:image/png;base64,{PIXEL}" == user["content"][1]["image_url"]["url"]


async def test_a_prompt_streamed(here: Place) -> None:
    """generate as a stream, from an upstream that has no such thing."""
    here.upstream.script(streamed("gpt", "Du", "st."))

    parts = [part async for part in await here.sdk.generate("gpt", "Why is the sky red?", stream=True)]

    assert "Dust." == "".join(part.response for part in parts)
    assert "stop" == parts[-1].done_reason


# ── tools ──────────────────────────────────────────────────────────────────────────────


def calling(model: str, cities: Sequence[str]) -> Answer:
    if model == "llama":
        calls = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in cities]
        return json_answer(line(done="stop", tool_calls=calls))
    if model == "gpt":
        made = [tool_call("get_weather", {"city": city}, id=f"call_{city}") for city in cities]
        return json_answer(chat_answer(None, finish="tool_calls", tool_calls=made))
    parts = [{"functionCall": {"name": "get_weather", "args": {"city": city}}} for city in cities]
    return json_answer(gemini_answer(None, parts=parts))


@pytest.mark.parametrize("model", MODELS)
async def test_tools_over_two_turns(here: Place, model: str) -> None:
    """Two calls of one tool, without ids: the results reach the upstream paired with their calls."""
    here.upstream.script(calling(model, ["Paris", "Rome"]), whole(here, model, "Sunny in both."))
    messages: list[Json] = [{"role": "user", "content": "The weather in Paris and Rome?"}]

    first = await here.sdk.chat(model, messages=messages, tools=[get_weather])
    assert [{"city": "Paris"}, {"city": "Rome"}] == [call.function.arguments for call in first.message.tool_calls]
    messages.append(first.message)
    for call in first.message.tool_calls:
        result = get_weather(**call.function.arguments)
        messages.append({"role": "tool", "content": result, "tool_name": call.function.name})
    second = await here.sdk.chat(model, messages=messages, tools=[get_weather])

    assert "Sunny in both." == second.message.content
    sent = here.heard()
    if model == "llama":
        assert ["sunny in Paris", "sunny in Rome"] == [one["content"] for one in sent["messages"][2:]]
    elif model == "gpt":
        calls = {call["id"]: json.loads(call["function"]["arguments"]) for call in sent["messages"][1]["tool_calls"]}
        results = {calls[one["tool_call_id"]]["city"]: one["content"] for one in sent["messages"][2:]}
        assert {"Paris": "sunny in Paris", "Rome": "sunny in Rome"} == results
    else:
        returned = [part["functionResponse"] for part in sent["contents"][2]["parts"]]
        assert [{"output": "sunny in Paris"}, {"output": "sunny in Rome"}] == [one["response"] for one in returned]


async def test_a_streamed_call(here: Place) -> None:
    """Arguments that come in pieces reach the SDK as one object."""
    start = tool_call("get_weather", "", index=0)
    more = {"index": 0, "function": {"arguments": '{"city":'}}, {"index": 0, "function": {"arguments": ' "Paris"}'}}
    pieces = [chat_chunk(tool_calls=[start]), *(chat_chunk(tool_calls=[one]) for one in more)]
    here.upstream.script(sse(*pieces, chat_chunk(finish="tool_calls"), b"data: [DONE]\n\n"))

    parts = [part async for part in await here.sdk.chat("gpt", messages=QUESTION, tools=[get_weather], stream=True)]

    [call] = [call for part in parts for call in part.message.tool_calls or ()]
    assert ("get_weather", {"city": "Paris"}) == (call.function.name, call.function.arguments)


# ── other parameters ───────────────────────────────────────────────────────────────────


async def test_thinking_and_a_schema(here: Place) -> None:
    """`think` and `format` arrive in the upstream's words, thinking comes back under its own name."""
    said = chat_answer('{"a": 1}')
    said["choices"][0]["message"]["reasoning_content"] = "Hm."
    here.upstream.script(json_answer(said))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    found = await here.sdk.chat("gpt", messages=QUESTION, think="high", format=schema)

    assert ("Hm.", '{"a": 1}') == (found.message.thinking, found.message.content)
    sent = here.heard()
    assert ("high", schema) == (sent["reasoning_effort"], sent["response_format"]["json_schema"]["schema"])


async def test_the_demo_needs_no_upstream(here: Place) -> None:
    """Everything can be tried without a server: words, streams, tools."""
    said = await here.sdk.chat("demo", messages=QUESTION)
    parts = [part async for part in await here.sdk.chat("demo", messages=QUESTION, stream=True)]
    called = await here.sdk.chat("demo", messages=QUESTION, tools=[get_weather])

    assert "Why is the sky blue?" in said.message.content
    assert said.message.content == "".join(part.message.content for part in parts)
    assert "get_weather" == called.message.tool_calls[0].function.name


# ── beside the chat ────────────────────────────────────────────────────────────────────


async def test_the_list_of_models(here: Place) -> None:
    """list: the names that this caller may use."""
    found = await here.sdk.list()

    assert ["demo", "llama", "gpt", "flash"] == [one.model for one in found.models]


async def test_one_model(here: Place) -> None:
    """show: what may be asked of it; 404 for what is not there."""
    found = await here.sdk.show("gpt")
    with pytest.raises(ollama.ResponseError) as missing:
        await here.sdk.show("nope")

    assert "tools" in found.capabilities
    assert (404, 'model "nope" not found') == (missing.value.status_code, missing.value.error)


async def test_version_and_life(here: Place) -> None:
    """Clients look whether anybody is there, and how old."""
    headers = {"authorization": f"Bearer {KEY}"}
    version = await here.gateway.get("/ollama/api/version", headers=headers)
    alive = await here.gateway.get("/ollama/", headers=headers)
    stranger = await here.gateway.get("/ollama/api/tags")
    wrong = await here.gateway.post("/ollama/api/tags", {}, headers=headers)

    assert (200, ["version"]) == (version.status, list(version.json))
    assert (200, b"Ollama is running") == (alive.status, alive.body)
    assert (401, "invalid_token") == (stranger.status, stranger.json["code"])
    assert (405, "GET, HEAD") == (wrong.status, wrong.headers["allow"])


# ── errors ─────────────────────────────────────────────────────────────────────────────


async def test_a_model_that_is_not_there(here: Place) -> None:
    """Ours and an upstream's: 404 with the text that clients show."""
    here.upstream.script(status(404, {"error": "model 'llama3.2' not found"}))
    with pytest.raises(ollama.ResponseError) as ours:
        await here.sdk.chat("nope", messages=QUESTION)
    with pytest.raises(ollama.ResponseError) as theirs:
        await here.sdk.chat("llama", messages=QUESTION)

    assert 404 == ours.value.status_code
    assert (404, "model 'llama3.2' not found") == (theirs.value.status_code, theirs.value.error)


@pytest.mark.parametrize("model", MODELS)
async def test_an_error_inside_a_stream(here: Place, model: str) -> None:
    """After the first words the fault is a line of the stream, and the SDK raises it."""
    failing = {
        "llama": ndjson(line("Ray"), {"error": "an error was encountered while running the model"}),
        "gpt": sse(chat_chunk("Ray"), {"error": {"message": "it broke", "type": "server_error"}}),
        "flash": sse(gemini_answer("Ray", finish=None), RESET),
    }
    here.upstream.script(failing[model])
    texts = []

    with pytest.raises(ollama.ResponseError) as raised:
        async for part in await here.sdk.chat(model, messages=QUESTION, stream=True):
            texts.append(part.message.content)

    assert "Ray" == "".join(texts)
    assert raised.value.error


async def test_a_stream_that_fails_at_once_keeps_its_status(here: Place) -> None:
    """An error before the first words is a status, not a line."""
    here.upstream.script(ndjson({"error": "model runner has unexpectedly stopped"}))

    with pytest.raises(ollama.ResponseError) as raised:
        async for _ in await here.sdk.chat("llama", messages=QUESTION, stream=True):
            pass

    assert (502, "model runner has unexpectedly stopped") == (raised.value.status_code, raised.value.error)


async def test_what_means_nothing_elsewhere_is_refused(here: Place) -> None:
    """A suffix to fill in before is an Ollama server's alone: 400 that names it; the server itself gets it."""
    here.upstream.script(json_answer({**line(done="stop"), "response": "x"}))
    with pytest.raises(ollama.ResponseError) as refused:
        await here.sdk.generate("gpt", "def f(", suffix="return x")
    found = await here.sdk.generate("llama", "def f(", suffix="return x")

    assert 400 == refused.value.status_code
    assert "suffix" in refused.value.error
    assert ("x", "return x") == (found.response, here.heard()["suffix"])


async def test_a_model_is_loaded_by_its_own_server(here: Place) -> None:
    """A request without a prompt: in one object, though a stream was asked for, and only from such a server."""
    loaded = {"model": "llama3.2", "created_at": "2026-08-07T06:08:09Z", "response": "", "done": True}
    here.upstream.script(json_answer(loaded | {"done_reason": "load"}))

    parts = [part async for part in await here.sdk.generate("llama", "", stream=True, keep_alive="5m")]
    with pytest.raises(ollama.ResponseError) as refused:
        await here.sdk.generate("gpt", "")

    assert [(True, "load")] == [(part.done, part.done_reason) for part in parts]
    assert ("5m", 400) == (here.heard()["keep_alive"], refused.value.status_code)
