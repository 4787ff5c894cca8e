"""The command line: what each command prints, and how it ends."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
import yaml
from click.testing import CliRunner, Result

from providers.catalog import catalog
from router import server, supervisor
from router.__main__ import main
from router.settings import Settings
from tests.tables import ROUTE

ROOT = Path(__file__).parents[2]
SECRET = "canary-" * 6
#: A row of the catalog that needs a key.
KEYED = next(name for name, row in catalog().items() if row.get("secret"))

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder with a routes.yaml of the given text."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, text: str | None = ROUTE, **environ: str) -> Result:
        if text is not None:
            Path("routes.yaml").write_text(text)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(main, arguments)

    return call


# ── check ──────────────────────────────────────────────────────────────────────────────────────


def test_c02_check_of_a_good_file(run: Run) -> None:
    """Exit 0, and what holds, defaults included, as YAML."""
    result = run("check", text="models: {demo: [{provider: demo}]}\n" + ROUTE)
    effective = yaml.safe_load(result.stdout)

    assert (result.exit_code, result.stderr) == (0, "")
    assert effective["server"]["limits"]["head"] == "10s"
    assert effective["server"]["max_body"] == "32MiB"
    assert effective["policies"]["default"]["attempts"] == 3
    assert effective["models"] == {"demo": ["demo/*"]}


def test_check_and_routes_tell_how_calls_are_tried_and_kept(run: Run) -> None:
    """All that a policy says, and what a route says of choosing and keeping, in the words of the file."""
    text = """
providers: {demo: {}, other: {like: demo}}
policies: {default: {hedge: {after: p95}, timeouts: {min_rate: 1KiB}, outliers: {latency: null}, breaker: null}}
models: {demo: [{provider: demo}, {provider: other}]}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models, sticky: caller, cache: {ttl: 90m, scope: all}}
"""
    effective = json.loads(run("check", "--json", text=text).stdout)["effective"]
    policy = effective["policies"]["default"]
    listed = run("routes", text=text).stdout.splitlines()[1].split(maxsplit=2)[2]

    assert (policy["hedge"], policy["breaker"]) == ({"after": "p95"}, None)
    assert (policy["timeouts"]["min_rate"], policy["timeouts"]["rate_over"]) == ("1KiB", "10s")
    assert policy["outliers"] == {"errors": 3.0, "latency": None, "calls": 20, "within": "60s", "cool": "30s"}
    assert policy["fallback_on"] == ["context_too_long"]
    assert policy["wait"] == {"first": "250ms", "most": "8s"}
    assert effective["routes"][0]["cache"] == {"ttl": "90m", "scope": "all"}
    assert listed == "models; sticky: caller; cache: {ttl: 90m, scope: all}"


def test_check_of_a_bad_file(run: Run) -> None:
    """Exit 1, and all problems and warnings, each with file, line and column."""
    text = f"server: {{drian: 1s}}\nproviders: {{{KEYED}: {{}}}}\nbogus: 1\n" + ROUTE
    result = run("check", text=text)

    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == [
        "routes.yaml:1:10: server: unknown key 'drian', did you mean drain?",
        "routes.yaml:3:1: unknown key 'bogus'",
    ]
    assert result.stdout.splitlines()[2].startswith(f"routes.yaml:2:13: warning: provider {KEYED}: ")


def test_check_as_json(run: Run) -> None:
    """The same for programs."""
    bad = json.loads(run("check", "--json", text="bogus: 1\n" + ROUTE).stdout)
    good = json.loads(run("check", "--json", text="models: {demo: [{provider: demo}]}\n" + ROUTE).stdout)

    assert bad == {
        "ok": False,
        "problems": [{"file": "routes.yaml", "line": 1, "column": 1, "message": "unknown key 'bogus'"}],
        "warnings": [],
        "effective": None,
    }
    assert (good["ok"], good["problems"], good["warnings"]) == (True, [], [])
    assert good["effective"]["server"]["listen"] == "127.0.0.1:8080"


def test_c02_check_masks_secrets(run: Run) -> None:
    """No secret of any kind is printed, whether it is set, written out or in a file."""
    text = f"""
server: {{admin_token: env:ADMIN}}
access: {{jwt: {{secret: env:JWT, audience: a}}}}
providers:
  {KEYED}: {{secret: env:KEY}}
  mine: {{like: demo, secret: canary-written-out}}
{ROUTE}"""
    for arguments in (["check"], ["check", "--json"], ["routes"]):
        result = run(*arguments, text=text, ADMIN=SECRET, JWT=SECRET, KEY=SECRET)

        assert (result.exit_code, "canary" in result.output) == (0, False)
        assert "***" in result.output or arguments == ["routes"]


def test_check_says_what_is_not_set(run: Run) -> None:
    """A provider whose key is missing is told from one that needs none."""
    found = json.loads(run("check", "--json", text=f"providers: {{demo: {{}}, {KEYED}: {{}}}}\n" + ROUTE).stdout)

    assert {name: row["secret"] for name, row in found["effective"]["providers"].items()} == {
        "demo": None,
        KEYED: "not set",
    }


def test_check_of_no_file(run: Run) -> None:
    """Not there: one line, no traceback."""
    result = run("check", "-c", "none.yaml", text=None)

    assert (result.exit_code, result.stdout) == (1, "none.yaml:1:1: cannot be read: No such file or directory\n")


# ── serve ──────────────────────────────────────────────────────────────────────────────────────


def test_serve_of_a_bad_file(run: Run) -> None:
    """Exit 2, all problems on stderr, nothing on stdout."""
    result = run("serve", text="bogus: 1\n" + ROUTE)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "routes.yaml:1:1: unknown key 'bogus'\n"


def test_t_5_3_serve_of_a_persona_whose_model_is_not_there(run: Run) -> None:
    """It does not start, and names the place."""
    result = run("serve", text="chats: {personas: {maya: {model: nope}}}\n" + ROUTE)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "chats.personas.maya.model: there is no model 'nope'" in result.stderr


def test_serve_hands_over_what_holds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's addresses stand in the place of the file's; warnings are said first."""
    seen: list[Settings] = []

    def serve(path: Path, settings: Settings) -> int:
        seen.append(settings)
        return 7

    monkeypatch.setattr(server, "run", serve)
    text = f"providers: {{{KEYED}: {{}}}}\n" + ROUTE
    result = run("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:1", text=text)

    assert result.exit_code == 7
    assert (seen[0].listen, seen[0].admin) == (("127.0.0.1", 0), ("127.0.0.1", 1))
    assert result.stderr.startswith("routes.yaml:1:13: warning: provider ")


def test_serve_off_loopback_without_access(run: Run) -> None:
    """The command line cannot open the gateway to everybody either."""
    result = run("serve", "--listen", "0.0.0.0:0")

    assert result.exit_code == 2
    assert "needs `access`" in result.stderr


def test_serve_with_workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one process is another way to serve, with what that means said before; not any number will do."""
    seen: list[Settings] = []

    def serve(path: Path, settings: Settings) -> int:
        seen.append(settings)
        return 7

    monkeypatch.setattr(supervisor, "run", serve)
    result = run("serve", "--workers", "2")

    assert (result.exit_code, seen[0].workers) == (7, 2)
    assert result.stderr.startswith("routes.yaml:1:1: warning: 2 workers share no state: each enforces 1/2 of every")
    assert [2, 2] == [run("serve", "--workers", number).exit_code for number in ("0", "many")]


def test_check_shows_what_each_worker_enforces(run: Run) -> None:
    """Its part of each limit, beside the limits themselves, and the warning."""
    found = json.loads(run("check", "--json", text="server: {workers: 4, limits: {concurrency: 10}}\n" + ROUTE).stdout)

    assert (4, "2 to 3") == (
        found["effective"]["server"]["workers"],
        found["effective"]["server"]["each_worker"]["server.limits.concurrency"],
    )
    assert "4 workers share no state" in found["warnings"][0]["message"]


# ── the others ─────────────────────────────────────────────────────────────────────────────────


def test_routes(run: Run) -> None:
    """One line for each route and model, with where it leads."""
    text = f"""
models: {{m: [{{provider: demo, model: x}}, {{provider: demo}}]}}
routes:
  - {{path: /a, speaks: openai.chat, to: models}}
  - {{path: /b, speaks: openai.chat, to: [{{model: m}}]}}
  - {{path: "/p/{{u:url}}/chat/completions", speaks: openai.chat, to: named, egress: {{listed: [demo, {KEYED}]}}}}
"""
    lines = run("routes", text=text).stdout.splitlines()

    assert [re.split(r" {2,}", line.strip()) for line in lines] == [
        ["PATH", "DIALECT", "TARGETS"],
        ["/a", "openai.chat", "models"],
        ["/b", "openai.chat", "demo/x, demo/*"],
        ["/p/{u:url}/chat/completions", "openai.chat", f"named: demo, {KEYED}"],
        ["model m", "demo/x, demo/*"],
    ]


def test_conditions_and_rules_are_shown(run: Run) -> None:
    """`check` and `routes` say which targets take which calls, and what calls stick to."""
    text = """
models:
  m: {sticky: conversation, prefer: fidelity, to: [{provider: demo, model: a, when: {tools: true}}, {provider: demo}]}
routes: [{path: /x, speaks: openai.chat, to: models, sticky: header:X-Session}]
"""
    effective = yaml.safe_load(run("check", text=text).stdout)

    assert ["demo/a when tools", "demo/*"] == effective["models"]["m"]
    assert "header:x-session" == effective["routes"][0]["sticky"]
    assert "demo/a when tools, demo/*; sticky: conversation; prefer: fidelity" in run("routes", text=text).stdout


def test_schema(run: Run) -> None:
    """One JSON document."""
    found = json.loads(run("schema", text=None).stdout)

    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"server", "routes", "policies"} <= found["properties"].keys()


def test_tokens_are_good(run: Run) -> None:
    """What is printed verifies with the configured secret, issuer and audience, and ends in time."""
    text = f"access: {{jwt: {{secret: env:JWT, issuer: i, audience: a}}}}\n{ROUTE}"
    token = run("token", "--sub", "me", "--ttl", "5m", text=text, JWT=SECRET).stdout.strip()
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="a", issuer="i")

    assert claims["sub"] == "me"
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (ROUTE, ["--sub", "me"], "isthmus: routes.yaml has no access.jwt"),
        (f"access: {{jwt: {{secret: env:UNSET}}}}\n{ROUTE}", ["--sub", "me"], "routes.yaml:1:24: access.jwt.secret"),
        (f"access: {{jwt: {{secret: env:JWT}}}}\n{ROUTE}", ["--sub", ""], "isthmus: --sub: expected 1 to 256"),
        (f"access: {{jwt: {{secret: env:JWT}}}}\n{ROUTE}", ["--sub", "me", "--ttl", "5"], "expected a duration"),
        (f"access: {{jwt: {{secret: env:JWT}}}}\n{ROUTE}", [], "Missing option '--sub'"),
    ],
)
def test_tokens_that_cannot_be_made(run: Run, text: str, arguments: list[str], message: str) -> None:
    """Exit 2 and a reason."""
    result = run("token", *arguments, text=text, JWT=SECRET)

    assert result.exit_code == 2
    assert message in result.stderr


def test_check_shows_what_keys_may_use(run: Run) -> None:
    """Limits and budget in the words of the file; nothing of keys without any."""
    row = f"{{name: a, hash: 'sha256:{1:064x}', rpm: 5, budget: {{usd: 0.50, per: day}}}}"
    other = f"{{name: b, hash: 'sha256:{2:064x}'}}"
    result = run("check", "--json", text=f"access: {{keys: [{row}, {other}]}}\nstate: {{file: s.json}}\n{ROUTE}")
    effective = json.loads(result.stdout)["effective"]

    assert [
        {"name": "a", "models": ["*"], "rpm": 5, "budget": {"usd": "0.5", "per": "day", "unpriced": "refuse"}},
        {"name": "b", "models": ["*"]},
    ] == effective["access"]["keys"]
    assert effective["state"]["file"].endswith("s.json")


def test_check_shows_second_attempts_and_their_like(run: Run) -> None:
    """What a policy says of hedges, outliers, fallbacks and rates is among what is in effect."""
    policy = "{hedge: {after: 800ms}, outliers: {}, fallback_on: [content_filter], timeouts: {min_rate: 1KiB}}"
    text = f"policies: {{default: {{attempts: 2}}, eager: {policy}}}\n{ROUTE}"
    policies = json.loads(run("check", "--json", text=text).stdout)["effective"]["policies"]
    eager, default = policies["eager"], policies["default"]

    assert ({"after": "800ms"}, ["content_filter"]) == (eager["hedge"], eager["fallback_on"])
    assert (20, "1KiB", "10s") == (
        eager["outliers"]["calls"],
        eager["timeouts"]["min_rate"],
        eager["timeouts"]["rate_over"],
    )
    assert (None, None, None) == (default["hedge"], default["outliers"], default["timeouts"].get("min_rate"))


def test_keys_are_good(run: Run) -> None:
    """The key is printed once; the row holds its hash, and fits into access.keys."""
    result = run("key", "new", "--name", "team-a", text=None)
    text, row = re.fullmatch(r"key \(shown only here\): (\S+)\nrow for access\.keys: +- (.+)\n", result.stdout).groups()  # type: ignore[union-attr]

    assert f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" == yaml.safe_load(row)["hash"]
    assert run("check", text=f"access:\n  keys:\n    - {row}\n{ROUTE}").exit_code == 0
    assert run("key", "new", "--name", "team-a", text=None).exit_code == 2
    assert run("key", "new", "--name", "a b", text=None).exit_code == 2


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    """`python -m router` is the same command; `check` loads no server."""
    program = "import sys; from router.__main__ import main; import atexit; " + (
        "atexit.register(lambda: print('aiohttp' in sys.modules)); main(['check', '-c', sys.argv[1]])"
    )
    (tmp_path / "routes.yaml").write_text(ROUTE)
    version = subprocess.run(
        [sys.executable, "-m", "router", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    check = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "routes.yaml")], cwd=ROOT, capture_output=True, text=True
    )

    assert version.stdout.startswith("isthmus ")
    assert check.stdout.splitlines()[-1] == "False"


PRICED = """\
models: {m: [{provider: demo, model: a}, {provider: demo, model: b}]}
prices:
  demo/a: {input: 0.250, cache_read: 0.025, output: 2, request: 0.01, above: {1000: {input: 1}}, as_of: 2026-11-01}
"""


def test_check_shows_prices_and_where_they_are_from(run: Run) -> None:
    """Each amount as it is in force, those left out that are the same as what they are a part of."""
    result = run("check", "--json", text=PRICED + ROUTE)

    assert {
        "demo/a": {
            "input": "0.25",
            "cache_read": "0.025",
            "output": "2",
            "request": "0.01",
            "above": {"1000": {"input": "1", "cache_read": "0.025", "output": "2"}},
            "source": "routes.yaml, line 3",
            "as_of": "2026-11-01",
        }
    } == json.loads(result.stdout)["effective"]["prices"]


def test_routes_shows_prices_and_where_there_are_none(run: Run) -> None:
    """One line for each, after the models; a target without a price is named."""
    lines = run("routes", text=PRICED + ROUTE).stdout.splitlines()

    assert lines[-1].split() == ["price", "demo/b", "not", "known"]
    assert "price demo/a" in lines[-2] and "input: 0.25" in lines[-2] and "as_of: 2026-11-01" in lines[-2]
