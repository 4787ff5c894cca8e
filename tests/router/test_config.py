"""routes.yaml: every key is read, checked and documented; all problems come at once, each with its place."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pydantic import BaseModel

from providers import auth
from router import config, kinds, strict_yaml
from router.config import load, reference, schema
from router.reference import models_in
from router.table import Limits, PolicySettings
from tests.tables import ROUTE, loaded, problems, settings, warnings

ROOT = Path(__file__).parents[2]
SHIPPED = config.DIALECTS


@pytest.fixture(autouse=True)
def dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not depend on which dialects there are."""
    monkeypatch.setattr(config, "DIALECTS", dict.fromkeys(("openai.chat", "openai.responses", "gemini"), object()))


# ── one file, whole ────────────────────────────────────────────────────────────────────────────


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    """Everything but `routes` has a default."""
    found = settings(tmp_path, ROUTE)

    assert (found.listen, found.admin, found.drain) == (("127.0.0.1", 8080), ("127.0.0.1", 8081), 30.0)
    assert (found.limits, found.policies) == (Limits(), {"default": PolicySettings()})
    assert (found.access, found.models, found.log) == (None, (), "json")


def test_every_key_arrives(tmp_path: Path) -> None:
    """What is written is what holds."""
    found = settings(
        tmp_path,
        """\
        server:
          listen: "[::1]:9000"
          admin: null
          max_body: 1MiB
          drain: 1m
          limits: {head: 1s, body: 2s, json_depth: 3, messages: 4, tools: 5, concurrency: 6, upstream_body: 7KiB,
                   sse_event: 8kB, stream_buffer: 9, write_stall: 250ms}
        policies:
          default: {attempts: 2, within: 50s, wait: {first: 0s, most: 2s}, timeouts: {connect: 1s}, retry_budget: 5%}
          slow: {timeouts: {total: 1h}, on_loss: reject, wait: {most: 3s}}
        telemetry: {log: text}
        """,
    )
    default, slow = found.policies["default"], found.policies["slow"]

    assert (found.listen, found.admin, found.drain, found.log) == (("::1", 9000), None, 60.0, "text")
    assert found.limits == Limits(
        head=1.0,
        body=2.0,
        max_body=1 << 20,
        json_depth=3,
        messages=4,
        tools=5,
        concurrency=6,
        upstream_body=7 << 10,
        sse_event=8000,
        stream_buffer=9,
        write_stall=0.25,
    )
    assert (default.attempts, default.within, default.wait_first, default.retry_budget) == (2, 50.0, 0.0, 0.05)
    assert (slow.attempts, slow.wait_first, slow.wait_most, slow.on_loss) == (2, 0.0, 3.0, "reject")
    assert (slow.timeouts.connect, slow.timeouts.total, default.timeouts.total) == (1.0, 3600.0, 600.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30.0), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3600.0), ("2d", 172800.0)],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    """A duration is a number with its unit, a whole one or not."""
    assert settings(tmp_path, f"server: {{drain: {text}}}\n").drain == seconds


@pytest.mark.parametrize("text", ["30", "30 s", "s", "-1s", "1e3s", "30sec", "'30'", "1:30", "true", "null", "[1s]"])
def test_what_is_no_duration(tmp_path: Path, text: str) -> None:
    """A number without a unit is nobody's guess."""
    assert problems(tmp_path, f"server: {{drain: {text}}}\n")[0].startswith("1:17 server.drain: expected a duration")


@pytest.mark.parametrize("text", ["32M", "0B", "0", "-1", "1.5MiB", "MiB", "32 MiB", "true", "null"])
def test_what_is_no_size(tmp_path: Path, text: str) -> None:
    """A size is a number of bytes, or a number with its unit."""
    assert problems(tmp_path, f"server: {{max_body: {text}}}\n")[0].startswith("1:20 server.max_body: expected a size")


def test_the_command_line_wins(tmp_path: Path) -> None:
    """`--listen` stands in the place of the file's own, and is remembered for reloads."""
    found = settings(tmp_path, "server: {listen: 127.0.0.1:1, admin: 127.0.0.1:2}\n", listen="127.0.0.1:0")

    assert (found.listen, found.admin, found.asked) == (("127.0.0.1", 0), ("127.0.0.1", 2), {"listen": "127.0.0.1:0"})


def test_the_command_line_is_checked_as_the_file_is(tmp_path: Path) -> None:
    """Nobody opens the gateway to a network from the command line without `access`."""
    expected = "server.listen: 0.0.0.0 is not a loopback address, which needs `access`: who may call"

    assert problems(tmp_path, ROUTE, listen="0.0.0.0:80") == [f"1:1 {expected}"]
    assert problems(tmp_path, ROUTE, listen="nonsense") == ["1:1 server.listen: expected HOST:PORT, found 'nonsense'"]


# ── problems ───────────────────────────────────────────────────────────────────────────────────


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One bad row hides no other, nor what else is wrong with itself."""
    text = """\
        server: {drian: 30s, workers: 0}
        providers:
          my: {base_url: ftp://x, speaks: [openai.chta], secert: env:X, auth: bearr}
        models:
          fast: [{provider: opneai, modle: x}]
          other: {to: [{provider: mi}], policy: slwo, chose: x}
          text: abc
        policies: {slow: {attempts: many}}
        routes:
          - {path: /a, speaks: openai.chat, to: models}
          - {path: "/a", speaks: openai.chatt, to: model, polcy: slow, policy: fsat}
          - 7
        bogus: 1
        """

    assert problems(tmp_path, text) == [
        "1:10 server: unknown key 'drian', did you mean drain?",
        "1:31 server.workers: expected a whole number from 1 to 128, or auto, found 0",
        "3:18 provider my: base_url is not a URL, expected https://HOST or http://HOST",
        "3:36 there is no dialect 'openai.chta', did you mean openai.chat?",
        "3:50 providers.my: unknown key 'secert', did you mean secret?",
        f"3:71 provider my: {auth.check('bearr')}",
        "5:21 there is no provider 'opneai', did you mean openai?",
        "5:29 models.fast[0]: unknown key 'modle', did you mean model?",
        "6:27 there is no provider 'mi'",
        "6:41 there is no policy 'slwo', did you mean slow?",
        "6:47 models.other: unknown key 'chose', did you mean choose?",
        "7:9 models.text: expected a mapping, found 'abc'",
        "8:29 policies.slow.attempts: expected a whole number, found 'many'",
        "11:12 routes[1].path: /a on line 11 fits the same calls as /a on line 10",
        "11:26 the dialect 'openai.chatt' does not exist, did you mean openai.chat?",
        "11:44 routes[1].to: expected models or named, found 'model', did you mean models?",
        "11:51 routes[1]: unknown key 'polcy', did you mean policy?",
        "11:72 there is no policy 'fsat'",
        "12:5 routes[2]: expected a mapping, found 7",
        "13:1 unknown key 'bogus'",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("routes: []\n", "1:1 expected `routes` with at least one row"),
        ("routes:\n", "1:1 expected `routes` with at least one row"),
        ("server: {}\nroutes: {}\n", "2:9 routes: expected a list, found a mapping"),
        ("providers: []\n", "1:12 providers: expected a mapping, found a list"),
        ("providers: {a: 5}\n", "1:16 providers.a: expected a mapping, found 5"),
        ("models: {a: []}\n", "1:13 models.a: expected at least one, found nothing"),
        ("models: {a: {to: []}}\n", "1:18 models.a.to: expected at least one, found nothing"),
        ("models: {a: {choose: in_order}}\n", "1:13 models.a: 'to' is missing"),
        ("models: {a: [{}]}\n", "1:14 a target names a `provider`, or another `model` of this file"),
        ("server: {limits: {json_depth: 1.5}}\n", "1:31 server.limits.json_depth: expected a whole number, found 1.5"),
        ("server: {limits: {tools: true}}\n", "1:26 server.limits.tools: expected a whole number, found true"),
        ("server: {limits: {tools: '5'}}\n", "1:26 server.limits.tools: expected a whole number, found '5'"),
        ("server: {listen: 8080}\n", "1:18 server.listen: expected text, found 8080"),
        ("server: {listen: ':8080'}\n", "1:18 server.listen: expected HOST:PORT, found ':8080'"),
        ("server: {listen: 'h:99999'}\n", "1:18 server.listen: expected HOST:PORT, found 'h:99999'"),
        (
            "policies: {default: {retry_budget: 0.2}}\n",
            "1:36 policies.default.retry_budget: expected a share from 0% to 100%, found 0.2",
        ),
        ("policies: {default: {within: 0s}}\n", "1:30 policies.default.within: expected a duration greater than zero"),
        ("providers: {a: {api_key: x}}\n", "1:17 providers.a: unknown key 'api_key', did you mean secret?"),
        (
            "providers: {a: {passthrough_params: []}}\n",
            "1:17 providers.a: unknown key 'passthrough_params', did you mean own?",
        ),
        ("serve: {}\n", "1:1 unknown key 'serve', did you mean server?"),
    ],
)
def test_problems_say_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    """The place, what was expected there, what was found."""
    assert expected in problems(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("media: {fetch: true}", "media.fetch"),
        ("media: {most: 21MiB}", "media.most"),
        ("state: {shared: redis://x}", "state.shared"),
        ("telemetry: {otlp: http://x}", "telemetry.otlp"),
        ("telemetry: {record: x}", "telemetry.record"),
        ("guards: []", "guards"),
        ("cache: {}", "cache"),
        ("access: {jwt: {jwks_url: https://x}}", "access.jwt.jwks_url"),
        ("access: {jwt: {require_scopes: true}}", "access.jwt.require_scopes"),
    ],
)
def test_what_is_not_there_yet_is_refused(tmp_path: Path, text: str, place: str) -> None:
    """A key whose feature does not exist is never read and ignored."""
    found = problems(tmp_path, text + "\n")

    assert [message for message in found if f"{place}: not available in this version" in message]


def test_off_is_always_available(tmp_path: Path) -> None:
    """What switches a feature off may be written for every feature that does not exist yet."""
    text = """\
        server: {workers: 1}
        providers: {openai: {queue: 0, alternation: null}}
        models: {m: [{provider: openai, weight: 1}]}
        policies: {default: {hedge: null, breaker: null, choose: in_order}}
        chats: null
        media: {fetch: false, most: 20MiB}
        state: {shared: null}
        telemetry: {otlp: null, record: null}
        access: null
        guards:
        """

    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        'access: {keys: [{name: a, hash: "canary-key"}]}',
        "access: {jwt: {secret: [canary]}}",
        "providers: {openai: {secret: {a: canary}, secrets: canary}}",
        "providers: {openai: {secret: canary-secret}}",
        'providers: {openai: {headers: {authorization: canary, x-bad: "canary\\ncanary"}}}',
        'server: {admin_token: ["canary"]}',
        "access: {jwt: {secret: canary}}",
    ],
)
def test_secrets_are_not_in_complaints(tmp_path: Path, text: str) -> None:
    """A key that stands in the wrong place is not repeated in problems, warnings or settings."""
    found = loaded(tmp_path, text + "\n")

    assert found.problems or found.warnings
    assert "canary" not in repr(found)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Not even the file is there: still one sentence with a place."""
    found = load(tmp_path / "none.yaml", {})

    assert [str(problem) for problem in found.problems] == [
        f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory"
    ]
    assert load(tmp_path, {}).problems[0].message == "cannot be read: Is a directory"


def test_problems_of_yaml_come_with_the_others(tmp_path: Path) -> None:
    """A key that is there twice does not keep the rest from being checked."""
    assert problems(tmp_path, "server: {drain: 1s, drain: 2s}\nbogus: 1\n") == [
        "1:21 the key 'drain' is here twice, first on line 1",
        "2:1 unknown key 'bogus'",
    ]


HOSTILE = {
    "not yaml": b"a: [",
    "tabs": b"server:\n\tdrain: 1s\n",
    "empty": b"",
    "scalar": b"x",
    "list": b"- x",
    "alias bomb": b"\n".join(
        [b"a: &a [1,1,1,1,1,1,1,1,1,1]"]
        + [b"%c: &%c [%s]" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)]
    ),
    "recursive alias": b"routes: &x [*x]",
    "merge bomb": b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: [*a, *a, *a]}\n" % i for i in range(1000)),
    "python tag": b"routes: !!python/object/apply:os.system [touch pwned]",
    "duplicate key": b"routes: []\nroutes: []\n",
    "nul": b"routes: \x00",
    "deep": b"routes: " + b"[" * 20_000,
    "wrong types": b"routes: 5\nserver: [1]\nproviders: x\n",
    "unknown key": b"ruotes: []\n",
    "binary": bytes(range(256)) * 100,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_c01_hostile_files_end_the_start_cleanly(tmp_path: Path, name: str) -> None:
    """`serve` with a bad file: exit 2 within seconds, little memory, one line for each problem, no code run."""
    path = tmp_path / "routes.yaml"
    path.write_bytes(HOSTILE[name])
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20));"
        "from router.__main__ import main; main()"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "-c", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=20
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert time.perf_counter() - started < 5
    assert "Traceback" not in done.stderr
    assert all(line.startswith(f"{path}:") for line in done.stderr.splitlines())
    assert not (ROOT / "pwned").exists()


TOP = st.sampled_from([*config.File.model_fields, "x"])
KEY = st.sampled_from(
    [
        *config.ProviderRow.model_fields,
        *config.RouteRow.model_fields,
        *config.JwtRow.model_fields,
        "default",
        "keys",
        "a",
    ]
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LEAF |= st.sampled_from(
    ["models", "named", "openai", "env:X", "30s", "/{u:url}/x", "/a", "openai.chat", "a", "https://x"]
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=15
)


@given(st.dictionaries(TOP, VALUE, max_size=5))
@example({"models": {"like": [[None]]}})
@profile(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_makes_it_raise(tmp_path: Path, content: dict[str, Any]) -> None:
    """Whatever well-formed YAML says, it is settings or problems, and never an exception."""
    import json

    (tmp_path / "routes.yaml").write_text(json.dumps(content).replace("NaN", "1").replace("Infinity", "1"))
    found = load(tmp_path / "routes.yaml", {})

    assert (found.settings is None) == bool(found.problems)


# ── what the models say of themselves ──────────────────────────────────────────────────────────


def models() -> set[type[BaseModel]]:
    return {config.File, *models_in(config.File)} | {
        model
        for module in (config, kinds)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, kinds.Rows)
    } - {kinds.Rows}


def test_every_key_is_explained() -> None:
    """No key without its meaning, in the reference and in the schema."""
    text = reference()
    unexplained = [
        f"{model.__name__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if not field.description or field.description not in text or name not in text
    ]

    assert unexplained == []


def test_the_schema_accepts_what_is_accepted() -> None:
    """Editors and the gateway agree on the shipped file."""
    node, _ = strict_yaml.read((ROOT / "routes.yaml").read_bytes())
    assert node is not None
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(node.plain(), schema())

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"routes": [{"path": "/x", "speeks": "gemini", "to": "models"}]}, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"server": {"drain": 30}}, schema())


# ── files that are shipped ─────────────────────────────────────────────────────────────────────


def test_the_shipped_file_serves_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No problem, and only the missing keys as warnings."""
    monkeypatch.setattr(config, "DIALECTS", SHIPPED)
    found = load(ROOT / "routes.yaml", {})

    assert found.problems == ()
    assert found.settings is not None
    assert {warning.message.partition(":")[0] for warning in found.warnings} == {
        "provider openai",
        "provider anthropic",
        "provider gemini",
    }
    assert found.settings.providers["demo"].secrets == ()


def test_the_shipped_file_names_every_key() -> None:
    """Whoever opens routes.yaml sees all there is, commented out where it is an example."""
    text = (ROOT / "routes.yaml").read_text()
    rare = {"jwks_url", "require_scopes"}  # refused as yet
    rare |= {"guards", "cache"}
    names = {name for model in models() for name in model.model_fields} - rare

    assert [name for name in sorted(names) if f"{name}:" not in text and f"{name} " not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.yaml")), ids=lambda path: path.name)
def test_tables_for_benchmarks_are_good(path: Path) -> None:
    """What the benchmarks are run with is read by this version without a problem."""
    assert load(path, {"MOCK_KEY": "k"}).problems == ()


def test_rows_for_benchmarks_are_good(tmp_path: Path) -> None:
    """A row that speaks only what is not there yet is a warning, so that one file serves several versions."""
    text = """\
        server: {listen: 127.0.0.1:9300, admin: 127.0.0.1:9301}
        providers:
          mock: {base_url: http://127.0.0.1:9100/v1, speaks: [openai.chat], secret: env:MOCK_KEY, concurrency: 1000}
          later: {base_url: http://127.0.0.1:9100, speaks: [cohere.chat], secret: env:MOCK_KEY}
        models:
          m: [{provider: mock}]
          n: [{provider: later, model: x}]
        """

    assert warnings(tmp_path, text, {"MOCK_KEY": "k"}) == [
        "4:52 provider later is not called: cohere.chat is not available in this version",
        "7:3 the model 'n' is left out: no target of it can be called",
    ]
    assert settings(tmp_path, text, {"MOCK_KEY": "k"}).providers["mock"].concurrency == 1000
