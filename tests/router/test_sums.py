"""Numbers of several processes on one page."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router.instruments import Gauge
from router.metrics import Metrics
from router.record import AttemptRecord, Record
from router.sums import Sum, Told, of_process, told
from router.vocabulary import INSTRUMENTS

ROUTE = "/v1/chat/completions"


def made() -> Metrics:
    metrics = Metrics()
    names = {"routes": [ROUTE], "dialects": ["openai.chat"], "providers": ["acme"], "models": ["m"], "keys": ["team"]}
    metrics.configured(1, **names)
    return metrics


def record(seconds: float, status: int) -> Record:
    """A call of that length."""
    found = Record(id="r", method="POST", path=ROUTE, started=0.0)
    found.route, found.caller_dialect, found.provider, found.model = ROUTE, "openai.chat", "acme", "m"
    found.status, found.ended, found.outcome = status, seconds, "ok" if status == 200 else "upstream_error"
    found.attempts.append(AttemptRecord(provider="acme", model="m", operation="chat", started=0.0, ended=seconds))
    found.phases = {"read": seconds / 2, "answer": seconds / 2}
    return found


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All but those of the process itself."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def sent(metrics: Metrics) -> Told:
    """As it comes over a link."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told(metrics)), type=Told)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 2.0, 64.0]), st.sampled_from([200, 502]), st.integers(0, 2)))
)
def test_the_sum_of_several_is_what_one_would_have_counted(calls: list[tuple[float, int, int]]) -> None:
    """However calls are dealt out to three processes, one of which has ended: counters and histograms are as of one."""
    alone, several = made(), [made() for _ in range(3)]
    for seconds, status, whose in calls:
        alone.observe(record(seconds, status))
        several[whose].observe(record(seconds, status))
    past = Sum()
    past.add(sent(several[0]), gone=True)
    total = Sum()
    for one in (past.told(), sent(several[1]), sent(several[2])):
        total.add(one)
    expected = samples(alone.render())
    expected["isthmus_workers", ()] = 2.0

    assert expected == samples(total.page())


def test_gauges_are_of_those_who_live() -> None:
    """Summed, or the least, or the worst of them; not of one that has ended, whose counters stay."""
    several = [made() for _ in range(3)]
    states = ["closed", "half_open", "open"]
    total = Sum()
    for number, metrics in enumerate(several):
        metrics.configured(number + 1, routes=[], dialects=[], providers=[], models=[])
        metrics.look_at([("acme", "m", states[number])])
        metrics.log_lines_dropped(5)
        with metrics.inflight(ROUTE):
            total.add(sent(metrics), gone=number == 2)
    several[1].config_refused()
    found = samples(total.page())

    assert 2.0 == found["isthmus_inflight", (("route", ROUTE),)]
    assert 1.0 == found["isthmus_config_generation", ()]
    assert 1.0 == found["isthmus_breaker_state", (("model", "m"), ("provider", "acme"))]
    assert 15.0 == found["isthmus_log_lines_dropped_total", ()]


def test_a_refused_file_shows_if_one_process_refused_it() -> None:
    """The least of ones and zeros."""
    good, bad = made(), made()
    bad.config_refused()
    total = Sum()
    for metrics in (good, bad):
        total.add(sent(metrics))

    assert 0.0 == samples(total.page())["isthmus_config_last_reload_success", ()]


def test_every_gauge_says_what_several_of_it_are() -> None:
    """A new gauge that is no amount has to be the least or the most: this list is where somebody thinks of it."""
    gauges = {row.name: row.together for row in INSTRUMENTS if row.kind is Gauge}

    assert {
        "isthmus_inflight": "sum",
        "isthmus_workers": "sum",
        "isthmus_breaker_state": "most",
        "isthmus_outlier_state": "most",
        "isthmus_cache_bytes": "sum",
        "isthmus_config_generation": "least",
        "isthmus_config_last_reload_success": "least",
        **{f"isthmus_budget_{coin}_{what}": "sum" for coin in ("usd", "credits") for what in ("limit", "spent")},
    } == gauges


def test_what_the_system_knows_of_processes() -> None:
    """Memory and files are summed, processor time also of the dead; the start is the first one's."""
    total = Sum()
    one = {"process_cpu_seconds_total": 2.0, "process_open_fds": 10.0, "process_start_time_seconds": 50.0}
    total.add(Told(process=one))
    total.add(Told(process=one | {"process_start_time_seconds": 40.0}))
    total.add(Told(process=one), gone=True)
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(total.page().decode())
        for sample in family.samples
        if sample.name in one
    }

    assert {
        "process_cpu_seconds_total": 6.0,
        "process_open_fds": 20.0,
        "process_start_time_seconds": 40.0,
    } == found
    assert of_process().keys() >= one.keys()


def test_what_happened_to_no_single_process_is_counted_too() -> None:
    """Reloads and replaced workers are the supervisor's to count."""
    past = Sum()
    past.count("isthmus_config_reload_total", "ok")
    past.count("isthmus_config_reload_total", "ok")
    total = Sum()
    total.add(past.told())
    total.add(told(Metrics(counts_reloads=False)))

    assert 2.0 == samples(total.page())["isthmus_config_reload_total", (("result", "ok"),)]


def test_what_keys_have_spent_is_summed() -> None:
    """Exactly, by key and coin; of a period that another process has begun since, nothing; of the dead, nothing."""

    def row(spent: str, since: str = "2026-11-01", key: str = "a") -> dict[str, Any]:
        return {"key": key, "per": "month", "since": since, "until": "x", "usd": {"limit": "12.5", "spent": spent}}

    total = Sum()
    total.add(Told(budgets=[row("0.1"), row("9", key="old")]))
    total.add(Told(budgets=[row("0.2"), row("2", "2026-12-01", "old")]))
    total.add(Told(budgets=[row("0.000000001"), row("3", key="old")]))
    total.add(Told(budgets=[row("7")]), gone=True)

    assert {"limit": "37.5", "spent": "0.300000001"} == total.budgets["a"]["usd"]
    assert ("2026-12-01", "2") == (total.budgets["old"]["since"], total.budgets["old"]["usd"]["spent"])
