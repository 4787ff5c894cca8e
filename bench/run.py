"""What the gateway costs beside the barest proxy on the same stack: `make bench`, or python -m bench.run [--quick].

What is measured runs on one core, the simulated upstream and the load on another. A cell runs on the pass-through, then
on each lane of the gateway, then on the pass-through again, and so on, so that whatever else the machine does hits all
of them. The figure is CPU time (utime + stime of the process tree) per request or chunk; the ratio is that of two
neighbouring runs; of both the median counts. Every answer is checked. What the codecs of each pair of dialects cost is
measured without a network (`bench.micro`). Exit 1: a limit is exceeded, an answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

from bench import micro  # noqa: E402
from bench.load import Load, Result  # noqa: E402
from bench.processes import Process, busy_seconds, cores, own_seconds  # noqa: E402

CALLER_KEY = "isthmus-bench-caller-key"
PASS = "pass-through"
LANES = {"relay": "relayed", "translate": "translated"}  # lane -> the model that takes it
TITLES = {"relay": "OpenAI → OpenAI", "translate": "OpenAI → Gemini"}
WORDS = ("Summarise the following paragraph about gateways and routers for me, please. " * 12)[:780]
LONG = ('Line of a long prompt, with "quotes" and é. ' * 3000)[:100000]


# ── what is asked ──────────────────────────────────────────────────────────────────────


def request(model: str, words: str = WORDS, *, stream: bool = False) -> bytes:
    """A chat request, head and body. 1 kB unless other words are given."""
    asked: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": words},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {CALLER_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True)
class Cell:
    """One load and, for each lane it is put on, the most that it may cost (× the pass-through)."""

    name: str
    title: str
    limits: dict[str, float]
    words: str = WORDS
    connections: int = 32
    chunks: int = 0  # of each stream; 0: JSON
    delay: float = 0.0  # seconds between chunks

    @property
    def unit(self) -> str:
        return "chunk" if self.chunks else "request"


CELLS = (
    Cell("json", "JSON 1 kB, 32 connections", {"relay": 1.6, "translate": 1.9}),
    Cell("long", "JSON, prompt of 100 kB, 32 connections", {"relay": 2.5}, words=LONG),
    Cell("stream", "SSE 32 × 200 chunks, full speed", {"relay": 1.6, "translate": 2.2}, chunks=200),
    Cell(
        "paced",
        "SSE 64 streams, a chunk each 20 ms",
        {"relay": 1.6, "translate": 2.2},
        connections=64,
        chunks=100,
        delay=0.02,
    ),
)
MOST_IDLE = 85.0  # MB
MOST_GROWTH = 20.0  # MB


@dataclass
class Row:
    """One line of the report."""

    cell: str
    unit: str
    value: float
    base: float | None = None
    ratios: list[float] = field(default_factory=list)
    limit: float | None = None
    note: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def judged(self) -> float:
        return median(self.ratios) if self.ratios else self.value

    @property
    def over(self) -> bool:
        return self.limit is not None and self.judged > self.limit


# ── the stand ──────────────────────────────────────────────────────────────────────────


class Stand:
    """Upstream, pass-through and gateway, each on its core, and the noise that others make meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.measured, self.load = cores()
        os.sched_setaffinity(0, self.load)
        self.upstream = Process("upstream", self._python("bench.upstream"), self.load, r"^(\d+)\n")
        address = f"http://127.0.0.1:{self.upstream.port}"
        self.passing = Process(PASS, self._python("bench.passthrough", address), self.measured, r"^(\d+)\n")
        self.gateway = self.new_gateway()
        self.noise: list[float] = []

    def _python(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def new_gateway(self) -> Process:
        table = (ROOT / "bench" / "routes.yaml").read_text()
        table = table.replace("127.0.0.1:9100", f"127.0.0.1:{self.upstream.port}")
        file = self.folder / "routes.yaml"
        file.write_text(table)
        return Process(
            "gateway",
            self._python("router", "serve", "-c", str(file), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
            self.measured,
            r"listening on http://127\.0\.0\.1:(\d+)",
            log_away=True,
            environment={"BENCH_UPSTREAM_KEY": "isthmus-bench-upstream-key"},
        )

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.upstream.port}/bench/{path}", timeout=10) as answer:
            return json.load(answer)

    def shape(self, cell: Cell) -> None:
        self.ask(f"set?chunks={cell.chunks or 200}&delay={cell.delay}")

    def close(self) -> None:
        for process in (self.gateway, self.passing, self.upstream):
            process.stop()

    def target(self, contender: str) -> Process:
        return {"direct": self.upstream, PASS: self.passing}.get(contender, self.gateway)

    def run(self, contender: str, cell: Cell, seconds: float) -> tuple[Result, float]:
        """One run of a cell: what came of it, and CPU µs per request or chunk."""
        target = self.target(contender)
        model = LANES.get(contender, LANES["relay"])
        load = Load(
            port=target.port,
            requests=[request(model, cell.words, stream=bool(cell.chunks))],
            connections=cell.connections,
            seconds=seconds,
            chunks=cell.chunks,
            gaps=bool(cell.delay),
        )
        busy, ours, used = busy_seconds(), own_seconds(), target.cpu_seconds()
        others = self.upstream.cpu_seconds()
        result = load.run()
        used = target.cpu_seconds() - used
        known = used + own_seconds() - ours + self.upstream.cpu_seconds() - others
        self.noise.append(max(0.0, busy_seconds() - busy - known) / max(result.seconds, 0.001))
        done = result.chunks if cell.chunks else result.answers - len(result.faults)
        return result, used / max(done, 1) * 1e6

    # ── before anything is measured ────────────────────────────────────────────────
    def check(self) -> None:
        """Both lanes do what they are measured for: the upstream gets what its dialect says."""
        for lane, model in LANES.items():
            result = Load(self.gateway.port, [request(model)], connections=1, count=1).run()
            if result.faults:
                raise SystemExit(f"{lane}: {result.faults[0]}")
            sent = json.loads(self.ask("last"))
            words = sent["messages"][1]["content"] if lane == "relay" else sent["contents"][0]["parts"][0]["text"]
            if words != WORDS:
                raise SystemExit(f"{lane}: the upstream got something else")


# ── cells ──────────────────────────────────────────────────────────────────────────────


@dataclass
class Runs:
    """All runs of one contender in one cell: µs, times in ms, time between reads, and what was wrong."""

    costs: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, result: Result, cost: float) -> None:
        self.costs.append(cost)
        self.p50s.append(percentile(result.times, 0.5) * 1e3)
        self.gaps += result.gaps
        self.faults += result.faults


def alternate(stand: Stand, cell: Cell, contenders: Sequence[str], repetitions: int, seconds: float) -> dict[str, Runs]:
    """The cell on one contender after the other, again and again."""
    stand.shape(cell)
    runs = {contender: Runs() for contender in contenders}
    for contender in contenders:
        stand.run(contender, cell, min(seconds, 0.5))  # connections and caches
    for _ in range(repetitions):
        for contender, all_runs in runs.items():
            all_runs.add(*stand.run(contender, cell, seconds))
    return runs


def ratio_rows(stand: Stand, cell: Cell, repetitions: int, seconds: float) -> list[Row]:
    """CPU per request or chunk of each lane, beside the pass-through's."""
    runs = alternate(stand, cell, [PASS, *cell.limits], repetitions, seconds)
    bare = runs[PASS]
    direct = Runs()
    if cell.delay:
        direct.add(*stand.run("direct", cell, seconds))
    return [
        Row(
            cell=f"{TITLES[lane]} {cell.title}",
            unit=f"µs/{cell.unit}",
            value=median(runs[lane].costs),
            base=median(bare.costs),
            ratios=[own / base for own, base in zip(runs[lane].costs, bare.costs, strict=True)],
            limit=limit,
            note=_gap_note(direct.gaps, bare.gaps, runs[lane].gaps) if cell.delay else "",
            faults=runs[lane].faults + bare.faults + direct.faults,
        )
        for lane, limit in cell.limits.items()
    ]


def _gap_note(*gaps: Sequence[float]) -> str:
    own = [f"{percentile(values, 0.99) * 1e3:.1f}" for values in gaps]
    return "p99 between reads, ms: direct {}, pass-through {}, gateway {}".format(*own)


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def latency_rows(stand: Stand, repetitions: int, seconds: float) -> list[Row]:
    """What is added to the time of a call when nothing else goes on."""
    runs = alternate(stand, Cell("latency", "", {}, connections=1), ["direct", PASS, *LANES], repetitions, seconds)
    direct = runs["direct"].p50s

    def added(contender: str) -> float:
        return median(own - bare for own, bare in zip(runs[contender].p50s, direct, strict=True))

    return [
        Row(
            cell=f"{TITLES[lane]} JSON 1 kB, 1 connection: added p50",
            unit="ms",
            value=added(lane),
            base=added(PASS),
            note=f"direct {median(direct):.2f} ms",
            faults=runs[lane].faults + runs[PASS].faults,
        )
        for lane in LANES
    ]


def memory_rows(stand: Stand, first: int, last: int) -> list[Row]:
    """A fresh gateway's memory: idle, and how much it grows from the `first` to the `last` request of a mixed load."""
    starts: list[float] = []
    for _ in range(3):
        stand.gateway.stop()
        stand.gateway = stand.new_gateway()
        starts.append(stand.gateway.start_seconds)
    idle = stand.gateway.memory()
    stand.ask("set?chunks=5")
    mix = [request(model, stream=stream) for model in LANES.values() for stream in (False, True)]

    def load(count: int) -> tuple[float, list[str]]:
        result = Load(stand.gateway.port, mix, connections=32, count=count, chunks=5).run()
        return stand.gateway.memory(), result.faults

    early, early_faults = load(first)
    late, late_faults = load(last - first)
    return [
        Row("start until it listens", "s", median(starts)),
        Row(
            "memory, idle",
            "MB",
            idle,
            limit=MOST_IDLE,
            note=f"pass-through after its load {stand.passing.memory():.0f}",
        ),
        Row(
            cell=f"memory, growth from {first:,} to {last:,} mixed requests",
            unit="MB",
            value=late - early,
            limit=MOST_GROWTH,
            note=f"{early:.1f} to {late:.1f}",
            faults=early_faults + late_faults,
        ),
    ]


# ── report ─────────────────────────────────────────────────────────────────────────────

FIGURES = ("<!-- figures: written by make bench ARGS=--write -->", "<!-- end of figures -->")
HEAD = ("cell", "unit", PASS, "gateway", "ratio (min–max)", "limit", "", "wrong", "")


def _line(row: Row) -> tuple[str, ...]:
    digits = 2 if row.unit in ("ms", "s") or row.value < 20 else 0
    ratio = f"{row.judged:.2f} ({min(row.ratios):.2f}–{max(row.ratios):.2f})" if row.ratios else ""
    return (
        row.cell,
        row.unit,
        "" if row.base is None else f"{row.base:.{digits}f}",
        f"{row.value:.{digits}f}",
        ratio,
        "" if row.limit is None else f"{row.limit:g}" + (" ×" if row.ratios else ""),
        "" if row.limit is None else "OVER" if row.over else "ok",
        str(len(row.faults)),
        row.note,
    )


def show(rows: Sequence[Row]) -> None:
    lines = [HEAD, *map(_line, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        first, rest = line[:2], line[2:]
        left = [word.ljust(width) for word, width in zip(first, widths, strict=False)]
        right = [word.rjust(width) for word, width in zip(rest[:-1], widths[2:], strict=False)]
        print("  ".join([*left, *right, rest[-1]]).rstrip())


def document(rows: Sequence[Row], noise: float, costs: Sequence[micro.Cost]) -> str:
    """The figures as docs/performance.md holds them."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "msgspec"))
    text = [
        f"{datetime.now(UTC):%Y-%m-%d}, {model or platform.machine()}, {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}, {versions}; others used up to {noise:.1f} cores meanwhile.",
        "",
        "| cell | unit | pass-through | gateway | ratio (min–max) | limit |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cell, unit, base, value, ratio, limit, verdict, _, _ = _line(row)
        text.append(f"| {cell} | {unit} | {base} | {value} | {ratio} | {limit}{' OVER' if verdict == 'OVER' else ''} |")
    return "\n".join([*text, *_codecs(costs)])


def _codecs(costs: Sequence[micro.Cost]) -> list[str]:
    """The codecs of each pair beside the least."""
    if not costs:
        return []
    least = {cost.what: cost.least for cost in costs}
    text = [
        "",
        f"The codecs alone. The least: {least['request']:.1f} µs for a request, {least['chunk']:.2f} µs for a chunk.",
        "",
        f"| caller → upstream | request, µs | limit {micro.MOST_REQUEST:g} × "
        f"| chunk, µs | limit {micro.MOST_CHUNK:g} × | whole answer, µs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    pairs: dict[str, dict[str, micro.Cost]] = {}
    for cost in costs:
        pairs.setdefault(cost.title, {})[cost.what] = cost
    for title, cells in pairs.items():
        cells_of = [
            f"{cells[what].value:.{digits}f} | {_beside(cells[what])}"
            for what, digits in (("request", 1), ("chunk", 2))
        ]
        text.append(f"| {title} | {' | '.join(cells_of)} | {cells['answer'].value:.1f} |")
    return text


def _beside(cost: micro.Cost) -> str:
    return f"{cost.ratio:.2f} ×" + (" OVER" if cost.verdict == "OVER" else "")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def write_document(text: str) -> None:
    """Puts the figures in the place of those that the document holds."""
    page = ROOT / "docs" / "performance.md"
    before, start, rest = page.read_text(encoding="utf-8").partition(FIGURES[0])
    _, end, after = rest.partition(FIGURES[1])
    if not start or not end:
        raise SystemExit(f"{page} has no place for figures: {FIGURES[0]} … {FIGURES[1]}")
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def measure(options: argparse.Namespace, stand: Stand) -> Iterable[Row]:
    """Every cell that was asked for, as soon as it is measured."""
    quick = options.quick
    repetitions = options.reps or (2 if quick else 5)
    seconds = options.secs or (0.8 if quick else 2.5)
    wanted = _wanted(options)
    for cell in CELLS:
        if cell.name in wanted:
            yield from ratio_rows(stand, cell, repetitions, seconds)
    if "latency" in wanted:
        yield from latency_rows(stand, repetitions, seconds / 2.5)
    if "memory" in wanted:
        yield from memory_rows(stand, *((1_000, 10_000) if quick else (5_000, 100_000)))


def _wanted(options: argparse.Namespace) -> set[str]:
    every = {cell.name for cell in CELLS} | {"latency", "memory", "codecs"}
    return set(options.cells.split(",")) if options.cells else every


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="40 s instead of 5 min; 10,000 requests for memory")
    parser.add_argument("--cells", help="only these, by comma: json, long, stream, paced, latency, memory, codecs")
    parser.add_argument("--reps", type=int, help="repetitions of each cell")
    parser.add_argument("--secs", type=float, help="seconds of each run")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/performance.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args()


def main() -> int:
    if not hasattr(os, "sched_setaffinity") or not Path("/proc/self/stat").exists():
        print("the benchmark needs Linux: it pins processes to cores and reads /proc", file=sys.stderr)
        return 2
    options = _options()
    rows: list[Row] = []
    costs = micro.pairs(micro.ROUNDS // 3 if options.quick else micro.ROUNDS) if "codecs" in _wanted(options) else []
    with tempfile.TemporaryDirectory() as folder:
        stand = Stand(Path(folder))
        try:
            stand.check()
            for row in measure(options, stand):
                rows.append(row)
                print(f"… {row.cell}: {row.judged:.2f}", file=sys.stderr, flush=True)
        finally:
            stand.close()
    show(rows)
    noise = max(stand.noise, default=0.0)
    print(f"\nWhile this ran, others used up to {noise:.2f} cores. 1e6 ÷ µs is what one free core does in a second.")
    if costs:
        print("\nThe codecs alone, beside the least:")
        micro.show(costs)
    if stand.measured == stand.load:
        print("There is one core only: upstream and load ran on it, too.")
    for row in rows:
        for fault in dict.fromkeys(row.faults[:3]):
            print(f"WRONG {row.cell}: {fault}")
    if options.write:
        write_document(document(rows, noise, costs))
    if options.json:
        figures = [asdict(row) | {"faults": len(row.faults)} for row in rows]
        options.json.write_text(json.dumps([*figures, *(asdict(cost) for cost in costs)], indent=1))
    over = any(row.over or row.faults for row in rows) or any(cost.verdict == "OVER" for cost in costs)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
