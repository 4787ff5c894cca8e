"""The file of spending: written beside the calls, read at start, never an outage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from providers.canonical.prices import total
from router.policy.budget import Aside
from router.settings import Budget
from router.state import ledger
from router.state.budgets import Budgets
from router.state.ledger import OPERATIONS, Ledger, part_of, share_out

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
TEN = Budget(usd=Decimal(10), per="month")
NAME = "state.json"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written at once, and again at once."""
    monkeypatch.setattr(ledger, "EVERY", 0.01)
    monkeypatch.setattr(ledger, "AGAIN", 0.02)


class Heard:
    """What was told of the file, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def failed(self, operation: str, reason: str) -> None:
        self.told.append((operation, reason))

    def works(self) -> None:
        self.told.append(("works", ""))

    @property
    def operations(self) -> list[str]:
        """Each once in a row."""
        words = [operation for operation, _ in self.told]
        return [word for index, word in enumerate(words) if index == 0 or words[index - 1] != word]


def spend(budgets: Budgets, amount: str) -> None:
    taken = budgets.of("a", TEN, NOON).take({"usd": Decimal(amount)}, NOON)
    assert isinstance(taken, Aside)
    taken.settle({"usd": Decimal(amount)}, {}, NOON)
    budgets.changed()


def spent(budgets: Budgets) -> Decimal:
    return budgets.of("a", TEN, NOON).purses["usd"].spent


@contextlib.asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[tuple[Budgets, Heard]]:
    """A process whose file is in this folder."""
    budgets, heard = Budgets(), Heard()
    book = Ledger(folder / NAME, budgets, lambda: NOON, heard)
    book.open()
    task = asyncio.create_task(book.keep())
    try:
        yield budgets, heard
    finally:
        await book.close(task)


async def until(heard: Heard, operation: str) -> None:
    async with asyncio.timeout(5):
        while not heard.told or heard.told[-1][0] != operation:
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """For root, too, whom permissions do not stop: the name of the second file is that of a folder."""
    (folder / f"{NAME}.new").mkdir()
    try:
        yield
    finally:
        (folder / f"{NAME}.new").rmdir()


async def test_what_was_spent_is_there_after_a_restart(tmp_path: Path) -> None:
    """Without an end in order: the file is written while the process runs."""
    async with kept(tmp_path) as (budgets, heard):
        spend(budgets, "4")
        await until(heard, "works")
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / NAME).write_bytes((tmp_path / NAME).read_bytes())

    async with kept(copy) as (again, told):
        assert 4 == spent(again)
        assert [] == told.told


async def test_the_end_writes_what_was_not_written_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not after the usual time."""
    monkeypatch.setattr(ledger, "EVERY", 60.0)
    async with kept(tmp_path) as (budgets, _):
        spend(budgets, "4")
        await asyncio.sleep(0.02)
    async with kept(tmp_path) as (again, _):
        assert 4 == spent(again)


async def test_the_file_says_nothing_secret_and_is_nobody_elses(tmp_path: Path) -> None:
    """Names of keys and amounts; for its owner alone. No other file is left behind but the lock."""
    async with kept(tmp_path) as (budgets, _):
        spend(budgets, "4")
    path = tmp_path / NAME

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert {NAME, f"{NAME}.lock"} == {found.name for found in tmp_path.iterdir()}
    assert (
        b'{\n "version": 1,\n "budgets": {\n  "a": {\n   "per": "month",\n   "since": "2026-11-01T00:00:00Z",\n'
        b'   "coins": {\n    "usd": {\n     "spent": "4",\n     "estimated": "0",\n     "reserved": "0"\n'
    ) in path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"version": 1, "budgets": {"a"',
        b"[]",
        b'{"version": 2}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 1, "budgets": {"a": {"per": "month", "since": "x", "coins": {}}}}',
        b'{"version": 1, "budgets": {"a": {"per": "month", "since": "9999-12-31T00:00:00Z", "coins": {}}}}',
    ],
)
async def test_a_file_that_makes_no_sense_is_told_and_put_aside(tmp_path: Path, content: bytes) -> None:
    """The gateway begins with nothing spent, and writes a new one."""
    (tmp_path / NAME).write_bytes(content)
    async with kept(tmp_path) as (budgets, heard):
        first = list(heard.told)
        spend(budgets, "4")
        await until(heard, "works")
    async with kept(tmp_path) as (again, _):
        assert 4 == spent(again)

    assert [("state_read", "it is not what is written here, and is kept as .broken")] == first
    assert content == (tmp_path / f"{NAME}.broken").read_bytes()


async def test_a_file_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    """Nothing is lost meanwhile, and nothing is raised."""
    with unwritable(tmp_path):
        async with kept(tmp_path) as (budgets, heard):
            spend(budgets, "4")
            await until(heard, "state_write")
            os.rmdir(tmp_path / f"{NAME}.new")
            await until(heard, "works")
            os.mkdir(tmp_path / f"{NAME}.new")
    async with kept(tmp_path) as (again, _):
        assert 4 == spent(again)

    assert ["state_write", "works"] == heard.operations[:2]


@pytest.mark.skipif(os.getuid() == 0 and not os.path.exists("/proc/sys"), reason="no folder that nobody may write to")
async def test_a_folder_that_nobody_may_write_to_is_no_outage() -> None:
    """The reason is the system's own, without the path."""
    async with kept(Path("/proc/sys")) as (budgets, heard):
        spend(budgets, "4")
        await asyncio.sleep(0.1)

        assert 4 == spent(budgets)
        assert ["state_lock"] == heard.operations
        assert not any("/proc" in reason for _, reason in heard.told)


async def test_a_file_that_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    """It is read when it can be; what was spent until then is added."""
    async with kept(tmp_path) as (budgets, _):
        spend(budgets, "4")
    path, away = tmp_path / NAME, tmp_path / "away"
    path.rename(away)
    path.mkdir()  # reading a folder fails, for root, too
    async with kept(tmp_path) as (again, heard):
        spend(again, "1")
        await until(heard, "state_read")
        path.rmdir()
        away.rename(path)
        await until(heard, "works")

        assert 5 == spent(again)
    async with kept(tmp_path) as (last, _):
        assert 5 == spent(last)


async def test_two_processes_never_write_one_file(tmp_path: Path) -> None:
    """The second reads it, tells, and adds what it has counted when the first has gone."""
    async with kept(tmp_path) as (seed, _):
        spend(seed, "1")
    second = contextlib.AsyncExitStack()
    async with kept(tmp_path) as (first, _):
        budgets, heard = await second.enter_async_context(kept(tmp_path))
        begun = spent(budgets)
        spend(first, "2")
        spend(budgets, "3")
        await asyncio.sleep(0.1)
        meanwhile = list(heard.operations)
    async with second:
        await until(heard, "works")
        both = spent(budgets)
    async with kept(tmp_path) as (last, _):
        assert 6 == spent(last)

    assert (1, ["state_lock"], 6) == (begun, meanwhile, both)


def test_a_process_that_is_killed_in_the_middle_of_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    """Whenever it dies: what is there is what was written before, or after."""
    program = """
import asyncio, sys
from pathlib import Path
from tests.router.state.test_ledger import Heard, NOON, Ledger, Budgets, ledger, spend
ledger.EVERY = 0
async def main():
    budgets = Budgets()
    book = Ledger(Path(sys.argv[1]), budgets, lambda: NOON, Heard())
    book.open()
    task = asyncio.create_task(book.keep())
    while True:
        spend(budgets, "0.000001")
        print(flush=True)
        await asyncio.sleep(0)
asyncio.run(main())
"""
    before = Decimal(0)
    for lines in (3, 500, 2500):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / NAME)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
        rows = ledger._rows(tmp_path / NAME)
        now = rows["a"].coins["usd"].spent if rows else Decimal(0)

        assert before <= now
        before = now
    assert before > 0


# ── several processes that serve together ──────────────────────────────────────────────


def amounts(folder: Path) -> dict[str, Decimal]:
    """What each file says that the key has spent."""
    return {
        file.name: ledger._rows(file)["a"].coins["usd"].spent
        for file in sorted(folder.iterdir())
        if not file.name.endswith((".lock", ".broken"))
    }


async def write(folder: Path, number: int, amount: str) -> None:
    budgets, heard = Budgets(), Heard()
    book = Ledger(part_of(folder / NAME, number), budgets, lambda: NOON, heard)
    book.open()
    spend(budgets, amount)
    await book.close()


async def test_what_was_spent_is_shared_out_among_more_processes_or_fewer(tmp_path: Path) -> None:
    """To the last digit, and back; the files of those that are no more are gone."""
    heard = Heard()
    await write(tmp_path, 0, "10")
    share_out(tmp_path / NAME, 3, NOON, heard)
    three = amounts(tmp_path)
    await write(tmp_path, 1, "0.5")
    share_out(tmp_path / NAME, 3, NOON, heard)
    same = amounts(tmp_path)
    share_out(tmp_path / NAME, 2, NOON, heard)
    two = amounts(tmp_path)
    share_out(tmp_path / NAME, 1, NOON, heard)

    assert [NAME, f"{NAME}.1", f"{NAME}.2"] == list(three) and total(three.values()) == 10
    assert max(three.values()) - min(three.values()) < Decimal("3e-9")
    assert same == three | {f"{NAME}.1": total((three[f"{NAME}.1"], Decimal("0.5")))}
    assert {NAME: Decimal("5.25"), f"{NAME}.1": Decimal("5.25")} == two
    assert {NAME: Decimal("10.5")} == amounts(tmp_path)
    assert [] == heard.told


async def test_what_cannot_be_shared_out_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    """Because a process is still there, or nothing can be written."""
    heard = Heard()
    await write(tmp_path, 0, "4")
    await write(tmp_path, 1, "6")
    before = amounts(tmp_path)
    async with kept(tmp_path):
        share_out(tmp_path / NAME, 1, NOON, heard)
    with unwritable(tmp_path):
        share_out(tmp_path / NAME, 1, NOON, heard)

    assert ["state_lock", "state_write"] == heard.operations
    assert before == amounts(tmp_path)


async def test_a_part_that_makes_no_sense_does_not_hide_the_others(tmp_path: Path) -> None:
    """It is told and put aside, once; what the others tell is shared out."""
    heard = Heard()
    await write(tmp_path, 0, "4")
    await write(tmp_path, 1, "6")
    (tmp_path / f"{NAME}.2").write_text("none of ours")
    for _ in range(2):
        share_out(tmp_path / NAME, 1, NOON, heard)

    assert [("state_read", "it is not what is written here, and is kept as .broken")] == heard.told
    assert {NAME: Decimal(10)} == amounts(tmp_path)
    assert "none of ours" == (tmp_path / f"{NAME}.2.broken").read_text()


async def test_a_link_stays_one(tmp_path: Path) -> None:
    """What it leads to is written and locked, so that two names of one file are one file."""
    (tmp_path / "disk").mkdir()
    (tmp_path / NAME).symlink_to(tmp_path / "disk" / "real")
    await write(tmp_path, 0, "4")

    assert (tmp_path / NAME).is_symlink() and {"real", "real.lock"} == set(os.listdir(tmp_path / "disk"))
    assert part_of(tmp_path / NAME, 1) == part_of(tmp_path / "disk" / "real", 1)


async def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to: told, and left as it is."""
    os.mkfifo(tmp_path / NAME)
    heard = Heard()
    await asyncio.wait_for(asyncio.to_thread(Ledger(tmp_path / NAME, Budgets(), lambda: NOON, heard).open), 5)

    assert [("state_read", "it is not a file")] == heard.told
    assert (tmp_path / NAME).is_fifo()


def test_where_nothing_was_spent_there_is_nothing_to_share_out(tmp_path: Path) -> None:
    """No file is made."""
    share_out(tmp_path / NAME, 4, NOON, Heard())

    assert [] == list(tmp_path.iterdir())


def test_operations_are_those_that_metrics_know() -> None:
    """Labels are a closed set."""
    from router.vocabulary import STORE_OPERATIONS

    assert set(OPERATIONS) <= STORE_OPERATIONS
