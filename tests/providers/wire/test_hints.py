"""providers/wire/hints.py."""

from __future__ import annotations

import pytest

from providers.canonical.errors import MalformedRequest, MethodNotAllowed, NotAuthenticated, Overloaded, RouterError
from providers.wire.hints import plain_text, refusal_headers, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:10 GMT"}, None),
        ({"retry-after": "Wednesday, 21-Oct-15 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
        ({"retry-after": "Wed Oct 21 07:28:10 2015", "date": "Wed Oct 21 07:28:00 2015"}, 10.0),
        ({"retry-after": "Wed Oct 21 07:28:10 2015", "date": "Wed, 21 Oct 2015 07:28:00 -0000"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_seconds_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds before seconds before a date, which counts from the answer's own; nonsense says nothing."""
    assert seconds == retry_after(headers)


def test_a_page_is_told_as_its_text() -> None:
    """Markup, scripts and white space are left out, however they are spelled."""
    page = b"<html><style>p{}</style><h1>502 Bad\n Gateway</h1><script>x()</script>&lt;b&gt; nginx &amp; co</html>"

    assert "502 Bad Gateway nginx & co" == plain_text(page)


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (MalformedRequest("no"), {}),
        (Overloaded("busy", retry_after=1.2), {"retry-after": "2", "retry-after-ms": "1200"}),
        (Overloaded("busy"), {"retry-after": "1"}),
        (NotAuthenticated(reason="missing"), {"www-authenticate": 'Bearer error="invalid_token"'}),
        (MethodNotAllowed("POST is asked for", allow=("POST",)), {"allow": "POST"}),
    ],
)
def test_headers_of_a_refusal(error: RouterError, headers: dict[str, str]) -> None:
    """How long to wait (always said with 429 and 503), which credential is asked for, which methods there are."""
    assert {"content-type": "application/json", **headers} == refusal_headers(error)
