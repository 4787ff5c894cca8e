"""Prints the totals of the recorded traffic at the end of the session."""

from __future__ import annotations

import os
from typing import Any

from . import tally


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if os.environ.get("FIDELITY_TOTALS") == "write":
        tally.write_totals()
    lines = tally.report()
    if lines:
        terminalreporter.section("fidelity of recorded traffic")
        for line in lines:
            terminalreporter.write_line(line)
