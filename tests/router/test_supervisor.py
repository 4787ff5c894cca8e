"""Several processes on one port, run as operators run them: real workers, signals, kills, scrapes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from providers.dialects.gemini.contents import DUMMY_SIGNATURE
from tests.answers import chat_answer, chat_chunk, gemini_answer
from tests.fakes import DONE, HANG, FakeUpstream, json_answer, sse, status
from tests.router.test_lifecycle import replace
from tests.router.test_server import DEMO, HELLO, Served, serving

TWO = DEMO.replace("drain: 2s", "drain: 2s, workers: 2")
SECOND = TWO.replace("models: {demo:", "models: {second: [{provider: demo, model: b}], demo:")
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked at in /proc")
UP = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 4s, workers: 2}
providers: {up: {base_url: "$up/v1", speaks: [openai.chat], auth: none}}
models: {demo: [{provider: up, model: m}]}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
"""
STREAM = HELLO | {"stream": True}


def workers(served: Served) -> list[int]:
    """Processes that the supervisor has now."""
    pid = served.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Does it run, or at least not count as ended?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def owner(pids: list[int], port: int) -> int:
    """Which process has the connection that a client made from this port."""
    wanted = f":{port:04X}"
    inodes = [
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[2].endswith(wanted)
    ]
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(entry) in [f"socket:[{inode}]" for inode in inodes]:
                    return pid
    raise AssertionError("nobody has it")


@contextlib.asynccontextmanager
async def callers() -> AsyncIterator[aiohttp.ClientSession]:
    """A session that makes a connection for each call, so that all workers get some."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        yield session


async def ask(session: aiohttp.ClientSession, served: Served, model: str = "demo", **headers: str) -> int:
    url = f"{served.main}/v1/chat/completions"
    async with session.post(url, json=HELLO | {"model": model}, headers=headers) as answer:
        await answer.read()
        return answer.status


async def several(session: aiohttp.ClientSession, served: Served, count: int, model: str = "demo") -> Counter[int]:
    """Statuses of so many calls."""
    return Counter([await ask(session, served, model) for _ in range(count)])


async def scraped(session: aiohttp.ClientSession, served: Served) -> dict[tuple[str, str], tuple[str, float]]:
    """Every sample, by name and labels, with the type of its family."""
    async with session.get(f"{served.admin}/metrics") as answer:
        text = await answer.text()
        assert 200 == answer.status
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): (family.type, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: dict[tuple[str, str], tuple[str, float]], name: str, **labels: str) -> float:
    found = [
        value for (of, said), (_, value) in samples.items() if of == name and labels.items() <= json.loads(said).items()
    ]
    return sum(found)


async def readiness(session: aiohttp.ClientSession, address: str | None) -> tuple[int, Any]:
    async with session.get(f"{address}/readyz") as answer:
        return answer.status, await answer.json()


async def until(there: Callable[[], bool], within: float = 5.0) -> float:
    """Waits until something is so. Gives how long it took."""
    began = time.monotonic()
    while not there():
        assert time.monotonic() < began + within
        await asyncio.sleep(0.02)
    return time.monotonic() - began


# ── serving ────────────────────────────────────────────────────────────────────────────────────


async def test_workers_share_the_port_and_are_seen_as_one(tmp_path: Path) -> None:
    """Each serves some of the calls; the page of metrics is the sum over all, and as high as what was sent."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(json_answer(chat_answer("Hi")))
        async with serving(UP.replace("$up", upstream.url), tmp_path) as served:
            seen = await several(session, served, 40)
            pages = [await scraped(session, served) for _ in range(5)]
            ready = [await readiness(session, address) for address in (served.main, served.admin)]

            assert 2 == len(workers(served)) == len(upstream.connections)  # each keeps one connection to it
    assert {200: 40} == seen
    assert [40.0] * 5 == [total(page, "isthmus_requests_total", outcome="ok") for page in pages]
    assert [40.0] * 5 == [total(page, "http_server_request_duration_seconds_count") for page in pages]
    assert [(2.0, 1.0, 0.0)] * 5 == [
        (total(page, "isthmus_workers"), total(page, "isthmus_config_generation"), total(page, "isthmus_inflight"))
        for page in pages
    ]
    assert [(200, "ready", False)] * 2 == [(code, body["status"], body["degraded"]) for code, body in ready]


async def test_one_worker_is_one_process(tmp_path: Path) -> None:
    """Nobody stands above it, and what only several processes need is not loaded."""
    (tmp_path / "routes.yaml").write_text(DEMO)
    program = (
        "import sys, atexit; from router.__main__ import main; "
        "atexit.register(lambda: print('router.supervisor' in sys.modules)); main(['serve', '-c', sys.argv[1]])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path / "routes.yaml")),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readline(), 15)
    children = workers(Served(process, "", None))
    process.terminate()
    out, _ = await asyncio.wait_for(process.communicate(), 10)

    assert ([], b"False") == (children, out.splitlines()[-1])


async def test_the_command_line_says_how_many(tmp_path: Path) -> None:
    """`--workers` stands in the place of the file's number, after a reload, too; what it means is said at the start."""
    path = tmp_path / "routes.yaml"
    path.write_text(DEMO)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve", "-c", str(path), "--workers", "2",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.readline(), 15)
        line = (await asyncio.wait_for(process.stderr.readline(), 15)).decode()
        found = re.fullmatch(r"isthmus: listening on (\S+) \(admin (\S+)\)\n", line)
        assert found is not None
        served = Served(process, found[1], found[2])
        async with callers() as session:
            replace(path, SECOND)
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(1)

            assert {200: 20} == await several(session, served, 20, "second")
            assert 2 == len(workers(served))
    finally:
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 10)
    assert 0 == code
    assert b"each enforces 1/2 of every limit" in said


async def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    """Two of them do not end up on one port, though workers share theirs (L06)."""
    async with serving(TWO, tmp_path) as served:
        other = tmp_path / "other"
        other.mkdir()
        (other / "routes.yaml").write_text(TWO.replace("127.0.0.1:0", served.main.removeprefix("http://"), 1))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "serve", "-c", str(other / "routes.yaml"),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await asyncio.wait_for(process.communicate(), 10)

    assert 1 == process.returncode
    assert f"isthmus: cannot listen on {served.main.removeprefix('http://')}: Address already in use" in errors.decode()


async def test_the_supervisor_rests(tmp_path: Path) -> None:
    """While nothing happens it takes next to no time: under 1 % of a core."""
    async with serving(TWO, tmp_path) as served:

        def used() -> int:
            fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        await asyncio.sleep(0.5)
        before = used()
        await asyncio.sleep(3)

        assert used() - before <= 3 * os.sysconf("SC_CLK_TCK") / 100


# ── ending ─────────────────────────────────────────────────────────────────────────────────────


async def test_l08_a_worker_that_is_killed_under_traffic(tmp_path: Path) -> None:
    """Replaced in under 2 s; streams of the others end whole; no counter goes back, and no gauge counts the dead."""
    async with FakeUpstream() as upstream, callers() as session:
        words = sse(*(chat_chunk(f"w{i} ") for i in range(30)), chat_chunk(finish="stop"), DONE, every=0.1)
        upstream.always(lambda request: words if b'"stream"' in request.body else json_answer(chat_answer("Hi")))
        async with serving(UP.replace("$up", upstream.url), tmp_path) as served:
            url = f"{served.main}/v1/chat/completions"
            first = workers(served)

            async def streamed() -> tuple[int, bool]:
                async with session.post(url, json=STREAM) as answer:
                    assert answer.connection is not None and answer.connection.transport is not None
                    whose = owner(first, answer.connection.transport.get_extra_info("sockname")[1])
                    try:
                        text = await answer.read()
                    except aiohttp.ClientError:
                        return whose, False
                    return whose, text.endswith(b"data: [DONE]\n\n")

            streams = [asyncio.create_task(streamed()) for _ in range(16)]
            statuses: list[int | str] = []
            pages: list[dict[tuple[str, str], tuple[str, float]]] = []
            over = False

            async def asking() -> None:
                while not over:
                    try:
                        statuses.append(await ask(session, served))
                    except aiohttp.ClientError as error:
                        statuses.append(type(error).__name__)
                    await asyncio.sleep(0.01)

            async def scraping() -> None:
                while not over:
                    with contextlib.suppress(aiohttp.ClientError):  # it may have asked the one that was killed
                        pages.append(await scraped(session, served))
                    await asyncio.sleep(0.05)

            beside = [asyncio.create_task(asking()) for _ in range(2)] + [asyncio.create_task(scraping())]
            await upstream.asked(16, within=10)
            await asyncio.sleep(1.2)
            under_way = total(await scraped(session, served), "isthmus_inflight")
            os.kill(first[0], signal.SIGKILL)
            took = await until(lambda: len([pid for pid in workers(served) if alive(pid)]) == 2)
            await until(lambda: bool(pages) and total(pages[-1], "isthmus_workers") == 2.0, 2 - took)
            ended = await asyncio.gather(*streams)
            over = True
            await asyncio.gather(*beside)
            last = await scraped(session, served)
            whole = {pid: {is_whole for whose, is_whole in ended if whose == pid} for pid in first}

            assert first[0] not in workers(served) and first[1] in workers(served)
    assert {first[0]: {False}, first[1]: {True}} == whole
    assert 16 <= under_way <= 19
    assert 0 < len(statuses) and statuses.count(200) >= len(statuses) - 3  # those that the dead one had just then
    for before, after in zip(pages, [*pages[1:], last], strict=True):
        for key, (kind, value) in before.items():
            if kind in ("counter", "histogram"):
                assert value <= after[key][1], key
    assert (0.0, 1.0) == (total(last, "isthmus_inflight"), total(last, "isthmus_worker_restarts_total"))
    answered = statuses.count(200) + sum(is_whole for _, is_whole in ended)
    lost = answered - total(last, "isthmus_requests_total", outcome="ok")
    assert -3 <= lost <= 120  # what the dead one had counted since it told of it last


async def test_sigterm_lets_the_streams_of_all_end(tmp_path: Path) -> None:
    """Streams under way end whole in every worker, new calls are refused meanwhile; exit 0, nobody left (L02)."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(sse(*(chat_chunk(f"w{i} ") for i in range(12)), chat_chunk(finish="stop"), DONE, every=0.1))
        async with serving(UP.replace("$up", upstream.url), tmp_path) as served:
            pids = workers(served)

            async def streamed() -> bool:
                async with session.post(f"{served.main}/v1/chat/completions", json=STREAM) as answer:
                    return (await answer.read()).endswith(b"data: [DONE]\n\n")

            streams = [asyncio.create_task(streamed()) for _ in range(12)]
            await upstream.asked(12, within=10)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            refused = await ask(session, served), (await readiness(session, served.main))[0]
            whole = await asyncio.gather(*streams)
            code = await asyncio.wait_for(served.process.wait(), 5)

    assert (503, 503) == refused
    assert ([True] * 12, 0) == (whole, code)
    assert [] == [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize("again", [False, True], ids=["l03-limit", "l07-second-signal"])
async def test_sigterm_in_endless_streams(again: bool, tmp_path: Path) -> None:
    """They get an error event at the drain limit, or at once after a second signal; exit 0."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(sse(chat_chunk("a "), HANG))
        table = UP.replace("$up", upstream.url).replace("drain: 4s", "drain: 30s" if again else "drain: 1s")
        async with serving(table, tmp_path) as served:

            async def streamed() -> bytes:
                async with session.post(f"{served.main}/v1/chat/completions", json=STREAM) as answer:
                    return await answer.read()

            streams = [asyncio.create_task(streamed()) for _ in range(8)]
            await upstream.asked(8, within=10)
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            if again:
                await asyncio.sleep(0.2)
                served.process.send_signal(signal.SIGTERM)
            texts = await asyncio.gather(*streams)
            code = await asyncio.wait_for(served.process.wait(), 5)
            took = time.monotonic() - began

    assert 0 == code
    assert all(b'"error"' in text for text in texts)
    assert took < (1.5 if again else 3)


async def test_nobody_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """Workers stop listening at once, end what they have, and go; another gateway can have the port."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(sse(*(chat_chunk(f"w{i} ") for i in range(10)), chat_chunk(finish="stop"), DONE, every=0.1))
        async with serving(UP.replace("$up", upstream.url), tmp_path) as served:
            pids = workers(served)

            async def streamed() -> bool:
                async with session.post(f"{served.main}/v1/chat/completions", json=STREAM) as answer:
                    return (await answer.read()).endswith(b"data: [DONE]\n\n")

            streams = [asyncio.create_task(streamed()) for _ in range(8)]
            await upstream.asked(8, within=10)
            served.process.kill()
            await asyncio.sleep(0.3)
            with pytest.raises(aiohttp.ClientConnectorError):
                await ask(session, served)
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("127.0.0.1", int(served.main.rpartition(":")[2])))
                other.listen()
            whole = await asyncio.gather(*streams)
            await until(lambda: not any(alive(pid) for pid in pids))

    assert [True] * 8 == whole


async def test_a_worker_that_is_told_to_leaves_the_calls_to_the_others(tmp_path: Path) -> None:
    """SIGTERM to one: no call fails, its stream ends whole, and another takes its place."""
    async with FakeUpstream() as upstream, callers() as session:
        words = sse(*(chat_chunk(f"w{i} ") for i in range(10)), chat_chunk(finish="stop"), DONE, every=0.1)
        upstream.always(lambda request: words if b'"stream"' in request.body else json_answer(chat_answer("Hi")))
        async with serving(UP.replace("$up", upstream.url), tmp_path) as served:

            async def streamed() -> bool:
                async with session.post(f"{served.main}/v1/chat/completions", json=STREAM) as answer:
                    return (await answer.read()).endswith(b"data: [DONE]\n\n")

            first = workers(served)
            streams = [asyncio.create_task(streamed()) for _ in range(8)]
            await upstream.asked(8, within=10)
            os.kill(first[0], signal.SIGTERM)
            await asyncio.sleep(0.1)
            seen = await several(session, served, 20)
            whole = await asyncio.gather(*streams)
            await until(lambda: first[0] not in workers(served) and len(workers(served)) == 2)
            seen += await several(session, served, 20)

            assert 1.0 == total(await scraped(session, served), "isthmus_worker_restarts_total")
    assert ({200: 40}, [True] * 8) == (seen, whole)


async def test_a_worker_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """Its numbers are shown as it told them last; it is killed when it does not end in time, and the exit code is 1."""
    async with serving(TWO.replace("drain: 2s", "drain: 500ms"), tmp_path) as served, callers() as session:
        await several(session, served, 20)
        await asyncio.sleep(1.5)
        pids = workers(served)
        os.kill(pids[0], signal.SIGSTOP)
        page = None
        while page is None:
            with contextlib.suppress(TimeoutError):  # it may be asked itself
                page = await asyncio.wait_for(scraped(session, served), 2)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(served.process.wait(), 10)
        took = time.monotonic() - began

    assert (20.0, 2.0) == (total(page, "isthmus_requests_total", outcome="ok"), total(page, "isthmus_workers"))
    assert 1 == code and took < 6
    assert [] == [pid for pid in pids if alive(pid)]


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """One that says nothing for long, here for a second and a half, is killed; the others are left alone."""
    (tmp_path / "routes.yaml").write_text(TWO)
    code = "import router.supervisor as it, router.__main__ as cli; it.SILENT = 1.5; cli.main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "serve", "-c", str(tmp_path / "routes.yaml"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while not (line := await asyncio.wait_for(process.stderr.readline(), 15)).startswith(b"isthmus: listening"):
            assert line
        served = Served(process, line.split()[3].decode(), None)
        one, other = workers(served)
        os.kill(one, signal.SIGSTOP)
        await until(lambda: not alive(one) and len(workers(served)) == 2, within=10)
        await asyncio.sleep(2)
        left = workers(served)
    finally:
        process.terminate()

    assert 0 == await asyncio.wait_for(process.wait(), 10)
    assert other in left and one not in left


async def test_signals_that_reach_all_of_them_are_one(tmp_path: Path) -> None:
    """A terminal or a service manager sends to each process: calls end whole all the same, and the exit code is 0."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(sse(*(chat_chunk(f"w{i} ") for i in range(10)), chat_chunk(finish="stop"), DONE, every=0.1))
        for number in (signal.SIGTERM, signal.SIGINT):
            async with serving(UP.replace("$up", upstream.url), tmp_path) as served:
                before = len(upstream.requests)

                async def streamed(main: str = served.main) -> bool:
                    async with session.post(f"{main}/v1/chat/completions", json=STREAM) as answer:
                        return (await answer.read()).endswith(b"data: [DONE]\n\n")

                streams = [asyncio.create_task(streamed()) for _ in range(8)]
                await upstream.asked(before + 8, within=10)
                for pid in (served.process.pid, *workers(served)):
                    os.kill(pid, number)
                    await asyncio.sleep(0.05)  # workers have heard of it by their supervisor
                whole = await asyncio.gather(*streams)
                code = await asyncio.wait_for(served.process.wait(), 6)

            assert ([True] * 8, 0) == (whole, code)


async def test_what_keeps_a_worker_from_starting_keeps_all(tmp_path: Path) -> None:
    """Its message and its exit code are those of the command; nobody is left."""
    with contextlib.closing(sqlite3.connect(tmp_path / "chats.db")) as store, store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        store.execute("INSERT INTO alembic_version VALUES ('9999')")
    chats = 'chats: {store: "sqlite:chats.db", personas: {maya: {model: demo}}}\n'
    (tmp_path / "routes.yaml").write_text(TWO + chats)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "serve", "-c", str(tmp_path / "routes.yaml"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 15)
    lines = errors.decode().splitlines()

    assert 1 == process.returncode
    assert lines[-1].startswith("isthmus: ") and "9999" in lines[-1] and "Traceback" not in errors.decode()


@pytest.mark.slow
async def test_a_worker_that_cannot_be_started_again_does_not_spin(tmp_path: Path) -> None:
    """Tries come later and later; while another serves, all goes on and readiness says so; when none does, it ends."""
    chats = 'chats: {store: "sqlite:chats.db", personas: {maya: {model: demo}}}\n'
    log = tmp_path / "log"
    with log.open("wb") as out:
        async with serving(TWO + chats, tmp_path, out=out) as served, callers() as session:
            first = workers(served)
            with contextlib.closing(sqlite3.connect(tmp_path / "chats.db")) as store, store:
                store.execute("UPDATE alembic_version SET version_num = '9999'")
            os.kill(first[0], signal.SIGKILL)
            await asyncio.sleep(4)
            seen = await several(session, served, 20)
            ready = await readiness(session, served.admin)
            tries = total(await scraped(session, served), "isthmus_worker_restarts_total")
            os.kill(first[1], signal.SIGKILL)
            code = await asyncio.wait_for(served.process.wait(), 30)
            assert served.process.stderr is not None
            said = (await served.process.stderr.read()).decode()

    assert {200: 20} == seen
    assert (200, True, "workers") == (ready[0], ready[1]["degraded"], ready[1]["degraded_parts"][-1])
    assert 2 <= tries <= 5
    assert 1 == code and "isthmus: no worker can be started: " in said and "9999" in said


# ── the route table, limits, readiness, store, log ─────────────────────────────────────────────


async def test_sighup_reloads_all_or_none(tmp_path: Path) -> None:
    """A good table is taken by every worker and counted once; a bad one by none; who comes later has the good one."""
    path = tmp_path / "routes.yaml"
    async with serving(TWO, tmp_path) as served, callers() as session:

        async def state() -> tuple[float, ...]:
            page = await scraped(session, served)
            reloads = [total(page, "isthmus_config_reload_total", result=result) for result in ("ok", "error")]
            success = total(page, "isthmus_config_last_reload_success")
            return total(page, "isthmus_config_generation"), *reloads, success

        before = await several(session, served, 10, "second")
        replace(path, SECOND)
        served.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(1)
        good = await several(session, served, 20, "second"), await state()
        replace(path, "routes: [")
        await asyncio.sleep(2)  # without a signal: it is looked at
        bad = await several(session, served, 20, "second"), await state()
        ready = [(await readiness(session, served.main))[1]["last_reload"]["ok"] for _ in range(8)]
        first = workers(served)
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: first[0] not in workers(served) and len(workers(served)) == 2)
        await asyncio.sleep(0.5)
        later = await several(session, served, 20, "second"), await state()

    assert {404: 10} == before
    assert ({200: 20}, (2.0, 1.0, 0.0, 1.0)) == good
    assert ({200: 20}, (2.0, 1.0, 1.0, 0.0)) == bad == later
    assert [False] * 8 == ready


async def test_workers_together_keep_to_a_limit(tmp_path: Path) -> None:
    """Of 60 calls of a key with `rpm: 11`, 11 are let through, whoever got them; the rest is told to wait."""
    digest = hashlib.sha256(b"team-key").hexdigest()
    table = f'access: {{keys: [{{name: team, hash: "sha256:{digest}", rpm: 11}}]}}\n{TWO}'
    async with serving(table, tmp_path) as served, callers() as session:
        seen = Counter([await ask(session, served, authorization="Bearer team-key") for _ in range(60)])

    assert {200: 11, 429: 49} == seen


async def test_workers_together_keep_to_a_budget(tmp_path: Path) -> None:
    """Of calls at one dollar each a key with ten gets ten, whoever takes them; the admin side tells of all of it."""
    digest = hashlib.sha256(b"team-key").hexdigest()
    table = f'access: {{keys: [{{name: team, hash: "sha256:{digest}", budget: {{usd: 10, per: month}}}}]}}\n{TWO}'
    prices = "prices: {demo/isthmus-demo: {input: 0, output: 0, request: 1}}\n"
    async with serving(table + prices, tmp_path) as served, callers() as session:
        seen = Counter([await ask(session, served, authorization="Bearer team-key") for _ in range(40)])
        async with session.get(f"{served.admin}/budgets") as answer:
            told = (await answer.json())["budgets"]
        page = await scraped(session, served)

    assert {200: 10, 429: 30} == seen
    assert [("team", {"limit": "10", "spent": "10", "estimated": "0", "reserved": "0", "left": "0"})] == [
        (row["key"], row["usd"]) for row in told
    ]
    assert (10.0, 10.0) == (total(page, "isthmus_budget_usd_limit"), total(page, "isthmus_budget_usd_spent"))


async def test_what_workers_spent_outlives_them_however_many_come_after(tmp_path: Path) -> None:
    """Two workers, one that is killed and replaced, and then three: nothing is forgotten, nothing counted twice."""
    digest = hashlib.sha256(b"team-key").hexdigest()
    table = f'access: {{keys: [{{name: team, hash: "sha256:{digest}", budget: {{usd: 12, per: month}}}}]}}\n{TWO}'
    table += "prices: {demo/isthmus-demo: {input: 0, output: 0, request: 1}}\nstate: {file: state.json}\n"
    more = table.replace("workers: 2", "workers: 3")

    async def asked(served: Served, count: int) -> Counter[int]:
        return Counter([await ask(session, served, authorization="Bearer team-key") for _ in range(count)])

    async with callers() as session:
        async with serving(table, tmp_path) as served:
            first = await asked(served, 6)
            await asyncio.sleep(2.0)  # it is written within a second
            before = workers(served)
            os.kill(before[0], signal.SIGKILL)
            await until(lambda: len(workers(served)) == 2 and before[0] not in workers(served))
            async with asyncio.timeout(10):
                while await spent(session, served) != 6:
                    await asyncio.sleep(0.1)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(served.process.wait(), 15)
        async with serving(more, tmp_path) as served:
            later = await spent(session, served)
            second = await asked(served, 30)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(served.process.wait(), 15)
        async with serving(table.replace(", workers: 2", ""), tmp_path) as served:
            last = await spent(session, served)

    assert ({200: 6}, {200: 6, 429: 24}) == (first, second)
    assert (6, 12) == (later, last)
    assert {"state.json", "state.json.lock", "state.json.1.lock", "state.json.2.lock"} == {
        file.name for file in tmp_path.glob("state.json*")
    }


async def spent(session: aiohttp.ClientSession, served: Served) -> float:
    """By all keys, as the admin side tells."""
    async with session.get(f"{served.admin}/budgets") as answer:
        return float(sum(Decimal(row["usd"]["spent"]) for row in (await answer.json())["budgets"]))


async def test_what_does_not_work_in_one_worker_is_seen_in_all(tmp_path: Path) -> None:
    """A breaker that is open in one of them is named by readiness, whichever answers; the gauge shows the worst."""
    async with FakeUpstream() as upstream, callers() as session, aiohttp.ClientSession() as one:
        upstream.always(status(500))
        table = UP.replace("$up", upstream.url) + "policies: {default: {attempts: 1, breaker: {failures: 3}}}\n"
        async with serving(table, tmp_path) as served:
            seen = await several(one, served, 5)  # over one connection: they reach one worker
            await asyncio.sleep(1.5)
            parts = [(await readiness(session, served.main))[1]["degraded_parts"] for _ in range(10)]
            page = await scraped(session, served)

    assert {500: 0, 502: 3, 503: 2}[502] == seen[502] and 2 == seen[503]
    assert [["up/m"]] * 10 == parts
    assert 2.0 == total(page, "isthmus_breaker_state", provider="up")


SIGNED = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2lnbmVk"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


async def test_a_turn_that_reaches_another_worker_is_no_error(tmp_path: Path) -> None:
    """A signature that a client dropped is put back by the worker that remembers it; others send a stand-in."""
    async with FakeUpstream() as upstream, callers() as session:
        upstream.always(json_answer(gemini_answer(None, parts=[SIGNED], model="gemini-3-pro")))
        table = UP.replace("$up/v1", upstream.url).replace("speaks: [openai.chat]", "speaks: [gemini]")
        async with serving(table.replace("model: m}", "model: gemini-3-pro}"), tmp_path) as served:
            url, body = f"{served.main}/v1/chat/completions", HELLO | {"tools": [TOOL]}
            async with session.post(url, json=body) as answer:
                said = (await answer.json())["choices"][0]["message"]
            calls = [{key: call[key] for key in ("id", "type", "function")} for call in said["tool_calls"]]
            turns = [{"role": "assistant", "tool_calls": calls}]
            turns.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "rain"})
            seen: Counter[tuple[int, bool]] = Counter()
            for _ in range(30):
                async with session.post(url, json=body | {"messages": [*HELLO["messages"], *turns]}) as answer:
                    seen[answer.status, "invented" in answer.headers.get("x-isthmus-loss", "")] += 1
    signed = Counter(request.json()["contents"][1]["parts"][0]["thoughtSignature"] for request in upstream.requests[1:])

    assert {(200, False), (200, True)} == set(seen)
    assert {"c2lnbmVk": seen[200, False], DUMMY_SIGNATURE: seen[200, True]} == signed


async def test_workers_share_a_chat_store(tmp_path: Path) -> None:
    """Many at once write through several processes; nobody is refused, and all is there for each of them."""
    chats = 'chats: {store: "sqlite:chats.db", personas: {maya: {model: demo}}}\n'
    async with serving(TWO + chats, tmp_path) as served, callers() as session:

        async def begin(number: int) -> tuple[int, Any]:
            body = {"title": f"chat {number}", "messages": [{"role": "user", "content": f"number {number}"}]}
            async with session.post(f"{served.main}/api/v1/chat/new", json=body) as answer:
                return answer.status, await answer.json()

        begun = await asyncio.gather(*(begin(number) for number in range(60)))
        page = await scraped(session, served)

    assert {201: 60} == Counter(code for code, _ in begun)
    assert 0.0 == total(page, "isthmus_store_errors_total")


async def test_lines_of_all_workers_are_whole(tmp_path: Path) -> None:
    """They share one standard output; events say which of them speaks."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        async with serving(TWO, tmp_path, out=out) as served, callers() as session:
            await several(session, served, 20)
            served.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(served.process.wait(), 5)
    lines = [json.loads(line) for line in log.read_text().splitlines()]

    assert 20 == sum(line["event"] == "exchange" for line in lines)
    assert {("started", 1), ("started", 2), ("stopped", 1), ("stopped", 2)} <= {
        (line["event"], line.get("worker")) for line in lines
    }
