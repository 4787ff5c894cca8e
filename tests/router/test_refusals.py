"""Refusals that another model may not make: the call goes on before its caller hears of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.fakes import FakeUpstream, status
from tests.lanes import ANSWERING, KEYS, LANES, Json, Lane
from tests.running import Running, running

TABLE = """
server: {listen: "127.0.0.1:0", admin: null}
providers:
  small: {base_url: "$small$below", speaks: [$speaks], auth: none}
  large: {base_url: "$large$below", speaks: [$speaks], auth: none}
models:
  m: [{provider: small, model: s, context: 8000}, {provider: large, model: l, context: $context}]
policies:
  default: {attempts: $attempts, fallback_on: $refusals}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
"""
SPEAKS = {
    "openai": ("openai.chat", "/v1"),
    "gemini": ("gemini", ""),
    "responses": ("openai.responses", "/v1"),
    "anthropic": ("anthropic.messages", ""),
    "ollama": ("ollama.chat", ""),
    "cohere": ("cohere.chat", ""),
    "bedrock": ("bedrock.converse", ""),
}
#: How each vendor says that a context is too long.
TOO_LONG: dict[str, Json] = {
    "openai": {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
    "gemini": {"error": {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens"}},
    "responses": {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
    "ollama": {"error": "the input length exceeds the context length"},
    "cohere": {"message": "too many tokens: size limit exceeded"},
    "bedrock": {"message": "Input is too long for requested model."},
}
CHAT = LANES[0]
FILTERED = {"error": {"message": "flagged", "type": None, "param": None, "code": "content_filter"}}


@contextlib.asynccontextmanager
async def between(
    lane: Lane = CHAT, refusals: str = "[context_too_long]", context: int = 32000, attempts: int = 3
) -> AsyncIterator[tuple[Running, FakeUpstream, FakeUpstream]]:
    speaks, below = SPEAKS[lane.upstream]
    async with FakeUpstream() as small, FakeUpstream() as large:
        names = {"small": small.url, "large": large.url, "speaks": speaks, "below": below}
        more = {"refusals": refusals, "context": context, "attempts": attempts}
        async with running(TABLE, KEYS, **names, **more) as gateway:
            yield gateway, small, large


def named(path: str, lane: Lane) -> str:
    """A path with the model of this table in it, where paths hold one."""
    return path.replace(lane.model, "m")


def asked(lane: Lane, *, stream: bool = False) -> Json:
    body = lane.body(stream=stream)
    return body | {"model": "m"} if "model" in body else body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lane", [*LANES, *ANSWERING], ids=lambda lane: lane.name)
async def test_a_call_too_long_for_one_model_is_answered_by_a_larger_one(lane: Lane, stream: bool) -> None:
    """In every language, whichever words the vendor has for it: the caller only learns of a second attempt."""
    async with between(lane) as (gateway, small, large):
        small.script(status(400, TOO_LONG[lane.upstream]))
        large.script(lane.stream("Hi!") if stream else lane.whole("Hi!"))
        answer = await gateway.post(named(lane.path(stream=stream), lane), asked(lane, stream=stream))

        assert (200, "2", "large") == (
            answer.status,
            answer.headers["x-isthmus-attempts"],
            answer.headers["x-isthmus-provider"],
        )
        assert "Hi!" == (lane.hear(answer.body).text if stream else lane.text_of(answer.json))
        assert 1.0 == gateway.metric("isthmus_retries_total", provider="large", reason="context_too_long")


async def test_a_call_that_is_too_long_for_all_is_told_so_in_the_words_of_the_first() -> None:
    """The refusal is the caller's to act on: nothing else that happened on the way is told."""
    async with between() as (gateway, small, large):
        small.script(status(400, TOO_LONG["openai"]))
        large.script(status(400, {"error": {"message": "far too long", "code": "context_length_exceeded"}}))
        answer = await gateway.post(CHAT.path(), asked(CHAT))

        assert (400, "context_length_exceeded", "no") == (
            answer.status,
            answer.json["error"]["code"],
            answer.json["error"]["message"],
        )
        assert ("2", "upstream") == (answer.headers["x-isthmus-attempts"], answer.headers["x-isthmus-fault"])


@pytest.mark.parametrize(
    ("how", "reason"),
    [({"context": 8000}, "no larger"), ({"refusals": "[]"}, "switched off"), ({"attempts": 1}, "no attempt left")],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_refusal_is_final_where_nothing_larger_may_be_tried(how: dict[str, Json], reason: str) -> None:
    """A target that is no larger, a policy without the word, and no attempt that is left."""
    async with between(**how) as (gateway, small, large):
        small.script(status(400, TOO_LONG["openai"]))
        answer = await gateway.post(CHAT.path(), asked(CHAT))

        assert (400, "1", 0) == (answer.status, answer.headers["x-isthmus-attempts"], len(large.requests)), reason


@pytest.mark.parametrize(("refusals", "code"), [("[content_filter]", 200), ("[context_too_long]", 400)])
async def test_a_content_filter_is_tried_elsewhere_where_the_policy_says_so(refusals: str, code: int) -> None:
    """Not by itself: that another model would say it is no reason to ask."""
    async with between(refusals=refusals) as (gateway, small, large):
        small.script(status(400, FILTERED))
        large.always(CHAT.whole())
        answer = await gateway.post(CHAT.path(), asked(CHAT))

        assert (code, int(code == 200)) == (answer.status, len(large.requests))


async def test_a_refusal_in_a_stream_before_its_first_word_goes_on() -> None:
    """Nothing has reached the caller yet: what the events before it said is forgotten."""
    async with between() as (gateway, small, large):
        small.script(CHAT.sent(TOO_LONG["openai"]))
        large.script(CHAT.stream("Hi!"))
        heard = CHAT.hear((await gateway.post(CHAT.path(stream=True), asked(CHAT, stream=True))).body)

        assert ("Hi!", True) == (heard.text, heard.complete)


async def test_a_refusal_in_a_stream_that_has_begun_ends_it() -> None:
    """Two answers would be mixed."""
    async with between() as (gateway, small, large):
        small.script(CHAT.sent(*CHAT.opening("Hel"), TOO_LONG["openai"]))
        heard = CHAT.hear((await gateway.post(CHAT.path(stream=True), asked(CHAT, stream=True))).body)

        assert ("Hel", "context_length_exceeded", 0) == (heard.text, heard.error["code"], len(large.requests))


async def test_a_refusal_holds_nothing_against_its_target() -> None:
    """A call that is too long opens no breaker: the next call begins there again."""
    async with between() as (gateway, small, large):
        small.always(status(400, TOO_LONG["openai"]))
        large.always(CHAT.whole())
        for _ in range(6):
            await gateway.post(CHAT.path(), asked(CHAT))

        assert 6 == len(small.requests)
