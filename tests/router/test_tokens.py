"""Tokens: what is taken, and every forgery that is not. A refusal is NotAuthenticated, never another error."""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from providers.canonical.errors import NotAuthenticated
from router.access import REASONS
from router.secrets import Secret
from router.settings import JwtSettings
from router.tokens import LONGEST_TOKEN, Claims, Tokens

NOW = 1_800_000_000.0
SECRET = "0123456789abcdef0123456789abcdef"
GOOD = {"sub": "alice", "exp": NOW + 600}


def tokens(**settings: Any) -> Tokens:
    return Tokens(JwtSettings(**{"algorithms": ("HS256",), "secret": Secret(SECRET), **settings}))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forged(claims: Any, header: Any = None, secret: bytes | str = SECRET, hash_name: str = "sha256") -> str:
    """A token written by hand: neither header nor claims need make sense. `claims` may be JSON text."""
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    parts = [b64(part.encode() if type(part) is str else json.dumps(part).encode()) for part in (header, claims)]
    secret = secret.encode() if isinstance(secret, str) else secret
    signature = hmac.new(secret, ".".join(parts).encode(), hash_name).digest()
    return ".".join([*parts, b64(signature)])


def reason(token: str, door: Tokens | None = None, now: float = NOW) -> str:
    """Why a token is refused; `taken` when it is not."""
    try:
        (door or tokens()).verify(token, now)
    except NotAuthenticated as error:
        assert error.reason in REASONS
        assert (401, "invalid_token", "Unauthorized") == (error.status, error.code, error.message)
        return error.reason
    return "taken"


@cache
def rsa(size: int = 2048) -> RSAPrivateKey:
    return generate_rsa(public_exponent=65537, key_size=size)


def public(key: Any, encoding: Encoding = Encoding.PEM, form: PublicFormat | None = None) -> bytes:
    data: bytes = key.public_key().public_bytes(encoding, form or PublicFormat.SubjectPublicKeyInfo)
    return data


def jwk(key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    row = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in {**row, **more}.items() if name != "key_ops"}


# ── what is taken ──────────────────────────────────────────────────────────────────────


def test_a_good_token_says_who() -> None:
    """Signature, time and subject hold: the claims are given."""
    token = jwt.encode({**GOOD, "iss": "https://id.example", "nbf": NOW, "iat": NOW}, SECRET, "HS256")

    assert Claims(subject="alice", issuer="https://id.example", expires=NOW + 600) == tokens().verify(token, NOW)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW - 29}, "taken"),
        ({"exp": NOW - 31}, "expired"),
        ({"nbf": NOW + 29}, "taken"),
        ({"nbf": NOW + 31}, "not_yet"),
        ({"iat": NOW + 29}, "taken"),
        ({"iat": NOW + 31}, "not_yet"),
        ({"exp": 10**400}, "taken"),
        ({"exp": -(10**400)}, "expired"),
        ({"nbf": 10**400}, "not_yet"),
        ({"exp": NOW + 0.5}, "taken"),
    ],
)
def test_clocks_may_differ_by_half_a_minute(claims: dict[str, Any], expected: str) -> None:
    """`exp`, `nbf`, `iat` have 30 s of leeway, and any number is a time."""
    assert expected == reason(forged({**GOOD, **claims}))


def test_issue_makes_what_verify_takes() -> None:
    """A token for trying things out carries what the settings ask for, and ends when it should."""
    door = tokens(issuer="https://id.example", audience=("a", "b"))
    token = door.issue("bob", 3600, NOW)

    assert Claims(subject="bob", issuer="https://id.example", expires=NOW + 3600) == door.verify(token, NOW)
    assert "expired" == reason(token, door, NOW + 3631)


def test_issue_needs_a_secret() -> None:
    """With public keys only, nobody here can sign."""
    door = tokens(algorithms=("RS256",), secret=None, public_keys=(public(rsa()).decode(),))

    with pytest.raises(ValueError, match="HS algorithm"):
        door.issue("bob", 60, NOW)


# ── claims (J04, J05) ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "exp",
    ['"1900000000"', "null", "[1900000000]", "{}", "true", "NaN", "1e309", "Infinity", "-1", "0", '""'],
)
def test_a_time_that_is_none(exp: str) -> None:
    """exp as text, null, list, NaN, beyond floats, negative: refused, and never an error of ours."""
    token = forged(f'{{"sub":"alice","exp":{exp}}}')

    assert reason(token) in ("claims", "malformed", "expired")


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["1", None, [1], {}, True])
def test_other_times_that_are_none(name: str, value: Any) -> None:
    """nbf and iat need not be there, but what is there must be a number."""
    assert "claims" == reason(forged({**GOOD, name: value}))


@pytest.mark.parametrize("name", ["exp", "sub"])
def test_what_must_be_there(name: str) -> None:
    """A token without end, or about nobody, is none."""
    assert "claims" == reason(forged({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize("sub", ["", "x" * 257, 7, None, ["alice"], {"a": 1}, True])
def test_a_subject_is_a_short_text(sub: Any) -> None:
    """1 to 256 characters."""
    assert "claims" == reason(forged({**GOOD, "sub": sub}))
    assert "taken" == reason(forged({**GOOD, "sub": "x" * 256}))


@pytest.mark.parametrize(
    ("iss", "expected"),
    [
        ("https://id.example", "taken"),
        ("https://id.example/", "issuer"),
        ("https://id.example.evil", "issuer"),
        ("id.example", "issuer"),
        ("", "issuer"),
        (["https://id.example"], "issuer"),
        (None, "issuer"),
    ],
)
def test_the_issuer_is_compared_whole(iss: Any, expected: str) -> None:
    """No suffix, no prefix, no list."""
    assert expected == reason(forged({**GOOD, "iss": iss}), tokens(issuer="https://id.example"))


def test_a_configured_issuer_must_be_there() -> None:
    """A token that says nothing does not pass a check that was asked for."""
    assert "issuer" == reason(forged(GOOD), tokens(issuer="https://id.example"))
    assert "audience" == reason(forged(GOOD), tokens(audience=("isthmus",)))


@pytest.mark.parametrize(
    ("aud", "expected"),
    [
        ("isthmus", "taken"),
        (["other", "isthmus"], "taken"),
        ("isthmus2", "audience"),
        ([], "audience"),
        ([["isthmus"]], "audience"),
        ({"isthmus": 1}, "audience"),
        (None, "audience"),
    ],
)
def test_the_audience_is_one_of_ours(aud: Any, expected: str) -> None:
    """A text, or a list that holds it."""
    assert expected == reason(forged({**GOOD, "aud": aud}), tokens(audience=("isthmus", "isthmus-eu")))


# ── algorithms and keys (J02, J03) ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "", [], ["HS256"], None, 1, {}, True, "hs256", "HS256 ", "HS384"]
)
def test_only_configured_algorithms(alg: Any) -> None:
    """What the token calls its algorithm changes nothing: signed or unsigned, it is not listed."""
    token = forged(GOOD, {"alg": alg})
    unsigned = token.rpartition(".")[0]

    assert "algorithm" == reason(token)
    assert reason(unsigned + ".") == "malformed"
    assert reason(unsigned + ".AA") in ("algorithm", "signature")


def test_an_algorithm_must_be_said() -> None:
    """A header without alg is not taken for the configured one."""
    assert "algorithm" == reason(forged(GOOD, {"typ": "JWT"}))


@pytest.mark.parametrize("hash_name", ["sha384", "sha512"])
def test_another_hash_is_another_algorithm(hash_name: str) -> None:
    """HS384 and HS512 with the right secret are not HS256."""
    assert "algorithm" == reason(forged(GOOD, {"alg": f"HS{hash_name[3:]}"}, hash_name=hash_name))
    assert "signature" == reason(forged(GOOD, {"alg": "HS256"}, hash_name=hash_name))


@pytest.mark.parametrize(
    "key",
    [
        public(rsa()),
        public(rsa()).strip(),
        public(rsa(), Encoding.DER),
        public(rsa(), Encoding.PEM, PublicFormat.PKCS1),
        public(rsa(), Encoding.DER, PublicFormat.PKCS1),
        json.dumps(jwk(rsa(), "RS256")).encode(),
        b"",
        b"short",
    ],
    ids=["pem", "pem-stripped", "der", "pkcs1", "pkcs1-der", "jwk", "empty", "short"],
)
def test_a_public_key_is_no_secret(key: bytes) -> None:
    """HS256 keyed with our public key in any form is refused wherever RSA is configured, alone or beside HS."""
    token = forged(GOOD, secret=key)
    public_keys = (public(rsa()).decode(),)

    assert "algorithm" == reason(token, tokens(algorithms=("RS256",), secret=None, public_keys=public_keys))
    assert "signature" == reason(token, tokens(algorithms=("HS256", "RS256"), public_keys=public_keys))


def test_an_rsa_key_verifies_its_own_tokens_only() -> None:
    """RS256 by our key is taken, by a stranger's refused, and an HMAC secret does not verify it."""
    door = tokens(algorithms=("RS256",), secret=None, public_keys=(public(rsa()).decode(),))
    stranger = generate_rsa(public_exponent=65537, key_size=2048)

    assert "taken" == reason(jwt.encode(GOOD, rsa(), "RS256"), door)
    assert "signature" == reason(jwt.encode(GOOD, stranger, "RS256"), door)
    assert "algorithm" == reason(jwt.encode(GOOD, rsa(), "RS256"), tokens())
    assert "algorithm" == reason(jwt.encode(GOOD, rsa(), "RS512"), door)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(generate_private_key(SECP256R1()), "ES256"), (Ed25519PrivateKey.generate(), "EdDSA"), (rsa(), "PS256")],
    ids=["ES256", "EdDSA", "PS256"],
)
def test_other_public_keys(key: Any, algorithm: str) -> None:
    """Each algorithm works with its own kind of key, given as PEM or as JWK."""
    token = jwt.encode(GOOD, key, algorithm)
    of_pem = tokens(algorithms=(algorithm,), secret=None, public_keys=(public(key).decode(),))
    of_jwk = tokens(algorithms=(algorithm,), secret=None, jwks=(jwk(key, algorithm),))

    assert ["taken", "taken", "algorithm"] == [reason(token, door) for door in (of_pem, of_jwk, tokens())]


def test_a_kid_chooses_among_our_keys() -> None:
    """Rotation: two keys stand side by side; each token is verified by the one that it names, or by any."""
    other = generate_rsa(public_exponent=65537, key_size=2048)
    rows = (jwk(rsa(), "RS256", kid="old"), jwk(other, "RS256", kid="new"))
    door = tokens(algorithms=("RS256",), secret=None, jwks=rows)

    def signed(key: Any, **header: Any) -> str:
        return reason(jwt.encode(GOOD, key, "RS256", headers=header), door)

    assert ["taken", "taken"] == [signed(rsa(), kid="old"), signed(other, kid="new")]
    assert ["taken", "taken"] == [signed(rsa()), signed(other)]
    assert ["signature", "kid"] == [signed(rsa(), kid="new"), signed(rsa(), kid="third")]


def test_a_key_set_cannot_weaken_the_configuration() -> None:
    """Symmetric, private, encrypting, short and otherwise bound keys of a set are not used."""
    oct_key = {"kty": "oct", "k": b64(SECRET.encode()), "alg": "HS256", "kid": "s"}
    private = jwt.get_algorithm_by_name("RS256").to_jwk(rsa(), as_dict=True)
    rows = [
        oct_key,
        {**oct_key, "alg": "RS256"},
        private,
        jwk(rsa(), "RS256", use="enc"),
        jwk(rsa(), "RS256", alg="RS512"),
        jwk(generate_rsa(public_exponent=65537, key_size=1024), "RS256"),
        {"kty": "RSA", "n": "!", "e": 7},
        {},
    ]
    for row in rows:
        with pytest.raises(ValueError, match="RS256, and no key fits"):
            tokens(algorithms=("RS256",), secret=None, jwks=(row,))
    door = tokens(algorithms=("HS256", "RS256"), secret=Secret("x" * 32), jwks=(jwk(rsa(), "RS256"), *rows))

    assert "signature" == reason(forged(GOOD, {"alg": "HS256", "kid": "s"}), door)


# ── header (J06) ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["AAAA"]},
        {"jwk": {"kty": "oct", "k": b64(SECRET.encode())}},
        {"jwk": jwk(rsa(), "RS256")},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "http://127.0.0.1:1/key"},
        {"kid": "k" * 257},
        {"kid": ""},
        {"kid": "a\nb"},
        {"kid": 7},
        {"kid": ["a"]},
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"crit": []},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
    ],
    ids="-".join,
)
def test_a_token_brings_no_keys_and_no_rules(header: dict[str, Any]) -> None:
    """Even with a good signature: whatever would choose, bring or fetch a key, or change the reading, is refused."""
    assert reason(forged(GOOD, {"alg": "HS256", **header})) in ("header", "malformed")


def test_nothing_in_a_token_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that would notice any connection stays silent."""
    import socket

    calls: list[Any] = []
    monkeypatch.setattr(socket, "socket", lambda *a, **k: calls.append(a))
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: calls.append(a))
    for name in ("jku", "x5u"):
        reason(forged(GOOD, {"alg": "HS256", name: "http://127.0.0.1:1/keys"}))

    assert [] == calls


def test_a_harmless_kid_is_no_hindrance() -> None:
    """Libraries write a kid beside an HMAC signature; there is one secret, so it chooses nothing."""
    assert "taken" == reason(forged(GOOD, {"alg": "HS256", "kid": "2026-01:a_B.c", "typ": "JWT", "x5t": "AAAA"}))


# ── shape (J07) ────────────────────────────────────────────────────────────────────────


def _cases() -> dict[str, str]:
    good = forged(GOOD)
    header, payload, signature = good.split(".")
    flipped = b64(json.dumps({**GOOD, "sub": "mallory"}).encode())
    deep = "[" * 3000 + "]" * 3000
    return {
        "payload tampered": f"{header}.{flipped}.{signature}",
        "signature cut": good[:-4],
        "signature gone": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "four parts": f"{good}.{signature}",
        "five parts": f"{good}.{signature}.{signature}",
        "bad base64": f"{header}.{payload}!.{signature}",
        "padding": f"{header}.{payload}==.{signature}",
        "inner space": f"{header}. {payload}.{signature}",
        "outer space": f" {good}",
        "newline": f"{good}\n",
        "junk": "a.b.c",
        "dots": "..",
        "not ASCII": f"{header}.{payload}ü.{signature}",
        "surrogate": f"{header}.{payload}\ud800.{signature}",
        "nul": f"{header}.{payload}\x00.{signature}",
        "header no JSON": forged(GOOD, "{"),
        "header a list": forged(GOOD, ["HS256"]),
        "header a text": forged(GOOD, '"HS256"'),
        "header deep": forged(GOOD, deep[:2000] + deep[-2000:]),
        "claims no JSON": forged("{"),
        "claims a list": forged([GOOD]),
        "claims null": forged("null"),
        "claims not UTF-8": forged("{}").replace(b64(b"{}"), b64(b"\xff\xfe")),
        "claims deep": forged(deep[:2000] + deep[-2000:]),
        "claims with a huge integer": forged('{"sub":"a","exp":' + "9" * 5000 + "}"),
        "claims with a lone surrogate": forged('{"sub":"\\ud800","exp":1900000000}'),
        "too large": forged({**GOOD, "x": "y" * LONGEST_TOKEN}),
        "huge": "a" * 200_000,
        "huge kid": forged(GOOD, {"alg": "HS256", "kid": "k" * 100_000}),
        "empty": "",
    }


@pytest.mark.parametrize("name", _cases())
def test_broken_tokens(name: str) -> None:
    """Junk of every shape is refused as such, and the token is not in the message."""
    refused = {"malformed", "signature", "too_large", "algorithm"}
    if name == "claims with a huge integer":
        refused.add("taken")  # a number like any other, however far the year

    assert reason(_cases()[name]) in refused


# ── settings ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"secret": Secret("x" * 31)}, "less than 32 bytes"),
        ({"secret": Secret("")}, "less than 32 bytes"),
        ({"secret": None}, "needs access.jwt.secret"),
        ({"algorithms": ("HS512",), "secret": Secret("x" * 63)}, "less than 64 bytes"),
        ({"secret": Secret(public(rsa()).decode())}, "is no secret"),
        ({"algorithms": ()}, "must be some of"),
        ({"algorithms": ("none",)}, "must be some of"),
        ({"algorithms": ("HS256", "XX")}, "must be some of"),
        ({"algorithms": ("RS256",)}, "no key fits"),
        ({"algorithms": ("ES256",), "public_keys": (public(rsa()).decode(),)}, "no key fits"),
        ({"algorithms": ("RS256",), "public_keys": ("-----BEGIN",)}, "not a public key"),
        ({"algorithms": ("RS256",), "public_keys": (public(rsa(1024)).decode(),)}, "public_key: "),
    ],
)
def test_settings_that_cannot_hold(settings: dict[str, Any], complaint: str) -> None:
    """A short secret, a missing key, `none`: said at start, without the secret."""
    with pytest.raises(ValueError, match=complaint) as caught:
        tokens(**settings)

    assert "xxxx" not in str(caught.value)


def test_hash_sizes() -> None:
    """HS384 and HS512 work with secrets of their size."""
    for size in (384, 512):
        door = tokens(algorithms=(f"HS{size}",), secret=Secret("x" * 64))
        token = forged(GOOD, {"alg": f"HS{size}"}, "x" * 64, f"sha{size}")

        assert "taken" == reason(token, door)


def test_forgeries_are_well_made() -> None:
    """The helper that forges is itself right: the library takes what it writes."""
    assert GOOD == jwt.decode(forged(GOOD), SECRET, ["HS256"], options={"verify_exp": False})
