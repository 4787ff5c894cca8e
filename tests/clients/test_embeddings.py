"""The official SDKs ask for embeddings, and get them from whatever upstream there is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import openai
import pytest
from google import genai
from google.genai import types

from tests import corpus
from tests.clients.conftest import Client
from tests.fakes import Answer, FakeUpstream, json_answer, status
from tests.running import Running, running

Json = Any
pytestmark = pytest.mark.clients

TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat, openai.embeddings], auth: none}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: none}
  ollama-up: {base_url: "$up", speaks: [ollama.chat], auth: none}
  cohere-up: {base_url: "$up", speaks: [cohere.chat], auth: none}
  chat-up: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  demo: {}
models:
  openai: [{provider: openai-up, model: text-embedding-3-small}]
  gemini: [{provider: gemini-up, model: gemini-embedding-001}]
  ollama: [{provider: ollama-up, model: all-minilm}]
  cohere: [{provider: cohere-up, model: embed-v4.0}]
  chat: [{provider: chat-up, model: gpt-5}]
  spare: [{provider: chat-up, model: gpt-5}, {provider: gemini-up, model: gemini-embedding-001}]
  demo: [{provider: demo, model: isthmus-demo}]
policies:
  default: {attempts: 2}
routes:
  - {path: /v1/embeddings, speaks: openai.embeddings, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
"""
#: Exact in 32 bits, so that every form tells the same.
VECTORS = [[0.5, -0.25, 1.0], [0.125, 0.0, -1.0]]


def said(model: str, vectors: list[list[float]]) -> Answer:
    """The answer of an upstream in its own language."""
    if model == "openai":
        data = [{"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(vectors)]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return json_answer({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})
    if model == "gemini":
        embeddings = [{"values": one} for one in vectors]
        told: Json = {"embedding": embeddings[0]} if len(vectors) == 1 else {"embeddings": embeddings}
        return json_answer({**told, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}})
    if model == "ollama":
        return json_answer({"model": "all-minilm", "embeddings": vectors, "prompt_eval_count": 7})
    meta = {"billed_units": {"input_tokens": 7}}
    return json_answer({"id": "x", "embeddings": {"float": vectors}, "meta": meta})


PATHS = {
    "openai": "/v1/embeddings",
    "gemini": "/v1beta/models/gemini-embedding-001:batchEmbedContents",
    "ollama": "/api/embed",
    "cohere": "/v2/embed",
}


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with FakeUpstream() as upstream, running(TABLE, up=upstream.url) as gateway:
        yield gateway, upstream


def client(gateway: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=10.0)


@pytest.mark.parametrize("model", PATHS)
async def test_openais_client_gets_vectors_from_every_upstream(model: str) -> None:
    """It asks for base64 by default and reads numbers, whoever made them; usage reaches metrics and log."""
    async with between() as (gateway, upstream), client(gateway) as sdk:
        upstream.script(said(model, VECTORS))
        answer = await sdk.embeddings.create(model=model, input=["one", "two"], dimensions=3)

        assert VECTORS == [one.embedding for one in answer.data]
        assert ([0, 1], 7) == ([one.index for one in answer.data], answer.usage.prompt_tokens)
        assert PATHS[model] == upstream.requests[0].path
        assert 7 == gateway.metric("gen_ai_client_token_usage_sum", token_type="input", operation_name="embeddings")
        line = (await gateway.lines())[-1]
        assert ("embeddings", "ok") == (line["operation"], line["outcome"])


@pytest.mark.parametrize("model", ["openai", "gemini"])
async def test_numbers_when_numbers_are_asked_for(model: str) -> None:
    """The caller's word decides."""
    async with between() as (gateway, upstream):
        upstream.script(said(model, VECTORS[:1]))
        body = {"model": model, "input": "one", "encoding_format": "float"}
        answer = await gateway.post("/v1/embeddings", body)

        corpus.schema("openai.embeddings_models.response", "EmbeddingResponse").validate(answer.json)
        assert VECTORS[0] == answer.json["data"][0]["embedding"]


async def test_openais_bytes_pass_through() -> None:
    """Both sides speak the same: the request goes as it came but for the model, the answer untouched."""
    async with between() as (gateway, upstream):
        told = json.dumps({"data": [{"embedding": "AAAAPw==", "index": 0}], "usage": {"total_tokens": 3}, "odd": 1.50})
        upstream.script(json_answer(told.encode()))
        answer = await gateway.post("/v1/embeddings", b'{"model": "openai", "input": "x",  "odd": 1.50}')

        assert told.encode() == answer.body
        assert b'{"model":"text-embedding-3-small","input":"x","odd":1.50}' == upstream.requests[0].body
        assert "relay" == answer.headers["x-isthmus-lane"]


async def test_what_does_not_fit_is_told() -> None:
    """Losses stand in the header, in the caller's words; what would be wrong is refused in the caller's dialect."""
    async with between() as (gateway, upstream):
        upstream.script(said("gemini", VECTORS[:1]))
        lossy = await gateway.post("/v1/embeddings", {"model": "gemini", "input": "x", "user": "u", "odd": 1})
        tokens = await gateway.post("/v1/embeddings", {"model": "gemini", "input": [1, 2]})

        assert "odd=dropped, user=dropped" == lossy.headers["x-isthmus-loss"]
        assert (400, "unsupported_parameter", "input") == (
            tokens.status,
            tokens.json["error"]["code"],
            tokens.json["error"]["param"],
        )


async def test_a_target_without_embeddings_is_passed_over() -> None:
    """One that only chats cannot be asked; the next is."""
    async with between() as (gateway, upstream), client(gateway) as sdk:
        upstream.script(said("gemini", VECTORS[:1]))
        answer = await sdk.embeddings.create(model="spare", input="one")
        with pytest.raises(openai.BadRequestError) as refusal:
            await sdk.embeddings.create(model="chat", input="one")

        assert VECTORS[0] == answer.data[0].embedding
        assert ("unsupported_parameter", "model") == (refusal.value.code, refusal.value.param)
        assert 1 == len(upstream.requests)


@pytest.mark.parametrize("count", [1, 3])
async def test_too_few_vectors_are_no_answer(count: int) -> None:
    """Nobody could tell which vector is whose: tried again, then told."""
    async with between() as (gateway, upstream), client(gateway) as sdk:
        upstream.script(said("ollama", (VECTORS * 2)[:count]))
        with pytest.raises(openai.InternalServerError) as refusal:
            await sdk.embeddings.create(model="ollama", input=["one", "two"])

        assert "upstream_invalid_response" == refusal.value.code


async def test_an_upstreams_refusal_comes_in_the_callers_words() -> None:
    """Gemini's error is read by OpenAI's client as its own."""
    async with between() as (gateway, upstream), client(gateway) as sdk:
        error = {"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}
        upstream.script(status(404, error))
        with pytest.raises(openai.NotFoundError) as refusal:
            await sdk.embeddings.create(model="gemini", input="one")

        assert "model_not_found" == refusal.value.code


@pytest.mark.parametrize("model", ["openai", "gemini", "ollama"])
async def test_googles_client_gets_vectors_from_every_upstream(model: str) -> None:
    """It always asks for a batch; size and task go where there is a place for them."""
    async with between() as (gateway, upstream):
        options = types.HttpOptions(base_url=gateway.url, timeout=10_000)
        upstream.script(said(model, VECTORS))
        async with genai.Client(api_key="none", http_options=options).aio as sdk:
            config = types.EmbedContentConfig(output_dimensionality=3, task_type="CLUSTERING")
            answer = await sdk.models.embed_content(model=model, contents=["one", "two"], config=config)
        body = upstream.requests[0].json()

        assert VECTORS == [one.values for one in answer.embeddings or ()]
        assert PATHS[model].rpartition("/")[2] == upstream.requests[0].path.rpartition("/")[2]
        assert 3 == body.get("dimensions", body.get("requests", [{}])[0].get("outputDimensionality"))


async def test_googles_losses_are_in_its_words() -> None:
    """A task that the target does not know is named where the caller wrote it."""
    async with between() as (gateway, upstream):
        upstream.script(said("openai", VECTORS[:1]))
        one = {"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING", "model": "models/x"}
        answer = await gateway.post("/v1beta/models/openai:batchEmbedContents", {"requests": [one]})

        corpus.schema("gemini.v1beta.response", "BatchEmbedContentsResponse").validate(answer.json)
        assert "requests[0].taskType=dropped" == answer.headers["x-isthmus-loss"]


@pytest.mark.parametrize("model", ["openai", "gemini", "ollama"])
async def test_ollamas_client_gets_vectors_from_every_upstream(model: str) -> None:
    """Texts in, numbers out."""
    async with between() as (gateway, upstream):
        upstream.script(said(model, VECTORS))
        async with ollama.AsyncClient(host=f"{gateway.url}/ollama") as sdk:
            answer = await sdk.embed(model=model, input=["one", "two"])

        assert VECTORS == [list(one) for one in answer.embeddings]
        assert 7 == answer.prompt_eval_count


async def test_the_demo_embeds_for_everybody() -> None:
    """Every feature can be tried without a key: the same text has the same vector in every dialect."""
    async with between() as (gateway, _), client(gateway) as sdk:
        theirs = await sdk.embeddings.create(model="demo", input="a cat sat")
        body = {"content": {"parts": [{"text": "a cat sat"}]}}
        googles = await gateway.post("/v1beta/models/demo:embedContent", body)
        ollamas = await gateway.post("/ollama/api/embed", {"model": "demo", "input": "a cat sat"})

        assert 64 == len(theirs.data[0].embedding)
        assert theirs.data[0].embedding == googles.json["embedding"]["values"] == ollamas.json["embeddings"][0]


@pytest.mark.parametrize("model", PATHS)
async def test_langchains_client_gets_vectors_from_every_upstream(model: str, talk_langchain: Client) -> None:
    """Documents go as one batch, a query by itself; both come back as numbers."""
    async with between() as (gateway, upstream):
        upstream.script(said(model, VECTORS), said(model, VECTORS[:1]))
        door = {"url": gateway.url, "key": "none"}
        told = await talk_langchain.ask(
            door, "embed", kind="embeddings", model=model, texts=["one", "two"], dimensions=3
        )

        assert [VECTORS, VECTORS[0]] == told["said"]
        assert 2 == len(upstream.requests)
