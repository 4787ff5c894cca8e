"""Every way to sign a call: what it adds, what it leaves alone, what it refuses."""

from __future__ import annotations

import pytest

from providers.auth import ANTHROPIC_VERSION, KEY_HEADERS, KNOWN, check, is_sendable, sign
from providers.dialect import WireRequest

SECRET = "sk-CANARY-123"


def wire(**headers: str) -> WireRequest:
    return WireRequest(path="/chat", headers=headers, query={"alt": "sse"}, body=b"{}")


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        ("bearer", {"authorization": f"Bearer {SECRET}"}, {}),
        ("header:X-Key", {"x-key": SECRET}, {}),
        ("query:key", {}, {"key": SECRET}),
        ("google_key", {"x-goog-api-key": SECRET}, {}),
        ("google_token", {"authorization": f"Bearer {SECRET}"}, {}),
        ("anthropic_key", {"x-api-key": SECRET, "anthropic-version": ANTHROPIC_VERSION}, {}),
        ("azure_key", {"api-key": SECRET}, {}),
        ("none", {}, {}),
    ],
)
def test_adds_its_credential_and_nothing_else(auth: str, headers: dict[str, str], query: dict[str, str]) -> None:
    """Each way writes the secret to its one place and keeps path, query, headers and body."""
    signed = sign(auth, wire(accept="a/b"), SECRET)

    assert {"accept": "a/b", **headers} == signed.headers
    assert {"alt": "sse", **query} == signed.query
    assert ("POST", "/chat", b"{}") == (signed.method, signed.path, signed.body)


@pytest.mark.parametrize("auth", [name.replace("NAME", "x-key") for name in KNOWN])
def test_never_writes_into_the_request_it_was_given(auth: str) -> None:
    """A request may be signed again for the next target: the unsigned one must stay unsigned."""
    before = WireRequest(path="/chat", headers={"accept": "a/b"}, query={})

    signed = sign(auth, before, SECRET)
    signed.headers["late"] = "1"
    signed.query["late"] = "1"

    assert ({"accept": "a/b"}, {}) == (before.headers, before.query)


def test_a_version_that_is_there_stays() -> None:
    """anthropic-version is a default: what the caller or the row chose wins."""
    signed = sign("anthropic_key", wire(**{"anthropic-version": "2026-10-21"}), SECRET)

    assert "2026-10-21" == signed.headers["anthropic-version"]


def test_its_own_place_is_overwritten() -> None:
    """A credential that came with the request never goes out beside or instead of the row's own."""
    signed = sign("bearer", wire(authorization="Bearer of the caller"), SECRET)

    assert f"Bearer {SECRET}" == signed.headers["authorization"]


@pytest.mark.parametrize(
    "secret",
    ["", " ", "a\r\nx-evil: 1", "a\nb", "a\tb", "a\x00b", "a\x7f", "schlüssel", " a", "a\n", "\ud800"],
)
@pytest.mark.parametrize("auth", [name.replace("NAME", "x-key") for name in KNOWN if name != "none"])
def test_refuses_a_secret_that_a_header_cannot_carry(auth: str, secret: str) -> None:
    """No secret can end a header and begin another; the complaint does not repeat it."""
    with pytest.raises(ValueError, match="secret is empty or holds") as caught:
        sign(auth, wire(), secret)

    assert len(secret.strip()) < 2 or secret not in str(caught.value)


def test_none_needs_no_secret() -> None:
    """A server without authentication is called without any credential."""
    assert wire() == sign("none", wire(), "")


@pytest.mark.parametrize(
    "auth",
    [
        *[
            "aws_sigv4",
            "basic",
            "Bearer",
            "bearer:x",
            "none:",
            "header",
            "header:",
            "header:Host",
            "header:content-length",
        ],
        *["header:Transfer-Encoding", "query:", "query:a&b", "query:a=b"],
        "",
        "header:a b",
        "header:a\r\nb",
    ],
)
def test_unknown_ways_are_named_at_configuration_time(auth: str) -> None:
    """What `check` complains about, `sign` refuses with the same words."""
    problem = check(auth)

    assert problem
    with pytest.raises(ValueError) as caught:
        sign(auth, wire(), SECRET)
    assert problem == str(caught.value)


@pytest.mark.parametrize("auth", [name.replace("NAME", "X-Key") for name in KNOWN])
def test_known_ways_pass(auth: str) -> None:
    """Every way that the complaint lists as known is known."""
    assert check(auth) is None


def test_sendable() -> None:
    """Inner blanks are legal in a header's value, outer ones are not."""
    assert [True, True, False, False] == [is_sendable(text) for text in ("a", "a b", "a ", " a")]


@pytest.mark.parametrize("auth", KEY_HEADERS)
def test_callers_put_their_key_where_it_is_sent(auth: str) -> None:
    """The header in which callers of a dialect bring a key is the one in which it goes on."""
    assert SECRET == sign(auth, wire(), SECRET).headers[KEY_HEADERS[auth]]
