"""Every way to sign a call: what it adds, what it leaves alone, what it refuses."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from providers.auth import ANTHROPIC_VERSION, KEY_HEADERS, KNOWN, check, check_secret, is_sendable, sign
from providers.canonical.errors import UpstreamDenied
from providers.dialect import WireRequest
from providers.provider import address

SECRET = "sk-CANARY-123"
AWS = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
WAYS = [name.replace("NAME", "x-key").replace("REGION", "us-east-1") for name in KNOWN]


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


@pytest.mark.parametrize("auth", WAYS)
def test_never_writes_into_the_request_it_was_given(auth: str) -> None:
    """A request may be signed again for the next target: the unsigned one must stay unsigned."""
    before = WireRequest(path="/chat", headers={"accept": "a/b"}, query={})

    signed = sign(auth, before, AWS, base_url=BEDROCK)
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
@pytest.mark.parametrize("auth", [name for name in WAYS if name != "none"])
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
            "aws_sigv4:",
            "aws_sigv4:everywhere",
            "aws_sigv4:us-east-1/",
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


@pytest.mark.parametrize("auth", WAYS)
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


# ── AWS Signature Version 4 ────────────────────────────────────────────────────────────────

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
SEGMENTS = st.lists(st.text(max_size=12).map(lambda text: quote(text, safe="")), max_size=4)


@given(
    st.sampled_from(
        [BEDROCK, "http://localhost:4566", "https://localhost:443/stage", "https://[::1]:8443/a//./b/../c/"]
    ),
    SEGMENTS,
    st.dictionaries(WORDS, st.text(max_size=8), max_size=4),
    st.dictionaries(WORDS.map(lambda w: "x-amz-" + quote(w, safe="").lower().replace("%", "-")), WORDS, max_size=3),
    st.binary(max_size=60),
    st.sampled_from([None, "IQoJb3JpZ2luX2VjE/+=="]),
    st.integers(min_value=0, max_value=4_000_000_000),
)
def test_signs_as_botocore_does(
    base_url: str,
    segments: list[str],
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    token: str | None,
    now: int,
) -> None:
    """Over any path, query, header and body the signature is the one that Amazon's own library makes."""
    request = WireRequest(
        path="/model/" + "/".join(segments),
        query=query,
        headers={"content-type": "application/json", **headers, "user-agent": "isthmus", "accept": "a/b"},
        body=body,
    )
    secret = AWS if token is None else f"{AWS}:{token}"

    signed = sign("aws_sigv4:eu-west-3/thing", request, secret, base_url=base_url, now=float(now))

    access_key, secret_key = AWS.split(":")
    theirs = AWSRequest(
        method="POST",
        url=address(base_url, request).replace("+", "%20"),
        headers={key: value for key, value in request.headers.items() if key not in ("user-agent", "accept")},
        data=body,
    )
    theirs.context["timestamp"] = signed.headers["x-amz-date"]
    theirs.headers["X-Amz-Date"] = signed.headers["x-amz-date"]
    oracle = SigV4Auth(Credentials(access_key, secret_key, token), "thing", "eu-west-3")
    if token is not None:
        theirs.headers["X-Amz-Security-Token"] = token
    text = oracle.string_to_sign(theirs, oracle.canonical_request(theirs))
    oracle._inject_signature_to_request(theirs, oracle.signature(text, theirs))

    assert theirs.headers["Authorization"] == signed.headers["authorization"]
    assert token == signed.headers.get("x-amz-security-token")


def test_the_date_is_told_in_the_form_of_the_signature() -> None:
    """The time of a signature is handed in, in Unix seconds, and goes out as AWS writes it."""
    signed = sign("aws_sigv4", wire(), AWS, base_url=BEDROCK, now=1_440_938_160.9)

    assert "20150830T123600Z" == signed.headers["x-amz-date"]
    assert "AKIAIOSFODNN7EXAMPLE/20150830/us-east-1/bedrock/aws4_request" in signed.headers["authorization"]


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("vpce-0a1b-c2d3.bedrock-runtime.ap-south-1.vpce.amazonaws.com", "ap-south-1"),
    ],
)
def test_the_region_is_read_from_the_host(host: str, region: str) -> None:
    """A row needs no region where its address has one."""
    signed = sign("aws_sigv4", wire(), AWS, base_url=f"https://{host}", now=0.0)

    assert f"/19700101/{region}/bedrock/aws4_request," in signed.headers["authorization"]


@pytest.mark.parametrize("base_url", ["", "http://localhost:4566", "https://bedrock-runtime.evil.example"])
def test_a_region_that_nobody_tells_is_a_problem_of_the_row(base_url: str) -> None:
    """What cannot be signed is said when the table is read."""
    problem = check("aws_sigv4", base_url)

    assert problem is not None
    assert "needs a region" in problem
    assert check("aws_sigv4:us-east-1", base_url) is None


@pytest.mark.parametrize("secret", ["bedrock-api-key-abcdef", "AKIAIOSFODNN7EXAMPLE", f"{AWS}:a:b", f"{AWS}:", "a:b"])
def test_a_secret_of_another_form_is_refused(secret: str) -> None:
    """It is told when the table is read, and a caller who brings such a key is told that it failed, not what it was."""
    problem = check_secret("aws_sigv4", secret)

    assert problem is not None
    with pytest.raises(UpstreamDenied) as refusal:
        sign("aws_sigv4", wire(), secret, base_url=BEDROCK)
    assert secret not in refusal.value.message + problem


@pytest.mark.parametrize(("auth", "secret"), [("aws_sigv4", AWS), ("aws_sigv4", f"{AWS}:tok/en=="), ("bearer", "x y")])
def test_good_secrets_pass(auth: str, secret: str) -> None:
    """A key pair with or without a session token, and whatever a header carries elsewhere."""
    assert check_secret(auth, secret) is None
