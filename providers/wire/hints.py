"""What dialects' refusals have in common: the headers that go with them, and the text of those that are pages."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from providers.canonical.errors import MethodNotAllowed, NotAuthenticated, RouterError

_KEEP = 64 << 10  # of a page
_LONGEST = 1000  # of its text
_INVISIBLE = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")

# ── reading ────────────────────────────────────────────────────────────────────────────


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as the official clients read it: `retry-after-ms`, then `retry-after` in seconds or as a date.

    A date counts from the answer's own `date`; without one it cannot be read.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None or text is None:
        return seconds
    try:
        wait = (_instant(text) - _instant(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def _instant(date: str) -> datetime:
    """A date in any form of RFC 9110, 5.6.7; the oldest names no zone, for all are in the same."""
    instant = parsedate_to_datetime(date)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def plain_text(body: bytes) -> str:
    """Text without markup, for pages of proxies."""
    text = body[:_KEEP].decode("utf-8", "replace")
    text = html.unescape(_TAG.sub(" ", _INVISIBLE.sub(" ", text)))
    text = _TAG.sub(" ", text).replace("<", " ").replace(">", " ") if "<" in text else text
    return " ".join(text.split())[:_LONGEST]


# ── writing ────────────────────────────────────────────────────────────────────────────


def refusal_headers(error: RouterError) -> dict[str, str]:
    """The headers of an error of ours, whatever the language of its body (RFC 9110, RFC 6750)."""
    headers = {"content-type": "application/json"}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    elif error.status in (429, 503):
        headers["retry-after"] = "1"  # promised with these statuses; nobody said how long
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    return headers
