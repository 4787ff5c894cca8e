"""The dashboard against a real Prometheus that scraped a real page: every panel shows data.

What is scraped comes from the fixture `target`: a running gateway between a caller and an upstream that have every kind
of day at once, for as long as Prometheus looks.
"""

from __future__ import annotations

import asyncio
import hashlib
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

from router.metrics import Metrics
from router.vocabulary import INSTRUMENTS
from tests.answers import chat_answer, chat_stream, gemini_answer, gemini_stream, openai_error
from tests.conftest import program
from tests.fakes import RESET, FakeUpstream, Received, Reply, Sleep, json_answer, sse, status
from tests.running import Running, running

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "isthmus.json").read_text(encoding="utf-8"))


class Query(NamedTuple):
    panel: str
    expr: str
    legend: str


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    Query(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
]


# ── what is scraped ──────────────────────────────────────────────────────────────────────────

CALLER_KEY = "isthmus-dashboard-caller-key-0123456789"
TABLE = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 1s}
access:
  keys: [{name: team-a, hash: "$hash", budget: {usd: 99, credits: 999999, per: month, unpriced: allow}}]
providers:
  acme: {base_url: "$up/v1", speaks: [openai.chat], auth: none}
  spare: {base_url: "$up", speaks: [gemini], auth: none}
  narrow: {base_url: "$up/v1", speaks: [openai.chat], auth: none, concurrency: 1, queue: 1, credits: {large: 2}}
models:
  large: [{provider: acme, model: large}]
  small: [{provider: spare, model: gemini-small}]
  busy: [{provider: acme, model: busy}, {provider: spare, model: busy}]
  moody: [{provider: acme, model: moody}]
  narrow: [{provider: narrow, model: large}]
  slow: {to: [{provider: acme, model: slow}, {provider: spare, model: gemini-small}], policy: eager}
  uneven: {to: [{provider: acme, model: uneven}, {provider: spare, model: gemini-small}], policy: comparing}
prices:
  acme/large: {input: 0.25, output: 2}
policies:
  default: {attempts: 2, wait: {first: 1ms, most: 2ms}, timeouts: {first_byte: 300ms, idle: 300ms, total: 2s}}
  eager: {attempts: 2, hedge: {after: 20ms}}
  comparing:
    attempts: 2
    choose: weighted
    wait: {first: 1ms, most: 2ms}
    breaker: {failures: 1000}
    outliers: {calls: 5}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /kept/chat/completions, speaks: openai.chat, to: models, cache: {ttl: 1s}}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: "/proxy/{u:url}/{k:secret}/chat/completions", speaks: openai.chat, to: named, egress: {listed: [acme]}}
chats: {store: "sqlite:no-such-folder/chats.db", personas: {maya: {model: large}}}  # its store cannot be opened
"""


def upstream_says(request: Received) -> Reply:
    """An upstream with every kind of day: busy, moody about kept connections, and good."""
    if "busy" in request.body.decode() + request.target:
        return status(429, openai_error("busy"), headers={"retry-after": "99"})
    if request.turn > 1 and "moody" in request.body.decode():
        return RESET
    if b'"uneven"' in request.body:
        return status(500, openai_error("broken"))
    if b'"slow"' in request.body:
        return json_answer(chat_answer()).after(Sleep(0.2))
    if "stream" in request.target:
        return sse(*gemini_stream("Hel", "lo", "!"), every=0.01)
    if "gemini-small" in request.target:
        return json_answer(gemini_answer("Hello"))
    if b'"stream":true' in request.body:
        return sse(*chat_stream("Hel", "lo", "!", usage=(9, 3)), every=0.01)
    return json_answer(chat_answer())


async def one_round(gateway: Running) -> None:
    """Calls that end well, and one of each way in which a call can end badly."""
    auth = {"authorization": f"Bearer {CALLER_KEY}"}
    hello = {"messages": [{"role": "user", "content": "Hello!"}]}

    async def chat(model: str, headers: dict[str, str] = auth, **more: Any) -> None:
        await gateway.post("/v1/chat/completions", {"model": model, **hello, **more}, headers=headers)

    await chat("large")
    await chat("small", logit_bias={"1": 1})
    await chat("small", stream=True)
    await chat("large", stream=True)
    await chat("slow")
    for _ in range(6):
        await chat("uneven")
    for _ in range(2):
        await gateway.post("/kept/chat/completions", {"model": "large", **hello}, headers=auth)
    await chat("busy")
    await chat("moody")
    await chat("moody")
    await asyncio.gather(chat("narrow"), chat("narrow"))
    await chat("large", headers={"authorization": "Bearer wrong"})
    await chat("large", messages=[])
    await gateway.post("/proxy/https://elsewhere.example/v1/k/chat/completions", {"model": "m", **hello}, headers=auth)
    contents = {"contents": [{"parts": [{"text": "Hello!"}]}]}
    await gateway.post("/v1beta/models/large:generateContent", contents, headers=auth)


async def _serve(port: Callable[[int], None], stop: threading.Event) -> None:
    async with FakeUpstream() as upstream:
        upstream.always(upstream_says)
        digest = "sha256:" + hashlib.sha256(CALLER_KEY.encode()).hexdigest()
        async with running(TABLE, up=upstream.url, hash=digest) as gateway:
            assert gateway.admin is not None
            port(int(gateway.admin.rpartition(":")[2]))
            while not stop.is_set():
                await one_round(gateway)
                gateway.life.reload()
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """HOST:PORT of a metrics page that Prometheus can scrape and on which everything moves."""
    ports: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(ports.append, stop)), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
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
