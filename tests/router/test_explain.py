"""router/explain.py: what would become of a call, told by the code that a real call runs through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from router.__main__ import main
from router.explain import Question, explain
from tests.answers import gemini_answer
from tests.fakes import FakeUpstream, json_answer
from tests.running import running

KEY = "canary-canary-canary-upstream"
TABLE = """
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
providers:
  up: {base_url: "$up", speaks: [gemini], auth: google_key, secret: env:UP_KEY}
  other: {base_url: "$up/v1", speaks: [openai.chat], secret: env:UP_KEY, headers: {x-tenant: canary-of-the-row}}
  poor: {base_url: "$up/v1", speaks: [openai.chat], secret: env:NOT_SET}
models:
  both: [{provider: poor, model: none}, {provider: up, model: gemini-2.5-flash}, {provider: other, model: gpt-4.1}]
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: "/v1/files*", speaks: opaque, to: [{provider: poor}, {provider: other}]}
  - {path: "/p/{up:url}/{key:secret}/chat/completions", speaks: openai.chat, to: named, egress: {listed: [other]}}
"""
ENVIRON = {"UP_KEY": KEY}
BODY = {"model": "both", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"50256": -100}}
CHAT = "/v1/chat/completions"


async def told(question: Question, **more: str) -> dict[str, Any]:
    """The answer to a question, with nobody called meanwhile."""
    async with FakeUpstream() as upstream, running(TABLE, ENVIRON, up=upstream.url, **more) as gateway:
        answer = await explain(gateway.life.gateway, question)

        assert [] == upstream.requests
        return answer


async def test_it_is_what_a_real_call_does() -> None:
    """Target, lane, losses, and the upstream's request to the letter; only secrets are not told."""
    async with FakeUpstream() as upstream, running(TABLE, ENVIRON, up=upstream.url) as gateway:
        explained = await explain(gateway.life.gateway, Question(path=CHAT, body=BODY))
        upstream.script(json_answer(gemini_answer()))
        answer = await gateway.post(CHAT, BODY)
        sent = upstream.requests[0]
        shown = explained["upstream_request"]

        assert (sent.method, upstream.url + sent.target, sent.json()) == (shown["method"], shown["url"], shown["body"])
        assert answer.headers["x-isthmus-lane"] == explained["lane"]
        assert ["logit_bias=dropped"] == [f"{loss['field']}={loss['kind']}" for loss in explained["losses"]]
        assert "logit_bias=dropped" == answer.headers["x-isthmus-loss"]
        ours = {name: value for name, value in shown["headers"].items() if name != "x-request-id"}
        theirs = {name.lower(): value for name, value in sent.headers}
        assert {**ours, "x-goog-api-key": KEY} == {name: theirs[name] for name in ours}


async def test_each_target_says_why_it_would_not_be_the_first() -> None:
    """One without its key, the one that is taken, and one that waits for its failure."""
    answer = await told(Question(path=CHAT, body=BODY))
    first, second, third = answer["candidates"]

    assert (False, "upstream_denied") == (first["chosen"], first["why_not"]["code"])
    assert (True, "up", "gemini", "translate") == tuple(second[k] for k in ("chosen", "provider", "speaks", "lane"))
    assert (False, "in_order", "relay") == (third["chosen"], third["why_not"]["code"], third["lane"])


async def test_the_plan_says_how_hard_it_would_be_tried() -> None:
    """Attempts, the longest waits before each further one, and clocks, in seconds; what the caller asks for counts."""
    answer = await told(Question(path=CHAT, body=BODY, headers={"x-isthmus-timeout": "20s"}))

    assert (3, [0.25, 0.5], 20.0) == tuple(answer["plan"][key] for key in ("attempts", "waits", "total"))
    assert {"connect": 5.0, "first_byte": 60.0, "idle": 60.0, "total": 600.0} == answer["plan"]["timeouts"]
    assert (None, ["context_too_long"]) == (answer["plan"]["hedge"], answer["plan"]["fallback_on"])


@pytest.mark.parametrize(("after", "told_after"), [("800ms", 0.8), ("p95", "p95")])
async def test_the_plan_tells_what_else_a_policy_has(after: str, told_after: Any) -> None:
    """When a second attempt begins, which refusals are taken elsewhere, and how fast a stream must be."""
    policy = f"policies: {{default: {{hedge: {{after: {after}}}, fallback_on: [], timeouts: {{min_rate: 100}}}}}}\n"
    async with running(TABLE + policy, ENVIRON, up="http://127.0.0.1:9") as gateway:
        answer = await explain(gateway.life.gateway, Question(path=CHAT, body=BODY))
    plan = answer["plan"]

    assert ({"after": told_after}, []) == (plan["hedge"], plan["fallback_on"])
    assert (100, 10.0) == (plan["timeouts"]["min_rate"], plan["timeouts"]["rate_over"])


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        (Question(path="/nowhere", body=BODY), 404, "not_found"),
        (Question(path=CHAT, method="GET"), 405, "method_not_allowed"),
        (Question(path=CHAT, body={**BODY, "model": "unknown"}), 404, "model_not_found"),
        (Question(path=CHAT, body="{"), 400, "invalid_request"),
        (Question(path=CHAT, body={**BODY, "model": "poor/x"}), 502, "upstream_denied"),
        (
            Question(path=CHAT, body={**BODY, "model": "up/x"}, headers={"x-isthmus-on-loss": "reject"}),
            422,
            "untranslatable",
        ),
    ],
    ids=["path", "method", "model", "json", "no-secret", "on-loss"],
)
async def test_a_refusal_is_told_as_its_caller_would_read_it(question: Question, status: int, code: str) -> None:
    """Status, code and body; what was known until then stands beside it."""
    answer = await told(question)

    assert (status, code, code) == (
        answer["refused"]["status"],
        answer["refused"]["code"],
        answer["refused"]["body"]["error"]["code"],
    )
    assert answer["upstream_request"] is None


async def test_no_secret_is_told() -> None:
    """Neither a configured key, nor a caller's own in the path, nor what a row adds to its calls."""
    own = "sk-canary-canary-of-the-caller"
    configured = await told(Question(path=CHAT, body={**BODY, "model": "other/gpt-4.1"}))
    named = await told(Question(path=f"/p/other/{own}/chat/completions", body=BODY))

    for answer in (configured, named):
        assert "***" in json.dumps(answer["upstream_request"]["headers"])
        assert not any(secret in json.dumps(answer) for secret in (KEY, own, "canary-of-the-row"))
    assert "the caller's own" == named["plan"]["key"]


async def test_an_operator_without_a_credential_is_asked_for_none() -> None:
    """A credential that is shown is verified, as in a real call."""
    access = TABLE + 'access: {keys: [{name: a, hash: "sha256:' + "0" * 64 + '"}]}\n'
    async with FakeUpstream() as upstream, running(access, ENVIRON, up=upstream.url) as gateway:
        life = gateway.life.gateway
        none = await explain(life, Question(path=CHAT, body=BODY))
        wrong = await explain(life, Question(path=CHAT, body=BODY, headers={"authorization": "Bearer wrong"}))

        assert "not checked: no credential was shown" == none["caller"]
        assert none["upstream_request"] is not None
        assert (401, None) == (wrong["refused"]["status"], wrong["upstream_request"])


async def test_nothing_is_counted() -> None:
    """What is explained moves no metric and writes no line."""
    async with FakeUpstream() as upstream, running(TABLE, ENVIRON, up=upstream.url) as gateway:
        await explain(gateway.life.gateway, Question(path=CHAT, body=BODY))

        assert 0.0 == gateway.metric("isthmus_requests_total")
        assert [] == await gateway.lines()


async def test_operators_ask_over_http() -> None:
    """POST /explain of the admin listener; a question of another shape is told what is wrong."""
    async with FakeUpstream() as upstream, running(TABLE, ENVIRON, up=upstream.url) as gateway:
        url = f"{gateway.admin}/explain"
        async with gateway.session.post(url, json={"path": CHAT, "body": BODY}) as answer:
            good = answer.status, (await answer.json())["candidates"][1]["provider"]
        async with gateway.session.post(url, json={"path": CHAT, "headres": {}}) as answer:
            bad = answer.status, (await answer.json())["error"]["message"]
        async with gateway.session.get(url) as answer:
            wrong = answer.status

        assert ((200, "up"), 400, 405) == (good, bad[0], wrong)
        assert "headres" in bad[1]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`isthmus explain` reads the body from a file or standard input; exit code 1 for a call that would be refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UP_KEY", KEY)
    Path("routes.yaml").write_text(TABLE.replace("$up", "http://127.0.0.1:9"))
    run = CliRunner().invoke
    good = run(main, ["explain", "--path", CHAT, "--body", "-"], input=json.dumps(BODY))
    bad = run(main, ["explain", "--path", CHAT, "--header", "x-isthmus-timeout: soon", "--body", "-"], input="{}")
    odd = run(main, ["explain", "--path", CHAT, "--header", "x-isthmus-timeout"])

    assert (0, "up") == (good.exit_code, json.loads(good.stdout)["candidates"][1]["provider"])
    assert (1, 400) == (bad.exit_code, json.loads(bad.stdout)["refused"]["status"])
    assert (2, "isthmus: --header: expected 'NAME: VALUE', not 'x-isthmus-timeout'\n") == (odd.exit_code, odd.stderr)


@pytest.mark.parametrize("size", [0, 100_000])
async def test_what_is_passed_on_as_it_is(size: int) -> None:
    """An opaque call is explained by the code of its own lane: method, path and query as they would go out."""
    question = Question(path="/v1/files/a?key=canary-entry&b=1", method="GET", body=b"x" * size)

    answer = await told(question)

    request = answer["upstream_request"]
    assert ("GET", "/v1/files/a?b=1") == (request["method"], request["url"][-len("/v1/files/a?b=1") :])
    assert [False, True] == [candidate["chosen"] for candidate in answer["candidates"]]
    assert ("relay", [], "/v1/files*") == (answer["lane"], answer["losses"], answer["route"])
    assert "canary" not in json.dumps(answer)
