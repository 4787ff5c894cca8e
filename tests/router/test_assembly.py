"""What can only be known with the whole file in hand: listeners, access, models, routes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from providers.dialects.cohere import Cohere
from router import config
from router.assembly import is_loopback
from router.settings import Budget, JwtSettings, KeyRow, Unit
from router.table import Egress, HedgeSettings, OutlierSettings, Target
from tests.tables import problems, settings, warnings

HASH = "0f" * 32
SECRET = "s" * 32
RSA = generate_rsa_key(65537, 2048)
EC = generate_private_key(SECP256R1())
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
MODELS = "models: {fast: [{provider: demo, model: d}], 'x-*': [{provider: demo}]}\n"


@pytest.fixture(autouse=True)
def dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not depend on which dialects there are."""
    monkeypatch.setattr(config, "DIALECTS", {"openai.chat": object(), "gemini": object()})


# ── listeners ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["0.0.0.0:80", "'[::]:80'", "192.168.0.1:80", "gateway.example:80", "8.8.8.8:80"])
def test_c08_off_loopback_needs_access(tmp_path: Path, address: str) -> None:
    """A gateway that anybody may call does not start on an address that anybody can reach."""
    found = problems(tmp_path, f"server: {{listen: {address}}}\n")

    assert len(found) == 1
    assert found[0].startswith("1:18 server.listen: ")
    assert problems(tmp_path, f"server: {{listen: {address}}}\naccess: null\n") == found


@pytest.mark.parametrize("address", ["127.0.0.1:80", "127.8.8.8:0", "'[::1]:80'", "localhost:80"])
def test_loopback_needs_none(tmp_path: Path, address: str) -> None:
    """On loopback nobody has to prove anything."""
    assert problems(tmp_path, f"server: {{listen: {address}}}\n") == []


def test_off_loopback_with_access(tmp_path: Path) -> None:
    """With keys any address may be served."""
    text = f"server: {{listen: '0.0.0.0:80'}}\naccess: {{keys: [{{name: a, hash: 'sha256:{HASH}'}}]}}\n"

    assert settings(tmp_path, text).listen == ("0.0.0.0", 80)


def test_the_admin_side(tmp_path: Path) -> None:
    """Off loopback without a token is worth a word; a token that is not there refuses to start."""
    text = "server: {admin: '0.0.0.0:81', admin_token: env:ADMIN}\n"
    (word,) = warnings(tmp_path, MODELS + "server: {admin: '0.0.0.0:81'}\n")

    assert word.startswith("2:17 server.admin: 0.0.0.0 is not a loopback address")
    assert problems(tmp_path, text) == ["1:44 server.admin_token: the environment variable ADMIN is not set"]
    assert str(settings(tmp_path, text, {"ADMIN": "t"}).admin_token) == "***"


@pytest.mark.parametrize(
    ("host", "expected"), [("::1", True), ("LOCALHOST", True), ("::", False), ("localhost.x", False)]
)
def test_what_loopback_is(host: str, expected: bool) -> None:
    """A name is loopback only when it is the one that always is."""
    assert is_loopback(host) is expected


# ── access ─────────────────────────────────────────────────────────────────────────────────────


LIMITS: dict[Unit, int] = {"requests": 600, "tokens": 200_000}


def test_keys(tmp_path: Path) -> None:
    """A row of `isthmus key new`; without `models` all of them."""
    text = f"""\
        access:
          keys:
            - {{name: a, hash: "sha256:{HASH}"}}
            - {{name: b, hash: "sha256:{HASH.replace("0", "A")}", models: [fast, "x-*", demo/y], rpm: 600, tpm: 200000}}
            - {{name: c, hash: "sha256:{HASH.replace("0", "B")}", tpm: 5, rpm: null}}
        """
    access = settings(tmp_path, dedent(text) + MODELS).access
    assert access is not None

    assert access.keys == (
        KeyRow(name="a", hash=bytes.fromhex(HASH)),
        KeyRow(name="b", hash=bytes.fromhex("af" * 32), models=("fast", "x-*", "demo/y"), limits=LIMITS),
        KeyRow(name="c", hash=bytes.fromhex("bf" * 32), limits={"tokens": 5}),
    )


def test_budgets(tmp_path: Path) -> None:
    """Amounts as they were written; a period is said, what is unknown is refused unless the file says otherwise."""
    budgets = ["{usd: 50, per: month}", "{usd: 0.1, credits: 2.5, per: hour, unpriced: allow}", "null"]
    rows = [
        f"{{name: k{index}, hash: 'sha256:{index:064x}', budget: {budget}}}" for index, budget in enumerate(budgets)
    ]
    access = settings(tmp_path, f"{MODELS}access: {{keys: [{', '.join(rows)}]}}\nstate: {{file: s.json}}\n").access
    assert access is not None

    assert [key.budget for key in access.keys] == [
        Budget(usd=Decimal(50), per="month"),
        Budget(usd=Decimal("0.1"), credits=Decimal("2.5"), per="hour", unpriced="allow"),
        None,
    ]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("{usd: 5}", "access.keys[0].budget: 'per' is missing"),
        ("{per: month}", "budget: expected an amount, `usd` or `credits`"),
        ("{usd: null, per: month}", "budget: expected an amount, `usd` or `credits`"),
        (
            "{credits: 5, per: day, unpriced: allow}",
            "budget.unpriced has no effect: without `usd` it does not matter what targets cost",
        ),
        ("{usd: -1, per: day}", "access.keys[0].budget.usd: expected an amount of US dollars such as 0.25, found -1"),
        ("{usd: '5', per: day}", "access.keys[0].budget.usd: expected an amount such as 50 or 0.25, found '5'"),
        ("{usd: true, per: day}", "access.keys[0].budget.usd: expected an amount such as 50 or 0.25, found true"),
        (
            "{usd: 0.1000000000000000001, per: day}",  # as a float it is 0.1
            "access.keys[0].budget.usd: expected at most 9 digits before the point and 9 behind it",
        ),
        (
            "{usd: 0.0000000001, per: day}",
            "access.keys[0].budget.usd: expected at most 9 digits before the point and 9 behind it",
        ),
        ("{usd: 5, per: year}", "access.keys[0].budget.per: expected hour, day, week or month, found 'year'"),
        ("5", "access.keys[0].budget: expected a mapping, found 5"),
    ],
)
def test_budgets_that_are_none(tmp_path: Path, budget: str, message: str) -> None:
    """Each with its place; an option that cannot act is refused."""
    row = f"{{name: a, hash: 'sha256:{HASH}', budget: {budget}}}"
    found = problems(tmp_path, f"{MODELS}access: {{keys: [{row}]}}\nstate: {{file: s.json}}\n")

    assert [message] == [text.partition(" ")[2] for text in found]


def test_the_file_of_spending_lies_beside_the_table(tmp_path: Path) -> None:
    """Unless its path is whole; none is none."""
    assert settings(tmp_path, MODELS).state_file is None
    assert settings(tmp_path, f"{MODELS}state: {{file: s.json}}\n").state_file == tmp_path / "s.json"
    assert settings(tmp_path, f"{MODELS}state: {{file: /var/s.json}}\n").state_file == Path("/var/s.json")
    assert [text.partition(" ")[2] for text in problems(tmp_path, f"{MODELS}state: {{file: ''}}\n")] == [
        "state.file: expected the name of a file, found nothing"
    ]
    assert [text.partition(" ")[2] for text in problems(tmp_path, f'{MODELS}state: {{file: "a\\0"}}\n')] == [
        "state.file: expected the name of a file, found a NUL"
    ]


def test_two_keys_are_two(tmp_path: Path) -> None:
    """Neither a name nor a key is there twice."""
    row = f'{{name: a, hash: "sha256:{HASH}"}}'

    assert [text.partition(" ")[2] for text in problems(tmp_path, f"access: {{keys: [{row}, {row}]}}\n")] == [
        "two keys are called 'a'",
        "this is the same key as 'a'",
    ]


def test_a_key_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    """A typing error in `models` of a key locks it out: worth a word."""
    text = f"{MODELS}access: {{keys: [{{name: a, hash: 'sha256:{HASH}', models: [fats]}}]}}\n"

    assert [text.partition(" ")[2] for text in warnings(tmp_path, text)] == [
        "there is no model 'fats', did you mean fast?"
    ]


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ("{}", "1:1 access: expected `keys` or `jwt`: as it is, nobody may call"),
        ("{keys: []}", "1:1 access: expected `keys` or `jwt`: as it is, nobody may call"),
        ("{jwt: {}}", "1:15 access.jwt: expected `secret`, `public_key` or `jwks_file`"),
        ("{jwt: {secret: env:NONE}}", "1:24 access.jwt.secret: the environment variable NONE is not set"),
        (
            "{jwt: {secret: file:none}}",
            "1:24 access.jwt.secret: the file none cannot be read: No such file or directory",
        ),
        ("{jwt: {secret: env:SHORT}}", "1:24 access.jwt.secret has less than 32 bytes"),
        ("{jwt: {secret: env:GOOD, algorithms: [HS512]}}", "1:24 access.jwt.secret has less than 64 bytes"),
        ("{jwt: {secret: env:PEM}}", "1:24 access.jwt.secret is a public key or a certificate, which is no secret"),
        ("{jwt: {secret: env:GOOD, algorithms: [none]}}", "1:47 access.jwt.algorithms: expected some of HS256"),
        ("{jwt: {secret: env:GOOD, algorithms: [HS265]}}", "did you mean HS256?"),
        ("{jwt: {secret: env:GOOD, algorithms: [RS256]}}", "access.jwt.algorithms has RS256, and no key fits it"),
        ("{jwt: {public_key: env:PEM, algorithms: [HS256]}}", "access.jwt.algorithms has HS256, which needs"),
        ("{jwt: {public_key: env:PEM, algorithms: [ES256]}}", "access.jwt.algorithms has ES256, and no key fits it"),
        ("{jwt: {public_key: env:PRIVATE}}", "1:28 access.jwt.public_key is not a public key in PEM"),
        ("{jwt: {public_key: env:GOOD}}", "1:28 access.jwt.public_key is not a public key in PEM"),
        ("{jwt: {jwks_file: none.json}}", "1:27 access.jwt.jwks_file: none.json cannot be read"),
        ("{jwt: {jwks_file: bad.json}}", "1:27 access.jwt.jwks_file: bad.json holds no JWK set"),
        ("{jwt: {jwks_file: oct.json, algorithms: [RS256]}}", "access.jwt.algorithms has RS256, and no key fits it"),
        ("{jwt: {secret: env:GOOD, audience: 5}}", "1:44 access.jwt.audience: expected text, found 5"),
        ("{jwt: {secret: env:GOOD, leeway: 30}}", "1:42 access.jwt.leeway: expected a duration"),
    ],
)
def test_access_that_cannot_work_refuses_to_start(tmp_path: Path, access: str, expected: str) -> None:
    """A door that does not lock, or does not open, is found before anybody stands there."""
    (tmp_path / "bad.json").write_text("[]")
    (tmp_path / "oct.json").write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}))
    environ = {"SHORT": "s" * 31, "GOOD": SECRET, "PEM": PEM, "PRIVATE": PRIVATE_PEM}
    found = problems(tmp_path, f"access: {access}\n", environ)

    assert len(found) == 1
    assert expected in found[0]


def of_jwt(folder: Path, row: str) -> JwtSettings:
    access = settings(folder, f"access: {{jwt: {{{row}}}}}\n", {"SECRET": SECRET, "PEM": PEM}).access
    assert access is not None
    assert access.jwt is not None
    return access.jwt


def test_tokens_with_a_secret(tmp_path: Path) -> None:
    """HS256 is what a secret is for; the secret is not shown."""
    found = of_jwt(tmp_path, "secret: env:SECRET, issuer: i, audience: a, leeway: 5s")

    assert (found.algorithms, found.issuer, found.audience, found.leeway) == (("HS256",), "i", ("a",), 5.0)
    assert found.secret is not None
    assert found.secret.reveal() == SECRET
    assert SECRET not in repr(found)


def test_tokens_with_public_keys(tmp_path: Path) -> None:
    """Without `algorithms` the keys say which; a set's HMAC keys are left out, with a word."""
    rows = [json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key())), {"kty": "oct", "k": "c2VjcmV0"}]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": rows}))
    (tmp_path / "key.pem").write_text(PEM)
    one = of_jwt(tmp_path, "public_key: file:key.pem, audience: [a, b]")
    two = of_jwt(tmp_path, "public_key: env:PEM, jwks_file: keys.json, audience: a")
    words = warnings(tmp_path, MODELS + "access: {jwt: {jwks_file: keys.json, audience: a}}\n")

    assert (one.algorithms, one.public_keys, one.audience) == (("RS256",), (PEM.strip(),), ("a", "b"))
    assert (two.algorithms, two.jwks) == (("RS256", "ES256"), (rows[0],))
    assert words == ["2:27 access.jwt.jwks_file: keys.json holds an HMAC secret, which is not used"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "secret: env:SECRET",
            "2:10 access.jwt: without `audience` tokens that were made for other services are taken, too",
        ),
        (
            "secret: env:SECRET, public_key: env:PEM, algorithms: [RS256], audience: a",
            "2:24 access.jwt.secret is not used: no HS algorithm is listed",
        ),
        (
            "secret: env:SECRET, public_key: env:PEM, algorithms: [HS256], audience: a",
            "2:10 access.jwt: the public keys are not used: only HS algorithms are listed",
        ),
    ],
)
def test_tokens_worth_a_word(tmp_path: Path, row: str, expected: str) -> None:
    """What is configured, and has no effect or too much."""
    assert warnings(tmp_path, f"{MODELS}access: {{jwt: {{{row}}}}}\n", {"SECRET": SECRET, "PEM": PEM}) == [expected]


# ── models ─────────────────────────────────────────────────────────────────────────────────────


def test_models_lead_to_targets(tmp_path: Path) -> None:
    """Lists in their order; another model's name stands for all of its targets."""
    text = """\
        models:
          one: [{provider: demo, model: a}, {provider: demo}]
          two: {to: [{model: one}, {provider: demo, model: b}], policy: slow, choose: in_order}
        policies: {slow: {attempts: 5}}
        """
    one, two = settings(tmp_path, text).models
    a, any_, b = (Target(provider="demo", model=model) for model in ("a", None, "b"))

    assert (one.to, one.policy, one.choose) == ((a, any_), None, None)
    assert (two.to, two.policy, two.choose) == ((a, any_, b), "slow", "in_order")


def test_policies_say_what_differs(tmp_path: Path) -> None:
    """From what is built in, and of the others from `default`; null switches off."""
    text = """\
        models: {m: [{provider: demo, context: 8000}]}
        policies:
          default: {hedge: {after: p95}, outliers: {errors: null}, fallback_on: [content_filter],
            timeouts: {min_rate: 1KiB}}
          calm: {hedge: null, outliers: null, fallback_on: [], attempts: 1}
          sure: {hedge: {after: 800ms}, outliers: {latency: 5}}
        """
    found = settings(tmp_path, text)
    default, calm, sure = (found.policies[name] for name in ("default", "calm", "sure"))

    assert 8000 == found.models[0].to[0].context
    assert (HedgeSettings(after=None), {"content_filter"}, 1024) == (
        default.hedge,
        default.fallback_on,
        default.timeouts.min_rate,
    )
    assert (None, None, frozenset()) == (calm.hedge, calm.outliers, calm.fallback_on)
    assert (HedgeSettings(after=0.8), OutlierSettings(errors=None, latency=5.0)) == (sure.hedge, sure.outliers)


def test_a_second_attempt_needs_two(tmp_path: Path) -> None:
    """What says that it hedges and cannot is refused; what only takes it from `default` does not hedge."""
    text = """\
        models: {m: [{provider: demo}]}
        policies: {default: {hedge: {after: 1s}}, one: {attempts: 1}, bad: {attempts: 1, hedge: {after: 1s}}}
        """

    assert problems(tmp_path, text) == ["2:89 hedge: a second attempt needs `attempts` of at least 2"]


@pytest.mark.parametrize("value", ["{}", "{after: 0s}", "{after: p99}", "{after: null}", "{after: 1}", "800ms"])
def test_a_second_attempt_has_a_time(tmp_path: Path, value: str) -> None:
    """A duration of more than nothing, or p95."""
    text = f"models: {{m: [{{provider: demo}}]}}\npolicies: {{default: {{hedge: {value}}}}}\n"

    assert 1 == len(problems(tmp_path, text))


@pytest.mark.parametrize("key", ["model: x", "context: 8000"])
def test_what_is_passed_on_unread_has_no_model(tmp_path: Path, key: str) -> None:
    """Nor a number of tokens that it takes."""
    text = f"routes: [{{path: /v1/audio/*, speaks: opaque, to: [{{provider: demo, {key}}}]}}]\n"

    assert [f"no {key.partition(':')[0]}" in problem for problem in problems(tmp_path, text)] == [True]


def test_circles_are_passed_over(tmp_path: Path) -> None:
    """Names that stand for one another: a warning, and what is not in the circle is called."""
    text = "models: {a: [{model: b}, {provider: demo}], b: [{model: a}], c: [{model: c}]}\n"
    found = settings(tmp_path, text)

    assert {model.name: len(model.to) for model in found.models} == {"a": 1, "b": 1}
    assert [text.partition(" ")[2] for text in warnings(tmp_path, text)] == [
        "the names go in a circle: b -> a -> b; this target is passed over",
        "the names go in a circle: a -> b -> a; this target is passed over",
        "the model 'c' is left out: no target of it can be called",
        "the names go in a circle: c -> c; this target is passed over",
    ]


def test_names_for_names_have_an_end(tmp_path: Path) -> None:
    """Names that double at every step are refused before they explode."""
    rows = ", ".join(f"m{i}: [{', '.join([f'{{model: m{i + 1}}}'] * 6)}]" for i in range(12))
    found = problems(tmp_path, f"models: {{{rows}, m12: [{{provider: demo}}]}}\n")

    assert [text.partition(" ")[2] for text in found] == ["names of models stand for one another more than 5000 times"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "models: {a: [{model: bb}], bbb: [{provider: demo}]}",
            "1:22 there is no model 'bb' in this file, did you mean bbb?",
        ),
        ("models: {' ': [{provider: demo}]}", "1:10 expected the name of a model"),
        ('models: {"a\\nb": [{provider: demo}]}', "1:10 expected the name of a model"),
        ("models: {a: [{provider: dmeo}]}", "1:25 there is no provider 'dmeo', did you mean demo?"),
        ("models: {a: {to: [{provider: demo}], policy: slow}}", "1:46 there is no policy 'slow'"),
    ],
)
def test_bad_models(tmp_path: Path, text: str, expected: str) -> None:
    """Names that lead nowhere."""
    assert problems(tmp_path, text + "\n") == [expected]


# ── routes ─────────────────────────────────────────────────────────────────────────────────────

PROXY = "/p/{u:url}/{k:secret}/chat/completions"


def test_routes(tmp_path: Path) -> None:
    """All three kinds, with what they say about calls."""
    text = f"""\
        routes:
          - {{path: /a, speaks: openai.chat, to: models, policy: default, on_loss: allow}}
          - path: /b
            speaks: openai.chat
            to: [{{provider: demo, model: x}}, {{model: m}}]
          - path: {PROXY}
            speaks: openai.chat
            to: named
            egress: {{listed: [demo], unlisted: ["*.Example.com"], default: [{{model: m}}]}}
        models: {{m: [{{provider: demo, model: y}}]}}
        """
    x, y = (Target(provider="demo", model=model) for model in "xy")
    a, b, p = settings(tmp_path, text).table.routes

    assert (a.to, a.policy, a.on_loss, a.line, a.egress) == ("models", "default", "allow", 2, None)
    assert (b.to, b.policy, b.on_loss, b.line) == ((x, y), None, None, 3)
    assert (p.to, p.egress) == ("named", Egress(listed=("demo",), unlisted=("*.example.com",), default=(y,)))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"{{path: '{PROXY}', speaks: openai.chat, to: models}}", ["a path with an upstream's URL needs `to: named`"]),
        (
            "{path: /b, speaks: openai.chat, to: named, egress: {}}",
            ["`to: named` needs an upstream's URL in the path: {name:url}"],
        ),
        (
            f"{{path: '{PROXY}', speaks: openai.chat, to: named}}",
            ["`to: named` needs `egress`: which upstreams callers may name"],
        ),
        ("{path: /b, speaks: openai.chat, to: models, egress: {}}", ["`egress` is for `to: named`"]),
        ("{path: /b/*, speaks: openai.chat, to: models}", ["a path that ends with * is for `speaks: opaque`"]),
        ("{path: '/b/{c}', speaks: opaque, to: [{provider: demo}]}", ["a path of `speaks: opaque` has no parameters"]),
        ("{path: /b/*, speaks: opaque, to: models}", ["`speaks: opaque` needs a list of targets: [{provider: NAME}]"]),
        (
            "{path: /b/*, speaks: opaque, to: [{provider: demo, model: m}]}",
            ["`speaks: opaque` sends what it is sent: no model"],
        ),
        ("{path: b, speaks: openai.chat, to: models}", ["routes[0].path: a path starts with /"]),
        ("{path: /b, speaks: gemni, to: models}", ["the dialect 'gemni' does not exist, did you mean gemini?"]),
        ("{path: /b, speaks: cohere.chat, to: models}", ["the dialect 'cohere.chat' is not available in this version"]),
        ("{path: /b, speaks: gemini, to: []}", ["routes[0].to: expected at least one, found nothing"]),
        (
            "{path: /b, speaks: gemini, to: models, on_loss: ignore}",
            ["routes[0].on_loss: expected report, allow or reject, found 'ignore'"],
        ),
        ("{path: /b, speaks: gemini}", ["routes[0]: 'to' is missing"]),
        (
            f"{{path: '{PROXY}', speaks: gemini, to: named, egress: {{listed: [dmeo]}}}}",
            ["there is no provider 'dmeo', did you mean demo?"],
        ),
        (
            f"{{path: '{PROXY}', speaks: gemini, to: named, egress: {{unlisted: ['http://x']}}}}",
            ["egress.unlisted: expected a host such as api.example.com or *.example.com, found 'http://x'"],
        ),
    ],
)
def test_bad_routes(tmp_path: Path, row: str, expected: list[str]) -> None:
    """A row that means nothing, or not what it says."""
    assert [text.partition(" ")[2] for text in problems(tmp_path, f"routes: [{row}]\n")] == expected


def test_routes_that_pass_everything_on(tmp_path: Path) -> None:
    """`opaque` takes every method, and has nothing that could be lost."""
    text = "routes: [{path: /b/*, speaks: opaque, to: [{provider: demo}], on_loss: allow}]\n"
    [route] = settings(tmp_path, text).table.routes

    assert route.methods == ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    assert warnings(tmp_path, text) == ["1:63 has no effect: nothing is translated"]


def test_equal_patterns_name_both_lines(tmp_path: Path) -> None:
    """Names of parameters do not make two patterns of one."""
    text = """\
        routes:
          - {path: "/a/{x}", speaks: openai.chat, to: models}
          - {path: "/b", speaks: openai.chat, to: models}
          - {path: "/a/{y}", speaks: openai.chat, to: models}
        """

    assert problems(tmp_path, text) == ["4:12 routes[2].path: /a/{y} on line 4 fits the same calls as /a/{x} on line 2"]


def test_unlisted_upstreams_are_worth_a_word(tmp_path: Path) -> None:
    """Whoever lets callers choose hosts hears so at every start."""
    text = f"routes: [{{path: '{PROXY}', speaks: openai.chat, to: named, egress: {{unlisted: true}}}}]\n" + MODELS

    assert ["egress.unlisted" in word for word in warnings(tmp_path, text)] == [True]


def test_nobody_asks_in_a_dialect_of_upstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A route cannot speak what is spoken to upstreams only; a row can."""
    monkeypatch.setattr(config, "DIALECTS", {"openai.chat": object(), "cohere.chat": Cohere()})
    table = """\
        providers: {command: {base_url: "https://a.example", speaks: [cohere.chat], auth: none}}
        routes:
          - {path: /a, speaks: openai.chat, to: [{provider: command, model: c}]}
          - {path: /b, speaks: cohere.chat, to: models}
        """

    assert ["4:24 the dialect 'cohere.chat' is spoken to upstreams only"] == problems(tmp_path, table)
