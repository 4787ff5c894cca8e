"""The opaque lane: any method and path below a prefix, passed on to the provider that the route names.

For what has no other side to be translated to: audio, images, files, batches. Nothing is read of either body, both
are streamed, multipart and binary alike; the way in, credentials, limits, retries, metrics and log are those of every
other exchange, and answers of our own are in OpenAI's envelope.

A body that is small and says so is held, so that it can be sent again as usual; so is one that a target signs. Any
other is read while it is sent, once: an attempt that has begun to read it is the last one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote_plus

from providers import auth
from providers.canonical.errors import MalformedRequest, RouterError
from providers.dialect import Asked, Dialect, WireRequest
from providers.provider import Provider
from router.admission import Plan
from router.answers import stream_end_of
from router.exchange import Exchange, Ready
from router.gateway import OTHER
from router.outgoing import said
from router.record import AttemptRecord
from router.relay import Passing
from router.secrets import scrubbed
from router.table import OPAQUE, Match, Target, compile_pattern, plain_path
from router.transport import Clocks, Upload, UpstreamCall

HELD = 64 << 10  # bytes: the largest body that is held

#: What of a caller's headers goes on: how the body is to be read, and what is wanted of the answer.
_PASSED = ("accept", "content-type", "range", "if-range", "idempotency-key", "traceparent", "tracestate", "openai-beta")
#: What of the answer's headers does, besides rate limits: how its body is to be read.
_KEPT = (
    *("content-type", "content-length", "content-disposition", "content-range", "content-language"),
    *("accept-ranges", "etag", "last-modified"),
)
#: What the client unpacks on its way. A body in any other coding comes as it is, and so must be told.
_UNPACKED = frozenset({"gzip", "deflate", "br", "zstd"})


class OpaqueExchange(Exchange):
    """One call whose content is nobody's business."""

    can_hedge = False  # what it does is nobody's business, and may be done only once
    _passing: Passing | None = None  # a body that is not held

    # ── in ─────────────────────────────────────────────────────────────────────────
    async def _read(self, match: Match) -> Asked:
        """The head of the request, and its body where that is small."""
        limits, target = self.generation.settings.limits, self.incoming.target
        self.record.operation = OPAQUE
        body = b""
        if "#" in target:
            raise MalformedRequest("the path holds characters that belong percent-encoded")
        passing = await self.door.passing(limits)
        if (passing.length is not None and passing.length <= HELD) or self._is_signed(match):
            body = await self.door.body(limits, self.alarm)
            self.record.bytes_in = len(body)
        else:
            self._passing = passing
        self.watch.lap("read")
        path = plain_path(target) + _query(target)
        wire = WireRequest(method=self.incoming.method, path=path, headers=self._said(), body=body)
        return Asked(wire=wire, params={}, fields={}, top={}, model="", task=OPAQUE, stream=True)

    def _is_signed(self, match: Match) -> bool:
        """Does the credential of a target depend on the body?"""
        rows = self.generation.providers
        targets = self.generation.table.targets(match.route, "").targets
        return any(rows[target.provider].auth.startswith("aws_sigv4") for target in targets)

    def _said(self) -> dict[str, str]:
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": "isthmus",
            "x-request-id": self.record.id,
        }
        for name in _PASSED:
            if (value := said(self.incoming.headers, name)) is not None:
                headers[name] = value
        return headers

    def foreseen(self, asked: Asked) -> dict[str, int]:
        """Nothing: what is not read has no tokens."""
        return {}

    # ── one attempt ────────────────────────────────────────────────────────────────
    async def _attempt(self, asked: Asked, plan: Plan, target: Target) -> None:
        passing = self._passing
        try:
            await super()._attempt(asked, plan, target)
        except RouterError as error:
            if passing is None or not passing.begun:
                raise
            if passing.fault is not None:
                self.record.attempts[-1].error = passing.fault.kind
                raise passing.fault from None
            error.retry = "never"
            raise
        finally:
            if passing is not None:
                self.record.bytes_in = passing.taken

    def _prepare(self, asked: Asked, plan: Plan, target: Target) -> Ready:
        record, provider = self.record, plan.providers[target.provider]
        record.provider, record.model, record.lane = provider.name, OTHER, "relay"
        secret = self._secret = self.generation.secret(provider, target.secret)
        wire = self._outgoing(asked.wire, provider, secret)
        self.watch.lap("encode")
        return Ready(provider, self.dialect, wire)

    def _outgoing(self, asked: WireRequest, provider: Provider, secret: str | None) -> WireRequest:
        match, passing = self.admission.match, self._passing
        route = match.route.path if match is not None else ""
        wire = WireRequest(
            method=asked.method,
            path=_without(below(provider.base_url, route, asked.path), _ours(provider)),
            query=dict(provider.query),
            headers={**asked.headers, **provider.headers},
            body=asked.body,
        )
        if secret is not None:
            wire = auth.sign(provider.auth, wire, secret, base_url=provider.base_url, now=self.gateway.wall())
        if passing is None:
            return wire
        if passing.length is not None:
            wire.headers["content-length"] = str(passing.length)
        return Upload(method=wire.method, path=wire.path, query=wire.query, headers=wire.headers, chunks=passing)

    def _clocks(self, plan: Plan, provider: Provider) -> Clocks:
        """An upstream begins to answer when it has the body: the caller may take its time for that, too."""
        clocks = super()._clocks(plan, provider)
        if self._passing is not None:
            clocks.first_byte += self.generation.settings.limits.body
        return clocks

    async def _check_status(self, call: UpstreamCall, upstream: Dialect, secret: str | None) -> None:
        if not 200 <= call.status <= 299:
            await super()._check_status(call, upstream, secret)

    # ── out ────────────────────────────────────────────────────────────────────────
    async def _stream(
        self, asked: Asked, upstream: Dialect, call: UpstreamCall, attempt: AttemptRecord, commit: Callable[[], None]
    ) -> None:
        """The answer as it comes. Its head waits for the first piece, so that what fails before may be tried again."""
        chunks = call.chunks()
        piece = await anext(chunks, b"")
        self.watch.lap("first_chunk")
        commit()
        headers = self._answered(call)
        self.record.status = call.status
        self.record.stream = headers.get("content-type", "").startswith("text/event-stream")
        await self.door.begin(call.status, headers, self.alarm)
        self.door.quiet()  # a comment of ours might stand inside an event
        try:
            await self._pour(piece, chunks)
        except RouterError as error:
            attempt.error = error.kind
            self._note_error(error)
            if self.record.stream:
                self.record.stream_end = stream_end_of(error)
            return self.door.cut()  # there is no way to say it, and a clean end would be taken for a whole answer
        if self.record.stream:
            self.record.stream_end = "done"
        await self.door.end()

    async def _pour(self, piece: bytes, chunks: AsyncIterator[bytes]) -> None:
        while piece:
            await self.door.write(piece)
            piece = await anext(chunks, b"")

    def _answered(self, call: UpstreamCall) -> dict[str, str]:
        """The answer's head: what tells how to read the body, without anything that an upstream says to us alone."""
        found = {name: call.headers[name] for name in _KEPT if name in call.headers}
        coding = call.headers.get("content-encoding", "").strip().lower()
        if coding in _UNPACKED:
            found.pop("content-length", None)
        elif coding:
            found["content-encoding"] = coding
        secret = self._secret
        if secret is not None:
            found = {name: scrubbed(value, secret) for name, value in found.items()}
        return {**found, **self._kept(call.headers, secret), **self._head()}


def below(base_url: str, pattern: str, path: str) -> str:
    """The caller's path as it continues `base_url`: what both have in common is said once.

    That is what the pattern holds up to the last segment of the base URL's own path: `/v1/audio/speech` behind
    `https://api.example/v1` is `/audio/speech`, and so is `/mine/v1/audio/speech`. Where the pattern has no such
    segment, all of the path follows.
    """
    last = base_url.rstrip("/").partition("://")[2].partition("/")[2].rpartition("/")[2]
    steps = [segment.text for segment in compile_pattern(pattern).segments if segment.kind == "literal"]
    if not last or last not in steps:
        return path
    return "/" + path.split("/", len(steps) - steps[::-1].index(last) + 1)[-1]


def _query(target: str) -> str:
    """The query as it came, without the credential that it may hold for us."""
    query = target.partition("?")[2]
    return _without(f"?{query}", frozenset({"key"})) if query else ""


def _ours(provider: Provider) -> frozenset[str]:
    """Parameters of the URL that are the row's to say: a caller's of the same name must not come before them."""
    kind, _, name = provider.auth.partition(":")
    return frozenset(provider.query) | ({name} if kind == "query" else set())


def _without(path: str, names: frozenset[str]) -> str:
    """A path and query without the parameters of these names."""
    path, _, query = path.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in names]
    return f"{path}?{'&'.join(kept)}" if kept else path
