"""providers/canonical/tokens.py: counts that can be added."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Usage
from providers.canonical.tokens import INPUT_PARTS, KINDS, OUTPUT_PARTS, fitted, parts

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


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            Usage(input_tokens=7, output_tokens=1, total_tokens=8, cache_read_tokens=161),
            Usage(input_tokens=7, output_tokens=1, total_tokens=8, cache_read_tokens=7),
        ),
        (
            Usage(input_tokens=43, output_tokens=10, total_tokens=53, reasoning_tokens=11),
            Usage(input_tokens=43, output_tokens=10, total_tokens=53, reasoning_tokens=10),
        ),
        (Usage(input_tokens=7, total_tokens=9), Usage(input_tokens=7, output_tokens=2, total_tokens=9)),
        (Usage(output_tokens=7, total_tokens=9), Usage(input_tokens=2, output_tokens=7, total_tokens=9)),
        (Usage(input_tokens=9, total_tokens=9), Usage(input_tokens=9, total_tokens=9)),
        (Usage(cache_read_tokens=3), Usage(input_tokens=3, cache_read_tokens=3)),
        (Usage(reasoning_tokens=3, total_tokens=2), Usage(output_tokens=3, reasoning_tokens=3, total_tokens=3)),
        (
            Usage(input_tokens=9, cache_write_tokens=4, cache_write_1h_tokens=5),
            Usage(input_tokens=9, cache_write_tokens=4, cache_write_1h_tokens=4),
        ),
        (
            Usage(input_tokens=9, tool_prompt_tokens=4, input_audio_tokens=8, cache_read_tokens=5),
            Usage(input_tokens=9, tool_prompt_tokens=4, input_audio_tokens=5, cache_read_tokens=5),
        ),
        (Usage(total_tokens=9), Usage(total_tokens=9)),
        (Usage(), Usage()),
    ],
    ids=[
        *("xai-cached", "openrouter-reasoning", "no-output", "no-input", "embeddings", "parts-alone", "small-total"),
        *("lifetimes", "tools", "total-alone", "unknown"),
    ],
)
def test_counts_are_told_so_that_they_fit(usage: Usage, expected: Usage) -> None:
    """A part is never more than its whole, a whole that is unknown is what the others leave, and nothing is guessed."""
    assert expected == fitted(usage)


@given(counts=st.lists(COUNTS, min_size=12, max_size=12))
def test_what_is_told_fits_whatever_was_counted(counts: list[int | None]) -> None:
    """Input and output that were told stay; the total covers both, and they cover their parts."""
    names = ["input_tokens", "output_tokens", "total_tokens", *NAMES]
    usage = Usage(**dict(zip(names, counts, strict=True)))
    told = msgspec.structs.asdict(fitted(usage))
    asked, answered, total = told["input_tokens"], told["output_tokens"], told["total_tokens"]
    cached = [told[name] or 0 for name in ("cache_read_tokens", "cache_write_tokens", "tool_prompt_tokens")]
    seen = [told[name] or 0 for name in ("input_audio_tokens", "input_image_tokens", "tool_prompt_tokens")]
    said = [told[name] or 0 for name in ("output_audio_tokens", "output_image_tokens")]

    assert usage.input_tokens in (None, asked)
    assert usage.output_tokens in (None, answered)
    assert total is None or (asked or 0) + (answered or 0) <= total
    assert asked is None or max(sum(cached), sum(seen)) <= asked
    assert answered is None or max(sum(said), told["reasoning_tokens"] or 0) <= answered
