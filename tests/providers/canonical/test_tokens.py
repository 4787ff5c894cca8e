"""providers/canonical/tokens.py: counts that can be added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Usage
from providers.canonical.tokens import INPUT_PARTS, KINDS, OUTPUT_PARTS, parts

NAMES = [
    *("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens", "input_audio_tokens"),
    *("output_audio_tokens", "input_image_tokens", "output_image_tokens", "tool_prompt_tokens"),
]
COUNTS = st.none() | st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input_tokens=10, output_tokens=5), {"input": 10, "output": 5}),
        (
            Usage(input_tokens=100, cache_read_tokens=60, cache_write_tokens=30, cache_write_1h_tokens=10),
            {"cache_read": 60, "cache_write_1h": 10, "cache_write": 20, "input": 10},
        ),
        (Usage(output_tokens=50, reasoning_tokens=50), {"reasoning": 50}),
        (Usage(input_tokens=5, tool_prompt_tokens=2, input_audio_tokens=3), {"tool_prompt": 2, "input_audio": 3}),
        (Usage(cache_read_tokens=7), {"cache_read": 7}),
        (Usage(input_tokens=0, output_tokens=0), {}),
        (Usage(), {}),
    ],
    ids=["plain", "cached", "all-thinking", "nothing-left", "no-total", "zero", "unknown"],
)
def test_every_token_is_in_one_part(usage: Usage, expected: dict[str, int]) -> None:
    """What is left of a total is plain; what is unknown is not there."""
    assert expected == parts(usage)


@given(total=st.integers(0, 10**9), out=st.integers(0, 10**9), counts=st.lists(COUNTS, min_size=9, max_size=9))
def test_the_parts_sum_to_the_totals(total: int, out: int, counts: list[int | None]) -> None:
    """Whatever a provider says of its parts, they are never more and never less than what it charges."""
    found = parts(Usage(input_tokens=total, output_tokens=out, **dict(zip(NAMES, counts, strict=True))))

    assert total == sum(found.get(kind, 0) for kind in ("input", *INPUT_PARTS))
    assert out == sum(found.get(kind, 0) for kind in ("output", *OUTPUT_PARTS))
    assert found.keys() <= set(KINDS)
    assert all(count > 0 for count in found.values())
