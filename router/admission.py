"""The way in: which route a path is, who calls, and where the call may go. Pure but for the clock that it is given.

A bad credential is refused before anything is told about the path; the reason why a path is bad is told only to those
who may call at all. What the path gives away of keys stays here: `redacted_path` is all that a log may see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers import auth
from providers.canonical.errors import (
    Bug,
    CallerError,
    LoopDetected,
    MalformedRequest,
    NotAuthenticated,
    RouterError,
    UpstreamKeyMissing,
    UpstreamNotAllowed,
)
from providers.dialect import Asked, Dialect
from providers.provider import Provider
from router.access import LOCAL, Caller, Credential, split_credentials
from router.gateway import UNLISTED, Gateway
from router.table import Choose, Match, PolicySettings, Route, Rules, Target
from router.upstream_path import Listed, PathProblem, UpstreamPath, parse, redacted


class Incoming(msgspec.Struct, kw_only=True):
    """A request as it came in: `target` is the raw request target with its query; `headers` may hold a name twice."""

    method: str
    target: str
    query: dict[str, str]
    headers: Any  # CIMultiDict
    id: str


class Plan(msgspec.Struct, kw_only=True):
    """Where a call may go, and how hard to try."""

    targets: Sequence[Target]  # in the order of the file
    policy: PolicySettings
    choose: Choose
    providers: Mapping[str, Provider]
    rules: Rules | None = None  # beyond `choose`
    own_key: str | None = None  # the caller's own upstream key
    on_loss: str = "report"  # or allow, reject
    nice: bool = False  # it yields its place where calls wait for one
    deadline: float = 0.0  # of `within`
    ends: float = 0.0  # of the whole exchange


class Admission:
    """What is known of a request before its body is read. Filled step by step, so that a refusal knows what stands."""

    def __init__(self, gateway: Gateway, incoming: Incoming) -> None:
        self.gateway = gateway
        self.generation = gateway.generation
        self.incoming = incoming
        self.dialect: Dialect = next(iter(gateway.dialects.values()))
        self.match: Match | None = None
        self.named: UpstreamPath | None = None
        self.who: Caller = LOCAL
        self._problem: RouterError | None = None
        self._upstream_key: str | None = None
        self._listed: Sequence[Listed] = ()

    @property
    def has_secret_path(self) -> bool:
        """May a key stand in this path?"""
        match = self.match
        return match is not None and (match.route.to == "named" or bool(match.secret_params))

    def find_route(self) -> None:
        """The row of the table, and the upstream that a path names; why there is none is kept for `route`."""
        incoming, generation = self.incoming, self.generation
        try:
            self.match = generation.table.match(incoming.method, incoming.target)
        except RouterError as error:
            self._problem = error
        route = self.match.route if self.match else generation.nearest(incoming.target)
        if route is not None:
            self.dialect = self.gateway.dialects[route.speaks]
        if self.match is not None and self.match.route.to == "named":
            self._read_name(self.match)

    def _read_name(self, match: Match) -> None:
        egress = match.route.egress
        if egress is None:
            self._problem = Bug()
            return
        self._listed = [Listed(name, self.generation.providers[name].base_url) for name in egress.listed]
        target, prefix = self.incoming.target, match.prefix
        try:
            self.named = parse(target, prefix, self._listed, unlisted=egress.unlisted, default=bool(egress.default))
        except PathProblem as problem:
            if problem.status == 403:
                self._problem = UpstreamNotAllowed(reason="not_listed")
            else:
                self._problem = CallerError(problem.message, status=problem.status, code=problem.code)

    def authenticate(self) -> None:
        """Whose call it is. NotAuthenticated."""
        incoming, access = self.incoming, self.generation.access
        is_named = self.match is not None and self.match.route.to == "named"
        credential, self._upstream_key = split_credentials(
            incoming.headers,
            incoming.query,
            named=is_named,
            is_open=access.is_open,
            path_key=self.named.key if self.named else None,
            key_header=auth.KEY_HEADERS.get(self.dialect.auth),
        )
        self.who = access.verify(credential, self.gateway.wall())
        if self._upstream_key is not None and access.is_own(self._upstream_key):
            self._upstream_key = None  # another key of ours, where an upstream's belongs: it stays here
        if not access.is_open:
            self._check_one_key(credential)

    def _check_one_key(self, credential: Credential | None) -> None:
        """One key alone can be the gateway's only where a named upstream has its own (seed systems, 1.7)."""
        alone = credential is not None and credential.place != "authorization" and self._upstream_key is None
        listed = self.named.listed if alone and self.named is not None else None
        if listed is not None and not self.generation.has_secret(self.generation.providers[listed]):
            raise NotAuthenticated(reason="missing")

    def route(self) -> Match:
        """The row, for those who may call. What kept it from being found is raised now."""
        if self._problem is not None:
            raise self._problem
        if self.match is None:
            raise Bug
        via = self.incoming.headers.get("via")
        if via is not None and self.gateway.instance in via:
            raise LoopDetected("this request has been here before")
        return self.match

    def params(self, match: Match) -> Mapping[str, str]:
        """The path's parameters for the dialect, those of a named path included."""
        named = self.named
        if named is None or named.version is None:
            return match.params
        return {
            **match.params,
            "model": named.model or "",
            "task": named.task or "",
            "version": named.version,
        }

    # ── where it may go ────────────────────────────────────────────────────────────
    def plan(self, route: Route, asked: Asked, started: float) -> Plan:
        """Targets, policy and clocks of the call. UnknownModel, NotAllowed, UpstreamKeyMissing and their kin."""
        generation, named = self.generation, self.named
        providers = generation.providers
        policy_name, own_key, choose, rules = route.policy, None, None, route.rules
        targets: Sequence[Target]
        pays_itself = named is not None and self._upstream_key is not None
        if route.to in ("models", "named") and not pays_itself:
            generation.access.allow(self.who, asked.model)
        if named is None:
            targets, policy_name, choose, rules = generation.table.targets(route, asked.model)
        else:
            targets, providers, own_key = self._named_targets(route, named)
            rules = rules if named.default else None
        policy = generation.policy(policy_name)
        total = self._timeout(policy.timeouts.total)
        return Plan(
            targets=targets if own_key is not None else generation.by_key(targets),
            policy=policy,
            choose=choose or policy.choose,
            providers=providers,
            rules=rules,
            own_key=own_key,
            on_loss=self._on_loss(policy),
            nice=self._is_nice(),
            deadline=started + min(policy.within, total),
            ends=started + total,
        )

    def _named_targets(
        self, route: Route, named: UpstreamPath
    ) -> tuple[Sequence[Target], Mapping[str, Provider], str | None]:
        providers, key = self.generation.providers, self._upstream_key
        if named.default:
            return (route.egress.default if route.egress else ()), providers, None
        if named.listed is not None:
            if key is None and not self.generation.has_secret(providers[named.listed]):
                raise UpstreamKeyMissing("no key for this upstream: neither in the request nor configured")
            return (Target(provider=named.listed),), providers, key
        if named.base_url is None:
            raise UpstreamNotAllowed(reason="not_listed")
        if key is None:
            raise UpstreamKeyMissing("no key for this upstream: neither in the request nor configured")
        dialect = self.dialect
        row = Provider(name=UNLISTED, base_url=named.base_url, speaks=(dialect.name,), auth=dialect.auth)
        return (Target(provider=UNLISTED),), {UNLISTED: row}, key

    def _timeout(self, most: float) -> float:
        """Seconds for the whole exchange: the policy's, or less if the caller says so."""
        text = self.incoming.headers.get("x-isthmus-timeout")
        if text is None:
            return most
        seconds = _duration(text)
        if seconds is None:
            raise MalformedRequest("x-isthmus-timeout must be a duration such as 500ms, 20s or 2m")
        return min(seconds, most)

    def _on_loss(self, policy: PolicySettings) -> str:
        """What to do about losses: what the caller says, else the route, else the policy."""
        text = self.incoming.headers.get("x-isthmus-on-loss")
        if text is None:
            return (self.match.route.on_loss if self.match else None) or policy.on_loss
        if text not in ("report", "allow", "reject"):
            raise MalformedRequest("x-isthmus-on-loss must be report, allow or reject")
        return str(text)

    def nice(self) -> bool | None:
        """Does the caller want others to go first? It says so in the query, else in a header. None: it does not say."""
        name, said = "nice", self.incoming.query.get("nice")
        if said is None:
            name, said = "x-isthmus-nice", self.incoming.headers.get("x-isthmus-nice")
        if said not in (None, "true", "false"):
            raise MalformedRequest(f"{name} must be true or false", param=name)
        return None if said is None else said == "true"

    def _is_nice(self) -> bool:
        """What the caller says, else what is said of its key."""
        wish = self.nice()
        return self.who.key is not None and self.who.key.nice if wish is None else wish

    # ── what may be told ───────────────────────────────────────────────────────────
    def redacted_path(self) -> str:
        """The path as a log may show it. What fits no route may hold anything: only its beginning is told."""
        target, match = self.incoming.target, self.match
        if match is not None and match.route.to == "named":
            return redacted(target, match.prefix, self._listed)
        path = target.partition("?")[0]
        if match is None or self.has_secret_path:
            return "/".join(path.split("/")[:2])[:64] + "/***"
        return path


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float | None:
    """Seconds of `250ms`, `20s`, `2m`, `1h`; None when it is not one."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", text.strip(), re.ASCII)
    return float(found[1]) * _UNITS[found[2]] if found else None
