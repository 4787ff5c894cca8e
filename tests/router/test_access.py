"""Who may call: which credential is whose, keys by their hash, tokens by router/tokens.py, and what is remembered."""

from __future__ import annotations

import hashlib
import itertools
import time
from typing import Any

import jwt
import pytest
from multidict import CIMultiDict

from providers.canonical.errors import MalformedRequest, NotAllowed, NotAuthenticated, mask
from router import access as module
from router.access import (
    LOCAL,
    REASONS,
    Access,
    Caller,
    Credential,
    allowed,
    credential,
    issue_token,
    new_key,
    split_credentials,
)
from router.secrets import Secret
from router.settings import AccessSettings, JwtSettings, KeyRow
from router.vocabulary import AUTH_REASONS

NOW = 1_800_000_000.0
SECRET = "0123456789abcdef0123456789abcdef"
KEY = "sk-isthmus-team-a"


def row(name: str, key: str, models: tuple[str, ...] = ("*",)) -> KeyRow:
    return KeyRow(name=name, hash=hashlib.sha256(key.encode()).digest(), models=models)


def door(*rows: KeyRow, **jwt_settings: Any) -> Access:
    settings = JwtSettings(**{"algorithms": ("HS256",), "secret": Secret(SECRET), **jwt_settings})
    return Access(AccessSettings(keys=rows or (row("team-a", KEY), row("team-b", "other")), jwt=settings))


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": NOW + 600, **claims}, SECRET, "HS256")


def reason(shown: Credential | None, access: Access | None = None, now: float = NOW) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        (access or door()).verify(shown, now)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_a_tokens_subject_cannot_be_a_key() -> None:
    """Nor anybody else: what is remembered of one caller is never another's."""
    access = door()
    callers = [
        access.verify(Credential(KEY), NOW),
        access.verify(Credential(token(sub="key:team-a")), NOW),
        access.verify(Credential(token(sub="local")), NOW),
        access.verify(Credential(token(sub="alice")), NOW),
        access.verify(Credential("other"), NOW),
        LOCAL,
    ]

    assert 6 == len({caller.owner for caller in callers})


# ── which credential (J01) ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_bearer_in_any_case(name: str, scheme: str) -> None:
    """Names of headers and schemes are compared without case (RFC 9110 section 11.1)."""
    assert Credential("abc", "authorization") == credential(CIMultiDict({name: f"{scheme} abc"}), {})


def test_places_have_an_order() -> None:
    """Authorization, x-api-key, x-goog-api-key, ?key=: the first that is there."""
    places = {"authorization": "Bearer a", "x-api-key": "b", "x-goog-api-key": "c"}
    seen = []
    for gone in range(5):
        headers = CIMultiDict(list(places.items())[gone:])
        seen.append(credential(headers, {} if gone == 4 else {"key": "d"}))

    assert [
        Credential("a", "authorization"),
        Credential("b", "x-api-key"),
        Credential("c", "x-goog-api-key"),
        Credential("d", "key"),
        None,
    ] == seen


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Basic YWxhZGRpbjpvcGVuc2VzYW1l", "scheme"),
        ("Digest x", "scheme"),
        ("abc", "scheme"),
        ("", "scheme"),
        ("Bearer", "missing"),
        ("Bearer ", "missing"),
        ("Bearer    ", "missing"),
        ("Bearer\tabc", "scheme"),
    ],
)
def test_another_scheme_is_no_bearer(value: str, expected: str) -> None:
    """An Authorization that is no bearer token is refused, not passed over for the next place."""
    with pytest.raises(NotAuthenticated) as caught:
        credential(CIMultiDict({"Authorization": value, "x-api-key": KEY}), {})

    assert expected == caught.value.reason


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key"])
def test_twice_is_refused(name: str) -> None:
    """Two headers of one name: of two readers each might take another. Even when both are the same."""
    with pytest.raises(NotAuthenticated) as caught:
        credential(CIMultiDict([(name, "Bearer a"), (name.title(), "Bearer a")]), {})

    assert "several" == caught.value.reason


def test_a_credential_is_not_printed() -> None:
    """A value that shows up in a log or an assertion does not show the key."""
    assert "Credential(***, 'authorization')" == repr(Credential(KEY))


# ── whose (the proxy paths) ────────────────────────────────────────────────────────────

# What may stand in a request, by where it stands. G is the gateway's where it comes first, U the upstream's.
_PLACES = ("authorization", "x-api-key", "x-upstream-api-key", "x-goog-api-key", "key")


def _combinations() -> list[tuple[tuple[str, ...], str | None, bool]]:
    subsets = [s for size in range(len(_PLACES) + 1) for s in itertools.combinations(_PLACES, size)]
    return [(s, path, own) for s in subsets for path in (None, "from-path") for own in (False, True)]


def _split(
    present: tuple[str, ...], path_key: str | None, own: bool, *, named: bool = True, is_open: bool = False
) -> tuple[str | None, str | None]:
    headers = CIMultiDict({name: f"from-{name}" for name in present if name != "key"})
    if "authorization" in headers:
        headers["authorization"] = "Bearer from-authorization"
    gateway, upstream = split_credentials(
        headers,
        {"key": "from-key"} if "key" in present else {},
        named=named,
        is_open=is_open,
        path_key=path_key,
        key_header="x-goog-api-key" if own else None,
    )
    return (gateway.value if gateway else None), upstream


@pytest.mark.parametrize(("present", "path_key", "own"), _combinations())
def test_every_combination_is_split(present: tuple[str, ...], path_key: str | None, own: bool) -> None:
    """The gateway takes its first place; the upstream the first of its own that the gateway did not take."""
    of_gateway = [p for p in ("authorization", "x-api-key", "x-goog-api-key", "key") if p in present][:1]
    of_upstream = [p for p in _PLACES[2:] if p in present and p not in of_gateway]
    if not own:
        of_upstream = [p for p in of_upstream if p == "x-upstream-api-key"]
    expected = path_key or (f"from-{of_upstream[0]}" if of_upstream else None)
    if not of_gateway:
        expected = None  # nobody to call for

    assert (f"from-{of_gateway[0]}" if of_gateway else None, expected) == _split(present, path_key, own)
    assert (f"from-{of_gateway[0]}" if of_gateway else None, None) == _split(present, path_key, own, named=False)


@pytest.mark.parametrize(("present", "path_key", "own"), _combinations())
def test_an_open_gateway_takes_no_credential(present: tuple[str, ...], path_key: str | None, own: bool) -> None:
    """Without `access` nothing is the gateway's: what stands in the dialect's own places is the upstream's."""
    of_upstream = [p for p in _PLACES[2:] if p in present and (own or p == "x-upstream-api-key")]
    expected = path_key or (f"from-{of_upstream[0]}" if of_upstream else None)

    assert (None, expected) == _split(present, path_key, own, is_open=True)


@pytest.mark.parametrize(
    ("headers", "query", "path_key", "expected"),
    [
        # A client of the dialect with its key in the header and the gateway's in Authorization (T-1.10).
        ({"authorization": "Bearer G", "x-goog-api-key": "U"}, {}, None, ("G", "U")),
        ({"authorization": "Bearer G"}, {"key": "U"}, None, ("G", "U")),
        ({"authorization": "Bearer G", "x-goog-api-key": "U"}, {"key": "V"}, None, ("G", "U")),
        ({"authorization": "Bearer G", "x-goog-api-key": "V", "x-upstream-api-key": "U"}, {}, None, ("G", "U")),
        ({"authorization": "Bearer G", "x-upstream-api-key": "V"}, {}, "U", ("G", "U")),
        # The only key is the gateway's: the upstream must have a configured one.
        ({"x-goog-api-key": "G"}, {}, None, ("G", None)),
        ({}, {"key": "G"}, None, ("G", None)),
        # The gateway's credential is not the upstream's, wherever else it stands.
        ({"authorization": "Bearer G", "x-goog-api-key": "G"}, {}, None, ("G", None)),
        ({"authorization": "Bearer G"}, {"key": "G"}, "G", ("G", None)),
        ({"x-goog-api-key": "G", "x-upstream-api-key": "G"}, {"key": "G"}, None, ("G", None)),
        ({}, {}, None, (None, None)),
        ({"x-upstream-api-key": "U"}, {}, "V", (None, None)),
    ],
)
def test_whose_key_it_is(
    headers: dict[str, str], query: dict[str, str], path_key: str | None, expected: tuple[str, str]
) -> None:
    """The cases that the proxy paths are documented with, one by one."""
    gateway, upstream = split_credentials(
        CIMultiDict(headers), query, named=True, path_key=path_key, key_header="x-goog-api-key"
    )

    assert expected == ((gateway.value if gateway else None), upstream)


@pytest.mark.parametrize("key", ["a\tb", "schlüssel", " a", "a\x7f", "k" * 9000])
def test_an_upstream_key_that_no_header_carries(key: str) -> None:
    """Said as the caller's mistake, before any call, without repeating it."""
    with pytest.raises(MalformedRequest) as caught:
        split_credentials(CIMultiDict({"x-upstream-api-key": key}), {}, named=True, is_open=True)

    assert (400, "invalid_proxy_key") == (caught.value.status, caught.value.code)
    assert key not in caught.value.message


def test_without_credential_nothing_else_is_said() -> None:
    """401 comes before every complaint about the rest of the request."""
    headers = CIMultiDict({"x-upstream-api-key": "a\tb"})

    assert (None, None) == split_credentials(headers, {}, named=True, key_header="x-goog-api-key")


# ── keys ───────────────────────────────────────────────────────────────────────────────


def test_a_key_is_known_by_its_hash() -> None:
    """The caller has the row's name; the same on the second, remembered, look."""
    access = door()
    expected = Caller(name="team-a", subject="key:team-a", key=row("team-a", KEY))

    assert [expected, expected] == [access.verify(Credential(KEY), NOW) for _ in range(2)]
    assert "team-b" == access.verify(Credential("other", "x-api-key"), NOW).name


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", KEY[:-1], KEY + "x", KEY.upper(), f" {KEY}", "ü", "\ud800", "x" * 100_000),
        hashlib.sha256(KEY.encode()).hexdigest(),
        "sha256:" + hashlib.sha256(KEY.encode()).hexdigest(),
    ],
)
def test_another_key_is_not(value: str) -> None:
    """Nothing near a key is the key, and its hash is not it either."""
    assert "unknown_key" == reason(Credential(value))


def test_nothing_shown() -> None:
    """No credential where one is needed."""
    assert "missing" == reason(None)


def test_keys_alone_take_no_tokens() -> None:
    """Without `access.jwt` a token is just an unknown key."""
    assert "unknown_key" == reason(Credential(token()), Access(AccessSettings(keys=(row("a", KEY),))))


def test_a_rule_without_keys_lets_nobody_in() -> None:
    """`access:` with nothing in it is not the same as no `access`."""
    assert "unknown_key" == reason(Credential(KEY), Access(AccessSettings()))


@pytest.mark.parametrize("shown", [None, Credential("anything"), Credential("a.b.c")])
def test_an_open_gateway_knows_everybody_as_local(shown: Credential | None) -> None:
    """No `access`: any credential or none."""
    access = Access(None)

    assert access.is_open
    assert LOCAL == access.verify(shown, NOW)


# ── tokens, remembered (J10) ───────────────────────────────────────────────────────────


def test_a_token_names_its_subject() -> None:
    """Who calls is (`iss`, `sub`) of the verified token."""
    caller = door().verify(Credential(token(iss="https://id.example")), NOW)

    assert Caller(name="jwt", subject="alice", issuer="https://id.example") == caller


def test_a_bad_token_is_refused_with_its_reason() -> None:
    """What router/tokens.py says comes through."""
    assert ["malformed", "signature", "expired"] == [
        reason(Credential(value)) for value in ("a.b", token()[:-43] + "A" * 43, token(exp=NOW - 60))
    ]


def test_memory_ends_with_the_token() -> None:
    """What was verified is not taken after exp and leeway, however often it was asked for before."""
    access, shown = door(), Credential(token(exp=NOW + 10))
    for now in (NOW, NOW + 9.9, NOW + 10, NOW + 39):
        assert "alice" == access.verify(shown, now).subject

    assert "expired" == reason(shown, access, NOW + 40)
    assert "expired" == reason(shown, access, NOW + 41)


def test_memory_is_of_the_whole_token() -> None:
    """A token that shares its head, its claims or its tail with a verified one is not it (CVE-2026-35030)."""
    access, good = door(), token()
    access.verify(Credential(good), NOW)
    head, _, signature = good.rpartition(".")
    other = token(sub="mallory").rpartition(".")[0]

    for value in (f"{head}.{signature[:-1]}A", f"{head}.{signature[:20]}", f"{other}.{signature}"):
        assert reason(Credential(value), access) in ("signature", "malformed")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten for a new one; what is forgotten is verified again."""
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    access = door()
    shown = [Credential(token(sub=f"user-{n}")) for n in range(5)]
    for item in shown:
        access.verify(item, NOW)

    assert 3 == len(access._remembered)
    assert [f"user-{n}" for n in range(5)] == [access.verify(item, NOW).subject for item in shown]


def test_a_refusal_is_not_remembered() -> None:
    """A flood of bad credentials leaves nothing behind."""
    access = door()
    for n in range(10):
        reason(Credential(f"bad-{n}"), access)

    assert {} == access._remembered


def test_memory_holds_no_credential() -> None:
    """Only digests are kept."""
    access = door()
    access.verify(Credential(KEY), NOW)

    assert KEY not in repr(access._remembered)
    assert [64] == [len(digest) for digest in access._remembered]


@pytest.mark.parametrize("value", [KEY, token()], ids=["key", "token"])
def test_what_is_known_costs_little(value: str) -> None:
    """Reading and verifying a known credential takes a few microseconds (measured: 2; here the ceiling)."""
    access = door(*(row(f"key-{n}", f"key-{n}") for n in range(200)), row("team-a", KEY))
    headers = CIMultiDict({"host": "x", "Authorization": f"Bearer {value}"})

    def once() -> float:
        started = time.perf_counter()
        for _ in range(200):
            access.verify(credential(headers, {}), NOW)
        return (time.perf_counter() - started) / 200

    assert min(once() for _ in range(20)) < 20e-6


# ── models ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("patterns", "model", "expected"),
    [
        (("*",), "anything/at:all", True),
        (("gpt-*",), "gpt-5", True),
        (("gpt-*",), "my-gpt-5", False),
        (("fast", "smart"), "smart", True),
        (("fast",), "faster", False),
        (("acme/*",), "acme/x", True),
        (("a*c",), "abbc", True),
        (("a*c",), "abbd", False),
        (("a.c",), "abc", False),
        ((), "fast", False),
        (("fast",), "", False),
    ],
)
def test_models_of_a_key(patterns: tuple[str, ...], model: str, expected: bool) -> None:
    """A pattern's `*` stands for any text; everything else for itself."""
    caller = Caller(name="k", subject="key:k", models=patterns)

    assert expected is allowed(caller, model)


def test_another_model_is_forbidden() -> None:
    """403, with a message that names neither key nor model."""
    access = door(row("team-a", KEY, ("fast",)))
    caller = access.verify(Credential(KEY), NOW)
    access.allow(caller, "fast")

    with pytest.raises(NotAllowed) as caught:
        access.allow(caller, "smart")
    assert (403, "forbidden") == (caught.value.status, caught.value.code)


def test_a_token_may_name_any_model() -> None:
    """Patterns belong to keys."""
    assert allowed(door().verify(Credential(token()), NOW), "anything")


# ── for the command line ───────────────────────────────────────────────────────────────


def test_a_new_key_opens_the_door() -> None:
    """The key that is shown fits the hash that is written down, and is masked wherever keys are."""
    key, digest = new_key(bytes(range(32)))
    access = door(KeyRow(name="new", hash=bytes.fromhex(digest.removeprefix("sha256:"))))

    assert "new" == access.verify(Credential(key), NOW).name
    assert "***" == mask(key)
    assert (key, digest) == new_key(bytes(range(32)))


def test_a_new_key_needs_randomness() -> None:
    """Less than 256 bits make no key."""
    with pytest.raises(ValueError, match="32 random bytes"):
        new_key(bytes(31))


def test_an_issued_token_opens_the_door() -> None:
    """`isthmus token` makes what the same settings take, until its time is over."""
    settings = JwtSettings(algorithms=("HS256",), secret=Secret(SECRET), issuer="https://id.example")
    shown = Credential(issue_token(settings, "carol", 60, NOW))
    access = Access(AccessSettings(jwt=settings))

    assert "carol" == access.verify(shown, NOW).subject
    assert "expired" == reason(shown, access, NOW + 91)


def test_reasons_are_the_metrics_labels() -> None:
    """Whatever is given as a reason is a label that the metric knows."""
    assert set() == set(REASONS) - AUTH_REASONS
