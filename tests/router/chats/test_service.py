"""The store as a part of the process; its failures are tested in test_sqlite.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from router.chats.service import ChatService, Told, new_id
from tests.chats import TABLE, chatting, history

ROOT = Path(__file__).parents[3]


def test_ids_are_24_hex_digits_in_order_of_time() -> None:
    """Unlike each other."""
    ids = [new_id() for _ in range(1000)]

    assert 1000 == len(set(ids)) and all(re.fullmatch("[0-9a-f]{24}", id) for id in ids)


async def test_changes_are_told_once(tmp_path: Path) -> None:
    """A store that is well says nothing; one that is not says so once, with its reason."""
    failures: list[str] = []
    states: list[tuple[bool, str]] = []
    service = ChatService(
        str(tmp_path / "no" / "chats.db"), Told(failures.append, lambda well, why: states.append((well, why)))
    )
    await service.open()
    await service.close()

    assert ["open"] == failures
    assert [
        (False, "FileNotFoundError: [Errno 2] No such file or directory: '" + str(tmp_path / "no" / "chats.db") + "'")
    ] == states


def test_without_chats_nothing_of_the_extra_is_loaded(tmp_path: Path) -> None:
    """Importing the server, and reading a table with chats, needs no database library."""
    file = tmp_path / "routes.yaml"
    file.write_text(TABLE.replace("$up", "http://127.0.0.1:1").replace("$store", "chats.db"))
    program = (
        "import sys; from router import config, server; "
        "loaded = config.load(sys.argv[1], {}); assert loaded.settings.chats is not None; "
        "print([name for name in ('sqlalchemy', 'alembic', 'aiosqlite') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "[]\n" == done.stdout


async def test_a_reload_may_change_personas_and_not_the_store(tmp_path: Path) -> None:
    """Who answers is swapped at once; another store takes a restart, and the old table stays."""
    async with chatting(store=tmp_path / "a.db") as (gateway, _):
        path = gateway.life.path
        text = path.read_text()
        path.write_text(text.replace("General assistant", "Somebody else"))
        gateway.life.reload()
        changed = (await gateway.get("/api/v1/personas")).json["personas"][0]["description"]
        path.write_text(text.replace("a.db", "b.db").replace("General assistant", "A third"))
        gateway.life.reload()
        kept = (await gateway.get("/api/v1/personas")).json["personas"][0]["description"]

        assert ("Somebody else", "Somebody else") == (changed, kept)
        assert "another store takes a restart" in await gateway.log_text()
        assert [] == (await history(gateway))["chats"]
