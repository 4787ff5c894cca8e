"""What several processes have counted, as one page.

Each tells its numbers (`told`) as they are; whoever is asked for the page adds them up (`Sum`). Counters and
histograms are summed, those of processes that have ended among them, for a counter that goes back looks like a reset.
Gauges are of processes that live: summed, or the least or the most of them, as their instrument says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from providers.canonical.prices import total, written
from router.instruments import Counter, Family, Gauge, Histogram
from router.metrics import INSTRUMENTS, Metrics

Labels: TypeAlias = tuple[str, ...]

# Of the numbers that the system keeps of a process, those that are not simply added.
_LEAST = frozenset({"process_start_time_seconds"})
_COUNTED = frozenset({"process_cpu_seconds_total"})


class Told(msgspec.Struct, array_like=True):
    """All numbers of one process: `numbers` of counters and gauges, `histograms` with counts by bucket and total."""

    numbers: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[tuple[Labels, list[int], float]]] = {}
    process: dict[str, float] = {}  # what the system knows of it
    budgets: list[dict[str, Any]] = []  # what keys may spend, and have spent: `Budgets.shown`


def told(metrics: Metrics) -> Told:
    """What this process has counted up to now."""
    made = Told(process=of_process())
    for name, family in metrics.families.items():
        series = list(family.all())
        if not series:
            continue
        if isinstance(series[0][1], Histogram):
            made.histograms[name] = [(labels, one.counts, one.total) for labels, one in series]
        else:
            made.numbers[name] = [(labels, one.value) for labels, one in series]
    return made


def of_process() -> dict[str, float]:
    """What the system knows of this process: processor, memory, files."""
    return {sample.name: sample.value for metric in _system() for sample in metric.samples}


def _system() -> Iterable[Metric]:
    return ProcessCollector(registry=None).collect()


class Sum:
    """A page in the making. What is `gone` adds its counters alone."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Any]] = {}
        for row in INSTRUMENTS:
            family: Family[Any] = Family(row.kind, row.name, row.help, row.label_names, (), row.buckets)
            family.clear()
            self._families[row.name] = family
        self._process: dict[str, float] = {}
        self.budgets: dict[str, dict[str, Any]] = {}  # by key

    def add(self, one: Told, *, gone: bool = False) -> None:
        """The numbers of one process. Instruments that this version does not have are left out."""
        for row in INSTRUMENTS:
            family = self._families[row.name]
            for labels, counts, amount in one.histograms.get(row.name, ()):
                _series(family, labels, Histogram(row.buckets)).add(counts, amount)
            if row.kind is Counter:
                for labels, value in one.numbers.get(row.name, ()):
                    _series(family, labels, Counter(())).inc(value)
            elif not gone:
                for labels, value in one.numbers.get(row.name, ()):
                    _take(family, labels, value, row.together)
        if not gone:
            self._spend(one.budgets)
        for name, value in one.process.items():
            if not gone or name in _COUNTED:
                known = self._process.get(name)
                least = name in _LEAST and known is not None
                self._process[name] = min(known or 0.0, value) if least else (known or 0.0) + value

    def _spend(self, rows: Iterable[dict[str, Any]]) -> None:
        """Amounts of one period are summed; of one that another process has begun since, they are over."""
        for row in rows:
            known = self.budgets.get(row["key"])
            if known is None or known["since"] < row["since"]:
                self.budgets[row["key"]] = row
            elif known["since"] == row["since"]:
                self.budgets[row["key"]] = {word: _both(known[word], value) for word, value in row.items()}

    def count(self, name: str, *labels: str) -> None:
        """One more of something that happened to no single process."""
        _series(self._families[name], labels, Counter(())).inc()

    def told(self) -> Told:
        """The sum as if it were one process."""
        made = Told(process=dict(self._process))
        for row in INSTRUMENTS:
            series = self._families[row.name].all()
            if row.kind is Histogram:
                made.histograms[row.name] = [(labels, one.counts, one.total) for labels, one in series]
            else:
                made.numbers[row.name] = [(labels, one.value) for labels, one in series]
        return made

    def page(self) -> bytes:
        """As `CONTENT_TYPE` of `router.metrics`."""
        registry = CollectorRegistry()
        registry.register(_Process(self._process))
        for family in self._families.values():
            registry.register(family)
        return prometheus_client.generate_latest(registry)


def _both(one: Any, other: Any) -> Any:
    """Amounts by name are summed; what else there is, is the same."""
    if not isinstance(one, dict):
        return one
    return {word: written(total((Decimal(one[word]), Decimal(amount)))) for word, amount in other.items()}


def _series(family: Family[Any], labels: Labels, new: Any) -> Any:
    return family.setdefault(labels, new)


def _take(family: Family[Any], labels: Labels, value: float, together: str) -> None:
    known = family.get(labels)
    if known is None:
        known = family[labels] = Gauge(())
        known.set(value)
    elif together == "sum":
        known.set(known.value + value)
    else:
        known.set((min if together == "least" else max)(known.value, value))


class _Process(Collector):
    """The system's numbers, as the library has them, with other values."""

    def __init__(self, values: dict[str, float]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for metric in _system():
            metric.samples = [
                sample._replace(value=self._values.get(sample.name, sample.value)) for sample in metric.samples
            ]
            yield metric
