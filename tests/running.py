"""The real server on loopback, in this process: `async with running(table) as gateway`.

`table` is a routes.yaml as text; `$NAME` in it is replaced by what is given (addresses of fakes).
Everything is real but the upstreams: sockets, parser, table, metrics, log.
`gateway.lines()` gives the log lines, `gateway.metric(...)` a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Any

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from router.config import load
from router.server import Life

BASE = """
server: {listen: "127.0.0.1:0", admin: null, drain: 1s}
"""


class Running:
    """A gateway that runs, and a client to talk to it."""

    def __init__(self, life: Life, url: str, admin: str | None, log: Path, session: aiohttp.ClientSession) -> None:
        self.life = life
        self.url = url
        self.admin = admin
        self.port = int(url.rpartition(":")[2])
        self._log = log
        self.session = session

    async def post(self, path: str, body: Any, **kwargs: Any) -> Answer:
        """One call. `body` is sent as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"content-type": "application/json", **kwargs.pop("headers", {})}
        async with self.session.post(self.url + path, data=data, headers=headers, **kwargs) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, **kwargs: Any) -> Answer:
        async with self.session.get(self.url + path, **kwargs) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def lines(self, least: int = 0) -> list[dict[str, Any]]:
        """The log lines of exchanges, once the writer has caught up, and there are as many as there will be at `least`;
        of these those are told that are there after five seconds.
        """
        found: list[dict[str, Any]] = []
        for _ in range(100):
            await asyncio.sleep(0.05)
            told = map(msgspec.json.decode, self._log.read_bytes().splitlines())
            found = [line for line in told if line["event"] == "exchange"]
            if len(found) >= least:
                break
        return found

    async def log_text(self) -> str:
        await asyncio.sleep(0.05)
        return self._log.read_text()

    def metrics_text(self) -> str:
        state = self.life.state
        return self.life.metrics.render(state.breakers(), state.gauges(), state.outliers()).decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name whose labels include these."""
        total = 0.0
        for family in text_string_to_metric_families(self.metrics_text()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total


class Answer:
    """What came back. Header names in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of an event stream: JSON values, and `[DONE]` as text."""
        blocks = [block for block in self.body.decode().split("\n\n") if block.startswith("data: ")]
        texts = [block.removeprefix("data: ") for block in blocks]
        return [text if text == "[DONE]" else msgspec.json.decode(text) for text in texts]


class Clock:
    """A gateway's clock that can be moved on, besides its own pace. Timers of the loop do not notice."""

    def __init__(self, gateway: Running) -> None:
        inner = gateway.life.gateway
        self._clock, self._ahead = inner.clock, 0.0
        inner.clock = self.now

    def now(self) -> float:
        return self._clock() + self._ahead

    def pass_by(self, seconds: float) -> None:
        self._ahead += seconds


@contextlib.asynccontextmanager
async def running(table: str, environ: dict[str, str] | None = None, **names: object) -> AsyncIterator[Running]:
    """Starts the gateway on a free port; afterwards stops it and fails if it counted a bug of its own."""
    text = Template(table).substitute({name: str(value) for name, value in names.items()})
    if "server:" not in text:
        text = BASE + text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "routes.yaml"
        path.write_text(text)
        loaded = load(path, environ or {})
        assert loaded.settings is not None, [str(problem) for problem in loaded.problems]
        log = Path(folder) / "log"
        fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        life = Life(path, loaded.settings, log_fd=fd)
        session = aiohttp.ClientSession(auto_decompress=False)
        try:
            url, admin = await life.start()
            gateway = Running(life, url, admin, log, session)
            yield gateway
            assert gateway.metric("isthmus_requests_total", outcome="bug") == 0.0, await gateway.log_text()
        finally:
            await session.close()
            await life.close()
            os.close(fd)
