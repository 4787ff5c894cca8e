"""Published list prices: the one place that knows `genai-prices`, which is an extra (`pip install isthmus[prices]`).

What that package ships is read and nothing is fetched. Vendors are known by their address, so that a model's name
alone never gives a price away: the same model may cost something else elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from providers.canonical.prices import Price, priced

AVAILABLE = find_spec("genai_prices") is not None

#: Our kinds of tokens, by the package's names of their prices.
_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
}


def find(base_url: str, model: str, today: date) -> Price | None:
    """What a model costs at the vendor that has this address, as of a day; None where that is not known, or depends on
    the time of day. Without the extra nothing is known."""
    if not AVAILABLE:
        return None
    # Here, because the tables take a while to load, and most who serve have other prices or none.
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    try:
        vendor, found = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    said = _as_of(found, today)
    if said is None:
        return None
    source = f"genai-prices {genai_prices.__version__}, {vendor.id}/{found.id}"
    return _price(vars(said), source, today.isoformat())


def _as_of(model: Any, today: date) -> Any:
    """The prices that hold on that day; None where they change within it."""
    if isinstance(model.prices, list) and any(hasattr(row.constraint, "start_time") for row in model.prices):
        return None
    return model.get_prices(datetime.combine(today, time(12), UTC))


def _price(said: Mapping[str, Any], source: str, as_of: str) -> Price | None:
    """In our own terms. None where tokens that are read have no price: such models are sold by other units."""
    base: dict[str, Decimal] = {}
    above: dict[int, dict[str, Decimal]] = {}
    for name, kind in _KINDS.items():
        amount = said.get(name)
        for tier in getattr(amount, "tiers", ()):
            above.setdefault(tier.start, {})[kind] = tier.price
        if amount is not None:
            base[kind] = getattr(amount, "base", amount)
    if "input" not in base:
        return None
    calls = said.get("requests_kcount")
    request = None if calls is None else calls.scaleb(-3)
    return priced(base, request=request, above=above.items(), source=source, as_of=as_of)
