"""Which target costs what: `prices` of routes.yaml, and for targets that it does not name what vendors publish."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from decimal import Context, Decimal
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from providers.canonical.prices import Price, priced
from providers.canonical.tokens import KINDS
from providers.provider import Provider
from router import published
from router.complaints import Complaints, Partial, Place, Row, near
from router.strict_yaml import describe
from router.table import Model, Route, Target, fits_star

MOST_DIGITS = 9  # before the point of an amount, and behind it

_LEAST = Decimal(1).scaleb(-MOST_DIGITS)
_ROUNDING = Context(prec=2 * MOST_DIGITS)
_TOKENS = re.compile(r"[1-9]\d{0,11}")


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of one provider's models. Of patterns with `*` the first that fits: the longest literal text."""

    exact: Mapping[str, Price] = {}
    patterns: tuple[tuple[str, Price], ...] = ()

    def of(self, model: str | None) -> Price | None:
        """What a model costs; None where nobody knows."""
        if model is None:
            return None
        if (found := self.exact.get(model)) is not None:
            return found
        return next((price for pattern, price in self.patterns if fits_star(pattern, model)), None)


PriceLists: TypeAlias = Mapping[str, PriceList]  # by provider


def read_amount(value: object) -> Decimal:
    """US dollars, exactly as they were written. ValueError says what was expected."""
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise ValueError(f"expected an amount of US dollars such as 0.25, found {describe(value)}")
    if value.adjusted() >= MOST_DIGITS or value != _ROUNDING.quantize(value, _LEAST):
        raise ValueError(f"expected at most {MOST_DIGITS} digits before the point and {MOST_DIGITS} behind it")
    return value.copy_abs()


def read_budget(value: object) -> Decimal:
    """An amount of a budget, exactly as it was written. ValueError says what was expected."""
    if not isinstance(value, Decimal):
        raise ValueError(f"expected an amount such as 50 or 0.25, found {describe(value)}")
    return read_amount(value)


def read_day(value: object) -> str:
    """A date. ValueError says what was expected."""
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f"expected a date such as 2026-11-28, found {describe(value)}") from None


def price_of(lists: PriceLists, provider: str, model: str | None) -> Price | None:
    """What a target costs; None where nobody knows."""
    found = lists.get(provider)
    return None if found is None else found.of(model)


def targets_of(models: Iterable[Model], routes: Iterable[Route]) -> Iterator[Target]:
    """Every target that a file names, as often as it does."""
    for model in models:
        yield from model.to
    for route in routes:
        if not isinstance(route.to, str):
            yield from route.to
        if route.egress is not None:
            yield from route.egress.default


def price_lists(
    rows: Mapping[str, Row],
    known: Collection[str],
    targets: Iterable[Target],
    providers: Mapping[str, Provider],
    today: date,
    say: Complaints,
) -> dict[str, PriceList]:
    """All prices of one file. `known`: names of providers; `today`: for what is published."""
    named = _named(rows, known, say)
    lists = {provider: _list(prices) for provider, prices in named.items()}
    published_too: dict[str, dict[str, Price]] = {}
    for target in targets:
        if target.model is None or price_of(lists, target.provider, target.model) is not None:
            continue
        url = providers[target.provider].base_url
        if _has_a_vendor(url) and (price := published.find(url, target.model, today)) is not None:
            published_too.setdefault(target.provider, {})[target.model] = price
    for provider, prices in published_too.items():
        lists[provider] = _list(prices | named.get(provider, {}))
    return lists


def _has_a_vendor(url: str) -> bool:
    """Can somebody publish prices for this address? Own servers are spared loading the tables."""
    split = urlsplit(url)
    return split.scheme == "https" and "." in (split.hostname or "")


def _named(rows: Mapping[str, Row], known: Collection[str], say: Complaints) -> dict[str, dict[str, Price]]:
    found: dict[str, dict[str, Price]] = {}
    for name, row in rows.items():
        place: Place = ("prices", name)
        provider, slash, model = name.partition("/")
        if not slash or not provider or not model:
            say.problem(place, f"prices: expected PROVIDER/MODEL, found '{name}'; * stands for any model", key=True)
        elif provider not in known:
            say.problem(place, f"prices: there is no provider '{provider}'{near(provider, known)}", key=True)
        elif not isinstance(row, Partial) and (price := _price(place, row, say)) is not None:
            found.setdefault(provider, {})[model] = price
    return found


def _price(place: Place, row: Row, say: Complaints) -> Price | None:
    amounts, request = _amounts(row), row.get("request")
    if not amounts and request is None:
        say.problem(place, "prices: expected at least one amount, `input` and `output` as a rule", key=True)
        return None
    above: list[tuple[int, dict[str, Decimal]]] = []
    for tokens, more in (row.get("above") or {}).items():
        if not _TOKENS.fullmatch(tokens):
            say.problem((*place, "above", tokens), f"above: expected a number of tokens, found '{tokens}'", key=True)
            return None
        above.append((int(tokens), _amounts(more)))
    source = f"routes.yaml, line {say.line_of_key(place)}"
    return priced(amounts, request=request, above=above, source=source, as_of=row.get("as_of"))


def _amounts(row: Row) -> dict[str, Decimal]:
    return {kind: row[kind] for kind in KINDS if row.get(kind) is not None}


def _list(prices: Mapping[str, Price]) -> PriceList:
    patterns = sorted((name for name in prices if "*" in name), key=lambda name: (-len(name.replace("*", "")), name))
    return PriceList(
        exact={name: price for name, price in prices.items() if "*" not in name},
        patterns=tuple((name, prices[name]) for name in patterns),
    )
