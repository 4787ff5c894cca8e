"""Abilities of models, read from their names."""

from __future__ import annotations

import pytest

from providers.dialects.gemini.models import budget_for, budget_within, effort_of, family, level_for


@pytest.mark.parametrize(
    ("name", "generation", "kind"),
    [
        ("gemini-2.5-flash", (2, 5), "flash"),
        ("gemini-2.5-flash-lite", (2, 5), "flash-lite"),
        ("models/gemini-2.5-pro", (2, 5), "pro"),
        ("gemini-3-pro-preview", (3, 0), "pro"),
        ("gemini-3.5-flash-lite", (3, 5), "flash-lite"),
        ("gemini-2.0-flash-001", (2, 0), "flash"),
        ("gemini-2.5-flash-preview-09-2025", (2, 5), "flash"),
        ("gemini-flash-latest", (3, 6), "flash"),
        ("something", (2, 5), "flash"),
        ("gpt-5", (2, 5), "flash"),
    ],
)
def test_generation_and_kind(name: str, generation: tuple[int, int], kind: str) -> None:
    """The number and the size of a model stand in its name; the newest one is meant by `latest`."""
    one = family(name)

    assert (generation, kind) == (one.generation, one.kind)


def test_abilities_follow_the_generation() -> None:
    """What a request may say to a model."""
    old, new, newest, gemma = map(
        family, ("gemini-1.5-pro", "gemini-3-pro-preview", "gemini-3.6-flash", "gemma-3-27b-it")
    )

    assert (False, False, False, True, "") == (old.json_schema, old.signs, old.reads_urls, old.penalties, old.thinking)
    assert (True, True, True, False, "level") == (
        new.json_schema,
        new.signs,
        new.reads_urls,
        new.penalties,
        new.thinking,
    )
    assert (True, False) == (new.samples, newest.samples)
    assert (False, False, "") == (gemma.json_schema, gemma.signs, gemma.thinking)


@pytest.mark.parametrize(
    ("model", "effort", "budget"),
    [
        ("gemini-2.5-flash", "none", (0, True)),
        ("gemini-2.5-pro", "none", (128, False)),
        ("gemini-2.5-pro", "minimal", (128, True)),
        ("gemini-2.5-flash", "low", (1024, True)),
        ("gemini-2.5-flash", "medium", (8192, True)),
        ("gemini-2.5-flash", "high", (24576, True)),
        ("gemini-2.5-pro", "max", (32768, True)),
        ("gemini-2.5-flash", "xhigh", (24576, True)),
    ],
)
def test_budgets(model: str, effort: str, budget: tuple[int, bool]) -> None:
    """An effort word is a number of tokens for models of 2.5."""
    assert budget == budget_for(family(model), effort)


@pytest.mark.parametrize(
    ("model", "effort", "level"),
    [
        ("gemini-3-pro-preview", "minimal", ("low", False)),
        ("gemini-3-pro-preview", "medium", ("high", False)),
        ("gemini-3.1-pro-preview", "medium", ("medium", True)),
        ("gemini-3-flash-preview", "none", ("minimal", False)),
        ("gemini-3-flash-preview", "minimal", ("minimal", True)),
        ("gemini-3.7-flash", "minimal", ("low", False)),
        ("gemini-3-flash-preview", "max", ("high", False)),
    ],
)
def test_levels(model: str, effort: str, level: tuple[str, bool]) -> None:
    """An effort word is a level for models of 3, the nearest one that the model has."""
    assert level == level_for(family(model), effort)


@pytest.mark.parametrize(
    ("budget", "fitting"), [(-1, (-1, True)), (0, (128, False)), (99999, (32768, False)), (200, (200, True))]
)
def test_budgets_are_brought_into_range(budget: int, fitting: tuple[int, bool]) -> None:
    """2.5 pro thinks with 128 to 32768 tokens and cannot be switched off."""
    assert fitting == budget_within(family("gemini-2.5-pro"), budget)


@pytest.mark.parametrize(("budget", "effort"), [(-1, None), (0, "none"), (1, "low"), (8192, "medium"), (8193, "high")])
def test_effort_of_a_budget(budget: int, effort: str | None) -> None:
    """Models of 3 take words only."""
    assert effort == effort_of(budget)
