"""One call of the chat service, from first byte to last.

What needs no model goes to `router.chats.managing`. A generation is an exchange as any other (targets, retries,
limits, metrics, log, what rows and policies do to answers): its caller's side is this API, its request is made of a
persona and the caller's history. What is said is stored in one transaction when all of it is there, and only then told
to be complete.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from http import HTTPStatus
from typing import Any, Self, TypeAlias, cast
from urllib.parse import parse_qsl, quote

import msgspec
from multidict import CIMultiDict

from providers.canonical.errors import BudgetSpent, Bug, Detail, MalformedRequest, Overloaded, RouterError
from providers.dialect import PLAIN, Asked, Dialect, WireRequest, WireResponse
from providers.provider import Provider
from providers.searching import web_search
from providers.wire.json import has_duplicates, read_object
from router import validating
from router.access import Caller
from router.admission import Admission, Incoming, Plan
from router.alarm import waiting
from router.chats.asking import Ask, ask, made_title, refuse
from router.chats.managing import CALLS, Desk, once
from router.chats.personas import ChatSettings
from router.chats.prompting import NAME, Prompt, not_available, prompt
from router.chats.speaking import CallersSide, Speech, last_words, replayed, usage_of, words_of
from router.chats.store import Draft, NewChat, Once, Saved, Store, StoreUnavailable
from router.gateway import Gateway
from router.mended import MendedExchange
from router.outgoing import check_type
from router.racing import Race
from router.record import Record
from router.relay import Door
from router.table import Match, Route, Table, plain_path

Json: TypeAlias = Any

DIRECT = "/api/v1/chat"
GENERATE = "/api/v1/chat/generate"
STREAM = "/api/v1/chat/generate/stream"
PERSONAS = "/api/v1/personas"
_HEADERS = {"content-type": "application/json", "cache-control": "no-store"}
_BODILESS = ("GET", "DELETE")
MOST_WAITING = 4  # for the first of one idempotency key: one caller must not fill the gateway


def _table() -> Table:
    """The paths of the service as rows of a route table, so that they are read as all others are."""
    methods: dict[str, list[str]] = {DIRECT: ["POST"], GENERATE: ["POST"], STREAM: ["POST"], PERSONAS: ["GET"]}
    for method, path in CALLS:
        methods.setdefault(path, []).append(method)
    return Table(tuple(Route(path=path, speaks=NAME, to="models", methods=tuple(m)) for path, m in methods.items()))


TABLE = _table()
#: As labels know them.
PATHS = tuple(route.path for route in TABLE.routes)


def is_ours(target: str) -> bool:
    """Is a raw request target one of the chat service's?"""
    path = plain_path(target)
    return path.startswith("/api/v1/chat/") or path in (DIRECT, PERSONAS)


def owner_of(caller: Caller) -> str:
    """Whose chats: `local`, `key:NAME`, `jwt:SUBJECT` or `jwt:SUBJECT@ISSUER`. No two callers share one."""
    if caller.key is not None or caller.name == "local":
        return caller.subject
    issuer = f"@{quote(caller.issuer, safe=':/')}" if caller.issuer is not None else ""
    return f"jwt:{quote(caller.subject, safe='')}{issuer}"


class _Admission(Admission):
    """The way in, by the table of the service."""

    def find_route(self) -> None:
        try:
            self.match = TABLE.match(self.incoming.method, self.incoming.target)
        except RouterError as error:
            self._problem = error


class _Generation(msgspec.Struct, kw_only=True):
    """What is asked for, and what has come of it so far."""

    ask: Ask
    prompt: Prompt
    once: Once | None
    is_kept: bool
    text: str = ""
    finish: str = "stop"
    searched: bool = False  # by the attempt under way


class ChatExchange(MendedExchange):
    """One call of the chat service."""

    def __init__(self, gateway: Gateway, incoming: Incoming, door: Door, record: Record) -> None:
        super().__init__(gateway, incoming, door, record)
        self._keys: tuple[str, ...] = tuple(incoming.headers.getall("idempotency-key", ()))
        if self._keys:
            # Ours: upstreams know one account for all owners, and must not take two owners' calls for one.
            headers = CIMultiDict(incoming.headers)
            headers.popall("idempotency-key")
            self.incoming = msgspec.structs.replace(incoming, headers=headers)
        self.side = CallersSide(record.id, gateway.clock)
        self.admission = _Admission(gateway, self.incoming)
        # The half of a dialect that an exchange uses for its caller: no target ever speaks it.
        self.dialect = self.admission.dialect = cast(Dialect, self.side)
        self._generation: _Generation | None = None

    # ── in ─────────────────────────────────────────────────────────────────────────
    async def _live(self, busy: RouterError | None) -> None:
        match = self._admit()
        self.record.operation = NAME
        if busy is not None:
            raise busy
        with self.gateway.metrics.inflight(match.route.path):
            body = await self._object() if self.incoming.method not in _BODILESS else {}
            self._check_query()
            path = match.route.path
            if path == PERSONAS:
                await self._answer_json(200, self._personas())
            elif (call := CALLS.get((self.incoming.method, path))) is not None:
                reply = await call(self._desk(match, body))
                self.watch.lap("queue")
                await self._answer_json(*reply)
            else:
                await self._generate(path, body)

    async def _object(self) -> dict[str, Json]:
        """The body, whole and checked."""
        limits = self.generation.settings.limits
        check_type(self.incoming.headers)
        data = await self.door.body(limits, self.alarm)
        self.record.bytes_in = len(data)
        self.watch.lap("read")
        body, top, least, _ = read_object(data, depth=limits.json_depth, values=limits.json_values)
        if has_duplicates(data, top, least):
            raise MalformedRequest(
                "a top-level field is there twice", details=(Detail("body", "a field is there twice"),)
            )
        self.watch.lap("decode")
        return body

    def _check_query(self) -> None:
        """As in a body, a field that is there twice says two things."""
        pairs = parse_qsl(self.incoming.target.partition("?")[2], keep_blank_values=True)
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                refuse(name[:64], f"{name[:64]} is there twice in the query")

    def _settings(self) -> ChatSettings:
        settings = self.generation.settings.chats
        if settings is None:
            raise Bug
        return settings

    def _store(self) -> Store:
        service = self.gateway.chats
        if service is None:
            raise StoreUnavailable
        return service.store

    def _desk(self, match: Match, body: dict[str, Json]) -> Desk:
        who = self.admission.who
        return Desk(
            store=self._store(),
            owner=owner_of(who),
            subject=who.subject,
            path=match.route.path,
            params=match.params,
            query=self.incoming.query,
            body=body,
            keys=self._keys,
        )

    def _personas(self) -> Json:
        settings = self._settings()
        rows = [{"name": row.name, "description": row.description} for row in settings.personas.values()]
        return {"personas": rows, "default": settings.default}

    async def _refuse(self, error: RouterError) -> None:
        """This API has a status of its own for what has been spent."""
        if isinstance(error, BudgetSpent):
            error.status = HTTPStatus.PAYMENT_REQUIRED
        await super()._refuse(error)

    async def _answer_json(self, status: int, value: Json) -> None:
        self.watch.lap("answer")
        await self._give(status, _HEADERS, msgspec.json.encode(value))

    # ── a generation ───────────────────────────────────────────────────────────────
    async def _generate(self, path: str, body: dict[str, Json]) -> None:
        """Checks everything, asks the store whether there is room, calls a model, stores and answers."""
        asked = ask(body, self.incoming.query)
        if path == DIRECT and asked.stream:
            message = "this path does not stream: /api/v1/chat/generate/stream does"
            raise MalformedRequest(message, param="stream", details=(Detail("stream", message),))
        streams = path == STREAM or asked.stream
        self.record.operation = "chat"
        query = (asked.chat_id, asked.title, asked.source, asked.username)
        work = self._generation = _Generation(
            ask=asked,
            prompt=prompt(self._settings(), asked, stream=streams),
            once=once(self._keys, GENERATE, [body, *query]) if path != DIRECT else None,
            is_kept=path != DIRECT,
        )
        self.record.stream = streams
        persona = work.prompt.persona
        self.side.planning = persona.planning_text
        self.side.deltas = persona.stream_deltas if asked.deltas is None else asked.deltas
        self._request = work.prompt.request
        wanted = self._wanted(work.prompt.request.model, streams)
        plan = self._planned(wanted)
        self._set_aside(wanted, plan)
        async with self._turn(work, plan):
            if work.is_kept and await self._was_given(work):
                return
            await self._attempts(wanted, plan)
            if not streams:
                await self._conclude(work)

    async def _was_given(self, work: _Generation) -> bool:
        """Is there room for an answer? Gives the one that the same request was given before, if there is one."""
        store, owner = self._store(), owner_of(self.admission.who)
        if work.once is not None and (saved := await store.recall(owner, work.once)) is not None:
            await self._give_again(work, saved)
            return True
        await store.admit(owner, work.ask.chat_id, work.ask.drafts)
        self.watch.lap("queue")
        return False

    def _wanted(self, model: str, streams: bool) -> Asked:
        """The request as an exchange reads one: there are no bytes of it."""
        wire = WireRequest(path=self.record.route)
        return Asked(wire=wire, params={}, fields={}, top={}, model=model, task="chat", stream=streams)

    def _planned(self, wanted: Asked) -> Plan:
        route = Route(path=self.record.route, speaks=NAME, to="models")
        plan = self.admission.plan(route, wanted, self.record.started)
        self._names_losses = plan.on_loss != "allow"
        return plan

    @asynccontextmanager
    async def _turn(self, work: _Generation, plan: Plan) -> AsyncIterator[None]:
        """One call of a model at a time for one idempotency key: who comes second waits, and finds the answer stored.

        When the first fails, or leaves, the next is the first.
        """
        service = self.gateway.chats
        if work.once is None or service is None:
            yield
            return
        name = (owner_of(self.admission.who), work.once.key)
        if service.turns.wanted(name) > MOST_WAITING:
            raise Overloaded("too many calls with this idempotency-key at once", retry_after=1.0)
        with waiting(self.alarm, plan.ends, "total"):
            await service.turns.take(name)
        self.watch.lap("queue")
        try:
            yield
        finally:
            service.turns.give_back(name)

    def _apart(self) -> Self:
        """What is said to the caller, and what has come of it, are the attempt's own."""
        other = super()._apart()
        other.side = copy(self.side)
        other.dialect = cast(Dialect, other.side)
        other._generation = copy(self._generation)
        return other

    def adopt(self, other: Any, race: Race) -> None:
        work = self._generation
        super().adopt(other, race)
        if work is not None and other._generation is not None:
            work.text, work.finish = other._generation.text, other._generation.finish
            work.searched = other._generation.searched
        self._generation = work

    def _encoded(self, asked: Asked, upstream: Dialect, provider: Provider, model: str, plan: Plan) -> WireRequest:
        """With the target's own search, where it was asked for and the target has one."""
        work = self._generation
        if work is None:
            raise Bug
        request = self._request = work.prompt.request
        traits = self.generation.traits.get(provider.name, PLAIN)
        search = web_search(upstream.name) if work.prompt.search else None
        work.searched = search is not None and "tools" not in traits.rejects | traits.ignores
        if search is not None and work.searched:
            # The tool is a word of the target's dialect, so the request is one of that dialect's.
            request = msgspec.structs.replace(request, dialect=upstream.name, tools=(search,))
            self._request = request
        return super()._encoded(asked, upstream, provider, model, plan)

    async def _answer(self, asked: Asked, upstream: Dialect, wire: WireResponse) -> None:
        """A whole answer, changed and looked at as the row and the policy want: kept here until the attempt is over."""
        work = self._generation
        if work is None:
            raise Bug
        if self._caught is not None:
            return await super()._answer(asked, upstream, wire)
        response = self._understood(asked, upstream.decode_response(self._taken(wire)))
        if self._is_checked(asked):
            response = await self._best(asked, upstream, response)
        response = self._completed(response)
        self.record.usage = response.usage
        work.text, work.finish = words_of(response)
        self.watch.lap("answer")

    async def _told(self) -> None:
        """The end of a stream: stored, then said to be complete."""
        work, speech = self._generation, self.side.spoken
        if work is None or speech is None:
            raise Bug
        work.text, work.finish = speech.text, speech.finish
        await self._conclude(work)

    async def _begin(self, source: Any, call: Any) -> None:
        self.record.status = 200
        await self._begin_stream(source.content_type)

    async def _begin_stream(self, content_type: str) -> None:
        headers = {
            "content-type": content_type,
            "cache-control": "no-cache, no-transform",
            "x-accel-buffering": "no",
            **self._head(),
        }
        await self.door.begin(200, headers, self.alarm)

    # ── out ────────────────────────────────────────────────────────────────────────
    async def _conclude(self, work: _Generation) -> None:
        """Stores what was said, and says so."""
        json, warnings = self._parsed(work)
        metadata = self._metadata(work, warnings)
        if not work.is_kept:
            result = {"message": work.text, "persona": work.prompt.persona.name}
            return await self._answer_json(201, {"result": result, "metadata": metadata})
        saved = await self._save(work, json)
        if saved.again:
            return await self._give_again(work, saved)
        if self.record.stream:
            await self.door.write(last_words(work.text, json, self._end_of_stream(work, saved, metadata)))
        else:
            await self._answer_json(201, self._generated(work, saved, json, metadata))

    def _parsed(self, work: _Generation) -> tuple[Json, list[dict[str, Json]]]:
        """The object that a persona with a schema says, and what is wrong with it."""
        schema = work.prompt.persona.response_schema
        if schema is None:
            return {}, []
        try:
            value = msgspec.json.decode(work.text)
        except (msgspec.MsgspecError, RecursionError):
            return {}, [{"code": "invalid_json"}]
        wrong = validating.check(schema, value) if validating.AVAILABLE else ()
        return value, [{"code": "schema_mismatch", "message": text} for text in wrong]

    def _metadata(self, work: _Generation, more: list[dict[str, Json]]) -> dict[str, Json]:
        """How it went. Losses of the translation are warnings, too, unless the call wants none."""
        searches = () if work.searched else work.prompt.search
        losses = [
            {"code": "loss", "field": loss.field, "kind": loss.kind, "reason": loss.reason}
            for loss in (self.losses if self._names_losses else ())
        ]
        return {
            "timeTaken": int((self.gateway.clock() - self.record.started) * 1000),
            "model": self.record.upstream_model,
            "usage": usage_of(self.record.usage),
            "warnings": [*work.prompt.warnings, *map(not_available, searches), *more, *losses],
        }

    async def _save(self, work: _Generation, json: Json) -> Saved:
        """In one transaction, which does not end half-way when the caller leaves."""
        asked, owner, store = work.ask, owner_of(self.admission.who), self._store()
        text = msgspec.json.encode(json).decode() if work.prompt.persona.response_schema is not None and json else None
        more = {"json": text} if text is not None else {}
        if work.finish != "stop":
            more["finishReason"] = work.finish
        answer = Draft(role="assistant", text=work.text, more=more)
        if asked.chat_id is not None:
            saved = await store.append(owner, asked.chat_id, asked.drafts, answer, work.once)
        else:
            title = asked.title or made_title(asked.history)
            chat = NewChat(title=title, source=asked.source, username=asked.username, scope=asked.scope)
            saved = await store.create(owner, chat, [*asked.drafts, answer], work.once)
        self.watch.lap("queue")
        return saved

    async def _give_again(self, work: _Generation, saved: Saved) -> None:
        """The answer that this request was given before, as it is stored."""
        chat = await self._store().chat(owner_of(self.admission.who), saved.chat_id)
        message = next((message for message in chat.messages if message.id == saved.message_id), None)
        if message is None:
            raise Bug
        work.text, work.finish = message.text, message.more.get("finishReason", "stop")
        json, _ = self._parsed(work)
        metadata = self._metadata(work, []) | {"warnings": [*work.prompt.warnings, {"code": "given_before"}]}
        if not self.record.stream:
            return await self._answer_json(201, self._generated(work, saved, json, metadata))
        end = self._end_of_stream(work, saved, metadata)
        if self.door.began:
            return await self.door.write(last_words(work.text, json, end))
        self.record.status = 200
        await self._begin_stream(Speech.content_type)
        await self.door.write(replayed(self.side.planning, work.text, json, end, deltas=self.side.deltas))
        self.record.stream_end = "done"
        await self.door.end()

    def _generated(self, work: _Generation, saved: Saved, json: Json, metadata: Mapping[str, Json]) -> Json:
        result: dict[str, Json] = {
            "message": work.text,
            "persona": work.prompt.persona.name,
            "response": {"role": "assistant", "content": work.text},
            "messageId": saved.message_id,
            "finishReason": work.finish,
        }
        if work.prompt.persona.response_schema is not None:
            result["json"] = json
        return {
            "result": result,
            "chatId": saved.chat_id,
            "title": saved.title,
            "researchMode": work.prompt.research,
            "stream": False,
            "metadata": metadata,
        }

    def _end_of_stream(self, work: _Generation, saved: Saved, metadata: Mapping[str, Json]) -> Json:
        return {
            "chatId": saved.chat_id,
            "title": saved.title,
            "persona": work.prompt.persona.name,
            "messageId": saved.message_id,
            "researchMode": work.prompt.research,
            "finishReason": work.finish,
            **metadata,
        }
