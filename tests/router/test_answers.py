"""What every answer carries, and how failures are told and counted."""

from __future__ import annotations

import json

import pytest

from providers.canonical import errors
from providers.canonical.loss import dropped
from providers.dialects import DIALECTS
from router.answers import head, is_final, kept, outcome_of, own_body, stream_end_of, with_own_status
from router.record import AttemptRecord, Record

CHAT = DIALECTS["openai.chat"]


def record(**more: object) -> Record:
    return Record(id="req_1", method="POST", path="/x", started=0.0, **more)  # type: ignore[arg-type]


def test_a_head_tells_route_target_lane_and_phases() -> None:
    """Phases in milliseconds."""
    headers = head(
        record(route="/v1/x", lane="relay", provider="up", upstream_model="m", phases={"read": 0.0015, "route": 0.0}),
        secret_path=False,
    )

    assert ("/v1/x", "up", "m", "0", "relay") == tuple(
        headers[f"x-isthmus-{name}"] for name in ("route", "provider", "model", "attempts", "lane")
    )
    assert "read;dur=1.500, route;dur=0.000" == headers["server-timing"]
    assert not {"x-isthmus-loss", "cache-control"} & headers.keys()


def test_a_head_says_nothing_of_what_was_not_reached() -> None:
    """A call that no route took has neither provider nor lane."""

    assert {"server", "x-request-id", "server-timing"} == head(record(), secret_path=False).keys()


def test_answers_to_paths_with_keys_are_neither_kept_nor_referred() -> None:
    """K11: no-store, no-referrer."""
    headers = head(record(), secret_path=True)

    assert ("no-store", "no-referrer") == (headers["cache-control"], headers["referrer-policy"])


@pytest.mark.parametrize("model", ["a\r\nx: y", "é" * 10, "m" * 5000])
def test_a_callers_model_name_cannot_break_the_head(model: str) -> None:
    """Printable ASCII of a bounded length, whatever was named."""
    value = head(record(lane="relay", upstream_model=model), secret_path=False)["x-isthmus-model"]

    assert value.isascii() and value.isprintable() and len(value) <= 256 * 9


def test_losses_stand_in_the_head() -> None:
    """As their own header."""

    assert "seed=dropped" == head(record(losses=[dropped("seed", "no")]), secret_path=False)["x-isthmus-loss"]


def test_of_an_upstreams_headers_only_rate_limits_are_kept() -> None:
    """Everything else is between us and it."""

    assert {"x-ratelimit-limit-tokens": "9"} == kept(
        {"x-ratelimit-limit-tokens": "9", "set-cookie": "a", "via": "b"}, None
    )


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.MalformedRequest("x"), "rejected"),
        (errors.NotAuthenticated(), "rejected"),
        (errors.Overloaded("x"), "shed"),
        (errors.UpstreamTimeout("x"), "timeout"),
        (errors.ConnectFailed("x", status=504), "timeout"),
        (errors.UpstreamFailed("x", upstream_status=500), "upstream_error"),
        (errors.BadUpstreamBytes("x"), "upstream_error"),
        (errors.Bug(), "bug"),
    ],
)
def test_every_error_is_exactly_one_outcome(error: errors.RouterError, outcome: str) -> None:
    """By whose fault it is."""

    assert outcome == outcome_of(error)


def test_a_stream_that_failed_is_counted_by_why() -> None:
    """Idle, drain, or the upstream's doing."""
    ends = [stream_end_of(e) for e in (errors.UpstreamTimeout("x"), errors.Overloaded("x"), errors.ConnectionLost("x"))]

    assert ["idle", "drain", "upstream_error"] == ends


def test_with_the_callers_own_key_the_status_is_the_upstreams() -> None:
    """A denied key is then the caller's own affair: authentication, in his dialect's words."""
    denied = errors.UpstreamDenied("bad key", upstream_status=401, retry_after=3.0, upstream_code="invalid_api_key")
    shown = with_own_status(denied)
    body = json.loads(CHAT.encode_error(shown).body)["error"]

    assert (401, "authentication", 3.0) == (shown.status, shown.category, shown.retry_after)
    assert ("bad key", "invalid_api_key") == (body["message"], body["code"])


def test_an_own_body_is_passed_masked_if_the_caller_can_read_it() -> None:
    """JSON of the same dialect only."""

    def error(raw: bytes, dialect: str) -> errors.UpstreamError:
        return errors.UpstreamRejected("x", upstream_status=429, raw=raw, dialect=dialect, status=429)

    mine = own_body(error(b'{"error": {"message": "sk-abcdefgh12345678"}}', "openai.chat"), CHAT)

    assert mine is not None and (429, {"error": {"message": "***"}}) == (mine.status, json.loads(mine.body))
    assert None is own_body(error(b"<html>", "openai.chat"), CHAT)
    assert None is own_body(error(b"{}", "gemini"), CHAT)


FAILED = errors.UpstreamFailed("no", upstream_status=500)


@pytest.mark.parametrize(
    ("error", "attempts", "why", "final"),
    [
        (FAILED, 3, "attempts", True),
        (FAILED, 2, "deadline", True),
        (FAILED, 2, "budget", True),
        (FAILED, 1, "no_target", True),
        (FAILED, 1, "attempts", False),  # the policy leaves it to the caller
        (FAILED, 0, None, False),
        (errors.UpstreamBusy("busy", upstream_status=429), 3, "attempts", True),
        (errors.UpstreamBusy("busy", upstream_status=429), 1, "retry_after", False),  # it said when
        (errors.UpstreamTimeout("late"), 1, "no_target", True),
        (errors.UpstreamDenied("no", upstream_status=401), 2, "no_target", True),
        (errors.UpstreamRejected("no", upstream_status=400), 1, "not_retryable", False),  # nobody tries that again
        (errors.Overloaded("full"), 1, "not_retryable", False),
        (errors.LimitExceeded("slower"), 0, None, False),
        (errors.BudgetSpent("nothing left"), 0, None, True),
    ],
)
def test_what_is_useless_to_try_again(error: errors.RouterError, attempts: int, why: str | None, final: bool) -> None:
    """A used up budget, and what has been tried here; not what we or the upstream ask to be tried later."""
    one = AttemptRecord(provider="up", model="m", operation="chat", started=0.0)

    assert final == is_final(record(attempts=[one] * attempts, denied_retries=[why] if why else []), error)
