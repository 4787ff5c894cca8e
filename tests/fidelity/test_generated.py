"""Generated requests of every language, feature upon feature, under the same rule as the recorded ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import schema

from .generated import REQUESTS
from .languages import LANGUAGES
from .meaning import Comparing, stands
from .neutral import Json
from .test_requests import READ, SCHEMA
from .through import CALLERS, NAMES, Sent, send

#: (caller, upstream, model of it): every ordered pair, every kind of model.
WAYS = [
    (caller, upstream, model)
    for caller in CALLERS
    for upstream in NAMES
    if caller != upstream
    for model in (*LANGUAGES[upstream].models, *(("gemini-1.5-pro",) if upstream == "gemini" else ()))
]


#: Models that cannot think: that they shall not need not be said.
THOUGHTLESS = ("gemini-1.5-pro",)


def wrong_with(body: Json, caller: Any, upstream: Any, sent: Sent) -> list[str]:
    error = sent.error
    if error is not None:
        well = error.status in (400, 422) and error.param is not None and stands(body, error.param)
        return [] if well else [f"refused with {error.status} for {error.param}: {error.message}"]
    found = [f"{one.json_path} {one.message[:100]}" for one in schema(*SCHEMA[upstream.name]).iter_errors(sent.body)]
    arrived = READ[upstream.name](sent.body)
    arrived.asleep |= sent.request is not None and sent.request.model in THOUGHTLESS
    found += Comparing(READ[caller.name](body), arrived, sent.losses).run()
    lies = [loss.field for loss in sent.losses if loss.kind != "invented" and not stands(body, loss.field)]
    return found + [f"the loss {field} names nothing in the body" for field in lies]


@pytest.mark.parametrize(("caller", "upstream", "model"), WAYS)
@given(data=st.data())
@settings(max_examples=25)
def test_requests_reach_every_other(caller: str, upstream: str, model: str, data: st.DataObject) -> None:
    """Whatever a caller says is carried, named, or refused by its name."""
    body = data.draw(REQUESTS[caller])
    here, there = NAMES[caller], NAMES[upstream]

    assert [] == wrong_with(body, here, there, send(here, there, body, model))
