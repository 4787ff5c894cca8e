"""One caller's or upstream's trouble is not another's (reliability requirements O01 to O10, S25, some of U, C, L, P).

In-process where counting is enough; as a process of its own where memory, file descriptors and signals are looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from router.server import Protocol
from tests.answers import chat_answer, chat_chunk, openai_error
from tests.fakes import (
    HANG,
    HANG_UP,
    RESET,
    FakeUpstream,
    Sleep,
    Write,
    answer,
    flood,
    gzip_bomb,
    interim,
    json_answer,
    raw,
    redirect,
    sse,
    status,
)
from tests.lanes import KEYS, LANES, TABLE
from tests.raw import raw_request
from tests.running import Answer, Running, running

CHAT = LANES[0]
KEY_HASH = sha256(b"team-key").hexdigest()
HI = [{"role": "user", "content": "x"}]
TWO = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s, limits: {concurrency: $concurrency, write_stall: 1s}}
providers:
  one: {base_url: "$one/v1", speaks: [openai.chat], auth: none, $limits}
  two: {base_url: "$two/v1", speaks: [openai.chat], auth: none}
models:
  one: [{provider: one, model: m}]
  two: [{provider: two, model: m}]
policies:
  default:
    attempts: 3
    wait: {first: 10ms, most: 20ms}
    timeouts: {connect: 5s, first_byte: 2s, idle: 5s, total: 20s}
    breaker: $breaker
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""


@contextlib.asynccontextmanager
async def between(
    concurrency: int = 1000, breaker: str = "null", limits: str = "queue: 0"
) -> AsyncIterator[tuple[Running, FakeUpstream, FakeUpstream]]:
    async with FakeUpstream() as one, FakeUpstream() as two:
        two.always(CHAT.whole())
        async with (
            running(TWO, one=one.url, two=two.url, concurrency=concurrency, breaker=breaker, limits=limits) as gateway,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            usual, gateway.session = gateway.session, session  # the usual one holds back more than 100 calls
            yield gateway, one, two
            gateway.session = usual


async def ask(gateway: Running, model: str, **more: Any) -> tuple[float, Answer]:
    """One chat, and the seconds that it took."""
    began = time.monotonic()
    got = await gateway.post(CHAT.path(), {"model": model, "messages": [{"role": "user", "content": "x"}], **more})
    return time.monotonic() - began, got


async def health(gateway: Running) -> tuple[float, Answer]:
    """The health of the gateway, and the seconds that it took to tell."""
    began = time.monotonic()
    got = await gateway.get("/healthz")
    return time.monotonic() - began, got


def quickest(asked: list[tuple[float, Answer]]) -> float:
    """Of calls one after the other: who must wait for another's trouble waits each time."""
    return min(took for took, _ in asked)


# ── O: overload ────────────────────────────────────────────────────────────────────────


async def test_o01_a_hanging_upstream_is_nobody_elses_trouble() -> None:
    """100 calls hang: health and the other upstream answer; beyond the limit 503 at once; all end at their deadline."""
    async with between(concurrency=110) as (gateway, one, _):
        one.always(HANG)
        hanging = [asyncio.create_task(ask(gateway, "one")) for _ in range(100)]
        await one.asked(100, within=5)
        healthy = [await health(gateway) for _ in range(3)]
        other = [await ask(gateway, "two") for _ in range(3)]
        more = [asyncio.create_task(ask(gateway, "one")) for _ in range(10)]
        await one.asked(110, within=5)
        shed = [await ask(gateway, "two") for _ in range(5)]
        ends = await asyncio.gather(*hanging, *more)

        assert quickest(healthy) < 0.2 and {200} == {got.status for _, got in healthy}
        assert quickest(other) < 0.5 and {200} == {got.status for _, got in other}
        assert quickest(shed) < 0.05 and {503} == {got.status for _, got in shed}
        assert all("retry-after" in got.headers for _, got in shed)
        assert {504} == {got.status for _, got in ends} and max(took for took, _ in ends) < 3.5
        assert 110 == len(one.requests)
        assert gateway.metric("isthmus_overhead_seconds_sum", phase="total") < 2.0  # the waits were not ours


async def test_calls_wait_for_a_place_and_nice_ones_behind_the_others() -> None:
    """Two at once, four may wait: in order, the nice one last; the seventh is told at once; all of it is counted."""
    async with between(limits="concurrency: 2, queue: 4") as (gateway, one, _):
        one.always(CHAT.whole().after(Sleep(0.1)))
        order: list[str] = []

        async def call(name: str, **headers: str) -> int:
            got = await gateway.post(CHAT.path(), {"model": "one", "messages": HI}, headers=headers)
            order.append(name)
            assert got.status != 200 or (name in "ab") != ("queue" in got.headers["server-timing"])
            return got.status

        running = [asyncio.create_task(call(name)) for name in "ab"]
        await one.asked(2, within=5)
        nice = asyncio.create_task(call("nice", **{"x-isthmus-nice": "true"}))
        await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(call(name)) for name in "cde"]
        await asyncio.sleep(0.02)
        refused = await gateway.post(CHAT.path(), {"model": "one", "messages": HI}, headers={"x-isthmus-nice": "true"})
        codes = await asyncio.gather(*running, *waiting, nice)

        assert [200] * 6 == codes and (503, "gateway_overloaded") == (refused.status, refused.json["error"]["code"])
        assert "nice" == order[-1] and {"a", "b"} == set(order[:2])
        counted = {
            (priority, outcome): gateway.metric("isthmus_queued_total", priority=priority, outcome=outcome)
            for priority, outcome in (("normal", "served"), ("nice", "served"), ("nice", "full"))
        }
        assert {("normal", "served"): 3.0, ("nice", "served"): 1.0, ("nice", "full"): 1.0} == counted


async def test_a_nice_call_waits_for_part_of_its_time_only() -> None:
    """Half of what is left; then it is told, and others go on waiting."""
    async with between(limits="concurrency: 1, queue: 4") as (gateway, one, _):
        one.always(CHAT.whole().after(Sleep(0.8)))
        first = asyncio.create_task(ask(gateway, "one"))
        await one.asked(1, within=5)
        headers = {"x-isthmus-timeout": "600ms"}
        began = time.monotonic()
        nice = await gateway.post(
            CHAT.path(), {"model": "one", "messages": HI}, headers=headers | {"x-isthmus-nice": "true"}
        )
        took = time.monotonic() - began
        normal = await ask(gateway, "one")

        assert 503 == nice.status and 0.25 < took < 0.55
        assert (200, 200) == ((await first)[1].status, normal[1].status)
        wrong = await gateway.post(CHAT.path(), {"model": "one", "messages": HI}, headers={"x-isthmus-nice": "?"})
        assert (400, "x-isthmus-nice") == (wrong.status, wrong.json["error"]["param"])


async def test_o02_400_requests_at_once_are_all_answered() -> None:
    """200, or 503 with retry-after; none is lost, none is a 500."""
    async with between(concurrency=100) as (gateway, _, two):
        two.always(CHAT.whole().after(Sleep(0.2)))
        answers = await asyncio.gather(*(ask(gateway, "two") for _ in range(400)))
        codes = Counter(got.status for _, got in answers)

        assert codes.keys() <= {200, 503} and codes[200] >= 100
        assert all("retry-after" in got.headers for _, got in answers if got.status == 503)
        assert 400 == gateway.metric("isthmus_requests_total")


async def test_o03_retries_do_not_multiply_a_failure() -> None:
    """100 calls of an upstream that always fails: at most 130 attempts (a fifth more, and ten)."""
    async with between() as (gateway, one, _):
        one.always(status(500))
        answers = await asyncio.gather(*(ask(gateway, "one") for _ in range(100)))

        assert {502} == {got.status for _, got in answers}
        assert 100 < len(one.requests) <= 130
        assert len(one.requests) == gateway.metric("isthmus_attempts_total")


async def test_o04_an_upstream_that_fails_is_left_alone_and_found_again() -> None:
    """After 50 failures answers come at once and few calls reach it; once it works, one probe and all is well."""
    async with between(breaker="{failures: 5, within: 30s, cool: 500ms}") as (gateway, one, _):
        one.always(RESET)
        for _ in range(50):
            await ask(gateway, "one")
        reached = len(one.requests)
        took, refused = min([await ask(gateway, "one") for _ in range(5)], key=lambda asked: asked[0])
        ready = await gateway.get("/readyz")
        state = gateway.metric("isthmus_breaker_state", provider="one", model="m")
        one.always(CHAT.whole())
        await asyncio.sleep(0.6)
        codes = [(await ask(gateway, "one"))[1].status for _ in range(3)]

        assert (503, "circuit_open") == (refused.status, refused.json["error"]["code"]) and took < 0.02
        assert int(refused.headers["retry-after"]) >= 1 and reached <= 10
        assert ({"one/m"}, 2.0) == (set(ready.json["degraded_parts"]), state)
        assert [200, 200, 200] == codes
        assert 0.0 == gateway.metric("isthmus_breaker_state", provider="one", model="m")


async def test_o06_callers_invent_no_metric() -> None:
    """300 models, paths, keys and methods, all different: hardly a new line, and no text of theirs."""
    async with between() as (gateway, one, _):
        one.always(CHAT.whole())
        await ask(gateway, "one")
        before = gateway.metrics_text().count("\n")
        for number in range(300):
            headers = {"authorization": f"Bearer invented-{number}", "x-request-id": f"invented-{number}"}
            await gateway.post(CHAT.path(), CHAT.body() | {"model": f"invented-{number}"}, headers=headers)
            await gateway.post(f"/invented/{number}", b"{}")
            if number < 30:
                async with gateway.session.request(f"INVENTED{number}", gateway.url + CHAT.path()) as got:
                    await got.read()
            await gateway.post(CHAT.path(), CHAT.body() | {"model": "one", f"invented-{number}": 1}, headers=headers)
        began = time.monotonic()
        page = gateway.metrics_text()

        assert time.monotonic() - began < 0.2 and len(page) < 1_000_000
        assert page.count("\n") - before < 200 and "nvented" not in page.lower()


async def test_o08_connections_without_a_request(tmp_path: Path) -> None:
    """500 connects, half-closes and resets: alive, and every descriptor is given back."""
    async with between() as (gateway, _, _):
        await ask(gateway, "two")
        tasks = len(asyncio.all_tasks())
        for number in range(500):
            plug = socket.socket()
            plug.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", gateway.port))
            if number % 3 == 1:
                plug.send(b"POST /v1/chat/comp")
                plug.shutdown(socket.SHUT_WR)
            elif number % 3 == 2:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            plug.close()
        took, got = await ask(gateway, "two")
        await asyncio.sleep(0.3)

        assert 200 == got.status and took < 1.0
        assert len(asyncio.all_tasks()) <= tasks + 2


# ── a process of its own ───────────────────────────────────────────────────────────────


class Served:
    """A gateway process: its address, its operators' address, and what the system says of it."""

    def __init__(self, process: Process, main: str, admin: str, file: Path) -> None:
        self.process, self.main, self.admin, self.file = process, main, admin, file
        self.port = int(main.rpartition(":")[2])

    @property
    def memory(self) -> float:
        """Resident, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        assert found is not None
        return int(found[1]) / 1024

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.asynccontextmanager
async def serving(table: str, folder: Path, stdout: Any = subprocess.DEVNULL) -> AsyncIterator[Served]:
    """`python -m router serve`, until the block ends."""
    file = folder / "routes.yaml"
    file.write_text(table.replace("admin: null", 'admin: "127.0.0.1:0"'))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve", "-c", str(file),
        stdout=stdout, stderr=asyncio.subprocess.PIPE, env={**os.environ, **KEYS},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        found = None
        while found is None and (line := (await asyncio.wait_for(process.stderr.readline(), 15)).decode()):
            found = re.fullmatch(r"isthmus: listening on (\S+) \(admin (\S+)\)\n", line)
        assert found is not None, "it did not start"
        yield Served(process, found[1], found[2], file)
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.communicate(), 10)  # to the end of what it says: then its pipes are closed


def table(upstream: FakeUpstream, **limits: str) -> str:
    text = TABLE.replace("    attempts: $attempts\n", "    breaker: null\n    attempts: $attempts\n")
    text = text.replace("$up", upstream.url).replace("$attempts", "1").replace("upstream_body: 256KiB, ", "")
    return text.replace("write_stall: 1s", limits.get("write_stall", "write_stall: 1s")).replace(
        "idle: 400ms", "idle: 3s"
    )


async def chat(session: aiohttp.ClientSession, served: Served, **more: Any) -> tuple[int, bytes]:
    async with session.post(served.main + CHAT.path(), json=CHAT.body(**more)) as got:
        return got.status, await got.read()


async def test_o07_mixed_requests_leave_nothing_behind(tmp_path: Path) -> None:
    """1,000 good and faulty ones after a warm-up: memory and descriptors as before."""
    replies: list[Any] = [
        CHAT.whole(), status(500), RESET, json_answer(b"{"), CHAT.whole().cut_body(9), status(429),
        CHAT.stream("a", "b"), sse(*CHAT.opening("a"), HANG_UP), answer(200, b"<html>"), CHAT.whole(), HANG_UP,
    ]  # fmt: skip
    async with (
        FakeUpstream() as upstream,
        serving(table(upstream), tmp_path) as served,
        aiohttp.ClientSession() as session,
    ):

        async def rounds(count: int) -> None:
            for number in range(count):
                upstream.always(replies[number % len(replies)])
                body: Any = CHAT.body(stream=number % 3 == 0)
                if number % 13 == 0:
                    body = {"model": 5}
                path = "/nowhere" if number % 17 == 0 else CHAT.path()
                async with session.post(served.main + path, json=body) as got:
                    with contextlib.suppress(aiohttp.ClientError):
                        await got.read()

        await rounds(300)
        memory, descriptors = served.memory, served.descriptors
        await rounds(1000)
        await asyncio.sleep(0.1)

        assert served.memory - memory < 30
        assert served.descriptors <= descriptors + 3


async def test_failed_calls_do_not_keep_their_bodies(tmp_path: Path) -> None:
    """A failure is let go at once, with the megabytes that it was about: twelve leave no more than one."""
    body = json.dumps(LANES[1].body("x" * 8_000_000)).encode()
    head = f"POST {CHAT.path()} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path) as served:
        upstream.always(status(500))
        sizes = []
        for _ in range(12):
            assert (await raw_request(served.port, head + body)).startswith(b"HTTP/1.1 502")
            sizes.append(served.memory)

    assert sizes[-1] - sizes[2] < 60, sizes


async def test_o10_a_log_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    """The pipe is full: calls go on, lines are dropped and counted."""
    reading, writing = os.pipe()
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path, stdout=writing) as served:
        os.close(writing)
        lane = LANES[1]
        upstream.always(lane.whole())
        body = lane.body() | {f"{number}-{'x' * 200}": 1 for number in range(400)}  # each a loss, and so a long line
        async with aiohttp.ClientSession() as session:
            slowest = 0.0
            for _ in range(80):
                began = time.monotonic()
                async with session.post(served.main + lane.path(), json=body) as got:
                    assert 200 == got.status
                slowest = max(slowest, time.monotonic() - began)
            async with session.get(served.admin + "/metrics") as got:
                page = await got.text()
        served.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(served.process.wait(), 5)
        os.close(reading)

    assert slowest < 1.0 and 0 == code
    dropped = re.search(r"^isthmus_log_lines_dropped_total (\S+)$", page, re.MULTILINE)
    assert dropped is not None and float(dropped[1]) > 0


async def test_s25_o05_30_who_do_not_read_hold_back_their_upstreams_only(tmp_path: Path) -> None:
    """Others are served, memory is bounded, and who takes nothing is dropped after the write limit."""
    size = 64 << 20
    fill = b"data: " + json.dumps(chat_chunk("y" * 1000)).encode() + b"\n\n"
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path) as served:
        upstream.always(flood(size, fill * 8, headers={"Content-Type": "text/event-stream"}, framing="chunked"))
        memory = served.memory
        body = json.dumps(CHAT.body(stream=True)).encode()
        head = f"POST {CHAT.path()} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        plugs = []
        for _ in range(30):
            plug = socket.socket()
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plug.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", served.port))
            plug.send(head + body)
            plugs.append(plug)
        await asyncio.sleep(0.5)
        grown = served.memory - memory
        async with aiohttp.ClientSession() as session:
            waits = []
            for _ in range(3):
                began = time.monotonic()
                async with session.get(served.main + "/healthz") as got:
                    assert 200 == got.status
                waits.append(time.monotonic() - began)
            for connection in upstream.connections:
                await connection.left(within=4)
            async with session.get(served.admin + "/metrics") as got:
                page = await got.text()
        for plug in plugs:
            plug.close()

    assert grown < 120 and min(waits) < 0.5  # the upstream that floods shares a process with who asks
    assert max(connection.sent for connection in upstream.connections) < 16 << 20
    assert re.search(r'isthmus_stream_end_total{.*reason="limit".*} 30\.0', page)


async def test_c04_reloads_and_bad_reloads_under_load_fail_nobody(tmp_path: Path) -> None:
    """Ten SIGHUPs, every other one with a bad file, while calls and streams run: each of them ends well."""
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path) as served:
        upstream.always(CHAT.stream(*(f"w{number} " for number in range(5)), every=0.05))
        good = served.file.read_text()
        async with aiohttp.ClientSession() as session:
            streams = [asyncio.create_task(chat(session, served, stream=True)) for _ in range(40)]
            for number in range(10):
                served.file.write_text("routes: [" if number % 2 else good)
                served.process.send_signal(signal.SIGHUP)
                streams += [asyncio.create_task(chat(session, served, stream=True)) for _ in range(5)]
                await asyncio.sleep(0.03)
            answers = await asyncio.gather(*streams)

        assert {200} == {code for code, _ in answers}
        assert all(CHAT.hear(body).complete for _, body in answers)
        assert served.process.returncode is None


async def test_l02_sigterm_under_load_loses_no_call_that_was_taken(tmp_path: Path) -> None:
    """Those under way end whole, later ones are refused; exit 0."""
    text = ""
    async with FakeUpstream() as upstream:
        text = table(upstream).replace("drain: 1s", "drain: 5s")
        async with serving(text, tmp_path) as served, aiohttp.ClientSession() as session:
            upstream.always(CHAT.stream(*(f"w{number} " for number in range(6)), every=0.1))
            streams = [asyncio.create_task(chat(session, served, stream=True)) for _ in range(40)]
            await upstream.asked(40, within=5)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            try:
                late = (await chat(session, served))[0]
            except aiohttp.ClientError:
                late = 503
            answers = await asyncio.gather(*streams)
            code = await asyncio.wait_for(served.process.wait(), 5)

    assert 0 == code and 503 == late
    assert all(code == 200 and CHAT.hear(body).complete for code, body in answers)


async def test_l07_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    """Within a second, though a stream would go on for ever; exit 0."""
    async with FakeUpstream() as upstream:
        upstream.always(sse(*CHAT.opening("a "), HANG))
        text = table(upstream).replace("drain: 1s", "drain: 30s")
        async with (
            serving(text, tmp_path) as served,
            aiohttp.ClientSession() as session,
            session.post(served.main + CHAT.path(), json=CHAT.body(stream=True)) as got,
        ):
            await got.content.readany()
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert served.process.returncode is None
            served.process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(served.process.wait(), 2)

    assert 0 == code


async def test_p04_the_operators_listener_is_as_sturdy(tmp_path: Path) -> None:
    """Bad HTTP, odd paths, bodies and methods there: 4xx, and the metrics are told afterwards."""
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path) as served:
        port = int(served.admin.rpartition(":")[2])
        attacks = [
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /%2e%2e/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"GET //metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01",
        ]
        codes = [(await raw_request(port, attack, within=12))[9:12] for attack in attacks[:-1]]
        async with aiohttp.ClientSession() as session, session.get(served.admin + "/metrics") as got:
            assert 200 == got.status and "isthmus_requests_total" in await got.text()

    assert all(code.startswith(b"4") for code in codes), codes


# ── U: what upstreams do ───────────────────────────────────────────────────────────────


async def one_answer(reply: Any, *, stream: bool = False, **more: Any) -> tuple[float, Answer, FakeUpstream]:
    async with between() as (gateway, one, _):
        one.always(reply)
        took, got = await ask(gateway, "one", **({"stream": True} if stream else {}), **more)
    return took, got, one


GOOD = chat_answer("Hi!")
USABLE = {
    "u17-no-type": json_answer(GOOD, headers={"Content-Type": None}),
    "u17-wrong-type": json_answer(GOOD, headers={"Content-Type": "text/plain"}),
    "u17-http-1.0": json_answer(GOOD, framing="close", version="HTTP/1.0"),
    "u17-interim": json_answer(GOOD).after(interim(100), interim(103)),
    "u18-gzip": json_answer(GOOD, gzip=True),
}
UNUSABLE = {
    "u18-corrupt-gzip": json_answer(b"\x1f\x8b\x08garbage", headers={"Content-Encoding": "gzip"}),
    "u25-long-header": json_answer(GOOD, headers={"X-Long": "a" * 300_000}),
    "u25-many": json_answer(GOOD, headers=[(f"X-{number}", "a") for number in range(5000)]),
    "u27-101": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "u27-999": raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "u21-file": redirect("file:///etc/passwd"),
    "u21-metadata": redirect("http://169.254.169.254/latest"),
}


@pytest.mark.parametrize("reply", USABLE.values(), ids=USABLE.keys())
async def test_u17_u18_unusual_and_usable(reply: Any) -> None:
    """200 with what was said."""
    _, got, _ = await one_answer(reply)

    assert 200 == got.status and "Hi!" == got.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("reply", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_u18_u21_u25_u27_unusable(reply: Any, stream: bool) -> None:
    """502 in the caller's dialect, one attempt, soon, nothing of it told."""
    took, got, one = await one_answer(reply, stream=stream)

    assert 502 == got.status and took < 2.0, got.body
    assert {"message", "type", "param", "code"} == got.json["error"].keys()
    assert 1 == len(one.requests)
    assert not any(name.startswith("x-long") for name in got.headers)


@pytest.mark.parametrize("odd", ["a\x01b", "a\tb", "caf\u00e9", "\x1b[31m"])
async def test_u25_odd_characters_in_a_header_are_not_told_on(odd: str) -> None:
    """Not even in a header that is."""
    _, got, _ = await one_answer(json_answer(GOOD, headers={"x-ratelimit-odd": odd, "x-ratelimit-limit": "7"}))

    assert "x-ratelimit-odd" not in got.headers
    assert 200 != got.status or "7" == got.headers["x-ratelimit-limit"]


async def test_u21_a_redirect_is_followed_nowhere() -> None:
    """Not to another upstream that would answer, not to itself."""
    async with between() as (gateway, one, two):
        for target in (two.url + "/v1/chat/completions", one.url + "/v1/chat/completions"):
            one.always(redirect(target))
            assert 502 == (await ask(gateway, "one"))[1].status

        assert 2 == len(one.requests) and [] == two.requests


@pytest.mark.parametrize("part", ["head", "body"])
async def test_u05_a_dripped_answer_ends_at_the_deadline(part: str) -> None:
    """Each byte is on time, the whole is not: the total holds."""
    slow = json_answer(chat_answer("x" * 200)).dripped(0.05)
    if part == "body":
        whole = json_answer(chat_answer("x" * 200)).data().partition(b"\r\n\r\n")
        slow = json_answer(GOOD).cut(0)
        slow = raw(whole[0] + whole[1]).cut(len(whole[0]) + 4, *json_answer(whole[2]).dripped(0.05).steps)
    async with between() as (gateway, one, _):
        one.always(slow)
        began = time.monotonic()
        got = await gateway.post(CHAT.path(), {**CHAT.body(), "model": "one"}, headers={"x-isthmus-timeout": "600ms"})
        took = time.monotonic() - began

    assert 504 == got.status and 0.5 < took < 1.6


async def test_u19_a_compressed_bomb_of_an_upstream(tmp_path: Path) -> None:
    """502 at the limit; memory and others do not suffer."""
    async with FakeUpstream() as upstream, serving(table(upstream), tmp_path) as served:
        upstream.always(gzip_bomb(512 << 20, start=b"{"))
        async with aiohttp.ClientSession() as session:
            memory = served.memory
            code, body = await chat(session, served)
            grown = served.memory - memory

    assert 502 == code and b"upstream_invalid_response" in body
    assert grown < 150


async def test_u23_bytes_after_an_answer_belong_to_nobody() -> None:
    """The next caller gets its own answer, five times over."""
    async with between() as (gateway, one, _):
        stray = json_answer(chat_answer("STRAY")).data()
        for number in range(5):
            one.script(json_answer(chat_answer(f"own {number}")).then(Write(stray)))
            got = (await ask(gateway, "one"))[1]

            assert f"own {number}" == got.json["choices"][0]["message"]["content"]
            await asyncio.sleep(0.02)


async def test_u26_a_refusal_while_we_still_send() -> None:
    """413 before the body was taken: the caller is told that."""
    async with between() as (gateway, one, _):
        one.always(
            status(413, openai_error("too large for us"), headers={"Connection": "close"}).at_once().then(HANG_UP)
        )
        body = json.dumps({"model": "one", "messages": [{"role": "user", "content": "x" * 3_000_000}]}).encode()
        head = f"POST {CHAT.path()} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        got = await raw_request(gateway.port, head + body)

    assert got.startswith(b"HTTP/1.1 413"), got[:300]
    assert b"too large for us" in got


@pytest.mark.parametrize("held", [[], ["role"], ["role", "empty"]], ids=["head", "role", "empty-text"])
async def test_s27_a_stall_before_the_first_word_falls_back(held: list[str]) -> None:
    """The second target is asked within the deadline, and nothing of the first is mixed into its answer."""
    table = TWO.replace("models:\n", "models:\n  both: [{provider: one, model: m}, {provider: two, model: m}]\n")
    table = table.replace("first_byte: 2s, idle: 5s", "first_byte: 400ms, idle: 400ms")
    opening = {"role": chat_chunk(role="assistant"), "empty": chat_chunk("")}
    async with FakeUpstream() as one, FakeUpstream() as two:
        one.always(sse(*[opening[name] for name in held], HANG))
        two.always(CHAT.stream("from ", "two"))
        names = {"one": one.url, "two": two.url, "concurrency": 100, "breaker": "null", "limits": "queue: 0"}
        async with running(table, **names) as gateway:
            began = time.monotonic()
            got = await gateway.post(CHAT.path(), {"model": "both", "messages": HI, "stream": True})
            took = time.monotonic() - began
            heard = CHAT.hear(got.body)

            assert (200, "from two", True) == (got.status, heard.text, heard.complete)
            assert "two" == got.headers["x-isthmus-provider"]
            assert took < 20  # `within`
            assert (1, 1) == (len(one.requests), len(two.requests))
            await asyncio.sleep(0.3)
            assert [] == [connection for connection in one.connections if connection.closed_at is None]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_l09_a_clock_that_jumps_moves_no_timeout(jump: float) -> None:
    """By an hour, while a call waits: it ends at its limit; only what a token says of time is judged anew."""
    secret = "a-secret-of-more-than-thirty-two-bytes"
    table = TWO.replace("first_byte: 2s", "first_byte: 500ms").replace("attempts: 3", "attempts: 1")
    table += f'\naccess: {{jwt: {{secret: env:JWT, audience: a}}, keys: [{{name: k, hash: "sha256:{KEY_HASH}"}}]}}\n'
    now = int(time.time())
    early, later = [
        jwt.encode({"sub": who, "aud": "a", "iat": now, "nbf": now - 5, "exp": now + 600}, secret, "HS256")
        for who in ("early", "later")  # what a token says is remembered: one that was not seen before is judged anew
    ]
    async with FakeUpstream() as one, FakeUpstream() as two:
        one.always(HANG)
        two.always(CHAT.whole())
        names = {"one": one.url, "two": two.url, "concurrency": 100, "breaker": "null", "limits": "queue: 0"}
        async with running(table, {"JWT": secret}, **names) as gateway:

            async def call(model: str, credential: str) -> int:
                headers = {"authorization": f"Bearer {credential}"}
                got = await gateway.post(CHAT.path(), {"model": model, "messages": HI}, headers=headers)
                return got.status

            before = await call("two", early)
            began = time.monotonic()
            waiting = asyncio.create_task(call("one", "team-key"))
            await one.asked(1, within=5)
            gateway.life.gateway.wall = lambda: time.time() + jump
            late = await waiting
            took = time.monotonic() - began

            assert (200, 504) == (before, late) and took < 1.5 + 0.5
            assert (401, 200) == (await call("two", later), await call("two", "team-key"))


async def test_a_caller_is_not_cut_off_for_the_lateness_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that came in time is read, though the loop was held up for longer than heads may take."""
    made = Protocol.connection_made

    def held_up(self: Protocol, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        time.sleep(0.5)  # something else blocks the loop before this connection is looked at

    monkeypatch.setattr(Protocol, "connection_made", held_up)
    table = TWO.replace("limits: {", "limits: {head: 300ms, ")
    body = b'{"model":"two","messages":[{"role":"user","content":"x"}]}'
    lines = ("POST /v1/chat/completions HTTP/1.1", "Host: g", "Content-Type: application/json")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()
    async with FakeUpstream() as two:
        two.always(CHAT.whole())
        async with running(
            table, one=two.url, two=two.url, concurrency=9, breaker="null", limits="queue: 0"
        ) as gateway:
            got = await raw_request(gateway.port, head + body)

    assert got.startswith(b"HTTP/1.1 200")
