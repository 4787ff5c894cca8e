"""The demo upstream on the wire: an upstream like any other, in every dialect that there is, without a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from providers.canonical.chat import ChatRequest, Message, Text, Tool, ToolCall
from providers.canonical.embeddings import EmbeddingInput, EmbeddingsRequest, as_floats
from providers.canonical.errors import BadUpstreamBytes, UpstreamTimeout
from providers.canonical.stream import check, fold
from providers.dialect import WireRequest, WireResponse
from providers.dialects import DIALECTS
from providers.dialects.upstream_only import UpstreamOnly
from providers.provider import Provider
from router.alarm import Alarm
from router.demo import DemoCall, DemoTransport
from router.transport import Clocks, Transport

#: Those in which the demo can be asked for a chat.
CHATS = [
    name for name, dialect in DIALECTS.items() if "chat" in dialect.operations and not isinstance(dialect, UpstreamOnly)
]
EMBEDDINGS = [
    name for name, dialect in DIALECTS.items() if dialect.embeddings and not isinstance(dialect, UpstreamOnly)
]
ROW = Provider(name="demo", base_url="simulated://local", speaks=tuple(DIALECTS), auth="none")
HELLO = (Message(role="user", parts=(Text(text="Hello"),)),)


def clocks(deadline: float = 60.0) -> Clocks:
    now = asyncio.get_running_loop().time()
    return Clocks(connect=5, first_byte=60, idle=60, deadline=now + deadline, alarm=Alarm())


def request(**more: Any) -> ChatRequest:
    return ChatRequest(dialect="test", **{"model": "isthmus-demo", "messages": HELLO, **more})


async def send(wire: WireRequest, *, pause: float = 0.0, deadline: float = 60.0) -> DemoCall:
    demo = DemoTransport(wall=lambda: 1_800_000_000.0, pause=pause)
    return await demo.send(wire, "simulated://local" + wire.path, ROW, clocks(deadline))


async def whole(call: DemoCall) -> WireResponse:
    return WireResponse(status=call.status, headers=dict(call.headers), body=await call.read(1 << 20))


def test_it_is_a_transport() -> None:
    """It stands where the network stands."""
    transport: Transport = DemoTransport()

    assert transport is not None


@pytest.mark.parametrize("name", CHATS)
async def test_answers_in_every_dialect(name: str) -> None:
    """What a dialect encodes is answered in it, and the answer decodes to what was said, with usage."""
    dialect = DIALECTS[name]
    response = dialect.decode_response(await whole(await send(dialect.encode_request(request(), []))))

    assert "isthmus-demo" == response.model
    assert ["This is Isthmus's built-in demo upstream. You said: Hello"] == [
        part.text for part in response.choices[0].parts if isinstance(part, Text)
    ]
    assert response.usage and response.usage.output_tokens and response.usage.input_tokens


@pytest.mark.parametrize("name", CHATS)
async def test_streams_in_every_dialect(name: str) -> None:
    """A stream holds to the grammar and spells the same text as the whole answer, with usage and an end."""
    dialect = DIALECTS[name]
    call = await send(dialect.encode_request(request(stream=True, include_usage=True), []))
    decoder = dialect.stream_decoder()
    events = [event async for piece in call.chunks() for event in decoder.feed(piece)]
    response = fold(check([*events, *decoder.close()]))

    assert 200 == call.status
    assert response.choices[0].finish and "stop" == response.choices[0].finish.reason
    assert ["This is Isthmus's built-in demo upstream. You said: Hello"] == [
        part.text for part in response.choices[0].parts if isinstance(part, Text)
    ]
    assert response.usage and response.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CHATS)
async def test_calls_tools_in_every_dialect(name: str, stream: bool) -> None:
    """The call survives the way out and back, whole and streamed."""
    dialect = DIALECTS[name]
    tool = Tool(
        name="get_weather",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
    call = await send(dialect.encode_request(request(tools=(tool,), stream=stream), []))
    if stream:
        decoder = dialect.stream_decoder()
        events = [event async for piece in call.chunks() for event in decoder.feed(piece)]
        response = fold(check([*events, *decoder.close()]))
    else:
        response = dialect.decode_response(await whole(call))
    calls = [part for part in response.choices[0].parts if isinstance(part, ToolCall)]

    assert [("get_weather", {"city": "Hello"})] == [(c.name, json.loads(c.arguments)) for c in calls]
    assert response.choices[0].finish and "tool_calls" == response.choices[0].finish.reason


@pytest.mark.parametrize("name", EMBEDDINGS)
async def test_embeds_in_every_dialect(name: str) -> None:
    """Vectors of the size that is asked for, one for each input, the same for the same text, with usage."""
    codec = DIALECTS[name].embeddings
    assert codec is not None
    inputs = tuple(EmbeddingInput(parts=(Text(text=text),)) for text in ("a cat sat", "A cat sat.", "stock prices"))
    asked = EmbeddingsRequest(dialect="test", model="isthmus-demo", inputs=inputs, dimensions=32)
    response = codec.decode_embeddings_response(await whole(await send(codec.encode_embeddings_request(asked, []))))
    one, same, other = (list(as_floats(vector)) for vector in response.vectors)

    assert ([32, 32, 32], one) == ([len(one), len(same), len(other)], same)
    assert one != other
    assert 1 == pytest.approx(sum(value * value for value in one))
    assert response.usage and response.usage.input_tokens


async def test_embeddings_are_bounded() -> None:
    """Nobody has the demo make vectors for minutes."""
    body = {"model": "m", "input": "x", "dimensions": 10**9}
    answer = await whole(await send(WireRequest(path="/embeddings", body=json.dumps(body).encode())))

    assert (400, "dimensions") == (answer.status, json.loads(answer.body)["error"]["param"])


async def test_counts_tokens_where_a_dialect_asks() -> None:
    """countTokens has an answer of its own."""
    body = b'{"contents":[{"parts":[{"text":"Hello"}]}]}'
    answer = await whole(await send(WireRequest(path="/v1beta/models/isthmus-demo:countTokens", body=body)))

    assert 200 == answer.status
    assert json.loads(answer.body)["totalTokens"] > 0


async def test_a_bad_request_is_refused_in_its_dialect() -> None:
    """The demo is as strict as the gateway's own door."""
    answer = await whole(await send(WireRequest(path="/chat/completions", body=b'{"model":"m"}')))

    assert 400 == answer.status
    assert "messages" == json.loads(answer.body)["error"]["param"]


@pytest.mark.parametrize("path", ["/embed", "/", "/v2/embed", "/v1/complete"])
async def test_nothing_is_elsewhere(path: str) -> None:
    """A path that no dialect has is 404."""
    assert 404 == (await whole(await send(WireRequest(path=path, body=b"{}")))).status


async def test_the_same_call_has_the_same_answer() -> None:
    """Nothing is random."""
    wire = DIALECTS["openai.chat"].encode_request(request(), [])

    assert await whole(await send(wire)) == await whole(await send(wire))


async def test_a_stream_takes_its_time() -> None:
    """There is a pause before each piece but the first: a stream looks like one."""
    call = await send(DIALECTS["openai.chat"].encode_request(request(stream=True), []), pause=0.005)
    clock = asyncio.get_running_loop().time
    started = clock()
    count = 0
    async for _ in call.chunks():
        count += 1
        if count == 1:
            first = clock() - started

    assert first < 0.005
    assert clock() - started >= 0.005 * (count - 1) * 0.9


async def test_a_stream_ends_at_the_deadline() -> None:
    """A call's clock counts here, too."""
    call = await send(DIALECTS["openai.chat"].encode_request(request(stream=True), []), pause=10, deadline=0.02)

    with pytest.raises(UpstreamTimeout):
        async for _ in call.chunks():
            pass


async def test_a_closed_call_sends_no_more() -> None:
    """close ends a stream at once, and may be called twice."""
    call = await send(DIALECTS["openai.chat"].encode_request(request(stream=True), []))
    seen = []
    async for piece in call.chunks():
        seen.append(piece)
        await call.close()
        await call.close()

    assert 1 == len(seen)


async def test_a_body_over_the_limit() -> None:
    """read keeps to its limit, as with any upstream."""
    call = await send(DIALECTS["openai.chat"].encode_request(request(), []))

    with pytest.raises(BadUpstreamBytes):
        await call.read(10)
