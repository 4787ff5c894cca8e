"""The SDK environments are what their names say; what calls the gateway with them builds on this."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from .conftest import NodeClients

pytestmark = pytest.mark.clients


def test_main_environment_has_the_newest_python_sdks() -> None:
    """`import openai` and `import google.genai` in a test mean the current major versions."""
    assert int(version("openai").partition(".")[0]) >= 3
    assert version("google-genai").startswith("3.")
    assert version("anthropic").startswith("2.")


def test_a_python_of_its_own_has_the_older_sdks(older_python: Path) -> None:
    """The lines before the newest load."""
    program = "import anthropic; from google import genai; print(anthropic.__version__, genai.__version__)"

    said = subprocess.run([older_python, "-c", program], capture_output=True, text=True, check=True).stdout

    assert ["1.", "2."] == [version[:2] for version in said.split()]


def test_node_finds_the_sdks(node_clients: NodeClients) -> None:
    """A script beside package.json can import the JavaScript SDKs of the vendors, and the AI SDK."""
    program = """
        const [openai, anthropic, google, ai] = await Promise.all(
            ["openai", "@anthropic-ai/sdk", "@google/genai", "ai"].map((name) => import(name)),
        );
        const found = [openai.default, anthropic.default, google.GoogleGenAI, ai.generateText];
        console.log(JSON.stringify(found.map((one) => typeof one)));
    """

    said = subprocess.run(
        [node_clients.node, "--input-type=module", "--eval", program],
        cwd=node_clients.directory,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert json.loads(said) == ["function"] * 4
