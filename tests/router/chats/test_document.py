"""docs/chats.md: what it tells people to type works as it is printed, but for the address."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from router.chats.exchange import PATHS
from tests.conftest import program
from tests.running import running

ROOT = Path(__file__).parents[3]
TABLE = """
models: {demo: [{provider: demo, model: isthmus-demo}]}
routes: [{path: /v1/chat/completions, speaks: openai.chat, to: models}]
chats: {store: "sqlite:$store", personas: {maya: {model: demo}}}
"""


async def test_every_call_of_the_page_works(tmp_path: Path) -> None:
    """All blocks in one shell, in order: no call is refused, and the last one deletes what the first has made."""
    page = (ROOT / "docs" / "chats.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    program("curl")
    async with running(TABLE, store=tmp_path / "chats.db") as gateway:
        script = "\n".join(["set -e", *blocks]).replace("http://127.0.0.1:8080", gateway.url)
        script = re.sub(r"curl -s(N?)", r"curl --fail-with-body -s\1", script)
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 60)
        left = (await gateway.get("/api/v1/chat/history")).json["chats"]

        assert 0 == shell.returncode, out.decode()
        assert 2 == len(blocks) and b"data: [DONE]" in out and out.rstrip().endswith(b"}")
        assert {"What is the weather like? (fork)", "Conversation with Maya", "Hello"} == {
            chat["title"] for chat in left
        }


def test_the_page_names_every_call() -> None:
    """No path of the service is left out."""
    page = (ROOT / "docs" / "chats.md").read_text(encoding="utf-8")

    assert [path for path in PATHS if path not in page and path.replace("{chatId}", "$CHAT") not in page] == []
