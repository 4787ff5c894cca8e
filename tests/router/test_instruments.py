"""Plain numbers that a scrape sees as the library's own."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from router.instruments import Counter, Family, Gauge, Histogram

BOUNDS = (0.1, 1.0, 10.0)


def page(*families: Family[Counter] | Family[Gauge] | Family[Histogram]) -> str:
    registry = CollectorRegistry()
    for family in families:
        registry.register(family)
    return generate_latest(registry).decode()


@given(st.lists(st.floats(-1, 20), max_size=30))
def test_a_histogram_is_scraped_as_the_librarys(values: list[float]) -> None:
    """Bucket by bucket, sum and count."""
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram("h", "help", ["a"], registry=registry, buckets=BOUNDS)
    ours: Family[Histogram] = Family(Histogram, "h", "help", ["a"], [{"x"}], BOUNDS)
    for value in values:
        theirs.labels("x").observe(value)
        ours[("x",)].observe(value)

    lines = [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
    assert set(lines) == set(page(ours).splitlines())


def test_a_counter_and_a_gauge() -> None:
    """`_total` once, whatever the name says."""
    counter: Family[Counter] = Family(Counter, "c_total", "help", ["a"], [{"x"}])
    gauge: Family[Gauge] = Family(Gauge, "g", "help")
    counter[("x",)].inc()
    counter[("x",)].inc(2)
    with gauge[()]:
        text = page(counter, gauge)

    assert 'c_total{a="x"} 3.0' in text and "g 1.0" in text
    assert "g 0.0" in page(gauge)


def test_what_no_vocabulary_holds_is_other_and_is_not_remembered() -> None:
    """The page and the memory stay bounded."""
    counter: Family[Counter] = Family(Counter, "c_total", "help", ["a", "b"], [{"x"}, {"y"}])
    for number in range(1000):
        counter[f"made-up-{number}", "y"].inc()

    assert 'c_total{a="other",b="y"} 1000.0' in page(counter)
    assert 0 == len(counter)


def test_without_labels_zero_is_shown_from_the_beginning() -> None:
    """A rate needs something to start from."""

    assert "c_total 0.0" in page(Family(Counter, "c_total", "help"))
    with pytest.raises(ValueError, match="argument 2 is"):
        Family(Counter, "c_total", "help", ["a"], [set()])["x", "y"]
