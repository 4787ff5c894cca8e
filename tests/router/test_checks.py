"""What is allowed and probably not meant."""

from __future__ import annotations

import timeit
from pathlib import Path

import pytest

from router import checks, config
from tests.tables import settings, warnings


@pytest.fixture(autouse=True)
def dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not depend on which dialects there are."""
    monkeypatch.setattr(config, "DIALECTS", {"openai.chat": object(), "gemini": object()})


DEMO = "models: {demo: [{provider: demo}]}\n"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{timeouts: {total: 50s, first_byte: 50s}, within: 50s}", "`timeouts.total` is shorter than `timeouts.idle`"),
        ("{timeouts: {total: 59s, idle: 1s}, within: 59s}", "`timeouts.total` is shorter than `timeouts.first_byte`"),
        ("{timeouts: {connect: 61s}}", "`timeouts.first_byte` is shorter than `timeouts.connect`"),
        ("{within: 59s}", "`within` ends before `timeouts.first_byte` can"),
        ("{within: 601s}", "`within` is longer than `timeouts.total`"),
        ("{hedge: {after: 90s}}", "`hedge.after` is not before the end of `within`"),
        ("{timeouts: {min_rate: 1, rate_over: 601s}}", "`timeouts.rate_over` is longer than `timeouts.total`"),
        ("{wait: {first: 9s}}", "`wait.first` is longer than `wait.most`"),
    ],
)
def test_timeouts_that_contradict(tmp_path: Path, policy: str, expected: str) -> None:
    """A limit that another one always comes before."""
    found = warnings(tmp_path, f"{DEMO}policies: {{default: {policy}}}\n")

    assert [text for text in found if expected in text]


def test_default_timeouts_do_not_contradict(tmp_path: Path) -> None:
    """What is built in is worth no word."""
    assert warnings(tmp_path, DEMO) == []


def test_rows_only_narrow(tmp_path: Path) -> None:
    """A row that says more than every policy has no effect there."""
    text = f"{DEMO}providers: {{demo: {{timeouts: {{idle: 61s, total: 1s}}, attempts: 4}}}}\n"

    assert warnings(tmp_path, text) == [
        "2:37 longer than `timeouts.idle` of every policy: a row can only narrow it",
        "2:64 more than `attempts` of every policy: a row can only narrow it",
    ]


def test_paths_of_our_own(tmp_path: Path) -> None:
    """A route for what the gateway answers itself is never reached."""
    text = f"{DEMO}routes: [{{path: /healthz, speaks: openai.chat, to: models}}]\n"

    assert warnings(tmp_path, text) == ["2:17 unreachable: /healthz is answered by the gateway itself"]


def test_c06_patterns_that_overlap(tmp_path: Path) -> None:
    """Neither of two says more than the other: both lines, and which one wins. One that says more is no surprise."""
    text = f"""{DEMO}routes:
  - {{path: "/a/{{x}}", speaks: openai.chat, to: models}}
  - {{path: "/{{x}}/b", speaks: openai.chat, to: models}}
  - {{path: "/a/b", speaks: openai.chat, to: models}}
  - {{path: "/c/{{x}}/d", speaks: openai.chat, to: models}}
"""

    assert [found.partition(": ")[0] for found in warnings(tmp_path, text)] == [
        "4:12 some paths fit /{x}/b and /a/{x} of line 3"
    ]


def test_a_policy_that_is_never_used(tmp_path: Path) -> None:
    """A route's policy comes after the models'."""
    text = """\
        models: {m: {to: [{provider: demo}], policy: p}}
        policies: {p: {}}
        routes: [{path: /a, speaks: openai.chat, to: models, policy: p}]
        """

    assert warnings(tmp_path, text) == ["3:62 has no effect: every model has a policy of its own"]


def test_nothing_to_call(tmp_path: Path) -> None:
    """Routes to models, and there is no model."""
    assert warnings(tmp_path, "server: {}\n") == [
        "2:9 there are no models and no providers: every call is answered 404"
    ]


def test_metrics_are_estimated(tmp_path: Path) -> None:
    """The number grows with routes and models, and only a large one is worth a word."""
    few = settings(tmp_path, DEMO)
    rows = ", ".join(f"m{i}: [{{provider: demo, model: m{i}}}]" for i in range(1_000))
    text = f"models: {{{rows}}}\n"
    many = settings(tmp_path, text)

    assert checks.series(few) < 2_000 < checks.MOST_SERIES < checks.series(many)
    assert ["time series" in word for word in warnings(tmp_path, text)] == [True]


BUDGETS = f"""\
access:
  keys:
    - {{name: a, hash: "sha256:{1:064x}", budget: {{usd: 5, per: day}}}}
    - {{name: b, hash: "sha256:{2:064x}", budget: {{usd: 5, per: day, unpriced: allow}}, models: [dear]}}
    - {{name: c, hash: "sha256:{3:064x}", budget: {{usd: 5, credits: 5, per: day}}, models: ["met*"]}}
    - {{name: d, hash: "sha256:{4:064x}", budget: {{credits: 5, per: day}}}}
prices: {{demo/dear: {{input: 1, output: 2}}}}
providers:
  demo: {{}}
  metered: {{like: demo, credits: {{m: 2}}}}
models:
  dear: [{{provider: demo, model: dear}}]
  metered: [{{provider: metered, model: m}}]
  other: [{{provider: metered, model: n}}, {{provider: metered}}, {{provider: demo, model: dear}}]
"""


def test_budgets_need_prices_and_a_file(tmp_path: Path) -> None:
    """A key is not served by targets of unknown price, unless it says so; what a restart forgets is worth a word."""
    assert warnings(tmp_path, BUDGETS + "state: {file: s.json}\n") == [
        "3:106 not served to this key, for nobody knows what it costs: metered/m, metered/n, metered/*; "
        "expected `prices` of it",
    ]
    assert warnings(tmp_path, BUDGETS)[0] == (
        "3:106 a restart forgets what a, b, c, d spent: `state: {file: ...}` keeps it"
    )


def test_many_targets_of_unknown_price_are_named_in_part(tmp_path: Path) -> None:
    """One line is enough."""
    models = ", ".join(f"m{n}: [{{provider: demo, model: m{n}}}]" for n in range(20))
    text = f"""\
        models: {{{models}}}
        access: {{keys: [{{name: a, hash: "sha256:{1:064x}", budget: {{usd: 5, per: day}}}}]}}
        state: {{file: s.json}}
        """
    (found,) = warnings(tmp_path, text)

    assert found.endswith("demo/m6, demo/m7, ...; expected `prices` of it")


def test_large_tables_are_looked_over_quickly(tmp_path: Path) -> None:
    """A reload with a thousand routes does not hold up the calls that are under way."""
    rows = "".join(f'  - {{path: "/r{i}/{{x}}/y", speaks: openai.chat, to: models}}\n' for i in range(1_000))
    found = settings(tmp_path, f"{DEMO}routes:\n{rows}")

    assert min(timeit.repeat(lambda: list(checks.find(found)), number=1, repeat=3)) < 0.2


def test_a_choice_by_price_needs_prices(tmp_path: Path) -> None:
    """Targets of which none is known are always tried last, which nobody may have meant."""
    text = """\
        providers: {mine: {base_url: "http://127.0.0.1:9/v1", speaks: [openai.chat], auth: none}}
        models:
          m: {choose: cheapest, to: [{provider: mine, model: a}, {provider: mine, model: b}]}
          n: {choose: cheapest, to: [{provider: mine, model: a}]}
        prices: {mine/a: {input: 1}}
        """

    assert ["3:6 `choose: cheapest`: no price is known of mine/b: tried last"] == warnings(tmp_path, text)
