"""Counters, gauges and histograms for one event loop: plain numbers, shown by prometheus-client when it is scraped.

The library's own instruments take a lock for each number and walk a histogram's buckets in Python: about 20 µs for
the dozens of numbers that one exchange moves, a tenth of all that it costs. Ours are used from one thread, so that
each is an addition and a bisection. What a scrape looks like stays the library's business.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
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
    """How many observations were at most so large. A bound belongs to its own bucket (`le`).

    `observe` only notes the value; they are counted together (`fold`), which costs a fraction of counting each.
    """

    __slots__ = ("_bounds", "_counts", "_noted", "_total", "observe")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._noted: list[float] = []
        self.observe: Callable[[float], None] = self._noted.append

    def fold(self) -> None:
        """Counts what was noted. Whoever observes often calls it now and then: until then each value is kept."""
        noted = self._noted
        if not noted:
            return
        self._total = sum(noted, self._total)
        counts, bounds = self._counts, self._bounds
        if len(noted) <= len(bounds):
            for value in noted:
                counts[bisect_left(bounds, value)] += 1
        else:
            noted.sort()
            before = 0
            for i, bound in enumerate(bounds):
                end = bisect_right(noted, bound, before)
                counts[i] += end - before
                before = end
            counts[-1] += len(noted) - before
        noted.clear()

    def add(self, counts: Iterable[int], total: float) -> None:
        """What another one of the same bounds has counted."""
        self._counts = [mine + its for mine, its in zip(self.counts, counts, strict=True)]
        self._total += total

    @property
    def counts(self) -> list[int]:
        """How many in each bucket, not added up."""
        self.fold()
        return self._counts

    @property
    def total(self) -> float:
        """The sum of all values."""
        self.fold()
        return self._total


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

    def fold(self) -> None:
        """Counts what its histograms have noted."""
        for _, series in self.all():
            if isinstance(series, Histogram):
                series.fold()

    def all(self) -> Iterator[tuple[tuple[str, ...], Series]]:
        """Every series, with the values of its labels."""
        yield from self.items()
        yield from self._others.items()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """What a scrape sees (the library's own protocol)."""
        if self._kind is Counter:
            counters = CounterMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self.all():
                assert isinstance(series, Counter)
                counters.add_metric(labels, series.value)
            yield counters
        elif self._kind is Gauge:
            gauges = GaugeMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self.all():
                assert isinstance(series, Gauge)
                gauges.add_metric(labels, series.value)
            yield gauges
        else:
            histograms = HistogramMetricFamily(self._name, self._help, labels=self._labels)
            for labels, series in self.all():
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
