"""The official OpenAI SDK on the paths that are passed on as they are: files, audio, images, moderations, batches."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.answers import openai_error
from tests.clients.lanes import GATEWAY_KEY
from tests.fakes import DONE, FakeUpstream, Received, answer, event, json_answer, sse, status
from tests.running import running

Json = Any
pytestmark = pytest.mark.clients

KEY = "sk-of-the-upstream"
TABLE = """
access: {keys: [{name: app, hash: "sha256:$digest"}]}
providers: {up: {base_url: "$up/v1", speaks: [openai.chat], secret: env:UP_KEY}}
routes:
  - {path: /v1/audio/*, speaks: opaque, to: [{provider: up}]}
  - {path: /v1/images/*, speaks: opaque, to: [{provider: up}]}
  - {path: "/v1/files*", speaks: opaque, to: [{provider: up}]}
  - {path: "/v1/batches*", speaks: opaque, to: [{provider: up}]}
  - {path: /v1/moderations, speaks: opaque, to: [{provider: up}]}
"""
SOUND = bytes(range(256)) * 2000  # more than is held
FILE = {
    "id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a.jsonl", "purpose": "batch",
    "status": "processed",
}  # fmt: skip


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake
        for request in fake.requests:
            assert f"Bearer {KEY}" == request.header("authorization")


@pytest.fixture
async def client(upstream: FakeUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    digest = hashlib.sha256(GATEWAY_KEY.encode()).hexdigest()
    async with running(TABLE, {"UP_KEY": KEY}, up=upstream.url, digest=digest) as gateway:
        own = {"base_url": f"{gateway.url}/v1", "api_key": GATEWAY_KEY, "max_retries": 0, "timeout": 10.0}
        async with openai.AsyncOpenAI(**own) as client:
            yield client


def sent(request: Received) -> tuple[str, str, str]:
    return request.method, request.path, (request.header("content-type") or "").partition(";")[0]


async def test_files(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """A file goes up, is listed, comes down as it was, and is deleted."""
    listed = {"object": "list", "data": [FILE], "has_more": False}
    upstream.script(
        json_answer(FILE),
        json_answer(listed),
        answer(200, SOUND, headers={"Content-Type": "application/octet-stream"}),
        json_answer({"id": "file-1", "object": "file", "deleted": True}),
    )

    made = await client.files.create(file=("a.jsonl", SOUND), purpose="batch")
    names = [file.filename async for file in client.files.list(purpose="batch", limit=5)]
    content = await client.files.content("file-1")
    gone = await client.files.delete("file-1")

    assert ("file-1", ["a.jsonl"], SOUND, True) == (made.id, names, content.content, gone.deleted)
    assert SOUND in upstream.requests[0].body
    assert [
        ("POST", "/v1/files", "multipart/form-data"),
        ("GET", "/v1/files", ""),
        ("GET", "/v1/files/file-1/content", ""),
        ("DELETE", "/v1/files/file-1", "application/json"),
    ] == [sent(request) for request in upstream.requests]
    assert {"limit=5", "purpose=batch"} == set(upstream.requests[1].query.split("&"))


async def test_audio(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Sound goes up for its text, text for its sound, which is streamed."""
    upstream.script(
        json_answer({"text": "Hello."}),
        sse(*({"type": "transcript.text.delta", "delta": text} for text in ("Hel", "lo.")), DONE),
        answer(200, *[SOUND[i : i + 50_000] for i in range(0, len(SOUND), 50_000)], framing="chunked"),
    )

    whole = await client.audio.transcriptions.create(file=("a.mp3", SOUND), model="whisper-1")
    events = await client.audio.transcriptions.create(file=("a.mp3", SOUND), model="gpt-4o-transcribe", stream=True)
    texts = [event.delta async for event in events if event.type == "transcript.text.delta"]
    async with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hi") as speech:
        sound = b"".join([piece async for piece in speech.iter_bytes()])

    assert ("Hello.", ["Hel", "lo."], SOUND) == (whole.text, texts, sound)
    assert SOUND in upstream.requests[0].body
    assert {"model": "tts-1", "voice": "alloy", "input": "Hi"} == upstream.requests[2].json()


async def test_images(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Made from words, and from another image."""
    made = {"created": 1, "data": [{"b64_json": base64.b64encode(SOUND).decode()}]}
    upstream.script(json_answer(made), json_answer(made))

    one = await client.images.generate(model="gpt-image-1", prompt="a cat")
    two = await client.images.edit(model="gpt-image-1", image=("a.png", SOUND), prompt="a hat")

    assert [one.data[0].b64_json, two.data[0].b64_json] == [made["data"][0]["b64_json"]] * 2  # type: ignore[index]
    assert SOUND in upstream.requests[1].body
    assert ["/v1/images/generations", "/v1/images/edits"] == [request.target for request in upstream.requests]


async def test_moderations_and_batches(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Small JSON, both ways."""
    batch = {
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
        "completion_window": "24h", "status": "validating", "created_at": 1,
    }  # fmt: skip
    upstream.script(
        json_answer(
            {"id": "m", "model": "omni", "results": [{"flagged": True, "categories": {}, "category_scores": {}}]}
        ),
        json_answer(batch),
        json_answer({**batch, "status": "cancelling"}),
    )

    judged = await client.moderations.create(input="Hi")
    asked = await client.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    )
    stopped = await client.batches.cancel("batch_1")

    assert (True, "batch_1", "cancelling") == (judged.results[0].flagged, asked.id, stopped.status)
    assert "/v1/batches/batch_1/cancel" == upstream.requests[2].target


async def test_errors(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """The SDK raises what it would at the vendor's, but for trouble with our key, which is the gateway's."""
    upstream.script(
        status(404, openai_error("No such file.", "invalid_request_error")), status(401, openai_error("Bad key."))
    )

    with pytest.raises(openai.NotFoundError, match="No such file"):
        await client.files.retrieve("file-9")
    with pytest.raises(openai.InternalServerError) as raised:
        await client.files.retrieve("file-9")

    assert "upstream_denied" == raised.value.code


async def test_a_stream_that_an_sdk_leaves_is_left_upstream(client: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    """Whoever stops listening stops the call."""
    pieces = [event({"type": "transcript.text.delta", "delta": "x"})] * 3
    upstream.script(sse(*pieces, *pieces, every=0.3))

    stream = await client.audio.transcriptions.create(file=("a.mp3", b"x"), model="gpt-4o-transcribe", stream=True)
    async for _ in stream:
        break
    await stream.close()

    await upstream.connections[0].left(1.0)
