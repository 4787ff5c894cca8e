"""The dashboard against a real Prometheus that scraped a real page: every panel shows data.

What is scraped comes from the fixture `target`: here, the admin listener with records fed to it for as long as
Prometheus looks. Overriding that fixture points the same tests at any other gateway.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from aiohttp import web

from providers.canonical.chat import Usage
from providers.canonical.loss import approximated, dropped, invented
from router.admin import Admin, State
from router.metrics import INSTRUMENTS, Metrics, watch_loop
from router.record import AttemptRecord, Record
from tests.conftest import program

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "isthmus.json").read_text(encoding="utf-8"))
CHAT, GENERATE = "/v1/chat/completions", "/v1beta/models/{model}:{task}"


class Query(NamedTuple):
    panel: str
    expr: str
    legend: str


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    Query(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
]


# ── what is scraped ──────────────────────────────────────────────────────────────────────────


def attempt(provider: str, model: str, seconds: float, **fields: Any) -> AttemptRecord:
    return AttemptRecord(provider=provider, model=model, operation="chat", started=1.0, ended=1.0 + seconds, **fields)


def exchange(*attempts: AttemptRecord, **fields: Any) -> Record:
    last = attempts[-1] if attempts else None
    given: dict[str, Any] = {
        "id": "r",
        "method": "POST",
        "path": CHAT,
        "route": CHAT,
        "caller_dialect": "openai.chat",
        "started": 0.9,
        "ended": (last.ended if last else 0.9) + 0.01,
        "status": 200,
        "attempts": list(attempts),
        "provider": last.provider if last else "none",
        "model": last.model if last else "other",
        "lane": "translate",
        "phases": {"read": 2e-4, "route": 2e-5, "access": 3e-5, "decode": 4e-5, "encode": 9e-5, "answer": 6e-5},
    }
    return Record(**(given | fields))


def traffic() -> list[Record]:
    """A moment of a gateway that has every kind of day at once."""
    streamed = {"first_chunk": 1.3, "last_chunk": 2.2, "chunks": 40, "status": 200}
    return [
        exchange(
            attempt("acme", "large", 0.8, status=200),
            usage=Usage(input_tokens=900, output_tokens=120),
            key="team-a",
            losses=[dropped("logit_bias", "no such field"), approximated("temperature", "clamped")],
        ),
        exchange(
            attempt("spare", "small", 1.4, **streamed),
            route=GENERATE,
            caller_dialect="gemini",
            lane="relay",
            stream=True,
            stream_end="done",
            usage=Usage(input_tokens=40, output_tokens=300),
            key="team-b",
            losses=[invented("messages[1].id", "made up")],
            resent=1,
        ),
        exchange(
            attempt("acme", "large", 0.2, status=429, error="upstream_busy"),
            attempt("spare", "small", 0.5, status=503, error="upstream_failed", waited=0.3),
            status=503,
            outcome="upstream_error",
            error="upstream_failed",
            denied_retries=["budget"],
        ),
        exchange(attempt("acme", "large", 60.0, error="timeout"), status=504, outcome="timeout", error="timeout"),
        exchange(
            attempt("acme", "large", 2.0, **(streamed | {"error": "client_left"})),
            outcome="client_left",
            stream=True,
            stream_end="client_left",
        ),
        exchange(status=400, outcome="rejected", error="malformed"),
        exchange(status=401, outcome="rejected", error="not_authenticated", reason="expired"),
        exchange(status=403, outcome="rejected", error="upstream_not_allowed", reason="private"),
        exchange(status=503, outcome="shed", error="overloaded"),
    ]


async def _serve(port: Callable[[int], None], stop: threading.Event) -> None:
    metrics, state = Metrics(), State()
    metrics.configured(
        1,
        routes=[CHAT, GENERATE],
        dialects=["openai.chat", "gemini"],
        providers=["acme", "spare"],
        models=["large", "small"],
        keys=["team-a", "team-b"],
    )
    state.loaded(1, "2026-11-21T12:00:00Z")
    lag = asyncio.create_task(watch_loop(metrics, interval=0.05))
    runner = web.ServerRunner(web.Server(Admin(metrics, state)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port(runner.addresses[0][1])
    generation = 1
    with metrics.inflight(CHAT):
        while not stop.is_set():
            for record in traffic():
                metrics.observe(record)
            metrics.log_lines_dropped(1)
            metrics.config_refused()
            generation += 1
            metrics.configured(generation, routes=[], dialects=[], providers=[], models=[])
            await asyncio.sleep(0.1)
    lag.cancel()
    await runner.cleanup()


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """HOST:PORT of a metrics page that Prometheus can scrape and on which everything moves."""
    ports: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(ports.append, stop)), daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while not ports and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"127.0.0.1:{ports[0]}"
    stop.set()
    thread.join(5)


# ── Prometheus ───────────────────────────────────────────────────────────────────────────────


class Prometheus:
    def __init__(self, address: str) -> None:
        self._address = address

    def _get(self, path: str, **query: str) -> Any:
        with urlopen(f"http://{self._address}{path}?{urlencode(query)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("/api/v1/query", query=expr)["result"]
        return found

    def scrapes(self) -> float:
        """How often the target was scraped; 0 before Prometheus answers."""
        try:
            found = self.ask('count_over_time(up{job="isthmus"}[1m])')
        except (URLError, ConnectionError):
            return 0.0
        return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def prometheus(target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the shipped configuration, but for the target's address and the pace."""
    binary = program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "500ms", "scrape_timeout": "400ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    said = folder / "log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        server: Prometheus | None = None
        deadline = time.monotonic() + 15
        while server is None or server.scrapes() < 4:
            text = said.read_text(encoding="utf-8")
            assert process.poll() is None and time.monotonic() < deadline, text
            # The first line that names an address says what was asked for (port 0), a later one what was given.
            if server is None and (found := re.search(r"address=(127\.0\.0\.1:[1-9]\d*)", text)):
                server = Prometheus(found[1])
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def concrete(expr: str) -> str:
    """An expression as Grafana sends it, with everything chosen and the shortest useful interval."""
    filled = expr.replace("$__rate_interval", "10s").replace("$route", ".*").replace("$provider", ".*")

    assert "$" not in filled

    return filled


@pytest.mark.parametrize("query", QUERIES, ids=[f"{q.panel}: {q.legend}" for q in QUERIES])
def test_every_panel_shows_data(prometheus: Prometheus, query: Query) -> None:
    """Each query of each panel gives at least one number, and series that carry what its legend names."""
    found = prometheus.ask(concrete(query.expr))
    wanted = set(re.findall(r"{{(\w+)}}", query.legend))

    assert [series for series in found if math.isfinite(float(series["value"][1]))]
    assert [] == [series for series in found if not wanted <= set(series["metric"])]


def test_every_variable_has_choices(prometheus: Prometheus) -> None:
    """The lists above the dashboard are filled from metrics that exist."""
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]

            assert prometheus.ask(f'{metric}{{{label}!=""}}'), variable["name"]


def test_prometheus_takes_every_series(prometheus: Prometheus) -> None:
    """Nothing on the page is refused: up, and no sample lost to duplicates or bad values."""
    assert ["1"] == [series["value"][1] for series in prometheus.ask('up{job="isthmus"}')]
    assert prometheus.ask("scrape_samples_post_metric_relabeling > 100")


# ── without Prometheus ───────────────────────────────────────────────────────────────────────


def test_configuration_is_valid(promtool: Path) -> None:
    """Prometheus takes the shipped configuration as it is."""
    checked = subprocess.run(
        [promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"], capture_output=True, text=True
    )

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def names_in(expr: str) -> set[str]:
    """The metrics of an expression, without the suffixes that a histogram's parts have."""
    histograms = {row.name for row in INSTRUMENTS if row.buckets}
    found = set(re.findall(r"\b(?:isthmus|gen_ai|http|process|up)_\w+", re.sub(r'"[^"]*"', "", expr)))
    return {base if (base := re.sub(r"_(bucket|sum|count)$", "", name)) in histograms else name for name in found}


def test_dashboard_names_only_what_is_measured() -> None:
    """A metric on the dashboard is one that the gateway declares."""
    page = Metrics().render().decode()
    known = {row.name for row in INSTRUMENTS} | set(re.findall(r"# TYPE (process_\w+)", page))
    named = set().union(*(names_in(query.expr) for query in QUERIES))

    assert set() == named - known


def test_everything_measured_is_on_the_dashboard() -> None:
    """An instrument that nobody can see might as well not be there."""
    named = set().union(*(names_in(query.expr) for query in QUERIES))

    assert set() == {row.name for row in INSTRUMENTS} - named


def test_dashboard_has_its_rows() -> None:
    """The rows that operators look for, in this order."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]

    assert [
        "Traffic",
        "Errors",
        "Latency by phase",
        "Time to first chunk",
        "Tokens",
        "Losses",
        "Saturation",
    ] == rows


def test_dashboard_is_well_formed() -> None:
    """Ids are unique, panels do not overlap, and all read the data source that the viewer chose."""
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    sources = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {"${datasource}"} == sources
    assert DASHBOARD["schemaVersion"] >= 39


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "grafana" / "provisioning").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_provisioning_is_yaml_of_version_1(path: Path) -> None:
    """Grafana reads provisioning files of apiVersion 1, each with something in it."""
    held = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert 1 == held["apiVersion"]
    assert held.get("datasources") or held.get("providers")
