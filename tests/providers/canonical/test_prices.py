"""providers/canonical/prices.py: exact sums of money."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import Usage
from providers.canonical.prices import PART_OF, priced, total, written
from providers.canonical.tokens import KINDS

MILLION = 1_000_000
AMOUNTS = st.decimals(0, 10**6, places=9)
COUNTS = st.integers(0, 10**12)


def usd(**amounts: str) -> dict[str, Decimal]:
    return {kind: Decimal(amount) for kind, amount in amounts.items()}


def test_tokens_cost_what_their_kind_costs() -> None:
    """Each token once, by its own kind: what was cached is not paid for as input, too."""
    price = priced(usd(input="3", cache_read="0.3", cache_write="3.75", cache_write_1h="6", output="15"))
    used = Usage(
        input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100, output_tokens=10
    )

    assert Decimal("0.00198") == price.cost(used)  # 100 x 3 + 600 x 0.3 + 200 x 3.75 + 100 x 6 + 10 x 15


@pytest.mark.parametrize(("kind", "whole"), PART_OF.items())
def test_a_kind_without_a_price_costs_what_it_is_a_part_of(kind: str, whole: str) -> None:
    """Cached tokens as input, those kept for an hour as those kept, thinking as output."""
    price = priced({whole: Decimal("2.5")})

    assert Decimal("2.5") == price.of({kind: MILLION})


def test_the_price_for_an_hour_goes_back_to_input_at_last() -> None:
    """A chain of two steps."""
    assert Decimal(3) == priced(usd(input="3")).of({"cache_write_1h": MILLION})


def test_tokens_that_nobody_priced_make_the_cost_unknown() -> None:
    """Not zero: a price of input alone is good for embeddings and for nothing that is written."""
    price = priced(usd(input="0.02"))

    assert Decimal("0.02") == price.of({"input": MILLION})
    assert price.of({"input": MILLION, "output": 1}) is None


def test_a_price_of_calls_holds_for_any_answer() -> None:
    """Where no kind has a price, the call is all that is paid for, whatever was said and whether anybody counted."""
    price = priced({}, request=Decimal("0.01"))

    assert Decimal("0.01") == price.of({"input": 7, "output": 9}) == price.cost(None)


def test_calls_cost_besides_their_tokens() -> None:
    """One amount, once."""
    assert Decimal("0.013") == priced(usd(input="1", output="1"), request=Decimal("0.012")).of({"input": 1000})


@pytest.mark.parametrize("usage", [None, Usage(), Usage(total_tokens=5)])
def test_what_was_not_counted_has_no_cost(usage: Usage | None) -> None:
    """Unknown tokens make an unknown sum, unless all of them are free."""
    assert priced(usd(input="1", output="2")).cost(usage) is None
    assert Decimal(0) == priced(usd(input="0", output="0")).cost(usage)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(output_tokens=5), None),
        (Usage(input_tokens=5), None),
        (Usage(input_tokens=5, cache_read_tokens=3), None),
        (Usage(input_tokens=5, total_tokens=9), "0.000013"),
        (Usage(output_tokens=4, total_tokens=9), "0.000013"),
        (Usage(input_tokens=9, total_tokens=9), "0.000009"),
    ],
)
def test_half_a_count_makes_no_cost(usage: Usage, cost: str | None) -> None:
    """What was read or written and not counted is not free, unless the total tells it."""
    assert (None if cost is None else Decimal(cost)) == priced(usd(input="1", output="2")).cost(usage)


def test_what_writes_no_tokens_is_counted_by_its_input() -> None:
    """Embeddings have no output to be unknown."""
    assert Decimal("0.000005") == priced(usd(input="1", output="2")).cost(Usage(input_tokens=5), whole=False)


def test_an_answer_of_no_tokens_costs_nothing() -> None:
    """Zero is a count."""
    assert Decimal(0) == priced(usd(input="1", output="2")).cost(Usage(input_tokens=0, output_tokens=0))


@pytest.mark.parametrize(
    ("read", "expected"), [(200, "0.0004"), (201, "0.000603"), (1000, "0.003"), (1001, "0.009009")]
)
def test_long_calls_have_other_amounts(read: int, expected: str) -> None:
    """All of the tokens, once there are more than so many; what a level does not name stays as it was."""
    price = priced(usd(input="2", output="8"), above=[(1000, usd(input="9")), (200, usd(input="3"))])

    assert Decimal(expected) == price.of({"cache_read": 100, "input": read - 100})
    assert Decimal(expected) + Decimal("0.000008") == price.of({"input": read, "output": 1})


@given(
    st.dictionaries(st.sampled_from(KINDS), AMOUNTS, min_size=len(KINDS)),
    st.dictionaries(st.sampled_from(KINDS), COUNTS),
    st.none() | AMOUNTS,
)
def test_no_digit_is_lost(amounts: dict[str, Decimal], found: dict[str, int], request: Decimal | None) -> None:
    """The sum is that of fractions, however large or small it is."""
    expected = sum((Fraction(amounts[kind]) * count / MILLION for kind, count in found.items()), Fraction(request or 0))

    cost = priced(amounts, request=request).of(found)

    assert cost is not None
    assert expected == Fraction(cost)


@given(st.lists(st.decimals(0, 10**9, places=15)))
def test_sums_lose_no_digit_either(amounts: list[Decimal]) -> None:
    """As those of fractions."""
    assert sum(map(Fraction, amounts), Fraction(0)) == Fraction(total(amounts))


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0.00000025", "0.00000025"), ("2.00", "2"), ("0", "0"), ("0.000", "0"), ("100", "100"), ("1E-7", "0.0000001")],
)
def test_amounts_are_written_out(amount: str, expected: str) -> None:
    """Without an exponent, and without zeros that say nothing."""
    assert expected == written(Decimal(amount))
