"""Where the SDKs live that do not fit into the main environment (`make clients` sets them up).

Python's `openai` and `google-genai` 3.x are ordinary imports. Google's 2.x line and the JavaScript SDKs run
as programs of their own: a test starts them with the gateway's address and reads what they print.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent


class NodeClients(NamedTuple):
    """`node` run in `directory` finds `openai` and `@google/genai`."""

    node: Path
    directory: Path


@pytest.fixture(scope="session")
def genai2_python() -> Path:
    """A Python that imports google-genai 2.x."""
    directory = ROOT / ".venv-genai2"
    if not (directory / ".ready").is_file():
        pytest.skip("google-genai 2.x is not set up (make clients)")
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
