"""What is not faithful yet, and why: every entry is a recorded case that fails, by what fails and its id.

An entry whose case no longer fails makes the tests fail: it must go.
"""

from __future__ import annotations

#: (row of the report, case) -> reason
KNOWN: dict[tuple[str, str], str] = {}
