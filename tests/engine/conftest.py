"""The engine, started once on loopback with a model that a script of ours writes, and the gateway before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.running import Running, running

ROOT = Path(__file__).parent.parent.parent
DIRECTORY = ROOT / ".venv-engine"
#: The engine answers one call at a time; only a hang-up ends one before its end.
FLAGS = (
    "--n_ctx",
    "4096",
    "--chat_format",
    "chatml",
    "--n_threads",
    "1",
    "--n_batch",
    "512",
    "--model_alias",
    "babbler",
)
ENDING = ("--interrupt_requests", "False", "--logits_all", "True", "--verbose", "False")
START = 60.0
TABLE = """
providers:
  engine: {base_url: "$up/v1", speaks: [openai.chat], auth: none, quirks: [max_tokens]}
models:
  babbler: [{provider: engine, model: babbler}]
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: /api/chat, speaks: ollama.chat, to: models}
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the engine's server."""
    python = DIRECTORY / "bin" / "python"
    if not (DIRECTORY / ".ready").is_file():
        pytest.skip("the engine is not set up (make engine-test)")
    folder = tmp_path_factory.mktemp("engine")
    model = folder / "babbler.gguf"
    subprocess.run([python, Path(__file__).parent / "write_model.py", model], check=True)
    port = _free_port()
    command = [python, "-m", "llama_cpp.server", "--model", model, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*map(str, command), *FLAGS, *ENDING], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", process, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.2)
    pytest.fail(f"the engine did not start: {log.read_text(errors='replace')[-3000:]}")


class Wire:
    """The connections between gateway and engine: a tap that passes bytes on and sees who hangs up when."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._tasks: list[asyncio.Task[None]] = []
        self.hung_up: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.port = 0

    def joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._join(reader, writer)))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._engine)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(theirs, writer))
                await self._pass(reader, ours)
                if not self.hung_up.done():
                    self.hung_up.set_result(time.monotonic())
        finally:
            writer.close()
            ours.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next round


@pytest.fixture
async def wire(engine: int) -> AsyncIterator[Wire]:
    tap = Wire(engine)
    server = await asyncio.start_server(tap.joined, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    yield tap
    server.close()
    await tap.close()


@pytest.fixture
async def gateway(wire: Wire) -> AsyncIterator[Running]:
    async with running(TABLE, up=f"http://127.0.0.1:{wire.port}") as found:
        yield found
