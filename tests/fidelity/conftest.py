"""Prints the totals of the recorded traffic at the end of the session."""

from __future__ import annotations

from typing import Any

from . import tally


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = tally.report()
    if lines:
        terminalreporter.section("fidelity of recorded traffic")
        for line in lines:
            terminalreporter.write_line(line)
