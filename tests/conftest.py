"""What every test stands on: loopback only, nobody's real keys, the same random cases on every build machine.

Refusing other addresses here, for the whole process, means that a test which forgets to name its fake
upstream fails with a sentence instead of calling somebody. (uvloop and c-ares make their calls outside
Python's sight; what runs on them names only upstreams that it started.)
"""

from __future__ import annotations

import gc
import ipaddress
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.requirements import totals

# Real credentials and proxies of whoever runs the tests must neither be used nor change a result.
for _name in list(os.environ):
    if _name.upper().endswith(("_API_KEY", "_PROXY")) or _name.upper().startswith("AWS_"):
        del os.environ[_name]

# Deadlines measure the machine. A build machine runs the same cases each time, so a red run repeats.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


class OffLoopback(BaseException):
    """A test tried to reach another machine. No `except Exception` under test may swallow it."""


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "", "0.0.0.0", "::") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise OffLoopback(f"a test connects to {address[0]}: only loopback is allowed")
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
        # An address is no question to anybody; a name is, and here no name but our own is known.
        if not _is_loopback(name) and not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.%]*:[0-9a-zA-Z:.%]*", name):
            raise socket.gaierror(socket.EAI_NONAME, f"no name is looked up in a test: {name}")


sys.addaudithook(_stay_here)


@pytest.fixture
def short_collections() -> Iterator[None]:
    """For tests with bounds in seconds: what other tests keep in this process (recorded traffic, schemas) is not looked
    through meanwhile. A collection of all that takes more than a second, of which the gateway has none."""
    gc.freeze()
    yield
    gc.unfreeze()


def program(name: str) -> Path:
    """Where a system program is; skips the test, with the reason, where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (make test installs it where it runs as root on Debian)")
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own reader of metrics pages and rule files."""
    return program("promtool")


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The reverse proxy that most deployments put in front."""
    return program("nginx")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The totals of the numbered requirements, after a run of tests that name them."""
    stats = terminalreporter.stats
    passed = [report.nodeid for report in stats.get("passed", ())]
    failed = [report.nodeid for kind in ("failed", "error") for report in stats.get(kind, ())]
    lines = totals(passed, failed)
    if lines:
        terminalreporter.section("reliability requirements")
        for line in lines:
            terminalreporter.line(line)
