"""Where the SDKs live that do not fit into the main environment (`make clients` sets them up).

Python's newest `openai`, `anthropic`, `google-genai` and `ollama` are ordinary imports. Older lines, agents and the
JavaScript SDKs run as programs of their own: a test starts them with the gateway's address and reads what they print.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import certifi
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from tests.clients.matrix import Matrix, Talker

Json = Any
ROOT = Path(__file__).parent.parent.parent


class NodeClients(NamedTuple):
    """`node` run in `directory` finds `openai` and `@google/genai`."""

    node: Path
    directory: Path


@pytest.fixture(scope="session")
def older_python() -> Path:
    """A Python that imports google-genai 2.x and anthropic 1.x."""
    return _python(".venv-older", "the older SDKs are not set up (make clients)")


@pytest.fixture(scope="session")
def agents_python() -> Path:
    """A Python that imports pydantic_ai, langchain and what they need."""
    return _python(".venv-agents", "the agents of others are not set up (make clients)")


def _python(name: str, reason: str) -> Path:
    directory = ROOT / name
    if not (directory / ".ready").is_file():
        pytest.skip(reason)
    return directory / "bin" / "python"


@pytest.fixture(scope="session")
def node_clients() -> NodeClients:
    """The newest JavaScript SDKs. A script must lie in `directory` (or below) for its imports to be found."""
    directory = Path(__file__).parent / "node"
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (directory / "node_modules" / ".ready").is_file():
        pytest.skip("the JavaScript SDKs are not set up (make clients)")
    return NodeClients(Path(node), directory)


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each SDK client reads all trusted authorities, some three times, and talks plain HTTP here: give them one."""
    file = tmp_path_factory.mktemp("trust") / "authority.pem"
    end = "-----END CERTIFICATE-----\n"
    file.write_text(certifi.contents().partition(end)[0] + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


# ── one interface to all of them ─────────────────────────────────────────────────────────────


class Client(Protocol):
    """An SDK at work: a command (`openai_calls.py`, `genai_calls.py`) in, what it said or raised out."""

    async def ask(self, door: Json, do: str, **command: Json) -> Json: ...


class InProcess:
    """An SDK that is imported here."""

    def __init__(self, run: Callable[[Json], Awaitable[Json]]) -> None:
        self._run = run

    async def ask(self, door: Json, do: str, **command: Json) -> Json:
        return await self._run({"door": door, "do": do, **command})


class Program:
    """An SDK in a program of its own, which serves a whole test session."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    async def ask(self, door: Json, do: str, **command: Json) -> Json:
        line = json.dumps({"door": door, "do": do, **command})
        answer = json.loads(await asyncio.to_thread(self._exchange, line))
        assert "broken" not in answer, answer["broken"]
        return answer

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() or '{"broken": "the program ended"}'

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def _program(*command: str | Path) -> Iterator[Program]:
    program = Program(*command)
    try:
        yield program
    finally:
        program.close()


@pytest.fixture(scope="session")
def openai_node(node_clients: NodeClients) -> Iterator[Client]:
    with _program(node_clients.node, node_clients.directory / "openai_calls.mjs") as program:
        yield program


@pytest.fixture(scope="session")
def genai_node(node_clients: NodeClients) -> Iterator[Client]:
    with _program(node_clients.node, node_clients.directory / "genai_calls.mjs") as program:
        yield program


@pytest.fixture(scope="session")
def genai_2(older_python: Path) -> Iterator[Client]:
    with _program(older_python, Path(__file__).parent / "genai_calls.py") as program:
        yield program


@pytest.fixture(scope="session")
def openai_python() -> Client:
    from tests.clients import openai_calls

    return InProcess(openai_calls.run)


@pytest.fixture(scope="session")
def genai_3() -> Client:
    from tests.clients import genai_calls

    return InProcess(genai_calls.run)


# ── talkers: the same conversation through each library (tests/clients/talkers) ──────────────


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here_are_all() -> AsyncIterator[Matrix]:
    """One gateway before upstreams of every language, for a module whose tests share its loop."""
    from tests.clients.matrix import matrix

    async with matrix() as found:
        yield found


@pytest.fixture
def client_of(request: pytest.FixtureRequest, talker: Talker) -> Client:
    """The library of the test's `talker`."""
    found: Client = request.getfixturevalue(talker.library)
    return found


def _talks(module: str) -> Client:
    """Imported here, if it is installed."""
    return InProcess(pytest.importorskip(f"tests.clients.talkers.{module}").run)


@pytest.fixture(scope="session")
def talk_openai() -> Client:
    return _talks("openai_sdk")


@pytest.fixture(scope="session")
def talk_anthropic_2() -> Client:
    return _talks("anthropic_sdk")


@pytest.fixture(scope="session")
def talk_genai_3() -> Client:
    return _talks("genai_sdk")


@pytest.fixture(scope="session")
def talk_ollama() -> Client:
    return _talks("ollama_sdk")


@contextlib.contextmanager
def _module(python: Path, module: str) -> Iterator[Program]:
    with _program(python, "-m", f"tests.clients.talkers.{module}") as program:
        yield program


@pytest.fixture(scope="session")
def talk_anthropic_1(older_python: Path) -> Iterator[Client]:
    with _module(older_python, "anthropic_sdk") as program:
        yield program


@pytest.fixture(scope="session")
def talk_genai_2(older_python: Path) -> Iterator[Client]:
    with _module(older_python, "genai_sdk") as program:
        yield program


@pytest.fixture(scope="session")
def talk_langchain(agents_python: Path) -> Iterator[Client]:
    with _module(agents_python, "langchain_agent") as program:
        yield program


@pytest.fixture(scope="session")
def talk_pydantic_ai(agents_python: Path) -> Iterator[Client]:
    with _module(agents_python, "pydantic_ai_agent") as program:
        yield program


@pytest.fixture(scope="session")
def talk_node(node_clients: NodeClients) -> Iterator[Client]:
    with _program(node_clients.node, node_clients.directory / "talk.mjs") as program:
        yield program
