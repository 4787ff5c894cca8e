"""`isthmus chats export` and `purge`: one owner's data, given out or erased."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.__main__ import main
from router.access import LOCAL, Caller
from router.chats.exchange import owner_of
from router.chats.owners import export
from tests.chats import TABLE, assistant, chatting, fill, history, new, token, user

ROOT = Path(__file__).parents[3]
TEXT = TABLE.replace("$up", "http://127.0.0.1:1").replace("$store", "chats.db")
ALICE = "jwt:alice%40corp@https://login.example.com"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """With a table and a store in which two owners have chats."""
    (tmp_path / "routes.yaml").write_text(TEXT)
    async with chatting(store=tmp_path / "chats.db", access=True) as (gateway, _):
        for number in range(3):
            await new(
                gateway,
                f"t{number}",
                user("x"),
                assistant("y"),
                headers=token("alice@corp", "https://login.example.com"),
            )
        await new(gateway, "bobs", headers=token("bob"))
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["chats", *arguments, "-c", str(folder / "routes.yaml")])


def test_an_export_has_all_of_one_owner_and_nothing_else(folder: Path) -> None:
    """A line of JSON for each chat, as a fetch gives it."""
    result = run(folder, "export", "--owner", ALICE)
    chats = [json.loads(line) for line in result.stdout.splitlines()]

    assert 0 == result.exit_code
    assert ["t0", "t1", "t2"] == sorted(chat["title"] for chat in chats)
    assert ["x", "y"] == [message["content"] for message in chats[0]["messages"]]


async def test_a_purge_erases_one_owner_from_the_file(folder: Path) -> None:
    """The others keep theirs; there is nothing to erase twice."""
    first = await asyncio.to_thread(run, folder, "purge", "--owner", ALICE)
    later = [await asyncio.to_thread(run, folder, what, "--owner", ALICE) for what in ("purge", "export")]

    assert (0, "erased 3 chats of " + ALICE + "\n") == (first.exit_code, first.stdout)
    assert [1, 1] == [result.exit_code for result in later]
    assert b"t1" not in b"".join(file.read_bytes() for file in folder.glob("chats.db*"))
    async with chatting(store=folder / "chats.db", access=True) as (gateway, _):
        assert ["bobs"] == [chat["title"] for chat in (await history(gateway, headers=token("bob")))["chats"]]


def test_an_export_that_cannot_be_written_says_so(folder: Path) -> None:
    """Exit 2 and one line, not the 1 of an owner without chats."""
    command = [sys.executable, "-m", "router", "chats", "export", "--owner", ALICE, "-c", str(folder / "routes.yaml")]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)

    assert (2, b"isthmus: No space left on device: not all was written\n") == (result.returncode, result.stderr)


async def test_an_export_has_what_changes_and_lacks_only_what_goes(folder: Path) -> None:
    """Beside a gateway that runs: a chat that moves up is there once, one that is deleted is no fault."""
    store = folder / "chats.db"
    fill(store, 1200, owner=ALICE)
    lines: list[Any] = []

    def write(line: str) -> None:
        lines.append(json.loads(line))
        if len(lines) == 1:
            with sqlite3.connect(store) as other:
                other.execute("DELETE FROM chats WHERE title = 'chat 7'")
                other.execute("UPDATE chats SET updated = ? WHERE title = 'chat 8'", (int(time.time() * 1000),))
            other.close()

    count = await export(str(store), ALICE, write)
    wanted = {"t0", "t1", "t2", *(f"chat {number}" for number in range(1200) if number != 7)}

    assert count == len(lines) == len(wanted) and wanted == {line["title"] for line in lines}


async def test_a_purge_waits_for_others_who_write(folder: Path) -> None:
    """A lock of longer than a gateway's patience with it is no reason to give up half-way."""
    other = sqlite3.connect(folder / "chats.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    running = asyncio.create_task(asyncio.to_thread(run, folder, "purge", "--owner", ALICE))
    await asyncio.sleep(1.5)
    other.execute("ROLLBACK")
    purged = await running
    other.close()

    assert (0, "erased 3 chats of " + ALICE + "\n") == (purged.exit_code, purged.stdout)


def test_without_a_store_it_says_so_and_makes_none(tmp_path: Path) -> None:
    """Exit 2 and one line."""
    (tmp_path / "routes.yaml").write_text(TEXT)
    result = run(tmp_path, "export", "--owner", "local")
    (tmp_path / "none.yaml").write_text("routes: [{path: /x, speaks: openai.chat, to: models}]\n")
    without = CliRunner().invoke(main, ["chats", "purge", "--owner", "x", "-c", str(tmp_path / "none.yaml")])

    assert (2, f"isthmus: there is no chat store at {tmp_path / 'chats.db'}\n") == (result.exit_code, result.stderr)
    assert (2, f"isthmus: {tmp_path / 'none.yaml'} has no chats\n") == (without.exit_code, without.stderr)
    assert not (tmp_path / "chats.db").exists()


def test_no_two_callers_are_one_owner() -> None:
    """Keys, tokens, issuers and nobody: whatever signs are in a subject."""
    callers = [
        LOCAL,
        *(Caller(name="jwt", subject=subject) for subject in ("local", "key:a", "a@b", "a%40b", "a")),
        *(Caller(name="jwt", subject="a", issuer=issuer) for issuer in ("b", "b@c", "", "https://x:1/y")),
        Caller(name="jwt", subject="a@b", issuer="c"),
    ]

    assert len(callers) == len(set(map(owner_of, callers)))
    assert "jwt:a@https://x:1/y" == owner_of(callers[-2])
