"""What every exchange shares: the table in force, the doors, the memories. One value in, swapped whole on reload."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from providers import listing
from providers.canonical.errors import UpstreamDenied
from providers.dialect import PLAIN, Dialect, Traits
from providers.dialects import ANSWERS
from providers.provider import Provider
from router.access import Access
from router.chats.store import Store
from router.chats.turns import Turns
from router.logs import Log
from router.metrics import Metrics
from router.policy.retries import RetryBudget, Row
from router.settings import Budget, Settings
from router.state.accounts import Accounts
from router.state.budgets import Budgets
from router.state.flights import Answers
from router.state.places import AllPlaces
from router.state.seals import SealMemory
from router.state.upstreams import Upstreams
from router.table import OPAQUE, PolicySettings, Route, Target, plain_path
from router.transport import Transport

OTHER = "other"
UNLISTED = "unlisted"


class Generation:
    """Everything that one routes.yaml means, ready to use. Nothing here changes but counters."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.number = number
        self.settings = settings
        self.table = settings.table
        self.providers: Mapping[str, Provider] = settings.providers
        self.prices = settings.prices
        self.access = Access(settings.access)
        self.rows = {
            name: Row(attempts=row.attempts, retry_on=row.retry_on) for name, row in settings.providers.items()
        }
        self.traits = {name: row.traits for name, row in settings.providers.items()}
        self.budgets: dict[str, RetryBudget] = {}
        self._turn = 0
        self.keys = {name: keys for name, row in self.providers.items() if len(keys := self._keys(row)) > 1}
        self.models = frozenset(self._model_names())
        self.beside = {
            path: (route, question)
            for route in self.table.routes
            for path, question in listing.beside(route.path, route.speaks).items()
        }
        modes = {policy.check_schema for policy in settings.policies.values()}
        modes |= {route.check_schema or "off" for route in settings.table.routes}
        self.mends = any(_mends(row) for row in settings.providers.values())
        self.caches = any(route.cache is not None for route in settings.table.routes)
        self.answers = Answers(settings.kept)
        self.shapes = modes != {"off"} or any(route.emulate for route in settings.table.routes)

    def follows(self, before: Generation) -> None:
        """Takes the place of another one. What that has kept goes on to be given, if it would be the same here."""
        if _meaning(before.settings) == _meaning(self.settings):
            self.answers = before.answers
        else:
            before.answers.close()

    def key_budgets(self) -> dict[str, Budget]:
        """By key, of those that have one."""
        access = self.settings.access
        return {row.name: row.budget for row in access.keys if row.budget is not None} if access else {}

    def _model_names(self) -> Iterator[str]:
        for row in self.settings.providers.values():
            yield from row.credits
        for prices in self.prices.values():
            yield from prices.exact
        for model in self.settings.models:
            yield from (target.model for target in model.to if target.model)
        for route in self.table.routes:
            targets = route.to if isinstance(route.to, tuple) else ()
            yield from (target.model for target in targets if target.model)
            if route.egress is not None:
                yield from (target.model for target in route.egress.default if target.model)

    def traits_of(self, provider: Provider, model: str) -> Traits:
        """What is known of a row, and of the model that is to be called there."""
        return provider.traits_for(model) if provider.abilities else self.traits.get(provider.name, PLAIN)

    def policy(self, name: str | None) -> PolicySettings:
        return self.settings.policies[name or "default"]

    def secret(self, provider: Provider, reference: str | None = None) -> str | None:
        """The row's credential, that of a reference if one is given. UpstreamDenied when it is not there."""
        if not provider.secrets:
            return None
        for name in (reference,) if reference is not None else provider.secrets:
            if (found := self.settings.secrets.get(name)) is not None:
                return found.reveal()
        raise UpstreamDenied("the upstream's credential is not configured", upstream_status=0)

    def by_key(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Targets whose row has several keys once for each of them: they take turns, and stand in for one another."""
        if not any(target.provider in self.keys for target in targets):
            return targets
        self._turn += 1
        found: list[Target] = []
        for target in targets:
            keys = self.keys.get(target.provider, (None,))
            first = self._turn % len(keys)
            found += [msgspec.structs.replace(target, secret=key) for key in (*keys[first:], *keys[:first])]
        return found

    def _keys(self, provider: Provider) -> tuple[str, ...]:
        """The references of its keys that are there."""
        return tuple(name for name in provider.secrets if self.settings.secrets.get(name) is not None)

    def has_secret(self, provider: Provider) -> bool:
        """Can the row be called without a key of the caller's?"""
        if provider.auth == "none":
            return True
        return any(self.settings.secrets.get(reference) is not None for reference in provider.secrets)

    def budget(self, provider: str, share: float) -> RetryBudget:
        found = self.budgets.get(provider)
        if found is None:
            found = self.budgets[provider] = RetryBudget(share)
        found.share = share  # of the policy that asks
        return found

    def model_label(self, target: Target, model: str) -> str:
        """A model's name where metrics may show it: only names that the configuration holds."""
        return model if model in self.models else OTHER

    def nearest(self, path: str) -> Route | None:
        """The route most like a path that fits none: its dialect is what the caller reads. The first of several."""
        asked = plain_path(path).split("/")[1:]
        best, most = None, 0
        for route in self.table.routes:
            common = _common(route.path.split("/")[1:], asked)
            if common > most:
                best, most = route, common
        return best


def _meaning(settings: Settings) -> tuple[object, ...]:
    """What of a table answers depend on, wherever in the file it stands."""
    routes = [msgspec.structs.replace(route, line=0) for route in settings.table.routes]
    return settings.kept, settings.limits, settings.providers, settings.models, settings.policies, routes


def _mends(provider: Provider) -> bool:
    """Are answers of a row changed, or looked at, on their way?"""
    return provider.on_invalid_json is not None or not ANSWERS.isdisjoint(provider.quirks)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many segments two paths share at their beginning."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


class Chats(Protocol):
    """The chat service, as far as its calls are concerned."""

    @property
    def store(self) -> Store: ...

    @property
    def turns(self) -> Turns: ...


class Gateway:
    """The running process, as an exchange sees it."""

    def __init__(
        self,
        generation: Generation,
        *,
        dialects: Mapping[str, Dialect],
        transports: Mapping[str, Transport],
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
        wall: Callable[[], float],
        dice: Callable[[], float],
        new_id: Callable[[], str],
        instance: str,
    ) -> None:
        self.generation = generation
        # What is passed on unread is answered as OpenAI does where the answer is ours.
        self.dialects = {**dialects, OPAQUE: dialects["openai.chat"]}
        self.transports = transports  # by what the base URL begins with: "https", "http", "simulated"; "unlisted"
        self.metrics = metrics
        self.log = log
        self.clock = clock
        self.wall = wall
        self.dice = dice
        self.new_id = new_id
        self.instance = instance  # our entry in `via`, to know a loop by
        self.seals = SealMemory()
        self.upstreams = Upstreams()
        self.places = AllPlaces()
        self.accounts = Accounts()
        self.budgets = Budgets()
        self.chats: Chats | None = None
        self.started_at = wall()
        self.running = 0
        self.draining = False

    def transport(self, provider: Provider) -> Transport:
        if provider.name == UNLISTED:
            return self.transports[UNLISTED]
        return self.transports[provider.base_url.partition(":")[0]]
