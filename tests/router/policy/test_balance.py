"""Which target comes first: drawn with dice that the test holds."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.balance import REFUSED, Known, PeakEwma, in_order
from router.table import Choose, Target

A, B, C = (Target(provider=name) for name in "abc")
FREE = Known()


def firsts(targets: list[Target], known: list[Known], choose: Choose, times: int = 4000) -> dict[str, float]:
    """How often each target is tried first."""
    dice = Random(7).random
    found = Counter(in_order(targets, known, choose, dice)[0].provider for _ in range(times))
    return {name: count / times for name, count in found.items()}


def test_in_order_is_the_order_of_the_file() -> None:
    """However busy they are."""
    busy = Known(running=50, expected=9.0)

    assert [A, B, C] == in_order([A, B, C], [busy, FREE, FREE], "in_order", Random(1).random)


def test_weights_are_shares_of_the_first_tries() -> None:
    """9 to 1 is nine of ten."""
    heavy = Target(provider="heavy", weight=9)

    assert firsts([A, heavy], [FREE, FREE], "weighted") == pytest.approx({"heavy": 0.9, "a": 0.1}, abs=0.02)


def test_the_second_place_is_drawn_by_weight_too() -> None:
    """Of those that are left."""
    targets = [Target(provider="a", weight=100_000), Target(provider="b", weight=3), Target(provider="c", weight=1)]
    dice = Random(3).random
    second = Counter(in_order(targets, [FREE] * 3, "weighted", dice)[1].provider for _ in range(4000))

    assert second["b"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_least_busy_counts_calls_for_their_weight() -> None:
    """Twice the weight carries twice the calls."""
    big = Target(provider="big", weight=4)

    order = in_order(
        [A, big, C], [Known(running=2), Known(running=8), Known(running=5)], "least_busy", Random(1).random
    )

    assert [big, A, C] == order


def test_equals_share_the_calls() -> None:
    """Nobody is first for standing first."""
    assert firsts([A, B], [FREE, FREE], "least_busy") == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.03)


def test_fastest_prefers_the_quick_and_spares_it() -> None:
    """Of two that are drawn the quicker one; calls under way make it slower."""
    quick, slow = Known(expected=0.2), Known(expected=1.0)

    assert {"a": 1.0} == firsts([A, B], [quick, slow], "fastest")
    assert {"b": 1.0} == firsts([A, B], [Known(expected=0.2, running=9), slow], "fastest")
    assert firsts([A, B, C], [slow, quick, slow], "fastest")["b"] == pytest.approx(2 / 3, abs=0.03)


def test_what_was_never_called_is_tried() -> None:
    """Else it would never be known."""
    assert {"b": 1.0} == firsts([A, B], [Known(expected=0.001), FREE], "fastest")


@pytest.mark.parametrize("choose", get_args(Choose))
def test_who_rests_comes_last(choose: Choose) -> None:
    """But stays there, for when the others fail."""
    order = in_order([A, B], [Known(share=0.0), Known(running=9, expected=9.0)], choose, Random(1).random)

    assert [B, A] == order


def test_who_recovers_gives_its_turn_away() -> None:
    """As often as its share says."""
    assert firsts([A, B], [Known(share=0.25), FREE], "in_order") == pytest.approx({"a": 0.25, "b": 0.75}, abs=0.03)


def test_cheapest_puts_the_unknown_last_and_keeps_the_files_order() -> None:
    """What costs nothing is first, equals stay as they stand, and what nobody knows is tried when all others failed."""
    bills = [None, Decimal("0.2"), Decimal(0), Decimal("0.2"), None]
    targets = [Target(provider=str(place)) for place in range(5)]

    order = in_order(targets, [Known(usd=usd) for usd in bills], "cheapest", Random(1).random)

    assert ["2", "1", "3", "0", "4"] == [one.provider for one in order]


@given(st.lists(st.none() | st.decimals(0, 9, places=6), min_size=1, max_size=8), st.integers())
def test_cheapest_is_sorted_whatever_the_dice(bills: list[Decimal | None], seed: int) -> None:
    """Each target costs at most what the next one costs, and of equals the first of the file is first."""
    targets = [Target(provider=str(place)) for place in range(len(bills))]

    order = in_order(targets, [Known(usd=usd) for usd in bills], "cheapest", Random(seed).random)
    keys = [(bills[place] is None, bills[place] or Decimal(0), place) for place in (int(one.provider) for one in order)]

    assert sorted(keys) == keys


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.floats(0, 1), st.integers(0, 9), st.none() | st.floats(0, 9)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(get_args(Choose)),
    st.integers(),
)
def test_nobody_is_lost(rows: list[tuple[int, float, int, float | None]], choose: Choose, seed: int) -> None:
    """Every target is in the order, once."""
    targets = [Target(provider=str(number), weight=row[0]) for number, row in enumerate(rows)]
    known = [Known(share=share, running=running, expected=expected) for _, share, running, expected in rows]

    order = in_order(targets, known, choose, Random(seed).random)

    assert sorted(one.provider for one in order) == sorted(one.provider for one in targets)


def test_the_pace_jumps_up_and_comes_down_slowly() -> None:
    """One slow answer counts at once; it is forgotten over ten seconds."""
    pace = PeakEwma()
    assert pace.value is None
    for seconds, at in ((0.2, 0.0), (3.0, 1.0), (0.2, 1.0), (0.2, 11.0)):
        pace.note(seconds, at)

    assert pace.value == pytest.approx(0.2 + (3.0 - 0.2) * 0.3679, abs=0.01)


# ── what sticks, and what loses ────────────────────────────────────────────────────────────────

KEYS = [str(number).encode() for number in range(400)]


def first_of(key: bytes, known: list[Known], choose: Choose = "in_order", seed: int = 1) -> str:
    return in_order([A, B, C], known, choose, Random(seed).random, key)[0].provider


@pytest.mark.parametrize("choose", get_args(Choose))
def test_calls_of_one_key_go_to_one_target(choose: Choose) -> None:
    """Whatever the policy would choose, and whoever is busy; all targets have some of the keys."""
    found = {key: {first_of(key, [FREE] * 3, choose, seed) for seed in range(3)} for key in KEYS}
    busy = [Known(running=9, expected=3.0, usd=Decimal(9))] * 3

    assert {1} == {len(each) for each in found.values()}
    assert {"a", "b", "c"} == set().union(*found.values())
    assert all(found[key] == {first_of(key, busy, choose)} for key in KEYS)


def test_the_rest_stands_in_the_policys_order() -> None:
    """Stickiness fixes the first place, and who stands in for it."""
    rows = [Target(provider=name) for name in "abcdef"]
    for key in KEYS[:20]:
        first, second, *rest = in_order(rows, [FREE] * 6, "in_order", Random(1).random, key)

        assert rest == [one for one in rows if one not in (first, second)]


def test_who_rests_is_passed_over_and_its_calls_come_back() -> None:
    """The others' calls stay where they are; those of the one that rests are shared, and each keeps its stand-in."""
    before = {key: first_of(key, [FREE] * 3) for key in KEYS}
    away = {key: first_of(key, [Known(share=0.0), FREE, FREE]) for key in KEYS}
    stand_ins = Counter(away[key] for key in KEYS if before[key] == "a")

    assert all(away[key] == before[key] for key in KEYS if before[key] != "a")
    assert {"b", "c"} == set(stand_ins) and min(stand_ins.values()) > 0.3 * stand_ins.total()
    assert before == {key: first_of(key, [FREE] * 3) for key in KEYS}


def test_who_recovers_gets_some_of_its_calls() -> None:
    """As many as its share says."""
    key = next(key for key in KEYS if first_of(key, [FREE] * 3) == "a")
    found = Counter(first_of(key, [Known(share=0.25), FREE, FREE], seed=seed) for seed in range(1000))

    assert found["a"] / 1000 == pytest.approx(0.25, abs=0.05)


def test_who_loses_less_comes_first_and_who_refuses_last() -> None:
    """Equals stay as the policy has them; whoever rests is behind all that are well, and before those that refuse."""
    rows = [Target(provider=name) for name in "abcdef"]
    lossy, refuses = Known(losses=2), Known(losses=REFUSED)
    known = [lossy, refuses, FREE, Known(share=0.0), FREE, Known(losses=1)]

    assert list("cefadb") == [one.provider for one in in_order(rows, known, "in_order", Random(1).random)]


KNOWN = st.builds(
    Known,
    share=st.sampled_from([0.0, 0.5, 1.0]),
    running=st.integers(0, 3),
    expected=st.none() | st.floats(0, 3),
    losses=st.sampled_from([0, 0, 1, 2, REFUSED]),
)


@given(
    st.lists(KNOWN, min_size=1, max_size=6),
    st.sampled_from(get_args(Choose)),
    st.none() | st.binary(max_size=16),
    st.integers(),
)
def test_whatever_is_asked_nobody_is_lost_and_the_best_is_first(
    known: list[Known], choose: Choose, sticks: bytes | None, seed: int
) -> None:
    """Each target is there once; among those that are well, none that loses more comes before one that loses less."""
    targets = [Target(provider=str(number), weight=1 + number) for number in range(len(known))]
    order = [int(one.provider) for one in in_order(targets, known, choose, Random(seed).random, sticks)]
    well = [known[place].losses for place in order if known[place].share == 1.0]
    refused = [known[place].losses == REFUSED for place in order]

    assert sorted(order) == list(range(len(known)))
    assert well == sorted(well)
    assert refused == sorted(refused)
