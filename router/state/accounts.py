"""What callers' keys have used of their limits, by the key's name. It outlives a reload: a new limit holds for what was
used before, too. Known to this process alone, and forgotten with it."""

from __future__ import annotations

from collections.abc import Mapping

from router.policy.quota import Account
from router.settings import Unit


class Accounts:
    """One for each key that has limits and has called."""

    def __init__(self) -> None:
        self._of: dict[str, Account] = {}

    def of(self, name: str, limits: Mapping[Unit, int]) -> Account:
        """The key's, with the limits of the table that the call began with."""
        found = self._of.get(name)
        if found is None:
            found = self._of[name] = Account()
        if found.limits is not limits:
            found.adopt(limits)
        return found
