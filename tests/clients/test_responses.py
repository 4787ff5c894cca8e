"""The official OpenAI SDK's Responses, against upstreams of three languages: its own, chat, Gemini."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.answers import chat_answer, chat_chunk, chat_stream, gemini_answer, gemini_stream, tool_call
from tests.clients.lanes import valid
from tests.fakes import RESET, Answer, FakeUpstream, json_answer, sse, status
from tests.running import Running, running

Json = Any
pytestmark = pytest.mark.clients

KEY = "sk-isthmus-of-the-application"
TABLE = """
access:
  keys:
    - {name: app, hash: "sha256:$digest"}
providers:
  up: {base_url: "$base", speaks: [$speaks], auth: $auth, secret: "env:UP_KEY"}
models:
  fast: [{provider: up, model: $model}]
policies:
  default: {attempts: 1}
routes:
  - {path: /v1/responses, speaks: openai.responses, to: models}
"""

USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 12,
}
THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "gAAAstate",
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city":"Paris"}',
}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str
    country: str


PARIS = '{"name":"Paris","country":"France"}'


# ── upstreams ──────────────────────────────────────────────────────────────────────────


def response(*output: Json, **more: Json) -> Json:
    """A whole answer of OpenAI."""
    head = {"id": "resp_1", "object": "response", "created_at": 1760000000, "model": "gpt-5", "status": "completed"}
    head |= {"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "tools": []}
    head |= {"parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "top_p": 1.0, "usage": USAGE}
    return {**head, "output": list(output), **more}


def message(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def events(*found: Json) -> list[bytes]:
    """Events as OpenAI frames them, numbered."""
    numbered = [{**one, "sequence_number": number} for number, one in enumerate(found)]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in numbered]


def text_events(*texts: str) -> list[Json]:
    """The stream of a text, to its end."""
    whole, place = message("".join(texts)), {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    deltas = [{"type": "response.output_text.delta", **place, "delta": text, "logprobs": []} for text in texts]
    return [
        {"type": "response.created", "response": response(status="in_progress", usage=None)},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **place, "part": part},
        *deltas,
        {"type": "response.output_text.done", **place, "text": "".join(texts), "logprobs": []},
        {"type": "response.content_part.done", **place, "part": whole["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": response(whole)},
    ]


class Voice:
    """What an upstream says, and what it must have been told."""

    speaks = "openai.responses"
    auth = "bearer"
    model = "gpt-5"
    schema = ("openai.responses.request", "ResponsesRequest")

    def base(self, url: str) -> str:
        return f"{url}/v1"

    def text(self, text: str) -> Answer:
        return json_answer(response(message(text)))

    def stream(self, *texts: str, end: Any = None) -> Answer:
        found = events(*text_events(*texts))
        return sse(*(found if end is None else [*found[: 3 + len(texts)], end]))

    def calling(self) -> Answer:
        """Reasoning, and a call that it led to."""
        return json_answer(response(THOUGHT, CALL))

    def calling_stream(self) -> Answer:
        place = {"item_id": "fc_1", "output_index": 1}
        return sse(
            *events(
                {"type": "response.created", "response": response(status="in_progress", usage=None)},
                {"type": "response.output_item.added", "output_index": 0, "item": {**THOUGHT, "summary": []}},
                {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
                {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}},
                {"type": "response.function_call_arguments.delta", **place, "delta": CALL["arguments"]},
                {"type": "response.function_call_arguments.done", **place, "arguments": CALL["arguments"]},
                {"type": "response.output_item.done", "output_index": 1, "item": CALL},
                {"type": "response.completed", "response": response(THOUGHT, CALL)},
            )
        )

    def check_results(self, body: Json) -> None:
        """The second turn: reasoning before its call, as we made both, then the result."""
        *_, thought, call, result = body["input"]
        known = {key: thought[key] for key in THOUGHT}
        assert (THOUGHT, "call_1", "fc_1") == (known, call["call_id"], call["id"])
        assert ("call_1", "sunny") == (result["call_id"], result["output"])


class Chat(Voice):
    speaks = "openai.chat"
    model = "gpt-4o-mini"
    schema = ("openai.chat.request", "ChatCompletionRequest")

    def text(self, text: str) -> Answer:
        return json_answer(chat_answer(text))

    def stream(self, *texts: str, end: Any = None) -> Answer:
        found = chat_stream(*texts, usage=(9, 3))
        return sse(*(found if end is None else [*found[: 1 + len(texts)], end]))

    def calling(self) -> Answer:
        call = tool_call("get_weather", {"city": "Paris"}, id="call_1")
        return json_answer(chat_answer(None, tool_calls=[call], finish="tool_calls"))

    def calling_stream(self) -> Answer:
        call = tool_call("get_weather", {"city": "Paris"}, id="call_1", index=0)
        chunks = [chat_chunk("", role="assistant"), chat_chunk(tool_calls=[call]), chat_chunk(finish="tool_calls")]
        return sse(*chunks, chat_chunk(usage=(9, 3)), b"data: [DONE]\n\n")

    def check_results(self, body: Json) -> None:
        *_, called, result = body["messages"]
        assert ["call_1"] == [call["id"] for call in called["tool_calls"]]
        assert ("tool", "call_1", "sunny") == (result["role"], result["tool_call_id"], result["content"])


class Gemini(Voice):
    speaks = "gemini"
    auth = "google_key"
    model = "gemini-3-pro-preview"
    schema = ("gemini.v1beta.request", "GenerateContentRequest")
    parts = (
        {"text": "Hm.", "thought": True},
        {
            "functionCall": {"name": "get_weather", "args": {"city": "Paris"}, "id": "g1"},
            "thoughtSignature": "c2lnbmVk",
        },
    )

    def base(self, url: str) -> str:
        return url

    def text(self, text: str) -> Answer:
        return json_answer(gemini_answer(text))

    def stream(self, *texts: str, end: Any = None) -> Answer:
        found = gemini_stream(*texts, "")
        return sse(*(found if end is None else [*found[: len(texts)], end]))

    def calling(self) -> Answer:
        return json_answer(gemini_answer(None, parts=self.parts))

    def calling_stream(self) -> Answer:
        return sse(gemini_answer(None, parts=self.parts[:1], finish=None), gemini_answer(None, parts=self.parts[1:]))

    def check_results(self, body: Json) -> None:
        *_, called, answered = body["contents"]
        [call] = [part for part in called["parts"] if "functionCall" in part]
        assert (self.parts[1]["functionCall"], "c2lnbmVk") == (call["functionCall"], call["thoughtSignature"])
        assert {"output": "sunny"} == answered["parts"][0]["functionResponse"]["response"]


class Place:
    """One gateway before one upstream."""

    def __init__(self, gateway: Running, upstream: FakeUpstream, voice: Voice) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.voice = voice

    @property
    def relays(self) -> bool:
        return self.voice.speaks == "openai.responses"

    def sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.gateway.url + "/v1", api_key=KEY, max_retries=0, timeout=5.0)

    def heard(self, turn: int = -1) -> Json:
        """The body of a request as the upstream got it, which fits its schema."""
        body = self.upstream.requests[turn].json()
        if not self.relays:
            valid(*self.voice.schema, body)
        return body


@contextlib.asynccontextmanager
async def place(voice: Voice) -> AsyncIterator[Place]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    async with FakeUpstream() as upstream:
        names = {"digest": digest, "base": voice.base(upstream.url), "speaks": voice.speaks}
        async with running(TABLE, {"UP_KEY": "sk-up"}, auth=voice.auth, model=voice.model, **names) as gateway:
            yield Place(gateway, upstream, voice)
        assert 0 == upstream.unused


@pytest.fixture(params=[Voice, Chat, Gemini], ids=["relay", "chat", "gemini"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param()) as found:
        yield found


def good(answer: Json) -> Json:
    """An answer as it came, which fits the schema."""
    valid("openai.responses.response", "Response", answer.to_dict(mode="json"))
    return answer


# ── answers ────────────────────────────────────────────────────────────────────────────


async def test_an_answer_is_read(here: Place) -> None:
    """Its text and usage; the upstream heard instructions, input and limits."""
    here.upstream.script(here.voice.text("Bonjour 👋"))
    async with here.sdk() as sdk:
        answer = good(
            await sdk.responses.create(
                model="fast", instructions="Be brief.", input="Hello!", max_output_tokens=90, store=False
            )
        )

    assert ("Bonjour 👋", "completed") == (answer.output_text, answer.status)
    assert (9, 3, 12) == (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens)
    heard = json.dumps(here.heard(), ensure_ascii=False)
    assert all(text in heard for text in ("Be brief.", "Hello!", "90"))


@pytest.mark.parametrize("helper", [False, True])
async def test_a_stream_is_read_to_its_end(here: Place, helper: bool) -> None:
    """Event by event, and by the SDK's own way to put it together."""
    here.upstream.script(here.voice.stream("Hel", "lo ", "👋 wörld"))
    async with here.sdk() as sdk:
        if helper:
            async with sdk.responses.stream(model="fast", input="Hi") as stream:
                async for _ in stream:
                    pass
                last = await stream.get_final_response()
        else:
            stream_of = await sdk.responses.create(model="fast", input="Hi", stream=True)
            found = [event async for event in stream_of]
            for event in found:
                valid("openai.responses.response", "ResponseStreamEvent", event.to_dict(mode="json"))
            last = found[-1].response  # type: ignore[union-attr]

            assert list(range(len(found))) == [event.sequence_number for event in found]
            deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
            assert "Hello 👋 wörld" == "".join(deltas)

    assert ("Hello 👋 wörld", "completed") == (last.output_text, last.status)
    assert last.usage is not None
    assert 9 == last.usage.input_tokens


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_over_two_turns(here: Place, streamed: bool) -> None:
    """The output goes back as it came: calls, ids, reasoning and signatures arrive as the upstream made them."""
    here.upstream.script(here.voice.calling_stream() if streamed else here.voice.calling(), here.voice.text("Sunny."))
    history: list[Json] = [{"role": "user", "content": "What's the weather in Paris?"}]
    more: Json = {"tools": [TOOL], "include": ["reasoning.encrypted_content"], "store": False}
    async with here.sdk() as sdk:
        if streamed:
            async with sdk.responses.stream(model="fast", input=history, **more) as stream:
                async for _ in stream:
                    pass
                answer: Json = await stream.get_final_response()
        else:
            answer = await sdk.responses.create(model="fast", input=history, **more)
        [call] = [item for item in answer.output if item.type == "function_call"]
        history += [item.to_dict(mode="json") for item in answer.output]
        for item in history:
            item.pop("parsed_arguments", None)
        history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
        last = await sdk.responses.create(model="fast", input=history, **more)

    assert ("get_weather", {"city": "Paris"}) == (call.name, json.loads(call.arguments))
    assert "Sunny." == last.output_text
    here.voice.check_results(here.heard())


async def test_signatures_come_back_though_the_client_drops_reasoning() -> None:
    """Some keep calls alone: the gateway remembers what belonged to them."""
    async with place(Gemini()) as here:
        here.upstream.script(here.voice.calling(), here.voice.text("Sunny."))
        history: list[Json] = [{"role": "user", "content": "Weather?"}]
        async with here.sdk() as sdk:
            answer = await sdk.responses.create(model="fast", input=history, tools=[TOOL])  # type: ignore[list-item]
            [call] = [item for item in answer.output if item.type == "function_call"]
            kept = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            history += [kept, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
            await sdk.responses.create(model="fast", input=history, tools=[TOOL])  # type: ignore[list-item]

        here.voice.check_results(here.heard())


async def test_an_answer_in_a_schema_is_parsed(here: Place) -> None:
    """The schema arrives, and the SDK makes a value of the text."""
    here.upstream.script(here.voice.text(PARIS))
    async with here.sdk() as sdk:
        answer = await sdk.responses.parse(model="fast", input="Where am I?", text_format=City)

    assert City(name="Paris", country="France") == answer.output_parsed
    assert '"country"' in json.dumps(here.heard())


# ── faults ─────────────────────────────────────────────────────────────────────────────


async def test_errors_of_the_upstream_are_raised(here: Place) -> None:
    """With the status, its words, and the hint when to come back."""
    here.upstream.script(status(429, {"error": {"message": "slow down"}}, headers={"retry-after": "7"}))
    async with here.sdk() as sdk:
        with pytest.raises(openai.RateLimitError, match="slow down") as raised:
            await sdk.responses.create(model="fast", input="Hi")

    assert "7" == raised.value.response.headers["retry-after"]
    assert "rate_limit_exceeded" == raised.value.code


async def test_an_error_before_the_first_event_has_its_status() -> None:
    """As OpenAI sends it: in the stream, under status 200."""
    async with place(Voice()) as here:
        error = {"type": "rate_limit", "code": "rate_limit_exceeded", "message": "slow down", "param": None}
        begun, *_ = text_events("x")
        here.upstream.script(sse(*events(begun, {"type": "error", "error": error})))
        async with here.sdk() as sdk:
            with pytest.raises(openai.APIStatusError, match="slow down") as raised:
                await sdk.responses.create(model="fast", input="Hi", stream=True)

        assert 429 == raised.value.status_code


async def test_a_stream_that_breaks_is_raised(here: Place) -> None:
    """After the text that had come; never a clean end."""
    here.upstream.script(here.voice.stream("Hel", "lo", end=RESET))
    told = ""
    async with here.sdk() as sdk:
        with pytest.raises(openai.APIError) as raised:
            async for event in await sdk.responses.create(model="fast", input="Hi", stream=True):
                assert event.type != "response.completed"
                told += event.delta if event.type == "response.output_text.delta" else ""

    assert "Hello" == told
    assert raised.value.code in ("upstream_connection", "upstream_truncated")


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
async def test_state_of_an_upstream(here: Place, field: str) -> None:
    """Passed on to the upstream that holds it; refused by name where none does."""
    if here.relays:
        here.upstream.script(here.voice.text("Hi"))
    async with here.sdk() as sdk:
        request: Json = {"model": "fast", "input": "Hi", field: "x_1"}
        if here.relays:
            await sdk.responses.create(**request)

            assert "x_1" == here.heard()[field]
        else:
            with pytest.raises(openai.BadRequestError) as raised:
                await sdk.responses.create(**request)

            assert (field, "unsupported_parameter") == (raised.value.param, raised.value.code)


async def test_what_is_wrong_is_named(here: Place) -> None:
    """In both lanes alike, before anything is sent."""
    async with here.sdk() as sdk:
        with pytest.raises(openai.BadRequestError) as raised:
            await sdk.responses.create(model="fast", input=[{"role": "user", "content": [{"type": "input_text"}]}])  # type: ignore[list-item]

    assert "input[0].content[0].text" == raised.value.param
    assert [] == here.upstream.arrived


async def test_the_demo_answers_in_it() -> None:
    """Without a key or a network, with reasoning, tools and streams."""
    table = """
providers: {demo: {}}
models: {demo: [{provider: demo, model: isthmus-demo}]}
routes:
  - {path: /v1/responses, speaks: openai.responses, to: models}
"""
    async with (
        running(table) as gateway,
        openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="x", max_retries=0, timeout=5.0) as sdk,
    ):
        whole = good(await sdk.responses.create(model="demo", input="Hello", reasoning={"effort": "low"}))
        async with sdk.responses.stream(model="demo", input="Paris", tools=[TOOL]) as stream:  # type: ignore[list-item]
            async for _ in stream:
                pass
            called = await stream.get_final_response()

    assert ["reasoning", "message"] == [item.type for item in whole.output]
    assert "You said: Hello" in whole.output_text
    assert ["function_call"] == [item.type for item in called.output]
