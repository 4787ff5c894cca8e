"""What one exchange moves on the page, and what nobody can make it grow by."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from providers.canonical.chat import Usage
from providers.canonical.errors import StreamTruncated, UpstreamTimeout
from providers.canonical.loss import Loss, approximated, dropped
from providers.canonical.prices import priced
from router.metrics import CONTENT_TYPE, Metrics, watch_loop
from router.record import OUTPACED, AttemptRecord, Outcome, Record
from router.vocabulary import (
    CLIENT_LEFT,
    INSTRUMENTS,
    OUTCOME_OF,
    PHASES,
    UPSTREAM_PHASES,
)

ROUTE = "/v1/chat/completions"

# The contract, section 4, word for word.
PROMISED = """
http_server_request_duration_seconds{route,status,error_type}
gen_ai_client_operation_duration_seconds{operation_name,provider_name,request_model,error_type}
gen_ai_client_operation_time_to_first_chunk_seconds{operation_name,provider_name,request_model,error_type}
gen_ai_client_operation_time_per_output_chunk_seconds{operation_name,provider_name,request_model,error_type}
gen_ai_client_token_usage{operation_name,provider_name,request_model,error_type,token_type}
isthmus_tokens_total{provider,model,token_type,source}
isthmus_requests_total{route,caller_dialect,provider,model,outcome}
isthmus_attempts_total{provider,model,outcome}
isthmus_retries_total{provider,reason}
isthmus_losses_total{route,field,kind}
isthmus_overhead_seconds{lane,phase}
isthmus_key_requests_total{key,outcome}
isthmus_key_tokens_total{key,token_type}
isthmus_cost_credits_total{provider,model,key}
isthmus_cost_usd_total{provider,model,key}
isthmus_budget_usd_limit{key}
isthmus_budget_usd_spent{key}
isthmus_budget_credits_limit{key}
isthmus_budget_credits_spent{key}
isthmus_loop_lag_seconds{}
isthmus_log_lines_dropped_total{}
isthmus_inflight{route}
isthmus_breaker_state{provider,model}
isthmus_hedges_total{provider,outcome}
isthmus_outlier_state{provider,model}
isthmus_outliers_total{provider,model,reason}
isthmus_queued_total{provider,priority,outcome}
isthmus_cache_requests_total{route,result}
isthmus_cache_bytes{}
isthmus_rejected_total{reason}
isthmus_stream_end_total{provider,reason}
isthmus_retries_denied_total{provider,reason}
isthmus_egress_denied_total{reason}
isthmus_auth_failures_total{reason}
isthmus_stale_resends_total{provider}
isthmus_config_reload_total{result}
isthmus_store_errors_total{op}
isthmus_config_generation{}
isthmus_config_last_reload_success{}
isthmus_workers{}
isthmus_worker_restarts_total{}
"""


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.configured(
        1,
        routes=[ROUTE],
        dialects=["openai.chat"],
        providers=["acme", "spare"],
        models=["large", "small"],
        keys=["team-a"],
    )
    return made


def attempt(**fields: Any) -> AttemptRecord:
    given: dict[str, Any] = {"provider": "acme", "model": "large", "operation": "chat", "started": 1.0, "ended": 1.5}
    return AttemptRecord(**(given | fields))


def exchange(**fields: Any) -> Record:
    given: dict[str, Any] = {
        "id": "r1",
        "method": "POST",
        "path": ROUTE,
        "started": 1.0,
        "ended": 1.6,
        "route": ROUTE,
        "caller_dialect": "openai.chat",
        "provider": "acme",
        "model": "large",
        "lane": "translate",
        "status": 200,
        "attempts": [attempt()],
    }
    return Record(**(given | fields))


def refused(error: str, **fields: Any) -> Record:
    return exchange(attempts=[], provider="none", outcome="rejected", error=error, **fields)


def samples(metrics: Metrics, *names: str) -> dict[str, float]:
    """`name{label=value,…}` -> value, without buckets, empty labels and zeros; `names`: only these instruments."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            instrument = sample.name.removesuffix("_sum").removesuffix("_count")
            if sample.value and not sample.name.endswith("_bucket") and (not names or instrument in names):
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if value)
                found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


# ── names ──────────────────────────────────────────────────────────────────────────────


def test_names_and_labels_are_the_promised_ones() -> None:
    """Dashboards depend on every name and label: the table says what the contract says."""
    declared = {f"{row.name}{{{','.join(row.label_names)}}}" for row in INSTRUMENTS}

    assert set(PROMISED.split()) == declared


def test_credits_are_counted_by_who_spent_them(metrics: Metrics) -> None:
    """Each attempt that was answered adds what its row says; a call without a key counts under `none`."""
    metrics.observe(exchange(key="team-a", attempts=[attempt(credits=2.0), attempt(credits=3.0)]))
    metrics.observe(exchange(attempts=[attempt(credits=0.5), attempt()]))

    assert {
        "isthmus_cost_credits_total{key=team-a,model=large,provider=acme}": 5.0,
        "isthmus_cost_credits_total{key=none,model=large,provider=acme}": 0.5,
    } == samples(metrics, "isthmus_cost_credits_total")


def test_budgets_are_shown_as_they_are_now(metrics: Metrics) -> None:
    """A key that has none any more has no figures; a name that no table has is `other`."""
    metrics.configured(1, routes=(), dialects=(), providers=(), models=(), keys=["team-a"])
    page = metrics.render(budgets=[("team-a", "usd", 5.0, 2.5), ("gone", "credits", 1.0, 0.0)]).decode()
    later = metrics.render(budgets=[]).decode()

    assert {
        'isthmus_budget_usd_limit{key="team-a"} 5.0',
        'isthmus_budget_usd_spent{key="team-a"} 2.5',
        'isthmus_budget_credits_limit{key="other"} 1.0',
        'isthmus_budget_credits_spent{key="other"} 0.0',
    } == {line for line in page.splitlines() if line.startswith("isthmus_budget")}
    assert "isthmus_budget_usd_spent{" not in later


def test_dollars_are_counted_where_they_are_known(metrics: Metrics) -> None:
    """Failed attempts, too, as far as they told what they used; a price of nothing shows, one that is not known not."""
    price = priced({"input": Decimal(2), "output": Decimal(8)})
    free = priced({"input": Decimal(0), "output": Decimal(0)})
    used = Usage(input_tokens=1_000_000, output_tokens=500_000)
    failed = attempt(provider="spare", price=price, usage=Usage(input_tokens=250_000), error=StreamTruncated.kind)
    metrics.observe(exchange(key="team-a", attempts=[failed, attempt(price=price, usage=used)]))
    metrics.observe(exchange(attempts=[attempt(price=price), attempt(usage=used)]))
    metrics.observe(exchange(attempts=[attempt(model="small", price=free, usage=used)]))
    page = metrics.render().decode()

    assert {
        "isthmus_cost_usd_total{key=team-a,model=large,provider=acme}": 6.0,
        "isthmus_cost_usd_total{key=team-a,model=large,provider=spare}": 0.5,
    } == samples(metrics, "isthmus_cost_usd_total")
    assert 3 == page.count("isthmus_cost_usd_total{")


def test_an_exchange_costs_what_its_attempts_did() -> None:
    """All of them together; not known as soon as an answer's own cost is not."""
    price = priced({"input": Decimal("0.1")})
    known, unknown = attempt(price=price, usage=Usage(input_tokens=3, output_tokens=0)), attempt(price=price)
    failed = attempt(price=price, error=UpstreamTimeout.kind)

    assert Decimal("0.0000006") == exchange(attempts=[known, failed, known]).cost()
    assert exchange(attempts=[failed]).cost() is None
    assert exchange(attempts=[known, unknown]).cost() is None
    assert exchange(attempts=[attempt(operation="count_tokens", price=priced({}, request=Decimal(1)))]).cost() is None


def test_what_was_cut_off_has_cost_nobody_knows_what(metrics: Metrics) -> None:
    """Its tokens were burned: the whole is not known, what the answer itself cost is."""
    price = priced({"input": Decimal("0.1")})
    answered = attempt(provider="spare", price=price, usage=Usage(input_tokens=10**7, output_tokens=0), hedge=True)
    record = exchange(attempts=[attempt(error=OUTPACED), answered], hedges=[("spare", "won")])
    metrics.observe(record)

    assert record.cost() is None
    assert {
        "isthmus_attempts_total{model=large,outcome=ok,provider=spare}": 1.0,
        "isthmus_attempts_total{model=large,outcome=outpaced,provider=acme}": 1.0,
        "isthmus_cost_usd_total{key=none,model=large,provider=spare}": 1.0,
        "isthmus_hedges_total{outcome=won,provider=spare}": 1.0,
    } == samples(
        metrics,
        "isthmus_attempts_total",
        "isthmus_cost_usd_total",
        "isthmus_hedges_total",
        "isthmus_retries_total",
    )


def test_page_uses_the_names_as_declared(metrics: Metrics) -> None:
    """What is scraped is called what the table calls it: no suffix too many, none too few."""
    metrics.observe(exchange())
    types = {
        line.split()[2]: line.split()[3]
        for line in metrics.render().decode().splitlines()
        if line.startswith("# TYPE") and not line.startswith("# TYPE process_")
    }

    assert {row.name: row.kind.__name__.lower() for row in INSTRUMENTS} == types


def test_page_satisfies_prometheus(metrics: Metrics, promtool: Path) -> None:
    """Prometheus' own checker reads the page and has nothing to say about our names."""
    metrics.observe(exchange(usage=Usage(input_tokens=3), losses=[dropped("seed", "no such field")]))

    checked = subprocess.run([promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False)

    assert (0, "") == (checked.returncode, (checked.stdout + checked.stderr).decode())


def test_buckets_are_those_of_the_conventions() -> None:
    """OpenTelemetry fixes the buckets of its instruments, so that one dashboard fits many sources."""
    buckets = {row.name: row.buckets for row in INSTRUMENTS if row.name.startswith(("gen_ai", "http"))}
    doubling = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    http = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

    assert doubling == list(buckets["gen_ai_client_operation_duration_seconds"])
    assert doubling == list(buckets["gen_ai_client_operation_time_to_first_chunk_seconds"])
    assert doubling == list(buckets["gen_ai_client_operation_time_per_output_chunk_seconds"])
    assert [4.0**power for power in range(14)] == list(buckets["gen_ai_client_token_usage"])
    assert http <= set(buckets["http_server_request_duration_seconds"])


def test_content_type_names_the_format() -> None:
    """Prometheus chooses its parser by the content type."""
    assert "text/plain; version=0.0.4; charset=utf-8" == CONTENT_TYPE


def test_two_instances_do_not_share() -> None:
    """Each Metrics counts for itself: no global registry."""
    one, other = Metrics(), Metrics()
    one.rejected("bad_http")

    assert {} == samples(other, "isthmus_rejected_total")


# ── one exchange ───────────────────────────────────────────────────────────────────────


def test_answered_exchange(metrics: Metrics) -> None:
    """An exchange that went well moves the caller's view, the attempt, the tokens and its key's counters."""
    metrics.observe(exchange(usage=Usage(input_tokens=20, output_tokens=7), key="team-a"))

    gen_ai = "operation_name=chat,provider_name=acme,request_model=large"
    expected = {
        f"http_server_request_duration_seconds_count{{route={ROUTE},status=200}}": 1,
        f"http_server_request_duration_seconds_sum{{route={ROUTE},status=200}}": 0.6,
        f"gen_ai_client_operation_duration_seconds_count{{{gen_ai}}}": 1,
        f"gen_ai_client_operation_duration_seconds_sum{{{gen_ai}}}": 0.5,
        f"gen_ai_client_token_usage_count{{{gen_ai},token_type=input}}": 1,
        f"gen_ai_client_token_usage_sum{{{gen_ai},token_type=input}}": 20,
        f"gen_ai_client_token_usage_count{{{gen_ai},token_type=output}}": 1,
        f"gen_ai_client_token_usage_sum{{{gen_ai},token_type=output}}": 7,
        "isthmus_tokens_total{model=large,provider=acme,source=provider,token_type=input}": 20,
        "isthmus_tokens_total{model=large,provider=acme,source=provider,token_type=output}": 7,
        f"isthmus_requests_total{{caller_dialect=openai.chat,model=large,outcome=ok,provider=acme,route={ROUTE}}}": 1,
        "isthmus_attempts_total{model=large,outcome=ok,provider=acme}": 1,
        "isthmus_key_requests_total{key=team-a,outcome=ok}": 1,
        "isthmus_key_tokens_total{key=team-a,token_type=input}": 20,
        "isthmus_key_tokens_total{key=team-a,token_type=output}": 7,
        "isthmus_config_generation{}": 1,
        "isthmus_config_last_reload_success{}": 1,
        "isthmus_workers{}": 1,
    }
    found = {name: value for name, value in samples(metrics).items() if not name.startswith("process_")}

    assert pytest.approx(expected) == found


def test_unknown_token_counts_are_not_zero(metrics: Metrics) -> None:
    """A provider that does not say how many tokens there were is not one that said none."""
    metrics.observe(exchange(usage=Usage(output_tokens=0)))
    page = metrics.render().decode()

    assert 'token_type="output"' in page
    assert 'token_type="input"' not in page


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_each_exchange_moves_one_outcome(metrics: Metrics, outcome: Outcome) -> None:
    """Whatever happened, one series of isthmus_requests_total goes up by one."""
    metrics.observe(exchange(outcome=outcome, error=None if outcome == "ok" else "connection", status=502))
    counted = samples(metrics, "isthmus_requests_total")

    assert [1.0] == list(counted.values())
    assert f"outcome={outcome}" in next(iter(counted))


def test_retries_and_fallbacks(metrics: Metrics) -> None:
    """Each attempt counts by how it came out; each after the first by why it was made."""
    first = attempt(error="upstream_busy", status=429)
    second = attempt(provider="spare", model="small", error="timeout", started=2.0, ended=4.0)
    metrics.observe(
        exchange(
            attempts=[first, second],
            provider="spare",
            model="small",
            outcome="timeout",
            error="timeout",
            status=504,
            denied_retries=["budget"],
        )
    )

    expected = {
        "isthmus_attempts_total{model=large,outcome=upstream_error,provider=acme}": 1,
        "isthmus_attempts_total{model=small,outcome=timeout,provider=spare}": 1,
        "isthmus_retries_total{provider=spare,reason=upstream_busy}": 1,
        "isthmus_retries_denied_total{provider=spare,reason=budget}": 1,
    }

    assert expected == samples(
        metrics, "isthmus_attempts_total", "isthmus_retries_total", "isthmus_retries_denied_total"
    )


def test_stale_connection_is_no_attempt(metrics: Metrics) -> None:
    """A silent re-send on a fresh connection has its own counter."""
    metrics.observe(exchange(resent=1))

    assert {"isthmus_stale_resends_total{provider=acme}": 1} == samples(metrics, "isthmus_stale_resends_total")
    assert [1.0] == list(samples(metrics, "isthmus_attempts_total").values())


def test_stream(metrics: Metrics) -> None:
    """A stream shows when its first content came, how fast the rest did, and how it ended."""
    streamed = attempt(first_chunk=1.2, last_chunk=1.45, chunks=5)
    metrics.observe(exchange(attempts=[streamed], stream=True, stream_end="done"))

    gen_ai = "operation_name=chat,provider_name=acme,request_model=large"
    expected = {
        f"gen_ai_client_operation_time_to_first_chunk_seconds_count{{{gen_ai}}}": 1,
        f"gen_ai_client_operation_time_to_first_chunk_seconds_sum{{{gen_ai}}}": 0.2,
        f"gen_ai_client_operation_time_per_output_chunk_seconds_count{{{gen_ai}}}": 1,
        f"gen_ai_client_operation_time_per_output_chunk_seconds_sum{{{gen_ai}}}": 0.05,
        "isthmus_stream_end_total{provider=acme,reason=done}": 1,
    }

    assert pytest.approx(expected) == samples(
        metrics,
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "isthmus_stream_end_total",
    )


def test_whole_answers_have_no_chunks(metrics: Metrics) -> None:
    """The convention: chunk times are for streams only."""
    metrics.observe(exchange())

    assert {} == samples(metrics, "gen_ai_client_operation_time_to_first_chunk_seconds")


def test_overhead_is_the_gateways_own_time(metrics: Metrics) -> None:
    """Waiting for upstreams is no overhead; waiting for the caller's body is shown and not part of the total."""
    phases = {"read": 0.2, "route": 0.001, "encode": 0.002, "wait": 0.3, "connect": 0.01, "first_byte": 0.5}
    metrics.observe(exchange(phases=phases))

    expected = {
        "isthmus_overhead_seconds_sum{lane=translate,phase=read}": 0.2,
        "isthmus_overhead_seconds_sum{lane=translate,phase=route}": 0.001,
        "isthmus_overhead_seconds_sum{lane=translate,phase=encode}": 0.002,
        "isthmus_overhead_seconds_sum{lane=translate,phase=total}": 0.003,
    }
    found = samples(metrics, "isthmus_overhead_seconds")

    assert pytest.approx(expected) == {name: value for name, value in found.items() if "_sum" in name}


def test_every_loss_counts(metrics: Metrics) -> None:
    """A million unknown fields are all counted, and do not hold up everybody else."""
    losses = [dropped("seed", "no such field")] * 5 + [dropped("x", "no such field")] * 1_000_000
    started = time.process_time()
    metrics.observe(exchange(losses=losses))
    took = time.process_time() - started

    assert {
        f"isthmus_losses_total{{field=seed,kind=dropped,route={ROUTE}}}": 5,
        f"isthmus_losses_total{{field=other,kind=dropped,route={ROUTE}}}": 1_000_000,
    } == samples(metrics, "isthmus_losses_total")
    assert took < 0.5


def test_every_phase_has_its_place() -> None:
    """Each phase that the exchange's stopwatch names is either the gateway's own or an upstream's: none is `other`."""
    sources = [path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "router").rglob("*.py")]
    named = {phase for source in sources for phase in re.findall(r"\blap\(\"(\w+)\"\)", source)}

    assert named
    assert set() == named - PHASES - UPSTREAM_PHASES


def test_refusals_count_by_kind(metrics: Metrics) -> None:
    """What was refused before any call counts once as rejected, and by reason where there is one."""
    metrics.observe(refused("malformed", status=400))
    metrics.observe(refused("not_authenticated", status=401, reason="expired"))
    metrics.observe(refused("upstream_not_allowed", status=403, reason="private"))
    metrics.rejected("bad_http")

    expected = {
        "isthmus_rejected_total{reason=malformed}": 1,
        "isthmus_rejected_total{reason=not_authenticated}": 1,
        "isthmus_rejected_total{reason=upstream_not_allowed}": 1,
        "isthmus_rejected_total{reason=bad_http}": 1,
        "isthmus_auth_failures_total{reason=expired}": 1,
        "isthmus_egress_denied_total{reason=private}": 1,
    }

    assert expected == samples(
        metrics, "isthmus_rejected_total", "isthmus_auth_failures_total", "isthmus_egress_denied_total"
    )


def test_upstreams_no_is_not_our_refusal(metrics: Metrics) -> None:
    """isthmus_rejected_total is for requests of which no upstream has seen anything."""
    metrics.observe(exchange(outcome="rejected", error="upstream_rejected", status=400))

    assert {} == samples(metrics, "isthmus_rejected_total")


@pytest.mark.parametrize(
    ("status", "label"), [(200, "200"), (429, "429"), (529, "529"), (0, "none"), (777, "other"), (-1, "other")]
)
def test_status_is_a_known_one(metrics: Metrics, status: int, label: str) -> None:
    """An upstream may answer with any number; the label knows those that mean something."""
    metrics.observe(exchange(status=status))

    assert any(f"status={label}}}" in name for name in samples(metrics, "http_server_request_duration_seconds"))


def test_inflight_follows_the_exchange(metrics: Metrics) -> None:
    """An exchange is under way until its block ends, however it ends."""
    with pytest.raises(RuntimeError), metrics.inflight(ROUTE):
        during = samples(metrics, "isthmus_inflight")
        raise RuntimeError

    assert {f"isthmus_inflight{{route={ROUTE}}}": 1} == during
    assert {} == samples(metrics, "isthmus_inflight")


def test_reloads(metrics: Metrics) -> None:
    """A refused file shows until a good one comes; the first table is no reload."""
    names = ("isthmus_config_reload_total", "isthmus_config_generation", "isthmus_config_last_reload_success")
    metrics.config_refused()
    refused_file = samples(metrics, *names)
    metrics.configured(2, routes=["/new"], dialects=[], providers=[], models=[])

    assert {"isthmus_config_reload_total{result=error}": 1, "isthmus_config_generation{}": 1} == refused_file
    assert {
        "isthmus_config_reload_total{result=error}": 1,
        "isthmus_config_reload_total{result=ok}": 1,
        "isthmus_config_generation{}": 2,
        "isthmus_config_last_reload_success{}": 1,
    } == samples(metrics, *names)


def test_names_of_a_new_table_become_labels(metrics: Metrics) -> None:
    """A route that a reload brought has its own series at once; before, it counted as other."""
    metrics.observe(exchange(route="/new"))
    metrics.configured(2, routes=["/new"], dialects=[], providers=[], models=[])
    metrics.observe(exchange(route="/new"))

    assert {"/new", "other"} == {
        name.partition("route=")[2].rstrip("}") for name in samples(metrics, "isthmus_requests_total")
    }


# ── closed sets ────────────────────────────────────────────────────────────────────────


def hostile(number: int) -> Record:
    """A record in which everything that could come from a caller or an upstream is different each time."""
    odd = f"odd-{number}\n\u2028\"'"
    return exchange(
        id=odd,
        method=odd,
        path=odd,
        route=odd,
        caller_dialect=odd,
        provider=odd,
        model=odd,
        key=odd,
        lane=odd,
        operation=odd,
        status=1000 + number,
        error=odd,
        reason=odd,
        outcome="rejected",
        attempts=[attempt(provider=odd, model=odd, operation=odd, error=odd, first_chunk=1.1)] * 2,
        denied_retries=[odd],
        losses=[dropped(odd, odd), approximated(f"messages[{number}].{odd}", odd), Loss(odd, "invented", odd)],
        usage=Usage(input_tokens=number, output_tokens=number),
        phases={odd: 0.1},
        resent=1,
    )


def test_callers_cannot_grow_the_page(metrics: Metrics) -> None:
    """700 callers with 700 different everything add fewer than 200 lines, none with their words in it."""
    metrics.observe(exchange())
    before = len(metrics.render().splitlines())
    for number in range(700):
        metrics.observe(hostile(number))
        metrics.rejected(f"odd-{number}")
        with metrics.inflight(f"/odd-{number}"):
            pass
    page = metrics.render()

    # Most of the lines are the buckets of eight histograms, once each.
    assert len(page.splitlines()) - before < 200
    assert b"odd-" not in page
    assert len(page) < 1_000_000


def test_callers_cannot_grow_the_memory(metrics: Metrics) -> None:
    """What turned out to be `other` is not remembered by the name that it came with."""
    for number in range(300):
        metrics.observe(hostile(number))
    families = [value for value in vars(metrics).values() if isinstance(value, dict)]

    assert max(len(family) for family in families if family is not metrics._known) < 50


def test_large_page_is_quick() -> None:
    """50 routes and 60 models in every combination that happens still render in less than 200 ms."""
    metrics = Metrics()
    routes, models = [f"/r{n}" for n in range(50)], [f"m{n}" for n in range(60)]
    metrics.configured(1, routes=routes, dialects=["openai.chat"], providers=["acme"], models=models)
    for number in range(600):
        name = models[number % 60]
        metrics.observe(exchange(route=routes[number % 50], model=name, attempts=[attempt(model=name)]))
    started = time.process_time()
    page = metrics.render()

    assert time.process_time() - started < 0.2
    assert len(page) < 1_000_000


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("malformed", "rejected"),
        ("overloaded", "shed"),
        ("timeout", "timeout"),
        ("upstream_busy", "upstream_error"),
        ("truncated", "upstream_error"),
        ("internal", "bug"),
        (CLIENT_LEFT, "client_left"),
    ],
)
def test_attempts_end_as_their_error_says(kind: str, outcome: str) -> None:
    """How an attempt came out follows from where its error stands in the tree."""
    assert outcome == OUTCOME_OF[kind]


# ── the loop ───────────────────────────────────────────────────────────────────────────


async def test_blocked_loop_shows(metrics: Metrics) -> None:
    """Whatever keeps the event loop from turning is seen as lag of about that length."""
    task = asyncio.create_task(watch_loop(metrics, interval=0.01))
    await asyncio.sleep(0.03)
    time.sleep(0.12)
    await asyncio.sleep(0.03)
    task.cancel()
    found = samples(metrics, "isthmus_loop_lag_seconds")

    assert 0.1 < found["isthmus_loop_lag_seconds_sum{}"] < 1.0
    assert found["isthmus_loop_lag_seconds_count{}"] >= 2


# ── speed ──────────────────────────────────────────────────────────────────────────────


def test_counting_costs_little(metrics: Metrics) -> None:
    """A good exchange is counted in about 12 us where it was measured; four times that is a mistake."""
    phases = {"route": 1e-5, "access": 1e-5, "read": 1e-4, "decode": 1e-5, "encode": 1e-5, "first_byte": 0.5}
    record = exchange(usage=Usage(input_tokens=20, output_tokens=7), phases=phases)

    def once() -> float:
        started = time.thread_time()
        for _ in range(1000):
            metrics.observe(record)
        return time.thread_time() - started

    assert min(once() for _ in range(5)) < 0.048
