"""What a model can do, by its name: the model map of litellm 1.109.1, row by row."""

from __future__ import annotations

import pytest

from providers.dialects.anthropic.models import EFFORTS, adaptive, budget_for, effort_for, effort_of, family

#: name -> (generation, most output, samples, adaptive, always thinks, forces, prefill, mid system, structured, xhigh)
MODELS = {
    "claude-3-opus-20240229": ((3, 0), 4096, True, False, False, True, True, False, False, False),
    "claude-3-5-haiku-latest": ((3, 5), 8192, True, False, False, True, True, False, False, False),
    "claude-3-7-sonnet-20250219": ((3, 7), 64000, True, False, False, True, True, False, False, False),
    "claude-sonnet-4-20250514": ((4, 0), 64000, True, False, False, True, True, False, False, False),
    "claude-opus-4-1-20250805": ((4, 1), 32000, True, False, False, True, True, False, False, False),
    "claude-haiku-4-5-20251001": ((4, 5), 64000, True, False, False, True, True, False, True, False),
    "claude-opus-4-5": ((4, 5), 64000, True, False, False, True, True, False, True, False),
    "claude-sonnet-4-6": ((4, 6), 128000, True, True, False, True, False, False, True, False),
    "claude-opus-4-6-20260205": ((4, 6), 128000, True, True, False, True, False, False, True, False),
    "claude-opus-4-7": ((4, 7), 128000, False, True, False, True, False, False, True, True),
    "claude-opus-4-8": ((4, 8), 128000, False, True, False, True, False, True, True, True),
    "claude-mythos-preview": ((4, 7), 128000, False, True, True, True, False, False, True, True),
    "claude-opus-5": ((5, 0), 128000, False, True, False, True, False, True, True, True),
    "claude-sonnet-5": ((5, 0), 128000, False, True, False, True, False, True, True, True),
    "claude-fable-5": ((5, 0), 128000, False, True, True, True, False, True, True, True),
    "claude-fable-5-1": ((5, 1), 128000, False, True, True, False, False, True, True, True),
    "claude-mythos-5-1": ((5, 1), 128000, False, True, True, False, False, True, True, True),
    "claude-haiku-5-5": ((5, 5), 128000, False, True, False, True, False, True, True, True),
    "claude-sonnet-5-5": ((5, 5), 128000, False, True, True, False, False, True, True, True),
    "claude-opus-5-5": ((5, 5), 128000, False, True, True, False, False, True, True, True),
    "our-own-deployment": ((5, 0), 128000, False, True, False, True, False, True, True, True),
}


@pytest.mark.parametrize("name", MODELS)
def test_abilities(name: str) -> None:
    """Limits and traits are those of the published model map."""
    model = family(name)

    assert MODELS[name] == (
        model.generation,
        model.most_output,
        model.samples,
        model.adaptive,
        model.always_thinks,
        model.forces,
        model.prefill,
        model.mid_system,
        model.structured,
        model.extra_high,
    )


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("anthropic/claude-sonnet-4.5", (4, 5)),
        ("claude-sonnet-4-5@20250929", (4, 5)),
        ("eu.anthropic.claude-opus-4-6-v1:0", (4, 6)),
        ("claude-2.1", (2, 0)),
        ("claude-instant-1", (2, 0)),
    ],
)
def test_spellings_of_names(name: str, generation: tuple[int, int]) -> None:
    """Routers and clouds write names in ways of their own."""
    assert generation == family(name).generation


def test_thinking_in_tokens() -> None:
    """From 3.7 on models think, until 4.6 by a budget that the caller sets."""
    names = ("claude-3-5-haiku-latest", "claude-3-7-sonnet-latest", "claude-opus-4-6", "claude-opus-4-7")

    assert [(False, False), (True, True), (True, True), (True, False)] == [
        (family(name).thinks, family(name).budgets) for name in names
    ]


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        ("claude-opus-4-6", "minimal", ("low", False)),
        ("claude-opus-4-6", "high", ("high", True)),
        ("claude-opus-4-6", "xhigh", ("max", False)),
        ("claude-opus-5", "xhigh", ("xhigh", True)),
        ("claude-fable-5", "none", ("low", False)),
    ],
)
def test_efforts(name: str, effort: str, expected: tuple[str, bool]) -> None:
    """The nearest word that the model knows, and whether it says the same."""
    assert expected == effort_for(family(name), effort)


def test_budgets_and_efforts_go_together() -> None:
    """An effort's budget is that effort again."""
    assert ["low", "medium", "high"] == [effort_of(budget_for(word)) for word in ("low", "medium", "high")]
    assert "max" == effort_of(10**6)
    assert set(EFFORTS) == {"none", "minimal", "low", "medium", "high", "xhigh", "max"}


def test_adaptive_thinking_shows_itself_unless_it_must_not() -> None:
    """Newer models leave the text out unless they are asked for it."""
    assert ["summarized", "summarized", "omitted"] == [adaptive(show)["display"] for show in (None, True, False)]
