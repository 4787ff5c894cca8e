"""Google's agent for the terminal, with the gateway for its vendor, finishes a loop of tools on every upstream.

It is large and takes seconds to start, so `make clients` leaves it out: `scripts/setup_clients.sh node
tests/clients/gemini_cli` sets it up.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT
from tests.clients.matrix import Matrix, Talker
from tests.clients.scripted import SCRIPTED
from tests.clients.scripted.play import LAST
from tests.clients.talkers.world import QUESTION, Json

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PREFIX = "discovered_tool_"  # the agent's own, before the names of tools that a program brings
#: Without an argument but `list` it tells what tools there are; else it is the tool that its argument names.
TOOL = """#!{python}
import json, sys
sys.path.insert(0, {root!r})
from tests.clients.talkers.world import TOOLS, parameters, result_of
if sys.argv[1] == "list":
    declared = [dict(name=name, description=TOOLS[name][0], parametersJsonSchema=parameters(name)) for name in TOOLS]
    print(json.dumps([dict(functionDeclarations=declared)]))
else:
    sys.stdout.write(result_of(sys.argv[1]))
"""


class Agent:
    """The program with a home of its own: it reads no settings of whoever runs the tests, and reports to nobody."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program = program
        self._home = home
        tool = home / "tool"
        tool.write_text(TOOL.format(python=sys.executable, root=str(ROOT)))
        tool.chmod(0o755)
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "tools": {"discoveryCommand": f"{tool} list", "callCommand": str(tool)},
        }
        (home / ".gemini").mkdir()
        (home / ".gemini" / "settings.json").write_text(json.dumps(settings))

    async def ask(self, door: Json, do: str, **command: Json) -> Json:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "NO_COLOR": "1"}
        environment |= {"GEMINI_API_KEY": door["key"], "GOOGLE_GEMINI_BASE_URL": door["url"]}
        environment["GEMINI_CLI_TRUST_WORKSPACE"] = "true"
        process = await asyncio.create_subprocess_exec(
            *("node", self._program, "-m", command["model"], "-p", QUESTION, "--output-format", "json", "--yolo"),
            env=environment,
            cwd=self._home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complaints = await asyncio.wait_for(process.communicate(), 60)
        assert 0 == process.returncode, complaints.decode()[-2000:]
        return {"said": json.loads(said)["response"]}


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    directory = Path(__file__).parent / "gemini_cli" / "node_modules"
    if shutil.which("node") is None or not (directory / ".ready").is_file():
        pytest.skip("Gemini CLI is not set up (scripts/setup_clients.sh node tests/clients/gemini_cli)")
    return Agent(directory / "@google" / "gemini-cli" / "bundle" / "gemini.js", tmp_path)


@pytest.mark.parametrize("upstream", SCRIPTED)
async def test_three_steps(here_are_all: Matrix, agent: Agent, upstream: str) -> None:
    """It calls what the model names, sends back what the model made, and prints the answer."""
    talker = Talker("gemini_cli", "terminal", "gemini", prefix=PREFIX)
    talk = await here_are_all.talk(agent, talker, upstream, "loop", stream=True)

    assert (LAST, [1, 2, 3], [True] * 3) == (talk.told["said"], talk.played.steps, talk.played.streamed)
