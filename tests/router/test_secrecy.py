"""Secrets and headers (reliability requirements K01 to K11): a key is seen by the upstream that it is for only.

The canary keys here have no shape that gives them away. The upstreams tell them back in every way they can: whole, in
part, percent-encoded, in base64, in messages, headers, reason phrases, events and addresses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from router.secrets import PIECE, scrubbed
from tests import lanes
from tests.answers import chat_answer, chat_chunk, gemini_answer, gemini_chunk, gemini_error, openai_error
from tests.fakes import (
    HANG,
    HANG_UP,
    RESET,
    Answer,
    FakeUpstream,
    Received,
    answer,
    event,
    json_answer,
    raw,
    redirect,
    sse,
    status,
)
from tests.lanes import LANES
from tests.raw import raw_request
from tests.running import Running, running

THEIRS = "Zq7+vT2mXw9Lp4/RbN8cKd5Hs1Jf6Gy3Ue0Ao=MiWxPqTr"
OURS = "cFg8Rt5Yh2Nj9Km4Lo7Pb1Vx6Cz3Qs0Wd+Eu/Ai=HyGtBn"
ENTRY = "gw-Mn4Bv7Cx1Zl9Kj6Hg3Fd0Sa5Qw8Er2TyUiOp"
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s, limits: {body: 500ms, head: 500ms, sse_event: 64KiB}}
access: {keys: [{name: team, hash: "sha256:$hash"}]}
providers:
  openai-up: {base_url: "$up/v1", speaks: [openai.chat], secret: "env:OURS"}
  gemini-up: {base_url: "$up", speaks: [gemini], auth: google_key, secret: "env:OURS"}
models:
  openai-model: [{provider: openai-up, model: gpt-4o-mini}]
  gemini-model: [{provider: gemini-up, model: gemini-2.5-flash}]
policies:
  default: {attempts: 1, breaker: null, timeouts: {connect: 5s, first_byte: 1500ms, idle: 600ms, total: 8s}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - path: "/p/{proxyUrl:url}/{OpenAIAPIKey:secret}/chat/completions"
    speaks: openai.chat
    to: named
    egress: {listed: [openai-up], unlisted: false}
  - path: "/p/{geminiUrl:url}/v1beta/models/{modelNameAndTask}"
    speaks: gemini
    to: named
    egress: {listed: [gemini-up], unlisted: false}
"""


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Running]:
    names = {"up": upstream.url, "hash": hashlib.sha256(ENTRY.encode()).hexdigest()}
    async with running(TABLE, {"OURS": OURS}, **names) as gateway:
        yield gateway


def forms(key: str) -> Iterator[str]:
    """How a key may be written."""
    yield from (key, quote(key, safe=""), quote(key), key.replace("/", "\\/"))
    yield base64.b64encode(key.encode()).decode()
    yield base64.b64encode(b"user:" + key.encode()).decode()[8:]
    yield base64.urlsafe_b64encode(key.encode()).decode()


PIECES = {
    form[start : start + PIECE]
    for key in (THEIRS, OURS, ENTRY)
    for form in forms(key)
    for start in range(len(form) - PIECE + 1)
}


def told(text: str) -> list[str]:
    """What of the keys stands in the text."""
    return [
        text[start : start + PIECE] for start in range(len(text) - PIECE + 1) if text[start : start + PIECE] in PIECES
    ]


async def post(gateway: Running, target: str, body: Any, *headers: str, method: str = "POST") -> str:
    """All of the answer, as text. The gateway's own key comes with it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: g",
        f"Authorization: Bearer {ENTRY}",
        "Content-Type: application/json",
    ]
    head = "\r\n".join([*lines, *headers, f"Content-Length: {len(data)}", "", ""])
    return (await raw_request(gateway.port, head.encode("latin-1") + data)).decode("latin-1")


# ── K01 ────────────────────────────────────────────────────────────────────────────────

ECHOES: dict[str, Callable[[str], str]] = {
    "whole": lambda key: key,
    "part": lambda key: f"({key[3:34]})",
    "percent": lambda key: quote(key, safe=""),
    "base64": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
}


def failures(words: str, *, gemini: bool, stream: bool) -> Iterator[Answer | Any]:
    """Ways to fail, with these words where there is room for any."""
    error = gemini_error(400, words, "INVALID_ARGUMENT") if gemini else openai_error(words)
    chunk = gemini_chunk("a") if gemini else chat_chunk("a")
    for code in (400, 401, 404, 500):
        yield status(code, error)
    yield status(429, error, headers={"retry-after": words, "x-ratelimit-who": words})
    yield answer(500, b"<html>" + words.encode(), headers={"Content-Type": "text/html"})
    yield answer(200, b"<html>" + words.encode(), headers={"Content-Type": "text/html"})
    yield json_answer(b'{"x": "' + words.encode())
    yield json_answer(error)
    yield redirect("http://127.0.0.1:1/" + quote(words))
    yield raw(f"HTTP/1.1 500 {words}\r\nContent-Length: 0\r\n\r\n".encode())
    yield raw(f"HTTP/1.1 200 OK\r\nX\x01: {words}\r\n\r\n".encode())
    if stream:
        yield sse(chunk, error)
        yield sse(chunk, b"data: {" + words.encode() + b"\n\n")
        yield sse(chunk, event(words, "error"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("place", ["path", "header", "gemini-header", "configured", "gemini-configured", "translated"])
async def test_k01_however_an_upstream_tells_a_key_back_it_is_not_told_on(
    place: str, stream: bool, gateway: Running, upstream: FakeUpstream
) -> None:
    """Neither in the answer nor in log or metrics: whole, any 24 characters of it, percent-encoded, base64."""
    own = place in ("path", "header", "gemini-header")
    gemini = place.startswith("gemini")
    task = "streamGenerateContent?alt=sse" if stream else "generateContent"
    target = {
        "path": f"/p/{upstream.url}/v1/{quote(THEIRS, safe='')}/chat/completions",
        "header": f"/p/{upstream.url}/v1/-/chat/completions",
        "gemini-header": f"/p/{upstream.url}/v1beta/models/gemini-2.5-flash:{task}",
        "gemini-configured": f"/v1beta/models/gemini-model:{task}",
    }.get(place, "/v1/chat/completions")
    body = LANES[3].body() if gemini else LANES[1 if place == "translated" else 0].body(stream=stream)
    headers = [f"x-upstream-api-key: {THEIRS}"] if own and place != "path" else []
    replies = [
        reply
        for echo in ECHOES.values()
        for reply in failures(
            f"the key {echo(THEIRS if own else OURS)} is bad", gemini=gemini or place == "translated", stream=stream
        )
    ]
    leaks = []
    for number, reply in enumerate(replies):
        upstream.always(reply)
        if found := told(await post(gateway, target, body, *headers)):
            leaks.append((number, found[0]))

    assert [] == leaks
    assert [] == told(await gateway.log_text()) + told(gateway.metrics_text())
    assert len(replies) == len(upstream.requests)
    assert (THEIRS if own else OURS) in str(upstream.requests[0].headers)


@pytest.mark.parametrize("lane", lanes.ANSWERING, ids=[lane.name for lane in lanes.ANSWERING])
async def test_k01_no_language_tells_a_key_back(lane: lanes.Lane) -> None:
    """In an upstream's refusal, in an error under 200, in an event of a stream, in what cannot be read."""
    seen = []
    keys = dict.fromkeys(lanes.KEYS, OURS)
    async with FakeUpstream() as upstream, running(lanes.TABLE, keys, up=upstream.url, attempts=1) as gateway:
        for echo in ECHOES.values():
            words = f"the key {echo(OURS)} is bad"
            for reply in (
                *(lane.failure(code, words) for code in (400, 401, 429, 500)),
                json_answer(lane.error_event(words)),
                lane.sent(*lane.opening("a"), lane.talks.fault(words)),
                lane.sent(*lane.opening("a"), lane.talks.garbage(words.encode())),
            ):
                upstream.always(reply)
                for stream in (False, True):
                    answer = await gateway.post(lane.path(stream=stream), lane.body(stream=stream))
                    seen.append(repr(answer.headers) + answer.body.decode())
        text = "".join(seen) + await gateway.log_text() + gateway.metrics_text()

    assert [] == told(text)
    assert 56 == len(seen) and all("rror" in one for one in seen)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_k01_faults_of_the_connection(stream: bool, gateway: Running, upstream: FakeUpstream) -> None:
    """A reset, a hang-up, silence, half an answer, nobody there: no key in what is said of it."""
    target = f"/p/{upstream.url}/v1/{quote(THEIRS, safe='')}/chat/completions"
    seen = ""
    for reply in (RESET, HANG_UP, HANG, json_answer({"a": 1}).cut_body(3), sse(chat_chunk("a"), HANG_UP)):
        upstream.always(reply)
        seen += await post(gateway, target, LANES[0].body(stream=stream))
    await upstream.stop()
    seen += await post(gateway, target, LANES[0].body(stream=stream))

    assert 6 == seen.count('"error"')
    assert [] == told(seen) + told(await gateway.log_text()) + told(gateway.metrics_text())


async def test_k01_odd_paths_heads_and_bodies(gateway: Running, upstream: FakeUpstream) -> None:
    """A key where our own parsers stumble over it: not in what they say."""
    upstream.always(json_answer(chat_answer("Hi!")))
    key = quote(THEIRS, safe="")
    good = f"/p/{upstream.url}/v1/{key}/chat/completions"
    paths = [
        f"/p/https://evil.example/v1/{key}/chat/completions", f"/p/{THEIRS}", f"/{THEIRS}", f"//p/{key}",
        f"/p/{upstream.url}/v1/../{key}/chat/completions", f"/p/{upstream.url}/v1/{key}", good + "/more",
        f"/p/{upstream.url}/v1/{key}%0d%0a/chat/completions", f"/v1/{key}/chat/completions",
        f"/v1/chat/completions/{key}", f"/v1/chat/completions?key={key}", good + f"?x={key}",
        f"/p/{upstream.url}/v1/{key}{'x' * 600}/chat/completions", good + "x" * 9000,
        f"/p/{key}@x/v1/chat/completions", f"/p/https://{key}:pw@api.openai.com/v1/k/chat/completions",
        f"/p/{upstream.url}/v1/{key}/v1beta/models/g:generateContent", f"http://g{good}", f"*{THEIRS}",
        f"/p/%2568ttp/{key}/chat/completions",
    ]  # fmt: skip
    headers = [
        f"X-Y: {THEIRS}\x01", f"x-upstream-api-key: {THEIRS} x", "X-Y: " + THEIRS * 400, f"Content-Length: {THEIRS}",
        f"Transfer-Encoding: {THEIRS}", f"x-isthmus-timeout: {THEIRS}", f"Content-Encoding: {THEIRS}",
        f"Host: {THEIRS}", f"x-api-key: {THEIRS}", f"Expect: {THEIRS}", f"traceparent: {THEIRS}\xff",
        f"Content-Type: {THEIRS}", f"Authorization: Basic {THEIRS}",
    ]  # fmt: skip
    seen = ""
    for method in ("POST", "GET"):
        for path in paths:
            seen += await post(gateway, path, LANES[0].body(), method=method)
    for header in headers:
        seen += await post(gateway, good, LANES[0].body(), header)
    for body in (b'{"model": "' + THEIRS.encode(), LANES[0].body() | {"temperature": THEIRS}):
        seen += await post(gateway, "/v1/chat/completions", body)

    assert [] == told(seen) + told(await gateway.log_text()) + told(gateway.metrics_text())
    assert seen.count("HTTP/1.") >= 2 * len(paths)


@pytest.mark.parametrize("key", [THEIRS, "sk-short", "x" * 24, "ab" * 200])
@pytest.mark.parametrize("around", ["", "before ", "a", "==", THEIRS[:23]])
def test_k01_scrubbing_takes_the_key_and_leaves_the_rest(key: str, around: str) -> None:
    """In every form, at any place, as often as it is there; 23 characters of it are no secret yet."""
    for form in forms(key):
        text = f"{around}{form} and {form}{around}"
        if len(form) >= PIECE or form == key:
            clean = scrubbed(text, key)

            assert form not in clean and form[:PIECE] not in clean and " and " in clean
    assert "nothing of it here" == scrubbed("nothing of it here", key)


# ── K02 to K06: headers ────────────────────────────────────────────────────────────────


TRACES = {
    "python": 'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in <module>\nKeyError: 1',
    "java": "java.lang.Boom: no\n\tat com.example.app.Main.run(Main.java:12)",
    "node": "Error: no\n    at Object.<anonymous> (/srv/app.js:3:9)\n    at node:internal/main:1:1",
    "go": "panic: no\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/app.go:4",
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
@pytest.mark.parametrize("form", ["text", "html", "message", "field"])
async def test_k02_a_stack_trace_is_not_told(form: str, trace: str, gateway: Running, upstream: FakeUpstream) -> None:
    """Wherever it stands, also to callers with their own key: they get a sentence of ours."""
    upstream.always(
        {
            "text": answer(500, trace.encode(), headers={"Content-Type": "text/plain"}),
            "html": answer(500, f"<pre>{trace}</pre>".encode(), headers={"Content-Type": "text/html"}),
            "message": status(500, openai_error(trace)),
            "field": status(500, {"error": {"message": "no", "type": "x", "param": None, "code": "x"}, "stack": trace}),
        }[form]
    )
    own = await post(gateway, f"/p/{upstream.url}/v1/their-key/chat/completions", LANES[0].body())
    ours = await post(gateway, "/v1/chat/completions", LANES[0].body())

    assert " 500 " in own and " 502 " in ours
    assert not any(word in own + ours for word in ("Traceback", "app.py", "Main.java", "app.js", "goroutine"))


@pytest.mark.parametrize("place", ["configured", "named"])
async def test_k03_only_listed_headers_go_out(place: str, gateway: Running, upstream: FakeUpstream) -> None:
    """Nothing else of what a caller sends reaches an upstream, least of all its credential here."""
    upstream.always(json_answer(chat_answer("Hi!")))
    names = [
        "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Api-Key", "Referer", "Origin",
        "Proxy-Authorization", "Proxy-Connection", "TE", "Keep-Alive", "X-Named", "User-Agent", "Accept", "Range",
        "If-None-Match", "Accept-Encoding", "Accept-Language", "X-Isthmus-Own", "Via", "From", "Api-Key", "X-Foo",
    ]  # fmt: skip
    headers = [f"{name}: SPY" for name in names] + ["Connection: keep-alive, X-Named", "traceparent: 00-a-b-01"]
    target = "/v1/chat/completions"
    if place == "named":
        target = f"/p/{upstream.url}/v1/{quote(THEIRS, safe='')}/chat/completions"
    assert " 200 " in await post(gateway, target, LANES[0].body(), *headers)
    (request,) = upstream.requests
    sent = {name.lower() for name, _ in request.headers}

    assert "SPY" not in str(request.headers) and ENTRY not in str(request.headers) and ENTRY not in request.target
    assert sent <= {
        "host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
        "x-request-id", "traceparent", "connection",
    }  # fmt: skip
    assert f"Bearer {THEIRS if place == 'named' else OURS}" == request.header("authorization")


async def test_k04_k05_what_an_upstream_says_about_itself_stays_here(gateway: Running, upstream: FakeUpstream) -> None:
    """No cookies, server names or policies; its rate limits are told; a cookie never comes back to it."""
    upstream.always(
        json_answer(
            chat_answer("Hi!"),
            headers=[
                ("Set-Cookie", "SPY=1"), ("Server", "SPY/1.0"), ("Strict-Transport-Security", "SPY"),
                ("Content-Security-Policy", "SPY"), ("Keep-Alive", "SPY"), ("X-Powered-By", "SPY"), ("Via", "SPY"),
                ("x-ratelimit-remaining-requests", "7"), ("Access-Control-Allow-Origin", "SPY"),
            ],
        )
    )  # fmt: skip
    first = await post(gateway, "/v1/chat/completions", LANES[0].body())
    await post(gateway, "/v1/chat/completions", LANES[0].body())

    assert "SPY" not in first and "x-ratelimit-remaining-requests: 7" in first and "server: isthmus\r\n" in first
    assert "Cookie" not in str(upstream.requests[1].headers)


async def test_k06_200_callers_each_get_their_own(gateway: Running, upstream: FakeUpstream) -> None:
    """The key and body of one call are never those of another."""

    def echo(request: Received) -> Answer:
        return json_answer(chat_answer(f"{request.header('authorization')} {request.json()['messages'][0]['content']}"))

    upstream.always(echo)

    async def call(number: int) -> str:
        """What it was given instead of its own; nothing where it was that."""
        await asyncio.sleep(number // 20 * 0.02)  # not all of the second's connections in one blink of the test's
        target = f"/p/{upstream.url}/v1/key-number-{number}/chat/completions"
        got = await post(gateway, target, LANES[0].body(f"text-{number}."))
        return "" if f"Bearer key-number-{number} text-{number}." in got else f"{number}: {got}"

    given = await asyncio.gather(*(call(number) for number in range(200)))

    assert [] == [answer for answer in given if answer]


# ── K07 to K11 ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["/debug", "/docs", "/env", "/config", "/.env", "/metrics", "/explain", "/console/", "/openapi.json",
     "/.git/config", "/routes.yaml", "/admin", "/server-status", "/favicon.ico", "/"],
)  # fmt: skip
async def test_k07_there_is_nothing_to_find(path: str, gateway: Running) -> None:
    """404 on the callers' listener, with or without a key."""
    answers = [await gateway.get(path), await gateway.get(path, headers={"authorization": f"Bearer {ENTRY}"})]

    assert {answer.status for answer in answers} <= {401, 404} and 404 == answers[1].status
    assert [] == told("".join(answer.body.decode() for answer in answers))


async def test_k08_one_request_is_one_line(gateway: Running, upstream: FakeUpstream) -> None:
    """Line ends and escapes from callers are escaped, and fields are cut."""
    upstream.always(json_answer(gemini_answer("x")))
    odd = '\r\n\x1b[31m\x00{"level":"error"}\u2028'
    await post(gateway, "/v1/chat/completions", LANES[1].body() | {odd: 1, "y" * 10_000: 2, "model": odd})
    await post(gateway, "/v1/chat/completions", LANES[1].body() | {odd: 1, "y" * 10_000: 2})
    await post(gateway, "/v1/nothing" + "z" * 5000, b"", "x-request-id: " + "i" * 5000)
    lines = (await gateway.log_text()).splitlines()

    assert 3 == len([line for line in map(json.loads, lines) if line["event"] == "exchange"])
    assert all(line.isprintable() for line in lines)
    assert not any(run * 300 in line for line in lines for run in "yzi")


@pytest.mark.parametrize(
    "key",
    ["sk-proj-abcdefghij0123456789", "AIzaSyA1234567890abcdefghij", "Bearer abcdefghij0123456789",
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"],
)  # fmt: skip
@pytest.mark.parametrize("lane", LANES, ids=[lane.name for lane in LANES])
async def test_k09_what_looks_like_a_key_is_masked(
    lane: Any, key: str, gateway: Running, upstream: FakeUpstream
) -> None:
    """In an upstream's words, though it is no key of ours."""
    upstream.always(lane.failure(400, f"wrong: {key}!"))
    seen = await post(gateway, lane.path(), lane.body())

    assert "wrong: " in seen and key not in seen and key not in await gateway.log_text()


async def test_k10_the_path_wins_over_the_header(gateway: Running, upstream: FakeUpstream) -> None:
    """`x-upstream-api-key` where the path has none."""
    upstream.always(json_answer(chat_answer("Hi!")))
    for key in ("-", "in-the-path"):
        target = f"/p/{upstream.url}/v1/{key}/chat/completions"
        await post(gateway, target, LANES[0].body(), "x-upstream-api-key: in-the-header")

    assert ["Bearer in-the-header", "Bearer in-the-path"] == [
        request.header("authorization") for request in upstream.requests
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_k11_answers_to_paths_with_keys_are_not_kept(
    stream: bool, gateway: Running, upstream: FakeUpstream
) -> None:
    """Good or bad: no-referrer, no-store."""
    target = f"/p/{upstream.url}/v1/{quote(THEIRS, safe='')}/chat/completions"
    upstream.script(LANES[0].stream("a") if stream else LANES[0].whole(), status(500))
    for _ in range(2):
        head = (await post(gateway, target, LANES[0].body(stream=stream))).partition("\r\n\r\n")[0].lower()

        assert "referrer-policy: no-referrer" in head and "no-store" in head
