"""providers/dialects/_traits.py: what a row ignores and rejects."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Loss, dropped
from providers.dialect import Traits
from providers.dialects._traits import apply

NAMES = {"config.topP": "top_p"}


def test_what_is_ignored_is_left_out_and_named() -> None:
    """At the top and inside an object; what is not there is no loss."""
    body: dict[str, Any] = {"seed": 1, "config": {"topP": 0.5, "k": 1}, "user": "u"}
    losses: list[Loss] = []
    apply(Traits(ignores=frozenset({"seed", "config.topP", "other", "user.name", "none.x"})), body, losses, NAMES)

    assert {"config": {"k": 1}, "user": "u"} == body
    assert [dropped("top_p", "this upstream ignores it"), dropped("seed", "this upstream ignores it")] == losses


@pytest.mark.parametrize(("field", "param"), [("seed", "seed"), ("config.topP", "top_p")])
def test_what_is_rejected_is_refused(field: str, param: str) -> None:
    """Said before anything is sent, with the canonical name of the parameter."""
    with pytest.raises(UnsupportedParameter) as refusal:
        apply(Traits(rejects=frozenset({field})), {"seed": 1, "config": {"topP": 0.5}}, [], NAMES)
    assert param == refusal.value.param


def test_null_is_not_refused() -> None:
    """A field that says nothing asks for nothing."""
    body = {"seed": None}
    apply(Traits(rejects=frozenset({"seed", "config.topP"})), body, [], NAMES)

    assert {"seed": None} == body
