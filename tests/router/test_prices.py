"""router/prices.py: what a file says of prices, and for which target."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from providers.canonical.prices import Price, priced
from router import published
from router.prices import price_of
from tests.tables import problems, settings

MILLION = 1_000_000
ROWS = "providers: {own: {base_url: 'http://127.0.0.1:9/v1', speaks: [openai.chat], auth: none}}\n"


def cost(folder: Path, prices: str, target: str = "own/m", **found: int) -> Decimal | None:
    """What so many tokens cost at a target, by a file with these prices."""
    provider, _, model = target.partition("/")
    price = price_of(settings(folder, f"{ROWS}prices: {prices}\n").prices, provider, model)
    return None if price is None else price.of(found)


def test_amounts_are_those_that_are_written(tmp_path: Path) -> None:
    """To the last digit: 0.1 is a tenth, which no float is."""
    assert Decimal("0.1") == cost(tmp_path, "{own/m: {input: 0.1}}", input=MILLION)
    assert Decimal("0.123456789") == cost(tmp_path, "{own/m: {input: 0.123456789}}", input=MILLION)
    assert Decimal("0.25") == cost(tmp_path, "{own/m: {request: 0.25}}")
    assert Decimal("999999999.5") == cost(tmp_path, "{own/m: {request: 999999999.500000000000}}")


def test_longer_names_win(tmp_path: Path) -> None:
    """A name before any pattern, then the pattern that says most; what fits none has no price."""
    rows = "{own/*: {input: 1}, own/m-*: {input: 2}, own/m-large: {input: 3}}"

    assert [1, 2, 3] == [cost(tmp_path, rows, f"own/{name}", input=MILLION) for name in ("x", "m-small", "m-large")]
    assert cost(tmp_path, "{own/m-*: {input: 2}}", "own/x") is None
    assert cost(tmp_path, rows, "demo/x") is None


def test_models_may_have_slashes(tmp_path: Path) -> None:
    """The provider is what stands before the first one."""
    assert Decimal(4) == cost(tmp_path, "{own/lab/m: {input: 4}}", "own/lab/m", input=MILLION)


def test_levels_and_dates_are_read(tmp_path: Path) -> None:
    """Other amounts for long calls, and where the price is from."""
    text = "prices:\n  own/m: {input: 1, above: {200000: {input: 2}}, as_of: 2026-11-01}\n"
    price = price_of(settings(tmp_path, ROWS + text).prices, "own", "m")

    assert price is not None
    assert (Decimal("0.2"), Decimal("0.400002")) == (price.of({"input": 200_000}), price.of({"input": 200_001}))
    assert ("routes.yaml, line 3", "2026-11-01") == (price.source, price.as_of)


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ("{own: {input: 1}}", "2:10 prices: expected PROVIDER/MODEL, found 'own'; * stands for any model"),
        ("{own/: {input: 1}}", "2:10 prices: expected PROVIDER/MODEL, found 'own/'; * stands for any model"),
        ("{owm/m: {input: 1}}", "2:10 prices: there is no provider 'owm', did you mean own?"),
        ("{own/m: {}}", "2:10 prices: expected at least one amount, `input` and `output` as a rule"),
        ("{own/m: {input: -1}}", "2:25 prices.own/m.input: expected an amount of US dollars such as 0.25, found -1"),
        ("{own/m: {input: '1'}}", "expected an amount of US dollars such as 0.25, found '1'"),
        ("{own/m: {input: true}}", "expected an amount of US dollars such as 0.25, found true"),
        ("{own/m: {input: 0.1234567891}}", "expected at most 9 digits before the point and 9 behind it"),
        ("{own/m: {input: 1e99999999999999999999}}", "expected an amount of US dollars such as 0.25, found Infinity"),
        ("{own/m: {input: 1e999999999}}", "expected at most 9 digits before the point and 9 behind it"),
        ("{own/m: {input: 1e-999999999}}", "expected at most 9 digits before the point and 9 behind it"),
        ("{own/m: {input: 1000000000}}", "expected at most 9 digits before the point and 9 behind it"),
        ("{own/m: {input: 1e40}}", "expected at most 9 digits before the point and 9 behind it"),
        ("{own/m: {inputs: 1}}", "unknown key 'inputs', did you mean input?"),
        ("{own/m: {input: 1, above: {many: {input: 2}}}}", "above: expected a number of tokens, found 'many'"),
        ("{own/m: {input: 1, above: {0: {input: 2}}}}", "above: expected a number of tokens, found '0'"),
        ("{own/m: {input: 1, above: {5: {request: 2}}}}", "unknown key 'request'"),
        ("{own/m: {input: 1, as_of: yesterday}}", "expected a date such as 2026-11-28, found 'yesterday'"),
        ("[1]", "expected a mapping, found a list"),
    ],
)
def test_what_is_no_price_is_said_with_its_place(tmp_path: Path, prices: str, expected: str) -> None:
    """A price that is read wrong is money: nothing is guessed."""
    found = problems(tmp_path, f"{ROWS}prices: {prices}\n")

    assert 1 == len(found) and expected in found[0]


def test_what_is_published_fills_the_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For targets that a file names and does not price, where their address is a vendor's."""
    asked: list[tuple[str, str]] = []

    def find(url: str, model: str, today: object) -> Price:
        asked.append((url, model))
        return priced({"input": Decimal(7)}, source="a list")

    monkeypatch.setattr(published, "find", find)
    text = """\
        providers:
          vendor: {base_url: "https://api.vendor.example/v1", speaks: [openai.chat], auth: none}
          own: {base_url: "http://127.0.0.1:9/v1", speaks: [openai.chat], auth: none}
        models:
          m: [{provider: vendor, model: a}, {provider: vendor, model: b}, {provider: own, model: a}, {provider: vendor}]
        prices: {vendor/b: {input: 1}}
        """
    lists = settings(tmp_path, text).prices

    assert [("https://api.vendor.example/v1", "a")] == asked
    assert {"a": 7, "b": 1} == {name: price.of({"input": MILLION}) for name, price in lists["vendor"].exact.items()}
    assert "own" not in lists
