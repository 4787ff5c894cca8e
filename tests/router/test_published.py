"""router/published.py: list prices of the installed package, read where it stands."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest

from providers.canonical.prices import Price
from router import published
from router.published import find

needs_extra = pytest.mark.skipif(not published.AVAILABLE, reason="the extra `prices` is not installed")
DAY = date(2026, 11, 1)
OPENAI = "https://api.openai.com/v1"


@needs_extra
def test_a_known_model_has_a_price_with_its_origin() -> None:
    """The amounts of its tokens, and where and as of when they are."""
    price = find(OPENAI, "gpt-5-mini", DAY)

    assert price is not None
    assert Decimal("0.25") == price.of({"input": 1_000_000})
    assert Decimal("0.025") == price.of({"cache_read": 1_000_000})
    assert Decimal(2) == price.of({"reasoning": 1_000_000})
    assert price.source.startswith("genai-prices ") and price.source.endswith(", openai/gpt-5-mini")
    assert "2026-11-01" == price.as_of


@needs_extra
def test_levels_of_long_calls_are_kept() -> None:
    """A vendor that takes more for long prompts does so here."""
    price = find("https://api.anthropic.com", "claude-sonnet-4-5", DAY)

    assert price is not None
    assert (Decimal("0.6"), Decimal("1.800006")) == (price.of({"input": 200_000}), price.of({"input": 300_001}))


@needs_extra
@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://llm.example.com/v1", "gpt-5-mini"),
        (OPENAI, "no-such-model"),
        ("https://api.deepseek.com", "deepseek-chat"),
    ],
)
def test_what_nobody_published_is_not_known(url: str, model: str) -> None:
    """A server of somebody else's, a model that does not exist, a price that depends on the time of day."""
    assert find(url, model, DAY) is None


@needs_extra
def test_every_price_of_the_package_can_be_read() -> None:
    """Whatever it holds today: amounts of tokens that are exact, or nothing."""
    from genai_prices.data_snapshot import get_snapshot

    found = [
        price
        for vendor in get_snapshot().providers
        for model in vendor.models
        if (said := published._as_of(model, DAY)) is not None
        and (price := published._price(vars(said), "here", "2026-11-01")) is not None
    ]

    assert len(found) > 500
    assert all(isinstance(price, Price) and isinstance(price.of({"input": 999}), Decimal) for price in found)


def test_amounts_in_other_units_are_no_price() -> None:
    """A model that is paid by the hour or the page has none here; one paid by the thousand calls has that of one."""
    assert published._price({"audio_hours": Decimal(1)}, "here", "2026-11-01") is None

    price = published._price({"input_mtok": Decimal(1), "requests_kcount": Decimal(12)}, "here", "2026-11-01")

    assert price is not None and Decimal("0.012") == price.request


def test_prices_of_the_day_are_taken() -> None:
    """One that begins later is asked for as of the day, at noon UTC."""
    asked: list[object] = []
    model = SimpleNamespace(prices=[SimpleNamespace(constraint=None)], get_prices=asked.append)
    published._as_of(model, DAY)

    assert ["2026-11-01T12:00:00+00:00"] == [moment.isoformat() for moment in asked]  # type: ignore[attr-defined]
