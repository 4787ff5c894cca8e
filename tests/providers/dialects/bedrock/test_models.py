"""What models can do, by their ids."""

from __future__ import annotations

import pytest

from providers.dialects.bedrock.models import family


@pytest.mark.parametrize(
    ("model", "thinking", "samples"),
    [
        ("anthropic.claude-v2", "none", True),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "none", True),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "budget", True),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "budget", True),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "budget", True),
        ("us.anthropic.claude-sonnet-4-6", "adaptive", True),
        ("global.anthropic.claude-opus-4-8", "adaptive", False),
        ("us.anthropic.claude-sonnet-5", "adaptive", False),
        ("us.anthropic.claude-opus-5-5-v1", "always", False),
        ("us.anthropic.claude-fable-5-1", "always", False),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "budget",
            True,
        ),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", "none", True),
        ("us.amazon.nova-2-lite-v1:0", "nova", True),
        ("amazon.nova-lite-v1:0", "none", True),
        ("openai.gpt-oss-120b-1:0", "flat", True),
        ("moonshot.kimi-k2-thinking", "flat", True),
        ("openai.gpt-6-luna", "nested", True),
        ("us.deepseek.r1-v1:0", "none", True),
    ],
)
def test_a_model_is_known_by_its_id(model: str, thinking: str, samples: bool) -> None:
    """Regions and accounts in front, dates and versions behind do not matter."""
    found = family(model)

    assert (thinking, samples) == (found.thinking, found.samples)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "top_k"),
        ("us.amazon.nova-micro-v1:0", "inferenceConfig.topK"),
        ("mistral.devstral-2-123b", "top_k"),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", None),
    ],
)
def test_top_k_has_a_place_of_its_own(model: str, path: str | None) -> None:
    """Each family calls it otherwise, and some have none."""
    assert path == family(model).top_k


@pytest.mark.parametrize(
    ("model", "both", "forces", "most"),
    [
        ("anthropic.claude-sonnet-4-20250514-v1:0", True, True, "max"),
        ("anthropic.claude-opus-4-1-20250805-v1:0", False, True, "max"),
        ("anthropic.claude-sonnet-5-5", False, False, "max"),
        ("anthropic.claude-fable-5", False, True, "max"),
    ],
)
def test_what_newer_models_refuse(model: str, both: bool, forces: bool, most: str) -> None:
    """Temperature beside topP, and being made to call a tool."""
    found = family(model)

    assert (both, forces, most) == (found.both, found.forces, found.efforts[-1])
