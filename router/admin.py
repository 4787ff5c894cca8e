"""The admin listener: is it alive, is it ready, what does it count.

    GET /healthz    200 while the process answers at all
    GET /readyz     200, or 503 while draining and before the first route table stands
    GET /metrics    Prometheus' text format
    GET /budgets    what keys may spend, and have spent
    POST /explain   what would become of a call: router/explain.py

It has its own port, on loopback by default; with `admin_token` set, everything but the first two asks for it.
Both of those are on the main listener, too (`health_response`, `ready_response`). No answer holds a
version, a path or a secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias
from uuid import uuid4

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from router.explain import Question
from router.metrics import CONTENT_TYPE, Gauged
from router.policy.breaker import State as Breaking

# No version, and nothing to guess one by.
SERVER = "isthmus"
# Asked by load balancers, which have no token.
OPEN = frozenset({"/healthz", "/readyz"})
_HEADERS = {"Server": SERVER, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

LONGEST_QUESTION = 4 << 20  # bytes of a question; a body of callers in it included

Page: TypeAlias = Callable[[], web.Response]
Scrape: TypeAlias = Callable[[], Awaitable[bytes]]
Spent: TypeAlias = Callable[[], Awaitable[list[dict[str, Any]]]]
Explain: TypeAlias = Callable[[Question], Awaitable[dict[str, Any]]]


class State(msgspec.Struct, kw_only=True):
    """What readiness tells. Whoever runs the process keeps it up to date. Times are RFC 3339."""

    generation: int = 0  # of the route table in use; 0: none yet
    reload_ok: bool = True  # whether the file as it was last read is what is in use
    reload_at: str | None = None  # when it was last read
    draining: bool = False
    degraded: set[str] = msgspec.field(default_factory=set)  # parts that do not work, while the rest does
    complete: bool = True  # of several processes: whether all have come up, once
    elsewhere: list[str] = []  # parts that do not work in others of them
    breakers: Callable[[], Iterable[tuple[str, str, Breaking]]] = tuple  # provider, model and state of each
    outliers: Callable[[], Iterable[tuple[str, str, Breaking]]] = tuple  # the same of targets that are passed over
    budgets: Callable[[], list[dict[str, Any]]] = list  # what keys may spend, and have spent
    gauges: Callable[[], Iterable[Gauged]] = tuple  # the same, as metrics show it

    def loaded(self, generation: int, at: str) -> None:
        """A table has come into use."""
        self.generation, self.reload_ok, self.reload_at = generation, True, at

    def refused(self, at: str) -> None:
        """The file was read and not taken."""
        self.reload_ok, self.reload_at = False, at

    @property
    def own_parts(self) -> list[str]:
        """What does not work in this process, upstreams that are left alone among it."""
        states = (*self.breakers(), *self.outliers())
        resting = (f"{provider}/{model}" for provider, model, state in states if state != "closed")
        return sorted({*self.degraded, *resting})

    @property
    def degraded_parts(self) -> list[str]:
        """What does not work, here or in another process."""
        return sorted({*self.own_parts, *self.elsewhere})

    @property
    def status(self) -> str:
        if self.draining:
            return "draining"
        return "ready" if self.generation and self.complete else "starting"


def health_response() -> web.Response:
    """`{"status":"ok"}`: the process is alive and its event loop turns."""
    return _json(200, {"status": "ok"})


def ready_response(state: State) -> web.Response:
    """Whether new calls should come here. 503 only while draining and before the first table stands."""
    parts = state.degraded_parts
    body = {
        "status": state.status,
        "config_generation": state.generation,
        "last_reload": {"ok": state.reload_ok, "at": state.reload_at},
        "draining": state.draining,
        "degraded": bool(parts),
        "degraded_parts": parts,
    }
    return _json(200 if state.status == "ready" else 503, body)


class Admin:
    """The handler of the admin listener, for `aiohttp.web.Server`.

    `scrape` gives the page of metrics, `budgets` what keys have spent, or they raise TimeoutError. `token` None: the
    listener answers everybody who reaches it.
    """

    def __init__(
        self, scrape: Scrape, budgets: Spent, state: State, explain: Explain, token: str | None = None
    ) -> None:
        self._scrape = scrape
        self._budgets = budgets
        self._state = state
        self._explain = explain
        self._token = _digest(token) if token else None
        self._pages: Mapping[str, Page] = {
            "/healthz": health_response,
            "/readyz": self._ready,
        }

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        if path not in OPEN and not self._allowed(request):
            return _refusal(401, "not_authenticated", "the admin token is asked for", {"WWW-Authenticate": "Bearer"})
        if path == "/explain":
            return await self._explained(request)
        page = self._pages.get(path)
        if page is None and path not in ("/metrics", "/budgets"):
            return _refusal(404, "not_found", "there is nothing here")
        if request.method not in ("GET", "HEAD"):
            return _refusal(405, "method_not_allowed", "GET or HEAD is asked for", {"Allow": "GET, HEAD"})
        if page is not None:
            return page()
        try:
            if path == "/budgets":
                return _json(200, {"budgets": await self._budgets()})
            return web.Response(body=await self._scrape(), headers={"Content-Type": CONTENT_TYPE, **_HEADERS})
        except TimeoutError:
            return _refusal(503, "gateway_overloaded", "not all processes have answered")

    def _allowed(self, request: web.BaseRequest) -> bool:
        if self._token is None:
            return True
        sent = request.headers.getall("Authorization", [])
        scheme, _, token = (sent[0] if len(sent) == 1 else "").partition(" ")
        # Digests have one length, so the comparison tells nothing about how near a guess was.
        return hmac.compare_digest(_digest(token.strip()), self._token) and scheme.lower() == "bearer"

    async def _explained(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            return _refusal(405, "method_not_allowed", "POST is asked for", {"Allow": "POST"})
        if (request.content_length or 0) > LONGEST_QUESTION:
            return _refusal(413, "payload_too_large", f"a question has at most {LONGEST_QUESTION} bytes")
        try:
            body = await request.content.read(LONGEST_QUESTION + 1)
            while not request.content.at_eof() and len(body) <= LONGEST_QUESTION:
                body += await request.content.read(LONGEST_QUESTION + 1 - len(body))
        except RequestPayloadError:
            return _refusal(400, "invalid_request", "the body cannot be read")
        if len(body) > LONGEST_QUESTION:
            return _refusal(413, "payload_too_large", f"a question has at most {LONGEST_QUESTION} bytes")
        try:
            question = msgspec.json.decode(body, type=Question)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _refusal(400, "invalid_request", f"a question has path, method, headers and body: {error}")
        return _json(200, await self._explain(question))

    def _ready(self) -> web.Response:
        return ready_response(self._state)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", **_HEADERS, **(headers or {})},
    )


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return _json(status, body, {"x-request-id": uuid4().hex, **(headers or {})})
