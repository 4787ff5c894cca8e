"""The fakes are as strict as the documents: what these refuse they refuse, and tell the test."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.given.alchemyst import Alchemyst
from tests.given.fakes import (
    GATEWAY_SECRET,
    KEY,
    AlephAlpha,
    AlphaEdge,
    AlphaKek,
    Fake,
    bad_json,
    cut_after,
    delay,
    fail,
    huge_line,
    no_done,
    ok,
    redirect,
    reset,
    slow_tokens,
    split_every_byte,
)

SEEN_IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}}
ODD_IMAGES: list[dict[str, Any]] = [
    {"image_url": {"url": "https://x.example/a.png"}},
    {"image_url": {"url": "data:image/png,AAAA"}},
    {"image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
    {"image_url": "data:image/png;base64,AAAA"},
    {"type": "input_audio"},
]
HI = [{"role": "user", "content": "Hi"}]
AA = {"model": "m", "messages": HI}
KEK = {"model": "nexus", "messages": HI}
EDGE = {"model": "m", "messages": HI}
ALC = {"chat_history": HI}
STREAM = {"stream": True}


def seeing(image: Any) -> list[Any]:
    """A message with a text and an image."""
    return [{"role": "user", "content": [{"type": "text", "text": "Look"}, image]}]


FAKES = [AlephAlpha, AlphaKek, AlphaEdge, Alchemyst]


async def call(
    fake: Fake, body: Any, path: str | None = None, key: str = KEY, method: str = "POST", **headers: str
) -> tuple[int, bytes]:
    """The status and as much of the body as came. A body of bytes goes as it is, a header without a text not at all."""
    sent = {name: text for name, text in {"authorization": f"Bearer {key}", **headers}.items() if text}
    data = b""
    url = fake.url + (path or fake.paths[0])
    said = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=said, headers=sent, allow_redirects=False) as response,
    ):
        try:
            async for piece in response.content.iter_any():
                data += piece
        except aiohttp.ClientError:
            data += b"<lost>"
        return response.status, data


@pytest.mark.parametrize(
    ("make", "path", "body"),
    [
        (AlephAlpha, None, AA),
        (AlphaKek, None, KEK),
        (AlphaEdge, None, EDGE),
        (Alchemyst, None, ALC),
        (Alchemyst, "/api/v1/proxy/default/chat/completions", AA),
    ],
)
async def test_a_good_call_is_answered(make: type[Fake], path: str | None, body: Any) -> None:
    """And recorded."""
    async with make() as fake:
        status, data = await call(fake, body, path)

        assert (True, body) == (status in (200, 201), fake.seen[0].body)
        assert b"Hel" in data


@pytest.mark.parametrize("make", FAKES)
async def test_what_is_common(make: type[Fake]) -> None:
    """A wrong bearer and none, a body that is no JSON or no object, a path and a method that are not there."""
    async with make(tolerant=True) as fake:
        found = [
            await call(fake, {}, key="other"),
            await call(fake, {}, authorization=""),
            await call(fake, b"{"),
            await call(fake, [1]),
            await call(fake, {}, "/elsewhere"),
            await call(fake, {}, method="PUT"),
            await call(fake, None, "/elsewhere", method="GET"),
        ]

        assert [401, 401, 400, 400, 404, 404, 404] == [status for status, _ in found]
        assert (7, 7) == (len(fake.refused), len(fake.seen))
        assert ("PUT", fake.paths[0], {}) == (fake.seen[5].method, fake.seen[5].target, fake.seen[5].body)


@pytest.mark.parametrize("make", FAKES)
@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_callers_credential_fails_the_test_that_let_it_through(make: type[Fake], place: str) -> None:
    """However tolerant the test is."""
    with pytest.raises(AssertionError):
        async with make(tolerant=True) as fake:
            if place == "header":
                await call(fake, {}, **{"x-extra": GATEWAY_SECRET})
            else:
                await call(fake, {}, f"{fake.paths[0]}?key={GATEWAY_SECRET}")


async def test_a_fake_fails_the_test_that_it_refused() -> None:
    """Leaving the block is an error, unless the test expected it; so is a scenario that was never played."""
    with pytest.raises(AssertionError):
        async with AlphaEdge() as fake:
            await call(fake, {**EDGE, "top_p": 1})
    with pytest.raises(AssertionError):
        async with AlphaEdge() as fake:
            fake.plays(ok())


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HI},
        {"model": "m", "messages": []},
        {**AA, "foo": 1},
        *({**AA, key: None} for key in ("response_format", "tools", "tool_choice", "parallel_tool_calls")),
        {**AA, "messages": [{"role": "developer", "content": "x"}, *HI]},
        {**AA, "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {**AA, "messages": [*HI, {"role": "system", "content": "x"}]},
        {**AA, "messages": [{"role": "system", "content": "x"}] * 2 + HI},
        {**AA, "messages": [*HI, *HI]},
        {**AA, "messages": [{"role": "assistant", "content": "x"}, *HI]},
        {**AA, "messages": [*HI, {"role": "assistant", "content": "x"}]},
        *({**AA, **bad} for bad in ({"temperature": 2.1}, {"top_p": 1.1}, {"n": 0}, {"max_tokens": 0})),
        *({**AA, **bad} for bad in ({"frequency_penalty": 3}, {"presence_penalty": -3}, {"logit_bias": {"1": 101}})),
        {**AA, "logprobs": True, "top_logprobs": 21},
        {**AA, "top_logprobs": 1},
        {**AA, "steering_concepts": ["bad"]},
        {**AA, "stop": ["one"]},
        {"model": "m"},
        {**AA, "messages": ["Hi"]},
        {**AA, "messages": [{"role": "user"}]},
        {**AA, "messages": [{"role": "user", "content": None}]},
        {**AA, "messages": [{"role": "user", "content": "x", "foo": 1}]},
        {**AA, "messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}, *HI]},
        {**AA, "messages": [*HI, {"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x"}, *HI]},
        {**AA, "messages": [{"role": "system", "content": "x"}]},
        *({**AA, **bad} for bad in ({"temperature": -0.1}, {"top_p": -0.1}, {"n": 1.0}, {"max_tokens": 1.5})),
        *({**AA, **bad} for bad in ({"frequency_penalty": -2.1}, {"presence_penalty": 2.1}, {"temperature": "1"})),
        *({**AA, "logit_bias": bad} for bad in ({"1": -101}, {"one": 1}, [])),
        {**AA, "logprobs": True, "top_logprobs": -1},
        {**AA, "logprobs": 1},
        {**AA, "stream": "yes"},
        {**AA, "stream_options": {"other": True}},
        {**AA, "steering_concepts": ["_worker/" + "x" * 65]},
        {**AA, "steering_concepts": ["_worker/"]},
        {**AA, "steering_concepts": "_worker/x"},
    ],
    ids=str,
)
async def test_aleph_alpha_refuses(body: Any) -> None:
    """400, as its document says."""
    async with AlephAlpha(tolerant=True) as fake:
        status, _ = await call(fake, body)

        assert (400, 1) == (status, len(fake.refused))


async def test_aleph_alpha_takes_and_ignores() -> None:
    """What has no effect is accepted, and remembered for tests that want it not to be sent."""
    async with AlephAlpha(tolerant=True) as fake:
        status, _ = await call(
            fake, {**AA, "messages": [{**HI[0], "name": "n"}], "seed": 1, "service_tier": "x", "user": "u"}
        )
        odd, _ = await call(fake, AA, "/chat/completions?nice=maybe")
        other, _ = await call(fake, AA, "/chat/completions?x=1")
        twice, _ = await call(fake, AA, "/chat/completions?nice=true&nice=1")
        elsewhere, _ = await call(fake, AA, "/v1/chat/completions")
        nice, _ = await call(fake, AA, "/chat/completions?nice=false")

        assert (200, 400, 400, 400, 404, 200) == (status, odd, other, twice, elsewhere, nice)
        assert ["seed", "service_tier", "user", "name"] == fake.ignored


async def test_aleph_alpha_of_a_newer_installation() -> None:
    """Tools, schemas and images are taken; one concept at a time, and never parallel_tool_calls."""
    used = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "content": "4", "tool_call_id": "c"}
    async with AlephAlpha(profile="4.7", tolerant=True) as fake:
        good = [
            {**AA, "tools": [{}] * 128, "tool_choice": "auto", "messages": seeing(SEEN_IMAGE)},
            {**AA, "response_format": {"type": "json_schema"}, "messages": [*HI, used, result, result]},
            {
                **AA,
                "steering_concepts": ["_worker/a"],
                "messages": [*HI, used, result, {**used, "content": "x"}, result],
            },
        ]
        bad = [
            {**AA, "parallel_tool_calls": None},
            {**AA, "tools": [{}] * 129},
            {**AA, "steering_concepts": ["_worker/a", "_worker/b"]},
            *({**AA, "response_format": form} for form in ({"type": "json_object"}, {"type": "text"}, None)),
            *({**AA, "messages": seeing({**SEEN_IMAGE, **other})} for other in ODD_IMAGES),
            {**AA, "messages": [{"role": "system", "content": [SEEN_IMAGE]}, *HI]},
            {**AA, "messages": [*HI, *HI]},
            {**AA, "messages": [*HI, result]},
            {**AA, "messages": [*HI, used, *HI]},
            {**AA, "messages": [*HI, used]},
            {**AA, "messages": [*HI, used, {"role": "tool", "content": "4"}]},
            {**AA, "messages": [{**HI[0], "tool_calls": [{}]}]},
        ]

        assert [200] * len(good) == [(await call(fake, body))[0] for body in good]
        assert [400] * len(bad) == [(await call(fake, body))[0] for body in bad]


async def test_what_aleph_alpha_answers() -> None:
    """An id for each request, ends by limit, stop text and wish, unknown logprobs with their bytes, usage if asked."""
    async with AlephAlpha() as fake:
        fake.plays(ok(), ok(), ok(), ok(finish="content_filter"), ok(unknown_logprobs=True))
        wishes = [{"n": 2}, {"max_tokens": 2}, {"stop": ["o", "el"]}, {}, {"logprobs": True, "top_logprobs": 2}]
        answers = [json.loads((await call(fake, {**AA, **wish}))[1]) for wish in wishes]
        choices = [answer["choices"] for answer in answers]

        assert ["aa-1", "aa-2", "aa-3", "aa-4", "aa-5"] == [answer["id"] for answer in answers]
        assert {".unknown."} == {answer["system_fingerprint"] for answer in answers}
        assert [0, 1] == [choice["index"] for choice in choices[0]]
        assert ["stop", "length", "stop", "content_filter", "stop"] == [one[0]["finish_reason"] for one in choices]
        assert ["Hello", "Hello", "H"] == [one[0]["message"]["content"] for one in choices[:3]]
        assert [{"token": "Hello", "logprob": -9999.0, "bytes": list(b"Hello"), "top_logprobs": []}] == (
            choices[4][0]["logprobs"]["content"]
        )


@pytest.mark.parametrize("order", ["round", "reversed", "random"])
@pytest.mark.parametrize("last", [{}, {"content": None}], ids=["empty", "null"])
async def test_how_aleph_alpha_streams(order: str, last: Any) -> None:
    """Each choice: role and nothing, texts, a reason and no text; null usage in each; the usage chunk if asked."""
    async with AlephAlpha() as fake:
        fake.plays(ok(order=order, last=last))
        asked = {**AA, **STREAM, "n": 2, "stream_options": {"include_usage": True}}
        data = (await call(fake, asked))[1].decode().split("\n\n")
        *chunks, usage = [json.loads(line.removeprefix("data: ")) for line in data[:-2]]
        tracks = [[one for one in chunks if one["choices"][0]["index"] == index] for index in (0, 1)]

        assert ["data: [DONE]", ""] == data[-2:]
        assert ([], 4) == (usage["choices"], usage["usage"]["completion_tokens"])
        assert {None} == {chunk["usage"] for chunk in chunks}
        for track in tracks:
            deltas = [chunk["choices"][0]["delta"] for chunk in track]
            assert [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, last] == deltas
            assert [None, None, None, "stop"] == [chunk["choices"][0]["finish_reason"] for chunk in track]
            assert [None, None, None, ".unknown."] == [chunk["system_fingerprint"] for chunk in track]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("model", {**KEK, "model": "gpt"}),
        ("model", {**KEK, "model": []}),
        ("max_tokens", {**KEK, "max_tokens": 1}),
        ("tools", {**KEK, "tools": []}),
        ("tool_choice", {**KEK, "tool_choice": "none"}),
        ("functions", {**KEK, "functions": None}),
        ("function_call", {**KEK, "function_call": "auto"}),
        ("response_format", {**KEK, "response_format": {"type": "text"}}),
        *(("json_schema", {**KEK, "json_schema": odd}) for odd in ("x", [], None)),
        ("persona", {**KEK, "persona": 1}),
        ("stream", {**KEK, "stream": "yes"}),
        ("top_k", {**KEK, "top_k": 1.5}),
        ("messages", {"model": "nexus"}),
        ("messages", {**KEK, "messages": []}),
        ("messages", {**KEK, "messages": [{"role": "developer", "content": "x"}]}),
        ("messages", {**KEK, "messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}),
        ("messages", {**KEK, "messages": [{"role": "user", "content": []}]}),
        ("messages", {**KEK, "messages": [{"role": "user", "content": None}]}),
        ("messages", {**KEK, "messages": [{"role": "user", "content": "x", "name": "n"}]}),
    ],
    ids=str,
)
async def test_alphakek_refuses(field: str, body: Any) -> None:
    """422 in FastAPI's form, with the place; nothing is spent."""
    async with AlphaKek(tolerant=True) as fake:
        status, data = await call(fake, body)
        (detail,) = json.loads(data)["detail"]

        assert (422, 0, ["body", field]) == (status, fake.spent, detail["loc"])
        assert {"loc", "msg", "type"} == detail.keys()


@pytest.mark.parametrize("over", [402, 429])
async def test_alphakek_counts_credits(over: Any) -> None:
    """1, 2 and 3 by model, for what is accepted; what a tier has not is refused; the account is free and tells."""
    async with AlphaKek(credits=7, over=over) as fake:
        fake.plays(fail(500))
        models = ("eclipse", "versa", "nexus", "eclipse", "eclipse", "versa")
        codes = [(await call(fake, {**KEK, "model": model}))[0] for model in models]
        account = await call(fake, None, "/account", method="GET")

        assert [500, 200, 200, 200, over, 200] == codes
        assert (200, {"credits": 0, "tier": "PREMIUM"}) == (account[0], json.loads(account[1]))
        assert 7 == fake.spent


async def test_the_account_of_alphakek_is_read_alone() -> None:
    """By GET, with the bearer, and as it is."""
    async with AlphaKek(tolerant=True) as fake:
        found = [
            await call(fake, None, "/account", method="GET", key="other"),
            await call(fake, {}, "/account"),
            await call(fake, None, "/account?x=1", method="GET"),
            await call(fake, None, "/v1/account", method="GET"),
        ]

        assert [401, 404, 404, 404] == [status for status, _ in found]


async def test_what_alphakek_answers() -> None:
    """JSON for a schema, or on demand fenced or none; calls of its own, null deltas, no usage, every field."""
    asked = {**KEK, "json_schema": {"type": "object", "properties": {"a": {}}}}
    async with AlphaKek() as fake:
        fake.plays(ok(), ok(text="```json\n{}\n```"), ok(own_calls=True), ok(no_usage=True), ok(full=True))
        answers = [json.loads((await call(fake, asked))[1]) for _ in range(5)]
        messages = [answer["choices"][0]["message"] for answer in answers]
        fake.plays(ok(null_deltas=True))
        stream = (await call(fake, {**KEK, **STREAM}))[1]

        assert ({"a": "x"}, "```json\n{}\n```") == (json.loads(messages[0]["content"]), messages[1]["content"])
        assert "create_alert" == messages[2]["tool_calls"][0]["function"]["name"]
        assert [True, True, True, False, True] == ["usage" in answer for answer in answers]
        assert messages[4]["refusal"] and messages[4]["audio"] and answers[4]["service_tier"]
        assert b'"delta": {"content": null}' in stream and stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (AlphaEdge, {**EDGE, "top_p": 1}),
        (AlphaEdge, {**EDGE, "temperature": 2.1}),
        (AlphaEdge, {**EDGE, "temperature": -0.1}),
        (AlphaEdge, {**EDGE, "temperature": None}),
        (AlphaEdge, {**EDGE, "messages": []}),
        (AlphaEdge, {**EDGE, "messages": "Hi"}),
        (AlphaEdge, {"messages": HI}),
        (AlphaEdge, {**EDGE, "max_tokens": 0}),
        (AlphaEdge, {**EDGE, "stream": "yes"}),
        *((AlphaEdge, {**EDGE, key: None}) for key in ("tools", "stop", "n", "user", "stream_options")),
        (Alchemyst, {**ALC, "model": "m"}),
        (Alchemyst, {**ALC, "persona": None}),
        (Alchemyst, {**ALC, "scope": "all"}),
        (Alchemyst, {**ALC, "stream": "yes"}),
        (Alchemyst, {**ALC, "voice": 1}),
        (Alchemyst, {**ALC, "fastContext": {}}),
        (Alchemyst, {**ALC, "chatId": "xyz"}),
        (Alchemyst, {"chat_history": [{"role": "tool", "content": "x"}]}),
        (Alchemyst, {"chat_history": [{"role": "user", "content": [], "foo": 1}]}),
        (Alchemyst, {"chat_history": []}),
        (Alchemyst, {"chat_history": [{"role": "user"}]}),
        (Alchemyst, {**ALC, "tools": "x"}),
    ],
    ids=str,
)
async def test_the_others_refuse(make: type[Fake], body: Any) -> None:
    """400."""
    async with make(tolerant=True) as fake:
        status, _ = await call(fake, body)

        assert 400 == status


async def test_what_alphaedge_answers() -> None:
    """Exactly the document's fields, no others; a stream with its end mark or without."""
    async with AlphaEdge() as fake:
        whole = json.loads((await call(fake, EDGE))[1])
        fake.plays(ok(), no_done())
        ends = [(await call(fake, {**EDGE, **STREAM}))[1].endswith(b"data: [DONE]\n\n") for _ in range(2)]

        assert ["id", "object", "model", "created", "choices", "usage"] == list(whole)
        assert ["prompt_tokens", "completion_tokens", "total_tokens"] == list(whole["usage"])
        assert [True, False] == ends


async def test_scenarios_are_played_in_their_order() -> None:
    """Errors, cuts, resets and the like, one a request; then good answers."""
    async with AlphaEdge() as fake:
        fake.plays(fail(503, {"a": 1}, retry_after="1"), redirect("/x"), bad_json(), delay(0.01))
        whole = [await call(fake, EDGE) for _ in range(5)]
        fake.plays(cut_after(1), reset(1), no_done(), bad_json(), huge_line(), split_every_byte(), slow_tokens(0.01))
        streams = [(await call(fake, {**EDGE, **STREAM}))[1] for _ in range(8)]

        assert [503, 302, 200, 200, 200] == [status for status, _ in whole]
        assert b'{"id": "x", "choices": [' == whole[2][1]
        ends = [data.endswith(b"data: [DONE]\n\n") for data in streams]
        assert [False, False, False, True, True, True, True, True] == ends
        assert streams[1].endswith(b"<lost>")
        assert len(streams[4]) > 16 << 20
        assert streams[5] == streams[6] == streams[7]
