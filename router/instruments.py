"""Counters, gauges and histograms for one event loop: plain numbers, shown by prometheus-client when it is scraped.

The library's own instruments take a lock for each number and walk a histogram's buckets in Python: about 20 µs for
the dozens of numbers that one exchange moves, a tenth of all that it costs. Ours are used from one thread, so that
each is an addition and a bisection. What a scrape looks like stays the library's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

OTHER = "other"


class Counter:
    """Only goes up."""

    __slots__ = ("value",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class Gauge:
    """Goes up and down. As a context, one more for as long as the block runs."""

    __slots__ = ("value",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value

    def __enter__(self) -> None:
        self.value += 1

    def __exit__(self, *_: object) -> None:
        self.value -= 1


class Histogram:
    """How many observations were at most so large. A bound belongs to its own bucket (`le`)."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


Series = TypeVar("Series", Counter, Gauge, Histogram)


class Family(dict[tuple[str, ...], Series], Collector, Generic[Series]):
    """The series of one instrument, by label values.

    A value outside its label's vocabulary becomes `other`. Only values of the vocabularies are kept as keys, so this
    grows no faster than the page. Without labels there is one series, from the beginning.
    """

    def __init__(
        self,
        kind: type[Series],
        name: str,
        help: str,
        labels: Collection[str] = (),
        vocabularies: Collection[Collection[str]] = (),
        bounds: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self._kind: type[Series] = kind
        self._name = name
        self._help = help
        self._labels = list(labels)
        self._known = list(vocabularies)
        self._bounds = bounds
        self._others: dict[tuple[str, ...], Series] = {}
        if not self._labels:
            self[()] = kind(bounds)

    __hash__ = object.__hash__  # type: ignore[assignment]  # the registry keeps families as keys: each is itself and no other
    __eq__ = object.__eq__

    def __missing__(self, values: tuple[str, ...]) -> Series:
        safe = tuple(value if value in known else OTHER for value, known in zip(values, self._known, strict=True))
        store = self if safe == values else self._others
        series = store.get(safe)
        if series is None:
            series = store[safe] = self._kind(self._bounds)
        return series

    def _all(self) -> Iterator[tuple[tuple[str, ...], Series]]:
        yield from self.items()
        yield from self._others.items()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """What a scrape sees (the library's own protocol)."""
        if self._kind is Counter:
            counters = CounterMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self._all():
                assert isinstance(series, Counter)
                counters.add_metric(labels, series.value)
            yield counters
        elif self._kind is Gauge:
            gauges = GaugeMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self._all():
                assert isinstance(series, Gauge)
                gauges.add_metric(labels, series.value)
            yield gauges
        else:
            histograms = HistogramMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self._all():
                assert isinstance(series, Histogram)
                histograms.add_metric(labels, self._buckets(series), series.total)
            yield histograms

    def _buckets(self, series: Histogram) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the text format wants them."""
        seen = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), series.counts, strict=True):
            seen += count
            buckets.append((str(floatToGoString(bound)), seen))  # type: ignore[no-untyped-call]
        return buckets
