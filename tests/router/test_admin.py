"""Health, readiness and the metrics page, over HTTP as a probe and Prometheus see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession, web

from router.admin import Admin, State
from router.explain import Question
from router.metrics import CONTENT_TYPE, Metrics

Open: TypeAlias = Callable[..., Awaitable[str]]
AT = "2026-11-21T12:00:00Z"
TOKEN = "operators-own-token"


@pytest.fixture
def state() -> State:
    made = State()
    made.loaded(1, AT)
    return made


@pytest.fixture
async def listener(state: State) -> AsyncIterator[Open]:
    """Starts an admin listener; gives its address."""
    runners: list[web.ServerRunner] = []

    async def start(token: str | None = None) -> str:
        runner = web.ServerRunner(web.Server(Admin(page, spent(state), state, explained, token)), access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def page() -> bytes:
    return Metrics().render()


def spent(state: State) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
    async def all_of_them() -> list[dict[str, Any]]:
        return state.budgets()

    return all_of_them


async def test_metrics_of_which_not_all_have_come(state: State) -> None:
    """503, for a part of them would look like counters that went back."""

    async def late() -> Any:
        raise TimeoutError

    runner = web.ServerRunner(web.Server(Admin(late, late, state, explained)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    seen = [await ask(url + path) for path in ("/metrics", "/budgets")]
    await runner.cleanup()

    assert [(503, "gateway_overloaded")] * 2 == [(status, body["error"]["code"]) for status, body, _ in seen]


async def explained(question: Question) -> dict[str, Any]:
    return {"path": question.path}


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, dict[str, str]]:
    async with ClientSession() as session, session.request(method, url, headers=headers) as answer:
        body = await answer.read()
        parsed = await answer.json() if body and answer.content_type == "application/json" else body
        return answer.status, parsed, {name.lower(): value for name, value in answer.headers.items()}


async def test_health(listener: Open, state: State) -> None:
    """Alive is alive, ready or not."""
    state.draining = True
    status, body, _ = await ask(await listener() + "/healthz")

    assert (200, {"status": "ok"}) == (status, body)


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        (lambda state: None, 200, {}),
        (
            lambda state: state.loaded(2, "later"),
            200,
            {"config_generation": 2, "last_reload": {"ok": True, "at": "later"}},
        ),
        (lambda state: state.refused("later"), 200, {"last_reload": {"ok": False, "at": "later"}}),
        (lambda state: state.degraded.add("chats"), 200, {"degraded": True, "degraded_parts": ["chats"]}),
        (lambda state: setattr(state, "draining", True), 503, {"status": "draining", "draining": True}),
        (lambda state: setattr(state, "generation", 0), 503, {"status": "starting", "config_generation": 0}),
        (lambda state: setattr(state, "complete", False), 503, {"status": "starting"}),
        (lambda state: setattr(state, "elsewhere", ["a/m"]), 200, {"degraded": True, "degraded_parts": ["a/m"]}),
    ],
    ids=["ready", "reloaded", "refused", "degraded", "draining", "starting", "not-all-have-come-up", "elsewhere"],
)
async def test_readiness(
    listener: Open, state: State, change: Callable[[State], None], status: int, expected: dict[str, Any]
) -> None:
    """Not ready only while draining and before the first table; a refused file or a lost part only shows."""
    change(state)
    ready = {
        "status": "ready",
        "config_generation": 1,
        "last_reload": {"ok": True, "at": AT},
        "draining": False,
        "degraded": False,
        "degraded_parts": [],
    }
    answered, body, _ = await ask(await listener() + "/readyz")

    assert (status, ready | expected) == (answered, body)


async def test_metrics_page(listener: Open) -> None:
    """The page is Prometheus' text, with its content type."""
    status, body, headers = await ask(await listener() + "/metrics")

    assert (200, CONTENT_TYPE) == (status, headers["content-type"])
    assert b"# TYPE isthmus_requests_total counter" in body


@pytest.mark.parametrize(
    "path", ["/", "/debug", "/docs", "/env", "/config", "/.env", "/metrics/", "/explain2", "/console"]
)
async def test_nothing_else_is_there(listener: Open, path: str) -> None:
    """Whatever else is asked for is not found, in JSON, with an id to ask about it."""
    status, body, headers = await ask(await listener() + path)

    assert (404, "not_found") == (status, body["error"]["code"])
    assert headers["x-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_other_methods(listener: Open, path: str) -> None:
    """The pages are for reading; HEAD is answered without a body."""
    base = await listener()
    status, body, headers = await ask(base + path, "POST")
    head = await ask(base + path, "HEAD")

    assert (405, "method_not_allowed", "GET, HEAD") == (status, body["error"]["code"], headers["allow"])
    assert (200, b"") == head[:2]


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
async def test_token_guards(listener: Open, sent: str | None) -> None:
    """With admin_token set, metrics and unknown paths alike are for whoever has it."""
    base = await listener(TOKEN)
    headers = {} if sent is None else {"Authorization": sent}
    answers = [await ask(base + path, **headers) for path in ("/metrics", "/nothing")]

    assert [(401, "Bearer")] * 2 == [(status, headers["www-authenticate"]) for status, _, headers in answers]


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
async def test_token_opens(listener: Open, sent: str) -> None:
    """The scheme's case and spaces around the token do not matter."""
    status, _, _ = await ask(await listener(TOKEN) + "/metrics", Authorization=sent)

    assert 200 == status


async def test_probes_need_no_token(listener: Open) -> None:
    """Load balancers have no token."""
    base = await listener(TOKEN)

    assert [200, 200] == [(await ask(base + path))[0] for path in ("/healthz", "/readyz")]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_answers_tell_no_versions(listener: Open, path: str) -> None:
    """Neither header nor body says which Python, aiohttp or release this is, or holds the token."""
    _, body, headers = await ask(await listener(TOKEN) + path, Authorization=f"Bearer {TOKEN}")
    text = repr(body) + repr(headers)

    assert "isthmus" == headers["server"]
    assert not [word for word in ("aiohttp", "Python/", "python_info", TOKEN) if word in text]


async def test_a_question_that_cannot_be_unpacked(listener: Open) -> None:
    """A body that says it is packed and is not: the caller's fault, and no exception of ours."""
    url = await listener()
    headers = {"content-encoding": "gzip"}
    async with ClientSession() as session, session.post(url + "/explain", data=b"{}", headers=headers) as answer:
        body = await answer.json()

    assert (400, "the body cannot be read") == (answer.status, body["error"]["message"])


async def test_budgets_are_for_operators_alone(listener: Open, state: State) -> None:
    """As the state tells them; behind the token where there is one."""
    state.budgets = lambda: [{"key": "team-a"}]
    url = await listener(TOKEN) + "/budgets"
    refused = await ask(url)
    told = await ask(url, authorization=f"Bearer {TOKEN}")
    wrong = await ask(url, "POST", authorization=f"Bearer {TOKEN}")

    assert [401, 200, 405] == [status for status, _, _ in (refused, told, wrong)]
    assert {"budgets": [{"key": "team-a"}]} == told[1]
