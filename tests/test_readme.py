"""README.md is run: every block of it that says `sh`, `python` or `js`, word for word, against a real `isthmus serve`.

Only the ports are others, so that nothing on this machine is in the way. A ```text block behind a block of code is what
that prints; `…` in it stands for anything. Blocks of YAML are parts of a table that must be good.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from providers.canonical.errors import RouterError
from router.config import load
from router.logs import _Line
from router.vocabulary import INSTRUMENTS
from tests.conftest import program

ROOT = Path(__file__).parent.parent
NODE = ROOT / "tests" / "clients" / "node"  # where imports of both SDKs are found
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = ("sh", "python", "js")
# Without a language: addresses and the like, which nobody runs.
KNOWN = (*RUN, "text", "yaml", "")
PORTS = (8080, 8081, 8082)
LONGEST = 30.0  # seconds that one block may take, on the slowest of machines


class Block(NamedTuple):
    """A fenced block. `prints` is the text block right behind it."""

    line: int
    language: str
    code: str
    prints: str | None = None


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text, in their order."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    behind = False  # nothing but the fence stands between the last block and this line
    for number, line in enumerate(text.splitlines(), 1):
        if opened is None:
            if line.startswith("```"):
                opened, inside = (number, line.removeprefix("```").strip()), []
            else:
                behind = False
        elif line == "```":
            block = Block(*opened, "\n".join(inside))
            if block.language == "text" and behind:
                found[-1] = found[-1]._replace(prints=block.code)
            else:
                found.append(block)
            opened, behind = None, True
        else:
            inside.append(line)
    assert opened is None, f"the block of line {opened} has no end"
    return found


BLOCKS = blocks(TEXT)


def of(*languages: str) -> list[object]:
    chosen = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(block, id=f"line-{block.line}-{block.language}") for block in chosen]


class Place(NamedTuple):
    """Where blocks are run: a folder with the checkout's table, a gateway, and the ports of both."""

    folder: Path
    ports: dict[int, int]

    def with_ports(self, text: str) -> str:
        return re.sub(r"\b80(80|81|82)\b", lambda found: str(self.ports[int(found[0])]), text)


def _free_ports() -> dict[int, int]:
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        sockets = dict(zip(PORTS, (one, two, three), strict=True))
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        return {port: each.getsockname()[1] for port, each in sockets.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`make serve` without make: the shipped table, from a folder where a block may write its files."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    ports = _free_ports()
    table = (ROOT / "routes.yaml").read_text(encoding="utf-8")
    (folder / "routes.yaml").write_text(table, encoding="utf-8")
    command = [
        *(folder / ".venv/bin/isthmus", "serve"),
        *("--listen", f"127.0.0.1:{ports[8080]}", "--admin", f"127.0.0.1:{ports[8081]}"),
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            assert process.stderr is not None
            said: list[str] = []
            while not said or not said[-1].startswith("isthmus: listening on"):
                line = process.stderr.readline()
                assert line, f"the gateway did not start: {''.join(said)}"
                said.append(line)
            yield Place(folder, ports)
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(10)

        assert ended == 0


def _run(command: list[str | Path], folder: Path) -> str:
    """What a program prints; the test fails with what it complained about when it fails."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_PROXY": "*"},
        start_new_session=True,
    ) as process:
        try:
            printed, complained = process.communicate(timeout=LONGEST)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a block left running in the background
    assert process.returncode == 0, complained + printed
    return printed


def _check_printed(block: Block, printed: str) -> None:
    if block.prints is None:
        return
    pattern = ".*?".join(map(re.escape, block.prints.strip().split("…")))
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())

    assert re.fullmatch(pattern, lines), f"README.md says\n{block.prints}\nand it is\n{lines}"


@pytest.mark.parametrize("block", of("sh"))
def test_shell_blocks_do_what_is_written_beside_them(block: Block, place: Place) -> None:
    """A shell block runs in a checkout, ends well and prints what README.md says."""
    printed = _run(["bash", "-euo", "pipefail", "-c", place.with_ports(block.code)], place.folder)

    _check_printed(block, printed)


@pytest.mark.clients
@pytest.mark.parametrize("block", of("python"))
def test_python_blocks_do_what_is_written_beside_them(block: Block, place: Place) -> None:
    """A Python block runs with the SDKs as they are installed, and prints what README.md says."""
    printed = _run([sys.executable, "-c", place.with_ports(block.code)], place.folder)

    _check_printed(block, printed)


@pytest.mark.clients
@pytest.mark.parametrize("block", of("js"))
def test_javascript_blocks_do_what_is_written_beside_them(block: Block, place: Place) -> None:
    """A JavaScript block runs as a module with the SDKs from npm, and prints what README.md says."""
    if not (NODE / "node_modules" / ".ready").is_file():
        pytest.skip("the JavaScript SDKs are not set up (make clients)")
    code = place.with_ports(block.code)
    printed = _run([program("node"), "--input-type=module", "--eval", code], NODE)

    _check_printed(block, printed)


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_blocks_are_good_parts_of_a_table(block: Block, tmp_path: Path) -> None:
    """What README.md tells people to write into routes.yaml is accepted there."""
    path = tmp_path / "routes.yaml"
    path.write_text(f"{block.code}\nroutes: [{{path: /v1/chat/completions, speaks: openai.chat, to: models}}]\n")
    loaded = load(path, {"GROQ_API_KEY": "set"})

    assert ((), ()) == (loaded.problems, loaded.warnings)


def test_every_block_is_run_or_plain() -> None:
    """A language that nobody runs would go stale unseen; and there is something of each kind."""
    languages = {block.language for block in BLOCKS}

    assert languages <= set(KNOWN)
    assert set(RUN) <= languages


# ── the other documents ────────────────────────────────────────────────────────────────

PAGES = [*ROOT.glob("*.md"), ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md")]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_FILE = re.compile(r"`((?:router|providers|tests|docs|deploy|scripts|bench)/[\w./-]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_and_files_are_there(page: Path) -> None:
    """What a document links to, or names as a file of the tree, exists."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in _LINK.findall(text) if "://" not in link and not (page.parent / link).exists()]
    files = [name for name in _FILE.findall(text) if not (ROOT / name).exists()]

    assert [] == links + files


def test_operations_has_every_metric() -> None:
    """An instrument that docs/operations.md does not name is one that nobody watches."""
    missing = [row.name for row in INSTRUMENTS if f"`{row.name}`" not in OPERATIONS]

    assert [] == missing


def test_operations_has_every_metric_label() -> None:
    """A row of one metric names its labels as they are scraped."""
    rows = {line.split("|")[1].strip(" `"): line.split("|")[2] for line in OPERATIONS.splitlines() if "` | " in line}
    wrong = [
        row.name
        for row in INSTRUMENTS
        if row.name in rows
        and "the same" not in rows[row.name]
        and rows[row.name].strip() != ", ".join(row.label_names)
    ]

    assert [] == wrong


def _codes(error: type[RouterError]) -> set[str]:
    return {error.code}.union(*(_codes(child) for child in error.__subclasses__()))


def test_operations_has_every_code() -> None:
    """Codes are what programs look at: docs/operations.md lists each that an answer can have."""
    missing = [code for code in sorted(_codes(RouterError)) if f"`{code}`" not in OPERATIONS]

    assert [] == missing


def test_operations_has_every_field_of_the_log() -> None:
    """A line's fields are a promise to whoever collects them."""
    missing = [name for name in _Line.__struct_fields__ if f"`{name}`" not in OPERATIONS]

    assert [] == missing
