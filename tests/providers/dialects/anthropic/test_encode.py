"""Whole requests: foreign ones, those of the relay lane, and what a row says of its upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.canonical.chat import CacheMark, Text
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Traits
from tests.providers.dialects.anthropic.spoken import ANTHROPIC, HI, Json, asked, lost, request, sent, user, without


def relayed(body: Json, model: str = "m2", traits: Traits = PLAIN, losses: Losses | None = None, **more: Any) -> Any:
    wire = ANTHROPIC.relay_request(asked(body, **more), model, [] if losses is None else losses, traits)
    return json.loads(wire.body)


def test_a_foreign_request() -> None:
    """It goes to the documented path, in the version that every model understands."""
    wire = ANTHROPIC.encode_request(request(), [])

    assert ("POST", "/v1/messages", "2023-06-01") == (wire.method, wire.path, wire.headers["anthropic-version"])
    assert {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]} == sent(
        request()
    )


def test_a_foreign_count() -> None:
    """Only what is counted goes along."""
    one = request(count=True, temperature=0.5)

    assert {"model", "messages"} == set(sent(one))
    assert "/v1/messages/count_tokens" == ANTHROPIC.encode_request(one, []).path


def test_fields_of_the_upstreams_own() -> None:
    """A row's `own` fields pass through; others of another dialect are dropped, and named."""
    one = request(extra={"speed": "fast", "logit": 1})

    assert "fast" == sent(one, traits=Traits(own=frozenset({"speed"})))["speed"]
    assert ["dropped logit"] == lost(one, Traits(own=frozenset({"speed"})))
    assert ["dropped speed", "dropped logit"] == lost(one)


def test_rows_ignore_and_reject() -> None:
    """By the body's field, named by the canonical parameter."""
    one = request(stop=("END",))

    assert ["dropped stop"] == lost(one, Traits(ignores=frozenset({"stop_sequences"})))
    with pytest.raises(UnsupportedParameter) as caught:
        sent(one, traits=Traits(rejects=frozenset({"stop_sequences"})))
    assert "stop" == caught.value.param


def test_a_marked_system_text_stays_a_block() -> None:
    """A string has no place for a cache mark."""
    message = without(user("a"), role="system", parts=(Text(text="a", cache=CacheMark()),))

    assert "cache_control" in sent(request(message, user()))["system"][0]


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def test_a_relayed_request_keeps_its_bytes() -> None:
    """Only the model is another; without that nothing changes at all."""
    data = b'{ "model": "m",  "max_tokens": 1, "messages": [{"role":"user","content":"\\u00e9"}], "x": 1.50 }'
    one = asked(data)

    assert data == ANTHROPIC.relay_request(one, "m", [], PLAIN).body
    changed = ANTHROPIC.relay_request(one, "m2", [], PLAIN).body
    assert (b'"x":1.50' in changed, b'"\\u00e9"' in changed, "m2") == (True, True, json.loads(changed)["model"])


def test_a_relayed_request_keeps_path_query_and_version() -> None:
    """A count stays a count, a beta a beta; the version is the caller's where it said one."""
    count = ANTHROPIC.relay_request(asked(HI, "/v1/messages/count_tokens"), "m", [], PLAIN)
    assert ("/v1/messages/count_tokens", "2023-06-01") == (count.path, count.headers["anthropic-version"])

    one = asked(HI, anthropic_version="2026-10-21")
    one.wire.query["beta"] = "true"
    said = ANTHROPIC.relay_request(one, "m", [], PLAIN)
    assert ({"beta": "true"}, False) == (said.query, "anthropic-version" in said.headers)


def test_a_row_says_what_it_takes_in_the_relay_lane_too() -> None:
    """What it ignores is not sent, what it rejects is refused."""
    losses: Losses = []
    body = {**HI, "service_tier": "auto"}

    assert "service_tier" not in relayed(body, traits=Traits(ignores=frozenset({"service_tier"})), losses=losses)
    assert ["service_tier"] == [loss.field for loss in losses]
    with pytest.raises(UnsupportedParameter):
        relayed(body, traits=Traits(rejects=frozenset({"service_tier"})))


def test_signatures_that_only_we_can_read_stay_here() -> None:
    """A conversation may have begun with another provider's model; the service would refuse its traces."""
    foreign = [
        {"type": "thinking", "thinking": "hm", "signature": "isthmus.gemini.AA=="},
        {"type": "redacted_thinking", "data": "isthmus.openai.AA=="},
        {"type": "thinking", "thinking": "mine", "signature": "EqQB"},
        {
            "type": "text",
            "text": "a",
            "citations": [{"type": "web_search_result_location", "encrypted_index": "isthmus.unsigned"}],
        },
        {"type": "tool_use", "id": "t", "name": "n", "input": {}, "signature": "isthmus.gemini.AA=="},
    ]
    only = [{"type": "thinking", "thinking": "hm", "signature": "isthmus.unsigned"}]
    body = {
        **HI,
        "messages": [
            *HI["messages"],
            {"role": "assistant", "content": foreign},
            {"role": "assistant", "content": only},
        ],
    }
    losses: Losses = []
    found = relayed(body, losses=losses)["messages"]

    assert [
        {"type": "thinking", "thinking": "mine", "signature": "EqQB"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {}},
    ] == found[1]["content"]
    assert 2 == len(found)
    assert [
        "messages[1].content[0]",
        "messages[1].content[1]",
        "messages[1].content[3].citations",
        "messages[1].content[4].signature",
        "messages[2].content[0]",
    ] == [loss.field for loss in losses]
