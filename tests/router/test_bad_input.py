"""Bad requests (reliability requirements B01 to B13): a clear error in the caller's dialect,
nothing sent upstream, never a 500.

Every rule holds for every language of callers, in both lanes:
what the relay lane passes on is checked as strictly as what is translated.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes import FakeUpstream
from tests.lanes import ASKING, KEYS, LANES, TABLE, Lane
from tests.raw import raw_request
from tests.running import Answer, Running, running

LIMITED = TABLE.replace(
    "limits: {", "max_body: 64KiB\n  limits: {json_values: 3000, messages: 50, tools: 5, body: 500ms, "
)
EVERY = [*LANES, *ASKING]
lanes = pytest.mark.parametrize("lane", EVERY, ids=[lane.name for lane in EVERY])


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Running]:
    async with running(LIMITED, KEYS, up=upstream.url, attempts=1) as gateway:
        yield gateway


def problem(lane: Lane, answer: Answer) -> Any:
    """The error object, checked for its dialect's envelope and for what never stands in an answer."""
    assert "application/json" == answer.headers["content-type"].partition(";")[0]
    assert answer.headers["x-request-id"] and "caller" == answer.headers["x-isthmus-fault"]
    assert b"Traceback" not in answer.body and b"127.0.0.1" not in answer.body
    return lane.problem(answer.json, answer.status)


BROKEN = {
    "truncated": b'{"model": "m", "messages": [',
    "trailing-comma": b'{"model": "m",}',
    "single-quotes": b"{'model': 'm'}",
    "empty": b"",
    "bom-only": b"\xef\xbb\xbf",
    "nuls": b"\0\0\0\0",
    "array": b"[]",
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "invalid-utf-8": b'{"model": "\xff\xfe"}',
    "two-values": b"{} {}",
}


@lanes
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_b01_b02_b09_what_is_no_json_object_is_refused(
    lane: Lane, body: bytes, gateway: Running, upstream: FakeUpstream
) -> None:
    """400 in dialect, within 100 ms, and the upstream sees nothing."""
    began = time.monotonic()
    answer = await gateway.post(lane.path(), body)

    assert 400 == answer.status and time.monotonic() - began < 0.5
    assert problem(lane, answer)["message"]
    assert [] == upstream.requests
    assert 1 == gateway.metric("isthmus_rejected_total")


WRONG_CHAT: dict[str, tuple[Any, str]] = {
    "no-messages": ({"model": "$"}, "messages"),
    "empty-messages": ({"model": "$", "messages": []}, "messages"),
    "messages-no-array": ({"model": "$", "messages": "hi"}, "messages"),
    "message-no-object": ({"model": "$", "messages": ["hi"]}, "messages[0]"),
    "no-role": ({"model": "$", "messages": [{"content": "hi"}]}, "messages[0].role"),
    "role-no-string": ({"model": "$", "messages": [{"role": 1, "content": "hi"}]}, "messages[0].role"),
    "unknown-role": ({"model": "$", "messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
    "content-number": ({"model": "$", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    "no-model": ({"messages": [{"role": "user", "content": "hi"}]}, "model"),
    "model-no-string": ({"model": 7, "messages": [{"role": "user", "content": "hi"}]}, "model"),
    "empty-model": ({"model": "", "messages": [{"role": "user", "content": "hi"}]}, "model"),
    "stream-no-boolean": ({"model": "$", "stream": "yes", "messages": [{"role": "user", "content": "hi"}]}, "stream"),
    "temperature-text": (
        {"model": "$", "temperature": "hot", "messages": [{"role": "user", "content": "hi"}]},
        "temperature",
    ),
    "tools-no-array": ({"model": "$", "tools": {}, "messages": [{"role": "user", "content": "hi"}]}, "tools"),
}
WRONG_GEMINI: dict[str, tuple[Any, str]] = {
    "no-contents": ({"generationConfig": {}}, "contents"),
    "empty-contents": ({"contents": []}, "contents"),
    "contents-no-array": ({"contents": {"parts": [{"text": "hi"}]}}, "contents"),
    "content-no-object": ({"contents": ["hi"]}, "contents[0]"),
    "no-parts": ({"contents": [{"role": "user"}]}, "contents[0].parts"),
    "empty-parts": ({"contents": [{"parts": []}]}, "contents[0].parts"),
    "part-no-object": ({"contents": [{"parts": ["hi"]}]}, "contents[0].parts[0]"),
    "text-number": ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
    "temperature-text": (
        {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"temperature": "hot"}},
        "generationConfig.temperature",
    ),
    "temperature-range": (
        {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"temperature": 3}},
        "generationConfig.temperature",
    ),
    "config-no-object": ({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": []}, "generationConfig"),
}


HI = [{"role": "user", "content": "hi"}]


def responses(**fields: Any) -> Any:
    return {"model": "$", "input": "hi", **fields}


def messages(*content: Any, **fields: Any) -> Any:
    """Of Anthropic: one turn of these blocks."""
    return {"model": "$", "max_tokens": 9, "messages": [{"role": "user", "content": list(content)}], **fields}


WRONG_RESPONSES: dict[str, tuple[Any, str]] = {
    "no-input": ({"model": "$"}, "input"),
    "empty-input": (responses(input=[]), "input"),
    "input-number": (responses(input=7), "input"),
    "item-no-object": (responses(input=["hi"]), "input[0]"),
    "type-no-string": (responses(input=[{"type": 3}]), "input[0].type"),
    "unknown-role": (responses(input=[{"role": "wizard", "content": "hi"}]), "input[0].role"),
    "no-content": (responses(input=[{"role": "user"}]), "input[0].content"),
    "part-no-object": (responses(input=[{"role": "user", "content": ["hi"]}]), "input[0].content[0]"),
    "call-without-id": (
        responses(input=[{"type": "function_call", "name": "f", "arguments": "{}"}]),
        "input[0].call_id",
    ),
    "reference-without-id": (responses(input=[{"type": "item_reference"}]), "input[0].id"),
    "no-model": ({"input": "hi"}, "model"),
    "model-list": (responses(model=["$"]), "model"),
    "stream-no-boolean": (responses(stream="yes"), "stream"),
    "temperature-text": (responses(temperature="hot"), "temperature"),
    "tools-no-array": (responses(tools={}), "tools"),
    "format-without-schema": (
        responses(text={"format": {"type": "json_schema", "name": "n"}}),
        "text.format.schema",
    ),
    "previous-no-string": (responses(previous_response_id=7), "previous_response_id"),
    "background-no-boolean": (responses(background="yes"), "background"),
}
WRONG_ANTHROPIC: dict[str, tuple[Any, str]] = {
    "no-messages": ({"model": "$", "max_tokens": 9}, "messages"),
    "empty-messages": ({"model": "$", "max_tokens": 9, "messages": []}, "messages"),
    "no-max-tokens": ({"model": "$", "messages": HI}, "max_tokens"),
    "max-tokens-text": ({"model": "$", "max_tokens": "9", "messages": HI}, "max_tokens"),
    "message-no-object": ({"model": "$", "max_tokens": 9, "messages": ["hi"]}, "messages[0]"),
    "unknown-role": (
        {"model": "$", "max_tokens": 9, "messages": [{"role": "wizard", "content": "hi"}]},
        "messages[0].role",
    ),
    "content-number": (
        {"model": "$", "max_tokens": 9, "messages": [{"role": "user", "content": 1}]},
        "messages[0].content",
    ),
    "block-no-object": (messages("hi"), "messages[0].content[0]"),
    "block-no-type": (messages({"text": "hi"}), "messages[0].content[0].type"),
    "text-number": (messages({"type": "text", "text": 1}), "messages[0].content[0].text"),
    "image-without-source": (messages({"type": "image"}), "messages[0].content[0].source"),
    "use-without-input": (
        messages({"type": "tool_use", "id": "t", "name": "n"}),
        "messages[0].content[0].input",
    ),
    "temperature-range": (messages(temperature=1.5), "temperature"),
    "system-number": (messages(system=1), "system"),
    "no-model": ({"max_tokens": 9, "messages": HI}, "model"),
    "stream-no-boolean": (messages(stream=1), "stream"),
}
WRONG_OLLAMA: dict[str, tuple[Any, str]] = {
    "no-model": ({"messages": HI}, "model"),
    "messages-no-array": ({"model": "$", "messages": "hi"}, "messages"),
    "message-no-object": ({"model": "$", "messages": ["hi"]}, "messages[0]"),
    "no-role": ({"model": "$", "messages": [{"content": "hi"}]}, "messages[0].role"),
    "content-number": ({"model": "$", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    "image-no-base64": (
        {"model": "$", "messages": [{"role": "user", "content": "", "images": ["data:image/png;base64,AAAA"]}]},
        "messages[0].images[0]",
    ),
    "options-no-object": ({"model": "$", "messages": HI, "options": []}, "options"),
    "temperature-text": ({"model": "$", "messages": HI, "options": {"temperature": "hot"}}, "options.temperature"),
    "format-word": ({"model": "$", "messages": HI, "format": "xml"}, "format"),
    "stream-text": ({"model": "$", "messages": HI, "stream": "yes"}, "stream"),
    "keep-alive": ({"model": "$", "messages": HI, "keep_alive": []}, "keep_alive"),
    "tools-no-array": ({"model": "$", "messages": HI, "tools": {}}, "tools"),
}
WRONG = {
    "openai": WRONG_CHAT,
    "gemini": WRONG_GEMINI,
    "responses": WRONG_RESPONSES,
    "anthropic": WRONG_ANTHROPIC,
    "ollama": WRONG_OLLAMA,
}
CASES = [(lane, name) for lane in EVERY for name in WRONG[lane.caller]]


@pytest.mark.parametrize(("lane", "name"), CASES, ids=[f"{lane.name}-{name}" for lane, name in CASES])
async def test_b03_a_wrong_field_is_named(lane: Lane, name: str, gateway: Running, upstream: FakeUpstream) -> None:
    """400 naming the field in the caller's dialect, in both lanes."""
    body, field = WRONG[lane.caller][name]
    if body.get("model") == "$":
        body = {**body, "model": lane.model}
    answer = await gateway.post(lane.path(), body)

    assert 400 == answer.status, answer.body
    assert field == lane.asks.field(problem(lane, answer))
    assert [] == upstream.requests


@lanes
async def test_b04_unknown_paths_and_methods(lane: Lane, gateway: Running) -> None:
    """404 and 405 with `Allow`, JSON both, in the dialect of the nearest route."""
    missing = await gateway.post(lane.path().partition("?")[0] + "/nowhere", lane.body())
    async with gateway.session.delete(gateway.url + lane.path()) as response:
        wrong = Answer(response.status, dict(response.headers), await response.read())

    assert 404 == missing.status and problem(lane, missing)
    assert 405 == wrong.status and "POST" == wrong.headers["allow"] and problem(lane, wrong)


@lanes
async def test_b05_a_declared_length_over_the_limit_is_refused_unread(lane: Lane, gateway: Running) -> None:
    """413 at once, and the connection is closed; the body is not waited for."""
    head = (
        f"POST {lane.path()} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode() + b"{" * 4096)
    line = await asyncio.wait_for(reader.readline(), 0.5)

    assert b"413" in line
    await asyncio.wait_for(reader.read(), 4.0)
    writer.close()


@lanes
async def test_b06_a_chunked_body_over_the_limit_is_refused_when_it_is_passed(lane: Lane, gateway: Running) -> None:
    """413 when the limit is passed, not at the end."""
    head = f"POST {lane.path()} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode())
    for _ in range(5):
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    line = await asyncio.wait_for(reader.readline(), 1.0)

    assert b"413" in line
    writer.close()


@lanes
async def test_a_body_that_does_not_arrive_is_timed_out(lane: Lane, gateway: Running) -> None:
    """408 at the body's time limit."""
    head = f"POST {lane.path()} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode())
    line = await asyncio.wait_for(reader.readline(), 1.5)

    assert b"408" in line
    writer.close()


@lanes
@pytest.mark.parametrize("text", ["😀👩‍👩‍👧 שלום\u200f \u2028\u2029\u0085", "x" * 30_000, 'quote " back \\ tab \t'])
async def test_b07_odd_text_arrives_as_it_was_sent(
    lane: Lane, text: str, gateway: Running, upstream: FakeUpstream
) -> None:
    """Emoji, right-to-left marks, line separators, long strings: the same text upstream."""
    upstream.script(lane.whole())
    answer = await gateway.post(lane.path(), lane.body(text))
    sent = upstream.requests[0].json()

    assert 200 == answer.status
    assert text == lane.talks.told(sent)


@lanes
@pytest.mark.parametrize(
    "broken",
    [
        b'"\\ud800"',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"1" * 100_000,
        b"1" * 31,
        b"[" * 65 + b"]" * 65,
        b"[" * 100_000,
    ],
    ids=[
        "lone-surrogate",
        "nan",
        "infinity",
        "minus-infinity",
        "1e999",
        "100000-digits",
        "31-digits",
        "65-deep",
        "100000-open",
    ],
)
async def test_b08_b10_what_no_upstream_should_see_goes_no_further(
    lane: Lane, broken: bytes, gateway: Running, upstream: FakeUpstream
) -> None:
    """Numbers out of range, endless digits, deep nesting, lone surrogates, in a field that nobody knows: 400."""
    body = json.dumps(lane.body()).encode()[:-1] + b', "x_unknown": ' + broken + b"}"
    answer = await gateway.post(lane.path(), body)

    assert answer.status in (400, 413)
    assert problem(lane, answer)
    assert [] == upstream.requests


@lanes
async def test_b11_a_key_that_is_there_twice_is_refused(lane: Lane, gateway: Running, upstream: FakeUpstream) -> None:
    """Two readers would take different ones."""
    body = lane.body()
    text = json.dumps(body)
    first = next(iter(body))
    doubled = "{" + json.dumps(first) + ": " + json.dumps(body[first]) + ", " + text[1:]
    answer = await gateway.post(lane.path(), doubled.encode())

    assert 400 == answer.status and problem(lane, answer)
    assert [] == upstream.requests


@lanes
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/xml", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=utf-8", 200),
        ("application/json", 200),
    ],
)
async def test_b12_only_json_in_utf_8_is_read(
    lane: Lane, kind: str, status: int, gateway: Running, upstream: FakeUpstream
) -> None:
    """Everything else is 415."""
    upstream.always(lane.whole())
    answer = await gateway.post(lane.path(), lane.body(), headers={"content-type": kind})

    assert status == answer.status
    assert (status == 200) == bool(upstream.requests)


@lanes
async def test_b13_compressed_bodies(
    lane: Lane, gateway: Running, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Good gzip is read, corrupt gzip is 400, an unknown coding is 415. None is an error of ours, to be logged."""
    upstream.always(lane.whole())
    body = json.dumps(lane.body()).encode()
    good = await gateway.post(lane.path(), gzip.compress(body), headers={"content-encoding": "gzip"})
    corrupt = await gateway.post(
        lane.path(), gzip.compress(body)[:-9] + b"garbage!!", headers={"content-encoding": "gzip"}
    )
    none = await gateway.post(lane.path(), body, headers={"content-encoding": "gzip"})
    unknown = await gateway.post(lane.path(), body, headers={"content-encoding": "compress"})

    assert [200, 400, 400, 415] == [good.status, corrupt.status, none.status, unknown.status]
    assert [] == caplog.records
    assert 1 == len(upstream.requests)


@lanes
async def test_a_compressed_bomb_stops_at_the_limit(lane: Lane, gateway: Running) -> None:
    """413: the limit counts what comes out."""
    answer = await gateway.post(lane.path(), gzip.compress(b" " * (8 << 20)), headers={"content-encoding": "gzip"})

    assert 413 == answer.status


@lanes
async def test_limits_on_messages_and_tools(lane: Lane, gateway: Running, upstream: FakeUpstream) -> None:
    """More turns or tools than the limit: 400."""
    many = lane.asks.crowded(lane.model, 51)
    tools = lane.body(tools=lane.asks.tools(6))

    for body in (many, tools):
        answer = await gateway.post(lane.path(), body)
        assert 400 == answer.status and problem(lane, answer)
    assert [] == upstream.requests


@lanes
@pytest.mark.parametrize("crowd", [{f"k{i}": 1 for i in range(3100)}, [[]] * 3100, [{"a": [1, 2]}] * 900])
async def test_a_body_of_too_many_values_is_refused(
    lane: Lane, crowd: Any, gateway: Running, upstream: FakeUpstream
) -> None:
    """Wherever they stand: reading them would keep others waiting (H08, O09)."""
    answer = await gateway.post(lane.path(), lane.body() | {"x_unknown": crowd})

    assert 400 == answer.status and "3000 values" in problem(lane, answer)["message"]
    assert [] == upstream.requests


async def test_an_unknown_model_is_a_404(gateway: Running) -> None:
    """In each dialect's own words."""
    chat = await gateway.post("/v1/chat/completions", {"model": "nope", "messages": [{"role": "user", "content": "x"}]})
    gemini = await gateway.post("/v1beta/models/nope:generateContent", {"contents": [{"parts": [{"text": "x"}]}]})

    assert (404, "model_not_found") == (chat.status, chat.json["error"]["code"])
    assert (404, "NOT_FOUND") == (gemini.status, gemini.json["error"]["status"])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/3.7\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"POST /v1/SECRETPATH HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /" + b"S" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["version", "tls", "bad-header", "long-line"],
)
async def test_what_is_no_http_is_answered_in_json_that_echoes_nothing(data: bytes, gateway: Running) -> None:
    """4xx or a closed connection; nothing of the input in answer or log."""
    answer = await raw_request(gateway.port, data)

    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert b"SECRET" not in answer and b"SSSS" not in answer and b"Python" not in answer
    assert "SECRET" not in await gateway.log_text() and "SSSS" not in await gateway.log_text()
