"""The project's own files: what is declared, locked and installed must be one story."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = (
    *("constraints.txt", "constraints-dev.txt", "tests/fuzz/constraints.txt", "tests/engine/constraints.txt"),
    *("tests/clients/older/constraints.txt", "tests/clients/agents/constraints.txt"),
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, str]:
    """name -> version of one lock file; every entry must carry its hashes."""
    found = {}
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.partition(" --hash=")[0])
            (specifier,) = requirement.specifier

            assert specifier.operator == "==", line
            assert re.search(r" --hash=sha256:[0-9a-f]{64}", line), line

            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def declared(*groups: str) -> list[Requirement]:
    names: list[Requirement] = []
    for group in groups:
        for entry in PROJECT["dependency-groups"][group]:
            names += [Requirement(entry)] if isinstance(entry, str) else declared(entry["include-group"])
    return names


RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("constraints.txt", RUNTIME + declared("build", "chats")),
        ("constraints-dev.txt", RUNTIME + declared("dev")),
        ("tests/fuzz/constraints.txt", declared("fuzz")),
    ],
)
def test_locks_hold_what_is_declared(lock: str, requirements: list[Requirement]) -> None:
    """Every declared dependency is pinned, with hashes, at a version that its declaration allows."""
    locked = pins(lock)

    def allowed(requirement: Requirement) -> bool:
        return requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"))

    missing = [str(requirement) for requirement in requirements if not allowed(requirement)]

    assert missing == []


def test_what_is_tested_is_what_is_served() -> None:
    """The runtime lock is part of the development lock, version for version."""
    development = pins("constraints-dev.txt")

    assert {name: development.get(name) for name in pins("constraints.txt")} == pins("constraints.txt")


@pytest.mark.parametrize(
    "lock", [*LOCKS, "tests/clients/node/package-lock.json", "tests/clients/gemini_cli/package-lock.json"]
)
def test_locks_name_no_address(lock: str) -> None:
    """A lock file says what, never from where: each installs from their own index."""
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert [] == re.findall(r"--(?:extra-)?index-url|--find-links|\"resolved\"|file://", text)


def test_locks_of_clients_are_whole() -> None:
    """The lists of clients hold the lines that they are for."""
    older, agents = (pins(f"tests/clients/{name}/constraints.txt") for name in ("older", "agents"))

    assert ("2.", "1.") == (older["google-genai"][:2], older["anthropic"][:2])
    assert {"langchain", "langchain-openai", "pydantic-ai-slim"} <= agents.keys()


def test_installed_versions_are_safe() -> None:
    """aiohttp and PyJWT have every security fix that matters here; aiohttp's C parser is there."""
    assert Requirement("aiohttp>=3.14.5").specifier.contains(version("aiohttp"))
    assert Requirement("pyjwt>=2.15.1").specifier.contains(version("pyjwt"))
    assert importlib.util.find_spec("aiohttp._http_parser") is not None


def test_packages_say_that_they_are_typed() -> None:
    """Programs that import `providers` get its types."""
    assert (ROOT / "providers" / "py.typed").is_file()
    assert (ROOT / "router" / "py.typed").is_file()


def test_wheel_holds_every_file(tmp_path: Path) -> None:
    """What is installed from a wheel is what stands in the checkout, rows and schemas included."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if name.startswith(("providers/", "router/"))}

    files = (path for package in ("providers", "router") for path in (ROOT / package).rglob("*"))
    wanted = {path.relative_to(ROOT).as_posix() for path in files if path.is_file() and path.suffix != ".pyc"}

    assert packed == wanted


def test_ci_script_can_be_run() -> None:
    """.ci/run is executable and valid shell, and so is every script of the set-up."""
    scripts = [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").glob("*.sh"))]

    assert [script.name for script in scripts if not os.access(script, os.X_OK)] == []
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_other_machines_are_out_of_reach() -> None:
    """A test that calls another machine ends with an error that says so; a name is not looked up."""
    with pytest.raises(BaseException, match="only loopback is allowed"):
        sys.audit("socket.connect", None, ("192.0.2.1", 80))
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("upstream.invalid", 80)


def test_this_machine_is_in_reach() -> None:
    """Loopback is not refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
