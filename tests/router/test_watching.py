"""router/watching.py: when a file has become another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.watching import Mark, Stillness, digest, mark, watch

LOOK = 0.02


def state(number: int) -> Mark:
    return None if number == 0 else (1, 1, number, 10)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_each_change_that_stands_still_is_told_once(looks: list[int]) -> None:
    """Told is a state that is not the one told before, at the second of two looks that see the same."""
    stillness = Stillness(state(looks[0]))
    told, last = looks[0], looks[0]
    for now in looks[1:]:
        expected = now == last and now != told and now != 0
        assert expected == stillness.look(state(now))
        told, last = (now if expected else told), now


def test_a_file_that_nobody_can_read_has_no_mark(tmp_path: Path) -> None:
    """Neither mark nor digest, and no error."""
    assert (None, b"") == (mark(tmp_path / "nothing"), digest(tmp_path / "nothing"))


@asynccontextmanager
async def watching(path: Path, seen: list[str]):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(watch(path, lambda: seen.append(path.read_text()), LOOK))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text("second")
    os.replace(other, path)


async def swapped(path: Path) -> None:
    """As Kubernetes does it: `routes.yaml` → `..data/routes.yaml`, `..data` → a folder for each version."""
    folder = path.parent / "version2"
    folder.mkdir()
    (folder / path.name).write_text("second")
    link = path.parent / "..data.new"
    link.symlink_to(folder.name)
    os.replace(link, path.parent / "..data")


async def written_slowly(path: Path) -> None:
    """A half of the file stands there for less than a look."""
    with path.open("w") as file:
        for letter in "second":
            file.write(letter)
            file.flush()
            await asyncio.sleep(LOOK / 4)


async def taken_away_for_a_while(path: Path) -> None:
    path.unlink()
    await asyncio.sleep(LOOK * 4)
    path.write_text("second")


@pytest.mark.parametrize("change", [replaced, swapped, written_slowly, taken_away_for_a_while])
async def test_c09_however_a_file_changes_it_is_told_once(
    change: Callable[[Path], Awaitable[None]], tmp_path: Path
) -> None:
    """By rename, by a swapped link, by slow writing: once, when all of it is there."""
    path = tmp_path / "routes.yaml"
    if change is swapped:
        (tmp_path / "version1").mkdir()
        (tmp_path / "version1" / path.name).write_text("first")
        (tmp_path / "..data").symlink_to("version1")
        path.symlink_to("..data/routes.yaml")
    else:
        path.write_text("first")
    seen: list[str] = []
    async with watching(path, seen):
        await change(path)
        await asyncio.sleep(LOOK * 10)

    assert ["second"] == seen
