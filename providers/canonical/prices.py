"""What tokens cost: exact US dollars, never floats.

A price says what a million tokens of a kind cost (`tokens.KINDS`: each token is in exactly one), and what a call costs
beside them. A kind that it does not name costs what the kind costs that it is a part of (`PART_OF`). Where nothing is
named for a kind even so, the cost of an answer with such tokens is unknown; only a price of calls alone (`request` and
no kinds) holds for any answer. Unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from functools import reduce
from typing import TypeAlias

import msgspec

from providers.canonical.chat import Usage
from providers.canonical.tokens import INPUT_PARTS, KINDS, OUTPUT_PARTS, fitted, parts

Amounts: TypeAlias = Mapping[str, Decimal]  # USD per million tokens, by kind

#: Whose price a kind has that has none of its own.
PART_OF = {
    **dict.fromkeys(INPUT_PARTS, "input"),
    **dict.fromkeys(OUTPUT_PARTS, "output"),
    "cache_write_1h": "cache_write",
}

_INPUT = ("input", *INPUT_PARTS)
# Counts have at most 30 digits and amounts 18, so that nothing is ever rounded.
_EXACT = Context(prec=100)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What one model costs. `source` and `as_of` (a date) tell where that is from. To be made by `priced`.

    `levels`: the amounts that hold for calls with more input tokens than the number beside them, the least first.
    """

    levels: tuple[tuple[int, Amounts], ...]
    request: Decimal | None = None
    source: str = ""
    as_of: str | None = None

    def cost(self, usage: Usage | None, *, whole: bool = True) -> Decimal | None:
        """US dollars of one answered call. `whole`: half a count makes no cost; else it is that of what is known."""
        if usage is None or not _is_enough(usage, whole):
            return self._whatever_it_was()
        return self.of(parts(fitted(usage)))

    def of(self, found: Mapping[str, int]) -> Decimal | None:
        """US dollars of a call with so many tokens of each kind."""
        read = sum([found.get(kind, 0) for kind in _INPUT])
        amounts = next(amounts for least, amounts in reversed(self.levels) if read > least or not least)
        millionths = Decimal(0)
        for kind, count in found.items():
            amount = amounts.get(kind)
            if amount is not None:
                millionths = _EXACT.add(millionths, _EXACT.multiply(amount, Decimal(count)))
            elif count and amounts:
                return None
        return _EXACT.add(self.request or Decimal(0), _EXACT.scaleb(millionths, Decimal(-6)))

    def _whatever_it_was(self) -> Decimal | None:
        """What a call costs of whose tokens nobody told."""
        is_flat = all(not amount for _, amounts in self.levels for amount in amounts.values())
        return (self.request or Decimal(0)) if is_flat else None


def priced(
    amounts: Amounts,
    *,
    request: Decimal | None = None,
    above: Iterable[tuple[int, Amounts]] = (),
    source: str = "",
    as_of: str | None = None,
) -> Price:
    """A price from what is said of it. `above`: other amounts for calls with more input tokens than that; what is not
    said there stays as it is below."""
    said = dict(amounts)
    levels = [(0, _whole(said))]
    for least, more in sorted(above, key=lambda level: level[0]):
        said |= more
        levels.append((least, _whole(said)))
    return Price(levels=tuple(levels), request=request, source=source, as_of=as_of)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum, exactly."""
    return reduce(_EXACT.add, amounts, Decimal(0))


def written(usd: Decimal) -> str:
    """An amount as text, all its digits and no exponent: `0.00031`."""
    text = f"{usd:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _is_enough(usage: Usage, whole: bool) -> bool:
    """Is it known what was read and written, or their sum and one of them? Else, is one of them?"""
    asked, answered = usage.input_tokens is not None, usage.output_tokens is not None
    told = asked + answered
    return told + (usage.total_tokens is not None) > 1 if whole else told > 0


def _whole(said: Amounts) -> dict[str, Decimal]:
    """Every kind that has a price, its own or that of what it is a part of."""
    found = ((kind, _amount(said, kind)) for kind in KINDS)
    return {kind: amount for kind, amount in found if amount is not None}


def _amount(said: Amounts, kind: str) -> Decimal | None:
    if kind in said:
        return said[kind]
    return _amount(said, PART_OF[kind]) if kind in PART_OF else None
