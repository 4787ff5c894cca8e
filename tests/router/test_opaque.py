"""The opaque lane over real sockets: what goes in comes out at the other end, byte for byte, and nothing besides."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from router.opaque import HELD, below
from tests.answers import openai_error
from tests.fakes import (
    DONE,
    HANG,
    HANG_UP,
    FakeUpstream,
    Sleep,
    answer,
    dead_port,
    event,
    flood,
    json_answer,
    redirect,
    sse,
    status,
)
from tests.raw import parse_answer, raw_call, raw_request
from tests.running import Running, running

KEY = "sk-upstream-Qw8Er2TyUiOp6Gy3Ue0Ao"
TABLE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s, max_body: 1MiB, limits: {body: $body}}
providers:
  up: {base_url: "$up/v1", speaks: [openai.chat], secret: env:KEY, headers: {x-team: search}, query: {v: "2"}}
  other: {base_url: "$other/openai/v1", speaks: [openai.chat], secret: env:KEY}
policies:
  default: {wait: {first: 1ms, most: 5ms}, timeouts: {connect: 1s, first_byte: 1s, idle: 500ms, total: 5s}}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/audio/*, speaks: opaque, to: [{provider: up}]}
  - {path: "/v1/files*", speaks: opaque, to: [{provider: up}]}
  - {path: /v1/moderations, speaks: opaque, to: [{provider: up}]}
  - {path: /team/v1/images/*, speaks: opaque, to: [{provider: up}, {provider: other}]}
"""
AWS = 'base_url: "$up/v1", speaks: [openai.chat], auth: "aws_sigv4:us-east-1", secret: env:KEY'
MULTIPART = {"content-type": "multipart/form-data; boundary=xyz"}


@asynccontextmanager
async def between(other: str = "http://127.0.0.1:9", body: str = "5s") -> AsyncIterator[tuple[Running, FakeUpstream]]:
    async with (
        FakeUpstream() as upstream,
        running(TABLE, {"KEY": KEY}, up=upstream.url, other=other, body=body) as gateway,
    ):
        yield gateway, upstream


def form(size: int) -> bytes:
    """A multipart upload with bytes that are no text."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return head + bytes(range(256)) * (size // 256) + b"\r\n--xyz--\r\n"


# ── requests ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, HELD // 2, HELD * 8])
async def test_an_upload_arrives_byte_for_byte(size: int) -> None:
    """Held or not: body, its length and its type are the caller's; key, query and headers of the row are added."""
    async with between() as (gateway, upstream):
        upstream.script(answer(200, b"\x00\xffanswer", headers={"Content-Type": "audio/mpeg"}))
        got = await gateway.post("/v1/audio/transcriptions?a=1&b=%C3%A9", form(size), headers=MULTIPART)
        request = upstream.requests[0]

        assert form(size) == request.body
        assert ("POST", "/v1/audio/transcriptions?a=1&b=%C3%A9&v=2") == (request.method, request.target)
        assert str(len(form(size))) == request.header("content-length")
        assert MULTIPART["content-type"] == request.header("content-type")
        assert (f"Bearer {KEY}", "search") == (request.header("authorization"), request.header("x-team"))
        assert (200, b"\x00\xffanswer") == (got.status, got.body)


async def test_an_upload_of_unknown_length_is_passed_on_in_chunks() -> None:
    """Chunks in, chunks out; none of it waits for the end."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    async with between() as (gateway, upstream):
        upstream.script(json_answer({"id": "file-1"}))
        async with gateway.session.post(gateway.url + "/v1/files", data=pieces()) as response:
            assert 200 == response.status
        request = upstream.requests[0]

        assert b"x" * 3000 == request.body
        assert ("chunked", None) == (request.header("transfer-encoding"), request.header("content-length"))


@pytest.mark.parametrize("size", [10, HELD * 2])
async def test_a_caller_who_waits_is_told_to_go_on_once(size: int) -> None:
    """`Expect: 100-continue`: one interim answer, then the body is taken, held or not."""
    async with between() as (gateway, upstream):
        upstream.script(json_answer({}))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"POST /v1/files HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode())
        interim = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * size)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()

        assert (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200") == (interim, answer[:12])
        assert b"x" * size == upstream.requests[0].body


async def test_a_packed_upload_is_unpacked() -> None:
    """What the gateway has unpacked says no more that it is packed."""
    body = json.dumps({"input": "x" * 100_000}).encode()

    async with between() as (gateway, upstream):
        upstream.script(json_answer({"results": []}))
        await gateway.post("/v1/moderations", gzip.compress(body), headers={"content-encoding": "gzip"})
        request = upstream.requests[0]

        assert (body, None) == (request.body, request.header("content-encoding"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH"])
async def test_any_method_reaches_the_provider(method: str) -> None:
    """The path below the prefix goes on as it came, the query without a key of ours."""
    async with between() as (gateway, upstream):
        upstream.script(answer(200, b"" if method == "HEAD" else b"body", headers={"Content-Type": "text/plain"}))
        got = await raw_call(gateway.port, method, "/v1/files/file-1/content%20x?key=entry&%6bey=e2&after=a%2Fb")
        request = upstream.requests[0]

        assert (method, "/v1/files/file-1/content%20x?after=a%2Fb&v=2") == (request.method, request.target)
        assert (200, b"" if method == "HEAD" else b"body") == (got.code, got.body)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/v1/files", 200),
        ("/v1/files/a/b", 200),
        ("/v1/filesystem", 404),
        ("/v1/audio", 404),
        ("/v1/audio/", 404),
        ("/v1/files/", 404),
        ("/v1/files/../chat", 400),
        ("/v1/files/%2e%2e/chat", 400),
        ("/v1/files/a%2fb", 400),
        ("/v1/files/a//b", 400),
        ("/v1/files/%00", 400),
        ("/v1/files/a%", 400),
        ("/v1/files/a\\b", 400),
        ("/v1/files/..;/chat", 400),
        ("/v1/files/%2e%2e%3b/chat", 400),
        ("/v1/files/%252e%252e/chat", 400),
        ("/v1/files/%25252e%25252e/chat", 400),
        ("/v1/files/a%252fb", 400),
        ("/v1/files/a#b", 400),
        ("/v1/files/a?b=c#d", 400),
        ("/v1/files/a;v=1", 200),
        ("/v1/files/a%2525b", 200),
        ("http://elsewhere.example/v1/files/a", 200),
    ],
)
async def test_no_path_leads_elsewhere(target: str, code: int) -> None:
    """What could be read as another path by somebody behind us is refused, and nothing is sent."""
    async with between() as (gateway, upstream):
        upstream.always(json_answer({}))
        got = await raw_call(gateway.port, "GET", target)

        assert code == got.code
        assert (1 if code == 200 else 0) == len(upstream.requests)


@pytest.mark.parametrize("auth", ["bearer", "query:token"])
async def test_what_a_row_says_in_the_url_is_not_the_callers_to_say(auth: str) -> None:
    """A server that reads the first of two parameters must read ours."""
    table = TABLE.replace("headers: {x-team", f'auth: "{auth}", headers: {{x-team')
    async with (
        FakeUpstream() as upstream,
        running(table, {"KEY": KEY}, up=upstream.url, other="http://127.0.0.1:9", body="5s") as gateway,
    ):
        upstream.script(json_answer({}))
        await raw_call(gateway.port, "GET", "/v1/files?v=1&%76=3&token=theirs&V=4&a")
        own = "" if auth == "bearer" else f"&token={KEY}"
        theirs = "token=theirs&" if auth == "bearer" else ""

        assert f"/v1/files?{theirs}V=4&a&v=2{own}" == upstream.requests[0].target


@pytest.mark.parametrize("size", [10, HELD * 2])
async def test_a_signature_is_of_the_body_the_place_and_the_time(size: int) -> None:
    """AWS's: whatever is signed is held, and botocore comes to the same signature."""
    table = TABLE.replace('base_url: "$up/v1", speaks: [openai.chat], secret: env:KEY', AWS)
    secret = "AKIDEXAMPLEXXXXXXXX:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    async with (
        FakeUpstream() as upstream,
        running(table, {"KEY": secret}, up=upstream.url, other="http://127.0.0.1:9", body="5s") as gateway,
    ):
        upstream.script(json_answer({}))
        await gateway.post("/v1/files/a?b=1", b"x" * size)
        request = upstream.requests[0]
        again = AWSRequest(request.method, upstream.url + request.target, {}, request.body)
        again.headers["content-type"] = request.header("content-type")
        stamp = request.header("x-amz-date")
        again.context["timestamp"] = stamp
        again.headers["x-amz-date"] = stamp
        signer = SigV4Auth(Credentials(*secret.split(":")), "bedrock", "us-east-1")
        signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)

        assert abs(time.time() - datetime.strptime(f"{stamp}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()) < 60
        assert f"Signature={signature}" in request.header("authorization")


async def test_a_coding_that_we_cannot_unpack_is_told() -> None:
    """What is unpacked on the way loses its coding; any other body comes as it is, with its coding and length."""
    async with between() as (gateway, upstream):
        upstream.script(
            answer(200, gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"}),
            answer(200, b"uryyb", headers={"Content-Encoding": "rot13"}),
        )
        unpacked = await gateway.get("/v1/files/a")
        packed = await gateway.get("/v1/files/a")

        assert (b"hello", None) == (unpacked.body, unpacked.headers.get("content-encoding"))
        assert (b"uryyb", "rot13", "5") == (
            packed.body,
            packed.headers.get("content-encoding"),
            packed.headers.get("content-length"),
        )


async def test_other_methods_are_refused() -> None:
    """405 names those that there are."""
    async with between() as (gateway, _):
        got = await raw_call(gateway.port, "OPTIONS", "/v1/files")

        assert (405, "GET, HEAD, POST, PUT, PATCH, DELETE") == (got.code, got.header("allow"))
        assert "method_not_allowed" == got.json()["error"]["code"]


async def test_only_what_is_listed_goes_on() -> None:
    """K03: no header of the caller's, or of what stands before us, but those that say how to read and what to give."""
    theirs = {
        "authorization": "Bearer entry", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "forwarded": "for=1.2.3.4",
        "x-real-ip": "1.2.3.4", "x-api-key": "k", "referer": "http://x", "te": "trailers", "x-custom": "1",
        "proxy-authorization": "Basic x", "connection": "keep-alive, x-custom", "accept": "audio/*",
        "range": "bytes=0-1", "idempotency-key": "i1", "openai-organization": "org-1", "accept-encoding": "gzip",
    }  # fmt: skip

    async with between() as (gateway, upstream):
        upstream.script(json_answer({}))
        await raw_call(gateway.port, "GET", "/v1/files/a/content", headers={**theirs, "Content-Type": None})
        request = upstream.requests[0]

        assert {
            "host", "accept", "accept-encoding", "user-agent", "x-request-id", "range", "idempotency-key",
            "authorization", "x-team",
        } == {name.lower() for name, _ in request.headers}  # fmt: skip
        assert ("audio/*", "identity") == (request.header("accept"), request.header("accept-encoding"))


# ── answers ────────────────────────────────────────────────────────────────────────────


async def test_a_large_download_is_not_held() -> None:
    """20 MB pass through in bounded memory, past the limit of answers that are read, with their length."""
    async with between() as (gateway, upstream):
        upstream.script(flood(20 << 20, headers={"Content-Type": "application/octet-stream"}))
        taken = 0
        tracemalloc.start()
        async with gateway.session.get(gateway.url + "/v1/files/a/content") as response:
            length = response.headers["content-length"]
            async for data in response.content.iter_any():
                taken += len(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert (20 << 20, str(20 << 20)) == (taken, length)
        assert peak < 6 << 20


async def test_headers_that_say_how_to_read_the_answer_come_back() -> None:
    """K04: a part of a file stays one; cookies, servers, hops and keys stay behind."""
    headers = {
        "Content-Type": "audio/mpeg", "Content-Range": "bytes 0-3/9", "Content-Disposition": 'attachment; filename="a"',
        "Accept-Ranges": "bytes", "ETag": '"1"', "X-RateLimit-Remaining": "7", "Set-Cookie": "a=b", "Server": "nginx/1",
        "Strict-Transport-Security": "max-age=1", "Connection": "keep-alive", "X-Internal": "1",
        "Openai-Organization": KEY,
    }  # fmt: skip

    async with between() as (gateway, upstream):
        upstream.script(answer(206, b"abcd", headers={**headers, "Last-Modified": f"x {KEY}"}))
        got = await gateway.get("/v1/files/a/content", headers={"range": "bytes=0-3"})

        assert (206, b"abcd", "4") == (got.status, got.body, got.headers["content-length"])
        for name in ("Content-Type", "Content-Range", "Content-Disposition", "Accept-Ranges", "ETag"):
            assert headers[name] == got.headers[name.lower()]
        assert ("7", "isthmus") == (got.headers["x-ratelimit-remaining"], got.headers["server"])
        assert not {"set-cookie", "strict-transport-security", "x-internal", "openai-organization"} & got.headers.keys()
        assert KEY not in repr(got.headers)
        assert ("up", "relay", "1") == tuple(got.headers[f"x-isthmus-{k}"] for k in ("provider", "lane", "attempts"))


async def test_events_pass_as_they_come() -> None:
    """A stream is given on event by event, untouched, whatever it says."""
    chunks = [event({"type": "speech.audio.delta", "audio": "AAAA"}), b": odd\n\n", DONE]

    async with between() as (gateway, upstream):
        upstream.script(sse(chunks[0], Sleep(0.2), *chunks[1:]))
        loop = asyncio.get_running_loop()
        async with gateway.session.post(gateway.url + "/v1/audio/speech", json={"stream_format": "sse"}) as response:
            first = await response.content.readuntil(b"\n\n")
            began = loop.time()
            rest = await response.content.read()
            waited = loop.time() - began
        line = (await gateway.lines())[0]

        assert b"".join(chunks) == first + rest
        assert waited > 0.1
        assert "text/event-stream" == response.headers["content-type"]
        assert 1.0 == gateway.metric("isthmus_stream_end_total", provider="up", reason="done")
        assert ("/v1/audio/*", "opaque", "ok") == (line["route"], line["caller_dialect"], line["outcome"])


async def test_an_empty_answer_stays_empty() -> None:
    """204 has no body and no length."""
    async with between() as (gateway, upstream):
        upstream.script(answer(204, headers={"Content-Length": None}))
        got = await raw_call(gateway.port, "DELETE", "/v1/files/a")

        assert (204, b"", None) == (got.code, got.body, got.header("transfer-encoding"))


# ── what goes wrong ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (400, 400, None),
        (404, 404, None),
        (422, 422, None),
        (401, 502, "upstream_denied"),
        (403, 502, "upstream_denied"),
        (500, 502, "upstream_5xx"),
        (503, 503, "upstream_5xx"),
    ],
)
async def test_errors_of_the_upstream(theirs: int, ours: int, code: str | None) -> None:
    """Told in OpenAI's envelope with the upstream's reason; a refusal of our key is our trouble, not the caller's."""
    async with between() as (gateway, upstream):
        upstream.always(status(theirs, openai_error(f"no, {KEY}", code="because")))
        got = await gateway.post("/v1/audio/speech", {"input": "Hi"})

        assert ours == got.status
        assert (code or "because") == got.json["error"]["code"]
        assert KEY not in got.body.decode()
        assert "upstream" == got.headers["x-isthmus-fault"]


async def test_redirects_are_not_followed() -> None:
    """A place elsewhere is no answer: nobody is sent there with our key."""
    async with between() as (gateway, upstream):
        upstream.always(redirect("http://127.0.0.1:9/elsewhere"))
        got = await gateway.get("/v1/files/a/content")

        assert (502, "upstream_invalid_response") == (got.status, got.json["error"]["code"])


async def test_small_calls_are_tried_again_and_elsewhere() -> None:
    """What is held, or empty, is retried like any other call, at its own path behind each provider."""
    async with FakeUpstream() as second, between(other=second.url) as (gateway, upstream):
        upstream.always(status(500))
        second.script(json_answer({"data": []}))
        got = await gateway.post("/team/v1/images/generations", {"prompt": "a cat"})

        assert (200, "other", "3") == (
            got.status, got.headers["x-isthmus-provider"], got.headers["x-isthmus-attempts"]
        )  # fmt: skip
        assert {"/v1/images/generations?v=2"} == {request.target for request in upstream.requests}
        assert "/openai/v1/images/generations" == second.requests[0].target
        assert {"prompt": "a cat"} == second.requests[0].json()


async def test_a_stale_connection_is_nobodys_failure() -> None:
    """U24 for uploads: a kept connection that has gone stale is not used for what cannot be sent twice."""
    async with between() as (gateway, upstream):
        for _ in range(3):
            upstream.script(json_answer({}).then(HANG_UP))
            got = await gateway.post("/v1/audio/transcriptions", form(HELD * 2), headers=MULTIPART)

            assert 200 == got.status


async def test_what_was_streamed_away_is_not_tried_again() -> None:
    """An upload that an attempt has begun to read is gone: one attempt, told as it is."""
    async with FakeUpstream() as second, between(other=second.url) as (gateway, upstream):
        upstream.script(status(500))
        got = await gateway.post("/team/v1/images/edits", form(HELD * 4), headers=MULTIPART)

        assert (502, "1") == (got.status, got.headers["x-isthmus-attempts"])
        assert [] == second.requests


async def test_an_upload_that_nobody_began_to_take_goes_elsewhere() -> None:
    """No connection, no byte read: the body is still whole for the next target."""
    async with FakeUpstream() as second:
        table = TABLE.replace("$up/v1", f"http://127.0.0.1:{dead_port()}/v1")
        async with running(table, {"KEY": KEY}, up="http://x", other=second.url, body="5s") as gateway:
            second.script(json_answer({"data": []}))
            got = await gateway.post("/team/v1/images/edits", form(HELD * 4), headers=MULTIPART)

            assert (200, "2") == (got.status, got.headers["x-isthmus-attempts"])
            assert form(HELD * 4) == second.requests[0].body


async def test_a_body_that_says_that_it_is_too_large_is_not_taken() -> None:
    """B05: 413 at once, in OpenAI's envelope; the upstream hears nothing."""
    async with between() as (gateway, upstream):
        head = b"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: 2000000\r\n\r\n"
        got = parse_answer(await raw_request(gateway.port, head + b"x" * 1000), ended=True)

        assert got is not None
        assert (413, "payload_too_large") == (got.code, got.json()["error"]["code"])
        assert [] == upstream.arrived


async def test_a_body_that_grows_too_large_is_cut() -> None:
    """B06: 413 once the limit is passed; the upstream gets no end of it, and nothing is tried again."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with between() as (gateway, upstream):
        upstream.always(json_answer({}))
        async with gateway.session.post(gateway.url + "/v1/files", data=endless()) as response:
            body = await response.json()
        line = (await gateway.lines())[0]

        assert (413, "payload_too_large") == (response.status, body["error"]["code"])
        assert ([], 1) == (upstream.requests, len(upstream.arrived))
        assert "rejected" == line["outcome"]
        assert 1.0 == gateway.metric("isthmus_attempts_total", provider="up", outcome="rejected")
        await upstream.connections[0].left()


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """H04: 408 when the caller has kept everybody waiting for too long."""
    async with between(body="300ms") as (gateway, upstream):
        upstream.always(json_answer({}))
        head = b"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: 200000\r\n\r\nabc"
        got = parse_answer(await raw_request(gateway.port, head), ended=True)

        assert got is not None
        assert 408 == got.code
        assert [] == upstream.requests


async def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    """U03: half a file never looks like a whole one."""
    async with between() as (gateway, upstream):
        upstream.script(answer(200, b"x" * 100_000, HANG_UP, headers={"Content-Length": "900000"}))
        got = await raw_request(gateway.port, b"GET /v1/files/a/content HTTP/1.1\r\nHost: g\r\n\r\n")
        line = (await gateway.lines())[0]

        assert b"content-length: 900000" in got.lower()
        assert len(got) < 110_000
        assert ("upstream_error", 200) == (line["outcome"], line["status"])


async def test_an_upstream_that_says_nothing_is_given_up() -> None:
    """U04: 504 at the limit, also where the body was streamed."""
    async with between(body="200ms") as (gateway, upstream):
        upstream.script(HANG)
        got = await gateway.post("/v1/files", form(HELD * 4), headers=MULTIPART)

        assert (504, "upstream_timeout") == (got.status, got.json["error"]["code"])
        await upstream.connections[0].left()


async def test_a_caller_who_leaves_takes_the_call_along() -> None:
    """U28, S23: while uploading, waiting, or reading, the upstream's connection is closed within a second."""
    upload = b"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000
    waiting = b"GET /v1/files HTTP/1.1\r\nHost: g\r\n\r\n"

    async with between() as (gateway, upstream):
        replies: list[Any] = [HANG, HANG, answer(200, b"x" * 1000, HANG, headers={"Content-Length": "9000"})]
        for number, (request, reply) in enumerate(zip([upload, waiting, waiting], replies, strict=True)):
            upstream.script(reply)
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request)
            while len(upstream.arrived) <= number:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            writer.transport.abort()
            await upstream.connections[-1].left(1.0)
        outcomes = [line["outcome"] for line in await gateway.lines()]

        assert ["client_left"] * 3 == outcomes
        assert 3.0 == gateway.metric("isthmus_attempts_total", provider="up", outcome="client_left")


async def test_the_key_is_in_no_log() -> None:
    """K01: lines and metrics know the provider by its name alone; the query is not told."""
    async with between() as (gateway, upstream):
        upstream.script(json_answer({}), status(401, openai_error(f"bad key {KEY}")))
        await gateway.get("/v1/files?key=entry-secret-1234567890")
        await gateway.get("/v1/files/a")

        assert KEY not in await gateway.log_text() + gateway.metrics_text()
        assert "entry-secret" not in await gateway.log_text()
        assert 2.0 == gateway.metric("isthmus_attempts_total", provider="up")
        assert 2.0 == gateway.metric("isthmus_requests_total", route="/v1/files*", caller_dialect="opaque")


async def test_strangers_are_not_let_in() -> None:
    """The credential is asked for before anything is read."""
    table = TABLE + 'access: {keys: [{name: team, hash: "sha256:' + "0" * 64 + '"}]}\n'
    async with (
        FakeUpstream() as upstream,
        running(table, {"KEY": KEY}, up=upstream.url, other="http://x", body="5s") as g,
    ):
        got = await g.post("/v1/files", form(HELD * 4), headers=MULTIPART)

        assert (401, []) == (got.status, upstream.arrived)


# ── where it goes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("base", "pattern", "path", "expected"),
    [
        ("https://a.example/v1", "/v1/audio/*", "/v1/audio/speech", "/audio/speech"),
        ("https://a.example/openai/v1", "/v1/files*", "/v1/files", "/files"),
        ("https://a.example/openai/v1/", "/team/v1/files*", "/team/v1/files/v1/x", "/files/v1/x"),
        ("https://a.example", "/v1/files*", "/v1/files?a=/b", "/v1/files?a=/b"),
        ("https://a.example/api", "/v1/files*", "/v1/files", "/v1/files"),
        ("https://a.example/v1", "/v1/v1/x", "/v1/v1/x", "/x"),
    ],
)
def test_what_a_path_and_a_base_have_in_common_is_said_once(base: str, pattern: str, path: str, expected: str) -> None:
    """A route may stand below a prefix of its own, and a provider's API below one of its."""
    assert expected == below(base, pattern, path)
