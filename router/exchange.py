"""ONE CALL'S LIFE - read this first.

    admit    route and credential: who calls, and what is that path?
    read     the body, checked in full by the caller's dialect: nothing malformed goes further
    plan     which targets, under which policy
    attempt  encode for the target's dialect, or relay when both sides speak the same; sign; send; read
    answer   whole, or as a stream from its first meaningful event on; errors in the caller's language

Until the first byte of an answer has gone out, a failure may be tried again (`router/policy/retries.py` says whether and
where). After that a fault ends the stream in the caller's dialect. Whatever happens is written into one Record, which
metrics and log get once, at the end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from providers import auth
from providers.canonical.chat import ChatRequest, ChatResponse, TokenCount
from providers.canonical.count import estimate
from providers.canonical.errors import (
    BadUpstreamBytes,
    Bug,
    CallerError,
    Category,
    LoopDetected,
    MalformedRequest,
    NotAuthenticated,
    Overloaded,
    RouterError,
    TransportError,
    UnsupportedMediaType,
    Untranslatable,
    UpstreamDenied,
    UpstreamError,
    UpstreamKeyMissing,
    UpstreamNotAllowed,
    UpstreamRejected,
    UpstreamTimeout,
    mask,
)
from providers.canonical.loss import Losses, approximated, header, in_callers_words
from providers.dialect import PLAIN, Asked, Dialect, StreamDecoder, WireRequest, WireResponse
from providers.provider import Provider, address
from router.access import Caller, Credential, split_credentials
from router.alarm import Alarm
from router.gateway import UNLISTED, Gateway
from router.policy.retries import Attempt, GiveUp, next_step
from router.record import AttemptRecord, Outcome, Record, StreamEnd
from router.relay import CallerGone, Door
from router.state.seals import SealWatch
from router.streaming import (
    Relayed,
    Source,
    Translated,
    Unfolding,
    hold,
    is_whole_answer,
    opening,
    pump,
)
from router.table import Match, PolicySettings, Route, Target
from router.transport import Clocks, UpstreamCall
from router.upstream_path import Listed, PathProblem, UpstreamPath, parse

ERROR_BODY = 64 << 10
_PASSED = ("idempotency-key", "traceparent", "tracestate")
_JSON_TYPES = ("application/json", "text/json")
_KEPT_ANSWER_HEADERS = "x-ratelimit-"
_SECRET_PATH_HEADERS = {"referrer-policy": "no-referrer", "cache-control": "no-store"}


class Incoming(msgspec.Struct, kw_only=True):
    """A request as it came in: `target` is the raw request target with its query; `headers` may hold a name twice."""

    method: str
    target: str
    query: dict[str, str]
    headers: Any  # CIMultiDict
    id: str


class Stopwatch:
    """Splits the time until the answer's head into named phases that sum to the whole."""

    __slots__ = ("_clock", "_last", "phases")

    def __init__(self, clock: Any, started: float, phases: dict[str, float]) -> None:
        self._clock = clock
        self._last = started
        self.phases = phases

    def lap(self, phase: str) -> float:
        """The time since the last lap belongs to `phase`. Gives the present."""
        now: float = self._clock()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now
        return now


class Plan(msgspec.Struct, kw_only=True):
    """Where a call may go, and how hard to try."""

    targets: Sequence[Target]
    policy: PolicySettings
    providers: Mapping[str, Provider]
    own_key: str | None = None  # the caller's own upstream key
    deadline: float = 0.0  # of `within`
    ends: float = 0.0  # of the whole exchange


class Exchange:
    """One call. `run` from first byte in to last byte out; `record` tells afterwards what happened."""

    def __init__(self, gateway: Gateway, incoming: Incoming, door: Door, record: Record) -> None:
        self.gateway = gateway
        self.generation = gateway.generation
        self.incoming = incoming
        self.door = door
        self.record = record
        self.watch = Stopwatch(gateway.clock, record.started, record.phases)
        self.alarm = Alarm()
        self.caller_dialect: Dialect = next(iter(gateway.dialects.values()))
        self.who: Caller | None = None
        self.upstream_key: str | None = None
        self.secret_path = False
        self.named_prefix: str | None = None
        self.listed: Sequence[Listed] = ()
        self.losses: Losses = []
        self._request: ChatRequest | None = None
        self._sent = False
        self._has_own_key = False
        self._route_on_loss: str | None = None

    # ── the life ───────────────────────────────────────────────────────────────────
    async def run(self, busy: RouterError | None = None) -> None:
        """The whole exchange, or the refusal of one that we are too `busy` for. Raises only when the caller left."""
        try:
            await self._live(busy)
        except RouterError as error:
            await self._refuse(error)
        except CallerGone:
            raise
        except Exception as error:
            self.gateway.log.bug(error, request_id=self.record.id, route=self.record.route)
            if self.door.began:
                self.record.outcome, self.record.error = "bug", Bug.kind
                raise CallerGone("client_left") from error
            await self._refuse(Bug())
        finally:
            self.alarm.stop()

    async def _live(self, busy: RouterError | None) -> None:
        match, named = self._admit()
        if busy is not None:
            raise busy
        with self.gateway.metrics.inflight(match.route.path):
            await self._exchange(match, named)

    async def _exchange(self, match: Match, named: UpstreamPath | None) -> None:
        asked = await self._read(match, named)
        plan = self._plan(match.route, named, asked)
        self._has_own_key, self._route_on_loss = plan.own_key is not None, match.route.on_loss
        await self._attempts(asked, plan)

    # ── admit ──────────────────────────────────────────────────────────────────────
    def _admit(self) -> tuple[Match, UpstreamPath | None]:
        """Who calls (401 before anything is told about the path), and which row the path belongs to."""
        incoming, generation = self.incoming, self.generation
        match: Match | None = None
        unmatched: RouterError | None = None
        try:
            match = generation.table.match(incoming.method, incoming.target)
        except RouterError as error:
            unmatched = error
        route = match.route if match else generation.nearest(incoming.target)
        if route is not None:
            self.caller_dialect = self.gateway.dialects[route.speaks]
        named = None
        if match is not None:
            self.record.route = match.route.path
            self.record.caller_dialect = match.route.speaks
            self.secret_path = match.route.to == "named" or bool(match.secret_params)
        self.watch.lap("route")
        problem: RouterError | None = None
        if match is not None and match.route.to == "named":
            named, problem = self._named(match)
        self._authenticate(match, named)
        self.watch.lap("access")
        if unmatched is not None:
            raise unmatched
        if problem is not None:
            raise problem
        if match is None:
            raise Bug
        via = incoming.headers.get("via")
        if via is not None and self.gateway.instance in via:
            raise LoopDetected("this request has been here before")
        return match, named

    def _named(self, match: Match) -> tuple[UpstreamPath | None, RouterError | None]:
        """The upstream that the path names, or why not: told only to those who may know."""
        egress = match.route.egress
        if egress is None:
            return None, Bug()
        listed = [Listed(name, self.generation.providers[name].base_url) for name in egress.listed]
        self.named_prefix, self.listed = match.prefix, listed
        try:
            named = parse(
                self.incoming.target,
                match.prefix,
                listed,
                unlisted=egress.unlisted,
                default=bool(egress.default),
            )
        except PathProblem as problem:
            if problem.status == 403:
                return None, UpstreamNotAllowed(reason="not_listed")
            return None, CallerError(
                problem.message,
                status=problem.status,
                code=problem.code,
            )
        return named, None

    def _authenticate(self, match: Match | None, named: UpstreamPath | None) -> None:
        incoming = self.incoming
        is_named = match is not None and match.route.to == "named"
        credential, self.upstream_key = split_credentials(
            incoming.headers,
            incoming.query,
            named=is_named,
            is_open=self.generation.access.is_open,
            path_key=named.key if named else None,
            key_header=auth.KEY_HEADERS.get(self.caller_dialect.auth),
        )
        self.who = self._verified(credential, named)
        self.record.key = self.who.key.name if self.who.key else None

    def _verified(self, credential: Credential | None, named: UpstreamPath | None) -> Caller:
        """The caller. On a named path of a dialect with a key header of its own, that header may be the credential."""
        access, now = self.generation.access, self.gateway.wall()
        who = access.verify(credential, now)
        from_key = credential is not None and credential.place in ("x-goog-api-key", "key")
        one_key_only = from_key and not access.is_open and self.upstream_key is None
        if one_key_only and named is not None and named.listed is not None:
            # The one key there is was the gateway's, so the upstream must have its own (seed systems, 1.7).
            if not self.generation.has_secret(self.generation.providers[named.listed]):
                raise NotAuthenticated(reason="missing")
        return who

    # ── read ───────────────────────────────────────────────────────────────────────
    async def _read(self, match: Match, named: UpstreamPath | None) -> Asked:
        incoming, limits = self.incoming, self.generation.settings.limits
        self._check_type()
        body = await self.door.body(limits, self.alarm)
        self.record.bytes_in = len(body)
        self.watch.lap("read")
        params = dict(match.params)
        if named is not None and named.model is not None:
            params |= {"model": named.model, "task": named.task or "", "version": named.version or ""}
        wire = WireRequest(method=incoming.method, path=match.route.path, query=incoming.query, body=body)
        asked = self._checked(wire, params, match.route)
        self.record.stream = asked.stream
        self.record.operation = self.caller_dialect.operation(asked.task)
        self.watch.lap("decode")
        return asked

    def _checked(self, wire: WireRequest, params: Mapping[str, str], route: Route) -> Asked:
        limits = self.generation.settings.limits
        try:
            return self.caller_dialect.read(
                wire, params, depth=limits.json_depth, messages=limits.messages, tools=limits.tools
            )
        except MalformedRequest as error:
            if route.to == "named" and error.param == "messages" and error.code == "invalid_request":
                error.code = "invalid_messages"
            raise

    def _check_type(self) -> None:
        header = self.incoming.headers.get("content-type")
        if header is None:
            return
        kind, _, parameters = header.partition(";")
        kind = kind.strip().lower()
        charset = parameters.partition("charset=")[2].strip(' "').lower()
        if not (kind in _JSON_TYPES or kind.endswith("+json")) or charset not in (
            "",
            "utf-8",
            "utf8",
            "us-ascii",
        ):
            raise UnsupportedMediaType("the body must be application/json in UTF-8")

    # ── plan ───────────────────────────────────────────────────────────────────────
    def _plan(self, route: Route, named: UpstreamPath | None, asked: Asked) -> Plan:
        generation = self.generation
        providers = generation.providers
        policy_name, own_key = route.policy, None
        targets: Sequence[Target]
        if named is None:
            targets, policy_name = generation.table.targets(route, asked.model)
        else:
            targets, providers, own_key = self._named_targets(route, named)
        if self.who is not None and route.to == "models":
            generation.access.allow(self.who, asked.model)
        policy = generation.policy(policy_name)
        started = self.record.started
        total = self._asked_timeout(policy.timeouts.total)
        return Plan(
            targets=targets,
            policy=policy,
            providers=providers,
            own_key=own_key,
            deadline=started + min(policy.within, total),
            ends=started + total,
        )

    def _named_targets(
        self, route: Route, named: UpstreamPath
    ) -> tuple[Sequence[Target], Mapping[str, Provider], str | None]:
        providers, key = self.generation.providers, self.upstream_key
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
        dialect = self.caller_dialect
        row = Provider(name=UNLISTED, base_url=named.base_url, speaks=(dialect.name,), auth=dialect.auth)
        return (Target(provider=UNLISTED),), {UNLISTED: row}, key

    def _asked_timeout(self, most: float) -> float:
        """Seconds for the whole exchange: the policy's, or less if the caller says so."""
        text = self.incoming.headers.get("x-isthmus-timeout")
        if text is None:
            return most
        seconds = _duration(text)
        if seconds is None:
            raise MalformedRequest("x-isthmus-timeout must be a duration such as 500ms, 20s or 2m")
        return min(seconds, most)

    def _on_loss(self, route_setting: str | None, policy: PolicySettings) -> str:
        text = self.incoming.headers.get("x-isthmus-on-loss")
        if text is None:
            return route_setting or policy.on_loss
        if text not in ("report", "allow", "reject"):
            raise MalformedRequest("x-isthmus-on-loss must be report, allow or reject")
        return str(text)

    # ── attempts ───────────────────────────────────────────────────────────────────
    async def _attempts(self, asked: Asked, plan: Plan) -> None:
        history: list[Attempt] = []
        target = plan.targets[0]
        while True:
            try:
                return await self._attempt(asked, plan, target)
            except RouterError as error:
                if self.door.began:
                    raise
                history.append(Attempt(target=target, error=_for_key(error, plan.own_key), sent=self._sent))
            step = next_step(
                plan.targets,
                history,
                plan.policy,
                now=self.gateway.clock(),
                deadline=plan.deadline,
                dice=self.gateway.dice,
                rows=self.generation.rows,
                budgets=self.generation.budgets,
            )
            if isinstance(step, GiveUp):
                self.record.denied_retries.append(step.why)
                raise step.error
            if step.retry:
                budget = self.generation.budget(step.target.provider, plan.policy.retry_budget)
                budget.note_retry(self.gateway.clock())
            if step.after:
                await asyncio.sleep(step.after)
            self.watch.lap("wait")
            target = step.target

    async def _attempt(self, asked: Asked, plan: Plan, target: Target) -> None:
        """One call of one target, up to the last byte of its answer to the caller."""
        record, gateway = self.record, self.gateway
        self._sent = False
        provider = plan.providers[target.provider]
        model = target.model or asked.model
        upstream = gateway.dialects[provider.dialect_for(self.caller_dialect.name)]
        record.provider, record.upstream_model = provider.name, model
        record.model = self.generation.model_label(target, model)
        secret = plan.own_key or self.generation.secret(provider)
        record.lane = "relay" if upstream is self.caller_dialect else "translate"
        if record.operation == "count_tokens" and upstream is not self.caller_dialect:
            return await self._count(asked)
        wire = self._encoded(asked, upstream, provider, model, plan)
        wire = self._addressed(wire, upstream, provider, secret, asked)
        self.watch.lap("encode")
        taken = self._take_place(provider)
        try:
            await self._call(asked, plan, provider, upstream, wire, secret)
        finally:
            if taken:
                self.generation.running[provider.name] -= 1

    def _take_place(self, provider: Provider) -> bool:
        if provider.concurrency is None:
            return False
        running = self.generation.running
        now = running.get(provider.name, 0)
        if now >= provider.concurrency:
            error = Overloaded("too many calls of this upstream at once", retry_after=1.0)
            error.retry = "elsewhere"
            raise error
        running[provider.name] = now + 1
        return True

    async def _call(
        self,
        asked: Asked,
        plan: Plan,
        provider: Provider,
        upstream: Dialect,
        wire: WireRequest,
        secret: str | None,
    ) -> None:
        gateway = self.gateway
        now = gateway.clock()
        attempt = AttemptRecord(
            provider=provider.name, model=self.record.model, operation=self.record.operation, started=now
        )
        self.record.attempts.append(attempt)
        if provider.name != UNLISTED:
            self.generation.budget(provider.name, plan.policy.retry_budget).note_call(now)
        clocks = self._clocks(plan, provider)
        self._sent = True
        call: UpstreamCall | None = None
        try:
            url = address(provider.base_url, wire)
            call = await gateway.transport(provider).send(wire, url, provider, clocks)
            attempt.status = call.status
            self._note_arrival(clocks)
            await self._check_status(call, upstream, secret)
            if asked.stream:
                await self._stream(asked, upstream, call, attempt)
            else:
                await self._whole(asked, upstream, call)
        except RouterError as error:
            attempt.error = error.kind
            raise
        except (asyncio.CancelledError, CallerGone):
            attempt.error = "client_left"
            raise
        finally:
            attempt.ended = gateway.clock()
            self.record.upstream_seconds += attempt.ended - attempt.started
            if call is not None:
                await call.close()

    def _clocks(self, plan: Plan, provider: Provider) -> Clocks:
        times, own = plan.policy.timeouts, provider.timeouts
        return Clocks(
            connect=own.get("connect", times.connect),
            first_byte=own.get("first_byte", times.first_byte),
            idle=own.get("idle", times.idle),
            deadline=min(plan.ends, self.gateway.clock() + own.get("total", times.total)),
            alarm=self.alarm,
        )

    def _note_arrival(self, clocks: Clocks) -> None:
        self.watch.lap("first_byte")
        phases = self.record.phases
        if clocks.connected:
            phases["first_byte"] -= clocks.connected
            phases["connect"] = phases.get("connect", 0.0) + clocks.connected
        if clocks.resent:
            self.record.resent += 1

    async def _check_status(self, call: UpstreamCall, upstream: Dialect, secret: str | None) -> None:
        status = call.status
        if status == 200:
            return
        if status < 400:
            raise BadUpstreamBytes("the upstream answered with something that is no answer")
        if status > 599:
            raise BadUpstreamBytes("the upstream answered with an unknown status")
        body = await _bounded(call, ERROR_BODY)
        if secret:
            body = body.replace(secret.encode(), b"***")
        raise upstream.decode_error(WireResponse(status=status, headers=dict(call.headers), body=body))

    # ── encode ─────────────────────────────────────────────────────────────────────
    def _encoded(self, asked: Asked, upstream: Dialect, provider: Provider, model: str, plan: Plan) -> WireRequest:
        """The request in the target's dialect; its losses are those of this attempt alone."""
        losses: Losses = []
        traits = self.generation.traits.get(provider.name, PLAIN)
        if upstream is self.caller_dialect:
            wire = upstream.relay_request(asked, model, losses, traits)
        else:
            request = self._canonical(asked)
            if model != request.model:
                request = msgspec.structs.replace(request, model=model)
            wire = upstream.encode_request(request, losses, traits)
        self.losses = losses
        if losses:
            if self._request is not None:
                self.losses = in_callers_words(losses, self._request, self.caller_dialect.paths)
            if self._on_loss(self._route_on_loss, plan.policy) == "reject":
                fields = ", ".join(dict.fromkeys(loss.field for loss in self.losses))
                raise Untranslatable(f"the target cannot carry: {fields}", param=self.losses[0].field)
        return wire

    def _canonical(self, asked: Asked) -> ChatRequest:
        """The request, understood once however many targets are tried, with remembered signatures put back."""
        if self._request is None:
            request = self.caller_dialect.decode_request(asked)
            who = self.who.subject if self.who else ""
            self._request = self.gateway.seals.restore(who, request)
        return self._request

    def _addressed(
        self, wire: WireRequest, upstream: Dialect, provider: Provider, secret: str | None, asked: Asked
    ) -> WireRequest:
        """Headers: our own, what the caller may pass on, the row's, the credential. Nothing else goes out."""
        incoming = self.incoming.headers
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if asked.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "isthmus",
            "x-request-id": self.record.id,
        }
        passed = (*_PASSED, *upstream.passes) if upstream is self.caller_dialect else _PASSED
        for name in passed:
            value = incoming.get(name)
            if value is not None:
                headers[name] = value
        if provider.name == UNLISTED:
            headers["via"] = f"1.1 {self.gateway.instance}"
        headers.update(wire.headers)
        headers.update(provider.headers)
        wire.headers = headers
        return auth.sign(provider.auth, wire, secret) if secret is not None else wire

    # ── answers, whole ─────────────────────────────────────────────────────────────
    async def _count(self, asked: Asked) -> None:
        """No call: the target cannot be asked, so we count ourselves and say so."""
        count: TokenCount = estimate(self._canonical(asked))
        self.losses = [approximated("totalTokens", "counted by rule of thumb: the target cannot be asked")]
        answer = self.caller_dialect.encode_count(count)
        self.watch.lap("encode")
        await self._give(answer.status, answer.headers, answer.body)

    async def _whole(self, asked: Asked, upstream: Dialect, call: UpstreamCall) -> None:
        body = await call.read(self.generation.settings.limits.upstream_body)
        self.watch.lap("body")
        wire = WireResponse(status=call.status, headers=dict(call.headers), body=body)
        if upstream is self.caller_dialect:
            self.record.usage = upstream.relay_response(wire, asked)
            headers = {"content-type": "application/json"}
        else:
            wire = self._translated(asked, upstream.decode_response(wire))
            body, headers = wire.body, wire.headers
        self.watch.lap("answer")
        headers = {**headers, **_kept(call.headers)}
        await self._give(200, headers, body)

    def _translated(self, asked: Asked, response: ChatResponse) -> WireResponse:
        response = self._completed(response)
        self.record.usage = response.usage
        if self.who is not None:
            self.gateway.seals.keep_all(self.who.subject, response)
        return self.caller_dialect.encode_response(response, self._canonical(asked), self.losses)

    def _completed(self, response: ChatResponse) -> ChatResponse:
        """Id and time where the upstream gave none: every answer has them in some dialects."""
        if response.id is not None and response.created is not None:
            return response
        return msgspec.structs.replace(
            response,
            id=response.id or self.record.id,
            created=int(self.gateway.wall()) if response.created is None else response.created,
        )

    async def _give(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.record.status = status
        await self.door.whole(status, {**headers, **self._head()}, body)

    # ── answers, streamed ──────────────────────────────────────────────────────────
    async def _stream(self, asked: Asked, upstream: Dialect, call: UpstreamCall, attempt: AttemptRecord) -> None:
        """Holds everything back until the first meaningful event, then gives it out as it comes."""
        chunks = call.chunks()
        first = await opening(chunks)
        if is_whole_answer(call.headers, first):
            source: Source = await self._unfolded(asked, upstream, call, first, attempt)
            held, done = source.close(), True
        else:
            source = self._source(asked, upstream, attempt)
            held, done = await hold(source, first, chunks)
        self.watch.lap("first_chunk")
        await self._begin(source, call)
        try:
            await self.door.write(held)
            if not done:
                async for out in pump(source, chunks):
                    await self.door.write(out)
            self.record.stream_end = "done"
        except RouterError as error:
            attempt.error = error.kind
            self._note_error(error)
            self.record.stream_end = stream_end_of(error)
            await self.door.write(source.error(self._shown(error)))
        await self.door.end()

    def _source(self, asked: Asked, upstream: Dialect, attempt: AttemptRecord) -> Source:
        limit = self.generation.settings.limits.sse_event
        if upstream is self.caller_dialect:
            return Relayed(upstream.stream_relay(asked, limit=limit), self.record, attempt, self.gateway.clock)
        decoder = upstream.stream_decoder(limit=limit)
        return self._translating(decoder, asked, attempt)

    def _translating(self, decoder: StreamDecoder, asked: Asked, attempt: AttemptRecord) -> Translated:
        who = self.who.subject if self.who else ""
        return Translated(
            decoder,
            self.caller_dialect.stream_encoder(self._canonical(asked), self.losses),
            self.record,
            attempt,
            self.gateway.clock,
            watch=SealWatch(self.gateway.seals, who),
            id=self.record.id,
            created=int(self.gateway.wall()),
        )

    async def _unfolded(
        self, asked: Asked, upstream: Dialect, call: UpstreamCall, first: bytes, attempt: AttemptRecord
    ) -> Source:
        """A whole answer although a stream was asked for: given on as the stream that it would have been."""
        limit = self.generation.settings.limits.upstream_body
        body = first + await call.read(limit)
        response = upstream.decode_response(WireResponse(status=call.status, headers=dict(call.headers), body=body))
        return self._translating(Unfolding(response), asked, attempt)

    async def _begin(self, source: Source, call: UpstreamCall) -> None:
        self.record.status = 200
        headers = {
            "content-type": source.content_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **_kept(call.headers),
            **self._head(),
        }
        await self.door.begin(200, headers, self.alarm)

    # ── heads and errors ───────────────────────────────────────────────────────────
    def _head(self) -> dict[str, str]:
        """The headers that every answer of ours carries (contract: HTTP surface)."""
        record = self.record
        headers = {"server": "isthmus", "x-request-id": record.id}
        if record.route != "none":
            headers["x-isthmus-route"] = record.route
        if record.attempts or record.lane != "none":
            headers["x-isthmus-provider"] = record.provider
            headers["x-isthmus-model"] = _printable(record.upstream_model or "")
            headers["x-isthmus-attempts"] = str(len(record.attempts))
            headers["x-isthmus-lane"] = record.lane
        record.losses = self.losses
        if self.losses:
            headers["x-isthmus-loss"] = header(self.losses)
        if self.secret_path:
            headers.update(_SECRET_PATH_HEADERS)
        headers["server-timing"] = ", ".join(
            f"{name};dur={seconds * 1000:.2f}" for name, seconds in record.phases.items()
        )
        return headers

    def _note_error(self, error: RouterError) -> None:
        record = self.record
        record.error, record.code = error.kind, error.code
        record.reason = getattr(error, "reason", None)
        record.outcome = outcome_of(error)

    async def _refuse(self, error: RouterError) -> None:
        """The answer to a call that failed before any byte went out, in the caller's own dialect."""
        self._note_error(error)
        self.watch.lap("answer")
        answer = self._own_answer(error)
        if answer is None:
            answer = self.caller_dialect.encode_error(self._shown(error), stream=self.record.stream)
        self.record.status = answer.status
        headers = {**answer.headers, **self._head(), "x-isthmus-fault": error.fault}
        await self.door.whole(answer.status, headers, answer.body)

    def _shown(self, error: RouterError) -> RouterError:
        """What the caller may see: an upstream's own status when the key is the caller's own."""
        if self._has_own_key and isinstance(error, UpstreamError):
            return with_own_status(error)
        return error

    def _own_answer(self, error: RouterError) -> WireResponse | None:
        """The upstream's own error body, when the caller's key made the call and the caller can read it."""
        if not (self._has_own_key and isinstance(error, UpstreamError)):
            return None
        if error.dialect != self.caller_dialect.name:
            return None
        body = mask(error.raw.decode("utf-8", "replace"))
        try:
            if type(msgspec.json.decode(body)) is not dict:
                return None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        shown = self.caller_dialect.encode_error(with_own_status(error), stream=False)
        return WireResponse(status=error.upstream_status, headers=shown.headers, body=body.encode())


def outcome_of(error: RouterError) -> Outcome:
    """The one outcome that a failed exchange counts as."""
    if isinstance(error, Overloaded):
        return "shed"
    if isinstance(error, CallerError):
        return "rejected"
    if isinstance(error, UpstreamTimeout) or error.status == 504:
        return "timeout"
    return "upstream_error" if error.fault == "upstream" else "bug"


def stream_end_of(error: RouterError) -> StreamEnd:
    """How a stream that failed is counted."""
    if isinstance(error, UpstreamTimeout):
        return "idle"
    return "drain" if isinstance(error, Overloaded) else "upstream_error"


def with_own_status(error: UpstreamError) -> UpstreamError:
    """The error with the upstream's own status, for callers who brought their own key."""
    status = error.upstream_status
    own = UpstreamRejected(
        error.message,
        upstream_status=status,
        raw=error.raw,
        dialect=error.dialect,
        upstream_type=error.upstream_type,
        upstream_code=error.upstream_code,
        param=error.param,
        retry_after=error.retry_after,
        status=status,
    )
    own.category = _CATEGORIES.get(status, "upstream" if status >= 500 else "invalid_request")
    own.code = error.upstream_code or error.code
    return own


_CATEGORIES: dict[int, Category] = {
    401: "authentication",
    402: "permission",
    403: "permission",
    404: "not_found",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
}


def _for_key(error: RouterError, own_key: str | None) -> RouterError:
    """With the caller's own key, a refusal of that key is nobody else's: it is not tried elsewhere."""
    if own_key is not None and isinstance(error, UpstreamDenied):
        error.retry = "never"
    return error


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """What of an upstream's headers the caller gets: its rate limits. Everything else is between us and it."""
    return {name: value for name, value in headers.items() if name.startswith(_KEPT_ANSWER_HEADERS)}


def _printable(text: str) -> str:
    """A header value that cannot break the head: printable ASCII, of a bounded length."""
    if len(text) > 256:
        text = text[:256]
    return text if text.isascii() and text.isprintable() else quote(text)


async def _bounded(call: UpstreamCall, limit: int) -> bytes:
    """The body of an error, as much of it as is worth reading."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for data in call.chunks():
            pieces.append(data)
            size += len(data)
            if size >= limit:
                break
    except TransportError:
        pass  # the status has been said; the text is a courtesy
    return b"".join(pieces)[:limit]


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float | None:
    """Seconds of `250ms`, `20s`, `2m`, `1h`; None when it is not one."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", text.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None
