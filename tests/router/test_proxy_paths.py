"""The upstream's URL inside our path (seed systems, section 1), through the real server: T-1.1 to T-1.15 by number.

The rows' addresses are the vendors' real ones; a stand-in transport keeps every call on this machine and tells where it
would have gone. The parser's own vectors are in test_upstream_path.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from providers.dialect import WireRequest
from providers.provider import Provider
from router.transport import Clocks, HttpTransport, UpstreamCall
from tests.answers import chat_answer, gemini_answer, gemini_chunk, openai_error
from tests.fakes import HANG, FakeUpstream, json_answer, redirect, sse, status
from tests.lanes import data_lines
from tests.raw import raw_call, raw_request
from tests.running import Running, running

GATEWAY_KEY = "isthmus-caller-key-0123456789abcdef"
HASH = "sha256:" + hashlib.sha256(GATEWAY_KEY.encode()).hexdigest()
AUTH = {"authorization": f"Bearer {GATEWAY_KEY}"}
PROXY = "/api/v1/proxy/"
CHAT = {
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "system", "content": "You are a helpful AI."}, {"role": "user", "content": "Hello!"}],
}
HI = {"contents": [{"parts": [{"text": "Hi"}]}]}
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
access:
  keys: [{name: team, hash: "$hash"}]
providers:
  openai: {base_url: "https://api.openai.com/v1", speaks: [openai.chat], secret: "env:OURS"}
  gemini:
    {base_url: "https://generativelanguage.googleapis.com", speaks: [gemini], auth: google_key, secret: "env:OURS"}
  anthropic:
    {base_url: "https://api.anthropic.com", speaks: [anthropic.messages], auth: anthropic_key, secret: "env:OURS"}
  keyless: {base_url: "https://keyless.example/v1", speaks: [openai.chat], secret: "env:NOT_SET"}
  as-gemini: {base_url: "https://chat.example/v1", speaks: [openai.chat], secret: "env:OURS"}
  v6: {base_url: "http://[::1]:9/v1", speaks: [openai.chat], secret: "env:OURS"}
policies:
  default:
    attempts: 2
    wait: {first: 10ms, most: 20ms}
    timeouts: {connect: 1s, first_byte: 500ms, idle: 500ms, total: 5s}
routes:
  - path: /api/v1/proxy/{proxyUrl:url}/{OpenAIAPIKey:secret}/chat/completions
    speaks: openai.chat
    to: named
    egress: {listed: [openai, keyless, v6], unlisted: $unlisted, default: $default}
  - path: /api/v1/proxy/{geminiUrl:url}/v1beta/models/{modelNameAndTask}
    speaks: gemini
    to: named
    egress: {listed: [gemini, as-gemini], unlisted: false}
  - path: /api/v1/proxy/{claudeUrl:url}/{claudeKey:secret}/v1/messages
    speaks: anthropic.messages
    to: named
    egress: {listed: [anthropic, as-gemini], unlisted: false}
  - path: /api/v1/proxy/{claudeUrl:url}/{claudeKey:secret}/v1/messages/count_tokens
    speaks: anthropic.messages
    to: named
    egress: {listed: [anthropic], unlisted: false}
"""


class StandIn(HttpTransport):
    """Sends every call to the fake, whatever its address, and remembers the address."""

    def __init__(self, fake: str) -> None:
        super().__init__()
        self._fake = fake
        self.urls: list[str] = []

    async def send(self, wire: WireRequest, url: str, provider: Provider, clocks: Clocks) -> UpstreamCall:
        self.urls.append(url)
        path = "/" + url.split("//", 1)[1].partition("/")[2]
        return await super().send(wire, self._fake + path, provider, clocks)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def unlisted() -> bool:
    return False


@pytest.fixture
def default() -> str:
    return "[]"


@pytest.fixture
async def gateway(upstream: FakeUpstream, unlisted: bool, default: str) -> AsyncIterator[Running]:
    names = {"unlisted": str(unlisted).lower(), "default": default, "hash": HASH}
    async with running(TABLE, {"OURS": "sk-configured-key"}, **names) as gateway:
        stand_in = StandIn(upstream.url)
        gateway.life.gateway.transports = {"https": stand_in, "http": stand_in, "unlisted": stand_in}
        gateway.stand_in = stand_in  # type: ignore[attr-defined]
        yield gateway
        await stand_in.close()


def urls(gateway: Running) -> list[str]:
    return gateway.stand_in.urls  # type: ignore[attr-defined,no-any-return]


async def raw_post(gateway: Running, target: str, body: Any = CHAT, **headers: str) -> Any:
    """One POST whose target no client rewrites."""
    named = {"authorization": f"Bearer {GATEWAY_KEY}"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    shown = [(name, value) for name, value in named.items() if value]
    return await raw_call(gateway.port, "POST", target, json.dumps(body).encode(), headers=shown)


async def test_t_1_1_the_body_arrives_as_sent_with_the_key_of_the_path(
    gateway: Running, upstream: FakeUpstream
) -> None:
    """The fake gets the identical body with the path's key; no header holds the gateway's credential."""
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await gateway.post(PROXY + "https://api.openai.com/v1/sk-KEY/chat/completions", CHAT, headers=AUTH)
    request = upstream.requests[0]

    assert (200, "Hi!") == (answer.status, answer.json["choices"][0]["message"]["content"])
    assert ["https://api.openai.com/v1/chat/completions"] == urls(gateway)
    assert "Bearer sk-KEY" == request.header("authorization")
    assert json.dumps(CHAT, separators=(",", ":")).encode() == request.body
    assert GATEWAY_KEY not in repr(request.headers)
    assert ("no-referrer", "no-store") == (answer.headers["referrer-policy"], answer.headers["cache-control"])


OPENAI, OPENAI_KEY = "https://api.openai.com/v1/chat/completions", "Bearer sk-KEY"
OURS = "Bearer sk-configured-key"
GOOD = {
    "P1": ("https://api.openai.com/v1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P2": ("https%3A%2F%2Fapi.openai.com%2Fv1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P3": ("https:%2F%2Fapi.openai.com%2Fv1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P4": ("https:/api.openai.com/v1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P5a": ("HTTPS://API.OpenAI.com/v1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P5b": ("https://api.openai.com:443/v1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P6a": ("api.openai.com/sk-KEY…", OPENAI, OPENAI_KEY),
    "P6b": ("api.openai.com/v1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P6c": ("openai/sk-KEY…", OPENAI, OPENAI_KEY),
    "P7a": ("openai…", OPENAI, OURS),
    "P7b": ("https://api.openai.com/v1…", OPENAI, OURS),
    "P7c": ("https://api.openai.com/v1/-…", OPENAI, OURS),
    "P8": ("https%253A%252F%252Fapi.openai.com%252Fv1/sk-KEY…", OPENAI, OPENAI_KEY),
    "P9": ("https%3A%2F%2Fapi.openai.com%2Fv1%2Fsk-KEY…", OPENAI, OPENAI_KEY),
    "P10a": ("https://api.openai.com/v1//sk-KEY…", OPENAI, OPENAI_KEY),
    "P10b": ("https://api.openai.com/v1/sk-KEY…/", OPENAI, OPENAI_KEY),
    "P11a": ("https://api.openai.com/v1/sk%2FKEY%2Bx…", OPENAI, "Bearer sk/KEY+x"),
    "P11b": ("https:/api.openai.com/v1/sk/KEY+x…", OPENAI, "Bearer sk/KEY+x"),
    "P12a": ("http://[::1]:9/v1/k…", "http://[::1]:9/v1/chat/completions", "Bearer k"),
    "P12b": ("http://%5B::1%5D:9/v1/k…", "http://[::1]:9/v1/chat/completions", "Bearer k"),
}


@pytest.mark.parametrize("vector", GOOD)
async def test_t_1_2_every_spelling_of_a_listed_upstream_reaches_it(
    vector: str, gateway: Running, upstream: FakeUpstream
) -> None:
    """The outgoing URL is the row's own, the key arrives once."""
    sent, url, key = GOOD[vector]
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + sent.replace("…", "/chat/completions"))

    assert 200 == answer.code, answer.body
    assert ([url], key) == (urls(gateway), upstream.requests[0].header("authorization"))


BAD = {
    "P13": ("default…", 404),
    "P14": ("https://other.example/v1/k…", 403),
    "P15a": ("https://api.openai.com.evil.com/v1/k…", 403),
    "P15b": ("https://api.openai.com/v1x/k…", 403),
    "P16a": ("https://api.openai.com/v1/../v2/k…", 400),
    "P16b": ("https://api.openai.com/v1/%2E%2E/v2/k…", 400),
    "P16c": ("https://api.openai.com/v1/a%2F..%2Fb…", 400),
    "P17a": ("https://user:pw@api.openai.com/v1/k…", 400),
    "P17b": ("https://api.openai.com%2F@evil.com/v1/k…", 400),
    "P17c": ("https://api.openai.com\\@evil.com/v1/k…", 400),
    "P18": ("https%3A%2F%2Fx.azure.com%2Fopenai%3Fapi-version%3D1/k…", 400),
    "P19a": ("file:///etc/passwd/k…", 400),
    "P19b": ("//evil.com/v1/k…", 400),
    "P19c": ("https://api.openai.com./v1/k…", 400),
    "P19d": ("https://api.openai.com/v1/sk%0d%0aX…", 400),
}


@pytest.mark.parametrize("vector", BAD)
async def test_t_1_2_every_bad_spelling_is_refused(vector: str, gateway: Running, upstream: FakeUpstream) -> None:
    """400, 403 or 404 as the vectors say; nothing goes out."""
    sent, code = BAD[vector]
    answer = await raw_post(gateway, PROXY + sent.replace("…", "/chat/completions"))

    assert code == answer.code, answer.body
    assert {"message", "type", "param", "code"} == answer.json()["error"].keys()
    assert [] == upstream.requests


@pytest.mark.parametrize("unlisted", [True])
@pytest.mark.parametrize(
    "sent", ["https://169.254.169.254/latest/k…", "http://2130706433/v1/k…", "https://[::1]/v1/k…"]
)
async def test_p20_addresses_are_refused_even_where_unlisted_upstreams_may_be_named(
    sent: str, gateway: Running, upstream: FakeUpstream
) -> None:
    """403, one text for every reason."""
    answer = await raw_post(gateway, PROXY + sent.replace("…", "/chat/completions"))

    assert (403, "upstream_not_allowed") == (answer.code, answer.json()["error"]["code"])
    assert [] == upstream.requests


@pytest.mark.parametrize("unlisted", [True])
async def test_p14_an_unlisted_upstream_where_the_operator_allows_it(gateway: Running, upstream: FakeUpstream) -> None:
    """The URL is what stands before the last slash, the key what stands behind it; `via` names us."""
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + "https://other.example/v1/k/chat/completions")

    assert 200 == answer.code, answer.body
    assert ["https://other.example/v1/chat/completions"] == urls(gateway)
    assert "Bearer k" == upstream.requests[0].header("authorization")
    assert (upstream.requests[0].header("via") or "").startswith("1.1 isthmus-")
    assert "unlisted" == answer.header("x-isthmus-provider")
    looped = await raw_post(gateway, PROXY + "openai/k/chat/completions", via=upstream.requests[0].header("via") or "")
    assert 508 == looped.code


GEMINI = [
    "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
    "https%3A//generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash%3AgenerateContent",
    "https:/generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
    "generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
    "gemini/v1beta/models/gemini-2.5-flash:generateContent",
    "https://generativelanguage.googleapis.com/v1/models/gemini-2.5-flash:generateContent",
    "https://generativelanguage.googleapis.com/v1beta/v1/models/gemini-2.5-flash:generateContent",
]


@pytest.mark.parametrize("sent", GEMINI)
async def test_p21_t_1_10_every_spelling_of_a_gemini_call(sent: str, gateway: Running, upstream: FakeUpstream) -> None:
    """The caller's Google key goes up as x-goog-api-key; its gateway credential does not."""
    upstream.script(json_answer(gemini_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + sent, HI, x_goog_api_key="AIzaUP")
    version = "v1" if "/v1/" in sent else "v1beta"

    assert 200 == answer.code, answer.body
    assert [f"https://generativelanguage.googleapis.com/{version}/models/gemini-2.5-flash:generateContent"] == urls(
        gateway
    )
    assert ("AIzaUP", None) == (
        upstream.requests[0].header("x-goog-api-key"),
        upstream.requests[0].header("authorization"),
    )


async def test_p22_a_gemini_head_carries_no_key(gateway: Running, upstream: FakeUpstream) -> None:
    """A remainder other than a version is 400."""
    sent = "https://generativelanguage.googleapis.com/extra/v1beta/models/g:generateContent"
    answer = await raw_post(gateway, PROXY + sent, HI)

    assert 400 == answer.code
    assert [] == upstream.requests


MESSAGES = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
ANSWERED = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Hi!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
CLAUDE = {
    "P23a": ("https://api.anthropic.com/sk-ant-KEY/v1/messages", "messages", "sk-ant-KEY"),
    "P23b": ("anthropic/v1/messages", "messages", "sk-configured-key"),
    "P23c": ("https://api.anthropic.com/-/v1/messages", "messages", "sk-configured-key"),
    "P23d": ("anthropic/sk-ant-KEY/v1/messages/count_tokens", "messages/count_tokens", "sk-ant-KEY"),
}


@pytest.mark.parametrize("vector", CLAUDE)
async def test_p23_the_paths_of_anthropic_calls(vector: str, gateway: Running, upstream: FakeUpstream) -> None:
    """The key goes up as x-api-key with the caller's version and betas; the body and the answer are untouched."""
    sent, task, key = CLAUDE[vector]
    told = {"input_tokens": 7} if "count" in task else ANSWERED
    upstream.script(json_answer(told))
    answer = await raw_post(gateway, PROXY + sent, MESSAGES, anthropic_version="2026-10-21", anthropic_beta="x")
    request = upstream.requests[0]

    assert (200, told) == (answer.code, json.loads(answer.body))
    assert [f"https://api.anthropic.com/v1/{task}"] == urls(gateway)
    assert (key, "2026-10-21", "x", None) == tuple(
        request.header(name) for name in ("x-api-key", "anthropic-version", "anthropic-beta", "authorization")
    )
    assert MESSAGES == request.json()


async def test_p23_the_gateways_key_as_a_client_of_anthropic_sends_it(gateway: Running, upstream: FakeUpstream) -> None:
    """`x-api-key` is the upstream's beside a bearer token, and the gateway's own where it stands alone."""
    path = PROXY + "https://api.anthropic.com/v1/messages"
    upstream.script(json_answer(ANSWERED), json_answer(ANSWERED))
    both = await raw_post(gateway, path, MESSAGES, x_api_key="sk-ant-UP")
    alone = await raw_post(gateway, path, MESSAGES, authorization="", x_api_key=GATEWAY_KEY)

    assert (200, 200) == (both.code, alone.code)
    assert ["sk-ant-UP", "sk-configured-key"] == [request.header("x-api-key") for request in upstream.requests]
    assert GATEWAY_KEY not in repr([request.headers for request in upstream.requests])


async def test_p23_an_upstream_of_another_dialect(gateway: Running, upstream: FakeUpstream) -> None:
    """It is asked in its own, and the answer comes back in the caller's."""
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + "as-gemini/v1/messages", MESSAGES)

    assert ["https://chat.example/v1/chat/completions"] == urls(gateway)
    assert ("message", "Hi!") == (json.loads(answer.body)["type"], json.loads(answer.body)["content"][0]["text"])


async def test_p23_errors_have_the_callers_envelope(gateway: Running, upstream: FakeUpstream) -> None:
    """A refused path, a bad body, and the upstream's own refusal of the caller's key."""
    denied = await raw_post(gateway, PROXY + "https://other.example/k/v1/messages", MESSAGES)
    bad = await raw_post(gateway, PROXY + "anthropic/v1/messages", {"model": "m", "max_tokens": 1})
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    upstream.script(status(401, refusal))
    own = await raw_post(gateway, PROXY + "anthropic/sk-ant-KEY/v1/messages", MESSAGES)

    assert [(403, "permission_error"), (400, "invalid_request_error"), (401, "authentication_error")] == [
        (one.code, json.loads(one.body)["error"]["type"]) for one in (denied, bad, own)
    ]
    assert "invalid_messages" == json.loads(bad.body)["error"]["details"]["error_code"]


async def test_t_1_3_missing_messages(gateway: Running, upstream: FakeUpstream) -> None:
    """The document's own error, and nothing goes out."""
    answer = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions", {"model": "m"})
    error = {
        "message": "messages must be a non-empty array",
        "type": "invalid_request_error",
        "code": "invalid_messages",
        "param": "messages",
    }

    assert (400, {"error": error}) == (answer.code, answer.json())
    assert [] == upstream.requests


async def test_t_1_4_no_credential_is_401_before_the_path_is_read(gateway: Running) -> None:
    """The same body for a good and a bad path."""
    good = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions", authorization="")
    bad = await raw_post(gateway, PROXY + "file:///etc/passwd/k/chat/completions", authorization="")

    assert (401, 401) == (good.code, bad.code)
    assert good.body == bad.body
    assert 'Bearer error="invalid_token"' == good.header("www-authenticate")


async def test_t_1_5_an_upstreams_429_is_given_on_as_it_is(gateway: Running, upstream: FakeUpstream) -> None:
    """Same status, retry-after and body, for the caller's own key, after the retry policy."""
    body = {"error": {"message": "slow", "type": "rate_limit", "param": None, "code": "rate_limit_exceeded"}}
    upstream.always(status(429, body, headers={"retry-after": "70"}))
    answer = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions")

    assert (429, "70", body) == (answer.code, answer.header("retry-after"), answer.json())


@pytest.mark.parametrize("code", [401, 402, 403, 404, 422, 500, 503])
async def test_the_callers_own_key_keeps_the_upstreams_status(
    code: int, gateway: Running, upstream: FakeUpstream
) -> None:
    """With a configured key a 401 would be our failure; with the caller's own it is his."""
    upstream.always(status(code, openai_error("about your key", code="some_code")))
    own = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions")
    ours = await raw_post(gateway, PROXY + "openai/-/chat/completions")

    assert (code, "about your key") == (own.code, own.json()["error"]["message"])
    assert {401: 502, 402: 502, 403: 502, 404: 404, 422: 422, 500: 502, 503: 503}[code] == ours.code


CANARY = "sk-CANARY-123456789012345678901234"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ["good", "p16", "too-long", "down", "slow", "500", "echo", "unlisted"])
async def test_t_1_6_the_key_is_nowhere(how: str, stream: bool, gateway: Running, upstream: FakeUpstream) -> None:
    """In no log line, metric, answer or header, however the call goes."""
    chunks = [
        {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}],
        }
    ]
    replies: dict[str, Any] = {
        "good": sse(*chunks) if stream else json_answer(chat_answer("Hi!")),
        "down": None,
        "slow": HANG,
        "500": status(500, openai_error("boom")),
        "echo": status(401, openai_error(f"Incorrect API key provided: {CANARY}")),
    }
    paths = {
        "p16": f"https://api.openai.com/v1/../v2/{CANARY}",
        "too-long": f"https://api.openai.com/v1/{CANARY}" + "x" * 9000,
        "unlisted": f"https://other.example/v1/{CANARY}",
    }
    if how == "down":
        await upstream.stop()
    elif how in replies:
        upstream.always(replies[how])
    path = paths.get(how, f"https://api.openai.com/v1/{CANARY}")
    answer = await raw_request_of(gateway, PROXY + path + "/chat/completions", CHAT | {"stream": stream})
    seen = answer.decode("latin-1") + await gateway.log_text() + gateway.metrics_text()

    assert answer.startswith(b"HTTP/1.")
    assert how != "too-long" or b" 414 " in answer[:20]
    for piece in (CANARY, CANARY[3:27], CANARY[10:], "CANARY"):
        assert piece not in seen, seen


async def raw_request_of(gateway: Running, target: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {GATEWAY_KEY}\r\n"
    head += "Content-Type: application/json\r\n"
    return await raw_request(gateway.port, f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)


async def test_t_1_7_a_redirect_is_not_followed(gateway: Running, upstream: FakeUpstream) -> None:
    """502, one attempt, no second connection."""
    async with FakeUpstream() as canary:
        upstream.script(redirect(canary.url + "/v1/chat/completions", 302))
        answer = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions")

        assert 502 == answer.code
        assert (1, []) == (len(upstream.requests), canary.requests)


async def test_t_1_8_unknown_fields_pass_both_ways(gateway: Running, upstream: FakeUpstream) -> None:
    """What we do not know is between the caller and its upstream."""
    upstream.script(json_answer(chat_answer("Hi!", odd={"b": [2]})))
    answer = await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions", CHAT | {"foo": {"a": [1]}})

    assert {"a": [1]} == upstream.requests[0].json()["foo"]
    assert {"b": [2]} == answer.json()["odd"]


@pytest.mark.parametrize("default", ["[{provider: openai, model: gpt-5-mini}]"])
async def test_t_1_9_the_default_target(gateway: Running, upstream: FakeUpstream) -> None:
    """The head `default` leads to the configured model, whatever the caller calls it."""
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + "default/chat/completions", CHAT | {"model": "alchemyst-ai/alchemyst-c1"})

    assert 200 == answer.code, answer.body
    assert ("gpt-5-mini", OURS) == (upstream.requests[0].json()["model"], upstream.requests[0].header("authorization"))


async def test_t_1_11_t_1_12_what_gemini_calls_must_hold(gateway: Running, upstream: FakeUpstream) -> None:
    """400 INVALID_ARGUMENT naming the field; nothing goes out."""
    path = PROXY + "gemini/v1beta/models/g:generateContent"
    missing = await raw_post(gateway, path, {"generationConfig": {}})
    hot = await raw_post(gateway, path, HI | {"generationConfig": {"temperature": 3}})

    assert (400, "INVALID_ARGUMENT") == (missing.code, missing.json()["error"]["status"])
    assert "contents" == missing.json()["error"]["details"][0]["field"]
    assert (400, "generationConfig.temperature") == (hot.code, hot.json()["error"]["details"][0]["field"])
    assert [] == upstream.requests


async def test_t_1_13_the_published_threshold_is_sent_as_the_one_that_exists(
    gateway: Running, upstream: FakeUpstream
) -> None:
    """BLOCK_HIGH_AND_ABOVE becomes BLOCK_ONLY_HIGH, and nothing else changes."""
    upstream.script(json_answer(gemini_answer("Hi!")))
    setting = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_HIGH_AND_ABOVE"}
    await raw_post(gateway, PROXY + "gemini/v1beta/models/g:generateContent", HI | {"safetySettings": [setting]})

    assert HI | {"safetySettings": [setting | {"threshold": "BLOCK_ONLY_HIGH"}]} == upstream.requests[0].json()


@pytest.mark.parametrize("alt", ["?alt=sse", ""], ids=["sse", "array"])
async def test_t_1_14_the_first_chunk_is_given_on_before_the_second_is_sent(
    alt: str, gateway: Running, upstream: FakeUpstream
) -> None:
    """A stream is a stream, as events and as a JSON array."""
    gate = asyncio.Event()
    from tests.fakes import Until, json_array

    events = [gemini_chunk("one"), Until(gate), gemini_chunk("two", finish="STOP")]
    upstream.script(sse(*events) if alt else json_array(*events))
    path = PROXY + "gemini/v1beta/models/g:streamGenerateContent" + alt
    async with gateway.session.post(gateway.url + path, json=HI, headers=AUTH) as response:
        first = await asyncio.wait_for(response.content.readany(), 2.0)
        gate.set()
        rest = await response.read()

    assert b"one" in first and b"two" not in first
    whole = first + rest
    pieces = [json.loads(line) for line in data_lines(whole)] if alt else json.loads(whole)
    assert ["one", "two"] == [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces]


async def test_t_1_15_a_gemini_call_to_an_upstream_of_the_other_dialect(
    gateway: Running, upstream: FakeUpstream
) -> None:
    """The fake gets a chat completion, the caller a Gemini answer."""
    upstream.script(json_answer(chat_answer("Hi!")))
    answer = await raw_post(gateway, PROXY + "as-gemini/v1beta/models/some-model:generateContent", HI)
    sent = upstream.requests[0].json()

    assert ("some-model", [{"role": "user", "content": "Hi"}]) == (sent["model"], sent["messages"])
    assert "Hi!" == answer.json()["candidates"][0]["content"]["parts"][0]["text"]


async def test_a_named_upstream_without_any_key(gateway: Running, upstream: FakeUpstream) -> None:
    """Neither caller nor configuration has one: 401 upstream_key_missing, before anything is sent."""
    answer = await raw_post(gateway, PROXY + "keyless/chat/completions")

    assert (401, "upstream_key_missing") == (answer.code, answer.json()["error"]["code"])
    assert [] == upstream.requests


@pytest.mark.parametrize("path_key", [True, False])
async def test_k10_the_key_by_header(path_key: bool, gateway: Running, upstream: FakeUpstream) -> None:
    """`x-upstream-api-key` is taken; a key in the path wins over it."""
    upstream.script(json_answer(chat_answer("Hi!")))
    path = "openai/sk-PATH" if path_key else "openai"
    await raw_post(gateway, f"{PROXY}{path}/chat/completions", x_upstream_api_key="sk-HEADER")

    assert f"Bearer sk-{'PATH' if path_key else 'HEADER'}" == upstream.requests[0].header("authorization")
    assert None is upstream.requests[0].header("x-upstream-api-key")


async def test_p4_through_a_proxy_that_merges_slashes(
    gateway: Running, upstream: FakeUpstream, nginx: Path, tmp_path: Path
) -> None:
    """nginx with a URI part in proxy_pass makes `https:/host` of it: still understood."""
    from tests.fakes import dead_port

    port = dead_port()
    (tmp_path / "nginx.conf").write_text(
        f"""
daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 1;
events {{}}
http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;
  fastcgi_temp_path {tmp_path}/f;
  uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{gateway.port}/; }} }} }}
"""
    )
    upstream.script(json_answer(chat_answer("Hi!")))
    process = await asyncio.create_subprocess_exec(str(nginx), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))
    try:
        for _ in range(50):
            await asyncio.sleep(0.05)
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                continue
        target = PROXY + "https://api.openai.com/v1/sk-KEY/chat/completions"
        answer = await raw_call(port, "POST", target, json.dumps(CHAT).encode(), headers=AUTH)
    finally:
        process.terminate()
        await process.wait()

    assert 200 == answer.code, answer.body
    assert OPENAI_KEY == upstream.requests[0].header("authorization")


async def test_headers_of_the_allow_list_pass_and_those_of_an_account_only_with_its_key(
    gateway: Running, upstream: FakeUpstream
) -> None:
    """An organization is chosen by whoever brings the key; everything else that a caller sends stays here."""
    upstream.always(json_answer(chat_answer("Hi!")))
    sent = {
        "openai_organization": "org-1",
        "openai_beta": "b",
        "traceparent": "00-1-2-03",
        "x_forwarded_for": "1.2.3.4",
    }
    await raw_post(gateway, PROXY + "openai/sk-KEY/chat/completions", **sent)
    await raw_post(gateway, PROXY + "openai/-/chat/completions", **sent)
    own, ours = upstream.requests

    assert ("org-1", None) == (own.header("openai-organization"), ours.header("openai-organization"))
    assert ("b", "00-1-2-03") == (ours.header("openai-beta"), ours.header("traceparent"))
    assert None is own.header("x-forwarded-for")
