"""What goes to an upstream beside the body, and what comes back instead of an answer."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from providers.canonical.errors import MalformedRequest, UnsupportedMediaType, UpstreamDenied, UpstreamFailed
from providers.dialects import DIALECTS
from router.outgoing import check_type, for_key, headers, passed, said, scrub

ANTHROPIC, OPENAI = DIALECTS["anthropic.messages"], DIALECTS["openai.chat"]


@pytest.mark.parametrize("kind", ["application/json", "text/json; charset=utf-8", 'a/b+json; charset="UTF-8"'])
def test_json_in_utf_8_is_taken(kind: str) -> None:
    """A body that says that it is JSON in UTF-8, in whatever spelling, is read."""
    check_type({"content-type": kind})


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=latin-1", "multipart/form-data; boundary=x"])
def test_other_bodies_are_refused(kind: str) -> None:
    """A body that says that it is something else is not guessed at."""
    with pytest.raises(UnsupportedMediaType):
        check_type({"content-type": kind})


def test_headers_of_a_dialect_go_to_its_own_upstreams_only() -> None:
    """`anthropic-beta` goes to an upstream of the same dialect, and an account's headers with the caller's own key."""
    same, other = passed(ANTHROPIC, ANTHROPIC, own_key=False), passed(ANTHROPIC, OPENAI, own_key=True)

    assert (True, False) == ("anthropic-beta" in same, "anthropic-beta" in other)
    assert passed(OPENAI, OPENAI, own_key=False) < passed(OPENAI, OPENAI, own_key=True)


def test_nothing_else_of_the_callers_goes_out() -> None:
    """Cookies, credentials and forwarding headers of the caller stay here."""
    incoming = CIMultiDict(
        {"Cookie": "a=b", "Authorization": "Bearer x", "X-Forwarded-For": "::1", "Traceparent": "00"}
    )
    names = passed(OPENAI, OPENAI, own_key=False)

    assert {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "user-agent": "isthmus",
        "x-request-id": "r1",
        "traceparent": "00",
    } == headers(incoming, names, request_id="r1", stream=True)


def test_lists_that_stand_in_several_headers_are_joined() -> None:
    """Two headers `anthropic-beta` are one list (RFC 9110, 5.3); another header's first value counts."""
    incoming = CIMultiDict(
        [("anthropic-beta", "a"), ("anthropic-beta", "b"), ("traceparent", "1"), ("traceparent", "2")]
    )

    assert ("a, b", "1", None) == tuple(said(incoming, name) for name in ("anthropic-beta", "traceparent", "x"))


def test_what_is_not_ascii_does_not_go_on() -> None:
    """A header's value that could be read in two ways is the caller's fault."""
    with pytest.raises(MalformedRequest, match="tracestate must be ASCII"):
        said(CIMultiDict({"tracestate": "é"}), "tracestate")


def test_the_key_is_taken_out_of_an_upstreams_words() -> None:
    """Message, raw body and codes of an upstream's error do not tell the key that it was called with."""
    error = UpstreamFailed(
        "no: sk-secret-123456", upstream_status=500, raw=b'{"k":"sk-secret-123456"}', upstream_code="sk-secret-123456"
    )

    scrub(error, "sk-secret-123456")

    assert not any("sk-secret" in text for text in (error.message, error.raw.decode(), error.upstream_code or ""))


@pytest.mark.parametrize(
    ("own_key", "retry"), [("sk-own", "never"), (None, UpstreamDenied("x", upstream_status=401).retry)]
)
def test_a_refusal_of_the_callers_own_key_is_not_tried_elsewhere(own_key: str | None, retry: str) -> None:
    """Another target cannot mend the caller's own key."""
    assert retry == for_key(UpstreamDenied("no", upstream_status=401), own_key).retry
