"""The shape of the code base, held by a test: imports point down, each floor keeps to what it may know.

    8  server, admin, __main__            aiohttp in; process life
    7  exchange, relay, chats             one call from first byte to last
    6  transport, egress, access, state   the doors
    5  policy, metrics, logs, tracing     decisions (pure) and observations
    4  table, config, secrets             routes.yaml -> values
    3  provider, catalog, auth, quirks    a row made usable
    2  dialects                           one wire language per module
    1  dialect, wire                      the contract; bytes <-> events
    0  canonical                          what a call means

A new file is given its floor in FLOORS, on purpose: where it stands is a decision.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parent.parent

# A folder stands for everything in it; the longest entry that fits decides.
FLOORS = {
    "providers.canonical": 0,
    "providers.wire": 1,
    "providers.dialect": 1,
    "providers.schemas": 1,
    "providers.dialects": 2,
    "providers": 3,  # the package itself: what a program that imports it sees
    "providers.provider": 3,
    "providers.catalog": 3,
    "providers.auth": 3,
    "providers.quirks": 3,
    "providers.adherence": 3,
    "providers.emulation": 3,
    "providers.mending": 3,
    "providers.searching": 3,
    "providers.listing": 3,
    "providers.demo_answers": 3,
    "router": 4,  # the package itself: empty
    "router.table": 4,
    "router.upstream_path": 4,
    "router.config": 4,
    "router.secrets": 4,
    "router.strict_yaml": 4,  # config's parts: bytes to nodes,
    "router.units": 4,  # durations and sizes,
    "router.reference": 4,  # what the keys mean,
    "router.complaints": 4,  # what is wrong, with its place,
    "router.rows": 4,  # provider rows,
    "router.assembly": 4,  # the rest put together,
    "router.checks": 4,  # and looked over;
    "router.shares": 4,  # and shared out among processes;
    "router.settings": 4,  # what comes of it
    "router.prices": 4,  # what targets cost,
    "router.kinds": 4,  # what single values may be,
    "router.conditions": 4,  # which calls go where,
    "router.comparing": 4,  # what another file would change,
    "router.policy_rows": 4,  # and policies,
    "router.published": 4,  # as the file says, or a list that is installed;
    "router.weighing": 4,  # what they would cost comes before that;
    "router.validating": 4,  # whether schemas can be checked at all is asked when the file is read
    "router.tokens": 4,  # which keys are good is asked when the file is read
    "router.policy": 5,
    "router.record": 5,
    "router.instruments": 5,
    "router.vocabulary": 5,
    "router.metrics": 5,
    "router.sums": 5,
    "router.logs": 5,
    "router.turn": 5,
    "router.tracing": 5,
    "router.arrived": 6,
    "router.line": 6,
    "router.link": 6,
    "router.transport": 6,
    "router.egress": 6,
    "router.access": 6,
    "router.demo": 6,
    "router.state": 6,
    "router.alarm": 6,
    "router.watching": 6,
    "router.relay": 7,
    "router.gateway": 7,
    "router.admission": 7,
    "router.answers": 7,
    "router.limiting": 7,
    "router.spending": 7,
    "router.targeting": 7,
    "router.racing": 7,
    "router.streaming": 7,
    "router.outgoing": 7,
    "router.exchange": 7,
    "router.opaque": 7,
    "router.shaped": 7,
    "router.mended": 7,
    "router.caching": 7,
    "router.explain": 7,
    "router.chats": 7,
    "router.chats.personas": 4,  # values
    "router.chats.rows": 4,  # and where they come from
    "router.server": 8,
    "router.worker": 8,
    "router.supervisor": 8,
    "router.admin": 8,
    "router.__main__": 8,
}

# Clock, dice and the machine are passed in, so that translation and decisions can be repeated exactly.
IMPURE = {"asyncio", "logging", "os", "random", "secrets", "time", "uuid"}
IMPURE |= {"http.client", "multiprocessing", "socket", "ssl", "subprocess", "threading", "urllib.request"}
WEB = {"aiohttp", "httpx", "requests", "urllib3"}
FORBIDDEN = {
    "providers": IMPURE | WEB | {"pydantic", "router"},
    "router.policy": IMPURE | WEB | {"pydantic"},
}
# Besides the standard library.
ALLOWED = {
    "providers.canonical": {"msgspec", "providers"},
    "providers": {"msgspec", "providers", "yaml"},
}
# Only these may import the package: whoever adds a file says why it must.
ONLY_IN = {
    "aiohttp": {
        "router.server",  # takes calls
        "router.admin",
        "router.relay",  # writes answers
        "router.arrived",  # its readers
        "router.line",  # connections and answers
        "router.transport",  # sends calls
        "router.egress",  # checks addresses inside the connector
        "router.chats",  # its own HTTP surface
    },
    "pydantic": {"router.config", "router.kinds", "router.policy_rows"},
    "jsonschema_rs": {"router.validating"},
    "genai_prices": {"router.published"},
    "sqlalchemy": {"router.chats"},  # the extra `db`
    "aiosqlite": {"router.chats.sqlite"},
    "alembic": {"router.chats.migrating", "router.chats.migrations"},
    "yaml": {"router.strict_yaml", "providers.catalog"},
}

# Modules beside the dialects that are none.
SHARED_BY_DIALECTS = {"upstream_only", "unread"}

LONGEST_MODULE = 800
LONGEST_FUNCTION = 100

# Source files whose test has another name: file -> (test file, why).
TESTED_BY: dict[str, tuple[str, str]] = {
    "providers/canonical/chat.py": ("tests/providers/canonical/test_stream.py", "values without behaviour"),
    "providers/dialect.py": ("tests/providers/test_provider.py", "a contract; the type checker holds it"),
    "router/admission.py": ("tests/router/test_proxy_paths.py", "a part of the exchange, tested by conversations"),
    "router/gateway.py": ("tests/router/test_exchange.py", "what exchanges share, tested by them"),
    "router/targeting.py": ("tests/router/test_choosing.py", "seen from the upstreams that are called"),
    "router/relay.py": ("tests/router/test_streaming.py", "the caller's socket: tested over one"),
    "router/record.py": ("tests/router/test_metrics.py", "a value without behaviour"),
    "router/settings.py": ("tests/router/test_config.py", "values that only reading a file makes"),
    "router/reference.py": ("tests/router/test_config.py", "it reads the models that are there"),
    "router/chats/personas.py": ("tests/router/chats/test_rows.py", "values that only reading a file makes"),
    "router/chats/database.py": ("tests/router/chats/test_store.py", "the suite for every store"),
    "router/chats/tables.py": ("tests/router/chats/test_migrating.py", "compared with what migrations leave"),
    "router/chats/migrations/env.py": ("tests/router/chats/test_migrating.py", "run by Alembic"),
    "router/chats/migrations/versions/v0001_chats.py": ("tests/router/chats/test_migrating.py", "run by Alembic"),
    "router/worker.py": ("tests/router/test_supervisor.py", "one of several processes, seen from outside"),
    "router/complaints.py": ("tests/router/test_config.py", "what it collects is what those tests read"),
}

# Names of providers that are also words; they count only as a whole string or a whole name.
ALSO_WORDS = {"demo", "together", "local", "replicate", "perplexity", "lambda", "fireworks", "target"}


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module

    @property
    def relative(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


class Import(NamedTuple):
    target: str
    line: int
    only_for_types: bool


@cache
def modules() -> dict[str, Module]:
    found = {}
    for package in ("providers", "router"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def floor(name: str) -> int | None:
    """The floor of a module; None where nobody has given it one."""
    fits = [entry for entry in FLOORS if within(name, entry) and entry not in ("router", "providers")]
    if name in ("router", "providers"):
        return FLOORS[name]
    return FLOORS[max(fits, key=len)] if fits else None


@cache
def imports(name: str) -> tuple[Import, ...]:
    """What a module imports, wherever in it the import stands, resolved to modules of ours where they are."""
    module = modules()[name]
    package = name if module.path.name == "__init__.py" else name.rpartition(".")[0]
    return tuple(_imports(module.tree, package, False))


def _imports(node: ast.AST, package: str, only_for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, only_for_types)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                start = ".".join(package.split(".")[: len(package.split(".")) - child.level + 1])
                base = f"{start}.{base}" if base else start
            for alias in child.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if _is_module(base, inner) else base, child.lineno, only_for_types)
        else:
            types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(child, package, only_for_types or types)


def _is_module(base: str, inner: str) -> bool:
    """`from a import b`: is b a module? Of the standard library only the names that FORBIDDEN spells out."""
    return inner in modules() or any(inner in names for names in FORBIDDEN.values())


def ours(target: str) -> str | None:
    """The module of ours that an import loads, None for anybody else's."""
    while target and target not in modules():
        target = target.rpartition(".")[0]
    return target or None


def test_every_file_has_a_floor() -> None:
    """A file that nobody placed may import anything: it must be placed."""
    assert [module.relative for module in modules().values() if floor(module.name) is None] == []


def test_imports_point_down() -> None:
    """A module imports its own floor and those below, never one above."""
    wrong = []
    for name, module in modules().items():
        for entry in imports(name):
            target = ours(entry.target)
            here, there = floor(name), floor(target) if target else None
            if here is not None and there is not None and there > here:
                wrong.append(f"{module.relative}:{entry.line}: floor {here} imports {target} of floor {there}")

    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    """Within a floor, too, there is an order: no module needs itself to be loaded."""
    edges = {
        name: {
            target
            for entry in imports(name)
            if not entry.only_for_types and (target := ours(entry.target)) and target != name
        }
        for name in modules()
    }
    done: set[str] = set()

    def circle(name: str, above: tuple[str, ...]) -> tuple[str, ...]:
        if name in above:
            return (*above[above.index(name) :], name)
        if name in done:
            return ()
        for target in sorted(edges[name]):
            if found := circle(target, (*above, name)):
                return found
        done.add(name)
        return ()

    assert [found for name in modules() if (found := circle(name, ()))][:1] == []


def test_dialects_do_not_know_each_other() -> None:
    """A dialect imports its own parts (gemini, gemini_stream) and shared ones, no other dialect."""
    wrong = []
    for name, module in modules().items():
        if not name.startswith("providers.dialects."):
            continue
        own = name.split(".")[2]
        for entry in imports(name):
            target = ours(entry.target) or ""
            if not target.startswith("providers.dialects."):
                continue
            other = target.split(".")[2]
            family = own == other or own.startswith(other + "_") or other.startswith(own + "_")
            if not family and other not in SHARED_BY_DIALECTS and not other.startswith("_"):
                wrong.append(f"{module.relative}:{entry.line}: imports {target}")

    assert wrong == []


@pytest.mark.parametrize("place", FORBIDDEN)
def test_pure_code_stays_pure(place: str) -> None:
    """Translation and policy know no clock, dice, loop, log or network."""
    wrong = [
        f"{module.relative}:{entry.line}: imports {entry.target}"
        for name, module in modules().items()
        if within(name, place)
        for entry in imports(name)
        if any(within(entry.target, bad) for bad in FORBIDDEN[place])
    ]

    assert wrong == []


@pytest.mark.parametrize("place", ALLOWED)
def test_translation_needs_little(place: str) -> None:
    """`providers` is a library that others can take: the standard library, msgspec, and YAML for its rows."""
    wrong = [
        f"{module.relative}:{entry.line}: imports {entry.target}"
        for name, module in modules().items()
        if within(name, place)
        for entry in imports(name)
        if (top := entry.target.partition(".")[0]) not in sys.stdlib_module_names and top not in ALLOWED[place]
    ]

    assert wrong == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_have_their_place(package: str) -> None:
    """aiohttp is imported where bytes come in or go out, pydantic and YAML where files are read."""
    wrong = [
        f"{module.relative}:{entry.line}: imports {entry.target}"
        for name, module in modules().items()
        if not any(within(name, place) for place in ONLY_IN[package])
        for entry in imports(name)
        if within(entry.target, package)
    ]

    assert wrong == []


def test_providers_loads_nothing_heavy() -> None:
    """`import providers`, with every dialect, loads no web framework, no event loop, no pydantic."""
    names = [name for name in modules() if within(name, "providers")]
    program = f"import {', '.join(names)}, sys; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"aiohttp", "asyncio", "pydantic", "router", "uvloop"} & set(loaded) == set()


# ── no provider's name in router/ ────────────────────────────────────────────────────────────


@cache
def provider_names() -> frozenset[str]:
    """The rows of the shipped catalog."""
    rows = yaml.safe_load((ROOT / "providers" / "catalog.yaml").read_text(encoding="utf-8"))
    if isinstance(rows, dict) and isinstance(rows.get("providers"), dict | list):
        rows = rows["providers"]
    if isinstance(rows, list):
        return frozenset(row["name"].lower() for row in rows)
    return frozenset(name.lower() for name, row in rows.items() if isinstance(row, dict))


def dialect_names() -> frozenset[str]:
    """Names like `openai.chat`: a dialect's name is no provider's, though it starts with one."""
    from providers.dialects import DIALECTS
    from providers.provider import PLANNED

    tails = {"openai.completions", "openai.models"}  # tasks of a path that no dialect has
    return frozenset(name for name in {*DIALECTS, *PLANNED, *tails} if "." in name)


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of string nodes that are documentation: any string that is a statement of its own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def named(text: str, names: frozenset[str], dialects: frozenset[str]) -> set[str]:
    """Which names are in the text: as words, or only as the whole of it where a name is a common word, too.

    `anthropic-version` and `google_key` are names of headers and of ways to sign, not of providers.
    """
    lowered = text.lower()
    for dialect in dialects:
        lowered = lowered.replace(dialect, " ")
    words = set(re.findall(r"(?<![\w-])[a-z0-9][\w-]*", lowered))
    return (words & (names - ALSO_WORDS)) | ({lowered.strip()} & names)


def names_in(tree: ast.AST, names: frozenset[str], dialects: frozenset[str]) -> Iterator[tuple[int, str]]:
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        found: set[str] = set()
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            if id(node) not in documentation:
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                found = named(text, names, dialects)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = set(_words(node.name)) & (names - ALSO_WORDS)
        elif isinstance(node, ast.Name | ast.Attribute | ast.arg | ast.keyword | ast.alias):
            identifier = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}.get(type(node), "arg")
            found = set(_words(getattr(node, identifier) or "")) & (names - ALSO_WORDS)
        for name in found:
            yield getattr(node, "lineno", 0), name


def _words(identifier: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", identifier)]


def test_router_names_no_provider() -> None:
    """How one provider differs is data or a quirk: in router/ code no provider is known by name."""
    wrong = [
        f"{module.relative}:{line}: names {name}"
        for name_of_module, module in modules().items()
        if within(name_of_module, "router")
        for line, name in names_in(module.tree, provider_names(), dialect_names())
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('if provider.name == "acme": pass', ["acme"]),
        ("is_acme = True", ["acme"]),
        ("class AcmeClient: pass", ["acme"]),
        ('url = f"https://api.acme.com/{model}"', ["acme"]),
        ('match name:\n    case "ACME": pass', ["acme"]),
        ('row = {"together": 1}', ["together"]),
        ('raise ValueError("these cannot be used together")', []),
        ('headers["acme-version"]', []),
        ('auth = "acme_key"', []),
        ('speaks = "acme.chat"', []),
        ('"""How acme differs."""', []),
        ("pass  # acme does it, too", []),
    ],
)
def test_search_for_names_finds_them(code: str, found: list[str]) -> None:
    """The search sees comparisons, names and addresses, and lets prose, headers and comments be."""
    names = frozenset({"acme", "together"})

    assert [name for _, name in names_in(ast.parse(code), names, frozenset({"acme.chat"}))] == found


# ── sizes and tests ──────────────────────────────────────────────────────────────────────────


def test_modules_can_be_read_in_one_go() -> None:
    """No module is longer than a reader's patience."""
    lengths = {m.relative: m.path.read_text(encoding="utf-8").count("\n") for m in modules().values()}

    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_functions_can_be_read_in_one_go() -> None:
    """No function is longer than two screens."""
    wrong = {
        f"{module.relative}:{node.lineno} {node.name}": lines
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    }

    assert wrong == {}


def has_code(module: Module) -> bool:
    """A package file that only gathers names needs no test of its own."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return module.path.name != "__init__.py" or any(isinstance(node, kinds) for node in module.tree.body)


def mirror(module: Module) -> str:
    """`router/table.py` -> `tests/router/test_table.py`; a package's own file has the package's name."""
    path = module.path.relative_to(ROOT)
    stem = path.parent.name if path.name == "__init__.py" else path.stem.strip("_")
    return (Path("tests") / path.parent / f"test_{stem}.py").as_posix()


def test_every_source_file_has_its_test() -> None:
    """Whoever opens a source file knows where its tests are, and that there are some."""
    wrong = []
    for module in modules().values():
        if not has_code(module):
            continue
        wanted, _ = TESTED_BY.get(module.relative, (mirror(module), ""))
        path = ROOT / wanted
        if not path.is_file() or "def test_" not in path.read_text(encoding="utf-8"):
            wrong.append(f"{module.relative}: no tests in {wanted}")

    assert wrong == []


def test_exceptions_are_still_needed() -> None:
    """TESTED_BY names only files that exist, and gives each a reason."""
    present = {module.relative for module in modules().values()}

    assert [path for path, (_, why) in TESTED_BY.items() if path not in present or not why] == []
    assert [path for path, (test, _) in TESTED_BY.items() if not (ROOT / test).is_file()] == []
