"""A serving process while its file changes under it: reliability.md 4.11, and reloads under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.answers import chat_answer, chat_chunk
from tests.fakes import DONE, HANG, FakeUpstream, json_answer, sse
from tests.router.test_server import DEMO, HELLO, Served, serving

SECOND = DEMO.replace("models: {demo:", "models: {second: [{provider: demo, model: b}], demo:")
UP = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 2s}
providers: {up: {base_url: "$up/v1", speaks: [openai.chat], auth: none}}
models: {slow: [{provider: up, model: m}]}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /other, speaks: openai.chat, to: models}
"""


async def reloads(session: aiohttp.ClientSession, served: Served) -> tuple[int, int, int]:
    """The generation, and how many reloads went well and did not."""
    async with session.get(f"{served.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()

    def read(name: str) -> int:
        return next((int(float(line.split()[-1])) for line in lines if line.startswith(name)), 0)

    return (
        read("isthmus_config_generation "),
        read('isthmus_config_reload_total{result="ok"}'),
        read('isthmus_config_reload_total{result="error"}'),
    )


async def until(there: Callable[[tuple[int, int, int]], bool], session: aiohttp.ClientSession, served: Served) -> None:
    ends = time.monotonic() + 5
    while not there(await reloads(session, served)):
        assert time.monotonic() < ends, await reloads(session, served)
        await asyncio.sleep(0.1)


async def ask(session: aiohttp.ClientSession, served: Served, model: str, path: str = "/v1/chat/completions") -> int:
    async with session.post(served.main + path, json=HELLO | {"model": model}) as answer:
        await answer.read()
        return answer.status


def replace(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)


async def test_c09_a_changed_file_is_taken_without_a_signal(tmp_path: Path) -> None:
    """By rename: one reload. A bad one is refused and changes nothing; the same text again is no change."""
    path = tmp_path / "routes.yaml"
    async with serving(DEMO, tmp_path) as served, aiohttp.ClientSession() as session:
        before = await ask(session, served, "second")
        replace(path, SECOND)
        await until(lambda seen: seen[0] == 2, session, served)
        taken = await ask(session, served, "second")
        replace(path, "routes: [")
        await until(lambda seen: seen[2] == 1, session, served)
        kept = await ask(session, served, "second")
        replace(path, "routes: [")
        await asyncio.sleep(1.5)

        assert (404, 200, 200) == (before, taken, kept)
        assert (2, 1, 1) == await reloads(session, served)


async def test_c09_a_half_written_file_is_not_taken(tmp_path: Path) -> None:
    """Written piece by piece, it is read once, when it is whole."""
    path = tmp_path / "routes.yaml"
    async with serving(DEMO, tmp_path) as served, aiohttp.ClientSession() as session:
        with path.open("w") as file:
            for start in range(0, len(SECOND), 40):
                file.write(SECOND[start : start + 40])
                file.flush()
                await asyncio.sleep(0.15)
        await until(lambda seen: seen[0] == 2, session, served)

        assert 200 == await ask(session, served, "second")
        assert (2, 1, 0) == await reloads(session, served)


async def test_c07_a_route_that_a_reload_removed(tmp_path: Path) -> None:
    """A call under way ends whole, the next one is 404, and the connections of a row that is gone are closed."""
    path = tmp_path / "routes.yaml"
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as session:
        table = UP.replace("$up", upstream.url)
        upstream.script(sse(*(chat_chunk(f"w{i} ") for i in range(12)), chat_chunk(finish="stop"), DONE, every=0.1))
        async with serving(table, tmp_path) as served:
            async with session.post(f"{served.main}/other", json=HELLO | {"model": "slow", "stream": True}) as answer:
                begun = await answer.content.readany()
                replace(path, DEMO)
                await until(lambda seen: seen[0] == 2, session, served)
                gone = await ask(session, served, "slow", "/other")
                rest = await answer.read()
            await asyncio.sleep(0.3)
            open_still = [one for one in upstream.connections if one.closed_at is None]

        assert 404 == gone
        assert b"w0" in begun and rest.endswith(b"data: [DONE]\n\n") and b"w11" in rest
        assert [] == open_still


async def test_an_idle_connection_of_a_row_that_is_gone_is_closed_at_once(tmp_path: Path) -> None:
    """Nothing is kept to where no call can go any more (R12); what stays in the table keeps its connections."""
    path = tmp_path / "routes.yaml"
    async with FakeUpstream() as old, FakeUpstream() as kept, aiohttp.ClientSession() as session:
        for upstream in (old, kept):
            upstream.always(json_answer(chat_answer("Hi")))
        both = UP.replace("$up", old.url).replace(
            "providers: {", f'providers: {{kept: {{base_url: "{kept.url}/v1", speaks: [openai.chat], auth: none}}, '
        )
        both = both.replace("models: {", "models: {stays: [{provider: kept, model: m}], ")
        only = both.replace(f'up: {{base_url: "{old.url}/v1", speaks: [openai.chat], auth: none}}', "")
        only = only.replace(", slow: [{provider: up, model: m}]", "").replace("}, }", "}}")
        async with serving(both, tmp_path) as served:
            statuses = [await ask(session, served, model) for model in ("slow", "stays")]
            replace(path, only)
            await until(lambda seen: seen[0] == 2, session, served)
            await asyncio.sleep(0.3)

            assert [200, 200, 404, 200] == [
                *statuses,
                *[await ask(session, served, model) for model in ("slow", "stays")],
            ]
            assert [False] == [one.closed_at is None for one in old.connections]
            assert [True] == [one.closed_at is None for one in kept.connections]


@pytest.mark.slow
async def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    """Three reloads during 200 streams and 2,000 requests: each stream whole, each request answered, one table each."""
    path = tmp_path / "routes.yaml"
    chunks = 20
    async with FakeUpstream() as upstream:
        stream = sse(*(chat_chunk(f"w{i} ") for i in range(chunks)), chat_chunk(finish="stop"), DONE, every=0.2)
        upstream.always(stream)
        tables = [
            UP.replace("$up", upstream.url)
            .replace("providers: {", "providers: {demo: {}, ")
            .replace("models: {", f"models: {{number{number}: [{{provider: demo, model: x}}], demo: number0, ")
            .replace("demo: number0", "demo: [{provider: demo, model: isthmus-demo}]")
            for number in range(4)
        ]
        connector = aiohttp.TCPConnector(limit=0)
        async with serving(tables[0], tmp_path) as served, aiohttp.ClientSession(connector=connector) as session:

            async def streamed() -> bool:
                body = HELLO | {"model": "slow", "stream": True}
                async with session.post(f"{served.main}/v1/chat/completions", json=body) as answer:
                    text = await answer.text()
                said = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
                words = "".join(one["choices"][0]["delta"].get("content") or "" for one in said if one["choices"])
                return answer.status == 200 and text.endswith("data: [DONE]\n\n") and words.count("w") == chunks

            streams = [asyncio.create_task(streamed()) for _ in range(200)]
            statuses: list[int] = []

            async def asking() -> None:
                while len(statuses) < 2000:
                    statuses.append(await ask(session, served, "demo"))

            askers = [asyncio.create_task(asking()) for _ in range(8)]
            for number in (1, 2, 3):
                await asyncio.sleep(0.4)
                replace(path, tables[number])
                served.process.send_signal(signal.SIGHUP)
                await until(lambda seen, number=number: seen[0] == number + 1, session, served)
            under_way = sum(not one.done() for one in streams)
            whole = await asyncio.gather(*streams)
            await asyncio.gather(*askers)
            seen = [await ask(session, served, f"number{number}") for number in range(4)]

            assert 0 < under_way and [True] * 200 == whole
            assert 2000 <= len(statuses) and {200} == set(statuses)
            assert [404, 404, 404, 200] == seen
            assert (4, 3, 0) == await reloads(session, served)


BAD = [b"a: [", b"server:\n\tdrain: 1s\n", b"", b"- x", b"routes: \x00", b"routes: []\nroutes: []\n", bytes(range(256))]


async def test_c03_no_bad_file_takes_the_place_of_a_good_one(tmp_path: Path) -> None:
    """Each is refused, counted and told with its place; calls go on as before."""
    path, log = tmp_path / "routes.yaml", tmp_path / "log"
    with log.open("wb") as out:
        async with serving(DEMO, tmp_path, out=out) as served, aiohttp.ClientSession() as session:
            for number, bad in enumerate(BAD, 1):
                path.write_bytes(bad)
                served.process.send_signal(signal.SIGHUP)
                await until(lambda seen, number=number: seen[2] == number, session, served)

                assert 200 == await ask(session, served, "demo")
            assert (1, 0, len(BAD)) == await reloads(session, served)
            await asyncio.sleep(0.1)
    refused = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "reload_refused"]

    assert len(BAD) == len(refused)
    assert all(problem.startswith(str(path)) for line in refused for problem in line["problems"])


async def test_c05_what_is_not_set_is_named_and_not_shown(tmp_path: Path) -> None:
    """A key of `access` that is missing keeps the gateway from starting; a provider's is a warning, told by name."""
    access = DEMO + "access: {jwt: {secret: env:NOT_SET_HERE, audience: a}}\n"
    (tmp_path / "routes.yaml").write_text(access)
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router", "serve", "-c", str(tmp_path / "routes.yaml")), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(done.communicate(), 15)
    keyed = DEMO.replace(
        "providers: {", "providers: {up: {base_url: 'http://127.0.0.1:1', speaks: [openai.chat], secret: env:UP_KEY}, "
    )
    async with serving(keyed, tmp_path) as served, aiohttp.ClientSession() as session:
        served_all_the_same = await ask(session, served, "demo")

    assert (2, 200) == (done.returncode, served_all_the_same)
    assert b"NOT_SET_HERE" in said and b"Traceback" not in said


async def test_l05_killed_under_20_streams_it_serves_at_once_again(tmp_path: Path) -> None:
    """SIGKILL: the upstream's calls end with the process, and the next process answers."""
    async with FakeUpstream() as upstream:
        upstream.always(sse(chat_chunk("a "), HANG))
        table = UP.replace("$up", upstream.url)
        connector = aiohttp.TCPConnector(limit=0)
        async with serving(table, tmp_path) as served, aiohttp.ClientSession(connector=connector) as session:

            async def streamed() -> bool:
                body = HELLO | {"model": "slow", "stream": True}
                try:
                    async with session.post(f"{served.main}/v1/chat/completions", json=body) as answer:
                        await answer.read()
                except aiohttp.ClientError:
                    return False
                return True

            streams = [asyncio.create_task(streamed()) for _ in range(20)]
            await upstream.asked(20, within=10)
            served.process.kill()
            whole = await asyncio.gather(*streams)
            await asyncio.sleep(0.3)
            left = [one for one in upstream.connections if one.closed_at is None]
        upstream.always(json_answer(chat_answer("Hi")))
        async with serving(table, tmp_path) as again, aiohttp.ClientSession() as session:
            answered = await ask(session, again, "slow")

    assert [False] * 20 == whole  # none was told that it had ended well
    assert ([], 200) == (left, answered)


@pytest.mark.parametrize(("closed", "workers"), [("0<&-", 1), ("1>&-", 1), ("2>&-", 2), ("0<&- 1>&- 2>&-", 1)])
async def test_it_serves_with_closed_standard_streams(closed: str, workers: int, tmp_path: Path) -> None:
    """Whoever started it may have closed any of them: calls are answered, and it ends in peace."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    table = DEMO.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1).replace("drain: 2s", f"drain: 2s, workers: {workers}")
    (tmp_path / "routes.yaml").write_text(table)
    command = f'exec "$@" {closed}'
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, "sh", sys.executable, "-m", "router", "serve", "-c", str(tmp_path / "routes.yaml"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/readyz"
    async with aiohttp.ClientSession() as session:
        status, ends = 0, time.monotonic() + 15
        while status != 200 and time.monotonic() < ends:
            await asyncio.sleep(0.1)
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    status = answer.status
    if process.returncode is None:
        process.terminate()

    assert 200 == status
    assert 0 == await asyncio.wait_for(process.wait(), 10)
