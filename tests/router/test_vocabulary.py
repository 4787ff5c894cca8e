"""What is measured: labels are closed sets, and every name is there once."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from router import access, egress
from router.vocabulary import AUTH_REASONS, EGRESS_REASONS, INSTRUMENTS, field_label


def test_every_instrument_has_a_name_of_its_own() -> None:
    """Two instruments of one name would be one series with two meanings."""
    assert {} == {name: count for name, count in Counter(row.name for row in INSTRUMENTS).items() if count > 1}


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("logit_bias", "logit_bias"),
        ("messages[3].name", "messages"),
        ("messages[12].content[0].image_url.detail", "messages"),
        ("generationConfig.topK", "generationConfig.topK"),
        ("generationConfig.x-mine", "generationConfig"),
        ("foo", "other"),
        ("foo.temperature", "other"),
        ("", "other"),
        ("[" * 5000, "other"),
        ("x" * 100_000, "other"),
    ],
)
def test_fields_of_losses_are_a_closed_list(path: str, label: str) -> None:
    """A loss counts under its field's name where a dialect has one, never under a caller's invention."""
    assert label == field_label(path)


def test_reasons_of_the_doors_are_known() -> None:
    """Whatever access and egress give as reason has its own series: a new one must be added here, too."""
    assert set(access.REASONS) <= AUTH_REASONS
    assert set(get_args(egress.Reason)) <= EGRESS_REASONS
