"""Limits that are shared out among workers."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.prices import total
from router.config import load
from router.settings import Settings
from router.shares import MOST_WORKERS, cores, of_worker, part, portion, told
from tests.tables import problems

ROUTE = "routes: [{path: /a, speaks: openai.chat, to: models}]\n"
HASH = f"sha256:{hashlib.sha256(b'key').hexdigest()}"
TABLE = f"""
server: {{workers: 4, limits: {{concurrency: 10}}}}
access: {{keys: [{{name: a, hash: "{HASH}", rpm: 5, tpm: 1000}}, {{name: b, hash: "{HASH[:-1]}0"}}]}}
providers: {{demo: {{concurrency: 7, queue: 2}}}}
models: {{m: [{{provider: demo}}]}}
{ROUTE}"""


def settings(tmp_path: Path, text: str, **asked: Any) -> Settings:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    loaded = load(path, {}, **asked)
    assert loaded.settings is not None, loaded.problems
    return loaded.settings


@given(st.integers(0, 10**9), st.integers(1, MOST_WORKERS))
def test_parts_sum_to_the_limit(limit: int, workers: int) -> None:
    """Exactly, and no two differ by more than one."""
    parts = [part(limit, number, workers) for number in range(workers)]

    assert limit == sum(parts)
    assert max(parts) - min(parts) <= 1


def test_each_worker_enforces_its_part(tmp_path: Path) -> None:
    """Of calls at once, of a provider's places and queue, of what keys may use; what is not limited stays so."""
    whole = settings(tmp_path, TABLE)
    found = [of_worker(whole, number) for number in range(4)]

    assert [3, 3, 2, 2] == [one.limits.concurrency for one in found]
    assert [(2, 1), (2, 1), (2, 0), (1, 0)] == [
        (one.providers["demo"].concurrency, one.providers["demo"].queue) for one in found
    ]
    assert [[{"requests": rpm, "tokens": 250}, None] for rpm in (2, 1, 1, 1)] == [
        [key.limits for key in one.access.keys] for one in found if one.access is not None
    ]
    assert {
        "server.limits.concurrency": "2 to 3",
        "providers.demo.concurrency": "1 to 2",
        "access.keys[0].rpm": "1 to 2",
        "access.keys[0].tpm": "250",
    } == told(whole)


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ("rpm: 5", "rpm: 3", "3:", "access.keys[0].rpm: 3"),
        ("concurrency: 10", "concurrency: 3", "2:", "server.limits.concurrency: 3"),
        ("concurrency: 7", "concurrency: 1", "4:", "providers.demo.concurrency: 1"),
    ],
)
def test_a_limit_with_nothing_for_some_worker_is_refused(
    tmp_path: Path, old: str, new: str, place: str, what: str
) -> None:
    """Callers that reach that one would always be refused: the file says so with its place, and `check` does."""
    found = problems(tmp_path, TABLE.replace(old, new))

    assert 1 == len(found) and found[0].startswith(place)
    assert f"{what} is less than one for each of 4 workers" in found[0]


def test_a_budget_is_shared_out_exactly(tmp_path: Path) -> None:
    """`check` tells the parts; what was spent may be kept, each worker's in a file of its own."""
    text = TABLE.replace("tpm: 1000}", "tpm: 1000, budget: {usd: 50, per: month}}") + "state: {file: spent.json}\n"

    assert [] == problems(tmp_path, text)
    assert "50 / 4" == told(settings(tmp_path, text))["access.keys[0].budget.usd"]


@pytest.mark.parametrize("usd", ["50", "0.1", "999999999.999999999", "0.000000001", "0"])
@pytest.mark.parametrize("workers", [1, 3, 4, 7])
def test_amounts_of_workers_sum_to_the_whole(tmp_path: Path, usd: str, workers: int) -> None:
    """To the last digit, and none has more digits than a file may say: what operators and callers read is that."""
    text = TABLE.replace("tpm: 1000}", f"tpm: 1000, budget: {{usd: {usd}, per: month}}}}").replace("rpm: 5", "rpm: 99")
    whole = settings(tmp_path, text)
    keys = [of_worker(msgspec.structs.replace(whole, workers=workers), number).access for number in range(workers)]
    parts = [one.keys[0].budget.usd for one in keys if one is not None and one.keys[0].budget is not None]
    parts = [each for each in parts if each is not None]

    assert (workers, Decimal(usd)) == (len(parts), total(parts))
    assert all(each == round(each, 9) >= 0 for each in parts)


def test_what_was_spent_is_shared_out_as_exactly() -> None:
    """Fine amounts among them, which are those of the first."""
    for amount in map(Decimal, ("10", "0.0000123456789", "123456.000000000001", "0")):
        parts = [portion(amount, number, 3) for number in range(3)]

        assert amount == total(parts) and parts[1] == parts[2] == round(parts[1], 9) >= 0


def test_limits_of_one_worker_are_what_the_file_says(tmp_path: Path) -> None:
    """Nothing is shared out, and no limit is too small."""
    whole = settings(tmp_path, TABLE.replace("workers: 4", "workers: 1").replace("rpm: 5", "rpm: 1"))

    assert whole == of_worker(whole, 0)


def test_one_for_each_core(tmp_path: Path) -> None:
    """`auto`, of the file or of the command line: as many as this process may use, or its container."""
    (tmp_path / "max").write_text("max 100000\n")
    (tmp_path / "half").write_text("150000 100000\n")
    (tmp_path / "little").write_text("20000 100000\n")
    usual = cores(tmp_path / "none")

    assert usual == cores(tmp_path / "max") >= 1
    assert min(usual, 2) == cores(tmp_path / "half")
    assert 1 == cores(tmp_path / "little")
    assert cores() == settings(tmp_path, TABLE.replace("workers: 4", "workers: auto")).workers
    assert cores() == settings(tmp_path, TABLE, workers="auto").workers
    assert 3 == settings(tmp_path, TABLE, workers="3").workers
