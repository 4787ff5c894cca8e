"""Accounts of keys, across reloads."""

from __future__ import annotations

from router.state.accounts import Accounts


def test_a_key_has_one_account() -> None:
    """By its name; another key has another."""
    accounts = Accounts()
    limits = {"requests": 1}

    assert accounts.of("a", limits) is accounts.of("a", limits)
    assert accounts.of("a", limits) is not accounts.of("b", limits)


def test_a_reload_changes_the_limit_and_forgets_nothing() -> None:
    """The table is another one, the key is the same."""
    accounts = Accounts()
    accounts.of("a", {"requests": 1}).take({"requests": 1}, 0.0)
    after = accounts.of("a", {"requests": 3})

    assert 2 == after.windows["requests"].left(0.0)
