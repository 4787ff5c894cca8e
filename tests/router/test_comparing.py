"""`isthmus config diff`: which calls would be treated otherwise by another file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from router import comparing
from router.__main__ import main
from router.comparing import Change, compare, lines, probe_of
from router.config import load
from router.settings import Settings
from router.table import Route, Table

ROWS = """
providers:
  one: {base_url: "http://127.0.0.1:9", speaks: [openai.chat], auth: none}
  two: {base_url: "http://127.0.0.1:9", speaks: [openai.chat], auth: none}
"""
MODELS = """
models:
  m: [{provider: one, model: a}, {provider: two, model: b}]
  "gpt-*": [{provider: one}]
"""
ROUTES = """
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
"""
TABLE = ROWS + MODELS + ROUTES


def settings(folder: Path, text: str, name: str = "one.yaml", **environ: str) -> Settings:
    path = folder / name
    path.write_text(text)
    loaded = load(path, environ)

    assert loaded.settings is not None, loaded.problems
    return loaded.settings


def changes(folder: Path, old: str, new: str) -> list[Change]:
    return compare(settings(folder, old), settings(folder, new, "two.yaml"))


def text_of(folder: Path, old: str, new: str) -> list[str]:
    return list(lines(changes(folder, old, new)))


def test_a_file_is_as_itself(tmp_path: Path) -> None:
    """Wherever it stands, and however it is laid out."""
    assert [] == changes(tmp_path, TABLE, "# a line more\n\n" + TABLE.replace("one}]", "one, weight: 1}]"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "[{provider: one, model: a}, {provider: two, model: b}]",
            "[{provider: two, model: b}, {provider: one, model: a}]",
            ["    targets: in another order: two/b, one/a"],
        ),
        (
            "{provider: two, model: b}]",
            "{provider: two, model: c}]",
            ["    targets: (beside 1 that stay)", "      - two/b", "      + two/c"],
        ),
        (
            "{provider: two, model: b}]",
            "{provider: two, model: b, weight: 3, when: {tools: true}}]",
            ["    targets: (beside 1 that stay)", "      - two/b", '      + two/b weight 3 when {"tools":true}'],
        ),
        (
            "m: [{provider: one, model: a}, {provider: two, model: b}]",
            "m: {sticky: caller, prefer: fidelity, choose: fastest, to: [{provider: one, model: a}, "
            "{provider: two, model: b}]}",
            ["    choose: in_order -> fastest", "    sticky: off -> caller", "    prefer: off -> fidelity"],
        ),
    ],
    ids=["order", "target", "condition", "rules"],
)
def test_a_model_that_leads_elsewhere(tmp_path: Path, old: str, new: str, told: list[str]) -> None:
    """Once for all paths on which it does, and nothing else."""
    found = text_of(tmp_path, TABLE, TABLE.replace(old, new))

    assert found == ["calls", "  m at /v1/chat/completions, /v1/messages", *told]


def test_models_come_and_go(tmp_path: Path) -> None:
    """A name that nobody knew, and one that nobody knows any more."""
    found = text_of(tmp_path, TABLE, TABLE.replace("  m: ", "  n: "))

    assert [line.partition(":")[0] for line in found] == [
        "calls",
        "  + n at /v1/chat/completions, /v1/messages",
        "  - m at /v1/chat/completions, /v1/messages",
    ]


def test_a_pattern_that_takes_a_name_over_is_seen(tmp_path: Path) -> None:
    """What was `gpt-*` is another pattern's now, though its own row is as it was."""
    found = changes(tmp_path, TABLE, TABLE.replace('"gpt-*":', '"gpt-0*": [{provider: two}]\n  "gpt-*":'))
    told = {change.name.partition(" ")[0]: change for change in found}

    assert ["one/*"] == told["gpt-0*"].before and ["two/*"] == told["gpt-0*"].after


def test_a_path_that_another_row_takes_over_is_seen(tmp_path: Path) -> None:
    """A row that is gone may be answered by a more general one."""
    both = ROUTES + '  - {path: "/{any}", speaks: openai.chat, to: models}\n'
    old = ROWS + MODELS + both + "  - {path: /old, speaks: openai.chat, to: [{provider: one, model: x}]}\n"

    assert text_of(tmp_path, old, ROWS + MODELS + both)[:3] == ["routes", "  /old", "    answered by: /old -> /{any}"]


def test_paths_come_and_go(tmp_path: Path) -> None:
    """With what they spoke, and where they led."""
    found = text_of(tmp_path, TABLE, TABLE.replace("/v1/messages, speaks", "/v2/messages, speaks"))

    assert found == [
        "routes",
        "  + /v2/messages: anthropic.messages to models",
        "  - /v1/messages: anthropic.messages to models",
    ]


ACCESS = "access: {keys: [{name: a, hash: 'sha256:%s', models: [m], rpm: 5}]%s}\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "policies: {default: {within: 20s, retry_budget: 10%}}\n", ["policies", "  default"]),
        ("", "server: {max_body: 1MiB}\n", ["server", "  limits", "    max_body: 32MiB -> 1MiB"]),
        (
            "",
            "server: {admin: null, drain: 1s}\n",
            ["server", "    admin: 127.0.0.1:8081 -> none", "    drain: 30s -> 1s"],
        ),
        ("", "prices: {one/a: {input: 1}}\n", ["prices", "  + one/a"]),
        ("prices: {one/a: {input: 1}}\n", "\n\nprices: {one/a: {input: 2}}\n", ["prices", "  one/a"]),
        ("", ACCESS % ("00" * 32, ""), ["access", "    callers: anybody may call -> a credential is asked for"]),
        (ACCESS % ("00" * 32, ""), ACCESS % ("11" * 32, ""), ["access", "  key a", "    hash: another one"]),
        (
            ACCESS % ("00" * 32, ""),
            (ACCESS % ("00" * 32, "")).replace("rpm: 5", "tpm: 9").replace("[m]", "[gpt-*]"),
            ["access", "  key a", "    models:", "      - m", "      + gpt-*"],
        ),
        ("", "telemetry: {log: text}\n", ["server", "    log: json -> text"]),
        ("", "server: {workers: 2}\n", ["server", "    workers: 1 -> 2"]),
        (
            ACCESS % ("00" * 32, ""),
            (ACCESS % ("00" * 32, "")).replace("rpm: 5", "rpm: 5, budget: {usd: 5, per: day}"),
            ["access", "  key a", "    budget: none -> usd 5; credits none; per day; unpriced refuse"],
        ),
    ],
)
def test_the_rest_is_compared_value_by_value(tmp_path: Path, old: str, new: str, told: list[str]) -> None:
    """Policies, limits, prices, keys, in the words of routes.yaml."""
    found = text_of(tmp_path, old + TABLE, new + TABLE)

    assert found[: len(told)] == told


def test_a_changed_policy_is_told_with_its_values(tmp_path: Path) -> None:
    """Durations and shares as they are written."""
    found = text_of(
        tmp_path, TABLE, "policies: {default: {within: 20s, retry_budget: 10%, timeouts: {idle: 5s}}}\n" + TABLE
    )

    assert found == [
        "policies",
        "  default",
        "    within: 90s -> 20s",
        "    timeouts.idle: 60s -> 5s",
        "    retry_budget: 20% -> 10%",
    ]


def test_times_and_sizes_are_told_as_they_are_written(tmp_path: Path) -> None:
    """Those of hedging, slow streams and kept answers, too."""
    one = "policies: {default: {hedge: {after: p95}, timeouts: {min_rate: 1KiB}}}\n" + TABLE
    other = one.replace("p95", "300ms").replace("1KiB", "2KiB, rate_over: 5s")
    found = text_of(tmp_path, one, other.replace("to: models}", "to: models, cache: {ttl: 90m}}", 1))

    assert found == [
        "routes",
        "  /v1/chat/completions",
        "    cache: none -> ttl 90m; scope key",
        "policies",
        "  default",
        "    timeouts.min_rate: 1KiB -> 2KiB",
        "    timeouts.rate_over: 10s -> 5s",
        "    hedge.after: p95 -> 300ms",
    ]


SECRETIVE = """
server: {admin_token: "canary-admin-N"}
access:
  keys: [{name: a, hash: "sha256:NNNN"}]
  jwt: {secret: "canary-canary-canary-canary-jwt-N", audience: here}
providers:
  one: {base_url: "http://127.0.0.1:9", speaks: [openai.chat], secret: canary-literal-N,
        headers: {x-tenant: canary-header-N, authorization: canary-other-N}, query: {token: canary-query-N}}
  two: {base_url: "http://127.0.0.1:9", speaks: [openai.chat], secrets: [canary-first, canary-second-N]}
"""


def test_no_secret_is_told(tmp_path: Path) -> None:
    """Only that it is another one: written out, in a header, a query, a key's hash or a token."""
    old, new = (SECRETIVE.replace("NNNN", n * 64).replace("-N", f"-{n}") + MODELS + ROUTES for n in "12")
    found = changes(tmp_path, old, new)
    told = msgspec.json.encode(found).decode() + "\n".join(lines(found))

    assert "canary" not in told and "1" * 8 not in told
    assert {(change.name, change.field) for change in found} == {
        ("one", "secrets"),
        ("one", "headers.x-tenant"),
        ("one", "headers.authorization"),
        ("one", "query.token"),
        ("two", "secrets"),
        ("key a", "hash"),
        ("jwt", "secret"),
        ("", "admin_token"),
    }


def test_secrets_that_come_and_go_are_not_told(tmp_path: Path) -> None:
    """Nor those of a row that one file has alone."""
    with_all = SECRETIVE.replace("NNNN", "1" * 64) + MODELS + ROUTES
    for old, new in ((TABLE, with_all), (with_all, TABLE)):
        found = changes(tmp_path, old, new)
        told = msgspec.json.encode(found).decode() + "\n".join(lines(found))

        assert "access" in told and "canary" not in told and "1" * 8 not in told


def test_every_value_of_a_table_is_compared() -> None:
    """What comes to the settings later is found different without a word here; secrets of it are named as such."""
    here = {name: name in comparing._COMPARED for name in Settings.__struct_fields__}

    assert {"listen", "admin", "admin_token", "drain", "log", "workers", "state_file"} <= {
        name for name, elsewhere in here.items() if not elsewhere
    }
    assert comparing._COMPARED <= here.keys()


@pytest.mark.parametrize(
    "pattern",
    [
        "/v1/chat/completions",
        "/{a}/x/{b:secret}",
        "/v1beta/models/{model}:{task}",
        "/v1/files*",
        "/v1/audio/*",
        "/api/{url:url}/{key:secret}/chat/completions",
    ],
)
def test_a_probe_fits_its_pattern(pattern: str) -> None:
    """Else its route would never be asked."""
    route = Route(path=pattern, speaks="openai.chat", to="named" if ":url" in pattern else "models")

    assert Table((route,)).match("POST", probe_of(pattern)).route is route


@given(st.permutations(["a", "b", "c"]), st.permutations(["a", "b", "c"]))
def test_going_back_undoes_what_going_there_does(one: list[str], other: list[str]) -> None:
    """The same things differ whichever file is the old one."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = [
            TABLE.replace("m: [", "m: [" + ", ".join(f"{{provider: two, model: {each}}}" for each in order) + ", ")
            for order in (one, other)
        ]
        there, back = changes(folder, texts[0], texts[1]), changes(folder, texts[1], texts[0])

    def turned(change: Change) -> Change:
        return msgspec.structs.replace(change, before=change.after, after=change.before)

    assert there == [turned(change) for change in back]
    assert bool(there) == (one != other)


# ── the command ────────────────────────────────────────────────────────────────────────────────


def run(folder: Path, old: str, new: str, *more: str) -> Any:
    paths = [folder / "old.yaml", folder / "new.yaml"]
    for path, text in zip(paths, (old, new), strict=True):
        path.write_text(text)
    return CliRunner().invoke(main, ["config", "diff", *map(str, paths), *more])


def test_it_ends_as_diff_does(tmp_path: Path) -> None:
    """0 and nothing said, 1 and what is different, 2 and all that is wrong with either file."""
    same = run(tmp_path, TABLE, TABLE)
    other = run(tmp_path, TABLE, TABLE.replace("model: b", "model: c"))
    bad = run(tmp_path, TABLE.replace("provider: one", "provider: nobody"), TABLE.replace("to: models", "to: model"))

    assert (0, "") == (same.exit_code, same.output)
    assert 1 == other.exit_code and "      + two/c\n" in other.stdout
    assert (2, "") == (bad.exit_code, bad.stdout)
    assert {"old.yaml", "new.yaml"} == {Path(line.partition(":")[0]).name for line in bad.stderr.splitlines()}
    assert 4 == len(bad.stderr.splitlines())


def test_programs_read_json(tmp_path: Path) -> None:
    """A list of changes, each with its section, name, field and both values."""
    found = json.loads(run(tmp_path, TABLE, TABLE.replace("model: b", "model: c"), "--json").stdout)

    assert found == [
        {
            "section": "calls",
            "name": "m at /v1/chat/completions, /v1/messages",
            "field": "targets",
            "before": ["one/a", "two/b"],
            "after": ["one/a", "two/c"],
        }
    ]


def test_a_file_that_is_not_there_is_a_bad_one(tmp_path: Path) -> None:
    """Exit code 2, as for any that cannot be read."""
    result = CliRunner().invoke(main, ["config", "diff", str(tmp_path / "a"), str(tmp_path / "b")])

    assert 2 == result.exit_code
    assert 2 == result.stderr.count("cannot be read")
