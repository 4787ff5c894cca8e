"""The process: start, serve, reload, drain, stop; run as operators run it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes import HANG, FakeUpstream, sse
from tests.lanes import KEYS, LANES, TABLE
from tests.running import running

DEMO = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 2s}
providers: {demo: {}}
models: {demo: [{provider: demo, model: isthmus-demo}]}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""
HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}


class Served:
    def __init__(self, process: Process, main: str, admin: str | None) -> None:
        self.process, self.main, self.admin = process, main, admin


@contextlib.asynccontextmanager
async def serving(table: str, folder: Path, *, out: Any = None, **environ: str) -> AsyncIterator[Served]:
    """`python -m router serve` with this table, until the block ends. Its log goes to `out`, if anywhere."""
    (folder / "routes.yaml").write_text(table)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve", "-c", str(folder / "routes.yaml"),
        stdout=out or asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, **environ},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while line := (await asyncio.wait_for(process.stderr.readline(), 15)).decode():
            found = re.fullmatch(r"isthmus: listening on (\S+)(?: \(admin (\S+)\))?\n", line)
            if found:
                yield Served(process, found[1], found[2])
                break
        else:
            raise AssertionError("it did not start")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_l01_l04_it_starts_answers_and_stops(tmp_path: Path) -> None:
    """Health, readiness, metrics and a call; SIGTERM with an idle kept connection ends it, exit 0 (L01, L04)."""
    async with serving(DEMO, tmp_path) as served, aiohttp.ClientSession() as session:
        async with session.post(served.main + "/v1/chat/completions", json=HELLO) as answer:
            body = await answer.json()
        seen = {}
        for base in (served.main, served.admin):
            for path in ("/healthz", "/readyz"):
                async with session.get(f"{base}{path}") as answer:
                    seen[base, path] = answer.status
        async with session.get(f"{served.admin}/metrics") as answer:
            metrics = await answer.text()
        async with session.get(served.main + "/metrics") as answer:
            public = answer.status
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(served.process.wait(), 3)

        assert "Hello!" in body["choices"][0]["message"]["content"]
        assert {200} == set(seen.values()) and 404 == public
        assert "isthmus_requests_total{" in metrics and "isthmus_config_generation 1.0" in metrics
        assert 0 == code and time.monotonic() - began < 1.5


async def test_l06_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    """Exit not 0, the port named, no traceback (L06)."""
    async with serving(DEMO, tmp_path) as served:
        port = served.main.rpartition(":")[2]
        other = tmp_path / "other"
        other.mkdir()
        (other / "routes.yaml").write_text(DEMO.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "serve", "-c", str(other / "routes.yaml"),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await asyncio.wait_for(process.communicate(), 10)

        assert 0 != process.returncode
        assert port in errors.decode() and "Traceback" not in errors.decode()


async def test_sighup_takes_a_good_table_and_leaves_a_bad_one(tmp_path: Path) -> None:
    """The new alias works at once; a broken file changes nothing, and metrics and readiness say so."""
    async with serving(DEMO, tmp_path) as served, aiohttp.ClientSession() as session:

        async def ask(model: str) -> int:
            async with session.post(served.main + "/v1/chat/completions", json=HELLO | {"model": model}) as answer:
                return answer.status

        async def scraped() -> str:
            async with session.get(f"{served.admin}/metrics") as answer:
                return await answer.text()

        before = await ask("second")
        (tmp_path / "routes.yaml").write_text(
            DEMO.replace("models: {demo:", "models: {second: [{provider: demo, model: b}], demo:")
        )
        served.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.6)
        good = await ask("second"), await scraped()
        (tmp_path / "routes.yaml").write_text("routes: [")
        served.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.6)
        bad = await ask("second"), await scraped()
        async with session.get(f"{served.admin}/readyz") as answer:
            ready = await answer.json()

        assert (404, 200, 200) == (before, good[0], bad[0])
        assert "isthmus_config_generation 2.0" in good[1] and "isthmus_config_last_reload_success 1.0" in good[1]
        assert "isthmus_config_generation 2.0" in bad[1] and "isthmus_config_last_reload_success 0.0" in bad[1]
        assert (2, False) == (ready["config_generation"], ready["last_reload"]["ok"])


@pytest.mark.parametrize("endless", [False, True], ids=["l02-ends", "l03-endless"])
async def test_l02_l03_sigterm_lets_streams_end(endless: bool, tmp_path: Path) -> None:
    """A stream under way ends whole; one without end gets an error event at the drain limit; exit 0 either way."""
    lane = LANES[0]
    async with FakeUpstream() as upstream:
        events = [*lane.opening("a "), HANG] if endless else lane.events(*(f"w{i} " for i in range(10)))
        upstream.script(sse(*events, every=0.0 if endless else 0.1))
        table = TABLE.replace("$up", upstream.url).replace("$attempts", "1").replace("idle: 400ms", "idle: 30s")
        table = table.replace("total: 5s", "total: 60s").replace("drain: 1s", "drain: 1s" if endless else "drain: 4s")
        async with serving(table, tmp_path, **KEYS) as served, aiohttp.ClientSession() as session:
            async with session.post(served.main + lane.path(), json=lane.body(stream=True)) as answer:
                first = await answer.content.readany()
                served.process.send_signal(signal.SIGTERM)
                rest = await answer.read()
            code = await asyncio.wait_for(served.process.wait(), 5)
        got = lane.hear(first + rest)

    assert 0 == code
    if endless:
        assert "a " == got.text and got.error is not None and got.finish is None
    else:
        assert got.complete and "w9 " == got.text[-3:]


async def test_o09_nothing_holds_up_the_loop(tmp_path: Path) -> None:
    """Large bodies, names that nobody knows and a log that nobody reads do not make timers late by over 100 ms.

    What blocks the loop does so each time; a busy machine does not.
    """
    table = DEMO.replace(
        "providers: {demo: {}}",
        'providers: {demo: {}, gone: {base_url: "https://gone.invalid/v1", speaks: [openai.chat], auth: none}}',
    ).replace("models: {", "models: {gone: [{provider: gone, model: m}], ")
    large = {"model": "demo", "messages": [{"role": "user", "content": "many words " * 120_000}]}
    lost = HELLO | {"model": "gone"}
    kind = {"content-type": "application/json"}
    late: list[float] = []
    async with serving(table, tmp_path, out=asyncio.subprocess.PIPE) as served, aiohttp.ClientSession() as session:

        async def ask(body: Any) -> int:
            data = BytesIO(json.dumps(body).encode())
            async with session.post(served.main + "/v1/chat/completions", data=data, headers=kind) as answer:
                await answer.read()
                return answer.status

        async def lags() -> tuple[float, float]:
            """Timers that were looked at, and those that were over 100 ms late."""
            async with session.get(f"{served.admin}/metrics") as answer:
                page = await answer.text()
            count, timely = (
                float(re.search(rf"^isthmus_loop_lag_seconds_{name} (\S+)$", page, re.MULTILINE)[1])  # type: ignore[index]
                for name in ("count", r'bucket\{le="0\.1"\}')
            )
            return count, count - timely

        for _ in range(8):
            before = await lags()
            statuses = set(await asyncio.gather(*map(ask, (large, large, lost, HELLO))))
            await asyncio.sleep(0.25)  # timers are looked at ten times a second
            after = await lags()
            assert 200 in statuses <= {200, 502, 503} and after[0] > before[0]
            late.append(after[1] - before[1])

    assert late.count(0) >= 3, late


async def test_a_drip_of_a_head_is_cut(tmp_path: Path) -> None:
    """A connection that does not send its head in time is closed; others are served meanwhile (H03)."""
    table = DEMO.replace("drain: 2s", "drain: 2s, limits: {head: 300ms}")
    async with serving(table, tmp_path) as served, aiohttp.ClientSession() as session:
        port = int(served.main.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
        began = time.monotonic()
        async with session.post(served.main + "/v1/chat/completions", json=HELLO) as answer:
            assert 200 == answer.status
        assert b"" == await asyncio.wait_for(reader.read(), 2)
        assert time.monotonic() - began < 1.5
        writer.close()


# ── beside a route ─────────────────────────────────────────────────────────────────────

BESIDE = """
access: {keys: [{name: team, hash: "sha256:$hash", models: ["d*"]}]}
providers: {demo: {}}
models: {demo: [{provider: demo, model: isthmus-demo}], other: [{provider: demo, model: isthmus-demo}]}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
"""
TEAM = {"authorization": "Bearer team-key"}


async def test_what_clients_ask_beside_their_route() -> None:
    """Models that this caller may name, in the form of the route's clients; errors in it, too; each call is told."""
    async with running(BESIDE, hash=sha256(b"team-key").hexdigest()) as gateway:
        listed = await gateway.get("/ollama/api/tags", headers=TEAM)
        shown = await gateway.post("/ollama/api/show", {"model": "demo"}, headers=TEAM)
        hidden = await gateway.post("/ollama/api/show", {"model": "other"}, headers=TEAM)
        broken = await gateway.post("/ollama/api/show", b"{", headers=TEAM)
        stranger = await gateway.post("/ollama/api/show", {"model": "demo"})
        elsewhere = await gateway.get("/other/api/tags", headers=TEAM)
        version = await gateway.get("/ollama/api/version", headers=TEAM)
        lines = await gateway.lines()

    assert ["demo"] == [model["name"] for model in listed.json["models"]]
    assert (200, "demo") == (shown.status, shown.json["model_info"]["general.basename"])
    assert [404, 400, 401, 404, 200] == [one.status for one in (hidden, broken, stranger, elsewhere, version)]
    assert ["model_not_found", "invalid_request", "invalid_token"] == [
        one.json["code"] for one in (hidden, broken, stranger)
    ]
    assert 7 == len(lines)


async def test_json_lines_have_no_heartbeats_and_their_own_type() -> None:
    """A stream that is not SSE is what the dialect says, to its last line."""
    async with running(BESIDE, hash=sha256(b"team-key").hexdigest()) as gateway:
        hello = {"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}
        answer = await gateway.post("/ollama/api/chat", hello, headers=TEAM)
        lines = [json.loads(line) for line in answer.body.splitlines()]

    assert (200, "application/x-ndjson") == (answer.status, answer.headers["content-type"])
    assert "You said: Hello!" in "".join(line["message"]["content"] for line in lines)
    assert [False] * (len(lines) - 1) + [True] == [line["done"] for line in lines]
