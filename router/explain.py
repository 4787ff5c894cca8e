"""What would become of a call: everything that an exchange does, up to the moment at which it would be sent.

The code is that of a real call (`Exchange`); in the place of attempts every target is made ready and looked at. No
upstream hears of it, nothing is counted, and no secret is in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from multidict import CIMultiDict

from providers.canonical.count import estimate
from providers.canonical.errors import RouterError
from providers.canonical.loss import Loss, Losses
from providers.dialect import Asked, WireRequest
from providers.dialects import DIALECTS
from providers.provider import Provider, address
from router import targeting
from router.access import LOCAL
from router.admission import Incoming, Plan
from router.alarm import Alarm
from router.caching import is_aside, key_of, wish
from router.exchange import Exchange, Ready
from router.gateway import UNLISTED, Gateway, Generation
from router.logs import Log
from router.mended import MendedExchange
from router.metrics import Metrics
from router.opaque import OpaqueExchange
from router.policy.affinity import HEADER
from router.policy.retries import backoff
from router.prices import price_of
from router.record import Record
from router.relay import Passing
from router.secrets import scrubbed
from router.settings import Settings
from router.shaped import ShapedExchange
from router.table import Limits, Match, Target, Timeouts
from router.targeting import Choice

Json: TypeAlias = Any

MASK = "***"


class Question(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call to be explained. `body`: a JSON value, or the text of one."""

    path: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: Json = None

    @property
    def data(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)


async def explain(gateway: Gateway, question: Question) -> dict[str, Json]:
    """The answer, as JSON values. A call that would be refused has `refused`, with what its caller would read."""
    run = _kind(gateway.generation, question)(gateway, question)
    try:
        await run.run()
    finally:
        for charge in run.charges:
            charge.settle(run.record)
    return run.told()


async def explain_alone(settings: Settings, question: Question) -> dict[str, Json]:
    """The same without a running gateway: for the command line."""
    metrics = Metrics()
    log = Log(2, form=settings.log, on_drop=metrics.log_lines_dropped)
    gateway = Gateway(
        Generation(1, settings),
        dialects=DIALECTS,
        transports={},
        metrics=metrics,
        log=log,
        clock=time.monotonic,
        wall=time.time,
        dice=lambda: 0.0,
        new_id=lambda: "0" * 32,
        instance="isthmus-explain",
    )
    try:
        return await explain(gateway, question)
    finally:
        log.close()


class _Door:
    """The caller's side of a call that nobody makes."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.began = False
        self.given: tuple[int, Mapping[str, str], bytes] | None = None

    async def body(self, limits: Limits, alarm: Alarm) -> bytes:
        return self._body

    async def passing(self, limits: Limits) -> Passing:
        return Passing(self._nothing, limits, len(self._body))

    async def _nothing(self) -> bytes:
        return b""

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.given = (status, headers, body)

    async def begin(self, status: int, headers: Mapping[str, str], alarm: Alarm) -> None:
        """No answer ever begins."""

    async def write(self, data: bytes) -> None:
        """Nor goes on."""

    async def end(self) -> None:
        """Nor ends."""

    def quiet(self) -> None:
        """Nothing is said as it is."""

    def cut(self) -> None:
        """There is no connection."""


class _DryRun(Exchange):
    """An exchange that looks at all its targets and calls none."""

    def __init__(self, gateway: Gateway, question: Question) -> None:
        record = Record(id=gateway.new_id(), method=question.method, path="", started=gateway.clock())
        query = question.path.partition("?")[2]
        incoming = Incoming(
            method=question.method,
            target=question.path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=CIMultiDict(question.headers),
            id=record.id,
        )
        door = _Door(question.data)
        super().__init__(_aside(gateway), incoming, door, record)
        self._given = door
        self._plan: Plan | None = None
        self._asked: Asked | None = None
        self._choice: Choice | None = None
        self._checked_who = True
        self._candidates: list[dict[str, Json]] = []
        self._chosen: tuple[Ready, Losses, str, str | None] | None = None
        self._target: Target | None = None  # the chosen one
        self._cached: dict[str, Json] | None = None  # what the call would get of what is kept

    def _admit(self) -> Match:
        """As for a real call; an operator who shows no credential is asked for none."""
        has_none = not any(name in self.incoming.headers for name in ("authorization", "x-api-key", "x-goog-api-key"))
        if self.generation.access.is_open or not has_none or "key" in self.incoming.query:
            return super()._admit()
        self._checked_who = False
        admission = self.admission
        admission.find_route()
        self.dialect = admission.dialect
        match = admission.route()
        self.record.route, self.record.caller_dialect = match.route.path, match.route.speaks
        admission.who = LOCAL
        return match

    def _set_aside(self, asked: Asked, plan: Plan) -> None:
        """As for a real call: what is kept is given whatever the key has left."""
        self._plan, self._asked = plan, asked
        self._cached = self._kept_before()
        if self._cached is None or self._cached["result"] != "hit":
            super()._set_aside(asked, plan)

    async def _attempts(self, asked: Asked, plan: Plan) -> None:
        last: RouterError | None = None
        choice = self._choice = targeting.choice(self.gateway, asked, plan, self)
        for target in choice.targets:
            self.losses = []
            try:
                ready = self._prepare(asked, plan, target)
            except RouterError as error:
                last = error
                self._candidates.append(self._candidate(plan, target, None, error))
                continue
            left_alone = self._left_alone(asked, plan, target)
            self._candidates.append(self._candidate(plan, target, ready, None, called=left_alone is None))
            if left_alone is not None:
                last = left_alone
                continue
            if self._chosen is None and ready is not None:
                self._chosen = (ready, self.losses, self.record.lane, self._secret)
                self._target = target
        self._candidates += [_left_out(target, why) for target, why in choice.left_out]
        if not choice.targets:
            raise targeting.none_fits(choice)
        if last is not None and not any(candidate["chosen"] for candidate in self._candidates):
            raise last

    def _left_alone(self, asked: Asked, plan: Plan, target: Target) -> RouterError | None:
        """What a call of it would come to while its breaker is open, or while nobody may wait for one of its places."""
        if targeting.is_full(self.gateway, plan, target) and not plan.providers[target.provider].queue:
            return targeting.crowded()
        if target.provider != UNLISTED:
            try:
                targeting.seen(self.gateway, asked, plan, target).check(self.gateway.clock())
            except RouterError as error:
                return error
        return None

    def _candidate(
        self, plan: Plan, target: Target, ready: Ready | None, error: RouterError | None, *, called: bool = True
    ) -> dict[str, Json]:
        first = error is None and called and not any(candidate["chosen"] for candidate in self._candidates)
        row: dict[str, Json] = {
            "provider": target.provider,
            "model": self.record.upstream_model if error is None else target.model,
            **({"key": target.secret} if target.secret is not None else {}),
            "chosen": first,
        }
        if error is not None:
            row["why_not"] = {"code": error.code, "reason": error.message}
            return row
        if ready is not None:
            row["speaks"] = ready.upstream.name
        row["lane"] = self.record.lane
        row["losses"] = [_loss(loss) for loss in self.losses]
        if (bill := self._bill(target)) is not None:
            row["estimated_usd"] = bill["usd"]
        if ready is None:
            row["note"] = "the target cannot be asked: we count ourselves, and call nobody"
        if self._choice is not None:
            full = targeting.is_full(self.gateway, plan, target)
            told = why(self._choice, plan, target) if first else why_not(self._choice, plan, target, full=full)
            row["why" if first else "why_not"] = told
        return row

    # ── what is told ───────────────────────────────────────────────────────────────
    def told(self) -> dict[str, Json]:
        """Everything that is known, also where the call was refused half-way."""
        answer: dict[str, Json] = {
            "route": None if self.admission.match is None else self.admission.match.route.path,
            "caller_dialect": self.dialect.name,
            "caller": self.admission.who.name if self._checked_who else "not checked: no credential was shown",
            "model": None if self._asked is None else self._asked.model,
            "candidates": self._candidates,
            "plan": None if self._plan is None else _plan(self._plan, self.record.started),
            "cache": self._cached or self._kept_before(),
            "lane": None,
            "losses": [],
            "upstream_request": None,
            "estimated_input_tokens": self._tokens(),
            "estimated_cost": None,
        }
        if self._chosen is not None:
            ready, losses, lane, secret = self._chosen
            answer |= {"lane": lane, "losses": [_loss(loss) for loss in losses]}
            answer["upstream_request"] = _request(ready, secret)
            answer["estimated_cost"] = self._cost(ready)
        if self._given.given is not None:
            answer["refused"] = self._refusal(*self._given.given)
        return answer

    def _kept_before(self) -> dict[str, Json] | None:
        """How the route keeps answers, and whether there is one now. None where it keeps none."""
        match, asked, plan = self.admission.match, self._asked, self._plan
        if match is None or match.route.cache is None:
            return None
        cache = match.route.cache
        told: dict[str, Json] = {"ttl": cache.ttl, "scope": cache.scope}
        if asked is None or plan is None:
            return told
        said = wish(self.incoming.headers)
        if is_aside(said, asked, plan):
            return {**told, "result": "bypass"}
        now = self.gateway.clock()
        kept = self.generation.answers.look(key_of(self, asked, plan, cache), now) if said.looks else None
        if kept is None or (said.newest is not None and now - kept.made > said.newest):
            return {**told, "result": "miss"}
        return {**told, "result": "hit", "age": int(now - kept.made)}

    def _cost(self, ready: Ready) -> dict[str, Json] | None:
        """What an answer would cost: in the upstream's own unit, where its row says it, and in US dollars."""
        models = [row["model"] for row in self._candidates if row["chosen"]]
        price = ready.provider.credits.get(models[0]) if models else None
        bill = None if self._target is None else self._bill(self._target)
        return {**({} if price is None else {"credits": price}), **(bill or {})} or None

    def _bill(self, target: Target) -> dict[str, Json] | None:
        """US dollars by rule of thumb, for which tokens, and whose price that is. None where it is not known."""
        asked, plan = self._asked, self._plan
        if asked is None or plan is None or plan.own_key is not None or not self.generation.prices:
            return None
        if self.record.operation == "count_tokens":
            return None
        model = target.model or asked.model
        price = price_of(self.generation.prices, target.provider, model or None)
        counts = self.foreseen(asked)
        usd = None if price is None else price.of(counts)
        if price is None or usd is None:
            return None
        return {"usd": float(usd), "tokens": counts, "price": {"source": price.source, "as_of": price.as_of}}

    def _tokens(self) -> int | None:
        """By rule of thumb; None where the request was not understood, or is none that has tokens."""
        if self._asked is None or self.record.operation not in ("chat", "count_tokens"):
            return None
        try:
            return estimate(self._canonical(self._asked)).total_tokens
        except RouterError:
            return None

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Json]:
        return {
            "status": status,
            "code": self.record.code,
            "fault": headers.get("x-isthmus-fault"),
            "body": _json(body),
        }


class _OpaqueDryRun(_DryRun, OpaqueExchange):
    """The same for what is passed on as it is."""


class _ShapedDryRun(_DryRun, ShapedExchange):
    """The same where answers are looked at, and asked for in words."""


class _MendedDryRun(_DryRun, MendedExchange):
    """The same where answers are changed."""


def _kind(generation: Generation, question: Question) -> type[_DryRun]:
    """Which exchange a call would be (router/server.py)."""
    if generation.table.is_opaque(question.path):
        return _OpaqueDryRun
    if generation.mends:
        return _MendedDryRun
    return _ShapedDryRun if generation.shapes else _DryRun


def _aside(gateway: Gateway) -> Gateway:
    """The gateway with nobody to call, and numbers of its own: what is explained does not count."""
    aside = Gateway(
        gateway.generation,
        dialects=gateway.dialects,
        transports={},
        metrics=Metrics(),
        log=gateway.log,
        clock=gateway.clock,
        wall=gateway.wall,
        dice=gateway.dice,
        new_id=gateway.new_id,
        instance=gateway.instance,
    )
    aside.seals = gateway.seals
    aside.upstreams = gateway.upstreams
    aside.budgets = gateway.budgets
    aside.places = gateway.places
    return aside


# ── why a target stands where it does ──────────────────────────────────────────────────────────

_FIRST = {
    "in_order": "the first in the file that is well",
    "weighted": "drawn by weight",
    "least_busy": "the fewest calls under way for its weight",
    "fastest": "the earlier of two that were drawn",
    "cheapest": "where the call costs least",
}


def why(choice: Choice, plan: Plan, target: Target) -> dict[str, str]:
    """Of the one that would be called first."""
    if len(choice.targets) == 1:
        return _reason("only", "no other target takes this call")
    if target is not choice.targets[0]:
        return _reason(plan.choose, "those before it cannot be called")
    if choice.known_of(target).share <= 0:
        return _reason("resting", "it failed of late, or named a limit, as all others did: it is called all the same")
    home = choice.home()
    if home is target:
        return _reason("sticky", f"{_together(plan)} go to this target")
    if home is not None:
        return _reason("sticky", f"stands in for {_name(home)}, where {_together(plan)} go")
    lost = choice.lost_at(target)
    if lost is not None and any(choice.lost_at(other) != lost for other in choice.targets):
        return _reason("fidelity", f"loses {_fields(lost)}; no other that is well loses less")
    return _reason(plan.choose, _FIRST[plan.choose])


def why_not(choice: Choice, plan: Plan, target: Target, *, full: bool) -> dict[str, str]:
    """Of the others."""
    share, lost = choice.known_of(target).share, choice.lost_at(target)
    first, home = choice.targets[0], choice.home()
    if full:
        return _reason("full", "all its places are taken")
    if share <= 0:
        return _reason("resting", "it failed of late, or named a limit: others come first")
    if share < 1:
        return _reason("recovering", f"it failed of late: it gets {share:.0%} of its calls")
    if lost is None or targeting.weight(lost) > targeting.weight(choice.lost_at(first)):
        return _reason("fidelity", f"would lose {_fields(lost or ())}, which another would not")
    if home is not None:
        return _reason("sticky", f"{_together(plan)} go to {_name(home)}")
    return _reason(plan.choose, "comes when the targets before it have failed")


def _left_out(target: Target, why: str) -> dict[str, Json]:
    """One whose `when` does not hold."""
    told = _reason("when", why)
    return {"provider": target.provider, "model": target.model, "chosen": False, "why_not": told}


def _reason(code: str, reason: str) -> dict[str, str]:
    return {"code": code, "reason": reason}


def _together(plan: Plan) -> str:
    """Which calls stick."""
    sticky = (plan.rules.sticky if plan.rules is not None else None) or ""
    what = f"this value of {sticky.removeprefix(HEADER)}" if sticky.startswith(HEADER) else f"this {sticky}"
    return f"calls of {what}"


def _name(target: Target) -> str:
    return f"{target.provider}/{target.model or '*'}"


def _fields(lost: Sequence[Loss]) -> str:
    names = dict.fromkeys(loss.field for loss in lost if loss.kind != "invented")
    return ", ".join(names) or "nothing"


def _loss(loss: Loss) -> dict[str, str]:
    return {"field": loss.field, "kind": loss.kind, "reason": loss.reason}


def _plan(plan: Plan, started: float) -> dict[str, Json]:
    """Seconds throughout. `waits` are the longest before each further attempt at the same target."""
    policy = plan.policy
    return {
        "attempts": policy.attempts,
        "within": policy.within,
        "waits": [backoff(policy, failures, lambda: 1.0) for failures in range(1, policy.attempts)],
        "timeouts": _timeouts(policy.timeouts),
        "total": round(plan.ends - started, 3),
        "hedge": None if policy.hedge is None else {"after": policy.hedge.after or "p95"},
        "fallback_on": sorted(policy.fallback_on),
        "on_loss": plan.on_loss,
        "choose": plan.choose,
        "sticky": None if plan.rules is None else plan.rules.sticky,
        "prefer": None if plan.rules is None else plan.rules.prefer,
        "key": "the caller's own" if plan.own_key is not None else "configured",
    }


def _timeouts(timeouts: Timeouts) -> dict[str, Json]:
    """Without the rate of streams where there is none."""
    told: dict[str, Json] = msgspec.to_builtins(timeouts)
    return {name: value for name, value in told.items() if timeouts.min_rate is not None or "rate" not in name}


def _request(ready: Ready, secret: str | None) -> dict[str, Json]:
    """What would go out, without anything secret."""
    wire, provider = ready.wire, ready.provider
    url = address(provider.base_url, wire)
    return {
        "method": wire.method,
        "url": url if secret is None else scrubbed(url, secret),
        "headers": _headers(wire, provider, secret),
        "body": _json(wire.body if secret is None else scrubbed(wire.body.decode("latin-1"), secret).encode("latin-1")),
    }


def _headers(wire: WireRequest, provider: Provider, secret: str | None) -> dict[str, str]:
    """Of a signature nothing is shown, nor what the row itself adds: it may be a secret of another kind."""
    shown: dict[str, str] = {}
    for name, value in wire.headers.items():
        if name in provider.headers or (name == "authorization" and not value.startswith("Bearer ")):
            shown[name] = MASK
        else:
            shown[name] = value if secret is None else scrubbed(value, secret)
    return shown


def _json(body: bytes) -> Json:
    """A body as a JSON value; what is none, as text."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
